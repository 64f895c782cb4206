"""Find the learning rate to use, by training: a race from decades down to quarter decades."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from learnrate import _checks
from learnrate._selection.conclusion import conclude, improved
from learnrate._selection.decay import decayed, first_step, why_constant
from learnrate._selection.plan import budget_plan
from learnrate._selection.race import Race
from learnrate._selection.schedules_compared import select_among
from learnrate._trials.laboratory import Laboratory, open_study
from learnrate._trials.stacked import Vectorized, checked_vectorized
from learnrate.errors import InvalidArgumentError
from learnrate.schedules import ScheduleMaker, constant, describe
from learnrate.training import Engine, Event, Trainable, require_trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from learnrate.curves import Mode
    from learnrate.results import Recommendation


def select(
    problem: Trainable | Callable[..., Any],
    *,
    epochs: int,
    schedule: ScheduleMaker | None = None,
    schedules: Sequence[ScheduleMaker] | None = None,
    budget: float = 2.0,
    metric: str = "val_loss",
    mode: Mode | None = None,
    start: float | None = None,
    min_learning_rate: float = 1e-7,
    max_learning_rate: float = 10.0,
    seed: int = 0,
    study: str | Path | None = None,
    engine: Engine | None = None,
    vectorized: Vectorized = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> Recommendation:
    """Find the learning rate to use, say how sure that is, and what it costs to use another.

    A race: rates a decade apart, the problem's own among them, are trained until a thirty-second of the schedule's
    summed rate is spent, until the best has worse ones on both sides; rates half a decade apart around the best of
    these then, until three sixteenths are; and two or three a quarter of a decade apart as far as the
    budget takes them. The best of these goes on to the end. Each is the beginning of a full training on the schedule
    asked for, from the same weights over the same batches, so that small differences count and nothing is trained
    twice. A short training prefers another rate than a long one, which decides what is trained next, never what is
    recommended: that has reached the best value of all that was trained. The problem is left as it was found;
    `problem.restore(answer.best)` loads the winner's weights.

    A function or a command runs the same race in whole epochs: a generator is held while another trains. Where a
    training comes in one piece, each is begun anew and paid in full, a shorter one too, where it can be had for fewer
    epochs; otherwise a budget of N affords N trainings, a decade apart until the best has worse ones on both sides,
    then closer; 6 are usually enough, and the answer says where they are not.

    Args:
        problem: What to train: a `Trainable`, a generator function that yields its metrics each epoch, or a function
            that returns them at the end (see `learnrate.FunctionTrainable`).
        epochs: How many epochs the training is meant to have.
        schedule: Makes the schedule from a peak and a number of steps, as `learnrate.schedules.cosine` does. None, the
            default, leaves it to the trainings: the race is run at constant rates over four fifths of the horizon, in
            whole epochs where a fifth is one, and the winner goes on from there with its rate falling to zero along a
            line; where the budget allows, it goes on without the fall too. The better one is recommended, and
            `answer.decay` says what the fall brought. Functions and commands stay at their constant rate.
        schedules: Several makers to choose from: the peak is selected for each at the same budget, and the answer is
            that of the best, with what each reached in `answer.schedules`. It costs the budget times their number.
        budget: What may be spent, in full training runs, the winner's own included: at least 1. 2 is where the answer
            becomes reliable; more goes into full-length comparisons. It may be passed by half an epoch.
        metric: The deciding metric. Where nothing is validated, "val_loss" gives way to the training loss, with a
            warning.
        mode: "min" where a smaller metric is better, "max" where a larger one is; None goes by the metric's name.
        start: The learning rate that you use today. It takes part, and what it costs is said. By default the one that
            the problem comes with, 1e-3 where it has none.
        min_learning_rate: Nothing below is tried.
        max_learning_rate: Nothing above is tried.
        seed: Decides the order of the batches and all other randomness of the trainings.
        study: A folder that remembers every finished training; the same call continues it.
        engine: Where to train; None for this process. With workers the probes are trained at a time.
        vectorized: Whether to train the probes, which are known together, in one program: as in `learnrate.sweep`.
        on_event: Called with every `Event` as it happens.

    Returns:
        A `Recommendation`.

    Raises:
        InvalidArgumentError: If an argument cannot be used.
        UnsupportedProblemError: If the problem cannot be trained, or not in one program with `vectorized=True`.
        UnknownMetricError: If the training reports no such metric.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> answer = learnrate.select(QuadraticTrainable(), epochs=8)
        >>> answer.verdict.value
        'found'
    """
    if schedules is not None:
        if schedule is not None:
            raise InvalidArgumentError("both schedule and schedules are given: pass one of them")
        one = functools.partial(
            select,
            problem,
            epochs=epochs,
            budget=budget,
            metric=metric,
            mode=mode,
            start=start,
            min_learning_rate=min_learning_rate,
            max_learning_rate=max_learning_rate,
            seed=seed,
            engine=engine,
            vectorized=vectorized,
        )
        return select_among(schedules, study, one, on_event)
    problem = require_trainable(problem)
    low, high = _checks.learning_rate_range(min_learning_rate, max_learning_rate)
    settings: dict[str, Any] = {
        "epochs": _checks.positive_integer("epochs", epochs),
        "schedule": None if schedule is None else describe(schedule),
        "budget": _checks.budget_number(budget),
        "metric": _checks.metric_name(metric),
        "mode": (mode := _checks.mode_for(metric, mode)),
        "start": (start := _checks.start_rate(start, low, high)),
        "min_learning_rate": low,
        "max_learning_rate": high,
        "seed": _checks.seed_integer(seed),
    }
    vectorized = checked_vectorized(vectorized)
    started = time.perf_counter()
    with (
        open_study(study, verb="select", settings=settings, problem=problem, method="race") as record,
        Laboratory(
            problem,
            epochs=epochs,
            schedule=constant if schedule is None else schedule,
            metric=metric,
            mode=mode,
            seed=seed,
            budget=float(budget),
            study=record,
            engine=engine,
            vectorized=vectorized,
            num_copies=3,
            on_event=on_event,
        ) as lab,
    ):
        can_ramp = not getattr(problem, "constant_rate_only", False)
        lab.estimates_untrained = not can_ramp  # a function's model cannot be evaluated before it trains
        end = None
        if schedule is None:
            why = why_constant(problem, lab.total_steps)
            end = first_step(lab.total_steps, epochs) if why is None else None
            lab.take_warnings([why] if why else [])
        begin = start or getattr(problem, "learning_rate", None) or 1e-3
        race = Race(lab, low, high, begin, can_ramp=can_ramp, end=end)
        if hasattr(problem, "comes_whole") and getattr(problem, "whole", None) is None:
            lab.announce_plan(budget_plan(lab))  # to know more, one must begin
        lab.find_pieces(race.start, race.first_step)
        winner = race.run()
        decay = None
        if end is not None and winner is not None and improved(lab, winner) is not None:
            winner, decay = decayed(lab, winner)
        answer = conclude(lab, race, winner, decay, settings=settings, seconds=time.perf_counter() - started)
        if record is not None:
            record.set_result(answer.to_json())
    return answer
