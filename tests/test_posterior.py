"""The Bayesian estimator: convergence on real data, labels shared with EM, one interface, clear refusals."""

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy.special import entr

import bayesgmm as bg
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import expectation
from bayesgmm.priors import HalfNormal
from bayesgmm.rows import MemoryRows


def quick(K=2, **changes):
    return bg.BayesianGaussianMixture(
        K, **({"draws": 100, "tune": 200, "chains": 2, "random_state": 1, "progressbar": False} | changes)
    )


def test_faithful_converges(posterior_faithful):
    tree = posterior_faithful.datatree_
    assert tree["posterior"].sizes["chain"] == 4
    assert tree["posterior"].sizes["draw"] == 1000
    groups = tree["posterior"].to_dataset().drop_vars("corr"), tree["label_free"].to_dataset()
    correlation = tree["posterior"]["corr"].isel(feature=0, feature_bis=1).to_dataset(name="corr")
    for group in (*groups, correlation):
        for name, values in az.rhat(group).data_vars.items():
            assert (values < 1.01).all(), name
    assert not tree["sample_stats"]["diverging"].any()


def test_weights_are_within_two_posterior_sds_of_em(posterior_faithful, em_faithful):
    sd = posterior_faithful.params_.weights.std(axis=(0, 1))
    assert (np.abs(posterior_faithful.weights_ - em_faithful.weights_) < 2 * sd).all()


def test_component_zero_is_the_same_group_in_both(faithful, em_faithful, posterior_faithful):
    assert np.abs(posterior_faithful.means_ - em_faithful.means_).max() < np.abs(np.diff(em_faithful.means_, axis=0)).max() / 4
    assert (posterior_faithful.predict(faithful) == em_faithful.predict(faithful)).mean() > 0.99
    np.testing.assert_allclose(posterior_faithful.em_.means_, em_faithful.means_, rtol=1e-8)  # two roads of one EM


def test_everything_averages_over_the_draws(faithful, posterior_faithful):
    X = faithful.iloc[:20]
    params = posterior_faithful.params_
    each = params.responsibilities(X.to_numpy())
    np.testing.assert_allclose(posterior_faithful.predict_proba(X), each.mean((0, 1)), atol=1e-12)
    density = np.exp(params.log_density(X.to_numpy())).mean((0, 1))
    np.testing.assert_allclose(posterior_faithful.score_samples(X), np.log(density), rtol=1e-10)
    np.testing.assert_allclose(posterior_faithful.weights_, params.weights.mean((0, 1)))
    draws = posterior_faithful.responsibility_draws(X)
    assert draws.dims == ("chain", "draw", "obs", "component")
    np.testing.assert_allclose(draws.mean(("chain", "draw")), posterior_faithful.responsibilities(X), atol=1e-12)
    thin = posterior_faithful.responsibility_draws(X, n_draws=5)
    xr.testing.assert_equal(thin, draws.sel(draw=thin.draw))
    assert posterior_faithful.covariances_.shape == (2, 2, 2)


def test_summary_streams_what_the_draws_say(faithful, posterior_faithful):
    X = faithful.iloc[:150]
    draws = posterior_faithful.responsibility_draws(X)
    summary = posterior_faithful.row_summary(X, prob=0.8)
    flat = draws.values.reshape(-1, 150, 2)
    np.testing.assert_allclose(summary["responsibility"], flat.mean(0), atol=1e-12)
    np.testing.assert_allclose(summary["responsibility_sd"], flat.std(0), atol=1e-6)  # sqrt(draws x rounding)
    np.testing.assert_allclose(summary["responsibility_lower"], np.quantile(flat, 0.1, axis=0), atol=1e-12)
    np.testing.assert_allclose(summary["responsibility_upper"], np.quantile(flat, 0.9, axis=0), atol=1e-12)
    entropy = -np.where(flat > 0, flat * np.log(np.maximum(flat, 1e-300)), 0).sum(-1).mean(0)
    np.testing.assert_allclose(summary["aleatoric"], entropy, atol=1e-12)
    with pytest.raises(InvalidParameterError, match="prob"):
        posterior_faithful.row_summary(X, prob=1.5)


