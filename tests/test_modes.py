"""Local optima are kept, chains start in them, and chains in different modes are weighed by what they predict."""

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import multivariate_t, norm

import bayesgmm as bg
from bayesgmm.bayes.draws import SamplerSettings
from bayesgmm.bayes.initial_points import CREDIBLE, initial_points
from bayesgmm.bayes.laplace import find_mode, hessian, log_mass, normal_about
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.nuts import sample_nuts
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.diagnostics import diagnose, stack
from bayesgmm.diagnostics.chains import find_modes, named_chains
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.rows import MemoryRows

FULL = family("full")


@pytest.fixture(scope="module")
def three():
    """Three equal groups on a line, far apart: with two components either the left two or the right two share one."""
    centred = np.linspace(-1.5, 1.5, 20)
    return np.concatenate([centred - 10, centred, centred + 10])[:, None]


def density_of(X, K=2, weights=None):
    priors = Priors().resolve(MemoryRows(X), K, FULL)
    return LogPosterior(X, Space(priors, FULL), weights)


def density_without_partitions(X):
    """A density whose modes are those that EM gives: weighted rows have no labels to begin from."""
    return density_of(X, weights=np.ones(len(X)))


def line(weights, means, sds):
    return MixtureParams(np.array(weights), np.array(means)[:, None], np.array(sds)[:, None, None])


LEFT = line([2 / 3, 1 / 3], [-5.0, 10.0], [5.0, 1.0])
RIGHT = line([2 / 3, 1 / 3], [5.0, -10.0], [5.0, 1.0])


@pytest.fixture(scope="module")
def split(three):
    """Draws of a posterior of two modes by chains that do not jump between them."""
    with pytest.warns(bg.exceptions.ConvergenceWarning, match="Different modes"):
        return bg.BayesianGaussianMixture(2, sampler="nuts", draws=300, tune=300, random_state=3, progressbar=False).fit(three)


def test_optima_are_maxima_of_their_own(three, rng):
    X = three + 0.3 * rng.normal(size=three.shape)
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    heights = [height for height, _ in em.optima_]
    assert len(heights) >= 2
    assert heights[0] == em.log_likelihood_
    assert (np.diff(heights) <= 0).all()
    assert not any(a.resembles(b, X) for i, (_, a) in enumerate(em.optima_) for _, b in em.optima_[:i])
    for height, params in em.optima_:
        densities = norm.pdf(X, params.means[:, 0], params.sds[:, 0])
        assert np.log(densities @ params.weights).sum() == pytest.approx(height, rel=1e-9)
        start = {"weights_init": params.weights, "means_init": params.means, "precisions_init": 1 / params.covariances}
        again = bg.GaussianMixture(2, **start).fit(X)
        assert again.log_likelihood_ == pytest.approx(height, abs=1e-4)
        np.testing.assert_allclose(again.means_, params.means, atol=1e-2)


def test_more_effort_makes_more_starts_and_ends_no_lower(three):
    em, more = (bg.GaussianMixture(3, effort=effort, random_state=1).fit(three) for effort in (1.0, 4.0))
    assert more.log_likelihood_ > em.log_likelihood_ - 1e-6
    assert (more.n_starts_, em.n_starts_) == (12, 6)
    assert more.n_moves_ > em.n_moves_


def test_chains_start_in_the_highest_mode_and_one_in_another(three):
    density = density_without_partitions(three)
    moved = line([0.5, 0.5], [-5.0, 10.0], [5.0, 1.0])
    modes = [LEFT, RIGHT, moved]
    heights = np.array([density(density.space.unconstrain(mode))[0] for mode in modes])
    assert np.ptp(heights) < CREDIBLE
    starts = initial_points(density, three, modes, 4, 1).points
    # By brute force: the mass of each mode is the posterior's integral about it, by importance sampling.
    masses = [mass_about(density, density.space.unconstrain(mode)) for mode in (LEFT, RIGHT)]
    # A mode keeps its place under other labels, and takes those of the highest.
    places = (density.space.unconstrain(mode.permute(order)) for mode in modes for order in ([0, 1], [1, 0]))
    tops = [find_mode(density, place) for place in places]
    assert np.ptp(masses) < 0.2  # by symmetry
    assert min(np.abs(starts[0] - top).max() for top in tops[:4]) < 1e-4
    assert np.abs(starts[-1] - starts[0]).max() > 1
    assert all(min(np.abs(start - top).max() for top in tops) < 1e-4 for start in starts)
    np.testing.assert_array_equal(initial_points(density, three, modes, 1, 1).points, starts[:1])


