"""What the curve of a range test says: losses against learning rates in, suggestions and a verdict out.

Everything here works on log₁₀ of the learning rate, so that a curve of 100 steps and one of 1,000, spaced
exponentially or linearly, are read alike; and in units of the curve itself (how far the loss fell, how noisy it is),
so that scaling a loss or adding a constant to it moves nothing.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from learnrate.errors import InvalidArgumentError
from learnrate.results import Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from learnrate.curves import Array

BANDWIDTH = 0.4
"""Decades that the smoothing reaches to each side: the descent of a range test takes one to three."""

_WINDOW = 5  # steps of the running median: two wild losses in a row break nothing
_BREAK = 6.0  # a rise of so many standard deviations of one step's noise is no noise
_SIGNIFICANT = 4.0  # standard errors that the fall must have: the best of some thirty places is looked for
_ROWS = 256  # points smoothed at a time: a square of all points would not fit
_OFF = 3.0  # a factor: doubtful is what may well be off by more
_PLAIN = 10.0  # of smaller falls, in standard deviations of one step's noise, half are read worse; of others a fifth
_EDGE = 0.5  # decades at either end: the loss must not have fallen yet, or fall no more
_EDGE_SHARE = 0.25  # of the whole fall, on the left
_FALLEN = 0.97  # of the whole fall: on a flat bottom the lowest point lies anywhere
_SLOW = 300.0  # steps a decade: a climb as slow as that turns where a whole training does
_BELOW_CLIFF = (20.0, 200.0)  # what trains well lies between these factors below the cliff


class Smooth(NamedTuple):
    """A curve without its noise: values, slopes per decade, and the share of one step's noise that is left."""

    values: Array
    slopes: Array
    noise_left: Array


class Analysis(NamedTuple):
    """What a range test's curve says: see `analyse`."""

    smoothed: Array
    loss_changes: Array
    suggestions: dict[str, float | None]
    cliff: float | None
    verdict: Verdict
    warnings: list[str]


def analyse(
    learning_rates: ArrayLike,
    losses: ArrayLike,
    *,
    training_losses: ArrayLike | None = None,
    cliff: float | None = None,
    bandwidth: float = BANDWIDTH,
) -> Analysis:
    """Read the curve of a range test.

    Our own suggestion, "learnrate", is read off in three moves:

    1. the rate at which the smoothed loss has made 97 % of its fall: there the descent ends;
    2. times `(steps per decade there / 300)^(1/3)`, at most 1: a quick climb trains little at each rate, so that its
       loss turns later than a whole training's does;
    3. kept between a 200th and a 20th of the cliff, where there is one.

    A warning calls it doubtful where the loss fell by less than ten times its noise from step to step, and where the
    third move changed it by more than a factor of 3.

    Args:
        learning_rates: The rate of each step, ascending.
        losses: The loss of each step, smaller when better; NaN or infinity from where training diverged.
        training_losses: What tells where training broke; the losses themselves where they are the training losses. A
            validation loss has too little noise to tell a break from a drift.
        cliff: Where a quicker climb broke, if there was one; the third move then goes by it, unless the loss falls on
            beyond.
        bandwidth: Decades over which the loss is smoothed, to each side.

    Returns:
        The smoothed loss and its change a step (NaN from where training diverged), the rules' suggestions (None where
        a rule finds nothing), the cliff, a verdict and warnings.

    Raises:
        InvalidArgumentError: If the arrays are empty or of different lengths, or the rates are not positive and
            ascending.

    Example:
        >>> rates = np.geomspace(1e-6, 1.0, 121)
        >>> losses = 2.0 - 1.5 / (1 + (1e-3 / rates) ** 2) + (rates / 0.1) ** 4
        >>> analysis = analyse(rates, losses)
        >>> analysis.verdict.value, f"{analysis.suggestions['steepest']:.1e}"
        ('found', '1.0e-03')
    """
    rates, values = _checked(learning_rates, losses)
    x = np.log10(rates)
    broken = broken_at(values if training_losses is None else _checked(rates, training_losses)[1])
    finite = _finite_length(values)
    end = finite if broken is None else min(broken, finite)
    own = None if broken is None else float(rates[broken])
    smoothed, changes = np.full(len(rates), np.nan), np.full(len(rates), np.nan)
    suggestions: dict[str, float | None] = dict.fromkeys((*RULES, "learnrate"))
    if end < min(3, len(rates)):
        smoothed[:finite] = values[:finite]
        return Analysis(smoothed, changes, suggestions, own, Verdict.ALL_DIVERGED, [])
    noise = _noise(values[:end])
    curve = smooth(x[:finite], _clipped(values[:finite], end, noise), bandwidth)
    smoothed[:finite] = curve.values
    changes[:finite] = curve.slopes * (np.gradient(x[:finite]) if finite > 1 else 0.0)
    seen = _Seen.of(x[:end], Smooth(*(part[:end] for part in curve)), noise)
    stumbled = cliff is not None and bool(rates[seen.floor] >= cliff)
    cliff = None if stumbled else cliff  # the slow climb passed there, and its loss fell on
    breaks = min((rate for rate in (cliff, own) if rate is not None), default=None)
    verdict = _verdict(seen, x, broke=breaks is not None or stumbled)
    if seen.fell:
        suggestions.update((name, float(10 ** rule(seen.x, seen.curve))) for name, rule in RULES.items())
    suggestions["learnrate"], doubts = _ours(seen, cliff or breaks, breaks)
    return Analysis(smoothed, changes, suggestions, breaks, verdict, doubts + _warnings(x, end, breaks))


