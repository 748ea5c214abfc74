"""The parts of a report: the three answers, the groups used, known labels, the choice of their number, priors, the recipe."""

import html
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score

import bayesgmm as bg
from bayesgmm.comparison import Comparison, compare
from bayesgmm.comparison.groups import GroupsUsed
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions import occupied_components
from bayesgmm.report import build_report
from bayesgmm.report.answers import answers, concerns
from bayesgmm.report.labels import score_labels
from bayesgmm.report.priors import describe_priors, sensitivity
from bayesgmm.report.provenance import Origin, facts_of, recipe
from bayesgmm.rows import MemoryRows
from bayesgmm.selection import Choice, choose
from tests.test_report import Page, short_fits


@pytest.fixture(scope="module")
def comparison(em_faithful, posterior_faithful, faithful) -> Comparison:
    return compare(em_faithful, posterior_faithful, faithful)


@pytest.fixture(scope="module")
def selection(faithful):
    return bg.select(
        faithful,
        [1, 2, 3],
        "full",
        posterior={"draws": 150, "tune": 150, "chains": 2},
        random_state=1,
        progressbar=False,
    )


@pytest.fixture(scope="module")
def gappy(faithful) -> pd.DataFrame:
    X = faithful.copy()
    X.loc[::10, "waiting"] = np.nan
    return X


def failing(comparison: Comparison, *names: str) -> Comparison:
    """The comparison with checks made to fail."""

    def fail(checks):
        return tuple(replace(c, passed=False, sentence=f"{c.name} failed.") if c.name in names else c for c in checks)

    return replace(comparison, verdicts=fail(comparison.verdicts), checks=fail(comparison.checks))


class TestAnswers:
    def ask(self, comparison: Comparison, choice: Choice | None = None, used: GroupsUsed | None = None):
        return answers(comparison if used is None else replace(comparison, groups=used), choice)

    def test_all_is_well(self, comparison):
        many, sure, trust = self.ask(comparison)
        assert many.answer == "2 groups"
        assert "points in both" in many.sentences[1]
        share = 1 - len(comparison.doubtful) / 272
        assert sure.answer == f"{share:.1%} clear"
        assert (trust.answer, trust.kind) == ("Yes", "pass")
        assert concerns(comparison) == []

    @pytest.mark.parametrize(
        ("names", "answer"),
        [
            (("convergence", "r_hat_label_free"), "No"),
            (("em_convergence",), "No"),
            (("predictive",), "With care"),
            (("predictive", "agreement"), "With care"),
            (("doubt",), "Yes"),
        ],
    )
    def test_what_fails_decides_on_trust(self, comparison, names, answer):
        planted = failing(comparison, *names)
        trust = self.ask(planted)[2]
        assert trust.answer == answer
        if answer != "Yes":
            assert trust.sentences[0] == f"{names[0] if answer == 'No' else concerns(planted)[0].name} failed."

    def test_the_gravest_comes_first_and_parts_of_a_verdict_are_not_repeated(self, comparison):
        found = concerns(failing(comparison, "predictive", "convergence", "ess_bulk"))
        assert [check.name for check in found] == ["convergence", "predictive"]

    def test_draws_that_passed_with_care_are_to_be_taken_with_care(self, comparison):
        said = "Converged, with care: R-hat is 1.020."

        def rough(checks):
            changed = {"convergence": {"with_care": True, "sentence": said}, "r_hat_label_free": {"passed": False}}
            return tuple(replace(check, **changed.get(check.name, {})) for check in checks)

        planted = replace(comparison, verdicts=rough(comparison.verdicts), checks=rough(comparison.checks))
        assert [check.name for check in concerns(planted)] == ["convergence"]
        trust = self.ask(planted)[2]
        assert (trust.answer, trust.sentences[0]) == ("With care", said)
        assert [check.name for check in concerns(failing(planted, "predictive"))] == ["predictive", "convergence"]

    def test_a_prior_that_shows_is_said(self, comparison):
        rows = [{"part": p, "prior": v} for p, v in (("weights", 0.01), ("means", 0.2), ("sds", 0.05), ("corr", None))]
        *_, trust = answers(comparison, None, rows)
        assert trust.sentences[-1] == (
            "The result leans on the prior of the means and standard deviations: more rows, fewer groups or a stated belief would help. "
            "See Priors."
        )
        assert len(answers(comparison, None, rows[:1])[2].sentences) == 1

    def test_groups_that_are_not_there_are_said(self, comparison):
        probability = pd.Series([0.3, 0.7], index=pd.RangeIndex(1, 3, name="n_groups"))
        used = GroupsUsed(probability, pd.DataFrame([[1.0, 0.6], [0.6, 1.0]]))
        many = self.ask(comparison, used=used)[0]
        assert many.kind == "note"
        assert "gives 30% to fewer groups" in many.sentences[1]
        assert "Groups 0 and 1 may be one" in many.sentences[2]

    def test_causes_add_up(self, comparison):
        rows = comparison.responsibilities.copy()
        rows["posterior_doubt"] = 0.0
        rows.iloc[:5, rows.columns.get_loc("posterior_doubt")] = 0.4
        rows.iloc[:5, rows.columns.get_loc("cause")] = ["overlap"] * 3 + ["too little data"] * 2
        sure = self.ask(replace(comparison, responsibilities=rows))[1]
        assert sure.sentences[1] == "5 points are in doubt, 3 because the groups overlap there, 2 for want of data."


