"""The study folder: what has been trained so far, so that a verb can be killed at any moment and run again.

A verb is a function of the results of the segments that it asks for. A study remembers each finished segment by a
key; to resume, the verb runs again, and what is finished is recalled instead of trained.

```
study.sqlite    settings and identity, trials, a row for each (trial, epoch), finished segments, the result
checkpoints/    files of weights, under names that cannot leave the folder
.lock           held by the process that works on the study; the operating system releases it when the process dies
```
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast, get_origin

import msgspec
import numpy as np

from learnrate import _study_file
from learnrate._identity import agree, stem
from learnrate._study_file import CHECKPOINTS, DATABASE, FORMAT_VERSION, StudyFile, explained
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError, StudyError, StudyLockedError, StudyMismatchError
from learnrate.results import Trial, TrialState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_CHECKPOINT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_PARTIAL: Final = ".partial-"
_T = TypeVar("_T")


class Study:
    """What a study folder holds; made by `Study.open` to work on it, by `Study.read` to look at it.

    An epoch is with the operating system when `record` returns: killing the process loses none. A power cut may cost
    the last seconds of epochs of segments that were still running; `finish` and `set_result` wait for the disk.
    Whatever is lost, what is left is a state that the study was once in, and the verb trains the rest again.

    One process works on a study at a time, from as many threads as it likes; any number may read it meanwhile. The
    folder belongs on a disk of this machine: SQLite's log does not work across machines. Clocks matter to nothing.

    Attributes:
        folder: Where the study is.
        verb: Which verb it belongs to.
        settings: What the verb was asked to do.
        identity: What makes the problem this problem.
        created: When it was begun.
        format_version: How the folder is laid out.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "study"
        >>> trial = Trial(
        ...     number=0,
        ...     hyperparameters={"learning_rate": 0.1},
        ...     state=TrialState.COMPLETE,
        ...     curve=LearningCurve.from_rows([(1, {"loss": 0.5})]),
        ...     value=0.5,
        ...     seed=0,
        ...     seconds=2.0,
        ... )
        >>> with Study.open(folder, verb="sweep", settings={"epochs": 1}, identity={}) as study:
        ...     study.start(trial, "0.1 to epoch 1")
        ...     study.record(0, 1, {"loss": 0.5})
        ...     study.finish("0.1 to epoch 1", trial)
        >>> with Study.open(folder, verb="sweep", settings={"epochs": 1}, identity={}) as study:
        ...     study.recall("0.1 to epoch 1").value
        0.5
    """

    def __init__(self, file: StudyFile, lock: sqlite3.Connection | None) -> None:
        self.folder = file.folder
        self.format_version = FORMAT_VERSION
        self._file = file
        self._lock = lock
        about = dict(file.rows("study"))
        self.verb = self._decode(about.get("verb"), str)
        self.settings = self._decode(about.get("settings"), dict[str, Any])
        self.identity = self._decode(about.get("identity"), dict[str, Any])
        self.created = self._decode(about.get("created"), str)

    @classmethod
    def open(cls, path: str | Path, *, verb: str, settings: Mapping[str, Any], identity: Mapping[str, Any]) -> Study:
        """Begin a study, or continue the one that is there.

        Args:
            path: The folder; it and its parents are made where they are missing.
            verb: The verb's name.
            settings: What the verb is asked to do, as JSON can hold it.
            identity: What makes the problem this problem, as JSON can hold it.

        Raises:
            InvalidArgumentError: If the path is none.
            StudyLockedError: If another process works on it; the message says which.
            StudyMismatchError: If it was begun with something else; the message lists what differs, old → new. Floats
                agree to a millionth part, since processors round otherwise.
            StudyDamagedError: If it cannot be read; the message says what is damaged and how to save the rest.
            StudyError: If the folder cannot be used: a file, other content, no permission, a full disk.
        """
        folder = _folder_of(path)
        asked = {"verb": _encode(verb), "settings": _encode(settings), "identity": _encode(identity)}
        with explained(folder), contextlib.ExitStack() as undo:
            _require_usable(folder)
            folder.mkdir(parents=True, exist_ok=True)
            lock = undo.enter_context(contextlib.closing(_acquire(folder)))
            if not (folder / DATABASE).exists():
                _study_file.create(folder, asked | {"created": _encode(_now())})
            file = undo.enter_context(contextlib.closing(StudyFile(folder, writable=True)))
            with file.reading():
                study = cls(file, lock)
            study._require_same({name: json.loads(text) for name, text in asked.items()})
            study._begin()
            undo.pop_all()
        return study

    @classmethod
    def read(cls, path: str | Path) -> Study:
        """Look at a study, also while another process works on it; each call says what is there at that moment.

        Raises:
            StudyDamagedError: If it cannot be read; the message says what is damaged and how to save the rest.
            StudyError: If there is no study.
        """
        folder = _folder_of(path)
        with explained(folder), contextlib.ExitStack() as undo:
            _require_usable(folder)
            if not (folder / DATABASE).exists():
                raise StudyError(f"there is no study in {folder}: it has no {DATABASE}; name the folder of a study")
            file = undo.enter_context(contextlib.closing(StudyFile(folder, writable=False)))
            with file.reading():
                study = cls(file, None)
            undo.pop_all()
        return study

    @classmethod
    def rescue(cls, path: str | Path, into: str | Path) -> None:
        """Save what can be read of a damaged study as a new one; its verb then trains again what is missing.

        Raises:
            StudyDamagedError: If not even its settings can be read.
            StudyError: If there is no study, or the new folder is not empty.
        """
        folder, target = Path(path).absolute(), Path(into).absolute()
        with explained(target):
            _require_usable(folder)
            if not (folder / DATABASE).exists() or (target.exists() and any(target.iterdir())):
                raise StudyError(f"rescue saves a study ({folder}) into a new or empty folder ({target})")
            target.mkdir(parents=True, exist_ok=True)
            _study_file.rescue(folder, target)
            with contextlib.closing(StudyFile(target, writable=True)) as file, file.writing():
                study = cls(file, None)
                finished = (study._decode(text, Trial) for _, text in file.rows("segments"))
                for trial in sorted(finished, key=lambda trial: len(trial.curve)):
                    study._put_trial(trial)  # rows that were lost stand in their segment as well

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the study; another process may then work on it."""
        self._file.close()
        if self._lock is not None:
            self._lock.close()

    def holder(self) -> str | None:
        """Return who works on the study now, as "process 12 on host since …"; None where nobody does."""
        with explained(self.folder):
            if not _is_held(self.folder / ".lock"):
                return None
        with self._file.reading():
            return next((self._decode(text, str) for _, text in self._file.rows("study", "holder")), "a process")

    def recall(self, key: str) -> Trial | None:
        """Return a finished segment's trial as it was at the segment's end; None where it is not finished.

        The key's floats may be rounded otherwise than when it was written.
        """
        with self._file.reading():
            return next((self._decode(text, Trial) for _, text in self._file.rows("segments", self._known(key))), None)

    def start(self, trial: Trial, key: str) -> None:
        """Say that a trial runs towards the end of a segment.

        The trial is RUNNING from now on and has the rows of its curve; rows beyond them, of an earlier attempt, stay
        until they are recorded again or the segment is finished.

        Raises:
            InvalidArgumentError: If the segment is finished: it is to be recalled, not trained again.
        """
        with self._file.writing():
            self._require_unfinished(key)
            self._put_trial(msgspec.structs.replace(trial, state=TrialState.RUNNING))

    def record(self, trial: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Write down one epoch of a trial that was started; the same epoch again replaces its row.

        Args:
            trial: The trial's number.
            epoch: How many epochs are finished.
            metrics: Their values; NaN and infinity are kept as they are.

        Raises:
            InvalidArgumentError: If the trial was not started, or the epoch or a metric is no number.
        """
        with self._file.writing():
            if not self._file.has("trials", int(trial)):
                raise InvalidArgumentError(f"trial {trial} was not started: call start before its first epoch")
            self._put_epoch(int(trial), epoch, metrics)

    def finish(self, key: str, trial: Trial) -> None:
        """End a segment: from now on `recall` returns this trial, and the trial's rows are its curve's.

        Raises:
            InvalidArgumentError: If the segment is finished already.
        """
        with self._file.writing(durable=True):
            self._require_unfinished(key)
            self._file.put("segments", str(key), _encode(trial))
            self._file.delete("segments", self._known(_paused(key)))
            self._file.delete("epochs", int(trial.number))
            self._put_trial(trial)

    def pause(self, key: str, trial: Trial) -> None:
        """Say that a segment can go on from where its trial is now, since its weights are in a checkpoint.

        It is still to be finished; until then `paused` returns this trial.

        Raises:
            InvalidArgumentError: If the segment is finished.
        """
        with self._file.writing(durable=True):
            self._require_unfinished(key)
            self._file.put("segments", self._known(_paused(key)), _encode(trial))

    def paused(self, key: str) -> Trial | None:
        """Return a segment's trial as it was at its last checkpoint; None where it has none, or is finished."""
        return self.recall(_paused(key))

    def trials(self) -> list[Trial]:
        """Return every trial by number, with the epochs recorded so far as its curve."""
        with self._file.reading():
            trials = {number: self._decode(text, Trial) for number, text in self._file.rows("trials")}
            curves: dict[int, list[tuple[float, dict[str, float]]]] = {number: [] for number in trials}
            for number, epoch, text in self._file.rows("epochs"):
                curves.setdefault(number, []).append((epoch, self._decode(text, dict[str, float])))
        return [
            msgspec.structs.replace(trials[number], curve=LearningCurve.from_rows(curves[number]))
            for number in sorted(trials)
        ]

    def set_result(self, result_json: str) -> None:
        """Keep the verb's answer, as `to_json` writes it."""
        with self._file.writing(durable=True):
            self._file.put("study", "result", result_json)

    def result(self) -> str | None:
        """Return the verb's answer, None while there is none."""
        with self._file.reading():
            return next((text for _, text in self._file.rows("study", "result")), None)

    def write_checkpoint(self, name: str, write: Callable[[Path], object]) -> None:
        """Keep a file of weights: the old one or the new one is there whenever the machine stops, never a part.

        Args:
            name: Letters, digits, ".", "_" and "-", the first a letter or a digit.
            write: Writes the file to the path it is given, which ends like the name.
        """
        path = self._checkpoint_path(name)
        partial = path.with_name(f"{_PARTIAL}{name}")
        self._file.require_writable()
        with explained(self.folder):
            try:
                write(partial)
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            _study_file.flush(path.parent)

    def checkpoint(self, name: str) -> Path | None:
        """Return the path of a checkpoint, None where there is none."""
        path = self._checkpoint_path(name)
        if path.is_symlink():
            raise StudyError(f"{path} is a link, and may lead out of the study: replace it by the file itself")
        return path if path.is_file() else None

    def checkpoints(self) -> list[str]:
        """Return the names of all checkpoints, in order."""
        with explained(self.folder):
            entries = (self.folder / CHECKPOINTS).iterdir()
            return sorted(entry.name for entry in entries if _CHECKPOINT_NAME.fullmatch(entry.name))

    def drop_checkpoint(self, name: str) -> None:
        """Delete a checkpoint, where it is there."""
        self._file.require_writable()
        with explained(self.folder):
            self._checkpoint_path(name).unlink(missing_ok=True)

    def _checkpoint_path(self, name: str) -> Path:
        if not _CHECKPOINT_NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"checkpoint {name!r}: a name has up to 200 letters, digits, '.', '_' and '-', "
                "and begins with a letter or a digit"
            )
        return self.folder / CHECKPOINTS / name

    def _begin(self) -> None:
        checkpoints = self.folder / CHECKPOINTS
        checkpoints.mkdir(exist_ok=True)
        _study_file.flush(self.folder)
        for leftover in checkpoints.glob(f"{_PARTIAL}*"):  # of a process that was killed while it wrote
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        with self._file.writing():
            holder = f"process {os.getpid()} on {socket.gethostname()} since {_now()}"
            self._file.put("study", "holder", _encode(holder))

    def _require_same(self, asked: dict[str, Any]) -> None:
        known = {"verb": self.verb, "settings": self.settings, "identity": self.identity}
        if self.verb == asked["verb"] and self.identity.get("method") != asked["identity"].get("method"):
            raise StudyMismatchError(
                f"the study in {self.folder} was begun by another method than this version's: it can be looked at and "
                f"reported, not gone on with; name another folder to begin a new study"
            )
        differences = list(_differences(known, asked))
        if differences:
            raise StudyMismatchError(
                "\n  ".join([f"the study in {self.folder} was begun with something else (old → new):", *differences])
                + "\nask for the old to continue it, or name another folder to begin a new study"
            )

    def _require_unfinished(self, key: str) -> None:
        if self._file.has("segments", self._known(key)):
            raise InvalidArgumentError(f"segment {key!r} is finished already: recall it instead of training it again")

    def _known(self, key: str) -> str:
        """Return a segment's key as it stands in the study, whose rate another processor may have rounded otherwise."""
        beginning = stem(key)
        if beginning == key or self._file.has("segments", key):
            return key
        return next((one for one in self._file.keys("segments", beginning) if agree(one, key)), key)

    def _put_trial(self, trial: Trial) -> None:
        number = int(trial.number)
        self._file.put("trials", number, _encode(msgspec.structs.replace(trial, curve=LearningCurve.from_rows([]))))
        for row, epoch in enumerate(trial.curve.epochs):
            self._put_epoch(number, epoch, {name: values[row] for name, values in trial.curve.metrics.items()})

    def _put_epoch(self, trial: int, epoch: float, metrics: Mapping[str, float]) -> None:
        try:
            place, values = float(epoch), {name: float(value) for name, value in metrics.items()}
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"trial {trial} reports what is no number: {epoch}: {dict(metrics)}") from error
        if not (math.isfinite(place) and place >= 0):
            raise InvalidArgumentError(f"epoch is {epoch}, and must be a finite number of finished epochs, 0 or more")
        self._file.put("epochs", trial, abs(place), _encode(values))  # SQLite has no -0.0

    def _decode(self, text: str | None, kind: type[_T]) -> _T:
        try:
            return msgspec.convert(json.loads(text or ""), kind, dec_hook=_to_array)
        except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise _study_file.damaged(self.folder, f"{text!r:.100} is no {kind.__name__} ({error})") from error


