"""What `select` does where a training comes in one piece: a function that returns its outcome, a script's one line.

Nothing can be left and gone on with, so every training is paid in full. Where it can be had for fewer epochs, short
ones search and a full one confirms; otherwise each costs a full run, and a budget of N affords N of them.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from learnrate._numbers import rate
from learnrate._selection.conclusion import DRIFT, conclude, cost_of
from learnrate._selection.plan import budget_plan, whole_plan
from learnrate._selection.race import HALF, QUARTER
from learnrate.response import Bowl, fit_bowl
from learnrate.results import Response, TrialState, Verdict

if TYPE_CHECKING:
    from learnrate._selection.race import Race
    from learnrate._trials.laboratory import Laboratory
    from learnrate.curves import Array
    from learnrate.results import Recommendation, Trial

DECADE = 1.0
SHORT = 1 / 8
"""Of the horizon: a short training that searches."""
FEWEST_SHORT = 3
"""Short trainings that are worth having: the fewest that can have a worse one on both sides of the best."""
ENOUGH = 6
"""Full trainings that find the best rate within a quarter of a decade from a start that is a decade away."""


class WholeRuns:
    """Finds the trial to recommend among trainings that come in one piece.

    From a start, rates a decade apart are tried outward until the best has a worse one on either side; then the next
    is where a parabola through these three is lowest, on a grid of quarter decades, or half way into the wider gap.

    Args:
        lab: Trains and counts.
        low: The smallest learning rate allowed.
        high: The largest.
        guess: Where to begin.
    """

    is_unused = False
    cliff = math.inf  # the bowl of whole trainings knows it

    def __init__(self, lab: Laboratory, low: float, high: float, guess: float = 1e-3) -> None:
        self.lab = lab
        self.low = math.log10(low)
        self.high = math.log10(high)
        self._start = min(max(math.log10(guess), self.low), self.high)
        self._trials: dict[tuple[int, float], Trial] = {}
        short = min(max(lab.steps(SHORT), getattr(lab.problem, "telling_epochs", 1)), lab.total_steps)
        spare = (self._left(0.0) - lab.training_cost(0, lab.total_steps)) / lab.training_cost(0, short)
        takes_epochs = bool(getattr(lab.problem, "takes_epochs", False))
        self._short = short if takes_epochs and spare >= FEWEST_SHORT else lab.total_steps

    def applies(self) -> bool:
        """Return whether trainings come in one piece; the first is begun, where that is not known."""
        problem, study = self.lab.problem, self.lab.study
        comes_whole = getattr(problem, "comes_whole", None)
        if comes_whole is None:
            return False
        learning_rate, steps, total = 10**self._start, self._short, self.lab.total_steps
        segment = self.lab.segment_of(learning_rate, steps, _stage(steps, total), whole=True)
        if study is not None and study.recall(segment.key) is not None:
            return True
        if getattr(problem, "whole", None) is None:
            self.lab.announce_plan(budget_plan(self.lab))
            self.lab.timing.leave_out(segment.trial)
        whole = bool(comes_whole(learning_rate, steps, self.lab.seed))
        if not whole and steps < total:  # what was begun is no beginning of a full training
            release = getattr(problem, "let_go", None)
            if release is not None:
                release(learning_rate)
            self.lab.spent += self.lab.training_cost(0, int(getattr(problem, "epochs_to_tell", 0)))
        return whole

    def answer(self, settings: dict[str, Any], started: float) -> Recommendation:
        """Train until the budget is spent, and say what the trials show."""
        winner = self._run()
        bracketed = winner is not None and self._warned_if_open(winner)
        answer = conclude(self.lab, cast("Race", self), winner, settings, time.perf_counter() - started)
        if winner is None or answer.learning_rate is None:
            return answer
        bowl = self._bowl(winner)
        low, high = bowl.good()
        costs = [cost_of(bowl, winner.learning_rate * part, self.lab, winner) for part in (1 / 3, 1 / 10)]
        known = math.log10(winner.learning_rate) - DECADE >= bowl.x[0] - 1e-9
        verdict = self._open_side(winner) if not bracketed and answer.verdict is Verdict.FOUND else answer.verdict
        return msgspec.structs.replace(
            answer,
            interval=(float(10**low), float(10**high)) if self._is_close(bowl, winner) else None,
            largest_stable_learning_rate=None if math.isinf(bowl.cliff) else float(10**bowl.cliff),
            slower_costs=costs if known else [],
            response=self._drawn(bowl),
            verdict=verdict,
        )

    def _run(self) -> Trial | None:
        total, start = self.lab.total_steps, self._start
        self.lab.announce_plan(whole_plan(self.lab, self._short))
        if self._short < total:
            self.lab.announce("searching by short trainings, each begun anew")
            self._search(self._short, start, DECADE, self.lab.training_cost(0, total))
            start = self._promising()
        self.lab.announce("training at full length")
        if not self._losses(total) and not self._affordable(total, 0.0):
            self._train(start, self._affordable_length())
        self._search(total, start, HALF if self._short < total else DECADE, 0.0)
        return self._best(total) or self._best(self._short) or self._best(None)

    def _search(self, steps: int, start: float, spacing: float, reserve: float) -> None:
        """Train for so many steps at one rate after another, as long as more than the reserve is left."""
        place: float | None = (
            start if not any(steps == made for made, _ in self._trials) else self._next(steps, spacing)
        )
        if place is not None and (steps, start) not in self._trials and spacing < DECADE:
            place = start  # what the short trainings promise comes before what full ones elsewhere say
        while place is not None and self._affordable(steps, reserve):
            self._train(place, steps)
            place = self._next(steps, spacing)

    def _next(self, steps: int, spacing: float) -> float | None:
        """Return where to train next: outward until the best has a worse one on either side, then inward."""
        losses = self._losses(steps)
        best = min(losses, key=lambda x: (losses[x], x))
        lower = max((x for x in losses if x < best), default=None)
        upper = min((x for x in losses if x > best), default=None)
        if upper is None and math.isfinite(losses[best]) and self._inside(best + QUARTER):
            return min(best + spacing, self.high)
        if lower is None and self._inside(best - QUARTER):
            return max(best - spacing, self.low)
        gaps = [other for other in (lower, upper) if other is not None and abs(other - best) > QUARTER + 1e-9]
        if not gaps:
            return None
        vertex = self._on_grid(_vertex(losses, lower, best, upper))
        if vertex not in losses and (lower is None or vertex > lower) and (upper is None or vertex < upper):
            return vertex
        widest = max(gaps, key=lambda other: abs(other - best))
        middle = self._on_grid((widest + best) / 2)
        return None if middle in losses else middle

    def _promising(self) -> float:
        """Where a full training is best, by the short ones: the best rate falls as the horizon to a power."""
        losses = self._losses(self._short)
        best = min(losses, key=lambda x: (losses[x], x))
        lower = max((x for x in losses if x < best), default=None)
        upper = min((x for x in losses if x > best), default=None)
        return self._on_grid(_vertex(losses, lower, best, upper) - self._drift(self._short))

    def _drift(self, steps: int) -> float:
        return DRIFT * math.log10(self.lab.total_steps / steps)

    def _train(self, x: float, steps: int) -> None:
        stage = _stage(steps, self.lab.total_steps)
        self._trials[steps, x] = self.lab.start(10**x, steps, stage=stage, whole=True)

    def _left(self, reserve: float) -> float:
        """What may be spent beside the reserve; as for all trainings, half an epoch more than the budget."""
        budget = math.inf if self.lab.budget is None else self.lab.budget
        return budget + 0.5 / self.lab.epochs - self.lab.spent - reserve

    def _affordable(self, steps: int, reserve: float) -> bool:
        return self.lab.training_cost(0, steps) <= self._left(reserve)

    def _affordable_length(self) -> int:
        """The longest training that is left for, where it can be had for fewer epochs."""
        total = self.lab.total_steps
        most = math.floor(self._left(0.0) / self.lab.training_cost(0, total) * total)
        return min(max(most, 1), total) if getattr(self.lab.problem, "takes_epochs", False) else total

    def _losses(self, steps: int) -> dict[float, float]:
        return {x: self._loss(trial) for (made, x), trial in self._trials.items() if made == steps}

    def _loss(self, trial: Trial) -> float:
        if trial.state is not TrialState.COMPLETE or trial.value is None:
            return math.inf
        return trial.value if self.lab.mode == "min" else -trial.value

    def _best(self, steps: int | None) -> Trial | None:
        known = [trial for (made, _), trial in self._trials.items() if steps in (None, made)]
        best = min(known, key=lambda trial: (self._loss(trial), trial.learning_rate), default=None)
        return None if best is None or math.isinf(self._loss(best)) else best

    def _points(self, winner: Trial) -> list[tuple[float, float]]:
        """The losses to expect at full length: short trainings are as much worse as they were than their own best."""
        length = self.lab.steps_of(winner)
        points = list(self._losses(length).items())
        if self._short != length and (short := self._losses(self._short)):
            best, x = self._loss(winner), math.log10(winner.learning_rate)
            drift = self._drift(self._short)
            moved = [(place - drift, best + loss - min(short.values())) for place, loss in short.items()]
            points += [(place, loss) for place, loss in moved if abs(place - x) > QUARTER]
        return points

    def _bowl(self, winner: Trial) -> Bowl:
        x = math.log10(winner.learning_rate)
        points = self._points(winner)
        broken = [place for place, loss in points if place > x and math.isinf(loss)]
        # the way that training makes, not how large a loss may get where it breaks
        slowest = max(loss for place, loss in points if place <= x and math.isfinite(loss))
        return fit_bowl(points, bottom=x, untrained=slowest, cliff=min(broken, default=math.inf))

    def _is_close(self, bowl: Bowl, winner: Trial) -> bool:
        """Return whether the best has neighbours near enough on both sides to tell what is within 1 % of it."""
        x = math.log10(winner.learning_rate)
        near = {round(float(place) - x, 6) for place in [*bowl.x, bowl.cliff] if 0 < abs(place - x) <= HALF + 1e-6}
        return min(near, default=0.0) < 0 < max(near, default=0.0)

    def _open_side(self, winner: Trial) -> Verdict:
        places = [place for place, _ in self._points(winner)]
        at_bottom = math.log10(winner.learning_rate) <= min(places) + 1e-9
        return Verdict.TOO_NARROW_LEFT if at_bottom else Verdict.TOO_NARROW_RIGHT

    def _warned_if_open(self, winner: Trial) -> bool:
        """Return whether worse rates were seen on both sides of the winner; warn if not."""
        places = [place for place, _ in self._points(winner)]
        x = math.log10(winner.learning_rate)
        tried = sorted({trial.learning_rate for trial in self._trials.values()})
        if min(places) < x - 1e-9 and max(places) > x + 1e-9:
            if not self._is_close(self._bowl(winner), winner):
                below, above = max(place for place in places if place < x), min(place for place in places if place > x)
                self.lab.warnings.append(
                    f"the best learning rate lies anywhere between {rate(10**below)} and {rate(10**above)}: "
                    f"raise the budget to try more of them"
                )
            return True
        each = (
            "it can be asked for fewer epochs"
            if self._short < self.lab.total_steps
            else f"each training costs a full run, and about {ENOUGH} are enough"
        )
        self.lab.warnings.append(
            f"only {', '.join(rate(one) for one in tried)} {'was' if len(tried) == 1 else 'were'} tried, too few to "
            f"have a worse learning rate on both sides of the best ({each}): raise the budget to be sure"
        )
        return False

    def _drawn(self, bowl: Bowl) -> Response:
        sign = 1 if self.lab.mode == "min" else -1
        x: Array = np.linspace(float(bowl.x[0]), float(bowl.x[-1]), 200)
        values: Array = sign * np.interp(x, bowl.x, bowl.loss)
        return Response(learning_rates=10**x, values=values, low=values, high=values)

    def _inside(self, x: float) -> bool:
        return self.low - 1e-9 <= x <= self.high + 1e-9

    def _on_grid(self, x: float) -> float:
        """Return the nearest rate, in quarter decades from the start, inside the range, or the range's nearest end."""
        return min(max(self._start + round((x - self._start) / QUARTER) * QUARTER, self.low), self.high)


def _stage(steps: int, total: int) -> str:
    return "full" if steps == total else "short"


def _vertex(losses: dict[float, float], lower: float | None, best: float, upper: float | None) -> float:
    """Return the bottom of the parabola through the best rate and its neighbours; the rate itself where there is none.

    Where training broke above, the bowl is taken to rise there twice as much as it does below.
    """
    if lower is None or upper is None or not math.isfinite(losses[lower]):
        return best
    a, b = best - lower, upper - best
    down = losses[lower] - losses[best]
    up = 2 * down * (b / a) if math.isinf(losses[upper]) else losses[upper] - losses[best]
    slope = b * b * down - a * a * up
    curvature = b * down + a * up
    return best if curvature <= 0 else best + slope / (2 * curvature)
