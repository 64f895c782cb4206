from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnrate import schedules
from learnrate.errors import InvalidArgumentError
from learnrate.stopping import EarlyStopping, ReduceOnPlateau

# Validation losses of a segmentation at 2e-5, as one reads them off a chart: fast, then overfitting.
OVERFITTING = [0.412, 0.207, 0.151, 0.133, 0.127, 0.1265, 0.129, 0.131, 0.136, 0.134, 0.139, 0.145, 0.143, 0.151, 0.158]
OVERFITTING += [0.156, 0.163, 0.171, 0.169, 0.178, 0.185, 0.183, 0.191, 0.2]
# The same at 2e-6: slow, and falling to the end.
SLOW = [0.62 - 0.013 * epoch + 0.0002 * epoch**2 for epoch in range(24)]
# Accuracies at a learning rate of 0.1, and losses that break and recover.
UNFIT = [0.1, 0.21, 0.19, 0.21, 0.2, 0.18, 0.21, 0.19, 0.21, 0.2]
BROKEN = [2.3, 1.1, math.nan, math.nan, 0.9, math.inf, 0.95, 0.85, math.nan, 0.86, 0.84, 0.84, 0.84, 0.84, 0.84]
RECORDED = [OVERFITTING, SLOW, UNFIT, BROKEN, [1.0], [1.0] * 30, [-5.0, -6.0, -5.5, -7.0, -6.9, -6.8, -6.7, -6.6]]

# Eighths are exact in every precision, so that nothing hangs on rounding.
EIGHTHS = st.integers(-80, 80).map(lambda number: number / 8)
NEVER_BETTER = {"min": [math.nan, math.inf], "max": [math.nan, -math.inf]}
DELTAS = st.integers(0, 24).map(lambda number: number / 8)
MODES = st.sampled_from(["min", "max"])
EARLY = st.builds(EarlyStopping, patience=st.integers(0, 6), min_delta=DELTAS, mode=MODES)
PLATEAU = st.builds(
    ReduceOnPlateau,
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 5),
    cooldown=st.integers(0, 4),
    min_learning_rate=st.sampled_from([0.0, 1e-8, 0.02, 0.025, 0.1, 0.3]),
    min_delta=DELTAS,
    mode=MODES,
)
ANY_CURVE = st.lists(EIGHTHS | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=40)
RULES = EARLY | PLATEAU


@st.composite
def curves_both_understand(draw, mode):
    """Draw a curve whose first value is finite, and that has no infinity on the better side."""
    return [draw(EIGHTHS), *draw(st.lists(EIGHTHS | st.sampled_from(NEVER_BETTER[mode]), max_size=39))]


def start(rule, learning_rate=0.1):
    return rule.start(learning_rate) if isinstance(rule, ReduceOnPlateau) else rule.start()


def decide(rule, curve, learning_rate=0.1):
    state = start(rule, learning_rate)
    return [state.update(epoch, value) for epoch, value in enumerate(curve)]


def until_stopped(decisions):
    stops = [decision.stop for decision in decisions]
    return decisions[: stops.index(True) + 1] if True in stops else decisions


# Early stopping


def test_overfitting_stops_patience_epochs_after_the_best():
    decisions = decide(EarlyStopping(patience=15, min_delta=1e-4), OVERFITTING)
    assert [decision.stop for decision in decisions] == [False] * 20 + [True] * 4
    assert (decisions[-1].best_epoch, decisions[-1].best_value) == (5, 0.1265)


def test_a_curve_that_falls_to_the_end_is_not_stopped():
    assert not any(decision.stop for decision in decide(EarlyStopping(patience=1), SLOW))


def test_a_large_min_delta_takes_a_slow_fall_for_a_plateau():
    decisions = decide(EarlyStopping(patience=3, min_delta=0.1), SLOW)
    assert next(epoch for epoch, decision in enumerate(decisions) if decision.stop) == 3


@pytest.mark.parametrize("patience", [0, 1])
def test_a_patience_of_none_or_one_stops_at_the_first_epoch_that_does_not_improve(patience):
    decisions = decide(EarlyStopping(patience=patience), [math.nan, 2.0, 1.0, 1.0, 0.5])
    assert [decision.stop for decision in decisions] == [False, False, False, True, True]


