"""Which learning rates `select` trains, for how long, and in which order: bracket, screen, refine, confirm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

from learnrate.results import TrialState

if TYPE_CHECKING:
    from learnrate.curves import Mode
    from learnrate.results import RangeTest, Trial

SCREEN_LENGTH = 1 / 16
REFINE_LENGTH = 1 / 8
HALF_DECADE = 0.5
QUARTER_DECADE = 0.25
WORSE_IN_A_ROW = 2


class Lab(Protocol):
    """What the policy needs of a laboratory; `benchmarks/regret` has one that replays recorded trainings."""

    total_steps: int
    spent: float
    budget: float | None
    mode: Mode
    trials: list[Trial]

    @property
    def untrained_value(self) -> float | None: ...
    def announce(self, stage: str) -> None: ...
    def steps(self, fraction: float) -> int: ...
    def training_cost(self, steps: int) -> float: ...
    def train(self, learning_rate: float, steps: int, *, stage: str, keep_best: bool = False) -> Trial: ...


class Probe(NamedTuple):
    """A trained learning rate on the log scale; `loss` is smaller when better and infinite where training broke."""

    x: float
    loss: float
    trial: Trial


class Policy:
    """Bracket, screen, refine, confirm.

    Args:
        lab: Trains and counts.
        low: The smallest learning rate allowed.
        high: The largest.
        start: Where to look first: the largest rate that a range test did not break, or the user's own.
    """

    def __init__(self, lab: Lab, low: float, high: float, start: float) -> None:
        self.lab = lab
        self.low = math.log10(low)
        self.high = math.log10(high)
        self.range_test: RangeTest | None = None
        self.start = min(max(math.log10(start), self.low), self.high)

    def run(self) -> Trial | None:
        """Train until the budget is spent; return the trial of full length whose rate to recommend."""
        screened = self._screen()
        usable = [probe for probe in screened if math.isfinite(probe.loss)]
        if not usable:
            return None
        refined = self._refine(min(usable, key=lambda probe: probe.loss).x)
        pick = pick_rate([probe for probe in refined if math.isfinite(probe.loss)] or usable)
        return self._confirm(pick)

    def _probe(self, x: float, fraction: float, stage: str) -> Probe:
        trial = self.lab.train(10**x, self.lab.steps(fraction), stage=stage)
        return Probe(x, loss_of(trial, self.lab.mode), trial)

    def _screen(self) -> list[Probe]:
        """Short trainings half a decade apart, from the start down and up until worse on both sides."""
        self.lab.announce("screening learning rates half a decade apart")
        probes = [self._probe(self.start, SCREEN_LENGTH, "screen")]
        for direction in (-1, 1):
            worse = 0
            x = self.start
            while worse < WORSE_IN_A_ROW:
                x += direction * HALF_DECADE
                if not self.low - 1e-9 <= x <= self.high + 1e-9 or not self._affordable(SCREEN_LENGTH):
                    break
                best = min(probe.loss for probe in probes)
                probe = self._probe(x, SCREEN_LENGTH, "screen")
                probes.append(probe)
                if direction == 1 and math.isinf(probe.loss):
                    break
                worse = worse + 1 if math.isfinite(best) and probe.loss >= best else 0
        return probes

    def _refine(self, center: float) -> list[Probe]:
        """Longer trainings a quarter of a decade apart, around the best."""
        self.lab.announce("refining around the best")
        probes: list[Probe] = []
        ahead = [center, center + QUARTER_DECADE, center - QUARTER_DECADE]
        while ahead:
            x = ahead.pop(0)
            known = any(abs(probe.x - x) < 1e-9 for probe in probes)
            if known or not self.low - 1e-9 <= x <= self.high + 1e-9 or not self._affordable(REFINE_LENGTH):
                continue
            probes.append(self._probe(x, REFINE_LENGTH, "refine"))
            if not ahead:
                best = min(probes, key=lambda probe: probe.loss)
                ahead = [
                    best.x + side * QUARTER_DECADE
                    for side in (1, -1)
                    if all(abs(probe.x - best.x - side * QUARTER_DECADE) > 1e-9 for probe in probes)
                    and self.low - 1e-9 <= best.x + side * QUARTER_DECADE <= self.high + 1e-9
                ]
                ahead = ahead if self._affordable(REFINE_LENGTH) else []
        return probes

    def _confirm(self, x: float) -> Trial | None:
        """Train at full length; where that breaks, again at a smaller rate as long as the budget lasts."""
        while x >= self.low:
            self.lab.announce("confirming at full length")
            trial = self.lab.train(10**x, self.lab.total_steps, stage="confirm", keep_best=True)
            if trial.state is TrialState.COMPLETE:
                return trial
            x -= HALF_DECADE
            if not self._affordable(0.0):
                return None
        return None

    def _affordable(self, fraction: float) -> bool:
        """Whether a training of this length leaves enough for the winner's full one."""
        reserve = self.lab.training_cost(self.lab.total_steps)
        extra = self.lab.training_cost(self.lab.steps(fraction)) if fraction else 0.0
        return self.lab.budget is None or self.lab.spent + extra + reserve <= self.lab.budget + 1e-9


def pick_rate(probes: list[Probe]) -> float:
    """Return the log rate at the bottom of a parabola through the best probe and its neighbours, within a step of it."""
    ordered = sorted(probes, key=lambda probe: probe.x)
    best = min(range(len(ordered)), key=lambda i: ordered[i].loss)
    if not 0 < best < len(ordered) - 1:
        return ordered[best].x
    (x0, y0, _), (x1, y1, _), (x2, y2, _) = ordered[best - 1 : best + 2]
    left, right = (y0 - y1) / (x1 - x0), (y2 - y1) / (x2 - x1)
    if left + right <= 0:
        return x1
    vertex = (x0 + x1) / 2 + (x2 - x0) / 2 * left / (left + right)
    return min(max(vertex, (x0 + x1) / 2), (x1 + x2) / 2)


def loss_of(trial: Trial, mode: Mode) -> float:
    """Return the metric where the trial ended, smaller when better, infinite where training broke."""
    if trial.state is not TrialState.COMPLETE or trial.value is None:
        return math.inf
    return trial.value if mode == "min" else -trial.value
