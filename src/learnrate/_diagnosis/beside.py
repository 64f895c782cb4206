"""What the trainings at other learning rates say about each: what one curve alone cannot show."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from learnrate._diagnosis.advice import advised, expected
from learnrate._diagnosis.findings import strength
from learnrate._diagnosis.trends import held, noise
from learnrate._numbers import epoch_number, rate, short
from learnrate.curves import GOOD
from learnrate.results import Diagnosis, DiagnosisVerdict, Finding, Trial, TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate.curves import Array, Mode

_AT_THE_END = 0.95  # of the training: a best epoch after that is the last one, but for luck
_HALF = 0.5  # of the training: a learning rate that needs no more of it to come as far is the faster one


class _Training(NamedTuple):
    """One training that held: its deciding metric where that is finite, smaller is better."""

    trial: Trial
    diagnosis: Diagnosis
    epochs: Array
    y: Array

    @property
    def best(self) -> float:
        return float(self.y.min())

    @property
    def known(self) -> float:
        return known_best(self.y, self.diagnosis.verdict)

    @property
    def best_is_last(self) -> bool:
        return float(self.epochs[self.y.argmin()]) >= _AT_THE_END * float(self.epochs[-1])

    def reached(self, level: float) -> float:
        """Return the first epoch at which the metric was as good, infinity where it never was."""
        return min(self.epochs[self.y <= level].tolist(), default=float("inf"))


def beside_each_other(trials: Sequence[Trial], metric: str, mode: Mode) -> list[Trial]:
    """Return the trials, each diagnosed in the light of the others, which differ from it by the learning rate alone.

    - A training that nothing speaks against is too slow after all where its best epoch is its last, and a larger rate
      had come as far in half of its epochs and went further by what counts.
    - One that is overfitting or oscillating, and to whose best a smaller rate comes and goes further by what counts,
      is told so: no early stopping would make its rate as good.

    How far another went is its `known_best`: no lucky dip. What counts is 1 % of the way from the worst first epoch to
    the best of these, floored at the noise of the best.
    """
    sign = 1.0 if mode == "min" else -1.0
    known = [found for trial in trials if (found := _training(trial, metric, sign)) is not None]
    if not known:
        return list(trials)
    slack = _what_counts(known)
    said = {one.trial.number: _said(one, known, slack, metric, sign) for one in known}
    return [
        msgspec.structs.replace(trial, diagnosis=said[trial.number]) if trial.number in said else trial
        for trial in trials
    ]


def known_best(y: Array, verdict: DiagnosisVerdict) -> float:
    """Return the best value, smaller is better, that a training is known to reach: all luck is taken from a dip.

    Where it does not learn or oscillates, the best of n values is expected Φ⁻¹((n − 3/8) / (n + 1/4)) standard
    deviations below what they vary around, for no other reason than their noise. Source: Blom (1958).
    """
    best, number = float(y.min()), len(y)
    if verdict not in {DiagnosisVerdict.NOT_LEARNING, DiagnosisVerdict.OSCILLATING}:
        return best
    return best + noise(y) * NormalDist().inv_cdf((number - 3 / 8) / (number + 1 / 4))


def _training(trial: Trial, metric: str, sign: float) -> _Training | None:
    if trial.diagnosis is None or trial.state is not TrialState.COMPLETE or metric not in trial.curve.metrics:
        return None
    y = sign * trial.curve.values(metric)
    known = held(y)
    return _Training(trial, trial.diagnosis, trial.curve.epochs[known], y[known]) if known.any() else None


def _what_counts(known: list[_Training]) -> float:
    best = min(known, key=lambda one: one.known)
    start = max(float(one.y[0]) for one in known)
    return max(GOOD * (start - best.known), noise(best.y[len(best.y) // 2 :]))


def _said(one: _Training, known: list[_Training], slack: float, metric: str, sign: float) -> Diagnosis:
    verdict, own = one.diagnosis.verdict, one.trial.learning_rate
    better = [other for other in known if other.known < one.best - slack]
    if verdict is DiagnosisVerdict.HEALTHY and one.best_is_last:
        faster = [other for other in better if other.trial.learning_rate > own]
        ahead = min(faster, key=lambda other: other.reached(one.best), default=None)
        if ahead is not None and ahead.reached(one.best) <= _HALF * float(one.epochs[-1]):
            return _too_slow(one, ahead, metric, sign)
    if verdict in {DiagnosisVerdict.OVERFITTING, DiagnosisVerdict.OSCILLATING}:
        slower = [other for other in better if other.trial.learning_rate < own]
        best = min(slower, key=lambda other: other.known, default=None)
        if best is not None:
            return _too_fast(one, best, metric, sign)
    return one.diagnosis


def _too_slow(one: _Training, ahead: _Training, metric: str, sign: float) -> Diagnosis:
    last, reached = float(one.epochs[-1]), ahead.reached(one.best)
    evidence = (
        f"{metric} is best at the end, {short(sign * one.best)} at epoch {epoch_number(last)}, which "
        f"{rate(ahead.trial.learning_rate)} had reached by epoch {epoch_number(reached)}."
    )
    kind = DiagnosisVerdict.TOO_SLOW
    finding = Finding(kind=kind.value, strength=strength(_HALF * last / reached), evidence=evidence)
    others = [each for each in one.diagnosis.findings if each.kind != kind.value]
    return msgspec.structs.replace(
        one.diagnosis,
        verdict=kind,
        findings=sorted([finding, *others], key=lambda each: -each.strength),
        evidence=evidence,
        advice=advised(kind, expected=expected(one.diagnosis.outlook)),
    )


def _too_fast(one: _Training, best: _Training, metric: str, sign: float) -> Diagnosis:
    told = (
        f"Use a smaller learning rate: {rate(best.trial.learning_rate)} reaches {metric} {short(sign * best.best)}, "
        f"this one never comes below {short(sign * one.best)}."
    )
    if sign < 0:
        told = told.replace("below", "above")
    return msgspec.structs.replace(one.diagnosis, advice=told)
