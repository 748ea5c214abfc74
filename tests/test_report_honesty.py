"""A report says what is wrong where something is: collapsed fits, stuck draws, columns that repeat others, answers that lean on beliefs."""

import copy
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.cli import main
from bayesgmm.cli.options import LEAST_DRAWS
from bayesgmm.cli.steps import describe_em, found
from bayesgmm.comparison import compare, verdicts
from bayesgmm.comparison.groups import GroupsUsed
from bayesgmm.diagnostics import convergence_table, prior_sensitivity
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import atomic_write_text, read_table
from bayesgmm.report import build_report
from bayesgmm.report.answers import answers
from bayesgmm.report.figures import shown_names
from bayesgmm.report.typography import within
from bayesgmm.selection import choose
from bayesgmm.tables.uninformative import dependent_columns

FEW = {"draws": 100, "tune": 100, "chains": 2, "random_state": 1, "progressbar": False}


@pytest.fixture(scope="module")
def comparison(em_faithful, posterior_faithful, faithful):
    return compare(em_faithful, posterior_faithful, faithful)


@pytest.fixture(scope="module")
def twice():
    """Two groups, and one of the columns there twice."""
    rng = np.random.default_rng(0)
    a = np.r_[rng.normal(0, 1, 30), rng.normal(6, 1, 30)]
    b = np.r_[rng.normal(0, 1, 30), rng.normal(5, 1, 30)]
    return pd.DataFrame({"a": a, "b": b, "b2": b})


def columns_of(*columns):
    return np.column_stack(columns)


@pytest.fixture(scope="module")
def collapsed():
    with warnings.catch_warnings(action="ignore"):
        em = bg.GaussianMixture(2, random_state=1).fit([[0.0, 1.0], [0.1, 2.2], [5.0, 7.0], [5.3, 7.1]])
    assert em.status_ == "collapsed"
    assert em.converged_
    return em


@pytest.fixture(scope="module")
def selection(faithful):
    settings = {"draws": 150, "tune": 150, "chains": 2}
    return bg.select(faithful, [1, 2, 3], "full", posterior=settings, random_state=1, progressbar=False)


