"""A PyTorch problem trains as the user's own loop does, says what it measures, and refuses what it cannot train."""

# The global generators are what users draw from:
# ruff: noqa: NPY002

from __future__ import annotations

import collections
import copy
import doctest
import functools
import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import learnrate.adapters._torch_schedules
import learnrate.adapters.torch
from _torch_problems import LOADERS, LOSS, MODELS, OPTIMIZERS, Parts, Reiterable, differences
from learnrate.adapters.torch import TorchTrainable, lr_scheduler, schedule_from
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.schedules import cosine
from learnrate.testing import check_trainable
from learnrate.training import require_trainable


def rate_of(parts):
    return parts.optimizer.param_groups[0]["lr"]


def train(problem, rate, epochs):
    return [loss for _ in range(epochs) for loss in problem.train(np.full(problem.steps_per_epoch, rate))["loss"]]


def on(data, model=None, loss_fn=LOSS, **settings):
    """Make a problem of a small linear model on some data."""
    model = nn.Linear(4, 3) if model is None else model
    return TorchTrainable(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, data, **settings)


def batches(count=4, size=5):
    torch.manual_seed(0)
    return [(torch.randn(size, 4), torch.randint(0, 3, (size,))) for _ in range(count)]


# --- It trains as the plain loop does ---


@pytest.mark.parametrize("loader", LOADERS)
def test_training_equals_the_plain_loop_over_any_loader(loader):
    user = Parts(model="noise", optimizer="adam", loader=loader)
    expected = user.train_plainly(2)
    user.optimizer.zero_grad()
    parts = Parts(model="noise", optimizer="adam", loader=loader)
    assert train(parts.trainable(), rate_of(parts), 2) == expected
    assert differences(user.everything(), parts.everything()) == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_training_equals_the_plain_loop_of_any_model_and_optimizer(model, optimizer):
    user = Parts(model, optimizer)
    user.train_plainly(1)
    expected = user.train_plainly(2)  # a model and an optimizer that have been trained before
    parts = Parts(model, optimizer)
    parts.train_plainly(1)
    assert train(parts.trainable(), rate_of(parts), 2) == expected


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_accumulation_clipping_and_mixed_precision_are_those_of_the_plain_loop(dtype, clip_norm):
    user = Parts()
    scaler = torch.amp.GradScaler("cpu", enabled=dtype is torch.float16)
    expected = []
    for _ in range(2):
        chunks = list(user.loader)  # 22 samples in batches of 5: five batches, updates of 3 and of the 2 that are left
        for chunk in (chunks[:3], chunks[3:]):
            user.optimizer.zero_grad()
            total = 0.0
            for x, y in chunk:
                with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
                    loss = LOSS(user.model(x), y) / len(chunk)
                scaler.scale(loss).backward()
                total += loss.detach()
            scaler.unscale_(user.optimizer)
            if clip_norm:
                nn.utils.clip_grad_norm_(user.model.parameters(), clip_norm)
            scaler.step(user.optimizer)
            scaler.update()
            expected.append(float(total))
    parts = Parts()
    problem = parts.trainable(accumulate=3, clip_norm=clip_norm, autocast=dtype)
    assert problem.steps_per_epoch == 2
    assert train(problem, rate_of(parts), 2) == expected
    for one, other in zip(user.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_update_over_fewer_batches_than_announced_averages_those_that_came():
    data = batches(5)

    class Short:
        def __len__(self):
            return 6

        def __iter__(self):
            return iter(data)

    one, other = nn.Linear(4, 3), nn.Linear(4, 3)
    other.load_state_dict(one.state_dict())
    joined = [(torch.cat([x for x, _ in part]), torch.cat([y for _, y in part])) for part in (data[:3], data[3:])]
    whole = on(joined, one)
    short = on(Short(), other, accumulate=3)
    np.testing.assert_allclose(whole.train([0.5, 0.1])["loss"], short.train([0.5, 0.1])["loss"], rtol=1e-6)
    torch.testing.assert_close(one.weight, other.weight)


def test_losses_are_float64_arrays_of_one_value_per_rate():
    report = on(batches()).train(np.full(3, 0.1))
    assert list(report) == ["loss"]
    assert report["loss"].dtype == np.float64
    assert report["loss"].shape == (3,)


def test_the_problem_is_a_trainable():
    assert require_trainable(on(batches())).steps_per_epoch == 4


def test_a_caller_without_gradients_trains_all_the_same():
    expected = on(batches(), model=seeded()).train([0.1, 0.1])["loss"]
    with torch.no_grad():
        assert on(batches(), model=seeded()).train([0.1, 0.1])["loss"].tolist() == expected.tolist()


def seeded(*layers):
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(4, 4), *layers, nn.Linear(4, 3))


# --- Rates and groups ---


