"""The climbs of a range test: the learning rate raised step by step, quickly to the cliff, then slowly below it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from learnrate._numbers import rate
from learnrate.suggestions import broken_at

if TYPE_CHECKING:
    from learnrate.curves import Array

_QUICK = 0.3  # of the steps are for the quick climb
_QUICK_DENSITY = 3.6  # steps a decade
_SLOW_DENSITY = 21.5  # steps a decade: with the quick climb's, 100 for a range of eight decades
_BELOW, _ABOVE = 3.0, 0.5  # decades around the cliff that the slow climb goes over
_FEWEST = 6  # steps that a quick climb needs to show anything


class Climb(NamedTuple):
    """What a climb saw as far as it went: the training loss, and the metric, smaller when better."""

    learning_rates: Array
    training_losses: Array
    losses: Array
    cliff: float | None = None

    def first(self, count: int) -> Climb:
        """The first steps of it."""
        return Climb(self.learning_rates[:count], self.training_losses[:count], self.losses[:count])

    def then(self, other: Climb, cliff: float | None) -> Climb:
        """This climb and after it another."""
        return Climb(
            np.concatenate([self.learning_rates, other.learning_rates]),
            np.concatenate([self.training_losses, other.training_losses]),
            np.concatenate([self.losses, other.losses]),
            cliff,
        )


class Ramps(Protocol):
    """What a climb needs of a laboratory."""

    def announce(self, stage: str) -> None:
        """Tell that a stage begins."""
        ...

    def ramp(self, learning_rates: Array) -> Array:
        """Train a step at each rate, in turn, until it breaks."""
        ...


class Climbs:
    """Makes the climbs of one range test."""

    def __init__(self, lab: Ramps) -> None:
        self._ramps = lab

    def once(self, learning_rates: Array) -> Climb:
        """Climb over these rates."""
        self._ramps.announce(f"raising the learning rate over {len(learning_rates)} steps")
        return self._climb(learning_rates)

    def twice(self, low: float, high: float, num_steps: int) -> Climb | None:
        """Climb quickly to the cliff, then slowly over the decades below it; None where the steps do not suffice."""
        steps = _quick_steps(low, high, num_steps)
        if steps < _FEWEST:
            return None
        self._ramps.announce("a quick climb, to see where training breaks")
        quick = self._climb(np.geomspace(low, high, steps))
        broken = broken_at(quick.training_losses)
        if broken is not None and broken < 2:
            return quick
        cliff = None if broken is None else float(quick.learning_rates[broken])
        top = high if cliff is None else min(high, cliff * 10**_ABOVE)
        bottom = max(low, (cliff or high) / 10**_BELOW)
        steps = min(round(_SLOW_DENSITY * math.log10(top / bottom)) + 1, num_steps - len(quick.losses))
        self._ramps.announce(f"a slow climb from {rate(bottom)} to {rate(top)}")
        slow = self._climb(np.geomspace(bottom, top, max(steps, 2)))
        return joined(quick, slow, cliff)

    def _climb(self, learning_rates: Array) -> Climb:
        losses = self._ramps.ramp(learning_rates)
        return Climb(learning_rates[: len(losses)], losses, losses)


def most_steps(low: float, high: float, num_steps: int) -> int:
    """Return how many steps `twice` makes at most, `num_steps` where it makes none."""
    quick = _quick_steps(low, high, num_steps)
    slow = round(_SLOW_DENSITY * min(math.log10(high / low), _BELOW + _ABOVE)) + 1
    return num_steps if quick < _FEWEST else min(quick + slow, num_steps)


def _quick_steps(low: float, high: float, num_steps: int) -> int:
    return min(round(_QUICK_DENSITY * math.log10(high / low)) + 1, round(_QUICK * num_steps))


def joined(quick: Climb, slow: Climb, cliff: float | None) -> Climb:
    """Return the quick climb up to where the slow one begins, then the slow one."""
    below = int(np.sum(quick.learning_rates < slow.learning_rates[0] * (1 - 1e-9)))
    return quick.first(below).then(slow, cliff)
