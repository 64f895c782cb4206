"""Asks our methods about the problems of the design half, by real runs, and measures what the answers are worth.

    python -m benchmarks.regret.evaluate DIRECTORY select_2 range_test [--only mlp --only lstm]

Whatever is finished is kept in DIRECTORY; the same command goes on from there.
"""

from __future__ import annotations

from pathlib import Path

import click
from benchmarks.regret import answers, data, figures
from benchmarks.regret.methods import METHODS
from benchmarks.regret.tasks import BY_NAME, DESIGN


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("methods", nargs=-1, type=click.Choice(sorted(METHODS)), required=True)
@click.option("--only", multiple=True, type=click.Choice([task.name for task in DESIGN]))
@click.option("--processes", default=2, show_default=True)
def main(directory: Path, methods: tuple[str, ...], only: tuple[str, ...], processes: int) -> None:
    """Ask METHODS about every problem of the design half and print each case and the figures."""
    if not data.are_sources_recorded():
        raise click.UsageError("some problems learn the standard library's sources: use Python 3.11.5 or a later 3.11")
    tasks = [BY_NAME[name] for name in only] or list(DESIGN)
    chosen = {name: METHODS[name] for name in methods}
    answers.ask_and_measure(directory, chosen, tasks, processes=processes, told=lambda line: print(line, flush=True))
    measures = answers.Measures(directory, tasks)
    for method in methods:
        rows = [row for row in answers.read(directory).values() if row.method == method and row.task in measures.grids]
        for task in tasks:
            mine = sorted((row for row in rows if row.task == task.name), key=lambda row: row.seed)
            told = "  ".join(f"{row.learning_rate or 0:7.1e} {measures.regret(row):6.2%}" for row in mine)
            print(f"{task.name:28} best {measures.truths[task.name].best_rate:7.1e}   {told}")
        print(figures.text(method, figures.aggregate(method, figures.cases_of(rows, measures))))


if __name__ == "__main__":
    main()
