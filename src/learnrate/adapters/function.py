"""A training loop of one's own: a function that yields its metrics each epoch, or returns them at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from learnrate._names import identity_of, name_of
from learnrate.adapters._function_calls import (
    is_generator_function,
    passed_arguments,
    shown,
    takes_learning_rate,
)
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.schedules import as_values, constant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from learnrate.curves import Array
    from learnrate.schedules import ScheduleMaker

__all__ = ["FunctionSnapshot", "FunctionTrainable", "is_generator_function", "takes_learning_rate"]

Metrics = dict[str, float]
Run = tuple[float | None, int, int]

HELD = 6
"""Generators that are held at a time, the running one among them. Each may hold a model in memory."""


class FunctionSnapshot(NamedTuple):
    """Which training stands where: its rate, epochs and seed, and the metrics of its epochs so far.

    The rate is None where nothing has begun. There are no weights in it: those are inside the function.
    """

    learning_rate: float | None = None
    epochs: int = 0
    seed: int = 0
    rows: tuple[Metrics, ...] = ()

    @property
    def run(self) -> Run:
        """What decides all that the function does."""
        return self.learning_rate, self.epochs, self.seed


class FunctionTrainable:
    """A function that trains from scratch at the learning rate that it is given; what it returns decides its kind.

    **A generator** yields a mapping of metrics after each epoch: those named `val_…` count as validation, all others
    as training metrics; what it does not yield is not made up. While a training is paused its generator is held,
    `HELD` at most; one that is gone is replayed from its first epoch when it has to go on, and `replayed_epochs`
    counts what that took. A training that is over, or will not go on, is closed, so that its `finally` and `with`
    blocks run. It need not know how many epochs there are: it may yield for ever.

    **Anything else** is the outcome of the whole training: a mapping of metrics, or a number, which is the metric that
    decides. Such a training comes in one piece, so `learnrate.select` begins it anew each time, for fewer epochs where
    it has a parameter `epochs`, and pays for each in full.

    Args:
        train: Called with `learning_rate=`, and with `epochs=`, `seed=` and `schedule=` where it has parameters of
            these names; `schedule(epoch)` is the rate of an epoch, counted from 0, when it goes by the verb's
            schedule. It has to build its model anew at each call. Without `seed` it should draw the same random
            numbers each time by itself, or rates are not compared over the same batches.

    Attributes:
        replayed_epochs: Epochs that were trained again because their generator was no longer held.
        takes_epochs: Whether a training can be asked for fewer epochs.
        warnings: What should be known about the answer.

    Raises:
        UnsupportedProblemError: The function has no parameter `learning_rate`, or has parameters of its own that
            have no default.

    Example:
        >>> def train(learning_rate):
        ...     weight = 1.0
        ...     while True:
        ...         weight -= learning_rate * weight
        ...         yield {"val_loss": weight**2}
        >>> problem = FunctionTrainable(train)
        >>> problem.begin(0.5, epochs=3, seed=0)
        >>> _ = problem.train([0.5])
        >>> problem.evaluate()
        {'val_loss': 0.25}
    """

    steps_per_epoch = 1
    constant_rate_only = True

    def __init__(self, train: Callable[..., Any]) -> None:
        self._function = train
        self._name = name_of(train)
        self._passed = passed_arguments(train, self._name)
        self._whole: bool | None = False if is_generator_function(train) else None
        self._now = FunctionSnapshot()
        self._held: dict[Run, _Held] = {}
        self._schedule: ScheduleMaker = constant
        self._metric = "val_loss"
        self.takes_epochs = "epochs" in self._passed
        self.replayed_epochs = 0
        self.warnings: list[str] = []

    def prepare(self, *, metric: str, schedule: ScheduleMaker, epochs: int, folder: Path | None) -> None:  # noqa: ARG002  # a command writes there
        """Learn what a verb asks for: the metric that decides, the schedule, the epochs, and its study's folder.

        Raises:
            InvalidArgumentError: The schedule is not constant, and the function has no parameter `schedule`.
        """
        rates = as_values(schedule(1.0, epochs), 0, epochs)
        if "schedule" not in self._passed and (rates != 1.0).any():
            raise InvalidArgumentError(self._told_once)
        self._metric, self._schedule = metric, schedule

    @property
    def whole(self) -> bool | None:
        """Whether a training comes in one piece; None until one has been begun that shows it."""
        return self._whole

    def comes_whole(self, learning_rate: float, epochs: int, seed: int) -> bool:
        """Return whether a training comes in one piece; where that is not known it is begun, and then gone on with."""
        if self._whole is None:
            self.begin(learning_rate, epochs, seed)
            self._hold(self._now.run, self._made())
        return bool(self._whole)

    def begin(self, learning_rate: float, epochs: int, seed: int) -> None:
        """Begin a fresh training; the function is called when its first epoch is asked for."""
        self._now = FunctionSnapshot(float(learning_rate), int(epochs), int(seed))
        held = self._held.get(self._now.run)
        if held is not None and held.epochs:
            self._close(self._now.run)

    def train(self, learning_rates: Array) -> dict[str, Array]:
        """Train one epoch per entry; return its training metrics.

        All are at the rate that the training began with, unless the function goes by the schedule itself.

        Raises:
            InvalidArgumentError: No training has begun or it is over, or the rate is another.
            UnsupportedProblemError: The function does not yield or return metrics as it should.
        """
        rows = [self._epoch(float(rate)) for rate in learning_rates]
        names = dict.fromkeys(name for row in rows for name in row if not name.startswith("val_"))
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}

    def evaluate(self) -> Metrics:
        """Return the metrics of the last epoch that are named `val_…`; none before the first."""
        last = self._now.rows[-1] if self._now.rows else {}
        return {name: value for name, value in last.items() if name.startswith("val_")}

    def snapshot(self) -> FunctionSnapshot:
        """Return which training stands where.

        Raises:
            UnsupportedProblemError: A training that comes in one piece is in its middle, where nothing can be kept.
        """
        done = len(self._now.rows)
        if 0 < done < self._now.epochs and self._whole:
            msg = (
                f"{self._name} trains all its epochs at once, so it cannot be left after {done} of "
                f"{self._now.epochs}: let it yield its metrics after each epoch"
            )
            raise UnsupportedProblemError(msg)
        return self._now

    def restore(self, snapshot: FunctionSnapshot) -> None:
        """Go to where a training stood; if its generator has moved on or is gone, it is replayed when it goes on."""
        self._now = snapshot

    def let_go(self, learning_rate: float) -> None:
        """Close the trainings at a rate: they will not go on."""
        for run in [run for run in self._held if run[0] == learning_rate]:
            self._close(run)

    def close(self) -> None:
        """Close all generators: nothing goes on from here."""
        for run in list(self._held):
            self._close(run)

    def save(self, snapshot: FunctionSnapshot, path: Path) -> None:
        """Write a snapshot as JSON."""
        path.write_text(json.dumps(snapshot._asdict()))

    def load(self, path: Path) -> FunctionSnapshot:
        """Read a snapshot that `save` wrote."""
        fields = json.loads(path.read_text())
        return FunctionSnapshot(**fields | {"rows": tuple(fields["rows"])})

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: the function's name."""
        return {"function": identity_of(self._function)}

    @property
    def _told_once(self) -> str:
        return (
            f"{self._name} is told its learning rate once: use a constant schedule and let it vary its rate itself, "
            f"or give it a parameter `schedule`, a function from an epoch to its rate"
        )

    def _epoch(self, rate: float) -> Metrics:
        now = self._now
        if now.learning_rate is None:
            raise InvalidArgumentError("no training has begun: call begin(learning_rate, epochs, seed) first")
        if rate != now.learning_rate and "schedule" not in self._passed:
            msg = f"the rate is {rate!r}, but this training began at {now.learning_rate!r}, and {self._told_once}"
            raise InvalidArgumentError(msg)
        if len(now.rows) >= now.epochs:
            raise InvalidArgumentError(f"all {now.epochs} epochs of this training are over: begin another")
        row = self._next_row()
        self._now = now._replace(rows=(*now.rows, row))
        return row

    def _next_row(self) -> Metrics:
        """Take the next row; the generator is given up if anything goes wrong on the way."""
        held = self._held.pop(self._now.run, None)
        if held is None or held.epochs != len(self._now.rows):
            if held is not None:
                held.close()
            held = self._replayed()
        row = self._yielded(held)
        if held.epochs == self._now.epochs:
            held.close()
        else:
            self._hold(self._now.run, held)
        return row

    def _hold(self, run: Run, held: _Held) -> None:
        while len(self._held) >= HELD:
            self._close(next(iter(self._held)))
        self._held[run] = held

    def _replayed(self) -> _Held:
        held = self._made()
        for known in self._now.rows:
            self.replayed_epochs += 1
            if not _same(self._yielded(held), known):
                self._warn(
                    f"{self._name} gave other metrics when its first epochs were replayed: let it seed all that it "
                    f"draws from, by {self._seeded}"
                )
        return held

    _seeded = "a parameter `seed` or by itself"

    def _made(self) -> _Held:
        """Call the function: what it returns is the training, an epoch at a time, or all that the training gave."""
        rate, epochs, seed = self._now.run
        given: dict[str, Any] = {"learning_rate": rate, "epochs": epochs, "seed": seed}
        if "schedule" in self._passed:
            given["schedule"] = self._schedule(float(rate or 0.0), epochs)
        result = self._function(**{name: given[name] for name in self._passed})
        self._whole = not isinstance(result, Iterator)
        if isinstance(result, Iterator):
            return _Held(cast("Iterator[Any]", result))
        row = self._checked({self._metric: result} if _is_number(result) else result, "returned")
        empty: Metrics = {}
        return _Held(chain(repeat(empty, epochs - 1), [row]))

    def _yielded(self, held: _Held) -> Metrics:
        try:
            value = next(held.rows)
        except StopIteration:
            if not held.epochs:
                msg = f"{self._name} yielded nothing: yield a mapping of metrics after each epoch"
            else:
                msg = (
                    f"{self._name} stopped after {held.epochs} of {self._now.epochs} epochs: let it yield once after "
                    f"each epoch, as many as its parameter `epochs` says or for ever, and leave stopping to learnrate"
                )
            raise UnsupportedProblemError(msg) from None
        held.epochs += 1
        if self._whole:
            return value
        try:
            return self._checked(value, "yielded")
        except UnsupportedProblemError:
            held.close()
            raise

    def _checked(self, value: Any, did: str) -> Metrics:
        metrics: dict[Any, Any] = dict(cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else {}
        if not metrics or not all(isinstance(name, str) and name for name in metrics):
            msg = f'{self._name} {did} {shown(value)}: {did[:-2]} a mapping of metrics such as {{"val_loss": 0.5}}'
            raise UnsupportedProblemError(msg)
        wrong = {name: one for name, one in metrics.items() if not _is_number(one)}
        if wrong:
            name, one = next(iter(wrong.items()))
            msg = f"{self._name} {did} {shown(one)} as {name!r}: each metric is one number"
            raise UnsupportedProblemError(msg)
        return {name: float(one) for name, one in metrics.items()}

    def _close(self, run: Run) -> None:
        held = self._held.pop(run, None)
        if held is not None:
            held.close()

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


class _Held:
    """A training that goes on when its next row is asked for, and how many it has given."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self.rows = rows
        self.epochs = 0

    def close(self) -> None:
        """End it, if it can be ended."""
        getattr(self.rows, "close", lambda: None)()


def _is_number(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray):
        return False
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor of several values raises the last
        return False
    return True


def _same(one: Metrics, other: Metrics) -> bool:
    return repr(sorted(one.items())) == repr(sorted(other.items()))  # repr, since NaN is equal to NaN here
