"""What is said beside the rate: where the best one lies, what others cost, and the chance that none is better.

Where the best lies follows from comparisons alone. The chance and the costs are tables that `python -m
benchmarks.regret.calibrate` makes from replays of the race; docs/benchmarks.md tells how often each statement holds.
"""

from __future__ import annotations

import bisect
import functools
import json
import math
from importlib import resources
from typing import TYPE_CHECKING, Any

from learnrate._selection.courses import NEIGHBOUR
from learnrate.curves import GOOD
from learnrate.results import Cost

if TYPE_CHECKING:
    from learnrate._selection.courses import Course, Courses

COMPARED = (0.1, 0.25)
"""Shares of the summed rate: what was compared with neighbours before the first, before the second, or later."""
WIDE = (2.0, 3.0)
"""Decades of the interval: what a chance goes by where the winner was not compared with neighbours, or too early."""
MARGINS = (0.0, 0.01, 0.03, 0.1, 0.3, 0.7)
"""Shares of the way that a training was behind."""
APART = (NEIGHBOUR, 1.05)
"""Decades that it lies from the winner: within half a decade, within one, or further."""

VAGUE = 0.5
"""Of the way: a band from hardly anything to more than that is not worth a sentence."""


@functools.cache
def calibration() -> dict[str, Any]:
    """The tables made from the design half."""
    return json.loads(resources.files("learnrate._selection").joinpath("calibration.json").read_text())


def interval(courses: Courses, winner: Course, low: float, high: float) -> tuple[float, float]:
    """Return the log learning rates between which the best lies; the range's end on a side where nothing was behind."""
    slower, faster = courses.bounds(winner)
    return (low if slower is None else slower.x), (high if faster is None else faster.x)


def grade(courses: Courses, winner: Course, width: float) -> int:
    """Return the class of evidence that the chance of a good answer goes by, 0 the best.

    It goes by how late the winner was compared with neighbours on both sides, and where it was not or too early, by how
    many decades the interval is wide.
    """
    late = bisect.bisect_right(COMPARED, courses.compared(winner))
    return len(COMPARED) - late if late else len(COMPARED) + bisect.bisect_left(WIDE, width - 1e-6)


def confidence(courses: Courses, winner: Course, width: float) -> float:
    """Return the chance that no rate is more than 1 % of the way better."""
    return float(calibration()["confidence"][grade(courses, winner, width)])


def margin(courses: Courses, winner: Course, other: Course) -> float | None:
    """Return how far another course was behind the winner where it ended, in ways; None where that is not known."""
    if courses.untrained is None or not len(other.steps) or other.broke:
        return None
    step = min(int(other.steps[-1]), winner.length)
    mine, ahead = other.at(step), winner.between(step, courses.untrained)
    way = courses.way(mine, ahead)
    return (mine - ahead) / way if way > 0 else None


def cell(courses: Courses, winner: Course, other: Course, behind: float) -> tuple[int, int, int]:
    """Return the place in the table of costs: by when another course ended, how far away, and how far behind it was."""
    length = courses.share(min(other.length, winner.length))
    return (
        bisect.bisect_right(COMPARED, length),
        bisect.bisect_right(APART, abs(other.x - winner.x)),
        bisect.bisect_right(MARGINS, behind),
    )


def cost(courses: Courses, winner: Course, learning_rate: float, value: float, sign: int) -> Cost | None:
    """Say what another rate costs at full length, None where nothing is known of it.

    It is measured where the rate was trained as far as the winner; else a band, 80 % sure, from how far it was behind
    where it ended. A rate between two that were trained costs no less than the nearer of them to the winner, and no
    more than the other.

    Args:
        courses: What was trained.
        winner: The recommended rate's.
        learning_rate: The other.
        value: What the winner reached.
        sign: 1 where a smaller metric is better, else -1.
    """
    way = courses.way(best := sign * value)
    if courses.untrained is None or winner.length < courses.end or way <= 0:
        return None
    own = courses.of(learning_rate)
    if own is None:
        x, nearer = math.log10(learning_rate), 1 if learning_rate < 10**winner.x else -1
        around = [one for one in courses.all if (winner.x - one.x) * nearer >= 0]
        inner = min((one for one in around if (one.x - x) * nearer > 0), key=lambda one: abs(one.x - x))
        outer = min((one for one in around if (one.x - x) * nearer < 0), key=lambda one: abs(one.x - x), default=None)
        if outer is None:
            return None
        low, high = _band(courses, winner, inner)[0], _band(courses, winner, outer)[1]
    else:
        low, high = _band(courses, winner, own)
    if low < GOOD and high > VAGUE:
        return None
    return Cost(
        learning_rate=learning_rate,
        low=low,
        high=high,
        values=(sign * (best + low * way), sign * (best + high * way)),
        measured=own is not None and own.length >= winner.length,
        breaks=own is not None and own.broke,
    )


def _band(courses: Courses, winner: Course, other: Course) -> tuple[float, float]:
    """Between which shares of the way a course costs; all of it where it broke."""
    if other.broke or (behind := margin(courses, winner, other)) is None:
        return (1.0, 1.0) if other.broke else (0.0, 1.0)
    if other.length >= winner.length:
        return behind, behind
    length, apart, margins = cell(courses, winner, other, behind)
    low, high = calibration()["costs"][length][apart][margins]
    return low, high
