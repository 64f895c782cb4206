"""What a step of `KerasTrainable` takes beside one of `model.fit`.

    KERAS_BACKEND=jax python -m benchmarks.overhead.keras_steps     # a minute of one core; prints two lines of a table

Both train the same model over the same arrays for whole epochs, without validation and without printing; `fit` has
been compiled before, and so have our blocks. Each pair runs the two one after the other, in turns first. The table
holds medians over the pairs: of the time on the clock, and of the processor time of all threads.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import click
import keras
import numpy as np

from learnrate.adapters.keras import KerasTrainable
from learnrate.training import BLOCK

EPOCHS = 4
BATCH = 32
STEPS = 100  # an epoch


@dataclass(frozen=True)
class Case:
    """A model over random images."""

    name: str
    shape: tuple[int, ...]
    convolutional: bool

    def build(self) -> tuple[keras.Model, np.ndarray, np.ndarray]:
        """Model and data, the same each time."""
        keras.utils.set_random_seed(0)
        layers = keras.layers
        first = [layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2)]
        body = [*first, layers.Flatten()] if self.convolutional else [layers.Dense(128, activation="relu")]
        model = keras.Sequential(
            [keras.Input(self.shape), *body, layers.Dense(64, activation="relu"), layers.Dense(10)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
        random = np.random.default_rng(0)
        samples = BATCH * STEPS
        return model, random.normal(size=(samples, *self.shape)).astype("float32"), random.integers(0, 10, samples)


CASES = (Case("784-128-64-10", (784,), convolutional=False), Case("conv 8, BatchNorm, dropout", (14, 14, 1), True))


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


@click.command()
@click.option("--pairs", default=15, show_default=True, help="How often to measure the two.")
def main(pairs: int) -> None:
    """Measure both and print the table."""
    print("| backend | model | a step of fit | ours / fit, clock | ours / fit, processor |\n|---|---|---|---|---|")
    for case in CASES:
        model, x, y = case.build()
        problem = KerasTrainable(model, x, y, batch_size=BATCH)
        rates = np.full(STEPS, 1e-3)

        def fit(model: keras.Model = model, x: np.ndarray = x, y: np.ndarray = y) -> None:
            model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)

        def ours(problem: KerasTrainable = problem, rates: np.ndarray = rates) -> None:
            for _ in range(EPOCHS):
                for at in range(0, STEPS, BLOCK):
                    problem.train(rates[at : at + BLOCK])

        fit(), ours()  # compiles
        times: list[tuple[np.ndarray, np.ndarray]] = []
        for pair in range(pairs):
            measured: dict[object, np.ndarray] = {}
            for run in (fit, ours) if pair % 2 == 0 else (ours, fit):
                before = clocks()
                run()
                measured[run] = clocks() - before
            times.append((measured[fit], measured[ours]))
        ratios = [statistics.median(float(mine[at] / plain[at]) for plain, mine in times) for at in (0, 1)]
        step = statistics.median(float(plain[0]) for plain, _ in times) / (EPOCHS * STEPS)
        backend = keras.config.backend()
        print(f"| {backend} | {case.name} | {1e3 * step:.2f} ms | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
