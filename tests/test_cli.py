"""The command line, run for real: what it prints where, how it leaves, and what it keeps for later."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import learnrate
from learnrate import cli
from learnrate._command.kept import keep, kept_in
from learnrate._command.load import Source, as_problem, loaded, own_traceback
from learnrate._command.progress import PlainLines
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError, StudyDamagedError, UnsupportedProblemError
from learnrate.results import Trial, TrialState
from learnrate.testing import QuadraticTrainable
from learnrate.training import Event, EventKind

USERS_FILE = """
from dataclasses import dataclass
from pathlib import Path

import neighbour
from learnrate.testing import QuadraticTrainable

print("loading the data")


@dataclass
class Config:
    learning_rate: float = 1e-3


def build():
    print("building the model")
    return QuadraticTrainable(learning_rate=Config().learning_rate)


class Stops(QuadraticTrainable):
    '''Does something at its n-th block of training, as often as a file says.'''

    def train(self, rates):
        counter = Path(__file__).with_name("blocks")
        blocks = int(counter.read_text()) if counter.exists() else 0
        counter.write_text(str(blocks + 1))
        if blocks == 20:
            self.stop()
        return super().train(rates)

    def stop(self):
        raise KeyboardInterrupt


class Fails(Stops):
    def stop(self):
        import numpy as np

        np.linalg.solve(np.zeros((2, 2)), np.zeros(2))


class Slow(QuadraticTrainable):
    def train(self, rates):
        import time

        time.sleep(0.02)
        return super().train(rates)


ready = build()
number = 3


def failing():
    raise RuntimeError("there is no data")


def nothing():
    pass


def generating():
    yield {"loss": 1.0}


def of_a_rate(learning_rate, epochs):
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(USERS_FILE)
    (tmp_path / "neighbour.py").write_text("")
    (tmp_path / "one.py").write_text("def only():\n    pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], catch_exceptions=False)


def start(*arguments, **streams):
    # A shell starts what it runs in the background with Ctrl-C ignored, the tests among them.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from learnrate.cli import main; main(prog_name='learnrate')"
    )
    return subprocess.Popen([sys.executable, "-c", program, *arguments], text=True, **streams)


def same_but_for_time(one, other):
    def timeless(text):
        return re.sub(r'"seconds":[-+.e\d]+', "", text)

    return timeless(one) == timeless(other)


# --- answers


def test_select_prints_the_answer_alone_on_standard_output(folder):
    done = run("select", "train.py:build", "--epochs", 4)
    assert done.exit_code == 0
    assert done.stdout.startswith("learning rate ")
    assert "loading the data" not in done.stdout
    assert "answer.best" not in done.stdout  # a shell has no answer
    assert "loading the data" in done.stderr
    assert re.search(r"learning rate \S+: val_loss \S+, \S+ epochs?; spent \S+ of 2 runs", done.stderr)
    assert re.search(r"; best so far \S+  [▁▂▃▄▅▆▇█]+\n", done.stderr)


def test_json_is_what_python_returns(folder):
    done = run("select", "train.py:ready", "--epochs", 4, "--seed", 3, "--schedule", "cosine", "--json")
    problem = QuadraticTrainable(learning_rate=1e-3)
    answer = learnrate.select(problem, epochs=4, seed=3, schedule=learnrate.schedules.cosine)
    assert same_but_for_time(done.stdout.strip(), answer.to_json())
    assert {"learning_rate", "interval", "value", "cost", "epochs", "verdict", "warnings"} <= set(
        json.loads(done.stdout)
    )


@pytest.mark.parametrize(
    "rates",
    [["--learning-rates", "1e-3,1e-2, 0.1"], [x for r in ("1e-3", "1e-2,0.1") for x in ("--learning-rates", r)]],
)
def test_sweep_takes_learning_rates_as_a_list_or_repeated(folder, rates):
    done = run("sweep", "train.py:build", *rates, "--epochs", 1, "--json")
    trials = json.loads(done.stdout)["trials"]
    assert [trial["hyperparameters"]["learning_rate"] for trial in trials] == [1e-3, 1e-2, 0.1]


NETWORK = """
import torch
from learnrate import TorchTrainable

def build():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    inputs = torch.randn(32, 4)
    data = [(inputs, inputs.sum(1, keepdim=True))]
    return TorchTrainable(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.functional.mse_loss, data, data)
"""


