"""Priors: defaults scaled by the data, changes of units, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.covariance import family
from bayesgmm.exceptions import DataAdvice, InvalidDataError, InvalidParameterError
from bayesgmm.priors import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma, LogNormal, Priors
from bayesgmm.priors.axes import invariant_frame
from bayesgmm.rows import MemoryRows

EVERY = [
    HalfNormal(0.7),
    HalfCauchy(0.7),
    HalfStudentT(4.0, 0.7),
    LogNormal(-0.3, 0.8),
    Exponential(0.7),
    Gamma(2.5, 1.5),
    InverseGamma(2.5, 1.5),
    InverseGamma(2.5, 1.5, shared=2.0),
]


@pytest.mark.parametrize("prior", EVERY, ids=lambda p: type(p).__name__)
def test_a_change_of_units_is_the_jacobian(prior):
    """If sd has this prior, 3 sd has prior.scaled(3): densities differ by the factor 3."""
    x = np.linspace(0.05, 4, 30)
    np.testing.assert_allclose(
        prior.scaled(3.0).frozen().logpdf(3 * x), prior.frozen().logpdf(x) - np.log(3), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("prior", EVERY, ids=lambda p: type(p).__name__)
def test_each_is_a_density_and_its_draws_follow_it(prior):
    x = np.linspace(1e-6, 60, 400_001)
    density = np.exp(prior.frozen().logpdf(x))
    mass_below_one = np.trapezoid(density[x <= 1], x[x <= 1])
    draws = prior.frozen().rvs(size=4000, random_state=np.random.default_rng(1))
    assert (draws > 0).all()
    # five standard errors of a proportion from 4,000 draws
    assert (draws < 1).mean() == pytest.approx(mass_below_one, abs=5 * np.sqrt(0.25 / 4000))
    assert len({p.kind for p in EVERY}) == len({type(p) for p in EVERY})


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_defaults_follow_the_data(name, rng):
    X = rng.normal(size=(100, 2)) * [1.0, 50.0] + [3.0, -7.0]
    K, fam = 3, family(name)
    priors = Priors(frame="columns")
    here = priors.resolve(MemoryRows(X), K, fam)
    np.testing.assert_allclose(here.means_loc, np.tile(X.mean(0), (K, 1)))
    np.testing.assert_allclose(here.means_scale, np.tile(2.5 * X.std(0), (K, 1)))
    assert here.sds.parameters()[0].shape == fam.sds_shape(K, 2)
    scale = np.full(2, 10.0) if name == "spherical" else np.array([10.0, 0.1])
    there = priors.resolve(MemoryRows(X * scale + 5), K, fam)
    # In standardised columns they are numbers of their own, whatever the units were.
    for rows, priors in ((X, here), (X * scale + 5, there)):
        own = priors.standardised(rows.mean(0), np.cov(rows.T, bias=True))
        np.testing.assert_allclose(own.means_loc, 0.0, atol=1e-9)
        np.testing.assert_allclose(own.sds.mu, -0.5, rtol=1e-9)
        if name != "spherical":
            np.testing.assert_allclose(own.means_scale, 2.5, rtol=1e-9)


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_defaults_are_the_same_for_every_number_of_components(name, rng):
    X, fam = rng.normal(size=(60, 3)), family(name)
    one, two, many = (Priors().resolve(MemoryRows(X), K, fam) for K in (1, 2, 7))
    np.testing.assert_allclose(two.frame.factor, many.frame.factor)
    np.testing.assert_allclose(two.means_scale[0], many.means_scale[0])
    assert (two.sds.shared, two.sds.factors) == (many.sds.shared, many.sds.factors)
    # Of one component, of two and of seven, the distribution of a component's own standard deviation is one and the same.
    for sd in np.linspace(0.1, 3.0, 7):
        # One number where all entries are alike: columns differ in their centre, components do not.
        first, second, last = (np.atleast_2d(p.sds.frozen().logpdf(np.full(np.shape(p.sds.mu), sd)))[0] for p in (one, two, many))
        if name == "spherical":
            first, second, last = first[:1], second[:1], last[:1]
        np.testing.assert_allclose(second, first)
        np.testing.assert_allclose(last, first)


def test_what_components_share_is_in_the_joint_density_and_in_the_draws(rng):
    """SciPy's multivariate normal of the logs, averaged over the factors; draws have its moments, and its regression is `given`."""
    mu = np.array([[0.1, -0.4], [0.3, 0.0], [0.2, 0.5]])
    prior = LogNormal(mu, np.array([[0.4, 0.9], [0.5, 0.7], [0.6, 0.3]]), shared=0.8, factors=(0.5, 1.0, 2.0))
    sds = rng.gamma(2.0, size=(5, 3, 2))
    logs = np.log(sds)

    def covariance(d, factor):
        return np.diag((factor * prior.sigma[:, d]) ** 2) + 0.64

    def normal(logs, factor):
        return sum(stats.multivariate_normal(mu[:, d], covariance(d, factor)).logpdf(logs[..., d]) for d in range(2))

    each = np.stack([normal(logs, factor) for factor in prior.factors])
    expected = logsumexp(each, axis=0) - np.log(3) - logs.sum((1, 2))
    np.testing.assert_allclose(prior.log_density(sds, 2), expected, rtol=1e-12)
    drawn = np.log(prior.draw((3, 2), 40_000, rng))
    for d in range(2):
        wanted = np.mean([covariance(d, factor) for factor in prior.factors], axis=0)
        np.testing.assert_allclose(np.cov(drawn[:, :, d], rowvar=False), wanted, rtol=0.08)
        np.testing.assert_allclose(drawn[:, :, d].mean(0), mu[:, d], atol=0.04)
    # Any one standard deviation has the distribution that is told apart.
    assert (
        stats.ks_2samp(drawn[:4000, 1, 0], np.log(prior.frozen().rvs(size=(4000, 3, 2), random_state=rng)[:, 1, 0])).pvalue > 1e-4
    )
    assert np.mean(drawn[:, 1, 0] < np.log(prior.frozen().ppf(0.9)[1, 0])) == pytest.approx(0.9, abs=0.01)
    # The slope of the joint density is that of the independent one that stands for it.
    given, h = prior.given(sds[0]), 1e-6
    assert not given.is_joint
    for k in range(3):
        for d in range(2):
            up, down = (np.exp(logs[0] + sign * h * (np.arange(6).reshape(3, 2) == 2 * k + d)) for sign in (1, -1))
            slope = (prior.log_density(up, 2) - prior.log_density(down, 2)) / (2 * h)
            assert given.slope(sds[0])[k, d] == pytest.approx(slope, rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), D=st.integers(2, 6), log_condition=st.floats(0.0, 3.0), missing=st.booleans())
