"""The kernel against SciPy, finite differences, and the properties an E-step has."""

import time
from functools import cache
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from bayesgmm import expectation as ex
from bayesgmm.kernels import threads as _threads
from bayesgmm.kernels.exp import exp_nonpositive, log_normal
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, MemoryRows
from tests.conftest import random_mixture, scipy_log_joint, scipy_log_likelihood


def arrays(params):
    return params.log_weights, params.means, params.scale_tril


def weighted_moments(X, params, r):
    """Counts, means about each component and scatters in its whitened coordinates, by plain NumPy."""
    z = np.stack([np.linalg.solve(L, (X - m).T).T for m, L in zip(params.means, params.scale_tril, strict=True)], axis=1)
    return r.sum(0), np.einsum("ik,ikd->kd", r, z), np.einsum("ik,ikd,ike->kde", r, z, z)


def test_exponential_is_good_to_a_few_units_in_the_last_place(rng):
    x = -np.concatenate([rng.uniform(0, 1, 2000), rng.uniform(0, 700, 2000), [0.0, 1e-300, 1e-17]])
    ours = np.array([exp_nonpositive(v) for v in x])
    np.testing.assert_allclose(ours, np.exp(x), rtol=1e-15)
    assert exp_nonpositive(0.0) == 1.0
    assert 0 <= exp_nonpositive(-np.inf) < 1e-300


def test_logarithm_is_good_to_a_few_units_in_the_last_place(rng):
    x = np.concatenate([rng.uniform(0.5, 2, 2000), np.exp(rng.uniform(-700, 700, 2000)), [1.0, 2.0, 1 + 2**-52, 1 - 2**-53]])
    ours = np.array([log_normal(v) for v in x])
    np.testing.assert_allclose(ours, np.log(x), rtol=1e-15, atol=2e-16)
    assert log_normal(1.0) == 0.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 150),
    K=st.integers(1, 5),
    D=st.integers(1, 5),
    kind=st.sampled_from(["full", "tied", "diag", "spherical"]),
)
def test_statistics_equal_scipy(seed, N, K, D, kind):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, K, D, covariance_type=kind)
    X = 3 * rng.normal(size=(N, D))
    weight = rng.integers(0, 3, size=N).astype(float)
    joint = scipy_log_joint(X, params)
    log_density = logsumexp(joint, axis=1)
    r = np.exp(joint - log_density[:, None]) * weight[:, None]
    stats = ex.expectation(MemoryRows(X, weight), *arrays(params), diagonal=params.is_diagonal)
    counts, first, second = weighted_moments(X, params, r)
    if params.is_diagonal:
        second = second * np.eye(D)
    np.testing.assert_allclose(stats.log_likelihood, weight @ log_density, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(stats.counts, counts, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(stats.first, first, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(stats.second, second, rtol=1e-9, atol=1e-10)


def test_rows_equal_scipy(rng):
    params = random_mixture(rng, 4, 3)
    X = 3 * rng.normal(size=(200, 3))
    joint = scipy_log_joint(X, params)
    table, log_density = ex.evaluate(Chunk(X), *arrays(params), joint=True)
    np.testing.assert_allclose(table, joint, rtol=1e-12)
    np.testing.assert_allclose(log_density, logsumexp(joint, axis=1), rtol=1e-12)
    r, _ = ex.evaluate(Chunk(X), *arrays(params), responsibilities=True)
    np.testing.assert_allclose(r, np.exp(joint - log_density[:, None]), atol=1e-14)
    assert ex.evaluate(Chunk(X), *arrays(params))[0].shape == (0, 4)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_score_is_the_slope_of_the_log_likelihood(rng, kind):
    params = random_mixture(rng, 3, 3, covariance_type=kind)
    X = 2 * rng.normal(size=(40, 3))
    stats = ex.expectation(MemoryRows(X), *arrays(params), diagonal=params.is_diagonal)
    slope = ex.score(stats, np.linalg.inv(params.scale_tril))
    step = 1e-6
    for index in [(0, 0), (1, 2), (2, 1)]:
        shift = np.zeros_like(params.means)
        shift[index] = step
        up, down = (
            scipy_log_likelihood(X, MixtureParams(params.weights, params.means + s * shift, params.scale_tril)) for s in (1, -1)
        )
        assert slope.means[index] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-5)
    free = [(0, 0, 0), (2, 1, 1)] if kind == "diag" else [(0, 0, 0), (1, 2, 0), (2, 2, 1)]
    for index in free:
        shift = np.zeros_like(params.scale_tril)
        shift[index] = step
        up, down = (
            scipy_log_likelihood(X, MixtureParams(params.weights, params.means, params.scale_tril + s * shift)) for s in (1, -1)
        )
        assert slope.scale_tril[index] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-5)


def test_diagonal_means_that_nothing_off_the_diagonal_counts(rng):
    params = random_mixture(rng, 3, 3)
    X = rng.normal(size=(50, 3))
    only = params.scale_tril * np.eye(3)
    whole, part = (
        ex.expectation(MemoryRows(X), params.log_weights, params.means, factors, diagonal=True)
        for factors in (params.scale_tril.copy(), only)
    )
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a, b)


