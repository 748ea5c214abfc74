"""PyMC's roads to the posterior that are no chains: sequential Monte Carlo, variational inference, and Pathfinder through pymc-extras."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from scipy.special import logsumexp

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.bayes.importance import Normal, log_densities, sample_weighted
from bayesgmm.bayes.model import build_resolved
from bayesgmm.bayes.pymc_road import params_of, point, require_installed
from bayesgmm.tables import default_names
from bayesgmm.typing import FloatArray

__all__ = ["sample_advi", "sample_pathfinder", "sample_smc"]

STEPS_PER_TUNE = 20  # steps of the variational optimiser to a warm-up draw: 20,000 by default
LEARNING_RATE = 0.005


def sample_smc(density: LogPosterior, starts: FloatArray, settings: SamplerSettings) -> Draws:
    """Draw with ``pm.sample_smc``: particles that move from the prior to the posterior through powers of the likelihood.

    Parameters
    ----------
    density : LogPosterior
    starts : array of shape (chains, n_dim)
        Not used: particles start from the prior, which is the point of them.
    settings : SamplerSettings
        ``chains`` populations of ``draws`` particles each, one after the other.

    Returns
    -------
    Draws
        ``details`` has ``log_marginal_likelihood``, the log of the populations' mean estimate of the evidence, and its spread among
        populations.

    Notes
    -----
    Ching and Chen (2007), Journal of Engineering Mechanics 133, 816-832; Minson, Simons and Beck (2013), Geophysical Journal
    International 194, 1701-1726.
    """
    began = time.perf_counter()
    with _model(density), _quiet(settings):
        tree = pm.sample_smc(
            draws=settings.draws,
            chains=settings.chains,
            cores=1,  # populations in processes of their own would compile the model once each
            random_seed=settings.seed,
            progressbar=settings.progressbar,
            compute_convergence_checks=False,
        )
    evidences = _evidences(tree["sample_stats"].to_dataset())
    details = {
        "log_marginal_likelihood": float(logsumexp(evidences) - np.log(len(evidences))),
        "log_marginal_likelihood_sd": float(evidences.std()),
    }
    return _draws(density, tree, "smc", began, details)


def sample_advi(density: LogPosterior, starts: FloatArray, settings: SamplerSettings) -> Draws:
    """Fit a normal distribution with ``pm.FullRankADVI``, and draw from it as from Laplace's.

    Parameters
    ----------
    density : LogPosterior
    starts : array of shape (chains, n_dim)
        The first is where the optimiser starts.
    settings : SamplerSettings
        ``20 * tune`` steps are made.

    Returns
    -------
    Draws
        Weighted to the posterior; ``details`` has ``pareto_k``.

    Notes
    -----
    Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), Journal of Machine Learning Research 18 (14); weights and their check after Yao,
    Vehtari, Simpson and Gelman (2018), ICML.
    """
    began = time.perf_counter()
    space = density.space
    with _model(density), _quiet(settings):
        inference = pm.FullRankADVI(start=point(space.constrain(starts[0]), space), random_seed=settings.seed)
        _shrink(inference.approx, np.sqrt(min(1.0, space.n_components / len(density.X))))
        approximation = inference.fit(
            STEPS_PER_TUNE * settings.tune,
            progressbar=settings.progressbar,
            obj_optimizer=pm.adam(learning_rate=LEARNING_RATE),
        )
    # PyMC's flat vector is ours: the model's variables come in the order of the space.
    normal = Normal(approximation.mean.eval(), np.linalg.cholesky(approximation.cov.eval()))
    return sample_weighted(density, normal, settings, sampler="advi", began=began)


def sample_pathfinder(density: LogPosterior, starts: FloatArray, settings: SamplerSettings) -> Draws:
    """Draw with ``pymc_extras.fit_pathfinder``: normal approximations along quasi-Newton paths, weighted to the posterior.

    Parameters
    ----------
    density : LogPosterior
    starts : array of shape (chains, n_dim)
        The first is where all paths start, jittered.
    settings : SamplerSettings
        ``chains`` paths.

    Returns
    -------
    Draws
        ``details`` has ``pareto_k`` of pymc-extras' weights.

    Raises
    ------
    InvalidParameterError
        If pymc-extras is not installed.

    Notes
    -----
    Zhang, Carpenter, Gelman and Vehtari (2022), Journal of Machine Learning Research 23 (306).
    """
    require_installed("pathfinder")
    from pymc_extras import fit_pathfinder

    began = time.perf_counter()
    size = settings.draws * settings.chains
    with _model(density), _quiet(settings):
        tree = fit_pathfinder(
            num_paths=settings.chains,
            num_draws=size,
            num_draws_per_path=size,
            jitter=settings.jitter,
            initvals=point(density.space.constrain(starts[0]), density.space),
            importance_sampling="psis",
            parallel=False,
            progressbar=settings.progressbar,
            random_seed=settings.seed,
        )
    found = tree["pathfinder"].to_dataset()
    return _draws(density, tree, "pathfinder", began, {"pareto_k": float(found["pareto_k"]), "resampled": "psis"})


def _model(density: LogPosterior) -> pm.Model:
    space, names = density.space, default_names(density.space.n_features)
    return build_resolved(density.X, space.n_components, space.family, density.priors, names)


def _draws(density: LogPosterior, tree: xr.DataTree, sampler: str, began: float, details: dict[str, Any]) -> Draws:
    params = params_of(tree["posterior"].to_dataset(), density.space)
    q = density.space.unconstrain(params)
    lp = log_densities(density, q.reshape(-1, q.shape[-1])).reshape(params.batch_shape)
    return Draws(params, {"lp": lp}, sampler, time.perf_counter() - began, 0, dict(details))


def _shrink(approximation: Any, sd: float) -> None:
    """Start the normal distribution with this standard deviation, about what the posterior has: from PyMC's 1.3 it is a long way."""
    factor = approximation.groups[0].shared_params["L_tril"]
    value = factor.get_value()
    rows, columns = np.tril_indices(approximation.ndim)
    value[rows == columns] = np.log(np.expm1(sd))  # PyMC takes the softplus
    factor.set_value(value)


def _evidences(statistics: xr.Dataset) -> FloatArray:
    """Return each population's estimate of the log evidence: its last stage's. Populations may have different numbers of stages."""
    stages = statistics["log_marginal_likelihood"].to_numpy()
    rows = [np.asarray([value for value in np.ravel(row) if value is not None], dtype=float) for row in stages]
    return np.array([row[np.isfinite(row)][-1] for row in rows])


@contextmanager
def _quiet(settings: SamplerSettings) -> Iterator[None]:
    """Keep PyMC from telling how far it is where nobody asked, and from warning of what the verdict tells better."""
    logger = logging.getLogger("pymc")
    before = logger.level
    logger.setLevel(before if settings.progressbar else logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
