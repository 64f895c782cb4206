"""Seven constant learning rates compared, in Keras: one chart and one diagnosis each.

    python examples/constant_rates_keras.py --output rates.png        # 5,000 digits, half an hour of one core
    python examples/constant_rates_keras.py --epochs 20 --samples 2000

A network of 784 and 10 units, Adam, batches of 256 in the order of the data, 150 epochs; five rates a decade apart,
then two between the best. The same in PyTorch is constant_rates_torch.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
from images import load
from keras import layers

import learnrate
from learnrate.adapters.keras import KerasTrainable

RATES = [1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1]


def build(data: str = "digits", samples: int | None = None) -> KerasTrainable:
    keras.utils.set_random_seed(0)
    images = load(data, samples)
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(784, activation="relu", kernel_initializer="normal"),
            layers.Dense(10, activation="softmax", kernel_initializer="normal"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return KerasTrainable(
        model,
        images.train_images,
        images.train_labels,
        validation_data=(images.validation_images, images.validation_labels),
        batch_size=256,
        shuffle=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "fashion"], default="digits")
    parser.add_argument("--samples", type=int, help="how many of the images to take; all of them by default")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--output", type=Path, default=Path("constant-rates.png"), help="the charts: .png, .svg, .html")
    parser.add_argument("--json", type=Path, help="the result as JSON")
    arguments = parser.parse_args()

    result = learnrate.sweep(build(arguments.data, arguments.samples), arguments.rates, epochs=arguments.epochs)
    print(result)
    for trial in result.trials:
        print(f"\n{trial.learning_rate:g}: {trial.diagnosis}")
    learnrate.charts.learning_curves(result.trials, "accuracy").save(arguments.output)
    if arguments.json:
        arguments.json.write_text(result.to_json())


if __name__ == "__main__":
    main()
