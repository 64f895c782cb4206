"""The regret benchmark: its tasks train as they say, and its truth is read off a grid correctly."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("mlxtend")
sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is not installed with the library

from benchmarks.regret import data  # noqa: E402  # needs the path above
from benchmarks.regret.grid import GRID, TaskGrid, load_grid, save_grid  # noqa: E402  # needs the path above
from benchmarks.regret.record import Trainer, range_test_plain, train_plain  # noqa: E402  # after the path is set
from benchmarks.regret.tasks import BY_NAME, TASKS, schedule_factor  # noqa: E402  # after the path is set
from benchmarks.regret.truth import truth  # noqa: E402  # after the path is set


def same(first, second):
    return np.array_equal(first, second, equal_nan=True)


def a_grid(metric, *, untrained=1.0, diverged=(), spread=0.0):
    """A grid of one epoch whose validation losses are `metric`, and `spread` apart between three seeds."""
    metric = np.asarray(metric, float)
    shape = (len(metric), 3)
    values = metric[:, None] + spread * np.array([-1.0, 0.0, 1.0])
    diverged_at = np.full(shape, -1)
    diverged_at[list(diverged)] = 5
    nothing = np.full((*shape, 1), np.nan)
    return TaskGrid(
        learning_rates=10.0 ** (np.arange(len(metric)) / 4 - 4),
        seeds=np.arange(3),
        horizons=np.array([0.5]),
        untrained=np.full(3, untrained),
        val_loss=values[..., None],
        train_loss=nothing,
        accuracy=nothing,
        short=np.full((1, *shape), np.nan),
        diverged_at=diverged_at,
        range_rates=np.geomspace(1e-5, 1, 10),
        range_loss=np.full((3, 10), np.nan),
    )


BOWL = [1.0, 0.8, 0.5, 0.3, 0.105, 0.1, 0.102, 0.3, 2.0, math.nan]


@pytest.mark.parametrize("name", ["narrow_bowl", "accumulation"])
def test_the_same_seed_trains_the_same_and_another_differs(name):
    task = BY_NAME[name]
    rate = task.learning_rates[16]
    first, again, other = (train_plain(task, rate, seed, horizon_fraction=0.05) for seed in (0, 0, 1))
    assert same(first.val_loss, again.val_loss)
    assert not same(first.val_loss, other.val_loss)
    assert first.val_loss[-1] < first.untrained


def test_extra_evaluations_change_nothing_and_end_where_a_short_run_ends():
    task = BY_NAME["adagrad"]
    short = train_plain(task, 0.03, 0, horizon_fraction=1 / 16)
    long = train_plain(task, 0.03, 0, horizon_fraction=1 / 8, evaluate_at=[25])
    assert long.val_loss_at[25] == short.val_loss[-1]
    assert same(long.val_loss, train_plain(task, 0.03, 0, horizon_fraction=1 / 8).val_loss)


def test_a_rate_beyond_the_cliff_is_recorded_as_diverged_and_the_rest_as_nan():
    task = BY_NAME["narrow_bowl"]
    run = train_plain(task, 100.0, 0, horizon_fraction=0.2)
    assert 0 <= run.diverged_at < 60
    assert len(run.val_loss) == 3
    assert np.isnan(run.val_loss).all()
    curve = range_test_plain(task, 0)
    assert len(curve) == 100
    assert math.isfinite(curve[0])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_what_it_says(task):
    parts = task.build(0)
    assert len(parts.train_loader) == task.steps_per_epoch * parts.accumulate
    assert max(group["lr"] for group in parts.optimizer.param_groups) == task.default_learning_rate
    assert 150 <= task.total_steps <= 600
    assert 8 <= task.epochs <= 20
    assert len(task.learning_rates) == 29
    state = torch.get_rng_state()
    task.build(1)
    assert torch.equal(state, torch.get_rng_state())


def test_several_parameter_groups_keep_their_ratio():
    trainer = Trainer(BY_NAME["parameter_groups"], 0)
    trainer.update(0.02)
    assert [group["lr"] for group in trainer.parts.optimizer.param_groups] == pytest.approx([0.002, 0.02])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_schedule_peaks_at_one_on_every_horizon(task):
    for total in (task.total_steps, task.total_steps // 16):
        factor = schedule_factor(task, np.arange(total), total)
        assert factor.shape == (total,)
        assert factor.max() == pytest.approx(1.0, abs=0.03)  # on 16 steps one cycle steps over its peak
        assert (factor >= 0).all()


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
        schedule_factor(replace(TASKS[0], schedule="linear"), np.arange(3), 3)


def test_truth_of_a_bowl_beside_a_cliff():
    true = truth(a_grid(BOWL, diverged=[9]))
    assert true.best_rate == pytest.approx(10**-2.75)
    assert not true.at_edge
    assert true.window == pytest.approx((10**-3.0, 10**-2.5))
    assert true.cliff == true.first_break == pytest.approx(1e-2)  # worse than untrained, though finite
    assert true.regret[[0, 5, 8, 9]] == pytest.approx([1, 0, 1, 1])
    assert true.third_costs == pytest.approx(0.2 / 0.9)
    assert true.tenth_costs == pytest.approx(0.7 / 0.9)
    assert true.regret_of(np.array([0.1, 0.1, math.nan])) == pytest.approx(1 / 3)
    assert true.regret_near(10**-2.125) == pytest.approx((0.2 / 0.9 + 1) / 2)
    assert math.isnan(true.regret_near(1e3))


def test_noise_between_seeds_widens_the_window_and_floors_the_denominator():
    noisy = truth(a_grid(BOWL, spread=0.21))
    assert noisy.window == pytest.approx((10**-3.25, 10**-2.25))
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


def test_rates_that_are_not_recorded_neither_win_nor_break():
    grid = a_grid(BOWL)
    grid.diverged_at[5] = -2
    true = truth(grid)
    assert true.best == pytest.approx(0.102)
    assert math.isnan(true.regret[5])
    grid.diverged_at[:] = -2
    with pytest.raises(ValueError, match="record it first"):
        truth(grid)


def test_a_saved_grid_comes_back_as_it_was(tmp_path):
    grid = a_grid(BOWL)
    save_grid({"one": grid, "two": grid}, tmp_path / "grid.npz")
    back = load_grid(tmp_path / "grid.npz")
    assert list(back) == ["one", "two"]
    assert same(back["two"].val_loss, grid.val_loss)
    assert back["two"].epochs == 1


@pytest.mark.skipif(not GRID.exists(), reason="the grid is not recorded yet")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_committed_grid_belongs_to_the_tasks_as_they_are(task):
    grid = load_grid()[task.name]
    assert grid.learning_rates == pytest.approx(task.learning_rates)
    assert grid.val_loss.shape == (29, 3, task.epochs)
    if "Python sources" in task.description and not data.are_sources_recorded():
        pytest.skip("recorded on the standard library of another version of Python")
    assert Trainer(task, 0).evaluate()[0] == pytest.approx(grid.untrained[0], rel=1e-4)
