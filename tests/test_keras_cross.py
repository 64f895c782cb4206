"""One model in PyTorch, Keras and JAX, from the same weights over the same batches, gives the same curve and answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import learnrate

SCRIPT = Path(__file__).with_name("_keras_cross.py")


def answers(framework, optimizer, backend="tensorflow"):
    paths = os.pathsep.join([str(Path(learnrate.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": paths}
    command = [sys.executable, str(SCRIPT), framework, optimizer]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_frameworks_agree(optimizer):
    for package in ("torch", "keras", "jax", "optax", "tensorflow"):
        pytest.importorskip(package)
    found = {
        "torch": answers("torch", optimizer),
        "jax": answers("jax", optimizer),
        "keras": answers("keras", optimizer, "torch" if optimizer == "sgd" else "tensorflow"),
    }
    reference = found["torch"]
    lowest = int(np.argmin(reference["losses"])) + 1
    for name in ("jax", "keras"):
        difference = np.abs(np.subtract(found[name]["losses"][:lowest], reference["losses"][:lowest])).max()
        assert difference < 1e-4, name
        low, high = reference["interval"]
        assert low <= found[name]["rate"] <= high, name
