"""The batches of a PyTorch training, pass after pass, with a place among them that can be kept and found again.

A user's own loop `for batch in loader` and a `Stream` draw the same random numbers at the same moments, so that a
training here is the training there, bit for bit. Only the order of a map-style data set is drawn ahead, for the whole
pass, where the loop draws it at the first batch too: that makes a place in the middle of the pass cheap to keep.
"""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import itertools
import operator
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from learnrate.adapters import _bad_samples
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from learnrate.adapters._torch_random import Randomness
    from learnrate.adapters._torch_state import Tree

END: Final = object()
"""What `Stream.next` gives at the end of a pass."""

_KEPT_BATCHES = 128  # two blocks: forks from one place replay them, and no more memory than that is held


def checked_data(name: str, data: Any) -> Any:
    """Return the data if it can be iterated again and again, or raise an error that says what to pass.

    Raises:
        InvalidArgumentError: It is exhausted after one pass, empty, not made of batches, or not iterable.
    """
    loader = "a DataLoader, or a list (or anything that can be iterated again and again) of batches"
    if isinstance(data, Iterator):
        raise InvalidArgumentError(
            f"{name} is a {type(data).__name__}, which can be iterated once only; pass {loader}."
        )
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise InvalidArgumentError(
            f"{name} is a data set of single samples; pass DataLoader({name}, batch_size=...) so that it gives batches."
        )
    parts = cast("tuple[Any, ...]", data if isinstance(data, tuple) else (data,))
    if parts and all(isinstance(part, Tensor) for part in parts):
        raise InvalidArgumentError(
            f"{name} is made of whole tensors, not of batches; pass "
            f"DataLoader(TensorDataset(inputs, targets), batch_size=..., shuffle=True)."
        )
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise InvalidArgumentError(f"{name} is a {type(data).__name__}, which cannot be iterated; pass {loader}.")
    if length_of(data) == 0:
        raise InvalidArgumentError(
            f"{name} is empty: it has no batch. Pass {loader}; drop_last=True drops data smaller than one batch."
        )
    return data


def length_of(data: Any) -> int | None:
    """Return the number of batches of one pass, or None where the data does not know."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


def samples_in(batch: Any) -> int:
    """Return the length of the first tensor or array found in a batch; 1 where there is none."""
    if hasattr(batch, "shape"):
        return int(batch.shape[0]) if len(batch.shape) else 1
    if isinstance(batch, Mapping):
        batch = list(cast("Mapping[Any, Any]", batch).values())
    if isinstance(batch, list | tuple):
        parts = cast("Sequence[Any]", batch)
        return next((samples_in(part) for part in parts if not isinstance(part, str | int | float)), 1)
    return int(getattr(batch, "num_graphs", 1))


def num_samples(data: Any) -> float:
    """Return the number of samples in one pass over the data, looking at its batches where it does not tell."""
    loader = _sized_loader(data)
    if loader is None:
        return float(sum(samples_in(batch) for batch in fresh(data)))
    return min(len(loader) * (loader.batch_size or 1), len(cast("Any", loader.sampler)))


def samples_per_batch(data: Any) -> float:
    """Return the number of samples in a batch, looking at the first where the data does not tell."""
    loader = _sized_loader(data)
    if loader is None:
        return float(next((samples_in(batch) for batch in fresh(data)), 1))
    return num_samples(loader) / len(loader)


def _sized_loader(data: Any) -> DataLoader[Any] | None:
    if not _is_plain_loader(data) or isinstance(data.dataset, IterableDataset) or data.batch_size is None:
        return None
    return None if length_of(data.sampler) is None else data


def fresh(data: Any) -> Iterable[Any]:
    """Return what one pass over the data iterates: a loader of our own where the user's would keep its workers.

    Workers that persist go on with the random states of the pass before, which nobody can put back.
    """
    if _is_plain_loader(data) and data.persistent_workers:
        return _loader_like(data, data.batch_sampler if _is_batched(data) else data.sampler)
    return data


def _is_plain_loader(data: Any) -> bool:
    # A subclass that iterates in its own way is iterated in that way, as any iterable.
    return isinstance(data, DataLoader) and type(data).__iter__ is DataLoader.__iter__


def _is_batched(loader: DataLoader[Any]) -> bool:
    return loader.batch_sampler is not None  # pyright: ignore[reportUnnecessaryComparison]  # the stubs promise too much


def _loader_like(loader: DataLoader[Any], order: Any) -> DataLoader[Any]:
    """Make a loader over the same data with this order (of batches, or of samples where they are not batched)."""
    settings: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory,
        "timeout": loader.timeout,
        "worker_init_fn": loader.worker_init_fn,
        "multiprocessing_context": loader.multiprocessing_context,
        "generator": loader.generator,
        "prefetch_factor": loader.prefetch_factor,
    }
    if loader.pin_memory_device:
        settings["pin_memory_device"] = loader.pin_memory_device
    if hasattr(loader, "in_order"):  # torch 2.6
        settings["in_order"] = loader.in_order
    if isinstance(loader.dataset, IterableDataset):
        return DataLoader(loader.dataset, batch_size=loader.batch_size, drop_last=loader.drop_last, **settings)
    if _is_batched(loader):
        return DataLoader(loader.dataset, batch_sampler=order, **settings)
    return DataLoader(loader.dataset, batch_size=None, sampler=order, **settings)


class _Order:
    """A sampler's order of one pass, drawn at the first batch and remembered."""

    def __init__(self, sampler: Iterable[Any], randomness: Randomness | None) -> None:
        self._sampler = sampler
        self._randomness = randomness
        self.indices: list[Any] | None = None
        self.start: Tree = None

    def __iter__(self) -> Iterator[Any]:
        drawing = iter(self._sampler)
        if self._randomness is not None and self.start is None:  # loaders with workers ask twice
            self.start = self._randomness.states()  # what the workers' seed is drawn from, next
        return self._drawn(drawing)

    def _drawn(self, drawing: Iterator[Any]) -> Iterator[Any]:
        self.indices = list(drawing)
        yield from self.indices


