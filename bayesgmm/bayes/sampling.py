"""Which road to the posterior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.bayes.gibbs import sample_gibbs
from bayesgmm.bayes.laplace import sample_laplace
from bayesgmm.bayes.nuts import sample_fast
from bayesgmm.bayes.space import Space
from bayesgmm.bayes.starts import chain_starts
from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import has_gaps
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedConjugatePriors, ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["sample"]


def sample(
    X: FloatArray,
    n_components: int,
    family: Family,
    priors: ResolvedPriors,
    modes: Sequence[MixtureParams],
    settings: SamplerSettings,
    *,
    sampler: str,
    sample_weight: FloatArray | None = None,
    conjugate: ResolvedConjugatePriors | None = None,
) -> Draws:
    """Draw from the posterior, in the coordinates of X.

    Parameters
    ----------
    X : array of shape (N, D)
    n_components : int
    family : Family
    priors : ResolvedPriors
        In the coordinates of X.
    modes : sequence of MixtureParams
        Where chains may start (:func:`bayesgmm.bayes.starts.chain_starts`), in the coordinates of X.
    settings : SamplerSettings
    sampler : str
        One of :data:`bayesgmm.bayes.roads.ROADS`: "auto" for the compiled density under nutpie.
    sample_weight : array of shape (N,), optional
        How often each row counts.
    conjugate : ResolvedConjugatePriors, optional
        The prior of "gibbs", in the coordinates of X; ``priors`` then only help to choose where chains start.

    Raises
    ------
    InvalidParameterError
        If values are missing or rows weighted, and the sampler knows neither.
    """
    density = LogPosterior(X, Space(n_components, X.shape[1], family), priors, sample_weight)
    starts = chain_starts(density, X, modes, settings.chains, settings.seed)
    if sampler == "auto":
        return sample_fast(density, starts, settings)
    if sampler == "laplace":
        return sample_laplace(density, starts, settings)
    if sample_weight is not None or has_gaps(X):
        how = "draws the group of every row" if sampler == "gibbs" else "runs PyMC's model"
        raise InvalidParameterError(
            f"sampler={sampler!r} {how}, which takes complete rows that count once: leave sampler at 'auto' for missing values "
            "and for sample_weight"
        )
    if conjugate is not None:
        jittered = starts + settings.jitter * np.random.default_rng(settings.seed).standard_normal(starts.shape)
        return sample_gibbs(X, family, conjugate, density.space.constrain(jittered), settings)
    if sampler in ("smc", "advi", "pathfinder"):
        from bayesgmm.bayes import pymc_without_chains as pymc

        road = {"smc": pymc.sample_smc, "advi": pymc.sample_advi, "pathfinder": pymc.sample_pathfinder}
        return road[sampler](density, starts, settings)
    from bayesgmm.bayes.pymc_road import sample_pymc

    return sample_pymc(X, n_components, family, priors, starts, settings, sampler=sampler)
