"""Copies of a JAX training in one program: the compiled loop under `jax.vmap`, each copy with a rate of its own.

Each has its own optimizer state and makes its own update, so that any optimizer will do. A new number of copies is
compiled anew: those that leave are trained along, at rate 0, until half of them have left.

Source: the documentation of jax.vmap.
"""

# jax's stubs are partial, and pytrees are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# the same holds for the lambdas that are mapped over pytrees:
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from learnrate.training import Snapshot

FloatArray = npt.NDArray[np.float64]
Report = dict[str, FloatArray]


class CompiledStack:
    """Copies of what a compiled loop carries; `learnrate.training.Stack` says what they do.

    Args:
        carries: What the loop carries, one for each copy.
        train: Takes the stacked carry and (steps, K) rates; returns the carry and the report, (steps, K).
        evaluate: Takes the stacked carry; returns the metrics, (K,).
        snapshot: Makes a snapshot of the problem of one copy's carry.
    """

    def __init__(
        self,
        carries: Sequence[Any],
        train: Callable[[Any, FloatArray], tuple[Any, Report]],
        evaluate: Callable[[Any], Report],
        snapshot: Callable[[Any], Snapshot],
    ) -> None:
        self.carry = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
        self._size = len(carries)
        self._places = np.arange(self._size)
        self._train, self._evaluate, self._snapshot = train, evaluate, snapshot

    def train(self, learning_rates: npt.ArrayLike) -> Report:
        """Make one update per row of rates; return losses and training metrics, (steps, K)."""
        given = np.asarray(learning_rates, dtype=np.float64)
        rates = np.zeros((len(given), self._size))
        rates[:, self._places] = given
        self.carry, report = self._train(self.carry, rates)
        return {name: values[:, self._places] for name, values in report.items()}

    def evaluate(self) -> Report:
        """Return the validation metrics of each copy; changes nothing."""
        return {name: values[self._places] for name, values in self._evaluate(self.carry).items()}

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these copies alone."""
        self._places = self._places[list(places)]
        if 2 * len(self._places) <= self._size:
            self.carry = jax.tree.map(lambda leaf: leaf[self._places], self.carry)
            self._size = len(self._places)
            self._places = np.arange(self._size)

    def snapshot(self, place: int) -> Snapshot:
        """Return a copy's snapshot."""
        at = self._places[place]
        return self._snapshot(jax.tree.map(lambda leaf: leaf[at], self.carry))
