"""Text from a study, a log or a training as a terminal can show it: what would steer the terminal stands as escapes."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Return the text with control characters, those that turn the reading direction, and surrogates escaped.

    Line ends and tabs stay.

    Example:
        >>> printable("loss \x1b[2J\u202e")
        'loss \\x1b[2J\\u202e'
    """
    return "".join(one if _is_plain(one) else one.encode("unicode_escape").decode() for one in text)


def _is_plain(character: str) -> bool:
    if character in "\n\t":
        return True
    turns = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return not turns and unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
