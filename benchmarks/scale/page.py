"""Writes the tables and the chart of docs/scale.md from the simulated searches: python -m benchmarks.scale.page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import altair as alt
from benchmarks.scale.simulate import OUT

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "scale.md"
CHART = DOCS / "scale.png"
NAMES = {"none": "none", "successive": "successive", "hyperband": "Hyperband"}


def rows_of(path: Path = OUT) -> list[dict[str, Any]]:
    """Read the searches; of the same one the latest."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        found[tuple(row[name] for name in ("sampler", "halving", "trials", "workers", "deaths_per_day", "study"))] = row
    return [found[key] for key in sorted(found)]


def plain(row: dict[str, Any]) -> bool:
    """Tell a search of the main table: random points, no deaths, no study."""
    return row["sampler"] == "random" and not row["deaths_per_day"] and row["study"] == "none"


def main_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| trials | halving | workers | makespan | ideal | of the ideal | idle | driver at work |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['trials']:,} | {NAMES[row['halving']]} | {row['workers']:,} | {row['hours']:,.2f} h "
        f"| {row['ideal_hours']:,.2f} h | {row['efficiency']:.0%} | {row['idle_share']:.0%} "
        f"| {row['driver_share']:.1%} |"
        for row in sorted(rows, key=lambda row: (row["trials"], row["halving"], row["workers"]))
        if plain(row)
    ]
    return "\n".join(lines)


def driver_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| sampler | trials | workers | study | clock | an event | a segment | memory a trial |",
        "|---|---:|---:|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['sampler']} | {row['trials']:,} | {row['workers']:,} | {row['study']} | {row['clock']} "
        f"| {row['ms_per_event']:.2f} ms | {row['ms_per_segment']:.1f} ms | {memory(row)} |"
        for row in sorted(
            rows, key=lambda row: (row["sampler"] != "random", row["trials"], row["study"], row["workers"])
        )
        if row["halving"] == "successive" and not row["deaths_per_day"]
    ]
    return "\n".join(lines)


def memory(row: dict[str, Any]) -> str:
    """Say what a trial takes; few trials do not tell, since libraries that are loaded late take more."""
    return f"{row['kb_per_trial']:.1f} kB" if row["trials"] >= 100_000 else "–"


def deaths_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| workers | makespan | of the ideal | work that was lost |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {row['workers']:,} | {row['hours']:.2f} h | {row['efficiency']:.0%} | {row['lost_share']:.2%} |"
        for row in rows
        if row["deaths_per_day"]
    ]
    return "\n".join(lines)


def chart(rows: list[dict[str, Any]]) -> alt.Chart:
    """Draw the makespan of the main table's searches by successive halving against the ideal."""
    values = [
        {"workers": row["workers"], "hours": row[what], "trials": f"{row['trials']:,} trials", "which": which}
        for row in rows
        if plain(row) and row["halving"] == "successive"
        for what, which in (("hours", "simulated"), ("ideal_hours", "ideal"))
    ]
    decades = alt.Axis(values=[0.1, 1, 10, 100, 1000, 10000], format=",")
    return (
        alt.Chart(alt.Data(values=values), width=420, height=300)
        .mark_line(point=True)
        .encode(
            x=alt.X("workers:Q", scale=alt.Scale(type="log"), title="workers", axis=decades),
            y=alt.Y("hours:Q", scale=alt.Scale(type="log"), title="hours until the answer", axis=decades),
            color=alt.Color("trials:N", title=None, sort=["1,000 trials", "10,000 trials", "100,000 trials"]),
            strokeDash=alt.StrokeDash(
                "which:N", title=None, sort=["simulated", "ideal"], legend=alt.Legend(symbolType="stroke")
            ),
        )
    )


def main() -> None:
    rows = rows_of()
    text = PAGE.read_text()
    for name, table in (("main", main_table), ("driver", driver_table), ("deaths", deaths_table)):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        text = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n\n{table(rows)}\n\n{end}", text, flags=re.DOTALL)  # noqa: B023  # used at once
    PAGE.write_text(text)
    chart(rows).save(CHART, scale_factor=1.5)


if __name__ == "__main__":
    main()
