"""What a metric is before training, where nobody can evaluate it: inside a function, or a command."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Mode
    from learnrate.results import Trial


def estimated(trials: Iterable[Trial], metric: str, mode: Mode) -> float | None:
    """Return the worst first value among the trials that are no faster than the best one.

    A slow training hardly leaves where it began, so this comes close from below; what a fast one gives may be of any
    size, and says nothing. None where there is no worse value than the best, or no trial that holds.
    """
    sign = 1 if mode == "min" else -1
    held = [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.value is not None and metric in trial.curve.metrics
    ]
    if not held:
        return None
    best = min(held, key=lambda trial: (sign * (trial.value or 0.0), trial.learning_rate))
    slow = [float(trial.curve.values(metric)[0]) for trial in held if trial.learning_rate <= best.learning_rate]
    losses = [sign * value for value in slow if math.isfinite(value)]
    worst = max(losses, default=-math.inf)
    return sign * worst if worst > sign * (best.value or 0.0) else None
