"""Trainings that workers do: handed over, followed as they report, and saved from their workers' deaths."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from learnrate._trials.tasks import Began, Ended, Saved
from learnrate.training import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from learnrate._trials.tasks import Task, Workers
    from learnrate._trials.work import Work

RETRIES = 2
"""Times that a training is begun again from its last checkpoint after its worker died: one death may be bad luck."""


class Elsewhere:
    """Trains by an engine's workers.

    Args:
        workers: The engine's.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._running: dict[str, _Running] = {}

    @property
    def size(self) -> int:
        """How many trainings the workers can do at a time."""
        return self._workers.size

    @property
    def at_work(self) -> int:
        """How many trainings have been handed over and have not ended."""
        return len(self._running)

    def submit(self, work: Work, task: Callable[[Work], Task]) -> None:
        """Hand over a segment; `task` makes what the workers are told, again where a worker has died."""
        self._running[work.key] = _Running(work, task)
        self._workers.submit(task(work))

    def ended(self) -> Iterator[tuple[Work, Ended]]:
        """Give each segment as it ends, until all have; more may be handed over meanwhile."""
        for task, report in self._workers.reports():
            running = self._running[task.key]
            if isinstance(report, Began):
                running.work.began(report)
            elif isinstance(report, Row):
                running.work.reported(report)
            elif isinstance(report, Saved):
                running.work.keep(report)
            elif report.again and running.deaths < RETRIES:
                running.deaths += 1
                running.work = running.work.again()
                self._workers.submit(running.task(running.work))
            else:
                del self._running[task.key]
                more = f", and so were {running.deaths} before it" if running.deaths else ""
                yield running.work, report if report.lost is None else report._replace(lost=report.lost + more)


class _Running:
    """A segment at work, and how many of its workers have died."""

    def __init__(self, work: Work, task: Callable[[Work], Task]) -> None:
        self.work = work
        self.task = task
        self.deaths = 0


@contextlib.contextmanager
def scratch(folder: Path | None) -> Generator[Path]:
    """Give a folder for files on their way, in the study's where there is one: from there they only need a rename."""
    parent = None if folder is None else folder / "checkpoints"
    with tempfile.TemporaryDirectory(dir=parent, prefix=".partial-") as path:
        yield Path(path)
