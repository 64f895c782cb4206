"""Trainings on a Ray cluster: many machines, or this one alone."""

from __future__ import annotations

import contextlib
import pickle
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnrate import _checks
from learnrate._trials.pace import Pace
from learnrate._trials.tasks import Ended, Report, Saved, Task, nothing, problem_of, reports_of
from learnrate.engines._processes import carried, pickled
from learnrate.engines._worker import portable
from learnrate.errors import InvalidArgumentError, MissingExtraError
from learnrate.training import train_segment

try:
    import ray as _ray
except ImportError as error:
    raise MissingExtraError("ray is not installed: pip install learnrate[ray]") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from learnrate.schedules import ScheduleMaker
    from learnrate.training import Row, Segment, Trainable


ray: Any = _ray  # its stubs are partial


class RayEngine:
    """Trains on a Ray cluster, as many trainings at a time as its resources allow.

    A training whose machine or process dies is begun again from its last checkpoint, twice at most, and is FAILED
    after that; the others go on. Snapshots travel through Ray, so the machines need no common folder; learnrate, the
    framework and your own modules have to be installed on each. Steps that belong to no single training, such as a
    range test's, are made in this process.

    Args:
        address: Of a cluster that is there, as `ray.init` takes it ("auto", "ray://…"); None for the cluster that
            this process is connected to already, or else one on this machine, which ends with the verb.
        resources: What a training takes of a machine, such as {"CPU": 4, "GPU": 1}, your own resources too; one CPU
            by default. Ray shows a training only the GPUs that it takes, and gives it as many threads as CPUs.
        timeout: Seconds that an epoch may take; a training that takes longer is ended and FAILED. None waits for ever.

    Raises:
        InvalidArgumentError: If an argument cannot be used.
        MissingExtraError: If Ray is not installed.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> engine = learnrate.RayEngine(resources={"CPU": 1})
        >>> answer = learnrate.sweep(QuadraticTrainable(), [0.1, 1.0], epochs=2, engine=engine)  # doctest: +SKIP
    """

    def __init__(
        self, address: str | None = None, resources: Mapping[str, float] | None = None, timeout: float | None = None
    ) -> None:
        self.address = address
        self.resources: dict[str, Any] = {"CPU": 1.0} if resources is None else dict(resources)
        for name, amount in self.resources.items():
            if not (isinstance(amount, int | float) and 0 <= amount < float("inf")):
                raise InvalidArgumentError(f"resources has {amount!r} of {name}: pass 0 or more")
        self.timeout = None if timeout is None else _checks.positive_number("timeout", timeout)

    @property
    def has_workers(self) -> bool:
        """Whether it trains elsewhere: it does."""
        return True

    def train(
        self, problem: Trainable, segment: Segment, schedule: ScheduleMaker, on_row: Callable[[Row], None]
    ) -> bool:
        """Train a segment in this process from where the problem stands; return whether it diverged."""
        return train_segment(problem, segment, schedule, on_row)

    def open(self, folder: Path) -> _Cluster:
        """Connect to the cluster, or begin one."""
        return _Cluster(self.address, self.resources, self.timeout, folder)


