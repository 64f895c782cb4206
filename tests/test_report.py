import base64
import gzip
import html
import json
import re

import numpy as np
import pytest

import _examples
from learnrate._drawings import standalone
from learnrate._numbers import duration
from learnrate._pages import words
from learnrate._report import render, report
from learnrate._watching.tally import AtWork
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError
from learnrate.results import Cost, Recommendation, ScheduleOutcome, TrialState, Verdict

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>{{ 7 * 7 }}<!--"


def write(result, tmp_path):
    return report(result, tmp_path / "report.html").read_text()


def own_part(page):
    """The page without the chart library."""
    return page.replace(standalone.chart_library(), "")


def words_of(page):
    body = re.sub(r"<script.*?</script>|<style.*?</style>", " ", own_part(page), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def embedded(page, name):
    kind, text = re.search(rf'<script type="application/(\w+)" id="{name}">(.*?)</script>', page, re.DOTALL).groups()
    return json.loads(gzip.decompress(base64.b64decode(text)) if kind == "gzip" else text)


RESULTS = {
    "recommendation": _examples.recommendation,
    "sweep": _examples.sweep,
    "range test": _examples.range_test,
}


@pytest.mark.parametrize("kind", RESULTS)
def test_every_result_has_a_report_that_fetches_nothing(tmp_path, kind):
    page = write(RESULTS[kind](), tmp_path)
    assert kind in words_of(page)
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", own_part(page))
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!vega|www\.w3\.org)", own_part(page))


def test_the_first_screen_says_the_answer_and_how_sure_it_is(tmp_path):
    words = words_of(write(_examples.recommendation(), tmp_path))
    for said in (
        "Learning rate 2.1e-3",
        "As the peak of a cosine schedule, warmed up over the first 10 % of the run, for 20 epochs.",
        "val_loss reached 0.083 after 17 of 20 epochs",
        "The best lies Between 7e-4 and 7e-3, 90 % sure",
        "Held at 7e-3 for 20 epochs, broke at 3e-2 after 5 epochs",
        "7e-4: at most 5 % worse, 80 % sure (val_loss 0.194 or better)",
        "2.1e-4: 2 to 24 % worse, 80 % sure (val_loss 0.128 to 0.617)",
        "Yours, 1e-3: 3 % worse, measured (val_loss 0.15)",
        "Percentages are of the way from 2.31, before training, to 0.083.",
        "The chance that no learning rate is more than 1 % better: 77 %.",
        "A larger budget compares it with its neighbours for longer",
        "The best learning rate lies inside the range, with worse ones on both sides.",
        "8 trainings: 3 over all 20 epochs, 1 over fewer, 1 pruned, 2 diverged, 1 failed.",
        "1.9 training runs of 20 epochs, the winner's own included; 2.0 were allowed. 3 min 12 s.",
        "CosineAnnealingLR",
        "CosineDecay",
        "partial_fit",
        "optax.cosine_decay_schedule",
    ):
        assert said in words, said


def test_trials_come_by_learning_rate_each_with_its_diagnosis(tmp_path):
    page = write(_examples.recommendation(), tmp_path)
    rates = [float(rate) for rate in re.findall(r'<tr data-pick="([^"]+)"', page)]
    assert rates == sorted(trial.learning_rate for trial in _examples.trials())
    words = words_of(page)
    for said in ("overfitting the validation loss fell until epoch 17", "CUDA out of memory", "Stop at epoch 17."):
        assert said in words


def test_no_answer_is_said_with_what_to_try(tmp_path):
    answer = _examples.recommendation(
        learning_rate=None, interval=None, confidence=None, yours=None, slower=[], verdict=Verdict.ALL_DIVERGED
    )
    page = write(answer, tmp_path)
    words = words_of(page)
    assert "No learning rate found" in words
    assert "Training diverged at every learning rate. Look for NaN or infinity" in words
    assert 'id="copy"' not in own_part(page).split("<script")[0]


def test_a_doubtful_answer_comes_with_its_doubt(tmp_path):
    words = words_of(write(_examples.recommendation(verdict=Verdict.TOO_NARROW_LEFT), tmp_path))
    assert "Learning rate 2.1e-3" in words
    assert "are already the best. Try smaller ones too: lower min_learning_rate" in words


def test_the_complete_result_is_in_the_page(tmp_path):
    answer = _examples.recommendation()
    page = write(answer, tmp_path)
    assert embedded(page, "result") == json.loads(answer.to_json())
    Recommendation.from_json(json.dumps(embedded(page, "result")))


