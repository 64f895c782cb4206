"""Charts of results, drawn with Altair; they compute nothing that the results do not hold.

Notebooks show them as SVG, and `.save("chart.png")`, `.svg` and `.html` write them, all without a network. Otherwise
they are Altair's own charts: `charts.response(answer).properties(width=300)`.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import altair as alt

from learnrate._drawings import axes, curve_drawings, rate_drawings, search_drawings, standalone
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError
from learnrate.results import RangeTest, Recommendation, Search, Sweep, Trial, TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from learnrate.schedules import Schedule

_LOOK = axes.config(ink="#333333", background="white")
_HTML = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>learnrate</title></head>
<body>
<div id="chart"></div>
<script>{library}</script>
<script>
vegaEmbed("#chart", {spec}, {{actions: {{export: true, source: false, compiled: false, editor: false}}}});
</script>
</body>
</html>
"""


class _Offline(alt.TopLevelMixin):
    """What lets a chart of Altair's show and save itself without a network, in the look of learnrate."""

    config: Any

    def to_dict(self, *args: Any, **settings: Any) -> dict[str, Any]:
        """Return the chart as Vega-Lite; the outermost chart brings the look, since Vega-Lite wants it there."""
        chart = cast("Any", self)
        context: dict[str, Any] = settings.get("context") or {}
        if context.get("top_level", True):
            chart = chart.copy(deep=False)
            own: dict[str, Any] = {} if chart.config is alt.Undefined else alt.Config.to_dict(chart.config)
            chart.config = _merged(_LOOK, own)
        return cast("Any", super(_Offline, chart)).to_dict(*args, **settings)

    def save(self, fp: str | Path | IO[Any], format: Any = None, *args: Any, **settings: Any) -> None:  # noqa: A002  # Altair's name
        """Write the chart as PNG, SVG, PDF, JSON or HTML, by the file name's ending or by `format`."""
        named = Path(fp) if isinstance(fp, str | Path) else None
        if named is not None:
            standalone.check_target(named)
        if (format or ("" if named is None else named.suffix.lstrip(".").lower())) != "html":
            super().save(fp, format, *args, **settings)
            return
        spec = {key: value for key, value in self.to_dict().items() if key != "$schema"}
        text = _HTML.format(library=standalone.chart_library(), spec=standalone.script_json(spec))
        if named is None:
            cast("IO[str]", fp).write(text)
        else:
            standalone.write_whole(named, text)

    def _repr_mimebundle_(self, *_args: Any, **_settings: Any) -> dict[str, str]:
        # Altair's default fetches its scripts from a network.
        picture = io.StringIO()
        self.save(picture, format="svg")
        return {"image/svg+xml": picture.getvalue(), "text/plain": f"<{type(self).__name__}>"}


class Layers(_Offline, alt.LayerChart):
    """One chart: an `altair.LayerChart` that needs no network."""


class Column(_Offline, alt.VConcatChart):
    """Charts below each other: an `altair.VConcatChart` that needs no network."""


def draw(result: Recommendation | Sweep | RangeTest | Search | Trial | LearningCurve) -> Layers | Column:
    """Draw a result.

    Args:
        result: What a verb returned, one of its trials, or a learning curve.

    Returns:
        An Altair chart.

    Raises:
        InvalidArgumentError: If it is none of these.

    Example:
        >>> curve = LearningCurve.from_rows([(1, {"loss": 0.9, "val_loss": 0.8}), (2, {"loss": 0.5, "val_loss": 0.6})])
        >>> type(draw(curve)).__name__
        'Layers'
    """
    if isinstance(result, Recommendation):
        return recommendation(result)
    if isinstance(result, Sweep):
        return sweep(result)
    if isinstance(result, RangeTest):
        return range_test(result)
    if isinstance(result, Search):
        return search(result)
    if isinstance(result, Trial):
        return trial(result)
    if isinstance(result, LearningCurve):  # pyright: ignore[reportUnnecessaryIsInstance]  # a caller may pass anything
        return curve(result)
    msg = (
        f"a {type(result).__name__} cannot be drawn; give a Recommendation, a Sweep, a RangeTest, a Search, "
        "a Trial or a LearningCurve"
    )
    raise InvalidArgumentError(msg)


def recommendation(answer: Recommendation) -> Column:
    """Draw a recommendation: the metric against the learning rate, and the learning curves."""
    specs = [rate_drawings.response(answer)]
    if answer.trials:
        specs.append(curve_drawings.overlay(answer.trainings, answer.metric))
    return _column(specs)


def sweep(result: Sweep) -> Column:
    """Draw a sweep: the metric against the learning rate, and the learning curves."""
    return _column([rate_drawings.response(result), *_curves(result.trials, result.metric)])