def test_what_is_not_finite_never_improves_and_never_becomes_the_best():
    decisions = decide(EarlyStopping(patience=9), [math.nan, math.inf, 3.0, -math.inf, math.nan, 2.0])
    assert [decision.improved for decision in decisions] == [False, False, True, False, False, True]
    assert [decision.best_epoch for decision in decisions] == [None, None, 2, 2, 2, 5]
    assert decisions[1].best_value is None


def test_a_training_that_is_never_finite_stops_after_its_patience():
    decisions = decide(EarlyStopping(patience=3), [math.nan] * 5)
    assert [decision.stop for decision in decisions] == [False, False, False, True, True]


@given(EARLY, ANY_CURVE)
def test_the_best_epoch_is_the_last_that_improved(rule, curve):
    best = None
    for epoch, decision in enumerate(decide(rule, curve)):
        if decision.improved:
            assert math.isfinite(curve[epoch])
            assert best is None or rule.min_delta < (best - curve[epoch]) * (1 if rule.mode == "min" else -1)
            best = curve[epoch]
        assert decision.best_value == best
        assert decision.best_epoch is None or curve[decision.best_epoch] == best


@given(EARLY, ANY_CURVE)
def test_more_patience_never_stops_sooner(rule, curve):
    patient = dataclasses.replace(rule, patience=rule.patience + 1)
    assert len(until_stopped(decide(patient, curve))) >= len(until_stopped(decide(rule, curve)))


@given(EARLY, ANY_CURVE, st.integers(-50, 50))
def test_early_stopping_does_not_depend_on_the_level_of_the_metric(rule, curve, level):
    # Losses may be negative, zero or enormous.
    stops = [(decision.stop, decision.best_epoch) for decision in decide(rule, curve)]
    assert [(it.stop, it.best_epoch) for it in decide(rule, [value + level for value in curve])] == stops


# Reducing on a plateau


def test_the_factor_shrinks_on_each_plateau_to_the_lowest_rate():
    rule = ReduceOnPlateau(factor=0.1, patience=2, min_learning_rate=5e-4)
    decisions = decide(rule, [1.0] * 9, learning_rate=0.01)
    assert [decision.factor for decision in decisions] == pytest.approx([1, 1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05])
    assert [epoch for epoch, decision in enumerate(decisions) if decision.reduced] == [2, 4]


def test_a_cooldown_delays_the_next_reduction():
    rule = ReduceOnPlateau(factor=0.5, patience=1, cooldown=3)
    reduced = [epoch for epoch, decision in enumerate(decide(rule, [1.0] * 10)) if decision.reduced]
    assert reduced == [1, 4, 7]


def test_a_rate_that_is_low_already_is_left_alone():
    assert {it.factor for it in decide(ReduceOnPlateau(patience=1, min_learning_rate=0.1), [1.0] * 9, 0.05)} == {1.0}


def test_the_factor_scales_any_schedule():
    schedule = schedules.cosine(0.1, 90, warmup_fraction=0.1)
    factor = decide(ReduceOnPlateau(factor=0.5, patience=2), OVERFITTING)[8].factor
    np.testing.assert_array_equal(factor * schedule(np.arange(80, 90)), schedule.values()[80:] / 2)


@given(PLATEAU, ANY_CURVE, st.sampled_from([1e-8, 0.02, 0.1, 1.0]))
def test_the_factor_never_rises_and_never_takes_the_peak_below_the_lowest_rate(rule, curve, rate):
    factors = [1.0, *(decision.factor for decision in decide(rule, curve, rate))]
    assert (np.diff(factors) <= 0).all()
    assert min(factors) * rate >= min(rate, rule.min_learning_rate) * (1 - 1e-12)
    assert min(factors) > 0


@given(PLATEAU, ANY_CURVE)
def test_the_factor_changes_exactly_where_it_says_so(rule, curve):
    factor = 1.0
    for decision in decide(rule, curve):
        assert decision.reduced == (decision.factor < factor)
        assert not (decision.reduced and decision.improved)
        factor = decision.factor


# Both


