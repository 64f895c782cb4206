"""A recording without gaps, for whatever is replayed on it: policies of ours, and the searches of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from benchmarks.regret.grid import NOT_RECORDED

if TYPE_CHECKING:
    from benchmarks.regret.grid import TaskGrid


class Table:
    """Validation losses of one task at any grid rate, seed and step.

    Around the best every rate was recorded with every seed. Far from it, where a training is clearly worse or broken,
    every second rate was, with the first seed: a rate between two is taken for the mean of both, broken where one of
    them is, and another seed makes the same share of its own way, since its untrained loss is another.
    """

    def __init__(self, grid: TaskGrid) -> None:
        self.learning_rates = grid.learning_rates
        self.untrained = grid.untrained.astype(float)
        self.steps = np.concatenate([[0], grid.steps])
        self._epoch_places = np.searchsorted(self.steps, grid.epoch_ends)
        self.losses = np.empty((*grid.own.recorded.shape, len(self.steps)))  # (rates, seeds, 1 + marks)
        self.broke_at = grid.own.diverged_at.copy()
        self.losses[..., 0] = self.untrained
        self.losses[..., 1:] = grid.own.val_loss
        recorded = grid.own.recorded
        known = np.flatnonzero(recorded[:, 0])
        best = float(np.nanmin(self.losses[recorded]))
        for rate, seed in zip(*np.nonzero(~recorded), strict=True):
            low, high = known[known <= rate], known[known >= rate]
            beside = [int(it) for it in (*low[-1:], *high[:1])]
            first = grid.own.val_loss[beside, 0].mean(0)
            self.losses[rate, seed, 1:] = best + (first - best) * (self.untrained[seed] - best) / (
                self.untrained[0] - best
            )
            self.broke_at[rate, seed] = max(grid.own.diverged_at[beside, 0])
        assert NOT_RECORDED not in self.broke_at

    @property
    def at_epochs(self) -> np.ndarray:
        """Losses (rates, seeds, epochs) at the ends of the epochs."""
        return self.losses[..., self._epoch_places]

    @property
    def best_epochs(self) -> np.ndarray:
        """Metric (rates, seeds) of each run's best epoch, or of its untrained weights if none was better."""
        losses = self.at_epochs
        return np.minimum(np.where(np.isfinite(losses), losses, np.inf).min(-1), self.untrained)

    def place(self, rate: float) -> int:
        """The nearest grid rate's place."""
        return int(np.abs(np.log10(self.learning_rates / rate)).argmin())

    def loss(self, rate: float, seed: int, step: int) -> float:
        """Loss after so many steps, between two marks interpolated; NaN once it had diverged."""
        return float(np.interp(step, self.steps, self.losses[self.place(rate), seed]))

    def diverged_at(self, rate: float, seed: int) -> int | None:
        """The step whose loss was not finite, or None."""
        step = int(self.broke_at[self.place(rate), seed])
        return step if step >= 0 else None
