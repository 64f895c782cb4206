"""How often a checkpoint is written in the middle of a training: by what one costs."""

from __future__ import annotations

import time

SHARE = 20
"""Checkpoints take at most one part in so many of the time: then a crash costs little, and so does the insurance."""


class Pace:
    """Tells when a checkpoint is due: at the first epoch's end after `SHARE` times what the one before cost.

    Where writing takes 0.1 s that is every 2 s, or at each epoch's end where epochs are longer. The first is written
    at the first epoch's end, to learn what one costs.
    """

    def __init__(self) -> None:
        self._cost = 0.0
        self._since = time.perf_counter()

    def begin(self) -> None:
        """Say that a training begins, or goes on."""
        self._since = time.perf_counter()

    def due(self) -> bool:
        """Return whether one is to be written now."""
        return time.perf_counter() - self._since >= SHARE * self._cost

    def wrote(self, began: float) -> None:
        """Say that one has been written since `began`, by `time.perf_counter()`."""
        self._since = time.perf_counter()
        self._cost = self._since - began
