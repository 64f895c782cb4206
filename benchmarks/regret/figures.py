"""How good the rest of a recommendation is, and whether a range test knows when it is wrong."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.regret.answers import Answer, Judge

GOOD = 0.01
BAD = 0.05
LARGEST_TRIED = 10.0  # by default


def select_figures(rows: Sequence[Answer], judge: Judge) -> dict[str, float]:
    """Each figure that is promised, over all answers; those that the grid cannot tell are left out of its mean."""
    found = [row for row in rows if row.learning_rate is not None]
    return {
        "share of the interval that is good": _mean(found, judge, interval_precision),
        "interval over the true window, median": _median(found, judge, interval_coverage),
        "cliff within a factor 2": _mean(found, judge, cliff_right),
        "epochs within 15 % or costing under 1 %": _mean(found, judge, epochs_right),
        "slower costs within a quarter": _mean(found, judge, slower_right),
        "slower costs within a quarter, or 2 points": _mean(found, judge, slower_nearly),
        "pairs of seeds within a factor 2": _pairs_within(found, 2.0),
        "answers that diverge for a seed": float(np.mean([diverges(row, judge) for row in rows])),
        "without an answer": 1 - len(found) / len(rows),
        "cost, median": float(np.median([row.cost for row in rows])),
        "cost, largest": max(row.cost for row in rows),
    }


def interval_precision(row: Answer, judge: Judge) -> float:
    """Share of the grid's rates inside the interval that are within 1 % or the noise; NaN where none is inside."""
    if not row.details["interval"]:
        return np.nan
    low, high = row.details["interval"]
    true = judge.truths[row.task]
    inside = (true.learning_rates >= low / 1.001) & (true.learning_rates <= high * 1.001)
    return float(np.mean(_good(row.task, judge)[inside])) if inside.any() else np.nan


def _good(task: str, judge: Judge) -> np.ndarray:
    true = judge.truths[task]
    allowed = GOOD * (true.untrained - true.best) + true.noise
    return true.metric <= true.best + allowed


def interval_coverage(row: Answer, judge: Judge) -> float:
    """Width of the interval's part inside the true window over the window's, both on the log scale.

    The window's ends lie on the grid; the true ones lie up to a step beyond, half a step on average.
    """
    if not row.details["interval"]:
        return 0.0
    low, high = np.log10(row.details["interval"])
    first, last = np.log10(judge.truths[row.task].window)
    first, last = first - 0.125, last + 0.125
    return max(min(high, last) - max(low, first), 0.0) / (last - first)


def cliff_right(row: Answer, judge: Judge) -> float:
    """Whether the largest stable rate lies within a factor 2 of where training truly breaks.

    On the grid that lies between two rates: the last that held for most seeds and the first that did not. Where that
    is beyond the largest rate that `select` may try, "nothing breaks" is right as well.
    """
    cliff, said = judge.truths[row.task].cliff, row.details["largest_stable"]
    if not np.isfinite(cliff):
        return np.nan
    if said is None:
        return float(cliff / 10**0.25 > LARGEST_TRIED)
    return float(cliff / 10**0.25 / 2 <= said <= cliff * 2)


def epochs_right(row: Answer, judge: Judge) -> float:
    """Whether the epochs said are within 15 % of the best epoch's place at that rate, or cost under 1 % instead."""
    place = judge.place(row.task, row.learning_rate or 1.0)
    if place is None or row.details["epochs"] is None:
        return np.nan
    grid, true = judge.grids[row.task], judge.truths[row.task]
    curves = np.where(np.isfinite(grid.val_loss[place]), grid.val_loss[place], np.inf).astype(float)
    best = np.mean(curves.argmin(-1) + 1)
    stopped = curves[:, : max(round(row.details["epochs"]), 1)].min(-1)
    cost = (np.minimum(stopped, true.untrained).mean() - judge.best[row.task][place].mean()) / true.scale
    return float(abs(row.details["epochs"] - best) <= 0.15 * grid.epochs or cost < GOOD)


