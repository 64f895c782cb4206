"""Jobs of the comparison peers: every method on every problem with every seed, one line of a file for each answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import torch
from benchmarks.regret.answers import SEEDS, lines
from benchmarks.regret.tasks import DESIGN, JUDGE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from benchmarks.regret.problem import Task

HALVES = {"design": DESIGN, "judge": JUDGE}


class Job(NamedTuple):
    """One method on one problem with one seed."""

    method: str
    task: Task
    seed: int


def options(methods: Collection[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the arguments that name its file and its jobs."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        for decorate in (
            click.option("--share", nargs=2, type=int, default=(0, 1), help="Share I (from 0) of N of the jobs."),
            click.option("--half", type=click.Choice(list(HALVES)), required=True),
            click.argument("methods", nargs=-1, type=click.Choice(sorted(methods)), required=True),
            click.argument("file", type=click.Path(path_type=Path)),
        ):
            command = decorate(command)
        return command

    return decorated


def left(
    file: Path,
    methods: Sequence[str],
    half: str,
    share: tuple[int, int],
    *,
    last_line_of: Callable[[str], str] = lambda method: method,
) -> list[Job]:
    """Say which jobs of a share are not done: those without a line of `last_line_of(method)`."""
    place, count = share
    if not 0 <= place < count:
        raise click.BadParameter(f"a share is I of N with 0 <= I < N, not {place} of {count}", param_hint="--share")
    done = {(row["method"], row["task"], row["seed"]) for row in lines(file)}
    jobs = [Job(method, task, seed) for method in methods for seed in SEEDS for task in HALVES[half]]
    return [it for it in jobs[place::count] if (last_line_of(it.method), it.task.name, it.seed) not in done]


def training_step_of(parts: Any) -> Callable[[Any, Any], torch.Tensor]:
    """Give a problem's own training step, or the plain one."""
    return parts.training_step or (lambda model, batch: parts.loss_fn(model(batch[0]), batch[1]))


def quiet() -> None:
    """One thread, and no denormal numbers: dying networks would otherwise take ten times as long."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
