"""How a function is called that trains: which of its parameters are passed, and what it is called in messages."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from learnrate.errors import UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

GIVEN = ("learning_rate", "epochs", "seed", "schedule")
"""The arguments that a function is called with, where it has parameters of these names."""


def passed_arguments(train: Any, name: str) -> list[str]:
    """Return the names of the arguments that a function is called with.

    Raises:
        UnsupportedProblemError: It cannot be called with a learning rate, or not with that and the others alone.
    """
    if not callable(train) or inspect.isclass(train):
        msg = f"train is {shown(train)}: pass a function `train(learning_rate)` that trains and yields its metrics"
        raise UnsupportedProblemError(msg)
    try:
        parameters = inspect.signature(train).parameters
    except (TypeError, ValueError) as error:
        raise UnsupportedProblemError(
            f"{name} does not tell its parameters: wrap it in a function that does"
        ) from error
    named = {one.name: one for one in parameters.values() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if "learning_rate" not in named and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        listed = ", ".join(parameters) or "none"
        msg = f"{name} has no parameter `learning_rate` (its parameters: {listed}): give it one, and train at that rate"
        raise UnsupportedProblemError(msg)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters.values() if one.default is one.empty and one.kind not in variadic]
    unknown = [one for one in needed if one not in GIVEN or one not in named]
    if unknown:
        known = "learning_rate, epochs, seed and schedule"
        msg = f"{name} needs {', '.join(unknown)}: only {known} are passed; give a default"
        raise UnsupportedProblemError(msg)
    return [one for one in GIVEN if one == "learning_rate" or one in named]


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Tell whether a call surely returns a generator, seen through a partial, a decorator, an object that is called.

    A function that is none may return a generator all the same.

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


def shown(value: Any) -> str:
    """Return a value as messages show it: in short."""
    text = repr(value)
    return text if len(text) <= 60 else f"an object of type {type(value).__name__}"  # half a line
