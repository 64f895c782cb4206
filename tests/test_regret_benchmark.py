"""The regret benchmark: its problems train as they say, its halves share no family, and its truth is read correctly."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("mlxtend")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed with the library

from benchmarks.regret import data, figures, judge, page, record  # noqa: E402  # needs the path above
from benchmarks.regret.answers import Answer, Measures, append, ask_and_measure, read  # noqa: E402  # likewise
from benchmarks.regret.grid import (  # noqa: E402  # likewise
    NOT_RECORDED,
    Runs,
    SealedError,
    TaskGrid,
    load_grid,
    path_of,
    save_grid,
)
from benchmarks.regret.labs import FullLength, InOnePiece, Recordings  # noqa: E402  # likewise
from benchmarks.regret.problem import schedule_factor  # noqa: E402  # likewise
from benchmarks.regret.record import Job, Trainer, train_plain  # noqa: E402  # likewise
from benchmarks.regret.replay import HIGH, LOW  # noqa: E402  # likewise
from benchmarks.regret.table import Table  # noqa: E402  # likewise
from benchmarks.regret.tasks import BY_NAME, DESIGN, JUDGE, TASKS  # noqa: E402  # likewise
from benchmarks.regret.truth import truth  # noqa: E402  # likewise

from learnrate._selection.race import Race  # noqa: E402  # likewise


def name_of(task):
    return task.name


def same(first, second):
    return np.array_equal(first, second, equal_nan=True)


def a_grid(metric, *, untrained=1.0, diverged=(), spread=0.0):
    """A grid of one epoch whose validation losses are `metric`, and `spread` apart between three seeds."""
    metric = np.asarray(metric, float)
    values = metric[:, None] + spread * np.array([-1.0, 0.0, 1.0])
    diverged_at = np.full(values.shape, -1)
    diverged_at[list(diverged)] = 5
    runs = Runs(values[..., None], values[..., None], diverged_at)
    return TaskGrid(
        learning_rates=10.0 ** (np.arange(len(metric)) / 4 - 4),
        seeds=np.arange(3),
        steps=np.array([10]),
        epoch_ends=np.array([10]),
        untrained=np.full(3, untrained),
        own=runs,
        other=runs,
        seconds=1.0,
    )


BOWL = [1.0, 0.8, 0.5, 0.3, 0.105, 0.1, 0.102, 0.3, 2.0, math.nan]


# The problems


def built(task, seed=0):
    try:
        return task.build(seed)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        pytest.skip(f"the data are not here: {error}")


@pytest.mark.parametrize("name", ["narrow_bowl", "accumulation"])
def test_the_same_seed_trains_the_same_and_another_differs(name):
    task = BY_NAME[name]
    rate = task.learning_rates[16]
    first, again, other = (train_plain(task, rate, seed, marks=[10]) for seed in (0, 0, 1))
    assert same(first.val_loss, again.val_loss)
    assert not same(first.val_loss, other.val_loss)
    assert first.val_loss[-1] < first.untrained


def test_evaluations_change_nothing():
    task = BY_NAME["adagrad"]
    few = train_plain(task, 0.03, 0, marks=[25])
    many = train_plain(task, 0.03, 0, marks=range(5, 26, 5))
    assert few.val_loss[-1] == many.val_loss[-1]
    assert few.train_loss[-1] == pytest.approx(np.mean(many.train_loss))


def test_a_rate_beyond_the_cliff_is_recorded_as_diverged_and_the_rest_as_nan():
    run = train_plain(BY_NAME["narrow_bowl"], 100.0, 0, marks=[20, 40, 60])
    assert 0 <= run.diverged_at < 60
    assert len(run.val_loss) == 3
    assert np.isnan(run.val_loss).all()


@pytest.mark.parametrize("task", TASKS, ids=name_of)
def test_a_problem_is_what_it_says(task):
    state = torch.get_rng_state()
    parts = built(task)
    assert len(parts.train_loader) == task.steps_per_epoch * parts.accumulate
    assert max(group["lr"] for group in parts.optimizer.param_groups) == task.default_learning_rate
    assert len(task.learning_rates) == 29
    task.build(1)
    assert torch.equal(state, torch.get_rng_state())
    trainer = Trainer(task, 0)
    assert math.isfinite(trainer.evaluate())
    assert trainer.evaluate() == trainer.evaluate()
    assert math.isfinite(trainer.update(1e-8))


def test_the_halves_share_no_family_and_no_source_with_the_same_kind_of_network():
    assert len(BY_NAME) == len(TASKS)
    assert not {task.family for task in DESIGN} & {task.family for task in JUDGE}
    assert not {task.family[:2] for task in DESIGN} & {task.family[:2] for task in JUDGE}


def test_the_corpus_is_as_wide_as_it_says():
    assert len(TASKS) >= 60
    assert len(JUDGE) >= 24
    assert len({task.family for task in TASKS}) >= 24
    assert sum(task.total_steps >= 2000 for task in TASKS) >= 10
    assert sum(3 <= task.epochs <= 8 for task in TASKS) >= 15
    schedules = {task.schedule for task in TASKS}
    assert schedules == {
        "constant",
        "cosine",
        "linear",
        "step",
        "exponential",
        "one_cycle",
        "warmup_stable_decay",
    }


@pytest.mark.parametrize("task", TASKS, ids=name_of)
def test_a_schedule_peaks_at_one_on_every_horizon(task):
    for total in (task.total_steps, task.total_steps // 8):
        factor = schedule_factor(task, np.arange(total), total)
        assert factor.shape == (total,)
        assert factor.max() == pytest.approx(1.0, abs=0.05)  # on few steps one cycle steps over its peak
        assert (factor >= 0).all()


@pytest.mark.parametrize("task", TASKS, ids=name_of)
def test_a_schedule_is_the_one_that_learnrate_makes(task):
    from benchmarks.regret.methods import schedule_of

    ours = schedule_of(task)(1.0, task.total_steps).values()
    assert schedule_factor(task, np.arange(task.total_steps), task.total_steps) == pytest.approx(ours, abs=0.02)


def test_one_cycle_is_the_one_of_pytorch():
    task = BY_NAME["tiny"]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=100, cycle_momentum=False)
    rates = []
    for _ in range(99):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    assert schedule_factor(task, np.arange(99), 100) == pytest.approx(rates)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="known: constant"):
        schedule_factor(replace(DESIGN[0], schedule="sawtooth"), np.arange(3), 3)


def test_several_parameter_groups_keep_their_ratio():
    trainer = Trainer(BY_NAME["parameter_groups"], 0)
    trainer.update(0.02)
    assert [group["lr"] for group in trainer.parts.optimizer.param_groups] == pytest.approx([0.002, 0.02])


def test_muon_beside_adamw_does_what_pytorch_s_own_do():
    from benchmarks.regret.optimizers import MuonAndAdamW, matrices_and_others

    def trained(make):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
        optimizers = make(list(net.parameters()))
        inputs, targets = torch.randn(40, 6), torch.randn(40, 3)
        for _ in range(20):
            net.zero_grad()
            torch.nn.functional.mse_loss(net(inputs), targets).backward()
            for optimizer in optimizers:
                optimizer.step()
        return torch.cat([it.detach().flatten() for it in net.parameters()])

    def theirs(parameters):
        matrices, others = ([it for it in parameters if (it.ndim == 2) == wanted] for wanted in (True, False))
        return [torch.optim.Muon(matrices, weight_decay=0.0), torch.optim.AdamW(others, 1e-3, weight_decay=0.0)]

    ours = trained(lambda parameters: [MuonAndAdamW(matrices_and_others(parameters))])
    # PyTorch's Muon orthogonalises in bfloat16.
    assert ours == pytest.approx(trained(theirs), abs=2e-3)


# The recording


def rows_of(metric, seeds, variant="own"):
    """Finished runs by job, of a problem with one epoch, whose metric is a function of the rate's place."""
    return {Job(variant, seed, rate): {"untrained": 1.0, "val_loss": [metric(rate)] * 40} for rate, seed in seeds}


