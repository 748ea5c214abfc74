"""Distribution function and quantiles of a mixture of one column."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.mixture import Mixture
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["cdf", "ppf"]


def cdf(params: Mixture, x: ArrayLike) -> FloatArray:
    """Return the probabilities that a draw is at most x, for a mixture of one column.

    Parameters
    ----------
    x : array of any shape S
        Infinite values are allowed.

    Returns
    -------
    array of shape (..., S)
        One table for each mixture of the batch.

    Raises
    ------
    InvalidParameterError
        If the mixture has more than one column.
    InvalidDataError
        If x has NaN or what is not a number.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
    >>> params.cdf([-float("inf"), 0.0, 1.0]).round(4)
    array([0.    , 0.5   , 0.7386])
    """
    x = _asked(params, "cdf", x)
    flat = params.reshape(-1)
    which = np.repeat(np.arange(len(flat.weights)), x.size)
    return _below(flat, np.tile(x.ravel(), len(flat.weights)), which, 1.0).reshape((*params.batch_shape, *x.shape))


def ppf(params: Mixture, q: ArrayLike) -> FloatArray:
    """Return quantiles, the inverse of :meth:`cdf`, for a mixture of one column.

    The quantile lies between the smallest and the largest of the components' own quantiles, so it is bracketed from the start; the root
    is then found to rounding by Chandrupatla's method (Chandrupatla 1997, Advances in Engineering Software 28, 145-149). Upper quantiles
    are found from the upper tail. Where the distribution function is flat to rounding, between components far apart, every point has
    the same probability and one of them is returned.

    Parameters
    ----------
    q : array of any shape S
        Probabilities; 0 gives minus infinity and 1 infinity.

    Returns
    -------
    array of shape (..., S)
        One table for each mixture of the batch.

    Raises
    ------
    InvalidParameterError
        If the mixture has more than one column, or a probability is not between 0 and 1.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.75, 0.25], [[0.0], [10.0]], [[[1.0]], [[4.0]]])
    >>> params.ppf([0.0, 0.375, 0.9]).round(3)
    array([ -inf, -0.   , 10.507])
    """
    q = _asked(params, "ppf", q)
    if ((q < 0) | (q > 1)).any():
        raise InvalidParameterError(f"q must be probabilities between 0 and 1, got {float(q[(q < 0) | (q > 1)][0])!r}")
    flat = params.reshape(-1)
    T = len(flat.weights)
    which, probability = np.repeat(np.arange(T), q.size), np.tile(q.ravel(), T)
    out = np.where(probability > 0.5, np.inf, -np.inf)
    inside = (probability > 0) & (probability < 1)
    out[inside] = _roots(flat, probability[inside], which[inside])
    return out.reshape((*params.batch_shape, *q.shape))


def _roots(params: Mixture, q: FloatArray, which: IntArray) -> FloatArray:
    """Return the quantile of each probability q (n,) in the mixture it belongs to."""
    from scipy.optimize.elementwise import find_root

    if not len(q):
        return q
    lower, upper = _bracket(params, q, which)
    # From the tail in which q lies: 1 - q is exact in the upper one, and nothing there is rounded against one.
    side = np.where(q <= 0.5, 1.0, -1.0)
    mass = np.where(q <= 0.5, q, 1.0 - q)

    def excess(x: FloatArray, which: FloatArray, side: FloatArray, mass: FloatArray) -> FloatArray:
        return side * (_below(params, x, which.astype(np.intp), side) - mass)

    found = find_root(excess, (lower, upper), args=(which.astype(float), side, mass))
    return np.asarray(found.x)


def _bracket(params: Mixture, q: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return points on either side of the quantiles: the components' own, moved apart by more than rounding."""
    centres, sds = params.means[which, :, 0], params.sds[which, :, 0]
    own = centres + sds * ndtri(q)[:, None]
    room = 1e-6 * sds + 8 * np.spacing(np.abs(own))
    there = params.weights[which] > 0
    return np.where(there, own - room, np.inf).min(1), np.where(there, own + room, -np.inf).max(1)


def _below(params: Mixture, x: FloatArray, which: IntArray, side: FloatArray | float) -> FloatArray:
    """Return the probability below x (n,), or above it where ``side`` is -1."""
    z = (x[:, None] - params.means[which, :, 0]) / params.sds[which, :, 0]
    return np.minimum((params.weights[which] * ndtr(np.reshape(side, (-1, 1)) * z)).sum(1), 1.0)


def _asked(params: Mixture, method: str, values: ArrayLike) -> FloatArray:
    """Return what is asked about as floats; with more than one column quantiles would not be numbers."""
    if params.n_features != 1:
        raise InvalidParameterError(
            f"{method} is for one column, this mixture has {params.n_features}: choose one first, as in params.marginal(0).{method}(...)"
        )
    name = {"cdf": "x", "ppf": "q"}[method]
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InvalidDataError(f"{name} must be numbers") from None
    if np.isnan(array).any():
        raise InvalidDataError(f"{name} has NaN: leave missing values out")
    return array
