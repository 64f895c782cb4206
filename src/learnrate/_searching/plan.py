"""What a search is asked, checked before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from learnrate import _checks
from learnrate._searching.build import Builder
from learnrate._searching.halving import Halving, halving_of
from learnrate._searching.own_rates import COST
from learnrate._searching.rounds import BUDGET, halving_in_rounds
from learnrate._searching.samplers import SamplerName, check_sampler
from learnrate._searching.space import LEARNING_RATE, Choice, Parameter, Space
from learnrate._searching.stages import Stage, stages_of
from learnrate.errors import InvalidArgumentError
from learnrate.schedules import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.curves import Mode

NUM_TRIALS = 20
"""Trials where neither their number nor a budget is given: enough for a few hyperparameters."""


class Plan(NamedTuple):
    """What is asked, checked."""

    build: Builder
    space: Space
    epochs: int
    sampler: SamplerName
    num_trials: int
    budget: float | None
    halving: Halving | None
    stages: list[Stage]
    learning_rate: float | str | None
    metric: str
    mode: Mode
    seed: int
    settings: dict[str, Any]
    in_rounds: bool = False

    def cost_limit(self, folds: int) -> float | None:
        """Return what the search will spend at most, where that is known."""
        if self.in_rounds:
            return BUDGET * folds if self.budget is None else self.budget
        whole = float(self.num_trials * folds) if self.halving is None and self.learning_rate != "select" else None
        return whole if self.budget is None else self.budget if whole is None else min(self.budget, whole)


def planned(build: Callable[..., Any], space: Space, *, num_folds: int | None, **asked: Any) -> Plan:
    """Check everything that can be checked before any training."""
    epochs, sampler, budget, rate = asked["epochs"], asked["sampler"], asked["budget"], asked["learning_rate"]
    in_rounds = rate != "select" and all(asked[one] is None for one in ("sampler", "num_trials", "halving", "stages"))
    if in_rounds and space.size <= (BUDGET if budget is None else _checks.budget_number(budget) / (num_folds or 1)):
        in_rounds, sampler = False, "grid"
    sampler = ("around" if in_rounds else "tpe") if sampler is None else sampler
    check_sampler(sampler, space)
    _checks.metric_name(asked["metric"])
    if budget is not None:
        least = COST if rate == "select" else float(num_folds or 1)
        if _checks.budget_number(budget) < least:
            why = "its own select" if rate == "select" else "one a fold"
            raise InvalidArgumentError(
                f"budget is {budget:g}, and one candidate takes {least:g} full trainings ({why}): pass at least that"
            )
    if rate is not None and rate != "select":
        _checks.positive_number("learning_rate", rate)
    if rate is not None and LEARNING_RATE in space:
        raise InvalidArgumentError(
            "the learning rate is in the space and given as learning_rate=: leave one of them out"
        )
    if LEARNING_RATE in space:
        _require_learning_rates(space[LEARNING_RATE])
    builder = Builder(build, space, folded=num_folds is not None, learning_rate=rate)
    halving = halving_in_rounds(epochs) if in_rounds else halving_of(asked["halving"], epochs)
    count = asked["num_trials"]
    count = None if count is None else _checks.positive_integer("num_trials", count)
    if sampler == "grid":
        _require_whole_grid(space, count, None if budget is None else budget / (num_folds or 1), halving)
    if count is None:
        count = int(min(space.size, 10**6)) if sampler == "grid" or in_rounds or budget is not None else NUM_TRIALS
    stages = stages_of(asked["stages"], space, count, builder.defaults)
    settings: dict[str, Any] = {
        "space": space.describe(),
        "epochs": epochs,
        "sampler": sampler,
        "num_trials": count,
        "budget": budget,
        "halving": None if halving is None else {name: getattr(halving, name) for name in halving.__struct_fields__},
        "stages": [stage.names for stage in stages],
        "learning_rate": rate,
        "schedule": describe(asked["schedule"]),
        "metric": asked["metric"],
        "mode": asked["mode"],
        "seed": asked["seed"],
    } | ({"in_rounds": True} if in_rounds else {})
    own = {name: asked[name] for name in ("epochs", "budget", "learning_rate", "metric", "mode", "seed")}
    own |= {"budget": None if budget is None else float(budget)}
    own |= {"sampler": sampler, "num_trials": count, "stages": stages, "in_rounds": in_rounds}
    return Plan(build=builder, space=space, halving=halving, settings=settings, **own)


def _require_learning_rates(given: Parameter) -> None:
    """Refuse learning rates to choose from that are not all finite numbers above 0."""
    for value in given.values if isinstance(given, Choice) else (given.at(0.0),):
        _checks.positive_number("a learning rate of the space", value)


def _require_whole_grid(space: Space, count: int | None, budget: float | None, halving: Halving | None) -> None:
    allowed = [float(one) for one in (count, budget if halving is None else None) if one is not None]
    if allowed and space.size > min(allowed):
        sizes = " x ".join(f"{space[name].size:.0f}" for name in space)
        raise InvalidArgumentError(
            f"the grid has {space.size:,.0f} points ({sizes}), and {min(allowed):,.0f} may be trained: pass a larger "
            'num_trials or budget, fewer values, or sampler="tpe"'
        )