class _Seen(NamedTuple):
    """The smoothed curve up to where it broke, and the fall in it, from its start to its lowest point."""

    x: Array
    curve: Smooth
    noise: float
    start: float
    floor: int

    @classmethod
    def of(cls, x: Array, curve: Smooth, noise: float) -> _Seen:
        return cls(x, curve, noise, float(np.median(curve.values[:_WINDOW])), int(np.argmin(curve.values)))

    @property
    def fall(self) -> float:
        return self.start - float(self.curve.values[self.floor])

    @property
    def fell(self) -> bool:
        return len(self.x) >= _WINDOW and self.fall > _SIGNIFICANT * self.error(0, self.floor)

    def error(self, i: int, j: int) -> float:
        """Return the standard error of the difference of two points."""
        return self.noise * math.hypot(self.curve.noise_left[i], self.curve.noise_left[j])

    @property
    def fallen(self) -> int:
        """Return where nearly all of the fall is made."""
        values = self.curve.values[: self.floor + 1]
        level = values[-1] + (1 - _FALLEN) * max(self.fall, 0.0)
        return int(np.flatnonzero(values <= level)[0])


def _ours(seen: _Seen, anchor: float | None, breaks: float | None) -> tuple[float | None, list[str]]:
    """Return our own suggestion, None where there is nothing to go by, and what is doubtful about it."""
    doubts: list[str] = []
    if len(seen.x) < _WINDOW or seen.fall <= 0:
        return None, doubts
    if not seen.fell:
        doubts.append(
            "no plain descent was seen, only the cliff or the end of the range, "
            "so our suggestion may be off by a factor of 10; larger batches make it clearer"
        )
    elif seen.fall < _PLAIN * seen.noise:
        doubts.append(
            f"the loss fell by only {seen.fall / seen.noise:.1f} times its noise from step to step: "
            f"our suggestion may be off by a factor of {_OFF:g}; larger batches make it clearer"
        )
    place = seen.fallen
    density = 1 / float(np.gradient(seen.x)[place])
    rate = float(10 ** seen.x[place]) * min(density / _SLOW, 1.0) ** (1 / 3)
    if anchor is None or breaks is None:
        return (rate if seen.fell else float(10 ** seen.x[-1]) / 2), doubts  # what moves nothing is too small
    lowest, highest = anchor / _BELOW_CLIFF[1], anchor / _BELOW_CLIFF[0]
    if seen.fell and not lowest / _OFF <= rate <= highest * _OFF:
        doubts.append(
            f"the descent ends unusually {'near to' if rate > highest else 'far from'} the cliff: "
            f"our suggestion may be off by a factor of {_OFF:g}"
        )
    return min(max(rate, lowest, float(10 ** seen.x[0])), highest, breaks / 2), doubts


