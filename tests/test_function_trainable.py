"""Functions and generators as problems: what is held, replayed, closed and refused."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from learnrate import _load
from learnrate._range_test import range_test
from learnrate._select import select
from learnrate._sweep import sweep
from learnrate.adapters import function
from learnrate.adapters.function import FunctionTrainable
from learnrate.errors import InvalidArgumentError, UnknownMetricError, UnsupportedProblemError
from learnrate.results import Trial, TrialState, Verdict
from learnrate.training import require_trainable

CURVATURES = np.geomspace(0.05, 1.0, 6)


class Diary:
    """Trains a small quadratic, and writes down which generators were begun and which were closed."""

    def __init__(self) -> None:
        self.begun = 0
        self.closed = 0
        self.epochs = 0

    def train(self, learning_rate, seed):
        self.begun += 1
        weights = np.ones(6)
        noise = np.random.default_rng(seed)
        try:
            while True:
                self.epochs += 1
                with np.errstate(all="ignore"):
                    for _ in range(4):
                        weights = weights - learning_rate * CURVATURES * (weights - 0.01 * noise.standard_normal(6))
                    value = float(np.sum(CURVATURES * weights**2))
                yield {"loss": 1.1 * value, "val_loss": value}
        finally:
            self.closed += 1


def trained(problem: FunctionTrainable, rate: float, epochs: int) -> list[float]:
    rows = []
    for _ in range(epochs):
        problem.train(np.array([rate]))
        rows.append(problem.evaluate()["val_loss"])
    return rows


def test_select_finds_the_rate_of_a_generator_and_closes_every_one():
    diary = Diary()
    answer = select(diary.train, epochs=16)
    assert answer.verdict is Verdict.FOUND
    assert answer.learning_rate is not None
    assert 0.1 < answer.learning_rate < 2
    assert diary.begun == diary.closed
    assert answer.cost <= 2 + 1 / 16


def test_select_pauses_generators_instead_of_training_again():
    diary = Diary()
    problem = FunctionTrainable(diary.train)
    answer = select(problem, epochs=32)
    assert diary.epochs == sum(trial.epochs for trial in answer.trials) + problem.replayed_epochs
    assert problem.replayed_epochs <= 0.1 * diary.epochs
    assert not problem.warnings


def test_a_sweep_of_a_generator_trains_each_rate_once_and_tells_divergence():
    diary = Diary()
    result = sweep(diary.train, [0.01, 0.5, 1e30], epochs=5)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.DIVERGED]
    assert result.learning_rate == 0.5
    assert diary.begun == diary.closed == 3
    assert set(result.trials[0].curve.metrics) == {"loss", "val_loss"}


def test_a_study_goes_on_in_another_process_by_replaying(tmp_path):
    def told(trials: list[Trial]) -> list[tuple[float, float | None]]:
        return [(trial.learning_rate, trial.value) for trial in trials]

    whole = select(Diary().train, epochs=16)

    class Interruption(Exception):  # noqa: N818  # it is no error, it stands for Ctrl-C
        pass

    heard = []

    def interrupt(event):
        heard.append(event)
        if len(heard) > 40:
            raise Interruption

    diary = Diary()
    with pytest.raises(Interruption):
        select(diary.train, epochs=16, study=tmp_path / "study", on_event=interrupt)
    assert diary.begun == diary.closed
    again = select(Diary().train, epochs=16, study=tmp_path / "study")
    assert told(again.trials) == told(whole.trials)
    assert again.learning_rate == whole.learning_rate


def test_a_restored_training_goes_on_with_the_held_generator_or_replays_it_to_the_same_values():
    diary = Diary()
    problem = FunctionTrainable(diary.train)
    problem.begin(0.3, 6, 1)
    trained(problem, 0.3, 2)
    paused = problem.snapshot()
    problem.begin(0.6, 6, 1)
    trained(problem, 0.6, 1)
    problem.restore(paused)
    first = trained(problem, 0.3, 3)
    assert problem.replayed_epochs == 0
    assert diary.begun == 2
    problem.restore(paused)
    assert problem.evaluate() == {"val_loss": paused.rows[-1]["val_loss"]}
    assert trained(problem, 0.3, 3) == first
    assert problem.replayed_epochs == 2
    problem.close()
    assert diary.begun == diary.closed == 3


def test_a_snapshot_survives_a_file_bit_for_bit_also_with_nan(tmp_path):
    problem = FunctionTrainable(lambda learning_rate: math.nan)
    problem.begin(0.1 + 0.2, 1, 7)
    problem.train(np.array([0.1 + 0.2]))
    problem.save(problem.snapshot(), tmp_path / "one")
    loaded = problem.load(tmp_path / "one")
    assert repr(loaded) == repr(problem.snapshot())
    assert loaded.run == problem.snapshot().run


def test_only_a_few_generators_are_held_and_the_oldest_is_closed():
    diary = Diary()
    problem = FunctionTrainable(diary.train)
    for number in range(function.HELD + 3):
        problem.begin(0.1 * (number + 1), 4, 0)
        trained(problem, 0.1 * (number + 1), 1)
    assert diary.begun - diary.closed == function.HELD


def test_an_exception_inside_the_training_propagates_and_the_others_are_closed():
    diary = Diary()

    def train(learning_rate):
        if learning_rate > 0.1:
            raise KeyError("lost")
        yield from diary.train(learning_rate, 0)

    with pytest.raises(KeyError, match="lost"):
        sweep(train, [0.01, 0.5], epochs=3)
    assert diary.begun == diary.closed == 1


def test_replaying_what_draws_from_elsewhere_is_warned_of():
    count = iter(range(100))

    def train(learning_rate):
        while True:
            yield {"val_loss": float(next(count))}

    problem = FunctionTrainable(train)
    problem.begin(0.1, 5, 0)
    problem.train(np.array([0.1]))
    first = problem.snapshot()
    problem.train(np.array([0.1]))
    problem.restore(first)
    problem.train(np.array([0.1]))
    assert "seed" in problem.warnings[0]


@pytest.mark.parametrize("returned", [lambda value: value, lambda value: {"val_loss": value, "loss": value}])
def test_sweep_takes_a_plain_function_and_has_its_result_at_the_last_epoch(returned):
    calls = []

    def train(learning_rate, epochs):
        calls.append((learning_rate, epochs))
        return returned((learning_rate - 0.1) ** 2)

    result = sweep(train, [0.01, 0.1, 1.0], epochs=7)
    assert calls == [(0.01, 7), (0.1, 7), (1.0, 7)]
    assert result.learning_rate == 0.1
    assert [trial.epochs for trial in result.trials] == [7, 7, 7]


def test_select_refuses_a_plain_function_before_it_has_trained_and_names_sweep():
    def train(learning_rate):
        raise AssertionError("never called")

    with pytest.raises(UnsupportedProblemError, match=r"learnrate\.sweep"):
        select(train, epochs=32)


def test_a_range_test_says_that_a_function_has_one_rate():
    with pytest.raises(UnsupportedProblemError, match="constant learning rate only"):
        range_test(Diary().train)


def test_epochs_and_seed_are_passed_where_they_are_declared():
    seen = {}

    def train(learning_rate, *, epochs=None, seed=None):
        seen.update(learning_rate=learning_rate, epochs=epochs, seed=seed)
        yield {"val_loss": 1.0}

    sweep(train, [0.25], epochs=1, seed=9)
    assert seen == {"learning_rate": 0.25, "epochs": 1, "seed": 9}


def test_validation_metrics_alone_are_enough():
    def train(learning_rate):
        for epoch in range(1, 4):
            yield {"val_accuracy": np.float32(epoch * learning_rate)}

    result = sweep(train, [0.1, 0.2], epochs=3, metric="val_accuracy", mode="max")
    assert result.learning_rate == 0.2
    assert list(result.trials[0].curve.metrics) == ["val_accuracy"]


def test_another_metric_than_those_yielded_is_an_error_that_lists_them():
    def train(learning_rate):
        while True:
            yield {"val_accuracy": 0.5, "val_auc": 0.6}

    for verb in (functools.partial(select, train), functools.partial(sweep, train, [0.1])):
        with pytest.raises(UnknownMetricError, match="val_accuracy, val_auc"):
            verb(epochs=4)


def yields(*values):
    def train(learning_rate):
        yield from values

    return train


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (yields(), "yielded nothing"),
        (yields({"val_loss": 1.0}, {"val_loss": 0.9}), "stopped after 2 of 3 epochs"),
        (yields(0.5), "yielded 0.5: yield a mapping"),
        (yields({}), "yield a mapping"),
        (yields({3: 0.5}), "yield a mapping"),
        (yields({"val_loss": "0.5"}), "'0.5' as 'val_loss'"),
        (yields({"val_loss": [1.0, 2.0]}), "as 'val_loss'"),
        (lambda learning_rate: None, "returned None: return a mapping"),
        (lambda learning_rate: yields({"val_loss": learning_rate})(learning_rate), "yield from"),
        (lambda lr: 1.0, "no parameter `learning_rate` .its parameters: lr"),
        (lambda learning_rate, width: 1.0, "needs width"),
        (lambda learning_rate, schedule: 1.0, "`schedule`, which is not passed yet"),
        (lambda learning_rate, /: 1.0, "learning_rate"),
    ],
)
def test_what_cannot_be_trained_is_an_error_that_says_what_came(train, message):
    with pytest.raises(UnsupportedProblemError, match=message):
        sweep(train, [0.1], epochs=3)


def test_a_rate_that_varies_is_refused():
    problem = FunctionTrainable(Diary().train)
    with pytest.raises(InvalidArgumentError, match="begin"):
        problem.train(np.array([0.1]))
    problem.begin(0.1, 2, 0)
    with pytest.raises(InvalidArgumentError, match="constant schedule"):
        problem.train(np.array([0.1, 0.2]))
    problem.train(np.array([0.1]))
    with pytest.raises(InvalidArgumentError, match="over"):
        problem.train(np.array([0.1]))


def test_classes_and_other_callables_are_no_training():
    for thing in (dict, Diary, Diary(), "train"):
        with pytest.raises(UnsupportedProblemError, match="cannot train"):
            require_trainable(thing)
    with pytest.raises(UnsupportedProblemError, match="pass a function"):
        FunctionTrainable(Diary)


def test_a_partial_a_decorated_generator_and_an_object_that_is_called_count_as_generators():
    class Loop:
        def __call__(self, learning_rate):
            yield {"val_loss": learning_rate}

    def train(width, learning_rate):
        yield {"val_loss": width * learning_rate}

    @functools.wraps(train)
    def decorated(**given):
        return train(2, **given)

    for thing in (Loop(), functools.partial(train, 3)):
        assert select(thing, epochs=1).learning_rate is not None
    assert function.is_generator_function(decorated)


def test_the_command_line_takes_a_generator_function_by_name():
    problem = _load.as_problem(Diary().train, "train")
    assert isinstance(problem, FunctionTrainable)
