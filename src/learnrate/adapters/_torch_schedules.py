"""PyTorch's schedulers as schedules, schedules as PyTorch's schedulers, and the rates of parameter groups."""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CLOSE = 1e-6


class Rates:
    """The learning rates of an optimizer's groups: the largest is searched, the others keep their ratio to it.

    Raises:
        InvalidArgumentError: All of them are 0, or one cannot be a rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if not all(0 <= rate < math.inf for rate in rates):
            raise InvalidArgumentError(f"the optimizer's learning rates are {rates}; they must be finite, 0 or more.")
        self.largest = max(rates)
        if self.largest == 0:
            raise InvalidArgumentError(
                "the learning rate of every parameter group is 0, so that the groups have no ratio to keep; give the "
                "optimizer any rate above 0, as in torch.optim.SGD(model.parameters(), lr=1e-3)."
            )
        self._optimizer = optimizer
        self._initial = rates

    def of(self, rate: float) -> list[float]:
        """Return each group's rate where the largest group has this one."""
        # Each is exact at its own rate: a product with a rounded ratio would not be.
        return [rate if one == self.largest else one * (rate / self.largest) for one in self._initial]

    def set(self, rate: float) -> None:
        """Give the largest group this rate."""
        for group, value in zip(self._optimizer.param_groups, self.of(rate), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)  # in place: a captured graph reads this very tensor
            else:
                group["lr"] = value


