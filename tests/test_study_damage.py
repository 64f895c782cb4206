"""A study outlives killed processes, full disks and lost permissions, and says exactly what is damaged in it."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import msgspec
import pytest

from learnrate import study as study_module
from learnrate.curves import LearningCurve
from learnrate.errors import StudyDamagedError, StudyError
from learnrate.results import Trial, TrialState
from learnrate.study import Study

ABOUT = {"verb": "select", "settings": {"epochs": 6}, "identity": {"parameters": 101}}
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # thousands of flushes to a real disk are slow
PAGE = 4096
FRAME = PAGE + 24
NUM_TRIALS = 8
KEYS = [f"trial {number} to {stop}" for number in range(NUM_TRIALS) for stop in (3, 6)]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(study_module.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
needs_posix = pytest.mark.skipif(os.name != "posix", reason="permissions and limits as POSIX has them")


def loss(number, epoch):
    return 1 / (1 + number + epoch)


def trial(number, stop, state=TrialState.COMPLETE):
    return Trial(
        number=number,
        hyperparameters={"learning_rate": 10.0**-number},
        state=state,
        curve=LearningCurve.from_rows([(epoch, {"loss": loss(number, epoch)}) for epoch in range(1, stop + 1)]),
        value=loss(number, stop),
        seed=0,
        seconds=1.0,
    )


def work(study, on_event=lambda *_: None):
    """Do what a verb does: recall what is finished, train the rest, tell each thing that is done."""
    for number in range(NUM_TRIALS):
        for stop in (3, 6):
            key = f"trial {number} to {stop}"
            if study.recall(key) is not None:
                continue
            study.start(trial(number, stop - 3), key)
            on_event("started", number, stop)
            for epoch in range(stop - 2, stop + 1):
                study.record(number, epoch, {"loss": loss(number, epoch)})
                on_event("epoch", number, epoch)
            study.write_checkpoint(f"trial-{number}", lambda path, stop=stop: path.write_bytes(bytes([stop]) * 50_000))
            on_event("checkpoint", number, stop)
            study.finish(key, trial(number, stop))
            on_event("finished", number, stop)
    study.set_result("{}")
    on_event("result", 0, 0)


def contents(study):
    """Return everything that a study says, as builtins that compare."""
    everything = (study.verb, study.settings, study.identity, study.trials(), map(study.recall, KEYS), study.result())
    return repr(msgspec.to_builtins(everything[:3])) + repr(
        msgspec.to_builtins([everything[3], list(everything[4]), everything[5]], enc_hook=lambda value: value.tolist())
    )


def answers(study):
    """Return what a verb makes its answer of."""
    finished = {key: study.recall(key) for key in KEYS}
    return repr(msgspec.to_builtins((finished, study.result()), enc_hook=lambda value: value.tolist()))


def read(folder, what=contents):
    with Study.read(folder) as study:
        return what(study)


def copied(source, target):
    """Copy a study's files as a crash would leave them, whoever has them open."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm")))


@pytest.fixture(scope="module")
def place():
    with tempfile.TemporaryDirectory(prefix="learnrate-test-", dir=MEMORY) as place:
        yield Path(place)


@pytest.fixture(scope="module")
def closed(place):
    """A finished study whose process ended well: one file, no log."""
    with Study.open(place / "closed", **ABOUT) as study:
        work(study)
    return place / "closed"


@pytest.fixture(scope="module")
def small(place):
    """A study of one trial whose process ended well: thousands of openings of it are quick."""
    with Study.open(place / "small", **ABOUT) as study:
        study.finish("a", trial(0, 6))
    return place / "small"


@pytest.fixture(scope="module")
def killed(place):
    """A study whose process was killed, most of it in the log; and every state that it went through."""
    folder, states = place / "working", []
    with Study.open(folder, **ABOUT) as study:
        states.append(contents(study))
        work(study, lambda kind, *_: None if kind == "checkpoint" else states.append(contents(study)))
        for epoch in (7, 8, 9):
            study.record(0, epoch, {"loss": 0.0})
            states.append(contents(study))
        copied(folder, place / "killed")
    assert (place / "killed" / "study.sqlite-wal").stat().st_size > 60 * FRAME
    return place / "killed", states


# a killed process

WRITER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_study_damage as tests
def tell(*event):
    print(*event, flush=True)
with tests.Study.open(Path(sys.argv[1]), **tests.ABOUT) as study:
    tests.work(study, tell)
