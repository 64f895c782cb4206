"""MLPs on Fashion-MNIST: on very few pictures, with low-rank adapters, and on unequal classes."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.regret.fashion import fashion
from benchmarks.regret.optimizers import MuonAndAdamW, matrices_and_others
from benchmarks.regret.problem import Family, Task, built
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

SHARES = (0.30, 0.17, 0.10, 0.08, 0.07, 0.06, 0.06, 0.06, 0.05, 0.05)


def _mlp(pixels: int, hidden: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


@cache
def _pretrained() -> dict[str, Tensor]:
    """Weights of an MLP that tells five kinds of clothes apart, on pictures of its own."""
    pictures, labels = fashion(14, 6400, skip=30000)
    half = labels < 5
    pictures, labels = pictures[half], labels[half]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1002)
        model = _mlp(196, 64, 5)
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _ in range(2):
            for rows in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(pictures[rows]), labels[rows]).backward()
                optimizer.step()
    return {name: tensor.detach() for name, tensor in model[:-1].state_dict().items()}


class _Adapted(nn.Module):
    """A frozen linear layer, and beside it a product of two thin matrices, which starts at zero."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(requires_grad=False)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) + self.up(self.down(inputs))


def _adapted_net(rank: int) -> nn.Module:
    """The pretrained layers with adapters, under a new head for all ten kinds."""
    model = _mlp(196, 64)
    model[:-1].load_state_dict(_pretrained())
    model[1], model[3] = _Adapted(model[1], rank), _Adapted(model[3], rank)
    return model


def _trainable(model: nn.Module) -> list[Tensor]:
    return [it for it in model.parameters() if it.requires_grad]


@cache
def _unequal(count: int) -> tuple[Tensor, Tensor]:
    """7×7 pictures, three in ten of them of one kind and one in twenty of another."""
    pictures, labels = fashion(7, 20_000)
    kept = [np.flatnonzero(labels.numpy() == kind)[: round(share * count)] for kind, share in enumerate(SHARES)]
    rows = torch.as_tensor(np.concatenate(kept))
    return pictures[rows].flatten(1), labels[rows]


def _dropout_net(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(49, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10, bias=False))


def _muon(parameters: object) -> torch.optim.Optimizer:
    return MuonAndAdamW(matrices_and_others(parameters))


TASKS: tuple[Task, ...] = (
    Task(
        "fashion_tiny",
        "MLP on 160 pictures of Fashion-MNIST of 7×7 pixels, plain SGD, judged on 10,000: tiny and noisy",
        Family("fashion", "MLP", "cross-entropy"),
        epochs=20,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(_mlp, 49, 32),
            optimizer=torch.optim.SGD,
            rows=partial(fashion, 7, 10_160),
            train=160,
            batch=8,
            validation=10_000,
        ),
    ),
    Task(
        "fashion_adapters",
        "MLP that knows five kinds of clothes, frozen under low-rank adapters and a new head, Adam, linear decay",
        Family("fashion", "MLP, low-rank adapters", "cross-entropy"),
        epochs=6,
        steps_per_epoch=50,
        default_learning_rate=1e-3,
        schedule="linear",
        schedule_settings={"warmup_fraction": 0.1, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(_adapted_net, 4),
            optimizer=torch.optim.Adam,
            rows=partial(fashion, 14, 2560),
            train=1600,
            batch=32,
            parameters=_trainable,
        ),
    ),
    Task(
        "fashion_unequal_long",
        "MLP with dropout on unequal kinds of clothes, smoothed labels, Muon and AdamW, warm-up, plateau and decay",
        Family("fashion", "MLP", "smoothed cross-entropy"),
        epochs=20,
        steps_per_epoch=100,
        default_learning_rate=1e-3,
        schedule="warmup_stable_decay",
        schedule_settings={"warmup_fraction": 0.05, "decay_fraction": 0.2},
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(_dropout_net, 24),
            optimizer=_muon,
            rows=partial(_unequal, 2560),
            train=1600,
            batch=16,
            loss_fn=partial(nn.functional.cross_entropy, label_smoothing=0.1),
        ),
    ),
)
