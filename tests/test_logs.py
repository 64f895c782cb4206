from __future__ import annotations

import contextlib
import gzip
import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnrate import logs
from learnrate._logs.metric_names import canonical, canonical_names, mode_of
from learnrate.errors import InvalidArgumentError, LogError

unhurried = settings(deadline=None, max_examples=50)


@pytest.fixture
def write(tmp_path):
    def write(text, name="log.csv"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def one(path, **settings):
    [log] = logs.read(path, **settings)
    return log


def columns(log):
    return {name: values.tolist() for name, values in log.curve.metrics.items()}


def test_plain_csv(write):
    log = one(write("epoch,train_loss,val_acc,lr\n1,0.9,0.5,0.1\n2,0.5,0.75,0.01\n"))
    assert log.learning_rate == 0.1
    assert log.curve.epochs.tolist() == [1, 2]
    assert columns(log) == {"loss": [0.9, 0.5], "val_accuracy": [0.5, 0.75]}


def test_epochs_numbered_from_zero_become_epochs_finished(write):
    assert one(write("epoch,loss\n0,1\n1,0.5\n")).curve.epochs.tolist() == [1, 2]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_dialects(write, separator, newline, mark):
    text = mark + newline.join(separator.join(row) for row in [("epoch", "loss"), ("1", "0.9"), ("2", "0.5")])
    assert columns(one(write(text))) == {"loss": [0.9, 0.5]}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_numbers_with_decimal_commas_are_read_where_no_comma_separates(write, separator):
    rows = [
        ("epoch", "lr", "loss", "val_loss", "note"),
        *((f"{i}", "1e-2", f"-{i},25", "", "a, b") for i in range(1, 50)),
    ]
    found = one(write("\n".join(separator.join(row) for row in rows)))
    assert found.learning_rate == 0.01
    assert columns(found)["loss"] == [-(i + 0.25) for i in range(1, 50)]


def test_decimal_commas_are_read_block_by_block(write, monkeypatch):
    monkeypatch.setattr("learnrate._logs.formats._BLOCK", 3)
    rows = "\n".join(f"{i};{1 / i:.3f}".replace(".", ",") for i in range(1, 20))
    np.testing.assert_allclose(
        one(write(f"epoch;loss\n{rows}\n")).curve.metrics["loss"], 1 / np.arange(1.0, 20), atol=1e-3
    )


def test_commas_beside_decimal_points_stay_text(write):
    log = one(write("epoch;loss;kernel\n1;0.9;3,3\n2;0.5;3,3\n"))
    assert columns(log) == {"loss": [0.9, 0.5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch;loss\n1;0.9\n2;1,000\n", r"line 3: '1,000' in column 'loss' is no number"),
        ("epoch,loss\n1,bad\n2,worse\n", r"it holds epoch; loss holds text: 'bad' on line 2"),
        ('[{"epoch": 1, "loss": "0,5"}]', r"it holds epoch; loss holds text: '0,5' on entry 1"),
        ("1;0,5\n2;0,4\n", "the file begins with numbers"),
    ],
)
def test_numbers_that_cannot_be_read_are_named(write, text, message):
    with pytest.raises(LogError, match=message):
        one(write(text))


def test_a_comma_as_decimal_mark_leaves_none_for_the_point(write, monkeypatch):
    monkeypatch.setattr("learnrate._logs.formats._BLOCK", 1)
    with pytest.raises(
        LogError, match=r"line 3: '1\.234' in column 'loss' is no number where a comma is the decimal mark"
    ):
        one(write("epoch;loss\n1;0,9\n2;1.234\n"))


def test_cells_that_are_missing_nan_or_infinite(write):
    log = one(write("epoch,loss,val_loss\n1,0.9,NA\n2,nan,0.5\n3,inf,nan\n4,-inf,\n"))
    loss, val_loss = log.curve.metrics["loss"], log.curve.metrics["val_loss"]
    # the first row has no evaluation: its loss joins the second row's, which is NaN
    assert log.curve.epochs.tolist() == [2, 3, 4]
    assert math.isnan(loss[0])
    assert loss[1:].tolist() == [math.inf, -math.inf]
    assert val_loss[0] == 0.5
    assert np.isnan(val_loss[1:]).all()


def test_text_columns_are_left_out(write):
    log = one(write("time,run,epoch,loss\n10:00,a,1,0.9\n10:01,a,2,0.5\n"))
    assert columns(log) == {"loss": [0.9, 0.5]}


def test_a_log_without_a_counter_counts_its_rows(write):
    assert one(write("loss\n0.9\n0.5\n")).curve.epochs.tolist() == [1, 2]


def test_one_row(write):
    assert columns(one(write("epoch,loss\n1,0.9\n"))) == {"loss": [0.9]}


def test_the_given_rate_wins(write):
    assert one(write("epoch,loss,lr\n1,0.9,0.1\n"), learning_rate=0.3).learning_rate == 0.3


def test_json_in_which_a_program_has_printed_nan_and_inf_as_python_does(write):
    rows = '{"epoch": 1, "val_loss": 0.5, "loss": inf}\n{"epoch": 2, "val_loss": nan, "loss": -inf}\n'
    metrics = one(write(rows, "log.jsonl")).curve.metrics
    assert metrics["val_loss"][0] == 0.5
    assert math.isnan(metrics["val_loss"][1])
    assert metrics["loss"].tolist() == [math.inf, -math.inf]
    with pytest.raises(LogError, match="line 2"):
        one(write('{"epoch": 1, "val_loss": 0.5}\n{"epoch": 2, "val_loss": nanny}\n', "log.jsonl"))


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(write, rate):
    with pytest.raises(InvalidArgumentError, match="positive"):
        logs.read(write("epoch,loss\n1,0.9\n"), learning_rate=rate)


def test_lightning_writes_training_and_validation_in_rows_of_their_own(write):
    log = one(
        write(
            "epoch,step,lr-Adam,train_loss_epoch,train_loss_step,val_loss\n"
            ",4,0.01,,,\n0,4,,,0.9,\n0,9,,,0.7,\n0,9,,,,0.8\n0,9,,0.85,,\n"
            "1,14,,,0.6,\n1,19,,,0.4,\n1,19,,,,0.6\n1,19,,0.55,,\n",
            "metrics.csv",
        )
    )
    assert log.learning_rate == 0.01
    assert log.curve.epochs.tolist() == [1, 2]
    assert log.curve.metrics["val_loss"].tolist() == [0.8, 0.6]
    assert log.curve.metrics["loss"].tolist() == [0.85, 0.55]
    assert log.curve.metrics["loss_step"].tolist() == pytest.approx([0.8, 0.5])


def test_several_evaluations_an_epoch_are_fractions_of_it(write):
    log = one(write("epoch,step,val_loss\n0,49,0.9\n0,99,0.8\n1,149,0.7\n1,199,0.6\n"))
    assert log.curve.epochs.tolist() == [0.5, 1, 1.5, 2]


def test_rows_after_the_last_evaluation_are_kept(write):
    log = one(write("step,loss,val_loss\n10,0.9,\n10,,0.8\n20,nan,\n30,nan,\n"))
    assert log.curve.epochs.tolist() == [10, 30]
    assert log.curve.metrics["loss"][0] == 0.9
    assert math.isnan(log.curve.metrics["loss"][1])


def test_hugging_face(write):
    history = [
        {"epoch": 0.5, "step": 50, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 5e-5},
        {"epoch": 1.0, "step": 100, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 4e-5},
        {"epoch": 1.0, "step": 100, "eval_loss": 1.2, "eval_accuracy": 0.5, "eval_runtime": 3.0},
        {"epoch": 1.5, "step": 150, "loss": 0.9, "learning_rate": 2e-5},
        {"epoch": 2.0, "step": 200, "loss": 0.7, "learning_rate": 0.0},
        {"epoch": 2.0, "step": 200, "eval_loss": 1.1, "eval_accuracy": 0.6, "eval_runtime": 3.0},
        {"epoch": 2.0, "step": 200, "train_loss": 1.15, "train_runtime": 60.0, "total_flos": 1e15},
        {"epoch": 2.0, "step": 200, "eval_loss": 1.1, "eval_accuracy": 0.6},
    ]
    state = {
        "best_metric": None,
        "epoch": 2.0,
        "global_step": 200,
        "log_history": history,
        "is_hyper_param_search": False,
    }
    for text in (json.dumps(state), json.dumps(state, indent=2)):
        log = one(write(text, "trainer_state.json"))
        assert log.learning_rate == 5e-5
        assert log.curve.epochs.tolist() == [1, 2]
        assert log.curve.metrics["loss"].tolist() == pytest.approx([1.5, 0.8])
        assert log.curve.metrics["val_loss"].tolist() == [1.2, 1.1]
        assert log.curve.metrics["val_accuracy"].tolist() == [0.5, 0.6]


def test_keras_history_as_json(write):
    history = {"loss": [0.9, 0.5], "val_loss": [0.8, math.nan], "learning_rate": [0.01, 0.001]}
    for text in (json.dumps(history), json.dumps(history, indent=1), json.dumps({"history": history, "epoch": [0, 1]})):
        log = one(write(text, "history"))
        assert log.learning_rate == 0.01
        assert log.curve.metrics["loss"].tolist() == [0.9, 0.5]
        assert math.isnan(log.curve.metrics["val_loss"][1])


def test_keras_csv_logger(write):
    log = one(write("epoch;acc;loss;lr;val_loss\n0;0.5;1.0;0.01;NA\n1;0.6;0.5;0.01;0.5\n", "training.log"))
    assert log.learning_rate == 0.01
    assert log.curve.epochs.tolist() == [2]
    assert columns(log) == {"accuracy": [0.55], "loss": [0.75], "val_loss": [0.5]}


def test_json_lines_and_lists_of_rows(write):
    rows = [
        {"epoch": 1, "train": {"loss": 0.9}, "val": {"loss": 0.8}},
        {"epoch": 2, "train": {"loss": 0.5}, "note": "x"},
    ]
    rows += [{"epoch": 2, "val": {"loss": "NaN"}, "lr": 0.1}]
    for text in ("\n".join(map(json.dumps, rows)), json.dumps(rows)):
        log = one(write(text))
        assert log.learning_rate == 0.1
        assert log.curve.epochs.tolist() == [1, 2]
        assert log.curve.metrics["loss"].tolist() == [0.9, 0.5]
        assert math.isnan(log.curve.metrics["val_loss"][1])


def test_one_line_of_json_is_one_row(write):
    assert columns(one(write('{"epoch": 1, "loss": 0.9}\n'))) == {"loss": [0.9]}


def scalar(event_pb2, tag, number, *, as_tensor):
    event = event_pb2.Event()
    value = event.summary.value.add(tag=tag)
    if as_tensor:  # as TensorFlow 2 writes them
        value.metadata.plugin_data.plugin_name = "scalars"
        value.tensor.dtype = 1
        value.tensor.tensor_content = np.float32(number).tobytes()
    else:
        value.simple_value = number
    return event


@pytest.mark.parametrize("as_tensor", [False, True])
def test_tensorboard(tmp_path, as_tensor):
    event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2")
    writers = pytest.importorskip("tensorboard.summary.writer.record_writer")
    for run, rate in (("a", 0.1), ("b", 0.01)):
        for half, shift in (("train", 0.0), ("validation", 0.5)):
            (tmp_path / run / half).mkdir(parents=True)
            writer = writers.RecordWriter((tmp_path / run / half / "events.out.tfevents.1.host").open("wb"))
            writer.write(event_pb2.Event(file_version="brain.Event:2").SerializeToString())
            for epoch in range(3):
                numbers = {"epoch_loss": shift + 1 / (epoch + 1), "epoch_learning_rate": rate}
                for tag, number in numbers.items():
                    event = scalar(event_pb2, tag, number, as_tensor=as_tensor)
                    event.step = epoch
                    if tag == "epoch_loss" or half == "train":
                        writer.write(event.SerializeToString())
            writer.close()
    first, second = logs.read(tmp_path)
    assert (first.learning_rate, second.learning_rate) == pytest.approx((0.1, 0.01))
    assert first.path == str(tmp_path / "a")
    assert first.curve.epochs.tolist() == [1, 2, 3]
    assert first.curve.metrics["loss"].tolist() == pytest.approx([1, 0.5, 1 / 3])
    assert first.curve.metrics["val_loss"].tolist() == pytest.approx([1.5, 1, 5 / 6])
    [file] = (tmp_path / "a" / "train").iterdir()
    assert "loss" in one(file).curve.metrics
    whole = file.read_bytes()
    for cut in (1, 5, 15, 30):
        file.write_bytes(whole[:-cut])
        with pytest.raises(LogError, match="middle of this record"):
            logs.read(file)


MLFLOW_TABLES = """
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), start_time BIGINT, lifecycle_stage VARCHAR(20));
CREATE TABLE params ("key" VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
CREATE TABLE metrics ("key" VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT,
                      is_nan BOOLEAN);
INSERT INTO runs VALUES ('1', 'calm', 1, 'active'), ('2', NULL, 2, 'active'), ('3', 'gone', 3, 'deleted'),
                        ('4', 'empty', 4, 'active');
INSERT INTO params VALUES ('lr', '0.1', '1'), ('batch_size', '32', '1'), ('learning_rate', 'auto', '2');
INSERT INTO metrics VALUES ('train_loss', 0.9, 1, '1', 0, 0), ('train_loss', 0.5, 2, '1', 1, 0),
    ('val_loss', 0, 1, '1', 0, 1), ('val_loss', 1.7976931348623157e308, 2, '1', 1, 0), ('system/cpu', 1, 1, '1', 0, 0),
    ('loss', 0.4, 3, '2', 0, 0), ('loss', 0.7, 1, '2', 0, 0);
"""


def test_mlflow_database(tmp_path):
    file = tmp_path / "m?l#flow.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(MLFLOW_TABLES)
    connection.close()
    before = file.read_bytes()
    first, second = logs.read(file)
    assert first.path == f"{file} (calm)"
    assert first.learning_rate == 0.1
    assert columns(first)["loss"] == [0.9, 0.5]
    assert math.isnan(columns(first)["val_loss"][0])
    assert columns(first)["val_loss"][1] == math.inf
    assert second.learning_rate is None
    assert columns(second) == {"loss": [0.7, 0.4]}  # logged without steps: in the order of time
    assert file.read_bytes() == before


def test_mlflow_folder_as_mlflow_writes_it(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "1")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.create_experiment("rates")
    for rate in (0.1, 0.01):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "lr", rate)
        for step in range(3):
            client.log_metric(run, "train_loss", rate / (step + 1), step=step)
            client.log_metric(run, "val/loss", math.nan if step == 2 else 1.0, step=step)
    found = sorted(logs.read(tmp_path / "mlruns"), key=lambda log: log.learning_rate)
    assert [log.learning_rate for log in found] == [0.01, 0.1]
    assert found[1].curve.metrics["loss"].tolist() == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert found[1].curve.metrics["val_loss"][:2].tolist() == [1, 1]
    assert math.isnan(found[1].curve.metrics["val_loss"][2])
    assert one(tmp_path / "mlruns" / experiment / run).learning_rate == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("epoch,loss\n", "no rows"),
        ("epoch,lr\n1,0.1\n", "no metric"),
        ("0.5,0.4\n0.3,0.2\n", "line 1: .*begins with numbers"),
        ("epoch,loss\n1,0.9\n2\n", "line 3: 1 cells .* cut in the middle"),
        ("epoch,loss\n1,0.9\n2,0.5,0.4\n", "line 3: 3 cells .* header changed"),
        ("epoch,loss\n1,0.9\nepoch,val_loss\n2,0.5\n", "line 3: another header"),
        ("epoch,loss\n1,0.9\n\n2,what\n", "line 4: 'what' in column 'loss' is no number"),
        ("epoch,loss,loss\n1,0.9,0.8\n", "line 1: .*'loss' twice"),
        ('epoch,loss\n1,0.9\n2,"0.5\n', "line 3"),
        ("epoch,loss\n1,0.9\n1,0.8\n", "line 3: loss is given a second time .* line 2"),
        ("epoch,loss\n2,0.9\n1,0.8\n", "line 3: epoch 1 comes after epoch 2"),
        ("epoch,loss\n1,0.9\nnan,0.8\n", "line 3: the epoch is nan"),
        ("epoch,loss\n1,0.9\ninf,0.8\n", "line 3: the epoch is inf"),
        ("step,loss,val_loss\n1,0.9,0.8\n1,,0.7\n", "line 3: val_loss is given a second time"),
        ("Dear reader,\nthis is no log, is it?\n", "line 2"),
        ("Nothing but words\nand more words\n", "line 2: another header|no metric"),
        ('{"epoch": 1, "loss": 0.9}\n{"epoch": 2, "lo', "line 2"),
        ('{"epoch": 1, "loss": 0.9}\n[1]\n', "line 2: a list"),
        ('{"epoch": 1, "loss": 0.9}\n{"epoch": 2, "loss": "what"}\n', "line 2: 'what' for 'loss'"),
        ('{"loss": [0.9, 0.5], "val_loss": [0.9]}', "different lengths"),
        ('{"loss": [0.9, 0.5], "val_', "line 1"),
        ('{"loss": []}', "no rows"),
        ("{}", "no list of values"),
        ("[]", "no rows"),
        ("[1, 2]", "entry 1"),
        ('{"log_history": []}', "no rows"),
        ('{"name": "learnrate", "version": "1"}', "no list of values"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
        ("epoch,loss\n1,0.9\n2,0.5 \u00b5\n".encode("latin-1"), "line 3: not UTF-8"),
        (b"\x1f\x8b\x08\x00rubbish", "gzip"),
    ],
)
def test_bad_logs_say_what_is_wrong_and_where(write, text, message):
    file = write(text)
    with pytest.raises(LogError, match=message) as raised:
        logs.read(file)
    assert str(raised.value).startswith(str(file))