def test_a_recording_goes_outward_until_both_sides_are_clearly_worse():
    task = BY_NAME["mlp"]

    def metric(rate):
        return min(0.1 + 0.002 * (rate - 13) ** 2, 1.0)

    rows = rows_of(metric, [(rate, 0) for rate in range(0, 29, 2)])
    asked = []
    while jobs := record.missing(task, rows, "own"):
        asked += jobs
        rows |= rows_of(metric, [(job.rate, job.seed) for job in jobs])
    places = sorted({job.rate for job in asked} | {12, 14})
    assert places[0] <= 13 - 7  # 0.002 · 7² is a tenth of the way
    assert places[-1] >= 13 + 7
    assert all(b - a == 1 for a, b in pairwise(places))
    assert {job.seed for job in asked} == {0, 1, 2}


def test_a_recording_that_was_killed_goes_on(tmp_path):
    task = replace(BY_NAME["narrow_bowl"], name="narrow_bowl")
    (tmp_path / "narrow_bowl.jsonl").write_text(
        json.dumps({"variant": "own", "seed": 0, "rate": 3, "val_loss": [1.0]}) + '\n{"variant": "ow'
    )
    assert set(record.read(tmp_path, task)) == {Job("own", 0, 3)}


# The replay


@pytest.mark.parametrize("kind", [InOnePiece, FullLength])
@pytest.mark.parametrize("budget", [2.0, 4.0])
def test_trainings_in_one_piece_are_begun_anew_and_paid_in_full_and_tell_their_outcome_alone(kind, budget):
    task = BY_NAME["narrow_bowl"]
    lab = kind(Recordings({task.name: load_grid(task)}), task.name, seed=0, budget=budget, start=1.0)
    winner = Race(lab, LOW, HIGH, lab.start_rate, can_ramp=False).run()
    lengths = [trial.epochs for trial in lab.trials]
    assert winner is not None
    assert winner.epochs == task.epochs
    assert lab.spent == pytest.approx(sum(lengths) / task.epochs)
    assert lab.spent <= budget + 0.5 / task.epochs
    assert all(len(trial.curve) <= 1 for trial in lab.trials)
    assert (set(lengths) == {task.epochs}) == (kind is FullLength)
    rates = [trial.learning_rate for trial in lab.trials]
    assert (len(set(rates)) < len(rates)) == (kind is InOnePiece)


