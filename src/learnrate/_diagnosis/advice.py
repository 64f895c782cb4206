"""Which of its findings a diagnosis names, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnrate._diagnosis.findings import alone
from learnrate._numbers import epoch_number, short
from learnrate.results import DiagnosisVerdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate._diagnosis.findings import Case
    from learnrate.curves import Best
    from learnrate.results import Finding, Outlook

_BORDER = 0.5
_FIRST = (DiagnosisVerdict.DIVERGED, DiagnosisVerdict.OVERFITTING, DiagnosisVerdict.NOT_LEARNING)
_SECOND = (DiagnosisVerdict.TOO_SLOW, DiagnosisVerdict.OSCILLATING)
_EARLY = 0.1  # of the run: what overfits before that has hardly trained
_REGULARISE = "dropout, weight decay, augmentation or more data"


def verdict_of(findings: Iterable[Finding]) -> DiagnosisVerdict:
    """Return the finding that is named: the most serious one that is beyond its border; healthy where none is.

    The order is diverged, overfitting, not learning; then the stronger of too slow and oscillating; then plateaued.
    """
    strengths = {finding.kind: finding.strength for finding in findings}
    stronger = max(_SECOND, key=lambda verdict: strengths.get(verdict.value, 0.0))
    beyond = (
        each for each in (*_FIRST, stronger, DiagnosisVerdict.PLATEAUED) if strengths.get(each.value, 0) >= _BORDER
    )
    return next(beyond, DiagnosisVerdict.HEALTHY)


def calm(case: Case) -> str:
    """Return the evidence where nothing is wrong."""
    series = case.metric
    went = "fell" if series.mode == "min" else "rose"
    if len(series.y) == 1:
        how = "is" if series.untrained is None else f"{went} from {series.shown(series.start)} before training to"
        return f"{series.name} {how} {series.shown(series.low)} at {series.at(0)}{alone(series)}."
    return (
        f"{series.name} {went} from {series.shown(series.start)} to {series.shown(float(series.y.min()))} by "
        f"{series.at(int(series.y.argmin()))}, and nothing speaks against it."
    )


def advice(verdict: DiagnosisVerdict, case: Case, best: Best, outlook: Outlook | None) -> str:
    """Return what to do, in a sentence."""
    if len(case.metric.y) == 1 and verdict is DiagnosisVerdict.HEALTHY:
        return "Train for more epochs."
    early = int(case.metric.y.argmin()) < max(3, _EARLY * len(case.metric.y))
    return advised(verdict, stop=f"epoch {epoch_number(best.epoch)}", expected=expected(outlook), early=early)


def advised(verdict: DiagnosisVerdict, *, stop: str = "", expected: str = "", early: bool = False) -> str:
    """Return what a verdict advises: where to stop, and what is expected, in words; `early` if it overfits at once."""
    text = _OVERFITTING_EARLY if early and verdict is DiagnosisVerdict.OVERFITTING else _ADVICE[verdict]
    return text.format(stop=stop, regularise=_REGULARISE, expected=expected)


_ADVICE = {
    DiagnosisVerdict.DIVERGED: (
        "Use a smaller learning rate, a third or a tenth of this one; until then keep the weights of {stop}."
    ),
    DiagnosisVerdict.NOT_LEARNING: (
        "Try learning rates ten times smaller and ten times larger; if none learns, check that the targets belong to "
        "the inputs, that no parameter is frozen and that gradients reach them all."
    ),
    DiagnosisVerdict.TOO_SLOW: ("Train for more epochs{expected}, or use a learning rate three to ten times as large."),
    DiagnosisVerdict.OVERFITTING: (
        "Stop at {stop} and keep its weights (early stopping): up to there this learning rate is good; to get further, "
        "regularise: {regularise}."
    ),
    DiagnosisVerdict.OSCILLATING: (
        "Use a smaller learning rate, one that decays, or larger batches; until then keep the weights of {stop}."
    ),
    DiagnosisVerdict.PLATEAUED: (
        "Stop at {stop}: more epochs at this rate bring next to nothing; to get further, lower the learning rate there "
        "(a decay, or reduce on plateau)."
    ),
    DiagnosisVerdict.HEALTHY: ("Keep this learning rate, and the weights of {stop}{expected}."),
}
_OVERFITTING_EARLY = (
    "Stop at {stop} and keep its weights; it is that early that a smaller learning rate is worth a try, and so is "
    "regularising: {regularise}."
)


def expected(outlook: Outlook | None) -> str:
    """Return what more epochs are expected to bring, in brackets; nothing where that is not known."""
    if outlook is None:
        return ""
    value, low, high = (short(number, 3) for number in (outlook.value, outlook.low, outlook.high))
    return f" ({value} is expected by epoch {outlook.epochs}, 90 % interval {low} to {high})"
