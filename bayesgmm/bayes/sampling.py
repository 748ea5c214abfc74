"""Which road to the posterior."""

from __future__ import annotations

from typing import Any

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import Draws
from bayesgmm.bayes.nuts import sample_fast
from bayesgmm.bayes.space import Space
from bayesgmm.covariance import Family
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["sample"]


def sample(
    X: FloatArray,
    n_components: int,
    family: Family,
    priors: ResolvedPriors,
    start: MixtureParams,
    *,
    sampler: str,
    jitter: float,
    draws: int,
    tune: int,
    chains: int,
    cores: int | None,
    seed: int,
    progressbar: bool,
) -> Draws:
    """Draw from the posterior, in the coordinates of X.

    Parameters
    ----------
    X : array of shape (N, D)
    n_components : int
    family : Family
    priors : ResolvedPriors
        In the coordinates of X.
    start : MixtureParams
        Where chains start.
    sampler : str
        "auto" for the compiled density under nutpie, otherwise a sampler of ``pymc.sample``.
    jitter : float
        Standard deviation of the chains' starts about ``start``, on the unconstrained space.
    draws, tune, chains, cores, seed, progressbar
        As in :class:`bayesgmm.BayesianGaussianMixture`.
    """
    how: dict[str, Any] = {"draws": draws, "tune": tune, "chains": chains, "cores": cores, "seed": seed, "progressbar": progressbar}
    if sampler == "auto":
        space = Space(n_components, X.shape[1], family)
        return sample_fast(LogPosterior(X, space, priors), space.unconstrain(start), jitter=jitter, **how)
    from bayesgmm.bayes.pymc_road import sample_pymc

    return sample_pymc(X, n_components, family, priors, start, sampler=sampler, jitter=jitter, **how)
