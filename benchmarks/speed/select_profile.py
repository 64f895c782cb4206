"""Where the time of `select` goes: training, evaluating, keeping states, and all that learnrate does beside.

python -m benchmarks.speed.select_profile        # two minutes of one core; prints a table
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click
import torch
from benchmarks.regret.methods import problem_of, schedule_of
from benchmarks.regret.tasks import BY_NAME
from benchmarks.speed.seven_rates import torch_problem

import learnrate

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = {
    "train": "training steps",
    "evaluate": "evaluations",
    "snapshot": "copies of states",
    "restore": "putting states back",
}


class Watched:
    """A Trainable whose time is counted, member by member."""

    def __init__(self, problem: learnrate.Trainable, seconds: Counter[str]) -> None:
        self._problem = problem
        self._seconds = seconds
        for name in PARTS:
            setattr(self, name, self._counted(name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._problem, name)

    def _counted(self, name: str) -> Callable[..., Any]:
        function = getattr(self._problem, name)

        def call(*values: Any) -> Any:
            started = time.process_time()
            try:
                return function(*values)
            finally:
                self._seconds[name] += time.process_time() - started

        return call


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "784-784-10, 20 epochs of 17 steps": (torch_problem, {"epochs": 20}),
    **{
        f"{name}, {BY_NAME[name].epochs} epochs of {BY_NAME[name].steps_per_epoch} steps": (
            lambda task=BY_NAME[name]: problem_of(task, 0),
            {"epochs": BY_NAME[name].epochs, "schedule": schedule_of(BY_NAME[name])},
        )
        for name in ("convnet_batchnorm", "transformer", "tiny")
    },
}


@click.command()
def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"| task | seconds | {' | '.join(PARTS.values())} | the rest |\n|---|{'---:|' * (len(PARTS) + 2)}")
    learnrate.select(CASES["784-784-10, 20 epochs of 17 steps"][0](), epochs=2)  # loads what is loaded late
    for name, (build, settings) in CASES.items():
        seconds: Counter[str] = Counter()
        problem = Watched(build(), seconds)
        started = time.process_time()
        learnrate.select(problem, **settings)
        total = time.process_time() - started
        shares = [seconds[part] / total for part in PARTS]
        told = " | ".join(f"{share:.1%}" for share in [*shares, 1 - sum(shares)])
        print(f"| {name} | {total:.1f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
