"""The page of a report: one file, complete, safe, and readable by everybody in a real browser."""

import base64
import json
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rnncheck
from rnncheck import Report
from rnncheck.report.entry import MOST_PICTURED, Difference
from rnncheck.report.page import CAPTIONS, COLUMNS
from rnncheck.report.plot import PICTURES

DEMO = Path(__file__).parent.parent / "rnncheck" / "demo"
SINE, INPUTS = DEMO / "sine.keras", DEMO / "inputs.npy"
AXE = "axe-core@4.10.3"
HOSTILE = "<script>alert(1)</script> `rm` | a|b \" ' & \x1b[31m\n"
SHOW = ["compare", SINE, "--inputs", INPUTS, "--outputs", DEMO / "outputs.csv", "--states", DEMO / "states.csv"]


def compared(*, wrong):
    states = np.loadtxt(DEMO / "states.csv", delimiter=",").reshape(8, 24, 16)
    if wrong:
        states[3, 7, 5] += 0.1
    outputs = np.loadtxt(DEMO / "outputs.csv", delimiter=",", ndmin=2)
    return rnncheck.compare(SINE, np.load(INPUTS), outputs, states=states, blind_spots=not wrong)


@pytest.fixture(scope="module")
def mismatch():
    return compared(wrong=True)


@pytest.fixture(scope="module")
def match():
    return compared(wrong=False)


def many(report, count):
    (entry,) = report.entries
    return Report({"keras": "3.15"}, tuple(replace(entry, name=f"model {n}.keras") for n in range(count)))


# --- the file ---


def test_page_has_verdict_numbers_pictures_table_and_environment(mismatch):
    page = mismatch.to_html("rnncheck compare 'my model.keras'")

    assert "<title>rnncheck: mismatch</title>" in page
    assert "MISMATCH&ensp;sine.keras: layer &#39;lstm&#39;" in page
    assert "first wrong at sample 3, step 7, unit 5" in page
    assert page.count("<svg") == len(PICTURES) == len(CAPTIONS)
    assert all(f'<dd id="about-{number}">' in page for number in range(1, len(COLUMNS) + 1))
    assert "<td>n=3 t=7 unit=5</td>" in page
    assert "<td>activation(c)</td>" in page
    assert f"<dd>{mismatch.environment['numpy']}</dd>" in page
    assert "<code>rnncheck compare &#39;my model.keras&#39;</code>" in page


def test_page_of_a_match_folds_its_blind_spots(match):
    page = match.to_html()

    assert "MATCH&ensp;sine.keras: all 3,088 numbers agree" in page
    assert "<details><summary>Blind spots" in page
    assert page.count("<svg") == len(PICTURES) - 1  # without the gates of a wrong step
    assert "The command" not in page


@pytest.mark.long
def test_page_is_the_same_each_time(mismatch):
    assert mismatch.to_html() == mismatch.to_html()


def test_several_entries_have_an_index_that_leads_to_each(mismatch, match):
    page = Report(
        {}, mismatch.entries + match.entries, differences=(Difference("sine", ("jax", "torch"), 1e-7),)
    ).to_html()

    assert '<a class="mismatch" href="#case-1">sine.keras: mismatch</a>' in page
    assert '<a class="match" href="#case-2">sine.keras: match</a>' in page
    assert page.count('id="case-1"') == page.count('id="case-2"') == 1
    assert page.count('<details class="case" open>') == 1
    assert "<td>jax and torch</td><td>1.0e-07</td>" in page.replace("\n", "")


def test_whatever_users_name_is_escaped(mismatch):
    (entry,) = mismatch.entries
    rows = tuple(replace(row, layer=HOSTILE, detail=HOSTILE) for row in entry.rows)
    entry = replace(entry, name=HOSTILE, rows=rows, notes=(HOSTILE,), reproduce=HOSTILE, network=None, step=None)
    report = Report({HOSTILE: HOSTILE}, (entry, entry))

    for shown in (report.to_html(HOSTILE), report._repr_html_()):
        assert "<script" not in shown
        assert "\x1b" not in shown
        assert "&lt;script&gt;alert(1)&lt;/script&gt; `rm` | a|b &#34; &#39; &amp; " in shown


@pytest.mark.long
def test_no_two_pictures_have_an_id_in_common(mismatch):
    page = many(mismatch, 2).to_html()
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]

    assert len(ids) == len(set(ids))


def test_only_a_few_cases_have_pictures_those_that_failed_first(mismatch, match):
    report = Report({}, (*many(match, MOST_PICTURED).entries, *mismatch.entries))

    assert report.to_html().count("<svg") == len(PICTURES)


@pytest.mark.long
def test_page_of_twenty_models_is_small(mismatch):
    assert len(many(mismatch, 20).to_html()) < 2.1e6  # 2.00 MB, some kB more or less by the digits of its numbers


# --- the command ---


def test_command_writes_the_page_with_itself_in_it(tmp_path, rnncheck_command):
    done = rnncheck_command(*SHOW, "--html", tmp_path / "page.html")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("MATCH")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert f"<code>rnncheck compare {SINE} --inputs" in page


def test_page_on_stdout_is_all_that_stands_there(rnncheck_command):
    done = rnncheck_command(*SHOW, "--html", "-")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("<!DOCTYPE html>")
    assert done.out.endswith("</html>\n")


