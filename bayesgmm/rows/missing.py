"""Rows sorted by what they lack.

With missing values, the density of a row is the marginal one of the columns that it has (Little and Rubin 2019, Statistical Analysis with
Missing Data, chapter 11). Values have to be missing at random: what is missing may depend on what was seen, but not on the missing values
themselves. Passes over rows (:mod:`bayesgmm.kernels.missing`) take them in any order, and are quickest where those with the same gaps stand
together.
"""

from __future__ import annotations

import numpy as np

from bayesgmm.typing import FloatArray, IntArray

__all__ = ["has_missing", "order_by_gaps"]


def has_missing(X: FloatArray) -> bool:
    """Whether X has a NaN in it; without a copy."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isnan(X.sum())) and bool(np.isnan(X).any())


def order_by_gaps(X: FloatArray, size: int) -> IntArray:
    """Return the order (N,) in which rows of X (N, D) that lack the same columns stand together in each piece of ``size`` rows.

    Rows with few gaps, or few values, come before others, those with the same gaps as they were.
    """
    gone = np.isnan(X)
    lacks = gone.sum(1)
    n_vectors = np.where(lacks > 0, 1 + np.minimum(lacks, X.shape[1] - lacks), 0)
    key = np.packbits(gone, axis=1)
    return np.lexsort((*key.T, n_vectors, np.arange(len(X)) // size))
