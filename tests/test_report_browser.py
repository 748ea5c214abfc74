"""What a reader sees when the report is opened in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bayesgmm.report import Report, build_report
from tests.test_report import HOSTILE, renamed

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
def report(em_faithful, posterior_faithful) -> Report:
    fits = renamed(em_faithful, posterior_faithful, [HOSTILE, "a very long name of a column " * 4])
    return build_report(*fits, name="Old <em>Faithful</em>", source="faithful.csv")


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
    shown = text(page)
    assert page.title == "Old <em>Faithful</em>: 2 groups"
    headings = page.execute_script("return [...document.querySelectorAll('h1, h2')].map(h => h.innerText)")
    assert headings[0] == "2 groups in Old <em>Faithful</em>"
    assert headings[1:3] == ["The answer", "The groups"]
    for check in report.comparison.verdicts:
        # A browser shows runs of blanks as one.
        assert " ".join(check.sentence.split()) in shown
    assert shown.index("no point changes group") < shown.index("How sure is each point?")


def test_no_image_is_broken(page):
    sizes = page.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])")
    assert len(sizes) == 6
    assert all(complete and natural > 0 and shown > 200 for complete, natural, shown in sizes)


def test_nothing_is_complained_about_or_loaded(page, index):
    page.get(index.as_uri())
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    resources = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in resources if not name.startswith("data:")] == []


def test_a_hostile_name_is_shown_and_not_run(page):
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        page.switch_to.alert.accept()
    assert HOSTILE in text(page)
    assert page.execute_script("return document.scripts.length") == 0
    assert page.execute_script("return document.querySelectorAll('h1 em, title em').length") == 0


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(page, scheme):
    """Contrast of at least 4.5 to 1 (WCAG 2.1, 1.4.3) for the text and the marks."""
    view(page, 800, scheme)
    for selector in ("p.lead", "figcaption", ".pass .mark", ".note .mark", ".banner"):
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
