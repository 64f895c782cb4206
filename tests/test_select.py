"""`select` and `sweep` on the noisy quadratic, whose optimum and cliff are known."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _engine_problems import timeless
from learnrate import schedules
from learnrate._select import select
from learnrate._selection.bound import bound_minimum
from learnrate._selection.decay import first_step
from learnrate._sweep import sweep
from learnrate.errors import InvalidArgumentError, UnknownMetricError, UnsupportedProblemError
from learnrate.results import Recommendation, Sweep, Trial, TrialState, Verdict
from learnrate.schedules import constant
from learnrate.testing import QuadraticTrainable


def state_of(problem: QuadraticTrainable) -> Any:
    snapshot = problem.snapshot()
    return [np.array(part).tolist() for part in snapshot]


def trainings(answer: Recommendation | Sweep) -> list[Trial]:
    return answer.trainings if isinstance(answer, Recommendation) else answer.trials


class Stubborn(QuadraticTrainable):
    """A quadratic whose training fails in the way a test asks, after some steps."""

    def __init__(self, *, after: int, error: BaseException | None = None, loss: float | None = None) -> None:
        super().__init__()
        self.after, self.error, self.loss, self.steps = after, error, loss, 0

    def train(self, learning_rates: Any) -> Any:
        report = dict(super().train(learning_rates))
        self.steps += len(learning_rates)
        if self.steps > self.after:
            if self.error is not None:
                raise self.error
            report["loss"] = np.full(len(learning_rates), self.loss)
        return report


@pytest.fixture(scope="module")
def answer() -> Recommendation:
    return select(QuadraticTrainable(), epochs=20)


def test_the_answer_is_nearly_as_good_as_the_best_of_a_dense_sweep(answer: Recommendation) -> None:
    dense = sweep(QuadraticTrainable(), np.geomspace(1e-3, 1.9, 30), epochs=20)
    assert answer.value is not None
    assert dense.value is not None
    assert dense.untrained is not None
    assert (answer.value - dense.value) / (dense.untrained - dense.value) < 0.02


def test_the_answer_lies_inside_its_interval_below_the_cliff(answer: Recommendation) -> None:
    assert answer.verdict is Verdict.FOUND
    assert answer.interval is not None
    assert answer.learning_rate is not None
    assert answer.interval[0] <= answer.learning_rate <= answer.interval[1]
    assert_broke_around(answer, QuadraticTrainable().cliff)


def assert_broke_around(answer: Recommendation, cliff: float) -> None:
    assert answer.breaks is not None
    assert answer.breaks.held is not None
    assert answer.breaks.held < cliff < answer.breaks.broke <= 10 * answer.breaks.held * (1 + 1e-9)


@pytest.mark.parametrize("curvature", [1.0, 3.0, 10.0])
def test_the_screen_brackets_where_training_breaks(curvature: float) -> None:
    problem = QuadraticTrainable(curvature * np.geomspace(0.01, 1.0, 20))
    answer = select(problem, epochs=20)
    assert_broke_around(answer, problem.cliff)


@pytest.mark.parametrize("own", [3e-3, 0.7])
def test_the_rate_of_the_problem_takes_part_from_the_first_rung(own: float) -> None:
    answer = select(QuadraticTrainable(learning_rate=own), epochs=20)
    assert answer.trials[0].learning_rate == pytest.approx(own)
    apart = np.log10([trial.learning_rate / own for trial in answer.trials if trial.learning_rate < 10]) / 0.25
    assert apart == pytest.approx(np.round(apart), abs=1e-6)


def test_rungs_lie_at_shares_of_the_summed_rate() -> None:
    schedule = functools.partial(schedules.linear, warmup_fraction=0.5)
    warm, plain = (select(QuadraticTrainable(), epochs=20, schedule=it) for it in (schedule, constant))
    assert warm.trials[0].stage == plain.trials[0].stage == "screen"
    screened = [min(trial.epochs for trial in it.trials if trial.stage == "screen") for it in (warm, plain)]
    assert screened[0] > 3 * screened[1]


class Lagging(QuadraticTrainable):
    """A quadratic whose validation looks the worse the more it has learned, for its first hundred steps."""

    def evaluate(self) -> dict[str, float]:
        true, begun = super().evaluate()["val_loss"], 0.5 * float(self.eigenvalues.sum())
        return {"val_loss": begun + abs(begun - true) if self._step < 100 else true}


def test_where_validation_lags_behind_the_training_loss_says_which_rate_goes_on() -> None:
    plain, lagging = (select(kind(learning_rate=1e-3), epochs=20) for kind in (QuadraticTrainable, Lagging))
    assert plain.learning_rate is not None
    assert lagging.learning_rate is not None
    assert abs(math.log10(lagging.learning_rate / plain.learning_rate)) <= 0.5 + 1e-9


def behind_a_plateau(learning_rate: float, epochs: int) -> Any:
    """A training whose loss rises by almost nothing before it falls: slow rates look better than faster ones."""
    for epoch in range(1, epochs + 1):
        spent = learning_rate * epoch
        yield {"val_loss": 0.693 + 3e-5 * spent if spent < 1 else 0.693 / spent + (learning_rate / 5) ** 2}


def test_from_a_plateau_the_race_goes_on_upward() -> None:
    answer = select(behind_a_plateau, epochs=20)
    assert answer.learning_rate is not None
    assert answer.learning_rate > 0.1


def test_from_a_start_that_breaks_everything_the_race_goes_down() -> None:
    answer = select(QuadraticTrainable(learning_rate=10.0), epochs=20)
    assert answer.verdict is Verdict.FOUND
    assert answer.learning_rate is not None
    assert answer.learning_rate < QuadraticTrainable().cliff


relative_rates = st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=30).map(np.array)


@given(relative_rates, st.floats(1e-3, 1e3))
def test_the_bounds_best_rate_is_found_on_a_grid_whatever_the_schedule(rates: Any, scale: float) -> None:
    def bound(factor: float) -> float:
        """Of arXiv 2501.18965, with the problem's constants at one, term by term."""
        steps = factor * rates
        later = sum(
            steps[k] / steps[k + 1 :].sum() * (steps[k:] ** 2).sum() / steps[k:].sum() for k in range(len(steps) - 1)
        )
        return 1 / (2 * steps.sum()) + (steps**2).sum() / (2 * steps.sum()) + later / 2

    best = bound_minimum(rates)
    assert bound_minimum(np.append(scale * rates, [0.0, 0.0])) == pytest.approx(best - math.log10(scale), abs=1e-9)
    assert bound(10**best) <= min(bound(10 ** (best + away)) for away in (-1, -0.1, -0.01, 0.01, 0.1, 1))


