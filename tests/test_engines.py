"""What every engine keeps: the same answers, live events, and trainings that die alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from _engine_problems import (
    Perilous,
    Surroundings,
    built,
    curves,
    generated,
    network,
    newcomers,
    remember_processes,
    timeless,
    trained,
)
from learnrate._select import select
from learnrate._sweep import sweep
from learnrate.engines.local import LocalEngine
from learnrate.errors import InvalidArgumentError, TrialFailedError, UnsupportedProblemError
from learnrate.results import TrialState
from learnrate.stopping import EarlyStopping, ReduceOnPlateau
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

RATES = [0.01, 0.1, 1.0, 5.0]


@pytest.fixture(autouse=True)
def _others() -> None:
    remember_processes()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "local":
        return LocalEngine(num_workers=2)
    request.getfixturevalue("ray_cluster")
    from learnrate.engines.ray import RayEngine

    return RayEngine()


@pytest.fixture(scope="module")
def ray_cluster() -> Any:
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


def test_a_sweep_gives_the_answer_of_one_process(engine):
    expected = sweep(QuadraticTrainable(), RATES, epochs=4, refine=2)
    problem = QuadraticTrainable()
    answer = sweep(problem, RATES, epochs=4, refine=2, engine=engine)
    assert timeless(answer) == timeless(expected)
    assert [trial.learning_rate for trial in answer.trials[:4]] == RATES
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value
    if isinstance(engine, LocalEngine):
        assert not newcomers()


def test_a_network_gives_the_answer_of_one_process(monkeypatch):
    pytest.importorskip("torch").set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = sweep(network(), [1e-3, 1e-2], epochs=2)
    problem = network()
    answer = sweep(problem, [1e-3, 1e-2], epochs=2, engine=LocalEngine(num_workers=2))
    assert timeless(answer) == timeless(expected)
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value


@pytest.mark.parametrize(
    "which", ["command", pytest.param("jax", marks=pytest.mark.slow), pytest.param("keras", marks=pytest.mark.slow)]
)
def test_other_frameworks_and_commands_give_the_answer_of_one_process(which, tmp_path):
    if which != "command":
        pytest.importorskip(which)
        pytest.importorskip("jax")  # Keras's backend here
    path = os.pathsep.join(sys.path)
    program = [sys.executable, str(Path(__file__).with_name("_engine_frameworks.py")), which, str(tmp_path)]
    done = subprocess.run(program, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.stdout == "the same answer\n", done.stderr[-3000:]


def test_a_generator_gives_the_answer_of_one_process(engine):
    expected = sweep(generated, [0.1, 0.5, 3.0], epochs=3)
    assert timeless(sweep(generated, [0.1, 0.5, 3.0], epochs=3, engine=engine)) == timeless(expected)


def test_stopping_rules_give_the_answer_of_one_process(engine):
    rules = [EarlyStopping(patience=3), ReduceOnPlateau(patience=1)]
    expected = sweep(QuadraticTrainable(), RATES, epochs=12, stopping=rules)
    answer = sweep(QuadraticTrainable(), RATES, epochs=12, stopping=rules, engine=engine)
    assert timeless(answer) == timeless(expected)


def test_select_gives_the_answer_of_one_process(engine):
    expected = select(QuadraticTrainable(), epochs=8)
    problem = QuadraticTrainable()
    answer = select(problem, epochs=8, engine=engine)
    assert timeless(answer) == timeless(expected)
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value


def test_what_has_no_pickle_is_built_where_it_is_trained(engine):
    with pytest.raises(UnsupportedProblemError, match="pass a function without arguments that builds"):
        sweep(built(), RATES, epochs=2, engine=engine)
    expected = sweep(QuadraticTrainable(), RATES, epochs=2)
    assert timeless(sweep(built, RATES, epochs=2, engine=engine)) == timeless(expected)


def test_epochs_are_told_and_written_down_as_they_end(engine, tmp_path):
    (tmp_path / "notes").mkdir()
    problem = Perilous(tmp_path / "notes", seconds=0.01)
    seen: list[tuple[EventKind, int, float]] = []
    ahead: list[bool] = []

    def watch(event: Any) -> None:
        if event.trial is None:
            return
        seen.append((event.kind, event.trial.number, event.trial.epochs))
        if event.kind is EventKind.EPOCH:
            with Study.read(tmp_path / "study") as study:
                rows = {trial.number: len(trial.curve) for trial in study.trials()}
            assert rows[event.trial.number] >= len(event.trial.curve)
            ahead.append(len(trained(tmp_path / "notes")) < 2 * 4)

    sweep(problem, [0.1, 1.0], epochs=4, study=tmp_path / "study", engine=engine, on_event=watch)
    for number in (0, 1):
        own = [(kind, epoch) for kind, one, epoch in seen if one == number]
        epochs = [(EventKind.EPOCH, epoch) for epoch in (1.0, 2.0, 3.0, 4.0)]
        assert own == [(EventKind.TRIAL_STARTED, 0.0), *epochs, (EventKind.TRIAL_FINISHED, 4.0)]
    assert ahead[0], "the first epoch was told only when all was trained"


def test_a_training_whose_worker_dies_goes_on_from_its_checkpoint(engine, tmp_path):
    (tmp_path / "notes").mkdir()
    expected = sweep(QuadraticTrainable(steps_per_epoch=5), RATES, epochs=6)
    problem = Perilous(tmp_path / "notes", "die", epoch=4, times=2)
    answer = sweep(problem, RATES, epochs=6, study=tmp_path / "study", engine=engine)
    assert curves(answer) == curves(expected)
    assert answer.value == expected.value
    assert len(list((tmp_path / "notes").glob("hit-*"))) == 2
    assert trained(tmp_path / "notes").count((0.1, 0)) == 1, "the first epoch, which a checkpoint has, is done again"
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value


def test_a_training_whose_workers_keep_dying_fails_alone(engine, tmp_path):
    problem = Perilous(tmp_path, "die", epoch=1, times=99)
    answer = sweep(problem, RATES, epochs=3, engine=engine)
    states = {trial.learning_rate: trial.state for trial in answer.trials}
    assert states.pop(0.1) is TrialState.FAILED
    assert TrialState.FAILED not in states.values()
    assert len(list(tmp_path.glob("hit-*"))) == 3
    assert any("0.1" in warning and "failed" in warning for warning in answer.warnings)
    assert answer.learning_rate == 1.0


def test_where_every_worker_dies_at_once_the_reason_is_raised(engine, tmp_path):
    with pytest.raises(TrialFailedError, match=r"SIGKILL|died"):
        sweep(Perilous(tmp_path, "die", times=99), [0.1], epochs=3, engine=engine)


def test_an_error_of_the_training_is_raised_with_the_place_where_it_happened(engine, tmp_path):
    with pytest.raises(ZeroDivisionError, match="on purpose") as caught:
        sweep(Perilous(tmp_path, "raise"), RATES, epochs=3, engine=engine)
    assert "_engine_problems.py" in "".join(caught.value.__notes__)
    if isinstance(engine, LocalEngine):
        assert not newcomers()


def test_a_study_begun_with_workers_goes_on_without_and_back(engine, tmp_path):
    expected = sweep(QuadraticTrainable(steps_per_epoch=5), RATES, epochs=4)
    (tmp_path / "notes").mkdir()
    for each, stop_after in ((engine, 3), (None, 9), (engine, 99)):
        count = 0

        def watch(event: Any, stop_after: int = stop_after) -> None:
            nonlocal count
            count += event.kind is EventKind.EPOCH
            if count > stop_after:
                raise KeyboardInterrupt

        try:
            problem = Perilous(tmp_path / "notes")
            answer = sweep(problem, RATES, epochs=4, study=tmp_path / "study", engine=each, on_event=watch)
        except KeyboardInterrupt:
            assert not list((tmp_path / "study" / "checkpoints").glob(".partial-*"))
    assert curves(answer) == curves(expected)
    assert answer.cost == expected.cost


def test_ctrl_c_ends_every_worker(engine, tmp_path):
    def press(event: Any) -> None:
        if event.kind is EventKind.EPOCH:
            raise KeyboardInterrupt

    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sweep(Perilous(tmp_path, "hang", 1.0), RATES, epochs=3, engine=engine, on_event=press)
    assert time.monotonic() - before < 100, "it waited for the training that hangs"
    if isinstance(engine, LocalEngine):
        assert not newcomers()


def test_a_training_that_hangs_ends_at_the_deadline(tmp_path, monkeypatch):
    monkeypatch.setattr("learnrate.engines._processes.START", 20.0)
    problem = Perilous(tmp_path, "hang", epoch=1)
    answer = sweep(problem, RATES, epochs=3, engine=LocalEngine(num_workers=2, timeout=0.5))
    states = {trial.learning_rate: trial.state for trial in answer.trials}
    assert states.pop(0.1) is TrialState.FAILED
    assert TrialState.FAILED not in states.values()
    assert "timeout of 0.5 s" in str(answer.trials[1].error)
    assert not newcomers()


def test_each_worker_has_a_gpu_and_its_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    answer = sweep(Surroundings(), RATES, epochs=2, engine=LocalEngine(num_workers=2, gpus=[3, 5]))
    curves = [trial.curve for trial in answer.trials]
    by_process = {float(curve.values("val_process")[0]): float(curve.values("val_gpu")[0]) for curve in curves}
    assert sorted(by_process.values()) == [3.0, 5.0]
    assert os.getpid() not in by_process
    share = max(len(os.sched_getaffinity(0)) // 2, 1)
    assert {float(value) for curve in curves for value in curve.values("val_threads")} == {float(share)}


@pytest.mark.parametrize("wrong", [{"num_workers": 0}, {"num_workers": 2, "gpus": [0]}, {"timeout": -1.0}])
def test_an_engine_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        LocalEngine(**wrong)


def test_nothing_is_left_of_a_worker_that_is_replaced(tmp_path: Path) -> None:
    sweep(Perilous(tmp_path, "die", epoch=1, times=2), RATES, epochs=3, engine=LocalEngine(num_workers=2))
    assert not newcomers()
