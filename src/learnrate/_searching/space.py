"""What a search may choose from: a parameter each, and the space of them all."""

# scipy's distributions and optuna's have partial types:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from learnrate._identity import agree
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from optuna.distributions import BaseDistribution

    from learnrate.curves import Array

LEARNING_RATE = "learning_rate"
"""The parameter that the training loop takes, as the peak of the schedule."""


class Parameter(Protocol):
    """One hyperparameter's values, and how a sampler sees them: by numbers of its own."""

    @property
    def size(self) -> float:
        """How many values there are; infinity where they are a continuum."""
        ...

    def at(self, quantile: float) -> Any:
        """Return the value below which this share of all draws lies."""
        ...

    def seen(self, value: Any) -> float:
        """Return a value as the sampler sees it."""
        ...

    def value(self, seen: float) -> Any:
        """Return the value that a sampler means."""
        ...

    def distribution(self) -> BaseDistribution:
        """Return what the sampler draws from."""
        ...

    def record(self, value: Any) -> Any:
        """Return a value as JSON holds it."""
        ...

    def recorded(self, record: Any) -> Any:
        """Return the value that `record` was made of."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the parameter is, as JSON holds it."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Numbers between two bounds, uniform on a plain or on a logarithmic scale: see `uniform` and `log_uniform`."""

    low: float
    high: float
    log: bool = False

    @property
    def size(self) -> float:
        """A continuum."""
        return math.inf

    def at(self, quantile: float) -> float:
        """Return the value at a share of the range."""
        if self.log:
            return math.exp(math.log(self.low) + quantile * (math.log(self.high) - math.log(self.low)))
        return self.low + quantile * (self.high - self.low)

    def seen(self, value: Any) -> float:
        """Return the value itself, inside the bounds."""
        return min(max(float(value), self.low), self.high)

    def value(self, seen: float) -> float:
        """Return the number itself."""
        return float(seen)

    def distribution(self) -> BaseDistribution:
        """Return Optuna's."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def record(self, value: Any) -> float:
        """Return the number."""
        return float(value)

    def recorded(self, record: Any) -> float:
        """Return the number."""
        return float(record)

    def describe(self) -> dict[str, Any]:
        """Return the bounds and the scale."""
        return {"kind": "log_uniform" if self.log else "uniform", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Integers:
    """Whole numbers from one to another, both included: see `integers`."""

    low: int
    high: int
    log: bool = False

    @property
    def size(self) -> float:
        """How many whole numbers there are."""
        return float(self.high - self.low + 1)

    def at(self, quantile: float) -> int:
        """Return the number at a share of the range."""
        edges = Uniform(self.low - (0.0 if self.log else 0.5), self.high + (0.0 if self.log else 0.5), log=self.log)
        return min(max(round(edges.at(quantile)), self.low), self.high)

    def seen(self, value: Any) -> float:
        """Return the number itself, inside the bounds."""
        return min(max(int(value), self.low), self.high)

    def value(self, seen: float) -> int:
        """Return the whole number."""
        return round(seen)

    def distribution(self) -> BaseDistribution:
        """Return Optuna's."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def record(self, value: Any) -> int:
        """Return the number."""
        return int(value)

    def recorded(self, record: Any) -> int:
        """Return the number."""
        return int(record)

    def describe(self) -> dict[str, Any]:
        """Return the bounds and the scale."""
        return {"kind": "integers", "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Choice:
    """Values of any kind, one as likely as another: see `choice`."""

    values: tuple[Any, ...]
    labels: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        labels = [plain(value) for value in self.values]
        shown = [repr(label) for label in labels]
        twice = [shown.count(one) > 1 for one in shown]
        names = (f"{label} ({place})" if more else label for place, (label, more) in enumerate(zip(labels, twice)))  # noqa: B905  # of one length
        object.__setattr__(self, "labels", tuple(names))

    @property
    def size(self) -> float:
        """How many values there are."""
        return float(len(self.values))

    def at(self, quantile: float) -> Any:
        """Return the value at a share of the list."""
        return self.values[min(int(quantile * len(self.values)), len(self.values) - 1)]

    def seen(self, value: Any) -> float:
        """Return the value's place in the list."""
        return self._place(value, self.values)

    def value(self, seen: float) -> Any:
        """Return the value at a place."""
        return self.values[int(seen)]

    def distribution(self) -> BaseDistribution:
        """Return Optuna's, over the places."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(list(range(len(self.values))))

    def record(self, value: Any) -> Any:
        """Return the value's label."""
        return self.labels[self._place(value, self.values)]

    def recorded(self, record: Any) -> Any:
        """Return the value of a label."""
        return self.values[self._place(record, self.labels, agree)]

    def describe(self) -> dict[str, Any]:
        """Return the labels."""
        return {"kind": "choice", "values": list(self.labels)}

    def _place(self, value: Any, among: tuple[Any, ...], *otherwise: Callable[[Any, Any], bool]) -> int:
        for same in (_same, _same_number, *otherwise):  # a study gives 1 back as 1.0 where it was a learning rate
            place = next((place for place, one in enumerate(among) if same(one, value)), None)
            if place is not None:
                return place
        raise InvalidArgumentError(f"{value!r} is none of {list(among)!r}")


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one and the same, also where they are arrays."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(np.all(one == other))


def _same_number(one: Any, other: Any) -> bool:
    kinds = (type(one), type(other))
    return all(kind in (int, float) for kind in kinds) and bool(one == other)


@dataclass(frozen=True)
class Drawn:
    """Numbers that a distribution of scipy.stats draws: a sampler sees their quantiles."""

    source: Any
    discrete: bool

    @property
    def size(self) -> float:
        """How many values there are."""
        low, high = self.source.support()
        return float(high - low + 1) if self.discrete else math.inf

    def at(self, quantile: float) -> float:
        """Return the distribution's quantile."""
        found = self.source.ppf(min(max(quantile, 1e-9), 1 - 1e-9))
        return int(found) if self.discrete else float(found)

    def seen(self, value: Any) -> float:
        """Return the quantile of a value."""
        share = float(self.source.cdf(value))
        return share - float(self.source.pmf(value)) / 2 if self.discrete else share

    def value(self, seen: float) -> float:
        """Return the value of a quantile."""
        return self.at(seen)

    def distribution(self) -> BaseDistribution:
        """Return Optuna's, over the quantiles."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(0.0, 1.0)

    def record(self, value: Any) -> float:
        """Return the number."""
        return int(value) if self.discrete else float(value)

    def recorded(self, record: Any) -> float:
        """Return the number."""
        return int(record) if self.discrete else float(record)

    def describe(self) -> dict[str, Any]:
        """Return the distribution's name and its parameters."""
        settings = [plain(one) for one in (*self.source.args, *sorted(self.source.kwds.items()))]
        return {"kind": "scipy", "name": self.source.dist.name, "settings": settings}


def uniform(low: float, high: float) -> Uniform:
    """Return numbers from low to high, each as likely as another.

    Raises:
        InvalidArgumentError: If a bound is no finite number, or low is not below high.

    Example:
        >>> uniform(0.1, 0.4).at(0.5)
        0.25
    """
    low, high = _bounds("uniform", low, high)
    return Uniform(low, high)


def log_uniform(low: float, high: float) -> Uniform:
    """Return numbers 10^x with x uniform between log10 low and log10 high, as suits a learning rate.

    Raises:
        InvalidArgumentError: If a bound is no finite number above 0, or low is not below high.

    Example:
        >>> round(log_uniform(1e-4, 1.0).at(0.5), 6)
        0.01
    """
    low, high = _bounds("log_uniform", low, high)
    _above_zero("log_uniform", low)
    return Uniform(low, high, log=True)


def integers(low: int, high: int, *, log: bool = False) -> Integers:
    """Return whole numbers from low to high, both included; uniform on a logarithmic scale with `log=True`.

    Raises:
        InvalidArgumentError: If a bound is no whole number, low is not below high, or low is below 1 with `log=True`.

    Example:
        >>> integers(4, 32).size
        29.0
    """
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, numbers.Integral):  # pyright: ignore[reportUnnecessaryIsInstance]  # what users pass
            raise InvalidArgumentError(f"integers({low!r}, {high!r}): pass two whole numbers, the lower one first")
    lowest, highest = _bounds("integers", low, high)
    if log:
        _above_zero("integers", lowest)
    return Integers(int(lowest), int(highest), log=log)


