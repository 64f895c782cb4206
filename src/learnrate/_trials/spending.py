"""What a verb will spend: told in words before it trains, and again with the time once a step has been timed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from learnrate._numbers import counted, duration
from learnrate.training import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.results import Trial

WORTH_TELLING = 1.0
"""Seconds: what is over sooner needs no estimate."""


class SpendingPlan(NamedTuple):
    """What a verb will spend.

    Attributes:
        trainings: How many trainings, and how long: "5 trainings of 20 epochs".
        cost: What they cost at most, in full training runs.
        steps: Their steps: "5 × 4,000 steps".
        evaluations: And evaluations: "100 evaluations".
        course: In which order, where that is not plain: "rates a decade apart for 0.6 epochs each, …".
        num_together: How many trainings wait for no other, so that workers may do several of them at a time.
        cost_alone: Of the cost, that of the trainings that are one after another all the same.
    """

    trainings: str
    cost: float
    steps: str = ""
    evaluations: str = ""
    course: str = ""
    num_together: int = 1
    cost_alone: float = 0.0

    def words(self, seconds_left: float | None = None) -> str:
        """Return the plan in a line, with about how long it takes where that is known.

        Example:
            >>> plan = SpendingPlan("5 trainings of 20 epochs", 5.0, "5 × 4,000 steps", "100 evaluations")
            >>> plan.words()
            '5 trainings of 20 epochs (5 × 4,000 steps, 100 evaluations)'
            >>> plan.words(724.0)
            '5 trainings of 20 epochs (5 × 4,000 steps, 100 evaluations; about 12 min left)'
        """
        amounts = ", ".join(part for part in (self.steps, self.evaluations) if part)
        left = "" if seconds_left is None else f"{about(seconds_left)} left"
        inside = "; ".join(part for part in (amounts, left) if part)
        return self.trainings + (f" ({inside})" if inside else "") + (f": {self.course}" if self.course else "")

    def share_in_sequence(self, num_at_a_time: int) -> float:
        """Return the part of the cost that is waited for where so many trainings are done at a time.

        Example:
            >>> SpendingPlan("5 trainings, then 1 more", 6.0, num_together=5, cost_alone=1.0).share_in_sequence(2)
            0.6666666666666666
        """
        rounds = math.ceil(self.num_together / num_at_a_time)
        return ((self.cost - self.cost_alone) * rounds / self.num_together + self.cost_alone) / self.cost


class Timing:
    """How long trainings take, read off the rows that they report.

    A stretch is what a training did from one row to the next. The first one of each worker has in it what comes before
    the first step, such as imports and a compilation: so the time is that of the fastest of one stretch more than there
    are workers, unless one alone is a full training.

    Args:
        cost: Returns what training costs from one epoch to another, in full training runs.
        clock: Tells seconds.
    """

    def __init__(self, cost: Callable[[float, float], float], clock: Callable[[], float] = time.perf_counter) -> None:
        self._cost = cost
        self._clock = clock
        self._running: dict[int, _Mark] = {}
        self._ahead: set[int] = set()
        self._stretches = 0
        self._longest = 0.0
        self._seconds = math.inf

    def take(self, kind: EventKind, trial: Trial) -> None:
        """Take what is told of a trial."""
        now, epoch = self._clock(), trial.epochs + trial.extra_epochs
        if kind is EventKind.TRIAL_STARTED:
            self._running[trial.number] = _Mark(epoch, epoch, now)
            return
        mark = self._running.get(trial.number)
        if mark is None:  # recalled from a study, in no time
            return
        cost = self._cost(mark.epoch, epoch)
        if cost > 0:
            self._running[trial.number] = _Mark(mark.first, epoch, now)
            if trial.number not in self._ahead:
                self.took(cost, now - mark.at)
        if kind is EventKind.TRIAL_FINISHED:
            del self._running[trial.number]

    def took(self, cost: float, seconds: float) -> None:
        """Take note of a stretch, and what it took."""
        self._stretches += 1
        self._longest = max(self._longest, cost)
        self._seconds = min(self._seconds, seconds / cost)

    def leave_out(self, number: int) -> None:
        """Leave out a trial that has begun before it is told of: its first rows come at once."""
        self._ahead.add(number)

    def is_known(self, num_at_a_time: int) -> bool:
        """Whether enough has been seen to tell a time."""
        return self._stretches > num_at_a_time or self._longest >= 1 - 1e-9

    def seconds_left(self, plan: SpendingPlan, spent: float, num_at_a_time: int) -> float:
        """Return what the rest of a plan takes at the pace so far."""
        under_way = sum(self._cost(mark.first, mark.epoch) for mark in self._running.values())
        rest = max(plan.cost - spent - under_way, 0.0)
        return rest * plan.share_in_sequence(num_at_a_time) * self._seconds if rest else 0.0


class _Mark(NamedTuple):
    """A running training: the epoch that it began at, that of its last row, and when that came."""

    first: float
    epoch: float
    at: float


def about(seconds: float) -> str:
    """Return a time as a person would guess it.

    Example:
        >>> about(12.3), about(192), about(5520)
        ('about 12 s', 'about 3 min', 'about 1 h 32 min')
    """
    grain = 60 if seconds >= 120 else 10
    return f"about {duration(grain * round(seconds / grain) if seconds >= 60 else seconds)}"


def steps_words(trainings: float, steps: int) -> str:
    """Return the steps of so many trainings.

    Example:
        >>> steps_words(1, 4000), steps_words(5, 4000)
        ('4,000 steps', '5 × 4,000 steps')
    """
    return counted(steps, "step") if trainings == 1 else f"{trainings:,} × {counted(steps, 'step')}"
