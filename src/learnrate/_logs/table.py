"""The rows of a log, whatever wrote them, made into one learning curve."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from learnrate._logs.metric_names import canonical_names, is_epoch, is_learning_rate, is_step
from learnrate.curves import LearningCurve
from learnrate.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from learnrate.curves import Array

Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Numbers = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


class Log(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One training out of a log.

    Args:
        path: The file or folder, with the run's name where it holds several.
        learning_rate: The highest that the log names, or the one that was given; None where neither is.
        curve: The learning curve.
    """

    path: str
    learning_rate: float | None
    curve: LearningCurve


class Column(NamedTuple):
    """The values of one column, NaN where there is none, and in which rows one was written (it may be NaN too)."""

    values: Array
    written: Flags

    def at(self, rows: Flags) -> Column:
        """Return only these rows."""
        return Column(self.values[rows], self.written[rows])


class Table(NamedTuple):
    """The rows of a log.

    Args:
        source: What errors call the log.
        columns: By the log's own names.
        lines: The line of the file (or the entry) of each row, counted from 1.
        learning_rate: Where the log says it beside the rows.
        finished_epochs: Whether the epoch column counts finished epochs; else one that starts at 0 is taken to number
            the epochs from 0.
        unit: What `lines` counts.
        texts: Of each column that is left out since it holds no number: the line and the content of a cell.
    """

    source: str
    columns: dict[str, Column]
    lines: Numbers
    learning_rate: float | None = None
    finished_epochs: bool = False
    unit: str = "line"
    texts: Mapping[str, tuple[int, str]] = MappingProxyType({})

    def wrong(self, row: int, what: str) -> LogError:
        """Return the error that names the file and the line."""
        return LogError(f"{self.source}, {self.unit} {self.lines[row]}: {what}")


def to_log(table: Table, learning_rate: float | None) -> Log:
    """Make one learning curve of a table: a row for each evaluation, training metrics averaged since the last.

    Raises:
        LogError: If there are no rows or no metrics, or if epochs or steps repeat or decrease.
    """
    columns = {name: column for name, column in table.columns.items() if column.written.any()}
    of_epochs = next((name for name in columns if is_epoch(name)), None)
    of_steps = next((name for name in columns if is_step(name)), None)
    rates = [name for name in columns if is_learning_rate(name)]
    metrics = [name for name in columns if name not in {*rates, of_epochs, of_steps}]
    if not metrics:
        held = ", ".join(columns) or "no numbers at all"
        held += "".join(
            f"; {name} holds text: {cell!r} on {table.unit} {line}" for name, (line, cell) in table.texts.items()
        )
        raise LogError(f"{table.source}: there is no metric in this log, it holds {held}: give one with a loss column")
    if learning_rate is None:
        learning_rate = _peak([columns[name].values for name in rates]) or table.learning_rate
    kept = np.logical_or.reduce([columns[name].written for name in metrics])
    columns = {name: column.at(kept) for name, column in columns.items()}
    table = table._replace(lines=table.lines[kept])
    epoch = _counter(table, columns, of_epochs)
    step = _counter(table, columns, of_steps)
    order = step if step is not None else epoch if epoch is not None else np.arange(1.0, len(table.lines) + 1)
    _check_order(table, order, "step" if step is not None else "epoch")
    names = canonical_names(metrics)
    named = {names[name]: columns[name] for name in metrics}
    group, last = _evaluations(table, order, named)
    curve = LearningCurve(
        epochs=_epochs(table, epoch, step, order, last),
        metrics={name: _grouped(column, group, len(last)) for name, column in named.items()},
    )
    return Log(path=table.source, learning_rate=learning_rate, curve=curve)


def _peak(rates: list[Array]) -> float | None:
    finite = [float(rate[np.isfinite(rate)].max()) for rate in rates if np.isfinite(rate).any()]
    return max((rate for rate in finite if rate > 0), default=None)


def _counter(table: Table, columns: dict[str, Column], name: str | None) -> Array | None:
    """Return the epochs or steps of all rows, None where some rows have none."""
    if name is None or not columns[name].written.all():
        return None
    values = columns[name].values
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise table.wrong(int(wrong[0]), f"the {name} is {values[wrong[0]]}, it must be a number")
    return values


def _check_order(table: Table, order: Array, what: str) -> None:
    decreases = np.flatnonzero(np.diff(order) < 0)
    if len(decreases):
        row = int(decreases[0]) + 1
        raise table.wrong(
            row,
            f"{what} {order[row]:g} comes after {what} {order[row - 1]:g}: the log holds several trainings, or one "
            "that was started again; give each training a file of its own",
        )


def _evaluations(table: Table, order: Array, metrics: dict[str, Column]) -> tuple[Numbers, Numbers]:
    """Return the evaluation that each row belongs to, and each evaluation's last row.

    A row belongs to the first evaluation that is not before it; rows after the last one are one more. Where nothing is
    evaluated each row stands for itself.
    """
    validation = [column for name, column in metrics.items() if name.startswith("val_")]
    deciding = list(validation or metrics.values())
    evaluated = np.logical_or.reduce([column.written for column in deciding])
    points = np.unique(order[evaluated])
    group = np.searchsorted(points, order, side="left")
    for name, column in metrics.items():
        if validation and not name.startswith("val_"):
            continue
        rows = np.flatnonzero(column.written)
        again = np.flatnonzero(np.diff(group[rows]) == 0)
        if len(again):
            first, second = rows[again[0]], rows[again[0] + 1]
            at = f"{order[second]:g}, as on {table.unit} {table.lines[first]}"
            raise table.wrong(int(second), f"{name} is given a second time for epoch or step {at}: keep one of the two")
    last = np.flatnonzero(np.append(np.diff(group) > 0, True))  # the last row ends a group
    return np.cumsum(np.append(0, np.diff(group) > 0)), last


def _grouped(column: Column, group: Numbers, count: int) -> Array:
    """Return the mean of what was written for each evaluation, NaN where nothing was."""
    if count == len(group):
        return column.values
    rows = np.flatnonzero(column.written)
    written = np.bincount(group[rows], minlength=count)
    total = np.bincount(group[rows], weights=column.values[rows], minlength=count)
    return np.where(written > 0, total / np.maximum(written, 1), np.nan)


def _epochs(table: Table, epoch: Array | None, step: Array | None, order: Array, last: Numbers) -> Array:
    """Return how many epochs were finished at each evaluation; steps where the log counts no epochs."""
    if epoch is None:
        counted = order[last]
        from_zero = len(counted) > 0 and counted[0] == 0 and bool((np.diff(counted) == 1).all())
        return counted + 1 if from_zero else counted
    whole = bool((epoch == np.round(epoch)).all())
    numbered = whole and epoch.min() == 0 and not table.finished_epochs
    if (np.diff(epoch[last]) > 0).all():
        return epoch[last] + 1 if numbered else epoch[last]
    if step is None or not whole or (np.diff(epoch) < 0).any():
        row = int(last[np.flatnonzero(np.diff(epoch[last]) <= 0)[0] + 1])
        raise table.wrong(row, f"epoch {epoch[row]:g} comes a second time: keep one row an epoch, or add a step column")
    ends = step[np.flatnonzero(np.append(np.diff(epoch) > 0, True))] + 1  # the last row ends an epoch
    steps_per_epoch = float(np.median(np.diff(ends))) if len(ends) > 1 else float(ends[0])
    return (step[last] + 1) / steps_per_epoch + (0 if numbered else epoch.min() - 1)
