"""Puts together what others reach on the judge half: peers.json, which the table of the docs is made of.

    peers/bin/python -m benchmarks.regret.finders run FILE lr_finder … --half judge        # range tests
    peers/bin/python -m benchmarks.regret.replacements run FILE prodigy … --half judge     # they replace the optimizer
    python -m benchmarks.regret.peers FILE                                                 # searches, and the figures

Others are run once and kept: nothing of ours is chosen by them. Aggregates alone are written, as the judge does.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import numpy as np
from benchmarks.regret import figures, searches
from benchmarks.regret.answers import SEEDS, Answer, Measures, best_of, lines, plain
from benchmarks.regret.page import PEERS
from benchmarks.regret.tasks import JUDGE

if TYPE_CHECKING:
    from collections.abc import Iterator


def found(file: Path) -> Iterator[Answer]:
    """What range tests suggested."""
    for row in lines(file):
        if "val_loss" not in row:
            yield Answer(**row)


def replaced(file: Path) -> Iterator[Answer]:
    """What optimizers reached that need no learning rate: an answer a problem, its three seeds together."""
    metrics: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in lines(file):
        if "val_loss" in row:
            metrics[row["method"], row["task"]].append(best_of(row["untrained"], row["val_loss"]))
    for (method, task), values in metrics.items():
        yield Answer(method, task, SEEDS[0], np.nan, cost=1.0, with_final=True, details={"metrics": values})


def searched(measures: Measures) -> Iterator[Answer]:
    """What searches find, replayed on the recordings."""
    for ask in searches.METHODS.values():
        for task in JUDGE:
            for seed in SEEDS:
                yield from ask(task, measures.grids[task.name], seed)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Write peers.json from FILES of answers and from the recordings; a method without new answers stays as it is."""
    with TemporaryDirectory() as nothing_trained:
        measures = Measures(Path(nothing_trained), JUDGE, unsealed=True)
    rows: dict[str, list[Answer]] = defaultdict(list)
    for answers in (searched(measures), *(found(file) for file in files), *(replaced(file) for file in files)):
        for answer in answers:
            rows[answer.method].append(answer)
    kept = json.loads(PEERS.read_text()) if PEERS.exists() else {}
    for method, mine in rows.items():
        missing = {task.name for task in JUDGE} - {row.task for row in mine}
        if missing:
            raise click.ClickException(f"{method} has no answer for {', '.join(sorted(missing))}: run it first")
        kept[method] = plain(figures.aggregate(method, figures.cases_of(mine, measures)))
        print(figures.text(method, kept[method]))
    PEERS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