def test_score_vanishes_where_em_stands_still(faithful, em_faithful):
    """The one test that ties both halves of the package together: EM's fixed point is a zero of NUTS's gradient."""
    X = faithful.to_numpy()
    params = em_faithful.params_
    slope = ex.score(ex.expectation(MemoryRows(X), *arrays(params)), np.linalg.inv(params.scale_tril))
    sd = X.std(0)
    # Slopes in standardised units, against the information in 272 rows, which is of the order of 272.
    assert np.abs(slope.means * sd).max() < 0.02
    assert np.abs(slope.scale_tril * sd[:, None]).max() < 0.02
    np.testing.assert_allclose(slope.log_weights / len(X), params.weights, atol=1e-5)


def test_chunks_add_up_and_threads_change_no_bit(rng, monkeypatch):
    params = random_mixture(rng, 3, 2)
    X = rng.normal(size=(3 * 4096 + 17, 2))
    monkeypatch.setattr(_threads, "_executor", cache(_threads._executor.__wrapped__))
    monkeypatch.setenv("BAYESGMM_NUM_THREADS", "1")
    one = ex.expectation(MemoryRows(X), *arrays(params))
    monkeypatch.setenv("BAYESGMM_NUM_THREADS", "3")
    three = ex.expectation(MemoryRows(X), *arrays(params))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)
    parts = [ex.expectation(MemoryRows(np.ascontiguousarray(p)), *arrays(params)) for p in np.array_split(X, 7)]
    np.testing.assert_allclose(sum(p.second for p in parts), one.second, rtol=1e-12)


def test_far_points_and_empty_components_never_give_nan(rng):
    params = random_mixture(rng, 3, 2)
    weights = np.array([0.5, 0.5, 0.0])
    X = np.array([[1e8, 1e8], [-1e300, 1e300], [0.0, 0.0], [5e-324, -5e-324]])
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    r, log_density = ex.evaluate(Chunk(X), log_weights, params.means, params.scale_tril, responsibilities=True)
    np.testing.assert_allclose(r.sum(1), 1.0)
    assert np.isfinite(log_density[[0, 2, 3]]).all()
    assert log_density[1] == -np.inf
    assert (r[[0, 2, 3], 2] < 1e-300).all()


def test_a_row_of_density_zero_makes_the_log_likelihood_minus_infinity_and_no_sum_nan(rng):
    params = random_mixture(rng, 3, 2)
    X = np.vstack([rng.normal(size=(40, 2)), [[-1e300, 1e300]]])
    stats = ex.expectation(MemoryRows(X), *arrays(params))
    assert stats.log_likelihood == -np.inf
    assert stats.counts.sum() == pytest.approx(41)
    without = ex.expectation(MemoryRows(X, np.r_[np.ones(40), 0.0]), *arrays(params))
    np.testing.assert_allclose(without.log_likelihood, scipy_log_likelihood(X[:40], params), rtol=1e-12)


@pytest.mark.parametrize("far", [1e4, 1e8, 1e12])
def test_points_a_hundred_million_sds_away_have_finite_densities(far):
    params = MixtureParams([0.5, 0.5], [[0.0, 0.0], [3.0, 0.0]], np.stack([np.eye(2)] * 2))
    X = np.array([[far, 0.0], [0.0, -far], [far, far]])
    r, log_density = ex.evaluate(Chunk(X), *arrays(params), responsibilities=True)
    assert np.isfinite(log_density).all()
    np.testing.assert_allclose(r.sum(1), 1.0, rtol=1e-15)
    assert r[0, 1] == 1.0  # the nearer of the two, by far


def test_many_equal_components_share_a_row(rng):
    """The sums behind eight rows' logarithm reach K^8 here."""
    K = 3000
    params = MixtureParams(np.full(K, 1 / K), np.zeros((K, 1)), np.ones((K, 1, 1)))
    X = rng.normal(size=(70, 1))
    stats = ex.expectation(MemoryRows(X), *arrays(params))
    np.testing.assert_allclose(stats.log_likelihood, -0.5 * np.sum(X**2 + np.log(2 * np.pi)), rtol=1e-12)
    np.testing.assert_allclose(stats.counts, 70 / K, rtol=1e-12)


@pytest.mark.parametrize("N", [1, 2])
def test_more_components_than_rows(rng, N):
    params = random_mixture(rng, 5, 3)
    X = rng.normal(size=(N, 3))
    stats = ex.expectation(MemoryRows(X), *arrays(params))
    np.testing.assert_allclose(stats.log_likelihood, scipy_log_likelihood(X, params), rtol=1e-12)
    assert stats.counts.sum() == pytest.approx(N)
    assert all(np.isfinite(part).all() for part in stats)


