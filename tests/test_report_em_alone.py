"""A report of EM alone is a whole page, and speaks of nothing that was not computed."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import bayesgmm as bg
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.report import Report, build_report
from bayesgmm.report.em_alone import em_alone
from bayesgmm.selection import choose
from tests.test_report import HOSTILE, Page, short_fits
from tests.test_report_parts import run


def words(report: Report) -> str:
    return " ".join(Page(report.html).text.split())


@pytest.fixture(scope="module")
def report(em_faithful) -> Report:
    return build_report(em_faithful, name="Old Faithful", source="faithful")


def test_the_page_is_whole_and_speaks_of_em_only(report):
    text, page = words(report), Page(report.html)
    assert not re.search("posterior|draws|chain|prior|elpd|None|nan", text)
    assert len(page.images) == 3
    targets = set(re.findall(r'\bid="([^"]+)"', report.html))
    links = [address[1:] for address in page.addresses if address.startswith("#")]
    assert len(links) == 7
    assert set(links) <= targets
    for check in report.material.found.verdicts:
        assert check.sentence in text
    for answer in report.material.answers:
        assert all(sentence in text for sentence in (answer.answer, *answer.sentences))
    assert [answer.answer for answer in report.material.answers] == ["2 groups", "99.6% clear", "In part"]
    assert len(report.headline) == 4
    assert report.comparison is None


def test_the_figures_are_the_fit_s(report, em_faithful, faithful, tmp_path):
    table = report.material.found.parameters.set_index(["parameter", "component", "feature", "feature_bis"])
    errors = em_faithful.standard_errors()
    for k in range(2):
        assert table.loc[("weight", k, "", ""), "em"] == em_faithful.weights_[k]
        assert table.loc[("weight", k, "", ""), "se"] == errors["weights"].values[k]
        for name in ("eruptions", "waiting"):
            where = {"component": k, "feature": name}
            assert table.loc[("mean", k, name, ""), "em"] == em_faithful.means_[k, list(faithful).index(name)]
            assert table.loc[("mean", k, name, ""), "se"] == errors["means"].sel(where)
            assert table.loc[("sd", k, name, ""), "se"] == errors["sds"].sel(where)
        assert np.isnan(table.loc[("correlation", k, "eruptions", "waiting"), "se"])
    index = report.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "summary.json"]
    assert index.read_text(encoding="utf-8") == report.html
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["posterior"] is None
    assert summary["em"]["log_likelihood"] == em_faithful.log_likelihood_
    assert summary["n_in_doubt"] == int((em_faithful.predict_proba(faithful).max(axis=1) < 0.9).sum())


def test_a_reason_is_said_on_the_page_and_in_the_terminal(report, em_faithful, posterior_faithful, faithful):
    told = report.without_posterior(f"There is no posterior: {HOSTILE} failed.")
    assert f"EM alone. There is no posterior: {HOSTILE} failed." in words(told)
    assert Page(told.html).tags.count("script") == 1
    assert told.headline[2] == told.summary["posterior_missing"]
    assert "There is no posterior" not in report.html
    with pytest.raises(InvalidParameterError, match="has a posterior"):
        build_report(em_faithful, posterior_faithful, faithful, name="x").without_posterior("No.")


@pytest.mark.usefixtures("undrawn")
class TestKinds:
    def test_labels_and_a_choice(self):
        table = bg.datasets.load_penguins().iloc[::3]
        X = table[["bill_length_mm", "flipper_length_mm"]].dropna(how="all")
        selection = bg.select(X, [2, 3], "full", random_state=1, progressbar=False)
        choice = choose(selection)
        labels = table.loc[X.index, "species"]
        found = build_report(choice.em, X=X, name="penguins", labels=labels, selection=selection)
        text = words(found)
        assert all(sentence in text for sentence in choice.sentences)
        known = found.summary["known_labels"]
        assert known["adjusted_rand_index"]["em"] == pytest.approx(adjusted_rand_score(labels, choice.em.predict(X)))
        assert known["adjusted_rand_index"]["posterior"] is known["adjusted_rand_index"]["interval"] is None
        assert not re.search("posterior|draws|elpd|Left:|Right:|rows left out", text)

    @pytest.mark.parametrize(("n_components", "kind"), [(1, "full"), (3, "EEV"), (2, "spherical"), (2, "tied")])
    def test_families_and_numbers(self, n_components, kind, faithful):
        em = bg.GaussianMixture(n_components, covariance_type=kind, random_state=1).fit(faithful)
        found = build_report(em, name="x")
        text = words(found)
        assert not re.search("posterior|draws", text)
        assert ("nothing can be in doubt" in text) == (n_components == 1)
        table = found.material.found.parameters
        assert len(table[table["parameter"] == "mean"]) == 2 * n_components
        assert len(table[table["parameter"] == "sd"]) == {"spherical": n_components, "tied": 2}.get(kind, 2 * n_components)

    def test_gaps_and_other_rows(self, faithful):
        X = faithful.mask(np.random.default_rng(0).random(faithful.shape) < 0.1).dropna(how="all")
        em = bg.GaussianMixture(2, random_state=1).fit(X)
        assert "a row counts by what it has: its marginal density, exactly." in words(build_report(em, name="x"))
        some = em_alone(em, faithful.iloc[5:60])
        np.testing.assert_array_equal(some.responsibilities.index, np.arange(5, 60))
        np.testing.assert_allclose(some.mean_responsibilities, em.predict_proba(faithful.iloc[5:60]))

    def test_a_collapse_and_groups_that_are_one_are_said(self, faithful):
        X = pd.DataFrame([[0.0, 1.0], [0.1, 2.2], [5.0, 7.0], [5.3, 7.1]])
        em = bg.GaussianMixture(2, random_state=1)
        with pytest.warns(UserWarning, match="collapsed"):
            em.fit(X)
        trust = build_report(em, name="x").material.answers[2]
        assert trust.answer == "No"
        assert "no proper maximum" in trust.sentences[0]
        one = bg.GaussianMixture(2, random_state=1).fit(faithful[faithful["eruptions"] > 3])
        many, _, trust = build_report(one, name="x").material.answers
        assert many.sentences[-1] == "Groups 0 and 1 may be one: together they have a single peak."
        assert trust.sentences[-1].startswith("There may be fewer than 2 groups")

    def test_what_has_no_place(self, faithful):
        with pytest.raises(InvalidParameterError, match="not fitted"):
            build_report(bg.GaussianMixture(2), name="x")
        with pytest.raises(InvalidParameterError, match="noise component"):
            build_report(bg.GaussianMixture(2, noise=True, random_state=1).fit(faithful), name="x")

    def test_the_recipe_makes_it_again(self, em_faithful, faithful, monkeypatch, tmp_path):
        selection = bg.select(faithful, [1, 2], "full", random_state=1, progressbar=False)
        for em, given in ((em_faithful, None), (choose(selection).em, selection)):
            found = build_report(em, X=faithful, name="x", source="faithful", selection=given)
            made = run(found.material.recipe, tmp_path, monkeypatch)
            assert "posterior" not in made
            assert made["report"].summary["parameters"] == found.summary["parameters"]

    def test_a_report_with_a_posterior_replaces_it(self, faithful, tmp_path):
        em, posterior = short_fits(faithful, draws=60, tune=60)
        build_report(em, name="x").write(tmp_path)
        build_report(em, posterior, name="x").write(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "posterior.nc", "summary.json"]
        build_report(em, name="x").write(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "posterior.previous.nc", "summary.json"]
