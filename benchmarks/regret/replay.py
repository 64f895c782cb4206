"""Replays `select`'s race on the recorded trainings of the design half, in seconds, so that ideas are cheap.

    python -m benchmarks.regret.replay run --budget 2           # every problem of the design half, three seeds
    python -m benchmarks.regret.replay budgets                  # what more budget buys, in steps and in whole epochs
    python -m benchmarks.regret.replay ablate                   # each rule off in turn, and each constant changed
    python -m benchmarks.regret.replay leave-one-out            # constants chosen without the family they meet

A replay sees the recorded trainings, whose batches come in another order than `select`'s own. Between two marks of a
recording losses are interpolated, and a learning rate between the grid's is taken for the nearest, at most an eighth of
a decade away. The race is begun at the rate that the problem comes with and at seven others around it, a quarter of a
decade apart, since a user's own may be any.
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
from benchmarks.regret.methods import schedule_of
from benchmarks.regret.record import SEEDS, Trainer
from benchmarks.regret.table import Table
from benchmarks.regret.tasks import BY_NAME
from benchmarks.regret.truth import truths

from learnrate._selection import evidence, race
from learnrate._selection.evidence import Evidence
from learnrate._selection.race import Race
from learnrate._trials.untrained import estimated
from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState
from learnrate.schedules import as_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.regret.grid import TaskGrid

    from learnrate._trials.spending import SpendingPlan

LOW, HIGH = 1e-7, 10.0  # `select`'s defaults
STARTS = 10.0 ** (np.arange(-4, 4) / 4)
"""By which the rate that a problem comes with is multiplied."""
DRIFTS, PROBES = (0.5, 0.75, 1.0), (1 / 8, 3 / 16, 1 / 4)


class Recordings:
    """What the race asks of the recordings: losses at the ends of epochs and at a step."""

    def __init__(self) -> None:
        grids = design_grids()
        self.tables = {name: Table(grid) for name, grid in grids.items()}
        self.training = {name: training_losses(grid) for name, grid in grids.items()}
        self.evaluation_steps = {name: _evaluation_steps(name) for name in self.tables}

    def untrained(self, task: str, seed: int) -> float:
        """Validation loss before training."""
        return float(self.tables[task].untrained[seed])

    def curve(self, task: str, rate: float, seed: int, last: int) -> tuple[dict[int, float], int | None]:
        """Losses at each epoch's end up to a step and there, and at which step it had diverged, if it had."""
        per_epoch = BY_NAME[task].steps_per_epoch
        diverged = self.tables[task].diverged_at(rate, seed)
        diverged = diverged if diverged is not None and diverged < last else None
        end = last if diverged is None else diverged
        wanted = [step for step in (*range(per_epoch, last, per_epoch), last) if step <= end]
        return {step: self.tables[task].loss(rate, seed, step) for step in wanted}, diverged

    def training_losses(self, task: str, rate: float, seed: int, steps: Sequence[int]) -> np.ndarray:
        """The mean training loss since the step before, or over the last mark where that is nearer."""
        marks = self.tables[task].steps
        sums = self.training[task][self.tables[task].place(rate), seed]
        first = np.minimum(np.concatenate([[0], steps[:-1]]), np.maximum(np.asarray(steps) - marks[1], 0))
        return (np.interp(steps, marks, sums) - np.interp(first, marks, sums)) / (steps - first)


def training_losses(grid: TaskGrid) -> np.ndarray:
    """The summed training loss (rates, seeds, 1 + marks) up to each mark; where it was not recorded, as in `Table`."""
    recorded, losses = grid.own.recorded, grid.own.train_loss.astype(float)
    known = np.flatnonzero(recorded[:, 0])
    for rate, seed in zip(*np.nonzero(~recorded), strict=True):
        beside = [int(it) for it in (*known[known <= rate][-1:], *known[known >= rate][:1])]
        losses[rate, seed] = losses[beside, 0].mean(0)
    sums = np.cumsum(losses * np.diff(grid.steps, prepend=0), axis=-1)
    return np.concatenate([np.zeros((*sums.shape[:2], 1)), sums], axis=-1)


def ramp(task: str, seed: int, rates: np.ndarray) -> np.ndarray:
    """Training losses while the rate rises, up to the first that is not finite: a few steps, trained anew."""
    trainer, losses = Trainer(BY_NAME[task], seed), []
    for rate in rates.tolist():
        losses.append(trainer.update(rate))
        if not math.isfinite(losses[-1]):
            break
    return np.array(losses)


