"""The page docs/benchmarks.md: its table, its figures and its chart, from the answers of all methods."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.regret import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.regret.answers import Answer, Judge

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "benchmarks.md"
CHART = DOCS / "benchmarks.png"
OURS = ("select_1.3", "select_2", "select_5", "range_test")
TARGETS = {
    "share of the interval that is good": "at least 0.90",
    "interval over the true window, median": "at least 0.50",
    "cliff within a factor 2": "at least 0.90",
    "epochs within 15 % or costing under 1 %": "1",
    "slower costs within a quarter": "1",
    "pairs of seeds within a factor 2": "at least 0.90",
    "answers that diverge for a seed": "0",
    "cases over 5 %": "",
    "of these, warned of": "at least 0.80",
}
BAD = 0.05
FEWEST = 18  # cases that a method needs to be drawn
LABELS = {
    "select_1.3": "`select`, budget 1.3",
    "select_2": "`select`, budget 2",
    "select_5": "`select`, budget 5",
    "range_test": "`range_test`, 100 steps",
    "default": "the optimizer's default in PyTorch",
    "default_keras": "the optimizer's default in Keras",
    "lr_finder": "torch-lr-finder, steepest",
    "fastai_valley": "fastai, valley",
    "fastai_slide": "fastai, slide",
    "fastai_steep": "fastai, steep",
    "fastai_minimum": "fastai, minimum",
    "lightning": "Lightning",
    "random_5": "random, 5 full runs",
    "random_20": "random, 20 full runs",
    "optuna_2": "Optuna TPE with the median pruner, 2 runs",
    "optuna_5": "Optuna TPE with the median pruner, 5 runs",
    "optuna_10": "Optuna TPE with the median pruner, 10 runs",
    "one_epoch": "one epoch at 15 half-decade values",
    "exhaustive": "the whole grid, 29 full runs with one seed",
}


@dataclass(frozen=True)
class Summary:
    """One method's row of the table."""

    method: str
    regrets: np.ndarray  # one a case
    draws: np.ndarray  # which repetition of a random search each case belongs to
    cost: float  # median, in full training runs, the final training included
    unmeasured: int = 0

    @property
    def median(self) -> float:
        """The regret of the middle case."""
        return float(np.median(self.regrets))

    @property
    def worst(self) -> float:
        """The largest regret of all cases; of a random search repeated, the median repetition's."""
        return float(np.median([self.regrets[self.draws == draw].max() for draw in np.unique(self.draws)]))

    @property
    def share_bad(self) -> float:
        """How many cases lost more than 5 %."""
        return float(np.mean(self.regrets > BAD))


