"""The figures of a method over its cases, each with an interval by a bootstrap over families."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.regret.tasks import BY_NAME
from benchmarks.regret.truth import GOOD

from learnrate._selection.evidence import MOVED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.regret.answers import Answer, Measures
    from benchmarks.regret.grid import TaskGrid

DRAWS = 300
SURE = (5.0, 95.0)  # percentiles of the bootstrap


@dataclass(frozen=True)
class Case:
    """One answer, and what it is worth."""

    answer: Answer
    measures: Measures

    @cached_property
    def truth(self) -> Any:
        """What is true of its task."""
        return self.measures.truths[self.answer.task]

    @cached_property
    def regret(self) -> float:
        """Its regret."""
        return self.measures.regret(self.answer)

    @cached_property
    def over_constant(self) -> float:
        """Its regret against the best constant rate, whatever the task's own schedule; NaN where it has no metrics."""
        metrics = self.answer.details.get("metrics")
        true = self.measures.constant_truths[self.answer.task]
        return np.nan if metrics is None else true.regret_of(np.array(metrics))

    @cached_property
    def family(self) -> tuple[str, ...]:
        """The family of its task."""
        return BY_NAME[self.answer.task].family

    @cached_property
    def beyond_noise(self) -> float:
        """Its regret less two standard errors of the truth."""
        return self.measures.beyond_noise(self.answer)

    @cached_property
    def above_best(self) -> float:
        """Loss above the best one, as a share of the best one; NaN where that is not positive."""
        return (self.measures.metric(self.answer) / self.truth.best - 1) if self.truth.best > 0 else np.nan

    @cached_property
    def too_fast(self) -> float:
        """Decades that the answer lies above the best rate."""
        rate = self.answer.learning_rate
        return np.nan if rate is None else float(np.log10(rate / self.truth.best_rate))


def cases_of(rows: Sequence[Answer], measures: Measures) -> list[Case]:
    """Cases from a method's answers."""
    return [Case(row, measures) for row in rows]


# Figures of the learning rate


def _over(share: float) -> Callable[[Sequence[Case]], float]:
    return lambda cases: float(np.mean([it.regret > share for it in cases]))


def _regrets(cases: Sequence[Case]) -> list[float]:
    return [it.regret for it in cases]


REGRET: Mapping[str, Callable[[Sequence[Case]], float]] = {
    "median": lambda cases: float(np.median(_regrets(cases))),
    "mean": lambda cases: float(np.mean(_regrets(cases))),
    "over 2 %": _over(0.02),
    "over 5 %": _over(0.05),
    "worst": lambda cases: float(max(_regrets(cases))),
    "worst beyond noise": lambda cases: float(max(it.beyond_noise for it in cases)),
    "loss above the best, median": lambda cases: _nanmedian([it.above_best for it in cases]),
    "decades too fast, mean": lambda cases: _nanmean([it.too_fast for it in cases]),
    "cost, median": lambda cases: float(np.median([it.answer.total_cost for it in cases])),
    "cost, largest": lambda cases: float(max(it.answer.total_cost for it in cases)),
    "without an answer": lambda cases: float(np.mean([it.answer.learning_rate is None for it in cases])),
}


# Figures of what is said beside it


def interval_holds(case: Case) -> float:
    """Whether a rate that is the best, to a standard error, lies in the interval."""
    interval = case.answer.details.get("interval")
    if not interval:
        return 0.0
    low, high = case.truth.argmin
    return float(interval[0] <= high * 1.001 and low <= interval[1] * 1.001)


def interval_decades(case: Case) -> float:
    """How wide the interval is; NaN where there is none."""
    interval = case.answer.details.get("interval")
    return float(np.log10(interval[1] / interval[0])) if interval else np.nan


def breaks_true(case: Case) -> float:
    """Share of what was said to hold or to break for so long that did, for most of the recording's seeds."""
    said = case.answer.details["breaks"]
    if said is None:
        return np.nan
    grid, epochs = case.measures.grids[case.answer.task], BY_NAME[case.answer.task].epochs
    right = [_breaks(grid, said["broke"], said["broke_epochs"] / epochs)]
    if said["held"] is not None:
        right.append(not _breaks(grid, said["held"], said["held_epochs"] / epochs))
    return float(np.mean(right))


def _breaks(grid: TaskGrid, rate: float, share: float) -> bool:
    """Whether most recorded seeds break at the nearest recorded rate by the mark nearest to a share of the horizon.

    That is a loss that is not finite, or a training loss above where the slowest rate's began while validation is no
    better than before training: a mean since the mark before holds what was overcome since then.
    """
    known = np.flatnonzero(grid.own.recorded.any(1))
    place = known[np.abs(np.log10(grid.learning_rates[known] / rate)).argmin()]
    seeds = np.flatnonzero(grid.own.recorded[place])
    mark = int(np.abs(grid.steps - round(share * grid.steps[-1])).argmin())
    began = grid.own.train_loss[known[0], 0, 0]
    ended = grid.own.train_loss[place, seeds, mark]
    diverged = grid.own.diverged_at[place, seeds]
    lost = ~(ended <= began + MOVED * abs(began)) & ~(grid.own.val_loss[place, seeds, mark] < grid.untrained[seeds])
    broke = ((diverged >= 0) & (diverged < grid.steps[mark])) | lost
    return bool(broke.mean() > 0.5)


