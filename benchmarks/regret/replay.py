"""Replays `select`'s policy on the recorded trainings of the design half, in seconds, so that ideas are cheap.

    python -m benchmarks.regret.replay run --budget 2           # every problem of the design half, three seeds
    python -m benchmarks.regret.replay ablate                   # each part of the method off in turn
    python -m benchmarks.regret.replay leave-one-out            # constants chosen without the family they meet

A replay sees the recorded trainings, whose batches come in another order than `select`'s own. Between two marks of a
recording losses are interpolated, and a learning rate between the grid's is taken for the nearest, at most an eighth of
a decade away. A range test is trained when it is first asked for, and kept in the file named by --ramps.
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
from benchmarks.regret.answers import append, lines
from benchmarks.regret.grid import design_grids
from benchmarks.regret.record import SEEDS, Trainer
from benchmarks.regret.table import Table
from benchmarks.regret.tasks import BY_NAME
from benchmarks.regret.truth import truths

from learnrate import suggestions
from learnrate._selection import policy as rules
from learnrate._selection.policy import Policy
from learnrate._trials.untrained import estimated
from learnrate.curves import LearningCurve
from learnrate.results import Trial, TrialState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LOW, HIGH = 1e-7, 10.0  # `select`'s defaults
TILTS, COMPARES = (0.05, 0.1, 0.15), (0.25, 0.3, 0.35)
RAMP_BLOCK = 8  # a range test looks whether it broke every so many steps


class Recordings:
    """What the policy asks of the recordings: losses at the ends of epochs and at a step, and range tests."""

    def __init__(self, ramps: Path | None) -> None:
        self.tables = {name: Table(grid) for name, grid in design_grids().items()}
        self.evaluation_steps = {name: _evaluation_steps(name) for name in self.tables}
        self._path = ramps
        self._ramps: dict[str, list[float]] = (
            {} if ramps is None else {row["ramp"]: row["losses"] for row in lines(ramps)}
        )

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

    def ramp(self, task: str, seed: int, rates: np.ndarray) -> np.ndarray:
        """Training losses while the rate rises, up to the first that is not finite."""
        key = f"{task}/{seed}/{len(rates)}/{rates[0]:.3e}-{rates[-1]:.3e}"
        if key not in self._ramps:
            trainer, losses = Trainer(BY_NAME[task], seed), []
            for rate in rates.tolist():
                losses.append(trainer.update(rate))
                if not math.isfinite(losses[-1]):
                    break
            self._ramps[key] = losses
            if self._path is not None:
                append(self._path, {"ramp": key, "losses": losses})
        return np.array([math.nan if loss is None else loss for loss in self._ramps[key]])


def _evaluation_steps(task: str) -> float:
    parts = BY_NAME[task].build(0)
    per_step = len(parts.train_loader.dataset) / len(parts.train_loader) * parts.accumulate
    return len(parts.validation_loader.dataset) / per_step / 3


class ReplayLab:
    """What `Policy` needs of a laboratory, on recordings."""

    metric = "val_loss"
    mode = "min"

    def __init__(self, recordings: Recordings, task: str, seed: int, budget: float) -> None:
        it = BY_NAME[task]
        self.recordings = recordings
        self.task, self.seed, self.budget = task, seed, budget
        self.epochs, self.total_steps, self._per_epoch = it.epochs, it.total_steps, it.steps_per_epoch
        self._evaluation = recordings.evaluation_steps[task]
        self._run_steps = self.total_steps + self.epochs * self._evaluation
        self.spent = self._evaluation / self._run_steps
        self.untrained: dict[str, float] = {}
        self.trials: list[Trial] = []
        self.warnings: list[str] = []

    @property
    def guess(self) -> float:
        """The learning rate that the problem comes with."""
        return BY_NAME[self.task].default_learning_rate

    @property
    def untrained_value(self) -> float | None:
        """The metric before training."""
        return self.recordings.untrained(self.task, self.seed)

    def announce(self, stage: str) -> None:
        """Nobody listens."""

    def steps(self, fraction: float) -> int:
        """A fraction of the horizon in steps."""
        return min(max(round(fraction * self.total_steps), 1), self.total_steps)

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
        losses = self.recordings.ramp(self.task, self.seed, learning_rates)
        made = 0
        while made < len(losses):
            made = min(made + RAMP_BLOCK, len(losses))
            if suggestions.broken_at(losses[:made], complete=False) is not None:
                break
        self.spent += made / self._run_steps
        return losses[:made]

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
        trial = Trial(
            number=number,
            hyperparameters={"learning_rate": rate},
            state=TrialState.COMPLETE if diverged is None else TrialState.DIVERGED,
            curve=LearningCurve(epochs=np.array(steps) / self._per_epoch, metrics={"val_loss": values}),
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
    """What `Policy` needs of a laboratory that trains a function or a command: epoch by epoch, its start unknown."""

    guess = 1e-3

    def __init__(self, recordings: Recordings, task: str, seed: int, budget: float) -> None:
        super().__init__(recordings, task, seed, budget)
        self.spent = 0.0

    @property
    def untrained_value(self) -> float | None:
        """The metric before training, as far as slow trainings show it."""
        return estimated(self.trials, self.metric, self.mode)

    def steps(self, fraction: float) -> int:
        """A fraction of the horizon in whole epochs."""
        return min(max(round(fraction * self.epochs), 1), self.epochs) * self._per_epoch


class Bench:
    """Replays the policy on every case and tells its regrets."""

    def __init__(self, ramps: Path | None) -> None:
        self.recordings = Recordings(ramps)
        self.truths = truths()

    def replay(
        self,
        budget: float,
        *,
        policy: type[Policy] = Policy,
        lab: type[ReplayLab] = ReplayLab,
        can_ramp: bool = True,
        seeds: Sequence[int] = SEEDS,
    ) -> dict[str, np.ndarray]:
        """Regrets (seeds,) and costs (seeds,) as rows of one array, by task."""
        found = {}
        for task in self.truths:
            rows = [self._case(lab(self.recordings, task, seed, budget), policy, can_ramp) for seed in seeds]
            found[task] = np.array(rows).T
        return found

    def _case(self, lab: ReplayLab, policy: type[Policy], can_ramp: bool) -> tuple[float, float]:
        winner = policy(lab, LOW, HIGH, lab.guess, can_ramp=can_ramp).run()
        true = self.truths[lab.task]
        if winner is None:
            return (true.untrained - true.best) / true.scale, lab.spent
        regret = true.regret_near(winner.learning_rate)
        return (regret if math.isfinite(regret) else (true.untrained - true.best) / true.scale), lab.spent


class NothingIsUnstable(Policy):
    """The policy without its rule that a training worse than none is on its way to break."""

    def _held(self, x: float) -> bool:
        return self._trials[x].state is TrialState.COMPLETE


class ComparesProbedRates(Policy):
    """The policy that takes the best probe as it is, and looks for no better place between two."""

    def _interpolated(self, losses: dict[float, float]) -> dict[float, float]:
        return {x: loss for x, loss in losses.items() if math.isfinite(loss)}


class ProbesUpward(Policy):
    """The policy without a probe below the range test's suggestion, unless that one is the best."""

    def _bracket(self, rung: list[float], first: Iterable[float], fraction: float, stage: str) -> None:
        start = next(iter(first))
        super()._bracket(rung, (start, start + rules.HALF), fraction, stage)


