"""One start of a command, as an iterator over its epochs."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from learnrate._numbers import rate
from learnrate.adapters._command_metrics import Epochs, Lines, pairs_in
from learnrate.errors import TrialFailedError, UnknownMetricError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from learnrate.adapters._command_log import LogFile
    from learnrate.adapters._command_metrics import Metrics
    from learnrate.adapters._command_process import Process

_TAIL = 20  # lines
_SHORTEST, _LONGEST = 0.002, 0.05  # seconds between two looks


class Asked(NamedTuple):
    """What a start of a command was asked for."""

    learning_rate: float
    epochs: int
    told: bool
    metric: str
    timeout: float | None


class CommandRun:
    """A command at work: each `next` lets it go on to the end of its next epoch and pauses it there.

    Args:
        process: The command.
        output: The file that its output goes to.
        log: Where the metrics are, if not in the output.
        reader: Reads the metrics in a line of output.
        asked: What it was asked for.
    """

    def __init__(
        self,
        process: Process,
        output: Path,
        log: LogFile | None,
        reader: Callable[[str], Metrics] | None,
        asked: Asked,
    ) -> None:
        self._process, self._output, self._log, self._asked = process, output, log, asked
        self._reader = reader
        self._lines = Lines(output)
        self._given = 0
        self._has_ended = False
        self._made = {name: Epochs(name, asked.epochs, told=asked.told) for name in _candidates(asked.metric)}
        self.metric = asked.metric

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Metrics:
        """Give the metrics of the next epoch.

        Raises:
            TrialFailedError: The command has failed, or given no sign of life for too long.
            UnsupportedProblemError: It gives other epochs than it was asked for.
            UnknownMetricError: It does not give the metric that decides.
        """
        try:
            self._process.go_on()
            row = self._waited_for(self._given + 1)
            self._given += 1
            self._process.pause()
        except BaseException:
            self.close()
            raise
        return row

    def outcome(self) -> Metrics | None:
        """Wait for the first row; return it if it is the command's only one, None if there are more epochs to come."""
        try:
            first = self._waited_for(1)
            if self._asked.epochs > 1 and not self._epochs.broken:
                self._wait(lambda: self._epochs.certain)
            if self._epochs.certain or self._asked.epochs == 1 or len(self._epochs.rows) != 1:
                self._process.pause()
                return None
            self._require_good_end()
        except BaseException:
            self.close()
            raise
        self.close()
        return first

    def close(self) -> None:
        """End the command and all that it has started."""
        try:
            self._process.end()
        finally:
            self._lines.close()

    @property
    def epochs_to_tell(self) -> int:
        """How many epochs it took to see that it tells each of them; not how far it came, which depends on luck."""
        if self.metric != self._asked.metric:
            return self._asked.epochs  # the end had to be waited for
        return min(1 if self._epochs.numbered else 2, self._asked.epochs)

    @property
    def _epochs(self) -> Epochs:
        return self._made[self.metric]

    def _waited_for(self, count: int) -> Metrics:
        to_the_end = count == self._asked.epochs and self._asked.told  # it may still have to write its model
        self._wait(lambda: not to_the_end and len(self._epochs.rows) >= count)
        if len(self._epochs.rows) < count and self._has_ended:
            self._settle_for_the_training_loss()
        if len(self._epochs.rows) < count:
            return self._none_left(count - 1)
        if to_the_end:
            self._require_good_end()
        return self._epochs.rows[count - 1]

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Read until there is enough, or the command has ended."""
        began, pause = time.monotonic(), _SHORTEST
        known = -1
        while True:
            self._has_ended = self._process.exit_code() is not None  # before the reading: no more comes after it
            for pairs in self._read():
                for epochs in self._made.values():
                    epochs.take(pairs)
            if self._epochs.problem is not None:
                raise UnsupportedProblemError(self._about(f"{self._epochs.problem}: {_SAY_WHICH}"))
            if enough() or self._has_ended:
                return
            if len(self._epochs.rows) != known:
                known, began = len(self._epochs.rows), time.monotonic()
            if self._asked.timeout is not None and time.monotonic() - began > self._asked.timeout:
                raise TrialFailedError(self._about(f"no epoch for {self._asked.timeout:g} seconds", tail=True))
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)

    def _read(self) -> Iterator[Metrics]:
        if self._log is None:
            for line in self._lines.read(ended=self._has_ended):
                yield pairs_in(line, self._asked.metric) if self._reader is None else self._reader(line)
            return
        if self._has_ended and self._process.exit_code():
            return  # why it failed stands in its output
        try:
            yield from self._log.read(ended=self._has_ended)
        except TrialFailedError as error:
            raise TrialFailedError(self._about(str(error), tail=True)) from None

    def _settle_for_the_training_loss(self) -> None:
        """Where nothing is ever validated, let the training loss decide, as it does everywhere."""
        if not self._epochs.rows and not self._process.exit_code():
            self.metric = next((name for name, epochs in self._made.items() if epochs.rows), self.metric)
            if self._epochs.problem is not None:
                raise UnsupportedProblemError(self._about(f"{self._epochs.problem}: {_SAY_WHICH}"))

    def _none_left(self, done: int) -> Metrics:
        code = self._process.exit_code()
        if any(epochs.broken for epochs in self._made.values()):
            return {"loss": float("nan")}  # it gave up because training broke, which is a result
        if code:
            self._require_good_end()
        if done:
            msg = (
                f"it ended after {done} of {self._asked.epochs} epochs: let it train for {{epochs}} epochs, all of them"
            )
            raise UnsupportedProblemError(self._about(msg))
        names = [name for name in self._epochs.names if name != self.metric]
        if names:
            msg = f"no metric is named {self.metric!r}; it gives {', '.join(names)}: pass one of these as metric"
            raise UnknownMetricError(self._about(msg))
        raise UnsupportedProblemError(self._about(f"it gives no metrics: {_SAY_WHICH}", tail=True))

    def _require_good_end(self) -> None:
        code = self._process.exit_code()
        if code:
            how = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
            raise TrialFailedError(self._about(how, tail=True))

    def _about(self, what: str, *, tail: bool = False) -> str:
        said = f"the command at learning rate {rate(self._asked.learning_rate)}: {what}"
        if not tail:
            return said
        lines = tail_of(self._output)
        return f"{said}; the end of its output:\n{lines}" if lines else f"{said}; it has printed nothing"


_SAY_WHICH = (
    "say which line or file has the metrics of an epoch, by a pattern such as 'val_loss: (?P<val_loss>\\S+)' or a log"
)


def tail_of(output: Path) -> str:
    """Return the last lines of a file, as text whatever they are."""
    with output.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - 8192, 0))
        lines = stream.read().decode(errors="replace").replace("\r", "\n").splitlines()
    return "\n".join(f"  {line[-200:]}" for line in lines[-_TAIL:] if line.strip())


def _candidates(metric: str) -> list[str]:
    return [metric, "loss"] if metric == "val_loss" else [metric]
