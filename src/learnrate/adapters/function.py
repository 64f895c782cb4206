"""A training loop of one's own: a function that yields its metrics each epoch, or returns them at the end."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from learnrate.curves import Array

__all__ = ["FunctionSnapshot", "FunctionTrainable"]

Metrics = dict[str, float]

HELD = 4
"""Generators that are held while paused: those that `select` compares last. Each may hold a model in memory."""


class FunctionSnapshot(NamedTuple):
    """Which training stands where: its rate, epochs and seed, and the metrics of its epochs so far.

    The rate is None where nothing has begun. There are no weights in it: those are inside the function.
    """

    learning_rate: float | None = None
    epochs: int = 0
    seed: int = 0
    rows: tuple[Metrics, ...] = ()

    @property
    def run(self) -> tuple[float | None, int, int]:
        """What decides all that the function does."""
        return self.learning_rate, self.epochs, self.seed


class FunctionTrainable:
    """A function or generator function that trains from scratch at the learning rate that it is given.

    A generator function yields a mapping of metrics after each epoch: those named `val_…` count as validation, all
    others as training metrics; what it does not yield is not made up. While a training is paused its generator is
    held, `HELD` at most; one that is gone is replayed from its first epoch when it has to go on, and
    `replayed_epochs` counts what that took. A training that is over, or will not go on, is closed, so that its
    `finally` and `with` blocks run. It need not know how many epochs there are: it may yield for ever.

    A plain function trains all epochs and returns a mapping of metrics, or a number, which is its "val_loss". It can
    not be paused, so `learnrate.sweep` takes it, and `learnrate.select` asks for a generator.

    Args:
        train: Called with `learning_rate=`, and with `epochs=` and `seed=` where it has parameters of these names.
            It has to build its model anew at each call. Without `seed` it should draw the same random numbers each
            time by itself, or rates are not compared over the same batches.

    Attributes:
        replayed_epochs: Epochs that were trained again because their generator was no longer held.
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
        self._name = _name_of(train)
        self._passed = _passed(train, self._name)
        self._pauses = is_generator_function(train)
        self._now = FunctionSnapshot()
        self._held: dict[tuple[float | None, int, int], _Held] = {}
        self.replayed_epochs = 0
        self.warnings: list[str] = []

    def begin(self, learning_rate: float, epochs: int, seed: int) -> None:
        """Begin a fresh training; the function is called when its first epoch is asked for."""
        self._now = FunctionSnapshot(float(learning_rate), int(epochs), int(seed))
        self._close(self._now.run)

    def train(self, learning_rates: Array) -> dict[str, Array]:
        """Train one epoch per entry, all at the rate that the training began with; return its training metrics.

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
            UnsupportedProblemError: A plain function is in the middle of its training, where nothing can be kept.
        """
        done = len(self._now.rows)
        if 0 < done < self._now.epochs and not self._pauses:
            msg = (
                f"{self._name} trains all its epochs at once, so it cannot be left after {done} of "
                f"{self._now.epochs}: use learnrate.sweep, which trains to the end at each rate, or let {self._name} "
                f"yield its metrics after each epoch (`yield from` where it passes on another generator)"
            )
            raise UnsupportedProblemError(msg)
        return self._now

    def restore(self, snapshot: FunctionSnapshot) -> None:
        """Go to where a training stood; if its generator has moved on or is gone, it is replayed when it goes on."""
        self._now = snapshot

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
        return {"function": self._name}

    def _epoch(self, rate: float) -> Metrics:
        now = self._now
        if now.learning_rate is None:
            raise InvalidArgumentError("no training has begun: call begin(learning_rate, epochs, seed) first")
        if rate != now.learning_rate:
            msg = (
                f"the rate is {rate!r}, but this training began at {now.learning_rate!r}, and {self._name} is told "
                f"its rate once: use a constant schedule, and let {self._name} vary its rate itself"
            )
            raise InvalidArgumentError(msg)
        if len(now.rows) >= now.epochs:
            raise InvalidArgumentError(f"all {now.epochs} epochs of this training are over: begin another")
        row = self._next_row() if self._pauses else self._result_at_the_end()
        self._now = now._replace(rows=(*now.rows, row))
        return row

    def _result_at_the_end(self) -> Metrics:
        if len(self._now.rows) < self._now.epochs - 1:
            return {}
        result = self._call()
        if isinstance(result, Generator):
            msg = f"{self._name} returned a generator, but is not a generator function itself: write `yield from` in it"
            raise UnsupportedProblemError(msg)
        return self._checked({"val_loss": result} if _is_number(result) else result, "returned")

    def _next_row(self) -> Metrics:
        """Take the next yield; the generator is given up if anything goes wrong on the way."""
        held = self._held.pop(self._now.run, None)
        if held is None or held.epochs != len(self._now.rows):
            if held is not None:
                held.generator.close()
            held = self._replayed()
        row = self._yielded(held)
        if held.epochs == self._now.epochs:
            held.generator.close()
            return row
        while len(self._held) >= HELD:
            self._close(next(iter(self._held)))
        self._held[self._now.run] = held
        return row

    def _replayed(self) -> _Held:
        called = self._call()
        if not isinstance(called, Generator):
            msg = f"{self._name} returned {_shown(called)}, not the generator that it looks like"
            raise UnsupportedProblemError(msg)
        held = _Held(cast("Generator[Any]", called))
        for known in self._now.rows:
            self.replayed_epochs += 1
            if not _same(self._yielded(held), known):
                self._warn(
                    f"{self._name} gave other metrics when its first epochs were replayed: let it seed all that it "
                    f"draws from, by a parameter `seed` or by itself"
                )
        return held

    def _yielded(self, held: _Held) -> Metrics:
        try:
            value = next(held.generator)
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
        try:
            return self._checked(value, "yielded")
        except UnsupportedProblemError:
            held.generator.close()
            raise

    def _checked(self, value: Any, did: str) -> Metrics:
        metrics: dict[Any, Any] = dict(cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else {}
        if not metrics or not all(isinstance(name, str) and name for name in metrics):
            msg = f'{self._name} {did} {_shown(value)}: {did[:-2]} a mapping of metrics such as {{"val_loss": 0.5}}'
            raise UnsupportedProblemError(msg)
        wrong = {name: one for name, one in metrics.items() if not _is_number(one)}
        if wrong:
            name, one = next(iter(wrong.items()))
            msg = f"{self._name} {did} {_shown(one)} as {name!r}: each metric is one number"
            raise UnsupportedProblemError(msg)
        return {name: float(one) for name, one in metrics.items()}

    def _call(self) -> Any:
        rate, epochs, seed = self._now.run
        given = {"learning_rate": rate, "epochs": epochs, "seed": seed}
        return self._function(**{name: given[name] for name in self._passed})

    def _close(self, run: tuple[float | None, int, int]) -> None:
        held = self._held.pop(run, None)
        if held is not None:
            held.generator.close()

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


class _Held:
    """A generator, and how many epochs it has yielded."""

    def __init__(self, generator: Generator[Any]) -> None:
        self.generator = generator
        self.epochs = 0


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Tell whether a call returns a generator, also through a partial, a decorator that says what it wraps, an object.

    Example:
        >>> is_generator_function(lambda learning_rate: learning_rate)
        False
    """
    inner = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
    if inspect.isroutine(inner):
        return inspect.isgeneratorfunction(inner)
    return inspect.isgeneratorfunction(getattr(inner, "__call__", None))  # noqa: B004  # the method itself is looked at


def takes_learning_rate(function: Callable[..., Any]) -> bool:
    """Tell whether a function has a parameter that is called `learning_rate`.

    Example:
        >>> takes_learning_rate(lambda learning_rate: 0.0)
        True
    """
    try:
        return "learning_rate" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables written in C do not tell
        return False


def _passed(train: Any, name: str) -> list[str]:
    """Return the names of the arguments that a function is called with."""
    if not callable(train) or inspect.isclass(train):
        msg = f"train is {_shown(train)}: pass a function `train(learning_rate)` that trains and yields its metrics"
        raise UnsupportedProblemError(msg)
    try:
        parameters = inspect.signature(train).parameters
    except (TypeError, ValueError) as error:
        raise UnsupportedProblemError(
            f"{name} does not tell its parameters: wrap it in a function that does"
        ) from error
    named = {one.name: one for one in parameters.values() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if "schedule" in named:
        msg = f"{name} has a parameter `schedule`, which is not passed yet: train at a constant rate, without it"
        raise UnsupportedProblemError(msg)
    if "learning_rate" not in named and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        shown = ", ".join(parameters) or "none"
        msg = f"{name} has no parameter `learning_rate` (its parameters: {shown}): give it one, and train at that rate"
        raise UnsupportedProblemError(msg)
    given = ("learning_rate", "epochs", "seed")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters.values() if one.default is one.empty and one.kind not in variadic]
    unknown = [one for one in needed if one not in given or one not in named]
    if unknown:
        msg = f"{name} needs {', '.join(unknown)}: only learning_rate, epochs and seed are passed; give a default"
        raise UnsupportedProblemError(msg)
    return [one for one in given if one == "learning_rate" or one in named]


def _name_of(function: Any) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__qualname__", type(inner).__qualname__)


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


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"an object of type {type(value).__name__}"
