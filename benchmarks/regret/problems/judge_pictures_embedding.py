"""Metric learning on Fashion-MNIST: pictures of one kind shall lie closer together than pictures of two."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.regret.fashion import fashion
from benchmarks.regret.problem import Family, Task, built
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


@cache
def _triplets(size: int) -> tuple[Tensor, Tensor]:
    """2,500 or so triplets: a picture, one of its kind, one of another; no picture is in two triplets."""
    pictures, labels = fashion(size, 9000)
    order = np.random.default_rng(43).permutation(9000)
    pool, others = order[:6000], order[6000:]
    pool = pool[np.argsort(labels.numpy()[pool], kind="stable")]
    rows = torch.as_tensor(np.stack([pool[::2], pool[1::2], others], 1))
    kinds = labels[rows]
    rows = rows[(kinds[:, 0] == kinds[:, 1]) & (kinds[:, 0] != kinds[:, 2])]
    return pictures[rows], labels[rows[:, 0]]


class _Embedding(nn.Module):
    """Triplets of pictures (batch, 3, 1, side, side) to triplets of vectors."""

    def __init__(self, size: int) -> None:
        super().__init__()
        side = ((size + 1) // 2 + 1) // 2
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * side * side, 16),
        )

    def forward(self, triplets: Tensor) -> Tensor:
        return self.body(triplets.flatten(0, 1)).unflatten(0, (-1, 3))


def _triplet_loss(vectors: Tensor, _: Tensor) -> Tensor:
    """The chance, as minus its logarithm, that a soft choice between the two others falls on the one of its kind."""
    near, far = (vectors[:, :1] - vectors[:, 1:]).square().sum(2).unbind(1)
    return nn.functional.softplus(near - far).mean()


TASKS: tuple[Task, ...] = (
    Task(
        "fashion_triplets",
        "Embedding ConvNet on triplets of Fashion-MNIST of 7×7 pixels, Adamax, cosine",
        Family("fashion", "embedding ConvNet", "triplet"),
        epochs=8,
        steps_per_epoch=40,
        default_learning_rate=2e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(_Embedding, 7),
            optimizer=torch.optim.Adamax,
            rows=partial(_triplets, 7),
            train=1280,
            batch=32,
            loss_fn=_triplet_loss,
        ),
    ),
)
