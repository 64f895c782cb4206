"""What is computed of a batch: its loss and its metrics, in training and in validation."""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from learnrate.adapters._torch_data import samples_in
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

Scalar: TypeAlias = Any
"""A tensor of one number, which stays on its device, or a number."""


class Result(NamedTuple):
    """What a batch gave."""

    loss: Tensor
    outputs: Any
    targets: Any
    metrics: Mapping[str, Scalar]
    batch: Any


_NONE: Mapping[str, Scalar] = {}
_FULL_PRECISION = contextlib.nullcontext()


class Work:
    """Runs a batch through the model.

    Args:
        model: The model.
        device: Where batches go.
        loss_fn: Of outputs and targets.
        training_step: Of the model and a batch, in place of `loss_fn`.
        dtype: Of mixed precision, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        loss_fn: Callable[[Any, Any], Any] | None,
        training_step: Callable[[Any, Any], Any] | None,
        dtype: torch.dtype | None,
    ) -> None:
        if training_step is not None and not callable(training_step):
            raise UnsupportedProblemError(
                f"training_step is a {type(training_step).__name__}; pass a function (model, batch) -> loss."
            )
        if training_step is None and not callable(loss_fn):
            raise UnsupportedProblemError(
                f"loss_fn is a {type(loss_fn).__name__}, which cannot be called; pass a function "
                f"(outputs, targets) -> loss such as torch.nn.CrossEntropyLoss(), or training_step="
            )
        self._model = model
        self._device = device
        self._loss_fn = loss_fn
        self._training_step = training_step
        self._dtype = dtype

    def __call__(self, batch: Any) -> Result:
        """Return the loss of a batch, and what metrics need.

        Raises:
            UnsupportedProblemError: The batch is not a pair, or the loss is not one number.
        """
        batch = moved(batch, self._device)
        precision = _FULL_PRECISION if self._dtype is None else torch.autocast(self._device.type, self._dtype)
        with precision:
            if self._training_step is not None:
                result = self._custom(batch)
            else:
                inputs, targets = _pair(batch)
                outputs = self._model(inputs)
                loss = cast("Callable[[Any, Any], Any]", self._loss_fn)(outputs, targets)
                result = Result(loss, outputs, targets, _NONE, batch)
        if not isinstance(result.loss, Tensor) or result.loss.numel() != 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
            raise UnsupportedProblemError(
                f"the loss is {_described(result.loss)}; it must be one number, a tensor with a gradient. "
                f"Average over the batch, as with .mean() or reduction='mean'."
            )
        return result

    def _custom(self, batch: Any) -> Result:
        given = cast("Callable[[Any, Any], Any]", self._training_step)(self._model, batch)
        if not isinstance(given, Mapping):
            return Result(given, None, None, _NONE, batch)
        values = dict(cast("Mapping[str, Any]", given))
        if "loss" not in values:
            raise UnsupportedProblemError(
                f"training_step returned a mapping with {sorted(values)}; it must hold the loss, as 'loss'."
            )
        return Result(values.pop("loss"), None, None, values, batch)


def _pair(batch: Any) -> Sequence[Any]:
    if isinstance(batch, list | tuple) and len(cast("Sequence[Any]", batch)) == 2:
        return cast("Sequence[Any]", batch)
    raise UnsupportedProblemError(
        f"a batch is {_described(batch)}, not a pair (inputs, targets); pass training_step=, a function "
        f"(model, batch) -> loss."
    )


def require_gradient(loss: Tensor) -> None:
    """Refuse a loss that no parameter can learn from.

    Raises:
        UnsupportedProblemError: The loss has no gradient.
    """
    if not loss.requires_grad:
        raise UnsupportedProblemError(
            "the loss carries no gradient: it does not depend on the model's trainable parameters, or was computed "
            "under torch.no_grad(), detached, or made anew of a number (.item())."
        )


def _described(thing: Any) -> str:
    if isinstance(thing, Tensor):
        return f"a tensor of shape {tuple(thing.shape)}"
    size = f" of length {len(cast('Sequence[Any]', thing))}" if isinstance(thing, list | tuple | dict) else ""
    return f"a {type(thing).__name__}{size}"


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch on a device: tensors and anything else with `.to`, in dicts, lists and tuples however deep."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, list | tuple):
        parts = [moved(part, device) for part in cast("Sequence[Any]", batch)]
        kind = cast("Any", type(batch))
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    if isinstance(batch, Mapping):
        return {key: moved(value, device) for key, value in cast("Mapping[Any, Any]", batch).items()}
    return batch


class Meter:
    """Computes metrics over a stretch of batches: those of an update, or all of the validation data.

    Args:
        metrics: Functions of outputs and targets, and objects with `update`, `compute` and `reset`.
        custom: Whether `training_step` stands in for outputs and targets.
        device: Where the objects' copies go.
    """

    def __init__(self, metrics: Mapping[str, Any] | None, *, custom: bool, device: torch.device) -> None:
        if metrics and custom:
            raise InvalidArgumentError(
                "metrics= needs outputs and targets, which training_step= does not give; return a mapping from "
                'training_step instead: {"loss": loss, "accuracy": accuracy}.'
            )
        self._functions: dict[str, Callable[[Any, Any], Scalar]] = {}
        self.objects: dict[str, Any] = {}
        self._validation_only: set[str] = set()
        for name, metric in (metrics or {}).items():
            self._add(name, metric, device)
        self._sums: dict[str, Scalar] = {}
        self._samples = 0
        self._skipped: set[str] = set()
        self._validation = False
        names = {*self._functions, *self.objects}
        self.wanted = custom or bool(names - self._validation_only)
        self.validation_names = ["val_loss", *(f"val_{name}" for name in sorted(names))]

    def _add(self, given: Any, metric: Any, device: torch.device) -> None:
        name = given.removeprefix("val_") if isinstance(given, str) else ""
        if name in ("", "loss", *self._functions, *self.objects):
            raise InvalidArgumentError(
                f'metrics has the name {given!r}; give each a name of its own other than "loss": "accuracy" for '
                f'training and validation, or "val_accuracy" for validation alone.'
            )
        if given != name:
            self._validation_only.add(name)
        if all(callable(getattr(metric, part, None)) for part in ("update", "compute", "reset")):
            self.objects[name] = moved(copy.deepcopy(metric), device)  # the user's own stays as it is
        elif callable(metric) and not isinstance(metric, type):
            self._functions[name] = metric
        else:
            raise InvalidArgumentError(
                f"the metric {name} is {_described(metric)}; pass a function (outputs, targets) -> number, or an "
                f"object with update, compute and reset."
            )

    def chosen(self, *, validation: bool) -> tuple[dict[str, Callable[[Any, Any], Scalar]], list[str]]:
        """Return the functions that are computed in training or in validation, and the names of the objects."""
        skipped = set[str]() if validation else self._validation_only
        functions = {name: it for name, it in self._functions.items() if name not in skipped}
        return functions, [name for name in self.objects if name not in skipped]

    def reset(self, *, validation: bool = False) -> None:
        """Forget the batches seen; those to come are of the training or of the validation."""
        self._skipped = set[str]() if validation else self._validation_only
        self._validation = validation
        self._sums, self._samples = {}, 0
        for metric in self.objects.values():
            metric.reset()

    def update(self, result: Result) -> None:
        """Take in a batch, and its loss as well in validation."""
        outputs, targets = _detached(result.outputs), result.targets
        values = {"loss": result.loss} if self._validation else {}
        values.update(result.metrics)
        functions, objects = self._functions.items(), self.objects.items()
        values.update((name, function(outputs, targets)) for name, function in functions if name not in self._skipped)
        samples = samples_in(result.batch)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + _wide(name, value) * samples
        self._samples += samples
        for name, metric in objects:
            if name not in self._skipped:
                metric.update(outputs, targets)

    def compute(self) -> dict[str, Scalar]:
        """Return the means over the samples, and what the objects compute."""
        means = {name: value / max(self._samples, 1) for name, value in self._sums.items()}
        objects = {name: metric for name, metric in self.objects.items() if name not in self._skipped}
        return means | {name: _wide(name, metric.compute()) for name, metric in objects.items()}


def _detached(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.detach()
    if type(outputs) is tuple:
        return tuple(_detached(part) for part in cast("tuple[Any, ...]", outputs))
    return outputs


def _wide(name: str, value: Any) -> Scalar:
    if isinstance(value, Tensor) and value.numel() == 1:
        # MPS has no float64.
        return value.detach().reshape(()).to(torch.float32 if value.device.type == "mps" else torch.float64)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedProblemError(f"the metric {name} is {_described(value)}; it must be one number.") from error


def to_host(values: Sequence[Scalar]) -> npt.NDArray[np.float64]:
    """Bring scalars to the host, in one transfer where they are tensors."""
    if values and all(isinstance(value, Tensor) for value in values):
        return torch.stack(list(values)).to("cpu").to(torch.float64).numpy()
    return np.array([float(value) for value in values], dtype=np.float64)