@dataclass(frozen=True)
class Place:
    """A place among the batches: so many taken from this pass; position 0 is before it begins."""

    number: int
    position: int = 0
    epochs: tuple[int | None, ...] = ()
    indices: list[Any] | None = None
    start: Tree = None
    draws: dict[int, Tree] = field(default_factory=dict[int, Any])
    live: weakref.ref[_Pass] | None = None

    def tree(self) -> dict[str, Any]:
        """Return what a file holds of it."""
        names = ("number", "position", "epochs", "indices", "start", "draws")
        return {name: getattr(self, name) for name in names}


class _Pass:
    """One pass over the data, under way."""

    def __init__(self, iterator: Iterator[Any], place: Place, order: _Order | None) -> None:
        self.iterator = iterator
        self.position = place.position
        self.start = place.start
        self.draws = dict(place.draws)
        self.order = order
        self._indices = place.indices
        self.kept: list[Any] | None = None
        self.kept_from = 0
        self._peeked: Any = END
        self._sound = True
        self._seen: Tree = None

    @property
    def indices(self) -> list[Any] | None:
        return self.order.indices if self.order is not None else self._indices

    def next(self, watch: Randomness | None) -> Any:
        """Return the next batch, or END."""
        at = self.position - self.kept_from
        self._sound = False  # an interruption from here on leaves an iterator that may stand elsewhere
        if self.kept is not None and at < len(self.kept):
            batch = self.kept[at]
        elif self._peeked is not END:
            batch, self._peeked = self._peeked, END
        else:
            batch = self._fetch(watch)
        if batch is not END:
            self.position += 1
        self._sound = True
        return batch

    def is_over(self, watch: Randomness | None) -> bool:
        """Return whether there is no other batch, by trying to take it."""
        if self._peeked is not END or (self.kept and self.position - self.kept_from < len(self.kept)):
            return False
        self._sound = False
        batch = self._fetch(watch)
        if self.kept is None:
            self._peeked = batch
        self._sound = True
        return batch is END

    def keep(self) -> None:
        """Keep the batches from here on, for whoever comes back to this place."""
        if self.kept is None or len(self.kept) > _KEPT_BATCHES // 2:
            self.kept = (self.kept or [])[self.position - self.kept_from :]
            self.kept_from = self.position

    def can_return_to(self, position: int) -> bool:
        if self.kept is None or not self._sound:
            return self._sound and position == self.position
        return self.kept_from <= position <= self.kept_from + len(self.kept)

    def _fetch(self, watch: Randomness | None) -> Any:
        before = watch.fingerprint() if watch is not None else None
        states = watch.states() if watch is not None and before != self._seen else None
        batch = next(self.iterator, END)
        if watch is not None:
            self._seen = watch.fingerprint()
            if states is not None and self._seen != before:
                # The data draws from a generator that the training draws from too: a replay must know where it stood.
                self.draws[self.position] = states
        if self.kept is not None and batch is not END:
            self.kept.append(batch)
            if len(self.kept) > _KEPT_BATCHES:
                self.kept = None
        return batch


