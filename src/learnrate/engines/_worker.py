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

from learnrate._tasks import Ended, problem_of, train_task
from learnrate.engines._wire import STARTED, receive, send

if TYPE_CHECKING:
    from learnrate._tasks import Task
    from learnrate.training import Trainable


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
        problem = known.problem(order[1], order[2], fresh=task.start is None)
        send(channel, STARTED)
        reports = train_task(task, problem, folder)
        while True:
            try:
                send(channel, next(reports))
            except StopIteration as end:
                send(channel, Ended(diverged=bool(end.value)))
                return
    except BrokenPipeError:
        _end()  # the other side is gone
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the driver decides
        send(channel, Ended(error=portable(error)))


class _Known:
    """The problem of the last task: a sweep's trainings share it."""

    def __init__(self) -> None:
        self._number = 0
        self._pickle = b""
        self._problem: Trainable | None = None

    def problem(self, number: int, body: bytes | None, *, fresh: bool) -> Trainable:
        """Return the problem of this number: the one there is, or where it is to be fresh, one just loaded."""
        if body is not None:
            self._number, self._pickle, self._problem = number, body, None
        if self._problem is None or fresh:
            self._problem = problem_of(pickle.loads(self._pickle))  # noqa: S301  # from the process that began this one
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
