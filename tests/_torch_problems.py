"""Small PyTorch problems of every kind, the plain loop that trains them, and all of their state, read off plainly."""

# The global generators are what users draw from, and what is to be left alone:
# ruff: noqa: NPY002, S311

from __future__ import annotations

import copy
import math
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from learnrate.adapters.torch import TorchTrainable

SAMPLES = 22
LOSS = nn.CrossEntropyLoss()


class Noise(nn.Module):
    """Draws from the generators of Python and numpy, from one of its own, and keeps a non-persistent buffer."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x):
        if not self.training:
            return x
        self.seen = self.seen + 1
        scale = 1 + 0.1 * random.random() + 0.1 * np.random.rand()
        return x * scale + 0.1 * torch.rand(x.shape, generator=self.generator) * self.seen


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4, bias=False)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


MODELS = {
    "batchnorm": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.4), nn.ReLU(), nn.Linear(6, 3)),
    "shared": Tied,
    "noise": lambda: nn.Sequential(nn.Linear(4, 6), Noise(), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 3)),
}
OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01, amsgrad=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.005, momentum=0.5, centered=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.05),
}


class Augmented(Dataset):
    """Samples with noise from torch's global generator, numpy's, and a generator of its own."""

    def __init__(self, x, y):
        self.x, self.y = x, y
        self.own = np.random.default_rng(5)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, at):
        noise = torch.rand(()) + np.random.rand() + self.own.random()
        return self.x[at] + 0.1 * noise.float(), self.y[at]


class Shuffling(IterableDataset):
    """A stream that draws as it goes, from the generators that models draw from too."""

    def __init__(self, x, y, known=True):
        self.x, self.y = x, y
        if known:
            self.__class__ = SizedShuffling

    def __iter__(self):
        left = list(range(len(self.x)))
        while left:
            at = left.pop(int(torch.randint(len(left), ())) if random.random() < 0.5 else np.random.randint(len(left)))
            yield self.x[at] * (1 + 0.1 * torch.rand(())), self.y[at]


class SizedShuffling(Shuffling):
    def __len__(self):
        return len(self.x)


class Reiterable:
    """Batches in an order of its own, from numpy's global generator."""

    def __init__(self, x, y, size):
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return math.ceil(len(self.x) / self.size)

    def __iter__(self):
        order = torch.from_numpy(np.random.permutation(len(self.x)))
        for part in order.split(self.size):
            yield self.x[part], self.y[part]


def _generator():
    return torch.Generator().manual_seed(11)


LOADERS = {
    "ordered": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5),
    "shuffled": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True),
    "drop_last": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True, drop_last=True),
    "generator": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True, generator=_generator()),
    "whole batches": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=11, shuffle=True, generator=_generator()),
    "sampler": lambda x, y: DataLoader(
        TensorDataset(x, y), batch_size=5, sampler=WeightedRandomSampler(torch.ones(len(x)), len(x))
    ),
    "replacement": lambda x, y: DataLoader(
        TensorDataset(x, y),
        batch_size=5,
        sampler=RandomSampler(x, replacement=True, num_samples=25, generator=_generator()),
    ),
    "unbatched": lambda x, y: DataLoader(Reversible(x, y), batch_size=None, shuffle=True),
    "augmented": lambda x, y: DataLoader(Augmented(x, y), batch_size=5, shuffle=True),
    "stream": lambda x, y: DataLoader(Shuffling(x, y), batch_size=5),
    "list": lambda x, y: list(zip(x.split(5), y.split(5), strict=True)),
    "reiterable": lambda x, y: Reiterable(x, y, 5),
}


class Reversible(Dataset):
    """A data set whose items are batches."""

    def __init__(self, x, y):
        self.x, self.y = x.split(6), y.split(6)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, at):
        return self.x[at], self.y[at]


class Parts:
    """A model, an optimizer and a loader as a user has them, always the same for the same names."""

    def __init__(self, model="dropout", optimizer="momentum", loader="shuffled"):
        random.seed(1)
        np.random.seed(2)
        torch.manual_seed(3)
        self.model = MODELS[model]()
        self.optimizer = OPTIMIZERS[optimizer](self.groups())
        x, y = torch.randn(SAMPLES, 4), torch.randint(0, 3, (SAMPLES,))
        self.loader = LOADERS[loader](x, y)
        self.validation = DataLoader(TensorDataset(x, y), batch_size=8)

    def groups(self):
        *body, head = self.model.parameters()
        return [{"params": body}, {"params": [head], "weight_decay": 0.01}]

    def trainable(self, loss_fn=LOSS, **settings):
        return TorchTrainable(self.model, self.optimizer, loss_fn, self.loader, self.validation, **settings)

    def train_plainly(self, epochs):
        """Train as a user does, and return the losses."""
        losses = []
        self.model.train()
        for _ in range(epochs):
            for x, y in self.loader:
                self.optimizer.zero_grad()
                loss = LOSS(self.model(x), y)
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
        return losses

    def everything(self):
        """Return all the state there is, read off in the plainest way."""
        generators = [
            getattr(self.loader, "generator", None),
            getattr(getattr(self.loader, "sampler", 0), "generator", 0),
        ]
        own = getattr(getattr(self.loader, "dataset", None), "own", None)
        return copy.deepcopy(
            {
                "weights": [parameter.detach() for parameter in self.model.parameters()],
                "gradients": [parameter.grad for parameter in self.model.parameters()],
                "buffers": dict(self.model.named_buffers()),
                "modes": [module.training for module in self.model.modules()],
                "trainable": [parameter.requires_grad for parameter in self.model.parameters()],
                "optimizer": self.optimizer.state_dict(),
                "python": random.getstate(),
                "numpy": np.random.get_state(legacy=False),
                "torch": torch.get_rng_state(),
                "loader": [it.get_state() for it in generators if isinstance(it, torch.Generator)],
                "model": [it.generator.get_state() for it in self.model.modules() if hasattr(it, "generator")],
                "dataset": None if own is None else own.bit_generator.state,
            }
        )


def same(one, other):
    """Whether two states are equal bit for bit, dtypes included."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def differences(one, other):
    """Name what differs between two of `Parts.everything()`."""
    return [name for name in one if not same(one[name], other[name])]
