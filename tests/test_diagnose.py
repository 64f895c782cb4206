from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from learnrate import logs
from learnrate._compare import compare
from learnrate._diagnose import diagnose
from learnrate._diagnosis.trends import best_by, extrapolate, noise, turn
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError, LogError, UnknownMetricError
from learnrate.results import Diagnosis, DiagnosisVerdict, Verdict

NAN, INF = math.nan, math.inf


unhurried = settings(deadline=None, max_examples=50)


def benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "diagnosis" / "evaluate.py"
    spec = importlib.util.spec_from_file_location("diagnosis_benchmark", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARK = benchmark()
SET = BENCHMARK.labelled()
CURVES = {one.name: one for one in SET}
reference = [one for one in SET if one.name.startswith("reference")]


@pytest.fixture(scope="module")
def found():
    return {one.name: diagnose(one.curve) for one in SET}


# The labelled set


def test_the_set_is_large_and_split():
    assert len(SET) >= 60
    assert abs(sum(one.tuned for one in SET) / len(SET) - 0.5) < 0.1


@pytest.mark.parametrize("tuned", [True, False])
def test_95_percent_are_right_on_either_half(found, tuned):
    half = [one for one in SET if one.tuned == tuned]
    assert sum(one.is_right(found[one.name]) for one in half) / len(half) >= 0.95


def test_no_healthy_curve_is_called_diverged_or_overfitting(found):
    wrong = {"diverged", "overfitting"}
    assert not [one.name for one in SET if one.label == "healthy" and found[one.name].verdict.value in wrong]


def test_overfitting_begins_where_people_see_it(found):
    seen = [one for one in SET if one.onset and found[one.name].overfitting_onset is not None]
    inside = [one.onset[0] <= found[one.name].overfitting_onset <= one.onset[1] for one in seen]
    assert len(seen) >= 20
    assert np.mean(inside) >= 0.95


def test_the_outlook_interval_holds_what_came():
    holds = [BENCHMARK.outlook_holds(one, metric) for one in SET for metric in one.curve.metrics if "val" in metric]
    known = [one for one in holds if one is not None]
    assert len(known) > 150
    assert np.mean(known) >= 0.85


# The published comparison of learning rates, on 5,000 digits


def test_the_published_comparison(found):
    expected = {
        "1e-05": ("too slow", 150, None),
        "0.0001": ("plateaued", 116, None),
        "0.00025": ("overfitting", 47, 47),
        "0.0005": ("overfitting", 26, 26),
        "0.001": ("overfitting", 21, 21),
        "0.01": ("overfitting", 8, 8),
        "0.1": ("diverged", 6, None),
    }
    for rate, (verdict, best_epoch, onset) in expected.items():
        diagnosis = found[f"reference-{rate}"]
        assert (diagnosis.verdict.value, diagnosis.best_epoch, diagnosis.overfitting_onset) == (
            verdict,
            best_epoch,
            onset,
        )
    assert "up to there this learning rate is good" in found["reference-0.001"].advice
    assert "a smaller learning rate is worth a try" in found["reference-0.01"].advice
    assert "a learning rate three to ten times as large" in found["reference-1e-05"].advice


def test_which_rate_the_published_comparison_recommends():
    answer = compare([log(one.curve, float(one.name.removeprefix("reference-"))) for one in reference])
    assert 2.5e-4 <= answer.learning_rate <= 2e-3
    assert answer.verdict is Verdict.FOUND
    assert any("next, to refine" in warning for warning in answer.warnings)
    assert type(answer).from_json(answer.to_json()).to_json() == answer.to_json()


# What must not change a diagnosis


def changed(diagnosis, scale=1.0, shift=0.0, later=0.0):
    """The numbers that a diagnosis would have of the curve scaled, shifted and renumbered."""
    at = [diagnosis.best_epoch, diagnosis.overfitting_onset]
    levels = [diagnosis.outlook.value, diagnosis.outlook.low, diagnosis.outlook.high] if diagnosis.outlook else []
    return (
        diagnosis.verdict,
        [epoch and epoch + later for epoch in at],
        [level * scale + shift for level in levels],
    )


def strengths(diagnosis):
    return {finding.kind: finding.strength for finding in diagnosis.findings}


def moved(curve, scale=1.0, shift=0.0, later=0.0, kind=np.float64):
    metrics = {
        name: (values * scale + shift if "loss" in name else values).astype(kind)
        for name, values in curve.metrics.items()
    }
    return LearningCurve(epochs=curve.epochs + later, metrics=metrics)


losses = [one for one in SET if "val_loss" in one.curve.metrics or "loss" in one.curve.metrics]


@unhurried
@given(st.sampled_from(losses), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(-50, 1000))
def test_scaled_shifted_renumbered_losses_say_the_same(one, scale, shift, later):
    assume(abs(shift) < 1e3 * scale)
    before = diagnose(one.curve)
    after = diagnose(moved(one.curve, scale, shift, later))
    verdict, epochs, levels = changed(before, scale, shift, later)
    assert after.verdict is verdict
    assert [after.best_epoch, after.overfitting_onset] == epochs
    if levels:
        spread = scale * np.ptp(one.curve.metrics[deciding(one)])
        got = [after.outlook.value, after.outlook.low, after.outlook.high]
        known = [before.outlook.value, before.outlook.low, before.outlook.high]
        free = [place for place in range(3) if got[place] and known[place]]  # what a loss cannot fall below moves not
        np.testing.assert_allclose(np.take(got, free), np.take(levels, free), atol=1e-4 * spread + 1e-9)
    for kind, how in strengths(before).items():
        assert strengths(after).get(kind, 0.2) == pytest.approx(how, abs=1e-3)


def deciding(one):
    return "val_loss" if "val_loss" in one.curve.metrics else "loss"


@pytest.mark.parametrize("one", SET, ids=lambda one: one.name)
def test_float32_says_the_same(one, found):
    single = diagnose(moved(one.curve, kind=np.float32))
    assert single.verdict is found[one.name].verdict
    assert single.best_epoch == found[one.name].best_epoch
    assert single.overfitting_onset == found[one.name].overfitting_onset


@unhurried
@given(st.sampled_from(losses))
def test_a_loss_and_its_negative_as_a_score_say_the_same(one):
    name = deciding(one)
    only = {key: values for key, values in one.curve.metrics.items() if "loss" in key}
    negative = {key.replace("loss", "reward"): -values for key, values in only.items()}
    as_loss = diagnose(LearningCurve(epochs=one.curve.epochs, metrics=only), metric=name)
    score = name.replace("loss", "reward")
    as_score = diagnose(LearningCurve(epochs=one.curve.epochs, metrics=negative), metric=score)
    assume(np.isfinite(only["loss"][-1] if "loss" in only else 0.0))
    assert as_loss.verdict is as_score.verdict
    assert as_loss.best_epoch == as_score.best_epoch


# What any curve gives

numbers = st.floats() | st.floats(-1e150, 1e150) | st.sampled_from([NAN, INF, -INF, 1e308, -1e308])
rows = st.integers(1, 40).flatmap(
    lambda count: st.fixed_dictionaries(
        {"loss": st.lists(numbers, min_size=count, max_size=count)},
        optional={
            name: st.lists(numbers, min_size=count, max_size=count) for name in ("val_loss", "val_accuracy", "accuracy")
        },
    )
)


@unhurried
@example({"loss": [1e308, 1e306, -1e308, 0.01]}, None, None)
@example({"val_loss": [1e308, -1e307, -1e308, 0.1], "loss": [-1e308] * 4}, None, None)
@example({"loss": [0.0] * 5 + [5e148, -2e-175]}, None, None)
@given(rows, st.one_of(st.none(), numbers), st.one_of(st.none(), st.integers(1, 10**6)))
def test_any_curve_gets_a_diagnosis(history, untrained, samples):
    diagnosis = diagnose(history, untrained=untrained, num_validation_samples=samples)
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis.evidence.endswith(".")
    assert diagnosis.advice.endswith(".")
    assert all(0 <= finding.strength <= 1 for finding in diagnosis.findings)
    metric = "val_loss" if "val_loss" in history else "val_accuracy" if "val_accuracy" in history else "loss"
    finite = [value for value in history[metric] if math.isfinite(value)]
    assert (diagnosis.best_epoch is not None) == bool(finite)
    if diagnosis.outlook is not None:
        finite = [value for value in finite if abs(value) <= 1e300]
        best = max(finite) if "acc" in metric else min(finite)
        outlook = diagnosis.outlook
        assert outlook.low <= outlook.value <= outlook.high
        assert outlook.high <= best if "acc" not in metric else outlook.low >= best
    assert msgspec.json.decode(msgspec.json.encode(diagnosis), type=Diagnosis) == diagnosis  # no number but finite ones


@unhurried
@given(st.floats(-1e6, 1e6), st.integers(2, 50))
def test_a_constant_curve_has_learned_nothing(level, count):
    diagnosis = diagnose({"loss": [level] * count})
    assert diagnosis.verdict is DiagnosisVerdict.NOT_LEARNING
    assert diagnosis.best_epoch == 1


def test_a_high_accuracy_from_the_first_epoch_on_is_no_failure_to_learn():
    assert diagnose({"val_accuracy": [0.97] * 20}).verdict is DiagnosisVerdict.PLATEAUED


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        ({"loss": [NAN]}, "diverged"),
        ({"loss": [INF, INF]}, "diverged"),
        ({"loss": [1.0, 0.5, NAN, NAN]}, "diverged"),
        ({"loss": [1.0, 0.5, INF]}, "diverged"),
        ({"loss": [1.0, 0.5, NAN, NAN], "val_accuracy": [0.5, 0.7, 0.1, 0.1]}, "diverged"),
        ({"loss": [1.0, 0.5, 0.3, 0.2], "val_loss": [NAN] * 4}, "diverged"),
        ({"loss": [2.0, 1.0, 0.5, 0.4, 0.3, 300.0, 900.0]}, "diverged"),
        ({"loss": [2.0, 4.0, 8.0, 16.0, 32.0, 64.0]}, "diverged"),
        ({"loss": [-1.0, -2.0, -2.5, -2.8, 40.0, 90.0]}, "diverged"),
        ({"loss": [1.0, 0.5]}, "too slow"),
        ({"loss": [0.5, 0.6]}, "not learning"),
        ({"loss": [1.0]}, "healthy"),
        ({"loss": np.exp(-np.arange(40) / 40)}, "too slow"),
        ({"loss": np.exp(-np.arange(40) / 2)}, "plateaued"),
        ({"loss": 1 / np.arange(1, 41)}, "healthy"),
        ({"val_loss": np.abs(np.arange(40) - 15.0)}, "overfitting"),
        ({"acc": 1 - np.exp(-np.arange(40) / 40) / 2}, "too slow"),
    ],
)
def test_plain_shapes(history, verdict):
    assert diagnose(history).verdict.value == verdict