"""


def test_whatever_a_killed_process_had_acknowledged_is_there_and_the_rest_is_done_as_if_nothing_had_happened(
    tmp_path, closed
):
    folder, moments = tmp_path / "study", random.Random(7)  # noqa: S311  # any moments will do
    epochs, finished, num_kills = set(), [], 0
    for _ in range(40):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        with writer:
            lines = [writer.stdout.readline() for _ in range(moments.randint(1, 30))]
            writer.kill()
            lines += writer.stdout.readlines()
        num_kills += writer.returncode != 0
        for kind, number, at in (line.split() for line in lines if line.endswith("\n")):
            if kind == "epoch":
                epochs.add((int(number), float(at)))
            elif kind == "finished":
                finished.append(f"trial {number} to {at}")
        with Study.read(folder) if folder.exists() else contextlib.nullcontext() as study:
            if study is None:
                continue
            assert study.holder() is None
            rows = {
                (each.number, epoch): value
                for each in study.trials()
                for epoch, value in zip(each.curve.epochs.tolist(), each.curve.metrics.get("loss", []), strict=True)
            }
            assert epochs <= rows.keys()
            assert all(value == loss(*place) for place, value in rows.items())
            assert all(study.recall(key) is not None for key in finished)
            for file in (folder / "checkpoints").glob("trial-*"):
                assert len(file.read_bytes()) == 50_000
            if study.result() is not None:
                break
    assert num_kills >= 4
    assert len(finished) == len(set(finished))
    assert read(folder) == read(closed)


# a file that was cut or overwritten


def test_a_log_cut_anywhere_in_its_last_page_costs_the_last_epoch_at_most(small, place):
    folder = copied(small, place / "working on")
    with Study.open(folder, **ABOUT) as study:
        for epoch in (7, 8, 9):
            study.record(0, epoch, {"loss": 0.0})
        folder = copied(folder, place / "cut")
    log = folder / "study.sqlite-wal"
    whole = log.stat().st_size
    whole_state = read(folder)
    with log.open("rb+") as file:
        for size in range(whole - 1, whole - FRAME - 1, -1):
            file.truncate(size)
            with Study.read(folder) as study:
                (rows,) = study._file._database.execute("SELECT count(*) FROM epochs WHERE trial = 0").fetchone()
                assert rows == 8
    assert len(read(folder)) < len(whole_state)


def test_a_log_cut_anywhere_leaves_a_state_that_the_study_was_once_in_and_it_goes_on_from_there(killed, place):
    source, states = killed
    whole = (source / "study.sqlite-wal").stat().st_size
    reached = []
    for size in range(0, whole, whole // 40 + 1):
        folder = copied(source, place / "cut")
        os.truncate(folder / "study.sqlite-wal", size)
        reached.append(states.index(read(folder)))
        with Study.open(folder, **ABOUT) as study:
            assert contents(study) == states[reached[-1]]
            work(study)
            assert study.result() == "{}"
    assert reached == sorted(reached)
    assert len(set(reached)) > 20


@pytest.mark.parametrize("frames_from_the_end", [10, 40, None])
def test_a_log_damaged_before_its_end_says_how_much_is_lost(killed, place, frames_from_the_end):
    source, states = killed
    folder = copied(source, place / "overwritten")
    log = folder / "study.sqlite-wal"
    at = 0 if frames_from_the_end is None else log.stat().st_size - frames_from_the_end * FRAME
    with log.open("rb+") as file:
        file.seek(at)
        file.write(b"\xa5" * 100)
    with pytest.warns(UserWarning, match=r"study\.sqlite-wal is damaged at byte \d+: up to \d+ epochs") as caught:
        study = Study.open(folder, **ABOUT)
    with study:
        num_lost = len(states) - 1 - states.index(contents(study))
        work(study)
        assert study.result() == "{}"
    said = int(str(caught[0].message).split("up to ")[1].split()[0])
    assert num_lost > 1
    assert num_lost <= said + 1 <= num_lost + 3  # the damaged page may have ended a transaction itself


def test_a_log_that_was_just_begun_again_is_not_warned_of(killed, place):
    """Its header is new and its frames are left over: what a kill between the two leaves."""
    folder = copied(killed[0], place / "restarted")
    with Study.open(folder, **ABOUT) as study:
        work(study)
        study._file._database.execute("PRAGMA wal_checkpoint(RESTART)")
        old = (folder / "study.sqlite-wal").read_bytes()
        study.record(0, 8, {"loss": 0.0})
        header = (folder / "study.sqlite-wal").read_bytes()[:32]
        copied(folder, place / "begun again")
    assert old[16:24] != header[16:24]
    (place / "begun again" / "study.sqlite-wal").write_bytes(header + old[32:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Study.open(place / "begun again", **ABOUT).close()


def test_a_log_without_damage_is_not_warned_of(killed, place):
    folder = copied(killed[0], place / "undamaged")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        os.truncate(folder / "study.sqlite-wal", (folder / "study.sqlite-wal").stat().st_size - 1)
        Study.open(folder, **ABOUT).close()


def says_so_or_is_whole(folder, whole):
    """Return whether the damage was found; where it was not, everything must be as it was."""
    try:
        found = read(folder)
    except StudyDamagedError as error:
        assert "To save the rest" in str(error) or "pip install" in str(error)  # noqa: PT017  # one of two outcomes
        return True
    assert found == whole
    return False


def test_a_database_cut_at_any_byte_of_its_last_page_says_so(small, place):
    folder = copied(small, place / "cut")
    path = folder / "study.sqlite"
    whole = path.stat().st_size
    for size in [*range(whole - 1, whole - PAGE - 1, -1), *range(whole - PAGE, -1, -PAGE), 1, 0]:
        os.truncate(path, size)
        with pytest.raises(StudyDamagedError, match="is damaged: "):
            Study.read(folder)
    with pytest.raises(StudyDamagedError, match="is damaged: "):
        Study.open(folder, **ABOUT)


def test_an_overwritten_page_is_found(closed, place):
    folder = copied(closed, place / "overwritten")
    path = folder / "study.sqlite"
    data = path.read_bytes()
    noise = random.Random(3).randbytes(PAGE)  # noqa: S311  # noise for a test, no secret
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    whole = read(folder)
    assert len(pages) > 5
    for place_of, page in enumerate(pages):
        halves = page[: PAGE // 2] + noise[PAGE // 2 :], noise[: PAGE // 2] + page[PAGE // 2 :]
        for other in [bytes(PAGE), noise, *halves, *pages]:
            path.write_bytes(b"".join([*pages[:place_of], other, *pages[place_of + 1 :]]))
            assert says_so_or_is_whole(folder, whole) or other[: PAGE // 2] == page[: PAGE // 2]


def test_a_changed_byte_is_found_or_changes_nothing(closed, place):
    folder = copied(closed, place / "flipped")
    path = folder / "study.sqlite"
    data = path.read_bytes()
    whole = read(folder)
    chance = random.Random(11)  # noqa: S311  # noise for a test, no secret
    found = 0
    for at in [*range(100), *(chance.randrange(len(data)) for _ in range(400))]:
        changed = bytearray(data)
        changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        found += says_so_or_is_whole(folder, whole)
    assert found > 100


def do_as_told(error):
    """Run the command that an error ends in, as a person would."""
    command = str(error).splitlines()[-1].strip().replace("python", shlex.quote(sys.executable), 1)
    return subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True, env=ENVIRONMENT)


def test_what_the_error_says_to_do_saves_the_rest_and_the_verb_does_what_is_missing(closed, tmp_path):
    folder = copied(closed, tmp_path / 'it\'s $HOME "damaged"')
    path, rescued = folder / "study.sqlite", folder.with_name(f"{folder.name}-rescued")
    data = path.read_bytes()
    path.write_bytes(data[: -2 * PAGE] + bytes(PAGE) + data[-PAGE:])
    with pytest.raises(StudyDamagedError, match="To save the rest") as caught:
        Study.open(folder, **ABOUT)
    assert do_as_told(caught.value).returncode == 0
    with Study.open(rescued, **ABOUT) as study:
        assert study.checkpoint("trial-0") is not None
        assert any(study.recall(key) is not None for key in KEYS)
        work(study)
        assert answers(study) == read(closed, answers)


def test_whichever_page_is_damaged_all_the_others_are_saved(closed, place):
    folder, rescued = copied(closed, place / "damaged"), place / "rescued"
    data = (folder / "study.sqlite").read_bytes()
    total = count_rows(folder)
    saved = []
    for at in range(0, len(data), PAGE):
        (folder / "study.sqlite").write_bytes(data[:at] + bytes(PAGE) + data[at + PAGE :])
        shutil.rmtree(rescued, ignore_errors=True)
        try:
            Study.rescue(folder, rescued)
        except StudyDamagedError as error:
            assert "begin a new one" in str(error)  # noqa: PT017  # its settings were on this page
            saved.append(0)
            continue
        with Study.open(rescued, **ABOUT) as study:
            saved.append(count_rows(rescued))
            work(study)
            assert answers(study) == read(closed, answers)
    assert saved.count(0) <= 3  # the page of the table of tables, the root of the settings, and their leaf
    assert sum(rows > total / 2 for rows in saved) >= len(saved) / 2


def count_rows(folder):
    with contextlib.closing(sqlite3.connect(folder / "study.sqlite")) as database:
        return sum(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("epochs", "segments"))  # noqa: S608  # the names stand on this line


@pytest.mark.parametrize("text", [b'"loss": 0.5', b'"learning_rate": 1.0', b"trial 3 to 6", b'"parameters": 101'])
def test_a_changed_digit_is_said_with_its_row_and_the_rest_is_saved(closed, tmp_path, text):
    folder = copied(closed, tmp_path / "study")
    path = folder / "study.sqlite"
    data = path.read_bytes()
    last = data.rindex(text) + len(text) - 1
    path.write_bytes(data[:last] + b"8" + data[last + 1 :])
    with pytest.raises(StudyDamagedError, match=r"the row of \w+ with .* does not fit its checksum") as caught:
        read(folder)
    told = do_as_told(caught.value)
    if b"parameters" in text:
        assert "cannot be continued: its identity cannot be read; begin a new one" in told.stderr
        return
    with Study.open(f"{folder}-rescued", **ABOUT) as study:
        assert b"loss" not in text or contents(study) == read(closed)  # the segment has this row too
        work(study)
        assert answers(study) == read(closed, answers)


def test_a_rescue_touches_neither_the_damaged_study_nor_a_folder_with_things_in_it(closed, tmp_path):
    before = (closed / "study.sqlite").read_bytes()
    (tmp_path / "thesis.tex").write_text("precious")
    for source, target in ((closed, tmp_path), (closed, closed), (tmp_path, closed), (tmp_path / "a", tmp_path / "b")):
        with pytest.raises(StudyError):
            Study.rescue(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert (closed / "study.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE epochs", "missing or altered: table epochs"),
        ("ALTER TABLE segments ADD COLUMN more", "missing or altered: table segments"),
        ("CREATE TRIGGER t AFTER INSERT ON epochs BEGIN DELETE FROM trials; END", "a trigger or a view"),
        (
            "UPDATE study SET value = '2', crc = 343661128 WHERE name = 'format'",
            r"has format 2, and this learnrate reads format 1: .*pip install -U learnrate",
        ),
        ("DELETE FROM study WHERE name = 'format'", "has format of no number"),
        ("DROP TABLE study", "missing or altered: table study"),
        ("DELETE FROM study WHERE name = 'verb'", "is no str"),
    ],
)
def test_a_database_that_is_no_study_of_ours_is_refused(closed, tmp_path, change, said):
    folder = copied(closed, tmp_path / "study")
    with contextlib.closing(sqlite3.connect(folder / "study.sqlite")) as database, database:
        database.execute(change)
    for use in (lambda: Study.open(folder, **ABOUT), lambda: Study.read(folder)):
        with pytest.raises(StudyDamagedError, match=said):
            use()


def test_a_text_file_is_no_database(tmp_path):
    (tmp_path / "study.sqlite").write_text("not a database" * 1000)
    with pytest.raises(StudyDamagedError, match="file is not a database"):
        Study.open(tmp_path, **ABOUT)


def test_a_checksummed_row_that_makes_no_sense_is_damage_not_an_accident(closed, tmp_path):
    """A stranger can make checksums; what comes out is an error of ours all the same."""
    for text in ("[" * 100_000, "{}", '{"number": "x"}', "9" * 5000, "", "NaN"):
        folder = copied(closed, tmp_path / "study")
        with contextlib.closing(sqlite3.connect(folder / "study.sqlite")) as database, database:
            row = "evil", text
            database.execute("INSERT INTO segments VALUES (?, ?, ?)", [*row, zlib.crc32(ascii(row).encode())])
        with Study.read(folder) as study, pytest.raises(StudyDamagedError, match="is no Trial"):
            study.recall("evil")


# a disk that is full, a folder that may not be written

FILL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_study_damage as tests
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
with tests.Study.open(Path(sys.argv[1]), **tests.ABOUT) as study:
    study.start(tests.trial(0, 0), "a")
    try:
        for epoch in range(1, 10_000):
            study.record(0, epoch, {"loss": 1.0})
            print(epoch, flush=True)
    except tests.StudyError as error:
        print(error)
"""


