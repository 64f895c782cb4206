"""From what `select` trained to what it says: the response, the interval, what slower costs, the verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from learnrate._numbers import rate, short
from learnrate._selection.race import NEAR, QUARTER
from learnrate.response import GOOD, Bowl, fit_bowl
from learnrate.results import Recommendation, Response, SlowerCost, Trial, TrialState, Verdict
from learnrate.schedules import as_values, describe

if TYPE_CHECKING:
    from learnrate._selection.race import Race
    from learnrate._trials.laboratory import Laboratory
    from learnrate.curves import Array, Mode

SLOWER = (1 / 3, 1 / 10)
DRIFT = 0.3
"""The best rate falls as the horizon to this power: a longer training can take the time that a smaller rate needs."""
SLOWNESS = 0.6
"""A tenth of the rate does what the rate does in 10^-0.6 of the time: it makes up with less noise. On the benchmark's
small tasks 0.5 is right most often; on handwritten digits a tenth needed six times as many epochs, which is 0.8."""


def conclude(
    lab: Laboratory, race: Race, winner: Trial | None, settings: dict[str, Any], seconds: float
) -> Recommendation:
    """Say what the trials show."""
    sign = 1 if lab.mode == "min" else -1
    winner = improved(lab, winner)
    bowl = None if winner is None else fit_response(lab, race, winner)
    best = None if winner is None else winner.curve.best(lab.metric, lab.mode)
    good = None if bowl is None else bowl.good()
    weights = None if winner is None else lab.best_weights(winner)  # before the warnings are read: it may add one
    verdict = verdict_of(lab, race, winner, bowl)
    notes = _cut_short(lab, winner) + _nothing_faster(lab, winner) + _rivals_left(lab, winner)
    return Recommendation(
        learning_rate=None if winner is None else winner.learning_rate,
        interval=None if good is None else (float(10 ** max(good[0], race.low)), float(10 ** min(good[1], race.high))),
        largest_stable_learning_rate=None if bowl is None or math.isinf(bowl.cliff) else float(10**bowl.cliff),
        epochs=None if best is None else best.epoch,
        horizon=lab.epochs,
        value=None if best is None else best.value,
        untrained=lab.untrained_value,
        metric=lab.metric,
        mode=lab.mode,
        cost=lab.spent,
        budget=float(lab.budget or lab.spent),
        verdict=verdict,
        slower_costs=[]
        if winner is None or bowl is None
        else [cost_of(bowl, winner.learning_rate * part, lab, winner) for part in SLOWER],
        yours=None if winner is None or bowl is None else _yours(bowl, lab, winner, settings),
        trials=[lab.diagnosed(trial) for trial in lab.trials],
        range_test=None,
        response=None if bowl is None else _drawn(bowl, sign),
        schedule=describe(lab.schedule),
        seed=lab.seed,
        seconds=seconds,
        warnings=lab.warnings + lab.data_check.reasons_for(verdict) + notes,
        settings=settings,
        vectorized=None if lab.together is None else lab.together.why,
        framework=getattr(lab.problem, "framework", None),
        best=weights,
    )


def fit_response(lab: Laboratory, race: Race, winner: Trial) -> Bowl:
    """Fit the bowl of full-length trainings from the winner's curve and from the trainings that went less far.

    On the slow side progress depends on the sum of the learning rates, to a power, so what a rate has reached when
    the sum is a tenth of the whole tells what a slower rate reaches in full length. On the fast side the trainings
    that were left on the way show how much worse than the best they were there; as the best rate falls with the
    horizon, so does the whole side.
    """
    center = math.log10(winner.learning_rate)
    sign = 1 if lab.mode == "min" else -1
    losses = {trial.number: sign * best_so_far(trial, lab.metric, lab.mode) for trial in lab.trials}
    points = [(center, float(losses[winner.number][-1])), *_slower_points(lab, winner, losses[winner.number])]
    points += faster_points(lab, winner, losses)
    untrained = None if lab.untrained_value is None else sign * lab.untrained_value
    cliff = race.cliff if race.cliff > center else math.inf  # the winner held, whatever its last row says
    return fit_bowl(points, bottom=center, untrained=untrained, cliff=cliff, noise=noise_of(lab, winner))


def _cut_short(lab: Laboratory, winner: Trial | None) -> list[str]:
    if winner is None or winner.epochs > lab.epochs - 1e-9:
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


def _nothing_faster(lab: Laboratory, winner: Trial | None) -> list[str]:
    """Say where the interval ends on its fast side for want of evidence alone."""
    if winner is None or any(trial.learning_rate > winner.learning_rate for trial in lab.trials):
        return []
    return [
        "no faster learning rate was trained beside this one: how far the good range goes up is not known, and the "
        "best may lie there; a larger budget would show it"
    ]


def rivals(lab: Laboratory, winner: Trial) -> list[Trial]:
    """Return what was ahead of the winner, by more than may be expected to turn, where the budget left it."""
    sign = 1 if lab.mode == "min" else -1
    losses = {trial.number: sign * best_so_far(trial, lab.metric, lab.mode) for trial in (winner, *lab.trials)}
    found: list[Trial] = []
    for trial in lab.trials:
        common = winner.curve.epochs[winner.curve.epochs <= trial.epochs + 1e-9]
        if trial.number == winner.number or trial.state is not TrialState.COMPLETE or not len(common):
            continue
        epoch = float(common[-1])
        if not np.isclose(epoch, trial.curve.epochs).any():
            continue
        mine, other = (_reached(it, losses[it.number], epoch) for it in (winner, trial))
        start = mine if lab.untrained_value is None else sign * lab.untrained_value
        if mine - other > NEAR * max(start - other, 0.0) and other < mine:
            found.append(trial)
    return found


def _rivals_left(lab: Laboratory, winner: Trial | None) -> list[str]:
    left = [] if winner is None else rivals(lab, winner)
    return [
        f"undecided between {rate(winner.learning_rate)} and {rate(trial.learning_rate)}, which was ahead after "
        f"{short(trial.epochs)} epochs, where the budget left it"
        for trial in left
        if winner is not None
    ]


def _log_rate(trial: Trial) -> float:
    return math.log10(trial.learning_rate)


def best_so_far(trial: Trial, metric: str, mode: Mode) -> Array:
    """Return the best value that each row of a trial, or any row before it, has reached."""
    if metric not in trial.curve.metrics:
        return np.full(len(trial.curve), np.nan)
    values = trial.curve.values(metric)
    return np.fmin.accumulate(values) if mode == "min" else np.fmax.accumulate(values)


def held(trial: Trial, lab: Laboratory) -> bool:
    """Return whether a training held: it did not diverge, and was never worse than no training at all."""
    if trial.state is not TrialState.COMPLETE or lab.metric not in trial.curve.metrics:
        return False
    if lab.untrained_value is None:
        return True
    values = trial.curve.values(lab.metric)
    return bool((values <= lab.untrained_value).all() if lab.mode == "min" else (values >= lab.untrained_value).all())


def _slower_points(lab: Laboratory, winner: Trial, losses: Array) -> list[tuple[float, float]]:
    sums = np.cumsum(as_values(lab.schedule(winner.learning_rate, lab.total_steps), 0, lab.total_steps))
    steps = np.round(winner.curve.epochs * lab.problem.steps_per_epoch).astype(int)
    done: Array = np.maximum(sums[steps - 1] / sums[-1], 1e-12)
    center = _log_rate(winner)
    x: Array = center + np.log10(done) / SLOWNESS
    return [(float(a), float(b)) for a, b in zip(x, losses, strict=True) if a < center and math.isfinite(b)]


def faster_points(lab: Laboratory, winner: Trial, losses: dict[int, Array]) -> list[tuple[float, float]]:
    """Compare with the winner and the others at the last epoch at which both were seen."""
    points: list[tuple[float, float]] = []
    for trial in lab.trials:
        common = winner.curve.epochs[winner.curve.epochs <= trial.epochs + 1e-9]
        if not (held(trial, lab) and len(common)):
            continue
        epoch = float(common[-1])
        x = _log_rate(trial) + DRIFT * math.log10(epoch / lab.epochs)
        rung = [_reached(other, losses[other.number], epoch) for other in lab.trials if held(other, lab)]
        behind = _reached(trial, losses[trial.number], epoch) - min(rung)
        if x > _log_rate(winner) and math.isfinite(behind):
            points.append((x, float(losses[winner.number][-1]) + behind))
    return points


def _reached(trial: Trial, losses: Array, epoch: float) -> float:
    """The best loss that a trial had reached by an epoch, infinite where it was not trained for so long."""
    rows = np.flatnonzero(trial.curve.epochs <= epoch + 1e-9)
    trained = len(rows) and trial.curve.epochs[-1] >= epoch - 1e-9
    return float(losses[rows[-1]]) if trained else math.inf


def noise_of(lab: Laboratory, winner: Trial) -> float:
    """Return the standard deviation of the metric around the winner's own trend, from differences of neighbours."""
    values = winner.curve.values(lab.metric)
    steps = np.diff(values[np.isfinite(values)], n=2)
    return float(np.median(np.abs(steps)) / (0.6745 * math.sqrt(6))) if len(steps) else 0.0


