"""What a learning curve says: see `diagnose`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from learnrate._diagnosis.advice import advice, calm, verdict_of
from learnrate._diagnosis.findings import CHECKS, Case, Series, diverged, expected_noise, gap_finding, late_noise
from learnrate._diagnosis.trends import LARGEST, held
from learnrate._logs.metric_names import (
    canonical,
    canonical_names,
    deciding,
    is_epoch,
    is_learning_rate,
    mode_of,
    training_counterpart,
)
from learnrate._numbers import epoch_number
from learnrate.curves import Best, LearningCurve
from learnrate.errors import InvalidArgumentError, UnknownMetricError
from learnrate.results import Diagnosis, DiagnosisVerdict, Finding, Outlook

if TYPE_CHECKING:
    from learnrate.curves import Array, Mode

_WORTH_SAYING = 0.2


class History(Protocol):
    """What Keras's `fit` returns."""

    @property
    def history(self) -> Mapping[str, Any]:
        """Lists of values by name."""
        ...


def diagnose(
    curve: LearningCurve | Mapping[str, Any] | History | str | Path,
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    num_validation_samples: int | None = None,
    horizon: float | None = None,
    untrained: float | None = None,
) -> Diagnosis:
    """Say what a learning curve shows: how training went, when to stop, what to try.

    Everything is measured against the fall of the metric, from the start of training to its lowest level, and against
    its noise: the answer does not change when losses are scaled or shifted, or epochs renumbered. In this order:

    - diverged: not finite, or beyond 1e300, from some epoch on; or it ends further above its start than it ever was
      below, while training does not go on; or the training metric lost half of what it had gained;
    - overfitting: it turns up for good by over 1 % of the fall, clear of noise, while the training metric goes on or
      has settled;
    - not learning: never better than at the start by more than its noise, or an accuracy at chance that stays there;
    - too slow: twice as many epochs are expected to bring over 4 % of the fall so far;
    - oscillating: noise over 5 % of the fall, over 1.5 % where that is counted from `untrained` on, since the first
      epoch brings most of it; less blame where so few validation samples explain it;
    - plateaued: the later half brought less than 1 % of the fall, or nothing beyond noise;
    - healthy: none of these.

    Args:
        curve: A learning curve; or lists of values by name; or Keras's `History`; or the path of a log.
        metric: The metric that decides; by default the validation loss, else another validation metric, else a
            training metric.
        mode: Whether smaller or larger is better, "min" or "max"; by default what the metric's name says.
        num_validation_samples: How many samples the validation metrics are a mean over. An accuracy p over n samples
            has the standard error √(p(1−p)/n), and as much change from epoch to epoch is nothing to worry about.
        horizon: After how many epochs the outlook is to be; by default twice as many as were trained.
        untrained: The metric before training; by default its first row stands for it.

    Raises:
        InvalidArgumentError: If there is no row, or lengths or epochs are not those of one training.
        UnknownMetricError: If the curve has no such metric.
        LogError: If the path is no log.

    Example:
        >>> val_loss = [1.9, 1.2, 1.0, 1.1, 1.25, 1.4, 1.55, 1.7]
        >>> curve = {"loss": [2.0, 1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02], "val_loss": val_loss}
        >>> diagnosis = diagnose(curve)
        >>> diagnosis.verdict.value, diagnosis.best_epoch, diagnosis.overfitting_onset
        ('overfitting', 3.0, 3.0)
    """
    known = _checked(_curve_of(curve))
    metric = metric_of(known, metric)
    mode = mode or mode_of(metric)
    if mode not in {"min", "max"}:
        raise InvalidArgumentError(f'mode is {mode!r}: it must be "min" or "max"')
    if num_validation_samples is not None and num_validation_samples < 1:
        raise InvalidArgumentError(f"num_validation_samples is {num_validation_samples}: it must be at least 1")
    if untrained is not None and not abs(untrained) <= LARGEST:
        untrained = None  # a model whose loss overflows before training has no start to measure from
    series = _series(known, metric, mode, untrained)
    broken = _broken(known, metric)
    if broken is not None or series is None:
        return _not_finite(known, metric, mode, broken or 0)
    return _said(known, series, num_validation_samples, horizon)


# The curve


def _curve_of(curve: LearningCurve | Mapping[str, Any] | History | str | Path) -> LearningCurve:
    if not isinstance(curve, str | Path):
        return to_curve(curve)
    from learnrate import logs  # a log is a file: only where one is given

    found = logs.read(curve)
    if len(found) != 1:
        raise InvalidArgumentError(f"{curve} holds {len(found)} trainings: diagnose each curve of learnrate.logs.read")
    return found[0].curve


def to_curve(curve: object) -> LearningCurve:
    """Return a learning curve as it is, or make one of lists by name or of Keras's `History`.

    Raises:
        InvalidArgumentError: If it is none of these.
    """
    if isinstance(curve, LearningCurve):
        return curve
    lists = getattr(curve, "history", curve)
    if not isinstance(lists, Mapping):
        raise InvalidArgumentError(
            f"a {type(curve).__name__} is no learning curve: give a LearningCurve, a dict of lists, Keras's History "
            "or the path of a log"
        )
    return curve_of_history(cast("Mapping[str, Any]", lists))