@needs_posix
def test_a_file_that_may_not_grow_is_said_and_nothing_acknowledged_is_lost(tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "study"), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    ).stdout.splitlines()
    assert "cannot be used" in out[-1]
    last = int(out[-2])
    with Study.open(tmp_path / "study", **ABOUT) as study:
        assert study.trials()[0].curve.epochs.tolist()[:last] == list(range(1, last + 1))
        work(study)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)  # noqa: S607, PLW1510  # the system's own; the test looks at the outcome
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)  # noqa: S607  # the system's own program


def test_a_full_disk_is_said_and_when_there_is_space_again_the_study_goes_on(small_disk):
    folder, filler = small_disk / "study", small_disk / "filler"
    with Study.open(folder, **ABOUT) as study:
        study.start(trial(0, 0), "a")
        study.write_checkpoint("trial-0", lambda path: path.write_bytes(b"weights"))
        filler.write_bytes(bytes(500_000))
        done = []

        def record_until_it_fails():
            for epoch in range(1, 10_000):
                study.record(0, epoch, {"loss": 1.0})
                done.append(epoch)

        with pytest.raises(StudyError, match="full"):
            record_until_it_fails()
        with pytest.raises(StudyError, match="No space left"):
            study.write_checkpoint("trial-0", lambda path: path.write_bytes(bytes(200_000)))
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["trial-0"]
        assert study.checkpoint("trial-0").read_bytes() == b"weights"
        assert study.trials()[0].curve.epochs.tolist() == done
        crashed = copied(folder, small_disk.parent / "crashed")
        filler.unlink()
        study.record(0, len(done) + 1, {"loss": 1.0})
    for after, num_epochs in ((crashed, len(done)), (folder, len(done) + 1)):
        with Study.open(after, **ABOUT) as study:
            assert len(study.trials()[0].curve) == num_epochs
            if after != folder:
                work(study)