def test_responsibilities_of_a_draw_are_ems_at_equal_parameters(faithful, em_faithful, posterior_faithful):
    """EM's own E-step at a posterior draw's parameters."""
    X = np.ascontiguousarray(faithful.to_numpy(float))
    draw = posterior_faithful.params_[1, 7]
    stats = expectation(MemoryRows(X), draw.log_weights, draw.means, draw.scale_tril)
    table = posterior_faithful.responsibility_draws()[1, 7]
    np.testing.assert_allclose(table.sum("obs"), stats.counts, rtol=1e-10)
    em_like = bg.GaussianMixture(2)
    em_like.__dict__.update(em_faithful.__dict__, params_=draw)
    np.testing.assert_allclose(table.values, em_like.predict_proba(faithful), atol=1e-10)


def test_raw_draws_are_kept_and_differ_by_a_permutation_only(faithful):
    """Galaxies with three groups: chains may switch; the sets of components per draw are the same before and after."""
    X = bg.datasets.load_galaxies()
    fit = quick(3, chains=4).fit(X)
    raw, aligned = fit.datatree_["unlabelled_posterior"], fit.datatree_["posterior"]
    for name in ("weights", "means", "sds"):
        a, b = raw[name].values.reshape(4, 100, 3), aligned[name].values.reshape(4, 100, 3)
        np.testing.assert_array_equal(np.sort(a, -1), np.sort(b, -1))


