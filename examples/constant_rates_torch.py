"""Seven constant learning rates compared, in PyTorch: one chart and one diagnosis each.

    python examples/constant_rates_torch.py --output rates.png        # 5,000 digits, an hour of one core
    python examples/constant_rates_torch.py --epochs 20 --samples 2000

A network of 784 and 10 units, Adam, batches of 256 in the order of the data, 150 epochs; five rates a decade apart,
then two between the best.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from images import load
from torch import nn

import learnrate

if TYPE_CHECKING:
    import numpy as np

RATES = [1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1]


def build(data: str = "digits", samples: int | None = None) -> learnrate.TorchTrainable:
    images = load(data, samples)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 10))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight, std=0.05)  # as Keras's "normal"
        nn.init.zeros_(layer.bias)
    return learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters()),
        nn.CrossEntropyLoss(),
        batches(images.train_images, images.train_labels),
        batches(images.validation_images, images.validation_labels),
        metrics={"accuracy": accuracy},
    )


def batches(images: np.ndarray, labels: np.ndarray) -> list[tuple[torch.Tensor, ...]]:
    return list(zip(torch.tensor(images).split(256), torch.tensor(labels).split(256), strict=True))


def accuracy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(1) == labels).float().mean()


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
