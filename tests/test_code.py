"""The lines to paste are run: they must give the rates that were tried."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import _examples
import learnrate
from learnrate import schedules
from learnrate._pages.code import FRAMEWORKS, lines_for, plan_of
from learnrate.errors import InvalidArgumentError
from learnrate.results import Recommendation, Search, Verdict
from learnrate.testing import QuadraticTrainable

EPOCHS, STEPS = 20, 10
RATE = 2.1e-3

PLANS = {
    "constant": {},
    "constant, warmed up": {"warmup_fraction": 0.1},
    "linear": {},
    "linear to a floor": {"final_fraction": 0.1, "decay_fraction": 0.6, "warmup_fraction": 0.1},
    "step": {},
    "step by intervals": {"every_fraction": 0.25, "factor": 0.5},
    "step, warmed up": {"milestones": [0.4, 0.8], "warmup_fraction": 0.1},
    "exponential": {},
    "exponential by epoch": {"factor": 0.9, "num_epochs": EPOCHS},
    "inverse_time": {},
    "polynomial": {"power": 2.0},
    "polynomial to a floor": {"final_fraction": 0.1},
    "cosine": {},
    "cosine, warmed up": {"warmup_fraction": 0.1, "final_fraction": 0.05},
    "cosine by epoch": {"num_epochs": EPOCHS},
    "cosine in fewer epochs": {"num_epochs": 5},
    "cosine_restarts": {},
    "one_cycle": {},
    "triangular": {},
    "triangular2 by epoch": {"num_epochs": EPOCHS},
    "exp_range": {},
    "warmup_stable_decay": {},
    "warmup_stable_decay along a line": {"shape": "linear", "warmup_fraction": 0.0},
}


def maker(title):
    return schedules.by_name(title.split()[0].rstrip(","), **PLANS[title])


def answer(title):
    return _examples.recommendation(schedule=schedules.describe(maker(title)), horizon=EPOCHS)


@pytest.mark.parametrize("title", PLANS)
def test_torch_lines_give_the_rates_that_were_tried(title):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    lines = lines_for(answer(title), "torch")
    names = {"torch": torch, "optimizer": optimizer, "train_loader": range(STEPS)}
    exec(lines, names)  # noqa: S102  # the lines are to be run
    scheduler, rates = names.get("scheduler"), []
    by_epoch = "each epoch" in lines
    for step in range(EPOCHS * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None and (not by_epoch or (step + 1) % STEPS == 0):
            scheduler.step()
    np.testing.assert_allclose(rates, maker(title)(RATE, EPOCHS * STEPS).values(), atol=1e-6 * RATE, rtol=1e-5)


@pytest.mark.parametrize("title", PLANS)
def test_scikit_learn_lines_give_the_rates_of_the_epochs(title):
    rates = []
    model = SimpleNamespace(_optimizer=SimpleNamespace())
    model.set_params = lambda learning_rate_init, max_iter=None: vars(model).update(first=learning_rate_init)
    model.partial_fit = lambda *_: rates.append(getattr(model._optimizer, "learning_rate", model.first))
    names = {"model": model, "x_train": None, "y_train": None}
    exec(lines_for(answer(title), "sklearn"), names)  # noqa: S102  # the lines are to be run
    if title == "constant":
        rates = [model.first] * EPOCHS
    np.testing.assert_allclose(rates, maker(title)(RATE, EPOCHS).values())


ELSEWHERE = """
import json, sys
from types import SimpleNamespace
import jax, keras, optax
rates = {"keras": {}, "jax": {}}
for title, (by_keras, by_jax) in json.load(sys.stdin).items():
    model = SimpleNamespace(optimizer=SimpleNamespace())
    names = {"keras": keras, "model": model, "steps_per_epoch": 10}
    exec(by_keras, names)
    rate = getattr(model.optimizer, "learning_rate", None)
    if rate is None:
        rates["keras"][title] = [float(names["callback"].schedule(step // 10)) for step in range(0, 200, 13)]
    else:
        at = rate if callable(rate) else lambda step: rate
        rates["keras"][title] = [float(at(step)) for step in range(0, 200, 13)]
    names = {"jax": jax, "optax": optax, "steps_per_epoch": 10}
    exec(by_jax, names)
    at = names["schedule"]
    rates["jax"][title] = [float(at(step) if callable(at) else at) for step in range(0, 200, 13)]
print(json.dumps(rates))
"""


def test_keras_and_jax_lines_give_the_rates_that_were_tried():
    for package in ("keras", "jax", "optax"):
        pytest.importorskip(package)
    lines = {title: [lines_for(answer(title), "keras"), lines_for(answer(title), "jax")] for title in PLANS}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stderr
    rates = json.loads(done.stdout.splitlines()[-1])
    for title in PLANS:
        ours = maker(title)(RATE, EPOCHS * STEPS).values()[::13]
        np.testing.assert_allclose(rates["jax"][title], ours, rtol=1e-3, atol=1e-4 * RATE, err_msg=f"jax: {title}")
        # Keras begins a cosine's warm-up one step lower.
        slack = 0.06 * RATE if title == "cosine, warmed up" else 1e-4 * RATE
        np.testing.assert_allclose(rates["keras"][title], ours, rtol=1e-3, atol=slack, err_msg=f"keras: {title}")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_lines_name_the_rate_and_the_epochs_to_keep(framework):
    lines = lines_for(_examples.recommendation(), framework)
    assert "learning_rate = 2.1e-3" in lines
    assert "epochs = 20  # at its best after 17: keep those weights" in lines


def test_settings_beside_the_name_are_read_too():
    beside = _examples.recommendation(schedule={"name": "cosine", "warmup_fraction": 0.1})
    assert plan_of(beside).warmup == 0.1


def test_a_schedule_of_the_users_own_is_named():
    own = _examples.recommendation(schedule={"name": "my_schedule", "settings": {}, "custom": True})
    assert "my_schedule(learning_rate, total_steps)" in lines_for(own, "torch")


def test_another_framework_and_an_answer_without_a_rate_are_refused():
    with pytest.raises(InvalidArgumentError, match="torch, keras, sklearn, jax"):
        lines_for(_examples.recommendation(), "caffe")
    with pytest.raises(InvalidArgumentError, match="diverged at every learning rate"):
        lines_for(_examples.recommendation(learning_rate=None, verdict=Verdict.ALL_DIVERGED))


def test_the_framework_of_the_problem_is_the_default():
    assert "optax" in _examples.recommendation(framework="jax").code()
    assert _examples.recommendation(framework="jax").code("torch") == _examples.recommendation().code()
    searched = _examples.search(framework="keras")
    assert searched.code() == searched.code("keras") == _examples.search().code("keras")
    assert "keras" not in _examples.search(framework="keras", learning_rate=None).code()


def test_a_search_without_a_framework_sets_its_learning_rate_too():
    assert _examples.search().code() == (
        "width = 16\noptimizer = 'sgd'\nlearning_rate = 0.1\nepochs = 6  # at its best after 5: keep those weights\n"
    )


class OfTorch(QuadraticTrainable):
    """A problem that says what it is trained by."""

    framework = "torch"


def test_results_carry_the_framework_of_what_they_trained(tmp_path):
    searched = {"space": {"learning_rate": [0.01, 0.1]}, "epochs": 2, "num_trials": 2}
    for study in (None, tmp_path, tmp_path):  # the last one finds all in its study
        answer = learnrate.search(OfTorch, study=study, **searched)
        assert answer.framework == Search.from_json(answer.to_json()).framework == "torch"
    assert learnrate.sweep(OfTorch(), [0.1], epochs=2).framework == "torch"
    assert learnrate.select(OfTorch(), epochs=2).framework == "torch"
    assert learnrate.sweep(QuadraticTrainable(), [0.1], epochs=2).framework is None
    assert learnrate.sweep(lambda learning_rate: {"loss": learning_rate}, [0.1], epochs=2).framework is None


def test_results_that_were_written_before_are_read():
    old = json.loads(_examples.recommendation(framework="torch").to_json())
    del old["framework"]
    assert Recommendation.from_json(json.dumps(old)).framework is None


@pytest.mark.parametrize(
    ("module", "name"), [("torch", "TorchTrainable"), ("keras", "KerasTrainable"), ("jax", "JaxTrainable")]
)
def test_each_adapter_says_what_it_trains_by(module, name):
    pytest.importorskip(module)
    assert getattr(learnrate, name).framework == module


def test_an_estimator_is_scikit_learns():
    linear = pytest.importorskip("sklearn.linear_model")
    x = np.linspace(-1, 1, 20).reshape(-1, 1)
    problem = learnrate.SklearnTrainable(linear.SGDRegressor(learning_rate="constant"), x, x[:, 0])
    assert learnrate.sweep(problem, [0.1], epochs=1).framework == problem.framework == "sklearn"
