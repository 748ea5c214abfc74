"""Families in any units and from any side they allow: one component and groups that stand apart are formulas, few rows no crash."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

import bayesgmm as bg
from bayesgmm.covariance import family, names
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice, InvalidDataError

ALL = names()
TURNING = [name for name in ALL if not family(name).diagonal or family(name).letters[1] == "I"]
UNITS = st.floats(-6.0, 6.0)
SEEDS = st.integers(0, 2**32 - 1)


def one_group(seed, D, more):
    """Return rows of one normal with correlations, D + 2 + ``more`` of them."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(D + 2 + more, D)) @ (rng.normal(size=(D, D)) + 2.0 * np.eye(D)) + 3.0 * rng.normal(size=D)


def groups_apart(seed, K, D, distance, alike):
    """Return rows of K groups that do not overlap, in a random order, and their labels; all of one covariance if ``alike``."""
    rng = np.random.default_rng(seed)
    n = D + 2 + rng.integers(15, 40, size=K)
    labels = rng.permutation(np.repeat(np.arange(K), n))
    factors = rng.normal(size=(1 if alike else K, D, D)) * 0.5 + np.eye(D)
    direction = rng.normal(size=D)
    centres = distance * rng.permutation(K)[:, None] * direction / np.linalg.norm(direction)
    z = rng.normal(size=(len(labels), D))
    return centres[labels] + np.einsum("nij,nj->ni", np.broadcast_to(factors, (K, D, D))[labels], z), labels


def constrained(name, scatter):
    """Return the covariance that one component of a family has: what is equal in all components is no constraint on one."""
    if family(name).letters[1] == "I":
        return np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    return np.diag(np.diag(scatter)) if family(name).diagonal else scatter


def log_density(X, mean, covariance):
    """Sum of normal log-densities, in units of each column so that no unit is too small for a determinant."""
    units = np.sqrt(np.diag(covariance))
    z, scaled = (X - mean) / units, covariance / np.outer(units, units)
    squares = (z * np.linalg.solve(scaled, z.T).T).sum()
    log_det = np.linalg.slogdet(scaled)[1] + 2.0 * np.log(units).sum()
    return -0.5 * (squares + len(X) * (X.shape[1] * np.log(2.0 * np.pi) + log_det))


def by_hand(name, X, labels):
    """Return the log-likelihood of groups that do not overlap, for families whose covariances are formulas."""
    letters, counts = family(name).letters, np.bincount(labels)
    means = [X[labels == k].mean(0) for k in range(len(counts))]
    own = np.array([np.cov(X[labels == k].T, ddof=0).reshape(X.shape[1], -1) for k in range(len(counts))])
    pooled = np.broadcast_to(np.average(own, axis=0, weights=counts), own.shape)
    if letters in ("EII", "EEI", "EEE", "VII", "VVI", "VVV"):
        covariances = [constrained(name, scatter) for scatter in (own if letters[0] == "V" else pooled)]
    elif letters == "EVI":
        variances = np.diagonal(own, axis1=1, axis2=2)
        sizes = np.exp(np.log(variances).mean(1))
        covariances = [np.diag(v / s * np.average(sizes, weights=counts)) for v, s in zip(variances, sizes, strict=True)]
    elif letters == "EVV":
        sizes = np.exp(np.linalg.slogdet(own)[1] / X.shape[1])
        covariances = list(own / sizes[:, None, None] * np.average(sizes, weights=counts))
    else:  # EEV: each its own axes, in the order of their variances
        values, axes = np.linalg.eigh(own)
        covariances = [a @ np.diag(np.average(values, axis=0, weights=counts)) @ a.T for a in axes]
    parts = [log_density(X[labels == k], means[k], covariances[k]) for k in range(len(counts))]
    return sum(parts) + counts @ np.log(counts / counts.sum())


FORMULAS = ["EII", "EEI", "tied", "spherical", "diag", "full", "EVI", "EVV", "EEV"]


@pytest.mark.filterwarnings("ignore:.* tell little of:bayesgmm.exceptions.DataAdvice")
@settings(max_examples=200, deadline=None)
@given(data=st.data(), seed=SEEDS, name=st.sampled_from(ALL), D=st.integers(1, 6), more=st.integers(0, 50))
def test_one_component_is_the_closed_form_in_any_units(data, seed, name, D, more):
    units = 10.0 ** np.array(data.draw(st.lists(UNITS, min_size=D, max_size=D)))
    X = one_group(seed, D, more) * units
    em = bg.GaussianMixture(1, covariance_type=name).fit(X)
    covariance = constrained(name, np.cov(X.T, ddof=0).reshape(D, D))
    assert em.status_ == "converged"
    sds = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(em.means_[0] / sds, X.mean(0) / sds, atol=1e-9)
    np.testing.assert_allclose(em.params_.covariances[0] / np.outer(sds, sds), covariance / np.outer(sds, sds), atol=1e-9)
    assert em.log_likelihood_ == pytest.approx(log_density(X, X.mean(0), covariance), rel=1e-9, abs=1e-7 * len(X))


