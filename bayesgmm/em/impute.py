"""What the values that are missing could have been."""

from __future__ import annotations

import numpy as np

from bayesgmm.expectation import filled
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["impute"]


def impute(X: FloatArray, params: MixtureParams, n_draws: int | None, rng: np.random.Generator) -> FloatArray:
    """Return X (N, D) with its gaps at their conditional means, or ``n_draws`` times (n_draws, N, D) drawn from what they could be."""
    if n_draws is None:
        return filled(X, *params.arrays())
    return np.stack([filled(X, *params.arrays(), rng) for _ in range(n_draws)])
