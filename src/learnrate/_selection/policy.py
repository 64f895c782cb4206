"""Which learning rates `select` trains, how far, and in which order: climb, probe, compare, confirm, go to the edge.

Every training is the beginning of a full one, on the full schedule: what is promising goes on from where it was left.
Rates lie on a grid of quarter decades. At each rung the trainings have made the same number of steps over the same
batches, so that even small differences between them count.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from learnrate._selection.climbs import Climb, Climbs
from learnrate.response import GOOD
from learnrate.results import TrialState
from learnrate.suggestions import Analysis, analyse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from learnrate.curves import Array, Mode
    from learnrate.results import Trial

QUARTER = 0.25
HALF = 0.5
CLIMB = 0.25
"""Of the horizon: what the range test may take; it needs no more than 100 steps, a small part of most trainings."""
MOST_CLIMBED, FEWEST_CLIMBED = 100, 20
SHORT_CLIMB = 12
"""Steps of the climb where the horizon affords no range test: enough to see within a decade where training breaks."""
BELOW_THE_BREAK = 2.0
"""Decades below where a short climb broke at which a screen begins: the best rate lies one to two below."""
SCREEN = 1 / 16
PROBE = 1 / 8
NUM_PROBES = 3
"""The suggestion and half a decade to either side."""
COMPARE = 0.3
EDGE = "edge"
"""The stage of the short trainings that look for the cliff."""
MOST_AT_THE_EDGE = 4
"""Short trainings that look for the cliff: two bracket it in most cases."""
DRIFT = 0.3
"""The best rate falls as the horizon to this power: a longer training can take the time that a smaller rate needs."""
TILT = 0.1
"""Of the way from untrained to best, per decade of rate and of horizon still to go: so much does a short training
flatter a fast rate; and the cliff is on the fast side."""
PULL = 0.01
"""Of the way from untrained to best: what a rate must promise more to be preferred when it lies `UNSURE` decades from
where the range test points."""
UNSURE = 0.35
"""Decades by which a range test's suggestion is typically off."""


