"""How well fits predict: rows left out by brute force, by ArviZ, by sampling again; folds; distribution functions."""

from dataclasses import replace
from importlib import import_module

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

import bayesgmm as bg
from bayesgmm.criticism import compare_elpd, kfold, loo, loo_pit, pit_table, predictive_statistics
from bayesgmm.criticism.loo import sample_without
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.plots import plot_loo_pit, plot_pareto_k

QUIET = {"progressbar": False}
TINY = {"draws": 50, "tune": 100, "chains": 2, "progressbar": False}


@pytest.fixture(scope="module")
def small():
    """Two groups of one column, forty rows."""
    rng = np.random.default_rng(8)
    return np.concatenate([rng.normal(0, 1, size=(22, 1)), rng.normal(6, 1.3, size=(18, 1))])


@pytest.fixture(scope="module")
def em_small(small):
    return bg.GaussianMixture(2, random_state=1).fit(small)


@pytest.fixture(scope="module")
def posterior_small(small):
    return bg.BayesianGaussianMixture(2, draws=500, tune=500, random_state=2, progressbar=False).fit(small)


def by_hand(X, i, **settings):
    """Log-density of a row under EM from the start on the others."""
    less = np.delete(X, i, axis=0)
    return bg.GaussianMixture(2, random_state=1, **settings).fit(less).score_samples(X[i : i + 1])[0]


def test_exact_leave_one_out_is_a_fit_to_the_other_rows(em_small, small):
    found = loo(em_small, **QUIET)
    assert found.table["elpd"].to_numpy() == pytest.approx([by_hand(small, i) for i in range(len(small))], abs=2e-3)
    assert found.elpd == pytest.approx(found.table["elpd"].sum())
    assert found.p == pytest.approx(em_small.log_likelihood_ - found.elpd)
    assert set(found.table["how"]) == {"exact"}
    assert found.se == pytest.approx(np.sqrt(len(small)) * found.table["elpd"].std(ddof=0))


def test_one_step_is_close_to_exact_and_says_which_rows_it_left_to_refits(em_faithful):
    exact, rough = loo(em_faithful, **QUIET), loo(em_faithful, method="one-step", **QUIET)
    stepped = rough.table["how"] == "one-step"
    assert 0.8 < stepped.mean() < 1
    assert np.abs(exact.table["elpd"] - rough.table["elpd"])[stepped].max() < 0.01
    np.testing.assert_array_equal(exact.table["elpd"][~stepped], rough.table["elpd"][~stepped])
    assert "by one step from the fit" in str(rough)


@pytest.mark.parametrize("settings", [{"priors": bg.Priors()}, {"equal_weights": True}, {"noise": True}])
def test_other_objectives_are_refitted_as_they_are(small, settings):
    small = small[::2]
    em = bg.GaussianMixture(2, random_state=1, **settings).fit(small)
    found = loo(em, **QUIET).table["elpd"]
    if "noise" not in settings:  # the box of the noise has been seen, by hand it has not
        assert found[3] == pytest.approx(by_hand(small, 3, **settings), abs=2e-3)
    assert np.isfinite(found).all()
    with pytest.raises(InvalidParameterError, match="Use method='exact'"):
        loo(em, method="one-step", **QUIET)


def test_a_row_of_weight_two_is_two_rows(small):
    weight = np.ones(len(small))
    weight[[2, 30]] = 2, 0
    repeated = np.concatenate([np.delete(small, 30, axis=0), small[2:3]])
    weighted = loo(bg.GaussianMixture(2, random_state=1).fit(small, sample_weight=weight), **QUIET)
    plain = loo(bg.GaussianMixture(2, random_state=1).fit(repeated), **QUIET)
    assert weighted.elpd == pytest.approx(plain.elpd, abs=1e-3)
    assert weighted.se == pytest.approx(plain.se, abs=1e-3)
    assert np.isnan(weighted.table["elpd"][30])
    assert weighted.to_arviz().n_data_points == len(repeated)


