"""Axes, colours and marks that all the charts share, as Vega-Lite descriptions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from learnrate._numbers import short
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from learnrate.curves import Array
    from learnrate.results import Trial

Spec: TypeAlias = dict[str, Any]
Rows: TypeAlias = list[dict[str, Any]]

# Okabe and Ito's colours, as far as each has a contrast of 3 or more on white and on near-black.
BLUE, VERMILLION, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#b3629b", "#808080"
WIDTH = 640
_PHONE = 300
_MOST_DECADES = 16  # each with a tick of its own
_LEAST_POWER, _MOST_POWER = -323.3, 308.25  # of ten, that a float can hold
CALM = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
"""The states whose values an axis is fitted to."""
STATES = {
    TrialState.COMPLETE: (BLUE, "circle"),
    TrialState.PRUNED: (GREY, "triangle-down"),
    TrialState.DIVERGED: (VERMILLION, "cross"),
    TrialState.FAILED: (PURPLE, "square"),
    TrialState.RUNNING: (GREEN, "diamond"),
}

_PLAIN = "datum.value == 0 || (abs(datum.value) >= 0.001 && abs(datum.value) < 100000)"
NUMBER_LABEL = f"{_PLAIN} ? format(datum.value, '~f') : replace(format(datum.value, '.3~e'), '+', '')"
RATE_LABEL = (
    "datum.value < 0.1 || datum.value >= 100000 ? replace(format(datum.value, '.1~e'), '+', '') "
    ": format(datum.value, '.2~r')"
)


def config(ink: str, background: str | None, font: str = "sans-serif") -> Spec:
    """Return the look that all charts share, in one colour of ink on a background."""
    return {
        "background": background,
        "font": font,
        "padding": 8,
        "view": {"stroke": None},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "tickColor": ink,
            "domainColor": ink,
            "gridColor": ink,
            "gridOpacity": 0.12,
            "tickOpacity": 0.4,
            "domainOpacity": 0.4,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 12,
        },
        "axisY": {"minExtent": 34},  # charts that stand below each other begin at the same place
        "legend": {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal", "orient": "bottom"},
        "title": {"color": ink, "subtitleColor": ink, "anchor": "start", "fontSize": 13, "subtitleFontSize": 11},
        "text": {"color": ink, "fontSize": 11},
        "concat": {"spacing": 24},
    }


class Flag(NamedTuple):
    """A learning rate with a name: drawn as a rule with its label above the chart."""

    rate: float
    label: str
    colour: str
    dash: tuple[int, ...] = ()


class Domain(NamedTuple):
    """An axis: its ends, its scale, and what its title must add."""

    low: float
    high: float
    scale: Spec
    axis: Spec
    note: str

    def channel(self, field: str, title: str, **more: Any) -> Spec:
        """Return the encoding of a field on this axis."""
        axis = {**self.axis, "title": [title, self.note] if self.note else title, **more}
        return {"field": field, "type": "quantitative", "scale": self.scale, "axis": axis}

    def within(self, value: float | None, worst: float) -> float:
        """Return where a value is drawn: at the axis's end where it lies beyond, or is none."""
        inside = worst if value is None or math.isnan(value) else value
        return min(max(inside, self.low), self.high)

    def nearby(self) -> Spec:
        """Return the transform to "shown": a value, or a place just off the chart; pictures lose lines to far ones."""
        margin = self.high / 2 - self.low / 2
        low, high = max(self.low - margin, -1e308), min(self.high + margin, 1e308)
        return {"calculate": f"clamp(datum.value, {low!r}, {high!r})", "as": "shown"}


def rates(learning_rates: Iterable[float | None]) -> Domain:
    """Return a log axis that holds the learning rates, with ticks where people look for them."""
    known = [it for it in learning_rates if it is not None and math.isfinite(it) and it > 0] or [1e-4, 1.0]
    least, most = math.log10(min(known)), math.log10(max(known))
    margin = max((most - least) * 0.04, 0.1)
    low = 10 ** max(least - margin, _LEAST_POWER)
    high = 10 ** min(most + margin, _MOST_POWER)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    apart = (last - first) // _MOST_DECADES + 1
    decades = [decade for decade in range(first, last + 1) if decade % apart == 0]
    for steps in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    axis = {"values": ticks, "labelExpr": RATE_LABEL, "labelOverlap": True}
    return Domain(low, high, {"type": "log", "domain": [low, high], "nice": False}, axis, "")


