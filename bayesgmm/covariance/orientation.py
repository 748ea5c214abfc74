"""Axes that all components share: the families VEE, EVE and VVE.

For EVE and VVE no formula gives the axes. They are turned in one plane after the other, as in the principal components that groups have in
common (Flury and Gautschi 1986, SIAM Journal on Scientific and Statistical Computing 7, 169-184); Browne and McNicholas (2014), Advances
in Data Analysis and Classification 8, 217-226, have the same objective. Every step raises the likelihood or leaves it.
"""

from __future__ import annotations

import numpy as np

from bayesgmm.covariance import _iterate
from bayesgmm.covariance.base import diagonals
from bayesgmm.typing import FloatArray

__all__ = ["along", "common_axes", "common_form"]

_GOLDEN = (np.sqrt(5) - 1) / 2


def along(scatter: FloatArray, axes: FloatArray, least: FloatArray) -> FloatArray:
    """Return the spreads (K, D) of scatter matrices (K, D, D) along their axes (K, D, D), as columns, none below ``least`` (K,)."""
    return np.maximum((axes * (scatter @ axes)).sum(-2), least[:, None])


def common_form(
    scatter: FloatArray, counts: FloatArray, previous: FloatArray | None, smallest: float, least: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return variances (K, D) and axes (D, D) of matrices that are one matrix up to their volumes (VEE).

    Parameters
    ----------
    scatter, counts : arrays of shape (K, D, D) and (K,)
    previous : array of shape (K, D, D) or None
        Matrices of that kind, to start from.
    smallest : float
        Bound on the variances.
    least : array of shape (K,)
        Spreads below it are taken to be it.
    """
    # Copies: what is compiled for writable, contiguous arrays should not be compiled again for others.
    form = np.array(scatter.sum(0) if previous is None else previous[0], order="C")
    found = _iterate.equal_forms(scatter, counts, form, least, 0.0, 0.0)
    return found if found[0].min() >= smallest else _iterate.equal_forms(scatter, counts, form, least, smallest, 1.0)


def common_axes(
    scatter: FloatArray, counts: FloatArray, same_volume: bool, previous: FloatArray | None, smallest: float, least: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return variances (K, D) and common axes (D, D) of matrices that share no more than these (VVE), or their volumes too (EVE).

    Parameters
    ----------
    scatter, counts, previous, smallest, least
        As for :func:`common_form`; without ``previous``, the search starts from the best among the axes of each component and of all.
    same_volume : bool
    """
    how = (counts, same_volume, smallest, least)
    if previous is None:
        candidates = [_shared_axes(scatter), np.linalg.eigh(scatter.sum(0))[1], *np.linalg.eigh(scatter)[1]]
        first = min((np.array(axes, order="C") for axes in candidates), key=lambda axes: _iterate.value_along(scatter, axes, *how))
    else:
        first = np.array(_shared_axes(previous), order="C")
    variances = _iterate.common_axes(scatter, first, *how)  # which turns the axes in place
    return variances, first


def _shared_axes(covariances: FloatArray) -> FloatArray:
    """Return the axes (D, D), as columns, of matrices (K, D, D) that have them in common."""
    # Any mixture of the matrices has these axes. Uneven weights keep it from being round where the matrices are not.
    weights = 1 + (np.arange(1, len(covariances) + 1) * _GOLDEN) % 1
    traces = diagonals(covariances).sum(-1)
    return np.linalg.eigh(np.tensordot(weights / np.maximum(traces, np.finfo(float).tiny), covariances, 1))[1]
