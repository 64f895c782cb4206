"""A Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from _engine_problems import Perilous, curves, descendants
from learnrate import log_uniform, search, uniform
from learnrate._sweep import sweep
from learnrate.results import TrialState
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ray
RATES = [0.01, 0.1, 1.0, 5.0]


def swept(notes: Path | None, **settings: Any) -> Any:
    problem = QuadraticTrainable(steps_per_epoch=5) if notes is None else Perilous(notes, seconds=0.1)
    return sweep(problem, RATES, epochs=10, **settings)


def searched(notes: Path | None, **settings: Any) -> Any:
    def build(noise: float) -> QuadraticTrainable:
        problem = QuadraticTrainable(noise=noise, steps_per_epoch=5)
        return problem if notes is None else Perilous(notes, seconds=0.1, noise=noise)

    space = {"learning_rate": log_uniform(1e-2, 1.0), "noise": uniform(0.0, 0.2)}
    return search(build, space, epochs=9, num_trials=6, sampler="random", halving="successive", **settings)


@pytest.mark.parametrize("ask", [swept, searched])
def test_a_verb_outlives_a_node_of_the_cluster(ask, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from learnrate.engines.ray import RayEngine

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    before = set(descendants())
    (tmp_path / "notes").mkdir()
    expected = ask(None)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = [cluster.add_node(num_cpus=1)]
    ray.init(address=cluster.address, log_to_driver=False)
    at_work: set[int] = set()

    def watch(event) -> None:
        if event.kind is EventKind.EPOCH and event.trial.state is TrialState.RUNNING:
            at_work.add(event.trial.number)
        if len(at_work) >= 2 and event.trial.epochs >= 3 and doomed:
            cluster.remove_node(doomed.pop(), allow_graceful=False)

    try:
        study = tmp_path / "study"
        answer = ask(tmp_path / "notes", study=study, engine=RayEngine(cluster.address), on_event=watch)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert not doomed, "no node was killed"
    assert curves(answer) == curves(expected)
    assert (answer.value, answer.cost) == (expected.value, expected.cost)
    with Study.read(study) as kept:
        assert [trial.number for trial in kept.trials()] == [trial.number for trial in expected.trials]
    assert not set(descendants()) - before
