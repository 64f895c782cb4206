"""Records how every problem of the regret benchmark trains over its learning rates, with plain PyTorch alone.

    python -m benchmarks.regret.record run DIRECTORY      # hours of one core; continues where it was stopped
    python -m benchmarks.regret.record status DIRECTORY
    python -m benchmarks.regret.record pack DIRECTORY     # writes recordings/HALF/NAME.npz
    python -m benchmarks.regret.record scan NAME…         # a look at a new problem: each decade once

First half decades with one seed over all of the problem's range, then quarter decades with three seeds around the
best, outward until both sides are clearly worse, then the other schedule in the same way: a constant rate for the
problems whose rate decays, a decay over the last fifth for those whose rate is constant. Every finished run is one
line of DIRECTORY/NAME.jsonl.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret.problem import Task, schedule_factor
from benchmarks.regret.tasks import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.regret.problem import Parts

SEEDS = (0, 1, 2)
CLEARLY_WORSE = {"own": 0.1, "constant": 0.02, "decay": 0.02}  # of the way from the untrained metric to the best


@dataclass
class Run:
    """What one training run showed at each of its marks; NaN where it had already diverged."""

    untrained: float = math.nan
    train_loss: list[float] = field(default_factory=list)  # mean over the updates since the mark before
    val_loss: list[float] = field(default_factory=list)
    diverged_at: int = -1
    seconds: float = 0.0  # of this process


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
    def evaluate(self) -> float:
        """Validation loss."""
        parts = self.parts
        parts.model.eval()
        loss = count = 0.0
        for inputs, targets in parts.validation_loader:
            loss += parts.loss_fn(parts.model(inputs), targets).item() * len(inputs)
            count += len(inputs)
        return loss / count


def train_plain(task: Task, learning_rate: float, seed: int, *, marks: Iterable[int] | None = None) -> Run:
    """Train once, up to the last mark; a loss that is not finite ends the run as diverged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _trained(task, learning_rate, seed, task.marks if marks is None else np.array(sorted(marks)))


def _trained(task: Task, learning_rate: float, seed: int, marks: np.ndarray) -> Run:
    started = time.process_time()
    rates = learning_rate * schedule_factor(task, np.arange(marks[-1]), task.total_steps)
    run, trainer = Run(), Trainer(task, seed)
    run.untrained = trainer.evaluate()
    first = 0
    for mark in marks.tolist():
        losses = []
        for step in range(first, mark):
            losses.append(trainer.update(float(rates[step])))
            if not math.isfinite(losses[-1]):
                break
        val_loss = trainer.evaluate() if math.isfinite(losses[-1]) else math.nan
        if not math.isfinite(val_loss):
            run.diverged_at = first + len(losses) - 1
            break
        run.train_loss.append(float(np.mean(losses)))
        run.val_loss.append(val_loss)
        first = mark
    for curve in (run.train_loss, run.val_loss):
        curve.extend([math.nan] * (len(marks) - len(curve)))
    run.seconds = time.process_time() - started
    return run


def best_epoch(task: Task, run: Run | Mapping[str, Any]) -> float:
    """Validation loss of a run's best epoch, or of its untrained weights if none was better."""
    row = asdict(run) if isinstance(run, Run) else run
    ends = np.searchsorted(task.marks, task.epoch_ends)
    losses = np.array([math.nan if it is None else it for it in row["val_loss"]], dtype=float)[ends]
    return float(np.fmin.reduce(losses[np.isfinite(losses)], initial=row["untrained"]))


def variant_of(task: Task, variant: str) -> Task:
    """The task on another schedule: its "own", "constant", or "decay", linearly to zero over the last fifth."""
    if variant == "own":
        return task
    if variant == "constant":
        return replace(task, schedule="constant", schedule_settings={})
    settings = {"warmup_fraction": 0.0, "decay_fraction": 0.2}
    return replace(task, schedule="warmup_stable_decay", schedule_settings=settings)


def other_variant(task: Task) -> str:
    """The schedule that a task is recorded on beside its own."""
    return "decay" if task.schedule == "constant" else "constant"


# The recording


@dataclass(frozen=True)
class Job:
    """One run of the recording."""

    variant: str  # "own", "constant" or "decay"
    seed: int
    rate: int  # place in the task's grid


Rows = dict[Job, dict[str, Any]]


def coarse_jobs(task: Task) -> list[Job]:
    """Every second rate with the first seed."""
    return [Job("own", SEEDS[0], rate) for rate in range(0, len(task.learning_rates), 2)]


