"""The examples run as they stand, here with few images and epochs, and draw their charts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import learnrate

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "settings", "needs", "said"),
    [
        ("range_test_keras.py", ["--epochs", "6"], "keras", ["SGD: ", "Adam: "]),
        ("constant_rates_keras.py", ["--epochs", "2", "--rates", "1e-3", "1e-2"], "keras", ["0.01: ", "best:"]),
        ("constant_rates_torch.py", ["--epochs", "2", "--rates", "1e-3", "1e-2"], "torch", ["0.01: ", "best:"]),
        ("decay_keras.py", ["--epochs", "2"], "keras", ["0.95 an epoch", "schedule in the optimizer"]),
        ("cyclical_torch.py", ["--epochs", "4"], "torch", ["CyclicLR", "triangular2 by epoch: 0.0001"]),
    ],
)
def test_the_example_runs_and_draws(name, settings, needs, said, tmp_path):
    for package in (needs, "torch", "mlxtend", "sklearn"):
        pytest.importorskip(package)
    paths = os.pathsep.join([str(Path(learnrate.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"KERAS_BACKEND": "torch", "PYTHONPATH": paths}
    picture = tmp_path / "picture.png"
    command = [sys.executable, str(EXAMPLES / name), "--samples", "600", *settings, "--output", str(picture)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for words in said:
        assert words in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [it.name for it in tmp_path.iterdir()] == ["picture.png"]
