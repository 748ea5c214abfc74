"""What a reader sees when the report is opened in a real browser."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgmm import GaussianMixture
from bayesgmm.report import Report, build_report
from tests.test_report import HOSTILE, RIGHT_TO_LEFT, named

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
WIDTHS = (1280, 800, 400)


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make setup installs it")
    from selenium.webdriver.chrome.service import Service

    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not browser or not chromedriver:
        pytest.skip("no Chromium and chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Selenium would otherwise ask the network for drivers and report its use.
    settings = {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        found = webdriver.Chrome(options=options, service=Service(executable_path=chromedriver, env=dict(os.environ)))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def report(faithful) -> Report:
    names = [f"{HOSTILE} \"'{RIGHT_TO_LEFT} 12", "a_very_long_name_of_a_column_" * 5]
    em, posterior, X = named(faithful, names)
    X.iloc[3, 0] = float("nan")
    labels = pd.Series(np.where(X.iloc[:, 1] > 67, RIGHT_TO_LEFT, "<em>short</em>" * 6), name='"kind">')
    return build_report(em, posterior, X, name="Old <em>Faithful</em>", source="faithful.csv", labels=labels, command="x " * 200)


@pytest.fixture(scope="module")
def index(report, tmp_path_factory) -> Path:
    return report.write(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(driver, index):
    driver.get(index.as_uri())
    return driver


def text(page) -> str:
    return page.execute_script("return document.body.innerText")


def view(page, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def test_the_answer_comes_first_and_is_read(page, report):
    shown = text(page).translate({0x2068: None, 0x2069: None})  # marks that keep names written from right to left apart
    assert page.title == "Old <em>Faithful</em>: 2 groups"
    headings = page.execute_script("return [...document.querySelectorAll('h1, h2')].map(h => h.innerText)")
    assert headings[0] == "2 groups in Old <em>Faithful</em>"
    assert headings[1:4] == ["The answer", "On this page", "The groups"]
    for check in report.comparison.verdicts:
        # A browser shows runs of blanks as one.
        assert " ".join(check.sentence.split()) in shown
    first = [
        shown.index(words) for words in ("How many groups?", "How sure is each point?", "May it be trusted?", "The groups: shares")
    ]
    assert first == sorted(first)
    view(page, 1280)
    seen = page.execute_script("return [...document.querySelectorAll('.answers li')].map(e => e.getBoundingClientRect().bottom)")
    assert len(seen) == 3
    assert max(seen) <= 900


def test_no_image_is_broken(page):
    sizes = page.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])")
    assert len(sizes) == 8
    assert all(complete and natural > 0 and shown > 200 for complete, natural, shown in sizes)


def test_nothing_is_complained_about_or_loaded(page, index):
    page.get(index.as_uri())
    page.execute_script("document.querySelectorAll('summary, button.sort, #tools button:not(:last-child)').forEach(e => e.click())")
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    resources = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in resources if not name.startswith("data:")] == []


def test_a_hostile_name_is_shown_and_not_run(page):
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        page.switch_to.alert.accept()
    assert HOSTILE in text(page)
    assert page.execute_script("return document.scripts.length") == 1
    assert page.execute_script("return document.querySelectorAll('em').length") == 0


def test_the_policy_stops_scripts_that_are_not_ours(page, index):
    page.get(index.as_uri())
    page.execute_script("const s = document.createElement('script'); s.textContent = 'window.evil = 1'; document.body.append(s)")
    assert page.execute_script("return window.evil") is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))
    page.get(index.as_uri())


def test_a_name_from_right_to_left_leaves_the_words_around_it_in_order(page):
    """The cell after a label written from right to left stays to its right."""
    view(page, 1280)
    places = page.execute_script(
        "return [...document.querySelectorAll('table[aria-label=\"Rows by known label and group\"] tbody tr')]"
        ".map(r => [...r.cells].map(c => c.getBoundingClientRect().left))"
    )
    assert len(places) == 2
    assert all(row == sorted(row) for row in places)
    isolated = page.execute_script(
        "return [...document.querySelectorAll('bdi')].filter(e => e.innerText.includes(arguments[0])).length", RIGHT_TO_LEFT
    )
    assert isolated >= 5


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window(page, width):
    view(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    inner, content = page.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert inner == width
    assert content <= width
    smallest = page.execute_script(
        "return Math.min(...[...document.querySelectorAll('p, li, td, th, figcaption')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 12


def test_links_and_headings_make_an_outline(page):
    broken = page.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).length"
    )
    assert broken == 0
    levels = page.execute_script("return [...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    nameless = page.execute_script(
        "return [...document.querySelectorAll('th:not([scope]), button:empty, section:not([aria-labelledby]), img:not([alt])')].length"
    )
    assert nameless == 0
    clipped = page.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1 && e.tabIndex !== 0).length"
    )
    assert clipped == 0


class TestSorting:
    TABLE = "Parameters by EM and by the posterior"

    @pytest.fixture
    def table(self, page, index):
        page.get(index.as_uri())
        view(page, 1280)
        page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        return page.find_element("css selector", f'table[aria-label="{self.TABLE}"]')

    @staticmethod
    def state(page, table, column: int):
        return page.execute_script(
            "const [t, c] = arguments; return [[...t.tBodies[0].rows].map(r => r.cells[c].dataset.sort ?? r.cells[c].innerText),"
            " [...t.tHead.rows[0].cells].map(h => h.getAttribute('aria-sort'))]",
            table,
            column,
        )

    @staticmethod
    def button(table, column: int):
        return table.find_elements("css selector", "thead th button")[column]

    def test_by_mouse(self, page, table, report):
        em = [float(value) for value in report.comparison.parameters["em"]]
        found, sorts = self.state(page, table, 3)
        assert [float(value) for value in found] == em
        assert set(sorts) == {"none"}
        for direction, expected in (("ascending", sorted(em)), ("descending", sorted(em, reverse=True)), ("none", em)):
            self.button(table, 3).click()
            found, sorts = self.state(page, table, 3)
            assert [float(value) for value in found] == expected
            assert sorts[3] == direction
            assert [s for i, s in enumerate(sorts) if i != 3] == ["none"] * (len(sorts) - 1)

    def test_by_keyboard(self, page, table):
        page.execute_script("arguments[0].focus()", self.button(table, 0))
        assert page.execute_script("return document.activeElement.innerText").startswith("parameter")
        for key, direction, reverse in (("\ue007", "ascending", False), (" ", "descending", True)):
            page.switch_to.active_element.send_keys(key)
            found, sorts = self.state(page, table, 0)
            assert found == sorted(found, reverse=reverse)
            assert sorts[0] == direction
            assert direction in page.execute_script("return document.getElementById('said').textContent")

    def test_what_is_no_number_goes_last(self, page, table, report):
        ratios = report.comparison.parameters["se_ratio"].dropna()
        for _ in range(2):
            self.button(table, 9).click()
            found, _ = self.state(page, table, 9)
            assert [value != "" for value in found] == [True] * len(ratios) + [False] * (len(found) - len(ratios))


def test_the_theme_can_be_chosen(page, index):
    page.get(index.as_uri())
    view(page, 1280)
    button = page.find_element("css selector", "#tools button")
    for words, dark in (("Light", True), ("Dark", False)):
        button.click()
        assert button.text == words
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (luminance(numbers(ground)) < 0.1) == dark


def test_it_prints_in_black_on_white_within_the_paper(page, index):
    page.get(index.as_uri())
    page.execute_script("document.documentElement.dataset.theme = 'dark'")
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 15
    paper = {"width": 680, "height": 960, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    ground, width, tools = page.execute_script(
        "return [getComputedStyle(document.body).backgroundColor, document.documentElement.scrollWidth,"
        " document.getElementById('tools').offsetHeight]"
    )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.get(index.as_uri())
    assert luminance(numbers(ground)) > 0.9
    assert tools == 0
    assert width <= 680


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(page, scheme):
    """Contrast of at least 4.5 to 1 (WCAG 2.1, 1.4.3) for the text and the marks."""
    view(page, 800, scheme)
    wanted = (
        "p.lead",
        "figcaption",
        ".pass .mark",
        ".note .mark",
        ".answers h3",
        ".answers .big",
        "nav a",
        "small",
        "button.sort",
        "td.own",
    )
    for selector in wanted:
        ink, ground = page.execute_script(CONTRAST, selector)
        assert contrast(ink, ground) >= 4.5, selector
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(numbers(paper)) < 0.1) == (scheme == "dark")


CONTRAST = """
const e = document.querySelector(arguments[0]);
let g = e;
while (getComputedStyle(g).backgroundColor === 'rgba(0, 0, 0, 0)') g = g.parentElement;
return [getComputedStyle(e).color, getComputedStyle(g).backgroundColor];
"""


def numbers(colour: str) -> list[float]:
    return [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]


def luminance(rgb: list[float]) -> float:
    parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(ink: str, ground: str) -> float:
    light, dark = sorted((luminance(numbers(colour)) for colour in (ink, ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_tables_open_and_hold_the_figures(page, report):
    view(page, 1280)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    tables = page.execute_script(
        "return [...document.querySelectorAll('table')].map(t => [t.getAttribute('aria-label'), t.rows.length - 1])"
    )
    rows = dict(tables)
    assert rows["Parameters by EM and by the posterior"] == len(report.comparison.parameters)
    assert rows["Convergence of every quantity"] == len(report.comparison.convergence)
    assert rows["Points in doubt"] == len(report.comparison.doubtful)


@pytest.fixture(scope="module")
def em_alone(faithful, tmp_path_factory) -> Path:
    names = [f"{HOSTILE} \"'{RIGHT_TO_LEFT} 12", "a_very_long_name_of_a_column_" * 5]
    X = faithful.set_axis(names, axis="columns")
    labels = pd.Series(np.where(X.iloc[:, 1] > 67, RIGHT_TO_LEFT, "<em>short</em>" * 6), name='"kind">')
    fit = GaussianMixture(2, random_state=1).fit(X)
    found = build_report(fit, name="faithful", labels=labels, missing=f"There is no posterior: {'it was stopped. ' * 9}")
    return found.write(tmp_path_factory.mktemp("em"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_em_alone_is_as_sound(driver, em_alone, width, scheme):
    driver.get(em_alone.as_uri())
    view(driver, width, scheme)
    driver.execute_script("document.querySelectorAll('summary').forEach(e => e.click())")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    sizes = driver.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert len(sizes) == 4
    assert all(complete and natural > 0 for complete, natural in sizes)
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    levels = driver.execute_script("return [...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for selector in (".banner.note", ".answers li.note p", ".answers .big", ".pass .mark", "td.own"):
        ink, ground = driver.execute_script(CONTRAST, selector)
        assert contrast(ink, ground) >= 4.5, selector
