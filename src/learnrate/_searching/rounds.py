"""The search that needs no settings: halving in rounds, first over all of the space, then around the best so far."""

from __future__ import annotations

from learnrate._searching.halving import Bracket, Halving, affordable, brackets_of

BUDGET = 8.0
"""Full trainings that are spent where nothing is said: three or four rounds."""

FIRST = 18
"""Candidates of the first round, which fill the space evenly; 12 to 27 do as well."""

LATER = 9
"""Candidates of each later round, near the best one so far: a third and a third of them again is one in full."""


def halving_in_rounds(epochs: int) -> Halving:
    """Return how each round is thinned out: compared after a ninth of the epochs, after a third, and at their end."""
    return Halving(min_epochs=max(epochs // 9, 1))


def next_round(
    halving: Halving, epochs: int, unspent: float, begun: int, most: int, *, replayed: bool = False
) -> Bracket | None:
    """Return the next round; None where not one candidate more can be trained in full.

    Args:
        halving: How it is thinned out.
        epochs: Of a full training.
        unspent: What is left of the budget, in full trainings.
        begun: Candidates of the rounds before.
        most: Candidates in all.
        replayed: Whether what goes on is trained again from its beginning, as a generator is.

    Example:
        >>> next_round(halving_in_rounds(18), 18, 8.0, 0, 100)
        Bracket(candidates=18, rungs=(2, 6, 18))
        >>> next_round(halving_in_rounds(18), 18, 1.5, 18, 100).candidates
        4
    """
    size = min(LATER if begun else FIRST, most - begun)
    count = affordable(halving, size, epochs, unspent, replayed=replayed)
    if count:
        return brackets_of(halving, count, epochs)[0]
    return Bracket(1, (epochs,)) if replayed and size > 0 and unspent > 1 - 1e-9 else None
