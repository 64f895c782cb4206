"""Times of several ways to do the same, measured in turns in one run, and the machine's own limit beside them."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Taken(NamedTuple):
    """Medians over the rounds: seconds by the clock, and of processor time."""

    wall: float
    processor: float


def side_by_side(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Taken]]:
    """Run every way once to warm up, then all of them in each round, in turns first."""
    for way in ways.values():
        way()
    names = list(ways)
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken[name].append(timed(ways[name]))
    return taken


def timed(way: Callable[[], object]) -> Taken:
    """Run a way once."""
    wall, processor = time.perf_counter(), time.process_time()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Taken(time.perf_counter() - wall, time.process_time() - processor)


def median(taken: list[Taken]) -> Taken:
    """The median of each figure."""
    return Taken(*(statistics.median(values) for values in zip(*taken, strict=True)))


def ratio(mine: list[Taken], other: list[Taken]) -> Taken:
    """The median over the rounds of one way's time over the other's."""
    return median([Taken(*(a / b for a, b in zip(*pair, strict=True))) for pair in zip(mine, other, strict=True)])


def peak(device: str = "cpu", size: int = 1024, rounds: int = 15) -> float:
    """Floating-point operations a second that float32 matrix products reach here, at best."""
    a, b = torch.rand(2, size, size, device=device)
    best = min(timed(lambda: a @ b).wall for _ in range(rounds))
    return 2 * size**3 / best