def test_the_invariant_frame_goes_along_with_linear_maps(seed, D, log_condition, missing):
    rng = np.random.default_rng(seed)
    X = rng.gamma(2.0, size=(12 * D, D)) @ rng.normal(size=(D, D))
    if missing:
        # Gaps cannot be turned, but they can be scaled.
        X[rng.random(X.shape) < 0.1] = np.nan
        A = np.diag(np.exp(rng.normal(size=D)))
        mapped = X * np.diag(A) + 3.0
    else:
        left, right = (np.linalg.qr(rng.normal(size=(D, D)))[0] for _ in range(2))
        A = left @ np.diag(10.0 ** np.linspace(0.0, log_condition, D)) @ right
        mapped = X @ A + 3.0
    here, there = invariant_frame(MemoryRows(X)), invariant_frame(MemoryRows(mapped))
    np.testing.assert_allclose(there.factor, A.T @ here.factor, atol=1e-5 * np.abs(there.factor).max())
    if not missing:
        Z = here.standardise(X)
        np.testing.assert_allclose(Z.T @ Z / len(Z), np.eye(D), atol=1e-8)
        direction = Z / np.linalg.norm(Z, axis=1, keepdims=True)
        second = direction.T @ direction
        np.testing.assert_allclose(second, np.diag(np.diag(second)), atol=1e-7 * len(Z))
        assert (np.diff(np.diag(second)) <= 1e-9).all()


def test_the_frame_weighs_rows_by_how_often_they_were_seen(rng):
    X, weight = rng.gamma(2.0, size=(50, 3)), rng.integers(0, 4, 50)
    np.testing.assert_allclose(
        invariant_frame(MemoryRows(X, weight.astype(float))).factor,
        invariant_frame(MemoryRows(np.repeat(X, weight, axis=0))).factor,
        rtol=1e-6,
    )


def test_of_chunks_the_frame_is_that_of_the_rows(rng, tmp_path):
    X = rng.gamma(2.0, size=(500, 3))
    X[::17, 1] = np.nan
    np.save(tmp_path / "rows.npy", X)
    chunked = bg.open_rows(tmp_path / "rows.npy", chunk_rows=128)
    np.testing.assert_allclose(invariant_frame(chunked).factor, invariant_frame(MemoryRows(X)).factor, rtol=1e-6)


def test_a_frame_is_the_columns_where_something_is_stated_of_them(rng):
    X, full = rng.normal(size=(30, 2)), family("full")
    assert not Priors().resolve(MemoryRows(X), 2, full).frame.is_identity
    assert not Priors(means_loc=1.0).resolve(MemoryRows(X), 2, full).frame.is_identity
    for priors in (Priors(frame="columns"), Priors(sds=HalfNormal(1.0)), Priors(means_scale=2.0)):
        assert priors.resolve(MemoryRows(X), 2, full).frame.is_identity
    assert not Priors(sds=HalfNormal(1.0), frame="invariant").resolve(MemoryRows(X), 2, full).frame.is_identity
    assert Priors().resolve(MemoryRows(X), 2, family("diag")).frame.is_identity
    F = np.array([[1.0, 2.0], [0.0, -3.0]])
    given = Priors(frame=F, means_loc=[1.0, 2.0]).resolve(MemoryRows(X), 1, full)
    np.testing.assert_array_equal(given.frame.factor, F)
    # A centre is stated in the columns, and is where it was when it is carried back.
    np.testing.assert_allclose(given.frame.center + F @ given.means_loc[0], [1.0, 2.0])


