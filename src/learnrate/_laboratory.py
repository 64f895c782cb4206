"""Where a verb's trials are run: every training starts alike, is counted, remembered and told, and nothing is lost.

Every verb opens one `Laboratory`. It holds the problem's state from before, puts it back at the end whatever
happened, and is the only place that trains, counts the cost, writes to the study and sends events.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from learnrate.curves import LearningCurve, Mode
from learnrate.engines.local import LocalEngine
from learnrate.errors import UnknownMetricError
from learnrate.results import Trial, TrialState
from learnrate.training import Engine, Event, EventKind, Row, Segment, Snapshot, Trainable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from learnrate.schedules import ScheduleMaker
    from learnrate.study import Study


class Laboratory:
    """Runs trials of one problem, all from the same initial state.

    Args:
        problem: What is trained.
        epochs: The horizon: a full training run.
        schedule: Makes the schedule of a learning rate and a number of steps.
        metric: The deciding metric; "val_loss" gives way to "loss" where nothing is validated.
        mode: Whether the metric is better when small ("min") or large ("max").
        budget: What may be spent, in full runs; None for no limit.
        study: Remembers finished segments; None for no study.
        engine: Where segments are trained; None for this process.
        on_event: Receives every `Event` as it happens.
    """

    def __init__(
        self,
        problem: Trainable,
        *,
        epochs: int,
        schedule: ScheduleMaker,
        metric: str,
        mode: Mode,
        seed: int,
        budget: float | None = None,
        study: Study | None = None,
        engine: Engine | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.problem = problem
        self.epochs = epochs
        self.schedule = schedule
        self.metric = metric
        self.mode: Mode = mode
        self.seed = seed
        self.budget = budget
        self.trials: list[Trial] = []
        self.warnings: list[str] = []
        self.untrained: dict[str, float] = {}
        self.spent = 0.0
        self.total_steps = epochs * problem.steps_per_epoch
        self._study = study
        self._engine = engine or LocalEngine()
        self._on_event = on_event
        self._shelf = _Shelf(problem, study)
        self._initial: Snapshot = None
        self._stage = ""
        evaluation_steps = float(getattr(problem, "evaluation_steps", 0.0))
        self._evaluation_cost = evaluation_steps / (self.total_steps + epochs * evaluation_steps)
        self._step_cost = 1 / (self.total_steps + epochs * evaluation_steps)

    def __enter__(self) -> Self:
        self._initial = self.problem.snapshot()
        try:
            self._look_before_training()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        try:
            self.problem.restore(self._initial)
        finally:
            self._initial = None
            self._shelf.close()

    @property
    def untrained_value(self) -> float | None:
        """The deciding metric before training, None where it is not known or not finite."""
        value = self.untrained.get(self.metric)
        return None if value is None or not math.isfinite(value) else value

    def cost(self, steps: float, evaluations: int = 1) -> float:
        """Return what so many steps and evaluations cost, in full training runs."""
        return steps * self._step_cost + evaluations * self._evaluation_cost

    def training_cost(self, steps: int) -> float:
        """Return what a training of so many steps costs: the steps, and the evaluation of each epoch and of its end."""
        return self.cost(steps, math.ceil(steps / self.problem.steps_per_epoch))

    def announce(self, stage: str) -> None:
        """Tell that a stage of the work begins, in words."""
        self._stage = stage
        self._tell(EventKind.STAGE)

    def steps(self, fraction: float) -> int:
        """Return a fraction of the horizon in steps, at least one and at most all of them."""
        return min(max(round(fraction * self.total_steps), 1), self.total_steps)

    def restart(self, learning_rate: float, epochs: float, seed: int) -> None:
        """Put the problem into the state in which a fresh training begins."""
        self.problem.restore(self._initial)
        begin = getattr(self.problem, "begin", None)
        if begin is not None:
            begin(learning_rate, epochs, seed)

    def train(
        self, learning_rate: float, steps: int, *, stage: str, keep_best: bool = False, seed: int | None = None
    ) -> Trial:
        """Train once from the initial state, the schedule running over these steps."""
        segment = Segment(
            trial=len(self.trials),
            learning_rate=learning_rate,
            first_step=0,
            last_step=steps,
            total_steps=steps,
            seed=self.seed if seed is None else seed,
            stage=stage,
        )
        trial = self._recall(segment, needs_weights=keep_best) or self._run(segment, keep_best=keep_best)
        self.trials.append(trial)
        self.spent += self.cost_of(trial)
        self._check_metric(trial)
        self._tell(EventKind.TRIAL_FINISHED, trial)
        return trial

    def cost_of(self, trial: Trial) -> float:
        """Return what a trial cost in full training runs: its steps, and its evaluations."""
        evaluations = len(trial.curve) - (trial.state is TrialState.DIVERGED)
        return self.cost(trial.epochs * self.problem.steps_per_epoch, max(evaluations, 0))

    def best_weights(self, trial: Trial) -> Snapshot | None:
        """Return the weights of a trial's best epoch, where they were kept."""
        return self._shelf.get(trial.number)

    def count(self, steps: float, evaluations: int) -> None:
        """Add work that is no trial to what was spent."""
        self.spent += self.cost(steps, evaluations)

    def recall(self, key: str) -> Trial | None:
        """Return what the study remembers under a key, if there is a study and it does."""
        return None if self._study is None else self._study.recall(key)

    def remember(self, key: str, trial: Trial) -> None:
        """Write a finished piece of work into the study, if there is one."""
        if self._study is not None:
            self._study.finish(key, trial)

    def _look_before_training(self) -> None:
        self.untrained = dict(self.problem.evaluate())
        self.count(0, 1)
        if getattr(self.problem, "constant_rate_only", False) or self.metric in self.untrained:
            return
        self.restart(self._any_rate(), self.epochs, self.seed)
        known = dict(self.untrained) | dict.fromkeys(self.problem.train(np.array([self._any_rate()])), math.nan)
        self.problem.restore(self._initial)
        self._choose_metric(known)

    def _any_rate(self) -> float:
        return float(getattr(self.problem, "learning_rate", None) or 1e-6)

    def _check_metric(self, trial: Trial) -> None:
        if len(trial.curve) and trial.state is not TrialState.DIVERGED:
            self._choose_metric(trial.curve.metrics)

    def _choose_metric(self, known: Any) -> None:
        if self.metric in known:
            return
        if self.metric == "val_loss" and "loss" in known:
            self.metric = "loss"
            self.warnings.append(
                "there is no validation loss, so the training loss decides: it does not see overfitting"
            )
            return
        names = ", ".join(sorted(known)) or "none at all"
        msg = f"no metric is named {self.metric!r}; the training reports {names}: pass one of these as metric="
        raise UnknownMetricError(msg)

    def _recall(self, segment: Segment, *, needs_weights: bool) -> Trial | None:
        trial = self.recall(segment.key)
        if trial is not None and needs_weights and trial.value is not None:
            self._shelf.load(trial.number)
        return trial

    def _run(self, segment: Segment, *, keep_best: bool) -> Trial:
        epochs = segment.total_steps / self.problem.steps_per_epoch
        started = time.perf_counter()
        rows: list[Row] = []
        trial = self._trial(segment, rows, TrialState.RUNNING, started)
        if self._study is not None:
            self._study.start(trial, segment.key)
        self._tell(EventKind.TRIAL_STARTED, trial)

        def on_row(row: Row) -> None:
            better = keep_best and self._improves(rows, row)
            rows.append(row)
            if better:
                self._shelf.put(segment.trial, self.problem.snapshot())
            if self._study is not None:
                self._study.record(segment.trial, row.epoch, row.metrics)
            self._tell(EventKind.EPOCH, self._trial(segment, rows, TrialState.RUNNING, started))

        self.restart(segment.learning_rate, epochs, segment.seed)
        diverged = self._engine.train(self.problem, segment, self.schedule, on_row)
        diverged = diverged or not math.isfinite(rows[-1].metrics.get(self._deciding(rows[-1]), math.nan))
        trial = self._trial(segment, rows, TrialState.DIVERGED if diverged else TrialState.COMPLETE, started)
        if keep_best:
            self._shelf.persist(segment.trial)
        self.remember(segment.key, trial)
        return trial

    def _deciding(self, row: Row) -> str:
        return self.metric if self.metric in row.metrics or self.metric != "val_loss" else "loss"

    def _improves(self, rows: list[Row], row: Row) -> bool:
        metric = self._deciding(row)
        value = row.metrics.get(metric, math.nan)
        if row.diverged or not math.isfinite(value):
            return False
        before = LearningCurve.from_rows([(old.epoch, old.metrics) for old in rows])
        best = before.best(metric, self.mode) if metric in before.metrics else None
        return best is None or (value < best.value if self.mode == "min" else value > best.value)

    def _trial(self, segment: Segment, rows: list[Row], state: TrialState, started: float) -> Trial:
        curve = LearningCurve.from_rows([(row.epoch, row.metrics) for row in rows])
        metric = self._deciding(rows[-1]) if rows else self.metric
        best = curve.best(metric, self.mode) if metric in curve.metrics else None
        return Trial(
            number=segment.trial,
            hyperparameters={"learning_rate": segment.learning_rate},
            state=state,
            curve=curve,
            value=None if best is None else best.value,
            seed=segment.seed,
            seconds=time.perf_counter() - started,
            epochs=rows[-1].epoch if rows else 0.0,
            horizon=segment.total_steps / self.problem.steps_per_epoch,
            stage=segment.stage,
        )

    def _tell(self, kind: EventKind, trial: Trial | None = None) -> None:
        if self._on_event is not None:
            self._on_event(Event(kind=kind, message=self._stage, spent=self.spent, budget=self.budget, trial=trial))


