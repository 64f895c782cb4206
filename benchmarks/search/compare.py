"""Quality against cost of searches over learning rate, momentum, batch size and width: ours, scikit-learn's, Optuna's.

    python -m benchmarks.search.compare                 # all that benchmarks/search/results.jsonl lacks yet
    python -m benchmarks.search.compare --methods default --seeds 3

Every model is trained by the same code for `EPOCHS` epochs; a cost of 1 is a full training: that many passes over the
samples, whatever the batch size, evaluations included. What counts is the best validation loss of a model that was
trained in full. Each line of the results is one search: when it had trained another model in full, and its loss.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import torch
from benchmarks.search.peers import PEERS, RUNS, History
from benchmarks.search.tasks import BY_NAME, EPOCHS, TASKS, Task

import learnrate
from learnrate.training import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results.jsonl"
BUDGETS = (4.0, 8.0, 12.0, 20.0)


def ours(task: Task, seed: int, **settings: Any) -> History:
    """One call of `learnrate.search`."""
    history: History = []

    def on_event(event: Any) -> None:
        trial = event.trial
        if event.kind is EventKind.TRIAL_FINISHED and trial.state.value == "complete" and trial.epochs >= EPOCHS:
            history.append((round(event.spent * EPOCHS), float(trial.value)))

    learnrate.search(
        task.build, task.space, epochs=EPOCHS, schedule=task.schedule, seed=seed, on_event=on_event, **settings
    )
    return history


def of(**settings: Any) -> Callable[[Task, int], History]:
    return lambda task, seed: ours(task, seed, **settings)


METHODS: dict[str, Callable[[Task, int], History]] = {
    **PEERS,
    **{
        f"search, {name}": of(sampler=sampler, num_trials=RUNS)
        for name, sampler in (("random", "random"), ("even coverage", "qmc"), ("TPE", "tpe"), ("GP", "gp"))
    },
    "search, TPE, successive halving": of(sampler="tpe", halving="successive", budget=float(RUNS)),
    "search, TPE, stages": of(sampler="tpe", stages="auto", num_trials=RUNS),
    **{f"search, default, budget {budget:g}": of(budget=budget) for budget in BUDGETS},
}


def main() -> None:
    """Run what has not been run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS])
    parser.add_argument("--methods", default="", help="those whose names contain this")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    known = {(row["task"], row["seed"], row["method"]) for row in map(json.loads, lines)}
    for seed in range(arguments.seeds):
        for name, method in METHODS.items():
            for task in (BY_NAME[one] for one in arguments.tasks):
                if (task.name, seed, name) in known or arguments.methods not in name:
                    continue
                started = time.process_time()
                row = {"task": task.name, "seed": seed, "method": name, "found": method(task, seed)}
                with arguments.results.open("a") as file:
                    file.write(json.dumps(row | {"seconds": round(time.process_time() - started, 1)}) + "\n")


if __name__ == "__main__":
    main()
