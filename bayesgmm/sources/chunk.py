"""From rows as they were read to a chunk as the package takes it."""

from __future__ import annotations

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import Chunk
from bayesgmm.typing import FloatArray

__all__ = ["chunk_of"]


def chunk_of(number: int, place: str, first: int, X: FloatArray, weight: FloatArray | None) -> Chunk:
    """Return a chunk of rows X (n, D), those of weight zero left out.

    Raises
    ------
    InvalidDataError
        If there are not as many weights as rows, or one of them is negative or no number.
    """
    if weight is None:
        return Chunk(number, place, first, X, n_read=len(X))
    weight = np.ascontiguousarray(weight, dtype=float)
    if weight.shape != (len(X),):
        raise InvalidDataError(
            f"{place} has {len(X)} rows and {weight.size} weights: sample_weight must have one number for each row"
        )
    bad = np.flatnonzero(~(weight >= 0) | np.isinf(weight))
    if len(bad):
        raise InvalidDataError(
            f"sample_weight must be zero or positive and finite: it is {weight[bad[0]]} in row {first + bad[0]} of {place}"
        )
    if weight.all():
        return Chunk(number, place, first, X, weight, n_read=len(X))
    kept = np.flatnonzero(weight)
    return Chunk(number, place, first, np.ascontiguousarray(X[kept]), weight[kept], kept, len(X))
