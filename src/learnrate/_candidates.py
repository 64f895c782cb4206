"""Where a search's candidates are trained: each built anew, begun alike, gone on with, and remembered."""

from __future__ import annotations

import math
import time
import traceback
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np

from learnrate._build import SharedProblemError
from learnrate._space import LEARNING_RATE, did_you_mean
from learnrate._weights import Weights
from learnrate.curves import LearningCurve, Mode
from learnrate.engines.local import LocalEngine
from learnrate.errors import InvalidArgumentError, StudyError, UnknownMetricError
from learnrate.results import Trial, TrialState
from learnrate.training import Engine, Event, EventKind, Row, Segment, Trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from learnrate._build import Builder, Candidate
    from learnrate._folds import Fold, Scorer
    from learnrate.schedules import ScheduleMaker
    from learnrate.study import Study
    from learnrate.training import Snapshot


class Bench:
    """Trains candidates, counts what that costs, remembers them, and keeps the best one's weights.

    A candidate is trained on the schedule of the whole horizon up to some epoch, and may be continued from there as
    if it had never stopped. With folds it is one training a fold, each by itself; its curve is their mean.

    Args:
        build: Builds a candidate's problem.
        epochs: The horizon: a full training.
        schedule: Makes the schedule of a learning rate and a number of steps.
        metric: The deciding metric; "val_loss" gives way to "loss" where nothing is validated.
        mode: Whether small values are better, or large ones.
        folds: What each training learns from and is validated on; [None] leaves that to `build`.
        scorer: Scores the validation samples of a fold as one more metric.
        learning_rate: Of every candidate; None where the space or the problem has it.
        study: Remembers finished segments; None for no study.
        engine: Where segments are trained; None for this process.
        budget: What may be spent, in full trainings; None for no limit.
        on_event: Receives every `Event` as it happens.
    """

    def __init__(
        self,
        build: Builder,
        *,
        epochs: int,
        schedule: ScheduleMaker,
        metric: str,
        mode: Mode,
        folds: Sequence[Fold | None] = (None,),
        scorer: Scorer | None = None,
        learning_rate: float | None = None,
        study: Study | None = None,
        engine: Engine | None = None,
        budget: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._build = build
        self.epochs = epochs
        self.schedule = schedule
        self.metric = metric
        self.mode: Mode = mode
        self.folds = folds
        self._scorer = scorer
        self._learning_rate = learning_rate
        self.study = study
        self.engine = engine or LocalEngine()
        self.budget = budget
        self.on_event = on_event
        self.trials: dict[int, Trial] = {}
        self.spent = 0.0
        self.warnings: list[str] = []
        self._parts: dict[int, list[Trial]] = {}
        self._stage = ""
        self._weights = Weights(study)
        self._best: tuple[int, Snapshot] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._weights.close()
        self._best = None

    @property
    def best(self) -> Trial | None:
        """The best trial that was trained to its end, the earliest where several are equal."""
        done = [one for one in self.trials.values() if one.state is TrialState.COMPLETE and one.epochs >= self.epochs]
        return min(done, key=lambda one: (self.loss(one), one.number), default=None)

    def loss(self, trial: Trial) -> float:
        """Return a trial's value so that small is better; infinity where it has none."""
        if trial.value is None:
            return math.inf
        return trial.value if self.mode == "min" else -trial.value

    def announce(self, stage: str) -> None:
        """Tell that a stage of the work begins, in words."""
        self._stage = stage
        self._tell(EventKind.STAGE)

    def known(self, number: int, until: int) -> Trial | None:
        """Return a trial that was trained up to an epoch before this process began."""
        return None if self.study is None else self.study.recall(_key(number, until, self.epochs))

    def known_whole(self, number: int) -> Trial | None:
        """Return a trial that was trained in another way before this process began."""
        return None if self.study is None else self.study.recall(_whole(number))

    def train(self, candidate: Candidate, until: int, *, stage: str = "search") -> Trial:
        """Train a candidate up to an epoch, from where it was left."""
        number, key = candidate.number, _key(candidate.number, until, self.epochs)
        before = self._parts.get(number)
        trial = self.known(number, until)
        if trial is None:
            if self.study is not None:
                self.study.start(self._running(candidate, stage, before), key)
            self._tell(EventKind.TRIAL_STARTED, self._running(candidate, stage, before))
            parts = [self._part(candidate, place, until, stage) for place in range(len(self.folds))]
            trial = self._together(parts)
            self._keep_weights(candidate, trial, until)
            if self.study is not None:
                self.study.finish(key, trial)
        else:
            parts = [trial] if len(self.folds) == 1 else self._recalled(key)
        self._parts[number] = parts
        old = [] if before is None else before
        self.spent += (sum(one.epochs for one in parts) - sum(one.epochs for one in old)) / self.epochs
        self.trials[number] = trial
        if len(trial.curve):
            self._choose_metric(trial.curve.metrics)
        self._tell(EventKind.TRIAL_FINISHED, trial)
        return trial

    def take(self, candidate: Candidate, train: Callable[[Trainable], tuple[Trial, float, Snapshot]]) -> Trial:
        """Let a candidate be trained in another way, which returns its trial, its cost and its weights."""
        key = _whole(candidate.number)
        known = self.known_whole(candidate.number)
        if known is not None:
            trial, cost = known, float(known.hyperparameters[COST])
        else:
            start = self._running(candidate, "select", None)
            if self.study is not None:
                self.study.start(start, key)
            self._tell(EventKind.TRIAL_STARTED, start)
            weights: Snapshot = None
            try:
                problem = self._build(candidate, None, self.epochs)
                trial, cost, weights = train(problem)
            except (UnknownMetricError, StudyError, SharedProblemError):
                raise
            except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the search goes on
                trial, cost = _failed(start, error), 0.0
            else:
                if weights is not None and self._leads(trial):
                    self._remember(candidate.number, problem, weights)
            kept = dict(trial.hyperparameters) | {COST: cost}
            if self.study is not None:
                self.study.finish(key, msgspec.structs.replace(trial, hyperparameters=kept))
        own = {name: value for name, value in trial.hyperparameters.items() if name != COST}
        trial = msgspec.structs.replace(trial, hyperparameters=own)
        self.spent += cost
        self.trials[candidate.number] = trial
        if len(trial.curve):
            self._choose_metric(trial.curve.metrics)
        self._tell(EventKind.TRIAL_FINISHED, trial)
        return trial

    def prune(self, number: int) -> None:
        """Say that a trial will not go on, and let go of its weights."""
        trial = self.trials[number] = msgspec.structs.replace(self.trials[number], state=TrialState.PRUNED)
        key = f"search/{number}/pruned"
        if self.study is not None and self.study.recall(key) is None:
            self.study.finish(key, trial)
        for place in range(len(self.folds)):
            self._weights.drop(_name(number, place))
        self._weights.drop(_name(number, BEST))

    def weights_of_best(self, candidate: Candidate) -> Snapshot | None:
        """Return the best trial's weights at its best epoch; None with folds, and for functions, which hold theirs."""
        if len(self.folds) > 1:
            return None
        if self._best is not None and self._best[0] == candidate.number:
            return self._best[1]
        path = self._weights.path(_name(candidate.number, BEST))
        return None if path is None else self._build(candidate, self.folds[0], self.epochs).load(path)

    def _recalled(self, key: str) -> list[Trial]:
        found = [
            None if self.study is None else self.study.recall(f"{key}/{place}") for place in range(len(self.folds))
        ]
        return [one for one in found if one is not None]

    def _part(self, candidate: Candidate, place: int, until: int, stage: str) -> Trial:
        """Train one fold of a candidate up to an epoch."""
        key = f"{_key(candidate.number, until, self.epochs)}/{place}"
        several = self.study is not None and len(self.folds) > 1
        known = self.study.recall(key) if several and self.study is not None else None
        if known is not None:
            return known
        before = self._parts[candidate.number][place] if candidate.number in self._parts else None
        work = _Work(self, self._running(candidate, stage, None if before is None else [before]), place)
        try:
            problem = self._build(candidate, self.folds[place], self.epochs)
            if self._scorer is not None:
                problem = self._scorer.scoring(problem, self.folds[place])
            trial = self._run(problem, work, before, until)
        except (UnknownMetricError, StudyError, SharedProblemError):
            raise
        except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the search goes on
            trial = _failed(work.trial(TrialState.FAILED), error)
        if several and self.study is not None:
            self.study.finish(key, trial)
        return trial

    def _run(self, problem: Trainable, work: _Work, before: Trial | None, until: int) -> Trial:
        per_epoch, number = int(problem.steps_per_epoch), work.started.number
        rate = self._rate(problem, work.started)
        segment = Segment(
            trial=number,
            learning_rate=rate,
            first_step=0 if before is None else round(before.epochs * per_epoch),
            last_step=until * per_epoch,
            total_steps=self.epochs * per_epoch,
            seed=work.started.seed,
            stage=work.started.stage,
        )
        prepare, begin = getattr(problem, "prepare", None), getattr(problem, "begin", None)
        if prepare is not None:
            prepare(metric=self.metric, schedule=self.schedule, epochs=self.epochs, folder=None)
        if before is not None:
            path = self._weights.path(_name(number, work.place))
            if path is None:
                raise StudyError(f"the study has lost the weights of trial {number}, which cannot go on without them")
            problem.restore(problem.load(path))
            if hasattr(problem, "let_go"):
                self.spent += before.epochs / self.epochs  # a function is replayed from its first epoch
        elif begin is not None:
            begin(rate, self.epochs, work.started.seed)
        work.problem = problem
        try:
            diverged = self.engine.train(problem, segment, self.schedule, work.on_row)
            trial = work.trial(TrialState.DIVERGED if diverged or work.lost else TrialState.COMPLETE)
            if trial.state is TrialState.COMPLETE and until < self.epochs:
                self._weights.put(_name(number, work.place), problem, problem.snapshot())
        finally:
            getattr(problem, "close", lambda: None)()
        self._last_work = work
        return trial

    def _rate(self, problem: Trainable, started: Trial) -> float:
        """Return the rate to train at: the space's, the search's, or the problem's own."""
        own = getattr(problem, "learning_rate", None)
        rate = started.hyperparameters.get(LEARNING_RATE, own)
        if rate is None and getattr(problem, "constant_rate_only", False):
            return 1.0  # a function that has been called knows its rate
        if rate is None:
            raise InvalidArgumentError(
                "the problem has no learning rate of its own: put learning_rate into the space, or pass learning_rate="
            )
        started.hyperparameters[LEARNING_RATE] = float(rate)
        return float(rate)

    def _running(self, candidate: Candidate, stage: str, before: list[Trial] | None) -> Trial:
        record = dict(candidate.record)
        if self._learning_rate is not None:
            record.setdefault(LEARNING_RATE, self._learning_rate)
        return Trial(
            number=candidate.number,
            hyperparameters=record if not before else dict(before[0].hyperparameters),
            state=TrialState.RUNNING,
            curve=LearningCurve.from_rows([]) if not before else before[0].curve,
            value=None,
            seed=candidate.seed,
            seconds=0.0 if not before else before[0].seconds,
            epochs=0.0 if not before else before[0].epochs,
            horizon=float(self.epochs),
            stage=stage,
        )

    def _together(self, parts: list[Trial]) -> Trial:
        """Return a candidate's trial: the mean of its folds' curves, and each fold's value where the mean is best."""
        if len(parts) == 1:
            return parts[0]
        states = [one.state for one in parts]
        worst = next((one for one in (TrialState.FAILED, TrialState.DIVERGED) if one in states), parts[0].state)
        curve = _mean([one.curve for one in parts])
        best = curve.best(self.deciding(curve.metrics), self.mode) if curve.metrics else None
        row = None if best is None else int(np.flatnonzero(curve.epochs == best.epoch)[0])
        each = [] if row is None else [float(one.curve.values(self.deciding(curve.metrics))[row]) for one in parts]
        return msgspec.structs.replace(
            parts[0],
            state=worst,
            curve=curve,
            value=None if best is None else best.value,
            folds=each,
            epochs=min(one.epochs for one in parts),
            seconds=sum(one.seconds for one in parts),
            error=next((one.error for one in parts if one.error), None),
        )

    def _keep_weights(self, candidate: Candidate, trial: Trial, until: int) -> None:
        """Keep the weights of the best epoch where the trial leads or goes on; drop all others."""
        work = self._last_work if trial.state is TrialState.COMPLETE and len(self.folds) == 1 else None
        if until == self.epochs:
            for place in range(len(self.folds)):
                self._weights.drop(_name(candidate.number, place))
        if work is None or work.problem is None or getattr(work.problem, "constant_rate_only", False):
            return
        if until < self.epochs:
            if work.best is not None:
                self._weights.put(_name(candidate.number, BEST), work.problem, work.best)
        elif self._leads(trial):
            path = self._weights.path(_name(candidate.number, BEST))
            if work.best is None and path is not None:
                work.best = work.problem.load(path)
            self._remember(candidate.number, work.problem, work.best)
        else:
            self._weights.drop(_name(candidate.number, BEST))

    def _leads(self, trial: Trial) -> bool:
        return trial.value is not None and (self.best is None or self.loss(trial) < self.loss(self.best))

    def _remember(self, number: int, problem: Trainable, weights: Snapshot) -> None:
        self._best = (number, weights)
        if self.study is not None:
            self._weights.put(_name(number, BEST), problem, weights)
        if self.best is not None:
            self._weights.drop(_name(self.best.number, BEST))

    def _choose_metric(self, known: Iterable[str]) -> None:
        if self.metric in known:
            return
        if self.metric == "val_loss" and "loss" in known:
            self.metric = "loss"
            self.warnings.append(
                "there is no validation loss, so the training loss decides: it does not see overfitting"
            )
            return
        names = ", ".join(sorted(known)) or "none at all"
        hint = did_you_mean(self.metric, known)
        raise UnknownMetricError(f"no metric is named {self.metric!r}{hint}; the training reports {names}: pass one")

    def deciding(self, known: Iterable[str]) -> str:
        """Return the deciding metric among those reported."""
        return self.metric if self.metric in known or self.metric != "val_loss" else "loss"

    def choose_metric(self, row: Row) -> None:
        """Find out at a training's first row whether there is the metric that decides."""
        if not row.diverged:
            self._choose_metric(row.metrics)

    def write(self, number: int, row: Row) -> None:
        """Write down a row."""
        if self.study is not None:
            self.study.record(number, row.epoch, row.metrics)

    def tell_epoch(self, trial: Trial) -> None:
        """Tell of an epoch."""
        self._tell(EventKind.EPOCH, trial)

    def _tell(self, kind: EventKind, trial: Trial | None = None) -> None:
        if self.on_event is not None:
            self.on_event(Event(kind=kind, message=self._stage, spent=self.spent, budget=self.budget, trial=trial))

    _last_work: _Work | None = None


COST = "cost of its select"
"""What a study writes beside the hyperparameters of a candidate that had a `select` of its own."""

BEST = -1
"""The place of a trial's best weights, beside those of its folds."""


class _Work:
    """One training of one candidate: its rows so far, and the weights of the best since it began or went on."""

    def __init__(self, bench: Bench, started: Trial, place: int) -> None:
        self._bench = bench
        self.started = started
        self.place = place
        self.problem: Trainable | None = None
        self.best: Snapshot = None
        self._clock = time.perf_counter()
        self._rows: list[Row] = []
        curve = started.curve
        for row, epoch in enumerate(curve.epochs.tolist()):
            metrics = {name: float(values[row]) for name, values in curve.metrics.items()}
            self._rows.append(Row(epoch, metrics, diverged=False))
        self._least = min((self._loss(row) for row in self._rows), default=math.inf)

    @property
    def lost(self) -> bool:
        """Whether the deciding metric ended as no number."""
        return bool(self._rows) and not math.isfinite(self._loss(self._rows[-1]))

    def on_row(self, row: Row) -> None:
        """Take a row: keep the weights if it is the best, write it down, tell it."""
        bench = self._bench
        bench.choose_metric(row)
        self._rows.append(row)
        loss = self._loss(row)
        if not row.diverged and loss < self._least:
            self._least = loss
            if len(bench.folds) == 1 and self.problem is not None:
                self.best = self.problem.snapshot()
        bench.write(self.started.number, row)
        bench.tell_epoch(self.trial(TrialState.RUNNING))

    def _loss(self, row: Row) -> float:
        value = row.metrics.get(self._bench.deciding(row.metrics), math.nan)
        loss = value if self._bench.mode == "min" else -value
        return loss if math.isfinite(loss) else math.inf

    def trial(self, state: TrialState) -> Trial:
        """The training as it stands."""
        value = self._least if self._bench.mode == "min" else -self._least
        return msgspec.structs.replace(
            self.started,
            state=state,
            curve=LearningCurve.from_rows([(row.epoch, row.metrics) for row in self._rows]),
            value=value if math.isfinite(value) else None,
            seconds=self.started.seconds + time.perf_counter() - self._clock,
            epochs=self._rows[-1].epoch if self._rows else 0.0,
        )


def _key(number: int, until: int, epochs: int) -> str:
    return f"search/{number}/{until}of{epochs}"


def _whole(number: int) -> str:
    return f"search/{number}/whole"


def _name(number: int, place: int) -> str:
    return f"trial-{number}-best" if place == BEST else f"trial-{number}-fold-{place}"


def _failed(trial: Trial, error: Exception) -> Trial:
    text = "".join(traceback.format_exception(error))
    return msgspec.structs.replace(trial, state=TrialState.FAILED, value=None, error=text)


def _mean(curves: list[LearningCurve]) -> LearningCurve:
    """Return the mean of the curves over the rows and the metrics that all of them have."""
    rows = min(len(curve) for curve in curves)
    names = [name for name in curves[0].metrics if all(name in curve.metrics for curve in curves)]
    metrics = {name: np.mean([curve.metrics[name][:rows] for curve in curves], axis=0) for name in names}
    return LearningCurve(epochs=curves[0].epochs[:rows], metrics=metrics)
