"""Logs that tools keep in stores of their own: TensorBoard's event files, MLflow's folders and databases."""

from __future__ import annotations

import sqlite3
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

import numpy as np

from learnrate._logs.metric_names import is_learning_rate
from learnrate._logs.table import Column, Table
from learnrate.errors import LogError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

LARGEST = 1.79e308  # MLflow's databases write infinity as the largest number


class Point(NamedTuple):
    """One value of one metric, in the order of steps and then of time."""

    step: int
    time: float
    value: float


def series_table(series: dict[str, list[Point]], source: str, learning_rate: float | None = None) -> Table:
    """Put metrics that were logged one by one beside one another, by step; by time where every step is the same.

    Raises:
        LogError: If a metric has two values at one step.
    """
    numbered: dict[str, list[Point]] = {}
    for name, points in series.items():
        points.sort()
        if len(points) > 1 and points[0].step == points[-1].step:
            numbered[name] = [point._replace(step=i) for i, point in enumerate(points)]
        else:
            numbered[name] = points
    steps = np.unique([point.step for points in numbered.values() for point in points])
    columns: dict[str, Column] = {"step": Column(steps.astype(np.float64), np.ones(len(steps), dtype=bool))}
    for name, points in numbered.items():
        own = np.array([point.step for point in points], dtype=np.int64)
        again = np.flatnonzero(np.diff(own) == 0)
        if len(again):
            raise LogError(
                f"{source}: {name} has two values at step {own[again[0]]}: the run was started again over its own log; "
                "log each training as a run of its own"
            )
        rows = np.searchsorted(steps, own)
        column = Column(np.full(len(steps), np.nan), np.zeros(len(steps), dtype=bool))
        column.values[rows] = [point.value for point in points]
        column.written[rows] = True
        columns["metric step" if name == "step" else name] = column
    return Table(source, columns, steps.astype(np.intp), learning_rate=learning_rate, unit="step")


# MLflow


def is_mlflow_run(folder: Path) -> bool:
    """Say whether a folder is one run of an MLflow folder."""
    return (folder / "meta.yaml").is_file() and (folder / "metrics").is_dir()


def mlflow_runs(folder: Path) -> list[Path]:
    """Return the runs in a run's, an experiment's or a tracking folder; those deleted (in .trash) are left out."""
    found: list[Path] = []
    for depth in ("", "*", "*/*", "*/*/*"):
        found += [run for run in (sorted(folder.glob(depth)) if depth else [folder]) if is_mlflow_run(run)]
    return [run for run in found if ".trash" not in run.relative_to(folder).parts]


def mlflow_folder_table(run: Path) -> Table | None:
    """Read one run of an MLflow folder; None where it has no metrics."""
    series: dict[str, list[Point]] = {}
    for file in sorted((run / "metrics").rglob("*")):
        name = file.relative_to(run / "metrics").as_posix()
        if file.is_file() and not name.startswith("system/"):
            series[name] = _metric_file(file)
    params = run / "params"
    written = [(file.name, file.read_text(encoding="utf-8")) for file in sorted(params.glob("*")) if file.is_file()]
    return series_table(series, str(run), _rate_of(written)) if any(series.values()) else None


def _metric_file(file: Path) -> list[Point]:
    points: list[Point] = []
    width = 0
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        width = width or len(fields)
        try:
            time, value, step = (*fields, "0")[:3]
            points.append(Point(int(step), float(time), float(value)))
        except ValueError:
            width = -1
        if len(fields) != width:
            what = f"{line[:60]!r} is not 'time value step', as MLflow writes it"
            raise LogError(f"{file}, line {number}: {what}: was it cut in the middle?") from None
    return points


def _rate_of(params: Iterable[tuple[str, str]]) -> float | None:
    for name, text in params:
        try:
            if is_learning_rate(name) and 0 < float(text) < np.inf:
                return float(text)
        except ValueError:
            continue
    return None


