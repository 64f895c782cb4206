"""Which of a training's rows is the best so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Mode
    from learnrate.training import Row


class Best:
    """The best value of the deciding metric so far; NaN, infinity and a row that diverged are never it.

    Args:
        metric: The deciding metric.
        mode: Whether it is better when small ("min") or large ("max").
        value: The best value before; None where there is none.
    """

    def __init__(self, metric: str, mode: Mode, value: float | None = None) -> None:
        self._metric = metric
        self._sign = 1.0 if mode == "min" else -1.0
        self._least = math.inf if value is None else self._sign * value

    @property
    def value(self) -> float | None:
        """The best value; None where there is none."""
        return self._sign * self._least if math.isfinite(self._least) else None

    def improves(self, row: Row) -> bool:
        """Take a row; return whether it is the best."""
        loss = self._sign * row.metrics.get(deciding(self._metric, row.metrics), math.nan)
        if row.diverged or not loss < self._least or not math.isfinite(loss):
            return False
        self._least = loss
        return True


def deciding(metric: str, known: Iterable[str]) -> str:
    """Return the metric that decides among those reported: the training loss where nothing is validated."""
    return metric if metric in known or metric != "val_loss" else "loss"
