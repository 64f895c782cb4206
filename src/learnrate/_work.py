"""One segment of a trial while it is trained: what it has reported so far, and the best of it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState
from learnrate.training import EventKind, Row

if TYPE_CHECKING:
    from learnrate._laboratory import Laboratory
    from learnrate.training import Segment


class Work:
    """One segment being trained: its rows so far, the best among them, and the weights there."""

    def __init__(self, lab: Laboratory, segment: Segment, before: Trial | None) -> None:
        self._lab = lab
        self._segment = segment
        self._started = time.perf_counter()
        self._seconds = 0.0 if before is None else before.seconds
        curve = None if before is None else before.curve
        self._rows: list[Row] = []
        if curve is not None:
            for place, epoch in enumerate(curve.epochs):
                metrics = {name: float(values[place]) for name, values in curve.metrics.items()}
                self._rows.append(Row(float(epoch), metrics, diverged=False))
        self.best_step: int | None = None
        self._best = math.inf
        for row in self._rows:
            self._improves(row)

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._rows)

    @property
    def lost(self) -> bool:
        """Whether the deciding metric ended as no number."""
        last = self._rows[-1].metrics if self._rows else {}
        value = last.get(self._lab.deciding(last))
        return value is not None and not math.isfinite(value)

    def on_row(self, row: Row) -> None:
        """Take a row: keep the weights if it is the best, write it down, tell it."""
        lab, number = self._lab, self._segment.trial
        self._rows.append(row)
        previous = self.best_step
        if self._improves(row) and self.best_step is not None:
            lab.shelf.put(number, self.best_step, lab.problem.snapshot)
            if previous is not None and previous != self._segment.first_step:
                lab.shelf.drop(number, previous)
        if lab.study is not None:
            lab.study.record(number, row.epoch, row.metrics)
        lab.tell(EventKind.EPOCH, self.trial(TrialState.RUNNING))

    def _loss(self, row: Row) -> float:
        value = row.metrics.get(self._lab.deciding(row.metrics), math.nan)
        return value if self._lab.mode == "min" else -value

    def _improves(self, row: Row) -> bool:
        loss = self._loss(row)
        if row.diverged or not loss < self._best or not math.isfinite(loss):
            return False
        self._best = loss
        self.best_step = self._lab.step_at(row.epoch)
        return True

    def trial(self, state: TrialState, error: str | None = None) -> Trial:
        """The trial as it stands."""
        lab, segment = self._lab, self._segment
        value = self._best if lab.mode == "min" else -self._best
        return Trial(
            number=segment.trial,
            hyperparameters={"learning_rate": segment.learning_rate},
            state=state,
            curve=LearningCurve.from_rows([(row.epoch, row.metrics) for row in self._rows]),
            value=value if math.isfinite(value) else None,
            seed=segment.seed,
            seconds=self._seconds + time.perf_counter() - self._started,
            epochs=self._rows[-1].epoch if self._rows else 0.0,
            horizon=segment.total_steps / lab.problem.steps_per_epoch,
            stage=segment.stage,
            error=error,
        )
