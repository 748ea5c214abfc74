"""What is known of rows beside their values: labels, errors of measurement, rows that belong together."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import chi2, multivariate_normal
from sklearn.datasets import load_iris

import bayesgmm as bg
from bayesgmm import expectation as ex
from bayesgmm.bayes.log_posterior import LogPosterior, log_prior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.criticism import group_shapes, loo
from bayesgmm.exceptions import BayesGMMError, InvalidDataError, InvalidParameterError
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import draw_labels, occupied_components, similarity
from bayesgmm.partitions.doubt import row_summary
from bayesgmm.partitions.number_of_groups import mean_occupied
from bayesgmm.priors import Priors
from bayesgmm.rows import Chunk, Known, MemoryRows
from tests.conftest import random_mixture

FOUR = ["full", "tied", "diag", "spherical"]


# The E-step by covariance matrices


class Direct(NamedTuple):
    """What rows are under a mixture, row by row: responsibilities (N, K), log-densities (N,) and so on."""

    r: np.ndarray
    log_density: np.ndarray
    value: np.ndarray
    """Expectations (N, K, D) of the values behind the rows, and their covariances (N, K, D, D), given each component."""
    left: np.ndarray
    sets: np.ndarray
    weight: np.ndarray

    @property
    def total(self):
        counts = self.weight > 0
        return self.weight[counts] @ self.log_density[counts]


def error_covariances(known, N, D):
    if known.error_of is None:
        return np.zeros((N, D, D))
    return (known.error_tril @ known.error_tril.swapaxes(-1, -2))[known.error_of]


def direct(X, params, known, weight=None):
    (N, D), K = X.shape, params.n_components
    E = error_covariances(known, N, D)
    weight, sets = np.ones(N) if weight is None else weight, np.arange(N) if known.sets is None else known.sets
    own, value, left = np.zeros((N, K)), np.zeros((N, K, D)), np.zeros((N, K, D, D))
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        for k, (mu, S) in enumerate(zip(params.means, params.covariances, strict=True)):
            value[i, k], left[i, k] = mu, S
            if len(o):
                T = (S + E[i])[np.ix_(o, o)]
                own[i, k] = multivariate_normal(mu[o], T).logpdf(x[o])
                gain = np.linalg.solve(T, S[o]).T
                value[i, k], left[i, k] = mu + gain @ (x[o] - mu[o]), S - gain @ S[o]
    own += 0.0 if known.log_weights is None else known.log_weights
    r, log_density = np.zeros((N, K)), np.zeros(N)
    for s in np.unique(sets):
        members = np.flatnonzero(sets == s)
        times = weight[members] if len(members) > 1 else np.ones(1)
        joint = params.log_weights + times @ own[members]
        together = logsumexp(joint)
        r[members], log_density[members] = np.exp(joint - together), together / times.sum()
    return Direct(r, log_density, value, left, sets, weight)


def statistics_by_hand(found, params):
    """Counts of rows and of labels, and moments in coordinates whitened by each component."""
    whiten = np.linalg.inv(params.scale_tril)
    z = np.einsum("kde,ike->ikd", whiten, found.value - params.means)
    spread = whiten @ found.left @ whiten.swapaxes(-1, -2)
    w = found.r * found.weight[:, None]
    second = np.einsum("ik,ikd,ike->kde", w, z, z) + np.einsum("ik,ikde->kde", w, spread)
    shared = np.bincount(found.sets)[found.sets] > 1
    first_of_set = np.unique(found.sets, return_index=True)[1]
    labels = w[~shared].sum(0) + found.r[[i for i in first_of_set if shared[i]]].sum(0)
    return w.sum(0), np.einsum("ik,ikd->kd", w, z), second * (np.eye(z.shape[-1]) if params.is_diagonal else 1.0), labels


def steps(draw, shape, most=8, least=None, size=0.25):
    """An array of multiples of a quarter."""
    return size * draw(arrays(np.int64, shape, elements=st.integers(-most if least is None else least, most)))


@st.composite
def mixtures(draw, D, K):
    kind = draw(st.sampled_from(FOUR))
    sds = steps(draw, (K, D), 8, 2)
    factors = np.tril(steps(draw, (K, D, D), 4), -1) if kind in ("full", "tied") else np.zeros((K, D, D))
    if kind == "spherical":
        sds = np.repeat(sds[:, :1], D, axis=1)
    factors[:, np.arange(D), np.arange(D)] = sds
    weights = steps(draw, K, 20, 1)
    return MixtureParams(weights / weights.sum(), steps(draw, (K, D)), factors[[0] * K] if kind == "tied" else factors)


@st.composite
def known_of(draw, N, D, K, parts=("labels", "errors", "sets")):
    """What is known of rows, one thing or more, such that every set has a component."""
    chosen = draw(st.sets(st.sampled_from(parts), min_size=1))
    labels, errors, sets = (name in chosen for name in ("labels", "errors", "sets"))
    which = draw(arrays(np.int64, N, elements=st.integers(0, N - 1))) if sets else None
    plausible = steps(draw, (N, K), 4, 0) if labels else None
    if plausible is not None:
        if draw(st.booleans()):
            plausible = (plausible > 0).astype(float)
        for s in np.arange(N) if which is None else np.unique(which):
            of_set = [s] if which is None else np.flatnonzero(which == s)
            if not plausible[of_set].prod(0).any():
                plausible[of_set] = 1.0
    with np.errstate(divide="ignore"):
        log_weights = None if plausible is None else np.log(plausible / plausible.max(1, keepdims=True))
    n_errors = draw(st.integers(1, 3))
    return Known(
        log_weights,
        draw(arrays(np.int64, N, elements=st.integers(0, n_errors - 1))) if errors else None,
        np.tril(steps(draw, (n_errors, D, D))) if errors else None,
        which,
    )


@st.composite
def problems(draw, *parts):
    D, K, N = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 10))
    known = draw(known_of(N, D, K, *parts))
    X = steps(draw, (N, D), 20)
    X[draw(arrays(bool, (N, D), elements=st.booleans()))] = np.nan
    # Of what has no weight a set may be without one row that counts.
    least = 0 if known.sets is None else 1
    weight = draw(st.none() | arrays(np.int64, N, elements=st.integers(least, 3)).map(lambda w: w.astype(float)))
    return draw(mixtures(D, K)), X, known, weight


@settings(max_examples=100, deadline=None)
@given(problem=problems())
def test_statistics_equal_those_of_covariance_matrices(problem):
    params, X, known, weight = problem
    expected = direct(X, params, known, weight)
    counts, first, second, labels = statistics_by_hand(expected, params)
    rows = MemoryRows(X, weight, known=known)
    for these in (rows, rows.distinct()):
        got = ex.expectation(these, *params.arrays(), diagonal=params.is_diagonal)
        assert got.log_likelihood == pytest.approx(expected.total, rel=1e-12, abs=1e-10)
        np.testing.assert_allclose(got.counts, counts, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(got.labels, labels, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(got.first, first, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(got.second, second, rtol=1e-9, atol=1e-9)
    r, log_density = ex.evaluate(rows.chunk, *params.arrays(), diagonal=params.is_diagonal, responsibilities=True)
    np.testing.assert_allclose(log_density, expected.log_density, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(r, expected.r, atol=1e-10)
    batch = MixtureParams(*(np.stack([part, part]) for part in (params.weights, params.means, params.scale_tril)))
    np.testing.assert_allclose(ex.responsibility_draws(rows.chunk, *batch.arrays(), diagonal=params.is_diagonal)[1], r, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(problem=problems(), seed=st.integers(0, 99))
def test_rows_in_another_order_are_the_same_rows(problem, seed):
    params, X, known, weight = problem
    order = np.random.default_rng(seed).permutation(len(X))
    rows = MemoryRows(X, weight, known=known)
    one, other = (ex.expectation(these, *params.arrays(), diagonal=params.is_diagonal) for these in (rows, rows.take(order)))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    r, log_density = ex.evaluate(rows.chunk, *params.arrays(), responsibilities=True)
    again = ex.evaluate(rows.take(order).chunk, *params.arrays(), responsibilities=True)
    np.testing.assert_allclose(again[0], r[order], atol=1e-12)
    np.testing.assert_allclose(again[1], log_density[order], rtol=1e-12, atol=1e-12)


def test_sets_whose_rows_are_in_different_pieces(rng):
    """Many rows go through the kernel in pieces, and a set is in all of them."""
    N, params = 10_000, random_mixture(np.random.default_rng(1), 3, 2)
    sets, X = rng.integers(0, N // 3, N), 2 * rng.normal(size=(N, 2))
    own = np.column_stack([multivariate_normal(m, S).logpdf(X) for m, S in zip(params.means, params.covariances, strict=True)])
    _, sets = np.unique(sets, return_inverse=True)
    joint = params.log_weights + np.stack([np.bincount(sets, column) for column in own.T], axis=1)
    together, n_rows = logsumexp(joint, axis=1), np.bincount(sets)
    rows = MemoryRows(X, known=Known(sets=sets))
    r, log_density = ex.evaluate(rows.chunk, *params.arrays(), responsibilities=True)
    np.testing.assert_allclose(log_density, (together / n_rows)[sets], rtol=1e-10)
    np.testing.assert_allclose(r, np.exp(joint - together[:, None])[sets], atol=1e-10)
    got = ex.expectation(rows, *params.arrays())
    assert got.log_likelihood == pytest.approx(together.sum(), rel=1e-12)
    np.testing.assert_allclose(got.labels, np.exp(joint - together[:, None]).sum(0), rtol=1e-10)
    np.testing.assert_allclose(got.counts, r.sum(0), rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(problem=problems(("labels", "errors")))
def test_the_tail_is_that_of_the_nearest_component_that_a_row_may_be_of(problem):
    params, X, known, _ = problem
    E = error_covariances(known, *X.shape)
    tails = []
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        may_be = range(params.n_components) if known.log_weights is None else np.flatnonzero(np.isfinite(known.log_weights[i]))
        away = [
            (x[o] - params.means[k, o]) @ np.linalg.solve((params.covariances[k] + E[i])[np.ix_(o, o)], x[o] - params.means[k, o])
            for k in may_be
        ]
        tails.append(chi2.sf(min(away), len(o)) if len(o) else 1.0)
    said = row_summary(params, Chunk(X, known=known), pd.RangeIndex(len(X), name="obs"), 0.9)
    np.testing.assert_allclose(said.tail_probability, tails, rtol=1e-8, atol=1e-12)
