"""What a person sees on standard error while a verb is at work: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from learnrate.results import Trial, TrialState, rate, short
from learnrate.training import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_QUIET_SECONDS = 10.0
"""How long plain lines stay silent during one trial: a person who waits longer wonders whether it still works."""


@contextlib.contextmanager
def shown(metric: str, epochs: int | None) -> Generator[Callable[[Event], None]]:
    """Give an `on_event` that shows the work on standard error, as fits what standard error is.

    Args:
        metric: The deciding metric.
        epochs: The epochs of a full training run, where the verb has such.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines(functools.partial(click.echo, err=True), metric)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[spent]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _LiveDisplay(bar, metric, epochs)


class PlainLines:
    """A line for each stage and each finished trial; one for an epoch only where nothing was said for a while."""

    def __init__(
        self, say: Callable[[str], object], metric: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._metric = metric
        self._clock = clock
        self._last = clock()

    def __call__(self, event: Event) -> None:
        """Say what happened, if it is worth a line."""
        if event.trial is None or event.kind is EventKind.STAGE:
            self._print(event.message)
        elif event.kind is EventKind.TRIAL_FINISHED:
            self._print(f"  {described(event.trial, self._metric)}; spent {_spent(event.spent, event.budget)}")
        elif event.kind is EventKind.EPOCH and self._clock() - self._last > _QUIET_SECONDS:
            self._print(f"  {described(event.trial, self._metric)}")

    def _print(self, line: str) -> None:
        self._say(line)
        self._last = self._clock()


class _LiveDisplay:
    """Finished trials scroll by above one moving line: the stage, the running trial, and what is spent."""

    def __init__(self, bar: Progress, metric: str, epochs: int | None) -> None:
        self._bar = bar
        self._metric = metric
        self._epochs = epochs
        self._task = bar.add_task("", total=None, spent="")
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        spent = event.spent
        description = ""
        if event.trial is not None and event.kind is EventKind.TRIAL_STARTED:
            self._began = event.trial.epochs
        if event.trial is None:
            self._bar.console.print(event.message)
        elif event.kind is EventKind.TRIAL_FINISHED:
            self._bar.console.print(f"  {described(event.trial, self._metric)}")
        else:
            description = described(event.trial, self._metric).removeprefix("learning rate ")  # 80 columns are few
            spent += (event.trial.epochs - self._began) / self._epochs if self._epochs else 0.0
        self._bar.update(
            self._task, description=description, total=event.budget, completed=spent, spent=_spent(spent, event.budget)
        )


def described(trial: Trial, metric: str) -> str:
    """Describe a trial in one line: its learning rate, how far it came and its best value, or how it ended.

    Example:
        >>> from learnrate.curves import LearningCurve
        >>> curve = LearningCurve.from_rows([(1, {"loss": 0.5}), (2, {"loss": 0.25})])
        >>> trial = Trial(
        ...     number=0,
        ...     hyperparameters={"learning_rate": 0.001},
        ...     state=TrialState.COMPLETE,
        ...     curve=curve,
        ...     value=0.25,
        ...     seed=0,
        ...     seconds=1.0,
        ...     epochs=2.0,
        ...     horizon=2.0,
        ... )
        >>> described(trial, "loss")
        'learning rate 1e-3: loss 0.25, 2 epochs'
    """
    name = metric if metric in trial.curve.metrics else "loss"
    value = "" if trial.value is None else f"{name} {short(trial.value, 3)}, "
    done = f"{short(trial.epochs, 2)} epoch{'' if trial.epochs == 1 else 's'}"
    head = f"learning rate {rate(trial.learning_rate)}: "
    if trial.state is TrialState.RUNNING:
        return f"{head}{value}{short(trial.epochs, 2)} of {short(trial.horizon, 2)} epochs"
    if trial.state in (TrialState.DIVERGED, TrialState.FAILED):
        return f"{head}{trial.state.value} after {done}"
    return f"{head}{value}{done}"


def _spent(spent: float, budget: float | None) -> str:
    return f"{spent:.1f} runs" if budget is None else f"{spent:.1f} of {budget:g} runs"