def smooth(x: Array, values: Array, bandwidth: float = BANDWIDTH) -> Smooth:
    r"""Fit a line to each point's neighbours, the near ones weighing most, and read value and slope off it there.

    The weight at distance `d` is `(1 − (d/h)³)³`. `h` is the bandwidth, widened where fewer than two neighbours lie
    within it. A line fitted to both sides has no lag: straight stretches, constants among them, come out as they are.

    Args:
        x: Places, ascending.
        values: Finite values there.
        bandwidth: In the units of `x`.

    Source: Cleveland, "Robust locally weighted regression and smoothing scatterplots", 1979.

    Example:
        >>> smooth(np.arange(5.0), np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 2.0).slopes.round(9).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    values = np.asarray(values, dtype=np.float64)
    out = Smooth(values.copy(), np.zeros(len(x)), np.ones(len(x)))
    if len(x) < 2:
        return out
    width = np.maximum(bandwidth, 1.001 * _reach(x))
    for first in range(0, len(x), _ROWS):
        rows = slice(first, first + _ROWS)
        distance = x - x[rows, None]
        weight = (1 - np.minimum(np.abs(distance / width[rows, None]), 1.0) ** 3) ** 3
        weight /= weight.sum(axis=1, keepdims=True)
        centre = (weight * distance).sum(axis=1, keepdims=True)
        lever = weight * (distance - centre)
        lever /= (lever * distance).sum(axis=1, keepdims=True)
        rise = values - values[rows, None]  # so that a constant comes out exactly
        out.slopes[rows] = (lever * rise).sum(axis=1)
        share = weight - lever * centre
        out.values[rows] += (share * rise).sum(axis=1)
        out.noise_left[rows] = np.sqrt((share**2).sum(axis=1))
    return out


def _reach(x: Array) -> Array:
    """Return each point's distance to its second nearest neighbour, or to its only one."""
    beside = np.full((4, len(x)), np.inf)
    for place, steps in enumerate((1, 2)):
        gaps = x[steps:] - x[:-steps]
        beside[2 * place, steps:] = gaps
        beside[2 * place + 1, :-steps] = gaps
    return np.sort(beside, axis=0)[min(len(x) - 2, 1)]


def broken_at(losses: ArrayLike, *, complete: bool = True) -> int | None:
    """Return the first step at which training had broken, None if it held to the end.

    It broke where the loss is NaN or infinite, or where its running median over five steps stands higher above the
    start than the larger of what it fell by and six standard deviations of its noise. Losses are
    only ever subtracted, so they may be negative, zero or enormous.

    Args:
        losses: One loss a step.
        complete: False while the test is still running: the last two steps are then not judged yet, unless they are
            not finite.

    Example:
        >>> broken_at([2.0, 2.1, 1.9, 1.5, 1.0, 0.9, 1.4, 2.2, 5.0, 30.0])
        8
    """
    values = np.asarray(losses, dtype=np.float64)
    finite = _finite_length(values)
    first_lost = finite if finite < len(values) else None
    values = values[:finite]
    if finite < _WINDOW:
        return first_lost
    medians = _running_median(values)
    start = float(medians[: _WINDOW // 2 + 1].max())  # a steep descent from the first step is no break before it
    lowest = int(np.argmin(medians))
    noise = _noise(values[: max(lowest + 1, 4 * _WINDOW)])  # an explosion is left out as far as there is a curve
    lowest_yet = medians.min() if complete else np.minimum.accumulate(medians)
    unit = np.maximum(np.full(finite, start) - lowest_yet, _BREAK * noise)
    judged = finite if complete else finite - _WINDOW // 2
    above = np.flatnonzero((medians > start + unit)[:judged] & (unit[:judged] > 0))
    return int(above[0]) if len(above) else first_lost


def _running_median(values: Array) -> Array:
    half, few = _WINDOW // 2, values.tolist()
    if len(few) < _WINDOW:
        return np.full(len(few), statistics.median(few))
    middle = np.sort(np.lib.stride_tricks.sliding_window_view(values, _WINDOW), axis=1)[:, half]
    left = [statistics.median(few[: half + 1 + i]) for i in range(half)]
    right = [statistics.median(few[-half - 1 - i :]) for i in reversed(range(half))]
    return np.concatenate([left, middle, right])


def _noise(values: Array) -> float:
    """Return the standard deviation of one step's loss around its trend, by its second differences."""
    if len(values) < 3:
        return 0.0
    spread = float(np.median(np.abs(np.diff(values, 2)))) / 0.6745 / math.sqrt(6)
    return max(spread, float(np.finfo(np.float32).eps * np.median(np.abs(values - values[0]))))


def _clipped(values: Array, end: int, noise: float) -> Array:
    """Return the losses with the enormous ones brought down, so that they do not reach back over the cliff."""
    start = float(np.median(values[:_WINDOW]))
    unit = max(start - float(_running_median(values[:end]).min()), _BREAK * noise)
    return np.minimum(values, max(start + 2 * unit, float(values[:_WINDOW].max())))


def _verdict(seen: _Seen, x: Array, *, broke: bool) -> Verdict:
    """Say whether the curve holds a descent inside the range `x`."""
    values = seen.curve.values
    top = int(np.argmax(values))
    left = float(x[0] + min(_EDGE, (x[-1] - x[0]) / 8))
    right = float(x[-1] - min(_EDGE, (x[-1] - x[0]) / 8))
    near = min(int(np.searchsorted(seen.x, left)), len(values) - 1)
    if len(values) < _WINDOW:
        return Verdict.TOO_NARROW_LEFT if broke else Verdict.NOISY
    if not seen.fell:
        rise = float(values[top]) - seen.start
        if not broke and rise <= _SIGNIFICANT * seen.error(0, top):
            return Verdict.FLAT
        risen = float(values[near] - values[0]) > _SIGNIFICANT * seen.error(0, near)
        at_once = len(values) <= 2 * _WINDOW or risen
        return Verdict.TOO_NARROW_LEFT if at_once else Verdict.NOISY
    gone = max(float(values[0]), seen.start) - float(np.interp(left, seen.x, values))
    if gone > max(_EDGE_SHARE * seen.fall, _SIGNIFICANT * seen.error(0, near)):
        return Verdict.TOO_NARROW_LEFT
    return Verdict.TOO_NARROW_RIGHT if not broke and seen.x[seen.fallen] > right else Verdict.FOUND


def _warnings(x: Array, end: int, breaks: float | None) -> list[str]:
    warnings: list[str] = []
    decades = x[-1] - x[0]
    if len(x) > 1 and len(x) < 3 * decades:
        warnings.append(
            f"{len(x)} steps over {decades:.1f} decades are fewer than 3 a decade: raise num_steps or narrow the range"
        )
    gaps = np.diff(x[:end])
    if len(gaps) and gaps.max() > _EDGE and len(x) >= 3 * decades:
        warnings.append(
            f"up to {gaps.max():.1f} decades lie between two steps: use exponential spacing, or raise min_learning_rate"
        )
    if breaks is None and len(x) > 1:
        warnings.append(f"nothing broke up to {10 ** x[-1]:.1e}, where the test ended: the cliff lies above")
    return warnings


def valley(x: Array, curve: Smooth) -> float:
    """Return the middle, on the log scale, of the longest stretch over which the smoothed loss plainly falls.

    It falls plainly where its slope is at least a tenth of the steepest one.

    Source: the rule named "valley" of the fastai library, which takes the longest falling subsequence of raw losses.
    """
    falling = curve.slopes <= 0.1 * min(float(curve.slopes.min()), 0.0)
    falling[int(np.argmin(curve.values)) + 1 :] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], falling, [False]])))
    firsts, lasts = edges[::2], edges[1::2] - 1
    longest = int(np.argmax(x[lasts] - x[firsts])) if len(firsts) else 0
    return float((x[firsts[longest]] + x[lasts[longest]]) / 2) if len(firsts) else float(x[0])


