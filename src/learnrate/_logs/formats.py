"""Logs that are text: CSV and JSON, read into tables."""

from __future__ import annotations

import csv
import json
import math
import re
from array import array
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from learnrate._logs.metric_names import is_learning_rate
from learnrate._logs.table import Column, Table
from learnrate.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

_EMPTY = "-nan"  # stands in empty cells while a block is read: its sign tells it from a NaN that was written
_MOST_CELLS = 10**8  # of JSON rows: a name in each of few rows would fill the memory with nothing
_BLOCK = 20_000  # lines at a time: a few MB
_BARE = re.compile(r"([:,\[]\s*-?)(nan|inf(?:inity)?)(?=\s*[,}\]])", re.IGNORECASE)
_MISSING = {"", "na", "n/a", "none", "null", "-"}


class _Block(NamedTuple):
    """Some rows of a CSV file: the cells' values, NaN where missing; whether each was written; the line of each row."""

    values: npt.NDArray[np.float64]
    written: npt.NDArray[np.bool_]
    lines: npt.NDArray[np.intp]


class _Csv:
    """A CSV file below its header.

    `texts` has for each column the line and the content of its first cell that is neither a number nor missing. The
    `decimal` mark is a comma where commas separate no cells and no number has a point; None until a mark is seen.
    """

    def __init__(self, source: str, names: list[str], separator: str) -> None:
        self.source, self.names, self.separator = source, names, separator
        self.texts: dict[int, tuple[int, str]] = {}
        self.decimal = "." if separator == "," else None

    def block(self, texts: list[str], first_line: int) -> _Block:
        lines = np.arange(first_line, first_line + len(texts), dtype=np.intp)
        values = self._numbers(texts)
        if values is not None:
            written = ~(np.isnan(values) & np.signbit(values))
            return _Block(values, written, lines)
        rows = [
            (line, self._cells(text, line)) for line, text in zip(lines.tolist(), texts, strict=True) if text.strip()
        ]
        if self.decimal is None:
            self.decimal = _decimal_mark([cell for _, cells in rows for cell in cells])
        values = np.full((len(rows), len(self.names)), np.nan)
        written = np.zeros(values.shape, dtype=np.bool_)
        for i, (line, cells) in enumerate(rows):
            for j, cell in enumerate(cells):
                value = _number(cell, self.decimal or ".")
                if value is not None:
                    values[i, j], written[i, j] = value, True
                elif cell.lower() not in _MISSING:
                    self.texts.setdefault(j, (line, cell))
        return _Block(values, written, np.array([line for line, _ in rows], dtype=np.intp))

    def _numbers(self, texts: list[str]) -> npt.NDArray[np.float64] | None:
        """Return a block of numbers and empty cells, ten times as fast as cell by cell; None where it is not just that.

        Columns known to be text are empty.
        """
        separators = len(self.names) - 1
        if any(text.count(self.separator) != separators or '"' in text or _EMPTY in text for text in texts):
            return None
        comma = self.separator
        block = "\n" + "\n".join(text.rstrip("\r\n") for text in texts) + "\n"
        if comma != "," and "," in block:
            if self.decimal != "," or "." in block:
                return None
            block = block.replace(",", ".")
        elif "." in block and self.decimal != ".":
            return None
        for before, after in ((comma, comma), (comma, comma), ("\n", comma), (comma, "\n")):
            block = block.replace(before + after, before + _EMPTY + after)
        kept = [position for position in range(len(self.names)) if position not in self.texts]
        try:
            found = np.loadtxt(
                block[1:-1].split("\n"), delimiter=comma, comments=None, ndmin=2, usecols=kept, dtype=np.float64
            )
        except ValueError:
            return None
        if len(found) != len(texts):
            return None
        values = np.full((len(texts), len(self.names)), float(_EMPTY))
        values[:, kept] = found
        return values

    def _cells(self, text: str, line: int) -> list[str]:
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], delimiter=self.separator, strict=True))]
        except csv.Error as error:
            raise LogError(f"{self.source}, line {line}: {error}: the line was cut, or is no CSV") from None
        if len(cells) != len(self.names):
            cut = "the line was cut in the middle: remove it"
            changed = "the header changed half way: split the file there"
            raise LogError(
                f"{self.source}, line {line}: {len(cells)} cells where the header names {len(self.names)} columns; "
                + (cut if len(cells) < len(self.names) else changed)
            )
        marks = "." if self.separator == "," else ".,"
        if all(all(_number(cell, mark) is None for mark in marks) and cell.lower() not in _MISSING for cell in cells):
            raise LogError(f"{self.source}, line {line}: another header ({text.strip()[:60]}): split the file there")
        return cells

    def table(self, blocks: list[_Block]) -> Table:
        if not sum(len(block.lines) for block in blocks):
            raise LogError(f"{self.source}: there are no rows below the header: nothing has been logged yet")
        values = np.concatenate([block.values for block in blocks])
        written = np.concatenate([block.written for block in blocks])
        for position, (line, cell) in self.texts.items():
            if written[:, position].any():
                name = self.names[position]
                where = " where a comma is the decimal mark" if self.decimal == "," else ""
                raise LogError(f"{self.source}, line {line}: {cell[:40]!r} in column {name!r} is no number{where}")
        columns = {
            name: Column(values[:, i], written[:, i]) for i, name in enumerate(self.names) if i not in self.texts
        }
        texts = {self.names[position]: text for position, text in self.texts.items()}
        return Table(self.source, columns, np.concatenate([block.lines for block in blocks]), texts=texts)


