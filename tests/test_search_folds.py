"""Folds and held-out parts: stratified, each training's own, their mean and its error kept; and any scorer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold, StratifiedKFold

from learnrate import SklearnTrainable, TrialState, log_uniform, search
from learnrate._searching.folds import classes_of, folds_of
from learnrate.errors import InvalidArgumentError, StudyMismatchError, TrialFailedError
from learnrate.testing import QuadraticTrainable

CANCER, SICK = load_breast_cancer(return_X_y=True)
CANCER = (CANCER - CANCER.mean(axis=0)) / CANCER.std(axis=0)
SPACE = {"learning_rate": log_uniform(1e-4, 1.0), "alpha": log_uniform(1e-6, 1e-2)}


def build(train, validation, alpha):
    estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, alpha=alpha)
    return SklearnTrainable(estimator, *train, validation_data=validation, batch_size=50)


@given(
    samples=st.integers(10, 80),
    count=st.integers(2, 5),
    classes=st.integers(1, 3),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=40)
def test_every_sample_validates_once_and_every_fold_has_its_share_of_each_class(samples, count, classes, seed):
    y = np.sort(np.resize(np.arange(classes), samples))
    if min(np.bincount(y)) < count:
        return
    folds = folds_of((np.arange(samples), y), count, seed)
    assert sorted(np.concatenate([fold.validation[0] for fold in folds]).tolist()) == list(range(samples))
    for fold in folds:
        assert not set(fold.train[0]) & set(fold.validation[0])
        expected = np.bincount(y) / count
        assert np.all(np.abs(np.bincount(fold.validation[1], minlength=classes) - expected) < 1 + 1e-9)


@given(samples=st.integers(20, 100), fraction=st.floats(0.1, 0.5), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_held_out_part_has_its_share_of_each_class(samples, fraction, seed):
    y = np.arange(samples) % 2
    (fold,) = folds_of((np.arange(samples), y), fraction, seed)
    assert len(fold.validation[1]) == round(fraction * samples)
    assert abs(fold.validation[1].mean() - y.mean()) < 0.5 / len(fold.validation[1]) + 0.05


def test_what_is_a_class():
    assert classes_of(["a", "b", "a"]).tolist() == [0, 1, 0]
    assert classes_of(np.eye(3)[[2, 0, 1]]).tolist() == [2, 0, 1]
    assert classes_of(np.array([0.0, 1.0, 1.0])).tolist() == [0, 1, 1]
    assert classes_of(np.array([[1], [0]])).tolist() == [1, 0]
    assert classes_of(np.array([3.0, 4.0])) is None
    assert classes_of(np.array([0.25, 1.0])) is None


def test_samples_may_be_several_inputs():
    x = {"a": np.arange(6), "b": np.arange(12).reshape(6, 2)}
    fold = folds_of((x, np.arange(6.0)), 3, 0)[0]
    assert fold.train[0]["b"].shape == (4, 2)
    assert fold.validation[0]["a"].tolist() == fold.validation[1].tolist()
    pair = folds_of(((x["a"], x["b"]), np.arange(6.0)), 3, 0)[0]
    assert pair.train[0][1].shape == (4, 2)


def test_the_score_of_a_trial_is_the_mean_over_its_folds(tmp_path):
    result = search(
        build,
        SPACE,
        epochs=3,
        num_trials=4,
        data=(CANCER, SICK),
        cv=5,
        scoring="average_precision",
        study=tmp_path / "s",
    )
    assert result.metric == "val_average_precision"
    best = next(trial for trial in result.trials if trial.value == result.value)
    assert len(best.folds) == 5
    assert np.mean(best.folds) == pytest.approx(result.value)
    assert result.standard_error == pytest.approx(np.std(best.folds, ddof=1) / 5**0.5)
    assert result.value == max(trial.value for trial in result.trials) > 0.97
    assert result.cost == pytest.approx(4 * 5)
    assert "±" in str(result)


def test_a_scorer_scores_as_scikit_learn_does_by_hand():
    result = search(
        build, SPACE, epochs=2, num_trials=1, data=(CANCER, SICK), cv=0.25, scoring="average_precision", seed=7
    )
    (fold,) = folds_of((CANCER, SICK), 0.25, 7)
    problem = build(fold.train, fold.validation, result.hyperparameters["alpha"])
    problem.restore(result.best)
    scores = problem.estimator.predict_proba(fold.validation[0])[:, 1]
    assert average_precision_score(fold.validation[1], scores) == pytest.approx(result.value)


def test_an_interrupted_search_over_folds_goes_on_with_the_next_fold(tmp_path):
    asked = {"epochs": 2, "num_trials": 3, "data": (CANCER, SICK), "cv": 3, "halving": None}
    calls = []

    def counted(train, validation, alpha):
        calls.append(alpha)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return build(train, validation, alpha)

    with pytest.raises(KeyboardInterrupt):
        search(counted, SPACE, **asked, study=tmp_path / "study")
    resumed = search(counted, SPACE, **asked, study=tmp_path / "study")
    assert len(calls) == 6 + 4  # the sixth again, and the third trial's
    whole = search(build, SPACE, **asked)
    assert [trial.folds for trial in resumed.trials] == [trial.folds for trial in whole.trials]


def test_folds_are_continued_by_halving():
    result = search(build, SPACE, epochs=9, num_trials=4, data=(CANCER, SICK), cv=2, halving="successive")
    assert result.cost == pytest.approx(2 * (4 * 3 + 1 * 6) / 9)
    assert sum(trial.state is TrialState.PRUNED for trial in result.trials) == 3
    assert all(len(trial.folds) == 2 for trial in result.trials)


def test_regression_splitters_and_pairs_of_places():
    x, y = load_diabetes(return_X_y=True)

    def regressor(train, validation):
        return SklearnTrainable(SGDRegressor(learning_rate="constant"), *train, validation_data=validation)

    space = {"learning_rate": [1e-3, 1e-2]}
    result = search(regressor, space, epochs=2, sampler="grid", data=(x, y), cv=4, scoring="r2")
    assert result.mode == "max"
    iris, kinds = load_iris(return_X_y=True)
    split = StratifiedKFold(3)
    folds = folds_of((iris, kinds), split, 0)
    assert [len(fold.validation[1]) for fold in folds] == [50, 50, 50]
    pairs = folds_of((iris, kinds), [(np.arange(100), np.arange(100, 150))], 0)
    assert len(pairs) == 1


@pytest.mark.parametrize(
    ("data", "cv", "message"),
    [
        ((np.zeros((3, 1)), np.arange(3.0)), 5, "3 samples and 5 folds"),
        ((np.zeros((9, 1)), np.array([0] * 7 + [1] * 2)), 3, "class 1 has 2 of 9"),
        ((np.zeros((9, 1)), np.array([0] * 8 + [1])), 0.3, "class 1 has 1 of 9"),
        ((np.zeros((9, 1)), np.arange(8)), 3, "9 samples and 8 targets"),
        ((np.zeros((9, 1)), np.arange(9.0)), 1, "at least 2"),
        ((np.zeros((9, 1)), np.arange(9.0)), 1.5, "fraction"),
        ((np.zeros((9, 1)), np.arange(9.0)), True, "number of folds"),
        ((np.zeros((9, 1)), np.arange(9.0)), [], "no fold"),
        (np.zeros(3), 3, r"pass \(x, y\)"),
        ((np.zeros((9, 1)), np.arange(9.0)), "a", "number of folds"),
        ((np.zeros((9, 1)), np.arange(9.0)), math.nan, "fraction"),
        ((np.zeros((3, 1)), np.arange(3.0)), [([0, 1], [5])], "beyond the 3 samples"),
        ((np.zeros((3, 1)), [None, 1, "a"]), 2, "cannot be told apart"),
    ],
)
def test_samples_that_cannot_be_split_are_refused(data, cv, message):
    with pytest.raises(InvalidArgumentError, match=message):
        search(build, SPACE, epochs=1, data=data, cv=cv)


def test_what_a_candidate_warns_of_stands_in_the_answer():
    def warned(train, validation, alpha):
        estimator = SGDClassifier(loss="log_loss", learning_rate="invscaling", eta0=0.01, alpha=alpha)
        return SklearnTrainable(estimator, *train, validation_data=validation, batch_size=50)

    result = search(warned, SPACE, epochs=1, num_trials=2, data=(CANCER, SICK), cv=2)
    assert len([one for one in result.warnings if "invscaling" in one]) == 1


def test_a_budget_that_covers_no_candidate_or_not_the_whole_grid_is_refused():
    asked = {"epochs": 1, "data": (CANCER, SICK), "cv": 3}
    with pytest.raises(InvalidArgumentError, match="one candidate takes 3"):
        search(build, SPACE, budget=2, **asked)
    with pytest.raises(InvalidArgumentError, match="6 points"):
        search(build, {"alpha": [1, 2, 3, 4, 5, 6]}, sampler="grid", budget=6, **asked)


def test_a_study_of_other_samples_or_another_split_is_another_study(tmp_path):
    asked = {"epochs": 1, "num_trials": 1, "study": tmp_path / "study"}
    search(build, SPACE, data=(CANCER, SICK), cv=KFold(2), **asked)
    search(build, SPACE, data=(CANCER, SICK), cv=KFold(2), **asked)
    with pytest.raises(StudyMismatchError, match="split"):
        search(build, SPACE, data=(CANCER, 1 - SICK), cv=KFold(2), **asked)
    with pytest.raises(StudyMismatchError, match="split"):
        search(build, SPACE, data=(CANCER, SICK), cv=KFold(2).split(CANCER[::-1][:-1]), **asked)


def test_an_unknown_scorer_and_a_build_without_folds_are_refused():
    with pytest.raises(InvalidArgumentError, match="did you mean average_precision"):
        search(build, SPACE, epochs=1, data=(CANCER, SICK), cv=3, scoring="avrage_precision")
    with pytest.raises(InvalidArgumentError, match="takes no train and validation"):
        search(lambda alpha: alpha, SPACE, epochs=1, data=(CANCER, SICK), cv=3)
    with pytest.raises(InvalidArgumentError, match="data="):
        search(build, SPACE, epochs=1)


def test_scoring_needs_a_model_that_predicts():
    def unpredictable(train, validation):
        del train, validation
        return QuadraticTrainable()

    with pytest.raises(TrialFailedError, match="pass metric="):
        search(unpredictable, {"learning_rate": [0.1]}, epochs=1, data=(CANCER, SICK), cv=3, scoring="roc_auc")


def test_torch_models_are_scored_and_left_as_they_are():
    torch = pytest.importorskip("torch")
    from learnrate import TorchTrainable

    x, y = torch.tensor(CANCER, dtype=torch.float32), torch.tensor(SICK)

    def network(train, validation, seed, width):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(30, width), torch.nn.BatchNorm1d(width), torch.nn.Dropout(0.2), torch.nn.Linear(width, 2)
        )
        loaders = [
            torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*part), batch_size=64, shuffle=place == 0)
            for place, part in enumerate((train, validation))
        ]
        optimizer = torch.optim.Adam(model.parameters())
        return TorchTrainable(model, optimizer, torch.nn.functional.cross_entropy, *loaders)

    space = {"learning_rate": log_uniform(1e-3, 1e-1), "width": [8, 16]}
    scored = search(network, space, epochs=2, num_trials=2, data=(x, y), cv=3, scoring="roc_auc")
    plain = search(network, space, epochs=2, num_trials=2, data=(x, y), cv=3)
    assert scored.value > 0.95
    for one, other in zip(scored.trials, plain.trials, strict=True):
        assert np.array_equal(one.curve.values("val_loss"), other.curve.values("val_loss"))
