"""A study in other tools' hands: it opens there, and says there what it says here."""

from __future__ import annotations

import csv

import optuna
import pytest
from click.testing import CliRunner

from learnrate import log_uniform, logs, search, select, uniform
from learnrate._command.export import to_csv, to_optuna, to_tensorboard
from learnrate._watching.standing import standing_of
from learnrate.cli import main
from learnrate.errors import InvalidArgumentError, StudyError
from learnrate.study import Study
from learnrate.testing import QuadraticTrainable


def build(noise, shape):
    if shape == [3]:
        raise ValueError("three is no shape")
    return QuadraticTrainable(noise=noise)


SPACE = {"learning_rate": log_uniform(1e-2, 1e4), "noise": uniform(0, 0.2), "shape": [[1], [1, 2], [3]]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here") / "digits"
    search(build, SPACE, epochs=9, num_trials=12, halving="successive", study=folder)
    return folder


def test_optuna_opens_the_study_and_finds_the_same_best_trial(study, tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    with Study.read(study) as kept:
        name = to_optuna(kept, url)
        trials = kept.trials()
    found = optuna.load_study(study_name=name, storage=url)
    assert name == "digits"
    assert len(found.trials) == len(trials) == 12
    best = min((one for one in trials if one.state.value == "complete"), key=lambda one: one.value)
    assert found.best_value == best.value
    assert found.best_params["learning_rate"] == best.learning_rate
    assert found.best_trial.user_attrs["seed"] == best.seed
    assert len(found.best_trial.intermediate_values) == len(best.curve)
    states = [one.state.value for one in trials]
    assert len(found.get_trials(states=[optuna.trial.TrialState.FAIL])) == states.count("failed") > 0
    assert len(found.get_trials(states=[optuna.trial.TrialState.PRUNED])) == 12 - states.count("failed") - states.count(
        "complete"
    )


def test_a_study_of_another_verb_can_be_exported_too(tmp_path):
    select(QuadraticTrainable(), epochs=4, study=tmp_path / "rates")
    with Study.read(tmp_path / "rates") as kept:
        to_optuna(kept, f"sqlite:///{tmp_path / 'rates.db'}")
    found = optuna.load_study(study_name="rates", storage=f"sqlite:///{tmp_path / 'rates.db'}")
    assert set(found.best_params) == {"learning_rate"}


def test_a_table_has_a_line_for_each_trial(study, tmp_path):
    with Study.read(study) as kept:
        to_csv(kept, tmp_path / "new" / "trials.csv")
        trials = kept.trials()
    with (tmp_path / "new" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == [trial.state.value for trial in trials]
    assert [float(row["value"]) for row in rows if row["value"]] == [
        one.value for one in trials if one.value is not None
    ]
    assert float(rows[0]["noise"]) == trials[0].hyperparameters["noise"]


def test_what_was_being_trained_is_interrupted_where_nobody_works_on_the_study(tmp_path):
    def stopping(noise):
        if noise:
            raise KeyboardInterrupt
        return QuadraticTrainable(noise=noise)

    space = {"learning_rate": [0.1], "noise": [0.0, 0.1]}
    with pytest.raises(KeyboardInterrupt):
        search(stopping, space, epochs=2, sampler="grid", study=tmp_path / "kept")
    url = f"sqlite:///{tmp_path / 'kept.db'}"
    with Study.read(tmp_path / "kept") as kept:
        to_csv(kept, tmp_path / "trials.csv")
        to_optuna(kept, url)
        identity, settings = kept.identity, kept.settings
        assert standing_of(kept).trials == {"complete": 1, "interrupted": 1}
        with Study.open(tmp_path / "kept", verb="search", settings=settings, identity=identity):
            to_csv(kept, tmp_path / "at-work.csv")
            assert standing_of(kept).trials == {"complete": 1, "running": 1}
    with (tmp_path / "trials.csv").open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["complete", "interrupted"]
    with (tmp_path / "at-work.csv").open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["complete", "running"]
    found = optuna.load_study(study_name="kept", storage=url)
    assert [one.user_attrs["state"] for one in found.trials] == ["complete", "interrupted"]


def test_tensorboard_finds_each_trials_hyperparameters_and_metrics(study, tmp_path):
    pytest.importorskip("tensorboard")
    with Study.read(study) as kept:
        to_tensorboard(kept, tmp_path / "runs")
        trial = min((one for one in kept.trials() if one.value is not None), key=lambda one: one.value)
    (run,) = (tmp_path / "runs").glob(f"trial-{trial.number:03d}-*")
    (read,) = logs.read(run)
    values = read.curve.values("val_loss")
    assert values == pytest.approx(trial.curve.values("val_loss"), rel=1e-6)
    (written,) = (path.read_bytes() for path in run.iterdir())
    assert b"_hparams_/session_start_info" in written
    assert b"shape" in written


def test_the_command_exports_all_at_once_and_says_where(study, tmp_path):
    asked = ["--optuna", f"sqlite:///{tmp_path / 'a.db'}", "--csv", str(tmp_path / "a.csv")]
    done = CliRunner().invoke(main, ["export", str(study), *asked, "--tensorboard", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert {"a.db", "a.csv", "runs"} <= {path.name for path in tmp_path.iterdir()}
    assert "a.csv" in done.output
    again = CliRunner().invoke(main, ["export", str(study), *asked])
    assert again.exit_code == 1
    assert "already" in again.output


def test_what_cannot_be_exported_says_so(study, tmp_path):
    nothing = CliRunner().invoke(main, ["export", str(study)])
    assert nothing.exit_code == 2
    assert "--optuna" in nothing.output
    with Study.read(study) as kept, pytest.raises(InvalidArgumentError, match="sqlite:///"):
        to_optuna(kept, "nonsense://")
    with (
        Study.open(tmp_path / "empty", verb="search", settings={}, identity={}) as empty,
        pytest.raises(StudyError, match="no trial yet"),
    ):
        to_csv(empty, tmp_path / "empty.csv")
