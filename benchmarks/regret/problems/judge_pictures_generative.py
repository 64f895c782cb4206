"""Networks that make pictures: variational autoencoders of Fashion-MNIST and diffusion denoisers of digits."""

from __future__ import annotations

from functools import cache, partial
from math import pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.regret.data import tensors
from benchmarks.regret.fashion import fashion
from benchmarks.regret.problem import Family, Task, built
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


@cache
def _shades(size: int, count: int) -> tuple[Tensor, Tensor]:
    """Pictures of clothes as rows of numbers from 0 to 1, twice: what goes in is to come out."""
    pictures = fashion(size, count)[0].flatten(1)
    shades = (pictures * 0.33 + 0.286).clamp(0, 1)
    return shades, shades


class _VariationalAutoencoder(nn.Module):
    """Shades to the logits of shades, then mean and log variance of the code; the code is its mean in evaluation."""

    def __init__(self, inputs: int, hidden: int, code: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * code))
        self.decode = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, inputs))

    def forward(self, shades: Tensor) -> Tensor:
        both = self.encode(shades)
        code, log_variance = both.chunk(2, 1)
        if self.training:
            code = code + torch.exp(log_variance / 2) * torch.randn_like(code)
        return torch.cat([self.decode(code), both], 1)


def _negative_elbo(outputs: Tensor, shades: Tensor) -> Tensor:
    """Cross-entropy of a picture's shades and the divergence of its code from a standard normal, in nats."""
    logits, both = outputs.split([shades.shape[1], outputs.shape[1] - shades.shape[1]], 1)
    mean, log_variance = both.chunk(2, 1)
    error = nn.functional.binary_cross_entropy_with_logits(logits, shades, reduction="sum")
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    return (error + divergence) / len(shades)


@cache
def _noised_digits() -> tuple[Tensor, Tensor]:
    """8×8 digits from -1 to 1, noise for each, and a time from 0 to 1, side by side; the noise is the target."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(41)
    digits = load_digits().data / 8.0 - 1
    noise = rng.normal(size=digits.shape)
    return tensors(np.hstack([digits, noise, rng.uniform(size=(len(digits), 1))]), noise)


class _Denoiser(nn.Module):
    """Digit, noise and time as one row; the noise is guessed from their mixture at that time."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(64 + 8, width), nn.SiLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Linear(width, 64))
        self.register_buffer("turns", pi / 2 * torch.tensor([1.0, 2.0, 4.0, 8.0]), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return self.guess(*rows.split([64, 64, 1], 1))

    def guess(self, digits: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        angles = time * self.turns
        cosines, sines = torch.cos(angles), torch.sin(angles)
        mixture = cosines[:, :1] * digits + sines[:, :1] * noise
        return self.body(torch.cat([mixture, cosines, sines], 1))


def _fresh_noise(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Squared error of the noise, with other noise and another time at every visit of a digit."""
    digits = batch[0][:, :64]
    noise, time = torch.randn_like(digits), torch.rand(len(digits), 1)
    return nn.functional.mse_loss(model.guess(digits, noise, time), noise)


_DENOISING = {"rows": _noised_digits, "loss_fn": nn.functional.mse_loss, "training_step": _fresh_noise}

TASKS: tuple[Task, ...] = (
    Task(
        "fashion_variational",
        "Variational autoencoder of Fashion-MNIST, Adam",
        Family("fashion", "variational autoencoder", "ELBO"),
        epochs=8,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(_VariationalAutoencoder, 196, 64, 8),
            optimizer=torch.optim.Adam,
            rows=partial(_shades, 14, 2240),
            train=1280,
            batch=32,
            loss_fn=_negative_elbo,
        ),
    ),
    Task(
        "fashion_variational_radam",
        "Variational autoencoder of Fashion-MNIST of 7×7 pixels, RAdam, cosine",
        Family("fashion", "variational autoencoder", "ELBO"),
        epochs=10,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(_VariationalAutoencoder, 49, 48, 4),
            optimizer=torch.optim.RAdam,
            rows=partial(_shades, 7, 1600),
            train=640,
            batch=16,
            loss_fn=_negative_elbo,
        ),
    ),
    Task(
        "digits_diffusion_long",
        "Diffusion denoiser of 8×8 digits in batches of eight, AdamW: long and noisy",
        Family("digits", "diffusion denoiser", "squared error"),
        epochs=20,
        steps_per_epoch=100,
        default_learning_rate=1e-3,
        build=partial(
            built, model=partial(_Denoiser, 96, 1), optimizer=torch.optim.AdamW, train=800, batch=8, **_DENOISING
        ),
    ),
    Task(
        "digits_diffusion_rmsprop",
        "Diffusion denoiser of 8×8 digits, RMSprop, exponential decay",
        Family("digits", "diffusion denoiser", "squared error"),
        epochs=20,
        steps_per_epoch=26,
        default_learning_rate=1e-2,
        schedule="exponential",
        schedule_settings={"final_fraction": 0.01},
        build=partial(
            built, model=partial(_Denoiser, 96, 2), optimizer=torch.optim.RMSprop, train=832, batch=32, **_DENOISING
        ),
    ),
)
