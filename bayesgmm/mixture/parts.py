"""Some columns of a mixture, alone or given the others: both are Gaussian mixtures again.

With the given columns g put before the free ones f, the Cholesky factor of a component's covariance is a block triangle
``[[L_gg, 0], [L_fg, L_ff]]``. Then f given g is normal with mean ``mu_f + L_fg L_gg^-1 (x_g - mu_g)`` and Cholesky factor ``L_ff``: nothing
is subtracted, so nothing cancels (Anderson 2003, An Introduction to Multivariate Statistical Analysis, section 2.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.mixture import checks
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

if TYPE_CHECKING:
    from bayesgmm.params import MixtureParams

__all__ = ["condition", "conditional_mean", "marginal"]


def marginal(params: MixtureParams, dims: int | Iterable[int]) -> MixtureParams:
    """Return the mixture of some columns alone, in the order given.

    Parameters
    ----------
    dims : int or sequence of int
        Positions of the columns to keep; negative ones count from the end.

    Returns
    -------
    MixtureParams
        With the same batch shape, weights and component order.

    Raises
    ------
    InvalidParameterError
        If ``dims`` is empty, names a column twice or one that the mixture does not have.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.7, 0.3], [[0.0, 1.0], [4.0, 5.0]], [[[1.0, 0.6], [0.6, 4.0]]] * 2)
    >>> params.marginal(1).sds.ravel()
    array([2., 2.])
    """
    kept = checks.columns(params, dims)
    return replace(params, means=params.means[..., kept], scale_tril=_factor(params, kept))


def condition(params: MixtureParams, given: Mapping[int, float]) -> MixtureParams:
    """Return the mixture of the other columns, given the values of some.

    Weights become the responsibilities of the given values. They are found in logarithms, so that they are right however far the
    values lie from all components; what can be far out then is the mixture's claim to describe such values at all.

    Parameters
    ----------
    given : mapping of int to float
        Position of a column to its value.

    Returns
    -------
    MixtureParams
        Of the remaining columns in their order, with the same batch shape and component order.

    Raises
    ------
    InvalidParameterError
        If positions are wrong, none is given, or none is left.
    InvalidDataError
        If a value is not a finite number, or so far away that the squared distance overflows.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[0.0, 1.0], [4.0, 5.0]], [[[1.0, 0.6], [0.6, 4.0]]] * 2)
    >>> other = params.condition({0: 2.0})
    >>> other.weights, other.means.ravel()
    (array([0.5, 0.5]), array([2.2, 3.8]))
    """
    if not isinstance(given, Mapping):
        raise InvalidParameterError(f"condition takes a mapping of column to value, as in {{0: 1.5}}; got {type(given).__name__}")
    split = _Split.of(params, list(given))
    row = checks.finite(list(given.values()), "the values to condition on")
    if row.ndim != 1:
        raise InvalidDataError("the values to condition on must be one number per column")
    weights = _responsibilities(split.given, row[None])[..., 0, :]
    means = split.means + (split.slopes @ (row - split.given.means)[..., None])[..., 0]
    return replace(params, weights=weights, means=means, scale_tril=split.scale_tril)


def conditional_mean(params: MixtureParams, X_given: ArrayLike, given: int | Iterable[int]) -> FloatArray:
    """Return the mean of the other columns given some, row by row: regression by the mixture.

    ``E[x_f | x_g] = sum_k r_k(x_g) (mu_kf + B_k (x_g - mu_kg))`` with ``B_k = Sigma_kfg Sigma_kgg^-1`` and the responsibilities r of the
    given columns: a smooth switch between the components' linear regressions (Ghahramani and Jordan 1994, Advances in Neural
    Information Processing Systems 6, 120-127).

    Parameters
    ----------
    X_given : array of shape (N, G)
        Values of the given columns, one row per case, in the order of ``given``.
    given : int or sequence of int
        Positions of the G given columns.

    Returns
    -------
    array of shape (..., N, D - G)
        Means of the remaining columns in their order, for each mixture of the batch; the rows of ``condition`` for one case each.

    Raises
    ------
    InvalidParameterError
        If positions are wrong, none is given, or none is left.
    InvalidDataError
        If X_given has another shape, values that are not finite, or values so far away that squared distances overflow.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[0.0, 1.0], [4.0, 5.0]], [[[1.0, 0.6], [0.6, 4.0]]] * 2)
    >>> params.conditional_mean([[0.0], [2.0], [4.0]], given=0).round(2).ravel()
    array([1., 3., 5.])
    """
    split = _Split.of(params, given)
    X = np.ascontiguousarray(checks.finite(X_given, "X_given"))
    G = split.given.n_features
    if X.ndim != 2 or X.shape[1] != G:
        raise InvalidDataError(f"X_given must have shape (N, {G}), one column for each given one, got {X.shape}")
    r = _responsibilities(split.given, X)
    out = np.zeros((*params.batch_shape, len(X), params.n_features - G))
    for k in range(params.n_components):
        lines = (X - split.given.means[..., k, None, :]) @ np.swapaxes(split.slopes[..., k, :, :], -1, -2)
        out += r[..., k, None] * (split.means[..., k, None, :] + lines)
    return out


class _Split(NamedTuple):
    """A mixture taken apart into given columns and the regression of the free ones on them."""

    given: MixtureParams
    means: FloatArray
    """(..., K, F): of the free columns."""
    slopes: FloatArray
    """(..., K, F, G)."""
    scale_tril: FloatArray
    """(..., K, F, F): Cholesky factors of the free columns given the others."""

    @classmethod
    def of(cls, params: MixtureParams, dims: int | Iterable[int]) -> _Split:
        given = checks.columns(params, dims, "the given columns")
        free = np.setdiff1d(np.arange(params.n_features), given)
        if not len(free):
            raise InvalidParameterError(f"all {params.n_features} column(s) are given: leave at least one to say something about")
        G = len(given)
        factor = _factor(params, np.concatenate([given, free]))
        head, side = factor[..., :G, :G], factor[..., G:, :G]
        # B = L_fg L_gg^-1, from L_gg' B' = L_fg'.
        slopes = np.swapaxes(np.linalg.solve(np.swapaxes(head, -1, -2), np.swapaxes(side, -1, -2)), -1, -2)
        first = replace(params, means=params.means[..., given], scale_tril=head)
        return cls(first, params.means[..., free], slopes, factor[..., G:, G:])


def _factor(params: MixtureParams, kept: IntArray) -> FloatArray:
    """Return the Cholesky factors (..., K, d, d) of the covariance of some columns.

    If A are their rows of L, their covariance is A A'. The R of ``A' = Q R`` gives A A' = R' R without forming the product, which would
    square the condition number.
    """
    if params.is_diagonal:
        return params.sds[..., kept, None] * np.eye(len(kept))
    upper = np.linalg.qr(np.swapaxes(params.scale_tril[..., kept, :], -1, -2), mode="r")
    signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.swapaxes(signs[..., None] * upper, -1, -2)


def _responsibilities(params: MixtureParams, X: FloatArray) -> FloatArray:
    """Return the responsibilities (..., N, K), or say which row is so far away that there are none."""
    r = params.responsibilities(X)
    # Where the squared distances overflow, the E-step knows no difference between the components.
    missing = np.isneginf(params.log_density(X)).reshape(-1, len(X)).any(0)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise InvalidDataError(f"row {row} of the given values, {X[row].tolist()}, is too far from every component to compute with")
    return r
