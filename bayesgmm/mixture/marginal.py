"""Some columns of a mixture, alone or given the others: both are Gaussian mixtures again.

With the given columns g put before the free ones f, the Cholesky factor of a component's covariance is a block triangle
``[[L_gg, 0], [L_fg, L_ff]]``. Then f given g is normal with mean ``mu_f + L_fg L_gg^-1 (x_g - mu_g)`` and Cholesky factor ``L_ff``: nothing
is subtracted, so nothing cancels (Anderson 2003, An Introduction to Multivariate Statistical Analysis, section 2.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.mixture import Mixture
from bayesgmm.text import counted, shortened
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["condition", "lower_factor", "marginal"]


def marginal[M: Mixture](params: M, dims: int | Iterable[int]) -> M:
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
    kept = _columns(params, dims)
    return type(params)(params.weights, params.means[..., kept], _factor(params, kept))


def condition[M: Mixture](params: M, given: Mapping[int, float]) -> M:
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
    row = _finite(list(given.values()))
    # Where the squared distances overflow, the E-step knows no difference between the components.
    if np.isneginf(split.given.log_density(row[None])).any():
        raise InvalidDataError(f"the given values, {row.tolist()}, are too far from every component to compute with")
    weights = split.given.responsibilities(row[None])[..., 0, :]
    means = split.means + (split.slopes @ (row - split.given.means)[..., None])[..., 0]
    return type(params)(weights, means, split.scale_tril)


class _Split(NamedTuple):
    """A mixture taken apart into given columns and the regression of the free ones on them."""

    given: Mixture
    means: FloatArray
    """(..., K, F): of the free columns."""
    slopes: FloatArray
    """(..., K, F, G)."""
    scale_tril: FloatArray
    """(..., K, F, F): Cholesky factors of the free columns given the others."""

    @classmethod
    def of(cls, params: Mixture, dims: int | Iterable[int]) -> _Split:
        given = _columns(params, dims, "the given columns")
        free = np.setdiff1d(np.arange(params.n_features), given)
        if not len(free):
            raise InvalidParameterError(
                f"all {counted(params.n_features, 'column')} are given: leave at least one to say something about"
            )
        G = len(given)
        factor = _factor(params, np.concatenate([given, free]))
        head, side = factor[..., :G, :G], factor[..., G:, :G]
        # B = L_fg L_gg^-1, from L_gg' B' = L_fg'.
        slopes = np.swapaxes(np.linalg.solve(np.swapaxes(head, -1, -2), np.swapaxes(side, -1, -2)), -1, -2)
        first = type(params)(params.weights, params.means[..., given], head)
        return cls(first, params.means[..., free], slopes, factor[..., G:, G:])


def lower_factor(roots: FloatArray) -> FloatArray:
    """Return the lower triangular factors (..., D, D) of ``A A'`` for matrices A (..., D, M).

    The R of ``A' = Q R`` gives A A' = R' R without forming the product, which would square the condition number.
    """
    if roots.shape[-1] == roots.shape[-2] and not np.triu(roots, 1).any() and (np.diagonal(roots, axis1=-2, axis2=-1) > 0).all():
        return roots
    right = np.linalg.qr(np.swapaxes(roots, -1, -2), mode="r")
    sign = np.where(np.diagonal(right, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.tril(np.swapaxes(right * sign[..., None], -1, -2))


def _factor(params: Mixture, kept: IntArray) -> FloatArray:
    """Return the Cholesky factors (..., K, d, d) of the covariance of some columns: if A are their rows of L, it is A A'."""
    return params.sds[..., kept, None] * np.eye(len(kept)) if params.is_diagonal else lower_factor(params.scale_tril[..., kept, :])


def _columns(params: Mixture, dims: int | Iterable[int], what: str = "dims") -> IntArray:
    """Return the positions of the columns meant by ``dims``, negative ones counted from the end; none twice, at least one."""
    D = params.n_features
    asked: list[Any] = list(dims) if isinstance(dims, Iterable) else [dims]
    for d in asked:
        if not isinstance(d, (int, np.integer)) or isinstance(d, bool):
            raise InvalidParameterError(f"{what} must be positions of columns, whole numbers from 0 to {D - 1}; got {d!r}")
        if not -D <= d < D:
            raise InvalidParameterError(f"{what} has {d}, but the mixture has {counted(D, 'column')}, at positions 0 to {D - 1}")
    found = np.array([int(d) % D for d in asked], dtype=np.intp)
    if not len(found):
        raise InvalidParameterError(f"{what} must name at least one column")
    if len(np.unique(found)) < len(found):
        raise InvalidParameterError(f"{what} names a column twice: {asked}")
    return found


def _finite(values: list[Any]) -> FloatArray:
    """Return the values to condition on as finite floats."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InvalidDataError(f"the values to condition on must be numbers, got {shortened(values, 60)}") from None
    if array.ndim != 1:
        raise InvalidDataError("the values to condition on must be one number per column")
    if not np.isfinite(array).all():
        raise InvalidDataError(f"the values to condition on must be finite numbers, got {array[~np.isfinite(array)][0]}")
    return array