def search(result: Search) -> Column:
    """Draw a search: what matters most where that is known, the metric against each hyperparameter, and all together.

    Raises:
        InvalidArgumentError: If no trial ended well: there is nothing to draw.
    """
    if not any(trial.value is not None for trial in result.trials):
        msg = "no trial of the search ended well, so there is nothing to draw; its trials say why: result.trials"
        raise InvalidArgumentError(msg)
    importance = [search_drawings.importance(result)] if result.importance else []
    slices = {"concat": search_drawings.slices(result, width=axes.WIDTH // 2 - 50), "columns": 2}
    return _column([*importance, slices, search_drawings.parallel(result)])


def response(answer: Recommendation | Sweep) -> Layers:
    """Draw the metric against the learning rate, on a log axis.

    Of a sweep, every trial by its state. Of a recommendation, a row of points for each length that trainings were
    compared at, hollow where one was left there; the learning rates between which the best lies shaded; where training
    broke, and the user's own rate. What lies beyond the axis stands at its end, and the axis says so.
    """
    return _layers(rate_drawings.response(answer))


def learning_curves(trials: Sequence[Trial], metric: str) -> Column:
    """Draw learning curves, training dashed and validation solid.

    All trials on one chart, then one small chart a learning rate with `metric` on the left axis and, on the right, a
    second one: the loss, or the accuracy where `metric` is the loss.

    Args:
        trials: The trials to draw; of more than a dozen, the small charts show a dozen spread over the learning rates.
        metric: The metric's name, with or without `val_`.

    Raises:
        InvalidArgumentError: If there are no trials, or none reported the metric.
    """
    return _column(_curves(trials, metric))


def _curves(trials: Sequence[Trial], metric: str) -> list[axes.Spec]:
    known = curve_drawings.reported(trials)
    if curve_drawings.parts(metric)[0] not in known:
        msg = f"no trial reported {metric!r}: the trials reported {', '.join(known) or 'nothing'}; choose one of these"
        raise InvalidArgumentError(msg)
    return [curve_drawings.overlay(trials, metric), curve_drawings.small_multiples(trials, metric)]


def trial(result: Trial) -> Layers:
    """Draw one trial's learning curves: two metrics, training dashed and validation solid."""
    names = curve_drawings.reported([result])
    return _single(result, names, curve_drawings.label(result))


def curve(result: LearningCurve) -> Layers:
    """Draw one learning curve: two metrics, training dashed and validation solid."""
    alone = Trial(
        number=0,
        hyperparameters={"learning_rate": math.nan},
        state=TrialState.COMPLETE,
        curve=result,
        value=None,
        seed=0,
        seconds=0.0,
    )
    return _single(alone, curve_drawings.reported([alone]), "learning curve")


def _single(result: Trial, names: list[str], title: str) -> Layers:
    if not names:
        msg = "the learning curve has no metrics to draw: train for at least one epoch"
        raise InvalidArgumentError(msg)
    both = curve_drawings.pair([result], next((name for name in names if "loss" in name), names[0]))
    rows = curve_drawings.curve_rows([result], [name for name in both if name is not None])
    return _layers(axes.titled(curve_drawings.single([result], both, rows, width=560, height=300), title))


def range_test(result: RangeTest) -> Column:
    """Draw a range test: the loss and its change over the learning rate, each rule's suggestion, and the cliff."""
    return range_tests({"": result})


def range_tests(results: Mapping[str, RangeTest]) -> Column:
    """Draw several range tests on one chart, each by its name.

    Raises:
        InvalidArgumentError: If there is none.
    """
    if not results:
        msg = 'there is no range test to draw; give at least one, such as {"SGD": result}'
        raise InvalidArgumentError(msg)
    return _column([rate_drawings.losses(results), rate_drawings.loss_changes(results)])


def schedule(plan: Schedule, *, epochs: float | None = None) -> Layers:
    """Draw a schedule: the learning rate of each step, or over so many epochs where they are given.

    Example:
        >>> from learnrate import schedules
        >>> type(schedule(schedules.cosine(0.1, 100), epochs=10)).__name__
        'Layers'
    """
    return _layers(rate_drawings.schedule(plan.values(), epochs=epochs))


def _layers(spec: axes.Spec) -> Layers:
    return cast("Layers", _chart(spec, Layers))


def _column(specs: list[axes.Spec]) -> Column:
    inner = [{key: value for key, value in spec.items() if key != "params"} for spec in specs]
    apart = {"scale": dict.fromkeys(("color", "shape", "strokeDash"), "independent")}
    return cast("Column", _chart({"params": [axes.PICKED], "vconcat": inner, "resolve": apart}, Column))


def _chart(spec: axes.Spec, kind: Any = None) -> alt.TopLevelMixin:
    """Return a description as a chart of Altair's: `from_dict` takes seconds, as it tries each part on each class."""
    held = dict(spec)
    for name, plain in (("layer", alt.LayerChart), ("vconcat", alt.VConcatChart), ("concat", alt.ConcatChart)):
        if name in held:
            kind = kind or plain
            held[name] = [_chart(part) for part in held[name]]
    if "data" in held:
        # As one text, since rows are checked one by one.
        rows = json.dumps(held["data"]["values"], allow_nan=False)
        held["data"] = alt.InlineData(values=rows, format=alt.DataFormat(type="json"))
    if "encoding" in held:
        held["encoding"] = alt.FacetedEncoding(**held["encoding"])
    if "params" in held:
        held["params"] = [alt.VariableParameter(**param) for param in held["params"]]
    return (kind or alt.Chart)(**held)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = [key for key in over if isinstance(over[key], dict) and isinstance(under.get(key), dict)]
    return {**under, **over, **{key: _merged(under[key], over[key]) for key in both}}
