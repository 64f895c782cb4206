"""A verb at work on a study, to be killed: python _crash_driver.py VERB FOLDER SECONDS."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import learnrate
from _engine_problems import timeless
from learnrate.engines.local import LocalEngine
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

RATES = [0.01, 0.05, 0.1, 0.3, 1.0, 5.0]


class Slow(QuadraticTrainable):
    """Takes its time, and notes each epoch that it trains."""

    def __init__(self, log: Path, seconds: float, noise: float = 0.1) -> None:
        super().__init__(noise=noise, steps_per_epoch=5)
        self.log, self.seconds = log, seconds

    def train(self, learning_rates: Any) -> Any:
        time.sleep(self.seconds * len(learning_rates) / 5)
        note(self.log, f"trained {float(learning_rates[0])!r} {self._step}")
        return super().train(learning_rates)


def note(log: Path, line: str) -> None:
    """Write a line in one piece, whoever else writes."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def work(verb: str, folder: Path, seconds: float) -> str:
    """Do what is asked, and return the answer without what the clock has said."""
    log = folder / "log"

    def watch(event: Any) -> None:
        trial = event.trial
        if event.kind is EventKind.EPOCH:
            epoch = trial.curve.epochs[-1]
            note(log, f"epoch {trial.number} {epoch!r} {trial.curve.values('val_loss')[-1]!r}")
        if event.kind is EventKind.TRIAL_FINISHED:
            note(log, f"finished {trial.learning_rate!r} {trial.epochs!r}")

    problem, study = Slow(log, seconds), folder / "study"
    if verb.startswith("search"):
        return searched(folder, seconds, watch, workers=verb.endswith("workers"))
    if verb == "select":
        answer: Any = learnrate.select(problem, epochs=24, study=study, on_event=watch)
    else:
        engine = LocalEngine(num_workers=2) if verb == "workers" else None
        answer = learnrate.sweep(problem, RATES, epochs=10, refine=1, study=study, engine=engine, on_event=watch)
    problem.restore(answer.best)
    return f"{timeless(answer)}\n{problem.evaluate()}"


SPACE = {"learning_rate": learnrate.log_uniform(1e-2, 3.0), "noise": learnrate.uniform(0.0, 0.2)}


def searched(folder: Path, seconds: float, watch: Any, *, workers: bool) -> str:
    """Search with halving: by TPE in this process, or by points that depend on nothing in two others."""

    def build(noise: float) -> Slow:
        return Slow(folder / "log", seconds, noise)

    engine = LocalEngine(num_workers=2) if workers else None
    asked: dict[str, Any] = {"epochs": 9, "num_trials": 14, "sampler": "random" if workers else "tpe"}
    asked |= {"halving": learnrate.Halving(min_epochs=1), "study": folder / "study", "engine": engine}
    answer = learnrate.search(build, SPACE, on_event=watch, **asked)
    problem = build(answer.hyperparameters["noise"] if answer.hyperparameters else 0.0)
    problem.restore(answer.best)
    return f"{timeless(answer)}\n{problem.evaluate()}"


if __name__ == "__main__":
    (Path(sys.argv[2]) / "answer").write_text(work(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
