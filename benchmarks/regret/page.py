"""Writes the tables of docs/benchmarks.md and README.md, and the chart, from what is committed.

    python -m benchmarks.regret.page [--ablation FILE] [--left-out FILE] [--budgets FILE]

The files are those that `replay` writes by --out. Ours come from the ledger of the judge, those of others from
peers.json, the problems from the recordings, and what the words beside a rate hold from the library's calibration.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np
from benchmarks.regret import judge
from benchmarks.regret.figures import shown
from benchmarks.regret.tasks import JUDGE, TASKS
from benchmarks.regret.truth import truths

from learnrate._selection import claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "benchmarks.png"
PEERS = Path(__file__).with_name("peers.json")
OURS = {
    "schedule_too_2": "`select` with its own schedule, budget 2",
    "select_1": "`select`, budget 1",
    "select_1.3": "`select`, budget 1.3",
    "select_2": "`select`, budget 2",
    "select_3": "`select`, budget 3",
    "select_5": "`select`, budget 5",
    "function_2": "`select` of a function, budget 2",
    "function_3": "`select` of a function, budget 3",
    "range_test": "`range_test`",
}
REPLACEMENTS = {
    "prodigy_plus_schedule_free": "prodigy-plus-schedule-free, lr 1 (replaces the optimizer)",
    "prodigy": "Prodigy, lr 1 (replaces the optimizer)",
    "momo": "MoMo, its default (replaces the optimizer)",
    "mechanic": "Mechanic around the optimizer",
}
OTHERS = {
    "lr_finder": "torch-lr-finder, steepest",
    "fastai_valley": "fastai, valley",
    "fastai_slide": "fastai, slide",
    "fastai_steep": "fastai, steep",
    "fastai_minimum": "fastai, minimum",
    "lightning": "Lightning 2.6",
    "lightning_2.5": "Lightning 2.5.2",
    "default": "the optimizer's default in PyTorch",
    "default_keras": "the optimizer's default in Keras",
    "one_epoch": "one epoch at 15 rates",
    "random_5": "random search, 5 runs",
    "random_20": "random search, 20 runs",
    "optuna_2": "Optuna TPE with the median pruner, 2 runs",
    "optuna_5": "Optuna TPE with the median pruner, 5 runs",
    "optuna_10": "Optuna TPE with the median pruner, 10 runs",
    "exhaustive": "the whole grid, 29 runs with one seed",
}
SHOWN = ("cost, median", "median", "mean", "over 2 %", "over 5 %", "worst")
SHORT = ("median", "mean", "over 2 %", "over 5 %", "worst")
BESIDE = (
    "worst beyond noise",
    "loss above the best, median",
    "decades too fast, mean",
    "interval holds the best rate",
    "interval in decades, median",
    "bands hold",
    "confidence less truth",
    "breaks as said",
)

Figures = dict[str, list[float | None]]


class Row(NamedTuple):
    """A method's row of a table, and whether it is ours."""

    label: str
    figures: Figures
    ours: bool


def looks() -> dict[str, tuple[dict[str, Any], Figures]]:
    """Each of our methods by name: the last entry of the ledger that was kept and has it, and its figures there."""
    found: dict[str, tuple[dict[str, Any], Figures]] = {}
    for entry in judge.entries():
        if "taken_back" not in entry:
            found |= {method: (entry, figures) for method, figures in entry["figures"].items()}
    return {method: found[method] for method in OURS if method in found}


def ours() -> list[Row]:
    """Ours, as the judge found them."""
    return [Row(OURS[method], figures, ours=True) for method, (_, figures) in looks().items()]


def others(labels: Mapping[str, str]) -> list[Row]:
    """Those of others that are labelled."""
    known: Mapping[str, Figures] = json.loads(PEERS.read_text()) if PEERS.exists() else {}
    return [Row(label, known[method], ours=False) for method, label in labels.items() if method in known]


def rows() -> list[Row]:
    """Ours, what replaces the optimizer, and the others."""
    return ours() + others(REPLACEMENTS) + others(OTHERS)


def commits() -> str:
    """Say which commits the figures of ours are of."""
    entries: dict[int, tuple[dict[str, Any], list[str]]] = {}
    for method, (entry, _) in looks().items():
        entries.setdefault(entry["number"], (entry, []))[1].append(OURS[method])
    told = [
        f"{', '.join(methods)} at commit {entry['commit'][:12]} on {entry['date']}"
        for entry, methods in entries.values()
    ]
    return f"Ours are as the judge found them: {'; '.join(told)}." if told else "The judge has not been asked yet."


