"""Worker processes on this machine: begun when there is work, followed by what they report, ended together."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  # it has none

from learnrate._trials.tasks import Ended, Report, Task, nothing
from learnrate.engines._wire import receive, send
from learnrate.errors import UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

START = 120.0
"""Seconds that a worker has beside the timeout to start, and to load its framework and its data."""

_THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)


class Processes:
    """A few worker processes, and the tasks that wait for one.

    Args:
        num_workers: How many.
        gpus: What each sees of the GPUs; None for all.
        timeout: Seconds that a task may go without a report.
        folder: Where they save snapshots.
    """

    def __init__(self, num_workers: int, *, gpus: Sequence[str] | None, timeout: float | None, folder: Path) -> None:
        self.size = num_workers
        self._timeout = timeout
        self._folder = folder
        self._environments = [_environment(num_workers, None if gpus is None else gpus[i]) for i in range(num_workers)]
        self._workers: list[_Worker | None] = [None] * num_workers
        self._waiting: collections.deque[Task] = collections.deque()
        self._inbox: queue.SimpleQueue[_Mail] = queue.SimpleQueue()
        self._carried = _Carried()

    def submit(self, task: Task) -> None:
        """Hand over a task; it is trained as soon as a worker is free."""
        self._waiting.append(task)

    def reports(self) -> Iterator[tuple[Task, Report]]:
        """Give what happens as it happens, until every task has ended."""
        while self._assign():
            worker, message = self._next()
            task = worker.task
            if task is None or worker not in self._workers:
                continue  # of one that is ended already
            worker.heard()
            if message is None:
                self._discard(worker)
                message = Ended(lost=worker.overdue or worker.death(), again=worker.overdue is None)
            elif isinstance(message, Ended):
                worker.task = None
            yield task, message

    def close(self) -> None:
        """End every worker and all that it has started."""
        self._waiting.clear()
        for place, worker in enumerate(self._workers):
            if worker is not None:
                worker.kill()
                self._workers[place] = None

    def _assign(self) -> bool:
        """Give waiting tasks to free workers; return whether anything is left to wait for."""
        for place, found in enumerate(self._workers):
            if not self._waiting:
                break
            if found is not None and found.task is not None:
                continue
            number, body = self._carried.of(self._waiting[0])  # it may refuse: before there is a process
            worker = found or _Worker(self._environments[place], self._folder, self._inbox)
            self._workers[place] = worker
            worker.give(self._waiting.popleft(), number, body, self._timeout)
        return any(worker is not None and worker.task is not None for worker in self._workers)

    def _next(self) -> _Mail:
        while True:
            busy = [worker for worker in self._workers if worker is not None and worker.task is not None]
            first = min(busy, key=lambda worker: worker.deadline)
            left = first.deadline - time.monotonic()
            try:
                return self._inbox.get(timeout=min(max(left, 0.0), 3600.0))
            except queue.Empty:
                if first.deadline <= time.monotonic() and first.overdue is None:
                    first.overdue = f"no epoch ended within the timeout of {self._timeout:g} s"
                    first.deadline = float("inf")
                    first.kill()  # its end is the next that is heard of it

    def _discard(self, worker: _Worker) -> None:
        worker.kill()
        self._workers[self._workers.index(worker)] = None


class _Mail(NamedTuple):
    """What a worker has sent; None where it is gone."""

    worker: _Worker
    message: Any


class _Carried:
    """What goes over of each problem: it is pickled once, since a sweep's trainings share it with its data."""

    def __init__(self) -> None:
        self._last: tuple[Any, bytes] | None = None
        self._number = 0

    def of(self, task: Task) -> tuple[int, bytes]:
        """Return the number and the pickle of a task's problem."""
        if self._last is None or self._last[0] is not task.problem:
            self._number += 1
            self._last = (task.problem, carried(task.problem))
        return self._number, self._last[1]


def carried(problem: Any) -> bytes:
    """Return the pickle of a problem, or of a function that builds it.

    Raises:
        UnsupportedProblemError: If it has none.
    """
    try:
        return pickled(problem)
    except Exception as error:
        name: str = getattr(problem, "carried_as", f"a {type(problem).__name__}")
        advice = getattr(problem, "advice", "pass a function without arguments that builds the problem")
        raise UnsupportedProblemError(
            f"{name} cannot be carried over to another process ({type(error).__name__}: {error}): {advice}, "
            "or train in this process"
        ) from error


def pickled(thing: Any) -> bytes:
    """Return cloudpickle's pickle, which carries functions that stand in no module too."""
    dumps = cast("Callable[[Any], bytes]", cloudpickle.dumps)  # pyright: ignore[reportUnknownMemberType]  # untyped
    return dumps(thing)


class _Worker:
    """A process that trains one task at a time."""

    def __init__(self, environment: Mapping[str, str], folder: Path, inbox: queue.SimpleQueue[_Mail]) -> None:
        self.task: Task | None = None
        self.deadline = float("inf")
        self.overdue: str | None = None
        self._timeout: float | None = None
        self._knows: int | None = None
        program = "import sys; sys.path[:] = {}; from learnrate.engines._worker import main; main({})"
        self._popen = subprocess.Popen(  # noqa: S603  # our own program, by the running Python
            [sys.executable, "-c", program.format(json.dumps(sys.path), json.dumps(str(folder)))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for learnrate, which ends it; and a group can be ended with its own
        )
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def give(self, task: Task, number: int, problem: bytes, timeout: float | None) -> None:
        """Hand it a task, and the problem where it does not have it from its last one."""
        self.task, self._timeout = task, timeout
        self.deadline = float("inf") if timeout is None else time.monotonic() + timeout + START
        order = pickled(task._replace(problem=nothing))
        stream = self._popen.stdin
        if stream is not None:
            with contextlib.suppress(OSError):  # it has died, and its end is heard of
                send(stream, (order, number, None if number == self._knows else problem))
        self._knows = number

    def heard(self) -> None:
        """Take note that it has reported something."""
        if self.overdue is None and self._timeout is not None:
            self.deadline = time.monotonic() + self._timeout

    def kill(self) -> None:
        """End it with all that it has started."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of zombies
                os.killpg(self._popen.pid, signal.SIGKILL)
        else:
            self._popen.kill()
        self._popen.wait()
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def death(self) -> str:
        """Say how it ended."""
        code = self._popen.wait()
        if code >= 0:
            return f"the process that trained it ended by itself, with exit code {code}"
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if -code == getattr(signal, "SIGKILL", 9) else ""
        return f"the process that trained it was ended by {name}{hint}"

    def _listen(self, inbox: queue.SimpleQueue[_Mail]) -> None:
        stream = self._popen.stdout
        if stream is None:
            return
        try:
            with stream, contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
                while True:
                    inbox.put(_Mail(self, receive(stream)))
        finally:  # whatever a report could not be read for, nobody waits for more
            inbox.put(_Mail(self, None))


def _environment(num_workers: int, gpu: str | None) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = str(max(cores // num_workers, 1))
    own = {} if num_workers == 1 else dict.fromkeys(_THREADS, share)
    return own | dict(os.environ) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
