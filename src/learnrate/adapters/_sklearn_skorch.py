"""A skorch net through scikit-learn's door: a step is one pass of its own loop over one batch."""

# skorch has no types, torch's and scikit-learn's are partial, and scikit-learn calls samples X:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportConstantRedefinition=false

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from sklearn.base import clone
from skorch.callbacks import Callback, LRScheduler, ParamMapper
from skorch.history import History
from torch import nn

from learnrate.adapters._torch_random import Randomness
from learnrate.adapters._torch_schedules import Rates
from learnrate.adapters._torch_state import State, read, write
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

EPOCH_HOOKS = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end")
REPORTERS = ("skorch.callbacks.logging", "skorch.callbacks.scoring")


class Net:
    """A clone of a skorch net, initialized, with the weights of the user's where that is initialized.

    A step is `fit_loop` over one batch, for one epoch: what `partial_fit` does, but that it swallows Ctrl-C. While it
    runs, the net's own validation split, its history and those callbacks that act on whole epochs are off.
    """

    flat = False
    framework: str | None = None

    def __init__(self, net: Any, parameter: str) -> None:
        if parameter not in ("lr", "optimizer__lr"):
            msg = f"learning_rate_parameter is {parameter!r}: the learning rate of a skorch net is lr, or optimizer__lr"
            raise UnsupportedProblemError(msg)
        _check_sampler(net)
        device = torch.device(net.device or "cpu")
        with Randomness(device, (), ()).preserved():
            self.estimator = own = _cloned(net)
        if len(own._optimizers) != 1:  # noqa: SLF001  # skorch tells them nowhere else
            names = ", ".join(own._optimizers)  # noqa: SLF001  # likewise
            raise UnsupportedProblemError(f"the net has the optimizers {names}: a net of one optimizer can be trained")
        self._optimizer = getattr(own, f"{own._optimizers[0]}_")  # noqa: SLF001  # likewise
        modules = _modules(own)
        self._state = State(modules, self._optimizer)
        if net.initialized_:
            self._state.put_back(State(_modules(net), getattr(net, f"{own._optimizers[0]}_")).copy())  # noqa: SLF001  # likewise
        self._random = Randomness(device, (), [modules])
        self._rates = Rates(self._optimizer)
        self.learning_rate: float | None = self._rates.largest
        self._callbacks, left_out = _callbacks(own)
        self.warnings = _warnings(net, left_out)
        self.drop_last = bool(vars(net).get("iterator_train__drop_last"))
        self._classes: Any = None

    def default_batch_size(self, samples: int) -> int:
        """Return the net's own, all samples where that is -1."""
        net = vars(self.estimator)
        own = net.get("iterator_train__batch_size", net["batch_size"])
        return samples if own == -1 else min(own, samples)

    def prepare(self, X: Any, y: Any, classes: Any) -> None:  # noqa: N803  # scikit-learn's name
        """Take the classes, which a single batch may not have.

        Raises:
            InvalidArgumentError: They are words.
        """
        del X
        if classes is not None and y.dtype.kind not in "iufb":
            msg = f"y holds {y.dtype}: skorch takes classes as integers, by sklearn's LabelEncoder().fit_transform(y)"
            raise InvalidArgumentError(msg)
        self._classes = classes
        if classes is not None:
            vars(self.estimator)["classes_inferred_"] = classes

    def begin(self, seed: int) -> None:
        """Seed every generator that training may draw from."""
        self._random.seed(seed)

    def step(self, X: Any, y: Any, rate: float) -> float:  # noqa: N803  # scikit-learn's name
        """Make one update; return the loss that the net itself reports, of its training mode."""
        net = self.estimator
        self._rates.set(rate)
        self._note(rate)
        with self._alone():
            net.fit_loop(X, y, epochs=1)
            return float(net.history[-1, "batches", -1, "train_loss"])

    def _note(self, rate: float) -> None:
        """Let the net's own parameters say the rate, as they do after `set_params`."""
        attributes = vars(self.estimator)
        attributes.update(dict.fromkeys({"lr", "optimizer__lr"} & attributes.keys(), rate))

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """Switch off what is not of one step, and on again, whatever happens."""
        attributes = vars(self.estimator)
        loader = [name for name in attributes if name.startswith("iterator_train__") and not name.endswith("_fn")]
        changed: dict[str, Any] = {"batch_size": -1, "train_split": None, "verbose": 0}
        changed |= {"callbacks_": self._callbacks, "history_": History()}
        held = {name: attributes[name] for name in [*loader, *changed, "classes_inferred_"] if name in attributes}
        for name in loader:
            del attributes[name]
        attributes.update(changed)
        try:
            yield
        finally:
            attributes.update(held)

    @contextlib.contextmanager
    def measured(self) -> Generator[Any]:
        """Give the net to measure, and put back what that changes: modes, buffers, and what a loader draws."""
        modes, buffers = self._state.modes(), self._state.buffers()
        with self._random.preserved():
            try:
                yield self.estimator
            finally:
                self._state.set_modes(modes)
                self._state.put_back_buffers(buffers)

    def loss(self, estimator: Any, X: Any, y: Any) -> float:  # noqa: N803  # scikit-learn's name
        """Return the net's criterion in evaluation mode, as its `valid_loss`: a mean over the samples."""
        total = 0.0
        for batch in estimator.get_iterator(estimator.get_dataset(X, y), training=False):
            total += float(estimator.validation_step(batch)["loss"]) * len(batch[1])
        return total / len(y)

    def is_finite(self) -> bool:
        """Return whether all weights are finite."""
        return all(bool(torch.isfinite(weights).all()) for weights in self._state.parameters.values())

    def copy(self) -> Any:
        """Return weights, buffers, modes, the optimizer's state, the rate, and the states of all generators."""
        return {"net": self._state.copy(), "random": self._random.states(), "lr": vars(self.estimator)["lr"]}

    def put_back(self, state: Any) -> None:
        """Put all of it back, in place."""
        self._state.put_back(state["net"])
        self._random.set(state["random"])
        self._note(state["lr"])

    def write(self, state: Any, place: Mapping[str, int], path: Path) -> None:
        """Write as safetensors."""
        write({"state": state, "place": dict(place)}, path)

    def read(self, path: Path) -> tuple[Any, dict[str, int]]:
        """Read what `write` wrote."""
        found = read(path)
        return found["state"], found["place"]


