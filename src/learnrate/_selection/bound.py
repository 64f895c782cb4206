"""What theory says of the best learning rate for a schedule, and so for a beginning of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from learnrate.curves import Array


def bound_minimum(rates: Array) -> float:
    """Return the log10 of the factor by which relative rates are best, up to a constant of the problem.

    For convex losses, rates γ·s_t (t = 1 … T) end below D²·T1/γ + γ·G²·T2 with

        T1 = 1 / (2 Σ s),   T2 = Σ s² / (2 Σ s) + ½ Σ_k (s_k / Σ_{t>k} s_t) · (Σ_{t≥k} s_t² / Σ_{t≥k} s_t),

    which is least at γ = D/G · √(T1/T2) (arXiv 2501.18965). D and G are the problem's own and the same for every
    length, so that a difference between two schedules needs neither. Zeros at the end train nothing and are dropped.

    Args:
        rates: The rates of the steps (steps,), not negative, at least one of them positive.

    Example:
        >>> import numpy as np
        >>> round(bound_minimum(np.ones(100)) - bound_minimum(np.ones(1000)), 2)
        0.57
    """
    rates = np.trim_zeros(np.asarray(rates, dtype=float), "b")
    total, squares = rates.sum(), rates**2
    rest = np.cumsum(rates[::-1])[::-1]
    rest_of_squares = np.cumsum(squares[::-1])[::-1]
    later = np.sum(rates[:-1] / rest[1:] * rest_of_squares[:-1] / rest[:-1])
    return float(-0.5 * np.log10(squares.sum() + total * later))