class _Cluster:
    """The trainings that run on a cluster while a verb is at work."""

    def __init__(
        self, address: str | None, resources: Mapping[str, float], timeout: float | None, folder: Path
    ) -> None:
        self._folder = folder
        self._timeout = timeout
        self._resources = resources
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(address=address, log_to_driver=False, include_dashboard=None if address else False)
        takes = {"CPU": "num_cpus", "GPU": "num_gpus"}
        known = {takes[name]: amount for name, amount in resources.items() if name in takes}
        others = {name: amount for name, amount in resources.items() if name not in takes}
        options: dict[str, Any] = {
            "num_returns": "streaming",
            "max_retries": 0,
            "resources": others,
            "num_cpus": 0,
        } | known
        self._function: Any = ray.remote(**options)(_train)
        self._running: dict[Any, _Running] = {}
        self._shared: dict[int, tuple[Any, Any]] = {}

    @property
    def size(self) -> int:
        """How many trainings the cluster can do at a time: it may grow and shrink."""
        there: dict[str, float] = ray.cluster_resources()
        takes = {name: amount for name, amount in self._resources.items() if amount > 0} or {"CPU": 1.0}
        return max(min(int(there.get(name, 0.0) / amount) for name, amount in takes.items()), 1)

    def submit(self, task: Task) -> None:
        """Hand over a task; Ray finds it a place."""
        problem = self._put(task.problem, lambda: carried(task.problem))
        start = None
        if task.start is not None:
            path = task.start
            start = self._put(path, path.read_bytes) if task.segment.first_step == 0 else path.read_bytes()
        order = pickled(task._replace(problem=nothing, start=None))
        self._running[self._function.remote(order, problem, start, sys.path)] = _Running(task)

    def reports(self) -> Iterator[tuple[Task, Report]]:
        """Give what happens as it happens, until every task has ended."""
        while self._running:
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=self._left())
            if not ready:
                yield from self._overdue()
                continue
            stream = ready[0]
            running = self._running[stream]
            running.heard = time.monotonic()
            message = self._received(stream)
            running.started = True
            if isinstance(message, Ended):
                del self._running[stream]
            yield running.task, message

    def close(self) -> None:
        """End every training, and the cluster where it was begun for this."""
        for stream in self._running:
            with contextlib.suppress(Exception):  # it may be over, or its machine gone
                ray.cancel(stream, force=True)
        self._running.clear()
        self._shared.clear()
        if self._own:
            ray.shutdown()

    def _received(self, stream: Any) -> Any:
        try:
            message = ray.get(next(stream))
        except (ray.exceptions.RayError, StopIteration) as error:
            what = str(error).strip().partition("\n")[0]
            return Ended(
                lost=f"the process or the machine that trained it died ({what or 'no word of it'})", again=True
            )
        if not isinstance(message, Saved):
            return message
        return message._replace(file=self._written(message.file), best_file=self._written(message.best_file))

    def _written(self, body: Any) -> Any:
        if body is None:
            return None
        path = self._folder / uuid.uuid4().hex
        path.write_bytes(body)
        return path

    def _left(self) -> float | None:
        """Return the seconds until the next deadline; a training that waits for a place has none."""
        began = [one.heard for one in self._running.values() if one.started]
        return None if self._timeout is None or not began else max(min(began) + self._timeout - time.monotonic(), 0.0)

    def _overdue(self) -> Iterator[tuple[Task, Report]]:
        limit = time.monotonic() - (self._timeout or 0.0)
        for stream, running in list(self._running.items()):
            if running.started and running.heard <= limit:
                ray.cancel(stream, force=True)
                del self._running[stream]
                yield running.task, Ended(lost=f"no epoch ended within the timeout of {self._timeout:g} s")

    def _put(self, thing: object, body: Callable[[], bytes]) -> Any:
        """Return where the cluster has it: what many trainings share goes over once."""
        if id(thing) not in self._shared:
            self._shared[id(thing)] = (thing, ray.put(body()))
        return self._shared[id(thing)][1]


class _Running:
    """A task on the cluster, and when it was last heard of."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.heard = time.monotonic()
        self.started = False


def _train(order: bytes, problem: bytes, start: bytes | None, path: list[str]) -> Iterator[Any]:
    """Train a task somewhere in the cluster: yields its reports, the files' content in the place of their paths."""
    sys.path += [one for one in path if one not in sys.path]
    with tempfile.TemporaryDirectory(prefix="learnrate-") as name:
        folder = Path(name)
        try:
            task: Task = pickle.loads(order)  # noqa: S301  # from the driver, by Ray
        except Exception as error:  # noqa: BLE001  # what it needs may be missing here
            yield Ended(error=portable(error))
            return
        if start is not None:
            task = task._replace(start=folder / "start")
            (folder / "start").write_bytes(start)

        def load() -> Trainable:
            return problem_of(task, pickle.loads(problem))  # noqa: S301  # from the driver, by Ray

        for report in reports_of(task, load, folder, Pace()):
            if isinstance(report, Saved):
                yield _with_content(report)
            elif isinstance(report, Ended) and isinstance(report.error, Exception):
                yield report._replace(error=portable(report.error))
            else:
                yield report


def _with_content(saved: Saved) -> Any:
    return saved._replace(file=_taken(saved.file), best_file=_taken(saved.best_file))


def _taken(path: Any) -> Any:
    if path is None:
        return None
    body = path.read_bytes()
    path.unlink()
    return body