def test_values_that_a_row_lacks_are_no_divergence():
    sparse = [NAN, NAN, 0.9, NAN, NAN, 0.5, NAN, NAN]
    diagnosis = diagnose({"loss": [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], "val_loss": sparse})
    assert diagnosis.verdict is not DiagnosisVerdict.DIVERGED
    assert diagnosis.best_epoch == 6


@pytest.mark.parametrize("training", [[1.0, 0.5, 0.3], [2.3, 2.31, 2.29, 2.3, 2.31], [2.3]])
def test_nan_in_the_validation_data_is_named(training):
    assert "validation data" in diagnose({"loss": training, "val_loss": [NAN] * len(training)}).advice


@pytest.mark.parametrize(
    "training",
    [2.7 * 1.22 ** np.arange(30), [2.0, 1.0, 0.5, 0.4, 0.3, 300.0, 900.0], [4.6e19, 4.67e39, 4.75e59], [2.3, 2.9, 3.9]],
)
def test_the_rate_is_to_blame_where_the_training_loss_climbs_too_if_only_validation_ends_in_nan(training):
    validation = [1.9] + [NAN] * (len(training) - 1)
    advice = diagnose({"loss": training, "val_loss": validation}).advice
    assert advice.startswith("Use a smaller learning rate")
    assert "validation data" not in advice


