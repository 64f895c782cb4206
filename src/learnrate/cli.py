"""The command line: arguments in, verbs called, results printed.

Standard output has the answer alone; progress, messages and whatever the user's code prints go to standard error. The
exit code is 0 for an answer, 1 for none, 2 for wrong usage.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click
import msgspec

import learnrate
from learnrate import errors
from learnrate._live import LiveReport, follow, resume_command, write_study
from learnrate._load import Command, Source, kept_in, loaded, own_traceback, parsed
from learnrate._printable import printable
from learnrate._progress import shown
from learnrate._standing import RESULTS, Result, best_so_far, result_of, standing_of
from learnrate._tensorboard import TensorBoard
from learnrate.results import Recommendation, Sweep
from learnrate.schedules import by_name
from learnrate.stopping import EarlyStopping, ReduceOnPlateau, from_settings
from learnrate.training import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from learnrate._diagnose_command import Answer
    from learnrate.results import Trial
    from learnrate.schedules import ScheduleMaker
    from learnrate.stopping import Rule
    from learnrate.training import Event

_WRONG_USAGE = (
    errors.InvalidArgumentError,
    errors.UnknownMetricError,
    errors.UnsupportedProblemError,
    errors.StudyMismatchError,
)
_NO_ANSWER = 1


class _Commands(click.Group):
    """A group that turns learnrate's errors into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        of_a_command = any("{learning_rate}" in word for word in ctx.args) and "--" not in ctx.args
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if not of_a_command:
                raise
            message = f"No such option {error.option_name!r}: put -- before the command whose option it is."
            raise click.UsageError(message, error.ctx) from error
        except errors.LearnrateError as error:
            _say(f"error: {error}")
            ctx.exit(2 if isinstance(error, _WRONG_USAGE) else _NO_ANSWER)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(learnrate.__version__, prog_name="learnrate")
def main() -> None:
    """Find the learning rate to use, by training, and see how sure that is."""


