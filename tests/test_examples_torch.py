"""The PyTorch examples run as a user runs them, at a small setting, and leave the charts that they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("network", ["unetplusplus", "resnet34"])
def test_segmentation_sweeps_with_its_rules_and_keeps_the_best_weights(network, tmp_path):
    pytest.importorskip("monai", reason="the networks come from monai")
    small = ["--images", "22", "--size", "32", "--epochs", "2", "--rates", "2e-5", "5e-4"]
    printed = run(
        *("segmentation_torch.py", "--network", network, *small),
        *("--output", "charts.svg", "--json", "result.json", "--weights", "best.pt"),
        cwd=tmp_path,
    )
    assert "best: learning rate 5e-4" in printed
    assert (tmp_path / "charts.svg").read_text().startswith("<svg")
    result = json.loads((tmp_path / "result.json").read_text())
    assert [trial["hyperparameters"]["learning_rate"] for trial in result["trials"]] == [2e-5, 5e-4]
    assert len(result["settings"]["stopping"]) == 2
    torch = pytest.importorskip("torch")
    assert torch.load(tmp_path / "best.pt", weights_only=True)
