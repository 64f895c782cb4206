from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from learnrate.errors import InvalidArgumentError
from learnrate.results import Verdict
from learnrate.suggestions import RULES, analyse, broken_at, smooth


def curve(rates, *, descent=1e-3, cliff=0.3, floor=0.5, start=2.0):
    """A loss that falls by half at `descent` and stands where it began again at `cliff`."""
    fallen = (start - floor) / (1 + (descent / rates) ** 2)
    with np.errstate(over="ignore"):
        return start - fallen + (start - floor) * (rates / cliff) ** 4


def noisy(count=100, *, low=1e-7, high=10.0, noise=0.02, seed=0, **shape):
    rates = np.geomspace(low, high, count)
    return rates, curve(rates, **shape) + noise * np.random.default_rng(seed).standard_normal(count)


def decades(one, other):
    return abs(math.log10(one / other))


# Smoothing


@given(
    value=st.floats(-1e30, 1e30),
    count=st.integers(1, 60),
    bandwidth=st.floats(0.01, 3.0),
)
def test_smoothing_a_constant_returns_it(value, count, bandwidth):
    result = smooth(np.linspace(-7, 1, count), np.full(count, value), bandwidth)
    np.testing.assert_array_equal(result.values, value)
    np.testing.assert_array_equal(result.slopes, 0)


@given(
    slope=st.floats(-100, 100), start=st.floats(-100, 100), gaps=st.lists(st.floats(0.01, 2.0), min_size=2, max_size=40)
)
def test_smoothing_a_straight_line_returns_it_so_there_is_no_lag(slope, start, gaps):
    x = np.cumsum(gaps)
    result = smooth(x, start + slope * x, 0.4)
    np.testing.assert_allclose(result.values, start + slope * x, atol=1e-7)
    np.testing.assert_allclose(result.slopes, slope, atol=1e-6)


def test_smoothing_by_decades_removes_more_noise_where_steps_are_denser():
    few, many = (smooth(np.linspace(-7, 1, count), np.zeros(count)).noise_left for count in (100, 1000))
    assert np.median(many) == pytest.approx(np.median(few) / math.sqrt(10), rel=0.1)


def test_smoothing_agrees_with_a_weighted_fit_written_plainly():
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(-7, 1, 50))
    y = rng.standard_normal(50)
    result = smooth(x, y, 1.0)
    for i in range(50):
        weight = np.sqrt(np.clip(1 - np.abs(x - x[i]) ** 3, 0, None) ** 3)
        slope, value = np.polyfit(x - x[i], y, 1, w=weight)
        assert result.values[i] == pytest.approx(value)
        assert result.slopes[i] == pytest.approx(slope)


# What does not move


@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 20),
)
@settings(deadline=None)
def test_scaling_or_shifting_the_losses_moves_nothing(scale, shift, seed):
    rates, losses = noisy(seed=seed)
    assume(abs(shift) < 1e6 * scale)
    plain, moved = analyse(rates, losses), analyse(rates, scale * losses + shift)
    assert moved.verdict is plain.verdict
    assert moved.cliff == plain.cliff
    for name, value in plain.suggestions.items():
        assert moved.suggestions[name] == (None if value is None else pytest.approx(value, rel=1e-3))


@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
@settings(deadline=None)
def test_scaling_the_learning_rates_scales_the_suggestions(factor, seed):
    rates, losses = noisy(seed=seed)
    plain, moved = analyse(rates, losses), analyse(factor * rates, losses)
    assert moved.verdict is plain.verdict
    for name, value in plain.suggestions.items():
        assert moved.suggestions[name] == (None if value is None else pytest.approx(factor * value, rel=1e-6))


