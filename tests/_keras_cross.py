"""Writes the range test and the answer of one model in one framework: python _keras_cross.py FRAMEWORK OPTIMIZER."""

from __future__ import annotations

import json
import sys

import numpy as np

import learnrate

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(320, 12)).astype("float32")
Y = np.argmax(X @ RANDOM.normal(size=(12, 4)) + RANDOM.normal(size=(320, 4)), axis=1).astype("int32")
WEIGHTS = [
    (RANDOM.normal(size=(12, 24)) / np.sqrt(12)).astype("float32"),
    np.zeros(24, "float32"),
    (RANDOM.normal(size=(24, 4)) / np.sqrt(24)).astype("float32"),
    np.zeros(4, "float32"),
]
SIZE, TRAINING, EPSILON = 32, 256, 1e-8


def batches(x, y):
    return [(x[at : at + SIZE], y[at : at + SIZE]) for at in range(0, len(x), SIZE)]


def in_torch(optimizer):
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(12, 24), torch.nn.ReLU(), torch.nn.Linear(24, 4))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), WEIGHTS, strict=True):
            parameter.copy_(torch.from_numpy(value.T.copy()))
    kinds = {
        "sgd": torch.optim.SGD,
        "adam": lambda *given, **settings: torch.optim.Adam(*given, eps=EPSILON, **settings),
    }
    data = [(torch.from_numpy(x), torch.from_numpy(y.astype("int64"))) for x, y in batches(X, Y)]
    loss = torch.nn.CrossEntropyLoss()
    return learnrate.TorchTrainable(model, kinds[optimizer](model.parameters(), lr=1e-3), loss, data[:8], data[8:])


def in_keras(optimizer):
    import keras

    layers = [keras.layers.Dense(24, activation="relu"), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((12,)), *layers])
    model.set_weights(WEIGHTS)
    kinds = {"sgd": keras.optimizers.SGD(1e-3), "adam": keras.optimizers.Adam(1e-3, epsilon=EPSILON)}
    model.compile(kinds[optimizer], keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    validation = X[TRAINING:], Y[TRAINING:]
    return learnrate.KerasTrainable(
        model, X[:TRAINING], Y[:TRAINING], validation_data=validation, batch_size=SIZE, shuffle=False
    )


def in_jax(optimizer):
    import functools

    import jax.numpy as jnp
    import optax

    def loss(params, batch):
        inputs, targets = batch
        hidden = jnp.maximum(inputs @ params[0] + params[1], 0)
        logits = hidden @ params[2] + params[3]
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    kinds = {"sgd": optax.sgd, "adam": functools.partial(optax.adam, eps=EPSILON)}
    data = batches(X, Y)
    return learnrate.JaxTrainable(WEIGHTS, loss, kinds[optimizer], data[:8], data[8:], learning_rate=1e-3)


if __name__ == "__main__":
    framework, optimizer = sys.argv[1:]
    problem = {"torch": in_torch, "keras": in_keras, "jax": in_jax}[framework](optimizer)
    found = learnrate.range_test(problem, spacing="exponential", num_steps=120)
    answer = learnrate.select(problem, epochs=6, seed=0)
    told = {"losses": found.losses.tolist(), "rate": answer.learning_rate, "interval": answer.interval}
    sys.stdout.write(json.dumps(told) + "\n")
