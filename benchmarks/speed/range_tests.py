"""Range tests of the same 100 steps: the bare loop, `learnrate`, and other packages as far as they are installed.

    python -m benchmarks.speed.range_tests                 # the bare loop, ours, and Keras
    peers/bin/python -m benchmarks.speed.range_tests       # with benchmarks/regret/requirements-peers*.txt installed

All from 1e-7 to 1e-3, where nothing breaks, so that everyone makes all the steps; on one thread. In Keras the bare loop
is `fit` with a callback that raises the rate after every batch and keeps the loss, as it is commonly written.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.overhead.range_test import CASES, HIGHEST, LOSS, LOWEST, STEPS, Case, bare, ours
from benchmarks.speed.clock import median, ratio, side_by_side

import learnrate

if TYPE_CHECKING:
    from collections.abc import Callable


def torch_lr_finder(case: Case) -> None:
    from torch_lr_finder import LRFinder

    model, optimizer, loader = case.build()
    optimizer.param_groups[0]["lr"] = LOWEST
    finder = LRFinder(model, optimizer, LOSS, device="cpu")
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):
        finder.range_test(loader, end_lr=HIGHEST, num_iter=STEPS)
    finder.reset()
    assert len(finder.history["lr"]) == STEPS


def fastai(case: Case) -> None:
    import fastai.callback.all  # noqa: F401  # patches lr_find and its kin onto the learner
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    model, optimizer, loader = case.build()
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(
            DataLoaders(loader, loader, device=torch.device("cpu")),
            model,
            loss_func=LOSS,
            opt_func=lambda *_, **__: OptimWrapper(opt=optimizer),
            path=folder,
        )
        with learner.no_bar(), learner.no_logging():
            learner.lr_find(LOWEST, HIGHEST, STEPS, show_plot=False)


def lightning(case: Case) -> None:
    import lightning
    from lightning.pytorch.tuner import Tuner

    model, optimizer, loader = case.build()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = model, LOWEST

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return LOSS(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
            return optimizer

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=10,
            default_root_dir=folder,
        )
        Tuner(trainer).lr_find(
            Module(),
            train_dataloaders=loader,
            min_lr=LOWEST,
            max_lr=HIGHEST,
            num_training=STEPS,
            early_stop_threshold=None,
        )


OTHERS = {"torch_lr_finder": torch_lr_finder, "fastai": fastai, "lightning": lightning}


def keras_parts() -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *(layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2)),
            *(layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()),
            *(layers.Dense(256, activation="relu"), layers.Dense(128, activation="relu")),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(LOWEST), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    images = rng.random((250 * STEPS // 5, 28, 28, 1), dtype=np.float32)
    return model, images, rng.integers(0, 10, len(images))


def keras_bare() -> None:
    """The loop of the documents: a callback raises the rate after each batch of `fit`."""
    import keras

    model, images, labels = keras_parts()
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)

    class Raise(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.losses: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras passes both
            self.model.optimizer.learning_rate.assign(rates[len(self.losses)])

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras passes both
            self.losses.append(logs["loss"])

    raised = Raise()
    model.fit(images, labels, batch_size=250, epochs=5, callbacks=[raised], verbose=0)
    assert len(raised.losses) == STEPS


def keras_ours() -> None:
    model, images, labels = keras_parts()
    problem = learnrate.KerasTrainable(model, images, labels, batch_size=250)
    learnrate.range_test(
        problem, min_learning_rate=LOWEST, max_learning_rate=HIGHEST, num_steps=STEPS, spacing="exponential"
    )


@click.command()
@click.option("--rounds", default=15, show_default=True)
def main(rounds: int) -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| training | range test | seconds | over the bare loop |\n|---|---|---:|---:|")
    installed = {name: way for name, way in OTHERS.items() if importlib.util.find_spec(name)}
    for case in CASES:
        ways: dict[str, Callable[[], object]] = {"the bare loop": lambda case=case: bare(case)}
        ways["learnrate"] = lambda case=case: ours(case)
        ways |= {name: lambda way=way, case=case: way(case) for name, way in installed.items()}
        show(case.name, ways, rounds)
    if importlib.util.find_spec("keras"):
        show("Keras, ConvNet, batch 250", {"the bare loop": keras_bare, "learnrate": keras_ours}, max(rounds // 3, 1))


def show(training: str, ways: dict[str, Callable[[], object]], rounds: int) -> None:
    taken = side_by_side(ways, rounds)
    for name, times in taken.items():
        over = ratio(times, taken["the bare loop"]).processor
        print(f"| {training} | {name} | {median(times).processor:.2f} | {over:.2f} |", flush=True)


if __name__ == "__main__":
    main()