def _paused(key: str) -> str:
    return f"{key} (paused)"


def _folder_of(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgumentError(f"study is {path!r}: pass the path of a folder")
    return Path(cast("str | os.PathLike[str]", path)).absolute()  # a training may change the working directory


def _require_usable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file, and a study is a folder: name an empty or a new one")
    entries = list(folder.iterdir()) if folder.exists() else []
    links = sorted(entry.name for entry in entries if entry.is_symlink())
    if links:
        raise StudyError(f"{folder} has links in it, which may lead out of it: {_some(links)}; remove them")
    visible = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    studies = studies_in(folder)
    if studies:
        names = _some([study.name for study in studies])
        raise StudyError(
            f"{folder} holds studies ({names}), as select with several schedules makes them: name one of them, such as "
            f"{studies[0]}, or an empty or a new folder"
        )
    if visible and not (folder / DATABASE).is_file():
        raise StudyError(f"{folder} has {_some(visible)} in it but no {DATABASE}: name an empty or a new folder")


def studies_in(folder: Path) -> list[Path]:
    """Return the studies that a folder holds which is none itself, as `select` makes one for each of its schedules."""
    with explained(folder):
        if not folder.is_dir() or (folder / DATABASE).is_file():
            return []
        held = [entry for entry in folder.iterdir() if not entry.is_symlink() and (entry / DATABASE).is_file()]
    return sorted(held, key=lambda study: (len(study.name.split("-")[0]), study.name))  # 10 comes after 2


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _acquire(folder: Path) -> sqlite3.Connection:
    """Return a connection that holds the folder's lock: SQLite knows how each operating system locks a file."""
    lock = _study_file.connect(folder / ".lock", "rwc", seconds=0.5)
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")  # no second file beside the lock
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise
        holder = None
        with contextlib.suppress(StudyError), Study.read(folder) as study:
            holder = study.holder()
        raise StudyLockedError(
            f"{holder or 'another process'} works on the study in {folder}: wait for it or end it, or name another "
            "folder"
        ) from error
    return lock


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    with contextlib.closing(_study_file.connect(lock, "ro", seconds=0)) as probe:
        try:
            probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_BUSY":
                return True
            raise
    return False


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for key in before | after:
            yield from _differences(before.get(key, ...), after.get(key, ...), f"{name}.{key}" if name else key)
    elif not agree(old, new):
        yield f"{name}: {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    return "nothing" if value is ... else repr(value)


def _encode(value: Any) -> str:
    """Return JSON as Python writes it: in ASCII, and NaN and infinity stay what they are."""
    try:
        return json.dumps(msgspec.to_builtins(value, str_keys=True, enc_hook=_to_builtin))
    except (TypeError, NotImplementedError, msgspec.MsgspecError) as error:
        raise InvalidArgumentError(f"{error}: a study holds numbers, texts, lists and dictionaries") from error


def _to_builtin(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return cast("Iterable[Any]", value.tolist())
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot write a {type(value).__name__} into a study")


def _to_array(target: type, value: Any) -> Any:
    if get_origin(target) is np.ndarray:
        return np.array(value, dtype=np.float64)
    raise NotImplementedError(f"cannot read a {target.__name__} out of a study")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
