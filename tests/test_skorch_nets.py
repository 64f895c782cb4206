"""skorch nets through SklearnTrainable: stepped as they step themselves, put back bit for bit, left as found."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from learnrate import range_test, select
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.results import Verdict
from learnrate.testing import check_trainable

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

from sklearn.datasets import load_digits  # noqa: E402  # likewise
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor  # noqa: E402  # skipped
from skorch.callbacks import (  # noqa: E402  # where it is missing
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import Dataset  # noqa: E402  # likewise
from skorch.helper import predefined_split  # noqa: E402  # likewise
from torch import nn  # noqa: E402  # likewise

from learnrate.adapters.sklearn import SklearnTrainable  # noqa: E402  # likewise

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((60, 4)).astype(np.float32)
NUMBERS = (X @ np.array([[1.0], [-2.0], [0.5], [0.0]])).astype(np.float32)
CLASSES = np.digitize(NUMBERS[:, 0], [-1.0, 1.0])


class Module(nn.Module):
    def __init__(self, outputs=3, dropout=0.0, probabilities=True):
        super().__init__()
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, outputs)]
        self.layers = nn.Sequential(*layers, *([nn.Softmax(1)] if probabilities else []))

    def forward(self, inputs):
        return self.layers(inputs)


def classifier(**settings):
    return NeuralNetClassifier(Module, **({"verbose": 0, "lr": 0.05, "module__dropout": 0.2} | settings))


def regressor(**settings):
    return NeuralNetRegressor(
        Module, module__outputs=1, module__probabilities=False, **({"verbose": 0, "lr": 0.01} | settings)
    )


def state_of(net):
    return {name: it.clone() for name, it in net.module_.state_dict().items()}, copy.deepcopy(
        net.optimizer_.state_dict()
    )


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize(
    ("net", "y", "scoring"),
    [
        (
            classifier(optimizer=torch.optim.AdamW, lr=1e-3, callbacks=[GradientNormClipping(0.5)]),
            CLASSES,
            ["accuracy", "roc_auc_ovr"],
        ),
        (regressor(optimizer__momentum=0.9), NUMBERS, "r2"),
        (
            NeuralNetBinaryClassifier(
                Module, module__outputs=1, module__probabilities=False, verbose=0, iterator_train__drop_last=True
            ),
            (NUMBERS[:, 0] > 0).astype(np.float32),
            "balanced_accuracy",
        ),
    ],
    ids=["classes", "numbers", "two classes"],
)
def test_every_promise_of_a_trainable_is_kept(net, y, scoring):
    before = pickle.dumps(net)
    check_trainable(SklearnTrainable(net, X, y, batch_size=27, scoring=scoring))
    assert pickle.dumps(net) == before


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_steps_are_those_of_partial_fit(optimizer):
    net = classifier(optimizer=optimizer, callbacks=[GradientNormClipping(0.5)], train_split=None, lr=0.01)
    net.initialize()
    plain = copy.deepcopy(net).set_params(max_epochs=1, batch_size=-1)
    problem = SklearnTrainable(net, X, CLASSES, batch_size=20, validation_fraction=0)
    problem.begin(0.01, 1, 5)
    start = problem.snapshot()
    losses = problem.train([0.02, 0.01, 0.005])["loss"]
    order = np.random.default_rng((5, 0)).permutation(60)
    problem._model._random.set(start.estimator["random"])
    for number, rate in enumerate([0.02, 0.01, 0.005]):
        batch = order[20 * number : 20 * number + 20]
        plain.set_params(lr=rate).partial_fit(X[batch], CLASSES[batch])
    assert np.array_equal(losses, plain.history[:, "train_loss"])
    assert same(state_of(problem.estimator), state_of(plain))
    assert problem.estimator.lr == 0.005


def test_a_net_that_was_fitted_before_goes_on_from_its_weights_and_its_optimizer_and_is_left_alone():
    net = classifier(optimizer=torch.optim.Adam, max_epochs=2).fit(X, CLASSES)
    before = state_of(net)
    history = list(net.history)
    modules = net.module_, net.optimizer_
    problem = SklearnTrainable(net, X, CLASSES, batch_size=20)
    assert same(state_of(problem.estimator), before)
    problem.train(np.full(3, 0.01))
    assert not same(state_of(problem.estimator)[0], before[0])
    assert same(state_of(net), before)
    assert list(net.history) == history
    assert (net.module_, net.optimizer_) == modules


def test_a_new_net_begins_with_the_weights_that_fit_would_have_begun_with_and_moves_no_generator():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    problem = SklearnTrainable(classifier(), X, CLASSES)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(state_of(problem.estimator), state_of(classifier().initialize()))


def test_the_validation_loss_is_the_valid_loss_of_skorch():
    split = (X[40:], CLASSES[40:])
    net = classifier(train_split=predefined_split(Dataset(*split)), max_epochs=1)
    torch.manual_seed(0)
    problem = SklearnTrainable(net, X[:40], CLASSES[:40], validation_data=split, scoring="accuracy")
    torch.manual_seed(0)
    net.set_params(lr=1e-30).fit(X[:40], CLASSES[:40])
    problem.train([1e-30])
    metrics = problem.evaluate()
    assert metrics["val_loss"] == pytest.approx(net.history[-1, "valid_loss"], rel=1e-6)
    assert metrics["val_accuracy"] == net.history[-1, "valid_acc"]


def test_the_classes_of_a_batch_do_not_become_the_classes_of_the_net():
    problem = SklearnTrainable(classifier(), X, CLASSES.copy(), batch_size=20, validation_fraction=0)
    problem._y[:] = 0
    problem.train([0.1])
    assert problem.estimator.classes_.tolist() == [0, 1, 2]


def test_parameter_groups_keep_their_ratio():
    net = regressor(lr=0.1, optimizer__param_groups=[("layers.0.*", {"lr": 0.01})])
    problem = SklearnTrainable(net, X, NUMBERS)
    assert problem.learning_rate == 0.1
    problem.train([0.5])
    assert [group["lr"] for group in problem.estimator.optimizer_.param_groups] == [pytest.approx(0.05), 0.5]


def test_the_settings_of_the_net_are_its_own_again_after_a_step_that_failed():
    net = regressor(max_epochs=3, batch_size=-1, iterator_train__num_workers=2)
    problem = SklearnTrainable(net, X.astype(np.float64), NUMBERS, validation_fraction=0)
    assert problem.batch_size == 60
    own = problem.estimator
    before = {name: value for name, value in vars(own).items() if name != "lr"}
    with pytest.raises(RuntimeError, match="dtype"):
        problem.train([0.1])
    assert {name: value for name, value in vars(own).items() if name != "lr"} == before


class Interrupting(Callback):
    def on_grad_computed(self, net, named_parameters, **kwargs):
        raise KeyboardInterrupt


def test_ctrl_c_gets_through():
    with pytest.raises(KeyboardInterrupt):
        SklearnTrainable(classifier(callbacks=[Interrupting()]), X, CLASSES).train([0.1])


def test_images_train_too():
    net = NeuralNetClassifier(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)),
        criterion=nn.CrossEntropyLoss,
        verbose=0,
    )
    digits = load_digits()
    problem = SklearnTrainable(net, digits.images[:300, None].astype(np.float32), digits.target[:300])
    assert problem.describe()["features"] == 64
    assert problem.train(np.full(2, 0.01))["loss"].shape == (2,)


def test_range_test_and_select_find_the_rate_for_the_digits_and_leave_the_net():
    digits = load_digits()
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, verbose=0)
    before = pickle.dumps(net)
    generator = torch.get_rng_state()
    problem = SklearnTrainable(net, (digits.data / 16).astype(np.float32), digits.target, scoring="accuracy")
    assert range_test(problem).verdict is Verdict.FOUND
    answer = select(problem, epochs=6)
    assert answer.verdict is Verdict.FOUND
    assert 3e-3 < answer.learning_rate < 0.1
    assert pickle.dumps(net) == before
    assert torch.equal(torch.get_rng_state(), generator)
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value
    assert problem.evaluate()["val_accuracy"] > 0.9
    assert np.mean(problem.estimator.predict((digits.data / 16).astype(np.float32)) == digits.target) > 0.9


def test_divergence_is_nan_until_the_problem_is_restored():
    problem = SklearnTrainable(regressor(), X, NUMBERS, batch_size=20, scoring="r2")
    start = problem.snapshot()
    assert not np.isfinite(problem.train(np.full(9, 1e30))["loss"][-1])
    assert not any(math.isfinite(value) for value in problem.evaluate().values())
    problem.restore(start)
    assert all(math.isfinite(value) for value in problem.evaluate().values())


def test_what_is_changed_is_said():
    net = classifier(callbacks=[EarlyStopping(), Checkpoint(), EpochScoring("roc_auc_ovr"), GradientNormClipping()])
    shuffle, split, callbacks = SklearnTrainable(net, X, CLASSES).warnings
    assert "iterator_train__shuffle=True" in shuffle
    assert "train_split (ValidSplit) is off" in split
    assert callbacks.endswith("left out: EarlyStopping, Checkpoint")
    plain = classifier(iterator_train__shuffle=True, train_split=None, callbacks="disable")
    assert not SklearnTrainable(plain, X, CLASSES).warnings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"callbacks": [LRScheduler("StepLR", step_size=3)]}, r"LRScheduler\('StepLR'\).*learnrate\.schedules"),
        ({"callbacks": [Freezer("layers.0.*")]}, "Freezer, which acts at skorch's epochs"),
        ({"iterator_train__sampler": torch.utils.data.SequentialSampler(X)}, "iterator_train__sampler"),
    ],
)
def test_nets_that_cannot_be_stepped_are_refused(settings, message):
    with pytest.raises(UnsupportedProblemError, match=message):
        SklearnTrainable(classifier(**settings), X, CLASSES)


def test_arguments_that_cannot_be_used_are_refused():
    with pytest.raises(UnsupportedProblemError, match="is lr, or optimizer__lr"):
        SklearnTrainable(
            classifier(optimizer__weight_decay=0.1),
            X,
            CLASSES,
            learning_rate_parameter="optimizer__weight_decay",
        )
    with pytest.raises(InvalidArgumentError, match="LabelEncoder"):
        SklearnTrainable(classifier(), X, CLASSES.astype(str))
    with pytest.raises(InvalidArgumentError, match="learning rate of every parameter group is 0"):
        SklearnTrainable(classifier(lr=0.0), X, CLASSES)
    with pytest.raises(InvalidArgumentError, match="X is a dict"):
        SklearnTrainable(classifier(), {"one": X}, CLASSES)


def test_the_rate_may_be_a_setting_of_the_optimizer():
    net = classifier(optimizer__lr=0.3)
    problem = SklearnTrainable(net, X, CLASSES, learning_rate_parameter="optimizer__lr")
    assert problem.learning_rate == 0.3
    problem.train([0.2])
    assert problem.estimator.get_params()["optimizer__lr"] == 0.2
    assert problem.estimator.optimizer_.param_groups[0]["lr"] == 0.2


def test_what_the_problem_is_does_not_change_from_one_object_to_the_next():
    one = SklearnTrainable(classifier(callbacks=[GradientNormClipping(1.0)]), X, CLASSES)
    other = SklearnTrainable(classifier(callbacks=[GradientNormClipping(1.0)]), X, CLASSES)
    assert one.describe() == other.describe()
    assert one.describe() != SklearnTrainable(classifier(module__dropout=0.3), X, CLASSES).describe()
