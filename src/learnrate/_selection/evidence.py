"""What the trainings of a race have shown: how far each came, which broke, and how far there was to go."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from learnrate.curves import GOOD
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Array, Mode
    from learnrate.results import Trial

MOVED = GOOD
"""Of the loss: rates whose losses lie closer to the lowest than that are told apart by later rungs, and the fastest
leads until then: on a plateau it is the first to leave it. Of the way: what is behind by less bounds nothing."""

NEAR = 0.1
"""Of the way made so far. A faster rate that is no further behind on the screen is no bracket, and the next is tried;
a slower one that is further behind among the probes is not expected to be best by more than a quarter decade."""


class Reports(Protocol):
    """What a laboratory says of the metric."""

    metric: str
    mode: Mode
    untrained: dict[str, float]
    """The metrics before training, as far as they are evaluated."""
    estimates_untrained: bool
    """Whether they are taken from the slowest training, since nobody can evaluate them."""

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
        ...


class Evidence:
    """The latest trial at each place, and what they say. Losses are the metric, smaller when better.

    Args:
        lab: Knows the metric and its value before training.
    """

    def __init__(self, lab: Reports) -> None:
        self._lab = lab
        self.trials: dict[int, Trial] = {}

    def losses(self, places: Iterable[int]) -> dict[int, float]:
        """What the rates have reached, infinite where training broke.

        By the training loss where validation lags behind it: running averages of BatchNorm's kind make what has
        learned for some steps look worse than what has learned nothing.
        """
        reading = self._training_loss if self._validation_lags else self.loss
        return {place: reading(self.trials[place]) for place in places}

    def loss(self, trial: Trial) -> float:
        """The better of the last two rows, since one may be a spike; infinite where training broke."""
        if trial.state is not TrialState.COMPLETE or self._lab.metric not in trial.curve.metrics:
            return math.inf
        values = self._values(trial)
        finite = values[np.isfinite(values)]
        return float(finite[-2:].min()) if len(finite) else math.inf

    def broke(self, place: int) -> bool:
        """Whether there is nothing to show for a training."""
        return math.isinf(self.loss(self.trials[place]))

    def held(self, place: int) -> bool:
        """Whether a training surely did not break: what is reported is no worse than before training."""
        trial = self.trials[place]
        if self.broke(place) or self._is_better(trial) is False:
            return False
        return "loss" not in trial.curve.metrics or self._training_loss(trial) <= self._untrained_training_loss

    def lost(self, place: int) -> bool:
        """Whether a training surely broke: it is not finite, or its training loss ended above where it began.

        By more than its noise, for which a hundredth of the loss stands, and by more than a tenth of what others
        made of it; a mean over few batches may be higher by chance, so that validation must be no better either.
        Overfitting is not breaking.
        """
        trial = self.trials[place]
        if self.broke(place) or "loss" not in trial.curve.metrics:
            return self.broke(place)
        began = self._untrained_training_loss
        fallen = began - min(self._training_loss(each) for each in self.trials.values())
        above = self._training_loss(trial) - began
        return above > max(MOVED * abs(began), NEAR * fallen) and not self._is_better(trial)

    def _is_better(self, trial: Trial) -> bool | None:
        """Whether validation is better now than before training; None where that is not known.

        It is the loss that tells where another metric decides: an accuracy by chance may be better than that of
        weights which have seen nothing.
        """
        before, after = self._lab.untrained.get("val_loss"), trial.curve.metrics.get("val_loss")
        if before is not None and after is not None:
            return bool(after[-1] < before)
        untrained = -math.inf if self._lab.estimates_untrained else self._signed(self._lab.untrained_value)
        return None if math.isinf(untrained) else bool(self._values(trial)[-1] < untrained)

    def furthest(self) -> int | None:
        """The place that has reached most: in the end that of full length, unless a shorter training did better."""
        held = [place for place in self.trials if not self.broke(place)]
        return min(held, key=lambda place: float(np.fmin.reduce(self._values(self.trials[place]))), default=None)

    def way(self, loss: float) -> float:
        """The way from the untrained loss, or the worst known, to a loss."""
        known = [each for each in self.losses(self.trials).values() if math.isfinite(each)]
        start = self.untrained if math.isfinite(self.untrained) else max(known, default=loss)
        return max(start - loss, 0.0) if math.isfinite(loss) else 0.0

    @property
    def untrained(self) -> float:
        """What there was before training, of what the losses are of; minus infinity where it is not known."""
        return self._untrained_training_loss if self._validation_lags else self._signed(self._lab.untrained_value)

    def are_equal(self, places: Iterable[int]) -> bool:
        """Whether these trainings reported the same numbers to the last digit."""
        first, *others = (self.trials[place] for place in places)
        names = first.curve.metrics.keys()
        return bool(names) and all(
            other.curve.metrics.keys() == names
            and all(np.array_equal(other.curve.metrics[name], first.curve.metrics[name]) for name in names)
            for other in others
        )

    @property
    def _validation_lags(self) -> bool:
        """Whether a training has never been better than none in validation, although its training loss is."""
        untrained = self._signed(self._lab.untrained_value)
        if self._lab.estimates_untrained or math.isinf(untrained):
            return False
        return any(
            self._training_loss(trial) < self._untrained_training_loss
            and float(np.fmin.reduce(self._values(trial))) >= untrained
            for trial in self.trials.values()
            if math.isfinite(self.loss(trial))
        )

    @property
    def _untrained_training_loss(self) -> float:
        """The training loss that the slowest rate began with, which has hardly moved."""
        slowest = self.trials[min(self.trials)].curve.metrics.get("loss", np.array([]))
        return float(slowest[0]) if len(slowest) else -math.inf

    def _signed(self, value: float | None) -> float:
        return -math.inf if value is None else value if self._lab.mode == "min" else -value

    def _values(self, trial: Trial) -> Array:
        return trial.curve.values(self._lab.metric) * (1 if self._lab.mode == "min" else -1)

    def _training_loss(self, trial: Trial) -> float:
        if trial.state is not TrialState.COMPLETE or "loss" not in trial.curve.metrics:
            return math.inf
        last = float(trial.curve.values("loss")[-1])
        return last if math.isfinite(last) else math.inf


def best(rung: dict[int, float]) -> int:
    """The place of the lowest loss, of equal ones the slower."""
    return min(rung, key=lambda place: (rung[place], place))


def leading(rung: dict[int, float]) -> int:
    """The fastest of the places whose loss is hardly above the lowest; the slowest where all broke."""
    lowest = min(rung.values())
    if math.isinf(lowest):
        return min(rung)
    return max(place for place, loss in rung.items() if loss <= lowest + MOVED * abs(lowest))
