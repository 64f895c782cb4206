"""Calibrates what `select` says beside the rate, on replays of the design half.

    python -m benchmarks.regret.calibrate              # prints what holds, writes learnrate/_selection/calibration.json

Two tables: the chance that no rate is more than 1 % better, by how late the winner was compared with its neighbours,
or how wide the interval is; and between which shares of the way another rate costs, by how far it was behind where it
ended, and when. What they hold is told of each family by tables made without it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret.labs import ReplayLab, WholeEpochs
from benchmarks.regret.record import SEEDS
from benchmarks.regret.replay import HIGH, LOW, STARTS, Bench
from benchmarks.regret.tasks import BY_NAME

from learnrate._selection import claims
from learnrate._selection.courses import Course, Courses
from learnrate._selection.race import Race

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.regret.truth import Truth

BUDGETS = (1.0, 1.3, 2.0, 3.0, 5.0)
GOOD = 0.01
BAND = (0.07, 0.93)
"""Quantiles: on families left out a band of 86 % holds in somewhat over 80 %."""
WHOLE = math.log10(HIGH / LOW)
"""Decades of an interval that is none."""
TABLE = Path(claims.__file__).with_name("calibration.json")
GRADES = 1 + len(claims.COMPARED) + len(claims.WIDE)


@dataclass(frozen=True)
class Rival:
    """Another rate of a case: its place in the table of costs, and what it costs in truth."""

    cell: tuple[int, int, int]
    cost: float


@dataclass(frozen=True)
class Case:
    """One replayed answer."""

    task: str
    lab: str
    budget: float
    width: float
    holds: bool
    """Whether the best rate, to a standard error, lies in the interval."""
    grade: int
    is_good: bool
    rivals: Sequence[Rival]

    @property
    def family(self) -> tuple[str, ...]:
        """Of its problem."""
        return BY_NAME[self.task].family


def case_of(lab: ReplayLab, true: Truth) -> Case | None:
    """Replay one race; None where it has no answer."""
    race = Race(lab, LOW, HIGH, lab.start_rate, can_ramp=not isinstance(lab, WholeEpochs))
    trial = race.run()
    if trial is None:
        return None
    courses = Courses(lab)
    winner = courses.of(trial.learning_rate)
    assert winner is not None
    low, high = claims.interval(courses, winner, race.low, race.high)
    first, last = np.log10(true.argmin)
    regret = true.regret_near(trial.learning_rate)
    return Case(
        task=lab.task,
        lab=type(lab).__name__,
        budget=float(lab.budget),
        width=high - low,
        holds=bool(first <= high + 1e-3 and last >= low - 1e-3),
        grade=claims.grade(courses, winner, high - low),
        is_good=regret <= GOOD,
        rivals=list(_rivals(courses, winner, true, regret)),
    )


def _rivals(courses: Courses, winner: Course, true: Truth, regret: float) -> Iterator[Rival]:
    for other in courses.all:
        behind = None if other is winner else claims.margin(courses, winner, other)
        if behind is not None and other.length < winner.length == courses.end:
            yield Rival(
                cell=claims.cell(courses, winner, other, behind),
                cost=true.regret_near(10**other.x) - regret,
            )


def replayed(bench: Bench) -> list[Case]:
    """Every case of the design half, at every budget, in steps and in whole epochs."""
    found: list[Case | None] = []
    for kind in (ReplayLab, WholeEpochs):
        for budget in BUDGETS:
            found += [
                case_of(kind(bench.recordings, task, seed, budget, start), true)
                for task, true in bench.truths.items()
                for start in STARTS
                for seed in SEEDS
            ]
            print(f"{kind.__name__} at budget {budget}: {len(found)} cases", flush=True)
    return [it for it in found if it is not None]


def weights(cases: Sequence[Case]) -> np.ndarray:
    """Each family counts alike."""
    counts = Counter(it.family for it in cases)
    return np.array([1 / counts[it.family] for it in cases])


def tables(cases: Sequence[Case]) -> dict[str, Any]:
    """The two tables."""
    weight = weights(cases)
    grades, good = np.array([it.grade for it in cases]), np.array([it.is_good for it in cases], dtype=float)
    chances = [
        float(np.average(good[grades == grade], weights=weight[grades == grade])) if (grades == grade).any() else 0.0
        for grade in range(GRADES)
    ]
    rivals = [(it, one) for it, case in zip(weight, cases, strict=True) for one in case.rivals]
    by_cell: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for it, one in rivals:
        by_cell.setdefault(one.cell, []).append((it, one.cost))
    costs = [
        [
            [_band(by_cell.get((length, apart, behind), [])) for behind in range(len(claims.MARGINS) + 1)]
            for apart in range(len(claims.APART) + 1)
        ]
        for length in range(len(claims.COMPARED) + 1)
    ]
    return {
        "confidence": np.round(np.minimum.accumulate(chances), 2).tolist(),
        "costs": [[_rising(row) for row in rows] for rows in costs],
    }


def _band(weighted: Sequence[tuple[float, float]]) -> tuple[float, float]:
    if not weighted:
        return 0.0, 1.0
    weight, cost = np.array(weighted).T
    order = np.argsort(cost)
    summed = np.cumsum(weight[order]) / weight.sum()
    low, high = np.interp(BAND, summed, cost[order])
    return float(low), float(high)


def _rising(row: Sequence[tuple[float, float]]) -> list[list[float]]:
    """What is further behind costs no less; what was ahead is of another kind."""
    ahead, *behind = row
    return np.round([ahead, *np.maximum.accumulate(np.array(behind))], 3).tolist()


def left_out(cases: Sequence[Case]) -> dict[str, Any]:
    """What the statements hold, each family by tables made without it."""
    told: list[tuple[int, float, bool]] = []
    bands: list[bool] = []
    for family in dict.fromkeys(it.family for it in cases):
        table = tables([it for it in cases if it.family != family])
        for case in (it for it in cases if it.family == family):
            told.append((case.grade, table["confidence"][case.grade], case.is_good))
            bands += [
                low <= one.cost <= high
                for one in case.rivals
                for low, high in [table["costs"][one.cell[0]][one.cell[1]][one.cell[2]]]
            ]
    return {"confidence": _reliability(told), "bands": round(float(np.mean(bands)), 3), "interval": _intervals(cases)}


def _reliability(told: Sequence[tuple[int, float, bool]]) -> list[dict[str, float]]:
    """By grade: how often a chance was said, the mean of it, and how often it held."""
    grade, said, held = np.array(told, dtype=float).T
    return [
        {
            "cases": int(here.sum()),
            "said": round(float(said[here].mean()), 3),
            "held": round(float(held[here].mean()), 3),
        }
        for here in (grade == each for each in range(GRADES))
        if here.any()
    ]


def _intervals(cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    found = {}
    for kind in dict.fromkeys(it.lab for it in cases):
        for budget in BUDGETS:
            chosen = [it for it in cases if (it.lab, it.budget) == (kind, budget) and it.width < WHOLE]
            if not chosen:
                continue
            found[f"{kind}, budget {budget:g}"] = {
                "holds": round(float(np.average([it.holds for it in chosen], weights=weights(chosen))), 3),
                "decades, median": round(float(np.median([it.width for it in chosen])), 2),
            }
    return found


def lines(table: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[str]:
    """What was made and what it holds, to be read."""
    yield f"chance that no rate is more than 1 % better, by grade: {table['confidence']}"
    for length, rows in enumerate(table["costs"]):
        for apart, row in enumerate(rows):
            yield f"costs, length {length}, apart {apart}: {row}"
    for name, figures in held["interval"].items():
        yield f"interval, {name:28} holds {figures['holds']:.1%}, {figures['decades, median']:.2f} decades wide"
    yield f"bands hold {held['bands']:.1%}"
    for it in held["confidence"]:
        yield f"said {it['said']:.0%}, held {it['held']:.0%} of {it['cases']}"


@click.command()
def main() -> None:
    """Make the tables, tell what they hold, and write them."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cases = replayed(Bench())
    table, held = tables(cases), left_out(cases)
    print("\n".join(lines(table, held)))
    assert all(math.isfinite(it) for it in table["confidence"])
    TABLE.write_text(json.dumps({**table, "left_out": held}, indent=1) + "\n")


if __name__ == "__main__":
    main()
