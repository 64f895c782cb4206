"""The schedule that `select` chooses: a constant rate, taken to zero at the end if that was seen to be better."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from learnrate._numbers import rate, short
from learnrate.results import Decay, TrialState
from learnrate.schedules import ScheduleMaker, warmup_stable_decay

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Mode
    from learnrate.results import Trial
    from learnrate.training import Trainable

FIFTH = 0.2
"""Of the horizon, over which the rate falls to zero; as long as Hägele et al. 2024 (arXiv 2405.18392) found enough."""
UNKNOWN = "what it would bring to take the rate to zero at the end is not measured"
SLACK = 1e-9


class Lab(Protocol):
    """What is asked of a laboratory."""

    trials: list[Trial]
    metric: str
    mode: Mode
    total_steps: int
    epochs: int
    budget: float | None
    spent: float

    def training_cost(self, first_step: int, last_step: int) -> float:
        """Return the cost of training from one step to another, in full runs."""
        ...

    def branch(self, trunk: Trial, first_step: int, last_step: int, schedule: ScheduleMaker, *, stage: str) -> Trial:
        """Train what goes on from a step of a trial on another schedule."""
        ...

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """Continue a trial up to a step."""
        ...

    def steps_of(self, trial: Trial) -> int:
        """Return how many steps a trial has made."""
        ...

    def announce(self, stage: str) -> None:
        """Tell that a stage begins."""
        ...

    def take_warnings(self, told: Iterable[str]) -> None:
        """Take warnings."""
        ...


def falling(first: float, last: float) -> ScheduleMaker:
    """Return what makes the schedule that is constant until `first` and at zero after `last`, in steps or epochs."""
    fraction = (last - first) / last
    return functools.partial(warmup_stable_decay, decay_fraction=fraction, shape="linear", warmup_fraction=0.0)


def first_step(total_steps: int, epochs: int) -> int:
    """Return the step from which the rate falls to zero over the last fifth: a whole epoch's end where it can be."""
    per_epoch = total_steps // epochs
    length = max(round(FIFTH * total_steps), 1)
    return total_steps - (round(length / per_epoch) * per_epoch if length >= per_epoch else length)


def why_constant(problem: Trainable, total_steps: int) -> str | None:
    """Say why the rate will not be taken to zero; None where it will."""
    if hasattr(problem, "let_go"):
        return f"{UNKNOWN}: this training cannot go on from its middle on another schedule"
    return f"{UNKNOWN}: the training has one step" if total_steps == 1 else None


def decayed(lab: Lab, winner: Trial) -> tuple[Trial, Decay | None]:
    """Take a constant training's rate to zero over the last fifth; return the trial to recommend, and its fall.

    It is the winner's, or the best one's that went so far where the winner was left before with more than those had
    reached. Where the budget allows, the constant training goes on to its end as well.
    """
    first, last = first_step(lab.total_steps, lab.epochs), lab.total_steps
    sign = 1 if lab.mode == "min" else -1
    trunk = _trunk(lab, winner, first)
    if trunk is None or not _affords(lab, first, last):
        lab.take_warnings([f"{UNKNOWN}: the training was left before its last fifth"])
        return winner, None
    first_epoch = first * lab.epochs / last
    lab.announce(f"taking the rate to zero from epoch {short(first_epoch)} on")
    trial = lab.branch(trunk, first, last, falling(first, last), stage="decay")
    if _affords(lab, first, last):
        trunk = _gone_on(lab, trunk, last)
    best = trunk.curve.best(lab.metric, lab.mode)
    is_better = trial.state is TrialState.COMPLETE and all(
        sign * (trial.value or 0.0) < sign * one.value for one in (winner, trunk) if one.value is not None
    )
    is_ahead = winner.value is None or (trunk.value is not None and sign * trunk.value <= sign * winner.value)
    if best is None or not (is_better or is_ahead):
        told = f"{rate(trunk.learning_rate)}, taken to zero from epoch {short(first_epoch)} on, was no better"
        lab.take_warnings([told])
        return winner, None
    return trunk, Decay(
        trial=trial,
        first_epoch=first_epoch,
        constant=best.value,
        constant_epochs=best.epoch,
        constant_length=trunk.epochs,
        is_better=is_better,
    )


def _gone_on(lab: Lab, trunk: Trial, last_step: int) -> Trial:
    """Train a constant training on to its end, and return it; as far as it held if it breaks on the way."""
    lab.announce("going on without the fall, to see what it brings")
    longer = lab.resume(trunk, last_step, stage="confirm")
    if longer.state is TrialState.COMPLETE:
        return longer
    lab.take_warnings([f"kept constant, {rate(trunk.learning_rate)} broke after {short(longer.epochs)} epochs"])
    finite = longer.curve.epochs[np.isfinite(longer.curve.values(lab.metric))]
    curve = longer.curve.until(float(finite[-1]))
    held = msgspec.structs.replace(longer, state=TrialState.COMPLETE, error=None, curve=curve, epochs=float(finite[-1]))
    lab.trials[trunk.number] = held
    return held


def _trunk(lab: Lab, winner: Trial, first_step: int) -> Trial | None:
    """Return the training to go on with: the winner if it went so far, else the best that did."""
    sign = 1 if lab.mode == "min" else -1
    far = [
        one
        for one in lab.trials
        if lab.steps_of(one) == first_step and one.state is TrialState.COMPLETE and one.value is not None
    ]
    return min(far, key=lambda one: (one.number != winner.number, sign * (one.value or 0.0)), default=None)


def _affords(lab: Lab, first_step: int, last_step: int) -> bool:
    """Whether the budget allows so much more; it may be passed by half an epoch."""
    left = math.inf if lab.budget is None else lab.budget + 0.5 / lab.epochs - lab.spent
    return lab.training_cost(first_step, last_step) <= left + SLACK
