"""Muon for matrices with AdamW beside it for everything else, as one optimizer of two groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) where a group says `muon`, AdamW where it does not, at one learning rate or several.

    Muon moves a matrix by its Nesterov momentum made nearly orthogonal: five Newton-Schulz steps, scaled by
    sqrt(max(1, rows / columns)). The defaults are those of torch.optim.Muon and torch.optim.AdamW.
    """

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "muon": False}
        super().__init__(params, {**defaults, "betas": (0.9, 0.999), "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update; a closure is called first for the loss, which is returned, and the gradients."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            move = self._muon if group["muon"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    move(group, parameter, parameter.grad)
        return loss

    def _muon(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = _orthogonal(gradient.lerp(momentum, group["momentum"]))
        scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
        parameter.add_(direction, alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        step = float(state["step"])
        spread = (state["square"] / (1 - second**step)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], spread, value=-group["lr"] / (1 - first**step))


def _orthogonal(matrix: Tensor) -> Tensor:
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def matrices_and_others(parameters: Iterable[Tensor], ratio: float = 1.0) -> list[dict[str, Any]]:
    """Two groups: matrices for Muon at 1e-3, everything else for AdamW at `ratio` times that."""
    every = list(parameters)
    return [
        {"params": [it for it in every if it.ndim == 2], "muon": True, "lr": 1e-3},
        {"params": [it for it in every if it.ndim != 2], "muon": False, "lr": 1e-3 * ratio},
    ]
