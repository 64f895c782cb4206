"""What a chart or a report needs to be a file of its own, which opens without a network."""

from __future__ import annotations

import functools
import json
import uuid
from typing import TYPE_CHECKING, Any

from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: nothing in it can end the element or open a comment."""
    return escaped(json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")))


def escaped(text: str) -> str:
    """Return JSON text with the characters escaped that HTML would read."""
    for character, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, code)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def chart_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script; it sets `window.vegaEmbed`."""
    import vl_convert

    return vl_convert.javascript_bundle(None)  # pyright: ignore[reportArgumentType]  # the stub forgets the default


def check_target(path: Path) -> None:
    """Raise InvalidArgumentError where no file can be written at this path."""
    if path.is_dir():
        msg = f"{path} is a directory; give the path of a file in it, such as {path / 'learning-rate.html'}"
        raise InvalidArgumentError(msg)
    if not path.parent.is_dir():
        msg = f"{path} cannot be written: there is no directory {path.parent}; make it first, or give another path"
        raise InvalidArgumentError(msg)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
