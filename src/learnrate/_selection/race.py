"""Which learning rates `select` trains, how far, and in which order: a race from decades down to quarter decades.

Every training is the beginning of a full one, on the full schedule: what is promising goes on from where it was left.
Rates are the user's own times powers of ten to a quarter. At each rung the trainings have made the same steps over
the same batches, so that small differences between them count; rungs lie at shares of the schedule's summed rate,
since a sixteenth of the steps of a warm-up has moved nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol

import numpy as np

from learnrate._numbers import rate
from learnrate._selection.bound import bound_minimum
from learnrate._selection.evidence import NEAR, Evidence, Reports, best, leading
from learnrate._selection.plan import race_plan, whole_plan
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from learnrate._trials.spending import SpendingPlan
    from learnrate.curves import Array
    from learnrate.results import Trial

DECADE, HALF, QUARTER = 1.0, 0.5, 0.25
SCREEN = 1 / 32
"""Share of the summed rate after which rates a decade apart are compared: enough to tell which decade to probe."""
PROBE = 3 / 16
"""Share after which rates half a decade apart are compared."""
PROBES = 0.75
"""Share of what may be lost that the probes take at most; the rest is for the last comparison."""
DRIFT = 0.75
"""Of the drift that a bound predicts for the schedule: constant rates drift by 0.6 of it, decaying ones by all."""
THREE = 0.6
"""Of the horizon: three finalists where the budget takes them so far, else two."""
UNUSED_DECADES = 3.0
"""Learning rates that lie so far apart and give the same metrics to the last digit are not used."""
FEWEST_STEPS = 6
"""Steps that show whether the start breaks, where nothing else is affordable: its training loss has doubled by then."""
SLACK = 1e-9


class Lab(Reports, Protocol):
    """What the race needs of a laboratory; `benchmarks/regret` has one that replays recorded trainings."""

    total_steps: int
    epochs: int
    spent: float
    budget: float | None
    in_one_piece: bool
    """Whether a training cannot be gone on with: a longer one is begun anew."""

    def announce_plan(self, plan: SpendingPlan) -> None:
        """Tell what will be spent."""
        ...

    def announce(self, stage: str) -> None:
        """Tell that a stage begins."""
        ...

    def steps(self, fraction: float) -> int:
        """Return a fraction of the horizon in steps."""
        ...

    def relative_rates(self, last_step: int) -> Array:
        """Return the rates of a training up to a step, in units of its learning rate."""
        ...

    def steps_of(self, trial: Trial) -> int:
        """Return how many steps a trial has made."""
        ...

    def training_cost(self, first_step: int, last_step: int) -> float:
        """Return the cost of training from one step to another, in full runs."""
        ...

    def start(self, learning_rate: float, last_step: int, *, stage: str) -> Trial:
        """Train a new trial up to a step."""
        ...

    def start_all(self, learning_rates: Iterable[float], last_step: int, *, stage: str) -> Iterator[Trial]:
        """Train new trials up to a step, at once where that can be; give each as it ends."""
        ...

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """Continue a trial up to a step."""
        ...

    def ramp(self, learning_rates: Array) -> Array:
        """Train a step at each rate, in turn, until it breaks."""
        ...


class Race:
    """Finds the trial to recommend.

    Args:
        lab: Trains and counts.
        low: The smallest learning rate allowed.
        high: The largest.
        start: The user's own rate: it takes part, and the others are counted from it.
        can_ramp: Whether the rate may change from step to step.
        end: The step that trainings go to; the winner goes on from there to the full length when the race is over, and
            the budget keeps what that costs. None for the full length.
    """

    evidence = Evidence

    def __init__(
        self, lab: Lab, low: float, high: float, start: float, *, can_ramp: bool = True, end: int | None = None
    ) -> None:
        self.lab = lab
        self.end = end or lab.total_steps
        self._kept_back = lab.training_cost(self.end, lab.total_steps)
        self.low, self.high = math.log10(low), math.log10(high)
        self.can_ramp = can_ramp
        self.is_unused = False
        self.start = min(max(start, low), high)
        self._start = math.log10(self.start)
        self._evidence = self.evidence(lab)
        self._trials = self._evidence.trials
        summed = np.cumsum(lab.relative_rates(lab.total_steps))
        self._spent_rate: Array = summed / summed[-1]

    # Places: quarter decades above the start

    def _rate(self, place: int) -> float:
        """The learning rate of a place; the start as it was given."""
        return self.start if place == 0 else 10 ** self._x(place)

    def _x(self, place: int) -> float:
        """The log learning rate of a place; the range's end where that lies outside."""
        return self._inside(self._start + QUARTER * place)

    def _inside(self, x: float) -> float:
        return min(max(x, self.low), self.high)

    def _exists(self, place: int) -> bool:
        """Whether a place is inside the range, or the first beyond it, which is the range's end."""
        x = self._start + QUARTER * place
        return self.low - QUARTER + SLACK < x < self.high + QUARTER - SLACK

    def _nearest(self, place: float) -> int:
        lowest = math.ceil((self.low - self._start) / QUARTER - 1 + SLACK)
        highest = math.floor((self.high - self._start) / QUARTER + 1 - SLACK)
        return min(max(round(place), lowest), highest)

    # The race

    def run(self) -> Trial | None:
        """Train until the budget is spent; return the trial of full length to recommend, None where all diverged."""
        self.lab.announce_plan(self.plan())
        screened = self._screened()
        if not screened:
            return self._finished([self._not_broken()])
        if self._is_unused():
            self.is_unused = True
            return None
        step = self._probe_step()
        if step is None:
            center = self._bottom(screened) - self._drift(self._step(SCREEN)) / 2
        else:
            center = self._probed(leading(screened), step)
        return self._finished(self._compared(center))

    def first_step(self) -> int:
        """How far the start is trained first: to its end where the budget is too small to compare."""
        step = self._step(SCREEN)
        return step if self._has_two(step) else self.end

    def _has_two(self, step: int) -> bool:
        """Whether two trainings up to a step are inside the budget beside a full one."""
        return 2 * self.lab.training_cost(0, step) <= self._spare(step) - 0.5 / self.lab.epochs + SLACK

    def plan(self) -> SpendingPlan:
        """What the race will spend."""
        step = self.first_step()
        if self.lab.in_one_piece and step == self.end:
            return whole_plan(self.lab)
        return race_plan(self.lab, step, self._probe_step(), self._spare(step), falls=self.end < self.lab.total_steps)

    def _screened(self) -> dict[int, float]:
        """The losses of rates a decade apart, outward from the start; none where the budget is too small to compare."""
        step = self.first_step()
        if step == self.end and not self._has_two(step):
            return {}
        self.lab.announce("screening learning rates a decade apart")
        return self._bracketed(0, DECADE, step, "screen", near=NEAR)

    def _is_unused(self) -> bool:
        """Whether rates decades apart give the same in every column, in their first row and in the next one too.

        Equal first rows alone may be those of an evaluation before training.
        """
        ends = min(self._trials), max(self._trials)
        two_rows = self.lab.total_steps if self.lab.in_one_piece else round(2 * self.lab.total_steps / self.lab.epochs)
        if (
            not self.lab.estimates_untrained
            or two_rows > self.lab.total_steps
            or self._x(ends[1]) - self._x(ends[0]) < UNUSED_DECADES - SLACK
            or not self._evidence.are_equal(self._trials)
            or sum(self.lab.training_cost(self._made(place), two_rows) for place in ends) > self._left()
        ):
            return False
        for place in ends:
            self._train(place, two_rows, "screen")
        return self._evidence.are_equal(ends)

    def _probe_step(self) -> int | None:
        """How far probes go: half as far where they would take too much, None where that is too much as well."""
        steps = [max(self._step(share), self._step(SCREEN)) for share in (PROBE, PROBE / 2)]
        return next((step for step in steps if 2 * self.lab.training_cost(0, step) <= PROBES * self._spare(step)), None)

    def _probed(self, first: int, step: int) -> float:
        """Where a full training is expected to be best, by rates half a decade apart."""
        self.lab.announce("probing half a decade apart")
        rung = self._bracketed(first, HALF, step, "probe")
        if not rung:
            return first
        first = leading(rung)
        if self._nearest(first + 1) == first:
            return first
        center = self._bottom(rung) - self._drift(step)
        slower = max((place for place in rung if place < first), default=None)
        is_clear = slower is not None and rung[slower] - rung[first] > NEAR * self._evidence.way(rung[first])
        return max(center, first - 1) if is_clear else center

    def _drift(self, step: int) -> float:
        """By how many places the best rate is faster at a step than at the end."""
        short, full = (bound_minimum(self.lab.relative_rates(last)) for last in (step, self.lab.total_steps))
        return DRIFT * (short - full) / QUARTER

    def _compared(self, center: float) -> list[int]:
        """The most promising quarter decades, the best first, after a comparison as late as the budget affords."""
        first = self._nearest(center)
        side = 1 if center > first else -1
        finalists = [place for place in (first, first + side, first - side) if self._exists(place)]
        if self._affordable_length(finalists) < THREE * self.lab.total_steps:
            finalists = finalists[:2]
        step = self._affordable_length(finalists)
        is_late = step == self.end or step > max(map(self._made, self._trials), default=0)
        if len(finalists) < 2 or not is_late:
            return [first]
        self.lab.announce("comparing the most promising")
        rung = finalists
        for place in finalists:
            self._train(place, step, "compare")
        while True:
            losses = self._evidence.losses(rung)
            leader = best(losses)
            ahead = leader + 1 if leader == max(rung) else leader - 1
            if ahead in rung or not self._may_train(ahead, step, leader):
                return sorted(rung, key=lambda place: (losses[place], place))
            self._train(ahead, step, "compare")
            rung.append(ahead)

    def _finished(self, ranked: Sequence[int]) -> Trial | None:
        """The trial that has reached most, of full length if the budget allows; None where training breaks."""
        self.lab.announce("confirming at full length")
        is_done = any(self._made(place) == self.end for place in self._trials)
        if not (is_done and not self._may_train(ranked[0], self.end, None)) and not self._one_holds(ranked):
            return None
        while (place := self._evidence.furthest()) is not None:
            if self._made(place) == self.end or not self._may_train(place, self.end, None):
                return self._trials[place]
            self._train(place, self.end, "confirm")
        return None

    def _one_holds(self, ranked: Sequence[int]) -> bool:
        """Train the most promising to the end; where it breaks there, the next, or a slower one, until one holds.

        What breaks two of them at the same step is not their rate.
        """
        queue, broke_at = list(ranked), 0
        while queue:
            place = queue.pop(0)
            self._train(place, self._within_budget(place), "confirm")
            if not self._evidence.broke(place):
                return True
            if self._made(place) == broke_at:
                return False
            broke_at = self._made(place)
            slower = min(place, *self._trials) - 2
            if not queue and self._exists(slower) and self._left() >= self.lab.training_cost(0, self._step(SCREEN)):
                queue.append(slower)
        return False

    def _not_broken(self) -> int:
        """The start, or the first of the rates whole decades below it that a few steps do not break."""
        place, stride = 0, round(DECADE / QUARTER)
        while self.can_ramp and self._exists(place - stride) and self._has_steps(FEWEST_STEPS):
            self.lab.announce(f"a few steps at {rate(self._rate(place))}, to see whether it breaks training")
            losses = self.lab.ramp(np.full(FEWEST_STEPS, self._rate(place)))
            rise = losses[FEWEST_STEPS // 2 :].min(initial=math.inf) - losses[0]
            if np.isfinite(losses).all() and rise <= abs(losses[0]):
                break
            place -= stride
        return place

    def _has_steps(self, count: int) -> bool:
        """Whether the budget allows so many steps beside a full training."""
        return self._left() >= self.lab.training_cost(0, self.end) + count / self.lab.total_steps

    def _bracketed(self, first: int, apart: float, step: int, stage: str, *, near: float = 0.0) -> dict[int, float]:
        """Losses at a step of rates so far apart, outward until the best has worse ones on both sides."""
        stride = round(apart / QUARTER)
        begun = [first, first + stride, first - stride] if step < self.end else [first]
        self._start_together(begun, step, stage)
        rung: list[int] = []

        def join(place: int) -> bool:
            place = self._nearest(place)
            if place in rung or not self._may_train(place, step, None):
                return False
            self._train(place, step, stage)
            rung.append(place)
            return True

        for place in begun:
            join(place)
        while rung:
            losses = self._evidence.losses(rung)
            first, top, bottom = leading(losses), max(rung), min(rung)
            is_near = losses[top] <= losses[first] + near * self._evidence.way(losses[first])
            if (first == top or is_near) and join(top + stride):
                continue
            if not (first == bottom and join(bottom - stride)):
                break
        return self._evidence.losses(rung)

    def _bottom(self, rung: dict[int, float]) -> float:
        """Where the parabola through the best and its neighbours is lowest, in places; the best where one is missing.

        What is worse than no training counts as no training: how much worse says nothing of where the best lies.
        """
        first = leading(rung)
        below = max((place for place in rung if place < first), default=None)
        above = min((place for place in rung if place > first), default=None)
        if below is None or above is None or math.isinf(rung[first]):
            return first
        finite = [loss for loss in rung.values() if math.isfinite(loss)]
        worst = max(*finite, self._evidence.untrained, rung[first])
        left, right = first - below, above - first
        down, up = min(rung[below], worst) - rung[first], min(rung[above], worst) - rung[first]
        curvature = right * down + left * up
        return first if curvature <= 0 else first + (right**2 * down - left**2 * up) / (2 * curvature)

    # Money

    def _left(self) -> float:
        """What may still be spent; the budget may be passed by half an epoch."""
        kept = math.inf if self.lab.budget is None else self.lab.budget - self._kept_back
        return kept + 0.5 / self.lab.epochs - self.lab.spent

    def _spare(self, step: int) -> float:
        """What may be spent on trainings up to a step beside a full one, which they are where that is the last."""
        return self._left() - self._reserve(0, step)

    def _reserve(self, made: int, step: int) -> float:
        """What a full training still costs beside one up to a step, from where its own stands."""
        return 0.0 if step == self.end else self.lab.training_cost(made, self.end)

    def _may_train(self, place: int, step: int, leader: int | None) -> bool:
        """Whether a place may go on to a step, and the leader from where it is, or a new one, to the end."""
        made = 0 if leader is None else self._made(leader)
        cost = self.lab.training_cost(self._made(place), step) + self._reserve(made, step)
        return self._exists(place) and cost <= self._left() + SLACK

    def _affordable_length(self, places: Sequence[int]) -> int:
        """The last step that all of these can be trained to, and the one that is furthest from there to the end."""

        def cost(step: int) -> float:
            return sum(self.lab.training_cost(self._made(place), step) for place in places) + self.lab.training_cost(
                step, self.end
            )

        steps = (min(self.lab.steps(part / 32), self.end) for part in range(32, 0, -1))
        return next((step for step in steps if cost(step) <= self._left() + SLACK), 0)

    def _within_budget(self, place: int) -> int:
        """The last step that the budget allows a place to be trained to: all of them where it can be."""
        made = self._made(place)
        later = range(made + 1, self.end + 1)
        affordable = bisect_right(later, self._left() + SLACK, key=lambda step: self.lab.training_cost(made, step))
        return later[max(affordable - 1, 0)] if later else self.end

    # Trainings

    def _step(self, share: float) -> int:
        """The step at which the schedule has spent a share of its summed rate."""
        return self.lab.steps((np.searchsorted(self._spent_rate, share - SLACK) + 1) / self.lab.total_steps)

    def _made(self, place: int) -> int:
        known = self._trials.get(place)
        return 0 if known is None else self.lab.steps_of(known)

    def _start_together(self, places: Sequence[int], step: int, stage: str) -> None:
        """Train several rates that are new, at once where the laboratory can, if the budget allows for all of them."""
        new = {self._rate(place): place for place in places if place not in self._trials and self._exists(place)}
        if len(new) < 2 or len(new) * self.lab.training_cost(0, step) > self._spare(step):
            return
        trained = {trial.learning_rate: trial for trial in self.lab.start_all(new, step, stage=stage)}
        self._trials |= {place: trained[one] for one, place in new.items()}

    def _train(self, place: int, step: int, stage: str) -> Trial:
        """Train a rate up to a step, from where it was left."""
        known = self._trials.get(place)
        if known is None:
            self._trials[place] = self.lab.start(self._rate(place), step, stage=stage)
        elif known.state is TrialState.COMPLETE and self.lab.steps_of(known) < step:
            self._trials[place] = self.lab.resume(known, step, stage=stage)
        return self._trials[place]

    # What broke

    def broke_between(self) -> tuple[Trial | None, Trial] | None:
        """The fastest training that held and the slowest above it that broke; None where none did."""
        held = [place for place in self._trials if self._evidence.held(place)]
        lost = [place for place in self._trials if self._evidence.lost(place) and (not held or place > max(held))]
        return (self._trials[max(held)] if held else None, self._trials[min(lost)]) if lost else None
