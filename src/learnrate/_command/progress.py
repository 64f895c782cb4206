"""What a person sees on standard error while a verb is at work: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from learnrate._command.printable import printable
from learnrate._numbers import duration
from learnrate._watching.lines import PlainLines, announced, described, sparkline, spent_words
from learnrate._watching.tally import Tally
from learnrate.results import TrialState
from learnrate.training import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from learnrate.curves import Mode
    from learnrate.results import Trial

_MOST_RUNNING = 8
"""Trials that are shown while they run: more would push the rest off a terminal of 24 lines."""


@contextlib.contextmanager
def shown(metric: str, mode: Mode = "min") -> Generator[Callable[[Event], None]]:
    """Give an `on_event` that shows the work on standard error, as fits what standard error is.

    Args:
        metric: The deciding metric.
        mode: Whether it is better when small ("min") or large ("max").
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines(lambda line: click.echo(printable(line), err=True), metric, mode, bars=writes_bars())
        return
    display = _Display(console, Tally(metric, mode))
    with Live(display, console=console, transient=True, refresh_per_second=8):
        yield display


def writes_bars() -> bool:
    """Whether standard error can show the bars of a curve."""
    try:
        "▁█×".encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


class _Display:
    """Finished trials scroll by above the moving part: each running trial's curve, the best so far, what is left."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console = console
        self._tally = tally
        self._bars = writes_bars()
        self._spinner = Spinner("dots" if self._bars else "line")

    def __call__(self, event: Event) -> None:
        self._tally(event)
        trial = event.trial
        if trial is None:
            self._console.print(Text(printable(announced(event)), style="bold"))
        elif event.kind is EventKind.TRIAL_FINISHED:
            broke = trial.state in (TrialState.DIVERGED, TrialState.FAILED)
            self._console.print(Text(f"  {self._line(trial)}", style="red" if broke else ""))

    def _line(self, trial: Trial) -> str:
        bars = sparkline(trial, self._tally.metric) if self._bars else ""
        return printable(f"{described(trial, self._tally.metric)}  {bars}".rstrip())

    def __rich__(self) -> Group:
        tally = self._tally
        running = [Text(f"  {self._line(trial)}", style="cyan") for trial in tally.running[-_MOST_RUNNING:]]
        best = tally.best
        lines = [Text(printable(f"  best so far: {described(best, tally.metric)}"), style="green")] if best else []
        foot = Table.grid(padding=(0, 1))
        bar = (
            ProgressBar(total=tally.budget, completed=min(tally.spent, tally.budget), width=16) if tally.budget else ""
        )
        foot.add_row(self._spinner, bar, Text(f"{spent_words(tally)}; {duration(tally.seconds)} so far"))
        return Group(*running, *lines, foot)
