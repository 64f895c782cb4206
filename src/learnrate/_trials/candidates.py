"""Where a search's candidates are trained: each built anew, begun alike, gone on with, and remembered."""

from __future__ import annotations

import collections
import functools
import math
import traceback
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
import numpy as np

from learnrate._searching.build import UnusableBuildError
from learnrate._searching.space import LEARNING_RATE
from learnrate._trials.bench import Bench
from learnrate._trials.elsewhere import Elsewhere
from learnrate._trials.shelf import Shelf
from learnrate._trials.tasks import Ended, Here, Task
from learnrate._trials.work import Work
from learnrate.curves import LearningCurve, Mode
from learnrate.errors import StudyError, UnknownMetricError
from learnrate.results import Trial, TrialState
from learnrate.training import Engine, Event, EventKind, Row, Segment, Trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from learnrate._searching.build import Builder, Candidate
    from learnrate._searching.folds import Fold, Scorer
    from learnrate.schedules import ScheduleMaker
    from learnrate.stopping import Rule
    from learnrate.study import Study
    from learnrate.training import Snapshot


class Candidates(Bench):
    """Trains candidates, counts what that costs, remembers them, and keeps the best one's weights.

    A candidate is trained on the schedule of the whole horizon up to some epoch, and may be continued from there as
    if it had never stopped. With folds it is one training a fold, each by itself; its curve is their mean. Segments
    count epochs, since only who trains a candidate builds it and knows how many steps they have.

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
        super().__init__(
            epochs=epochs,
            schedule=schedule,
            metric=metric,
            mode=mode,
            budget=budget,
            study=study,
            engine=engine,
            on_event=on_event,
        )
        self.build = _Built(build, folds, scorer, epochs)
        self.folds = folds
        self.trials: dict[int, Trial] = {}
        self.best: Trial | None = None
        self.framework: str | None = None  # known with the best weights, of whichever process they come from
        self.begun: dict[int, Mapping[str, Any]] = {}
        if study is not None:
            self.begun = {trial.number: trial.hyperparameters for trial in study.trials()}
        self._learning_rate = learning_rate
        self._parts: dict[int, list[Trial]] = {}
        self._costs: dict[int, float] = {}
        several = len(folds) > 1
        self._homes = [_Fold(self, Shelf(None, study, place if several else None)) for place in range(len(folds))]
        self._jobs: dict[int, _Job] = {}
        self._owners: dict[str, tuple[_Job, int]] = {}
        self._ended: collections.deque[Trial] = collections.deque()
        self._elsewhere: Elsewhere | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()  # the workers first: whatever else fails, nothing is left running
        for home in self._homes:
            home.shelf.close()

    @property
    def cost(self) -> float:
        """What has been spent, to the last bit, in whichever order the trials ended."""
        return math.fsum(self._costs.values())

    @property
    def expected_cost(self) -> float:
        """What has been spent, and what the candidates at work will cost at most."""
        return self.spent + math.fsum(job.cost / self.epochs for job in self._jobs.values()) * len(self.folds)

    @property
    def has_room(self) -> bool:
        """Whether another candidate would be trained at once, and all that is known has been taken note of."""
        if self._ended or self._elsewhere is None:
            return not self._ended
        return self._elsewhere.at_work < self._elsewhere.size

    @property
    def begins_anew(self) -> bool:
        """Whether each training has a start of its own: each is built."""
        return True

    @property
    def num_at_a_time(self) -> int:
        """How many trainings go on at a time, as far as is known now."""
        return 1 if self._elsewhere is None else self._elsewhere.size

    def loss(self, trial: Trial) -> float:
        """Return a trial's value so that small is better; infinity where it has none."""
        if trial.value is None:
            return math.inf
        return trial.value if self.mode == "min" else -trial.value

    def begin(self, candidate: Candidate, until: int) -> None:
        """Have a candidate trained up to an epoch, from where it was left; `next` returns it when that is done."""
        number = candidate.number
        job = self._jobs[number] = _Job(candidate, until, _key(number, until, self.epochs), self._parts.get(number), {})
        known = None if self.study is None else self.study.recall(job.key)
        if known is not None:
            self._finish(job, known, self._recalled(job.key) or {0: known})
            return
        start = self._running(candidate, "search", None if job.before is None else job.before[0])
        if self.study is not None:
            self.study.start(start, job.key)
        self.tell(EventKind.TRIAL_STARTED, start)
        job.parts.update(self._recalled(job.key))
        for place in range(len(self.folds)):
            if place not in job.parts:
                self._submit(job, place)
        if len(job.parts) == len(self.folds):
            self._together(job)

    def next(self) -> Trial | None:
        """Wait until a candidate has been trained as far as asked; return its trial, None where none is at work."""
        while not self._ended and self._jobs and self._elsewhere is not None:
            for work, ended in self._elsewhere.ended():
                job, place = self._owners.pop(work.key)
                job.parts[place] = self._part(work, ended)
                if len(job.parts) == len(self.folds):
                    self._together(job)
                    break
        return self._ended.popleft() if self._ended else None

    def take(self, candidate: Candidate, train: Callable[[Trainable], tuple[Trial, float, Snapshot]]) -> Trial:
        """Let a candidate be trained in another way, which returns its trial, its cost and its weights."""
        key = _whole(candidate.number)
        known = None if self.study is None else self.study.recall(key)
        if known is not None:
            trial = known
        else:
            start = self._running(candidate, "select", None)
            if self.study is not None:
                self.study.start(start, key)
            self.tell(EventKind.TRIAL_STARTED, start)
            try:
                problem = self.build(candidate, 0)
                trial, cost, weights = train(problem)
                self.take_warnings(getattr(problem, "warnings", ()))
            except _NOT_THE_TRIALS_OWN:
                raise
            except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the search goes on
                trial = msgspec.structs.replace(start, state=TrialState.FAILED, error=_words(error))
            else:
                trial = msgspec.structs.replace(trial, extra_epochs=cost * self.epochs - trial.epochs)
                if weights is not None:
                    self._adopt(trial, problem, weights)
            if self.study is not None:
                self.study.finish(key, trial)
        self._note(trial, _epochs_of([trial]) / self.epochs)
        return trial

    def prune(self, number: int) -> None:
        """Say that a trial will not go on, and let go of its weights."""
        trial = self.trials[number] = msgspec.structs.replace(self.trials[number], state=TrialState.PRUNED)
        key = f"search/{number}/pruned"
        if self.study is not None and self.study.recall(key) is None:
            self.study.finish(key, trial)
        self._parts.pop(number, None)
        self._drop_weights(number)

    def weights_of_best(self, candidate: Candidate) -> Snapshot | None:
        """Return the best trial's weights at its best epoch; None with folds, and for functions, which hold theirs."""
        shelf = self._homes[0].shelf
        step = None if self.best is None or len(self.folds) > 1 else self._best_step(self.best)
        if step is None or not shelf.has(candidate.number, step):
            return None
        shelf.keep_only((candidate.number, step))
        try:
            problem = self.build(candidate, 0)
            self.framework = getattr(problem, "framework", None)
            return problem.load(shelf.file(candidate.number, step))
        except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the answer stands without
            self.warnings.insert(0, f"the weights of trial {candidate.number}, the best, cannot be loaded: {error}")
            return None

    def _submit(self, job: _Job, place: int) -> None:
        """Have one fold of a candidate trained."""
        candidate, home = job.candidate, self._homes[place]
        before = None if job.before is None else job.before[place]
        start = self._running(candidate, "search", before)
        segment = Segment(
            trial=candidate.number,
            learning_rate=float(start.hyperparameters.get(LEARNING_RATE, math.nan)),
            first_step=0 if before is None else round(before.epochs),
            last_step=job.until,
            total_steps=self.epochs,
            seed=candidate.seed,
            stage="search",
        )
        key = job.key if len(self.folds) == 1 else f"{job.key}/{place}"
        work = Work.opened(home, segment, before, key, start.hyperparameters)
        self._owners[key] = (job, place)
        self._workers().submit(work, functools.partial(self._task, job, place))

    def _task(self, job: _Job, place: int, work: Work) -> Task:
        number, first = job.candidate.number, work.segment.first_step
        shelf = self._homes[place].shelf
        if first and not shelf.has(number, first):
            raise StudyError(f"the study has lost the weights of trial {number}, which cannot go on without them")
        return Task(
            key=work.key,
            segment=work.segment,
            problem=self.build,
            arguments=(job.candidate, place),
            in_epochs=True,
            schedule=self.schedule,
            metric=self.metric,
            mode=self.mode,
            epochs=self.epochs,
            start=shelf.file(number, first) if first else None,
            best=work.best,
            keeps_best=len(self.folds) == 1,
            keeps_end=job.until < self.epochs,
            folder=self._scratch if self.study is None else self.study.folder,
        )

    def _workers(self) -> Elsewhere:
        """Return who trains: the engine's workers, or this process; they begin when they are first needed."""
        if self._elsewhere is None:
            here = not self.engine.has_workers
            workers = Here(self._scratch, checkpoints=self.study is not None) if here else self.opened(self._scratch)
            self._elsewhere = Elsewhere(workers)
        return self._elsewhere

    def _part(self, work: Work, ended: Ended) -> Trial:
        """Return one fold's trial at its end."""
        if isinstance(ended.error, _NOT_THE_TRIALS_OWN):
            raise ended.error
        self.take_warnings(ended.warnings)
        error = ended.lost if ended.error is None else _words(ended.error)
        return work.ended(diverged=ended.diverged, error=error)

    def _together(self, job: _Job) -> None:
        """End a candidate whose folds have all ended."""
        trial = _mean_of([job.parts[place] for place in sorted(job.parts)], self)
        if self.study is not None and len(self.folds) > 1:
            self.study.finish(job.key, trial)
        self._finish(job, trial, job.parts)

    def _finish(self, job: _Job, trial: Trial, parts: Mapping[int, Trial]) -> None:
        number = trial.number
        del self._jobs[number]
        self._parts[number] = [parts[place] for place in sorted(parts)]
        if trial.state is TrialState.FAILED:
            trial = msgspec.structs.replace(trial, value=None)
        self._note(trial, (_epochs_of(parts.values()) - _epochs_of(job.before or [])) / self.epochs)

    def _note(self, trial: Trial, cost: float) -> None:
        """Take note of a trial that has ended for now."""
        self.spent += cost
        self._costs[trial.number] = self._costs.get(trial.number, 0.0) + cost
        self.trials[trial.number] = trial
        if trial.state is TrialState.COMPLETE:
            self.choose_metric(trial.curve.metrics)
        if trial.state is not TrialState.COMPLETE or trial.epochs >= self.epochs:  # it does not go on
            self._parts.pop(trial.number, None)
            self._keep_weights(trial)
        self.tell(EventKind.TRIAL_FINISHED, trial)
        self._ended.append(trial)

    def _keep_weights(self, trial: Trial) -> None:
        """Keep the weights of the best epoch where the trial leads, the earliest of equals; drop all others."""
        best = self.best
        leads = trial.state is TrialState.COMPLETE and (
            best is None or (self.loss(trial), trial.number) < (self.loss(best), best.number)
        )
        if not leads:
            self._drop_weights(trial.number)
            return
        self.best = trial
        if best is not None:
            self._drop_weights(best.number)
        self._homes[0].shelf.settle(trial.number, {self._best_step(trial) if len(self.folds) == 1 else None})
        for home in self._homes[1:]:
            home.shelf.settle(trial.number, set())

    def _drop_weights(self, number: int) -> None:
        for home in self._homes:
            home.shelf.settle(number, set())

    def _best_step(self, trial: Trial) -> int | None:
        best = trial.curve.best(self.deciding(trial.curve.metrics), self.mode) if trial.curve.metrics else None
        return None if best is None else round(best.epoch)

    def _adopt(self, trial: Trial, problem: Trainable, weights: Snapshot) -> None:
        step = self._best_step(trial)
        if step is not None:
            file = self._scratch / uuid.uuid4().hex
            problem.save(weights, file)
            self._homes[0].shelf.adopt(trial.number, step, file)

    @functools.cached_property
    def _scratch(self) -> Path:
        return self.scratch()

    def _recalled(self, key: str) -> dict[int, Trial]:
        """Return what the study has of a candidate's folds."""
        places = range(0 if self.study is None or len(self.folds) == 1 else len(self.folds))
        found = {place: None if self.study is None else self.study.recall(f"{key}/{place}") for place in places}
        return {place: one for place, one in found.items() if one is not None}

    def _running(self, candidate: Candidate, stage: str, before: Trial | None) -> Trial:
        record = dict(candidate.record)
        if self._learning_rate is not None:
            record.setdefault(LEARNING_RATE, self._learning_rate)
        return Trial(
            number=candidate.number,
            hyperparameters=record if before is None else dict(before.hyperparameters),
            state=TrialState.RUNNING,
            curve=LearningCurve.from_rows([]) if before is None else before.curve,
            value=None,
            seed=candidate.seed,
            seconds=0.0 if before is None else before.seconds,
            epochs=0.0 if before is None else before.epochs,
            horizon=float(self.epochs),
            stage=stage,
        )


