"""The shape of one metric over the epochs, smaller is better: its noise, its turn, where it is heading.

Nothing here changes when the values are scaled by a positive number or shifted, or the epochs are renumbered.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from learnrate.curves import Array

    Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

LARGEST = 1e300  # of either sign: beyond, the differences of three values no longer fit a float
_NORMAL = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation
_LAWS = 64  # of each kind: neighbours differ by less than a tenth
_NINETY = 1.645  # standard deviations each side that hold 90 % of a normal distribution
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 25) for i in range(25)])  # a normal distribution in 25 points
_SECOND_DIFFERENCE = 6**0.5  # the standard deviation of second differences of values of deviation 1
_THIRD_DIFFERENCE = 20**0.5  # and of third ones


def held(values: Array) -> Flags:
    """Say which values can be reckoned with: finite, and not so large that their differences would not be.

    Example:
        >>> held(np.array([0.5, np.nan, np.inf, -1e308])).tolist()
        [True, False, False, False]
    """
    return np.abs(values) <= LARGEST


def noise(values: Array) -> float:
    """Return the standard deviation of the values around their trend, whatever the trend is.

    1.4826 · median |y[i−1] − 2 y[i] + y[i+1]| / √6: second differences remove any straight trend, the median ignores
    bends and jumps. Where the median is 0 (an accuracy that mostly repeats itself) the root mean square of the later
    half takes its place. A curve of up to a dozen values is mostly bend: there the third differences, which remove that
    too, may say less. 0 for fewer than three values.

    Example:
        >>> noise(np.array([3.0, 2.0, 1.0, 0.0]))
        0.0
    """
    if len(values) < 3:
        return 0.0
    differences = np.diff(values, 2)
    middle = _NORMAL * float(np.median(np.abs(differences)))
    late = differences[len(differences) // 2 :]
    unit = _power_of_two(late)
    second = (middle or unit * float(np.sqrt(np.mean((late / unit) ** 2)))) / _SECOND_DIFFERENCE
    if not 4 <= len(values) <= 12:
        return second
    return min(second, _NORMAL * float(np.median(np.abs(np.diff(values, 3)))) / _THIRD_DIFFERENCE)


def _power_of_two(values: Array) -> float:
    """Return the power of two that the largest value is nearest above, in size; 0.5 where all are 0."""
    return float(np.ldexp(1.0, np.frexp(np.abs(values).max())[1] - 1))


class Turn(NamedTuple):
    """The best fit that first falls and then rises.

    `level` is its value at each row, `row` the last one before it rises, `error` the root of what a fit that only
    falls leaves more of squared error: nothing where the values do not rise.
    """

    level: Array
    row: int
    error: float


def turn(values: Array) -> Turn:
    """Fit the values by a curve that falls up to some row and rises from there on: both by isotonic regression.

    The row is where the two fits together leave the smallest squared error; a monotone curve turns at its end. O(n).
    Source: Frisén (1986), Unimodal regression.

    Example:
        >>> turn(np.array([3.0, 1.0, 2.0, 4.0])).row
        1
    """
    first = values[0]  # differences from it are exact where nothing changes
    unit = _power_of_two(values - first)  # changes no digit, and squares fit
    steps: Array = (values - first) / unit
    left = _falling_errors(steps)
    right = _falling_errors(steps[::-1])[::-1]
    split = int(np.argmin(left + right))  # so many rows fall
    level = first + unit * np.concatenate([_falling(steps[:split]), _falling(steps[split:][::-1])[::-1]])
    error = max(float(left[-1] - (left + right)[split]), 0.0)
    return Turn(level, int(np.flatnonzero(level <= level.min())[-1]), unit * error**0.5)


def _falling_errors(values: Array) -> Array:
    """Return the squared error of the best falling fit to the first k values, for k from 0 to all."""
    errors = np.zeros(len(values) + 1)
    sums: list[tuple[float, float, float]] = []  # of each level: values, squares, error
    total = 0.0
    for count, value in enumerate(values.tolist(), 1):
        number, added, squares = 1.0, value, value * value
        while sums and sums[-1][1] * number <= added * sums[-1][0]:
            before = sums.pop()
            total -= before[2] - before[1] ** 2 / before[0]
            number, added, squares = number + before[0], added + before[1], squares + before[2]
        sums.append((number, added, squares))
        total += squares - added * added / number
        errors[count] = total
    return errors


def _falling(values: Array) -> Array:
    """Return the best falling fit."""
    levels: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, number = value, 1
        while levels and levels[-1][0] <= mean:
            other, count = levels.pop()
            mean, number = (mean * number + other * count) / (number + count), number + count
        levels.append((mean, number))
    return np.repeat([mean for mean, _ in levels], [number for _, number in levels])


class Forecast(NamedTuple):
    """What is expected at a later epoch, and the ends of a 90 % interval."""

    value: float
    low: float
    high: float


def best_by(times: Array, values: Array, horizon: float) -> Forecast:
    """Return the best value to expect by a later time: never worse than the best so far.

    The interval holds three sources of error: the fit's own (see `extrapolate`), the noise, and the laws being wrong;
    for the last, what the first half of the curve would have foretold for its end is compared with what came.

    Args:
        times: Epochs since the start of training, positive, increasing.
        values: Finite, smaller is better.
        horizon: The later time.

    Example:
        >>> times = np.arange(1.0, 31.0)
        >>> later = best_by(times, 1 / times, 60.0)
        >>> later.low < 1 / 60 < later.high <= 1 / 30
        True
    """
    so_far = float(values.min())  # scaled, one that is tiny beside the others would be rounded to 0
    values, exponent = _scaled(values)
    best = float(values.min())
    later = _favoured(times, values, horizon)
    half = len(values) // 2
    if half >= 4:
        wrong = abs(_favoured(times[:half], values[:half], float(times[-1])).value - best)
    else:
        wrong = best - later.value
    reach = min((horizon - times[-1]) / times[-1], 2.0)
    more = _NINETY * float(np.hypot(reach * wrong, noise(values) / 2))
    low = later.value - float(np.hypot(later.value - later.low, more))
    high = min(best, later.value + float(np.hypot(later.high - later.value, more)))
    return Forecast(*np.minimum(np.ldexp([later.value, low, high], exponent), so_far).tolist())


def _scaled(values: Array) -> tuple[Array, int]:
    """Return values over a power of two, below 1 then, and its exponent: a loss of 1e160 has no square otherwise."""
    exponent = int(np.frexp(np.abs(values).max())[1])
    return np.ldexp(values, -exponent), exponent


def _favoured(times: Array, values: Array, horizon: float) -> Forecast:
    """Extrapolate the best value: it lies under the trend, since noise has favoured it, and will again."""
    best = float(values.min())
    luck = max(0.0, float(turn(values).level.min()) - best)
    return Forecast(*(min(best, level - luck) for level in extrapolate(times, values, horizon)))


def extrapolate(times: Array, values: Array, horizon: float) -> Forecast:
    """Extrapolate the trend of a falling curve to a later time.

    Fits a + b e^(−t/τ) and a + b t^(−p), b ≥ 0, for many τ and p, by least squares to the medians of a few stretches of
    the later two thirds, and weighs every fit by its likelihood; the interval is that of the mixture of predictions.
    Sources: Domhan, Springenberg and Hutter (2015) for the mixture of laws; Hoeting et al. (1999) for the weights.
    """
    values, exponent = _scaled(values)
    times, values, weights = _stretches(times, values)
    laws = np.vstack([_decays(times, horizon), _powers(times, horizon)])
    now, later = laws[:, :-1], laws[:, -1]
    total = weights.sum()
    mean_law = now @ weights / total
    mean_value = values @ weights / total
    now = now - mean_law[:, None]
    spread = now**2 @ weights
    slope = np.maximum((now * (values - mean_value)) @ weights / np.maximum(spread, np.finfo(float).tiny), 0.0)
    predicted = mean_value + slope * (later - mean_law)
    residual = values - mean_value - slope[:, None] * now
    floor = total * (1e-6 * float(np.ptp(values))) ** 2 + np.finfo(float).tiny
    error = residual**2 @ weights + floor
    freedom = max(len(values) - 3, 1)
    likelihood = (error / error.min()) ** (-freedom / 2)
    variance = (
        error / freedom / total * (1 + (later - mean_law) ** 2 * total / np.maximum(spread, np.finfo(float).tiny))
    )
    forecast = _mixture(predicted, np.sqrt(variance), likelihood / likelihood.sum())
    return Forecast(*np.ldexp(forecast, exponent).tolist())


def _stretches(times: Array, values: Array, most: int = 24) -> tuple[Array, Array, Array]:
    """Return mean times, medians and lengths of stretches of the later two thirds of the curve."""
    start = int(np.count_nonzero(times < times[0] + (times[-1] - times[0]) / 3)) if len(times) > 8 else 0
    times, values = times[start:], values[start:]
    parts = np.array_split(np.arange(len(times)), min(most, max(len(times) // 2, min(len(times), 6))))
    stretches = [(times[part].mean(), np.median(values[part]), len(part)) for part in parts]
    means, medians, lengths = np.array(stretches, dtype=np.float64).T
    return means, medians, lengths


def _decays(times: Array, horizon: float) -> Array:
    return np.exp(-np.append(times, horizon)[None, :] / times[-1] / np.geomspace(0.05, 5.0, _LAWS)[:, None])


def _powers(times: Array, horizon: float) -> Array:
    return (np.append(times, horizon)[None, :] / times[-1]) ** -np.geomspace(0.1, 4.0, _LAWS)[:, None]


def _mixture(means: Array, deviations: Array, weights: Array) -> Forecast:
    """Return the median and the 5 % and 95 % points of a weighted mixture of normal distributions."""
    samples: Array = (means[:, None] + deviations[:, None] * _QUANTILES).ravel()
    order = np.argsort(samples)
    mass: Array = np.cumsum(np.repeat(weights / len(_QUANTILES), len(_QUANTILES))[order])
    low, middle, high = np.interp([0.05, 0.5, 0.95], mass, samples[order]).tolist()
    return Forecast(middle, low, high)