def test_a_training_that_falls_while_validation_only_rises_is_memorising():
    assert diagnose(CURVES["random-labels-0.001"].curve).verdict is DiagnosisVerdict.OVERFITTING


# Noise: is this oscillation normal for so many validation samples?


def test_noise_that_few_samples_explain_is_called_normal():
    generator = np.random.default_rng(0)
    accuracy = 0.9 + 0.02 * generator.standard_normal(60) - 0.4 * np.exp(-np.arange(60) / 4)
    few = diagnose({"val_accuracy": accuracy}, num_validation_samples=100)
    many = diagnose({"val_accuracy": accuracy}, num_validation_samples=100_000)
    assert few.validation_noise == pytest.approx(0.02, rel=0.5)
    assert few.expected_noise == pytest.approx(0.03, rel=0.1)
    assert many.expected_noise < 0.001
    assert strengths(few).get("oscillating", 0) < strengths(many)["oscillating"]
    [evidence] = [finding.evidence for finding in few.findings if finding.kind == "oscillating"]
    assert "100 samples explain 0.029, so this is normal" in evidence


def test_the_noise_of_a_loss_comes_without_an_expectation():
    diagnosis = diagnose(CURVES["small-validation-0.003"].curve, num_validation_samples=25)
    assert diagnosis.validation_noise > 0
    assert diagnosis.expected_noise is None


