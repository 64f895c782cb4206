"""The page of a search: its best values, what matters, every trial by all its hyperparameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from learnrate._drawings import search_drawings
from learnrate._drawings.axes import has_point
from learnrate._numbers import short
from learnrate._pages import code, search_words, words
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
from learnrate.results import TrialState

if TYPE_CHECKING:
    from learnrate._drawings.axes import Spec
    from learnrate._watching.tally import AtWork
    from learnrate.results import Search, Trial

_ABOUT = "Every trial, the best first. Press one to find it in the charts; press a column's title to sort by it."


def content(result: Search, at_work: AtWork | None) -> Content:
    """Return what the page of a search is made of."""
    names = search_words.names_of(result)
    ranked = sorted(result.trials, key=lambda trial: _rank(trial, result))
    drawn = [trial for trial in ranked if trial.curve.metrics]
    charts, views = _charts(result, drawn)
    curves = curves_of(
        drawn,
        result.metric,
        by="trial",
        words=lambda trial: (f"Trial {trial.number}", f"Trial {trial.number}"),
        order=list(range(len(drawn))),
    )
    for held, trial in zip(curves["trials"], drawn, strict=True):
        if trial.state is TrialState.COMPLETE:
            held["fate"] = f"{result.metric} {short(trial.value, 3)}"
    curves["about"] = {trial.number: search_words.point_words(trial, names) for trial in result.trials}
    return Content(
        first=search_words.first_screen(result) if at_work is None else search_words.screen_at_work(result, at_work),
        code=_lines(result) if at_work is None else [],
        charts=charts,
        views=views,
        curves=curves,
        columns=_columns(result, names),
        rows=[_row(trial, result, names) for trial in ranked],
        about=_ABOUT,
    )


def _rank(trial: Trial, result: Search) -> tuple[bool, float, int]:
    known = trial.value is not None and math.isfinite(trial.value)
    value = (trial.value or 0.0) if known else 0.0
    return not known, value if result.mode == "min" else -value, trial.number


def _charts(result: Search, drawn: list[Trial]) -> tuple[list[dict[str, Any]], dict[str, Spec]]:
    """Return the page's chart sections, in their order, and the descriptions that need no data from the page."""
    views: dict[str, Spec] = {}
    drawable = any(has_point(trial) for trial in result.trials)
    slices = search_drawings.slices(result, width=None) if drawable else []
    views |= {f"slice-{place}": untitled(spec) for place, spec in enumerate(slices)}
    if result.importance:
        views["importance"] = untitled(search_drawings.importance(result, width=None))
    if slices:
        views["parallel"] = untitled(search_drawings.parallel(result, width=None))
    names = [axis.name for axis in search_drawings.dimensions(result)] if drawable else []
    sections = search_words.sections(result, names)
    if drawn:
        sections.append(words.curves_section(result))
    if (planned := schedule_spec(result)) is not None:
        views["schedule"] = planned
        sections.append(words.schedule_section(result))
    return sections, views


def _lines(result: Search) -> list[tuple[str, str, str]]:
    if not result.hyperparameters:
        return []
    if result.learning_rate is None:
        return [("own", "Your script", code.lines_for_values(result))]
    return [(name, title, code.lines_for_values(result, name)) for name, title in code.frameworks(result)]


def _columns(result: Search, names: list[str]) -> list[Column]:
    columns = [Column("Trial"), Column("State"), Column(result.metric, first=True), *(Column(name) for name in names)]
    columns += [Column("Best after", minor=True), Column("Epochs", minor=True), Column("Stage", minor=True)]
    columns += [Column("Diagnosis")] if _anything_said(result) else []
    return [*columns, Column("Time", minor=True)]


def _anything_said(result: Search) -> bool:
    return any(trial.diagnosis is not None or trial.error for trial in result.trials)


def _row(trial: Trial, result: Search, names: list[str]) -> Row:
    cells = [
        Cell("pick", str(trial.number), trial.number),
        state_cell(trial),
        value_cell(trial),
        *(_value_cell(trial.hyperparameters.get(name, "–")) for name in names),
        *course_cells(trial, result.metric, result.mode),
        *([says_cell(trial)] if _anything_said(result) else []),
        time_cell(trial),
    ]
    return Row(trial.number, trial.state.value, cells)


def _value_cell(value: Any) -> Cell:
    words = search_words.value_words(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return Cell("number", words, value)
    return Cell("text", words)
