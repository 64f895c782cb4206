"""Pictures of the design half: animal shapes, digits in two views, rings, and MNIST with Muon."""

# ruff: noqa: D102  # a network's forward is described with its class

from __future__ import annotations

import gzip
import pickle  # an installed package's own file
from functools import cache, partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from benchmarks.regret import data, models, optimizers
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn

COSINE = {"warmup_fraction": 0.1, "final_fraction": 0.0}
LINEAR = {"warmup_fraction": 0.0, "final_fraction": 0.0}
LINEAR_WARMUP = {"warmup_fraction": 0.1, "final_fraction": 0.0}
EXPONENTIAL = {"final_fraction": 0.01}
LATENT = 6
CANDIDATES = 32


# Data.


@cache
def animals() -> tuple[Tensor, Tensor]:
    """10,000 pictures of animals' shapes in 14×14 pixels (the 28×28 ones, each four averaged), of 16 kinds."""

    def read(name: str) -> np.ndarray:
        package = metadata.distribution("animal_shape_mnist")
        path = package.locate_file(f"animal_shape_mnist/data/Animal Shape/animal_{name}_version_3.gz")
        return np.array(pickle.loads(gzip.decompress(path.read_bytes())))  # noqa: S301  # an installed package's own file

    pictures = read("data").reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255.0
    return data.tensors(pictures[:, None], read("label").ravel().astype(int))


@cache
def animal_shares() -> tuple[Tensor, Tensor]:
    """The pictures of animals, to be told from fewer numbers."""
    pictures = animals()[0].flatten(1)
    return pictures, pictures


@cache
def rings(size: int) -> tuple[Tensor, Tensor]:
    """Every pixel of a picture of rings that get narrower outward, cut by a bright disc; its place and brightness."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(x - 0.1, y + 0.2)
    picture = np.where(np.hypot(x - 0.4, y - 0.4) < 0.3, 0.8, np.sin(12 * radius**1.5))
    return data.tensors(np.stack([x.ravel(), y.ravel()], 1), picture.ravel())


def _views(pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Two views of each picture (batch, 2, pixels): half of the pixels dark, and some noise on all."""
    both = pictures.flatten(1)[:, None].repeat(1, 2, 1)
    kept = torch.rand(both.shape, generator=generator) < 0.5
    return both * kept + 0.1 * torch.randn(both.shape, generator=generator)


@cache
def viewed_digits() -> tuple[Tensor, Tensor]:
    """Two fixed views of every digit, to validate on, and the digit, to make new ones of."""
    pictures = data.digits()[0]
    return _views(pictures, torch.Generator().manual_seed(37)), pictures


# Networks.


class ResidualBlock(nn.Module):
    """Two convolutions with GroupNorm, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(2, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(2, channels),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures + self.body(pictures)).relu()


def residual_convnet(channels: int, blocks: int, classes: int) -> nn.Sequential:
    """Halves the picture of 14×14 at once; the head sees each channel's 7×7 pixels."""
    body = [ResidualBlock(channels) for _ in range(blocks)]
    return nn.Sequential(
        nn.Conv2d(1, channels, 2, stride=2), nn.ReLU(), *body, nn.Flatten(), nn.Linear(channels * 49, classes)
    )


class Variational(nn.Module):
    """A variational autoencoder; gives the pixels' logits and behind them the code's means and log variances.

    In evaluation mode the code is its mean.
    """

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.encoder = models.mlp(pixels, hidden, 2 * LATENT)
        self.decoder = models.mlp(LATENT, hidden, pixels)

    def forward(self, pictures: Tensor) -> Tensor:
        code = self.encoder(pictures)
        mean, log_variance = code.chunk(2, 1)
        noise = torch.randn_like(mean) if self.training else 0.0
        return torch.cat([self.decoder(mean + noise * (log_variance / 2).exp()), code], 1)


class Coordinates(nn.Module):
    """Places in a picture, as waves of fixed random frequencies, to a brightness."""

    def __init__(self, waves: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, waves, generator=torch.Generator().manual_seed(38)) * 5)
        self.body = models.mlp(2 * waves, hidden, hidden, 1)

    def forward(self, places: Tensor) -> Tensor:
        angles = places @ self.frequencies
        return self.body(torch.cat([angles.sin(), angles.cos()], 1))


