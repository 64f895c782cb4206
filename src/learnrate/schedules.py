"""Learning-rate schedules: functions from a step to a learning rate.

Every maker has the shape `maker(learning_rate, total_steps, *, ..., warmup_fraction=0.0, num_epochs=None)`.

- `learning_rate` is the peak. No rate is above it, and every rate is proportional to it.
- `total_steps` is the number of optimizer updates, counted from 0. Every length is a fraction of it, so that the
  same maker serves a shorter run too: `functools.partial(cosine, warmup_fraction=0.1)` is a maker.
- `warmup_fraction`: over the first `w = round(warmup_fraction * total_steps)` steps the rate is
  `learning_rate * (t + 1) / w`, which reaches the peak at the last of them; the schedule's own curve then runs over
  the `n` steps that remain. In the formulas below, `t` counts those from 0 and `x = t / n`.
- `num_epochs` holds the rate within each epoch: the schedule is laid out in epochs instead of steps, as by a
  framework's scheduler that is stepped once an epoch. None, the default, lets the rate change at each step.

A schedule that decays reaches its floor at the step after the last (x = 1), so that no update is made at rate 0.
Arguments that cannot be used raise `InvalidArgumentError`.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias, cast, overload

import numpy as np
import numpy.typing as npt

from learnrate.errors import InvalidArgumentError

FloatArray: TypeAlias = npt.NDArray[np.float64]
ScheduleMaker: TypeAlias = Callable[[float, int], Callable[[int], float]]
"""What `select(schedule=...)` takes: a peak and a number of steps give a function from a step to a rate."""

Shape: TypeAlias = Literal["linear", "cosine", "sqrt"]

_TOLERANCE = 1e-9  # of a step: 0.07 * 100 is 7.000000000000001, and step 7 is meant


@dataclass(frozen=True, repr=False)
class Schedule:
    """A learning rate for each step: call it with a step, or with an integer array of steps.

    A step past the end gets the last rate; a negative step is an error.

    Attributes:
        name: The maker's name.
        learning_rate: The peak; no rate is above it.
        total_steps: The number of steps.
        settings: The maker's settings, as JSON can hold them.

    Example:
        >>> schedule = cosine(0.1, 4)
        >>> schedule(2)
        0.05
        >>> schedule
        Schedule(cosine, learning_rate=0.1, total_steps=4, final_fraction=0.0)
    """

    name: str
    learning_rate: float
    total_steps: int
    settings: Mapping[str, Any]
    _rates: FloatArray = field(compare=False)

    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: npt.NDArray[np.integer[Any]]) -> FloatArray: ...
    def __call__(self, step: int | npt.NDArray[np.integer[Any]]) -> float | FloatArray:
        """Give the rate at a step, or at each of an array of steps, in the array's shape."""
        steps = np.asarray(step)
        if steps.dtype.kind not in "iu":
            raise InvalidArgumentError(f"step is {step!r}; it must be an integer or an array of integers.")
        if steps.size and steps.min() < 0:
            raise InvalidArgumentError(f"step is {int(steps.min())}; steps count from 0.")
        last = self.total_steps - 1
        rates = self._rates[np.where(steps > last, last, steps.astype(np.int64))]
        return float(rates) if steps.ndim == 0 else rates

    def values(self) -> FloatArray:
        """Give the rates of all steps, as an array of `total_steps`."""
        return self._rates.copy()

    def __repr__(self) -> str:
        shown = {"learning_rate": self.learning_rate, "total_steps": self.total_steps, **self.settings}
        neutral = {"warmup_fraction": 0.0, "num_epochs": None}
        words = (f"{key}={value!r}" for key, value in shown.items() if (key, value) not in neutral.items())
        return f"Schedule({self.name}, {', '.join(words)})"


@dataclass(frozen=True)
class _Span:
    """The steps (or epochs) that a schedule's own curve runs over, once its warm-up is done."""

    start: int
    total: int

    @property
    def length(self) -> int:
        return self.total - self.start

    @property
    def steps(self) -> FloatArray:
        return np.arange(self.length, dtype=np.float64)

    @property
    def progress(self) -> FloatArray:
        return self.steps / max(self.length, 1)


