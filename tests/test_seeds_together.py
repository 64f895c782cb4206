"""Range tests of several seeds in one program: the climbs of one after another, to rounding, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest

from learnrate import range_test
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.testing import QuadraticTrainable

torch = pytest.importorskip("torch")
nn = torch.nn
TorchTrainable = pytest.importorskip("learnrate.adapters.torch").TorchTrainable

SEEDS = [3, 4, 5]
MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
    "convnet": lambda: nn.Sequential(
        *(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ),
    "norm": lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
}
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
}


def data(size=44):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, 4, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0).long()


class Jittered(torch.utils.data.TensorDataset):
    """Samples with noise that is drawn as they are read, from two kinds of generator."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 0.1 * torch.randn(4) + 0.1 * np.random.rand(), y  # noqa: NPY002  # the global one, as users do


def problem(model="mlp", optimizer="adam", *, dataset=Jittered, loader=None, **settings):
    torch.manual_seed(0)
    model = (MODELS[model] if isinstance(model, str) else model)()
    x, y = data()
    loader = {"batch_size": 8, "shuffle": True} | (loader or {})
    batches = torch.utils.data.DataLoader(dataset(x, y), **loader)
    settings = {"validation_data": [(x, y)]} | settings
    return TorchTrainable(model, OPTIMIZERS[optimizer](model.parameters()), nn.CrossEntropyLoss(), batches, **settings)


def begun(trainable, seeds):
    start = trainable.snapshot()
    snapshots = []
    for seed in seeds:
        trainable.restore(start)
        trainable.begin(1.0, 1, seed)
        snapshots.append(trainable.snapshot())
    trainable.restore(start)
    return snapshots


@pytest.mark.parametrize(
    ("model", "optimizer", "settings"),
    [
        ("mlp", "sgd", {"clip_norm": 0.5}),
        ("convnet", "adam", {}),
        ("norm", "adam", {"accumulate": 4}),
    ],
)
def test_fifty_steps_of_each_seed_are_those_of_its_own_training(model, optimizer, settings):
    trainable = problem(model, optimizer, **settings)
    rates = 1e-2 * np.abs(np.sin(np.arange(1, 51)))
    starts = begun(trainable, SEEDS)
    apart, left = [], []
    for start in starts:
        trainable.restore(start)
        apart.append([loss for block in np.array_split(rates, 10) for loss in trainable.train(block)["loss"]])
        left.append(trainable.snapshot())
    stack = trainable.stack_seeds(starts)
    several = np.repeat(rates[:, None], len(SEEDS), axis=1)
    together = np.concatenate([stack.train(block)["loss"] for block in np.array_split(several, 10)])
    np.testing.assert_allclose(together.T, apart, rtol=1e-5)
    assert not np.allclose(apart[0], apart[1])
    validated = stack.evaluate()["val_loss"]
    for place, one in enumerate(left):
        trainable.restore(one)
        assert validated[place] == pytest.approx(trainable.evaluate()["val_loss"], rel=1e-5)
        onwards = trainable.train(rates[:3])["loss"]
        trainable.restore(stack.snapshot(place))
        np.testing.assert_allclose(trainable.train(rates[:3])["loss"], onwards, rtol=1e-5)  # the same batches


def test_a_range_test_comes_to_the_same_answer_either_way(tmp_path):
    apart = range_test(problem(), num_seeds=3, vectorized=False)
    trainable = problem()
    before = str(trainable.snapshot().state)
    together = range_test(trainable, num_seeds=3, vectorized=True, study=tmp_path / "study")
    assert str(trainable.snapshot().state) == before
    assert (apart.vectorized, together.vectorized) == (None, "asked for")
    assert together.cost == pytest.approx(apart.cost)
    assert together.cliff == apart.cliff
    calm = apart.learning_rates < apart.cliff
    np.testing.assert_allclose(
        np.array(together.seed_losses)[:, calm], np.array(apart.seed_losses)[:, calm], rtol=1e-3
    )  # near the cliff rounding grows
    assert together.suggestions["learnrate"] == pytest.approx(apart.suggestions["learnrate"], rel=1e-3)
    again = range_test(problem(), num_seeds=3, vectorized=True, study=tmp_path / "study")
    assert again.to_json() == together.to_json()


