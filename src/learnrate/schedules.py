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
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from learnrate._checks import positive_number
from learnrate._cycles import cosine_restarts, exp_range, one_cycle, triangular, triangular2
from learnrate._schedule import (
    SHAPES,
    TOLERANCE,
    FloatArray,
    Schedule,
    ScheduleMaker,
    Shape,
    Span,
    as_values,
    between,
    choice,
    fraction,
    make,
)
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Schedule",
    "ScheduleMaker",
    "as_values",
    "by_name",
    "constant",
    "cosine",
    "cosine_restarts",
    "describe",
    "exp_range",
    "exponential",
    "inverse_time",
    "join",
    "linear",
    "one_cycle",
    "polynomial",
    "step",
    "triangular",
    "triangular2",
    "warmup_stable_decay",
]


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
    return make("constant", learning_rate, total_steps, lambda span: np.ones(span.length), common)


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
    floor, end = fraction("final_fraction", final_fraction), fraction("decay_fraction", decay_fraction)
    if end <= fraction("warmup_fraction", warmup_fraction):
        raise InvalidArgumentError(
            f"decay_fraction is {end} and warmup_fraction {warmup_fraction}: both count from the start of the run, so "
            "pass a larger decay_fraction"
        )

    def curve(span: Span) -> FloatArray:
        length = max(round(end * span.total) - span.start, 1)
        return between(floor, 1 - np.minimum(span.steps / length, 1.0))

    common = (warmup_fraction, num_epochs)
    return make("linear", learning_rate, total_steps, curve, common, final_fraction=floor, decay_fraction=end)


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
        raise InvalidArgumentError("milestones and every_fraction came together: pass one of them")
    ratio = fraction("factor", factor, above=True)
    every = None if every_fraction is None else fraction("every_fraction", every_fraction, above=True)
    marks = _milestones((0.5, 0.75) if milestones is None else milestones, warmup_fraction) if every is None else None

    def curve(span: Span) -> FloatArray:
        if every is not None:
            return ratio ** np.floor((span.steps + TOLERANCE) / (every * span.total))
        # The first step at or after the mark, so that even a short run begins at the peak.
        drops = np.ceil(np.asarray(marks) * span.total - TOLERANCE)
        return ratio ** np.searchsorted(drops, span.steps + span.start, side="right").astype(np.float64)

    settings = {"factor": ratio, "milestones": marks, "every_fraction": every}
    return make("step", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


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
        raise InvalidArgumentError("factor is the decay of one epoch: pass num_epochs with it, and no final_fraction")
    ratio = None if factor is None else fraction("factor", factor, above=True)
    final = (
        None if ratio else fraction("final_fraction", 0.01 if final_fraction is None else final_fraction, above=True)
    )

    def curve(span: Span) -> FloatArray:
        return (final or 1.0) ** span.progress * (ratio or 1.0) ** span.steps  # one of the two is absent

    settings = {"final_fraction": final, "factor": ratio}
    return make("exponential", learning_rate, total_steps, curve, (warmup_fraction, num_epochs), **settings)


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
    final = fraction("final_fraction", final_fraction, above=True)
    common = (warmup_fraction, num_epochs)
    return make(
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
    exponent = positive_number("power", power)
    floor = fraction("final_fraction", final_fraction)
    return make(
        "polynomial",
        learning_rate,
        total_steps,
        lambda span: between(floor, (1 - span.progress) ** exponent),
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
    floor = fraction("final_fraction", final_fraction)
    return make(
        "cosine",
        learning_rate,
        total_steps,
        lambda span: between(floor, SHAPES["cosine"](span.progress)),
        (warmup_fraction, num_epochs),
        final_fraction=floor,
    )


def _milestones(milestones: Sequence[float], warmup_fraction: float) -> list[float]:
    marks = [fraction("each of milestones", mark, above=True) for mark in milestones]
    warmup = fraction("warmup_fraction", warmup_fraction)
    if not marks or sorted(marks) != marks or marks[0] < warmup:
        raise InvalidArgumentError(
            f"milestones are {marks}: pass fractions of the run in rising order, none inside the warm-up, which ends "
            f"at {warmup}"
        )
    return marks


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

    Hägele et al. 2024 (arXiv 2405.18392), where a fall of a fifth of the run along the square root kept up with a
    cosine. A short warm-up is part of the schedule; a twentieth of the run by default.

    Example:
        >>> warmup_stable_decay(1.0, 10, decay_fraction=0.4, shape="linear", warmup_fraction=0.2).values().tolist()
        [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    decay, floor = fraction("decay_fraction", decay_fraction), fraction("final_fraction", final_fraction)
    fall = SHAPES[choice("shape", shape, SHAPES)]
    if decay + fraction("warmup_fraction", warmup_fraction) > 1 + TOLERANCE:
        raise InvalidArgumentError(
            f"decay_fraction is {decay} and warmup_fraction {warmup_fraction}: pass a sum of at most 1"
        )

    def curve(span: Span) -> FloatArray:
        length = min(round(decay * span.total), span.length)
        falling = between(floor, fall(np.arange(length) / max(length, 1)))
        return np.concatenate([np.ones(span.length - length), falling])

    settings = {"decay_fraction": decay, "final_fraction": floor, "shape": shape}
    common = (warmup_fraction, num_epochs)
    return make("warmup_stable_decay", learning_rate, total_steps, curve, common, **settings)


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
        raise InvalidArgumentError(f"join was given {schedules!r}: pass a list of one Schedule or more")
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
    origin: Any = maker
    if isinstance(origin, Schedule):
        raise InvalidArgumentError(
            "schedule is made for one learning rate already: pass its maker, as learnrate.schedules.cosine, and its "
            "settings by functools.partial"
        )
    if not callable(maker):
        raise InvalidArgumentError(f"schedule is {maker!r}: pass a maker such as learnrate.schedules.cosine")
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
        raise InvalidArgumentError(f"{name} cannot be made: {error}; {_settings_of(name)}") from error
    return {"name": name, "settings": dict(made.settings)}


def by_name(name: str, /, **settings: Any) -> Callable[[float, int], Schedule]:
    """Give the maker that `describe` describes so.

    Raises:
        InvalidArgumentError: There is no such maker, it has no such setting, or the setting cannot be used.

    Example:
        >>> by_name("cosine", warmup_fraction=0.25)(1.0, 4)(0)
        1.0
    """
    choice("schedule", name, _MAKERS)
    maker = functools.partial(_MAKERS[name], **settings)
    describe(maker)
    return maker


def _settings_of(name: str) -> str:
    known = list(inspect.signature(_MAKERS[name]).parameters)[2:]
    return f"its settings are {', '.join(known)}"


def settings_told(described: Mapping[str, Any]) -> str:
    """Say a described schedule in words: its name, and the settings in which it differs from its maker's defaults.

    Example:
        >>> settings_told(describe(functools.partial(cosine, warmup_fraction=0.1)))
        'cosine (warmup_fraction 0.1)'
    """
    name, settings = described["name"], described["settings"]
    maker = _MAKERS.get(name)
    usual: Mapping[str, Any] = {} if maker is None or described.get("custom") else describe(maker)["settings"]
    own = [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in settings.items()
        if value != usual.get(key)
    ]
    return f"{name} ({', '.join(own)})" if own else str(name)