def test_datatree_follows_the_schema_and_survives_netcdf(posterior_faithful, tmp_path):
    tree = posterior_faithful.datatree_
    assert set(tree.children) == {
        "posterior", "unlabelled_posterior", "label_free", "sample_stats", "log_prior", "log_likelihood", "responsibilities",
        "observed_data",
    }  # fmt: skip
    posterior = tree["posterior"]
    assert posterior["means"].dims == ("chain", "draw", "component", "feature")
    assert posterior["corr"].dims == ("chain", "draw", "component", "feature", "feature_bis")
    assert tree["log_likelihood"]["x"].dims == ("chain", "draw", "obs")
    total = tree["log_likelihood"]["x"].sum("obs")
    np.testing.assert_allclose(total, tree["label_free"]["log_likelihood"], rtol=1e-10)
    assert {"lp", "diverging", "acceptance_rate", "n_steps", "step_size"} <= set(tree["sample_stats"])
    tree.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    xr.testing.assert_identical(xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf").load(), tree)
    assert az.loo(tree).elpd == pytest.approx(total.mean().item(), abs=20)


@pytest.mark.parametrize("sampler", ["hmc", "nuts", "laplace"])
def test_of_very_many_rows_some_are_looked_at_and_the_draws_are_the_same(sampler, faithful, em_faithful, monkeypatch):
    X = faithful.to_numpy().copy()
    X[::9, 1] = np.nan
    weight = np.random.default_rng(4).integers(1, 4, len(X))
    usual = quick(init=em_faithful, sampler=sampler).fit(X, sample_weight=weight)
    monkeypatch.setattr("bayesgmm.estimators.posterior.ROWS_FOR_LABELS", 50)
    monkeypatch.setattr("bayesgmm.estimators._posterior_tree.MOST_RESPONSIBILITIES", 0)
    many = quick(init=em_faithful, sampler=sampler).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(many.params_.means, usual.params_.means)
    said, before = many.datatree_["label_free"], usual.datatree_["label_free"]
    np.testing.assert_allclose(said["log_likelihood"], before["log_likelihood"], rtol=1e-11)
    fifty = X[np.linspace(0, len(X) - 1, 50).round().astype(int)]
    np.testing.assert_allclose(said["entropy"], entr(many.params_.responsibilities(fifty)).sum(-1).mean(-1), rtol=1e-10)
    assert "responsibilities" not in many.datatree_.children
    assert "log_likelihood" not in many.datatree_.children
    xr.testing.assert_equal(many.responsibilities(), usual.datatree_["responsibilities"]["mean"].rename("responsibilities"))
    assert many.diagnose()[0].passed == usual.diagnose()[0].passed


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
def test_other_families(kind, faithful):
    fit = quick(covariance_type=kind, tune=300).fit(faithful)
    assert not fit.datatree_["sample_stats"]["diverging"].any()
    assert ("corr" in fit.datatree_["posterior"]) == (kind == "tied")
    assert fit.covariances_.shape == fit.em_.covariances_.shape
    assert (fit.predict(faithful) == fit.em_.predict(faithful)).mean() > 0.95


def test_one_component_and_one_dimension_simply_work(faithful):
    fit = quick(1).fit(faithful[["waiting"]])
    np.testing.assert_allclose(fit.predict_proba(faithful[["waiting"]]), 1.0)
    sd = faithful.waiting.std() / np.sqrt(len(faithful))
    assert fit.means_[0, 0] == pytest.approx(faithful.waiting.mean(), abs=3 * sd)


def test_same_seed_same_draws_and_units_do_not_matter(faithful):
    """In other units the same seed gives the same draws, up to rounding that grows along a trajectory."""
    one, two = quick().fit(faithful), quick().fit(faithful)
    np.testing.assert_array_equal(one.params_.means, two.params_.means)
    seconds = quick().fit(faithful * 60)
    np.testing.assert_allclose(seconds.means_, one.means_ * 60, rtol=0.02)
    np.testing.assert_allclose(seconds.weights_, one.weights_, atol=0.02)


def test_predictive_draws_have_the_datas_moments(faithful, posterior_faithful):
    X, labels = posterior_faithful.sample(4000, random_state=2)
    assert X.shape == (4000, 2)
    np.testing.assert_allclose(X.mean(0), faithful.mean(), atol=5 * faithful.std().max() / np.sqrt(272))
    assert (labels == 0).mean() == pytest.approx(posterior_faithful.weights_[0], abs=0.05)


def test_a_fitted_em_can_be_the_start(faithful, em_faithful):
    fit = quick(init=em_faithful).fit(faithful)
    assert fit.em_ is em_faithful
    with pytest.raises(InvalidParameterError, match="another model"):
        quick(3, init=em_faithful).fit(faithful)


def test_priors_are_believed(faithful):
    """A prior that leaves no room pulls the means to it."""
    tight = bg.Priors(means_loc=[[4.3, 80.0], [2.0, 54.0]], means_scale=1e-3, sds=HalfNormal([1.0, 10.0]))
    fit = quick(priors=tight).fit(faithful)
    np.testing.assert_allclose(fit.params_.means[..., 0, :], np.broadcast_to([4.3, 80.0], (2, 100, 2)), atol=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"draws": 0}, "draws"),
        ({"chains": 0}, "chains"),
        ({"sampler": "magic"}, "sampler"),
        ({"n_components": 0}, "n_components"),
        ({"priors": "flat"}, "priors"),
    ],
)
def test_settings_that_cannot_be_used_are_named(changes, words, faithful):
    with pytest.raises(InvalidParameterError, match=words):
        quick(**({"K": changes.pop("n_components", 2)} | changes)).fit(faithful)


def test_bad_data_and_bad_requests(faithful, posterior_faithful):
    with pytest.raises(InvalidDataError, match="NaN"):
        quick().fit(faithful.assign(waiting=np.nan))
    with pytest.raises(InvalidParameterError, match="n_draws must be between 1 and 1000"):
        posterior_faithful.responsibility_draws(n_draws=5000)
    with pytest.raises(InvalidParameterError, match="GB: ask for fewer draws"):
        posterior_faithful.responsibility_draws(faithful.sample(100_000, replace=True))
    with pytest.raises(InvalidParameterError, match="n_samples"):
        posterior_faithful.sample(0)
