"""Successive halving and Hyperband: many candidates begin, the promising ones go on, none is trained twice."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from learnrate._checks import did_you_mean
from learnrate._diagnosis.trends import best_by
from learnrate.errors import InvalidArgumentError
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Mode
    from learnrate.results import Trial


class Halving(msgspec.Struct, frozen=True, kw_only=True):
    """How candidates are thinned out.

    With successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) all begin, and of each rung the best
    1/factor go on for `factor` times as many epochs. Hyperband (Li et al. 2018, arXiv:1603.06560) does so in several
    brackets that begin with fewer candidates and more epochs, against metrics that mislead early.

    Args:
        factor: One of so many goes on; 3 as in the papers.
        min_epochs: Epochs before the first are left; by default a ninth of the horizon, and at least 3, the fewest
            that can be extrapolated.
        brackets: 1 for successive halving; more for Hyperband; 0 for as many as there are rungs.
    """

    factor: int = 3
    min_epochs: int | None = None
    brackets: int = 1


class Bracket(NamedTuple):
    """How many candidates begin, and the epochs at which they are compared, the last of them the horizon."""

    candidates: int
    rungs: tuple[int, ...]


def halving_of(given: object, epochs: int) -> Halving | None:
    """Return how to thin out, from a name or a `Halving`.

    Raises:
        InvalidArgumentError: If it is neither, or cannot be done in so many epochs.
    """
    names = {"successive": Halving(), "hyperband": Halving(brackets=0)}
    if given is None:
        return None
    if isinstance(given, str):
        if given not in names:
            raise InvalidArgumentError(
                f'halving is {given!r}: pass "successive", "hyperband" or a learnrate.Halving'
                f"{did_you_mean(given, names)}"
            )
        return names[given]
    if not isinstance(given, Halving):
        raise InvalidArgumentError(f'halving is {given!r}: pass "successive", "hyperband" or a learnrate.Halving')
    least = 1 if given.min_epochs is None else given.min_epochs
    if given.factor < 2 or given.brackets < 0 or not 1 <= least <= epochs:
        raise InvalidArgumentError(
            f"{given}: pass a factor of at least 2, min_epochs from 1 to {epochs}, and brackets of 0 or more"
        )
    return given


def brackets_of(halving: Halving | None, candidates: int, epochs: int) -> list[Bracket]:
    """Return the brackets of so many candidates; one of one rung where none is thinned out.

    Example:
        >>> brackets_of(Halving(), 9, 27)
        [Bracket(candidates=9, rungs=(3, 9, 27))]
        >>> [bracket.candidates for bracket in brackets_of(Halving(brackets=0), 13, 27)]
        [7, 4, 2]
    """
    if halving is None:
        return [Bracket(candidates, (epochs,))]
    factor = halving.factor
    least = min(max(epochs // factor**2, 3), epochs) if halving.min_epochs is None else halving.min_epochs
    steps = round(math.log(epochs / least) / math.log(factor))
    rungs = tuple(dict.fromkeys(max(round(epochs / factor**left), 1) for left in range(steps, -1, -1)))
    count = len(rungs) if halving.brackets == 0 else min(halving.brackets, len(rungs))
    # as in Hyperband: every bracket costs about the same, so those of longer beginnings have fewer candidates
    shares = np.array([factor**left / (left + 1) for left in range(len(rungs) - 1, -1, -1)][:count], dtype=np.float64)
    exact = candidates * shares / shares.sum()
    numbers = np.floor(exact).astype(int)
    for place in np.argsort(numbers - exact, kind="stable")[: candidates - int(numbers.sum())]:
        numbers[place] += 1
    return [Bracket(int(number), rungs[place:]) for place, number in enumerate(numbers) if number]


def cost_of(brackets: Iterable[Bracket], factor: int, epochs: int, *, replayed: bool = False) -> float:
    """Return what brackets cost at most, in full trainings; where `replayed`, what goes on begins again.

    Example:
        >>> round(cost_of([Bracket(9, (3, 9, 27))], 3, 27), 3)
        2.333
        >>> round(cost_of([Bracket(9, (3, 9, 27))], 3, 27, replayed=True), 3)
        3.0
    """
    cost = 0.0
    for bracket in brackets:
        left, before = bracket.candidates, 0
        for rung in bracket.rungs:
            cost += left * (rung if replayed else rung - before) / epochs
            left, before = max(round(left / factor), 1), rung
    return cost


def affordable(halving: Halving, most: int, epochs: int, budget: float, *, replayed: bool = False) -> int:
    """Return how many candidates, at most so many, may begin for all promotions to stay within the budget."""
    count = max(min(most, int(budget * epochs)), 0)  # each costs an epoch at least
    while count:
        brackets = brackets_of(halving, count, epochs)
        if cost_of(brackets, halving.factor, epochs, replayed=replayed) <= budget + 1e-9:
            break
        count -= 1
    return count


def promoted(trials: Iterable[Trial], factor: int, metric: str, mode: Mode, horizon: int) -> list[int]:
    """Return the numbers of the trials that go on, the most promising first: a `factor`-th of them, at least one.

    What counts is not where a trial is but where its curve is heading: its best value to expect by the horizon,
    extrapolated. A small learning rate is slow at first and often best in the end. Where a curve has fewer than three
    rows its best value counts. Where several go on, the last place is for the trial whose 90 % interval reaches below
    those of all the others that do: it may be the best of all, and only its training can tell.
    """
    return _chosen([(_promise(trial, metric, mode, horizon), trial.number) for trial in trials], factor)


def _chosen(known: Iterable[tuple[_Promise, int]], factor: int) -> list[int]:
    ranked = sorted(known, key=lambda one: (one[0].value, one[1]))
    chosen = ranked[: max(round(len(ranked) / factor), 1)] if ranked else []
    left = sorted(ranked[len(chosen) :], key=lambda one: (one[0].low, one[1]))
    if len(chosen) > 1 and left and left[0][0].low < min(one[0].low for one in chosen):
        chosen[-1] = left[0]
    return [number for _, number in chosen]


class Rung:
    """Trials that are compared after so many epochs, as they arrive: tells as early as it is certain who goes on.

    Who goes on is what `promoted` says once all have arrived, whatever their order, so that the answer does not depend
    on how many are trained at a time. But a trial that would be chosen even if all that are still missing were better
    need not wait for them, so that workers are idle only where fewer go on than there are workers.

    Args:
        factor: One of so many goes on.
        mode: Whether small values are better, or large ones.
        horizon: Epochs of a full training.
        expected: How many will arrive; None while that is not known.
    """

    def __init__(self, factor: int, mode: Mode, horizon: int, expected: int | None = None) -> None:
        self._factor = factor
        self._mode: Mode = mode
        self._horizon = horizon
        self._known: list[tuple[_Promise, int]] = []
        self._waiting: list[tuple[float, int]] = []
        self._gone: set[int] = set()
        self._arrived = 0
        self.expected = expected

    @property
    def is_complete(self) -> bool:
        """Whether all have arrived."""
        return self._arrived == self.expected

    @property
    def num_chosen(self) -> int:
        """How many have gone on."""
        return len(self._gone)

    def take(self, trial: Trial, metric: str) -> None:
        """Let a trial arrive; one that has not come to its end well cannot go on."""
        self._arrived += 1
        if trial.state is TrialState.COMPLETE:
            promise = _promise(trial, metric, self._mode, self._horizon)
            self._known.append((promise, trial.number))
            heapq.heappush(self._waiting, (promise.value, trial.number))

    def certain(self) -> list[int]:
        """Return those that go on and have not been returned before."""
        if self.expected is None:
            return []
        missing = self.expected - self._arrived
        if not missing:
            chosen = [number for number in sorted(_chosen(self._known, self._factor)) if number not in self._gone]
        else:
            places = max(round((len(self._known) + missing) / self._factor), 1)
            sure = min(places - 1 - missing, len(self._known))  # the last place is for whom an interval speaks
            chosen = [heapq.heappop(self._waiting)[1] for _ in range(sure - len(self._gone))]
        self._gone.update(chosen)
        return chosen

    def left(self) -> list[int]:
        """Return those that stay, once all have arrived."""
        return sorted(number for _, number in self._known if number not in self._gone)


class _Promise(NamedTuple):
    value: float
    low: float


def _promise(trial: Trial, metric: str, mode: Mode, horizon: int) -> _Promise:
    values = trial.curve.values(metric) if metric in trial.curve.metrics else np.empty(0)
    losses = values if mode == "min" else -values
    finite = np.isfinite(losses)
    if not finite.any():
        return _Promise(math.inf, math.inf)
    best = float(losses[finite].min())
    if finite.sum() < 3:
        return _Promise(best, best)
    forecast = best_by(trial.curve.epochs[finite], losses[finite], float(horizon))
    return _Promise(forecast.value, forecast.low)
