"""Trainings of the design half whose beginnings tell little: BatchNorm lags behind, or a plateau comes first."""

# ruff: noqa: D102  # a network's forward is described with its class

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from benchmarks.regret import data, models
from benchmarks.regret.problem import Family, Task, built
from benchmarks.regret.problems.design_pictures import animals
from torch import Tensor, nn

COSINE_WARMUP = {"warmup_fraction": 0.1, "final_fraction": 0.0}
LINEAR = {"warmup_fraction": 0.0, "final_fraction": 0.0}
ONE_CYCLE = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}
STABLE = {"warmup_fraction": 0.1, "decay_fraction": 0.2}


@cache
def parity(count: int, bits: int, relevant: int) -> tuple[Tensor, Tensor]:
    """Rows of random signs, and whether the first few of them hold an odd number of minus ones."""
    signs = np.random.default_rng(43).choice([-1.0, 1.0], (count, bits))
    return data.tensors(signs, (signs[:, :relevant].prod(1) < 0).astype(int))


class NormalisedBlock(nn.Module):
    """Two convolutions with BatchNorm, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures + self.body(pictures)).relu()


def normalised_convnet(channels: int, blocks: int, classes: int) -> nn.Sequential:
    """Halves the picture of 14×14 at once; the head sees each channel's mean."""
    body = [NormalisedBlock(channels) for _ in range(blocks)]
    stem = [nn.Conv2d(1, channels, 2, stride=2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


ANIMALS = Family("animal shapes", "residual ConvNet", "cross-entropy")
PARITY = Family("parity", "MLP", "cross-entropy")
NORMALISED = partial(built, model=partial(normalised_convnet, 12, 3, 16), rows=animals, batch=32)

TASKS: tuple[Task, ...] = (
    Task(
        "animals_batchnorm",
        "Residual ConvNet with BatchNorm on animals' shapes, SGD with momentum, four epochs",
        ANIMALS,
        epochs=4,
        steps_per_epoch=60,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-5,
        build=partial(NORMALISED, optimizer=partial(torch.optim.SGD, momentum=0.9), train=1920),
    ),
    Task(
        "animals_batchnorm_cycle",
        "Residual ConvNet with BatchNorm on animals' shapes, Nesterov momentum, one cycle",
        ANIMALS,
        epochs=6,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="one_cycle",
        schedule_settings=ONE_CYCLE,
        lowest_learning_rate=1e-5,
        build=partial(NORMALISED, optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True), train=1280),
    ),
    Task(
        "animals_batchnorm_adamw",
        "Residual ConvNet with BatchNorm on animals' shapes, AdamW, warm-up, plateau and decay",
        ANIMALS,
        epochs=5,
        steps_per_epoch=50,
        default_learning_rate=1e-3,
        schedule="warmup_stable_decay",
        schedule_settings=STABLE,
        build=partial(NORMALISED, optimizer=torch.optim.AdamW, train=1600),
    ),
    Task(
        "digits_batchnorm",
        "ConvNet with BatchNorm on 8×8 digits in batches of 16, Adam",
        Family("digits", "ConvNet", "cross-entropy"),
        epochs=4,
        steps_per_epoch=60,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(models.convnet, (8, 16, 16), 8, normalise=True),
            optimizer=torch.optim.Adam,
            rows=data.digits,
            train=960,
            batch=16,
            validation=600,
        ),
    ),
    Task(
        "parity_momentum",
        "MLP that finds the parity of three of twelve signs, SGD with momentum, 1,000 steps",
        PARITY,
        epochs=10,
        steps_per_epoch=100,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.mlp, 12, 48, 2),
            optimizer=partial(torch.optim.SGD, momentum=0.9),
            rows=partial(parity, 5000, 12, 3),
            train=3200,
            batch=32,
        ),
    ),
    Task(
        "parity_adam",
        "MLP that finds the parity of four of twelve signs, Adam, cosine with warm-up",
        PARITY,
        epochs=8,
        steps_per_epoch=80,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE_WARMUP,
        build=partial(
            built,
            model=partial(models.mlp, 12, 64, 32, 2),
            optimizer=torch.optim.Adam,
            rows=partial(parity, 5000, 12, 4),
            train=2560,
            batch=32,
        ),
    ),
    Task(
        "sigmoids",
        "Deep stack of sigmoids on 8×8 digits, SGD with momentum, linear decay",
        Family("digits", "MLP", "cross-entropy"),
        epochs=20,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="linear",
        schedule_settings=LINEAR,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=lambda: nn.Sequential(nn.Flatten(), models.mlp(64, 32, 32, 10, activation=nn.Sigmoid)),
            optimizer=partial(torch.optim.SGD, momentum=0.9),
            rows=data.digits,
            train=1280,
            batch=32,
            validation=500,
        ),
    ),
)
