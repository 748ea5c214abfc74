"""What the values that are missing could have been."""

from __future__ import annotations

import numpy as np

from bayesgmm.expectation import conditional_moments
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray

__all__ = ["impute"]


def impute(X: FloatArray, params: MixtureParams, n_draws: int | None, rng: np.random.Generator) -> FloatArray:
    """Return X (N, D) with its gaps at their conditional means, or ``n_draws`` times (n_draws, N, D) drawn from what they could be."""
    out = X.copy() if n_draws is None else np.tile(X, (n_draws, 1, 1))
    for numbers, missing, r, means, factors in conditional_moments(Chunk(X), *params.arrays()):
        here = np.ix_(numbers, missing)
        if n_draws is None:
            out[here] = np.einsum("ik,ikm->im", r, means)
            continue
        rows = np.arange(len(numbers))
        cumulative = np.cumsum(r, axis=1)
        for filled in out:
            component = (rng.random(len(rows))[:, None] * cumulative[:, -1:] > cumulative).sum(1)
            noise = rng.standard_normal((len(rows), params.n_features))
            filled[here] = means[rows, component] + np.einsum("imd,id->im", factors[component], noise)
    return out
