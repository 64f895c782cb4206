"""The command line: arguments in, verbs called, results printed.

Standard output has the answer alone; progress, messages and whatever the user's code prints go to standard error. The
exit code is 0 for an answer, 1 for none, 2 for wrong usage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

import learnrate
from learnrate import errors
from learnrate._command import options
from learnrate._command.answering import (
    NO_ANSWER,
    Request,
    answer,
    answer_by,
    request_of,
    require_writable,
    say,
    stop,
    write_report,
)
from learnrate._command.kept import Asked, kept_asked, kept_in, kept_space
from learnrate._command.printable import printable
from learnrate._searching.space_text import space_of, texts_of
from learnrate._watching.live import follow, resume_command, write_study
from learnrate._watching.standing import RESULTS, Standing, result_of, standing_of

if TYPE_CHECKING:
    from learnrate._command.load import Command, Source

_WRONG_USAGE = (
    errors.InvalidArgumentError,
    errors.UnknownMetricError,
    errors.UnsupportedProblemError,
    errors.StudyMismatchError,
)


class _Commands(click.Group):
    """A group that turns learnrate's errors into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        of_a_command = any("{" in word for word in ctx.args) and "--" not in ctx.args
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if not of_a_command:
                raise
            message = f"No such option {error.option_name!r}: put -- before the command whose option it is."
            raise click.UsageError(message, error.ctx) from error
        except errors.LearnrateError as error:
            say(f"error: {error}")
            ctx.exit(2 if isinstance(error, _WRONG_USAGE) else NO_ANSWER)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(learnrate.__version__, prog_name="learnrate")
def main() -> None:
    """Find the learning rate to use, by training, and see how sure that is."""


@main.command()
@options.problem
@options.scheduled
@click.option(
    "--schedules", help="Several makers to choose from, as in constant,cosine,one_cycle: the budget for each."
)
@click.option("--budget", default=2.0, show_default=True, help="What may be spent, in full training runs.")
@click.option("--start", type=float, help="The learning rate that you use today; else the problem's own, or 1e-3.")
@options.rate_range
@options.workers
@options.vectorized
@options.kept
def select(**given: Any) -> None:
    """Find the learning rate to use, and how sure that is.

    What is trained is a name in a Python file, or any command with {learning_rate} in it, as in:
    learnrate select --epochs 20 -- python train.py --lr {learning_rate} --epochs {epochs}
    """
    request, settings = request_of(given)
    several = settings["schedules"] is not None
    answer_by("select", request._replace(is_several=several), options.with_schedule(settings))


@main.command()
@options.problem
@click.option("--learning-rates", callback=options.as_rates, required=True, multiple=True, help="As in 1e-4,1e-3,1e-2.")
@options.scheduled
@click.option("--refine", type=click.IntRange(min=0), default=0, show_default=True, help="Trainings around the best.")
@click.option("--patience", type=click.IntRange(min=0), help="Stop a training after so many epochs without a gain.")
@click.option("--reduce-patience", type=click.IntRange(min=0), help="Lower its rate after so many epochs without one.")
@click.option("--reduce-factor", default=0.5, show_default=True, help="What the rate is lowered by.")
@click.option("--min-delta", default=0.0, show_default=True, help="The least that counts as a gain.")
@options.workers
@options.vectorized
@options.kept
def sweep(**given: Any) -> None:
    """Train once at each of several learning rates, and compare."""
    request, settings = request_of(given)
    answer_by("sweep", request, options.with_stopping(options.with_schedule(settings)))


@main.command()
@options.problem
@options.searched
@options.scheduled
@options.workers
@options.kept
def search(space: tuple[str, ...], **given: Any) -> None:
    """Search for the best hyperparameters of any kind, the learning rate among them.

    What is trained is a function in a Python file that builds the problem from its hyperparameters, or any command
    with their names in braces, as in:
    learnrate search --epochs 20 --space 'lr=log_uniform(1e-4, 1)' -- python train.py --lr {lr} --epochs {epochs}
    """
    request, settings = request_of(given)
    texts = texts_of(space)
    settings = options.for_search(options.with_schedule(settings)) | {"space": space_of(texts)}
    answer_by("search", request._replace(space=texts), settings)


@main.command()
@options.problem
@options.rate_range
@click.option("--num-steps", type=click.IntRange(min=1), default=100, show_default=True, help="The most steps to make.")
@click.option(
    "--spacing", type=click.Choice(["adaptive", "exponential", "linear"]), default="adaptive", show_default=True
)
@click.option(
    "--num-seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many climbs to take the mean of."
)
@click.option("--metric", default="loss", show_default=True, help="What to watch: loss, or a validation metric.")
@options.mode
@options.vectorized
@options.kept
def range_test(**given: Any) -> None:
    """Raise the learning rate over a hundred steps, and say what the loss did."""
    request, settings = request_of(given)
    answer_by("range_test", request, settings)