@unhurried
@given(st.lists(st.floats(-100, 100), max_size=60), st.floats(0.01, 100), st.floats(-100, 100), st.floats(-10, 10))
def test_noise_scales_and_ignores_a_straight_trend(values, scale, shift, slope):
    values = np.array(values)
    trend = values * scale + shift + slope * np.arange(len(values))
    assert noise(trend) == pytest.approx(scale * noise(values), abs=1e-8 * (1 + scale))


def test_noise_is_the_standard_deviation():
    values = np.random.default_rng(0).normal(0, 0.3, 5000) + np.exp(-np.arange(5000) / 500)
    assert noise(values) == pytest.approx(0.3, rel=0.05)


# The turn


def slow_turn(values):
    """The plain reference: every split, each side fitted by pooling neighbours until none is out of order."""

    def falling(part):
        levels = [[value] for value in part]
        i = 0
        while i < len(levels) - 1:
            if np.mean(levels[i]) <= np.mean(levels[i + 1]):
                levels[i : i + 2] = [levels[i] + levels[i + 1]]
                i = max(i - 1, 0)
            else:
                i += 1
        return [np.mean(level) for level in levels for _ in level]

    fits = [falling(values[:k]) + falling(values[k:][::-1])[::-1] for k in range(len(values) + 1)]
    return min(float(np.sum((np.array(fit) - values) ** 2)) for fit in fits)


@unhurried
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12))
def test_the_turn_is_the_best_of_every_split(values):
    values = np.array(values)
    fit = turn(values)
    assert float(np.sum((fit.level - values) ** 2)) == pytest.approx(slow_turn(values), abs=1e-6)
    lowest = int(np.argmin(fit.level))
    assert (np.diff(fit.level[: lowest + 1]) <= 1e-9).all()
    assert (np.diff(fit.level[lowest:]) >= -1e-9).all()
    assert fit.error >= -1e-9


# The outlook


