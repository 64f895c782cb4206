"""scikit-learn's scorers, of any problem whose model can predict: one more validation metric."""

# scikit-learn's types are partial, and models are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUntypedBaseClass=false, reportAttributeAccessIssue=false

from __future__ import annotations

from learnrate.errors import MissingExtraError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import get_scorer, get_scorer_names
except ImportError as error:
    raise MissingExtraError("scoring needs scikit-learn; run: pip install learnrate[sklearn]") from error

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from learnrate._checks import did_you_mean
from learnrate._searching.folds import classes_of, length_of, take
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from learnrate._searching.folds import Fold
    from learnrate.training import Trainable


AT_ONCE = 1024
"""Samples that a Keras model is asked about at a time, so that they fit into memory."""


class SklearnScorer:
    """A scorer of scikit-learn by name.

    Args:
        name: As in `sklearn.metrics.get_scorer_names()`.

    Raises:
        InvalidArgumentError: If there is no such scorer.
    """

    def __init__(self, name: str) -> None:
        try:
            self._scorer = get_scorer(name)
        except (ValueError, TypeError) as error:
            hint = did_you_mean(str(name), get_scorer_names())
            raise InvalidArgumentError(
                f"scoring is {name!r}, which is no scorer: sklearn.metrics.get_scorer_names() lists them{hint}"
            ) from error
        self.metric = f"val_{name}"

    def scoring(self, problem: Trainable, fold: Fold | None) -> Trainable:
        """Return the problem, whose `evaluate` has the score as well."""
        if fold is None:
            raise InvalidArgumentError("scoring needs the samples: pass data=(x, y)")
        return cast("Trainable", _Scored(problem, self, fold))

    def score(self, problem: Any, fold: Fold) -> float:
        """Return the score on the samples that validate; NaN where the model's predictions are no numbers."""
        x, y = fold.validation
        targets = np.asarray(y)
        known = classes_of(fold.train[1])
        if known is not None and targets.ndim == 2:
            targets = targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0]
        estimator = getattr(problem, "estimator", None)
        if estimator is None:
            outputs = _outputs(problem, x)
            if not np.isfinite(outputs).all():
                return math.nan
            labels = None if known is None else _labels(fold.train[1])
            estimator = _Numbers(outputs) if labels is None else _Classes(outputs, labels)
        return float(self._scorer(estimator, x, targets))


class _Scored:
    """A problem that has one more validation metric; in all else it is the problem itself."""

    def __init__(self, problem: Trainable, scorer: SklearnScorer, fold: Fold) -> None:
        self._problem = problem
        self._scorer = scorer
        self._fold = fold

    def __getattr__(self, name: str) -> Any:
        return getattr(self._problem, name)

    def evaluate(self) -> dict[str, float]:
        """Return the problem's own metrics and the score."""
        own = dict(self._problem.evaluate())
        broken = not all(map(math.isfinite, own.values()))  # weights that are no numbers predict none
        return own | {self._scorer.metric: math.nan if broken else self._scorer.score(self._problem, self._fold)}


def _outputs(problem: Any, x: Any) -> Any:
    """Return what the problem's model says of samples, changing nothing in it."""
    model: Any = getattr(problem, "model", None)
    if hasattr(model, "predict") and hasattr(model, "compute_loss"):  # Keras, called: `predict` would be compiled anew
        places = np.array_split(np.arange(length_of(x)), math.ceil(length_of(x) / AT_ONCE))
        return np.concatenate([_to_numpy(model(take(x, part), training=False)) for part in places])
    if hasattr(model, "parameters") and hasattr(model, "modules"):  # PyTorch
        weight = next(iter(model.parameters()))
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            inputs = x.to(weight.device) if hasattr(x, "to") else weight.detach().new_tensor(np.asarray(x))
            return _to_numpy(model(inputs))
        finally:
            for module, mode in modes.items():
                module.training = mode
    raise UnsupportedProblemError(
        f"scoring needs a model that predicts, and {type(problem).__name__} has none: let it report the metric "
        "itself, and pass metric= instead"
    )


def _to_numpy(outputs: Any) -> Any:
    return np.asarray(outputs.detach().cpu() if hasattr(outputs, "detach") else outputs, dtype=np.float64)


def _labels(y: Any) -> Any:
    targets = np.asarray(y)
    if targets.ndim == 2 and targets.shape[1] > 1:
        return np.arange(targets.shape[1])
    return np.unique(targets)


class _Classes(ClassifierMixin, BaseEstimator):
    """Predictions of a classifier, as a scorer asks for them; logits are turned into probabilities."""

    def __init__(self, outputs: Any, classes: Any) -> None:
        self.outputs = outputs
        self.classes = classes
        self.classes_ = classes

    def predict_proba(self, _x: Any) -> Any:
        outputs = self.outputs.reshape(len(self.outputs), -1)
        if outputs.shape[1] == 1:
            inside = ((outputs >= 0) & (outputs <= 1)).all()
            positive = outputs if inside else 1 / (1 + np.exp(-np.clip(outputs, -700, 700)))
            return np.hstack([1 - positive, positive])
        if (outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
            return outputs / outputs.sum(axis=1, keepdims=True)
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def predict(self, x: Any) -> Any:
        return self.classes[self.predict_proba(x).argmax(axis=1)]

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _Numbers(RegressorMixin, BaseEstimator):
    """Predictions of a regressor."""

    def __init__(self, outputs: Any) -> None:
        self.outputs = outputs

    def predict(self, _x: Any) -> Any:
        return self.outputs[:, 0] if self.outputs.ndim == 2 and self.outputs.shape[1] == 1 else self.outputs

    def __sklearn_is_fitted__(self) -> bool:
        return True
