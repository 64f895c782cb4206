import json
import re
import subprocess
import sys

import numpy as np
import pytest

import _examples
from learnrate import charts, schedules
from learnrate._drawings import axes, curve_drawings, rate_drawings, search_drawings, standalone
from learnrate.curves import LearningCurve
from learnrate.errors import InvalidArgumentError
from learnrate.results import Search, TrialState, Verdict


def svg(chart):
    return chart._repr_mimebundle_()["image/svg+xml"]


def drawn_lines(picture):
    """The line marks of a picture that go somewhere."""
    found = re.findall(r"<path[^>]*>", picture)
    return [it for it in found if 'aria-roledescription="line mark"' in it and re.search(r' d="M[^"]*L', it)]


RESULTS = {
    "recommendation": _examples.recommendation,
    "sweep": _examples.sweep,
    "range test": _examples.range_test,
    "trial": lambda: _examples.trials()[3],
    "diverged trial": lambda: _examples.trials()[6],
    "curve": lambda: _examples.trials()[3].curve,
}


@pytest.mark.parametrize("kind", RESULTS)
def test_every_result_is_drawn(kind):
    picture = svg(charts.draw(RESULTS[kind]()))
    assert picture.startswith("<svg")
    assert drawn_lines(picture)


def test_results_trials_and_curves_draw_themselves():
    trial = _examples.trials()[3]
    for drawn in (_examples.sweep(), _examples.range_test(), trial, trial.curve):
        assert svg(drawn.chart()).startswith("<svg")


def searched(**fields):
    names = ("relu", "tanh", None)
    trials = [
        _examples.trial(number, 10.0**-number, hyperparameters={"a[0]": 10.0**-number, "b.c": names[number % 3]})
        for number in range(1, 5)
    ]
    made = {
        "hyperparameters": {}, "learning_rate": None, "value": trials[2].value, "standard_error": None, "epochs": 3.0,
        "horizon": 20, "metric": "val_loss", "mode": "min", "trials": trials, "importance": {"a[0]": 0.9, "b.c": 0.1},
        "order": [], "verdict": Verdict.FOUND, "cost": 4.0, "budget": None, "seed": 0, "seconds": 1.0,
    }  # fmt: skip
    return Search(**(made | fields))


def test_a_search_is_drawn_by_importance_and_by_each_hyperparameter():
    picture = svg(searched().chart())
    assert picture.count('aria-roledescription="point"') == 8
    assert picture.count('aria-roledescription="bar"') == 2
    for name in ("a[0]", "b.c", "tanh", "None"):
        assert name in picture


def test_a_search_without_an_answer_says_that_nothing_can_be_drawn():
    with pytest.raises(InvalidArgumentError, match="nothing to draw"):
        searched(trials=[], importance={}).chart()


def test_the_change_of_the_loss_is_drawn_where_steps_are_fine():
    coarse, fine = np.geomspace(1e-7, 1e-2, 10), np.geomspace(1.1e-2, 1, 40)
    steps = np.concatenate([coarse, fine])
    test = _examples.range_test(learning_rates=steps, losses=steps, smoothed=steps, loss_changes=steps)
    rows = rate_drawings.loss_changes({"": test})["layer"][1]["data"]["values"]
    assert [row["rate"] for row in rows] == pytest.approx([coarse[-1], *fine])
    even = _examples.range_test()
    rows = rate_drawings.loss_changes({"": even})["layer"][1]["data"]["values"]
    assert len(rows) == np.isfinite(even.loss_changes).sum()


def test_what_is_no_result_is_refused():
    with pytest.raises(InvalidArgumentError, match="a dict cannot be drawn; give a Recommendation"):
        charts.draw({})


@pytest.mark.parametrize("ending", ["png", "svg", "html", "json"])
def test_a_chart_is_saved_by_its_ending(tmp_path, ending):
    path = tmp_path / f"chart.{ending}"
    charts.response(_examples.recommendation()).save(path)
    begins = {"png": b"\x89PNG", "svg": b"<svg", "html": b"<!doctype html>", "json": b"{"}
    assert path.read_bytes().startswith(begins[ending])
    assert [it.name for it in tmp_path.iterdir()] == [path.name]


def test_a_saved_page_fetches_nothing_and_keeps_markup_as_text(tmp_path):
    evil = "val_</script><script>alert(1)</script>"
    path = tmp_path / "chart.html"
    charts.response(_examples.recommendation(metric=evil)).save(path)
    page = path.read_text()
    assert page.count("</script>") == 2
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page.replace(standalone.chart_library(), ""))


