"""The final metric as a function of the log learning rate: a bowl, with a cliff on its right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate.curves import Array

GOOD = 0.01
"""Good means within 1 % of the way from the untrained metric to the best one."""


@dataclass(frozen=True)
class Bowl:
    """The expected final loss over the base-10 log of the learning rate, falling to its bottom, then rising.

    Losses are smaller when better. Beyond `cliff` (a log learning rate, infinite where nothing broke) training breaks.

    Attributes:
        x: Log learning rates, ascending.
        loss: The loss at each, in between linear; left of the first `untrained`-wards, right of the last unknown.
        noise: Standard deviation of a loss around the bowl.
        untrained: The loss before training, if it is known.
        cliff: Where training breaks.
    """

    x: Array
    loss: Array
    noise: float
    untrained: float | None
    cliff: float

    @property
    def best(self) -> float:
        """The loss at the bottom."""
        return float(self.loss.min())

    @property
    def scale(self) -> float:
        """The way from the untrained loss to the best one; from the worst known where the untrained is not known."""
        worst = self.loss.max() if self.untrained is None else self.untrained
        return max(float(worst) - self.best, 0.0)

    def at(self, x: float) -> float:
        """Return the loss at a log learning rate; infinite beyond the cliff."""
        if x >= self.cliff:
            return math.inf
        if x < self.x[0] and self.untrained is not None:
            return self._towards_untrained(x)
        return float(np.interp(x, self.x, self.loss))

    def _towards_untrained(self, x: float) -> float:
        # A tenth of a small learning rate makes a tenth of the progress.
        assert self.untrained is not None  # noqa: S101  # the caller looked
        progress = (self.untrained - float(self.loss[0])) * 10 ** (x - float(self.x[0]))
        return self.untrained - progress

    def cost(self, x: float) -> float:
        """Return (loss − best) / (untrained − best), infinite beyond the cliff."""
        loss = self.at(x)
        return loss if math.isinf(loss) or self.scale == 0 else max(loss - self.best, 0.0) / self.scale

    def good(self) -> tuple[float, float]:
        """Return the lowest and the highest log learning rate whose loss is good, floored at the noise."""
        level = self.best + max(GOOD * self.scale, self.noise)
        bottom = int(np.argmin(self.loss))
        grid: Array = np.linspace(float(self.x[0]), float(self.x[-1]), 2001)
        losses: Array = np.interp(grid, self.x, self.loss)
        place = int(np.argmin(np.abs(grid - self.x[bottom])))
        bad = losses > level
        left = np.flatnonzero(bad[:place])
        right = np.flatnonzero(bad[place:])
        low = float(grid[left[-1] + 1]) if left.size else float(grid[0])
        high = float(grid[place + right[0] - 1]) if right.size else float(grid[-1])
        return min(low, float(self.x[bottom])), max(high, float(self.x[bottom]))


def fit_bowl(
    points: Sequence[tuple[float, float]],
    *,
    bottom: float,
    untrained: float | None,
    cliff: float = math.inf,
    noise: float = 0.0,
) -> Bowl:
    """Fit a bowl to (log learning rate, loss) points: the nearest curve that falls to `bottom`, then rises.

    The fit is isotonic regression on either side (pool adjacent violators), so that it has no shape of its own but
    the one that every bowl has.

    Args:
        points: At least one point with a finite loss.
        bottom: The log learning rate of the lowest loss.
        untrained: The loss before training.
        cliff: The log learning rate at which training breaks, infinite where none is known.
        noise: Standard deviation of one loss.
    """
    ordered = sorted((x, loss) for x, loss in points if math.isfinite(loss) and x < cliff)
    x = np.array([point[0] for point in ordered])
    loss = np.array([point[1] for point in ordered])
    left, right = x <= bottom, x >= bottom
    fitted = loss.copy()
    fitted[left] = -isotonic(-loss[left])
    fitted[right] = isotonic(loss[right])
    return Bowl(x=x, loss=fitted, noise=noise, untrained=untrained, cliff=cliff)


def isotonic(values: Array) -> Array:
    """Return the non-decreasing values nearest in least squares: pool adjacent violators.

    Example:
        >>> isotonic(np.array([1.0, 3.0, 2.0, 4.0]))
        array([1. , 2.5, 2.5, 4. ])
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools]).astype(np.float64)
