"""Copies of a PyTorch training in one program, each with a seed of its own: its own batches, from the same weights.

The batches of the copies' own streams are stacked along a first axis, and the forward pass is batched over it as over
the parameters. A stream draws from the random generators as they stand for its copy; the model must draw nothing.
"""

# torch's stubs are partial, and batches are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from learnrate.adapters._torch_data import END, Stream, planned_batches
from learnrate.adapters._torch_stack import TorchStack
from learnrate.errors import UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from learnrate.adapters._torch_random import Randomness
    from learnrate.adapters._torch_stack import FloatArray, Parts
    from learnrate.adapters.torch import TorchSnapshot, TorchTrainable

DRAWS = "the model draws random numbers, as dropout does, and each seed would need its own"


class SeededStack(TorchStack):
    """Copies of a problem over batches of their own; `train` reports the loss alone."""

    _own = True

    def __init__(self, problem: TorchTrainable, parts: Parts, snapshots: Sequence[TorchSnapshot]) -> None:
        super().__init__(problem, parts, snapshots)
        self._stream = self.streams = Streams(problem.train_data, parts.randomness, parts.accumulate, snapshots)

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one update per row of rates; return the losses, (steps, K).

        Raises:
            UnsupportedProblemError: The batches of the copies do not fit together, or the model draws random numbers.
        """
        rates = np.asarray(learning_rates, dtype=np.float64)
        self.streams.fetch(len(rates))
        before = self._parts.randomness.fingerprint()
        report = super().train(rates)
        if before != self._parts.randomness.fingerprint():
            raise UnsupportedProblemError(DRAWS)
        return report

    def _training_metrics(self) -> None:
        return None

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these copies alone."""
        super().keep(places)
        self.streams.keep(places)

    def snapshot(self, place: int) -> TorchSnapshot:
        """Return a copy's snapshot, with its own place in the data and its own random numbers."""
        self._parts.stream.go_to(self.streams.streams[place].place())
        self._parts.randomness.set(self.streams.states[place])
        return super().snapshot(place)


class Streams:
    """The batches of several trainings, stacked; those of some updates are fetched ahead, one training at a time.

    Args:
        data: What all of them read.
        randomness: The generators that it may draw from.
        accumulate: Batches of an update.
        snapshots: Where each training stands, and its random numbers.
    """

    length = None

    def __init__(self, data: Any, randomness: Randomness, accumulate: int, snapshots: Sequence[TorchSnapshot]) -> None:
        self.streams = [Stream(data, randomness) for _ in snapshots]
        self.states = [snapshot.state["random"] for snapshot in snapshots]
        for stream, snapshot in zip(self.streams, snapshots, strict=True):
            stream.go_to(snapshot.place)
        self._randomness, self._accumulate = randomness, accumulate
        self._updates: collections.deque[list[Any]] = collections.deque()
        self._taken = 0

    def fetch(self, num_updates: int) -> None:
        """Fetch the batches of the next updates.

        Raises:
            UnsupportedProblemError: They differ in number, kind or shape from copy to copy.
        """
        with self._randomness.preserved():
            several = [self._of_one(place, num_updates) for place in range(len(self.streams))]
        for updates in zip(*several, strict=True):
            if len({len(batches) for batches in updates}) > 1:
                raise UnsupportedProblemError("the seeds have updates of different numbers of batches")
            self._updates.append([stacked(batches) for batches in zip(*updates, strict=True)])

    def _of_one(self, place: int, num_updates: int) -> list[list[Any]]:
        self._randomness.set(self.states[place])
        stream, updates = self.streams[place], []
        for _ in range(num_updates):
            planned, batches = planned_batches(stream, self._accumulate), []
            while len(batches) < planned and (batch := stream.next(fresh=not batches)) is not END:
                batches.append(batch)
            if len(batches) < planned:
                raise UnsupportedProblemError("the data ends before the length that it tells")
            stream.finish_if_done()
            updates.append(batches)
        self.states[place] = self._randomness.states()
        return updates

    @property
    def remaining(self) -> int:
        """How many batches the next update takes."""
        return len(self._updates[0])

    def next(self, *, fresh: bool) -> Any:
        """Return the next batch of all copies."""
        self._taken = 0 if fresh else self._taken + 1
        return self._updates[0][self._taken]

    def finish_if_done(self) -> None:
        """End an update."""
        self._updates.popleft()

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these alone."""
        self.streams = [self.streams[place] for place in places]
        self.states = [self.states[place] for place in places]


def stacked(batches: Sequence[Any]) -> Any:
    """Return batches as one, tensors along a new first axis.

    Raises:
        UnsupportedProblemError: They differ in kind or shape, or are no tensors in lists, tuples and dicts.
    """
    first = batches[0]
    if any(type(other) is not type(first) for other in batches):
        raise UnsupportedProblemError("the batches of different seeds differ in kind")
    if isinstance(first, Tensor):
        if any((other.shape, other.dtype) != (first.shape, first.dtype) for other in batches) or first.is_sparse:
            shapes = ", ".join(dict.fromkeys(str(tuple(other.shape)) for other in batches))
            raise UnsupportedProblemError(f"the batches of different seeds differ in shape: {shapes}")
        return torch.stack(list(batches))
    if isinstance(first, list | tuple | Mapping) and any(len(other) != len(first) for other in batches):
        raise UnsupportedProblemError("the batches of different seeds differ in length")
    if isinstance(first, list | tuple):
        parts = [stacked(several) for several in zip(*batches, strict=True)]
        kind = cast("Any", type(first))
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    if type(first) is dict and all(other.keys() == first.keys() for other in batches):
        return {key: stacked([other[key] for other in batches]) for key in cast("dict[Any, Any]", first)}
    came = type(first).__name__
    raise UnsupportedProblemError(f"only tensors can be stacked, and the data gives a {came} in its batches")
