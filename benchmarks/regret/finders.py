"""Asks other packages' range tests for a learning rate, by the package's own hand and with its defaults.

    peers/bin/python -m benchmarks.regret.finders run FILE lr_finder lightning --half design
    peers-lightning-2.5/bin/python -m benchmarks.regret.finders run FILE lightning --half design
    peers-fastai/bin/python -m benchmarks.regret.finders run FILE fastai --half design

Each runs in an environment of its own: requirements-peers*.txt say how they are made. `fastai` answers by each of its
four rules, and `lightning` as "lightning_2.5" where that version is installed: version 2.5.3 changed its suggestion.
Answers are lines of FILE, and those that are there are not asked for again.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch
from benchmarks.regret.answers import Answer, append
from benchmarks.regret.jobs import left, options, quiet, training_step_of
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.regret.problem import Parts, Task

START, END, STEPS = 1e-7, 10.0, 100


class Deferred(nn.Module):
    """A model that hands its inputs on, so that a loss of (outputs, targets) can be the whole training step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        """Leave everything to the loss."""
        return inputs


def model_and_loss(parts: Parts) -> tuple[nn.Module, Callable[..., Tensor]]:
    """What a package trains: a module of the inputs, and a loss of its outputs and the targets.

    A training step of the problem's own needs both, so it is the loss, and the module leaves the inputs as they are.
    """
    if parts.training_step is None:
        return parts.model, parts.loss_fn
    step, model = parts.training_step, parts.model
    return Deferred(model), lambda inputs, targets: step(model, (inputs, targets))


def ask_lr_finder(task: Task, seed: int) -> Iterator[Answer]:
    """torch-lr-finder as its README shows it: the steepest point of 100 steps up to 100."""
    import matplotlib as mpl
    from torch_lr_finder import LRFinder

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    parts = task.build(seed)
    model, loss_fn = model_and_loss(parts)
    for group in parts.optimizer.param_groups:
        group["lr"] = START
    finder = LRFinder(model, parts.optimizer, loss_fn, device="cpu")
    finder.range_test(parts.train_loader, end_lr=100, num_iter=STEPS, accumulation_steps=parts.accumulate)
    cost = len(finder.history["lr"]) / task.total_steps
    try:
        _, rate = finder.plot(suggest_lr=True)
    except (ValueError, IndexError, RuntimeError) as error:  # too few steps before the loss rose
        yield _none("lr_finder", task, seed, cost, error)
    else:
        yield Answer("lr_finder", task.name, seed, float(rate), cost)
    plt.close("all")


def ask_fastai(task: Task, seed: int) -> Iterator[Answer]:
    """The four rules of fastai, each on the curve that `Learner.lr_find` records."""
    from fastai.callback.schedule import minimum, slide, steep, valley
    from fastai.callback.training import GradientAccumulation
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    parts = task.build(seed)
    model, loss_fn = model_and_loss(parts)
    batch = (parts.train_loader.batch_size or 1) * parts.accumulate
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(
            DataLoaders(parts.train_loader, parts.validation_loader, device=torch.device("cpu")),
            model,
            loss_func=loss_fn,
            opt_func=lambda _, **__: OptimWrapper(opt=parts.optimizer),
            cbs=[GradientAccumulation(batch)] if parts.accumulate > 1 else [],
            path=folder,
        )
        with learner.no_bar(), learner.no_logging():
            learner.lr_find(START, END, STEPS * parts.accumulate, show_plot=False, suggest_funcs=None)
    steps = len(learner.recorder.lrs)
    cost = steps / parts.accumulate / task.total_steps
    rates, losses = _settled(learner.recorder, STEPS * parts.accumulate)
    for rule in (valley, slide, steep, minimum):
        method = f"fastai_{rule.__name__}"
        try:
            found = rule(rates, losses, STEPS * parts.accumulate)
        except (ValueError, IndexError, RuntimeError) as error:
            yield _none(method, task, seed, cost, error)
            continue
        rate = found[0] if isinstance(found, tuple) else found
        yield Answer(method, task.name, seed, float(rate), cost)


def _settled(recorder: Any, steps: int) -> tuple[Tensor, Tensor]:
    """What `lr_find` hands its rules: the tenth of the steps at the start left out, and the last five, or NaN."""
    rates = torch.tensor(recorder.lrs[steps // 10 : -5])
    losses = torch.tensor([float(loss) for loss in recorder.losses[steps // 10 : -5]])
    lost = torch.where(torch.isnan(losses))[0]
    end = int(lost[0]) if len(lost) else len(losses)
    return rates[:end], losses[:end]


def lightning_name() -> str:
    """Tell apart the versions before and after 2.5.3."""
    return "lightning_2.5" if version("lightning").startswith("2.5.") else "lightning"


def ask_lightning(task: Task, seed: int) -> Iterator[Answer]:
    """Lightning's `Tuner.lr_find`, with its defaults: 100 steps from 1e-8 to 1."""
    import logging

    import lightning
    from lightning.pytorch.tuner import Tuner

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parts = task.build(seed)
    training_step = training_step_of(parts)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = parts.model
            self.lr = START

        def training_step(self, batch: Any, _: int) -> Tensor:
            return training_step(self.model, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return parts.optimizer

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=task.epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accumulate_grad_batches=parts.accumulate,
            default_root_dir=folder,
        )
        finder = Tuner(trainer).lr_find(Module(), train_dataloaders=parts.train_loader)
    assert finder is not None
    rate, cost = finder.suggestion(), len(finder.results["lr"]) / task.total_steps
    yield Answer(lightning_name(), task.name, seed, None if rate is None else float(rate), cost)


def _none(method: str, task: Task, seed: int, cost: float, error: Exception) -> Answer:
    return Answer(method, task.name, seed, None, cost, details={"error": repr(error)})


METHODS: dict[str, Callable[[Task, int], Iterator[Answer]]] = {
    "lr_finder": ask_lr_finder,
    "fastai": ask_fastai,
    "lightning": ask_lightning,
}


def _last(method: str) -> str:
    if method == "lightning":
        return lightning_name()
    return "fastai_minimum" if method == "fastai" else method


@click.group()
def main() -> None:
    """Ask the range tests of other packages."""


@main.command()
@options(METHODS)
def run(file: Path, methods: tuple[str, ...], half: str, share: tuple[int, int]) -> None:
    """Ask METHODS about every problem of a half with every seed, as far as FILE has no answer."""
    quiet()
    warnings.simplefilter("ignore")
    for method, task, seed in left(file, methods, half, share, last_line_of=_last):
        started = time.perf_counter()
        torch.manual_seed(seed)
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            answers = list(METHODS[method](task, seed))
        for answer in answers:
            row = {"method": answer.method, "task": task.name, "seed": seed, "learning_rate": answer.learning_rate}
            append(file, {**row, "cost": answer.cost, "details": answer.details})
        print(f"{method} {task.name} {seed}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