class TestColumnsThatRepeatOthers:
    def test_copies_and_sums_are_named_and_nothing_else(self, rng):
        a, b, c = rng.normal(size=(3, 40))
        assert dependent_columns(columns_of(a, b, c, b), list("abcd")) == (
            "Columns 'b' and 'd' hold the same values: leave one of them out."
        )
        said = dependent_columns(columns_of(a, b, c, 3 + a - 2 * c), list("abcd"))
        assert said == "Columns 'a', 'c' and 'd' follow exactly from each other: leave one of them out."
        assert "leave 2 of them out" in dependent_columns(columns_of(a, b, a, b), list("abcd"))

    def test_nearly_the_same_is_not_the_same(self, rng):
        a, b = rng.normal(size=(2, 40))
        assert dependent_columns(columns_of(a, a + 1e-3 * b), ["a", "b"]) == ""
        assert dependent_columns(columns_of(1e9 + a, b), ["a", "b"]) == ""

    def test_gaps_and_few_rows(self, rng):
        a = rng.normal(size=40)
        X = columns_of(a, a)
        X[::4, 1] = np.nan
        assert "same values" in dependent_columns(X, ["a", "b"])
        assert dependent_columns(rng.normal(size=(3, 5)), list("abcde")) == ""

    def test_a_report_survives_and_says_so(self, twice):
        with warnings.catch_warnings(action="ignore"):
            em = bg.GaussianMixture(2, random_state=1).fit(twice)
            posterior = bg.BayesianGaussianMixture(2, init=em, **FEW).fit(twice)
            report = build_report(em, posterior, twice, name="twice")
        sentence = "Columns 'b' and 'b2' hold the same values: leave one of them out."
        assert report.comparison.verdict("columns").sentence == sentence
        assert not report.comparison.verdict("columns").passed
        assert sentence.replace("'", "&#39;") in report.html
        assert report.summary["answers"][2]["answer"] == "No"
        assert "collapsed" in report.headline[1]

    @pytest.mark.filterwarnings("default")
    def test_the_command_says_it_before_it_computes(self, twice, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        twice.to_csv("twice.csv", index=False)
        assert main(["fit", "twice.csv", "-k", "1", "-o", "x.json", "-q", "--seed", "1"]) == 0
        assert "'b' and 'b2' hold the same values" in capsys.readouterr().err


class TestStuckDraws:
    def planted(self, tree, term, theta=None):
        """A copy of a posterior with one term of the prior put in place, and perhaps draws that never move."""
        groups = {name: node.to_dataset() for name, node in tree.children.items()}
        shape = groups["log_prior"]["means"].shape
        groups["log_prior"] = groups["log_prior"].assign(means=(("chain", "draw"), np.broadcast_to(term, shape).copy()))
        if theta is not None:
            groups["posterior"] = groups["posterior"].map(lambda draws: xr.full_like(draws, theta))
        return xr.DataTree.from_dict(groups)

    def test_weights_with_one_tail_cannot_be_measured(self, posterior_faithful):
        tree = posterior_faithful.datatree_
        chains = np.arange(tree["log_prior"].sizes["chain"], dtype=float)[:, None]
        table = prior_sensitivity(self.planted(tree, chains))
        assert np.isnan(table.loc["means", "prior"])
        assert "cannot be measured" in table.loc["means", "sentence"]
        assert np.isfinite(table.loc["weights", "prior"])

    def test_draws_that_never_move_do_not_make_the_prior_flat(self, posterior_faithful):
        tree = posterior_faithful.datatree_
        assert "flat" in prior_sensitivity(self.planted(tree, 0.0)).loc["means", "sentence"]
        assert "cannot be measured" in prior_sensitivity(self.planted(tree, 0.0, theta=1.0)).loc["means", "sentence"]


class TestWhatTheFamilyFixes:
    @pytest.mark.parametrize("kind", ["diag", "spherical"])
    def test_one_group_without_correlations_converges(self, kind, rng):
        X = rng.normal(size=(60, 3))
        settings = FEW | {"draws": 500, "chains": 4}
        fit = bg.BayesianGaussianMixture(1, covariance_type=kind, **settings).fit(X)
        assert fit.diagnose()[0].passed, fit.diagnose()[0].sentence
        assert not any(name.startswith("total_covariance") for name in convergence_table(fit.datatree_)["quantity"])

    def test_a_covariance_that_is_stuck_elsewhere_still_fails(self, rng):
        values = np.full((4, 200, 2, 2), 0.5)
        data = {"total_covariance": (("chain", "draw", "feature", "feature_bis"), values)}
        data["sorted_weights"] = (("chain", "draw", "rank"), np.ones((4, 200, 1)))
        tree = xr.DataTree.from_dict({"label_free": xr.Dataset(data)})
        assert convergence_table(tree)["r_hat"].isna().tolist() == [True]
        # Of several groups the total covariance is never fixed.
        data["total_covariance"] = (data["total_covariance"][0], np.zeros_like(values))
        data["sorted_weights"] = (("chain", "draw", "rank"), rng.dirichlet([2, 2], size=(4, 200)))
        table = convergence_table(xr.DataTree.from_dict({"label_free": xr.Dataset(data)})).set_index("quantity")
        assert np.isnan(table.loc["total_covariance[1, 0]", "r_hat"])


class TestHowEMEnded:
    def test_a_collapse_is_no_convergence(self, collapsed):
        check = verdicts.em_convergence(collapsed)
        assert not check.passed
        assert check.sentence.startswith("EM found no proper maximum: component 0 has collapsed")

    def test_too_few_rows_neither(self, em_faithful):
        em = copy.copy(em_faithful)
        em.status_, em.message_ = "spurious", "Component 1 has too few rows"
        assert verdicts.em_convergence(em).sentence == "EM found no proper maximum: component 1 has too few rows."
        assert not verdicts.em_convergence(em).passed

    def test_one_iteration_is_singular(self, em_faithful):
        em = copy.copy(em_faithful)
        em.n_iter_ = 1
        assert verdicts.em_convergence(em).sentence.startswith("EM converged in 1 iteration (")
        em.converged_ = False
        assert verdicts.em_convergence(em).sentence == "EM did not converge in 1 iteration; raise max_iter."

    def test_the_command_says_it(self, collapsed, em_faithful):
        said = list(found(describe_em(collapsed) | {"feature_names": ["a", "b"]}))
        assert said[-1].startswith("EM found no proper maximum: Component 0 has collapsed")
        assert not any("maximum" in line for line in found(describe_em(em_faithful) | {"feature_names": ["a", "b"]}))


class TestWhyInDoubt:
    @pytest.mark.parametrize(
        ("causes", "ending"),
        [
            (["overlap"] * 4, " The groups overlap."),
            (["too little data"] * 4, " The groups are not known well enough."),
            (
                ["overlap", "too little data", "too little data", "overlap"],
                " Of these, 2 are where the groups overlap, 2 lack data.",
            ),
        ],
    )
    def test_the_cause_is_that_of_the_rows(self, causes, ending):
        table = pd.DataFrame({"posterior_doubt": [0.3] * 4 + [0.0] * 6, "cause": causes + ["clear"] * 6})
        check = verdicts.doubt(table)
        assert check.sentence.endswith("probability for any one group." + ending)
        assert not check.passed


class TestTrust:
    def test_a_prior_that_shows_is_a_caveat(self, comparison):
        assert answers(comparison, None, [{"part": "sds", "prior": 0.01}])[2].answer == "Yes"
        trust = answers(comparison, None, [{"part": "sds", "prior": 0.2}])[2]
        assert (trust.answer, trust.kind) == ("With care", "note")

    @pytest.mark.parametrize(
        ("fewer", "one_hill", "answer"), [(0.2, 0.0, "With care"), (0.0, 0.35, "With care"), (0.01, 0.01, "Yes")]
    )
    def test_groups_that_may_not_be_there_are_a_caveat(self, comparison, fewer, one_hill, answer):
        probability = pd.Series([fewer, 1 - fewer], index=pd.RangeIndex(1, 3, name="n_groups"))
        used = GroupsUsed(probability, pd.DataFrame([[1.0, one_hill], [one_hill, 1.0]]))
        many, _, trust = answers(replace(comparison, groups=used), None)
        assert trust.answer == answer
        assert (many.kind == "pass") == (answer == "Yes")
        assert any("fewer than 2 groups" in sentence for sentence in trust.sentences) == (answer != "Yes")


class TestChoice:
    def choice(self, selection, differences, errors):
        table = selection.table.copy()
        table["elpd"], table["elpd_difference"], table["elpd_difference_se"] = -100 + np.array(differences), differences, errors
        found = choose(replace(selection, table=table))
        vars(found)["unsettled"] = []
        return found

    def test_a_difference_below_four_is_small_whatever_its_error(self, selection):
        near = self.choice(selection, [-50.0, 0.0, -1.7], [5.0, 0.0, 0.46])
        assert near.predicts_as_well == [2, 3]
        assert near.sentences[-1] == "Rows left out are predicted best by the posterior with 2 groups, and with 3 about as well."
        assert "Too close to it to tell apart (within 4, or two standard errors): 3 components" in str(near.selection)
        far = self.choice(selection, [-50.0, 0.0, -4.5], [5.0, 0.0, 0.46])
        assert far.sentences[-1].endswith("2 groups, clearly better than by the others.")
        assert "Too close" not in str(far.selection)
        assert self.choice(selection, [-50.0, 0.0, -4.5], [5.0, 0.0, 3.0]).predicts_as_well == [2, 3]

    def test_draws_that_failed_are_said(self, selection):
        choice = self.choice(selection, [-50.0, 0.0, -4.5], [5.0, 0.0, 0.46])
        vars(choice)["unsettled"] = [3]
        assert choice.sentences[-1].endswith(
            "The posterior with 3 did not pass the checks of the draws, so this comparison is rough."
        )
        del vars(choice)["unsettled"]
        failed = [int(K) for K, fit in zip([1, 2, 3], selection.posteriors, strict=True) if not fit.diagnose()[0].passed]
        assert choice.unsettled == failed


class TestPage:
    @pytest.mark.parametrize(
        ("value", "ends", "text"),
        [
            (8.09e-6, (-0.2554, 0.2469), "0"),
            (-0.00012, (-0.2554, 0.2469), "−0.0001"),
            (54.75, (53.2, 56.1), "54.75"),
            (8.09e-6, (7e-6, 9e-6), "8.090e−06"),
            (float("nan"), (0.0, 1.0), "–"),
        ],
    )
    def test_a_mean_has_the_decimals_of_its_interval(self, value, ends, text):
        assert within(value, *ends) == text

    def test_counts_are_whole_and_the_forest_tells_of_its_selection(self, em_faithful, posterior_faithful, faithful):
        html = build_report(em_faithful, posterior_faithful, faithful, name="Old Faithful").html
        sampler = html[html.index("How the sampler behaved") :]
        row = re.findall(r'<td class="num" data-sort="[^"]*">([^<]*)</td>', sampler[sampler.index("<tbody>") :])
        assert row[0] == "0"
        assert row[1] == f"{posterior_faithful.draws:,}"
        assert "panels, only the" not in html

    def test_many_panels_and_names_without_letters(self, rng):
        X = pd.DataFrame(
            rng.normal(size=(60, 9)) + 9 * (np.arange(60) % 2)[:, None], columns=[f"c{d}" for d in range(8)] + ["\ue000"]
        )
        em = bg.GaussianMixture(2, covariance_type="tied", random_state=1).fit(X)
        settings = FEW | {"draws": 30, "tune": 30}
        with warnings.catch_warnings(action="ignore"):
            posterior = bg.BayesianGaussianMixture(2, covariance_type="tied", init=em, **settings).fit(X)
            html = build_report(em, posterior, X, name="wide").html
        # One of weights, nine each of means and sds, 36 of correlations.
        assert "Of 55 panels, only the 24 are drawn in which EM lies farthest; the table below has all." in html
        assert "figures call <bdi>\ue000</bdi> column 9." in html

    def test_names_that_can_be_drawn_stay(self):
        assert shown_names(("größe", "größe²", "\ue000", "column 3")) == ("größe", "größe²", "\ue000", "column 3")
        assert shown_names(("a", "\ue000")) == ("a", "column 2")

    def test_one_group_has_nothing_to_be_unsure_of(self, faithful):
        em = bg.GaussianMixture(1, random_state=1).fit(faithful)
        posterior = bg.BayesianGaussianMixture(1, init=em, **(FEW | {"draws": 300, "chains": 4})).fit(faithful)
        html = build_report(em, posterior, faithful, name="one").html
        assert "described as one Gaussian group (full covariance). It was fitted twice" in html
        assert "nothing can be in doubt" in html
        assert "coloured by how doubtful" not in html


class TestMessages:
    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("t.csv", "a,b\n1,5,2,5\n", "decimal commas, save it with decimal points"),
        ],
    )
    def test_commas_between_decimals_and_columns_are_told(self, tmp_path, name, content, says):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(InvalidDataError, match=re.escape(says)):
            read_table(path)

    def test_a_separator_in_a_name_is_none(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("length; in cm\n1\n2\n")
        assert list(read_table(path)) == ["length; in cm"]

    @pytest.mark.parametrize(("value", "hint"), [("1,234", True), ("12 cm, or so", False)])
    def test_numbers_with_commas_are_told_from_words(self, tmp_path, monkeypatch, capsys, value, hint):
        """A comma before three digits, with tabs between columns, may be either: nothing else tells."""
        monkeypatch.chdir(tmp_path)
        Path("t.tsv").write_text(f"a\tb\n{value}\t2\n{value}\t3\n")
        assert main(["fit", "t.tsv", "-k", "1", "-o", "x.json", "-q"]) == 2
        said = capsys.readouterr().err
        assert "do not hold numbers: a" in said
        assert ("write numbers without a comma" in said) == hint
        assert f"'a' has '{value}' in line 2" in said

    @pytest.mark.parametrize(
        ("command", "option"),
        [
            (["fit", "faithful", "-k", "0"], "--components"),
            (["report", "faithful", "-k", "0"], "--components"),
            (["report", "faithful", "-k", "0,2"], "--components"),
            (["report", "faithful", "-k", "2", "--draws", str(LEAST_DRAWS - 1)], "--draws"),
        ],
    )
    def test_the_option_at_fault_is_named(self, tmp_path, monkeypatch, capsys, command, option):
        monkeypatch.chdir(tmp_path)
        assert main([*command, "-o", "out"]) == 2
        assert option in capsys.readouterr().err

    def test_fewest_draws_are_those_of_the_estimator(self):
        assert bg.BayesianGaussianMixture._parameter_constraints["draws"][0].left == LEAST_DRAWS

    def test_a_file_that_cannot_be_written_is_named_as_it_was_given(self, tmp_path):
        (tmp_path / "a file").write_text("")
        with pytest.raises(OSError, match="Cannot write") as caught:
            atomic_write_text(tmp_path / "a file" / "x.json", "{}")
        assert caught.value.filename == str(tmp_path / "a file" / "x.json")
