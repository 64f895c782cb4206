"""Which PyTorch trainings can be done in one program, and the trial of two batches that tells for a model."""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import itertools
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn, optim

from learnrate.adapters._torch_data import fresh
from learnrate.adapters._torch_seeds import DRAWS, SeededStack, Streams, stacked
from learnrate.adapters._torch_stack import TorchStack
from learnrate.adapters._torch_state import copied
from learnrate.errors import LearnrateError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from learnrate.adapters._torch_stack import Parts
    from learnrate.adapters.torch import TorchTrainable

LINEAR = (
    *(optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam),
    *(optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.Adamax),
)
"""Optimizers whose update is linear in the learning rate, and whose state does not depend on it.

These very classes, since a subclass may do anything. False for Rprop (the rate is where its own step sizes begin), ASGD
(its averages and its decay take the rate in), Adafactor (relative steps, a rate that it caps), Muon (it orthogonalises
whole matrices) and schedule-free ones (the evaluated weights are averages by the rate).
"""
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_stackable(problem: TorchTrainable, parts: Parts) -> None:
    """Refuse what cannot be trained in one program, and would come to something else.

    Raises:
        UnsupportedProblemError: The reason, in a line.
    """
    _check_optimizer(problem.optimizer)
    _check_model(problem.model)
    if parts.autocast is torch.float16:
        raise UnsupportedProblemError("float16 scales the loss by a factor that depends on each training's own course")


def _check_optimizer(optimizer: optim.Optimizer) -> None:
    name = type(optimizer).__name__
    if type(optimizer) not in LINEAR:
        raise UnsupportedProblemError(
            f"{name} is not known to make updates that are linear in the learning rate, as those of "
            f"{', '.join(one.__name__ for one in LINEAR)} are"
        )
    for flag in ("capturable", "differentiable"):
        if any(group.get(flag) for group in optimizer.param_groups):
            raise UnsupportedProblemError(f"{name} has {flag}=True, which is not done for several copies")
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    if "step" in vars(optimizer) or any(getattr(optimizer, hook, None) for hook in hooks):
        raise UnsupportedProblemError(f"{name} has hooks, which would see all copies at once")


