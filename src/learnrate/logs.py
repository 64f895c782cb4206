"""Learning curves out of the logs that other tools write: see `read`."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from learnrate._logs.formats import csv_table, json_table
from learnrate._logs.stores import (
    event_files,
    is_event_file,
    mlflow_database_tables,
    mlflow_folder_table,
    mlflow_runs,
    tensorboard_tables,
)
from learnrate._logs.table import Log, to_log
from learnrate.errors import InvalidArgumentError, LogError
from learnrate.results import Result, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from learnrate._logs.table import Table

__all__ = ["Log", "read"]

_KNOWN = (
    "a CSV file with a header, a Keras history or a list of rows as JSON, JSON lines, a Hugging Face "
    "trainer_state.json, a TensorBoard event file, an MLflow folder or database"
)


def read(path: str | Path, *, learning_rate: float | None = None, max_bytes: int = 10**9) -> list[Log]:
    r"""Read the learning curves in a log, one for each training.

    What the log is shows in its content, whatever it is called:

    - CSV with a header, separated by commas, or by semicolons or tabs, where a comma may be the decimal mark: Keras's
      CSVLogger, Lightning's `metrics.csv`;
    - JSON: a Keras `History.history`, a list of rows, a Hugging Face `trainer_state.json`; or one row a line;
    - JSON that a sweep's or a recommendation's `to_json` gave: its trials;
    - any of these compressed by gzip;
    - TensorBoard event files, one or a folder of them (extra `tensorboard`); folders named `train` and `validation`
      are halves of one training;
    - MLflow: a run's, an experiment's or a tracking folder, or a SQLite database (opened read-only).

    An `epoch` column counts the epochs, or else `step`, `global_step` or `iteration`, or else the rows. Epochs that
    start at 0 are taken as numbers, not as counts: 0 becomes 1, one epoch finished. A `learning_rate` or `lr` column
    (or MLflow parameter) gives the learning rate, the highest where it changes. Every other column of numbers is a
    metric, under one name whatever the tool: training metrics bare, validation metrics with the prefix `val_`, `acc` as
    `accuracy`; so `train_loss` and `Loss/train` are `loss`, `eval_loss`, `validation_loss` and `Loss/val` are
    `val_loss`. Of `train_loss_step` and `train_loss_epoch` the latter is `loss`.

    Where training and validation metrics stand in rows of their own, the curve has a row for each evaluation, with the
    mean of the training metrics since the one before.

    Args:
        path: A file or a folder.
        learning_rate: The learning rate of the training, instead of the one in the log.
        max_bytes: The largest file to read, uncompressed; 1 GB is a hundred times a long log.

    Raises:
        LogError: If the file does not exist, is no log, is too large, was cut, changes its header, repeats an epoch or
            goes back to one, or has no rows; the message names the file and the line.
        MissingExtraError: If it is a TensorBoard log and tensorboard is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = file.write_text("epoch,lr,train_loss,val_loss\n0,0.01,0.9,0.8\n1,0.01,0.5,0.6\n")
        >>> log = read(file)[0]
        >>> log.learning_rate, log.curve.best("val_loss", "min")
        (0.01, Best(epoch=2.0, value=0.6))
    """
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise InvalidArgumentError(f"learning_rate is {learning_rate}: it must be positive and finite")
    path = Path(path)
    own = _own_trials(path, max_bytes) if path.is_file() else None
    if own is not None:
        if learning_rate is not None:
            raise InvalidArgumentError(f"{path} names the learning rate of each of its trials: read it without one")
        return own
    try:
        tables = _folder_tables(path, max_bytes) if path.is_dir() else _file_tables(path, max_bytes)
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror or error}") from error
    if learning_rate is not None and len(tables) > 1:
        raise InvalidArgumentError(
            f"{path} holds {len(tables)} trainings, and learning_rate is one number: read them without it, and "
            "give each its own"
        )
    return [to_log(table, learning_rate) for table in tables]


class _Trials(Result, frozen=True, kw_only=True, eq=False):
    trials: list[Trial]


def _own_trials(path: Path, max_bytes: int) -> list[Log] | None:
    """Return the trials in a result of learnrate's own as logs; None where the file is something else."""
    try:
        with path.open("rb") as stream:
            if not stream.read(64).startswith((b'{"trials":', b'{"learning_rate":')) or path.stat().st_size > max_bytes:
                return None
        kept = _Trials.from_json(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return [
        Log(path=f"{path}, trial {trial.number}", learning_rate=trial.learning_rate, curve=trial.curve)
        for trial in kept.trials
        if len(trial.curve)
    ]


def _folder_tables(folder: Path, max_bytes: int) -> list[Table]:
    runs = mlflow_runs(folder)
    if runs:
        for run in runs:
            _check_sizes(list((run / "metrics").rglob("*")), max_bytes)
        tables = [table for run in runs if (table := mlflow_folder_table(run)) is not None]
    else:
        files = event_files(folder)
        if not files:
            held = ", ".join(sorted(file.name for file in folder.iterdir())[:5]) or "nothing"
            raise LogError(
                f"{folder}: no folder of MLflow, and no TensorBoard event file in it, it holds {held}: give {_KNOWN}"
            )
        _check_sizes(files, max_bytes)
        tables = tensorboard_tables(files)
    if not tables:
        raise LogError(f"{folder}: no training in it has logged a metric yet")
    return tables


def _file_tables(path: Path, max_bytes: int) -> list[Table]:
    with path.open("rb") as stream:
        head = stream.read(4096)
    compressed = head.startswith(b"\x1f\x8b")
    if compressed:
        head = _check_compressed(path, max_bytes)
    else:
        _check_sizes([path], max_bytes)
        if head.startswith(b"SQLite format 3\0"):
            tables = mlflow_database_tables(path)
        elif is_event_file(head):
            tables = tensorboard_tables([path])
        else:
            return [_text_table(path, head, compressed=False)]
        if not tables:
            raise LogError(f"{path}: no training in it has logged a metric yet")
        return tables
    return [_text_table(path, head, compressed=True)]


def _check_sizes(files: list[Path], max_bytes: int) -> None:
    for file in files:
        size = file.stat().st_size
        if size > max_bytes and file.is_file():
            raise LogError(f"{file}: {size:,} bytes, more than max_bytes = {max_bytes:,}: raise it if this is a log")


def _check_compressed(path: Path, max_bytes: int) -> bytes:
    """Return how the file begins; refuse one that unpacks to more than `max_bytes`, a chunk at a time."""
    total, head = 0, b""
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(1 << 20):
                head = head or chunk[:4096]
                total += len(chunk)
                if total > max_bytes:
                    raise LogError(
                        f"{path}: unpacks to more than max_bytes = {max_bytes:,} bytes: raise it if this is a log"
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LogError(f"{path}: the gzip file is damaged or was cut: {error}") from error
    return head


def _text_table(path: Path, head: bytes, *, compressed: bool) -> Table:
    if b"\0" in head:
        raise LogError(f"{path}: not a log: it is binary; give {_KNOWN}")
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    reader = json_table if first in {b"{", b"["} else csv_table
    with _open(path, compressed=compressed) as stream:
        try:
            return reader(iter(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=None)), str(path))
        except UnicodeDecodeError:
            line = _first_undecodable(path, compressed=compressed)
            raise LogError(f"{path}, line {line}: not UTF-8: save the log as UTF-8; or it is no log") from None


def _open(path: Path, *, compressed: bool) -> BinaryIO:
    return gzip.open(path) if compressed else path.open("rb")  # pyright: ignore[reportReturnType]  # it reads bytes


def _first_undecodable(path: Path, *, compressed: bool) -> int:
    with _open(path, compressed=compressed) as stream:
        lines: Iterator[bytes] = iter(stream)
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0