def test_half_rows_cannot_be_left_out(small):
    em = bg.GaussianMixture(2, random_state=1).fit(small, sample_weight=np.full(len(small), 0.5))
    with pytest.raises(InvalidDataError, match="must be whole numbers"):
        loo(em, **QUIET)


def test_a_posterior_agrees_with_arviz(posterior_faithful):
    found = loo(posterior_faithful, **QUIET)
    theirs = az.loo(posterior_faithful.datatree_, pointwise=True)
    # Only the relative efficiency differs, which sets how much of the tail is smoothed.
    assert found.table["elpd"].to_numpy() == pytest.approx(theirs.elpd_i.values, abs=5e-3)
    assert found.p == pytest.approx(theirs.p, abs=0.05)
    assert found.good_k == theirs.good_k


def test_blocks_of_rows_give_the_numbers_of_all_rows(posterior_small, monkeypatch):
    whole = loo(posterior_small, **QUIET)
    monkeypatch.setattr(import_module("bayesgmm.criticism.loo"), "BLOCK_NUMBERS", 7 * 2000)
    pd.testing.assert_frame_equal(loo(posterior_small, **QUIET).table, whole.table)


def test_reweighted_draws_agree_with_draws_without_the_row(posterior_small, small):
    found = loo(posterior_small, max_refits=0, **QUIET).table
    for i in (int(found["elpd"].argmin()), 5):
        draws = sample_without(posterior_small, i, seed=4)
        density = np.exp(draws.log_density(small[i : i + 1])[:, 0])
        error = density.std() / density.mean() / np.sqrt(len(density) / 5)
        assert found["elpd"][i] == pytest.approx(np.log(density.mean()), abs=4 * error + 0.02)


def test_rows_that_cannot_be_reweighted_are_sampled_without(small):
    far = np.concatenate([small, [[40.0]]])
    fit = bg.BayesianGaussianMixture(1, draws=300, tune=300, random_state=2, progressbar=False).fit(far)
    left, again = loo(fit, max_refits=0, **QUIET), loo(fit, **QUIET)
    assert list(left.high_k) == [40]
    assert "cannot be relied on" in str(left)
    assert list(again.high_k) == []
    assert again.table["how"][40] == "refit"
    assert again.table["elpd"][40] < left.table["elpd"][40] - 0.5  # what a row does to a fit hides how far it is from the others
    assert left.to_arviz().warning
    assert not again.to_arviz().warning


def test_em_and_posterior_are_compared_by_arviz(em_small, posterior_small, small):
    worse = bg.GaussianMixture(1).fit(small)
    found = compare_elpd({"em": em_small, "posterior": posterior_small, "one": worse}, **QUIET)
    elpds = {
        name: loo(fit, **QUIET).table["elpd"] for name, fit in (("em", em_small), ("one", worse), ("posterior", posterior_small))
    }
    best = found.index[0]
    assert found.index[-1] == "one"
    difference = elpds["one"] - elpds[best]
    assert found.loc["one", "elpd_diff"] == pytest.approx(difference.sum())
    assert found.loc["one", "dse"] == pytest.approx(np.sqrt(len(small)) * difference.std(ddof=0))


def test_only_the_same_rows_can_be_compared(em_small, em_faithful, small):
    with pytest.raises(InvalidDataError, match="not fitted to the same rows"):
        compare_elpd({"a": em_small, "b": em_faithful}, **QUIET)
    with pytest.raises(InvalidParameterError, match="at least two"):
        compare_elpd({"a": em_small})
    folds = kfold({"a": em_small}, small, 4, random_state=1, **QUIET)
    with pytest.raises(InvalidParameterError, match="from loo and 'b' from kfold"):
        compare_elpd({"a": em_small, "b": folds.results["a"]}, **QUIET)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_all_models_have_the_same_folds(small):
    models = {"em": bg.GaussianMixture(2, random_state=1), "posterior": bg.BayesianGaussianMixture(2, random_state=1, **TINY)}
    found = kfold(models, small, 3, random_state=5, **QUIET)
    assert np.bincount(found.folds).tolist() == [14, 13, 13]
    for number in range(3):
        held = found.folds == number
        for name, model in models.items():
            by_hand = model.fit(small[~held]).score_samples(small[held])
            assert found.results[name].table["elpd"][held].to_numpy() == pytest.approx(by_hand, abs=1e-8)
    np.testing.assert_array_equal(found.folds, kfold(models["em"], small, 3, random_state=5, **QUIET).folds)
    assert set(compare_elpd(found.results).index) == {"em", "posterior"}
    assert "3-fold cross-validation" in str(found)


