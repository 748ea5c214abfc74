"""EM: monotone, equivariant, at scikit-learn's iterates and at published optima."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture as SklearnMixture

import bayesgmm as bg
from bayesgmm.covariance import family
from bayesgmm.em import Fitting, Specification, resample
from bayesgmm.em.degeneracy import smallest_sds
from bayesgmm.em.fit import AUTO_STARTS, Start
from bayesgmm.em.initialization import MOST_ROWS, START_METHODS, Sample, starting_points
from bayesgmm.em.m_step import Settings
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.rows import MemoryRows
from tests.conftest import fit_rows, random_mixture

NAMES = ["full", "tied", "diag", "spherical"]


def fit(X, K, name="full", seed=0, **changes):
    how = {"tol": 1e-9, "max_iter": 2000, "seeds": np.random.SeedSequence(seed)} | changes
    return fit_rows(X, K, name, **how)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(NAMES), K=st.integers(1, 4), D=st.integers(1, 4))
def test_the_likelihood_never_falls(seed, name, K, D):
    rng = np.random.default_rng(seed)
    X = random_mixture(rng, max(K, 2), D).sample(60, rng)[0]
    found = fit(X, K, name, n_init=2, max_iter=60)
    # Where the floor holds a component up, rounding beside it has fewer digits.
    slack = 1.01e-8 if found.status in ("converged", "max_iter") else 1e-5
    assert (np.diff(found.trace) >= -slack * (np.abs(found.trace[1:]) + len(X))).all()


@pytest.mark.parametrize("name", NAMES)
def test_iterates_are_scikit_learns_from_the_same_start(name, faithful, rng):
    X = faithful.to_numpy()
    K = 3
    fam = family(name)
    weights, means = np.array([0.5, 0.3, 0.2]), X[[10, 100, 200]]
    covariance = np.broadcast_to(np.cov(X.T), (K, 2, 2)) / 2
    if fam.diagonal:
        covariance = covariance * np.eye(2)
    if name == "spherical":
        covariance = np.broadcast_to(50 * np.eye(2), (K, 2, 2))
    reference = SklearnMixture(
        K,
        covariance_type=name,
        tol=0,
        max_iter=30,
        reg_covar=1e-6,
        weights_init=weights,
        means_init=means,
        precisions_init=fam.pack(np.linalg.inv(covariance)),
    )
    with pytest.warns(bg.exceptions.ConvergenceWarning):
        reference.fit(X)
    ours = fit(X, K, name, tol=0.0, max_iter=30, reg_covar=1e-6, start=Start(weights, means, covariance))
    np.testing.assert_allclose(ours.trace[:-1] / len(X), reference.lower_bounds_, rtol=1e-9)
    np.testing.assert_allclose(fam.pack(ours.params.covariances), reference.covariances_, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_trace_is_scikit_learns_also_in_units_where_its_own_fails(offset, faithful):
    """Columns times 1e-6 and 1e6, far from the origin: the trace is scikit-learn's on the plain data, plus the change of units."""
    X = faithful.to_numpy()
    center, spread = X.mean(0), X.std(0)
    Z = (X - center) / spread  # where scikit-learn is at ease
    units = np.array([1e-6, 1e6])
    awkward = Z * units + offset * units
    weights, means = np.array([0.5, 0.5]), Z[[10, 100]]
    reference = SklearnMixture(
        2, tol=0, max_iter=25, reg_covar=0, weights_init=weights, means_init=means, precisions_init=np.stack([np.eye(2)] * 2)
    )
    with pytest.warns(bg.exceptions.ConvergenceWarning):
        reference.fit(Z)
    start = Start(weights, means * units + offset * units, np.stack([np.diag(units**2)] * 2))
    ours = fit(awkward, 2, "full", tol=0.0, max_iter=25, n_init=1, start=start)
    np.testing.assert_allclose(ours.trace[:-1] / len(X) + np.log(units).sum(), reference.lower_bounds_, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "K", "best", "tolerance"),
    [("full", 2, -1130.264, 0.001), ("tied", 3, -1126.326, 0.001), ("full", 1, None, 1e-9)],
)
def test_faithful_reaches_the_published_optimum(name, K, best, tolerance, faithful):
    """mclust's maxima for VVV and EEE; for one component the closed form."""
    X = faithful.to_numpy()
    if best is None:
        _, log_det = np.linalg.slogdet(2 * np.pi * np.cov(X.T, bias=True))
        best = -0.5 * len(X) * (log_det + 2)
    assert fit(X, K, name, seed=1).log_likelihood >= best - tolerance


def test_galaxies_reach_the_published_optimum():
    """mclust V,3 on velocities in thousands of km/s: -203.1792; not more than rounding above it, so not a degenerate peak."""
    found = fit(bg.datasets.load_galaxies(), 3, "spherical", seed=1)
    assert found.log_likelihood == pytest.approx(-203.1792, abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(NAMES))
