"""Train once at each of several learning rates, and compare."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec

from learnrate import _checks
from learnrate._diagnosis.beside import beside_each_other
from learnrate._numbers import counted
from learnrate._trials.laboratory import Laboratory, open_study
from learnrate._trials.spending import SpendingPlan, steps_words
from learnrate._trials.stacked import Vectorized, checked_vectorized
from learnrate.errors import InvalidArgumentError
from learnrate.results import Sweep, Trial, TrialState, Verdict
from learnrate.schedules import ScheduleMaker, constant, describe
from learnrate.stopping import EarlyStopping, ReduceOnPlateau, rules_of, settings_of
from learnrate.training import Engine, Event, Trainable, built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from learnrate.curves import Mode
    from learnrate.stopping import Rule


def sweep(
    problem: Trainable | Callable[..., Any],
    learning_rates: Iterable[float],
    *,
    epochs: int,
    schedule: ScheduleMaker = constant,
    metric: str = "val_loss",
    mode: Mode | None = None,
    refine: int = 0,
    stopping: Rule | Iterable[Rule] | None = None,
    seed: int = 0,
    study: str | Path | None = None,
    engine: Engine | None = None,
    vectorized: Vectorized = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> Sweep:
    """Train once at each learning rate, from the same weights over the same batches, and compare the curves.

    The problem is left as it was found. The best trial is the one whose best epoch has the best metric; a trial that
    diverged never is. `refine` adds that many trainings one after another, each at the geometric mean of the best
    learning rate so far and the better of its neighbours: a coarse set first, then more values inside.

    `stopping` ends each training once its metric no longer improves, lowers the rate on a plateau, or both; what was
    not trained is not in the cost. `problem.restore(result.best)` loads the best trial's weights, so that one rate
    with both rules is a training as one wants it in the end. A study folder keeps those of every trial, as the file
    `checkpoints/trial-<number>-step-<step>` (see `problem.load`).

    Args:
        problem: What to train: a `Trainable`, a function without arguments that builds one, a generator function that
            yields its metrics each epoch, or a function that returns them at the end (see
            `learnrate.FunctionTrainable`).
        learning_rates: The peaks to try, in any order.
        epochs: Epochs of each training.
        schedule: Makes the schedule from a peak and a number of steps; constant, since a comparison of constant
            rates is the easiest to read.
        metric: The deciding metric. Where nothing is validated, "val_loss" gives way to the training loss, with a
            warning.
        mode: "min" where a smaller metric is better, "max" where a larger one is; None goes by the metric's name.
        refine: How many trainings to add around the best.
        stopping: `learnrate.stopping.EarlyStopping`, `ReduceOnPlateau` or a list of both; they are told the deciding
            metric of every epoch. None trains all epochs at the schedule's own rates.
        seed: Decides the order of the batches and all other randomness of the trainings.
        study: A folder that remembers every finished training; the same call continues it.
        engine: Where to train; None for this process, one rate after another. With
            `learnrate.LocalEngine(num_workers=2)` two are trained at a time, and the answer is the same.
        vectorized: Whether to train all rates at once in one program, which is faster for small models; the curves
            agree to rounding. "auto" does so where a fixed rule of framework, device, parameters and batch size says
            that it pays and the problem can (`result.vectorized` tells); True wherever it can; False never. `refine`
            goes on one after another. See `learnrate.TorchTrainable.stack`.
        on_event: Called with every `Event` as it happens.

    Returns:
        A `Sweep`: trials with curves and diagnoses, the best learning rate, a verdict, warnings.

    Raises:
        InvalidArgumentError: If an argument cannot be used.
        UnsupportedProblemError: If the problem cannot be trained, or not in one program with `vectorized=True`.
        UnknownMetricError: If the training reports no such metric.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> result = learnrate.sweep(QuadraticTrainable(), [1e-3, 1e-2, 1e-1], epochs=2)
        >>> [trial.state.value for trial in result.trials]
        ['complete', 'complete', 'complete']
        >>> from learnrate.stopping import EarlyStopping, ReduceOnPlateau
        >>> rules = [EarlyStopping(patience=15), ReduceOnPlateau(factor=0.5, patience=3)]
        >>> once = learnrate.sweep(QuadraticTrainable(), [1e-2], epochs=20, stopping=rules)
        >>> once.best is not None
        True
    """
    problem, build = built(problem)
    rates = _checks.learning_rate_list(learning_rates)
    settings: dict[str, Any] = {
        "learning_rates": rates,
        "epochs": _checks.positive_integer("epochs", epochs),
        "schedule": describe(schedule),
        "metric": _checks.metric_name(metric),
        "mode": (mode := _checks.mode_for(metric, mode)),
        "refine": _checks.count("refine", refine),
        "seed": _checks.seed_integer(seed),
    }
    vectorized = checked_vectorized(vectorized)
    rules = _rules(stopping, mode, problem)
    if rules:
        settings["stopping"] = settings_of(rules)
    started = time.perf_counter()
    with (
        open_study(study, verb="sweep", settings=settings, problem=problem) as record,
        Laboratory(
            problem,
            epochs=epochs,
            schedule=schedule,
            metric=metric,
            mode=mode,
            seed=seed,
            stopping=rules,
            budget=float(len(rates) + refine),
            study=record,
            engine=engine,
            build=build,
            vectorized=vectorized,
            num_copies=len(rates),
            on_event=on_event,
        ) as lab,
    ):
        lab.announce_plan(_plan(lab, len(rates), refine))
        lab.announce(f"training at {len(rates)} learning rate{'s' if len(rates) > 1 else ''}")
        for trial in lab.start_all(rates, lab.total_steps, stage="sweep"):
            _keep_weights(lab, trial)
        for _ in range(refine):
            rate = _between_the_best(lab.trials, lab.mode)
            if rate is None:
                break
            lab.announce("refining around the best")
            _keep_weights(lab, lab.start(rate, lab.total_steps, stage="refine"))
        if rules and any(trial.epochs > 1 and len(trial.curve) == 1 for trial in lab.trials):
            lab.warnings.append(
                "nothing was stopped: the training reports its metrics only at its end, so yield each epoch's"
            )
        result = _conclude(lab, settings, time.perf_counter() - started)
        if record is not None:
            record.set_result(result.to_json())
    return result


def _plan(lab: Laboratory, num_rates: int, refine: int) -> SpendingPlan:
    """Say what is trained: less where a rule stops a training, and where there is nothing to refine."""
    may_stop = any(isinstance(rule, EarlyStopping) for rule in lab.stopping)
    length = f"of {'at most ' if may_stop else ''}{counted(lab.epochs, 'epoch')}"
    more = f", then at most {refine} more around the best" if refine else ""
    most = "at most " if may_stop or refine else ""
    count = num_rates + refine
    return SpendingPlan(
        f"{counted(num_rates, 'training')} {length}{more}",
        float(count),
        most + steps_words(count, lab.total_steps),
        counted(count * lab.epochs, "evaluation"),
        num_starts=count,
        num_together=num_rates,
        cost_alone=float(refine),
    )


def _rules(stopping: object, mode: Mode, problem: Trainable) -> tuple[Rule, ...]:
    rules = rules_of(stopping, mode)
    one_rate = getattr(problem, "constant_rate_only", False)
    if one_rate and any(isinstance(rule, ReduceOnPlateau) for rule in rules):
        raise InvalidArgumentError(
            "ReduceOnPlateau cannot lower the rate of a function or a command, which takes one rate for the whole "
            "training: leave it out, or pass an object that trains step by step"
        )
    return rules


def _keep_weights(lab: Laboratory, trial: Trial) -> None:
    """Keep the weights that each trial ends with in the study; without one, those of the best trial so far alone."""
    if lab.study is not None:
        lab.shelf.settle(trial.number, {lab.step_of_weights(trial)})
        return
    best = best_trial(lab.trials, lab.mode)
    step = None if best is None else lab.step_of_weights(best)
    for each in lab.trials:
        lab.shelf.settle(each.number, {step} if each is best else set())


def _conclude(lab: Laboratory, settings: dict[str, Any], seconds: float) -> Sweep:
    alone = [_with_reductions(lab, lab.diagnosed(trial)) for trial in lab.trials]
    trials = beside_each_other(alone, lab.metric, lab.mode)
    best = best_trial(trials, lab.mode)
    epoch = None if best is None else best.curve.best(lab.metric, lab.mode)
    verdict = verdict_of(trials, lab.mode, lab.untrained_value)
    return Sweep(
        trials=trials,
        metric=lab.metric,
        mode=lab.mode,
        learning_rate=None if best is None else best.learning_rate,
        value=None if best is None else best.value,
        epochs=None if epoch is None else epoch.epoch,
        horizon=lab.epochs,
        untrained=lab.untrained_value,
        verdict=verdict,
        cost=lab.spent,
        seed=lab.seed,
        seconds=seconds,
        warnings=lab.warnings + lab.data_check.reasons_for(verdict),
        settings=settings,
        vectorized=None if lab.together is None else lab.together.why,
        framework=getattr(lab.problem, "framework", None),
        best=None if best is None else lab.weights(best),
    )


def _with_reductions(lab: Laboratory, trial: Trial) -> Trial:
    """Return a trial with the epochs after which a rule lowered its rate, found by telling the rules its curve."""
    rules = lab.rules_after(trial)
    reductions = [] if rules is None else rules.start(trial.learning_rate).reductions
    return msgspec.structs.replace(trial, reductions=reductions)


def best_trial(trials: list[Trial], mode: Mode) -> Trial | None:
    """Return the trial with the best value among those that did not diverge, the smaller rate where two are equal."""
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    sign = 1 if mode == "min" else -1
    return min(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.learning_rate), default=None)


def verdict_of(trials: list[Trial], mode: Mode, untrained: float | None) -> Verdict:
    """Say whether the best trial has worse ones on both sides, and if not, why there is no such answer."""
    best = best_trial(trials, mode)
    if best is None:
        return Verdict.ALL_DIVERGED
    values = {trial.value for trial in trials if trial.state is TrialState.COMPLETE}
    worst = max if mode == "min" else min
    no_better = untrained is not None and best.value is not None and worst(best.value, untrained) == best.value
    if no_better or (len(values) == 1 and len(trials) > 1 and all(t.state is TrialState.COMPLETE for t in trials)):
        return Verdict.FLAT
    rates = sorted(trial.learning_rate for trial in trials)
    if best.learning_rate == rates[0]:
        return Verdict.TOO_NARROW_LEFT
    return Verdict.TOO_NARROW_RIGHT if best.learning_rate == rates[-1] else Verdict.FOUND


def _between_the_best(trials: list[Trial], mode: Mode) -> float | None:
    best = best_trial(trials, mode)
    if best is None:
        return None
    ordered = sorted(trials, key=lambda trial: trial.learning_rate)
    place = ordered.index(best)
    neighbours = [ordered[i] for i in (place - 1, place + 1) if 0 <= i < len(ordered)]
    better = best_trial(neighbours, mode) or (neighbours[0] if neighbours else None)
    return None if better is None else math.sqrt(best.learning_rate * better.learning_rate)
