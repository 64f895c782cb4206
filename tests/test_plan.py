"""What a verb says that it will spend: told before it trains, kept to, and told again with the time that is left."""

from __future__ import annotations

import re
import sys
import time

import numpy as np
import pytest
import torch

import learnrate
from learnrate import Halving, LocalEngine, log_uniform, range_test, schedules, search, select, sweep, uniform
from learnrate._trials.laboratory import Laboratory
from learnrate._trials.spending import SpendingPlan, Timing
from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState
from learnrate.stopping import EarlyStopping, ReduceOnPlateau
from learnrate.testing import QuadraticTrainable
from learnrate.training import EventKind

RATES = [1e-3, 1e-2, 1e-1, 1.0, 10.0]
SPACE = {"learning_rate": log_uniform(1e-3, 1e2), "noise": uniform(0.0, 0.2)}


class Counts:
    """Counts what is trained and evaluated, and keeps how much that was when the first event came."""

    def __init__(self):
        self.done = {"trainings": 0, "steps": 0, "evaluations": 0}
        self.events = []
        self.before = None

    def on_event(self, event):
        if self.before is None:
            self.before = dict(self.done)
        self.events.append(event)

    @property
    def plans(self):
        return [event.message for event in self.events if event.kind is EventKind.PLAN]

    @property
    def since(self):
        return {name: self.done[name] - self.before[name] for name in self.done}


class Counted(QuadraticTrainable):
    def __init__(self, counts, **settings):
        super().__init__(**settings)
        self.counts = counts

    def begin(self, learning_rate, epochs, seed):
        super().begin(learning_rate, epochs, seed)
        self.counts.done["trainings"] += 1

    def train(self, learning_rates):
        self.counts.done["steps"] += len(learning_rates)
        return super().train(learning_rates)

    def evaluate(self):
        self.counts.done["evaluations"] += 1
        return super().evaluate()


def number(plan, what):
    """How many steps, evaluations, trainings or epochs a plan tells, "5 × 400 steps" being 2,000."""
    found = re.search(rf"(?:([\d,]+) × )?([\d,.]+) {what}s?\b", plan)
    times, each = (float((text or "1").replace(",", "")) for text in found.groups())
    return times * each


def assert_told_first_and_kept(counts, *, over=0.0):
    assert counts.events[0].kind is EventKind.PLAN
    assert (counts.before["trainings"], counts.before["steps"]) == (0, 0)
    assert 0 < counts.since["steps"] <= number(counts.plans[0], "step") + over
    assert counts.since["evaluations"] <= number(counts.plans[0], "evaluation")


# --- sweep


@pytest.mark.parametrize(
    ("call", "plan"),
    [
        ({}, "5 trainings of 4 epochs (5 × 80 steps, 20 evaluations)"),
        (
            {"refine": 2},
            "5 trainings of 4 epochs, then at most 2 more around the best (at most 7 × 80 steps, 28 evaluations)",
        ),
        (
            {"stopping": [EarlyStopping(patience=1), ReduceOnPlateau(patience=1)]},
            "5 trainings of at most 4 epochs (at most 5 × 80 steps, 20 evaluations)",
        ),
        ({"stopping": ReduceOnPlateau(patience=1)}, "5 trainings of 4 epochs (5 × 80 steps, 20 evaluations)"),
    ],
)
def test_a_sweep_tells_its_trainings_and_keeps_to_them(call, plan):
    counts = Counts()
    sweep(Counted(counts), RATES, epochs=4, on_event=counts.on_event, **call)
    assert counts.plans == [plan]
    assert_told_first_and_kept(counts)
    assert counts.since["trainings"] <= 5 + call.get("refine", 0)


def test_a_sweep_in_which_nothing_breaks_spends_what_it_has_told_to_the_last_step():
    counts = Counts()
    sweep(Counted(counts, steps_per_epoch=7), [1e-3, 1e-2], epochs=3, on_event=counts.on_event)
    assert counts.since == {"trainings": 2, "steps": number(counts.plans[0], "step"), "evaluations": 6}
    assert number(counts.plans[0], "evaluation") == 6


