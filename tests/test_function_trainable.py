"""Functions and generators as problems: what is held, replayed, closed and refused."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from learnrate import schedules
from learnrate._command import load
from learnrate._range_test import range_test
from learnrate._select import select
from learnrate._sweep import sweep
from learnrate.adapters import function
from learnrate.adapters.function import FunctionTrainable
from learnrate.errors import InvalidArgumentError, StudyMismatchError, UnknownMetricError, UnsupportedProblemError
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


def bowl(learning_rate: float, best: float = 0.03) -> float:
    return math.log10(learning_rate / best) ** 2 if learning_rate < 0.3 else math.nan


@pytest.mark.parametrize("best", [3e-7, 1e-5, 1e-3, 0.03, 0.2])
def test_select_finds_the_rate_of_a_plain_function_by_full_runs_and_says_how_sure_it_is(best):
    calls = []

    def train(learning_rate):
        calls.append(learning_rate)
        return bowl(learning_rate, best)

    answer = select(train, epochs=20, budget=12)
    assert answer.verdict is Verdict.FOUND
    assert answer.cost == len(calls) <= 12
    assert answer.learning_rate is not None
    assert answer.interval is not None
    assert abs(math.log10(answer.learning_rate / best)) <= 0.25
    assert answer.best is None


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 6])
def test_a_budget_of_n_affords_n_calls_and_too_few_of_them_are_said_to_be_too_few(budget):
    answer = select(bowl, epochs=20, budget=budget)
    assert [trial.epochs for trial in answer.trials] == [20] * budget
    assert (answer.verdict is Verdict.FOUND) == (budget >= 3)
    assert any("raise the budget" in warning for warning in answer.warnings) == (budget < 3)


@pytest.mark.parametrize("budget", [1, 1.5, 2, 4])
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_a_plain_function_that_is_told_its_epochs_is_asked_for_short_trainings_first(budget, epochs):
    asked = []

    def train(learning_rate, epochs):
        asked.append(epochs)
        return {"val_loss": bowl(learning_rate, 0.05 * epochs**-0.3) + 1 / epochs}

    answer = select(train, epochs=epochs, budget=budget)
    assert asked[-1] == epochs
    assert answer.cost == pytest.approx(sum(asked) / epochs)
    assert answer.cost <= budget + 1 / epochs
    if epochs == 20 and budget > 1:
        assert min(asked) == 1
        assert asked.count(20) == 1
        assert answer.verdict is Verdict.FOUND
        assert answer.learning_rate is not None
        assert abs(math.log10(answer.learning_rate / (0.05 * 20**-0.3))) <= 0.5
        assert {trial.horizon for trial in answer.trials} == set(asked)


def test_where_a_plain_function_breaks_at_every_rate_the_verdict_says_so():
    answer = select(lambda learning_rate: math.nan, epochs=3, budget=4)
    assert answer.verdict is Verdict.ALL_DIVERGED
    assert [trial.state for trial in answer.trials] == [TrialState.DIVERGED] * 4


def test_a_plain_function_is_not_called_again_for_what_a_study_remembers(tmp_path):
    calls = []

    def train(learning_rate, epochs):
        calls.append(epochs)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return bowl(learning_rate) + 1 / epochs

    with pytest.raises(KeyboardInterrupt):
        select(train, epochs=20, study=tmp_path / "study")
    answer = select(train, epochs=20, study=tmp_path / "study")
    whole = select(lambda learning_rate, epochs: bowl(learning_rate) + 1 / epochs, epochs=20)
    assert answer.learning_rate == whole.learning_rate
    assert len(calls) == len(whole.trials) + 1


def test_a_returned_number_is_the_metric_that_decides():
    answer = select(lambda learning_rate: -bowl(learning_rate), epochs=2, budget=6, metric="val_dice", mode="max")
    assert answer.metric == "val_dice"
    assert answer.learning_rate == pytest.approx(0.0316, rel=0.01)


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
        (lambda lr: 1.0, "no parameter `learning_rate` .its parameters: lr"),
        (lambda learning_rate, width: 1.0, "needs width"),
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
    problem = load.as_problem(Diary().train, "train")
    assert isinstance(problem, FunctionTrainable)


def test_a_plain_function_that_returns_a_generator_counts_as_one_whatever_it_looks_like():
    diary = Diary()

    def train(learning_rate, seed):
        return diary.train(learning_rate, seed)

    answer = select(train, epochs=16)
    whole = select(Diary().train, epochs=16)
    assert [trial.epochs for trial in answer.trials] == [trial.epochs for trial in whole.trials]
    assert answer.learning_rate == whole.learning_rate
    assert diary.begun == diary.closed
    assert answer.best is None
    assert "answer.best" not in str(answer)


def test_an_iterator_that_is_no_generator_counts_as_one():
    rows = [{"val_loss": 1.0}, {"val_loss": 0.5}]
    assert sweep(lambda learning_rate: iter(rows), [0.1], epochs=2).value == 0.5


@pytest.mark.parametrize("epochs", [4, 8, 32])
@pytest.mark.parametrize("budget", [1.0, 2.0, 3.0])
def test_what_is_trained_again_is_in_the_cost_which_stays_within_the_budget(epochs, budget):
    diary = Diary()
    problem = FunctionTrainable(diary.train)
    answer = select(problem, epochs=epochs, budget=budget)
    assert answer.cost == pytest.approx(diary.epochs / epochs)
    assert answer.cost <= budget + 1 / epochs + 1e-9


def test_a_schedule_is_passed_where_it_is_declared_and_only_a_constant_one_is_taken_elsewhere():
    seen = {}

    def train(learning_rate, epochs, schedule):
        seen[learning_rate] = [schedule(epoch) for epoch in range(epochs)]
        while True:
            yield {"val_loss": bowl(learning_rate)}

    sweep(train, [0.1, 0.2], epochs=4, schedule=schedules.cosine)
    assert seen[0.2] == schedules.cosine(0.2, 4).values().tolist()
    answer = select(train, epochs=4, schedule=schedules.cosine)
    assert answer.schedule["name"] == "cosine"
    for verb in (functools.partial(select, Diary().train), functools.partial(sweep, Diary().train, [0.1])):
        with pytest.raises(InvalidArgumentError, match="give it a parameter `schedule`"):
            verb(epochs=4, schedule=schedules.cosine)


def test_a_study_tells_partials_of_one_function_apart(tmp_path):
    def train(learning_rate, width):
        return {"val_loss": (learning_rate - 0.1) ** 2 + width}

    for _ in range(2):
        sweep(functools.partial(train, width=1), [0.1, 0.2], epochs=1, study=tmp_path / "study")
    with pytest.raises(StudyMismatchError, match=r"width=1\).*width=2\)"):
        sweep(functools.partial(train, width=2), [0.1, 0.2], epochs=1, study=tmp_path / "study")


@pytest.mark.parametrize("best", [1e-5, 1e-1, 3.0])
def test_a_rate_that_is_decades_from_the_usual_one_is_found(best):
    def train(learning_rate, epochs):
        weights, curvatures = np.ones(10), np.geomspace(0.1, 1.0, 10) / best
        for _ in range(epochs):
            for _ in range(5):
                weights = weights * (1 - learning_rate * curvatures)
            yield {"val_loss": float((weights**2).mean())}

    answer = select(train, epochs=10)
    assert best / 10 < answer.learning_rate < 2 * best
    assert answer.value < 0.02