def _make(
    name: str,
    learning_rate: float,
    total_steps: int,
    curve: Callable[[_Span], FloatArray],
    common: tuple[float, int | None],
    **own: Any,
) -> Schedule:
    """Lay a curve of heights in 0..1 after its warm-up, in steps or in epochs, and scale it to the peak."""
    peak = _number("learning_rate", learning_rate, high=math.inf, above=True)
    total = _count("total_steps", total_steps)
    warmup_fraction = _number("warmup_fraction", common[0])
    num_epochs = None if common[1] is None else _count("num_epochs", common[1])
    slots = num_epochs or total
    warmup = round(warmup_fraction * slots)
    heights = np.concatenate([np.arange(1, warmup + 1) / max(warmup, 1), curve(_Span(warmup, slots))])
    heights = np.clip(heights, 0.0, 1.0)  # rounding may leave the interval by a bit
    if num_epochs is not None:
        heights = heights[np.arange(total) * slots // total]
    settings = own | {"warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return Schedule(name, peak, total, settings, peak * heights)


def constant(
    learning_rate: float,
    total_steps: int,
    *,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Stay at the peak: `learning_rate`.

    Example:
        >>> constant(0.1, 4, warmup_fraction=0.5).values().tolist()
        [0.05, 0.1, 0.1, 0.1]
    """
    common = (warmup_fraction, num_epochs)
    return _make("constant", learning_rate, total_steps, lambda span: np.ones(span.length), common)


def linear(
    learning_rate: float,
    total_steps: int,
    *,
    final_fraction: float = 0.0,
    decay_fraction: float = 1.0,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Fall along a line to a floor, then stay there.

    `learning_rate * (1 + (final_fraction - 1) * min(t / d, 1))`, where the fall ends, `d` steps after the warm-up, at
    step `decay_fraction * total_steps`.

    `final_fraction` is the floor relative to the peak. By default the rate falls to nothing over the whole run, which
    Bergsma et al. 2025 (arXiv 2502.15938) found hard to beat.

    Example:
        >>> linear(1.0, 8, final_fraction=0.2, decay_fraction=0.5).values().round(3).tolist()
        [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2]
    """
    floor, end = _number("final_fraction", final_fraction), _number("decay_fraction", decay_fraction)
    if end <= _number("warmup_fraction", warmup_fraction):
        raise InvalidArgumentError(
            f"decay_fraction is {end} and warmup_fraction {warmup_fraction}; both count from the start of the run, so "
            "decay_fraction must be the larger."
        )

    def curve(span: _Span) -> FloatArray:
        length = max(round(end * span.total) - span.start, 1)
        return _between(floor, 1 - np.minimum(span.steps / length, 1.0))

    common = (warmup_fraction, num_epochs)
    return _make("linear", learning_rate, total_steps, curve, common, final_fraction=floor, decay_fraction=end)


def step(
    learning_rate: float,
    total_steps: int,
    *,
    factor: float = 0.1,
    milestones: Sequence[float] | None = None,
    every_fraction: float | None = None,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Multiply the rate by a factor at milestones, or at regular intervals.

    `learning_rate * factor ** k`, where `k` counts the drops so far.

    `milestones` are fractions of the run, counted from its start. `every_fraction` instead drops the rate each time
    that this fraction of the run has passed since the warm-up. With neither, the rate drops to a tenth after a half
    and again after three quarters of the run, as in He et al. 2015 (arXiv 1512.03385).

    Example:
        >>> step(1.0, 8, factor=0.5, milestones=[0.25, 0.75]).values().tolist()
        [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    """
    if milestones is not None and every_fraction is not None:
        raise InvalidArgumentError("milestones and every_fraction came together; give one of them.")
    ratio = _number("factor", factor, above=True)
    every = None if every_fraction is None else _number("every_fraction", every_fraction, above=True)
    marks = _milestones((0.5, 0.75) if milestones is None else milestones, warmup_fraction) if every is None else None

    def curve(span: _Span) -> FloatArray:
        if every is not None:
            return ratio ** np.floor((span.steps + _TOLERANCE) / (every * span.total))
        # The first step at or after the mark, so that even a short run begins at the peak.
        drops = np.ceil(np.asarray(marks) * span.total - _TOLERANCE)
        return ratio ** np.searchsorted(drops, span.steps + span.start, side="right").astype(np.float64)

    settings = {"factor": ratio, "milestones": marks, "every_fraction": every}
    return _make("step", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


def exponential(
    learning_rate: float,
    total_steps: int,
    *,
    final_fraction: float | None = None,
    factor: float | None = None,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Fall by the same ratio at each step, or at each epoch.

    `learning_rate * final_fraction ** x`, or `learning_rate * factor ** epoch` with a `factor` and `num_epochs`.

    `final_fraction` is what the whole run leaves of the peak; a hundredth by default, since only a wide span of rates
    tells this curve from a line.

    Example:
        0.95 an epoch, over 100 epochs of 10 steps:

        >>> schedule = exponential(0.001, 1000, factor=0.95, num_epochs=100)
        >>> schedule(9), schedule(10)
        (0.001, 0.00095)
    """
    if factor is not None and (final_fraction is not None or num_epochs is None):
        raise InvalidArgumentError("factor is the decay of one epoch; it needs num_epochs, and no final_fraction.")
    ratio = None if factor is None else _number("factor", factor, above=True)
    final = None if ratio else _number("final_fraction", 0.01 if final_fraction is None else final_fraction, above=True)

    def curve(span: _Span) -> FloatArray:
        return (final or 1.0) ** span.progress * (ratio or 1.0) ** span.steps  # one of the two is absent

    settings = {"final_fraction": final, "factor": ratio}
    return _make("exponential", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


def inverse_time(
    learning_rate: float,
    total_steps: int,
    *,
    final_fraction: float = 0.1,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Fall as one over the time: fast at first, then ever slower.

    `learning_rate / (1 + (1 / final_fraction - 1) * x)`

    Also called time-based decay, `learning_rate / (1 + k * epoch)`, of which `final_fraction` is
    `1 / (1 + k * num_epochs)`. Robbins and Monro 1951; a tenth by default, a decade over the run.

    Example:
        >>> inverse_time(1.0, 4, final_fraction=0.2).values().round(3).tolist()
        [1.0, 0.5, 0.333, 0.25]
    """
    final = _number("final_fraction", final_fraction, above=True)
    common = (warmup_fraction, num_epochs)
    return _make(
        "inverse_time",
        learning_rate,
        total_steps,
        lambda span: final / (final + (1 - final) * span.progress),
        common,
        final_fraction=final,
    )


def polynomial(
    learning_rate: float,
    total_steps: int,
    *,
    power: float = 0.9,
    final_fraction: float = 0.0,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Fall along a power of the time that is left, to a floor.

    `learning_rate * (final_fraction + (1 - final_fraction) * (1 - x) ** power)`

    The default `power` is that of Chen et al. 2016 (arXiv 1606.00915), usual in segmentation; 1 is a line.

    Example:
        >>> polynomial(1.0, 4, power=2).values().tolist()
        [1.0, 0.5625, 0.25, 0.0625]
    """
    exponent = _number("power", power, high=math.inf, above=True)
    floor = _number("final_fraction", final_fraction)
    return _make(
        "polynomial",
        learning_rate,
        total_steps,
        lambda span: _between(floor, (1 - span.progress) ** exponent),
        (warmup_fraction, num_epochs),
        power=exponent,
        final_fraction=floor,
    )


def cosine(
    learning_rate: float,
    total_steps: int,
    *,
    final_fraction: float = 0.0,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Fall along half a cosine to a floor.

    `learning_rate * (final_fraction + (1 - final_fraction) * (1 + cos(pi * x)) / 2)`

    Loshchilov and Hutter 2016 (arXiv 1608.03983), whose floor is 0, the default of `final_fraction`.

    Example:
        >>> cosine(1.0, 4, final_fraction=0.1).values().round(3).tolist()
        [1.0, 0.868, 0.55, 0.232]
    """
    floor = _number("final_fraction", final_fraction)
    return _make(
        "cosine",
        learning_rate,
        total_steps,
        lambda span: _between(floor, _SHAPES["cosine"](span.progress)),
        (warmup_fraction, num_epochs),
        final_fraction=floor,
    )


def cosine_restarts(
    learning_rate: float,
    total_steps: int,
    *,
    num_cycles: int = 3,
    cycle_growth: float = 2.0,
    peak_factor: float = 1.0,
    final_fraction: float = 0.0,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Fall along half a cosine to a floor, again and again.

    `learning_rate * (final_fraction + (1 - final_fraction) * peak_factor ** k * (1 + cos(pi * y)) / 2)`, where `y`
    runs from 0 to 1 within cycle `k`. Each cycle is `cycle_growth` times as long as the one before, and `num_cycles`
    fill the run.

    Loshchilov and Hutter 2016 (arXiv 1608.03983), whose cycles double and keep their peak, as by default here.

    Example:
        >>> cosine_restarts(1.0, 6, num_cycles=2).values().round(3).tolist()
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146]
    """
    cycles = _count("num_cycles", num_cycles)
    growth = _number("cycle_growth", cycle_growth, low=1.0, high=math.inf)
    shrink, floor = _number("peak_factor", peak_factor, above=True), _number("final_fraction", final_fraction)

    def curve(span: _Span) -> FloatArray:
        weights = growth ** (np.arange(cycles) - (cycles - 1.0))  # the last is 1: no overflow
        lengths = span.length * weights / weights.sum()
        starts = np.cumsum(lengths) - lengths
        cycle = np.searchsorted(starts, span.steps + _TOLERANCE, side="right") - 1
        within = np.clip((span.steps - starts[cycle]) / lengths[cycle], 0.0, 1.0)
        return _between(floor, shrink**cycle * _SHAPES["cosine"](within))

    settings = {"num_cycles": cycles, "cycle_growth": growth, "peak_factor": shrink, "final_fraction": floor}
    return _make("cosine_restarts", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


def one_cycle(
    learning_rate: float,
    total_steps: int,
    *,
    rise_fraction: float = 0.3,
    start_fraction: float = 0.04,
    final_fraction: float = 4e-6,
    shape: Shape = "cosine",
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Rise to the peak, then fall far below the start, in one cycle.

    From `start_fraction` of the peak at the first step, to the peak once `rise_fraction` of the cycle is done, to
    `final_fraction` of the peak at the last step. `shape` draws both ways: "cosine", "linear" or "sqrt".

    Smith and Topin 2017 (arXiv 1708.07120). The defaults are PyTorch's: a start at 1/25 of the peak, an end at 1e-4 of
    the start. Momentum is left alone. The cycle is a warm-up in itself.

    Example:
        >>> one_cycle(1.0, 6, rise_fraction=0.5, start_fraction=0.2, shape="linear").values().round(3).tolist()
        [0.2, 0.6, 1.0, 0.667, 0.333, 0.0]
    """
    rise, start = _number("rise_fraction", rise_fraction), _number("start_fraction", start_fraction)
    floor, fall = _number("final_fraction", final_fraction), _SHAPES[_choice("shape", shape, _SHAPES)]

    def curve(span: _Span) -> FloatArray:
        top, last = max(rise * span.length - 1, 0.0), span.length - 1
        up = span.steps / top if top else np.ones(span.length)
        down = (span.steps - top) / (last - top) if last > top else np.zeros(span.length)
        rising = _between(start, 1 - fall(np.clip(up, 0.0, 1.0)))
        return np.where(span.steps < top, rising, _between(floor, fall(np.clip(down, 0.0, 1.0))))

    settings = {"rise_fraction": rise, "start_fraction": start, "final_fraction": floor, "shape": shape}
    return _make("one_cycle", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


def triangular(
    learning_rate: float,
    total_steps: int,
    *,
    num_cycles: float = 4.0,
    rise_fraction: float = 0.5,
    min_fraction: float = 0.25,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Rise and fall along lines between a lower bound and the peak.

    `learning_rate * (min_fraction + (1 - min_fraction) * min(y / rise_fraction, (1 - y) / (1 - rise_fraction)))`,
    where `y` runs from 0 to 1 within each of `num_cycles` equal cycles; 2.5 of them end at the peak.

    Smith 2015 (arXiv 1506.01186): a bound of a quarter of the peak, at least three cycles, best stopped at the end of
    one. Momentum is left alone.

    Example:
        >>> triangular(1.0, 8, num_cycles=2, min_fraction=0.2).values().round(3).tolist()
        [0.2, 0.6, 1.0, 0.6, 0.2, 0.6, 1.0, 0.6]
    """
    bounds, common = (num_cycles, rise_fraction, min_fraction), (warmup_fraction, num_epochs)
    return _cyclical(
        "triangular", learning_rate, total_steps, lambda time, _: np.ones_like(time), bounds=bounds, common=common
    )


def triangular2(
    learning_rate: float,
    total_steps: int,
    *,
    num_cycles: float = 4.0,
    rise_fraction: float = 0.5,
    min_fraction: float = 0.25,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Rise and fall as `triangular` does, each cycle half as high above the lower bound as the one before.

    `learning_rate * (min_fraction + (1 - min_fraction) * 0.5 ** k * min(...))` in cycle `k`, counted from 0.

    Smith 2015 (arXiv 1506.01186).

    Example:
        >>> triangular2(1.0, 8, num_cycles=2, min_fraction=0.2).values().round(3).tolist()
        [0.2, 0.6, 1.0, 0.6, 0.2, 0.4, 0.6, 0.4]
    """
    bounds, common = (num_cycles, rise_fraction, min_fraction), (warmup_fraction, num_epochs)
    return _cyclical(
        "triangular2", learning_rate, total_steps, lambda _, cycle: 0.5**cycle, bounds=bounds, common=common
    )


def exp_range(
    learning_rate: float,
    total_steps: int,
    *,
    num_cycles: float = 4.0,
    rise_fraction: float = 0.5,
    min_fraction: float = 0.25,
    final_height: float = 0.1,
    warmup_fraction: float = 0.0,
    num_epochs: int | None = None,
) -> Schedule:
    """Rise and fall as `triangular` does, its height above the lower bound shrinking by the same ratio at each step.

    `learning_rate * (min_fraction + (1 - min_fraction) * final_height ** x * min(...))`

    `final_height` is what the run leaves of the height; a tenth by default, near what three halvings leave.

    Smith 2015 (arXiv 1506.01186), whose gamma is `final_height ** (1 / n)`.

    Example:
        >>> exp_range(1.0, 4, num_cycles=2, min_fraction=0.2, final_height=0.0625).values().round(3).tolist()
        [0.2, 0.6, 0.2, 0.3]
    """
    height = _number("final_height", final_height, above=True)
    bounds, common = (num_cycles, rise_fraction, min_fraction), (warmup_fraction, num_epochs)
    return _cyclical(
        "exp_range",
        learning_rate,
        total_steps,
        lambda time, _: height**time,
        bounds=bounds,
        common=common,
        final_height=height,
    )


def _cyclical(
    name: str,
    learning_rate: float,
    total_steps: int,
    envelope: Callable[[FloatArray, FloatArray], FloatArray],
    *,
    bounds: tuple[float, float, float],
    common: tuple[float, int | None],
    **own: Any,
) -> Schedule:
    cycles = _number("num_cycles", bounds[0], high=math.inf, above=True)
    rise = _number("rise_fraction", bounds[1], above=True, below=True)
    floor = _number("min_fraction", bounds[2])

    def curve(span: _Span) -> FloatArray:
        within, cycle = np.modf(span.progress * cycles)
        triangle = np.minimum(within / rise, (1 - within) / (1 - rise))
        return _between(floor, envelope(span.progress, cycle) * triangle)

    settings = {"num_cycles": cycles, "rise_fraction": rise, "min_fraction": floor} | own
    return _make(name, learning_rate, total_steps, curve, common, **settings)


def warmup_stable_decay(
    learning_rate: float,
    total_steps: int,
    *,
    decay_fraction: float = 0.2,
    final_fraction: float = 0.0,
    shape: Shape = "sqrt",
    warmup_fraction: float = 0.05,
    num_epochs: int | None = None,
) -> Schedule:
    """Warm up, stay at the peak, and fall to a floor over the last part of the run.

    `learning_rate * (final_fraction + (1 - final_fraction) * fall(y))`, where `y` runs from 0 to 1 over the last
    `decay_fraction` of the run, and `fall` is `1 - y` ("linear"), `1 - sqrt(y)` ("sqrt") or `(1 + cos(pi * y)) / 2`
    ("cosine"). The stable part can be prolonged without training again.

    Hägele et al. 2024 (arXiv 2405.18392), where a fifth of the run and the square root did best.

    Example:
        >>> warmup_stable_decay(1.0, 10, decay_fraction=0.4, shape="linear", warmup_fraction=0.2).values().tolist()
        [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    decay, floor = _number("decay_fraction", decay_fraction), _number("final_fraction", final_fraction)
    fall = _SHAPES[_choice("shape", shape, _SHAPES)]
    if decay + _number("warmup_fraction", warmup_fraction) > 1 + _TOLERANCE:
        raise InvalidArgumentError(
            f"decay_fraction is {decay} and warmup_fraction {warmup_fraction}; together they must be at most 1."
        )

    def curve(span: _Span) -> FloatArray:
        length = min(round(decay * span.total), span.length)
        falling = _between(floor, fall(np.arange(length) / max(length, 1)))
        return np.concatenate([np.ones(span.length - length), falling])

    settings = {"decay_fraction": decay, "final_fraction": floor, "shape": shape}
    common = (warmup_fraction, num_epochs)
    return _make("warmup_stable_decay", learning_rate, total_steps, curve, common, **settings)


def join(schedules: Sequence[Schedule]) -> Schedule:
    """Run schedules one after another; the peak is the highest of theirs.

    To join makers, so that the whole follows the length of the run, write a maker:
    `lambda rate, steps: join([constant(rate, steps // 2), cosine(rate, steps - steps // 2)])`.

    Raises:
        InvalidArgumentError: There is nothing to join, or something is not a `Schedule`.

    Example:
        >>> join([constant(0.1, 2), linear(0.2, 2)]).values().tolist()
        [0.1, 0.1, 0.2, 0.1]
    """
    parts = list(schedules)
    known = (isinstance(part, Schedule) for part in parts)  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
    if not parts or not all(known):
        raise InvalidArgumentError(f"join was given {schedules!r}; give a list of one Schedule or more.")
    keys = ("name", "learning_rate", "total_steps", "settings")
    settings = {"schedules": [{key: getattr(part, key) for key in keys} for part in parts]}
    rates = np.concatenate([part.values() for part in parts])
    return Schedule("join", max(part.learning_rate for part in parts), len(rates), settings, rates)


_MAKERS: dict[str, Callable[..., Schedule]] = {
    maker.__name__: maker
    for maker in (
        *(constant, linear, step, exponential, inverse_time, polynomial, cosine, cosine_restarts),
        *(one_cycle, triangular, triangular2, exp_range, warmup_stable_decay),
    )
}


def describe(maker: ScheduleMaker) -> dict[str, Any]:
    """Give a maker's name and its settings, defaults included, as JSON can hold them.

    A maker that is not of this module is described by its name and by the plain settings that `functools.partial`
    gave it, with `custom` true: `by_name` cannot make it again.

    Raises:
        InvalidArgumentError: The maker is of this module, and its settings cannot be used.

    Example:
        >>> describe(functools.partial(cosine, warmup_fraction=0.1))["settings"]
        {'final_fraction': 0.0, 'warmup_fraction': 0.1, 'num_epochs': None}
    """
    if not callable(maker):
        raise InvalidArgumentError(f"The schedule is {maker!r}; give a maker such as learnrate.schedules.cosine.")
    origin: Any = maker
    given: dict[str, Any] = {}
    while isinstance(origin, functools.partial):
        partial = cast("functools.partial[Any]", origin)
        origin, given = partial.func, partial.keywords | given
    name = getattr(origin, "__qualname__", type(origin).__qualname__)
    if _MAKERS.get(name) is not origin:
        plain = {key: value for key, value in given.items() if isinstance(value, str | int | float | None)}
        return {"name": name, "settings": plain, "custom": True}
    try:
        made = cast("Schedule", maker(1.0, 1))
    except TypeError as error:
        raise InvalidArgumentError(f"{name} cannot be made: {error}. {_settings_of(name)}") from error
    return {"name": name, "settings": dict(made.settings)}


def by_name(name: str, /, **settings: Any) -> Callable[[float, int], Schedule]:
    """Give the maker that `describe` describes so.

    Raises:
        InvalidArgumentError: There is no such maker, it has no such setting, or the setting cannot be used.

    Example:
        >>> by_name("cosine", warmup_fraction=0.25)(1.0, 4)(0)
        1.0
    """
    _choice("schedule", name, _MAKERS)
    maker = functools.partial(_MAKERS[name], **settings)
    describe(maker)
    return maker


def as_values(schedule: Callable[[int], SupportsFloat], first_step: int, stop_step: int) -> FloatArray:
    """Give the rates of the steps `first_step`, ..., `stop_step - 1`, of anything that maps a step to a rate.

    Raises:
        InvalidArgumentError: The schedule cannot be called, or gives something other than a finite number that is not
            negative, or the steps are not 0 <= first_step <= stop_step.

    Example:
        >>> as_values(lambda step: 0.1 / (1 + step), 0, 2).tolist()
        [0.1, 0.05]
    """
    if not callable(schedule):
        raise InvalidArgumentError(f"The schedule is {schedule!r}; it must map a step to a learning rate.")
    first, stop = (_integer(name, it) for name, it in (("first_step", first_step), ("stop_step", stop_step)))
    if not 0 <= first <= stop:
        raise InvalidArgumentError(f"The steps are {first} to {stop}; they must be 0 <= first_step <= stop_step.")
    if isinstance(schedule, Schedule):
        return schedule(np.arange(first, stop))
    return np.array([_rate_at(schedule, at) for at in range(first, stop)], dtype=np.float64)


def _rate_at(schedule: Callable[[int], SupportsFloat], at: int) -> float:
    given = schedule(at)
    try:
        rate = float(given)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"The schedule gave {given!r} at step {at}; it must give a number.") from error
    if not (math.isfinite(rate) and rate >= 0):
        raise InvalidArgumentError(
            f"The schedule gave {rate} at step {at}; a learning rate is finite and not negative."
        )
    return rate


_SHAPES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: (1 + np.cos(np.pi * x)) / 2,
    "sqrt": lambda x: 1 - np.sqrt(x),
}


def _between(floor: float, height: FloatArray) -> FloatArray:
    # floor + (1 - floor) * height, but exact at both ends.
    return floor * (1 - height) + height


def _milestones(milestones: Sequence[float], warmup_fraction: float) -> list[float]:
    marks = [_number("each of milestones", mark, above=True) for mark in milestones]
    warmup = _number("warmup_fraction", warmup_fraction)
    if not marks or sorted(marks) != marks or marks[0] < warmup:
        raise InvalidArgumentError(
            f"milestones are {marks}; give fractions of the run in rising order, none inside the warm-up, which ends "
            f"at {warmup}."
        )
    return marks


def _settings_of(name: str) -> str:
    known = list(inspect.signature(_MAKERS[name]).parameters)[2:]
    return f"The settings of {name} are {', '.join(known)}."


def _choice(what: str, given: object, known: Iterable[str]) -> str:
    if given not in (names := list(known)):
        raise InvalidArgumentError(f"{what} is {given!r}; it must be one of {', '.join(names)}.")
    return str(given)


def _integer(what: str, given: object) -> int:
    if isinstance(given, bool | np.bool_) or not hasattr(given, "__index__"):
        raise InvalidArgumentError(f"{what} is {given!r}; it must be an integer.")
    return operator.index(cast("SupportsIndex", given))


def _count(what: str, given: object) -> int:
    if (count := _integer(what, given)) < 1:
        raise InvalidArgumentError(f"{what} is {count}; it must be at least 1.")
    return count


def _number(
    what: str, given: object, *, low: float = 0.0, high: float = 1.0, above: bool = False, below: bool = False
) -> float:
    try:
        number = math.nan if isinstance(given, str | bool) else float(cast("SupportsFloat", given))
    except (TypeError, ValueError):
        number = math.nan
    inside = low <= number <= high and not (above and number == low) and not (below and number == high)
    if not (inside and math.isfinite(number)):
        lower = f"{'above' if above else 'of at least'} {low:g}"
        upper = "finite" if math.isinf(high) else f"{'below' if below else 'at most'} {high:g}"
        raise InvalidArgumentError(f"{what} is {given!r}; it must be a number {lower} and {upper}.")
    return number
