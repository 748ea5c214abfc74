"""Fits that are settings of another fit: ``init`` and ``init_params``."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from bayesgmm.rows import Rows

__all__ = ["fitted_to", "is_fit"]


def is_fit(value: Any) -> bool:
    """Whether a setting is a fitted estimator."""
    if not isinstance(value, BaseEstimator):
        return False
    try:
        check_is_fitted(value)
    except (NotFittedError, TypeError):  # the second of what cannot be fitted at all
        return False
    return True


def fitted_to(value: Any, rows: Rows) -> Any:
    """Return a fitted estimator as it is, and of one that is not fitted a copy fitted to rows: what scikit-learn expects of its tools."""
    if is_fit(value):
        return value
    if not rows.is_in_memory:
        return clone(value).fit(rows)
    X, weights = rows.values, rows.weights
    return clone(value).fit(X) if weights is None else clone(value).fit(X, sample_weight=weights)