def _as_source(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Source | None:
    return None if text is None else Source.parse(text)


def _as_rates(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> list[float]:
    parts = [part for text in texts for part in text.split(",")]
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise click.BadParameter(f"{', '.join(texts)} is not a list of numbers such as 1e-4,1e-3,1e-2") from error


def _options(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_PICTURES = (".png", ".svg", ".html", ".pdf", ".json")

_problem = _options(
    click.argument("problem", nargs=-1, required=True, metavar="FILE.py:NAME | -- COMMAND..."),
    click.option("--log", help="The file in which a command writes its metrics, as in {out}/log.csv."),
    click.option("--pattern", help="What finds a command's metrics in a line of its output: a regular expression."),
    click.option("--timeout", type=float, help="The seconds that a command may take for an epoch."),
    click.option("--cwd", help="The folder to run a command in, such as {out}."),
)
_output = _options(
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, alone on standard output."),
    click.option("--report", type=_FILE, help="Write an HTML file: at work as it goes, then the result."),
)
_tensorboard = click.option(
    "--tensorboard", type=_FOLDER, help="Write each training's metrics there, for tensorboard --logdir."
)
_kept = _options(
    click.option("--seed", default=0, show_default=True, help="Decides all randomness of the trainings."),
    click.option("--study", type=_FOLDER, help="A folder that remembers what is trained; the same command goes on."),
    _tensorboard,
    _output,
)
_range = _options(
    click.option("--min-learning-rate", default=1e-7, show_default=True, help="Nothing below is tried."),
    click.option("--max-learning-rate", default=10.0, show_default=True, help="Nothing above is tried."),
)
_mode = click.option(
    "--mode", type=click.Choice(["min", "max"]), default="min", show_default=True, help="What is better."
)
_scheduled = _options(
    click.option("--epochs", type=click.IntRange(min=1), required=True, help="Epochs of a full training run."),
    click.option("--schedule", default="constant", show_default=True, help="A maker of learnrate.schedules: cosine, …"),
    click.option("--warmup-fraction", type=float, help="The schedule's warm-up, as a fraction of the run."),
    click.option("--final-fraction", type=float, help="The schedule's last rate, as a fraction of its peak."),
    click.option("--metric", default="val_loss", show_default=True, help="The metric that decides."),
    _mode,
)


class _Request(NamedTuple):
    """What a command was asked beside the verb's own settings."""

    problem: Source | Command
    study: Path | None
    report: Path | None
    as_json: bool
    is_several: bool = False
    """Whether the study's folder holds a study of each schedule."""
    tensorboard: Path | None = None


@main.command()
@_problem
@_scheduled
@click.option(
    "--schedules", help="Several makers to choose from, as in constant,cosine,one_cycle: the budget for each."
)
@click.option("--budget", default=2.0, show_default=True, help="What may be spent, in full training runs.")
@_range
@_kept
def select(study: Path | None, as_json: bool, report: Path | None, tensorboard: Path | None, **settings: Any) -> None:
    """Find the learning rate to use, and how sure that is.

    What is trained is a name in a Python file, or any command with {learning_rate} in it, as in:
    learnrate select --epochs 20 -- python train.py --lr {learning_rate} --epochs {epochs}
    """
    problem, settings = _problem_of(settings)
    several = settings["schedules"] is not None
    _work("select", _with_schedule(settings), _Request(problem, study, report, as_json, several, tensorboard))


@main.command()
@_problem
@click.option("--learning-rates", callback=_as_rates, required=True, multiple=True, help="As in 1e-4,1e-3,1e-2.")
@_scheduled
@click.option("--refine", type=click.IntRange(min=0), default=0, show_default=True, help="Trainings around the best.")
@click.option("--patience", type=click.IntRange(min=0), help="Stop a training after so many epochs without a gain.")
@click.option("--reduce-patience", type=click.IntRange(min=0), help="Lower its rate after so many epochs without one.")
@click.option("--reduce-factor", default=0.5, show_default=True, help="What the rate is lowered by.")
@click.option("--min-delta", default=0.0, show_default=True, help="The least that counts as a gain.")
@_kept
def sweep(study: Path | None, as_json: bool, report: Path | None, tensorboard: Path | None, **settings: Any) -> None:
    """Train once at each of several learning rates, and compare."""
    problem, settings = _problem_of(settings)
    _work(
        "sweep",
        _with_stopping(_with_schedule(settings)),
        _Request(problem, study, report, as_json, tensorboard=tensorboard),
    )


@main.command()
@_problem
@_range
@click.option("--num-steps", type=click.IntRange(min=1), default=100, show_default=True, help="The most steps to make.")
@click.option(
    "--spacing", type=click.Choice(["adaptive", "exponential", "linear"]), default="adaptive", show_default=True
)
@click.option("--metric", default="loss", show_default=True, help="What to watch: loss, or a validation metric.")
@_mode
@_kept
def range_test(
    study: Path | None, as_json: bool, report: Path | None, tensorboard: Path | None, **settings: Any
) -> None:
    """Raise the learning rate over a few hundred steps, and say what the loss did."""
    problem, settings = _problem_of(settings)
    _work("range_test", settings, _Request(problem, study, report, as_json, tensorboard=tensorboard))


@main.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--metric", help="The metric that decides; the validation loss, where there is one, unless told.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="What is better, where the metric's name does not say.")
@click.option(
    "--learning-rate",
    "learning_rates",
    callback=_as_rates,
    multiple=True,
    help="Each file's learning rate, in order, as in 1e-4,1e-3, where no column names it.",
)
@click.option("--num-validation-samples", type=click.IntRange(min=1), help="To tell what noise is normal.")
@click.option("--chart", type=_FILE, help="Draw it: a file named .png, .svg or .html.")
@_output
def diagnose(files: tuple[Path, ...], as_json: bool, report: Path | None, chart: Path | None, **settings: Any) -> None:
    """Say what learning curves in logs show and, given several learning rates, which to use."""
    from learnrate._diagnose_command import answer

    if chart is not None and chart.suffix.lower() not in _PICTURES:
        raise errors.InvalidArgumentError(f"--chart {chart}: name a file that ends in {', '.join(_PICTURES)}")
    for target in (report, chart):
        if target is not None:
            _require_writable(target)
    found = answer(files, **settings)
    click.echo(found.to_json() if as_json else printable(str(found)))
    if chart is not None:
        found.chart().save(str(chart))
        _say(f"chart: {chart}")
    if report is not None:
        _write_report(found, report)
    if not found.has_answer:
        sys.exit(_NO_ANSWER)


@main.command()
@click.argument("study", type=_FOLDER)
@click.argument("problem", callback=_as_source, metavar="[FILE.py:NAME]", required=False)
@click.option("--trust", is_flag=True, help="Run what a study says that was not begun by you on this machine.")
@_tensorboard
@_output
def resume(
    study: Path,
    problem: Source | Command | None,
    *,
    trust: bool,
    as_json: bool,
    report: Path | None,
    tensorboard: Path | None,
) -> None:
    """Go on with an interrupted study: nothing that is finished is trained again.

    FILE.py:NAME is needed where the file has moved since, or where the study was begun from Python.
    """
    from learnrate.study import Study

    with Study.read(study) as kept:
        verb, settings, result = kept.verb, kept.settings, result_of(kept)
    if result is not None:
        _say("the study is finished: this is what it found")
        _answer(result, report, as_json=as_json)
        return
    if verb not in RESULTS:
        raise errors.StudyError(
            f"{study} is a study of {verb}, which this command does not know: resume it from Python"
        )
    if problem is None:
        problem = kept_in(study, trusted=trust)
    remade: dict[str, Any] = {}
    if "schedule" in settings:
        remade["schedule"] = _same_schedule(settings["schedule"], study)
    if "stopping" in settings:
        remade["stopping"] = from_settings(settings["stopping"])
    _say(f"going on with {verb.replace('_', '-')} of {problem}")
    _work(verb, settings | remade, _Request(problem, study, report, as_json, tensorboard=tensorboard))


@main.command()
@click.argument("study", type=_FOLDER)
@click.option("--output", type=_FILE, help="Where to write it; report.html in the study's folder unless told.")
@click.option("--follow", "following", is_flag=True, help="Rewrite it while another process works on the study.")
def report(study: Path, output: Path | None, following: bool) -> None:
    """Write a study as one HTML file: its answer, or how it stands."""
    from learnrate.study import Study

    path = output or study / "report.html"
    with Study.read(study) as kept:
        result, standing = result_of(kept), standing_of(kept)
    if result is None:
        _require_writable(path)
        if following:
            _say(f"report: {path}")
            follow(study, path, ended=lambda: True)
            return
        write_study(study, path)
        _say(f"{standing}\nhow it stands: {path}")
        _stop(f"there is no answer to report yet: go on by {resume_command(study)}")
    _write_report(result, path)


@main.command()
@click.argument("study", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, alone on standard output.")
def status(study: Path, as_json: bool) -> None:
    """Say how far a study is."""
    from learnrate.study import Study

    with Study.read(study) as kept:
        standing = standing_of(kept)
    click.echo(msgspec.json.encode(standing).decode() if as_json else printable(str(standing)))


@main.command()
@click.argument("study", type=_FOLDER)
@click.option("--optuna", metavar="URL", help="A storage of Optuna's, as in sqlite:///trials.db.")
@click.option("--csv", "table", type=_FILE, help="A table, a line for each trial.")
@click.option("--tensorboard", type=_FOLDER, help="A folder of runs, with their hyperparameters.")
def export(study: Path, optuna: str | None, table: Path | None, tensorboard: Path | None) -> None:
    """Write a study's trials for other tools."""
    from learnrate._export import to_csv, to_optuna, to_tensorboard
    from learnrate.study import Study

    if optuna is None and table is None and tensorboard is None:
        raise errors.InvalidArgumentError("say where to export to: --optuna, --csv or --tensorboard")
    with Study.read(study) as kept:
        if optuna is not None:
            _say(f"optuna: {to_optuna(kept, optuna)} in {optuna}")
        if table is not None:
            to_csv(kept, table)
            _say(f"table: {table}")
        if tensorboard is not None:
            to_tensorboard(kept, tensorboard)
            _say(f"tensorboard: {tensorboard}")


def _work(verb: str, settings: dict[str, Any], request: _Request) -> None:
    """Run a verb on a file's problem and answer with what it finds, or say why there is no answer."""
    if request.report is not None:
        _require_writable(request.report)
    watch = _Watch(request)
    try:
        # the answer has standard output to itself, whatever the user's code prints
        with (
            contextlib.redirect_stdout(sys.stderr),
            loaded(request.problem) as problem,
            _onlookers(verb, settings, request) as watch.shows,
        ):
            result: Result = getattr(learnrate, verb)(problem, **settings, study=request.study, on_event=watch)
    except KeyboardInterrupt:
        _stop("\n".join(["stopped", *watch.known_so_far(settings)]))
    except errors.LearnrateError:
        raise
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and its own traceback says most
        _say(own_traceback(error))
        _stop("\n".join([f"error: stopped by the {type(error).__name__} above", *watch.known_so_far(settings)]))
    if isinstance(result, Recommendation | Sweep):
        result = msgspec.structs.replace(result, best=None)  # weights that a shell cannot hold are not promised
    _answer(result, request.report, as_json=request.as_json)


def _answer(result: Result, report: Path | None, *, as_json: bool) -> None:
    """Print a result, write its report, and leave with the exit code that says whether there is an answer."""
    click.echo(result.to_json() if as_json else printable(str(result)))
    if report is not None:
        _write_report(result, report)
    if result.learning_rate is None:
        sys.exit(_NO_ANSWER)


@contextlib.contextmanager
def _onlookers(verb: str, settings: dict[str, Any], request: _Request) -> Generator[list[Callable[[Event], None]]]:
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

    def __init__(self, request: _Request) -> None:
        self.shows: list[Callable[[Event], None]] = []
        self._request = request
        self._finished: dict[int, Trial] = {}
        self._resumable = False

    def __call__(self, event: Event) -> None:
        if not self._resumable and self._request.study is not None and not self._request.is_several:
            self._request.problem.keep_in(self._request.study)
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


def _problem_of(settings: dict[str, Any]) -> tuple[Source | Command, dict[str, Any]]:
    """Take from the settings what is trained."""
    told = ("log", "pattern", "timeout", "cwd")
    problem = parsed(settings["problem"], **{name: settings[name] for name in told})
    return problem, {name: value for name, value in settings.items() if name not in ("problem", *told)}


def _with_schedule(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn the options that say the schedule, or several, into makers."""
    own = {name: settings[name] for name in ("warmup_fraction", "final_fraction") if settings[name] is not None}
    rest = {name: value for name, value in settings.items() if name not in ("warmup_fraction", "final_fraction")}
    several = rest.pop("schedules", None)
    if several is None:
        return rest | {"schedule": by_name(settings["schedule"], **own)}
    if rest.pop("schedule") != "constant" or own:
        raise errors.InvalidArgumentError("--schedules compares schedules as they are: leave the other options out")
    return rest | {"schedules": [by_name(name.strip()) for name in several.split(",")]}


def _with_stopping(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn the options that say when to stop and when to lower the rate into rules."""
    rest = dict(settings)
    patience, lower_after, factor, min_delta = map(
        rest.pop, ("patience", "reduce_patience", "reduce_factor", "min_delta")
    )
    shared: dict[str, Any] = {"min_delta": min_delta, "mode": settings["mode"]}
    rules: list[Rule] = []
    if patience is not None:
        rules.append(EarlyStopping(patience=patience, **shared))
    if lower_after is not None:
        rules.append(ReduceOnPlateau(patience=lower_after, factor=factor, **shared))
    return rest | {"stopping": rules}


def _same_schedule(described_as: dict[str, Any], study: Path) -> ScheduleMaker:
    if described_as.get("custom"):
        raise errors.InvalidArgumentError(
            f"the schedule of {study} is {described_as['name']}, a function from Python: "
            f"call the verb from Python again, with study={str(study)!r}"
        )
    return by_name(described_as["name"], **described_as["settings"])


def _require_writable(path: Path) -> None:
    """Find out before the training whether the report can be written after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.InvalidArgumentError(f"cannot write {path}: {error}: name another file") from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise errors.InvalidArgumentError(f"cannot write {path}: no permission: name another file")


def _write_report(result: Result | Answer, path: Path) -> None:
    _require_writable(path)
    try:
        _say(f"report: {result.report(path)}")
    except OSError as error:
        _stop(f"error: the report could not be written: {error}")


def _say(message: str) -> None:
    click.echo(printable(message), err=True)


def _stop(message: str) -> NoReturn:
    _say(message)
    sys.exit(_NO_ANSWER)
