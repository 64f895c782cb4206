"""scikit-learn: an estimator that learns by `partial_fit`, and its data, as a problem that every verb can train."""

# scikit-learn's types are partial, estimators are of any kind, and its samples are called X:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportConstantRedefinition=false

from __future__ import annotations

from learnrate.errors import MissingExtraError

try:
    import sklearn  # noqa: F401  # pyright: ignore[reportUnusedImport]  # the modules below need it
except ImportError as error:
    raise MissingExtraError("scikit-learn is not installed; run: pip install learnrate[sklearn]") from error

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnrate._checks import step_rates
from learnrate._identity import mark
from learnrate.adapters import _sklearn_checks as checks
from learnrate.adapters._bad_samples import in_words
from learnrate.adapters._sklearn_models import model_of
from learnrate.adapters._sklearn_search import SearchCV

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate.training import Part

__all__ = ["SearchCV", "SklearnSnapshot", "SklearnTrainable"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SklearnSnapshot:
    """A copy of an estimator, of a skorch net its state; and the place in the data.

    The place is the seed of the order, the epoch and the step inside it, and whether training broke.
    """

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
            parameter for the learning rate; or a skorch net, whose losses are those that it reports itself.
        X: Samples, an array, sparse matrix or data frame of shape (samples, features); for a net of any shape.
        y: Targets: classes, one per sample, or numbers.
        validation_data: `(X, y)` for `evaluate`; None splits a part off the samples.
        validation_fraction: The part that is split off, stratified by class, the same for every training; a tenth as
            in scikit-learn's own early stopping. 0 evaluates nothing.
        batch_size: Samples a step; by default the estimator's own where it has a number, else 200 or all samples if
            there are fewer, as scikit-learn's MLPs do.
        scoring: A scorer's name, or several, as in `cross_validate`; each is reported as `val_<name>`.
        learning_rate_parameter: The parameter that is the learning rate; by default "learning_rate_init", "eta0",
            "learning_rate" or "lr", the first that the estimator has as a number.

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
        checks.check_estimator(estimator)
        parameter = checks.rate_parameter(estimator, learning_rate_parameter)
        self._scorers = checks.checked_scorers(scoring)
        self._model = model = model_of(estimator, parameter)
        data = checks.checked_data("", X, y, flat=model.flat)
        classes = checks.known_classes(model.estimator, data[1])
        training, self._validation, self._places = checks.split_data(
            data, validation_data, validation_fraction, classes, flat=model.flat
        )
        self._X, self._y = training
        samples = len(self._y)
        self.batch_size = checks.checked_batch_size(batch_size, model.default_batch_size(samples), samples)
        model.prepare(*self._rows(np.arange(self.batch_size)), classes)
        self.steps_per_epoch = samples // self.batch_size if model.drop_last else -(-samples // self.batch_size)
        self.evaluation_steps = 0.0 if self._validation is None else len(self._validation[1]) / self.batch_size / 3
        self._own = {"random_state", parameter}
        self._seed = self._epoch = self._step = 0
        self._broken = False
        self._order: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None

    @property
    def estimator(self) -> Any:
        """The copy that is trained; after `problem.restore(answer.best)` it is the winner."""
        return self._model.estimator

    @property
    def framework(self) -> str | None:
        """Whose lines train with an answer: "sklearn"; None for a skorch net, which has none."""
        return self._model.framework

    @property
    def warnings(self) -> list[str]:
        """What was changed on the copy."""
        return self._model.warnings

    @property
    def learning_rate(self) -> float | None:
        """The rate that the user has set; None where the estimator's schedule made its own."""
        return self._model.learning_rate

    def begin(self, learning_rate: float, epochs: float, seed: int) -> None:
        """Begin a fresh training: the order of the batches, and whatever else draws, by this seed."""
        del learning_rate, epochs
        self._seed, self._epoch, self._step = seed, 0, 0
        self._model.begin(seed)

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: settings and sizes, but no weights and no rate."""
        parameters = self.estimator.get_params()
        settings = {name: _words(value) for name, value in parameters.items() if name not in self._own}
        return {
            "estimator": type(self.estimator).__name__,
            "settings": mark(dict(sorted(settings.items()))),
            "samples": len(self._y),
            "features": math.prod(self._X.shape[1:]),
            "validation_samples": 0 if self._validation is None else len(self._validation[1]),
            "batch_size": self.batch_size,
        }

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one `partial_fit` per rate; return the loss of each batch before it.

        Once the weights are no longer finite the losses are NaN, until `restore`.

        Raises:
            InvalidArgumentError: A rate is negative or not finite.
        """
        rates = step_rates(learning_rates)
        with np.errstate(all="ignore"):
            return {"loss": np.array([self._update(float(rate)) for rate in rates])}

    def _update(self, rate: float) -> float:
        X, y = self._next_batch()  # noqa: N806  # scikit-learn's name
        if self._broken:
            return math.nan
        try:
            return self._model.step(X, y, rate)
        except (ValueError, FloatingPointError, OverflowError) as error:
            if "overflow" not in str(error).lower() and self._model.is_finite():
                raise
            self._broken = True
            return math.nan

    def _next_batch(self) -> checks.Data:
        place = self._seed, self._epoch
        if self._order is None or self._order[0] != place:
            self._order = place, np.random.default_rng(place).permutation(len(self._y))
        start = self._step * self.batch_size
        chosen = self._order[1][start : start + self.batch_size]
        self._step += 1
        if self._step == self.steps_per_epoch:
            self._epoch, self._step = self._epoch + 1, 0
        return self._rows(chosen)

    def _rows(self, chosen: npt.NDArray[np.int64]) -> checks.Data:
        return checks.rows(self._X, chosen), self._y[chosen]

    def evaluate(self) -> dict[str, float]:
        """Return the validation loss and scores; all NaN once the weights are no longer finite."""
        if self._validation is None:
            return {}
        values = dict.fromkeys(["val_loss", *(f"val_{name}" for name in self._scorers)], math.nan)
        if self._broken:
            return values
        X, y = self._validation  # noqa: N806  # scikit-learn's name
        with np.errstate(all="ignore"), self._model.measured() as estimator:
            try:
                values["val_loss"] = self._model.loss(estimator, X, y)
                values |= {f"val_{name}": float(scorer(estimator, X, y)) for name, scorer in self._scorers.items()}
            except (ValueError, FloatingPointError, OverflowError):
                if self._model.is_finite() and math.isfinite(values["val_loss"]):
                    raise
        return values

    def first_bad_sample(self, part: Part) -> str | None:
        """Say which sample of the training or the validation data is the first that holds NaN or infinity, if any.

        Where both were split off X and y, the number is the sample's there.
        """
        data = (self._X, self._y) if part == "training" else self._validation
        if data is None:
            return None
        if self._places is None:
            return in_words(checks.first_bad_sample(data), f"the {part} data")
        return in_words(checks.first_bad_sample(data, self._places[part]), "X and y")

    def snapshot(self) -> SklearnSnapshot:
        """Return a copy of the estimator, its random state, and the place in the data."""
        return SklearnSnapshot(self._model.copy(), self._seed, self._epoch, self._step, self._broken)

    def restore(self, snapshot: SklearnSnapshot) -> None:
        """Put everything back, bit for bit, into the same estimator object."""
        self._model.put_back(snapshot.estimator)
        self._seed, self._epoch, self._step = snapshot.seed, snapshot.epoch, snapshot.step
        self._broken = snapshot.broken

    def save(self, snapshot: SklearnSnapshot, path: Path) -> None:
        """Write a snapshot by skops, of a skorch net as safetensors, neither of which needs pickle."""
        place = {"seed": snapshot.seed, "epoch": snapshot.epoch, "step": snapshot.step, "broken": snapshot.broken}
        self._model.write(snapshot.estimator, place, Path(path))

    def load(self, path: Path) -> SklearnSnapshot:
        """Read a snapshot that `save` wrote; nothing but numpy, scikit-learn and the estimator's own types is made.

        Raises:
            UnsupportedProblemError: The file holds objects of other types.
        """
        estimator, place = self._model.read(Path(path))
        return SklearnSnapshot(estimator, place["seed"], place["epoch"], place["step"], bool(place["broken"]))


def _words(value: Any) -> str:
    """Return what a setting is, the same in every process: no address of an object."""
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return repr(value)
    if isinstance(value, list | tuple):
        return str([_words(one) for one in value])
    if isinstance(value, dict):
        return str(sorted((str(key), _words(one)) for key, one in value.items()))
    return getattr(value, "__qualname__", type(value).__qualname__)
