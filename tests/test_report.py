"""The report holds what was found, escapes what is not ours, and never writes over what is not ours."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.comparison import compare
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.report import Report, build_report
from bayesgmm.report.typography import number, percent
from bayesgmm.text import counted, listed

HOSTILE = "<script>alert(1)</script>"
RIGHT_TO_LEFT = "\u05d0\u05d5\u05e8\u05da"


@pytest.fixture(scope="module")
def report(em_faithful, posterior_faithful, faithful) -> Report:
    return build_report(em_faithful, posterior_faithful, faithful, name="Old Faithful", source="faithful")


class Page(HTMLParser):
    """What is in a page: its tags, its text, and the addresses it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.in_script = False
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.in_script = tag == "script"
        values = dict(attrs)
        self.addresses += [values[key] for key in ("src", "href", "srcset", "action") if key in values]
        self.images += [values] if tag == "img" else []

    def handle_endtag(self, tag):
        self.in_script = False

    def handle_data(self, data):
        if self.in_script:
            self.scripts.append(data)
        else:
            self.text += data


def short_fits(X, n_components: int = 2, **settings):
    """EM and a short posterior."""
    em = bg.GaussianMixture(n_components, random_state=1).fit(X)
    settings = {"draws": 150, "tune": 150, "chains": 2, "random_state": 1, "progressbar": False} | settings
    return em, bg.BayesianGaussianMixture(n_components, init=em, **settings).fit(X)


def named(faithful, names: list[str]):
    """Short fits to Old Faithful under other names of columns."""
    X = faithful.set_axis(names, axis="columns")
    return (*short_fits(X), X)


def test_the_headline_is_five_plain_lines(report):
    assert len(report.headline) == 5
    assert all(line == line.strip() and "\n" not in line for line in report.headline)
    assert report.headline[0] == "Old Faithful: 272 rows, 2 columns (eruptions, waiting); 2 groups, full covariance."
    assert "-1,130.264" in report.headline[1]
    assert "converged" in report.headline[2]
    assert "no point changes group" in report.headline[4]


def test_the_page_says_what_the_comparison_says(report):
    text = " ".join(Page(report.html).text.split())
    for check in (*report.comparison.verdicts, *report.comparison.checks):
        assert check.sentence in text
    for words in ("2 groups in Old Faithful", "272 rows and 2 columns", "How sure is each point?", "random_state=1", "Seed 1"):
        assert words in text
    assert str(report.comparison.doubtful.index[0]) in text
    for answer in report.summary["answers"]:
        assert answer["answer"] in text
        assert all(sentence in text for sentence in answer["sentences"])
    for part in report.summary["prior_sensitivity"]:
        assert part["sentence"] in text


def test_the_page_needs_nothing_from_outside(report):
    page = Page(report.html)
    assert {address.partition(":")[0] for address in page.addresses if not address.startswith("#")} == {"data"}
    assert "link" in page.tags
    assert not re.search(r"url\(|@import|https?://", report.html)
    assert len(report.html) < 3_000_000


def test_only_our_script_may_run(report):
    page = Page(report.html)
    assert page.tags.count("script") == len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in report.html
    assert "default-src 'none'" in report.html
    assert not re.search(r"\son\w+=", report.html)


def test_links_lead_somewhere(report):
    targets = set(re.findall(r'\bid="([^"]+)"', report.html))
    links = [address[1:] for address in Page(report.html).addresses if address.startswith("#")]
    assert len(links) == 9
    assert set(links) <= targets
    assert len(targets) == len(re.findall(r'\bid="', report.html))


def test_every_figure_has_words_for_those_who_cannot_see_it(report):
    images = Page(report.html).images
    assert len(images) == 7
    assert all(image["alt"] and len(image["alt"]) > 30 for image in images)
    assert len({image["src"] for image in images}) == 7
    assert len({image["alt"] for image in images}) == 7