@pytest.mark.parametrize(("word", "is_together"), [("on", True), ("off", False)])
def test_rates_are_trained_in_one_program_where_that_is_asked_for(folder, word, is_together):
    (folder / "network.py").write_text(NETWORK)
    done = run(
        "sweep", "network.py:build", "--learning-rates", "0.01,0.1", "--epochs", 1, "--vectorized", word, "--json"
    )
    assert done.exit_code == 0, done.stderr
    assert (json.loads(done.stdout)["vectorized"] is not None) == is_together


def test_a_problem_that_cannot_be_trained_in_one_program_is_refused_where_that_is_asked_for(folder):
    done = run("sweep", "train.py:build", "--learning-rates", "0.01,0.1", "--epochs", 1, "--vectorized", "on")
    assert done.exit_code == 2
    assert "vectorized" in done.stderr


def test_range_test_says_what_it_saw(folder):
    done = run("range-test", "train.py:build", "--num-steps", 50, "--json")
    result = json.loads(done.stdout)
    assert len(result["learning_rates"]) <= 50
    assert done.exit_code == (0 if result["learning_rate"] is not None else 1)
    assert learnrate.RangeTest.from_json(done.stdout).suggestions == result["suggestions"]


def test_no_answer_is_exit_code_1_with_the_reason(folder):
    done = run("sweep", "train.py:build", "--learning-rates", "1e8,1e9", "--epochs", 4)
    assert done.exit_code == 1
    assert "diverged at every learning rate" in done.stdout


