"""Six small trainings of the regret benchmark's kind, with batch size, momentum and width beside the learning rate.

A full training is `EPOCHS` passes over the samples, whatever the batch size: a tenth of a second or two on one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from benchmarks.regret import data, models
from torch import Tensor, nn

import learnrate
from learnrate import schedules

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCHS = 18
"""Of every task, so that a third and a third of that are whole epochs for whoever halves."""


@dataclass(frozen=True)
class Task:
    """A training and its space: the learning rate, a momentum (or beta1), a batch size, a width."""

    name: str
    description: str
    rates: tuple[float, float]
    widths: tuple[int, int]
    model: Callable[[int], nn.Module]
    optimizer: Callable[[Any, float], torch.optim.Optimizer]
    rows: Callable[[], tuple[Tensor, Tensor]]
    train: int = 192
    batches: tuple[int, int, int] = (16, 32, 64)
    loss_fn: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy
    schedule: Callable[..., Any] = schedules.constant
    held_out: bool = True

    @property
    def space(self) -> dict[str, Any]:
        """What is searched."""
        return {
            "learning_rate": learnrate.log_uniform(*self.rates),
            "momentum": learnrate.uniform(0.0, 0.98),
            "batch_size": list(self.batches),
            "width": learnrate.integers(*self.widths, log=True),
        }

    def build(self, momentum: float, batch_size: int, width: int, seed: int) -> learnrate.TorchTrainable:
        """Build the training: weights and batches by the seed; the data never change."""
        torch.manual_seed(seed)
        model = self.model(width)
        loaders = data.loaders(self.rows(), self.train, batch_size, seed)
        optimizer = self.optimizer(model.parameters(), momentum)
        return learnrate.TorchTrainable(model, optimizer, self.loss_fn, *loaders.values())


def _sgd(parameters: Any, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1, momentum=momentum)


def _adam(parameters: Any, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 1e-3, betas=(momentum, 0.999))


def _rmsprop(parameters: Any, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, 1e-2, momentum=momentum)


def _flat(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), models.mlp(inputs, width, 10))


def _deep(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), models.deep_plain(width, 6))


def _bottleneck(width: int) -> nn.Sequential:
    return models.mlp(196, width, 12, width, 196)


def _mean_and_variance(width: int) -> nn.Sequential:
    return models.mlp(1, width, width, 2, activation=nn.Tanh)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


TASKS: tuple[Task, ...] = (
    Task(
        "digits",
        "MLP on 8×8 digits, SGD with momentum",
        (1e-4, 10.0),
        (8, 128),
        partial(_flat, 64),
        _sgd,
        data.digits,
        held_out=False,
    ),
    Task(
        "noisy_labels",
        "MLP on 8×8 digits of which 40 % carry a wrong label, Adam: it overfits",
        (1e-5, 1.0),
        (8, 128),
        partial(_flat, 64),
        _adam,
        partial(data.flipped_digits, 0.4),
        held_out=False,
    ),
    Task(
        "deep_plain",
        "Six layers without normalisation on 8×8 digits, SGD with momentum, step schedule: a sharp cliff",
        (1e-4, 10.0),
        (8, 64),
        _deep,
        _sgd,
        data.digits,
        schedule=partial(schedules.step, milestones=(0.5, 0.75)),
        held_out=False,
    ),
    Task(
        "tiny",
        "MLP on 104 wines, smudged so that they can be learnt by heart, SGD with momentum, cosine schedule",
        (1e-4, 10.0),
        (4, 64),
        lambda width: models.mlp(13, width, 3),
        _sgd,
        data.smudged_wine,
        train=104,
        batches=(8, 16, 32),
        schedule=partial(schedules.cosine, warmup_fraction=0.1),
    ),
    Task(
        "autoencoder",
        "Autoencoder of MNIST digits through 12 numbers, RMSprop with momentum",
        (1e-5, 1.0),
        (16, 128),
        _bottleneck,
        _rmsprop,
        data.to_itself,
        loss_fn=_squared_error,
    ),
    Task(
        "gaussian_likelihood",
        "Mean and variance of a wave with uneven noise, Adam, cosine schedule: the loss falls below zero",
        (1e-5, 1.0),
        (8, 64),
        _mean_and_variance,
        _adam,
        data.uneven_noise,
        loss_fn=models.gaussian_likelihood,
        schedule=partial(schedules.cosine, warmup_fraction=0.1),
    ),
)
BY_NAME = {task.name: task for task in TASKS}
