"""What a learning curve can show, one check each: how strongly, and with which numbers.

A strength is r / (1 + r), where r is what was measured over what counts: 0.5 stands exactly at the border. Everything
is measured in two units that scale and shift with the losses: the fall, from the start of training to the lowest level,
and the noise, the deviation from the trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from learnrate._diagnosis.trends import Forecast, Turn, best_by, noise, turn
from learnrate._numbers import epoch_number, percent, short
from learnrate.curves import GOOD
from learnrate.results import DiagnosisVerdict, Finding

if TYPE_CHECKING:
    from learnrate.curves import Array, Mode

MARKED = 0.04  # of the fall: what twice as many epochs must bring before they are worth it
RESTLESS = 0.05  # of the fall: noise from epoch to epoch that hides the trend
RESTLESS_IN_ALL = 0.015  # the same where the fall is known from before training: the first epoch brings most of it
WIDE = 0.1  # of the fall: a gap between training and validation that is worth a word
LEARNED = 0.75  # an accuracy that no untrained model has, unless one class is most of the data
EXPLODES = 20.0  # times all of the rise before: what the last row brings where a metric runs away
UNMISTAKABLE = 50.0  # squared noise that a rise must explain; where there is only noise, up to 15 are seen
MOST_ROWS = 500  # more rows are averaged in stretches: the shape is the same, and the noise is less


@dataclass(frozen=True)
class Series:
    """One metric at the rows where it is finite, with its sign turned so that smaller is better.

    `times` are the epochs counted from the start of training, `start` the value before training where it is known.
    """

    name: str
    mode: Mode
    epochs: Array
    times: Array
    y: Array
    untrained: float | None = None

    @property
    def sign(self) -> float:
        return 1.0 if self.mode == "min" else -1.0

    @cached_property
    def coarse(self) -> Series:
        """The same, in at most twice `MOST_ROWS` rows."""
        if len(self.y) <= 2 * MOST_ROWS:
            return self
        starts = np.linspace(0, len(self.y), MOST_ROWS + 1).astype(np.intp)
        counts = np.diff(starts)
        epochs, times, y = (np.add.reduceat(each, starts[:-1]) / counts for each in (self.epochs, self.times, self.y))
        return Series(self.name, self.mode, epochs, times, y, self.untrained)

    @cached_property
    def turn(self) -> Turn:
        return turn(self.y)

    @cached_property
    def noise(self) -> float:
        return noise(self.y)

    @property
    def start(self) -> float:
        return float(self.y[0]) if self.untrained is None else self.untrained

    @property
    def low(self) -> float:
        return float(self.turn.level.min())

    @property
    def onset(self) -> int:
        """Return the row from which on it only gets worse: the turn, or the best row before it that is more than luck.

        A dip early on, with a bump behind it, is averaged away where the turn is fitted.
        """
        best = int(np.argmin(self.y))
        return best if best < self.turn.row and self.y[best] < self.low - 3 * self.noise else self.turn.row

    @property
    def fall(self) -> float:
        return max(self.start - self.low, 0.0)

    def level(self, part: float) -> float:
        """Return the level where so much of the curve is over: the median of the tenth of the rows before."""
        end = max(1, round(part * len(self.y)))
        return float(np.median(self.y[max(0, end - self.window) : end]))

    @property
    def window(self) -> int:
        return max(1, len(self.y) // 10)

    @property
    def error(self) -> float:
        """The standard error of the difference of two levels: a median of n normal values varies by 1.25 σ/√n."""
        return 1.25 * self.noise * (2 / self.window) ** 0.5

    def expected(self, time: float) -> Forecast:
        """Return the best value to expect by that time: never worse than the best so far."""
        later = best_by(self.times, self.y, time)
        return Forecast(*(max(level, -1.0) for level in later)) if self.is_share else later

    @property
    def is_share(self) -> bool:
        """Whether this is an accuracy or the like, which cannot exceed 1."""
        return self.mode == "max" and bool(((self.y >= -1) & (self.y <= 0)).all())

    def after(self, time: float) -> Series | None:
        """Return the rows after a time; None where there are fewer than three."""
        rows = self.times > time
        if np.count_nonzero(rows) < 3:
            return None
        return Series(self.name, self.mode, self.epochs[rows], self.times[rows], self.y[rows])

    def shown(self, y: float) -> str:
        """Return a level as the log would write it."""
        return short(y * self.sign, 3)

    def at(self, row: int) -> str:
        """Return a row's epoch in words."""
        return f"epoch {epoch_number(self.epochs[row])}"