class Stream:
    """The batches of the training data, one pass after another.

    Args:
        data: A DataLoader, or anything that can be iterated again and again.
        randomness: The generators that the data may draw from.
    """

    def __init__(self, data: Any, randomness: Randomness) -> None:
        self._data = data
        self._randomness = randomness
        self._loader: DataLoader[Any] | None = data if _is_plain_loader(data) else None
        self._clocks = _epoch_counters(data)
        self._first_epoch = _epochs(self._clocks)
        self._number = 0
        self._pass: _Pass | None = None
        self.length = length_of(data)
        workers = self._loader is not None and self._loader.num_workers > 0
        self._ordered = self._loader is not None and _knows_its_order(self._loader)
        self._keeps = workers  # their batches cost time, and no random number of this process
        self._draws = not isinstance(data, list | tuple)
        self._watch = randomness if self._draws and not workers and not self._ordered else None

    @property
    def obstacle(self) -> str | None:
        """Why several streams over this data would get into each other's way, in words; None where they do not."""
        if isinstance(self._data, list | tuple):
            return None
        if self._clocks:
            return "the data is told which pass it makes (set_epoch), and each seed makes passes of its own"
        if self._keeps:
            return "the data loader has workers, and each seed would need as many of its own"
        if not self._ordered:
            return f"a {type(self._data).__name__} does not tell its order ahead, and each seed has one of its own"
        return None

    @property
    def remaining(self) -> int | None:
        """How many batches are left of this pass, or of the next where none is under way; None where unknown."""
        if self._pass is None:
            return self.length
        indices = self._pass.indices
        length = self.length if indices is None else len(indices)
        return None if length is None else max(length - self._pass.position, 0)

    def next(self, *, fresh: bool) -> Any:
        """Return the next batch; at the end of a pass the next one's first if `fresh`, else END.

        Raises:
            InvalidArgumentError: A pass over the data gives no batch at all.
        """
        if self._pass is not None:
            batch = self._pass.next(self._watch)
            if batch is not END:
                return batch
            self._finish()
        if not fresh:
            return END
        self._pass = self._open(Place(self._number))
        batch = self._pass.next(self._watch)
        if batch is END:
            self._pass = None
            raise InvalidArgumentError(
                f"the training data gave no batch in pass {self._number + 1} over it: it is empty, or it can be "
                f"iterated once only. Pass a DataLoader, or a list of batches."
            )
        return batch

    def finish_if_done(self) -> None:
        """End a pass whose last batch was taken: what the data draws at its end is drawn here, as in a user's loop."""
        if self._pass is not None and self.remaining == 0 and self._pass.is_over(self._watch):
            self._finish()

    def _finish(self) -> None:
        self._pass = None
        self._number += 1

    def place(self) -> Place:
        """Return the place; it costs next to nothing."""
        epochs = _epochs(self._clocks)
        live = self._pass
        if live is None or live.position == 0:
            return Place(self._number, epochs=epochs)
        if self._keeps:
            live.keep()
        start = live.start if live.order is None else live.order.start
        return Place(self._number, live.position, epochs, live.indices, start, dict(live.draws), weakref.ref(live))

    def go_to(self, place: Place) -> None:
        """Return to a place. The generators are the caller's to put back."""
        live = self._pass
        self._number = place.number
        for clock, epoch in zip(self._clocks, place.epochs, strict=False):
            if epoch is not None:
                clock.set_epoch(epoch)
        if place.position == 0:
            self._pass = None
        elif (
            live is not None and place.live is not None and place.live() is live and live.can_return_to(place.position)
        ):
            live.position = place.position
        else:
            self._pass = None  # its workers go before others come
            with self._randomness.preserved():
                self._pass = self._reopen(place)

    def rewind(self) -> None:
        """Go back to before the first pass."""
        self.go_to(Place(0, epochs=self._first_epoch))

    def _open(self, place: Place) -> _Pass:
        for clock, first in zip(self._clocks, self._first_epoch, strict=True):
            clock.set_epoch((first or 0) + place.number)
        if self._loader is not None and self._ordered:
            order = _Order(_sampler_of(self._loader), self._randomness if self._keeps else None)
            return _Pass(iter(_loader_like(self._loader, order)), place, order)
        begun = Place(place.number, start=self._randomness.states() if self._draws else None)
        return _Pass(iter(fresh(self._data)), begun, None)

    def _reopen(self, place: Place) -> _Pass:
        if self._loader is not None and self._ordered and not self._keeps:
            rest = (place.indices or [])[place.position :]
            return _Pass(iter(_loader_like(self._loader, rest)), place, None)
        # What was drawn on the way here may have made the batches to come, in the workers or in the data's own code.
        if place.start is not None:
            self._randomness.set(place.start)
        whole = self._data if place.indices is None else _loader_like(cast("Any", self._loader), place.indices)
        again = _Pass(iter(fresh(whole)), place, None)
        for position in range(place.position):
            if position in place.draws:
                self._randomness.set(place.draws[position])
            if next(again.iterator, END) is END:
                raise InvalidArgumentError(
                    f"the training data gave {position} batches where it gave more before: each pass over it must "
                    f"give the same batches when the random generators stand the same. Generators that are not "
                    f"found among its attributes are passed as generators=[...]."
                )
        return again