class TestGroupsUsed:
    def test_as_the_partitions_say(self, comparison, posterior_faithful, faithful):
        found = comparison.groups
        np.testing.assert_allclose(found.occupied, occupied_components(posterior_faithful, faithful), atol=1e-6)
        assert found.pairs == []
        assert found.all_used == pytest.approx(1.0)

    def test_one_hill_under_two_names_is_noticed(self, faithful):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            em, posterior = short_fits(faithful[faithful["eruptions"] > 3], 2)
        used = compare(em, posterior).groups
        assert used.pairs[0][:2] == (0, 1)
        assert used.pairs[0][2] > 0.5


class TestKnown:
    def test_by_independent_routes(self, comparison, faithful):
        labels = pd.Series(np.where(faithful["waiting"] > 67, "long", "short"), name="kind")
        found = score_labels(labels, comparison)
        groups = comparison.responsibilities["posterior_label"]
        assert found.name == "kind"
        np.testing.assert_array_equal(found.table, pd.crosstab(labels, groups))
        assert found.ari_posterior == pytest.approx(adjusted_rand_score(labels, groups))
        assert found.ari_interval[0] <= found.ari_interval[1] <= 1
        # Group 0 is the larger one, of the long waits.
        assert found.group_of == {0: "long", 1: "short"}
        assert found.n_differ == int((labels != groups.map({0: "long", 1: "short"})).sum()) > 0
        doubtful = set(comparison.doubtful.index)
        assert found.n_differ_in_doubt == sum(i in doubtful for i in np.flatnonzero(found.differs))

    def test_the_groups_themselves_are_found_again(self, comparison):
        groups = comparison.responsibilities["posterior_label"]
        found = score_labels(["b" if k == 0 else "a" for k in groups], comparison)
        assert (found.ari_posterior, found.n_differ) == (1.0, 0)
        assert found.calibration is not None
        assert found.calibration < 0.02

    def test_rows_without_a_label_are_left_out(self, comparison, faithful):
        labels = pd.Series(np.where(faithful["waiting"] > 67, 1.0, 2.0))
        labels[:100] = np.nan
        found = score_labels(labels, comparison)
        assert found.n_labelled == 172
        assert found.table.to_numpy().sum() == 172
        assert not found.differs[:100].any()
        assert found.label(0) == "–"

    def test_other_numbers_of_labels_than_groups(self, comparison):
        found = score_labels(np.arange(272) % 3, comparison)
        assert (found.group_of, found.calibration, found.n_differ) == ({}, None, 0)
        assert abs(found.ari_posterior) < 0.05

    @pytest.mark.parametrize(
        ("labels", "says"),
        [(["a"] * 5, "5 labels"), ([None] * 272, "all missing"), (list(range(272)), "272 different values, too many")],
    )
    def test_what_is_no_label(self, comparison, labels, says):
        with pytest.raises(InvalidDataError, match=says):
            score_labels(labels, comparison)


class TestChoice:
    def test_the_least_bic(self, selection):
        choice = choose(selection)
        assert choice.n_components == selection.best("bic").n_components == 2
        assert choice.em is selection.models[choice.row]
        assert choice.posterior.n_components == 2
        assert choice.numbers == [1, 2, 3]
        gap = np.diff(sorted(selection.table["bic"]))[0]
        assert f"{gap:.1f} for" in choice.sentences[0]

    def test_of_ties_the_fewest(self, selection):
        table = selection.table.copy()
        table["bic"] = [101.5, 101.0, 100.0]
        choice = choose(replace(selection, table=table))
        assert choice.n_components == 1
        assert "least for 3 groups, but 1 come within 2" in choice.sentences[0]
        assert not choice.unanimous

    def test_prediction_speaks_up(self, selection):
        table = selection.table.copy()
        table["elpd"], table["elpd_difference"], table["elpd_difference_se"] = [-30.0, -20.0, -10.0], [-20.0, -10.0, 0.0], 1.0
        choice = choose(replace(selection, table=table))
        assert choice.predicts_as_well == [3]
        assert "clearly better by the posterior with 3" in choice.sentences[-1]

    def test_without_posteriors(self, selection):
        table = selection.table.drop(columns=[c for c in selection.table if "elpd" in c])
        choice = choose(replace(selection, table=table, posteriors=()))
        assert choice.predicts_as_well == []
        with pytest.raises(InvalidParameterError, match="posterior=True"):
            _ = choice.posterior

    def test_on_the_page(self, selection, faithful):
        choice = choose(selection)
        found = build_report(choice.em, choice.posterior, faithful, name="x", selection=selection)
        page = Page(found.html)
        for sentence in choice.sentences:
            assert sentence in " ".join(page.text.split())
        assert [row["chosen"] for row in found.summary["choice"]["models"]] == [False, True, False]
        assert any("BIC is least for 2 groups" in (image["alt"] or "") for image in page.images)
        assert "(chosen by BIC among 1, 2, 3)" in found.headline[0]

    def test_of_another_model_it_is_refused(self, selection, em_faithful, faithful):
        three = selection.models[2], selection.posteriors[2]
        with pytest.raises(InvalidParameterError, match="takes 2 components of type 'full', and the fits have 3"):
            build_report(*three, faithful, name="x", selection=selection)


