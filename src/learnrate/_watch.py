"""Watch a verb at work from Python: lines in logs and notebooks, the report, TensorBoard's files."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, TextIO

from learnrate._checks import mode_for
from learnrate._watching.lines import PlainLines

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from learnrate.curves import Mode
    from learnrate.training import Event


@contextlib.contextmanager
def watch(
    *,
    metric: str = "val_loss",
    mode: Mode | None = None,
    report: str | Path | None = None,
    tensorboard: str | Path | None = None,
    file: TextIO | None = None,
) -> Generator[Callable[[Event], None]]:
    """Give an `on_event` that shows a verb at work, as the command line does.

    A line for what will be spent, each stage and each finished training: its learning rate, its curve as a few bars,
    the best rate so far, what is spent and about how long the rest takes; divergences as they happen.

    Args:
        metric: The deciding metric, as the verb is given it; "val_loss" gives way to "loss" where nothing is validated.
        mode: "min" where a smaller metric is better, "max" where a larger one is; None goes by the metric's name.
        report: Where to write the report while the verb is at work; the open page reloads itself. Afterwards
            `answer.report(path)` writes the answer there.
        tensorboard: A folder for TensorBoard: a run for each training.
        file: Where the lines go; None for standard error.

    Raises:
        InvalidArgumentError: If the report cannot be written there, or nothing says what is better.
        MissingExtraError: If tensorboard is asked for and not installed.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> with learnrate.watch() as on_event:
        ...     result = learnrate.sweep(QuadraticTrainable(), [0.01, 0.1], epochs=2, on_event=on_event)
        >>> result.learning_rate
        0.1
    """
    out = sys.stderr if file is None else file

    def say(line: str) -> None:
        out.write(line.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8") + "\n")
        out.flush()

    mode = mode_for(metric, mode)
    with contextlib.ExitStack() as at_work:
        onlookers: list[Callable[[Event], None]] = [PlainLines(say, metric, mode)]
        if report is not None:
            from learnrate._watching.live import LiveReport

            onlookers.append(at_work.enter_context(LiveReport(report, metric=metric, mode=mode)))
        if tensorboard is not None:
            from learnrate._watching.tensorboard import TensorBoard

            onlookers.append(at_work.enter_context(TensorBoard(tensorboard)))

        def tell(event: Event) -> None:
            for onlooker in onlookers:
                onlooker(event)

        yield tell
