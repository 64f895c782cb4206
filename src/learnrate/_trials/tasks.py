"""What an engine's workers are handed, how they train it, and what they report."""

from __future__ import annotations

import collections
import math
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from learnrate._trials.best import Best
from learnrate._trials.pace import Pace
from learnrate.errors import InvalidArgumentError
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
        key: What it is called, unlike all others that run.
        segment: What is trained.
        problem: The problem, or a function that builds it; cloudpickle carries it over.
        schedule: Makes the schedule.
        metric: The deciding metric.
        mode: Whether it is better when small or large.
        epochs: The horizon.
        arguments: What a function is called with to build the problem.
        in_epochs: Whether the segment counts epochs, since only what is built knows how many steps they have; a
            learning rate of NaN is then the problem's own.
        start: A file that the problem's `save` wrote, to start from; None to start as the problem comes.
        best: The best value before the segment.
        keeps_best: Whether the weights of the best epoch are wanted.
        keeps_end: Whether the training may go on after the segment.
        folder: Where commands keep their outputs: the study's folder, where there is one.
    """

    key: str
    segment: Segment
    problem: Trainable | Callable[..., Trainable]
    schedule: ScheduleMaker
    metric: str
    mode: Mode
    epochs: int
    arguments: tuple[Any, ...] = ()
    in_epochs: bool = False
    start: Path | None = None
    best: float | None = None
    keeps_best: bool = True
    keeps_end: bool = True
    folder: Path | None = None


class Began(NamedTuple):
    """All that a task needs is loaded: it trains at this rate, None where none is known; and whether by a replay."""

    learning_rate: float | None
    replays: bool


class Saved(NamedTuple):
    """A worker has saved where the training stands, and its best epoch; the files are the reader's, None if not new."""

    epoch: float
    file: Path | None
    best_epoch: float | None
    best_file: Path | None


class Ended(NamedTuple):
    """A task is over: it came to its end, raised `error`, or was `lost` with its worker, to be tried again or not.

    `warnings` are the problem's own.
    """

    diverged: bool = False
    error: BaseException | None = None
    lost: str | None = None
    again: bool = False
    warnings: tuple[str, ...] = ()


Report = Began | Row | Saved | Ended


class Workers(Protocol):
    """An engine's workers while a verb is at work."""

    @property
    def size(self) -> int:
        """How many trainings they can do at a time, as far as is known now; at least 1."""
        ...

    def submit(self, task: Task) -> None:
        """Hand over a task; it is trained as soon as a worker is free."""
        ...

    def reports(self) -> Iterator[tuple[Task, Report]]:
        """Give what happens as it happens, until every task has ended; more may be submitted meanwhile."""
        ...

    def close(self) -> None:
        """End every worker and all that it has started."""
        ...


class Here:
    """Workers that are this process: what waits is trained, one after another, while the reports are read.

    Args:
        folder: Where snapshots are saved.
        checkpoints: Whether they are wanted in the middle of trainings.
    """

    size = 1

    def __init__(self, folder: Path, *, checkpoints: bool) -> None:
        self._folder = folder
        self._pace = Pace() if checkpoints else None
        self._waiting: collections.deque[Task] = collections.deque()

    def submit(self, task: Task) -> None:
        """Hand over a task; it is trained when its turn comes."""
        self._waiting.append(task)

    def reports(self) -> Iterator[tuple[Task, Report]]:
        """Give what happens as it happens, until every task has ended."""
        while self._waiting:
            task = self._waiting.popleft()
            for report in reports_of(task, lambda task=task: problem_of(task), self._folder, self._pace):
                yield task, report

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


def nothing() -> Any:
    """Stand in a task for the problem, which goes over apart."""


def problem_of(task: Task, made: Any = None) -> Trainable:
    """Return a task's problem: itself, or what is built; `made` stands for what came over apart from the task."""
    given: Any = task.problem if made is None else made
    return given if isinstance(given, Trainable) else given(*task.arguments)


def reports_of(
    task: Task, load: Callable[[], Trainable], folder: Path, pace: Pace | None
) -> Generator[Report, None, None]:
    """Train a task, giving what there is to report, and at last how it ended, with an error of the user's code."""
    problem: Trainable | None = None
    try:
        problem = load()
        reports = train_task(task, problem, folder, pace)
        while True:
            try:
                yield next(reports)
            except StopIteration as end:
                ended = Ended(diverged=bool(end.value))
                break
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the driver decides
        ended = Ended(error=error)
    yield ended._replace(warnings=tuple(getattr(problem, "warnings", ())))


