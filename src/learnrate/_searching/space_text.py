"""The space of a search as a person types it: `lr=log_uniform(1e-4, 1)`. Read as text, never run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, cast

from learnrate._checks import did_you_mean
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KINDS = ("log_uniform", "uniform", "integers", "choice")
_ALLOWED = (
    "write log_uniform(1e-4, 1), uniform(0, 0.95), integers(16, 128), integers(16, 128, log=True), "
    "choice(32, 64) or a list such as [32, 64]"
)
_LONGEST = 100_000
"""Characters of a space: more is no space."""
_SHOWN = 80


def space_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that texts mean, by their names.

    Raises:
        InvalidArgumentError: If one cannot be read.

    Example:
        >>> space_of({"width": "[32, 64]", "optimizer": "choice(adam, sgd)"})
        {'width': [32, 64], 'optimizer': Choice(values=('adam', 'sgd'), labels=('adam', 'sgd'))}
    """
    return {name: _parameter(name, text) for name, text in texts.items()}


def texts_of(given: Iterable[str]) -> dict[str, str]:
    """Split what a person gives into names and texts: each `name=values`, or a file with such lines.

    Raises:
        InvalidArgumentError: If it is neither, or a name comes twice.
    """
    texts: dict[str, str] = {}
    for one in given:
        name, equals, text = one.partition("=")
        pairs = [(name.strip(), text.strip())] if equals else _lines_of(one)
        for key, value in pairs:
            if key in texts:
                raise InvalidArgumentError(f"the space has {key!r} twice: give each name once")
            texts[key] = value
    return texts


def described_space(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the space that a study says it has, where that says all: numbers do, and so do choices of numbers.

    Raises:
        InvalidArgumentError: If it has values that only the program knows which began the study.
    """
    return {name: _told(name, one) for name, one in described.items()}


def _lines_of(name: str) -> list[tuple[str, str]]:
    """Read a file of `name = values` lines, as Python writes them."""
    from pathlib import Path

    path = Path(name)
    if not path.is_file():
        raise InvalidArgumentError(
            f"--space {name} is neither NAME=VALUES, such as 'lr=log_uniform(1e-4, 1)', nor a file of such lines"
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    statements = _tree(text, "exec", f"{name} cannot be read").body
    pairs: list[tuple[str, str]] = []
    for statement in statements:
        target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
        if not isinstance(statement, ast.Assign) or not isinstance(target, ast.Name):
            raise InvalidArgumentError(f"{name}, line {statement.lineno}: write NAME = VALUES, and {_ALLOWED}")
        pairs.append((target.id, ast.unparse(statement.value)))
    return pairs


def _parameter(name: str, text: str) -> Any:
    shown = f"{name}={text}" if len(text) < _SHOWN else f"{name}={text[:_SHOWN]}…"
    node = _tree(text, "eval", f"{shown} cannot be read").body
    try:
        return _meant(node, shown)
    except InvalidArgumentError as error:
        told = str(error)
        raise InvalidArgumentError(told if told.startswith(shown) else f"{shown}: {told}") from error


def _meant(node: ast.expr, shown: str) -> Any:
    import learnrate

    if isinstance(node, ast.List | ast.Tuple):
        return [_value(one, shown) for one in node.elts]
    kind = ast.unparse(node.func).removeprefix("learnrate.") if isinstance(node, ast.Call) else ""
    if not isinstance(node, ast.Call) or kind not in _KINDS:
        hint = did_you_mean(kind, _KINDS).removesuffix("?") if kind else ""
        raise InvalidArgumentError(f"{shown} is no space{hint}: {_ALLOWED}")
    values = [_value(one, shown) for one in node.args]
    if kind == "choice":
        alone = len(values) == 1 and isinstance(values[0], list | tuple)
        return learnrate.choice(cast("list[Any]", values[0]) if alone else values)
    named = {str(one.arg): _value(one.value, shown) for one in node.keywords}
    try:
        return getattr(learnrate, kind)(*values, **named)
    except TypeError as error:
        raise InvalidArgumentError(f"{shown}: {error}: {_ALLOWED}") from error


def _tree(text: str, mode: Any, what: str) -> Any:
    if len(text) > _LONGEST:
        raise InvalidArgumentError(f"{what}: it is longer than {_LONGEST} characters")
    try:
        return ast.parse(text.strip() if mode == "eval" else text, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InvalidArgumentError(f"{what} ({reason}): {_ALLOWED}") from error


def _value(node: ast.expr, shown: str) -> Any:
    """Return a value as it stands; a bare word is a text."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
        return node.value
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _value(node.operand, shown)
        if isinstance(number, int | float):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.List):
        return [_value(one, shown) for one in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(one, shown) for one in node.elts)
    raise InvalidArgumentError(f"{shown}: {ast.unparse(node)} is no number, text or list: {_ALLOWED}")


def _told(name: str, described: Mapping[str, Any]) -> Any:
    import learnrate

    kind = described.get("kind")
    if kind in ("uniform", "log_uniform"):
        return getattr(learnrate, kind)(described["low"], described["high"])
    if kind == "integers":
        return learnrate.integers(described["low"], described["high"], log=described["log"])
    values: list[Any] = described.get("values", [])
    if kind == "choice" and all(one is None or isinstance(one, bool | int | float) for one in values):
        return learnrate.choice(values)
    raise InvalidArgumentError(
        f"the space was given from Python, and its values of {name} are known there alone: go on by calling "
        "learnrate.search from Python again"
    )
