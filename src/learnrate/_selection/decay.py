"""The schedule that `select` chooses: a constant rate, taken to zero at the end if that was seen to be better."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Protocol

from learnrate._numbers import short
from learnrate.results import Decay, Trial, TrialState
from learnrate.schedules import ScheduleMaker, warmup_stable_decay

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Mode
    from learnrate.training import Trainable

FIFTH = 0.2
"""Of the horizon, over which the rate falls to zero; as long as Hägele et al. 2024 (arXiv 2405.18392) found enough."""
UNKNOWN = "what it would bring to take the rate to zero at the end is not measured"
SLACK = 1e-9


class Lab(Protocol):
    """What is asked of a laboratory."""

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


def fall_after(best: float, made: int, total_steps: int, epochs: int) -> tuple[int, int]:
    """Return the steps between which the rate falls: as many as at the end, from the best epoch where that is earlier.

    A fall of less than an epoch stays at the end, so that it ends with an epoch. The training has made so many steps.
    """
    per_epoch = total_steps // epochs
    latest = first_step(total_steps, epochs)
    begin = min(latest, made if total_steps - latest < per_epoch else round(best * per_epoch))
    return begin, (begin + total_steps - latest) // per_epoch * per_epoch


def why_constant(problem: Trainable, total_steps: int) -> str | None:
    """Say why the rate will not be taken to zero; None where it will."""
    if hasattr(problem, "let_go"):
        return f"{UNKNOWN}: this training cannot go on from its middle on another schedule"
    return f"{UNKNOWN}: the training has one step" if total_steps == 1 else None


def decayed(lab: Lab, trunk: Trial) -> Decay | None:
    """Take the rate of a constant training to zero from its best epoch; None where the budget is spent.

    Where it allows, the constant training goes on to its end as well.
    """
    before = trunk.curve.best(lab.metric, lab.mode)
    if before is None:
        return None
    made = lab.steps_of(trunk)
    first, last = fall_after(before.epoch, made, lab.total_steps, lab.epochs)
    if last <= first or not _affords(lab, first, last):
        why = "the budget is spent" if last > first else "the training was left before a fall that ends with an epoch"
        lab.take_warnings([f"{UNKNOWN}: {why}"])
        return None
    per_epoch = lab.total_steps // lab.epochs
    lab.announce(f"taking the rate to zero from epoch {short(first / per_epoch)} on")
    trial = lab.branch(trunk, first, last, falling(first, last), stage="decay")
    if made < lab.total_steps and _affords(lab, made, lab.total_steps):
        lab.announce("going on without the fall, to see what it brings")
        trunk = lab.resume(trunk, lab.total_steps, stage="confirm")
    best = trunk.curve.best(lab.metric, lab.mode) or before
    sign = 1 if lab.mode == "min" else -1
    has_ended = trial.state is TrialState.COMPLETE and trial.value is not None
    return Decay(
        trial=trial,
        first_epoch=first / per_epoch,
        epochs=last // per_epoch,
        constant=best.value,
        constant_epochs=best.epoch,
        constant_length=trunk.epochs,
        is_better=has_ended and sign * (trial.value or 0.0) < sign * best.value,
    )


def _affords(lab: Lab, first_step: int, last_step: int) -> bool:
    """Whether the budget allows so much more; it may be passed by half an epoch."""
    left = math.inf if lab.budget is None else lab.budget + 0.5 / lab.epochs - lab.spent
    return lab.training_cost(first_step, last_step) <= left + SLACK