@unhurried
@given(
    st.floats(3, 60),
    st.floats(-5, 5),
    st.floats(0.1, 10),
    st.sampled_from([lambda t, rate: np.exp(-t / rate), lambda t, rate: t ** (-rate / 30)]),
)
def test_decays_without_noise_are_continued(rate, floor, scale, law):
    times = np.arange(1.0, 41)
    curve = floor + scale * law(times, rate)
    later = best_by(times, curve, 80.0)
    truth = floor + scale * float(law(np.array([80.0]), rate)[0])
    assert later.low <= later.value <= later.high <= curve.min() + 1e-9
    assert later.value == pytest.approx(truth, abs=0.05 * np.ptp(curve))


@unhurried
@given(st.integers(2, 60), st.floats(-100, 100))
def test_the_extrapolation_of_a_constant_is_the_constant(count, level):
    later = extrapolate(np.arange(1.0, count + 1), np.full(count, level), 3.0 * count)
    np.testing.assert_allclose(later, level, atol=1e-6)


def test_the_horizon_is_that_of_the_caller():
    curve = CURVES["digits-sgd-0.1"].curve
    near, far = (diagnose(curve, horizon=horizon).outlook for horizon in (60, 200))
    assert (near.epochs, far.epochs) == (60, 200)
    assert far.value < near.value
    assert diagnose(curve, horizon=50).outlook is None


def test_no_accuracy_above_one_is_expected():
    accuracy = 1 - 0.5 / np.arange(1, 20) ** 2
    assert diagnose({"val_accuracy": accuracy}).outlook.high <= 1


# What is given


def test_a_history_of_any_dialect():
    history = {"acc": [0.5, 0.8], "val_acc": [0.4, 0.7], "lr": [0.1, 0.01], "train_loss": [1.0, 0.5]}
    diagnosis = diagnose(history, metric="val_acc")
    assert diagnosis.best_epoch == 2
    assert diagnosis.generalization_gap == pytest.approx(0.1)


def test_a_path(tmp_path):
    (tmp_path / "log.csv").write_text(
        "epoch,loss,val_loss\n" + "".join(f"{i},{1 / i},{1 / i + 0.1}\n" for i in range(1, 30))
    )
    assert diagnose(tmp_path / "log.csv") == diagnose(logs.read(tmp_path / "log.csv")[0].curve)
    with pytest.raises(LogError, match="No such file"):
        diagnose(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("curve", "settings", "error", "message"),
    [
        ({}, {}, InvalidArgumentError, "empty"),
        ({"loss": []}, {}, InvalidArgumentError, "empty"),
        ({"loss": [1.0, 0.5], "val_loss": [1.0]}, {}, InvalidArgumentError, "loss 2, val_loss 1"),
        ({"loss": "falling"}, {}, InvalidArgumentError, "list of numbers"),
        ({"loss": 3.0}, {}, InvalidArgumentError, "list of numbers"),
        ({"loss": [[1.0], [2.0]]}, {}, InvalidArgumentError, "one number an epoch"),
        ({"epoch": [1, 1], "loss": [1.0, 0.5]}, {}, InvalidArgumentError, "row 2 is epoch 1"),
        ({"epoch": [2, 1], "loss": [1.0, 0.5]}, {}, InvalidArgumentError, "row 2 is epoch 1"),
        ({"epoch": [1, NAN], "loss": [1.0, 0.5]}, {}, InvalidArgumentError, "row 2"),
        ({"loss": [1.0]}, {"metric": "val_loss"}, UnknownMetricError, "it reports loss"),
        ({"frobnication": [1.0]}, {}, UnknownMetricError, "metric= and mode="),
        ({"frobnication": [1.0]}, {"metric": "frobnication"}, InvalidArgumentError, "mode="),
        ({"loss": [1.0]}, {"mode": "down"}, InvalidArgumentError, '"min" or "max"'),
        ({"loss": [1.0]}, {"num_validation_samples": 0}, InvalidArgumentError, "at least 1"),
    ],
)
def test_what_cannot_be_diagnosed(curve, settings, error, message):
    with pytest.raises(error, match=message):
        diagnose(curve, **settings)


