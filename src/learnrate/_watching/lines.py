"""What is known of a verb at work, in lines of text: a trial, its curve as a few bars, what is spent and left."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from learnrate._drawings.axes import places
from learnrate._numbers import duration, rate, short
from learnrate._pages.search_words import point_words
from learnrate._watching.tally import Tally
from learnrate.results import Trial, TrialState
from learnrate.training import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.curves import Mode

_BARS = "▁▂▃▄▅▆▇█"
_QUIET_SECONDS = 10.0
"""How long plain lines stay silent during one trial: a person who waits longer wonders whether it still works."""


class PlainLines:
    """A line for the plan, each stage and each finished trial; for an epoch only where nothing was said for a while."""

    def __init__(
        self,
        say: Callable[[str], object],
        metric: str,
        mode: Mode = "min",
        *,
        bars: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._tally = Tally(metric, mode, clock=clock)
        self._bars = bars
        self._clock = clock
        self._last = clock()

    def __call__(self, event: Event) -> None:
        """Say what happened, if it is worth a line."""
        self._tally(event)
        if event.trial is None or event.kind is EventKind.STAGE:
            self._print(announced(event))
        elif event.kind is EventKind.TRIAL_FINISHED:
            self._print(self._line(event.trial) + best_words(self._tally) + self._curve(event.trial))
        elif event.kind is EventKind.EPOCH and self._clock() - self._last > _QUIET_SECONDS:
            self._print(self._line(event.trial) + self._curve(event.trial))

    def _line(self, trial: Trial) -> str:
        return f"  {described(trial, self._tally.metric)}; spent {spent_words(self._tally)}"

    def _curve(self, trial: Trial) -> str:
        bars = sparkline(trial, self._tally.metric) if self._bars else ""
        return f"  {bars}" if bars else ""

    def _print(self, line: str) -> None:
        self._say(line)
        self._last = self._clock()


def announced(event: Event) -> str:
    """Return what an event announces: the plan, or a stage of the work."""
    return f"plan: {event.message}" if event.kind is EventKind.PLAN else event.message


def best_words(tally: Tally) -> str:
    """Say, after something else, which learning rate is the best so far; nothing while there is none."""
    best = tally.best
    if best is None:
        return ""
    name = tally.metric if is_point(best) else ""
    return f"; best so far {name} {short(best.value, 3)}" if name else f"; best so far {rate(best.learning_rate)}"


def spent_words(tally: Tally) -> str:
    """Say what is spent of what budget, and about how much time is left."""
    if tally.budget is None:
        return f"{tally.spent:.1f} runs"
    left = tally.seconds_left
    time_left = "" if left is None or left < 1 else f", {duration(left)} left at most"
    return f"{tally.spent:.1f} of {tally.budget:g} runs{time_left}"


def described(trial: Trial, metric: str) -> str:
    """Describe a trial in one line: its learning rate, how far it came and its best value, or how it ended.

    Example:
        >>> from learnrate.curves import LearningCurve
        >>> curve = LearningCurve.from_rows([(1, {"loss": 0.5}), (2, {"loss": 0.25})])
        >>> trial = Trial(
        ...     number=0,
        ...     hyperparameters={"learning_rate": 0.001},
        ...     state=TrialState.COMPLETE,
        ...     curve=curve,
        ...     value=0.25,
        ...     seed=0,
        ...     seconds=1.0,
        ...     epochs=2.0,
        ...     horizon=2.0,
        ... )
        >>> described(trial, "loss")
        'learning rate 1e-3: loss 0.25, 2 epochs'
    """
    name = metric if metric in trial.curve.metrics else "loss"
    value = "" if trial.value is None else f"{name} {short(trial.value, 3)}{_when(trial, name)}, "
    done = f"{short(trial.epochs, 2)} epoch{'' if trial.epochs == 1 else 's'}"
    head = f"{told(trial)}: "
    if trial.state is TrialState.RUNNING:
        return f"{head}{value}{short(trial.epochs, 2)} of {short(trial.horizon, 2)} epochs"
    if trial.state in (TrialState.DIVERGED, TrialState.FAILED):
        return f"{head}{trial.state.value} after {done}"
    return f"{head}{value}{done}"


def _when(trial: Trial, name: str) -> str:
    """Say at which epoch a trial had its value, where that is not its last."""
    values = trial.curve.metrics.get(name)
    had = [] if values is None else np.flatnonzero(values == trial.value).tolist()
    return f" at epoch {short(float(trial.curve.epochs[had[0]]))}" if had and had[0] < len(trial.curve) - 1 else ""


def told(trial: Trial) -> str:
    """Name a trial: by its learning rate or, in a search, by its number and all that it was trained with."""
    if is_point(trial):
        return f"trial {trial.number}, {point_words(trial)}"
    return f"learning rate {rate(trial.learning_rate)}"


def is_point(trial: Trial) -> bool:
    """Return whether a trial is a point of a search, with hyperparameters beside the learning rate or without one."""
    return set(trial.hyperparameters) != {"learning_rate"}


def sparkline(trial: Trial, metric: str, width: int = 16) -> str:
    """Return a trial's curve as a few bars, each a height between its lowest and its highest value.

    Example:
        >>> from learnrate.curves import LearningCurve
        >>> curve = LearningCurve.from_rows([(epoch, {"loss": 1 / epoch}) for epoch in range(1, 9)])
        >>> one = Trial(
        ...     number=0,
        ...     hyperparameters={},
        ...     state=TrialState.RUNNING,
        ...     curve=curve,
        ...     value=None,
        ...     seed=0,
        ...     seconds=0.0,
        ... )
        >>> sparkline(one, "loss")
        '█▅▃▂▂▁▁▁'
    """
    name = metric if metric in trial.curve.metrics else "loss"
    if name not in trial.curve.metrics:
        return ""
    values = trial.curve.metrics[name].tolist()
    heights = [values[place] for place in places(len(values), width)] if values else []
    finite = [height for height in heights if math.isfinite(height)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    reach = high / 2 - low / 2  # halves, since the whole may be more than the largest float
    return "".join(_bar(height, low, reach) for height in heights)


def _bar(height: float, low: float, reach: float) -> str:
    if not math.isfinite(height):
        return "×"
    if reach == 0:
        return _BARS[0]
    return _BARS[round((height / 2 - low / 2) / reach * (len(_BARS) - 1))]