_NOT_THE_TRIALS_OWN = (UnknownMetricError, StudyError, UnusableBuildError)


class _Job(NamedTuple):
    """A candidate on its way to an epoch, and what its folds have come to."""

    candidate: Candidate
    until: int
    key: str
    before: list[Trial] | None
    parts: dict[int, Trial]

    @property
    def cost(self) -> float:
        """Epochs that each fold will take."""
        return self.until - (0.0 if self.before is None else self.before[0].epochs)


class _Fold:
    """What the segments of one fold need of the bench."""

    steps_per_epoch = 1

    def __init__(self, bench: Candidates, shelf: Shelf) -> None:
        self._bench = bench
        self.shelf = shelf
        self.study = bench.study
        self.mode: Mode = bench.mode
        self.stopping: tuple[Rule, ...] = ()

    @property
    def metric(self) -> str:
        """The deciding metric, as far as is known."""
        return self._bench.metric

    def rules_after(self, before: Trial | None) -> None:
        """There are no stopping rules: halving does what they would."""
        del before

    def saw(self, row: Row) -> None:
        """Find out at a training's first row whether there is the metric that decides."""
        if not row.diverged:
            self._bench.choose_metric(row.metrics)

    def loaded(self, number: int) -> None:
        """Take note that a worker has loaded a trial; in this process what that takes counts for every trial."""
        if self._bench.engine.has_workers:
            self._bench.timing.loaded(number)

    def tell(self, kind: EventKind, trial: Trial) -> None:
        """Tell of an epoch; the bench tells of the candidate itself."""
        if kind is EventKind.EPOCH:
            self._bench.tell(kind, trial)


