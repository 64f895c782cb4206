from __future__ import annotations

import math

import numpy as np
import pytest

from learnrate import range_test
from learnrate.errors import (
    InvalidArgumentError,
    StudyMismatchError,
    UnknownMetricError,
    UnsupportedProblemError,
)
from learnrate.results import RangeTest, Verdict
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind


class Counting(QuadraticTrainable):
    """A quadratic that counts what is asked of it and looks at how."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.steps = self.evaluations = 0
        self.crossed = False

    def train(self, learning_rates):
        place = self._step % self.steps_per_epoch
        self.crossed |= place + len(learning_rates) > self.steps_per_epoch
        self.steps += len(learning_rates)
        return super().train(learning_rates) | {"accuracy": -np.arange(len(learning_rates), dtype=float)}

    def evaluate(self):
        self.evaluations += 1
        value = super().evaluate()["val_loss"]
        return {"val_loss": value, "val_score": -value}


class Failing(Counting):
    """A quadratic that raises in a chosen step."""

    def __init__(self, error, step):
        super().__init__()
        self.error, self.step = error, step

    def train(self, learning_rates):
        if self.steps >= self.step:
            raise self.error
        return super().train(learning_rates)


def state_of(problem):
    return problem.weights.tolist(), problem._seed, problem._step


def test_it_finds_a_rate_that_trains_nearly_as_well_as_the_best():
    problem = QuadraticTrainable(noise=0.02)
    result = range_test(problem)
    assert result.verdict is Verdict.FOUND
    assert result.learning_rate == result.suggestions["learnrate"] < problem.cliff
    losses = {rate: problem.expected_loss(rate, 400) for rate in np.geomspace(1e-4, 2.5, 100)}
    untrained = problem.expected_loss(1.0, 0)
    regret = (problem.expected_loss(result.learning_rate, 400) - min(losses.values())) / untrained
    assert regret < 0.05


@pytest.mark.parametrize("spacing", ["adaptive", "exponential", "linear"])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 30, 100])
def test_it_makes_no_more_steps_than_asked_and_lists_one_loss_per_rate(spacing, num_steps):
    problem = Counting()
    result = range_test(problem, spacing=spacing, num_steps=num_steps)
    assert problem.steps <= num_steps
    assert len(result.learning_rates) == len(result.losses) == len(result.smoothed) == len(result.loss_changes)
    assert 1 <= len(result.learning_rates) <= num_steps
    assert (np.diff(result.learning_rates) > 0).all()
    assert result.cost == pytest.approx(problem.steps / problem.steps_per_epoch)
    assert not problem.crossed


def test_one_climb_goes_from_end_to_end():
    problem = QuadraticTrainable([1e-3])
    exponential = range_test(
        problem, spacing="exponential", min_learning_rate=1e-4, max_learning_rate=1.0, num_steps=50
    )
    np.testing.assert_allclose(exponential.learning_rates, np.geomspace(1e-4, 1.0, 50))
    linear = range_test(problem, spacing="linear", min_learning_rate=1e-4, max_learning_rate=1.0, num_steps=50)
    np.testing.assert_allclose(linear.learning_rates, np.linspace(1e-4, 1.0, 50))


def test_it_stops_soon_after_training_breaks():
    problem = Counting()
    result = range_test(problem, spacing="exponential", max_learning_rate=1e3, num_steps=200)
    assert result.cliff is not None
    after = result.learning_rates[result.learning_rates >= result.cliff]
    assert 1 <= len(after) <= 12
    assert problem.cliff < result.cliff < 10 * problem.cliff


@pytest.mark.parametrize("seed", range(5))
def test_more_steps_than_are_needed_change_nothing(seed):
    problem = QuadraticTrainable(noise=0.3)
    few, many = (range_test(problem, num_steps=count, seed=seed) for count in (100, 1000))
    assert few.suggestions == many.suggestions


@pytest.mark.parametrize("seed", range(5))
def test_a_slower_plain_climb_moves_our_suggestion_by_less_than_a_factor_of_three(seed):
    problem = QuadraticTrainable(noise=0.1)
    few, many = (
        range_test(problem, spacing="exponential", num_steps=count, seed=seed).suggestions["learnrate"]
        for count in (100, 1000)
    )
    assert abs(math.log10(few / many)) < math.log10(3)


def test_the_same_seed_gives_the_same_answer_and_another_seed_other_batches():
    one, same, other = (range_test(QuadraticTrainable(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.losses, same.losses)
    assert one.suggestions == same.suggestions
    assert one.losses.tolist() != other.losses.tolist()


def test_the_problem_is_left_as_it_was_found_also_in_the_middle_of_an_epoch():
    problem = QuadraticTrainable()
    problem.train(np.full(7, 0.1))
    before = state_of(problem)
    range_test(problem)
    assert state_of(problem) == before


@pytest.mark.parametrize("error", [RuntimeError("the user's own"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", [0, 1, 20, 60])
def test_an_exception_in_any_step_passes_through_and_the_problem_is_put_back(error, step):
    problem = Failing(error, step)
    before = state_of(problem)
    with pytest.raises(type(error)):
        range_test(problem)
    assert state_of(problem) == before


def test_a_validation_loss_is_evaluated_after_each_step():
    problem = Counting(evaluation_steps=2.0)
    result = range_test(problem, metric="val_loss")
    assert problem.evaluations == problem.steps + 1
    assert result.cost == pytest.approx((problem.steps + 2 * problem.evaluations) / (20 + 2))
    assert result.metric == "val_loss"
    assert result.verdict is Verdict.FOUND
    assert result.cliff == pytest.approx(range_test(problem).cliff)
    here = problem.snapshot()
    problem.begin(1.0, 1.0, 0)
    problem.train(result.learning_rates[:1])
    assert result.losses[0] == problem.evaluate()["val_loss"]
    problem.restore(here)


def test_a_metric_to_be_raised_gives_what_its_negative_to_be_lowered_gives():
    up = range_test(Counting(), metric="val_score", mode="max")
    down = range_test(Counting(), metric="val_loss")
    assert up.suggestions == down.suggestions
    np.testing.assert_array_equal(up.losses, -down.losses)
    np.testing.assert_array_equal(up.smoothed, -down.smoothed)


@pytest.mark.parametrize("metric", ["loss", "val_loss"])
def test_the_problem_is_closed_whatever_is_watched(metric):
    closed = []

    class Closing(QuadraticTrainable):
        def close(self):
            closed.append(True)

    range_test(Closing(), metric=metric)
    assert closed == [True]


def test_a_metric_that_training_reports_is_not_evaluated():
    problem = Counting()
    range_test(problem, metric="accuracy", mode="max")
    assert problem.evaluations == 1


def test_a_missing_validation_loss_gives_way_to_the_training_loss_with_a_warning():
    class Unvalidated(QuadraticTrainable):
        def evaluate(self):
            return {}

    result = range_test(Unvalidated(), metric="val_loss")
    assert result.metric == "loss"
    assert any("no validation loss" in warning for warning in result.warnings)
    np.testing.assert_array_equal(result.losses, range_test(Unvalidated()).losses)


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(UnknownMetricError, match=r"accuracy.*loss|loss.*accuracy"):
        range_test(Counting(), metric="val_losss")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_never_finite_are_a_verdict(value):
    class Lost(QuadraticTrainable):
        def train(self, learning_rates):
            return {"loss": super().train(learning_rates)["loss"] + value}

    result = range_test(Lost())
    assert result.verdict is Verdict.ALL_DIVERGED
    assert result.learning_rate is None
    assert set(result.suggestions.values()) == {None}


def test_a_model_that_cannot_learn_is_flat():
    result = range_test(QuadraticTrainable([1e-9]))
    assert result.verdict is Verdict.FLAT
    assert result.learning_rate is None


def test_a_range_that_begins_too_high_says_so():
    result = range_test(QuadraticTrainable(noise=0.01), min_learning_rate=0.05, max_learning_rate=10.0)
    assert result.verdict is Verdict.TOO_NARROW_LEFT
    assert result.learning_rate is None


def test_a_range_that_ends_too_low_says_so():
    result = range_test(QuadraticTrainable(noise=0.01), max_learning_rate=0.02)
    assert result.verdict is Verdict.TOO_NARROW_RIGHT
    assert result.learning_rate is None


def test_negative_losses_change_nothing():
    plain, negative = (range_test(QuadraticTrainable(minimum=minimum)) for minimum in (0.0, -100.0))
    for name, value in plain.suggestions.items():
        assert negative.suggestions[name] == pytest.approx(value, rel=1e-6)


def test_a_problem_of_constant_rates_is_sent_to_select_and_sweep():
    problem = Counting()
    problem.constant_rate_only = True
    with pytest.raises(UnsupportedProblemError, match=r"select.*sweep"):
        range_test(problem)
    assert problem.steps == problem.evaluations == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_learning_rate": 0.0},
        {"min_learning_rate": math.nan},
        {"min_learning_rate": 1.0, "max_learning_rate": 0.1},
        {"max_learning_rate": math.inf},
        {"num_steps": 0},
        {"num_steps": 2.5},
        {"spacing": "cubic"},
        {"metric": ""},
        {"mode": "least"},
        {"seed": -1},
        {"num_seeds": 0},
        {"num_seeds": True},
        {"num_seeds": 1.5},
        {"seed": 2**32 - 1, "num_seeds": 2},
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_any_training(arguments):
    problem = Counting()
    with pytest.raises(InvalidArgumentError):
        range_test(problem, **arguments)
    assert problem.steps == problem.evaluations == 0


def test_something_else_than_a_problem_is_refused():
    with pytest.raises(UnsupportedProblemError):
        range_test(object())


@pytest.mark.parametrize("metric", ["loss", "val_loss"])
def test_a_study_recalls_a_finished_range_test(tmp_path, metric):
    first = range_test(Counting(), metric=metric, study=tmp_path / "study")
    problem = Counting()
    again = range_test(problem, metric=metric, study=tmp_path / "study")
    assert problem.steps <= 1
    assert again.to_json() == first.to_json()


def test_a_study_recalls_the_climb_that_was_finished_before_a_crash(tmp_path):
    problem = Failing(RuntimeError(), 40)
    with pytest.raises(RuntimeError):
        range_test(problem, study=tmp_path / "study")
    again = Counting()
    result = range_test(again, study=tmp_path / "study")
    plain = Counting()
    assert result.suggestions == range_test(plain).suggestions
    assert again.steps < plain.steps


def test_a_study_of_another_range_is_refused(tmp_path):
    range_test(QuadraticTrainable(), study=tmp_path / "study")
    with pytest.raises(StudyMismatchError):
        range_test(QuadraticTrainable(), study=tmp_path / "study", num_steps=50)


@pytest.mark.parametrize("settings", [{"spacing": "exponential"}, {"metric": "val_score", "mode": "max"}, {}])
def test_several_seeds_are_read_from_the_mean_of_the_same_climbs(settings):
    problem, call = Counting(noise=0.5), {"max_learning_rate": 1.0, "num_steps": 60, **settings}
    before = state_of(problem)
    several = range_test(problem, seed=4, num_seeds=3, **call)
    assert state_of(problem) == before
    assert [len(losses) for losses in several.seed_losses] == [len(several.learning_rates)] * 3
    np.testing.assert_allclose(several.losses, np.mean(several.seed_losses, axis=0))
    alone = [range_test(Counting(noise=0.5), seed=seed, **call) for seed in (4, 5, 6)]
    assert several.cost == pytest.approx(problem.steps / problem.steps_per_epoch)
    for one, losses in zip(alone, several.seed_losses, strict=True):
        np.testing.assert_array_equal(one.learning_rates, several.learning_rates)  # none breaks
        np.testing.assert_array_equal(one.losses, losses)
        assert one.seed_losses == []
    assert "mean of 3 seeds" in str(several)
    assert "seeds" not in str(alone[0])
    again = RangeTest.from_json(several.to_json())
    np.testing.assert_array_equal(again.seed_losses, several.seed_losses)


class Frail(QuadraticTrainable):
    """A quadratic that breaks at a rate of each seed's own."""

    breaks = (0.5, 0.02, 3.0)

    def train(self, learning_rates):
        losses = super().train(learning_rates)["loss"]
        return {"loss": np.where(np.asarray(learning_rates) < self.breaks[self._seed], losses, np.nan)}