def cost_of(bowl: Bowl, learning_rate: float, lab: Laboratory, winner: Trial) -> SlowerCost:
    """Say what another learning rate costs, in metric and in epochs."""
    x = math.log10(learning_rate)
    loss = bowl.at(x)
    slower = winner.learning_rate / learning_rate
    matters = slower > 1 and bowl.cost(x) > GOOD / 2
    return SlowerCost(
        learning_rate=learning_rate,
        value=loss if lab.mode == "min" else -loss,
        cost=bowl.cost(x),
        more_epochs=lab.epochs * (slower**SLOWNESS - 1) if matters else None,
    )


def _yours(bowl: Bowl, lab: Laboratory, winner: Trial, settings: dict[str, Any]) -> SlowerCost | None:
    own = settings["start"] or getattr(lab.problem, "learning_rate", None)
    return None if own is None or math.isclose(own, winner.learning_rate) else cost_of(bowl, float(own), lab, winner)


def verdict_of(lab: Laboratory, race: Race, winner: Trial | None, bowl: Bowl | None) -> Verdict:
    """Say whether the answer has worse learning rates on both sides, and if not, why."""
    if winner is None or bowl is None:
        return _why_there_is_none(lab, race)
    x = _log_rate(winner)
    if x - race.low < QUARTER:
        return Verdict.TOO_NARROW_LEFT
    if race.high - x < QUARTER and math.isinf(bowl.cliff):
        return Verdict.TOO_NARROW_RIGHT
    if lab.untrained_value is not None and bowl.scale <= bowl.noise:
        return Verdict.FLAT
    return Verdict.UNDECIDED if rivals(lab, winner) or _is_at_the_edge(lab, winner) else Verdict.FOUND