def refuse_attached_scheduler(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer that a scheduler has taken hold of.

    Raises:
        UnsupportedProblemError: A scheduler is or was attached.
    """
    wrapped = any(hasattr(optimizer.step, mark) for mark in ("_wrapped_by_lr_sched", "_with_counter"))
    if wrapped or any("initial_lr" in group for group in optimizer.param_groups):
        raise UnsupportedProblemError(
            "a learning rate scheduler is attached to the optimizer, and would be fought by the rates that are tried. "
            "Pass an optimizer without one, and the scheduler as the schedule: "
            "select(problem, schedule=learnrate.adapters.torch.schedule_from("
            'lambda optimizer: CosineAnnealingLR(optimizer, T_max=20), by="epoch", epochs=20)), or one of '
            "learnrate.schedules. If the optimizer only comes out of a checkpoint that had a scheduler, remove its "
            'mark: for group in optimizer.param_groups: group.pop("initial_lr").'
        )


def schedule_from(
    make_scheduler: Callable[[torch.optim.Optimizer], LRScheduler],
    by: Literal["epoch", "step"] = "epoch",
    *,
    epochs: int | None = None,
    steps: int | None = None,
) -> Callable[[float, int], Schedule]:
    r"""Make a schedule, as `select(..., schedule=...)` takes it, of a PyTorch scheduler.

    The scheduler runs once on a throwaway optimizer of one group whose rate is the learning rate; its rates
    $r_0, ..., r_{k-1}$ are stretched over the training, $\eta(t) = r_{\lfloor t k / T \rfloor}$. A scheduler that
    sets rates of its own (CyclicLR, OneCycleLR) is scaled so that its peak is the learning rate. Only the rate is
    followed: a momentum that such a scheduler cycles stays as it is.

    Args:
        make_scheduler: Returns a new scheduler for an optimizer, as your training script makes it.
        by: Whether your script calls `scheduler.step()` after each epoch or after each update.
        epochs: How many epochs it is made for (k); needed by epoch.
        steps: How many updates it is made for (k); by default as many as the training has.

    Returns:
        A maker: `maker(learning_rate, total_steps)` returns the `Schedule`.

    Raises:
        InvalidArgumentError: `by` is something else, or `epochs` is missing.
        UnsupportedProblemError: The maker returns no scheduler, or one that follows a metric.

    Example:
        >>> from torch.optim.lr_scheduler import ExponentialLR
        >>> maker = schedule_from(lambda optimizer: ExponentialLR(optimizer, gamma=0.5), by="epoch", epochs=2)
        >>> maker(0.1, 4)(np.arange(4)).tolist()
        [0.1, 0.1, 0.05, 0.05]
    """
    if by not in ("epoch", "step"):
        raise InvalidArgumentError(f'by is {by!r}; give "epoch" or "step": when your script calls scheduler.step().')
    if (by == "epoch") != (epochs is not None) or (by == "epoch" and steps is not None):
        raise InvalidArgumentError(
            f"by={by!r} came with epochs={epochs} and steps={steps}; give epochs=, how many epochs the scheduler is "
            f'made for, with by="epoch", and at most steps= with by="step".'
        )
    count = epochs if by == "epoch" else steps
    if count is not None and (isinstance(count, bool) or count < 1):
        raise InvalidArgumentError(f"{'epochs' if by == 'epoch' else 'steps'} is {count!r}; it must be 1 or more.")
    if not callable(make_scheduler):
        raise InvalidArgumentError(
            f"make_scheduler is a {type(make_scheduler).__name__}; pass a function that makes a scheduler: "
            f"lambda optimizer: CosineAnnealingLR(optimizer, T_max=20)."
        )
    return functools.partial(_scheduled, make_scheduler, by=by, count=count)


def _scheduled(
    make_scheduler: Callable[[torch.optim.Optimizer], LRScheduler],
    learning_rate: float,
    total_steps: int,
    *,
    by: str,
    count: int | None,
) -> Schedule:
    shape = _rates_of(make_scheduler, learning_rate, count or total_steps)
    peak = shape.max()
    if peak > 0 and not math.isclose(peak, learning_rate, rel_tol=_CLOSE):
        shape = shape * (learning_rate / peak)
    rates = shape[np.arange(total_steps) * len(shape) // total_steps]
    settings: dict[str, Any] = {"by": by, "count": count}
    return Schedule("schedule_from", learning_rate, total_steps, settings, rates)


def _rates_of(make_scheduler: Callable[[Any], Any], learning_rate: float, count: int) -> np.ndarray[Any, Any]:
    # Momentum is there for the schedulers that cycle it.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=learning_rate, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau) or not isinstance(scheduler, LRScheduler):
        raise UnsupportedProblemError(
            f"make_scheduler returned a {type(scheduler).__name__}; it must return one of torch.optim.lr_scheduler "
            f"that follows the step alone, not a metric."
        )
    if scheduler.optimizer is not optimizer:
        raise UnsupportedProblemError(
            "make_scheduler made a scheduler of another optimizer; it must use the one that it is given: "
            "lambda optimizer: CosineAnnealingLR(optimizer, T_max=20)."
        )
    rates: list[float] = []
    for at in range(count):
        if at:
            optimizer.step()
            scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return np.array(rates)


class _FollowSchedule(LRScheduler):
    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Callable[[int], float], last_epoch: int) -> None:
        self._schedule = schedule
        initial = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self._largest = max(initial)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        rate = float(self._schedule(self.last_epoch))
        initial = [float(base) for base in cast("Iterable[float]", self.base_lrs)]
        return [rate if base == self._largest else base * (rate / self._largest) for base in initial]

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().state_dict().items() if key != "_schedule"}


def lr_scheduler(
    optimizer: torch.optim.Optimizer, schedule: Callable[[int], float], *, last_epoch: int = -1
) -> LRScheduler:
    """Make a PyTorch scheduler that follows a schedule: call its `step()` after each `optimizer.step()`.

    The group with the largest rate follows the schedule exactly, and the others keep their ratio to it. After the
    schedule's end the last rate stays.

    Args:
        optimizer: The optimizer; its rates give the groups' ratios.
        schedule: From a step, counted from 0, to a rate: one of `learnrate.schedules`, or any function.
        last_epoch: Updates made so far less one, to continue a training, as in PyTorch.

    Raises:
        InvalidArgumentError: All the groups' rates are 0.

    Example:
        >>> from learnrate.schedules import linear
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = lr_scheduler(optimizer, linear(0.4, 4))
        >>> optimizer.step()
        >>> scheduler.step()
        >>> round(optimizer.param_groups[0]["lr"], 3)
        0.3
    """
    Rates(optimizer)
    return _FollowSchedule(optimizer, schedule, last_epoch)
