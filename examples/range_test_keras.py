"""A learning rate range test in Keras: SGD against Adam on one chart.

    python examples/range_test_keras.py --output range-test.png                  # 5,000 digits
    python examples/range_test_keras.py --data fashion --output range-test.png   # all of Fashion-MNIST

A small convolutional network, batches of 250, 5 epochs of rising rates from 1e-4 to 1. The first chart shows the loss
over the learning rate, the second its change a step.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import keras
from images import load
from keras import layers

import learnrate
from learnrate.adapters.keras import KerasTrainable

OPTIMIZERS = {"SGD": keras.optimizers.SGD, "Adam": keras.optimizers.Adam}


def build(optimizer: str = "SGD", data: str = "digits", samples: int | None = None) -> KerasTrainable:
    keras.utils.set_random_seed(0)
    images = load(data, samples)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(OPTIMIZERS[optimizer](1e-3), "sparse_categorical_crossentropy")
    return KerasTrainable(model, images.train_images.reshape(-1, 28, 28, 1), images.train_labels, batch_size=250)


def steepest(result: learnrate.RangeTest) -> str:
    rate = result.suggestions["steepest"]
    return "no descent" if rate is None else f"steepest at 10^{math.log10(rate):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "fashion"], default="digits")
    parser.add_argument("--samples", type=int, help="how many of the images to take; all of them by default")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lowest", type=float, default=1e-4)
    parser.add_argument("--highest", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=Path("range-test.png"), help="the charts: .png, .svg, .html")
    arguments = parser.parse_args()

    results: dict[str, learnrate.RangeTest] = {}
    for name in OPTIMIZERS:
        problem = build(name, arguments.data, arguments.samples)
        results[name] = learnrate.range_test(
            problem,
            min_learning_rate=arguments.lowest,
            max_learning_rate=arguments.highest,
            num_steps=arguments.epochs * problem.steps_per_epoch,
            spacing="exponential",
        )
        print(f"{name}: {steepest(results[name])}\n{results[name]}\n")
    learnrate.charts.range_tests(results).save(arguments.output)


if __name__ == "__main__":
    main()
