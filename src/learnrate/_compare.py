"""Which learning rate to use, given logs of trainings at several: see `compare`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from learnrate._checks import positive_number
from learnrate._diagnose import diagnose, to_curve
from learnrate._diagnosis.beside import beside_each_other, known_best
from learnrate._diagnosis.trends import held, noise
from learnrate._logs.metric_names import canonical, deciding, mode_of
from learnrate._numbers import rate, short
from learnrate.curves import GOOD
from learnrate.errors import InvalidArgumentError, UnknownMetricError
from learnrate.logs import Log, read
from learnrate.results import DiagnosisVerdict, Sweep, Trial, TrialState, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate.curves import Array, Mode

_CLOSE = 1.5  # rates closer than this factor need no other in between


class _Rate(NamedTuple):
    """A learning rate, and the means of its trainings' best values and of those they are known to reach.

    The latter is smaller when better (see `known_best`).
    """

    learning_rate: float
    value: float
    loss: float


def compare(
    logs: Iterable[Log | Trial | str | Path] | Mapping[float, Any] | Sweep,
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    num_validation_samples: int | None = None,
) -> Sweep:
    """Say which learning rate to use, given the logs of trainings at several, and what to try next.

    Every training is diagnosed, in the light of the others too: one that looks healthy is too slow where a larger rate
    was there in half of the epochs and went further. Those that diverged do not count. Of the rest the best value
    decides, of what does not learn or oscillates without the part that its noise alone explains. Rates whose values
    differ by less than 1 % of the way from the worst start to the best value, or by less than the noise, count as
    equal: of these the one nearest to the middle of their range is taken, on the log scale, as far as possible from
    training too slowly and from breaking. Several logs of one rate are averaged.

    Args:
        logs: What `learnrate.logs.read` returned, paths of logs, or trials; or a mapping from learning rates to
            learning curves, dicts of lists or Keras's `History` objects; or a `Sweep`. Each with its learning rate.
        metric: The metric that decides; by default the sweep's, or the validation loss, else another validation
            metric, else the training loss, with a warning.
        mode: Whether smaller or larger is better; by default what the metric's name says.
        num_validation_samples: As in `learnrate.diagnose`.

    Raises:
        InvalidArgumentError: If there is no log, or one without a learning rate.
        UnknownMetricError: If a log lacks the metric.

    Example:
        >>> losses = {0.01: [2.0, 1.9, 1.8, 1.7], 0.1: [1.6, 0.9, 0.6, 0.5], 1.0: [2.0, 1.5, 1.9, 1.8]}
        >>> answer = compare({rate: {"val_loss": values} for rate, values in losses.items()})
        >>> answer.learning_rate, answer.verdict.value
        (0.1, 'found')
    """
    if isinstance(logs, Sweep):
        metric, mode = metric or logs.metric, mode or logs.mode
    logs = _logs_of(logs)
    if not logs:
        raise InvalidArgumentError("there is no log to compare: give at least one")
    for log in logs:
        if log.learning_rate is None:
            raise InvalidArgumentError(f"{log.path} names no learning rate: read it with learning_rate=…")
        positive_number(f"the learning rate of {log.path}", log.learning_rate)
    metric, warnings = _metric_of(logs, metric)
    mode = mode or mode_of(metric)
    alone = [_trial(number, log, metric, mode, num_validation_samples) for number, log in enumerate(logs)]
    trials = beside_each_other(alone, metric, mode)
    horizon = max(trial.epochs for trial in trials)
    rates = _rates(trials, metric, mode)
    good = _good(rates, trials, metric, mode)
    best = _middle(good)
    chosen = None if best is None else _best_trial(trials, best.learning_rate, mode)
    reached = None if chosen is None else chosen.curve.best(metric, mode)
    verdict = _verdict(trials, best)
    return Sweep(
        trials=trials,
        metric=metric,
        mode=mode,
        learning_rate=None if best is None else best.learning_rate,
        value=None if best is None else best.value,
        epochs=None if reached is None else reached.epoch,
        horizon=math.ceil(horizon),
        untrained=None,
        verdict=verdict,
        cost=sum(trial.epochs for trial in trials) / horizon if horizon > 0 else 0.0,
        seed=0,
        seconds=0.0,
        warnings=warnings + _notes(good, rates, trials, metric, mode) + _next(trials, verdict, best, chosen),
        settings={"logs": [log.path for log in logs]},
    )


def _logs_of(given: Iterable[Log | Trial | str | Path] | Mapping[float, Any] | Sweep) -> list[Log]:
    if isinstance(given, Sweep):
        given = given.trials
    elif isinstance(given, str | Path) or not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # a caller may pass anything
        given = [given]
    elif isinstance(given, Mapping):
        curves = cast("Mapping[float, Any]", given)
        return [
            Log(path=f"{positive_number('a learning rate', each):g}", learning_rate=float(each), curve=to_curve(curve))
            for each, curve in curves.items()
        ]
    return [log for one in given for log in _logs_in(one)]


def _logs_in(one: Log | Trial | str | Path) -> list[Log]:
    if isinstance(one, Log):
        return [one]
    if isinstance(one, Trial):
        name = f"trial {one.number}"
        return [Log(path=name, learning_rate=one.learning_rate, curve=one.curve)] if len(one.curve) else []
    if isinstance(one, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]  # a caller may pass anything
        return read(one)
    raise InvalidArgumentError(
        f"cannot compare a {type(one).__name__}: give logs, their paths, trials, or {{learning rate: learning curve}}"
    )


def _sign(mode: Mode) -> float:
    return 1.0 if mode == "min" else -1.0


def _metric_of(logs: Sequence[Log], asked: str | None) -> tuple[str, list[str]]:
    known = dict.fromkeys(name for log in logs for name in log.curve.metrics)
    metric = asked if asked in known else canonical(asked or deciding(known) or "val_loss")
    told: list[str] = []
    if metric == "val_loss" and metric not in known:
        metric = "loss"
    if asked in {None, "val_loss"} and metric == "loss":
        told = ["no log has a validation loss: the training loss decides, which says nothing about overfitting"]
    for log in logs:
        if metric not in log.curve.metrics:
            known = ", ".join(sorted(log.curve.metrics)) or "none at all"
            raise UnknownMetricError(f"{log.path} has no metric {metric!r}, it has {known}: choose one that all have")
    return metric, told


def _trial(number: int, log: Log, metric: str, mode: Mode, num_validation_samples: int | None) -> Trial:
    diagnosis = diagnose(log.curve, metric=metric, mode=mode, num_validation_samples=num_validation_samples)
    best = log.curve.best(metric, mode)
    diverged = diagnosis.verdict is DiagnosisVerdict.DIVERGED
    epochs = float(log.curve.epochs[-1])
    return Trial(
        number=number,
        hyperparameters={"learning_rate": log.learning_rate, "log": log.path},
        state=TrialState.DIVERGED if diverged else TrialState.COMPLETE,
        curve=log.curve,
        value=None if best is None else best.value,
        seed=0,
        seconds=0.0,
        epochs=epochs,
        horizon=epochs,
        stage="log",
        diagnosis=diagnosis,
    )


def _rates(trials: list[Trial], metric: str, mode: Mode) -> list[_Rate]:
    """Return the learning rates at which every training held, in order."""
    broken = {trial.learning_rate for trial in trials if trial.state is TrialState.DIVERGED}
    reached: dict[float, list[tuple[float, float]]] = {}
    for trial in trials:
        if trial.value is not None and trial.diagnosis is not None and trial.learning_rate not in broken:
            known = known_best(_curve(trial, metric, mode), trial.diagnosis.verdict)
            reached.setdefault(trial.learning_rate, []).append((trial.value, known))
    return [_Rate(each, *np.mean(both, axis=0).tolist()) for each, both in sorted(reached.items())]


def _curve(trial: Trial, metric: str, mode: Mode) -> Array:
    """Return the deciding metric at the rows where it can be reckoned with, smaller is better."""
    values = trial.curve.values(metric) * _sign(mode)
    return values[held(values)]


def _good(rates: list[_Rate], trials: list[Trial], metric: str, mode: Mode) -> list[_Rate]:
    """Return the learning rates that differ from the best by next to nothing."""
    if not rates:
        return []
    best = min(rates, key=lambda each: each.loss)
    curves = {trial.learning_rate: _curve(trial, metric, mode) for trial in trials}
    start = max(float(curves[each.learning_rate][0]) for each in rates)
    of_the_best = curves[best.learning_rate]
    slack = max(GOOD * (start - best.loss), noise(of_the_best[len(of_the_best) // 2 :]))
    return [each for each in rates if each.loss <= best.loss + slack]


def _middle(good: list[_Rate]) -> _Rate | None:
    """Return the rate nearest to the middle of the good ones on the log scale; of two the better."""
    if not good:
        return None
    middle = (math.log(good[0].learning_rate) + math.log(good[-1].learning_rate)) / 2
    return min(good, key=lambda each: (round(abs(math.log(each.learning_rate) - middle), 6), each.loss))


def _best_trial(trials: list[Trial], learning_rate: float, mode: Mode) -> Trial:
    same = [trial for trial in trials if trial.learning_rate == learning_rate and trial.value is not None]
    return min(same, key=lambda trial: (trial.value or 0.0) * _sign(mode))


def _verdict(trials: list[Trial], best: _Rate | None) -> Verdict:
    if best is None:
        return Verdict.ALL_DIVERGED
    verdicts = {trial.diagnosis.verdict for trial in trials if trial.diagnosis is not None}
    if verdicts == {DiagnosisVerdict.NOT_LEARNING}:
        return Verdict.FLAT
    tried = sorted({trial.learning_rate for trial in trials})
    if len(tried) == 1:
        slow = verdicts & {DiagnosisVerdict.TOO_SLOW, DiagnosisVerdict.NOT_LEARNING}
        return Verdict.TOO_NARROW_RIGHT if slow else Verdict.TOO_NARROW_LEFT
    if best.learning_rate == tried[0]:
        return Verdict.TOO_NARROW_LEFT
    return Verdict.TOO_NARROW_RIGHT if best.learning_rate == tried[-1] else Verdict.FOUND


def _notes(good: list[_Rate], rates: list[_Rate], trials: list[Trial], metric: str, mode: Mode) -> list[str]:
    best = min((each.value * _sign(mode) for each in good), default=-math.inf)
    lucky = [each for each in rates if each not in good and each.value * _sign(mode) < best]
    notes = [
        f"{metric} {short(each.value, 4)} at {rate(each.learning_rate)} is a dip that its noise explains: it is taken "
        f"for {short(each.loss * _sign(mode), 4)}"
        for each in lucky
    ]
    if len(good) > 1:
        low, high = rate(good[0].learning_rate), rate(good[-1].learning_rate)
        equal = f"{len(good)} learning rates from {low} to {high} are equally good, within 1 % or the noise"
        notes.append(f"{equal}: the middle one is recommended")
    lengths = sorted(trial.epochs for trial in trials)
    if lengths[0] < lengths[-1]:
        spread = f"{short(lengths[0], 6)} to {short(lengths[-1], 6)} epochs"
        notes.append(f"the trainings are of different lengths, {spread}: a short one may not have shown its best")
    return notes


def _next(trials: list[Trial], verdict: Verdict, best: _Rate | None, chosen: Trial | None) -> list[str]:
    """Return what to try next."""
    tried = sorted({trial.learning_rate for trial in trials})
    if best is None or chosen is None:
        return [f"try {rate(tried[0] / 10)} next"]
    place = tried.index(best.learning_rate)
    pairs = zip(tried[max(place - 1, 0) : place + 2], tried[max(place, 1) : place + 2], strict=False)
    between = [math.sqrt(a * b) for a, b in pairs if b / a > _CLOSE]
    if verdict is Verdict.TOO_NARROW_LEFT:
        between.insert(0, best.learning_rate / math.sqrt(10))
    elif verdict is Verdict.TOO_NARROW_RIGHT:
        between.append(best.learning_rate * math.sqrt(10))
    said = [f"try {' and '.join(rate(each) for each in between)} next, to refine"] if between else []
    if chosen.diagnosis is not None and chosen.diagnosis.verdict is not DiagnosisVerdict.HEALTHY:
        said.append(f"at {rate(best.learning_rate)}: {chosen.diagnosis.advice}")
    return said