def steepest(x: Array, curve: Smooth) -> float:
    """Return where the smoothed loss falls fastest against the log learning rate, left of its lowest point.

    Source: Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186, read as most tools do.
    """
    floor = int(np.argmin(curve.values))
    return float(x[int(np.argmin(curve.slopes[: floor + 1]))])


def slide(x: Array, curve: Smooth) -> float:
    """Return the left end of the first interval of 1.2 decades as steep at both ends, from the lowest point down.

    As steep: the slope on the right is no larger than the one on the left by more than a twentieth of the steepest.

    Source: the rule named "slide" of the fastai library, with its threshold made relative.
    """
    floor = int(np.argmin(curve.values))
    lefts = x[: floor + 1] - 1.2
    rise = curve.slopes[: floor + 1] - np.interp(lefts, x, curve.slopes)
    settled = np.flatnonzero((rise <= 0.05 * float(np.abs(curve.slopes[: floor + 1]).max())) | (lefts <= x[0]))
    return float(max(lefts[settled[-1]], x[0]))


def minimum_tenth(x: Array, curve: Smooth) -> float:
    """Return a tenth of the rate at which the smoothed loss is lowest.

    Source: Howard and Gugger, "Fastai: a layered API for deep learning", arXiv 2002.04688.
    """
    return float(x[int(np.argmin(curve.values))] - 1)


RULES = {"valley": valley, "steepest": steepest, "slide": slide, "minimum / 10": minimum_tenth}
"""Rules of others, by name: from log learning rates and the smoothed curve up to the cliff to a log learning rate."""


def _finite_length(values: Array) -> int:
    lost = np.flatnonzero(~np.isfinite(values))
    return int(lost[0]) if len(lost) else len(values)


def _checked(learning_rates: ArrayLike, losses: ArrayLike) -> tuple[Array, Array]:
    rates = np.asarray(learning_rates, dtype=np.float64)
    values = np.asarray(losses, dtype=np.float64)
    if rates.ndim != 1 or rates.shape != values.shape or not len(rates):
        msg = f"got learning rates of shape {rates.shape} and losses of shape {values.shape}: pass one loss per rate"
        raise InvalidArgumentError(msg)
    if not (np.isfinite(rates).all() and rates[0] > 0 and (np.diff(rates) > 0).all()):
        msg = f"learning rates are {rates!r}: they must be positive, finite and ascending"
        raise InvalidArgumentError(msg)
    return rates, values