def test_groups_keep_their_ratios_and_the_largest_follows_exactly():
    model = seeded(nn.Linear(4, 4))
    rates = [0.3, 0.1, 0.0]
    groups = [{"params": layer.parameters(), "lr": rate} for layer, rate in zip(model, rates, strict=True)]
    optimizer = torch.optim.SGD(groups)
    problem = TorchTrainable(model, optimizer, LOSS, batches())
    assert problem.learning_rate == 0.3
    frozen = model[2].weight.clone()
    problem.train([0.3])
    assert [group["lr"] for group in optimizer.param_groups] == rates  # to the bit
    problem.train([0.7])
    assert optimizer.param_groups[0]["lr"] == 0.7
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.7 / 3)
    assert optimizer.param_groups[2]["lr"] == 0.0
    assert torch.equal(model[2].weight, frozen)


def test_a_rate_that_is_a_tensor_is_set_in_place():
    model = seeded()
    rate = torch.tensor(0.01, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, foreach=False)
    problem = TorchTrainable(model, optimizer, LOSS, batches())
    start = problem.snapshot()
    problem.train([0.25])
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.25
    problem.restore(start)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.01


def test_groups_that_were_replaced_by_loading_a_checkpoint_still_follow():
    parts = Parts()
    problem = parts.trainable()
    parts.optimizer.load_state_dict(copy.deepcopy(parts.optimizer.state_dict()))
    problem.train([0.5])
    assert {group["lr"] for group in parts.optimizer.param_groups} == {0.5}


@pytest.mark.parametrize("rates", [[-0.1], [np.nan], [0.1, np.inf], [[0.1]]])
def test_rates_that_cannot_be_used_are_refused(rates):
    problem = on(batches())
    with pytest.raises(InvalidArgumentError, match="learning rates"):
        problem.train(rates)


def test_rate_zero_leaves_the_weights():
    model = seeded()
    before = copy.deepcopy(model.state_dict())
    on(batches(), model).train(np.zeros(4))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# --- Modes ---


def test_a_frozen_batch_norm_stays_frozen():
    model = seeded(nn.BatchNorm1d(4))
    model[1].eval()
    before = model[1].running_mean.clone()
    problem = on(batches(), model, validation_data=batches())
    problem.train(np.full(3, 0.1))
    problem.evaluate()
    problem.train(np.full(1, 0.1))
    assert torch.equal(model[1].running_mean, before)
    assert model.training
    assert not model[1].training


def test_a_model_in_eval_mode_is_trained_in_train_mode_and_left_in_eval_mode():
    model = seeded(nn.BatchNorm1d(4)).eval()
    problem = on(batches(), model)
    assert not model.training
    start = problem.snapshot()
    problem.train(np.full(3, 0.1))
    assert int(model[1].num_batches_tracked) == 3
    problem.restore(start)
    assert not any(module.training for module in model.modules())
    assert int(model[1].num_batches_tracked) == 0


def test_frozen_parameters_stay():
    model = seeded()
    model[0].requires_grad_(requires_grad=False)
    before = model[0].weight.clone()
    on(batches(), model).train(np.full(4, 0.5))
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_trains_and_its_snapshots_fit_the_model_itself(in_place, tmp_path):
    model = seeded(nn.Dropout(0.2))
    plain = on(batches(), copy.deepcopy(model))
    if in_place:
        model.compile(backend="eager")
    problem = on(batches(), model if in_place else torch.compile(model, backend="eager"), validation_data=batches())
    torch.manual_seed(1)
    start = problem.snapshot()
    losses = problem.train(np.full(4, 0.1))["loss"]
    problem.evaluate()
    problem.save(start, tmp_path / "start")
    plain.restore(plain.load(tmp_path / "start"))
    assert plain.train(np.full(4, 0.1))["loss"].tolist() == pytest.approx(losses.tolist())
    assert problem.describe()["model"] == "Sequential"
    assert problem.describe()["shapes"] == plain.describe()["shapes"]


# --- Validation and metrics ---


def accuracy(outputs, targets):
    assert not outputs.requires_grad
    return (outputs.argmax(1) == targets).float().mean()


def test_evaluation_is_the_mean_over_the_samples_and_in_eval_mode():
    parts = Parts(model="noise")
    problem = parts.trainable(metrics={"accuracy": accuracy, "size": lambda outputs, targets: len(targets)})
    x, y = parts.validation.dataset.tensors  # 22 samples in batches of 8, 8 and 6
    parts.model.eval()
    with torch.no_grad():
        outputs = parts.model(x)
    parts.model.train()
    values = problem.evaluate()
    assert values["val_loss"] == pytest.approx(float(LOSS(outputs, y)))
    assert values["val_accuracy"] == pytest.approx(float(accuracy(outputs, y)))
    assert values["val_size"] == pytest.approx((8 * 8 + 8 * 8 + 6 * 6) / 22)
    assert all(type(value) is float for value in values.values())