@pytest.mark.parametrize("spacing", [np.geomspace, np.linspace])
@pytest.mark.parametrize("rule", list(RULES))
def test_a_rule_stays_put_on_the_same_curve_from_100_to_1000_steps(rule, spacing):
    low = 1e-7 if spacing is np.geomspace else 1e-4
    few, many = (
        analyse(rates, curve(rates, descent=0.1, cliff=5.0)).suggestions[rule]
        for rates in (spacing(low, 1.0, 100), spacing(low, 1.0, 1000))
    )
    assert decades(few, many) < math.log10(1.5)


def test_single_precision_gives_what_double_precision_gives():
    rates, losses = noisy()
    double = analyse(rates, losses)
    single = analyse(rates.astype(np.float32), losses.astype(np.float32))
    assert single.verdict is double.verdict
    for name, value in double.suggestions.items():
        assert single.suggestions[name] == pytest.approx(value, rel=1e-3)


# What the rules find


def test_each_rule_finds_what_its_name_says_on_a_plain_curve():
    analysis = analyse(*noisy(400, noise=0.001))
    found = analysis.suggestions
    assert analysis.verdict is Verdict.FOUND
    assert decades(found["steepest"], 1e-3) < 0.15
    assert decades(found["valley"], 1e-3) < 0.3
    lowest = analysis.smoothed[:-5].argmin()
    assert found["minimum / 10"] == pytest.approx(np.geomspace(1e-7, 10, 400)[lowest] / 10)
    assert found["slide"] < found["steepest"]
    assert analysis.cliff / 200 <= found["learnrate"] <= analysis.cliff / 20


