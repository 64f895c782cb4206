"""What a study's folder keeps of the command that began it, so that it is gone on with untold."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from learnrate._command.load import Command, Source
from learnrate._signature import is_own, signature
from learnrate.errors import InvalidArgumentError, StudyDamagedError, StudyMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT, _SIGNATURE = "cli.json", "cli.signature"


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a command was asked beside the verb's own settings, and is asked again when it is gone on with.

    Only `vectorized` changes what is found, by rounding. Paths are absolute: it may go on from another folder.
    """

    report: str | None = None
    tensorboard: str | None = None
    workers: int = 1
    vectorized: bool | str | None = None

    def again(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is asked now: what is given anew, and else what was asked when it was begun."""
        begun = {
            "report": None if self.report is None else Path(self.report),
            "tensorboard": None if self.tensorboard is None else Path(self.tensorboard),
            "workers": self.workers,
            "vectorized": self.vectorized,
        }
        return begun | {name: value for name, value in given.items() if value is not None}


class _Kept(NamedTuple):
    """What stands in the file: a problem or a command, a search's space as it was typed, what was asked beside."""

    what: Command | str
    space: dict[str, str] | None
    asked: Asked
    is_own: bool


class _Problem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    problem: str


def keep(
    problem: Source | Command, study: Path, space: Mapping[str, str] | None = None, asked: Asked | None = None
) -> None:
    """Write into a study's folder what it trains, a search's space, and what was asked beside."""
    what = problem if isinstance(problem, Command) else _Problem(problem=str(problem))
    beside: dict[str, Any] = {"space": space, "asked": asked}
    content = msgspec.json.encode(
        msgspec.to_builtins(what)
        | {name: msgspec.to_builtins(value) for name, value in beside.items() if value is not None}
    )
    for name, body in ((_SIGNATURE, signature(content).encode()), (_KEPT, content)):
        partial = study / f".{name}"
        partial.write_bytes(body)
        partial.replace(study / name)


def kept_in(study: Path, *, trusted: bool = False) -> Source | Command:
    """Read what a study trains, which will be run: so it must have been written by this user here, or be trusted.

    Raises:
        InvalidArgumentError: If that is not written there, or by another, or the file is no longer where it was.
        StudyDamagedError: If it cannot be read.
    """
    again = f"say what it trains: learnrate resume {shlex.quote(str(study))} FILE.py:NAME"
    kept = _kept(study, again)
    if kept is None:
        raise InvalidArgumentError(f"{study} was not begun from a shell; {again}")
    if not trusted and not kept.is_own:
        raise InvalidArgumentError(
            f"{study} was not begun by you on this machine, and would run {kept.what} to go on: look at that, and add "
            f"--trust to run it; or {again}"
        )
    try:
        return kept.what if isinstance(kept.what, Command) else Source.parse(kept.what)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{study} trains a file that is no longer there ({error}); {again}") from error


def kept_space(study: Path) -> dict[str, str] | None:
    """Read the space of a study's search as it was typed, which is data and is never run; None where it has none.

    Raises:
        StudyDamagedError: If it cannot be read.
    """
    kept = _kept(study)
    return None if kept is None else kept.space


def kept_asked(study: Path, *, trusted: bool = False) -> Asked | None:
    """Read what was asked beside the settings; None where another wrote it: it names files that will be written.

    Raises:
        StudyDamagedError: If it cannot be read.
    """
    kept = _kept(study)
    if kept is None:
        return Asked()
    return kept.asked if trusted or kept.is_own else None


def require_same(problem: Source | Command, study: Path) -> None:
    """Refuse to go on with a study that was begun with something else to train.

    Raises:
        StudyMismatchError: If another file, name or command stands in the study's folder.
        StudyDamagedError: If what stands there cannot be read.
    """
    kept = _kept(study, "name another folder")
    begun = None if kept is None else kept.what
    now = problem.command if isinstance(problem, Command) else str(problem)
    if begun is None or now == (begun.command if isinstance(begun, Command) else begun):
        return
    moved = f"; or, where it has only moved, learnrate resume {shlex.quote(str(study))} {problem}"
    advice = "name another folder" + ("" if isinstance(problem, Command) else moved)
    raise StudyMismatchError(f"{study} is a study of {begun}, and this is {problem}: {advice}")


def _kept(study: Path, advice: str = "name another folder") -> _Kept | None:
    """Read what was kept; None where nothing was."""
    path = study / _KEPT
    if not path.is_file():
        return None
    written = path.read_bytes()
    try:
        held = msgspec.json.decode(written, type=dict[str, Any])
        space = msgspec.convert(held.pop("space", None), dict[str, str] | None)
        asked = msgspec.convert(held.pop("asked", {}), Asked)
        what = msgspec.convert(held, Command) if "command" in held else msgspec.convert(held, _Problem).problem
    except msgspec.MsgspecError as error:
        raise StudyDamagedError(f"{path} cannot be read ({error}); {advice}") from error
    return _Kept(what=what, space=space, asked=asked, is_own=is_own(written, _claimed(study)))


def _claimed(study: Path) -> str:
    path = study / _SIGNATURE
    return path.read_text(encoding="latin-1") if path.is_file() else ""
