"""Data for Keras in the words of `fit`: arrays that are shuffled and cut here, or batches that come from elsewhere."""

# keras has no stubs, and batches are of any kind:
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import keras
import numpy as np
import numpy.typing as npt

from learnrate.adapters._bad_samples import first_bad_sample, in_words
from learnrate.adapters._keras_random import Generators, derived, generators_in
from learnrate.errors import InvalidArgumentError
from learnrate.training import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Array = npt.NDArray[Any]
Batch = Any
"""What `fit` hands to `train_step`: x, (x, y) or (x, y, sample_weight), each an array or a structure of them."""

MOST_KEPT = 2**30
"""Bytes of batches that are kept where the data gives others each time."""

STACKED = 8
"""Batches from elsewhere go into a compiled loop in eights, and what remains one by one: two lengths to compile."""


class Place(NamedTuple):
    """Where the training stands in its data: the seed of the order, the pass, and the batches taken from it."""

    seed: int = 0
    number: int = 0
    position: int = 0


class Piece(NamedTuple):
    """At most `BLOCK` batches of one shape: batch i has the leaves `leaf[rows[i]]`."""

    leaves: list[Any]
    rows: Array
    samples: int


class Form:
    """The structure of a batch, which takes its leaves apart and puts them together; what is None stays None."""

    def __init__(self, batch: Batch) -> None:
        self._structure = batch
        leaves = keras.tree.flatten(batch)
        self._there = [leaf is not None for leaf in leaves]
        self._words = repr(keras.tree.map_structure(lambda leaf: leaf is not None, batch))

    def flat(self, batch: Batch) -> list[Any]:
        """Return the leaves of a batch."""
        if repr(keras.tree.map_structure(lambda leaf: leaf is not None, batch)) != self._words:
            raise InvalidArgumentError(
                "the batches of the data have different structures: give all of them one, (inputs, targets) or "
                "(inputs, targets, sample_weights)."
            )
        return leaves_of(batch)

    def pack(self, leaves: Sequence[Any]) -> Batch:
        """Return the batch that has these leaves."""
        following = iter(leaves)
        every = [next(following) if there else None for there in self._there]
        return keras.tree.pack_sequence_as(self._structure, every)


