"""Asks other packages, and plain searches, for a learning rate.

    python -m benchmarks.regret.peers DIRECTORY lr_finder fastai lightning    # with requirements-peers.txt installed
    python -m benchmarks.regret.peers DIRECTORY random optuna one_epoch exhaustive default_keras

The first three run the packages' own range tests, with their defaults, on the task itself, and need an environment
of their own. The rest need full trainings, which they find in the recorded grid: it is the exhaustive table of them.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret import answers
from benchmarks.regret.answers import SEEDS, Answer
from benchmarks.regret.grid import TaskGrid, load_grid
from benchmarks.regret.tasks import TASKS, Parts, Task
from benchmarks.regret.truth import BROKEN, GOOD, around, best_epochs, first_above
from benchmarks.regret.truth import truths as _truths
from torch import Tensor, nn

truths = cache(_truths)
load = cache(load_grid)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START, END, STEPS = 1e-7, 10.0, 100
DRAWS = 40  # repetitions of a random search
STUDIES = 5  # repetitions of an Optuna study
RUNS = (2, 5, 10)
KERAS = {"SGD": 1e-2, "Adam": 1e-3, "AdamW": 1e-3, "RMSprop": 1e-3, "Adagrad": 1e-3}


class BothDepths(nn.Module):
    """A model under deep supervision, as one that a package can call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Both outputs."""
        return self.model.outputs(inputs)


def model_and_loss(parts: Parts) -> tuple[nn.Module, Callable[..., Tensor]]:
    """What a package trains: the model and its loss, both outputs of one under deep supervision."""
    if parts.training_step is None:
        return parts.model, parts.loss_fn
    loss_fn = parts.loss_fn
    return BothDepths(parts.model), lambda outputs, targets: sum(loss_fn(it, targets) for it in outputs) / 2


# Range tests, each by the package's own hand


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
    except (ValueError, IndexError) as error:
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


def ask_lightning(task: Task, seed: int) -> Iterator[Answer]:
    """Lightning's `Tuner.lr_find`, with its defaults: 100 steps from 1e-8 to 1."""
    import logging

    import lightning
    from lightning.pytorch.tuner import Tuner

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parts = task.build(seed)
    model, loss_fn = model_and_loss(parts)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.lr = START

        def training_step(self, batch: Any, _: int) -> Tensor:
            return loss_fn(self.model(batch[0]), batch[1])

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
    rate = finder.suggestion()
    yield Answer("lightning", task.name, seed, rate and float(rate), len(finder.results["lr"]) / task.total_steps)


def _none(method: str, task: Task, seed: int, cost: float, error: Exception) -> Answer:
    return Answer(method, task.name, seed, None, cost, details={"error": repr(error)})


# Searches, replayed on the grid


def ask_random(task: Task, seed: int) -> Iterator[Answer]:
    """The best of so many full trainings, their rates drawn evenly on the log scale over the grid's seven decades."""
    metrics = best_epochs(load()[task.name])
    for draw in range(DRAWS):
        rng = np.random.default_rng((draw, seed, _number(task)))
        for runs in (5, 20):
            tried = rng.integers(len(metrics), size=runs)
            place = int(tried[metrics[tried, seed].argmin()])
            yield _replayed(f"random_{runs}", task, seed + 1000 * draw, (place, runs))


