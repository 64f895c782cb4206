"""Trains every task of the labelled set and writes its curves.

    python -m benchmarks.diagnosis.record        # some minutes of one core; writes benchmarks/diagnosis/curves.npz
    python -m benchmarks.diagnosis.record NAME…  # only these, printed

`curves.npz` holds for each task "NAME/metric" as float32, over twice the epochs that are shown; "NAME/untrained", the
metrics before the first update, in the order of the task's metrics; and "NAME/about": how many epochs are shown, how
many samples validate, and whether the rest shows what more of the same training would have brought.
"""

from __future__ import annotations

import math
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from benchmarks.diagnosis.tasks import TASKS, Task, network, parts
from torch import Tensor, nn

CURVES = Path(__file__).with_name("curves.npz")


def loss_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    if task.loss == "cross_entropy":
        return nn.functional.cross_entropy(outputs, targets)
    if task.loss == "gaussian":
        return nn.functional.gaussian_nll_loss(outputs[:, :1], targets, outputs[:, 1:].clamp(-10, 10).exp())
    return nn.functional.mse_loss(outputs, targets)


def measures(task: Task, outputs: Tensor, targets: Tensor) -> list[float]:
    accuracy = math.nan
    if task.loss == "cross_entropy":
        accuracy = float((outputs.argmax(1) == targets).float().mean())
    return [float(loss_of(task, outputs, targets)), accuracy]


def optimizer_of(task: Task, model: nn.Module) -> torch.optim.Optimizer:
    if task.optimizer == "adam":
        return torch.optim.AdamW(model.parameters(), task.learning_rate, weight_decay=task.weight_decay, eps=1e-7)
    momentum = 0.9 if task.optimizer == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), task.learning_rate, momentum=momentum)


def factor(task: Task, step: int, steps: int) -> float:
    """Return the learning rate at a step over the peak; schedules end where the shown curve does."""
    progress = min(step / steps, 1.0)
    if task.schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    if task.schedule == "step":
        return 0.1 ** (progress >= 0.5)
    if task.schedule == "one-cycle":
        return min(progress / 0.3, (1 - progress) / 0.7) + 1e-3
    return 1.0


def record(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (loss, accuracy, val_loss, val_accuracy) of each epoch, and those before training."""
    torch.manual_seed(zlib.crc32(task.name.encode()))
    (inputs, targets), (val_inputs, val_targets) = parts(task)
    outputs = {"cross_entropy": int(targets.max()) + 1, "gaussian": 2}.get(task.loss, targets[0].numel())
    model = network(task, inputs.shape[1], outputs)
    optimizer = optimizer_of(task, model)
    steps_per_epoch = math.ceil(len(inputs) / task.batch)
    rows, step = [], 0

    def validate() -> list[float]:
        model.eval()
        with torch.no_grad():
            return measures(task, model(val_inputs), val_targets)

    with torch.no_grad():
        model.eval()
        before = measures(task, model(inputs), targets) + validate()
    for _ in range(task.epochs * (2 if task.continued else 1)):
        model.train()
        order = torch.randperm(len(inputs)) if task.shuffle else torch.arange(len(inputs))
        seen = np.zeros(2)
        for batch in order.split(task.batch):
            for group in optimizer.param_groups:
                group["lr"] = task.learning_rate * factor(task, step, task.epochs * steps_per_epoch)
            guess = model(inputs[batch])
            loss = loss_of(task, guess, targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += np.array(measures(task, guess.detach(), targets[batch])) * len(batch)
            step += 1
        rows.append([*(seen / len(inputs)), *validate()])
    return np.array(rows, dtype=np.float32), np.array(before, dtype=np.float32)


def about(task: Task) -> np.ndarray:
    validation = len(parts(task)[1][0])
    return np.array([task.epochs, validation, task.continued and task.schedule == "constant"], dtype=np.int32)


def main() -> None:
    torch.set_num_threads(1)
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    known = {} if len(sys.argv) > 1 or not CURVES.exists() else dict(np.load(CURVES))
    for task in TASKS:
        if (sys.argv[1:] and task.name not in sys.argv[1:]) or f"{task.name}/untrained" in known:
            continue
        rows, before = record(task)
        kept = [names.index(name) for name in task.shown]
        known |= {f"{task.name}/{names[column]}": rows[:, column] for column in kept}
        known[f"{task.name}/untrained"] = before[kept]
        known[f"{task.name}/about"] = about(task)
        print(task.name, *(f"{value:.4g}" for value in rows[[0, task.epochs // 2, task.epochs - 1, -1]].ravel()))
        sys.stdout.flush()
    if not sys.argv[1:]:
        np.savez_compressed(CURVES, **known)
        print(f"{CURVES.name}: {CURVES.stat().st_size} bytes")


if __name__ == "__main__":
    main()
