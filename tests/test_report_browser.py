"""The report in a real browser, from a file, with the network off."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

import _examples
from learnrate._report import report
from learnrate.results import TrialState

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser; it is not installed")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the path; name one in the environment variable CHROMIUM")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def opened_file(browser):
    """Open a report; at the end hold that it neither complained nor asked for anything."""
    noises = []
    contexts = []

    def open_file(path, **settings):
        context = browser.new_context(
            offline=True, **({"viewport": {"width": 1200, "height": 900}, "accept_downloads": True} | settings)
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: noises.append(message.text))
        page.on("pageerror", lambda error: noises.append(str(error)))
        page.on("dialog", lambda dialog: (noises.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "blob:")) else noises.append(asked.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert noises == []


@pytest.fixture
def opened(opened_file, tmp_path):
    """Open a result's report."""
    return lambda result, **settings: opened_file(report(result, tmp_path / "report.html"), **settings)


POINTS = "#view-response path[aria-roledescription=point]"
ALL_POINTS = f"[...document.querySelectorAll('{POINTS}')]"


def faded(page, selector):
    return page.eval_on_selector_all(selector, "all => all.map((it) => Number(it.getAttribute('opacity')) < 0.5)")


def test_a_rate_picked_in_the_table_lights_up_in_the_charts(opened):
    page = opened(_examples.recommendation())
    page.click("#table tbody tr:nth-child(5) button")
    page.wait_for_function(f"{ALL_POINTS}.some((it) => it.getAttribute('opacity') < 0.5)")
    assert faded(page, POINTS).count(False) == 2  # at both lengths
    assert page.text_content("#picked-words") == "Learning rate 2.1e-3: overfitting"
    lines = "#view-curves path[aria-roledescription='line mark']"
    assert faded(page, lines).count(False) == 2  # its training and its validation
    assert page.get_attribute("#multiples figure.picked", "id") == "one-3"
    page.keyboard.press("Escape")
    page.wait_for_selector("#picked", state="hidden")
    page.wait_for_function(
        f"[...document.querySelectorAll('{POINTS}')].every((it) => it.getAttribute('opacity') > 0.5)"
    )


def test_a_point_picked_in_the_chart_lights_up_in_the_table(opened):
    page = opened(_examples.recommendation())
    for point, rate in ((3, "2.1e-3"), (6, "0.1")):  # the winner lies under its own rule; the last one at the edge
        page.locator(POINTS).nth(point).click()
        page.wait_for_selector(f"tr.picked button:text-is('{rate}')")
        assert page.locator("tr.picked button").get_attribute("aria-pressed") == "true"


def test_a_curve_picked_in_the_overlay_lights_up_in_the_table(opened):
    page = opened(_examples.recommendation())
    page.locator("#view-curves path[aria-roledescription='line mark']").first.dispatch_event("click")
    page.wait_for_selector("tr.picked")


