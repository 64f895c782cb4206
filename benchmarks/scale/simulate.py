"""Simulates a search on 1 to 1,000 workers in virtual time: recorded trainings, the real driver.

    python -m benchmarks.scale.simulate --trials 1000 --workers 1 10 100 1000 --study FOLDER

Each line that is appended to `--out` is one search: its makespan against the ideal (all work shared out evenly, but no
shorter than the longest trial), what an event cost the driver in time and memory, and the share of work that was lost.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scale.virtual import EPOCHS, Curves, VirtualEngine

import learnrate

OUT = Path(__file__).with_name("simulated.jsonl")
HALVINGS: dict[str, Any] = {
    "none": None,
    "successive": learnrate.Halving(min_epochs=1),
    "hyperband": learnrate.Halving(min_epochs=1, brackets=0),
}


def train(learning_rate: float, model: str) -> None:
    """Stand for what is trained: the virtual engine knows its curves."""


def resident() -> int:
    """Bytes of memory that the process has."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def simulated(asked: argparse.Namespace, workers: int, trials: int, curves: Curves) -> dict[str, Any]:
    """Simulate one search."""
    space = {"learning_rate": learnrate.log_uniform(1e-5, 10.0), "model": curves.names}
    engine = VirtualEngine(workers, curves, deaths_per_day=asked.deaths, extra=asked.extra, clock=asked.clock)
    folder = None if asked.study is None else Path(tempfile.mkdtemp(dir=asked.study)) / "study"
    heard = 0

    def listens(_: object) -> None:
        nonlocal heard
        heard += 1

    before, began = resident(), time.perf_counter()
    try:
        engine.workers.account_begin()
        result = learnrate.search(
            train,
            space,
            epochs=EPOCHS,
            num_trials=trials,
            sampler=asked.sampler,
            halving=HALVINGS[asked.halving],
            study=folder,
            engine=engine,
            on_event=listens,
        )
    finally:
        if folder is not None:
            shutil.rmtree(folder.parent)
    told = engine.workers.told
    ideal = max(told.work / workers, told.longest)
    return {
        "trials": trials,
        "workers": workers,
        "halving": asked.halving,
        "sampler": asked.sampler,
        "study": asked.disk,
        "deaths_per_day": asked.deaths,
        "extra_ms": 1000 * asked.extra,
        "clock": "wall" if asked.wall else "processor",
        "hours": told.makespan / 3600,
        "ideal_hours": ideal / 3600,
        "efficiency": ideal / told.makespan,
        "lost_share": told.redone / told.work,
        "idle_share": 1 - told.work / (workers * told.makespan),
        "segments": told.segments,
        "events": told.events,
        "ms_per_event": 1000 * told.driver_seconds / told.events,
        "ms_per_segment": 1000 * told.driver_seconds / told.segments,
        "driver_share": told.driver_seconds / told.makespan,
        "kb_per_trial": (resident() - before) / trials / 1000,
        "value": result.value,
        "ended": len(result.trials),
        "real_seconds": time.perf_counter() - began,
        "on_events": heard,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--halving", choices=HALVINGS, default="successive")
    parser.add_argument("--deaths", type=float, default=0.0, help="How often a day a worker dies.")
    parser.add_argument("--study", type=Path, help="Where study folders are made; none are without it.")
    parser.add_argument("--disk", default="none", help="What that place is called in the results.")
    parser.add_argument("--extra", type=float, default=0.0, help="Seconds a segment costs the driver beside.")
    parser.add_argument("--wall", action="store_true", help="Measure the driver by the wall's clock, disk and all.")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    asked.clock = time.perf_counter if asked.wall else time.process_time
    curves = Curves()
    simulated(asked, 2, 20, curves)  # what is loaded but once is not the search's
    for trials in asked.trials:
        for workers in asked.workers:
            row = simulated(asked, workers, trials, curves)
            with asked.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
