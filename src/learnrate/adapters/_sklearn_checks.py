"""What of an estimator and its data is refused before any training, with the reason and the way out."""

# scikit-learn's types are partial, estimators are of any kind, and its samples are called X:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportConstantRedefinition=false

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import train_test_split

from learnrate.adapters import _bad_samples
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.training import Part

Data = tuple[Any, Any]
Places = npt.NDArray[np.int64]
AT_ONCE = 1024
"""Samples that are looked at at a time, so that sparse ones fit into memory."""
RATE_PARAMETERS = ("learning_rate_init", "eta0", "learning_rate", "lr")


def check_estimator(estimator: Any) -> None:
    """Refuse what cannot be trained step by step.

    Raises:
        UnsupportedProblemError: It is no estimator, has no `partial_fit` or no `predict`, or stops early by itself.
    """
    name = type(estimator).__name__
    if inspect.isclass(estimator) or not hasattr(estimator, "get_params"):
        came = f"the class {estimator.__name__}" if inspect.isclass(estimator) else f"a {name}"
        raise UnsupportedProblemError(f"estimator is {came}: pass an estimator, such as MLPClassifier()")
    if getattr(estimator, "solver", None) == "lbfgs" and "partial_fit" in dir(type(estimator)):
        msg = f'{name} has solver="lbfgs", which has no learning rate: pass solver="adam" or "sgd"'
        raise UnsupportedProblemError(msg)
    if not hasattr(estimator, "partial_fit"):
        steps = getattr(estimator, "steps", None)
        way = (
            f"pass its last step, {type(steps[-1][1]).__name__}, and samples that went through the others"
            if steps
            else "pass MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor or another estimator that has it"
        )
        raise UnsupportedProblemError(f"{name} has no partial_fit, so it cannot be trained in steps: {way}")
    if not hasattr(estimator, "predict"):
        msg = f"{name} has no predict, so that nothing says how good it is: pass a classifier or a regressor"
        raise UnsupportedProblemError(msg)
    if getattr(estimator, "early_stopping", False) is True:
        msg = f"{name} has early_stopping=True, which partial_fit does not do: pass early_stopping=False"
        raise UnsupportedProblemError(msg)


def rate_parameter(estimator: Any, name: str | None) -> str:
    """Return the name of the parameter that is the learning rate.

    Raises:
        UnsupportedProblemError: There is none, or it is not a number.
    """
    parameters: dict[str, Any] = estimator.get_params()

    def is_rate(value: Any) -> bool:
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)

    if name is None:
        found = next((one for one in RATE_PARAMETERS if is_rate(parameters.get(one))), None)
        if found is not None:
            return found
        problem = f"{type(estimator).__name__} has no parameter that is known to be a learning rate"
    elif is_rate(parameters.get(name)):
        return name
    else:
        problem = f"{type(estimator).__name__} has no number as its parameter {name!r}"
    numbers = ", ".join(sorted(one for one, value in parameters.items() if is_rate(value))) or "none"
    raise UnsupportedProblemError(f"{problem}: pass learning_rate_parameter=, one of its numbers: {numbers}")


def checked_batch_size(batch_size: Any, default: int, samples: int) -> int:
    """Return the samples of a step, at most all of them.

    Raises:
        InvalidArgumentError: It is not an integer of at least 1.
    """
    if batch_size is None:
        return min(default, samples)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InvalidArgumentError(f"batch_size is {batch_size!r}: pass an integer of at least 1")
    return min(int(batch_size), samples)


def checked_scorers(scoring: Any) -> dict[str, Callable[..., float]]:
    """Return scorers by their names.

    Raises:
        InvalidArgumentError: One of the names is unknown.
    """
    if not (scoring is None or isinstance(scoring, str | list | tuple)):
        came = f"{type(scoring).__name__}"
        raise InvalidArgumentError(f"scoring is a {came}: pass the name of a scorer, or a list of names")
    names: list[Any] = [] if scoring is None else [scoring] if isinstance(scoring, str) else list(scoring)
    known = get_scorer_names()
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"scoring is {scoring!r}: {unknown[0]!r} is not a scorer; sklearn.metrics.get_scorer_names() lists them"
        raise InvalidArgumentError(msg)
    return {name: cast("Callable[..., float]", get_scorer(name)) for name in names}


def checked_data(which: str, X: Any, y: Any, *, flat: bool = True) -> Data:  # noqa: N803  # scikit-learn's name
    """Return samples of which rows can be taken, and their targets.

    Args:
        which: A word before the names in an error, "" or "validation ".
        X: Samples.
        y: Targets.
        flat: Whether a sample has to be a row of numbers; a skorch net's may be an image.

    Raises:
        InvalidArgumentError: They are empty, or do not fit together.
    """
    if isinstance(X, dict | tuple):
        msg = f"the {which}X is a {type(X).__name__}: pass one array of samples; several inputs need a TorchTrainable"
        raise InvalidArgumentError(msg)
    if hasattr(X, "tocsr"):
        X = X.tocsr()  # noqa: N806  # scikit-learn's name
    elif not hasattr(X, "iloc"):
        X = np.asarray(X)  # noqa: N806  # scikit-learn's name
    y = np.asarray(y)
    if not X.shape or (flat and len(X.shape) != 2) or not X.shape[0]:
        raise InvalidArgumentError(
            f"the {which}X has the shape {X.shape}: pass samples × features, at least one sample"
        )
    if y.shape[:1] != X.shape[:1]:
        raise InvalidArgumentError(f"the {which}X has {X.shape[0]} samples, but y has the shape {y.shape}")
    return X, y


