"""The options that the commands share, and what they mean to the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learnrate import errors
from learnrate._command.load import Source
from learnrate._searching.halving import Halving
from learnrate._searching.space_text import described_space, space_of
from learnrate.schedules import by_name
from learnrate.stopping import EarlyStopping, ReduceOnPlateau, from_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.schedules import ScheduleMaker
    from learnrate.stopping import Rule


def as_source(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Source | None:
    return None if text is None else Source.parse(text)


def as_rates(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> list[float]:
    parts = [part for text in texts for part in text.split(",")]
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise click.BadParameter(f"{', '.join(texts)} is not a list of numbers such as 1e-4,1e-3,1e-2") from error


def as_switch(_ctx: click.Context, _param: click.Parameter, word: str | None) -> bool | str | None:
    return word if word is None else {"on": True, "off": False}.get(word, word)


def options(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
PICTURES = (".png", ".svg", ".html", ".pdf", ".json")

problem = options(
    click.argument("problem", nargs=-1, required=True, metavar="FILE.py:NAME | -- COMMAND..."),
    click.option("--log", help="The file in which a command writes its metrics, as in {out}/log.csv."),
    click.option("--pattern", help="What finds a command's metrics in a line of its output: a regular expression."),
    click.option("--timeout", type=float, help="The seconds that a command may take for an epoch."),
    click.option("--cwd", help="The folder to run a command in, such as {out}."),
)
output = options(
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, alone on standard output."),
    click.option("--report", type=FILE, help="Write an HTML file: at work as it goes, then the result."),
)
tensorboard = click.option(
    "--tensorboard", type=FOLDER, help="Write each training's metrics there, for tensorboard --logdir."
)
kept = options(
    click.option("--seed", default=0, show_default=True, help="Decides all randomness of the trainings."),
    click.option("--study", type=FOLDER, help="A folder that remembers what is trained; the same command goes on."),
    tensorboard,
    output,
)
rate_range = options(
    click.option("--min-learning-rate", default=1e-7, show_default=True, help="Nothing below is tried."),
    click.option("--max-learning-rate", default=10.0, show_default=True, help="Nothing above is tried."),
)
workers = click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings at a time, a process each."
)
vectorized = click.option(
    "--vectorized",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    callback=as_switch,
    help="Whether to train several rates, or seeds, in one program; auto where that pays.",
)
anew = options(
    click.option("--workers", type=click.IntRange(min=1), help="Trainings at a time, a process each."),
    click.option(
        "--vectorized",
        type=click.Choice(["auto", "on", "off"]),
        callback=as_switch,
        help="Whether to train several rates, or seeds, in one program.",
    ),
)
mode = click.option(
    "--mode", type=click.Choice(["min", "max"]), help="What is better, where the metric's name does not say."
)
searched = options(
    click.option(
        "--space",
        multiple=True,
        required=True,
        help="A hyperparameter and its values, as in 'lr=log_uniform(1e-4, 1)' or 'width=[32, 64]'; or a file of such.",
    ),
    click.option(
        "--sampler",
        type=click.Choice(["tpe", "gp", "random", "qmc", "grid", "around"]),
        help="Where the next trial comes from. Without it, a number of trials, halving or stages: rounds of halving, "
        "over all of the space and then around the best so far, within the budget, 8 by default.",
    ),
    click.option("--num-trials", type=click.IntRange(min=1), help="How many trials, unless the budget decides."),
    click.option("--budget", type=float, help="What may be spent, in full training runs."),
    click.option("--halving", type=click.Choice(["successive", "hyperband"]), help="Let only the promising go on."),
    click.option("--stages", help="auto, or names in the order of tuning: 'lr; width, momentum'."),
    click.option("--learning-rate", help="One for all trials; or select: each trial gets its own."),
)
scheduled = options(
    click.option("--epochs", type=click.IntRange(min=1), required=True, help="Epochs of a full training run."),
    click.option(
        "--schedule",
        help="As cosine of learnrate.schedules; without it select chooses, and other verbs train at a constant rate.",
    ),
    click.option("--warmup-fraction", type=float, help="The schedule's warm-up, as a fraction of the run."),
    click.option("--final-fraction", type=float, help="The schedule's last rate, as a fraction of its peak."),
    click.option("--metric", default="val_loss", show_default=True, help="The metric that decides."),
    mode,
)


def with_schedule(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn the options that say the schedule, or several, into makers; leave out what is the verb's to choose."""
    own = {name: settings[name] for name in ("warmup_fraction", "final_fraction") if settings[name] is not None}
    rest = {name: value for name, value in settings.items() if name not in ("warmup_fraction", "final_fraction")}
    several = rest.pop("schedules", None)
    name = rest.pop("schedule")
    if several is None:
        return rest | ({"schedule": by_name(name or "constant", **own)} if name or own else {})
    if name or own:
        raise errors.InvalidArgumentError("--schedules compares schedules as they are: leave the other options out")
    return rest | {"schedules": [by_name(name.strip()) for name in several.split(",")]}


def with_stopping(settings: dict[str, Any]) -> dict[str, Any]:
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


def for_search(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn the options of a search into what the verb takes: a number where it is one, lists of names for stages."""
    rate, stages = settings["learning_rate"], settings["stages"]
    if rate is not None and rate != "select":
        try:
            rate = float(rate)
        except ValueError as error:
            raise errors.InvalidArgumentError(f'--learning-rate {rate} is neither a number nor "select"') from error
    if stages is not None and stages != "auto":
        stages = [[name.strip() for name in stage.split(",")] for stage in stages.split(";")]
    return settings | {"learning_rate": rate, "stages": stages}


def as_begun(verb: str, settings: dict[str, Any], study: Path, space: dict[str, str] | None) -> dict[str, Any]:
    """Return the arguments that a study was begun with, from its settings and its space as it was typed."""
    remade: dict[str, Any] = {}
    if "schedule" in settings:
        remade["schedule"] = _same_schedule(settings["schedule"], study)
    if "stopping" in settings:
        remade["stopping"] = from_settings(settings["stopping"])
    return (_same_search(settings, space) if verb == "search" else settings) | remade


def _same_schedule(described_as: dict[str, Any] | None, study: Path) -> ScheduleMaker | None:
    if described_as is None:
        return None
    if described_as.get("custom"):
        raise errors.InvalidArgumentError(
            f"the schedule of {study} is {described_as['name']}, a function from Python: "
            f"call the verb from Python again, with study={str(study)!r}"
        )
    return by_name(described_as["name"], **described_as["settings"])


def _same_search(settings: dict[str, Any], space: dict[str, str] | None) -> dict[str, Any]:
    if settings["cv"] is not None:
        raise errors.InvalidArgumentError(
            "the search splits samples of its own: go on by calling learnrate.search from Python again"
        )
    halving, stages = settings["halving"], settings["stages"]
    if len(stages) > 1 and stages[-1] in ([name] for stage in stages[:-1] for name in stage):
        stages = stages[:-1]  # where the learning rate is looked at again
    if settings.get("in_rounds"):
        settings = settings | dict.fromkeys(("sampler", "num_trials"))
        halving = None
    own = {name: value for name, value in settings.items() if name not in ("cv", "folds", "in_rounds", "split")}
    return own | {
        "space": described_space(settings["space"]) if space is None else space_of(space),
        "halving": None if halving is None else Halving(**halving),
        "stages": None if stages == [list(settings["space"])] else stages,  # one of all in order is what none means
    }
