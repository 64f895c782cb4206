"""A bracket of a search at work: who begins, who goes on, and who stays."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from learnrate._searching.halving import Rung

if TYPE_CHECKING:
    from learnrate._searching.halving import Bracket
    from learnrate.curves import Mode
    from learnrate.results import Trial


class Course:
    """The candidates of a bracket on their way from rung to rung.

    Args:
        bracket: How many begin, and where they are compared.
        factor: One of so many goes on.
        mode: Whether small values are better, or large ones.
        horizon: Epochs of a full training.
    """

    def __init__(self, bracket: Bracket, factor: int, mode: Mode, horizon: int) -> None:
        self.rungs = bracket.rungs
        self._left = bracket.candidates
        self._compared = [Rung(factor, mode, horizon) for _ in bracket.rungs[1:]]
        if self._compared:
            self._compared[0].expected = bracket.candidates
        self._rung: dict[int, int] = {}  # by trial, of the one that it is trained to
        self._going_on: collections.deque[int] = collections.deque()

    def __contains__(self, number: int) -> bool:
        return number in self._rung

    @property
    def may_begin(self) -> bool:
        """Whether another candidate is to begin."""
        return self._left > 0

    def begin(self, number: int) -> None:
        """Say that a candidate begins."""
        self._left -= 1
        self._rung[number] = 0

    def begin_no_more(self) -> list[int]:
        """Say that no other will begin; return those that are known now not to go on."""
        short, self._left = self._left > 0 and bool(self._compared), 0
        if not short:
            return []
        self._compared[0].expected = len(self._rung)
        return self._promote(0)

    def going_on(self) -> tuple[int, int] | None:
        """Return a trial that goes on next, and up to which epoch; None where none is known to."""
        if not self._going_on:
            return None
        number = self._going_on.popleft()
        return number, self.rungs[self._rung[number]]

    def take(self, trial: Trial, metric: str) -> list[int]:
        """Let a trial arrive at its rung; return those that are known now not to go on."""
        rung = self._rung[trial.number]
        if rung == len(self._compared):
            return []
        self._compared[rung].take(trial, metric)
        return self._promote(rung)

    def _promote(self, rung: int) -> list[int]:
        stay: list[int] = []
        for place in range(rung, len(self._compared)):
            here = self._compared[place]
            for number in here.certain():
                self._rung[number] = place + 1
                self._going_on.append(number)
            if not here.is_complete:
                break
            stay += here.left()
            if place + 1 < len(self._compared):
                self._compared[place + 1].expected = here.num_chosen
        return stay
