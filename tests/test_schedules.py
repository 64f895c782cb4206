from __future__ import annotations

import dataclasses
import functools
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
from learnrate.schedules import Schedule, as_values, by_name, describe, join

EPSILON = 1e-12


def between(low, high):
    return st.floats(low, high, allow_nan=False)


FLOOR, POSITIVE = between(0, 1), between(1e-6, 1)
CYCLES = {"num_cycles": between(0.1, 9), "rise_fraction": between(0.05, 0.95), "min_fraction": FLOOR}
SHAPE = st.sampled_from(["linear", "cosine", "sqrt"])
SETTINGS = {
    "constant": {},
    "linear": {"final_fraction": FLOOR, "decay_fraction": between(0.6, 1)},
    "step": {
        "factor": between(1e-3, 1),
        "milestones": st.lists(between(0.75, 1), min_size=1, max_size=5).map(sorted),
    },
    "exponential": {"final_fraction": POSITIVE},
    "inverse_time": {"final_fraction": POSITIVE},
    "polynomial": {"final_fraction": FLOOR, "power": between(0.1, 5)},
    "cosine": {"final_fraction": FLOOR},
    "cosine_restarts": {
        "num_cycles": st.integers(1, 6),
        "cycle_growth": between(1, 3),
        "peak_factor": between(0.1, 1),
        "final_fraction": FLOOR,
    },
    "one_cycle": {"rise_fraction": FLOOR, "start_fraction": FLOOR, "final_fraction": FLOOR, "shape": SHAPE},
    "triangular": CYCLES,
    "triangular2": CYCLES,
    "exp_range": CYCLES | {"final_height": POSITIVE},
    "warmup_stable_decay": {"decay_fraction": between(0, 0.5), "final_fraction": FLOOR, "shape": SHAPE},
}
CYCLICAL = {"triangular", "triangular2", "exp_range"}
FROM_THE_PEAK = set(SETTINGS) - CYCLICAL - {"one_cycle"}
MONOTONE = FROM_THE_PEAK - {"cosine_restarts"}
COMMON = {"warmup_fraction": between(0, 0.5), "num_epochs": st.none() | st.integers(1, 40)}
RATES = between(1e-8, 1e2)
STEPS = st.integers(1, 200)


@st.composite
def makers(draw, names=tuple(SETTINGS), **common):
    name = draw(st.sampled_from(sorted(names)))
    return by_name(name, **draw(st.fixed_dictionaries(SETTINGS[name] | COMMON | common)))


def in_steps(names):
    return makers(names, num_epochs=st.none())


def num_warmup(maker, slots):
    return round(maker.keywords["warmup_fraction"] * slots)


# Properties


@given(makers(), RATES, STEPS)
def test_every_rate_is_finite_and_between_zero_and_the_peak(maker, rate, steps):
    values = maker(rate, steps).values()
    assert values.shape == (steps,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= rate * (1 + EPSILON)


@given(makers(), RATES, STEPS)
def test_an_array_of_steps_gives_what_each_step_gives(maker, rate, steps):
    schedule = maker(rate, steps)
    one_by_one = [schedule(step) for step in range(steps)]
    assert all(type(value) is float for value in one_by_one)
    assert schedule(np.arange(steps)).tolist() == one_by_one == schedule.values().tolist()


@given(makers(), RATES, STEPS, between(1e-3, 1e3))
def test_rates_are_proportional_to_the_peak(maker, rate, steps, scale):
    # Below 1e-300 a float loses its digits, and with them any proportion.
    ours, theirs = maker(rate * scale, steps).values(), scale * maker(rate, steps).values()
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-300)


@given(in_steps(SETTINGS), RATES, STEPS)
def test_the_warmup_rises_evenly_to_the_peak(maker, rate, steps):
    warmup = num_warmup(maker, steps)
    rising = maker(rate, steps).values()[:warmup]
    np.testing.assert_allclose(rising, rate * np.arange(1, warmup + 1) / max(warmup, 1), rtol=1e-12)
    assert not warmup or rising[-1] == rate


@given(in_steps(FROM_THE_PEAK), RATES, STEPS)
def test_a_decay_begins_at_the_peak(maker, rate, steps):
    assert maker(rate, steps)(num_warmup(maker, steps)) == pytest.approx(rate, rel=EPSILON)


