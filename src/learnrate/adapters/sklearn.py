"""scikit-learn: an estimator that learns by `partial_fit`, and its data, as a problem that every verb can train."""

# scikit-learn's types are partial, estimators are of any kind, and its samples are called X:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportConstantRedefinition=false

from __future__ import annotations

from learnrate.errors import MissingExtraError

try:
    from sklearn.base import is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.metrics import get_scorer, get_scorer_names
    from sklearn.model_selection import train_test_split
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtraError("scikit-learn is not installed; run: pip install learnrate[sklearn]") from error

import copy
import hashlib
import inspect
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SklearnSnapshot", "SklearnTrainable"]

FloatArray = npt.NDArray[np.float64]

_RATE_PARAMETERS = ("learning_rate_init", "eta0", "learning_rate", "lr")
_STILL = 1e-30
"""A rate that moves no weight: it makes the first weights without training them."""


@dataclass(frozen=True)
class SklearnSnapshot:
    """A copy of an estimator, and the place in the data: the seed of the order, the epoch, the step inside it."""

    estimator: Any
    seed: int
    epoch: int
    step: int
    broken: bool


class SklearnTrainable:
    """An estimator with `partial_fit` and a learning rate, and its data, ready to train.

    It trains a copy, `problem.estimator`, and leaves the one that it is given as it is, fitted or not; a fitted one
    goes on from its weights. A step is one `partial_fit` on a batch: one update of an MLP, and of the SGD estimators
    one after another for each sample. The batches are shuffled anew each epoch, by the seed that the training began
    with. A `random_state` of None or a RandomState is seeded by it too; an integer stays, and with it the first
    weights. The rate is constant during a step; an estimator's own schedule is switched off, with a warning.

    The loss of a step is that of its batch before the update, without penalty. It is the log loss,
    `−mean log p(y)`, where a classifier tells probabilities; the hinge loss, `mean max(0, 1 − margin)` with the margin
    to the next best class, where it tells scores only; the share of errors where neither; and the mean squared error
    for a regressor.

    Args:
        estimator: MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor, or any other with `partial_fit` and a
            parameter for the learning rate.
        X: Samples, an array, sparse matrix or data frame of shape (samples, features).
        y: Targets: classes, one per sample, or numbers.
        validation_data: `(X, y)` for `evaluate`; None splits a part off the samples.
        validation_fraction: The part that is split off, stratified by class, the same for every training; a tenth as
            in scikit-learn's own early stopping. 0 evaluates nothing.
        batch_size: Samples a step; by default the estimator's own where it has a number, else 200 or all samples if
            there are fewer, as scikit-learn's MLPs do.
        scoring: A scorer's name, or several, as in `cross_validate`; each is reported as `val_<name>`.
        learning_rate_parameter: The parameter that is the learning rate; by default "learning_rate_init", "eta0",
            "learning_rate" or "lr", the first that the estimator has as a number.

    Attributes:
        estimator: The copy that is trained; after `problem.restore(answer.best)` it is the winner.
        warnings: What was changed on the copy.

    Raises:
        InvalidArgumentError: The data is empty or does not fit together, or an argument cannot be used.
        UnsupportedProblemError: The estimator has no `partial_fit` or no learning rate, or stops early by itself.

    Example:
        >>> from sklearn.linear_model import SGDRegressor
        >>> x = np.linspace(-1, 1, 50).reshape(-1, 1)
        >>> problem = SklearnTrainable(SGDRegressor(learning_rate="constant"), x, 3 * x[:, 0], batch_size=5)
        >>> losses = problem.train(np.full(problem.steps_per_epoch, 0.1))["loss"]
        >>> bool(losses[-1] < losses[0])
        True
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,  # noqa: N803  # scikit-learn's name
        y: Any,
        *,
        validation_data: tuple[Any, Any] | None = None,
        validation_fraction: float = 0.1,
        batch_size: int | None = None,
        scoring: str | Sequence[str] | None = None,
        learning_rate_parameter: str | None = None,
    ) -> None:
        _check_estimator(estimator)
        self._parameter = _rate_parameter(estimator, learning_rate_parameter)
        self.warnings: list[str] = []
        self.estimator = self._own(estimator)
        self._classes: Any = None
        training, validation = self._split(X, y, validation_data, validation_fraction)
        self._X, self._y = training
        self._validation = validation
        samples = len(self._y)
        self.batch_size = _batch_size(batch_size, estimator, samples)
        self.steps_per_epoch = -(-samples // self.batch_size)
        self.evaluation_steps = 0.0 if validation is None else len(validation[1]) / self.batch_size / 3
        self._scorers = _scorers(scoring)
        self._seed = self._epoch = self._step = 0
        self._broken = False
        self._order: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None

    @property
    def learning_rate(self) -> float | None:
        """The rate that the user has set; None where the estimator's schedule made its own."""
        return self._users_rate

    def begin(self, learning_rate: float, epochs: float, seed: int) -> None:
        """Begin a fresh training: the order of the batches, and a `random_state` that draws, by this seed."""
        del learning_rate, epochs
        self._seed, self._epoch, self._step = seed, 0, 0
        state = getattr(self.estimator, "random_state", None)
        if isinstance(state, np.random.RandomState):
            state.seed(seed)

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: settings and sizes, but no weights and no rate."""
        own = {"random_state", self._parameter}
        settings = {name: repr(value) for name, value in self.estimator.get_params().items() if name not in own}
        return {
            "estimator": type(self.estimator).__name__,
            "settings": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16],
            "samples": len(self._y),
            "features": int(self._X.shape[1]),
            "validation_samples": 0 if self._validation is None else len(self._validation[1]),
            "batch_size": self.batch_size,
        }

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one `partial_fit` per rate; return the loss of each batch before it.

        Once the weights are no longer finite the losses are NaN, until `restore`.

        Raises:
            InvalidArgumentError: A rate is negative or not finite.
        """
        rates = np.atleast_1d(np.asarray(learning_rates, dtype=np.float64))
        if rates.ndim != 1 or not np.isfinite(rates).all() or (rates < 0).any():
            msg = (
                f"the learning rates are {learning_rates!r}: pass a one-dimensional array of finite numbers, 0 or more"
            )
            raise InvalidArgumentError(msg)
        with np.errstate(all="ignore"):
            return {"loss": np.array([self._update(float(rate)) for rate in rates])}

    def _update(self, rate: float) -> float:
        X, y = self._next_batch()  # noqa: N806  # scikit-learn's name
        if self._broken:
            return math.nan
        try:
            loss = self._loss(self._model(), X, y)
            self._fit(self.estimator, X, y, rate)
        except (ValueError, FloatingPointError, OverflowError) as error:
            if "overflow" not in str(error).lower() and _weights_are_finite(self.estimator):
                raise
            self._broken = True
            return math.nan
        return loss

    def _next_batch(self) -> tuple[Any, Any]:
        place = self._seed, self._epoch
        if self._order is None or self._order[0] != place:
            self._order = place, np.random.default_rng(place).permutation(len(self._y))
        start = self._step * self.batch_size
        chosen = self._order[1][start : start + self.batch_size]
        self._step += 1
        if self._step == self.steps_per_epoch:
            self._epoch, self._step = self._epoch + 1, 0
        return _rows(self._X, chosen), self._y[chosen]

    def _fit(self, estimator: Any, X: Any, y: Any, rate: float) -> None:  # noqa: N803  # scikit-learn's name
        estimator.set_params(**{self._parameter: rate})
        optimizer = getattr(estimator, "_optimizer", None)
        if optimizer is not None:  # an MLP's, which took its rate when it was made
            optimizer.learning_rate_init = optimizer.learning_rate = rate
        if isinstance(getattr(estimator, "batch_size", None), int):
            estimator.batch_size = len(y)  # one update a step
        if self._classes is None or _is_fitted(estimator):
            estimator.partial_fit(X, y)
        else:
            estimator.partial_fit(X, y, classes=self._classes)

    def _model(self) -> Any:
        """The estimator, or while it has no weights a copy that has the first ones."""
        if _is_fitted(self.estimator):
            return self.estimator
        model = copy.deepcopy(self.estimator)
        some = np.arange(min(self.batch_size, len(self._y)))
        self._fit(model, _rows(self._X, some), self._y[some], _STILL)
        return model

    def _loss(self, model: Any, X: Any, y: Any) -> float:  # noqa: N803  # scikit-learn's name
        if self._classes is None:
            return float(np.mean((np.asarray(model.predict(X), dtype=np.float64).reshape(y.shape) - y) ** 2))
        place = np.searchsorted(self._classes, y)
        if hasattr(model, "predict_proba"):
            probabilities = np.asarray(model.predict_proba(X))
            least = np.finfo(probabilities.dtype).eps
            return float(-np.mean(np.log(np.clip(probabilities[np.arange(len(y)), place], least, 1))))
        if not hasattr(model, "decision_function"):
            return float(np.mean(model.predict(X) != y))
        scores = np.asarray(model.decision_function(X), dtype=np.float64)
        if scores.ndim == 1:
            return float(np.mean(np.maximum(0, 1 - np.where(place == 1, scores, -scores))))
        own = scores[np.arange(len(y)), place]
        scores[np.arange(len(y)), place] = -np.inf
        return float(np.mean(np.maximum(0, 1 - (own - scores.max(axis=1)))))

    def evaluate(self) -> dict[str, float]:
        """Return the validation loss and scores; all NaN once the weights are no longer finite."""
        if self._validation is None:
            return {}
        values = dict.fromkeys(["val_loss", *(f"val_{name}" for name in self._scorers)], math.nan)
        if self._broken:
            return values
        X, y = self._validation  # noqa: N806  # scikit-learn's name
        with np.errstate(all="ignore"):
            model = self._model()
            try:
                values["val_loss"] = self._loss(model, X, y)
                values |= {f"val_{name}": float(scorer(model, X, y)) for name, scorer in self._scorers.items()}
            except (ValueError, FloatingPointError, OverflowError):
                if _weights_are_finite(model) and math.isfinite(values["val_loss"]):
                    raise
        return values

    def snapshot(self) -> SklearnSnapshot:
        """Return a copy of the estimator, its random state, and the place in the data."""
        return SklearnSnapshot(copy.deepcopy(self.estimator), self._seed, self._epoch, self._step, self._broken)

    def restore(self, snapshot: SklearnSnapshot) -> None:
        """Put everything back, bit for bit, into the same estimator object."""
        state = vars(copy.deepcopy(snapshot.estimator))
        vars(self.estimator).clear()
        vars(self.estimator).update(state)
        self._seed, self._epoch, self._step = snapshot.seed, snapshot.epoch, snapshot.step
        self._broken = snapshot.broken

    def save(self, snapshot: SklearnSnapshot, path: Path) -> None:
        """Write a snapshot by skops, which needs no pickle."""
        place = {"seed": snapshot.seed, "epoch": snapshot.epoch, "step": snapshot.step, "broken": snapshot.broken}
        _skops().dump({"estimator": snapshot.estimator, **place}, Path(path))

    def load(self, path: Path) -> SklearnSnapshot:
        """Read a snapshot that `save` wrote; nothing but numpy, scikit-learn and the estimator's own types is made.

        Raises:
            UnsupportedProblemError: The file holds objects of other types.
        """
        skops = _skops()
        unknown = skops.get_untrusted_types(file=Path(path))
        package = type(self.estimator).__module__.partition(".")[0]
        foreign = [name for name in unknown if name.partition(".")[0] not in ("sklearn", "numpy", package)]
        if foreign:
            raise UnsupportedProblemError(f"{path} holds {', '.join(foreign)}: read only files that `save` has written")
        return SklearnSnapshot(**skops.load(Path(path), trusted=unknown))

    def _own(self, estimator: Any) -> Any:
        """Copy the estimator, and switch off on the copy what would get in the way."""
        own = copy.deepcopy(estimator)
        parameters = own.get_params()
        rate = parameters[self._parameter]
        schedule = parameters.get("learning_rate")
        self._users_rate = float(rate) if rate is not None and rate > 0 else None
        if self._parameter != "learning_rate" and isinstance(schedule, str) and schedule != "constant":
            if parameters.get("solver") != "adam":  # Adam takes no notice of it
                ignored = f", which ignores {self._parameter}," if schedule == "optimal" else ""
                self._users_rate = None if ignored else self._users_rate
                self.warnings.append(
                    f"learning_rate={schedule!r}{ignored} is switched to 'constant': train with "
                    f'{type(own).__name__}(learning_rate="constant", {self._parameter}=…) to get what was measured'
                )
            own.set_params(learning_rate="constant")
        if parameters.get("random_state", 0) is None:
            own.random_state = np.random.RandomState(0)  # the global generator is not ours to move
        if parameters.get("verbose"):
            own.verbose = 0
        if parameters.get("batch_size") is not None:
            own.batch_size = 1  # an integer: `_fit` sets it to each batch's own size
        return own

    def _split(
        self,
        X: Any,  # noqa: N803  # scikit-learn's name
        y: Any,
        validation_data: tuple[Any, Any] | None,
        fraction: float,
    ) -> tuple[tuple[Any, Any], tuple[Any, Any] | None]:
        X, y = _checked_data("", X, y)  # noqa: N806  # scikit-learn's name
        classifies = is_classifier(self.estimator)
        if classifies:
            if y.ndim > 1:
                msg = (
                    f"y has the shape {y.shape}: a classifier here takes one class per sample, a one-dimensional array"
                )
                raise UnsupportedProblemError(msg)
            fitted = getattr(self.estimator, "classes_", None)
            self._classes = np.unique(y) if fitted is None else fitted
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
                raise InvalidArgumentError(f"validation_data is {type(validation_data).__name__}: pass a pair (X, y)")
            validation = _checked_data("validation ", *validation_data)
            strange = [] if self._classes is None else sorted(set(validation[1].tolist()) - set(self._classes.tolist()))
            if strange:
                raise InvalidArgumentError(f"the validation y has classes that y has not: {strange}")
            return (X, y), validation
        if not 0 <= fraction < 1:
            raise InvalidArgumentError(f"validation_fraction is {fraction!r}: pass a number from 0 to below 1")
        if fraction == 0:
            return (X, y), None
        try:
            places: Any = np.arange(len(y))
            parts = train_test_split(places, test_size=fraction, random_state=0, stratify=y if classifies else None)
        except ValueError as error:
            msg = f"the samples cannot be split ({error}): pass validation_data=(X, y), or validation_fraction=0"
            raise InvalidArgumentError(msg) from error
        kept, held_out = cast("tuple[Any, Any]", tuple(parts))
        return (_rows(X, kept), y[kept]), (_rows(X, held_out), y[held_out])


