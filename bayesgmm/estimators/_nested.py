"""Fits that are settings of another fit: ``init`` and ``init_params``."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from bayesgmm.exceptions import InvalidParameterError

__all__ = ["check_same_columns", "fitted_to", "is_fit"]

_MOST_NAMED = 8


def is_fit(value: Any) -> bool:
    """Whether a setting is a fitted estimator."""
    if not isinstance(value, BaseEstimator):
        return False
    try:
        check_is_fitted(value)
    except (NotFittedError, TypeError):  # the second of what cannot be fitted at all
        return False
    return True


def fitted_to(value: Any, X: Any, sample_weight: Any) -> Any:
    """Return a fitted estimator as it is, and of one that is not fitted a copy fitted to X: what scikit-learn expects of its tools."""
    if is_fit(value):
        return value
    return clone(value).fit(X) if sample_weight is None else clone(value).fit(X, sample_weight=sample_weight)


def check_same_columns(setting: str, fit: Any, estimator: Any) -> None:
    """Raise InvalidParameterError if two fits know their columns by name, and these differ: their numbers would mean other things.

    Parameters
    ----------
    setting : str
        Name of the setting that ``fit`` is.
    fit, estimator : estimators
        The second has seen its data.
    """
    theirs, ours = (getattr(each, "feature_names_in_", None) for each in (fit, estimator))
    if theirs is None or ours is None or list(theirs) == list(ours):
        return
    same = sorted(map(str, theirs)) == sorted(map(str, ours))
    remedy = "give the columns in the same order" if same else "fit it to the columns of X"
    raise InvalidParameterError(f"{setting} was fitted to the columns {_few(theirs)}, and X has {_few(ours)}: {remedy}")


def _few(names: Any) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else "")
