"""What the values that are missing could have been."""

from __future__ import annotations

import numpy as np

from bayesgmm.expectation import filled
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, as_chunk
from bayesgmm.typing import FloatArray

__all__ = ["impute"]


def impute(X: FloatArray | Chunk, params: MixtureParams, n_draws: int | None, rng: np.random.Generator) -> FloatArray:
    """Return rows (N, D) with their gaps at their conditional means, or ``n_draws`` times (n_draws, N, D) drawn from what they could be."""
    chunk = as_chunk(X)
    if n_draws is None:
        return filled(chunk, *params.arrays(chunk))
    return np.stack([filled(chunk, *params.arrays(chunk), rng) for _ in range(n_draws)])
