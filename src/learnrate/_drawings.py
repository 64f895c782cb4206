"""What the charts look like: Vega-Lite descriptions of results, which `charts` and the report show.

A description is plain JSON, so that pages and pictures share one drawing. Fields have fixed names; the names of
metrics are values: a dot or a bracket in a field's name draws nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from learnrate._axes import (
    BLUE,
    GREEN,
    GREY,
    PICKED,
    PURPLE,
    RATE_LABEL,
    VERMILLION,
    Domain,
    Flag,
    Rows,
    Spec,
    flag_layers,
    picked_rule,
    rate_channel,
    rates,
    titled,
    unpicked,
    values,
)
from learnrate.results import Recommendation, Response, Sweep, Trial, TrialState, rate, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from learnrate.curves import Array
    from learnrate.results import RangeTest

_STATES = {
    TrialState.COMPLETE: (BLUE, "circle"),
    TrialState.PRUNED: (GREY, "triangle-down"),
    TrialState.DIVERGED: (VERMILLION, "cross"),
    TrialState.FAILED: (PURPLE, "square"),
    TrialState.RUNNING: (GREEN, "diamond"),
}
# From low to high rates, as blue to orange, which every eye tells apart; each readable on white and on near-black.
_LOW_TO_HIGH = ["#7a5fc0", BLUE, "#008f8a", "#6f8f1f", "#c07a00", "#d0430f"]
_CALM = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def response(answer: Recommendation | Sweep) -> Spec:
    """Draw the metric against the learning rate: bowl, interval, cliff, and every trial by its state."""
    recommended = isinstance(answer, Recommendation)
    bowl = answer.response if recommended else None
    flags = _response_flags(answer)
    trained = [trial.learning_rate for trial in answer.trials]
    x = rates([*trained, *(flag.rate for flag in flags), *([] if bowl is None else bowl.learning_rates.tolist())])
    seen = [trial.value for trial in answer.trials]
    fitted: list[float] = [] if bowl is None else bowl.values.tolist()
    whole = [trial.value for trial in answer.trials if trial.state in _CALM and trial.epochs >= answer.horizon]
    y = values([*seen, *fitted], calm=[*whole, *fitted])
    layers = [] if bowl is None else _bowl(bowl, x, y, answer.metric)
    if recommended and answer.interval is not None:
        layers.insert(0, _interval(answer.interval, x))
    layers += [picked_rule(x), _points(answer, x, y), *flag_layers(flags, x)]
    spec: Spec = {"params": [PICKED], "layer": layers, "width": 640, "height": 300}
    return titled(spec, f"{answer.metric} against learning rate")


def _response_flags(answer: Recommendation | Sweep) -> list[Flag]:
    flags: list[Flag] = []
    if answer.learning_rate is not None:
        flags.append(Flag(answer.learning_rate, f"best: {rate(answer.learning_rate)}", GREEN))
    if isinstance(answer, Recommendation):
        cliff, yours = answer.largest_stable_learning_rate, answer.yours
        if cliff is not None:
            flags.append(Flag(cliff, f"breaks above {rate(cliff)}", VERMILLION, (6, 3)))
        if yours is not None:
            flags.append(Flag(yours.learning_rate, f"yours: {rate(yours.learning_rate)}", PURPLE, (2, 3)))
    return flags


def _interval(interval: tuple[float, float], x: Domain) -> Spec:
    low, high = interval
    return {
        "data": {"values": [{"rate": low, "end": high, "what": f"within 1 %: {rate(low)} to {rate(high)}"}]},
        "mark": {"type": "rect", "color": GREEN, "opacity": 0.16},
        "encoding": {
            "x": rate_channel(x),
            "x2": {"field": "end"},
            "tooltip": {"field": "what", "title": "good"},
        },
    }


def _bowl(bowl: Response, x: Domain, y: Domain, metric: str) -> list[Spec]:
    columns = zip(
        bowl.learning_rates.tolist(), bowl.values.tolist(), bowl.low.tolist(), bowl.high.tolist(), strict=True
    )
    rows = [
        {"rate": at, "value": value, "low": y.within(low, value), "high": y.within(high, value)}
        for at, value, low, high in columns
        if at > 0 and math.isfinite(value)
    ]
    data = {"values": rows}
    height = y.channel("low", metric)
    return [
        {
            "data": data,
            "mark": {"type": "area", "color": BLUE, "opacity": 0.15, "clip": True},
            "encoding": {"x": rate_channel(x), "y": height, "y2": {"field": "high"}},
        },
        {
            "data": data,
            "mark": {"type": "line", "color": BLUE, "strokeWidth": 2, "clip": True},
            "encoding": {"x": rate_channel(x), "y": y.channel("value", metric)},
        },
    ]


def _points(answer: Recommendation | Sweep, x: Domain, y: Domain) -> Spec:
    worst = y.high if answer.mode == "min" else y.low
    rows: Rows = [
        {
            "trial": trial.number,
            "rate": trial.learning_rate,
            "shown": y.within(trial.value, worst),
            "state": trial.state.value,
            "words": f"{rate(trial.learning_rate)}",
            "value": short(trial.value, 4),
            "epochs": f"{trial.epochs:g}",
            "stage": trial.stage or "–",
        }
        for trial in answer.trials
        if trial.learning_rate > 0
    ]
    present = [state for state in _STATES if any(trial.state is state for trial in answer.trials)]
    names = [state.value for state in present]
    colours, shapes = [_STATES[state][0] for state in present], [_STATES[state][1] for state in present]
    tooltip = [("words", "learning rate"), ("value", answer.metric), ("state", "state"), ("epochs", "epochs trained")]
    tooltip += [("stage", "stage"), ("trial", "trial")]
    return {
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "size": 80, "cursor": "pointer"},
        "encoding": {
            "x": rate_channel(x),
            "y": y.channel("shown", answer.metric),
            "color": {"field": "state", "type": "nominal", "scale": {"domain": names, "range": colours}, "title": None},
            "shape": {"field": "state", "type": "nominal", "scale": {"domain": names, "range": shapes}, "title": None},
            "opacity": unpicked(otherwise=0.9),
            "tooltip": [{"field": field, "title": title} for field, title in tooltip],
        },
    }


def parts(metric: str) -> tuple[str, str]:
    """Return a metric's training name and validation name: "val_loss" and "loss" both give ("loss", "val_loss")."""
    base = metric.removeprefix("val_")
    return base, f"val_{base}"


