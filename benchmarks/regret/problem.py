"""What a problem of the regret benchmark is: a small training whose learning rate is asked for.

A problem says how it is built from a seed (initial weights and the order of the batches; the data never change) and
on which schedule it is trained. Schedules are given in fractions of the horizon, so that a shorter horizon rescales
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from benchmarks.regret import data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn
    from torch.utils.data import DataLoader

RATES_PER_DECADE = 4
DECADES = 7
MARKS = 32


class Family(NamedTuple):
    """What problems have in common that are tried with other optimizers and schedules alone."""

    data: str  # the source: "mnist", "cmudict"
    network: str  # its kind: "convnet", "transformer"
    loss: str


@dataclass(frozen=True)
class Parts:
    """What a training loop needs: an update takes `accumulate` batches, each through `training_step` if given.

    Each batch is a pair of tensors (inputs, targets). The validation loss is `loss_fn(model(inputs), targets)` in
    evaluation mode, where it is the same at every call; so is the training loss in training mode, unless
    `training_step(model, batch)` gives it.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss_fn: Callable[[Any, Tensor], Tensor]
    train_loader: DataLoader[Any]
    validation_loader: DataLoader[Any]
    training_step: Callable[[nn.Module, Any], Tensor] | None = None
    accumulate: int = 1


@dataclass(frozen=True)
class Task:
    """A training problem, its schedule, and the window of learning rates that holds its slow side and its cliff."""

    name: str
    description: str
    family: Family
    epochs: int
    steps_per_epoch: int
    default_learning_rate: float  # what PyTorch's optimizer of this kind has
    build: Callable[[int], Parts]
    schedule: str = "constant"
    schedule_settings: Mapping[str, Any] = field(default_factory=dict)
    lowest_learning_rate: float = 1e-6

    @property
    def total_steps(self) -> int:
        """Updates in a full run."""
        return self.epochs * self.steps_per_epoch

    @property
    def learning_rates(self) -> np.ndarray:
        """The grid: four a decade over seven decades, 29 in all."""
        exponents = np.arange(DECADES * RATES_PER_DECADE + 1) / RATES_PER_DECADE
        return self.lowest_learning_rate * 10.0**exponents

    @property
    def epoch_ends(self) -> np.ndarray:
        """Steps after which an epoch is over."""
        return self.steps_per_epoch * np.arange(1, self.epochs + 1)

    @property
    def marks(self) -> np.ndarray:
        """Steps after which a recorded run is evaluated: 32 evenly spaced, and the epochs' ends."""
        even = np.round(self.total_steps * np.arange(1, MARKS + 1) / MARKS).astype(int)
        return np.union1d(even[even > 0], self.epoch_ends)


def schedule_factor(task: Task, steps: np.ndarray, total_steps: int) -> np.ndarray:
    """Learning rate at each step over the peak, the task's schedule stretched or squeezed to `total_steps`."""
    t = np.asarray(steps, dtype=float)
    settings = task.schedule_settings
    warmup = round(settings.get("warmup_fraction", 0.0) * total_steps)
    after = (t - warmup) / max(total_steps - warmup, 1)
    match task.schedule:
        case "constant":
            falling = np.ones_like(t)
        case "cosine":
            falling = _cosine(1.0, settings["final_fraction"], after)
        case "linear":
            falling = 1 - (1 - settings["final_fraction"]) * np.clip(after, 0, 1)
        case "exponential":
            falling = settings["final_fraction"] ** np.clip(after, 0, 1)
        case "warmup_stable_decay":
            length = round(settings["decay_fraction"] * total_steps)
            falling = 1 - np.clip((t - (total_steps - length)) / max(length, 1), 0, 1)
        case "step":
            milestones = np.asarray(settings["milestones"]) * total_steps
            falling = settings["factor"] ** (t[..., None] >= milestones).sum(-1)
        case "one_cycle":
            return _one_cycle(t, total_steps, **settings)
        case _:
            raise ValueError(
                f"task {task.name!r} has schedule {task.schedule!r}; known: constant, cosine, linear, exponential,"
                " warmup_stable_decay, step, one_cycle"
            )
    return np.where(t < warmup, (t + 1) / max(warmup, 1), falling)


def _one_cycle(
    t: np.ndarray, total_steps: int, *, pct_start: float, div_factor: float, final_div_factor: float
) -> np.ndarray:
    peak = pct_start * total_steps - 1
    first = 1 / div_factor
    rising = _cosine(first, 1.0, t / peak)
    falling = _cosine(1.0, first / final_div_factor, (t - peak) / (total_steps - 1 - peak))
    return np.where(t <= peak, rising, falling)


def _cosine(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    return end + (start - end) * (1 + np.cos(np.pi * np.clip(progress, 0, 1))) / 2


def built(
    seed: int,
    *,
    model: Callable[[], nn.Module],
    optimizer: Callable[[Any], torch.optim.Optimizer],
    rows: Callable[[], tuple[Tensor, Tensor]],
    train: int,
    batch: int,
    loss_fn: Callable[[Any, Tensor], Tensor] = torch.nn.functional.cross_entropy,
    parameters: Callable[[nn.Module], Any] = torch.nn.Module.parameters,
    validation: int = 960,
    **others: Any,
) -> Parts:
    """Build a problem: `optimizer(parameters(model()))`, and the first `train` of the shuffled rows to train on.

    The next `validation` rows, or as many as there are, are those that the loss is judged on.
    """
    columns = rows()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = model()
    loaders = data.loaders(columns, train, batch, seed, validation=validation)
    return Parts(net, optimizer(parameters(net)), loss_fn, **loaders, **others)