def test_a_rate_is_picked_with_the_keyboard_alone(opened):
    page = opened(_examples.recommendation())
    page.focus("#table tbody tr:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.text_content("#picked-words") == "Learning rate 2e-4: too slow"


def test_the_metric_of_the_curves_is_chosen(opened):
    page = opened(_examples.recommendation())
    page.select_option("#metric", label="accuracy")
    page.wait_for_selector("#view-curves text:text-is('accuracy')", state="attached")


def column(page, number):
    return page.locator(f"#table tbody tr:visible td:nth-child({number})").all_text_contents()


def test_the_table_sorts_and_filters(opened):
    page = opened(_examples.recommendation())
    page.click("#table th:nth-child(3) button")
    values = column(page, 3)
    assert values[-1] == "–"
    numbers = [float(value) for value in values[:-1]]
    assert numbers == sorted(numbers)
    page.click("#table th:nth-child(3) button")
    assert page.get_attribute("#table th:nth-child(3)", "aria-sort") == "descending"
    assert column(page, 3) == [*reversed(values[:-1]), "–"]
    page.select_option("#state", "diverged")
    assert column(page, 2) == ["diverged", "diverged"]
    assert page.text_content("#count") == "2 of 8 trials"
    page.select_option("#state", "")
    page.fill("#search", "cuda")
    assert column(page, 1) == ["1e-3"]


def test_the_lines_are_copied(opened):
    page = opened(_examples.recommendation(), permissions=["clipboard-read", "clipboard-write"])
    page.focus("#tab-torch")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-keras"
    page.click("#copy")
    page.wait_for_selector("#copy:text-is('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == _examples.recommendation().code("keras")


@pytest.mark.parametrize("count", [3, 180])
def test_the_data_are_downloaded(opened, tmp_path, count):
    trials = [_examples.trial(number, 10.0 ** (-number / 60), epochs=150) for number in range(count)]
    sweep = _examples.sweep(trials=trials)
    page = opened(sweep)
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "data.json")
    kept = type(sweep).from_json((tmp_path / "data.json").read_bytes())
    assert len(kept.trials) == count
    assert kept.trials[0].curve.best("val_loss", "min").value == pytest.approx(
        trials[0].curve.best("val_loss", "min").value, rel=1e-5
    )


def test_many_trials_show_a_dozen_small_charts_and_more_when_asked(opened):
    trials = [_examples.trial(number, 10.0 ** (-number / 20)) for number in range(60)]
    page = opened(_examples.sweep(trials=trials))
    assert page.locator("#multiples figure").count() == 12
    page.click("#table tbody tr:nth-child(2) button")
    page.wait_for_selector("#multiples figure.picked")
    page.click("#more")
    assert page.locator("#multiples figure").count() == 13 + 24


def test_a_thousand_trials_open(opened):
    trials = [
        _examples.trial(number, 10.0 ** (-1 - number / 250), epochs=150, state=list(TrialState)[1 + number % 3])
        for number in range(1000)
    ]
    page = opened(_examples.recommendation(trials=trials, horizon=150))
    page.wait_for_selector("#view-curves canvas")
    assert page.locator("#table tbody tr").count() == 1000


EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"


def test_markup_runs_nowhere(opened):
    trials = [_examples.trial(number, 10.0**-number, error=EVIL, stage=EVIL) for number in (1, 2)]
    for trial in trials:
        for name in (EVIL, "val.loss", "a[0]", '\\", x: alert(1), "'):
            trial.curve.metrics[name] = trial.curve.metrics["val_loss"]
    page = opened(_examples.recommendation(trials=trials, metric=EVIL, warnings=[EVIL]))
    for name in (EVIL, "val.loss", "a[0]", '\\", x: alert(1), "'):
        page.select_option("#metric", label=name)
        page.wait_for_function(
            "name => [...document.querySelectorAll('#view-curves text')].some((it) => it.textContent === name)",
            arg=name,
        )
        assert page.locator("#view-curves path[aria-roledescription='line mark']").count() >= 2
    page.locator(POINTS).first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert EVIL in page.text_content("#vg-tooltip-element")
    assert page.locator("body img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_screen_and_ink_follows_the_scheme(opened, scheme, width):
    page = opened(_examples.recommendation(), color_scheme=scheme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    edges = page.eval_on_selector_all(
        ".chart > svg, .chart > canvas",
        "all => all.map((it) => [it, it.parentElement].map((box) => box.getBoundingClientRect().right))",
    )
    assert all(inner <= outer + 1 for inner, outer in edges)
    ink = page.eval_on_selector("#view-response .role-axis-label text", "(it) => getComputedStyle(it).fill")
    brightness = sum(int(part) for part in re.findall(r"\d+", ink)[:3])
    assert brightness > 500 if scheme == "dark" else brightness < 200


@pytest.mark.parametrize("kind", ["recommendation", "search"])
def test_every_chart_has_words_and_every_control_a_name(opened, kind):
    page = opened(getattr(_examples, kind)())
    names = page.eval_on_selector_all(".chart", "all => all.map((it) => it.getAttribute('aria-label') || '')")
    assert all(len(name) > 20 for name in names)
    assert len(set(names)) == len(names)
    levels = [int(it) for it in page.eval_on_selector_all("h1, h2, h3", "all => all.map((it) => it.tagName[1])")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    unnamed = "all => all.filter((it) => !it.labels?.length && !it.textContent.trim() && !it.ariaLabel).length"
    assert page.eval_on_selector_all("main button, main input, main select", unnamed) == 0


SLOW = """
import time
from learnrate.testing import QuadraticTrainable


class Slow(QuadraticTrainable):
    def train(self, learning_rates):
        time.sleep(0.4)
        return super().train(learning_rates)
"""
ASKED = ["sweep", "slow.py:Slow", "--learning-rates", "0.01,0.03,0.1,0.3", "--epochs", "10", "--study", "kept"]
PROGRAM = [sys.executable, "-c", "from learnrate.cli import main; main()"]


def test_the_open_page_follows_a_study_that_runs_is_killed_and_is_resumed(opened_file, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    path = tmp_path / "report.html"
    begun = [*PROGRAM, *ASKED, "--report", "report.html"]
    with subprocess.Popen(begun, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (path.exists() and "<tr data-pick=" in path.read_text()) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        page = opened_file(path, viewport={"width": 900, "height": 500})
        assert page.get_attribute("#live", "data-state") == "running"
        page.click("#table tbody tr:nth-child(1) button")
        page.evaluate("scrollTo(0, 700)")
        with page.expect_navigation():
            pass  # the page reloads itself, and comes back where the reader was
        page.wait_for_selector("html[data-drawn=yes]")
        assert page.text_content("tr.picked button") == "1e-2"
        assert abs(page.evaluate("scrollY") - 700) < 5
        process.kill()
    with page.expect_navigation():
        pass  # what follows has the seconds until the next reload
    page.evaluate("document.querySelector('#live').dataset.written -= 300_000")  # as if minutes had passed
    page.wait_for_selector("#live[data-state=interrupted]")
    assert "Go on by learnrate resume kept" in page.inner_text("#live")
    assert page.locator(POINTS).count() > 0  # readable as before
    done = subprocess.run(
        [*PROGRAM, "resume", "kept", "--report", "report.html"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    page.wait_for_selector("h1:has-text('Best of 4 trainings')")
    page.wait_for_selector("html[data-drawn=yes]")
    assert page.locator("#live").count() == 0
    assert page.text_content("tr.picked button") == "1e-2"


SLICE = "#view-slice-0 path[aria-roledescription=point]"


def test_a_trial_of_a_search_picked_anywhere_lights_up_everywhere(opened):
    page = opened(_examples.search())
    page.click("#table tbody tr:nth-child(3) button")
    assert page.text_content("#picked-words") == (
        "Trial 2: learning_rate 0.001, width 48, optimizer None; val_loss 0.2"
    )
    page.wait_for_function(f"[...document.querySelectorAll('{SLICE}')].some((it) => it.getAttribute('opacity') < 0.5)")
    assert faded(page, SLICE).count(False) == 1
    assert faded(page, "#view-parallel path[aria-roledescription='line mark']").count(False) == 1
    assert page.get_attribute("#multiples figure.picked", "id") == "one-2"
    page.keyboard.press("Escape")
    page.wait_for_selector("#picked", state="hidden")
    page.locator("#view-slice-1 path[aria-roledescription=point]").first.click()
    page.wait_for_selector("tr.picked")
    page.click("#table th:nth-child(5) button")
    widths = [int(width) for width in column(page, 5)]
    assert widths == sorted(widths)
    page.select_option("#state", "failed")
    assert column(page, 1) == ["11"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_a_search_with_names_of_any_kind_fits_the_screen_and_draws_them(opened, width, scheme):
    names = {EVIL: EVIL, "val.loss": 0.1, "a[0]": [1, 2], "'\\": True, "width": 16}
    trials = [
        _examples.searched(number, hyperparameters=names | {"val.loss": 0.1 * number, "width": 4**number})
        for number in range(4)
    ]
    answer = _examples.search(
        trials=trials, importance={EVIL: 0.6, "val.loss": 0.4}, settings={}, hyperparameters=names
    )
    page = opened(answer, color_scheme=scheme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for place, name in enumerate(names):
        texts = page.locator(f"#view-slice-{place} text").all_text_contents()
        assert name in texts
        assert page.locator(f"#view-slice-{place} path[aria-roledescription=point]").count() == 4
    assert page.locator("body img").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
def test_no_line_to_paste_is_cut_off_and_all_are_copied_as_they_are(opened, width):
    answer = _examples.recommendation(schedule={"name": "triangular2", "settings": {}}, framework="keras")
    page = opened(answer, viewport={"width": width, "height": 900})
    assert page.text_content("[role=tab][aria-selected=true]") == "Keras"
    assert page.eval_on_selector("#lines-keras pre", "(it) => it.scrollWidth <= it.clientWidth")
    marked = "(it) => { getSelection().selectAllChildren(it); return getSelection().toString(); }"
    assert page.eval_on_selector("#lines-keras code", marked).strip() == answer.code().strip()


def test_ten_epochs_are_written_in_digits_and_one_trial_as_one(opened):
    page = opened(_examples.sweep(trials=[_examples.trial(0, 1e-3, epochs=10)], horizon=10))
    page.evaluate("document.getElementById('multiples').scrollIntoView()")  # small charts are drawn when seen
    for view in ("#view-curves", "#multiple-0"):
        page.wait_for_selector(f"{view} text:text-is('10')", state="attached")
        assert page.locator(f"{view} text:text-is('1e+1')").count() == 0
    assert page.text_content("#count") == "1 trial"