def _evaluation_steps(task: str) -> float:
    parts = BY_NAME[task].build(0)
    per_step = len(parts.train_loader.dataset) / len(parts.train_loader) * parts.accumulate
    return len(parts.validation_loader.dataset) / per_step / 3


class ReplayLab:
    """What `Race` needs of a laboratory, on recordings."""

    metric = "val_loss"
    mode = "min"

    estimates_untrained = False
    in_one_piece = False

    def __init__(self, recordings: Recordings, task: str, seed: int, budget: float, start: float) -> None:
        it = BY_NAME[task]
        rates = recordings.tables[task].learning_rates
        self.start_rate = float(np.clip(it.default_learning_rate * start, rates[0], rates[-1]))
        self.recordings = recordings
        self.task, self.seed, self.budget = task, seed, budget
        self.epochs, self.total_steps, self._per_epoch = it.epochs, it.total_steps, it.steps_per_epoch
        self._evaluation = recordings.evaluation_steps[task]
        self._run_steps = self.total_steps + self.epochs * self._evaluation
        self.spent = self._evaluation / self._run_steps
        self._rates = as_values(schedule_of(it)(1.0, it.total_steps), 0, it.total_steps)
        self.untrained = {"val_loss": recordings.untrained(task, seed)}
        self.trials: list[Trial] = []

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
        return self.recordings.untrained(self.task, self.seed)

    def announce_plan(self, plan: SpendingPlan) -> None:
        """Nobody listens."""

    def announce(self, stage: str) -> None:
        """Nobody listens."""

    def steps(self, fraction: float) -> int:
        """A fraction of the horizon in steps."""
        return min(max(round(fraction * self.total_steps), 1), self.total_steps)

    def relative_rates(self, last_step: int) -> np.ndarray:
        """Rates of a training up to a step, in units of its learning rate."""
        return self._rates[:last_step]

    def steps_of(self, trial: Trial) -> int:
        """Steps that a trial has made."""
        return round(trial.epochs * self._per_epoch)

    def training_cost(self, first_step: int, last_step: int) -> float:
        """Cost of training from one step to another, in full runs."""
        if last_step <= first_step:
            return 0.0
        per = self._per_epoch
        evaluations = last_step // per - first_step // per + (last_step % per > 0)
        return (last_step - first_step + evaluations * self._evaluation) / self._run_steps

    def ramp(self, learning_rates: np.ndarray) -> np.ndarray:
        """Training losses of a range test, up to where it broke."""
        losses = ramp(self.task, self.seed, learning_rates)
        self.spent += len(losses) / self._run_steps
        return losses

    def start(self, learning_rate: float, last_step: int, *, stage: str) -> Trial:
        """A new trial up to a step."""
        return self._trial(len(self.trials), learning_rate, 0, last_step, stage)

    def start_all(self, learning_rates: Iterable[float], last_step: int, *, stage: str) -> Iterator[Trial]:
        """New trials up to a step, in their order."""
        for rate in learning_rates:
            yield self.start(rate, last_step, stage=stage)

    def resume(self, trial: Trial, last_step: int, *, stage: str) -> Trial:
        """A trial continued up to a step."""
        return self._trial(trial.number, trial.learning_rate, self.steps_of(trial), last_step, stage)

    def _trial(self, number: int, rate: float, first: int, last: int, stage: str) -> Trial:
        losses, diverged = self.recordings.curve(self.task, rate, self.seed, last)
        before = dict(self._rows(number)) if first else {}
        rows = before | losses
        end = last if diverged is None else diverged + 1
        self.spent += self.training_cost(first, end)
        steps = sorted(rows)
        values = np.array([rows[step] for step in steps], dtype=float)
        training = self.recordings.training_losses(self.task, rate, self.seed, steps) if steps else np.array([])
        trial = Trial(
            number=number,
            hyperparameters={"learning_rate": rate},
            state=TrialState.COMPLETE if diverged is None else TrialState.DIVERGED,
            curve=LearningCurve(
                epochs=np.array(steps) / self._per_epoch, metrics={"val_loss": values, "loss": training}
            ),
            value=float(np.nanmin(values)) if np.isfinite(values).any() else None,
            seed=self.seed,
            seconds=0.0,
            epochs=end / self._per_epoch,
            horizon=float(self.epochs),
            stage=stage,
        )
        self.trials[number : number + 1] = [trial]
        return trial

    def _rows(self, number: int) -> Iterator[tuple[int, float]]:
        curve = self.trials[number].curve
        for epoch, value in zip(curve.epochs, curve.values("val_loss"), strict=True):
            yield round(epoch * self._per_epoch), float(value)


