"""Checks of numbers that a prior is made of."""

from __future__ import annotations

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["broadcast", "finite", "positive"]


def positive(value: ArrayLike) -> bool:
    return finite(value) and bool((np.asarray(value, dtype=float) > 0).all())


def finite(value: ArrayLike) -> bool:
    """Whether these are numbers, at least one, and all finite."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return array.size > 0 and bool(np.isfinite(array).all())


def broadcast(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    try:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=float), shape))
    except ValueError:
        raise InvalidParameterError(
            f"priors: {name} must be a number or have a shape that fits {shape}, got {np.shape(value)}"
        ) from None