def test_a_disk_too_full_to_begin_is_said_and_a_later_beginning_succeeds(small_disk):
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    with pytest.raises(StudyError, match=r"full|No space"):
        Study.open(small_disk / "study", **ABOUT)
    filler.unlink()
    with Study.open(small_disk / "study", **ABOUT) as study:
        study.finish("a", trial(0, 3))


@pytest.fixture
def as_nobody():
    """A folder of a user whom permissions bind, also where root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="learnrate-test-"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    subprocess.run(["chmod", "-R", "u+rwx", str(folder)], check=True)  # noqa: S607  # the system's own program
    shutil.rmtree(folder)


@needs_posix
def test_a_folder_that_turned_read_only_is_said_and_read_and_when_it_is_given_back_the_study_goes_on(as_nobody):
    folder = as_nobody / "study"
    study = Study.open(folder, **ABOUT)
    study.finish("a", trial(0, 3))
    (folder / "checkpoints").chmod(0o500)
    folder.chmod(0o500)
    with pytest.raises(StudyError, match="Permission denied"):
        study.write_checkpoint("trial-0", lambda path: path.write_bytes(b"weights"))
    study.close()
    for path in folder.iterdir():
        path.chmod(0o500 if path.is_dir() else 0o400)
    with pytest.raises(StudyError, match=r"cannot be used: .*permissions"):
        Study.open(folder, **ABOUT)
    with Study.read(folder) as reader:
        assert reader.recall("a") is not None
        assert reader.holder() is None
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(0o700)
    with Study.open(folder, **ABOUT) as study:
        assert study.recall("a") is not None
        work(study)


@needs_posix
def test_a_killed_study_is_read_from_a_folder_that_may_not_be_written(killed, as_nobody):
    source, states = killed
    if os.getuid() == 0:
        os.seteuid(0)
    folder = copied(source, as_nobody / "study")
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.getuid() == 0:
        os.seteuid(65534)
    assert read(folder) == states[-1]


@needs_posix
def test_a_place_that_may_not_be_written_is_said(as_nobody):
    as_nobody.chmod(0o500)
    with pytest.raises(StudyError, match="Permission denied"):
        Study.open(as_nobody / "study", **ABOUT)
    with pytest.raises(StudyError, match="unable to open"):
        Study.open(as_nobody, **ABOUT)
