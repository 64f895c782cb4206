"""One climb under way: which rates come next, and whether training has broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from learnrate.suggestions import broken_at
from learnrate.training import BLOCK

if TYPE_CHECKING:
    from learnrate.curves import Array


class Ramp:
    """The losses of a climb as far as it went, from the start of an epoch."""

    def __init__(self, learning_rates: Array, steps_per_epoch: int) -> None:
        self.losses: Array = np.empty(0)
        self._rates = learning_rates
        self._per_epoch = steps_per_epoch
        self._broken = False

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end, or broken."""
        return self._broken or len(self.losses) >= len(self._rates)

    def rates(self) -> Array:
        """Return the rates of the next block."""
        step = len(self.losses)
        return self._rates[step : min(step + BLOCK // 8, (step // self._per_epoch + 1) * self._per_epoch)]

    def take(self, block: Array) -> None:
        """Take the losses of a block."""
        self.losses = np.concatenate([self.losses, block])
        risen = not np.median(block) <= np.median(self.losses[:BLOCK])  # NaN has risen; a fall is not looked at
        self._broken = risen and broken_at(self.losses, complete=False) is not None
