"""Tables and settings that broke something once: nothing may break, and nothing may be told that is not so."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.covariance import family, names
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import expectation
from bayesgmm.kernels import threads
from bayesgmm.rows import MemoryRows
from benchmarks.awkward import case, result_of


def expected_log_likelihood(covariances, scatter, counts):
    """Return what an M-step maximises, by eigenvalues: few digits are lost where columns are in unlike units."""
    inverse = np.linalg.inv(np.linalg.cholesky(covariances))
    log_det = -2.0 * np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum(1)
    trace = np.einsum("kij,kjl,kil->k", inverse, scatter, inverse)
    return -0.5 * float(counts @ log_det + trace.sum())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(names()),
    K=st.integers(1, 4),
    D=st.integers(1, 5),
    far=st.integers(0, 15),
    flat=st.integers(0, 3),
)
def test_an_m_step_is_never_worse_than_the_one_before(seed, name, K, D, far, flat):
    """Whatever the units of the columns, and where components have no spread at all in some."""
    rng, fam = np.random.default_rng(seed), family(name)
    far = 0 if fam.invariance == "scale" and not fam.diagonal else far  # doubles hold no more in one matrix
    units = 10.0 ** rng.integers(0, far + 1, D)
    counts = rng.uniform(1.0, 20.0, K)
    covariances, before = None, -np.inf
    for _ in range(4):
        rows = rng.normal(size=(K, 12, D)) * units
        for _ in range(flat):
            rows[rng.integers(K), :, rng.integers(D)] = 0.0
        scatter = np.einsum("kni,knj->kij", rows, rows) * (counts / 12)[:, None, None]
        if covariances is not None:
            before = expected_log_likelihood(covariances, scatter, counts)
        covariances = fam.update(scatter, counts, covariances, 1.0)
        after = expected_log_likelihood(covariances, scatter, counts)
        assert after >= before - 1e-7 * (abs(before) + counts.sum())


@pytest.mark.parametrize("name", ["full", "diag", "VVE", "EEV", "VEI"])
def test_equal_weights_hold_from_the_start(name, rng):
    X = np.where(rng.random((60, 2)) < 0.4, 0.0, rng.gamma(2.0, size=(60, 2)))
    X[:, 0] += 0.01 * rng.normal(size=60)
    X[:, 1] += 0.01 * rng.normal(size=60)
    em = bg.GaussianMixture(3, covariance_type=name, equal_weights=True, random_state=1).fit(X)
    np.testing.assert_allclose(em.weights_, 1 / 3)
    assert em.n_iter_ > 3
    assert (np.diff(em.log_likelihood_trace_) >= -1e-8 * np.abs(em.log_likelihood_)).all()


def test_precisions_of_a_covariance_without_an_inverse_to_rounding(rng):
    em = bg.GaussianMixture(1).fit(rng.normal(size=(9, 2)))
    em.params_ = replace(em.params_, scale_tril=np.array([[[1e3, 0.0], [1e3, 1e-9]]]))
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.inv(em.covariances_)
    root = em.precisions_cholesky_
    np.testing.assert_allclose(em.precisions_, root @ np.swapaxes(root, -1, -2))
    assert np.isfinite(em.precisions_).all()


@pytest.mark.parametrize("seed", [152, 1051, 4497, 1211, 1742, 4410, 4563, 6149, 6303, 6342, 6816])
def test_what_broke_once(seed):
    """Seeds of ``benchmarks/awkward.py``, which says what is asked of them."""
    assert result_of(seed).wrong == []


@pytest.mark.parametrize("seed", [1584, 2374])
def test_units_too_unlike_for_families_that_turn_their_axes_are_refused(seed):
    given = case(seed)
    with pytest.raises(InvalidDataError, match="divide each column by its standard deviation"):
        bg.GaussianMixture(**given.settings).fit(given.X, sample_weight=given.weight)
    scaled = given.X / np.nanstd(given.X, axis=0)
    assert bg.GaussianMixture(**given.settings).fit(scaled, sample_weight=given.weight).status_ != "max_iter"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    D=st.integers(1, 6),
    K=st.integers(1, 4),
    N=st.integers(1, 40),
    diagonal=st.booleans(),
    weighted=st.booleans(),
)
def test_the_e_step_on_gaps_is_the_definition(seed, D, K, N, diagonal, weighted):
    """Against conditional moments of the normal distribution, from covariance matrices, row by row."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D))
    X[rng.random((N, D)) < 0.4] = np.nan
    X[0, 0] = np.nan
    weight = rng.integers(1, 4, N).astype(float)
    log_weights, means = np.log(rng.dirichlet(np.ones(K))), rng.normal(size=(K, D))
    factors = np.tril(rng.normal(size=(K, D, D)), -1 if not diagonal else -D) + np.stack(
        [np.diag(rng.uniform(0.3, 2, D)) for _ in range(K)]
    )
    found = expectation(MemoryRows(X, weight if weighted else None), log_weights, means, factors, diagonal=diagonal)
    total, counts, first, second = 0.0, np.zeros(K), np.zeros((K, D)), np.zeros((K, D, D))
    for x, w in zip(X, weight if weighted else np.ones(N), strict=True):
        seen = ~np.isnan(x)
        logs, filled, left = log_weights.copy(), np.tile(np.where(seen, x, 0.0), (K, 1)), np.zeros((K, D, D))
        for k in range(K):
            S = factors[k] @ factors[k].T
            inner, off = S[np.ix_(seen, seen)], x[seen] - means[k, seen]
            logs[k] -= 0.5 * (np.linalg.slogdet(2 * np.pi * inner)[1] + off @ np.linalg.solve(inner, off))
            across = np.linalg.solve(inner, S[np.ix_(seen, ~seen)])
            filled[k, ~seen] = means[k, ~seen] + off @ across
            left[k][np.ix_(~seen, ~seen)] = S[np.ix_(~seen, ~seen)] - S[np.ix_(~seen, seen)] @ across
        r = w * np.exp(logs - np.logaddexp.reduce(logs))
        total += w * np.logaddexp.reduce(logs)
        for k in range(K):
            inverse = np.linalg.inv(factors[k])
            z = inverse @ (filled[k] - means[k])
            counts[k] += r[k]
            first[k] += r[k] * z
            second[k] += r[k] * (np.outer(z, z) + inverse @ left[k] @ inverse.T)
    expected = (total, counts, first, second * np.eye(D) if diagonal else second)
    for one, other in zip(found[:4], expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)


