"""A verb that is stopped and called again gives the answer that it would have given, and trains nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from _engine_problems import timeless
from learnrate._select import select
from learnrate._sweep import sweep
from learnrate.errors import StudyMismatchError
from learnrate.testing import QuadraticTrainable

if TYPE_CHECKING:
    from pathlib import Path


class Counting(QuadraticTrainable):
    """Counts the steps that it makes, and stops as Ctrl-C would after so many."""

    def __init__(self, stop_after: int | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.steps, self.stop_after = 0, stop_after

    def train(self, learning_rates: Any) -> Any:
        self.steps += len(learning_rates)
        if self.stop_after is not None and self.steps > self.stop_after:
            raise KeyboardInterrupt
        return super().train(learning_rates)


@pytest.mark.parametrize("stop_after", [0, 1, 40, 100, 230, 350, 500, 640])
def test_an_interrupted_select_ends_as_an_uninterrupted_one(tmp_path: Path, stop_after: int) -> None:
    whole = Counting()
    expected = select(whole, epochs=20)
    first = Counting(stop_after)
    with pytest.raises(KeyboardInterrupt):
        select(first, epochs=20, study=tmp_path / "study")
    second = Counting()
    answer = select(second, epochs=20, study=tmp_path / "study")
    assert timeless(answer) == timeless(expected)
    second.restore(answer.best)
    assert second.evaluate()["val_loss"] == answer.value


def test_an_interrupted_select_redoes_no_finished_segment(tmp_path: Path) -> None:
    whole = Counting()
    select(whole, epochs=20)
    first = Counting(stop_after=500)
    with pytest.raises(KeyboardInterrupt):
        select(first, epochs=20, study=tmp_path / "study")
    second = Counting()
    select(second, epochs=20, study=tmp_path / "study")
    longest_segment = 20 * second.steps_per_epoch
    assert second.steps <= whole.steps - 500 + longest_segment
    third = Counting()
    answer = select(third, epochs=20, study=tmp_path / "study")
    assert third.steps == 0
    third.restore(answer.best)
    assert third.evaluate()["val_loss"] == answer.value


def test_an_interrupted_sweep_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    rates = [1e-3, 1e-2, 1e-1, 1.0]
    expected = sweep(Counting(), rates, epochs=5, refine=2)
    with pytest.raises(KeyboardInterrupt):
        sweep(Counting(stop_after=250), rates, epochs=5, refine=2, study=tmp_path / "study")
    again = Counting()
    assert timeless(sweep(again, rates, epochs=5, refine=2, study=tmp_path / "study")) == timeless(expected)
    assert again.steps == 400


def test_a_study_of_another_problem_or_other_settings_is_refused(tmp_path: Path) -> None:
    select(Counting(), epochs=3, study=tmp_path / "study")
    problem = Counting(stop_after=0)
    with pytest.raises(StudyMismatchError, match="epochs"):
        select(problem, epochs=4, study=tmp_path / "study")
    with pytest.raises(StudyMismatchError):
        sweep(problem, [1e-3], epochs=3, study=tmp_path / "study")
    with pytest.raises(StudyMismatchError, match="steps_per_epoch"):
        select(Counting(stop_after=0, steps_per_epoch=7), epochs=3, study=tmp_path / "study")
    assert problem.steps == 0


def test_the_study_folder_holds_the_winners_weights(tmp_path: Path) -> None:
    answer = select(Counting(), epochs=5, study=tmp_path / "study")
    problem = Counting()
    files = [path for path in (tmp_path / "study").rglob("trial-*") if path.is_file()]
    values = []
    for path in files:
        problem.restore(problem.load(path))
        values.append(problem.evaluate()["val_loss"])
    assert answer.value in values
    assert np.isfinite(values).all()
