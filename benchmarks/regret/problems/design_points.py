"""Points and graphs of the design half: a diffusion model, a teacher, spirals and a block model."""

# ruff: noqa: D102  # a network's forward is described with its class

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from benchmarks.regret import data, models
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn

LINEAR = {"warmup_fraction": 0.0, "final_fraction": 0.0}
EXPONENTIAL = {"final_fraction": 0.01}
NODES, BLOCKS = 1600, 5


# Data.


def _spiral(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on two interleaved arms, and the arm of each."""
    arm, along = rng.integers(0, 2, count), rng.uniform(0.15, 1, count)
    angle = 2.5 * np.pi * along + np.pi * arm
    return np.stack([along * np.cos(angle), along * np.sin(angle)], 1), arm


@cache
def noised_points(count: int) -> tuple[Tensor, Tensor]:
    """Points of spirals, and beside each the noise and the time that it is validated at; the noise."""
    rng = np.random.default_rng(40)
    points = 1.8 * _spiral(rng, count)[0]
    noise, time = rng.normal(size=points.shape), rng.uniform(0, 1, (count, 1))
    return data.tensors(np.hstack([points, noise, time]), noise)


@cache
def moons(count: int) -> tuple[Tensor, Tensor]:
    """Points of two moons that lie in each other, somewhat blurred, and the moon of each."""
    rng = np.random.default_rng(41)
    moon, angle = rng.integers(0, 2, count), rng.uniform(0, np.pi, count)
    side = 1 - 2 * moon
    points = np.stack([np.cos(angle) * side + moon - 0.5, np.sin(angle) * side + 0.5 * moon - 0.25], 1)
    return data.tensors(points + rng.normal(0, 0.2, points.shape), moon.astype(np.float32))


@cache
def taught(count: int) -> tuple[Tensor, Tensor]:
    """Gaussian inputs, and what a random network of fixed weights says of each: chances of six classes."""
    rng = np.random.default_rng(42)
    inputs = rng.normal(size=(count, 12))
    hidden = np.tanh(inputs @ rng.normal(0, 12**-0.5, (12, 24)) * 1.5)
    logits = hidden @ rng.normal(0, 1.0, (24, 6))
    chances = np.exp(logits - logits.max(1, keepdims=True))
    return data.tensors(inputs, chances / chances.sum(1, keepdims=True))


@cache
def block_model() -> tuple[Tensor, Tensor, Tensor]:
    """A graph whose nodes know those of their block more often: the smoothed adjacency, noisy features, the blocks."""
    rng = np.random.default_rng(43)
    blocks = rng.integers(0, BLOCKS, NODES)
    chance = np.where(blocks[:, None] == blocks, 0.008, 0.002)
    upper = np.triu(rng.random((NODES, NODES)) < chance, 1)
    adjacency = (upper | upper.T) + np.eye(NODES)
    degree = adjacency.sum(1)
    smooth = adjacency / np.sqrt(degree[:, None] * degree)
    features = rng.normal(0, 1, (BLOCKS, 12))[blocks] * 0.5 + rng.normal(size=(NODES, 12))
    return (*data.tensors(smooth, features.astype(np.float32)), torch.as_tensor(blocks))


def nodes() -> tuple[Tensor, Tensor]:
    return torch.arange(NODES), block_model()[2]


# Networks.


class Denoiser(nn.Module):
    """Tells the noise in a point from the point and the time: the more time, the more noise.

    Its input is the point without noise, the noise (two numbers each) and the time; the network sees their mixture.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = models.mlp(4, hidden, hidden, 2)

    def forward(self, rows: Tensor) -> Tensor:
        points, noise, time = rows.split([2, 2, 1], 1)
        angle = time * (torch.pi / 2)
        signal, share = angle.cos(), angle.sin()
        return self.body(torch.cat([signal * points + share * noise, signal, share], 1))


class GraphConvNet(nn.Module):
    """Two graph convolutions; given nodes of the one graph, their blocks' logits.

    The features are smoothed once and for all, since the first convolution's weights come after that.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        smooth, features, _ = block_model()
        self.register_buffer("smooth", smooth)
        self.register_buffer("features", smooth @ features)
        self.first, self.second = nn.Linear(features.shape[1], hidden), nn.Linear(hidden, BLOCKS)

    def forward(self, chosen: Tensor) -> Tensor:
        return self.smooth[chosen] @ self.second(self.first(self.features).relu())


# Losses.


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


def _with_new_noise(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    points = batch[0][:, :2]
    noise, time = torch.randn_like(points), torch.rand(len(points), 1)
    return _squared_error(model(torch.cat([points, noise, time], 1)), noise)


def _divergence(outputs: Tensor, chances: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's chances from the teacher's."""
    return nn.functional.kl_div(outputs.log_softmax(1), chances, reduction="batchmean")


def _logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(outputs.squeeze(1), targets)


TASKS: tuple[Task, ...] = (
    Task(
        "diffusion",
        "Diffusion model of a spiral's points, told the noise it has to find anew each time, AdamW, 2,500 steps",
        Family("spirals", "diffusion denoiser", "squared error"),
        epochs=5,
        steps_per_epoch=500,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(Denoiser, 32),
            optimizer=torch.optim.AdamW,
            rows=partial(noised_points, 16_960),
            train=16_000,
            batch=32,
            loss_fn=_squared_error,
            training_step=_with_new_noise,
        ),
    ),
    Task(
        "distillation",
        "MLP that learns a random teacher's chances, Adafactor, linear decay",
        Family("random teacher", "MLP", "KL divergence"),
        epochs=8,
        steps_per_epoch=50,
        default_learning_rate=1e-2,
        schedule="linear",
        schedule_settings=LINEAR,
        build=partial(
            built,
            model=partial(models.mlp, 12, 32, 6, activation=nn.Tanh),
            optimizer=torch.optim.Adafactor,
            rows=partial(taught, 13_200),
            train=3_200,
            batch=64,
            loss_fn=_divergence,
            validation=10_000,
        ),
    ),
    Task(
        "moons",
        "Wide MLP on two moons, eight points a batch, plain SGD, exponential decay, 3,000 steps",
        Family("moons", "MLP", "logistic"),
        epochs=5,
        steps_per_epoch=600,
        default_learning_rate=1e-3,
        schedule="exponential",
        schedule_settings=EXPONENTIAL,
        lowest_learning_rate=1e-4,
        build=partial(
            built,
            model=partial(models.mlp, 2, 128, 1),
            optimizer=torch.optim.SGD,
            rows=partial(moons, 4_900),
            train=4_800,
            batch=8,
            loss_fn=_logistic,
            validation=100,
        ),
    ),
    Task(
        "block_model",
        "Graph convolution network that finds the blocks of a random graph, RMSprop",
        Family("block model", "graph ConvNet", "cross-entropy"),
        epochs=15,
        steps_per_epoch=20,
        default_learning_rate=1e-2,
        build=partial(
            built,
            model=partial(GraphConvNet, 16),
            optimizer=torch.optim.RMSprop,
            rows=nodes,
            train=640,
            batch=32,
        ),
    ),
)
