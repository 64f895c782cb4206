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
        rates = self._rates[np.minimum(steps, self.total_steps - 1)]
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
    settings: dict[str, Any],
    curve: Callable[[_Span], FloatArray],
) -> Schedule:
    """Lay a curve of heights in 0..1 after its warm-up, in steps or in epochs, and scale it to the peak."""
    peak, total = _peak(learning_rate), _count("total_steps", total_steps)
    settings["warmup_fraction"] = _number("warmup_fraction", settings["warmup_fraction"], 0.0, 1.0)
    if settings["num_epochs"] is not None:
        settings["num_epochs"] = _count("num_epochs", settings["num_epochs"])
    slots = settings["num_epochs"] or total
    warmup = round(settings["warmup_fraction"] * slots)
    rise = np.arange(1, warmup + 1) / max(warmup, 1)
    heights = np.clip(np.concatenate([rise, curve(_Span(warmup, slots))]), 0.0, 1.0)
    if settings["num_epochs"] is not None:
        heights = heights[np.arange(total) * slots // total]
    return _of_rates(name, peak, settings, peak * heights)


def _of_rates(name: str, peak: float, settings: Mapping[str, Any], rates: FloatArray) -> Schedule:
    rates.flags.writeable = False
    return Schedule(name, peak, len(rates), settings, rates)


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
    settings = {"warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return _make("constant", learning_rate, total_steps, settings, lambda span: np.ones(span.length))


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

    `learning_rate * (1 + (final_fraction - 1) * min(t / d, 1))`, where the fall ends, `d` steps after the
    warm-up, at step `decay_fraction * total_steps`.

    `final_fraction` is the floor relative to the peak. By default the rate falls to nothing over the whole run, which
    Bergsma et al. 2025 (arXiv 2502.15938) found hard to beat.

    Example:
        >>> linear(1.0, 8, final_fraction=0.2, decay_fraction=0.5).values().round(3).tolist()
        [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2]
    """
    floor = _number("final_fraction", final_fraction, 0.0, 1.0)
    end = _number("decay_fraction", decay_fraction, 0.0, 1.0)
    if end <= _number("warmup_fraction", warmup_fraction, 0.0, 1.0):
        raise InvalidArgumentError(
            f"decay_fraction is {end} and warmup_fraction {warmup_fraction}; both count from the start of the "
            "run, so decay_fraction must be the larger."
        )

    def curve(span: _Span) -> FloatArray:
        length = max(round(end * span.total) - span.start, 1)
        return _between(floor, 1 - np.minimum(span.steps / length, 1.0))

    settings = {"final_fraction": floor, "decay_fraction": end}
    settings |= {"warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return _make("linear", learning_rate, total_steps, settings, curve)


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

    `learning_rate * factor ** k`, where `k` counts the milestones passed.

    `milestones` are fractions of the run, counted from its start. `every_fraction` instead drops the rate each
    time that this fraction of the run has passed since the warm-up. With neither, the rate drops to a tenth after a
    half and again after three quarters of the run, as in He et al. 2015 (arXiv 1512.03385).

    Example:
        >>> step(1.0, 8, factor=0.5, milestones=[0.25, 0.75]).values().tolist()
        [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    """
    settings: dict[str, Any] = {"factor": _number("factor", factor, 0.0, 1.0, open_low=True)}
    if every_fraction is not None:
        if milestones is not None:
            raise InvalidArgumentError("milestones and every_fraction came together; give one of them.")
        every = _number("every_fraction", every_fraction, 0.0, 1.0, open_low=True)
        settings["every_fraction"] = every

        def passed(span: _Span) -> FloatArray:
            return np.floor((span.steps + _TOLERANCE) / (every * span.total))
    else:
        marks = _milestones((0.5, 0.75) if milestones is None else milestones, warmup_fraction)
        settings["milestones"] = marks

        def passed(span: _Span) -> FloatArray:
            # The first step at or after the mark, so that even a short run begins at the peak.
            firsts = np.ceil(np.asarray(marks) * span.total - _TOLERANCE)
            return np.searchsorted(firsts, span.steps + span.start, side="right").astype(np.float64)

    settings |= {"warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return _make("step", learning_rate, total_steps, settings, lambda span: settings["factor"] ** passed(span))


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
    floor = _number("final_fraction", final_fraction, 0.0, 1.0)
    settings = {"final_fraction": floor, "warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return _make(
        "cosine",
        learning_rate,
        total_steps,
        settings,
        lambda span: _between(floor, _fall("cosine", span.progress)),
    )


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

    From `start_fraction` of the peak at the first step, to the peak once `rise_fraction` of the steps are done,
    to `final_fraction` of it at the last step. `shape` draws both ways: "cosine", "linear" or "sqrt".

    Smith and Topin 2017 (arXiv 1708.07120). The defaults are PyTorch's: a start at 1/25 of the peak, an end at
    1e-4 of the start. Momentum is left alone.

    Example:
        >>> one_cycle(1.0, 6, rise_fraction=0.5, start_fraction=0.2, shape="linear").values().round(3).tolist()
        [0.2, 0.6, 1.0, 0.667, 0.333, 0.0]
    """
    rise = _number("rise_fraction", rise_fraction, 0.0, 1.0)
    start = _number("start_fraction", start_fraction, 0.0, 1.0)
    floor = _number("final_fraction", final_fraction, 0.0, 1.0)
    _choice("shape", shape, _SHAPES)

    def curve(span: _Span) -> FloatArray:
        top = max(rise * span.length - 1, 0.0)
        up = np.minimum(span.steps / max(top, 1.0), 1.0) if top else np.ones(span.length)
        down = np.clip((span.steps - top) / max(span.length - 1 - top, _TOLERANCE), 0.0, 1.0)
        rising = _between(start, 1 - _fall(shape, up))
        return np.where(span.steps <= top, rising, _between(floor, _fall(shape, down)))

    settings: dict[str, Any] = {"rise_fraction": rise, "start_fraction": start, "final_fraction": floor}
    settings |= {"shape": shape, "warmup_fraction": warmup_fraction, "num_epochs": num_epochs}
    return _make("one_cycle", learning_rate, total_steps, settings, curve)


_MAKERS: dict[str, Callable[..., Schedule]] = {
    maker.__name__: maker for maker in (constant, linear, step, cosine, one_cycle)
}


def describe(maker: ScheduleMaker) -> dict[str, Any]:
    """Give a maker's name and its settings, defaults included, as JSON can hold them.

    A maker that is not of this module is described by its name alone, with `custom` true.

    Raises:
        InvalidArgumentError: The maker is of this module, and its settings cannot be used.

    Example:
        >>> describe(functools.partial(cosine, warmup_fraction=0.1))["settings"]
        {'final_fraction': 0.0, 'warmup_fraction': 0.1, 'num_epochs': None}
    """
    if not callable(maker):
        raise InvalidArgumentError(f"The schedule is {maker!r}; give a maker such as learnrate.schedules.cosine.")
    origin: Any = maker
    while isinstance(origin, functools.partial):
        origin = cast("functools.partial[Any]", origin).func
    name = getattr(origin, "__qualname__", type(origin).__qualname__)
    if _MAKERS.get(name) is not origin:
        return {"name": name, "settings": {}, "custom": True}
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


def _fall(shape: Shape, x: FloatArray) -> FloatArray:
    return _SHAPES[shape](x)


def _between(floor: float, height: FloatArray) -> FloatArray:
    # floor + (1 - floor) * height, but exact at both ends.
    return floor * (1 - height) + height


def _milestones(milestones: Sequence[float], warmup_fraction: float) -> list[float]:
    marks = [_number("milestones", mark, 0.0, 1.0) for mark in milestones]
    warmup = _number("warmup_fraction", warmup_fraction, 0.0, 1.0)
    if not marks or sorted(marks) != marks or not (warmup < marks[0] or 0 < warmup == marks[0]):
        raise InvalidArgumentError(
            f"milestones are {marks}; give fractions of the run in rising order, above 0 and not inside the "
            f"warm-up, which ends at {warmup}."
        )
    return marks


def _settings_of(name: str) -> str:
    known = list(inspect.signature(_MAKERS[name]).parameters)[2:]
    return f"The settings of {name} are {', '.join(known)}."


def _choice(what: str, given: object, known: Iterable[str]) -> None:
    if given not in (names := list(known)):
        raise InvalidArgumentError(f"{what} is {given!r}; it must be one of {', '.join(names)}.")


def _integer(what: str, given: object) -> int:
    if isinstance(given, bool | np.bool_) or not hasattr(given, "__index__"):
        raise InvalidArgumentError(f"{what} is {given!r}; it must be an integer.")
    return operator.index(cast("SupportsIndex", given))


def _count(what: str, given: object) -> int:
    if (count := _integer(what, given)) < 1:
        raise InvalidArgumentError(f"{what} is {count}; it must be at least 1.")
    return count


def _peak(given: object) -> float:
    peak = _number("learning_rate", given, 0.0, math.inf, open_low=True)
    if math.isinf(peak):
        raise InvalidArgumentError("learning_rate is infinite; it must be a finite number above 0.")
    return peak


def _number(what: str, given: object, low: float, high: float, *, open_low: bool = False) -> float:
    allowed = f"a number {'above' if open_low else 'of at least'} {low}"
    allowed += f" and at most {high}" if math.isfinite(high) else ""
    try:
        number = math.nan if isinstance(given, str | bool) else float(cast("SupportsFloat", given))
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high or (open_low and number == low):
        raise InvalidArgumentError(f"{what} is {given!r}; it must be {allowed}.")
    return number
