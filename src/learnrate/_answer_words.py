"""What an answer says beside its learning rate, in words: the terminal and the report say the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from learnrate._numbers import percent, rate, short
from learnrate.curves import GOOD

if TYPE_CHECKING:
    from learnrate.results import Break, Cost, Decay, Recommendation

SURE = "80 % sure"
NO_WORSE = "no worse"


def interval_words(answer: Recommendation) -> str:
    """Say between which learning rates the best one lies; empty where that is not known."""
    if answer.interval is None:
        return ""
    low, high = answer.interval
    tried = [trial.learning_rate for trial in answer.trials]
    is_closed = [any(math.isclose(end, one) for one in tried) for end in (low, high)]
    where = {
        (True, True): f"between {rate(low)} and {rate(high)}",
        (True, False): f"above {rate(low)}",
        (False, True): f"below {rate(high)}",
        (False, False): "anywhere",
    }[is_closed[0], is_closed[1]]
    return f"{where}, 90 % sure"


def confidence_words(answer: Recommendation) -> str:
    """Say how sure the recommendation is; empty where that is not known."""
    if answer.confidence is None:
        return ""
    return f"the chance that no learning rate is more than 1 % better: {percent(answer.confidence)}"


def way_words(answer: Recommendation) -> str:
    """Say of what the percentages are; empty where there are none."""
    if answer.reference is None or answer.value is None:
        return ""
    start = "before training" if answer.untrained is not None else "the worst that a slow training began with"
    end = short(answer.value if answer.decay is None else answer.decay.constant, 3)
    return f"the way from {short(answer.reference, 3)}, {start}, to {end}" + (
        ", at constant rates" if answer.decay else ""
    )


def fall_words(decay: Decay) -> str:
    """Say from where the learning rate falls to zero."""
    return f"to zero from epoch {short(decay.first_epoch)} on"


def decay_words(answer: Recommendation) -> str:
    """Say what the fall of the learning rate to zero brought; empty where there was none."""
    decay = answer.decay
    if decay is None:
        return ""
    if decay.is_better:
        before = "kept constant it" if decay.constant_length > decay.first_epoch else "before the fall it had"
        constant = f"{short(decay.constant, 3)} after {short(decay.constant_epochs)}"
        return f"{before} reached {constant}{_share_won(answer, decay)}"
    values = decay.trial.curve.values(answer.metric)[decay.trial.curve.epochs > decay.first_epoch]
    reached = [value for value in values.tolist() if math.isfinite(value)]
    if decay.trial.state.value != "complete" or not reached:
        return f"{fall_words(decay)} it {'failed' if decay.trial.state.value == 'failed' else 'broke'}"
    best = min(reached) if answer.mode == "min" else max(reached)
    return f"{fall_words(decay)} it reached {short(best, 3)}, which is no better"


def _share_won(answer: Recommendation, decay: Decay) -> str:
    if answer.reference is None or answer.value is None or answer.reference == decay.constant:
        return ""
    said = _worse(abs(decay.constant - answer.value) / abs(answer.reference - decay.constant))
    return "" if said == NO_WORSE else f", {said}"


def cost_words(cost: Cost, metric: str) -> str:
    """Say what another learning rate costs, as a share of the way and in the metric."""
    if cost.breaks:
        return "breaks training"
    first, last = (short(value, 3) for value in cost.values)
    if cost.measured:
        return f"{_worse(cost.low)}, measured ({metric} {first})"
    if cost.low < GOOD:
        most = _worse(cost.high)
        return f"{'' if most == NO_WORSE else 'at most '}{most}, {SURE} ({metric} {last} or better)"
    if cost.high > 1 - GOOD:
        return f"at least {percent(cost.low)} worse, {SURE} ({metric} {first} or worse)"
    return f"{percent(cost.low).removesuffix(' %')} to {percent(cost.high)} worse, {SURE} ({metric} {first} to {last})"


def _worse(share: float) -> str:
    told = round(share, 3)
    return f"{percent(told)} worse" if told > 0 else NO_WORSE


def break_words(breaks: Break) -> str:
    """Say where training was seen to break."""
    broke = f"broke at {rate(breaks.broke)} after {_epochs(breaks.broke_epochs)}"
    if breaks.held is None:
        return broke
    return f"held at {rate(breaks.held)} for {_epochs(breaks.held_epochs)}, {broke}"


def _epochs(count: float) -> str:
    return f"{short(count)} epoch{'' if count == 1 else 's'}"
