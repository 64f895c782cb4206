"""What learning curves look like, as Vega-Lite descriptions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from learnrate._drawings.axes import (
    BLUE,
    CALM,
    GREY,
    PICKED,
    RATE_LABEL,
    VERMILLION,
    WIDTH,
    Domain,
    Rows,
    Spec,
    counts,
    finite,
    places,
    rates,
    sized,
    thinned,
    titled,
    unpicked,
    values,
)
from learnrate._numbers import rate, short
from learnrate.results import Trial, TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate.curves import Array


# From low to high rates, as blue to orange, which every eye tells apart; each readable on white and on near-black.
_LOW_TO_HIGH = ["#7a5fc0", BLUE, "#008f8a", "#6f8f1f", "#c07a00", "#d0430f"]


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


def curve_values(trials: Sequence[Trial], metric: str) -> Domain:
    """Return the axis of a metric's curves, fitted to the trials that did not break."""
    shown = [(trial, _both_parts(trial, metric)) for trial in trials]
    seen = [(trial, curves) for trial, curves in shown if curves.size and trial.state in CALM]
    calm = _unbroken_losses(seen) if "loss" in metric else _usual(seen)
    return values(
        (value for _, curves in shown for value in curves.tolist()), (value for it in calm for value in it.tolist())
    )


def _both_parts(trial: Trial, metric: str) -> Array:
    """Return the finite values of a metric in training and validation."""
    return finite(
        value for name in parts(metric) if name in trial.curve.metrics for value in trial.curve.metrics[name].tolist()
    )


def _usual(seen: list[tuple[Trial, Array]]) -> list[Array]:
    """Return the curves that do not go ten times as far as the usual ones."""
    reached = [float(np.abs(curves).max()) for _, curves in seen]
    most = 10 * float(np.median(reached)) if reached else math.inf
    return [curves for (_, curves), far in zip(seen, reached, strict=True) if far <= most]


def _unbroken_losses(seen: list[tuple[Trial, Array]]) -> list[Array]:
    """Return the losses that are at most three times as far above the lowest as the usual trial or any slower one.

    Slow trainings stay high too, and have to be seen: only what is above them as well broke, and the slowest never
    did. Where no learning rate is known, ten times what is usual is too far.
    """
    lowest = min((float(curves.min()) for _, curves in seen), default=0.0)
    heights = [float(curves.max()) - lowest for _, curves in seen]
    usual = float(np.median(heights)) if heights else 0.0
    calm: list[Array] = []
    slower: float | None = None
    for (trial, curves), height in sorted(zip(seen, heights, strict=True), key=lambda one: one[0][0].learning_rate):
        if math.isnan(trial.learning_rate):
            limit = 10 * usual
        else:
            limit = height if slower is None else 3 * max(usual, slower)
            slower = max(slower or 0.0, min(height, limit))
        if height <= limit:
            calm.append(curves)
    return calm


def _epoch_channel(trials: Sequence[Trial]) -> Spec:
    last = max((float(trial.curve.epochs[-1]) for trial in trials if len(trial.curve)), default=1.0)
    return counts("epoch", "epoch", max(last, 1e-9))


def _part(*, legend: bool) -> Spec:
    return {
        "field": "part",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["validation", "training"], "range": [[1, 0], [4, 3]]},
        "legend": {"symbolType": "stroke", "symbolStrokeColor": GREY, "symbolSize": 300} if legend else None,
    }


_TOOLTIP: list[Spec] = [
    {"field": "rate", "type": "quantitative", "title": "learning rate", "format": ".1~e"},
    {"field": "metric", "title": "metric"},
    {"field": "part", "title": "on"},
    {"field": "epoch", "type": "quantitative", "title": "epoch", "format": "~g"},
    {"field": "value", "type": "quantitative", "title": "value", "format": ".4~g"},
]


def _lone(y: Domain) -> Spec:
    """Draw trainings that were evaluated once as points, since a line needs two; those off the chart at its end."""
    return {
        "transform": [
            {"joinaggregate": [{"op": "count", "as": "rows"}], "groupby": ["trial", "metric", "part"]},
            {"filter": "datum.rows == 1"},
            {"calculate": f"clamp(datum.value, {y.low!r}, {y.high!r})", "as": "shown"},
        ],
        "mark": {"type": "point", "filled": True, "size": 30, "cursor": "pointer"},
    }