def test_evaluation_without_validation_data_is_empty():
    problem = on(batches())
    assert problem.evaluate() == {}
    assert problem.evaluation_steps == 0


@pytest.mark.parametrize("shuffle", [False, True])
def test_evaluation_moves_no_generator(shuffle):
    parts = Parts(model="noise")
    generator = torch.Generator().manual_seed(1)
    data = parts.validation.dataset
    parts.validation = DataLoader(data, 8, shuffle=shuffle, generator=generator if shuffle else None)
    before, state = parts.everything(), generator.get_state()
    parts.trainable().evaluate()
    assert differences(before, parts.everything()) == []
    assert torch.equal(generator.get_state(), state)


def test_an_exception_in_an_evaluation_leaves_modes_buffers_and_generators():
    parts = Parts(model="noise")
    before = parts.everything()

    def fail(outputs, targets):
        torch.rand(3)
        raise ValueError(outputs.shape)

    with pytest.raises(ValueError, match="Size"):
        parts.trainable(metrics={"broken": fail}).evaluate()
    assert differences(before, parts.everything()) == []


def test_whole_epoch_metrics_are_computed_over_all_the_data_and_left_as_found():
    parts = Parts()
    metric = torchmetrics.AUROC(task="multiclass", num_classes=3)
    metric.update(torch.eye(3), torch.arange(3))
    found = copy.deepcopy(metric.state_dict()), len(metric.preds)
    reference = torchmetrics.AUROC(task="multiclass", num_classes=3)
    problem = parts.trainable(
        metrics={"auroc": metric, "accuracy": torchmetrics.Accuracy(task="multiclass", num_classes=3)}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a batch without one of the classes has no AUROC
        report = problem.train(np.full(5, 0.1))
    assert report["accuracy"].shape == (5,)
    assert set(np.round(report["accuracy"] * 5)) <= set(range(6))
    values = problem.evaluate()
    x, y = parts.validation.dataset.tensors
    parts.model.eval()
    with torch.no_grad():
        assert values["val_auroc"] == pytest.approx(float(reference(parts.model(x), y)))
    assert (metric.state_dict(), len(metric.preds)) == found


def test_a_metric_for_the_validation_alone_is_not_asked_in_training():
    class Whole:
        def __init__(self):
            self.seen = 0

        def reset(self):
            self.seen = 0

        def update(self, outputs, targets):
            self.seen += len(targets)

        def compute(self):
            assert self.seen == 20, "all of the data is needed"
            return self.seen

    metrics = {"val_whole": Whole(), "val_accuracy": accuracy}
    problem = on(batches(), validation_data=batches(), metrics=metrics)
    assert list(problem.train(np.full(2, 0.1))) == ["loss"]
    assert problem.evaluate()["val_whole"] == 20
    assert sorted(problem.evaluate()) == ["val_accuracy", "val_loss", "val_whole"]


def test_training_metrics_are_those_of_each_steps_own_batches():
    seen = []

    def record(outputs, targets):
        seen.append((float(accuracy(outputs, targets)), len(targets)))
        return seen[-1][0]

    data = [(torch.randn(size, 4), torch.randint(0, 3, (size,))) for size in (3, 5, 2, 6, 4)]
    report = on(data, metrics={"accuracy": record}, accumulate=2).train(np.full(3, 0.1))
    pairs = [seen[0:2], seen[2:4], seen[4:]]
    means = [sum(value * size for value, size in pair) / sum(size for _, size in pair) for pair in pairs]
    np.testing.assert_allclose(report["accuracy"], means)


def test_a_training_step_takes_any_batch_and_may_return_metrics():
    Graph = collections.namedtuple("Graph", "nodes edges")  # noqa: PYI024  # as users have them

    def step(model, batch):
        assert isinstance(batch["graph"], Graph)
        assert isinstance(batch["parts"], tuple)
        outputs = model(batch["graph"].nodes + batch["parts"][0][0])
        loss = LOSS(outputs, batch["y"])
        return {"loss": loss, "accuracy": accuracy(outputs.detach(), batch["y"]), "name length": len(batch["name"])}

    data = [{"graph": Graph(x, [1, 2]), "parts": ([torch.ones(4)], None), "y": y, "name": "some"} for x, y in batches()]
    problem = on(data, loss_fn=None, training_step=step, validation_data=data[:2])
    report = problem.train(np.full(4, 0.1))
    assert list(report) == ["loss", "accuracy", "name length"]
    assert report["name length"].tolist() == [4.0] * 4
    assert list(problem.evaluate()) == ["val_loss", "val_accuracy", "val_name length"]
    check_trainable(problem)


def test_the_cost_of_an_evaluation_is_in_training_steps():
    x, y = torch.randn(90, 4), torch.zeros(90, dtype=torch.long)
    whole, part = TensorDataset(x, y), TensorDataset(x[:30], y[:30])
    loader = DataLoader(whole, batch_size=9, shuffle=True)
    assert on(loader, validation_data=DataLoader(part, 7)).evaluation_steps == pytest.approx(30 / 9 / 3)
    assert on(loader, validation_data=DataLoader(part, 7), accumulate=5).evaluation_steps == pytest.approx(30 / 45 / 3)
    assert on(batches(4, 5), validation_data=batches(2, 10)).evaluation_steps == pytest.approx(20 / 5 / 3)


# --- Divergence and exceptions ---


def test_a_loss_that_is_not_finite_is_reported_with_the_rest_of_the_block():
    problem = on(batches(), nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)), loss_fn=lambda o, t: (o**2).sum())
    losses = problem.train(np.full(12, 1e6))["loss"]
    assert np.isfinite(losses[0])
    assert not np.isfinite(losses[-4:]).any()
    assert losses.shape == (12,)