def curve_of_history(history: Mapping[str, Any]) -> LearningCurve:
    """Make a curve of lists of values by name, one value an epoch; names become learnrate's, rates are left out.

    Raises:
        InvalidArgumentError: If the lists are not of the same length, or hold something else than numbers.
    """
    columns: dict[str, Array] = {}
    for name, values in history.items():
        try:
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        except (TypeError, ValueError):
            raise InvalidArgumentError(f"{name} is {values!r:.60}: give a list of numbers, one an epoch") from None
        if columns[name].ndim != 1:
            raise InvalidArgumentError(f"{name} has shape {columns[name].shape}: give one number an epoch")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InvalidArgumentError(f"the lists have different lengths ({told}): give each one value an epoch, or NaN")
    counters = [name for name in columns if is_epoch(name)]
    names = canonical_names(name for name in columns if name not in counters and not is_learning_rate(name))
    count = max(lengths.values(), default=0)
    epochs = columns[counters[0]] if counters else np.arange(1.0, count + 1)
    return LearningCurve(epochs=epochs, metrics={names[name]: columns[name] for name in names})


def _checked(curve: LearningCurve) -> LearningCurve:
    if not len(curve) or not curve.metrics:
        raise InvalidArgumentError("the learning curve is empty: give at least one epoch of one metric")
    for name, values in curve.metrics.items():
        if values.shape != curve.epochs.shape:
            raise InvalidArgumentError(f"{name} has {len(values)} values for {len(curve)} epochs: give one each")
    wrong = np.flatnonzero(~np.isfinite(curve.epochs) | (np.diff(curve.epochs, prepend=-np.inf) <= 0))
    if len(wrong):
        row = int(wrong[0])
        raise InvalidArgumentError(
            f"row {row + 1} is epoch {curve.epochs[row]:g}: epochs must increase from row to row; give each training a "
            "curve of its own"
        )
    metrics = {name: values.astype(np.float64, copy=False) for name, values in curve.metrics.items()}
    return LearningCurve(epochs=curve.epochs.astype(np.float64, copy=False), metrics=metrics)


def metric_of(curve: LearningCurve, metric: str | None) -> str:
    """Return the name under which a curve has a metric; the one that decides where None is asked for.

    Raises:
        UnknownMetricError: If the curve has no such metric, or none whose name is known.
    """
    if metric is None:
        chosen = deciding(curve.metrics)
        if chosen is None:
            known = ", ".join(sorted(curve.metrics))
            raise UnknownMetricError(f"none of {known} is known to be a loss or a score: pass metric= and mode=")
        return chosen
    name = metric if metric in curve.metrics else canonical(metric)
    curve.values(name)
    return name


def _series(curve: LearningCurve, metric: str | None, mode: Mode, untrained: float | None = None) -> Series | None:
    """Return the rows at which a metric can be reckoned with; None where there are none."""
    if metric is None:
        return None
    sign = 1.0 if mode == "min" else -1.0
    values = curve.metrics[metric]
    rows = held(values)
    if not rows.any():
        return None
    spacing = float(np.median(np.diff(curve.epochs))) if len(curve) > 1 else 1.0
    times = curve.epochs - curve.epochs[0] + spacing
    start = None if untrained is None else sign * untrained
    return Series(metric, mode, curve.epochs[rows], times[rows], sign * values[rows], start)


def _broken(curve: LearningCurve, metric: str) -> int | None:
    """Return the first of the last rows that are not finite; None where the curve ends with numbers.

    NaN also stands where a row has no value: in the last rows it means something only where the metric came regularly
    before, and where the training metric is missing too.
    """
    trailing = [_trailing(curve.metrics[metric])]
    training = training_counterpart(metric, curve.metrics)
    if training is not None:
        trailing.append(_trailing(curve.metrics[training]))
    both = max(trailing)
    if both < len(curve):
        return both
    losses = [_trailing(curve.metrics[name]) for name in ("loss", "val_loss") if name in curve.metrics]
    first = min(losses, default=len(curve))  # an accuracy stays finite where the loss is not
    return first if len(curve) - first >= 2 else None


def _trailing(values: Array) -> int:
    """Return the row from which on no value is finite, if that lasts longer than any gap before; else the length."""
    finite = np.flatnonzero(held(values))
    if len(finite) == len(values):
        return len(values)
    last = int(finite[-1]) + 1 if len(finite) else 0
    gap = int(np.diff(finite, prepend=-1).max(initial=1)) - 1
    missing = len(values) - last
    return last if missing > gap or (np.abs(values[last:]) > LARGEST).any() else len(values)


# What is said