class TestBeliefs:
    def test_in_the_data_s_units(self, posterior_faithful, faithful):
        rows = {
            (row["of"], row["column"]): row["belief"]
            for row in describe_priors(posterior_faithful.priors_, tuple(faithful), "full")
        }
        assert rows["weights", ""] == "Dirichlet(2, 2)"
        lower, upper = stats.norm(faithful["waiting"].mean(), 2.5 * faithful["waiting"].std(ddof=0)).ppf([0.025, 0.975])
        said = rows["means", "waiting"].replace("−", "-").split()
        assert float(said[said.index("between") + 1]) == pytest.approx(lower, rel=1e-2)
        assert float(said[-1]) == pytest.approx(upper, rel=1e-2)
        assert "half below" in rows["standard deviations", "eruptions"]
        # Of both groups the same is believed, and so it is said once.
        assert not any("group 1" in belief for belief in rows.values())
        assert rows["correlations", ""].startswith("LKJ(0.25) or LKJ(1) or LKJ(4): about those of all rows")

    def test_every_family_has_words(self, faithful):
        X = np.asarray(faithful)
        for sds in (bg.priors.HalfStudentT(3, 1.0), bg.priors.Gamma(2.0, 1.0), bg.priors.HalfNormal([[1.0, 2.0], [3.0, 4.0]])):
            for kind in ("full", "tied", "spherical"):
                if np.ndim(getattr(sds, "scale", 0.0)) and kind != "full":
                    continue
                prior = bg.Priors(sds=sds).resolve(MemoryRows(X), 2, family(kind))
                rows = describe_priors(prior, ("a", "b"), kind)
                assert any(type(sds).__name__ in row["belief"] for row in rows)
                assert ("correlations" in {row["of"] for row in rows}) == (kind != "spherical")

    def test_sensitivity_or_a_reason(self, posterior_faithful):
        rows, reason = sensitivity(posterior_faithful)
        assert [row["part"] for row in rows] == ["weights", "means", "sds", "corr"]
        assert reason == ""


@pytest.mark.usefixtures("undrawn")
class TestGaps:
    def test_are_counted_and_explained(self, gappy):
        found = build_report(*short_fits(gappy), gappy, name="with gaps")
        text = " ".join(Page(found.html).text.split())
        assert "28 values are missing, in 28 rows" in text
        assert "a row counts by what it has" in text
        assert "Simulated data have the same gaps" in text
        assert found.summary["data"]["columns"]["waiting"]["missing"] == 28
        assert found.summary["data"]["columns"]["waiting"]["mean"] == pytest.approx(gappy["waiting"].mean())


def run(code: str, folder, monkeypatch) -> dict:
    """What the lines of a recipe leave behind, run in an empty folder."""
    monkeypatch.chdir(folder)
    made: dict = {}
    exec(code, made)
    return made


@pytest.mark.usefixtures("undrawn")
def test_the_recipe_makes_the_same_fits(faithful, monkeypatch, tmp_path):
    em, posterior = short_fits(faithful, draws=60, tune=60, priors=bg.Priors(concentration=3.0))
    comparison = compare(em, posterior, faithful)
    code = recipe(em, posterior, facts_of(em, posterior, comparison, Origin("x", "faithful"), None))
    made = run(code, tmp_path, monkeypatch)
    assert made["em"].log_likelihood_ == em.log_likelihood_
    np.testing.assert_array_equal(made["posterior"].means_, posterior.means_)
    assert made["report"].summary["source"] == "faithful"
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_the_recipe_makes_the_same_choice(selection, faithful, monkeypatch, tmp_path):
    choice = choose(selection)
    report = build_report(choice.em, choice.posterior, faithful, name="x", source="faithful", selection=selection)
    code = recipe(choice.em, choice.posterior, report.summary, choice)
    assert code in html.unescape(report.html)
    again = run(code, tmp_path, monkeypatch)["report"].summary
    assert again["choice"] == report.summary["choice"]
    assert again["posterior"]["draws"] == 150


@pytest.mark.usefixtures("undrawn")
def test_draws_that_are_no_chains_make_a_report(faithful):
    em, posterior = short_fits(faithful, sampler="laplace")
    found = build_report(em, posterior, faithful, name="laplace")
    assert found.summary["answers"][2]["answer"] == "Yes"
    assert "reliable" in found.headline[2].lower()
    assert "by Laplace's approximation" in Page(found.html).text
