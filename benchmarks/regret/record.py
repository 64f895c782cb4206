"""Records how every task of the regret benchmark trains at every rate of its grid, with plain PyTorch alone.

    python -m benchmarks.regret.record run DIRECTORY     # hours of one core at most; continues where it was stopped
    python -m benchmarks.regret.record status DIRECTORY
    python -m benchmarks.regret.record pack DIRECTORY    # writes benchmarks/regret/grid.npz

Every finished run is one line of DIRECTORY/runs.jsonl.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret.tasks import BY_NAME, TASKS, Parts, Task, schedule_factor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SEEDS = (0, 1, 2)
HORIZONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
RANGE_TEST_STEPS = 100


@dataclass
class Run:
    """What one training run showed; NaN where it had already diverged."""

    untrained: float = math.nan
    train_loss: list[float] = field(default_factory=list)  # mean over the epoch's updates
    val_loss: list[float] = field(default_factory=list)  # at each epoch's end, and at the horizon's
    accuracy: list[float] = field(default_factory=list)  # likewise; classification only
    val_loss_at: dict[int, float] = field(default_factory=dict)  # after so many steps, where asked
    diverged_at: int = -1
    seconds: float = 0.0


class Trainer:
    """A task's parts and the plain loop over them: one update at a time, at the rate that is asked."""

    def __init__(self, task: Task, seed: int) -> None:
        self.parts: Parts = task.build(seed)
        rates = [group["lr"] for group in self.parts.optimizer.param_groups]
        self.ratios = [rate / max(rates) for rate in rates]
        self.batches = self._endless()

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.parts.train_loader

    def update(self, learning_rate: float) -> float:
        """One update; gives its training loss, and leaves the weights alone where that is not finite."""
        parts = self.parts
        training_step = parts.training_step or (lambda model, batch: parts.loss_fn(model(batch[0]), batch[1]))
        parts.model.train()
        parts.optimizer.zero_grad()
        total = 0.0
        for batch in islice(self.batches, parts.accumulate):
            loss = training_step(parts.model, batch)
            (loss / parts.accumulate).backward()
            total += loss.item() / parts.accumulate
        if math.isfinite(total):
            for group, ratio in zip(parts.optimizer.param_groups, self.ratios, strict=True):
                group["lr"] = learning_rate * ratio
            parts.optimizer.step()
        return total

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Validation loss, and accuracy where the targets are classes (NaN elsewhere)."""
        parts = self.parts
        parts.model.eval()
        loss = correct = count = places = 0.0
        for inputs, targets in parts.validation_loader:
            outputs = parts.model(inputs)
            loss += parts.loss_fn(outputs, targets).item() * len(inputs)
            count += len(inputs)
            if not targets.is_floating_point():
                correct += (outputs.argmax(-1) == targets).sum().item()
                places += targets.numel()
        return loss / count, correct / places if places else math.nan


def train_plain(
    task: Task,
    learning_rate: float,
    seed: int,
    *,
    horizon_fraction: float = 1.0,
    evaluate_at: Iterable[int] = (),
) -> Run:
    """Trains once, the schedule rescaled to the horizon; a loss that is not finite ends the run as diverged."""
    started = time.perf_counter()
    total = round(task.total_steps * horizon_fraction)
    rates = learning_rate * schedule_factor(task, np.arange(total), total)
    extra = frozenset(evaluate_at)
    run, trainer = Run(), Trainer(task, seed)
    run.untrained = trainer.evaluate()[0]
    losses: list[float] = []
    for step, rate in enumerate(rates.tolist()):
        losses.append(trainer.update(rate))
        epoch_ends = (step + 1) % task.steps_per_epoch == 0 or step + 1 == total
        if math.isfinite(losses[-1]) and not epoch_ends and step + 1 not in extra:
            continue
        val_loss, accuracy = trainer.evaluate() if math.isfinite(losses[-1]) else (math.nan, math.nan)
        if not math.isfinite(val_loss):
            run.diverged_at = step
            break
        if step + 1 in extra:
            run.val_loss_at[step + 1] = val_loss
        if epoch_ends:
            run.train_loss.append(float(np.mean(losses)))
            run.val_loss.append(val_loss)
            run.accuracy.append(accuracy)
            losses = []
    missing = math.ceil(total / task.steps_per_epoch) - len(run.val_loss)
    for curve in (run.train_loss, run.val_loss, run.accuracy):
        curve.extend([math.nan] * missing)
    run.val_loss_at |= {step: math.nan for step in extra if step not in run.val_loss_at}
    run.seconds = time.perf_counter() - started
    return run


def range_test_rates(task: Task) -> np.ndarray:
    """A decade below the task's grid to the grid's end, evenly in the logarithm."""
    rates = task.learning_rates
    return np.geomspace(rates[0] / 10, rates[-1], RANGE_TEST_STEPS)


def range_test_plain(task: Task, seed: int) -> list[float]:
    """Training loss of each update while the rate rises; NaN from the first that is not finite."""
    trainer, losses = Trainer(task, seed), []
    for rate in range_test_rates(task).tolist():
        losses.append(trainer.update(rate))
        if not math.isfinite(losses[-1]):
            break
    losses = [loss if math.isfinite(loss) else math.nan for loss in losses]
    return losses + [math.nan] * (RANGE_TEST_STEPS - len(losses))


# The recording


@dataclass(frozen=True)
class Job:
    """One run of the recording: kind is "full", "short" or "range"."""

    kind: str
    task: str
    seed: int
    rate: int = -1  # place in the task's grid
    horizon: float = 1.0

    def record(self) -> dict[str, Any]:
        """Run it: the job's own fields and what was seen."""
        task = BY_NAME[self.task]
        if self.kind == "range":
            return asdict(self) | {"losses": range_test_plain(task, self.seed)}
        constant = task.schedule == "constant" and self.kind == "full"
        run = train_plain(
            task,
            float(task.learning_rates[self.rate]),
            self.seed,
            horizon_fraction=self.horizon,
            evaluate_at=[round(task.total_steps * h) for h in HORIZONS] if constant else (),
        )
        return asdict(self) | asdict(run)


