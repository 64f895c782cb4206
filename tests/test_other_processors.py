"""A study goes on where processors round otherwise than where it was begun, and is still refused to anyone else."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import learnrate
from _engine_problems import assert_alike, timeless
from _other_processor import VERBS, ask, computed, other_arithmetic, stopped
from learnrate._identity import agree, digest, mark, mark_of_data
from learnrate.curves import LearningCurve
from learnrate.errors import StudyMismatchError
from learnrate.results import Trial, TrialState
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable
from learnrate.training import Segment

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
EVENTS = {"sweep": 30, "select": 20, "search": 12}


def elsewhere(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=HERE, env=other_arithmetic()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def nudged(numbers: Any) -> Any:
    """The same numbers as another processor may compute them."""
    return np.nextafter(numbers, np.inf, dtype=np.asarray(numbers).dtype)


def finished(study: Path) -> set[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(study / "study.sqlite")) as database:
        return set(database.execute("SELECT key, trial FROM segments WHERE key NOT LIKE '%(paused)'"))


@pytest.fixture(scope="module")
def rounds_otherwise() -> None:
    code = "from _other_processor import computed; print(computed(1e-5, 1.0, 300).tobytes().hex())"
    if elsewhere("-c", code).strip() == computed(1e-5, 1.0, 300).tobytes().hex():
        pytest.skip("this machine computes the same bits without its newer instructions")


@pytest.mark.usefixtures("rounds_otherwise")
@pytest.mark.parametrize("verb", VERBS)
def test_a_study_goes_on_where_computed_numbers_have_other_bits(verb: str, tmp_path: Path) -> None:
    stopped(verb, tmp_path / verb, EVENTS[verb])
    before = finished(tmp_path / verb)
    assert before
    there = elsewhere("_other_processor.py", verb, str(tmp_path / verb))
    whole = timeless(ask(verb, tmp_path / "whole"))
    assert_alike(json.loads(there), json.loads(whole), rel=1e-4)  # the inputs are of single precision
    after = finished(tmp_path / verb)
    assert before <= after
    assert len(after) == len(finished(tmp_path / "whole")), "something was trained again"


def test_studies_of_older_versions_go_on_there() -> None:
    elsewhere("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_old_studies.py")


class Counting(QuadraticTrainable):
    steps = 0

    def train(self, learning_rates: Any) -> Any:
        self.steps += len(learning_rates)
        return super().train(learning_rates)


def test_a_sweep_whose_rates_and_problem_are_rounded_otherwise_trains_nothing_again(tmp_path: Path) -> None:
    eigenvalues, rates = computed(0.01, 1.0, 20), computed(1e-3, 3.0, 5)
    whole = learnrate.sweep(Counting(eigenvalues), rates, epochs=2, study=tmp_path / "study")
    again = Counting(nudged(eigenvalues))
    answer = learnrate.sweep(again, nudged(rates), epochs=2, study=tmp_path / "study")
    assert again.steps == 0
    assert answer.learning_rate == whole.learning_rate
    again.restore(answer.best)
    assert again.evaluate()["val_loss"] == pytest.approx(answer.value)


def test_a_select_at_the_end_of_a_range_that_is_rounded_otherwise_trains_nothing_again(tmp_path: Path) -> None:
    fastest = 0.03 * (1 + 1e-12)
    whole = learnrate.select(Counting(), epochs=6, max_learning_rate=0.03, study=tmp_path / "study")
    assert any(trial.learning_rate == pytest.approx(fastest) for trial in whole.trials)
    again = Counting()
    answer = learnrate.select(again, epochs=6, max_learning_rate=fastest, study=tmp_path / "study")
    assert again.steps == 0
    assert_alike(answer.learning_rate, whole.learning_rate)


@pytest.mark.parametrize(("eigenvalue", "rate"), [(1.0001, 1.0), (1.0, 1.0001)])
def test_another_problem_and_another_rate_are_refused(tmp_path: Path, eigenvalue: float, rate: float) -> None:
    eigenvalues, rates = computed(0.01, 1.0, 20), computed(1e-3, 3.0, 5)
    learnrate.sweep(QuadraticTrainable(eigenvalues), rates, epochs=2, study=tmp_path / "study")
    with pytest.raises(StudyMismatchError, match="eigenvalues" if rate == 1.0 else "learning_rates"):
        learnrate.sweep(QuadraticTrainable(eigenvalues * eigenvalue), rates * rate, epochs=2, study=tmp_path / "study")


def torch_problem(weight_decay: float) -> Any:
    import torch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=weight_decay)
    data = [(torch.ones(4, 2), torch.ones(4, 1))]
    return learnrate.TorchTrainable(model, optimizer, torch.nn.functional.mse_loss, data, data)


def sklearn_problem(alpha: float) -> Any:
    from sklearn.linear_model import SGDRegressor

    x = np.linspace(-1, 1, 40).reshape(20, 2)
    return learnrate.SklearnTrainable(SGDRegressor(alpha=alpha, learning_rate="constant"), x, x[:, 0])


@pytest.mark.parametrize("build", [torch_problem, sklearn_problem])
def test_settings_are_known_by_their_values(build: Callable[[float], Any], tmp_path: Path) -> None:
    value = float(computed(3e-4, 0.1, 2)[0])
    learnrate.sweep(build(value), [1e-3], epochs=1, study=tmp_path / "study")
    learnrate.sweep(build(float(nudged(value))), [1e-3], epochs=1, study=tmp_path / "study")
    with pytest.raises(StudyMismatchError, match="settings"):
        learnrate.sweep(build(value * 1.01), [1e-3], epochs=1, study=tmp_path / "study")


def test_settings_that_an_older_version_kept_as_a_digest_are_known_by_it() -> None:
    settings = [{"weight_decay": repr(0.1)}]
    assert agree(digest(settings), mark(settings))
    assert not agree(digest(settings), mark([{"weight_decay": repr(0.2)}]))


def standardised(dtype: str) -> Any:
    y = np.random.default_rng(1).gamma(2.0, size=200).astype(dtype)
    return (y - y.mean()) / y.std()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rounded", [nudged, lambda y: y * (1 + np.finfo(y.dtype).eps), lambda y: y + np.spacing(y[0])])
def test_standardised_targets_are_known_to_rounding(dtype: str, rounded: Any) -> None:
    y = standardised(dtype)
    assert agree(mark_of_data([y[:150], y[150:]]), mark_of_data([rounded(y)[:150], rounded(y)[150:]]))


@pytest.mark.parametrize(
    "changed",
    [
        lambda y: y + 1e-3,
        lambda y: y * 1.001,
        lambda y: -y,
        lambda y: y[::-1],
        lambda y: np.where(np.arange(len(y)) == 7, y + 0.01, y),
        lambda y: y[np.r_[1, 0, 2 : len(y)]],
        lambda y: y.astype(np.int64),
        lambda y: np.where(np.arange(len(y)) == 7, np.nan, y),
    ],
)
def test_other_targets_are_others(changed: Any) -> None:
    y = standardised("float64")
    assert not agree(mark_of_data([y]), mark_of_data([changed(y)]))
    assert not agree(mark_of_data([y, y[:3]]), mark_of_data([y]))


def test_targets_that_are_no_floats_are_known_by_every_one_of_them() -> None:
    for y in (np.arange(10_000), np.array(["a", "b"] * 5_000), np.array(["a", "b"] * 5_000, dtype=object)):
        other = y.copy()
        other[17] = other[0]
        assert agree(mark_of_data([y]), mark_of_data([y.copy()]))
        assert not agree(mark_of_data([y]), mark_of_data([other]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0.1, 0.1 + 1e-17),
        (0.1, 0.10000000000000002),
        ([1e-3, 0.1 + 0.2], [1e-3, 0.3]),
        ({"a": 0.3}, {"a": 0.30000000000000004}),
        (math.nan, math.nan),
        ([math.nan, 0.1 + 0.2], [math.nan, 0.3]),
        ((0.1 + 0.2).hex(), (0.3).hex()),
        ("ridge(alpha=0.3)", "ridge(alpha=0.30000000000000004)"),
        ("1e-07", "1.0000000000000001e-07"),
        (-0.3, -0.30000000000000004),
    ],
)
def test_what_differs_by_rounding_agrees(old: Any, new: Any) -> None:
    assert agree(old, new)
    assert agree(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0.1, 0.1001),
        (0.30000000000000004, -0.30000000000000004),
        (2**60, 2**60 + 1),
        (0.0, 1e-300),
        ([0.1, 0.2], [0.1]),
        ([0.1, 0.2], [0.2, 0.1]),
        ("version 2.1", "version 2.10"),
        ("data-1234567.1", "data-1234567.2"),
        ("seed 1234567890123456", "seed 1234567890123457"),
        ("0123456789012e45", "0123456789012e46"),
        ("ridge(alpha=0.3)", "lasso(alpha=0.30000000000000004)"),
        (None, 0.1),
        (math.nan, 0.1),
        (math.inf, 1e300),
    ],
)
def test_what_differs_by_more_does_not(old: Any, new: Any) -> None:
    assert not agree(old, new)
    assert not agree(new, old)


def test_a_segment_is_known_by_its_rate_to_rounding(tmp_path: Path) -> None:
    def segment(rate: float) -> str:
        return Segment(trial=0, learning_rate=rate, first_step=0, last_step=5, total_steps=5, seed=0, stage="sweep").key

    trial = Trial(
        number=0,
        hyperparameters={"learning_rate": 0.3},
        state=TrialState.COMPLETE,
        curve=LearningCurve.from_rows([(1, {"loss": 0.5})]),
        value=0.5,
        seed=0,
        seconds=2.0,
    )
    there, here, other = segment(0.3), segment(0.1 + 0.2), segment(0.31)
    with Study.open(tmp_path / "study", verb="sweep", settings={}, identity={}) as study:
        study.start(trial, there)
        study.pause(there, trial)
        assert study.paused(here) is not None
        assert study.paused(other) is None
        assert study.recall(here) is None
        study.finish(here, trial)
        assert study.paused(there) is None
        assert study.recall(there) is not None
        assert study.recall(other) is None


def test_a_value_that_was_chosen_is_known_to_rounding() -> None:
    values = computed(0.3, 70.0, 5)
    recorded = learnrate.choice(values).record(float(values[2]))
    assert learnrate.choice(nudged(values)).recorded(recorded) == nudged(values)[2]