def test_one_training_of_one_epoch_is_told_in_the_singular():
    counts = Counts()
    sweep(Counted(counts, steps_per_epoch=1), [1e-3], epochs=1, on_event=counts.on_event)
    assert counts.plans == ["1 training of 1 epoch (1 step, 1 evaluation)"]


@pytest.mark.parametrize("validated", [True, False])
def test_no_evaluations_are_told_of_where_nothing_is_validated(validated):
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = torch.nn.functional.mse_loss
    problem = learnrate.TorchTrainable(model, optimizer, loss_fn, data, data if validated else None)
    counts = Counts()
    sweep(problem, [1e-3, 1e-2], epochs=3, on_event=counts.on_event)
    more = ", 6 evaluations" if validated else ""
    assert counts.plans == [f"2 trainings of 3 epochs (2 × 12 steps{more})"]


# --- range_test


@pytest.mark.parametrize(
    ("call", "plan"),
    [
        ({}, "at most 100 steps, no evaluation"),
        ({"num_steps": 1000}, "at most 106 steps, no evaluation"),
        ({"num_steps": 15}, "at most 15 steps, no evaluation"),
        ({"max_learning_rate": 1e-3}, "at most 91 steps, no evaluation"),
        ({"spacing": "linear", "num_steps": 40}, "at most 40 steps, no evaluation"),
        ({"num_seeds": 3}, "at most 3 × 100 steps, no evaluation"),
        ({"metric": "val_loss"}, "at most 100 steps, 100 evaluations"),
        ({"metric": "val_loss", "num_seeds": 2}, "at most 2 × 100 steps, 200 evaluations"),
    ],
)
def test_a_range_test_tells_its_steps_and_keeps_to_them(call, plan):
    counts = Counts()
    range_test(Counted(counts), on_event=counts.on_event, **call)
    assert counts.plans == [plan]
    assert counts.events[0].kind is EventKind.PLAN
    assert counts.before["steps"] == 0
    assert 0 < counts.since["steps"] <= number(plan, "step")
    assert counts.since["evaluations"] <= (number(plan, "evaluation") if "no evaluation" not in plan else 0)


def test_a_range_test_that_a_study_has_finished_plans_nothing(tmp_path):
    events = []
    range_test(QuadraticTrainable(), study=tmp_path / "study")
    range_test(QuadraticTrainable(), study=tmp_path / "study", on_event=events.append)
    assert not events


# --- select


@pytest.mark.parametrize("schedule", [schedules.constant, schedules.cosine, schedules.one_cycle])
@pytest.mark.parametrize("budget", [1, 1.5, 2, 3, 6])
@pytest.mark.parametrize(("epochs", "evaluation_steps"), [(4, 0.0), (20, 8.0)])
def test_a_race_keeps_to_its_budget_and_to_the_lengths_that_it_tells(schedule, budget, epochs, evaluation_steps):
    counts = Counts()
    problem = Counted(counts, steps_per_epoch=32, evaluation_steps=evaluation_steps, learning_rate=1e-2)
    select(problem, epochs=epochs, budget=budget, schedule=schedule, on_event=counts.on_event)
    (plan,) = counts.plans
    assert plan.startswith(f"at most {budget:g} training run{'' if budget == 1 else 's'} of {epochs} epochs (")
    assert number(plan, "step") == budget * epochs * 32
    assert_told_first_and_kept(counts, over=16)  # the budget may be passed by half an epoch
    lengths = {
        stage: {event.trial.epochs for event in counts.events if event.kind is EventKind.TRIAL_FINISHED and
                event.trial.state is TrialState.COMPLETE and event.trial.stage == stage}
        for stage in ("screen", "probe", "compare")
    }  # fmt: skip
    screened = re.search(r"rates a decade apart for ([\d.]+)", plan)
    assert bool(screened) == bool(lengths["screen"])
    assert all(length == pytest.approx(float(screened[1]), rel=0.1) for length in lengths["screen"])
    for stage, words in (("probe", "half a decade apart for up to"), ("compare", "two or three for up to")):
        longest = re.search(rf"{words} ([\d.]+)", plan)
        assert longest is None or max(lengths[stage], default=0) <= float(longest[1]) * 1.05


