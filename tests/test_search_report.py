"""The report of a search, as written: what its first screen says, and that names and values stay text."""

import json
import re

import msgspec
import numpy as np
import pytest

import _examples
import learnrate
from learnrate._drawings import search_drawings
from learnrate.results import Search, TrialState, Verdict
from learnrate.testing import QuadraticTrainable
from test_report import EVIL, embedded, own_part, words_of, write


def test_the_first_screen_says_the_best_values_how_sure_and_what_it_cost(tmp_path):
    words = words_of(write(_examples.search(), tmp_path))
    for said in (
        "Best of 12 trials: learning_rate 0.1, width 16, optimizer sgd",
        "Its val_loss reached 0.1 after 5 of 6 epochs.",
        "The second best reached 0.15: learning_rate 0.01, width 32, optimizer adam.",
        "small differences may be chance. 12 trials (10 complete, 1 diverged, 1 failed).",
        "learning_rate 0.1 is about the largest that was allowed: try larger ones.",
        "width 16 is about the smallest that was allowed: try smaller ones.",
        "learning_rate 72 %, width 25 %, optimizer 3 %",
        "By rule of thumb the order is: learning_rate; then width; then optimizer.",
        "11.5 training runs of 6 epochs; 12.0 were allowed. 1 min 1 s.",
        "width = 16 optimizer = 'sgd' learning_rate = 0.1",
        "CosineAnnealingLR",
        "learning_rate log_uniform(1e-4, 0.1), width integers(16, 256, log), optimizer choice(sgd, adam, none)",
    ):
        assert said in words, said


def test_folds_are_told_with_their_standard_error(tmp_path):
    trials = [_examples.searched(number, folds=[0.08, 0.1, 0.12]) for number in range(3)]
    answer = _examples.search(trials=trials, standard_error=trials[0].standard_error, order=[["width"], ["optimizer"]])
    words = words_of(write(answer, tmp_path))
    assert "0.1 ± 0.012 is the mean over 3 folds and its standard error." in words
    assert "may be chance" not in words
    assert "Tuned in the order: width; then optimizer." in words


def test_every_trial_is_a_row_the_best_first_with_a_cell_for_each_hyperparameter(tmp_path):
    page = write(_examples.search(), tmp_path)
    assert re.findall(r'<tr data-pick="(\d+)"', page) == [str(number) for number in range(12)]
    assert "11 failed – 1e-4 192 None" in words_of(page)
    assert "CUDA out of memory" in words_of(page)
    assert embedded(page, "page")["picks"] == list(range(12))


def test_a_trials_diagnosis_is_a_word_to_open_so_that_rows_stay_low(tmp_path):
    answer = learnrate.search(QuadraticTrainable, {"learning_rate": [1e-2, 1e2]}, epochs=4, sampler="grid")
    page = write(answer, tmp_path)
    opened = re.findall(r"<details><summary>([a-z ]+)</summary>([^<]+)</details>", page)
    assert [verdict for verdict, _ in opened] == [trial.diagnosis.verdict.value for trial in answer.trials]
    assert all(words.strip() for _, words in opened)


def test_no_answer_and_nothing_measured_are_said(tmp_path):
    trials = [_examples.searched(number, state=TrialState.DIVERGED, value=None) for number in range(3)]
    none = {"hyperparameters": None, "learning_rate": None, "value": None, "epochs": None, "importance": {}}
    words = words_of(write(_examples.search(trials=trials, verdict=Verdict.ALL_DIVERGED, **none), tmp_path))
    assert "No hyperparameters found" in words
    assert "Every trial diverged or failed." in words
    assert "Not measured" in words
    empty = _examples.search(trials=[], verdict=Verdict.ALL_DIVERGED, **none)
    assert "0 trials" in words_of(write(empty, tmp_path))


