"""Problems that other processes train, and that can die, hang or raise there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from learnrate._identity import agree
from learnrate.testing import QuadraticTrainable


class Perilous(QuadraticTrainable):
    """Notes each epoch that it trains; at one rate, from one epoch on, something happens to it.

    Args:
        notes: The folder in which it leaves its notes.
        what: "die", "hang", "raise" or "nothing".
        rate: At which learning rate.
        epoch: After how many epochs of the training.
        times: How often, at most.
        seconds: What a step takes.
        noise: Of the problem.
    """

    def __init__(
        self,
        notes: Path,
        what: str = "nothing",
        rate: float = 0.1,
        *,
        epoch: int = 0,
        times: int = 1,
        seconds: float = 0.0,
        noise: float = 0.1,
    ) -> None:
        super().__init__(noise=noise, steps_per_epoch=5)
        self.notes, self.what, self.rate, self.epoch, self.times = notes, what, rate, epoch, times
        self.seconds = seconds

    def train(self, learning_rates: Any) -> Any:
        rate, epoch = float(learning_rates[0]), self._step // self.steps_per_epoch
        if rate == self.rate and epoch >= self.epoch and len(list(self.notes.glob("hit-*"))) < self.times:
            (self.notes / f"hit-{time.monotonic_ns()}").touch()
            self._happens()
        time.sleep(self.seconds * len(learning_rates))
        with (self.notes / f"trained-{os.getpid()}").open("a") as file:
            file.write(f"{rate!r} {epoch}\n")
        return super().train(learning_rates)

    def _happens(self) -> None:
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "hang":
            time.sleep(1000)
        if self.what == "raise":
            raise ZeroDivisionError("on purpose")

    def describe(self) -> dict[str, str | int | float]:
        return {"kind": "perilous"}


def trained(notes: Path) -> list[tuple[float, int]]:
    """The rate and the epoch of everything that was trained, again and again where it was."""
    lines = [line.split() for file in notes.glob("trained-*") for line in file.read_text().splitlines()]
    return [(float(rate), int(epoch)) for rate, epoch in lines]


class Surroundings(QuadraticTrainable):
    """Reports what its process is given: the GPU's number, the threads, and who it is."""

    def evaluate(self) -> dict[str, float]:
        time.sleep(0.2)  # long enough that each worker has one
        gpu = float(os.environ.get("CUDA_VISIBLE_DEVICES", "-1"))
        threads = float(os.environ.get("OMP_NUM_THREADS", "-1"))
        return super().evaluate() | {"val_gpu": gpu, "val_threads": threads, "val_process": float(os.getpid())}


def built() -> QuadraticTrainable:
    """Build a problem that cannot be carried over as it is."""
    problem = QuadraticTrainable()
    problem.stuck = (one for one in "a generator has no pickle")
    return problem


def generated(learning_rate: float, epochs: int, seed: int) -> Any:
    """Train as a generator does."""
    generator = np.random.default_rng(seed)
    weight = 1.0
    for _ in range(epochs):
        weight -= learning_rate * (weight + 0.1 * generator.normal())
        yield {"val_loss": weight**2}


def network() -> Any:
    """Build a small network with dropout, shuffled batches and Adam."""
    import torch

    from learnrate import TorchTrainable

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 8, generator=generator)
    data = torch.utils.data.TensorDataset(inputs, inputs[:, :1].sin())
    torch.manual_seed(1)
    layers = [torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 1))
    return TorchTrainable(
        model,
        torch.optim.Adam(model.parameters()),
        torch.nn.functional.mse_loss,
        torch.utils.data.DataLoader(data, batch_size=32, shuffle=True),
        torch.utils.data.DataLoader(data, batch_size=128),
    )


def timeless(answer: Any) -> str:
    """An answer as JSON, without what the clock has said."""
    trials = [msgspec.structs.replace(trial, seconds=0.0) for trial in answer.trials]
    timed: dict[str, Any] = {"seconds": 0.0, "trials": trials}
    if getattr(answer, "decay", None) is not None:
        fall = msgspec.structs.replace(answer.decay.trial, seconds=0.0)
        timed["decay"] = msgspec.structs.replace(answer.decay, trial=fall)
    return msgspec.structs.replace(answer, **timed).to_json()


def assert_alike(one: Any, other: Any, rel: float = 1e-6) -> None:
    """Compare what JSON holds to rounding, as two processors differ."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_alike(value, other[name], rel)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_alike(mine, theirs, rel)
    elif isinstance(one, float) and isinstance(other, float):
        assert one == pytest.approx(other, rel=rel, abs=1e-9, nan_ok=True)
    else:
        assert agree(one, other), f"{one} and {other}"


def curves(answer: Any) -> list[bytes]:
    """All learning curves of an answer, bit for bit."""
    columns = [{"epoch": trial.curve.epochs, **trial.curve.metrics} for trial in answer.trials]
    return [b" ".join(name.encode() + values.tobytes() for name, values in sorted(one.items())) for one in columns]


def descendants(of: int | None = None) -> list[int]:
    """The processes that this one, or another, has started, and theirs, zombies left out."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found = [of or os.getpid()]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


_BEFORE: set[int] = set()


def remember_processes() -> None:
    """Take note of what other tests have left running, such as the workers that joblib keeps."""
    _BEFORE.clear()
    _BEFORE.update(descendants())


def newcomers() -> list[int]:
    """The processes that were started since, and still run."""
    return [one for one in descendants() if one not in _BEFORE]