def test_the_shape_of_a_race_is_told_in_a_line():
    counts = Counts()
    select(Counted(counts, steps_per_epoch=200), epochs=20, on_event=counts.on_event)
    assert counts.plans[0] == (
        "at most 2 training runs of 20 epochs (8,000 steps, about 50 evaluations): "
        "rates a decade apart for 0.62 epochs each, half a decade apart for up to 3.8, two or three for up to 16, "
        "the best to the end, its rate falling to zero over the last fifth"
    )


def test_a_budget_that_is_too_small_to_compare_says_so():
    counts = Counts()
    select(Counted(counts), epochs=20, budget=1, on_event=counts.on_event)
    assert counts.plans[0].endswith("one learning rate to the end; a larger budget compares several")
    assert len({event.trial.learning_rate for event in counts.events if event.trial is not None}) == 1


@pytest.mark.parametrize("budget", [1, 2, 4])
def test_a_race_in_whole_epochs_counts_neither_steps_nor_evaluations(budget):
    made, begun = [], []

    def train(learning_rate):
        weight = 1.0
        while True:
            made.append(learning_rate)
            weight *= abs(1 - learning_rate)
            yield {"val_loss": weight + learning_rate**2}

    counts = Counts()

    def on_event(event):
        counts.on_event(event)
        begun.append(bool(made))

    select(train, epochs=12, budget=budget, on_event=on_event)
    (plan,) = counts.plans
    assert plan.startswith(f"at most {budget} training run{'' if budget == 1 else 's'} of 12 epochs: ")
    assert not re.search("step|evaluation", plan)
    assert counts.events[0].kind is EventKind.PLAN
    assert not begun[0]
    assert len(made) <= budget * 12 + 1


@pytest.mark.parametrize("budget", [2, 5])
def test_trainings_in_one_piece_are_told_of_before_the_first_is_begun(budget):
    called, order = [], []

    def train(learning_rate):
        called.append(learning_rate)
        order.append("trained")
        return (np.log10(learning_rate) + 2) ** 2

    def on_event(event):
        if event.kind is EventKind.PLAN:
            order.append(event.message)

    select(train, epochs=10, budget=budget, on_event=on_event)
    assert order[:3] == [
        f"at most {budget} training runs of 10 epochs",
        "trained",
        f"at most {budget} trainings of 10 epochs, each in one piece",
    ]
    assert len(called) <= budget


def test_short_trainings_in_one_piece_are_told_with_their_length():
    asked, plans = [], []

    def train(learning_rate, epochs):
        asked.append(epochs)
        return (np.log10(learning_rate) + 2) ** 2 + 1 / epochs

    select(train, epochs=16, budget=3, on_event=lambda it: plans.append(it.message) if it.kind is EventKind.PLAN else 0)
    assert plans[-1] == (
        "at most 3 training runs of 16 epochs: rates a decade apart for 1 epoch each, half a decade apart for up to 3, "
        "the most promising to the end, each from its beginning"
    )
    assert {1, 3, 16} <= set(asked)
    assert sum(asked) <= 3 * 16


SCRIPT = """
import sys, time
open("began", "a").close()
for epoch in range(1, 31):
    time.sleep(0.05)
    print(f"epoch {{epoch}} val_loss={{({learning_rate} - 0.1) ** 2 + 1 / epoch}}", flush=True)
"""


def command(folder):
    return learnrate.CommandTrainable([sys.executable, "-I", "-S", "-c", SCRIPT], cwd=str(folder))