class Samples:
    """Arrays whose leading axes are the samples, cut into batches; a pass may end with a smaller one, as in `fit`.

    Args:
        batch: All of the samples.
        batch_size: Samples a step.
        shuffle: Whether each pass is shuffled.
        before: How many samples of x came before these, which were split off.
    """

    def __init__(self, batch: Batch, batch_size: int, *, shuffle: bool, before: int = 0) -> None:
        self.form = Form(batch)
        self._arrays: list[Array] = self.form.flat(batch)
        self.num_samples = len(self._arrays[0])
        self.batch_size = min(batch_size, self.num_samples)
        self.length: int | None = -(-self.num_samples // self.batch_size)
        self._shuffle = shuffle
        self._before = before
        self._leaves: list[Any] | None = None
        self._order: tuple[tuple[int, int], Array] | None = None

    @property
    def batch_samples(self) -> float:
        """How many samples a step takes, on average."""
        return self.num_samples / cast("int", self.length)

    def first(self) -> Batch:
        """Return a batch to build the model with."""
        return self.form.pack([array[: self.batch_size] for array in self._arrays])

    def take(self, place: Place, count: int) -> tuple[list[Piece], Place]:
        """Return the next batches, those of one size together, and the place behind them."""
        pieces: list[Piece] = []
        while count:
            order = self._order_of(place)
            full = self.num_samples // self.batch_size
            several = min(count, BLOCK, max(full - place.position, 1))
            start = place.position * self.batch_size
            rows = order[start : start + several * self.batch_size]
            size = min(self.batch_size, len(rows))
            pieces.append(Piece(self._native(), rows.reshape(-1, size), size))
            count -= several
            place = place._replace(position=place.position + several)
            if place.position == self.length:
                place = Place(place.seed, place.number + 1)
        return pieces, place

    def all(self) -> Iterator[Piece]:
        """Give all batches of the first pass."""
        yield from self.take(Place(), cast("int", self.length))[0]

    def first_bad_sample(self, data: str) -> str | None:
        """Say which sample is the first that holds NaN or infinity, None where none does."""
        number = first_bad_sample([self._arrays])
        if number is not None and self._before:
            return in_words(self._before + number, "x and y")
        return in_words(number, data)

    def _order_of(self, place: Place) -> Array:
        if self._order is None or self._order[0] != place[:2]:
            order = np.arange(self.num_samples, dtype=np.int32)
            if self._shuffle:
                np.random.default_rng([place.seed, place.number]).shuffle(order)
            self._order = (place.seed, place.number), order
        return self._order[1]

    def _native(self) -> list[Any]:
        if self._leaves is None:
            self._leaves = [keras.ops.convert_to_tensor(array) for array in self._arrays]
        return self._leaves


class Batches:
    """Batches from elsewhere, pass after pass, drawn under random generators of their own.

    Each pass is opened with generators that follow from the seed and its number, so that it gives the same batches
    again. Where it does not (a `tf.data` that shuffles), the batches of the first passes are kept and come again.

    Args:
        name: What errors call the data.
        open_pass: Gives the batches of a pass by seed and number.
        length: How many there are in a pass, None where that is not known.
        things: Where else random generators are looked for.
        steps: How many batches of a pass without an end are kept.
        look: Finds the first bad sample in the data's own order, of at most so many batches, where passes have another.
    """

    def __init__(
        self,
        name: str,
        open_pass: Callable[[int, int], Iterator[Batch]],
        length: int | None,
        things: Iterable[Any],
        steps: int | None,
        *,
        look: Callable[[int | None], int | None] | None = None,
    ) -> None:
        self._name, self._open_pass, self.length, self._steps = name, open_pass, length, steps
        self._look = look
        self._generators = Generators(generators_in(*things))
        self._live: tuple[Place, Iterator[Batch]] | None = None
        self._kept: dict[int, list[Batch]] = {}
        self._most_kept: int | None = None
        self._first = self._opening()
        self.form = Form(self._first)
        leaves = self.form.flat(self._first)
        self.batch_samples = float(leaves[0].shape[0]) if leaves[0].ndim else 1.0
        again = self.form.flat(self._opening())
        if [leaf.tobytes() for leaf in leaves] != [leaf.tobytes() for leaf in again]:
            self._most_kept = self._room(sum(leaf.nbytes for leaf in leaves))

    @property
    def warning(self) -> str | None:
        """What to tell the user about data that gives other batches each time."""
        if self._most_kept is None:
            return None
        passes = "one pass" if self._most_kept == 1 else f"{self._most_kept} passes"
        return (
            f"{self._name} gives other batches each time it is iterated, so the batches of the first {passes} are kept "
            f"in memory and come again: all trainings see the same ones, whatever the seed"
        )

    @property
    def num_samples(self) -> float:
        """How many samples a pass has, judged by the first batch; counted where the length is not known."""
        if self.length is None:
            self.length = sum(1 for _ in self._pass(0, 0))
        return self.length * self.batch_samples

    def first(self) -> Batch:
        """Return a batch to build the model with."""
        return self._first

    def take(self, place: Place, count: int) -> tuple[list[Piece], Place]:
        """Return the next batches, neighbours of one shape together, and the place behind them."""
        batches: list[Batch] = []
        with self._generators.own():
            while len(batches) < count:
                batch = next(self._at(place), None)
                if batch is None:
                    if not place.position:
                        raise InvalidArgumentError(
                            f"{self._name} gave no batch: it is empty, or can be iterated once only."
                        )
                    place = Place(place.seed, place.number + 1)
                    self._live = None
                    continue
                batches.append(batch)
                place = place._replace(position=place.position + 1)
                if place.position == self.length:
                    place = Place(place.seed, place.number + 1)
                    self._live = None
                else:
                    self._live = place, cast("tuple[Place, Iterator[Batch]]", self._live)[1]
        return list(self._pieces(batches)), place

    def all(self) -> Iterator[Piece]:
        """Give all batches of the first pass."""
        following = self._pass(0, 0)
        while some := list(itertools.islice(following, STACKED)):
            yield from self._pieces(some)

    def first_bad_sample(self, data: str) -> str | None:
        """Say which sample is the first that holds NaN or infinity, None where none does.

        Of data without an end only as many batches are looked at as make an epoch.
        """
        most = self.length or self._steps
        if self._look is None:
            number = first_bad_sample(map(self.form.flat, itertools.islice(self._pass(0, 0), most)))
            return in_words(number, data, can_be_found=self._most_kept is None)
        self._live = None
        with self._generators.own():
            return in_words(self._look(most), data)

    def _opening(self) -> Batch:
        with self._generators.own():
            self._generators.seed(0, 0)
            found = next(self._open_pass(0, 0), None)
        if found is None:
            raise InvalidArgumentError(f"{self._name} gave no batch: it is empty, or can be iterated once only.")
        return found

    def _room(self, batch_bytes: int) -> int:
        batches = self.length or self._steps
        if not batches or batches * batch_bytes > MOST_KEPT:
            raise InvalidArgumentError(
                f"{self._name} gives other batches each time it is iterated, and trainings compare only over the same "
                f"batches; it has no known end, or is too large to keep them. Let it give the same ones: "
                f"dataset.shuffle(..., reshuffle_each_iteration=False, seed=0), or pass arrays, to be shuffled here."
            )
        return MOST_KEPT // (batches * batch_bytes)

    def _at(self, place: Place) -> Iterator[Batch]:
        if self._live is None or self._live[0] != place:
            following = self._begun(place.seed, place.number)
            for _ in range(place.position):
                next(following, None)
            self._live = place, following
        return self._live[1]

    def _begun(self, seed: int, number: int) -> Iterator[Batch]:
        """Open a pass, the generators being the training's own by now."""
        if self._most_kept is not None:
            number %= self._most_kept
            if number not in self._kept:
                limit = None if self.length is not None else self._steps
                self._kept[number] = list(itertools.islice(self._open_pass(0, number), limit))
            return iter(self._kept[number])
        self._generators.seed(seed, number)
        return self._open_pass(seed, number)

    def _pass(self, seed: int, number: int) -> Iterator[Batch]:
        """Give a pass from its start, whatever the training's place; the generators are swapped for each batch."""
        self._live = None
        following: Iterator[Batch] | None = None
        while True:
            with self._generators.own():
                following = following or self._begun(seed, number)
                batch = next(following, None)
            if batch is None:
                return
            yield batch

    def _pieces(self, batches: list[Batch]) -> Iterator[Piece]:
        flat = (self.form.flat(batch) for batch in batches)
        for _, group in itertools.groupby(flat, key=lambda leaves: [(leaf.shape, leaf.dtype) for leaf in leaves]):
            several = list(group)
            whole = len(several) // STACKED * STACKED
            cuts = [*range(0, whole, STACKED), *range(whole, len(several) + 1)]
            for start, stop in itertools.pairwise(cuts):
                stacked = [keras.ops.convert_to_tensor(np.stack(it)) for it in zip(*several[start:stop], strict=True)]
                samples = several[start][0].shape[0] if several[start][0].ndim else 1
                yield Piece(stacked, np.arange(stop - start, dtype=np.int32), samples)


Source = Samples | Batches


def leaves_of(batch: Batch) -> list[Any]:
    """Return the arrays of a batch."""
    return [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]


def py_dataset(data: Any, *, shuffle: bool, prepare: Callable[[Any], Batch]) -> Callable[[int, int], Iterator[Batch]]:
    """Give a PyDataset's passes: its batches by number, in an order that follows from the seed."""

    def opened(seed: int, number: int) -> Iterator[Batch]:
        length: int | None = data.num_batches
        order: Iterable[int] = itertools.count() if length is None else range(length)
        if shuffle and length is not None:
            order = np.random.default_rng(derived(seed, number)).permutation(length).tolist()
        return (prepare(data[at]) for at in order)

    return opened


def checked_batch(batch: Any, name: str, weights: Mapping[int, float] | None) -> Batch:
    """Return a batch from elsewhere as numpy arrays in one of the forms of `fit`, with the weights of its classes.

    Raises:
        InvalidArgumentError: It has another form, or holds something other than arrays.
    """
    parts = tuple(cast("Sequence[Any]", batch)) if isinstance(batch, list | tuple) else (batch,)
    if not 1 <= len(parts) <= 3:
        raise InvalidArgumentError(
            f"a batch of {name} has {len(parts)} parts: give (inputs,), (inputs, targets) or (inputs, targets, "
            f"sample_weights); several inputs go into a tuple or a dict of their own."
        )
    x, y, sample_weight = (
        keras.tree.map_structure(lambda it: to_numpy(name, it), it) for it in (*parts, None, None)[:3]
    )
    if weights is not None:
        sample_weight = class_weighted(y, sample_weight, weights)
    return packed(x, y, sample_weight)


def packed(x: Any, y: Any, sample_weight: Any) -> Batch:
    """Return x, (x, y) or (x, y, sample_weight), as `fit` hands them to `train_step`."""
    return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


def to_numpy(name: str, leaf: Any) -> Any:
    """Return an array as numpy's, None as it is.

    Raises:
        InvalidArgumentError: It is no array, or one that is sparse or ragged.
    """
    if leaf is None:
        return None
    if hasattr(leaf, "detach"):
        leaf = leaf.detach().cpu()
    dense = hasattr(leaf, "shape") and hasattr(leaf, "__array__") and not hasattr(leaf, "todense")
    array = np.asarray(leaf) if dense else None
    if array is None or array.dtype == object:
        raise InvalidArgumentError(
            f"{name} holds a {type(leaf).__name__}: pass arrays of numbers (numpy, pandas, or tensors), in tuples, "
            f"lists or dicts where the model has several inputs or outputs. Make dense what is sparse or ragged."
        )
    return array


def class_weighted(y: Any, sample_weight: Any, weights: Mapping[int, float]) -> Array:
    """Return the weight of each sample by its class: integers, or one-hot rows.

    Raises:
        InvalidArgumentError: There are sample weights too, or no targets, or those of several outputs.
    """
    if sample_weight is not None:
        raise InvalidArgumentError(
            "class_weight and sample_weight were both given: multiply them into sample_weight, and pass that alone."
        )
    if y is None or keras.tree.is_nested(y):
        raise InvalidArgumentError(
            "class_weight is for a model with one output: pass sample_weight, a structure like y, for several."
        )
    classes = np.asarray(y)
    if classes.ndim > 1:
        classes = classes.argmax(-1) if classes.shape[-1] != 1 else classes[..., 0]
    numbers = np.round(classes).astype(np.int64).ravel()
    return np.array([weights.get(int(it), 1.0) for it in numbers], dtype=keras.config.floatx())