def test_notebooks_get_a_picture_that_needs_no_script():
    assert set(charts.draw(_examples.range_test())._repr_mimebundle_()) == {"image/svg+xml", "text/plain"}


def test_a_chart_remains_altairs_own():
    answer = _examples.recommendation()
    narrow = charts.response(answer).properties(width=200)
    assert narrow.to_dict()["width"] == 200
    both = charts.response(answer) & charts.range_test(_examples.range_test())
    assert len(both.to_dict()["vconcat"]) == 2
    mine = charts.response(answer).configure_axis(labelFontSize=20).to_dict()["config"]["axis"]
    assert (mine["labelFontSize"], mine["titleFontSize"]) == (20, 12)


@pytest.mark.parametrize(
    "name", ["val.loss", '\\", "x": alert(1), "', "a[0]", "f'1'", 'say "x"', "\\", "dice:µ", "datum.rate"]
)
def test_any_name_of_a_metric_is_drawn(name):
    trials = [
        _examples.trial(
            number, 10.0**-number, curve=LearningCurve.from_rows([(1, {name: 3.0}), (2, {name: 2.0}), (3, {name: 1.0})])
        )
        for number in (1, 2)
    ]
    picture = svg(charts.learning_curves(trials, name))
    assert len(drawn_lines(picture)) == 4  # two in the overlay, one in each small chart
    answer = _examples.sweep(trials=trials, metric=name)
    assert picture_of_points(svg(charts.response(answer))) == 2


def picture_of_points(picture):
    return len(re.findall(r'aria-roledescription="point"', picture))


def test_every_trial_of_a_sweep_is_a_point_whatever_its_value():
    result = _examples.sweep()
    assert picture_of_points(svg(charts.response(result))) == len(result.trials)


def points_of(answer):
    """What each point of a race's chart stands for: its trial, the length, and what became of it."""
    layers = [it for it in rate_drawings.response(answer)["layer"] if it["mark"]["type"] == "point"]
    return [(row["trial"], row["length"], row["what"]) for layer in layers for row in layer["data"]["values"]]


def test_a_race_is_drawn_at_each_length_that_its_trainings_have_in_common():
    answer = _examples.recommendation()
    assert sorted(points_of(answer)) == [
        (0, "5", "left"),
        (1, "5", "left"),
        (2, "20", "ended"),
        (2, "5", "went on"),
        (3, "20", "ended"),
        (3, "5", "went on"),
        (4, "20", "ended"),
        (4, "5", "went on"),
        (5, "20", "diverged"),
        (5, "5", "went on"),
        (6, "20", "diverged"),
        (6, "5", "went on"),
        (7, "5", "failed"),
    ]


def test_the_winner_the_interval_the_cliff_and_ones_own_rate_are_named():
    picture = svg(charts.response(_examples.recommendation()))
    for words in ("best: 2.1e-3", "broke at 3e-2", "yours: 1e-3", "7e-4 to 7e-3, 90 % sure"):
        assert words in picture


def test_all_suggestions_of_a_range_test_are_named_and_those_that_agree_share_a_flag():
    picture = svg(charts.range_test(_examples.range_test()))
    for words in ("ours: 1.9e-3", "valley, steepest: 1.1e-3", "slide: 9e-3", "minimum / 10: 8.5e-4", "broke: 6e-2"):
        assert words in picture


def test_two_range_tests_stand_on_one_chart():
    picture = svg(charts.range_tests({"SGD": _examples.range_test(), "Adam": _examples.range_test(cliff=None)}))
    for words in (">SGD<", ">Adam<", "SGD: 1.9e-3", "SGD broke: 6e-2"):
        assert words in picture


def test_no_range_test_is_refused():
    with pytest.raises(InvalidArgumentError, match="at least one"):
        charts.range_tests({})


def test_an_unknown_metric_is_refused_and_the_known_are_named():
    with pytest.raises(InvalidArgumentError, match="'f1': the trials reported loss, accuracy"):
        charts.learning_curves(_examples.trials(), "f1")
    with pytest.raises(InvalidArgumentError, match="no metrics"):
        charts.draw(LearningCurve.from_rows([]))


def test_many_trials_get_a_dozen_small_charts_spread_over_the_rates():
    trials = [_examples.trial(number, rate) for number, rate in enumerate(np.geomspace(1e-5, 1e-1, 40))]
    picture = svg(charts.learning_curves(trials, "val_loss"))
    assert "12 of 40 trainings" in picture
    for words in ("1e-5: healthy", "0.1: healthy"):
        assert words in picture


