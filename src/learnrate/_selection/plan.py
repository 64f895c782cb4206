"""What `select` will spend: the lengths that its rates are trained for, from what the budget leaves for comparisons."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from learnrate._numbers import counted, short
from learnrate._trials.spending import SpendingPlan, steps_words

if TYPE_CHECKING:
    from learnrate._selection.race import Lab

ENDS = 10
"""Evaluations inside an epoch, where a training is left: five to ten in most races, fourteen from a start that is
decades away."""
BEGUN = 8
"""Trainings that most races begin: four or five a decade apart, two more half a decade apart, and one at last."""
FEWEST = 2
"""Rates that a rung compares at least: the fewest leave most for the next one."""


def budget_plan(lab: Lab) -> SpendingPlan:
    """Return the plan of a function or a command before it is known whether it can be left in its middle."""
    runs = _budget(lab)
    return SpendingPlan(f"at most {counted(runs, 'training run')} of {counted(lab.epochs, 'epoch')}", runs)


def race_plan(lab: Lab, screen: int, probe: int | None, spare: float, *, falls: bool = False) -> SpendingPlan:
    """Return the plan of a race.

    Args:
        lab: Trains and counts.
        screen: The step at which rates a decade apart are compared.
        probe: That at which those half a decade apart are, if the screen leaves enough; None where nothing is for them.
        spare: What may be spent beside a full training.
        falls: Whether the winner's rate is taken to zero.
    """
    runs = _budget(lab)
    left = spare - FEWEST * lab.training_cost(0, screen)
    plan = budget_plan(lab)._replace(steps=steps_words(1, round(runs * lab.total_steps)))
    if left < 0:
        return plan._replace(
            num_starts=1,
            evaluations=f"about {counted(math.ceil(runs * lab.epochs), 'evaluation')}",
            course="one learning rate to the end; a larger budget compares several",
        )
    made = screen
    course = [f"rates a decade apart for {counted(_epochs(lab, screen), 'epoch')} each"]
    if probe is not None:
        course.append(f"half a decade apart for up to {short(_epochs(lab, probe))}")
        left -= lab.training_cost(screen, probe) + (FEWEST - 1) * lab.training_cost(0, probe)
        made = probe
    longest = lab.steps(made / lab.total_steps + left)
    if longest == lab.total_steps:
        course.append("the most promising to the end")
    else:
        course += [f"two or three for up to {short(_epochs(lab, longest))}", "the best to the end"]
    evaluations = f"about {counted(math.ceil(runs * lab.epochs) + ENDS, 'evaluation')}"
    course += ["each from its beginning"] if lab.in_one_piece else []
    course += ["its rate falling to zero over the last fifth"] if falls else []
    return plan._replace(evaluations=evaluations, course=", ".join(course), num_starts=BEGUN)


def whole_plan(lab: Lab) -> SpendingPlan:
    """Return the plan where trainings come in one piece, and none can be had for fewer epochs."""
    count = math.floor(_budget(lab) + 0.5 / lab.epochs)
    each = f"{counted(count, 'training')} of {counted(lab.epochs, 'epoch')}, each in one piece"
    return SpendingPlan(f"at most {each}", float(count))


def _budget(lab: Lab) -> float:
    return math.inf if lab.budget is None else lab.budget


def _epochs(lab: Lab, steps: int) -> float:
    return steps * lab.epochs / lab.total_steps
