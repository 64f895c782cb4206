"""An engine whose clock is virtual: it gives recorded learning curves back as workers would that train them.

The driver is the real one: `learnrate.search` with its sampler, its halving, its study folder and its events. Only the
trainings take no time. Whatever the driver does between two reports is measured and added to the virtual clock, during
which it hears of nothing else, as in reality.
"""

from __future__ import annotations

import collections
import heapq
import math
import pickle
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from benchmarks.regret.grid import load_grid
from benchmarks.regret.problems.design_first import TASKS
from benchmarks.regret.table import Table

from learnrate._trials.tasks import Began, Ended, Report, Saved, Task, nothing
from learnrate.engines._processes import pickled
from learnrate.training import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EPOCHS = 9
EPOCH_SECONDS = 60.0
SPREAD = 0.5  # of the logarithm of a candidate's time for an epoch, around that of `EPOCH_SECONDS`


class Curves:
    """The recorded trainings of the regret benchmark, each task a model, losses from 0 (the best) to 1 (untrained)."""

    def __init__(self) -> None:
        self._tables = {task.name: Table(load_grid(task)) for task in TASKS if task.epochs >= EPOCHS}
        self.names = sorted(self._tables)

    def values(self, model: str, learning_rate: float, seed: int) -> list[float]:
        """Losses at the ends of the epochs, NaN from where training breaks; between two recorded rates, their mean."""
        table = self._tables[model]
        at = np.interp(np.log(learning_rate), np.log(table.learning_rates), np.arange(len(table.learning_rates)))
        low, share = int(at), at - int(at)
        high = min(low + 1, len(table.learning_rates) - 1)
        runs = table.at_epochs[:, seed % 3, :EPOCHS]
        best, untrained = np.nanmin(table.at_epochs), float(table.untrained.mean())
        mixed = runs[low] if not share else (1 - share) * runs[low] + share * runs[high]
        return ((mixed - best) / (untrained - best)).tolist()


class Told(NamedTuple):
    """What the clock says in the end, in virtual seconds but for the driver's own, which are real."""

    makespan: float
    work: float
    redone: float
    longest: float
    driver_seconds: float
    events: int
    segments: int


class VirtualEngine:
    """Workers that train by the clock.

    Args:
        num_workers: How many.
        curves: What they train.
        deaths_per_day: How often each dies, in the middle of a training.
        extra: Seconds that a segment costs the driver beside those that are measured, such as a slower disk.
        clock: Measures what the driver's work takes; `time.process_time` where others use the machine, too.
    """

    has_workers = True

    def __init__(
        self,
        num_workers: int,
        curves: Curves,
        *,
        deaths_per_day: float = 0.0,
        extra: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.workers = VirtualWorkers(num_workers, curves, deaths_per_day, extra, clock)

    def open(self, folder: Path) -> VirtualWorkers:
        """Say where they save."""
        self.workers.folder = folder
        return self.workers

    def train(self, *_: Any) -> bool:
        """Train nothing here."""
        raise NotImplementedError


class VirtualWorkers:
    """What an engine's workers are to the driver."""

    folder: Path

    def __init__(
        self, num_workers: int, curves: Curves, deaths_per_day: float, extra: float, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self.size = num_workers
        self._curves = curves
        self._dies = deaths_per_day / 86400
        self._extra = extra
        self._random = np.random.default_rng(0)
        self._waiting: collections.deque[Task] = collections.deque()
        self._busy = 0
        self._future: list[tuple[float, int, Task, Report | None]] = []
        self._count = 0
        self._now = 0.0  # of the driver
        self._ended = False
        self._handed = self._clock()  # when it was last handed a report, by the real clock
        self._own: dict[int, float] = collections.defaultdict(float)
        self.told = Told(0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)

    def submit(self, task: Task) -> None:
        """Hand over a task; what goes over a pipe is made, since that takes the driver's time."""
        pickled(task._replace(problem=nothing))
        self._waiting.append(task)
        self._hand_out(self._now + self._clock() - self._handed)

    def reports(self) -> Iterator[tuple[Task, Report]]:
        """Give what happens, in the order of the virtual clock."""
        while True:
            self._account()
            if not self._future:
                return
            at, _, task, report = heapq.heappop(self._future)
            self._now = max(self._now, at)
            self._ended = isinstance(report, Ended)
            self._busy -= self._ended
            if isinstance(report, Saved):
                report = self._written(report)
            self._handed = self._clock()
            yield task, pickle.loads(pickle.dumps(report))  # noqa: S301  # as through a pipe

    def close(self) -> None:
        """Forget everything."""
        self._future.clear()

    def account_begin(self) -> None:
        """Say that the driver begins to work, which it is timed for."""
        self._handed = self._clock()

    def _account(self) -> None:
        """Let what the driver has done since it was handed the last report take its time."""
        ended, now = self._ended, self._clock()
        took = now - self._handed + (self._extra if ended else 0.0)
        self._handed, self._ended = now, False
        self._now += took
        told = self.told
        self.told = told._replace(
            makespan=max(told.makespan, self._now),
            driver_seconds=told.driver_seconds + took,
            events=told.events + 1,
            segments=told.segments + ended,
        )

    def _hand_out(self, at: float) -> None:
        while self._waiting and self._busy < self.size:
            self._busy += 1
            self._train(self._waiting.popleft(), at)

    def _train(self, task: Task, at: float) -> None:
        """Put all that will be reported of a task into the future."""
        candidate, segment = task.arguments[0], task.segment
        values = self._curves.values(candidate.values["model"], segment.learning_rate, candidate.seed)
        generator = np.random.default_rng(candidate.seed)
        seconds = EPOCH_SECONDS * math.exp(SPREAD * generator.normal())
        death = at + self._random.exponential(1 / self._dies) if self._dies else math.inf
        self._later(at, task, Began(segment.learning_rate, replays=False))
        for epoch in range(segment.first_step, segment.last_step):
            if at + seconds > death:
                self._worked(candidate.number, death - at, redone=True)
                self._later(death, task, Ended(lost="it died", again=True))
                return
            at += seconds
            self._worked(candidate.number, seconds, redone=False)
            broke = not math.isfinite(values[epoch])
            self._later(at, task, Row(epoch + 1.0, {"val_loss": values[epoch]}, diverged=broke))
            last = epoch + 1 == segment.last_step
            if broke or (last and not task.keeps_end):
                break
            self._later(at, task, Saved(epoch + 1.0, self.folder, None, None))
        self._later(at, task, Ended(diverged=not math.isfinite(values[epoch])))

    def _worked(self, number: int, seconds: float, *, redone: bool) -> None:
        self._own[number] += seconds
        told = self.told
        longest, lost = max(told.longest, self._own[number]), seconds if redone else 0.0
        self.told = told._replace(work=told.work + seconds, redone=told.redone + lost, longest=longest)

    def _later(self, at: float, task: Task, report: Report) -> None:
        self._count += 1
        heapq.heappush(self._future, (at, self._count, task, report))

    def _written(self, saved: Saved) -> Saved:
        file = self.folder / uuid.uuid4().hex
        file.write_bytes(b"weights")
        return saved._replace(file=file)
