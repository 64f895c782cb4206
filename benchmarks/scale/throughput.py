"""How much faster two workers are than this process, on four trainings of about five seconds each.

python benchmarks/scale/throughput.py            trainings that wait, as for a GPU: what the engine itself costs
python benchmarks/scale/throughput.py computing  trainings that compute: needs two cores that do nothing else
python benchmarks/scale/throughput.py --ray      RayEngine beside it
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import learnrate
from learnrate.testing import QuadraticTrainable

RATES = [0.05, 0.1, 0.5, 1.0]


class Lasting(QuadraticTrainable):
    """Takes 0.05 s a step, waiting or computing."""

    computes = "computing" in sys.argv

    def train(self, learning_rates: Any) -> Any:
        """Train after having waited or computed."""
        seconds = 0.05 * len(learning_rates)
        until = time.process_time() + seconds
        while self.computes and time.process_time() < until:
            sum(range(1000))
        time.sleep(0.0 if self.computes else seconds)
        return super().train(learning_rates)


def seconds_of(engine: Any) -> float:
    began = time.perf_counter()
    learnrate.sweep(Lasting(), RATES, epochs=5, engine=engine)
    return time.perf_counter() - began


if __name__ == "__main__":
    engines = {"this process": None, "two workers": learnrate.LocalEngine(num_workers=2)}
    if "--ray" in sys.argv:
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)  # its start-up is not counted
        engines["Ray"] = learnrate.RayEngine()
    times = {name: seconds_of(engine) for name, engine in engines.items()}
    for name, seconds in times.items():
        print(f"{name:14}{seconds:7.1f} s{times['this process'] / seconds:7.2f} times")
    print(f"load before and after: {os.getloadavg()}")