@main.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--metric", help="The metric that decides; the validation loss, where there is one, unless told.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="What is better, where the metric's name does not say.")
@click.option(
    "--learning-rate",
    "learning_rates",
    callback=options.as_rates,
    multiple=True,
    help="Each file's learning rate, in order, as in 1e-4,1e-3, where no column names it.",
)
@click.option("--num-validation-samples", type=click.IntRange(min=1), help="To tell what noise is normal.")
@click.option("--chart", type=options.FILE, help="Draw it: a file named .png, .svg or .html.")
@options.output
def diagnose(files: tuple[Path, ...], as_json: bool, report: Path | None, chart: Path | None, **settings: Any) -> None:
    """Say what learning curves in logs show and, given several learning rates, which to use.

    Logs without a learning rate are diagnosed and not compared; that is an answer too.
    """
    from learnrate._command.diagnose_command import answer

    if chart is not None and chart.suffix.lower() not in options.PICTURES:
        raise errors.InvalidArgumentError(f"--chart {chart}: name a file that ends in {', '.join(options.PICTURES)}")
    for target in (report, chart):
        if target is not None:
            require_writable(target)
    found = answer(files, **settings)
    click.echo(found.to_json() if as_json else printable(str(found)))
    if chart is not None:
        found.chart().save(str(chart))
        say(f"chart: {chart}")
    if report is not None:
        write_report(found, report)
    if not found.has_answer:
        sys.exit(NO_ANSWER)


@main.command()
@click.argument("study", type=options.FOLDER)
@click.argument("problem", callback=options.as_source, metavar="[FILE.py:NAME]", required=False)
@click.option("--trust", is_flag=True, help="Run what a study says that was not begun by you on this machine.")
@options.anew
@options.tensorboard
@options.output
def resume(study: Path, problem: Source | Command | None, *, trust: bool, **given: Any) -> None:
    """Go on with an interrupted study: nothing that is finished is trained again.

    FILE.py:NAME is needed where the file has moved since, or where the study was begun from Python. --report,
    --tensorboard, --workers and --vectorized are as the study was begun, unless they are given anew.
    """
    from learnrate.study import Study, studies_in

    several = studies_in(study)
    if several:
        raise errors.StudyError(
            f"{study} holds studies ({', '.join(one.name for one in several)}), as select with --schedules makes them: "
            "give that command again, and it goes on with them"
        )
    with Study.read(study) as kept:
        verb, settings, result = kept.verb, kept.settings, result_of(kept)
    if result is not None:
        say("the study is finished: this is what it found")
        asked = kept_asked(study, trusted=trust) or Asked()
        answer(result, asked.again(given)["report"], as_json=given["as_json"])
        return
    if verb not in RESULTS:
        raise errors.StudyError(
            f"{study} is a study of {verb}, which this command does not know: resume it from Python"
        )
    if problem is None:
        problem = kept_in(study, trusted=trust)
    space, asked = kept_space(study), kept_asked(study, trusted=trust)
    if asked is None:
        told = "--report, --tensorboard, --workers and --vectorized of its beginning"
        say(f"{study} was not begun by you on this machine: the {told} are left out")
    remade = options.as_begun(verb, settings, study, space)
    say(f"going on with {verb.replace('_', '-')} of {problem}")
    answer_by(verb, Request(problem, study, **(asked or Asked()).again(given), space=space), remade)


@main.command()
@click.argument("study", type=options.FOLDER)
@click.option("--output", type=options.FILE, help="Where to write it; report.html in the study's folder unless told.")
@click.option("--follow", "following", is_flag=True, help="Rewrite it while another process works on the study.")
def report(study: Path, output: Path | None, following: bool) -> None:
    """Write a study as one HTML file: its answer, or how it stands."""
    from learnrate.study import Study

    path = output or study / "report.html"
    with Study.read(study) as kept:
        result, standing = result_of(kept), standing_of(kept)
    if result is None:
        require_writable(path)
        if following:
            say(f"report: {path}")
            follow(study, path, ended=lambda: True)
            return
        write_study(study, path)
        say(f"{standing}\nhow it stands: {path}")
        stop(f"there is no answer to report yet: go on by {resume_command(study)}")
    write_report(result, path)


@main.command()
@click.argument("study", type=options.FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, alone on standard output.")
def status(study: Path, as_json: bool) -> None:
    """Say how far a study is, or each of several schedules' studies."""
    from learnrate.study import Study, studies_in

    several = studies_in(study)
    standings: dict[str, Standing] = {}
    for one in several or [study]:
        with Study.read(one) as kept:
            standings[one.name] = standing_of(kept)
    if as_json:
        click.echo(msgspec.json.encode(standings if several else standings[study.name]).decode())
        return
    click.echo(printable("\n\n".join(f"{name}: {one}" if several else str(one) for name, one in standings.items())))


@main.command()
@click.argument("study", type=options.FOLDER)
@click.option("--optuna", metavar="URL", help="A storage of Optuna's, as in sqlite:///trials.db.")
@click.option("--csv", "table", type=options.FILE, help="A table, a line for each trial.")
@click.option("--tensorboard", type=options.FOLDER, help="A folder of runs, with their hyperparameters.")
def export(study: Path, optuna: str | None, table: Path | None, tensorboard: Path | None) -> None:
    """Write a study's trials for other tools."""
    from learnrate._command.export import to_csv, to_optuna, to_tensorboard
    from learnrate.study import Study

    if optuna is None and table is None and tensorboard is None:
        raise errors.InvalidArgumentError("say where to export to: --optuna, --csv or --tensorboard")
    with Study.read(study) as kept:
        if optuna is not None:
            say(f"optuna: {to_optuna(kept, optuna)} in {optuna}")
        if table is not None:
            to_csv(kept, table)
            say(f"table: {table}")
        if tensorboard is not None:
            to_tensorboard(kept, tensorboard)
            say(f"tensorboard: {tensorboard}")
