"""Where a verb's trials are run: every training starts alike, is counted, remembered and told, and nothing is lost.

Every verb opens one `Laboratory`. It holds the problem's state from before, puts it back at the end whatever
happened, and is the only place that trains, counts the cost, writes to the study and sends events.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from learnrate._numbers import rate
from learnrate._trials.bench import Bench
from learnrate._trials.data_check import DataCheck
from learnrate._trials.elsewhere import Elsewhere
from learnrate._trials.pace import Pace
from learnrate._trials.paused import Paused
from learnrate._trials.ramp import Ramp
from learnrate._trials.shelf import Shelf
from learnrate._trials.stacked import SeedsTogether, Together, Vectorized, together
from learnrate._trials.tasks import Ended, Task
from learnrate._trials.untrained import estimated
from learnrate._trials.work import Work, WorkHere
from learnrate.curves import Array, LearningCurve, Mode
from learnrate.errors import TrialFailedError
from learnrate.results import Trial, TrialState
from learnrate.schedules import as_values
from learnrate.stopping import EarlyStopping, Rule, Stopping
from learnrate.training import Engine, Event, EventKind, Row, Segment, Snapshot, Trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from learnrate._trials.spending import SpendingPlan
    from learnrate.schedules import ScheduleMaker
    from learnrate.study import Study


class Laboratory(Bench):
    """Runs trials of one problem, all from the same initial state over the same batches.

    A trial is trained on the full schedule up to some step, and may be continued from there as if it had never
    stopped, so that a short training is the beginning of the long one and nothing is trained twice.

    Args:
        problem: What is trained.
        epochs: The horizon: a full training run.
        schedule: Makes the schedule of a learning rate and a number of steps.
        metric: The deciding metric; "val_loss" gives way to "loss" where nothing is validated.
        mode: Whether the metric is better when small ("min") or large ("max").
        seed: Of every trial.
        budget: What may be spent, in full runs; None for no limit.
        stopping: The rules that end trials early or lower their rates.
        study: Remembers finished segments; None for no study.
        engine: Where segments are trained; None for this process.
        build: Builds the problem in other processes; None to carry it over as it is.
        vectorized: Whether trainings that do not depend on each other go on in one program.
        num_copies: How many such trainings there are.
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
        stopping: tuple[Rule, ...] = (),
        study: Study | None = None,
        engine: Engine | None = None,
        build: Callable[[], Trainable] | None = None,
        vectorized: Vectorized = False,
        num_copies: int = 1,
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
        self.problem = problem
        self.seed = seed
        self.stopping = stopping
        self.trials: list[Trial] = []
        self.take_warnings(getattr(problem, "warnings", ()))
        self.data_check = DataCheck(problem)
        self.untrained: dict[str, float] = {}
        self.estimates_untrained = False
        self.in_one_piece = False
        self.total_steps = epochs * problem.steps_per_epoch
        self._build = build
        self._elsewhere: Elsewhere | None = None
        self._vectorized: tuple[Vectorized, int] = vectorized, num_copies
        self.together: Together | None = None
        self.seeds_together: SeedsTogether | None = None
        self._initial_file: Path | None = None
        self.pace = Pace()
        self.shelf = Shelf(problem, study)
        self._paused = Paused(problem, mode)
        self._has_weights = not getattr(problem, "constant_rate_only", False)  # else they are inside a function
        self._initial: Snapshot = None
        evaluation_steps = float(getattr(problem, "evaluation_steps", 0.0))
        self._run_steps = self.total_steps + epochs * evaluation_steps
        self._evaluation_steps = evaluation_steps

    def __enter__(self) -> Self:
        self._initial = self.problem.snapshot()
        try:
            self._prepare()
            self.together = together(self, *self._vectorized, self._initial)
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
            self._exit.close()  # the workers first: whatever else fails, nothing is left running
            self.problem.restore(self._initial)
        finally:
            self._initial = None
            self.shelf.close()
            getattr(self.problem, "close", lambda: None)()

    @property
    def untrained_value(self) -> float | None:
        """The deciding metric before training: evaluated, or estimated where that is asked for, else None."""
        if self.metric not in self.untrained and self.estimates_untrained:
            return estimated(self.trials, self.metric, self.mode)
        return self.evaluated_untrained

    @property
    def evaluated_untrained(self) -> float | None:
        """The deciding metric before training, None where it was not evaluated."""
        value = self.untrained.get(self.metric)
        return None if value is None or not math.isfinite(value) else value

    @property
    def num_validation_samples(self) -> int | None:
        """How many samples the validation metrics are a mean over, where that is known."""
        return getattr(self.problem, "num_validation_samples", None)

    def cost(self, steps: float, evaluations: int) -> float:
        """Return what so many steps and evaluations cost, in full training runs."""
        return (steps + evaluations * self._evaluation_steps) / self._run_steps

    def training_cost(self, first_step: int, last_step: int) -> float:
        """Return what training costs from one step to another: steps, and an evaluation at each epoch and the end."""
        per_epoch = self.problem.steps_per_epoch
        if last_step <= first_step:
            return 0.0
        first_step = 0 if self.in_one_piece else first_step
        evaluations = last_step // per_epoch - first_step // per_epoch + (last_step % per_epoch > 0)
        return self.cost(last_step - first_step, evaluations)

    def cost_of_epochs(self, first: float, last: float) -> float:
        """Return what training costs from one epoch to another, evaluations included."""
        return self.training_cost(self.step_at(first), self.step_at(last))

    def announce_plan(self, plan: SpendingPlan) -> None:
        """Tell what the work will spend; a function's steps are its epochs, and it evaluates within them."""
        if self.begins_anew:
            plan = plan._replace(steps="", evaluations="")
        elif not (self.untrained or self._evaluation_steps):
            plan = plan._replace(evaluations="")
        super().announce_plan(plan)

    @property
    def begins_anew(self) -> bool:
        """Whether each training has a start of its own: a function builds its model, a command is a process."""
        return not self._has_weights

    def loaded(self, number: int) -> None:
        """Take note that a worker has loaded a trial."""
        self.timing.loaded(number)

    @property
    def num_at_a_time(self) -> int:
        """How many trainings go on at a time, as far as is known now."""
        if self.together is not None:
            return self._vectorized[1]
        return 1 if self._elsewhere is None else self._elsewhere.size

    def steps(self, fraction: float) -> int:
        """Return a fraction of the horizon in steps, at least one and at most all of them."""
        return min(max(round(fraction * self.total_steps), self._fewest_steps), self.total_steps)

    @property
    def _fewest_steps(self) -> int:
        if not self.in_one_piece:
            return 1
        takes_epochs = bool(getattr(self.problem, "takes_epochs", False))
        return int(getattr(self.problem, "telling_epochs", 1)) if takes_epochs else self.total_steps

    def relative_rates(self, last_step: int) -> Array:
        """Return the rates of a training up to a step, in units of its learning rate."""
        return as_values(self.schedule(1.0, last_step if self.in_one_piece else self.total_steps), 0, last_step)

    def find_pieces(self, learning_rate: float, first_step: Callable[[], int]) -> None:
        """Find out whether trainings come in one piece; where that is not known, the first of them is begun.

        Args:
            learning_rate: Of the training that comes first.
            first_step: Tells how far it goes, if trainings come in one piece.
        """
        comes_whole = getattr(self.problem, "comes_whole", None)
        if comes_whole is None:
            return
        self.in_one_piece = True
        steps = first_step()
        segment = self.segment_of(learning_rate, steps, "")
        if self.study is not None and self.study.recall(segment.key) is not None:
            return
        if getattr(self.problem, "whole", None) is None:
            self.timing.leave_out(segment.trial)
        self.in_one_piece = bool(comes_whole(learning_rate, steps, self.seed))
        if not self.in_one_piece and steps < self.total_steps:  # what was begun is no beginning of a full training
            getattr(self.problem, "let_go")(learning_rate)  # noqa: B009  # an optional member, which it has
            self.spent += self.training_cost(0, int(getattr(self.problem, "epochs_to_tell", 0)))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.problem.steps_per_epoch

    def saw(self, row: Row) -> None:
        """Look at what diverged before any update; the metric that decides is known before any training."""
        if row.at_once:
            self.data_check.broke_at_once()

    def steps_of(self, trial: Trial) -> int:
        """Return how many steps a trial has been trained for."""
        return round(trial.epochs * self.problem.steps_per_epoch)

    def start(self, learning_rate: float, last_step: int, *, stage: str) -> Trial:
        """Train a new trial from the initial state up to a step of the full schedule; in one piece, a shorter one."""
        return self._train(self.segment_of(learning_rate, last_step, stage))

    def start_all(self, learning_rates: Iterable[float], last_step: int, *, stage: str) -> Iterator[Trial]:
        """Train a new trial at each rate as `start` does, and give each as it ends.

        They are trained at once where the engine has workers, or in one program where that is so decided.

        Whatever ends first, the trials are numbered as the rates are, and the answer is the same.
        """
        fresh = self.segment_of(math.nan, last_step, stage)
        segments = [
            msgspec.structs.replace(fresh, trial=fresh.trial + place, learning_rate=each)
            for place, each in enumerate(learning_rates)
        ]
        if not self.engine.has_workers and (self.together is None or len(segments) == 1):
            for segment in segments:
                yield self._train(segment)
            return
        before, spent = list(self.trials), self.spent
        done: dict[int, Trial] = {}
        for trial in self._trained_at_once(segments):
            done[trial.number] = trial
            self.trials = before + [done[number] for number in sorted(done)]
            self.spent = spent
            for number in sorted(done):  # in this order, since sums of floats depend on it
                self.spent += self._cost_since(None, done[number])
            self._take(trial, last_step)
            yield trial

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """Continue a trial up to a later step, from where it was left, or from its beginning where it is not held."""
        if self.in_one_piece:
            return self.start(trial.learning_rate, last_step, stage=stage)
        made = self.steps_of(trial)
        if not self._paused.holds(trial):
            self.spent += self.training_cost(0, made)
            if self.budget is not None:
                left = self.budget + 1 / self.epochs - self.spent
                last_step = max(min(last_step, made + math.floor(left * self.total_steps + 1e-9)), made + 1)
        segment = self.segment_of(trial.learning_rate, last_step, stage)
        before = self.rules_after(trial)
        return self._train(
            msgspec.structs.replace(segment, trial=trial.number, first_step=made, stopping=before), trial
        )

    def branch(self, trunk: Trial, first_step: int, last_step: int, schedule: ScheduleMaker, *, stage: str) -> Trial:
        """Train what goes on from a step of a trial on another schedule, of `last_step` steps.

        The step is the trial's last or that of its best epoch, whose weights are on the shelf, and until then its
        schedule is the same. What goes on is a trial of its own, which `trials` does not hold.
        """
        number = len(self.trials)
        segment = Segment(
            trial=number,
            learning_rate=trunk.learning_rate,
            first_step=first_step,
            last_step=last_step,
            total_steps=last_step,
            seed=self.seed,
            stage=stage,
        )
        epochs = first_step / self.problem.steps_per_epoch
        curve = trunk.curve.until(epochs)
        before = msgspec.structs.replace(trunk, number=number, curve=curve, epochs=epochs, seconds=0.0)
        if self.study is None or self.study.recall(segment.key) is None:
            self.shelf.put(number, first_step, lambda: self.shelf.get(trunk.number, first_step))
        own, self.schedule = self.schedule, schedule
        try:
            trial = self._trained(segment, before)
        finally:
            self.schedule = own
        self._take(trial, last_step)
        return trial

    def segment_of(self, learning_rate: float, last_step: int, stage: str) -> Segment:
        """Return the segment that the next trial begins with."""
        if self.in_one_piece:
            stage = "full" if last_step == self.total_steps else "short"
        return Segment(
            trial=len(self.trials),
            learning_rate=learning_rate,
            first_step=0,
            last_step=last_step,
            total_steps=last_step if self.in_one_piece else self.total_steps,
            seed=self.seed,
            stage=stage,
            stopping=self.rules_after(None),
        )

    def best_weights(self, trial: Trial) -> Snapshot | None:
        """Return the weights that a trial ends with, as `weights` does; drop those of every other."""
        weights, step = self.weights(trial), self.step_of_weights(trial)
        if weights is not None and step is not None:
            self.shelf.keep_only((trial.number, step))
        return weights

    def weights(self, trial: Trial) -> Snapshot | None:
        """Return the weights that a trial ends with: of its best epoch, or of its last where early stopping asks so.

        None where it has none, with a warning where the study has lost them.
        """
        step = self.step_of_weights(trial)
        try:
            return None if step is None or not self._has_weights else self.shelf.get(trial.number, step)
        except KeyError:
            self.warnings.append(f"the study no longer has the weights of trial {trial.number}")
            return None

    def step_of_weights(self, trial: Trial) -> int | None:
        """Return the step whose weights a trial ends with; None where it has no best epoch."""
        best = trial.curve.best(self.deciding(trial.curve.metrics), self.mode) if trial.curve.metrics else None
        if best is None or trial.state is TrialState.DIVERGED:
            return None
        last = any(isinstance(rule, EarlyStopping) and not rule.restore_best for rule in self.stopping)
        return self.steps_of(trial) if last else self.step_at(best.epoch)

    def ramp(self, learning_rates: Array) -> Array:
        """Train a step at each of these rates, in turn, from the initial state; stop where it broke.

        Returns the losses of the steps that were made: fewer than the rates where training broke.
        """
        return self.ramps(learning_rates, [self.seed])[0]

    def ramps(self, learning_rates: Array, seeds: Sequence[int]) -> list[Array]:
        """Do what `ramp` does with each of these seeds; return the losses of each."""
        ends = f"{len(learning_rates)}/{learning_rates[0]!r}-{learning_rates[-1]!r}"
        keys = {seed: f"range test/{ends}/{seed}" for seed in seeds}
        known = {} if self.study is None else {seed: self.study.recall(key) for seed, key in keys.items()}
        missing = [seed for seed in seeds if known.get(seed) is None]
        made = {} if self.seeds_together is None else self.seeds_together.ramps(learning_rates, missing)
        several: list[Array] = []
        for seed in seeds:
            before = known.get(seed)
            if before is not None:
                losses = before.curve.values("loss")
            else:
                losses = made[seed] if seed in made else self._ramp(learning_rates, seed)
            if not math.isfinite(losses[0]):
                self.data_check.broke_at_once()
            self.spent += self.cost(len(losses), 0)
            if self.study is not None and before is None:
                self.study.finish(keys[seed], _ramp_trial(learning_rates, losses, seed))
            several.append(losses)
        return several

    def _ramp(self, learning_rates: Array, seed: int) -> Array:
        self.restart(float(learning_rates[-1]), self.epochs, seed)
        ramp = Ramp(learning_rates, self.problem.steps_per_epoch)
        while not ramp.is_over:
            ramp.take(self.problem.train(ramp.rates())["loss"])
        return ramp.losses

    def restart(self, learning_rate: float, epochs: int, seed: int | None = None) -> None:
        """Put the problem back to where it was found, and begin a training, by default with the laboratory's seed."""
        self.problem.restore(self._initial)
        begin = getattr(self.problem, "begin", None)
        if begin is not None:
            begin(learning_rate, epochs, self.seed if seed is None else seed)

    def _prepare(self) -> None:
        prepare = getattr(self.problem, "prepare", None)
        if prepare is not None:
            folder = None if self.study is None else self.study.folder
            prepare(metric=self.metric, schedule=self.schedule, epochs=self.epochs, folder=folder)

    def _look_before_training(self) -> None:
        if self.metric == "loss":
            return  # every training reports it, and no evaluation tells it
        self.untrained = dict(self.problem.evaluate())
        self.spent += self.cost(0, 1)
        self.data_check.require_number(self.metric, self.untrained.get(self.metric, 0.0))
        if getattr(self.problem, "constant_rate_only", False) or self.metric in self.untrained:
            return
        at = float(getattr(self.problem, "learning_rate", None) or 1e-6)
        self.restart(at, self.epochs)
        reported = self.problem.train(np.array([at]))
        self.problem.restore(self._initial)
        self.choose_metric([*self.untrained, *reported])
        if not math.isfinite(reported["loss"][0]):
            self.data_check.broke_at_once()

    def _train(self, segment: Segment, before: Trial | None = None) -> Trial:
        trial = self._trained(segment, before)
        self.trials[segment.trial : segment.trial + 1] = [trial]
        self._take(trial, segment.total_steps)
        return trial

    def _trained(self, segment: Segment, before: Trial | None) -> Trial:
        known = None if self.study is None else self.study.recall(segment.key)
        trial = self._run(segment, before) if known is None else known
        self.spent += self._cost_since(before, trial)
        return trial

    def _take(self, trial: Trial, total_steps: int) -> None:
        """Take note of a segment's trial."""
        self.take_warnings(getattr(self.problem, "warnings", ()))
        if trial.state is TrialState.COMPLETE:
            self.choose_metric(trial.curve.metrics)
        if trial.state is TrialState.FAILED:
            self.warnings.append(f"training failed at learning rate {rate(trial.learning_rate)}: {trial.error}")
        self._paused.left(trial, finished=self.steps_of(trial) >= total_steps)
        self.tell(EventKind.TRIAL_FINISHED, trial)

    def _run(self, segment: Segment, before: Trial | None) -> Trial:
        elsewhere = None if before is not None and hasattr(self.problem, "let_go") else self._workers()
        if elsewhere is not None:
            return next(self._trained_by(elsewhere, [(segment, before)]))
        return self.finish(WorkHere.opened(self, segment, before))

    def finish(self, work: WorkHere) -> Trial:
        """Train in this process what has been opened."""
        self.go_to_start(work)
        diverged, error = False, None
        self.pace.begin()
        try:
            diverged = self.engine.train(self.problem, work.segment, self.schedule, work.on_row)
        except TrialFailedError as failure:
            if not work.has_rows and not self.has_curves:
                raise  # nothing has ever worked: another learning rate would hardly help
            error = str(failure)
        return work.ended(diverged=diverged, error=error, snapshot=self.problem.snapshot)

    def go_to_start(self, work: Work) -> None:
        """Put the problem where a segment begins."""
        segment = work.segment
        if work.before is None:
            self.restart(segment.learning_rate, segment.total_steps // self.problem.steps_per_epoch)
        else:
            self.problem.restore(self.shelf.get(segment.trial, segment.first_step))

    @property
    def has_curves(self) -> bool:
        """Whether any trial has ever reported anything."""
        return any(len(trial.curve) for trial in self.trials)

    def checkpoint_due(self) -> bool:
        """Return whether a training in this process is to leave a checkpoint now."""
        return self.study is not None and not hasattr(self.problem, "let_go") and self.pace.due()

    def _trained_at_once(self, segments: list[Segment]) -> Iterator[Trial]:
        known = [None if self.study is None else self.study.recall(segment.key) for segment in segments]
        yield from (trial for trial in known if trial is not None)
        elsewhere = self._workers()
        wanted = [segment for segment, trial in zip(segments, known, strict=True) if trial is None]
        if elsewhere is not None and wanted:
            yield from self._trained_by(elsewhere, [(segment, None) for segment in wanted])
        elif self.together is not None:
            yield from self.together.train(wanted)

    def _trained_by(self, elsewhere: Elsewhere, wanted: list[tuple[Segment, Trial | None]]) -> Iterator[Trial]:
        for segment, before in wanted:
            elsewhere.submit(Work.opened(self, segment, before), self._task)
        for work, ended in elsewhere.ended():
            yield self._ended(work, ended)

    def _workers(self) -> Elsewhere | None:
        """Return who trains elsewhere, None where all is trained here; the workers begin when they are first needed."""
        if self._elsewhere is None and self.engine.has_workers:
            folder = self.scratch()
            self._initial_file = folder / "initial"
            self.problem.save(self._initial, self._initial_file)
            self._elsewhere = Elsewhere(self.opened(folder))
        return self._elsewhere

    def _task(self, work: Work) -> Task:
        segment = work.segment
        first = segment.first_step == 0
        return Task(
            key=work.key,
            segment=segment,
            problem=self._build or self.problem,
            schedule=self.schedule,
            metric=self.metric,
            mode=self.mode,
            epochs=self.epochs,
            start=self._initial_file if first else self.shelf.file(segment.trial, segment.first_step),
            best=work.best,
            folder=None if self.study is None else self.study.folder,
        )

    def _ended(self, work: Work, ended: Ended) -> Trial:
        """Return the trial of a segment that has ended elsewhere.

        Raises:
            TrialFailedError: If nothing has ever worked.
        """
        self.take_warnings(ended.warnings)
        if ended.error is not None and not isinstance(ended.error, TrialFailedError):
            raise ended.error
        error = ended.lost if ended.error is None else str(ended.error)
        if error is not None and not work.has_rows and not self.has_curves:
            raise TrialFailedError(error) from ended.error
        return work.ended(diverged=ended.diverged, error=error)

    def rules_after(self, before: Trial | None) -> Stopping | None:
        """Return the rules as they stand after a trial so far, None for a fresh one; None where there are no rules."""
        if not self.stopping:
            return None
        told: list[tuple[float, float]] = []
        if before is not None and len(before.curve):
            values = before.curve.values(self.deciding(before.curve.metrics)).tolist()
            told = [
                (epoch, value)
                for epoch, value in zip(before.curve.epochs.tolist(), values, strict=True)
                if epoch == round(epoch)  # rules count whole epochs
            ]
        return Stopping(self.stopping, self.metric, tuple(told))

    def _cost_since(self, before: Trial | None, trial: Trial) -> float:
        rows = len(trial.curve) - (0 if before is None else len(before.curve))
        evaluations = max(rows - (trial.state is TrialState.DIVERGED), 0)
        return self.cost(self.steps_of(trial) - (0 if before is None else self.steps_of(before)), evaluations)

    def step_at(self, epoch: float) -> int:
        return round(epoch * self.problem.steps_per_epoch)


def _ramp_trial(learning_rates: Array, losses: Array, seed: int) -> Trial:
    curve = LearningCurve(epochs=np.arange(1.0, len(losses) + 1), metrics={"loss": losses})
    return Trial(
        number=-1,
        hyperparameters={"learning_rate": float(learning_rates[-1])},
        state=TrialState.COMPLETE,
        curve=curve,
        value=None,
        seed=seed,
        seconds=0.0,
        stage="range test",
    )


def open_study(
    path: str | Path | None, *, verb: str, settings: dict[str, Any], problem: Trainable, method: str | None = None
) -> contextlib.AbstractContextManager[Study | None]:
    """Open or continue the study in a folder; a context without a study where there is no path.

    A study that was begun by another `method` is refused: what it has trained is not what this one would train next.
    """
    if path is None:
        return contextlib.nullcontext()
    from learnrate.study import Study

    describe = getattr(problem, "describe", None)
    identity = {"steps_per_epoch": int(problem.steps_per_epoch)} | dict({} if describe is None else describe())
    if method is not None:
        identity["method"] = method
    return Study.open(path, verb=verb, settings=settings, identity=identity)
