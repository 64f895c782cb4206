"""A command with places for hyperparameters of any name, as what a search builds its trainings of."""

from __future__ import annotations

import inspect
import keyword
import shlex
import string
from typing import TYPE_CHECKING, Any

from learnrate.adapters._command_template import PLACEHOLDERS, Template
from learnrate.adapters.command import CommandTrainable
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_RATE = "learning_rate"


class _Filled(CommandTrainable):
    """A command whose own hyperparameters are filled in, its learning rate perhaps among them under another name."""

    _needs_rate = False


def command_builder(command: Sequence[str], *, rated: bool, **options: Any) -> Callable[..., CommandTrainable]:
    """Return `build(**hyperparameters)`, with a parameter for each placeholder of the command that is the search's.

    Args:
        command: The program and its arguments, with places such as `{width}`; see `CommandTrainable`.
        rated: Whether the search has a `learning_rate`, which must have its place then.
        options: What `CommandTrainable` takes beside the command; `log` and `cwd` may have such places too.

    Raises:
        InvalidArgumentError: If a brace stands alone, `{learning_rate}` lacks its value or its place, or the command
            cannot be run.

    Example:
        >>> build = command_builder(["echo", "val_loss={width}"], rated=False)
        >>> build(width=32).describe()
        {'command': 'echo val_loss=32'}
    """
    places = {name: options[name] for name in ("log", "cwd") if options.get(name) is not None}
    texts = [*command, *places.values()]
    names = list(dict.fromkeys(name for text in texts for name in _names(text)))
    if rated != (_RATE in names):
        lacks = "learning_rate is searched, but the command has no {learning_rate}: put it where it belongs"
        gives = "the command has {learning_rate}: put learning_rate into the space, or give --learning-rate"
        raise InvalidArgumentError(lacks if rated else gives)

    def build(**hyperparameters: Any) -> CommandTrainable:
        own = {name: value for name, value in hyperparameters.items() if name != _RATE}
        filled: dict[str, Any] = {name: _filled(one, own) for name, one in places.items()}
        return _Filled([_filled(word, own) for word in command], **options | filled)

    own_names = [name for name in names if name not in PLACEHOLDERS]
    reserved = next((name for name in own_names if keyword.iskeyword(name)), None)
    if reserved is not None:
        raise InvalidArgumentError(f"{{{reserved}}} is a word of Python's own: write {{{reserved}_}}, in the space too")
    build(**dict.fromkeys(own_names, 0))  # which refuses what cannot be run before anything is
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in own_names]
    build.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]  # what inspect reads
    build.__qualname__ = shlex.join(command)
    build.replays = True  # pyright: ignore[reportFunctionMemberAccess]  # a command goes on from its beginning
    return build


def _names(text: str) -> list[str]:
    try:
        places = [(name, spec or kind) for _, name, spec, kind in string.Formatter().parse(text) if name is not None]
    except ValueError:
        places = [("", "")]
    if not all(name.isidentifier() for name, _ in places):
        Template(text)  # which says what is wrong with it
    for name, form in places:
        if form:
            raise InvalidArgumentError(f"{text!r}: a value is put in as it is, without {form!r}: write {{{name}}}")
    return [name for name, _ in places]


def _filled(text: str, values: Mapping[str, Any]) -> str:
    """Fill the search's own places, and leave the others as they are."""
    parts: list[str] = []
    for literal, name, _, _ in string.Formatter().parse(text):
        parts.append(_doubled(literal))
        if name is not None:
            parts.append(_doubled(str(values[name])) if name in values else f"{{{name}}}")
    return "".join(parts)


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
