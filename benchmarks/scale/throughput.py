"""How much faster two workers are than one, on four trainings of some seconds each, as `sweep` does them.

    python benchmarks/scale/throughput.py --seconds 5         trainings that compute: needs two cores for itself
    python benchmarks/scale/throughput.py --waiting           trainings that wait, as for a GPU: what the engine costs
    python benchmarks/scale/throughput.py --ray --repeats 3   RayEngine beside it

"Two workers" is compared with this process, and with one worker process, which has to load all that they load. An
engine's start-up, until its first training begins, is told apart: a sweep of one short training takes that long.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import learnrate
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

RATES = [0.05, 0.1, 0.5, 1.0]
STEPS, EPOCHS = 20, 5


class Lasting(QuadraticTrainable):
    """Takes so many seconds a training, computing or waiting.

    Args:
        seconds: Of a training.
        computes: Whether it needs a core for them.
    """

    def __init__(self, seconds: float, *, computes: bool) -> None:
        super().__init__(steps_per_epoch=STEPS)
        self.seconds, self.computes = seconds / STEPS / EPOCHS, computes

    def train(self, learning_rates: Any) -> Any:
        """Train after having computed or waited."""
        seconds = self.seconds * len(learning_rates)
        until = time.process_time() + seconds
        while self.computes and time.process_time() < until:
            sum(range(1000))
        time.sleep(0.0 if self.computes else seconds)
        return super().train(learning_rates)


def times_of(engine: Any, problem: Lasting) -> tuple[float, float]:
    """Seconds from the first epoch's beginning to the answer, and those before it: the start-up.

    The first epoch of a training takes a fifth of it, so that is when it began.
    """
    heard: list[float] = []

    def listen(event: Any) -> None:
        if event.kind is EventKind.EPOCH:
            heard.append(time.perf_counter())

    began = time.perf_counter()
    learnrate.sweep(problem, RATES, epochs=EPOCHS, engine=engine, on_event=listen)
    first = heard[0] - problem.seconds * STEPS
    return time.perf_counter() - first, first - began


def engines(*, with_ray: bool) -> dict[str, Any]:
    """Make the engines by name; Ray's cluster is there before anything is timed."""
    found = {
        "this process": None,
        "one worker": learnrate.LocalEngine(num_workers=1, timeout=3600.0),
        "two workers": learnrate.LocalEngine(num_workers=2),
    }
    if with_ray:
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        found["Ray, two places"] = learnrate.RayEngine()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="That a training takes.")
    parser.add_argument("--waiting", action="store_true", help="Wait instead of computing.")
    parser.add_argument("--ray", action="store_true", help="RayEngine as well.")
    parser.add_argument("--repeats", type=int, default=1, help="The median of so many is told.")
    asked = parser.parse_args()
    problem = Lasting(asked.seconds, computes=not asked.waiting)
    print(f"load before: {os.getloadavg()}")
    taken: dict[str, float] = {}
    for name, engine in engines(with_ray=asked.ray).items():
        times, starts = zip(*(times_of(engine, problem) for _ in range(asked.repeats)), strict=True)
        taken[name] = statistics.median(times)
        line = f"{name:16}{taken[name]:8.2f} s, after {statistics.median(starts):5.2f} s of start-up"
        print(f"{line}; throughput {taken['this process'] / taken[name]:.2f} of this process", flush=True)
    print(f"two workers over one: {taken['one worker'] / taken['two workers']:.2f} times the throughput")
    if asked.ray:
        print(f"Ray over two workers: {taken['Ray, two places'] / taken['two workers'] - 1:+.1%} of the time")
    print(f"load after: {os.getloadavg()}")


if __name__ == "__main__":
    main()
