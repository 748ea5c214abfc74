"""``pm.sample`` on the model of ``build_model``, with any of PyMC's samplers."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.step_methods import STEP_METHODS
from pymc.step_methods.hmc.base_hmc import BaseHMC

from bayesgmm.bayes.draws import Draws, SamplerSettings, sampler_statistics
from bayesgmm.bayes.model import build_resolved, variable_names
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Known
from bayesgmm.tables.numeric import default_names
from bayesgmm.typing import FloatArray

__all__ = ["sample_pymc"]

_OURS = {
    "draws": "draws",
    "tune": "tune",
    "chains": "chains",
    "cores": "cores",
    "random_seed": "random_state",
    "progressbar": "progressbar",
    "initvals": "init",
}
"""Arguments of ``pm.sample`` that are settings of the estimator, and their names there."""
_FIXED = ("var_names", "return_inferencedata", "discard_tuned_samples", "model", "idata_kwargs")
"""Arguments that would leave out what a fit is made of."""

_TAKEN = {
    *(name for function in (pm.sample, pm.NUTS.__init__, BaseHMC.__init__) for name in signature(function).parameters),
    *(step.name for step in STEP_METHODS),
}
"""What ``pm.sample`` and its step methods take."""


def sample_pymc(
    X: FloatArray,
    space: Space,
    starts: FloatArray,
    settings: SamplerSettings,
    options: Mapping[str, Any],
    known: Known | None = None,
) -> Draws:
    """Draw from the posterior with ``pm.sample``.

    Parameters
    ----------
    X : array of shape (N, D)
    space : Space
        With the priors, for data in the coordinates of X.
    starts : array of shape (chains, n_dim)
        On the unconstrained space. Under nutpie, to which ``pm.sample`` gives one start only, all chains share the first, jittered.
    settings : SamplerSettings
    options : mapping
        Arguments of ``pm.sample``, such as ``nuts_sampler`` and ``target_accept``.
    known : Known, optional
        What is known of the rows beside their values, but for what their weights depend on.

    Raises
    ------
    InvalidParameterError
        If an option is one of the estimator's settings, ``pm.sample`` refuses it, or it needs what is not installed.
    """
    _check(options)
    nuts_sampler = str(options.get("nuts_sampler", "pymc"))
    model = build_resolved(X, space.family, space.priors, default_names(X.shape[1]), known)
    rng = np.random.default_rng(settings.seed)
    starts = starts[:1] if nuts_sampler == "nutpie" else starts
    noise = settings.jitter * rng.standard_normal(starts.shape)
    mixtures = space.constrain(starts + noise)
    points = [_point(mixtures[c], space) for c in range(len(starts))]
    arguments: dict[str, Any] = {
        "draws": settings.draws,
        "tune": settings.tune,
        "chains": settings.chains,
        "cores": settings.cores,
        "random_seed": settings.seed,
        "progressbar": settings.progressbar,
        "quiet": not settings.progressbar,
        "initvals": points[0] if len(points) == 1 else points,
        # Deterministics are computed from the draws afterwards, all at once.
        "var_names": [variable.name for variable in model.free_RVs],
        "compute_convergence_checks": False,
        **_without_its_own_jitter(nuts_sampler),
        **options,
    }
    try:
        with model:
            tree = pm.sample(**arguments)
    except ImportError as error:
        raise InvalidParameterError(
            f"sampler_options={dict(options)!r}: {nuts_sampler!r} needs what is not installed ({error}): install it, or use sampler='hmc'"
        ) from None
    except (TypeError, ValueError) as error:
        if not options:  # then they are not to blame
            raise
        raise InvalidParameterError(f"sampler_options={dict(options)!r} cannot be used by pymc.sample: {error}") from error
    posterior, statistics = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    seconds = float(posterior.attrs.get("sampling_time", np.nan))
    if nuts_sampler == "numpyro" and "lp" in statistics:
        # PyMC 6.4 hands on NumPyro's potential energy under the name of the log-posterior.
        statistics["lp"] = -statistics["lp"]
    sampler = "pymc" if nuts_sampler == "pymc" else f"pymc, {nuts_sampler}"
    return Draws(_params_of(posterior, space), sampler_statistics(statistics), sampler, seconds, settings.tune)


def _check(options: Mapping[str, Any]) -> None:
    for name, ours in _OURS.items():
        if name in options:
            raise InvalidParameterError(f"sampler_options: {name} is the estimator's own setting {ours}: give it there")
    for name in _FIXED:
        if name in options:
            raise InvalidParameterError(
                f"sampler_options: {name} cannot be chosen, for a fit is made of all draws of all variables"
            )
    # pm.sample hands what it does not know to step methods, which pass over it without a word.
    unknown = sorted(set(options) - _TAKEN)
    if unknown:
        raise InvalidParameterError(f"sampler_options: neither pymc.sample nor its step methods take {', '.join(unknown)}")


def _without_its_own_jitter(nuts_sampler: str) -> dict[str, Any]:
    """Return the arguments that keep a sampler from moving starts by up to one unit, which would mix up components."""
    if nuts_sampler == "pymc":
        return {"init": "adapt_diag"}
    if nuts_sampler == "nutpie":
        return {"compile_kwargs": {"jitter_rvs": set()}}
    return {"nuts": {"jitter": False, "chain_method": "vectorized"}}


def _point(mixture: MixtureParams, space: Space) -> dict[str, FloatArray]:
    """Return the values of the model's free variables at a mixture."""
    mixture, name = space.priors.from_data(mixture), variable_names(space.priors)
    free = {"weights": mixture.weights, name["means"]: mixture.means, name["sds"]: space.family.free_sds(mixture.sds)}
    if space.n_components == 1:
        del free["weights"]
    if space.n_matrices:
        factors = mixture.scale_tril / mixture.sds[..., None]
        free[name["corr_cholesky"]] = factors if space.n_matrices > 1 or space.family.has_own_scales else factors[0]
    return free


def _params_of(posterior: xr.Dataset, space: Space) -> MixtureParams:
    """Return the draws as mixtures of batch shape (chain, draw)."""
    values = {name: posterior[name].transpose("chain", "draw", ...).to_numpy() for name in posterior.data_vars}
    name = variable_names(space.priors)
    means = values[name["means"]]
    weights = values.get("weights", np.ones((*means.shape[:2], 1)))
    factors = np.eye(space.n_features)
    if space.n_matrices:
        factors = values[name["corr_cholesky"]]
        factors = factors[:, :, None] if factors.ndim == 4 else factors
    sds = space.family.full_sds(values[name["sds"]], space.n_components, space.n_features)
    return space.priors.to_data(MixtureParams(weights, means, sds[..., None] * factors))