def csv_table(lines: Iterator[str], source: str) -> Table:
    """Read a CSV file with a header, separated by commas, semicolons or tabs.

    Between semicolons and tabs the decimal mark may be a comma. Empty cells, NA, N/A, None, null and - are missing; nan
    and inf are numbers. A column without a single number is left out.
    """
    number, header = next(((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()), (0, ""))
    if not header:
        raise LogError(f"{source}: the file is empty: give a log with a header and at least one row")
    separator = max(";\t,", key=header.count)  # of two the one that is no decimal mark
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    if all(_number(name) is not None or (separator != "," and _number(name, ",") is not None) for name in names):
        raise LogError(
            f"{source}, line {number}: the file begins with numbers ({header[:60]}): put a header above them that "
            "names the columns, such as epoch,loss,val_loss"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LogError(f"{source}, line {number}: the header names {twice!r} twice: rename one of the two")
    reader, blocks = _Csv(source, names, separator), list[_Block]()
    while texts := list(islice(lines, _BLOCK)):
        blocks.append(reader.block(texts, number + 1))
        number += len(texts)
    return reader.table(blocks)


def _number(cell: str, decimal: str = ".") -> float | None:
    if decimal == ",":
        cell = "" if "." in cell else cell.replace(",", ".")
    try:
        return float(cell)
    except ValueError:
        return None


def _decimal_mark(cells: list[str]) -> str | None:
    """Return the decimal mark of the numbers among the cells, a point if any has one; None where none has a mark."""
    if any("." in cell and _number(cell) is not None for cell in cells):
        return "."
    return "," if any("," in cell and _number(cell, ",") is not None for cell in cells) else None


def json_table(lines: Iterator[str], source: str) -> Table:
    """Read JSON: a Keras history, a Hugging Face trainer state, a list of rows, or a row in each line."""
    head: list[str] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    first = head[-1]
    try:
        row = _loads(first)
    except json.JSONDecodeError:
        row = None
    if isinstance(row, dict) and _is_row(cast("dict[str, Any]", row)):
        return _json_lines(chain(head, lines), source)
    rest = list(lines)
    if isinstance(row, dict) and any(line.strip() for line in rest):
        return _json_lines(chain(head, rest), source)
    try:
        whole: object = _loads("".join([*head, *rest]))
    except json.JSONDecodeError as error:
        what = f"{error.msg}: no JSON, or cut in the middle"
        raise LogError(f"{source}, line {error.lineno}: {what}") from None
    return _from_json(whole, source)


def _loads(text: str) -> Any:
    """Read JSON in which a number that is none may be as Python prints it, nan or inf, and not as its json does."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        plain = _BARE.sub(lambda found: found[1] + ("NaN" if found[2].lower() == "nan" else "Infinity"), text)
        if plain == text:
            raise
        return json.loads(plain)


def _json_lines(lines: Iterable[str], source: str) -> Table:
    rows = _Rows(source)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: object = _loads(line)
        except json.JSONDecodeError as error:
            raise LogError(f"{source}, line {number}: {error.msg}: no JSON, or cut in the middle") from None
        if not isinstance(row, dict):
            raise LogError(f"{source}, line {number}: a {_kind(row)} where each line must be an object, as line 1 is")
        rows.add(cast("dict[str, Any]", row), number)
    return rows.table()


def _from_json(whole: object, source: str) -> Table:
    if isinstance(whole, dict):
        whole = cast("dict[str, Any]", whole)
        history = whole.get("log_history")
        if isinstance(history, list):
            return _trainer_state(cast("list[Any]", history), source)
        inner = whole.get("history")
        table = history_table(cast("dict[str, Any]", inner) if isinstance(inner, dict) else whole, source)
        rates = [_value(value) for name, value in whole.items() if is_learning_rate(name)]
        return table._replace(learning_rate=next((rate for rate in rates if rate is not None), None))
    if isinstance(whole, list):
        rows = _objects(cast("list[Any]", whole), source)
        return _entries_table(rows, source)
    raise LogError(f"{source}: a {_kind(whole)} is no log: give a history (name: list of values) or a list of rows")


def _trainer_state(history: list[Any], source: str) -> Table:
    """Read a Hugging Face trainer's `log_history`, up to its summary: what follows was evaluated after training."""
    rows = _objects(history, source)
    end = next((number for number, row in enumerate(rows, 1) if "train_runtime" in row), len(rows))
    return _entries_table(rows[:end], source)._replace(finished_epochs=True)


def _objects(entries: list[Any], source: str) -> list[Mapping[str, Any]]:
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise LogError(f"{source}, entry {number}: a {_kind(entry)} where a row (name: value) must be")
    return entries


def history_table(history: Mapping[str, Any], source: str) -> Table:
    """Read a Keras history: for each name a list of values, one an epoch."""
    series = {name: cast("list[Any]", values) for name, values in history.items() if isinstance(values, list)}
    if not series:
        held = ", ".join(list(history)[:5]) or "nothing"
        raise LogError(f"{source}: no list of values in this JSON object, it holds {held}: this is no learning curve")
    lengths = {name: len(values) for name, values in series.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise LogError(f"{source}: the lists have different lengths ({counts}): give each name one value an epoch")
    return _entries_table((dict(zip(series, row, strict=True)) for row in zip(*series.values(), strict=True)), source)


class _Rows:
    """Rows of names and values, added one by one; what is neither a number nor missing makes its column text."""

    def __init__(self, source: str, unit: str = "line") -> None:
        self.source, self.unit = source, unit
        self.lines = array("q")
        self.numbers: dict[str, tuple[array[int], array[float]]] = {}  # of each column: rows and values
        self.texts: dict[str, tuple[int, str]] = {}

    def add(self, row: Mapping[str, Any], line: int) -> None:
        for name, value in _flat(row):
            number = _value(value)
            if number is not None:
                rows, values = self.numbers.setdefault(name, (array("q"), array("d")))
                rows.append(len(self.lines))
                values.append(number)
            elif value is not None and str(value).strip().lower() not in _MISSING:
                self.texts.setdefault(name, (line, str(value)[:40]))
        self.lines.append(line)

    def table(self) -> Table:
        """Return the rows as columns, without those of text.

        Raises:
            LogError: If there are no rows, if a column has text as well as numbers, or if there are too many columns.
        """
        if not self.lines:
            raise LogError(f"{self.source}: there are no rows: nothing has been logged yet")
        for name, (line, text) in self.texts.items():
            if name in self.numbers:
                raise LogError(f"{self.source}, {self.unit} {line}: {text!r} for {name!r} is no number")
        if len(self.numbers) * len(self.lines) > _MOST_CELLS:
            size = f"{len(self.numbers):,} names in {len(self.lines):,} rows"
            raise LogError(f"{self.source}: {size}: a log has some dozens of metrics; keep those that matter")
        columns: dict[str, Column] = {}
        for name, (rows, values) in self.numbers.items():
            columns[name] = Column(np.full(len(self.lines), np.nan), np.zeros(len(self.lines), dtype=np.bool_))
            columns[name].values[np.asarray(rows)] = values
            columns[name].written[np.asarray(rows)] = True
        return Table(self.source, columns, np.array(self.lines, dtype=np.intp), unit=self.unit, texts=self.texts)


def _entries_table(entries: Iterable[Mapping[str, Any]], source: str) -> Table:
    rows = _Rows(source, unit="entry")
    for number, entry in enumerate(entries, 1):
        rows.add(entry, number)
    return rows.table()


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return the values of a row, those of objects inside it by "outer/inner"."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _value(value: object) -> float | None:
    """Return a number, also one that JSON cannot write and that stands there as text ("NaN", "inf"); else None."""
    if isinstance(value, str):
        number = _number(value)
        return None if number is None or math.isfinite(number) else number
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _is_row(row: dict[str, Any]) -> bool:
    whole = "history" in row or any(isinstance(value, list) for value in row.values())
    return not whole and any(_value(value) is not None for value in row.values())


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return next(
        (name for kind, name in ((dict, "object"), (list, "list"), (str, "text")) if isinstance(value, kind)), "number"
    )
