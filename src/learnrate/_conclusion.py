"""From what `select` trained to what it says: the response, the interval, what slower costs, the verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from learnrate._diagnose import diagnose
from learnrate._policy import loss_of
from learnrate.response import Bowl, fit_bowl
from learnrate.results import Recommendation, Response, SlowerCost, Trial, Verdict
from learnrate.schedules import describe

if TYPE_CHECKING:
    from learnrate._laboratory import Laboratory
    from learnrate._policy import Policy

SLOWER = (1 / 3, 1 / 10)


def conclude(
    lab: Laboratory, policy: Policy, winner: Trial | None, settings: dict[str, Any], seconds: float
) -> Recommendation:
    """Say what the trials show."""
    sign = 1 if lab.mode == "min" else -1
    bowl = None if winner is None else fit_response(lab, winner)
    best = None if winner is None else winner.curve.best(lab.metric, lab.mode)
    good = None if bowl is None else bowl.good()
    return Recommendation(
        learning_rate=None if winner is None else winner.learning_rate,
        interval=None if good is None else (float(10 ** good[0]), float(10 ** good[1])),
        largest_stable_learning_rate=None if bowl is None or math.isinf(bowl.cliff) else float(10**bowl.cliff),
        epochs=None if best is None else best.epoch,
        horizon=lab.epochs,
        value=None if best is None else best.value,
        untrained=lab.untrained_value,
        metric=lab.metric,
        mode=lab.mode,
        cost=lab.spent,
        budget=float(lab.budget or lab.spent),
        verdict=verdict_of(lab, policy, winner, bowl),
        slower_costs=[]
        if winner is None or bowl is None
        else [cost_of(bowl, winner.learning_rate * part, lab, winner) for part in SLOWER],
        yours=None if winner is None or bowl is None else _yours(bowl, lab, winner),
        trials=[_diagnosed(trial, lab) for trial in lab.trials],
        range_test=policy.range_test,
        response=None if bowl is None else _drawn(bowl, sign),
        schedule=describe(lab.schedule),
        seed=lab.seed,
        seconds=seconds,
        warnings=lab.warnings,
        settings=settings,
        best=None if winner is None else lab.best_weights(winner),
    )


def fit_response(lab: Laboratory, winner: Trial) -> Bowl:
    """Fit the bowl of full-length trainings from the winner's curve and from the short trainings.

    On the slow side progress depends on learning rate x steps alone, so what a rate reaches in a tenth of the horizon
    is what a tenth of the rate reaches in all of it. On the fast side the differences between short trainings at
    neighbouring rates carry over.
    """
    center = math.log10(winner.learning_rate)
    best = loss_of(winner, lab.mode)
    points = [(center, best), *_slower_points(lab, winner), *_faster_points(lab, center, best)]
    broken = [math.log10(trial.learning_rate) for trial in lab.trials if not math.isfinite(loss_of(trial, lab.mode))]
    sign = 1 if lab.mode == "min" else -1
    untrained = None if lab.untrained_value is None else sign * lab.untrained_value
    return fit_bowl(points, bottom=center, untrained=untrained, broken=broken, noise=noise_of(lab, winner))


def _slower_points(lab: Laboratory, winner: Trial) -> list[tuple[float, float]]:
    center = math.log10(winner.learning_rate)
    if describe(lab.schedule)["name"] == "constant":
        sign = 1 if lab.mode == "min" else -1
        values = np.fmin.accumulate(sign * winner.curve.values(lab.metric))
        parts = winner.curve.epochs / lab.epochs
        return [
            (center + math.log10(part), float(value))
            for part, value in zip(parts, values, strict=True)
            if part < 1 and math.isfinite(value)
        ]
    points: list[tuple[float, float]] = []
    for trial in lab.trials:
        loss = loss_of(trial, lab.mode)
        x = math.log10(trial.learning_rate)
        if trial.stage in ("screen", "refine") and math.isfinite(loss) and x <= center:
            points.append((x + math.log10(trial.horizon / lab.epochs), loss))
    return points


def _faster_points(lab: Laboratory, center: float, best: float) -> list[tuple[float, float]]:
    lengths = [trial.horizon for trial in lab.trials if trial.stage == "refine"]
    probes = sorted(
        (math.log10(trial.learning_rate), loss_of(trial, lab.mode))
        for trial in lab.trials
        if trial.stage == "refine" and trial.horizon == max(lengths) and math.isfinite(loss_of(trial, lab.mode))
    )
    if not probes:
        return []
    x = np.array([probe[0] for probe in probes])
    loss = np.array([probe[1] for probe in probes])
    reference = float(np.interp(center, x, loss))
    return [(float(a), best + max(float(b) - reference, 0.0)) for a, b in zip(x, loss, strict=True) if a > center]


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
    return SlowerCost(
        learning_rate=learning_rate,
        value=loss if lab.mode == "min" else -loss,
        cost=bowl.cost(x),
        more_epochs=lab.epochs * (slower - 1) if slower >= 1 else None,
    )


def _yours(bowl: Bowl, lab: Laboratory, winner: Trial) -> SlowerCost | None:
    rate = getattr(lab.problem, "learning_rate", None)
    return None if rate is None or rate == winner.learning_rate else cost_of(bowl, float(rate), lab, winner)


def verdict_of(lab: Laboratory, policy: Policy, winner: Trial | None, bowl: Bowl | None) -> Verdict:
    """Say whether the answer has worse learning rates on both sides, and if not, why."""
    if winner is None or bowl is None:
        return Verdict.ALL_DIVERGED
    if lab.untrained_value is not None and bowl.scale <= bowl.noise:
        return Verdict.FLAT
    x = math.log10(winner.learning_rate)
    if x - policy.low < 0.25:
        return Verdict.TOO_NARROW_LEFT
    if policy.high - x < 0.25 and math.isinf(bowl.cliff):
        return Verdict.TOO_NARROW_RIGHT
    return Verdict.FOUND


def _drawn(bowl: Bowl, sign: int) -> Response:
    x = np.linspace(bowl.x[0] - 0.5, min(bowl.x[-1], bowl.cliff - 1e-9), 200)
    values = np.array([bowl.at(float(place)) for place in x])
    return Response(
        learning_rates=10**x,
        values=sign * values,
        low=sign * (values - 2 * bowl.noise),
        high=sign * (values + 2 * bowl.noise),
    )


def _diagnosed(trial: Trial, lab: Laboratory) -> Trial:
    if not len(trial.curve) or lab.metric not in trial.curve.metrics or trial.epochs < 2:
        return trial
    diagnosis = diagnose(trial.curve, metric=lab.metric, mode=lab.mode, untrained=lab.untrained_value)
    return msgspec.structs.replace(trial, diagnosis=diagnosis)