def test_a_bad_line_far_down_is_named(write):
    rows = [f"{i},{1 / i}" for i in range(1, 50_001)]
    rows[44_443] = "44444,0.1,0.2"
    with pytest.raises(LogError, match="line 44445: 3 cells"):
        logs.read(write("epoch,loss\n" + "\n".join(rows)))


@pytest.mark.parametrize("header", ["epoch,loss,other", "when,epoch,loss,other"])
def test_empty_cells_and_text_columns_far_down(write, header):
    generator = np.random.default_rng(0)
    count = 45_000
    losses = generator.normal(size=count)
    other = np.where(generator.random(count) < 0.5, generator.normal(size=count), np.nan)
    other[-1] = 1.0
    cells = ["" if math.isnan(value) else repr(value) for value in other.tolist()]
    time = "10:00:00," if header.startswith("when") else ""
    lines = [f"{time}{i},{loss!r},{cell}" for i, (loss, cell) in enumerate(zip(losses.tolist(), cells, strict=True), 1)]
    lines[20_500] = lines[20_500] + " "  # a block that is read cell by cell
    curve = one(write("\n".join([header, *lines]))).curve
    np.testing.assert_array_equal(curve.metrics["loss"], losses)
    np.testing.assert_array_equal(curve.metrics["other"], other)
    assert curve.epochs.tolist() == list(range(1, count + 1))


