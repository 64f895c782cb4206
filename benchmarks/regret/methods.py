"""Ours: what `learnrate` is asked about a problem, and what it said."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from benchmarks.regret.answers import Answer, best_of
from benchmarks.regret.problem import schedule_factor
from benchmarks.regret.record import SEEDS, Trainer, train_plain

from learnrate import TorchTrainable, range_test, schedules, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from benchmarks.regret.problem import Parts, Task

    from learnrate.results import Recommendation


def problem_of(task: Task, seed: int) -> TorchTrainable:
    """The task as `learnrate` trains it."""
    parts = task.build(seed)
    return TorchTrainable(
        parts.model,
        parts.optimizer,
        parts.loss_fn,
        parts.train_loader,
        parts.validation_loader,
        training_step=None if parts.training_step is None else partial(_step, parts),
        accumulate=parts.accumulate,
    )


def _step(parts: Parts, model: Any, batch: Any) -> torch.Tensor:
    """A training step of the task's own; validation is by the plain loss, as when it was recorded."""
    if model.training:
        assert parts.training_step is not None
        return parts.training_step(model, batch)
    return parts.loss_fn(model(batch[0]), batch[1])


def schedule_of(task: Task) -> Callable[[float, int], schedules.Schedule]:
    """The task's schedule, made by `learnrate`."""
    settings = dict(task.schedule_settings)
    if task.schedule == "one_cycle":
        start = 1 / settings["div_factor"]
        settings = {
            "rise_fraction": settings["pct_start"],
            "start_fraction": start,
            "final_fraction": start / settings["final_div_factor"],
        }
    if task.schedule == "warmup_stable_decay":
        settings["shape"] = "linear"
    return schedules.by_name(task.schedule, **settings)


def function_of(task: Task, seed: int) -> Callable[[float], Iterator[dict[str, float]]]:
    """The task as a loop of somebody's own: a generator of its learning rate that yields each epoch's losses."""

    def train(learning_rate: float) -> Iterator[dict[str, float]]:
        trainer = Trainer(task, seed)
        rates = learning_rate * schedule_factor(task, np.arange(task.total_steps), task.total_steps)
        for epoch in rates.reshape(task.epochs, -1).tolist():
            loss = float(np.mean([trainer.update(rate) for rate in epoch]))
            yield {"loss": loss, "val_loss": trainer.evaluate() if np.isfinite(loss) else float("nan")}

    return train


def ask_select(task: Task, seed: int, *, budget: float) -> Answer:
    """`select` on the task's own schedule."""
    result = select(problem_of(task, seed), epochs=task.epochs, schedule=schedule_of(task), budget=budget, seed=seed)
    return _answer(task, seed, result)


def ask_schedule_too(task: Task, seed: int, *, budget: float) -> Answer:
    """`select` that chooses the schedule; its worth is that of plain trainings on what it recommends."""
    result = select(problem_of(task, seed), epochs=task.epochs, budget=budget, seed=seed)
    answer = _answer(task, seed, result)
    if result.learning_rate is None:
        return answer
    settings = result.schedule["settings"] if result.schedule["name"] != "constant" else {}
    advised = replace(task, schedule=result.schedule["name"], schedule_settings=settings)
    runs = [train_plain(advised, result.learning_rate, each, marks=advised.epoch_ends) for each in SEEDS]
    decay = result.decay
    details = {
        **answer.details,
        "metrics": [best_of(run.untrained, run.val_loss) for run in runs],
        "decay": None
        if decay is None
        else {
            "is_better": decay.is_better,
            "constant": decay.constant,
            "value": decay.trial.value,
        },
    }
    return replace(answer, details=details)


def ask_function(task: Task, seed: int, *, budget: float) -> Answer:
    """`select` of a function that has its schedule inside."""
    return _answer(task, seed, select(function_of(task, seed), epochs=task.epochs, budget=budget, seed=seed))


def _answer(task: Task, seed: int, result: Recommendation) -> Answer:
    return Answer("", task.name, seed, result.learning_rate, cost=result.cost, with_final=True, details=_said(result))


def _said(result: Recommendation) -> dict[str, Any]:
    """What a recommendation says beside its learning rate, and which trainings it rests on."""
    return {
        "interval": result.interval,
        "confidence": result.confidence,
        "breaks": None if result.breaks is None else msgspec.structs.asdict(result.breaks),
        "epochs": result.epochs,
        "value": result.value,
        "bands": [
            (it.learning_rate, it.low, it.high)
            for it in (result.yours, *result.slower)
            if it is not None and not it.measured
        ],
        "verdict": result.verdict.value,
        "seconds": result.seconds,
        "trials": [(it.learning_rate, it.epochs, it.state.value) for it in result.trials],
    }


def ask_range_test(task: Task, seed: int) -> Answer:
    """Our suggestion, also where the verdict withholds it: whoever goes on regardless would use it."""
    result = range_test(problem_of(task, seed), seed=seed)
    details = {
        "verdict": result.verdict.value,
        "warned": result.verdict.value != "found" or any("may be off" in it for it in result.warnings),
        "withheld": result.learning_rate is None,
        "cliff": result.cliff,
        "suggestions": result.suggestions,
    }
    rate = result.suggestions.get("learnrate")
    return Answer("", task.name, seed, rate, cost=len(result.losses) / task.total_steps, details=details)


METHODS: dict[str, Callable[[Task, int], Answer]] = {
    **{f"select_{budget}": partial(ask_select, budget=float(budget)) for budget in ("1", "1.3", "2", "3", "5")},
    **{f"function_{budget}": partial(ask_function, budget=float(budget)) for budget in ("2", "3")},
    **{f"schedule_too_{budget}": partial(ask_schedule_too, budget=float(budget)) for budget in ("2", "3")},
    "range_test": ask_range_test,
}