def train_task(
    task: Task, problem: Trainable, folder: Path, pace: Pace | None
) -> Generator[Began | Row | Saved, None, bool]:
    """Train a task, yielding its rows and what it saves in the folder; return whether it diverged."""
    segment, rate = (in_steps if task.in_epochs else as_it_is)(task.segment, problem)
    prepare, begin = getattr(problem, "prepare", None), getattr(problem, "begin", None)
    if prepare is not None:
        prepare(metric=task.metric, schedule=task.schedule, epochs=task.epochs, folder=task.folder)
    if task.start is not None:
        problem.restore(problem.load(task.start))
    if begin is not None and segment.first_step == 0:
        begin(segment.learning_rate, segment.total_steps // problem.steps_per_epoch, segment.seed)
    yield Began(rate, hasattr(problem, "let_go") and segment.first_step > 0)
    keeping = _Keeping(task, problem, folder, pace)
    rows = rows_of(problem, segment, task.schedule)
    try:
        while True:
            try:
                row = next(rows)
            except StopIteration as end:
                if not end.value and (task.keeps_end or keeping.has_best):
                    yield keeping.saved(whole=task.keeps_end)
                return bool(end.value)
            keeping.take(row)
            yield row
            if keeping.due(row, segment.last_step):
                yield keeping.saved()
    finally:
        rows.close()
        getattr(problem, "close", lambda: None)()


def as_it_is(segment: Segment, problem: Trainable) -> tuple[Segment, float | None]:
    """Return a segment and its rate."""
    del problem
    return segment, segment.learning_rate


def in_steps(segment: Segment, problem: Trainable) -> tuple[Segment, float | None]:
    """Return a segment that counts epochs as one that counts steps, and its rate: the problem's own where it has none.

    Raises:
        InvalidArgumentError: If there is no rate.
    """
    per_epoch = int(problem.steps_per_epoch)
    rate: float | None = segment.learning_rate
    if math.isnan(segment.learning_rate):
        rate = getattr(problem, "learning_rate", None)
    if rate is None and not getattr(problem, "constant_rate_only", False):
        raise InvalidArgumentError(
            "the problem has no learning rate of its own: put learning_rate into the space, or pass learning_rate="
        )
    counted = msgspec.structs.replace(
        segment,
        learning_rate=1.0 if rate is None else float(rate),  # a function that has been called knows its rate
        first_step=segment.first_step * per_epoch,
        last_step=segment.last_step * per_epoch,
        total_steps=segment.total_steps * per_epoch,
    )
    return counted, None if rate is None else float(rate)


class _Keeping:
    """Keeps a training's best weights in memory, and both these and where it stands in files when that is due."""

    def __init__(self, task: Task, problem: Trainable, folder: Path, pace: Pace | None) -> None:
        self._problem = problem
        self._folder = folder
        self._best = Best(task.metric, task.mode, task.best)
        self._best_weights: tuple[float, Any] | None = None
        self._keeps_best = task.keeps_best and not getattr(problem, "constant_rate_only", False)  # inside a function
        self._pace = None if hasattr(problem, "let_go") else pace  # a function is replayed from its beginning anyway
        self._epoch = 0.0
        if pace is not None:
            pace.begin()

    @property
    def has_best(self) -> bool:
        """Whether there are best weights that are not saved."""
        return self._best_weights is not None

    def take(self, row: Row) -> None:
        """Take a row, and the weights if it is the best."""
        self._epoch = row.epoch
        if self._best.improves(row) and self._keeps_best:
            self._best_weights = (row.epoch, self._problem.snapshot())

    def due(self, row: Row, last_step: int) -> bool:
        """Return whether to save here: at an epoch's end that is not the segment's, where the pace says so."""
        step = round(row.epoch * self._problem.steps_per_epoch)
        return self._pace is not None and not row.diverged and step < last_step and self._pace.due()

    def saved(self, *, whole: bool = True) -> Saved:
        """Save the best weights that are not saved yet, and where the training stands if that is wanted as well."""
        began = time.perf_counter()
        file, best_file, best = self._file() if whole else None, None, self._best_weights
        if file is not None:
            self._problem.save(self._problem.snapshot(), file)
        if best is not None:
            best_file = self._file()
            self._problem.save(best[1], best_file)
            self._best_weights = None
        if self._pace is not None:
            self._pace.wrote(began)
        return Saved(self._epoch, file, None if best is None else best[0], best_file)

    def _file(self) -> Path:
        return self._folder / uuid.uuid4().hex