class _Built:
    """Builds a candidate's problem for one of the folds, wherever it is trained."""

    advice = "let it load or make what it needs, rather than refer to what has been made"

    def __init__(self, build: Builder, folds: Sequence[Fold | None], scorer: Scorer | None, epochs: int) -> None:
        self.carried_as = build.name
        self._build = build
        self._folds = folds
        self._scorer = scorer
        self._epochs = epochs

    def __call__(self, candidate: Candidate, place: int) -> Trainable:
        fold = self._folds[place]
        problem = self._build(candidate, fold, self._epochs)
        return problem if self._scorer is None else self._scorer.scoring(problem, fold)


def _key(number: int, until: int, epochs: int) -> str:
    return f"search/{number}/{until}of{epochs}"


def _whole(number: int) -> str:
    return f"search/{number}/whole"


def _epochs_of(trials: Iterable[Trial]) -> float:
    """Return how many epochs were trained for these trials."""
    return sum(one.epochs + one.extra_epochs for one in trials)


def _words(error: BaseException) -> str:
    """Return an error with the place where it happened, in another process too."""
    notes: list[str] = getattr(error, "__notes__", [])
    told = next((note for note in notes if note.startswith("Traceback")), None)
    return told or "".join(traceback.format_exception(error))


def _mean_of(parts: list[Trial], bench: Bench) -> Trial:
    """Return a candidate's trial: the mean of its folds' curves, and each fold's value where the mean is best."""
    if len(parts) == 1:
        return parts[0]
    states = [one.state for one in parts]
    worst = next((one for one in (TrialState.FAILED, TrialState.DIVERGED) if one in states), parts[0].state)
    curve = _mean([one.curve for one in parts])
    name = bench.deciding(curve.metrics)
    best = curve.best(name, bench.mode) if curve.metrics else None
    row = None if best is None else int(np.flatnonzero(curve.epochs == best.epoch)[0])
    return msgspec.structs.replace(
        parts[0],
        state=worst,
        curve=curve,
        value=None if best is None else best.value,
        folds=[] if row is None else [float(one.curve.values(name)[row]) for one in parts],
        epochs=min(one.epochs for one in parts),
        extra_epochs=sum(one.extra_epochs for one in parts),
        seconds=sum(one.seconds for one in parts),
        error=next((one.error for one in parts if one.error), None),
    )


def _mean(curves: list[LearningCurve]) -> LearningCurve:
    """Return the mean of the curves over the rows and the metrics that all of them have."""
    rows = min(len(curve) for curve in curves)
    names = [name for name in curves[0].metrics if all(name in curve.metrics for curve in curves)]
    metrics = {name: np.mean([curve.metrics[name][:rows] for curve in curves], axis=0) for name in names}
    return LearningCurve(epochs=curves[0].epochs[:rows], metrics=metrics)
