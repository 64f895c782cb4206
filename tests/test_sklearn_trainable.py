"""scikit-learn's estimators as problems: stepped, put back bit for bit, and left as they were found."""

from __future__ import annotations

import copy
import io
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from learnrate._select import select
from learnrate.adapters.sklearn import SklearnTrainable
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.testing import check_trainable

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((60, 4))
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.1 * GENERATOR.standard_normal(60)
CLASSES = np.array(["low", "middle", "high"])[np.digitize(NUMBERS, [-1.0, 1.0])]
TWO = np.where(NUMBERS > 0, "yes", "no")


def problems():
    small = {"hidden_layer_sizes": (5,), "random_state": 3}
    return {
        "MLPClassifier": (MLPClassifier(**small), CLASSES),
        "MLPClassifier of two classes, sgd": (
            MLPClassifier(hidden_layer_sizes=(5,), solver="sgd", learning_rate_init=0.1),
            TWO,
        ),
        "MLPRegressor": (MLPRegressor(**small), NUMBERS),
        "SGDClassifier": (SGDClassifier(learning_rate="constant", eta0=0.01), CLASSES),
        "SGDClassifier of two classes, averaged": (SGDClassifier(loss="log_loss", average=True), TWO),
        "SGDRegressor": (SGDRegressor(random_state=1), NUMBERS),
        "Perceptron": (Perceptron(eta0=0.1), CLASSES),
    }


@pytest.mark.parametrize("name", problems())
def test_every_promise_of_a_trainable_is_kept(name):
    estimator, y = problems()[name]
    before = pickle.dumps(estimator)
    check_trainable(SklearnTrainable(estimator, X, y, batch_size=27))
    assert pickle.dumps(estimator) == before


def test_every_promise_is_kept_by_an_estimator_that_was_fitted_before():
    estimator = MLPClassifier(hidden_layer_sizes=(5,), max_iter=3, tol=1e9, n_iter_no_change=1, random_state=0).fit(
        X, CLASSES
    )
    before = pickle.dumps(estimator)
    check_trainable(SklearnTrainable(estimator, X, CLASSES, batch_size=27, scoring=["accuracy", "neg_log_loss"]))
    assert pickle.dumps(estimator) == before


def test_the_global_generator_is_not_moved():
    before = repr(np.random.get_state(legacy=False))  # noqa: NPY002  # the global one is what is watched
    for estimator, y in problems().values():
        problem = SklearnTrainable(copy.deepcopy(estimator).set_params(random_state=None), X, y)
        problem.begin(0.01, 1, 4)
        problem.evaluate()
        problem.train(np.full(2, 0.01))
    assert repr(np.random.get_state(legacy=False)) == before  # noqa: NPY002  # the global one is what is watched


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor", "SGDRegressor"])
def test_steps_at_a_constant_rate_are_those_of_partial_fit(name):
    estimator, y = problems()[name]
    rate, parameter = 0.02, "eta0" if name == "SGDRegressor" else "learning_rate_init"
    plain = copy.deepcopy(estimator).set_params(**{parameter: rate})
    if name == "SGDRegressor":
        plain.set_params(learning_rate="constant")
    problem = SklearnTrainable(estimator, X, y, batch_size=20, validation_fraction=0)
    problem.begin(rate, 2, 11)
    problem.train(np.full(6, rate))
    for epoch in range(2):
        order = np.random.default_rng((11, epoch)).permutation(60)
        for start in (0, 20, 40):
            batch = order[start : start + 20]
            classes = {"classes": np.unique(y)} if name == "MLPClassifier" and not hasattr(plain, "coefs_") else {}
            plain.partial_fit(X[batch], y[batch], **classes)
    assert np.array_equal(plain.predict(X), problem.estimator.predict(X))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_an_mlp_obeys_the_rate_of_every_step(solver):
    problem = SklearnTrainable(
        MLPRegressor(hidden_layer_sizes=(5,), solver=solver, random_state=0), X, NUMBERS, batch_size=10
    )
    problem.train(np.array([0.01]))
    before = copy.deepcopy(problem.estimator.coefs_)
    problem.train(np.array([1e-30]))
    moved = [float(np.abs(one - other).max()) for one, other in zip(before, problem.estimator.coefs_, strict=True)]
    assert max(moved) < (1e-20 if solver == "adam" else 1)  # the momentum of SGD goes on