def test_results_without_an_answer_are_drawn():
    empty = {"learning_rate": None, "interval": None, "breaks": None, "yours": None}
    assert svg(charts.draw(_examples.recommendation(**empty, trials=[], verdict=Verdict.ALL_DIVERGED)))
    broken = [_examples.trial(at, 0.1 * at, state=TrialState.DIVERGED, value=None) for at in (1, 2)]
    assert svg(charts.draw(_examples.recommendation(**empty, trials=broken)))
    nothing = _examples.range_test(losses=np.full(420, np.nan), smoothed=np.full(420, np.nan), learning_rate=None)
    assert svg(charts.draw(nothing))
    one = _examples.sweep(trials=[_examples.trial(0, 1e-3, epochs=1)])
    assert svg(charts.draw(one))


@pytest.mark.parametrize(
    "values",
    [
        [3.0, 2.0, 1.0],
        [-3.0, -700.0, -1000.0],
        [0.0, 0.0, 0.0],
        [1e12, 1.0, 1e-9],
        [1e300, -1e300, 1.0],
        [1.7e308, -1.7e308, 1.0],
        [np.nan, np.inf, 1.0],
        [np.nan, np.nan, np.nan],
    ],
)
def test_any_losses_are_drawn(values):
    curve = LearningCurve.from_rows([(at, {"loss": value}) for at, value in enumerate(values, 1)])
    trials = [
        _examples.trial(at, 10.0**-at, curve=curve, value=np.nanmin(values) if np.isfinite(values).any() else None)
        for at in (1, 2)
    ]
    assert svg(charts.draw(_examples.sweep(trials=trials, metric="loss")))


def test_an_axis_is_fitted_to_the_calm_and_says_what_lies_beyond():
    axis = axes.values([0.1, 0.2, 0.3, 4e9], calm=[0.1, 0.2, 0.3])
    assert axis.high < 0.4
    assert axis.note == "up to 4e9, off the chart"
    assert axis.within(4e9, worst=axis.high) == axis.high
    assert axis.within(None, worst=axis.high) == axis.high
    assert axes.values([0.1, 0.2]).note == ""


def test_a_trial_that_explodes_unnoticed_does_not_stretch_the_axis():
    fine = [_examples.trial(number, 1e-3) for number in range(4)]
    explodes = _examples.trial(9, 1.0, state=TrialState.COMPLETE)
    explodes.curve.metrics["val_loss"][-1] = 1.9e6
    axis = curve_drawings.curve_values([*fine, explodes], "val_loss")
    assert axis.high < 3
    assert axis.note == "up to 1.9e6, off the chart"


def test_a_training_that_was_evaluated_once_is_a_point():
    trials = [_examples.trial(0, 1e-3, epochs=1), _examples.trial(1, 1e-2)]
    picture = svg(charts.learning_curves(trials, "val_loss"))
    assert picture_of_points(picture) == 2 + 4


def test_our_own_rule_is_named_once():
    test = _examples.range_test(suggestions={"valley": 1e-3, "learnrate": 1.9e-3})
    picture = svg(charts.range_test(test))
    assert "ours: 1.9e-3" in picture
    assert "learnrate: " not in picture
    unsure = _examples.range_test(suggestions={"learnrate": 1.9e-3}, learning_rate=None, verdict=Verdict.NOISY)
    assert "learnrate: 1.9e-3" in svg(charts.range_test(unsure))


def test_an_axis_of_values_that_explode_holds_them_all_and_says_so():
    axis = axes.values([*np.linspace(1, 2, 50), 1e9, -1e7])
    assert axis.scale["type"] == "symlog"
    assert (axis.low, axis.high) == (-1e7, 1e9)
    assert "logarithmic beyond ±1" in axis.note


@pytest.mark.parametrize("ends", [(1e-7, 10.0), (1e-3, 2e-3), (1e-3, 1e-3), (3e-4, 8e-3)])
def test_a_rate_axis_has_ticks_in_round_numbers(ends):
    axis = axes.rates(ends)
    assert axis.low < ends[0] <= ends[1] < axis.high
    ticks = axis.axis["values"]
    assert len(ticks) >= 2
    assert all(float(f"{tick:.0e}") == pytest.approx(tick) for tick in ticks)


def test_labels_of_rules_stand_in_rows_of_their_own():
    layers = rate_drawings.losses({"": _examples.range_test()})["layer"]
    rows = [layer["encoding"]["y"]["value"] for layer in layers if layer["mark"].get("type") == "text"]
    assert len(set(rows)) == len(rows) == 6


