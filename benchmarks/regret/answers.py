"""What the methods under test answered, and the trainings that show what their answers are worth.

An `Answer` is one method's learning rate for one task and seed. Its regret is measured by training at that rate with
the grid's seeds and the plain loop that recorded the grid. Both are kept, a JSON line each, in a directory that a
second run continues.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.regret.grid import load_grid
from benchmarks.regret.truth import best_epochs, truths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SEEDS = (0, 1, 2)
SAME_RATE = 1e-3  # in log10: such a rate is the grid's own


@dataclass(frozen=True)
class Answer:
    """One method's answer; `cost` in full training runs, the final training not among them unless `with_final`."""

    method: str
    task: str
    seed: int
    learning_rate: float | None
    cost: float = 0.0
    with_final: bool = False
    regret: float | None = None  # where the method was replayed on the grid, already known
    details: Mapping[str, Any] = field(default_factory=dict)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Write a line at once, so that processes may share the file; what is not finite becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (json.dumps(_plain(row), allow_nan=False) + "\n").encode())
    os.close(file)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read what was written; a line that a kill has cut off is left out."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def read(directory: Path) -> dict[tuple[str, str, int], Answer]:
    """Every answer by method, task and seed."""
    rows = (Answer(**line) for line in lines(directory / "answers.jsonl"))
    return {(row.method, row.task, row.seed): row for row in rows}


def write(directory: Path, answer: Answer) -> None:
    append(directory / "answers.jsonl", asdict(answer))


class Judge:
    """Measures regrets: trains at a rate with the grid's seeds, unless that has been recorded before."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "trainings.jsonl"
        self.grids = load_grid()
        self.truths = truths()
        self.best = {name: best_epochs(grid) for name, grid in self.grids.items()}
        self._trained = {(row["task"], row["rate"]): row["metrics"] for row in lines(self.path)}

    def place(self, task: str, rate: float) -> int | None:
        """Where on the grid a rate lies, None if it does not."""
        apart = np.abs(np.log10(self.grids[task].learning_rates / rate))
        return int(apart.argmin()) if apart.min() < SAME_RATE else None

    def known(self, task: str, rate: float) -> bool:
        """Whether a regret can be told without training."""
        return self.place(task, rate) is not None or (task, _key(rate)) in self._trained

    def regret(self, answer: Answer) -> float:
        """Regret of an answer; of none, and of one that breaks every training, that of untrained weights."""
        if answer.regret is not None:
            return answer.regret
        true = self.truths[answer.task]
        if answer.learning_rate is None:
            return float((true.untrained - true.best) / true.scale)
        return true.regret_of(self.metrics(answer.task, answer.learning_rate))

    def regret_nearby(self, answer: Answer) -> float:
        """Regret at the grid's nearest rate, at most an eighth of a decade away inside the grid: trains nothing."""
        if answer.learning_rate is None or self.known(answer.task, answer.learning_rate):
            return self.regret(answer)
        true = self.truths[answer.task]
        place = np.abs(np.log10(true.learning_rates / answer.learning_rate)).argmin()
        return float(true.regret[place])

    def metrics(self, task: str, rate: float) -> np.ndarray:
        """Best epoch's validation loss for each of the grid's seeds, untrained weights counting as an epoch."""
        place = self.place(task, rate)
        if place is not None:
            return self.best[task][place]
        key = (task, _key(rate))
        if key not in self._trained:
            self._trained[key] = [self._train(task, rate, seed) for seed in SEEDS]
            append(self.path, {"task": task, "rate": key[1], "metrics": self._trained[key]})
        return np.array(self._trained[key])

    def _train(self, task: str, rate: float, seed: int) -> float:
        from benchmarks.regret.record import train_plain
        from benchmarks.regret.tasks import BY_NAME

        run = train_plain(BY_NAME[task], rate, seed)
        return min(run.untrained, *(loss for loss in run.val_loss if math.isfinite(loss)), math.inf)

    def measure(self, answers: Iterable[Answer]) -> None:
        """Train whatever is still to be trained."""
        for answer in answers:
            self.regret(answer)


def _key(rate: float) -> str:
    return f"{rate:.4e}"
