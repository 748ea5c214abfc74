"""Giving the components of every draw the names they have in a reference: what fits call."""

from __future__ import annotations

import numpy as np

from bayesgmm.expectation import cross_sums
from bayesgmm.labels.assignment import assign
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["SMOOTH", "align", "smoothed"]

SMOOTH = 1e-6
"""Share of the uniform that each component mixes into responsibilities: keeps one point with a responsibility of zero from deciding the
labels of all. Stephens (2000) cuts them off at such a number instead; mixing is linear, so that his algorithm still never goes uphill."""


def smoothed(responsibilities: FloatArray) -> FloatArray:
    """Return responsibilities (..., K) that are nowhere zero and still add up to one."""
    return (1.0 - responsibilities.shape[-1] * SMOOTH) * responsibilities + SMOOTH


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
    logs = np.log(smoothed(reference))
    flat = params.reshape(-1)
    gain = cross_sums(
        Chunk(X),
        *flat.arrays(),
        logs if sample_weight is None else sample_weight[:, None] * logs,
        diagonal=params.is_diagonal,
    )
    # The entropy of r does not depend on the assignment, so the divergence is least where sum r log q is greatest.
    return assign(-gain).reshape(*params.batch_shape, params.n_components)
