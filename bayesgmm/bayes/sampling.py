"""A posterior sampled, by whichever sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.draws import Draws, SamplerSettings
from bayesgmm.bayes.gibbs import sample_gibbs
from bayesgmm.bayes.laplace import sample_laplace
from bayesgmm.bayes.nuts import sample_nuts
from bayesgmm.bayes.space import Space
from bayesgmm.bayes.starts import chain_starts
from bayesgmm.bayes.streamed import StreamedPosterior
from bayesgmm.covariance import Family
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import Chunked, has_gaps
from bayesgmm.expectation.chunks import spread_rows
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedConjugatePriors, ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["sample"]

ROWS_COMPARED = 1000
"""Rows in chunks at which modes are compared."""


def sample(
    X: FloatArray | Chunked,
    n_components: int,
    family: Family,
    priors: ResolvedPriors,
    modes: Sequence[MixtureParams],
    settings: SamplerSettings,
    *,
    sampler: str,
    sample_weight: FloatArray | None = None,
    conjugate: ResolvedConjugatePriors | None = None,
    frame: Frame | None = None,
    options: Mapping[str, Any] | None = None,
) -> Draws:
    """Draw from the posterior, in the coordinates of X; of rows in chunks, in those of the frame.

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
        One of :data:`bayesgmm.bayes.samplers.SAMPLERS`.
    sample_weight : array of shape (N,), optional
        How often each row counts.
    conjugate : ResolvedConjugatePriors, optional
        The prior of "gibbs", in the coordinates of X; ``priors`` then only help to choose where chains start.
    frame : Frame, optional
        For rows in chunks, which stay in the user's coordinates: those of priors, modes and draws.
    options : mapping, optional
        Arguments of ``pm.sample``, for "pymc".

    Raises
    ------
    InvalidParameterError
        If values are missing, rows weighted or rows in chunks, and the sampler does not know how to take them.
    """
    space = Space(n_components, X.shape[1], family)
    if isinstance(X, Chunked):
        return _sample_streamed(X, space, priors, modes, settings, sampler, frame)
    density = LogPosterior(X, space, priors, sample_weight)
    starts = chain_starts(density, X, modes, settings.chains, settings.seed)
    if sampler == "nuts":
        return sample_nuts(density, starts, settings)
    if sampler == "laplace":
        return sample_laplace(density, starts, settings)
    if sample_weight is not None or has_gaps(X):
        how = "draws the group of every row" if sampler == "gibbs" else "runs PyMC's model"
        raise InvalidParameterError(
            f"sampler={sampler!r} {how}, which takes complete rows that count once: leave sampler at 'nuts' for missing values "
            "and for sample_weight"
        )
    if conjugate is not None:
        jittered = starts + settings.jitter * np.random.default_rng(settings.seed).standard_normal(starts.shape)
        return sample_gibbs(X, family, conjugate, density.space.constrain(jittered), settings)
    from bayesgmm.bayes.pymc_sample import sample_pymc

    return sample_pymc(X, n_components, family, priors, starts, settings, options or {})


def _sample_streamed(
    X: Chunked,
    space: Space,
    priors: ResolvedPriors,
    modes: Sequence[MixtureParams],
    settings: SamplerSettings,
    sampler: str,
    frame: Frame | None,
) -> Draws:
    """Draw from the posterior given rows in chunks: every step of a chain is a pass over them."""
    assert frame is not None
    if sampler not in ("nuts", "laplace"):
        raise InvalidParameterError(
            f"sampler={sampler!r} needs all rows in memory: for rows in chunks there are 'laplace', which is quick, and 'nuts'"
        )
    density = StreamedPosterior(X, space, priors, None, frame)
    some, _ = X.take(spread_rows(len(X), ROWS_COMPARED))
    starts = chain_starts(density, frame.standardise(some), modes, settings.chains, settings.seed)
    if sampler == "laplace":
        return sample_laplace(density, starts, settings)
    return sample_nuts(density, starts, settings, callback="python")
