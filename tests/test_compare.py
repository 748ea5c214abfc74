"""The comparison says what the fits say: its tables by independent routes, its verdicts by planted differences."""

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesgmm.comparison import Comparison, compare
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows

N, DRAWS = 200, 150


@pytest.fixture(scope="module")
def comparison(em_faithful, posterior_faithful, faithful) -> Comparison:
    return compare(em_faithful, posterior_faithful, faithful)


def mixture(rng: np.random.Generator, spread: float, batch: tuple[int, ...] = ()) -> MixtureParams:
    """Two groups in two columns; with a batch, draws that scatter by ``spread`` about them."""
    noise = rng.normal(scale=spread, size=(*batch, 2, 2)) if batch else np.zeros((2, 2))
    first = np.clip(0.6 + (rng.normal(scale=spread / 10, size=batch) if batch else 0.0), 0.01, 0.99)
    weights = np.stack([first, 1 - first], axis=-1)
    means = np.array([[0.0, 0.0], [4.0, 1.0]]) + noise
    scales = np.exp(rng.normal(scale=spread / 4, size=(*batch, 2))) if batch else np.ones(2)
    factor = np.array([[1.0, 0.0], [0.4, 0.9]])
    return MixtureParams(weights, means, scales[..., None, None] * factor)


def fits(em: MixtureParams, posterior: MixtureParams, X: np.ndarray, pivot: MixtureParams | None = None):
    """Two fits that have what `compare` reads, made of given mixtures."""
    common = {"n_components_": 2, "covariance_type": "full", "feature_names_": ["a", "b"], "n_features_in_": 2}
    common["rows_"] = MemoryRows(X)
    data = xr.Dataset({"x": (("obs", "feature"), X)})
    free = {"log_likelihood": (("chain", "draw"), posterior.log_density(X).sum(-1))}
    tree = xr.DataTree.from_dict({"label_free": xr.Dataset(free), "observed_data": data})
    state = {"converged_": True, "status_": "converged", "n_iter_": 7, "log_likelihood_": em.log_density(X).sum()}

    def refuse(kind):
        raise InvalidParameterError("a stub has no likelihood to bend")

    state["standard_errors"] = refuse
    one = SimpleNamespace(params_=em, datatree_=xr.DataTree.from_dict({"observed_data": data}), **common, **state)
    labels = SimpleNamespace(params_=em if pivot is None else pivot)
    return one, SimpleNamespace(params_=posterior, datatree_=tree, em_=labels, **common)


@pytest.fixture
def pair(rng):
    em = mixture(rng, 0)
    X, _ = em.sample(N, random_state=rng)
    return em, mixture(rng, 0.1, (4, DRAWS)), X


def test_parameters_are_those_of_the_fits(comparison, em_faithful, posterior_faithful):
    table = comparison.parameters
    posterior = posterior_faithful.datatree_["posterior"].to_dataset()
    names = {"weight": "weights", "mean": "means", "sd": "sds", "correlation": "corr"}
    for row in table.to_dict("records"):
        place = {"component": row["component"]}
        place |= {dim: row[dim] for dim in ("feature", "feature_bis") if row[dim]}
        draws = posterior[names[row["parameter"]]].sel(place)
        point = em_faithful.datatree_["point_estimate"].to_dataset()[names[row["parameter"]]].sel(place)
        assert row["em"] == pytest.approx(float(point))
        assert row["mean"] == pytest.approx(float(draws.mean()))
        assert [row["lower"], row["upper"]] == pytest.approx(np.percentile(draws, [2.5, 97.5]))
        assert row["distance"] == pytest.approx((row["em"] - row["mean"]) / draws.values.std(ddof=1))
    assert table["parameter"].value_counts().to_dict() == {"weight": 2, "mean": 4, "sd": 4, "correlation": 2}


