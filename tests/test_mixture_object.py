"""A mixture as a distribution: parts, quantiles, modes, overlap, files. SciPy and brute force are the independent routes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, optimize, special, stats

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.mixture.overlap import probability_below
from bayesgmm.params import MixtureParams
from tests.conftest import random_mixture, scipy_log_joint

SEEDS = st.integers(0, 2**32 - 1)


def log_density(X, params):
    return special.logsumexp(scipy_log_joint(X, params), axis=1)


def line(*components):
    """A mixture of one column from (weight, mean, standard deviation)."""
    weights, means, sds = np.array(components, dtype=float).T
    return MixtureParams(weights, means[:, None], sds[:, None, None])


# Parts


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, D=st.integers(2, 5), K=st.integers(1, 4), kind=st.sampled_from(["full", "diag"]))
def test_marginal_density_times_conditional_density_is_the_joint_density(seed, D, K, kind):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, K, D, covariance_type=kind)
    fixed = rng.permutation(D)[: rng.integers(1, D)]
    free = np.setdiff1d(np.arange(D), fixed)
    x = rng.normal(size=D)
    condition = params.condition({int(d): x[d] for d in fixed})
    product = log_density(x[fixed][None], params.marginal(fixed)) + log_density(x[free][None], condition)
    np.testing.assert_allclose(product, log_density(x[None], params), rtol=1e-10)
    assert params.marginal(fixed).is_diagonal == (kind == "diag" or len(fixed) == 1)


def test_marginal_is_the_joint_density_integrated(rng):
    params = random_mixture(rng, 3, 2)
    for x in (-1.0, 0.3, 2.0):
        integral, _ = integrate.quad(lambda y, x=x: np.exp(log_density([[y, x]], params))[0], -20, 20, epsabs=1e-12, limit=200)
        assert np.exp(params.marginal(1).log_density([[x]]))[0] == pytest.approx(integral, rel=1e-9)


def mean_of(params):
    return params.weights @ params.means


def test_the_mean_of_a_conditional_is_an_integral(rng):
    params = random_mixture(rng, 3, 2)
    for x in (-3.0, 0.2, 1.5):

        def density(y, x=x):
            return np.exp(log_density([[y, x]], params))[0]

        total = integrate.quad(density, -25, 25, limit=200)[0]
        moment = integrate.quad(lambda y, f=density: y * f(y), -25, 25, limit=200)[0]
        assert mean_of(params.condition({1: x}))[0] == pytest.approx(moment / total, rel=1e-7, abs=1e-8)


def test_batches_are_taken_apart_one_by_one(rng):
    params = random_mixture(rng, 3, 4, (2, 3))
    conditioned, overlap = params.condition({3: 0.4, 0: -1.0}), params.overlap()
    for at in np.ndindex(2, 3):
        one = params[at]
        np.testing.assert_allclose(params.marginal([3, 1])[at].covariances, one.covariances[:, [3, 1]][:, :, [3, 1]], rtol=1e-12)
        np.testing.assert_allclose(conditioned[at].means, one.condition({0: -1.0, 3: 0.4}).means, rtol=1e-9)
        np.testing.assert_allclose(conditioned[at].weights, one.condition({0: -1.0, 3: 0.4}).weights, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(overlap[at], one.overlap(), rtol=1e-9, atol=1e-15)


def test_conditioning_far_from_the_data_follows_the_wider_component_and_its_line():
    params = MixtureParams.from_covariances(
        [0.9, 0.1], [[0.0, 0.0], [1.0, 1.0]], [[[1.0, 0.5], [0.5, 1.0]], [[4.0, 1.0], [1.0, 4.0]]]
    )
    for value in (1e3, -1e6, 1e100):
        other = params.condition({0: value})
        np.testing.assert_allclose(other.weights, [0.0, 1.0], rtol=1e-15, atol=1e-300)
        assert mean_of(other)[0] == pytest.approx(1.0 + 0.25 * (value - 1.0), rel=1e-12)
    with pytest.raises(InvalidDataError, match=r"\[1e\+200\], are too far from every component"):
        params.condition({0: 1e200})


def test_conditioning_on_nearly_collinear_columns_keeps_its_digits():
    """Column 1 is column 0 plus noise of 1e-7: subtracting the explained covariance would leave nothing of 1e-14."""
    params = MixtureParams([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [1.0, 1e-7]]])
    assert params.condition({0: 2.0}).sds[0, 0] == pytest.approx(1e-7, rel=1e-14)
    # The other way round the slope is one, and the spread that of column 0 given column 1: 1e-7 / sqrt(1 + 1e-14).
    other = params.condition({1: 2.0})
    assert other.sds[0, 0] == pytest.approx(1e-7, rel=1e-8)
    assert other.means[0, 0] == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.marginal([]), "at least one"),
        (lambda p: p.marginal([0, -3]), "twice"),
        (lambda p: p.marginal(3), "has 3, but the mixture has 3 column"),
        (lambda p: p.marginal([0.5]), "whole numbers from 0 to 2; got 0.5"),
        (lambda p: p.marginal("width"), "whole numbers"),
        (lambda p: p.condition({}), "at least one"),
        (lambda p: p.condition([0, 1]), "mapping of column to value"),
        (lambda p: p.condition({0: 1.0, 1: 1.0, 2: 1.0}), "leave at least one"),
        (lambda p: p.condition({0: np.nan}), "finite numbers, got .*nan"),
        (lambda p: p.condition({0: "tall"}), "must be numbers, got"),
        (lambda p: p.condition({0: [1.0, 2.0]}), "one number per column"),
        (lambda p: p.condition({0: 1.0, 1: np.inf}), "finite"),
        (lambda p: p.cdf(0.0), r"cdf is for one column, this mixture has 3"),
        (lambda p: p.ppf(0.5), r"params.marginal\(0\).ppf"),
        (lambda p: p.marginal(0).ppf([0.5, 1.5]), "between 0 and 1, got 1.5"),
        (lambda p: p.marginal(0).ppf(np.nan), "q has NaN"),
        (lambda p: p.marginal(0).cdf(["a"]), "x must be numbers"),
        (lambda p: random_mixture(np.random.default_rng(1), 2, 1, (4,)).modes(), r"batch of shape \(4,\): index it first"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(rng, call, words):
    with pytest.raises((InvalidDataError, InvalidParameterError), match=words):
        call(random_mixture(rng, 2, 3))


# One column


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, K=st.integers(1, 5), spread=st.sampled_from([0.1, 3.0, 1e3]))
def test_quantiles_invert_the_distribution_function(seed, K, spread):
    rng = np.random.default_rng(seed)
    params = line(*zip(rng.dirichlet(np.ones(K)), rng.normal(size=K) * spread, rng.uniform(0.05, 2.0, K), strict=True))
    q = np.concatenate([rng.uniform(size=20), [1e-12, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-12]])
    x = params.ppf(q)
    by_scipy = stats.norm.cdf(x[:, None], params.means[:, 0], params.sds[:, 0]) @ params.weights
    # Far from zero the next number may be further in probability than that.
    below, above = params.cdf(np.nextafter(x, -np.inf)), params.cdf(np.nextafter(x, np.inf))
    assert (below - 1e-12 <= q).all()
    assert (q <= above + 1e-12).all()
    np.testing.assert_allclose(params.cdf(x), by_scipy, rtol=1e-12)
    assert (np.diff(params.ppf(np.sort(q))) >= 0).all()


def test_distribution_function_is_the_integral_of_the_density():
    params = line((0.3, -2.0, 0.5), (0.7, 1.0, 1.5))
    for x in (-2.5, 0.0, 3.0):
        integral, _ = integrate.quad(lambda t: np.exp(params.log_density([[t]]))[0], -np.inf, x, epsabs=1e-11)
        assert params.cdf(x) == pytest.approx(integral, abs=1e-9)


def test_quantiles_of_the_far_tails_and_the_ends():
    params = line((0.5, 0.0, 1.0), (0.5, 10.0, 3.0))
    assert params.ppf([0.0, 1.0]).tolist() == [-np.inf, np.inf]
    x = params.ppf([1e-200, 1e-300])
    np.testing.assert_allclose(np.log(params.cdf(x)), np.log([1e-200, 1e-300]), rtol=1e-12)
    single = line((1.0, 3.0, 2.0))
    q = np.array([1e-300, 1e-9, 0.2, 0.5, 0.999, 1 - 1e-16])
    np.testing.assert_allclose(single.ppf(q), stats.norm(3.0, 2.0).ppf(q), rtol=1e-12)


def test_weight_zero_components_apart_and_shapes():
    """A component of weight zero moves nothing; between components far apart half of the mass lies on either side."""
    q = np.linspace(0.01, 0.99, 6).reshape(2, 3)
    np.testing.assert_array_equal(line((0.0, 900.0, 1.0), (1.0, 0.0, 1.0)).ppf(q), line((1.0, 0.0, 1.0)).ppf(q))
    apart = line((0.5, -1e6, 1.0), (0.5, 1e6, 1.0))
    assert apart.cdf(apart.ppf(0.5)) == 0.5
    np.testing.assert_allclose(apart.ppf([0.25, 0.75]), [-1e6, 1e6], rtol=1e-15, atol=1e-9)
    batch = random_mixture(np.random.default_rng(3), 3, 1, (2, 4))
    assert batch.ppf(q).shape == batch.cdf(q).shape == (2, 4, 2, 3)
    np.testing.assert_array_equal(batch.ppf(q)[1, 2], batch[1, 2].ppf(q))
    assert batch.ppf(0.3).shape == (2, 4)
    assert batch.ppf([]).shape == (2, 4, 0)


# Modes


def by_brute_force(params, n=400):
    """Local maxima of the density on a fine grid, each polished by SciPy: one or two columns."""
    low, high = (params.means - 3 * params.sds).min(0), (params.means + 3 * params.sds).max(0)
    axes = [np.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    values = log_density(grid.reshape(-1, params.n_features), params).reshape(grid.shape[:-1])
    inner = np.pad(values, 1, constant_values=-np.inf)
    top = np.ones(values.shape, dtype=bool)
    for shift in np.ndindex(*(3,) * params.n_features):
        if any(s != 1 for s in shift):
            top &= values > inner[tuple(slice(s, s + n) for s in shift)]
    return grid[top]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, K=st.integers(1, 5))
def test_modes_on_the_line_are_those_of_a_grid(seed, K):
    rng = np.random.default_rng(seed)
    params = line(*zip(rng.dirichlet(np.full(K, 3.0)), rng.normal(size=K) * 2, rng.uniform(0.3, 1.0, K), strict=True))
    found, grid = params.modes(), by_brute_force(params, 4001)
    step = 2e-3 * np.ptp([params.means - 3 * params.sds, params.means + 3 * params.sds])
    # A mode that no grid can tell from a shoulder is not held against either.
    strict = [x for x in found if second_difference(params, x) < -1e-3]
    for x in strict:
        assert np.abs(grid - x).min() < step
    for x in grid:
        assert np.abs(found - x).min() < step


def second_difference(params, x, h=1e-4):
    left, middle, right = log_density(np.array([x - h, x, x + h]), params)
    return (left - 2 * middle + right) / h**2


@pytest.mark.parametrize("seed", range(6))
def test_modes_of_the_plane_are_those_of_a_grid(seed):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, 4, 2)
    params = MixtureParams(params.weights, 2.0 * params.means, params.scale_tril)
    found, grid = params.modes(), by_brute_force(params)
    assert len(found) == len(grid)
    assert all(np.linalg.norm(found - x, axis=1).min() < 0.1 for x in grid)


def test_modes_are_stationary_with_a_negative_definite_hessian_and_sorted(rng):
    params = random_mixture(rng, 5, 3)
    found = params.modes()
    assert (np.diff(params.log_density(found)) <= 0).all()

    def height(x):
        return log_density(x[None], params)[0]

    for x in found:
        assert np.abs(optimize.approx_fprime(x, height, 1e-6)).max() < 1e-4
        directions = np.concatenate([np.eye(3), -np.eye(3), rng.normal(size=(50, 3))])
        around = x + 0.02 * directions / np.linalg.norm(directions, axis=1)[:, None]
        assert (log_density(around, params) < height(x)).all()


def test_crossing_ellipses_have_more_modes_than_components():
    params = MixtureParams.from_covariances([0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]], [np.diag([1.0, 0.05]), np.diag([0.05, 1.0])])
    found = params.modes()
    assert len(found) == len(by_brute_force(params)) == 3
    np.testing.assert_allclose(found[0], found[0][::-1], atol=1e-12)


def test_three_round_components_can_have_four_modes():
    """Equal circles on an equilateral triangle have a fourth mode in its middle in a small range of widths (Duistermaat's example, in
    Carreira-Perpinan and Williams 2003, equal covariances): only the common ridge point leads there."""
    angles = np.pi / 2 + np.arange(3) * 2 * np.pi / 3
    means = np.column_stack([np.cos(angles), np.sin(angles)])
    params = MixtureParams.from_covariances(np.full(3, 1 / 3), means, np.full((3, 1, 1), 0.715**2) * np.eye(2))
    found = params.modes()
    assert len(found) == 4
    assert np.linalg.norm(found, axis=1).min() < 1e-9


@pytest.mark.parametrize("distance", [1.0, 1.99, 2.0, 2.01, 2.2, 6.0, 100.0])
def test_two_equal_components_have_two_modes_beyond_two_standard_deviations(distance):
    """For x = m tanh(m x) with half distance m there is a solution off zero exactly when m > 1."""
    found = line((0.5, -distance / 2, 1.0), (0.5, distance / 2, 1.0)).modes()
    assert len(found) == (1 if distance <= 2 else 2)
    m, x = distance / 2, found[0, 0]
    assert x == pytest.approx(m * np.tanh(m * x), abs=1e-3 if distance == 2.0 else 1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, offset=st.sampled_from([0.0, 1e6]), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_modes_move_with_an_affine_map(seed, offset, scale):
    rng = np.random.default_rng(seed)
    params = random_mixture(rng, 3, 2)
    shift, factor = np.full(2, offset * scale), scale * np.array([[1.0, 0.0], [0.5, 0.1]])
    moved, expected = params.transform(shift, factor).modes(), shift + params.modes() @ factor.T
    assert len(moved) == len(expected)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=scale * (1e-6 + 1e-9 * offset))


def test_components_of_weight_zero_and_coinciding_ones_make_no_modes():
    params = line((0.5, 0.0, 1.0), (0.0, 50.0, 1.0), (0.5, 0.0, 1.0))
    np.testing.assert_allclose(params.modes(), [[0.0]], atol=1e-12)


# Between components


@pytest.mark.parametrize(("D", "kind"), [(1, "full"), (2, "full"), (2, "tied"), (3, "diag"), (5, "full"), (8, "spherical")])
def test_overlap_agrees_with_samples(D, kind):
    """How often 200,000 draws of a component are nearer to another, within five standard errors."""
    rng = np.random.default_rng(D)
    params, n = random_mixture(rng, 4, D, covariance_type=kind), 200_000
    overlap = params.overlap()
    assert np.diag(overlap).tolist() == [1.0] * 4
    for i in range(4):
        X = params.means[i] + rng.normal(size=(n, D)) @ params.scale_tril[i].T
        joint = scipy_log_joint(X, params)
        share = (joint > joint[:, [i]]).mean(0)
        for j in set(range(4)) - {i}:
            assert abs(share[j] - overlap[i, j]) < 5 * np.sqrt(overlap[i, j] * (1 - overlap[i, j]) / n) + 1e-5


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_overlap_on_the_line_is_that_of_the_intervals_between_the_crossings(seed):
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.05, 0.95)
    params = line((w, rng.normal(), rng.uniform(0.2, 2.0)), (1 - w, 3 * rng.normal(), rng.uniform(0.2, 2.0)))
    for i, j in [(0, 1), (1, 0)]:
        np.testing.assert_allclose(params.overlap()[i, j], by_crossings(params, i, j), rtol=1e-8, atol=1e-12)


def by_crossings(params, i, j):
    """P of N(m_i, s_i) where the log-odds of j, a parabola, are positive."""
    (mi, mj), (si, sj) = params.means[[i, j], 0], params.sds[[i, j], 0]
    odds = np.log(params.weights[j] / params.weights[i]) + np.log(si / sj)
    parabola = [0.5 / si**2 - 0.5 / sj**2, mj / sj**2 - mi / si**2, odds + 0.5 * (mi / si) ** 2 - 0.5 * (mj / sj) ** 2]
    roots = np.sort(np.roots(parabola))
    if np.iscomplexobj(roots):
        return float(parabola[0] > 0)
    inside = np.diff(stats.norm(mi, si).cdf(roots))[0]
    outside = stats.norm(mi, si).cdf(roots[0]) + stats.norm(mi, si).sf(roots[-1])
    return inside if parabola[0] < 0 else outside


def test_overlap_of_equal_covariances_is_known():
    """P(Z > delta/2 + log(w_i/w_j)/delta) with delta the Mahalanobis distance: also far in the tail."""
    for shift, w in [(1.0, 0.5), (3.0, 0.2), (20.0, 0.9), (60.0, 0.5)]:
        params = MixtureParams.from_covariances([w, 1 - w], [[0.0, 0.0], [shift, 0.0]], [[[2.0, 1.0], [1.0, 1.0]]] * 2)
        delta = np.sqrt([shift, 0.0] @ np.linalg.solve(params.covariances[0], [shift, 0.0]))
        expected = stats.norm.sf(delta / 2 + np.log(w / (1 - w)) / delta)
        assert params.overlap()[0, 1] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("D", [1, 2, 3, 6])
def test_overlap_of_circles_around_one_point_is_that_of_chi_square(D):
    """N(0, 4 I) against N(0, I), weights equal: the smaller is taken where |x|^2 (1 - 1/4) < D log 4."""
    params = MixtureParams.from_covariances([0.5, 0.5], np.zeros((2, D)), [np.eye(D), 4 * np.eye(D)])
    radius = D * np.log(4.0) / 0.75
    np.testing.assert_allclose(params.overlap(), [[1.0, stats.chi2(D).sf(radius)], [stats.chi2(D).cdf(radius / 4), 1.0]], rtol=1e-9)


def test_overlap_survives_affine_maps_and_degenerate_cases(rng):
    params = random_mixture(rng, 3, 3)
    factor = np.tril(rng.normal(size=(3, 3)), -1) + np.diag([1e-3, 1.0, 1e3])
    np.testing.assert_allclose(params.transform([1e3, 0.0, 5.0], factor).overlap(), params.overlap(), rtol=1e-7)
    assert line((0.5, 1.0, 2.0), (0.5, 1.0, 2.0)).overlap().tolist() == [[1.0, 0.5], [0.5, 1.0]]
    assert line((0.4, 1.0, 2.0), (0.6, 1.0, 2.0)).overlap().tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert line((0.0, 1.0, 2.0), (1.0, 3.0, 1.0), (0.0, 0.0, 1.0)).overlap().tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert line((1.0, 1.0, 2.0)).overlap().tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("square", "linear"),
    [
        ([1.0, 2.0], [0.0, 0.0]),
        ([1.0, -1.0], [0.0, 0.0]),
        ([50.0, 1e-4], [3.0, 2.0]),
        ([-2.0, 1e-12], [0.5, 1.0]),
        ([2.5, -1.6e-4], [6.4, 0.21]),
    ],
)
def test_quadratic_form_agrees_with_adaptive_quadrature(square, linear):
    """Two variables: one is integrated by quadrature over the exact probability of the other."""
    for bound in (-4.0, -0.3, 0.0, 0.7, 42.0):
        expected = by_quadrature(bound, *square, *linear)
        found = probability_below(np.array([bound]), np.array([square]), np.array([linear]))[0]
        assert found == pytest.approx(expected, abs=1e-7), bound


def by_quadrature(bound, p, q, a, b):
    """P(p y^2 + a y + q z^2 + b z < bound) as an integral over z, cut where the set of y changes its nature."""

    def inner(z):
        rest = bound - q * z * z - b * z
        disc = a * a + 4 * p * rest
        if disc <= 0:
            return stats.norm.pdf(z) * (p < 0)
        low, high = sorted([(-a - np.sqrt(disc)) / (2 * p), (-a + np.sqrt(disc)) / (2 * p)])
        inside = special.ndtr(high) - special.ndtr(low)
        return stats.norm.pdf(z) * (inside if p > 0 else 1 - inside)

    cuts = np.roots([-4 * p * q, -4 * p * b, a * a + 4 * p * bound])
    points = sorted({-12.0, 12.0, *(float(c.real) for c in cuts if abs(c.imag) < 1e-12 and abs(c) < 12)})
    return sum(integrate.quad(inner, u, v, limit=400, epsabs=1e-10)[0] for u, v in pairwise(points))


# From numbers, and files


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_parameters_in_scikit_learn_s_shapes(rng, kind):
    params = random_mixture(rng, 3, 3, (2,), covariance_type=kind)
    c = params.covariances
    variances = np.diagonal(c, axis1=-2, axis2=-1)
    shapes = {"full": c, "tied": c[:, 0], "diag": variances, "spherical": variances[..., 0]}
    again = MixtureParams.from_parameters(params.weights, params.means, shapes[kind], kind)
    np.testing.assert_allclose(again.scale_tril, params.scale_tril, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": [0.5, 0.6]}, "add up to 1.1, not to one"),
        ({"weights": [[0.5, 0.5], [0.5, 0.6]]}, r"weights\[1\] add up to 1.1"),
        ({"weights": [1.5, -0.5]}, r"weights\[1\] is -0.5"),
        ({"weights": 1.0}, r"shape \(..., K\)"),
        ({"weights": ["a", "b"]}, "weights must be numbers"),
        ({"means": [[0.0, 1.0], [2.0]]}, "means must be a rectangular array"),
        ({"means": [[0.0, np.nan], [1.0, 2.0]]}, r"means\[0, 1\] is nan"),
        ({"means": [0.0, 1.0]}, r"means must have shape \(2, D\), one row for each of the 2 weight"),
        ({"covariances": np.eye(2)}, r"type 'full' must have shape \(..., K, D, D\), here \(2, 2, 2\); got \(2, 2\)"),
        ({"covariances": [np.eye(2), [[1.0, 0.5], [0.0, 1.0]]]}, r"covariances\[1\] is not a symmetric"),
        ({"covariances": [np.eye(2), [[1.0, 2.0], [2.0, 1.0]]]}, r"positive definite \(component 1, smallest eigenvalue -1\)"),
        ({"covariance_type": "round"}, "one of full, tied, diag, spherical, got 'round'"),
    ],
)
def test_the_first_wrong_parameter_is_named_with_its_place(changes, words):
    values = {"weights": [0.5, 0.5], "means": [[0.0, 1.0], [2.0, 3.0]], "covariances": [np.eye(2), np.eye(2)]} | changes
    with pytest.raises(InvalidParameterError, match=words):
        MixtureParams.from_parameters(**values)


def test_asymmetry_that_is_rounding_is_forgiven():
    covariance = np.array([[1.0, 1e-18], [0.0, 1.0]])
    params = MixtureParams.from_parameters([1.0], [[0.0, 0.0]], [covariance])
    np.testing.assert_allclose(params.covariances[0], np.eye(2), atol=1e-17)


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=40, deadline=None)
@given(
    means=arrays(float, (2, 3, 2), elements=FLOATS),
    sds=arrays(float, (2, 3, 2), elements=st.floats(5e-324, 1.7e308)),
    below=arrays(float, (2, 3), elements=FLOATS),
    seed=SEEDS,
    ending=st.sampled_from([".json", ".npz", ".NPZ"]),
)
@example(np.full((2, 3, 2), -0.0), np.full((2, 3, 2), 5e-324), np.full((2, 3), 0.1 + 0.2), 1, ".json")
def test_every_bit_comes_back(tmp_path_factory, means, sds, below, seed, ending):
    factors = np.zeros((2, 3, 2, 2))
    factors[..., [0, 1], [0, 1]] = sds
    factors[..., 1, 0] = below
    params = MixtureParams(np.random.default_rng(seed).dirichlet(np.ones(3), 2), means, factors)
    path = tmp_path_factory.mktemp("saved") / f"new/mixture{ending}"
    for one in (params, params[1]):
        one.save(path)
        again = MixtureParams.load(path)
        for name in ("weights", "means", "scale_tril"):
            assert getattr(again, name).tobytes() == getattr(one, name).tobytes()
            assert getattr(again, name).shape == getattr(one, name).shape
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


GOOD = {"format": "bayesgmm.MixtureParams", "version": 1, "weights": [1.0], "means": [[0.0]], "scale_tril": [[[1.0]]]}


@pytest.mark.parametrize("ending", [".json", ".npz"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": [0.9]}, "add up to one"),
        ({"weights": None}, "it lacks weights"),
        ({"covariances": [[[1.0]]]}, "keys that no mixture has: covariances"),
        ({"means": [[0.0, 1.0]]}, "scale_tril must have shape"),
        ({"means": [0.0]}, "means must have shape"),
        ({"means": [["0.0"]]}, "means must be numbers"),
        ({"scale_tril": [[[-1.0]]]}, "positive diagonal"),
        ({"scale_tril": [[[0.0]]]}, "positive diagonal"),
        ({"format": "bayesgmm.Priors"}, "its format is 'bayesgmm.Priors'"),
        ({"version": 2}, "has version 2 .* update bayesgmm"),
        ({"version": 0}, "not a whole number from 1 on"),
        ({"version": "new"}, "not a whole number from 1 on"),
    ],
)
def test_a_file_that_is_not_a_mixture_is_refused_by_name(tmp_path, ending, changes, words):
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path = tmp_path / f"bad{ending}"
    np.savez(path, **content) if ending == ".npz" else path.write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match=words) as caught:
        MixtureParams.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"", "cannot be read as JSON"),
        ("a.json", b"\xff\xfe", "not UTF-8 text"),
        ("a.json", b"[1, 2]", "holds a list"),
        ("a.json", b"[" * 100_000, "cannot be read as JSON"),
        ("a.json", json.dumps(GOOD | {"means": [[np.nan]]}).encode(), "NaN is not a number"),
        ("a.json", json.dumps(GOOD).replace("0.0", "1e999").encode(), "finite"),
        ("a.json", json.dumps(GOOD | {"means": [[0.0], [1.0, 2.0]]}).encode(), "means must be a rectangular array"),
        ("a.json", json.dumps(GOOD | {"means": [[10**400]]}).encode(), "means must be numbers"),
        ("a.npz", b"", "cannot be read as an npz"),
        ("a.npz", b"PK\x03\x04 nothing", "cannot be read as an npz"),
        ("a.npz", b"weights", "cannot be read as an npz"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=words) as caught:
        MixtureParams.load(path)
    assert str(path) in str(caught.value)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, **(GOOD | {"means": np.array([[Planted(tmp_path)]], dtype=object)}))
    with pytest.raises(InvalidDataError, match="npz file of plain arrays"):
        MixtureParams.load(path)
    assert not (tmp_path / "ran").exists()


class Planted:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder / "ran"),)


def test_names_and_failures_of_saving(tmp_path):
    params = line((1.0, 0.0, 1.0))
    for call in (params.save, MixtureParams.load):
        with pytest.raises(InvalidParameterError, match=r"must end in \.json or \.npz"):
            call(tmp_path / "mixture.pickle")
    with pytest.raises(InvalidDataError, match="There is no file"):
        MixtureParams.load(tmp_path / "none.json")
    with pytest.raises(InvalidParameterError, match="empty batch"):
        MixtureParams(np.empty((0, 2)), np.empty((0, 2, 1)), np.empty((0, 2, 1, 1))).save(tmp_path / "empty.npz")
    assert list(tmp_path.iterdir()) == []