def test_an_exception_that_weights_of_nan_cause_is_a_divergence():
    def loss_fn(outputs, targets):
        return -1e10 * torch.distributions.Categorical(logits=outputs).log_prob(targets).mean()  # refuses NaN

    def strict(outputs, targets):
        if not outputs.isfinite().all():
            raise ValueError(outputs)
        return accuracy(outputs, targets)

    problem = on(batches(), loss_fn=loss_fn, validation_data=batches(), metrics={"accuracy": strict})
    losses = problem.train([1e-12, 1e30, 1e-12, 1e-12, 1e-12, 1e-12])["loss"]
    assert np.isfinite(losses[:2]).all()
    assert np.isnan(losses[-1])
    assert len(losses) == 6
    values = problem.evaluate()
    assert list(values) == ["val_loss", "val_accuracy"]
    assert np.isnan(list(values.values())).all()


@pytest.mark.parametrize("step", [1, 3])
def test_a_users_exception_propagates_unchanged(step):
    error = RuntimeError("mine")
    calls = []

    def loss_fn(outputs, targets):
        calls.append(1)
        if len(calls) == step:
            raise error
        return LOSS(outputs, targets)

    with pytest.raises(RuntimeError) as caught:
        on(batches(), loss_fn=loss_fn).train(np.full(4, 0.1))
    assert caught.value is error


# --- What is refused ---


def other_optimizer(_):
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


def partly_other_optimizer(model):
    return torch.optim.SGD([*model.parameters(), *nn.Linear(2, 2).parameters()], lr=0.1)


def scheduled_optimizer(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedulers.StepLR(optimizer, 5)
    return optimizer


REFUSED_OPTIMIZERS = {
    "other model": (other_optimizer, "none of the optimizer's 2 parameters belongs to the model"),
    "partly another": (partly_other_optimizer, "2 of the optimizer's 4 parameters do not belong"),
    "lbfgs": (lambda model: torch.optim.LBFGS(model.parameters()), "LBFGS evaluates the loss several times"),
    "no optimizer": (lambda model: "adam", "the optimizer is a str"),
    "scheduler": (scheduled_optimizer, "schedule_from"),
    "all at zero": (lambda model: torch.optim.SGD(model.parameters(), lr=0.0), "every parameter group is 0"),
}


@pytest.mark.parametrize("name", REFUSED_OPTIMIZERS)
def test_an_optimizer_that_cannot_be_searched_is_refused(name):
    make, message = REFUSED_OPTIMIZERS[name]
    model = nn.Linear(4, 3)
    with pytest.raises((UnsupportedProblemError, InvalidArgumentError), match=message):
        TorchTrainable(model, make(model), LOSS, batches())


def test_a_checkpoint_of_an_optimizer_with_a_scheduler_works_once_its_mark_is_removed():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.load_state_dict(scheduled_optimizer(model).state_dict())
    with pytest.raises(UnsupportedProblemError, match="initial_lr"):
        TorchTrainable(model, optimizer, LOSS, batches())
    for group in optimizer.param_groups:
        group.pop("initial_lr")
    TorchTrainable(model, optimizer, LOSS, batches())


def test_a_model_that_cannot_be_trained_is_refused():
    optimizer = torch.optim.SGD(nn.Linear(4, 3).parameters(), lr=0.1)
    frozen = nn.Linear(4, 3).requires_grad_(requires_grad=False)
    half = nn.Sequential(nn.Linear(4, 4).requires_grad_(requires_grad=False), nn.Linear(4, 3))
    lazy = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3))
    for model, message in [
        ("net", "the model is a str"),
        (nn.ReLU(), "no trainable parameter"),
        (frozen, "no trainable parameter"),
        (lazy, "0.weight is a lazy parameter"),
    ]:
        with pytest.raises(UnsupportedProblemError, match=message):
            TorchTrainable(model, optimizer, LOSS, batches())
    with pytest.raises(UnsupportedProblemError, match="none of the optimizer's parameters is trainable"):
        TorchTrainable(half, torch.optim.SGD(half[0].parameters(), lr=0.1), LOSS, batches())