@given(RULES, ANY_CURVE, st.integers(0, 40))
def test_telling_the_past_again_resumes(rule, curve, at):
    resumed = start(rule)
    for epoch, value in enumerate(curve[:at]):
        resumed.update(epoch, value)
    resumed = pickle.loads(pickle.dumps(resumed))  # noqa: S301  # our own bytes
    later = [resumed.update(epoch, value) for epoch, value in list(enumerate(curve))[at:]]
    assert later == decide(rule, curve)[at:]


@given(RULES, ANY_CURVE)
def test_a_larger_metric_is_to_max_what_a_smaller_one_is_to_min(rule, curve):
    mirrored = dataclasses.replace(rule, mode={"min": "max", "max": "min"}[rule.mode])
    ours, theirs = decide(rule, curve), decide(mirrored, [-value for value in curve])
    told = ("stop", "factor", "improved", "best_epoch", "reduced")
    for one, other in zip(ours, theirs, strict=True):
        assert [getattr(one, name, None) for name in told] == [getattr(other, name, None) for name in told]


@given(RULES, ANY_CURVE)
def test_only_the_order_of_the_epochs_matters(rule, curve):
    state = start(rule)
    for epoch, (value, expected) in enumerate(zip(curve, decide(rule, curve), strict=True)):
        decision = state.update(1 + epoch / 2, np.float32(value))
        if isinstance(rule, ReduceOnPlateau):
            assert decision == expected
        else:
            assert (decision.stop, decision.best_value) == (expected.stop, expected.best_value)


def test_settings_cannot_be_changed_and_survive_json():
    rule = EarlyStopping(patience=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.patience = 4
    assert EarlyStopping(**json.loads(json.dumps(dataclasses.asdict(rule)))) == rule


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("patience", [-1, 1.5, math.nan, None, "3", True]),
        ("min_delta", [-1e-9, math.nan, math.inf, None, "0.1", True]),
        ("mode", ["auto", "MIN", None, 1]),
        ("restore_best", ["yes", 1, None]),
        ("factor", [0, 1, 1.5, -0.1, math.nan, None, "0.1", True]),
        ("cooldown", [-1, 0.5, None]),
        ("min_learning_rate", [-1e-9, math.nan, math.inf, None]),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(setting, values):
    rules = [(EarlyStopping, {"patience": 3}), (ReduceOnPlateau, {})]
    for kind, settings in [(kind, needed) for kind, needed in rules if setting in kind.__dataclass_fields__]:
        for value in values:
            with pytest.raises(InvalidArgumentError, match=f"{setting} is "):
                kind(**settings | {setting: value})


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, None, "0.1"])
def test_a_learning_rate_that_cannot_be_reduced_is_refused(rate):
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        ReduceOnPlateau().start(rate)


@pytest.mark.parametrize("rule", [EarlyStopping(patience=1), ReduceOnPlateau()])
def test_a_refused_value_or_epoch_leaves_the_state_as_it_was(rule):
    state, untouched = start(rule), start(rule)
    for told in (state, untouched):
        told.update(3, 1.0)
    for epoch, value in [(3, 0.5), (2, 0.5), (math.nan, 0.5), (math.inf, 0.5), (4, None), (4, "0.5"), (4, True)]:
        with pytest.raises(InvalidArgumentError, match="tell"):
            state.update(epoch, value)
    assert state == untouched


# Keras's own callbacks, on a real model, in a process of their own: a process may choose Keras's backend only once.


