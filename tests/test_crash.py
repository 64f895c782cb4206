"""A driver that is killed at random moments, its workers too, and goes on until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from _crash_driver import work
from _engine_problems import descendants
from learnrate.study import Study

HERE = Path(__file__).parent


def started(verb: str, folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Start a driver, and wait until it trains."""
    before = size_of(folder / "log")
    path = os.pathsep.join([*sys.path])
    arguments = [sys.executable, str(HERE / "_crash_driver.py"), verb, str(folder), str(seconds)]
    driver = subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": path})
    while size_of(folder / "log") == before and driver.poll() is None:
        time.sleep(0.005)
    return driver


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def acknowledged(folder: Path) -> dict[tuple[int, float], float]:
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    return {(int(one[1]), float(one[2][11:-1])): float(one[3][11:-1]) for one in lines if one[0] == "epoch"}


def require_all_acknowledged(folder: Path) -> None:
    with Study.read(folder / "study") as study:
        trials = study.trials()
    assert len({trial.number for trial in trials}) == len(trials)
    rows = {
        (trial.number, epoch): value
        for trial in trials
        if "val_loss" in trial.curve.metrics
        for epoch, value in zip(trial.curve.epochs.tolist(), trial.curve.values("val_loss").tolist(), strict=True)
    }
    missing = {place: value for place, value in acknowledged(folder).items() if rows.get(place) != value}
    assert not missing, "epochs that were reported are lost"


def require_no_process(processes: list[int]) -> None:
    deadline = time.monotonic() + 20
    while alive := [one for one in processes if is_alive(one)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def killed_until_done(verb: str, folder: Path, kills: int, seconds: float) -> None:
    """Kill the driver so often, at random moments, and each time look at what it has left; then let it finish."""
    moments = random.Random(f"{verb} {kills}")  # noqa: S311  # no secret
    rounds = 0
    while rounds < kills:
        driver = started(verb, folder, seconds)
        time.sleep(moments.uniform(0, 0.35))
        workers = descendants(driver.pid)
        if driver.poll() is not None:
            break
        rounds += 1
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        require_no_process(workers)
        require_all_acknowledged(folder)
    assert rounds >= kills / 2, f"it was done after {rounds} kills: train for longer"
    print(f"{verb}: {rounds} kills")  # noqa: T201  # pytest shows it where the test fails, or with -s
    assert started(verb, folder, 0.0).wait() == 0


@pytest.mark.parametrize("verb", ["select", "sweep", "workers", "search", "search workers"])
@pytest.mark.parametrize(
    ("kills", "seconds"), [(10, 0.06), pytest.param(40, 0.2, marks=pytest.mark.slow)], ids=["ten", "forty"]
)
def test_a_driver_that_is_killed_again_and_again_comes_to_the_same_answer(tmp_path, verb, kills, seconds):
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    killed_until_done(verb, tmp_path / "killed", kills, seconds)
    expected = work("sweep" if verb == "workers" else verb, tmp_path / "whole", 0.0)
    assert (tmp_path / "killed" / "answer").read_text() == expected
    require_all_acknowledged(tmp_path / "killed")
    with Study.read(tmp_path / "killed" / "study") as killed, Study.read(tmp_path / "whole" / "study") as whole:
        numbers = [trial.number for trial in whole.trials()]
        assert [trial.number for trial in killed.trials()] == numbers
        assert killed.checkpoints() == whole.checkpoints()
        assert killed.holder() is None
    assert not list((tmp_path / "killed" / "study" / "checkpoints").glob(".*"))
    if verb in ("sweep", "workers"):
        require_nothing_finished_is_trained_again(tmp_path / "killed")


def require_nothing_finished_is_trained_again(folder: Path) -> None:
    finished: set[str] = set()
    for line in (folder / "log").read_text().splitlines():
        what, rate, *_ = line.split()
        assert what != "trained" or rate not in finished, f"the rate {rate} was finished, and is trained again"
        if what == "finished":
            finished.add(rate)


@pytest.mark.parametrize(
    ("verb", "seed"),
    [
        ("workers", 0),
        *(pytest.param("workers", seed, marks=pytest.mark.slow) for seed in (1, 2)),
        *(pytest.param("search workers", seed, marks=pytest.mark.slow) for seed in (3, 4, 5)),
    ],
)
def test_workers_that_are_killed_cost_no_trial(tmp_path, verb, seed):
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    moments = random.Random(seed)  # noqa: S311  # no secret
    driver = started(verb, tmp_path / "killed", 0.1)
    for _ in range(2):  # a third death of the same training would end it
        time.sleep(moments.uniform(0.2, 1.2))
        workers = descendants(driver.pid)
        if workers:
            os.kill(moments.choice(workers), signal.SIGKILL)
    assert driver.wait() == 0
    assert (tmp_path / "killed" / "answer").read_text() == work(
        "sweep" if verb == "workers" else verb, tmp_path / "whole", 0.0
    )
    require_all_acknowledged(tmp_path / "killed")


def test_killed_trainings_go_on_from_their_checkpoint_and_not_from_the_beginning(tmp_path):
    driver = started("sweep", tmp_path, 0.1)
    while " 30\n" not in (tmp_path / "log").read_text():  # six epochs of the first rate
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    assert started("sweep", tmp_path, 0.0).wait() == 0
    first = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("trained 0.01 ")]
    assert first.count("trained 0.01 0") == 1
