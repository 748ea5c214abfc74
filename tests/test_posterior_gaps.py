"""The posterior of rows with gaps and of rows that count more than once: the likelihood is EM's."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.exceptions import DataAdvice, InvalidParameterError


def quick(**changes):
    return bg.BayesianGaussianMixture(
        2, **({"draws": 500, "tune": 300, "chains": 2, "random_state": 1, "progressbar": False} | changes)
    )


@pytest.fixture(scope="module")
def gappy():
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal([0, 0, 0], 1, (60, 3)), rng.normal([5, 4, 3], 1, (40, 3))])
    X[rng.random(X.shape) < 0.15] = np.nan
    X[7] = np.nan
    return X


@pytest.fixture(scope="module")
def posterior(gappy):
    return quick().fit(gappy)


def test_log_likelihoods_are_those_of_the_marginal_densities(gappy, posterior):
    rows = posterior.params_.log_density(gappy)
    np.testing.assert_allclose(posterior.datatree_["label_free"]["log_likelihood"], rows.sum(-1), rtol=1e-9)
    np.testing.assert_allclose(posterior.datatree_["log_likelihood"]["x"], rows, atol=1e-9)
    assert (rows[..., 7] == 0).all()


def test_gaps_leave_the_groups_where_they_are(gappy, posterior):
    em = bg.GaussianMixture(2, random_state=0).fit(gappy)
    sd = posterior.params_.means.std((0, 1))
    assert (np.abs(posterior.means_ - em.means_) < 2 * sd).all()
    np.testing.assert_array_equal(posterior.predict(gappy)[:7], 0)
    # A row of which nothing is known has the weights for responsibilities.
    np.testing.assert_allclose(posterior.predict_proba(gappy)[7], posterior.weights_, atol=1e-12)


def test_intervals_of_rows_with_gaps_are_quantiles_over_draws(gappy, posterior):
    summary = posterior.row_summary(gappy, prob=0.8)
    draws = posterior.responsibility_draws(gappy).values.reshape(-1, *gappy.shape[:1], 2)
    np.testing.assert_allclose(summary["responsibility"], draws.mean(0), atol=1e-10)
    for name, q in (("lower", 0.1), ("upper", 0.9)):
        np.testing.assert_allclose(summary[f"responsibility_{name}"], np.quantile(draws, q, axis=0), atol=1e-10)


def test_imputed_values_have_both_spreads(gappy, posterior):
    filled = posterior.impute(gappy)
    seen = ~np.isnan(gappy)
    np.testing.assert_array_equal(filled[seen], gappy[seen])
    assert np.isfinite(filled).all()
    draws = posterior.impute(gappy, n_draws=400, random_state=2)
    error = draws.std(0) / np.sqrt(400) + 1e-12
    assert (np.abs(draws.mean(0) - filled)[~seen] < 5 * error[~seen]).all()
    em = posterior.em_.impute(gappy, n_draws=400, random_state=2)
    assert draws.std(0)[~seen].mean() > em.std(0)[~seen].mean()


def test_a_weight_of_two_is_the_row_twice():
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(0, 1, (40, 1)), rng.normal(6, 1, (20, 1))])
    weight = np.r_[np.full(30, 2.0), np.ones(30)]
    one = quick().fit(X, sample_weight=weight)
    other = quick().fit(np.repeat(X, weight.astype(int), axis=0))
    for name in ("weights", "means", "sds"):
        a, b = (getattr(fit.params_, name) for fit in (one, other))
        mcse = np.sqrt(a.var((0, 1)) / 200 + b.var((0, 1)) / 200)
        assert (np.abs(a.mean((0, 1)) - b.mean((0, 1))) < 4.5 * mcse).all()
    rows = one.params_.log_density(X)
    np.testing.assert_allclose(one.datatree_["label_free"]["log_likelihood"], rows @ weight, rtol=1e-9)


def test_the_cyclists(capsys):
    """Speeds with how often each was measured."""
    speeds = bg.datasets.cyclists()
    with pytest.warns(DataAdvice, match="'speed' has only 6 distinct values"):
        posterior = quick().fit(speeds[["speed"]], sample_weight=speeds["frequency"])
    assert 0 < posterior.means_.min() < posterior.means_.max() < 7


def test_pymcs_samplers_say_that_they_cannot(gappy):
    with pytest.raises(InvalidParameterError, match="leave sampler at 'hmc'"):
        quick(sampler="pymc").fit(gappy)
    with pytest.raises(InvalidParameterError, match="leave sampler at 'hmc'"):
        quick(sampler="pymc").fit(np.arange(20.0)[:, None], sample_weight=np.ones(20) * 2)
