"""Laboratories that the race is replayed in: what they train was recorded.

A replay sees the recorded trainings, whose batches come in another order than `select`'s own. Between two marks of a
recording losses are interpolated, and a learning rate between the grid's is taken for the nearest, at most an eighth of
a decade away.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from benchmarks.regret.methods import schedule_of
from benchmarks.regret.record import Trainer
from benchmarks.regret.table import Table
from benchmarks.regret.tasks import BY_NAME

from learnrate._trials.untrained import estimated
from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState
from learnrate.schedules import as_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.regret.grid import TaskGrid

    from learnrate._trials.spending import SpendingPlan


class Recordings:
    """What the race asks of the recordings: losses at the ends of epochs and at a step."""

    def __init__(self, grids: Mapping[str, TaskGrid]) -> None:
        self.tables = {name: Table(grid) for name, grid in grids.items()}
        self.training = {name: training_losses(grid) for name, grid in grids.items()}
        self.evaluation_steps = {name: _evaluation_steps(name) for name in self.tables}

    def untrained(self, task: str, seed: int) -> float:
        """Validation loss before training."""
        return float(self.tables[task].untrained[seed])

    def curve(self, task: str, rate: float, seed: int, last: int) -> tuple[dict[int, float], int | None]:
        """Losses at each epoch's end up to a step and there, and at which step it had diverged, if it had."""
        per_epoch = BY_NAME[task].steps_per_epoch
        diverged = self.tables[task].diverged_at(rate, seed)
        diverged = diverged if diverged is not None and diverged < last else None
        end = last if diverged is None else diverged
        wanted = [step for step in (*range(per_epoch, last, per_epoch), last) if step <= end]
        return {step: self.tables[task].loss(rate, seed, step) for step in wanted}, diverged

    def training_losses(self, task: str, rate: float, seed: int, steps: Sequence[int]) -> np.ndarray:
        """The mean training loss since the step before, or over the last mark where that is nearer."""
        marks = self.tables[task].steps
        sums = self.training[task][self.tables[task].place(rate), seed]
        first = np.minimum(np.concatenate([[0], steps[:-1]]), np.maximum(np.asarray(steps) - marks[1], 0))
        return (np.interp(steps, marks, sums) - np.interp(first, marks, sums)) / (steps - first)


def training_losses(grid: TaskGrid) -> np.ndarray:
    """The summed training loss (rates, seeds, 1 + marks) up to each mark; where it was not recorded, as in `Table`."""
    recorded, losses = grid.own.recorded, grid.own.train_loss.astype(float)
    known = np.flatnonzero(recorded[:, 0])
    for rate, seed in zip(*np.nonzero(~recorded), strict=True):
        beside = [int(it) for it in (*known[known <= rate][-1:], *known[known >= rate][:1])]
        losses[rate, seed] = losses[beside, 0].mean(0)
    sums = np.cumsum(losses * np.diff(grid.steps, prepend=0), axis=-1)
    return np.concatenate([np.zeros((*sums.shape[:2], 1)), sums], axis=-1)


def ramp(task: str, seed: int, rates: np.ndarray) -> np.ndarray:
    """Training losses while the rate rises, up to the first that is not finite: a few steps, trained anew."""
    trainer, losses = Trainer(BY_NAME[task], seed), []
    for rate in rates.tolist():
        losses.append(trainer.update(rate))
        if not math.isfinite(losses[-1]):
            break
    return np.array(losses)


def _evaluation_steps(task: str) -> float:
    parts = BY_NAME[task].build(0)
    per_step = len(parts.train_loader.dataset) / len(parts.train_loader) * parts.accumulate
    return len(parts.validation_loader.dataset) / per_step / 3