def bands_hold(case: Case) -> float:
    """Share of the bands for other rates that hold, to a standard error of the truth; what was measured is none."""
    right = [
        low - case.truth.standard_error
        <= case.truth.regret_near(rate) - case.regret
        <= high + case.truth.standard_error
        for rate, low, high in case.answer.details["bands"]
    ]
    return float(np.mean(right)) if right else np.nan


def too_sure(case: Case) -> float:
    """The chance that was said for no rate to be more than 1 % better, less 1 where that is so."""
    said = case.answer.details["confidence"]
    return np.nan if said is None else said - (case.regret <= GOOD)


def pairs_within_two(cases: Sequence[Case]) -> float:
    """Share of the pairs of seeds whose answers lie within a factor 2."""
    rates: dict[str, list[float]] = {}
    for it in cases:
        if it.answer.learning_rate is not None:
            rates.setdefault(it.answer.task, []).append(float(np.log10(it.answer.learning_rate)))
    apart = [abs(a - b) for found in rates.values() for a, b in combinations(found, 2)]
    return float(np.mean(np.array(apart) <= np.log10(2))) if apart else np.nan


SELECT: Mapping[str, Callable[[Sequence[Case]], float]] = {
    "interval holds the best rate": lambda cases: _nanmean([interval_holds(it) for it in cases]),
    "interval in decades, median": lambda cases: _nanmedian([interval_decades(it) for it in cases]),
    "bands hold": lambda cases: _nanmean([bands_hold(it) for it in cases]),
    "confidence, mean": lambda cases: _nanmean([it.answer.details["confidence"] for it in cases]),
    "confidence less truth": lambda cases: _nanmean([too_sure(it) for it in cases]),
    "breaks as said": lambda cases: _nanmean([breaks_true(it) for it in cases]),
    "pairs of seeds within a factor 2": pairs_within_two,
}


SCHEDULE_TOO: Mapping[str, Callable[[Sequence[Case]], float]] = {
    "against the best constant rate, median": lambda cases: _nanmedian([it.over_constant for it in cases]),
    "against the best constant rate, mean": lambda cases: _nanmean([it.over_constant for it in cases]),
    "better than the best constant rate": lambda cases: float(np.mean([it.over_constant < 0 for it in cases])),
    "falls to zero": lambda cases: float(
        np.mean([bool((it.answer.details.get("decay") or {}).get("is_better")) for it in cases])
    ),
}


def _warned(bad: bool) -> Callable[[Sequence[Case]], float]:
    def share(cases: Sequence[Case]) -> float:
        chosen = [it.answer.details["warned"] for it in cases if (it.regret > 0.05) == bad]
        return float(np.mean(chosen)) if chosen else np.nan

    return share


RANGE_TEST: Mapping[str, Callable[[Sequence[Case]], float]] = {
    "warned of the cases over 5 %": _warned(bad=True),
    "warned of the others": _warned(bad=False),
}


def figures_of(method: str) -> dict[str, Callable[[Sequence[Case]], float]]:
    """All figures that a method has."""
    beside = SELECT if method.startswith(("select", "function")) else {}
    too = SCHEDULE_TOO if method.startswith("schedule_too") else {}
    return {**REGRET, **beside, **too, **(RANGE_TEST if method == "range_test" else {})}


def aggregate(method: str, cases: Sequence[Case]) -> dict[str, tuple[float, float, float]]:
    """Each figure over all cases, and the 5th and 95th percentile of it over families drawn with replacement."""
    families: dict[Any, list[Case]] = {}
    for it in cases:
        families.setdefault(it.family, []).append(it)
    groups = list(families.values())
    rng = np.random.default_rng(0)
    draws = [[it for at in rng.integers(len(groups), size=len(groups)) for it in groups[at]] for _ in range(DRAWS)]
    found = {}
    for name, figure in figures_of(method).items():
        spread = np.array([figure(draw) for draw in draws])
        spread = spread[np.isfinite(spread)]
        low, high = np.percentile(spread, SURE).tolist() if len(spread) else (np.nan, np.nan)
        found[name] = (figure(cases), low, high)
    return found


def text(method: str, found: Mapping[str, Sequence[float | None]]) -> str:
    """The figures as lines of text."""
    lines = [f"{method}"]
    for name, values in found.items():
        value, low, high = (np.nan if it is None else it for it in values)
        lines.append(f"  {name:36} {shown(name, value):>9}   ({shown(name, low)} to {shown(name, high)})")
    return "\n".join(lines)


def shown(name: str, value: float) -> str:
    """A figure as a person writes it: shares in percent, costs and decades as they are."""
    if not np.isfinite(value):
        return "none"
    if "cost, " in name or "decades" in name:
        return f"{value:.2f}"
    return f"{value:.2%}" if abs(value) < 0.01 else f"{value:.1%}"


def _nanmean(values: Sequence[float | None]) -> float:
    known = [it for it in values if it is not None and np.isfinite(it)]
    return float(np.mean(known)) if known else np.nan


def _nanmedian(values: Sequence[float]) -> float:
    known = [it for it in values if np.isfinite(it)]
    return float(np.median(known)) if known else np.nan
