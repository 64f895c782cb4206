"""A problem's recording as arrays, one small file each: the design half's here, the judge half's only for the judge."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.regret.tasks import DESIGN, JUDGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.regret.problem import Task

RECORDINGS = Path(__file__).with_name("recordings")
NOT_RECORDED = -2
_JUDGE = frozenset(task.name for task in JUDGE)


class SealedError(Exception):
    """Somebody asked for the judge half's recordings; what they show must choose nothing."""


@dataclass(frozen=True)
class Runs:
    """The trainings of one schedule. NaN: the run had diverged by then, or was not recorded."""

    val_loss: np.ndarray  # (rates, seeds, marks) at each mark
    train_loss: np.ndarray  # (rates, seeds, marks) mean since the mark before
    diverged_at: np.ndarray  # (rates, seeds) step whose loss was not finite; -1: none was, -2: not recorded

    @property
    def recorded(self) -> np.ndarray:
        """Which runs (rates, seeds) there are."""
        return self.diverged_at != NOT_RECORDED


@dataclass(frozen=True)
class TaskGrid:
    """One task's recording: on its own schedule, and on the other one (a decay for a constant rate, or the reverse)."""

    learning_rates: np.ndarray  # (rates,) peak of the schedule
    seeds: np.ndarray  # (seeds,)
    steps: np.ndarray  # (marks,) after which a run was evaluated
    epoch_ends: np.ndarray  # (epochs,) those of them at which an epoch is over
    untrained: np.ndarray  # (seeds,) validation loss before training
    own: Runs
    other: Runs
    seconds: float  # of a core, for a full run with its evaluations: the median of those that were recorded

    @property
    def epochs(self) -> int:
        """Epochs in a full run."""
        return len(self.epoch_ends)

    @property
    def at_epochs(self) -> np.ndarray:
        """Validation loss (rates, seeds, epochs) on the task's own schedule at the end of each epoch."""
        return self.own.val_loss[..., np.searchsorted(self.steps, self.epoch_ends)]


def path_of(task: Task) -> Path:
    """Where a task's recording stands."""
    return RECORDINGS / ("judge" if task.name in _JUDGE else "design") / f"{task.name}.npz"


def load_grid(task: Task, *, unsealed: bool = False) -> TaskGrid:
    """Read a task's recording; one of the judge half by `unsealed` alone, which only the judge and the peers say.

    Raises:
        SealedError: the task is of the judge half.
    """
    if task.name in _JUDGE and not unsealed:
        raise SealedError(
            f"{task.name} is of the judge half, whose recordings choose nothing: ask one of the design half"
            f" ({', '.join(it.name for it in DESIGN[:3])}, …), or the judge, python -m benchmarks.regret.judge"
        )
    with np.load(path_of(task)) as file:
        arrays: dict[str, dict[str, Any]] = {"": {}, "own": {}, "other": {}}
        for key in file.files:
            group, _, name = key.rpartition("/")
            arrays[group][name] = file[key]
    top = arrays[""] | {"seconds": float(arrays[""]["seconds"])}
    return TaskGrid(**top, own=Runs(**arrays["own"]), other=Runs(**arrays["other"]))


def design_grids() -> dict[str, TaskGrid]:
    """Every recording of the design half by its task's name."""
    return {task.name: load_grid(task) for task in DESIGN if path_of(task).exists()}


def save_grid(grid: TaskGrid, path: Path) -> None:
    """Write it to one compressed file; losses as float32."""
    arrays: dict[str, Any] = {
        item.name: getattr(grid, item.name) for item in fields(grid) if item.name not in {"own", "other"}
    }
    for group in ("own", "other"):
        arrays |= {f"{group}/{item.name}": getattr(getattr(grid, group), item.name) for item in fields(Runs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def gather(task: Task, rows: Mapping[Any, Mapping[str, Any]]) -> TaskGrid:
    """Arrays from the rows that `record.py` has written; what is missing stays NaN."""
    from benchmarks.regret.record import SEEDS

    shape = (len(task.learning_rates), len(SEEDS))
    runs = {
        group: Runs(_missing(*shape, len(task.marks)), _missing(*shape, len(task.marks)), np.full(shape, NOT_RECORDED))
        for group in ("own", "other")
    }
    untrained = _missing(len(SEEDS))
    # A loss beyond float32's reach becomes infinite, which is what a user of the file may call it.
    with np.errstate(over="ignore"):
        for row in rows.values():
            into = runs["own" if row["variant"] == "own" else "other"]
            place = (row["rate"], SEEDS.index(row["seed"]))
            into.val_loss[place], into.train_loss[place] = row["val_loss"], row["train_loss"]
            into.diverged_at[place] = row["diverged_at"]
            untrained[place[1]] = row["untrained"]
    seconds = [row["seconds"] for row in rows.values() if row["diverged_at"] < 0]
    return TaskGrid(
        learning_rates=task.learning_rates,
        seeds=np.array(SEEDS),
        steps=task.marks,
        epoch_ends=task.epoch_ends,
        untrained=untrained,
        own=runs["own"],
        other=runs["other"],
        seconds=float(np.median(seconds)),
    )


def _missing(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)
