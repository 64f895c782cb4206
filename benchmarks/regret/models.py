"""The small networks and losses of the regret benchmark."""

# ruff: noqa: D102  # a network's forward is described with its class

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def deep_plain(width: int, depth: int) -> nn.Sequential:
    """A deep stack without normalisation or skips, with He's initial weights: stable until it suddenly is not."""
    net = mlp(64, *[width] * depth, 10)
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def convnet(channels: tuple[int, ...], size: int, *, normalise: bool = False) -> nn.Sequential:
    """3×3 convolutions, each halving the picture of `size` pixels a side, and a linear head of ten classes."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, *channels)):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalise))
        if normalise:
            layers.append(nn.BatchNorm2d(outputs))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        size //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * size * size, 10))


class ByteTransformer(nn.Module):
    """A pre-norm causal transformer: bytes (batch, length) to next-byte logits (batch, length, 128)."""

    def __init__(self, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.bytes = nn.Embedding(128, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 128)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.body(self.bytes(text) + self.places, mask=self.mask, is_causal=True))


class NextByteMlp(nn.Module):
    """Bengio's language model: the last few bytes' embeddings, side by side, into an MLP."""

    def __init__(self, context: int, width: int, hidden: int) -> None:
        super().__init__()
        self.bytes = nn.Embedding(128, width)
        self.body = mlp(context * width, hidden, 128, activation=nn.Tanh)

    def forward(self, text: Tensor) -> Tensor:
        return self.body(self.bytes(text).flatten(1))


class RowLstm(nn.Module):
    """Reads a picture (batch, 1, rows, columns) row by row; the last state gives the class."""

    def __init__(self, columns: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(columns, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, picture: Tensor) -> Tensor:
        states, _ = self.lstm(picture.squeeze(1))
        return self.head(states[:, -1])


class Factorisation(nn.Module):
    """The inner product of a row's and a column's vector; zero is a saddle, so training starts slowly."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(rows, rank)
        self.columns = nn.Embedding(columns, rank)
        for table in (self.rows, self.columns):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.rows(pairs[:, 0]) * self.columns(pairs[:, 1])).sum(1)


class UNetPlusPlus(nn.Module):
    """Three levels of nested U-Nets (arXiv 1807.10165): pictures to logits of the same size.

    `outputs` gives the logits of both depths, for training under deep supervision; `forward` the deeper's.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        one, two, four = width, 2 * width, 4 * width
        self.x00, self.x10, self.x20 = _node(1, one), _node(one, two), _node(two, four)
        self.x01, self.x11 = _node(one + two, one), _node(two + four, two)
        self.x02 = _node(2 * one + two, one)
        self.head1, self.head2 = nn.Conv2d(one, 1, 1), nn.Conv2d(one, 1, 1)
        self.down, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

    def outputs(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        x00 = self.x00(picture)
        x10 = self.x10(self.down(x00))
        x20 = self.x20(self.down(x10))
        x01 = self.x01(torch.cat([x00, self.up(x10)], 1))
        x11 = self.x11(torch.cat([x10, self.up(x20)], 1))
        x02 = self.x02(torch.cat([x00, x01, self.up(x11)], 1))
        return self.head1(x01), self.head2(x02)

    def forward(self, picture: Tensor) -> Tensor:
        return self.outputs(picture)[1]


def _node(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.1)
    )


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """One minus the soft overlap of each picture with its mask, averaged over the pictures."""
    chance = torch.sigmoid(logits).flatten(1)
    mask = mask.flatten(1)
    return (1 - (2 * (chance * mask).sum(1) + 1) / (chance.sum(1) + mask.sum(1) + 1)).mean()


def gaussian_likelihood(outputs: Tensor, target: Tensor) -> Tensor:
    """Minus log likelihood of a Gaussian whose mean and log variance are the two outputs; falls below zero."""
    mean, log_variance = outputs[:, 0], outputs[:, 1]
    return 0.5 * ((target - mean) ** 2 * torch.exp(-log_variance) + log_variance).mean()


def next_byte_loss(logits: Tensor, text: Tensor) -> Tensor:
    """Cross-entropy per byte, over every place of every sequence."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), text.flatten())
