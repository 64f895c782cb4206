"""How a search builds a candidate's problem: the user's `build`, called with what it has parameters for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from learnrate._checks import did_you_mean
from learnrate._names import identity_of, name_of
from learnrate._searching.space import LEARNING_RATE
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.training import Trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from learnrate._searching.folds import Fold

GIVEN = ("epochs", "seed", "train", "validation")
"""What `build` is passed beside its hyperparameters, where it has parameters of these names."""


class UnusableBuildError(UnsupportedProblemError):
    """`build` cannot be searched with, whatever the hyperparameters: no trial is worth anything."""


class Candidate(NamedTuple):
    """One point of the space: its trial's number, its values, the same as JSON holds them, and its seed."""

    number: int
    values: Mapping[str, Any]
    record: Mapping[str, Any]
    seed: int


class Builder:
    """The user's `build`, called with what it has parameters for.

    Args:
        build: `build(**hyperparameters)` returns a Trainable, or what a training yielded or returned.
        names: The hyperparameters that it will be given.
        folded: Whether it will be given `train` and `validation`.
        learning_rate: Of every candidate, or "select"; None where the space or the problem has it.

    Raises:
        InvalidArgumentError: If a hyperparameter has no parameter, or a parameter no value.
    """

    def __init__(
        self,
        build: Callable[..., Any],
        names: Iterable[str],
        *,
        folded: bool,
        learning_rate: float | str | None = None,
    ) -> None:
        if not callable(build):
            raise InvalidArgumentError(
                f"build is {build!r}: pass a function of the hyperparameters that returns a Trainable"
            )
        self._build = build
        self.name = name_of(build)
        self.identity = identity_of(build)
        self.replays: bool = getattr(build, "replays", inspect.isgeneratorfunction(build))
        self._rate = None if isinstance(learning_rate, str) else learning_rate
        self._selects = learning_rate == "select"
        if self._selects and self.replays:
            raise InvalidArgumentError(self._trains_by_itself)
        try:
            parameters = list(inspect.signature(build).parameters.values())
        except (TypeError, ValueError):
            parameters = [inspect.Parameter("anything", inspect.Parameter.VAR_KEYWORD)]  # it does not say
        self._open = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
        keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._known = [one.name for one in parameters if one.kind in keywords]
        self.defaults: dict[str, Any] = {
            one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty
        }
        required = [one.name for one in parameters if one.name in self._known and one.name not in self.defaults]
        self._check(list(names), required, folded=folded)
        self._last: Any = None

    @property
    def _trains_by_itself(self) -> str:
        return (
            f'{self.name} trains by itself, and learning_rate="select" needs what it can train: put learning_rate into '
            "the space, or let build return a Trainable"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the problem that was built last behind: it is for this process alone."""
        return self.__dict__ | {"_last": None}

    def _check(self, names: list[str], required: list[str], *, folded: bool) -> None:
        for name in names:
            if name in GIVEN:
                raise InvalidArgumentError(f"the space has {name!r}, which the search itself passes: call it otherwise")
            if name != LEARNING_RATE and not self._open and name not in self._known:
                known = ", ".join(self._known) or "none"
                raise InvalidArgumentError(
                    f"{self.name} has no parameter {name!r}: it takes {known}{did_you_mean(name, self._known)}"
                )
        own = () if self._rate is None else (LEARNING_RATE,)
        given = {*names, *own, "epochs", "seed", *(("train", "validation") if folded else ())}
        missing = [name for name in required if name not in given]
        if missing:
            hint = did_you_mean(missing[0], names)
            folds = " (data= and cv= give train and validation)" if {"train", "validation"} & {*missing} else ""
            raise InvalidArgumentError(
                f"{self.name} needs {', '.join(missing)}, which the space does not have{hint}{folds}"
            )
        if folded and not self._open and not {"train", "validation"} <= {*self._known}:
            raise InvalidArgumentError(
                f"{self.name} takes no train and validation: with data= it is called as build(train=…, validation=…, …)"
            )

    def __call__(self, candidate: Candidate, fold: Fold | None, epochs: int) -> Trainable:
        """Build a candidate's problem, for one fold where there are folds."""
        given: dict[str, Any] = {"epochs": epochs, "seed": candidate.seed}
        if self._rate is not None:
            given[LEARNING_RATE] = self._rate
        if fold is not None:
            given |= {"train": fold.train, "validation": fold.validation}
        passed = {name: value for name, value in given.items() if name in self._known or (self._open and fold)}
        passed |= {
            name: value
            for name, value in candidate.values.items()
            if name != LEARNING_RATE or self._open or name in self._known
        }
        built = self._build(**passed)
        if built is self._last and isinstance(built, Trainable):
            raise UnusableBuildError(
                f"{self.name} returned the same object twice: let it build a new model and a new optimizer at each call"
            )
        if self._selects and not isinstance(built, Trainable):
            raise UnusableBuildError(self._trains_by_itself)
        self._last = built
        return _as_trainable(built, self.name)


def _as_trainable(built: Any, name: str) -> Trainable:
    """Return what was built; or a problem that says what a function yielded or returned."""
    if isinstance(built, Trainable):
        return built
    if built is None or inspect.isclass(built) or callable(built):
        raise UnsupportedProblemError(
            f"{name} returned {built!r}: let it return a TorchTrainable, KerasTrainable, SklearnTrainable or "
            "JaxTrainable, yield its metrics each epoch, or return them"
        )
    from learnrate.adapters.function import FunctionTrainable

    def already_called(learning_rate: float, epochs: int, seed: int) -> Any:
        del learning_rate, epochs, seed
        return built

    return FunctionTrainable(already_called)
