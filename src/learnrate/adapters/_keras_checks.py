"""What is refused before any training, with the reason and the way out."""

# keras has no stubs, and models and data are of any kind:
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np

from learnrate._identity import digest, mark
from learnrate.adapters._keras_data import Samples, class_weighted, packed, to_numpy
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from learnrate.adapters._keras_data import Batch, Source


def check_model(model: Any) -> None:
    """Refuse what is no compiled Keras model, and an optimizer whose rate cannot be set from step to step.

    Raises:
        UnsupportedProblemError: The message says which.
    """
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        hint = " It is of Keras 2: build it with Keras 3." if "tf_keras" in kind or "tensorflow.python" in kind else ""
        raise UnsupportedProblemError(f"the model is a {kind}: pass a compiled keras.Model.{hint}")
    if not model.compiled:
        raise UnsupportedProblemError(
            "the model is not compiled: call model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=...) first."
        )
    optimizer: Any = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise UnsupportedProblemError(
            f"the model's optimizer is {optimizer!r}, which has no learning rate to search for: compile the model with "
            f"one of keras.optimizers. A model that trains by several needs a Trainable of its own."
        )
    strategy = getattr(model, "_distribute_strategy", None)
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        raise UnsupportedProblemError(
            "the model was made under a tf.distribute strategy of several replicas, while a search for the learning "
            "rate goes back and forth on one: make it outside of strategy.scope()."
        )
    _check_rate(optimizer)


def _check_rate(optimizer: Any) -> None:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    given = inner._learning_rate  # noqa: SLF001  # the property shows a schedule's present rate, not the schedule
    if isinstance(given, keras.optimizers.schedules.LearningRateSchedule):
        raise UnsupportedProblemError(
            f"the optimizer has a LearningRateSchedule, {type(given).__name__}, which would fight the rates that "
            f"are tried. Compile the model with a number, keras.optimizers.{type(inner).__name__}(1e-3), and pass the "
            f"schedule to the verb: select(problem, schedule=learnrate.adapters.keras.schedule_from(schedule, "
            f"steps=...)), or one of learnrate.schedules."
        )
    if not isinstance(given, keras.Variable):
        raise UnsupportedProblemError(
            f"the optimizer's learning rate is a {type(given).__name__}, which decides the rate by itself: compile the "
            f"model with a number, keras.optimizers.{type(inner).__name__}(1e-3), and pass a schedule to the verb."
        )


