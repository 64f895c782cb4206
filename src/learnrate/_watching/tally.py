"""What is known while a verb is at work: the trials so far, the best of them, what is spent and the time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from learnrate.training import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.curves import Mode
    from learnrate.results import Trial

_LEAST = 0.1
"""The part of the work after which the time that is left is told: before, the start of the first training and what it
imports would be multiplied by all that follow."""


class AtWork(NamedTuple):
    """How a verb at work stands: `state` is "running", "interrupted" or "ended", `resume` how to go on.

    `plan` says what it will spend.
    """

    verb: str
    state: str
    stage: str
    spent: float
    budget: float | None
    seconds: float
    seconds_left: float | None
    resume: str | None
    plan: str = ""


class Tally:
    """Takes every event, and keeps what they add up to.

    Args:
        metric: The deciding metric; "val_loss" gives way to "loss" where nothing is validated.
        mode: Whether it is better when small ("min") or large ("max").
        clock: Tells seconds.
    """

    def __init__(self, metric: str, mode: Mode = "min", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._asked = metric
        self.mode: Mode = mode
        self.trials: dict[int, Trial] = {}
        self._earlier: list[Trial] = []
        self.plan = ""
        self.stage = ""
        self.budget: float | None = None
        self._clock = clock
        self._began = self._since = clock()
        self._told = 0.0
        self._first: float | None = None
        self._before: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        """Take an event."""
        trial = event.trial
        if self._first is None or event.spent < self._told:  # another schedule's budget is counted from 0
            self._first, self._since = event.spent, self._clock()
        elif trial is not None and event.kind is EventKind.TRIAL_FINISHED and trial.number not in self._before:
            self._first += event.spent - self._told  # recalled from a study, in no time
        self._told, self.budget = event.spent, event.budget
        if event.kind is EventKind.PLAN:
            self.plan = event.message
            return
        if trial is None or event.kind is EventKind.STAGE:
            self.stage = event.message
            return
        if event.kind is EventKind.TRIAL_STARTED:
            if not len(trial.curve) and len(getattr(self.trials.get(trial.number), "curve", ())):
                self._earlier += self.trials.values()  # another schedule's trials are counted from 0
                self.trials = {}
            self._before[trial.number] = trial.epochs
        if event.kind is EventKind.TRIAL_FINISHED:
            self._before.pop(trial.number, None)
        self.trials[trial.number] = trial

    @property
    def all_trials(self) -> list[Trial]:
        """Every trial so far, those of other schedules too, each with a number of its own."""
        every = [*self._earlier, *self.trials.values()]
        if not self._earlier:
            return every
        return [msgspec.structs.replace(trial, number=number) for number, trial in enumerate(every)]

    @property
    def metric(self) -> str:
        """The metric that decides, as far as it is reported."""
        known = any(self._asked in trial.curve.metrics for trial in self.all_trials)
        return "loss" if self._asked == "val_loss" and self.all_trials and not known else self._asked

    @property
    def running(self) -> list[Trial]:
        """The trials that are being trained."""
        return [self.trials[number] for number in self._before if number in self.trials]

    @property
    def best(self) -> Trial | None:
        """The best trial that has ended well so far."""
        from learnrate._sweep import best_trial

        return best_trial(self.all_trials, self.mode)

    @property
    def spent(self) -> float:
        """What is spent, in full training runs, with what the running trials have done."""
        done = sum((one.epochs - self._before[one.number]) / one.horizon for one in self.running if one.horizon)
        return self._told + done

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """The time that the rest of the budget takes at the pace so far; None while that is not known."""
        first = self._first or 0.0
        done = self.spent - first
        if self.budget is None or done <= 0 or done < _LEAST * (self.budget - first):
            return None
        return max(self.budget - self.spent, 0.0) / done * (self._clock() - self._since)
