"""Cyclical learning rates in PyTorch: triangular and triangular2, 1e-4 to 1e-2, 20 epochs up and 20 down.

    python examples/cyclical_torch.py --output cyclical.png       # 5,000 digits, 100 epochs

The rate is held within each epoch, as by a scheduler that is stepped once an epoch. PyTorch's own CyclicLR does the
same, and cycles Adam's beta1 as well unless it is told not to; learnrate's schedules leave the momentum alone.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from images import load
from torch import nn
from torch.optim.lr_scheduler import CyclicLR
from torch.utils.data import DataLoader, TensorDataset

import learnrate
from learnrate import schedules
from learnrate.adapters.torch import lr_scheduler, schedule_from

LOWEST, HIGHEST, HALF = 1e-4, 1e-2, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "fashion"], default="digits")
    parser.add_argument("--samples", type=int, help="how many of the images to take; all of them by default")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("cyclical.png"), help="the schedule: .png, .svg, .html")
    arguments = parser.parse_args()
    images = load(arguments.data, arguments.samples)
    parts = [torch.tensor(part) for part in images]

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    problem = learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters(), lr=HIGHEST),
        nn.CrossEntropyLoss(),
        DataLoader(TensorDataset(*parts[:2]), batch_size=128, shuffle=True),
        [(parts[2], parts[3])],
    )

    cycle = {
        "num_cycles": arguments.epochs / (2 * HALF),
        "min_fraction": LOWEST / HIGHEST,
        "num_epochs": arguments.epochs,
    }
    plans = {
        "triangular": partial(schedules.triangular, **cycle),
        "triangular2": partial(schedules.triangular2, **cycle),
        "PyTorch's CyclicLR": schedule_from(cyclic, by="epoch", epochs=arguments.epochs),
    }
    for name, plan in plans.items():
        result = learnrate.sweep(problem, [HIGHEST], epochs=arguments.epochs, schedule=plan)
        print(f"{name}\n{result.trials[0].diagnosis}\n")

    plan = plans["triangular2"](HIGHEST, arguments.epochs)
    learnrate.charts.schedule(plan, epochs=arguments.epochs).save(arguments.output)

    optimizer = torch.optim.Adam(model.parameters(), lr=HIGHEST)  # and in a loop of one's own
    scheduler = lr_scheduler(optimizer, plan)
    rates: list[float] = []
    for _ in range(arguments.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()  # an epoch of them
        scheduler.step()
    print("triangular2 by epoch:", " ".join(f"{rate:.2g}" for rate in rates[:: max(arguments.epochs // 10, 1)]))


def cyclic(optimizer: torch.optim.Optimizer) -> CyclicLR:
    return CyclicLR(optimizer, LOWEST, HIGHEST, step_size_up=HALF, mode="triangular", cycle_momentum=False)


if __name__ == "__main__":
    main()