def test_diagnosing_changes_nothing():
    curve = CURVES["digits-sgd-0.1"].curve
    before = {name: values.copy() for name, values in curve.metrics.items()}
    diagnose(curve)
    for name, values in before.items():
        np.testing.assert_array_equal(curve.metrics[name], values)


# Which learning rate, given logs


def log(curve, rate, path=None):
    if not isinstance(curve, LearningCurve):
        curve = LearningCurve.from_rows([(i, {"val_loss": value}) for i, value in enumerate(curve, 1)])
    return logs.Log(path=path or f"{rate}.csv", learning_rate=rate, curve=curve)


def bowl(low, start=2.0):
    return low + (start - low) * np.exp(-np.arange(20) / 4)


@pytest.mark.parametrize(
    ("lows", "learning_rate", "verdict", "tried"),
    [
        ({1e-3: 1.0, 1e-2: 0.3, 1e-1: 0.8}, 1e-2, Verdict.FOUND, "3.2e-3 and 3.2e-2"),
        ({1e-3: 0.3, 1e-2: 0.6, 1e-1: 0.8}, 1e-3, Verdict.TOO_NARROW_LEFT, "3.2e-4 and 3.2e-3"),
        ({1e-3: 0.9, 1e-2: 0.6, 1e-1: 0.3}, 1e-1, Verdict.TOO_NARROW_RIGHT, "3.2e-2 and 0.32"),
        ({1e-4: 0.9, 1e-3: 0.301, 1e-2: 0.302, 1e-1: 0.3, 1.0: 0.9}, 1e-2, Verdict.FOUND, "3.2e-3 and 3.2e-2"),
    ],
)
def test_the_best_rate_and_what_to_try_next(lows, learning_rate, verdict, tried):
    answer = compare([log(bowl(low), rate) for rate, low in lows.items()])
    assert answer.learning_rate == learning_rate
    assert answer.verdict is verdict
    assert any(warning == f"try {tried} next, to refine" for warning in answer.warnings)
    assert len(answer.trials) == len(lows)
    assert all(trial.diagnosis is not None for trial in answer.trials)


def test_diverged_trainings_never_win():
    falling = [2.0, 0.1, NAN, NAN]
    answer = compare([log(bowl(0.5), 0.01), log(falling, 0.1), log(bowl(0.9), 0.001)])
    assert answer.learning_rate == 0.01
    assert compare([log([NAN, NAN], 0.1), log([2.0, INF], 1.0)]).verdict is Verdict.ALL_DIVERGED
    assert compare([log([NAN, NAN], 0.1)]).learning_rate is None


def test_several_logs_of_one_rate_are_averaged():
    answer = compare([log(bowl(0.1), 0.01, "a"), log(bowl(0.9), 0.01, "b"), log(bowl(0.4), 0.1)])
    assert answer.learning_rate == 0.1
    assert answer.value == pytest.approx(bowl(0.4).min())


def test_flat_trainings_give_no_verdict_of_found():
    assert compare([log([2.0] * 10, rate) for rate in (0.1, 0.01, 0.001)]).verdict is Verdict.FLAT


def test_the_training_loss_decides_where_there_is_no_other_and_the_answer_says_so():
    curve = LearningCurve.from_rows([(1, {"loss": 1.0}), (2, {"loss": 0.5})])
    answer = compare([log(curve, 0.1)])
    assert answer.metric == "loss"
    assert any("training loss decides" in warning for warning in answer.warnings)


def test_scores_are_compared_the_other_way_round():
    curves = {
        rate: LearningCurve.from_rows([(i, {"val_acc": top}) for i in (1, 2)]) for rate, top in [(0.1, 0.9), (1.0, 0.8)]
    }
    named = {
        rate: LearningCurve(epochs=c.epochs, metrics={"val_accuracy": c.metrics["val_acc"]})
        for rate, c in curves.items()
    }
    assert compare([log(curve, rate) for rate, curve in named.items()], metric="val_acc").learning_rate == 0.1