@pytest.mark.parametrize(("module", "name"), [("matplotlib", "matplotlib"), ("jinja2", "Jinja2")])
def test_page_without_its_extra_is_refused_before_anything_runs(
    tmp_path, rnncheck_command, monkeypatch, module, name
):
    monkeypatch.setitem(sys.modules, module, None)

    done = rnncheck_command("compare", "no.keras", *SHOW[2:], "--html", tmp_path / "page.html")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"rnncheck: --html: got no {name} here; expected the packages of the extra `plot`. "
        'Run: pip install "rnncheck[plot]"\n'
    )


def test_page_over_another_report_is_refused(tmp_path, rnncheck_command):
    done = rnncheck_command(*SHOW, "--csv", tmp_path / "r", "--html", tmp_path / "r")

    assert (done.code, done.out) == (2, "")
    assert "got it for two results; expected another place for each." in done.err


def test_page_to_a_place_that_takes_none_is_refused(tmp_path, rnncheck_command):
    done = rnncheck_command(*SHOW, "--html", tmp_path / "none" / "page.html")

    assert (done.code, done.out) == (2, "")
    assert "got the directory" in done.err


# --- in a browser ---


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no browser to drive; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as opened:
        opened.set_script_timeout(300)  # axe reads every element of 251 cases
        yield opened


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch axe-core with; on Debian: apt-get install npm")
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


# What reaches beyond the window, and lies in nothing that scrolls.
CUT_OFF = """
return [...document.body.querySelectorAll("*")].filter(each =>
  each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll > *")
).map(each => each.outerHTML.slice(0, 200))
"""
VIOLATIONS = """
const done = arguments[0];
axe.run().then(found => done(found.violations.map(each => each.id + ": " + each.nodes[0].html)));
"""


def opened(browser, page, path, width=1400, scheme="light"):
    """Open a page in a window of that width; return what the browser said and what it asked for."""
    path.write_text(page, encoding="utf-8")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    colours = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})
    browser.get_log("performance")
    browser.get(path.as_uri())
    events = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
    return browser.get_log("browser"), [url for url in asked if url != path.as_uri() and not url.startswith("data:")]


@pytest.mark.long
def test_page_is_whole_on_a_phone_and_on_a_desk_without_anything_from_outside(browser, mismatch, tmp_path):
    page = mismatch.to_html("rnncheck compare model.keras --inputs x.npy")
    for width in (380, 1400):
        assert opened(browser, page, tmp_path / "page.html", width) == ([], [])
        assert browser.execute_script(CUT_OFF) == []
        assert (
            browser.execute_script(
                "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
            )
            == 0
        )


@pytest.fixture(scope="module")
def pages(mismatch, match):
    hostile = replace(match.entries[0], name=HOSTILE * 3, notes=(HOSTILE * 9, "x" * 400), reproduce="y" * 400)
    return {
        "match": match.to_html(),
        "mismatch": mismatch.to_html("z" * 400),
        "hostile": Report({"n" * 20: "v" * 300}, (hostile, *mismatch.entries)).to_html(HOSTILE),
        "grid": Report({}, (*many(match, 250).entries, *mismatch.entries)).to_html(),
        "nothing": Report().to_html(),
    }


@pytest.mark.long
@pytest.mark.parametrize("name", ["match", "mismatch", "hostile", "grid", "nothing"])
@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), (1400, "light")])
def test_every_page_is_whole_and_open_to_everybody(browser, axe, pages, tmp_path, name, scheme, width):
    told = opened(browser, pages[name], tmp_path / "page.html", width, scheme)
    cut_off = browser.execute_script(CUT_OFF)
    browser.execute_script(
        "document.querySelectorAll('#case-1, #case-2').forEach(each => each.parentNode.open = true)"
    )
    browser.execute_script(axe)

    assert told == ([], [])
    assert cut_off == []
    assert browser.execute_async_script(VIOLATIONS) == []


@pytest.mark.long
def test_page_of_251_cases_opens_in_a_second(browser, pages, tmp_path):
    def seconds():
        opened(browser, pages["grid"], tmp_path / "page.html")
        return browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000

    assert 0 < min(seconds() for _ in range(3)) < 1


@pytest.mark.long
def test_explanations_are_shown_on_focus_and_folds_open_in_print(browser, pages, tmp_path):
    opened(browser, pages["match"], tmp_path / "page.html", 380)
    browser.execute_script("document.querySelectorAll('.about')[2].focus()")
    shown = browser.execute_script(
        "const style = getComputedStyle(document.activeElement, '::after'); return [style.content, style.position]"
    )
    described = browser.execute_script(
        "return document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent"
    )
    printed = base64.b64decode(browser.print_page())

    assert shown == [json.dumps(COLUMNS["check"]), "absolute"]
    assert described == COLUMNS["check"]
    assert printed.startswith(b"%PDF")


@pytest.mark.long
def test_index_leads_into_a_folded_case(browser, pages, tmp_path):
    opened(browser, pages["grid"], tmp_path / "page.html")
    browser.execute_script("document.querySelector('a[href=\"#case-200\"]').click()")
    time.sleep(0.3)

    assert browser.execute_script("return document.getElementById('case-200').parentNode.open")
