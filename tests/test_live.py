"""What can be watched while a study runs: the report, the lines, TensorBoard's files."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import msgspec
import pytest

import learnrate
from learnrate._watching import live, tensorboard
from learnrate._watching.lines import described, sparkline
from learnrate._watching.tally import Tally
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError, MissingExtraError
from learnrate.results import Trial, TrialState
from learnrate.testing import QuadraticTrainable
from learnrate.training import Event, EventKind

SLOW = """
import time
from learnrate.testing import QuadraticTrainable


class Slow(QuadraticTrainable):
    def train(self, learning_rates):
        time.sleep(0.15)
        return super().train(learning_rates)
"""


def trial(number, rows, state=TrialState.RUNNING, rate=1e-3, horizon=4.0):
    curve = LearningCurve.from_rows(
        [(epoch + 1, {"loss": value, "val_loss": value}) for epoch, value in enumerate(rows)]
    )
    best = curve.best("val_loss", "min") if rows else None
    return Trial(
        number=number, hyperparameters={"learning_rate": rate}, state=state, curve=curve,
        value=None if best is None else best.value, seed=0, seconds=1.0, epochs=float(len(rows)), horizon=horizon,
    )  # fmt: skip


def event(kind, one=None, spent=0.0):
    return Event(kind=kind, message="screening", spent=spent, budget=2.0, trial=one)


def story(number=0, rate=1e-3, values=(0.5, 0.25), state=TrialState.COMPLETE, spent=0.0):
    yield event(EventKind.TRIAL_STARTED, trial(number, [], rate=rate), spent)
    for length in range(1, len(values) + 1):
        yield event(EventKind.EPOCH, trial(number, values[:length], rate=rate), spent)
    yield event(EventKind.TRIAL_FINISHED, trial(number, values, state, rate), spent + len(values) / 4)


def test_the_tally_knows_the_best_what_is_spent_and_how_long_the_rest_takes():
    now = [0.0]
    tally = Tally("val_loss", clock=lambda: now[0])
    events = [*story(0, values=(0.5, 0.25)), *story(1, 1e-2, (0.4, 0.1), spent=0.5)]
    for one in events[:-1]:
        tally(one)
    now[0] = 10.0
    assert [one.number for one in tally.running] == [1]
    assert tally.best.learning_rate == 1e-3
    assert tally.spent == 1.0
    assert tally.seconds_left == 10.0
    tally(events[-1])
    assert tally.best.learning_rate == 1e-2
    assert not tally.running
    assert tally.spent == 1.0


def test_the_time_left_is_not_told_before_a_tenth_of_the_work():
    now = [0.0]
    tally = Tally("val_loss", clock=lambda: now[0])
    tally(event(EventKind.STAGE))
    for number, (seconds, expected) in enumerate([(6.0, None), (7.0, None), (8.0, None), (9.0, 81.0)]):
        now[0] = seconds  # five seconds of imports, and one for each quarter of a run
        for one in story(number, values=(0.5,), spent=number / 4):
            tally(msgspec.structs.replace(one, budget=10.0))
        assert tally.seconds_left == expected


def test_what_a_study_recalls_tells_nothing_of_the_pace():
    now = [0.0]
    tally = Tally("val_loss", clock=lambda: now[0])
    tally(event(EventKind.STAGE))
    tally(list(story(0, values=(0.5, 0.4, 0.3, 0.2)))[-1])  # recalled: it ends without having begun here
    assert tally.spent == 1.0
    assert tally.seconds_left is None
    now[0] = 10.0
    for one in story(1, values=(0.5, 0.4), spent=1.0):
        tally(one)
    assert tally.seconds_left == 10.0


def test_a_plan_that_is_told_again_ends_no_stage():
    tally = Tally("val_loss")
    for kind, message in ((EventKind.PLAN, "2 runs"), (EventKind.STAGE, "probing"), (EventKind.PLAN, "2 runs, 3 min")):
        tally(msgspec.structs.replace(event(kind), message=message))
    assert (tally.plan, tally.stage) == ("2 runs, 3 min", "probing")


def test_another_schedule_has_a_budget_and_a_pace_of_its_own():
    now = [0.0]
    tally = Tally("val_loss", clock=lambda: now[0])
    for one in story(0, values=(0.5, 0.4, 0.3, 0.2)):
        tally(one)
    now[0] = 10.0
    tally(event(EventKind.STAGE))
    now[0] = 12.0
    for one in story(0, values=(0.5, 0.4)):
        tally(one)
    assert tally.seconds_left == 6.0


def test_a_trial_is_described_with_the_epoch_of_its_value():
    risen = trial(0, [0.5, 0.25, 0.75], TrialState.COMPLETE)
    assert described(risen, "val_loss") == "learning rate 1e-3: val_loss 0.25 at epoch 2, 3 epochs"
    assert described(trial(0, [0.5, 0.25]), "val_loss") == "learning rate 1e-3: val_loss 0.25, 2 of 4 epochs"


def test_trials_of_another_schedule_are_counted_from_0_again_and_lose_none():
    tally = Tally("val_loss")
    for one in [*story(0), *story(0, values=(0.5, 0.1))]:
        tally(one)
    assert [one.number for one in tally.all_trials] == [0, 1]
    assert tally.best.value == 0.1


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([3, 2, 1], "█▅▁"),
        ([2.0, float("nan"), float("inf"), 1.0], "█××▁"),
        ([-1e308, 1e308], "▁█"),
    ],
)
def test_a_curve_is_drawn_in_bars(values, bars):
    assert sparkline(trial(0, values), "val_loss") == bars


def test_a_long_curve_has_few_bars():
    assert len(sparkline(trial(0, list(range(1000))), "val_loss")) == 16


def test_a_verb_is_watched_from_python(tmp_path):
    lines = io.StringIO()
    with learnrate.watch(file=lines, report=tmp_path / "report.html") as on_event:
        learnrate.sweep(QuadraticTrainable(), [1e-2, 1e-1], epochs=2, on_event=on_event)
    told = lines.getvalue().splitlines()
    assert told[:2] == [
        "plan: 2 trainings of 2 epochs (2 × 40 steps, 4 evaluations)",
        "training at 2 learning rates",
    ]
    assert re.fullmatch(
        r"  learning rate 1e-2: val_loss \S+, 2 epochs; spent 1.\d of 2 runs.*; best so far 1e-2  .+", told[2]
    )
    assert live_part(tmp_path / "report.html")[1] == "ended"


def live_part(path):
    return re.search(r'id="live" data-state="(\w+)" data-written="(\d+)"', path.read_text())


def test_the_report_at_work_says_so_and_afterwards_that_it_ended(tmp_path):
    path = tmp_path / "report.html"
    with live.LiveReport(path, verb="select", resume="learnrate resume kept") as page:
        page(event(EventKind.PLAN))
        for one in story():
            page(one)
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert live_part(path)[1] == "running"
        assert abs(int(live_part(path)[2]) / 1000 - time.time()) < 60
        assert "At work: best so far is learning rate 1e-3" in path.read_text()
        assert re.search(r"<dt>Plan</dt>\s*<dd>", path.read_text())
    assert live_part(path)[1] == "ended"
    assert [it.name for it in tmp_path.iterdir()] == ["report.html"]


def test_after_an_exception_the_report_says_how_to_go_on(tmp_path):
    path = tmp_path / "report.html"
    with contextlib.suppress(KeyboardInterrupt), live.LiveReport(path, resume="learnrate resume 'a <b>'") as page:
        for one in story():
            page(one)
        raise KeyboardInterrupt
    assert live_part(path)[1] == "interrupted"
    assert "Go on by <code>learnrate resume &#39;a &lt;b&gt;&#39;</code>" in path.read_text()


def test_a_report_that_cannot_be_rewritten_does_not_end_the_training(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.warns(UserWarning, match="could not be rewritten"), live.LiveReport(folder / "report.html"):
        folder.rmdir()


def test_a_killed_study_is_reported_as_it_stands_and_then_with_its_answer(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    asked = ["sweep", "slow.py:Slow", "--learning-rates", "0.01,0.1", "--epochs", "8", "--study", "kept"]
    program = "import sys; from learnrate.cli import main; main()"
    command = [sys.executable, "-c", program, *asked, "--report", "report.html"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "report.html").exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.kill()
    assert live_part(tmp_path / "report.html")[1] == "running"  # the page itself sees that it is not rewritten
    page = learnrate.report(tmp_path / "kept", tmp_path / "standing.html")
    assert live_part(page)[1] == "interrupted"
    assert f"learnrate resume {tmp_path / 'kept'}" in page.read_text()
    done = subprocess.run(
        [sys.executable, "-c", program, "resume", "kept", "--report", "report.html"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert live_part(tmp_path / "report.html") is None
    assert "Best of 2 trainings" in (tmp_path / "report.html").read_text()


def test_a_study_is_followed_beside_the_verb_until_its_answer(tmp_path):
    page = learnrate.report(tmp_path / "kept", tmp_path / "report.html", follow=True)
    learnrate.sweep(QuadraticTrainable(), [1e-2, 1e-1], epochs=2, study=tmp_path / "kept")
    deadline = time.monotonic() + 60
    while (not page.exists() or live_part(page)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "Best of 2 trainings" in page.read_text()


def test_only_a_study_is_followed(tmp_path):
    result = learnrate.range_test(QuadraticTrainable(), num_steps=50)
    with pytest.raises(InvalidArgumentError, match="only a study can be followed"):
        learnrate.report(result, tmp_path / "report.html", follow=True)


def scalars(folder, tag):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder))
    read.Reload()
    return read, [(one.step, one.value) for one in read.Scalars(tag)]


def test_tensorboard_reads_the_curves_and_the_hyperparameters(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard reads what was written")
    with tensorboard.TensorBoard(tmp_path) as board:
        for one in [*story(0), *story(1, 1e-2, (0.4, float("nan")), TrialState.DIVERGED)]:
            board(one)
    read, values = scalars(tmp_path / "trial-000-lr-1e-3", "val_loss")
    assert values == [(1, 0.5), (2, 0.25)]
    metadata = read.SummaryMetadata("_hparams_/session_start_info")
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    started = parse_session_start_info_plugin_data(metadata.plugin_data.content)
    assert started.hparams["learning_rate"].number_value == 1e-3
    _, values = scalars(tmp_path / "trial-001-lr-1e-2", "loss")
    assert values[0] == (1, pytest.approx(0.4))


def test_tensorboard_holds_no_file_open_and_appends_where_a_trial_goes_on(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard reads what was written")
    resource = pytest.importorskip("resource", reason="Unix tells how many files may be open")
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    with tensorboard.TensorBoard(tmp_path) as board:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 8, allowed[1]))
            for number in range(20):
                for one in story(number, values=(0.5, 0.25)):
                    board(one)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
        board(list(story(7, values=(0.5, 0.25, 0.125)))[-1])
    assert scalars(tmp_path / "trial-007-lr-1e-3", "loss")[1] == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_run_that_is_deleted_meanwhile_is_written_again(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard reads what was written")
    begun, *rest = story()
    with tensorboard.TensorBoard(tmp_path) as board:
        board(begun)
        shutil.rmtree(tmp_path / "trial-000-lr-1e-3")
        for one in rest:
            board(one)
    assert scalars(tmp_path / "trial-000-lr-1e-3", "loss")[1] == [(1, 0.5), (2, 0.25)]


def test_tensorboard_has_each_row_once_after_a_resume(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard reads what was written")
    for _ in range(2):  # the second process is told of finished trials as a whole
        with tensorboard.TensorBoard(tmp_path) as board:
            board(list(story())[-1])
    assert scalars(tmp_path / "trial-000-lr-1e-3", "loss")[1] == [(1, 0.5), (2, 0.25)]


def test_writing_for_tensorboard_loads_neither_tensorflow_nor_torch(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard reads what was written")
    script = (
        "import json, sys, learnrate\n"
        "from learnrate._watching.tensorboard import TensorBoard\n"
        "from learnrate.testing import QuadraticTrainable\n"
        "with TensorBoard(sys.argv[1]) as board:\n"
        "    learnrate.sweep(QuadraticTrainable(), [0.01, 0.1], epochs=2, on_event=board)\n"
        "print(json.dumps([name for name in ('tensorflow', 'torch') if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    assert len(list(tmp_path.glob("trial-*/events.*"))) == 2


def test_without_tensorboard_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"pip install 'learnrate\[tensorboard\]'"):
        tensorboard.TensorBoard(tmp_path)
