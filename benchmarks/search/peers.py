"""The others: scikit-learn's two random searches and Optuna's TPE with its pruners, over the same trainings.

Each returns its history: the epochs spent when it had trained another model in full, and its best validation loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from benchmarks.search.tasks import BY_NAME, EPOCHS, Task
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # the import below needs it
from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV

from learnrate.schedules import as_values

if TYPE_CHECKING:
    from collections.abc import Iterator

History = list[tuple[int, float]]
RUNS = 20
BROKEN = 1e9
"""The loss of a training that broke, for scikit-learn, whose scores must be numbers."""


def validation_losses(task: Task, point: dict[str, Any], seed: int, epochs: int = EPOCHS) -> Iterator[float]:
    """Train a point and yield its validation loss after each epoch; NaN, and no more, where it breaks."""
    one = task.build(point["momentum"], point["batch_size"], point["width"], seed)
    one.begin(point["learning_rate"], EPOCHS, seed)
    steps = one.steps_per_epoch
    schedule = task.schedule(point["learning_rate"], EPOCHS * steps)
    for epoch in range(epochs):
        losses = one.train(as_values(schedule, epoch * steps, (epoch + 1) * steps))["loss"]
        value = one.evaluate()["val_loss"] if np.isfinite(losses).all() else np.nan
        yield value
        if not np.isfinite(value):
            return


def optunas(task: Task, seed: int, pruner: optuna.pruners.BasePruner) -> History:
    """Optuna's TPE, as it comes, until so many runs are spent."""
    history: History = []
    spent = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal spent
        point = {
            "learning_rate": trial.suggest_float("learning_rate", *task.rates, log=True),
            "momentum": trial.suggest_float("momentum", 0.0, 0.98),
            "batch_size": trial.suggest_categorical("batch_size", task.batches),
            "width": trial.suggest_int("width", *task.widths, log=True),
        }
        best = np.inf
        for epoch, value in enumerate(validation_losses(task, point, 1000 * seed + trial.number), 1):
            spent += 1
            if not np.isfinite(value):
                raise optuna.TrialPruned
            best = min(best, value)
            trial.report(value, epoch)
            if epoch < EPOCHS and trial.should_prune():
                raise optuna.TrialPruned
        history.append((spent, best))
        return best

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    while spent < RUNS * EPOCHS:
        study.optimize(objective, n_trials=1)
    return history


class Net(BaseEstimator):
    """The same training as an estimator; its score is minus the validation loss of its best epoch."""

    spent = 0
    history: History = []  # noqa: RUF012  # what all clones write to

    def __init__(  # noqa: PLR0917  # scikit-learn's way
        self,
        task: str = "digits",
        seed: int = 0,
        epochs: int = EPOCHS,
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        batch_size: int = 32,
        width: int = 8,
    ) -> None:
        self.task, self.seed, self.epochs = task, seed, epochs
        self.learning_rate, self.momentum, self.batch_size, self.width = learning_rate, momentum, batch_size, width

    def fit(self, x: Any, y: Any) -> Net:  # noqa: D102  # scikit-learn's own
        del x, y
        task = BY_NAME[self.task]
        point = {name: getattr(self, name) for name in task.space}
        values = list(validation_losses(task, point, self.seed, self.epochs))
        Net.spent += len(values)
        self.score_ = -min(values) if np.isfinite(values).all() else -BROKEN
        if self.epochs == EPOCHS and self.score_ > -BROKEN:
            Net.history.append((Net.spent, -self.score_))
        return self

    def score(self, x: Any, y: Any) -> float:  # noqa: D102  # scikit-learn's own
        del x, y
        return self.score_


def scikit_learns(task: Task, seed: int, *, halving: bool) -> History:
    """scikit-learn's search with one split; halving begins again with other points until so many runs are spent."""
    space = {
        "learning_rate": stats.loguniform(*task.rates),
        "momentum": stats.uniform(0.0, 0.98),
        "batch_size": list(task.batches),
        "width": list(range(task.widths[0], task.widths[1] + 1)),
    }
    Net.history, Net.spent = [], 0
    rows = np.zeros((4, 1))
    shared: dict[str, Any] = {"cv": [([0, 1], [2, 3])], "refit": False}
    repeat = 0
    while Net.spent < RUNS * EPOCHS:
        net = Net(task=task.name, seed=1000 * seed + repeat)
        again = shared | {"random_state": 1000 * seed + repeat}
        if halving:
            HalvingRandomSearchCV(
                net, space, resource="epochs", max_resources=EPOCHS, min_resources=2, n_candidates=9, factor=3, **again
            ).fit(rows, np.arange(4))
        else:
            RandomizedSearchCV(net, space, n_iter=RUNS, **again).fit(rows, np.arange(4))
        repeat += 1
    return Net.history


PEERS = {
    "RandomizedSearchCV": lambda task, seed: scikit_learns(task, seed, halving=False),
    "HalvingRandomSearchCV": lambda task, seed: scikit_learns(task, seed, halving=True),
    "Optuna TPE, median pruner": lambda task, seed: optunas(task, seed, optuna.pruners.MedianPruner()),
    "Optuna TPE, Hyperband pruner": lambda task, seed: optunas(
        task, seed, optuna.pruners.HyperbandPruner(1, EPOCHS, 3)
    ),
}
