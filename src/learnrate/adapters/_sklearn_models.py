"""An estimator's copy: told its rate, stepped, measured, put back, written to a file and read again."""

# scikit-learn's types are partial, estimators are of any kind, and its samples are called X:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportConstantRedefinition=false

from __future__ import annotations

import contextlib
import copy
import inspect
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from learnrate.errors import MissingExtraError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

STILL = 1e-30
"""A rate that moves no weight: it makes the first weights without training them."""


class Model(Protocol):
    """What `SklearnTrainable` needs to know of the estimator that it trains."""

    estimator: Any
    learning_rate: float | None
    warnings: list[str]
    framework: str | None
    drop_last: bool
    flat: bool

    def default_batch_size(self, samples: int) -> int: ...  # said in the class
    def prepare(self, X: Any, y: Any, classes: Any) -> None: ...  # noqa: N803  # the first batch
    def begin(self, seed: int) -> None: ...  # seeds what draws
    def step(self, X: Any, y: Any, rate: float) -> float: ...  # noqa: N803  # the loss before the update
    def measured(self) -> AbstractContextManager[Any]: ...  # the estimator, with weights
    def loss(self, estimator: Any, X: Any, y: Any) -> float: ...  # noqa: N803  # as `measured` gave it
    def is_finite(self) -> bool: ...  # of all weights
    def copy(self) -> Any: ...  # what `put_back` takes
    def put_back(self, state: Any) -> None: ...  # in the same estimator
    def write(self, state: Any, place: Mapping[str, int], path: Path) -> None: ...  # without pickle
    def read(self, path: Path) -> tuple[Any, dict[str, int]]: ...  # what `write` wrote


def model_of(estimator: Any, parameter: str) -> Model:
    """Return a copy of the estimator, as something to train."""
    if any(kind.__module__.partition(".")[0] == "skorch" for kind in type(estimator).__mro__):
        from learnrate.adapters._sklearn_skorch import Net  # which imports torch

        return Net(estimator, parameter)
    return Estimator(estimator, parameter)