def test_responsibilities_are_those_of_the_fits(comparison, em_faithful, posterior_faithful, faithful):
    table = comparison.responsibilities
    np.testing.assert_allclose(table[["em_0", "em_1"]], em_faithful.predict_proba(faithful))
    np.testing.assert_allclose(table[["posterior_0", "posterior_1"]], posterior_faithful.predict_proba(faithful))
    draws = posterior_faithful.responsibility_draws(faithful)
    np.testing.assert_allclose(table[["sd_0", "sd_1"]], draws.std(("chain", "draw")), atol=1e-6)  # sqrt(draws x rounding)
    np.testing.assert_array_equal(table["posterior_label"], posterior_faithful.predict(faithful))
    gap = np.abs(table[["em_0", "em_1"]].to_numpy() - table[["posterior_0", "posterior_1"]].to_numpy()).max(1)
    np.testing.assert_allclose(table["largest_gap"], gap)


def test_faithful_is_agreed_upon(comparison):
    assert [check.sentence for check in comparison.verdicts if not check.passed] == []
    assert comparison.changed.empty
    assert "no point changes group" in str(comparison)
    weights = comparison.parameters.query("parameter == 'weight'")
    assert (weights["distance"].abs() < 2).all()


def test_the_training_data_are_the_default(em_faithful, posterior_faithful, comparison):
    again = compare(em_faithful, posterior_faithful)
    pd.testing.assert_frame_equal(again.responsibilities.reset_index(drop=True), comparison.responsibilities)
    pd.testing.assert_frame_equal(again.predictive, comparison.predictive)


def test_another_labelling_is_matched_and_said(pair):
    em, posterior, X = pair
    swapped = compare(*fits(em, posterior.permute([1, 0]), X, pivot=em.permute([1, 0])), X)
    straight = compare(*fits(em, posterior, X), X)
    assert swapped.order == (1, 0)
    assert "renamed" in swapped.verdict("alignment").sentence
    assert [check.name for check in straight.verdicts if check.name == "alignment"] == []
    pd.testing.assert_frame_equal(swapped.responsibilities, straight.responsibilities)
    pd.testing.assert_frame_equal(swapped.parameters, straight.parameters)


def test_a_moved_group_is_found(pair):
    em, posterior, X = pair
    shifted = MixtureParams(posterior.weights, posterior.means + np.array([[0.0, 0.0], [-2.0, 0.0]]), posterior.scale_tril)
    found = compare(*fits(em, shifted, X), X)
    moved = em.responsibilities(X).argmax(1) != shifted.reshape(-1).responsibilities(X).mean(0).argmax(1)
    assert list(found.changed.sort_index().index) == list(np.flatnonzero(moved))
    assert not found.verdict("agreement").passed
    assert not found.verdict("parameters").passed
    assert "mean of a in group 1" in found.verdict("parameters").sentence


def test_shared_parameters_are_listed_once(rng):
    em = MixtureParams([0.5, 0.5], [[0, 0], [5, 5]], np.broadcast_to(np.eye(2), (2, 2, 2)))
    scales = rng.gamma(50, 0.02, size=(4, DRAWS))
    factor = scales[..., None, None, None] * np.broadcast_to([[1.0, 0.0], [0.3, 1.0]], (2, 2, 2))
    tied = MixtureParams(np.full((4, DRAWS, 2), 0.5), rng.normal(em.means, 0.1, size=(4, DRAWS, 2, 2)), factor)
    X, _ = em.sample(N, random_state=rng)
    table = compare(*fits(em, tied, X), X).parameters
    assert list(table.query("parameter == 'sd'")["component"]) == ["all", "all"]
    assert list(table.query("parameter == 'correlation'")["component"]) == ["all"]
    round_ = scales[..., None, None, None] * np.broadcast_to(np.eye(2), (2, 2, 2))
    table = compare(*fits(em, MixtureParams(tied.weights, tied.means, round_), X), X).parameters
    assert [tuple(row) for row in table.query("parameter == 'sd'")[["component", "feature"]].to_numpy()] == [("all", "all")]
    assert table.query("parameter == 'correlation'").empty