def jobs() -> list[Job]:
    """Everything there is to record: the full runs, a seed after the other, every second rate first; range tests."""
    every = range(len(TASKS[0].learning_rates))
    coarse_first = [*every[::2], *every[1::2]]
    full = [Job("full", task.name, seed, rate) for seed in SEEDS for rate in coarse_first for task in TASKS]
    return full + [Job("range", task.name, seed) for seed in SEEDS for task in TASKS]


def read(directory: Path) -> dict[Job, dict[str, Any]]:
    """All that has been recorded; a last line that was cut off by a kill is left out, and recorded again."""
    path = directory / "runs.jsonl"
    rows: dict[Job, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[Job(row["kind"], row["task"], row["seed"], row["rate"], row["horizon"])] = row
    return rows


@click.group()
def main() -> None:
    """Record the regret benchmark's grid."""


@main.command("run")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--share", nargs=2, type=int, default=(0, 1), help="This process's place and how many there are.")
def run_command(directory: Path, share: tuple[int, int]) -> None:
    """Record whatever is missing."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying networks would otherwise take ten times as long
    directory.mkdir(parents=True, exist_ok=True)
    done = read(directory)
    place, processes = share
    todo = [job for job in jobs()[place::processes] if job not in done]
    file = os.open(directory / "runs.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, b"\n")  # ends a line that a kill may have cut off
    for number, job in enumerate(todo):
        os.write(file, (json.dumps(job.record()) + "\n").encode())  # one write: processes may share the file
        if number % 50 == 0:
            print(f"{time.strftime('%H:%M:%S')} {number} of {len(todo)}: {job}", flush=True)
    print("all recorded", flush=True)


@main.command()
@click.argument("directory", type=click.Path(exists=True, path_type=Path))
def status(directory: Path) -> None:
    """Say how much is recorded."""
    done, wanted = Counter(job.kind for job in read(directory)), Counter(job.kind for job in jobs())
    for kind, count in wanted.items():
        print(f"{kind:6} {done[kind]:5} of {count}")


@main.command()
@click.argument("directory", type=click.Path(exists=True, path_type=Path))
@click.option("--unfinished", is_flag=True, help="Pack what there is; what is missing becomes NaN.")
def pack(directory: Path, *, unfinished: bool) -> None:
    """Write the committed file."""
    from benchmarks.regret.grid import GRID, gather, save_grid

    rows = read(directory)
    missing = sum(job not in rows for job in jobs())
    if missing and not unfinished:
        raise click.ClickException(f"{missing} runs are not recorded yet; wait, or pass --unfinished")
    save_grid(gather(rows), GRID)
    print(f"{GRID}: {GRID.stat().st_size / 1e6:.2f} MB, {missing} runs missing")


if __name__ == "__main__":
    main()
