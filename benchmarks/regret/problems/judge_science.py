"""Physics, graphs and inverse problems of the judge half."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from benchmarks.regret import data, models
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn


@cache
def times() -> tuple[Tensor, Tensor]:
    """Times from 0 to 3 at which an oscillator's equation is to hold; the targets are the force there."""
    place = np.random.default_rng(31).uniform(0, 3, (4400, 1))
    return data.tensors(place, np.sin(3 * place[:, 0]))


class Oscillator(nn.Module):
    """How far x'' + 0.6 x' + 9 x is from the force, for x(t) = 1 + t² net(t): x(0) = 1 and x'(0) = 0 by its form.

    Both derivatives go through the two tanh layers by hand, so that they are there without gradients as well.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, t: Tensor) -> Tensor:
        """The left side (batch,) at times (batch, 1), scaled by its natural size."""
        value, slope, bend = self.first(t), self.first.weight.T.expand(len(t), -1), torch.zeros(1)
        value, slope, bend = _tanh(value, slope, bend)
        value, slope, bend = self.second(value), slope @ self.second.weight.T, bend @ self.second.weight.T
        value, slope, bend = _tanh(value, slope, bend)
        f, df, ddf = self.last(value), slope @ self.last.weight.T, bend @ self.last.weight.T
        x, dx, ddx = 1 + t**2 * f, 2 * t * f + t**2 * df, 2 * f + 4 * t * df + t**2 * ddf
        return (ddx + 0.6 * dx + 9 * x).squeeze(1)


def _tanh(value: Tensor, slope: Tensor, bend: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = torch.tanh(value)
    first = 1 - out**2
    return out, first * slope, first * bend - 2 * out * first * slope**2


def residual(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared residual, in units of the spring's pull."""
    return ((outputs - targets) ** 2).mean() / 81


@cache
def tumours() -> tuple[Tensor, Tensor, Tensor]:
    """Whether 569 tumours are malign, their measurements with as much noise, and who are the ten nearest to each."""
    inputs, labels = data.table("breast_cancer")
    noisy = inputs + 1.5 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(32))
    near = torch.cdist(noisy, noisy).topk(11, largest=False).indices[:, 1:]
    mean = torch.zeros(len(noisy), len(noisy)).scatter_(1, near, 0.1)
    return noisy, labels, mean


def patients() -> tuple[Tensor, Tensor]:
    """Numbers of the tumours, and whether they are malign."""
    return torch.arange(len(tumours()[1]))[:, None], tumours()[1]


class NeighbourNet(nn.Module):
    """Two layers that see a node and the mean of its neighbours, side by side (arXiv 1706.02216)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        features, _, mean = tumours()
        self.register_buffer("mean", mean)
        self.register_buffer("features", torch.cat([features, mean @ features], 1))
        self.first, self.second = nn.Linear(60, width), nn.Linear(2 * width, 2)

    def forward(self, nodes: Tensor) -> Tensor:
        """Logits (batch, 2) of nodes (batch, 1)."""
        hidden = torch.relu(self.first(self.features))
        rows = nodes.squeeze(1)
        return self.second(torch.cat([hidden[rows], self.mean[rows] @ hidden], 1))


@cache
def many_valued() -> tuple[Tensor, Tensor]:
    """A curve seen from its side: up to three values to a place (Bishop 1994)."""
    rng = np.random.default_rng(33)
    value = rng.uniform(0, 1, 4000)
    place = value + 0.3 * np.sin(2 * np.pi * value) + rng.uniform(-0.1, 0.1, 4000)
    return data.tensors(2 * place[:, None] - 1, value)


def mixture(outputs: Tensor, targets: Tensor) -> Tensor:
    """Minus log likelihood of four Gaussians: their logits, means and log deviations are the outputs."""
    logits, means, spreads = outputs.chunk(3, 1)
    spreads = spreads.clamp(-4, 4)
    apart = (targets[:, None] - means) / spreads.exp()
    return -torch.logsumexp(logits.log_softmax(1) - spreads - apart**2 / 2, 1).mean()


@cache
def scaled_linear() -> tuple[Tensor, Tensor]:
    """A linear map of inputs whose scales differ by a factor 10."""
    rng = np.random.default_rng(34)
    inputs = rng.normal(size=(3600, 12)) * np.geomspace(1, 0.1, 12)
    targets = inputs @ rng.normal(size=(12, 4)) + rng.normal(0, 0.05, (3600, 4))
    return data.tensors(inputs, targets)


def deep_linear(width: int, depth: int) -> nn.Sequential:
    """Linear layers without anything between them."""
    return models.mlp(12, *[width] * depth, 4, activation=nn.Identity)


EXPONENTIAL = {"final_fraction": 0.01}

TASKS: tuple[Task, ...] = (
    Task(
        "oscillator_adam",
        "Physics-informed network of an oscillator, Adam, exponential decay: 2,000 steps",
        Family("oscillator", "physics-informed MLP", "residual"),
        epochs=20,
        steps_per_epoch=100,
        default_learning_rate=1e-3,
        schedule="exponential",
        schedule_settings=EXPONENTIAL,
        build=partial(
            built,
            model=partial(Oscillator, 24),
            optimizer=torch.optim.Adam,
            rows=times,
            train=3200,
            batch=32,
            loss_fn=residual,
        ),
    ),
    Task(
        "oscillator_adadelta",
        "Physics-informed network of an oscillator, Adadelta, cosine",
        Family("oscillator", "physics-informed MLP", "residual"),
        epochs=10,
        steps_per_epoch=60,
        default_learning_rate=1.0,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        lowest_learning_rate=1e-4,
        build=partial(
            built,
            model=partial(Oscillator, 24),
            optimizer=torch.optim.Adadelta,
            rows=times,
            train=1920,
            batch=32,
            loss_fn=residual,
        ),
    ),
    Task(
        "tumour_graph",
        "Graph network over the nearest tumours, Adam, stable, then falling: 129 to validate on",
        Family("breast cancer", "graph network", "cross-entropy"),
        epochs=15,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        schedule="warmup_stable_decay",
        schedule_settings={"warmup_fraction": 0.05, "decay_fraction": 0.2},
        build=partial(
            built,
            model=partial(NeighbourNet, 16),
            optimizer=torch.optim.Adam,
            rows=patients,
            train=440,
            batch=22,
            validation=129,
        ),
    ),
    Task(
        "many_valued",
        "Mixture density network of a curve with several values, Adagrad, step schedule",
        Family("many-valued curve", "mixture density network", "mixture likelihood"),
        epochs=12,
        steps_per_epoch=50,
        default_learning_rate=1e-2,
        schedule="step",
        schedule_settings={"milestones": (0.5, 0.75), "factor": 0.1},
        build=partial(
            built,
            model=partial(models.mlp, 1, 24, 24, 12, activation=nn.Tanh),
            optimizer=torch.optim.Adagrad,
            rows=many_valued,
            train=1600,
            batch=32,
            loss_fn=mixture,
        ),
    ),
    Task(
        "deep_linear",
        "Four linear layers on badly scaled inputs, plain SGD: 2,400 steps",
        Family("scaled linear map", "deep linear", "squared error"),
        epochs=30,
        steps_per_epoch=80,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(deep_linear, 16, 3),
            optimizer=torch.optim.SGD,
            rows=scaled_linear,
            train=2560,
            batch=32,
            loss_fn=nn.functional.mse_loss,
        ),
    ),
)
