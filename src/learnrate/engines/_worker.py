"""The program of a worker process: trains what it is told, reports, and never outlives the process that began it."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from learnrate._trials.pace import Pace
from learnrate._trials.tasks import Ended, problem_of, reports_of
from learnrate.engines._wire import receive, send
from learnrate.training import Trainable

if TYPE_CHECKING:
    from learnrate._trials.tasks import Task


def main(folder: str) -> None:
    """Train the tasks that arrive, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's code prints is no report
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    known = _Known()
    while True:
        _work(orders.get(), known, channel, Path(folder))


def _work(order: tuple[bytes, int, bytes | None], known: _Known, channel: IO[bytes], folder: Path) -> None:
    try:
        task: Task = pickle.loads(order[0])  # noqa: S301  # from the process that began this one
    except Exception as error:  # noqa: BLE001  # what it needs may be missing here
        send(channel, Ended(error=portable(error)))
        return
    try:
        for report in reports_of(task, lambda: known.problem(task, order[1], order[2]), folder, Pace()):
            if isinstance(report, Ended) and isinstance(report.error, Exception):
                send(channel, report._replace(error=portable(report.error)))
            else:
                send(channel, report)
    except BrokenPipeError:
        _end()  # the other side is gone


class _Known:
    """The problem of the last task, and what it was made of: a sweep's trainings share it."""

    def __init__(self) -> None:
        self._number = 0
        self._pickle = b""
        self._made: Any = None
        self._problem: Trainable | None = None

    def problem(self, task: Task, number: int, body: bytes | None) -> Trainable:
        """Return a task's problem: the one there is, or where it is to be fresh or another, one just loaded."""
        if body is not None:
            self._number, self._pickle, self._made, self._problem = number, body, None, None
        fresh = task.start is None or bool(task.arguments)
        if self._problem is None or fresh:
            self._problem = None  # first: two may not fit into memory
            if self._made is None or isinstance(self._made, Trainable):
                self._made = pickle.loads(self._pickle)  # noqa: S301  # from the process that began this one
            self._problem = problem_of(task, self._made)
        return self._problem


def portable(error: Exception) -> Exception:
    """Return an error that can be sent, with its traceback in words."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own, just made
    except Exception:  # noqa: BLE001  # a class of the user's may refuse in any way
        other = RuntimeError(f"{type(error).__name__}: {error}")
        other.add_note(error.__notes__[-1])
        return other
    return error


def _listen(orders: queue.SimpleQueue[Any]) -> None:
    """Take what arrives; when the other side is gone, end this process and all that it has started."""
    try:
        with open(0, "rb", buffering=0, closefd=False) as stream:
            while True:
                orders.put(receive(stream))
    finally:
        _end()


def _end() -> None:
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