def _check_estimator(estimator: Any) -> None:
    name = type(estimator).__name__
    if inspect.isclass(estimator) or not hasattr(estimator, "get_params"):
        came = f"the class {estimator.__name__}" if inspect.isclass(estimator) else f"a {name}"
        raise UnsupportedProblemError(f"estimator is {came}: pass an estimator, such as MLPClassifier()")
    if getattr(estimator, "solver", None) == "lbfgs" and "partial_fit" in dir(type(estimator)):
        msg = f'{name} has solver="lbfgs", which has no learning rate: pass solver="adam" or "sgd"'
        raise UnsupportedProblemError(msg)
    if not hasattr(estimator, "partial_fit"):
        msg = (
            f"{name} has no partial_fit, so it cannot be trained in steps: pass MLPClassifier, MLPRegressor, "
            f"SGDClassifier, SGDRegressor or another estimator that has it"
        )
        raise UnsupportedProblemError(msg)
    if getattr(estimator, "early_stopping", False) is True:
        msg = f"{name} has early_stopping=True, which partial_fit does not do: pass early_stopping=False"
        raise UnsupportedProblemError(msg)


def _rate_parameter(estimator: Any, name: str | None) -> str:
    parameters: dict[str, Any] = estimator.get_params()

    def is_rate(value: Any) -> bool:
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)

    if name is None:
        found = next((one for one in _RATE_PARAMETERS if is_rate(parameters.get(one))), None)
        if found is not None:
            return found
        problem = f"{type(estimator).__name__} has no parameter that is known to be a learning rate"
    elif is_rate(parameters.get(name)):
        return name
    else:
        problem = f"{type(estimator).__name__} has no number as its parameter {name!r}"
    numbers = ", ".join(sorted(one for one, value in parameters.items() if is_rate(value))) or "none"
    raise UnsupportedProblemError(f"{problem}: pass learning_rate_parameter=, one of its numbers: {numbers}")