def test_trainings_of_different_lengths_are_pointed_out():
    answer = compare([log(bowl(0.5), 0.01), log(bowl(0.4)[:10], 0.1)])
    assert any("10 to 20 epochs" in warning for warning in answer.warnings)


@pytest.mark.parametrize(
    ("given_logs", "settings", "error", "message"),
    [
        ([], {}, InvalidArgumentError, "no log"),
        (
            [log(bowl(0.5), 0.1), log(bowl(0.5), None, "a.csv")],
            {},
            InvalidArgumentError,
            "a.csv names no learning rate",
        ),
        ([log(bowl(0.5), 0.1)], {"metric": "val_accuracy"}, UnknownMetricError, "0.1.csv has no metric 'val_accuracy'"),
    ],
)
def test_logs_that_cannot_be_compared(given_logs, settings, error, message):
    with pytest.raises(error, match=message):
        compare(given_logs, **settings)


# What is known from before training


@pytest.mark.parametrize("training", [{}, {"loss": [1e6 + epoch % 3 for epoch in range(10)]}])
def test_a_loss_that_stays_far_above_the_untrained_models_has_diverged(training):
    diagnosis = diagnose(training | {"val_loss": [1.9e6 + epoch % 3 for epoch in range(10)]}, untrained=2.3)
    assert diagnosis.verdict is DiagnosisVerdict.DIVERGED


@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_a_loss_that_falls_but_never_below_the_untrained_models_is_not_learning(epochs):
    losses = [1e9 / 2**epoch + 1.9e6 for epoch in range(epochs)]
    diagnosis = diagnose({"loss": losses, "val_loss": losses}, untrained=2.3)
    assert diagnosis.verdict is DiagnosisVerdict.NOT_LEARNING
    assert "2.3 before training and has never been below that" in diagnosis.evidence


def test_a_score_that_never_exceeds_the_untrained_models_is_not_learning():
    diagnosis = diagnose({"val_f1": [0.3, 0.2, 0.25]}, untrained=0.31)
    assert diagnosis.verdict is DiagnosisVerdict.NOT_LEARNING
    assert "never been above that" in diagnosis.evidence


def test_a_validation_loss_that_only_rises_while_training_goes_on_overfits_from_the_beginning():
    curve = {"loss": [2.2, 2.0, 1.8, 1.6, 1.4, 1.2], "val_loss": [2.4, 2.5, 2.5, 2.6, 2.6, 2.7]}
    assert diagnose(curve, untrained=2.3).verdict is DiagnosisVerdict.OVERFITTING


def test_one_row_is_said_to_show_little_and_judged_by_what_was_before():
    alone, better, worse = (
        diagnose({"loss": [1.0], "val_loss": [1.9]}, untrained=untrained) for untrained in (None, 2.3, 1.0)
    )
    assert [one.verdict.value for one in (alone, better, worse)] == ["healthy", "healthy", "not learning"]
    assert all("one row does not show how training goes on" in one.evidence for one in (alone, better, worse))
    assert "fell from 2.3 before training to 1.9" in better.evidence


def test_a_dip_at_the_beginning_with_a_bump_behind_it_is_where_overfitting_begins():
    epochs = np.arange(1, 101)
    losses = 0.2 + 0.02 * np.exp(-((epochs - 10) ** 2) / 20) + 0.0006 * epochs
    losses[:3] = [0.35, 0.22, 0.18]
    diagnosis = diagnose({"loss": np.exp(-epochs / 5), "val_loss": losses})
    assert (diagnosis.verdict.value, diagnosis.best_epoch, diagnosis.overfitting_onset) == ("overfitting", 3, 3)


