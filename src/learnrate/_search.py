"""Search over any hyperparameters: the verb."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from learnrate import _checks
from learnrate._searching.build import Builder, Candidate
from learnrate._searching.course import Course
from learnrate._searching.folds import folds_of
from learnrate._searching.halving import Halving, affordable, brackets_of, halving_of
from learnrate._searching.importance import importance
from learnrate._searching.own_rates import COST, Selects
from learnrate._searching.rounds import BUDGET, halving_in_rounds, next_round
from learnrate._searching.samplers import Point, Sampler, SamplerName, Told, check_sampler
from learnrate._searching.space import LEARNING_RATE, Space
from learnrate._searching.stages import Stage, stages_of
from learnrate._trials.candidates import Candidates
from learnrate.errors import InvalidArgumentError, TrialFailedError
from learnrate.results import Search, Trial, TrialState, Verdict
from learnrate.schedules import ScheduleMaker, constant, describe
from learnrate.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from learnrate._searching.folds import Scorer
    from learnrate.curves import Mode
    from learnrate.training import Engine, Event

NUM_TRIALS = 20
"""Trials where neither their number nor a budget is given: enough for a few hyperparameters."""

MOST_FAILURES = 5
"""Trials that fail one after another until the search gives up: the next would hardly fare better."""


def search(
    build: Callable[..., Any],
    space: Mapping[str, Any],
    *,
    epochs: int,
    sampler: SamplerName | None = None,
    num_trials: int | None = None,
    budget: float | None = None,
    halving: str | Halving | None = None,
    data: tuple[Any, Any] | None = None,
    cv: Any = None,
    scoring: str | None = None,
    stages: str | Iterable[Iterable[str]] | None = None,
    learning_rate: float | str | None = None,
    schedule: ScheduleMaker = constant,
    metric: str = "val_loss",
    mode: Mode = "min",
    seed: int = 0,
    study: str | Path | None = None,
    engine: Engine | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Search:
    """Search for the best hyperparameters of any kind, the learning rate among them.

    Each trial is one point of the space: `build(**point)` makes its problem, which is trained in the same loop as
    everything else, and told to the sampler. No point is tried twice. `learning_rate`, where the space has it, is the
    peak of the schedule and is passed to `build` only if it has a parameter of that name; `epochs` and `seed`
    likewise. Each trial has its own seed, from the search's and the trial's number. A trial that diverges or fails
    counts as one; where `MOST_FAILURES` fail in a row, the search ends.

    Args:
        build: Returns a new Trainable for its hyperparameters; or it trains by itself, and yields its metrics each
            epoch or returns them. What it draws at random it seeds by its parameter `seed`.
        space: Names and their values: `learnrate.log_uniform`, `uniform`, `integers`, `choice`, a list, or a frozen
            distribution of scipy.stats.
        epochs: Epochs of a full training.
        sampler: None searches in rounds of halving, first over all of the space and then around the best so far, where
            no `num_trials`, halving or stages are asked for, and is "tpe" where they are; a space of so few points that
            the budget covers them all is a "grid". "tpe" (tree-structured Parzen
            estimators), "gp" (Gaussian processes; needs PyTorch), "around" (around the best so far), "random", "qmc"
            (even coverage) or "grid".
        num_trials: How many points to try; all of a grid, else 20, where there is no budget either.
        budget: What may be spent, in full trainings; each fold's is one. Rounds spend 8, or 8 a fold, where it is not
            given. No trial begins that it does not cover, and with halving so many begin that it covers those that go
            on.
        halving: "successive", "hyperband" or a `learnrate.Halving`: all begin, the promising ones go on. None trains
            all to their end.
        data: `(x, y)`, the samples to split; `build` is then called with `train=(x, y)` and `validation=(x, y)` too.
        cv: With data: how many folds, the fraction to hold out, a splitter of scikit-learn, or pairs of places. Both
            numbers are stratified by class; floats are numbers to predict, not classes, unless all are 0 or 1.
        scoring: With data: a scorer's name in scikit-learn, such as "average_precision", which decides then.
        stages: "auto" tunes in the usual order of importance: the learning rate; then momentum, units and batch size;
            then layers and decay; and looks at the learning rate once more. Lists of names are stages of your own.
        learning_rate: A rate for all trials; or "select", which gives each its own by a short `learnrate.select`.
        schedule: Makes the schedule from a peak and a number of steps.
        metric: The deciding metric. Where nothing is validated, "val_loss" gives way to the training loss, with a
            warning.
        mode: "min" where a smaller metric is better, "max" where a larger one is.
        seed: Decides all randomness.
        study: A folder that remembers every finished training; the same call continues it.
        engine: Where trials are trained: `learnrate.LocalEngine(num_workers=…)` or `learnrate.RayEngine` train several
            at a time. The answer is the same with "grid", "random" and "qmc"; the other samplers propose by what has
            ended by then, and "tpe" and "gp" are told which trials are still running. With `learning_rate="select"` it
            trains each trial's own trainings.
        on_event: Called with every `Event` as it happens.

    Returns:
        A `Search`.

    Raises:
        InvalidArgumentError: If an argument cannot be used: nothing has been trained then.
        TrialFailedError: If all trials failed, or `MOST_FAILURES` in a row before any ended well.
        UnknownMetricError: If the training reports no such metric.
        StudyMismatchError: If the study was begun with another space or other settings.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> def build(noise):
        ...     return QuadraticTrainable(noise=noise)
        >>> space = {"learning_rate": learnrate.log_uniform(1e-3, 1e2), "noise": [0.0, 0.1]}
        >>> result = learnrate.search(build, space, epochs=2, num_trials=12)
        >>> result.verdict.value, len(result.trials)
        ('found', 12)
    """
    if (cv is not None or scoring is not None) and data is None:
        raise InvalidArgumentError("cv and scoring need the samples: pass data=(x, y), and let build take train= and "
                                   "validation=")  # fmt: skip  # two lines are enough
    seed = _checks.seed_integer(seed)
    folds = [None] if data is None else folds_of(data, 0.2 if cv is None else cv, seed)
    plan = _planned(
        build,
        Space(space),
        num_folds=None if data is None else len(folds),
        epochs=_checks.positive_integer("epochs", epochs),
        sampler=sampler,
        num_trials=num_trials,
        budget=budget,
        halving=halving,
        stages=stages,
        learning_rate=learning_rate,
        metric=metric if scoring is None else f"val_{scoring}",
        mode=_checks.mode_name(mode) if scoring is None else "max",
        schedule=schedule,
        seed=seed,
    )
    if learning_rate == "select" and (halving is not None or len(folds) > 1 or stages is not None):
        raise InvalidArgumentError('learning_rate="select" trains each candidate in its own way: leave halving, folds '
                                   "and stages out")  # fmt: skip  # two lines are enough
    settings = plan.settings | {"cv": None if data is None else repr(cv), "scoring": scoring, "folds": len(folds)}
    started = time.perf_counter()
    with (
        _opened(study, settings, plan) as record,
        Candidates(
            plan.build,
            epochs=epochs,
            schedule=schedule,
            metric=plan.metric,
            mode=plan.mode,
            folds=folds,
            scorer=None if scoring is None else _scorer(scoring),
            learning_rate=None if learning_rate is None or isinstance(learning_rate, str) else float(learning_rate),
            study=record,
            engine=engine,
            budget=plan.cost_limit(len(folds)),
            on_event=on_event,
        ) as bench,
    ):
        result = _Run(plan, bench).result(settings, started)
        if record is not None:
            record.set_result(result.to_json())
    return result


class _Plan(NamedTuple):
    """What is asked, checked."""

    build: Builder
    space: Space
    epochs: int
    sampler: SamplerName
    num_trials: int
    budget: float | None
    halving: Halving | None
    stages: list[Stage]
    learning_rate: float | str | None
    metric: str
    mode: Mode
    seed: int
    settings: dict[str, Any]
    in_rounds: bool = False

    def cost_limit(self, folds: int) -> float | None:
        """Return what the search will spend at most, where that is known."""
        if self.in_rounds:
            return BUDGET * folds if self.budget is None else self.budget
        whole = float(self.num_trials * folds) if self.halving is None and self.learning_rate != "select" else None
        return whole if self.budget is None else self.budget if whole is None else min(self.budget, whole)


def _planned(build: Callable[..., Any], space: Space, *, num_folds: int | None, **asked: Any) -> _Plan:
    """Check everything that can be checked before any training."""
    epochs, sampler, budget, rate = asked["epochs"], asked["sampler"], asked["budget"], asked["learning_rate"]
    in_rounds = rate != "select" and all(asked[one] is None for one in ("sampler", "num_trials", "halving", "stages"))
    if in_rounds and space.size <= (BUDGET if budget is None else _checks.budget_number(budget) / (num_folds or 1)):
        in_rounds, sampler = False, "grid"
    sampler = ("around" if in_rounds else "tpe") if sampler is None else sampler
    check_sampler(sampler, space)
    _checks.metric_name(asked["metric"])
    if budget is not None:
        _checks.budget_number(budget)
    if rate is not None and rate != "select":
        _checks.positive_number("learning_rate", rate)
    if rate is not None and LEARNING_RATE in space:
        raise InvalidArgumentError(
            "the learning rate is in the space and given as learning_rate=: leave one of them out"
        )
    builder = Builder(build, space, folded=num_folds is not None)
    halving = halving_in_rounds(epochs) if in_rounds else halving_of(asked["halving"], epochs)
    count = asked["num_trials"]
    count = None if count is None else _checks.positive_integer("num_trials", count)
    if sampler == "grid":
        _require_whole_grid(space, count, budget, halving)
    if count is None:
        count = int(min(space.size, 10**6)) if sampler == "grid" or in_rounds or budget is not None else NUM_TRIALS
    stages = stages_of(asked["stages"], space, count, builder.defaults)
    settings: dict[str, Any] = {
        "space": space.describe(),
        "epochs": epochs,
        "sampler": sampler,
        "num_trials": count,
        "budget": budget,
        "halving": None if halving is None else {name: getattr(halving, name) for name in halving.__struct_fields__},
        "stages": [stage.names for stage in stages],
        "learning_rate": rate,
        "schedule": describe(asked["schedule"]),
        "metric": asked["metric"],
        "mode": asked["mode"],
        "seed": asked["seed"],
    } | ({"in_rounds": True} if in_rounds else {})
    own = {name: asked[name] for name in ("epochs", "budget", "learning_rate", "metric", "mode", "seed")}
    own |= {"sampler": sampler, "num_trials": count, "stages": stages, "in_rounds": in_rounds}
    return _Plan(build=builder, space=space, halving=halving, settings=settings, **own)


def _require_whole_grid(space: Space, count: int | None, budget: float | None, halving: Halving | None) -> None:
    allowed = [float(one) for one in (count, budget if halving is None else None) if one is not None]
    if allowed and space.size > min(allowed):
        sizes = " x ".join(f"{space[name].size:.0f}" for name in space)
        raise InvalidArgumentError(
            f"the grid has {space.size:,.0f} points ({sizes}), and {min(allowed):,.0f} may be trained: pass a larger "
            'num_trials or budget, fewer values, or sampler="tpe"'
        )


def _scorer(scoring: str) -> Scorer:
    from learnrate.adapters._sklearn_scoring import SklearnScorer

    return SklearnScorer(scoring)


def _opened(
    path: str | Path | None, settings: dict[str, Any], plan: _Plan
) -> contextlib.AbstractContextManager[Study | None]:
    if path is None:
        return contextlib.nullcontext()
    return Study.open(path, verb="search", settings=settings, identity={"build": plan.build.name})


COMES_WHOLE = "trains all its epochs at once"
"""What the error of a function says that cannot be left in its middle, and so cannot be halved."""


class _Ended(Exception):  # noqa: N818  # not an error
    """There is nothing more to spend, or too much has failed."""


class _Run:
    """One search at work."""

    def __init__(self, plan: _Plan, bench: Candidates) -> None:
        self._plan = plan
        self._bench = bench
        self._values: dict[int, Point] = {}
        self._failures = 0
        self._ends = False
        self._comes_whole = False
        self._selects = Selects(bench)

    def result(self, settings: dict[str, Any], started: float) -> Search:
        """Search, and say what was found."""
        bench, plan = self._bench, self._plan
        with contextlib.suppress(_Ended):
            for stage in plan.stages:
                self._stage(stage)
        if all(trial.state is TrialState.FAILED for trial in bench.trials.values()):
            error = next((trial.error for trial in bench.trials.values()), "nothing was tried")
            raise TrialFailedError(f"all {len(bench.trials)} trials failed; the first with\n{error}")
        best = bench.best
        candidate = None if best is None else self._candidate(best.number, self._values[best.number])
        trials = [bench.diagnosed(bench.trials[number]) for number in sorted(bench.trials)]
        at = None if best is None else best.curve.best(bench.deciding(best.curve.metrics), bench.mode)
        return Search(
            hyperparameters=None if candidate is None else dict(candidate.values),
            learning_rate=None if best is None or math.isnan(best.learning_rate) else best.learning_rate,
            value=None if best is None else best.value,
            standard_error=None if best is None else best.standard_error,
            epochs=None if at is None else at.epoch,
            horizon=plan.epochs,
            metric=bench.metric,
            mode=bench.mode,
            trials=trials,
            importance=importance(trials, plan.space, bench.mode),
            order=[stage.names for stage in plan.stages],
            verdict=Verdict.FOUND if best is not None else Verdict.ALL_DIVERGED,
            cost=bench.cost,
            budget=plan.budget,
            seed=plan.seed,
            seconds=time.perf_counter() - started,
            warnings=bench.warnings,
            settings=settings,
            best=None if candidate is None else bench.weights_of_best(candidate),
        )

    def _stage(self, stage: Stage) -> None:
        """Tune a part of the space, the rest as it is best so far."""
        plan, bench = self._plan, self._bench
        best = bench.best
        incumbent = stage.start if best is None else self._values[best.number]
        part = stage.space(plan.space, incumbent)
        fixed = {name: incumbent[name] for name in plan.space if name not in part}
        if len(plan.stages) > 1:
            bench.announce(f"tuning {', '.join(part)}")
        else:
            how = "in rounds, evenly and then around the best" if plan.in_rounds else f"by {plan.sampler}"
            bench.announce(f"searching {', '.join(part)} {how}")
        if plan.in_rounds:
            self._rounds(_Asked(Sampler(plan.sampler, part, seed=plan.seed, mode=plan.mode), fixed))
            return
        first = len(self._values)
        left = sum(one.trials for one in plan.stages[: stage.number + 1]) - first  # what earlier stages did not need
        if plan.halving is not None and plan.budget is not None:
            unspent = (plan.budget - bench.spent) / len(bench.folds)
            left = affordable(plan.halving, left, plan.epochs, unspent)
        factor = 1 if plan.halving is None else plan.halving.factor
        brackets = brackets_of(plan.halving, left, plan.epochs)
        asked = _Asked(Sampler(plan.sampler, part, seed=plan.seed + stage.number, mode=plan.mode), fixed)
        if best is not None:
            asked.take(best.number, self._told(best))
        self._tune([Course(bracket, factor, plan.mode, plan.epochs) for bracket in brackets], asked)
        if len(self._values) - first < left and len(plan.stages) == 1:
            bench.warnings.append(f"all {part.size:,.0f} points of the space have been tried")

    def _rounds(self, asked: _Asked) -> None:
        """Halve again and again, each time around the best so far, while the budget covers it."""
        plan, bench = self._plan, self._bench
        budget = plan.cost_limit(len(bench.folds)) or BUDGET
        most = min(plan.num_trials, round(budget * plan.epochs))  # each costs an epoch at least
        halving = plan.halving or halving_in_rounds(plan.epochs)
        while True:
            begun = len(self._values)
            unspent = (budget - bench.spent) / len(bench.folds)
            bracket = next_round(halving, plan.epochs, unspent, begun, most, replayed=plan.build.is_generator)
            if bracket is None:
                break
            try:
                self._tune([Course(bracket, halving.factor, plan.mode, plan.epochs)], asked)
            except _Ended:
                if not self._comes_whole or halving.min_epochs == plan.epochs:
                    raise
                self._ends, halving = False, Halving(min_epochs=plan.epochs)
                continue
            if len(self._values) - begun < bracket.candidates:
                break
        if len(self._values) >= plan.space.size:
            bench.warnings.append(f"all {plan.space.size:,.0f} points of the space have been tried")

    def _tune(self, courses: list[Course], asked: _Asked) -> None:
        """Begin candidates and let the promising ones go on, as many at a time as there is room for."""
        bench = self._bench
        while True:
            while not self._failed_too_often and bench.has_room and self._begin_one(courses, asked):
                pass
            trial = bench.next()
            if trial is None:
                break
            self._take_note(trial)
            asked.take(trial.number, self._told(trial))
            course = next(one for one in courses if trial.number in one)
            for number in course.take(trial, bench.deciding(trial.curve.metrics)):
                bench.prune(number)
        if self._ends:
            raise _Ended

    def _begin_one(self, courses: list[Course], asked: _Asked) -> bool:
        """Begin a candidate, or let one go on, earlier brackets and shorter trainings first; return whether any did."""
        for course in courses:
            if course.may_begin:
                if self._is_spent(course.rungs[0]):
                    self._ends = True
                candidate = None if self._ends else self._next(asked)
                if candidate is not None:
                    course.begin(candidate.number)
                    self._begin(candidate, course.rungs[0])
                    return True
                for number in (number for one in courses for number in one.begin_no_more()):
                    self._bench.prune(number)
            going_on = course.going_on()
            if going_on is not None:
                number, until = going_on
                self._begin(self._candidate(number, self._values[number]), until)
                return True
        return False

    def _begin(self, candidate: Candidate, until: int) -> None:
        if self._plan.learning_rate == "select":
            self._selects.train(candidate)
        else:
            self._bench.begin(candidate, until)

    def _is_spent(self, until: int) -> bool:
        bench = self._bench
        cost = COST if self._plan.learning_rate == "select" else len(bench.folds) * until / self._plan.epochs
        return self._plan.budget is not None and bench.expected_cost + cost > self._plan.budget + 1e-9

    def _next(self, asked: _Asked) -> Candidate | None:
        """Return the next candidate: the study's, where it was begun there, else the sampler's."""
        space, number = self._plan.space, len(self._values)
        record = self._bench.begun.get(number)
        if record is not None:
            point = space.recorded(record)
        else:
            found = asked.sampler.ask(number, asked.told, asked.pending)
            if found is None:
                return None
            point = {name: found[name] if name in found else asked.fixed[name] for name in space}
        self._values[number] = point
        asked.begin(number, point)
        return self._candidate(number, point)

    def _told(self, trial: Trial) -> Told:
        point = self._values[trial.number]
        if trial.state in (TrialState.DIVERGED, TrialState.FAILED) or trial.value is None:
            return Told(point, None)
        return Told(point, trial.value, None if trial.epochs >= self._plan.epochs else round(trial.epochs))

    def _candidate(self, number: int, point: Point) -> Candidate:
        seed = int(np.random.SeedSequence([self._plan.seed, number]).generate_state(1)[0])
        return Candidate(number, point, self._plan.space.record(point), seed)

    @property
    def _failed_too_often(self) -> bool:
        return self._failures >= MOST_FAILURES

    def _take_note(self, trial: Trial) -> None:
        """Take note of how a trial has ended for now.

        Raises:
            TrialFailedError: If too many have failed in a row, and none has ended well.
        """
        bench = self._bench
        if trial.state is not TrialState.FAILED:
            self._failures = 0 if not self._failed_too_often else self._failures
            return
        if self._plan.in_rounds and COMES_WHOLE in (trial.error or ""):
            self._comes_whole = self._ends = True
        self._failures += 1
        reason = (trial.error or "").strip().splitlines()[-1]
        bench.warnings.append(f"trial {trial.number} failed: {reason}")
        if self._failures == MOST_FAILURES:
            if not any(one.state is TrialState.COMPLETE for one in bench.trials.values()):
                raise TrialFailedError(f"{MOST_FAILURES} trials failed one after another; the last with\n{trial.error}")
            bench.warnings.append(f"the search ended early: {MOST_FAILURES} trials failed one after another")
            self._ends = True


class _Asked:
    """What a stage's sampler is told: of each trial the latest, in the order in which they ended first.

    Args:
        sampler: Proposes points of the stage's part of the space.
        fixed: The rest of each point.
    """

    def __init__(self, sampler: Sampler, fixed: Point) -> None:
        self.sampler = sampler
        self.fixed = fixed
        self.told: list[Told] = []
        self._place: dict[int, int] = {}
        self._running: dict[int, Point] = {}

    @property
    def pending(self) -> list[Point]:
        """The points that have not come to any end."""
        return list(self._running.values())

    def begin(self, number: int, point: Point) -> None:
        """Take note of a new trial."""
        self._running[number] = point

    def take(self, number: int, told: Told) -> None:
        """Take note of what a trial has come to."""
        self._running.pop(number, None)
        if number in self._place:
            self.told[self._place[number]] = told
        else:
            self._place[number] = len(self.told)
            self.told.append(told)
