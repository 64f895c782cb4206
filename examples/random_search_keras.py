"""Random search over a Keras classifier: its size, optimizer, initialisation, batches, dropout and learning rate.

    python examples/random_search_keras.py                  # small networks, 3 folds: minutes
    python examples/random_search_keras.py --full           # 4 to 32 layers of 512 to 600 units, 5 folds, 50 epochs

Breast cancer data, average precision over the folds, a score of one's own beside it, callbacks' place taken by the
search: it keeps the best epoch of each training by itself.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from scipy import stats
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import learnrate

SMALL = {
    "n_hidden": range(1, 4),
    "n_neurons": range(16, 65),
    "learning_rate": [0.01, 0.1, 0.3, 0.5],
    "optimizer": ["adam", "adadelta", "adagrad", "rmsprop"],
    "init": ["random_uniform", "random_normal", "glorot_uniform"],
    "batch_size": [32, 64, 128, 256],
    "drop_rate": stats.uniform(0.1, 0.3),
}
FULL = SMALL | {
    "n_hidden": range(4, 33),
    "n_neurons": range(512, 601),
    "batch_size": [256, 512, 1024, 2048],
}


def build(train, validation, *, n_hidden, n_neurons, optimizer, init, batch_size, drop_rate, seed):  # noqa: ANN001, ANN201  # a person's own function
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.layers.Input((train[0].shape[1],))])
    for _ in range(n_hidden):
        model.add(keras.layers.Dense(n_neurons, activation="relu", kernel_initializer=init))
        model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Dropout(drop_rate))
    model.add(keras.layers.Dense(1, activation="sigmoid", kernel_initializer=init))
    f1 = keras.metrics.F1Score(threshold=0.5, name="f1")
    model.compile(keras.optimizers.get(optimizer), loss="binary_crossentropy", metrics=[f1])
    (x, y), (x_val, y_val) = train, validation
    return learnrate.KerasTrainable(
        model, x, y.reshape(-1, 1), validation_data=(x_val, y_val.reshape(-1, 1)), batch_size=batch_size
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the large networks")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--folds", type=int, help="3, or 5 with --full")
    parser.add_argument("--epochs", type=int, help="10, or 50 with --full")
    parser.add_argument("--sampler", default="random", choices=["random", "tpe", "qmc", "gp"])
    parser.add_argument("--study", help="a folder to remember the trainings in")
    arguments = parser.parse_args()

    features, sick = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(features, sick, test_size=0.2, stratify=sick, random_state=0)
    scaler = StandardScaler().fit(x)
    x, x_test = (scaler.transform(part).astype("float32") for part in (x, x_test))

    epochs = arguments.epochs or (50 if arguments.full else 10)
    space = FULL if arguments.full else SMALL
    result = learnrate.search(
        build,
        space,
        epochs=epochs,
        sampler=arguments.sampler,
        num_trials=arguments.trials,
        data=(x, y),
        cv=arguments.folds or (5 if arguments.full else 3),
        scoring="average_precision",
        study=arguments.study,
    )
    print(result)

    # the best hyperparameters once more, now on all but the test set
    best = {name: value for name, value in result.hyperparameters.items() if name != "learning_rate"}
    problem = build((x, y), (x_test, y_test), **best, seed=0)
    final = learnrate.sweep(problem, [result.learning_rate], epochs=round(result.epochs or epochs))
    problem.restore(final.best)
    predicted = problem.model.predict(x_test, verbose=0)[:, 0] > 0.5
    print(f"f1 on the test set: {f1_score(y_test, predicted):.4f}")


if __name__ == "__main__":
    main()
