"""SearchCV keeps scikit-learn's conventions, and chooses its points as `learnrate.search` does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

import learnrate
from learnrate.adapters.sklearn import SearchCV
from learnrate.errors import InvalidArgumentError

X, y = load_iris(return_X_y=True)


@parametrize_with_checks(
    [
        SearchCV(LogisticRegression(max_iter=50), {"C": [0.1, 1.0]}, cv=2, random_state=0),
        SearchCV(Ridge(), {"alpha": [0.1, 1.0]}, sampler="grid", cv=2, error_score="raise"),
    ],
    # scikit-learn expects the same of GridSearchCV: its inner estimator's warning is not passed on
    expected_failed_checks=lambda _: {"check_supervised_y_2d": "DataConversionWarning not caught"},
)
def test_scikit_learns_own_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_a_grid_search_gives_the_results_of_grid_search_cv():
    space = {"C": [0.1, 1, 10], "kernel": ["rbf", "linear"]}
    ours = SearchCV(SVC(), space, sampler="grid", cv=3).fit(X, y)
    theirs = GridSearchCV(SVC(), space, cv=3).fit(X, y)
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == theirs.best_score_
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert np.array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert np.array_equal(ours.predict(X), theirs.predict(X))


def test_around_looks_around_the_best():
    space = {"C": stats.loguniform(1e-6, 1e4), "gamma": learnrate.log_uniform(1e-6, 1e2)}
    evenly, around = (
        SearchCV(SVC(), space, n_iter=25, cv=3, random_state=1, sampler=sampler)
        .fit(X, y)
        .cv_results_["mean_test_score"]
        for sampler in ("qmc", "around")
    )
    assert around[10:].mean() > evenly[10:].mean() + 0.1


def test_tpe_finds_the_good_part_of_a_continuous_space():
    space = {"C": stats.loguniform(1e-6, 1e4), "gamma": learnrate.log_uniform(1e-6, 1e2)}
    search = SearchCV(SVC(), space, n_iter=25, cv=3, random_state=1).fit(X, y)
    assert len(search.cv_results_["params"]) == 25
    assert search.best_score_ > 0.95
    late = search.cv_results_["mean_test_score"][10:].mean()
    assert late > search.cv_results_["mean_test_score"][:10].mean()


def test_the_same_random_state_tries_the_same_points_and_no_point_twice():
    space = {"C": [0.1, 1, 10], "kernel": ["rbf", "linear", "poly"], "degree": [2, 3]}
    searches = [SearchCV(SVC(), space, n_iter=30, cv=2, random_state=5).fit(X, y) for _ in range(2)]
    params = [search.cv_results_["params"] for search in searches]
    assert params[0] == params[1]
    assert len({tuple(sorted(one.items())) for one in params[0]}) == len(params[0]) == 18


@pytest.mark.parametrize("sampler", ["random", "qmc", "gp"])
def test_the_other_samplers_search_too(sampler):
    space = {"alpha": learnrate.log_uniform(1e-5, 1.0), "penalty": ["l1", "l2"]}
    search = SearchCV(SGDClassifier(random_state=0), space, sampler=sampler, n_iter=12, cv=2, random_state=0)
    assert search.fit(X, y).best_score_ > 0.8


def test_pipelines_several_metrics_sample_weights_and_clones():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    search = SearchCV(
        pipeline,
        {"logisticregression__C": [0.01, 0.1, 1, 10]},
        scoring=["accuracy", "f1_macro"],
        refit="f1_macro",
        cv=StratifiedKFold(3),
        n_jobs=2,
    )
    copy = clone(search)
    assert copy.get_params()["refit"] == "f1_macro"
    copy.fit(X, y, logisticregression__sample_weight=np.ones(len(y)))
    assert set(copy.cv_results_) >= {"mean_test_accuracy", "mean_test_f1_macro"}
    assert copy.best_params_["logisticregression__C"] == copy.best_estimator_[-1].C
    assert copy.score(X, y) > 0.9


def test_average_precision_decides_where_it_is_asked_for():
    features, target = load_breast_cancer(return_X_y=True)
    search = SearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": learnrate.log_uniform(1e-3, 10)},
        n_iter=4,
        cv=3,
        scoring="average_precision",
        random_state=0,
    )
    assert search.fit(features, target).best_score_ > 0.99


def test_a_list_of_spaces_shares_the_points_and_may_exchange_a_step():
    spaces = [{"kernel": ["linear"], "C": [0.1, 1]}, {"kernel": ["rbf"], "gamma": learnrate.log_uniform(1e-3, 1)}]
    search = SearchCV(SVC(), spaces, n_iter=8, cv=2, random_state=0).fit(X, y)
    kernels = [params["kernel"] for params in search.cv_results_["params"]]
    assert kernels.count("linear") == 2
    assert kernels.count("rbf") == 6


def test_a_point_that_fails_is_scored_as_scikit_learn_does_and_the_search_goes_on():
    space = {"C": [-1.0, 0.1, 1.0, 10.0], "kernel": ["rbf", "linear", "poly"]}
    search = SearchCV(SVC(), space, n_iter=12, cv=2, random_state=0)
    with pytest.warns(FitFailedWarning):
        search.fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores[np.isfinite(scores)]) == 9  # a point that fails by itself is not among scikit-learn's results
    assert search.best_params_["C"] > 0


def test_a_multilayer_perceptron_is_searched_by_changing_one_class_name():
    digits, labels = load_digits(return_X_y=True)
    grid = {"hidden_layer_sizes": [(16,), (8, 8)], "learning_rate_init": [0.01, 0.001], "max_iter": [5]}
    search = SearchCV(MLPClassifier(random_state=0), grid, cv=3, scoring="accuracy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(digits[:400] / 16, labels[:400])
    assert search.best_params_["learning_rate_init"] == 0.01
    assert search.best_params_["hidden_layer_sizes"] in [(16,), (8, 8)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": {}}, "empty"),
        ({"space": []}, "empty"),
        ({"space": {"c": [1]}}, "no parameter 'c'"),
        ({"space": {"gama": [1]}}, "did you mean gamma"),
        ({"space": {"C": 1.0}}, r"\[1.0\]"),
        ({"sampler": "tbe"}, "did you mean tpe"),
        ({"sampler": "grid", "n_iter": 2}, "grid has 3 points"),
        ({"sampler": "grid", "space": {"C": learnrate.uniform(0, 1)}}, "continuum"),
        ({"n_iter": 0}, "n_iter"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_training(settings, message):
    class Untrained(SVC):
        def fit(self, *_, **__):
            raise AssertionError

    asked = {"space": {"C": [1, 2, 3]}} | settings
    with pytest.raises(ValueError, match=message):
        SearchCV(Untrained(), **asked).fit(X, y)


def test_its_errors_are_learnrates_own():
    with pytest.raises(InvalidArgumentError):
        SearchCV(SVC(), {}).fit(X, y)