INVARIANT = Priors(frame="invariant")
SUM = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]])  # the last column is the sum of the others


@pytest.mark.parametrize("spoil", [lambda X: X @ SUM, lambda X: X[:3]])
def test_without_an_invariant_frame_the_prior_says_that_it_holds_along_the_columns(spoil, rng):
    X = spoil(rng.normal(size=(20, 3)))
    with pytest.warns(
        DataAdvice, match=r"do not vary in 3 directions.* take covariance_type='diag'\. As it is, .* along the columns"
    ):
        assert Priors().resolve(MemoryRows(X), 2, family("full")).frame.is_identity


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda X: Priors(frame="rotated"), InvalidParameterError, "frame must be 'invariant', 'columns' or a square matrix"),
        (lambda X: Priors(frame=[[1.0, 2.0], [2.0, 4.0]]), InvalidParameterError, "square matrix of full rank"),
        (lambda X: Priors(frame=[1.0, 2.0]), InvalidParameterError, "square matrix of full rank"),
        (lambda X: Priors(frame=[[np.nan]]), InvalidParameterError, "square matrix of full rank"),
        (
            lambda X: Priors(frame=np.eye(2)).resolve(MemoryRows(X), 2, family("full")),
            InvalidParameterError,
            r"shape \(3, 3\) for 3 columns",
        ),
        (
            lambda X: Priors(frame="invariant").resolve(MemoryRows(X), 2, family("diag")),
            InvalidParameterError,
            "has no correlations",
        ),
        (
            lambda X: INVARIANT.resolve(MemoryRows(X[:3]), 2, family("full")),
            InvalidDataError,
            "3 rows do not vary in 3 directions.*'diag'",
        ),
        (lambda X: INVARIANT.resolve(MemoryRows(X @ SUM), 2, family("full")), InvalidDataError, "some columns follow"),
        (lambda X: INVARIANT.resolve(MemoryRows(X * [1, 0, 1]), 2, family("tied")), InvalidDataError, "covariance_type='diag'"),
    ],
)
def test_what_is_no_frame_is_refused(make, error, words, rng):
    with pytest.raises(error, match=words):
        make(rng.normal(size=(20, 3)))


def test_arrays_are_taken_in_every_shape_that_fits(rng):
    X = rng.normal(size=(20, 2))
    fam = family("full")
    resolved = Priors(
        concentration=[1.0, 2.0, 3.0], means_loc=[1.0, 2.0], means_scale=np.full((3, 2), 4.0), sds=HalfNormal([1.0, 2.0])
    ).resolve(MemoryRows(X), 3, fam)
    assert resolved.concentration.tolist() == [1, 2, 3]
    assert resolved.means_loc.tolist() == [[1, 2]] * 3
    assert resolved.sds.scale.tolist() == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Priors(concentration=0), "concentration must be positive"),
        (lambda: Priors(eta=-1), "eta must be positive"),
        (lambda: Priors(eta=(1.0, 0.0)), "eta must be positive"),
        (lambda: Priors(eta=()), "eta must be one number, or several"),
        (lambda: Priors(eta=[[1.0]]), "eta must be one number, or several"),
        (lambda: Priors(means_scale=[1.0, np.inf]), "means_scale must be positive and finite"),
        (lambda: Priors(means_loc=np.nan), "means_loc must be finite"),
        (lambda: Priors(sds=1.0), "must be a prior from bayesgmm.priors"),
        (lambda: HalfNormal(0), "HalfNormal: scale must be positive"),
        (lambda: LogNormal(np.nan, 1), "LogNormal: mu must be finite"),
        (lambda: Gamma(1, -1), "Gamma: beta must be positive"),
        (lambda: LogNormal(0, 1, shared=-1), "LogNormal: shared must be one finite number"),
        (lambda: LogNormal(0, 1, factors=()), "LogNormal: factors must be positive, finite numbers"),
        (lambda: LogNormal(0, 1, factors=(1, 0)), "LogNormal: factors must be positive, finite numbers"),
        (
            lambda: Priors(concentration=[1, 2]).resolve(MemoryRows(np.eye(3)), 3, family("full")),
            r"concentration .* fits \(3,\), got \(2,\)",
        ),
        (lambda: Priors(sds=HalfNormal([1, 2])).resolve(MemoryRows(np.eye(3)), 3, family("full")), r"HalfNormal: .* fits \(3, 3\)"),
    ],
)
def test_what_is_no_prior_is_refused(make, words):
    with pytest.raises(InvalidParameterError, match=words):
        make()
