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

from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.training import Trainable, require_trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
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
