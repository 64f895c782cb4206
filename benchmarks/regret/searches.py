"""Plain searches and defaults, replayed on recordings: they need full trainings, and those are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.regret.answers import Answer
from benchmarks.regret.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.regret.grid import TaskGrid
    from benchmarks.regret.problem import Task

DRAWS = 10  # repetitions of a random search
STUDIES = 2  # repetitions of an Optuna study
RUNS = (2, 5, 10)
KERAS = {  # what Keras 3 has where PyTorch has another
    "SGD": 1e-2,
    "Adadelta": 1e-3,
    "Adafactor": 1e-3,
    "Adagrad": 1e-3,
    "Adamax": 1e-3,
    "NAdam": 1e-3,
    "RMSprop": 1e-3,
}


def ask_random(task: Task, grid: TaskGrid, seed: int) -> Iterator[Answer]:
    """The best of so many full trainings, their rates drawn evenly on the log scale over the grid's seven decades."""
    metrics = Table(grid).best_epochs
    for draw in range(DRAWS):
        rng = np.random.default_rng((draw, seed, *task.name.encode()))
        for runs in (5, 20):
            tried = rng.integers(len(metrics), size=runs)
            place = int(tried[metrics[tried, seed].argmin()])
            yield _answer(f"random_{runs}", task, seed + 1000 * draw, place, runs)


def ask_optuna(task: Task, grid: TaskGrid, seed: int) -> Iterator[Answer]:
    """Optuna's TPE with its median pruner, each trial following the recorded curve of the nearest rate, by epochs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table(grid)
    for draw in range(STUDIES):
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=sum(task.name.encode()) + 1000 * draw + seed),
            pruner=optuna.pruners.MedianPruner(),
        )
        spent, best = 0, (np.inf, 0)
        for runs in RUNS:
            while spent < runs * grid.epochs:
                epochs, value, place = _trial(study, table, seed, runs * grid.epochs - spent)
                spent += epochs
                best = min(best, (value, place))
            yield _answer(f"optuna_{runs}", task, seed + 1000 * draw, best[1], runs)


def _trial(study: Any, table: Table, seed: int, most: int) -> tuple[int, float, int]:
    """One trial of a study: epochs trained, best validation loss, place on the grid."""
    from optuna.trial import TrialState

    trial = study.ask()
    rates = table.learning_rates
    place = table.place(trial.suggest_float("learning_rate", float(rates[0]), float(rates[-1]), log=True))
    best, losses = np.inf, table.at_epochs[place, seed]
    for epoch, loss in enumerate(losses.tolist()):
        if epoch >= most or not np.isfinite(loss):
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1 if epoch < most else most, best, place
        best = min(best, loss)
        trial.report(loss, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1, best, place
    study.tell(trial, best)
    return len(losses), best, place


def ask_one_epoch(task: Task, grid: TaskGrid, seed: int) -> Iterator[Answer]:
    """The best after the first epoch of the full schedule, of 15 rates half a decade apart."""
    first = Table(grid).at_epochs[::2, seed, 0]
    place = 2 * int(np.where(np.isfinite(first), first, np.inf).argmin())
    yield _answer("one_epoch", task, seed, place, 1 + len(first) / task.epochs)


def ask_exhaustive(task: Task, grid: TaskGrid, seed: int) -> Iterator[Answer]:
    """The best of the whole grid, every rate trained once in full with one of the seeds that judge it.

    No method that trains with one seed can be expected to do better.
    """
    metrics = Table(grid).best_epochs[:, seed]
    yield _answer("exhaustive", task, seed, int(metrics.argmin()), len(metrics))


def ask_default(task: Task, _: TaskGrid, seed: int) -> Iterator[Answer]:
    """The optimizer's default in PyTorch."""
    yield Answer("default", task.name, seed, task.default_learning_rate)


def ask_default_keras(task: Task, _: TaskGrid, seed: int) -> Iterator[Answer]:
    """The optimizer's default in Keras."""
    name = type(task.build(seed).optimizer).__name__
    yield Answer("default_keras", task.name, seed, KERAS.get(name, task.default_learning_rate))


def _answer(method: str, task: Task, seed: int, place: int, cost: float) -> Answer:
    return Answer(method, task.name, seed, float(task.learning_rates[place]), cost, with_final=True)


METHODS: dict[str, Callable[[Task, TaskGrid, int], Iterator[Answer]]] = {
    "random": ask_random,
    "optuna": ask_optuna,
    "one_epoch": ask_one_epoch,
    "exhaustive": ask_exhaustive,
    "default": ask_default,
    "default_keras": ask_default_keras,
}