class _Shelf:
    """Keeps one snapshot a trial: the newest in memory, those before it in files."""

    def __init__(self, problem: Trainable, study: Study | None) -> None:
        self._problem = problem
        self._study = study
        self._newest: tuple[int, Snapshot] | None = None
        self._files: dict[int, Path] = {}
        self._folder = contextlib.ExitStack()

    def put(self, trial: int, snapshot: Snapshot) -> None:
        if self._newest is not None and self._newest[0] != trial and self._newest[0] not in self._files:
            self._write(*self._newest)
        self._newest = (trial, snapshot)

    def get(self, trial: int) -> Snapshot | None:
        if self._newest is not None and self._newest[0] == trial:
            return self._newest[1]
        return self._problem.load(self._files[trial]) if trial in self._files else None

    def persist(self, trial: int) -> None:
        """Write a trial's snapshot into the study, so that a later process finds it."""
        if self._study is not None and self._newest is not None and self._newest[0] == trial:
            self._write(*self._newest)

    def load(self, trial: int) -> None:
        """Find a trial's snapshot in the study."""
        file = None if self._study is None else self._study.checkpoint(f"trial-{trial}")
        if file is not None:
            self._files[trial] = file

    def _write(self, trial: int, snapshot: Snapshot) -> None:
        if self._study is not None:
            name = f"trial-{trial}"
            self._study.write_checkpoint(name, lambda path: self._problem.save(snapshot, path))
            self.load(trial)
            return
        if not self._files:
            self._root = Path(self._folder.enter_context(tempfile.TemporaryDirectory(prefix="learnrate-")))
        path = self._root / f"trial-{trial}"
        self._problem.save(snapshot, path)
        self._files[trial] = path

    def close(self) -> None:
        self._newest = None
        self._files = {}
        self._folder.close()


def open_study(
    path: str | Path | None, *, verb: str, settings: dict[str, Any], problem: Trainable
) -> contextlib.AbstractContextManager[Study | None]:
    """Open or continue the study in a folder; a context without a study where there is no path."""
    if path is None:
        return contextlib.nullcontext()
    from learnrate.study import Study

    describe = getattr(problem, "describe", None)
    identity = {"steps_per_epoch": int(problem.steps_per_epoch)} | dict({} if describe is None else describe())
    return Study.open(Path(path), verb=verb, settings=settings, identity=identity)
