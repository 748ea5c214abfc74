"""Missing values: the E-step of rows with gaps, fits to them, imputation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm import expectation as ex
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, MemoryRows
from tests.conftest import random_mixture, scipy_log_joint


def with_gaps(rng, X, share=0.3):
    return np.where(rng.random(X.shape) < share, np.nan, X)


def by_hand(X, params):
    """Log joint densities of what is there, and each row's conditional mean and covariance given each component."""
    N, D = X.shape
    K = params.n_components
    joint, means, covariances = np.empty((N, K)), np.empty((N, K, D)), np.zeros((N, K, D, D))
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        m = np.flatnonzero(np.isnan(x))
        for k in range(K):
            mu, sigma = params.means[k], params.covariances[k]
            joint[i, k] = np.log(params.weights[k])
            means[i, k] = mu
            covariances[i, k] = sigma
            if len(o):
                joint[i, k] += stats.multivariate_normal(mu[o], sigma[np.ix_(o, o)]).logpdf(x[o])
                gain = sigma[np.ix_(m, o)] @ np.linalg.inv(sigma[np.ix_(o, o)])
                means[i, k, o], means[i, k, m] = x[o], mu[m] + gain @ (x[o] - mu[o])
                covariances[i, k] = 0
                covariances[i, k][np.ix_(m, m)] = sigma[np.ix_(m, m)] - gain @ sigma[np.ix_(o, m)]
    return joint, means, covariances


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 30),
    K=st.integers(1, 4),
    D=st.integers(1, 5),
    kind=st.sampled_from(["full", "tied", "diag", "spherical"]),
)
def test_statistics_are_conditional_expectations(seed, N, K, D, kind):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, K, D, covariance_type=kind)
    X = with_gaps(rng, 3 * rng.normal(size=(N, D)))
    weight = rng.integers(0, 3, size=N).astype(float)
    joint, means, covariances = by_hand(X, params)
    log_density = logsumexp(joint, axis=1)
    r = np.exp(joint - log_density[:, None])
    got = ex.expectation(MemoryRows(X, weight), params.log_weights, params.means, params.scale_tril, diagonal=params.is_diagonal)
    assert got.log_likelihood == pytest.approx(weight @ log_density, rel=1e-11, abs=1e-10)
    np.testing.assert_allclose(got.counts, weight @ r, rtol=1e-10, atol=1e-12)
    inverse = np.linalg.inv(params.scale_tril)
    z = np.einsum("kde,ike->ikd", inverse, means - params.means)
    spread = inverse @ covariances @ np.swapaxes(inverse, -1, -2)
    rw = r * weight[:, None]
    second = np.einsum("ik,ikd,ike->kde", rw, z, z) + np.einsum("ik,ikde->kde", rw, spread)
    np.testing.assert_allclose(got.first, np.einsum("ik,ikd->kd", rw, z), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(got.second, second * np.eye(D) if params.is_diagonal else second, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(params.responsibilities(X), r, atol=1e-12)
    np.testing.assert_allclose(params.log_density(X), log_density, rtol=1e-11, atol=1e-11)


def test_the_score_of_what_is_there_is_the_slope_of_its_likelihood(rng):
    params = random_mixture(rng, 2, 3)
    X = with_gaps(rng, 2 * rng.normal(size=(60, 3)))

    def log_likelihood(p):
        return p.log_density(X).sum()

    got = ex.expectation(MemoryRows(X), params.log_weights, params.means, params.scale_tril)
    slope = ex.score(got, np.linalg.inv(params.scale_tril))
    step = 1e-6
    for index in [(0, 0), (1, 2)]:
        shift = np.zeros_like(params.means)
        shift[index] = step
        up, down = (MixtureParams(params.weights, params.means + s * shift, params.scale_tril) for s in (1, -1))
        assert slope.means[index] == pytest.approx((log_likelihood(up) - log_likelihood(down)) / (2 * step), rel=1e-5, abs=1e-5)
    for index in [(0, 1, 0), (1, 2, 2)]:
        shift = np.zeros_like(params.scale_tril)
        shift[index] = step
        up, down = (MixtureParams(params.weights, params.means, params.scale_tril + s * shift) for s in (1, -1))
        assert slope.scale_tril[index] == pytest.approx(
            (log_likelihood(up) - log_likelihood(down)) / (2 * step), rel=1e-5, abs=1e-5
        )


def test_batches_of_mixtures_take_gaps_too(rng):
    batch = random_mixture(rng, 3, 3, batch=(4, 5))
    X = with_gaps(rng, rng.normal(size=(40, 3)), 0.5)
    X[3] = np.nan
    np.testing.assert_allclose(batch.responsibilities(X)[2, 3], batch[2, 3].responsibilities(X), rtol=1e-12)
    np.testing.assert_allclose(batch.log_density(X)[1, 4], batch[1, 4].log_density(X), rtol=1e-12, atol=1e-12)
    flat = batch.reshape(-1)
    moments = ex.responsibility_moments(Chunk(X), *flat.arrays())
    each = flat.responsibilities(X)
    np.testing.assert_allclose(moments.mean, each.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.sd, each.std(0), atol=1e-7)
    densities = flat.log_density(X)
    np.testing.assert_allclose(moments.draw_log_likelihood, densities.sum(1), rtol=1e-12)
    np.testing.assert_allclose(moments.log_density, logsumexp(densities, axis=0) - np.log(20), rtol=1e-10, atol=1e-12)
    entropy = -(each * np.log(np.maximum(each, 1e-300))).sum(-1)
    np.testing.assert_allclose(moments.entropy, entropy.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.draw_entropy, entropy.mean(1), atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_fit_with_gaps_climbs_and_beats_the_fit_to_complete_rows(kind, faithful, rng):
    X = with_gaps(rng, faithful.to_numpy(), 0.15)
    em = bg.GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    assert em.status_ == "converged"
    assert (np.diff(em.log_likelihood_trace_) > -1e-7).all()
    assert em.log_likelihood_ == pytest.approx(em.score_samples(X).sum(), rel=1e-12)
    complete = X[~np.isnan(X).any(axis=1)]
    other = bg.GaussianMixture(2, covariance_type=kind, random_state=0).fit(complete)
    assert em.log_likelihood_ > other.score_samples(X).sum()


def test_one_component_with_gaps_is_the_normal_distributions_own_estimate(rng):
    """A monotone pattern has a closed form: the second column's regression on the first, from the rows that have both (Anderson 1957)."""
    x = rng.normal(size=200)
    y = 2 + 0.7 * x + 0.3 * rng.normal(size=200)
    X = np.column_stack([x, y])
    X[120:, 1] = np.nan
    em = bg.GaussianMixture(1, tol=1e-14).fit(X)
    b, a = np.polyfit(x[:120], y[:120], 1)
    rest = np.mean((y[:120] - a - b * x[:120]) ** 2)
    np.testing.assert_allclose(em.means_[0], [x.mean(), a + b * x.mean()], rtol=1e-6)
    np.testing.assert_allclose(em.covariances_[0][1, 1], rest + b**2 * x.var(), rtol=1e-5)
    np.testing.assert_allclose(em.covariances_[0][0, 1], b * x.var(), rtol=1e-5)


def test_a_row_of_nothing_says_nothing(faithful):
    X = faithful.to_numpy()
    more = np.vstack([X, np.full((7, 2), np.nan)])
    one, other = (bg.GaussianMixture(2, random_state=0).fit(A) for A in (X, more))
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, abs=1e-5)
    np.testing.assert_allclose(other.means_, one.means_, rtol=1e-4)
    np.testing.assert_allclose(other.predict_proba(more)[-1], other.weights_, rtol=1e-12)


def test_weights_and_gaps_go_together(faithful, rng):
    X = with_gaps(rng, faithful.to_numpy(), 0.1)
    weight = rng.integers(0, 3, size=len(X))
    one = bg.GaussianMixture(2, random_state=0).fit(X, sample_weight=weight)
    other = bg.GaussianMixture(2, random_state=0).fit(np.repeat(X, weight, axis=0))
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, rel=1e-10)
    np.testing.assert_allclose(one.means_, other.means_, rtol=1e-6)


def test_imputation_is_the_conditional_distribution(em_faithful):
    p = em_faithful.params_
    x = 2.6
    joint = scipy_log_joint(np.array([[x]]), MixtureParams.from_covariances(p.weights, p.means[:, :1], p.covariances[:, :1, :1]))[0]
    r = np.exp(joint - logsumexp(joint))
    slope = p.covariances[:, 0, 1] / p.covariances[:, 0, 0]
    means = p.means[:, 1] + slope * (x - p.means[:, 0])
    variances = p.covariances[:, 1, 1] - slope * p.covariances[:, 0, 1]
    mean = r @ means
    sd = np.sqrt(r @ (variances + means**2) - mean**2)
    rows = pd.DataFrame([[x, np.nan], [4.0, 80.0]], columns=em_faithful.feature_names_)
    filled = em_faithful.impute(rows)
    np.testing.assert_allclose(filled, [[x, mean], [4.0, 80.0]], rtol=1e-10)
    draws = em_faithful.impute(rows, n_draws=4000, random_state=1)
    assert draws.shape == (4000, 2, 2)
    np.testing.assert_array_equal(draws[:, 1], np.tile([4.0, 80.0], (4000, 1)))
    assert draws[:, 0, 1].mean() == pytest.approx(mean, abs=5 * sd / np.sqrt(4000))
    assert draws[:, 0, 1].std() == pytest.approx(sd, rel=5 / np.sqrt(4000))
    nothing = em_faithful.impute(rows.iloc[:1] * np.nan)
    np.testing.assert_allclose(nothing[0], p.weights @ p.means, rtol=1e-10)
    with pytest.raises(bg.exceptions.InvalidParameterError, match="n_draws"):
        em_faithful.impute(rows, n_draws=0)


def test_penguins_with_their_gaps_give_their_species():
    penguins = bg.datasets.load_penguins()
    X = penguins[["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]]
    assert X.isna().to_numpy().any()
    em = bg.GaussianMixture(3, covariance_type="tied", random_state=0).fit(X)
    from sklearn.metrics import adjusted_rand_score

    assert adjusted_rand_score(penguins["species"], em.predict(X)) > 0.9
    assert not np.isnan(em.impute(X)).any()


def test_a_column_of_nothing_and_pymcs_model_refuse_with_a_sentence(faithful):
    X = faithful.to_numpy().copy()
    X[:, 1] = np.nan
    with pytest.raises(bg.exceptions.InvalidDataError, match="'x1' has no value at all"):
        bg.GaussianMixture(2).fit(X)
    X = faithful.to_numpy().copy()
    X[5, 1] = np.nan
    with pytest.raises(bg.exceptions.InvalidDataError, match="impute"):
        bg.build_model(X, 2)
    X[7, 0] = np.inf
    with pytest.raises(bg.exceptions.InvalidDataError, match="1 infinite"):
        bg.GaussianMixture(2).fit(X)
