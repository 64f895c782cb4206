"""Commands as problems, run for real: what is read, paused, ended and refused."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from learnrate import schedules
from learnrate._range_test import range_test
from learnrate._select import select
from learnrate._sweep import sweep
from learnrate.adapters import function
from learnrate.adapters._command_metrics import Epochs, Lines, Pattern, pairs_in
from learnrate.adapters._command_process import unbroken
from learnrate.adapters._command_run import CommandRun
from learnrate.adapters._command_template import Template
from learnrate.adapters.command import CommandTrainable
from learnrate.errors import (
    InvalidArgumentError,
    LogError,
    TrialFailedError,
    UnknownMetricError,
    UnsupportedProblemError,
)
from learnrate.results import TrialState, Verdict

BOWL = """
import math, sys
rate, epochs = float(sys.argv[1]), int(sys.argv[2])
def loss(epoch):
    return math.log10(rate / 0.03) ** 2 + 1 / epoch if rate < 0.3 else math.nan
"""
NUMBERED = BOWL + "for e in range(1, epochs + 1): print(f'epoch {e}: loss={loss(e)} val_loss={loss(e)}')"
BARE = BOWL + "for e in range(1, epochs + 1): print(f'val_loss={loss(e)}')"
FINAL = BOWL + "print('done, val_loss', loss(epochs))"
DIARY = """
import sys, time
from pathlib import Path
diary = Path(sys.argv[3])
def write(word):
    with diary.open('a') as stream: print(word, rate, file=stream)
