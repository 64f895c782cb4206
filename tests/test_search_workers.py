"""A search whose candidates are trained by workers: the same answer, nothing lost, and a death costs one trial."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _engine_problems import newcomers, remember_processes, timeless
from learnrate import Halving, TrialState, log_uniform, search, uniform
from learnrate._searching.course import Course
from learnrate._searching.halving import Bracket, Rung, promoted
from learnrate._searching.samplers import Sampler, Told
from learnrate._searching.space import Space
from learnrate.curves import LearningCurve
from learnrate.engines.local import LocalEngine
from learnrate.errors import TrialFailedError, UnknownMetricError, UnsupportedProblemError
from learnrate.results import Trial
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

if TYPE_CHECKING:
    from pathlib import Path

SPACE = {"learning_rate": log_uniform(1e-3, 10.0), "noise": uniform(0.0, 0.2)}


def build(noise, seed=0):
    del seed
    return QuadraticTrainable(noise=noise, steps_per_epoch=5)


def generated(learning_rate, noise, epochs):
    weight = 1.0
    for _ in range(epochs):
        weight -= learning_rate * (weight + noise)
        yield {"val_loss": weight**2}


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


@pytest.mark.parametrize(
    "asked",
    [
        {"sampler": "random", "num_trials": 6},
        {"sampler": "qmc", "num_trials": 9, "halving": "hyperband"},
        {"sampler": "random", "num_trials": 8, "budget": 3.3, "halving": Halving(min_epochs=1)},
    ],
)
def test_a_search_gives_the_answer_of_one_process(engine, asked, tmp_path):
    expected = search(build, SPACE, epochs=9, **asked)
    answer = search(build, SPACE, epochs=9, **asked, engine=engine, study=tmp_path / "study")
    assert timeless(answer) == timeless(expected)
    problem = build(answer.hyperparameters["noise"])
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value
    assert not newcomers() or not isinstance(engine, LocalEngine)
    with Study.read(tmp_path / "study") as study:
        assert [trial.number for trial in study.trials()] == list(range(len(answer.trials)))
        assert len(study.checkpoints()) == 1


def test_folds_and_functions_give_the_answer_of_one_process(tmp_path):
    x, y = np.arange(40.0)[:, None], np.arange(40) % 2

    def folded(train, validation, noise):
        return QuadraticTrainable(noise=noise * len(train[1]) / (len(validation[1]) + 20), steps_per_epoch=5)

    asked = {"epochs": 3, "num_trials": 3, "sampler": "random", "data": (x, y), "cv": 3}
    engine = LocalEngine(num_workers=2)
    answer = search(folded, SPACE, **asked, engine=engine, study=tmp_path / "study")
    assert timeless(answer) == timeless(search(folded, SPACE, **asked))
    asked = {"epochs": 9, "num_trials": 5, "sampler": "random", "halving": "successive"}
    assert timeless(search(generated, SPACE, **asked, engine=engine)) == timeless(search(generated, SPACE, **asked))


def test_tpe_is_told_what_runs_and_no_point_is_tried_twice(tmp_path):
    space = {"learning_rate": list(np.geomspace(1e-3, 1.0, 6)), "noise": [0.0, 0.1, 0.2]}
    asked = {"epochs": 1, "num_trials": 18, "study": tmp_path / "study"}
    answer = search(build, space, **asked, engine=LocalEngine(num_workers=2))
    assert len({tuple(trial.hyperparameters.values()) for trial in answer.trials}) == len(answer.trials) == 18
    assert timeless(search(build, space, **asked)) == timeless(answer)


def test_rounds_of_halving_keep_to_their_budget(tmp_path):
    answer = search(build, SPACE, epochs=4, budget=3.0, engine=LocalEngine(num_workers=2), study=tmp_path / "study")
    assert 0 < answer.cost <= 3.0 + 1e-9
    assert answer.value is not None
    again = search(build, SPACE, epochs=4, budget=3.0, study=tmp_path / "study")
    assert timeless(again) == timeless(answer)


def test_running_trials_keep_proposals_away():
    space = Space({"x": uniform(0.0, 1.0)})
    told = [Told({"x": x}, (x - 0.7) ** 2) for x in np.linspace(0.0, 1.0, 30)]
    alone, beside = (
        [
            Sampler("tpe", space, seed=seed, mode="min").ask(30, told, [{"x": 0.7 + 1e-3 * i} for i in range(pending)])
            for seed in range(8)
        ]
        for pending in (0, 40)
    )
    near = [np.mean([abs(point["x"] - 0.7) for point in points if point]) for points in (alone, beside)]
    assert near[1] > near[0]


def test_a_search_that_was_interrupted_has_as_many_trials_as_were_asked_for(engine, tmp_path):
    for events in (9, 16):
        count = 0

        def stop(_: Any, events: int = events) -> None:
            nonlocal count
            count += 1
            if count > events:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(build, SPACE, epochs=4, num_trials=7, study=tmp_path / "s", engine=engine, on_event=stop)
    begun = {}
    with Study.read(tmp_path / "s") as study:
        begun = {trial.number: trial.hyperparameters for trial in study.trials()}
    answer = search(build, SPACE, epochs=4, num_trials=7, study=tmp_path / "s", engine=engine)
    assert [trial.number for trial in answer.trials] == list(range(7))
    assert {number: answer.trials[number].hyperparameters for number in begun} == begun


class Mortal(QuadraticTrainable):
    """Dies after its second epoch where it has more noise than it can bear, as often as there are lives to lose."""

    def __init__(self, noise: float, notes: Path, lives: int) -> None:
        super().__init__(noise=noise, steps_per_epoch=5)
        self.notes, self.lives, self.weak = notes, lives, noise > 0.15

    def train(self, learning_rates: Any) -> Any:
        if self.weak and self._step >= 10 and len(list(self.notes.iterdir())) < self.lives:
            (self.notes / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(learning_rates)


SMALL = {"learning_rate": [0.1, 0.5], "noise": [0.0, 0.1, 0.2]}


def test_a_candidate_whose_worker_dies_goes_on_from_its_checkpoint(engine, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    expected = search(build, SMALL, epochs=4, sampler="grid")
    answer = search(lambda noise: Mortal(noise, notes, 2), SMALL, epochs=4, sampler="grid", engine=engine)
    assert len(list(notes.iterdir())) == 2
    assert [trial.value for trial in answer.trials] == [trial.value for trial in expected.trials]
    assert answer.cost == expected.cost


def test_a_candidate_whose_workers_keep_dying_fails_alone(engine, tmp_path):
    answer = search(lambda noise: Mortal(noise, tmp_path, 99), SMALL, epochs=4, sampler="grid", engine=engine)
    states = [(trial.hyperparameters["noise"], trial.state) for trial in answer.trials]
    assert {state for noise, state in states if noise < 0.15} == {TrialState.COMPLETE}
    assert {state for noise, state in states if noise > 0.15} == {TrialState.FAILED}
    assert len(list(tmp_path.iterdir())) == 2 * 3
    assert "and so were 2 before it" in answer.warnings[0]


def test_a_build_that_fails_in_a_worker_is_told_with_its_traceback():
    def fragile(noise):
        if noise > 0.15:
            raise MemoryError("no room")
        return build(noise)

    answer = search(fragile, SMALL, epochs=1, sampler="grid", engine=LocalEngine(num_workers=2))
    failed = [trial for trial in answer.trials if trial.state is TrialState.FAILED]
    assert len(failed) == 2
    assert "in fragile" in str(failed[0].error)
    assert "MemoryError: no room" in answer.warnings[0]


def test_a_build_that_has_no_pickle_is_refused_with_what_to_do():
    stuck = (one for one in "a generator has no pickle")

    def refers(noise):
        del noise
        return next(stuck)

    with pytest.raises(UnsupportedProblemError, match=r"refers cannot be carried over .*: let it load"):
        search(refers, SPACE, epochs=1, engine=LocalEngine(num_workers=2))
    assert not newcomers()


def test_where_nothing_works_in_any_worker_the_search_ends():
    def broken(noise):
        raise ValueError(f"never works with {noise}")

    with pytest.raises(TrialFailedError, match="never works"):
        search(broken, SPACE, epochs=1, num_trials=20, engine=LocalEngine(num_workers=2))
    with pytest.raises(UnknownMetricError, match="did you mean val_loss"):
        search(build, SPACE, epochs=1, metric="val_los", engine=LocalEngine(num_workers=2))
    assert not newcomers()


def test_ctrl_c_ends_every_worker():
    def press(event: Any) -> None:
        if event.kind is EventKind.EPOCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(build, SPACE, epochs=3, engine=LocalEngine(num_workers=2), on_event=press)
    assert not newcomers()


def trial_of(number: int, values: list[float], state: TrialState) -> Trial:
    return Trial(
        number=number,
        hyperparameters={},
        state=state,
        curve=LearningCurve.from_rows([(epoch + 1, {"loss": value}) for epoch, value in enumerate(values)]),
        value=min(values),
        seed=0,
        seconds=0.0,
        epochs=float(len(values)),
    )


@st.composite
def arrivals(draw: Any) -> Any:
    """Trials at a rung, in any order of arrival."""
    length = draw(st.sampled_from([1, 2, 4]))
    curves = draw(st.lists(st.lists(st.floats(0, 1), min_size=length, max_size=length), min_size=1, max_size=25))
    states = [draw(st.sampled_from([TrialState.COMPLETE] * 4 + [TrialState.DIVERGED])) for _ in curves]
    trials = [trial_of(n, values, state) for n, (values, state) in enumerate(zip(curves, states, strict=True))]
    return draw(st.permutations(trials))


@given(arrivals(), st.integers(2, 4))
@settings(deadline=None, max_examples=60)
def test_who_goes_on_does_not_depend_on_the_order_of_arrival(trials, factor):
    rung = Rung(factor, "min", 9, expected=len(trials))
    early: list[int] = []
    for trial in trials:
        rung.take(trial, "loss")
        early += rung.certain()
    alive = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert sorted(early) == sorted(promoted(alive, factor, "loss", "min", 9))
    assert len(set(early)) == len(early)
    assert sorted(early + rung.left()) == sorted(trial.number for trial in alive)


def test_who_is_certain_to_go_on_need_not_wait():
    course = Course(Bracket(30, (1, 3, 9)), 3, "min", 9)
    for number in range(30):
        course.begin(number)
    for number in range(24):
        course.take(trial_of(number, [float(number)], TrialState.COMPLETE), "loss")
    going_on = iter(course.going_on, None)
    assert list(going_on) == [(0, 3), (1, 3), (2, 3)], "six are missing, and the tenth place is not decided by ranks"