def overlay(
    trials: Sequence[Trial],
    metric: str,
    *,
    rows: Rows | None = None,
    width: int | None = WIDTH,
    legend: bool = True,
    by: str = "rate",
) -> Spec:
    """Draw one metric's curves of all trials on one chart: validation solid, training dashed.

    `rows` are drawn where they are given; else `curve_rows` are made. `by` is what the reader picks: a "rate" or a
    "trial".
    """
    base = parts(metric)[0]
    y = curve_values(trials, metric)
    lines: Spec = {
        "mark": {"type": "line", "clip": True, "strokeWidth": 1.8, "cursor": "pointer"},
        "encoding": {
            "strokeDash": _part(legend=legend),
            "opacity": unpicked(by, otherwise=0.85 if len(trials) <= 50 else 0.4),
        },
    }
    points: Spec = {**_lone(y), "encoding": {"opacity": unpicked(by)}}
    ended: Spec = {
        "data": {"values": _breaks(trials, base, y)},
        "mark": {"type": "point", "shape": "cross", "filled": True, "size": 70},
        "encoding": {"opacity": unpicked(by), "tooltip": [*_TOOLTIP[:1], {"field": "what", "title": "state"}]},
    }
    spec: Spec = {
        "params": [PICKED],
        "data": {"values": curve_rows(trials, [base]) if rows is None else rows},
        "transform": [y.nearby()],
        "encoding": {
            "x": _epoch_channel(trials),
            "y": y.channel("shown", base),
            "color": _rate_colour(trials),
            "detail": {"field": "trial"},
            "tooltip": _TOOLTIP if by == "rate" else [{"field": "trial", "title": "trial"}, *_TOOLTIP],
        },
        "layer": [lines, points, ended],
    }
    return titled(sized(spec, width, 300), f"{base}: validation and training")


def _rate_colour(trials: Sequence[Trial]) -> Spec:
    """Colour curves by their learning rate, where they have one."""
    known = sorted({trial.learning_rate for trial in trials if math.isfinite(trial.learning_rate)})
    if not known:
        return {"value": BLUE}
    few = known if len(known) <= 10 else [known[round(i * (len(known) - 1) / 7)] for i in range(8)]
    domain = rates(known)
    ends = [known[0], known[-1]] if len(known) > 1 else [domain.low, domain.high]
    return {
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
            "symbolOpacity": 1,
        },
    }


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
            at = {"epoch": float(trial.curve.epochs[seen[-1]]), "shown": y.within(float(curve[seen[-1]]), y.high)}
            rows.append({"trial": trial.number, "rate": _known(trial.learning_rate), "what": "diverged", **at})
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


def single(
    trials: Sequence[Trial], both: Pair, rows: Rows, *, width: int | None = 190, height: int = 130, legend: bool = True
) -> Spec:
    """Draw one trial's curves: one metric on each axis, validation solid, training dashed; axes fit all `trials`."""
    layers: list[Spec] = []
    for metric, colour, side in ((both.left, BLUE, "left"), (both.right, VERMILLION, "right")):
        if metric is None:
            continue
        y = curve_values(trials, metric)
        look = {"orient": side, "titleColor": colour, "grid": side == "left", "tickCount": 4}
        line: Spec = {"type": "line", "color": colour, "clip": True, "strokeWidth": 1.8}
        lone = _lone(y)
        lone["mark"]["color"] = colour
        layers.append(
            {
                "transform": [{"filter": {"field": "metric", "equal": metric}}, y.nearby()],
                "encoding": {
                    "x": _epoch_channel(trials),
                    "y": y._replace(note="").channel("shown", metric, **look),
                    "tooltip": _TOOLTIP,
                },
                "layer": [{"mark": line, "encoding": {"strokeDash": _part(legend=legend)}}, lone],
            }
        )
    spec: Spec = {"data": {"values": rows}, "layer": layers, "resolve": {"scale": {"y": "independent"}}}
    return sized(spec, width, height)


def small_multiples(trials: Sequence[Trial], metric: str, *, most: int = 12, columns: int = 3) -> Spec:
    """Draw one small chart a trial, by learning rate; of many trials, `most` spread evenly over the rates."""
    by_rate = sorted(trials, key=lambda trial: (trial.learning_rate, trial.number))
    spread = [by_rate[at] for at in places(len(by_rate), most)]
    both = pair(trials, metric)
    names = [name for name in both if name is not None]
    empty = single(trials, both, [])
    charts = [titled({**empty, "data": {"values": curve_rows([trial], names)}}, label(trial)) for trial in spread]
    spec: Spec = {"concat": charts, "columns": 2 if len(charts) == 4 else columns}  # 2 x 2 reads better than 3 + 1
    if len(spread) < len(trials):
        spec["title"] = f"{len(spread)} of {len(trials)} trainings, spread over the learning rates"
    return spec


def spread_order(count: int, first: int = 12) -> list[int]:
    """Return the places of `count` things, a first few spread evenly over all, then the rest in their order."""
    few = places(count, first)
    return [*few, *(at for at in range(count) if at not in set(few))]


def label(trial: Trial) -> str:
    """Return what stands above a trial's chart: its rate, and what became of it."""
    return f"{name(trial)}: {fate(trial)}"


def name(trial: Trial) -> str:
    """Return a trial's learning rate, and that it falls where another of the same rate does not."""
    return rate(trial.learning_rate) + (", to zero" if trial.stage == "decay" else "")


def fate(trial: Trial) -> str:
    """Return what became of a trial: its diagnosis or, where it has none, its state, or when it was left."""
    if trial.diagnosis is not None:
        return trial.diagnosis.verdict.value
    is_left = trial.state is TrialState.COMPLETE and trial.epochs < trial.horizon
    return f"left after {short(trial.epochs)}" if is_left else trial.state.value
