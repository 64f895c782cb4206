"""What `fit` takes as data, told apart: arrays, tf.data, PyDataset, PyTorch's DataLoader, and what cannot be used."""

# keras has no stubs, and data are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import keras

from learnrate.adapters import _keras_checks as checks
from learnrate.adapters._bad_samples import first_bad_sample
from learnrate.adapters._keras_data import Batches, checked_batch, leaves_of, py_dataset
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from learnrate.adapters._keras_data import Batch, Source

_DEFAULT_BATCH_SIZE = 32
_KINDS = "arrays, a tf.data.Dataset, a keras.utils.PyDataset or a torch.utils.data.DataLoader"


def source_of(
    given: tuple[Any, Any, Any],
    validation_data: Any,
    *,
    validation_split: float,
    batch_size: int | None,
    shuffle: Any,
    class_weight: Mapping[int, float] | None,
    steps: int | None,
) -> tuple[Source, Source | None]:
    """Return the training data and the validation data.

    Raises:
        InvalidArgumentError: The data has a form that cannot be used, or arguments that do not go together.
    """
    if not isinstance(shuffle, bool):
        raise InvalidArgumentError(f"shuffle is {shuffle!r}: pass True or False.")
    x, y, sample_weight = given
    if gives_batches(x):
        _check_alone("x", x, {"y": y, "sample_weight": sample_weight, "batch_size": batch_size})
        if validation_split and validation_data is None:
            raise InvalidArgumentError(
                f"validation_split is for arrays, and x is a {type(x).__name__}: pass validation_data."
            )
        source = _batches("x", x, class_weight, shuffle=shuffle, steps=steps)
        size = round(source.batch_samples)
        return source, _validation(validation_data, size)
    check_iterable("x", x)
    parts = checks.arrays(x, y, sample_weight, class_weight)
    held_out: tuple[Any, Any, Any] | None = None
    if validation_data is None and validation_split:
        parts, held_out = checks.split(parts, validation_split)
        if class_weight is not None:  # the weights of classes are for training only
            held_out = (*held_out[:2], None)
    num_samples = len(next(leaf for leaf in keras.tree.flatten(parts[0]) if leaf is not None))
    size = batch_size or (_DEFAULT_BATCH_SIZE if steps is None else -(-num_samples // steps))  # as in `fit`
    source = checks.samples(parts, size, shuffle=shuffle)
    if held_out is not None:
        return source, checks.samples(held_out, size, shuffle=False, before=source.num_samples)
    return source, _validation(validation_data, size)


def gives_batches(data: Any) -> bool:
    """Whether this is data that comes in batches."""
    return isinstance(data, keras.utils.PyDataset) or _is("tensorflow", data) or _is("torch", data)


def _is(framework: str, data: Any) -> bool:
    """Tell a tf.data.Dataset or a DataLoader by its class, since its framework may be neither there nor the backend."""
    name, module = {"tensorflow": ("DatasetV2", "tensorflow"), "torch": ("DataLoader", "torch.utils.data")}[framework]
    return any(it.__name__ == name and it.__module__.startswith(module) for it in type(data).__mro__)


def check_iterable(name: str, data: Any) -> None:
    """Refuse what can be iterated once only, and what `fit` does not take.

    Raises:
        InvalidArgumentError: The message says what to pass.
    """
    if isinstance(data, Iterator) or (callable(data) and not hasattr(data, "shape")):
        raise InvalidArgumentError(
            f"{name} is a {type(data).__name__}, which can be iterated once only, and every trial needs the same "
            f"batches: pass {_KINDS}. tf.data.Dataset.from_generator makes one of a generator function."
        )
    array_like = hasattr(data, "shape") or isinstance(data, list | tuple | Mapping)
    if data is None or not array_like:
        raise InvalidArgumentError(f"{name} is a {type(data).__name__}: pass {_KINDS}.")


def _check_alone(name: str, data: Any, others: dict[str, Any]) -> None:
    for other, value in others.items():
        if value is not None:
            raise InvalidArgumentError(
                f"{other} was passed, and {name}, a {type(data).__name__}, brings batches of its own: leave {other} "
                f"out; targets and weights belong into its batches."
            )


def _validation(data: Any, batch_size: int) -> Source | None:
    if data is None:
        return None
    if gives_batches(data):
        source = _batches("validation_data", data, None, shuffle=False, steps=None)
        if source.length is None and _endless(data):
            raise InvalidArgumentError("validation_data never ends: pass one pass over it, as by dataset.take(100).")
        return source
    pair: tuple[Any, ...] = tuple(data) if isinstance(data, list | tuple) else ()
    if len(pair) not in (2, 3):
        came = f"a {type(data).__name__}" + (f" of {len(pair)} parts" if pair else "")
        raise InvalidArgumentError(
            f"validation_data is {came}: pass (x, y) or (x, y, sample_weight), or batches: {_KINDS.partition(', ')[2]}."
        )
    check_iterable("validation_data", pair[0])
    parts = checks.arrays(pair[0], pair[1], pair[2] if len(pair) == 3 else None, None)
    return checks.samples(parts, batch_size, shuffle=False)


def _endless(data: Any) -> bool:
    if isinstance(data, keras.utils.PyDataset):
        return cast("Any", data).num_batches is None
    return _is("tensorflow", data) and int(data.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY


def _batches(
    name: str, data: Any, class_weight: Mapping[int, float] | None, *, shuffle: bool, steps: int | None
) -> Batches:
    def prepare(batch: Any) -> Batch:
        return checked_batch(batch, name, class_weight)

    length = _length(data)
    if name == "x" and length is None and steps is None:
        raise InvalidArgumentError(
            f"x, a {type(data).__name__}, does not know how many batches it has: pass steps_per_epoch=, the number of "
            f"steps that you call an epoch."
        )
    if isinstance(data, keras.utils.PyDataset):
        in_order = py_dataset(data, shuffle=False, prepare=prepare)

        def look(most: int | None) -> int | None:
            return first_bad_sample(map(leaves_of, itertools.islice(in_order(0, 0), most)))

        return Batches(name, py_dataset(data, shuffle=shuffle, prepare=prepare), length, [data], steps, look=look)
    if _is("tensorflow", data):
        return Batches(name, lambda _seed, _number: map(prepare, data.as_numpy_iterator()), length, [], steps)
    places = (data, data.sampler, data.batch_sampler, getattr(data.batch_sampler, "sampler", None), data.dataset)
    look_in = functools.partial(_first_bad_of_loader, data)
    return Batches(name, lambda _seed, _number: map(prepare, iter(data)), length, places, steps, look=look_in)


def _first_bad_of_loader(data: Any, most_batches: int | None) -> int | None:
    from learnrate.adapters import _torch_data  # which needs PyTorch, as the data does

    return _torch_data.first_bad_sample(data, most_batches)


def _length(data: Any) -> int | None:
    if isinstance(data, keras.utils.PyDataset):
        return cast("Any", data).num_batches
    if _is("tensorflow", data):
        cardinality = int(data.cardinality())
        return None if cardinality < 0 else cardinality
    return len(data) if hasattr(data.dataset, "__len__") else None
