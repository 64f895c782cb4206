"""Quality against cost of searches over learning rate, momentum, batch size and width: ours, scikit-learn's, Optuna's.

    python benchmarks/search/compare.py --seeds 3 --output benchmarks/search/results.csv

Each method trains the same models by the same code. Its quality at a cost is the best validation loss of any epoch
that it has trained so far, as regret: 0 is the best that any method ever reached on the task, 1 the untrained model.
A cost of 1 is a full training.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # the import below needs it
from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV

import learnrate

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCHS, RUNS, TRAIN = 9, 20, 320
COSTS = (2, 4, 8, 12, 16, 20)
SPACE = {
    "learning_rate": learnrate.log_uniform(1e-4, 10.0),
    "momentum": learnrate.uniform(0.0, 0.98),
    "batch_size": [16, 32, 64],
    "width": learnrate.integers(8, 256, log=True),
}
History = list[float]  # the validation loss of each epoch, in the order in which they were trained


def digits(*, batch_size: int, width: int, momentum: float, seed: int) -> learnrate.TorchTrainable:
    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    return problem(x, y, 10, torch.nn.functional.cross_entropy, batch_size, width, momentum, seed)


def waves(*, batch_size: int, width: int, momentum: float, seed: int) -> learnrate.TorchTrainable:
    generator = np.random.default_rng(0)
    x = torch.tensor(generator.uniform(-1, 1, (3 * TRAIN, 2)), dtype=torch.float32)
    y = (
        torch.sin(4 * x[:, :1]) * torch.cos(3 * x[:, 1:])
        + 0.1 * torch.tensor(generator.normal(size=(3 * TRAIN, 1))).float()
    )
    return problem(x, y, 1, torch.nn.functional.mse_loss, batch_size, width, momentum, seed)


def problem(  # noqa: PLR0917  # the tasks' own
    x: torch.Tensor, y: torch.Tensor, outputs: int, loss: Any, batch_size: int, width: int, momentum: float, seed: int
) -> learnrate.TorchTrainable:
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(x.shape[1], width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, outputs))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    rows = torch.utils.data.TensorDataset
    train = torch.utils.data.DataLoader(rows(x[:TRAIN], y[:TRAIN]), batch_size, shuffle=True)
    return learnrate.TorchTrainable(model, optimizer, loss, train, [(x[TRAIN : 3 * TRAIN], y[TRAIN : 3 * TRAIN])])


TASKS: dict[str, Callable[..., learnrate.TorchTrainable]] = {"digits": digits, "waves": waves}


def ours(build: Callable[..., Any], seed: int, **settings: Any) -> History:
    history: History = []

    def build_it(batch_size: int, width: int, momentum: float, seed: int) -> learnrate.TorchTrainable:
        return build(batch_size=batch_size, width=width, momentum=momentum, seed=seed)

    def on_event(event: Any) -> None:
        if event.kind.value == "epoch":
            history.append(float(event.trial.curve.last("val_loss")) if len(event.trial.curve) else np.nan)

    asked = {"num_trials": RUNS, "budget": None} | settings
    learnrate.search(build_it, SPACE, epochs=EPOCHS, seed=seed, on_event=on_event, **asked)
    return history


def epochs_of(build: Callable[..., Any], point: dict[str, Any], seed: int, epochs: int) -> Any:
    """Train a point and yield its validation loss after each epoch; end where it breaks."""
    rest = {name: value for name, value in point.items() if name != "learning_rate"}
    one = build(**rest, seed=seed)
    one.begin(point["learning_rate"], EPOCHS, seed)
    for _ in range(epochs):
        losses = [one.train(np.full(part, point["learning_rate"]))["loss"] for part in parts(one.steps_per_epoch)]
        value = one.evaluate()["val_loss"] if np.isfinite(np.concatenate(losses)).all() else np.nan
        yield value
        if not np.isfinite(value):
            return


def parts(steps: int) -> list[int]:
    return [min(64, steps - start) for start in range(0, steps, 64)]


def optunas(build: Callable[..., Any], seed: int, pruner: optuna.pruners.BasePruner, runs: float = RUNS) -> History:
    history: History = []

    def objective(trial: optuna.Trial) -> float:
        point = {
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 10.0, log=True),
            "momentum": trial.suggest_float("momentum", 0.0, 0.98),
            "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
            "width": trial.suggest_int("width", 8, 256, log=True),
        }
        best = np.inf
        for epoch, value in enumerate(epochs_of(build, point, 1000 * seed + trial.number, EPOCHS)):
            history.append(value)
            if not np.isfinite(value):
                raise optuna.TrialPruned
            best = min(best, value)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    while len(history) < runs * EPOCHS:
        study.optimize(objective, n_trials=1)
    return history


class Net(BaseEstimator):
    """The same training as an estimator; its score is that of its best epoch."""

    history: History = []  # noqa: RUF012  # what all clones write to

    def __init__(  # noqa: PLR0917  # scikit-learn's way
        self,
        build: str = "digits",
        seed: int = 0,
        epochs: int = EPOCHS,
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        batch_size: int = 32,
        width: int = 8,
    ) -> None:
        self.build, self.seed, self.epochs = build, seed, epochs
        self.learning_rate, self.momentum, self.batch_size, self.width = learning_rate, momentum, batch_size, width

    def fit(self, x: Any, y: Any) -> Net:  # noqa: D102  # scikit-learn's own
        del x, y
        point = {name: getattr(self, name) for name in SPACE}
        values = list(epochs_of(TASKS[self.build], point, self.seed, self.epochs))
        Net.history.extend(values)
        finite = [value for value in values if np.isfinite(value)]
        self.score_ = -min(finite) if len(finite) == len(values) else -1e9
        return self

    def score(self, x: Any, y: Any) -> float:  # noqa: D102  # scikit-learn's own
        del x, y
        return self.score_


def scikit_learns(task: str, seed: int, *, halving: bool) -> History:
    from scipy import stats

    space = {
        "learning_rate": stats.loguniform(1e-4, 10.0),
        "momentum": stats.uniform(0.0, 0.98),
        "batch_size": [16, 32, 64],
        "width": [int(width) for width in np.geomspace(8, 256, 30)],
    }
    Net.history.clear()
    net, rows = Net(build=task, seed=seed), np.zeros((4, 1))
    shared: dict[str, Any] = {"cv": [([0, 1], [2, 3])], "refit": False, "random_state": seed}
    if halving:
        for repeat in range(3):
            again = shared | {"random_state": seed + 100 * repeat}
            HalvingRandomSearchCV(
                net, space, resource="epochs", max_resources=EPOCHS, min_resources=1, n_candidates=27, factor=3, **again
            ).fit(rows, np.arange(4))
    else:
        RandomizedSearchCV(net, space, n_iter=RUNS, **shared).fit(rows, np.arange(4))
    return list(Net.history)


METHODS: dict[str, Callable[[str, int], History]] = {
    "search, TPE (default)": lambda task, seed: ours(TASKS[task], seed),
    "search, TPE, successive halving": lambda task, seed: ours(
        TASKS[task], seed, halving="successive", num_trials=40, budget=20.0
    ),
    "search, TPE, Hyperband": lambda task, seed: ours(
        TASKS[task], seed, halving="hyperband", num_trials=40, budget=20.0
    ),
    "search, stages": lambda task, seed: ours(TASKS[task], seed, stages="auto"),
    "search, GP": lambda task, seed: ours(TASKS[task], seed, sampler="gp"),
    "search, even coverage": lambda task, seed: ours(TASKS[task], seed, sampler="qmc"),
    "search, random": lambda task, seed: ours(TASKS[task], seed, sampler="random"),
    "RandomizedSearchCV": lambda task, seed: scikit_learns(task, seed, halving=False),
    "HalvingRandomSearchCV": lambda task, seed: scikit_learns(task, seed, halving=True),
    "Optuna TPE, median pruner": lambda task, seed: optunas(TASKS[task], seed, optuna.pruners.MedianPruner()),
    "Optuna TPE, Hyperband pruner": lambda task, seed: optunas(
        TASKS[task], seed, optuna.pruners.HyperbandPruner(1, EPOCHS, 3)
    ),
}


def best_at(history: History, cost: float) -> float:
    return float(np.nanmin([*history[: round(cost * EPOCHS)], np.inf]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--output", type=Path, default=Path("results.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    rows: list[tuple[str, int, str, float, float]] = []
    for task in arguments.tasks:
        for seed in range(arguments.seeds):
            for name, method in METHODS.items():
                history = method(task, seed)
                rows += [(task, seed, name, cost, best_at(history, cost)) for cost in COSTS]
                print(
                    task,
                    seed,
                    name,
                    len(history) / EPOCHS,
                    *(f"{row[-1]:.4f}" for row in rows[-len(COSTS) :]),
                    flush=True,
                )
        with arguments.output.open("w", newline="") as file:
            csv.writer(file).writerows([("task", "seed", "method", "cost", "best validation loss"), *rows])
    print(table(rows))


def table(rows: list[tuple[str, int, str, float, float]]) -> str:
    """Return the mean regret of each method at each cost, as Markdown."""
    tasks = {row[0] for row in rows}
    least = {task: min(row[-1] for row in rows if row[0] == task) for task in tasks}
    untrained = {
        task: TASKS[task](batch_size=32, width=32, momentum=0.0, seed=0).evaluate()["val_loss"] for task in tasks
    }
    lines = ["| method | " + " | ".join(f"cost {cost}" for cost in COSTS) + " |", "|---|" + "---:|" * len(COSTS)]
    for name in METHODS:
        cells = []
        for cost in COSTS:
            found = [row for row in rows if row[2] == name and row[3] == cost]
            regrets = [min((row[-1] - least[row[0]]) / (untrained[row[0]] - least[row[0]]), 1.0) for row in found]
            cells.append(f"{100 * np.mean(regrets):.1f} %" if regrets else "–")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
