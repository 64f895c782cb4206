"""When to stop training, and when to lower the learning rate: decided from one metric value an epoch.

Both rules are frozen settings; `start()` gives a state that is told each epoch's value and answers with a decision. The
same values give the same decisions, so that a training is resumed by telling the state its past again.
`learnrate.sweep(…, stopping=…)` trains by them.

They decide as Keras 3's callbacks of the same names do, epoch for epoch, but for three things:

- NaN and infinity never count as an improvement. In Keras a first value of NaN becomes the best, which nothing beats
  afterwards, and minus infinity beats everything.
- Keras compares in its backend's precision, float32 unless told otherwise; here values are compared in float64.
- `ReduceOnPlateau` scales whatever schedule is in use. Keras refuses one that is not constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, SupportsFloat, cast

from learnrate._checks import count, mode_name, positive_number
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from learnrate.curves import Mode


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop once the metric has not improved for `patience` epochs.

    An epoch improves when its value is finite and better than the best by more than `min_delta`. The first epoch that
    is told only opens the count: it never stops, whatever its value. A patience of 0 acts as 1.

    The rule restores nothing itself: with `restore_best`, whoever trains goes back to the decision's `best_epoch`.

    Prechelt 1998, "Early stopping, but when?".

    Attributes:
        patience: How many epochs in a row without an improvement end the training, of those that are told.
        min_delta: How much better a value must be, in the metric's own unit; 0, since a smaller step down is one too.
        mode: "min" where a smaller value is better, "max" where a larger one is.
        restore_best: Whether training ends with the weights of the best epoch, which is why one stops; Keras keeps the
            last ones unless asked.

    Raises:
        InvalidArgumentError: A setting cannot be used.

    Example:
        >>> state = EarlyStopping(patience=2).start()
        >>> for epoch, val_loss in enumerate([0.9, 0.5, 0.6, 0.7]):
        ...     decision = state.update(epoch, val_loss)
        >>> decision.stop, decision.best_epoch
        (True, 1)
    """

    patience: int
    min_delta: float = 0.0
    mode: Mode = "min"
    restore_best: bool = True

    def __post_init__(self) -> None:
        count("patience", self.patience)
        mode_name(self.mode)
        _not_negative("min_delta", self.min_delta)
        if not isinstance(self.restore_best, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
            raise InvalidArgumentError(f"restore_best is {self.restore_best!r}: pass True or False")

    def start(self) -> EarlyStoppingState:
        """Give the state before the first epoch."""
        return EarlyStoppingState(self, _Best(self.min_delta, self.mode))


@dataclass(frozen=True)
class StoppingDecision:
    """What early stopping says after an epoch.

    Attributes:
        stop: Whether training ends here; once true, it stays so.
        improved: Whether this epoch is the best so far.
        best_epoch: The best epoch so far, as it was told; None while no value has been finite.
        best_value: Its value, or None.
    """

    stop: bool
    improved: bool
    best_epoch: float | None
    best_value: float | None


@dataclass
class EarlyStoppingState:
    """Where early stopping stands; made by `EarlyStopping.start`."""

    settings: EarlyStopping
    _best: _Best
    _wait: int = 0
    _stopped: bool = False

    def update(self, epoch: float, value: SupportsFloat) -> StoppingDecision:
        """Tell the metric's value at an epoch, and learn whether to stop.

        Raises:
            InvalidArgumentError: The value is not a number, or the epoch does not come after the last one told.
        """
        first = self._best.last_epoch is None
        improved = self._best.update(epoch, value)
        self._wait = 0 if improved or first else self._wait + 1
        self._stopped |= not improved and not first and self._wait >= self.settings.patience
        return StoppingDecision(self._stopped, improved, self._best.epoch, self._best.value)


@dataclass(frozen=True, kw_only=True)
class ReduceOnPlateau:
    """Multiply the learning rate by `factor` each time that the metric has not improved for `patience` epochs.

    The rate at a step is the schedule's, times the factor in force. An epoch improves as in `EarlyStopping`.

    The defaults are those of Keras. PyTorch's rule of this name differs: there the wait must exceed `patience`, and
    an improvement is measured relative to the best value, which says little where a loss is near 0 or negative.

    Attributes:
        factor: What the rate is multiplied by, between 0 and 1.
        patience: How many epochs in a row without an improvement lower the rate; 0 acts as 1.
        cooldown: How many epochs after a reduction are not counted.
        min_learning_rate: The schedule's peak is not reduced below this; a schedule that decays may go lower by itself.
        min_delta: How much better a value must be, in the metric's own unit.
        mode: "min" where a smaller value is better, "max" where a larger one is.

    Raises:
        InvalidArgumentError: A setting cannot be used.

    Example:
        >>> state = ReduceOnPlateau(factor=0.5, patience=2).start(learning_rate=0.1)
        >>> [state.update(epoch, val_loss).factor for epoch, val_loss in enumerate([0.9, 0.5, 0.6, 0.5, 0.4])]
        [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    factor: float = 0.1
    patience: int = 10
    cooldown: int = 0
    min_learning_rate: float = 0.0
    min_delta: float = 1e-4
    mode: Mode = "min"

    def __post_init__(self) -> None:
        if not positive_number("factor", self.factor) < 1:
            raise InvalidArgumentError(f"factor is {self.factor!r}: pass a number between 0 and 1, neither included")
        count("patience", self.patience)
        count("cooldown", self.cooldown)
        mode_name(self.mode)
        _not_negative("min_learning_rate", self.min_learning_rate)
        _not_negative("min_delta", self.min_delta)

    def start(self, learning_rate: float) -> ReduceOnPlateauState:
        """Give the state before the first epoch of a training whose schedule peaks at `learning_rate`.

        Raises:
            InvalidArgumentError: The learning rate is not a finite number above 0.
        """
        floor = min(self.min_learning_rate / positive_number("learning_rate", learning_rate), 1.0)
        return ReduceOnPlateauState(self, floor, _Best(self.min_delta, self.mode))


@dataclass(frozen=True)
class PlateauDecision:
    """What reducing on a plateau says after an epoch.

    Attributes:
        factor: What the schedule is multiplied by from the next step on.
        reduced: Whether this epoch lowered it.
        improved: Whether this epoch is the best so far.
    """

    factor: float
    reduced: bool
    improved: bool


@dataclass
class ReduceOnPlateauState:
    """Where reducing on a plateau stands; made by `ReduceOnPlateau.start`."""

    settings: ReduceOnPlateau
    _floor: float
    _best: _Best
    _factor: float = 1.0
    _wait: int = 0
    _cooling: int = 0

    def update(self, epoch: float, value: SupportsFloat) -> PlateauDecision:
        """Tell the metric's value at an epoch, and learn what to multiply the schedule by.

        Raises:
            InvalidArgumentError: The value is not a number, or the epoch does not come after the last one told.
        """
        first = self._best.last_epoch is None
        improved = self._best.update(epoch, value)
        self._cooling = max(self._cooling - 1, 0)
        counted = not (improved or first or self._cooling)
        self._wait = self._wait + 1 if counted else 0
        reduced = counted and self._wait >= self.settings.patience and self._factor > self._floor
        if reduced:
            self._factor = max(self._factor * self.settings.factor, self._floor)
            self._wait, self._cooling = 0, self.settings.cooldown
        return PlateauDecision(self._factor, reduced, improved)


Rule = EarlyStopping | ReduceOnPlateau


@dataclass(frozen=True)
class Stopping:
    """The rules that a training obeys together.

    Attributes:
        rules: At most one of each kind.
        metric: The metric that they are told.
        told: The (epoch, value) pairs of the epochs before, where a training goes on.
    """

    rules: tuple[Rule, ...]
    metric: str
    told: tuple[tuple[float, float], ...] = ()

    def start(self, learning_rate: float) -> StoppingState:
        """Give the state after the epochs that were told, of a training whose schedule peaks at `learning_rate`."""
        early = next((rule.start() for rule in self.rules if isinstance(rule, EarlyStopping)), None)
        plateau = next((rule.start(learning_rate) for rule in self.rules if isinstance(rule, ReduceOnPlateau)), None)
        state = StoppingState(self.metric, early, plateau)
        for epoch, value in self.told:
            state.update(epoch, {self.metric: value})
        return state


@dataclass
class StoppingState:
    """Where the rules of a training stand; made by `Stopping.start`.

    Attributes:
        metric: The metric that they are told.
        stop: Whether training ends here.
        factor: What the schedule is multiplied by from here on.
        reductions: After which epochs it was lowered.
    """

    metric: str
    _early: EarlyStoppingState | None
    _plateau: ReduceOnPlateauState | None
    stop: bool = False
    factor: float = 1.0
    reductions: list[float] = field(default_factory=list[float])

    def update(self, epoch: float, metrics: Mapping[str, float]) -> None:
        """Tell an epoch's metrics; an epoch that does not report the metric does not count."""
        value = metrics.get(self.metric, metrics.get("loss") if self.metric == "val_loss" else None)
        if value is None:
            return
        if self._early is not None:
            self.stop = self._early.update(epoch, value).stop
        if self._plateau is not None and not self.stop:
            decision = self._plateau.update(epoch, value)
            self.factor = decision.factor
            if decision.reduced:
                self.reductions.append(epoch)


def rules_of(stopping: object, mode: Mode) -> tuple[Rule, ...]:
    """Return the rules that a verb was given as `stopping=`: none, one, or one of each kind.

    Raises:
        InvalidArgumentError: It is something else, or a rule takes the other direction for better.
    """
    given = cast("Iterable[object]", stopping) if isinstance(stopping, Iterable) else (stopping,)
    rules = [rule for rule in given if rule is not None]
    for rule in rules:
        if not isinstance(rule, Rule):
            raise InvalidArgumentError(
                f"stopping is {stopping!r}: pass EarlyStopping, ReduceOnPlateau or a list of both"
            )
        if rule.mode != mode:
            kind = type(rule).__name__
            raise InvalidArgumentError(
                f'{kind} has mode="{rule.mode}" where mode="{mode}" decides: pass {kind}(…, mode="{mode}")'
            )
    if len({type(rule) for rule in rules}) < len(rules):
        raise InvalidArgumentError(f"stopping has {len(rules)} rules, two of a kind: pass one of each at most")
    return cast("tuple[Rule, ...]", tuple(rules))


def settings_of(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Return rules as a study remembers them; `from_settings` makes rules of them again."""
    return [{"rule": type(rule).__name__} | asdict(rule) for rule in rules]


def from_settings(settings: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Return the rules that `settings_of` has described.

    Example:
        >>> from_settings(settings_of([EarlyStopping(patience=3)])) == [EarlyStopping(patience=3)]
        True
    """
    kinds: dict[str, type[Rule]] = {"EarlyStopping": EarlyStopping, "ReduceOnPlateau": ReduceOnPlateau}
    return [kinds[one["rule"]](**{name: one[name] for name in one if name != "rule"}) for one in settings]


@dataclass
class _Best:
    """The best value so far, and the rule of what beats it."""

    min_delta: float
    mode: Mode
    epoch: float | None = None
    value: float | None = None
    last_epoch: float | None = None

    def update(self, epoch: float, value: SupportsFloat) -> bool:
        number = _metric(value)
        if not (self.last_epoch is None or epoch > self.last_epoch) or not math.isfinite(epoch):
            raise InvalidArgumentError(
                f"epoch is {epoch!r} after {self.last_epoch}: tell each epoch once, in rising order"
            )
        self.last_epoch = epoch
        improved = math.isfinite(number) and (self.value is None or self._beats(number, self.value))
        if improved:
            self.epoch, self.value = epoch, number
        return improved

    def _beats(self, value: float, best: float) -> bool:
        return value + self.min_delta < best if self.mode == "min" else value - self.min_delta > best


def _metric(value: object) -> float:
    number = _number(value)
    if number is None:
        raise InvalidArgumentError(f"the metric's value is {value!r}: tell a number, NaN and infinity included")
    return number


def _not_negative(name: str, value: object) -> None:
    number = _number(value)
    if number is None or not 0 <= number < math.inf:
        raise InvalidArgumentError(f"{name} is {value!r}: pass a finite number of at least 0")


def _number(value: object) -> float | None:
    try:
        return None if isinstance(value, str | bool) else float(cast("SupportsFloat", value))
    except (TypeError, ValueError):
        return None
