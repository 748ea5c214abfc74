"""The last digits of a fit: EM stands still there, wherever zero is, and nothing worse is taken for it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesgmm import ConjugatePriors, GaussianMixture, Priors, open_rows
from bayesgmm.covariance import family
from bayesgmm.em import penalty_of, polish
from bayesgmm.em.degeneracy import smallest_sds
from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.polish import polished
from bayesgmm.em.run import run_em
from bayesgmm.frame import origin_near
from bayesgmm.rows import MemoryRows

FAR = 2.0**20
"""Numbers with few digits behind the point keep them all when this is added."""


def overlapping(n: int, seed: int, distance: float = 2.0) -> np.ndarray:
    """Two groups, in numbers that have 20 bits behind the point."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) + distance * np.array([[0.0, 0.0], [1.0, 0.0]])[rng.integers(2, size=n)]
    return np.round(X * FAR) / FAR


def textbook_step(X: np.ndarray, weights, means, covariances):
    """One iteration of EM as it stands in any textbook."""
    logs = np.stack(
        [np.log(w) + multivariate_normal(m, c).logpdf(X) for w, m, c in zip(weights, means, covariances, strict=True)], axis=1
    )
    r = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    n = r.sum(0)
    means = r.T @ X / n[:, None]
    off = X[:, None, :] - means
    return n / len(X), means, np.einsum("nk,nki,nkj->kij", r, off, off) / n[:, None, None]


@pytest.mark.parametrize("seed", range(4))
def test_a_textbook_iteration_moves_nothing(seed):
    X = overlapping(800, seed)
    fit = GaussianMixture(2, random_state=seed).fit(X)
    assert fit.n_iter_ > 50  # log-likelihoods alone leave such fits a thousandth of a standard deviation from where they go
    weights, means, covariances = textbook_step(X, fit.weights_, fit.means_, fit.covariances_)
    np.testing.assert_allclose(weights, fit.weights_, atol=2e-13)
    np.testing.assert_allclose(means, fit.means_, atol=2e-12)
    np.testing.assert_allclose(covariances, fit.covariances_, atol=2e-12)