class WholeEpochs(ReplayLab):
    """What `Race` needs of a laboratory that trains a function or a command: epoch by epoch, its start unknown."""

    estimates_untrained = True

    def __init__(self, recordings: Recordings, task: str, seed: int, budget: float, start: float) -> None:
        super().__init__(recordings, task, seed, budget, start)
        self.spent = 0.0
        self.untrained = {}

    @property
    def untrained_value(self) -> float | None:
        """The metric before training, as far as slow trainings show it."""
        return estimated(self.trials, self.metric, self.mode)

    def steps(self, fraction: float) -> int:
        """A fraction of the horizon in whole epochs."""
        return min(max(round(fraction * self.epochs), 1), self.epochs) * self._per_epoch


class Bench:
    """Replays the race on every case and tells its regrets."""

    def __init__(self) -> None:
        self.recordings = Recordings()
        self.truths = truths()

    def replay(
        self,
        budget: float,
        *,
        race: type[Race] = Race,
        lab: type[ReplayLab] = ReplayLab,
        starts: Sequence[float] | np.ndarray = STARTS,
    ) -> dict[str, np.ndarray]:
        """Regrets (starts × seeds,) and costs (starts × seeds,) as rows of one array, by task."""
        return {
            task: np.array(
                [self._case(lab(self.recordings, task, seed, budget, it), race) for it in starts for seed in SEEDS]
            ).T
            for task in self.truths
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
    "probes for a quarter of what may be lost": ({"PROBES": 0.25}, {}),
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


def left_out(bench: Bench, budget: float) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Each task's regrets and costs under constants chosen by the other families' mean regret."""
    tried: dict[tuple[float, float], dict[str, np.ndarray]] = {}
    for drift, probe in product(DRIFTS, PROBES):
        with constants(DRIFT=drift, PROBE=probe):
            tried[drift, probe] = bench.replay(budget)
        print(row_text(row_of(f"drift {drift}, probes of {probe:.3f}", tried[drift, probe])), flush=True)
    chosen = {}
    for task in bench.truths:
        score = {}
        for setting, found in tried.items():
            family = BY_NAME[task].family
            others = np.concatenate([rows[0] for name, rows in found.items() if BY_NAME[name].family != family])
            score[setting] = others.mean()
        chosen[task] = min(score, key=lambda setting: score[setting])
    return {task: tried[setting][task] for task, setting in chosen.items()}, chosen


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
    with constants(**dict(values)):
        found = Bench().replay(budget)
    for task, (regrets, costs) in found.items():
        print(f"{task:28} {' '.join(f'{it:7.2%}' for it in regrets)}   cost {np.median(costs):.2f}")
    print(row_text(row_of(f"budget {budget}", found)))


@main.command()
def budgets() -> None:
    """Replay every case at several budgets, in steps and in whole epochs from a start of 1e-3."""
    bench = Bench()
    for name, lab in (("steps", ReplayLab), ("whole epochs", WholeEpochs)):
        for budget in (1.0, 1.3, 2.0, 3.0, 5.0):
            print(row_text(row_of(f"{name}, budget {budget}", bench.replay(budget, lab=lab))), flush=True)


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
@budget_option
@click.option("--out", type=click.Path(path_type=Path), help="Also write the row to this JSON file.")
def leave_one_out(budget: float, out: Path | None) -> None:
    """Choose the constants without each family in turn, and try them on it."""
    found, chosen = left_out(Bench(), budget)
    for task, (drift, probe) in chosen.items():
        print(f"{task:28} {drift} {probe:.3f}  {' '.join(f'{it:7.2%}' for it in found[task][0])}")
    row = row_of("constants chosen without the family", found)
    print(row_text(row))
    if out is not None:
        out.write_text(json.dumps([row], indent=1) + "\n")


if __name__ == "__main__":
    main()
