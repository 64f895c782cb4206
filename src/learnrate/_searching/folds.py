"""Which samples a training learns from, and which validate it: K folds or one part held out, stratified by class."""

# samples are of any kind, and so are scikit-learn's splitters:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from learnrate._identity import mark_of_data
from learnrate._searching.space import plain
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from learnrate.training import Trainable

Places = npt.NDArray[np.int64]


class Fold(NamedTuple):
    """The samples and targets to learn from, and those to validate on."""

    train: tuple[Any, Any]
    validation: tuple[Any, Any]


class Scorer(Protocol):
    """Makes a problem report one more validation metric."""

    metric: str

    def scoring(self, problem: Trainable, fold: Fold | None) -> Trainable:
        """Return the problem, whose `evaluate` has the score as well."""
        ...


def folds_of(data: Any, cv: Any, seed: int) -> list[Fold]:
    """Split samples into folds.

    Args:
        data: `(x, y)`: x an array, a data frame, or several of one length in a tuple or a dictionary; y an array.
        cv: How many folds (2 or more); or the fraction to hold out (below 1); or a splitter of scikit-learn; or pairs
            of places to learn from and to validate on.
        seed: Of the shuffling before the split.

    Raises:
        InvalidArgumentError: If there are fewer samples than folds, or a class has fewer than there are folds.
    """
    if not isinstance(data, tuple | list) or len(cast("list[Any]", data)) != 2:
        raise InvalidArgumentError(f"data is a {type(data).__name__}: pass (x, y), the samples and their targets")
    x, y = data
    samples = len(y)
    if length_of(x) != samples:
        raise InvalidArgumentError(f"data has {length_of(x)} samples and {samples} targets: pass one target a sample")
    return [Fold((take(x, a), take(y, a)), (take(x, b), take(y, b))) for a, b in _pairs(y, cv, seed)]


def described(cv: Any) -> str:
    """Return how samples are split, in words that are the same in every process."""
    if cv is None or isinstance(cv, numbers.Real):
        return repr(cv)
    return str(plain(cv)) if hasattr(cv, "split") else type(cv).__name__


def mark_of(folds: list[Fold]) -> str:
    """Return the text by which a study knows the targets that each fold learns from and validates on."""
    return mark_of_data([np.asarray(part[1]) for fold in folds for part in fold])


def _pairs(y: Any, cv: Any, seed: int) -> list[tuple[Places, Places]]:
    if cv is None or isinstance(cv, bool | str):
        raise InvalidArgumentError(f"cv is {cv!r}: with data=, pass a number of folds, or the fraction to hold out")
    if isinstance(cv, numbers.Integral):
        return _k_folds(classes_of(y), len(y), int(cv), seed)
    if isinstance(cv, numbers.Real):
        return [_hold_out(classes_of(y), len(y), float(cv), seed)]
    if hasattr(cv, "split"):
        try:
            cv = list(cv.split(np.zeros(len(y)), y if (known := classes_of(y)) is None else known))
        except ValueError as error:
            raise InvalidArgumentError(f"{cv!r} cannot split {len(y)} samples: {error}") from error
    if not isinstance(cv, Iterable):
        raise InvalidArgumentError(f"cv is {cv!r}: pass a number of folds, a fraction to hold out, or a splitter")
    try:
        pairs = [(np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)) for a, b in cast("Iterable[Any]", cv)]
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"cv is {cv!r}, which gives no pairs of places: {error}") from error
    if any(part.size and (part.min() < 0 or part.max() >= len(y)) for pair in pairs for part in pair):
        raise InvalidArgumentError(f"cv has places beyond the {len(y)} samples: pass pairs of places from 0 on")
    if not pairs or any(not len(a) or not len(b) for a, b in pairs):
        raise InvalidArgumentError("cv gives no fold, or a fold without samples: pass a number of folds")
    return pairs


def _k_folds(classes: Places | None, samples: int, count: int, seed: int) -> list[tuple[Places, Places]]:
    """Deal the shuffled samples out to the folds, class after class, so that each has its share of each."""
    if count < 2:
        raise InvalidArgumentError(f"cv is {count}: pass at least 2 folds, or the fraction to hold out, such as 0.2")
    if samples < count:
        raise InvalidArgumentError(f"there are {samples} samples and {count} folds: pass fewer folds")
    _require_members(classes, count, f"{count} folds")
    order = np.random.default_rng(seed).permutation(samples)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(samples, dtype=np.int64)
    fold[order] = np.arange(samples) % count
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(count)]


def _hold_out(classes: Places | None, samples: int, fraction: float, seed: int) -> tuple[Places, Places]:
    held = round(fraction * samples) if 0 < fraction < 1 else 0
    if not 0 < held < samples:
        raise InvalidArgumentError(
            f"cv is {fraction:g} of {samples} samples: pass a fraction that leaves some on both sides, such as 0.2"
        )
    _require_members(classes, 2, "a part that learns and one that validates")
    order = np.random.default_rng(seed).permutation(samples)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    spread = np.unique(((np.arange(held) + 0.5) * samples / held).astype(np.int64))  # evenly through the classes
    inside = np.zeros(samples, dtype=bool)
    inside[order[spread]] = True
    _require_all_classes(classes, inside)
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def _require_members(classes: Places | None, least: int, words: str) -> None:
    if classes is None:
        return
    values, counts = np.unique(classes, return_counts=True)
    if counts.min() < least:
        raise InvalidArgumentError(
            f"class {values[counts.argmin()]} has {counts.min()} of {len(classes)} samples, too few for {words}, which "
            "each need one: pass fewer folds, or more samples; targets that are numbers to predict are floats"
        )


def _require_all_classes(classes: Places | None, inside: npt.NDArray[np.bool_]) -> None:
    for part in () if classes is None else (classes[inside], classes[~inside]):
        missing = np.setdiff1d(classes, part) if classes is not None else []
        if len(missing):
            raise InvalidArgumentError(
                f"class {missing[0]} is missing from one side of the split: hold out a larger part, or use folds"
            )


def classes_of(y: Any) -> Places | None:
    """Return each sample's class: whole numbers, texts, one-hot rows, or floats that are 0 or 1; None for numbers."""
    targets = np.asarray(y)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim == 2 and np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all():
        return targets.argmax(axis=1)
    if targets.ndim != 1 or (targets.dtype.kind == "f" and not np.isin(targets, (0.0, 1.0)).all()):
        return None
    try:
        return np.unique(targets, return_inverse=True)[1]
    except TypeError as error:
        raise InvalidArgumentError(
            f"the targets cannot be told apart ({error}): pass numbers alone, or texts"
        ) from error


def length_of(x: Any) -> int:
    """Return how many samples there are."""
    if isinstance(x, Mapping):
        return len(next(iter(cast("Mapping[str, Any]", x).values())))
    return len(x[0]) if isinstance(x, tuple) else len(x)


def take(x: Any, places: Places) -> Any:
    """Return the samples at these places."""
    if isinstance(x, Mapping):
        return {name: take(one, places) for name, one in cast("Mapping[str, Any]", x).items()}
    if isinstance(x, tuple):
        return tuple(take(one, places) for one in cast("tuple[Any, ...]", x))
    if isinstance(x, list):
        return [x[place] for place in places]
    return x.iloc[places] if hasattr(x, "iloc") else x[places]
