"""What `range_test` costs over the bare loop of the same steps.

    python -m benchmarks.overhead.range_test          # about a minute of one core; prints a table
    python -m benchmarks.overhead.range_test --pairs 5

Both make 100 updates over the same batches, with the same optimizer, the rate set at each. The bare loop is what one
would write by hand to draw the curve: it keeps every loss. `range_test` takes a snapshot, makes one update more to
learn what the training reports, puts everything back and reads the curve; all of that counts. Each pair runs the two
one after the other, in turns first; the table holds medians of processor time on one thread, which other work on the
machine changes little.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import click
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import learnrate

STEPS = 100
LOWEST, HIGHEST = 1e-7, 1e-3  # where nothing breaks, so that both make all the steps


@dataclass(frozen=True)
class Case:
    """A perceptron on random numbers."""

    name: str
    sizes: tuple[int, ...]
    batch: int

    def build(self) -> tuple[nn.Module, torch.optim.Optimizer, DataLoader[tuple[torch.Tensor, ...]]]:
        """Model, optimizer and data, the same each time."""
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(self.sizes, self.sizes[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        optimizer = torch.optim.Adam(model.parameters())
        rows = 50 * self.batch
        data = TensorDataset(torch.randn(rows, self.sizes[0]), torch.randint(0, self.sizes[-1], (rows,)))
        return model, optimizer, DataLoader(data, self.batch, shuffle=True)


CASES = (Case("784-400-200-10, batch 64", (784, 400, 200, 10), 64), Case("20-32-10, batch 32", (20, 32, 10), 32))
LOSS = nn.functional.cross_entropy


def bare(case: Case) -> float:
    """Seconds that the loop takes by itself."""
    model, optimizer, loader = case.build()
    rates = np.geomspace(LOWEST, HIGHEST, STEPS).tolist()
    losses: list[float] = []
    started = time.process_time()
    while len(losses) < STEPS:
        for inputs, targets in loader:
            optimizer.param_groups[0]["lr"] = rates[len(losses)]
            optimizer.zero_grad()
            loss = LOSS(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == STEPS:
                break
    return time.process_time() - started


def ours(case: Case) -> float:
    """Seconds that `range_test` takes for the same steps."""
    model, optimizer, loader = case.build()
    problem = learnrate.TorchTrainable(model, optimizer, LOSS, loader)
    started = time.process_time()
    result = learnrate.range_test(
        problem, min_learning_rate=LOWEST, max_learning_rate=HIGHEST, num_steps=STEPS, spacing="exponential"
    )
    seconds = time.process_time() - started
    assert len(result.losses) == STEPS
    return seconds


@click.command()
@click.option("--pairs", default=30, show_default=True, help="How often to measure the two.")
def main(pairs: int) -> None:
    """Measure both and print the table."""
    torch.set_num_threads(1)
    print("| model | a step of the bare loop | range_test / bare | more a step |\n|---|---|---|---|")
    for case in CASES:
        bare(case), ours(case)  # the first run of each loads what later ones find loaded
        times = []
        for pair in range(pairs):
            first, second = (bare, ours) if pair % 2 == 0 else (ours, bare)
            measured = {first: first(case), second: second(case)}
            times.append((measured[bare], measured[ours]))
        ratio = statistics.median(mine / plain for plain, mine in times)
        step = statistics.median(plain for plain, _ in times) / STEPS
        more = statistics.median(mine - plain for plain, mine in times) / STEPS
        print(f"| {case.name} | {1e3 * step:.2f} ms | {ratio:.3f} | {1e6 * more:.0f} µs |", flush=True)


if __name__ == "__main__":
    main()
