"""Arguments that cannot be used are refused before anything is trained; each message says what to pass instead."""

from __future__ import annotations

import difflib
import math
import numbers
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from learnrate._logs.metric_names import mode_of
from learnrate.curves import Mode
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable


def positive_integer(name: str, value: Any) -> int:
    """Return an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1:
        msg = f"{name} is {value!r}: pass an integer of at least 1"
        raise InvalidArgumentError(msg)
    return int(value)


def seed_integer(value: Any) -> int:
    """Return a seed: an integer from 0 to 2³² − 1, the range that every framework takes."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 <= int(value) < 2**32:
        msg = f"seed is {value!r}: pass an integer from 0 to 4294967295"
        raise InvalidArgumentError(msg)
    return int(value)


def consecutive_seeds(first: Any, how_many: Any) -> list[int]:
    """Return so many seeds, one after another, all of them in the range of seeds."""
    seed, number = seed_integer(first), positive_integer("num_seeds", how_many)
    if seed + number > 2**32:
        msg = f"num_seeds is {how_many!r} with seed {seed}: the last of them would be above 4294967295; lower the seed"
        raise InvalidArgumentError(msg)
    return [seed + place for place in range(number)]


def positive_number(name: str, value: Any) -> float:
    """Return a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or value <= 0:
        msg = f"{name} is {value!r}: pass a finite number above 0"
        raise InvalidArgumentError(msg)
    return float(value)


def budget_number(value: Any) -> float:
    """Return a budget of at least one full training run, which the winner's own takes."""
    budget = positive_number("budget", value)
    if budget < 1:
        msg = f"budget is {value!r}: it is in full training runs, the winner's own included, so pass at least 1"
        raise InvalidArgumentError(msg)
    return budget


def learning_rate_range(low: Any, high: Any) -> tuple[float, float]:
    """Return a range of learning rates, the lower one first."""
    lowest = positive_number("min_learning_rate", low)
    highest = positive_number("max_learning_rate", high)
    if lowest >= highest:
        msg = (
            f"min_learning_rate {lowest:g} is not below max_learning_rate {highest:g}: "
            f"pass a range such as min_learning_rate=1e-7, max_learning_rate=10.0"
        )
        raise InvalidArgumentError(msg)
    return lowest, highest


def start_rate(value: Any, low: float, high: float) -> float | None:
    """Return the learning rate to start from, which lies in the range, or None."""
    if value is None:
        return None
    start = positive_number("start", value)
    if not low <= start <= high:
        msg = (
            f"start {start:g} is outside the range from min_learning_rate {low:g} to max_learning_rate {high:g}: "
            f"widen the range, or leave start out"
        )
        raise InvalidArgumentError(msg)
    return start


def learning_rate_list(values: Any) -> list[float]:
    """Return distinct learning rates in ascending order."""
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        msg = f"learning_rates is {values!r}: pass several numbers, such as [1e-4, 1e-3, 1e-2]"
        raise InvalidArgumentError(msg)
    iterable: Iterable[Any] = values
    single = (value.item() if value.size == 1 else value for value in map(np.asarray, iterable))
    rates = [positive_number("a learning rate", value) for value in single]
    if not rates:
        msg = "learning_rates is empty: pass at least one, such as [1e-4, 1e-3, 1e-2]"
        raise InvalidArgumentError(msg)
    if len(set(rates)) < len(rates):
        twice = sorted({rate for rate in rates if rates.count(rate) > 1})
        msg = f"learning_rates has {', '.join(f'{rate:g}' for rate in twice)} more than once: pass each rate once"
        raise InvalidArgumentError(msg)
    return sorted(rates)


def step_rates(values: Any) -> npt.NDArray[np.float64]:
    """Return the learning rates of a block of steps, one each, as an array."""
    rates = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if rates.ndim != 1 or not rates.size or not np.isfinite(rates).all() or (rates < 0).any():
        msg = f"the learning rates are {values!r}: pass a one-dimensional array of finite numbers, 0 or more"
        raise InvalidArgumentError(msg)
    return rates


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" where something known is close, else nothing.

    Example:
        >>> did_you_mean("widht", ["width", "depth"])
        '; did you mean width?'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def mode_for(metric: str, value: Any) -> Mode:
    """Return "min" or "max"; None goes by the metric's name."""
    return mode_of(metric) if value is None else mode_name(value)


def mode_name(value: Any) -> Mode:
    """Return "min" or "max"."""
    if value not in get_args(Mode):
        msg = f'mode is {value!r}: pass "min" where a smaller metric is better, "max" where a larger one is'
        raise InvalidArgumentError(msg)
    return value


def metric_name(value: Any) -> str:
    """Return a metric's name."""
    if not isinstance(value, str) or not value:
        msg = f'metric is {value!r}: pass the name of a metric that the training reports, such as "val_loss"'
        raise InvalidArgumentError(msg)
    return value


def count(name: str, value: Any) -> int:
    """Return an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 0:
        msg = f"{name} is {value!r}: pass an integer of at least 0"
        raise InvalidArgumentError(msg)
    return int(value)
