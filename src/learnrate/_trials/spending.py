"""What a verb will spend: told in words before it trains, and again with the time once a step has been timed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from learnrate._numbers import counted, duration
from learnrate.training import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.results import Trial

WORTH_TELLING = 1.0
"""Seconds: what is over sooner needs no estimate."""
ENOUGH_TIMED = 0.5
"""Seconds that tell a pace: in less the snapshots and restarts around a short training count too much."""


class SpendingPlan(NamedTuple):
    """What a verb will spend.

    Attributes:
        trainings: How many trainings, and how long: "5 trainings of 20 epochs".
        cost: What they cost at most, in full training runs.
        steps: Their steps: "5 × 4,000 steps".
        evaluations: And evaluations: "100 evaluations".
        course: In which order, where that is not plain: "rates a decade apart for 0.6 epochs each, …".
        num_starts: How many trainings begin, about, those counted that are built again to go on.
        num_together: How many trainings wait for no other, so that workers may do several of them at a time.
        cost_alone: Of the cost, that of the trainings that are one after another all the same.
    """

    trainings: str
    cost: float
    steps: str = ""
    evaluations: str = ""
    course: str = ""
    num_starts: int = 0
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


class Trainer(Protocol):
    """What times are told for."""

    @property
    def num_at_a_time(self) -> int:
        """How many trainings go on at a time."""
        ...

    @property
    def begins_anew(self) -> bool:
        """Whether each training has a start of its own, as a script has its imports."""
        ...

    def cost_of_epochs(self, first: float, last: float) -> float:
        """Return what training costs from one epoch to another, in full training runs."""
        ...


class Timing:
    """How long trainings take, read off the rows that they report.

    What a training does up to its first row has its start in it: imports, a model that is built, a compilation. Where
    each training has a start of its own, it is counted as often as trainings begin, and the rows after it tell the
    pace. Else the first training of each worker has one, so as many of the slowest first rows tell nothing. The only
    row of a whole training tells the pace too.

    Args:
        trainer: Whose trainings are timed.
        clock: Tells seconds.
    """

    def __init__(self, trainer: Trainer, clock: Callable[[], float] = time.perf_counter) -> None:
        self._trainer = trainer
        self._clock = clock
        self._running: dict[int, _Mark] = {}
        self._left_out: set[int] = set()
        self._steady: list[_Stretch] = []
        self._starts: list[_Stretch] = []
        self._num_begun = 0

    def take(self, kind: EventKind, trial: Trial) -> None:
        """Take what is told of a trial."""
        epoch = trial.epochs + trial.extra_epochs
        if kind is EventKind.TRIAL_STARTED:
            self._num_begun += not epoch
            self._running[trial.number] = _Mark(epoch, epoch, self._clock())
            return
        mark = self._running.get(trial.number)
        if mark is None:  # recalled from a study, in no time
            self._num_begun += 1
            return
        cost = self._trainer.cost_of_epochs(mark.epoch, epoch)
        if cost > 0:
            self._running[trial.number] = mark._replace(epoch=epoch, at=self._clock())
            if trial.number not in self._left_out:
                self._see(_Stretch(cost, self._clock() - mark.at), starts=mark.epoch == mark.first)
        if kind is EventKind.TRIAL_FINISHED:
            del self._running[trial.number]

    def loaded(self, number: int) -> None:
        """Say that a worker has all that a training needs, and trains from now on."""
        mark = self._running.get(number)
        if mark is not None:
            self._running[number] = mark._replace(at=self._clock())

    def leave_out(self, number: int) -> None:
        """Leave out a training that has begun before it is told of: its first rows come at once."""
        self._left_out.add(number)

    def took(self, cost: float, seconds: float) -> None:
        """Take note of what was trained without a start, and how long it took."""
        self._steady.append(_Stretch(cost, seconds))

    def seconds_left(self, plan: SpendingPlan, spent: float) -> float | None:
        """Return what the rest of a plan takes at the pace so far; None while that is not known."""
        pace = self._seconds_a_run()
        if pace is None:
            return None
        under_way = sum(self._trainer.cost_of_epochs(mark.first, mark.epoch) for mark in self._running.values())
        seconds = max(plan.cost - spent - under_way, 0.0) * pace
        if self._trainer.begins_anew and self._starts:
            start = sum(max(one.seconds - one.cost * pace, 0.0) for one in self._starts) / len(self._starts)
            seconds += max(plan.num_starts - self._num_begun, 0) * start
        return seconds * plan.share_in_sequence(self._trainer.num_at_a_time)

    def _seconds_a_run(self) -> float | None:
        told = list(self._steady)
        if not self._trainer.begins_anew:
            told += sorted(self._starts, key=_Stretch.pace)[: -self._trainer.num_at_a_time]
        seen = [*told, *self._starts] if self._trainer.begins_anew else told
        if not told or sum(one.seconds for one in seen) < ENOUGH_TIMED:
            return None
        return sum(one.seconds for one in told) / sum(one.cost for one in told)

    def _see(self, stretch: _Stretch, *, starts: bool) -> None:
        if starts and stretch.cost < 1 - 1e-9:
            self._starts.append(stretch)
        else:
            self.took(*stretch)


class _Mark(NamedTuple):
    """A running training: the epoch that it began at, that of its last row, and when that came."""

    first: float
    epoch: float
    at: float


class _Stretch(NamedTuple):
    """What was trained between two moments, in full training runs, and how long it took."""

    cost: float
    seconds: float

    def pace(self) -> float:
        """Return how many seconds a full run takes at it."""
        return self.seconds / self.cost


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
