"""What a mixture can be asked, checked: one sentence each when it cannot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

if TYPE_CHECKING:
    from bayesgmm.params import MixtureParams

__all__ = ["columns", "finite", "one_column", "single"]


def columns(params: MixtureParams, dims: int | Iterable[int], what: str = "dims") -> IntArray:
    """Return the positions of the columns meant by ``dims``, negative ones counted from the end; none twice, at least one."""
    D = params.n_features
    asked: list[Any] = list(dims) if isinstance(dims, Iterable) else [dims]
    for d in asked:
        if not isinstance(d, (int, np.integer)) or isinstance(d, bool):
            raise InvalidParameterError(f"{what} must be positions of columns, whole numbers from 0 to {D - 1}; got {d!r}")
        if not -D <= d < D:
            raise InvalidParameterError(f"{what} has {d}, but the mixture has {D} column(s), at positions 0 to {D - 1}")
    found = np.array([int(d) % D for d in asked], dtype=np.intp)
    if not len(found):
        raise InvalidParameterError(f"{what} must name at least one column")
    if len(np.unique(found)) < len(found):
        raise InvalidParameterError(f"{what} names a column twice: {asked}")
    return found


def finite(values: ArrayLike, what: str) -> FloatArray:
    """Return an array of finite floats."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InvalidDataError(f"{what} must be numbers, got {_short(values)}") from None
    if not np.isfinite(array).all():
        raise InvalidDataError(f"{what} must be finite numbers, got {_short(array[~np.isfinite(array)][0])}")
    return array


def single(params: MixtureParams, method: str) -> None:
    """Refuse a batch where the answer has no common shape over its mixtures."""
    if params.batch_shape:
        raise InvalidParameterError(
            f"{method} is for one mixture, this is a batch of shape {params.batch_shape}: index it first, as in params[0].{method}()"
        )


def one_column(params: MixtureParams, method: str) -> None:
    """Refuse more than one column where quantiles would not be numbers."""
    if params.n_features != 1:
        raise InvalidParameterError(
            f"{method} is for one column, this mixture has {params.n_features}: choose one first, as in params.marginal(0).{method}(...)"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