def test_a_sharp_posterior_elsewhere_is_infinitely_far(pair):
    em, _, X = pair
    frozen = MixtureParams(*(np.broadcast_to(a, (4, DRAWS, *a.shape)) for a in (em.weights, em.means + 1, em.scale_tril)))
    found = compare(*fits(em, frozen, X), X)
    assert np.isinf(found.parameters.query("parameter == 'mean'")["distance"]).all()
    assert (found.parameters.query("parameter == 'sd'")["distance"] == 0).all()
    assert not found.verdict("parameters").passed
    json.dumps(found.summary(), allow_nan=False)


def test_predictive_statistics_are_those_of_the_data(comparison, faithful):
    table = comparison.predictive.set_index(["statistic", "feature"])["observed"]
    for name in faithful:
        z = (faithful[name] - faithful[name].mean()) / faithful[name].std(ddof=0)
        assert table["sd", name] == pytest.approx(faithful[name].std(ddof=0))
        assert table["skewness", name] == pytest.approx((z**3).mean())
        assert table["kurtosis", name] == pytest.approx((z**4).mean() - 3)
        assert table["maximum", name] == faithful[name].max()
    assert table["correlation", "eruptions"] == pytest.approx(np.corrcoef(faithful.T)[0, 1])


def test_data_from_another_model_fail_the_predictive_check(pair, rng):
    em, posterior, X = pair
    assert compare(*fits(em, posterior, X), X).verdict("predictive").passed
    heavy = np.where(rng.random((N, 1)) < 0.05, X * 8, X)
    found = compare(*fits(em, posterior, heavy), heavy).verdict("predictive")
    assert found.value == 0
    assert not found.passed


def test_the_predictive_probability_is_uniform_enough_under_the_model(rng):
    """Data from the model itself: the joint probability must not pile up at either end."""
    em = mixture(rng, 0)
    draws = MixtureParams(*(np.broadcast_to(a, (2, 40, *a.shape)) for a in (em.weights, em.means, em.scale_tril)))
    values = []
    for seed in range(40):
        X, _ = em.sample(60, random_state=seed)
        values.append(compare(*fits(em, draws, X), X, n_replicates=100, random_state=seed).verdict("predictive").value)
    # Forty uniform numbers: either count is below 31 with probability 0.999 (binomial, n = 40, p = 1/2).
    assert np.sum(np.array(values) < 0.5) < 31
    assert np.sum(np.array(values) > 0.5) < 31


def test_doubt_counts_points_below_nine_tenths(pair):
    em, posterior, X = pair
    found = compare(*fits(em, posterior, X), X)
    mean = posterior.reshape(-1).responsibilities(X).mean(0)
    assert len(found.doubtful) == (mean.max(1) < 0.9).sum() > 0
    assert found.doubtful["posterior_doubt"].is_monotonic_decreasing


def test_em_that_did_not_converge_is_said(pair):
    em, posterior = fits(*pair)
    em.converged_, em.status_ = False, "max_iter"
    assert not compare(em, posterior).verdict("em_convergence").passed


def test_the_summary_is_json_with_the_same_figures(comparison):
    summary = json.loads(json.dumps(comparison.summary(), allow_nan=False))
    assert summary["n_observations"] == 272
    assert summary["n_in_doubt"] == len(comparison.doubtful)
    assert [v["sentence"] for v in summary["verdicts"]] == [c.sentence for c in comparison.verdicts]
    assert summary["parameters"][0]["mean"] == comparison.parameters["mean"].iloc[0]
    assert len(summary["convergence"]) == len(comparison.convergence)


def test_names_of_rows_are_kept(em_faithful, posterior_faithful, faithful):
    named = faithful.head(20).set_axis([f"eruption {i}" for i in range(20)])
    assert list(compare(em_faithful, posterior_faithful, named).responsibilities.index) == list(named.index)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_components_": 3}, "n_components"),
        ({"covariance_type": "diag"}, "covariance_type"),
        ({"feature_names_": ["a", "c"]}, "columns"),
        (
            {"datatree_": xr.DataTree.from_dict({"observed_data": xr.Dataset({"x": (("o", "f"), np.zeros((2, 2)))})})},
            "data",
        ),
    ],
)
def test_fits_of_different_things_are_refused(pair, change, words):
    em, posterior = fits(*pair)
    for name, value in change.items():
        setattr(em, name, value)
    with pytest.raises(InvalidParameterError, match=words):
        compare(em, posterior)


