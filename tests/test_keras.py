"""KerasTrainable in each of Keras's backends: a process each, since a process has one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import learnrate

CASES = Path(__file__).with_name("_keras_cases.py")


def run(arguments, backend, **variables):
    paths = os.pathsep.join([str(Path(learnrate.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": paths} | variables
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_everything_holds_in_the_backend(backend):
    pytest.importorskip("keras")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = run(["-m", "pytest", str(CASES), "-p", "no:cacheprovider", "-x", "--tb=short"], backend)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_without_keras_the_message_tells_what_to_install(tmp_path):
    (tmp_path / "keras.py").write_text("raise ImportError('no keras here')")
    done = run(
        ["-c", "import learnrate; learnrate.KerasTrainable"],
        "torch",
        PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}:{Path(learnrate.__file__).parents[1]}",
    )
    assert "MissingExtraError" in done.stderr
    assert "pip install 'learnrate[keras]'" in done.stderr
