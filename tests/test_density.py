"""The compiled log-posterior: its gradient against differences, its space there and back, its constants against SciPy.

That it equals PyMC's model is tested in test_model.py.
"""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from bayesgmm.bayes import _compiled_log_posterior
from bayesgmm.bayes.log_posterior import LogPosterior, _constant
from bayesgmm.bayes.unconstrained_space import Space, spiral
from bayesgmm.covariance import family
from bayesgmm.kernels.estep import STATISTICS
from bayesgmm.kernels.score import SCORE
from bayesgmm.params import MixtureParams
from bayesgmm.priors import (
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Priors,
    lkj_log_constant,
)
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture, scipy_log_likelihood

NAMES = ["full", "tied", "diag", "spherical"]
BOUNDS = [0.0, 0.2, [0.0, 0.3, 0.1, 0.0]]
SDS = [
    None,
    LogNormal(-0.2, 0.6, shared=1.5),
    LogNormal(0.1, 0.5, factors=(1.0, 3.0)),
    HalfNormal(1.0),
    HalfCauchy(0.7),
    HalfStudentT(3.0, 0.5),
    LogNormal(0.1, 0.8),
    Exponential(2.0),
    Gamma(2.0, 3.0),
    InverseGamma(2.0, 0.7),
    InverseGamma(2.0, 0.7, shared=0.4),
]


def log_posterior(rng, K, D, name, sds=None, N=30, smallest_sd=0.0, frame=None):
    X = rng.normal(size=(N, D))
    fam = family(name)
    bounds = smallest_sd if np.ndim(smallest_sd) == 0 else smallest_sd[:D]
    eta = (0.5, 1.5, 6.0) if sds is None else 1.5
    priors = Priors(sds=sds, eta=eta, concentration=1.3, smallest_sd=bounds, frame=frame).resolve(MemoryRows(X), K, fam)
    return LogPosterior(X, Space(priors, fam))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 4),
    D=st.integers(1, 4),
    name=st.sampled_from(NAMES),
    sds=st.sampled_from(SDS),
    smallest_sd=st.sampled_from(BOUNDS),
)
def test_gradient_is_the_slope(seed, K, D, name, sds, smallest_sd):
    rng = np.random.default_rng(seed)
    density = log_posterior(rng, K, D, name, sds, smallest_sd=smallest_sd)
    q = 0.5 * rng.normal(size=density.space.n_dim)
    _, gradient = density(q)
    step = 1e-5
    for i in range(len(q)):
        shift = np.zeros_like(q)
        shift[i] = step
        slope = (density(q + shift)[0] - density(q - shift)[0]) / (2 * step)
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), K=st.integers(1, 3), D=st.integers(1, 4), name=st.sampled_from(NAMES), weighted=st.booleans()
)
def test_gaps_and_weights_change_the_likelihood_only_and_the_gradient_with_it(seed, K, D, name, weighted):
    rng = np.random.default_rng(seed)
    whole = log_posterior(rng, K, D, name)
    X = whole.X.copy()
    X[rng.random(X.shape) < 0.3] = np.nan
    X[0, 0] = 0.5
    weight = rng.uniform(0, 3, len(X)) if weighted else None
    density = LogPosterior(X, whole.space, weight)
    q = 0.5 * rng.normal(size=density.space.n_dim)
    params = density.space.constrain(q)
    rows = params.log_density(X)
    prior = whole(q)[0] - params.log_density(whole.X).sum()
    value, gradient = density(q)
    assert value - (rows.sum() if weight is None else weight @ rows) == pytest.approx(prior, rel=1e-9, abs=1e-8)
    step = 1e-5
    for i, shift in enumerate(step * np.eye(len(q))):
        slope = (density(q + shift)[0] - density(q - shift)[0]) / (2 * step)
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-5)


FRAMES = ["columns", "invariant"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 4),
    D=st.integers(1, 5),
    name=st.sampled_from(NAMES),
    frame=st.sampled_from(FRAMES),
    smallest_sd=st.sampled_from([0.0, 1e-3, 0.1]),
)
def test_space_there_and_back(seed, K, D, name, frame, smallest_sd):
    rng = np.random.default_rng(seed)
    fam = family(name)
    X = rng.normal(size=(30, D)) @ rng.normal(size=(D, D))
    priors = Priors(smallest_sd=smallest_sd, frame=frame if fam.has_correlations(D) else None).resolve(MemoryRows(X), K, fam)
    space = Space(priors, fam)
    q = rng.normal(size=(2, 3, space.n_dim))
    params = space.constrain(q)
    assert params.batch_shape == (2, 3)
    assert (params.sds > smallest_sd).all()
    np.testing.assert_allclose(space.unconstrain(params), q, atol=1e-6)
    mixture = random_mixture(rng, K, D, covariance_type=name)
    narrowest = np.sqrt(np.linalg.eigvalsh(mixture.covariances).min())
    mixture = mixture.transform(np.zeros(D), np.eye(D) * 1.01 * max(1.0, smallest_sd / narrowest))
    again = space.constrain(space.unconstrain(mixture))
    np.testing.assert_allclose(again.covariances, mixture.covariances, atol=1e-8)
    np.testing.assert_allclose(again.means, mixture.means, atol=1e-8)
    np.testing.assert_allclose(again.weights, mixture.weights, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(NAMES), frame=st.sampled_from(FRAMES), smallest_sd=st.floats(0.01, 2.0))
