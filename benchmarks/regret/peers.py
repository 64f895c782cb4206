"""Asks plain searches for a learning rate.

    python -m benchmarks.regret.peers DIRECTORY random optuna one_epoch exhaustive default_keras

They need full trainings, which they find in the recorded grid: it is the exhaustive table of them.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret import answers
from benchmarks.regret.answers import SEEDS, Answer
from benchmarks.regret.grid import TaskGrid, load_grid
from benchmarks.regret.tasks import TASKS, Task
from benchmarks.regret.truth import BROKEN, GOOD, around, best_epochs, first_above
from benchmarks.regret.truth import truths as _truths

truths = cache(_truths)
load = cache(load_grid)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRAWS = 40  # repetitions of a random search
STUDIES = 5  # repetitions of an Optuna study
RUNS = (2, 5, 10)
KERAS = {"SGD": 1e-2, "Adam": 1e-3, "AdamW": 1e-3, "RMSprop": 1e-3, "Adagrad": 1e-3}


# Searches, replayed on the grid


def ask_random(task: Task, seed: int) -> Iterator[Answer]:
    """The best of so many full trainings, their rates drawn evenly on the log scale over the grid's seven decades."""
    metrics = best_epochs(load()[task.name])
    for draw in range(DRAWS):
        rng = np.random.default_rng((draw, seed, _number(task)))
        for runs in (5, 20):
            tried = rng.integers(len(metrics), size=runs)
            place = int(tried[metrics[tried, seed].argmin()])
            yield _replayed(f"random_{runs}", task, seed + 1000 * draw, (place, runs))


def ask_optuna(task: Task, seed: int) -> Iterator[Answer]:
    """Optuna's TPE with its median pruner, each trial following the recorded curve of the nearest rate, by epochs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = load()[task.name]
    for draw in range(STUDIES):
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=1000 * draw + 10 * _number(task) + seed),
            pruner=optuna.pruners.MedianPruner(),
        )
        spent, best = 0, (np.inf, 0)
        for runs in RUNS:
            while spent < runs * grid.epochs:
                epochs, value, place = _trial(study, grid, seed, runs * grid.epochs - spent)
                spent += epochs
                best = min(best, (value, place))
            yield _replayed(f"optuna_{runs}", task, seed + 1000 * draw, (best[1], runs))


def _trial(study: Any, grid: TaskGrid, seed: int, most: int) -> tuple[int, float, int]:
    """One trial of a study: epochs trained, best validation loss, place on the grid."""
    from optuna.trial import TrialState

    trial = study.ask()
    rates = np.log10(grid.learning_rates)
    rate = trial.suggest_float("learning_rate", grid.learning_rates[0], grid.learning_rates[-1], log=True)
    place = int(np.abs(rates - np.log10(rate)).argmin())
    best = np.inf
    for epoch, loss in enumerate(grid.val_loss[place, seed].astype(float)):
        if epoch >= most or not np.isfinite(loss):
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1 if epoch < most else most, best, place
        best = min(best, loss)
        trial.report(loss, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1, best, place
    study.tell(trial, best)
    return grid.epochs, best, place


def ask_one_epoch(task: Task, seed: int) -> Iterator[Answer]:
    """The best after the first epoch of the full schedule, of 15 rates half a decade apart."""
    first = load()[task.name].val_loss[::2, seed, 0].astype(float)
    place = 2 * int(np.where(np.isfinite(first), first, np.inf).argmin())
    cost = len(first) / task.epochs
    yield replace(_replayed("one_epoch", task, seed, (place, cost)), with_final=False)


def ask_exhaustive(task: Task, seed: int) -> Iterator[Answer]:
    """The best of the whole grid, every rate trained once in full, and all that one seed of it tells.

    The seed is one of the three that judge it, so that no method with one seed can be expected to do better.
    """
    grid, true = load()[task.name], truths()[task.name]
    metrics = best_epochs(grid)[:, seed]
    known = np.flatnonzero(np.isfinite(metrics))
    place = int(known[metrics[known].argmin()])
    untrained, best = float(grid.untrained[seed]), float(metrics[place])
    way = untrained - best
    low, high = around(metrics <= best + GOOD * way, place)
    broken = (grid.diverged_at[:, seed] >= 0) | ((metrics - best) / way >= BROKEN)
    cliff = first_above(grid.learning_rates, broken, place)
    slower = [
        (float(grid.learning_rates[i]), float((metrics[i] - best) / way)) for i in (place - 2, place - 4) if i >= 0
    ]
    details = {
        "interval": (float(grid.learning_rates[low]), float(grid.learning_rates[high])),
        "largest_stable": cliff if np.isfinite(cliff) else None,
        "epochs": float(np.nanargmin(grid.val_loss[place, seed])) + 1,
        "slower": [pair for pair in slower if np.isfinite(pair[1])],
    }
    rate, regret = float(grid.learning_rates[place]), float(true.regret[place])
    yield Answer("exhaustive", task.name, seed, rate, float(len(known)), True, regret, details)


def ask_default_keras(task: Task, seed: int) -> Iterator[Answer]:
    yield Answer("default_keras", task.name, seed, KERAS[type(task.build(seed).optimizer).__name__])


def _replayed(method: str, task: Task, seed: int, found: tuple[int, float]) -> Answer:
    place, cost = found
    rate, regret = float(task.learning_rates[place]), float(truths()[task.name].regret[place])
    return Answer(method, task.name, seed, rate, cost, with_final=True, regret=regret)


def _number(task: Task) -> int:
    return [it.name for it in TASKS].index(task.name)


METHODS: dict[str, Callable[[Task, int], Iterator[Answer]]] = {
    "random": ask_random,
    "optuna": ask_optuna,
    "one_epoch": ask_one_epoch,
    "exhaustive": ask_exhaustive,
    "default_keras": ask_default_keras,
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("methods", nargs=-1, type=click.Choice(sorted(METHODS)), required=True)
def main(directory: Path, methods: tuple[str, ...]) -> None:
    """Ask METHODS about every task and seed, as far as they have not answered yet."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore")
    done = {(row.method.split("_")[0], row.task, row.seed % 1000) for row in answers.read(directory).values()}
    for method in methods:
        for seed in SEEDS:
            for task in TASKS:
                if (method.split("_")[0], task.name, seed) in done and method != "default_keras":
                    continue
                started = time.perf_counter()
                for answer in METHODS[method](task, seed):
                    answers.write(directory, answer)
            print(f"{method} seed {seed}: last took {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