def test_any_array_of_numbers_will_do(rng):
    params = random_mixture(rng, 3, 3)
    X = rng.integers(-3, 4, size=(50, 3)).astype(float)
    expected = params.responsibilities(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    strided = np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]
    others = [read_only, strided, np.asfortranarray(X), X[::-1][::-1], X.astype(np.float32), X.astype(np.int64), X.tolist()]
    for other in others:
        np.testing.assert_array_equal(params.responsibilities(other), expected)
        np.testing.assert_allclose(
            ex.expectation(MemoryRows(np.ascontiguousarray(other, float)), *arrays(params)).counts, expected.sum(0)
        )
    draws, large = (array[None] for array in arrays(params)), np.tile(read_only, (100, 1))
    large.flags.writeable = False  # of several chunks
    np.testing.assert_array_equal(ex.responsibility_draws(Chunk(read_only), *draws)[0], expected)
    np.testing.assert_allclose(ex.expectation(MemoryRows(large), *arrays(params)).counts, 100 * expected.sum(0))
    ones = np.ones(len(large))
    ones.flags.writeable = False
    weighted = ex.expectation(MemoryRows(large, ones), *arrays(params))
    np.testing.assert_allclose(weighted.counts, 100 * expected.sum(0))


def test_libraries_get_their_threads_back_when_the_last_fit_ends():
    pools = _threads._threadpools()

    def threads():
        return [lib["num_threads"] for lib in pools.info()]

    with pools.limit(limits=2):
        before = threads()
        first, second = _threads.libraries_on_one_thread(), _threads.libraries_on_one_thread()
        first.__enter__()
        second.__enter__()
        assert set(threads()) == {1}
        first.__exit__(None, None, None)  # not the one that was entered last
        assert set(threads()) == {1}
        second.__exit__(None, None, None)
        assert threads() == before


def test_tasks_that_take_turns_meet_only_in_compiled_code(monkeypatch):
    monkeypatch.setenv("BAYESGMM_NUM_THREADS", "3")
    monkeypatch.setattr(_threads, "_executor", cache(_threads._executor.__wrapped__))
    both_inside = Barrier(2)  # passed only if two tasks are in compiled code at the same time
    at_work, most = 0, 0

    def task(start, stop):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.002)
        at_work -= 1
        with _threads.beside_others():
            both_inside.wait(timeout=30)
        assert list(_threads.map_in_turns(lambda a, b: a, [(7, 8), (9, 10)])) == [7, 9]  # a task's own tasks do not wait for it
        return start

    assert list(_threads.map_in_turns(task, _threads.chunks(6, 1))) == list(range(6))
    assert most == 1
    with pytest.raises(ZeroDivisionError):
        list(_threads.map_in_turns(lambda a, b: 1 / 0, _threads.chunks(2, 1)))
    assert list(_threads.map_in_turns(lambda a, b: b, _threads.chunks(3, 1))) == [1, 2, 3]  # a failure gives its turn back


def test_draw_streams_equal_one_draw_at_a_time(rng):
    params = random_mixture(rng, 3, 2, batch=(50,))
    X = 2 * rng.normal(size=(1500, 2))
    each = np.stack([params[t].responsibilities(X) for t in range(50)])
    densities = np.stack([params[t].log_density(X) for t in range(50)])
    moments = ex.responsibility_moments(Chunk(X), *arrays(params))
    np.testing.assert_allclose(moments.mean, each.mean(0), atol=1e-13)
    np.testing.assert_allclose(moments.sd, each.std(0), atol=1e-7)
    np.testing.assert_allclose(moments.log_density, logsumexp(densities, axis=0) - np.log(50), rtol=1e-12)
    np.testing.assert_allclose(moments.draw_log_likelihood, densities.sum(1), rtol=1e-12)
    entropy = -np.where(each > 0, each * np.log(np.maximum(each, 1e-300)), 0).sum(-1)
    np.testing.assert_allclose(moments.entropy, entropy.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.draw_entropy, entropy.mean(1), atol=1e-12)
    reference = rng.random((1500, 4))
    np.testing.assert_allclose(ex.cross_sums(Chunk(X), *arrays(params), reference), np.einsum("tij,im->tjm", each, reference))


def test_responsibilities_equal_enumeration_of_all_allocations(rng):
    """Four rows and two groups: 16 allocations, each with its joint density, marginalised by hand."""
    params = random_mixture(rng, 2, 2)
    X = rng.normal(size=(4, 2))
    joint = scipy_log_joint(X, params)
    allocations = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T
    log_p = np.array([joint[np.arange(4), z].sum() for z in allocations])
    p = np.exp(log_p - logsumexp(log_p))
    marginal = np.stack([[(p * (allocations[:, i] == k)).sum() for k in (0, 1)] for i in range(4)])
    np.testing.assert_allclose(params.responsibilities(X), marginal, atol=1e-12)
    assert ex.expectation(MemoryRows(X), *arrays(params)).log_likelihood == pytest.approx(logsumexp(log_p), rel=1e-12)