def test_markup_in_names_errors_and_warnings_stays_text(tmp_path):
    trials = [
        _examples.trial(0, 1e-3, error=EVIL, stage=EVIL, state=TrialState.FAILED),
        _examples.trial(1, 1e-2, hyperparameters={"learning_rate": 1e-2, EVIL: EVIL}),
    ]
    for trial in trials:
        trial.curve.metrics[EVIL] = trial.curve.metrics["val_loss"]
    answer = _examples.recommendation(
        trials=trials,
        metric=EVIL,
        warnings=[EVIL],
        settings={EVIL: EVIL, "schedule": {"name": EVIL}},
        schedule={"name": EVIL, "settings": {}, "custom": True},
    )
    page = write(answer, tmp_path)
    assert own_part(page).count("</script>") == own_part(page).count("<script") == 4
    assert "<img src=x" not in own_part(page)
    assert "49" not in re.findall(r"<li>(.*?)</li>", page)[-1]
    assert words_of(page).count("alert('x')") > 5
    assert embedded(page, "page")["bases"][0] == EVIL


@pytest.mark.parametrize("name", ["val.loss", "a[0]", "\\", "loss\u2028"])
def test_odd_names_of_metrics_are_written(tmp_path, name):
    trials = _examples.trials()
    for trial in trials:
        trial.curve.metrics[name] = trial.curve.metrics["val_loss"]
    page = write(_examples.sweep(trials=trials, metric=name), tmp_path)
    assert name in embedded(page, "page")["trials"][0]["metrics"]


def test_nan_and_infinity_are_written_as_nothing(tmp_path):
    trial = _examples.trial(0, 1e-3)
    trial.curve.metrics["loss"][3:] = [np.nan, np.inf, -np.inf, *[1.7e308] * 7, *[-1.7e308] * 7]
    page = write(_examples.sweep(trials=[trial], metric="loss", untrained=float("nan"), value=float("inf")), tmp_path)
    assert embedded(page, "page")["trials"][0]["metrics"]["loss"][3:7] == [None, None, None, 1.7e308]


def test_a_report_of_nothing_is_written(tmp_path):
    empty = {"trials": [], "learning_rate": None, "value": None, "epochs": None, "verdict": Verdict.ALL_DIVERGED}
    assert "No training was run" in words_of(write(_examples.sweep(**empty, untrained=None), tmp_path))
    nothing = np.array([])
    test = _examples.range_test(
        learning_rates=nothing, losses=nothing, smoothed=nothing, loss_changes=nothing, suggestions={}, cliff=None,
        learning_rate=None, verdict=Verdict.FLAT,
    )  # fmt: skip
    assert "No learning rate found" in words_of(write(test, tmp_path))


