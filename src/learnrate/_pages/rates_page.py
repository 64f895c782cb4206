"""The page of a result about learning rates: a recommendation, a sweep, or a range test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from learnrate._drawings import curve_drawings, rate_drawings
from learnrate._drawings.axes import has_point
from learnrate._numbers import rate
from learnrate._pages import code, words
from learnrate._pages.page_parts import (
    Cell,
    Column,
    Content,
    Row,
    course_cells,
    curves_of,
    says_cell,
    schedule_spec,
    state_cell,
    time_cell,
    untitled,
    value_cell,
)
from learnrate.results import RangeTest, Recommendation, Sweep, Trial

if TYPE_CHECKING:
    from learnrate._drawings.axes import Spec
    from learnrate._watching.tally import AtWork

_ABOUT = "Every training, with what its learning curve says. Press a learning rate to find it in the charts."


def content(result: Recommendation | Sweep | RangeTest, at_work: AtWork | None) -> Content:
    """Return what the page of a result about learning rates is made of."""
    trials = sorted(_trainings(result), key=_by_rate)
    drawn = [trial for trial in trials if trial.curve.metrics]
    charts, views = _charts(result, drawn)
    return Content(
        first=words.first_screen(result) if at_work is None else words.screen_at_work(result, at_work),
        code=_lines(result) if at_work is None else [],
        charts=charts,
        views=views,
        curves=curves_of(
            drawn,
            result.metric,
            by="rate",
            words=lambda trial: (curve_drawings.name(trial), f"Learning rate {curve_drawings.name(trial)}"),
            order=curve_drawings.spread_order(len(drawn)),
        ),
        columns=_columns(result, trials),
        rows=[] if isinstance(result, RangeTest) else [_row(trial, result, trials) for trial in trials],
        about=_ABOUT,
        schedules=words.schedule_rows(result),
    )


def _trainings(result: Recommendation | Sweep | RangeTest) -> list[Trial]:
    if isinstance(result, RangeTest):
        return []
    return result.trainings if isinstance(result, Recommendation) else result.trials


def _by_rate(trial: Trial) -> tuple[float, int]:
    return trial.learning_rate, trial.number


def _charts(
    result: Recommendation | Sweep | RangeTest, drawn: list[Trial]
) -> tuple[list[dict[str, Any]], dict[str, Spec]]:
    """Return the page's chart sections, in their order, and the descriptions that need no data from the page."""
    sections: list[dict[str, Any]] = []
    views: dict[str, Spec] = {}
    if not isinstance(result, RangeTest):
        if any(has_point(trial) for trial in result.trials):
            views["response"] = untitled(rate_drawings.response(result, width=None))
            sections.append(words.response_section(result))
        if drawn:
            sections.append(words.curves_section(result))
    if isinstance(result, RangeTest):
        views["losses"] = untitled(rate_drawings.losses({"": result}, width=None))
        views["changes"] = untitled(rate_drawings.loss_changes({"": result}, width=None))
        sections.append(words.range_test_section(result))
    if not isinstance(result, RangeTest) and (planned := schedule_spec(result)) is not None:
        views["schedule"] = planned
        sections.append(words.schedule_section(result))
    return sections, views


def _lines(result: Recommendation | Sweep | RangeTest) -> list[tuple[str, str, str]]:
    if isinstance(result, RangeTest) or result.learning_rate is None:
        return []
    if code.takes_one_rate(result):
        return [("own", "Your script", code.lines_for(result))]
    return [(name, title, code.lines_for(result, name)) for name, title in code.frameworks(result)]


def _columns(result: Recommendation | Sweep | RangeTest, trials: list[Trial]) -> list[Column]:
    columns = [Column("Learning rate", first=True), Column("State"), Column(result.metric)]
    columns += [Column("Best after", minor=True), Column("Epochs", minor=True), Column("Stage", minor=True)]
    columns += [Column("Diagnosis")]
    columns += [Column("Other settings", minor=True)] if any(_others(trial) for trial in trials) else []
    return [*columns, Column("Time", minor=True), Column("Trial", minor=True)]


def _row(trial: Trial, result: Recommendation | Sweep, trials: list[Trial]) -> Row:
    others = [Cell("text", _others(trial))] if any(_others(one) for one in trials) else []
    cells = [
        Cell("pick", rate(trial.learning_rate), trial.learning_rate),
        state_cell(trial),
        value_cell(trial),
        *course_cells(trial, result.metric, result.mode),
        says_cell(trial),
        *others,
        time_cell(trial),
        Cell("number", str(trial.number), trial.number),
    ]
    return Row(trial.learning_rate, trial.state.value, cells)


def _others(trial: Trial) -> str:
    return ", ".join(f"{name} {value}" for name, value in trial.hyperparameters.items() if name != "learning_rate")