def test_the_report_is_written_and_named(folder):
    done = run("sweep", "train.py:build", "--learning-rates", "0.01,0.1", "--epochs", 1, "--report", "deep/er/out.html")
    assert done.exit_code == 0
    assert "report: deep/er/out.html" in done.stderr
    assert (folder / "deep/er/out.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_the_installed_command_answers_in_a_process_of_its_own(folder):
    with start(
        "sweep", "train.py:build", "--learning-rates", "0.1", "--epochs", "1", "--json", stdout=-1, stderr=-1
    ) as it:
        output, messages = it.communicate(timeout=60)
    assert it.returncode == 0, messages
    assert json.loads(output)["verdict"]


# --- wrong usage and failures


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.py:build"], "there is no file nowhere.py"),
        (["train.py"], "can be one of: build, failing, generating, nothing, of_a_rate, ready"),
        (["train.py:biuld"], "train.py has no 'biuld'"),
        (["neighbour.py"], "neighbour.py alone does not say what to train, and nothing in it could be trained: name a"),
        (["one.py"], r"one.py alone does not say what to train: pass one.py:only\n"),
        (["one.py:onyl"], r"one.py has no 'onyl': pass one.py:only\n"),
        (["train.py:number"], "number is an object of type int"),
        (["train.py:nothing"], r"nothing\(\) returned nothing"),
        (["train.py:generating"], r"generating\(\) returned an object of type generator"),
        (["train.py:of_a_rate"], r"of_a_rate returned None: return a mapping"),
        (["train.py:build", "--schedule", "cosin"], "cosine"),
        (["train.py:build", "--warmup-fraction", "2"], "warmup_fraction"),
        (["train.py:build", "--epochs", "0"], "epochs"),
        (["train.py:build", "--budget", "nan"], "budget"),
        (["train.py:build", "--budget", "0.5"], "budget"),
        (["train.py:build", "--min-learning-rate", "1", "--max-learning-rate", "0.1"], "min_learning_rate"),
        (["train.py:build", "--metric", "val_los"], r"reports: \S+, val_loss; did you mean val_loss\?\n"),
        (["train.py:build", "--report", "train.py/report.html"], "cannot write"),
        (["train.py:build", "--study", "train.py"], "is a file"),
        (["train.py:build", "--colour", "red"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_allowed(folder, arguments, says):
    done = run("select", "--epochs", 2, *arguments)
    assert done.exit_code == 2
    assert re.search(says, done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize("rates", ["", "1e-3;1e-2", "0.1,0.1", "nan", "-1"])
def test_learning_rates_that_are_none_are_wrong_usage(folder, rates):
    done = run("sweep", "train.py:build", "--epochs", 1, "--learning-rates", rates)
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nonesuch", "No module named 'nonesuch'"),
        ("def build(:", "SyntaxError"),
        ("def build():\n    1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_file_that_fails_shows_the_users_own_lines_only(folder, source, says):
    (folder / "broken.py").write_text(source)
    done = run("select", "broken.py:build", "--epochs", 1)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "broken.py" in done.stderr
    assert "load.py" not in done.stderr
    assert "importlib" not in done.stderr


def test_a_training_that_fails_shows_the_users_lines_and_what_is_known(folder):
    done = run("select", "train.py:Fails", "--epochs", 40, "--study", "kept")
    assert done.exit_code == 1
    assert "in stop" in done.stderr
    assert "site-packages" not in done.stderr
    assert "best so far: learning rate" in done.stderr
    assert "go on by learnrate resume kept" in done.stderr


def test_a_file_that_ends_the_program_is_refused_with_the_way_to_write_it(folder):
    (folder / "script.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--epochs'])")
    done = run("select", "script.py:build", "--epochs", 1)
    assert done.exit_code == 2
    assert '__name__ == "__main__"' in done.stderr


# --- stopping and going on


def test_control_c_says_what_is_known_and_how_to_go_on_and_resume_gives_the_uninterrupted_answer(folder):
    stopped = run("select", "train.py:Stops", "--epochs", 40, "--study", "kept")
    assert stopped.exit_code == 1
    assert stopped.stdout == ""
    assert re.search(r"stopped\nbest so far: learning rate \S+: val_loss \S+", stopped.stderr)
    assert "learnrate resume kept" in stopped.stderr

    standing = json.loads(run("status", "kept", "--json").stdout)
    assert not standing["finished"]
    assert standing["trials"]["interrupted"] == 1
    assert 0 < standing["spent"] < 2

    refused = run("report", "kept")
    assert refused.exit_code == 1
    assert "there is no answer to report yet" in refused.stderr

    resumed = run("resume", "kept", "--json")
    assert resumed.exit_code == 0
    assert f"going on with select of {folder / 'train.py'}:Stops" in resumed.stderr
    fresh = run("select", "train.py:Stops", "--epochs", 40, "--json")  # the file counts on: it does not stop again
    assert json.loads(resumed.stdout)["learning_rate"] == json.loads(fresh.stdout)["learning_rate"]
    assert same_but_for_time(resumed.stdout, fresh.stdout)

    again = run("resume", "kept", "--json")
    assert again.stdout == resumed.stdout
    assert "finished" in again.stderr
    assert "select: finished" in run("status", "kept").stdout
    reported = run("report", "kept")
    assert reported.exit_code == 0
    assert (folder / "kept" / "report.html").is_file()


def test_an_interrupt_from_outside_ends_the_process_cleanly(folder):
    with start("select", "train.py:Slow", "--epochs", "400", stdout=-1, stderr=-1) as process:
        while "epochs;" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert "stopped\nbest so far" in messages
    assert "Traceback" not in messages


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "train.py:build", "--learning-rates", "0.01,0.1", "--epochs", "2", "--schedule", "one_cycle"],
        ["select", "train.py:build", "--epochs", "4", "--schedule", "cosine", "--warmup-fraction", "0.25"],
        ["range-test", "train.py:build", "--spacing", "linear", "--max-learning-rate", "1", "--num-seeds", "2"],
    ],
)
def test_a_study_is_resumed_with_the_settings_that_it_was_begun_with(folder, arguments, monkeypatch):
    once = run(*arguments, "--study", "kept", "--json")
    monkeypatch.setattr(cli, "result_of", lambda _: None)  # as if the last moment had been lost
    again = run("resume", "kept", "--json")
    assert again.exit_code == once.exit_code, again.stderr
    assert json.loads(once.stdout)["verdict"]
    assert same_but_for_time(once.stdout, again.stdout)


@pytest.fixture
def asked_of_sweep(monkeypatch):
    """What each `learnrate.sweep` is asked, an engine as the number of its workers."""
    asked, sweep = [], learnrate.sweep

    def spied(*arguments, engine=None, **settings):
        asked.append(settings | {"engine": engine and engine.num_workers})
        return sweep(*arguments, **settings)

    monkeypatch.setattr(learnrate, "sweep", spied)
    return asked


SWEEP = ["sweep", "train.py:build", "--learning-rates", "0.01,0.1", "--epochs", "1", "--study", "kept"]


def test_a_study_goes_on_with_the_report_the_workers_and_the_rest_of_its_beginning(folder, monkeypatch, asked_of_sweep):
    pytest.importorskip("tensorboard", reason="--tensorboard needs it")
    run(*SWEEP, "--report", "live.html", "--tensorboard", "runs", "--workers", "2", "--vectorized", "off")
    (folder / "live.html").write_text("Interrupted. Go on by learnrate resume kept")
    shutil.rmtree(folder / "runs")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    finished = run("resume", "../kept")
    assert f"report: {folder}/live.html" in finished.stderr
    assert "Best of 2 trainings" in (folder / "live.html").read_text()

    (folder / "live.html").unlink()
    monkeypatch.setattr(cli, "result_of", lambda _: None)  # as if the last moment had been lost
    resumed = run("resume", "../kept")
    assert resumed.exit_code == 0, resumed.stderr
    assert asked_of_sweep[-1]["engine"] == 2
    assert asked_of_sweep[-1]["vectorized"] is False
    assert "Best of 2 trainings" in (folder / "live.html").read_text()
    assert len(list((folder / "runs").iterdir())) == 2

    run("resume", "../kept", "--report", "new.html", "--workers", "1", "--vectorized", "auto")
    for _ in range(2):  # the second time told nothing: as it was asked last
        assert asked_of_sweep[-1]["engine"] is None
        assert asked_of_sweep[-1]["vectorized"] == "auto"
        assert (folder / "elsewhere" / "new.html").exists()
        (folder / "elsewhere" / "new.html").unlink()
        run("resume", folder / "kept")


def test_a_study_from_elsewhere_names_no_file_to_write(folder, monkeypatch, asked_of_sweep):
    run(*SWEEP, "--report", "live.html", "--workers", "2")
    (folder / "live.html").unlink()
    with (folder / "kept" / "cli.json").open("a") as file:
        file.write(" ")
    run("resume", "kept")
    assert not (folder / "live.html").exists()
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    resumed = run("resume", "kept", "train.py:build")
    assert resumed.exit_code == 0, resumed.stderr
    assert "--report, --tensorboard, --workers and --vectorized of its beginning are left out" in resumed.stderr
    assert asked_of_sweep[-1]["engine"] is None
    assert not (folder / "live.html").exists()


def test_a_study_of_something_else_is_refused(folder):
    run("sweep", "train.py:build", "--learning-rates", "0.1", "--epochs", 1, "--study", "kept")
    done = run("sweep", "train.py:build", "--learning-rates", "0.1", "--epochs", 2, "--study", "kept")
    assert done.exit_code == 2
    assert "epochs: 1 → 2" in done.stderr


def test_a_study_from_python_is_resumed_when_told_what_it_trains(folder, monkeypatch):
    learnrate.sweep(QuadraticTrainable(learning_rate=1e-3), [0.1], epochs=1, study=folder / "kept")
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    refused = run("resume", "kept")
    assert refused.exit_code == 2
    assert "learnrate resume kept FILE.py:NAME" in refused.stderr
    assert run("resume", "kept", "train.py:build").exit_code == 0


def test_what_a_study_trains_is_kept_whole_and_read_with_care(folder):
    study = folder / "kept"
    study.mkdir()
    keep(Source.parse("train.py:build"), study)
    assert kept_in(study) == Source(folder / "train.py", "build")
    (folder / "train.py").rename(folder / "moved.py")
    with pytest.raises(InvalidArgumentError, match="no longer there"):
        kept_in(study)
    for damaged in ("", "[]", '{"problem": 3}', '{"problem": "train.py:build", "run": "rm"}'):
        (study / "cli.json").write_text(damaged)
        with pytest.raises(StudyDamagedError, match="cannot be read"):
            kept_in(study)


def test_a_folder_of_several_schedules_is_told_of_and_gone_on_with_by_its_command(folder):
    asked = ["select", "train.py:build", "--epochs", "4", "--schedules", "constant,cosine", "--study", "kept"]
    assert run(*asked).exit_code == 0
    (folder / "kept" / "2-cosine").rename(folder / "kept" / "10-cosine")
    told = run("status", "kept")
    assert told.exit_code == 0, told.stderr
    assert re.search(r"^1-constant: select: finished\n(.+\n)+\n10-cosine: select: finished\n", told.stdout)
    standings = json.loads(run("status", "kept", "--json").stdout)
    assert {name: one["finished"] for name, one in standings.items()} == {"1-constant": True, "10-cosine": True}
    resumed = run("resume", "kept")
    assert resumed.exit_code == 1
    assert "kept holds studies (1-constant, 10-cosine)" in resumed.stderr
    assert "give that command again, and it goes on with them" in resumed.stderr
    for verb in (["report"], ["export", "--csv", "trials.csv"]):
        refused = run(*verb, "kept")
        assert refused.exit_code == 1
        assert f"name one of them, such as {folder / 'kept' / '1-constant'}" in refused.stderr
    assert run("report", "kept/1-constant").exit_code == 0


@pytest.mark.parametrize("verb", ["resume", "report", "status"])
def test_a_folder_that_is_no_study_is_said_to_be_none(folder, verb):
    done = run(verb, "nowhere")
    assert done.exit_code == 1
    assert re.search("there is no study in .*nowhere", done.stderr)


# --- loading


def test_the_files_folder_leads_the_path_while_it_is_loaded_and_everything_is_put_back(folder):
    path, names = list(sys.path), set(sys.modules)
    with loaded(Source.parse("train.py:build")) as problem:
        assert isinstance(problem, QuadraticTrainable)
        assert sys.path[0] == str(folder)
    assert sys.path == path
    assert "train" not in set(sys.modules) - names


def test_a_file_may_be_named_like_a_module_of_the_standard_library(folder):
    (folder / "select.py").write_text((folder / "train.py").read_text())
    before = sys.modules.get("select")
    with loaded(Source.parse("select.py:build")) as problem:
        assert isinstance(problem, QuadraticTrainable)
        assert sys.modules.get("select") is before


def test_a_class_is_called_and_not_taken_for_a_trainable():
    assert isinstance(as_problem(QuadraticTrainable, "QuadraticTrainable"), QuadraticTrainable)


def test_an_object_that_can_be_called_is_not_called():
    class Network:
        def __call__(self):
            raise AssertionError

    with pytest.raises(UnsupportedProblemError, match="an object of type Network"):
        as_problem(Network(), "model")


def test_a_traceback_without_frames_of_the_users_is_shown_whole():
    with pytest.raises(ValueError) as raised:
        np.linalg.solve(np.zeros((2, 2)), np.zeros(3))
    error = raised.value
    assert "linalg" in own_traceback(error.with_traceback(error.__traceback__.tb_next))


# --- progress


def event(kind, trial=None):
    return Event(kind=kind, message="screening", spent=0.5, budget=2.0, trial=trial)


def trial(state, epochs=2.0, value=0.25):
    return Trial(
        number=0,
        hyperparameters={"learning_rate": 1e-3},
        state=state,
        curve=LearningCurve.from_rows([(epochs, {"val_loss": 0.25})]),
        value=value,
        seed=0,
        seconds=1.0,
        epochs=epochs,
        horizon=4.0,
    )


def test_plain_lines_name_the_plan_stages_and_finished_trials_and_not_every_epoch():
    lines = []
    plain = PlainLines(lines.append, "val_loss", clock=lambda: 0.0)
    plain(event(EventKind.PLAN))
    plain(event(EventKind.STAGE))
    plain(event(EventKind.TRIAL_STARTED, trial(TrialState.RUNNING)))
    plain(event(EventKind.EPOCH, trial(TrialState.RUNNING)))
    plain(event(EventKind.TRIAL_FINISHED, trial(TrialState.COMPLETE)))
    plain(event(EventKind.TRIAL_FINISHED, trial(TrialState.DIVERGED, epochs=1.0, value=None)))
    assert lines == [
        "plan: screening",
        "screening",
        "  learning rate 1e-3: val_loss 0.25, 2 epochs; spent 0.5 of 2 runs; best so far 1e-3  ▁",
        "  learning rate 1e-3: diverged after 1 epoch; spent 0.5 of 2 runs  ▁",
    ]


def test_plain_lines_speak_of_an_epoch_when_nothing_was_said_for_long():
    lines, now = [], [0.0]
    plain = PlainLines(lines.append, "val_loss", bars=False, clock=lambda: now[0])
    for seconds in (5.0, 11.0, 15.0):
        now[0] = seconds
        plain(event(EventKind.EPOCH, trial(TrialState.RUNNING)))
    assert lines == ["  learning rate 1e-3: val_loss 0.25, 2 of 4 epochs; spent 0.5 of 2 runs"]


def test_on_a_terminal_the_display_is_alive_and_the_answer_stays_alone(folder):
    ours, theirs = pty.openpty()
    arguments = ["select", "train.py:build", "--epochs", "4", "--json"]
    with start(*arguments, stdout=-1, stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"}) as process:
        os.close(theirs)
        output, _ = process.communicate(timeout=60)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.returncode == 0
    assert json.loads(output)["learning_rate"]
    assert b"of 2 runs" in shown
    assert b"plan: at most 2 training runs of 4 epochs" in shown
    assert b"confirming at full length" in shown
    assert b"Traceback" not in shown


# --- commands

SCRIPT = """
import argparse, math, sys

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--epochs", type=int, default=8)
options = parser.parse_args()
if options.lr > 1:
    sys.exit("out of memory")
for epoch in range(1, options.epochs + 1):
    print(f"epoch {epoch}: val_loss={math.log10(options.lr / 0.03) ** 2 + 1 / epoch}")
"""
ASKED = ("--", sys.executable, "script.py", "--lr", "{learning_rate}", "--epochs", "{epochs}")


@pytest.fixture
def script(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_select_asks_a_script_that_knows_nothing_of_it(script):
    done = run("select", "--epochs", 8, "--json", *ASKED)
    assert done.exit_code == 0, done.stderr
    answer = learnrate.Recommendation.from_json(done.stdout)
    command = [sys.executable, "script.py", "--lr", "{learning_rate}", "--epochs", "{epochs}"]
    same = learnrate.select(learnrate.CommandTrainable(command), epochs=8)
    assert same_but_for_time(answer.to_json(), same.to_json())
    assert answer.learning_rate is not None
    assert 0.003 < answer.learning_rate < 0.3


def test_a_study_of_a_command_is_resumed_from_any_folder_without_being_told(script, monkeypatch):
    arguments = ["--learning-rates", "0.01,0.1,3", "--epochs", "2", "--study", "kept", "--timeout", "60", *ASKED]
    once = run("sweep", *arguments)
    assert "out of memory" in once.stdout
    assert re.search("failed$", once.stdout, re.MULTILINE)
    assert kept_in(script / "kept").command == list(ASKED[1:])
    monkeypatch.setattr(cli, "result_of", lambda _: None)
    monkeypatch.chdir("/")
    again = run("resume", script / "kept")
    assert again.stdout == once.stdout
    assert "going on with sweep of" in again.stderr


def test_a_command_that_fails_is_no_answer_and_shows_the_end_of_its_output(script):
    done = run("select", "--epochs", 8, *ASKED, "--momentum", "0.9")
    assert done.exit_code == 1
    assert "unrecognized arguments: --momentum 0.9" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["select", "--epochs", 2, "--", "python", "script.py", "--lr", "0.1"], r"has no \{learning_rate\}"),
        (
            ["select", "--epochs", 2, "--", "python", "script.py", "{lr}", "{learning_rate}"],
            r"\{lr\}, which is not known",
        ),
        (["select", "--epochs", 2, "--", "no-such-program", "{learning_rate}"], "no program"),
        (["select", "--epochs", 2, "--log", "log.csv", *ASKED], "would write the same log"),
        (["select", "--epochs", 2, "--pattern", "(", *ASKED], "no regular expression"),
        (["select", "--epochs", 2, "--timeout", "-1", *ASKED], "timeout"),
        (["select", "--epochs", 2, "--timeout", "1", "script.py:build"], "--timeout tells of a command"),
        (["select", "--epochs", 2, "--schedule", "cosine", *ASKED], "option of its own"),
        (["select", "--epochs", 2, "--metric", "val_auc", *ASKED], "it gives val_loss"),
        (["range-test", *ASKED], "constant learning rate only"),
        (["select", "--epochs", 2], "Missing argument"),
        (["select", "--epochs", 2, *ASKED[1:]], "No such option '--lr': put -- before the command"),
    ],
)
def test_commands_that_cannot_be_asked_are_wrong_usage(script, arguments, says):
    done = run(*arguments)
    assert done.exit_code == 2
    assert re.search(says, done.stderr)
    assert done.stdout == ""


def test_control_c_ends_the_script_too(script):
    slow = SCRIPT.replace("print(f", "__import__('time').sleep(0.2); print(f")
    writes = "import os\nwith open('pids', 'a') as pids: print(os.getpid(), file=pids)\n"
    (script / "script.py").write_text(writes + slow)
    with start("select", "--epochs", "400", *ASKED, stdout=-1, stderr=-1) as process:
        while "epochs;" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert "stopped\nbest so far" in messages
    pids = [int(line) for line in (script / "pids").read_text().splitlines()]
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_the_example_script_is_asked_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = Path(__file__).parent.parent / "examples" / "argparse_script.py"
    asked = [sys.executable, example, "--lr", "{learning_rate}", "--epochs", "{epochs}"]
    done = run("sweep", "--learning-rates", "1e-3", "--epochs", 2, "--json", "--", *asked)
    result = learnrate.Sweep.from_json(done.stdout)
    assert result.learning_rate == 1e-3
    assert {"loss", "val_loss", "val_accuracy"} <= set(result.trials[0].curve.metrics)
