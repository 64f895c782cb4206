"""What the pages of all results share: learning curves thinned, the schedule, the cells of the table of trials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from learnrate._drawings import axes, curve_drawings, rate_drawings
from learnrate._numbers import duration, short
from learnrate._pages import code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from learnrate._drawings.axes import Spec
    from learnrate.results import Recommendation, Search, Sweep, Trial

_MOST_DRAWN = 50_000  # numbers: each curve keeps a dozen points of a thousand trials with four metrics


class Content(NamedTuple):
    """What a result's page is made of, beside what all pages have."""

    first: dict[str, Any]
    """Headline, lede, facts and caution."""
    code: list[tuple[str, str, str]]
    """The lines to paste: an identifier, a title and the lines of each tab."""
    charts: list[dict[str, Any]]
    views: dict[str, Spec]
    curves: dict[str, Any]
    columns: list[Column]
    rows: list[Row]
    about: str = ""
    """What stands above the table of trials."""
    schedules: list[list[str]] = []  # noqa: RUF012  # never changed


class Column(NamedTuple):
    """A column of the table: its title, whether a phone leaves it out, whether the table comes sorted by it."""

    title: str
    minor: bool = False
    first: bool = False


class Cell(NamedTuple):
    """A cell: its kind ("pick", "state", "number", "says" or "text"), its words, and what it is sorted by."""

    kind: str
    words: str
    sort: float | str | None = None
    verdict: str = ""


class Row(NamedTuple):
    """A trial's row: what is picked with it, its state, and its cells."""

    pick: float
    state: str
    cells: list[Cell]


def untitled(spec: Spec) -> Spec:
    """Return a description without its title: the page has a heading of its own."""
    return {key: value for key, value in spec.items() if key != "title"}


def schedule_spec(result: Recommendation | Sweep | Search) -> Spec | None:
    """Draw the schedule that was used; None where it is not known, or where a function makes its own."""
    from learnrate import schedules

    plan = code.plan_of(result)
    if plan is None or plan.custom or result.learning_rate is None or (plan.steady and code.takes_one_rate(result)):
        return None
    steps = plan.epochs * max(round(600 / plan.epochs), 1)
    made = schedules.by_name(plan.name, **plan.settings)(result.learning_rate, steps)
    return untitled(rate_drawings.schedule(made.values(), epochs=plan.epochs, width=None))


NO_CURVES: dict[str, Any] = {
    "bases": [], "both": [], "notes": [], "curves": [], "trials": [], "order": [], "picks": [], "by": "rate",
    "single": None,
}  # fmt: skip


def curves_of(
    drawn: Sequence[Trial], metric: str, *, by: str, words: Callable[[Trial], tuple[str, str]], order: list[int]
) -> dict[str, Any]:
    """Return what the page draws learning curves from: the descriptions, and the curves thinned.

    Args:
        drawn: The trials that have curves.
        metric: The deciding metric.
        by: What the reader picks: a "rate" or a "trial".
        words: Names what is picked with a trial, above its small chart and in full.
        order: The places of the trials in the order of their small charts.
    """
    if not drawn:
        return NO_CURVES | {"by": by}
    base = curve_drawings.parts(metric)[0]
    bases = sorted(curve_drawings.reported(drawn), key=lambda name: name != base)
    both = curve_drawings.pair(drawn, bases[0])
    most = max(_MOST_DRAWN // sum(len(trial.curve.metrics) for trial in drawn), 8)
    return {
        "bases": bases,
        "both": [name for name in both if name is not None],
        "notes": [curve_drawings.curve_values(drawn, name).note for name in both if name is not None],
        "curves": [
            untitled(curve_drawings.overlay(drawn, name, rows=[], width=None, legend=False, by=by)) for name in bases
        ],
        "trials": [_thin(trial, most) | dict(zip(("short", "words"), words(trial), strict=True)) for trial in drawn],
        "order": order,
        "by": by,
        "picks": sorted({trial.number if by == "trial" else trial.learning_rate for trial in drawn}),
        "single": untitled(curve_drawings.single(drawn, both, [], width=None, legend=False)),
    }


def _thin(trial: Trial, most: int) -> dict[str, Any]:
    kept = axes.places(len(trial.curve), most)
    metrics = {name: [_five(value) for value in curve[kept].tolist()] for name, curve in trial.curve.metrics.items()}
    return {
        "trial": trial.number,
        "rate": trial.learning_rate if math.isfinite(trial.learning_rate) else None,
        "fate": curve_drawings.fate(trial),
        "epochs": [float(f"{epoch:.6g}") for epoch in trial.curve.epochs[kept].tolist()],
        "metrics": metrics,
    }


def _five(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def state_cell(trial: Trial) -> Cell:
    """Return a trial's state."""
    return Cell("state", trial.state.value)


def value_cell(trial: Trial) -> Cell:
    """Return what a trial reached, with its standard error where it has folds."""
    error = "" if trial.standard_error is None else f" ± {short(trial.standard_error, 2)}"
    return Cell("number", short(trial.value, 4) + error, trial.value)


def course_cells(trial: Trial, metric: str, mode: Any) -> list[Cell]:
    """Return after how many epochs a trial was at its best, how far it came, and in which stage of the work."""
    best = trial.curve.best(metric, mode) if metric in trial.curve.metrics else None
    epochs = f"{trial.epochs:.3g} of {trial.horizon:.3g}" if trial.horizon else f"{trial.epochs:.3g}"
    return [
        Cell("number", "–" if best is None else short(best.epoch), None if best is None else best.epoch),
        Cell("number", epochs, trial.epochs),
        Cell("text", trial.stage or "–"),
    ]


def says_cell(trial: Trial) -> Cell:
    """Return what a trial's learning curve says, and its error where it has failed."""
    diagnosis = trial.diagnosis
    says = "" if diagnosis is None else f"{diagnosis.evidence} {diagnosis.advice}"
    words = " ".join(part for part in (trial.error, says) if part) or ("" if diagnosis else "–")
    return Cell("says", words, verdict="" if diagnosis is None else diagnosis.verdict.value)


def time_cell(trial: Trial) -> Cell:
    """Return how long a trial took."""
    return Cell("number", duration(trial.seconds), trial.seconds)