def _why_there_is_none(lab: Laboratory, race: Race) -> Verdict:
    if race.is_unused:
        return Verdict.UNUSED
    finished = [_log_rate(trial) for trial in lab.trials if trial.state is TrialState.COMPLETE]
    diverged = [_log_rate(trial) for trial in lab.trials if trial.state is TrialState.DIVERGED]
    lowest = min((_log_rate(trial) for trial in lab.trials), default=math.inf)
    if not finished or (diverged and min(diverged) < max(finished)):  # it is not the rate that breaks it
        return Verdict.ALL_DIVERGED
    return Verdict.TOO_NARROW_LEFT if lowest - race.low < QUARTER else Verdict.FLAT


def _is_at_the_edge(lab: Laboratory, winner: Trial) -> bool:
    """Return whether nothing slower, or nothing faster, was trained at all."""
    rates = [trial.learning_rate for trial in lab.trials]
    return winner.learning_rate in {min(rates), max(rates)}


def improved(lab: Laboratory, winner: Trial | None) -> Trial | None:
    """Return the winner if it became better than the untrained model, None otherwise: nothing is to be recommended."""
    if winner is None or winner.value is None or lab.untrained_value is None:
        return winner
    better = winner.value < lab.untrained_value if lab.mode == "min" else winner.value > lab.untrained_value
    return winner if better else None


def _drawn(bowl: Bowl, sign: int) -> Response:
    x: Array = np.linspace(float(bowl.x[0]) - 0.5, min(float(bowl.x[-1]), bowl.cliff - 1e-9), 200)
    values = np.array([bowl.at(float(place)) for place in x])
    return Response(
        learning_rates=10**x,
        values=sign * values,
        low=sign * (values - 2 * bowl.noise),
        high=sign * (values + 2 * bowl.noise),
    )