def answer_as_keras():
    import keras

    keras.config.set_floatx("float64")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    for line in sys.stdin:
        name, settings, curve = json.loads(line)
        callback = getattr(keras.callbacks, name)(monitor="metric", **settings)
        callback.set_model(model)
        model.stop_training = False
        model.optimizer.learning_rate = 0.1
        callback.on_train_begin()
        answers = []
        for epoch, value in enumerate(curve):
            model.set_weights([np.full((1, 1), epoch)])
            callback.on_epoch_end(epoch, {"metric": value})
            answers.append([bool(model.stop_training), float(model.optimizer.learning_rate.numpy())])
            if model.stop_training:
                break
        callback.on_train_end()
        final = float(np.asarray(model.get_weights()[0]).item())
        sys.stdout.write(json.dumps([answers, final]) + "\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def keras_callbacks():
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    env = os.environ | {"KERAS_BACKEND": "numpy"}
    with subprocess.Popen([sys.executable, __file__], env=env, **pipes) as process:

        def answer(name, settings, curve):
            process.stdin.write(json.dumps([name, settings, curve]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield answer
        process.stdin.close()


def assert_stops_as_keras_does(rule, keras_callbacks, curve, keras_curve=None):
    settings = {"patience": rule.patience, "min_delta": rule.min_delta, "mode": rule.mode}
    theirs = curve if keras_curve is None else keras_curve
    answers, final = keras_callbacks("EarlyStopping", settings | {"restore_best_weights": True}, theirs)
    ours = until_stopped(decide(rule, curve))
    assert [decision.stop for decision in ours] == [stopped for stopped, _ in answers]
    assert ours[-1].best_epoch in (final, None)


def assert_reduces_as_keras_does(rule, keras_callbacks, curve, keras_curve=None):
    settings = dataclasses.asdict(rule)
    settings["min_lr"] = settings.pop("min_learning_rate")
    answers, _ = keras_callbacks("ReduceLROnPlateau", settings, curve if keras_curve is None else keras_curve)
    ours = [0.1 * decision.factor for decision in decide(rule, curve)]
    np.testing.assert_allclose(ours, [rate for _, rate in answers], rtol=1e-12)


@pytest.mark.parametrize(("mode", "curve"), [(mode, it) for mode in ("min", "max") for it in RECORDED if it != BROKEN])
def test_recorded_curves_are_judged_as_keras_judges_them(keras_callbacks, curve, mode):
    for patience in (0, 1, 2, 5, 15):
        for min_delta in (0.0, 1e-4, 0.02):
            stopping = EarlyStopping(patience=patience, min_delta=min_delta, mode=mode)
            assert_stops_as_keras_does(stopping, keras_callbacks, curve)
            for settings in ({"factor": 0.5, "cooldown": 0, "min_learning_rate": 1e-8}, {"cooldown": 2}):
                reducing = ReduceOnPlateau(patience=patience, min_delta=min_delta, mode=mode, **settings)
                assert_reduces_as_keras_does(reducing, keras_callbacks, curve)


def test_a_loss_that_breaks_and_recovers_is_judged_as_keras_judges_it(keras_callbacks):
    for patience in range(6):
        assert_stops_as_keras_does(EarlyStopping(patience=patience), keras_callbacks, BROKEN)
        assert_reduces_as_keras_does(ReduceOnPlateau(patience=patience, cooldown=1), keras_callbacks, BROKEN)


@given(EARLY, st.data())
def test_early_stopping_is_kerass_epoch_for_epoch(keras_callbacks, rule, data):
    assert_stops_as_keras_does(rule, keras_callbacks, data.draw(curves_both_understand(rule.mode)))


@given(PLATEAU, st.data())
def test_reducing_on_a_plateau_is_kerass_epoch_for_epoch(keras_callbacks, rule, data):
    assert_reduces_as_keras_does(rule, keras_callbacks, data.draw(curves_both_understand(rule.mode)))


@given(RULES, ANY_CURVE.filter(len))
def test_what_is_not_finite_acts_as_the_worst_value_does_in_keras(keras_callbacks, rule, curve):
    worst = math.inf if rule.mode == "min" else -math.inf
    keras_curve = [value if math.isfinite(value) else worst for value in curve]
    judge = assert_reduces_as_keras_does if isinstance(rule, ReduceOnPlateau) else assert_stops_as_keras_does
    judge(rule, keras_callbacks, curve, keras_curve)


def test_where_keras_differs_a_first_nan_is_not_the_best(keras_callbacks):
    curve = [math.nan, 1.0, 0.9, 0.8, 0.7, 0.6]
    settings = {"patience": 3, "mode": "min", "restore_best_weights": True}
    answers, final = keras_callbacks("EarlyStopping", settings, curve)
    assert (len(answers), final) == (4, 0)
    decisions = decide(EarlyStopping(patience=3), curve)
    assert (decisions[-1].stop, decisions[-1].best_epoch) == (False, 5)


if __name__ == "__main__":
    answer_as_keras()