def build(model: Any, batch: Batch) -> None:
    """Make all variables that training needs, of the model, its metrics and its optimizer, from one batch.

    Raises:
        UnsupportedProblemError: The model cannot be built from the data, or has nothing to train.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    try:
        # There is no public way to build the metrics without testing a batch.
        model._symbolic_build(data_batch=(x, y, sample_weight))  # noqa: SLF001  # see above
    except Exception as error:
        raise UnsupportedProblemError(
            f"the model cannot be built from a batch of the data: {_first_lines(error)} Check that the inputs and the "
            f"targets have the shapes that the model and its loss expect; a model of your own with no call() is called "
            f"on a batch first."
        ) from error
    if not model.trainable_variables:
        raise UnsupportedProblemError(
            f"{type(model).__name__} has no trainable weight: it has none at all, or all layers have trainable=False."
        )


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:3]) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


def arrays(x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> tuple[Any, Any, Any]:
    """Return x, y and the sample weights as numpy arrays, floats in Keras's precision, as `fit` takes them.

    Raises:
        InvalidArgumentError: Something is no array, is empty, or has another number of samples.
    """
    names = ("x", "y", "sample_weight")
    x, y, sample_weight = (
        keras.tree.map_structure(lambda leaf, name=name: _floatx(to_numpy(name, leaf)), it)
        for name, it in zip(names, (x, y, sample_weight), strict=True)
    )
    if class_weight is not None:
        sample_weight = class_weighted(y, sample_weight, class_weight)
    elif sample_weight is not None and keras.tree.is_nested(y) and not keras.tree.is_nested(sample_weight):
        one = sample_weight  # `fit` gives each output the same weights
        sample_weight = keras.tree.map_structure(lambda _: one, y)
    sizes: dict[str, list[int]] = {}
    for name, it in zip(names, (x, y, sample_weight), strict=True):
        leaves = [leaf for leaf in keras.tree.flatten(it) if leaf is not None]
        if any(not leaf.ndim for leaf in leaves):
            raise InvalidArgumentError(f"{name} holds a single number: pass arrays whose leading axis is the samples.")
        if leaves:
            sizes[name] = [len(leaf) for leaf in leaves]
    every = {size for several in sizes.values() for size in several}
    if "x" not in sizes or every == {0}:
        raise InvalidArgumentError("x is empty: pass at least one sample.")
    if len(every) > 1:
        words = ", ".join(f"{name} {' and '.join(map(str, several))}" for name, several in sizes.items())
        raise InvalidArgumentError(
            f"the arrays have different numbers of samples ({words}): pass as many targets and weights as inputs."
        )
    return x, y, sample_weight


def _floatx(array: Any) -> Any:
    if array is None or not np.issubdtype(array.dtype, np.floating):
        return array
    return array.astype(keras.config.floatx(), copy=False)


def split(parts: tuple[Any, Any, Any], validation_split: float) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Return the first samples to train on and the last ones to validate with, as `fit` does.

    Raises:
        InvalidArgumentError: The fraction is not below 1, or leaves nothing on one side.
    """
    if not isinstance(validation_split, numbers.Real) or not 0 < validation_split < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
        raise InvalidArgumentError(f"validation_split is {validation_split!r}: pass a number from 0 to below 1.")
    size = len(next(leaf for leaf in keras.tree.flatten(parts[0]) if leaf is not None))
    at = math.floor(size * (1 - validation_split))
    if at in (0, size):
        raise InvalidArgumentError(
            f"validation_split={validation_split} of {size} samples leaves none to train on or none to validate with: "
            f"pass another fraction, or more data."
        )

    def cut(part: slice) -> tuple[Any, Any, Any]:
        several = (keras.tree.map_structure(lambda it: None if it is None else it[part], one) for one in parts)
        return cast("tuple[Any, Any, Any]", tuple(several))

    return cut(slice(None, at)), cut(slice(at, None))


def samples(parts: tuple[Any, Any, Any], batch_size: int, *, shuffle: bool, before: int = 0) -> Samples:
    """Return arrays as a source of batches."""
    return Samples(packed(*parts), batch_size, shuffle=shuffle, before=before)


def describe(model: Any, source: Source, validation: Source | None) -> dict[str, str | int | float]:
    """Return what makes a problem this problem: shapes and settings, but no weights, no rate, no numbered names."""
    shapes = [(tuple(it.shape), str(it.dtype), bool(it.trainable)) for it in model.variables]
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    settings = {name: it for name, it in optimizer.get_config().items() if name not in ("name", "learning_rate")}
    return {
        "kind": "keras",
        "backend": keras.config.backend(),
        "model": type(model).__name__,
        "parameters": int(sum(math.prod(shape) for shape, _, trainable in shapes if trainable)),
        "shapes": digest(shapes),
        "optimizer": type(optimizer).__name__,
        "optimizer_settings": mark(settings),
        "loss": _words(model.loss),
        "metrics": " ".join(model.metrics_names),
        "batch_samples": source.batch_samples,
        "form": digest([list(leaf.shape[1:]) for leaf in source.form.flat(source.first())]),
        "validation_samples": 0 if validation is None else validation.num_samples,
    }


def _words(loss: Any) -> str:
    if isinstance(loss, Mapping):
        return " ".join(f"{name}={_words(it)}" for name, it in cast("Mapping[str, Any]", loss).items())
    if isinstance(loss, Sequence) and not isinstance(loss, str):
        return " ".join(map(_words, cast("Sequence[Any]", loss)))
    return str(loss) if loss is None or isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
