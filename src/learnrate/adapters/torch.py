"""PyTorch: a model, its optimizer and its data as a problem that every verb can train.

`TorchTrainable` trains as the user's own loop would, bit for bit, and puts everything back as it found it.
`schedule_from` turns a PyTorch scheduler into a schedule for `select(..., schedule=...)`, and `lr_scheduler` a schedule
of learnrate's into a PyTorch scheduler.
"""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from learnrate.errors import MissingExtraError

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("PyTorch is not installed; run: pip install learnrate[torch]") from error

import contextlib
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from learnrate._checks import positive_integer, positive_number, step_rates
from learnrate._identity import digest, mark
from learnrate._names import identity_of
from learnrate.adapters import _torch_checks as checks
from learnrate.adapters._bad_samples import in_words
from learnrate.adapters._torch_data import (
    END,
    Place,
    Stream,
    begins_anew,
    checked_data,
    first_bad_sample,
    fresh,
    length_of,
    num_samples,
    planned_batches,
    samples_per_batch,
)
from learnrate.adapters._torch_random import Randomness
from learnrate.adapters._torch_schedules import Rates, lr_scheduler, refuse_attached_scheduler, schedule_from
from learnrate.adapters._torch_seeds import SeededStack
from learnrate.adapters._torch_stack import Parts, TorchStack
from learnrate.adapters._torch_stack_checks import check_stackable, try_out, try_out_seeds
from learnrate.adapters._torch_state import State, Tree, read, write
from learnrate.adapters._torch_work import Meter, Work, require_gradient, to_host
from learnrate.errors import InvalidArgumentError, LearnrateError
from learnrate.training import Dimensions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from learnrate.training import Part

