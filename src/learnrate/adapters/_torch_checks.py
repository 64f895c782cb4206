"""What is refused before any training, with the reason and the way out."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

_DISTRIBUTED = ("DistributedDataParallel", "FullyShardedDataParallel")


def check_model(model: nn.Module) -> None:
    """Refuse a model that cannot be trained here.

    Raises:
        UnsupportedProblemError: It is no module, is distributed, is not yet initialised, or has nothing to train.
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
        raise UnsupportedProblemError(f"the model is a {type(model).__name__}; pass a torch.nn.Module.")
    kinds = {type(module).__name__ for module in model.modules()}
    for kind in _DISTRIBUTED:
        if kind in kinds:
            raise UnsupportedProblemError(
                f"the model is a {kind}: its processes wait for each other in every step, while a search for the "
                f"learning rate goes back and forth in one. Pass the plain module (model.module) with an optimizer "
                f"over its parameters, and train at the rate that is found; scale it if the batches become larger."
            )
    lazy = [name for name, it in (*model.named_parameters(), *model.named_buffers()) if is_lazy(it)]
    if lazy:
        raise UnsupportedProblemError(
            f"{lazy[0]} is a lazy parameter that has no shape yet; run one batch through the model first, and make "
            f"the optimizer after that."
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UnsupportedProblemError(
            f"{type(model).__name__} has no trainable parameter: it has none at all, or all have requires_grad=False."
        )


def check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimizer that cannot be stepped at a rate of our choice, or that trains something else.

    Raises:
        UnsupportedProblemError: It is no optimizer, needs a closure, or is over other parameters than the model's.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
        raise UnsupportedProblemError(f"the optimizer is a {type(optimizer).__name__}; pass a torch.optim.Optimizer.")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UnsupportedProblemError(
            f"{type(optimizer).__name__} evaluates the loss several times in one step, through a closure, and "
            f"chooses its step size by it: there is no learning rate per update to search for. "
            f"Use a first-order optimizer: SGD, Adam, AdamW, ..."
        )
    _check_parameters(optimizer, model)


def _check_parameters(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    inside = [parameter for parameter in members if id(parameter) in own]
    if not inside:
        raise UnsupportedProblemError(
            f"none of the optimizer's {len(members)} parameters belongs to the model: it was made over another model, "
            f"or before the model was replaced. Make it again: {type(optimizer).__name__}(model.parameters(), ...)."
        )
    if len(inside) < len(members):
        raise UnsupportedProblemError(
            f"{len(members) - len(inside)} of the optimizer's {len(members)} parameters do not belong to the model, "
            f"so they could not be put back after a trial. Put everything that is trained into one module, as in "
            f"torch.nn.ModuleDict(dict(net=net, head=head)), and pass that as the model."
        )
    if not any(parameter.requires_grad for parameter in inside):
        raise UnsupportedProblemError("none of the optimizer's parameters is trainable: all have requires_grad=False.")


def device_of(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Return the device that batches go to, refusing one that the model is not on.

    Raises:
        InvalidArgumentError: The model is on other devices.
    """
    devices = list(dict.fromkeys(parameter.device for parameter in model.parameters()))
    if device is None:
        return devices[0]
    wanted = torch.device(device)
    if not any(it.type == wanted.type and wanted.index in (None, it.index) for it in devices):
        raise InvalidArgumentError(
            f"device is {str(wanted)!r}, and the model is on {devices[0]}. Call model.to({str(wanted)!r}) before "
            f"the optimizer is made, since moving it afterwards leaves the optimizer's state behind."
        )
    return next(it for it in devices if it.type == wanted.type and wanted.index in (None, it.index))


def autocast_dtype(autocast: Any) -> torch.dtype | None:
    """Return the dtype of mixed precision.

    Raises:
        InvalidArgumentError: It is neither float16 nor bfloat16.
    """
    known = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    if autocast is None or autocast in known.values():
        return autocast
    if autocast not in known:
        raise InvalidArgumentError(f'autocast is {autocast!r}; give "float16", "bfloat16", or None for full precision.')
    return known[autocast]
