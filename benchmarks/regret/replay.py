"""Replays `select`'s race on the recorded trainings of the design half, in seconds, so that ideas are cheap.

    python -m benchmarks.regret.replay run --budget 2           # every problem of the design half, three seeds
    python -m benchmarks.regret.replay budgets                  # what more budget buys, for every kind of training
    python -m benchmarks.regret.replay ablate                   # each rule off in turn, and each constant changed
    python -m benchmarks.regret.replay leave-one-out            # constants chosen without the family they meet

The race is begun at the rate that the problem comes with and at seven others around it, a quarter of a decade apart,
since a user's own may be any.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from benchmarks.regret.grid import design_grids
from benchmarks.regret.labs import FullLength, InOnePiece, Recordings, ReplayLab, WholeEpochs
from benchmarks.regret.record import SEEDS
from benchmarks.regret.tasks import BY_NAME
from benchmarks.regret.truth import truths

from learnrate._selection import evidence, race
from learnrate._selection.evidence import Evidence
from learnrate._selection.race import Race

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LOW, HIGH = 1e-7, 10.0  # `select`'s defaults
STARTS = 10.0 ** (np.arange(-4, 4) / 4)
"""By which the rate that a problem comes with is multiplied."""
LEFT_OUT_BUDGETS = (2.0, 3.0)
TRIED: Mapping[str, Sequence[float]] = {
    "DRIFT": (0.5, 0.75, 1.0),
    "PROBE": (1 / 8, 3 / 16, 1 / 4),
    "SCREEN": (1 / 64, 1 / 32, 1 / 16),
    "PROBES": (0.25, 0.5, 0.75, 1.0),
    "NEAR": (0.05, 0.1, 0.2),
    "MOVED": (0.0, 0.005, 0.01, 0.02),
    "THREE": (0.5, 0.6, 0.8, 2.0),
}
"""Values that the race's constants may be given when they are chosen without a family."""
LABS: Mapping[str, tuple[type[ReplayLab], Sequence[float]]] = {
    "steps": (ReplayLab, (1.0, 1.3, 2.0, 3.0, 5.0)),
    "whole epochs": (WholeEpochs, (1.0, 1.3, 2.0, 3.0, 5.0)),
    "in one piece of any length": (InOnePiece, (2.0, 3.0, 4.0, 6.0)),
    "in one piece of full length": (FullLength, (2.0, 3.0, 4.0, 6.0)),
}


class Bench:
    """Replays the race on every case and tells its regrets."""

    def __init__(self) -> None:
        self.recordings = Recordings(design_grids())
        self.truths = truths()

    def replay(
        self,
        budget: float,
        *,
        race: type[Race] = Race,
        lab: type[ReplayLab] = ReplayLab,
        starts: Sequence[float] | np.ndarray = STARTS,
    ) -> dict[str, np.ndarray]:
        """Regrets (starts × seeds,) and costs (starts × seeds,) as rows of one array, by what the lab can train."""
        return {
            task: np.array(
                [self._case(lab(self.recordings, task, seed, budget, it), race) for it in starts for seed in SEEDS]
            ).T
            for task in self.truths
            if BY_NAME[task].schedule == "constant" or not lab.in_one_piece
        }

    def _case(self, lab: ReplayLab, race: type[Race]) -> tuple[float, float]:
        winner = race(lab, LOW, HIGH, lab.start_rate, can_ramp=not isinstance(lab, WholeEpochs)).run()
        true = self.truths[lab.task]
        regret = (true.untrained - true.best) / true.scale if winner is None else true.regret_near(winner.learning_rate)
        return regret, lab.spent


class RungsByStep(Race):
    """The race whose rungs lie at shares of the steps."""

    def _step(self, share: float) -> int:
        return self.lab.steps(share)


class NoLastComparison(Race):
    """The race that trains what the probes promise, without comparing it with a neighbour."""

    def _compared(self, center: float) -> list[int]:
        return [self._nearest(center)]


class BestProbe(Race):
    """The race that goes on from the best probe instead of the bottom of the parabola."""

    def _bottom(self, rung: dict[int, float]) -> float:
        return min(rung, key=lambda place: (rung[place], place))


class ByValidation(Evidence):
    """Evidence by validation even where it lags behind the training."""

    @property
    def _validation_lags(self) -> bool:
        return False


class ValidationAlone(Race):
    """The race that goes by validation even where it lags behind the training."""

    evidence = ByValidation


class OneDrift(Race):
    """The race whose drift follows the summed rate to a power, whatever the schedule."""

    def _drift(self, step: int) -> float:
        return 0.3 * math.log10(1 / self._spent_rate[step - 1]) / race.QUARTER


@contextmanager
def constants(**values: float) -> Iterator[None]:
    """The race's constants, changed for a while in each module that goes by them."""
    before = {(room, name): getattr(room, name) for name in values for room in (race, evidence) if hasattr(room, name)}
    for room, name in before:
        setattr(room, name, values[name])
    try:
        yield
    finally:
        for (room, name), value in before.items():
            setattr(room, name, value)


