"""What the methods under test answered, and the trainings that show what their answers are worth.

An `Answer` is one method's learning rate for one task and seed. Its regret is measured by training at that rate with
the recording's seeds and the plain loop that made the recording. Both are kept, a JSON line each, in a directory that
a second run continues.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks.regret.grid import load_grid
from benchmarks.regret.record import SEEDS, train_plain
from benchmarks.regret.tasks import BY_NAME
from benchmarks.regret.truth import best_epochs, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.regret.grid import TaskGrid
    from benchmarks.regret.problem import Task

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
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total_cost(self) -> float:
        """Full training runs, the final one included."""
        return self.cost + (0.0 if self.with_final else 1.0)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Write a line at once, so that processes may share the file; what is not finite becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (json.dumps(plain(row), allow_nan=False) + "\n").encode())
    os.close(file)


def plain(value: Any) -> Any:
    """Give a value as JSON can hold it; what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
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


class Measures:
    """Regrets of answers: by trainings that were recorded or made for it, or read off between the recorded rates."""

    def __init__(self, directory: Path, tasks: Sequence[Task], *, unsealed: bool = False) -> None:
        self.path = directory / "trainings.jsonl"
        self.grids = {task.name: load_grid(task, unsealed=unsealed) for task in tasks}
        self.truths = {name: truth(grid) for name, grid in self.grids.items()}
        self.constant_truths = {name: truth(on_constant(name, grid)) for name, grid in self.grids.items()}
        self.best = {name: best_epochs(grid) for name, grid in self.grids.items()}
        self._trained = {(row["task"], row["rate"]): row["metrics"] for row in lines(self.path)}

    def place(self, task: str, rate: float) -> int | None:
        """Where on the grid a rate lies that was recorded with all seeds; None if it does not."""
        apart = np.abs(np.log10(self.grids[task].learning_rates / rate))
        place = int(apart.argmin())
        return place if apart[place] < SAME_RATE and np.isfinite(self.best[task][place]).all() else None

    def metrics(self, task: str, rate: float) -> np.ndarray | None:
        """Best epoch's validation loss for each of the recording's seeds, or None if nobody has trained there."""
        place = self.place(task, rate)
        if place is not None:
            return self.best[task][place]
        found = self._trained.get((task, key_of(rate)))
        return None if found is None else np.array([math.nan if it is None else it for it in found])

    def known(self, answer: Answer) -> bool:
        """Whether its regret is measured and not read off."""
        return answer.learning_rate is None or self.metrics(answer.task, answer.learning_rate) is not None

    def metric(self, answer: Answer) -> float:
        """Mean over the seeds at an answer; the untrained metric where there is none."""
        true = self.truths[answer.task]
        return true.best + self.regret(answer) * true.scale

    def regret(self, answer: Answer) -> float:
        """Regret of an answer; of none, and of one that breaks every training, that of untrained weights.

        Where nobody has trained at an answer, it is read off between the recorded rates beside it.
        """
        true = self.truths[answer.task]
        if "metrics" in answer.details:  # it trained by itself, at no learning rate of ours
            return true.regret_of(np.array(answer.details["metrics"]))
        if answer.learning_rate is None:
            return float((true.untrained - true.best) / true.scale)
        metrics = self.metrics(answer.task, answer.learning_rate)
        return true.regret_near(answer.learning_rate) if metrics is None else true.regret_of(metrics)

    def beyond_noise(self, answer: Answer) -> float:
        """Regret less two standard errors of the truth, at least zero."""
        return max(self.regret(answer) - 2 * self.truths[answer.task].standard_error, 0.0)


def on_constant(name: str, grid: TaskGrid) -> TaskGrid:
    """A task's recording at constant rates, whatever its own schedule."""
    return grid if BY_NAME[name].schedule == "constant" else replace(grid, own=grid.other)


def key_of(rate: float) -> str:
    """Name a learning rate by five digits."""
    return f"{rate:.4e}"


def _quiet() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying networks would otherwise take ten times as long
    np.seterr(over="ignore")


def _asked(directory: Path, ask: Callable[[Task, int], Answer], method: str, task: str, seed: int) -> str:
    _quiet()
    started = time.perf_counter()
    answer = replace(ask(BY_NAME[task], seed), method=method)
    append(directory / "answers.jsonl", asdict(answer))
    return f"{method} {task} {seed}: {time.perf_counter() - started:.1f} s"


def _trained(directory: Path, task: str, rate: str) -> str:
    _quiet()
    runs = [train_plain(BY_NAME[task], float(rate), seed, marks=BY_NAME[task].epoch_ends) for seed in SEEDS]
    metrics = [best_of(run.untrained, run.val_loss) for run in runs]
    append(directory / "trainings.jsonl", {"task": task, "rate": rate, "metrics": metrics})
    return f"trained {task} at {rate}"


def best_of(untrained: float, losses: Iterable[float | None]) -> float:
    """The lowest of the epochs' losses and the untrained one's; what is not finite never."""
    return min([untrained, *(it for it in losses if it is not None and math.isfinite(it))])


def ask_and_measure(
    directory: Path,
    methods: Mapping[str, Callable[[Task, int], Answer]],
    tasks: Sequence[Task],
    *,
    processes: int,
    told: Callable[[str], None],
    measure: bool = True,
    unsealed: bool = False,
) -> None:
    """Ask every method about every task with every seed and train at the answers, as far as that is not done yet."""
    done = read(directory)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        asks = [
            pool.apply_async(_asked, (directory, ask, method, task.name, seed))
            for method, ask in methods.items()
            for seed in SEEDS
            for task in tasks
            if (method, task.name, seed) not in done
        ]
        for result in asks:
            told(result.get())
        if measure:
            measures = Measures(directory, tasks, unsealed=unsealed)
            rows = [row for row in read(directory).values() if row.method in methods and row.task in measures.grids]
            todo = {(row.task, key_of(row.learning_rate or 0.0)) for row in rows if not measures.known(row)}
            for result in [pool.apply_async(_trained, (directory, *place)) for place in sorted(todo)]:
                told(result.get())
