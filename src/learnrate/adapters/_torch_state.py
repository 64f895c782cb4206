"""The state of a PyTorch model and its optimizer: copied, put back in place, written to a file and read again."""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import copy
import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Tree: TypeAlias = Any
"""Dicts, lists and tuples of tensors, numpy arrays, numbers, strings and None."""


def copied(tree: Tree) -> Tree:
    """Copy a tree, tensors by value on their own device."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in cast("dict[Any, Any]", tree).items()}
    if isinstance(tree, list | tuple):
        return _like(tree, [copied(value) for value in cast("Sequence[Any]", tree)])
    return copy.deepcopy(tree)


def put_back(current: Tree, saved: Tree) -> Tree:
    """Return what was saved, in the current tensors and dicts where they can hold it.

    Tensors are written in place, and so keep their identity for whoever else holds them.
    """
    if isinstance(saved, Tensor):
        if isinstance(current, Tensor) and _same_kind(current, saved):
            with torch.no_grad():
                current.detach().copy_(saved)
            return current
        return saved.clone()
    if isinstance(saved, dict):
        kept = cast("dict[Any, Any]", current if isinstance(current, dict) else {})
        values = {key: put_back(kept.get(key), value) for key, value in cast("dict[Any, Any]", saved).items()}
        kept.clear()
        kept.update(values)
        return kept
    if isinstance(saved, list | tuple):
        values = cast("Sequence[Any]", saved)
        held = cast("Sequence[Any]", current) if type(current) is type(saved) else ()
        pairs = zip(held, values, strict=True) if len(held) == len(values) else ((None, value) for value in values)
        return _like(saved, [put_back(old, new) for old, new in pairs])
    return copy.deepcopy(saved)


def _same_kind(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _like(sequence: Sequence[Any], values: list[Any]) -> Sequence[Any]:
    """Make a sequence of the same type: a list, a tuple or a named tuple."""
    if isinstance(sequence, tuple) and hasattr(sequence, "_fields"):
        return cast("Sequence[Any]", type(sequence)(*values))
    return values if isinstance(sequence, list) else tuple(values)


class State:
    """The state of a model and its optimizer, which `copy` takes and `put_back` restores in place.

    Parameters and buffers (those that a state dict leaves out too), train or eval mode of each module, what requires
    gradients and the gradients themselves; all that the optimizer holds for its parameters, with its dtypes, its
    groups' settings and its own plain attributes. Shared weights are copied once.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._named_modules = [(plain_name(name), module) for name, module in model.named_modules()]
        self.parameters = {plain_name(name): parameter for name, parameter in model.named_parameters()}
        self._optimizer = optimizer

    def copy(self) -> Tree:
        """Return a copy of the whole state."""
        parameters = self.parameters
        return {
            "parameters": copied(dict(parameters)),
            "requires_grad": [it.requires_grad for it in parameters.values()],
            "gradients": copied({name: it.grad for name, it in parameters.items() if it.grad is not None}),
            "buffers": self.buffers(),
            "training": self.modes(),
            "extra": {name: copied(module.get_extra_state()) for name, module in self._with_extra_state()},
            "optimizer": self._optimizer_state(),
        }

    def put_back(self, saved: Tree) -> None:
        """Make the state what it was, in the same Parameter objects.

        Raises:
            InvalidArgumentError: The state is that of another model.
        """
        self._check(saved["parameters"])
        for (name, parameter), requires_grad in zip(self.parameters.items(), saved["requires_grad"], strict=True):
            with torch.no_grad():
                parameter.copy_(saved["parameters"][name])
            parameter.requires_grad_(requires_grad)
            parameter.grad = None if name not in saved["gradients"] else saved["gradients"][name].clone()
        self.put_back_buffers(saved["buffers"])
        for name, module in self._with_extra_state():
            module.set_extra_state(copied(saved["extra"][name]))
        self.set_modes(saved["training"])
        self._put_back_optimizer(saved["optimizer"])

    def _check(self, saved: Mapping[str, Tensor]) -> None:
        mine = {name: (tuple(it.shape), it.dtype) for name, it in self.parameters.items()}
        theirs = {name: (tuple(it.shape), it.dtype) for name, it in saved.items()}
        if mine != theirs:
            odd = next(name for name in [*mine, *theirs] if mine.get(name) != theirs.get(name))
            raise InvalidArgumentError(
                f"the snapshot is of another model: its parameter {odd} has the shape and dtype {theirs.get(odd)}, "
                f"and here {mine.get(odd)}. Restore it into the model that it was taken of."
            )

    def _with_extra_state(self) -> list[tuple[str, nn.Module]]:
        plain = nn.Module.get_extra_state
        return [(name, module) for name, module in self._named_modules if type(module).get_extra_state is not plain]

    def modes(self) -> dict[str, bool]:
        """Return which modules are in train mode."""
        return {name: module.training for name, module in self._named_modules}

    def training_modes(self) -> dict[str, bool]:
        """Return the modes to train in: those found, or those of `model.train()` where the model is in eval mode."""
        found = self.modes()
        model = self._named_modules[0][1]
        if model.training:
            return found
        model.train()
        modes = self.modes()
        self.set_modes(found)
        return modes

    def set_modes(self, modes: Mapping[str, bool]) -> None:
        """Put each module into train or eval mode; parents come first, so that a child's mode is its own."""
        for name, module in self._named_modules:
            training = modes[name]
            if module.training is not training:
                if type(module).train is nn.Module.train:
                    module.training = training
                else:
                    module.train(training)  # which may do more than set the flag

    def buffers(self) -> Tree:
        """Return copies of the buffers, each once."""
        seen: set[int] = set()
        buffers: dict[str, Tensor | None] = {}
        for prefix, module in self._named_modules:
            for name, buffer in _buffers_of(module).items():  # named_buffers leaves out those that are None
                if id(buffer) not in seen:
                    buffers[f"{prefix}.{name}"] = copied(buffer)
                if buffer is not None:
                    seen.add(id(buffer))
        return buffers

    def put_back_buffers(self, saved: Mapping[str, Tensor | None]) -> None:
        """Make the buffers what they were; those that have come since go."""
        kept: set[int] = set()
        for prefix, module in self._named_modules:
            buffers = _buffers_of(module)  # named_buffers leaves out those that are None
            for name in list(buffers):
                key = f"{prefix}.{name}"
                if key in saved:
                    buffers[name] = put_back(buffers[name], saved[key])
                    kept.add(id(buffers[name]))
                elif id(buffers[name]) not in kept:
                    del buffers[name]

    def _members(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _optimizer_state(self) -> Tree:
        numbers = {parameter: number for number, parameter in enumerate(self._members())}
        state = cast("Mapping[Any, Any]", self._optimizer.state)
        plain = {name: value for name, value in vars(self._optimizer).items() if type(value) in (bool, int, float)}
        return {
            "state": {numbers.get(key, key): copied(value) for key, value in state.items()},
            "groups": [
                {key: copied(value) for key, value in group.items() if key != "params"}
                for group in self._optimizer.param_groups
            ],
            "attributes": plain,
        }

    def _put_back_optimizer(self, saved: Tree) -> None:
        members = self._members()
        state = cast("dict[Any, Any]", self._optimizer.state)
        keys = {members[key] if isinstance(key, int) else key: value for key, value in saved["state"].items()}
        for key in [key for key in state if key not in keys]:
            del state[key]
        for key, value in keys.items():
            state[key] = put_back(state.get(key), value)
        for group, values in zip(self._optimizer.param_groups, saved["groups"], strict=True):
            for key in [key for key in group if key != "params" and key not in values]:
                del group[key]
            for key, value in values.items():
                group[key] = put_back(group.get(key), value)
        vars(self._optimizer).update(saved["attributes"])


def _buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return a module's own buffers, those that are None too, which `named_buffers` leaves out."""
    return module._buffers  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no other way to set one


def plain_name(name: str) -> str:
    """Return a module's or parameter's name without what compiling adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


# --- On disk: safetensors for the tensors, JSON in its header for the rest; nothing that could run code. ---


def write(tree: Tree, path: Path) -> None:
    """Write a tree to one file, whole or not at all.

    Raises:
        UnsupportedProblemError: The tree holds an object that neither a tensor nor JSON can carry.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(encoded(tree, tensors))
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"learnrate": header})
    partial.replace(path)  # Path.replace says the same, and is not atomic in so many words


