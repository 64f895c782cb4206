"""Copies of a PyTorch training in one program: parameters, buffers and optimizer state stacked along a first axis.

The forward pass runs under `torch.func.vmap` with `functional_call`, the backward pass over the sum of the losses, none
of which another copy's parameters enter. The optimizer is the user's own class on the stacked parameters. It makes one
step at one rate, and each copy goes its own share of that way:

    w_k ← w_k + η_k / η · (step(w_k, η) − w_k),    η = min(1, max_k η_k)

which is its own step where the update is linear in the rate and the optimizer's state does not depend on the rate. The
largest of the rates loses least to rounding; above 1 it might overflow, and what breaks one copy would break all.

Sources: the documentation of torch.func and PyTorch's tutorial "Model ensembling".
"""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# the same holds for the lambdas that go over them:
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import collections
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from learnrate.adapters._torch_data import END, fresh, planned_batches, samples_in
from learnrate.adapters._torch_state import copied, put_back
from learnrate.adapters._torch_work import moved, require_gradient
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from learnrate.adapters._torch_data import Stream
    from learnrate.adapters._torch_random import Randomness
    from learnrate.adapters._torch_schedules import Rates
    from learnrate.adapters._torch_seeds import Streams
    from learnrate.adapters._torch_state import State, Tree
    from learnrate.adapters._torch_work import Meter, Work
    from learnrate.adapters.torch import TorchSnapshot, TorchTrainable

FloatArray = npt.NDArray[np.float64]
Named = dict[str, Tensor]
_SHARED = ("step", "mu_product")  # of an optimizer's state for a parameter: what is the same for all copies


@dataclass(frozen=True)
class Parts:
    """What a `TorchTrainable` is made of, for its copies."""

    work: Work
    meter: Meter
    rates: Rates
    state: State
    stream: Stream
    randomness: Randomness
    modes: Mapping[str, bool]
    measure: Callable[[Any], Mapping[str, float]]
    accumulate: int
    clip_norm: float | None
    autocast: torch.dtype | None