def test_a_command_is_planned_before_it_is_started_and_then_in_its_lengths(tmp_path):
    plans = []

    def on_event(event):
        if event.kind is EventKind.PLAN:
            plans.append((event.message, (tmp_path / "began").exists()))
        if event.trial is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select(command(tmp_path), epochs=30, on_event=on_event)
    assert plans[0] == ("at most 2 training runs of 30 epochs", False)
    assert plans[1][0].startswith("at most 2 training runs of 30 epochs: rates a decade apart for 1 epoch each, ")


# --- search


@pytest.mark.parametrize(
    ("call", "plan"),
    [
        ({"num_trials": 6}, "6 trials of 9 epochs (54 epochs, 54 evaluations)"),
        ({"sampler": "random", "budget": 4}, "at most 4 training runs of 9 epochs (36 epochs, 36 evaluations)"),
        (
            {"num_trials": 9, "halving": Halving(min_epochs=1)},
            "9 trials of at most 9 epochs (21 epochs, 21 evaluations): "
            "trials compared after 1 and 3 epochs, where one in 3 goes on",
        ),
        (
            {"num_trials": 13, "halving": "hyperband"},
            "13 trials of at most 9 epochs (87 epochs, 87 evaluations): "
            "trials in 2 brackets compared after 3 epochs, where one in 3 goes on",
        ),
        (
            {},
            "at most 8 training runs of 9 epochs (72 epochs, 72 evaluations): "
            "18 trials compared after 1 and 3 epochs, where one in 3 goes on, then rounds of 9 around the best",
        ),
        (
            {"num_trials": 8, "stages": [["learning_rate"], ["noise"]]},
            "8 trials of 9 epochs (72 epochs, 72 evaluations): "
            "first learning_rate (4 trials), then noise (2 trials), then learning_rate (2 trials)",
        ),
    ],
)
def test_a_search_tells_its_trials_and_keeps_to_them(call, plan):
    counts = Counts()

    def build(noise):
        return Counted(counts, noise=noise)

    result = search(build, SPACE, epochs=9, on_event=counts.on_event, **call)
    assert counts.plans == [plan]
    assert counts.events[0].kind is EventKind.PLAN
    assert counts.before["steps"] == 0
    assert 0 < counts.done["steps"] <= 20 * number(plan, "evaluation")
    assert counts.done["evaluations"] <= number(plan, "evaluation")
    assert len(result.trials) <= call.get("num_trials", 1000)


def test_a_search_over_folds_counts_each_of_them():
    counts = Counts()

    def build(noise, train, validation):
        return Counted(counts, noise=noise)

    data = np.zeros((12, 1)), np.zeros(12)
    call = {"epochs": 3, "data": data, "cv": 3, "num_trials": 4, "on_event": counts.on_event}
    search(build, SPACE, **call)
    assert counts.plans == ["4 trials of 3 epochs, each trial in 3 folds (36 epochs, 36 evaluations)"]
    assert counts.done["steps"] <= 20 * 36
    assert counts.done["evaluations"] <= 36


def test_a_search_that_selects_tells_about_how_many_runs_that_takes():
    counts = Counts()

    def build(noise):
        return Counted(counts, noise=noise)

    search(build, {"noise": uniform(0.0, 0.2)}, epochs=4, num_trials=3, learning_rate="select",
           on_event=counts.on_event)  # fmt: skip  # two lines are enough
    assert counts.plans == [
        "about 6 training runs of 4 epochs: a select for each trial within 2 of them, and another where its range was "
        "too narrow"
    ]
    assert counts.before["steps"] == 0


# --- the time that is left


def told(number, epochs, state=TrialState.RUNNING):
    return Trial(
        number=number,
        hyperparameters={"learning_rate": 0.1},
        state=state,
        curve=LearningCurve.from_rows([]),
        value=None,
        seed=0,
        seconds=0.0,
        epochs=epochs,
    )


class Trainer:
    """Trainings of four epochs."""

    def __init__(self, num_at_a_time=1, begins_anew=False):
        self.num_at_a_time = num_at_a_time
        self.begins_anew = begins_anew

    def cost_of_epochs(self, first, last):
        return (last - first) / 4


