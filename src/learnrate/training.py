"""What can be trained, and the one loop that trains it: learning rate x schedule x epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

Snapshot = Any


@runtime_checkable
class Trainable(Protocol):
    """A model, its optimizer and its data, ready to train.

    These members are all that the verbs need. Four more are used where a Trainable has them:

    - `learning_rate: float | None`, the rate that the user has set, to compare the answer with;
    - `evaluation_steps: float`, what one `evaluate` costs in training steps (0 where absent);
    - `begin(learning_rate, epochs, seed)`, called after the restore that starts a fresh training: reseed whatever
      draws random numbers (shuffling, dropout, augmentation), so that a training depends on its seed alone;
    - `describe() -> Mapping[str, str | int | float]`, what makes this problem this problem, so that a study folder
      is not continued with another.
    """

    steps_per_epoch: int

    def train(self, learning_rates: npt.NDArray[np.float64]) -> Mapping[str, npt.NDArray[np.float64]]:
        """Make one optimizer update per entry, at that rate.

        Returns "loss", and any other training metrics, one value per step. A loss of NaN or infinity is returned as
        it is, the rest of the block with it. A block never crosses the end of an epoch.
        """
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Return the validation metrics over all the validation data, named `val_…`; changes nothing."""
        ...

    def snapshot(self) -> Snapshot:
        """Return a copy of weights, buffers, optimizer state, random generators and the place in the data."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back as it was at the snapshot, bit for bit, in place."""
        ...

    def save(self, snapshot: Snapshot, path: Path) -> None:
        """Write a snapshot to a file, never by pickle."""
        ...

    def load(self, path: Path) -> Snapshot:
        """Read a snapshot that `save` wrote."""
        ...
