"""In which order hyperparameters are tuned: the important ones first, the rest held where they are best so far."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from learnrate._checks import did_you_mean
from learnrate._searching.space import LEARNING_RATE, Space, Uniform
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES: tuple[tuple[str, ...], ...] = (
    ("learning_rate", "learning_rate_init", "lr", "eta0", "alpha0", "max_lr", "peak"),
    ("momentum", "beta", "hidden", "unit", "units", "neuron", "neurons", "width", "batch", "channels", "filters"),
    ("layer", "layers", "depth", "n_hidden", "num_hidden", "decay", "gamma", "blocks"),
)
"""Words in parameters' names and the stage they belong to: the learning rate; momentum, hidden units, batch size; the
number of layers and decay (Ng 2017, "Hyperparameter tuning", Coursera). All others come last."""

AGAIN = 3.0
"""The learning rate is looked at once more within this factor of the best, both ways."""


class Stage(NamedTuple):
    """A stage: which parameters, how many trials, and where the others begin."""

    number: int
    names: list[str]
    trials: int
    start: Mapping[str, Any]
    again: bool = False

    def space(self, whole: Space, incumbent: Mapping[str, Any]) -> Space:
        """Return the part of the space to tune; close around the best learning rate where it is looked at again."""
        part = whole.part(self.names)
        rate = part[LEARNING_RATE] if self.again else None
        if not isinstance(rate, Uniform) or not rate.log:
            return part
        best = float(incumbent[LEARNING_RATE])
        low, high = max(rate.low, best / AGAIN), min(rate.high, best * AGAIN)
        return Space({LEARNING_RATE: Uniform(low, high, log=True)})


def stages_of(given: Any, space: Space, trials: int, defaults: Mapping[str, Any]) -> list[Stage]:
    """Return the stages: one of all parameters, those of the usual order, or the user's own.

    The trials are shared out by the number of parameters, the first stage counting twice; a tenth, at least 2, look
    at the learning rate again. A parameter that has not had its turn is at `build`'s own default where that lies in
    the space, else in the middle of its values.

    Raises:
        InvalidArgumentError: If a name is unknown, missing or there twice, or there are fewer trials than stages.
    """
    start = {name: _first(space, name, defaults) for name in space}
    if given is None:
        return [Stage(0, list(space), trials, start)]
    groups = _usual(space) if given == "auto" else _own(given, space)
    again = LEARNING_RATE in groups[0] and len(groups) > 1
    last = max(2, trials // 10) if again else 0
    left = trials - last
    if left < len(groups):
        raise InvalidArgumentError(
            f"{trials} trials are too few for {len(groups) + again} stages: pass a larger num_trials"
        )
    weights = [len(group) + (place == 0) for place, group in enumerate(groups)]
    counts = [max(left * weight // sum(weights), 1) for weight in weights]
    counts[0] += left - sum(counts)
    stages = [
        Stage(place, group, count, start) for place, (group, count) in enumerate(zip(groups, counts, strict=True))
    ]
    return [*stages, Stage(len(stages), [LEARNING_RATE], last, start, again=True)] if again else stages


def role(name: str) -> int:
    """Return the stage that a parameter's name belongs to, from 0.

    Example:
        >>> [role(name) for name in ("learning_rate", "batch_size", "num_layers", "weight_decay", "optimizer")]
        [0, 1, 2, 2, 3]
    """
    if name.lower() in ROLES[0]:
        return 0
    for place in (2, 1):  # "num_hidden_layers" is a number of layers
        words = "|".join(ROLES[place])
        if re.search(rf"(^|_)({words})(_|\d|$)", name.lower()):
            return place
    return len(ROLES)


def _usual(space: Space) -> list[list[str]]:
    groups = [[name for name in space if role(name) == place] for place in range(len(ROLES) + 1)]
    return [group for group in groups if group]


def _own(given: Any, space: Space) -> list[list[str]]:
    if isinstance(given, str):
        raise InvalidArgumentError(f'stages is {given!r}: pass "auto", or lists of names, one list a stage')
    try:
        stages: list[Any] = list(given)
        groups: list[list[str]] = [[one] if isinstance(one, str) else list(one) for one in stages]
    except TypeError as error:
        raise InvalidArgumentError(f'stages is {given!r}: pass "auto", or lists of names, one list a stage') from error
    names = [name for group in groups for name in group]
    for name in names:
        if name not in space.parameters:
            raise InvalidArgumentError(f"stages has {name!r}, which the space does not have{did_you_mean(name, space)}")
        if names.count(name) > 1:
            raise InvalidArgumentError(f"stages has {name!r} twice: put it into one stage")
    missing = [name for name in space if name not in names]
    if missing or not all(groups):
        raise InvalidArgumentError(f"stages lacks {', '.join(missing) or 'names'}: put each parameter into one stage")
    return groups


def _first(space: Space, name: str, defaults: Mapping[str, Any]) -> Any:
    parameter = space[name]
    default = defaults.get(name)
    if default is not None:
        try:
            seen = parameter.seen(default)
        except (InvalidArgumentError, TypeError, ValueError):
            return parameter.at(0.5)
        value = parameter.value(seen)
        if value == default or (isinstance(value, float) and math.isclose(value, default)):
            return default
    return parameter.at(0.5)
