"""What SECURITY.md promises."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import learnrate
from learnrate._command.printable import printable
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError, StudyError
from learnrate.results import Trial, TrialState
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable

SCRIPT = "import sys; open('ran', 'a').write('x'); print('val_loss: 0.5')"
EVIL = "loss\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"


def cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": path, "XDG_STATE_HOME": str(folder / "state")}
    program = [sys.executable, "-c", "from learnrate.cli import main; main()", *arguments]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with a study that its owner has begun, of a command, and that is not finished."""
    command = [sys.executable, "-c", SCRIPT, "{learning_rate}", "; touch shell $(touch shell)"]
    done = cli(tmp_path, "sweep", "--epochs", "1", "--learning-rates", "0.1,0.2", "--study", "kept", "--", *command)
    assert done.returncode == 0, done.stderr
    with Study.read(tmp_path / "kept") as study:
        settings, identity = study.settings, study.identity
    for name in ("study.sqlite", "study.sqlite-wal", "study.sqlite-shm"):
        (tmp_path / "kept" / name).unlink(missing_ok=True)
    (tmp_path / "ran").unlink()
    kept = {name: (tmp_path / "kept" / name).read_bytes() for name in ("cli.json", "cli.signature")}
    for name in kept:
        (tmp_path / "kept" / name).unlink()
    subprocess.run(["rm", "-rf", tmp_path / "kept"], check=True)  # noqa: S607  # the plainest way
    Study.open(tmp_path / "kept", verb="sweep", settings=settings, identity=identity).close()
    for name, content in kept.items():
        (tmp_path / "kept" / name).write_bytes(content)
    return tmp_path


def test_no_shell_reads_a_command(begun):
    assert not (begun / "shell").exists()


def test_ones_own_study_is_resumed_without_being_asked(begun):
    assert cli(begun, "resume", "kept").returncode == 0
    assert (begun / "ran").exists()


@pytest.mark.parametrize("how", ["of another machine", "altered", "unsigned", "nonsense"])
def test_what_a_study_from_elsewhere_would_run_is_shown_and_not_run(begun, how):
    if how == "of another machine":
        (begun / "state" / "learnrate" / "key").write_bytes(bytes(32))
    if how == "altered":
        kept = json.loads((begun / "kept" / "cli.json").read_text())
        kept["command"][2] += "; print()"
        (begun / "kept" / "cli.json").write_text(json.dumps(kept))
    if how == "unsigned":
        (begun / "kept" / "cli.signature").unlink()
    if how == "nonsense":
        (begun / "kept" / "cli.signature").write_bytes(b"\xff\x00")
    refused = cli(begun, "resume", "kept")
    assert refused.returncode == 2
    assert "not begun by you" in refused.stderr
    assert "val_loss: 0.5" in refused.stderr
    assert "--trust" in refused.stderr
    assert not (begun / "ran").exists()
    if how == "unsigned":
        assert cli(begun, "status", "kept").returncode == 0
        assert not (begun / "ran").exists()
        assert cli(begun, "resume", "kept", "--trust").returncode == 0
        assert (begun / "ran").exists()


def test_the_key_is_for_its_owner_alone(begun):
    assert (begun / "state" / "learnrate" / "key").stat().st_mode & 0o077 == 0


def test_control_characters_in_a_study_reach_no_terminal(tmp_path):
    trial = Trial(
        number=0,
        hyperparameters={"learning_rate": 0.1},
        state=TrialState.COMPLETE,
        curve=LearningCurve(epochs=np.array([1.0]), metrics={EVIL: np.array([0.5])}),
        value=0.5,
        seed=0,
        seconds=1.0,
        stage=EVIL,
        error=EVIL,
    )
    settings = {"epochs": 1, "metric": EVIL, "mode": "min"}
    with Study.open(tmp_path / "kept", verb="sweep", settings=settings, identity={}) as study:
        study.start(trial, "a")
        study.finish("a", trial)
    for arguments in (("status", "kept"), ("report", "kept"), ("resume", "kept"), ("status", "none" + EVIL)):
        shown = cli(tmp_path, *arguments)
        for one in "\x1b\x07\u202e\x9b":
            assert one not in shown.stdout + shown.stderr, arguments
    assert "\\x1b[2J" in cli(tmp_path, "status", "kept").stdout


def test_ordinary_text_is_shown_as_it_is():
    assert printable("Größe 0.1 → 学习率 ▁▂▃\n\tπ 🙂") == "Größe 0.1 → 学习率 ▁▂▃\n\tπ 🙂"


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/b", ".hidden", "", "a\x00b", "..", "C:evil"])
def test_no_checkpoint_leaves_its_folder(tmp_path, name):
    with Study.open(tmp_path / "kept", verb="sweep", settings={}, identity={}) as study:
        for use in (study.checkpoint, study.drop_checkpoint, lambda one: study.write_checkpoint(one, Path.touch)):
            with pytest.raises(InvalidArgumentError):
                use(name)


def test_links_in_a_study_are_refused(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with Study.open(tmp_path / "kept", verb="sweep", settings={}, identity={}) as study:
        (study.folder / "checkpoints" / "trial-0-step-1").symlink_to(tmp_path / "secret")
        with pytest.raises(StudyError, match="link"):
            study.checkpoint("trial-0-step-1")
    (tmp_path / "kept" / "cli.json").symlink_to(tmp_path / "secret")
    with pytest.raises(StudyError, match="links"):
        Study.read(tmp_path / "kept")


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["quadratic", "torch", "sklearn", "jax"])
def test_a_checkpoint_that_is_a_pickle_is_not_unpickled(tmp_path, kind):
    problem = QuadraticTrainable()
    if kind == "torch":
        pytest.importorskip("torch")
        from _engine_problems import network

        problem = network()
    if kind == "sklearn":
        model = pytest.importorskip("sklearn.linear_model").SGDClassifier()
        samples, labels = np.zeros((8, 2)), np.arange(8) % 2
        problem = learnrate.SklearnTrainable(model, samples, labels, validation_fraction=0)
    if kind == "jax":
        pytest.importorskip("jax")
        import optax

        problem = learnrate.JaxTrainable({"w": np.ones(2)}, lambda w, b: (w["w"] * b).sum(), optax.sgd, np.ones((4, 2)))
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    (tmp_path / "checkpoint").write_bytes(bomb)
    np.save(tmp_path / "array", np.array([Bomb(tmp_path / "exploded")], dtype=object), allow_pickle=True)
    for path in (tmp_path / "checkpoint", tmp_path / "array.npy"):
        with pytest.raises(Exception, match=r".*"):  # each format has its own
            problem.load(path)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)  # noqa: S301  # the bomb works
    assert (tmp_path / "exploded").exists()


def test_pickles_are_read_by_the_engines_alone():
    package = Path(learnrate.__file__).parent
    for path in package.rglob("*.py"):
        names = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in (
                [*node.names, ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names
            )
        }
        assert not names & {"pickle", "cloudpickle", "dill", "shelve", "marshal"} or path.parent.name == "engines", path
