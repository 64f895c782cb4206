"""The schedules that go round: one cycle, cyclical, and cosine with restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from learnrate._checks import positive_integer, positive_number
from learnrate._schedule import SHAPES, TOLERANCE, FloatArray, Schedule, Shape, Span, between, choice, fraction, make
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable


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
    cycles = positive_integer("num_cycles", num_cycles)
    growth = positive_number("cycle_growth", cycle_growth)
    if growth < 1:
        raise InvalidArgumentError(f"cycle_growth is {growth}: pass a number of at least 1")
    shrink, floor = fraction("peak_factor", peak_factor, above=True), fraction("final_fraction", final_fraction)

    def curve(span: Span) -> FloatArray:
        weights = growth ** (np.arange(cycles) - (cycles - 1.0))  # the last is 1: no overflow
        lengths = span.length * weights / weights.sum()
        starts = np.cumsum(lengths) - lengths
        cycle = np.searchsorted(starts, span.steps + TOLERANCE, side="right") - 1
        within = np.clip((span.steps - starts[cycle]) / lengths[cycle], 0.0, 1.0)
        return between(floor, shrink**cycle * SHAPES["cosine"](within))

    settings = {"num_cycles": cycles, "cycle_growth": growth, "peak_factor": shrink, "final_fraction": floor}
    return make("cosine_restarts", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


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
    rise, start = fraction("rise_fraction", rise_fraction), fraction("start_fraction", start_fraction)
    floor, fall = fraction("final_fraction", final_fraction), SHAPES[choice("shape", shape, SHAPES)]

    def curve(span: Span) -> FloatArray:
        top, last = max(rise * span.length - 1, 0.0), span.length - 1
        if abs(top - round(top)) < TOLERANCE:  # a root is so steep at the peak that rounding there would show
            top = float(round(top))
        up = span.steps / top if top else np.ones(span.length)
        down = (span.steps - top) / (last - top) if last > top else np.zeros(span.length)
        rising = between(start, 1 - fall(np.clip(up, 0.0, 1.0)))
        return np.where(span.steps < top, rising, between(floor, fall(np.clip(down, 0.0, 1.0))))

    settings = {"rise_fraction": rise, "start_fraction": start, "final_fraction": floor, "shape": shape}
    return make("one_cycle", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


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
    height = fraction("final_height", final_height, above=True)
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
    cycles = positive_number("num_cycles", bounds[0])
    rise = fraction("rise_fraction", bounds[1], above=True, below=True)
    floor = fraction("min_fraction", bounds[2])

    def curve(span: Span) -> FloatArray:
        within, cycle = np.modf(span.progress * cycles)
        triangle = np.minimum(within / rise, (1 - within) / (1 - rise))
        return between(floor, envelope(span.progress, cycle) * triangle)

    settings = {"num_cycles": cycles, "rise_fraction": rise, "min_fraction": floor} | own
    return make(name, learning_rate, total_steps, curve, common, **settings)