@given(in_steps(MONOTONE), RATES, STEPS)
def test_a_decay_never_rises_and_stays_above_its_floor(maker, rate, steps):
    falling = maker(rate, steps).values()[num_warmup(maker, steps) :]
    assert (np.diff(falling) <= EPSILON * rate).all()
    assert falling.min() >= rate * (maker.keywords.get("final_fraction", 0.0) - EPSILON)


@given(in_steps(MONOTONE - {"constant", "step", "warmup_stable_decay"}), RATES, st.integers(2, 200))
def test_a_floor_of_the_peak_is_a_constant(maker, rate, steps):
    flat = functools.partial(maker, final_fraction=1.0, warmup_fraction=0.0)
    np.testing.assert_allclose(flat(rate, steps).values(), rate, rtol=1e-12)


@given(in_steps(CYCLICAL), RATES, STEPS)
def test_a_cycle_stays_above_its_lower_bound(maker, rate, steps):
    cycling = maker(rate, steps).values()[num_warmup(maker, steps) :]
    assert cycling.min() >= rate * (maker.keywords["min_fraction"] - EPSILON)


@given(in_steps({"triangular"}), RATES, st.integers(1, 10), st.integers(1, 10))
def test_each_cycle_reaches_the_peak_once(maker, rate, cycles, half):
    maker = functools.partial(maker, num_cycles=cycles, rise_fraction=0.5, warmup_fraction=0.0)
    values = maker(rate, 2 * half * cycles).values()
    np.testing.assert_allclose(values[half :: 2 * half], rate, rtol=1e-9)


@given(in_steps({"one_cycle"}), RATES, st.integers(1, 20), st.integers(0, 20))
def test_one_cycle_reaches_the_peak_at_the_end_of_its_rise(maker, rate, up, down):
    maker = functools.partial(maker, rise_fraction=up / (up + down), warmup_fraction=0.0)
    assert maker(rate, up + down).values()[up - 1] == pytest.approx(rate, rel=1e-9)


@given(in_steps({"exponential", "inverse_time", "polynomial", "cosine"} | CYCLICAL), RATES, STEPS)
def test_a_shorter_run_samples_the_same_curve(maker, rate, steps):
    maker = functools.partial(maker, warmup_fraction=0.0)
    np.testing.assert_allclose(maker(rate, 3 * steps).values()[::3], maker(rate, steps).values(), atol=1e-9 * rate)


@given(makers(num_epochs=st.integers(1, 30)), RATES, st.integers(1, 30))
def test_by_epoch_each_epoch_holds_the_rate_of_a_schedule_laid_out_in_epochs(maker, rate, steps_per_epoch):
    epochs = maker.keywords["num_epochs"]
    by_epoch = maker(rate, epochs * steps_per_epoch).values().reshape(epochs, steps_per_epoch)
    in_epochs = functools.partial(maker, num_epochs=None)(rate, epochs).values()
    np.testing.assert_array_equal(by_epoch, np.repeat(in_epochs[:, None], steps_per_epoch, axis=1))


@given(makers(), RATES, STEPS)
def test_a_description_survives_json_and_makes_the_same_schedule(maker, rate, steps):
    description = json.loads(json.dumps(describe(maker)))
    again = by_name(description["name"], **description["settings"])
    assert describe(again) == description
    assert again(rate, steps) == maker(rate, steps)
    np.testing.assert_array_equal(again(rate, steps).values(), maker(rate, steps).values())


@given(st.lists(st.tuples(makers(), RATES, STEPS), min_size=1, max_size=4))
def test_joined_schedules_run_one_after_another(parts):
    parts = [maker(rate, steps) for maker, rate, steps in parts]
    joined = join(parts)
    np.testing.assert_array_equal(joined.values(), np.concatenate([part.values() for part in parts]))
    assert joined.total_steps == sum(part.total_steps for part in parts)
    assert joined.learning_rate == max(part.learning_rate for part in parts)
    assert json.loads(json.dumps(joined.settings))["schedules"][0]["name"] == parts[0].name


# Edges


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_run_of_one_step_has_one_rate(name):
    values = by_name(name)(0.1, 1).values()
    assert values.tolist() == [pytest.approx(0.025 if name in CYCLICAL else 0.1)]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_same_settings_are_described_whether_given_or_left_out(name):
    maker = getattr(schedules, name)
    bare = describe(maker)
    assert bare["name"] == name
    assert describe(functools.partial(maker, **bare["settings"])) == bare == describe(by_name(name))


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"linear", "step", "warmup_stable_decay"}))
def test_a_run_may_be_all_warmup(name):
    assert by_name(name, warmup_fraction=1)(1.0, 4).values().tolist() == [0.25, 0.5, 0.75, 1.0]


