"""Which sample of some data is the first that holds NaN or infinity, and how a problem says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

Array = npt.NDArray[Any]


def first_bad_sample(batches: Iterable[Iterable[Array]]) -> int | None:
    """Return the number of the first sample that holds NaN or infinity, None where none does.

    Args:
        batches: The arrays of each batch. Their leading axes are its samples, which are counted from batch to batch;
            an array without axes belongs to none.
    """
    seen = 0
    for batch in batches:
        arrays = [array for array in batch if array.ndim]
        bad = [first for array in arrays if (first := _first_bad_row(array)) is not None]
        if bad:
            return seen + min(bad)
        seen += len(arrays[0]) if arrays else 1
    return None


def _first_bad_row(array: Array) -> int | None:
    try:
        finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    except TypeError:  # text, or objects
        return None
    return None if finite.all() else int(finite.argmin())


def in_words(number: int | None, data: str, *, can_be_found: bool = True) -> str | None:
    """Say which sample of the data it is; None where it is none.

    Args:
        number: Of the sample.
        data: What the user calls the data.
        can_be_found: Whether the user finds the sample by this number: not where each pass has an order of its own.
    """
    if number is None:
        return None
    which = f"sample {number} of {data}, counted from 0," if can_be_found else f"a sample of {data}"
    return f"{which} holds NaN or infinity: leave such samples out, or fill in numbers"
