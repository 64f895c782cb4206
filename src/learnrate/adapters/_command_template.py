"""A command with places for the learning rate and the like, and how they are filled: never by a shell."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACEHOLDERS = {
    "learning_rate": "the learning rate",
    "epochs": "how many epochs to train for",
    "seed": "an integer that decides all randomness",
    "trial": "a number of its own for each start of the command",
    "out": "a folder of its own for each start of the command",
}


class Template:
    """A text with placeholders in braces; `{{` and `}}` stand for the braces themselves.

    Raises:
        InvalidArgumentError: A placeholder is not known, or a brace is alone.

    Example:
        >>> Template("--lr={learning_rate}").filled({"learning_rate": "0.001"})
        '--lr=0.001'
        >>> Template("{lr}")
        Traceback (most recent call last):
        ...
        learnrate.errors.InvalidArgumentError: '{lr}' has the placeholder {lr}, which is not known: use …
    """

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str):
            raise InvalidArgumentError(f"{text!r} in the command is no text: pass a list of strings")
        try:
            self._parts = [(literal, name, f"{spec}{kind or ''}") for literal, name, spec, kind in _parsed(text)]
        except ValueError as error:
            msg = f"{text!r} has a brace alone ({error}): write {{{{ and }}}} for braces that are no placeholder"
            raise InvalidArgumentError(msg) from error
        for _, name, rest in self._parts:
            if name is not None and (name not in PLACEHOLDERS or rest):
                known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                shown = f"{{{name}{':' if rest else ''}{rest}}}"
                raise InvalidArgumentError(
                    f"{text!r} has the placeholder {shown}, which is not known: use {known}; double the braces that "
                    f"are no placeholder, {{{{ and }}}}"
                )
        self.names = {name for _, name, _ in self._parts if name is not None}

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the text with its placeholders filled."""
        return "".join(literal + ("" if name is None else values[name]) for literal, name, _ in self._parts)


def _parsed(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(literal, name, spec or "", kind) for literal, name, spec, kind in string.Formatter().parse(text)]
