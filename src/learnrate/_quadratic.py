"""A noisy quadratic: the smallest problem with a cliff, whose best loss and every expected loss are known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from learnrate.curves import Array


class QuadraticSnapshot(NamedTuple):
    """Where a `QuadraticTrainable` stands: its weights, the seed of its noise, and how many steps it has made."""

    weights: Array
    seed: int
    step: int


class QuadraticTrainable:
    r"""Minimises a quadratic by stochastic gradient descent: a Trainable with a known optimum and a known cliff.

    The loss of a step is `minimum + ½ Σ_j λ_j (w_j − ξ_j)²`, its noise `ξ_j` normal with mean 0 and standard deviation
    `noise`, drawn anew at each step; the update is `w_j ← w_j − η λ_j (w_j − ξ_j)`. The validation loss is
    `minimum + ½ Σ_j λ_j w_j²`, whose best value is `minimum`, at `w = 0`. Plain gradient descent breaks where
    `η > 2 / max λ`: that rate is `cliff`.

    The noise of a step depends on the seed and on the step's number alone, so two learning rates see the same batches.

    Args:
        eigenvalues: The curvatures λ, positive; the default spans a condition number of 100 and has its cliff at 2.
        noise: Standard deviation of ξ; 0 makes every step exact.
        start: Every weight's first value.
        minimum: The best validation loss; may be negative.
        steps_per_epoch: The steps that are called an epoch.
        learning_rate: The rate that "the user" has set; None where none is.
        evaluation_steps: What one evaluation is said to cost, in training steps.
        seed: Seed of the noise until `begin` gives another.

    Raises:
        InvalidArgumentError: If an eigenvalue is not positive and finite, `noise` is negative, or `steps_per_epoch`
            is not positive.

    Example:
        >>> problem = QuadraticTrainable([1.0, 4.0], noise=0.0)
        >>> problem.cliff
        0.5
        >>> problem.train(np.full(3, 0.25))["loss"].round(3).tolist()
        [2.5, 0.281, 0.158]
    """

    def __init__(
        self,
        eigenvalues: Sequence[float] | Array | None = None,
        *,
        noise: float = 0.1,
        start: float = 1.0,
        minimum: float = 0.0,
        steps_per_epoch: int = 20,
        learning_rate: float | None = None,
        evaluation_steps: float = 0.0,
        seed: int = 0,
    ) -> None:
        curvatures = np.geomspace(0.01, 1.0, 20) if eigenvalues is None else np.array(eigenvalues, dtype=np.float64)
        if not (curvatures.ndim == 1 and curvatures.size and np.isfinite(curvatures).all() and curvatures.min() > 0):
            raise InvalidArgumentError(f"eigenvalues are {eigenvalues!r}: pass positive finite numbers, at least one")
        if not noise >= 0:
            raise InvalidArgumentError(f"noise is {noise!r}: pass a standard deviation, 0 or more")
        if not steps_per_epoch > 0:
            raise InvalidArgumentError(f"steps_per_epoch is {steps_per_epoch!r}: an epoch needs at least one step")
        self.eigenvalues: Array = curvatures
        self.noise = noise
        self.start = start
        self.minimum = minimum
        self.steps_per_epoch = steps_per_epoch
        self.learning_rate = learning_rate
        self.evaluation_steps = evaluation_steps
        self.weights: Array = np.full(curvatures.size, float(start))
        self._seed = seed
        self._step = 0
        self._drawn: tuple[tuple[int, int], Array] | None = None

    @property
    def cliff(self) -> float:
        """The learning rate above which training diverges: 2 / max λ."""
        return float(2 / self.eigenvalues.max())

    def expected_loss(self, learning_rate: float, steps: int) -> float:
        """Return the validation loss to expect after so many steps at a constant rate from the start; may be inf.

        `E[w_j²] = r^{2t} w_0² + (η λ_j noise)² (1 − r^{2t}) / (1 − r²)` with `r = 1 − η λ_j`.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            pull = learning_rate * self.eigenvalues
            shrinkage = (1 - pull) ** 2
            left = shrinkage**steps
            sums = np.where(shrinkage == 1, float(steps), (1 - left) / np.where(shrinkage == 1, 1.0, 1 - shrinkage))
            squares = left * self.start**2 + (pull * self.noise) ** 2 * sums
            return float(self.minimum + 0.5 * np.sum(self.eigenvalues * squares))

    def begin(self, learning_rate: float, epochs: float, seed: int) -> None:  # noqa: ARG002  # the seam's arguments
        """Take the noise of this seed from now on."""
        self._seed = seed

    def train(self, learning_rates: Array) -> dict[str, Array]:
        """Make one update per learning rate; infinity and NaN come out as they arise."""
        losses = np.empty(len(learning_rates))
        with np.errstate(over="ignore", invalid="ignore"):
            for position, learning_rate in enumerate(learning_rates):
                error = self.weights - self._noise()
                losses[position] = self.minimum + 0.5 * np.sum(self.eigenvalues * error**2)
                self.weights = self.weights - learning_rate * self.eigenvalues * error
                self._step += 1
        return {"loss": losses}

    def evaluate(self) -> dict[str, float]:
        """Return the exact validation loss."""
        with np.errstate(over="ignore", invalid="ignore"):
            return {"val_loss": float(self.minimum + 0.5 * np.sum(self.eigenvalues * self.weights**2))}

    def snapshot(self) -> QuadraticSnapshot:
        """Return a copy of weights, seed and place."""
        return QuadraticSnapshot(self.weights.copy(), self._seed, self._step)

    def restore(self, snapshot: QuadraticSnapshot) -> None:
        """Put weights, seed and place back."""
        self.weights = snapshot.weights.copy()
        self._seed = snapshot.seed
        self._step = snapshot.step

    def save(self, snapshot: QuadraticSnapshot, path: Path) -> None:
        """Write a snapshot as one .npz file, under exactly this name."""
        with path.open("wb") as file:
            np.savez(file, weights=snapshot.weights, seed=snapshot.seed, step=snapshot.step)

    def load(self, path: Path) -> QuadraticSnapshot:
        """Read a snapshot that `save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as file:
            return QuadraticSnapshot(file["weights"], int(file["seed"]), int(file["step"]))

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem."""
        return {
            "kind": "quadratic",
            "eigenvalues": " ".join(float(value).hex() for value in self.eigenvalues),
            "noise": self.noise,
            "start": self.start,
            "minimum": self.minimum,
            "steps_per_epoch": self.steps_per_epoch,
        }

    def _noise(self) -> Array:
        epoch, position = divmod(self._step, self.steps_per_epoch)
        if self._drawn is None or self._drawn[0] != (self._seed, epoch):
            generator = np.random.default_rng([self._seed, epoch])
            shape = (self.steps_per_epoch, self.eigenvalues.size)
            self._drawn = (self._seed, epoch), self.noise * generator.standard_normal(shape)
        return self._drawn[1][position]
