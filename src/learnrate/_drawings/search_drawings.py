"""What a search looks like, as Vega-Lite descriptions; hyperparameters are values, not fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from learnrate._drawings.axes import (
    BLUE,
    GREEN,
    GREY,
    NUMBER_LABEL,
    PICKED,
    STATES,
    WIDTH,
    Domain,
    Rows,
    Spec,
    has_point,
    rates,
    sized,
    titled,
    unpicked,
    values,
)
from learnrate._numbers import percent, short
from learnrate._pages.search_words import names_of, point_words, value_words
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate.results import Search, Trial

_WIDE = 30.0
"""How many times the smallest value the largest is where a log axis reads better."""
_USUAL = 8
"""Trials from which on an axis is fitted to the better ones: a few bad ones would press those together."""
_LEAST_SHARE = 0.005


class Dimension(NamedTuple):
    """A hyperparameter as an axis: its name, the values that have been tried in order, and the scale."""

    name: str
    labels: list[str]
    low: float
    high: float
    log: bool

    @property
    def nominal(self) -> bool:
        """Whether its values have no order: texts, lists, and a mixture with numbers."""
        return bool(self.labels)

    def place(self, value: Any) -> float | None:
        """Return where a value stands between the two ends, 0 to 1; None where the trial has none."""
        if self.nominal:
            words = value_words(value)
            return (self.labels.index(words) + 0.5) / len(self.labels) if words in self.labels else None
        if not _is_number(value):
            return None
        return (self._seen(value) - self._seen(self.low)) / ((self._seen(self.high) - self._seen(self.low)) or 1.0)

    def _seen(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


def dimensions(result: Search) -> list[Dimension]:
    """Return the hyperparameters of a search as axes, over the values that were tried."""
    found: list[Dimension] = []
    for name in names_of(result):
        held = [trial.hyperparameters[name] for trial in result.trials if name in trial.hyperparameters]
        described: dict[str, Any] = result.settings.get("space", {}).get(name, {})
        numbers = [float(value) for value in held if _is_number(value)]
        few = described.get("kind") == "choice" and len(set(numbers)) < _USUAL
        if len(numbers) < len(held) or not numbers or few:
            ordered = sorted(held) if len(numbers) == len(held) else [*described.get("values", []), *held]
            tried = {value_words(value) for value in held}
            labels = dict.fromkeys(words for words in map(value_words, ordered) if words in tried)
            found.append(Dimension(name, list(labels), 0.0, 1.0, log=False))
            continue
        low, high = float(described.get("low", min(numbers))), float(described.get("high", max(numbers)))
        low, high = min(low, *numbers), max(high, *numbers)
        scaled = described.get("kind") == "log_uniform" or bool(described.get("log"))
        log = low > 0 and (scaled or ("kind" not in described and high > _WIDE * low))
        found.append(Dimension(name, [], low, high, log))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def importance(result: Search, *, width: int | None = WIDTH) -> Spec:
    """Draw the share of each hyperparameter in reaching the best trials, the largest first."""
    rows: Rows = [
        {"name": name, "share": share, "words": percent(share) if share >= _LEAST_SHARE else "0 %"}
        for name, share in result.importance.items()
    ]
    x: Spec = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1.08 * max(result.importance.values())]},
    }
    name: Spec = {"field": "name", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 160}}
    bars: Spec = {
        "mark": {"type": "bar", "color": BLUE},
        "encoding": {
            "x": x | {"axis": {"title": "measured importance", "format": "%", "tickCount": 5}},
            "tooltip": [{"field": "name", "title": "hyperparameter"}, {"field": "words", "title": "importance"}],
        },
    }
    told: Spec = {
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {"x": x, "text": {"field": "words"}},
    }
    spec: Spec = {"data": {"values": rows}, "encoding": {"y": name}, "layer": [bars, told]}
    return titled(sized(spec, width, 24 * max(len(rows), 1)), "measured importance")


def slices(result: Search, *, width: int | None = WIDTH, height: int = 160) -> list[Spec]:
    """Draw the metric against each hyperparameter: every trial by its state, the best one green and larger."""
    y = metric_axis(result)
    return [_slice(result, each, y, width, height) for each in dimensions(result)]


def metric_axis(result: Search) -> Domain:
    """Return the metric's axis, fitted to the better trials where there are many; the rest stands at its end."""
    calm = [trial for trial in result.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    seen = sorted(
        (trial.value for trial in calm if trial.value is not None and math.isfinite(trial.value)),
        reverse=result.mode == "max",
    )
    if len(seen) >= _USUAL:
        reach = 4 * abs(seen[len(seen) // 2] - seen[0])
        seen = [value for value in seen if abs(value - seen[0]) <= reach]
    return values([trial.value for trial in result.trials], seen)


def _slice(result: Search, axis: Dimension, y: Domain, width: int | None, height: int) -> Spec:
    rows: Rows = []
    for trial in result.trials:
        if axis.name not in trial.hyperparameters or not has_point(trial):
            continue
        held = trial.hyperparameters[axis.name]
        row = _row(trial, result, y)
        rows.append(row | {"at": value_words(held) if axis.nominal else held, "words": value_words(held)})
    x: Spec = {"field": "at", "type": "nominal", "sort": axis.labels, "axis": {"title": axis.name, "labelAngle": 0}}
    if not axis.nominal:
        x = _number_channel(axis)
    present = [state for state in STATES if any(trial.state is state for trial in result.trials)]
    looks = {state.value: STATES[state] for state in present}
    colours = {"domain": ["best", *looks], "range": [GREEN, *(colour for colour, _ in looks.values())]}
    shapes = {"domain": ["best", *looks], "range": ["circle", *(shape for _, shape in looks.values())]}
    spec: Spec = {
        "params": [PICKED],
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "cursor": "pointer"},
        "encoding": {
            "x": x,
            "y": y.channel("shown", result.metric, tickCount=5),
            "color": {"field": "look", "type": "nominal", "scale": colours, "legend": None},
            "shape": {"field": "look", "type": "nominal", "scale": shapes, "legend": None},
            "opacity": unpicked("trial", otherwise=0.8),
            "size": {"condition": {"test": "datum.look === 'best'", "value": 130}, "value": 50},
            "order": {"field": "rank", "type": "quantitative"},
            "tooltip": _TOOLTIP,
        },
    }
    return titled(sized(spec, width, height), axis.name)


def _number_channel(axis: Dimension) -> Spec:
    if axis.log:
        ends = rates([axis.low, axis.high])
        return ends.channel("at", axis.name, labelExpr=NUMBER_LABEL)
    margin = 0.03 * (axis.high - axis.low) or 0.5
    scale: Spec = {"domain": [axis.low - margin, axis.high + margin], "nice": False, "zero": False}
    look: Spec = {"title": axis.name, "tickCount": 5, "labelOverlap": True, "labelExpr": NUMBER_LABEL}
    return {"field": "at", "type": "quantitative", "scale": scale, "axis": look}


_TOOLTIP: list[Spec] = [
    {"field": "trial", "title": "trial"},
    {"field": "point", "title": "with"},
    {"field": "value", "title": "value"},
    {"field": "state", "title": "state"},
]


def _row(trial: Trial, result: Search, y: Domain) -> dict[str, Any]:
    worst = y.high if result.mode == "min" else y.low
    best = is_best(trial, result)
    return {
        "trial": trial.number,
        "shown": y.within(trial.value, worst),
        "value": short(trial.value, 4),
        "state": trial.state.value,
        "look": "best" if best else trial.state.value,
        "rank": 1 if best else 0,
        "point": point_words(trial, names_of(result)),
    }


def is_best(trial: Trial, result: Search) -> bool:
    """Return whether this is the trial that won."""
    return result.value is not None and trial.value == result.value and trial.state is TrialState.COMPLETE


def parallel(result: Search, *, width: int | None = WIDTH) -> Spec:
    """Draw a line a trial through its value of each hyperparameter, to its metric: the better, the higher."""
    axes, y = dimensions(result), metric_axis(result)
    names = [axis.name for axis in axes]
    names.append(result.metric if result.metric not in names else f"{result.metric} reached")
    done = [trial for trial in result.trials if trial.value is not None and math.isfinite(trial.value)]
    ranked = sorted(done, key=lambda trial: trial.value or 0.0, reverse=result.mode == "min")
    rows: Rows = []
    for rank, trial in enumerate(ranked):  # the best come last, on top
        about = _row(trial, result, y)
        strength = 0.25 + 0.6 * ((rank + 1) / len(ranked)) ** 3
        places = [(axis.name, axis.place(trial.hyperparameters.get(axis.name))) for axis in axes]
        reached: float = (about["shown"] - y.low) / ((y.high - y.low) or 1.0)
        places.append((names[-1], 1 - reached if result.mode == "min" else reached))
        rows += [
            {key: about[key] for key in ("trial", "value", "state", "point")}
            | {"name": name, "place": place, "strength": 1.0 if about["rank"] else strength, "best": about["rank"]}
            for name, place in places
            if place is not None
        ]
    crowded = f"width < {95 * len(names)}"
    x: Spec = {
        "field": "name",
        "type": "nominal",
        "scale": {"type": "point", "domain": names, "padding": 0.5},
        "axis": {
            "title": None,
            "labelAngle": {"expr": f"{crowded} ? -40 : 0"},
            "labelAlign": {"expr": f"{crowded} ? 'right' : 'center'"},
            "labelLimit": 110,
            "domain": False,
            "ticks": False,
            "labelPadding": 6,
        },
    }
    height: Spec = {"field": "place", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": None}
    lines: Spec = {
        "data": {"values": rows},
        "mark": {"type": "line", "cursor": "pointer", "clip": True},
        "encoding": {
            "x": x,
            "y": height,
            "detail": {"field": "trial"},
            "color": {"condition": {"test": "datum.best === 1", "value": GREEN}, "value": BLUE},
            "strokeWidth": {"condition": {"test": "datum.best === 1", "value": 3}, "value": 1.4},
            "opacity": {
                "condition": [
                    {"test": "datum.trial === picked", "value": 1},
                    {"test": "isValid(picked)", "value": 0.06},
                ],
                "field": "strength",
                "type": "quantitative",
                "scale": None,
                "legend": None,
            },
            "tooltip": _TOOLTIP,
        },
    }
    rules: Spec = {
        "data": {"values": [{"name": name} for name in names]},
        "mark": {"type": "rule", "color": GREY, "opacity": 0.5},
        "encoding": {"x": x},
    }
    ticks: Spec = {
        "data": {"values": _ticks(axes, names[-1], y, result)},
        "mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 10},
        "encoding": {"x": x, "y": height, "text": {"field": "label"}},
    }
    spec: Spec = {"params": [PICKED], "layer": [rules, lines, ticks]}
    return titled(sized(spec, width, 260), "every trial, from its hyperparameters to what it reached")


def _ticks(axes: Sequence[Dimension], reached: str, y: Domain, result: Search) -> Rows:
    rows: Rows = []
    for axis in axes:
        if axis.nominal:
            shown = axis.labels[:: max(len(axis.labels) // 8, 1)]
            places = [((axis.labels.index(label) + 0.5) / len(axis.labels), label[:14]) for label in shown]
        else:
            places = [(0.02, short(axis.low, 2)), (0.98, short(axis.high, 2))]
        rows += [{"name": axis.name, "place": at, "label": label} for at, label in places]
    worst, end = (y.high, y.low) if result.mode == "min" else (y.low, y.high)
    best = end if result.value is None else y.within(result.value, worst)
    places = [(0.02, worst), ((best - worst) / ((end - worst) or 1.0), best)]
    return [*rows, *({"name": reached, "place": at, "label": short(value, 2)} for at, value in places)]
