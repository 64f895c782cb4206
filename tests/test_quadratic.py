from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnrate._quadratic import QuadraticTrainable
from learnrate.errors import InvalidArgumentError
from learnrate.training import Trainable


def train_for(problem, learning_rate, steps):
    return problem.train(np.full(steps, learning_rate))["loss"]


def test_it_is_a_trainable():
    problem = QuadraticTrainable()
    assert isinstance(problem, Trainable)


@pytest.mark.parametrize("factor", [0.5, 0.99])
def test_below_the_cliff_it_converges(factor):
    problem = QuadraticTrainable(noise=0.0)
    train_for(problem, factor * problem.cliff, 3000)
    assert problem.evaluate()["val_loss"] == pytest.approx(problem.minimum, abs=1e-9)


def test_above_the_cliff_it_diverges_to_infinity_and_says_so_without_a_warning():
    problem = QuadraticTrainable()
    losses = train_for(problem, 3 * problem.cliff, 600)
    assert not np.isfinite(losses[-1])
    assert not np.isfinite(problem.evaluate()["val_loss"])


def test_the_expected_loss_is_the_mean_over_seeds():
    problem = QuadraticTrainable([0.1, 1.0, 2.0], noise=0.5, minimum=-3.0)
    initial, values = problem.snapshot(), []
    for seed in range(1000):
        problem.restore(initial)
        problem.begin(0.3, 1.0, seed)
        train_for(problem, 0.3, 25)
        values.append(problem.evaluate()["val_loss"])
    error = np.std(values) / np.sqrt(len(values))
    assert problem.expected_loss(0.3, 25) == pytest.approx(np.mean(values), abs=4 * error)


def test_the_expected_loss_without_noise_is_exact():
    problem = QuadraticTrainable([0.5, 4.0], noise=0.0)
    train_for(problem, 0.4, 7)
    assert problem.evaluate()["val_loss"] == pytest.approx(problem.expected_loss(0.4, 7))


def test_a_seed_decides_the_noise_and_the_learning_rate_does_not():
    problem = QuadraticTrainable(eigenvalues=[1.0])
    initial = problem.snapshot()
    seen = {}
    for seed in (0, 0, 1):
        problem.restore(initial)
        problem.begin(0.1, 1.0, seed)
        seen.setdefault(seed, []).append(train_for(problem, 0.0, 5).tolist())
    assert seen[0][0] == seen[0][1]
    assert seen[0][0] != seen[1][0]


@given(before=st.integers(0, 45), after=st.integers(1, 45), rate=st.floats(0.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_restoring_anywhere_continues_bit_for_bit(before, after, rate):
    problem = QuadraticTrainable(steps_per_epoch=20)
    train_for(problem, 0.1, before)
    here = problem.snapshot()
    first = train_for(problem, rate, after)
    weights = problem.weights
    problem.begin(0.1, 1.0, 7)
    train_for(problem, 1.0, 3)
    problem.restore(here)
    np.testing.assert_array_equal(train_for(problem, rate, after), first)
    np.testing.assert_array_equal(problem.weights, weights)


def test_blocks_of_any_length_give_the_same_training():
    whole, parts = QuadraticTrainable(), QuadraticTrainable()
    losses = train_for(whole, 0.2, 30)
    np.testing.assert_array_equal(np.concatenate([train_for(parts, 0.2, n) for n in (1, 19, 7, 3)]), losses)


def test_a_snapshot_survives_a_file_under_exactly_its_name(tmp_path):
    problem = QuadraticTrainable()
    problem.begin(0.1, 1.0, 5)
    train_for(problem, 0.1, 33)
    path = tmp_path / "state"
    problem.save(problem.snapshot(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    expected = train_for(problem, 0.1, 10)
    other = QuadraticTrainable()
    other.restore(other.load(path))
    np.testing.assert_array_equal(train_for(other, 0.1, 10), expected)


def test_evaluating_changes_nothing():
    one, other = QuadraticTrainable(), QuadraticTrainable()
    one.evaluate()
    np.testing.assert_array_equal(train_for(one, 0.1, 5), train_for(other, 0.1, 5))


@pytest.mark.parametrize(
    "arguments",
    [
        {"eigenvalues": []},
        {"eigenvalues": [1.0, 0.0]},
        {"eigenvalues": [1.0, float("nan")]},
        {"noise": -1.0},
        {"noise": float("nan")},
        {"steps_per_epoch": 0},
    ],
)
def test_what_cannot_be_used_is_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        QuadraticTrainable(**arguments)
