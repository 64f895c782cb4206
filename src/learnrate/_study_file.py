"""The SQLite file of a study: rows with checksums, one writer, and errors that say what to do."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sqlite3
import struct
import tempfile
import threading
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from learnrate.errors import StudyDamagedError, StudyError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

FORMAT_VERSION: Final = 1
DATABASE: Final = "study.sqlite"
CHECKPOINTS: Final = "checkpoints"

_TABLES: Final = {  # every row ends in its own checksum: SQLite sees torn pages, but not a changed digit
    "study": "CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    "trials": "CREATE TABLE trials (number INTEGER PRIMARY KEY, trial TEXT NOT NULL, crc INTEGER NOT NULL)",
    "epochs": "CREATE TABLE epochs (trial INTEGER REFERENCES trials (number), epoch REAL, metrics TEXT NOT NULL, "
    "crc INTEGER NOT NULL, PRIMARY KEY (trial, epoch)) WITHOUT ROWID",
    "segments": "CREATE TABLE segments (key TEXT PRIMARY KEY, trial TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
}
_KEYS: Final = {"study": ("name",), "trials": ("number",), "epochs": ("trial", "epoch"), "segments": ("key",)}
_ABOUT: Final = ("format", "verb", "settings", "identity", "created")  # a study is nothing without these rows


class StudyFile:
    """A study's tables; `put` and `rows` belong inside a `transaction`, and any thread may have one."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.folder = folder
        self.writable = writable
        self._thread_lock = threading.RLock()
        self._database = connect(folder / DATABASE, "rw") if writable else _connect_to_read(folder)
        try:
            try:
                self._check()
            except UnicodeDecodeError as error:  # SQLite quotes damaged text in its messages
                raise damaged(folder, str(error)) from error
            if writable:
                self._warn_of_lost_rows()
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with self._thread_lock:
            self._database.close()

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """See one state of the study, whatever its writer does meanwhile."""
        with self._transaction("BEGIN"):
            yield

    @contextlib.contextmanager
    def writing(self, *, durable: bool = False) -> Generator[None]:
        """Write everything or nothing; `durable` waits until the disk has it, and all that came before."""
        self.require_writable()
        with self._thread_lock, explained(self.folder):
            # a transaction outlives the process either way; on ext4 NORMAL takes 0.06 ms and FULL 3 ms
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._transaction("BEGIN IMMEDIATE"):
                yield

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Generator[None]:
        with self._thread_lock, explained(self.folder):
            self._database.execute(begin)
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # where SQLite has rolled back by itself
                    self._database.execute("ROLLBACK")
                raise

    def require_writable(self) -> None:
        if not self.writable:
            raise StudyError(f"the study in {self.folder} is open for reading only: use Study.open to work on it")

    def put(self, table: str, *values: float | str) -> None:
        """Write a row in the place of the one with the same key."""
        marks = ", ".join("?" * (len(values) + 1))
        self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", [*values, _checksum(*values)])  # noqa: S608  # our own names

    def rows(self, table: str, first_key: float | str | None = None) -> Iterator[tuple[Any, ...]]:
        """Return the rows without their checksums, by key; those whose key begins so where one is given."""
        where, values = ("", []) if first_key is None else (f" WHERE {_KEYS[table][0]} = ?", [first_key])
        for *row, crc in self._database.execute(f"SELECT * FROM {table}{where}", values):  # noqa: S608  # our own names
            if crc != _checksum(*row):
                raise self._damaged_row(table, row)
            yield tuple(row)

    def has(self, table: str, key: float | str) -> bool:
        statement = f"SELECT 1 FROM {table} WHERE {_KEYS[table][0]} = ?"  # noqa: S608  # our own names
        return self._database.execute(statement, [key]).fetchone() is not None

    def keys(self, table: str, beginning: str) -> list[str]:
        """Return the keys that begin so."""
        key = _KEYS[table][0]
        statement = f"SELECT {key} FROM {table} WHERE {key} >= ? AND {key} < ?"  # noqa: S608  # our own names
        return [found for (found,) in self._database.execute(statement, [beginning, f"{beginning}\U0010ffff"])]

    def delete(self, table: str, first_key: float | str) -> None:
        self._database.execute(f"DELETE FROM {table} WHERE {_KEYS[table][0]} = ?", [first_key])  # noqa: S608  # our own names

    def _check(self) -> None:
        """Raise where the file is no study, newer than this module, or damaged."""
        found = self._database.execute("SELECT name, type, sql FROM sqlite_master").fetchall()
        tables = {name: sql for name, kind, sql in found if kind == "table"}
        if tables.get("study") == _TABLES["study"]:
            self._check_format()
        wrong = [name for name, sql in _TABLES.items() if tables.get(name) != sql]
        if wrong:
            raise damaged(self.folder, f"missing or altered: table {', '.join(wrong)}")
        if any(kind in {"trigger", "view"} for _, kind, _ in found):
            raise damaged(self.folder, "it has a trigger or a view, which learnrate never makes")
        problems = [problem for (problem,) in self._database.execute("PRAGMA integrity_check(5)")]
        if problems != ["ok"]:
            raise damaged(self.folder, "; ".join(problems))
        for _ in self.rows("segments"):  # a damaged key would be looked for in vain; the other tables are read whole
            pass

    def _check_format(self) -> None:
        version = next((text for _, text in self.rows("study", "format")), "of no number")
        if version != str(FORMAT_VERSION):
            raise StudyDamagedError(
                f"the study in {self.folder} has format {version}, and this learnrate reads format {FORMAT_VERSION}: "
                "install the newest with pip install -U learnrate"
            )

    def _warn_of_lost_rows(self) -> None:
        """Warn where the log breaks off before its end: SQLite goes on with what stands before the break.

        A process that is killed leaves one unfinished transaction at most. A frame of the log is 24 bytes and a page;
        it carries the log's salts, older ones where it is left over from before the log was begun again, and the page
        count where it ends a transaction (https://www.sqlite.org/walformat.html).
        """
        path = self.folder / f"{DATABASE}-wal"
        _, num_frames, _ = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (page_size,) = self._database.execute("PRAGMA page_size").fetchone()
        log = path.read_bytes() if path.exists() else b""
        salts = log[16:24] if _begins_a_log(log[:32]) else None
        frames = range(32 + max(num_frames, 0) * (24 + page_size), len(log) - 24, 24 + page_size)
        lost = sum(salts in {log[at + 8 : at + 16], None} and any(log[at + 4 : at + 8]) for at in frames)
        if lost > 1:
            place = frames[0] if salts else 0
            warnings.warn(
                f"{path} is damaged at byte {place}: up to {lost} epochs and segments that it held are lost, and are "
                "trained again",
                stacklevel=4,
            )

    def _damaged_row(self, table: str, row: list[Any]) -> StudyDamagedError:
        where = " and ".join(f"{name} {key!r}" for name, key in zip(_KEYS[table], row, strict=False))
        return damaged(self.folder, f"the row of {table} with {where} does not fit its checksum")


