"""What a schedule is, and how one is made: a curve of heights, after a warm-up, scaled to the peak."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsFloat, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from learnrate._checks import count, positive_integer, positive_number
from learnrate.errors import InvalidArgumentError

FloatArray: TypeAlias = npt.NDArray[np.float64]
ScheduleMaker: TypeAlias = Callable[[float, int], Callable[[int], float]]
"""What `select(schedule=...)` takes: a peak and a number of steps give a function from a step to a rate."""

Shape: TypeAlias = Literal["linear", "cosine", "sqrt"]

SHAPES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: (1 + np.cos(np.pi * x)) / 2,
    "sqrt": lambda x: 1 - np.sqrt(x),
}
"""How a height may fall from 1 to 0 while x rises from 0 to 1."""

TOLERANCE = 1e-9  # of a step: 0.07 * 100 is 7.000000000000001, and step 7 is meant


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
        >>> from learnrate.schedules import cosine
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
            raise InvalidArgumentError(f"step is {step!r}: pass an integer or an array of integers")
        if steps.size and steps.min() < 0:
            raise InvalidArgumentError(f"step is {int(steps.min())}: pass one of at least 0, steps count from 0")
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
class Span:
    """The steps (or epochs) that a schedule's own curve runs over, once its warm-up is done."""

    start: int
    total: int

    @property
    def length(self) -> int:
        """How many there are."""
        return self.total - self.start

    @property
    def steps(self) -> FloatArray:
        """Counted from 0."""
        return np.arange(self.length, dtype=np.float64)

    @property
    def progress(self) -> FloatArray:
        """How much of the curve each step has behind it, from 0 up to but not reaching 1."""
        return self.steps / max(self.length, 1)


def make(
    name: str,
    learning_rate: float,
    total_steps: int,
    curve: Callable[[Span], FloatArray],
    common: tuple[float, int | None],
    **own: Any,
) -> Schedule:
    """Lay a curve of heights in 0..1 after its warm-up, in steps or in epochs, and scale it to the peak."""
    peak = positive_number("learning_rate", learning_rate)
    total = positive_integer("total_steps", total_steps)
    warmup_fraction = fraction("warmup_fraction", common[0])
    num_epochs = None if common[1] is None else positive_integer("num_epochs", common[1])
    slots = num_epochs or total
    warmup = round(warmup_fraction * slots)
    heights = np.concatenate([np.arange(1, warmup + 1) / max(warmup, 1), curve(Span(warmup, slots))])
    heights = np.clip(heights, 0.0, 1.0)  # rounding may leave the interval by a bit
    if num_epochs is not None:
        heights = heights[np.arange(total) * slots // total]
    settings = own | {"warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return Schedule(name, peak, total, settings, peak * heights)


def as_values(schedule: Callable[[int], SupportsFloat], first_step: int, last_step: int) -> FloatArray:
    """Give the rates of steps `first_step` to `last_step - 1`, of anything that maps a step to a rate.

    Raises:
        InvalidArgumentError: The schedule cannot be called, or gives something other than a finite number that is not
            negative, or the steps are not 0 <= first_step <= last_step.

    Example:
        >>> as_values(lambda step: 0.1 / (1 + step), 0, 2).tolist()
        [0.1, 0.05]
    """
    if not callable(schedule):
        raise InvalidArgumentError(f"the schedule is {schedule!r}: pass one that maps a step to a learning rate")
    first, last = count("first_step", first_step), count("last_step", last_step)
    if first > last:
        raise InvalidArgumentError(f"first_step is {first} and last_step {last}: pass them in rising order")
    if isinstance(schedule, Schedule):
        return schedule(np.arange(first, last))
    return np.array([_rate_at(schedule, at) for at in range(first, last)], dtype=np.float64)


def _rate_at(schedule: Callable[[int], SupportsFloat], at: int) -> float:
    given = schedule(at)
    try:
        rate = float(given)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"the schedule gave {given!r} at step {at}: let it give a number") from error
    if not (math.isfinite(rate) and rate >= 0):
        raise InvalidArgumentError(f"the schedule gave {rate} at step {at}: let it give finite rates of at least 0")
    return rate


def between(floor: float, height: FloatArray) -> FloatArray:
    """Lift heights of 0..1 above a floor."""
    return floor * (1 - height) + height  # exact at both ends, as floor + (1 - floor) * height is not


def choice(what: str, given: object, known: Iterable[str]) -> str:
    """Return one of the known names."""
    if given not in (names := list(known)):
        raise InvalidArgumentError(f"{what} is {given!r}: pass one of {', '.join(names)}")
    return str(given)


def fraction(name: str, value: Any, *, above: bool = False, below: bool = False) -> float:
    """Return a number from 0 to 1; `above` and `below` leave out the ends."""
    number = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    if not 0 <= number <= 1 or (above and number == 0) or (below and number == 1):
        left_out = {(True, False): ", above 0", (True, True): ", neither included"}.get((above, below), "")
        raise InvalidArgumentError(f"{name} is {value!r}: pass a number from 0 to 1{left_out}")
    return number