def test_folds_count_weights(small):
    weight = np.random.default_rng(2).uniform(0.5, 2.0, size=len(small))
    found = kfold(bg.GaussianMixture(2, random_state=1), small, 4, sample_weight=weight, random_state=5, **QUIET)
    held = found.folds == 1
    by_hand = bg.GaussianMixture(2, random_state=1).fit(small[~held], sample_weight=weight[~held]).score_samples(small[held])
    result = found.results["GaussianMixture"]
    assert result.table["elpd"][held].to_numpy() == pytest.approx(by_hand)
    assert result.elpd == pytest.approx(weight @ result.table["elpd"])
    with pytest.raises(InvalidDataError, match="whole numbers"):
        compare_elpd({"one": result, "other": result})


def test_folds_that_cannot_be(small):
    with pytest.raises(InvalidParameterError, match="at least 2"):
        kfold(bg.GaussianMixture(2), small, 1)
    with pytest.raises(InvalidDataError, match="50 folds"):
        kfold(bg.GaussianMixture(2), small, 50)
    with pytest.raises(InvalidParameterError, match="'a' is not"):
        kfold({"a": object()}, small)


def test_what_is_not_a_fit_is_refused(em_small):
    with pytest.raises(InvalidParameterError, match="got str"):
        loo("fit")
    with pytest.raises(InvalidParameterError, match="method must be"):
        loo(em_small, method="psis")
    with pytest.raises(InvalidParameterError, match="max_refits"):
        loo(em_small, max_refits=-1)


def test_pit_of_em_is_the_distribution_function_of_the_fit_to_the_others(em_small, small):
    pit = loo_pit(em_small)
    for i in (0, 25):
        less = bg.GaussianMixture(2, random_state=1).fit(np.delete(small, i, axis=0))
        assert float(pit[i, 0]) == pytest.approx(float(less.params_.cdf(small[i, 0])), abs=1e-3)


def test_pit_of_a_posterior_agrees_with_draws_without_the_row(posterior_small, small):
    pit = loo_pit(posterior_small)
    draws = sample_without(posterior_small, 7, seed=9)
    below = draws.cdf(small[7, 0])
    assert float(pit[7, 0]) == pytest.approx(below.mean(), abs=4 * below.std() / np.sqrt(len(below) / 5) + 0.005)


def test_pit_of_rows_of_the_model_is_uniform_and_that_of_others_is_not(rng):
    X = rng.normal(size=(300, 2))
    good = pit_table(loo_pit(bg.GaussianMixture(1).fit(X)))
    assert (good["p_value"] > 0.01).all()
    assert good["sd"].to_numpy() == pytest.approx(np.sqrt(1 / 12), abs=0.03)
    skewed = np.exp(X)
    pit = loo_pit(bg.GaussianMixture(1).fit(skewed))
    bad = pit_table(pit)
    assert (bad["p_value"] < 0.01).all()
    assert bad["distance"].iloc[0] == pytest.approx(kstest(pit.values[:, 0], "uniform").statistic)
    assert not bad["sentence"].str.contains("where the fit without them says").any()


