"""PyMC's own samplers on the model of build_model: starts, draws, statistics, missing samplers."""

import numpy as np
import pymc as pm
import pytensor
import pytest
from pymc.initial_point import make_initial_point_fn

from bayesgmm.bayes.draws import STATISTICS, SamplerSettings
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.model import build_resolved
from bayesgmm.bayes.pymc_sample import _point, sample_pymc
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.priors import Priors
from bayesgmm.rows import MemoryRows
from tests.conftest import random_mixture


@pytest.fixture
def interpreted():
    """Run graphs node by node in Python: compiling them takes longer than a few short chains."""
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        yield


def problem(name, D, K, N=30):
    rng = np.random.default_rng(5)
    start = random_mixture(rng, K, D, covariance_type=name)
    X = start.sample(N, rng)[0]
    kind = family(name)
    return X, K, kind, Priors().resolve(MemoryRows(X), K, kind), start


def draw(problem, options=(), **changes):
    how = {"jitter": 0.05, "draws": 6, "tune": 8, "chains": 2, "cores": 1, "seed": 4, "progressbar": False} | changes
    X, _, kind, priors, start = problem
    q = Space(priors, kind).unconstrain(start)
    return sample_pymc(X, Space(priors, kind), np.tile(q, (how["chains"], 1)), SamplerSettings(**how), dict(options))


@pytest.mark.parametrize(("name", "D", "K"), [("full", 3, 2), ("tied", 2, 2), ("diag", 2, 3), ("spherical", 2, 2), ("full", 1, 1)])
def test_chains_start_where_they_are_told(name, D, K, interpreted):
    X, K, kind, priors, start = problem(name, D, K)
    space = Space(priors, kind)
    model = build_resolved(X, kind, priors, [f"x{d}" for d in range(D)])
    point = make_initial_point_fn(model=model, overrides=_point(start, space), return_transformed=True)(0)
    q = np.concatenate([np.ravel(value) for value in point.values()])
    np.testing.assert_allclose(q, space.unconstrain(start), atol=1e-9)


@pytest.mark.parametrize(("name", "D", "K"), [("full", 2, 2), ("tied", 2, 2), ("spherical", 1, 1)])
def test_draws_of_pymcs_sampler(name, D, K, interpreted):
    here = problem(name, D, K)
    draws = draw(here)
    assert draws.params.batch_shape == (2, 6)
    assert set(draws.statistics) == set(STATISTICS)
    assert all(values.shape == (2, 6) for values in draws.statistics.values())
    assert (draws.sampler, draws.tuning_steps) == ("pymc", 8)
    assert draws.sampling_time > 0
    # The log-posterior that the sampler reports is that of the draws we hand on.
    X, _, kind, priors, _ = here
    density = LogPosterior(X, Space(priors, kind))
    q = density.space.unconstrain(draws.params)
    lp = [[density(row)[0] for row in chain] for chain in q]
    np.testing.assert_allclose(draws.statistics["lp"], lp, rtol=1e-7)


def test_a_seed_gives_the_same_draws(interpreted):
    here = problem("diag", 1, 2)
    first, again, other = (draw(here, seed=seed, draws=5, tune=5).params.means for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 5}, "draws is the estimator's own setting draws"),
        ({"random_seed": 5}, "random_seed is the estimator's own setting random_state"),
        ({"var_names": ["means"]}, "var_names cannot be chosen"),
        ({"nuts_sampler": "guesswork"}, "cannot be used by pymc.sample.*guesswork"),
        ({"guesswork": 1, "target_accept": 0.9}, "neither pymc.sample nor its step methods take guesswork$"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, words, interpreted):
    with pytest.raises(InvalidParameterError, match=words):
        draw(problem("full", 1, 2), options)


def test_a_sampler_that_is_not_installed_is_said(monkeypatch):
    def missing(**arguments):
        raise ImportError("No module named 'numpyro'")

    monkeypatch.setattr(pm, "sample", missing)
    with pytest.raises(InvalidParameterError, match=r"'numpyro' needs what is not installed \(No module named 'numpyro'\)"):
        draw(problem("full", 1, 2), {"nuts_sampler": "numpyro"})


def test_options_are_not_blamed_where_there_are_none(monkeypatch):
    def fails(**arguments):
        raise ValueError("something else")

    monkeypatch.setattr(pm, "sample", fails)
    with pytest.raises(ValueError, match=r"^something else$"):
        draw(problem("full", 1, 2))


def test_options_reach_pymc(interpreted):
    draws = draw(problem("full", 1, 2), {"target_accept": 0.95, "step": None}, draws=4, tune=4)
    assert draws.params.batch_shape == (2, 4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nutpie", "numpyro"])
def test_other_samplers_draw_from_the_same_posterior(sampler):
    """Compiled: up to two minutes the first time on a machine."""
    if sampler == "numpyro":
        pytest.importorskip("numpyro", reason="NumPyro is not installed: pip install bayesgmm[jax]")
    here = problem("full", 2, 2, N=60)
    X, _, kind, priors, _ = here
    draws = draw(here, {"nuts_sampler": sampler}, draws=100, tune=200, cores=2)
    density = LogPosterior(X, Space(priors, kind))
    q = density.space.unconstrain(draws.params)
    lp = [[density(row)[0] for row in chain] for chain in q]
    np.testing.assert_allclose(draws.statistics["lp"], lp, rtol=1e-7)
    assert draws.statistics["acceptance_rate"].mean() > 0.6
    assert draws.statistics["diverging"].mean() < 0.05
