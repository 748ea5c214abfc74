"""The compiled pass over rows with gaps against independent routes: SciPy, covariance matrices, complete rows."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp
from scipy.stats import chi2

import bayesgmm as bg
from bayesgmm import expectation as ex
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.frame import total_moments
from bayesgmm.kernels.estep import statistics
from bayesgmm.kernels.missing import gapped_statistics
from bayesgmm.kernels.threads import on_this_thread
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.priors.axes import invariant_frame
from bayesgmm.rows import Chunk, MemoryRows
from bayesgmm.rows.missing import order_by_gaps
from tests.conftest import random_mixture

KINDS = st.sampled_from(["full", "tied", "diag", "spherical"])


@st.composite
def tables(draw):
    """A mixture and rows whose patterns of gaps are few or many, large or small, sorted or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    D, K, N = draw(st.integers(1, 9)), draw(st.integers(1, 3)), draw(st.sampled_from([1, 5, 40, 300]))
    params = random_mixture(rng, K, D, covariance_type=draw(KINDS))
    X = params.sample(N, rng)[0]
    patterns = rng.random((draw(st.sampled_from([1, 2, 7, 300])), D)) < rng.random() ** draw(st.integers(0, 3))
    which = rng.integers(len(patterns), size=N)
    X[patterns[np.sort(which) if draw(st.booleans()) else which]] = np.nan
    return params, X, rng


def of_rows(X, params):
    """Log-density, and each component's log joint density, conditional mean and covariance, row by row from covariance matrices."""
    (N, D), K = X.shape, params.n_components
    joint, means, left = np.empty((N, K)), np.tile(params.means, (N, 1, 1)), np.zeros((N, K, D, D))
    for i, x in enumerate(X):
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        for k, (mu, S) in enumerate(zip(params.means, params.covariances, strict=True)):
            joint[i, k] = params.log_weights[k]
            left[i, k][np.ix_(m, m)] = S[np.ix_(m, m)]
            if len(o):
                joint[i, k] += stats.multivariate_normal(mu[o], S[np.ix_(o, o)]).logpdf(x[o])
                across = np.linalg.solve(S[np.ix_(o, o)], S[np.ix_(o, m)])
                means[i, k, o], means[i, k, m] = x[o], mu[m] + (x[o] - mu[o]) @ across
                left[i, k][np.ix_(m, m)] -= S[np.ix_(m, o)] @ across
    return logsumexp(joint, axis=1), joint, means, left


