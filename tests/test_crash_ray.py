"""A Ray cluster of two nodes, one of which is killed in the middle of a sweep."""

from __future__ import annotations

import os
import sys

import pytest

from _engine_problems import Perilous, curves, descendants
from learnrate._sweep import sweep
from learnrate.results import TrialState
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

pytestmark = pytest.mark.ray
RATES = [0.01, 0.1, 1.0, 5.0]


def test_a_sweep_outlives_a_node_of_the_cluster(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from learnrate.engines.ray import RayEngine

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    before = set(descendants())
    (tmp_path / "notes").mkdir()
    expected = sweep(QuadraticTrainable(steps_per_epoch=5), RATES, epochs=10)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = [cluster.add_node(num_cpus=1)]
    ray.init(address=cluster.address, log_to_driver=False)
    at_work: set[int] = set()

    def watch(event) -> None:
        if event.kind is EventKind.EPOCH and event.trial.state is TrialState.RUNNING:
            at_work.add(event.trial.number)
        if len(at_work) == 2 and event.trial.epochs >= 3 and doomed:
            cluster.remove_node(doomed.pop(), allow_graceful=False)

    try:
        problem = Perilous(tmp_path / "notes", seconds=0.1)
        study = tmp_path / "study"
        answer = sweep(problem, RATES, epochs=10, study=study, engine=RayEngine(cluster.address), on_event=watch)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert not doomed, "no node was killed"
    assert curves(answer) == curves(expected)
    assert (answer.value, answer.cost) == (expected.value, expected.cost)
    with Study.read(study) as kept:
        assert [trial.number for trial in kept.trials()] == [0, 1, 2, 3]
    assert not set(descendants()) - before
