"""Which learning rate, with which schedule, for how many epochs, and how sure: found by training.

>>> import learnrate
>>> problem = learnrate.TorchTrainable(model, optimizer, loss_fn, train_loader, validation_loader)  # doctest: +SKIP
>>> print(learnrate.select(problem, epochs=20))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learnrate import charts, logs, schedules, stopping, testing
    from learnrate._compare import compare
    from learnrate._diagnose import diagnose
    from learnrate._range_test import range_test
    from learnrate._report import report
    from learnrate._search import search
    from learnrate._searching.halving import Halving
    from learnrate._searching.space import choice, integers, log_uniform, uniform
    from learnrate._select import select
    from learnrate._sweep import sweep
    from learnrate._watch import watch
    from learnrate.adapters.command import CommandTrainable
    from learnrate.adapters.function import FunctionTrainable
    from learnrate.adapters.jax import JaxTrainable
    from learnrate.adapters.keras import KerasTrainable
    from learnrate.adapters.sklearn import SklearnTrainable
    from learnrate.adapters.torch import TorchTrainable
    from learnrate.curves import LearningCurve
    from learnrate.engines.local import LocalEngine
    from learnrate.engines.ray import RayEngine
    from learnrate.results import (
        Diagnosis,
        RangeTest,
        Recommendation,
        Search,
        Sweep,
        Trial,
        TrialState,
        Verdict,
    )
    from learnrate.training import Trainable

__version__ = "0.1.0"

__all__ = [
    "CommandTrainable",
    "Diagnosis",
    "FunctionTrainable",
    "Halving",
    "JaxTrainable",
    "KerasTrainable",
    "LearningCurve",
    "LocalEngine",
    "RangeTest",
    "RayEngine",
    "Recommendation",
    "Search",
    "SklearnTrainable",
    "Sweep",
    "TorchTrainable",
    "Trainable",
    "Trial",
    "TrialState",
    "Verdict",
    "__version__",
    "charts",
    "choice",
    "compare",
    "diagnose",
    "integers",
    "log_uniform",
    "logs",
    "range_test",
    "report",
    "schedules",
    "search",
    "select",
    "stopping",
    "sweep",
    "testing",
    "uniform",
    "watch",
]

_HOMES = {
    "CommandTrainable": "learnrate.adapters.command",
    "Diagnosis": "learnrate.results",
    "FunctionTrainable": "learnrate.adapters.function",
    "Halving": "learnrate._searching.halving",
    "JaxTrainable": "learnrate.adapters.jax",
    "KerasTrainable": "learnrate.adapters.keras",
    "LearningCurve": "learnrate.curves",
    "LocalEngine": "learnrate.engines.local",
    "RangeTest": "learnrate.results",
    "RayEngine": "learnrate.engines.ray",
    "Recommendation": "learnrate.results",
    "Search": "learnrate.results",
    "SklearnTrainable": "learnrate.adapters.sklearn",
    "Sweep": "learnrate.results",
    "TorchTrainable": "learnrate.adapters.torch",
    "Trainable": "learnrate.training",
    "Trial": "learnrate.results",
    "TrialState": "learnrate.results",
    "Verdict": "learnrate.results",
    "choice": "learnrate._searching.space",
    "compare": "learnrate._compare",
    "diagnose": "learnrate._diagnose",
    "integers": "learnrate._searching.space",
    "log_uniform": "learnrate._searching.space",
    "range_test": "learnrate._range_test",
    "report": "learnrate._report",
    "search": "learnrate._search",
    "select": "learnrate._select",
    "sweep": "learnrate._sweep",
    "uniform": "learnrate._searching.space",
    "watch": "learnrate._watch",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing learnrate loads no framework and costs nothing."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"learnrate.{name}")
    else:
        msg = f"module 'learnrate' has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
