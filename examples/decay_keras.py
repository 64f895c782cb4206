"""Exponential decay in Keras, a staircase by epoch: 0.95 an epoch, against a constant rate.

    python examples/decay_keras.py --output decay.png          # 5,000 digits, 100 epochs

The schedule is learnrate's, so that trials can be compared on it; for a training script of one's own the same schedule
becomes an object of Keras's, which `fit` follows inside its compiled step.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import keras
from images import load
from keras import layers

import learnrate
from learnrate import schedules
from learnrate.adapters.keras import KerasTrainable, learning_rate_schedule

BATCH = 128


def make_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((784,)), layers.Dense(128, activation="relu"), layers.Dense(10, activation="softmax")]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "fashion"], default="digits")
    parser.add_argument("--samples", type=int, help="how many of the images to take; all of them by default")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--output", type=Path, default=Path("decay.png"), help="the schedule: .png, .svg, .html")
    arguments = parser.parse_args()
    images = load(arguments.data, arguments.samples)
    validation = images.validation_images, images.validation_labels
    decay = partial(schedules.exponential, factor=0.95, num_epochs=arguments.epochs)

    model = make_model()
    model.compile(
        keras.optimizers.Adam(arguments.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    problem = KerasTrainable(
        model, images.train_images, images.train_labels, validation_data=validation, batch_size=BATCH
    )
    for name, schedule in {"constant": schedules.constant, "0.95 an epoch": decay}.items():
        result = learnrate.sweep(problem, [arguments.learning_rate], epochs=arguments.epochs, schedule=schedule)
        print(f"{name}\n{result.trials[0].diagnosis}\n")

    plan = decay(arguments.learning_rate, arguments.epochs * problem.steps_per_epoch)
    learnrate.charts.schedule(plan, epochs=arguments.epochs).save(arguments.output)

    own = make_model()  # and the same without learnrate's loop
    own.compile(keras.optimizers.Adam(learning_rate_schedule(plan)), "sparse_categorical_crossentropy")
    history = own.fit(
        images.train_images,
        images.train_labels,
        validation_data=validation,
        batch_size=BATCH,
        epochs=arguments.epochs,
        verbose=0,
    ).history
    print(f"fit with the schedule in the optimizer\n{learnrate.diagnose(history)}")


if __name__ == "__main__":
    main()