def test_the_rate_that_is_used_today_takes_part_and_its_cost_is_said() -> None:
    answer = select(QuadraticTrainable(learning_rate=1e-3), epochs=20, start=0.02)
    assert answer.trials[0].learning_rate == pytest.approx(0.02)
    answer = select(QuadraticTrainable(learning_rate=1e-3), epochs=20, start=0.1)
    assert answer.yours is not None
    assert answer.yours.learning_rate == 0.1
    with pytest.raises(InvalidArgumentError, match=r"start 100 is outside the range .* widen the range"):
        select(QuadraticTrainable(), epochs=20, start=100.0)


def test_the_lines_to_paste_have_the_schedule_unless_a_function_makes_its_own(answer: Recommendation) -> None:
    assert "epochs = 20" in answer.code("torch")
    assert select(behind_a_plateau, epochs=20).code("torch").count("\n") == 1


def test_equal_rows_are_no_proof_where_a_later_one_differs() -> None:
    def late(learning_rate: float, epochs: int) -> Any:
        """Training that validates before it trains: the first row is that of the initial weights."""
        for epoch in range(epochs):
            yield {"val_loss": (1 - min(learning_rate, 1.0)) ** epoch + (learning_rate / 10) ** 2 * epoch}

    answer = select(late, epochs=20)
    assert answer.verdict is not Verdict.UNUSED
    assert answer.learning_rate is not None
    assert answer.learning_rate > 1e-2


class Shape(NamedTuple):
    """Of a response: decades of speed, of the best rate and from there to the cliff; epochs of plateau; noise."""

    speed: float
    best: float
    cliff: float
    plateau: float
    noise: float


