"""Learning curves: what a training reported, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from learnrate.errors import UnknownMetricError

if TYPE_CHECKING:
    import altair as alt

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Mode = Literal["min", "max"]
GOOD = 0.01
"""Good means within 1 % of the way from the untrained metric to the best one."""


class Best(NamedTuple):
    """The best row of a metric: after how many epochs, and its value."""

    epoch: float
    value: float


class LearningCurve(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The metrics of one training, a row each time it was evaluated.

    Args:
        epochs: How many epochs were finished at each row: 1, 2, 3, …; a fraction where a short training ended inside
            an epoch.
        metrics: For each name one value a row. NaN where a row has none, and where training diverged.

    Example:
        >>> curve = LearningCurve.from_rows([(1, {"loss": 0.9, "val_loss": 0.8}), (2, {"loss": 0.5, "val_loss": 0.6})])
        >>> curve.best("val_loss", "min")
        Best(epoch=2.0, value=0.6)
    """

    epochs: Array
    metrics: dict[str, Array]

    @classmethod
    def from_rows(cls, rows: list[tuple[float, dict[str, float]]]) -> LearningCurve:
        """Make a curve of (epochs finished, metrics) rows; a name that a row lacks is NaN there."""
        names = list(dict.fromkeys(name for _, row in rows for name in row))
        return cls(
            epochs=np.array([epoch for epoch, _ in rows], dtype=np.float64),
            metrics={name: np.array([row.get(name, np.nan) for _, row in rows], dtype=np.float64) for name in names},
        )

    def __len__(self) -> int:
        return len(self.epochs)

    def values(self, metric: str) -> Array:
        """Return one metric's values.

        Raises:
            UnknownMetricError: If the training did not report it; the message lists what it reported.
        """
        if metric not in self.metrics:
            known = ", ".join(sorted(self.metrics)) or "none at all"
            msg = f"the training reports no metric {metric!r}; it reports {known}: choose one of these"
            raise UnknownMetricError(msg)
        return self.metrics[metric]

    def best(self, metric: str, mode: Mode) -> Best | None:
        """Return the best finite value and its epoch, the earliest where several are equal; None if none is finite."""
        values = self.values(metric)
        finite = np.isfinite(values)
        if not finite.any():
            return None
        candidates = np.where(finite, values if mode == "min" else -values, np.inf)
        row = int(np.argmin(candidates))
        return Best(float(self.epochs[row]), float(values[row]))

    def until(self, epoch: float) -> LearningCurve:
        """Return the rows up to an epoch, with it."""
        rows = self.epochs <= epoch + 1e-9
        return LearningCurve(
            epochs=self.epochs[rows], metrics={name: values[rows] for name, values in self.metrics.items()}
        )

    def last(self, metric: str) -> float:
        """Return the value of the last row, NaN where there is no row."""
        return float(self.values(metric)[-1]) if len(self) else float("nan")

    def chart(self) -> alt.TopLevelMixin:
        """Draw the curves, training dashed and validation solid: an Altair chart that `.save("curve.png")` writes."""
        from learnrate import charts

        return charts.curve(self)
