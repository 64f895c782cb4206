"""Results as real trainings leave them, made by formula: what charts and reports are tested with."""

from __future__ import annotations

import math

import numpy as np

from learnrate.curves import LearningCurve
from learnrate.results import (
    Break,
    Cost,
    Diagnosis,
    DiagnosisVerdict,
    Finding,
    RangeTest,
    Recommendation,
    Search,
    Sweep,
    Trial,
    TrialState,
    Verdict,
)

BEST = 2.1e-3


def bowl(learning_rate):
    """Final validation loss of a well-behaved problem, best at BEST."""
    return 0.083 + 0.09 * math.log10(learning_rate / BEST) ** 2


def trial(number, learning_rate, *, epochs=20, state=TrialState.COMPLETE, diagnosis=DiagnosisVerdict.HEALTHY, **fields):
    rng = np.random.default_rng(number)
    rows = np.arange(1.0, epochs + 1)
    final = min(bowl(learning_rate), 2.3)
    speed = min(learning_rate / BEST, 1.0) * 8 / epochs + 0.02
    falling = np.exp(-speed * rows)
    train = final * 0.7 + (2.3 - final) * falling + 0.004 * rng.standard_normal(epochs)
    rising = 0.02 * np.maximum(rows / epochs - 0.8, 0)
    val = final + (2.3 - final) * falling + rising + 0.008 * rng.standard_normal(epochs)
    metrics = {
        "loss": train,
        "val_loss": val,
        "accuracy": np.clip(1 - train / 2.5, 0, 1),
        "val_accuracy": np.clip(1 - val / 2.5, 0, 1),
    }
    if state is TrialState.DIVERGED:
        for values in metrics.values():
            values[epochs // 4 :] = np.nan
        metrics["loss"][epochs // 4 - 1] = 3.2e8
    curve = LearningCurve(epochs=rows, metrics=metrics)
    best = curve.best("val_loss", "min")
    settings = {
        "number": number,
        "hyperparameters": {"learning_rate": learning_rate},
        "state": state,
        "curve": curve,
        "value": None if best is None else best.value,
        "seed": 0,
        "seconds": 1.25 * epochs,
        "epochs": float(epochs),
        "horizon": float(epochs),
        "stage": "confirm",
        "diagnosis": diagnosis
        and Diagnosis(
            verdict=diagnosis,
            findings=[Finding(kind="plateau", strength=0.4, evidence="the last 3 epochs gained 0.4 %")],
            evidence="the validation loss fell until epoch 17 and then stayed.",
            advice="Stop at epoch 17.",
        ),
    }
    return Trial(**(settings | fields))


def trials(epochs=20):
    """A handful of trials, one of each state and diagnosis."""
    short_run = {"stage": "screen", "horizon": 5.0}
    kinds = DiagnosisVerdict
    return [
        trial(0, 3e-5, epochs=5, diagnosis=kinds.TOO_SLOW, state=TrialState.PRUNED, **short_run),
        trial(1, 2e-4, epochs=5, diagnosis=kinds.TOO_SLOW, **short_run),
        trial(2, 7e-4, epochs=epochs, diagnosis=kinds.HEALTHY),
        trial(3, BEST, epochs=epochs, diagnosis=kinds.OVERFITTING),
        trial(4, 7e-3, epochs=epochs, diagnosis=kinds.OSCILLATING),
        trial(5, 3e-2, epochs=epochs, diagnosis=kinds.DIVERGED, state=TrialState.DIVERGED, value=2.4),
        trial(6, 1e-1, epochs=epochs, state=TrialState.DIVERGED, diagnosis=kinds.DIVERGED, value=None),
        trial(7, 1e-3, epochs=5, state=TrialState.FAILED, error="CUDA out of memory", diagnosis=None, **short_run),
    ]


def range_test(**fields):
    rates = np.geomspace(1e-6, 1e-1, 420)
    rng = np.random.default_rng(1)
    smoothed = 2.3 - 1.6 / (1 + (BEST * 0.5 / rates) ** 1.5) + (rates / 3e-2) ** 2
    losses = smoothed + 0.08 * rng.standard_normal(len(rates))
    losses[-1] = np.nan
    settings = {
        "learning_rates": rates,
        "losses": losses,
        "smoothed": smoothed,
        "loss_changes": np.gradient(smoothed),
        "metric": "loss",
        "suggestions": {"valley": 1.1e-3, "steepest": 1.1e-3, "slide": 9e-3, "minimum": 8.5e-3, "minimum / 10": 8.5e-4},
        "learning_rate": 1.9e-3,
        "verdict": Verdict.FOUND,
        "cliff": 6e-2,
        "seed": 0,
        "cost": 0.21,
        "seconds": 12.3,
        "settings": {"min_learning_rate": 1e-6, "max_learning_rate": 1.0, "num_steps": 400},
    }
    return RangeTest(**(settings | fields))


def recommendation(**fields):
    settings = {
        "learning_rate": BEST,
        "interval": (7e-4, 7e-3),
        "confidence": 0.77,
        "breaks": Break(held=7e-3, held_epochs=20.0, broke=3e-2, broke_epochs=5.0),
        "epochs": 17.0,
        "horizon": 20,
        "value": 0.083,
        "untrained": 2.31,
        "reference": 2.31,
        "metric": "val_loss",
        "mode": "min",
        "cost": 1.9,
        "budget": 2.0,
        "verdict": Verdict.FOUND,
        "slower": [
            Cost(learning_rate=BEST / 3, low=0.0, high=0.05, values=(0.083, 0.194), measured=False),
            Cost(learning_rate=BEST / 10, low=0.02, high=0.24, values=(0.128, 0.617), measured=False),
        ],
        "yours": Cost(learning_rate=1e-3, low=0.03, high=0.03, values=(0.15, 0.15), measured=True),
        "trials": trials(),
        "schedule": {"name": "cosine", "settings": {"final_fraction": 0.0, "warmup_fraction": 0.1, "num_epochs": None}},
        "seed": 0,
        "seconds": 192.0,
        "warnings": ["the validation data has 150 samples: differences under 0.7 % are noise"],
        "settings": {"epochs": 20, "budget": 2.0, "schedule": "cosine", "optimizer": "AdamW"},
    }
    return Recommendation(**(settings | fields))


def sweep(**fields):
    settings = {
        "trials": trials(),
        "metric": "val_loss",
        "mode": "min",
        "learning_rate": BEST,
        "value": 0.083,
        "epochs": 17.0,
        "horizon": 20,
        "untrained": 2.31,
        "verdict": Verdict.FOUND,
        "cost": 6.2,
        "seed": 0,
        "seconds": 160.0,
        "settings": {"epochs": 20},
    }
    return Sweep(**(settings | fields))


OPTIMIZERS = ("sgd", "adam", None)


def searched(number, **fields):
    """A trial of a search: the smaller its number, the better."""
    values = {
        "learning_rate": 10.0 ** (-1 - number % 4),
        "width": 16 * (1 + number),
        "optimizer": OPTIMIZERS[number % 3],
    }
    value = 0.1 + 0.05 * number
    return trial(number, BEST, **({"hyperparameters": values, "value": value, "diagnosis": None, "epochs": 6} | fields))


def search(**fields):
    trials = [searched(number) for number in range(12)]
    trials[10] = searched(10, state=TrialState.DIVERGED, value=None)
    trials[11] = searched(11, state=TrialState.FAILED, value=None, error="CUDA out of memory")
    settings = {
        "hyperparameters": trials[0].hyperparameters,
        "learning_rate": 0.1,
        "value": trials[0].value,
        "standard_error": None,
        "epochs": 5.0,
        "horizon": 6,
        "metric": "val_loss",
        "mode": "min",
        "trials": trials,
        "importance": {"learning_rate": 0.72, "width": 0.25, "optimizer": 0.03},
        "order": [["learning_rate", "width", "optimizer"]],
        "verdict": Verdict.FOUND,
        "cost": 11.5,
        "budget": 12.0,
        "seed": 0,
        "seconds": 61.0,
        "settings": {
            "space": {
                "learning_rate": {"kind": "log_uniform", "low": 1e-4, "high": 0.1},
                "width": {"kind": "integers", "low": 16, "high": 256, "log": True},
                "optimizer": {"kind": "choice", "values": list(OPTIMIZERS)},
            },
            "schedule": {"name": "cosine", "settings": {"warmup_fraction": 0.1}},
            "epochs": 6,
            "sampler": "tpe",
            "budget": None,
        },
    }
    return Search(**(settings | fields))
