"""A study remembers what it was told, for one process at a time, whatever ends that process."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from learnrate import study as study_module
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError, StudyError, StudyLockedError, StudyMismatchError
from learnrate.results import Diagnosis, DiagnosisVerdict, Finding, Trial, TrialState
from learnrate.study import Study

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # thousands of flushes to a real disk take a minute
ABOUT = {"verb": "select", "settings": {"epochs": 20, "seed": 0}, "identity": {"parameters": 101}}


def trial(number=0, rows=(), state=TrialState.COMPLETE, **changes):
    defaults = {"hyperparameters": {"learning_rate": 0.1}, "value": 0.5, "seed": 7, "seconds": 1.5}
    return Trial(number=number, state=state, curve=LearningCurve.from_rows(list(rows)), **(defaults | changes))


def plain(trial):
    """Return a trial as builtins that compare: NaN by its name."""
    return repr(msgspec.to_builtins(trial, enc_hook=lambda value: value.tolist()))


def plain_all(trials):
    return [plain(each) for each in trials]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "study"


@pytest.fixture
def study(folder):
    with Study.open(folder, **ABOUT) as study:
        yield study


# what it remembers


def test_a_finished_segment_is_recalled_as_it_was_at_its_end_though_the_trial_went_on(study):
    first = trial(rows=[(1, {"loss": 0.9})], value=0.9)
    second = trial(rows=[(1, {"loss": 0.9}), (2, {"loss": 0.4})], value=0.4)
    study.finish("to 1", first)
    study.start(first, "to 2")
    study.record(0, 2, {"loss": 0.4})
    study.finish("to 2", second)
    assert plain(study.recall("to 1")) == plain(first)
    assert plain(study.recall("to 2")) == plain(second)
    assert plain_all(study.trials()) == [plain(second)]


def test_a_segment_that_is_not_finished_is_not_recalled(study):
    study.start(trial(), "a")
    study.record(0, 1, {"loss": 1.0})
    assert study.recall("a") is None


def test_every_field_of_a_trial_comes_back(study):
    finding = Finding(kind="overfitting", strength=0.75, evidence="épochs 3 → 9 </script> \x00 \ud800")
    diagnosis = Diagnosis(verdict=DiagnosisVerdict.OVERFITTING, findings=[finding], evidence="e", advice="a")
    whole = trial(
        number=3,
        rows=[(0.5, {"loss": math.inf}), (1, {"loss": math.nan, "val loss.[0]": -1e-320})],
        hyperparameters={"learning_rate": np.float64(0.1), "units": np.int64(4), "path": Path("a"), "low": -math.inf},
        state=TrialState.DIVERGED,
        value=None,
        epochs=1.0,
        horizon=20.0,
        stage="screen",
        error='it\'s\n"dead"\r\x1b[31m',
        diagnosis=diagnosis,
    )
    study.finish("k'\"; DROP TABLE trials --", whole)
    back = study.recall("k'\"; DROP TABLE trials --")
    assert back.hyperparameters == {"learning_rate": 0.1, "units": 4, "path": "a", "low": -math.inf}
    assert plain(msgspec.structs.replace(back, hyperparameters={})) == plain(
        msgspec.structs.replace(whole, hyperparameters={})
    )


@given(values=st.lists(st.floats(), min_size=1, max_size=4), epoch=st.floats(0, 1e9))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_number_that_a_training_reports_comes_back_bit_for_bit(study, values, epoch):
    metrics = {f"metric {index}": value for index, value in enumerate(values)}
    study.start(trial(number=1), "never finished")
    study.record(1, epoch, metrics)
    curve = next(each for each in study.trials() if each.number == 1).curve
    (row,) = np.flatnonzero(curve.epochs == epoch)
    for name, value in metrics.items():
        assert repr(float(curve.metrics[name][row])) == repr(value)


def test_an_epoch_that_is_done_again_replaces_its_row(study):
    study.start(trial(), "a")
    study.record(0, 1, {"loss": 1.0, "accuracy": 0.1})
    study.record(0, np.float32(1), {"loss": np.float32(0.5)})
    (back,) = study.trials()
    assert back.curve.epochs.tolist() == [1.0]
    assert {name: values.tolist() for name, values in back.curve.metrics.items()} == {"loss": [0.5]}


def test_rows_of_an_earlier_attempt_stay_until_the_segment_is_finished(study):
    study.start(trial(), "a")
    for epoch in (1, 2, 3):
        study.record(0, epoch, {"loss": 1 / epoch})
    study.start(trial(), "a")
    study.record(0, 1, {"loss": 1.0})
    assert study.trials()[0].curve.epochs.tolist() == [1, 2, 3]
    study.finish("a", trial(rows=[(1, {"loss": 1.0})], state=TrialState.DIVERGED))
    assert study.trials()[0].curve.epochs.tolist() == [1]


def test_a_started_trial_is_running_and_has_its_curve_so_far(study):
    study.start(trial(rows=[(1, {"loss": 1.0})], state=TrialState.COMPLETE), "a")
    (back,) = study.trials()
    assert back.state is TrialState.RUNNING
    assert back.curve.epochs.tolist() == [1]


def test_trials_come_by_number_whatever_the_order_of_their_ends(study):
    for number in (2, 10, 1):
        study.finish(f"{number}", trial(number=number))
    assert [each.number for each in study.trials()] == [1, 2, 10]


def test_the_result_is_kept_as_it_was_given(study, folder):
    assert study.result() is None
    study.set_result('{"learning_rate": 0.1, "é": null}')
    study.set_result('{"learning_rate": 0.2, "é": null}')
    study.close()
    with Study.read(folder) as again:
        assert again.result() == '{"learning_rate": 0.2, "é": null}'


def test_a_finished_segment_is_neither_started_nor_finished_again(study):
    study.finish("a", trial())
    with pytest.raises(InvalidArgumentError, match="'a' is finished already: recall it"):
        study.start(trial(), "a")
    with pytest.raises(InvalidArgumentError, match="'a' is finished already"):
        study.finish("a", trial())


@pytest.mark.parametrize("epoch", [math.nan, math.inf, -1.0, "one", None])
def test_an_epoch_that_is_no_place_in_a_training_is_refused(study, epoch):
    study.start(trial(), "a")
    with pytest.raises(InvalidArgumentError, match=r"epoch|number"):
        study.record(0, epoch, {"loss": 1.0})
    assert study.trials()[0].curve.epochs.tolist() == []


def test_a_metric_that_is_no_number_is_refused(study):
    study.start(trial(), "a")
    with pytest.raises(InvalidArgumentError, match=r"no number: 1\.0: {'loss': None}"):
        study.record(0, 1.0, {"loss": None})


def test_an_epoch_of_a_trial_that_was_not_started_is_refused(study):
    with pytest.raises(InvalidArgumentError, match="trial 5 was not started"):
        study.record(5, 1, {"loss": 1.0})


def test_what_json_cannot_hold_is_refused_and_nothing_of_it_is_written(study):
    with pytest.raises(InvalidArgumentError, match="object"):
        study.finish("a", trial(hyperparameters={"learning_rate": 0.1, "activation": object()}))
    assert study.recall("a") is None
    assert study.trials() == []


def test_a_finish_that_fails_in_the_middle_leaves_everything_as_it_was(study):
    study.finish("a", trial(rows=[(1, {"loss": 1.0})]))
    before = plain_all(study.trials())
    with pytest.raises(InvalidArgumentError):
        study.finish("b", trial(rows=[(1, {"loss": 2.0}), (math.nan, {"loss": 2.0})]))
    assert study.recall("b") is None
    assert plain_all(study.trials()) == before


def test_threads_may_report_at_the_same_time(study):
    for number in range(4):
        study.start(trial(number=number), f"{number}")

    def report(number):
        for epoch in range(1, 26):
            study.record(number, epoch, {"loss": number + 1 / epoch})

    threads = [threading.Thread(target=report, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.curve.epochs.tolist() for each in study.trials()] == [list(range(1, 26))] * 4


# opening, continuing


def test_a_study_is_made_with_its_parents_and_continued_with_all_that_it_had(tmp_path):
    folder = tmp_path / "a b" / "c%20?#d" / "study"
    with Study.open(folder, **ABOUT) as study:
        study.finish("a", trial(rows=[(1, {"loss": 1.0})]))
        created = study.created
    with Study.open(str(folder), **ABOUT) as study:
        assert study.recall("a").value == 0.5
        assert (study.verb, study.settings, study.identity) == tuple(ABOUT.values())
        assert (study.created, study.format_version) == (created, 1)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "checkpoints", "study.sqlite"]


def test_a_change_of_the_working_directory_does_not_lose_the_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Study.open("study", **ABOUT) as study:
        monkeypatch.chdir("/")
        study.write_checkpoint("a", lambda path: path.write_bytes(b"weights"))
        assert study.checkpoint("a").read_bytes() == b"weights"
        assert "process" in study.holder()


def test_another_verb_or_other_settings_are_refused_by_a_list_of_what_differs(folder):
    old = {"epochs": 20, "space": {"rate": [1e-4, math.nan], "units": 3}, "batch": (1, 2), "gone": None}
    Study.open(folder, verb="select", settings=old, identity={"parameters": 101, "limit": math.inf}).close()
    Study.open(folder, verb="select", settings=old, identity={"parameters": 101, "limit": math.inf}).close()
    new = {"epochs": 30, "space": {"rate": [1e-4, math.nan], "units": 4}, "batch": [1, 2], "new": "x"}
    with pytest.raises(StudyMismatchError) as caught:
        Study.open(folder, verb="sweep", settings=new, identity={"parameters": 102, "limit": math.inf})
    assert [line.strip() for line in str(caught.value).splitlines()[1:-1]] == [
        "verb: 'select' → 'sweep'",
        "settings.epochs: 20 → 30",
        "settings.space.units: 3 → 4",
        "settings.gone: None → nothing",
        "settings.new: nothing → 'x'",
        "identity.parameters: 101 → 102",
    ]


def test_a_refused_opening_holds_no_lock(folder):
    Study.open(folder, **ABOUT).close()
    for _ in range(2):
        with pytest.raises(StudyMismatchError):
            Study.open(folder, **(ABOUT | {"verb": "sweep"}))
    Study.open(folder, **ABOUT).close()


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StudyError, match=r"thesis\.tex.*empty or a new folder"):
        Study.open(tmp_path, **ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_hidden_files_do_not_fill_a_folder(tmp_path):
    (tmp_path / ".gitignore").write_text("*")
    Study.open(tmp_path, **ABOUT).close()
    assert (tmp_path / ".gitignore").read_text() == "*"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "notes").write_text("")
    with pytest.raises(StudyError, match="is a file, and a study is a folder"):
        Study.open(tmp_path / "notes", **ABOUT)
    with pytest.raises(StudyError, match="Not a directory"):
        Study.open(tmp_path / "notes" / "study", **ABOUT)


def test_settings_that_json_cannot_hold_are_refused_before_a_folder_is_made(folder):
    with pytest.raises(InvalidArgumentError, match="function"):
        Study.open(folder, verb="select", settings={"build": lambda: None}, identity={})
    assert not folder.exists()


def test_a_creation_that_was_cut_short_is_begun_again(folder):
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".study.sqlite").write_bytes(b"SQLite format 3\x00, half")
    (folder / ".study.sqlite-journal").write_bytes(b"\x00" * 100)
    with Study.open(folder, **ABOUT) as study:
        study.finish("a", trial())
    assert not list(folder.glob(".study*"))


def test_clocks_that_jump_back_hurt_nothing(folder, monkeypatch):
    monkeypatch.setattr(study_module, "_now", lambda: "2999-12-31T23:59:59+00:00")
    with Study.open(folder, **ABOUT) as study:
        study.finish("a", trial(rows=[(1, {"loss": 1.0})]))
    monkeypatch.setattr(study_module, "_now", lambda: "1970-01-01T00:00:00+00:00")
    with Study.open(folder, **ABOUT) as study:
        study.finish("b", trial(rows=[(1, {"loss": 1.0}), (2, {"loss": 0.5})]))
        assert study.trials()[0].curve.epochs.tolist() == [1, 2]
        assert study.created.startswith("2999")


FORMAT_1 = """
CREATE TABLE epochs (trial INTEGER REFERENCES trials (number), epoch REAL, metrics TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (trial, epoch)) WITHOUT ROWID;
INSERT INTO "epochs" VALUES(0,1.0,'{"loss": 0.5, "val_loss": NaN}',1072069105);
INSERT INTO "epochs" VALUES(0,2.0,'{"loss": 0.25, "val_loss": Infinity}',170026325);
INSERT INTO "epochs" VALUES(1,1.0,'{"loss": 0.75}',4029846184);
CREATE TABLE segments (key TEXT PRIMARY KEY, trial TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "segments" VALUES('rate 0.1, to 2','{"number": 0, "hyperparameters": {"learning_rate": 0.1}, "state": "complete", "curve": {"epochs": [1.0, 2.0], "metrics": {"loss": [0.5, 0.25], "val_loss": [NaN, Infinity]}}, "value": 0.5, "seed": 7, "seconds": 1.5, "epochs": 0.0, "horizon": 0.0, "stage": "", "error": null, "diagnosis": null}',4096004503);
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "study" VALUES('created','"2026-11-22T01:37:58+00:00"',3128017157);
INSERT INTO "study" VALUES('format','1',373122065);
INSERT INTO "study" VALUES('holder','"process 13193 on host since 2026-11-22T01:37:59+00:00"',1717238134);
INSERT INTO "study" VALUES('identity','{"parameters": 10}',3132688239);
INSERT INTO "study" VALUES('result','{"learning_rate":0.1}',3698484011);
INSERT INTO "study" VALUES('settings','{"epochs": 2}',2578254751);
INSERT INTO "study" VALUES('verb','"select"',3074541597);
CREATE TABLE trials (number INTEGER PRIMARY KEY, trial TEXT NOT NULL, crc INTEGER NOT NULL);
INSERT INTO "trials" VALUES(0,'{"number": 0, "hyperparameters": {"learning_rate": 0.1}, "state": "complete", "curve": {"epochs": [], "metrics": {}}, "value": 0.5, "seed": 7, "seconds": 1.5, "epochs": 0.0, "horizon": 0.0, "stage": "", "error": null, "diagnosis": null}',1962572926);
INSERT INTO "trials" VALUES(1,'{"number": 1, "hyperparameters": {"learning_rate": 0.2}, "state": "running", "curve": {"epochs": [], "metrics": {}}, "value": 0.5, "seed": 7, "seconds": 1.5, "epochs": 0.0, "horizon": 0.0, "stage": "", "error": null, "diagnosis": null}',1855725051);
"""  # noqa: E501  # as it was written


def test_a_study_of_format_1_still_opens(folder):
    folder.mkdir()
    database = sqlite3.connect(folder / "study.sqlite")
    database.executescript(FORMAT_1)
    database.close()
    with Study.open(folder, verb="select", settings={"epochs": 2}, identity={"parameters": 10}) as study:
        done = trial(rows=[(1.0, {"loss": 0.5, "val_loss": math.nan}), (2.0, {"loss": 0.25, "val_loss": math.inf})])
        assert plain(study.recall("rate 0.1, to 2")) == plain(done)
        assert [each.state for each in study.trials()] == [TrialState.COMPLETE, TrialState.RUNNING]
        assert plain(study.trials()[0]) == plain(done)
        assert study.trials()[1].curve.metrics["loss"].tolist() == [0.75]
        assert study.result() == '{"learning_rate":0.1}'


# one works, many read

HOLD = """
import json, sys
from learnrate.study import Study
study = Study.open(sys.argv[1], **json.loads(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def holding(folder):
    """Start a process that works on the study until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), msgspec.json.encode(ABOUT).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(study_module.__file__).parents[1])},
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_refused_by_the_name_of_the_first_until_that_is_killed(folder):
    with holding(folder) as holder:
        try:
            with pytest.raises(StudyLockedError, match=rf"process {holder.pid} on \S+ since \d{{4}}-"):
                Study.open(folder, **ABOUT)
            with Study.read(folder) as reader:
                assert reader.trials() == []
                assert f"process {holder.pid} " in reader.holder()
        finally:
            holder.kill()
    with Study.read(folder) as reader:
        assert reader.holder() is None
    with Study.open(folder, **ABOUT) as study:
        assert f"process {os.getpid()} " in study.holder()


def test_a_second_opening_in_the_same_process_is_refused_too(study, folder):
    with pytest.raises(StudyLockedError, match=f"process {os.getpid()} "):
        Study.open(folder, **ABOUT)
    study.finish("a", trial())


def test_a_reader_sees_each_epoch_as_it_is_recorded(study, folder):
    with Study.read(folder) as reader:
        study.start(trial(), "a")
        for epoch in (1, 2, 3):
            study.record(0, epoch, {"loss": 1.0})
            assert len(reader.trials()[0].curve) == epoch
        study.finish("a", trial())
        assert reader.recall("a") is not None


def test_a_reader_changes_nothing(study, folder):
    study.close()
    with Study.read(folder) as reader:
        for change in (
            lambda: reader.start(trial(), "a"),
            lambda: reader.finish("a", trial()),
            lambda: reader.set_result("{}"),
            lambda: reader.write_checkpoint("a", lambda path: path.touch()),
            lambda: reader.drop_checkpoint("a"),
        ):
            with pytest.raises(StudyError, match="for reading only"):
                change()
    assert list((folder / "checkpoints").iterdir()) == []


def test_reading_where_there_is_no_study_makes_none(tmp_path):
    with pytest.raises(StudyError, match="there is no study in"):
        Study.read(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="there is no study in"):
        Study.read(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_study_says_so(study):
    study.close()
    study.close()
    with pytest.raises(StudyError, match="closed"):
        study.finish("a", trial())


# checkpoints


def test_a_checkpoint_is_the_old_one_or_the_new_one(study, folder):
    study.write_checkpoint("trial-3.keras", lambda path: path.write_bytes(b"old"))
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("no weights")):

        def fail(path, failure=failure):
            path.write_bytes(b"ne")
            raise failure

        with pytest.raises(StudyError if isinstance(failure, OSError) else type(failure)):
            study.write_checkpoint("trial-3.keras", fail)
        assert study.checkpoint("trial-3.keras").read_bytes() == b"old"
    study.write_checkpoint("trial-3.keras", lambda path: path.write_bytes(b"new"))
    assert study.checkpoint("trial-3.keras").read_bytes() == b"new"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["trial-3.keras"]
    study.drop_checkpoint("trial-3.keras")
    study.drop_checkpoint("trial-3.keras")
    assert study.checkpoint("trial-3.keras") is None


def test_the_path_that_a_checkpoint_is_written_to_ends_like_its_name(study):
    def write(path):
        assert path.name.endswith("model.weights.h5")
        path.touch()

    study.write_checkpoint("model.weights.h5", write)


def test_a_writer_that_writes_nothing_is_an_error(study):
    with pytest.raises(StudyError, match="No such file"):
        study.write_checkpoint("a", lambda path: None)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", ".hidden", "C:a", "a\x00", "a\n", "é", "a" * 201]
)
def test_a_name_that_could_lead_elsewhere_is_refused(study, name):
    for use in (study.checkpoint, study.drop_checkpoint, lambda name: study.write_checkpoint(name, Path.touch)):
        with pytest.raises(InvalidArgumentError, match="checkpoint"):
            use(name)


def test_what_a_killed_process_left_half_written_is_cleared_away(study, folder):
    study.write_checkpoint("a", lambda path: path.write_bytes(b"whole"))
    study.close()
    (folder / "checkpoints" / ".partial-b").write_bytes(b"half")
    with Study.open(folder, **ABOUT) as again:
        assert again.checkpoint("a").read_bytes() == b"whole"
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["a"]


def test_links_that_may_lead_out_of_the_folder_are_refused(study, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "checkpoints" / "a").symlink_to(secret)
    (folder / "checkpoints" / ".partial-b").symlink_to(secret)
    with pytest.raises(StudyError, match="is a link"):
        study.checkpoint("a")
    study.drop_checkpoint("a")
    study.close()
    with Study.open(folder, **ABOUT) as again:
        again.write_checkpoint("b", lambda path: path.write_text("mine"))
    assert secret.read_text() == "secret"
    for name in ("study.sqlite", "checkpoints", ".lock"):
        path = folder / name
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        for use in (lambda: Study.open(folder, **ABOUT), lambda: Study.read(folder)):
            with pytest.raises(StudyError, match=f"links in it.*{name}"):
                use()
        path.unlink()
        (tmp_path / "elsewhere").rename(path)


# against a plain model of it

numbers = st.integers(0, 3)
epochs = st.sampled_from([0.25, 1.0, 2.0, 3.0])
metrics = st.dictionaries(st.sampled_from(["loss", "val_loss", "é.[0]"]), st.floats(), max_size=3)
curves = st.dictionaries(epochs, metrics, max_size=3).map(lambda rows: sorted(rows.items()))
states = st.sampled_from(TrialState)
keys = st.sampled_from(["a", "b", "it's", "d" * 300])
names = st.sampled_from(["a", "trial-1.npz"])


class StudyMachine(RuleBasedStateMachine):
    """Start, record, finish, kill, resume in any order: the study equals three dictionaries."""

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp(prefix="learnrate-test-", dir=MEMORY))
        self.generation = 0
        self.study = Study.open(self.folder, **ABOUT)
        self.trials: dict[int, tuple[Trial, dict[float, dict[str, float]]]] = {}
        self.segments: dict[str, Trial] = {}
        self.files: dict[str, bytes] = {}
        self.answer: str | None = None

    @property
    def folder(self):
        return self.root / f"{self.generation}"

    @rule(number=numbers, rows=curves, key=keys)
    def start(self, number, rows, key):
        started = trial(number=number, rows=rows, state=TrialState.COMPLETE)
        if key in self.segments:
            with pytest.raises(InvalidArgumentError):
                self.study.start(started, key)
            return
        self.study.start(started, key)
        known = self.trials[number][1] if number in self.trials else {}
        self.trials[number] = msgspec.structs.replace(started, state=TrialState.RUNNING), known | full(rows)

    @rule(number=numbers, epoch=epochs, row=metrics)
    def record(self, number, epoch, row):
        if number not in self.trials:
            with pytest.raises(InvalidArgumentError):
                self.study.record(number, epoch, row)
            return
        self.study.record(number, epoch, row)
        self.trials[number][1][epoch] = row

    @rule(number=numbers, rows=curves, state=states, key=keys, value=st.none() | st.floats(-1e9, 1e9))
    def finish(self, number, rows, state, key, value):
        finished = trial(number=number, rows=rows, state=state, value=value)
        if key in self.segments:
            with pytest.raises(InvalidArgumentError):
                self.study.finish(key, finished)
            return
        self.study.finish(key, finished)
        self.segments[key] = finished
        self.trials[number] = finished, full(rows)

    @rule(answer=st.text(st.characters(codec="utf-8")))
    def set_result(self, answer):
        self.study.set_result(answer)
        self.answer = answer

    @rule(name=names, content=st.binary(max_size=8), fails=st.booleans())
    def write_checkpoint(self, name, content, fails):
        def write(path):
            path.write_bytes(content)
            if fails:
                raise InterruptedError

        if fails:
            with pytest.raises(StudyError):
                self.study.write_checkpoint(name, write)
        else:
            self.study.write_checkpoint(name, write)
            self.files[name] = content

    @rule(name=names)
    def drop_checkpoint(self, name):
        self.study.drop_checkpoint(name)
        self.files.pop(name, None)

    @rule()
    def resume(self):
        self.study.close()
        self.study = Study.open(self.folder, **ABOUT)

    @rule()
    def kill(self):
        """Go on with what a killed process would leave: the files as they are, without the closing."""
        before = self.folder
        self.generation += 1
        shutil.copytree(before, self.folder, ignore=shutil.ignore_patterns("*-shm"))
        self.study.close()
        shutil.rmtree(before)
        self.study = Study.open(self.folder, **ABOUT)

    @precondition(lambda self: hasattr(self, "study"))
    @invariant()
    def equals_its_model(self):
        expected = [
            msgspec.structs.replace(last, curve=LearningCurve.from_rows(sorted(rows.items())))
            for _, (last, rows) in sorted(self.trials.items())
        ]
        with Study.read(self.folder) as reader:
            for view in (self.study, reader):
                assert plain_all(view.trials()) == plain_all(expected)
                for key in ("a", "b", "it's", "d" * 300, "never"):
                    known, recalled = self.segments.get(key), view.recall(key)
                    assert known is recalled is None or plain(recalled) == plain(known)
                assert view.result() == self.answer
                files = {path.name: path.read_bytes() for path in (self.folder / "checkpoints").iterdir()}
                assert files == self.files
                assert all(view.checkpoint(name).read_bytes() == content for name, content in files.items())

    def teardown(self):
        if hasattr(self, "study"):
            self.study.close()
            shutil.rmtree(self.root)


def full(rows):
    """Return a curve's rows as its arrays hold them: NaN where a row lacks a metric that another has."""
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    return {epoch: {name: row.get(name, math.nan) for name in names} for epoch, row in rows}


TestStudyMachine = StudyMachine.TestCase
TestStudyMachine.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
