"""What the recordings say is true of each problem: its best learning rate, what others cost, where training breaks.

    python -m benchmarks.regret.truth                  # a table of the design half, and how large both halves are

regret(rate) = (metric at the rate - best metric) / (metric before training - best metric), the metric being the
validation loss of a run's best epoch, averaged over the seeds. A run that never got below its untrained loss counts
as untrained (one would keep those weights), so that a regret lies between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.regret.grid import design_grids

if TYPE_CHECKING:
    from benchmarks.regret.grid import Runs, TaskGrid

GOOD = 0.01  # of the way from the untrained metric to the best
BROKEN = 0.95  # of that way: no better than untrained, but for having learnt how common each class is
FLOOR = 3.0  # noises that untrained and best differ by at least, in the denominator of a regret


@dataclass(frozen=True)
class Truth:
    """One task's truth; learning rates are the grid's own, four a decade.

    Far from the best every second rate was trained, and with one seed: there metric and regret are that seed's.
    """

    learning_rates: np.ndarray  # (rates,)
    metric: np.ndarray  # (rates,) best epoch's validation loss, mean over the recorded seeds; NaN where none is
    regret: np.ndarray  # (rates,)
    untrained: float
    best: float  # the lowest metric of a rate with all seeds
    best_rate: float
    at_edge: bool  # the best rate is the grid's first or last
    noise: float  # standard deviation between seeds near the best rate
    window: tuple[float, float]  # rates around the best that are good: within 1 % of the way, or the noise
    argmin: tuple[float, float]  # rates around the best that are as good, to a standard error
    cliff: float  # first rate above the best that breaks for most seeds; NaN: none in the grid
    best_epoch: float  # mean over seeds of the best epoch's place in the run, 1 at its end
    third_costs: float  # regret of a third of the best rate (of 10^-0.5, two places down the grid)
    tenth_costs: float

    @property
    def scale(self) -> float:
        """Denominator of a regret: the way from untrained to best, at least three times the noise."""
        return max(self.untrained - self.best, FLOOR * self.noise)

    @property
    def standard_error(self) -> float:
        """Of the best metric, a mean of three seeds, as a share of the way."""
        return self.noise / np.sqrt(3) / self.scale

    def regret_of(self, metrics: np.ndarray) -> float:
        """Regret of a rate that was trained anew: `metrics` (seeds,) are its best epochs' validation losses."""
        metrics = np.where(np.isfinite(metrics), metrics, np.inf)
        return float((np.minimum(metrics, self.untrained).mean() - self.best) / self.scale)

    def regret_near(self, rate: float) -> float:
        """Regret of a rate between the recorded ones, by interpolation in log rate; beyond them, that of the last."""
        known = np.isfinite(self.regret)
        return float(np.interp(np.log(rate), np.log(self.learning_rates[known]), self.regret[known]))


def best_epochs(grid: TaskGrid, runs: Runs | None = None) -> np.ndarray:
    """Validation loss (rates, seeds) of each run's best epoch, or of its untrained weights if none was better.

    NaN where it is not recorded. `runs` are those of the task's own schedule unless told otherwise.
    """
    runs = runs or grid.own
    losses = runs.val_loss[..., np.searchsorted(grid.steps, grid.epoch_ends)].astype(float)
    metrics = np.minimum(np.where(np.isfinite(losses), losses, np.inf).min(-1), grid.untrained)
    return np.where(runs.recorded, metrics, np.nan)


def truth(grid: TaskGrid) -> Truth:
    """Read it off the grid. A rate may be the best once all its seeds are recorded."""
    rates, metrics = grid.learning_rates, best_epochs(grid)
    complete = np.flatnonzero(np.isfinite(metrics).all(1))
    if not len(complete):
        raise ValueError("no learning rate of this grid has all its seeds recorded; record it first")
    untrained = float(grid.untrained.mean())
    metric = np.minimum(_mean_of_recorded(metrics), untrained)  # a single seed's own start may be higher
    place = int(complete[np.argmin(metric[complete])])
    best = float(metric[place])
    beside = complete[np.abs(complete - place) <= 1]
    noise = float(np.median(metrics[beside].std(1, ddof=1)))
    way = max(untrained - best, FLOOR * noise)
    regret = (metric - best) / way
    breaks = (grid.own.diverged_at >= 0) | ((metrics - best) / way >= BROKEN)
    mostly = _mean_of_recorded(np.where(grid.own.recorded, breaks, np.nan)) >= 0.5
    ends = grid.at_epochs[place]
    return Truth(
        learning_rates=rates,
        metric=metric,
        regret=regret,
        untrained=untrained,
        best=best,
        best_rate=float(rates[place]),
        at_edge=bool(place in (0, len(rates) - 1)),
        noise=noise,
        window=_stretch(rates, metric <= best + max(GOOD * (untrained - best), noise), place),
        argmin=_stretch(rates, metric <= best + noise / np.sqrt(len(grid.seeds)), place),
        cliff=first_above(rates, mostly, place),
        best_epoch=float((np.where(np.isfinite(ends), ends, np.inf).argmin(-1) + 1).mean() / grid.epochs),
        third_costs=float(regret[place - 2]) if place >= 2 else np.nan,
        tenth_costs=float(regret[place - 4]) if place >= 4 else np.nan,
    )


def _mean_of_recorded(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(1)
    return np.divide(total, known.sum(1), out=np.full(len(values), np.nan), where=known.any(1))


def _stretch(rates: np.ndarray, good: np.ndarray, place: int) -> tuple[float, float]:
    low, high = around(good, place)
    return float(rates[low]), float(rates[high])


def around(good: np.ndarray, place: int) -> tuple[int, int]:
    """First and last index of the unbroken stretch of good rates that holds `place`."""
    bad = np.flatnonzero(~good)
    low, high = bad[bad < place], bad[bad > place]
    return (int(low[-1]) + 1 if len(low) else 0), (int(high[0]) - 1 if len(high) else len(good) - 1)


def first_above(rates: np.ndarray, broken: np.ndarray, place: int) -> float:
    """The lowest rate above a place that breaks; NaN where none does."""
    found = np.flatnonzero(broken[place + 1 :])
    return float(rates[place + 1 + found[0]]) if len(found) else float("nan")


def truths() -> dict[str, Truth]:
    """Every truth of the design half by its task's name, from the committed recordings."""
    return {name: truth(grid) for name, grid in design_grids().items()}


HEADER = (
    f"{'problem':28} {'best':>8} {'window':>17} {'breaks':>8} {'untrained':>9} {'metric':>7} {'noise':>6}"
    f" {'epoch':>5} {'third':>6} {'tenth':>6} {'s':>5}"
)


def line(name: str, true: Truth, grid: TaskGrid) -> str:
    """One problem's truth as a line under HEADER; noise is a share of the way."""
    low, high = true.window
    return (
        f"{name:28} {true.best_rate:8.1e} {low:8.1e} {high:8.1e} {true.cliff:8.1e} {true.untrained:9.3g}"
        f" {true.best:7.3g} {true.noise / true.scale:6.1%} {true.best_epoch:5.0%} {true.third_costs:6.1%}"
        f" {true.tenth_costs:6.1%} {grid.seconds:5.2f}{'  best at the edge' if true.at_edge else ''}"
    )


def main() -> None:
    """Print the table."""
    print(HEADER)
    for name, grid in design_grids().items():
        print(line(name, truth(grid), grid))


if __name__ == "__main__":
    main()
