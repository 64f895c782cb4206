"""The schedule that `select` chooses: constant, and to zero at the end where that was better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learnrate
from _decay import assert_the_fall_is_one_training
from learnrate import Recommendation, schedules, select
from learnrate._answer_words import decay_words
from learnrate._numbers import short
from learnrate._pages import words
from learnrate._selection.decay import falling, first_step
from learnrate.testing import QuadraticTrainable


class Noisy(QuadraticTrainable):
    """A quadratic whose loss ends higher the higher its rate is, so that a fall pays."""

    def __init__(self, *, breaks_after: int | None = None) -> None:
        super().__init__(noise=0.3)
        self.breaks_after, self.steps = breaks_after, 0

    def train(self, learning_rates: Any) -> Any:
        self.steps += len(learning_rates)
        if self.breaks_after is not None and self.steps > self.breaks_after:
            raise KeyboardInterrupt
        return super().train(learning_rates)


def regression() -> learnrate.TorchTrainable:
    """A small network on a sine, trained by Adam with dropout."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    x = torch.randn(160, 4)
    y = torch.sin(x[:, :1])
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.1), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    data = torch.utils.data.TensorDataset(x, y)
    return learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3),
        torch.nn.functional.mse_loss,
        torch.utils.data.DataLoader(data, 16, shuffle=True),
        torch.utils.data.DataLoader(data, 80),
    )


@given(epochs=st.integers(1, 60), per_epoch=st.integers(1, 50))
def test_the_fall_takes_at_least_a_step_and_about_a_fifth(epochs: int, per_epoch: int) -> None:
    total = epochs * per_epoch
    first = first_step(total, epochs)
    assert 0 <= first < total
    assert abs((total - first) - 0.2 * total) <= per_epoch / 2 + 1
    assert epochs < 5 or first % per_epoch == 0


def test_the_fall_takes_a_fifth_and_whole_epochs_where_it_can() -> None:
    assert first_step(2000, 20) == 1600
    assert first_step(700, 7) == 600  # one epoch is nearest to a fifth
    assert first_step(300, 3) == 240  # less than an epoch
    assert first_step(3, 1) == 2


def test_before_the_fall_the_rate_is_constant_to_the_bit() -> None:
    rates = falling(80, 100)(0.1, 100).values()
    assert rates[:80].tolist() == [0.1] * 80
    assert rates[80:].tolist() == pytest.approx([0.1 * (20 - step) / 20 for step in range(20)])


@pytest.mark.parametrize("epochs", [1, 3, 10])
def test_the_fall_goes_on_from_the_constant_training_bit_for_bit(epochs: int) -> None:
    assert_the_fall_is_one_training(QuadraticTrainable(), epochs=epochs)
    assert_the_fall_is_one_training(regression(), epochs=epochs)


def test_scikit_learn_takes_it_too() -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    model = neural_network.MLPRegressor(hidden_layer_sizes=(8,), random_state=0)
    problem = learnrate.SklearnTrainable(model, x, np.sin(x[:, 0]), validation_data=(x[:50], np.sin(x[:50, 0])))
    assert_the_fall_is_one_training(problem)


@pytest.fixture(scope="module")
def answer() -> Recommendation:
    return select(Noisy(), epochs=20)


def test_a_noisy_training_ends_better_with_a_fall_and_all_of_the_answer_is_about_it(answer: Recommendation) -> None:
    decay = answer.decay
    assert decay is not None
    assert decay.is_better
    assert decay.trial.value == answer.value
    assert answer.value is not None
    assert answer.value < decay.constant
    assert answer.schedule["settings"]["decay_fraction"] == pytest.approx(0.2)
    assert "learning rate 0.32, to zero from epoch 16 on" in str(answer)
    assert "before the fall it had reached" in str(answer)
    assert "total_steps" in answer.code("torch")


def test_the_weights_are_those_of_the_fall(answer: Recommendation) -> None:
    problem = Noisy()
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value


@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 3.0, 5.0])
def test_the_fall_is_paid_for_inside_the_budget(budget: float) -> None:
    answer = select(QuadraticTrainable(), epochs=20, budget=budget)
    assert answer.decay is not None
    assert answer.cost <= budget + 1 / 20


def test_a_given_schedule_is_kept() -> None:
    assert select(Noisy(), epochs=20, schedule=schedules.constant).decay is None


def test_a_budget_of_one_takes_its_one_training_to_zero() -> None:
    answer = select(Noisy(), epochs=20, budget=1.0)
    assert answer.decay is not None
    assert len(answer.trials) == 1
    assert answer.cost == pytest.approx(1.0, abs=1 / 20)


def test_a_large_budget_also_goes_on_without_the_fall() -> None:
    lengths = [select(Noisy(), epochs=20, budget=budget).decay for budget in (2.0, 5.0)]
    assert [None if one is None else one.constant_length for one in lengths] == [16.0, 20.0]


def test_a_function_is_not_taken_to_zero_and_that_is_said_once() -> None:
    def train(learning_rate: float, epochs: int) -> Any:
        weight = 1.0
        for _ in range(epochs):
            weight -= learning_rate * weight
            yield {"val_loss": weight**2}

    answer = select(train, epochs=6)
    assert answer.decay is None
    assert len([one for one in answer.warnings if "cannot go on from its middle" in one]) == 1