"""


def script(text: str, *more: str, epochs: str = "{epochs}", **settings) -> CommandTrainable:
    # -I -S starts Python in a third of the time, and keeps PYTHONUNBUFFERED from it; the script's braces are its own
    source = text.replace("{", "{{").replace("}", "}}")
    python = [sys.executable, "-I", "-S", "-u", "-c"]
    return CommandTrainable([*python, source, "{learning_rate}", epochs, *more], **settings)


def state(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return "gone"


def alive(pid: int) -> bool:
    return state(pid) not in {"Z", "X", "gone"}


def wait_until(true) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


# --- answers


def test_select_finds_the_rate_of_a_script_that_tells_each_epoch_and_trains_nothing_twice(tmp_path):
    diary = tmp_path / "diary"
    text = BOWL + DIARY + "for e in range(1, epochs + 1): write('epoch'); print(f'epoch {e} val_loss={loss(e)}')\n"
    problem = script(text.replace("print(f", "time.sleep(0.05); print(f"), str(diary))
    answer = select(problem, epochs=8)
    assert answer.verdict is Verdict.FOUND
    assert answer.learning_rate is not None
    assert abs(math.log10(answer.learning_rate / 0.03)) <= 0.5  # a bowl that does not drift with the horizon
    assert answer.cost <= 2 + 1 / 8
    assert problem.replayed_epochs == 0
    assert not problem.warnings
    begun = len(diary.read_text().split("epoch")) - 1
    assert begun <= 8 * answer.cost + len(answer.trials) + 1  # a process may be into its next epoch before it is paused


@pytest.mark.parametrize("epochs", ["{epochs}", "50"])
def test_rows_without_a_number_count_as_epochs(epochs):
    result = sweep(script(BARE, epochs=epochs), [0.01, 0.03, 1.0], epochs=5)
    assert result.learning_rate == 0.03
    assert result.value == pytest.approx(1 / 5)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.DIVERGED]


def test_a_script_that_tells_its_outcome_in_the_end_is_asked_for_short_trainings():
    answer = select(script(FINAL), epochs=20)
    assert answer.verdict is Verdict.FOUND
    assert answer.learning_rate is not None
    assert abs(math.log10(answer.learning_rate / 0.03)) <= 0.5
    assert {2, 20} <= {trial.horizon for trial in answer.trials}
    assert answer.cost <= 2
    assert sweep(script(FINAL), [0.01, 0.03], epochs=4).value == pytest.approx(1 / 4)


def test_where_nothing_is_validated_the_training_loss_decides():
    result = sweep(script(NUMBERED.replace(" val_loss={loss(e)}", "")), [0.01, 0.03], epochs=3)
    assert result.metric == "loss"
    assert result.learning_rate == 0.03
    assert "training loss decides" in result.warnings[0]


def test_the_same_command_gives_the_same_answer_also_from_an_interrupted_study(tmp_path):
    whole = select(script(NUMBERED), epochs=8)

    heard = []

    def interrupt(event):
        heard.append(event)
        if len(heard) > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select(script(NUMBERED), epochs=8, study=tmp_path / "study", on_event=interrupt)
    again = select(script(NUMBERED), epochs=8, study=tmp_path / "study")
    told = [[(trial.learning_rate, trial.epochs, trial.value) for trial in one.trials] for one in (whole, again)]
    assert told[0] == told[1]
    assert (again.cost, again.learning_rate) == (whole.cost, whole.learning_rate)
    outputs = sorted((tmp_path / "study" / "outputs").iterdir())
    assert "epoch 1: loss=" in (outputs[0] / "output.txt").read_text()


def test_every_placeholder_is_filled():
    text = "import sys, json; print(json.dumps({'val_loss': 1.0, **dict(zip('abcd', map(float, sys.argv[2:6])))}))\n"
    text += "import os; assert os.path.isdir(sys.argv[6])"
    problem = script(text, "{seed}", "{trial}", "1{epochs}.5", "{out}")
    result = sweep(problem, [0.1, 0.25], epochs=1, seed=7)
    assert [trial.curve.values("b").item() for trial in result.trials] == [7, 7]
    assert [trial.curve.values("c").item() for trial in result.trials] == [0, 1]
    assert [trial.curve.values("d").item() for trial in result.trials] == [11.5, 11.5]


# --- where the metrics are


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("epoch 3 loss=0.5 val_loss=0.25", {"epoch": 3, "loss": 0.5, "val_loss": 0.25}),
        ("[Epoch 3/20] train loss: 0.5 | valid loss: .25", {"epoch": 3, "loss": 0.5, "val_loss": 0.25}),
        ("Epoch: 003, Loss: 1e-3, Val Acc: 98.5%", {"epoch": 3, "loss": 1e-3, "val_accuracy": 98.5}),
        ("469/469 - 1s - 3ms/step - accuracy: 0.9 - val_loss: 0.2", {"accuracy": 0.9, "val_loss": 0.2}),
        ("{'loss': 0.5, 'learning_rate': 5e-05, 'epoch': 1.0}", {"epoch": 1, "loss": 0.5}),
        ('{"epoch": 2, "val_loss": NaN, "step": 40, "best": true}', {"epoch": 2, "val_loss": math.nan}),
        ("Epoch 7 loss 0.5 acc 0.75", {"epoch": 7, "loss": 0.5, "accuracy": 0.75}),
        ("val_loss=-inf.", {"val_loss": -math.inf}),
        ("loss: 0.6 (best loss: 0.5)", {"loss": 0.6}),
        ("\x1b[32mval/loss: \x1b[1m0.5\x1b[0m", {"val_loss": 0.5}),
        ("step 100 lr=0.1 iteration: 3", {}),
        ("saved to run=3a/model-2.pt at 12:30 in 5s", {}),
        ("no numbers here", {}),
        ("{broken json", {}),
    ],
)
def test_lines_of_many_programs_are_understood(line, found):
    assert repr(pairs_in(line)) == repr({name: float(value) for name, value in found.items()})


def test_the_metric_asked_for_keeps_its_own_name():
    assert pairs_in("valid_acc=0.5 lr=0.1", "valid_acc") == {"valid_acc": 0.5}


def test_a_pattern_says_where_the_metrics_are():
    text = BOWL + "for e in range(epochs): print(f'Test set: Average loss: {loss(e + 1):.4f}, Accuracy: 9/10 (90%)')"
    assert list(Pattern(r"loss: (?P<val_loss>\S+) .* \((?P<accuracy>\d+)%")("loss: 0.5, 9/10 (90%)")) == [
        "val_loss",
        "accuracy",
    ]
    result = sweep(script(text, pattern=r"Average loss: (?P<val_loss>[^,]+)"), [0.01, 0.03], epochs=3)
    assert result.value == pytest.approx(1 / 3, abs=1e-4)


def test_a_pattern_that_matches_no_number_fails_with_what_it_matched():
    with pytest.raises(TrialFailedError, match="matched 'done'"):
        sweep(script("print('val_loss done')", pattern=r"val_loss (?P<val_loss>\S+)"), [0.1], epochs=1)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        ("print('epoch,loss,val_loss', file=log)", "log.csv"),
        ("", "log.jsonl"),
    ],
)
def test_a_log_is_read_while_it_is_written(tmp_path, write, name):
    row = "f'{e},{loss(e + 1)},{loss(e + 1)}'" if write else 'f\'{{"epoch": {e}, "val_loss": {loss(e + 1)}}}\''
    text = BOWL + f"log = open(sys.argv[3] + '/{name}', 'w')\n{write}\nimport time\n"
    text += f"for e in range(epochs): print({row}, file=log, flush=True); time.sleep(0.02 * (e == 0))\n"
    problem = script(text, "{out}", log=f"{{out}}/{name}")
    result = sweep(problem, [0.01, 0.03], epochs=4)
    assert result.learning_rate == 0.03
    assert result.trials[0].curve.epochs.tolist() == [1, 2, 3, 4]
    answer = select(problem, epochs=4)
    assert answer.learning_rate is not None


def test_a_script_that_names_its_log_itself_is_run_in_a_folder_of_its_own():
    text = BOWL + "print('val_loss', *map(loss, range(1, epochs + 1)), sep='\\n', file=open('history.csv', 'w'))"
    assert sweep(script(text, log="history.csv", cwd="{out}"), [0.01, 0.03], epochs=4).learning_rate == 0.03
    with pytest.raises(InvalidArgumentError, match=r"cwd='{out}'"):
        script(text, log="history.csv")


def test_a_log_that_is_damaged_missing_or_old_is_said_to_be(tmp_path):
    with pytest.raises(LogError, match=r"log.csv, line 2: 1 cells"):
        sweep(
            script("import sys; open(sys.argv[3], 'w').write('a,b\\n1')", "{out}/log.csv", log="{out}/log.csv"),
            [1],
            epochs=1,
        )
    with pytest.raises(TrialFailedError, match="written no log"):
        sweep(script("print('hello')", log="{out}/log.csv"), [1], epochs=1)
    (tmp_path / "log-0.csv").write_text("val_loss\n1\n")
    with pytest.raises(TrialFailedError, match="older than this training"):
        sweep(script("print('hello')", log="log-{trial}.csv", cwd=tmp_path), [1], epochs=1)


def test_half_a_line_is_no_line_until_the_file_has_ended(tmp_path):
    path = tmp_path / "output"
    path.write_bytes(b"val_loss=0.5\nval_loss=0.")
    lines = Lines(path)
    assert list(lines.read(ended=False)) == ["val_loss=0.5"]
    with path.open("ab") as stream:
        stream.write(b"25\r10%\r100% \xff\xfe\n\n" + b"x" * 100_000)
    assert list(lines.read(ended=False)) == ["val_loss=0.25", "10%", "100% ��"]
    [last] = lines.read(ended=True)
    assert len(last) == 1 << 14
    lines.close()


@pytest.mark.parametrize(
    ("rows", "numbers", "problem"),
    [
        ([(0, 1.0), (1, 0.5)], 2, None),
        ([(1, 1.0), (2, 0.5), (1, 0.5)], 2, None),  # the best epoch once more
        ([(1, 1.0), (2, 0.5), (2, 0.5), (None, 0.5)], 2, None),
        ([(None, 1.0), (None, 0.5), (None, 0.5)], 2, None),
        ([(0.5, 1.0), (1.0, 0.9), (1.5, 0.8), (2.0, 0.7)], 2, None),
        ([(None, 1.0), (None, 0.5), (None, 0.5), (None, 0.5)], 2, "more than 2 times"),
        ([(1, 1.0), (1, 0.5)], 1, "twice for epoch 1"),
        ([(1, 1.0), (3, 0.5)], 1, "epoch 3 next after epoch 1"),
        ([(0, 1.0), (1, 0.5), (2, 0.4)], 2, "more than 2 epochs"),
        ([(5, 1.0)], 0, "is 5"),
    ],
)
def test_an_epoch_is_a_row_and_what_cannot_be_epochs_is_noticed(rows, numbers, problem):
    epochs = Epochs("val_loss", 2, told=True)
    for number, value in rows:
        epochs.take(({} if number is None else {"epoch": float(number)}) | {"val_loss": value})
    assert len(epochs.rows) == numbers
    assert (problem or "None") in str(epochs.problem)


# --- what goes wrong


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("import sys; print('no data'); sys.exit(3)", TrialFailedError, r"(?s)exit code 3.*no data"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            TrialFailedError,
            "SIGKILL; it has printed nothing",
        ),
        ("1 / 0", TrialFailedError, "ZeroDivisionError"),
        ("pass", UnsupportedProblemError, r"no metrics: .*\(\?P<val_loss>.*printed nothing"),
        ("print('val_accuracy=0.5')", UnknownMetricError, "it gives val_accuracy"),
        (
            "import os; print('val_loss=0.%d' % os.getpid()); print('val_loss=0.4')",
            UnsupportedProblemError,
            "ended after 2 of 3 epochs",
        ),
        ("print('val_loss=0.5\\n' * 9)", UnsupportedProblemError, "more than . times"),
        ("[print('epoch 1 val_loss=0.5') for _ in range(3)]", UnsupportedProblemError, "twice for epoch 1"),
        ("import sys; sys.stdout.buffer.write(bytes(range(256))); sys.exit(1)", TrialFailedError, "exit code 1"),
    ],
)
def test_a_command_that_gives_nothing_to_go_by_is_an_error_with_the_end_of_its_output(text, error, message):
    for verb in (lambda problem: sweep(problem, [0.1], epochs=3), lambda problem: select(problem, epochs=3, budget=5)):
        with pytest.raises(error, match=message):
            verb(script(text))


def test_a_command_that_does_not_use_its_rate_gets_no_answer_and_the_question_whether_it_does():
    text = "import sys; [print('val_loss=%s' % (1 / epoch)) for epoch in range(1, int(sys.argv[2]) + 1)]"
    answer = select(script(text), epochs=10)
    assert answer.learning_rate is None
    assert "is {learning_rate} in the command" in str(answer)
    assert answer.cost < 1.5


def test_a_command_that_hangs_has_failed_after_its_timeout():
    with pytest.raises(TrialFailedError, match=r"(?s)no epoch for 0.3 seconds.*waiting"):
        sweep(script("import time; print('waiting'); time.sleep(60)", timeout=0.3), [0.1], epochs=3)


def test_a_rate_that_fails_alone_is_a_failed_trial_and_the_others_go_on():
    text = NUMBERED + "\nif rate > 0.04: sys.exit('out of memory')"
    result = sweep(script(text), [0.01, 0.03, 0.1], epochs=3)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAILED]
    assert result.learning_rate == 0.03
    assert "out of memory" in (result.trials[2].error or "")
    assert any("failed at learning rate 0.1" in warning for warning in result.warnings)
    answer = select(script(text), epochs=8)
    assert answer.learning_rate is not None
    assert answer.learning_rate < 0.1


def test_a_script_that_gives_up_on_nan_has_diverged_and_not_failed():
    text = (
        BOWL
        + "for e in range(1, epochs + 1):\n    print('loss', loss(e)); assert rate < 0.3; print('val_loss', loss(e))"
    )
    result = sweep(script(text), [0.01, 1.0], epochs=3)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE, TrialState.DIVERGED]


def test_enormous_output_that_is_no_text_is_read_past():
    text = "import sys\nfor _ in range(40): sys.stdout.buffer.write(b'\\xff=1 ' * 100_000)\nprint('\\nval_loss=0.5')"
    assert sweep(script(text), [0.1], epochs=1).value == 0.5


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python train.py {learning_rate}", "a list of its words"),
        ([], "a list of its words"),
        (["no-such-program", "{learning_rate}"], "no program 'no-such-program'"),
        (["python", "train.py"], "has no {learning_rate}"),
        (["python", "{lr}", "{learning_rate}"], "{lr}, which is not known: use {learning_rate}, {epochs}"),
        (["python", "{learning_rate:.3f}"], "not known"),
        (["python", "{learning_rate!r}"], "not known"),
        (["python", "{learning_rate} {"], "a brace alone"),
        (["{learning_rate}"], "placeholders are for arguments"),
        (["python", 3, "{learning_rate}"], "no text"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command, message):
    with pytest.raises(InvalidArgumentError, match=message.replace("{", r"\{")):
        CommandTrainable(command)


@pytest.mark.parametrize(
    "settings", [{"pattern": "("}, {"pattern": "loss"}, {"timeout": 0}, {"timeout": math.nan}, {"cwd": "{nowhere}"}]
)
def test_settings_that_cannot_be_used_are_refused(settings):
    with pytest.raises(InvalidArgumentError):
        script(FINAL, **settings)


def test_a_program_that_cannot_be_started_is_said_to_be(tmp_path):
    (tmp_path / "tool").write_text("no program")
    (tmp_path / "tool").chmod(0o755)
    with pytest.raises(InvalidArgumentError, match="cannot be started"):
        sweep(CommandTrainable([str(tmp_path / "tool"), "{learning_rate}"]), [0.1], epochs=1)


def test_a_schedule_and_a_range_test_are_refused():
    with pytest.raises(InvalidArgumentError, match="option of its own"):
        sweep(script(NUMBERED), [0.1], epochs=3, schedule=schedules.cosine)
    with pytest.raises(UnsupportedProblemError, match="constant learning rate only"):
        range_test(script(NUMBERED))


def test_nothing_in_an_argument_is_read_by_a_shell(tmp_path):
    hostile = f"; touch {tmp_path}/owned $(touch {tmp_path}/owned) `touch {tmp_path}/owned`"
    assert sweep(script("print('val_loss', 1)", hostile), [0.1], epochs=1).value == 1
    assert not (tmp_path / "owned").exists()


def test_doubled_braces_stand_for_themselves():
    assert Template('{{"lr": {learning_rate}}}').filled({"learning_rate": "0.1"}) == '{"lr": 0.1}'


# --- processes

FAMILY = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'])
Path(sys.argv[3]).open('a').write(f'{os.getpid()} {child.pid}\\n')
for e in range(1, 1000):
    print(f'epoch {e} val_loss={1 / e + float(sys.argv[1])}')
    time.sleep(0.01)
"""