@dataclass(frozen=True)
class Case:
    """What the checks look at: the deciding metric, and beside it its training metric and an accuracy where known."""

    metric: Series
    training: Series | None
    accuracy: Series | None
    num_validation_samples: int | None

    @property
    def has_learned(self) -> bool:
        """Whether there is an accuracy that no untrained model has."""
        return self.accuracy is not None and -self.accuracy.low >= LEARNED

    @property
    def nothing_gained(self) -> bool:
        """Whether neither the metric nor its training metric was ever better than before training."""
        start = self.metric.untrained
        known = [series for series in (self.metric, self.training) if series is not None]
        return start is not None and not self.has_learned and all(series.y.min() >= start for series in known)

    def training_falls_on(self) -> bool | None:
        """Say whether the training metric goes on improving after the metric's turn, and does not lose it again.

        None where that is not known, or where it has settled: it stays at its best, within 1 % of its fall.
        """
        later = self.training.after(self.metric.times[self.metric.turn.row]) if self.training else None
        if self.training is None or later is None:
            return None
        third = len(later.y) // 3
        begin, middle, end = (np.median(part) for part in (later.y[:third], later.y[third:-third], later.y[-third:]))
        little = GOOD * self.training.fall
        if end - min(begin, middle) > max(2 * later.noise, little):
            return False
        if begin - end > 2 * later.noise:
            return True
        return None if later.noise <= little and end - self.training.low <= little else False

    @property
    def at_chance(self) -> bool:
        """Whether there is an accuracy, and it never gets better than in its first row by more than its noise."""
        if self.accuracy is None:
            return False
        y = self.accuracy.y
        return self.accuracy.start - float(np.median(y[len(y) // 2 :])) <= 2 * self.accuracy.noise


def strength(ratio: float) -> float:
    """Return r / (1 + r)."""
    return 1.0 if ratio == float("inf") else max(ratio, 0.0) / (1.0 + max(ratio, 0.0))


def over(measured: float, unit: float) -> float:
    """Return measured / unit: infinite where something was measured and there is no unit."""
    if measured <= 0:
        return 0.0
    return float(measured) / unit if unit > 0 else float("inf")


def diverged(case: Case) -> Finding | None:
    """The metric ends above its start by more than it ever fell, and training does not go on; or training lost half."""
    exploded = _exploded(case.metric)
    if exploded is not None:
        return exploded
    if case.nothing_gained:
        return _lost(case.metric, case.metric.start, 1.0, anywhere=True)
    found = [] if case.training_falls_on() else [_lost(case.metric, case.metric.start, 1.0)]
    training = case.training if case.training is not None else case.metric
    if training is not case.metric or not training.name.startswith("val_"):
        found.append(_lost(training, training.low, 0.5))
    return max((finding for finding in found if finding), key=lambda finding: finding.strength, default=None)


def _exploded(series: Series) -> Finding | None:
    """It only rose, and nearly all of that in the last row: it runs away, however short it is."""
    y = np.concatenate([[series.start], series.y]) if series.untrained is not None else series.y
    if len(y) < 3 or not (y[1:] > y[:-1]).all():
        return None
    before, last = float(y[-2] / 2 - y[0] / 2), float(y[-1] / 2 - y[-2] / 2)  # halves: their difference can be held
    how = strength(over(last, EXPLODES * before))
    evidence = (
        f"{series.name} was {series.shown(series.start)} at the start, has never been better, and runs away: "
        f"{series.shown(float(y[-2]))}, then {series.shown(float(y[-1]))} at {series.at(-1)}."
    )
    return Finding(kind=DiagnosisVerdict.DIVERGED.value, strength=how, evidence=evidence) if how >= 0.5 else None


def _lost(series: Series, base: float, share: float, *, anywhere: bool = False) -> Finding | None:
    row = series.turn.row
    if (row == len(series.y) - 1 and not anywhere) or len(series.y) < 4:
        return None
    rise = series.level(1.0) - base
    before = min(series.noise, noise(series.y[: row + 1])) if row >= 2 else series.noise
    how = strength(min(over(rise, share * series.fall), over(rise, 6 * before), over(rise, 3 * series.noise)))
    evidence = (
        f"{series.name} ends at {series.shown(series.level(1.0))}; it began at {series.shown(series.start)} and was "
        f"best around {series.at(series.turn.row)}, at {series.shown(series.low)}."
    )
    return Finding(kind=DiagnosisVerdict.DIVERGED.value, strength=how, evidence=evidence)


def overfitting(case: Case) -> Finding | None:
    """The smoothed metric turns up for good, while the training metric goes on improving or is not known."""
    series = case.metric
    unknown = case.training is None and not series.name.startswith("val_")
    if unknown or case.nothing_gained or case.training_falls_on() is False:
        return None
    rise = series.level(1.0) - series.low
    short_of = min(1.0, len(series.y) / 30)  # a short curve has fewer squares to explain
    clear = min(over(series.turn.error, series.noise), 1e100) ** 2 / (UNMISTAKABLE * short_of)
    how = strength(min(over(rise, GOOD * series.fall), clear))
    lowest = min(float(series.y[series.onset]), series.low)
    evidence = (
        f"{series.name} was lowest around {series.at(series.onset)} ({series.shown(lowest)}) and has risen to "
        f"{series.shown(series.level(1.0))} by {series.at(-1)}"
    )
    if series.mode == "max":
        evidence = evidence.replace("lowest", "highest").replace("risen", "fallen")
    if case.training is not None:
        evidence += f", while {case.training.name} went on to {case.training.shown(case.training.level(1.0))}"
    return Finding(kind=DiagnosisVerdict.OVERFITTING.value, strength=how, evidence=evidence + ".")


def not_learning(case: Case) -> Finding | None:
    """The metric never gets better than at the start by more than its noise, or the accuracy stays at chance."""
    series, accuracy, training = case.metric, case.accuracy, case.training
    if case.nothing_gained:
        return _never_better(series)
    if len(series.y) < 2 or case.has_learned:
        return None
    if training is not None and accuracy is None and training.level(0.25) - training.level(1.0) > 4 * training.error:
        return None  # something is learned, if not what validation asks for
    better = series.start - float(np.median(series.y[len(series.y) // 2 :]))
    still = series.level(0.5) - series.level(1.0) <= 2 * series.error
    doubt = 2 * series.noise if series.untrained is None else 3.5 * series.noise / len(series.y) ** 0.5
    chance = accuracy is not None and case.at_chance and still
    how = 0.9 if chance else strength(over(doubt, better) if better > 0 else float("inf"))
    evidence = (
        f"{series.name} was {series.shown(series.start)} at the start and is {series.shown(series.level(1.0))} at "
        f"{series.at(-1)}, give or take {short(series.noise)}"
    )
    if accuracy is not None and chance:
        evidence += f"; {accuracy.name} stays at {accuracy.shown(accuracy.level(1.0))}"
    return Finding(kind=DiagnosisVerdict.NOT_LEARNING.value, strength=how, evidence=evidence + ".")


def _never_better(series: Series) -> Finding:
    worse = "below" if series.mode == "min" else "above"
    evidence = (
        f"{series.name} was {series.shown(series.start)} before training and has never been {worse} that: it is "
        f"{series.shown(series.level(1.0))} at {series.at(-1)}"
    )
    return Finding(kind=DiagnosisVerdict.NOT_LEARNING.value, strength=1.0, evidence=f"{evidence}{alone(series)}.")


def alone(series: Series) -> str:
    """Return what is to be said where there is one row only."""
    return "" if len(series.y) > 1 else ", the only row: one row does not show how training goes on"


def too_slow(case: Case) -> Finding | None:
    """Twice as many epochs are expected to bring a marked part of the fall so far."""
    series = case.metric
    if len(series.y) < 2:
        return None
    best, later = float(series.y.min()), series.expected(2 * float(series.times[-1]))
    before = series.y[: -max(1, len(series.y) // 4)][-series.window :]
    falling = over(float(np.median(before)) - series.level(1.0), 4 * series.error)
    how = strength(min(over(best - later.value, MARKED * series.fall), falling))
    evidence = (
        f"{series.name} is still improving at {series.at(-1)} ({series.shown(best)}): twice as many epochs should "
        f"bring it to {series.shown(later.value)}."
    )
    return Finding(kind=DiagnosisVerdict.TOO_SLOW.value, strength=how, evidence=evidence)


def oscillating(case: Case) -> Finding | None:
    """The noise of the later half is a marked part of the fall, and the validation data are not too few to tell."""
    series = case.metric
    late = late_noise(series)
    if late is None:
        return None
    how = strength(over(late, (RESTLESS if series.untrained is None else RESTLESS_IN_ALL) * series.fall))
    share = f"{percent(late / series.fall)} of all that was gained" if series.fall > 0 else "and nothing was gained"
    evidence = f"{series.name} varies by {short(late)} from epoch to epoch around its trend in the later half, {share}"
    accuracy, samples = case.accuracy, case.num_validation_samples
    expected = None if accuracy is None else expected_noise(accuracy, samples)
    if accuracy is not None and expected is not None:
        seen = late_noise(accuracy) or 0.0
        normal = seen <= expected
        how = how / 2 if normal else how
        beside = "" if accuracy.name == series.name else f"{accuracy.name} varies by {short(seen)}, and "
        evidence += f"; {beside}{samples} samples explain {short(expected)}{', so this is normal' if normal else ''}"
    return Finding(kind=DiagnosisVerdict.OSCILLATING.value, strength=how, evidence=evidence + ".")


def late_noise(series: Series) -> float | None:
    """Return the noise of the later half; None where there are too few rows to tell."""
    late = series.y[len(series.y) // 2 :]
    return noise(late) if len(late) >= 3 else None


def expected_noise(accuracy: Series, samples: int | None) -> float | None:
    """Return √(p(1−p)/n), the standard error of an accuracy over n validation samples; None for what is no accuracy."""
    share = -float(np.median(accuracy.y[len(accuracy.y) // 2 :]))
    if samples is None or not accuracy.name.startswith("val_") or not accuracy.is_share:
        return None
    return float((share * (1 - share) / samples) ** 0.5)


def gap_finding(case: Case, gap: float, epoch: float) -> Finding:
    """Validation is worse than training at the best epoch by a marked part of the fall."""
    how = strength(over(gap, WIDE * case.metric.fall))
    name = case.training.name if case.training is not None else ""
    than = f"{'worse' if gap > 0 else 'better'} than {name} at epoch {epoch_number(epoch)}"
    evidence = f"{case.metric.name} is {short(abs(gap))} {than}."
    return Finding(kind="generalization gap", strength=how, evidence=evidence)


def plateaued(case: Case) -> Finding | None:
    """The later half brought less than a hundredth of the fall, or nothing beyond noise."""
    series = case.metric
    if len(series.y) < 4:
        return None
    gain = series.level(0.5) - series.level(1.0)
    what_counts = max(GOOD * series.fall, 2 * series.error)
    how = strength(over(what_counts, gain) if gain > 0 else float("inf"))
    middle = series.at(max(1, round(len(series.y) / 2)) - 1)
    evidence = (
        f"{series.name} was {series.shown(series.level(0.5))} at {middle} and is {series.shown(series.level(1.0))} at "
        f"{series.at(-1)}: the later half brought {'next to nothing' if gain > 0 else 'nothing'}."
    )
    return Finding(kind=DiagnosisVerdict.PLATEAUED.value, strength=how, evidence=evidence)


CHECKS = (diverged, overfitting, not_learning, too_slow, oscillating, plateaued)
