"""One segment of a trial while it is trained: what it has reported so far, and the best of it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from learnrate._trials.best import Best, deciding
from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState
from learnrate.training import EventKind, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from learnrate._trials.laboratory import Laboratory
    from learnrate._trials.shelf import Shelf
    from learnrate._trials.tasks import Began, Saved
    from learnrate.curves import Mode
    from learnrate.stopping import Rule, Stopping
    from learnrate.study import Study
    from learnrate.training import Segment, Snapshot


class Home(Protocol):
    """What a segment needs of the verb that wants it."""

    mode: Mode
    study: Study | None
    shelf: Shelf
    stopping: tuple[Rule, ...]

    @property
    def metric(self) -> str:
        """The deciding metric, as far as is known."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch as segments count them."""
        ...

    def rules_after(self, before: Trial | None) -> Stopping | None:
        """Return the stopping rules as they stand after a trial so far."""
        ...

    def saw(self, row: Row) -> None:
        """Look at a row before anything is done with it."""
        ...

    def loaded(self, number: int) -> None:
        """Take note that a worker has loaded a trial, and trains it from now on."""
        ...

    def tell(self, kind: EventKind, trial: Trial) -> None:
        """Tell what happens."""
        ...


class Work:
    """One segment being trained: its rows so far, the best among them, and the weights there.

    Args:
        lab: Whose segment it is.
        segment: What is trained.
        before: The trial as it stands at the segment's first step; None where it begins.
        key: What the study remembers the segment by; the segment's own, unless it goes on after a checkpoint.
        hyperparameters: The trial's; None for the learning rate alone.
    """

    def __init__(
        self,
        lab: Home,
        segment: Segment,
        before: Trial | None,
        key: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._lab = lab
        self.segment = segment
        self.before = before
        self.key = segment.key if key is None else key
        self.replays = False
        rate = {"learning_rate": segment.learning_rate}
        self._hyperparameters = dict(rate if hyperparameters is None else hyperparameters)
        self._started = time.perf_counter()
        self._seconds = 0.0 if before is None else before.seconds
        curve = None if before is None else before.curve
        self._rows: list[Row] = []
        if curve is not None:
            for place, epoch in enumerate(curve.epochs):
                metrics = {name: float(values[place]) for name, values in curve.metrics.items()}
                self._rows.append(Row(float(epoch), metrics, diverged=False))
        self.saved: Trial | None = None
        self.best_step: int | None = None
        self._best = Best(lab.metric, lab.mode)
        for row in self._rows:
            self.improves(row)

    @classmethod
    def opened(
        cls,
        lab: Home,
        segment: Segment,
        before: Trial | None,
        key: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Begin a segment, or go on with it from the checkpoint that a killed process has left."""
        work = cls(lab, segment, before, key, hyperparameters)
        halfway = None if lab.study is None else lab.study.paused(work.key)
        if halfway is not None and lab.shelf.has(segment.trial, work.step_at(halfway.epochs)):
            work = work.going_on(halfway)
        if lab.study is not None:
            lab.study.start(work.trial(TrialState.RUNNING), work.key)
        lab.tell(EventKind.TRIAL_STARTED, work.trial(TrialState.RUNNING))
        return work

    def again(self) -> Self:
        """Return the segment as it goes on from its last checkpoint after its worker has died."""
        same = type(self)(self._lab, self.segment, self.before, self.key, self._hyperparameters)
        return same if self.saved is None else same.going_on(self.saved)

    def going_on(self, halfway: Trial) -> Self:
        """Return the segment as it goes on from a checkpoint."""
        lab, first = self._lab, self.step_at(halfway.epochs)
        segment = msgspec.structs.replace(self.segment, first_step=first, stopping=lab.rules_after(halfway))
        return type(self)(lab, segment, halfway, self.key, halfway.hyperparameters)

    def step_at(self, epoch: float) -> int:
        """Return the step at which so many epochs are finished."""
        return round(epoch * self._lab.steps_per_epoch)

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._rows)

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._best.value

    @property
    def lost(self) -> bool:
        """Whether the deciding metric ended as no number."""
        last = self._rows[-1].metrics if self._rows else {}
        value = last.get(deciding(self._lab.metric, last))
        return value is not None and not math.isfinite(value)

    def began(self, report: Began) -> None:
        """Take note of the rate that a training elsewhere begins at, and whether its first epochs are trained again."""
        self._lab.loaded(self.segment.trial)
        self.replays = report.replays
        if report.learning_rate is not None:
            self._hyperparameters["learning_rate"] = report.learning_rate

    def reported(self, row: Row) -> None:
        """Take a row of a training elsewhere."""
        self._lab.saw(row)
        self.improves(row)
        self.tell(row)

    def keep(self, saved: Saved) -> None:
        """Take what a training elsewhere has saved."""
        shelf, number = self._lab.shelf, self.segment.trial
        if saved.best_file is not None and saved.best_epoch is not None:
            shelf.adopt(number, self.step_at(saved.best_epoch), saved.best_file)
        if saved.file is not None:
            step = self.step_at(saved.epoch)
            shelf.adopt(number, step, saved.file)
            self.reached(step)

    def reached(self, step: int) -> None:
        """Remember that the training can go on from here; all that is needed for it is on the shelf."""
        lab, kept = self._lab, {step, self.best_step}
        self.saved = self.trial(TrialState.RUNNING)
        if lab.study is not None:
            lab.shelf.write(self.segment.trial, kept)
            lab.study.pause(self.key, self.saved)
        lab.shelf.settle(self.segment.trial, kept)

    def ended(self, *, diverged: bool, error: str | None, snapshot: Callable[[], Snapshot] | None = None) -> Trial:
        """End the segment; `snapshot` takes its weights, where they are not on the shelf already."""
        lab, number = self._lab, self.segment.trial
        trial = self.trial(TrialState.COMPLETE if error is None else TrialState.FAILED, error)
        if diverged or self.lost:
            trial = msgspec.structs.replace(trial, state=TrialState.DIVERGED)
        last_step = self.step_at(trial.epochs) if lab.stopping else self.segment.last_step  # a rule may have stopped it
        if trial.state is TrialState.COMPLETE and snapshot is not None:
            lab.shelf.put(number, last_step, snapshot)
        kept = {last_step, self.best_step}
        if lab.study is not None:
            lab.shelf.write(number, kept)
            lab.study.finish(self.key, trial)
        lab.shelf.settle(number, kept)  # only now: until the segment is finished it may have to begin again
        return trial

    def tell(self, row: Row) -> None:
        """Write a row down, and tell it."""
        lab = self._lab
        self._rows.append(row)
        if lab.study is not None:
            lab.study.record(self.segment.trial, row.epoch, row.metrics)
        lab.tell(EventKind.EPOCH, self.trial(TrialState.RUNNING))

    def improves(self, row: Row) -> bool:
        """Take note of a row; return whether it is the best."""
        if not self._best.improves(row):
            return False
        self.best_step = self.step_at(row.epoch)
        return True

    def trial(self, state: TrialState, error: str | None = None) -> Trial:
        """The trial as it stands."""
        lab, segment = self._lab, self.segment
        replayed = segment.first_step / lab.steps_per_epoch if self.replays else 0.0
        return Trial(
            number=segment.trial,
            hyperparameters=dict(self._hyperparameters),
            state=state,
            curve=LearningCurve.from_rows([(row.epoch, row.metrics) for row in self._rows]),
            value=self._best.value,
            seed=segment.seed,
            seconds=self._seconds + time.perf_counter() - self._started,
            epochs=self._rows[-1].epoch if self._rows else 0.0,
            horizon=segment.total_steps / lab.steps_per_epoch,
            stage=segment.stage,
            error=error,
            extra_epochs=replayed + (0.0 if self.before is None else self.before.extra_epochs),
        )


class WorkHere(Work):
    """A segment that a laboratory trains in this process, on the problem itself or on a copy in a stack.

    Attributes:
        snapshot: Takes a snapshot of what is trained.
    """

    def __init__(
        self,
        lab: Laboratory,
        segment: Segment,
        before: Trial | None,
        key: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(lab, segment, before, key, hyperparameters)
        self._here = lab
        self.snapshot: Callable[[], Snapshot] = lab.problem.snapshot

    def on_row(self, row: Row) -> None:
        """Take a row: keep the weights if it is the best, and all where that is due."""
        self.take(row)
        if not row.diverged and self.step_at(row.epoch) < self.segment.last_step and self._here.checkpoint_due():
            began = time.perf_counter()
            self.pause()
            self._here.pace.wrote(began)

    def take(self, row: Row) -> None:
        """Take a row, and keep the weights if it is the best."""
        lab, number, previous = self._here, self.segment.trial, self.best_step
        lab.saw(row)
        improved = self.improves(row)
        if improved and self.best_step is not None:
            lab.shelf.put(number, self.best_step, self.snapshot)
            if previous is not None and previous != self.segment.first_step:
                lab.shelf.forget(number, previous)
        self.tell(row)

    def pause(self) -> None:
        """Leave a checkpoint at the last row."""
        step = self.step_at(self._rows[-1].epoch)
        self._here.shelf.put(self.segment.trial, step, self.snapshot)
        self.reached(step)
