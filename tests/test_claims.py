"""What an answer says beside its learning rate: where the best lies, what others cost, where training breaks."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnrate import select
from learnrate._answer_words import cost_words
from learnrate._numbers import percent, rate, short
from learnrate._pages import words
from learnrate._selection import claims
from learnrate._selection.courses import Courses
from learnrate.curves import LearningCurve
from learnrate.results import Cost, Recommendation, Trial, TrialState, Verdict
from learnrate.testing import QuadraticTrainable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from learnrate.curves import Array, Mode

EPOCHS = 20


class Lab:
    """Trials on a constant schedule of 20 epochs, a step each, that began at a loss of 1."""

    metric = "val_loss"
    mode: Mode = "min"
    total_steps = EPOCHS
    epochs = EPOCHS

    def __init__(
        self, *curves: tuple[float, list[float]], broke: tuple[float, ...] = (), untrained: float | None = 1.0
    ):
        self.untrained_value = untrained
        self.trials = [self.trial(number, *curve, broke=curve[0] in broke) for number, curve in enumerate(curves)]

    def relative_rates(self, last_step: int) -> Array:
        return np.ones(last_step)

    @staticmethod
    def trial(number: int, learning_rate: float, losses: list[float], *, broke: bool) -> Trial:
        rows = [(float(epoch), {"val_loss": loss}) for epoch, loss in enumerate(losses, 1)]
        return Trial(
            number=number,
            hyperparameters={"learning_rate": learning_rate},
            state=TrialState.DIVERGED if broke else TrialState.COMPLETE,
            curve=LearningCurve.from_rows(rows),
            value=min(losses, default=None),
            seed=0,
            seconds=0.0,
            epochs=float(max(len(losses), 1)),
            horizon=float(EPOCHS),
        )


def falling(end: float, epochs: int = EPOCHS, horizon: int = EPOCHS) -> list[float]:
    """A loss that falls evenly from 1 to `end` at the horizon, for some epochs."""
    return [1 - (1 - end) * epoch / horizon for epoch in range(1, epochs + 1)]


def bounds(lab: Lab, winner: float) -> tuple[float | None, float | None]:
    courses = Courses(lab)
    course = courses.of(winner)
    assert course is not None
    slower, faster = courses.bounds(course)
    return (slower and 10**slower.x), (faster and 10**faster.x)


def test_the_best_lies_between_the_nearest_that_were_behind_one_nearer_to_the_winner() -> None:
    lab = Lab(
        (1e-4, falling(0.9, 4)),
        (3e-4, falling(0.8, 4)),
        (1e-3, falling(0.2)),
        (3e-3, falling(0.3, 8)),
        (1e-2, falling(0.5, 4)),
    )
    assert bounds(lab, 1e-3) == (pytest.approx(3e-4), pytest.approx(3e-3))


def test_what_is_hardly_behind_bounds_nothing_and_a_short_training_must_be_far_behind() -> None:
    hardly = Lab((1e-3, falling(0.2)), (3e-3, falling(0.202, 8)), (1e-2, falling(0.5, 8)))
    assert bounds(hardly, 1e-3) == (None, pytest.approx(1e-2))
    for behind, bounded in ((0.05, False), (0.5, True)):
        early = Lab((1e-3, falling(0.2)), (1e-2, falling(0.2 + behind * 0.8, 1)))
        assert (bounds(early, 1e-3)[1] is not None) == bounded


def test_what_broke_bounds_on_the_fast_side_alone() -> None:
    lab = Lab((1e-4, []), (1e-3, falling(0.2)), (1e-2, []), broke=(1e-4, 1e-2))
    assert bounds(lab, 1e-3) == (None, pytest.approx(1e-2))


def test_shorter_trainings_of_one_rate_are_one_course() -> None:
    lab = Lab((1e-3, [0.7]), (1e-2, [0.5]), (1e-3, [1.0] * 19 + [0.2]))
    course = Courses(lab).of(1e-3)
    assert course is not None
    assert (course.at(1), course.at(20), course.length) == (0.7, 0.2, 20)


def test_the_longer_it_was_compared_on_both_sides_the_surer() -> None:
    chances: list[float] = []
    for epochs in (0, 1, 3, 10):
        lab = Lab((5e-4, falling(0.6, epochs)), (1e-3, falling(0.2)), (2e-3, falling(0.6, epochs)))
        courses = Courses(lab)
        course = courses.of(1e-3)
        assert course is not None
        low, high = claims.interval(courses, course, -7, 1)
        chances.append(claims.confidence(courses, course, high - low))
    assert chances == sorted(chances)
    assert chances[0] < 0.5
    assert 0.9 < chances[-1] < 1


def cost_of(lab: Lab, learning_rate: float) -> Cost | None:
    courses = Courses(lab)
    course = courses.of(1e-3)
    assert course is not None
    return claims.cost(courses, course, learning_rate, 0.2, 1)


def test_what_was_trained_in_full_is_measured_and_what_was_not_is_a_band() -> None:
    lab = Lab((1e-4, falling(0.6)), (3e-4, falling(0.3, 8)), (1e-3, falling(0.2)), (1e-2, falling(0.9, 1)))
    full, part = cost_of(lab, 1e-4), cost_of(lab, 3e-4)
    assert full is not None
    assert part is not None
    assert (full.low, full.high, full.measured) == (pytest.approx(0.5), pytest.approx(0.5), True)
    assert full.values == (pytest.approx(0.6), pytest.approx(0.6))
    assert part.low < 0.125 < part.high
    assert not part.measured
    between = cost_of(lab, 2e-4)
    assert between is not None
    assert (between.low, between.high) == (part.low, full.high)


def test_nothing_is_said_of_what_nobody_trained_near() -> None:
    lab = Lab((3e-4, falling(0.3, 8)), (1e-3, falling(0.2)))
    assert cost_of(lab, 1e-4) is None
    assert cost_of(lab, 1e-2) is None
    assert cost_of(Lab((1e-3, falling(0.2)), (1e-4, falling(0.6)), untrained=None), 1e-4) is None
    short_winner = Lab((1e-3, falling(0.2, 4)), (1e-4, falling(0.6, 4)))
    assert cost_of(short_winner, 1e-4) is None


def test_what_broke_breaks() -> None:
    cost = cost_of(Lab((1e-3, falling(0.2)), (1e-2, [0.9]), broke=(1e-2,)), 1e-2)
    assert cost is not None
    assert cost.breaks
    assert cost_words(cost, "val_loss") == "breaks training"


@pytest.mark.parametrize(
    ("low", "high", "measured", "said"),
    [
        (0.03, 0.03, True, "3 % worse, measured (loss 0.5)"),
        (0.004, 0.004, True, "0.4 % worse, measured (loss 0.5)"),
        (-0.01, -0.01, True, "no worse, measured (loss 0.5)"),
        (3e-15, 3e-15, True, "no worse, measured (loss 0.5)"),
        (-0.01, 1e-6, False, "no worse, 80 % sure (loss 0.6 or better)"),
        (-0.01, 0.08, False, "at most 8 % worse, 80 % sure (loss 0.6 or better)"),
        (0.02, 0.06, False, "2 to 6 % worse, 80 % sure (loss 0.5 to 0.6)"),
        (0.2, 1.0, False, "at least 20 % worse, 80 % sure (loss 0.5 or worse)"),
    ],
)
def test_a_cost_in_words(low: float, high: float, measured: bool, said: str) -> None:
    cost = Cost(learning_rate=1e-3, low=low, high=high, values=(0.5, 0.6), measured=measured)
    assert cost_words(cost, "loss") == said


def test_the_tables_are_whole() -> None:
    tables = claims.calibration()
    assert len(tables["confidence"]) == 1 + len(claims.COMPARED) + len(claims.WIDE)
    assert tables["confidence"] == sorted(tables["confidence"], reverse=True)
    costs = np.array(tables["costs"])
    assert costs.shape == (len(claims.COMPARED) + 1, len(claims.APART) + 1, len(claims.MARGINS) + 1, 2)
    assert (costs[..., 0] <= costs[..., 1]).all()
    assert (np.diff(costs[:, :, 1:], axis=2) >= 0).all()
    held = tables["left_out"]
    assert held["bands"] >= 0.8
    assert all(abs(each["said"] - each["held"]) <= 0.1 for each in held["confidence"])
    assert all(each["holds"] >= 0.9 for each in held["interval"].values())


def test_overfitting_at_once_is_told_from_nothing_moving() -> None:
    class Overfits(QuadraticTrainable):
        """What it learns is of no use for validation."""

        def evaluate(self) -> dict[str, float]:
            return {"val_loss": 5 - QuadraticTrainable.evaluate(self)["val_loss"]}

    class Frozen(QuadraticTrainable):
        """Nothing moves."""

        def train(self, learning_rates: Array) -> dict[str, Array]:
            return {"loss": np.full(len(learning_rates), 2.3)}

        def evaluate(self) -> dict[str, float]:
            return {"val_loss": 2.3}

    answer = select(Overfits(), epochs=6, max_learning_rate=0.5)
    assert answer.learning_rate is None
    assert answer.verdict is Verdict.NO_GAIN
    assert "overfits at once" in str(answer)
    assert "lower min_learning_rate" not in str(answer)
    still = select(Frozen(), epochs=6)
    assert still.verdict is Verdict.NO_GAIN
    assert "nothing moves" in str(still)


@st.composite
def responses(draw: st.DrawFn) -> Any:
    """A training loop whose loss falls with the rate spent, to a floor that rises with the rate, up to a cliff."""
    best, speed = draw(st.floats(-4, 0)), draw(st.floats(0, 3))
    cliff, noise = draw(st.floats(0.2, 3)), draw(st.sampled_from([0.0, 0.002, 0.02]))

    def train(learning_rate: float, epochs: int) -> Iterator[dict[str, float]]:
        generator = np.random.default_rng(round(1e6 * abs(math.log10(learning_rate))))
        for epoch in range(1, epochs + 1):
            spent = learning_rate / 10**best * epoch
            if math.log10(learning_rate) > best + cliff and epoch > 1:
                yield {"loss": math.nan, "val_loss": math.nan}
            loss = math.exp(-spent * 10**speed / 100) + 0.1 * learning_rate / 10**best
            yield {"loss": loss, "val_loss": loss * (1 + noise * generator.normal())}

    return train


@settings(max_examples=40, deadline=None)
@given(responses(), st.sampled_from([1.0, 1.3, 2.0, 3.0]))
def test_each_number_of_a_sentence_is_a_field_and_no_two_sentences_contradict_each_other(
    train: Any, budget: float
) -> None:
    answer = select(train, epochs=16, budget=budget, start=1e-3)
    if answer.learning_rate is None:
        return
    page = words.first_screen(answer)
    told = {name: text if isinstance(text, str) else " ".join(text) for name, text in page["facts"]}
    terminal = str(answer)
    assert f"learning rate {rate(answer.learning_rate)}" in terminal
    assert ("The best lies" in told) == (answer.interval is not None) == ("the best lies" in terminal)
    if answer.interval is not None:
        ends = re.findall(r"[\d.]+(?:e-?\d+)?", told["The best lies"].split(",")[0])
        tried = {rate(trial.learning_rate) for trial in answer.trials}
        assert set(ends) <= {rate(end) for end in answer.interval} & tried
        assert told["The best lies"][1:] in terminal
        assert answer.interval[0] <= answer.learning_rate <= answer.interval[1]
    if answer.confidence is not None:
        assert f"better: {percent(answer.confidence)}" in told["How sure"]
        assert f"better: {percent(answer.confidence)}" in terminal
    assert ("Training breaks" in told) == (answer.breaks is not None)
    if answer.breaks is not None:
        assert told["Training breaks"][1:] in terminal
        assert answer.learning_rate < answer.breaks.broke
        assert answer.breaks.held is None or answer.breaks.held < answer.breaks.broke
    for cost in (answer.yours, *answer.slower):
        if cost is None:
            continue
        said = cost_words(cost, answer.metric)
        assert f"{rate(cost.learning_rate)}: {said}" in terminal
        assert said in told["Other rates"]
        assert cost.low <= cost.high
        assert not (cost.breaks and answer.breaks is None)
        in_full = [it for it in answer.trials if it.learning_rate == cost.learning_rate and it.epochs >= answer.horizon]
        if cost.measured and in_full and not cost.breaks:
            assert cost.values[0] == pytest.approx(in_full[-1].value, rel=1e-6)
            assert short(cost.values[0], 3) in said
    if answer.verdict is Verdict.FOUND:
        assert "budget ended" not in terminal
        assert "raise the budget" not in terminal
        assert "worse ones on both sides" in told["How sure"]
    else:
        assert "worse ones on both sides" not in told["How sure"]


def test_an_answer_of_an_earlier_method_keeps_its_rate_and_loses_what_it_said_beside_it() -> None:
    answer = select(QuadraticTrainable(), epochs=4)
    old = msgspec.json.decode(answer.to_json())
    for name in ("confidence", "breaks", "reference", "slower"):
        del old[name]
    old |= {
        "slower_costs": [{"learning_rate": 0.1, "value": 0.2, "cost": 0.3, "more_epochs": None}],
        "yours": {"learning_rate": 0.1, "value": 0.2, "cost": 0.3, "more_epochs": 2.0},
        "largest_stable_learning_rate": 0.5,
        "range_test": None,
        "response": None,
    }
    read = Recommendation.from_json(msgspec.json.encode(old))
    assert read.learning_rate == answer.learning_rate
    assert (read.interval, read.yours, read.slower, read.breaks, read.confidence) == (None, None, [], None, None)
    assert read.trials[0].curve.epochs.tolist() == answer.trials[0].curve.epochs.tolist()