def choice(values: Iterable[Any]) -> Choice:
    """Return values of any kind, each as likely as another and without order; a list in a space means the same.

    Raises:
        InvalidArgumentError: If there is none, or one is there twice.

    Example:
        >>> choice(["adam", "sgd"]).size
        2.0
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # what users pass
        raise InvalidArgumentError(f"choice({values!r}): pass a list of values")
    found = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
    if not found:
        raise InvalidArgumentError("a choice of no values: pass at least one")
    for place, value in enumerate(found):
        if any(_same(one, value) for one in found[:place]):
            raise InvalidArgumentError(f"a choice has {value!r} more than once: pass each value once")
    return Choice(found)


def _bounds(name: str, low: Any, high: Any) -> tuple[float, float]:
    for bound in (low, high):
        is_number = not isinstance(bound, bool) and isinstance(bound, numbers.Real)
        if not is_number or bound != bound or bound in (math.inf, -math.inf):  # noqa: PLR0124  # a huge integer is no float
            raise InvalidArgumentError(f"{name}({low!r}, {high!r}): pass two finite numbers, the lower one first")
    if low >= high:
        raise InvalidArgumentError(f"{name}({low!r}, {high!r}): the first bound must be below the second")
    try:
        lowest, highest = float(low), float(high)
    except OverflowError:
        lowest, highest = -math.inf, math.inf
    if not math.isfinite(highest - lowest):
        raise InvalidArgumentError(f"{name}({low!r:.40}, {high!r:.40}): wider than a float can hold, narrow it")
    return lowest, highest


def _above_zero(name: str, low: float) -> None:
    if low <= 0:
        raise InvalidArgumentError(f"{name} from {low:g}: a logarithmic scale has no {low:g}, begin above 0")


class Space:
    """Named parameters, in the order given.

    Args:
        parameters: A parameter each: `log_uniform`, `uniform`, `integers`, `choice`, a list, an array, a range, or a
            frozen distribution of scipy.stats.

    Raises:
        InvalidArgumentError: If there is none, or one is none of these.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        if not isinstance(parameters, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # what users pass
            raise InvalidArgumentError(
                f"the space is {parameters!r}: pass a dictionary, such as "
                '{"learning_rate": learnrate.log_uniform(1e-4, 1)}'
            )
        if not parameters:
            raise InvalidArgumentError(
                'the space is empty: pass at least one parameter, such as {"learning_rate": log_uniform(1e-4, 1)}'
            )
        self.parameters: dict[str, Parameter] = {name: _parameter(name, one) for name, one in parameters.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    @property
    def size(self) -> float:
        """How many points there are; infinity for a continuum."""
        return math.prod(parameter.size for parameter in self.parameters.values())

    def part(self, names: Iterable[str]) -> Space:
        """Return the space of some of the parameters."""
        return Space({name: self.parameters[name] for name in names})

    def at(self, quantiles: Array | Sequence[float]) -> dict[str, Any]:
        """Return the point at a quantile of each parameter."""
        pairs = zip(self.parameters.items(), quantiles, strict=True)
        return {name: parameter.at(float(quantile)) for (name, parameter), quantile in pairs}

    def points(self) -> Iterator[dict[str, Any]]:
        """Return every point, the last parameter changing fastest; only where the space is finite."""
        lists = [_values_of(parameter) for parameter in self.parameters.values()]
        return (dict(zip(self.parameters, values, strict=True)) for values in itertools.product(*lists))

    def key(self, point: Mapping[str, Any]) -> tuple[float, ...]:
        """Return what tells a point from every other."""
        return tuple(parameter.seen(point[name]) for name, parameter in self.parameters.items())

    def record(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return a point as JSON holds it."""
        return {name: parameter.record(point[name]) for name, parameter in self.parameters.items()}

    def recorded(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the point that `record` was made of."""
        return {name: parameter.recorded(record[name]) for name, parameter in self.parameters.items()}

    def describe(self) -> dict[str, Any]:
        """Return what the space is, as JSON holds it."""
        return {name: parameter.describe() for name, parameter in self.parameters.items()}


def _values_of(parameter: Parameter) -> list[Any]:
    if isinstance(parameter, Choice):
        return list(parameter.values)
    if isinstance(parameter, Integers):
        return list(range(parameter.low, parameter.high + 1))
    low, high = cast("Drawn", parameter).source.support()
    return list(range(int(low), int(high) + 1))


def _parameter(name: str, given: Any) -> Parameter:
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # what users pass
        raise InvalidArgumentError(f"the space has {name!r}: a parameter's name is a text")
    if isinstance(given, Uniform | Integers | Choice | Drawn):
        return given
    if hasattr(given, "ppf") and hasattr(given, "support"):
        return _of_scipy(name, given)
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, list | tuple | range):
        values = cast("Sequence[Any]", given)
        try:
            return choice(values)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{name}: {error}") from error
    raise InvalidArgumentError(
        f"{name} is {given!r}: pass log_uniform, uniform, integers or choice, a list of values ([{given!r}] for a "
        "single one), or a frozen distribution of scipy.stats"
    )


def _of_scipy(name: str, given: Any) -> Parameter:
    """Return a bounded uniform distribution as what it is, so that a sampler sees its scale; any other by quantiles."""
    kind = getattr(getattr(given, "dist", None), "name", "")
    low, high = (float(bound) for bound in given.support())
    if not low < high:
        raise InvalidArgumentError(f"{name}: its distribution of scipy.stats has no range: check its parameters")
    if kind in ("loguniform", "reciprocal"):
        return log_uniform(low, high)
    if kind == "uniform":
        return uniform(low, high)
    if kind == "randint":
        return integers(int(low), int(high))
    return Drawn(given, discrete=hasattr(given, "pmf"))


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: a container by its members, any other object by a name without address."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in cast("Sequence[Any]", value)]
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in cast("Mapping[Any, Any]", value).items()}
    text = repr(value)
    return text if " at 0x" not in text else getattr(value, "__qualname__", type(value).__qualname__)