def test_names_from_the_data_are_text(faithful):
    names = [HOSTILE, "a & 'b' \"c\" {{ 7*7 }} $x$ \u202e " + RIGHT_TO_LEFT]
    em, posterior, X = named(faithful, names)
    labels = pd.Series(np.where(X.iloc[:, 0] > 3, "</td><u>long</u>", HOSTILE), name="<q>kind</q>")
    found = build_report(em, posterior, X, name="<b>bold</b>", source="<i>x</i>.csv", labels=labels, command="x </code><b>")
    page = Page(found.html)
    assert page.tags.count("script") == 1
    assert not {"b", "q", "u"} & set(page.tags)
    for name in (*names, "<b>bold</b>", "<i>x</i>.csv", "<q>kind</q>", "</td><u>long</u>", "x </code><b>"):
        assert name in page.text
    assert json.loads(json.dumps(found.summary))["features"] == names


@pytest.mark.usefixtures("undrawn")
def test_one_chain_makes_a_report_that_warns(faithful):
    em, posterior = short_fits(faithful, chains=1)
    found = build_report(em, posterior, faithful, name="one chain")
    assert "only one chain" in found.headline[2]
    assert found.summary["answers"][2]["answer"] == "No"
    assert "only one chain" in found.summary["answers"][2]["sentences"][0]
    assert len(Page(found.html).images) == 6


def test_files_are_written_and_load_back_equal(report, posterior_faithful, tmp_path):
    index = report.write(tmp_path / "new" / "folder")
    assert index == tmp_path / "new" / "folder" / "index.html"
    assert sorted(path.name for path in index.parent.iterdir()) == ["index.html", "posterior.nc", "summary.json"]
    assert index.read_text(encoding="utf-8") == report.html
    summary = json.loads((index.parent / "summary.json").read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(report.summary))
    assert summary["em"]["log_likelihood"] == pytest.approx(-1130.264, abs=1e-3)
    assert bg.load_draws(index.parent / "posterior.nc").identical(posterior_faithful.datatree_)


def test_our_own_report_is_replaced_and_nothing_else_touched(report, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    report.write(tmp_path)
    report.write(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["index.html", "summary.json", "posterior.nc", "posterior.previous.nc"])
def test_a_file_that_is_not_ours_stays(report, tmp_path, name):
    (tmp_path / name).write_text("something dear")
    with pytest.raises(InvalidParameterError, match="not written by bayesgmm"):
        report.write(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "something dear")]


def test_a_file_in_the_place_of_the_folder_is_refused(report, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InvalidParameterError, match="is a file"):
        report.write(tmp_path / "out")


def test_the_same_fits_give_the_same_page_and_no_figure_stays_open(em_faithful, posterior_faithful, faithful, report):
    figures = plt.get_fignums()
    again = build_report(em_faithful, posterior_faithful, faithful, name="Old Faithful", source="faithful")
    assert plt.get_fignums() == figures
    assert again.html == report.html
    assert {**again.summary, "created": ""} == {**report.summary, "created": ""}
    assert again.summary["predictive"] == compare(em_faithful, posterior_faithful, faithful).summary()["predictive"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5678, "1,235"),
        (-0.5, "−0.5"),
        (79.967, "79.97"),
        (0.00012345, "0.0001234"),
        (2e-9, "2.000e−09"),
        (5e12, "5.000e+12"),
        (float("nan"), "–"),
        (None, "–"),
        (1_000_000, "1,000,000"),
        (100, "100"),
        (np.int64(-1234), "−1,234"),
        (100.0, "100.0"),
    ],
)
def test_numbers_read_well(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0%"), (1, "100%"), (0.5, "50%"), (0.004, "0.4%"), (0.99999, ">99.9%"), (1e-9, "<0.1%")]
)
def test_shares_are_never_rounded_to_certainty(value, text):
    assert percent(value) == text


def test_counts_and_lists_are_in_words():
    assert [counted(n, "point") for n in (0, 1, 1234)] == ["0 points", "1 point", "1,234 points"]
    assert listed("abcdefgh", 3) == "a, b, c and 5 more"
    assert listed("ab", 3) == "a and b"