def test_rows_with_gaps_are_summed_in_pieces(rng, monkeypatch):
    X = rng.normal(size=(60, 3))
    X[rng.random((60, 3)) < 0.3] = np.nan
    mixture = np.log([0.4, 0.6]), rng.normal(size=(2, 3)), np.stack([np.eye(3), 2.0 * np.eye(3)])
    weight = rng.integers(1, 4, 60).astype(float)
    whole = expectation(MemoryRows(X, weight), *mixture)
    monkeypatch.setattr("bayesgmm.expectation.estep.chunk_size", lambda _: 7)
    pieces = []
    run_shared = threads.run_shared
    monkeypatch.setattr("bayesgmm.expectation.estep.run_shared", lambda task, n: pieces.append(n) or run_shared(task, n))
    for one, other in zip(expectation(MemoryRows(X, weight), *mixture), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert pieces == [9]


def test_noise_starts_where_the_user_says(rng, monkeypatch):
    """Starts in dense places are for fits that look for their own."""
    X = np.vstack([rng.normal(size=(60, 2)), 6.0 + rng.normal(size=(60, 2)), rng.uniform(-9, 15, size=(10, 2))])

    def unwanted(*_):
        raise AssertionError("the user has given a start")

    monkeypatch.setattr("bayesgmm.em.fit.dense_rows", unwanted)
    em = bg.GaussianMixture(2, noise=True, means_init=[[6.0, 6.0], [0.0, 0.0]], random_state=1).fit(X)
    assert em.means_[0, 0] > em.means_[1, 0]