def test_a_schedule_is_drawn_over_steps_or_epochs():
    plan = schedules.cosine(0.1, 5000, warmup_fraction=0.1)
    assert ">step<" in svg(charts.schedule(plan))
    assert ">epoch<" in svg(charts.schedule(plan, epochs=20))


def test_long_curves_are_thinned_and_keep_their_ends():
    epochs, values = axes.thinned(np.arange(1.0, 1001), np.arange(1000.0), most=50)
    assert len(epochs) == 50
    assert (epochs[0], epochs[-1], values[-1]) == (1.0, 1000.0, 999.0)


def test_results_load_no_chart_library_and_charts_draw_only_when_asked():
    code = (
        "import sys, json, learnrate, learnrate.results\n"
        "before = {'altair', 'vl_convert', 'jinja2'} & set(sys.modules)\n"
        "import learnrate._report\n"
        "reported = {'altair', 'vl_convert', 'jinja2'} & set(sys.modules)\n"
        "import learnrate.charts\n"
        "print(json.dumps([sorted(before), sorted(reported), 'vl_convert' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], [], False]


def labels(picture):
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


@pytest.mark.parametrize("length", [10, 100, 300_000])
def test_epochs_and_steps_are_written_in_digits(length):
    plan = schedules.cosine(0.1, length)
    for picture in (svg(charts.schedule(plan)), svg(charts.schedule(plan, epochs=length))):
        assert str(length) in labels(picture)
        assert not any("e+" in label for label in labels(picture))
    if length < 300:
        trial = _examples.trial(0, 1e-3, epochs=length)
        assert labels(svg(charts.learning_curves([trial], "val_loss"))).count(str(length)) == 2


def test_large_learning_rates_are_written_as_in_the_words():
    test = _examples.range_test(learning_rates=np.geomspace(1e-3, 2e6, 420), cliff=None)
    picture = svg(charts.range_test(test))
    assert {"100", "1000", "1e5"} <= set(labels(picture))


def short(number, rate, losses):
    """A trial that reported these losses, in training and in validation alike."""
    rows = [(epoch, {"loss": loss, "val_loss": loss}) for epoch, loss in enumerate(losses, 1)]
    return _examples.trial(number, rate, curve=LearningCurve.from_rows(rows), value=min(losses))


def test_one_broken_training_does_not_flatten_the_losses_of_all_others():
    fine = [short(at, 0.1 * (at + 1), [1.7, 0.9, 0.4 - 0.05 * at]) for at in range(5)]
    broken = short(9, 3.2, [11.0])
    axis = curve_drawings.curve_values([*fine, broken], "val_loss")
    assert axis.high < 2
    assert axis.note == "up to 11, off the chart"
    picture = svg(charts.learning_curves([*fine, broken], "val_loss"))
    assert "up to 11, off the chart" in picture
    assert picture_of_points(picture) == 4  # its one row, at the axis's end: training and validation, twice


def test_a_slow_training_is_no_outlier_however_high_it_stays():
    fast = [short(at, 0.1 * (at + 1), [0.3, 0.2, 0.1]) for at in range(5)]
    slow = short(9, 1e-5, [2.3, 2.3, 2.3])
    assert curve_drawings.curve_values([*fast, slow], "loss").note == ""
    negative = [short(at, 10.0**-at, [-1.0, -50.0 * (at + 1)]) for at in range(4)]
    axis = curve_drawings.curve_values(negative, "loss")
    assert (axis.low < -200, axis.high > -1, axis.note) == (True, True, "")


def test_learning_rates_at_the_ends_of_what_a_float_holds_are_drawn():
    for ends in ((5e-324, 1e-300), (5e-324, 1.7e308)):
        axis = axes.rates(ends)
        assert 0 < axis.low <= ends[0] < ends[1] <= axis.high < np.inf
        assert 3 <= len(axis.axis["values"]) <= 2 * 16
    rates = np.geomspace(5e-324, 1e300, 420)
    assert svg(charts.range_test(_examples.range_test(learning_rates=rates, cliff=1e200)))


def test_a_running_trial_that_has_reached_nothing_is_no_point():
    running = _examples.trial(8, 1e-3, state=TrialState.RUNNING, value=None)
    begun = _examples.trial(9, 1e-3, state=TrialState.RUNNING, value=0.3)
    answer = _examples.sweep(trials=[*_examples.trials(), running, begun])
    assert picture_of_points(svg(charts.response(answer))) == 9
    held = [_examples.searched(0), _examples.searched(1, state=TrialState.RUNNING, value=None)]
    slices = search_drawings.slices(_examples.search(trials=held))
    assert [len(each["data"]["values"]) for each in slices] == [1, 1, 1]
