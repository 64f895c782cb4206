"""Data for JAX: arrays that are shuffled and batched here, or batches that come as they are, in pieces for one loop."""

# jax's stubs are partial, and batches are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# the same holds for the lambdas that are mapped over pytrees:
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import itertools
import random
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learnrate._checks import positive_integer
from learnrate.adapters import _bad_samples
from learnrate.errors import InvalidArgumentError
from learnrate.training import BLOCK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

Tree = Any
DEFAULT_BATCH_SIZE = 32


class Piece(NamedTuple):
    """At most `BLOCK` batches of one shape: batch i is `tree.map(lambda array: array[indices[i]], data)`."""

    data: Tree
    indices: np.ndarray[Any, Any]
    batch_samples: int


class Samples:
    """A pytree of arrays whose leading axes are the samples; it stays where JAX computes."""

    def __init__(self, name: str, data: Any, batch_size: int | None, *, drop_rest: bool) -> None:
        self.data = _arrays(name, data)
        sizes = _leading_axes(name, self.data)
        if len(set(sizes)) > 1:
            raise InvalidArgumentError(
                f"{name} has leading axes of {', '.join(map(str, sizes))}: they are the samples, so pass arrays of "
                f"equal length; several batches go into a list."
            )
        self.num_samples = sizes[0]
        if not self.num_samples:
            raise InvalidArgumentError(f"{name} is empty: pass at least one sample.")
        default = min(DEFAULT_BATCH_SIZE, self.num_samples)
        self.batch_size = default if batch_size is None else positive_integer("batch_size", batch_size)
        if self.batch_size > self.num_samples:
            if drop_rest:
                raise InvalidArgumentError(
                    f"batch_size is {self.batch_size}, and {name} has {self.num_samples} samples: pass at most that."
                )
            self.batch_size = self.num_samples
        self.num_batches = self.num_samples // self.batch_size
        self._shuffled: tuple[bytes, int, np.ndarray[Any, Any]] | None = None

    @property
    def batch_samples(self) -> int:
        """How many samples a step takes."""
        return self.batch_size

    def first(self) -> Tree:
        """Return a batch to check the loss with."""
        return jax.tree.map(lambda array: array[: self.batch_size], self.data)

    def pieces(self, key: Any, first_step: int, num_steps: int) -> Iterator[Piece]:
        """Give the batches of some steps; every epoch is shuffled anew, and what does not fill a batch is left out."""
        for start in range(first_step, first_step + num_steps, BLOCK):
            places = (divmod(at, self.num_batches) for at in range(start, min(start + BLOCK, first_step + num_steps)))
            rows = np.stack([self._epoch(key, epoch)[position] for epoch, position in places])
            yield Piece(self.data, rows, self.batch_size)

    def in_order(self) -> Iterator[Piece]:
        """Give all samples as they stand, the last batch smaller where they do not divide."""
        full = self.num_batches * self.batch_size
        rows = np.arange(full, dtype=np.int32).reshape(self.num_batches, self.batch_size)
        for start in range(0, self.num_batches, BLOCK):
            yield Piece(self.data, rows[start : start + BLOCK], self.batch_size)
        if full < self.num_samples:
            yield Piece(self.data, np.arange(full, self.num_samples, dtype=np.int32)[None], self.num_samples - full)

    def first_bad_sample(self) -> int | None:
        """Return the number of the first sample that holds NaN or infinity, None where none does."""
        return _bad_samples.first_bad_sample([_numbers_in(self.data)])

    def _epoch(self, key: Any, epoch: int) -> np.ndarray[Any, Any]:
        mark = np.asarray(jax.random.key_data(key)).tobytes()
        if self._shuffled is None or self._shuffled[:2] != (mark, epoch):
            order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), self.num_samples))
            rows = order[: self.num_batches * self.batch_size].reshape(self.num_batches, self.batch_size)
            self._shuffled = mark, epoch, rows
        return self._shuffled[2]


