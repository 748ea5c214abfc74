"""Rows that count more than once, when one of them is left out."""

from __future__ import annotations

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray

__all__ = ["times_each", "without"]


def times_each(sample_weight: FloatArray | None, n_rows: int) -> FloatArray:
    """Return how often each row (N,) counts.

    Raises
    ------
    InvalidDataError
        If a weight is not a whole number: half a row cannot be left out.
    """
    weight = np.ones(n_rows) if sample_weight is None else sample_weight
    broken = np.flatnonzero(weight != np.round(weight))
    if len(broken):
        raise InvalidDataError(
            "one row is left out at a time, so the sample_weight of the fit must be whole numbers: "
            f"it is {weight[broken[0]]:g} in row {broken[0]}. Use kfold, which takes any weights"
        )
    return weight


def without(sample_weight: FloatArray | None, n_rows: int, row: int) -> FloatArray:
    """Return the weights (N,) with one less for a row."""
    weight = np.ones(n_rows) if sample_weight is None else sample_weight.copy()
    weight[row] -= 1.0
    return weight