@pytest.mark.parametrize("turn", [10, 20])  # the training loss is still falling, and has settled
@pytest.mark.parametrize("deviation", [0.0, 3e-4, 1e-3, 3e-3])
def test_a_validation_loss_that_rises_is_overfitting_however_the_training_loss_trembles(turn, deviation):
    epochs = np.arange(1, 31)
    falling = 0.01 + 2 * np.exp(-epochs / 3)
    rising = 0.39 + np.where(epochs <= turn, falling - falling[turn - 1], 0.016 * (epochs - turn))
    for seed in range(20):
        loss = falling + np.random.default_rng(seed).normal(0, deviation, len(epochs))
        diagnosis = diagnose({"loss": loss, "val_loss": rising})
        assert (diagnosis.verdict.value, diagnosis.best_epoch) == ("overfitting", turn)


def test_it_is_no_overfitting_where_training_falls_and_rises_again():
    epochs = np.arange(1, 31)
    falling = np.exp(-epochs / 3) + np.where(epochs > 20, 0.03 * (epochs - 20), 0)
    curve = {"loss": falling, "val_loss": np.exp(-np.minimum(epochs, 12) / 3) + 0.01 * np.maximum(epochs - 12, 0)}
    assert diagnose(curve).verdict is not DiagnosisVerdict.OVERFITTING


def test_trials_know_how_many_samples_validate_them():
    import learnrate
    from learnrate.adapters.torch import TorchTrainable

    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 2)
    x, y = torch.randn(24, 2), torch.randint(0, 2, (24,))
    accuracy = {"accuracy": lambda outputs, targets: (outputs.argmax(1) == targets).float().mean()}
    loss, data = torch.nn.CrossEntropyLoss(), [(x[:8], y[:8]), (x[8:16], y[8:16])]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    problem = TorchTrainable(model, optimizer, loss, data, [(x[16:], y[16:])], metrics=accuracy)
    assert problem.num_validation_samples == 8
    (trial,) = learnrate.sweep(problem, [0.1], epochs=6, metric="val_accuracy", mode="max").trials
    assert trial.diagnosis.expected_noise is not None


@pytest.mark.parametrize("scale", [1e-200, 1e150, 1e160, 1e300])
def test_losses_whose_squares_cannot_be_held_are_diagnosed_as_any_other(scale):
    curve = {"loss": [1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], "val_loss": [1.0, 0.5, 0.4, 0.45, 0.5, 0.55, 0.6, 0.62]}
    plain = diagnose(curve)
    scaled = diagnose({name: (scale * np.array(values)).tolist() for name, values in curve.items()})
    assert plain.verdict is scaled.verdict is DiagnosisVerdict.OVERFITTING
    assert [each.kind for each in scaled.findings] == [each.kind for each in plain.findings]


@pytest.mark.parametrize("rising", [[1.0, 2.0, 30.0, 5000.0], [4.6e19, 4.67e39, 4.75e59], [-3.0, -2.9, 7.0]])
def test_what_only_rises_and_runs_away_has_diverged_however_short_it_is(rising):
    found = diagnose({"loss": rising, "val_loss": rising})
    assert found.verdict is DiagnosisVerdict.DIVERGED
    assert "smaller learning rate" in found.advice


def test_what_goes_up_and_down_has_not_run_away():
    flat = [1.0, 1.1, 1.05, 1.2]
    assert diagnose({"loss": flat, "val_loss": flat}).verdict is DiagnosisVerdict.NOT_LEARNING


@given(st.floats(0.02, 0.9), st.integers(4, 40), st.floats(0.0, 0.02), st.integers(0, 9))
def test_nothing_is_expected_below_what_a_quantity_can_reach(
    speed: float, epochs: int, noise: float, seed: int
) -> None:
    times = np.arange(1.0, epochs + 1)
    falling = np.exp(-speed * times) * np.exp(noise * np.random.default_rng(seed).standard_normal(epochs))
    loss = diagnose(LearningCurve(epochs=times, metrics={"val_loss": falling})).outlook
    share = diagnose(
        LearningCurve(epochs=times, metrics={"val_accuracy": np.clip(1 - falling, 0, 1)}), metric="val_accuracy"
    ).outlook
    assert loss is not None
    assert share is not None
    assert 0 <= loss.low <= loss.value <= loss.high
    assert share.low <= share.value <= share.high <= 1
