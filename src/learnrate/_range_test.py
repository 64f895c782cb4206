"""Raise the learning rate step by step until training breaks, and read the answer off the loss (Smith)."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from learnrate import _checks
from learnrate._numbers import counted
from learnrate._selection.climbs import Climb, most_steps
from learnrate._selection.seeds import SeveralClimbs, mean_of
from learnrate._trials.laboratory import Laboratory, open_study
from learnrate._trials.spending import SpendingPlan, steps_words
from learnrate._trials.stacked import Vectorized, checked_vectorized, seeds_together
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.results import RangeTest, Verdict
from learnrate.schedules import constant
from learnrate.suggestions import analyse
from learnrate.training import Event, Trainable, require_trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from learnrate.curves import Array, Mode

Spacing = Literal["adaptive", "exponential", "linear"]


def range_test(
    problem: Trainable,
    *,
    min_learning_rate: float = 1e-7,
    max_learning_rate: float = 10.0,
    num_steps: int = 100,
    spacing: Spacing = "adaptive",
    metric: str = "loss",
    mode: Mode | None = None,
    seed: int = 0,
    num_seeds: int = 1,
    study: str | Path | None = None,
    vectorized: Vectorized = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> RangeTest:
    """Raise the learning rate step by step until training breaks, and suggest one from what the loss did.

    With "adaptive" spacing there are two climbs, both from the weights as they are. A quick one of 3.6 steps a decade
    over the whole range finds the cliff, where training breaks; a slow one of 21.5 steps a decade goes over the three
    decades below it. The result shows the quick climb up to there, then the slow one. "exponential" and "linear" make
    one climb of `num_steps`, from end to end.

    Our suggestion is the rate at which the smoothed loss has made 97 % of its fall, lowered somewhat because a climb
    trains little at each rate, and kept between a 200th and a 20th of the cliff: see `learnrate.suggestions.analyse`.
    The problem is left as it was found.

    Args:
        problem: What to train, a `Trainable`.
        min_learning_rate: The first rate; low enough that training hardly moves.
        max_learning_rate: The last; the climb ends earlier where training breaks.
        num_steps: The most steps to make. Adaptive spacing needs no more than 100 for eight decades and makes no
            more, so that its answer does not depend on a larger number.
        spacing: "adaptive", "exponential" or "linear".
        metric: What to watch: the training loss, which is free, or a validation metric, which is evaluated after each
            step.
        mode: "min" where a smaller metric is better, "max" where a larger one is; None goes by the metric's name.
        seed: Decides the order of the batches and all other randomness.
        num_seeds: How many climbs to make, with `seed`, `seed + 1`, …, all from the same weights over the same rates;
            the mean of their losses at each step is read, up to the lowest rate at which any of them broke. The noise
            of the loss falls as 1/√N while the cost rises as N, so 1 unless a first test says that it saw little.
        study: A folder that remembers a finished climb; the same call continues it.
        vectorized: Whether to make the climbs of several seeds in one program: "auto" where a fixed rule says that it
            pays and the problem can, True wherever it can, False never; `result.vectorized` tells. The losses agree
            to rounding. See `learnrate.sweep` and `learnrate.TorchTrainable.stack_seeds`.
        on_event: Called with every `Event` as it happens.

    Returns:
        A `RangeTest`; its cost is in epochs, since a range test knows of no longer training.

    Raises:
        InvalidArgumentError: If an argument cannot be used.
        UnsupportedProblemError: If the problem cannot be trained, or only at a constant learning rate, or several
            seeds not in one program with `vectorized=True`.
        UnknownMetricError: If the training reports no such metric.

    Source: Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> result = learnrate.range_test(QuadraticTrainable(noise=0.01))
        >>> result.verdict.value, 0.01 < result.learning_rate < result.cliff
        ('found', True)
    """
    problem = require_trainable(problem)
    if getattr(problem, "constant_rate_only", False):
        msg = (
            "this problem trains at a constant learning rate only, so there is nothing to raise step by step: "
            "use learnrate.select or learnrate.sweep, which train once at each of several rates"
        )
        raise UnsupportedProblemError(msg)
    low, high = _checks.learning_rate_range(min_learning_rate, max_learning_rate)
    seeds = _checks.consecutive_seeds(seed, num_seeds)
    settings: dict[str, Any] = {
        "min_learning_rate": low,
        "max_learning_rate": high,
        "num_steps": _checks.positive_integer("num_steps", num_steps),
        "spacing": _checked_spacing(spacing),
        "metric": _checks.metric_name(metric),
        "mode": (mode := _checks.mode_for(metric, mode)),
        "seed": seeds[0],
    }
    if len(seeds) > 1:
        settings["num_seeds"] = len(seeds)
    vectorized = checked_vectorized(vectorized)
    started = time.perf_counter()
    with (
        open_study(study, verb="range_test", settings=settings, problem=problem) as record,
        Laboratory(
            problem,
            epochs=1,
            schedule=constant,
            metric=metric,
            mode=mode,
            seed=seed,
            study=record if metric == "loss" else None,  # a study keeps the loss of a climb, and no other metric
            on_event=on_event,
        ) as lab,
    ):
        known = None if record is None else record.result()
        if known is not None:
            return RangeTest.from_json(known)
        lab.seeds_together = seeds_together(lab, vectorized, seeds)
        most = most_steps(low, high, num_steps) if spacing == "adaptive" else num_steps
        lab.announce_plan(_plan(lab, len(seeds), most))
        climbs = (SeveralClimbs if lab.metric == "loss" else _WatchedClimbs)(lab, seeds)
        if spacing != "adaptive" or climbs.twice(low, high, num_steps) is None:
            climbs.once((np.linspace if spacing == "linear" else np.geomspace)(low, high, num_steps))
        result = _result(lab, climbs.each, settings, time.perf_counter() - started)
        if record is not None:
            record.set_result(result.to_json())
    return result


def _plan(lab: Laboratory, num_seeds: int, num_steps: int) -> SpendingPlan:
    """Say what is trained at most: less where training breaks. A metric that no step reports is evaluated after it."""
    total = num_seeds * num_steps
    num_evaluations = total if lab.metric in lab.untrained else 0
    evaluations = counted(num_evaluations, "evaluation") if num_evaluations else "no evaluation"
    cost = lab.cost(total, num_evaluations)
    return SpendingPlan(f"at most {steps_words(num_seeds, num_steps)}, {evaluations}", cost)


class _WatchedClimbs(SeveralClimbs):
    """Climbs that watch a metric beside the training loss."""

    def __init__(self, lab: Laboratory, seeds: Sequence[int]) -> None:
        super().__init__(lab, seeds)
        self._watched = _Watched(lab.problem, lab.metric, lab.mode)
        lab.problem = cast("Trainable", self._watched)  # the members that it lacks are the problem's own

    def of_every_seed(self, learning_rates: Array) -> list[Climb]:
        return [self._watch(learning_rates, seed) for seed in self.seeds]

    def _watch(self, learning_rates: Array, seed: int) -> Climb:
        self._watched.values = []
        losses = self.lab.ramps(learning_rates, [seed])[0]
        if self.lab.metric in self.lab.untrained:
            self.lab.spent += self.lab.cost(0, len(losses))
        return Climb(learning_rates[: len(losses)], losses, np.array(self._watched.values))


def _result(lab: Laboratory, climbs: list[Climb], settings: dict[str, Any], seconds: float) -> RangeTest:
    test = mean_of(climbs)
    analysis = analyse(
        test.learning_rates,
        test.losses,
        training_losses=test.training_losses,
        cliff=test.cliff,
    )
    sign = -1.0 if lab.metric != "loss" and lab.mode == "max" else 1.0
    blame = _data_to_blame(lab, climbs, analysis.verdict)
    verdict = Verdict.ALL_DIVERGED if blame else analysis.verdict
    return RangeTest(
        learning_rates=test.learning_rates,
        losses=sign * test.losses,
        smoothed=sign * analysis.smoothed,
        loss_changes=sign * analysis.loss_changes,
        metric=lab.metric,
        suggestions=dict.fromkeys(analysis.suggestions) if blame else analysis.suggestions,
        learning_rate=analysis.suggestions["learnrate"] if verdict is Verdict.FOUND else None,
        verdict=verdict,
        cliff=None if blame else analysis.cliff,
        seed=lab.seed,
        cost=lab.spent,
        seconds=seconds,
        warnings=[*lab.warnings, *(blame or analysis.warnings), *_alike(climbs)],
        settings=settings,
        vectorized=None if lab.seeds_together is None else lab.seeds_together.why,
        seed_losses=[sign * climb.losses for climb in climbs] if len(climbs) > 1 else [],
    )


def _data_to_blame(lab: Laboratory, climbs: list[Climb], verdict: Verdict) -> list[str]:
    """Return which sample made a loss that is no number, where the climb saw nothing else."""
    broke = any(len(climb.training_losses) and not np.isfinite(climb.training_losses[-1]) for climb in climbs)
    return lab.data_check.reasons_for(Verdict.ALL_DIVERGED) if broke and verdict is not Verdict.FOUND else []


def _alike(climbs: list[Climb]) -> list[str]:
    first, *others = climbs
    if others and all(np.array_equal(first.losses, other.losses, equal_nan=True) for other in others):
        return ["every seed gave the same losses, since this training draws nothing at random: one seed says as much"]
    return []


class _Watched:
    """A problem trained step by step, whose metric is kept after each: evaluated unless the step reports it."""

    def __init__(self, problem: Trainable, metric: str, mode: Mode) -> None:
        self.values: list[float] = []
        self._problem = problem
        self._metric = metric
        self._sign = 1.0 if mode == "min" else -1.0

    def __getattr__(self, name: str) -> Any:
        """Return the problem's own member."""
        return getattr(self._problem, name)

    def train(self, learning_rates: Array) -> dict[str, Array]:
        """Train a step at a time; return the training losses."""
        return {"loss": np.array([self._step(learning_rates[i : i + 1]) for i in range(len(learning_rates))])}

    def _step(self, learning_rate: Array) -> float:
        report = self._problem.train(learning_rate)
        loss = float(report["loss"][0])
        value = math.nan
        if math.isfinite(loss):
            value = report[self._metric][0] if self._metric in report else self._problem.evaluate()[self._metric]
        self.values.append(self._sign * float(value))
        return loss


def _checked_spacing(value: Any) -> Spacing:
    if value not in get_args(Spacing):
        msg = f'spacing is {value!r}: pass "adaptive", "exponential" or "linear"'
        raise InvalidArgumentError(msg)
    return value
