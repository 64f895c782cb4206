"""Whether the data is to blame where a metric is no number before anything was trained."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from learnrate.errors import UnsupportedProblemError
from learnrate.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.training import Part, Trainable


class DataCheck:
    """Looks for samples that hold NaN or infinity, and only once something has shown that there may be one.

    Args:
        problem: Whose data it is; without `first_bad_sample` none is ever found.
    """

    def __init__(self, problem: Trainable) -> None:
        self._look: Callable[[Part], str | None] = getattr(problem, "first_bad_sample", lambda _part: None)

    def require_number(self, metric: str, value: float) -> None:
        """Refuse a validation metric that training cannot make a number.

        NaN stays NaN. Infinity may be the overflow of weights that have learned nothing, as of a perplexity, and is
        refused only where a sample is to blame.

        Raises:
            UnsupportedProblemError: The message names the first bad sample, where one is found.
        """
        if math.isfinite(value):
            return
        where = self._look("validation")
        if where is not None or math.isnan(value):
            said = "NaN" if math.isnan(value) else "infinite"
            raise UnsupportedProblemError(
                f"{metric} is {said} before any training: {where or 'look for NaN in the data and in the loss'}"
            )

    def broke_at_once(self) -> None:
        """Refuse training data whose very first loss is not finite, if a sample is to blame.

        Where none is, the trainings decide: a gradient scaler may skip such a step.

        Raises:
            UnsupportedProblemError: The message names the first bad sample.
        """
        if self._training_sample is not None:
            raise UnsupportedProblemError(f"loss is NaN or infinite before any training: {self._training_sample}")

    def reasons_for(self, verdict: Verdict) -> list[str]:
        """Return what in the training data may be why every training diverged, where that is the verdict."""
        found = self._training_sample if verdict is Verdict.ALL_DIVERGED else None
        return [] if found is None else [found]

    @functools.cached_property
    def _training_sample(self) -> str | None:
        return self._look("training")
