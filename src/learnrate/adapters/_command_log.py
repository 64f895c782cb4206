"""Metrics out of a log file that a command writes, while it writes it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from learnrate import logs
from learnrate._logs.metric_names import canonical
from learnrate.adapters._command_metrics import EPOCH
from learnrate.errors import LogError, TrialFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from learnrate.adapters._command_metrics import Metrics
    from learnrate.curves import LearningCurve

_REST = 5
"""A log is read again when that many times as long has passed as its reading took."""


class LogFile:
    """A log of any kind that `learnrate.logs.read` knows, read again whenever it has changed.

    Args:
        path: The file or folder; what stands there already is not this training's.
        metric: The metric that decides.
        scratch: A folder to put the complete lines in.
    """

    def __init__(self, path: Path, metric: str, scratch: Path) -> None:
        self.path = path
        self._metric = metric
        self._scratch = scratch / f"read-so-far{path.suffix}"
        self._seen = self._state()
        self._first = self._seen
        self._rows = 0
        self._next_look = 0.0

    def read(self, *, ended: bool) -> Iterator[Metrics]:
        """Give the rows that have come since.

        Raises:
            LogError: The log is damaged, which is not said before the command has ended: it may be half written.
            TrialFailedError: The command has ended and there is no log.
        """
        now, state = time.monotonic(), self._state()
        if ended and state in (None, self._first):
            old = "" if state is None else "; what stands there is older than this training"
            raise TrialFailedError(f"it has written no log {self.path}{old}")
        if not ended and (state in (None, self._seen) or now < self._next_look):
            return
        try:
            curve = self._curve(ended=ended)
        except (LogError, OSError):
            if ended:
                raise
            return  # not looked at: the next time it may be whole
        finally:
            self._next_look = time.monotonic() + _REST * (time.monotonic() - now)
        self._seen = state
        yield from self._new_rows(curve, ended=ended)

    def _state(self) -> tuple[int, ...] | None:
        try:
            known = [self.path, *self.path.rglob("*")] if self.path.is_dir() else [self.path]
            return tuple(number for file in known for number in (file.stat().st_mtime_ns, file.stat().st_size))
        except OSError:
            return None

    def _curve(self, *, ended: bool) -> LearningCurve:
        path = self.path
        if not ended and path.is_file() and b"\0" not in (held := path.read_bytes()):
            path = self._scratch
            path.write_bytes(held[: held.rfind(b"\n") + 1])
        try:
            read = logs.read(path)
        except LogError as error:
            raise LogError(str(error).replace(str(path), str(self.path))) from None
        if len(read) > 1:
            raise LogError(f"{self.path} holds {len(read)} trainings: give each start of the command a log of its own")
        return read[0].curve

    def _new_rows(self, curve: LearningCurve, *, ended: bool) -> Iterator[Metrics]:
        named = self._metric if self._metric in curve.metrics else canonical(self._metric)
        values = curve.metrics.get(named)
        count = len(curve)
        if values is not None and np.isnan(values[-1]) and not ended:
            count -= 1  # the evaluation may still come
        for place in range(self._rows, count):
            row = {name: float(column[place]) for name, column in curve.metrics.items()}
            row = {name: value for name, value in row.items() if value == value or name == named}  # noqa: PLR0124  # NaN: not written
            if named in row:
                row[self._metric] = row.pop(named)
            yield {EPOCH: float(curve.epochs[place])} | row
        self._rows = max(self._rows, count)
