"""Giving the components of every draw the names they have in a reference."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm.expectation import cross_sums, rows_of
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["align", "match"]

_CLIP = 1e-6  # Stephens's: keeps one point with a responsibility of zero from deciding the labels of all


def align(X: FloatArray, params: MixtureParams, reference: FloatArray, sample_weight: FloatArray | None = None) -> IntArray:
    """Find for every mixture of a batch the component order in which its responsibilities are closest to a reference.

    For each mixture the assignment j -> k of least Kullback-Leibler divergence ``sum_i r_ij log(r_ij / q_ik)`` is found exactly as a
    linear assignment problem: Stephens (2000), Journal of the Royal Statistical Society B 62, 795-809, with his q held fixed at the
    reference (for a posterior, the responsibilities of the EM fit), so that EM and posterior share their labels by construction.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value.
    params : MixtureParams
        Batch shape ``(...,)``.
    reference : array of shape (N, K)
        Responsibilities q at the same rows.
    sample_weight : array of shape (N,), optional
        How often each row counts.

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
    logs = np.log(np.clip(reference, _CLIP, 1 - _CLIP))
    flat = params.reshape(-1)
    gain = cross_sums(
        rows_of(np.ascontiguousarray(X, dtype=float)),
        *flat.arrays(),
        logs if sample_weight is None else sample_weight[:, None] * logs,
        diagonal=params.is_diagonal,
    )
    # The entropy of r does not depend on the assignment, so the divergence is least where sum r log q is greatest.
    orders = np.array([match(-g) for g in gain])
    return orders.reshape(*params.batch_shape, params.n_components)


def match(cost: FloatArray) -> IntArray:
    """Return for every reference component k the component j assigned to it at the least total ``cost[j, k]`` (K, K)."""
    components, references = linear_sum_assignment(cost)
    return components[np.argsort(references)]