# Losses and parameters.


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


def _evidence_bound(outputs: Tensor, pictures: Tensor) -> Tensor:
    """Minus the evidence lower bound of a picture, by its number of pixels."""
    logits, mean, log_variance = outputs.split([pictures.shape[1], LATENT, LATENT], 1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return nn.functional.binary_cross_entropy_with_logits(logits, pictures) + divergence / pictures.shape[1]


def _info_nce(outputs: Tensor, _pictures: Tensor) -> Tensor:
    """Cross-entropy of finding a view's partner among those of the rows behind it, as many in batches of any size."""
    first, second = nn.functional.normalize(outputs, dim=-1).unbind(1)
    rows = torch.arange(len(first))
    others = (rows[:, None] + torch.arange(CANDIDATES)) % len(first)
    likeness = (first @ second.T).gather(1, others)
    return nn.functional.cross_entropy(likeness / 0.2, torch.zeros_like(rows))


def _with_new_views(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return _info_nce(model(_views(batch[1])), batch[1])


def _matrices_and_others(model: nn.Module) -> list[dict[str, Any]]:
    return optimizers.matrices_and_others(model.parameters())


TASKS: tuple[Task, ...] = (
    Task(
        "animals",
        "Residual ConvNet with GroupNorm on animals' shapes, Nesterov momentum, linear with warm-up",
        Family("animal shapes", "residual ConvNet", "cross-entropy"),
        epochs=6,
        steps_per_epoch=45,
        default_learning_rate=1e-3,
        schedule="linear",
        schedule_settings=LINEAR_WARMUP,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(residual_convnet, 8, 2, 16),
            optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True),
            rows=animals,
            train=1440,
            batch=32,
        ),
    ),
    Task(
        "variational",
        "Variational autoencoder of animals' shapes through 6 numbers, Adam, exponential decay",
        Family("animal shapes", "variational autoencoder", "evidence bound"),
        epochs=8,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="exponential",
        schedule_settings=EXPONENTIAL,
        build=partial(
            built,
            model=partial(Variational, 196, 48),
            optimizer=torch.optim.Adam,
            rows=animal_shares,
            train=1280,
            batch=32,
            loss_fn=_evidence_bound,
        ),
    ),
    Task(
        "rings",
        "Network from a place to the brightness of a picture of rings, Adam, exponential decay, 2,000 steps",
        Family("rings", "coordinate network", "squared error"),
        epochs=8,
        steps_per_epoch=250,
        default_learning_rate=1e-3,
        schedule="exponential",
        schedule_settings=EXPONENTIAL,
        build=partial(
            built,
            model=partial(Coordinates, 16, 24),
            optimizer=torch.optim.Adam,
            rows=partial(rings, 96),
            train=8000,
            batch=32,
            loss_fn=_squared_error,
        ),
    ),
    Task(
        "contrastive",
        "Encoder that tells two views of an 8×8 digit from other digits', Adadelta, cosine with warm-up",
        Family("digits", "contrastive encoder", "InfoNCE"),
        epochs=12,
        steps_per_epoch=26,
        default_learning_rate=1.0,
        schedule="cosine",
        schedule_settings=COSINE,
        lowest_learning_rate=1e-4,
        build=partial(
            built,
            model=partial(models.mlp, 64, 48, 16),
            optimizer=torch.optim.Adadelta,
            rows=viewed_digits,
            train=832,
            batch=32,
            loss_fn=_info_nce,
            training_step=_with_new_views,
        ),
    ),
    Task(
        "mlp_muon",
        "MLP on MNIST digits, Muon beside AdamW, linear decay, four epochs",
        Family("mnist", "MLP", "cross-entropy"),
        epochs=4,
        steps_per_epoch=70,
        default_learning_rate=1e-3,
        schedule="linear",
        schedule_settings=LINEAR,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=lambda: nn.Sequential(nn.Flatten(), models.mlp(196, 48, 32, 10)),
            optimizer=optimizers.MuonAndAdamW,
            rows=data.mnist,
            train=2240,
            batch=32,
            parameters=_matrices_and_others,
        ),
    ),
)
