"""How the trainings of a race stand to each other: which was behind which, at which length, and by how much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from learnrate._diagnosis.trends import noise
from learnrate._selection.evidence import MOVED, NEAR
from learnrate._selection.race import PROBE
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from learnrate.curves import Array, Mode
    from learnrate.results import Trial

NEIGHBOUR = 0.55
"""Decades: a rate that lies so near to another was compared with it as a neighbour, half a decade away at most."""


class Lab(Protocol):
    """What is asked of a laboratory."""

    trials: list[Trial]
    metric: str
    mode: Mode
    total_steps: int
    epochs: int

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
        ...

    def relative_rates(self, last_step: int) -> Array:
        """Return the rates of a training up to a step, in units of its learning rate."""
        ...


class Course(NamedTuple):
    """All that was trained at one learning rate. Losses are the metric, smaller when better."""

    x: float
    """The log learning rate."""
    steps: Array
    """At which the loss is known, ascending."""
    best: Array
    """The lowest loss up to each."""
    length: int
    """How many steps the longest training made."""
    broke: bool
    """Whether that one ended in a loss that is not finite."""
    noise: float
    """The standard deviation of its losses around their trend."""

    def at(self, step: int) -> float:
        """Return the lowest loss known up to a step, infinite where none is."""
        known = int(np.searchsorted(self.steps, step, side="right"))
        return float(self.best[known - 1]) if known else math.inf

    def between(self, step: int, untrained: float) -> float:
        """Return the same between two known losses, the untrained one among them."""
        return float(np.interp(step, [0, *self.steps], [untrained, *self.best]))


class Courses:
    """The courses of a race's trials, by their learning rate, the slowest first.

    Args:
        lab: Whose trials they are.
        end: The step that a training in full goes to; None for the horizon.
    """

    def __init__(self, lab: Lab, end: int | None = None) -> None:
        self._sign = 1 if lab.mode == "min" else -1
        untrained = lab.untrained_value
        self.untrained = None if untrained is None else self._sign * untrained
        self.end = end or lab.total_steps
        summed = np.cumsum(lab.relative_rates(lab.total_steps))
        self._spent: Array = summed / summed[-1]
        per_epoch = lab.total_steps / lab.epochs
        rates = sorted({trial.learning_rate for trial in lab.trials})
        self.all = [
            self._course([trial for trial in lab.trials if trial.learning_rate == rate], lab.metric, per_epoch)
            for rate in rates
        ]

    def of(self, learning_rate: float) -> Course | None:
        """Return the course of a learning rate, None where it was not trained."""
        return next((one for one in self.all if math.isclose(10**one.x, learning_rate)), None)

    def share(self, step: int) -> float:
        """Return the share of the schedule's summed rate that is spent by a step."""
        return float(self._spent[step - 1])

    def way(self, *losses: float) -> float:
        """Return how far the lowest of some losses lies below the untrained one, or below the highest of them."""
        start = max(losses) if self.untrained is None else self.untrained
        return max(start - min(losses), 0.0)

    def bounds(self, winner: Course) -> tuple[Course | None, Course | None]:
        """Return the nearest courses on the slow and the fast side of the winner that were behind.

        The best rate lies between them: at the same length some rate on the winner's side of each was ahead of it.
        """
        slower = [one for one in self.all if one.x < winner.x and self._is_behind(one, 1, winner.noise)]
        faster = [one for one in self.all if one.x > winner.x and self._is_behind(one, -1, winner.noise)]
        return (slower[-1] if slower else None), (faster[0] if faster else None)

    def compared(self, winner: Course) -> float:
        """Return at which share of the summed rate the winner had a neighbour on each side to be compared with."""
        return min(self._longest(winner, side) for side in (-1, 1))

    def _is_behind(self, one: Course, side: int, noise: float) -> bool:
        """Whether some rate on a side of a course, 1 the faster one, was ahead of it at the same length.

        What hardly differs bounds nothing, or by no more than the noise, nor what was left on the screen unless it is
        far behind.
        """
        if one.broke or not len(one.steps):
            return side < 0
        mine = float(one.best[-1])
        ahead = min(other.at(one.length) for other in self.all if (other.x - one.x) * side > 0)
        least = MOVED if self.share(one.length) >= PROBE / 2 else NEAR
        return mine - ahead > noise and mine - ahead >= least * self.way(mine, ahead)

    def _longest(self, winner: Course, side: int) -> float:
        lengths = [
            min(one.length, winner.length)
            for one in self.all
            if 0 < (one.x - winner.x) * side <= NEIGHBOUR and not one.broke and math.isfinite(winner.at(one.length))
        ]
        return self.share(max(lengths)) if lengths else 0.0

    def _course(self, trials: Sequence[Trial], metric: str, per_epoch: float) -> Course:
        longest = max(trials, key=lambda trial: trial.epochs)
        rows = sorted(self._rows(trials, metric, per_epoch))
        losses = np.array([loss for _, loss in rows])
        values = longest.curve.values(metric) if metric in longest.curve.metrics else np.array([])
        return Course(
            x=math.log10(longest.learning_rate),
            steps=np.array([step for step, _ in rows], dtype=int),
            best=np.minimum.accumulate(losses) if rows else losses,
            length=max(round(longest.epochs * per_epoch), 1),
            broke=longest.state is not TrialState.COMPLETE,
            noise=noise(values[np.isfinite(values)]),
        )

    def _rows(self, trials: Iterable[Trial], metric: str, per_epoch: float) -> Iterable[tuple[int, float]]:
        for trial in trials:
            if metric in trial.curve.metrics:
                for epoch, value in zip(trial.curve.epochs, trial.curve.values(metric), strict=True):
                    if math.isfinite(value):
                        yield round(epoch * per_epoch), self._sign * float(value)
