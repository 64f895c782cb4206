"""What many learning rates in one program take of memory, beside one after another.

    python -m benchmarks.speed.memory        # a minute of one core; prints a table

Each sweep runs in a process of its own; told is by how much its peak lies above where it was before the sweep.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import click
import numpy as np
import torch
from benchmarks.speed.vectorized import CASES, problem

import learnrate

STEPS = 3


def rise(case: str, count: int, *, vectorized: bool) -> float:
    """MB by which the peak of this process rises while it sweeps."""
    build, batch = CASES[case]
    trained = problem(build, batch)
    trained.train(np.full(STEPS, 1e-4))  # what PyTorch itself keeps is there before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learnrate.sweep(trained, np.geomspace(1e-5, 1e-3, count), epochs=1, vectorized=vectorized)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def elsewhere(case: str, count: int, *, vectorized: bool) -> float:
    """The same, measured in a fresh process."""
    asked = [sys.executable, "-m", "benchmarks.speed.memory", "--case", case, "--count", str(count)]
    done = subprocess.run(
        [*asked, *(["--vectorized"] if vectorized else [])], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@click.command()
@click.option("--case", type=click.Choice(list(CASES)), help="Only this, in this process.")
@click.option("--count", default=2)
@click.option("--vectorized", is_flag=True)
def main(case: str | None, count: int, *, vectorized: bool) -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    if case is not None:
        print(rise(case, count, vectorized=vectorized))
        return
    print("| network | K | one after another | in one program |\n|---|---:|---:|---:|")
    for name in list(CASES)[:3]:
        for several in (2, 8, 32):
            alone, together = (elsewhere(name, several, vectorized=flag) for flag in (False, True))
            print(f"| {name} | {several} | {alone:.0f} MB | {together:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
