"""Many learning rates in one program: the same trainings as one after another, to rounding, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
nn = torch.nn
TorchTrainable = pytest.importorskip("learnrate.adapters.torch").TorchTrainable

RATES = [1e-4, 1e-3, 1e-2, 1e6]


class Tied(nn.Module):
    """Two layers of one weight, LayerNorm, and a buffer that no state dict has and every step replaces."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.norm, self.head = (
            nn.Linear(4, 4, bias=False),
            nn.Linear(4, 4),
            nn.LayerNorm(4),
            nn.Linear(4, 3),
        )
        self.two.weight = self.one.weight
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen = self.seen + x.detach().square().mean()
        return self.scale * self.head(self.norm(torch.tanh(self.two(torch.tanh(self.one(x)))))) + 0.01 * self.seen


def frozen_first_layer():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    return model


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 3)),
    "convnet": lambda: nn.Sequential(
        *(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ),
    "tied": Tied,
    "frozen": frozen_first_layer,
}
OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.01),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, dampening=0.1),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1, amsgrad=True, weight_decay=0.01),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1),
    "nadam": lambda groups: torch.optim.NAdam(groups, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda groups: torch.optim.RAdam(groups, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.1, momentum=0.5, centered=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
    "adadelta": lambda groups: torch.optim.Adadelta(groups, lr=0.1, weight_decay=0.01),
    "adamax": lambda groups: torch.optim.Adamax(groups, lr=0.1),
}
LOSS = nn.CrossEntropyLoss()


def data(size=44):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, 4, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0).long()


def accuracy(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()


class Counted:
    """A metric with a state of its own."""

    def reset(self):
        self.right = self.all = 0

    def update(self, outputs, targets):
        self.right += int((outputs.argmax(1) == targets).sum())
        self.all += len(targets)

    def compute(self):
        return self.right / self.all


def problem(model="mlp", optimizer="adamw", **settings):
    torch.manual_seed(0)
    model = MODELS[model]() if isinstance(model, str) else model
    head = list(list(model.children())[-1].parameters())
    body = [it for it in model.parameters() if not any(it is one for one in head)]
    groups = [{"params": head, "lr": 0.05}, {"params": body}]
    optimizer = OPTIMIZERS[optimizer](groups) if isinstance(optimizer, str) else optimizer(groups)
    x, y = data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    settings = {"metrics": {"accuracy": accuracy, "val_counted": Counted()}} | settings
    return TorchTrainable(model, optimizer, LOSS, loader, [(x[:20], y[:20]), (x[20:], y[20:])], **settings)


def trained_apart(trainable, rates):
    """Train at each column of rates by itself: the slow, plain way."""
    start = trainable.snapshot()
    reports, snapshots = [], []
    for column in rates.T:
        trainable.restore(start)
        trainable.begin(float(column[0]), 1, 5)
        reports.append({**trainable.train(column), **{k: np.array([v]) for k, v in trainable.evaluate().items()}})
        snapshots.append(trainable.snapshot())
    trainable.restore(start)
    return {name: np.stack([report[name] for report in reports], axis=-1) for name in reports[0]}, snapshots


def trained_together(trainable, rates, *, blocks=3):
    start = trainable.snapshot()
    trainable.begin(1.0, 1, 5)
    stack = trainable.stack([trainable.snapshot()] * rates.shape[1])
    parts = [stack.train(block) for block in np.array_split(rates, blocks)]
    report = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    report |= {name: values[None] for name, values in stack.evaluate().items()}
    snapshots = [stack.snapshot(place) for place in range(rates.shape[1])]
    trainable.restore(start)
    return report, snapshots


def rates_below_the_cliff(steps, several=(1e-5, 1e-3, 1e-2)):
    """Columns of rates that change from step to step, one of them at 0 now and then."""
    shape = np.abs(np.sin(np.arange(1, steps + 1)))[:, None]
    rates = shape * np.array(several)
    rates[::7] = 0
    return rates


def assert_same_training(trainable, rates, tolerance=1e-5):
    apart, left_apart = trained_apart(trainable, rates)
    together, left_together = trained_together(trainable, rates)
    assert apart.keys() == together.keys()
    np.testing.assert_allclose(together["loss"], apart["loss"], rtol=tolerance)
    np.testing.assert_allclose(together["val_loss"], apart["val_loss"], rtol=tolerance)
    for one, other in zip(left_apart, left_together, strict=True):
        assert plain(one.state).keys() == plain(other.state).keys()
        for name, value in plain(one.state).items():
            if name.startswith("random") or not isinstance(value, torch.Tensor):
                assert str(plain(other.state)[name]) == str(value), name


def plain(tree, path=""):
    """The leaves of a tree by their path."""
    if isinstance(tree, dict):
        return {key: leaf for name, it in tree.items() for key, leaf in plain(it, f"{path}/{name}").items()}
    if isinstance(tree, list | tuple):
        return {key: leaf for at, it in enumerate(tree) for key, leaf in plain(it, f"{path}/{at}").items()}
    return {path.lstrip("/"): tree}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ten_steps_of_every_optimizer_allowed_are_those_of_separate_trainings(optimizer):
    assert_same_training(problem("mlp", optimizer, clip_norm=0.5), rates_below_the_cliff(11), 2e-6)


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from(list(MODELS)), st.sampled_from(list(OPTIMIZERS)), st.integers(1, 3), st.sampled_from([None, 0.1])
)
def test_fifty_steps_of_any_model_are_those_of_separate_trainings(model, optimizer, accumulate, clip_norm):
    one = problem(model, optimizer, accumulate=accumulate, clip_norm=clip_norm)
    assert_same_training(one, rates_below_the_cliff(50))