def test_select_finds_the_rate_for_the_digits_and_leaves_the_estimator():
    digits = load_digits()
    estimator = MLPClassifier(hidden_layer_sizes=(24,), random_state=0)
    before = pickle.dumps(estimator)
    problem = SklearnTrainable(estimator, digits.data / 16, digits.target, batch_size=200, scoring="accuracy")
    answer = select(problem, epochs=8)
    assert answer.learning_rate is not None
    assert 1e-3 < answer.learning_rate < 0.3
    assert pickle.dumps(estimator) == before
    problem.restore(answer.best)
    assert problem.evaluate()["val_accuracy"] > 0.9
    assert problem.evaluate()["val_loss"] == answer.value


def test_the_untrained_loss_is_that_of_the_first_weights():
    estimator = MLPClassifier(hidden_layer_sizes=(5,), random_state=3)
    problem = SklearnTrainable(estimator, X, CLASSES)
    assert abs(problem.evaluate()["val_loss"] - np.log(3)) < 0.5
    problem = SklearnTrainable(SGDRegressor(), X, NUMBERS, validation_data=(X, NUMBERS))
    assert problem.evaluate() == {"val_loss": pytest.approx(float(np.mean(NUMBERS**2)))}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), batch_size=st.integers(1, 80))
def test_an_epoch_takes_every_sample_once_in_an_order_that_the_seed_decides(seed, batch_size):
    class Listener(BaseEstimator):
        def __init__(self, lr=0.1):
            self.lr = lr

        def fit(self, X, y):  # noqa: N803  # scikit-learn's name
            raise AssertionError

        def partial_fit(self, X, y):  # noqa: N803  # scikit-learn's name
            self.heard_ = [*getattr(self, "heard_", []), *y]
            return self

        def predict(self, X):  # noqa: N803  # scikit-learn's name
            return np.zeros(len(X))

    heard = []
    for _ in range(2):
        problem = SklearnTrainable(Listener(), X, np.arange(60.0), validation_fraction=0, batch_size=batch_size)
        problem.begin(0.1, 1, seed)
        problem.train(np.full(problem.steps_per_epoch, 0.1))
        heard.append(problem.estimator.heard_)
        assert problem.evaluate() == {}
    assert sorted(heard[0]) == list(range(60))
    assert heard[0] == heard[1] != list(range(60))


def test_the_split_is_stratified_and_keeps_every_sample():
    y = np.array([0] * 50 + [1] * 10)
    problem = SklearnTrainable(SGDClassifier(), X, y, validation_fraction=0.2)
    assert problem._validation is not None
    assert np.bincount(problem._validation[1]).tolist() == [10, 2]
    assert np.bincount(problem._y).tolist() == [40, 8]


def test_sparse_matrices_and_data_frames_train_as_arrays_do():
    reports = []
    for samples in (X, scipy.sparse.coo_array(X), pd.DataFrame(X, columns=list("abcd"))):
        problem = SklearnTrainable(SGDRegressor(random_state=0), samples, NUMBERS, batch_size=15)
        reports.append(problem.train(np.full(4, 0.001))["loss"])
        assert problem.evaluate()["val_loss"] > 0
    np.testing.assert_allclose(reports[1], reports[0], rtol=0.1)  # scikit-learn slows a sparse intercept down
    np.testing.assert_array_equal(reports[2], reports[0])


def test_divergence_is_nan_until_the_problem_is_restored():
    problem = SklearnTrainable(
        MLPRegressor(hidden_layer_sizes=(5,), solver="sgd", random_state=0), X, NUMBERS, scoring="r2"
    )
    start = problem.snapshot()
    assert not np.isfinite(problem.train(np.full(20, 1e30))["loss"][-1])
    assert np.isnan(list(problem.evaluate().values())).all()
    problem.restore(start)
    assert np.isfinite(list(problem.evaluate().values())).all()


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (SGDClassifier(), "'optimal', which ignores eta0, is switched to 'constant'"),
        (SGDRegressor(), "'invscaling' is switched to 'constant'"),
        (MLPRegressor(solver="sgd", learning_rate="adaptive"), "'adaptive' is switched"),
    ],
)
def test_a_schedule_of_the_estimator_is_switched_off_with_a_warning_that_the_answer_repeats(estimator, says):
    y = TWO if isinstance(estimator, SGDClassifier) else NUMBERS
    problem = SklearnTrainable(estimator, X, y)
    assert len(problem.warnings) == 1
    assert any(problem.warnings[0] in warning for warning in select(problem, epochs=1).warnings)
    assert says in problem.warnings[0]