class Estimator:
    """One of scikit-learn's own, or of anybody's who keeps to its habits.

    What would get in the way of a step is switched off on the copy, with a warning where training changes by it.
    """

    flat = True
    drop_last = False
    framework: str | None = "sklearn"

    def __init__(self, estimator: Any, parameter: str) -> None:
        self._parameter = parameter
        self._classes: Any = None
        self.warnings: list[str] = []
        self.estimator = own = copy.deepcopy(estimator)
        self._batch_size = getattr(estimator, "batch_size", None)
        parameters = own.get_params()
        rate = parameters[parameter]
        self.learning_rate = float(rate) if rate > 0 else None
        schedule = parameters.get("learning_rate")
        if parameter != "learning_rate" and isinstance(schedule, str) and schedule != "constant":
            if parameters.get("solver") != "adam":  # Adam takes no notice of it
                ignored = f", which ignores {parameter}," if schedule == "optimal" else ""
                self.learning_rate = None if ignored else self.learning_rate
                self.warnings.append(
                    f"learning_rate={schedule!r}{ignored} is switched to 'constant': train with "
                    f'{type(own).__name__}(learning_rate="constant", {parameter}=…) to get what was measured'
                )
            own.set_params(learning_rate="constant")
        if parameters.get("random_state", 0) is None:
            own.random_state = np.random.RandomState(0)  # the global generator is not ours to move
        if parameters.get("verbose"):
            own.verbose = 0
        if parameters.get("batch_size") is not None:
            own.batch_size = 1  # an integer: `_fit` sets it to each batch's own size

    def default_batch_size(self, samples: int) -> int:
        """Return the estimator's own where it has a number, else 200, as scikit-learn's MLPs do."""
        own = self._batch_size
        return min(own if isinstance(own, int) and own > 0 else 200, samples)

    def prepare(self, X: Any, y: Any, classes: Any) -> None:  # noqa: N803  # scikit-learn's name
        """Take the first batch, of which the first weights are made, and the classes."""
        self._first, self._classes = (X, y), classes

    def begin(self, seed: int) -> None:
        """Seed a `random_state` that draws."""
        state = getattr(self.estimator, "random_state", None)
        if isinstance(state, np.random.RandomState):
            state.seed(seed)

    def step(self, X: Any, y: Any, rate: float) -> float:  # noqa: N803  # scikit-learn's name
        """Fit to one batch; return its loss before."""
        loss = self.loss(self._with_weights(), X, y)
        self._fit(self.estimator, X, y, rate)
        return loss

    def _fit(self, estimator: Any, X: Any, y: Any, rate: float) -> None:  # noqa: N803  # scikit-learn's name
        estimator.set_params(**{self._parameter: rate})
        optimizer = getattr(estimator, "_optimizer", None)
        if optimizer is not None:  # an MLP's, which took its rate when it was made
            optimizer.learning_rate_init = optimizer.learning_rate = rate
        if isinstance(getattr(estimator, "batch_size", None), int):
            estimator.batch_size = len(y)  # one update a step
        first = self._classes is not None and not _is_fitted(estimator)
        if first and "classes" in inspect.signature(estimator.partial_fit).parameters:
            estimator.partial_fit(X, y, classes=self._classes)
        else:
            estimator.partial_fit(X, y)

    def measured(self) -> AbstractContextManager[Any]:
        """Give the estimator to measure, which nothing changes."""
        return contextlib.nullcontext(self._with_weights())

    def _with_weights(self) -> Any:
        """Return the estimator, or while it has no weights a copy that has the first ones."""
        if _is_fitted(self.estimator):
            return self.estimator
        estimator = copy.deepcopy(self.estimator)
        self._fit(estimator, *self._first, STILL)
        return estimator

    def loss(self, estimator: Any, X: Any, y: Any) -> float:  # noqa: N803  # scikit-learn's name
        """Return the mean loss over samples: see `SklearnTrainable` for which."""
        if self._classes is None:
            return float(np.mean((np.asarray(estimator.predict(X), dtype=np.float64).reshape(y.shape) - y) ** 2))
        place = np.searchsorted(self._classes, y)
        if hasattr(estimator, "predict_proba"):
            probabilities = np.asarray(estimator.predict_proba(X))
            least = np.finfo(probabilities.dtype).eps
            return float(-np.mean(np.log(np.clip(probabilities[np.arange(len(y)), place], least, 1))))
        if not hasattr(estimator, "decision_function"):
            return float(np.mean(estimator.predict(X) != y))
        scores = np.asarray(estimator.decision_function(X), dtype=np.float64)
        if scores.ndim == 1:
            return float(np.mean(np.maximum(0, 1 - np.where(place == 1, scores, -scores))))
        own = scores[np.arange(len(y)), place]
        scores[np.arange(len(y)), place] = -np.inf
        return float(np.mean(np.maximum(0, 1 - (own - scores.max(axis=1)))))

    def is_finite(self) -> bool:
        """Return whether all weights are finite."""
        values = vars(self.estimator).values()
        found = [one for value in values for one in (value if isinstance(value, list) else [value])]
        arrays = [one for one in found if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
        return all(bool(np.isfinite(one).all()) for one in arrays)

    def copy(self) -> Any:
        """Return a copy of the estimator, its random state included."""
        return copy.deepcopy(self.estimator)

    def put_back(self, state: Any) -> None:
        """Make the same estimator object what the copy was."""
        attributes = vars(copy.deepcopy(state))
        vars(self.estimator).clear()
        vars(self.estimator).update(attributes)

    def write(self, state: Any, place: Mapping[str, int], path: Path) -> None:
        """Write by skops, which needs no pickle."""
        _skops().dump({"estimator": state, **place}, path)

    def read(self, path: Path) -> tuple[Any, dict[str, int]]:
        """Read what `write` wrote; nothing but numpy, scikit-learn and the estimator's own types is made.

        Raises:
            UnsupportedProblemError: The file holds objects of other types.
        """
        skops = _skops()
        unknown = skops.get_untrusted_types(file=path)
        package = type(self.estimator).__module__.partition(".")[0]
        foreign = [name for name in unknown if name.partition(".")[0] not in ("sklearn", "numpy", package)]
        if foreign:
            raise UnsupportedProblemError(f"{path} holds {', '.join(foreign)}: read only files that `save` has written")
        place = skops.load(path, trusted=unknown)
        return place.pop("estimator"), place


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError("skops is not installed; run: pip install learnrate[sklearn]") from error
    return skops.io