class ReplayLab:
    """What `Race` needs of a laboratory, on recordings."""

    metric = "val_loss"
    mode = "min"

    estimates_untrained = False
    in_one_piece = False

    def __init__(self, recordings: Recordings, task: str, seed: int, budget: float, start: float) -> None:
        it = BY_NAME[task]
        rates = recordings.tables[task].learning_rates
        self.start_rate = float(np.clip(it.default_learning_rate * start, rates[0], rates[-1]))
        self.recordings = recordings
        self.task, self.seed, self.budget = task, seed, budget
        self.epochs, self.total_steps, self._per_epoch = it.epochs, it.total_steps, it.steps_per_epoch
        self._evaluation = recordings.evaluation_steps[task]
        self._run_steps = self.total_steps + self.epochs * self._evaluation
        self.spent = self._evaluation / self._run_steps
        self._rates = as_values(schedule_of(it)(1.0, it.total_steps), 0, it.total_steps)
        self.untrained = {"val_loss": recordings.untrained(task, seed)}
        self.trials: list[Trial] = []

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
        return self.recordings.untrained(self.task, self.seed)

    def announce_plan(self, plan: SpendingPlan) -> None:
        """Nobody listens."""

    def announce(self, stage: str) -> None:
        """Nobody listens."""

    def steps(self, fraction: float) -> int:
        """A fraction of the horizon in steps."""
        return min(max(round(fraction * self.total_steps), 1), self.total_steps)

    def relative_rates(self, last_step: int) -> np.ndarray:
        """Rates of a training up to a step, in units of its learning rate."""
        return self._rates[:last_step]

    def steps_of(self, trial: Trial) -> int:
        """Steps that a trial has made."""
        return round(trial.epochs * self._per_epoch)

    def training_cost(self, first_step: int, last_step: int) -> float:
        """Cost of training from one step to another, in full runs."""
        if last_step <= first_step:
            return 0.0
        per = self._per_epoch
        evaluations = last_step // per - first_step // per + (last_step % per > 0)
        return (last_step - first_step + evaluations * self._evaluation) / self._run_steps

    def ramp(self, learning_rates: np.ndarray) -> np.ndarray:
        """Training losses of a range test, up to where it broke."""
        losses = ramp(self.task, self.seed, learning_rates)
        self.spent += len(losses) / self._run_steps
        return losses

    def start(self, learning_rate: float, last_step: int, *, stage: str) -> Trial:
        """A new trial up to a step."""
        return self._trial(len(self.trials), learning_rate, 0, last_step, stage)

    def start_all(self, learning_rates: Iterable[float], last_step: int, *, stage: str) -> Iterator[Trial]:
        """New trials up to a step, in their order."""
        for rate in learning_rates:
            yield self.start(rate, last_step, stage=stage)

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """A trial continued up to a step."""
        return self._trial(trial.number, trial.learning_rate, self.steps_of(trial), last_step, stage)

    def _trial(self, number: int, rate: float, first: int, last: int, stage: str) -> Trial:
        losses, diverged = self.recordings.curve(self.task, rate, self.seed, last)
        before = dict(self._rows(number)) if first else {}
        rows = before | losses
        end = last if diverged is None else diverged + 1
        self.spent += self.training_cost(first, end)
        steps = sorted(rows)
        values = np.array([rows[step] for step in steps], dtype=float)
        training = self.recordings.training_losses(self.task, rate, self.seed, steps) if steps else np.array([])
        trial = Trial(
            number=number,
            hyperparameters={"learning_rate": rate},
            state=TrialState.COMPLETE if diverged is None else TrialState.DIVERGED,
            curve=LearningCurve(
                epochs=np.array(steps) / self._per_epoch, metrics={"val_loss": values, "loss": training}
            ),
            value=float(np.nanmin(values)) if np.isfinite(values).any() else None,
            seed=self.seed,
            seconds=0.0,
            epochs=end / self._per_epoch,
            horizon=float(self.epochs),
            stage=stage,
        )
        self.trials[number : number + 1] = [trial]
        return trial

    def _rows(self, number: int) -> Iterator[tuple[int, float]]:
        curve = self.trials[number].curve
        for epoch, value in zip(curve.epochs, curve.values("val_loss"), strict=True):
            yield round(epoch * self._per_epoch), float(value)


class WholeEpochs(ReplayLab):
    """What `Race` needs of a laboratory that trains a function or a command: epoch by epoch, its start unknown."""

    estimates_untrained = True

    def __init__(self, recordings: Recordings, task: str, seed: int, budget: float, start: float) -> None:
        super().__init__(recordings, task, seed, budget, start)
        self.spent = 0.0
        self.untrained = {}

    @property
    def untrained_value(self) -> float | None:
        """The metric before training, as far as slow trainings show it."""
        return estimated(self.trials, self.metric, self.mode)

    def steps(self, fraction: float) -> int:
        """A fraction of the horizon in whole epochs."""
        return min(max(round(fraction * self.epochs), 1), self.epochs) * self._per_epoch


class InOnePiece(WholeEpochs):
    """What `Race` needs of a laboratory that trains a function which returns its outcome, for any number of epochs.

    Each training is begun anew and paid in full, where it breaks too. Only under a constant schedule is a shorter one
    the beginning of the recorded one.
    """

    in_one_piece = True

    def training_cost(self, first_step: int, last_step: int) -> float:
        """Cost of a training up to a step, in full runs."""
        return super().training_cost(0, last_step) if last_step > first_step else 0.0

    def start(self, learning_rate: float, last_step: int, *, stage: str) -> Trial:
        """A new trial, of which the outcome alone is known."""
        paid = self.spent + self.training_cost(0, last_step)
        trial = super().start(learning_rate, last_step, stage=stage)
        losses = trial.curve.values("val_loss")[-1:]
        outcome = msgspec.structs.replace(
            trial,
            curve=LearningCurve(epochs=trial.curve.epochs[-1:], metrics={"val_loss": losses}),
            value=float(losses[0]) if np.isfinite(losses).any() else None,
            epochs=last_step / self._per_epoch,
        )
        self.trials[-1], self.spent = outcome, paid
        return outcome

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """A longer trial at the same rate, begun anew."""
        return self.start(trial.learning_rate, last_step, stage=stage)


class FullLength(InOnePiece):
    """The same for a function that always trains all its epochs."""

    def steps(self, fraction: float) -> int:  # noqa: ARG002  # whatever fraction is asked for
        """All steps."""
        return self.total_steps