class Batches:
    """Something that can be iterated again and again, and gives the same batches each time."""

    def __init__(self, name: str, data: Iterable[Any]) -> None:
        if iter(data) is data:
            raise InvalidArgumentError(
                f"{name}, a {type(data).__name__}, can be iterated once only, and every trial needs the same batches: "
                f"pass arrays, a list of batches, or an object whose __iter__ begins anew."
            )
        self._name = name
        self._source = data
        self._iterator: tuple[int, Iterator[Any]] | None = None
        self.num_batches = self.num_samples = 0
        structure: Any = None
        for batch in data:
            tree = _arrays(f"a batch of {name}", batch)
            if structure is not None and structure != jax.tree.structure(tree):
                raise InvalidArgumentError(
                    f"the batches of {name} are {structure} and {jax.tree.structure(tree)}: give all of them one "
                    f"structure; arrays of samples go into a tuple or a dict, not into a list."
                )
            structure = jax.tree.structure(tree)
            self.num_batches += 1
            self.num_samples += _samples_of(tree)
        if not self.num_batches:
            raise InvalidArgumentError(f"{name} gave no batch: pass at least one.")
        if _bytes(self.first()) != _bytes(self.first()):
            raise InvalidArgumentError(
                f"{name} gave another first batch the second time it was iterated, and trainings compare only over the "
                f"same batches: switch its own shuffling off (shuffle=False), or pass arrays, which are shuffled here."
            )

    @property
    def batch_samples(self) -> float:
        """How many samples a step takes, on average."""
        return self.num_samples / self.num_batches

    def first(self) -> Tree:
        """Return a batch to check the loss with."""
        return _arrays(f"a batch of {self._name}", next(iter(self._source)))

    def pieces(self, key: Any, first_step: int, num_steps: int) -> Iterator[Piece]:
        """Give the batches of some steps, neighbours of one shape together."""
        del key
        yield from _grouped(self._batch(first_step + at) for at in range(num_steps))

    def in_order(self) -> Iterator[Piece]:
        """Give all batches."""
        yield from _grouped(_arrays(f"a batch of {self._name}", batch) for batch in self._source)

    def first_bad_sample(self) -> int | None:
        """Return the place in a pass of the first sample that holds NaN or infinity, None where none does."""
        self._iterator = None  # some loaders let nobody else go over them meanwhile
        with _generators_preserved():
            batches = (_arrays(f"a batch of {self._name}", batch) for batch in self._source)
            return _bad_samples.first_bad_sample(map(_numbers_in, batches))

    def _batch(self, step: int) -> Tree:
        position = step % self.num_batches
        if self._iterator is None or self._iterator[0] != step:
            self._iterator = step, itertools.islice(iter(self._source), position, None)
        batch = next(self._iterator[1], None)
        if batch is None:
            self._iterator = None
            raise InvalidArgumentError(
                f"{self._name} gave {self.num_batches} batches at first, and now only {position}: it has to give the "
                f"same batches each time it is iterated."
            )
        self._iterator = (step + 1, self._iterator[1]) if position + 1 < self.num_batches else None
        return _arrays(f"a batch of {self._name}", batch)


def read_data(name: str, data: Any, batch_size: int | None, *, drop_rest: bool) -> Samples | Batches:
    """Tell arrays of samples (an array; a tuple, mapping or other pytree of them) from batches (a list, a loader).

    Raises:
        InvalidArgumentError: Nothing in it, different leading axes, or an iterator that cannot begin anew.
    """
    iterable = hasattr(data, "__iter__") or hasattr(data, "__getitem__")
    if iterable and not (isinstance(data, tuple | Mapping | str | bytes) or hasattr(data, "shape")):
        return Batches(name, data)
    return Samples(name, data, batch_size, drop_rest=drop_rest)


def _arrays(name: str, tree: Any) -> Tree:
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise InvalidArgumentError(f"{name} holds no array: pass an array, or a tuple or dict of arrays.")
    try:
        return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(np.asarray(leaf)), tree)
    except (TypeError, ValueError) as error:
        kinds = ", ".join(sorted({type(leaf).__name__ for leaf in leaves}))
        raise InvalidArgumentError(
            f"{name} holds {kinds}, of which JAX makes no arrays ({error}): pass arrays of numbers."
        ) from error


def _leading_axes(name: str, tree: Tree) -> list[int]:
    leaves: list[jax.Array] = jax.tree.leaves(tree)
    if any(leaf.ndim == 0 for leaf in leaves):
        raise InvalidArgumentError(f"{name} holds a single number: pass arrays whose leading axis is the samples.")
    return [leaf.shape[0] for leaf in leaves]


def _samples_of(batch: Tree) -> int:
    shape = jax.tree.leaves(batch)[0].shape
    return shape[0] if shape else 1


def _shapes(batch: Tree) -> list[Any]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batch)]


def _numbers_in(batch: Tree) -> list[np.ndarray[Any, Any]]:
    leaves = [leaf for leaf in jax.tree.leaves(batch) if not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)]
    return [np.asarray(leaf) for leaf in leaves]  # extended are random keys, which are no numbers


@contextlib.contextmanager
def _generators_preserved() -> Generator[None]:
    """Put back the global generators of Python, numpy and PyTorch, which loaders draw from."""
    torch: Any = sys.modules.get("torch")
    own = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002  # the global one is what is kept
    drawn_by_torch = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(own[0])
        np.random.set_state(own[1])  # noqa: NPY002  # likewise
        if torch is not None:
            torch.set_rng_state(drawn_by_torch)


def _bytes(batch: Tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(batch)]


def _grouped(batches: Iterable[Tree]) -> Iterator[Piece]:
    for _, group in itertools.groupby(batches, key=_shapes):
        while batch := list(itertools.islice(group, BLOCK)):
            yield _stacked(batch)


def _stacked(batches: list[Tree]) -> Piece:
    room = 1 << (len(batches) - 1).bit_length()  # few lengths, since each is compiled for itself
    padded = batches + batches[-1:] * (room - len(batches))
    data = jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves])), *padded)
    return Piece(data, np.arange(len(batches), dtype=np.int32), _samples_of(batches[0]))