@settings(max_examples=60, deadline=None)
@given(tables())
def test_all_that_is_said_of_rows_is_that_of_marginal_and_conditional_densities(table):
    params, X, rng = table
    weight = rng.uniform(0.5, 2.0, len(X))
    log_density, joint, means, left = of_rows(X, params)
    r = np.exp(joint - log_density[:, None])
    found = ex.expectation(MemoryRows(X, weight), *params.arrays(), diagonal=params.is_diagonal)
    inverse = np.linalg.inv(params.scale_tril)
    z = np.einsum("kde,ike->ikd", inverse, means - params.means)
    rw = weight[:, None] * r
    second = np.einsum("ik,ikd,ike->kde", rw, z, z) + np.einsum("ik,kde,ikef,kgf->kdg", rw, inverse, left, inverse, optimize=True)
    if params.is_diagonal:
        second *= np.eye(X.shape[1])
    wanted = weight @ log_density, rw.sum(0), np.einsum("ik,ikd->kd", rw, z), second
    for one, other in zip(found[: len(wanted)], wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(other).max()))
    table, density = ex.evaluate(Chunk(X), *params.arrays(), diagonal=params.is_diagonal, joint=True)
    np.testing.assert_allclose(table, joint, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(density, log_density, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(params.responsibilities(X), r, atol=1e-10)
    np.testing.assert_allclose(ex.filled(Chunk(X), *params.arrays()), np.einsum("ik,ikd->id", r, means), rtol=1e-10, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(tables())
def test_a_rows_distance_to_its_nearest_component_is_that_of_what_it_has(table):
    params, X, _ = table
    found = ex.predictions(Chunk(X), *params.reshape(1).arrays(), prob=0.9, diagonal=params.is_diagonal)
    tail = np.ones(len(X))
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        if len(o):
            off = x[o] - params.means[:, o]
            inner = params.covariances[:, o[:, None], o]
            tail[i] = chi2.sf(np.einsum("ki,kij,kj->k", off, np.linalg.inv(inner), off).min(), len(o))
    np.testing.assert_allclose(found.tail.value, tail, rtol=1e-8, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(tables(), st.sampled_from(["full", "diag"]))
def test_the_gradient_of_the_posterior_is_its_slope(table, kind):
    _, X, rng = table
    X = np.concatenate([X, rng.normal(size=(30, X.shape[1]))])  # so that there is a prior
    fam = family(kind)
    density = LogPosterior(X, Space(Priors().resolve(MemoryRows(X), 2, fam), fam))
    q, step = 0.3 * rng.normal(size=density.space.n_dim), 1e-5
    value, gradient = density(q)
    direction = rng.normal(size=len(q))
    ahead, behind, farther, further = (density(q + s * step * direction)[0] for s in (1, -1, 2, -2))
    slope = (8 * (ahead - behind) - (farther - further)) / (12 * step)
    assert slope == pytest.approx(gradient @ direction, rel=1e-5, abs=1e-5 * (1 + abs(value)))


@settings(max_examples=25, deadline=None)
@given(tables())
def test_rows_say_the_same_in_any_order_and_with_any_company(table):
    params, X, rng = table
    mixture = params.arrays()
    whole = ex.expectation(MemoryRows(X), *mixture, diagonal=params.is_diagonal)
    for order in (rng.permutation(len(X)), order_by_gaps(X, max(1, len(X) // 3))):
        np.testing.assert_array_equal(np.sort(order), np.arange(len(X)))
        for one, other in zip(ex.expectation(MemoryRows(X[order]), *mixture, diagonal=params.is_diagonal), whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(other).max()))
    np.testing.assert_allclose(
        params.log_density(X), np.concatenate([params.log_density(x[None]) for x in X]), rtol=1e-11, atol=1e-11
    )


def test_complete_rows_go_through_the_pass_as_if_it_knew_no_gaps(rng):
    params = random_mixture(rng, 3, 6)
    X = params.sample(700, rng)[0]
    arguments = X, np.empty(0), *params.arrays(), False
    for one, other in zip(gapped_statistics(*arguments), statistics(*arguments), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def test_the_order_puts_equal_gaps_together(rng):
    X = rng.normal(size=(500, 4))
    X[rng.random(X.shape) < 0.4] = np.nan
    gone = np.isnan(X[order_by_gaps(X, 500)])
    changes = (gone[1:] != gone[:-1]).any(1).sum()
    assert changes == len(np.unique(gone, axis=0)) - 1
    assert not gone[0].any()


def exactly(x, factor):
    """Log-density of what is there of a row about zero, by elimination in fractions: without rounding up to the logarithm."""
    o = np.flatnonzero(~np.isnan(x))
    rows = [[Fraction(float(v)) for v in factor[i]] for i in o]
    table = [
        [*(sum(a * b for a, b in zip(r, s, strict=True)) for s in rows), Fraction(float(x[i]))]
        for r, i in zip(rows, o, strict=True)
    ]
    log_density = -0.5 * len(o) * math.log(2 * math.pi)
    for i, pivot in enumerate(table):
        log_density -= float(pivot[-1] ** 2 / pivot[i]) / 2 + (math.log(pivot[i].numerator) - math.log(pivot[i].denominator)) / 2
        for other in table[i + 1 :]:
            share = other[i] / pivot[i]
            other[:] = [a - share * b for a, b in zip(other, pivot, strict=True)]
    return log_density


@pytest.mark.parametrize("small", [1e-3, 1e-5])
def test_nearly_collinear_columns_keep_their_digits(small, rng):
    """Both of two columns that hardly differ are missing, or one of them: rounding takes no more of these rows than of complete ones."""
    L = np.diag([1.0, small, 1.0, small]) + np.tril(0.5 * rng.normal(size=(4, 4)), -1)
    X = rng.normal(size=(80, 4)) @ L.T
    for i, gone in enumerate(([0], [1], [0, 1], [2, 3], [0, 3], [0, 1, 3], [0, 2, 3])):
        X[i::8, gone] = np.nan
    found = MixtureParams(np.ones(1), np.zeros((1, 4)), L[None]).log_density(X)
    off = np.abs(found - [exactly(x, L) for x in X])
    complete = off[7::8]
    assert complete.max() < 1e-15 / small**2.5
    assert np.delete(off, np.s_[7::8]).max() < max(complete.max(), 1e-12)


def test_units_change_nothing_but_the_density(rng):
    """Units so unlike that their squares are no numbers any more."""
    params = random_mixture(rng, 2, 5)
    X = params.sample(100, rng)[0]
    X[rng.random(X.shape) < 0.4] = np.nan
    units = np.array([1e-150, 1.0, 1e150, 1e-100, 1e100])
    other = MixtureParams(params.weights, params.means * units, params.scale_tril * units[:, None])
    gone = (np.isnan(X) * np.log(units)).sum(1) - np.log(units).sum()
    np.testing.assert_allclose(other.log_density(X * units), params.log_density(X) + gone, rtol=1e-12, atol=1e-10)
    one, same = (ex.expectation(MemoryRows(Y), *p.arrays()) for Y, p in ((X, params), (X * units, other)))
    for a, b in zip(one[1:], same[1:], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_fits_give_the_same_bits_for_any_number_of_threads(kind, rng):
    X = random_mixture(rng, 3, 5).sample(9000, rng)[0]
    X[rng.random(X.shape) < 0.1] = np.nan

    def fitted():
        return bg.GaussianMixture(3, covariance_type=kind, random_state=0, n_init=1, max_iter=30, tol=1e-3).fit(X)

    one = fitted()
    with on_this_thread():
        other = fitted()
    np.testing.assert_array_equal(one.means_, other.means_)
    np.testing.assert_array_equal(one.covariances_, other.covariances_)


def test_imputed_draws_have_the_conditional_distribution(rng):
    params = random_mixture(rng, 2, 4)
    X = params.sample(3, rng)[0]
    X[0, 1], X[1, [0, 2, 3]], X[2] = np.nan, np.nan, np.nan
    log_density, joint, means, left = of_rows(X, params)
    r = np.exp(joint - log_density[:, None])
    draws = ex.filled(Chunk(np.repeat(X, 40_000, axis=0)), *params.arrays(), np.random.default_rng(1)).reshape(3, 40_000, 4)
    mean = np.einsum("ik,ikd->id", r, means)
    off = means - mean[:, None]
    covariance = np.einsum("ik,ikde->ide", r, left) + np.einsum("ik,ikd,ike->ide", r, off, off)
    for i in range(3):
        sd = np.sqrt(np.diag(covariance[i]))
        np.testing.assert_allclose(draws[i].mean(0), mean[i], atol=5 * sd.max() / 200)
        np.testing.assert_allclose(np.cov(draws[i].T), covariance[i], atol=8 * sd.max() ** 2 / 200)
        np.testing.assert_array_equal(draws[i][:, ~np.isnan(X[i])], np.tile(X[i][~np.isnan(X[i])], (40_000, 1)))


def test_axes_of_rows_with_gaps_are_those_of_what_is_expected_of_them(rng):
    """Row by row: what one normal distribution expects of a row's square, whitened and divided by its length."""
    X = random_mixture(rng, 2, 3).sample(120, rng)[0]
    X[rng.random(X.shape) < 0.2] = np.nan
    X = X[~np.isnan(X).all(1)]
    frame = invariant_frame(MemoryRows(X))
    mean, covariance = total_moments(MemoryRows(X))
    one = MixtureParams.from_covariances(np.ones(1), mean[None], covariance[None])
    _, _, means, left = of_rows(X, one)
    whole = left[:, 0] + np.einsum("id,ie->ide", means[:, 0] - mean, means[:, 0] - mean)
    squares = np.einsum("ide,ed->i", whole, np.linalg.inv(covariance))
    second = (whole / squares[:, None, None]).sum(0)
    inside = np.linalg.solve(frame.factor, np.linalg.solve(frame.factor, second).T)
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-6 * np.abs(inside).max())
    assert (np.diff(np.diag(inside)) < 0).all()