# The truth


def test_truth_of_a_bowl_beside_a_cliff():
    true = truth(a_grid(BOWL, diverged=[9]))
    assert true.best_rate == pytest.approx(10**-2.75)
    assert not true.at_edge
    assert true.window == pytest.approx((10**-3.0, 10**-2.5))
    assert true.cliff == pytest.approx(1e-2)  # worse than untrained, though finite
    assert true.regret[[0, 5, 8, 9]] == pytest.approx([1, 0, 1, 1])
    assert true.third_costs == pytest.approx(0.2 / 0.9)
    assert true.tenth_costs == pytest.approx(0.7 / 0.9)
    assert true.regret_of(np.array([0.1, 0.1, math.nan])) == pytest.approx(1 / 3)
    assert true.regret_near(10**-2.125) == pytest.approx((0.2 / 0.9 + 1) / 2)
    assert true.regret_near(1e3) == pytest.approx(1)


def test_noise_between_seeds_widens_the_window_and_floors_the_denominator():
    noisy = truth(a_grid(BOWL, spread=0.21))
    assert noisy.window == pytest.approx((10**-3.25, 10**-2.25))
    assert noisy.argmin[0] >= noisy.window[0]
    assert noisy.standard_error == pytest.approx(0.21 / math.sqrt(3) / 0.9)
    flat = truth(a_grid([1.0, 0.99, 0.98, 0.99], spread=0.5))
    assert flat.scale == pytest.approx(3 * flat.noise)
    assert flat.regret.max() < 0.1


def test_truth_does_not_move_when_losses_are_shifted_below_zero():
    up, down = truth(a_grid(BOWL)), truth(a_grid(np.array(BOWL) - 5, untrained=-4.0))
    assert down.regret == pytest.approx(up.regret)
    assert (down.window, down.cliff) == (up.window, up.cliff)


def test_a_late_divergence_is_a_cliff_and_its_best_epoch_still_counts():
    grid = a_grid([0.9, 0.5, 0.1, 0.2, 0.3], diverged=[3])
    true = truth(grid)
    assert true.cliff == pytest.approx(grid.learning_rates[3])
    assert true.regret[3] == pytest.approx(0.1 / 0.9)


def test_rates_without_all_seeds_do_not_win_but_are_told_of():
    grid = a_grid(BOWL)
    grid.own.diverged_at[5, 1:] = NOT_RECORDED
    true = truth(grid)
    assert true.best == pytest.approx(0.102)
    assert true.metric[5] == pytest.approx(0.1)
    grid.own.diverged_at[5] = NOT_RECORDED
    assert math.isnan(truth(grid).regret[5])
    grid.own.diverged_at[:] = NOT_RECORDED
    with pytest.raises(ValueError, match="record it first"):
        truth(grid)


def test_a_table_reads_gaps_off_what_lies_beside_them():
    grid = a_grid(BOWL, diverged=[9])
    grid.own.diverged_at[[1, 3]] = NOT_RECORDED
    grid.own.diverged_at[2, 1:] = NOT_RECORDED
    grid.own.val_loss[1], grid.own.val_loss[3] = math.nan, math.nan
    table = Table(grid)
    rates = grid.learning_rates
    assert table.loss(rates[1], 2, 10) == pytest.approx((1.0 + 0.5) / 2)
    assert table.loss(rates[2], 1, 10) == pytest.approx(0.5)
    assert table.loss(rates[2], 1, 5) == pytest.approx((1.0 + 0.5) / 2)  # halfway from the untrained loss
    assert table.diverged_at(rates[9], 0) == 5
    assert math.isnan(table.loss(rates[9], 0, 10))
    assert table.best_epochs[9] == pytest.approx(1.0)