def timed(stretches, trainer):
    """What is known after so many tellings, each with the time at which it comes."""
    now = [0.0]
    timing = Timing(trainer, clock=lambda: now[0])
    for at, kind, number, epochs in stretches:
        now[0] = at
        timing.take(kind, told(number, epochs))
    return timing


STARTED, EPOCH, FINISHED = EventKind.TRIAL_STARTED, EventKind.EPOCH, EventKind.TRIAL_FINISHED
TWO_RUNS = SpendingPlan("2 trainings of 4 epochs", 2.0, num_starts=2, num_together=2)


def test_what_comes_before_the_first_row_does_not_count_for_the_others():
    begun = [(0.0, STARTED, 0, 0.0), (60.0, EPOCH, 0, 1.0)]
    assert timed(begun, Trainer()).seconds_left(TWO_RUNS, 0.0) is None
    timing = timed([*begun, (61.0, EPOCH, 0, 2.0)], Trainer())
    assert timing.seconds_left(TWO_RUNS, 0.0) == 6.0  # epochs of a second each


def test_trainings_of_one_row_tell_the_pace_from_the_second_on():
    first = [(0.0, STARTED, 0, 0.0), (60.0, EPOCH, 0, 1.0), (60.0, FINISHED, 0, 1.0), (60.0, STARTED, 1, 0.0)]
    timing = timed([*first, (61.0, EPOCH, 1, 1.0)], Trainer())
    assert timing.seconds_left(TWO_RUNS, 0.25) == 6.0


def test_each_worker_may_have_something_to_load():
    begun = [(0.0, STARTED, 0, 0.0), (0.0, STARTED, 1, 0.0), (60.0, EPOCH, 0, 1.0), (60.0, EPOCH, 1, 1.0)]
    assert timed(begun, Trainer(2)).seconds_left(TWO_RUNS, 0.0) is None
    timing = timed([*begun, (61.0, EPOCH, 0, 2.0)], Trainer(2))
    assert timing.seconds_left(TWO_RUNS, 0.0) == 2.5  # five epochs, two at a time


def test_where_each_training_has_a_start_of_its_own_it_counts_once_for_each():
    begun = [(0.0, STARTED, 0, 0.0), (61.0, EPOCH, 0, 1.0), (61.0, FINISHED, 0, 1.0), (61.0, STARTED, 1, 0.0)]
    four = SpendingPlan("4 trainings of 4 epochs", 4.0, num_starts=4)
    timing = timed([*begun, (122.0, EPOCH, 1, 1.0)], Trainer(begins_anew=True))
    assert timing.seconds_left(four, 0.25) is None  # a start cannot be told from an epoch
    timing = timed([*begun, (122.0, EPOCH, 1, 1.0), (123.0, EPOCH, 1, 2.0)], Trainer(begins_anew=True))
    assert timing.seconds_left(four, 0.25) == 13 + 2 * 60


@pytest.mark.parametrize("begins_anew", [True, False])
def test_a_training_that_comes_in_one_piece_tells_by_itself(begins_anew):
    timing = timed([(0.0, STARTED, 0, 0.0), (8.0, EPOCH, 0, 4.0), (8.0, FINISHED, 0, 4.0)], Trainer(1, begins_anew))
    assert timing.seconds_left(TWO_RUNS, 1.0) == 8.0


def test_a_worker_begins_when_it_has_loaded_all():
    now = [0.0]
    timing = Timing(Trainer(), clock=lambda: now[0])
    for number in (0, 1):
        timing.take(STARTED, told(number, 0.0))
        now[0] += 60.0
        timing.loaded(number)
        now[0] += 1.0
        timing.take(EPOCH, told(number, 1.0))
    assert timing.seconds_left(TWO_RUNS, 0.0) == 6.0


