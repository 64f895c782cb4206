"""The climbs of a range test with several seeds, and what they come to together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from learnrate._selection.climbs import Climb, Climbs, joined
from learnrate.suggestions import broken_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate._trials.laboratory import Laboratory
    from learnrate.curves import Array


class SeveralClimbs(Climbs):
    """Makes the same climbs with each seed: the first one's quick climb decides where all of them go slowly."""

    def __init__(self, lab: Laboratory, seeds: Sequence[int]) -> None:
        super().__init__(lab)
        self.lab = lab
        self.seeds = seeds
        self._made: list[list[Climb]] = []

    def _climb(self, learning_rates: Array) -> Climb:
        with self.lab.timed():
            self._made.append(self.of_every_seed(learning_rates))
        return self._made[-1][0]

    def of_every_seed(self, learning_rates: Array) -> list[Climb]:
        """Climb over these rates with each seed."""
        several = self.lab.ramps(learning_rates, self.seeds)
        return [Climb(learning_rates[: len(losses)], losses, losses) for losses in several]

    @property
    def each(self) -> list[Climb]:
        """What each seed saw, as far as all of them went; the cliff is the lowest that a quick climb found."""
        stages = [_as_far_as_all(climbs) for climbs in self._made]
        if len(stages) == 1:
            return stages[0]
        cliff = min((at for climb in self._made[0] if (at := _broke_at(climb)) < math.inf), default=None)
        return [joined(quick, slow, cliff) for quick, slow in zip(*stages, strict=True)]


def mean_of(climbs: list[Climb]) -> Climb:
    """Return the mean of the seeds' losses at each rate, and the training losses of the seed that broke first.

    The mean, since its noise is 1/√N of one seed's, where that of a median is a quarter more. What a median is good
    for, one wild value among several, is no use here: where one seed breaks, the rate is too high.
    """
    first = min(climbs, key=_broke_at)
    with np.errstate(over="ignore", invalid="ignore"):  # losses beyond the cliff may be infinite
        losses = np.mean([climb.losses for climb in climbs], axis=0)
    return first._replace(losses=losses)


def _broke_at(climb: Climb) -> float:
    broken = broken_at(climb.training_losses)
    return math.inf if broken is None else float(climb.learning_rates[broken])


def _as_far_as_all(climbs: list[Climb]) -> list[Climb]:
    return [climb.first(min(len(one.losses) for one in climbs)) for climb in climbs]
