"""From what `select` trained to what it says: the verdict, what others cost, where training breaks, what is open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from learnrate._numbers import rate, short
from learnrate._selection import claims
from learnrate._selection.courses import Course, Courses
from learnrate._selection.decay import falling
from learnrate._selection.evidence import MOVED, NEAR
from learnrate._selection.race import QUARTER
from learnrate.results import Break, Cost, Decay, Recommendation, Trial, TrialState, Verdict
from learnrate.schedules import describe

if TYPE_CHECKING:
    from learnrate._selection.race import Race
    from learnrate._trials.laboratory import Laboratory

SLOWER = (1 / 3, 1 / 10)


class Standing(NamedTuple):
    """The recommended trial, its learning rate's course among the others', and the courses that bound it."""

    winner: Trial
    course: Course
    courses: Courses
    slower: Course | None
    faster: Course | None


def conclude(
    lab: Laboratory, race: Race, winner: Trial | None, decay: Decay | None, *, settings: dict[str, Any], seconds: float
) -> Recommendation:
    """Say what the trials show, and what it brought to take the winner's rate to zero."""
    gained = improved(lab, winner)
    won = decay if decay is not None and decay.is_better else None
    chosen = gained if won is None else won.trial
    standing = None if gained is None else standing_of(lab, gained, race.end)
    best = None if chosen is None else chosen.curve.best(lab.metric, lab.mode)
    weights = None if chosen is None else lab.best_weights(chosen)  # before the warnings are read: it may add one
    broke = race.broke_between()
    own: float | None = settings["start"] or getattr(lab.problem, "learning_rate", None)
    interval = None if standing is None else _interval(standing, race)
    verdict = verdict_of(lab, race, standing) if winner is None or gained is not None else Verdict.NO_GAIN
    notes = _left_open(lab, standing) if standing else _nothing_gained(lab, winner)
    return Recommendation(
        learning_rate=None if gained is None else gained.learning_rate,
        interval=None if interval is None else (10 ** interval[0], 10 ** interval[1]),
        confidence=None if interval is None or standing is None else _confidence(standing, interval),
        breaks=None if broke is None else _break(*broke, gained),
        epochs=None if best is None else best.epoch,
        horizon=lab.epochs,
        value=None if best is None else best.value,
        untrained=None if lab.estimates_untrained else lab.untrained_value,
        reference=lab.untrained_value,
        metric=lab.metric,
        mode=lab.mode,
        cost=lab.spent,
        budget=float(lab.budget or lab.spent),
        verdict=verdict,
        slower=_costs(lab, standing, [] if gained is None else _slower(gained, own)),
        yours=next(iter(_costs(lab, standing, [own] if own else [])), None),
        trials=[trial if _is_left(lab, trial, gained) else lab.diagnosed(trial) for trial in lab.trials],
        schedule=describe(lab.schedule if won is None else falling(won.first_epoch, lab.epochs)),
        decay=decay,
        seed=lab.seed,
        seconds=seconds,
        warnings=[*lab.warnings, *lab.data_check.reasons_for(verdict), *notes],
        settings=settings,
        vectorized=None if lab.together is None else lab.together.why,
        framework=getattr(lab.problem, "framework", None),
        best=weights,
    )


def standing_of(lab: Laboratory, winner: Trial, end: int | None = None) -> Standing:
    """Place a trial among the others, of which those in full went to the end."""
    courses = Courses(lab, end)
    course = courses.of(winner.learning_rate)
    assert course is not None  # noqa: S101  # it is one of the laboratory's trials
    return Standing(winner, course, courses, *courses.bounds(course))


def rivals(standing: Standing) -> list[Course]:
    """Return what was ahead of the winner, by more than may be expected to turn, at the longest length they share."""
    found: list[Course] = []
    for other in standing.courses.all:
        shared = np.intersect1d(other.steps, standing.course.steps)
        if other is standing.course or other.broke or not len(shared):
            continue
        mine, theirs = standing.course.at(shared[-1]), other.at(shared[-1])
        if mine > theirs and mine - theirs > NEAR * standing.courses.way(mine, theirs):
            found.append(other)
    return found


def verdict_of(lab: Laboratory, race: Race, standing: Standing | None) -> Verdict:
    """Say whether the answer has worse learning rates on both sides, and if not, why."""
    if standing is None:
        return _why_there_is_none(lab, race)
    if standing.slower is None and standing.course.x - race.low < QUARTER:
        return Verdict.TOO_NARROW_LEFT
    if standing.faster is None and race.high - standing.course.x < QUARTER:
        return Verdict.TOO_NARROW_RIGHT
    gain = standing.courses.way(float(standing.course.best[-1]))
    if standing.courses.untrained is not None and gain <= standing.course.noise:
        return Verdict.FLAT
    is_open = standing.slower is None or standing.faster is None or _is_unfinished(lab, standing)
    return Verdict.UNDECIDED if is_open or rivals(standing) else Verdict.FOUND