def _batch_size(batch_size: Any, estimator: Any, samples: int) -> int:
    if batch_size is None:
        own = getattr(estimator, "batch_size", None)
        return min(own if isinstance(own, int) and own > 0 else 200, samples)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InvalidArgumentError(f"batch_size is {batch_size!r}: pass an integer of at least 1")
    return min(int(batch_size), samples)


def _scorers(scoring: Any) -> dict[str, Callable[..., float]]:
    names = [] if scoring is None else [scoring] if isinstance(scoring, str) else list(scoring)
    unknown = [name for name in names if name not in get_scorer_names()]
    if unknown:
        msg = f"scoring is {scoring!r}: {unknown[0]!r} is not a scorer; sklearn.metrics.get_scorer_names() lists them"
        raise InvalidArgumentError(msg)
    return {name: cast("Callable[..., float]", get_scorer(name)) for name in names}


def _checked_data(which: str, X: Any, y: Any) -> tuple[Any, Any]:  # noqa: N803  # scikit-learn's name
    if hasattr(X, "tocsr"):
        X = X.tocsr()  # noqa: N806  # scikit-learn's name
    elif not hasattr(X, "iloc"):
        X = np.asarray(X)  # noqa: N806  # scikit-learn's name
    y = np.asarray(y)
    if len(X.shape) != 2 or not X.shape[0]:
        raise InvalidArgumentError(
            f"the {which}X has the shape {X.shape}: pass samples × features, at least one sample"
        )
    if y.shape[:1] != X.shape[:1]:
        raise InvalidArgumentError(f"the {which}X has {X.shape[0]} samples, but y has the shape {y.shape}")
    return X, y


def _rows(X: Any, chosen: npt.NDArray[np.int64]) -> Any:  # noqa: N803  # scikit-learn's name
    return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _weights_are_finite(estimator: Any) -> bool:
    found = [one for value in vars(estimator).values() for one in (value if isinstance(value, list) else [value])]
    arrays = [one for one in found if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
    return all(bool(np.isfinite(one).all()) for one in arrays)


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError("skops is not installed; run: pip install learnrate[sklearn]") from error
    return skops.io
