"""The best assignment of components to labels, how far behind the second best is, and the labels of a reference for every draw."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm.expectation import cross_sums
from bayesgmm.kernels.threads import run_shared
from bayesgmm.labels import _kernels
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, as_chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["SMOOTH", "align", "assign", "margins", "match", "smoothed", "totals"]

SMOOTH = 1e-6
"""Share of the uniform that each component mixes into responsibilities: keeps one point with a responsibility of zero from deciding the
labels of all. Stephens (2000) cuts them off at such a number instead; mixing is linear, so that his algorithm still never goes uphill."""


def match(cost: FloatArray) -> IntArray:
    """Return for every reference component the component that it is given, at the least total cost.

    Parameters
    ----------
    cost : array of shape (K, K)
        ``cost[j, k]`` is the price of giving component j the place of reference component k.

    Returns
    -------
    int array of shape (K,)

    Examples
    --------
    >>> match(np.array([[9.0, 1.0], [1.0, 9.0]]))
    array([1, 0])
    """
    components, references = linear_sum_assignment(cost)
    return components[np.argsort(references)]


def assign(costs: FloatArray) -> IntArray:
    """Do the same for many draws at once.

    Parameters
    ----------
    costs : array of shape (T, K, K)
        ``costs[t, j, k]`` is what it costs to give component j of draw t the label k; finite.

    Returns
    -------
    int array of shape (T, K)
        ``out[t, k]`` is the component that gets label k.

    Examples
    --------
    >>> assign(np.array([[[0.0, 1.0], [1.0, 0.0]], [[5.0, 1.0], [2.0, 9.0]]]))
    array([[0, 1],
           [1, 0]])
    """
    costs = np.require(costs, float, ["C", "W"])
    out = np.empty(costs.shape[:2], np.intp)
    run_shared(lambda first, last: _kernels.assign_draws(costs, first, last, out), len(costs))
    return out


def totals(costs: FloatArray, orders: IntArray) -> FloatArray:
    """Return what each draw pays in all, ``sum_k costs[t, orders[t, k], k]``, of shape (T,)."""
    return np.take_along_axis(costs, orders[:, None, :], axis=1)[:, 0].sum(-1)


def margins(costs: FloatArray, orders: IntArray) -> FloatArray:
    """Return how much more the best other assignment of each draw costs.

    Any other assignment is reached from the best one by handing labels round in circles, so the second best lies one cheapest circle
    away. With ``w_kl`` the extra cost of giving the component of label k the label l, no circle is cheaper than nothing, and the shortest
    ways between all pairs of labels (Floyd 1962, Communications of the ACM 5, 345) contain the cheapest circle: exact in O(K^3), without
    looking at K! assignments.

    Parameters
    ----------
    costs : array of shape (T, K, K)
    orders : int array of shape (T, K)
        Assignments; where one is not the best, its margin is below zero.

    Returns
    -------
    array of shape (T,)
        Infinite for a single component, which has no other assignment.

    Examples
    --------
    >>> costs = np.array([[[0.0, 1.0], [1.0, 0.5]]])
    >>> margins(costs, assign(costs))
    array([1.5])
    """
    best = assign(costs)
    behind = _cheapest_circle(costs, best)
    lost = totals(costs, orders) - totals(costs, best)
    return np.where((orders == best).all(-1), behind, -lost)


def _cheapest_circle(costs: FloatArray, best: IntArray) -> FloatArray:
    """Return the least extra cost (T,) of handing labels round among two or more components."""
    T, K, _ = costs.shape
    if K == 1:
        return np.full(T, np.inf)
    rows = np.take_along_axis(costs, best[:, :, None], axis=1)  # by the label that each component has
    way = rows - np.diagonal(rows, axis1=1, axis2=2)[:, :, None]
    for k in range(K):
        way = np.minimum(way, way[:, :, k, None] + way[:, None, k, :])
    circle = way + np.swapaxes(way, 1, 2)
    circle[:, np.arange(K), np.arange(K)] = np.inf
    return np.maximum(circle.min((1, 2)), 0.0)


def smoothed(responsibilities: FloatArray) -> FloatArray:
    """Return responsibilities (..., K) that are nowhere zero and still add up to one."""
    return (1.0 - responsibilities.shape[-1] * SMOOTH) * responsibilities + SMOOTH


def _may_be_renamed(rows: Chunk, n_components: int) -> np.ndarray:
    """Say for each two components (K, K) whether nothing that is known of the rows tells one from the other."""
    if rows.known is None or rows.known.log_weights is None:
        return np.ones((n_components, n_components), dtype=bool)
    columns = rows.known.log_weights
    return (columns[:, :, None] == columns[:, None, :]).all(0)


def align(
    X: FloatArray | Chunk,
    params: MixtureParams,
    reference: FloatArray,
    sample_weight: FloatArray | None = None,
    *,
    alike: np.ndarray | None = None,
) -> IntArray:
    """Find for every mixture of a batch the component order in which its responsibilities are closest to a reference.

    For each mixture the assignment j -> k of least Kullback-Leibler divergence ``sum_i r_ij log(r_ij / q_ik)`` is found exactly as a
    linear assignment problem: Stephens (2000), Journal of the Royal Statistical Society B 62, 795-809, with his q held fixed at the
    reference (for a posterior, the responsibilities of the EM fit), so that EM and posterior share their labels by construction.

    Parameters
    ----------
    X : array of shape (N, D), or Chunk
        NaN stands for a missing value. Components that what is known of a chunk's rows tells apart keep their places.
    params : MixtureParams
        Batch shape ``(...,)``.
    reference : array of shape (N, K)
        Responsibilities q at the same rows.
    sample_weight : array of shape (N,), optional
        How often each row counts.
    alike : bool array of shape (K, K), optional
        Which components may change names with each other; by default all.

    Returns
    -------
    int array of shape (..., K)
        To be given to :meth:`MixtureParams.permute`.

    Examples
    --------
    >>> X = np.array([[0.0], [0.1], [4.0]])
    >>> params = MixtureParams.from_covariances([0.6, 0.4], [[0.0], [4.0]], [[[1.0]], [[1.0]]])
    >>> align(X, params.permute([1, 0]), params.responsibilities(X))
    array([1, 0])
    """
    logs = np.log(smoothed(reference))
    flat, rows = params.reshape(-1), as_chunk(X)
    gain = cross_sums(
        rows, *flat.arrays(rows), logs if sample_weight is None else sample_weight[:, None] * logs, diagonal=params.is_diagonal
    )
    # The entropy of r does not depend on the assignment, so the divergence is least where sum r log q is greatest.
    may_be = _may_be_renamed(rows, params.n_components)
    may_be = may_be if alike is None else may_be & alike
    gain = np.where(may_be, gain, np.minimum(gain.min((1, 2), keepdims=True), 0.0) * 1e6 - 1e6)
    return assign(-gain).reshape(*params.batch_shape, params.n_components)
