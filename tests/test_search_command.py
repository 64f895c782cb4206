"""`learnrate search` from the shell: the space as text, a file's function, any command, and going on."""

from __future__ import annotations

import json
import sys

import pytest

import learnrate
from learnrate import cli
from learnrate._searching.space_text import described_space, space_of, texts_of
from learnrate.errors import InvalidArgumentError
from learnrate.testing import QuadraticTrainable
from test_cli import run, same_but_for_time

USERS_FILE = """
from pathlib import Path

from learnrate.testing import QuadraticTrainable


def build(noise, sizes=()):
    assert isinstance(sizes, tuple)
    calls = Path(__file__).with_name("calls")
    count = int(calls.read_text()) if calls.exists() else 0
    calls.write_text(str(count + 1))
    if count == 5:
        raise KeyboardInterrupt
    return QuadraticTrainable(noise=noise)
"""
SPACE = [
    "--space",
    "learning_rate=log_uniform(1e-3, 10)",
    "--space",
    "noise=[0.0, 0.1]",
    "--space",
    "sizes=[(4,), (2, 2)]",
]
ASKED = ["search", "train.py:build", *SPACE, "--epochs", "2", "--num-trials", "8"]

SCRIPT = """
import argparse, math

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--width", type=int)
parser.add_argument("--epochs", type=int)
options = parser.parse_args()
for epoch in range(1, options.epochs + 1):
    print(f"epoch {epoch}: val_loss={math.log10(options.lr / 0.03) ** 2 + 1 / epoch + 1 / options.width}")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(USERS_FILE)
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_interrupted_search_goes_on_untold_and_gives_the_uninterrupted_answer(folder):
    stopped = run(*ASKED, "--study", "kept", "--report", "live.html")
    assert stopped.exit_code == 1
    assert "trial 4, learning_rate " in stopped.stderr
    assert "best so far: trial " in stopped.stderr
    assert "go on by learnrate resume kept" in stopped.stderr
    assert "Interrupted: search, best so far val_loss" in (folder / "live.html").read_text()

    assert "trainings: 5 complete, 1 interrupted" in run("status", "kept").stdout
    standing = json.loads(run("status", "kept", "--json").stdout)
    assert standing["trials"] == {"complete": 5, "interrupted": 1}
    run("report", "kept", "--output", "standing.html")
    assert "Go on by <code>learnrate resume " in (folder / "standing.html").read_text()

    resumed = run("resume", "kept", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    fresh = run(*ASKED, "--json")  # the file counts on: it does not stop again
    assert same_but_for_time(resumed.stdout, fresh.stdout)
    space = {"learning_rate": learnrate.log_uniform(1e-3, 10), "noise": [0.0, 0.1], "sizes": [(4,), (2, 2)]}

    def build(noise, sizes):
        del sizes
        return QuadraticTrainable(noise=noise)

    same = learnrate.search(build, space, epochs=2, num_trials=8)
    assert learnrate.Search.from_json(fresh.stdout).value == same.value
    assert "search: finished" in run("status", "kept").stdout
    assert "report: kept/report.html" in run("report", "kept").stderr
    assert "Best of 8 trials" in (folder / "kept/report.html").read_text()


@pytest.mark.parametrize(
    "options",
    [
        ["--num-trials", "8", "--halving", "successive"],
        ["--num-trials", "8", "--stages", "auto", "--budget", "8"],
        ["--budget", "3"],
    ],
)
def test_halving_stages_and_rounds_are_gone_on_with_as_they_were_begun(folder, options, monkeypatch):
    (folder / "calls").write_text("9")
    space = ["--space", "learning_rate=log_uniform(1e-3, 10)", "--space", "noise=[0.0, 0.1]"]
    asked = ["search", "train.py:build", *space, "--epochs", "3", *options, "--study", "kept"]
    once = run(*asked, "--json")
    assert once.exit_code == 0, once.stderr
    monkeypatch.setattr(cli, "result_of", lambda _: None)  # as if the last moment had been lost
    again = run("resume", "kept", "--json")
    assert same_but_for_time(once.stdout, again.stdout)


def test_a_command_is_searched_by_places_of_any_name(folder, monkeypatch):
    command = ["--", sys.executable, "script.py", "--lr", "{lr}", "--width", "{width}", "--epochs", "{epochs}"]
    (folder / "space.py").write_text("lr = log_uniform(1e-4, 1)  # wide\nwidth = choice(8, 64)\n")
    asked = ["search", "--space", "space.py", "--epochs", "2", "--num-trials", "4", "--study", "kept"]
    once = run(*asked, *command)
    assert once.exit_code == 0, once.stderr
    assert "lr 0." in once.stdout.splitlines()[0]
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    monkeypatch.chdir("/")
    again = run("resume", folder / "kept")
    assert again.stdout == once.stdout, again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train.py:build", "--space", "noise=0.1"], "noise=0.1 is no space"),
        (["train.py:build", "--space", "noise=log_unifrm(1, 2)"], "did you mean log_uniform"),
        (["train.py:build", "--space", "noise=choice(__import__('os'))"], "is no number, text or list"),
        (["train.py:build", "--space", "noise=uniform(2, 1)"], "noise=uniform(2, 1): uniform(2, 1): the first bound"),
        (["train.py:build", "--space", "noise=["], "cannot be read"),
        (["train.py:build", "--space", "noise=" + "[" * 5000], "cannot be read"),
        (["train.py:build", "--space", "noise"], "neither NAME=VALUES"),
        (["train.py:build", "--space", "noise=[1]", "--space", "noise=[2]"], "twice"),
        (["train.py:build", "--space", "niose=[1]"], "did you mean noise"),
        (["train.py:build", "--space", "noise=[1]", "--learning-rate", "fast"], 'neither a number nor "select"'),
        (["train.py:build", "--space", "noise=[1, 2]", "--sampler", "grid", "--num-trials", "1"], "grid has 2 points"),
        (["--space", "widht=[1]", "--", sys.executable, "script.py", "{width}"], "did you mean width"),
        (["--space", "a=[1]", "--", sys.executable, "script.py", "{a}", "{learning_rate}"], "put learning_rate into"),
        (["--space", "learning_rate=[1]", "--", sys.executable, "script.py", "{epochs}"], "has no {learning_rate}"),
        (["--space", "a=[1]", "--", sys.executable, "script.py", "{a:.3f}"], "write {a}"),
        (["--space", "a=[1]", "--", sys.executable, "script.py", "{"], "has a brace alone"),
        (["--space", "lambda=[1]", "--", sys.executable, "script.py", "{lambda}"], "write {lambda_}"),
        (["--space", "a=[1]", "--", "no-such-program", "{a}"], "no program"),
        (["--space", "a=[1]", "python", "script.py", "--lr", "{a}"], "put -- before the command"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_wrong_usage(folder, arguments, says):
    done = run("search", "--epochs", 2, *arguments)
    assert done.exit_code == 2, done.stderr
    assert says in done.stderr
    assert len(done.stderr) < 1000
    assert not (folder / "calls").exists()


def test_a_space_is_read_as_text_and_never_run():
    texts = texts_of(
        ["lr=log_uniform(1e-4, 1)", "w=integers(16, 128, log=True)", "n=choice(None, -1.5, adam, 'a b')", "x=[1]"]
    )
    assert space_of(texts) == {
        "lr": learnrate.log_uniform(1e-4, 1),
        "w": learnrate.integers(16, 128, log=True),
        "n": learnrate.choice([None, -1.5, "adam", "a b"]),
        "x": [1],
    }


def test_a_search_begun_in_python_goes_on_where_its_space_says_all(folder, monkeypatch):
    (folder / "calls").write_text("9")
    space = {"learning_rate": learnrate.log_uniform(1e-3, 10), "noise": [0.0, 0.1]}

    def build(noise):
        return QuadraticTrainable(noise=noise)

    build.__qualname__ = "build"
    begun = learnrate.search(build, space, epochs=2, num_trials=3, study="kept")
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    resumed = run("resume", "kept", "train.py:build", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert learnrate.Search.from_json(resumed.stdout).value == begun.value
    with pytest.raises(InvalidArgumentError, match="from Python again"):
        described_space({"activation": {"kind": "choice", "values": ["<function relu>"]}})


def test_a_search_goes_on_with_its_workers_and_has_no_vectorized(folder, monkeypatch):
    (folder / "calls").write_text("9")
    engines = []

    def engine(**settings):
        engines.append(settings)

    monkeypatch.setattr(learnrate, "LocalEngine", engine)
    run(*ASKED, "--study", "kept", "--workers", "2")
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    assert run("resume", "kept").exit_code == 0
    assert engines == [{"num_workers": 2}] * 2
    refused = run("resume", "kept", "--vectorized", "on")
    assert refused.exit_code == 2
    assert "leave --vectorized out" in refused.stderr


def test_a_search_in_one_stage_of_another_order_goes_on(folder):
    asked = ["search", "train.py:build", *SPACE, "--stages", "sizes,noise,learning_rate", *ASKED[-4:]]
    assert run(*asked, "--study", "kept").exit_code == 1
    resumed = run("resume", "kept", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert same_but_for_time(resumed.stdout, run(*asked, "--json").stdout)


@pytest.mark.parametrize(("count", "says"), [(8, "5 trials failed one after"), (2, "all 2 trials failed")])
def test_a_study_of_failures_says_that_it_keeps_them(folder, count, says):
    (folder / "train.py").write_text("def build(noise):\n    raise OSError('no data')")
    asked = ["search", "train.py:build", *SPACE[:4], "--epochs", "2", "--num-trials", count]
    assert "keeps these failures" not in run(*asked).stderr
    for source in ("", USERS_FILE):  # the second time the cause is mended
        (folder / "train.py").write_text(source or (folder / "train.py").read_text())
        done = run(*asked, "--study", "kept")
        assert done.exit_code == 1
        assert says in done.stderr
        assert f"the study in {folder}/kept keeps these failures: mend their cause, and name" in done.stderr


def test_another_problem_is_no_going_on_with_the_study_of_this_one(folder):
    (folder / "calls").write_text("9")
    assert run(*ASKED, "--study", "kept").exit_code == 0
    (folder / "other.py").write_text((folder / "train.py").read_text())
    refused = run("search", "other.py:build", *ASKED[2:], "--study", "kept")
    assert refused.exit_code == 2
    assert f"kept is a study of {folder}/train.py:build, and this is {folder}/other.py:build" in refused.stderr
    refused = run(
        "search", *ASKED[2:], "--study", "kept", "--", sys.executable, "train.py", "{learning_rate}", "{noise}"
    )
    assert refused.exit_code == 2
    assert f"and this is {sys.executable} train.py" in refused.stderr
    (folder / "train.py").unlink()
    assert run("resume", "kept", "other.py:build").exit_code == 0


def test_every_training_of_a_command_has_its_own_number_and_outputs(folder):
    (folder / "numbered.py").write_text("import sys\nopen(f'{sys.argv[1]}.txt', 'x').close()\nprint('val_loss=1')\n")
    command = [sys.executable, "numbered.py", "{trial}", "{lr}"]
    asked = ["search", "--space", "lr=[0.1, 0.2, 0.3]", "--epochs", "1", "--workers", "2", "--study", "kept"]
    done = run(*asked, "--", *command)
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in folder.glob("?.txt")) == ["0.txt", "1.txt", "2.txt"]
    assert len(list((folder / "kept" / "outputs").iterdir())) == 3


def test_a_study_from_elsewhere_runs_nothing_before_it_is_trusted(folder, monkeypatch):
    (folder / "calls").write_text("9")
    run(*ASKED, "--study", "kept")
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    kept = folder / "kept" / "cli.json"
    kept.write_text(kept.read_text().replace("log_uniform(1e-3, 10)", "log_uniform(1e-3,10)"))
    refused = run("resume", "kept")
    assert refused.exit_code == 2
    assert "was not begun by you on this machine" in refused.stderr
    assert run("resume", "kept", "--trust").exit_code == 0


@pytest.mark.parametrize(
    "asked",
    [
        ["sweep", "select.py:Own", "--learning-rates", "0.01,0.1", "--epochs", "1", "--json"],
        ["search", "select.py:Own", *SPACE[:2], "--epochs", "1", "--num-trials", "3", "--sampler", "qmc", "--json"],
    ],
)
def test_workers_train_in_processes_of_their_own_whatever_the_file_is_named(folder, asked):
    own = "from learnrate.testing import QuadraticTrainable\nclass Own(QuadraticTrainable):\n    pass\n"
    (folder / "select.py").write_text(own)
    both = run(*asked, "--workers", "2")
    assert both.exit_code == 0, both.stderr
    assert same_but_for_time(both.stdout, run(*asked).stdout)