def mlflow_database_tables(path: Path) -> list[Table]:
    """Read every run of an MLflow SQLite database that has metrics; the database is opened read-only."""
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
    try:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"runs", "metrics", "params"} <= names:
            held = ", ".join(sorted(names)[:5]) or "no tables"
            raise LogError(f"{path}: this SQLite database is not MLflow's, it holds {held}")
        runs: list[tuple[str, str | None]] = connection.execute(
            "SELECT run_uuid, name FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time, run_uuid"
        ).fetchall()
        tables = [_database_run(connection, path, run, name or run) for run, name in runs]
    except sqlite3.DatabaseError as error:
        raise LogError(f"{path}: this SQLite database cannot be read: {error}") from error
    finally:
        connection.close()
    return [table for table in tables if table is not None]


def _database_run(connection: sqlite3.Connection, path: Path, run: str, name: str) -> Table | None:
    series: dict[str, list[Point]] = {}
    rows = connection.execute("SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?", (run,))
    for key, step, time, value, is_nan in rows:
        if not key.startswith("system/"):
            number = np.nan if is_nan else float(np.copysign(np.inf, value)) if abs(value) >= LARGEST else value
            series.setdefault(key, []).append(Point(step, time, number))
    params = connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run,)).fetchall()
    return series_table(series, f"{path} ({name})", _rate_of(params)) if series else None


# TensorBoard


def is_event_file(head: bytes) -> bool:
    """Say whether a file begins as TensorBoard's event files do."""
    return b"brain.Event:" in head[:64]


def event_files(folder: Path) -> list[Path]:
    """Return the event files in a folder and below it, by name and content."""
    found: list[Path] = []
    for file in sorted(folder.rglob("*tfevents*")):
        with file.open("rb") as stream:
            if is_event_file(stream.read(64)):
                found.append(file)
    return found


_HALVES = {"train", "training", "val", "valid", "validation", "eval"}


def tensorboard_tables(files: list[Path]) -> list[Table]:
    """Read event files, a training for each folder; folders named train and validation belong to the one above."""
    runs: dict[Path, dict[str, list[Point]]] = {}
    for file in files:
        folder = file.parent
        half = folder.name.lower() in _HALVES
        series = runs.setdefault(folder.parent if half else folder, {})
        for tag, point in _event_scalars(file):
            series.setdefault(f"{folder.name}/{tag}" if half else tag, []).append(point)
    return [series_table(series, str(run)) for run, series in runs.items() if series]


def _event_scalars(file: Path) -> Iterator[tuple[str, Point]]:
    """Return the scalars of an event file; parsed by the protocol alone, since the reader loads TensorFlow."""
    try:
        # it ships no types
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType, reportAttributeAccessIssue]  # fmt: skip
    except ImportError as error:
        install = "pip install 'learnrate[tensorboard]'"
        raise MissingExtraError(f"{file} is TensorBoard's, and tensorboard is not installed: {install}") from error
    parse = cast("Callable[[bytes], Any]", cast("Any", Event).FromString)
    for number, record in enumerate(_records(file), 1):
        try:
            event = parse(record)
        except Exception as error:  # protobuf's own, which moved between its versions
            raise LogError(f"{file}, record {number}: the record is damaged: {error}") from error
        for value in event.summary.value:
            number_or_none = _scalar(value)
            if number_or_none is not None:
                yield value.tag, Point(event.step, event.wall_time, number_or_none)


def _records(file: Path) -> Iterator[bytes]:
    """Return the records: each its length (8 bytes), a checksum (4), its bytes, a checksum (4)."""
    with file.open("rb") as stream:
        number = 0
        while head := stream.read(12):
            number += 1
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
            left = file.stat().st_size - stream.tell()
            if len(head) < 12 or left < length + 4:
                raise LogError(f"{file}, record {number}: the file ends in the middle of this record: was it cut?")
            yield stream.read(length)
            stream.seek(4, 1)


_TENSORS = {1: ("float_val", "<f4"), 2: ("double_val", "<f8"), 3: ("int_val", "<i4"), 9: ("int64_val", "<i8")}


def _scalar(value: Any) -> float | None:
    """Return a summary's number; None where it holds something else: pictures, text, histograms."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.tensor.dtype not in _TENSORS or value.tensor.tensor_shape.dim:
        return None
    field, layout = _TENSORS[value.tensor.dtype]
    listed = getattr(value.tensor, field)
    return float(listed[0]) if listed else float(np.frombuffer(value.tensor.tensor_content, layout)[0])
