"""Studies of each version so far: opened, reported, and resumed to the answer that they would have had."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

import learnrate
from _engine_problems import assert_alike, timeless
from learnrate.errors import StudyMismatchError
from learnrate.results import TrialState
from learnrate.study import Study

FIXTURES = Path(__file__).parent / "fixtures"
sys.path.append(str(FIXTURES))

from make_studies import EVENTS, ask  # noqa: E402  # it stands in the folder just named


@pytest.mark.parametrize("verb", EVENTS)
@pytest.mark.parametrize("archive", sorted(FIXTURES.glob("studies-*.zip")), ids=lambda path: path.stem)
def test_a_study_of_an_older_version_is_reported_and_resumed_where_its_method_is_the_same(archive, verb, tmp_path):
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    with Study.read(tmp_path / verb) as study:
        before = study.trials()
        assert study.verb == verb
        assert study.result() is None
    assert any(trial.state is TrialState.RUNNING and len(trial.curve) for trial in before)
    page = learnrate.report(tmp_path / verb, tmp_path / "page.html")
    assert "</html>" in page.read_text()
    if verb == "select":
        with pytest.raises(StudyMismatchError, match="begun by another method"):
            ask(verb, tmp_path / verb)
        return
    answer = ask(verb, tmp_path / verb)
    assert_alike(json.loads(timeless(answer)), json.loads(timeless(ask(verb, None))))
    with Study.read(tmp_path / verb) as study:
        assert study.result() is not None
        after = {trial.number: trial for trial in study.trials()}
    for trial in before:
        if trial.state is TrialState.COMPLETE and trial.epochs == after[trial.number].epochs:
            assert trial.seconds == after[trial.number].seconds, "it was trained again"
