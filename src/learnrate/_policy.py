"""Which learning rates `select` trains, how far, and in which order: bracket, screen, refine, confirm.

Every training is the beginning of a full one, on the full schedule: what is promising goes on from where it was left.
Rates lie on a grid of quarter decades. At each rung the trainings have made the same number of steps over the same
batches, so that even small differences between them count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from learnrate import suggestions
from learnrate.response import GOOD
from learnrate.results import TrialState

if TYPE_CHECKING:
    from learnrate.curves import Array, Mode
    from learnrate.results import Trial

QUARTER = 0.25
HALF = 0.5
SCREEN = 1 / 16
REFINE = 1 / 8
COMPARE = 0.3
BELOW_THE_BREAK = 2.0
"""Decades below where a range test broke at which to begin: the best rate lies one to two below, and the slow side
of it is smooth."""
DRIFT = 0.3
"""The best rate falls as the horizon to this power: a longer training can take the time that a smaller rate needs."""
LEAN = 0.02
"""Of the way from untrained to best: so much may a slower rate promise less and still be preferred to a faster one,
since the cliff is on the fast side and does not stand in the same place for every seed."""
SHORTEST_RAMP = 8
MOMENTUM = 0.3
"""How much of the progress of its last doubling a training is expected to make in each doubling to come."""


class Lab(Protocol):
    """What the policy needs of a laboratory; `benchmarks/regret` has one that replays recorded trainings."""

    total_steps: int
    epochs: int
    spent: float
    budget: float | None
    metric: str
    mode: Mode

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
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

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """Continue a trial up to a step."""
        ...

    def ramp(self, learning_rates: Array) -> Array:
        """Train a step at each rate, in turn, until it breaks."""
        ...


class Policy:
    """Finds the trial to recommend.

    Args:
        lab: Trains and counts.
        low: The smallest learning rate allowed.
        high: The largest.
        guess: Where to look first if no range test can be made or none breaks.
        can_ramp: Whether the rate may change from step to step.
    """

    def __init__(self, lab: Lab, low: float, high: float, guess: float, *, can_ramp: bool = True) -> None:
        self.lab = lab
        self.low = math.log10(low)
        self.high = math.log10(high)
        self.can_ramp = can_ramp
        self.ramped: tuple[Array, Array] | None = None
        self._guess = math.log10(guess)
        self.broken: float | None = None
        self._noise = 0.0
        self._trials: dict[float, Trial] = {}

    def run(self) -> Trial | None:
        """Train until the budget is spent; return the trial of full length to recommend, None where all diverged."""
        start = self._start()
        if not self._affordable(start, self.lab.steps(SCREEN), self._cost_of(SCREEN)):
            return self._confirm([start])
        screened = self._screen(start)
        held = [x for x in screened if self._held(x)] or [x for x in screened if math.isfinite(self._loss(x))]
        if not held:
            return None
        best = min(held, key=self._loss)
        center = _vertex({x: self._loss(x) for x in screened}, best, HALF)
        return self._confirm(self._compare(self._refine(center)))

    @property
    def _epoch(self) -> float:
        """What the budget may be passed by, half of what is promised: half an epoch."""
        return 0.5 / self.lab.epochs

    def _start(self) -> float:
        """Where the screen begins: two decades below where a short range test breaks, where it does."""
        most = max(self.lab.total_steps // 12, 20)
        spare = self._spare() * self.lab.total_steps
        steps = int(min(most, spare, 100))
        if not self.can_ramp or steps < SHORTEST_RAMP:
            return self._on_grid(self._guess)
        self.lab.announce("raising the learning rate until training breaks")
        rates = np.geomspace(10**self.low, 10**self.high, steps)
        losses = self.lab.ramp(rates)
        self.ramped = rates[: len(losses)], losses
        self._noise = _spread(losses[: max(len(losses) // 4, 4)])
        broken = suggestions.broken_at(losses, complete=len(losses) == steps)
        self.broken = None if broken is None else math.log10(rates[broken])
        return self._on_grid(self._limit - BELOW_THE_BREAK)

    @property
    def _limit(self) -> float:
        return self.high if self.broken is None else self.broken

    def _spare(self) -> float:
        """What may still be spent, a full training reserved, in full trainings."""
        if self.lab.budget is None:
            return math.inf
        return self.lab.budget + self._epoch - self.lab.spent - self.lab.training_cost(0, self.lab.total_steps)

    def _on_grid(self, x: float) -> float:
        """Return the nearest quarter decade inside the range, or the range's nearest end."""
        return min(max(round(x / QUARTER) * QUARTER, self.low), self.high)

    def _screen(self, start: float) -> list[float]:
        """Short trainings half a decade apart: up to where training breaks, then down while that is better."""
        self.lab.announce("screening learning rates half a decade apart")
        step = self.lab.steps(SCREEN)
        self._train(start, step, "screen")
        x = start
        while self._may_screen(x + HALF, step):
            x += HALF
            self._train(x, step, "screen")
            lost = not self._held(x) and self._loss(x) >= self._loss(x - HALF)
            if lost or (x > self._limit - HALF and x != self._best_screened()):
                break
        x = start
        while self._may_screen(x - HALF, step) and x == self._best_screened():
            x -= HALF
            self._train(x, step, "screen")
        return sorted(self._trials)

    def _best_screened(self) -> float:
        held = [x for x in self._trials if self._held(x)]
        return min(held, key=self._loss, default=min(self._trials))

    def _may_screen(self, x: float, step: int) -> bool:
        return self._inside(x) and self._affordable(x, step)

    def _refine(self, center: float) -> list[float]:
        """Longer trainings a quarter of a decade apart, until the best has a worse one on either side."""
        self.lab.announce("refining around the best")
        first = center - DRIFT * math.log10(REFINE / SCREEN)
        if self._spare() < 2 * self._cost_of(REFINE):
            first = center - DRIFT * math.log10(1 / SCREEN)
        rung: list[float] = []
        self._climb(first, rung, needed=True)
        self._climb(first - QUARTER, rung)
        while True:
            held = [x for x in rung if self._held(x)]
            if not held:
                if not self._climb(min(rung) - HALF, rung):
                    return rung
                continue
            best = min(held, key=self._loss)
            lower, upper = best - QUARTER, best + QUARTER
            if not (
                (best == min(held) and self._climb(lower, rung)) or (best == max(rung) and self._climb(upper, rung))
            ):
                return rung

    def _climb(self, x: float, rung: list[float], *, needed: bool = False) -> bool:
        """Train a rate up to the second rung by way of the first; return whether it was new and within the budget."""
        screen, refine, compare = (self.lab.steps(part) for part in (SCREEN, REFINE, COMPARE))
        x = self._on_grid(x)
        later = self.lab.training_cost(refine, compare) if len(rung) > 1 else 0.0
        if x in rung or not (needed or self._affordable(x, refine, later)):
            return False
        self._train(x, screen, "refine")
        self._train(x, refine, "refine")
        rung.append(x)
        return True

    def _compare(self, rung: list[float]) -> list[float]:
        """Train the two that promise most further; return all that are left, the most promising first."""
        self.lab.announce("comparing the two that promise most")
        held = [x for x in rung if self._held(x)]
        candidates: list[float] = []
        if held:
            first = self._leaning(held)
            candidates = [first, self._on_grid(first - QUARTER)]
        compare = self.lab.steps(COMPARE)
        finalists: list[float] = []
        for x in dict.fromkeys(candidates):
            if not finalists or self._affordable(x, compare):
                for part in (SCREEN, REFINE, COMPARE):
                    self._train(x, self.lab.steps(part), "compare")
                finalists.append(x)
        left = [x for x in finalists if self._held(x)]
        if not left:
            return [self._on_grid(min(finalists or rung) - HALF)]
        winner = self._leaning(left)
        return [winner, *(x for x in left if x != winner)]

    def _leaning(self, rates: list[float]) -> float:
        """Return the most promising rate, or a smaller one that promises hardly less."""
        best = min(self._promise(x) for x in rates)
        return min(x for x in rates if self._promise(x) <= best + LEAN * self._scale(best))

    def _scale(self, best: float) -> float:
        """The way from the untrained loss, or the worst known, to the best."""
        untrained = self.lab.untrained_value
        if untrained is None:
            return max([best, *(self._loss(x) for x in self._trials if self._held(x))]) - best
        return max((untrained if self.lab.mode == "min" else -untrained) - best, 0.0)

    def _confirm(self, ranked: list[float]) -> Trial | None:
        """Train the most promising at full length; then the best one's neighbours, as long as the budget lasts."""
        self.lab.announce("confirming at full length")
        total = self.lab.total_steps
        queue = list(ranked[:1])
        done: dict[float, float] = {}
        while queue:
            x = queue.pop(0)
            self._train(x, self._within_budget(x), "confirm")
            done[x] = self._loss(x)
            best = min(done, key=lambda place: done[place])
            if math.isinf(done[best]):
                ahead = [place for place in ranked if place not in done] or [self._on_grid(min(done) - HALF)]
            else:
                ahead = sorted((best - QUARTER, best + QUARTER), key=self._expected)
            queue = [
                place
                for place in map(self._on_grid, ahead)
                if place not in done and self._inside(place) and self._affordable(place, total)
            ][:1]
        best = min(done, key=lambda place: done[place])
        if math.isinf(done[best]):
            return None
        return self._trials[self._overtaken(best) or best]

    def _overtaken(self, best: float) -> float | None:
        """Return a rate that was clearly better when it was left than the best of full length ever was."""
        compare = self.lab.steps(COMPARE)
        far = [x for x in self._trials if self._held(x) and self._made(x) >= compare]
        leader = min(far, key=self._loss, default=best)
        return leader if self._loss(leader) < self._loss(best) - GOOD * self._scale(self._loss(leader)) else None

    def _expected(self, x: float) -> float:
        return self._promise(x) if x in self._trials and self._held(x) else math.inf

    def _within_budget(self, x: float) -> int:
        """Return the last step that the budget allows a rate to be trained to; where it can be, all of them."""
        total = self.lab.total_steps
        if self.lab.budget is None or self._affordable(x, total):
            return total
        made = self._made(x)
        left = (self.lab.budget + self._epoch - self.lab.spent) / self.lab.training_cost(0, total)
        return min(max(made + int(left * total), made + 1), total)

    def _train(self, x: float, step: int, stage: str) -> None:
        known = self._trials.get(x)
        if known is None:
            self._trials[x] = self.lab.start(10**x, step, stage=stage)
        elif known.state is TrialState.COMPLETE and self.lab.steps_of(known) < step:
            self._trials[x] = self.lab.resume(known, step, stage=stage)

    def _inside(self, x: float) -> bool:
        return self.low - 1e-9 <= x <= self.high + 1e-9

    def _cost_of(self, fraction: float) -> float:
        return self.lab.training_cost(0, self.lab.steps(fraction))

    def _made(self, x: float) -> int:
        known = self._trials.get(x)
        return 0 if known is None else self.lab.steps_of(known)

    def _affordable(self, x: float, step: int, more: float = 0.0) -> bool:
        """Whether training a rate up to a step leaves enough for a full training of another that is as far."""
        if self.lab.budget is None:
            return True
        reserve = self.lab.training_cost(step, self.lab.total_steps) + more
        spent = self.lab.spent + self.lab.training_cost(self._made(x), step) + reserve
        return spent <= self.lab.budget + self._epoch

    def _losses(self, x: float) -> tuple[Array, Array]:
        """The epochs of a rate's evaluations, and the losses there, smaller when better."""
        trial = self._trials[x]
        if self.lab.metric not in trial.curve.metrics:
            return trial.curve.epochs, np.full(len(trial.curve), np.inf)
        values = trial.curve.values(self.lab.metric)
        return trial.curve.epochs, values if self.lab.mode == "min" else -values

    def _loss(self, x: float) -> float:
        """The best loss so far; infinite where training broke."""
        _, losses = self._losses(x)
        return float(np.nanmin(losses)) if self._trials[x].state is TrialState.COMPLETE else math.inf

    def _held(self, x: float) -> bool:
        """Whether training holds: it did not diverge, and is not clearly worse now than no training at all."""
        if self._trials[x].state is not TrialState.COMPLETE:
            return False
        untrained = self.lab.untrained_value
        if untrained is None:
            return True
        _, losses = self._losses(x)
        return bool(losses[-1] <= (untrained if self.lab.mode == "min" else -untrained) + self._noise)

    def _promise(self, x: float) -> float:
        """The loss to expect at the horizon: the progress since half the time ago goes on, damped, in log time."""
        epochs, losses = self._losses(x)
        reached = np.fmin.accumulate(losses)
        now = float(epochs[-1])
        before = float(np.interp(math.log(now / 2), np.log(epochs), reached))
        doublings = math.log2(self.lab.epochs / now)
        return float(reached[-1]) - MOMENTUM * doublings * (before - float(reached[-1]))


def _spread(losses: Array) -> float:
    """Return the standard deviation of one batch's loss, from the first steps, which hardly train."""
    finite = losses[np.isfinite(losses)]
    return float(np.median(np.abs(finite - np.median(finite)))) / 0.6745 if len(finite) else 0.0


def _vertex(losses: dict[float, float], x: float, spacing: float) -> float:
    """Return the bottom of the parabola through a rate and its neighbours, the rate itself where one is not known."""
    left, middle, right = (losses.get(place, math.inf) for place in (x - spacing, x, x + spacing))
    if math.isinf(right) and math.isfinite(left):
        right = middle + 2 * abs(left - middle)
    down, up = left - middle, right - middle
    if not (math.isfinite(down) and math.isfinite(up)) or down + up <= 0:
        return x
    return x + spacing / 2 * (down - up) / (down + up)