def test_a_distributed_model_is_refused_with_the_reason(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
        with pytest.raises(UnsupportedProblemError, match=r"DistributedDataParallel.*wait for each other"):
            on(batches(), model)
        on(batches(), model.module)
    finally:
        torch.distributed.destroy_process_group()


class NoLength(IterableDataset):
    def __iter__(self):
        return iter(batches(3))


REFUSED_DATA = {
    "one-shot": (lambda: iter(batches()), "can be iterated once only"),
    "generator": (lambda: (batch for batch in batches()), "generator.*once only"),
    "loader's iterator": (lambda: iter(DataLoader(TensorDataset(torch.ones(4, 4)))), "once only"),
    "empty list": (list, "is empty"),
    "drop_last": (lambda: DataLoader(TensorDataset(torch.ones(4, 4)), batch_size=5, drop_last=True), "drop_last"),
    "tensors": (lambda: (torch.ones(5, 4), torch.ones(5)), r"DataLoader\(TensorDataset"),
    "data set": (lambda: TensorDataset(torch.ones(5, 4), torch.ones(5)), "single samples"),
    "number": (lambda: 3, "cannot be iterated"),
    "no length": (NoLength, "pass steps_per_epoch="),
}


@pytest.mark.parametrize("name", REFUSED_DATA)
def test_data_that_cannot_be_trained_on_is_refused(name):
    make, message = REFUSED_DATA[name]
    with pytest.raises(InvalidArgumentError, match=message):
        on(make())
    if name != "no length":
        with pytest.raises(InvalidArgumentError, match=message.replace("train_data", "validation_data")):
            on(batches(), validation_data=make())


def test_data_that_turns_out_empty_or_exhausted_is_refused():
    class Empty:
        def __iter__(self):
            return iter([])

    class Once:
        def __init__(self):
            self.batches = iter(batches(3))

        def __iter__(self):
            yield from self.batches

    with pytest.raises(InvalidArgumentError, match="no batch in pass 1"):
        on(Empty(), steps_per_epoch=2).train([0.1])
    problem = on(Once(), steps_per_epoch=2)
    with pytest.raises(InvalidArgumentError, match="no batch in pass 2"):
        problem.train(np.full(4, 0.1))
    with pytest.raises(InvalidArgumentError, match="validation_data gave no batch"):
        on(batches(), validation_data=Empty()).evaluate()


BAD_LOSSES = {
    "not a scalar": (lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"), r"a tensor of shape \(5,\)"),
    "no gradient": (lambda o, t: LOSS(o, t).detach(), "carries no gradient"),
    "a number": (lambda o, t: LOSS(o, t).item(), "the loss is a float"),
    "nothing": (lambda o, t: None, "the loss is a NoneType"),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_a_loss_that_cannot_be_trained_is_refused_and_nothing_has_changed(name):
    loss_fn, message = BAD_LOSSES[name]
    parts = Parts(model="noise")
    before = parts.everything()
    problem = parts.trainable(loss_fn)
    start = problem.snapshot()
    with pytest.raises(UnsupportedProblemError, match=message):
        problem.train(np.full(3, 0.1))
    problem.restore(start)
    assert differences(before, parts.everything()) == []


def test_settings_that_cannot_be_used_are_refused():
    for settings, message in [
        ({"accumulate": 0}, "accumulate is 0"),
        ({"accumulate": 1.5}, "accumulate is 1.5"),
        ({"steps_per_epoch": -1}, "steps_per_epoch is -1"),
        ({"steps_per_epoch": True}, "steps_per_epoch is True"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"clip_norm": float("nan")}, "clip_norm is nan"),
        ({"autocast": "half"}, "autocast is 'half'"),
        ({"device": "meta"}, r"Call model.to\('meta'\)"),
        ({"metrics": {"loss": accuracy}}, "the name 'loss'"),
        ({"metrics": {"val_x": accuracy, "x": accuracy}}, "the name 'x'"),
        ({"metrics": {3: accuracy}}, "the name 3"),
        ({"metrics": {"accuracy": "accuracy"}}, "the metric accuracy is a str"),
        ({"metrics": {"accuracy": accuracy}, "training_step": lambda m, b: None}, "return a mapping"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            on(batches(), **settings)
    for settings, message in [
        ({"loss_fn": None}, "loss_fn is a NoneType"),
        ({"loss_fn": "mse"}, "loss_fn is a str"),
        ({"training_step": 3}, "training_step is a int"),
    ]:
        with pytest.raises(UnsupportedProblemError, match=message):
            on(batches(), **settings)


def test_batches_and_metrics_of_the_wrong_kind_are_named():
    x, y = batches(1)[0]
    for data, message in [([(x, y, y)], "a tuple of length 3, not a pair"), ([x], "a tensor of shape")]:
        with pytest.raises(UnsupportedProblemError, match=message):
            on(data).train([0.1])
    with pytest.raises(UnsupportedProblemError, match="the metric all is a tensor of shape"):
        on(batches(), metrics={"all": lambda o, t: o}).train([0.1])
    with pytest.raises(UnsupportedProblemError, match="must hold the loss"):
        on(batches(), training_step=lambda model, batch: {"acc": 1}).train([0.1])


def test_a_scheduler_that_is_attached_is_refused_before_anything_changes():
    parts = Parts()
    schedulers.CosineAnnealingLR(parts.optimizer, T_max=20)
    before = parts.everything()
    with pytest.raises(UnsupportedProblemError, match=r'CosineAnnealingLR.*by="epoch", epochs=20'):
        parts.trainable()
    assert differences(before, parts.everything()) == []


# --- Epochs that are not passes ---


def test_an_epoch_of_so_many_steps_goes_on_where_the_last_one_ended():
    problem = on(batches(5), steps_per_epoch=3)
    losses = np.concatenate([problem.train(np.zeros(3))["loss"] for _ in range(5)])
    assert losses[:5].tolist() == losses[5:10].tolist() == losses[10:].tolist()
    assert len(set(losses[:5])) == 5


def test_iterable_data_with_a_length_needs_no_steps_per_epoch():
    problem = on(Reiterable(torch.randn(22, 4), torch.arange(22) % 3, 5))
    assert problem.steps_per_epoch == 5


# --- Seeds, names ---


def test_a_training_depends_on_its_seed_alone():
    parts = Parts(model="noise", loader="augmented")
    problem = parts.trainable()
    start = problem.snapshot()
    losses = []
    for seed, wasted in [(1, 0), (1, 3), (2, 0)]:
        problem.restore(start)
        for _ in range(wasted):
            problem.train([0.1])
        problem.restore(start)
        np.random.rand(wasted)
        torch.rand(wasted)
        problem.begin(0.1, 2, seed)
        losses.append(problem.train(np.full(5, 0.05))["loss"].tolist())
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_training_that_begins_in_the_middle_of_a_pass_starts_at_its_beginning():
    problem = on(batches(4))
    first = problem.train(np.zeros(4))["loss"]
    problem.train(np.zeros(2))
    problem.begin(0.1, 1, 0)
    assert problem.train(np.zeros(4))["loss"].tolist() == first.tolist()


def test_a_description_tells_problems_apart_and_is_plain():
    one = Parts().trainable().describe()
    assert json.loads(json.dumps(one)) == one
    assert Parts().trainable().describe() == one
    trained = Parts()
    trained.train_plainly(1)
    assert trained.trainable().describe() == one
    settings = [{"accumulate": 2}, {"clip_norm": 1.0}, {"autocast": "bfloat16"}, {"steps_per_epoch": 4}]
    others = [Parts(model="batchnorm").trainable(), Parts(optimizer="adam").trainable()]
    others += [Parts().trainable(**setting) for setting in settings]
    momentum = Parts()
    momentum.optimizer.param_groups[0]["momentum"] = 0.5
    assert all(other.describe() != one for other in [*others, momentum.trainable()])


# --- Schedules and schedulers ---


SCHEDULERS = {
    "cosine": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, T_max=6, eta_min=1e-3),
    "step": lambda optimizer: schedulers.StepLR(optimizer, 2, gamma=0.3),
    "lambda": lambda optimizer: schedulers.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
    "sequence": lambda optimizer: schedulers.SequentialLR(
        optimizer,
        [schedulers.LinearLR(optimizer, 0.1, total_iters=2), schedulers.ExponentialLR(optimizer, 0.5)],
        milestones=[2],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_made_of_a_scheduler_is_what_the_scheduler_does(name):
    parameter = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    scheduler = SCHEDULERS[name](optimizer)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(6):
            expected += [optimizer.param_groups[0]["lr"]] * 4
            optimizer.step()
            scheduler.step()
    schedule = schedule_from(SCHEDULERS[name], by="epoch", epochs=6)(0.3, 24)
    assert schedule.learning_rate == 0.3
    assert schedule.total_steps == 24
    assert [schedule(step) for step in range(24)] == expected
    assert schedule(np.arange(24)).tolist() == expected
    by_step = schedule_from(SCHEDULERS[name], by="step")(0.3, 6)
    assert [by_step(step) for step in range(6)] == expected[::4]
    short = schedule_from(SCHEDULERS[name], by="epoch", epochs=6)(0.3, 6)  # the whole shape in a quarter of the steps
    assert [short(step) for step in range(6)] == expected[::4]


def test_a_scheduler_with_rates_of_its_own_is_scaled_to_the_peak():
    def cyclic(optimizer):
        return schedulers.CyclicLR(optimizer, 1e-4, 1e-2, step_size_up=20, step_size_down=20)

    schedule = schedule_from(cyclic, by="epoch", epochs=100)(0.5, 1000)
    rates = schedule(np.arange(1000))
    assert rates.max() == pytest.approx(0.5)
    assert rates.min() == pytest.approx(0.005)
    assert rates[10] == pytest.approx(0.5 * (1e-4 + (1e-2 - 1e-4) / 20) / 1e-2)

    def one_cycle(optimizer):
        return schedulers.OneCycleLR(optimizer, max_lr=3.0, total_steps=50)

    assert schedule_from(one_cycle, by="step", steps=50)(0.1, 200)(np.arange(200)).max() == pytest.approx(0.1)


def test_schedulers_that_cannot_be_a_schedule_are_refused():
    step = SCHEDULERS["step"]
    other = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    for arguments, message in [
        ({"by": "batch"}, "by is 'batch'"),
        ({}, "epochs=None"),
        ({"by": "step", "epochs": 3}, "epochs=3"),
        ({"epochs": 3, "steps": 3}, "steps=3"),
        ({"epochs": 0}, "epochs is 0"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            schedule_from(step, **arguments)
    with pytest.raises(InvalidArgumentError, match="pass a function"):
        schedule_from(step(other), epochs=3)
    for make, message in [
        (schedulers.ReduceLROnPlateau, "ReduceLROnPlateau"),
        (lambda optimizer: None, "NoneType"),
        (lambda optimizer: step(other), "another optimizer"),
    ]:
        with pytest.raises(UnsupportedProblemError, match=message):
            schedule_from(make, epochs=3)(0.1, 30)


def test_a_pytorch_scheduler_follows_a_schedule():
    model = seeded()
    groups = [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[1].parameters(), "lr": 0.02}]
    optimizer = torch.optim.SGD(groups)
    schedule = cosine(0.2, 10, warmup_fraction=0.3)
    scheduler = lr_scheduler(optimizer, schedule)
    rates = []
    for _ in range(12):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [largest for largest, _ in rates] == [schedule(step) for step in range(12)]
    assert all(smaller == pytest.approx(largest / 10) for largest, smaller in rates)
    saved = scheduler.state_dict()
    json.dumps({key: value for key, value in saved.items() if isinstance(value, int | float)})
    again = lr_scheduler(torch.optim.SGD(copy.deepcopy(groups)), schedule)
    again.load_state_dict(saved)
    assert again.last_epoch == 12
    assert "_schedule" not in saved


def test_training_on_the_recommended_schedule_equals_the_users_script():
    schedule = cosine(0.05, 10)
    user = Parts()
    scheduler = lr_scheduler(user.optimizer, schedule)
    expected = []
    for _ in range(2):
        for x, y in user.loader:
            user.optimizer.zero_grad()
            loss = LOSS(user.model(x), y)
            loss.backward()
            user.optimizer.step()
            scheduler.step()
            expected.append(loss.item())
    problem = Parts().trainable()
    assert [loss for at in (0, 5) for loss in problem.train(schedule(np.arange(at, at + 5)))["loss"]] == expected


# --- The module ---


@pytest.mark.parametrize("module", [learnrate.adapters.torch, learnrate.adapters._torch_schedules])
def test_the_examples_in_the_docs_run(module):
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted
    assert not result.failed


def test_without_pytorch_the_import_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import learnrate.adapters.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in done.stderr
    assert "pip install learnrate[torch]" in done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_the_gpu_synchronises_once_a_block():
    model = seeded().cuda()
    data = [(x.cuda(), y.cuda()) for x, y in batches(8)]
    problem = on(data, model, metrics={"accuracy": accuracy})
    problem.train(np.full(8, 0.1))
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            problem.train(np.full(8, 0.1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([it for it in caught if "synchronizing" in str(it.message)]) <= 2  # the losses and the metric


# --- The check that every adapter passes, on problems that break one promise each ---


class NoLosses(TorchTrainable):
    def train(self, learning_rates):
        return {"value": super().train(learning_rates)["loss"]}


class Float32(TorchTrainable):
    def train(self, learning_rates):
        return {"loss": super().train(learning_rates)["loss"].astype(np.float32)}


class MeanRate(TorchTrainable):
    def train(self, learning_rates):
        return super().train(np.full(len(learning_rates), np.mean(learning_rates)))


class OneRate(TorchTrainable):
    def train(self, learning_rates):
        return super().train(np.full(len(learning_rates), 0.1))


class ForgetsMomentum(TorchTrainable):
    def train(self, learning_rates):
        self.optimizer.state.clear()
        return super().train(learning_rates)


class ForgetsOptimizer(TorchTrainable):
    def restore(self, snapshot):
        state = {**snapshot.state, "optimizer": self._state._optimizer_state()}
        super().restore(type(snapshot)(state, snapshot.place))


class ForgetsRandomness(TorchTrainable):
    def restore(self, snapshot):
        state = {**snapshot.state, "random": self._randomness.states()}
        super().restore(type(snapshot)(state, snapshot.place))


class ForgetsPlace(TorchTrainable):
    def restore(self, snapshot):
        super().restore(type(snapshot)(snapshot.state, self._stream.place()))


class SharesWeights(TorchTrainable):
    def snapshot(self):
        taken = super().snapshot()
        weights = {name: parameter.detach() for name, parameter in self._state.parameters.items()}
        return type(taken)({**taken.state, "parameters": weights}, taken.place)


class RoundsInFiles(TorchTrainable):
    def load(self, path):
        loaded = super().load(path)
        for weight in loaded.state["parameters"].values():
            weight.copy_(weight.bfloat16())
        return loaded


class MovesNumpy(TorchTrainable):
    def evaluate(self):
        np.random.rand()
        return super().evaluate()


class MovesTorch(TorchTrainable):
    def evaluate(self):
        torch.rand(())
        return super().evaluate()


class StaysInEvalMode(TorchTrainable):
    def evaluate(self):
        values = super().evaluate()
        self._training_modes = dict.fromkeys(self._training_modes, False)
        return values


class PlainNames(TorchTrainable):
    def evaluate(self):
        return {name.removeprefix("val_"): value for name, value in super().evaluate().items()}


class NumpyValues(TorchTrainable):
    def evaluate(self):
        return {name: np.float64(value) for name, value in super().evaluate().items()}


class IgnoresSeeds(TorchTrainable):
    def begin(self, learning_rate, epochs, seed):
        pass


class RaisesAtInfinity(TorchTrainable):
    def train(self, learning_rates):
        report = super().train(learning_rates)
        if not np.isfinite(report["loss"]).all():
            raise FloatingPointError
        return report


BROKEN = {
    NoLosses: "must report 'loss'",
    Float32: "a float64 array of one value per rate",
    MeanRate: "after which alone the rates differed",
    OneRate: "changed no later loss",
    ForgetsMomentum: "blocks only group steps",
    ForgetsOptimizer: "differ",
    ForgetsRandomness: "differ",
    ForgetsPlace: "differ",
    SharesWeights: "differ",
    RoundsInFiles: "saved and loaded",
    MovesNumpy: "moved the global random generator",
    MovesTorch: "evaluat",
    StaysInEvalMode: "evaluat",
    PlainNames: "its names begin with val_",
    NumpyValues: "a float is needed",
    IgnoresSeeds: "the same seed",
    RaisesAtInfinity: "is returned, not raised",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_check_names_the_promise_that_is_broken(broken):
    parts = Parts(model="noise")
    before = parts.everything()
    problem = broken(parts.model, parts.optimizer, LOSS, parts.loader, parts.validation)
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_trainable(problem)
    if broken not in (ForgetsOptimizer, ForgetsRandomness, SharesWeights):
        assert differences(before, parts.everything()) == []


def test_the_check_refuses_what_is_no_trainable():
    with pytest.raises(UnsupportedProblemError, match="lacks"):
        check_trainable(nn.Linear(1, 1))


@pytest.mark.parametrize("epochs", [3, 6, 12])
def test_a_sample_that_is_no_number_is_not_taken_for_a_network_that_cannot_learn(epochs):
    torch.manual_seed(0)
    inputs = torch.randn(300, 8)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    inputs[17] = math.nan
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    data = DataLoader(TensorDataset(inputs, targets), 32, shuffle=True)
    clean = [(inputs[100:200], targets[100:200])]
    answer = learnrate.select(
        TorchTrainable(model, torch.optim.Adam(model.parameters()), nn.functional.cross_entropy, data, clean),
        epochs=epochs,
    )
    assert answer.learning_rate is None
    assert "look for NaN or infinity in the data" in str(answer)


@pytest.mark.parametrize("verb", [learnrate.select, functools.partial(learnrate.sweep, learning_rates=[0.01, 0.1])])
def test_a_metric_that_is_nan_before_training_ends_the_verb_and_names_the_first_bad_sample(verb):
    validation = batches()
    validation[2][0][3, 1] = math.nan
    problem = on(batches(), validation_data=validation)
    trained = []
    with pytest.raises(
        UnsupportedProblemError, match="val_loss is NaN before any training: sample 13 of the validation"
    ):
        verb(problem, epochs=3, on_event=trained.append)
    assert not [event for event in trained if event.trial is not None]