class Batches(Protocol):
    """What an update takes its batches from."""

    @property
    def length(self) -> int | None:
        """The number of batches of one pass; None where unknown."""
        ...

    @property
    def remaining(self) -> int | None:
        """How many are left of this pass."""
        ...


def planned_batches(batches: Batches, accumulate: int) -> int:
    """Return how many batches the next update takes: fewer at the end of a pass."""
    return min(accumulate, batches.remaining or batches.length or accumulate)


def _sampler_of(loader: DataLoader[Any]) -> Any:
    return loader.batch_sampler if _is_batched(loader) else loader.sampler


def _knows_its_order(loader: DataLoader[Any]) -> bool:
    return not isinstance(loader.dataset, IterableDataset) and length_of(_sampler_of(loader)) is not None


def _epoch_counters(data: Any) -> list[Any]:
    """Find what wants to know the epoch, as DistributedSampler does."""
    sampler = getattr(data, "batch_sampler", None)
    things = (
        data,
        getattr(data, "sampler", None),
        sampler,
        getattr(sampler, "sampler", None),
        getattr(data, "dataset", None),
    )
    return list({id(thing): thing for thing in things if callable(getattr(thing, "set_epoch", None))}.values())


def _epochs(clocks: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(getattr(clock, "epoch", None) for clock in clocks)


def first_bad_sample(data: Any, most_batches: int | None = None) -> int | None:
    """Return the number of the first sample that holds NaN or infinity, None where none does.

    It is the number in the data set where a loader tells which samples it draws, else the place in a pass.

    Args:
        data: What `checked_data` returned.
        most_batches: How many batches to look at where their number is not known: they may never end.
    """
    drawn = _numbers_drawn(data)
    if drawn is not None:
        return _first_bad_number(data, drawn)
    batches = itertools.islice(fresh(data), most_batches if length_of(data) is None else None)
    return _bad_samples.first_bad_sample(map(_arrays_in, batches))


def _numbers_drawn(data: Any) -> list[list[int]] | None:
    """Return the numbers of the samples that a loader draws, in batches; None where it does not tell."""
    if not (_is_plain_loader(data) and _is_batched(data) and _knows_its_order(data)):
        return None
    size = data.batch_size
    try:
        if size is None:
            return [list(map(operator.index, batch)) for batch in data.batch_sampler]
        numbers = sorted(map(operator.index, data.sampler))  # without its batches, which may leave the last ones out
    except TypeError:  # keys of another kind
        return None
    return [numbers[at : at + size] for at in range(0, len(numbers), size)]


def _first_bad_number(loader: DataLoader[Any], drawn: list[list[int]]) -> int | None:
    """Return the smallest number of a bad sample: in batches, of which each bad one is taken apart."""
    suspects = {
        number
        for numbers, batch in zip(drawn, _loader_like(loader, drawn), strict=True)
        if _bad_samples.first_bad_sample([_as_one(batch)]) is not None
        for number in numbers
    }
    ordered = sorted(suspects)
    found = _bad_samples.first_bad_sample(map(_as_one, _loader_like(loader, [[number] for number in ordered])))
    return None if found is None else ordered[found]


def _as_one(batch: Any) -> list[npt.NDArray[Any]]:
    """Return the arrays of a batch as those of a single sample, since their first axis need not be the samples'."""
    return [array[None] for array in _arrays_in(batch)]


def begins_anew(data: Any) -> bool:
    """Whether a pass over the data leaves one that is under way alone; no worker is started to find out."""
    source = data
    if isinstance(data, DataLoader):
        source = data.dataset if isinstance(data.dataset, IterableDataset) else _sampler_of(data)
    return iter(source) is not iter(source)


def _arrays_in(batch: Any) -> Iterator[npt.NDArray[Any]]:
    if isinstance(batch, Tensor):
        if batch.layout is torch.strided:  # numpy has no other
            plain = batch.cpu().double() if batch.is_floating_point() else batch  # nor has it bfloat16
            yield plain.numpy(force=True)
    elif isinstance(batch, np.ndarray):
        yield batch
    elif isinstance(batch, Mapping | list | tuple):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _arrays_in(part)