def test_it_is_where_a_very_long_climb_would_have_ended():
    X = overlapping(300, 3, distance=2.5)
    fit = GaussianMixture(2, random_state=0).fit(X)
    at = fit.weights_, fit.means_ + 0.01, fit.covariances_
    for _ in range(4000):
        at = textbook_step(X, *at)
    for found, expected in zip((fit.weights_, fit.means_, fit.covariances_), at, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"])
def test_another_start_from_there_stays_there_in_every_family(covariance_type):
    X = overlapping(600, 7)
    fit = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    again = GaussianMixture(2, covariance_type=covariance_type, warm_start=True)
    again.params_ = fit.params_
    again.fit(X)
    np.testing.assert_allclose(again.means_, fit.means_, atol=1e-10)
    np.testing.assert_allclose(again.params_.covariances, fit.params_.covariances, atol=1e-10)
    assert again.log_likelihood_ == pytest.approx(fit.log_likelihood_, abs=1e-9)


@pytest.mark.parametrize("priors", [ConjugatePriors(), Priors()], ids=["conjugate", "model"])
def test_the_posterior_density_has_no_slope_at_its_mode(priors):
    """By differences of the log-posterior, which know nothing of EM."""
    X = overlapping(400, 5)
    fit = GaussianMixture(2, priors=priors, random_state=0).fit(X)
    penalty = penalty_of(priors, MemoryRows(X), 2, family("full"))
    factors = np.linalg.cholesky(fit.covariances_)
    rows, columns = np.tril_indices(2)

    def height(change: np.ndarray) -> float:
        moved = factors.copy()
        moved[:, rows, columns] += change[5:].reshape(2, 3)
        weights = fit.weights_ + np.array([change[0], -change[0]])
        means = fit.means_ + change[1:5].reshape(2, 2)
        covariances = moved @ moved.transpose(0, 2, 1)
        logs = [np.log(w) + multivariate_normal(m, c).logpdf(X) for w, m, c in zip(weights, means, covariances, strict=True)]
        return float(logsumexp(logs, axis=0).sum()) + penalty.log_density(weights, means, moved)

    changes = 1e-4 * np.eye(11)
    slope = [(height(change) - height(-change)) / 2e-4 for change in changes]
    np.testing.assert_allclose(slope, 0, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    far=st.tuples(*[st.sampled_from([0.0, FAR, -FAR, 1024.0 * FAR])] * 2),
    gaps=st.booleans(),
    extra=st.sampled_from([{}, {"noise": True}, {"priors": ConjugatePriors()}, {"covariance_type": "diag"}]),
)
def test_where_zero_is_does_not_matter(seed, far, gaps, extra):
    X = overlapping(200, seed, distance=3.0)
    gaps = gaps and "noise" not in extra
    if gaps:
        X[::5, 1] = np.nan
    near, away = (GaussianMixture(2, random_state=1, **extra).fit(X + np.array(at)) for at in ((0.0, 0.0), far))
    np.testing.assert_allclose(away.means_ - far, near.means_, atol=1e-10 + 2 * np.spacing(np.abs(far).max()))
    np.testing.assert_allclose(away.covariances_, near.covariances_, atol=1e-9)
    np.testing.assert_allclose(away.weights_, near.weights_, atol=1e-9)
    assert away.log_likelihood_ == pytest.approx(near.log_likelihood_, abs=1e-8)
    for one, other in zip(near.optima_, away.optima_, strict=True):
        np.testing.assert_allclose(other[1].means - far, one[1].means, atol=1e-3)


def test_the_users_starting_values_are_in_the_users_units():
    X = overlapping(300, 2, distance=5.0) + FAR
    means = np.array([[5.0, 0.0], [0.0, 0.0]]) + FAR
    fit = GaussianMixture(2, means_init=means, random_state=0).fit(X)
    np.testing.assert_allclose(fit.means_, means, atol=0.5)  # and in the user's order
    labels = (X[:, 0] < FAR + 2.5).astype(int)
    np.testing.assert_allclose(GaussianMixture(2, init_params=labels).fit(X).means_, means, atol=0.5)


@given(
    center=st.floats(-1e15, 1e15),
    sd=st.floats(1e-3, 1e3),
)
def test_the_origin_is_near_and_a_short_number(center, sd):
    origin = origin_near(np.array([center]), np.array([[sd**2]]))[0]
    if abs(center) <= 64 * sd:
        assert origin == 0
    elif abs(center) < 1e12 * sd:
        assert abs(origin - center) <= 2 * sd
        unit = 2.0 ** np.floor(np.log2(sd))
        assert origin / unit == np.round(origin / unit)


def test_a_constant_column_stays_where_it_is():
    assert origin_near(np.array([1e6]), np.zeros((1, 1)))[0] == 0


def plain_run(X: np.ndarray, tol: float, max_iter: int = 1000):
    means = np.array([[0.0, 0.0], [2.0, 0.0]])
    start = Mixture(np.log([0.5, 0.5]), means, np.stack([np.eye(2)] * 2))
    rules = Settings(family("full"), tol, max_iter, smallest_sds(X), accelerate=True)
    return run_em(MemoryRows(X), start, rules), rules


def test_all_its_iterations_count_as_one():
    X = overlapping(500, 1)
    run, rules = plain_run(X, 1e-7)
    told = []
    better = polished(run, MemoryRows(X), rules, after=told.append)
    assert better.n_iter == run.n_iter + 1
    assert better.status == run.status == "converged"
    assert better.log_likelihood >= run.log_likelihood
    assert 3 < len(told) <= polish.MOST_STEPS + 1
    assert told[-1] == better.log_likelihood
    assert polished(better, MemoryRows(X), rules) is better  # it stands still already


def test_a_run_that_is_far_from_its_end_is_left_alone(monkeypatch):
    X = overlapping(500, 1)
    run, rules = plain_run(X, 1e-7, max_iter=2)
    monkeypatch.setattr(polish, "FARTHEST", 1e-3)
    assert polished(run, MemoryRows(X), rules) is run


@pytest.mark.parametrize("asked", [{"tol": 1e-5}, {"n_init": 1}])
def test_who_asks_for_fewer_digits_gets_a_quick_fit(asked, monkeypatch):
    X = overlapping(300, 2)

    def refuse(*_):
        raise AssertionError("polished")

    monkeypatch.setattr("bayesgmm.em.search.polished", refuse)
    assert GaussianMixture(2, random_state=0, max_iter=5000, **asked).fit(X).status_ == "converged"
    with pytest.raises(AssertionError, match="polished"):
        GaussianMixture(2, random_state=0).fit(X)


def test_a_lower_standstill_is_not_taken():
    X = overlapping(500, 1)
    run, rules = plain_run(X, 1e-7)
    higher = replace(run, trace=np.append(run.trace[:-1], run.log_likelihood + 1.0))
    assert polished(higher, MemoryRows(X), rules) is higher


def test_a_weight_that_vanishes_is_no_obstacle():
    """Noise that nobody needs loses its weight, geometrically and for ever."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.uniform(-1, 1, (150, 2)), rng.normal(size=(150, 2)) * 0.3 + 5])
    fit = GaussianMixture(2, noise=True, random_state=1).fit(X)
    assert fit.status_ == "converged"
    assert 0 <= fit.noise_weight_ < 0.05


@pytest.mark.parametrize("cut", [1, 3])
def test_a_fit_far_from_zero_goes_on_bit_for_bit(tmp_path, cut):
    X = overlapping(600, 4) + np.array([FAR, 0.0])
    np.save(tmp_path / "x.npy", X)
    rows = open_rows(tmp_path / "x.npy", chunk_rows=170)
    whole = GaussianMixture(2, random_state=3).fit(rows)

    class Stop(Exception):
        pass

    calls = itertools.count()

    def interrupt(iteration):
        if next(calls) == 3 * cut:
            raise Stop

    with pytest.raises(Stop):
        GaussianMixture(2, random_state=3).fit(rows, checkpoint=tmp_path / "kept.npz", on_iteration=interrupt)
    resumed = GaussianMixture(2, random_state=3).fit(rows, resume=tmp_path / "kept.npz")
    np.testing.assert_array_equal(resumed.means_, whole.means_)
    np.testing.assert_array_equal(resumed.covariances_, whole.covariances_)
    np.testing.assert_array_equal(resumed.log_likelihood_trace_, whole.log_likelihood_trace_)


def test_a_checkpoint_keeps_what_values_were_counted_from(tmp_path):
    """Other chunks may put the mean on the other side of the middle between two origins; means that were kept stay where they were."""
    X = overlapping(600, 4) + FAR
    np.save(tmp_path / "x.npy", X)
    GaussianMixture(2, random_state=3).fit(open_rows(tmp_path / "x.npy", chunk_rows=170), checkpoint=tmp_path / "kept.npz")
    with np.load(tmp_path / "kept.npz") as archive:
        arrays = dict(archive)
    assert abs(arrays["origin"] - FAR).max() < 4
    for name in [name for name in arrays if name.endswith(".means")]:
        arrays[name] = arrays[name] - 8.0
    arrays["origin"] = arrays["origin"] + 8.0
    np.savez(tmp_path / "moved.npz", **arrays)
    rows = open_rows(tmp_path / "x.npy", chunk_rows=200)
    fits = [GaussianMixture(2, random_state=3).fit(rows, resume=tmp_path / name) for name in ("kept.npz", "moved.npz")]
    np.testing.assert_allclose(fits[0].means_, fits[1].means_, rtol=1e-12)
