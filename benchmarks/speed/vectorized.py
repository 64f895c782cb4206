"""Many learning rates in one program against one after another.

    python -m benchmarks.speed.vectorized                 # some minutes of two cores; prints a table
    python -m benchmarks.speed.vectorized --counts 7 --counts 16 --rounds 1

`sweep` over K rates of the same training, `vectorized=True` over `vectorized=False`, in turns in one run; on CUDA where
there is one. Two local workers can at best halve the time of one after another, so that is what "two workers" stands
for. The limit is the matrix products' own time at the highest speed that was measured here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from benchmarks.speed.clock import median, peak, ratio, side_by_side
from torch import nn

import learnrate
from learnrate._trials.stacked import pays

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS, EPOCHS = 20, 2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def perceptron(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


def convnet() -> nn.Sequential:
    """The range test's network of the documents: two convolutions, three dense layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1600, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "784-32-10, batch 32": (lambda: perceptron(32), 32),
    "784-128-10, batch 32": (lambda: perceptron(128), 32),
    "784-784-10, batch 256": (lambda: perceptron(784), 256),
    "ConvNet, batch 250": (convnet, 250),
}


def problem(build: Callable[[], nn.Module], batch: int) -> learnrate.TorchTrainable:
    torch.manual_seed(0)
    model = build().to(DEVICE)
    data = [
        (torch.rand(batch, 1, 28, 28, device=DEVICE), torch.randint(0, 10, (batch,), device=DEVICE))
        for _ in range(STEPS)
    ]
    return learnrate.TorchTrainable(
        model, torch.optim.Adam(model.parameters()), nn.functional.cross_entropy, data, data[:2]
    )


def multiplications(model: nn.Module) -> float:
    """Multiply-adds of one sample's way through the network."""
    found: list[float] = []

    def count(layer: nn.Module, _: object, outputs: torch.Tensor) -> None:
        found.append(layer.weight.numel() * outputs[0].numel() / len(layer.weight))

    hooks = [
        layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    model(torch.zeros(1, 1, 28, 28, device=DEVICE))
    for hook in hooks:
        hook.remove()
    return sum(found)


@click.command()
@click.option("--counts", multiple=True, type=int, default=(2, 4, 8, 16, 32, 64), show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(counts: tuple[int, ...], rounds: int, threads: int) -> None:
    """Measure and print the table."""
    torch.set_num_threads(threads)
    fastest = peak(DEVICE)
    print("| network | K | one after another | two workers at best | in one program | ratio | limit | auto |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for name, (build, batch) in CASES.items():
        for count in counts:
            rates = np.geomspace(1e-5, 1e-3, count)
            ways = {
                flag: lambda flag=flag, rates=rates, build=build, batch=batch: learnrate.sweep(
                    problem(build, batch), rates, epochs=EPOCHS, vectorized=flag
                )
                for flag in (False, True)
            }
            taken = side_by_side(ways, rounds)
            alone, together = (median(taken[flag]).wall for flag in (False, True))
            work = 2 * 3 * multiplications(build().to(DEVICE)) * batch * STEPS * EPOCHS * count
            auto = "together" if pays(problem(build, batch).dimensions, count) else "one by one"
            print(
                f"| {name} | {count} | {alone:.2f} s | {alone / 2:.2f} s | {together:.2f} s "
                f"| {ratio(taken[False], taken[True]).wall:.1f} | {work / fastest:.2f} s | {auto} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