def _check_model(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedProblemError("a compiled model is one program already; pass the plain module")
        if any(getattr(module, hook, None) for hook in _HOOKS):
            raise UnsupportedProblemError(f"{name or 'the model'} has hooks, which would see all copies at once")
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise UnsupportedProblemError(f"{name or 'the model'} has extra state, which is not a tensor")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no other way to see them
            raise UnsupportedProblemError(f"{name} has hooks, which would see all copies at once")
        if parameter.is_sparse or not parameter.is_floating_point():
            raise UnsupportedProblemError(f"{name} is not a dense tensor of real numbers")


def try_out(problem: TorchTrainable, parts: Parts) -> None:
    """Train two batches and validate one, plainly and as copies in one program, from where the problem stands.

    The problem is not put back, but for what the model has set as attributes of its own.

    Raises:
        UnsupportedProblemError: They differ, or PyTorch cannot do it.
    """
    start = problem.snapshot()
    stack = TorchStack(problem, parts, [start, start])
    with _attributes_put_back(problem.model):
        for _ in range(2):
            _compare_batch(problem, parts, stack)
        _compare_evaluation(problem, parts, start)


def try_out_seeds(problem: TorchTrainable, parts: Parts, snapshots: Sequence[Any]) -> None:
    """Train two batches of each of these seeds, by itself and as copies in one program, as `try_out` does.

    Raises:
        UnsupportedProblemError: They differ, or PyTorch cannot do it.
    """
    if parts.stream.obstacle is not None:
        raise UnsupportedProblemError(parts.stream.obstacle)
    with _attributes_put_back(problem.model):
        alone = [_two_batches(problem, parts, snapshot) for snapshot in snapshots]
        stack = SeededStack(problem, parts, snapshots)
        streams = Streams(problem.train_data, parts.randomness, 1, snapshots)
        parts.state.set_modes(parts.modes)
        for expected in zip(*alone, strict=True):
            streams.fetch(1)  # one after another, so that a state that they share would show
            batch = streams.next(fresh=True)
            streams.finish_if_done()
            if not _is_same(batch, stacked([one.batch for one in expected])):
                raise UnsupportedProblemError("the data gives other batches when it is read again from the same seed")
            _compare_seeds(expected, stack, batch, _tolerance(problem, parts))


class _Alone(NamedTuple):
    """What a batch of one seed gave by itself."""

    batch: Any
    loss: Tensor
    gradients: Mapping[str, Tensor | None]
    buffers: Mapping[str, Tensor]


def _two_batches(problem: TorchTrainable, parts: Parts, snapshot: Any) -> list[_Alone]:
    problem.restore(snapshot)
    parts.state.set_modes(parts.modes)
    parameters = {name: it for name, it in problem.model.named_parameters() if it.requires_grad}
    several: list[_Alone] = []
    for _ in range(2):
        batch = parts.stream.next(fresh=True)
        parts.stream.finish_if_done()
        begun = parts.randomness.fingerprint(), _device_states(parts.randomness.states())
        with torch.enable_grad():
            loss = parts.work(batch).loss
            loss.backward()
        if begun != (parts.randomness.fingerprint(), _device_states(parts.randomness.states())):
            raise UnsupportedProblemError(DRAWS)
        gradients = {name: it.grad for name, it in parameters.items()}
        several.append(_Alone(batch, loss.detach(), gradients, copied(dict(problem.model.named_buffers()))))
        for it in parameters.values():
            it.grad = None
    return several


def _compare_seeds(expected: Sequence[_Alone], stack: SeededStack, batch: Any, tolerance: float) -> None:
    with _batching("its training step over batches of several seeds"), torch.enable_grad():
        found = stack.backward(batch)
    for place, one in enumerate(expected):
        mine = slice(place, place + 1)
        _require_close(found[mine], one.loss, tolerance, "losses")
        gradients = {name: None if it is None else it[mine] for name, it in stack.gradients.items()}
        _compare_gradients(one.gradients, gradients, tolerance)
        for name, buffer in stack.buffers.items():
            _require_close(buffer[mine], one.buffers[name], tolerance, f"buffers {name}")
    for it in stack.gradients.values():
        if it is not None:
            it.zero_()


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return bool(((one == other) | ((one != one) & (other != other))).all())  # noqa: PLR0124  # NaN equals NaN
    if isinstance(one, dict):
        return all(_is_same(value, other[key]) for key, value in one.items())
    return all(_is_same(*parts) for parts in zip(one, other, strict=True))


def _compare_batch(problem: TorchTrainable, parts: Parts, stack: TorchStack) -> None:
    parameters = {name: it for name, it in problem.model.named_parameters() if it.requires_grad}
    parts.state.set_modes(parts.modes)
    batch = parts.stream.next(fresh=True)
    begun = parts.randomness.states()
    with torch.enable_grad():
        loss = parts.work(batch).loss
        loss.backward()
    expected = {name: it.grad for name, it in parameters.items()}
    for it in parameters.values():
        it.grad = None
    left = parts.randomness.fingerprint(), _device_states(parts.randomness.states())
    parts.randomness.set(begun)
    with _batching("its training step"), torch.enable_grad():
        found = stack.backward(batch)
    same = left[0] == parts.randomness.fingerprint() and left[1] == _device_states(parts.randomness.states())
    if not same:
        raise UnsupportedProblemError("it draws other random numbers when several copies are trained at once")
    tolerance = _tolerance(problem, parts)
    _require_close(found, loss.detach(), tolerance, "losses")
    _compare_gradients(expected, stack.gradients, tolerance)
    live = dict(problem.model.named_buffers())
    for name, buffer in stack.buffers.items():
        _require_close(buffer, live[name], tolerance, f"buffers {name}")
    for it in stack.gradients.values():
        if it is not None:
            it.zero_()


def _compare_gradients(
    expected: Mapping[str, Tensor | None], found: Mapping[str, Tensor | None], tolerance: float
) -> None:
    whole = _norm([it for it in expected.values() if it is not None])
    for name, gradient in expected.items():
        several = found[name]
        if gradient is None or several is None:
            if gradient is not several:
                raise UnsupportedProblemError(f"{name} has a gradient in one way of training, and none in the other")
            continue
        far = max(_norm([one - gradient]) for one in several)
        # A bias before a BatchNorm has no gradient but rounding errors, which need not agree.
        if np.isfinite(whole) and not far <= tolerance * (_norm([gradient]) + 0.01 * whole):
            raise UnsupportedProblemError(f"the gradients of {name} differ when several copies are trained at once")


def _compare_evaluation(problem: TorchTrainable, parts: Parts, start: Any) -> None:
    if problem.validation_data is None:
        return
    problem.restore(start)
    stack = TorchStack(problem, parts, [start, start])
    modes = parts.state.modes()
    try:
        with parts.randomness.preserved(), torch.no_grad():
            problem.model.eval()
            batches = list(itertools.islice(fresh(problem.validation_data), 1))
            begun = parts.randomness.states()
            expected: Mapping[str, float] = parts.measure(batches)
            parts.randomness.set(begun)
            with _batching("its evaluation"):
                found = stack.measure(batches)
    finally:
        parts.state.set_modes(modes)
    for name, value in expected.items():
        _require_close(torch.as_tensor(found[name]), torch.as_tensor(value), _tolerance(problem, parts), name)


@contextlib.contextmanager
def _batching(what: str) -> Generator[None]:
    """Give the reason where PyTorch has none of its batching rules for something, or only a slow stand-in."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="There is a performance drop")
            yield
    except LearnrateError:
        raise
    except Exception as error:
        line = str(error).strip().partition("\n")[0].partition(". ")[0]
        if "data-dependent" in str(error) or ".item()" in str(error):
            line = "what it does depends on the values of tensors (an if, a loop or .item())"
        raise UnsupportedProblemError(f"PyTorch cannot batch {what}: {line}") from error


@contextlib.contextmanager
def _attributes_put_back(model: nn.Module) -> Generator[None]:
    """Put back what a forward pass sets as attributes, and refuse a model that keeps a tensor of the copies so."""
    before = [(name, module, dict(vars(module))) for name, module in model.named_modules()]
    kept: list[str] = []
    try:
        yield
    finally:
        for name, module, attributes in before:
            now = vars(module)
            for key in [key for key, value in now.items() if attributes.get(key) is not value]:
                kept += [f"{name}.{key}".lstrip(".")] if isinstance(now[key], Tensor) else []
                if key in attributes:
                    now[key] = attributes[key]
                else:
                    del now[key]
    if kept:
        raise UnsupportedProblemError(f"the model keeps a tensor of each step as its attribute {kept[0]}")


def _device_states(states: Any) -> list[bytes]:
    return [it.cpu().numpy().tobytes() for it in states.get("cuda", ())]


def _tolerance(problem: TorchTrainable, parts: Parts) -> float:
    dtypes = {parts.autocast} if parts.autocast else {it.dtype for it in problem.model.parameters()}
    return max(_TOLERANCES.get(dtype, 0.05) for dtype in dtypes)


def _norm(tensors: list[Tensor]) -> float:
    return float(sum(float(torch.linalg.vector_norm(it.double())) ** 2 for it in tensors) ** 0.5)


def _require_close(found: Tensor, expected: Tensor, tolerance: float, words: str) -> None:
    one, other = found.double(), expected.double().expand_as(found)
    if not torch.allclose(one, other, rtol=tolerance, atol=tolerance * 1e-2, equal_nan=True):
        raise UnsupportedProblemError(f"the {words} differ when several copies are trained at once")
