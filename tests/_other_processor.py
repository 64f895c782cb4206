"""A processor of another kind: this one without its newer instructions, so that computed numbers have other bits.

As a program it asks a verb: python _other_processor.py VERB [STUDY].
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import _multiarray_umath

import learnrate
from _engine_problems import timeless
from learnrate.testing import QuadraticTrainable

VERBS = ("sweep", "select", "search")


def other_arithmetic() -> dict[str, str]:
    """Return the environment in which numpy, the C library and the frameworks take older instructions."""
    has: dict[str, bool] = _multiarray_umath.__cpu_features__
    newer = [name for name in _multiarray_umath.__cpu_dispatch__ if has.get(name)]
    return os.environ | {
        "ATEN_CPU_CAPABILITY": "default",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA",
        "NPY_DISABLE_CPU_FEATURES": " ".join(newer),
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Prescott",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    }


def computed(low: float, high: float, count: int) -> Any:
    """Return numbers whose last digit depends on the processor; more of them do in single precision."""
    return np.exp(np.linspace(np.log(low), np.log(high), count, dtype=np.float32)).astype(np.float64)


def problem() -> QuadraticTrainable:
    """Build a problem that computed numbers describe."""
    return QuadraticTrainable(computed(0.01, 1.0, 20), steps_per_epoch=5)


def build(shrinkage: float, train: Any, validation: Any, epochs: int = 1) -> Any:
    """Fit a line, its slope shrunk, and report its error."""
    slope = train[0][:, 0] @ train[1] / (train[0][:, 0] @ train[0][:, 0] + shrinkage)
    for epoch in range(epochs):
        slope = slope * (1 - 0.1 / (1 + epoch))
        yield {"val_loss": float(np.mean((validation[0][:, 0] * slope - validation[1]) ** 2))}


def ask(verb: str, study: Path | None = None, on_event: Any = None) -> Any:
    """Ask a verb what computed numbers decide: the problem, its learning rates, a space, standardised targets."""
    asked: dict[str, Any] = {"study": study, "on_event": on_event}
    if verb == "sweep":
        return learnrate.sweep(problem(), computed(1e-3, 3.0, 7), epochs=6, **asked)
    if verb == "select":
        return learnrate.select(problem(), epochs=6, **asked)
    generator = np.random.default_rng(0)
    x = np.exp(generator.standard_normal((60, 2)))
    y = np.tanh(x.sum(axis=1) / 5)
    data = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    space = {"shrinkage": list(computed(0.3, 70.0, 5))}
    return learnrate.search(build, space, epochs=2, num_trials=4, sampler="random", data=data, cv=3, **asked)


def stopped(verb: str, study: Path, events: int) -> None:
    """Ask, and stop after so many events as Ctrl-C would."""
    count = itertools.count()

    def stop(_: object) -> None:
        if next(count) == events:
            raise KeyboardInterrupt

    try:
        ask(verb, study, stop)
    except KeyboardInterrupt:
        return
    raise AssertionError(f"{verb} was done before it was stopped")


if __name__ == "__main__":
    print(timeless(ask(sys.argv[1], *map(Path, sys.argv[2:]))))  # noqa: T201  # what the test reads