def counts(field: str, title: str, last: float) -> Spec:
    """Return the encoding of a field that counts epochs or steps, from 0 to the last."""
    axis: Spec = {"title": title, "tickCount": 6, "labelExpr": "format(datum.value, '~f')"}
    axis |= {"tickMinStep": 1} if last >= 2 else {}
    return {"field": field, "type": "quantitative", "scale": {"domain": [0, last], "nice": False}, "axis": axis}


def values(shown: Iterable[float | None], calm: Iterable[float | None] = ()) -> Domain:
    """Return an axis for a metric, fitted to the calm values; the title's note says what lies beyond.

    Where even the calm values explode, the axis is linear around zero and logarithmic far from it.
    """
    everything = finite(shown)
    calm_ones = finite(calm)
    body = calm_ones if calm_ones.size else everything
    if not body.size:
        return Domain(0.0, 1.0, {"domain": [0, 1]}, {"labelExpr": NUMBER_LABEL}, "")
    low, high = float(body.min()), float(body.max())
    middle = float(np.median(body))
    typical = float(np.median(np.abs(body - middle))) or float(np.mean(np.abs(body - middle)))
    exploding = typical > 0 and max(high - middle, middle - low) > 1000 * typical
    if exploding:
        unit = 10.0 ** math.floor(math.log10(max(abs(middle), typical)))
        scale = {"type": "symlog", "constant": unit, "domain": [low, high], "nice": False}
        axis = {"values": _far_ticks(low, high, unit), "labelExpr": NUMBER_LABEL, "labelOverlap": True}
        notes = [f"logarithmic beyond ±{short(unit)}", *_beyond(everything, low, high)]
        return Domain(low, high, scale, axis, ", ".join(notes))
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
    low, high = low - margin, high + margin
    axis = {"labelExpr": NUMBER_LABEL, "tickCount": 6}
    return Domain(
        low,
        high,
        {"domain": [low, high], "nice": False, "zero": False},
        axis,
        ", ".join(_beyond(everything, low, high)),
    )


def _beyond(everything: Array, low: float, high: float) -> list[str]:
    least, most = float(everything.min()), float(everything.max())
    notes = [f"up to {short(most)}"] if most > high else []
    notes += [f"down to {short(least)}"] if least < low else []
    return [f"{' and '.join(notes)}, off the chart"] if notes else []


def has_point(trial: Trial) -> bool:
    """Whether a trial is a point in a chart of what was reached: not while it is trained and has reached nothing."""
    return trial.state is not TrialState.RUNNING or trial.value is not None


def finite(numbers: Iterable[float | None]) -> Array:
    """Return the finite numbers among these."""
    array = np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)
    return np.clip(array[np.isfinite(array)], -1e300, 1e300)  # so that differences and means stay finite


