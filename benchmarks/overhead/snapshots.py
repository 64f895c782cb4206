"""The memory that `select` takes: a snapshot is one copy of model and optimizer, and at most three live at a time.

python benchmarks/overhead/snapshots.py
"""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import nn

import learnrate

WIDTH = 1500
BATCHES = 8


class Counted(learnrate.TorchTrainable):
    """Counts the snapshots that are alive."""

    alive = 0
    most = 0

    def snapshot(self) -> Any:
        """Take a snapshot, and see how many there are."""
        taken = super().snapshot()
        Counted.most = max(Counted.most, sum(isinstance(thing, type(taken)) for thing in gc.get_objects()))
        return taken


def megabytes(tensors: list[torch.Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
    optimizer = torch.optim.Adam(model.parameters())
    data = [(torch.randn(8, WIDTH), torch.randint(10, (8,))) for _ in range(BATCHES)]
    problem = Counted(model, optimizer, nn.CrossEntropyLoss(), data, data[:2])
    problem.train(torch.full((2,), 1e-4).double().numpy())
    own = megabytes([*model.parameters(), *model.buffers()])
    state = [value for group in optimizer.state.values() for value in group.values() if isinstance(value, torch.Tensor)]
    whole = own + megabytes(state)
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if isinstance(thing, torch.Tensor)}
    taken = problem.snapshot()
    new = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and id(t) not in before]
    print(f"model {own:.1f} MB, model and optimizer {whole:.1f} MB")
    print(f"a snapshot takes {megabytes(new):.1f} MB: {megabytes(new) / whole:.2f} of them")
    del taken, new
    gc.collect()
    Counted.most = 0
    learnrate.select(problem, epochs=8)
    print(f"alive at once during select: at most {Counted.most} (aim: 3)")


if __name__ == "__main__":
    main()