def _why_there_is_none(lab: Laboratory, race: Race) -> Verdict:
    if race.is_unused:
        return Verdict.UNUSED
    finished = [trial.learning_rate for trial in lab.trials if trial.state is TrialState.COMPLETE]
    diverged = [trial.learning_rate for trial in lab.trials if trial.state is TrialState.DIVERGED]
    lowest = min((trial.learning_rate for trial in lab.trials), default=math.inf)
    if not finished or (diverged and min(diverged) < max(finished)):  # it is not the rate that breaks it
        return Verdict.ALL_DIVERGED
    return Verdict.TOO_NARROW_LEFT if math.log10(lowest) - race.low < QUARTER else Verdict.FLAT


def improved(lab: Laboratory, winner: Trial | None) -> Trial | None:
    """Return the winner if it became better than the untrained model, None otherwise: nothing is to be recommended."""
    untrained = None if lab.estimates_untrained else lab.untrained_value
    if winner is None or winner.value is None or untrained is None:
        return winner
    better = winner.value < untrained if lab.mode == "min" else winner.value > untrained
    return winner if better else None


def _is_left(lab: Laboratory, trial: Trial, winner: Trial | None) -> bool:
    """Whether the race left a training on its way, which is no ground for a diagnosis."""
    is_short = trial.state is TrialState.COMPLETE and trial.epochs < lab.epochs - 1e-9
    return is_short and (winner is None or trial.number != winner.number)


def _interval(standing: Standing, race: Race) -> tuple[float, float] | None:
    if standing.slower is None and standing.faster is None:
        return None
    return claims.interval(standing.courses, standing.course, race.low, race.high)


def _confidence(standing: Standing, interval: tuple[float, float]) -> float:
    return claims.confidence(standing.courses, standing.course, interval[1] - interval[0])


def _break(held: Trial | None, broke: Trial, winner: Trial | None) -> Break | None:
    """Where training was seen to break; nothing where the recommended rate was past its best and then broke too."""
    if winner is not None and winner.learning_rate >= broke.learning_rate:
        return None
    return Break(
        held=None if held is None else held.learning_rate,
        held_epochs=0.0 if held is None else held.epochs,
        broke=broke.learning_rate,
        broke_epochs=broke.epochs,
    )


def _slower(winner: Trial, own: float | None) -> list[float]:
    """A third and a tenth of the winner's rate, but for what is nearer to one's own than to another of the race."""
    parts = [winner.learning_rate * part for part in SLOWER]
    return [one for one in parts if own is None or abs(math.log10(one / own)) > QUARTER / 2]


def _costs(lab: Laboratory, standing: Standing | None, rates: list[float]) -> list[Cost]:
    """What other rates cost, as far as something is known of them."""
    if standing is None or standing.winner.value is None:
        return []
    sign = 1 if lab.mode == "min" else -1
    told = [
        claims.cost(standing.courses, standing.course, one, standing.winner.value, sign)
        for one in rates
        if not math.isclose(one, standing.winner.learning_rate)
    ]
    return [one for one in told if one is not None]


def _left_open(lab: Laboratory, standing: Standing) -> list[str]:
    """What the budget left open."""
    chosen = rate(standing.winner.learning_rate)
    sides = [name for name, one in (("slower", standing.slower), ("faster", standing.faster)) if one is None]
    found = [
        f"no {' and no '.join(sides)} learning rate was seen to be worse than {chosen}, and the best may lie there: "
        f"raise the budget to be sure"
    ]
    return [
        *_cut_short(lab, standing),
        *(found if sides else []),
        *(
            f"undecided between {chosen} and {rate(10**other.x)}, which was ahead after "
            f"{short(other.length * lab.epochs / lab.total_steps)} epochs, where the budget left it"
            for other in rivals(standing)
        ),
    ]


def _is_unfinished(lab: Laboratory, standing: Standing) -> bool:
    """Whether the budget left nothing in full, not even the winner."""
    return max(map(lab.steps_of, lab.trials)) < standing.courses.end


def _cut_short(lab: Laboratory, standing: Standing) -> list[str]:
    winner = standing.winner
    if lab.steps_of(winner) >= standing.courses.end:
        return []
    trained = f"{short(winner.epochs)} of {lab.epochs} epochs"
    if any(trial.epochs > winner.epochs for trial in lab.trials):
        return [
            f"this learning rate was trained for {trained}, and had reached more by then than another at full length"
        ]
    return [
        f"the budget ended before this learning rate was trained at full length: its value is that of {trained}, and "
        f"may still improve"
    ]


def _nothing_gained(lab: Laboratory, winner: Trial | None) -> list[str]:
    """Why no rate is better than no training: all overfit at once, or nothing moves."""
    if winner is None:
        return []
    before = f"{lab.metric} was never better than the {short(lab.untrained_value, 3)} before training"
    losses = {
        trial.learning_rate: trial.curve.values("loss")
        for trial in lab.trials
        if trial.state is TrialState.COMPLETE and "loss" in trial.curve.metrics and len(trial.curve)
    }
    if not losses:
        return [before]
    began = float(losses[min(losses)][0])
    learnt = {one: float(values[-1]) for one, values in losses.items() if values[-1] < began - MOVED * abs(began)}
    if not learnt:
        return [f"{before}, and the training loss has not fallen at any learning rate: nothing moves"]
    furthest = min(learnt, key=lambda one: learnt[one])
    return [
        f"{before}, although the training loss fell, at {rate(furthest)} from {short(began, 3)} to "
        f"{short(learnt[furthest], 3)}: every learning rate overfits at once, or the validation data are of another "
        f"kind"
    ]
