from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnrate._numbers import percent, rate, short
from learnrate.curves import LearningCurve
from learnrate.results import RangeTest, Recommendation, Sweep, Trial, TrialState, Verdict


def a_trial(number: int, learning_rate: float, value: float, state: TrialState = TrialState.COMPLETE) -> Trial:
    curve = LearningCurve.from_rows([(1, {"loss": 1.0, "val_loss": 2 * value}), (2, {"loss": 0.5, "val_loss": value})])
    return Trial(
        number=number,
        hyperparameters={"learning_rate": learning_rate},
        state=state,
        curve=curve,
        value=value if math.isfinite(value) else None,
        seed=0,
        seconds=0.1,
        epochs=2.0,
        horizon=2.0,
    )


def a_sweep() -> Sweep:
    return Sweep(
        trials=[a_trial(0, 1e-3, 0.5), a_trial(1, 10.0, math.nan, TrialState.DIVERGED)],
        metric="val_loss",
        mode="min",
        learning_rate=1e-3,
        value=0.5,
        epochs=2.0,
        horizon=2,
        untrained=2.0,
        verdict=Verdict.TOO_NARROW_LEFT,
        cost=2.0,
        seed=0,
        seconds=1.0,
        warnings=["mind the gap"],
    )


def test_a_result_survives_json_with_its_nan_and_arrays() -> None:
    sweep = a_sweep()
    back = Sweep.from_json(sweep.to_json())
    assert back.to_json() == sweep.to_json()
    assert back.trials[1].state is TrialState.DIVERGED
    np.testing.assert_array_equal(back.trials[1].curve.values("val_loss"), [math.nan, math.nan])


def test_a_printed_sweep_has_every_learning_rate_the_verdict_and_the_warnings() -> None:
    text = str(a_sweep())
    for part in ("1e-3", "10", "diverged", "are already the best; try smaller ones too", "mind the gap"):
        assert part in text


def test_every_verdict_but_found_says_what_to_try() -> None:
    for verdict in Verdict:
        assert verdict.message
        assert bool(verdict.advice) == (verdict is not Verdict.FOUND)


def test_an_answer_without_a_learning_rate_prints_why() -> None:
    empty = Recommendation(
        learning_rate=None,
        interval=None,
        confidence=None,
        breaks=None,
        epochs=None,
        horizon=5,
        value=None,
        untrained=None,
        reference=None,
        metric="val_loss",
        mode="min",
        cost=0.4,
        budget=2.0,
        verdict=Verdict.ALL_DIVERGED,
        slower=[],
        yours=None,
        trials=[],
        schedule={"name": "constant"},
        seed=0,
        seconds=0.0,
    )
    assert "no learning rate" in str(empty)
    assert "diverged" in str(empty)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0834, "0.083"), (12.0, "12"), (0, "0"), (-0.5, "-0.5"), (1234.0, "1234"), (1e-7, "1e-7"), (1e6, "1e6")],
)
def test_numbers_are_written_as_a_person_would(number: float, text: str) -> None:
    assert short(number) == text


@given(st.floats(1e-12, 1e12))
def test_a_written_learning_rate_reads_back_to_two_digits(number: float) -> None:
    assert float(rate(number)) == pytest.approx(number, rel=0.051)


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -math.inf])
def test_no_number_is_a_dash(nothing: float | None) -> None:
    assert short(nothing) == "–"
    assert rate(nothing) == "–"


def test_percentages_have_few_digits() -> None:
    assert [percent(x) for x in (0.004, 0.03, 0.244, 3.0)] == ["0.4 %", "3 %", "24 %", "over 100 %"]


def test_range_tests_go_to_json_and_back() -> None:
    ramp = np.array([1e-3, 1e-2, 1e-1])
    result = RangeTest(
        learning_rates=ramp,
        losses=np.array([1.0, 0.5, np.nan]),
        smoothed=ramp,
        loss_changes=ramp,
        metric="loss",
        suggestions={"valley": 1e-2, "slide": None},
        learning_rate=1e-2,
        verdict=Verdict.FOUND,
        cliff=0.1,
        seed=0,
        cost=0.1,
        seconds=0.0,
    )
    assert RangeTest.from_json(result.to_json()).suggestions == result.suggestions
    assert "valley 1e-2" in str(result)
    assert "slide" not in str(result)