def test_rows_that_each_name_another_metric_are_refused(write):
    rows = "\n".join(json.dumps({f"metric {i}": 1.0}) for i in range(20_000))
    with pytest.raises(LogError, match="20,000 names in 20,000 rows"):
        logs.read(write(rows))


def test_files_and_folders_that_are_no_logs(tmp_path, write):
    with pytest.raises(LogError, match="No such file"):
        logs.read(tmp_path / "absent.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogError, match="no folder of MLflow"):
        logs.read(tmp_path / "folder")
    write("id: 1\n", "folder/run/meta.yaml")
    for cut in ("124", "124 0.", "124 0.4 x"):
        write(f"123 0.5 0\n{cut}", "folder/run/metrics/loss")
        with pytest.raises(LogError, match="loss, line 2"):
            logs.read(tmp_path / "folder")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    connection.close()
    with pytest.raises(LogError, match="not MLflow's, it holds users"):
        logs.read(tmp_path / "other.db")
    write(b"SQLite format 3\0" + b"rubbish" * 100, "damaged.db")
    with pytest.raises(LogError, match="cannot be read"):
        logs.read(tmp_path / "damaged.db")


def test_compressed_logs(write):
    text = b"epoch,loss\n1,0.9\n2,0.5\n"
    assert columns(one(write(gzip.compress(text), "log.csv.gz"))) == {"loss": [0.9, 0.5]}
    with pytest.raises(LogError, match="damaged or was cut"):
        logs.read(write(gzip.compress(text)[:-9]))


def test_large_files_are_refused_before_they_are_read(write, tmp_path):
    bomb = gzip.compress(b"0" * 20_000_000)
    assert len(bomb) < 30_000
    with pytest.raises(LogError, match="unpacks to more than max_bytes = 1,000,000"):
        logs.read(write(bomb), max_bytes=1_000_000)
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(2 * 10**9)
    with pytest.raises(LogError, match="more than max_bytes"):
        logs.read(tmp_path / "sparse.csv")


def test_a_rate_for_many_trainings_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.executescript(MLFLOW_TABLES)
    connection.close()
    with pytest.raises(InvalidArgumentError, match="2 trainings"):
        logs.read(tmp_path / "mlflow.db", learning_rate=0.1)


def test_a_million_rows_fit_in_half_a_gigabyte(tmp_path):
    rows = np.arange(10**6)
    losses = 2 / (1 + rows / 1e4) + np.random.default_rng(0).normal(0, 0.1, len(rows))
    with (tmp_path / "long.csv").open("w") as file:
        file.write("step,loss,val_loss,learning_rate\n")
        file.writelines(f"{row},{loss:.6f},{loss + 0.1:.6f},0.001\n" for row, loss in zip(rows, losses, strict=True))
    program = (
        "import sys, learnrate.logs, learnrate._diagnose as d\n"
        "[log] = learnrate.logs.read(sys.argv[1])\n"
        "print(len(log.curve), d.diagnose(log.curve).verdict.value)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # ru_maxrss has the parent's too
    )
    path = str(tmp_path / "long.csv")
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.splitlines()
    assert said.startswith("1000000 ")
    assert int(kilobytes) < 500_000


names = st.lists(
    st.sampled_from(["loss", "train", "val", "Validation", "epoch", "acc", "step", "eval", "f1", "test"]), max_size=4
)


@unhurried
@given(names, st.sampled_from("_/. -"))
def test_names_are_normalised_once(words, joint):
    name = canonical(joint.join(words))
    assert canonical(name) == name


@unhurried
@given(st.lists(st.text(max_size=8), unique=True))
def test_no_two_metrics_share_a_name(columns):
    given_names = canonical_names(columns)
    assert list(given_names) == columns


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, "loss") for name in ("loss", "train_loss", "Loss/train", "train/loss", "epoch_loss", "training loss")],
        *[(name, "val_loss") for name in ("val_loss", "eval_loss", "validation_loss", "Loss/val", "valid.loss")],
        *[(name, "val_accuracy") for name in ("val_acc", "val_accuracy", "eval/acc", "val_acc_epoch", "Acc Val")],
        *[(name, name) for name in ("test_loss", "sparse_categorical_accuracy", "f1", "", "epoch")],
        ("train_loss_step", "loss_step"),
    ],
)
def test_names_of_metrics(name, expected):
    assert canonical(name) == expected


