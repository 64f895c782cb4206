"""Fashion-MNIST (Xiao et al. 2017), pooled to small pictures, for problems of the judge half."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.regret.data import tensors

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it


@cache
def fashion(size: int, count: int, *, skip: int = 0) -> tuple[Tensor, Tensor]:
    """`count` standardised pictures (1, size, size) of ten kinds of clothes, after the first `skip` of the 60,000."""
    with gzip.open(FOLDER / "train-images-idx3-ubyte.gz") as file:
        raw = np.frombuffer(file.read(16 + 784 * (skip + count))[16 + 784 * skip :], np.uint8)
    with gzip.open(FOLDER / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + skip + count)[8 + skip :], np.uint8)
    block = 28 // size
    small = (raw / 255.0).reshape(count, 1, size, block, size, block).mean((3, 5))
    return tensors((small - 0.286) / 0.33, labels.astype(np.int64))
