"""Coordinates whitened by the covariances at a mode, and the metric that draws show, each against what it has to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.bayes._compiled_coordinates import log_density, unwhitened, whitened
from bayesgmm.bayes._compiled_log_posterior import LOG_POSTERIOR
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.metric import Geometry
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.priors import Priors
from bayesgmm.rows import MemoryRows

FAMILIES = ("full", "tied", "diag", "spherical")
problems = st.tuples(st.sampled_from(FAMILIES), st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**32 - 1))


def problem(kind, K, D, seed):
    """A posterior, a place of its space, and the roots of another place."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, D)) @ (np.eye(D) + 0.2 * rng.normal(size=(D, D)))  # near singular, rows cost the values their digits
    chosen = family(kind)
    density = LogPosterior(X, Space(Priors().resolve(MemoryRows(X), K, chosen), chosen))
    q, other = 0.7 * rng.normal(size=(2, density.space.n_dim))
    return density, q, density.space.scale_tril(other), rng


def coordinates(density, q, roots):
    x = np.empty(len(q))
    whitened(q, density.user_data, roots, x)
    return x


def place(density, x, roots):
    q = np.empty(len(x))
    unwhitened(x, density.user_data, roots, q)
    return q


@given(problems)
@settings(max_examples=60, deadline=None)
def test_coordinates_lead_there_and_back_and_keep_the_volume(drawn):
    density, q, roots, _ = problem(*drawn)
    x = coordinates(density, q, roots)
    np.testing.assert_allclose(place(density, x, roots), q, atol=1e-9)
    h = 1e-6
    columns = [(place(density, x + e, roots) - place(density, x - e, roots)) / (2 * h) for e in h * np.eye(len(q))]
    sign, log_det = np.linalg.slogdet(np.array(columns))
    assert sign == 1
    assert log_det == pytest.approx(0.0, abs=1e-6)


@given(problems)
@settings(max_examples=60, deadline=None)
def test_coordinates_are_those_of_the_whitened_covariances(drawn):
    density, q, roots, _ = problem(*drawn)
    x = coordinates(density, q, roots)
    theirs, seen = density.space.scale_tril(q), density.space.scale_tril(x)
    for root, L, M in zip(roots, theirs, seen, strict=True):
        half = np.linalg.solve(root, L)
        np.testing.assert_allclose(M @ M.T, half @ half.T, rtol=1e-8, atol=1e-10)


@given(problems)
@settings(max_examples=60, deadline=None)
def test_the_gradient_in_the_coordinates_is_the_slope(drawn):
    density, q, roots, rng = problem(*drawn)
    x, gradient, back, nothing = coordinates(density, q, roots), np.empty(len(q)), np.empty(len(q)), np.empty(len(q))

    def value(x, out):
        return log_density(LOG_POSTERIOR, density.user_data, x, roots, back, out)

    assert value(x, gradient) == pytest.approx(density(q)[0], rel=1e-9)
    direction = rng.normal(size=len(q))
    # Where curvature is great a step has to be small, and where the value is, large.
    slopes = [(value(x + h * direction, nothing) - value(x - h * direction, nothing)) / (2 * h) for h in (1e-4, 1e-5, 1e-6, 1e-7)]
    off = np.abs(np.array(slopes) - gradient @ direction).min()
    assert off < 1e-4 * (1 + np.abs(gradient).max())


@pytest.fixture(scope="module")
def geometry():
    X = bg.datasets.load_faithful().to_numpy(float)
    full = family("full")
    density = LogPosterior(X, Space(Priors().resolve(MemoryRows(X), 2, full), full))
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    mode = density.space.unconstrain(em.params_)
    return Geometry.at(density, mode[None]), mode


def draws(geometry, mode, z):
    return np.stack([geometry.about(mode, row) for row in z])


def test_draws_of_the_metric_teach_it_nothing(geometry):
    geometry, mode = geometry
    z = np.random.default_rng(3).normal(size=(400, len(mode)))
    learned = geometry.learned(draws(geometry, mode, z))
    assert len(learned.given_rows.stretches) == 0
    assert geometry.learned(draws(geometry, mode, z)).given_labels is geometry.given_labels


def test_a_slow_direction_is_learned(geometry):
    geometry, mode = geometry
    rng = np.random.default_rng(4)
    u = rng.normal(size=len(mode))
    u /= np.linalg.norm(u)
    z = rng.normal(size=(400, len(mode)))
    z += 4.0 * (z @ u)[:, None] * u  # five times as wide
    learned = geometry.learned(draws(geometry, mode, z)).given_rows
    assert len(learned.stretches) == 1
    assert abs(learned.directions[0] @ u) > 0.99
    assert learned.stretches[0] == pytest.approx(5.0, rel=5 / np.sqrt(2 * 400))


def test_steps_do_not_mind_how_strongly_columns_hang_together():
    rng = np.random.default_rng(6)
    X = np.concatenate([rng.normal(size=(150, 3)), rng.normal(size=(150, 3)) + 6.0])
    shear = np.array([[1.0, 0.0, 0.0], [30.0, 1.0, 0.0], [-20.0, 40.0, 1.0]])  # correlations up to 0.9999
    one, other = (bg.BayesianGaussianMixture(2, random_state=1, progressbar=False).fit(rows) for rows in (X, X @ shear.T))
    steps = [fit.datatree_["sample_stats"]["n_steps"].values.mean() for fit in (one, other)]
    assert steps[1] < 1.5 * steps[0]
    for fit in (one, other):
        assert fit.diagnose()[0].passed
        assert not fit.datatree_["sample_stats"]["diverging"].values.any()
