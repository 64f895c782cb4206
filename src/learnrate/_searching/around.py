"""Points near a good one: where to look once the space has been looked over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from learnrate._searching.space import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np

    from learnrate._searching.space import Parameter, Space

STEP = 0.15
"""Standard deviation of a step, in ranges of the parameter: 0.1 to 0.2 do as well."""

ANEW = 0.5
"""How often a choice, whose values have no order, is drawn anew."""


def around(space: Space, point: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """Return a point near another: a normal step of `STEP` along each parameter, turned back at its bounds.

    Example:
        >>> import numpy as np
        >>> from learnrate._searching.space import Space, uniform
        >>> near = around(Space({"momentum": uniform(0, 1)}), {"momentum": 0.5}, np.random.default_rng(0))
        >>> round(near["momentum"], 3)
        0.519
    """
    return {name: _near(space[name], point[name], generator) for name in space}


def _near(parameter: Parameter, value: Any, generator: np.random.Generator) -> Any:
    step, draw = STEP * generator.normal(), generator.random()
    if isinstance(parameter, Choice):
        return parameter.at(draw / ANEW) if draw < ANEW else value
    place = abs(_place(parameter, value) + step) % 2.0
    return parameter.at(min(place, 2.0 - place))


def _place(parameter: Parameter, value: Any) -> float:
    """Return where in its range a value lies, from 0 to 1."""
    low, high, here = (parameter.seen(one) for one in (parameter.at(0.0), parameter.at(1.0), value))
    if getattr(parameter, "log", False):
        low, high, here = math.log(low), math.log(high), math.log(here)
    return (here - low) / (high - low) if high > low else 0.5