def test_auto_goes_by_the_rule_of_size_and_says_so():
    assert range_test(problem(), num_seeds=2, num_steps=20).vectorized is None
    answer = range_test(problem(), num_seeds=6, num_steps=20)
    assert answer.vectorized == "auto: torch on cpu, 67 parameters, 7.33333 samples a step"
    dropped = range_test(problem(with_dropout), num_seeds=6, num_steps=20)
    assert dropped.vectorized is None
    assert [it for it in dropped.warnings if "the seeds were trained one after another, not in one program: the" in it]


def with_dropout():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 3))


class Counting(torch.utils.data.TensorDataset):
    """Samples that depend on how many were read before."""

    read = 0

    def __getitem__(self, index):
        self.read += 1
        x, y = super().__getitem__(index)
        return x + self.read, y


class Ragged(torch.utils.data.TensorDataset):
    """Sets whose size depends on the sample that is drawn."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x.expand(1 + index % 3, 4), y.expand(1 + index % 3)


REFUSED = {
    "dropout": ({"model": with_dropout}, "the model draws random numbers"),
    "workers": ({"loader": {"num_workers": 1}}, "the data loader has workers"),
    "a state of its own": ({"dataset": Counting}, "other batches when it is read again"),
    "shapes": ({"dataset": Ragged, "loader": {"batch_size": 1, "collate_fn": lambda it: it[0]}}, "differ in shape"),
    "objects": (
        {
            "loader": {"collate_fn": lambda them: (*torch.utils.data.default_collate(them), ["a name"])},
            "training_step": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        },
        "only tensors can be stacked, and the data gives a str",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_go_together_is_refused_with_the_reason(case):
    given, reason = REFUSED[case]
    trainable = problem(**given)
    before = str(trainable.snapshot().state)
    with pytest.raises(UnsupportedProblemError, match=reason):
        range_test(trainable, num_seeds=2, vectorized=True)
    assert str(trainable.snapshot().state) == before


def test_a_shape_that_differs_only_later_leaves_the_seeds_to_go_one_after_another():
    class LaterRagged(torch.utils.data.TensorDataset):
        """As long as any other but for one sample."""

        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            size = 2 if index == 40 else 3
            return x.expand(size, 4), y.expand(size)

    settings = {"dataset": LaterRagged, "loader": {"batch_size": 1, "collate_fn": lambda it: it[0]}}
    answer = range_test(problem(**settings), num_seeds=6, num_steps=20, spacing="exponential")
    apart = range_test(problem(**settings), num_seeds=6, num_steps=20, spacing="exponential", vectorized=False)
    assert answer.vectorized is None
    assert [it for it in answer.warnings if "differ in shape" in it]
    np.testing.assert_array_equal(answer.losses, apart.losses)
    assert answer.cost >= apart.cost


def test_other_problems_and_metrics_are_refused_where_asked_for_and_no_matter_otherwise():
    with pytest.raises(UnsupportedProblemError, match="a QuadraticTrainable does not know how to train several seeds"):
        range_test(QuadraticTrainable(), num_seeds=2, vectorized=True)
    with pytest.raises(UnsupportedProblemError, match="val_loss is looked at after each step"):
        range_test(problem(), num_seeds=2, vectorized=True, metric="val_loss")
    with pytest.raises(InvalidArgumentError, match="vectorized is 'yes'"):
        range_test(QuadraticTrainable(), vectorized="yes")
    answer = range_test(QuadraticTrainable(), num_seeds=2)
    assert not [it for it in answer.warnings if "one after another" in it]


def test_an_error_of_the_users_code_on_the_way_is_left_to_the_seeds_by_themselves():
    calls = []

    def loss_fn(outputs, targets):
        calls.append(1)
        if len(calls) == 20:
            raise ValueError("as of weights that are lost")
        return nn.functional.cross_entropy(outputs, targets)

    settings = {"training_step": lambda model, batch: loss_fn(model(batch[0]), batch[1])}
    answer = range_test(problem(**settings), num_seeds=6, num_steps=20, spacing="exponential")
    assert answer.vectorized is None
    assert [it for it in answer.warnings if it.endswith("it raised ValueError")]
    assert len(answer.seed_losses) == 6
    calls.clear()
    with pytest.raises(ValueError, match="weights that are lost"):
        range_test(problem(**settings), num_seeds=2, num_steps=40, spacing="exponential", vectorized=True)
