"""Vision transformers on Fashion-MNIST: patches as tokens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from benchmarks.regret.fashion import fashion
from benchmarks.regret.problem import Family, Task, built
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class _Layer(nn.Module):
    """A pre-norm transformer layer of two heads: attention, then a network for each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.split, self.join = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        parts = self.split(self.norms[0](tokens)).view(rows, count, 3, 2, width // 2)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(queries @ keys.mT * (width // 2) ** -0.5, -1)
        tokens = tokens + self.join((weights @ values).transpose(1, 2).flatten(2))
        return tokens + self.down(torch.relu(self.up(self.norms[1](tokens))))


class _VisionTransformer(nn.Module):
    """Square patches of a 14×14 picture, padded if need be, into layers; the mean of the tokens gives the class."""

    def __init__(self, patch: int, width: int, layers: int) -> None:
        super().__init__()
        self.patch, self.side = patch, -(-14 // patch)
        self.embed = nn.Linear(patch * patch, width, bias=False)
        self.places = nn.Parameter(0.02 * torch.randn(self.side**2, width))
        self.body = nn.Sequential(*(_Layer(width) for _ in range(layers)), nn.LayerNorm(width))
        self.head = nn.Linear(width, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        side, patch, missing = self.side, self.patch, self.side * self.patch - 14
        padded = nn.functional.pad(pictures, (missing // 2, missing - missing // 2) * 2, value=-0.87)  # black
        patches = padded.view(-1, side, patch, side, patch).transpose(2, 3).reshape(-1, side * side, patch * patch)
        return self.head(self.body(self.embed(patches) + self.places).mean(1))


TASKS: tuple[Task, ...] = (
    Task(
        "fashion_transformer_adamw",
        "Vision transformer on Fashion-MNIST, AdamW, cosine with warm-up",
        Family("fashion", "vision transformer", "cross-entropy"),
        epochs=6,
        steps_per_epoch=45,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.1, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(_VisionTransformer, 5, 16, 1),
            optimizer=torch.optim.AdamW,
            rows=partial(fashion, 14, 2080),
            train=1440,
            batch=32,
            validation=640,
        ),
    ),
    Task(
        "fashion_transformer_nadam",
        "Narrow vision transformer on Fashion-MNIST, NAdam, linear decay",
        Family("fashion", "vision transformer", "cross-entropy"),
        epochs=8,
        steps_per_epoch=32,
        default_learning_rate=2e-3,
        schedule="linear",
        schedule_settings={"warmup_fraction": 0.0, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(_VisionTransformer, 5, 12, 1),
            optimizer=torch.optim.NAdam,
            rows=partial(fashion, 14, 1152),
            train=512,
            batch=16,
            validation=640,
        ),
    ),
)