def read(path: Path) -> Tree:
    """Read a tree that `write` wrote, each tensor onto the device it was on, or the CPU where that is missing.

    Raises:
        InvalidArgumentError: The file is not one that `write` wrote.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["learnrate"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, KeyError, ValueError) as error:
        raise InvalidArgumentError(f"{path} is not a snapshot that learnrate wrote: {error!r}.") from error
    return _decoded(header, tensors)


def encoded(tree: Tree, tensors: dict[str, Tensor]) -> Any:
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    if isinstance(tree, Tensor):
        return __encoded_tensor(tree, tensors)
    if isinstance(tree, np.ndarray | np.generic):
        return {"array": tree.tolist(), "dtype": tree.dtype.str}
    if isinstance(tree, dict):
        items = cast("dict[Any, Any]", tree).items()
        return {"dict": [[encoded(key, tensors), encoded(value, tensors)] for key, value in items]}
    if isinstance(tree, list | tuple):
        values = cast("Sequence[Any]", tree)
        kind = "list" if isinstance(tree, list) else "tuple"
        if len(values) > 16 and all(type(value) is int and abs(value) < 2**63 for value in values):
            return {kind: __encoded_tensor(torch.tensor(values), tensors)}  # a sampler's indices: millions of them
        return {kind: [encoded(value, tensors) for value in values]}
    raise UnsupportedProblemError(
        f"the state of the training holds a {type(tree).__name__}, which cannot be written to a file without pickle; "
        f"tensors, arrays, numbers, strings, and dicts, lists and tuples of them can."
    )


def __encoded_tensor(tensor: Tensor, tensors: dict[str, Tensor]) -> dict[str, str]:
    key, place = str(len(tensors)), {"device": str(tensor.device)}
    if tensor.is_complex():
        place["complex"] = "yes"
        tensor = torch.view_as_real(tensor)
    tensors[key] = tensor.detach().contiguous()
    return {"tensor": key, **place}


def _decoded(node: Any, tensors: Mapping[str, Tensor]) -> Tree:
    if not isinstance(node, dict):
        return node
    fields = cast("dict[str, Any]", node)
    if "tensor" in fields:
        return _decoded_tensor(fields, tensors)
    if "array" in fields:
        return np.array(fields["array"], dtype=fields["dtype"])[()]
    if "dict" in fields:
        return {_decoded(key, tensors): _decoded(value, tensors) for key, value in fields["dict"]}
    kind, values = next(iter(fields.items()))
    if isinstance(values, dict):
        values = _decoded_tensor(cast("dict[str, Any]", values), tensors).tolist()
    decoded = [_decoded(value, tensors) for value in values]
    return decoded if kind == "list" else tuple(decoded)


def _decoded_tensor(fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    tensor = tensors[fields["tensor"]]
    if "complex" in fields:
        tensor = torch.view_as_complex(tensor)
    with contextlib.suppress(RuntimeError, AssertionError):  # the device of the machine that wrote it may be missing
        return tensor.to(fields["device"])
    return tensor
