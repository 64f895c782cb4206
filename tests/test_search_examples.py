"""The searches of the examples run as they stand, at small sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_grid_search_over_a_multilayer_perceptron_says_its_best_parameters_and_accuracy():
    said = run(
        "grid_search_sklearn.py",
        *["--samples", "150", "--points", "3", "--max-iter", "5", "10", "--folds", "2", "--jobs", "1"],
    )
    assert "best parameters: {'hidden_layer_sizes'" in said
    assert "accuracy over the folds" in said


def test_random_search_over_a_keras_network_says_its_best_parameters_and_average_precision():
    pytest.importorskip("tensorflow")
    said = run("random_search_keras.py", *["--trials", "1", "--folds", "2", "--epochs", "1"])
    assert "val_average_precision" in said
    assert "f1 on the test set" in said