def test_an_answer_goes_to_json_and_back_with_its_fall(answer: Recommendation) -> None:
    again = Recommendation.from_json(answer.to_json())
    assert again.decay is not None
    assert str(again).splitlines()[:3] == str(answer).splitlines()[:3]


@pytest.mark.parametrize("steps_before_the_end", [1, 5, 15])
def test_a_study_killed_in_the_fall_comes_to_the_same_answer(tmp_path: Any, steps_before_the_end: int) -> None:
    counted = Noisy()
    whole = select(counted, epochs=10, study=tmp_path / "whole")
    stopped = Noisy(breaks_after=counted.steps - steps_before_the_end)
    with pytest.raises(KeyboardInterrupt):
        select(stopped, epochs=10, study=tmp_path / "killed")
    again = select(Noisy(), epochs=10, study=tmp_path / "killed")
    assert again.decay is not None
    assert whole.decay is not None
    assert again.value == whole.value
    assert again.cost == pytest.approx(whole.cost)
    assert again.decay.trial.curve.values("val_loss").tolist() == whole.decay.trial.curve.values("val_loss").tolist()


def test_workers_train_it_as_this_process_does() -> None:
    here, there = (
        select(QuadraticTrainable(), epochs=6),
        select(QuadraticTrainable(), epochs=6, engine=learnrate.LocalEngine(num_workers=2)),
    )
    assert here.decay is not None
    assert there.decay is not None
    assert here.decay.trial.curve.values("val_loss").tolist() == there.decay.trial.curve.values("val_loss").tolist()


def test_the_problem_is_left_as_it_was_found() -> None:
    problem = regression()
    before = problem.evaluate()
    rate = problem.learning_rate
    select(problem, epochs=5)
    assert problem.evaluate() == before
    assert problem.learning_rate == rate


class Breaks(QuadraticTrainable):
    """A quadratic whose loss and weights are NaN from some step on."""

    def __init__(self, at: int) -> None:
        super().__init__(noise=0.3)
        self.at = at

    def train(self, learning_rates: Any) -> Any:
        report = dict(super().train(learning_rates))
        if self._step >= self.at:
            report["loss"] = np.full(len(learning_rates), np.nan)
            self.weights = self.weights * np.nan
        return report


@pytest.mark.parametrize("budget", [2.0, 10.0])
@pytest.mark.parametrize("at", [161, 170, 185, 200])
def test_what_breaks_after_the_race_is_said_and_the_weights_from_before_are_kept(at: int, budget: float) -> None:
    answer = select(Breaks(at), epochs=10, budget=budget)
    assert answer.decay is not None
    assert not answer.decay.is_better
    assert "to zero from epoch 8 on it broke" in str(answer)
    assert "no better" not in str(answer)
    assert answer.best is not None
    problem = QuadraticTrainable()
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value


@settings(max_examples=60, deadline=None)
@given(
    epochs=st.integers(1, 8),
    steps_per_epoch=st.sampled_from([1, 2, 3, 20]),
    budget=st.sampled_from([1.0, 1.3, 2.0, 3.0, 10.0]),
    noise=st.sampled_from([0.1, 0.3, 1.0, 3.0]),
    evaluation_steps=st.sampled_from([0.0, 1.5]),
)
def test_what_is_recommended_is_the_best_of_all_that_was_trained(
    epochs: int, steps_per_epoch: int, budget: float, noise: float, evaluation_steps: float
) -> None:
    problem = QuadraticTrainable(steps_per_epoch=steps_per_epoch, noise=noise, evaluation_steps=evaluation_steps)
    answer = select(problem, epochs=epochs, budget=budget)
    if answer.learning_rate is not None:
        assert answer.value == min(trial.value for trial in answer.trainings if trial.value is not None)
        problem.restore(answer.best)
        assert problem.evaluate()["val_loss"] == answer.value


@settings(max_examples=30, deadline=None)
@given(
    epochs=st.integers(1, 12),
    budget=st.sampled_from([1.0, 2.0, 5.0]),
    noise=st.sampled_from([0.01, 0.1, 0.3, 1.0, 2.0]),
)
def test_what_is_said_of_the_fall_is_what_its_fields_hold(epochs: int, budget: float, noise: float) -> None:
    answer = select(QuadraticTrainable(noise=noise), epochs=epochs, budget=budget)
    headline, *lines = str(answer).splitlines()
    decay = answer.decay
    if decay is None:
        assert "to zero from" not in headline
        return
    said = decay_words(answer)
    assert said in lines
    assert f"{said[:1].upper()}{said[1:]}." in dict(words.first_screen(answer)["facts"])["At the end"]
    assert ("to zero from epoch" in headline) == decay.is_better == (answer.schedule["name"] != "constant")
    assert ("no better" in said) != decay.is_better
    assert "no worse" not in said
    assert (decay.constant_length > decay.first_epoch) == (decay.constant_length == epochs)
    if decay.is_better:
        assert f"reached {short(decay.constant, 3)} after {short(decay.constant_epochs)}" in said
        assert ("kept constant" in said) == (decay.constant_length == epochs)
        assert answer.value == decay.trial.value
    else:
        assert answer.value == decay.constant
