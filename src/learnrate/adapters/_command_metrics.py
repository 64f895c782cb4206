"""Metrics out of what a command prints: names and numbers in a line, and which lines make an epoch."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, cast

from learnrate._logs.metric_names import canonical_names, is_epoch, is_learning_rate, is_step
from learnrate.errors import InvalidArgumentError, TrialFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Metrics = dict[str, float]

EPOCH = "epoch"
_CHUNK = 1 << 20
_LONGEST = 1 << 14  # bytes of a line that are looked at: those at its end
_BREAK = re.compile(rb"[\r\n\b]+")  # a progress bar writes over itself
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
_SPLIT = r"(?:train(?:ing)?|val(?:id(?:ation)?)?|eval(?:uation)?|dev|test)"
_SPOKEN = "|".join(rf"(?<={word})" for word in ("loss", "acc", "accuracy", "error", "auc", "score", "mse", "mae"))
_PAIR = re.compile(
    rf"(?<![\w./-])((?:{_SPLIT} )?[a-z_][\w./-]*)(?:[\"']?\s*[:=]\s*[\"']?|(?:{_SPOKEN})\s+)"
    rf"({_NUMBER})(?!\w)(?!\.\d)(?!/)",
    re.IGNORECASE,
)
_EPOCH_NUMBER = re.compile(r"\bepoch\b[\"'\s:=#(\[]*(\d+(?:\.\d+)?)", re.IGNORECASE)


def pairs_in(line: str, metric: str = "") -> Metrics:
    """Return the metrics in a line of any program: `name=value`, `name: value`, or a JSON object.

    The words `loss`, `accuracy` and the like may stand before their number without a sign between. Names are those of
    learnrate (see `learnrate.logs.read`), but for the one that is asked for; the epoch's number is "epoch"; learning
    rates and steps are left out.

    Example:
        >>> pairs_in("Epoch 3/20 - Train loss: 0.31 - val_acc=0.9 - 12s")
        {'epoch': 3.0, 'loss': 0.31, 'val_accuracy': 0.9}
    """
    line = _COLOUR.sub("", line)
    found = _from_json(line) if line.lstrip().startswith("{") else None
    if found is None:
        found = {name: float(value) for name, value in reversed(_PAIR.findall(line))}  # the first of a name counts
        found = dict(reversed(found.items()))
        numbered = _EPOCH_NUMBER.search(line)
        if numbered is not None:
            found = {EPOCH: float(numbered[1])} | {name: value for name, value in found.items() if not is_epoch(name)}
    kept = [name for name in found if not (is_epoch(name) or is_step(name) or is_learning_rate(name)) or name == metric]
    names = canonical_names(name for name in kept if name != metric) | {metric: metric}
    number = next((value for name, value in found.items() if is_epoch(name)), None)
    return ({} if number is None else {EPOCH: number}) | {names[name]: found[name] for name in kept}


def _from_json(line: str) -> Metrics | None:
    try:
        row: Any = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    values = cast("dict[str, Any]", row).items()
    numbers = [(name, value) for name, value in values if isinstance(value, int | float)]
    return {name: float(value) for name, value in numbers if not isinstance(value, bool)}


class Pattern:
    r"""Reads metrics by a regular expression with named groups, as in `loss: (?P<loss>\S+)`.

    Raises:
        InvalidArgumentError: It is no regular expression, or has no named groups.
    """

    def __init__(self, text: str) -> None:
        try:
            self._regex = re.compile(text)
        except re.error as error:
            raise InvalidArgumentError(f"the pattern {text!r} is no regular expression: {error}") from error
        if not self._regex.groupindex:
            msg = f"the pattern {text!r} has no named groups: name each metric, as in val_loss: (?P<val_loss>\\S+)"
            raise InvalidArgumentError(msg)

    def __call__(self, line: str) -> Metrics:
        """Return the metrics in a line; none where it does not match."""
        found: Metrics = {}
        for match in self._regex.finditer(_COLOUR.sub("", line)):
            for name, text in match.groupdict().items():
                if text is not None:
                    found[name] = _number(name, text)
        return found


def _number(name: str, text: str) -> float:
    try:
        return float(text.strip().rstrip(",;|%)]}"))
    except ValueError:
        msg = f"the pattern's group {name!r} matched {text[:40]!r}, which is no number: let it match the number alone"
        raise TrialFailedError(msg) from None


class Lines:
    """The complete lines of a file that grows, in any encoding that holds ASCII; never more than a few MB in memory."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self._rest = b""

    def read(self, *, ended: bool) -> Iterator[str]:
        """Give the lines that have come since; the last one too, if it will not grow any more."""
        while chunk := self._stream.read(_CHUNK):
            *whole, rest = _BREAK.split(self._rest + chunk)
            self._rest = rest[-_LONGEST:]
            for line in whole:
                if line:
                    yield line[-_LONGEST:].decode(errors="replace")
        if ended and self._rest:
            yield self._rest.decode(errors="replace")
            self._rest = b""

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Epochs:
    """Makes rows of what is read: an epoch is over where the deciding metric stands.

    What was read since the row before belongs to the row, the last value of each name. Lines that tell the number of
    their epoch have to tell one after the other; a value after the last epoch, or of an earlier one, is a summary.

    Args:
        metric: The metric that decides.
        asked: How many epochs there should be.
        told: Whether the command knows that; else it may go on for as long as it likes.

    Attributes:
        rows: An epoch each.
        names: Of all metrics that were seen.
        problem: Why the rows cannot be epochs; None while they can.
    """

    def __init__(self, metric: str, asked: int, *, told: bool) -> None:
        self.rows: list[Metrics] = []
        self.names: dict[str, None] = {}
        self.problem: str | None = None
        self._metric, self._asked, self._told = metric, asked, told
        self._pending: Metrics = {}
        self._number: int | None = None
        self._summaries = 0

    @property
    def broken(self) -> bool:
        """Whether what was read since the last row holds a NaN or an infinity."""
        return not all(math.isfinite(value) for value in self._pending.values())

    @property
    def certain(self) -> bool:
        """Whether there are surely more epochs than one: there are, or the first is numbered and not the last."""
        return len(self.rows) > 1 or (self._number is not None and self._number < self._asked)

    @property
    def numbered(self) -> bool:
        """Whether the epochs are numbered."""
        return self._number is not None

    def take(self, pairs: Metrics) -> None:
        """Take the metrics of a line."""
        self.names |= dict.fromkeys(name for name in pairs if name != EPOCH)
        self._pending |= pairs
        number = self._pending.get(EPOCH)
        within = number is not None and number != math.floor(number)  # a report in the middle of an epoch
        if self._metric not in pairs or within or self.problem is not None:
            return
        if self._is_epoch(None if number is None else int(number)):
            self.rows.append({name: value for name, value in self._pending.items() if name != EPOCH})
        self._pending = {}

    def _is_epoch(self, number: int | None) -> bool:
        """Return whether what is pending is a new epoch; note what is wrong if it can be neither that nor a summary."""
        before, full = self._number, len(self.rows) >= self._asked
        if full and not self._told:
            return False
        if number is None or (before is not None and (number < before or (full and number == before))):
            self._summaries += full and before is None
            if self._summaries > 1:
                self.problem = f"it gives {self._metric} more than {self._asked} times"
            return not full and before is None
        if before is None and (self.rows or number not in (0, 1, self._asked)):
            self.problem = f"the first epoch that it gives {self._metric} for is {number}"
        elif number == before:
            self.problem = f"it gives {self._metric} twice for epoch {number}"
        elif before is not None and number > before + 1:
            self.problem = f"it gives {self._metric} for epoch {number} next after epoch {before}"
        elif full:
            self.problem = f"it gives {self._metric} for more than {self._asked} epochs"
        self._number = number
        return self.problem is None
