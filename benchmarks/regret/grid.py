"""The recorded grid as arrays: every task at 29 learning rates and three seeds, in one small file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

GRID = Path(__file__).with_name("grid.npz")
NOT_RECORDED = -2


@dataclass(frozen=True)
class TaskGrid:
    """One task's recording. NaN: the run had diverged by then, or was not recorded (then `diverged_at` is -2)."""

    learning_rates: np.ndarray  # (rates,) peak of the schedule
    seeds: np.ndarray  # (seeds,)
    horizons: np.ndarray  # (horizons,) shares of the full run
    untrained: np.ndarray  # (seeds,) validation loss before training
    val_loss: np.ndarray  # (rates, seeds, epochs) at each epoch's end
    train_loss: np.ndarray  # (rates, seeds, epochs) mean over each epoch
    accuracy: np.ndarray  # (rates, seeds, epochs) on validation data; NaN where targets are no classes
    short: np.ndarray  # (horizons, rates, seeds) validation loss at a short run's end, the schedule rescaled to it
    diverged_at: np.ndarray  # (rates, seeds) step whose loss was not finite, or -1
    range_rates: np.ndarray  # (range steps,) rising learning rates of the range test
    range_loss: np.ndarray  # (seeds, range steps) training loss at each of them

    @property
    def epochs(self) -> int:
        """Epochs in a full run."""
        return self.val_loss.shape[-1]


def load_grid(path: Path = GRID) -> dict[str, TaskGrid]:
    """Every task's recording by its name, in the order of the tasks."""
    with np.load(path) as file:
        grids: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            task, name = key.split("/")
            grids.setdefault(task, {})[name] = file[key]
    return {task: TaskGrid(**arrays) for task, arrays in grids.items()}


def save_grid(grids: Mapping[str, TaskGrid], path: Path = GRID) -> None:
    """Write them to one compressed file; losses as float32."""
    arrays = {f"{task}/{item.name}": getattr(grid, item.name) for task, grid in grids.items() for item in fields(grid)}
    np.savez_compressed(path, **arrays)


def gather(rows: Mapping[Any, Mapping[str, Any]]) -> dict[str, TaskGrid]:
    """Arrays from the rows that `record.py` has written; what is missing stays NaN."""
    from benchmarks.regret.record import HORIZONS, RANGE_TEST_STEPS, SEEDS, range_test_rates
    from benchmarks.regret.tasks import TASKS

    grids: dict[str, TaskGrid] = {}
    for task in TASKS:
        rates, seeds = len(task.learning_rates), len(SEEDS)
        grids[task.name] = TaskGrid(
            learning_rates=task.learning_rates,
            seeds=np.array(SEEDS),
            horizons=np.array(HORIZONS),
            untrained=_missing(seeds),
            val_loss=_missing(rates, seeds, task.epochs),
            train_loss=_missing(rates, seeds, task.epochs),
            accuracy=_missing(rates, seeds, task.epochs),
            short=_missing(len(HORIZONS), rates, seeds),
            diverged_at=np.full((rates, seeds), NOT_RECORDED, np.int32),
            range_rates=range_test_rates(task),
            range_loss=_missing(seeds, RANGE_TEST_STEPS),
        )
    total_steps = {task.name: task.total_steps for task in TASKS}
    # A loss beyond float32's reach becomes infinite, which is what a user of the file may call it.
    with np.errstate(over="ignore"):
        for row in rows.values():
            _enter(row, grids[row["task"]], SEEDS.index(row["seed"]), total_steps[row["task"]])
    return grids


def _enter(row: Mapping[str, Any], grid: TaskGrid, seed: int, total_steps: int) -> None:
    rate = row["rate"]
    if row["kind"] == "range":
        grid.range_loss[seed] = row["losses"]
    elif row["kind"] == "short":
        grid.short[list(grid.horizons).index(row["horizon"]), rate, seed] = row["val_loss"][-1]
    else:
        grid.untrained[seed] = row["untrained"]
        grid.val_loss[rate, seed] = row["val_loss"]
        grid.train_loss[rate, seed] = row["train_loss"]
        grid.accuracy[rate, seed] = row["accuracy"]
        grid.diverged_at[rate, seed] = row["diverged_at"]
        for place, horizon in enumerate(grid.horizons):
            step = str(round(total_steps * float(horizon)))
            if step in row["val_loss_at"]:
                grid.short[place, rate, seed] = row["val_loss_at"][step]


def _missing(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)