def summaries(rows: Sequence[Answer], judge: Judge) -> list[Summary]:
    """A row for each method that has answered, in the table's order.

    Where nobody has trained at an answer yet, it is taken for the grid's nearest rate and counted as `unmeasured`.
    """
    found = []
    for method in LABELS:
        mine = [row for row in rows if row.method == method]
        if mine:
            costs = [row.cost + (0.0 if row.with_final else 1.0) for row in mine]
            regrets = np.array([judge.regret_nearby(row) for row in mine])
            draws = np.array([row.seed // 1000 for row in mine])
            found.append(Summary(method, regrets, draws, float(np.median(costs)), _unmeasured(mine, judge)))
    return found


def _unmeasured(rows: Sequence[Answer], judge: Judge) -> int:
    rated = [row for row in rows if row.regret is None and row.learning_rate is not None]
    return sum(not judge.known(row.task, row.learning_rate or 1.0) for row in rated)


def summary_text(found: Sequence[Summary]) -> str:
    """The table as plain text."""
    lines = [f"{'method':44} cases  cost  median   worst  over 5 %  over 2 %"]
    lines += [
        f"{LABELS[row.method]:44} {len(row.regrets):5d} {row.cost:5.2f} {row.median:7.2%} {row.worst:7.1%}"
        f" {row.share_bad:8.0%} {np.mean(row.regrets > 0.02):8.0%}"
        + (f"  ({row.unmeasured} read off the nearest rate)" if row.unmeasured else "")
        for row in found
    ]
    return "\n".join(lines)


def write(rows: Sequence[Answer], judge: Judge, directory: Path) -> None:
    """Put what there is between the page's markers, and draw the chart."""
    found = summaries(rows, judge)
    parts = {"table": _table(found), "figures": _figures(rows, judge), "shortfalls": _shortfalls(found)}
    for name in ("ablation", "left-out"):
        kept = directory / f"{name}.json"
        if kept.exists():
            parts[name] = _replays(json.loads(kept.read_text()))
    text = PAGE.read_text()
    for name, part in parts.items():
        marked = re.compile(f"(<!-- {name} -->\\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not marked.search(text):
            raise ValueError(f"{PAGE} has no place for {name!r}: put <!-- {name} --> and <!-- end of {name} --> in it")
        text = marked.sub(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)
    PAGE.write_text(text)
    draw(found, CHART)


WANTED = {  # median, worst
    "select_1.3": (0.005, 0.05),
    "select_2": (0.002, 0.02),
    "select_5": (None, 0.015),
    "range_test": (0.005, 0.10),
}


def _shortfalls(found: Sequence[Summary]) -> str:
    lines = []
    for row in found:
        for name, value, wanted in zip(
            ("median", "worst"), (row.median, row.worst), WANTED.get(row.method, (None, None)), strict=True
        ):
            if wanted is not None and value > wanted:
                lines.append(f"- {LABELS[row.method]}: {name} {_percent(value)}, wanted {_percent(wanted)}")
    return "\n".join(lines) or "Nothing does."


def _percent(share: float) -> str:
    return f"{share:.2%}".replace("%", " %") if share < 0.01 else f"{share:.1%}".replace("%", " %")


def _table(found: Sequence[Summary]) -> str:
    lines = [
        "| method | runs beyond the final one | in all | median | worst | share over 5 % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        name = f"**{LABELS[row.method]}**" if row.method in OURS else LABELS[row.method]
        name += " †" if row.unmeasured else ""
        lines.append(
            f"| {name} | {row.cost - 1:.1f} | {row.cost:.1f} | {_percent(row.median)} | {_percent(row.worst)}"
            f" | {row.share_bad:.0%} |".replace("% |", " % |").replace("  %", " %")
        )
    partly = [f"{LABELS[row.method]} {row.unmeasured} of {len(row.regrets)}" for row in found if row.unmeasured]
    if partly:
        lines += [
            "",
            f"† Read off the grid's nearest rate, at most a factor 1.33 away, or at its end: {'; '.join(partly)}.",
        ]
    return "\n".join(lines)


def _figures(rows: Sequence[Answer], judge: Judge) -> str:
    mine = [row for row in rows if row.method == "select_2"]
    tests = [
        row
        for row in rows
        if row.method == "range_test" and (row.learning_rate is None or judge.known(row.task, row.learning_rate))
    ]
    whole = [row for row in rows if row.method == "exhaustive"]
    told = figures.select_figures(mine, judge) if mine else {}
    told |= figures.range_test_figures(tests, judge) if tests else {}
    limits = figures.select_figures(whole, judge) if whole else {}
    lines = ["| figure | measured | the whole grid, one seed | wanted |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {value:.2f} | {_shown(limits.get(name))} | {TARGETS.get(name, '')} |"
        for name, value in told.items()
    ]
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _replays(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| | median | mean | worst | share over 2 % | cost |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row['name']} | {_percent(row['median'])} | {_percent(row['mean'])} | {_percent(row['worst'])}"
        f" | {100 * row['over_2']:.0f} % | {row['cost']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def draw(found: Sequence[Summary], path: Path) -> None:
    """Draw every method's cases on a log scale of regret, its median and its worst."""
    import altair as alt
    from PIL import Image

    least = 1e-3
    found = [row for row in found if len(row.regrets) >= FEWEST]
    order = [_plain_label(row.method) for row in found]
    ends: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    for row in found:
        common = {"method": _plain_label(row.method), "whose": "learnrate" if row.method in OURS else "others"}
        ends.append({**common, "median": max(row.median, least), "worst": max(row.worst, least)})
        shown = row.regrets[row.draws == row.draws.min()]
        cases += [{**common, "regret": float(max(regret, least))} for regret in shown]
    color = alt.Color(
        "whose:N", scale=alt.Scale(domain=["learnrate", "others"], range=["#0b6e4f", "#7a7a7a"]), legend=None
    )
    y = alt.Y(
        "method:N", sort=order, title=None, axis=alt.Axis(labelLimit=320, labelPadding=12, ticks=False, domain=False)
    )
    scale = alt.Scale(type="log", domain=[least, 1])
    ticks = [0.001, 0.01, 0.05, 0.1, 1]
    labels = "datum.value <= 0.001 ? '0.1 % or less' : datum.value * 100 + ' %'"
    axis = alt.Axis(values=ticks, labelExpr=labels, grid=True, titlePadding=8)
    x = {"scale": scale, "axis": axis, "title": "regret: what the answer loses, of the way from untrained to best"}
    dots = alt.Chart(alt.Data(values=cases)).mark_tick(thickness=1, height=12, opacity=0.35)
    line = alt.Chart(alt.Data(values=ends)).mark_rule(strokeWidth=2)
    middle = alt.Chart(alt.Data(values=ends)).mark_point(filled=True, size=90, opacity=1)
    worst = alt.Chart(alt.Data(values=ends)).mark_point(filled=True, size=70, shape="diamond", opacity=1)
    layers = alt.layer(
        line.encode(x=alt.X("median:Q", **x), x2="worst:Q", y=y, color=color),
        dots.encode(x=alt.X("regret:Q", **x), y=y, color=color),
        middle.encode(x=alt.X("median:Q", **x), y=y, color=color),
        worst.encode(x=alt.X("worst:Q", **x), y=y, color=color),
    )
    title = alt.Title(
        "What a recommended learning rate loses, over 18 tasks and 3 seeds",
        subtitle="circle: median; diamond: worst; ticks: single cases; green: learnrate",
        anchor="start",
    )
    chart = layers.properties(width=560, height={"step": 24}, title=title)
    chart.configure_view(stroke=None).configure_axis(labelFontSize=12).save(str(path), scale_factor=1.5)
    with Image.open(path) as picture:  # four colours and their shades: a third of the size
        picture.convert("RGB").quantize(64).save(path, optimize=True)


def _plain_label(method: str) -> str:
    return LABELS[method].replace("`", "")