def test_names_and_values_with_markup_stay_text(tmp_path):
    names = {EVIL: EVIL, "val.loss": 0.1, "a[0]": [1, 2], "'\\": True, "width": 16}
    trials = [_examples.searched(number, hyperparameters=names, stage=EVIL, error=EVIL) for number in range(12)]
    described = {EVIL: {"kind": "choice", "values": [EVIL]}, "val.loss": {"kind": "uniform", "low": 0.0, "high": 1.0}}
    answer = _examples.search(
        trials=trials, hyperparameters=names, importance={EVIL: 0.6, "val.loss": 0.4}, order=[[EVIL], ["a[0]"]],
        metric=EVIL, warnings=[EVIL], settings={"space": described},
    )  # fmt: skip
    for trial in trials:
        trial.curve.metrics[EVIL] = trial.curve.metrics["val_loss"]
    page = write(answer, tmp_path)
    assert own_part(page).count("</script>") == own_part(page).count("<script") == 4
    assert "<img src=x" not in own_part(page)
    assert words_of(page).count("alert('x')") > 20
    fields = {found for view in embedded(page, "page")["views"].values() for found in fields_of(view)}
    assert not any(name in field for field in fields for name in ("alert", "val.loss", "a[0]"))


def fields_of(spec):
    """The names of fields and the expressions in a description."""
    if isinstance(spec, list):
        return [one for part in spec for one in fields_of(part)]
    if not isinstance(spec, dict):
        return []
    own = [value for key, value in spec.items() if key in ("field", "expr", "labelExpr", "calculate", "filter", "test")]
    rest = [value for key, value in spec.items() if key != "values"]
    return [one for one in own if isinstance(one, str)] + fields_of(rest)


def test_a_search_is_read_from_its_json_and_weighs_what_the_others_weigh(tmp_path):
    path = tmp_path / "search.json"
    path.write_text(_examples.search().to_json())
    assert Search.from_json(path.read_text()).value == pytest.approx(0.1)
    trials = [_examples.searched(number, epochs=150) for number in range(1000)]
    page = write(_examples.search(trials=trials), tmp_path)
    assert len(page.encode()) < 8e6
    assert len(embedded(page, "result")["trials"][999]["curve"]["metrics"]["val_loss"]) == 150
    assert len(write(_examples.search(trials=trials[:50]), tmp_path).encode()) < 3e6


def test_the_lines_hold_any_name_and_no_more_digits_than_are_known():
    answer = _examples.search(hyperparameters={"a b": 0.123456789, "c": 2.0, "units": (25, 25)}, learning_rate=None)
    assert answer.code() == (
        "hyperparameters = {\n    'a b': 0.1235,\n    'c': 2.0,\n    'units': (25, 25),\n}\n"
        "epochs = 6  # at its best after 5: keep those weights\n"
    )


def test_an_axis_is_fitted_to_the_better_trials_and_says_what_lies_beyond():
    values = [*np.linspace(0.1, 0.2, 11).tolist(), 4e6]
    trials = [_examples.searched(number, value=value) for number, value in enumerate(values)]
    axis = search_drawings.metric_axis(_examples.search(trials=trials))
    assert axis.high < 0.5
    assert "off the chart" in axis.note
    parallel = json.dumps(search_drawings.parallel(_examples.search(trials=trials)))
    assert '"place": NaN' not in parallel


def test_values_of_one_kind_or_of_several_find_their_places():
    trials = [_examples.searched(number) for number in range(3)]
    mixed = [
        msgspec.structs.replace(one, hyperparameters={"x": x}) for one, x in zip(trials, (1, "one", None), strict=True)
    ]
    (axis,) = search_drawings.dimensions(_examples.search(trials=mixed, settings={}))
    assert [axis.place(x) for x in (1, "one", None, "never tried")] == [
        pytest.approx(1 / 6),
        0.5,
        pytest.approx(5 / 6),
        None,
    ]
    alone = [msgspec.structs.replace(one, hyperparameters={"x": 3.0}) for one in trials]
    (axis,) = search_drawings.dimensions(_examples.search(trials=alone, settings={}))
    assert axis.place(3.0) == 0.0
