"""Trainings in other processes: handed to an engine's workers, followed as they report, and saved from their deaths."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from learnrate._tasks import Ended, Saved, Task
from learnrate._work import Work
from learnrate.errors import TrialFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from learnrate._laboratory import Laboratory
    from learnrate._tasks import Workers
    from learnrate.results import Trial
    from learnrate.training import Segment, Snapshot, Trainable

RETRIES = 2
"""Times that a training is begun again from its last checkpoint after its worker died: one death may be bad luck."""


class Elsewhere:
    """Trains a laboratory's segments by its engine's workers.

    Args:
        lab: The laboratory.
        workers: The engine's.
        initial: The state that every training begins with.
        build: Builds the problem in a worker; None to carry it over as it is.
        folder: Where the workers and this process pass each other files.
    """

    def __init__(
        self,
        lab: Laboratory,
        workers: Workers,
        initial: Snapshot,
        build: Callable[[], Trainable] | None,
        folder: Path,
    ) -> None:
        self._lab = lab
        self._workers = workers
        self._problem = build or lab.problem
        self._initial = folder / "initial"
        lab.problem.save(initial, self._initial)

    def train(self, wanted: Sequence[tuple[Segment, Trial | None]]) -> Iterator[Trial]:
        """Train segments that do not depend on each other; give their trials as they end.

        Raises:
            TrialFailedError: If nothing has ever worked.
        """
        works: dict[int, Work] = {}
        deaths: dict[int, int] = {}
        for segment, before in wanted:
            works[segment.trial] = work = Work.opened(self._lab, segment, before)
            self._submit(work)
        for task, report in self._workers.reports():
            number = task.segment.trial
            work = works[number]
            if isinstance(report, Saved):
                self._keep(work, report)
            elif not isinstance(report, Ended):
                work.reported(report)
            elif report.again and deaths.get(number, 0) < RETRIES:
                deaths[number] = deaths.get(number, 0) + 1
                works[number] = work.again()
                self._submit(works[number])
            else:
                yield self._end(work, report, deaths.get(number, 0))

    def _submit(self, work: Work) -> None:
        lab, segment = self._lab, work.segment
        first = segment.first_step == 0
        self._workers.submit(
            Task(
                segment=segment,
                problem=self._problem,
                schedule=lab.schedule,
                metric=lab.metric,
                mode=lab.mode,
                epochs=lab.epochs,
                start=self._initial if first else lab.shelf.file(segment.trial, segment.first_step),
                best=work.best,
                folder=None if lab.study is None else lab.study.folder,
            )
        )

    def _keep(self, work: Work, saved: Saved) -> None:
        shelf, number = self._lab.shelf, work.segment.trial
        if saved.best_file is not None and saved.best_epoch is not None:
            shelf.adopt(number, self._lab.step_at(saved.best_epoch), saved.best_file)
        shelf.adopt(number, saved.step, saved.file)
        work.reached(saved.step)

    def _end(self, work: Work, ended: Ended, deaths: int) -> Trial:
        if ended.error is not None and not isinstance(ended.error, TrialFailedError):
            raise ended.error
        error = None if ended.error is None else str(ended.error)
        if ended.lost is not None:
            error = ended.lost + (f", and so were {deaths} before it" if deaths else "")
        if error is not None and not work.has_rows and not self._lab.has_curves:
            raise TrialFailedError(error) from ended.error
        return work.ended(diverged=ended.diverged, error=error)


@contextlib.contextmanager
def scratch(folder: Path | None) -> Generator[Path]:
    """Give a folder for files on their way, in the study's where there is one: from there they only need a rename."""
    parent = None if folder is None else folder / "checkpoints"
    with tempfile.TemporaryDirectory(dir=parent, prefix=".partial-") as path:
        yield Path(path)