def missing(task: Task, rows: Rows, variant: str) -> list[Job]:
    """What is to be recorded next on a schedule: nothing once the best rate has clearly worse ones on both sides."""
    metrics = {job: best_epoch(task, row) for job, row in rows.items()}
    means = {
        rate: float(np.mean([metrics[Job(variant, seed, rate)] for seed in SEEDS]))
        for rate in range(len(task.learning_rates))
        if all(Job(variant, seed, rate) in metrics for seed in SEEDS)
    }
    if means:
        place = min(means, key=lambda rate: means[rate])
    else:
        coarse = {job.rate: metric for job, metric in metrics.items() if job.variant == "own" and job.seed == SEEDS[0]}
        place = min(coarse, key=lambda rate: coarse[rate])
    untrained = float(np.mean([row["untrained"] for row in rows.values()]))
    wanted = [place - 1, place, place + 1]
    for direction in (-1, 1):
        end = place + direction
        while end in means and means[end] - means[place] < CLEARLY_WORSE[variant] * (untrained - means[place]):
            end += direction
            wanted.append(end)
    jobs = [Job(variant, seed, rate) for rate in wanted if 0 <= rate < len(task.learning_rates) for seed in SEEDS]
    return [job for job in jobs if job not in rows]


def record(directory: Path, name: str, stage: str) -> str:
    """Record whatever one task lacks of a stage: "coarse", "own" or "other"."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying networks would otherwise take ten times as long
    task, started, count = BY_NAME[name], time.perf_counter(), 0
    rows = read(directory, task)
    file = os.open(directory / f"{name}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, b"\n")  # ends a line that a kill may have cut off

    def todo() -> list[Job]:
        if stage == "coarse":
            return [job for job in coarse_jobs(task) if job not in rows]
        return missing(task, rows, "own" if stage == "own" else other_variant(task))

    while jobs := todo():
        for job in jobs:
            run = train_plain(variant_of(task, job.variant), float(task.learning_rates[job.rate]), job.seed)
            rows[job] = asdict(job) | asdict(run)
            os.write(file, (json.dumps(rows[job]) + "\n").encode())
            count += 1
    os.close(file)
    return f"{name} {stage}: {count} runs, {time.perf_counter() - started:.0f} s"


def read(directory: Path, task: Task) -> Rows:
    """All that has been recorded of a task; a last line that was cut off by a kill is left out, and recorded again."""
    path = directory / f"{task.name}.jsonl"
    rows: Rows = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[Job(row["variant"], row["seed"], row["rate"])] = row
    return rows


@click.group()
def main() -> None:
    """Record the regret benchmark's grids."""


directory_argument = click.argument("directory", type=click.Path(path_type=Path))
STAGES = ("coarse", "own", "other")


@main.command("run")
@directory_argument
@click.argument("names", nargs=-1)
@click.option("--processes", default=2, show_default=True)
@click.option("--stage", "stages", multiple=True, type=click.Choice(STAGES), default=STAGES)
def run_command(directory: Path, names: Sequence[str], processes: int, stages: Sequence[str]) -> None:
    """Record whatever is missing of the problems NAMES, or of all."""
    directory.mkdir(parents=True, exist_ok=True)
    todo = [(directory, name, stage) for stage in stages for name in names or BY_NAME]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        done = [pool.apply_async(record, job) for job in todo if job[2] == stages[0]]
        for stage in stages[1:]:
            for result in done:
                print(result.get(), flush=True)
            done = [pool.apply_async(record, job) for job in todo if job[2] == stage]
        for result in done:
            print(result.get(), flush=True)
    print("all recorded", flush=True)


@main.command()
@directory_argument
def status(directory: Path) -> None:
    """Say how much is recorded."""
    for task in BY_NAME.values():
        rows = read(directory, task)
        left = sum(job not in rows for job in coarse_jobs(task))
        state = f"{left} coarse runs left" if left else "coarse is done"
        for variant in ("own", other_variant(task)) if not left else ():
            state += f", {variant} {'goes on' if missing(task, rows, variant) else 'is done'}"
        print(f"{task.name:28} {len(rows):4} runs, {sum(row['seconds'] for row in rows.values()):5.0f} s: {state}")


@main.command()
@directory_argument
@click.argument("names", nargs=-1)
def pack(directory: Path, names: Sequence[str]) -> None:
    """Write the committed files of the problems NAMES, or of all; what is not recorded is NaN there."""
    from benchmarks.regret.grid import gather, path_of, save_grid

    for name in names or BY_NAME:
        task = BY_NAME[name]
        rows = read(directory, task)
        if rows:
            save_grid(gather(task, rows), path_of(task))
    sizes = [path.stat().st_size for path in Path(__file__).with_name("recordings").rglob("*.npz")]
    print(f"{len(sizes)} files, {sum(sizes) / 1e6:.2f} MB")


@main.command()
@click.argument("names", nargs=-1, required=True)
def scan(names: Sequence[str]) -> None:
    """Train each of NAMES once at every decade of its range, and print what it reached."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for name in names:
        task = BY_NAME[name]
        print(f"{name}: {task.total_steps} steps, {task.epochs} epochs, {task.schedule}")
        for rate in task.learning_rates[::4].tolist():
            run = train_plain(task, rate, SEEDS[0])
            broke = f"  broke at {run.diverged_at}" if run.diverged_at >= 0 else ""
            print(
                f"  {rate:8.1e}  untrained {run.untrained:9.4g}  best epoch {best_epoch(task, run):9.4g}"
                f"  last {run.val_loss[-1]:9.4g}  {run.seconds:5.2f} s{broke}",
                flush=True,
            )


if __name__ == "__main__":
    main()
