"""The report holds what was found, escapes what is not ours, and never writes over what is not ours."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import xarray as xr

from bayesgmm.comparison import compare
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.report import Report, build_report
from bayesgmm.report.words import counted, number, percent, some

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def report(em_faithful, posterior_faithful, faithful) -> Report:
    return build_report(em_faithful, posterior_faithful, faithful, name="Old Faithful", source="faithful")


class Page(HTMLParser):
    """What is in a page: its tags, its text, and the addresses it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [values[key] for key in ("src", "href", "srcset", "action") if key in values]
        self.images += [values] if tag == "img" else []

    def handle_data(self, data):
        self.text += data


def renamed(em, posterior, names: list[str]):
    """The same fits with other names of columns."""
    trees = [fit.datatree_.map_over_datasets(lambda ds: with_names(ds, names)) for fit in (em, posterior)]
    keys = ("params_", "n_components", "covariance_type", "n_features_in_", "random_state")
    one = {key: getattr(em, key) for key in (*keys, "converged_", "n_iter_", "log_likelihood_", "standard_errors")}
    other = {key: getattr(posterior, key) for key in (*keys, "priors", "em_")}
    return (
        SimpleNamespace(**one, feature_names_=names, datatree_=trees[0]),
        SimpleNamespace(**other, feature_names_=names, datatree_=trees[1]),
    )


def with_names(group: xr.Dataset, names: list[str]) -> xr.Dataset:
    return group.assign_coords({dim: names for dim in ("feature", "feature_bis") if dim in group.dims})


def test_the_headline_is_five_plain_lines(report):
    assert len(report.headline) == 5
    assert all(line == line.strip() and "\n" not in line for line in report.headline)
    assert report.headline[0] == "Old Faithful: 272 rows, 2 columns (eruptions, waiting); 2 groups, full covariance."
    assert "−1,130.264" in report.headline[1]
    assert "converged" in report.headline[2]
    assert "no point changes group" in report.headline[4]


def test_the_page_says_what_the_comparison_says(report):
    text = " ".join(Page(report.html).text.split())
    for check in (*report.comparison.verdicts, *report.comparison.checks):
        assert check.sentence in text
    for words in ("2 groups in Old Faithful", "272 rows and 2 columns", "How sure is each point?", "random_state=1"):
        assert words in text
    assert str(report.comparison.doubtful.index[0]) in text


def test_the_page_needs_nothing_from_outside(report):
    page = Page(report.html)
    assert {address.partition(":")[0] for address in page.addresses} == {"data"}
    assert "script" not in page.tags
    assert "link" in page.tags
    assert not re.search(r"url\(|@import", report.html)
    assert len(report.html) < 3_000_000
    assert report.to_html() == report.html


def test_every_figure_has_words_for_those_who_cannot_see_it(report):
    images = Page(report.html).images
    assert len(images) == 6
    assert all(image["alt"] and len(image["alt"]) > 30 for image in images)
    assert len({image["src"] for image in images}) == 6


def test_names_from_the_data_are_text(em_faithful, posterior_faithful):
    names = [HOSTILE, "a & 'b' \"c\" {{ 7*7 }} $x$"]
    found = build_report(*renamed(em_faithful, posterior_faithful, names), name="<b>bold</b>", source="<i>x</i>.csv")
    page = Page(found.html)
    assert not {"script", "b", "i"} & set(page.tags)
    for name in (*names, "<b>bold</b>", "<i>x</i>.csv"):
        assert name in page.text
    assert json.loads(json.dumps(found.summary))["features"] == names


def test_one_chain_makes_a_report_with_a_warning(em_faithful, posterior_faithful, faithful):
    em, posterior = renamed(em_faithful, posterior_faithful, list(faithful))
    posterior.params_ = posterior.params_[:1]
    posterior.datatree_ = posterior.datatree_.map_over_datasets(lambda ds: ds.isel(chain=[0]) if "chain" in ds.dims else ds)
    found = build_report(em, posterior, faithful, name="one chain")
    assert "only one chain" in found.headline[2]
    assert "Read with care" in found.html
    assert len(Page(found.html).images) == 5


def test_files_are_written_and_load_back_equal(report, posterior_faithful, tmp_path):
    index = report.write(tmp_path / "new" / "folder")
    assert index == tmp_path / "new" / "folder" / "index.html"
    assert sorted(path.name for path in index.parent.iterdir()) == ["index.html", "posterior.nc", "summary.json"]
    assert index.read_text(encoding="utf-8") == report.html
    summary = json.loads((index.parent / "summary.json").read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(report.summary))
    assert summary["em"]["log_likelihood"] == pytest.approx(-1130.264, abs=1e-3)
    with xr.open_datatree(index.parent / "posterior.nc", engine="h5netcdf") as loaded:
        assert loaded.equals(posterior_faithful.datatree_)
        assert dict(loaded.attrs) == dict(posterior_faithful.datatree_.attrs)


def test_our_own_report_is_replaced_and_nothing_else_touched(report, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    report.write(tmp_path)
    report.write(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["index.html", "summary.json", "posterior.nc"])
def test_a_file_that_is_not_ours_stays(report, tmp_path, name):
    (tmp_path / name).write_text("something dear")
    with pytest.raises(InvalidParameterError, match="not written by bayesgmm"):
        report.write(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "something dear")]


def test_a_file_in_the_place_of_the_folder_is_refused(report, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InvalidParameterError, match="is a file"):
        report.write(tmp_path / "out")


def test_attributes_that_netcdf_lacks_are_stored_in_other_words(report, tmp_path):
    tree = report.datatree.copy(deep=False)
    tree.attrs = {**tree.attrs, "flag": True, "nothing": None, "thing": object}
    Report(report.name, report.headline, report.html, report.summary, report.comparison, tree).write(tmp_path)
    with xr.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as loaded:
        assert loaded.attrs["flag"] == 1
        assert "nothing" not in loaded.attrs
        assert "object" in loaded.attrs["thing"]
    assert tree.attrs["nothing"] is None


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
        (100, "100.0"),
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
    assert some(list("abcdefgh"), 3) == "a, b, c and 5 more"
    assert some(["a", "b"]) == "a, b"