def mass_about(density, start):
    """Log of the posterior's integral about the mode that a start leads to: importance sampling from a t distribution."""
    mode = find_mode(density, start)
    covariance = np.linalg.inv(-hessian(density, mode))
    proposal = multivariate_t(mode, covariance, df=5, seed=1)
    q = proposal.rvs(4000)
    return logsumexp(density.at_each(q)[0] - proposal.logpdf(q)) - np.log(len(q))


def test_the_mass_of_a_mode_is_the_integral_about_it(rng):
    X = rng.normal(size=(300, 1)) + 5.0 * (rng.random(300) < 0.4)[:, None]
    density = density_of(X)
    start = density.space.unconstrain(line([0.6, 0.4], [0.0, 5.0], [1.0, 1.0]))
    assert log_mass(density, normal_about(density, find_mode(density, start))) == pytest.approx(mass_about(density, start), abs=0.1)


def test_equal_and_hopeless_modes_get_no_chain(three):
    density = density_without_partitions(three)
    far = line([0.5, 0.5], [100.0, -100.0], [1.0, 1.0])
    degenerate = line([0.5, 0.5], [0.0, 1e300], [1.0, 1.0])
    # The two components named the other way round are the same mode: as high, and found by its height.
    renamed = LEFT.permute(np.array([1, 0]))
    starts = initial_points(density, three, [LEFT, renamed, far, degenerate], 5, 1).points
    top = find_mode(density, density.space.unconstrain(LEFT))
    np.testing.assert_allclose(starts, np.tile(top, (5, 1)), atol=1e-4)


def test_other_partitions_lead_to_modes_that_em_did_not_name(three):
    density = density_of(three)
    found = initial_points(density, three, [LEFT], 4, 1)
    assert len(found.modes) == 2
    assert abs(np.diff(found.log_masses)[0]) < 0.1  # by symmetry
    means = [np.sort(density.space.constrain(mode.center).means[:, 0]) for mode in found.modes]
    assert sorted(np.round(means).tolist()) == [[-10.0, 5.0], [-5.0, 10.0]]