def _far_ticks(low: float, high: float, unit: float) -> list[float]:
    top = max(abs(low), abs(high))
    decades = range(round(math.log10(unit)), math.floor(math.log10(top)) + 1)
    powers = [float(f"1e{decade}") for decade in decades[:: max(len(decades) // 5, 1)]]
    return [tick for tick in [*(-power for power in reversed(powers)), 0.0, *powers] if low <= tick <= high]


def rate_channel(domain: Domain) -> Spec:
    """Return the encoding of the learning rate on its axis."""
    return domain.channel("rate", "learning rate (log scale)")


def flag_layers(named: Sequence[Flag], domain: Domain, *, width: int | None, labels: bool = True) -> list[Spec]:
    """Draw rules whose labels stand in rows of their own above the chart, so that none covers another.

    A `width` of None is that of whatever holds the chart.
    """
    known = sorted((flag for flag in named if domain.low <= flag.rate <= domain.high), key=lambda flag: -flag.rate)
    wide, narrow = _rows(known, domain, width or WIDTH), _rows(known, domain, width or _PHONE)
    rules: list[Spec] = []
    texts: list[Spec] = []
    for flag in known:
        x: Spec = {"datum": flag.rate, "type": "quantitative", "scale": domain.scale}
        tops = [-8 - 14 * rows.index(flag) if labels else 0 for rows in (wide, narrow)]
        y: Spec = {"value": tops[0] if tops[0] == tops[1] else {"expr": f"width < 480 ? {tops[1]} : {tops[0]}"}}
        rule: Spec = {"type": "rule", "color": flag.colour, "strokeWidth": 1.5, "strokeDash": list(flag.dash)}
        text: Spec = {"type": "text", "text": flag.label, "color": flag.colour, "baseline": "middle"}
        text |= _side(flag, domain, width)
        data: Spec = {"values": [{}]}
        rules.append({"data": data, "mark": rule, "encoding": {"x": x, "y": y, "y2": {"value": "height"}}})
        texts.append({"data": data, "mark": text, "encoding": {"x": x, "y": y}})
    return [*rules, *texts] if labels else rules


def _rows(known: list[Flag], domain: Domain, width: int) -> list[Flag]:
    """Order flags from the lowest to the highest, so that each label runs over rules lower than itself.

    Labels run to the right; those without room there run to the left.
    """
    turned = [flag for flag in known if _room(flag, domain) * width < _length(flag)]
    return [*reversed(turned), *(flag for flag in known if flag not in turned)]


def _room(flag: Flag, domain: Domain) -> float:
    """Return which part of the chart lies to the right of a flag."""
    low, at, high = (math.log(end) for end in (domain.low, flag.rate, domain.high))
    return (high - at) / (high - low)


def _length(flag: Flag) -> float:
    return 6.5 * len(flag.label) + 8


def _side(flag: Flag, domain: Domain, width: int | None) -> Spec:
    if width is not None:
        return (
            {"align": "right", "dx": -4} if _room(flag, domain) * width < _length(flag) else {"align": "left", "dx": 4}
        )
    turned = f"{_room(flag, domain):.4f} * width < {_length(flag):.0f}"
    return {"align": {"expr": f"{turned} ? 'right' : 'left'"}, "dx": {"expr": f"{turned} ? -4 : 4"}}


def picked_rule(domain: Domain) -> Spec:
    """Draw a rule at the learning rate that the reader has picked; nothing where none is picked."""
    return {
        "data": {"values": [{}]},
        "transform": [{"calculate": "picked", "as": "rate"}, {"filter": "isValid(datum.rate)"}],
        "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.25, "color": PURPLE},
        "encoding": {"x": {"field": "rate", "type": "quantitative", "scale": domain.scale}},
    }


PICKED: Spec = {"name": "picked", "value": None}


def unpicked(field: str = "rate", *, otherwise: float = 1.0) -> Spec:
    """Fade what does not have the picked learning rate."""
    return {"condition": {"test": f"isValid(picked) && datum.{field} !== picked", "value": 0.2}, "value": otherwise}


def sized(spec: Spec, width: int | None, height: int) -> Spec:
    """Return a description of this size; a width of None is that of whatever holds the chart."""
    if width is None:
        return {**spec, "width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {**spec, "width": width, "height": height}


def titled(spec: Spec, title: str) -> Spec:
    """Return a description with a title."""
    return {**spec, "title": {"text": title, "offset": 10}}


def thinned(epochs: Array, curve: Array, *, most: int) -> tuple[list[float], list[float]]:
    """Return at most `most` rows of a curve: evenly spread ones, with the first and the last."""
    kept = places(len(epochs), most)
    return epochs[kept].tolist(), curve[kept].tolist()


def places(length: int, most: int) -> list[int]:
    """Return at most `most` places out of `length`, evenly spread, the first and the last among them."""
    spread = np.linspace(0, length - 1, min(most, length)).round()
    return [int(place) for place in np.unique(spread)]
