"""Asks every method of the table for a learning rate, and measures what the answers are worth.

    python -m benchmarks.regret.evaluate run DIRECTORY select_2 range_test default   # 18 tasks x 3 seeds each
    python -m benchmarks.regret.peers DIRECTORY …                                   # others' methods
    python -m benchmarks.regret.evaluate measure DIRECTORY                          # trains at the answers
    python -m benchmarks.regret.evaluate figures DIRECTORY                          # how good the rest of an answer is
    python -m benchmarks.regret.evaluate table DIRECTORY                            # docs/benchmarks.md and its chart

Whatever is finished is kept in DIRECTORY; the same command goes on from there.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret import answers, data, figures, page
from benchmarks.regret.answers import SEEDS, Answer, Judge
from benchmarks.regret.tasks import TASKS, Parts, Task

from learnrate import TorchTrainable, range_test, schedules, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.results import Recommendation


def problem_of(task: Task, seed: int) -> TorchTrainable:
    """The task as `learnrate` trains it."""
    parts = task.build(seed)
    return TorchTrainable(
        parts.model,
        parts.optimizer,
        parts.loss_fn,
        parts.train_loader,
        parts.validation_loader,
        training_step=None if parts.training_step is None else partial(_step, parts),
        accumulate=parts.accumulate,
    )


def _step(parts: Parts, model: Any, batch: Any) -> torch.Tensor:
    """A training step of the task's own; validation is by the plain loss, as when the grid was recorded."""
    if model.training:
        assert parts.training_step is not None
        return parts.training_step(model, batch)
    return parts.loss_fn(model(batch[0]), batch[1])


def schedule_of(task: Task) -> Callable[[float, int], schedules.Schedule]:
    """The task's schedule, made by `learnrate`."""
    settings = dict(task.schedule_settings)
    if task.schedule == "one_cycle":
        start = 1 / settings["div_factor"]
        settings = {
            "rise_fraction": settings["pct_start"],
            "start_fraction": start,
            "final_fraction": start / settings["final_div_factor"],
        }
    return schedules.by_name(task.schedule, **settings)


def ask_select(task: Task, seed: int, *, budget: float) -> Answer:
    result = select(problem_of(task, seed), epochs=task.epochs, schedule=schedule_of(task), budget=budget, seed=seed)
    return Answer("", task.name, seed, result.learning_rate, cost=result.cost, with_final=True, details=_said(result))


def _said(result: Recommendation) -> dict[str, Any]:
    """What a recommendation says beside its learning rate, and which trainings it rests on."""
    return {
        "interval": result.interval,
        "largest_stable": result.largest_stable_learning_rate,
        "epochs": result.epochs,
        "value": result.value,
        "slower": [(it.learning_rate, it.cost) for it in result.slower_costs],
        "verdict": result.verdict.value,
        "seconds": result.seconds,
        "trials": [(it.learning_rate, it.epochs, it.state.value) for it in result.trials],
        "winner_curve": next(
            (
                it.curve.values(result.metric)
                for it in result.trials
                if it.learning_rate == result.learning_rate and result.metric in it.curve.metrics
            ),
            None,
        ),
    }


def ask_range_test(task: Task, seed: int) -> Answer:
    """Our suggestion, also where the verdict withholds it: whoever goes on regardless would use it."""
    result = range_test(problem_of(task, seed), seed=seed)
    details = {
        "verdict": result.verdict.value,
        "warnings": result.warnings,
        "withheld": result.learning_rate is None,
        "cliff": result.cliff,
        "suggestions": result.suggestions,
    }
    rate = result.suggestions.get("learnrate")
    return Answer("", task.name, seed, rate, cost=len(result.losses) / task.total_steps, details=details)


def ask_default(task: Task, seed: int) -> Answer:
    return Answer("", task.name, seed, task.default_learning_rate)


METHODS: dict[str, Callable[[Task, int], Answer]] = {
    "select_1.3": partial(ask_select, budget=1.3),
    "select_2": partial(ask_select, budget=2.0),
    "select_5": partial(ask_select, budget=5.0),
    "range_test": ask_range_test,
    "default": ask_default,
}

directory_argument = click.argument("directory", type=click.Path(path_type=Path))


@click.group()
def main() -> None:
    """Evaluate the methods of the regret benchmark."""
    if not data.are_sources_recorded():
        raise click.UsageError("two tasks learn the standard library's sources: use Python 3.11.5 or a later 3.11")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying networks would otherwise take ten times as long


@main.command()
@directory_argument
@click.argument("methods", nargs=-1, type=click.Choice(sorted(METHODS)), required=True)
@click.option("--seeds", multiple=True, type=int, default=SEEDS, show_default=True)
@click.option("--share", nargs=2, type=int, default=(0, 1), help="This process's place and how many there are.")
def run(directory: Path, methods: tuple[str, ...], seeds: tuple[int, ...], share: tuple[int, int]) -> None:
    """Ask METHODS about every task and seed, as far as they have not answered yet."""
    done = answers.read(directory)
    cases = [(method, task, seed) for method in methods for seed in seeds for task in TASKS]
    for method, task, seed in cases[share[0] :: share[1]]:
        if (method, task.name, seed) in done:
            continue
        started = time.perf_counter()
        answer = METHODS[method](task, seed)
        answers.write(directory, Answer(**{**answer.__dict__, "method": method}))
        rate = "none" if answer.learning_rate is None else f"{answer.learning_rate:.2e}"
        print(f"{method} {task.name} {seed}: {rate}, {time.perf_counter() - started:.1f} s", flush=True)


@main.command()
@directory_argument
@click.argument("methods", nargs=-1)
@click.option("--share", nargs=2, type=int, default=(0, 1), help="This process's place and how many there are.")
def measure(directory: Path, methods: tuple[str, ...], share: tuple[int, int]) -> None:
    """Train at the answers of METHODS (all by default) that are not on the grid; print each method's regrets."""
    judge = Judge(directory)
    rows = sorted(answers.read(directory).values(), key=lambda row: row.seed)  # whole seeds first
    rows = [row for row in rows if not methods or row.method in methods]
    places = [(row.task, row.learning_rate) for row in rows if row.regret is None and row.learning_rate is not None]
    todo = [place for place in dict.fromkeys(places) if not judge.known(*place)]
    for task, rate in todo[share[0] :: share[1]]:
        judge.metrics(task, rate)
    if share == (0, 1):
        print(page.summary_text(page.summaries(rows, judge)))


@main.command("figures")
@directory_argument
@click.argument("method", default="select_2")
def figures_command(directory: Path, method: str) -> None:
    """Print how good the rest of a recommendation is: interval, cliff, epochs, what slower costs, its spread."""
    judge = Judge(directory)
    rows = [row for row in answers.read(directory).values() if row.method == method]
    if not rows:
        raise click.ClickException(f"{method} has not answered yet: run it first")
    text = figures.range_test_text if method == "range_test" else figures.select_text
    print(text(rows, judge))


@main.command()
@directory_argument
def table(directory: Path) -> None:
    """Write the tables and the chart into docs/benchmarks.md.

    ablation.json and left-out.json, which `replay` writes with --out, are taken from DIRECTORY if they are there.
    """
    judge = Judge(directory)
    page.write(list(answers.read(directory).values()), judge, directory)


if __name__ == "__main__":
    np.seterr(over="ignore")
    main()
