"""PyMC's own road to the posterior: ``pm.sample`` on the model of ``build_model``, with any of its samplers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from bayesgmm.bayes.draws import Draws, SamplerSettings, sampler_statistics
from bayesgmm.bayes.model import build_resolved, variable_names
from bayesgmm.bayes.roads import ROADS
from bayesgmm.bayes.space import Space
from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.tables import default_names
from bayesgmm.typing import FloatArray

__all__ = ["SAMPLERS", "params_of", "point", "require_installed", "sample_pymc"]

SAMPLERS = ("pymc", "nutpie", "numpyro", "blackjax")
"""Those of :data:`bayesgmm.bayes.roads.ROADS` that ``pm.sample`` can run."""


def sample_pymc(
    X: FloatArray,
    n_components: int,
    family: Family,
    priors: ResolvedPriors,
    starts: FloatArray,
    settings: SamplerSettings,
    *,
    sampler: str,
) -> Draws:
    """Draw from the posterior with ``pm.sample``.

    Parameters
    ----------
    X : array of shape (N, D)
    n_components : int
    family : Family
    priors : ResolvedPriors
        For data in the coordinates of X.
    starts : array of shape (chains, n_dim)
        On the unconstrained space. Under "nutpie", to which ``pm.sample`` gives one start only, all chains share the first, jittered.
    settings : SamplerSettings
    sampler : {"pymc", "nutpie", "numpyro", "blackjax"}

    Raises
    ------
    InvalidParameterError
        If there is no sampler of that name, or it is not installed.
    """
    _require(sampler)
    model = build_resolved(X, n_components, family, priors, default_names(X.shape[1]))
    space = Space.under(priors, family)
    rng = np.random.default_rng(settings.seed)
    starts = starts[:1] if sampler == "nutpie" else starts
    noise = settings.jitter * rng.standard_normal(starts.shape)
    points = [point(mixture, space) for mixture in _each(space.constrain(starts + noise))]
    with model:
        tree = pm.sample(
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            cores=settings.cores,
            random_seed=settings.seed,
            progressbar=settings.progressbar,
            quiet=not settings.progressbar,
            nuts_sampler=sampler,
            initvals=points[0] if len(points) == 1 else points,
            # Deterministics are computed from the draws afterwards, all at once.
            var_names=[variable.name for variable in model.free_RVs],
            compute_convergence_checks=False,
            **_without_its_own_jitter(sampler),
        )
    posterior, statistics = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    seconds = float(posterior.attrs["sampling_time"])
    if sampler == "numpyro":
        # PyMC 6.4 hands on NumPyro's potential energy under the name of the log-posterior.
        statistics["lp"] = -statistics["lp"]
    return Draws(params_of(posterior, space), sampler_statistics(statistics), sampler, seconds, settings.tune)


def _require(sampler: str) -> None:
    if sampler not in SAMPLERS:
        known = ", ".join(repr(name) for name in ("auto", *SAMPLERS))
        raise InvalidParameterError(f"sampler must be one of {known}, got {sampler!r}")
    require_installed(sampler)


def require_installed(sampler: str) -> None:
    """Refuse a sampler that needs what is not installed.

    Raises
    ------
    InvalidParameterError
    """
    road = ROADS[sampler]
    missing = [name for name in road.needs if find_spec(name) is None]
    if missing:
        raise InvalidParameterError(
            f"sampler={sampler!r} needs {' and '.join(missing)}, which is not installed: pip install {road.install}, "
            f"or use sampler='auto'{road.caution}"
        )


def _without_its_own_jitter(sampler: str) -> dict[str, Any]:
    """Return the arguments that keep a sampler from moving starts by up to one unit, which would mix up components."""
    if sampler == "pymc":
        return {"init": "adapt_diag"}
    if sampler == "nutpie":
        return {"compile_kwargs": {"jitter_rvs": set()}}
    return {"nuts": {"jitter": False, "chain_method": "vectorized"}}


def _each(batch: MixtureParams) -> list[MixtureParams]:
    return [batch[c] for c in range(batch.batch_shape[0])]


def point(mixture: MixtureParams, space: Space) -> dict[str, FloatArray]:
    """Return the values of the model's free variables at a mixture."""
    mixture, name = space.in_frame(mixture), _names(space)
    free = {"weights": mixture.weights, name["means"]: mixture.means, name["sds"]: space.free_sds(mixture)}
    if space.n_components == 1:
        del free["weights"]
    if space.n_matrices:
        factors = mixture.scale_tril / mixture.sds[..., None]
        free[name["corr_cholesky"]] = factors if space.n_matrices > 1 or "component" in space.family.sds_dims else factors[0]
    return free


def _names(space: Space) -> dict[str, str]:
    return variable_names(space.priors)


def params_of(posterior: xr.Dataset, space: Space) -> MixtureParams:
    """Return the draws as mixtures of batch shape (chain, draw)."""
    values = {name: posterior[name].transpose("chain", "draw", ...).to_numpy() for name in posterior.data_vars}
    name = _names(space)
    means = values[name["means"]]
    weights = values.get("weights", np.ones((*means.shape[:2], 1)))
    factors = np.eye(space.n_features)
    if space.n_matrices:
        factors = values[name["corr_cholesky"]]
        factors = factors[:, :, None] if factors.ndim == 4 else factors
    return space.to_data(MixtureParams(weights, means, space.spread(values[name["sds"]])[..., None] * factors))
