"""The search over hyperparameters: what it finds, what it costs, how it goes on, and what it refuses."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy import stats

import learnrate
from learnrate import Halving, TrialState, choice, integers, log_uniform, search, uniform
from learnrate.errors import (
    InvalidArgumentError,
    StudyMismatchError,
    TrialFailedError,
    UnknownMetricError,
    UnsupportedProblemError,
)
from learnrate.results import Search
from learnrate.testing import QuadraticTrainable

SPACE = {"learning_rate": log_uniform(1e-3, 1e2), "noise": uniform(0.0, 0.2)}


def build(noise=0.1, curvature=1.0):
    return QuadraticTrainable(np.geomspace(0.01, 1.0, 20) * curvature, noise=noise)


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


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc"])
def test_every_sampler_finds_a_good_learning_rate_and_its_weights(sampler):
    result = search(build, SPACE, epochs=3, num_trials=16, sampler=sampler)
    assert len(result.trials) == 16
    assert 0.02 < result.learning_rate < 2
    problem = build(result.hyperparameters["noise"])
    problem.restore(result.best)
    assert problem.evaluate()["val_loss"] == result.value
    assert result.value == min(trial.value for trial in result.trials if trial.state is TrialState.COMPLETE)


def test_each_trial_says_what_its_curve_shows():
    result = search(build, {"learning_rate": [1e-2, 1e2]}, epochs=6, sampler="grid")
    assert [trial.diagnosis.verdict.value for trial in result.trials][1] == "diverged"
    assert all(trial.diagnosis.evidence for trial in result.trials)


def test_a_range_that_no_float_can_span_is_refused():
    with pytest.raises(InvalidArgumentError, match="wider than a float"):
        uniform(-1e308, 1e308)


def test_a_grid_goes_through_all_its_points_in_order_once():
    space = {"learning_rate": [1e-2, 1e-1], "noise": [0.0, 0.1, 0.2]}
    result = search(build, space, epochs=2, sampler="grid")
    points = [(trial.hyperparameters["learning_rate"], trial.hyperparameters["noise"]) for trial in result.trials]
    assert points == [(rate, noise) for rate in (1e-2, 1e-1) for noise in (0.0, 0.1, 0.2)]
    assert result.cost == pytest.approx(6.0)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_no_point_is_tried_twice_and_an_exhausted_space_says_so(sampler):
    space = {"learning_rate": [0.01, 0.03, 0.1, 0.3], "noise": [0.0, 0.1, 0.2], "curvature": [0.5, 1, 2, 3, 4]}
    result = search(build, space, epochs=1, num_trials=61, sampler=sampler)
    points = {tuple(trial.hyperparameters.values()) for trial in result.trials}
    assert len(points) == len(result.trials) == 60
    assert "all 60 points" in result.warnings[0]


@pytest.mark.parametrize(
    "settings", [{}, {"halving": "hyperband"}, {"stages": "auto"}, {"halving": "successive", "sampler": "qmc"}]
)
def test_a_search_that_was_interrupted_three_times_equals_one_that_was_not(tmp_path, settings):
    ask = {"epochs": 9, "num_trials": 14} | settings
    for events in (25, 40, 55):
        with pytest.raises(Stopped):
            search(build, SPACE, **ask, study=tmp_path / "study", on_event=stopping_after(events))
    resumed = search(build, SPACE, **ask, study=tmp_path / "study")
    whole = search(build, SPACE, **ask)
    assert timeless(resumed) == timeless(whole)
    assert len(resumed.trials) == 14
    problem = build(resumed.hyperparameters["noise"])
    problem.restore(resumed.best)
    assert problem.evaluate()["val_loss"] == resumed.value


def test_a_finished_study_trains_nothing_again(tmp_path):
    first = search(build, SPACE, epochs=4, num_trials=5, study=tmp_path / "study")
    built = []

    def counting(noise):
        built.append(noise)
        return build(noise)

    counting.__qualname__ = build.__qualname__
    again = search(counting, SPACE, epochs=4, num_trials=5, study=tmp_path / "study")
    assert timeless(again) == timeless(first)
    assert len(built) <= 1  # to load the weights of the best


def test_each_trial_has_its_own_seed_and_the_same_search_gives_the_same_answer():
    first, second = (search(build, SPACE, epochs=2, num_trials=6, seed=3) for _ in range(2))
    assert timeless(first) == timeless(second)
    assert len({trial.seed for trial in first.trials}) == 6
    assert timeless(search(build, SPACE, epochs=2, num_trials=6, seed=4)) != timeless(first)


def test_a_half_of_the_space_that_diverges_costs_a_tenth_of_the_trials_after_the_first_ten():
    def diverges(learning_rate):
        return float("nan") if learning_rate > 0.1 else (math.log10(learning_rate) + 2) ** 2

    space = {"learning_rate": log_uniform(1e-3, 10), "momentum": uniform(0, 0.99), "width": integers(8, 512, log=True)}

    def train(learning_rate, momentum, width):
        del width
        return {"val_loss": diverges(learning_rate) + 0.1 * momentum}

    broken, total = 0, 0
    for seed in range(4):
        trials = search(train, space, epochs=1, num_trials=50, seed=seed).trials[10:]
        broken += sum(trial.state is TrialState.DIVERGED for trial in trials)
        total += len(trials)
    assert broken / total <= 0.1


def test_halving_continues_what_it_promotes_and_trains_nothing_twice():
    steps = []

    class Counting(QuadraticTrainable):
        def train(self, learning_rates):
            steps.append(len(learning_rates))
            return super().train(learning_rates)

    def counted(noise):
        return Counting(noise=noise)

    space = {"learning_rate": log_uniform(1e-3, 1.0), "noise": uniform(0.0, 0.2)}
    result = search(counted, space, epochs=27, num_trials=9, halving="successive", sampler="qmc")
    assert result.cost == pytest.approx((9 * 3 + 3 * 6 + 1 * 18) / 27)
    assert sum(steps) == (9 * 3 + 3 * 6 + 1 * 18) * 20
    assert sorted(trial.epochs for trial in result.trials) == [3] * 6 + [9] * 2 + [27]
    finalist = next(trial for trial in result.trials if trial.epochs == 27)
    plain = build(finalist.hyperparameters["noise"])
    plain.begin(finalist.learning_rate, 27, finalist.seed)
    losses = plain.train(np.full(27 * 20, finalist.learning_rate))["loss"].reshape(27, 20).mean(axis=1)
    assert np.array_equal(losses, finalist.curve.values("loss"))


def test_halving_does_not_drop_a_small_learning_rate_for_being_slow_early():
    rates = [0.005, 0.2, 0.5, 1.0, 1.3, 1.6]  # the larger, the faster at first, and the higher the noise they end at

    def noisy():
        return QuadraticTrainable(np.full(400, 1.0), noise=0.5, steps_per_epoch=10)

    space = {"learning_rate": rates}
    full = search(noisy, space, epochs=60, sampler="grid")
    halved = search(noisy, space, epochs=60, sampler="grid", halving=Halving(min_epochs=20))
    early = [trial.curve.values("val_loss")[19] for trial in full.trials]
    assert full.learning_rate == rates[0]
    assert early[0] > sorted(early)[1]  # where it is then, it would be dropped
    assert halved.learning_rate == full.learning_rate


def trains(learning_rate, epochs):
    weight = 1.0
    for _ in range(epochs):
        weight -= learning_rate * weight
        yield {"val_loss": weight**2, "rate": learning_rate}


def test_halving_is_charged_for_a_function_that_has_to_be_replayed():
    space = {"learning_rate": log_uniform(1e-3, 1.5)}
    result = search(trains, space, epochs=9, num_trials=6, halving=Halving(min_epochs=3))
    assert result.cost == pytest.approx((6 * 3 + 2 * (3 + 6)) / 9)
    assert result.value < 0.1
    for budget in (2.0, 3.5):
        assert search(trains, space, epochs=20, halving=Halving(factor=2), budget=budget).cost <= budget + 1e-9


@pytest.mark.parametrize("settings", [{"budget": 4.0}, {"num_trials": 9, "halving": "successive"}])
def test_a_finished_search_over_a_function_is_recalled_as_it_was(settings, tmp_path):
    asked = {"epochs": 9, "study": tmp_path / "study", **settings}
    first, again = (search(trains, {"learning_rate": log_uniform(1e-3, 1.5)}, **asked) for _ in range(2))
    assert timeless(first) == timeless(again)


@pytest.mark.parametrize("stages", ["auto", [["noise"], ["learning_rate"]]])
def test_stages_with_halving_keep_the_budget(stages):
    for halving, budget in (("hyperband", 6), ("successive", 5)):
        assert search(build, SPACE, epochs=20, halving=halving, budget=budget, stages=stages).cost <= budget + 1e-9


def test_a_rate_for_all_candidates_reaches_a_function_that_trains_by_itself():
    def decaying(decay, learning_rate, epochs):
        yield from trains(learning_rate * decay, epochs)

    result = search(decaying, {"decay": [1.0, 0.5]}, epochs=2, num_trials=2, learning_rate=0.7)
    assert sorted(trial.curve.values("rate")[0] for trial in result.trials) == [0.35, 0.7]
    assert result.learning_rate == 0.7


def test_a_number_is_no_model_that_was_built_before():
    space = {"learning_rate": uniform(0.01, 1.0)}
    result = search(lambda learning_rate: math.nan if learning_rate > 0.3 else 1, space, epochs=1, num_trials=8)
    assert {trial.state for trial in result.trials} == {TrialState.DIVERGED, TrialState.COMPLETE}
    assert result.value == 1.0


def test_a_study_knows_whole_numbers_and_nan_among_floats_again(tmp_path):
    space = {"learning_rate": [0.1, 0.2, 1], "weight": [math.nan, 1.0, 2]}

    def weighted(weight):
        return build(0.0 if math.isnan(weight) else 0.1)

    asked = {"epochs": 2, "num_trials": 6, "sampler": "random", "study": tmp_path / "study"}
    first, again = (search(weighted, space, **asked) for _ in range(2))
    assert timeless(first) == timeless(again)


def test_what_trains_by_itself_cannot_have_its_rate_selected():
    with pytest.raises(InvalidArgumentError, match="trains by itself"):
        search(trains, {"extra": [1]}, epochs=2, learning_rate="select")
    with pytest.raises(UnsupportedProblemError, match="trains by itself"):
        search(lambda noise: noise, {"noise": [0.1, 0.2]}, epochs=2, num_trials=2, learning_rate="select")


def test_stages_tune_the_learning_rate_first_and_look_at_it_again():
    space = {"noise": uniform(0.0, 0.2), "learning_rate": log_uniform(1e-3, 1e2), "batch_size": [16, 32, 64]}

    def sized(noise, batch_size, curvature=1.0):
        return build(noise, curvature * batch_size / 32)

    result = search(sized, space, epochs=3, num_trials=20, stages="auto")
    assert result.order == [["learning_rate"], ["batch_size"], ["noise"], ["learning_rate"]]
    assert len(result.trials) == 20
    assert len({trial.hyperparameters["noise"] for trial in result.trials[:7]}) == 1
    assert abs(math.log10(result.trials[-1].learning_rate / result.trials[-3].learning_rate)) < 1
    assert set(result.importance) == set(space)
    assert "tuned in the order: learning_rate; then batch_size" in str(result)
    own = search(sized, space, epochs=1, num_trials=6, stages=[["noise", "batch_size"], ["learning_rate"]])
    assert own.order == [["noise", "batch_size"], ["learning_rate"]]


def test_every_candidate_may_have_a_learning_rate_of_its_own(tmp_path):
    space = {"noise": [0.05, 0.1], "curvature": [1.0, 0.1]}
    ask = {"epochs": 6, "num_trials": 4, "learning_rate": "select"}
    result = search(build, space, **ask, study=tmp_path / "study")
    assert {trial.state for trial in result.trials} == {TrialState.COMPLETE}
    flat, steep = (
        np.mean([math.log(one.learning_rate) for one in result.trials if one.hyperparameters["curvature"] == curvature])
        for curvature in (0.1, 1.0)
    )
    assert flat > steep
    assert result.cost <= 2 * len(result.trials) * 2
    problem = build(**result.hyperparameters)
    problem.restore(result.best)
    assert problem.evaluate()["val_loss"] == result.value
    assert timeless(search(build, space, **ask, study=tmp_path / "study")) == timeless(result)


def test_the_budget_is_kept_and_counts_full_trainings():
    result = search(build, SPACE, epochs=4, budget=7.5, sampler="tpe")
    assert result.cost == pytest.approx(7.0)
    assert len(result.trials) == 7


@pytest.mark.parametrize("halving", ["successive", "hyperband"])
@pytest.mark.parametrize("budget", [1.0, 3.3, 8.0])
def test_the_budget_covers_what_halving_lets_go_on(halving, budget):
    result = search(build, SPACE, epochs=9, budget=budget, halving=halving, sampler="qmc")
    assert 0 < result.cost <= budget + 1e-9
    assert result.value is not None


def test_a_trial_that_fails_is_told_with_its_traceback_and_the_search_goes_on():
    def fragile(noise, curvature):
        if curvature == 3:
            raise MemoryError("no room")
        return build(noise, curvature)

    space = {"learning_rate": [0.01, 0.1], "noise": [0.1], "curvature": [1, 2, 3]}
    result = search(fragile, space, epochs=1, sampler="grid")
    failed = [trial for trial in result.trials if trial.state is TrialState.FAILED]
    assert len(failed) == 2
    assert "in fragile" in failed[0].error
    assert "MemoryError: no room" in result.warnings[0]
    assert result.hyperparameters["curvature"] != 3


def test_a_search_gives_up_after_five_failures_in_a_row(tmp_path):
    calls = []

    def broken(noise):
        calls.append(noise)
        raise ValueError("never works")

    with pytest.raises(TrialFailedError, match="never works"):
        search(broken, SPACE, epochs=1, num_trials=20, study=tmp_path / "study")
    assert len(calls) == 5

    def breaks_later(noise):
        calls.append(noise)
        if len(calls) > 7:
            raise ValueError("no longer works")
        return build(noise)

    result = search(breaks_later, SPACE, epochs=1, num_trials=20)
    assert result.value is not None
    assert "ended early" in result.warnings[-1]


def test_where_all_trials_diverge_there_is_no_answer():
    def train(learning_rate):
        return {"val_loss": math.inf * learning_rate}

    result = search(train, {"learning_rate": log_uniform(1e-3, 1)}, epochs=1, num_trials=12)
    assert result.hyperparameters is None
    assert result.learning_rate is None
    assert "diverged" in str(result)
    assert Search.from_json(result.to_json()).verdict is result.verdict


def test_a_result_survives_json_and_its_values_may_be_anything():
    def shaped(hidden, activation):
        return build(0.01 * len(hidden) + activation())

    def relu():
        return 0.0

    space = {"learning_rate": [0.1], "hidden": [(100,), (50, 50)], "activation": [relu]}
    result = search(shaped, space, epochs=1, sampler="grid")
    assert result.hyperparameters["activation"] is relu
    assert result.hyperparameters["hidden"] in [(100,), (50, 50)]
    assert result.trials[0].hyperparameters["hidden"] == [100]
    read = Search.from_json(result.to_json())
    assert tuple(read.hyperparameters["hidden"]) == result.hyperparameters["hidden"]
    assert "relu" in read.hyperparameters["activation"]


def test_scipy_distributions_lists_and_arrays_are_parameters():
    space = {
        "learning_rate": stats.loguniform(1e-3, 1.0),
        "noise": stats.uniform(0.0, 0.2),
        "curvature": np.array([1.0, 2.0]),
        "steps": stats.randint(2, 5),
        "shift": stats.norm(0.0, 1.0),
        "count": stats.poisson(3.0),
    }

    def many(noise, curvature, steps, shift, count):
        assert type(steps) is type(count) is int
        assert steps in (2, 3, 4)
        assert isinstance(shift, float)
        return build(noise, curvature)

    result = search(many, space, epochs=1, num_trials=15)
    assert all(trial.state is not TrialState.FAILED for trial in result.trials)
    assert all(0 <= trial.hyperparameters["noise"] <= 0.2 for trial in result.trials)


def test_build_is_passed_only_what_it_asks_for():
    seen = []

    def asks(noise, learning_rate, seed, epochs):
        seen.append((learning_rate, seed, epochs))
        return build(noise)

    result = search(asks, SPACE, epochs=2, num_trials=3)
    assert seen[:3] == [(trial.learning_rate, trial.seed, 2) for trial in result.trials]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "empty"),
        ([], "dictionary"),
        ({"noize": uniform(0, 1)}, "did you mean noise"),
        ({"noise": 0.1}, r"\[0.1\]"),
        ({"noise": []}, "no values"),
        ({"noise": [0.1, 0.1]}, "more than once"),
        ({"seed": [1, 2]}, "itself passes"),
        ({"learning_rate": ["a", 0.1]}, "a learning rate of the space is 'a'"),
        ({"learning_rate": [None, 0.1]}, "is None"),
        ({"learning_rate": [-1.0, 0.1]}, "is -1.0"),
        ({"learning_rate": [True, 0.1]}, "is True"),
        ({"learning_rate": uniform(0, 1)}, "is 0.0"),
        ({"learning_rate": stats.norm()}, "above 0"),
    ],
)
def test_a_space_that_cannot_be_used_is_refused_before_any_training(space, message):
    with pytest.raises(InvalidArgumentError, match=message):
        search(build, space, epochs=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: uniform(1, 0),
        lambda: uniform(0, math.inf),
        lambda: log_uniform(0, 1),
        lambda: log_uniform(-1, 1),
        lambda: integers(0, 5, log=True),
        lambda: integers(0.5, 2),
        lambda: choice("abc"),
        lambda: choice([]),
        lambda: integers(0, 10**400),
    ],
)
def test_bounds_reversed_or_zero_on_a_log_scale_are_refused(make):
    with pytest.raises(InvalidArgumentError):
        make()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "tbe"}, "did you mean tpe"),
        ({"stages": 3}, "lists of names"),
        ({"stages": [3]}, "lists of names"),
        ({"learning_rate": "select", "budget": 1}, "one candidate takes 2"),
        ({"scoring": "r2", "metric": "val_auc", "data": ([1, 2, 3], [0.0, 1.0, 2.0])}, "scoring decides"),
        ({"sampler": "grid"}, "continuum"),
        ({"num_trials": 0}, "num_trials"),
        ({"budget": 0.5}, "budget"),
        ({"halving": "hyperbant"}, "did you mean hyperband"),
        ({"halving": Halving(factor=1)}, "factor"),
        ({"stages": "automatic"}, "stages"),
        ({"stages": [["noise"]]}, "lacks learning_rate"),
        ({"stages": [["noise", "learning_rat"]]}, "did you mean learning_rate"),
        ({"stages": "auto", "num_trials": 3}, "too few"),
        ({"learning_rate": 0.1}, "leave one of them out"),
        ({"cv": 5}, "data="),
        ({"mode": "least"}, "mode"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_any_training(settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        search(build, SPACE, **{"epochs": 2} | settings)


def test_a_grid_that_is_larger_than_the_budget_says_how_large():
    space = {"noise": list(np.linspace(0, 0.2, 9)), "learning_rate": list(np.geomspace(1e-3, 1, 12))}
    with pytest.raises(InvalidArgumentError, match=r"108 points \(9 x 12\), and 20"):
        search(build, space, epochs=1, sampler="grid", budget=20)


def test_a_parameter_without_a_value_is_named():
    def needs(noise, width):
        return build(noise + width)

    with pytest.raises(InvalidArgumentError, match="needs width"):
        search(needs, SPACE, epochs=1)


def test_an_unknown_metric_is_told_with_those_there_are():
    with pytest.raises(UnknownMetricError, match="did you mean val_loss"):
        search(build, SPACE, epochs=1, metric="val_los")


def test_a_problem_without_a_learning_rate_of_its_own_needs_one():
    with pytest.raises(TrialFailedError, match="no learning rate of its own"):
        search(build, {"noise": uniform(0, 1)}, epochs=1)
    fixed = search(build, {"noise": uniform(0, 1)}, epochs=1, num_trials=3, learning_rate=0.25)
    assert {trial.learning_rate for trial in fixed.trials} == {0.25}
    assert set(fixed.hyperparameters) == {"noise"}


def test_a_build_that_returns_the_same_object_again_is_found_out():
    once = build()
    with pytest.raises(UnsupportedProblemError, match="same object twice"):
        search(lambda: once, {"learning_rate": log_uniform(1e-3, 1)}, epochs=1, num_trials=30)


def test_a_build_that_returns_nothing_says_what_it_should_return():
    with pytest.raises((TrialFailedError, UnsupportedProblemError), match="returned None"):
        search(lambda: None, {"learning_rate": log_uniform(1e-3, 1)}, epochs=1)


def test_a_study_of_another_space_is_refused(tmp_path):
    search(build, SPACE, epochs=1, num_trials=2, study=tmp_path / "study")
    with pytest.raises(StudyMismatchError, match="high"):
        search(build, SPACE | {"noise": uniform(0.0, 0.3)}, epochs=1, num_trials=2, study=tmp_path / "study")


def test_the_training_loss_decides_where_nothing_is_validated():
    def train(learning_rate):
        return {"loss": learning_rate}

    result = search(train, {"learning_rate": log_uniform(1e-3, 1)}, epochs=1, num_trials=3)
    assert result.metric == "loss"
    assert "training loss decides" in result.warnings[0]


def test_public_names():
    assert learnrate.search is search