@pytest.mark.parametrize("spacing", ["exponential", "adaptive"])
def test_the_cliff_is_the_lowest_at_which_any_seed_broke_and_the_mean_ends_there(spacing):
    several = range_test(Frail(), num_seeds=3, spacing=spacing)
    first = np.flatnonzero(several.learning_rates >= 0.02)[0]
    assert several.cliff == several.learning_rates[first]
    assert np.isfinite(several.losses[:first]).all()
    assert np.isnan(several.losses[first:]).all()
    assert len(several.losses) <= first + 8  # the block in which it broke
    assert several.suggestions["learnrate"] < several.cliff
    if spacing == "adaptive":  # the first seed's quick climb, which broke above 0.5, decides where all go slowly
        slow = several.learning_rates[np.diff(np.log10(several.learning_rates), append=0.0) < 0.1]
        assert 3e-4 < slow[0] < 2e-3


def test_a_study_of_several_seeds_goes_on_with_the_seed_that_was_interrupted(tmp_path):
    plain = Counting()
    expected = range_test(plain, num_seeds=3)
    with pytest.raises(RuntimeError):
        range_test(Failing(RuntimeError(), plain.steps - 30), num_seeds=3, study=tmp_path / "study")
    again = Counting()
    result = range_test(again, num_seeds=3, study=tmp_path / "study")
    np.testing.assert_array_equal(result.seed_losses, expected.seed_losses)
    assert (result.suggestions, result.cost) == (expected.suggestions, expected.cost)
    assert again.steps < plain.steps / 2
    with pytest.raises(StudyMismatchError):
        range_test(QuadraticTrainable(), study=tmp_path / "study")


def test_seeds_that_change_nothing_are_told():
    class Same(QuadraticTrainable):
        def begin(self, learning_rate, epochs, seed):
            super().begin(learning_rate, epochs, 0)

    (warning,) = (it for it in range_test(Same(), num_seeds=2).warnings if "every seed" in it)
    assert "one seed says as much" in warning


def test_the_losses_of_each_seed_are_drawn_behind_their_mean():
    one, several = (range_test(QuadraticTrainable(noise=0.5), num_seeds=number) for number in (1, 3))
    first = [result.chart().to_dict()["vconcat"][0]["layer"][0]["encoding"] for result in (one, several)]
    assert ["detail" in encoding for encoding in first] == [False, True]


def test_each_climb_is_announced():
    events = []
    range_test(QuadraticTrainable(), on_event=events.append)
    stages = [event.message for event in events if event.kind is EventKind.STAGE]
    assert [stage.split(",")[0].split(" from")[0] for stage in stages] == ["a quick climb", "a slow climb"]


def test_the_result_survives_json():
    result = range_test(QuadraticTrainable())
    again = RangeTest.from_json(result.to_json())
    assert again.suggestions == result.suggestions
    np.testing.assert_array_equal(again.losses, result.losses)
    assert str(result).startswith("learning rate")