ABLATIONS: dict[str, tuple[dict[str, float], dict[str, Any]]] = {
    "the race": ({}, {}),
    "rungs at shares of the steps, not of the summed rate": ({}, {"race": RungsByStep}),
    "no drift: a short training's best rate is a long one's": ({"DRIFT": 0.0}, {}),
    "half of the bound's drift": ({"DRIFT": 0.5}, {}),
    "all of the bound's drift": ({"DRIFT": 1.0}, {}),
    "one drift for every schedule": ({}, {"race": OneDrift}),
    "validation decides even where it lags": ({}, {"race": ValidationAlone}),
    "no bottom of a parabola: the best probe as it is": ({}, {"race": BestProbe}),
    "the screen stops at the first worse rate": ({"NEAR": 0.0, "MOVED": 0.0}, {}),
    "what has not moved is a bracket too": ({"MOVED": 0.0}, {}),
    "near is 0.2 of the way": ({"NEAR": 0.2}, {}),
    "a screen of 1/16": ({"SCREEN": 1 / 16}, {}),
    "probes of 1/8": ({"PROBE": 1 / 8}, {}),
    "probes of 1/4": ({"PROBE": 1 / 4}, {}),
    "probes for half of what may be lost": ({"PROBES": 0.5}, {}),
    "probes for all of it": ({"PROBES": 1.0}, {}),
    "what lies within half a hundredth is told apart": ({"MOVED": 0.005}, {}),
    "two finalists always": ({"THREE": 2.0}, {}),
    "no last comparison": ({}, {"race": NoLastComparison}),
}


def row_of(name: str, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A row of a table: median, worst and mean regret, shares over 2 and 5 %, median cost."""
    regrets = np.concatenate([rows[0] for rows in found.values()])
    costs = np.concatenate([rows[1] for rows in found.values()])
    return {
        "name": name,
        "median": float(np.median(regrets)),
        "mean": float(regrets.mean()),
        "worst": float(regrets.max()),
        "over_2": float(np.mean(regrets > 0.02)),
        "over_5": float(np.mean(regrets > 0.05)),
        "cost": float(np.median(costs)),
    }


def row_text(row: Mapping[str, Any]) -> str:
    return (
        f"{row['name']:50} median {row['median']:6.2%}  mean {row['mean']:6.2%}  worst {row['worst']:6.1%}"
        f"  over 2 % {row['over_2']:4.0%}  over 5 % {row['over_5']:4.0%}  cost {row['cost']:.2f}"
    )


def ablations(bench: Bench, budget: float) -> Iterator[dict[str, Any]]:
    for name, (values, settings) in ABLATIONS.items():
        with constants(**values):
            yield row_of(name, bench.replay(budget, **settings))


def left_out(bench: Bench, tried: Sequence[Mapping[str, float]]) -> tuple[dict[str, np.ndarray], list[int]]:
    """Each task's regrets and costs under the constants that are best by the other families' mean regret; and which."""
    found = []
    for values in tried:
        with constants(**values):
            found.append(_joined([bench.replay(budget) for budget in LEFT_OUT_BUDGETS]))
    chosen = []
    for task in bench.truths:
        others = [name for name in bench.truths if BY_NAME[name].family != BY_NAME[task].family]
        chosen.append(int(np.argmin([np.concatenate([rows[name][0] for name in others]).mean() for rows in found])))
    return {task: found[index][task] for task, index in zip(bench.truths, chosen, strict=True)}, chosen


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {task: np.concatenate([part[task] for part in parts], axis=1) for task in parts[0]}


def left_out_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """One row for the constants as they are, and one for each chosen anew: alone, and the first two together."""
    yield row_of("as they are", _joined([bench.replay(budget) for budget in LEFT_OUT_BUDGETS]))
    drifts, probes = ([{name: value} for value in TRIED[name]] for name in ("DRIFT", "PROBE"))
    settings = {name: [{name: value} for value in values] for name, values in TRIED.items()}
    settings["DRIFT and PROBE"] = [one | other for one, other in product(drifts, probes)]
    for name, tried in settings.items():
        found, chosen = left_out(bench, tried)
        counts = ", ".join(
            f"{' and '.join(f'{value:.3g}' for value in tried[index].values())} ({chosen.count(index)})"
            for index in sorted(set(chosen), key=lambda index: -chosen.count(index))
        )
        yield row_of(f"{name}: {counts}", found)


budget_option = click.option("--budget", type=float, default=2.0, show_default=True)


@click.group()
def main() -> None:
    """Replay the race on the recorded trainings of the design half."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@main.command()
@budget_option
@click.option("--set", "values", nargs=2, multiple=True, type=(str, float), help="A constant of the race, changed.")
def run(budget: float, values: tuple[tuple[str, float], ...]) -> None:
    """Replay every case; print each task's regrets."""
    with constants(**{name: type(getattr(race, name))(value) for name, value in values}):
        found = Bench().replay(budget)
    for task, (regrets, costs) in found.items():
        print(f"{task:28} {' '.join(f'{it:7.2%}' for it in regrets)}   cost {np.median(costs):.2f}")
    print(row_text(row_of(f"budget {budget}", found)))


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help="Also write the rows to this JSON file.")
def budgets(out: Path | None) -> None:
    """Replay every case at several budgets: in steps, in whole epochs, and in one piece under constant schedules."""
    bench, rows = Bench(), []
    for name, (lab, several) in LABS.items():
        for budget in several:
            rows.append(row_of(f"{name}, budget {budget:g}", bench.replay(budget, lab=lab)))
            print(row_text(rows[-1]), flush=True)
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n")


@main.command()
@budget_option
@click.option("--out", type=click.Path(path_type=Path), help="Also write the rows to this JSON file.")
def ablate(budget: float, out: Path | None) -> None:
    """Replay every case with each part of the method off in turn."""
    rows = []
    for row in ablations(Bench(), budget):
        rows.append(row)
        print(row_text(row), flush=True)
        if out is not None:
            out.write_text(json.dumps(rows, indent=1) + "\n")


@main.command("leave-one-out")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the rows to this JSON file.")
def leave_one_out(out: Path | None) -> None:
    """Choose each constant without each family in turn, and try it on that family."""
    rows = []
    for row in left_out_rows(Bench()):
        rows.append(row)
        print(row_text(row), flush=True)
        if out is not None:
            out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