shapes = st.builds(
    Shape,
    st.floats(-1.0, 4.0),
    st.floats(-5.0, 0.5),
    st.floats(0.2, 3.0),
    st.floats(0.0, 5.0),
    st.sampled_from([0.0, 0.001, 0.02]),
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from([1.0, 1.3, 2.0, 3.0, 5.0]), st.integers(0, 99))
def test_an_answer_is_not_contradicted_by_its_own_evidence(shape: Shape, budget: float, seed: int) -> None:
    speed, best, cliff, plateau, noise = shape

    def train(learning_rate: float, epochs: int) -> Any:
        """Falls with the rate spent, behind a plateau, to a floor that rises with the rate; breaks above its cliff."""
        generator = np.random.default_rng((seed, round(1e6 * abs(math.log10(learning_rate)))))
        for epoch in range(1, epochs + 1):
            spent = max(learning_rate / 10**best * epoch - plateau, 0.0)
            broken = math.log10(learning_rate) > best + cliff
            loss = math.exp(-spent * 10**speed / 100) + 0.1 * learning_rate / 10**best
            yield {"val_loss": math.nan if broken and epoch > 1 else loss * (1 + noise * generator.normal())}

    answer = select(train, epochs=16, budget=budget)
    if answer.learning_rate is None or answer.value is None:
        assert answer.verdict is not Verdict.FOUND
        return
    assert answer.value == min(trial.value for trial in answer.trials if trial.value is not None)
    if answer.interval is not None:
        assert answer.interval[0] <= answer.learning_rate * (1 + 1e-9)
        assert answer.learning_rate <= answer.interval[1] * (1 + 1e-9)
    if answer.breaks is not None:
        assert answer.learning_rate < answer.breaks.broke
    if answer.verdict is Verdict.FOUND:
        assert answer.interval is not None
        assert answer.interval[0] < answer.learning_rate < answer.interval[1]
        rates = [trial.learning_rate for trial in answer.trials]
        assert min(rates) < answer.learning_rate < max(rates)
        assert not any("undecided" in warning for warning in answer.warnings)


def test_a_budget_of_one_trains_the_rate_of_the_problem_to_the_end() -> None:
    answer = select(QuadraticTrainable(learning_rate=0.05), epochs=20, budget=1.0)
    assert [trial.learning_rate for trial in answer.trials] == [pytest.approx(0.05)]
    assert answer.trials[0].epochs == 16
    assert answer.decay is not None
    assert answer.decay.trial.epochs == 20


def test_a_budget_of_one_does_not_train_what_a_few_steps_break() -> None:
    answer = select(QuadraticTrainable(learning_rate=9.0), epochs=40, budget=1.0)  # the cliff is at 2
    assert answer.learning_rate is not None
    assert answer.learning_rate < 2


@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 5.0])
def test_the_cost_stays_within_the_budget_by_one_epoch(budget: float) -> None:
    answer = select(QuadraticTrainable(), epochs=20, budget=budget)
    assert answer.cost <= budget + 1 / 20
    assert answer.learning_rate is not None


@settings(max_examples=60, deadline=None)
@given(
    epochs=st.integers(1, 30),
    steps_per_epoch=st.integers(1, 40),
    budget=st.floats(1.0, 6.0),
    evaluation_steps=st.floats(0.0, 20.0),
    seed=st.integers(0, 5),
)
def test_whatever_the_sizes_there_is_an_answer_within_the_budget(
    epochs: int, steps_per_epoch: int, budget: float, evaluation_steps: float, seed: int
) -> None:
    problem = QuadraticTrainable(steps_per_epoch=steps_per_epoch, evaluation_steps=evaluation_steps)
    answer = select(problem, epochs=epochs, budget=budget, seed=seed)
    assert answer.learning_rate is not None
    assert answer.cost <= budget + 1 / epochs + 1e-9
    assert answer.value is not None
    assert math.isfinite(answer.value)
    [winner] = [trial for trial in answer.trials if trial.learning_rate == answer.learning_rate]
    in_full = 1.0 if epochs * steps_per_epoch == 1 else first_step(epochs * steps_per_epoch, epochs) / steps_per_epoch
    assert (winner.epochs < in_full) == any("full length" in warning for warning in answer.warnings)
    if answer.interval is not None:
        assert answer.interval[0] <= answer.learning_rate <= answer.interval[1]


