"""Which schedule? The best learning rate under each, and what each then reaches at the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from learnrate.errors import InvalidArgumentError
from learnrate.results import ScheduleOutcome
from learnrate.schedules import ScheduleMaker, describe, settings_told
from learnrate.training import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from learnrate.results import Recommendation
    from learnrate.training import Event


def select_among(
    schedules: Sequence[ScheduleMaker],
    study: str | Path | None,
    select_one: Callable[..., Recommendation],
    on_event: Callable[[Event], None] | None = None,
) -> Recommendation:
    """Select a learning rate for each schedule; return the recommendation of the best, with what each reached.

    Args:
        schedules: The schedules' makers, each another.
        study: A folder for a study of each schedule, by its place and name; None for no study.
        select_one: Selects for `schedule=`, `study=` and `on_event=`.
        on_event: Called with every `Event`; the stages are named by their schedule.
    """
    names = _names(schedules)
    answers: list[Recommendation] = []
    for place, (name, schedule) in enumerate(zip(names, schedules, strict=True), 1):
        folder = None if study is None else Path(study) / f"{place}-{name}"
        answer = select_one(schedule=schedule, study=folder, on_event=_telling(on_event, name, place, len(names)))
        best = min(range(len(answers)), key=lambda i: _rank(answers[i]), default=None)
        if best is not None and _rank(answer) >= _rank(answers[best]):
            answer = msgspec.structs.replace(answer, best=None)  # one set of weights is kept, the best schedule's
        elif best is not None:
            answers[best] = msgspec.structs.replace(answers[best], best=None)
        answers.append(answer)
    winner = min(answers, key=_rank)
    return msgspec.structs.replace(
        winner,
        cost=sum(answer.cost for answer in answers),
        budget=sum(answer.budget for answer in answers),
        seconds=sum(answer.seconds for answer in answers),
        schedules=[_outcome(answer) for answer in answers],
    )


def _telling(
    on_event: Callable[[Event], None] | None, name: str, place: int, count: int
) -> Callable[[Event], None] | None:
    """Return an `on_event` that names the schedule in plans and stages: each schedule has the same ones."""
    if on_event is None:
        return None
    names = {EventKind.STAGE: name, EventKind.PLAN: f"{name}, schedule {place} of {count}"}

    def tell(event: Event) -> None:
        named = f"{names[event.kind]}: {event.message}" if event.kind in names else event.message
        on_event(msgspec.structs.replace(event, message=named))

    return tell


def _names(schedules: Sequence[ScheduleMaker]) -> list[str]:
    if not schedules:
        raise InvalidArgumentError("schedules is empty: pass makers such as [schedules.constant, schedules.cosine]")
    described: list[dict[str, Any]] = [describe(schedule) for schedule in schedules]
    for place, one in enumerate(described):
        if one in described[:place] and not one.get("custom"):
            raise InvalidArgumentError(f"schedules holds {one['name']} with the same settings twice: pass each once")
    return ["".join(c if c.isalnum() or c in "_-" else "-" for c in one["name"]) for one in described]


def _rank(answer: Recommendation) -> float:
    if answer.value is None:
        return float("inf")
    return answer.value if answer.mode == "min" else -answer.value


def _outcome(answer: Recommendation) -> ScheduleOutcome:
    return ScheduleOutcome(
        name=settings_told(answer.schedule),
        schedule=answer.schedule,
        learning_rate=answer.learning_rate,
        interval=answer.interval,
        value=answer.value,
        epochs=answer.epochs,
        verdict=answer.verdict,
        cost=answer.cost,
    )
