"""The section "Search" of docs/benchmarks.md: its table and its chart, from the searches that have been recorded.

python -m benchmarks.search.page            # the tables, and docs/search-benchmark.png
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from benchmarks.search.compare import METHODS, RESULTS
from benchmarks.search.tasks import BY_NAME, EPOCHS, TASKS

COSTS = (4, 8, 12, 20)
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PICTURE = PAGE.with_name("search-benchmark.png")
Rows = list[dict[str, Any]]


def untrained() -> dict[str, float]:
    """Return each task's validation loss before training, the median over a few networks."""
    losses = {}
    for task in TASKS:
        width = round(float(np.sqrt(task.widths[0] * task.widths[1])))
        built = [task.build(0.0, task.batches[0], width, seed) for seed in range(5)]
        losses[task.name] = float(np.median([one.evaluate()["val_loss"] for one in built]))
    return losses


def regrets(rows: Rows, *, held_out: bool | None = None) -> dict[str, dict[int, np.ndarray]]:
    """Return each method's regrets at each cost: 0 is the best that any search reached on the task, 1 no training."""
    least = {task: min(loss for row in rows if row["task"] == task for _, loss in row["found"]) for task in BY_NAME}
    worst = untrained()
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        task, own = row["task"], re.search(r", budget (\d+)$", row["method"])
        if held_out is not None and BY_NAME[task].held_out is not held_out:
            continue
        name = "search, default" if own else row["method"]
        for cost in COSTS if own is None else (int(own[1]),):
            best = min((loss for spent, loss in row["found"] if spent <= cost * EPOCHS), default=worst[task])
            regret = min((best - least[task]) / (worst[task] - least[task]), 1.0)
            found.setdefault(name, {}).setdefault(cost, []).append(regret)
    order = [*dict.fromkeys(re.sub(r", budget .*", "", name) for name in METHODS)]
    return {name: {cost: np.array(one) for cost, one in found[name].items()} for name in order if name in found}


def table(found: dict[str, dict[int, np.ndarray]]) -> str:
    """Return the median and the mean regret of each method at each cost, as Markdown."""
    lines = ["| method | searches | " + " | ".join(f"cost {cost}" for cost in COSTS) + " |"]
    lines.append("|---|---:|" + "---:|" * len(COSTS))
    for name, at in found.items():
        cells = [
            f"{100 * np.median(at[cost]):.1f} / {100 * at[cost].mean():.1f} %" if cost in at else "" for cost in COSTS
        ]
        shown = f"**{name}**" if name == "search, default" else name
        lines.append(f"| {shown} | {max(map(len, at.values()))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: dict[str, dict[int, np.ndarray]]) -> None:
    """Draw the mean regret against the cost."""
    points = [
        {"method": name, "cost": cost, "regret": 100 * float(one.mean())}
        for name, at in found.items()
        for cost, one in at.items()
    ]
    chart = (
        alt.Chart(alt.Data(values=points), width=560, height=340)
        .mark_line(point=True)
        .encode(
            x=alt.X("cost:Q", title="cost in full trainings", axis=alt.Axis(values=list(COSTS))),
            y=alt.Y("regret:Q", title="mean regret, %").scale(type="symlog", constant=5),
            color=alt.Color("method:N", title=None, sort=list(found)).scale(scheme="category20"),
            size=alt.condition("datum.method == 'search, default'", alt.value(4), alt.value(1.5)),
        )
    )
    chart.save(PICTURE, ppi=144)


def main() -> None:
    """Print the tables, write them into the page, and draw the chart."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    text = PAGE.read_text()
    for title, held_out in (("search", None), ("search, looked at", False), ("search, left out", True)):
        found = table(regrets(rows, held_out=held_out))
        print(f"\n{title}\n\n{found}")
        text = re.sub(
            rf"(<!-- {title} -->\n).*?(<!-- end of {title} -->)",
            lambda at, found=found: at[1] + found + "\n" + at[2],
            text,
            flags=re.DOTALL,
        )
    PAGE.write_text(text)
    draw(regrets(rows))


if __name__ == "__main__":
    main()
