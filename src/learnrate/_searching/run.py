"""A search at work: candidates begun, some let go on, the sampler told, until the plan or the budget ends it."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from learnrate._searching.build import Candidate
from learnrate._searching.course import Course
from learnrate._searching.halving import Halving, affordable, brackets_of
from learnrate._searching.importance import importance
from learnrate._searching.own_rates import COST, Selects
from learnrate._searching.rounds import BUDGET, halving_in_rounds, next_round
from learnrate._searching.samplers import Point, Sampler, Told
from learnrate._searching.spending import spending_of
from learnrate.errors import TrialFailedError
from learnrate.results import Search, Trial, TrialState, Verdict

if TYPE_CHECKING:
    from learnrate._searching.plan import Plan
    from learnrate._searching.stages import Stage
    from learnrate._trials.candidates import Candidates

MOST_FAILURES = 5
"""Trials that fail one after another until the search gives up: the next would hardly fare better."""

COMES_WHOLE = "trains all its epochs at once"
"""What the error of a function says that cannot be left in its middle, and so cannot be halved."""


class _Ended(Exception):  # noqa: N818  # not an error
    """There is nothing more to spend, or too much has failed."""


class Run:
    """One search at work."""

    def __init__(self, plan: Plan, bench: Candidates) -> None:
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
        bench.announce_plan(spending_of(plan, len(bench.folds)))
        with contextlib.suppress(_Ended):
            for stage in plan.stages:
                self._stage(stage)
        if all(trial.state is TrialState.FAILED for trial in bench.trials.values()):
            error = next((trial.error for trial in bench.trials.values()), "nothing was tried")
            raise TrialFailedError(f"all {len(bench.trials)} trials failed; the first with\n{error}{self._kept}")
        best = bench.best
        candidate = None if best is None else self._candidate(best.number, self._values[best.number])
        trials = [bench.diagnosed(bench.trials[number]) for number in sorted(bench.trials)]
        at = None if best is None else best.curve.best(bench.deciding(best.curve.metrics), bench.mode)
        weights = None if candidate is None else bench.weights_of_best(candidate)  # tells the framework too
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
            framework=bench.framework,
            best=weights,
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
            left = affordable(plan.halving, left, plan.epochs, unspent, replayed=plan.build.replays)
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
        budget = BUDGET * len(bench.folds) if plan.budget is None else plan.budget
        most = min(plan.num_trials, round(budget * plan.epochs))  # each costs an epoch at least
        halving = halving_in_rounds(plan.epochs)
        while True:
            begun = len(self._values)
            unspent = (budget - bench.spent) / len(bench.folds)
            bracket = next_round(halving, plan.epochs, unspent, begun, most, replayed=plan.build.replays)
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
    def _kept(self) -> str:
        """Say that a study keeps its failures, whatever is mended meanwhile."""
        study = self._bench.study
        if study is None:
            return ""
        return f"\nthe study in {study.folder} keeps these failures: mend their cause, and name another folder"

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
                raise TrialFailedError(
                    f"{MOST_FAILURES} trials failed one after another; the last with\n{trial.error}{self._kept}"
                )
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
