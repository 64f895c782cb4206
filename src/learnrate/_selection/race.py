"""Which learning rates `select` trains, how far, and in which order: a race from decades down to quarter decades.

Every training is the beginning of a full one, on the full schedule: what is promising goes on from where it was left.
Rates are the user's own times powers of ten to a quarter. At each rung the trainings have made the same steps over
the same batches, so that small differences between them count; rungs lie at shares of the schedule's summed rate,
since a sixteenth of the steps of a warm-up has moved nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from learnrate._selection.bound import bound_minimum
from learnrate._selection.climbs import Climbs
from learnrate._selection.plan import race_plan
from learnrate.results import TrialState
from learnrate.schedules import as_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from learnrate._schedule import ScheduleMaker
    from learnrate._trials.spending import SpendingPlan
    from learnrate.curves import Array, Mode
    from learnrate.results import Trial

DECADE, HALF, QUARTER = 1.0, 0.5, 0.25
SCREEN = 1 / 32
"""Share of the summed rate after which rates a decade apart are compared: enough to tell which decade to probe."""
PROBE = 3 / 16
"""Share after which rates half a decade apart are compared."""
PROBES = 0.5
"""Share of what may be lost that the probes take at most; the rest is for the last comparison."""
DRIFT = 0.75
"""Of the drift that a bound predicts for the schedule: constant rates drift by 0.6 of it, decaying ones by all."""
NEAR = 0.1
"""Of the way made so far. A faster rate that is no further behind on the screen is no bracket, and the next is tried;
a slower one that is further behind among the probes is not expected to be best by more than a quarter decade."""
MOVED = 0.005
"""Of the loss: rates whose losses lie closer to the lowest than that are told apart by later rungs, and the fastest
leads until then: on a plateau it is the first to leave it."""
THREE = 0.6
"""Of the horizon: three finalists where the budget takes them so far, else two."""
UNUSED_DECADES = 3.0
"""Learning rates that lie so far apart and give the same metrics to the last digit are not used."""
FEWEST_STEPS = 12
"""Steps of the range test that shows whether the start breaks, where nothing else is affordable."""
SLACK = 1e-9


class Lab(Protocol):
    """What the race needs of a laboratory; `benchmarks/regret` has one that replays recorded trainings."""

    total_steps: int
    epochs: int
    spent: float
    budget: float | None
    metric: str
    mode: Mode
    schedule: ScheduleMaker
    untrained: dict[str, float]
    """The metrics before training, as far as they are evaluated."""
    estimates_untrained: bool
    """Whether they are taken from the slowest training, since nobody can evaluate them."""

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
        ...

    def announce_plan(self, plan: SpendingPlan) -> None:
        """Tell what will be spent."""
        ...

    def announce(self, stage: str) -> None:
        """Tell that a stage begins."""
        ...

    def steps(self, fraction: float) -> int:
        """Return a fraction of the horizon in steps."""
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
    """

    def __init__(self, lab: Lab, low: float, high: float, start: float, *, can_ramp: bool = True) -> None:
        self.lab = lab
        self.low, self.high = math.log10(low), math.log10(high)
        self.can_ramp = can_ramp
        self.is_unused = False
        self._start = self._inside(math.log10(start))
        self._trials: dict[int, Trial] = {}
        self._rates: Array = as_values(lab.schedule(1.0, lab.total_steps), 0, lab.total_steps)
        self._spent_rate: Array = np.cumsum(self._rates) / self._rates.sum()

    # Places: quarter decades above the start

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
            center = self._probed(_leading(screened), step)
        return self._finished(self._compared(center))

    def plan(self) -> SpendingPlan:
        """What the race will spend."""
        return race_plan(self.lab, self._step(SCREEN), self._probe_step(), self._spare())

    def _screened(self) -> dict[int, float]:
        """The losses of rates a decade apart, outward from the start; none where the budget is too small to compare."""
        step = self._step(SCREEN)
        if 2 * self.lab.training_cost(0, step) > self._spare():
            return {}
        self.lab.announce("screening learning rates a decade apart")
        return self._bracketed(0, DECADE, step, "screen", near=NEAR)

    def _is_unused(self) -> bool:
        """Whether rates decades apart give the same in every column, in their first row and in the next one too.

        Equal first rows alone may be those of an evaluation before training.
        """
        ends = min(self._trials), max(self._trials)
        two_rows = round(2 * self.lab.total_steps / self.lab.epochs)
        if (
            not self.lab.estimates_untrained
            or self._x(ends[1]) - self._x(ends[0]) < UNUSED_DECADES - SLACK
            or not _are_equal(self._trials.values())
            or 2 * self.lab.training_cost(0, two_rows) > self._left()
        ):
            return False
        longer = [self._train(place, two_rows, "screen") for place in ends]
        return all(len(trial.curve) > 1 for trial in longer) and _are_equal(longer)

    def _probe_step(self) -> int | None:
        """How far probes go: half as far where they would take too much, None where that is too much as well."""
        most = PROBES * self._spare()
        steps = [max(self._step(share), self._step(SCREEN)) for share in (PROBE, PROBE / 2)]
        return next((step for step in steps if 2 * self.lab.training_cost(0, step) <= most), None)

    def _probed(self, first: int, step: int) -> float:
        """Where a full training is expected to be best, by rates half a decade apart."""
        self.lab.announce("probing half a decade apart")
        rung = self._bracketed(first, HALF, step, "probe")
        if not rung:
            return first
        best = _leading(rung)
        if self._nearest(best + 1) == best:
            return best
        center = self._bottom(rung) - self._drift(step)
        slower = max((place for place in rung if place < best), default=None)
        is_clear = slower is not None and rung[slower] - rung[best] > NEAR * self._way(rung[best])
        return max(center, best - 1) if is_clear else center

    def _drift(self, step: int) -> float:
        """By how many places the best rate is faster at a step than at the end."""
        return DRIFT * (bound_minimum(self._rates[:step]) - bound_minimum(self._rates)) / QUARTER

    def _compared(self, center: float) -> list[int]:
        """The most promising quarter decades, the best first, after a comparison as late as the budget affords."""
        best = self._nearest(center)
        side = 1 if center > best else -1
        finalists = [place for place in (best, best + side, best - side) if self._exists(place)]
        if self._affordable_length(finalists) < THREE * self.lab.total_steps:
            finalists = finalists[:2]
        step = self._affordable_length(finalists)
        if len(finalists) < 2 or step <= max(map(self._made, self._trials), default=0):
            return [best]
        self.lab.announce("comparing the most promising")
        rung = finalists
        for place in finalists:
            self._train(place, step, "compare")
        while True:
            losses = self._losses(rung)
            leader = _best(losses)
            ahead = leader + 1 if leader == max(rung) else leader - 1
            if ahead in rung or not self._may_train(ahead, step, leader):
                return sorted(rung, key=lambda place: (losses[place], place))
            self._train(ahead, step, "compare")
            rung.append(ahead)

    def _finished(self, ranked: Sequence[int]) -> Trial | None:
        """Train the most promising to the end; where it breaks there, the next, or a slower one.

        What breaks two of them at the same step is not their rate.
        """
        self.lab.announce("confirming at full length")
        queue, broke_at = list(ranked), 0
        while queue:
            place = queue.pop(0)
            if not math.isinf(self._value(self._train(place, self._within_budget(place), "confirm"))):
                break
            if self._made(place) == broke_at:
                return None
            broke_at = self._made(place)
            slower = min(place, *self._trials) - 2
            if not queue and self._exists(slower) and self._left() >= self.lab.training_cost(0, self._step(SCREEN)):
                queue.append(slower)
        else:
            return None
        while self._may_train(best := self._furthest(), self.lab.total_steps, None):
            if self._made(best) == self.lab.total_steps:
                break
            self._train(best, self.lab.total_steps, "confirm")
        return self._trials[best]

    def _furthest(self) -> int:
        """The place that has reached most: in the end that of full length, unless a shorter training did better."""
        held = [place for place, trial in self._trials.items() if not math.isinf(self._value(trial))]
        return min(held, key=lambda place: float(np.fmin.reduce(self._values(self._trials[place]))))

    def _not_broken(self) -> int:
        """The start, or a decade below where a range test of a few steps breaks, if that is below the start."""
        if not self.can_ramp or self._left() * self.lab.total_steps < self.lab.total_steps + FEWEST_STEPS:
            return 0
        rates = np.geomspace(10**self.low, 10**self.high, FEWEST_STEPS)
        cliff = Climbs(self.lab).once(rates).cliff
        return 0 if cliff is None or math.log10(cliff) > self._start else self._nearest(self._place_of(cliff) - 4)

    def _place_of(self, learning_rate: float) -> float:
        return (math.log10(learning_rate) - self._start) / QUARTER

    def _bracketed(self, first: int, apart: float, step: int, stage: str, *, near: float = 0.0) -> dict[int, float]:
        """Losses at a step of rates so far apart, outward until the best has worse ones on both sides."""
        stride = round(apart / QUARTER)
        self._start_together([first, first + stride, first - stride], step, stage)
        rung: list[int] = []

        def join(place: int) -> bool:
            place = self._nearest(place)
            if place in rung or not self._may_train(place, step, None):
                return False
            self._train(place, step, stage)
            rung.append(place)
            return True

        for place in (first, first + stride, first - stride):
            join(place)
        while rung:
            losses = self._losses(rung)
            best, top, bottom = _leading(losses), max(rung), min(rung)
            is_near = losses[top] <= losses[best] + near * self._way(losses[best])
            if (best == top or is_near) and join(top + stride):
                continue
            if not (best == bottom and join(bottom - stride)):
                break
        return self._losses(rung)

    def _bottom(self, rung: dict[int, float]) -> float:
        """Where the parabola through the best and its neighbours is lowest, in places; the best where one is missing.

        What is worse than no training counts as no training: how much worse says nothing of where the best lies.
        """
        best = _leading(rung)
        below = max((place for place in rung if place < best), default=None)
        above = min((place for place in rung if place > best), default=None)
        if below is None or above is None or math.isinf(rung[best]):
            return best
        worst = max([loss for loss in rung.values() if math.isfinite(loss)] + [self._untrained_loss, rung[best]])
        left, right = best - below, above - best
        down, up = min(rung[below], worst) - rung[best], min(rung[above], worst) - rung[best]
        curvature = right * down + left * up
        return best if curvature <= 0 else best + (right**2 * down - left**2 * up) / (2 * curvature)

    # Money

    def _left(self) -> float:
        """What may still be spent; the budget may be passed by half an epoch."""
        return math.inf if self.lab.budget is None else self.lab.budget + 0.5 / self.lab.epochs - self.lab.spent

    def _spare(self) -> float:
        """What may be spent beside a full training."""
        return self._left() - self.lab.training_cost(0, self.lab.total_steps)

    def _may_train(self, place: int, step: int, leader: int | None) -> bool:
        """Whether a place may go on to a step, and the leader from where it is, or a new one, to the end."""
        made = 0 if leader is None else self._made(leader)
        cost = self.lab.training_cost(self._made(place), step) + self.lab.training_cost(made, self.lab.total_steps)
        return self._exists(place) and cost <= self._left() + SLACK

    def _affordable_length(self, places: Sequence[int]) -> int:
        """The last step that all of these can be trained to, and the one that is furthest from there to the end."""
        total = self.lab.total_steps

        def cost(step: int) -> float:
            return sum(self.lab.training_cost(self._made(place), step) for place in places) + self.lab.training_cost(
                step, total
            )

        steps = (self.lab.steps(part / 32) for part in range(32, 0, -1))
        return next((step for step in steps if cost(step) <= self._left() + SLACK), 0)

    def _within_budget(self, place: int) -> int:
        """The last step that the budget allows a place to be trained to: all of them where it can be."""
        total, made = self.lab.total_steps, self._made(place)
        if self.lab.training_cost(made, total) <= self._left() + SLACK:
            return total
        share = self._left() / self.lab.training_cost(0, total)
        return min(max(made + int(share * total), made + 1), total)

    # Trainings

    def _step(self, share: float) -> int:
        """The step at which the schedule has spent a share of its summed rate."""
        return self.lab.steps((np.searchsorted(self._spent_rate, share - SLACK) + 1) / self.lab.total_steps)

    def _made(self, place: int) -> int:
        known = self._trials.get(place)
        return 0 if known is None else self.lab.steps_of(known)

    def _start_together(self, places: Sequence[int], step: int, stage: str) -> None:
        """Train several rates that are new, at once where the laboratory can, if the budget allows for all of them."""
        new = {10 ** self._x(place): place for place in places if place not in self._trials and self._exists(place)}
        if len(new) < 2 or len(new) * self.lab.training_cost(0, step) > self._spare():
            return
        trained = {trial.learning_rate: trial for trial in self.lab.start_all(new, step, stage=stage)}
        self._trials |= {place: trained[rate] for rate, place in new.items()}

    def _train(self, place: int, step: int, stage: str) -> Trial:
        """Train a rate up to a step, from where it was left."""
        known = self._trials.get(place)
        if known is None:
            self._trials[place] = self.lab.start(10 ** self._x(place), step, stage=stage)
        elif known.state is TrialState.COMPLETE and self.lab.steps_of(known) < step:
            self._trials[place] = self.lab.resume(known, step, stage=stage)
        return self._trials[place]

    # What was seen

    def _losses(self, places: Iterable[int]) -> dict[int, float]:
        """What the rates have reached, smaller when better, infinite where training broke.

        By the training loss where validation lags behind it: running averages of BatchNorm's kind make what has
        learned for some steps look worse than what has learned nothing.
        """
        reading = self._training_loss if self._validation_lags else self._value
        return {place: reading(self._trials[place]) for place in places}

    @property
    def _validation_lags(self) -> bool:
        """Whether a training has never been better than none in validation, although its training loss is."""
        untrained = self._signed(self.lab.untrained_value)
        if self.lab.estimates_untrained or math.isinf(untrained):
            return False
        return any(
            self._training_loss(trial) < self._untrained_training_loss
            and float(np.fmin.reduce(self._values(trial))) >= untrained
            for trial in self._trials.values()
            if math.isfinite(self._value(trial))
        )

    @property
    def _untrained_training_loss(self) -> float:
        """The training loss that the slowest rate began with, which has hardly moved."""
        slowest = self._trials[min(self._trials)].curve.metrics.get("loss", np.array([]))
        return float(slowest[0]) if len(slowest) else -math.inf

    def _signed(self, value: float | None) -> float:
        """A metric, smaller when better; minus infinity where it is not known."""
        return -math.inf if value is None else value if self.lab.mode == "min" else -value

    def _values(self, trial: Trial) -> Array:
        return trial.curve.values(self.lab.metric) * (1 if self.lab.mode == "min" else -1)

    def _value(self, trial: Trial) -> float:
        """The better of the last two rows, since one may be a spike; infinite where training broke."""
        if trial.state is not TrialState.COMPLETE or self.lab.metric not in trial.curve.metrics:
            return math.inf
        values = self._values(trial)
        finite = values[np.isfinite(values)]
        return float(finite[-2:].min()) if len(finite) else math.inf

    def _training_loss(self, trial: Trial) -> float:
        if trial.state is not TrialState.COMPLETE or "loss" not in trial.curve.metrics:
            return math.inf
        last = float(trial.curve.values("loss")[-1])
        return last if math.isfinite(last) else math.inf

    @property
    def _untrained_loss(self) -> float:
        return self._untrained_training_loss if self._validation_lags else self._signed(self.lab.untrained_value)

    def _way(self, loss: float) -> float:
        """The way from the untrained loss, or the worst known, to a loss."""
        known = [each for each in self._losses(self._trials).values() if math.isfinite(each)]
        start = self._untrained_loss if math.isfinite(self._untrained_loss) else max(known, default=loss)
        return max(start - loss, 0.0) if math.isfinite(loss) else 0.0

    @property
    def cliff(self) -> float:
        """The log learning rate at which training breaks, infinite where none broke that was tried.

        Half way between the fastest training that held and the slowest above it that broke.
        """
        held = max((self._x(place) for place, trial in self._trials.items() if self._held(trial)), default=-math.inf)
        broke = min((self._x(place) for place in self._trials if self._x(place) > held), default=math.inf)
        return broke if math.isinf(held) or math.isinf(broke) else (held + broke) / 2

    def _held(self, trial: Trial) -> bool:
        """Whether training is better now than no training at all; whether it did not break, where that is not known.

        Where another metric decides, the validation loss must have been better once too: an accuracy by chance may be
        better than that of weights which have seen nothing.
        """
        if math.isinf(self._value(trial)):
            return False
        before, after = self.lab.untrained.get("val_loss"), trial.curve.metrics.get("val_loss")
        if before is not None and after is not None and not (after < before).any():
            return False
        untrained = self._signed(self.lab.untrained_value)
        return math.isinf(untrained) or float(self._values(trial)[-1]) < untrained


def _are_equal(trials: Iterable[Trial]) -> bool:
    """Whether these trainings reported the same numbers to the last digit."""
    first, *others = trials
    names = first.curve.metrics.keys()
    return bool(names) and all(
        other.curve.metrics.keys() == names
        and all(np.array_equal(other.curve.metrics[name], first.curve.metrics[name]) for name in names)
        for other in others
    )


def _best(rung: dict[int, float]) -> int:
    """The place of the lowest loss, of equal ones the slower."""
    return min(rung, key=lambda place: (rung[place], place))


def _leading(rung: dict[int, float]) -> int:
    """The fastest of the places whose loss is hardly above the lowest; the slowest where all broke."""
    lowest = min(rung.values())
    if math.isinf(lowest):
        return min(rung)
    return max(place for place, loss in rung.items() if loss <= lowest + MOVED * abs(lowest))
