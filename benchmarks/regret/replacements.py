"""Trains with what promises to need no learning rate: it replaces the optimizer, or wraps it.

    peers/bin/python -m benchmarks.regret.replacements run FILE prodigy mechanic --half judge

Each trains every problem once with every seed, on the batches that the recordings were made on, as its authors
recommend. requirements-peers.txt says how the environment is made. What is finished is a line of FILE.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret.answers import append
from benchmarks.regret.jobs import left, options, quiet, training_step_of
from benchmarks.regret.problem import schedule_factor
from benchmarks.regret.record import Trainer
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.regret.problem import Parts, Task

BATCHES = 16  # that BatchNorm's averages are taken anew from, at weights that were never trained at


class Replaced(Trainer):
    """A task whose optimizer is another's; the rate is the one recommended times the task's schedule."""

    peak = 1.0
    keeps_schedule = True

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.optimizer = self.replace(self.parts.optimizer)

    def replace(self, optimizer: torch.optim.Optimizer) -> Any:
        """Make what is trained with in place of the task's optimizer."""
        raise NotImplementedError

    def update(self, learning_rate: float) -> float:
        """One update; gives its training loss, and leaves the weights alone where that is not finite."""
        training_step = training_step_of(self.parts)
        self.parts.model.train()
        self.optimizer.zero_grad()
        total = torch.zeros(())
        for _ in range(self.parts.accumulate):
            loss = training_step(self.parts.model, next(self.batches)) / self.parts.accumulate
            loss.backward()
            total += loss.detach()
        if math.isfinite(total.item()):
            for group, ratio in zip(self.optimizer.param_groups, self.ratios, strict=True):
                group["lr"] = learning_rate * ratio
            self.step(total)
        return total.item()

    def step(self, _: torch.Tensor) -> None:
        """Move the weights."""
        self.optimizer.step()

    def groups(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """The task's groups of parameters with their rates and weight decays; one group where these agree."""
        found = [
            {"params": group["params"], "lr": self.peak * ratio, "weight_decay": group.get("weight_decay", 0.0)}
            for group, ratio in zip(optimizer.param_groups, self.ratios, strict=True)
        ]
        if len({(group["lr"], group["weight_decay"]) for group in found}) > 1:
            return found
        self.ratios = [1.0]
        return [{**found[0], "params": [it for group in found for it in group["params"]]}]


class Prodigy(Replaced):
    """Prodigy (arXiv 2306.06101) at its rate of 1 on the task's schedule."""

    def replace(self, optimizer: torch.optim.Optimizer) -> Any:
        """Make Prodigy; its authors ask for `safeguard_warmup` where the schedule warms up.

        It knows one rate for all groups.
        """
        from prodigyopt import Prodigy as Theirs

        self.ratios = [1.0] * len(self.ratios)
        return Theirs(self.groups(optimizer), lr=self.peak, safeguard_warmup=True)


class Momo(Replaced):
    """MoMo (arXiv 2305.07583) for SGD, MoMo-Adam for the others, at their default rates on the task's schedule."""

    def replace(self, optimizer: torch.optim.Optimizer) -> Any:
        """Make the one of the task's kind; losses are taken to have the lower bound of zero, as by default."""
        from momo import Momo as Theirs
        from momo import MomoAdam

        kind = Theirs if isinstance(optimizer, torch.optim.SGD) else MomoAdam
        self.peak = 1.0 if kind is Theirs else 1e-2
        return kind(self.groups(optimizer), lr=self.peak)

    def step(self, loss: torch.Tensor) -> None:
        """Move the weights, as far as the loss allows."""
        self.optimizer.step(loss=loss)


class Mechanic(Replaced):
    """Mechanic (arXiv 2306.00144) around the task's own optimizer, whose rate is 1 times the task's schedule."""

    def replace(self, optimizer: torch.optim.Optimizer) -> Any:
        """Let the optimizer be of its mechanized class."""
        from mechanic_pytorch import mechanize

        optimizer.__class__ = mechanize(type(optimizer))
        return optimizer


class ProdigyPlusScheduleFree(Replaced):
    """prodigy-plus-schedule-free at its rate of 1, constant: it evaluates an average of its weights."""

    keeps_schedule = False

    def replace(self, optimizer: torch.optim.Optimizer) -> Any:
        """Make it with its defaults."""
        from prodigyplus.prodigy_plus_schedulefree import ProdigyPlusScheduleFree as Theirs

        return Theirs(self.groups(optimizer), lr=self.peak)

    def update(self, learning_rate: float) -> float:
        """One update at the weights that it trains."""
        self.optimizer.train()
        return super().update(learning_rate)

    @torch.no_grad()
    def evaluate(self) -> float:
        """Validation loss at the averaged weights."""
        if not hasattr(self, "optimizer") or not self.optimizer.state:
            return super().evaluate()
        self.optimizer.eval()
        normalised = any(isinstance(module, _BatchNorm) for module in self.parts.model.modules())
        with averaged_anew(self.parts) if normalised else nullcontext():
            loss = super().evaluate()
        self.optimizer.train()
        return loss


@contextmanager
def averaged_anew(parts: Parts) -> Iterator[None]:
    """Let BatchNorm's running averages be those of the present weights for a while."""
    modules = [module for module in parts.model.modules() if isinstance(module, _BatchNorm)]
    kept = [({name: it.clone() for name, it in module.named_buffers()}, module.momentum) for module in modules]
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # a plain mean over the batches
    parts.model.train()
    rows: Any = parts.train_loader.dataset
    for batch in torch.arange(len(rows)).split(parts.train_loader.batch_size or 1)[:BATCHES]:
        parts.model(rows.__getitems__(batch)[0])
    try:
        yield
    finally:
        for module, (buffers, momentum) in zip(modules, kept, strict=True):
            module.momentum = momentum
            for name, value in buffers.items():
                getattr(module, name).copy_(value)


METHODS: dict[str, type[Replaced]] = {
    "prodigy_plus_schedule_free": ProdigyPlusScheduleFree,
    "prodigy": Prodigy,
    "momo": Momo,
    "mechanic": Mechanic,
}


def metrics(method: str, task: Task, seed: int) -> dict[str, Any]:
    """Train once in full: the loss before, after each epoch (NaN from where training broke), and the seconds."""
    started = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer = METHODS[method](task, seed)
        untrained, val_loss = trainer.evaluate(), []
        factor = schedule_factor(task, np.arange(task.total_steps), task.total_steps)
        rates = trainer.peak * (factor if trainer.keeps_schedule else np.ones_like(factor))
        for epoch in rates.reshape(task.epochs, -1).tolist():
            losses = [trainer.update(rate) for rate in epoch]
            val_loss.append(trainer.evaluate() if np.isfinite(losses).all() else math.nan)
            if not math.isfinite(val_loss[-1]):
                break
    val_loss += [math.nan] * (task.epochs - len(val_loss))
    return {"untrained": untrained, "val_loss": val_loss, "seconds": time.process_time() - started}


@click.group()
def main() -> None:
    """Train with what promises to need no learning rate."""


@main.command()
@options(METHODS)
def run(file: Path, methods: tuple[str, ...], half: str, share: tuple[int, int]) -> None:
    """Train by METHODS on every problem of a half with every seed, as far as FILE has no line of it."""
    quiet()
    for job in left(file, methods, half, share):
        found = metrics(job.method, job.task, job.seed)
        append(file, {"method": job.method, "task": job.task.name, "seed": job.seed, **found})
        print(
            f"{job.method} {job.task.name} {job.seed}: {min(found['val_loss']):.4g}, {found['seconds']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
