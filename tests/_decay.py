"""What must hold of a training whose rate `select` took to zero, whatever trains it."""

from __future__ import annotations

from typing import Any

import numpy as np

import learnrate
from learnrate import schedules


def assert_the_fall_is_one_training(problem: Any, *, epochs: int = 10) -> None:
    """The fall goes on from the constant training's weights as if it had been trained on its schedule all along."""
    answer = learnrate.select(problem, epochs=epochs)
    decay = answer.decay
    assert decay is not None
    fraction = (epochs - decay.first_epoch) / epochs
    maker = schedules.by_name("warmup_stable_decay", decay_fraction=fraction, shape="linear", warmup_fraction=0.0)
    whole = learnrate.sweep(problem, [answer.learning_rate], epochs=epochs, schedule=maker).trials[0]
    fallen = decay.trial
    at = [place for place, epoch in enumerate(fallen.curve.epochs) if epoch in whole.curve.epochs]
    assert len(at) >= epochs - decay.first_epoch
    np.testing.assert_array_equal(
        fallen.curve.values(answer.metric)[at],
        whole.curve.values(answer.metric)[np.isin(whole.curve.epochs, fallen.curve.epochs)],
    )
    values = [trial.value for trial in (*answer.trials, fallen) if trial.value is not None]
    assert answer.value == min(values)
    assert answer.schedule["name"] == ("warmup_stable_decay" if decay.is_better else "constant")