class Lab(Protocol):
    """What the policy needs of a laboratory; `benchmarks/regret` has one that replays recorded trainings."""

    total_steps: int
    epochs: int
    spent: float
    budget: float | None
    metric: str
    mode: Mode
    untrained: dict[str, float]
    """The metrics before training, as far as they are evaluated."""

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

    def start_all(self, learning_rates: Iterable[float], last_step: int, *, stage: str) -> Iterator[Trial]:
        """Train new trials up to a step, at once where that can be; give each as it ends."""
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
        guess: Where to look first if no range test can be made, or none shows anything.
        can_ramp: Whether the rate may change from step to step.
    """

    def __init__(self, lab: Lab, low: float, high: float, guess: float, *, can_ramp: bool = True) -> None:
        self.lab = lab
        self.low = math.log10(low)
        self.high = math.log10(high)
        self.can_ramp = can_ramp
        self.climb: Climb | None = None
        self.seen: Analysis | None = None
        self._guess = math.log10(guess)
        self._suggested: float | None = None
        self._noise = 0.0
        self._trials: dict[float, Trial] = {}

    @property
    def broken(self) -> float | None:
        """The log learning rate at which the range test broke."""
        return None if self.seen is None or self.seen.cliff is None else math.log10(self.seen.cliff)

    def run(self) -> Trial | None:
        """Train until the budget is spent; return the trial of full length to recommend, None where all diverged."""
        winner = self._found()
        if winner is not None:
            self._go_to_the_edge(math.log10(winner.learning_rate))
        return winner

    @property
    def cliff(self) -> float:
        """The log learning rate at which training breaks, infinite where nothing broke.

        Half way between the fastest training that learned and the slowest above it that did not, where they are half a
        decade apart; else where the range test broke, but half a decade above what has learned at least. Of what lies
        above the range nothing is said.
        """
        held, broke = self._edge()
        if math.isfinite(broke):
            return max((held + broke) / 2, broke - QUARTER)
        found = math.inf if self.broken is None else max(self.broken, held + HALF)
        return found if found <= self.high else math.inf

    def _found(self) -> Trial | None:
        start = self._suggested = self._range_tested() if self.can_ramp else self._screened()
        probed = self._probe(self._on_grid(start)) if self._may_probe() else []
        if probed:
            return self._confirm(self._compare(probed))
        screened = [x for x in self._trials if self._held(x)]
        return self._confirm([min(screened, key=self._loss, default=self._inside_range(start))])

    def _may_probe(self) -> bool:
        return self._spare() >= self.lab.training_cost(0, self.lab.steps(PROBE))

    @property
    def _epoch(self) -> float:
        """What the budget may be passed by, half of what is promised: half an epoch."""
        return 0.5 / self.lab.epochs

    def _range_tested(self) -> float:
        """Return what a range test suggests, the guess where it shows nothing; a screen's best where it is too long."""
        total = self.lab.total_steps
        steps = int(min(CLIMB * total, MOST_CLIMBED, self._spare() * total))
        if steps < FEWEST_CLIMBED:
            return self._screened()
        climb = Climbs(self.lab).twice(10**self.low, 10**self.high, steps)
        if climb is None:
            return self._guess
        suggestion = self._seen_in(climb).suggestions["learnrate"]
        return self._guess if suggestion is None else math.log10(suggestion)

    def _seen_in(self, climb: Climb) -> Analysis:
        self.climb, self.seen = climb, analyse(climb.learning_rates, climb.losses, cliff=climb.cliff)
        self._noise = _spread(climb.losses[: max(len(climb.losses) // 4, 4)])
        return self.seen

    def _screened(self) -> float:
        """Return where trainings of a sixteenth of the horizon, half a decade apart, are best, less the drift."""
        start = self._guess
        if self.can_ramp and self._spare() * self.lab.total_steps > SHORT_CLIMB:
            self._seen_in(Climbs(self.lab).once(np.geomspace(10**self.low, 10**self.high, SHORT_CLIMB)))
            start = (self.high if self.broken is None else self.broken) - BELOW_THE_BREAK
        if not self._affordable(self._on_grid(start), self.lab.steps(SCREEN)):
            return start
        rung: list[float] = []
        self.lab.announce("screening learning rates half a decade apart")
        self._bracket(rung, (self._on_grid(start),), SCREEN, "screen")
        best = min((x for x in rung if self._held(x)), key=self._loss, default=min(rung))
        return best - DRIFT * math.log10(1 / SCREEN)

    def _spare(self) -> float:
        """What may still be spent, a full training reserved, in full trainings."""
        if self.lab.budget is None:
            return math.inf
        return self.lab.budget + self._epoch - self.lab.spent - self.lab.training_cost(0, self.lab.total_steps)

    def _on_grid(self, x: float) -> float:
        """Return the nearest quarter decade inside the range, or the range's nearest end."""
        return self._inside_range(round(x / QUARTER) * QUARTER)

    def _inside_range(self, x: float) -> float:
        return min(max(x, self.low), self.high)

    def _probe(self, start: float) -> list[float]:
        """Train half a decade apart around the start, the slower side first, until the best has a worse one beside."""
        self.lab.announce("probing around the range test's suggestion" if self.can_ramp else "probing around the best")
        rung: list[float] = []
        self._bracket(rung, (start, start - HALF, start + HALF), PROBE, "probe")
        return rung

    def _bracket(self, rung: list[float], first: Iterable[float], fraction: float, stage: str) -> None:
        """Train a rung's rates: the first, then outward from the best while that is at the edge."""
        places = list(first)
        self._start_together([self._on_grid(x) for x in places], self.lab.steps(fraction), stage)
        for x in places:
            self._join(x, rung, fraction, stage)
        while rung:
            held = [x for x in rung if self._held(x)]
            if not held:
                if not self._join(min(rung) - HALF, rung, fraction, stage):
                    return
                continue
            scores = self._scores({x: self._loss(x) for x in held}, fraction)
            best = min(held, key=lambda x: scores[x])
            upward = best == max(rung) and self._join(best + HALF, rung, fraction, stage)
            if not upward and not (best == min(held) and self._join(best - HALF, rung, fraction, stage)):
                return

    def _start_together(self, places: list[float], step: int, stage: str) -> None:
        """Train several rates that are new, at once where the laboratory can, if the budget allows for all of them."""
        new = [x for x in dict.fromkeys(places) if x not in self._trials]
        ahead = self.lab.training_cost(step, self.lab.total_steps) + self.lab.training_cost(0, self.lab.steps(COMPARE))
        if len(new) < 2 or not self._within(len(new) * self.lab.training_cost(0, step) + ahead):
            return
        trained = self.lab.start_all([10**x for x in new], step, stage=stage)
        self._trials |= zip(new, sorted(trained, key=lambda trial: trial.number), strict=True)

    def _join(self, x: float, rung: list[float], fraction: float, stage: str) -> bool:
        """Train a rate up to a rung; return whether it was new there and within the budget."""
        x, step = self._on_grid(x), self.lab.steps(fraction)
        later = self.lab.training_cost(step, self.lab.steps(COMPARE)) if len(rung) > 1 and fraction < COMPARE else 0.0
        if x in rung or (self._trials and not self._affordable(x, step, later)):
            return False
        self._train(x, step, stage)
        rung.append(x)
        return True

    def _compare(self, probed: list[float]) -> list[float]:
        """Train the most promising rate and its better neighbour further, and go on while the best is at the edge.

        Returns all that are left, the most promising first.
        """
        held = [x for x in probed if self._held(x)]
        if not held:
            return [self._on_grid(min(probed) - HALF)]
        self.lab.announce("comparing the most promising")
        losses = self._interpolated({x: self._loss(x) if x in held else math.inf for x in probed})
        scores = self._scores(losses, PROBE)
        first, *others = sorted(losses, key=lambda x: scores[x])
        beside = [x for x in others if abs(x - first) < QUARTER + 1e-9]
        rung: list[float] = []
        for x in (first, *beside[:1]):
            self._join(x, rung, COMPARE, "compare")
        if not rung:
            return sorted(held, key=lambda x: scores[x])
        while True:
            left = [x for x in rung if self._held(x)]
            if not left:
                return [self._on_grid(min(rung) - HALF)]
            scores = self._scores({x: self._loss(x) for x in left}, COMPARE)
            ranked = sorted(left, key=lambda x: scores[x])
            best = ranked[0]
            downward = best == min(rung) and self._join(best - QUARTER, rung, COMPARE, "compare")
            if not downward and not (best == max(rung) and self._join(best + QUARTER, rung, COMPARE, "compare")):
                return ranked

    def _scores(self, losses: dict[float, float], fraction: float) -> dict[float, float]:
        """What each rate is expected to cost at the horizon, in shares of the way from untrained to best.

        The loss above the best one's, what a short training flatters the rate by, and its distance from where the
        range test points: `(loss − best) / scale + TILT·log₁₀(1 / fraction)·x + PULL·((x − suggested) / UNSURE)²`.
        Nothing pulls as long as nothing is suggested: a screen has only a guess, decades off at times.
        """
        best = min(losses.values())
        scale = self._scale(best) or 1.0
        tilt = TILT * math.log10(1 / fraction)
        return {x: (loss - best) / scale + tilt * x + PULL * self._unlikelihood(x) for x, loss in losses.items()}

    def _unlikelihood(self, x: float) -> float:
        return 0.0 if self._suggested is None else ((x - self._suggested) / UNSURE) ** 2

    def _interpolated(self, losses: dict[float, float]) -> dict[float, float]:
        """Add the quarter decades between rates half a decade apart, by parabolas; leave out what did not hold."""
        worst = max(loss for loss in [*losses.values(), self._untrained_loss] if math.isfinite(loss))
        bounded = {x: min(loss, worst) for x, loss in losses.items()}
        found = {x: loss for x, loss in losses.items() if math.isfinite(loss)}
        for a, b in pairwise(sorted(bounded)):
            if abs(b - a - HALF) > 1e-9:
                continue
            sides = [
                (bounded[a], bounded[b], _near(bounded, a - HALF)),
                (bounded[b], bounded[a], _near(bounded, b + HALF)),
            ]
            middles = [0.75 * near + 0.375 * far - 0.125 * beyond for near, far, beyond in sides if beyond is not None]
            found[self._on_grid((a + b) / 2)] = float(np.mean(middles or [(bounded[a] + bounded[b]) / 2]))
        return found

    @property
    def _untrained_loss(self) -> float:
        value = self.lab.untrained_value
        return math.nan if value is None else value if self.lab.mode == "min" else -value

    def _scale(self, best: float) -> float:
        """The way from the untrained loss, or the worst known, to the best."""
        untrained = self._untrained_loss
        if math.isnan(untrained):
            return max([best, *(self._loss(x) for x in self._trials if self._held(x))]) - best
        return max(untrained - best, 0.0)

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

    def _go_to_the_edge(self, best: float) -> None:
        """Train briefly half a decade apart, from where the range test broke, until one holds and one above it breaks.

        That takes what is left of the budget; a range test breaks elsewhere than a training of many steps at one rate.
        """
        step = self.lab.steps(SCREEN)
        start = best + 2 * HALF if self.broken is None else self.broken
        for trained in range(MOST_AT_THE_EDGE):
            held, broke = self._edge()
            ahead = max(held + HALF, start) if math.isinf(broke) else max(broke - HALF, held + QUARTER)
            x = self._on_grid(ahead)
            if x in self._trials or broke - held < HALF + 1e-9 or not self._within(self.lab.training_cost(0, step)):
                return
            if not trained:
                self.lab.announce("looking for the rate at which training breaks")
            self._train(x, step, EDGE)

    def _edge(self) -> tuple[float, float]:
        """The fastest log learning rate at which training learned, and the slowest above it at which it did not."""
        held = max((x for x in self._trials if self._learned(x)), default=-math.inf)
        return held, min((x for x in self._trials if x > held), default=math.inf)

    def _expected(self, x: float) -> float:
        return self._loss(x) if x in self._trials and self._held(x) else math.inf

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

    def _made(self, x: float) -> int:
        known = self._trials.get(x)
        return 0 if known is None else self.lab.steps_of(known)

    def _affordable(self, x: float, step: int, more: float = 0.0) -> bool:
        """Whether training a rate up to a step leaves enough for a full training of another that is as far."""
        reserve = self.lab.training_cost(step, self.lab.total_steps) + more
        return self._within(self.lab.training_cost(self._made(x), step) + reserve)

    def _learned(self, x: float) -> bool:
        """Whether training is better now than no training at all; whether it holds, where that is not known.

        Where another metric decides, the validation loss must have been better once too: an accuracy by chance may be
        better than that of weights which have seen nothing.
        """
        if math.isnan(self._untrained_loss) or not self._held(x):
            return self._held(x)
        before, after = self.lab.untrained.get("val_loss"), self._trials[x].curve.metrics.get("val_loss")
        if before is not None and after is not None and not (after < before).any():
            return False
        return bool(self._losses(x)[1][-1] < self._untrained_loss)

    def _within(self, cost: float) -> bool:
        """Whether the budget allows for so much more."""
        return self.lab.budget is None or self.lab.spent + cost <= self.lab.budget + self._epoch

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
        _, losses = self._losses(x)
        untrained = self._untrained_loss
        return math.isnan(untrained) or bool(losses[-1] <= untrained + self._noise)


def _spread(losses: Array) -> float:
    """Return the standard deviation of one batch's loss, from the first steps, which hardly train."""
    finite = losses[np.isfinite(losses)]
    return float(np.median(np.abs(finite - np.median(finite)))) / 0.6745 if len(finite) else 0.0


def _near(losses: dict[float, float], x: float) -> float | None:
    return next((loss for place, loss in losses.items() if abs(place - x) < 1e-9), None)