def slower_right(row: Answer, judge: Judge, points: float = 0.0) -> float:
    """Share of the costs of slower rates that are within a quarter of the truth: or within the noise, or 1 point."""
    true = judge.truths[row.task]
    here = judge.regret(row)
    allowed = max(true.noise / true.scale, GOOD, points)
    right = []
    for rate, said in row.details["slower"]:
        cost = true.regret_near(rate) - max(here, 0.0)
        if np.isfinite(cost) and said is not None:
            right.append(abs(said - cost) <= max(0.25 * abs(cost), allowed))
    return float(np.mean(right)) if right else np.nan


def slower_nearly(row: Answer, judge: Judge) -> float:
    return slower_right(row, judge, 0.02)


def diverges(row: Answer, judge: Judge) -> bool:
    """Whether training at the answer broke for any of the grid's seeds."""
    place = None if row.learning_rate is None else judge.place(row.task, row.learning_rate)
    return place is not None and bool((judge.grids[row.task].diverged_at[place] >= 0).any())


def _pairs_within(rows: Sequence[Answer], factor: float) -> float:
    tasks: dict[str, list[float]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(float(np.log10(row.learning_rate or 1.0)))
    apart = [abs(a - b) for rates in tasks.values() for a, b in combinations(rates, 2)]
    return float(np.mean(np.array(apart) <= np.log10(factor))) if apart else np.nan


def _mean(rows: Sequence[Answer], judge: Judge, figure: Callable[[Answer, Judge], float]) -> float:
    return float(np.nanmean([figure(row, judge) for row in rows]))


def _median(rows: Sequence[Answer], judge: Judge, figure: Callable[[Answer, Judge], float]) -> float:
    return float(np.nanmedian([figure(row, judge) for row in rows]))


def select_text(rows: Sequence[Answer], judge: Judge) -> str:
    lines = [f"{name:48} {value:8.3f}" for name, value in select_figures(rows, judge).items()]
    worst = sorted(rows, key=judge.regret, reverse=True)[:12]
    lines += ["", f"{'worst':20} seed     rate     best   regret  cost  interval"]
    for row in worst:
        true = judge.truths[row.task]
        interval = " to ".join(f"{end:.1e}" for end in row.details["interval"] or ())
        lines.append(
            f"{row.task:20} {row.seed:4d} {row.learning_rate or 0:8.1e} {true.best_rate:8.1e} {judge.regret(row):8.2%}"
            f" {row.cost:5.2f}  {interval}  true {true.window[0]:.1e} to {true.window[1]:.1e}"
        )
    lines += ["", "missed by task (interval precision, coverage, cliff, epochs, slower; means over seeds)"]
    for task in dict.fromkeys(row.task for row in rows):
        mine = [row for row in rows if row.task == task]
        parts = (interval_precision, interval_coverage, cliff_right, epochs_right, slower_right)
        with np.errstate(all="ignore"):
            lines.append(f"{task:20} " + " ".join(f"{np.mean([p(row, judge) for row in mine]):6.2f}" for p in parts))
    return "\n".join(lines)


def flagged(row: Answer) -> bool:
    """Whether a range test said that its suggestion is not to be trusted: by its verdict, or by a doubt about it."""
    return row.details["verdict"] != "found" or any("our suggestion may be off" in it for it in row.details["warnings"])


def range_test_figures(rows: Sequence[Answer], judge: Judge) -> dict[str, float]:
    bad = [row for row in rows if judge.regret(row) > BAD]
    fine = [row for row in rows if judge.regret(row) <= BAD]
    return {
        "cases over 5 %": len(bad),
        "of these, warned of": float(np.mean([flagged(row) for row in bad])) if bad else np.nan,
        "of the others, warned of": float(np.mean([flagged(row) for row in fine])),
        "no suggestion at all": sum(row.learning_rate is None for row in rows),
        "suggestion withheld": sum(bool(row.details["withheld"]) for row in rows),
    }


def range_test_text(rows: Sequence[Answer], judge: Judge) -> str:
    lines = [f"{name:48} {value:8.3f}" for name, value in range_test_figures(rows, judge).items()]
    for row in sorted(rows, key=judge.regret, reverse=True)[:16]:
        rate = row.learning_rate or 0
        lines.append(
            f"{row.task:20} {row.seed} {rate:8.1e} {judge.regret(row):8.2%} {'warned' if flagged(row) else ''}"
        )
    return "\n".join(lines)
