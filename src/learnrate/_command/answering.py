"""From what a command was asked to what it answers: the problem loaded, the verb run, its result printed."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click
import msgspec

import learnrate
from learnrate import errors
from learnrate._checks import mode_for
from learnrate._command.kept import Asked, keep, require_same
from learnrate._command.load import Command, Source, loaded, loaded_builder, own_traceback, parsed
from learnrate._command.printable import printable
from learnrate._command.progress import shown
from learnrate._watching.live import LiveReport, resume_command
from learnrate._watching.standing import Result, best_so_far
from learnrate._watching.tensorboard import TensorBoard
from learnrate.results import RangeTest, Search
from learnrate.training import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from learnrate._command.diagnose_command import Answer
    from learnrate.results import Trial
    from learnrate.training import Event, Trainable

NO_ANSWER = 1
"""The exit code where the question has no answer; the reason is printed."""


class Request(NamedTuple):
    """What a command was asked beside the verb's own settings."""

    problem: Source | Command
    study: Path | None
    report: Path | None
    as_json: bool
    tensorboard: Path | None = None
    workers: int = 1
    vectorized: bool | str | None = None
    """None for a verb that has no such setting."""
    is_several: bool = False
    """Whether the study's folder holds a study of each schedule."""
    space: dict[str, str] | None = None
    """The space of a search, as it was typed."""

    @property
    def asked(self) -> Asked:
        """What the study keeps beside what it trains."""
        return Asked(
            report=None if self.report is None else str(self.report.absolute()),
            tensorboard=None if self.tensorboard is None else str(self.tensorboard.absolute()),
            workers=self.workers,
            vectorized=self.vectorized,
        )


def request_of(given: dict[str, Any]) -> tuple[Request, dict[str, Any]]:
    """Part what a command was given into what is asked of every verb and the verb's own settings.

    Raises:
        InvalidArgumentError: If there is no such problem, or nothing says what of its metric is better.
        StudyMismatchError: If the study's folder holds another.
    """
    settings = dict(given)
    told = {name: settings.pop(name) for name in ("log", "pattern", "timeout", "cwd")}
    shared = {name: settings.pop(name) for name in Request._fields if name in settings and name != "problem"}
    if "mode" in settings:
        settings["mode"] = mode_for(settings["metric"], settings["mode"])
    request = Request(parsed(settings.pop("problem"), **told), **shared)
    if request.study is not None:
        require_same(request.problem, request.study)
    return request, settings


def answer_by(verb: str, request: Request, settings: dict[str, Any]) -> None:
    """Run a verb on a file's problem and answer with what it finds, or say why there is no answer."""
    if request.report is not None:
        require_writable(request.report)
    watch = _Watch(request)
    try:
        # the answer has standard output to itself, whatever the user's code prints
        with (
            contextlib.redirect_stdout(sys.stderr),
            _trained(verb, request, settings) as problem,
            _onlookers(verb, settings, request) as watch.shows,
        ):
            result: Result = getattr(learnrate, verb)(problem, **settings, **_place(verb, request), on_event=watch)
    except KeyboardInterrupt:
        stop("\n".join(["stopped", *watch.known_so_far(settings)]))
    except errors.LearnrateError:
        raise
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and its own traceback says most
        say(own_traceback(error))
        stop("\n".join([f"error: stopped by the {type(error).__name__} above", *watch.known_so_far(settings)]))
    if not isinstance(result, RangeTest):
        result = msgspec.structs.replace(result, best=None)  # weights that a shell cannot hold are not promised
    answer(result, request.report, as_json=request.as_json)


def answer(result: Result, report: Path | None, *, as_json: bool) -> None:
    """Print a result, write its report, and leave with the exit code that says whether there is an answer."""
    click.echo(result.to_json() if as_json else printable(str(result)))
    if report is not None:
        write_report(result, report)
    if (result.hyperparameters if isinstance(result, Search) else result.learning_rate) is None:
        sys.exit(NO_ANSWER)


def _trained(
    verb: str, request: Request, settings: dict[str, Any]
) -> contextlib.AbstractContextManager[Trainable | Callable[..., Any]]:
    """Give what the verb trains: a problem, or a search's function that builds one."""
    if verb != "search":
        return loaded(request.problem)
    rated = "learning_rate" in settings["space"] or settings["learning_rate"] is not None
    return loaded_builder(request.problem, rated=rated)


def _place(verb: str, request: Request) -> dict[str, Any]:
    """Return where it is kept and, where that is asked, how and by whom it is trained."""
    place: dict[str, Any] = {"study": request.study}
    if request.vectorized is not None:
        if verb == "search":
            raise errors.InvalidArgumentError("a search trains each candidate by itself: leave --vectorized out")
        place["vectorized"] = request.vectorized
    if request.workers > 1:
        if verb == "range_test":
            raise errors.InvalidArgumentError("a range test is one training: leave --workers out")
        place["engine"] = learnrate.LocalEngine(num_workers=request.workers)
    return place


@contextlib.contextmanager
def _onlookers(verb: str, settings: dict[str, Any], request: Request) -> Generator[list[Callable[[Event], None]]]:
    """Give all that is told what happens: the display, the report and TensorBoard's files."""
    metric, mode = settings.get("metric", "loss"), settings.get("mode", "min")
    resume = None if request.study is None else resume_command(request.study)
    if request.is_several:
        resume = "the same command again"
    with contextlib.ExitStack() as at_work:
        onlookers: list[Callable[[Event], None]] = [at_work.enter_context(shown(metric, mode))]
        if request.report is not None:
            about: dict[str, Any] = {"verb": verb, "metric": metric, "mode": mode, "epochs": settings.get("epochs")}
            onlookers.append(at_work.enter_context(LiveReport(request.report, **about, resume=resume)))
        if request.tensorboard is not None:
            onlookers.append(at_work.enter_context(TensorBoard(request.tensorboard)))
        yield onlookers


class _Watch:
    """Sees every event: keeps what is known so far, and that the study can be resumed from a shell."""

    def __init__(self, request: Request) -> None:
        self.shows: list[Callable[[Event], None]] = []
        self._request = request
        self._finished: dict[int, Trial] = {}
        self._resumable = False

    def __call__(self, event: Event) -> None:
        if not self._resumable and self._request.study is not None and not self._request.is_several:
            keep(self._request.problem, self._request.study, self._request.space, self._request.asked)
            self._resumable = True
        if event.trial is not None and event.kind is EventKind.TRIAL_FINISHED:
            self._finished[event.trial.number] = event.trial
        for show in self.shows:
            show(event)

    def known_so_far(self, settings: dict[str, Any]) -> list[str]:
        """Say in lines what the finished trials tell, and how to go on."""
        lines = [best_so_far(list(self._finished.values()), settings)] if self._finished else []
        if self._resumable and self._request.study is not None:
            lines.append(f"go on by {resume_command(self._request.study)}")
        elif self._request.study is not None:
            lines.append("the same command goes on from here")
        return lines


def require_writable(path: Path) -> None:
    """Find out before the training whether the report can be written after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.InvalidArgumentError(f"cannot write {path}: {error}: name another file") from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise errors.InvalidArgumentError(f"cannot write {path}: no permission: name another file")


def write_report(result: Result | Answer, path: Path) -> None:
    require_writable(path)
    try:
        say(f"report: {result.report(path)}")
    except OSError as error:
        stop(f"error: the report could not be written: {error}")


def say(message: str) -> None:
    click.echo(printable(message), err=True)


def stop(message: str) -> NoReturn:
    say(message)
    sys.exit(NO_ANSWER)
