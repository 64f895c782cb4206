"""What the grid says is true of each task: its best learning rate, what others cost, where training breaks.

    python -m benchmarks.regret.truth     # a table

regret(rate) = (metric at the rate - best metric) / (metric before training - best metric), the metric being the
validation loss of a run's best epoch, averaged over the seeds. A run that never got below its untrained loss counts
as untrained (one would keep those weights), so that a regret lies between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from benchmarks.regret.grid import NOT_RECORDED, TaskGrid, load_grid

GOOD = 0.01  # of the way from the untrained metric to the best
BROKEN = 0.95  # of that way: no better than untrained, but for having learnt how common each class is
FLOOR = 3.0  # noises that untrained and best differ by at least, in the denominator of a regret


@dataclass(frozen=True)
class Truth:
    """One task's truth; learning rates are the grid's own, four a decade."""

    learning_rates: np.ndarray  # (rates,)
    metric: np.ndarray  # (rates,) best epoch's validation loss, mean over seeds; NaN where not recorded
    regret: np.ndarray  # (rates,)
    untrained: float
    best: float  # the lowest metric
    best_rate: float
    at_edge: bool  # the best rate is the grid's first or last
    noise: float  # standard deviation between seeds near the best rate
    window: tuple[float, float]  # rates around the best that are good: within 1 % of the way, or the noise
    cliff: float  # first rate above the best that breaks for most seeds; NaN: none in the grid
    first_break: float  # first rate above the best that breaks for any seed
    best_epoch: float  # mean over seeds of the best epoch's place in the run, 1 at its end
    third_costs: float  # regret of a third of the best rate (of 10^-0.5, two places down the grid)
    tenth_costs: float

    @property
    def scale(self) -> float:
        """Denominator of a regret: the way from untrained to best, at least three times the noise."""
        return max(self.untrained - self.best, FLOOR * self.noise)

    def regret_of(self, metrics: np.ndarray) -> float:
        """Regret of a rate that was trained anew: `metrics` (seeds,) are its best epochs' validation losses."""
        metrics = np.where(np.isfinite(metrics), metrics, np.inf)
        return float((np.minimum(metrics, self.untrained).mean() - self.best) / self.scale)

    def regret_near(self, rate: float) -> float:
        """Regret of a rate between the grid's, by interpolation in log rate: for pictures; NaN off the grid."""
        known = np.isfinite(self.regret)
        logs = np.log(self.learning_rates[known])
        return float(np.interp(np.log(rate), logs, self.regret[known], left=np.nan, right=np.nan))


def best_epochs(grid: TaskGrid) -> np.ndarray:
    """Validation loss (rates, seeds) of each run's best epoch, or of its untrained weights if none was better."""
    finite = np.where(np.isfinite(grid.val_loss), grid.val_loss, np.inf).astype(float)
    metrics = np.minimum(finite.min(-1), grid.untrained)
    return np.where(grid.diverged_at == NOT_RECORDED, np.nan, metrics)


def truth(grid: TaskGrid) -> Truth:
    """Read it off the grid. A rate counts once all its seeds are recorded."""
    rates, metrics = grid.learning_rates, best_epochs(grid)
    metric = metrics.mean(1)
    known = np.flatnonzero(np.isfinite(metric))
    if not len(known):
        raise ValueError("no learning rate of this grid has all its seeds recorded; record it first")
    place = known[np.argmin(metric[known])]
    best, untrained = float(metric[place]), float(grid.untrained.mean())
    beside = known[np.abs(known - place) <= 1]
    noise = float(np.median(metrics[beside].std(1, ddof=1)))
    way = max(untrained - best, FLOOR * noise)
    regret = (metric - best) / way
    breaks: np.ndarray = (grid.diverged_at >= 0) | ((metrics - best) / way >= BROKEN)
    low, high = around(metric <= best + max(GOOD * (untrained - best), noise), int(place))
    finite = np.where(np.isfinite(grid.val_loss[place]), grid.val_loss[place], np.inf)
    return Truth(
        learning_rates=rates,
        metric=metric,
        regret=regret,
        untrained=untrained,
        best=best,
        best_rate=float(rates[place]),
        at_edge=bool(place in (0, len(rates) - 1)),
        noise=noise,
        window=(float(rates[low]), float(rates[high])),
        cliff=first_above(rates, np.median(breaks, 1) > 0, int(place)),
        first_break=first_above(rates, breaks.max(1), int(place)),
        best_epoch=float((finite.argmin(-1) + 1).mean() / grid.epochs),
        third_costs=float(regret[place - 2]) if place >= 2 else np.nan,
        tenth_costs=float(regret[place - 4]) if place >= 4 else np.nan,
    )


def around(good: np.ndarray, place: int) -> tuple[int, int]:
    """First and last index of the unbroken stretch of good rates that holds `place`."""
    bad = np.flatnonzero(~good)
    low, high = bad[bad < place], bad[bad > place]
    return (int(low[-1]) + 1 if len(low) else 0), (int(high[0]) - 1 if len(high) else len(good) - 1)


def first_above(rates: np.ndarray, broken: np.ndarray, place: int) -> float:
    found = np.flatnonzero(broken[place + 1 :])
    return float(rates[place + 1 + found[0]]) if len(found) else float("nan")


def truths() -> dict[str, Truth]:
    """Every task's truth by its name, from the committed grid."""
    return {name: truth(grid) for name, grid in load_grid().items()}


def main() -> None:
    """Print the table."""
    print(f"{'task':20} {'best':>8} {'window':>17} {'cliff':>8} {'untrained':>9} {'metric':>7} {'noise':>7}", end="")
    print(f" {'epoch':>5} {'third':>6} {'tenth':>6}")
    for name, true in truths().items():
        low, high = true.window
        print(
            f"{name:20} {true.best_rate:8.1e} {low:8.1e} {high:8.1e} {true.cliff:8.1e} {true.untrained:9.3g}"
            f" {true.best:7.3g} {true.noise:7.2g} {true.best_epoch:5.0%} {true.third_costs:6.1%}"
            f" {true.tenth_costs:6.1%}{'  best at the edge' if true.at_edge else ''}"
        )


if __name__ == "__main__":
    main()
