"""How far the components of a mixture are from each other: divergences, and how often one is taken for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm.mixture.quadratic import probability_below
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    from bayesgmm.params import MixtureParams

__all__ = ["component_kl", "overlap"]


def component_kl(params: MixtureParams) -> FloatArray:
    """Return the Kullback-Leibler divergences between components, weights left out.

    ``KL(i || j) = (tr(S_j^-1 S_i) + (m_i - m_j)' S_j^-1 (m_i - m_j) - D + log|S_j| - log|S_i|) / 2`` (Kullback 1959, Information Theory and
    Statistics, chapter 9), in nats.

    Returns
    -------
    array of shape (..., K, K)
        Entry [i, j] is the divergence of component j from component i: rows are the truth. Zeros on the diagonal; not symmetric.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[4.0]]])
    >>> params.component_kl().round(3)
    array([[0.   , 0.818],
           [2.807, 0.   ]])
    """
    ratio, shift, log_det = _pairs(params)
    trace = np.einsum("...de,...de->...", ratio, ratio)
    divergence = 0.5 * (trace - params.n_features + (shift**2).sum(-1)) + log_det
    K = params.n_components
    divergence[..., np.arange(K), np.arange(K)] = 0.0
    return np.maximum(divergence, 0.0)


def overlap(params: MixtureParams) -> FloatArray:
    """Return how often a draw from one component would be taken for another, in a contest of the two alone.

    Entry [i, j] is ``P(w_i N(x | m_i, S_i) < w_j N(x | m_j, S_j))`` for x from component i (Maitra and Melnykov 2010, Journal of
    Computational and Graphical Statistics 19, 354-376, section 2): the probability that a quadratic form of normal variables falls
    below a constant. It is found by integrating the form's moment generating function in the complex plane
    (:mod:`bayesgmm.mixture.quadratic`), to eight digits or better and without random numbers. The sum of entries [i, j] and [j, i] is
    those authors' measure of how much two components overlap.

    Returns
    -------
    array of shape (..., K, K)
        Rows are the truth, columns what it is taken for. Ones on the diagonal, as the authors have it. Two equal components with equal
        weights cannot be told apart and count half; a component of weight zero is never preferred.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> params.overlap().round(4)
    array([[1.    , 0.1587],
           [0.1587, 1.    ]])
    """
    ratio, shift, log_det = _pairs(params)
    # With x = m_i + L_i z, the squared distances to j and i differ by |M z + d|^2 - |z|^2. The singular values of M split this into one
    # variable at a time.
    left, scale, _ = np.linalg.svd(ratio)
    shift = (np.swapaxes(left, -1, -2) @ shift[..., None])[..., 0]
    log_weights = params.log_weights
    with np.errstate(invalid="ignore"):
        odds = log_weights[..., None, :] - log_weights[..., :, None]
    bound = 2.0 * (odds - log_det) - (shift**2).sum(-1)
    usual = ~np.eye(params.n_components, dtype=bool) & np.isfinite(bound)
    out = np.where(odds > 0, 1.0, 0.0) + np.eye(params.n_components)
    # s^2 - 1 = (s - 1)(s + 1) keeps its digits when s is close to one.
    square = (scale - 1.0) * (scale + 1.0)
    out[usual] = probability_below(bound[usual], square[usual], 2.0 * (scale * shift)[usual])
    return np.minimum(out, 1.0)


def _pairs(params: MixtureParams) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ``L_j^-1 L_i`` (..., K, K, D, D), ``L_j^-1 (m_i - m_j)`` (..., K, K, D) and ``log|L_j| - log|L_i|`` (..., K, K)."""
    shape = (*params.batch_shape, params.n_components, *params.scale_tril.shape[-3:])
    of_i = np.broadcast_to(params.scale_tril[..., :, None, :, :], shape)
    of_j = np.broadcast_to(params.scale_tril[..., None, :, :, :], shape)
    apart = params.means[..., :, None, :] - params.means[..., None, :, :]
    both = np.linalg.solve(of_j, np.concatenate([of_i, apart[..., None]], axis=-1))
    log_det = np.log(np.diagonal(params.scale_tril, axis1=-2, axis2=-1)).sum(-1)
    return both[..., :-1], both[..., -1], log_det[..., None, :] - log_det[..., :, None]