def test_directions():
    assert {mode_of(name) for name in ("val_loss", "mse", "val_perplexity", "dice_loss")} == {"min"}
    assert {mode_of(name) for name in ("val_accuracy", "f1", "neg_mean_squared_error", "roc_auc")} == {"max"}
    with pytest.raises(InvalidArgumentError, match="mode="):
        mode_of("val_frobnication")


@unhurried
@given(st.integers(1, 30), st.booleans(), st.data())
def test_what_is_written_is_read(tmp_path_factory, count, compressed, data):
    numbers = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.none())
    losses = [data.draw(st.floats()) for _ in range(count)]
    other = [data.draw(numbers) for _ in range(count)]
    text = "epoch,loss,other\n" + "".join(
        f"{i + 1},{loss!r},{'' if more is None else repr(more)}\n"
        for i, (loss, more) in enumerate(zip(losses, other, strict=True))
    )
    file = tmp_path_factory.mktemp("logs") / "log"
    file.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    curve = one(file).curve
    np.testing.assert_array_equal(curve.metrics["loss"], losses)
    if any(value is not None for value in other):
        np.testing.assert_array_equal(curve.metrics["other"], [math.nan if value is None else value for value in other])


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_a_log_or_a_log_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("logs") / "log"
    file.write_bytes(content)
    with contextlib.suppress(LogError):
        logs.read(file)


def test_reading_imports_no_framework():
    program = "import sys, learnrate.logs; print({'torch', 'tensorflow', 'tensorboard', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert Path(logs.__file__).is_file()