def test_rounding_adds_to_every_covariance_and_to_nothing_else(seed, name, frame, smallest_sd):
    """At one q the two densities differ by the likelihoods of mixtures that differ by the covariance of the rounding."""
    K, D = 2, 2
    rng = np.random.default_rng(seed)
    fam = family(name)
    X = rng.normal(size=(30, D)) @ rng.normal(size=(D, D))
    frame = frame if fam.has_correlations(D) else None
    plain, rounded = (
        LogPosterior(X, Space(Priors(frame=frame, smallest_sd=bound).resolve(MemoryRows(X), K, fam), fam))
        for bound in (0.0, smallest_sd)
    )
    q = 0.5 * rng.normal(size=plain.space.n_dim)
    ours, theirs = plain.space.constrain(q), rounded.space.constrain(q)
    np.testing.assert_allclose(theirs.covariances, ours.covariances + smallest_sd**2 * np.eye(D), rtol=1e-9)
    expected = scipy_log_likelihood(X, theirs) - scipy_log_likelihood(X, ours)
    assert rounded(q)[0] - plain(q)[0] == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_a_start_that_is_narrower_than_the_rounding_is_given_a_little_of_its_own():
    X = np.arange(12.0)[:, None]
    space = Space(Priors(smallest_sd=0.1).resolve(MemoryRows(X), 2, family("full")), family("full"))
    mixture = MixtureParams(np.array([0.5, 0.5]), np.array([[0.0], [1.0]]), np.array([[[0.1]], [[0.5]]]))
    back = space.constrain(space.unconstrain(mixture))
    assert 0.1 < back.sds[0, 0] < 0.101
    assert back.sds[1, 0] == pytest.approx(0.5)


def test_spiral_visits_every_pair_once():
    for D in range(2, 7):
        pairs = {tuple(p) for p in spiral(D)}
        assert pairs == {(i, j) for i in range(D) for j in range(i)}


def test_one_dimension_equals_scipy_term_by_term(rng):
    """D = 1: weights, means and log sds, each with its prior and Jacobian written out with SciPy."""
    density = log_posterior(rng, 2, 1, "full", HalfNormal(0.8))
    q = rng.normal(size=5)
    params = density.space.constrain(q)
    y = q[0]
    # PyMC's simplex transform: log K + K (sum y) - K logsumexp([2 y, 0]) for K = 2
    jacobian = np.log(2) + 2 * y - 2 * logsumexp([2 * y, 0.0]) + np.log(params.sds).sum()
    priors = (
        stats.dirichlet([1.3, 1.3]).logpdf(params.weights)
        + stats.norm(density.space.priors.means_loc, density.space.priors.means_scale).logpdf(params.means).sum()
        + stats.halfnorm(scale=0.8).logpdf(params.sds).sum()
    )
    assert density(q)[0] == pytest.approx(scipy_log_likelihood(density.X, params) + priors + jacobian, rel=1e-11)


def test_lkj_integrates_to_one(rng):
    """D = 2: the correlation's density, got as the difference of two log-posteriors, is (1 - r^2)^(eta - 1) normalised.

    With no information in q but the correlation's element v, value(v) - likelihood - other priors is LKJ plus Jacobian: integrate
    exp of it over v.
    """
    density = log_posterior(rng, 1, 2, "full", LogNormal(0.1, 0.8), N=2, frame="columns")
    space = density.space
    base = np.zeros(space.n_dim)
    values = []
    grid = np.linspace(-300, 300, 200_001)
    lkj = lkj_log_constant(1.5, 2)
    without = (
        _constant(density.space) + lkj - 0.5 * ((density.space.priors.means_loc / density.space.priors.means_scale) ** 2).sum()
    )
    sds = density.space.priors.sds
    others = without - (0.5 * (sds.mu / sds.sigma) ** 2).sum()
    for v in (0.0, 1.3, -4.0):
        q = base.copy()
        q[-1] = v
        rest = density(q)[0] - scipy_log_likelihood(density.X, space.constrain(q)) - others
        values.append(rest)
    # eta = 1.5, D = 2: exponent 2 eta + D - 1 = 4 of the norm sqrt(1 + v^2)
    np.testing.assert_allclose(values, [-4 * 0.5 * np.log1p(v * v) for v in (0.0, 1.3, -4.0)], atol=1e-9)
    mass = np.trapezoid((1 + grid**2) ** (-2.0), grid) * np.exp(lkj)
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_absurd_points_give_no_crash_and_no_finite_lie(rng):
    """Fuzz what a diverging chain may ask: the callback must survive it and nutpie be told."""
    density = log_posterior(rng, 3, 3, "full")
    for scale in (1e3, 1e150, np.inf, np.nan):
        value, gradient = density(np.full(density.space.n_dim, scale))
        assert not (np.isfinite(value) and value > 1e6)
        assert gradient.shape == (density.space.n_dim,)


def test_a_density_read_in_another_process_is_the_same(rng, tmp_path):
    """The flat array holds addresses of compiled code, which mean nothing elsewhere."""
    density = log_posterior(rng, 2, 2, "full")
    q = rng.normal(size=density.space.n_dim)
    with (tmp_path / "density").open("wb") as file:
        pickle.dump((density, q), file)
    script = "import pickle, sys; density, q = pickle.load(open(sys.argv[1], 'rb')); print(repr(float(density(q)[0])))"
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path / "density")], capture_output=True, text=True, check=True)
    assert float(told.stdout) == density(q)[0]


def test_the_flat_array_is_read_as_it_was_written():
    fields = _compiled_log_posterior.Problem._fields
    numbers = [3, 2, 1, 0, 5, 7, -0.5, 0.25]
    arrays = [np.arange(float(n)) + 10 * n for n in range(len(fields) - len(numbers))]
    problem = _compiled_log_posterior.Problem(*numbers, *arrays)
    read = _compiled_log_posterior.unpack(_compiled_log_posterior.pack(problem, STATISTICS, SCORE))
    for name, one, other in zip(fields, problem, read, strict=True):
        np.testing.assert_array_equal(other, one, err_msg=name)