def table(columns: Sequence[str], found: Sequence[Row], *, interval: bool) -> str:
    """A table of methods; with `interval` each figure's 5th and 95th percentile over families beside it."""
    lines = [
        f"| method | {' | '.join(name.replace('cost, median', 'training runs') for name in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for row in found:
        cells = [_cell(name, row.figures.get(name), interval=interval) for name in columns]
        lines.append(f"| {'**' if row.ours else ''}{row.label}{'**' if row.ours else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(name: str, values: Sequence[float | None] | None, *, interval: bool) -> str:
    if values is None or values[0] is None:
        return ""
    told = shown(name, values[0]).replace("%", " %")
    if not interval or None in values:
        return told
    low, high = (shown(name, end).replace("%", "") for end in values[1:] if end is not None)
    return f"{told} ({low} to {high})"


def readme_part() -> str:
    """The README's table: the figures without their intervals."""
    families = len({task.family for task in JUDGE})
    said = (
        f"On {len(JUDGE)} problems of {families} families that nothing was chosen on, three seeds each. {commits()}\n\n"
    )
    return said + table(SHOWN, rows(), interval=False)


def page_parts() -> dict[str, str]:
    """The parts of docs/benchmarks.md that come from what is committed."""
    return {
        "judge": commits() + "\n\n" + table(SHOWN, ours() + others(OTHERS), interval=True),
        "replacements": table(SHOWN, others(REPLACEMENTS), interval=True),
        "beside": table(BESIDE, ours(), interval=True),
        "intervals": intervals(),
        "chances": chances(),
        "bands": bands(),
        "ledger": ledger(),
        "problems": problems(),
    }


def intervals() -> str:
    """How often the interval holds the best rate on the design half, and how wide it is."""
    kinds = {"ReplayLab": "steps", "WholeEpochs": "whole epochs"}
    lines = ["| | holds the best rate | decades wide, median |", "|---|---:|---:|"]
    for name, held in claims.calibration()["left_out"]["interval"].items():
        kind, budget = name.split(", ")
        lines.append(f"| {kinds[kind]}, {budget} | {_share(held['holds'])} | {held['decades, median']:.2f} |")
    return "\n".join(lines)


def chances() -> str:
    """By the evidence: the chance that was said for no rate to be more than 1 % better, and how often that was so."""
    (early, late), (narrow, wide) = claims.COMPARED, claims.WIDE
    evidence = (
        f"neighbours on both sides compared for {late:.0%} of the summed rate or longer",
        f"for {early:.0%} or longer",
        f"for less, or not on both sides; the interval is {narrow:g} decades wide at most",
        f"the same; {wide:g} decades at most",
        "the same; wider, or there is none",
    )
    lines = ["| evidence | chance that is said | held | answers |", "|---|---:|---:|---:|"]
    for words, found in zip(evidence, claims.calibration()["left_out"]["confidence"], strict=True):
        cells = f"{_share(found['said'])} | {_share(found['held'])} | {found['cases']:,}"
        lines.append(f"| {words.replace('%', ' %')} | {cells} |")
    return "\n".join(lines)


def bands() -> str:
    """Say how often a range for what another rate costs holds."""
    held = claims.calibration()["left_out"]["bands"]
    return f"The ranges for what other rates cost, said to be 80 % sure, hold in {_share(held)}."


def _share(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")


def ledger() -> str:
    """Every look at the judge half, those whose method was not kept among them."""
    columns = ("median", "mean", "over 2 %", "over 5 %", "worst")
    lines = [f"| look | commit | method | {' | '.join(columns)} |", f"|---:|---|---|{'---:|' * len(columns)}"]
    for entry in judge.entries():
        kept = "" if "taken_back" not in entry else ", taken back"
        for method, figures in entry["figures"].items():
            cells = [_cell(name, figures[name], interval=False) for name in columns]
            head = f"| {entry['number']} | {entry['commit'][:12]}{kept} | {OURS[method]} | "
            lines.append(f"{head}{' | '.join(cells)} |")
    return "\n".join(lines)


def problems() -> str:
    """Every problem's family and length, and what is true of those of the design half."""
    lines = [
        "| problem | half | schedule | steps | best rate | good between | breaks at | noise |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    known = truths()
    for task in TASKS:
        head = f"| {task.description} ({task.family.data}, {task.family.network}, {task.family.loss})"
        told = f"{task.schedule.replace('_', ' ')} | {task.total_steps:,}"
        if task.name in known:
            true = known[task.name]
            low, high = true.window
            breaks = f"{true.cliff:.1e}" if np.isfinite(true.cliff) else ""
            truth = f"{true.best_rate:.1e} | {low:.1e} to {high:.1e} | {breaks} | {true.noise / true.scale:.1%}"
            lines.append(f"{head} | design | {told} | {truth.replace('%', ' %')} |")
        else:
            lines.append(f"{head} | judge | {told} | sealed | | | |")
    return "\n".join(lines)


def put(path: Path, parts: Mapping[str, str]) -> None:
    """Put each part between its markers in a file."""
    text = path.read_text()
    for name, part in parts.items():
        marked = re.compile(f"(<!-- {name} -->\\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not marked.search(text):
            raise ValueError(f"{path} has no place for {name!r}: put <!-- {name} --> and <!-- end of {name} --> in it")
        text = marked.sub(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)
    path.write_text(text)


def replays(found: Sequence[Mapping[str, Any]]) -> str:
    """A table of replays on the design half."""
    lines = ["| | median | mean | over 2 % | over 5 % | worst | cost |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in found:
        cells = [shown(key, row[key]).replace("%", " %") for key in ("median", "mean", "over_2", "over_5", "worst")]
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {row['cost']:.2f} |")
    return "\n".join(lines)


def draw(found: Sequence[Row], path: Path) -> None:
    """Draw every method's median, mean and worst case on a log scale of regret."""
    import altair as alt
    from PIL import Image

    least = 1e-4
    values = [
        {
            "method": row.label.replace("`", ""),
            "whose": "learnrate" if row.ours else "others",
            **{name: max(row.figures[name][0] or 0.0, least) for name in ("median", "mean", "worst")},
        }
        for row in found
    ]
    order = [value["method"] for value in values]
    color = alt.Color(
        "whose:N", scale=alt.Scale(domain=["learnrate", "others"], range=["#0b6e4f", "#7a7a7a"]), legend=None
    )
    y = alt.Y(
        "method:N", sort=order, title=None, axis=alt.Axis(labelLimit=380, labelPadding=12, ticks=False, domain=False)
    )
    labels = "datum.value <= 0.0001 ? '0.01 % or less' : datum.value * 100 + ' %'"
    axis = alt.Axis(values=[1e-4, 1e-3, 0.01, 0.05, 0.2, 1], labelExpr=labels, grid=True, titlePadding=8)
    x = {
        "scale": alt.Scale(type="log", domain=[least, 1]),
        "axis": axis,
        "title": "regret: what the answer loses, of the way from untrained to best",
    }
    base = alt.Chart(alt.Data(values=values))
    layers = alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=alt.X("median:Q", **x), x2="worst:Q", y=y, color=color),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("median:Q", **x), y=y, color=color),
        base.mark_tick(thickness=3, height=14, opacity=1).encode(x=alt.X("mean:Q", **x), y=y, color=color),
        base.mark_point(filled=True, size=70, shape="diamond", opacity=1).encode(
            x=alt.X("worst:Q", **x), y=y, color=color
        ),
    )
    title = alt.Title(
        f"What a recommended learning rate loses, on {len(JUDGE)} problems that nothing was chosen on",
        subtitle="circle: median; bar: mean; diamond: worst; green: learnrate",
        anchor="start",
    )
    chart = layers.properties(width=560, height={"step": 24}, title=title)
    chart.configure_view(stroke=None).configure_axis(labelFontSize=12).save(str(path), scale_factor=1.5)
    with Image.open(path) as picture:  # four colours and their shades: a third of the size
        picture.convert("RGB").quantize(64).save(path, optimize=True)


@click.command()
@click.option("--ablation", type=click.Path(exists=True, path_type=Path))
@click.option("--left-out", type=click.Path(exists=True, path_type=Path))
@click.option("--budgets", type=click.Path(exists=True, path_type=Path))
def main(ablation: Path | None, left_out: Path | None, budgets: Path | None) -> None:
    """Write the tables and the chart."""
    put(README, {"judge": readme_part()})
    put(PAGE, page_parts())
    for name, kept in (("ablation", ablation), ("left-out", left_out), ("budgets", budgets)):
        if kept is not None:
            put(PAGE, {name: replays(json.loads(kept.read_text()))})
    draw(rows(), CHART)


if __name__ == "__main__":
    main()
