"""Search over any hyperparameters: the verb."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from learnrate import _checks
from learnrate._searching.folds import described, folds_of, mark_of
from learnrate._searching.plan import Plan, planned
from learnrate._searching.run import Run
from learnrate._searching.space import Space
from learnrate._trials.candidates import Candidates
from learnrate.errors import InvalidArgumentError
from learnrate.schedules import ScheduleMaker, constant
from learnrate.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from learnrate._searching.folds import Scorer
    from learnrate._searching.halving import Halving
    from learnrate._searching.samplers import SamplerName
    from learnrate.curves import Mode
    from learnrate.results import Search
    from learnrate.training import Engine, Event


def search(
    build: Callable[..., Any],
    space: Mapping[str, Any],
    *,
    epochs: int,
    sampler: SamplerName | None = None,
    num_trials: int | None = None,
    budget: float | None = None,
    halving: str | Halving | None = None,
    data: tuple[Any, Any] | None = None,
    cv: Any = None,
    scoring: str | None = None,
    stages: str | Iterable[Iterable[str]] | None = None,
    learning_rate: float | str | None = None,
    schedule: ScheduleMaker = constant,
    metric: str = "val_loss",
    mode: Mode | None = None,
    seed: int = 0,
    study: str | Path | None = None,
    engine: Engine | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Search:
    """Search for the best hyperparameters of any kind, the learning rate among them.

    Each trial is one point of the space: `build(**point)` makes its problem, which is trained in the same loop as
    everything else, and told to the sampler. No point is tried twice. `learning_rate`, where the space has it, is the
    peak of the schedule and is passed to `build` only if it has a parameter of that name, or takes any; `epochs` and
    `seed` likewise. Each trial has its own seed, from the search's and the trial's number. A trial that diverges or
    fails counts as one; where five fail in a row, the search ends.

    Args:
        build: Returns a new Trainable for its hyperparameters; or it trains by itself, and yields its metrics each
            epoch or returns them. What it draws at random it seeds by its parameter `seed`.
        space: Names and their values: `learnrate.log_uniform`, `uniform`, `integers`, `choice`, a list, or a frozen
            distribution of scipy.stats.
        epochs: Epochs of a full training.
        sampler: None searches in rounds of halving, first over all of the space and then around the best so far, where
            no `num_trials`, halving or stages are asked for, and is "tpe" where they are; a space of so few points that
            the budget covers them all is a "grid". "tpe" (tree-structured Parzen
            estimators), "gp" (Gaussian processes; needs PyTorch), "around" (around the best so far), "random", "qmc"
            (even coverage) or "grid".
        num_trials: How many points to try; all of a grid, else 20, where there is no budget either.
        budget: What may be spent, in full trainings; each fold's is one. Rounds spend 8, or 8 a fold, where it is not
            given. No trial begins that it does not cover, and with halving so many begin that it covers those that go
            on.
        halving: "successive", "hyperband" or a `learnrate.Halving`: all begin, the promising ones go on. None trains
            all to their end.
        data: `(x, y)`, the samples to split; `build` is then called with `train=(x, y)` and `validation=(x, y)` too.
        cv: With data: how many folds, the fraction to hold out, a splitter of scikit-learn, or pairs of places. Both
            numbers are stratified by class; floats are numbers to predict, not classes, unless all are 0 or 1.
        scoring: With data: a scorer's name in scikit-learn, such as "average_precision", which decides then.
        stages: "auto" tunes in the usual order of importance: the learning rate; then momentum, units and batch size;
            then layers and decay; and looks at the learning rate once more. Lists of names are stages of your own.
        learning_rate: A rate for all trials; or "select", which gives each its own by a short `learnrate.select`.
        schedule: Makes the schedule from a peak and a number of steps.
        metric: The deciding metric. Where nothing is validated, "val_loss" gives way to the training loss, with a
            warning.
        mode: "min" where a smaller metric is better, "max" where a larger one is; None goes by the metric's name.
        seed: Decides all randomness.
        study: A folder that remembers every finished training; the same call continues it.
        engine: Where trials are trained: `learnrate.LocalEngine(num_workers=…)` or `learnrate.RayEngine` train several
            at a time. The answer is the same with "grid", "random" and "qmc"; the other samplers propose by what has
            ended by then, and "tpe" and "gp" are told which trials are still running. With `learning_rate="select"` it
            trains each trial's own trainings.
        on_event: Called with every `Event` as it happens.

    Returns:
        A `Search`.

    Raises:
        InvalidArgumentError: If an argument cannot be used: nothing has been trained then.
        TrialFailedError: If all trials failed, or five in a row before any ended well.
        UnknownMetricError: If the training reports no such metric.
        StudyMismatchError: If the study was begun with another space or other settings.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> def build(noise):
        ...     return QuadraticTrainable(noise=noise)
        >>> space = {"learning_rate": learnrate.log_uniform(1e-3, 1e2), "noise": [0.0, 0.1]}
        >>> result = learnrate.search(build, space, epochs=2, num_trials=12)
        >>> result.verdict.value, len(result.trials)
        ('found', 12)
    """
    if (cv is not None or scoring is not None) and data is None:
        raise InvalidArgumentError("cv and scoring need the samples: pass data=(x, y), and let build take train= and "
                                   "validation=")  # fmt: skip  # two lines are enough
    if scoring is not None and metric != "val_loss":
        raise InvalidArgumentError(
            f"metric={metric!r} and scoring={scoring!r} were given: scoring decides, leave metric out"
        )
    seed = _checks.seed_integer(seed)
    folds = None if data is None else folds_of(data, 0.2 if cv is None else cv, seed)
    plan = planned(
        build,
        Space(space),
        num_folds=None if folds is None else len(folds),
        epochs=_checks.positive_integer("epochs", epochs),
        sampler=sampler,
        num_trials=num_trials,
        budget=budget,
        halving=halving,
        stages=stages,
        learning_rate=learning_rate,
        metric=metric if scoring is None else f"val_{scoring}",
        mode=_checks.mode_for(_checks.metric_name(metric), mode) if scoring is None else "max",
        schedule=schedule,
        seed=seed,
    )
    num_folds = 1 if folds is None else len(folds)
    if learning_rate == "select" and (halving is not None or num_folds > 1 or stages is not None):
        raise InvalidArgumentError('learning_rate="select" trains each candidate in its own way: leave halving, folds '
                                   "and stages out")  # fmt: skip  # two lines are enough
    settings = plan.settings | {"cv": None, "scoring": scoring, "folds": num_folds}
    if folds is not None:
        settings |= {"cv": described(cv), "split": mark_of(folds)}
    started = time.perf_counter()
    with (
        _opened(study, settings, plan) as record,
        Candidates(
            plan.build,
            epochs=epochs,
            schedule=schedule,
            metric=plan.metric,
            mode=plan.mode,
            folds=folds or [None],
            scorer=None if scoring is None else _scorer(scoring),
            learning_rate=None if learning_rate is None or isinstance(learning_rate, str) else float(learning_rate),
            study=record,
            engine=engine,
            budget=plan.cost_limit(num_folds),
            on_event=on_event,
        ) as bench,
    ):
        result = Run(plan, bench).result(settings, started)
        if record is not None:
            record.set_result(result.to_json())
    return result


def _scorer(scoring: str) -> Scorer:
    from learnrate.adapters._sklearn_scoring import SklearnScorer

    return SklearnScorer(scoring)


def _opened(
    path: str | Path | None, settings: dict[str, Any], plan: Plan
) -> contextlib.AbstractContextManager[Study | None]:
    if path is None:
        return contextlib.nullcontext()
    return Study.open(path, verb="search", settings=settings, identity={"build": plan.build.identity})