def test_units_and_offset_do_not_matter(seed, name):
    """Any affine map for full and tied from a start that is mapped too; for searches any scaling of columns, or one common factor."""
    rng = np.random.default_rng(seed)
    X = random_mixture(rng, 3, 2).sample(80, rng)[0]
    scale = {"diag": np.diag([1e-5, 1e5]), "spherical": 1e4 * np.eye(2)}.get(name, np.array([[1e3, 0.0], [2.0, 1e-3]]))
    shift = scale @ [50.0, -70.0]
    if name in ("full", "tied"):
        start = Start(np.full(2, 0.5), X[:2], np.stack([np.cov(X.T)] * 2))
        mapped = Start(start.weights, start.means @ scale.T + shift, scale @ start.covariances @ scale.T)
        one, other = fit(X, 2, name, start=start), fit(X @ scale.T + shift, 2, name, start=mapped)
        assert other.log_likelihood == pytest.approx(one.log_likelihood - np.log(np.diag(scale)).sum() * len(X), rel=1e-6, abs=1e-4)
        scale = np.diag([1e3, 1e-3])
    here, there = fit(X, 2, name), fit(X @ scale.T + shift, 2, name)
    log_det = np.log(np.diag(scale)).sum() * len(X)
    assert there.log_likelihood == pytest.approx(here.log_likelihood - log_det, rel=1e-6, abs=1e-4)
    moved = here.params.transform(shift, scale)
    np.testing.assert_allclose(
        there.params.responsibilities(X @ scale.T + shift), moved.responsibilities(X @ scale.T + shift), atol=1e-3
    )


def test_two_long_thin_groups_are_found_whatever_the_scale():
    """sd (100, 0.2), apart on the small axis: scikit-learn's raw k-means start gives a partition no better than chance."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal([0, y], [100, 0.2], size=(150, 2)) for y in (0.0, 2.0)])
    truth = np.repeat([0, 1], 150)
    labels = fit(X, 2).params.responsibilities(X).argmax(1)
    assert max((labels == truth).mean(), (labels != truth).mean()) > 0.99


def test_same_seed_same_bits_and_weights_count_rows(faithful, rng):
    X = faithful.to_numpy()
    one, two = fit(X, 3, seed=5), fit(X, 3, seed=5)
    np.testing.assert_array_equal(one.params.scale_tril, two.params.scale_tril)
    np.testing.assert_array_equal(one.trace, two.trace)
    counts = rng.integers(0, 3, size=len(X))
    start = Start(one.params.weights, one.params.means, one.params.covariances)
    weighted = fit(X, 3, start=start, sample_weight=counts.astype(float), max_iter=20)
    repeated = fit(np.repeat(X, counts, axis=0), 3, start=start, max_iter=20)
    np.testing.assert_allclose(weighted.trace, repeated.trace, rtol=1e-10)
    np.testing.assert_allclose(weighted.params.means, repeated.params.means, rtol=1e-8)


@pytest.mark.parametrize("method", [*START_METHODS, "auto"])
def test_every_start_gives_every_component_some_rows(method, faithful):
    X = faithful.to_numpy(float)
    settings = Settings(family("full"), 1e-8, 10, smallest_sds(X))
    sample = Sample(X, np.ones(len(X)), is_all=True, rows=X)
    found = list(starting_points(sample, 4, method, 6, settings, np.random.SeedSequence(1)))
    assert len(found) == 6
    for mixture in found:
        assert np.exp(mixture.log_weights).sum() == pytest.approx(1.0)
        assert (np.exp(mixture.log_weights) >= 0.99 / len(X)).all()


def test_large_data_start_from_some_rows_and_end_at_the_same_place(rng):
    X = np.vstack([rng.normal(m, 1, size=(MOST_ROWS, 1)) for m in (0.0, 4.0)])
    found, direct = fit(X, 2), fit(X, 2, n_init=1)
    assert found.log_likelihood == pytest.approx(direct.log_likelihood, abs=1e-3)


def test_many_starts_are_made_and_counted(faithful):
    found = fit(faithful, 3, seed=2, n_init="auto")
    assert found.n_starts == AUTO_STARTS
    assert 0 <= found.n_at_best <= AUTO_STARTS
    assert fit(faithful, 3, seed=2, n_init="auto", effort=4.0).n_starts == 2 * AUTO_STARTS
    seen = []
    fitting = Fitting(MemoryRows(faithful), Specification(2, family("full"), n_init=3), on_run=seen.append)
    fitting.search()
    assert [run.n_iter > 0 for run in seen] == [True] * 3


def test_floor_keeps_repeated_rows_from_collapsing(rng):
    X = np.vstack([np.zeros((30, 2)), rng.normal(5, 1, size=(60, 2))])
    found = fit(X, 2)
    assert np.isfinite(found.log_likelihood)
    assert found.status == "collapsed"
    np.testing.assert_allclose(found.params.sds[found.params.weights.argmin()], smallest_sds(X), rtol=1e-6)


def test_without_any_floor_a_collapse_is_one_clear_error():
    X = np.repeat([[0.0], [1.0], [7.0]], 30, axis=0)
    with pytest.raises(InvalidParameterError, match="every start of EM ended in a component without spread"):
        fit(X, 3, reg_covar=0.0, n_init=2, init_params="kmeans")


def test_bootstrap_spread_is_the_standard_error_of_one_component(rng):
    """With K = 1 the fit is the mean and the covariance, so the bootstrap's spread of the mean is sd / sqrt(N)."""
    X = rng.normal([3.0, -1.0], [2.0, 0.5], size=(200, 2))
    params = fit(X, 1).params
    how = {"tol": 1e-8, "max_iter": 50, "reg_covar": None, "seeds": np.random.SeedSequence(4)}
    replicates = resample(MemoryRows(X), params, family("full"), n_replicates=400, **how).params
    assert replicates.batch_shape == (400,)
    np.testing.assert_allclose(replicates.means[:, 0].std(0), X.std(0) / np.sqrt(200), rtol=4 / np.sqrt(2 * 400))
