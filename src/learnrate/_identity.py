"""When two problems, settings or segments are the same: to rounding, since processors differ in the last digit."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE: Final = 1e-6
"""Relative: single precision rounds by 6e-8, and what is standardised adds up a few of these."""

_NUMBER: Final = re.compile(r"(?<![\w.])-?(?:0x[01]\.[0-9a-f]+p[-+]\d+|\d+\.\d+(?:e[-+]\d+)?|\d+e[-+]\d+)(?![\w.])")
"""A float as Python writes it."""

_COMPUTED: Final = 16
"""Letters of a float that was computed, at least: shorter ones were written by hand, and are what they are."""

_MARK: Final = re.compile(r"([0-9a-f]{16})(?:: (.+))?", re.DOTALL)
_VIEWS: Final = 4
_AWAY: Final = 8.0


def agree(old: Any, new: Any) -> bool:
    """Return whether two values differ by the rounding of their numbers at most, numbers inside of texts included.

    Example:
        >>> agree([0.1, "rate=0.3"], [0.1, "rate=0.30000000000000004"])
        True
        >>> agree("rate=0.3", "rate=0.31")
        False
    """
    if old == new:
        return True
    if isinstance(old, str) and isinstance(new, str):
        before, after = _MARK.fullmatch(old), _MARK.fullmatch(new)
        if before and after and not (before[2] and after[2]):
            return before[1] == after[1]
        return _alike(before[2], after[2]) if before and after else _alike(old, new)
    return _alike(repr(old), repr(new))


def stem(text: str) -> str:
    """Return the beginning of a text that rounding leaves as it is: all that comes before its first number.

    Example:
        >>> stem("sweep/0/0x1.999999999999ap-5/0-30of30/0")
        'sweep/0/'
    """
    found = _NUMBER.search(text)
    return text if found is None else text[: found.start()]


def digest(things: Any) -> str:
    """Return a short word for things without computed numbers in them, such as shapes."""
    return _word(json.dumps(things, default=str).encode())


def mark(things: Any) -> str:
    """Return the text by which a study knows settings: their digest, and themselves.

    The digest alone is what version 0.1.0 kept; its studies know their settings by the bits.
    """
    return f"{digest(things)}: {json.dumps(things, default=str)}"


def mark_of_data(parts: Sequence[npt.NDArray[Any]]) -> str:
    """Return the text by which a study knows data: a digest of its bits, and of floats a few numbers.

    These are, for each part, the largest magnitude and a few sums with weights drawn from a fixed seed. Rounding moves
    the sums no more than the data; other data, another order or another split moves them further.
    """
    bits = [str(part.tolist()).encode() if part.dtype.hasobject else part.tobytes() for part in parts]
    exact = _word(b"".join(hashlib.sha256(one).digest() for one in bits))
    if any(part.dtype.kind != "f" or not np.isfinite(part).all() for part in parts):
        return exact
    return f"{exact}: {json.dumps([_views(part.astype(np.float64).ravel()) for part in parts])}"


def _word(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _views(part: npt.NDArray[np.float64]) -> list[float]:
    """Return the largest magnitude, and in units of it weighted sums, moved away from 0 to be compared relatively."""
    largest = float(np.abs(part).max())
    scaled = part / (largest or 1.0)
    away = _AWAY * float(np.sqrt(np.mean(scaled**2)))
    generator = np.random.default_rng(0)
    sums = [float(scaled @ generator.uniform(-1.0, 1.0, part.size)) for _ in range(_VIEWS)]
    return [largest, *(away + one / math.sqrt(part.size) for one in sums)]


def _alike(old: str, new: str) -> bool:
    numbers = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=False)
    return _NUMBER.sub("#", old) == _NUMBER.sub("#", new) and all(_close(a, b) for a, b in numbers)


def _close(old: str, new: str) -> bool:
    if old == new or max(len(old), len(new)) < _COMPUTED:
        return old == new
    return math.isclose(*(float.fromhex(one) if "x" in one else float(one) for one in (old, new)), rel_tol=TOLERANCE)