def _cloned(net: Any) -> Any:
    own: Any = clone(net)
    return own.initialize()


def _modules(net: Any) -> nn.ModuleDict:
    """Return the net's modules and criteria, all that its optimizer may train, as one."""
    names = [*net._modules, *net._criteria]  # noqa: SLF001  # skorch tells them nowhere else
    found = {name: getattr(net, f"{name}_") for name in names}
    return nn.ModuleDict({name: module for name, module in found.items() if isinstance(module, nn.Module)})


def _check_sampler(net: Any) -> None:
    for name in ("sampler", "batch_sampler"):
        if vars(net).get(f"iterator_train__{name}") is not None:
            msg = (
                f"the net has iterator_train__{name}, and a step is a batch that is chosen here: leave it out, or "
                f"train the module by TorchTrainable with a DataLoader of that sampler"
            )
            raise UnsupportedProblemError(msg)


def _callbacks(net: Any) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return the callbacks that belong to a step, and the kinds of those that are left out.

    Raises:
        UnsupportedProblemError: One of them sets learning rates, or what is trained.
    """
    kept: list[tuple[str, Any]] = []
    left_out: list[str] = []
    for name, callback in net.callbacks_:
        kind = type(callback)
        if isinstance(callback, LRScheduler):
            raise UnsupportedProblemError(
                f"the net has the callback {kind.__name__}({callback.policy!r}), which would fight the rates that are "
                f"tried. Leave it out, and pass what it does as the schedule: one of learnrate.schedules, or "
                f"learnrate.adapters.torch.schedule_from of the PyTorch scheduler"
            )
        if isinstance(callback, ParamMapper):
            raise UnsupportedProblemError(
                f"the net has the callback {kind.__name__}, which acts at skorch's epochs, and a step here has none. "
                f"Leave it out, and freeze or initialize the parameters in the module"
            )
        if callback is None or kind.__module__ in REPORTERS:
            continue
        if any(getattr(kind, hook, None) is not getattr(Callback, hook) for hook in EPOCH_HOOKS):
            left_out.append(kind.__name__)
        else:
            kept.append((name, callback))
    return kept, left_out


def _warnings(net: Any, left_out: list[str]) -> list[str]:
    found: list[str] = []
    if not vars(net).get("iterator_train__shuffle"):
        found.append(
            "the batches are shuffled anew each epoch, which skorch does only if told: train with "
            "iterator_train__shuffle=True to get what was measured"
        )
    if net.train_split:
        found.append(
            f"the net's train_split ({type(net.train_split).__name__}) is off while it is trained: validation_data= "
            f"and validation_fraction= say what is held out"
        )
    if left_out:
        found.append(f"the net's callbacks act on whole epochs of skorch's and are left out: {', '.join(left_out)}")
    return found