__all__ = ["TorchSnapshot", "TorchTrainable", "lr_scheduler", "schedule_from"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TorchSnapshot:
    """A copy of all that a training consists of: a tree of tensors and plain values, and the place in the data."""

    state: Tree
    place: Place

    def __repr__(self) -> str:
        return f"TorchSnapshot of {self.place}" if len(str(self.place)) < 80 else "TorchSnapshot"


class TorchTrainable:
    """A PyTorch model, its optimizer and its data, ready to train.

    A training here equals the plain loop over `train_data`, bit for bit: the same batches, the same random numbers,
    the same updates. An update takes `accumulate` batches and their mean loss; the rest at the end of an epoch is an
    update too. The rates that `train` is given go to the parameter group that has the largest rate; the others keep
    their ratio to it, and a group at rate 0 stays there.

    Args:
        model: Any module, compiled or not, on its device. It trains in the train/eval modes that it is in, so that a
            BatchNorm in eval mode stays frozen, or wholly in train mode if the model itself is in eval mode.
        optimizer: Any `torch.optim.Optimizer` over parameters of the model, with state or without.
        loss_fn: `loss_fn(outputs, targets)` returns a scalar; not used (None will do) with `training_step`.
        train_data: A DataLoader, or anything that can be iterated again and again, of batches `(inputs, targets)`.
            Workers do not persist from one epoch to the next, since their random state cannot be put back.
        validation_data: Likewise, for `evaluate`; None evaluates nothing.
        metrics: Names and what computes them: functions `(outputs, targets) -> scalar`, averaged over the samples, or
            objects with `update(outputs, targets)`, `compute()` and `reset()`, over the whole validation data. The
            objects are copied. Each is reported per training step too, of that step's own batches; one whose name
            begins with "val_" is for the validation alone, as suits what takes long or needs all the data.
        training_step: `training_step(model, batch)` returns the loss of a batch of any kind, in training and in
            validation; or a mapping with "loss" and other metrics. It replaces `loss_fn` and `metrics`.
        accumulate: How many batches make an update.
        clip_norm: The gradient's norm is clipped to this; None, the default, does not clip.
        autocast: "float16" or "bfloat16" (or the dtype) for mixed precision; float16 scales the loss by a
            `torch.amp.GradScaler`. An update that the scaler skips counts as a step.
        steps_per_epoch: Updates in an epoch, which the data then need not know: an epoch goes on where the last one
            ended, and the data is iterated anew when it runs out. By default one pass over the data.
        device: Where the batches go; by default to the device of the model's first parameter.
        generators: Generators of random numbers that the training draws from and that are neither the global ones nor
            found among the attributes of the data set, the sampler, the collate function or the model.

    Raises:
        InvalidArgumentError: The data is empty or can be iterated once only, or a number cannot be used.
        UnsupportedProblemError: The model, the optimizer or the loss cannot be trained here; the message says why.

    Example:
        >>> x = torch.linspace(-1, 1, 32).reshape(-1, 1)
        >>> model = nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> problem = TorchTrainable(model, optimizer, nn.MSELoss(), [(x, 2 * x)] * 4)
        >>> start = problem.snapshot()
        >>> losses = problem.train(np.full(problem.steps_per_epoch, 0.5))["loss"]
        >>> bool(losses[-1] < losses[0])
        True
        >>> problem.restore(start)
    """

    framework = "torch"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_fn: Callable[[Any, Any], Tensor] | None,
        train_data: Any,
        validation_data: Any = None,
        *,
        metrics: Mapping[str, Any] | None = None,
        training_step: Callable[[Any, Any], Any] | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        autocast: str | torch.dtype | None = None,
        steps_per_epoch: int | None = None,
        device: str | torch.device | None = None,
        generators: Sequence[Any] = (),
    ) -> None:
        checks.check_model(model)
        checks.check_optimizer(optimizer, model)
        refuse_attached_scheduler(optimizer)
        self.model = model
        self.optimizer = optimizer
        self.train_data = checked_data("train_data", train_data)
        self.validation_data = None if validation_data is None else checked_data("validation_data", validation_data)
        self.device = checks.device_of(model, device)
        dtype = checks.autocast_dtype(autocast)
        self._work = Work(model, self.device, loss_fn, training_step, dtype)
        self._meter = Meter(metrics, custom=training_step is not None, device=self.device)
        self._rates = Rates(optimizer)
        self._accumulate = positive_integer("accumulate", accumulate)
        self._clip_norm = None if clip_norm is None else positive_number("clip_norm", clip_norm)
        self._scaler = torch.amp.GradScaler(self.device.type) if dtype is torch.float16 else None
        self._state = State(model, optimizer)
        self._parameters = list(self._state.parameters.values())
        self._training_modes = self._state.training_modes()
        self._randomness = Randomness(self.device, generators, _places(model, train_data, validation_data))
        self._stream = Stream(train_data, self._randomness)
        self.steps_per_epoch = self._epoch_length(steps_per_epoch)
        self._autocast = dtype
        self._trained = self._stacks = self._stacks_seeds = False
        self._evaluation_steps: float | None = None
        self._settings = {
            "loss": identity_of(training_step if loss_fn is None else loss_fn),
            "accumulate": self._accumulate,
            "clip_norm": str(self._clip_norm),
            "autocast": str(dtype),
        }

    def _epoch_length(self, steps_per_epoch: int | None) -> int:
        if steps_per_epoch is not None:
            return positive_integer("steps_per_epoch", steps_per_epoch)
        if self._stream.length is None:
            raise InvalidArgumentError(
                f"train_data, a {type(self.train_data).__name__}, does not know how many batches it has; "
                f"pass steps_per_epoch=, the number of optimizer updates that you call an epoch."
            )
        return -(-self._stream.length // self._accumulate)

    @property
    def learning_rate(self) -> float:
        """The rate that the user has set: the largest group's."""
        return self._rates.largest

    @property
    def evaluation_steps(self) -> float:
        """What an evaluation costs in training steps: a forward pass takes a third of a step."""
        if self._evaluation_steps is None:
            self._evaluation_steps = 0.0
            if self.validation_data is not None:
                with self._randomness.preserved():
                    per_step = samples_per_batch(self.train_data) * self._accumulate
                    self._evaluation_steps = num_samples(self.validation_data) / per_step / 3
        return self._evaluation_steps

    @functools.cached_property
    def num_validation_samples(self) -> int | None:
        """How many samples an evaluation is a mean over; None where nothing is validated."""
        if self.validation_data is None:
            return None
        with self._randomness.preserved():
            return round(num_samples(self.validation_data))

    def begin(self, learning_rate: float, epochs: float, seed: int) -> None:
        """Begin a fresh training: seed every generator, and go to the start of the data."""
        del learning_rate, epochs
        self._randomness.seed(seed)
        self._stream.rewind()

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: names, shapes and settings, but no weights and no rate."""
        parameters = self._state.parameters
        shapes = [(name, tuple(it.shape), str(it.dtype), it.requires_grad) for name, it in parameters.items()]
        plain = (bool, int, float, str, tuple, type(None))
        settings = [
            {key: repr(value) for key, value in group.items() if key != "lr" and isinstance(value, plain)}
            for group in self.optimizer.param_groups
        ]
        batches = None if self.validation_data is None else length_of(self.validation_data)
        return {
            "model": type(getattr(self.model, "_orig_mod", self.model)).__name__,
            "parameters": sum(it.numel() for it in parameters.values()),
            "shapes": digest(shapes),
            "optimizer": type(self.optimizer).__name__,
            "optimizer_settings": mark(settings),
            "steps_per_epoch": self.steps_per_epoch,
            "validation_batches": -1 if batches is None else batches,
            **self._settings,
        }

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one update per rate; return the loss of each, and each training metric.

        Losses stay on the device until the block ends. An exception of the user's code propagates unchanged, unless
        the weights are no longer finite by then: that is a divergence, and the rest of the block is NaN.

        Raises:
            InvalidArgumentError: A rate is negative or not finite, or the data gives no batch.
            UnsupportedProblemError: The loss is not one number, or carries no gradient.
        """
        rates = step_rates(learning_rates)
        losses: list[Tensor] = []
        metrics: dict[str, list[Any]] = {}
        self._state.set_modes(self._training_modes)
        with torch.enable_grad(), self._first_time():
            for rate in rates.tolist():
                try:
                    loss, values = self._update(rate)
                except Exception as error:
                    if isinstance(error, LearnrateError) or self._weights_are_finite():
                        raise
                    break
                losses.append(loss)
                for name, value in values.items():
                    metrics.setdefault(name, []).append(value)
        self._forget_gradients()
        return {name: _padded(to_host(values), len(rates)) for name, values in {"loss": losses, **metrics}.items()}

    def _update(self, rate: float) -> tuple[Tensor, dict[str, Any]]:
        self._rates.set(rate)
        self._forget_gradients()
        if self._meter.wanted:
            self._meter.reset()
        planned = planned_batches(self._stream, self._accumulate)
        total: Tensor | None = None
        taken = 0
        for _ in range(planned):
            batch = self._stream.next(fresh=taken == 0)
            if batch is END:
                break
            loss = self._backward(batch, planned)
            total = loss if total is None else total + loss
            taken += 1
        self._step(planned / taken)
        self._stream.finish_if_done()
        values = self._meter.compute() if self._meter.wanted else {}
        mean = cast("Tensor", total) if taken == planned else cast("Tensor", total) * (planned / taken)
        # On a device a compiled model may write its next loss where this one is.
        return (mean if mean.device.type == "cpu" else mean.clone()), values

    def _backward(self, batch: Any, planned: int) -> Tensor:
        result = self._work(batch)
        require_gradient(result.loss)
        loss = result.loss / planned if planned > 1 else result.loss
        if self._scaler is None:
            loss.backward()
        else:
            self._scaler.scale(loss).backward()
        if self._meter.wanted:
            with torch.no_grad():
                self._meter.update(result)
        self._trained = True
        return loss.detach().reshape(())

    def _step(self, correction: float) -> None:
        if correction != 1:  # fewer batches came than the gradients were divided by
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(correction)
        if self._scaler is not None and self._clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()

    def evaluate(self) -> dict[str, float]:
        """Return the validation loss and metrics, "val_…", means over the samples; leaves everything as it was.

        All of them are NaN where the user's code raises because the weights are no longer finite.

        Raises:
            InvalidArgumentError: The validation data gives no batch.
        """
        if self.validation_data is None:
            return {}
        modes, buffers = self._state.modes(), self._state.buffers()
        try:
            with self._randomness.preserved(), torch.no_grad():
                self.model.eval()
                values = self._measure(self.validation_data)
        except Exception as error:
            if isinstance(error, LearnrateError) or self._weights_are_finite():
                raise
            return dict.fromkeys(self._meter.validation_names, math.nan)
        finally:
            self._state.set_modes(modes)
            self._state.put_back_buffers(buffers)
        return values

    def first_bad_sample(self, part: Part) -> str | None:
        """Say which sample of the training or the validation data is the first that holds NaN or infinity, if any.

        The number is the data set's, or the place in a pass over data that has no numbers.
        """
        with self._randomness.preserved():
            number = self._first_bad_of_training() if part == "training" else self._first_bad_of_validation()
        return in_words(number, f"the {part} data")

    def _first_bad_of_training(self) -> int | None:
        if not begins_anew(self.train_data):
            return None
        return first_bad_sample(self.train_data, self.steps_per_epoch * self._accumulate)

    def _first_bad_of_validation(self) -> int | None:
        return None if self.validation_data is None else first_bad_sample(self.validation_data)

    def _measure(self, data: Any) -> dict[str, float]:
        self._meter.reset(validation=True)
        batches = 0
        for batch in fresh(data):
            self._meter.update(self._work(batch))
            batches += 1
        if not batches:
            raise InvalidArgumentError("validation_data gave no batch: it is empty, or can be iterated once only.")
        values = {f"val_{name}": float(value) for name, value in self._meter.compute().items()}
        self._meter.validation_names = list(values)
        return values

    def snapshot(self) -> TorchSnapshot:
        """Return one copy of the model, the optimizer, the generators and the place in the data."""
        state = self._state.copy()
        state["scaler"] = None if self._scaler is None else self._scaler.state_dict()
        state["random"] = self._randomness.states()
        return TorchSnapshot(state, self._stream.place())

    def restore(self, snapshot: TorchSnapshot) -> None:
        """Put everything back, bit for bit, in the same parameters.

        Raises:
            InvalidArgumentError: The snapshot is of another model, or the data has changed.
        """
        came: Any = snapshot
        if not isinstance(came, TorchSnapshot):
            raise InvalidArgumentError(
                f"cannot restore a {type(came).__name__}: pass what snapshot() or load() returned, or answer.best, "
                f"which an answer read from JSON does not have"
            )
        self._state.put_back(snapshot.state)
        if self._scaler is not None and snapshot.state["scaler"] is not None:
            # A new one: an update that was broken off leaves marks in the old that nothing can clear.
            self._scaler = torch.amp.GradScaler(self.device.type)
            self._scaler.load_state_dict(snapshot.state["scaler"])
        self._stream.go_to(snapshot.place)
        self._randomness.set(snapshot.state["random"])

    @functools.cached_property
    def dimensions(self) -> Dimensions:
        """How large the problem is, which decides whether copies of it are worth being trained in one program."""
        trained = [it for it in self._parameters if it.requires_grad]
        parameters, is_dense = sum(it.numel() for it in trained), all(it.dim() <= 2 for it in trained)
        with self._randomness.preserved():
            samples = samples_per_batch(self.train_data) * self._accumulate
        return Dimensions("torch", self.device.type, parameters, samples, is_dense)

    def stack(self, snapshots: Sequence[TorchSnapshot]) -> TorchStack:
        r"""Return copies of the problem that are trained in one program, each from one of these snapshots.

        Parameters, buffers and optimizer state have a first axis of K copies; the forward pass is batched over it.
        Your optimizer's class makes one step at a rate $\eta = \min(1, \max_k \eta_k)$, and each copy takes its share,

        $$w_k \leftarrow w_k + \frac{\eta_k}{\eta} \left(\mathrm{step}(w_k, \eta) - w_k\right),$$

        exact where the update is linear in the rate and the optimizer's state does not depend on it: SGD, Adam, AdamW,
        NAdam, RAdam, RMSprop, Adagrad, Adadelta, Adamax. The first time two batches are tried both ways, and must
        agree.

        Args:
            snapshots: Where each copy begins; all of them at the same place in the data.

        Returns:
            What `learnrate.training.Stack` describes: rates and reports of shape (steps, K).

        Source: the documentation of torch.func, and PyTorch's tutorial "Model ensembling".

        Example:
            >>> model = nn.Linear(1, 1)
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            >>> x = torch.linspace(-1, 1, 32).reshape(-1, 1)
            >>> problem = TorchTrainable(model, optimizer, nn.MSELoss(), [(x, 2 * x)] * 4)
            >>> stack = problem.stack([problem.snapshot()] * 3)
            >>> stack.train(np.tile([0.01, 0.1, 1.0], (4, 1)))["loss"].shape
            (4, 3)

        Raises:
            UnsupportedProblemError: This model, optimizer or precision cannot be trained so; the reason, in a line.
        """
        parts = self._parts()
        self._check_stackable(parts, snapshots[0])
        return TorchStack(self, parts, snapshots)

    def stack_seeds(self, snapshots: Sequence[TorchSnapshot]) -> SeededStack:
        """Return copies of the problem that are trained in one program, each over batches of its own.

        As `stack`, but each copy goes on with the random numbers and from the place in the data of its snapshot, so
        that copies with several seeds see the batches that each would see alone. Their `train` reports the loss
        alone. The data is a list, or a DataLoader without workers that knows its order; the model draws no random
        numbers. The first time two batches of two seeds are tried both ways, and must agree.

        Args:
            snapshots: Where each copy begins: taken after `begin` with its seed.

        Raises:
            UnsupportedProblemError: This model, optimizer, precision or data cannot be trained so; the reason, in a
                line.
        """
        parts = self._parts()
        self._check_stackable(parts, snapshots[0])
        if not self._stacks_seeds:
            try_out_seeds(self, parts, snapshots[:2])
            self._stacks_seeds = True
        return SeededStack(self, parts, snapshots)

    def _check_stackable(self, parts: Parts, start: TorchSnapshot) -> None:
        if not self._stacks:
            check_stackable(self, parts)
            self.restore(start)
            try_out(self, parts)
            self._stacks = True

    def _parts(self) -> Parts:
        return Parts(
            work=self._work,
            meter=self._meter,
            rates=self._rates,
            state=self._state,
            stream=self._stream,
            randomness=self._randomness,
            modes=self._training_modes,
            measure=self._measure,
            accumulate=self._accumulate,
            clip_norm=self._clip_norm,
            autocast=self._autocast,
        )

    def save(self, snapshot: TorchSnapshot, path: Path) -> None:
        """Write a snapshot as safetensors, with JSON in the header.

        Raises:
            UnsupportedProblemError: The optimizer's state holds objects that would need pickle.
        """
        write({"state": snapshot.state, "place": snapshot.place.tree()}, Path(path))

    def load(self, path: Path) -> TorchSnapshot:
        """Read a snapshot that `save` wrote.

        Raises:
            InvalidArgumentError: The file is something else.
        """
        tree = read(Path(path))
        return TorchSnapshot(tree["state"], Place(**tree["place"]))

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _weights_are_finite(self) -> bool:
        return all(bool(torch.isfinite(it).all()) for it in self._parameters if it.is_floating_point())

    @contextlib.contextmanager
    def _first_time(self) -> Any:
        """Put back what the first batch changed if its loss is refused: no update has been made by then."""
        if self._trained:
            yield
            return
        gradients = [parameter.grad for parameter in self._parameters]
        buffers, random, place = self._state.buffers(), self._randomness.states(), self._stream.place()
        try:
            yield
        except LearnrateError:
            if not self._trained:
                for parameter, gradient in zip(self._parameters, gradients, strict=True):
                    parameter.grad = gradient
                self._state.put_back_buffers(buffers)
                self._stream.go_to(place)
                self._randomness.set(random)
            raise


def _padded(values: FloatArray, length: int) -> FloatArray:
    return np.concatenate([values, np.full(length - len(values), np.nan)]) if len(values) < length else values


def _places(model: nn.Module, *data: Any) -> list[Any]:
    """List the objects in which generators are looked for."""
    parts = ("dataset", "sampler", "batch_sampler", "collate_fn", "generator")
    return [*model.modules(), *data, *(getattr(it, part, None) for it in data for part in parts)]
