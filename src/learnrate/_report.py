"""The report: one HTML file that says the answer in words and shows its evidence, and opens without a network."""

from __future__ import annotations

import base64
import functools
import gzip
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from learnrate._drawings import axes, standalone
from learnrate._pages import rates_page, search_page, words
from learnrate.errors import InvalidArgumentError
from learnrate.results import RangeTest, Recommendation, Search, Sweep

if TYPE_CHECKING:
    import jinja2

    from learnrate._watching.tally import AtWork
    from learnrate.curves import LearningCurve

Reported = Recommendation | Sweep | RangeTest | Search
_RESULTS = "a Recommendation, a Sweep, a RangeTest or a Search"

_VERSIONS = ("learnrate", "numpy", "scipy", "torch", "keras", "scikit-learn", "jax", "optax")
_MOST_SVG = 500  # trials: beyond, a browser draws them as one picture, since each point as an element takes it seconds
_MOST_PLAIN = 100_000  # numbers: beyond, the embedded data keep six digits and are compressed, to stay under 8 MB


def report(result: Reported | str | Path, path: str | Path, *, follow: bool = False) -> Path:
    """Write a result as one HTML file that opens anywhere, without a network.

    The answer in words and the lines to paste, then the charts, linked by what the reader picks, every trial with its
    diagnosis, the settings, and the complete data as JSON.

    Args:
        result: What `select`, `sweep`, `range_test` or `search` returned, the path of a file with its `to_json()`, or
            the folder of a study: a study without an answer is shown as it stands.
        path: Where to write. A file that is there already is replaced whole, never in parts.
        follow: Whether to go on rewriting the report of a study, in a thread of its own, until the study is finished;
            the open page reloads itself. Call it before the verb: the study need not be there yet.

    Returns:
        The path.

    Raises:
        InvalidArgumentError: If the path is a directory or its directory is missing, if `result` is none of these, or
            if something else than a study is to be followed.

    Example:
        >>> import tempfile, learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> answer = learnrate.range_test(QuadraticTrainable(), num_steps=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report(answer, Path(folder) / "range-test.html").name
        'range-test.html'
    """
    target = Path(path)
    standalone.check_target(target)
    place = Path(result) if isinstance(result, str | Path) else None
    if follow and (place is None or place.is_file()):
        msg = f"only a study can be followed, and {result!r:.80} is none; give the folder that the verb has as study="
        raise InvalidArgumentError(msg)
    if place is not None and (follow or place.is_dir()):
        from learnrate._watching import live

        (live.follow_beside if follow else live.write_study)(place, target)
        return target
    held = _read(place) if place is not None else result
    if not isinstance(held, Reported):
        msg = f"a {type(held).__name__} has no report; give {_RESULTS}, or its JSON file"
        raise InvalidArgumentError(msg)
    standalone.write_whole(target, render(held))
    return target


def render(result: Reported, *, at_work: AtWork | None = None, mark: str = "") -> str:
    """Return the page; of a verb `at_work` one that reloads itself, written when `mark` says, in milliseconds."""
    held = search_page.content(result, at_work) if isinstance(result, Search) else rates_page.content(result, at_work)
    trials = [] if isinstance(result, RangeTest) else result.trials
    plain = sum(len(trial.curve) * len(trial.curve.metrics) for trial in trials) <= _MOST_PLAIN
    page: dict[str, Any] = {
        "config": axes.config(ink="currentColor", background=None, font="system-ui, sans-serif"),
        "views": held.views,
        "crowded": len(trials) > _MOST_SVG,
        **held.curves,
    }
    return _template().render(
        **held.first,
        at_work=at_work,
        mark=mark,
        code=held.code,
        charts=held.charts,
        bases=page["bases"],
        both=list(zip(page["both"], page["notes"], strict=True)),
        multiples=bool(page["trials"]),
        rows=held.rows,
        by=page["by"],
        columns=held.columns,
        about=held.about,
        states=list(dict.fromkeys(row.state for row in held.rows)),
        metric=result.metric,
        schedules=held.schedules,
        warnings=result.warnings,
        settings=_settings(result, known=at_work is None),
        versions=_versions(),
        version=_version("learnrate"),
        plain=plain,
        data=standalone.escaped(result.to_json()) if plain else _compressed(result),
        page_json=standalone.script_json(page),
        library=standalone.chart_library(),
    )


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "_pages")
    environment = jinja2.Environment(autoescape=True, loader=loader, undefined=jinja2.StrictUndefined)
    return environment.get_template("report.html.jinja")


def _read(path: Path) -> Reported:
    if not path.is_file():
        msg = f"{path} is not a file; give a result, the path of a file that holds its to_json(), or a study folder"
        raise InvalidArgumentError(msg)
    text = path.read_bytes()
    for kind in (Recommendation, Sweep, RangeTest, Search):
        try:
            return kind.from_json(text)
        except msgspec.DecodeError:
            continue
    msg = f"{path} holds no result; give a file written from the to_json() of {_RESULTS}"
    raise InvalidArgumentError(msg)


def _settings(result: Reported, *, known: bool) -> list[tuple[str, str]]:
    """Return the settings in words; while a verb is at work they are not known, nor is the seed that it was given."""
    told = {**result.settings, "seed": result.seed} if known else result.settings
    return [(name, words.setting(value)) for name, value in told.items() if value is not None]


def _versions() -> list[tuple[str, str]]:
    """Return what is installed where the report is written."""
    found = [(name, _version(name)) for name in _VERSIONS]
    return [("Python", platform.python_version()), *((name, version) for name, version in found if version)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _compressed(result: Reported) -> str:
    """Return the result as JSON, its curves to six digits, gzipped, in base64."""
    if not isinstance(result, RangeTest):
        trials = [msgspec.structs.replace(trial, curve=_rounded(trial.curve)) for trial in result.trials]
        result = msgspec.structs.replace(result, trials=trials)
    return base64.b64encode(gzip.compress(result.to_json().encode(), compresslevel=6, mtime=0)).decode()


def _rounded(curve: LearningCurve) -> LearningCurve:
    metrics = {name: np.array([float(f"{it:.6g}") for it in held.tolist()]) for name, held in curve.metrics.items()}
    return msgspec.structs.replace(curve, metrics=metrics)