def test_the_problem_is_left_as_it_was_found() -> None:
    problem = QuadraticTrainable()
    problem.train(np.full(3, 0.01))
    before = state_of(problem)
    select(problem, epochs=5)
    assert state_of(problem) == before


@pytest.mark.parametrize("error", [RuntimeError("the data are gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 7, 150])
def test_an_error_of_the_users_comes_through_and_the_problem_is_left_as_it_was(
    error: BaseException, after: int
) -> None:
    problem = Stubborn(after=after, error=error)
    before = state_of(problem)
    with pytest.raises(type(error)) as caught:
        select(problem, epochs=10)
    assert caught.value is error
    assert state_of(problem) == before


def test_restoring_the_best_weights_gives_the_value_that_was_promised() -> None:
    problem = QuadraticTrainable()
    answer = select(problem, epochs=10)
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == answer.value


def test_the_same_seed_gives_the_same_answer() -> None:
    first, second = (select(QuadraticTrainable(), epochs=8, seed=3) for _ in range(2))
    assert timeless(first) == timeless(second)


@pytest.mark.parametrize("name", ["cosine", "step", "one_cycle", "linear"])
def test_any_schedule_is_trained_as_it_is_named(name: str) -> None:
    answer = select(QuadraticTrainable(), epochs=10, schedule=schedules.by_name(name))
    assert answer.schedule["name"] == name
    assert answer.learning_rate is not None
    assert answer.learning_rate < QuadraticTrainable().cliff * 30


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_where_every_learning_rate_diverges_the_verdict_says_so(loss: float) -> None:
    problem = Stubborn(after=0, loss=loss)
    before = state_of(problem)
    answer = select(problem, epochs=5)
    assert answer.learning_rate is None
    assert answer.verdict is Verdict.ALL_DIVERGED
    assert {trial.state for trial in answer.trials} == {TrialState.DIVERGED}
    assert state_of(problem) == before


def test_a_range_that_ends_before_the_best_rate_is_called_too_narrow() -> None:
    answer = select(QuadraticTrainable(), epochs=10, max_learning_rate=1e-2)
    assert answer.verdict is Verdict.TOO_NARROW_RIGHT
    assert answer.learning_rate == pytest.approx(1e-2, rel=0.5)


def test_a_metric_to_be_maximised_gives_the_same_rate() -> None:
    class Gain(QuadraticTrainable):
        def evaluate(self) -> Any:
            return {"val_gain": -super().evaluate()["val_loss"]}

    lost = select(QuadraticTrainable(), epochs=10)
    gained = select(Gain(), epochs=10, metric="val_gain", mode="max")
    assert gained.learning_rate == lost.learning_rate
    assert gained.value == -(lost.value or 0)


def test_without_validation_the_training_loss_decides_and_the_answer_says_so() -> None:
    class Blind(QuadraticTrainable):
        def evaluate(self) -> Any:
            return {}

    answer = select(Blind(), epochs=10)
    assert answer.metric == "loss"
    assert any("training loss decides" in warning for warning in answer.warnings)


def test_a_shifted_and_scaled_loss_gives_the_same_answer() -> None:
    class Shifted(QuadraticTrainable):
        def evaluate(self) -> Any:
            return {"val_loss": 8 * super().evaluate()["val_loss"] - 1000}

    assert select(Shifted(), epochs=10).learning_rate == select(QuadraticTrainable(), epochs=10).learning_rate


def test_an_unknown_metric_is_refused_before_training_and_the_known_ones_are_named() -> None:
    with pytest.raises(UnknownMetricError, match=r"val_loss"):
        select(QuadraticTrainable(), epochs=5, metric="val_acuracy")


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"epochs": 2.5},
        {"epochs": True},
        {"epochs": 2, "budget": 0.5},
        {"epochs": 2, "budget": math.nan},
        {"epochs": 2, "min_learning_rate": 0},
        {"epochs": 2, "min_learning_rate": -1e-3},
        {"epochs": 2, "max_learning_rate": math.inf},
        {"epochs": 2, "min_learning_rate": 1e-2, "max_learning_rate": 1e-3},
        {"epochs": 2, "mode": "minimum"},
        {"epochs": 2, "metric": ""},
        {"epochs": 2, "seed": -1},
        {"epochs": 2, "seed": 0.5},
        {"epochs": 2, "study": 3},
        {"epochs": 2, "engine": "ray"},
        {"epochs": 2, "on_event": "print"},
        {"epochs": 2, "schedule": schedules.cosine(0.1, 100)},
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_training(arguments: dict[str, Any]) -> None:
    problem = Stubborn(after=-1, error=AssertionError("it trained"))
    with pytest.raises(InvalidArgumentError):
        select(problem, **arguments)


@pytest.mark.parametrize("thing", [None, 3, "model", object(), QuadraticTrainable])
def test_what_cannot_be_trained_is_refused_with_what_it_lacks(thing: Any) -> None:
    with pytest.raises(UnsupportedProblemError):
        select(thing, epochs=2)


def test_events_tell_the_stages_the_trials_and_what_was_spent() -> None:
    events: list[Any] = []
    answer = select(QuadraticTrainable(), epochs=6, on_event=events.append)
    finished = [event for event in events if event.kind.value == "trial finished"]
    assert {event.trial.number for event in finished} == {trial.number for trial in answer.trainings}
    assert finished[-1].trial.learning_rate == answer.learning_rate
    spent = [event.spent for event in events]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(answer.cost)
    assert {event.message for event in events if event.kind.value == "stage"}


def test_a_sweep_shares_the_batches_and_refines_around_the_best() -> None:
    result = sweep(QuadraticTrainable(), [1.0, 1e-2, 1e-1], epochs=6, refine=2)
    assert [trial.learning_rate for trial in result.trials][:3] == [1e-2, 1e-1, 1.0]
    assert len(result.trials) == 5
    assert all(1e-1 <= trial.learning_rate <= 1.0 or trial.learning_rate == 1e-2 for trial in result.trials)
    assert result.value == min(trial.value for trial in result.trials if trial.value is not None)


@pytest.mark.parametrize("rates", [[], [0.0], [1e-3, -1e-3], [math.nan], [1e-3, 1e-3], [[1e-3, 1e-2]], 1e-3, "1e-3"])
def test_a_sweep_refuses_learning_rates_that_cannot_be_used(rates: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        sweep(QuadraticTrainable(), rates, epochs=2)


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ([1e-3, 1e-2], Verdict.TOO_NARROW_RIGHT),
        ([0.5, 1.9, 1.99], Verdict.TOO_NARROW_LEFT),
        ([1e-3, 0.3, 1.9], Verdict.FOUND),
    ],
)
def test_a_sweep_says_whether_its_range_holds_the_best(rates: list[float], verdict: Verdict) -> None:
    assert sweep(QuadraticTrainable(), rates, epochs=10).verdict is verdict


class Judged(QuadraticTrainable):
    """A problem that tells how much of its loss is gone, as an accuracy would."""

    def evaluate(self) -> dict[str, float]:
        return {"val_accuracy": 1 / (1 + super().evaluate()["val_loss"])}


@pytest.mark.parametrize("verb", ["select", "sweep"])
def test_an_accuracy_is_better_when_it_is_larger_without_being_told(verb: str) -> None:
    asked: dict[str, Any] = {"epochs": 6, "metric": "val_accuracy"}
    ask = select if verb == "select" else functools.partial(sweep, learning_rates=[1e-2, 1e-1, 1.0])
    judged = [ask(Judged(), **asked, **mode) for mode in ({}, {"mode": "max"})]
    assert judged[0].mode == "max"
    assert judged[0].learning_rate == judged[1].learning_rate
    assert judged[0].value == max(trial.value for trial in trainings(judged[0]) if trial.value is not None)


def test_a_metric_whose_name_does_not_say_what_is_better_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="pass mode="):
        select(QuadraticTrainable(), epochs=2, metric="val_quality")


class Guessing(Judged):
    """Its accuracy is by chance better than that of the first weights wherever training breaks."""

    def evaluate(self) -> dict[str, float]:
        loss = QuadraticTrainable.evaluate(self)["val_loss"]
        return {"val_accuracy": 1 / (1 + loss) if loss < 2.5 else 0.5, "val_loss": loss}


def test_an_accuracy_by_chance_is_not_taken_for_training_that_holds() -> None:
    answer = select(Guessing(), epochs=6, metric="val_accuracy")
    assert_broke_around(answer, QuadraticTrainable().cliff)
