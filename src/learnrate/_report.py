"""The report: one HTML file that says the answer in words and shows its evidence, and opens without a network."""

from __future__ import annotations

import base64
import functools
import gzip
import math
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from learnrate import _axes, _code, _curve_drawings, _drawings, _page, _words
from learnrate._numbers import rate, short
from learnrate.errors import InvalidArgumentError
from learnrate.results import RangeTest, Recommendation, Sweep, Trial

if TYPE_CHECKING:
    import jinja2

    from learnrate._axes import Spec
    from learnrate._tally import AtWork
    from learnrate.curves import LearningCurve

_VERSIONS = ("learnrate", "numpy", "scipy", "torch", "keras", "scikit-learn", "jax", "optax")
_MOST_DRAWN = 80_000  # numbers: each curve keeps twenty points of a thousand trials with four metrics
_MOST_PLAIN = 100_000  # numbers: beyond, the embedded data keep six digits and are compressed, to stay under 8 MB


def report(result: Recommendation | Sweep | RangeTest | str | Path, path: str | Path, *, follow: bool = False) -> Path:
    """Write a result as one HTML file that opens anywhere, without a network.

    The answer in words and the lines to paste, then the charts, linked by what the reader picks, every trial with its
    diagnosis, the settings, and the complete data as JSON.

    Args:
        result: What `select`, `sweep` or `range_test` returned, the path of a file with its `to_json()`, or the folder
            of a study: a study without an answer is shown as it stands.
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
    _page.check_target(target)
    place = Path(result) if isinstance(result, str | Path) else None
    if follow and (place is None or place.is_file()):
        msg = f"only a study can be followed, and {result!r:.80} is none; give the folder that the verb has as study="
        raise InvalidArgumentError(msg)
    if place is not None and (follow or place.is_dir()):
        from learnrate import _live

        (_live.follow_beside if follow else _live.write_study)(place, target)
        return target
    held = _read(place) if place is not None else result
    if not isinstance(held, Recommendation | Sweep | RangeTest):
        msg = f"a {type(held).__name__} has no report; give a Recommendation, a Sweep or a RangeTest, or its JSON file"
        raise InvalidArgumentError(msg)
    _page.write_whole(target, render(held))
    return target


def render(result: Recommendation | Sweep | RangeTest, *, at_work: AtWork | None = None, mark: str = "") -> str:
    """Return the page; of a verb `at_work` one that reloads itself, written when `mark` says, in milliseconds."""
    trials = [] if isinstance(result, RangeTest) else sorted(result.trials, key=_by_rate)
    drawn = [trial for trial in trials if trial.curve.metrics]
    charts, views = _charts(result, drawn)
    plain = sum(len(trial.curve) * len(trial.curve.metrics) for trial in trials) <= _MOST_PLAIN
    page: dict[str, Any] = {
        "config": _axes.config(ink="currentColor", background=None, font="system-ui, sans-serif"),
        "views": views,
        **_curves(result, drawn),
    }
    first = _words.first_screen(result) if at_work is None else _words.screen_at_work(result, at_work)
    return _template().render(
        **first,
        at_work=at_work,
        mark=mark,
        code=_lines(result) if at_work is None else [],
        charts=charts,
        bases=page["bases"],
        both=page["both"],
        multiples=bool(drawn),
        trials=[_row(trial, result) for trial in trials],
        states=list(dict.fromkeys(trial.state.value for trial in trials)),
        columns=_columns(result, trials),
        others=any(_others(trial) for trial in trials),
        metric=result.metric,
        schedules=_words.schedule_rows(result),
        warnings=result.warnings,
        settings=_settings(result),
        versions=_versions(),
        version=_version("learnrate"),
        plain=plain,
        data=_page.escaped(result.to_json()) if plain else _compressed(result),
        page_json=_page.script_json(page),
        library=_page.chart_library(),
    )


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(autoescape=True, loader=loader, undefined=jinja2.StrictUndefined)
    return environment.get_template("report.html.jinja")


def _read(path: Path) -> Recommendation | Sweep | RangeTest:
    if not path.is_file():
        msg = f"{path} is not a file; give a result, the path of a file that holds its to_json(), or a study folder"
        raise InvalidArgumentError(msg)
    text = path.read_bytes()
    for kind in (Recommendation, Sweep, RangeTest):
        try:
            return kind.from_json(text)
        except msgspec.DecodeError:
            continue
    msg = f"{path} holds no result; give a file written from the to_json() of a Recommendation, Sweep or RangeTest"
    raise InvalidArgumentError(msg)


def _by_rate(trial: Trial) -> tuple[float, int]:
    return trial.learning_rate, trial.number


def _untitled(spec: Spec) -> Spec:
    """Return a description without its title: the page has a heading of its own."""
    return {key: value for key, value in spec.items() if key != "title"}


def _charts(
    result: Recommendation | Sweep | RangeTest, drawn: list[Trial]
) -> tuple[list[dict[str, Any]], dict[str, Spec]]:
    """Return the page's chart sections, in their order, and the descriptions that need no data from the page."""
    sections: list[dict[str, Any]] = []
    views: dict[str, Spec] = {}
    if not isinstance(result, RangeTest) and result.trials:
        views["response"] = _untitled(_drawings.response(result, width=None))
        sections.append(_words.response_section(result))
        if drawn:
            sections.append(_words.curves_section(result))
    test = result if isinstance(result, RangeTest) else getattr(result, "range_test", None)
    if test is not None:
        views["losses"] = _untitled(_drawings.losses({"": test}, width=None))
        views["changes"] = _untitled(_drawings.loss_changes({"": test}, width=None))
        sections.append(_words.range_test_section(test))
    if not isinstance(result, RangeTest) and (planned := _schedule(result)) is not None:
        views["schedule"] = _untitled(planned)
        sections.append(_words.schedule_section(result))
    return sections, views