@given(
    descent=st.floats(-5, -2),
    width=st.floats(0.5, 3),
    noise=st.floats(0, 0.3),
    count=st.integers(8, 300),
    lost=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_suggestion_is_never_at_or_above_the_cliff(descent, width, noise, count, lost):
    cliff = 10 ** (descent + width)
    rates, losses = noisy(count, noise=noise, descent=10**descent, cliff=cliff)
    if lost:
        losses[rates > 3 * cliff] = np.nan
    analysis = analyse(rates, losses)
    if analysis.cliff is not None:
        assert all(value < analysis.cliff for value in analysis.suggestions.values() if value is not None)
    assert all(value is None or (math.isfinite(value) and value > 0) for value in analysis.suggestions.values())


def test_a_slower_climb_is_trusted_more():
    """On the same curve, our suggestion lies nearer to where the descent ends when the steps are denser."""
    few, many = (
        analyse(rates, curve(rates, cliff=1e9)).suggestions["learnrate"]
        for rates in (np.geomspace(1e-7, 10, count) for count in (100, 1000))
    )
    assert few < many


def test_a_quicker_climb_s_cliff_bounds_our_suggestion():
    rates, losses = noisy(descent=1e-2, cliff=1.0)
    alone, bounded = analyse(rates, losses), analyse(rates, losses, cliff=0.3)
    assert bounded.cliff == 0.3 < alone.cliff
    assert bounded.suggestions["learnrate"] <= 0.3 / 20 < alone.suggestions["learnrate"]


def test_a_quicker_climb_that_only_stumbled_is_not_heeded():
    rates, losses = noisy(descent=1e-2, cliff=5.0)
    alone, stumbled = analyse(rates, losses), analyse(rates, losses, cliff=1e-3)
    assert stumbled.suggestions == alone.suggestions
    assert stumbled.cliff == alone.cliff


@pytest.mark.parametrize(("times", "doubtful"), [(6, True), (15, False)])
def test_a_fall_of_less_than_ten_times_the_noise_is_doubtful(times, doubtful):
    fall = 1.5
    analyses = [analyse(*noisy(200, noise=fall / times, seed=seed)) for seed in range(20)]
    assert {analysis.verdict for analysis in analyses} == {Verdict.FOUND}
    assert {any("times its noise" in it for it in analysis.warnings) for analysis in analyses} == {doubtful}


@pytest.mark.parametrize(("place", "moved", "doubtful"), [(20, 1 / 2, 1 / 4), (200, 2, 4)])
def test_a_cliff_that_moves_our_suggestion_by_more_than_a_factor_of_three_makes_it_doubtful(place, moved, doubtful):
    rates, losses = noisy(1000, descent=1e-2, cliff=1.0)
    free = analyse(rates, losses).suggestions["learnrate"]
    for factor in (moved, doubtful):
        analysis = analyse(rates, losses, cliff=place * factor * free)
        assert analysis.suggestions["learnrate"] == pytest.approx(factor * free)
        assert any("the cliff: our" in it for it in analysis.warnings) is (factor == doubtful)


def test_the_loss_changes_are_the_smoothed_loss_s_steps():
    rates, losses = noisy(400, noise=0.0)
    analysis = analyse(rates, losses)
    before_the_cliff = slice(5, 200)
    np.testing.assert_allclose(
        analysis.loss_changes[before_the_cliff], np.gradient(analysis.smoothed)[before_the_cliff], atol=2e-3
    )


def test_a_validation_loss_breaks_where_the_training_loss_does():
    rates, training = noisy()
    drifting = 2.0 + 1e-9 * rates**0.5 - 1.5 / (1 + (1e-3 / rates) ** 2)
    analysis = analyse(rates, drifting, training_losses=training)
    assert analysis.cliff == analyse(rates, training).cliff
    assert analysis.verdict is Verdict.FOUND


# Where training broke


@pytest.mark.parametrize("count", [20, 50, 200])
def test_noise_alone_breaks_hardly_ever(count):
    curves = [np.random.default_rng(seed).standard_normal(count) for seed in range(200)]
    assert sum(broken_at(losses) is not None for losses in curves) <= 1
    assert sum(broken_at(losses, complete=False) is not None for losses in curves) <= 1


def test_two_wild_losses_break_nothing_and_three_do():
    losses = np.full(40, 1.0) + 0.01 * np.random.default_rng(0).standard_normal(40)
    losses[20:22] = 1e6
    assert broken_at(losses) is None
    losses[22] = 1e6
    assert broken_at(losses) == 20


@pytest.mark.parametrize("start", [-50.0, 0.0, 1e9])
def test_a_loss_may_be_negative_zero_or_enormous(start):
    losses = noisy()[1]
    assert broken_at(losses + start) == broken_at(losses)


def test_nan_and_infinity_break_at_once_even_while_the_test_runs():
    for lost in (np.nan, np.inf, -np.inf):
        assert broken_at([1.0, 0.9, lost, 0.8], complete=False) == 2
        assert broken_at([lost]) == 0


def test_the_last_two_steps_are_not_judged_while_the_test_runs():
    losses = [1.0, 1.1, 0.9, 1.0, 0.95] * 5 + [50.0, 60.0, 70.0]
    assert broken_at(losses) == 25
    assert broken_at(losses, complete=False) == 25
    assert broken_at(losses[:-1], complete=False) is None


# Verdicts


def test_too_few_points_tell_nothing():
    for count in (1, 2, 3, 4):
        analysis = analyse(np.geomspace(1e-3, 1, count), np.linspace(2, 1, count))
        assert analysis.verdict is Verdict.NOISY
        assert set(analysis.suggestions.values()) == {None}
        assert len(analysis.smoothed) == len(analysis.loss_changes) == count


def test_a_constant_loss_is_flat():
    analysis = analyse(np.geomspace(1e-7, 10, 100), np.full(100, 3.0))
    assert analysis.verdict is Verdict.FLAT
    assert set(analysis.suggestions.values()) == {None}
    assert analysis.cliff is None


def test_noise_without_descent_is_flat():
    verdicts = [
        analyse(np.geomspace(1e-7, 10, 100), np.random.default_rng(seed).standard_normal(100)).verdict
        for seed in range(100)
    ]
    assert verdicts.count(Verdict.FLAT) > 95


def test_a_cliff_without_a_descent_before_it_is_noisy_and_only_we_guess():
    rates, losses = noisy(floor=1.9999, noise=0.05)
    losses += (rates / 0.3) ** 4
    analysis = analyse(rates, losses)
    assert analysis.verdict is Verdict.NOISY
    assert [name for name, value in analysis.suggestions.items() if value is not None] == ["learnrate"]
    assert any("no plain descent" in warning for warning in analysis.warnings)


def test_a_loss_that_rises_from_the_first_step_asks_for_smaller_rates():
    rates = np.geomspace(1e-3, 10, 60)
    noise = 0.02 * np.random.default_rng(0).standard_normal(60)
    analysis = analyse(rates, 4.0 + np.log10(rates) + noise)
    assert analysis.verdict is Verdict.TOO_NARROW_LEFT


def test_a_loss_that_falls_at_once_asks_for_smaller_rates():
    assert analyse(*noisy(low=1e-3)).verdict is Verdict.TOO_NARROW_LEFT
    assert analyse(*noisy(low=1e-6)).verdict is Verdict.FOUND


def test_a_loss_that_still_falls_at_the_end_asks_for_larger_rates():
    analysis = analyse(*noisy(high=1e-3))
    assert analysis.verdict is Verdict.TOO_NARROW_RIGHT
    assert analysis.cliff is None


def test_a_loss_that_levels_off_without_breaking_is_found_with_a_warning():
    analysis = analyse(*noisy(cliff=1e9))
    assert analysis.verdict is Verdict.FOUND
    assert any("nothing broke" in warning for warning in analysis.warnings)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_divergence_at_once_is_said(lost):
    for kept in (0, 1, 2):
        losses = np.full(50, lost)
        losses[:kept] = 2.0
        analysis = analyse(np.geomspace(1e-7, 10, 50), losses)
        assert analysis.verdict is Verdict.ALL_DIVERGED
        assert analysis.cliff == np.geomspace(1e-7, 10, 50)[kept]


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_tail_of_nan_or_infinity_ends_the_curve(lost):
    rates, losses = noisy()
    plain = analyse(rates, losses)
    place = int(np.searchsorted(rates, plain.cliff))
    losses[place + 3 :] = lost
    analysis = analyse(rates, losses)
    assert analysis.verdict is Verdict.FOUND
    assert np.isfinite(analysis.smoothed[: place + 3]).all()
    assert np.isnan(analysis.smoothed[place + 3 :]).all()
    assert decades(analysis.suggestions["learnrate"], plain.suggestions["learnrate"]) < 0.1


def test_an_explosion_does_not_reach_back_over_the_cliff():
    rates, losses = noisy(noise=0.001)
    exploding = losses.copy()
    exploding[rates > 1] = 1e30
    plain, wild = analyse(rates, losses), analyse(rates, exploding)
    for name, value in plain.suggestions.items():
        assert wild.suggestions[name] == pytest.approx(value, rel=0.05)


def test_few_steps_and_wide_gaps_are_warned_of():
    assert any("raise num_steps" in warning for warning in analyse(*noisy(12)).warnings)
    rates = np.linspace(1e-7, 10, 100)
    assert any("exponential spacing" in warning for warning in analyse(rates, curve(rates)).warnings)


@pytest.mark.parametrize(
    ("rates", "losses"),
    [
        ([], []),
        ([1.0, 2.0], [1.0]),
        ([2.0, 1.0], [1.0, 1.0]),
        ([1.0, 1.0], [1.0, 1.0]),
        ([0.0, 1.0], [1.0, 1.0]),
        ([-1.0, 1.0], [1.0, 1.0]),
        ([1.0, np.nan], [1.0, 1.0]),
        ([[1.0]], [[1.0]]),
    ],
)
def test_curves_that_cannot_be_read_are_refused(rates, losses):
    with pytest.raises(InvalidArgumentError):
        analyse(rates, losses)