def test_a_result_is_read_from_its_json_file(tmp_path):
    for result in (_examples.recommendation(), _examples.sweep(), _examples.range_test()):
        path = tmp_path / "result.json"
        path.write_text(result.to_json())
        assert report(path, tmp_path / "read.html").read_text() == write(result, tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"a": 1}')
    for given, message in ((path, "holds no result"), (tmp_path / "none.json", "is not a file"), (3, "int has no")):
        with pytest.raises(InvalidArgumentError, match=message):
            report(given, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_where_nothing_can_be_written_nothing_is_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr("learnrate._report.render", lambda _: pytest.fail("rendered"))
    with pytest.raises(InvalidArgumentError, match="is a directory; give the path of a file"):
        report(_examples.range_test(), tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"there is no directory .*missing; make it first"):
        report(_examples.range_test(), tmp_path / "missing" / "report.html")


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        report(_examples.range_test(), path)
    assert path.read_text() == "old"
    assert [it.name for it in tmp_path.iterdir()] == ["report.html"]


def many(count):
    rates = np.geomspace(1e-5, 1e-1, count)
    return [_examples.trial(number, float(rate), epochs=150) for number, rate in enumerate(rates)]


def test_fifty_trials_of_150_epochs_stay_under_3_megabytes(tmp_path):
    assert len(write(_examples.recommendation(trials=many(50), horizon=150), tmp_path).encode()) < 3e6


def test_a_thousand_trials_of_150_epochs_stay_under_8_megabytes_with_all_their_data(tmp_path):
    answer = _examples.recommendation(trials=many(1000), horizon=150)
    page = write(answer, tmp_path)
    assert len(page.encode()) < 8e6
    kept = embedded(page, "result")["trials"][7]["curve"]["metrics"]["val_loss"]
    np.testing.assert_allclose(kept, answer.trials[7].curve.metrics["val_loss"], rtol=1e-5)


def test_times_and_costs_are_written_as_people_say_them():
    assert [duration(it) for it in (0.004, 59.0, 60, 3600, 86400)] == [
        "under 0.1 s",
        "59 s",
        "1 min",
        "1 h",
        "24 h",
    ]
    plan = {"name": "cosine", "settings": {"warmup_fraction": 0.1, "num_epochs": None}}
    assert [words.setting(it) for it in (plan, 1e-7, "loss", None, True)] == [
        "cosine (warmup_fraction 0.1)", "1e-7", "loss", "none", "true",
    ]  # fmt: skip
    better = Cost(learning_rate=1e-3, low=-0.01, high=-0.01, values=(0.08, 0.08), measured=True)
    told = str(words.first_screen(_examples.recommendation(yours=better))["facts"])
    assert "Yours, 1e-3: no worse, measured (val_loss 0.08)" in told


def test_what_to_try_next_names_the_arguments_that_the_verb_has():
    def advice(result):
        return words.first_screen(result)["caution"]["advice"]

    narrow = Verdict.TOO_NARROW_RIGHT
    assert advice(_examples.sweep(verdict=narrow)) == "Try larger ones too"
    assert advice(_examples.recommendation(verdict=narrow)) == "Try larger ones too: raise max_learning_rate"


def test_schedules_that_were_compared_stand_in_a_table_the_best_first(tmp_path):
    made = {
        "interval": (1e-3, 4e-3), "epochs": 17.0, "verdict": Verdict.FOUND, "cost": 1.9, "learning_rate": 2.1e-3,
        "schedule": {"name": "cosine", "settings": {}},
    }  # fmt: skip
    compared = [
        ScheduleOutcome(name="constant", value=0.11, **made),
        ScheduleOutcome(name=EVIL, value=None, **made),
        ScheduleOutcome(name="cosine", value=0.083, **made),
    ]
    page = write(_examples.recommendation(schedules=compared), tmp_path)
    words = words_of(page)
    assert words.index("Cosine 2.1e-3 1e-3 to 4e-3 0.083") < words.index("Constant 2.1e-3") < words.rindex("</script>")
    assert own_part(page).count("<script") == 4


def test_a_function_is_told_its_learning_rate_alone(tmp_path):
    answer = _examples.recommendation(untrained=None)
    assert answer.code() == "learning_rate = 2.1e-3\n"
    assert "Your script learning_rate = 2.1e-3" in words_of(write(answer, tmp_path))


def test_one_is_one_and_none_is_not_told(tmp_path):
    alone = _examples.sweep(trials=[_examples.trial(0, 1e-3)])
    said = words_of(write(alone, tmp_path))
    assert "Best of 1 training:" in said
    assert "one learning rate, 1e-3" in said
    assert "1 training: 1 over all 20 epochs." in said


AT_WORK = AtWork("select", "interrupted", "screening", 0.1, 2.0, 17.0, None, None)


def test_while_at_work_no_seed_is_told_and_nothing_is_drawn_of_what_has_no_value():
    running = _examples.trial(0, 1e-3, state=TrialState.RUNNING, value=None, curve=LearningCurve.from_rows([]))
    page = render(_examples.sweep(trials=[running], learning_rate=None, settings={}, seed=2968811710), at_work=AT_WORK)
    assert "2968811710" not in words_of(page)
    assert "1 training: 1 running." in words_of(page)
    assert embedded(page, "page")["views"] == {}
    search = _examples.search(trials=[_examples.searched(0, state=TrialState.RUNNING, value=None)], importance={})
    views = embedded(render(search, at_work=AT_WORK), "page")["views"]
    assert not [name for name in views if name.startswith("slice") or name == "parallel"]


def test_what_broke_the_range_test_is_not_what_breaks_a_training(tmp_path):
    said = words_of(write(_examples.range_test(), tmp_path))
    assert "where that breaks is not where a whole training does" in said
    assert "This test broke at 6e-2" in words_of(write(_examples.range_test(), tmp_path))
    assert "where that breaks" not in words_of(write(_examples.range_test(cliff=None), tmp_path))


def test_the_lines_of_the_problems_own_framework_come_first(tmp_path):
    page = write(_examples.sweep(framework="jax"), tmp_path)
    assert re.findall(r'id="tab-(\w+)"[^>]*aria-selected="(\w+)"', page) == [
        ("jax", "true"),
        ("torch", "false"),
        ("keras", "false"),
        ("sklearn", "false"),
    ]
    assert 'id="tab-torch" aria-controls="lines-torch" aria-selected="true"' in write(_examples.sweep(), tmp_path)


def test_what_lies_off_the_small_charts_is_said_beside_their_key(tmp_path):
    trials = [_examples.trial(number, 10.0 ** -(3 - number / 4)) for number in range(5)]
    trials[-1].curve.metrics["loss"][0] = 50.0
    assert "loss, left axis (up to 50, off the chart)" in words_of(write(_examples.sweep(trials=trials), tmp_path))
