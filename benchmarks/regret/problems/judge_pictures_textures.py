"""Fully convolutional networks that tell two textures apart, pixel by pixel."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.regret.data import tensors
from benchmarks.regret.problem import Family, Task, built
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 12


@cache
def _textures(count: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures, fine stripes within a region and coarse ones around it, and the masks of the regions."""
    rng = np.random.default_rng(42)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)

    def waves(lengths: tuple[float, float], number: int) -> np.ndarray:
        angle, phase = rng.uniform(0, 2 * np.pi, (2, count, number, 1, 1))
        turn = 2 * np.pi / rng.uniform(*lengths, (count, number, 1, 1))
        return np.sin(turn * (x * np.cos(angle) + y * np.sin(angle)) + phase).sum(1, keepdims=True)

    masks = waves((14, 40), 3) > 0
    pictures = np.where(masks, waves((2.5, 3.5), 1), waves((5, 8), 1))
    return tensors(pictures + rng.normal(0, 0.5, pictures.shape), masks.astype(np.float32))


def _dilated(width: int) -> nn.Sequential:
    """Three 3×3 convolutions at full size, the later ones with gaps; pictures to logits."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(width, 1, 3, padding=1),
    )


def _down_and_up(width: int) -> nn.Sequential:
    """Convolutions at half the size whose channels become the logits of four neighbours."""
    return nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


def _overlap_and_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy per pixel, and one minus the soft ratio of a picture's intersection and union."""
    chance = torch.sigmoid(logits)
    both = (chance * masks).sum((1, 2, 3))
    either = (chance + masks).sum((1, 2, 3)) - both
    ratio = ((both + 1) / (either + 1)).mean()
    return nn.functional.binary_cross_entropy_with_logits(logits, masks) + 1 - ratio


TASKS: tuple[Task, ...] = (
    Task(
        "textures_momentum",
        "Fully convolutional network that marks a texture's region, SGD with momentum, step schedule",
        Family("textures", "fully convolutional", "cross-entropy per pixel"),
        epochs=8,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="step",
        schedule_settings={"milestones": (0.5, 0.75), "factor": 0.1},
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(_dilated, 8),
            optimizer=partial(torch.optim.SGD, momentum=0.9),
            rows=partial(_textures, 896),
            train=640,
            batch=16,
            loss_fn=nn.functional.binary_cross_entropy_with_logits,
            validation=256,
        ),
    ),
    Task(
        "textures_overlap",
        "Fully convolutional network at half size that marks a texture's region by overlap, Adam, linear decay",
        Family("textures", "fully convolutional", "overlap and cross-entropy"),
        epochs=5,
        steps_per_epoch=60,
        default_learning_rate=1e-3,
        schedule="linear",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(_down_and_up, 16),
            optimizer=torch.optim.Adam,
            rows=partial(_textures, 1280),
            train=960,
            batch=16,
            loss_fn=_overlap_and_entropy,
            validation=320,
        ),
    ),
)
