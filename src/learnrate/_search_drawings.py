"""What a search looks like: Vega-Lite descriptions as in `_drawings`; hyperparameters are values, not fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from learnrate._axes import BLUE, GREEN, WIDTH, Rows, Spec, sized, titled, values
from learnrate._numbers import rate, short
from learnrate.results import TrialState

if TYPE_CHECKING:
    from learnrate.results import Search

_WIDE = 30.0
"""How many times the smallest value the largest is where a log axis reads better."""


def importance(result: Search) -> Spec:
    """Draw the share of each hyperparameter in reaching the best trials, the largest first."""
    rows: Rows = [{"name": name, "share": share, "words": f"{share:.0%}"} for name, share in result.importance.items()]
    spec: Spec = {
        "data": {"values": rows},
        "mark": {"type": "bar", "color": BLUE},
        "encoding": {
            "y": {"field": "name", "type": "nominal", "sort": None, "axis": {"title": None}},
            "x": {"field": "share", "type": "quantitative", "axis": {"title": "importance", "format": "%"}},
            "tooltip": [{"field": "name", "title": "hyperparameter"}, {"field": "words", "title": "importance"}],
        },
    }
    return titled(sized(spec, WIDTH, 24 * max(len(rows), 1)), "measured importance")


def slices(result: Search) -> list[Spec]:
    """Draw the metric against each hyperparameter, every trial that ended well; the best one green."""
    done = [trial for trial in result.trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    names = dict.fromkeys(name for trial in done for name in trial.hyperparameters)
    y = values([trial.value for trial in done])
    drawn: list[Spec] = []
    for name in names:
        rows: Rows = []
        for trial in done:
            held: Any = trial.hyperparameters.get(name)
            number = isinstance(held, int | float) and not isinstance(held, bool) and math.isfinite(held)
            words = rate(held) if number and isinstance(held, float) else str(held)
            colour = GREEN if trial.value == result.value else BLUE
            told = short(trial.value, 4)
            rows.append({"at": held if number else words, "shown": trial.value, "words": words, "value": told})
            rows[-1] |= {"trial": trial.number, "colour": colour}
        drawn.append(_slice(name, rows, y.channel("shown", result.metric)))
    return drawn


def _slice(name: str, rows: Rows, y: Spec) -> Spec:
    numbers = [row["at"] for row in rows if not isinstance(row["at"], str)]
    x: Spec = {"field": "at", "type": "nominal", "axis": {"title": name, "labelAngle": 0}}
    if len(numbers) == len(rows):
        scaled = "log" if min(numbers) > 0 and max(numbers) > _WIDE * min(numbers) else "linear"
        x = {"field": "at", "type": "quantitative", "scale": {"type": scaled, "zero": False}}
        x["axis"] = {"title": name, "tickCount": 6}
    elif numbers:
        rows = [row | {"at": row["words"]} for row in rows]
    spec: Spec = {
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "size": 50, "opacity": 0.8},
        "encoding": {
            "x": x,
            "y": y,
            "color": {"field": "colour", "type": "nominal", "scale": None},
            "tooltip": [{"field": field, "title": field} for field in ("words", "value", "trial")],
        },
    }
    return titled(sized(spec, WIDTH, 160), name)
