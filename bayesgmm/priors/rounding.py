"""The covariance that rounding of the data adds to every component."""

from __future__ import annotations

import numpy as np

from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray
from bayesgmm.underflow import guard

__all__ = ["with_rounding", "without_rounding"]

_LEAST_SD = 1e-3  # of a component before rounding, in parts of what it is with it: less cannot be told from what is left


def with_rounding(mixture: MixtureParams, rounding: FloatArray) -> MixtureParams:
    """Return a mixture with a covariance (D, D), which may be singular, added to that of every component.

    Examples
    --------
    >>> one = MixtureParams.from_covariances([1.0], [[0.0]], [[[9.0]]])
    >>> with_rounding(one, np.array([[16.0]])).sds
    array([[5.]])
    """
    if _along_columns(mixture, rounding):
        sds = np.sqrt(mixture.sds**2 + np.diag(rounding))
        return MixtureParams(mixture.weights, mixture.means, sds[..., None] * np.eye(mixture.n_features))
    values, vectors = np.linalg.eigh(rounding)
    root = np.broadcast_to(vectors * np.sqrt(np.maximum(values, 0.0)), mixture.scale_tril.shape)
    return MixtureParams.from_roots(mixture.weights, mixture.means, np.concatenate([mixture.scale_tril, root], axis=-1))


def without_rounding(mixture: MixtureParams, rounding: FloatArray) -> MixtureParams:
    """Return a mixture without the covariance (D, D) of rounding; where nothing would be left of a direction, a little is.

    Examples
    --------
    >>> one = MixtureParams.from_covariances([1.0], [[0.0]], [[[25.0]]])
    >>> without_rounding(one, np.array([[16.0]])).sds
    array([[3.]])
    """
    if _along_columns(mixture, rounding):
        sds = mixture.sds
        left = np.sqrt(np.maximum(sds**2 - np.diag(rounding), (_LEAST_SD * sds) ** 2))
        return MixtureParams(mixture.weights, mixture.means, left[..., None] * np.eye(mixture.n_features))
    # In coordinates in which the component is round, what rounding takes away is a matrix with eigenvalues between 0 and 1.
    factors = mixture.scale_tril
    half = np.linalg.solve(factors, np.broadcast_to(rounding, factors.shape))
    share = np.linalg.solve(factors, np.swapaxes(half, -1, -2))
    values, vectors = np.linalg.eigh(0.5 * (share + np.swapaxes(share, -1, -2)))
    roots = factors @ (vectors * np.sqrt(np.maximum(1.0 - values, _LEAST_SD**2))[..., None, :])
    return MixtureParams.from_roots(mixture.weights, mixture.means, roots)


def _along_columns(mixture: MixtureParams, rounding: FloatArray) -> bool:
    """Whether neither mixes columns, so that variances are all there is."""
    return mixture.is_diagonal and not np.any(rounding - np.diag(np.diag(rounding)))


guard(globals())
