"""Constant learning rates compared at full length, on the 60,000 training images of Fashion-MNIST.

The data are Debian's: apt-get install dataset-fashion-mnist. Seven rates for 150 epochs take about three quarters of
an hour on one core; each finished training is written as a CSV log, which the command line then answers from:

    python examples/fashion_mnist.py --logs fashion-mnist
    learnrate diagnose fashion-mnist/*.csv
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

import learnrate
from learnrate.training import Event, EventKind

FOLDER = Path("/usr/share/datasets/fashion-mnist")
RATES = [1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1]


def build(num_images: int = 60_000) -> learnrate.TorchTrainable:
    torch.manual_seed(0)

    images = idx(FOLDER / "train-images-idx3-ubyte.gz")[:num_images].reshape(-1, 784) / np.float32(255)
    kinds = idx(FOLDER / "train-labels-idx1-ubyte.gz")[:num_images].astype(np.int64)
    split = train_test_split(images, kinds, test_size=0.15, stratify=kinds, random_state=0)
    train_images, validation_images, train_kinds, validation_kinds = map(torch.from_numpy, split)

    model = nn.Sequential(nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 10))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight, std=0.05)  # as Keras's "normal"
        nn.init.zeros_(layer.bias)
    return learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3, fused=True),
        nn.CrossEntropyLoss(),
        list(zip(train_images.split(256), train_kinds.split(256), strict=True)),  # in this order every epoch
        [(validation_images, validation_kinds)],
        metrics={"accuracy": accuracy},
    )


def idx(path: Path) -> np.ndarray:
    """Read an array in the format of MNIST: two zero bytes, the type, the number of axes, their lengths, the values."""
    data = gzip.decompress(path.read_bytes())
    lengths = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(lengths)


def accuracy(outputs: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(1) == kinds).float().mean()


def write_log(folder: Path, trial: learnrate.Trial) -> None:
    """Write a training as a CSV log with a row an epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(trial.curve.metrics)
    rows = np.column_stack([trial.curve.epochs, *trial.curve.metrics.values()]).tolist()
    lines = [f"{epoch:g},{trial.learning_rate:g}," + ",".join(map(str, row)) for epoch, *row in rows]
    header = ",".join(["epoch", "learning_rate", *names])
    (folder / f"{trial.learning_rate:g}.csv").write_text("\n".join([header, *lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--images", type=int, default=60_000, help="use only the first so many")
    parser.add_argument("--logs", type=Path, default=Path("fashion-mnist"), help="the folder for the CSV logs")
    asked = parser.parse_args()
    torch.set_flush_denormal(True)  # high rates leave weights so small that a CPU computes ten times slower with them

    def when_finished(event: Event) -> None:
        if event.kind is EventKind.TRIAL_FINISHED and event.trial is not None:
            write_log(asked.logs, event.trial)

    print(learnrate.sweep(build(asked.images), asked.rates, epochs=asked.epochs, on_event=when_finished))


if __name__ == "__main__":
    main()