class TorchStack:
    """Copies of a problem, each from a snapshot; `learnrate.training.Stack` says what they do."""

    _own = False  # whether each copy has batches of its own

    def __init__(self, problem: TorchTrainable, parts: Parts, snapshots: Sequence[TorchSnapshot]) -> None:
        self._problem, self._parts = problem, parts
        self._stream: Stream | Streams = parts.stream
        self._module = _Batch(parts.work, problem.model)
        self._live = {name: it for name, it in problem.model.named_parameters() if it.requires_grad}
        copies: list[Tree] = []
        for at, snapshot in enumerate(snapshots):
            again = at > 0 and snapshot is snapshots[at - 1]
            if not again:
                problem.restore(snapshot)
            copies.append(copies[-1] if again else self._read())
        self._hold(_over(lambda *values: torch.stack(values), *copies))
        self._objects = [copy.deepcopy(parts.meter.objects) for _ in copies]
        self._last = np.full(len(copies), parts.rates.largest)

    def _read(self) -> Tree:
        model, state = self._problem.model, self._problem.optimizer.state
        return {
            "parameters": copied(self._live),
            "buffers": copied(dict(model.named_buffers())),
            "state": {name: copied(dict(state.get(it, {}))) for name, it in self._live.items()},
        }

    def _tree(self) -> Tree:
        state = {name: self._optimizer.state.get(it, {}) for name, it in self._parameters.items()}
        return {"parameters": self._parameters, "buffers": self._buffers, "state": state}

    def _hold(self, tree: Tree) -> None:
        self._parameters: dict[str, Tensor] = {name: it.requires_grad_() for name, it in tree["parameters"].items()}
        self._buffers: dict[str, Tensor] = tree["buffers"]
        stacked = {self._live[name]: it for name, it in self._parameters.items()}
        optimizer = object.__new__(type(self._problem.optimizer))
        vars(optimizer).update(vars(self._problem.optimizer))
        optimizer.param_groups = [
            {**group, "params": [stacked[it] for it in group["params"] if it in stacked]}
            for group in self._problem.optimizer.param_groups
        ]
        state = {self._parameters[name]: it for name, it in tree["state"].items() if it}
        optimizer.state = collections.defaultdict(dict, state)
        self._optimizer = optimizer

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one update per row of rates; return losses and training metrics, (steps, K)."""
        losses: list[Tensor] = []
        metrics: dict[str, list[Any]] = {}
        self._parts.state.set_modes(self._parts.modes)
        with torch.enable_grad():
            for rates in np.asarray(learning_rates, dtype=np.float64):
                loss, values = self._update(rates)
                losses.append(loss)
                for name, value in values.items():
                    metrics.setdefault(name, []).append(value)
        self._forget_gradients()
        return {name: _to_host(values) for name, values in {"loss": losses, **metrics}.items()}

    def _update(self, rates: FloatArray) -> tuple[Tensor, dict[str, Tensor]]:
        parts = self._parts
        self._forget_gradients()
        metrics = self._training_metrics()
        planned = planned_batches(self._stream, parts.accumulate)
        total: Any = 0.0
        taken = 0
        for _ in range(planned):
            batch = self._stream.next(fresh=taken == 0)
            if batch is END:
                break
            total = total + self.backward(batch, planned, metrics)
            taken += 1
        self._step(rates, planned / taken)
        self._stream.finish_if_done()
        return total * (planned / taken), {} if metrics is None else metrics.compute()

    def backward(self, batch: Any, planned: int = 1, metrics: _Metrics | None = None) -> Tensor:
        """Add to the gradients those of a batch; return its losses, divided by the batches of an update."""
        losses, outputs, values, buffers = self._forward(batch, metrics, own=self._own)
        require_gradient(losses)
        losses = losses / planned if planned > 1 else losses
        losses.sum().backward()
        self._buffers = buffers
        if metrics is not None:
            metrics.update(batch, outputs, values)
        return losses.detach()

    @property
    def gradients(self) -> dict[str, Tensor | None]:
        """The gradients so far, by the names of the parameters."""
        return {name: it.grad for name, it in self._parameters.items()}

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The copies' buffers."""
        return self._buffers

    def _forward(
        self, batch: Any, metrics: _Metrics | None, *, own: bool = False
    ) -> tuple[Tensor, Any, dict[str, Tensor], dict[str, Tensor]]:
        batch = moved(batch, self._problem.device)
        kept = metrics is not None and metrics.needs_outputs

        def one(parameters: Named, buffers: Named, *own: Any) -> Any:
            given = {f"model.{name}": it for name, it in parameters.items()}
            given |= {f"model.{name}": it.clone() for name, it in buffers.items()}
            result = functional_call(self._module, given, own or (batch,))
            left = {name: given[f"model.{name}"].detach() for name in buffers}
            values = {} if metrics is None else metrics.of(result)
            return result.loss.reshape(()), result.outputs if kept else (), values, left

        if own:  # each copy has its part of the batch, and nothing may be drawn that all of them would share
            return vmap(one, randomness="error")(self._parameters, self._buffers, batch)
        return vmap(one, in_dims=(0, 0), randomness="same")(self._parameters, self._buffers)

    def _step(self, rates: FloatArray, correction: float) -> None:
        parts, stacked = self._parts, list(self._parameters.values())
        gradients = [it.grad for it in stacked if it.grad is not None]
        if correction != 1:  # fewer batches came than the gradients were divided by
            for it in gradients:
                it.mul_(correction)
        if parts.clip_norm is not None:
            _clip(gradients, parts.clip_norm)
        common = min(float(rates.max()), 1.0)
        for group, rate in zip(self._optimizer.param_groups, parts.rates.of(common), strict=True):
            group["lr"] = rate
        same = bool((rates == common).all())
        before = [] if same else [it.detach().clone() for it in stacked]
        self._optimizer.step()
        for new, old in zip((it.detach() for it in stacked), before, strict=False):
            share = torch.as_tensor(rates / common, dtype=new.dtype, device=new.device)
            torch.lerp(old, new, _along(share, new), out=new)
        self._last = rates

    def evaluate(self) -> dict[str, FloatArray]:
        """Return the validation loss and metrics of each copy; leaves everything as it was.

        Raises:
            InvalidArgumentError: The validation data gives no batch.
        """
        data, state = self._problem.validation_data, self._parts.state
        if data is None:
            return {}
        modes = state.modes()
        try:
            with self._parts.randomness.preserved(), torch.no_grad():
                self._problem.model.eval()
                return self.measure(fresh(data))
        finally:
            state.set_modes(modes)

    def measure(self, batches: Iterable[Any]) -> dict[str, FloatArray]:
        """Return the validation metrics over these batches."""
        metrics = self._metrics(validation=True)
        for batch in batches:
            losses, outputs, values, _ = self._forward(batch, metrics)
            metrics.update(batch, outputs, values | {"loss": losses})
        if not metrics.samples:
            raise InvalidArgumentError("validation_data gave no batch: it is empty, or can be iterated once only.")
        return {f"val_{name}": _to_host([value])[0] for name, value in metrics.compute().items()}

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these copies alone."""
        index = torch.as_tensor(list(places), device=self._problem.device)
        self._hold(_over(lambda it: it.detach()[index.to(it.device)], self._tree()))
        self._objects = [self._objects[place] for place in places]
        self._last = self._last[list(places)]

    def snapshot(self, place: int) -> TorchSnapshot:
        """Return a copy's snapshot: its values go into the user's own model and optimizer, which then take theirs."""
        problem, parts = self._problem, self._parts
        one = _over(lambda it: it.detach()[place], self._tree())
        put_back(self._live, one["parameters"])
        put_back(dict(problem.model.named_buffers()), one["buffers"])
        for name, it in self._live.items():
            it.grad = None
            if one["state"][name]:
                problem.optimizer.state[it] = put_back(problem.optimizer.state.get(it), one["state"][name])
        parts.rates.set(float(self._last[place]))
        parts.state.set_modes(parts.modes)
        return problem.snapshot()

    def _training_metrics(self) -> _Metrics | None:
        return self._metrics(validation=False) if self._parts.meter.wanted else None

    def _metrics(self, *, validation: bool) -> _Metrics:
        functions, names = self._parts.meter.chosen(validation=validation)
        return _Metrics(functions, [{name: objects[name] for name in names} for objects in self._objects])

    def _forget_gradients(self) -> None:
        for it in self._parameters.values():
            it.grad = None


class _Batch(nn.Module):
    """A batch's work as a module's forward pass, so that `functional_call` reaches the model whoever calls it."""

    def __init__(self, work: Work, model: nn.Module) -> None:
        super().__init__()
        self.work, self.model = work, model

    def forward(self, batch: Any) -> Any:
        return self.work(batch)


class _Metrics:
    """Metrics of all copies over some batches: functions are batched with the model, objects are one for each copy."""

    def __init__(self, functions: Mapping[str, Callable[[Any, Any], Any]], objects: list[dict[str, Any]]) -> None:
        self._functions, self._objects = functions, objects
        self._sums: dict[str, Tensor] = {}
        self.samples = 0
        self.needs_outputs = bool(objects and objects[0])
        for one in objects:
            for metric in one.values():
                metric.reset()

    def of(self, result: Any) -> dict[str, Tensor]:
        """Return what a batch of one copy gives."""
        outputs = result.outputs
        values = dict(result.metrics)
        values |= {name: function(outputs, result.targets) for name, function in self._functions.items()}
        return {name: torch.as_tensor(value).detach().reshape(()) for name, value in values.items()}

    def update(self, batch: Any, outputs: Any, values: Mapping[str, Tensor]) -> None:
        """Take in a batch."""
        samples = samples_in(batch)
        self.samples += samples
        for name, value in values.items():
            wide = value.detach().to(torch.float32 if value.device.type == "mps" else torch.float64)
            self._sums[name] = self._sums.get(name, 0) + wide * samples
        if self.needs_outputs:
            targets = moved(batch, outputs.device)[1]
            for place, one in enumerate(self._objects):
                for metric in one.values():
                    metric.update(outputs[place].detach(), targets)

    def compute(self) -> dict[str, Tensor]:
        """Return the means over the samples, and what the objects compute."""
        means = {name: value / max(self.samples, 1) for name, value in self._sums.items()}
        names = self._objects[0] if self._objects else ()
        return means | {
            name: torch.tensor([float(one[name].compute()) for one in self._objects], dtype=torch.float64)
            for name in names
        }


def _clip(gradients: list[Tensor], limit: float) -> None:
    """Clip each copy's gradient to a norm of its own, as `torch.nn.utils.clip_grad_norm_` does."""
    norms = [torch.linalg.vector_norm(it.reshape(len(it), -1), dim=1) for it in gradients]
    total = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    shares = torch.clamp(limit / (total + 1e-6), max=1.0)
    for it in gradients:
        it.mul_(_along(shares, it))


def _along(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _over(function: Callable[..., Tensor], *copies: Tree) -> Tree:
    """Apply a function to the tensors of copies, those aside that are the same for all of them."""

    def each(*trees: Tree, shared: tuple[str, ...] = ()) -> Tree:
        first = trees[0]
        if isinstance(first, dict):
            several = cast("tuple[dict[str, Any], ...]", trees)
            return {
                key: copied(value) if key in shared else each(*(tree[key] for tree in several))
                for key, value in cast("dict[str, Any]", first).items()
            }
        return function(*trees) if isinstance(first, Tensor) else first

    states = [tree["state"] for tree in copies]
    return {
        "parameters": each(*(tree["parameters"] for tree in copies)),
        "buffers": each(*(tree["buffers"] for tree in copies)),
        "state": {name: each(*(state[name] for state in states), shared=_SHARED) for name in states[0]},
    }


def _to_host(values: list[Tensor]) -> FloatArray:
    return torch.stack(values).to("cpu").to(torch.float64).numpy()
