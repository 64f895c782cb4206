"""What a training is told in the light of those at other learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learnrate
from learnrate._diagnosis.beside import beside_each_other
from learnrate.errors import InvalidArgumentError
from learnrate.results import DiagnosisVerdict, Sweep, TrialState

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCHS = np.arange(1.0, 101.0)


def falling(speed: float, bottom: float, *, rises: float = 0.0) -> dict[str, np.ndarray]:
    fall = np.exp(-speed * EPOCHS)
    return {"loss": fall, "val_loss": bottom + (1 - bottom) * fall + rises * np.maximum(EPOCHS - 20, 0)}


SLOW, FAST = falling(0.05, 0.33), falling(0.5, 0.3)
"""The slow one is within its last few hundredths at the end: alone nothing speaks against it."""


def verdicts(curves: dict[float, dict[str, np.ndarray]], **settings: object) -> dict[float, DiagnosisVerdict]:
    found = learnrate.compare(curves, **settings)
    return {trial.learning_rate: trial.diagnosis.verdict for trial in found.trials if trial.diagnosis is not None}


def test_a_curve_that_looks_healthy_is_too_slow_where_a_larger_rate_was_there_early_and_went_further() -> None:
    alone = learnrate.diagnose(SLOW)
    beside = learnrate.compare({1e-5: SLOW, 1e-3: FAST}).trials[0].diagnosis
    assert alone.verdict is DiagnosisVerdict.HEALTHY
    assert beside is not None
    assert beside.verdict is DiagnosisVerdict.TOO_SLOW
    assert "which 1e-3 had reached by epoch 7" in beside.evidence
    assert beside.findings[0].kind == "too slow"


@pytest.mark.parametrize(
    "beside",
    [
        {1e-3: falling(0.5, 0.329)},  # went no further by what counts
        {1e-7: FAST},  # is no larger rate
        {1e-3: falling(0.06, 0.3)},  # was hardly earlier
        {},
    ],
)
def test_it_stays_healthy_where_no_larger_rate_shows_it_up(beside: dict[float, dict[str, np.ndarray]]) -> None:
    assert verdicts({1e-5: SLOW} | beside)[1e-5] is DiagnosisVerdict.HEALTHY


def test_what_overfits_far_above_a_smaller_rates_best_is_told_to_go_slower() -> None:
    found = learnrate.compare({1e-3: FAST, 0.1: falling(0.5, 0.5, rises=0.01)})
    diagnosis = found.trials[1].diagnosis
    assert diagnosis is not None
    assert diagnosis.verdict is DiagnosisVerdict.OVERFITTING
    assert diagnosis.advice.startswith("Use a smaller learning rate: 1e-3 reaches val_loss 0.3, this one never comes")


def test_what_overfits_at_the_best_value_of_all_keeps_its_advice() -> None:
    found = learnrate.compare({1e-3: falling(0.5, 0.3, rises=0.01), 1e-5: SLOW})
    diagnosis = found.trials[0].diagnosis
    assert diagnosis is not None
    assert diagnosis.advice.startswith("Stop at epoch 20")


@settings(deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100))
def test_neither_scale_nor_shift_nor_sign_of_the_metric_matters(scale: float, shift: float) -> None:
    curves = {1e-5: SLOW["val_loss"], 1e-3: FAST["val_loss"], 1e-2: falling(0.5, 0.5, rises=0.01)["val_loss"]}
    plain = verdicts({each: {"val_loss": y} for each, y in curves.items()})
    moved = verdicts({each: {"val_loss": scale * (y + shift)} for each, y in curves.items()})
    turned = verdicts({each: {"val_score": -y} for each, y in curves.items()}, metric="val_score", mode="max")
    assert plain[1e-5] is DiagnosisVerdict.TOO_SLOW
    assert plain == moved == turned


def test_the_order_of_the_trainings_does_not_matter() -> None:
    curves = {1e-5: SLOW, 1e-3: FAST, 1e-2: falling(0.5, 0.5, rises=0.01)}
    assert verdicts(curves) == verdicts(dict(reversed(curves.items())))


def test_trainings_that_diverged_failed_or_show_nothing_are_left_alone() -> None:
    nan = {"loss": np.full(100, np.nan), "val_loss": np.full(100, np.nan)}
    found = learnrate.compare({1e-5: SLOW, 1e-3: FAST, 1.0: nan})
    failed = msgspec.structs.replace(found.trials[1], state=TrialState.FAILED, diagnosis=None)
    trials = [found.trials[0], failed, found.trials[2]]
    assert beside_each_other(trials, "val_loss", "min") == trials
    assert beside_each_other([], "val_loss", "min") == []


def test_a_sweep_tells_its_trials_in_the_light_of_each_other() -> None:
    from learnrate.testing import QuadraticTrainable

    swept = learnrate.sweep(QuadraticTrainable(), [1e-3, 1e-2, 1e-1], epochs=8)
    alone = {trial.learning_rate: learnrate.diagnose(trial.curve) for trial in swept.trials}
    assert alone[1e-3].verdict in {DiagnosisVerdict.TOO_SLOW, DiagnosisVerdict.HEALTHY}
    assert swept.trials[0].diagnosis is not None
    assert swept.trials[0].diagnosis.verdict is DiagnosisVerdict.TOO_SLOW
    assert Sweep.from_json(swept.to_json()).trials[0].diagnosis == swept.trials[0].diagnosis


@pytest.mark.parametrize("sign", [1, -1])
def test_losses_at_the_end_of_what_a_float_can_hold_give_a_result_that_its_json_keeps(sign: int) -> None:
    def train(learning_rate: float) -> Iterator[dict[str, float]]:
        for loss in (1e308, sign * 1e308 * learning_rate, -1e308, learning_rate):
            yield {"val_loss": loss}

    swept = learnrate.sweep(train, [0.01, 0.1, 0.2], epochs=4)
    assert Sweep.from_json(swept.to_json()).to_json() == swept.to_json()
    compared = learnrate.compare(swept)
    assert Sweep.from_json(compared.to_json()).to_json() == compared.to_json()


def test_the_published_comparison_of_seven_rates_keeps_its_labels() -> None:
    kept = np.load(Path(__file__).parents[1] / "benchmarks" / "diagnosis" / "curves.npz")
    accepted = {
        "1e-05": {"too slow"},
        "0.0001": {"plateaued", "healthy"},
        "0.00025": {"overfitting"},
        "0.0005": {"overfitting"},
        "0.001": {"overfitting"},
        "0.01": {"overfitting"},
        "0.1": {"diverged", "oscillating"},
    }  # as in benchmarks/diagnosis/labels.csv
    shown = int(kept["reference-0.1/about"][0])
    curves = {
        float(name): {metric: kept[f"reference-{name}/{metric}"][:shown] for metric in ("loss", "val_loss")}
        for name in accepted
    }
    found = verdicts(curves)
    assert all(found[float(name)].value in words for name, words in accepted.items())


@pytest.mark.parametrize("rate", [0, -1, np.nan, np.inf, "1e-3", None])
def test_a_learning_rate_that_is_none_is_refused(rate: object) -> None:
    with pytest.raises(InvalidArgumentError, match="learning rate"):
        learnrate.compare({rate: SLOW})
