"""The search that is told nothing but its epochs: rounds of halving, first everywhere, then around the best so far."""

from __future__ import annotations

import math
import tracemalloc

import msgspec
import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnrate import TrialState, choice, integers, log_uniform, search, uniform
from learnrate._searching.around import around
from learnrate._searching.samplers import Sampler, Told
from learnrate._searching.space import Space
from learnrate.testing import QuadraticTrainable

SPACE = {"learning_rate": log_uniform(1e-3, 1e2), "noise": uniform(0.0, 0.2)}


def build(noise=0.1):
    return QuadraticTrainable(np.geomspace(0.01, 1.0, 20), noise=noise)


def timeless(result):
    trials = [msgspec.structs.replace(trial, seconds=0.0) for trial in result.trials]
    return msgspec.structs.replace(result, seconds=0.0, trials=trials).to_json()


class Stopped(BaseException):
    """As Ctrl-C would."""


def stopping_after(events):
    left = iter(range(events))

    def on_event(_):
        if next(left, None) is None:
            raise Stopped

    return on_event


def test_it_spends_eight_trainings_on_rounds_of_which_each_has_a_winner_trained_in_full():
    result = search(build, SPACE, epochs=9)
    whole = [trial for trial in result.trials if trial.state is TrialState.COMPLETE]
    assert 7 < result.cost <= 8
    assert len(whole) >= 3
    assert len(result.trials) > 20
    assert {trial.epochs for trial in result.trials if trial.state is TrialState.PRUNED} == {1, 3}
    assert result.value == min(trial.value for trial in whole)
    points = {(trial.learning_rate, trial.hyperparameters["noise"]) for trial in result.trials}
    assert len(points) == len(result.trials)


def test_later_rounds_look_around_the_best_so_far():
    result = search(build, SPACE, epochs=9)
    first, later = result.trials[:18], result.trials[18:]
    best = min((trial for trial in first if trial.state is TrialState.COMPLETE), key=lambda trial: trial.value)
    away = [abs(math.log10(trial.learning_rate / best.learning_rate)) for trial in later[:9]]
    assert np.median(away) < 0.15 * 5  # of five decades
    assert np.std([math.log10(trial.learning_rate) for trial in first]) > 1


def test_interrupted_three_times_it_equals_one_that_was_not(tmp_path):
    ask = {"epochs": 9, "budget": 5.0}
    for events in (25, 40, 55):
        with pytest.raises(Stopped):
            search(build, SPACE, **ask, study=tmp_path / "study", on_event=stopping_after(events))
    assert timeless(search(build, SPACE, **ask, study=tmp_path / "study")) == timeless(search(build, SPACE, **ask))


@pytest.mark.parametrize("budget", [1.0, 1.7, 4.2])
def test_the_budget_is_kept_and_gives_an_answer(budget):
    def train(learning_rate, epochs):
        weight = 1.0
        for _ in range(epochs):
            weight -= learning_rate * weight
            yield {"val_loss": weight**2}

    for one, space in ((build, SPACE), (train, {"learning_rate": log_uniform(1e-3, 1.5)})):
        result = search(one, space, epochs=9, budget=budget)
        assert 0 < result.cost <= budget + 1e-9
        assert result.value is not None


def test_a_function_that_cannot_be_left_in_its_middle_is_trained_in_full():
    result = search(
        lambda learning_rate: {"val_loss": math.log(learning_rate) ** 2},
        {"learning_rate": log_uniform(1e-3, 1e2)},
        epochs=9,
    )
    assert [trial.state for trial in result.trials] == [TrialState.FAILED] + [TrialState.COMPLETE] * 8
    assert "let it yield its metrics after each epoch" in result.warnings[0]


@pytest.mark.parametrize(
    ("budget", "states"), [(None, {"complete"}), (3.0, {"complete"}), (2.5, {"complete", "pruned"})]
)
def test_a_space_that_the_budget_covers_is_tried_whole(budget, states):
    few = search(build, {"learning_rate": [0.1, 0.2, 0.3]}, epochs=9, budget=budget)
    assert {trial.learning_rate for trial in few.trials} == {0.1, 0.2, 0.3}
    assert {trial.state.value for trial in few.trials} == states
    assert few.cost <= (budget or 3.0) + 1e-9


def test_where_all_diverge_there_is_no_answer():
    none = search(build, {"learning_rate": log_uniform(1e9, 1e12)}, epochs=2, budget=2.0)
    assert none.value is None
    assert len(none.trials) <= 4


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_a_point_near_another_is_in_the_space(seed, where):
    space = Space(
        {
            "rate": log_uniform(1e-5, 10),
            "momentum": uniform(0, 0.9),
            "width": integers(4, 9),
            "kind": choice(["a", "b", "c"]),
        }
    )
    near = around(space, space.at([where] * 4), np.random.default_rng(seed))
    assert 1e-5 <= near["rate"] <= 10 * (1 + 1e-12)
    assert 0 <= near["momentum"] <= 0.9
    assert near["width"] in range(4, 10)
    assert near["kind"] in "abc"


@pytest.mark.parametrize("name", ["tpe", "around"])
def test_after_five_thousand_trials_the_next_is_asked_for_in_little_memory_and_only_the_new_are_told(name, monkeypatch):
    space = Space({"rate": log_uniform(1e-5, 10), "momentum": uniform(0, 0.9), "width": integers(4, 999)})
    draw = np.random.default_rng(0)
    told = [Told(space.at(draw.random(3)), float(draw.random())) for _ in range(5000)]
    added = []
    kept = optuna.Study.add_trial
    monkeypatch.setattr(optuna.Study, "add_trial", lambda study, trial: (added.append(trial), kept(study, trial)))
    sampler = Sampler(name, space, seed=0, mode="min")
    tracemalloc.start()
    sampler.ask(4999, told[:4999])
    at_first = len(added)
    sampler.ask(5000, told)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(added) - at_first <= 1
    assert peak < 100e6  # bytes
