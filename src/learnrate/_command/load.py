"""The problem of a command line: the file that a person names, run as Python runs it, and what stands there."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import shlex
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import msgspec

from learnrate._signature import is_own, signature
from learnrate.errors import InvalidArgumentError, StudyDamagedError, StudyMismatchError, UnsupportedProblemError
from learnrate.training import Trainable, require_trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import ModuleType


class Source(NamedTuple):
    """Where a problem stands: a Python file, and a name in it ("" where none was given)."""

    file: Path
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "FILE.py:NAME".

        Raises:
            InvalidArgumentError: If there is no such file.

        Example:
            >>> Source.parse("train.py:build")
            Traceback (most recent call last):
            ...
            learnrate.errors.InvalidArgumentError: there is no file train.py: pass FILE.py:NAME, …
        """
        path, colon, name = text.rpartition(":")
        if not colon or not name.isidentifier():
            path, name = text, ""
        if not Path(path).is_file():
            msg = f"there is no file {path}: pass FILE.py:NAME, a Python file and the name in it of what to train"
            raise InvalidArgumentError(msg)
        return cls(Path(path).resolve(), name)

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"

    def keep_in(self, study: Path, space: Mapping[str, str] | None = None) -> None:
        """Write into a study's folder what it trains, and a search's space, so that it can be resumed untold."""
        _keep(_Kept(problem=str(self)), study, space)


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command that trains: its words, where its metrics are, and the folder it was given in."""

    command: list[str]
    log: str | None = None
    pattern: str | None = None
    timeout: float | None = None
    cwd: str | None = None
    folder: str = ""

    def __str__(self) -> str:
        return shlex.join(self.command)

    def keep_in(self, study: Path, space: Mapping[str, str] | None = None) -> None:
        """Write into a study's folder what it trains, and a search's space, so that it can be resumed untold."""
        _keep(self, study, space)

    def problem(self) -> Trainable:
        """Return what it trains.

        Raises:
            InvalidArgumentError: If it cannot be run.
        """
        from learnrate.adapters.command import CommandTrainable

        return CommandTrainable(self.command, **self._places())

    def builder(self, *, rated: bool) -> Callable[..., Trainable]:
        """Return what builds a search's trainings; `rated` where the search has a learning rate.

        Raises:
            InvalidArgumentError: If its places cannot be filled.
        """
        from learnrate.adapters._command_search import command_builder

        return command_builder(self.command, rated=rated, **self._places())

    def _places(self) -> dict[str, Any]:
        folder = (self.folder or str(Path.cwd())).replace("{", "{{").replace("}", "}}")
        anywhere = self.cwd is not None and (Path(self.cwd).is_absolute() or self.cwd.startswith("{out}"))
        cwd = self.cwd if anywhere else str(Path(folder) / (self.cwd or ""))
        return {"log": self.log, "pattern": self.pattern, "timeout": self.timeout, "cwd": cwd}


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    problem: str


_KEPT, _SIGNATURE, _SPACE = "cli.json", "cli.signature", "space"


def parsed(words: Sequence[str], **options: Any) -> Source | Command:
    """Read what a person names: FILE.py:NAME, or the words of a command with the options that tell of its metrics.

    Raises:
        InvalidArgumentError: If it is neither.
    """
    if len(words) == 1 and "{" not in words[0]:
        given = [f"--{name}" for name, value in options.items() if value is not None]
        if given:
            raise InvalidArgumentError(f"{', '.join(given)} tells of a command, and {words[0]} is none: leave it out")
        return Source.parse(words[0])
    return Command(command=list(words), folder=str(Path.cwd()), **options)


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
    what, written = kept
    if not trusted and not is_own(written, _claimed(study)):
        raise InvalidArgumentError(
            f"{study} was not begun by you on this machine, and would run {what} to go on: look at that, and add "
            f"--trust to run it; or {again}"
        )
    try:
        return what if isinstance(what, Command) else Source.parse(what)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{study} trains a file that is no longer there ({error}); {again}") from error


def require_same(problem: Source | Command, study: Path) -> None:
    """Refuse to go on with a study that was begun with something else to train.

    Raises:
        StudyMismatchError: If another file, name or command stands in the study's folder.
        StudyDamagedError: If what stands there cannot be read.
    """
    kept = _kept(study, "name another folder")
    begun = None if kept is None else kept[0]
    now = problem.command if isinstance(problem, Command) else str(problem)
    if begun is None or now == (begun.command if isinstance(begun, Command) else begun):
        return
    moved = f"; or, where it has only moved, learnrate resume {shlex.quote(str(study))} {problem}"
    advice = "name another folder" + ("" if isinstance(problem, Command) else moved)
    raise StudyMismatchError(f"{study} is a study of {begun}, and this is {problem}: {advice}")


def _kept(study: Path, advice: str) -> tuple[Command | str, bytes] | None:
    """Read what a study trains, a command or the text of a source, and as it was written; None where that is not."""
    path = study / _KEPT
    if not path.is_file():
        return None
    written = path.read_bytes()
    try:
        held = msgspec.json.decode(written, type=dict[str, Any])
        held.pop(_SPACE, None)
        what = msgspec.convert(held, Command) if "command" in held else msgspec.convert(held, _Kept).problem
    except msgspec.MsgspecError as error:
        raise StudyDamagedError(f"{path} cannot be read ({error}); {advice}") from error
    return what, written


def kept_space(study: Path) -> dict[str, str] | None:
    """Read the space of a study's search as it was typed, which is data and is never run; None where it has none.

    Raises:
        StudyDamagedError: If it cannot be read.
    """
    path = study / _KEPT
    if not path.is_file():
        return None
    try:
        held = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]).get(_SPACE)
        return None if held is None else msgspec.convert(held, dict[str, str])
    except msgspec.MsgspecError as error:
        raise StudyDamagedError(f"{path} cannot be read ({error})") from error


def _keep(what: _Kept | Command, study: Path, space: Mapping[str, str] | None) -> None:
    content = msgspec.json.encode(msgspec.to_builtins(what) | ({} if space is None else {_SPACE: space}))
    for name, body in ((_SIGNATURE, signature(content).encode()), (_KEPT, content)):
        partial = study / f".{name}"
        partial.write_bytes(body)
        partial.replace(study / name)


def _claimed(study: Path) -> str:
    path = study / _SIGNATURE
    return path.read_text(encoding="latin-1") if path.is_file() else ""


@contextlib.contextmanager
def loaded(source: Source | Command) -> Generator[Trainable]:
    """Run the file, and give the problem that it names; or the problem that a command is.

    The file's folder leads `sys.path` until the work is done, as it does for `python FILE.py`: training may import
    its neighbours late, and from other processes.

    Raises:
        InvalidArgumentError: If the file has no such name; the message lists those that it has.
        UnsupportedProblemError: If what the name stands for cannot be trained.
        Exception: Whatever the file itself raises.
    """
    if isinstance(source, Command):
        yield source.problem()
        return
    with _running(source) as thing:
        yield as_problem(thing, source.name)


@contextlib.contextmanager
def loaded_builder(source: Source | Command, *, rated: bool) -> Generator[Callable[..., Any]]:
    """Run the file, and give the function that it names, or a command's: what builds a search's trainings.

    Args:
        source: What to load.
        rated: Whether the search has a learning rate.

    Raises:
        InvalidArgumentError: If the file has no such name, or a command's places cannot be filled.
        Exception: Whatever the file itself raises.
    """
    if isinstance(source, Command):
        yield source.builder(rated=rated)
        return
    with _running(source) as thing:
        yield cast("Callable[..., Any]", thing)


@contextlib.contextmanager
def _running(source: Source) -> Generator[object]:
    """Run the file, and give what stands at the name."""
    from learnrate.engines._whole import carried_whole

    name = source.file.stem
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"_learnrate_{name}"
    folder = str(source.file.parent)
    sys.path.insert(0, folder)
    try:
        module = _run(source.file, name)
        with contextlib.nullcontext() if name == source.file.stem else carried_whole(module):
            yield _named(module, source)
    finally:
        sys.modules.pop(name, None)
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def as_problem(thing: object, name: str) -> Trainable:
    """Return what can be trained of what a name stands for: itself, or what calling it without arguments returns.

    A function with a parameter `learning_rate` is the training itself, whether it needs that argument or not.

    Raises:
        UnsupportedProblemError: If that is no Trainable.
    """
    if _is_trainable(thing):
        return require_trainable(thing)
    if not (inspect.isroutine(thing) or inspect.isclass(thing) or isinstance(thing, functools.partial)):
        msg = f"{name} is an object of type {type(thing).__name__}: {_ALLOWED}"
        raise UnsupportedProblemError(msg)
    build = cast("Callable[[], object]", thing)
    if not inspect.isclass(build) and _is_training(build):
        return require_trainable(build)
    required = _required_parameters(build)
    if required:
        msg = f"{name} cannot be called without {', '.join(required)}: {_ALLOWED}"
        raise UnsupportedProblemError(msg)
    made = _ended_by_itself(build, f"{name}()")
    if not _is_trainable(made):
        came = "nothing" if made is None else f"an object of type {type(made).__name__}"
        msg = f"{name}() returned {came}: {_ALLOWED}"
        raise UnsupportedProblemError(msg)
    return require_trainable(made)


def own_traceback(error: BaseException) -> str:
    """Format an exception as Python does, without the frames of learnrate, of libraries and of Python itself."""
    summary = traceback.TracebackException.from_exception(error)
    if isinstance(error, SyntaxError) and not any(_is_own(frame.filename) for frame in summary.stack):
        return "".join(summary.format_exception_only()).rstrip()  # the file itself: its frame never began
    _keep_own_frames(summary, set())
    return "".join(summary.format()).rstrip()


def _keep_own_frames(summary: traceback.TracebackException, seen: set[int]) -> None:
    if id(summary) in seen:
        return
    seen.add(id(summary))
    own = [frame for frame in summary.stack if _is_own(frame.filename)]
    summary.stack[:] = own or summary.stack
    for linked in (summary.__cause__, summary.__context__, *(summary.exceptions or ())):
        if linked is not None:
            _keep_own_frames(linked, seen)


def _is_own(filename: str) -> bool:
    libraries = [Path(__file__).parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]
    return not filename.startswith("<") and not any(Path(filename).is_relative_to(folder) for folder in libraries)


_ALLOWED = (
    "name a Trainable (a TorchTrainable, say), a function that needs no arguments and returns one, or a generator "
    "function `train(learning_rate)` that yields its metrics each epoch; "
    "`return learnrate.TorchTrainable(model, optimizer, loss_fn, train_data, validation_data)` is all that it takes"
)


def _run(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        msg = f"{file} is not a Python file: pass FILE.py:NAME"
        raise InvalidArgumentError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    _ended_by_itself(lambda: loader.exec_module(module), file.name)
    return module


def _ended_by_itself(run: Callable[[], object], what: str) -> object:
    try:
        return run()
    except SystemExit as error:
        msg = (
            f"{what} ended the program (exit code {error.code!r}) while it was loaded: keep what parses arguments and "
            f'trains under `if __name__ == "__main__":`, and put the problem into a function of its own'
        )
        raise UnsupportedProblemError(msg) from error


def _named(module: ModuleType, source: Source) -> object:
    if source.name and hasattr(module, source.name):
        return getattr(module, source.name)
    file, candidates = source.file.name, _candidates(module)
    lacks = f"{file} has no {source.name!r}" if source.name else f"{file} alone does not say what to train"
    if not candidates:
        raise InvalidArgumentError(f"{lacks}, and nothing in it could be trained: {_ALLOWED}")
    one_of = f":NAME, where NAME can be one of: {', '.join(candidates)}" if len(candidates) > 1 else f":{candidates[0]}"
    raise InvalidArgumentError(f"{lacks}: pass {file}{one_of}")


def _candidates(module: ModuleType) -> list[str]:
    public = {name: thing for name, thing in vars(module).items() if not name.startswith("_")}
    return sorted(
        name
        for name, thing in public.items()
        if _is_trainable(thing) or (inspect.isfunction(thing) and thing.__module__ == module.__name__)
    )


def _is_trainable(thing: object) -> bool:
    return isinstance(thing, Trainable) and not inspect.isclass(thing)


def _is_training(thing: Callable[..., Any]) -> bool:
    from learnrate.adapters.function import takes_learning_rate

    return takes_learning_rate(thing)


def _required_parameters(thing: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):  # some callables written in C do not tell
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variadic]