@contextmanager
def constants(**values: float) -> Iterator[None]:
    """The policy's constants, changed for a while."""
    before = {name: getattr(rules, name) for name in values}
    for name, value in values.items():
        setattr(rules, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(rules, name, value)


ABLATIONS: dict[str, tuple[dict[str, float], dict[str, Any]]] = {
    "the method": ({}, {}),
    "no range test: screen upward from the optimizer's default": ({}, {"can_ramp": False}),
    "no pull towards the range test's suggestion": ({"PULL": 0.0}, {}),
    "no tilt to the slower side": ({"TILT": 0.0}, {}),
    "no probe below the suggestion unless it leads": ({}, {"policy": ProbesUpward}),
    "no interpolation between probes": ({}, {"policy": ComparesProbedRates}),
    "no rule against what is worse than untrained": ({}, {"policy": NothingIsUnstable}),
    "no comparison at 0.3 of the horizon": ({"COMPARE": rules.PROBE}, {}),
    "a function or a command: whole epochs, no range test": ({}, {"can_ramp": False, "lab": WholeEpochs}),
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
    """Each task's regrets and costs under constants chosen by the other families' worst plus median regret."""
    tried: dict[tuple[float, float], dict[str, np.ndarray]] = {}
    for tilt, compare in product(TILTS, COMPARES):
        with constants(TILT=tilt, COMPARE=compare):
            tried[tilt, compare] = bench.replay(budget)
        print(row_text(row_of(f"tilt {tilt}, compare at {compare}", tried[tilt, compare])), flush=True)
    chosen = {}
    for task in bench.truths:
        score = {}
        for setting, found in tried.items():
            family = BY_NAME[task].family
            others = np.concatenate([rows[0] for name, rows in found.items() if BY_NAME[name].family != family])
            score[setting] = others.max() + np.median(others)
        chosen[task] = min(score, key=lambda setting: score[setting])
    return {task: tried[setting][task] for task, setting in chosen.items()}, chosen


ramps_option = click.option("--ramps", type=click.Path(path_type=Path), help="Keeps range tests, for the next time.")
budget_option = click.option("--budget", type=float, default=2.0, show_default=True)


@click.group()
def main() -> None:
    """Replay the policy on the recorded trainings of the design half."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@main.command()
@ramps_option
@budget_option
@click.option("--set", "values", nargs=2, multiple=True, type=(str, float), help="A constant of the policy, changed.")
def run(ramps: Path | None, budget: float, values: tuple[tuple[str, float], ...]) -> None:
    """Replay every case; print each task's regrets."""
    with constants(**dict(values)):
        found = Bench(ramps).replay(budget)
    for task, (regrets, costs) in found.items():
        print(f"{task:22} {' '.join(f'{it:7.2%}' for it in regrets)}   cost {np.median(costs):.2f}")
    print(row_text(row_of(f"budget {budget}", found)))


@main.command()
@ramps_option
@budget_option
@click.option("--out", type=click.Path(path_type=Path), help="Also write the rows to this JSON file.")
def ablate(ramps: Path | None, budget: float, out: Path | None) -> None:
    """Replay every case with each part of the method off in turn."""
    rows = []
    for row in ablations(Bench(ramps), budget):
        rows.append(row)
        print(row_text(row), flush=True)
        if out is not None:
            out.write_text(json.dumps(rows, indent=1) + "\n")


@main.command("leave-one-out")
@ramps_option
@budget_option
@click.option("--out", type=click.Path(path_type=Path), help="Also write the row to this JSON file.")
def leave_one_out(ramps: Path | None, budget: float, out: Path | None) -> None:
    """Choose the constants without each family in turn, and try them on it."""
    found, chosen = left_out(Bench(ramps), budget)
    for task, (tilt, compare) in chosen.items():
        print(f"{task:22} {tilt} {compare}  {' '.join(f'{it:7.2%}' for it in found[task][0])}")
    row = row_of("constants chosen without the family", found)
    print(row_text(row))
    if out is not None:
        out.write_text(json.dumps([row], indent=1) + "\n")


if __name__ == "__main__":
    main()
