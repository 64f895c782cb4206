"""What the charts look like: Vega-Lite descriptions of results, which `charts` and the report show.

A description is plain JSON, so that pages and pictures share one drawing. Fields have fixed names; the names of
metrics are values: a dot or a bracket in a field's name draws nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from learnrate._drawings.axes import (
    BLUE,
    CALM,
    GREEN,
    GREY,
    PICKED,
    PURPLE,
    RATE_LABEL,
    STATES,
    VERMILLION,
    WIDTH,
    Domain,
    Flag,
    Rows,
    Spec,
    counts,
    flag_layers,
    has_point,
    picked_rule,
    places,
    rate_channel,
    rates,
    sized,
    thinned,
    titled,
    unpicked,
    values,
)
from learnrate._numbers import epoch_number, rate, short
from learnrate.results import Recommendation, Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from learnrate.curves import Array
    from learnrate.results import RangeTest, Trial

# From short trainings to full ones, as pale to dark; the palest still has a contrast of 3 on white and on near-black.
_SHORT_TO_FULL = ["#b3629b", "#808080", "#008f8a", "#4f83b5", BLUE]
_COARSER = 3.0
"""How many times as wide, on the log axis, a step is not compared with the next one."""


def response(answer: Recommendation | Sweep, *, width: int | None = WIDTH) -> Spec:
    """Draw the metric against the learning rate: every trial by its state, in a race at each length it was seen at."""
    flags = _response_flags(answer)
    recommended = isinstance(answer, Recommendation)
    shown = [] if not recommended or answer.interval is None else list(answer.interval)
    x = rates([*(trial.learning_rate for trial in answer.trials), *(flag.rate for flag in flags), *shown])
    layers = [_interval(shown[0], shown[1], x)] if shown else []
    layers += [picked_rule(x), *flag_layers(flags, x, width=width)]
    layers += _raced(answer, x) if recommended else [_points(answer, x)]  # points take the pointer
    spec = sized({"params": [PICKED], "layer": layers}, width, 300)
    return titled(spec, f"{answer.metric} against learning rate")


def _response_flags(answer: Recommendation | Sweep) -> list[Flag]:
    flags: list[Flag] = []
    if answer.learning_rate is not None:
        flags.append(Flag(answer.learning_rate, f"best: {rate(answer.learning_rate)}", GREEN))
    if isinstance(answer, Recommendation):
        breaks, yours = answer.breaks, answer.yours
        if breaks is not None:
            flags.append(Flag(breaks.broke, f"broke at {rate(breaks.broke)}", VERMILLION, (6, 3)))
        if yours is not None and (breaks is None or yours.learning_rate != breaks.broke):
            flags.append(Flag(yours.learning_rate, f"yours: {rate(yours.learning_rate)}", PURPLE, (2, 3)))
    return flags


def _interval(low: float, high: float, x: Domain) -> Spec:
    return {
        "data": {"values": [{"rate": low, "end": high, "what": f"{rate(low)} to {rate(high)}, 90 % sure"}]},
        "mark": {"type": "rect", "color": GREEN, "opacity": 0.16},
        "encoding": {
            "x": rate_channel(x),
            "x2": {"field": "end"},
            "tooltip": {"field": "what", "title": "the best lies"},
        },
    }


def _raced(answer: Recommendation, x: Domain) -> list[Spec]:
    """Draw what was reached at each length at which trainings were left: lines between them, and points.

    The axis is fitted to what is no worse than no training.
    """
    rows = [row for length in _lengths(answer) for row in _rung(answer, length)]
    sign = 1 if answer.mode == "min" else -1
    worst = math.inf if answer.reference is None else sign * answer.reference
    y = values(
        [row["value"] for row in rows],
        calm=[row["value"] for row in rows if row["calm"] and sign * row["value"] <= worst],
    )
    end = y.high if answer.mode == "min" else y.low
    rows = [row | {"shown": y.within(row["value"], end), "value": short(row["value"], 4)} for row in rows]
    names = list(dict.fromkeys(row["length"] for row in rows))
    scale = {"domain": names, "range": [_SHORT_TO_FULL[place] for place in places(len(_SHORT_TO_FULL), len(names))]}
    legend = {"title": "trained for, epochs", "legend": {"symbolType": "circle", "symbolFillColor": "transparent"}}
    colour: Spec = {"field": "length", "type": "nominal", "scale": scale, "sort": names} | legend
    across, up = rate_channel(x), y.channel("shown", answer.metric)
    tooltip = {"words": "learning rate", "value": "value", "length": "after epochs", "what": "then"}
    tooltip |= {"stage": "stage", "trial": "trial"}
    return [
        {
            "data": {"values": [row for row in rows if row["calm"]]},
            "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6, "clip": True},
            "encoding": {
                "x": across,
                "y": up,
                "color": colour,
                "order": {"field": "rate", "type": "quantitative"},
            },
        },
        *(
            {
                "data": {"values": [row for row in rows if row["left"] is hollow]},
                "mark": {"type": "point", "filled": not hollow, "cursor": "pointer", "strokeWidth": 2, "size": 70},
                "encoding": {
                    "x": across,
                    "y": up,
                    "color": colour,
                    "shape": {"condition": {"test": "datum.calm", "value": "circle"}, "value": "cross"},
                    "opacity": unpicked(otherwise=0.9),
                    "tooltip": [{"field": field, "title": title} for field, title in tooltip.items()],
                },
            }
            for hollow in (True, False)
        ),
    ]


def _lengths(answer: Recommendation) -> list[float]:
    """At how many epochs trainings ended, the fewest first; what differs by less than a hundredth is one length."""
    ends = sorted({trial.epochs for trial in answer.trials if trial.state in CALM})
    return [end for place, end in enumerate(ends) if place + 1 == len(ends) or ends[place + 1] > end * 1.01] or [0.0]


def _rung(answer: Recommendation, length: float) -> Iterator[dict[str, Any]]:
    """What each trial had reached after so many epochs, and those that broke before the next such length."""
    for trial in answer.trials:
        metric = trial.curve.metrics.get(answer.metric)
        near = [] if metric is None else np.flatnonzero(np.abs(trial.curve.epochs - length) <= 0.01 * length).tolist()
        value = math.nan if metric is None or not near else float(metric[near[-1]])
        broke = trial.state not in CALM and _broke_by(answer, trial, length)
        if not broke and not math.isfinite(value):
            continue
        left = trial.epochs <= length * 1.01 < answer.raced_epochs
        yield {
            "trial": trial.number,
            "rate": trial.learning_rate,
            "words": rate(trial.learning_rate),
            "length": epoch_number(length),
            "stage": trial.stage or "–",
            "value": value,
            "calm": not broke,
            "left": left and not broke,
            "what": trial.state.value
            if broke
            else "left"
            if left
            else "went on"
            if length < answer.raced_epochs
            else "ended",
        }


def _broke_by(answer: Recommendation, trial: Trial, length: float) -> bool:
    """Whether this is the first length at or after which a trial broke; the last one where it broke beyond it."""
    lengths = _lengths(answer)
    return length == next((one for one in lengths if one >= trial.epochs), lengths[-1])


def _points(answer: Sweep, x: Domain) -> Spec:
    whole = [trial.value for trial in answer.trials if trial.state in CALM and trial.epochs >= answer.horizon]
    y = values([trial.value for trial in answer.trials], calm=whole)
    worst = y.high if answer.mode == "min" else y.low
    rows: Rows = [
        {
            "trial": trial.number,
            "rate": trial.learning_rate,
            "shown": y.within(trial.value, worst),
            "state": trial.state.value,
            "words": f"{rate(trial.learning_rate)}",
            "value": short(trial.value, 4),
            "epochs": short(trial.epochs),
            "stage": trial.stage or "–",
            "whole": trial.epochs >= answer.horizon,
        }
        for trial in answer.trials
        if trial.learning_rate > 0 and has_point(trial)
    ]
    present = [state for state in STATES if any(trial.state is state for trial in answer.trials)]
    names = [state.value for state in present]
    colours, shapes = [STATES[state][0] for state in present], [STATES[state][1] for state in present]
    # Titles of tooltips become part of an expression, without escapes: none may be a name of the user's.
    tooltip = [("words", "learning rate"), ("value", "value"), ("state", "state"), ("epochs", "epochs trained")]
    tooltip += [("stage", "stage"), ("trial", "trial")]
    return {
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "cursor": "pointer"},
        "encoding": {
            "x": rate_channel(x),
            "y": y.channel("shown", answer.metric),
            "color": {"field": "state", "type": "nominal", "scale": {"domain": names, "range": colours}, "title": None},
            "shape": {"field": "state", "type": "nominal", "scale": {"domain": names, "range": shapes}, "title": None},
            "opacity": unpicked(otherwise=0.9),
            "size": {"condition": {"test": "datum.whole", "value": 100}, "value": 40},
            "tooltip": [{"field": field, "title": title} for field, title in tooltip],
        },
    }


def losses(tests: Mapping[str, RangeTest], *, width: int | None = WIDTH) -> Spec:
    """Draw the loss of range tests over the learning rate: as it came, faint, and smoothed."""
    x = _test_rates(tests)
    y = _test_values(tests, "smoothed", "losses")
    metric = " / ".join(dict.fromkeys(test.metric for test in tests.values()))
    encoding = _test_encoding(tests, x, y, metric)
    named = _test_flags(tests)
    layers: list[Spec] = [
        *_seed_layers(tests, y, encoding),
        {
            "data": {"values": _test_rows(tests, "losses")},
            "transform": [y.nearby()],
            "mark": {"type": "line", "clip": True, "strokeWidth": 1, "opacity": 0.35},
            "encoding": encoding,
        },
        {
            "data": {"values": _test_rows(tests, "smoothed")},
            "transform": [y.nearby()],
            "mark": {"type": "line", "clip": True, "strokeWidth": 2.2},
            "encoding": encoding,
        },
        picked_rule(x),
        *flag_layers(named, x, width=width),
    ]
    spec = sized({"params": [PICKED], "layer": layers}, width, 260)
    return titled(spec, f"range test: {metric}, as it came and smoothed")


def _seed_layers(tests: Mapping[str, RangeTest], y: Domain, encoding: Spec) -> list[Spec]:
    """Draw the losses of each seed, where there are several, behind their mean."""
    of_seeds: list[Rows] = []
    for name, test in tests.items():
        for place, seen in enumerate(test.seed_losses):
            rows = _test_rows({name: msgspec.structs.replace(test, losses=seen)}, "losses")
            of_seeds.append([row | {"seed": test.seed + place} for row in rows])
    if not of_seeds:
        return []
    return [
        {
            "data": {"values": [row for rows in of_seeds for row in rows]},
            "transform": [y.nearby()],
            "mark": {"type": "line", "clip": True, "strokeWidth": 0.6, "opacity": 0.2},
            "encoding": encoding | {"detail": {"field": "seed", "type": "nominal"}},
        }
    ]


def loss_changes(tests: Mapping[str, RangeTest], *, width: int | None = WIDTH) -> Spec:
    """Draw how much the smoothed loss changes a step, over the learning rate."""
    x = _test_rates(tests)  # of all steps, so that the chart stands under that of the losses
    tests = {name: _comparable(test) for name, test in tests.items()}
    y = _test_changes(tests)
    layers: list[Spec] = [
        {
            "data": {"values": [{"zero": 0}]},
            "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]},
            "encoding": {"y": {"field": "zero", "type": "quantitative", "scale": y.scale}},
        },
        {
            "data": {"values": _test_rows(tests, "loss_changes")},
            "transform": [y.nearby()],
            "mark": {"type": "line", "clip": True, "strokeWidth": 2},
            "encoding": _test_encoding(tests, x, y, "change of the loss per step"),
        },
        picked_rule(x),
        *flag_layers(_test_flags(tests), x, width=width, labels=False),
    ]
    spec = sized({"params": [PICKED], "layer": layers}, width, 160)
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


def _comparable(test: RangeTest) -> RangeTest:
    """Return a range test from where its steps are small: a coarse step changes the loss as several fine ones do."""
    known = test.learning_rates
    if len(known) < 3 or not (known > 0).all():
        return test
    spacings = np.abs(np.diff(np.log(known)))
    finer = np.flatnonzero(spacings[:-1] > _COARSER * spacings[1:]) + 1
    first = int(finer[-1]) if finer.size else 0
    kept = {name: getattr(test, name)[first:] for name in ("learning_rates", "losses", "smoothed", "loss_changes")}
    return msgspec.structs.replace(test, **kept)


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
        "y": y.channel("shown", title),
        "color": {
            "field": "test",
            "type": "nominal",
            "title": None,
            "scale": {"domain": list(colours), "range": list(colours.values())},
            "legend": {"symbolType": "stroke", "symbolOpacity": 1, "symbolStrokeWidth": 2} if len(tests) > 1 else None,
        },
        "tooltip": [
            {"field": "rate", "type": "quantitative", "title": "learning rate", "format": ".1~e"},
            {"field": "value", "type": "quantitative", "title": "value", "format": ".4~g"},
        ],
    }


def _test_flags(tests: Mapping[str, RangeTest]) -> list[Flag]:
    """Name every suggestion and cliff; rules that agree to two digits share a flag."""
    colours = _test_colours(tests)
    found: dict[tuple[str, str, bool], tuple[float, list[str]]] = {}
    for name, test in tests.items():
        rules = {"ours": test.learning_rate} | (other_rules(test) if len(tests) == 1 else {})
        for rule, at in rules.items():
            if at is not None:
                found.setdefault((name, rate(at), False), (at, []))[1].append(rule)
        if test.cliff is not None:
            found[name, rate(test.cliff), True] = (test.cliff, ["this test broke"])
    named: list[Flag] = []
    for (name, words, broke), (at, rules) in found.items():
        text = f"{', '.join(rules)}: {words}" if len(tests) == 1 else f"{name}{' broke' if broke else ''}: {words}"
        mine = GREEN if "ours" in rules else GREY
        colour = colours[name] if len(tests) > 1 else VERMILLION if broke else mine
        named.append(Flag(at, text, colour, (6, 3) if broke else () if "ours" in rules else (2, 3)))
    return named


def other_rules(test: RangeTest) -> dict[str, float | None]:
    """Return the suggestions that are not the answer itself."""
    return {name: at for name, at in test.suggestions.items() if (name, at) != ("learnrate", test.learning_rate)}


def schedule(rates_by_step: Array, *, epochs: float | None = None, width: int | None = WIDTH) -> Spec:
    """Draw the learning rate of each step, over the steps or over the epochs that they last."""
    length, unit = (len(rates_by_step), "step") if epochs is None else (epochs, "epoch")
    at = np.arange(len(rates_by_step)) / max(len(rates_by_step), 1) * length
    rows = [{"at": place, "value": value} for place, value in zip(*thinned(at, rates_by_step, most=800), strict=True)]
    y = values([0.0, *(row["value"] for row in rows)])
    line: Spec = {
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "color": BLUE, "strokeWidth": 2},
        "encoding": {
            "x": counts("at", unit, length),
            "y": y.channel("value", "learning rate", labelExpr=f"datum.value == 0 ? '0' : {RATE_LABEL}", tickCount=4),
            "tooltip": [
                {"field": "at", "type": "quantitative", "title": unit, "format": ".3~g"},
                {"field": "value", "type": "quantitative", "title": "learning rate", "format": ".1~e"},
            ],
        },
    }
    return titled(sized({"layer": [line]}, width, 160), "schedule")
