"""A learning rate of its own for each candidate of a search, so that a good model does not lose by a bad rate."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

import msgspec

from learnrate._searching.space import LEARNING_RATE
from learnrate._select import select
from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from learnrate._searching.build import Candidate
    from learnrate._trials.candidates import Candidates
    from learnrate.results import Recommendation
    from learnrate.training import Snapshot, Trainable

COST = 2.0
"""Full trainings that a candidate's `select` may spend, its own full training among them."""

REACH = 10.0
"""A range begins and ends this factor beyond what scaling with the batch size predicts."""

_BATCH = "batch_size"
_NOT_THERE = (Verdict.TOO_NARROW_LEFT, Verdict.TOO_NARROW_RIGHT, Verdict.ALL_DIVERGED)


class Selects:
    """Finds each candidate's learning rate by a short `select`.

    After the first, the range is the one around what the best candidate so far predicts: its own rate, and that rate
    scaled with the batch size, linearly (Goyal et al. 2017, arXiv:1706.02677) and by the square root (Krizhevsky 2014,
    arXiv:1404.5997). None of them is taken for granted: where the best lies at an end of that range, the whole range
    is searched.

    Args:
        bench: Where the candidates are trained.
    """

    def __init__(self, bench: Candidates) -> None:
        self._bench = bench

    def train(self, candidate: Candidate) -> Trial:
        """Select a candidate's learning rate; its trial is the full training at that rate."""
        return self._bench.take(candidate, lambda problem: self._selected(problem, candidate))

    def range_for(self, candidate: Candidate) -> tuple[float, float] | None:
        """Return the range of rates to expect; None where nothing is known."""
        best = self._bench.best
        if best is None or math.isnan(best.learning_rate):
            return None
        here, there = candidate.record.get(_BATCH), best.hyperparameters.get(_BATCH)
        ratio = here / there if isinstance(here, int) and isinstance(there, int) and here > 0 < there else 1.0
        rates = [best.learning_rate * factor for factor in (1.0, ratio, math.sqrt(ratio))]
        return max(min(rates) / REACH, 1e-7), min(max(rates) * REACH, 10.0)

    def _selected(self, problem: Trainable, candidate: Candidate) -> tuple[Trial, float, Snapshot]:
        study = self._bench.study
        folder = None if study is None else study.folder / "select" / f"trial-{candidate.number}"
        expected = self.range_for(candidate)
        answer = self._select(problem, candidate, expected, None if folder is None else folder / "expected")
        cost = answer.cost
        if expected is not None and answer.verdict in _NOT_THERE:
            answer = self._select(problem, candidate, None, None if folder is None else folder / "anywhere")
            cost += answer.cost
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # what it found stands in the search's own study
        trial = _trial_of(answer, candidate, self._bench.epochs)
        return trial, cost, answer.best if trial.state is TrialState.COMPLETE else None

    def _select(
        self, problem: Trainable, candidate: Candidate, bounds: tuple[float, float] | None, folder: Path | None
    ) -> Recommendation:
        bench = self._bench
        low, high = bounds or (1e-7, 10.0)
        return select(
            problem,
            epochs=bench.epochs,
            schedule=bench.schedule,
            budget=COST,
            metric=bench.metric,
            mode=bench.mode,
            min_learning_rate=low,
            max_learning_rate=high,
            seed=candidate.seed,
            study=folder,
            engine=bench.engine,
        )


def _trial_of(answer: Recommendation, candidate: Candidate, epochs: int) -> Trial:
    """Return the full training at the rate that was selected as the candidate's trial."""
    full = [one for one in answer.trials if one.state is TrialState.COMPLETE and one.epochs >= epochs]
    found = next((one for one in full if one.learning_rate == answer.learning_rate), None)
    seconds = answer.seconds
    if found is None:
        return Trial(
            number=candidate.number,
            hyperparameters=dict(candidate.record),
            state=TrialState.DIVERGED,
            curve=LearningCurve.from_rows([]),
            value=None,
            seed=candidate.seed,
            seconds=seconds,
            horizon=float(epochs),
            stage="select",
            error=f"{answer.verdict.value}: {answer.verdict.message}",
        )
    rated = dict(candidate.record) | {LEARNING_RATE: found.learning_rate}
    return msgspec.structs.replace(
        found, number=candidate.number, hyperparameters=rated, seconds=seconds, stage="select", value=answer.value
    )