def ask_optuna(task: Task, seed: int) -> Iterator[Answer]:
    """Optuna's TPE with its median pruner, each trial following the recorded curve of the nearest rate, by epochs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = load()[task.name]
    for draw in range(STUDIES):
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=1000 * draw + 10 * _number(task) + seed),
            pruner=optuna.pruners.MedianPruner(),
        )
        spent, best = 0, (np.inf, 0)
        for runs in RUNS:
            while spent < runs * grid.epochs:
                epochs, value, place = _trial(study, grid, seed, runs * grid.epochs - spent)
                spent += epochs
                best = min(best, (value, place))
            yield _replayed(f"optuna_{runs}", task, seed + 1000 * draw, (best[1], runs))


def _trial(study: Any, grid: TaskGrid, seed: int, most: int) -> tuple[int, float, int]:
    """One trial of a study: epochs trained, best validation loss, place on the grid."""
    from optuna.trial import TrialState

    trial = study.ask()
    rates = np.log10(grid.learning_rates)
    rate = trial.suggest_float("learning_rate", grid.learning_rates[0], grid.learning_rates[-1], log=True)
    place = int(np.abs(rates - np.log10(rate)).argmin())
    best = np.inf
    for epoch, loss in enumerate(grid.val_loss[place, seed].astype(float)):
        if epoch >= most or not np.isfinite(loss):
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1 if epoch < most else most, best, place
        best = min(best, loss)
        trial.report(loss, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1, best, place
    study.tell(trial, best)
    return grid.epochs, best, place


def ask_one_epoch(task: Task, seed: int) -> Iterator[Answer]:
    """The best after the first epoch of the full schedule, of 15 rates half a decade apart."""
    first = load()[task.name].val_loss[::2, seed, 0].astype(float)
    place = 2 * int(np.where(np.isfinite(first), first, np.inf).argmin())
    cost = len(first) / task.epochs
    yield replace(_replayed("one_epoch", task, seed, (place, cost)), with_final=False)


def ask_exhaustive(task: Task, seed: int) -> Iterator[Answer]:
    """The best of the whole grid, every rate trained once in full, and all that one seed of it tells.

    The seed is one of the three that judge it, so that no method with one seed can be expected to do better.
    """
    grid, true = load()[task.name], truths()[task.name]
    metrics = best_epochs(grid)[:, seed]
    known = np.flatnonzero(np.isfinite(metrics))
    place = int(known[metrics[known].argmin()])
    untrained, best = float(grid.untrained[seed]), float(metrics[place])
    way = untrained - best
    low, high = around(metrics <= best + GOOD * way, place)
    broken = (grid.diverged_at[:, seed] >= 0) | ((metrics - best) / way >= BROKEN)
    cliff = first_above(grid.learning_rates, broken, place)
    slower = [
        (float(grid.learning_rates[i]), float((metrics[i] - best) / way)) for i in (place - 2, place - 4) if i >= 0
    ]
    details = {
        "interval": (float(grid.learning_rates[low]), float(grid.learning_rates[high])),
        "largest_stable": cliff if np.isfinite(cliff) else None,
        "epochs": float(np.nanargmin(grid.val_loss[place, seed])) + 1,
        "slower": [pair for pair in slower if np.isfinite(pair[1])],
    }
    rate, regret = float(grid.learning_rates[place]), float(true.regret[place])
    yield Answer("exhaustive", task.name, seed, rate, float(len(known)), True, regret, details)


def ask_default_keras(task: Task, seed: int) -> Iterator[Answer]:
    yield Answer("default_keras", task.name, seed, KERAS[type(task.build(seed).optimizer).__name__])


def _replayed(method: str, task: Task, seed: int, found: tuple[int, float]) -> Answer:
    place, cost = found
    rate, regret = float(task.learning_rates[place]), float(truths()[task.name].regret[place])
    return Answer(method, task.name, seed, rate, cost, with_final=True, regret=regret)


def _number(task: Task) -> int:
    return [it.name for it in TASKS].index(task.name)


METHODS: dict[str, Callable[[Task, int], Iterator[Answer]]] = {
    "lr_finder": ask_lr_finder,
    "fastai": ask_fastai,
    "lightning": ask_lightning,
    "random": ask_random,
    "optuna": ask_optuna,
    "one_epoch": ask_one_epoch,
    "exhaustive": ask_exhaustive,
    "default_keras": ask_default_keras,
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("methods", nargs=-1, type=click.Choice(sorted(METHODS)), required=True)
def main(directory: Path, methods: tuple[str, ...]) -> None:
    """Ask METHODS about every task and seed, as far as they have not answered yet."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore")
    done = {(row.method.split("_")[0], row.task, row.seed % 1000) for row in answers.read(directory).values()}
    for method in methods:
        for seed in SEEDS:
            for task in TASKS:
                if (method.split("_")[0], task.name, seed) in done and method != "default_keras":
                    continue
                started = time.perf_counter()
                for answer in METHODS[method](task, seed):
                    answers.write(directory, answer)
            print(f"{method} seed {seed}: last took {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