def test_other_columns_wrong_order_and_unfitted_are_refused(em_faithful, posterior_faithful, faithful):
    with pytest.raises(InvalidParameterError, match="other columns"):
        compare(em_faithful, posterior_faithful, faithful[["waiting", "eruptions"]])
    with pytest.raises(InvalidParameterError, match=r"shape \(rows, 2\)"):
        compare(em_faithful, posterior_faithful, np.zeros((5, 3)))
    with pytest.raises(InvalidParameterError, match="in this order"):
        compare(posterior_faithful, em_faithful, faithful)
    with pytest.raises(InvalidParameterError, match="not fitted"):
        compare(SimpleNamespace(), posterior_faithful, faithful)
    with pytest.raises(InvalidDataError, match="missing"):
        compare(em_faithful, posterior_faithful, faithful.assign(waiting=np.nan))
    with pytest.raises(InvalidParameterError, match="n_replicates"):
        compare(em_faithful, posterior_faithful, n_replicates=3)


@pytest.fixture(scope="module")
def gappy():
    """Two groups with holes, EM and 200 draws that scatter about it."""
    rng = np.random.default_rng(8)
    em = mixture(rng, 0)
    X = em.sample(N, random_state=rng)[0]
    X[rng.random(X.shape) < 0.1] = np.nan
    X[7] = np.nan
    return em, mixture(rng, 0.05, (2, 100)), X


class TestGaps:
    def test_a_row_counts_by_what_it_has(self, gappy):
        em, posterior, X = gappy
        found = compare(*fits(em, posterior, X), X)
        rows = np.flatnonzero(~np.isnan(X[:, 0]) & np.isnan(X[:, 1]))
        flat = posterior.reshape(-1).marginal(0)
        expected = np.mean([flat[t].responsibilities(X[rows, :1]) for t in range(len(flat.weights))], axis=0)
        np.testing.assert_allclose(found.mean_responsibilities[rows], expected, atol=1e-10)
        # A row of which nothing is known has the groups' weights.
        np.testing.assert_allclose(found.mean_responsibilities[7], flat.weights.mean(axis=0), atol=1e-10)

    def test_simulated_data_have_the_same_gaps(self, gappy):
        em, posterior, X = gappy
        found = compare(*fits(em, posterior, X), X, n_replicates=20)
        assert (np.isnan(found.replicates) == np.isnan(X)).all()
        table = found.predictive.set_index(["statistic", "feature"])["observed"]
        b = X[~np.isnan(X[:, 1]), 1]
        assert table["mean", "b"] == pytest.approx(b.mean())
        assert table["sd", "b"] == pytest.approx(b.std())
        assert table["minimum", "b"] == b.min()
        assert found.verdict("predictive").passed

    def test_pictures_show_a_gap_at_its_conditional_mean(self, gappy):
        em, posterior, X = gappy
        found = compare(*fits(em, posterior, X), X, n_replicates=20)
        rows = np.flatnonzero(~np.isnan(X[:, 0]) & np.isnan(X[:, 1]))
        given = [em.condition({0: value}) for value in X[rows, 0]]
        np.testing.assert_allclose(found.filled[rows, 1:], [other.weights @ other.means for other in given])
        known = ~np.isnan(X)
        assert (found.filled[known] == X[known]).all()
        for draw in (found.plot_groups, found.plot_doubt, found.plot_predictive):
            draw()
        plt.close("all")

    def test_other_data_are_still_noticed(self, gappy):
        em, posterior, X = gappy
        one, other = fits(em, posterior, X)
        one.datatree_ = xr.DataTree.from_dict({"observed_data": xr.Dataset({"x": (("obs", "feature"), np.nan_to_num(X))})})
        with pytest.raises(InvalidParameterError, match="different data"):
            compare(one, other)
