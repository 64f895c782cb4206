"""What functions are called: in messages, and in a study, which knows them again by it."""

from __future__ import annotations

import functools
from typing import Any


def name_of(function: Any) -> str:
    """Return what a function is called in messages: a partial as the function that it fills in.

    Example:
        >>> name_of(functools.partial(max, default=0))
        'max'
    """
    return name_of(function.func) if isinstance(function, functools.partial) else _own_name(function)


def identity_of(function: Any) -> str:
    """Return what tells a function from others, the same in every process: its name, and what a partial fills in.

    Example:
        >>> identity_of(functools.partial(max, default=0))
        'max(default=0)'
    """
    if not isinstance(function, functools.partial):
        return _own_name(function)
    given = [*map(_shown, function.args), *(f"{name}={_shown(value)}" for name, value in function.keywords.items())]
    return f"{identity_of(function.func)}({', '.join(given)})"


def _own_name(thing: Any) -> str:
    return getattr(thing, "__qualname__", type(thing).__qualname__)


def _shown(value: Any) -> str:
    plain = value is None or isinstance(value, bool | int | float | str)
    return repr(value) if plain else identity_of(value)  # any other repr may hold an address