def create(folder: Path, about: Mapping[str, str]) -> None:
    """Write the empty study beside its place and rename it: a database that is there is a whole one."""
    new = folder / f".{DATABASE}"
    for leftover in folder.glob(f"{new.name}*"):
        leftover.unlink()
    with contextlib.closing(connect(new, "rwc")) as database:
        for table in _TABLES.values():
            database.execute(table)
        everything = {"format": str(FORMAT_VERSION), **about}
        rows = [(name, text, _checksum(name, text)) for name, text in everything.items()]
        database.executemany("INSERT INTO study VALUES (?, ?, ?)", rows)
    new.replace(folder / DATABASE)
    flush(folder)


def connect(path: Path, mode: str, *, seconds: float = 5.0) -> sqlite3.Connection:
    """Connect to a file of SQLite's, waiting at most so long for another process."""
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=seconds,
        check_same_thread=False,  # StudyFile lets one thread in at a time
    )
    connection.text_factory = _text
    connection.execute("PRAGMA trusted_schema = OFF")  # a study may come from a stranger
    return connection


def _connect_to_read(folder: Path) -> sqlite3.Connection:
    database = connect(folder / DATABASE, "ro")
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        database.close()
        if error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            return _copy_to_memory(folder)  # SQLite must write an index of its log, and may not in this folder
        raise
    return database


