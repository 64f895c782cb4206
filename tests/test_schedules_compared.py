"""`select` among several schedules: each at its own best rate, at the same budget."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

import learnrate
from learnrate import schedules
from learnrate.errors import InvalidArgumentError
from learnrate.results import Recommendation
from learnrate.testing import QuadraticTrainable

if TYPE_CHECKING:
    from pathlib import Path

MAKERS = [schedules.constant, schedules.cosine, functools.partial(schedules.triangular, num_cycles=2)]


def _answer(**settings: object) -> Recommendation:
    return learnrate.select(QuadraticTrainable(noise=0.3), epochs=6, schedules=MAKERS, **settings)  # pyright: ignore[reportArgumentType]  # settings vary by test


def test_the_answer_is_that_of_the_schedule_which_reaches_most() -> None:
    answer = _answer()
    assert [one.name for one in answer.schedules] == ["constant", "cosine", "triangular (num_cycles 2)"]
    assert answer.value == min(one.value for one in answer.schedules if one.value is not None)
    winner = next(one for one in answer.schedules if one.value == answer.value)
    assert (winner.schedule, winner.learning_rate) == (answer.schedule, answer.learning_rate)
    assert winner.name in str(answer)


def test_each_schedule_gets_the_answer_and_the_budget_that_it_gets_alone() -> None:
    together = _answer()
    for maker, one in zip(MAKERS, together.schedules, strict=True):
        alone = learnrate.select(QuadraticTrainable(noise=0.3), epochs=6, schedule=maker)
        assert (one.learning_rate, one.value, one.cost) == (alone.learning_rate, alone.value, alone.cost)
    assert together.cost == pytest.approx(sum(one.cost for one in together.schedules))


def test_the_winners_weights_are_kept_and_load() -> None:
    problem = QuadraticTrainable(noise=0.3)
    answer = learnrate.select(problem, epochs=6, schedules=MAKERS)
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == pytest.approx(answer.value)


def test_a_study_keeps_each_schedule_and_continues(tmp_path: Path) -> None:
    first = _answer(study=tmp_path / "study")
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["1-constant", "2-cosine", "3-triangular"]
    events: list[learnrate.training.Event] = []
    again = _answer(study=tmp_path / "study", on_event=events.append)
    assert [one.value for one in again.schedules] == [one.value for one in first.schedules]
    assert not [event for event in events if event.kind is learnrate.training.EventKind.EPOCH]


def test_the_outcomes_survive_json() -> None:
    answer = _answer()
    assert Recommendation.from_json(answer.to_json()).schedules == answer.schedules


@pytest.mark.parametrize("makers", [[], [schedules.cosine, schedules.cosine], ["cosine"]])
def test_schedules_that_cannot_be_compared_are_refused(makers: list[object]) -> None:
    with pytest.raises(InvalidArgumentError):
        learnrate.select(QuadraticTrainable(), epochs=4, schedules=makers)  # pyright: ignore[reportArgumentType]  # wrong on purpose


def test_schedule_and_schedules_together_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="one of them"):
        learnrate.select(QuadraticTrainable(), epochs=4, schedule=schedules.cosine, schedules=[schedules.constant])


def test_a_range_test_gives_the_range_of_a_cyclical_schedule() -> None:
    test = learnrate.range_test(QuadraticTrainable(noise=0.01))
    assert test.cyclical_range is not None
    assert test.cliff is not None
    lowest, highest = test.cyclical_range
    assert highest <= test.cliff / 2
    assert lowest == pytest.approx(highest / 4)
    flat = learnrate.range_test(QuadraticTrainable(noise=0.01), max_learning_rate=1e-6)
    assert flat.cyclical_range is None


def test_the_plans_and_the_stages_are_named_by_their_schedule() -> None:
    events: list[learnrate.training.Event] = []
    learnrate.select(QuadraticTrainable(), epochs=2, schedules=MAKERS[:2], on_event=events.append)
    plans, stages = (
        [event.message for event in events if event.kind is kind]
        for kind in (learnrate.training.EventKind.PLAN, learnrate.training.EventKind.STAGE)
    )
    assert [plan.split(": ")[0] for plan in plans] == ["constant, schedule 1 of 2", "cosine, schedule 2 of 2"]
    assert stages[0].startswith("constant: ")
    assert any(stage.startswith("cosine: ") for stage in stages)