def _schedule(result: Recommendation | Sweep) -> Spec | None:
    from learnrate import schedules

    plan = _code.plan_of(result)
    if plan is None or plan.custom or result.learning_rate is None:
        return None
    steps = plan.epochs * max(round(600 / plan.epochs), 1)
    made = schedules.by_name(plan.name, **plan.settings)(result.learning_rate, steps)
    return _drawings.schedule(made.values(), epochs=plan.epochs, width=None)


def _curves(result: Recommendation | Sweep | RangeTest, drawn: list[Trial]) -> dict[str, Any]:
    """Return what the page draws learning curves from: the descriptions, and the curves thinned."""
    if isinstance(result, RangeTest) or not drawn:
        return {"bases": [], "both": [], "curves": [], "trials": [], "order": [], "rates": [], "single": None}
    base = _curve_drawings.parts(result.metric)[0]
    known = _curve_drawings.reported(drawn)
    bases = sorted(known, key=lambda name: name != base)
    both = _curve_drawings.pair(drawn, bases[0])
    most = max(_MOST_DRAWN // sum(len(trial.curve.metrics) for trial in drawn), 8)
    return {
        "bases": bases,
        "both": [name for name in both if name is not None],
        "curves": [
            _untitled(_curve_drawings.overlay(drawn, name, rows=[], width=None, legend=False)) for name in bases
        ],
        "trials": [_thin(trial, most) for trial in drawn],
        "order": _curve_drawings.spread_order(len(drawn)),
        "rates": sorted({trial.learning_rate for trial in drawn}),
        "single": _untitled(_curve_drawings.single(drawn, both, [], width=None, legend=False)),
    }


def _thin(trial: Trial, most: int) -> dict[str, Any]:
    kept = _axes.places(len(trial.curve), most)
    metrics = {name: [_five(value) for value in curve[kept].tolist()] for name, curve in trial.curve.metrics.items()}
    return {
        "trial": trial.number,
        "rate": trial.learning_rate,
        "words": rate(trial.learning_rate),
        "fate": _curve_drawings.fate(trial),
        "epochs": [float(f"{epoch:.6g}") for epoch in trial.curve.epochs[kept].tolist()],
        "metrics": metrics,
    }


def _five(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _lines(result: Recommendation | Sweep | RangeTest) -> list[tuple[str, str, str]]:
    if isinstance(result, RangeTest) or result.learning_rate is None:
        return []
    if _code.takes_one_rate(result):
        return [("own", "Your script", _code.lines_for(result))]
    return [(name, title, _code.lines_for(result, name)) for name, title in _code.FRAMEWORKS.items()]


def _columns(result: Recommendation | Sweep | RangeTest, trials: list[Trial]) -> list[tuple[str, bool, bool]]:
    """Return the table's columns: title, whether a phone leaves it out, whether the table comes sorted by it."""
    if isinstance(result, RangeTest):
        return []
    columns = [("Learning rate", False, True), ("State", False, False), (result.metric, False, False)]
    columns += [("Best after", True, False), ("Epochs", True, False), ("Stage", True, False)]
    columns += [("Diagnosis", False, False)]
    columns += [("Other settings", True, False)] if any(_others(trial) for trial in trials) else []
    return [*columns, ("Time", True, False), ("Trial", True, False)]


def _row(trial: Trial, result: Recommendation | Sweep | RangeTest) -> dict[str, Any]:
    metric, mode = ("", "min") if isinstance(result, RangeTest) else (result.metric, result.mode)
    best = trial.curve.best(metric, mode) if metric in trial.curve.metrics else None
    diagnosis = trial.diagnosis
    says = "" if diagnosis is None else f"{diagnosis.evidence} {diagnosis.advice}"
    return {
        "rate": trial.learning_rate,
        "rate_words": rate(trial.learning_rate),
        "state": trial.state.value,
        "value": "" if trial.value is None else trial.value,
        "value_words": short(trial.value, 4),
        "best": "" if best is None else best.epoch,
        "best_words": "–" if best is None else short(best.epoch),
        "epochs": trial.epochs,
        "epochs_words": f"{trial.epochs:.3g} of {trial.horizon:.3g}" if trial.horizon else f"{trial.epochs:.3g}",
        "stage": trial.stage or "–",
        "verdict": "" if diagnosis is None else diagnosis.verdict.value,
        "says": " ".join(part for part in (trial.error, says) if part) or ("" if diagnosis else "–"),
        "others": _others(trial),
        "seconds": trial.seconds,
        "seconds_words": _words.duration(trial.seconds),
        "number": trial.number,
    }


def _others(trial: Trial) -> str:
    return ", ".join(f"{name} {value}" for name, value in trial.hyperparameters.items() if name != "learning_rate")


def _settings(result: Recommendation | Sweep | RangeTest) -> list[tuple[str, str]]:
    return [(name, _words.setting(value)) for name, value in {**result.settings, "seed": result.seed}.items()]


def _versions() -> list[tuple[str, str]]:
    """Return what is installed where the report is written."""
    found = [(name, _version(name)) for name in _VERSIONS]
    return [("Python", platform.python_version()), *((name, version) for name, version in found if version)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _compressed(result: Recommendation | Sweep | RangeTest) -> str:
    """Return the result as JSON, its curves to six digits, gzipped, in base64."""
    if not isinstance(result, RangeTest):
        trials = [msgspec.structs.replace(trial, curve=_rounded(trial.curve)) for trial in result.trials]
        result = msgspec.structs.replace(result, trials=trials)
    return base64.b64encode(gzip.compress(result.to_json().encode(), compresslevel=6, mtime=0)).decode()


def _rounded(curve: LearningCurve) -> LearningCurve:
    metrics = {name: np.array([float(f"{it:.6g}") for it in held.tolist()]) for name, held in curve.metrics.items()}
    return msgspec.structs.replace(curve, metrics=metrics)