def test_missing_values_have_no_pit(small):
    X = np.column_stack([small[:, 0], np.linspace(0, 1, len(small)) ** 2])
    X[4, 1] = np.nan
    pit = loo_pit(bg.GaussianMixture(1).fit(X))
    assert np.isnan(pit.values).sum() == 1
    assert np.isnan(pit.values[4, 1])


def test_statistics_of_rows_of_the_model_are_ordinary_and_those_of_others_are_not(rng):
    tables = []
    for _ in range(6):
        em = bg.GaussianMixture(1, random_state=1).fit(rng.normal(size=(100, 2)))
        tables.append(predictive_statistics(em, n_replicates=60))
    assert set(tables[0]["statistic"]) == {"minimum", "maximum", "sd", "skewness", "nearest neighbour"}
    assert len(tables[0]) == 9
    good = pd.concat(tables)
    assert ((good["lower"] <= good["mean"]) & (good["mean"] <= good["upper"])).all()
    assert (good["two_sided"] < 0.05).mean() < 0.15
    skewed = bg.GaussianMixture(1, random_state=1).fit(np.exp(rng.normal(size=(200, 2))))
    found = predictive_statistics(skewed, n_replicates=50).set_index(["statistic", "feature"])
    assert found.loc[("skewness", "x0"), "p_value"] == 0.0
    assert found.loc[("minimum", "x1"), "p_value"] == 0.0
    assert found.loc[("nearest neighbour", ""), "p_value"] == 1.0


def test_a_statistic_of_ones_own(posterior_small, small):
    found = predictive_statistics(posterior_small, {"median": lambda X: np.median(X, axis=0)}, n_replicates=150, random_state=1)
    assert found["observed"].tolist() == [np.median(small)]
    assert found["two_sided"][0] > 0.01
    again = predictive_statistics(posterior_small, {"median": lambda X: np.median(X, axis=0)}, n_replicates=150, random_state=1)
    pd.testing.assert_frame_equal(found, again)
    with pytest.raises(InvalidParameterError, match="'all' must return one number, or 1"):
        predictive_statistics(posterior_small, {"all": lambda X: X.ravel()})
    with pytest.raises(InvalidParameterError, match="at least one function"):
        predictive_statistics(posterior_small, {})


def test_statistics_refuse_what_cannot_be_simulated(small, em_small):
    weighted = bg.GaussianMixture(1).fit(small, sample_weight=np.full(len(small), 2.0))
    with pytest.raises(InvalidDataError, match="sample_weight"):
        predictive_statistics(weighted)
    with pytest.raises(InvalidParameterError, match="n_replicates"):
        predictive_statistics(em_small, n_replicates=0)


def test_pictures_of_rows_left_out(posterior_small, em_small):
    """Every row with a Pareto k is a point, those above the line are told apart, and every column has its line."""
    found = loo(posterior_small, max_refits=0)
    ax = plot_pareto_k(found)
    points = np.concatenate([np.asarray(group.get_offsets()) for group in ax.collections])
    np.testing.assert_allclose(sorted(points[:, 1]), np.maximum(sorted(found.table["pareto_k"]), -0.5))
    table = found.table.copy()
    table.iloc[[2, 5], table.columns.get_loc("pareto_k")] = 0.9, 1.4
    table.iloc[5, table.columns.get_loc("how")] = "refit"
    words = [text.get_text() for text in plot_pareto_k(replace(found, table=table)).get_legend().get_texts()]
    assert words == ["reweighted", "cannot be relied on", "fitted again without it"]
    with pytest.raises(InvalidParameterError, match="no row was reweighted"):
        plot_pareto_k(loo(em_small))

    pit = loo_pit(em_small)
    pit[0, 0] = np.nan  # columns of different lengths
    pictures = plot_loo_pit(pit)
    titles = [ax.get_title(loc="left") for ax in pictures.viz["figure"].item().axes[: pit.sizes["feature"]]]
    assert titles == list(pit["feature"].values)
    with pytest.raises(InvalidParameterError, match="no values to show"):
        plot_loo_pit(pit * np.nan)
    plt.close("all")
