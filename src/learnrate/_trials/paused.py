"""Which paused trainings a problem holds that cannot save them: functions and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnrate.results import TrialState

if TYPE_CHECKING:
    from learnrate.curves import Mode
    from learnrate.results import Trial
    from learnrate.training import Trainable

MOST = 5
"""Paused trainings that are held; with the running one, as many models are in memory as a function holds at most."""


class Paused:
    """Lets go of the trainings that promise least, since each holds a model.

    What is held follows from the trials alone, so that a study that goes on in another process, where nothing is held,
    counts the same cost and comes to the same answer.
    """

    def __init__(self, problem: Trainable, mode: Mode) -> None:
        self._let_go = getattr(problem, "let_go", None)
        self._sign = 1 if mode == "min" else -1
        self._held: dict[int, Trial] = {}

    def holds(self, trial: Trial) -> bool:
        """Return whether a training goes on from where it was left, at no more cost than that."""
        return self._let_go is None or trial.number in self._held

    def left(self, trial: Trial, *, finished: bool) -> None:
        """Take note of how a training was left."""
        if self._let_go is None:
            return
        if finished or trial.state is not TrialState.COMPLETE:
            self._held.pop(trial.number, None)
            self._let_go(trial.learning_rate)
            return
        self._held[trial.number] = trial
        if len(self._held) > MOST:
            worst = max((one for one in self._held.values() if one is not trial), key=self._loss)
            del self._held[worst.number]
            self._let_go(worst.learning_rate)

    def _loss(self, trial: Trial) -> float:
        return float("inf") if trial.value is None else self._sign * trial.value