def _said(curve: LearningCurve, full: Series, num_validation_samples: int | None, horizon: float | None) -> Diagnosis:
    training = _series(curve, training_counterpart(full.name, curve.metrics), full.mode)
    accuracy = _series(
        curve, next((name for name in ("val_accuracy", "accuracy") if name in curve.metrics), None), "max"
    )
    case = Case(
        metric=full.coarse,
        training=None if training is None else training.coarse,
        accuracy=None if accuracy is None else accuracy.coarse,
        num_validation_samples=num_validation_samples,
    )
    found = [finding for check in CHECKS if (finding := check(case)) is not None]
    verdict = verdict_of(found)
    best = Best(*_best(full))
    gap = _gap(full, training)
    if gap is not None:
        found.append(gap_finding(case, gap, best.epoch))
    outlook = _outlook(full, horizon)
    asked = [one for one in found if one.kind == DiagnosisVerdict.OSCILLATING.value and num_validation_samples]
    onset = float(case.metric.epochs[case.metric.onset])
    return Diagnosis(
        verdict=verdict,
        findings=sorted((one for one in found if one.strength >= _WORTH_SAYING or one in asked), key=_weakness),
        evidence=next((one.evidence for one in found if one.kind == verdict.value), calm(case)),
        advice=advice(verdict, case, best, outlook),
        best_epoch=best.epoch,
        overfitting_onset=onset if verdict is DiagnosisVerdict.OVERFITTING else None,
        generalization_gap=gap,
        validation_noise=late_noise(full) if full.name.startswith("val_") else None,
        expected_noise=expected_noise(full, num_validation_samples),
        outlook=outlook,
    )


def _weakness(finding: Finding) -> float:
    return -finding.strength


def _best(series: Series) -> tuple[float, float]:
    row = int(np.argmin(series.y))
    return float(series.epochs[row]), float(series.y[row]) * series.sign


def _gap(series: Series, training: Series | None) -> float | None:
    """Return how much worse the metric is than its training metric at the best epoch."""
    if training is None:
        return None
    row = int(np.argmin(series.y))
    there = np.flatnonzero(training.epochs == series.epochs[row])
    return float(series.y[row] - training.y[there[0]]) if len(there) else None


def _outlook(full: Series, horizon: float | None) -> Outlook | None:
    """Return what to expect by the horizon; None where there is one row only, or the horizon has been reached."""
    last = float(full.epochs[-1])
    horizon = last + float(full.times[-1]) if horizon is None else horizon
    if len(full.y) < 2 or not last < horizon < float("inf"):
        return None
    coarse = full.coarse
    luck = float(coarse.y.min() - full.y.min())  # what averaging has taken from the best
    least = _least(full.y, full.sign)
    value, low, high = (
        max(level - luck, least) * full.sign for level in coarse.expected(float(full.times[-1]) + horizon - last)
    )
    return Outlook(epochs=round(horizon), value=value, low=min(low, high), high=max(low, high))


def _least(values: Array, sign: float) -> float:
    """Return what a quantity cannot fall below, smaller being better.

    A loss that was never negative is taken to end at 0, a share that was never outside 0 and 1 at 1.
    """
    known = values[np.isfinite(values)] * sign
    if sign > 0:
        return 0.0 if (known >= 0).all() else -math.inf
    return -1.0 if ((known >= 0) & (known <= 1)).all() else -math.inf


def _not_finite(curve: LearningCurve, metric: str, mode: Mode, row: int) -> Diagnosis:
    names = [name for name, values in curve.metrics.items() if not held(values[-1:])[0]]
    best = curve.best(metric, mode)
    what = "beyond 1e300" if all(np.isfinite(curve.metrics[name][-1]) for name in names) else "not finite"
    verb = "is" if len(names) == 1 else "are"
    evidence = f"{' and '.join(names)} {verb} {what} from epoch {epoch_number(curve.epochs[row])} on."
    said = "Use a smaller learning rate, a third or a tenth of this one, a warm-up, or gradient clipping"
    training = _series(curve, training_counterpart(metric, curve.metrics), mode)
    if training is not None and len(training.y) == len(curve) and _stays_sane(training):
        said = f"Look for NaN in the validation data: {training.name} stays finite"
    elif row == 0:
        said += "; if that does not help, look for NaN and infinity in the data"
    return Diagnosis(
        verdict=DiagnosisVerdict.DIVERGED,
        findings=[Finding(kind=DiagnosisVerdict.DIVERGED.value, strength=1.0, evidence=evidence)],
        evidence=evidence,
        advice=f"{said}.",
        best_epoch=None if best is None else best.epoch,
    )


def _stays_sane(training: Series) -> bool:
    """Say whether a training metric neither diverges nor climbs from its start beyond its noise."""
    found = diverged(Case(metric=training.coarse, training=None, accuracy=None, num_validation_samples=None))
    climbs = len(training.y) > 2 and training.level(1.0) - training.start > 3 * training.noise
    return not climbs and (found is None or verdict_of([found]) is not DiagnosisVerdict.DIVERGED)
