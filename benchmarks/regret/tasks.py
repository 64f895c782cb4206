"""The problems of the regret benchmark, in two halves that share no family: design and judge."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.regret.problem import Task

PROBLEMS = Path(__file__).with_name("problems")


def _of(half: str) -> tuple[Task, ...]:
    modules = sorted(path.stem for path in PROBLEMS.glob(f"{half}_*.py"))
    return tuple(task for name in modules for task in import_module(f"benchmarks.regret.problems.{name}").TASKS)


DESIGN = _of("design")
JUDGE = _of("judge")
TASKS = (*DESIGN, *JUDGE)
BY_NAME: Mapping[str, Task] = {task.name: task for task in TASKS}
