"""Rows for an estimator: what a user gives ``fit`` and ``predict``, checked, whatever it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.rows.base import MemoryRows, Rows
from bayesgmm.rows.dask import is_dask
from bayesgmm.rows.open import is_chunked, open_rows
from bayesgmm.rows.parquet import is_dataset
from bayesgmm.tables.numeric import column_names, warn_of_booleans
from bayesgmm.text import listed
from bayesgmm.validation import check_data, check_enough, check_fittable, check_ranges, check_weights

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["check_worth", "rows_to_fit", "rows_to_predict"]

_ENOUGH = 50
"""Rows in which distinct ones are looked for, times K + 1."""
_MOST_LOOKED_AT = 20_000
_FREQUENCIES = 0.5
"""Mean weight from which on few rows are few rows, and not many of small weight."""
_MOST_NAMED = 8


def rows_to_fit(
    estimator: BaseEstimator, X: Any, sample_weight: Any, n_components: int, *, allow_missing: bool, in_memory: bool = False
) -> Rows:
    """Check data and weights for ``fit``.

    Parameters
    ----------
    estimator : estimator
    X, sample_weight
        As ``fit`` takes them. Of arrays in memory a copy is made: what a fit says later must not change when the caller's arrays do.
    n_components : int
    allow_missing : bool
        Whether NaN may stand for a missing value.
    in_memory : bool
        Whether data in chunks are refused.

    Returns
    -------
    Rows

    Raises
    ------
    InvalidDataError
        If they cannot be used, or do not suffice for so many components.
    """
    if is_chunked(X) and not (in_memory and isinstance(X, np.ndarray)):
        return _opened_to_fit(X, sample_weight, n_components)
    values = check_data(estimator, X, reset=True, allow_missing=allow_missing)
    names = column_names(X, values.shape[1])
    weights = check_weights(sample_weight, len(values))
    rows = MemoryRows(np.array(values, order="C"), None if weights is None else weights.copy(), names, index_of(X, len(values)))
    rows.feature_names_in = getattr(estimator, "feature_names_in_", None)
    check_rows(rows, n_components)
    return rows


def check_rows(rows: MemoryRows, n_components: int) -> None:
    """Raise InvalidDataError unless these rows and weights suffice for so many components."""
    weights = rows.weights
    check_fittable(rows.values if weights is None else rows.values[weights > 0], rows.feature_names, n_components)
    if weights is not None:
        check_worth(rows.total, int((weights > 0).sum()), n_components, rows.n_features)


def _opened_to_fit(X: Any, sample_weight: Any, n_components: int) -> Rows:
    rows = open_rows(X, sample_weight=sample_weight)
    rows.feature_names_in = None if rows.names is None else np.array(rows.names, dtype=object)
    summary = rows.summary
    if len(rows) == 0:
        raise InvalidDataError("The data have no rows" + (" of positive weight" if sum(summary.read) else ""))
    check_ranges(summary.lowest, summary.highest, rows.feature_names, n_rows=len(rows))
    some = min(len(rows), _ENOUGH * (n_components + 1))
    distinct = len(np.unique(rows.take(np.arange(some)).values, axis=0))
    if distinct <= n_components and some < len(rows):
        distinct = len(np.unique(rows.some(_MOST_LOOKED_AT).values, axis=0))
    check_enough(len(rows), n_components, distinct)
    warn_of_booleans(rows.booleans)
    check_worth(rows.total, len(rows), n_components, rows.n_features)
    return rows


def rows_to_predict(
    estimator: BaseEstimator, X: Any, sample_weight: Any = None, *, allow_missing: bool, in_memory: bool = False
) -> Rows:
    """Check data, and compare their columns with those that were fitted; arguments and errors as in :func:`rows_to_fit`."""
    if not is_chunked(X) or (in_memory and isinstance(X, np.ndarray)):  # a mapped array can be had in memory
        values = check_data(estimator, X, reset=False, allow_missing=allow_missing)
        weights = check_weights(sample_weight, len(values))
        return MemoryRows(values, weights, column_names(X, values.shape[1]), index_of(X, len(values)))
    known = getattr(estimator, "feature_names_in_", None)
    columns = [str(name) for name in known] if known is not None and _has_names(X) else None
    rows = open_rows(X, columns=columns, sample_weight=sample_weight)
    if rows.n_features != estimator.n_features_in_:
        raise InvalidDataError(f"X has {rows.n_features} columns, and the estimator was fitted to {estimator.n_features_in_}")
    if rows.names is not None and known is not None and list(known) != rows.names:
        raise InvalidDataError(
            f"X has the columns {listed(rows.names, _MOST_NAMED)}, and the estimator was fitted to {listed(known, _MOST_NAMED)}: "
            "give them in this order"
        )
    return rows


def _has_names(X: Any) -> bool:
    """Whether columns of these data can be chosen by name."""
    if isinstance(X, (str, os.PathLike)):
        return not os.fspath(X).lower().endswith(".npy")
    return is_dataset(X) or (is_dask(X) and hasattr(X, "columns"))


def index_of(X: Any, n: int) -> pd.Index:
    """Return a DataFrame's index if it can name rows, otherwise row numbers, as a RangeIndex: a DataFrame's is never one."""
    index = getattr(X, "index", None)
    if not isinstance(index, pd.Index) or isinstance(index, pd.MultiIndex) or not index.is_unique:
        return pd.RangeIndex(n, name="obs")
    return pd.Index(index.to_numpy() if index.dtype.kind in "iuf" else [str(label) for label in index], name="obs")


def check_worth(total: float, n_rows: int, n_components: int, n_features: int) -> None:
    """Raise InvalidDataError for weights that are no frequencies: together worth fewer rows than K components need, and than there are.

    Parameters
    ----------
    total : float
        Their sum.
    n_rows : int
        Number of rows of positive weight.
    n_components, n_features : int
        A component takes ``n_features + 1`` rows to have a mean and a covariance of its own.

    Notes
    -----
    Weights that were divided by their sum, and those of importance sampling or a survey, say how much rows count beside each other.
    Taken for frequencies, every component of such a fit would rest on less than a row, and no criterion would allow a second one.

    Examples
    --------
    >>> check_worth(100.0, 100, 2, 1)
    >>> check_worth(1.0, 100, 2, 1)
    Traceback (most recent call last):
    bayesgmm.exceptions.InvalidDataError: sample_weight adds up to 1 for 100 rows, fewer than the 4 that 2 component(s) in 1 column(s) \
take: weights are frequencies (weight 2 is the row twice). If yours only say how much rows count beside each other, multiply them by \
100 / 1
    """
    needed = n_components * (n_features + 1)
    if total >= needed or total >= n_rows * _FREQUENCIES:
        return
    raise InvalidDataError(
        f"sample_weight adds up to {total:.4g} for {n_rows} rows, fewer than the {needed} that {n_components} component(s) in "
        f"{n_features} column(s) take: weights are frequencies (weight 2 is the row twice). If yours only say how much rows count beside "
        f"each other, multiply them by {n_rows} / {total:.4g}"
    )
