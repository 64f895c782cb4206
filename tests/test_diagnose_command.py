"""`learnrate diagnose FILES…`: what it prints, how it leaves, and what it says of logs that are none."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import learnrate
from learnrate import cli
from learnrate.curves import LearningCurve
from learnrate.testing import QuadraticTrainable

BEST = {1e-4: 1.4, 1e-3: 0.5, 1e-2: 0.52, 1e-1: 0.9}


def losses(best, epochs=30):
    return best + (2.0 - best) * np.exp(-np.arange(epochs) / 4)


@pytest.fixture
def folder(tmp_path):
    for rate, best in BEST.items():
        rows = [f"{epoch},{rate},{loss - 0.1},{loss}" for epoch, loss in enumerate(losses(best), 1)]
        (tmp_path / f"{rate}.csv").write_text("\n".join(["epoch,lr,loss,val_loss", *rows]))
    return tmp_path


@pytest.fixture
def ask(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(cli.main, ["diagnose", *map(str, arguments)], catch_exceptions=False)

    return run


def logs_in(folder):
    return sorted(folder.glob("*.csv"))


# Several logs


def test_several_logs_are_compared_and_the_rate_to_use_comes_last(ask, folder):
    done = ask(*logs_in(folder))
    assert done.exit_code == 0
    assert all(f"{rate}.csv: " in done.stdout for rate in BEST)
    assert "best: learning rate 1e-3, val_loss 0.5" in done.stdout
    assert "next, to refine" in done.stdout


def test_json_has_the_curves_and_the_recommendation_alone_on_standard_output(ask, folder):
    done = ask(*logs_in(folder), "--json")
    said = json.loads(done.stdout)
    assert set(said) == {"curves", "recommendation"}
    assert said["recommendation"]["learning_rate"] in BEST
    assert said["recommendation"]["verdict"] == "found"
    for curve in said["curves"]:
        assert {"path", "learning_rate", "verdict", "best_epoch", "findings"} <= set(curve)
        assert curve["learning_rate"] in BEST
        assert all(set(finding) == {"kind", "strength", "evidence"} for finding in curve["findings"])


def test_the_same_is_found_from_python(ask, folder):
    done = json.loads(ask(*logs_in(folder), "--json").stdout)
    files = learnrate.compare(logs_in(folder))
    curves = learnrate.compare({rate: {"val_loss": losses(best)} for rate, best in BEST.items()})
    assert done["recommendation"]["learning_rate"] == files.learning_rate == curves.learning_rate


def test_rates_are_given_one_a_file_where_no_column_names_them(ask, tmp_path):
    files = []
    for name, best in (("slow", 1.2), ("good", 0.5), ("fast", 0.9)):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({"val_loss": losses(best).tolist()}))
    without = ask(*files)
    assert without.exit_code == 0
    assert "no recommendation: no learning rate is known for" in without.stdout
    assert json.loads(ask(*files, "--json").stdout)["recommendation"] is None
    told = json.loads(ask(*files, "--learning-rate", "1e-3,1e-2", "--learning-rate", "0.1", "--json").stdout)
    assert told["recommendation"]["learning_rate"] == 1e-2
    wrong = ask(*files, "--learning-rate", "1e-3")
    assert wrong.exit_code == 2
    assert "there are 1 learning rates for 3 files" in wrong.stderr


def test_where_every_training_broke_there_is_no_answer(ask, tmp_path):
    for rate in (1.0, 10.0):
        (tmp_path / f"{rate}.csv").write_text(f"epoch,lr,val_loss\n1,{rate},2\n2,{rate},nan\n3,{rate},nan\n")
    done = ask(*logs_in(tmp_path))
    assert done.exit_code == 1
    assert "diverged at every learning rate" in done.stdout


def test_chart_and_report_are_written(ask, folder):
    done = ask(*logs_in(folder), "--chart", folder / "chart.png", "--report", folder / "report.html")
    assert done.exit_code == 0
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert "0.0001" in (folder / "report.html").read_text()
    one = ask(folder / "0.01.csv", "--chart", folder / "one.svg")
    assert one.exit_code == 0
    assert "<svg" in (folder / "one.svg").read_text()
    assert ask(folder / "0.01.csv", "--chart", folder / "one.gif").exit_code == 2


# One log


def test_one_log_is_diagnosed_in_a_sentence_with_advice(ask, folder):
    done = ask(folder / "0.01.csv")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{folder / '0.01.csv'}: ")
    assert "Stop at" in done.stdout or "Keep this" in done.stdout


def test_the_metric_and_its_direction_can_be_told(ask, folder):
    file = folder / "scores.csv"
    file.write_text("epoch,val_quality\n" + "\n".join(f"{epoch},{1 - 1 / epoch}" for epoch in range(1, 30)))
    assert ask(file).exit_code == 2  # the name does not say which way is better
    said = json.loads(ask(file, "--metric", "val_quality", "--mode", "max", "--json").stdout)["curves"][0]
    assert (said["metric"], said["best_epoch"]) == ("val_quality", 29)
    unknown = ask(folder / "0.01.csv", "--metric", "val_f1")
    assert unknown.exit_code == 2
    assert "val_f1" in unknown.stderr


# Logs that are none, or damaged


BAD = {
    "cut in a line": ("epoch,lr,loss\n1,0.1,0.9\n2,0.1", "line 3"),
    "cut in a word": ('{"loss": [0.9, 0.5], "val_', "line 1"),
    "another header half way": ("epoch,loss\n1,0.9\nepoch,val_loss\n2,0.5\n", "line 3: another header"),
    "an epoch twice": ("epoch,loss\n1,0.9\n1,0.8\n", "line 3"),
    "an epoch that goes back": ("epoch,loss\n2,0.9\n1,0.8\n", "line 3: epoch 1 comes after epoch 2"),
    "no rows": ("epoch,loss\n", "no rows"),
    "nothing": ("", ""),
    "no log": ("Dear reader,\nthis is no log, is it?\n", "line 2"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
    "a damaged gzip": (gzip.compress(b"epoch,loss\n1,0.9\n")[:-9], "damaged or was cut"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_log_is_named_with_its_line_and_nothing_is_answered(ask, folder, name):
    content, message = BAD[name]
    file = folder / "bad.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for files in ([file], [*logs_in(folder)]):  # alone, and among good ones
        done = ask(*files)
        assert done.exit_code == 1
        assert done.stdout == ""
        assert f"error: {file}" in done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_gzip_bomb_is_refused_by_what_it_unpacks_to(ask, tmp_path):
    (tmp_path / "bomb.csv").write_bytes(gzip.compress(b"0" * 10**7) * 101)
    done = ask(tmp_path / "bomb.csv")
    assert done.exit_code == 1
    assert "unpacks to more than" in done.stderr


def test_a_file_that_is_not_there(ask, tmp_path):
    done = ask(tmp_path / "absent.csv")
    assert done.exit_code == 1
    assert "absent.csv: cannot be read: No such file" in done.stderr
    assert ask().exit_code == 2


def test_missing_and_infinite_cells_and_rows_of_either_kind_are_read(ask, tmp_path):
    cells = tmp_path / "cells.csv"
    cells.write_text("epoch,loss,val_loss\n1,NA,0.9\n2,nan,0.8\n3,0.7,0.7\n4,inf,0.6\n5,0.5,0.5\n")
    assert ask(cells).exit_code == 0
    rows = tmp_path / "rows.csv"
    lines = [f"{epoch},{1 / epoch},\n{epoch},,{1.1 / epoch}" for epoch in range(1, 20)]
    rows.write_text("\n".join(["epoch,loss,val_loss", *lines]))
    said = json.loads(ask(rows, "--json").stdout)["curves"][0]
    assert (said["epochs"], said["best_epoch"]) == (19, 19)


def test_one_row_is_said_to_show_little(ask, tmp_path):
    (tmp_path / "one.csv").write_text("epoch,lr,val_loss\n1,0.1,0.9\n")
    done = ask(tmp_path / "one.csv")
    assert done.exit_code == 0
    assert "one row does not show how training goes on" in done.stdout


def test_a_million_rows_are_answered_in_half_a_gigabyte(tmp_path):
    rows = np.arange(10**6)
    values = 2 / (1 + rows / 1e4) + np.random.default_rng(0).normal(0, 0.1, len(rows))
    with (tmp_path / "long.csv").open("w") as file:
        file.write("step,lr,loss,val_loss\n")
        file.writelines(f"{row},0.001,{loss:.6f},{loss + 0.1:.6f}\n" for row, loss in zip(rows, values, strict=True))
    program = (
        "import sys\nfrom learnrate import cli\n"
        "try:\n    cli.main(['diagnose', sys.argv[1]])\nexcept SystemExit:\n    pass\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    asked = [sys.executable, "-c", program, str(tmp_path / "long.csv")]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.splitlines()
    assert "long.csv: " in said
    assert int(kilobytes) < 500_000


# Stopping from the shell


def test_a_sweep_from_the_shell_stops_early_and_is_resumed_with_the_same_rules(tmp_path):
    (tmp_path / "problem.py").write_text(
        "from learnrate.testing import QuadraticTrainable\n\n\ndef build():\n    return QuadraticTrainable(noise=0.4)\n"
    )
    settings = ["--learning-rates", "0.1,0.5", "--epochs", "60", "--patience", "6", "--reduce-patience", "2", "--json"]
    study = ["--study", str(tmp_path / "study")]
    done = CliRunner().invoke(cli.main, ["sweep", f"{tmp_path / 'problem.py'}:build", *settings, *study])
    assert done.exit_code == 0, done.output
    trials = json.loads(done.stdout)["trials"]
    assert any(trial["epochs"] < 60 and trial["reductions"] for trial in trials)
    again = CliRunner().invoke(cli.main, ["resume", str(tmp_path / "study"), "--json"])
    assert json.loads(again.stdout)["trials"] == trials
    rules = json.loads(done.stdout)["settings"]["stopping"]
    assert [rule["rule"] for rule in rules] == ["EarlyStopping", "ReduceOnPlateau"]


# A lucky dip


def trembling(seed=0, deviation=0.5, epochs=30):
    return np.abs(np.random.default_rng(seed).normal(0.8, deviation, epochs)) - 0.2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_dip_of_what_is_but_noise_neither_wins_nor_makes_another_too_slow(seed, sign):
    name, mode = ("val_loss", "min") if sign == 1 else ("val_score", "max")
    curves = {1e-4: losses(1.5), 1e-3: losses(0.3), 3e-3: losses(0.31)}
    alone = learnrate.compare({each: {name: sign * y} for each, y in curves.items()}, metric=name, mode=mode)
    noisy = curves | {0.1: trembling(seed)}
    answer = learnrate.compare({each: {name: sign * y} for each, y in noisy.items()}, metric=name, mode=mode)
    assert answer.learning_rate == alone.learning_rate
    assert [one.diagnosis.verdict for one in answer.trials[:3]] == [one.diagnosis.verdict for one in alone.trials]
    lucky = trembling(seed).min() < losses(0.3).min()
    assert any("a dip that its noise explains" in note for note in answer.warnings) == lucky


def test_the_best_value_is_reported_as_it_was_and_wins_where_it_is_more_than_noise():
    flat = [0.31, 0.30, 0.32, 0.31, 0.30, 0.31]  # learned in the first epoch, and nothing since
    answer = learnrate.compare({1e-4: {"val_loss": [2.0, 1.6, 1.3, 1.1, 1.0, 0.9]}, 1e-2: {"val_loss": flat}})
    assert answer.trials[1].diagnosis.verdict.value == "not learning"
    assert (answer.learning_rate, answer.value) == (1e-2, 0.30)


# What can be compared from Python


def test_a_sweep_and_its_trials_and_a_history_can_be_compared():
    class History:
        def __init__(self, values):
            self.history = {"loss": values, "val_loss": values}

    sweep = learnrate.sweep(QuadraticTrainable(), [1e-3, 0.1, 0.5, 100.0], epochs=10)
    assert learnrate.compare(sweep).learning_rate in {0.1, 0.5}
    assert learnrate.compare(sweep.trials).learning_rate == learnrate.compare(sweep).learning_rate
    histories = {rate: History(losses(best).tolist()) for rate, best in BEST.items()}
    assert learnrate.compare(histories).learning_rate == 1e-3
    assert learnrate.diagnose(histories[1e-3]).best_epoch == 30
    curve = LearningCurve.from_rows([(1, {"val_loss": 2.0}), (2, {"val_loss": 1.0})])
    assert learnrate.compare({0.1: curve}).learning_rate == 0.1


def test_the_json_of_a_sweep_is_a_log_of_its_trials(ask, tmp_path):
    sweep = learnrate.sweep(QuadraticTrainable(), [1e-3, 0.1, 0.5], epochs=10)
    (tmp_path / "sweep.json").write_text(sweep.to_json())
    said = json.loads(ask(tmp_path / "sweep.json", "--json").stdout)
    assert [curve["learning_rate"] for curve in said["curves"]] == [1e-3, 0.1, 0.5]
    assert said["recommendation"]["learning_rate"] == learnrate.compare(sweep).learning_rate
    (tmp_path / "cut.json").write_text(sweep.to_json()[:-100])
    cut = ask(tmp_path / "cut.json")
    assert cut.exit_code == 1
    assert "cut.json" in cut.stderr


@pytest.mark.parametrize("given", [[3], 3, {0.1: 3}, [{"loss": [1.0]}]])
def test_what_cannot_be_compared_is_refused_in_words(given):
    with pytest.raises(learnrate.errors.InvalidArgumentError, match=r"is no learning curve|cannot compare"):
        learnrate.compare(given)