def test_a_saved_grid_comes_back_as_it_was(tmp_path):
    grid = a_grid(BOWL)
    save_grid(grid, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as file:
        assert same(file["own/val_loss"], grid.own.val_loss)
        assert same(file["untrained"], grid.untrained)


@pytest.mark.parametrize("task", TASKS, ids=name_of)
def test_the_committed_recording_belongs_to_the_problem_as_it_is(task):
    grid = load_grid(task, unsealed=True)
    assert grid.learning_rates == pytest.approx(task.learning_rates)
    assert grid.own.val_loss.shape == (29, 3, len(task.marks))
    assert same(grid.steps, task.marks)
    if "Python sources" in task.family.data and not data.are_sources_recorded():
        pytest.skip("recorded on the standard library of another version of Python")
    built(task)
    # Another processor's arithmetic pretrains some of the networks a little differently.
    assert Trainer(task, 0).evaluate() == pytest.approx(grid.untrained[0], rel=0.02, abs=1e-3)


def test_recordings_are_small():
    assert sum(path.stat().st_size for path in path_of(DESIGN[0]).parents[1].rglob("*.npz")) < 4e6


# The judge


def test_the_judge_s_recordings_are_refused_to_everybody_else():
    with pytest.raises(SealedError, match="ask one of the design half"):
        load_grid(JUDGE[0])


def half_a_decade_off(task, seed):
    return Answer("", task.name, seed, 0.3, cost=2.0, with_final=True)


def test_answers_are_asked_for_once_and_measured_by_training(tmp_path):
    task = BY_NAME["narrow_bowl"]
    told = []
    for _ in range(2):
        ask_and_measure(tmp_path, {"mine": half_a_decade_off}, [task], processes=1, told=told.append)
    assert len(told) == 3 + 1  # three seeds asked, and one rate trained, once
    rows = list(read(tmp_path).values())
    measures = Measures(tmp_path, [task])
    assert all(measures.known(row) for row in rows)
    metrics = [record.best_epoch(task, train_plain(task, 0.3, seed)) for seed in range(3)]
    assert measures.regret(rows[0]) == pytest.approx(measures.truths[task.name].regret_of(np.array(metrics)))


def test_figures_say_how_far_off_the_answers_are(tmp_path):
    tasks = [BY_NAME["narrow_bowl"], BY_NAME["logistic_regression"]]
    measures = Measures(tmp_path, tasks)
    best = [Answer("m", it.name, 0, measures.truths[it.name].best_rate, 1.0) for it in tasks]
    found = figures.aggregate("m", figures.cases_of(best, measures))
    assert found["worst"][0] == pytest.approx(0, abs=1e-6)
    assert found["decades too fast, mean"] == pytest.approx((0, 0, 0))
    assert found["cost, median"][0] == 2
    nothing = figures.aggregate("m", figures.cases_of([Answer("m", it.name, 0, None) for it in tasks], measures))
    assert nothing["median"][0] == pytest.approx(1)
    assert nothing["without an answer"][0] == 1


def test_an_entry_is_written_before_the_look_and_kept_by_one_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "LEDGER", ROOT / "benchmarks/regret/no-such-ledger.jsonl")
    monkeypatch.setattr(judge, "git", lambda *words: "" if words[0] == "status" else "abc\n")
    try:
        first = judge.begin(("select_2",), "a test")
        assert judge.entries() == [first]
        assert judge.begin(("select_2",), "a test") == first
        first["figures"] = {"select_2": {"median": (0.0, 0.0, 0.0)}}
        judge.finish(first)
        assert judge.begin(("select_2",), "a second look")["number"] == 2
    finally:
        judge.LEDGER.unlink(missing_ok=True)


def test_a_tree_that_is_not_clean_is_not_judged(monkeypatch):
    monkeypatch.setattr(judge, "git", lambda *_: " M src/learnrate/_select.py\n")
    with pytest.raises(judge.click.UsageError, match="commit first"):
        judge.begin(("select_2",), "a test")


def test_the_tables_of_the_docs_are_those_of_the_ledger_and_say_of_which_commits():
    assert page.readme_part() in page.README.read_text()
    written = page.PAGE.read_text()
    assert all(part in written for part in page.page_parts().values())
    assert all(entry["figures"] for entry in judge.entries()), "a look that was begun has to be finished"
    for entry, _ in page.looks().values():
        assert entry["commit"][:12] in page.README.read_text()


def test_a_line_cut_off_is_left_out(tmp_path):
    append(tmp_path / "answers.jsonl", Answer("m", "mlp", 0, 0.1).__dict__)
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"method": "m"')
    assert list(read(tmp_path)) == [("m", "mlp", 0)]