def test_a_step_past_the_end_has_the_last_rate():
    schedule = schedules.linear(1.0, 10)
    assert schedule(10) == schedule(10**12) == schedule(9)
    np.testing.assert_allclose(schedule(np.array([[8, 9], [10, 11]])), [[0.2, 0.1], [0.1, 0.1]])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_steps_may_be_of_any_integer_type(dtype):
    schedule = schedules.linear(1.0, 4)
    assert schedule(np.arange(6, dtype=dtype)).tolist() == [1.0, 0.75, 0.5, 0.25, 0.25, 0.25]
    assert schedule(dtype(2)) == 0.5
    assert schedules.linear(1.0, 1000)(np.arange(2, dtype=dtype)).tolist() == [1.0, 0.999]
    assert schedule(np.array([np.iinfo(dtype).max])).tolist() == [0.25]


def test_no_steps_have_no_rates():
    assert schedules.cosine(1.0, 4)(np.arange(0)).shape == (0,)


@pytest.mark.parametrize("step", [-1, np.array([0, -3]), 1.0, np.array([0.5]), True, "1", None, math.nan])
def test_a_step_that_is_negative_or_not_an_integer_is_refused(step):
    with pytest.raises(InvalidArgumentError, match="step"):
        schedules.cosine(0.1, 10)(step)


def test_a_schedule_cannot_be_changed():
    schedule = schedules.cosine(0.1, 10)
    schedule.values()[:] = 7
    schedule(np.arange(10))[:] = 7
    assert schedule(0) == 0.1
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.learning_rate = 1.0


def test_a_schedule_survives_pickling():
    schedule = schedules.step(0.1, 10, milestones=[0.3], warmup_fraction=0.2)
    again = pickle.loads(pickle.dumps(schedule))  # noqa: S301  # our own bytes, as other processes receive them
    assert again == schedule
    np.testing.assert_array_equal(again.values(), schedule.values())


def test_a_schedule_shows_what_it_was_made_of():
    maker = functools.partial(schedules.exponential, factor=0.95, num_epochs=100)
    assert repr(maker(0.001, 1000)) == (
        "Schedule(exponential, learning_rate=0.001, total_steps=1000, final_fraction=None, factor=0.95, num_epochs=100)"
    )


def test_milestones_drop_at_the_first_step_at_or_after_them():
    assert schedules.step(1.0, 3, factor=0.5, milestones=[0.1, 1.0]).values().tolist() == [1.0, 0.5, 0.5]
    assert schedules.step(1.0, 100, milestones=[0.07])(6) == 1.0
    assert schedules.step(1.0, 100, milestones=[0.07])(7) == pytest.approx(0.1)
    assert schedules.step(1.0, 100, milestones=[0.29])(28) == 1.0
    assert schedules.step(1.0, 100, milestones=[0.29])(29) == pytest.approx(0.1)


def test_a_milestone_at_the_end_of_the_warmup_drops_there():
    values = schedules.step(1.0, 10, milestones=[0.5], warmup_fraction=0.5).values()
    assert values[4:6].tolist() == [1.0, pytest.approx(0.1)]


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt"])
def test_one_cycle_reaches_the_peak_whatever_its_rise_rounds_to(shape):
    assert 15 / 22 * 22 < 15
    assert schedules.one_cycle(1.0, 22, rise_fraction=15 / 22, shape=shape)(14) == 1.0


def test_a_warmup_moves_neither_the_milestones_nor_the_end_of_a_decay():
    stepped = schedules.step(1.0, 100, milestones=[0.5], warmup_fraction=0.2)
    assert (stepped(49), stepped(50)) == (1.0, pytest.approx(0.1))
    fallen = schedules.linear(1.0, 100, final_fraction=0.5, decay_fraction=0.6, warmup_fraction=0.2)
    assert (fallen(40), fallen(60)) == (pytest.approx(0.75), 0.5)
    stable = schedules.warmup_stable_decay(1.0, 100, decay_fraction=0.2, warmup_fraction=0.8, shape="linear")
    assert (stable(79), stable(80), stable(81)) == (1.0, 1.0, pytest.approx(0.95))


