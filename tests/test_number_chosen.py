"""The number of groups from a table alone: probabilities, what they lean on, the model that is described, the report and the commands."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.bayes import _compiled_split_merge as moves
from bayesgmm.cli import main
from bayesgmm.diagnostics.chains import find_modes
from bayesgmm.estimators._number import log_partitions
from bayesgmm.exceptions import ConvergenceWarning, DrawsAdvice, InvalidParameterError
from bayesgmm.priors import BetaNegativeBinomial, Concentration, Poisson, Priors, Uniform
from bayesgmm.report import build_report
from bayesgmm.selection import choose
from bayesgmm.selection.number import NumberOfGroups

SETTINGS = {"draws": 400, "tune": 100, "random_state": 1, "progressbar": False}


def quiet(n_components, X, **more):
    with warnings.catch_warnings():
        for category in (DrawsAdvice, ConvergenceWarning):
            warnings.simplefilter("ignore", category)
        return bg.BayesianGaussianMixture(n_components, **{**SETTINGS, **more}).fit(X)


@pytest.fixture(scope="module")
def number(faithful):
    return quiet("auto", faithful)


@pytest.fixture(scope="module")
def tried(faithful):
    return bg.select(faithful, range(1, 6), random_state=1, progressbar=False)


class TestSensitivity:
    @settings(deadline=None, max_examples=80)
    @given(
        counts=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
        alpha=st.floats(0.1, 5.0),
        dynamic=st.booleans(),
        prior=st.sampled_from([BetaNegativeBinomial(), Uniform(), Poisson(1.0)]),
    )
    def test_partitions_are_as_probable_as_the_sampler_has_them(self, counts, alpha, dynamic, prior):
        log_number = prior.log_probability(8)
        found = log_partitions(np.array([counts]), log_number, Concentration(alpha, dynamic=dynamic))[0]
        filled = np.array([n for n in counts if n], dtype=np.int64)
        theirs = moves.log_partition(filled, len(filled), sum(counts), alpha, dynamic, np.append(-np.inf, log_number))
        assert found == pytest.approx(theirs, abs=1e-9)

    @pytest.mark.parametrize("dynamic", [False, True])
    def test_all_partitions_have_a_probability_of_one(self, dynamic):
        """Of five rows: 52 partitions, by their block sizes and how many have them (Bell's number)."""
        ways = {(5,): 1, (4, 1): 5, (3, 2): 10, (3, 1, 1): 10, (2, 2, 1): 15, (2, 1, 1, 1): 10, (1, 1, 1, 1, 1): 1}
        counts = np.array([[*sizes, *[0] * (5 - len(sizes))] for sizes in ways])
        logs = log_partitions(counts, Poisson(2.0).log_probability(12), Concentration(1.3, dynamic=dynamic))
        assert logsumexp(logs, b=list(ways.values())) == pytest.approx(0.0, abs=1e-12)

    def test_it_is_what_a_fit_under_the_other_prior_gives(self, faithful, number):
        table = number.sensitivity_of_number()
        for name, priors in (
            ("all numbers alike", Priors(number=Uniform())),
            ("half the concentration", Priors(concentration=1.0)),
        ):
            other = quiet("auto", faithful, priors=priors, random_state=2).number_of_components()
            own = number.number_of_components()
            for n in (2, 3):
                error = np.hypot(other["groups_mcse"][n], own["groups_mcse"][n] / np.sqrt(table.loc[name, "share"]))
                assert abs(table.loc[name, n] - other["groups"][n]) < 4 * error

    def test_the_own_prior_comes_first_and_moves_nothing(self, number):
        table = number.sensitivity_of_number()
        own = table.iloc[0]
        assert own["share"] == 1.0
        np.testing.assert_allclose(own.drop("share"), number.number_of_components()["groups"].iloc[: len(own) - 1])
        np.testing.assert_allclose(table.drop(columns="share").dropna().sum(axis=1), 1.0)

    def test_a_learned_concentration_has_nothing_to_compare(self):
        X = np.concatenate([np.random.default_rng(0).normal(m, 1, size=(40, 1)) for m in (0.0, 9.0)])
        fit = quiet("auto", X, priors=Priors(concentration=Concentration(("gamma", 2.0, 1.0))), draws=100)
        with pytest.raises(InvalidParameterError, match="was learned"):
            fit.sensitivity_of_number()
        assert NumberOfGroups.of(fit).sensitivity is None
        assert "prior" not in " ".join(NumberOfGroups.of(fit).sentences)


class TestNumberOfGroups:
    def test_headline_and_sentences(self, number):
        found = NumberOfGroups.of(number)
        p = number.number_of_components()["groups"]
        assert found.most_probable == number.n_groups_ == p.idxmax() == 2
        worth = p[p >= 0.05].sort_values(ascending=False)
        assert found.headline == ", ".join(
            [f"2 groups ({100 * p[2]:.0f}%)", *(f"{n} ({100 * q:.0f}%)" for n, q in worth[1:].items())]
        )
        assert f"gives {100 * p[2]:.0f}% to 2" in found.sentences[0]
        assert "normal components: a group is a hill of the density" in found.sentences[1]

    def test_a_prior_that_matters_is_named(self, number):
        found = NumberOfGroups.of(number)
        moved = found.sensitivity.copy()
        moved.loc["all numbers alike", [2, 3]] = [0.2, 0.7]
        found = replace(found, sensitivity=moved)
        assert "That leans on the prior: with all numbers alike it is 70% for 3." in found.sentences[-1]
        assert not found.is_clear

    def test_chains_that_fail_are_said_to(self, number):
        found = NumberOfGroups.of(number)
        failed = replace(found, check=replace(found.check, passed=False, sentence="Not converged: so it is."))
        assert "rough" in " ".join(failed.sentences)
        assert not failed.is_clear

    def test_rows_are_put_into_the_groups(self, number, faithful):
        labels = number.rows_in_groups()
        assert set(labels) == {0, 1}
        long = faithful["eruptions"].to_numpy() > 3
        assert max((labels == long).mean(), (labels != long).mean()) > 0.97


class TestChoose:
    def test_a_shape_with_one_component_for_each_group(self, tried, number):
        """Three ellipses of one shape have the least BIC on Old Faithful; they are two groups."""
        best = tried.ranking().iloc[0]
        assert (best["n_components"], best["covariance_type"]) == (3, "tied")
        for choice in (choose(tried), choose(tried, number)):
            assert (choice.n_components, choice.em.covariance_type) == (2, "full")
            assert 'EM takes 3 components of type "tied" by BIC, which are 2 groups.' in " ".join(choice.sentences)
        assert "2 components" not in str(tried).splitlines()[0]
        assert "2 groups stand apart." in str(tried).splitlines()[0]

    def test_draws_that_do_not_hold_choose_nothing(self, tried, number, monkeypatch):
        check = replace(number.diagnose()[0], passed=False)
        monkeypatch.setattr(type(number), "diagnose", lambda self: (check,))
        assert choose(tried, number).number.is_usable  # nine tenths of the draws have two groups
        table = number.number_of_components().assign(
            groups=np.append([0.1, 0.4, 0.45], np.zeros(len(number.number_of_components()) - 3))
        )
        monkeypatch.setattr(type(number), "number_of_components", lambda self: table)
        monkeypatch.setattr(type(number), "rows_in_groups", lambda self: pytest.fail("of no use"))
        choice = choose(tried, number)
        assert choice.n_components == 2
        assert "So the number is taken from EM." in choice.sentences

    def test_a_posterior_of_other_rows_is_refused(self, tried, faithful):
        other = quiet("auto", faithful.iloc[:150])
        with pytest.raises(InvalidParameterError, match="fitted to 150 rows and the selection to 272"):
            choose(tried, other)

    def test_groups_that_no_normal_model_finds(self, tmp_path):
        """A ring about a ball: two groups with one mean, of which a component each would make one hill."""
        rng = np.random.default_rng(3)
        angle = rng.uniform(0, 2 * np.pi, 300)
        ring = 10 * np.column_stack([np.cos(angle), np.sin(angle)]) + 0.5 * rng.normal(size=(300, 2))
        X = np.concatenate([ring, rng.normal(size=(150, 2))])
        tried = bg.select(X, range(1, 10), random_state=1, progressbar=False)
        choice = choose(tried)
        assert choice.n_components > choice.n_groups == 2
        labels = tried.groups()[tried.best().predict(X)]
        assert len({int(g) for g in labels[:300]} & {int(g) for g in labels[300:]}) == 0
        assert not choice.unanimous
        report = build_report(choice.em, X=X, name="ring", selection=tried)
        assert report.summary["answers"][0]["answer"] == "2 groups"
        assert f"2 groups in {choice.n_components} components" in report.headline[0]
        assert "No model with one component a group finds the 2 groups" in " ".join(choice.sentences)


def test_one_number_in_every_draw_is_an_answer():
    """Two groups far apart: every draw has two, and that is no chain that stands still."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(300, 3)), rng.normal(size=(300, 3)) + 12])
    fit = quiet("auto", X, covariance_type="spherical")
    assert fit.number_of_components().loc[2, "filled"] == 1.0
    assert fit.diagnose()[0].passed
    assert quiet("auto", X[:100], max_components=1).diagnose()[0].passed


@pytest.fixture(scope="module")
def written(tried, number, faithful, tmp_path_factory):
    choice = choose(tried, number)
    posterior = quiet(2, faithful, init=choice.em, draws=100)
    report = build_report(choice.em, posterior, faithful, name="Old Faithful", selection=tried, number=number)
    return report, report.write(tmp_path_factory.mktemp("report")).read_text()


class TestReport:
    def test_the_first_card_has_probabilities(self, written, number):
        report, page = written
        first = report.summary["answers"][0]
        assert first["answer"] == NumberOfGroups.of(number).headline
        assert first["answer"] in page
        assert "number open: 2 groups" in report.headline[0]
        assert report.summary["choice"]["number_of_groups"]["n_groups"] == 2
        assert "groups that stand apart" in page

    def test_the_recipe_runs_and_chooses_the_same(self, written):
        recipe = written[0].material.recipe
        compile(recipe, "recipe", "exec")
        assert "number = bg.BayesianGaussianMixture('auto', draws=400," in " ".join(recipe.replace("(\n    ", "(").split())
        assert "choice = bg.selection.choose(selection, number)" in recipe

    def test_a_number_goes_with_a_selection(self, number, tried, faithful):
        with pytest.raises(InvalidParameterError, match="give selection, too"):
            build_report(choose(tried).em, X=faithful, name="x", number=number)


class TestCommands:
    @pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DrawsAdvice", "ignore::bayesgmm.exceptions.ConvergenceWarning")
    def test_report_and_nothing_else(self, tmp_path, monkeypatch, capsys, faithful):
        monkeypatch.chdir(tmp_path)
        faithful.assign(day=["2024-01-01"] * 272).to_csv("geyser.csv", index=False)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert main(["report", "geyser.csv", "--seed", "1", "--draws", "300", "--tune", "60"]) == 0
        out, err = capsys.readouterr()
        assert "left out 'day' (a date or time)" in err
        assert out.splitlines()[0] == str(Path("reports/geyser/index.html"))
        assert "2 groups (number open: 2 groups (" in out
        summary = json.loads(Path("reports/geyser/summary.json").read_text())
        assert summary["model"] == {"n_components": 2, "covariance_type": "full"}
        assert summary["command"] == "bayesgmm report geyser.csv --draws 300 --tune 60 --random-state 1 --output report"

    def test_em_alone(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["report", "faithful", "--method", "em", "--seed", "1"]) == 0
        assert "2 groups (chosen by BIC among 1, 2, 3" in capsys.readouterr().out
        assert main(["report", "faithful", "--method", "em", "--seed", "1", "--covariance-type", "tied", "-o", "tied"]) == 0
        assert json.loads(Path("tied/summary.json").read_text())["model"]["covariance_type"] == "tied"

    def test_fit_takes_the_number_with_the_least_bic(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["fit", "faithful", "-o", "m.json", "--seed", "1"]) == 0
        model = json.loads(Path("m.json").read_text())
        assert (model["n_components"], model["number_of_components"], len(model["weights"])) == (2, "chosen", 2)
        assert "of 1 to 5 components BIC takes 2" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DrawsAdvice", "ignore::bayesgmm.exceptions.ConvergenceWarning")
    def test_fit_of_a_posterior_leaves_it_open(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        words = ["--method", "posterior", "--draws", "200", "--tune", "60", "--seed", "1", "-q"]
        assert main(["fit", "faithful", "-o", "m.json", *words]) == 0
        model = json.loads(Path("m.json").read_text())
        assert model["n_components"] == len(model["weights"])
        assert sum(row["groups"] for row in model["number"]) == pytest.approx(1.0)


def test_modes_of_chains_of_which_some_lack_the_most_probable_number():
    """Draws with one number of components may come from fewer chains than there are."""
    free = np.random.default_rng(0).normal(size=(4, 50)) + np.array([[0], [0], [40], [40]])
    two = xr.Dataset(
        {
            "weights": (("chain", "draw", "component"), np.full((2, 50, 2), 0.5)),
            "means": (("chain", "draw", "component", "feature"), np.zeros((2, 50, 2, 1))),
            "sds": (("chain", "draw", "component", "feature"), np.ones((2, 50, 2, 1))),
        }
    )
    tree = xr.DataTree.from_dict({"label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), free)}), "posterior": two})
    assert len(find_modes(tree).chains) == 2
