"""A mixture from numbers that somebody wrote down, in the shapes that scikit-learn uses for covariances."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.mixture import Mixture
from bayesgmm.text import counted
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["CovarianceShape", "from_parameters", "numbers"]

CovarianceShape = Literal["full", "tied", "diag", "spherical"]

_SUM_TOLERANCE = 1e-8
_SHAPES = {"full": "(..., K, D, D)", "tied": "(..., D, D)", "diag": "(..., K, D)", "spherical": "(..., K)"}


def from_parameters[M: Mixture](
    kind: type[M], weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, covariance_type: CovarianceShape
) -> M:
    """Check one thing after the other, so that the first mistake is named with its place; then build the value."""
    if covariance_type not in _SHAPES:
        raise InvalidParameterError(f"covariance_type must be one of {', '.join(_SHAPES)}, got {covariance_type!r}")
    w, m, c = (numbers(a, name) for a, name in ((weights, "weights"), (means, "means"), (covariances, "covariances")))
    _check_weights(w)
    if m.ndim != w.ndim + 1 or m.shape[:-1] != w.shape or m.shape[-1] < 1:
        raise InvalidParameterError(
            f"means must have shape {_text(w.shape, 'D')}, one row for each of the {counted(w.shape[-1], 'weight')}; got {m.shape}"
        )
    matrices = _matrices(c, m.shape, covariance_type)
    _check_symmetric(matrices)
    return kind.from_covariances(w, m, 0.5 * matrices + 0.5 * np.swapaxes(matrices, -1, -2))


def numbers(values: ArrayLike, name: str) -> FloatArray:
    """Return an array of finite floats, or name the first that is not one."""
    try:
        raw = np.asarray(values)
    except (ValueError, OverflowError):
        raise InvalidParameterError(f"{name} must be a rectangular array; rows have different lengths") from None
    if raw.dtype.kind not in "iuf":
        raise InvalidParameterError(f"{name} must be numbers, got an array of type {raw.dtype}")
    array = raw.astype(float)
    if not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0]
        raise InvalidParameterError(f"{_at(name, place)} is {array[tuple(place)]}: every value must be a finite number")
    return array


def _check_weights(weights: FloatArray) -> None:
    if weights.ndim < 1 or weights.shape[-1] < 1:
        raise InvalidParameterError(f"weights must have shape (..., K), one for each component; got {weights.shape}")
    if (weights < 0).any():
        place = np.argwhere(weights < 0)[0]
        raise InvalidParameterError(f"{_at('weights', place)} is {weights[tuple(place)]:.6g}: weights must be at least zero")
    totals = weights.sum(-1)
    if (wrong := np.abs(totals - 1.0) > _SUM_TOLERANCE).any():
        place = np.argwhere(wrong)[0]
        where = f"{_at('weights', place)} add" if len(place) else "weights add"
        raise InvalidParameterError(f"{where} up to {totals[tuple(place)]:.10g}, not to one: divide them by their sum")


def _matrices(covariances: FloatArray, shape: tuple[int, ...], covariance_type: CovarianceShape) -> FloatArray:
    """Return covariance matrices (..., K, D, D) from the shape of their type; ``shape`` is that of the means."""
    D = shape[-1]
    wanted = {"full": (*shape, D), "tied": (*shape[:-2], D, D), "diag": shape, "spherical": shape[:-1]}[covariance_type]
    if covariances.shape != wanted:
        raise InvalidParameterError(
            f"covariances of type '{covariance_type}' must have shape {_SHAPES[covariance_type]}, here {wanted}; got {covariances.shape}"
        )
    if covariance_type == "tied":
        return np.broadcast_to(covariances[..., None, :, :], (*shape, D))
    if covariance_type == "full":
        return covariances
    variances = covariances if covariance_type == "diag" else np.broadcast_to(covariances[..., None], shape)
    return variances[..., None] * np.eye(D)


def _check_symmetric(covariances: FloatArray) -> None:
    """Name the first component whose matrix is not symmetric, beyond what rounding does."""
    sizes = np.sqrt(np.abs(np.diagonal(covariances, axis1=-2, axis2=-1)))
    scale = sizes[..., :, None] * sizes[..., None, :]
    wrong = (np.abs(covariances - np.swapaxes(covariances, -1, -2)) > 1e-8 * scale).any((-2, -1))
    if wrong.any():
        raise InvalidParameterError(f"{_at('covariances', np.argwhere(wrong)[0])} is not a symmetric matrix")


def _at(name: str, place: IntArray) -> str:
    return f"{name}[{', '.join(str(int(i)) for i in place)}]"


def _text(shape: tuple[int, ...], last: str) -> str:
    return f"({', '.join([*map(str, shape), last])})"