def reported(trials: Sequence[Trial]) -> list[str]:
    """Return the metrics that the trials reported, without `val_`, in their order."""
    return list(dict.fromkeys(parts(name)[0] for trial in trials for name in trial.curve.metrics))


def curve_rows(trials: Sequence[Trial], metrics: Sequence[str], *, most: int = 40_000) -> Rows:
    """Return training and validation curves a finite point a row, thinned to about `most` rows in all."""
    names = [name for metric in metrics for name in parts(metric)]
    series = [(trial, name) for trial in trials for name in names if name in trial.curve.metrics]
    each = max(most // max(len(series), 1), 8)
    return [
        {
            "trial": trial.number,
            "rate": _known(trial.learning_rate),
            "metric": parts(name)[0],
            "epoch": epoch,
            "value": value,
        }
        | {"part": "validation" if name.startswith("val_") else "training"}
        for trial, name in series
        for epoch, value in zip(*thinned(trial.curve.epochs, trial.curve.metrics[name], most=each), strict=True)
        if math.isfinite(value)
    ]


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def thinned(epochs: Array, curve: Array, *, most: int) -> tuple[list[float], list[float]]:
    """Return at most `most` rows of a curve: evenly spread ones, with the first and the last."""
    kept = places(len(epochs), most)
    return epochs[kept].tolist(), curve[kept].tolist()


def places(length: int, most: int) -> list[int]:
    """Return at most `most` places out of `length`, evenly spread, the first and the last among them."""
    spread = np.linspace(0, length - 1, min(most, length)).round()
    return [int(place) for place in np.unique(spread)]


def curve_values(trials: Sequence[Trial], metric: str) -> Domain:
    """Return the axis of a metric's curves, fitted to the trials that did not diverge."""

    def of(chosen: Iterable[Trial]) -> list[float]:
        held = [trial.curve.metrics for trial in chosen]
        return [value for it in held for name in parts(metric) if name in it for value in it[name].tolist()]

    return values(of(trials), of(trial for trial in trials if trial.state in _CALM))


def _epoch_channel(trials: Sequence[Trial]) -> Spec:
    last = max((float(trial.curve.epochs[-1]) for trial in trials if len(trial.curve)), default=1.0)
    scale = {"domain": [0, max(last, 1e-9)], "nice": False}
    return {"field": "epoch", "type": "quantitative", "scale": scale, "axis": {"title": "epoch", "tickCount": 6}}


_PART: Spec = {
    "field": "part",
    "type": "nominal",
    "title": None,
    "scale": {"domain": ["validation", "training"], "range": [[1, 0], [4, 3]]},
    "legend": {"symbolType": "stroke", "symbolStrokeColor": GREY, "symbolSize": 300},
}
_TOOLTIP: list[Spec] = [
    {"field": "rate", "type": "quantitative", "title": "learning rate", "format": ".2~e"},
    {"field": "metric", "title": "metric"},
    {"field": "part", "title": "on"},
    {"field": "epoch", "type": "quantitative", "title": "epoch", "format": "~g"},
    {"field": "value", "type": "quantitative", "title": "value", "format": ".4~g"},
]


def overlay(trials: Sequence[Trial], metric: str, *, rows: Rows | None = None) -> Spec:
    """Draw one metric's curves of all trials on one chart: validation solid, training dashed.

    `rows` are drawn where they are given; else `curve_rows` are made.
    """
    base = parts(metric)[0]
    y = curve_values(trials, metric)
    known = sorted({trial.learning_rate for trial in trials})
    few = known if len(known) <= 10 else [known[round(i * (len(known) - 1) / 7)] for i in range(8)]
    domain = rates(known)
    ends = [known[0], known[-1]] if len(known) > 1 else [domain.low, domain.high]
    colour: Spec = {
        "field": "rate",
        "type": "quantitative",
        "title": "learning rate",
        "scale": {"type": "log", "domain": ends, "range": _LOW_TO_HIGH, "interpolate": "lab"},
        "legend": {
            "type": "symbol",
            "values": few,
            "labelExpr": RATE_LABEL,
            "symbolType": "stroke",
            "columns": 5,
            "symbolStrokeWidth": 2,
        },
    }
    lines: Spec = {
        "mark": {"type": "line", "clip": True, "strokeWidth": 1.8, "cursor": "pointer"},
        "encoding": {"strokeDash": _PART, "opacity": unpicked(otherwise=0.85 if len(trials) <= 50 else 0.4)},
    }
    ended: Spec = {
        "data": {"values": _breaks(trials, base, y)},
        "mark": {"type": "point", "shape": "cross", "filled": True, "size": 70},
        "encoding": {"opacity": unpicked(), "tooltip": [*_TOOLTIP[:1], {"field": "what", "title": "state"}]},
    }
    spec: Spec = {
        "params": [PICKED],
        "data": {"values": curve_rows(trials, [base]) if rows is None else rows},
        "encoding": {
            "x": _epoch_channel(trials),
            "y": y.channel("value", base),
            "color": colour,
            "detail": {"field": "trial"},
            "tooltip": _TOOLTIP,
        },
        "layer": [lines, ended],
        "width": 640,
        "height": 300,
    }
    return titled(spec, f"{base}: validation and training")


def _breaks(trials: Sequence[Trial], base: str, y: Domain) -> Rows:
    """Return where diverged trials were last seen."""
    rows: Rows = []
    for trial in trials:
        names = [name for name in reversed(parts(base)) if name in trial.curve.metrics]
        if trial.state is not TrialState.DIVERGED or not names:
            continue
        curve = trial.curve.metrics[names[0]]
        seen = np.flatnonzero(np.isfinite(curve))
        if seen.size:
            at = {"epoch": float(trial.curve.epochs[seen[-1]]), "value": y.within(float(curve[seen[-1]]), y.high)}
            rows.append({"trial": trial.number, "rate": trial.learning_rate, "what": "diverged", **at})
    return rows


class Pair(NamedTuple):
    """The two metrics of a small chart, on its left and on its right axis; `right` may be missing."""

    left: str
    right: str | None


def pair(trials: Sequence[Trial], metric: str) -> Pair:
    """Choose the deciding metric for the left axis and, for the right, the loss or else what is not a loss."""
    left = parts(metric)[0]
    others = [name for name in reported(trials) if name != left]
    return Pair(left, next((name for name in others if "loss" in name), others[0] if others else None))


def single(trials: Sequence[Trial], both: Pair, rows: Rows, *, width: int = 190, height: int = 130) -> Spec:
    """Draw one trial's curves: one metric on each axis, validation solid, training dashed; axes fit all `trials`."""
    layers: list[Spec] = []
    for metric, colour, side in ((both.left, BLUE, "left"), (both.right, VERMILLION, "right")):
        if metric is None:
            continue
        y = curve_values(trials, metric)
        shown = y.channel("value", metric, orient=side, titleColor=colour, grid=side == "left", tickCount=4)
        layers.append(
            {
                "transform": [{"filter": {"field": "metric", "equal": metric}}],
                "mark": {"type": "line", "color": colour, "clip": True, "strokeWidth": 1.8},
                "encoding": {"x": _epoch_channel(trials), "y": shown, "strokeDash": _PART, "tooltip": _TOOLTIP},
            }
        )
    return {
        "data": {"values": rows},
        "layer": layers,
        "resolve": {"scale": {"y": "independent"}},
        "width": width,
        "height": height,
    }


def small_multiples(trials: Sequence[Trial], metric: str, *, most: int = 12, columns: int = 3) -> Spec:
    """Draw one small chart a trial, by learning rate; of many trials, `most` spread evenly over the rates."""
    by_rate = sorted(trials, key=lambda trial: (trial.learning_rate, trial.number))
    spread = [by_rate[at] for at in places(len(by_rate), most)]
    both = pair(trials, metric)
    names = [name for name in both if name is not None]
    charts = [titled(single(trials, both, curve_rows([trial], names)), label(trial)) for trial in spread]
    spec: Spec = {"concat": charts, "columns": columns}
    if len(spread) < len(trials):
        spec["title"] = f"{len(spread)} of {len(trials)} trainings, spread over the learning rates"
    return spec


def spread_order(count: int, first: int = 12) -> list[int]:
    """Return the places of `count` things, a first few spread evenly over all, then the rest in their order."""
    few = places(count, first)
    return [*few, *(at for at in range(count) if at not in set(few))]


def label(trial: Trial) -> str:
    """Return what stands above a trial's chart: its rate, and what became of it."""
    return f"{rate(trial.learning_rate)}: {fate(trial)}"


def fate(trial: Trial) -> str:
    """Return what became of a trial: its diagnosis or, where it has none, its state."""
    return trial.state.value if trial.diagnosis is None else trial.diagnosis.verdict.value


def losses(tests: Mapping[str, RangeTest]) -> Spec:
    """Draw the loss of range tests over the learning rate: as it came, faint, and smoothed."""
    x = _test_rates(tests)
    y = _test_values(tests, "smoothed", "losses")
    metric = " / ".join(dict.fromkeys(test.metric for test in tests.values()))
    encoding = _test_encoding(tests, x, y, metric)
    named = _test_flags(tests)
    layers: list[Spec] = [
        {
            "data": {"values": _test_rows(tests, "losses")},
            "mark": {"type": "line", "clip": True, "strokeWidth": 1, "opacity": 0.35},
            "encoding": encoding,
        },
        {
            "data": {"values": _test_rows(tests, "smoothed")},
            "mark": {"type": "line", "clip": True, "strokeWidth": 2.2},
            "encoding": encoding,
        },
        picked_rule(x),
        *flag_layers(named, x),
    ]
    spec: Spec = {"params": [PICKED], "layer": layers, "width": 640, "height": 260}
    return titled(spec, f"range test: {metric}, as it came and smoothed")


def loss_changes(tests: Mapping[str, RangeTest]) -> Spec:
    """Draw how much the smoothed loss changes a step, over the learning rate."""
    x = _test_rates(tests)
    y = _test_changes(tests)
    layers: list[Spec] = [
        {
            "data": {"values": [{"zero": 0}]},
            "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]},
            "encoding": {"y": {"field": "zero", "type": "quantitative", "scale": y.scale}},
        },
        {
            "data": {"values": _test_rows(tests, "loss_changes")},
            "mark": {"type": "line", "clip": True, "strokeWidth": 2},
            "encoding": _test_encoding(tests, x, y, "change of the loss per step"),
        },
        picked_rule(x),
        *flag_layers(_test_flags(tests), x, labels=False),
    ]
    spec: Spec = {"params": [PICKED], "layer": layers, "width": 640, "height": 160}
    return titled(spec, "change of the smoothed loss: below zero it falls")


def _test_rates(tests: Mapping[str, RangeTest]) -> Domain:
    return rates(at for test in tests.values() for at in (*test.learning_rates.tolist(), test.cliff))


def _test_values(tests: Mapping[str, RangeTest], *columns: str) -> Domain:
    """Return an axis fitted to the first column before the cliff: beyond it a loss says only that training broke."""
    shown = [value for test in tests.values() for column in columns for value in getattr(test, column).tolist()]
    calm = [
        value
        for test in tests.values()
        for at, value in zip(test.learning_rates.tolist(), getattr(test, columns[0]).tolist(), strict=True)
        if test.cliff is None or at <= test.cliff
    ]
    return values(shown, calm)


def _test_changes(tests: Mapping[str, RangeTest]) -> Domain:
    """Return an axis fitted to the descent: the rise at the end is many times steeper."""
    shown = [value for test in tests.values() for value in test.loss_changes.tolist()]
    steepest = min((value for value in shown if math.isfinite(value)), default=0.0)
    calm = [value for value in shown if value <= -1.5 * steepest] if steepest < 0 else shown
    return values([0.0, *shown], [0.0, *calm])


def _test_rows(tests: Mapping[str, RangeTest], column: str, *, most: int = 600) -> Rows:
    return [
        {"test": name, "rate": at, "value": value}
        for name, test in tests.items()
        for at, value in zip(*thinned(test.learning_rates, getattr(test, column), most=most), strict=True)
        if at > 0 and math.isfinite(value)
    ]


def _test_colours(tests: Mapping[str, RangeTest]) -> dict[str, str]:
    colours = (BLUE, VERMILLION, GREEN, PURPLE, GREY)
    return {name: colours[at % len(colours)] for at, name in enumerate(tests)}


def _test_encoding(tests: Mapping[str, RangeTest], x: Domain, y: Domain, title: str) -> Spec:
    colours = _test_colours(tests)
    return {
        "x": rate_channel(x),
        "y": y.channel("value", title),
        "color": {
            "field": "test",
            "type": "nominal",
            "title": None,
            "scale": {"domain": list(colours), "range": list(colours.values())},
            "legend": {"symbolType": "stroke", "symbolOpacity": 1, "symbolStrokeWidth": 2} if len(tests) > 1 else None,
        },
        "tooltip": [
            {"field": "rate", "type": "quantitative", "title": "learning rate", "format": ".2~e"},
            {"field": "value", "type": "quantitative", "title": title, "format": ".4~g"},
        ],
    }


def _test_flags(tests: Mapping[str, RangeTest]) -> list[Flag]:
    """Name every suggestion and cliff; rules that agree to two digits share a flag."""
    colours = _test_colours(tests)
    found: dict[tuple[str, str, bool], tuple[float, list[str]]] = {}
    for name, test in tests.items():
        rules = {"ours": test.learning_rate} | (test.suggestions if len(tests) == 1 else {})
        for rule, at in rules.items():
            if at is not None:
                found.setdefault((name, rate(at), False), (at, []))[1].append(rule)
        if test.cliff is not None:
            found[name, rate(test.cliff), True] = (test.cliff, ["breaks"])
    named: list[Flag] = []
    for (name, words, breaks), (at, rules) in found.items():
        text = f"{', '.join(rules)}: {words}" if len(tests) == 1 else f"{name}{' breaks' if breaks else ''}: {words}"
        mine = GREEN if "ours" in rules else GREY
        colour = colours[name] if len(tests) > 1 else VERMILLION if breaks else mine
        named.append(Flag(at, text, colour, (6, 3) if breaks else () if "ours" in rules else (2, 3)))
    return named


def schedule(rates_by_step: Array, *, epochs: float | None = None) -> Spec:
    """Draw the learning rate of each step, over the steps or over the epochs that they last."""
    length, unit = (len(rates_by_step), "step") if epochs is None else (epochs, "epoch")
    at = np.arange(len(rates_by_step)) / max(len(rates_by_step), 1) * length
    rows = [{"at": place, "value": value} for place, value in zip(*thinned(at, rates_by_step, most=800), strict=True)]
    y = values([0.0, *(row["value"] for row in rows)])
    x: Spec = {
        "field": "at",
        "type": "quantitative",
        "axis": {"title": unit, "tickCount": 6},
        "scale": {"domain": [0, length], "nice": False},
    }
    line: Spec = {
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "color": BLUE, "strokeWidth": 2},
        "encoding": {
            "x": x,
            "y": y.channel("value", "learning rate", labelExpr=f"datum.value == 0 ? '0' : {RATE_LABEL}", tickCount=4),
            "tooltip": [
                {"field": "at", "type": "quantitative", "title": unit, "format": ".3~g"},
                {"field": "value", "type": "quantitative", "title": "learning rate", "format": ".2~e"},
            ],
        },
    }
    return titled({"layer": [line], "width": 640, "height": 160}, "schedule")
