"""How far a study is: its trials, the best of them, what is spent, and its result where it is finished."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from learnrate._sweep import best_trial
from learnrate._watching.lines import described
from learnrate.errors import StudyDamagedError
from learnrate.results import RangeTest, Recommendation, Search, Sweep, TrialState

if TYPE_CHECKING:
    from learnrate.results import Trial
    from learnrate.study import Study

Result = Recommendation | Sweep | RangeTest | Search

RESULTS: dict[str, type[Result]] = {
    "select": Recommendation,
    "sweep": Sweep,
    "range_test": RangeTest,
    "search": Search,
}
"""What each verb's study ends in."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a study is."""

    verb: str
    finished: bool
    trials: dict[str, int]
    learning_rate: float | None
    value: float | None
    metric: str
    spent: float
    budget: float | None
    at_work: str | None
    best_so_far: str

    def __str__(self) -> str:
        trials = ", ".join(f"{count} {state}" for state, count in self.trials.items()) or "none yet"
        budget = "" if self.budget is None else f" of {self.budget:g}"
        lines = [
            f"{self.verb.replace('_', '-')}: {'finished' if self.finished else 'not finished'}",
            f"trainings: {trials}",
            self.best_so_far,
            f"spent {self.spent:.1f}{budget} training runs",
        ]
        return "\n".join([*lines, f"at work: {self.at_work}"] if self.at_work else lines)


def standing_of(study: Study) -> Standing:
    """Read how far a study is."""
    settings, result = study.settings, result_of(study)
    trials = [trial for trial in study.trials() if trial.number >= 0]  # a range test's climbs are no trainings
    best = result or best_trial(trials, settings.get("mode", "min"))
    holder = study.holder()
    done = sum(float(trial.curve.epochs[-1]) if len(trial.curve) else trial.epochs for trial in trials)
    return Standing(
        verb=study.verb,
        finished=study.result() is not None,
        trials=dict(Counter(_state(it, settings, result, holder) for it in getattr(result, "trials", trials))),
        learning_rate=None if best is None else _known(best.learning_rate),
        value=None if best is None or isinstance(best, RangeTest) else best.value,
        metric=settings.get("metric", "loss"),
        spent=done * settings.get("folds", 1) / settings.get("epochs", 1) if result is None else result.cost,
        budget=settings.get("budget"),
        at_work=holder,
        best_so_far=best_so_far(trials, settings),
    )


def state_told(trial: Trial, holder: str | None) -> str:
    """Say how a trial stands: one that was being trained is interrupted where nobody works on its study."""
    return "interrupted" if trial.state is TrialState.RUNNING and holder is None else trial.state.value


def _state(trial: Trial, settings: dict[str, Any], result: Result | None, holder: str | None) -> str:
    """Say how a trial stands: one that was left before its last epoch may still go on, until there is a result."""
    is_short = trial.epochs < settings.get("epochs", 0) and not settings.get("stopping")
    if trial.state is not TrialState.COMPLETE or not is_short:
        return state_told(trial, holder)
    return "paused" if result is None else "left early"


def _known(number: float | None) -> float | None:
    return None if number is None or math.isnan(number) else number


def best_so_far(trials: list[Trial], settings: dict[str, Any]) -> str:
    """Say in a line which of the trials is the best."""
    best = best_trial(trials, settings.get("mode", "min"))
    if best is None:
        return "no training has ended well so far"
    return f"best so far: {described(best, settings.get('metric', 'loss'))}"


def result_of(study: Study) -> Result | None:
    """Return a study's result, None while there is none.

    Raises:
        StudyDamagedError: If it cannot be read.
    """
    text = study.result()
    if text is None or study.verb not in RESULTS:
        return None
    try:
        return RESULTS[study.verb].from_json(text)
    except msgspec.MsgspecError as error:
        raise StudyDamagedError(f"the result in {study.folder} cannot be read: {error}") from error