@pytest.mark.parametrize("seed", range(8))
def test_a_clump_of_rows_that_em_calls_degenerate_is_found(seed):
    """Twenty wrong rows in one place, of 400: two groups and the clump in the tail of one, or both in one group and the clump alone."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 2)) + 6.0 * (rng.random(400) < 0.4)[:, None]
    X[:20] = [12.0, -9.0]
    means = np.array([X[20:][X[20:].sum(1) < 6].mean(0), X[20:][X[20:].sum(1) >= 6].mean(0)])
    two = MixtureParams.from_covariances(np.array([0.6, 0.4]), means, np.tile(np.eye(2), (2, 1, 1)))
    density = density_of(X)
    with libraries_on_one_thread():
        found = initial_points(density, X, [two], 4, seed)
    first = density.space.constrain(found.points[0])
    k = int(first.weights.argmin())
    assert first.weights[k] == pytest.approx(0.055, abs=0.01)  # with a few rows from the tails, or without
    np.testing.assert_allclose(first.means[k], X[0], atol=0.1)


def test_every_chain_stays_where_it_was_put(three):
    density = density_of(three)
    starts = np.stack([density.space.unconstrain(mode) for mode in (LEFT, LEFT, RIGHT)])
    settings = SamplerSettings(draws=100, tune=100, chains=3, cores=2, seed=5, progressbar=False, jitter=0.05)
    found, again = (sample_nuts(density, starts, settings) for _ in range(2))
    np.testing.assert_array_equal(found.params.means, again.params.means)
    assert found.params.batch_shape == (3, 100)
    assert not np.array_equal(found.params.means[0], found.params.means[1])
    heavy = np.take_along_axis(found.params.means[..., 0], found.params.weights.argmax(-1)[..., None], -1)[..., 0].mean(1)
    assert heavy[0] < -2
    assert heavy[1] < -2
    assert heavy[2] > 2
    assert set(found.statistics) == set(sample_nuts(density, starts[:1], settings).statistics)


def test_chains_that_jump_agree_on_two_modes(three):
    fit = bg.BayesianGaussianMixture(2, random_state=3, progressbar=False).fit(three)
    assert fit.diagnose()[0].passed
    assert "started in 2 different modes; they jumped between modes" in fit.diagnose()[0].sentence
    heavy = np.take_along_axis(fit.params_.means[..., 0], fit.params_.weights.argmax(-1)[..., None], -1)[..., 0]
    error = float(az.mcse((heavy > 0).astype(float)))
    assert error < 0.05
    assert (heavy > 0).mean() == pytest.approx(0.5, abs=5 * error)  # by symmetry


def test_a_posterior_of_two_modes_says_so(split):
    modes = find_modes(split.datatree_)
    assert len(modes.chains) == 2
    assert sum(map(len, modes.chains)) == 4
    sentence = diagnose(split.datatree_)[0].sentence
    assert next(names for names in modes.chains if "0" in names) != next(names for names in modes.chains if "3" in names)
    assert all(named_chains(names) in sentence for names in modes.chains)
    assert "moved" in sentence
    assert "stacking()" in sentence
    assert "started in 2 different modes; they do not jump" in sentence


def test_equal_modes_share_the_weight(split):
    found = split.stacking()
    assert found.table["weight"].sum() == pytest.approx(1.0)
    for names in found.modes.chains:
        assert found.table.loc[list(names), "weight"].sum() == pytest.approx(0.5, abs=0.1)
    assert str(found).startswith("Stacking weights")


def planted(rng, shift):
    """Two chains of a normal mean, the second about a wrong one, with their pointwise log-likelihood."""
    x = rng.normal(size=50)
    mu = 0.1 * rng.normal(size=(2, 400)) + np.array([[0.0], [shift]])
    pointwise = norm.logpdf(x, mu[..., None], 1.0)
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"mu": (("chain", "draw"), mu)}, coords={"chain": [0, 1]}),
            "label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), pointwise.sum(-1))}, coords={"chain": [0, 1]}),
            "log_likelihood": xr.Dataset({"x": (("chain", "draw", "obs"), pointwise)}, coords={"chain": [0, 1]}),
        }
    )


@pytest.mark.parametrize("shift", [0.6, 3.0])
def test_weights_are_those_that_predict_best(rng, shift):
    tree = planted(rng, shift)
    found = stack(tree)
    # Leave-one-out densities by the harmonic mean, which does for draws as mild as these.
    pointwise = tree["log_likelihood"]["x"].values
    left_out = 1 / np.exp(-pointwise).mean(1)
    best = minimize_scalar(lambda w: -np.log(w * left_out[0] + (1 - w) * left_out[1]).sum(), bounds=(0, 1), method="bounded").x
    assert found.table["weight"]["0"] == pytest.approx(best, abs=0.02)
    np.testing.assert_allclose(found.table["elpd"], np.log(left_out).sum(1), atol=0.05)
    if shift > 1:
        assert "chain 1 nothing" in str(found)


def test_what_cannot_be_stacked_is_refused(rng, split):
    tree = planted(rng, 1.0)
    with pytest.raises(InvalidDataError, match="log_likelihood"):
        stack(tree.drop_nodes("log_likelihood"))
    weighted = bg.BayesianGaussianMixture(1, draws=50, tune=50, random_state=1, progressbar=False)
    X = rng.normal(size=(30, 1))
    weighted.fit(X, sample_weight=np.full(30, 2.0))
    with pytest.raises(InvalidDataError, match="sample_weight"):
        weighted.stacking()