# Errors


@pytest.mark.parametrize("rate", [0, -0.1, math.nan, math.inf, -math.inf, None, "0.1", True, 1j, [0.1]])
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_peak_that_is_not_positive_and_finite_is_refused(name, rate):
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        by_name(name)(rate, 10)


@pytest.mark.parametrize("steps", [0, -1, 2.0, math.nan, None, "10", True])
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_number_of_steps_that_is_not_a_positive_integer_is_refused(name, steps):
    with pytest.raises(InvalidArgumentError, match="total_steps"):
        by_name(name)(0.1, steps)


@pytest.mark.parametrize("setting", ["warmup_fraction", "final_fraction", "start_fraction", "rise_fraction"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True])
def test_a_fraction_outside_of_zero_to_one_is_refused_with_its_name(setting, value):
    with pytest.raises(InvalidArgumentError, match=setting):
        schedules.one_cycle(0.1, 10, **{setting: value})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cosine", {"num_epochs": 0}, "num_epochs"),
        ("cosine", {"num_epochs": 1.5}, "num_epochs"),
        ("linear", {"decay_fraction": 0.0}, "decay_fraction"),
        ("linear", {"decay_fraction": 0.3, "warmup_fraction": 0.3}, "decay_fraction"),
        ("warmup_stable_decay", {"decay_fraction": 0.6, "warmup_fraction": 0.5}, "sum of at most 1"),
        ("warmup_stable_decay", {"shape": "square"}, "linear, cosine, sqrt"),
        ("one_cycle", {"shape": None}, "shape"),
        ("step", {"factor": 0}, "factor"),
        ("step", {"factor": 1.5}, "factor"),
        ("step", {"milestones": []}, "milestones"),
        ("step", {"milestones": [0.5, 0.2]}, "rising order"),
        ("step", {"milestones": [0.0]}, "milestones"),
        ("step", {"milestones": [0.5, 30]}, "milestones"),
        ("step", {"milestones": 0.5}, "milestones"),
        ("step", {"milestones": [0.2], "warmup_fraction": 0.3}, "warm-up"),
        ("step", {"every_fraction": 0}, "every_fraction"),
        ("step", {"milestones": [0.5], "every_fraction": 0.1}, "one of them"),
        ("exponential", {"final_fraction": 0}, "final_fraction"),
        ("exponential", {"factor": 0.95}, "num_epochs"),
        ("exponential", {"factor": 0.95, "num_epochs": 10, "final_fraction": 0.1}, "final_fraction"),
        ("exponential", {"factor": 1.05, "num_epochs": 10}, "factor"),
        ("inverse_time", {"final_fraction": 0}, "final_fraction"),
        ("polynomial", {"power": 0}, "power"),
        ("polynomial", {"power": math.inf}, "power"),
        ("cosine_restarts", {"num_cycles": 2.5}, "num_cycles"),
        ("cosine_restarts", {"cycle_growth": 0.5}, "cycle_growth"),
        ("triangular", {"num_cycles": 0}, "num_cycles"),
        ("triangular", {"rise_fraction": 0}, "rise_fraction"),
        ("triangular2", {"rise_fraction": 1}, "rise_fraction"),
        ("exp_range", {"min_fraction": 1.2}, "min_fraction"),
        ("exp_range", {"final_height": 0}, "final_height"),
        ("cosine", {"final_fracton": 0.1}, "final_fraction, warmup_fraction, num_epochs"),
        ("cosine", {"name": "cosine"}, "its settings are final_fraction"),
        ("cosine", {"learning_rate": 0.1}, "its settings are final_fraction"),
        ("cosin", {}, "constant, linear, step, exponential"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_training(name, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        by_name(name, **settings)


@pytest.mark.parametrize("parts", [[], [0.1], [schedules.cosine]])
def test_only_schedules_can_be_joined(parts):
    with pytest.raises(InvalidArgumentError, match="join"):
        join(parts)


# Makers of the user's own


def my_maker(learning_rate, total_steps, *, power=1, data=None):
    return lambda step: learning_rate / (1 + step) ** power


class MyMaker:
    def __call__(self, learning_rate, total_steps):
        return my_maker(learning_rate, total_steps)


def test_a_maker_of_the_users_own_is_described_by_name():
    assert describe(my_maker) == {"name": "my_maker", "settings": {}, "custom": True}
    assert describe(MyMaker()) == {"name": "MyMaker", "settings": {}, "custom": True}
    assert describe(lambda rate, steps: schedules.cosine(rate, steps // 2))["custom"]
    given = functools.partial(my_maker, power=2, data=object())
    assert describe(given) == {"name": "my_maker", "settings": {"power": 2}, "custom": True}


def test_a_maker_of_the_users_own_may_share_a_name():
    def cosine(learning_rate, total_steps):
        return schedules.cosine(learning_rate, total_steps)

    cosine.__qualname__ = "cosine"
    assert describe(cosine)["custom"]


@pytest.mark.parametrize("maker", [None, 0.1, "cosine"])
def test_what_is_not_a_maker_is_refused(maker):
    with pytest.raises(InvalidArgumentError, match="maker"):
        describe(maker)


def test_a_partial_that_cannot_be_called_is_refused_before_training():
    with pytest.raises(InvalidArgumentError, match="its settings are final_fraction"):
        describe(functools.partial(schedules.cosine, 0.1))


def test_any_function_of_the_step_gives_values():
    np.testing.assert_array_equal(as_values(my_maker(1.0, 4), 1, 4), [1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_array_equal(as_values(lambda step: np.float32(0.5), 0, 2), [0.5, 0.5])
    assert as_values(schedules.cosine(1.0, 4), 2, 6).tolist() == pytest.approx([0.5, 0.1464466, 0.1464466, 0.1464466])
    assert as_values(my_maker(1.0, 4), 3, 3).shape == as_values(schedules.cosine(1.0, 4), 3, 3).shape == (0,)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1e-9, None, "fast", [0.1, 0.2]])
def test_a_rate_that_cannot_be_used_is_refused_with_its_step(rate):
    with pytest.raises(InvalidArgumentError, match="at step 3"):
        as_values(lambda step: rate if step == 3 else 0.1, 0, 5)


@pytest.mark.parametrize("steps", [(-1, 3), (3, 2), (0.0, 3), (0, None)])
@pytest.mark.parametrize("schedule", [schedules.cosine(0.1, 10), my_maker(0.1, 10)])
def test_a_span_of_steps_that_is_none_is_refused(schedule, steps):
    with pytest.raises(InvalidArgumentError, match="step"):
        as_values(schedule, *steps)


def test_a_schedule_that_cannot_be_called_is_refused():
    with pytest.raises(InvalidArgumentError, match="maps a step"):
        as_values(0.1, 0, 3)


def test_an_error_inside_the_users_schedule_reaches_the_user():
    with pytest.raises(ZeroDivisionError):
        as_values(lambda step: 1 / (2 - step), 0, 5)


# The frameworks' own schedules


def torch_values(make, learning_rate, num_steps):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


CYCLIC = {"base_lr": 1e-3, "max_lr": 0.1, "cycle_momentum": False}
ONE_CYCLE = {"max_lr": 0.1, "total_steps": 70, "cycle_momentum": False}
TORCH = {
    "CosineAnnealingLR": (
        lambda lr, it: lr.CosineAnnealingLR(it, T_max=70, eta_min=0.01),
        by_name("cosine", final_fraction=0.1),
    ),
    "CosineAnnealingWarmRestarts doubled": (
        lambda lr, it: lr.CosineAnnealingWarmRestarts(it, T_0=10, T_mult=2, eta_min=0.01),
        by_name("cosine_restarts", num_cycles=3, cycle_growth=2, final_fraction=0.1),
    ),
    "CosineAnnealingWarmRestarts": (
        lambda lr, it: lr.CosineAnnealingWarmRestarts(it, T_0=10),
        by_name("cosine_restarts", num_cycles=7, cycle_growth=1),
    ),
    "OneCycleLR": (lambda lr, it: lr.OneCycleLR(it, **ONE_CYCLE), by_name("one_cycle")),
    "OneCycleLR linear": (
        lambda lr, it: lr.OneCycleLR(
            it, **ONE_CYCLE, pct_start=0.45, anneal_strategy="linear", div_factor=10, final_div_factor=100
        ),
        by_name("one_cycle", rise_fraction=0.45, start_fraction=0.1, final_fraction=1e-3, shape="linear"),
    ),
    "StepLR": (
        lambda lr, it: lr.StepLR(it, step_size=20, gamma=0.3),
        by_name("step", factor=0.3, every_fraction=20 / 70),
    ),
    "MultiStepLR": (
        lambda lr, it: lr.MultiStepLR(it, milestones=[7, 21, 50], gamma=0.3),
        by_name("step", factor=0.3, milestones=[7 / 70, 21 / 70, 50 / 70]),
    ),
    "ExponentialLR": (
        lambda lr, it: lr.ExponentialLR(it, gamma=0.95),
        by_name("exponential", final_fraction=0.95**70),
    ),
    "LinearLR": (
        lambda lr, it: lr.LinearLR(it, start_factor=1.0, end_factor=0.2, total_iters=35),
        by_name("linear", final_fraction=0.2, decay_fraction=0.5),
    ),
    "LinearLR as warm-up": (
        lambda lr, it: lr.LinearLR(it, start_factor=1 / 7, total_iters=6),
        by_name("constant", warmup_fraction=0.1),
    ),
    "PolynomialLR": (
        lambda lr, it: lr.PolynomialLR(it, total_iters=70, power=2.5),
        by_name("polynomial", power=2.5),
    ),
    "ConstantLR": (lambda lr, it: lr.ConstantLR(it, factor=1.0), by_name("constant")),
    "CyclicLR triangular": (
        lambda lr, it: lr.CyclicLR(it, **CYCLIC, step_size_up=10),
        by_name("triangular", num_cycles=3.5, min_fraction=0.01),
    ),
    "CyclicLR triangular, up and down unlike": (
        lambda lr, it: lr.CyclicLR(it, **CYCLIC, step_size_up=6, step_size_down=8),
        by_name("triangular", num_cycles=5, min_fraction=0.01, rise_fraction=6 / 14),
    ),
    "CyclicLR triangular2": (
        lambda lr, it: lr.CyclicLR(it, **CYCLIC, step_size_up=7, mode="triangular2"),
        by_name("triangular2", num_cycles=5, min_fraction=0.01),
    ),
    "CyclicLR exp_range": (
        lambda lr, it: lr.CyclicLR(it, **CYCLIC, step_size_up=7, mode="exp_range", gamma=0.97),
        by_name("exp_range", num_cycles=5, min_fraction=0.01, final_height=0.97**70),
    ),
    "SequentialLR": (
        lambda lr, it: lr.SequentialLR(
            it, [lr.ConstantLR(it, factor=0.5, total_iters=99), lr.ExponentialLR(it, gamma=0.9)], milestones=[30]
        ),
        lambda rate, steps: join(
            [schedules.constant(rate / 2, 30), schedules.exponential(rate, steps - 30, final_fraction=0.9**40)]
        ),
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns of its own deprecated `epoch` argument
@pytest.mark.parametrize("name", TORCH)
def test_rates_equal_torchs(name):
    make, maker = TORCH[name]
    np.testing.assert_allclose(maker(0.1, 70).values(), torch_values(make, 0.1, 70), rtol=0, atol=1e-6 * 0.1)


def test_a_cycle_by_epoch_equals_torchs_stepped_once_an_epoch():
    cyclic = {"base_lr": 1e-4, "max_lr": 1e-2, "step_size_up": 20, "step_size_down": 20, "cycle_momentum": False}
    theirs = torch_values(lambda lr, it: lr.CyclicLR(it, mode="triangular2", **cyclic), 0.1, 100)
    maker = by_name("triangular2", num_cycles=2.5, min_fraction=0.01, num_epochs=100)
    np.testing.assert_allclose(maker(1e-2, 500).values(), np.repeat(theirs, 5), rtol=1e-6)


# Keras and optax answer in a process of their own: each may choose its backend once, and for the whole process.
ELSEWHERE = {
    "keras ExponentialDecay staircase": by_name("exponential", factor=0.5, num_epochs=7),
    "keras ExponentialDecay staircase as steps": by_name("step", factor=0.5, every_fraction=1 / 7),
    "keras ExponentialDecay": by_name("exponential", final_fraction=0.5**7),
    "keras InverseTimeDecay": by_name("inverse_time", final_fraction=0.1),
    "keras InverseTimeDecay staircase": by_name("inverse_time", final_fraction=1 / 15, num_epochs=7),
    "keras PolynomialDecay": by_name("polynomial", power=2, final_fraction=0.2),
    "keras CosineDecay": by_name("cosine", final_fraction=0.2),
    "keras CosineDecayRestarts": by_name("cosine_restarts", peak_factor=0.8, final_fraction=0.2),
    "keras CosineDecayRestarts even": by_name("cosine_restarts", num_cycles=7, cycle_growth=1),
    "keras PiecewiseConstantDecay": by_name("step", milestones=[0.5, 0.7]),
    "optax constant": by_name("constant"),
    "optax linear": by_name("linear", final_fraction=0.2, decay_fraction=0.5),
    "optax exponential staircase": by_name("exponential", factor=0.5, num_epochs=7),
    "optax polynomial": by_name("polynomial", power=2, final_fraction=0.2),
    "optax cosine": by_name("cosine", final_fraction=0.2),
    "optax piecewise": by_name("step", milestones=[0.5, 0.7]),
    "optax warm-up and cosine": by_name("cosine", warmup_fraction=0.1, final_fraction=0.2),
}


def print_values_elsewhere(framework):
    values = {}
    if framework == "keras":
        import keras

        keras.config.set_floatx("float64")
        made = keras.optimizers.schedules
        values = {
            "ExponentialDecay staircase": made.ExponentialDecay(0.1, 10, 0.5, staircase=True),
            "ExponentialDecay staircase as steps": made.ExponentialDecay(0.1, 10, 0.5, staircase=True),
            "ExponentialDecay": made.ExponentialDecay(0.1, 10, 0.5),
            "InverseTimeDecay": made.InverseTimeDecay(0.1, 70, 9.0),
            "InverseTimeDecay staircase": made.InverseTimeDecay(0.1, 10, 2.0, staircase=True),
            "PolynomialDecay": made.PolynomialDecay(0.1, 70, end_learning_rate=0.02, power=2.0),
            "CosineDecay": made.CosineDecay(0.1, 70, alpha=0.2),
            "CosineDecayRestarts": made.CosineDecayRestarts(0.1, 10, t_mul=2.0, m_mul=0.8, alpha=0.2),
            "CosineDecayRestarts even": made.CosineDecayRestarts(0.1, 10, t_mul=1.0),
            # Keras drops after its boundary, not at it.
            "PiecewiseConstantDecay": made.PiecewiseConstantDecay([34, 48], [0.1, 0.01, 0.001]),
        }
    else:
        import optax

        warm = optax.warmup_cosine_decay_schedule(0.0, 0.1, 7, 70, end_value=0.02)
        values = {
            "constant": optax.constant_schedule(0.1),
            "linear": optax.linear_schedule(0.1, 0.02, 35),
            "exponential staircase": optax.exponential_decay(0.1, 10, 0.5, staircase=True),
            "polynomial": optax.polynomial_schedule(0.1, 0.02, 2, 70),
            "cosine": optax.cosine_decay_schedule(0.1, 70, alpha=0.2),
            "piecewise": optax.piecewise_constant_schedule(0.1, {35: 0.1, 49: 0.1}),
            # optax's warm-up begins at rate 0, ours one step later on the same line.
            "warm-up and cosine": lambda step: warm(step + 1 if step < 7 else step),
        }
    rates = {f"{framework} {name}": [float(rate(step)) for step in range(70)] for name, rate in values.items()}
    sys.stdout.write(json.dumps(rates))


@functools.cache
def values_elsewhere(framework):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    asked = [sys.executable, __file__, framework]
    env = os.environ | {"KERAS_BACKEND": "numpy", "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    return json.loads(subprocess.run(asked, env=env, capture_output=True, check=True, text=True).stdout)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_rates_equal_those_of_keras_and_optax(name):
    theirs = values_elsewhere(name.split()[0])[name]
    np.testing.assert_allclose(ELSEWHERE[name](0.1, 70).values(), theirs, rtol=0, atol=1e-6 * 0.1)


def test_a_decay_by_epoch_is_the_formula_of_a_scheduler_callback():
    schedule = by_name("exponential", factor=0.95, num_epochs=100)(0.001, 1700)
    theirs = [0.001 * 0.95 ** (step // 17) for step in range(1700)]
    np.testing.assert_allclose(schedule.values(), theirs, rtol=1e-12)
    assert isinstance(schedule, Schedule)


if __name__ == "__main__":
    print_values_elsewhere(sys.argv[1])