@pytest.mark.filterwarnings("ignore:.* tell little of:bayesgmm.exceptions.DataAdvice")
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, name=st.sampled_from(TURNING), D=st.integers(2, 6), more=st.integers(0, 50), unit=UNITS)
def test_one_component_is_the_closed_form_from_any_side(seed, name, D, more, unit):
    here = one_group(seed, D, more) * 10.0**unit
    turn = ortho_group.rvs(D, random_state=seed)
    one, other = (bg.GaussianMixture(1, covariance_type=name).fit(X) for X in (here, here @ turn.T))
    assert one.status_ == other.status_ == "converged"
    covariance = turn @ constrained(name, np.cov(here.T, ddof=0)) @ turn.T
    np.testing.assert_allclose(other.params_.covariances[0], covariance, rtol=0, atol=1e-9 * np.abs(covariance).max())
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, rel=1e-9, abs=1e-7 * len(here))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=SEEDS, name=st.sampled_from(FORMULAS), K=st.integers(2, 3), D=st.integers(1, 4))
def test_groups_apart_are_their_closed_form_in_any_units_the_family_allows(data, seed, name, K, D):
    """Started from its groups: what is asked is where EM ends, not what the search finds."""
    fam = family(name)
    X, labels = groups_apart(seed, K, D, 60.0, alike=fam.letters[0] == "E")
    n_units = 1 if fam.invariance == "scale" else D
    X = X * 10.0 ** np.array(data.draw(st.lists(UNITS, min_size=n_units, max_size=n_units)))
    em = bg.GaussianMixture(K, covariance_type=name, init_params=labels).fit(X)
    assert em.status_ == "converged"
    assert em.log_likelihood_ == pytest.approx(by_hand(name, X, labels), abs=1e-6 * len(X))


def allowed_maps(name, D, seed):
    """Return a linear map of the largest kind that a family allows."""
    rng, fam = np.random.default_rng(seed), family(name)
    turn = ortho_group.rvs(D, random_state=seed) if D > 1 else np.eye(1)
    if fam.invariance == "affine":
        return np.diag(10.0 ** rng.uniform(-6, 6, D)) @ (rng.normal(size=(D, D)) + 2.0 * np.eye(D))
    if fam.invariance == "columns":
        return np.diag(10.0 ** rng.uniform(-6, 6, D))
    return 10.0 ** rng.uniform(-6, 6) * (turn if name in TURNING else np.eye(D))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, name=st.sampled_from(ALL), K=st.integers(2, 3), D=st.integers(2, 3))
def test_a_map_that_the_family_allows_moves_the_maximum_with_the_rows(seed, name, K, D):
    X, labels = groups_apart(seed, K, D, 20.0, alike=family(name).letters[0] == "E")
    A = allowed_maps(name, D, seed)
    here, there = (bg.GaussianMixture(K, covariance_type=name, init_params=labels).fit(Y) for Y in (X, X @ A.T))
    assert there.status_ == here.status_
    moved = here.log_likelihood_ - len(X) * np.linalg.slogdet(A)[1]
    assert there.log_likelihood_ == pytest.approx(moved, abs=1e-5 * len(X))


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(["EVV", "EEV", "VEV", "EVE", "VVE", "VEE", "full", "EVI", "VEI"]),
    n=st.integers(2, 14),
    D=st.integers(1, 5),
    K=st.integers(1, 5),
    decimals=st.sampled_from([0, 1, 8]),
)
def test_few_rows_give_a_fit_or_one_sentence(seed, name, n, D, K, decimals):
    X = np.random.default_rng(seed).normal(size=(n, D)).round(decimals)
    model = bg.GaussianMixture(K, covariance_type=name, random_state=0)
    if len(np.unique(X, axis=0)) <= (K if K > 1 else 0) or len(X) < 2 or (np.ptp(X, axis=0) == 0).any():
        with pytest.raises(InvalidDataError, match=r"distinct rows|same value in every row|more rows"):
            model.fit(X)
        return
    with warnings.catch_warnings():
        for said in (ConvergenceWarning, DataAdvice):
            warnings.simplefilter("ignore", said)
        em = model.fit(X)
    assert np.isfinite(em.log_likelihood_)
    assert np.isfinite(em.params_.covariances).all()
    assert np.isfinite(em.predict_proba(X)).all()
    # As many directions as a component of its own has need at least one row more.
    own_axes = family(name).letters[2] == "V"
    if own_axes and n <= D * K:
        assert em.status_ in ("collapsed", "spurious")


def test_the_smallest_table_that_once_raised():
    X = np.random.default_rng(0).normal(size=(8, 2))
    with pytest.warns(ConvergenceWarning):
        em = bg.GaussianMixture(3, covariance_type="EVV", random_state=0).fit(X)
    assert em.status_ in ("collapsed", "spurious")
    assert np.isfinite(em.log_likelihood_)