def family(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def living(path: Path) -> list[int]:
    return [pid for pid in family(path) if alive(pid)]


def test_a_training_that_is_left_is_paused_with_all_its_processes_and_goes_on_from_there(tmp_path):
    problem = script(FAMILY, str(tmp_path / "pids"), epochs="0")
    problem.begin(0.5, 9, 0)
    problem.train(np.array([0.5]))
    paused = problem.snapshot()
    problem.begin(0.25, 9, 0)
    problem.train(np.array([0.25]))
    pids = family(tmp_path / "pids")
    assert len(pids) == 4
    assert wait_until(lambda: [state(pid) for pid in pids] == ["T"] * 4)
    problem.restore(paused)
    problem.train(np.array([0.5]))
    assert problem.evaluate() == {"val_loss": 1.0}
    assert family(tmp_path / "pids") == pids
    problem.close()
    assert wait_until(lambda: not living(tmp_path / "pids"))


def test_no_more_commands_are_held_than_functions_are(tmp_path):
    problem = script(FAMILY, str(tmp_path / "pids"), epochs="0")
    for number in range(function.HELD + 2):
        problem.begin(0.1 + number, 9, 0)
        problem.train(np.array([0.1 + number]))
    assert wait_until(lambda: len(living(tmp_path / "pids")) == 2 * function.HELD)
    problem.close()
    assert wait_until(lambda: not living(tmp_path / "pids"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_happens_every_process_is_ended(tmp_path, error):
    def fail(event):
        if len(family(tmp_path / "pids")) > 4:
            raise error

    with pytest.raises(error):
        sweep(script(FAMILY, str(tmp_path / "pids"), epochs="0"), [0.1, 0.2, 0.3], epochs=3, on_event=fail)
    assert wait_until(lambda: not living(tmp_path / "pids"))


def test_processes_that_do_not_listen_are_killed(tmp_path):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY
    sweep(script(deaf, str(tmp_path / "pids"), epochs="0"), [0.1], epochs=2)
    assert wait_until(lambda: not living(tmp_path / "pids"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_where_learnrate_itself_is_killed_its_commands_end_too(tmp_path, number):
    source = json.dumps(FAMILY.replace("{", "{{").replace("}", "}}"))
    program = f"""
import learnrate, sys
command = [sys.executable, "-I", "-S", "-u", "-c", {source}, "{{learning_rate}}", "0", {str(tmp_path / "pids")!r}]
learnrate.sweep(learnrate.CommandTrainable(command), [0.1], epochs=900)
"""
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ) as process:
        assert wait_until(lambda: len(family(tmp_path / "pids")) == 2)
        assert all(alive(pid) for pid in family(tmp_path / "pids"))
        process.send_signal(number)
    assert wait_until(lambda: not [pid for pid in family(tmp_path / "pids") if alive(pid)])


def test_outputs_without_a_study_are_gone_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sweep(script(NUMBERED), [0.1], epochs=2)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def control_c():
    # a shell starts what it runs in the background with Ctrl-C ignored, the tests among them
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_control_c_waits_until_a_process_is_known(control_c):
    reached = []

    def start():
        with unbroken():
            signal.raise_signal(signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_was_torn_from_its_training_is_ended_with_the_others(tmp_path, monkeypatch, control_c):
    problem = script(FAMILY, str(tmp_path / "pids"), epochs="0")
    monkeypatch.setattr(CommandRun, "__init__", lambda *_: signal.raise_signal(signal.SIGINT))
    problem.begin(0.5, 9, 0)
    with pytest.raises(KeyboardInterrupt):
        problem.train(np.array([0.5]))
    assert wait_until(lambda: len(family(tmp_path / "pids")) == 2)
    problem.close()
    assert wait_until(lambda: not living(tmp_path / "pids"))