def test_no_warning_where_nothing_was_changed():
    for estimator in (MLPRegressor(), SGDRegressor(learning_rate="constant"), MLPRegressor(learning_rate="adaptive")):
        assert not SklearnTrainable(estimator, X, NUMBERS).warnings


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression(), "no partial_fit"),
        (make_pipeline(StandardScaler(), SGDClassifier()), "pass its last step, SGDClassifier"),
        (BernoulliRBM(), "no predict"),
        (MLPClassifier(solver="lbfgs"), "lbfgs"),
        (MLPClassifier(early_stopping=True), "early_stopping=True"),
        (GaussianNB(), "learning_rate_parameter=, one of its numbers: var_smoothing"),
        (MLPClassifier, "the class MLPClassifier"),
        ("MLPClassifier", "a str"),
    ],
)
def test_an_estimator_that_cannot_be_stepped_is_refused(estimator, message):
    with pytest.raises(UnsupportedProblemError, match=message):
        SklearnTrainable(estimator, X, CLASSES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": X[:0], "y": NUMBERS[:0]}, "at least one sample"),
        ({"X": X[:, 0]}, "samples × features"),
        ({"y": NUMBERS[:-1]}, "60 samples, but y"),
        ({"X": X[:1], "y": NUMBERS[:1]}, "cannot be split"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"validation_fraction": float("nan")}, "validation_fraction is nan"),
        ({"validation_data": X}, r"pass a pair \(X, y\)"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"scoring": "accurracy"}, "'accurracy' is not a scorer"),
        ({"scoring": len}, "scoring is a builtin_function_or_method: pass the name"),
        ({"validation_data": (X[:, :3], NUMBERS)}, r"has the shape \(3,\), and one of X \(4,\)"),
        ({"validation_data": (X[:0], NUMBERS[:0])}, "the validation X has the shape"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        SklearnTrainable(SGDRegressor(), **{"X": X, "y": NUMBERS} | arguments)


def test_a_class_of_the_validation_that_is_never_trained_is_refused():
    with pytest.raises(InvalidArgumentError, match="maybe"):
        SklearnTrainable(SGDClassifier(), X, TWO, validation_data=(X[:1], np.array(["maybe"])))


def test_classes_that_cannot_be_learned_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"the one class \['yes'\]"):
        SklearnTrainable(SGDClassifier(), X, np.full(60, "yes"))
    fitted = SGDClassifier().fit(X, TWO)
    with pytest.raises(InvalidArgumentError, match=r"not learned: \['maybe'\]. It knows \['no', 'yes'\]"):
        SklearnTrainable(fitted, X, np.where(NUMBERS > 1, "maybe", TWO))
    with pytest.raises(UnsupportedProblemError, match="one class per sample"):
        SklearnTrainable(MLPClassifier(), X, np.eye(2)[(NUMBERS > 0).astype(int)])


def test_what_the_problem_is_does_not_change_from_one_object_to_the_next():
    class Scaled(SGDRegressor):
        def __init__(self, scale=np.abs, penalty="l2", eta0=0.1):
            self.scale = scale
            super().__init__(penalty=penalty, eta0=eta0)

    problems = [SklearnTrainable(Scaled(scale), X, NUMBERS) for scale in (StandardScaler(), StandardScaler(), len)]
    assert problems[0].describe() == problems[1].describe() != problems[2].describe()


def test_a_parameter_that_is_no_number_is_refused():
    with pytest.raises(UnsupportedProblemError, match="'solver'"):
        SklearnTrainable(MLPRegressor(), X, NUMBERS, learning_rate_parameter="solver")


def test_nan_among_the_samples_is_scikit_learns_error_and_no_divergence():
    problem = SklearnTrainable(SGDRegressor(), np.where(X > 2, np.nan, X), NUMBERS, validation_fraction=0)
    with pytest.raises(ValueError, match="NaN"):
        problem.train(np.full(2, 0.1))


def test_a_file_with_foreign_types_is_not_read(tmp_path):
    problem = SklearnTrainable(SGDRegressor(), X, NUMBERS)
    problem.save(problem.snapshot(), tmp_path / "snapshot")
    with zipfile.ZipFile(tmp_path / "snapshot") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    own = b'"sklearn.linear_model._stochastic_gradient"'
    assert own in files["schema.json"]
    files["schema.json"] = files["schema.json"].replace(own, b'"os"')
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    (tmp_path / "snapshot").write_bytes(changed.getvalue())
    with pytest.raises(UnsupportedProblemError, match=r"os\.SGDRegressor"):
        problem.load(tmp_path / "snapshot")
