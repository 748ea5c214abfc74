"""Variances along given axes: the M-step of volumes and shapes, once the orientations are settled.

With the axes of the components fixed, the M-step minimises ``sum_kj [n_k log v_kj + s_kj / v_kj]`` over the variances ``v`` that the first
two letters of a family allow, where ``s_kj`` is the scatter of component k along its j-th axis. In ``log v`` this is convex and the
constraints are linear, so whatever is iterated here ends in the one minimum, under a bound on the variances too. The formulas without a
bound are those of Celeux and Govaert (1995), Pattern Recognition 28, 781-793, table 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesgmm.covariance import _iterate
from bayesgmm.typing import FloatArray

__all__ = ["STRUCTURES", "Structure"]

Structure = Callable[[FloatArray, FloatArray, float, FloatArray], FloatArray]
"""Spreads (K, D), counts (K,), smallest variance, variances whose first row has the shape to start from -> variances (K, D)."""


def spherical(spread: FloatArray, counts: FloatArray, smallest: float, start: FloatArray) -> FloatArray:
    """One variance for everything."""
    return np.full(spread.shape, max(spread.sum() / (counts.sum() * spread.shape[1]), smallest))


def equal(spread: FloatArray, counts: FloatArray, smallest: float, start: FloatArray) -> FloatArray:
    """Equal volumes and shapes: the components share their variances."""
    return np.broadcast_to(np.maximum(spread.sum(0) / counts.sum(), smallest), spread.shape)


def free(spread: FloatArray, counts: FloatArray, smallest: float, start: FloatArray) -> FloatArray:
    """Varying volumes and shapes: every variance by itself."""
    return np.maximum(spread / counts[:, None], smallest)


def varying_volumes(spread: FloatArray, counts: FloatArray, smallest: float, start: FloatArray) -> FloatArray:
    """Varying volumes, equal shapes: ``v_kj = volume_k shape_j``.

    Volumes and shape are each a closed formula given the other. If the bound is met on the way, it becomes ``volume_k >= smallest`` and
    ``shape_j >= 1``, which loses nothing: any allowed product can be written so that its smallest shape is one.
    """
    shape = start[0] / start[0].min()
    variances = _iterate.equal_shapes(spread, counts, shape.copy(), 0.0, 0.0)
    return variances if variances.min() >= smallest else _iterate.equal_shapes(spread, counts, shape, smallest, 1.0)


def varying_shapes(spread: FloatArray, counts: FloatArray, smallest: float, start: FloatArray) -> FloatArray:
    """Equal volumes, varying shapes: the product of a component's variances is the same for all."""
    return _iterate.equal_volumes(spread, counts, smallest)


STRUCTURES: dict[str, Structure] = {
    "EI": spherical,
    "EE": equal,
    "VE": varying_volumes,
    "EV": varying_shapes,
    "VV": free,
}
"""By the letters of volume and shape."""