def _copy_to_memory(folder: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.text_factory = _text
    with tempfile.TemporaryDirectory() as scratch:
        for name in (DATABASE, f"{DATABASE}-wal"):
            if (folder / name).exists():
                shutil.copyfile(folder / name, Path(scratch) / name)
        with contextlib.closing(connect(Path(scratch) / DATABASE, "rw")) as copy:
            copy.backup(memory)
    return memory


@contextlib.contextmanager
def explained(folder: Path) -> Generator[None]:
    """Turn what SQLite and the operating system raise into an error that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        if name == "SQLITE_ERROR" or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise damaged(folder, str(error)) from error
        raise _unusable(folder, str(error)) from error
    except OSError as error:
        raise _unusable(folder, str(error)) from error


def _unusable(folder: Path, reason: str) -> StudyError:
    return StudyError(
        f"the study in {folder} cannot be used: {reason}; see to the space and the permissions there and run again: "
        "what is finished is not trained again"
    )


def damaged(folder: Path, what: str) -> StudyDamagedError:
    """Return the error that says what is damaged and how to save the rest."""
    paths = [json.dumps(str(path), ensure_ascii=False) for path in (folder, folder.with_name(f"{folder.name}-rescued"))]
    command = shlex.quote(f"from learnrate.study import Study; Study.rescue({', '.join(paths)})")
    return StudyDamagedError(
        f"the study in {folder} is damaged: {what}. To save the rest as a study of its own, which trains again what "
        f"is missing:\n  python -c {command}"
    )


def rescue(folder: Path, into: Path) -> None:
    """Copy every row that can be read and fits its checksum, and the checkpoints, into a new study."""
    with contextlib.closing(connect(folder / DATABASE, "ro")) as old:
        about = {name: text for name, text, _ in _readable(old, "study")}
        lost = [name for name in _ABOUT if name not in about]
        if lost:
            raise StudyDamagedError(
                f"the study in {folder} cannot be continued: its {', '.join(lost)} cannot be read; begin a new one"
            )
        create(into, about)
        with contextlib.closing(connect(into / DATABASE, "rw")) as new:
            new.execute("BEGIN")
            for table, keys in _KEYS.items():
                marks = ", ".join("?" * (len(keys) + 2))
                new.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", _readable(old, table))  # noqa: S608  # our own names
            new.execute("COMMIT")
    if (folder / CHECKPOINTS).is_dir():
        shutil.copytree(folder / CHECKPOINTS, into / CHECKPOINTS, symlinks=True)


def _readable(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Return a table's sound rows: those before a damaged page by key, then those behind it from the end."""
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in _KEYS[table])
        try:
            rows = database.execute(f"SELECT * FROM {table} ORDER BY {by}")  # noqa: S608  # our own names
            yield from (row for row in rows if row[-1] == _checksum(*row[:-1]))
        except (sqlite3.Error, UnicodeDecodeError):
            continue
        return


def flush(folder: Path) -> None:
    """Make the names in a folder outlast a power cut; Windows does so by itself."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _begins_a_log(header: bytes) -> bool:
    """Return whether this is the whole header of one of SQLite's logs, by its checksum."""
    magic = int.from_bytes(header[:4], "big")
    if len(header) != 32 or magic not in {0x377F0682, 0x377F0683}:
        return False
    first = second = 0
    for left, right in struct.iter_unpack(">II" if magic & 1 else "<II", header[:24]):
        first = (first + left + second) % 2**32
        second = (second + right + first) % 2**32
    return (first, second) == struct.unpack(">II", header[24:])


def _checksum(*values: object) -> int:
    return zlib.crc32(ascii(values).encode())


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")  # a damaged text must reach its checksum
