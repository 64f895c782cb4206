"""Numbers as a person would write them."""

from __future__ import annotations

import math


def short(number: float | None, digits: int = 2) -> str:
    """Return a number as a person would write it, in so many significant digits: 0.083, 12, 4.1e-5.

    Example:
        >>> short(0.0834, 3), short(1234), short(0.0000412), short(None)
        ('0.0834', '1234', '4.1e-5', '–')
    """
    if number is None or not math.isfinite(number):
        return "–"
    if number == 0 or 1e-3 <= abs(number) < 1e5:
        magnitude = 0 if number == 0 else math.floor(math.log10(abs(number)))
        text = f"{number:.{max(digits - 1 - magnitude, 0)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return _scientific(number, digits)


def rate(learning_rate: float | None) -> str:
    """Return a learning rate as the field writes it, in two digits: 2.1e-3, 0.5, 3.

    Example:
        >>> rate(0.00213), rate(0.01), rate(0.5)
        ('2.1e-3', '1e-2', '0.5')
    """
    if learning_rate is not None and 0 < learning_rate < 0.1:
        return _scientific(learning_rate, 2)
    return short(learning_rate)


def _scientific(number: float, digits: int) -> str:
    mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def epoch_number(epoch: float) -> str:
    """Return an epoch's number: a whole one as it is, a part of one to two places.

    Example:
        >>> epoch_number(12.0), epoch_number(1200.0), epoch_number(3.58824)
        ('12', '1200', '3.59')
    """
    whole = round(epoch)
    return str(whole) if abs(epoch - whole) < 1e-9 else f"{epoch:.2f}"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage of at most two digits: 3 %, 0.4 %, over 100 %."""
    if fraction > 1:
        return "over 100 %"
    return f"{100 * fraction:.1g} %" if fraction < 0.01 else f"{100 * fraction:.0f} %"


def duration(seconds: float) -> str:
    """Return a time as a person would say it.

    Example:
        >>> duration(0.42), duration(192), duration(7500)
        ('0.42 s', '3 min 12 s', '2 h 5 min')
    """
    if not math.isfinite(seconds):
        return "–"
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 60:
        return f"{short(seconds, 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def counted(number: float, noun: str) -> str:
    """Return how many there are of something.

    Example:
        >>> counted(1, "epoch"), counted(8000, "step"), counted(0.625, "epoch")
        ('1 epoch', '8,000 steps', '0.62 epochs')
    """
    told = f"{number:,.0f}" if number == round(number) else short(number)
    return f"{told} {noun}" if number == 1 else f"{told} {noun}s"