def test_what_a_study_recalls_and_what_began_before_it_was_told_of_have_no_time():
    assert timed([(0.0, FINISHED, 0, 4.0)], Trainer()).seconds_left(TWO_RUNS, 1.0) is None
    ahead = Timing(Trainer(), clock=lambda: 0.0)
    ahead.leave_out(0)
    for kind, epochs in ((STARTED, 0.0), (EPOCH, 1.0), (EPOCH, 2.0)):
        ahead.take(kind, told(0, epochs))
    assert ahead.seconds_left(TWO_RUNS, 0.0) is None


def test_evaluations_take_as_long_as_they_cost():
    problem = QuadraticTrainable(steps_per_epoch=20, evaluation_steps=20.0)
    with Laboratory(problem, epochs=4, schedule=schedules.constant, metric="val_loss", mode="min", seed=0) as lab:
        short = [(0.0, STARTED, 0, 0.0), (3.0, EPOCH, 0, 0.5), (3.0, STARTED, 1, 0.0), (6.0, EPOCH, 1, 0.5)]
        one_run = SpendingPlan("1 training of 4 epochs", 1.0)
        # ten steps and an evaluation take 3 s, so 80 steps and 4 evaluations take 16 s, of which 6 s are over
        assert timed(short, lab).seconds_left(one_run, 0.0) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("num_at_a_time", "share"), [(1, 1.0), (2, (3 / 5 * 5 + 1) / 6), (5, (1 + 1) / 6), (8, (1 + 1) / 6)]
)
def test_what_is_trained_at_a_time_is_waited_for_once(num_at_a_time, share):
    plan = SpendingPlan("5 trainings, then 1 more", 6.0, num_together=5, cost_alone=1.0)
    assert plan.share_in_sequence(num_at_a_time) == pytest.approx(share)


class Slow(QuadraticTrainable):
    """Takes so long for its first steps that the rest is worth an estimate."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def train(self, learning_rates):
        self.steps += len(learning_rates)
        time.sleep(0.1 if self.steps <= 200 else 0.0)
        return super().train(learning_rates)


def plans_of(verb, *arguments, **settings):
    plans = []
    verb(*arguments, on_event=lambda it: plans.append(it.message) if it.kind is EventKind.PLAN else None, **settings)
    return plans


LEFT = r"about \d+(\.\d)? s left"


def test_a_sweep_is_told_again_with_the_time_and_a_study_that_has_it_all_is_not(tmp_path):
    call = {"epochs": 30, "study": tmp_path / "study"}
    first, again = plans_of(sweep, Slow(), RATES, **call)
    assert first == "5 trainings of 30 epochs (5 × 600 steps, 150 evaluations)"
    assert re.fullmatch(rf"5 trainings of 30 epochs \(5 × 600 steps, 150 evaluations; {LEFT}\)", again)
    (recalled,) = plans_of(sweep, Slow(), RATES, **call)
    assert recalled == f"{first}: what the study has of it is not trained again"


def test_a_select_and_a_range_test_are_told_again_with_the_time():
    first, again = plans_of(select, Slow(), epochs=40)
    assert re.sub(f"; {LEFT}", "", again) == first
    assert again != first
    first, again = plans_of(range_test, Slow(), num_seeds=20)
    assert re.fullmatch(rf"{re.escape(first)} \({LEFT}\)", again)


def test_workers_tell_the_time_too():
    _, again = plans_of(sweep, paced, [0.1, 0.2], epochs=60, engine=LocalEngine(num_workers=2))
    assert re.fullmatch(rf"2 trainings of 60 epochs \({LEFT}\)", again)


def paced(learning_rate):
    while True:
        time.sleep(0.03)
        yield {"val_loss": learning_rate}


def test_commands_tell_the_time_too(tmp_path):
    _, again = plans_of(sweep, command(tmp_path), [0.1, 0.2], epochs=30)
    assert re.fullmatch(rf"2 trainings of 30 epochs \({LEFT}\)", again)


def test_a_search_tells_the_time_too():
    _, again = plans_of(search, lambda noise: Slow(), SPACE, epochs=30, num_trials=3)
    assert re.fullmatch(rf"3 trials of 30 epochs \(90 epochs, 90 evaluations; {LEFT}\)", again)
