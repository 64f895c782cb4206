"""What the trainings of every verb have around them: the metric that decides, a study, events, and workers."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from learnrate._checks import did_you_mean
from learnrate._diagnose import diagnose
from learnrate._trials.best import deciding
from learnrate._trials.elsewhere import scratch
from learnrate._trials.spending import WORTH_TELLING, Timing
from learnrate.engines.local import LocalEngine
from learnrate.errors import InvalidArgumentError, UnknownMetricError
from learnrate.training import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable
    from pathlib import Path

    from learnrate._trials.spending import SpendingPlan
    from learnrate._trials.tasks import Workers
    from learnrate.curves import Mode
    from learnrate.results import Trial
    from learnrate.schedules import ScheduleMaker
    from learnrate.study import Study
    from learnrate.training import Engine

_KEPT = "what the study has of it is not trained again"


class Bench:
    """Where a verb has its trainings done.

    Args:
        epochs: The horizon: a full training run.
        schedule: Makes the schedule of a learning rate and a number of steps.
        metric: The deciding metric; "val_loss" gives way to "loss" where nothing is validated.
        mode: Whether the metric is better when small ("min") or large ("max").
        budget: What may be spent, in full runs; None for no limit.
        study: Remembers finished segments; None for no study.
        engine: Where segments are trained; None for this process.
        on_event: Receives every `Event` as it happens.

    Raises:
        InvalidArgumentError: The engine is none, or what is to receive events cannot be called.
    """

    def __init__(
        self,
        *,
        epochs: int,
        schedule: ScheduleMaker,
        metric: str,
        mode: Mode,
        budget: float | None,
        study: Study | None,
        engine: Engine | None,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        if engine is not None and not hasattr(engine, "has_workers"):
            raise InvalidArgumentError(f"engine is {engine!r}: pass learnrate.LocalEngine(…) or learnrate.RayEngine(…)")
        if on_event is not None and not callable(on_event):
            raise InvalidArgumentError(f"on_event is {on_event!r}: pass a function of one argument, an event")
        self.epochs = epochs
        self.schedule = schedule
        self.metric: str = metric
        self.mode: Mode = mode
        self.budget = budget
        self.study = study
        self.engine: Engine = LocalEngine() if engine is None else engine
        self.warnings: list[str] = []
        self.spent: float = 0.0
        self._on_event = on_event
        self._stage = ""
        self._plan: SpendingPlan | None = None
        self._time_is_told = False
        self.timing = Timing(self)
        self._exit = contextlib.ExitStack()

    def take_warnings(self, told: Iterable[str]) -> None:
        """Take what a problem warns of, each warning once."""
        self.warnings += [one for one in dict.fromkeys(told) if one not in self.warnings]

    def announce(self, stage: str) -> None:
        """Tell that a stage of the work begins, in words."""
        self._stage = stage
        self.tell(EventKind.STAGE)

    def announce_plan(self, plan: SpendingPlan) -> None:
        """Tell what the work will spend; it is told again with the time once that is known."""
        if self.study is not None and self.study.trials():
            plan = plan._replace(course=f"{plan.course}; {_KEPT}" if plan.course else _KEPT)
        self._plan = plan
        self._tell(EventKind.PLAN, plan.words())

    def tell(self, kind: EventKind, trial: Trial | None = None) -> None:
        """Tell what happens."""
        self._tell(kind, self._stage, trial)
        if trial is not None:
            self.timing.take(kind, trial)
            self._tell_time()

    def _tell(self, kind: EventKind, message: str, trial: Trial | None = None) -> None:
        if self._on_event is not None:
            self._on_event(Event(kind=kind, message=message, spent=self.spent, budget=self.budget, trial=trial))

    @contextlib.contextmanager
    def timed(self) -> Generator[None]:
        """Time what is trained meanwhile and tells no rows."""
        spent, began = self.spent, time.perf_counter()
        yield
        if self.spent > spent:
            self.timing.took(self.spent - spent, time.perf_counter() - began)
            self._tell_time()

    def _tell_time(self) -> None:
        if self._plan is None or self._time_is_told:
            return
        left = self.timing.seconds_left(self._plan, self.spent)
        if left is not None and left >= WORTH_TELLING:
            self._time_is_told = True
            self._tell(EventKind.PLAN, self._plan.words(left))

    @property
    def num_at_a_time(self) -> int:
        """How many trainings go on at a time, as far as is known now."""
        return 1

    @property
    def begins_anew(self) -> bool:
        """Whether each training has a start of its own, as a script has its imports."""
        return False

    def cost_of_epochs(self, first: float, last: float) -> float:
        """Return what training costs from one epoch to another, in full training runs."""
        return (last - first) / self.epochs

    def deciding(self, known: Iterable[str]) -> str:
        """Return the deciding metric among those reported."""
        return deciding(self.metric, known)

    def choose_metric(self, known: Collection[str]) -> None:
        """Find out from what is reported whether there is the metric that decides.

        Raises:
            UnknownMetricError: If there is none of that name.
        """
        if self.metric in known:
            return
        if self.metric == "val_loss" and "loss" in known:
            self.metric = "loss"
            self.warnings.append(
                "there is no validation loss, so the training loss decides: it does not see overfitting"
            )
            return
        names, hint = ", ".join(sorted(known)) or "none at all", did_you_mean(self.metric, known)
        msg = f"no metric is named {self.metric!r}: pass as metric= one that the training reports: {names}{hint}"
        raise UnknownMetricError(msg)

    @property
    def evaluated_untrained(self) -> float | None:
        """The deciding metric before training; None where that was not evaluated or differs from trial to trial."""
        return None

    @property
    def num_validation_samples(self) -> int | None:
        """How many samples the validation metrics are a mean over, where that is known and the same for all."""
        return None

    def diagnosed(self, trial: Trial) -> Trial:
        """Return a trial with its diagnosis, where it has a curve to read one from."""
        if not len(trial.curve) or self.metric not in trial.curve.metrics:
            return trial
        diagnosis = diagnose(
            trial.curve,
            metric=self.metric,
            mode=self.mode,
            untrained=self.evaluated_untrained,
            num_validation_samples=self.num_validation_samples,
        )
        return msgspec.structs.replace(trial, diagnosis=diagnosis)

    def scratch(self) -> Path:
        """Return a folder for files on their way, which is deleted in the end."""
        return self._exit.enter_context(scratch(None if self.study is None else self.study.folder))

    def opened(self, folder: Path) -> Workers:
        """Begin the engine's workers, which end with this."""
        workers = self.engine.open(folder)
        self._exit.callback(workers.close)
        return workers