def known_classes(estimator: Any, y: Any) -> Any:
    """Return the classes that a classifier learns, None for anything else.

    Raises:
        InvalidArgumentError: There is only one, one is NaN, or the estimator has learned others before.
        UnsupportedProblemError: A sample has several.
    """
    if not is_classifier(estimator):
        return None
    if y.ndim > 1:
        msg = f"y has the shape {y.shape}: a classifier here takes one class per sample, a one-dimensional array"
        raise UnsupportedProblemError(msg)
    bad = _bad_samples.first_bad_sample([[y]])
    if bad is not None:
        raise InvalidArgumentError(
            f"y[{bad}] is {y[bad]}, which is no class: leave such samples out, or name their class"
        )
    fitted = getattr(estimator, "classes_", None)
    classes = np.unique(y) if fitted is None else fitted
    strange = sorted(set(y.tolist()) - set(classes.tolist()))
    if strange:
        raise InvalidArgumentError(
            f"y has classes that the estimator, fitted before, has not learned: {strange}. It knows {classes.tolist()}"
        )
    if len(classes) < 2:
        raise InvalidArgumentError(f"y has the one class {classes.tolist()}: pass samples of two classes or more")
    return classes


def split_data(
    data: Data, validation_data: Any, fraction: float, classes: Any, *, flat: bool = True
) -> tuple[Data, Data | None, dict[Part, Places] | None]:
    """Return the training samples, those of the validation, and where both stood in X; None where there are none.

    Raises:
        InvalidArgumentError: The validation does not fit to the training, or too little is there to be split.
    """
    X, y = data  # noqa: N806  # scikit-learn's name
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(cast("tuple[Any, ...]", validation_data)) != 2:
            raise InvalidArgumentError(f"validation_data is {type(validation_data).__name__}: pass a pair (X, y)")
        held_X, held_y = checked_data("validation ", *validation_data, flat=flat)  # noqa: N806  # scikit-learn's name
        if held_X.shape[1:] != X.shape[1:]:
            msg = f"a sample of the validation X has the shape {held_X.shape[1:]}, and one of X {X.shape[1:]}"
            raise InvalidArgumentError(msg)
        strange = [] if classes is None else sorted(set(held_y.tolist()) - set(classes.tolist()))
        if strange:
            raise InvalidArgumentError(f"the validation y has classes that y has not: {strange}")
        return (X, y), (held_X, held_y), None
    if not 0 <= fraction < 1:
        raise InvalidArgumentError(f"validation_fraction is {fraction!r}: pass a number from 0 to below 1")
    if fraction == 0:
        return (X, y), None, None
    try:
        places: Any = np.arange(len(y))
        parts = train_test_split(places, test_size=fraction, random_state=0, stratify=None if classes is None else y)
    except ValueError as error:
        msg = f"the samples cannot be split ({error}): pass validation_data=(X, y), or validation_fraction=0"
        raise InvalidArgumentError(msg) from error
    kept, held_out = cast("tuple[Any, Any]", tuple(parts))
    whence: dict[Part, Places] = {"training": kept, "validation": held_out}
    return (rows(X, kept), y[kept]), (rows(X, held_out), y[held_out]), whence


def rows(X: Any, chosen: npt.NDArray[np.int64]) -> Any:  # noqa: N803  # scikit-learn's name
    """Return some of the samples, of an array, a sparse matrix or a data frame."""
    return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]


def first_bad_sample(data: Data, places: Places | None = None) -> int | None:
    """Return the number of the first sample that holds NaN or infinity, None where none does.

    Args:
        data: Samples and their targets.
        places: The number of each sample; None for where it stands.
    """
    X, y = data  # noqa: N806  # scikit-learn's name
    numbers = np.arange(len(y)) if places is None else places
    order = np.argsort(numbers)
    parts = np.split(order, range(AT_ONCE, len(order), AT_ONCE))
    found = _bad_samples.first_bad_sample([_dense(rows(X, part)), y[part]] for part in parts)
    return None if found is None else int(numbers[order[found]])


def _dense(X: Any) -> npt.NDArray[Any]:  # noqa: N803  # scikit-learn's name
    if hasattr(X, "iloc"):
        return X.to_numpy(dtype=np.float64, na_value=np.nan)
    return X.toarray() if hasattr(X, "toarray") else X
