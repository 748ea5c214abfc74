"""What is ranked: numbers that a draw and the truth both have, whatever the names of the components."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.bayes.space import Space
from bayesgmm.covariance import Family
from bayesgmm.diagnostics import label_free
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.typing import FloatArray

__all__ = ["quantities", "quantities_of_truth"]

# Of the rows that `label_free` looks at: one at the edge of the data and one in their middle.
_PLACES = {"at the edge": 0, "in the middle": 4}
_TESTED = ("log_likelihood", "log_prior", "entropy")
_WORDS = {"log_likelihood": "log-likelihood", "log_prior": "log-prior", "entropy": "entropy of the responsibilities"}


def quantities(free: xr.Dataset) -> dict[str, FloatArray]:
    """Return the quantities that are ranked, each (chain, draw), under plain names.

    Parameters
    ----------
    free : xarray.Dataset
        Of `bayesgmm.diagnostics.label_free`, ``log_prior`` included.
    """
    return dict(_quantities(free))


def quantities_of_truth(
    truth: MixtureParams, X: FloatArray, weight: FloatArray, priors: ResolvedPriors, family: Family
) -> dict[str, float]:
    """Return the same quantities of the mixture that the data came from.

    Parameters
    ----------
    truth : MixtureParams
        Batch shape ``()``.
    X : array of shape (N, D)
    weight : array of shape (N,)
        How often each row counts in the fit.
    priors : ResolvedPriors
        Of the fit, in the data's units.
    family : Family
    """
    space = Space.under(priors, family)
    lp, _ = LogPosterior(X, space, priors, weight)(space.unconstrain(truth))
    log_likelihood = truth.log_density(X) @ weight
    one = truth.reshape(1, 1)
    free = label_free(one, X, log_likelihood=np.full((1, 1), log_likelihood), lp=np.full((1, 1), lp))
    return {name: float(values[0, 0]) for name, values in _quantities(free)}


def _quantities(free: xr.Dataset) -> Iterator[tuple[str, FloatArray]]:
    yield from ((_WORDS[name], free[name].values) for name in _TESTED)
    K, D = free.sizes["rank"], free.sizes["feature"]
    yield "largest weight", free["sorted_weights"].values[..., 0]
    if K > 2:
        yield "smallest weight", free["sorted_weights"].values[..., -1]
    for d in range(D):
        column = f" of column {d + 1}" if D > 1 else ""
        yield f"total mean{column}", free["total_mean"].values[..., d]
        yield f"total sd{column}", free["total_sd"].values[..., d]
    if D > 1:
        yield "total covariance", free["total_covariance"].values[..., 1, 0]
    for words, place in _PLACES.items():
        yield f"log-density {words}", free["log_density"].values[..., place]
    yield "two rows in one group", free["co_clustering"].values[..., _PLACES["in the middle"] - 1]
