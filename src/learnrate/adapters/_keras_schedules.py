"""Schedules of learnrate's as Keras's, and the other way round."""

# keras has no stubs:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUntypedBaseClass=false, reportUntypedClassDecorator=false, reportUnknownParameterType=false

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np

from learnrate import schedules
from learnrate._checks import positive_integer
from learnrate.errors import InvalidArgumentError
from learnrate.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOSE = 1e-6


@keras.saving.register_keras_serializable(package="learnrate")
class _FollowSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Looks the rates up in a table; a step past the end gets the last rate."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._table = schedule.values().astype(keras.config.floatx())

    def __call__(self, step: Any) -> Any:
        place = keras.ops.minimum(keras.ops.cast(step, "int32"), len(self._table) - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self._table), place, axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return the maker's name and settings; the rates themselves where no maker makes them."""
        ours = self._schedule
        config: dict[str, Any] = {"learning_rate": ours.learning_rate, "total_steps": ours.total_steps}
        try:
            schedules.by_name(ours.name, **ours.settings)
        except (InvalidArgumentError, TypeError):
            return config | {"maker": ours.name, "rates": ours.values().tolist()}
        return config | {"maker": ours.name, "settings": dict(ours.settings)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make it again."""
        peak, total = config["learning_rate"], config["total_steps"]
        if "rates" in config:
            return cls(Schedule(config["maker"], peak, total, {}, np.array(config["rates"])))
        return cls(schedules.by_name(config["maker"], **config["settings"])(peak, total))


def learning_rate_schedule(schedule: Schedule) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a schedule of learnrate's as one of Keras's, for an optimizer that trains outside of learnrate.

    The rates are looked up in a table of `total_steps`; a step past the end gets the last rate. It is saved with the
    model, and loads where `learnrate.adapters.keras` has been imported.

    Args:
        schedule: Made by one of `learnrate.schedules`.

    Raises:
        InvalidArgumentError: It is something else.

    Example:
        >>> from learnrate.schedules import cosine
        >>> optimizer = keras.optimizers.SGD(learning_rate_schedule(cosine(0.1, 100)))
        >>> float(learning_rate_schedule(cosine(0.5, 4))(2))
        0.25
    """
    if not isinstance(schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
        raise InvalidArgumentError(
            f"the schedule is a {type(schedule).__name__}: pass one of learnrate.schedules, such as cosine(0.1, 1000)."
        )
    return _FollowSchedule(schedule)


def schedule_from(
    schedule: keras.optimizers.schedules.LearningRateSchedule, *, steps: int | None = None
) -> Callable[[float, int], Schedule]:
    r"""Make a schedule, as `select(..., schedule=...)` takes it, of a Keras LearningRateSchedule.

    Its rates $r_0, ..., r_{k-1}$ are stretched over the training and scaled so that the peak is the learning rate
    $\eta$ that is tried: $\eta(t) = \eta \, r_{\lfloor t k / T \rfloor} / \max r$.

    Args:
        schedule: The schedule, as you would give it to an optimizer.
        steps: How many steps it is made for (k); by default as many as the training has, which stretches nothing.

    Returns:
        A maker: `maker(learning_rate, total_steps)` returns the `Schedule`.

    Raises:
        InvalidArgumentError: It is something else, or gives rates that cannot be used.

    Example:
        >>> decay = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=1, decay_rate=0.5)
        >>> schedule_from(decay, steps=2)(1.0, 4)(np.arange(4)).tolist()
        [1.0, 1.0, 0.5, 0.5]
    """
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
        raise InvalidArgumentError(
            f"the schedule is a {type(schedule).__name__}: pass one of keras.optimizers.schedules, such as "
            f"CosineDecay(0.1, 1000)."
        )
    count = None if steps is None else positive_integer("steps", steps)
    return functools.partial(_scheduled, schedule, count=count)


def _scheduled(schedule: Any, learning_rate: float, total_steps: int, *, count: int | None) -> Schedule:
    length = count or total_steps
    rates = np.array([float(np.asarray(keras.ops.convert_to_numpy(schedule(at)))) for at in range(length)])
    if not np.isfinite(rates).all() or rates.min() < 0 or rates.max() == 0:
        raise InvalidArgumentError(
            f"{type(schedule).__name__} gives rates from {rates.min()} to {rates.max()} over {length} steps: pass one "
            f"whose rates are finite, none below 0 and not all 0."
        )
    if not math.isclose(rates.max(), learning_rate, rel_tol=_CLOSE):
        rates *= learning_rate / rates.max()
    rates = rates.clip(max=learning_rate)[np.arange(total_steps) * length // total_steps]
    settings: dict[str, Any] = {"schedule": type(schedule).__name__, "steps": count}
    return Schedule("schedule_from", learning_rate, total_steps, settings, rates)
