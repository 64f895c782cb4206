"""What an engine's workers are handed, how they train it, and what they report."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from learnrate._best import Best
from learnrate._pace import Pace
from learnrate.training import Row, Trainable, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from learnrate.curves import Mode
    from learnrate.schedules import ScheduleMaker
    from learnrate.training import Segment


class Task(NamedTuple):
    """A segment with all that another process needs to train it.

    Attributes:
        segment: What is trained.
        problem: The problem, or a function without arguments that builds it; cloudpickle carries it over.
        schedule: Makes the schedule.
        metric: The deciding metric.
        mode: Whether it is better when small or large.
        epochs: The horizon.
        start: A file that the problem's `save` wrote, to start from; None to start as the problem comes.
        best: The best value before the segment.
        folder: The study's folder, where commands keep their outputs.
    """

    segment: Segment
    problem: Trainable | Callable[[], Trainable]
    schedule: ScheduleMaker
    metric: str
    mode: Mode
    epochs: int
    start: Path | None = None
    best: float | None = None
    folder: Path | None = None


class Saved(NamedTuple):
    """A worker has saved where the training stands, and its best epoch if that is new; both files are the reader's."""

    step: int
    file: Path
    best_epoch: float | None
    best_file: Path | None


class Ended(NamedTuple):
    """A task is over: it came to its end, raised `error`, or was `lost` with its worker, to be tried again or not."""

    diverged: bool = False
    error: BaseException | None = None
    lost: str | None = None
    again: bool = False


Report = Row | Saved | Ended


class Workers(Protocol):
    """An engine's workers while a verb is at work."""

    def submit(self, task: Task) -> None:
        """Hand over a task; it is trained as soon as a worker is free."""
        ...

    def reports(self) -> Iterator[tuple[Task, Report]]:
        """Give what happens as it happens, until every task has ended; more may be submitted meanwhile."""
        ...

    def close(self) -> None:
        """End every worker and all that it has started."""
        ...


def problem_of(made: Any) -> Trainable:
    """Return a task's problem from what came over: itself, or what builds it."""
    return made if isinstance(made, Trainable) else made()


def train_task(task: Task, problem: Trainable, folder: Path) -> Generator[Row | Saved, None, bool]:
    """Train a task, yielding its rows and what it saves in the folder; return whether it diverged."""
    segment = task.segment
    prepare, begin = getattr(problem, "prepare", None), getattr(problem, "begin", None)
    if prepare is not None:
        prepare(metric=task.metric, schedule=task.schedule, epochs=task.epochs, folder=task.folder)
    if task.start is not None:
        problem.restore(problem.load(task.start))
    if begin is not None and segment.first_step == 0:
        begin(segment.learning_rate, segment.total_steps // problem.steps_per_epoch, segment.seed)
    keeping = _Keeping(task, problem, folder)
    rows = rows_of(problem, segment, task.schedule)
    try:
        while True:
            try:
                row = next(rows)
            except StopIteration as end:
                if not end.value:
                    yield keeping.saved()
                return bool(end.value)
            keeping.take(row)
            yield row
            if keeping.due(row):
                yield keeping.saved()
    finally:
        rows.close()
        getattr(problem, "close", lambda: None)()


class _Keeping:
    """Keeps a training's best weights in memory, and both these and where it stands in files when that is due."""

    def __init__(self, task: Task, problem: Trainable, folder: Path) -> None:
        self._segment = task.segment
        self._problem = problem
        self._folder = folder
        self._best = Best(task.metric, task.mode, task.best)
        self._best_weights: tuple[float, Any] | None = None
        self._pace = Pace()
        self._paced = not hasattr(problem, "let_go")  # a function is replayed from its beginning anyway
        self._step = task.segment.first_step

    def take(self, row: Row) -> None:
        """Take a row, and the weights if it is the best."""
        self._step = round(row.epoch * self._problem.steps_per_epoch)
        if self._best.improves(row):
            self._best_weights = (row.epoch, self._problem.snapshot())

    def due(self, row: Row) -> bool:
        """Return whether to save here: at an epoch's end that is not the segment's, where the pace says so."""
        return self._paced and not row.diverged and self._step < self._segment.last_step and self._pace.due()

    def saved(self) -> Saved:
        """Save."""
        began = time.perf_counter()
        file, best_file, best = self._file(), None, self._best_weights
        self._problem.save(self._problem.snapshot(), file)
        if best is not None:
            best_file = self._file()
            self._problem.save(best[1], best_file)
            self._best_weights = None
        self._pace.wrote(began)
        return Saved(self._step, file, None if best is None else best[0], best_file)

    def _file(self) -> Path:
        return self._folder / uuid.uuid4().hex
