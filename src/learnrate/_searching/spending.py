"""What a search will spend, in trials, epochs, rungs, folds and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnrate._numbers import counted
from learnrate._searching.halving import brackets_of, cost_of
from learnrate._searching.own_rates import COST
from learnrate._searching.rounds import BUDGET, FIRST, LATER, halving_in_rounds, next_round
from learnrate._trials.spending import SpendingPlan

if TYPE_CHECKING:
    from learnrate._searching.halving import Bracket, Halving
    from learnrate._searching.plan import Plan


def spending_of(plan: Plan, num_folds: int) -> SpendingPlan:
    """Return what a search will spend: as its budget says where it has fewer trials than that many, else its trials."""
    num_trials = int(min(plan.num_trials, plan.space.size))
    budget = BUDGET * num_folds if plan.in_rounds and plan.budget is None else plan.budget
    epochs = counted(plan.epochs, "epoch")
    if plan.learning_rate == "select":
        return _selects(num_trials, budget, plan.epochs)
    cost = _cost(plan, num_trials, num_folds)
    if budget is not None and budget < cost:
        cost, trainings = budget, f"at most {counted(budget, 'training run')} of {epochs}"
    else:
        trainings = f"{counted(num_trials, 'trial')} of {epochs if plan.halving is None else f'at most {epochs}'}"
    total = round(cost * plan.epochs)
    return SpendingPlan(
        trainings + (f", each trial in {num_folds} folds" if num_folds > 1 else ""),
        cost,
        counted(total, "epoch"),
        counted(total, "evaluation"),
        "; ".join(part for part in (_rungs(plan, num_folds), _stages(plan)) if part),
        num_starts=round(cost / num_folds * _starts_a_run(plan)),
        num_together=num_trials * num_folds,
    )


def _selects(num_trials: int, budget: float | None, epochs: int) -> SpendingPlan:
    cost = COST * num_trials if budget is None else min(COST * num_trials, budget)
    return SpendingPlan(
        f"about {counted(cost, 'training run')} of {counted(epochs, 'epoch')}",
        cost,
        course=f"a select for each trial within {COST:g} of them, and another where its range was too narrow",
    )


def _cost(plan: Plan, num_trials: int, num_folds: int) -> float:
    """Return what so many trials cost at most, in full trainings."""
    if plan.halving is None or plan.in_rounds:
        return float(num_trials * num_folds)
    factor, replayed = plan.halving.factor, plan.build.replays
    brackets = [brackets_of(plan.halving, stage.trials, plan.epochs) for stage in plan.stages]
    return num_folds * sum(cost_of(each, factor, plan.epochs, replayed=replayed) for each in brackets)


def _starts_a_run(plan: Plan) -> float:
    """Return how many trials are built, to begin or to go on, in what costs a full training."""
    halving, epochs = plan.halving, plan.epochs
    if halving is None:
        return 1.0
    num_trials = FIRST if plan.in_rounds else plan.stages[0].trials
    brackets = brackets_of(halving, num_trials, epochs)
    starts = sum(one.candidates / halving.factor**rung for one in brackets for rung in range(len(one.rungs)))
    return starts / cost_of(brackets, halving.factor, epochs, replayed=plan.build.replays)


def _rungs(plan: Plan, num_folds: int) -> str:
    if plan.in_rounds:
        halving = halving_in_rounds(plan.epochs)
        budget = BUDGET if plan.budget is None else plan.budget / num_folds
        replayed = plan.build.replays
        first = next_round(halving, plan.epochs, budget, 0, plan.num_trials, replayed=replayed)
        if first is None:
            return ""
        left = budget - cost_of([first], halving.factor, plan.epochs, replayed=replayed)
        later = f", then rounds of {LATER} around the best" if left > 1 - 1e-9 else ""
        return counted(first.candidates, "trial") + _compared(first, halving) + later
    if plan.halving is None:
        return ""
    brackets = brackets_of(plan.halving, plan.stages[0].trials, plan.epochs)
    if len(brackets[0].rungs) == 1:
        return ""
    several = f" in {len(brackets)} brackets" if len(brackets) > 1 else ""
    return f"trials{several}{_compared(brackets[0], plan.halving)}"


def _compared(bracket: Bracket, halving: Halving) -> str:
    """Say after how many epochs the trials of a bracket are compared."""
    *earlier, last = bracket.rungs
    if not earlier or bracket.candidates == 1:
        return f" of {counted(last, 'epoch')}"
    epochs = " and ".join([*(f"{rung}" for rung in earlier[:-1]), counted(earlier[-1], "epoch")])
    return f" compared after {epochs}, where one in {halving.factor} goes on"


def _stages(plan: Plan) -> str:
    if len(plan.stages) == 1:
        return ""
    return "first " + ", then ".join(
        f"{' and '.join(stage.names)} ({counted(stage.trials, 'trial')})" for stage in plan.stages
    )
