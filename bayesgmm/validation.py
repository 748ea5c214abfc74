"""What data must be like before anything is fitted: one clear error each, before any work is done."""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.tables.numeric import Wrong, as_numbers, boolean_columns, column_names, numbers_in, warn_of_booleans
from bayesgmm.text import counted, listed
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = [
    "broadcast",
    "check_count",
    "check_data",
    "check_enough",
    "check_fields",
    "check_fittable",
    "check_prob",
    "check_ranges",
    "check_same_columns",
    "check_weights",
    "is_finite",
    "is_positive",
]

_MOST_NAMED = 5
_LARGEST, _SMALLEST = float(np.sqrt(np.finfo(float).max)), 1e-155
"""Spreads of which the squares still are numbers, and have most of their digits."""


def check_data(estimator: BaseEstimator, X: Any, *, reset: bool, allow_missing: bool = False) -> FloatArray:
    """Return X as a float64 C-contiguous (N, D) array for a scikit-learn estimator, or say what is wrong with it.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set (``reset``) or compared with X.
    X : array-like or DataFrame of shape (N, D)
    reset : bool
        True in ``fit``, False in every other method.
    allow_missing : bool
        Whether NaN may stand for a missing value.

    Raises
    ------
    InvalidDataError
        For what is no table of numbers (see :mod:`bayesgmm.tables.numeric`), and for missing or infinite values (counted by column).
    ValueError, TypeError
        What scikit-learn raises for the rest: sparse matrices, no rows, other columns than in ``fit``.
    """
    values = check_array(numbers_in(X), order="C", ensure_all_finite=False, estimator=estimator, input_name="X")
    _refuse_not_finite(values, column_names(X, values.shape[1]), allow_missing=allow_missing)
    if reset:
        warn_of_booleans(boolean_columns(X))
    validate_data(estimator, X, reset=reset, skip_check_array=True)  # columns' number and names
    return values


def check_weights(sample_weight: Any, n_rows: int) -> FloatArray | None:
    """Return frequencies of the rows as a float64 (N,) array, or None where none are given.

    Raises
    ------
    InvalidDataError
        For another length, negative or not finite weights (the first is named), or nothing but zeros.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_rows, sample_weight)
    # What has no type of its own for its entries becomes objects, so that each of them is looked at.
    found = as_numbers(np.array(sample_weight, dtype=object) if isinstance(sample_weight, (list, tuple)) else sample_weight)
    if isinstance(found, Wrong):
        raise InvalidDataError(
            f"sample_weight must be numbers, one for each of the {n_rows} rows of X: {found.shown} is {found.kind.what}"
        )
    weight = np.ascontiguousarray(found)
    if weight.shape != (n_rows,):
        raise InvalidDataError(f"sample_weight must have one number for each of the {n_rows} rows of X, got shape {weight.shape}")
    bad = np.flatnonzero(~(weight >= 0) | np.isinf(weight))
    if len(bad):
        raise InvalidDataError(
            f"sample_weight must be zero or positive and finite: it is {weight[bad[0]]} in row {bad[0]}"
            + (f", and {len(bad) - 1} more rows are at fault" if len(bad) > 1 else "")
        )
    if not weight.any():
        raise InvalidDataError("sample_weight is zero in every row: there is nothing to fit")
    return weight


def check_prob(prob: float) -> None:
    """Raise InvalidParameterError unless ``prob``, the share that an interval holds, lies between 0 and 1."""
    if not 0 < prob < 1:
        raise InvalidParameterError(f"prob must lie between 0 and 1, got {prob}")


def check_count(name: str, value: object) -> None:
    """Raise InvalidParameterError unless the value, given for ``name``, is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidParameterError(f"{name} must be a whole number of at least 1, got {value!r}")


def is_finite(value: Any) -> bool:
    """Whether these are numbers, at least one, and all finite."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return array.size > 0 and bool(np.isfinite(array).all())


def is_positive(value: Any) -> bool:
    """Whether these are numbers, at least one, and all finite and above zero."""
    return is_finite(value) and bool((np.asarray(value, dtype=float) > 0).all())


def check_fields(value: object, *, positive: Iterable[str], finite: Iterable[str]) -> None:
    """Raise InvalidParameterError unless these fields of a value, where they are not None, are finite, or positive and finite."""
    for names, is_right, wanted in ((positive, is_positive, "positive and finite"), (finite, is_finite, "finite")):
        for name in names:
            given = getattr(value, name)
            if given is not None and not is_right(given):
                raise InvalidParameterError(f"{type(value).__name__}: {name} must be {wanted}, got {given!r}")


def broadcast(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Return a number or an array in a shape, or raise InvalidParameterError for ``name`` if it does not fit."""
    try:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=float), shape))
    except ValueError:
        raise InvalidParameterError(f"{name} must be a number or have a shape that fits {shape}, got {np.shape(value)}") from None


def check_fittable(X: FloatArray, names: Sequence[str], n_components: int) -> None:
    """Raise InvalidDataError unless K components can be fitted: enough distinct rows, and no column without variation.

    NaN stands for a missing value; a column must not have nothing else.
    """
    # NaN only where there is nothing else.
    check_ranges(np.fmin.reduce(X, axis=0), np.fmax.reduce(X, axis=0), names, n_rows=len(X))
    check_enough(len(X), n_components, _n_distinct(X, n_components + 1))


def check_ranges(lowest: FloatArray, highest: FloatArray, names: Sequence[str], *, n_rows: int) -> None:
    """Raise InvalidDataError for a column without values, without variation, or whose squares float64 cannot hold.

    Its range ``lowest`` to ``highest`` (D,) tells.
    """
    with np.errstate(over="ignore"):
        spreads = highest - lowest
    for wrong, what in (
        (np.isnan(highest), "no value at all (NaN in every row): leave {} out"),
        ((spreads == 0) & (n_rows > 1), "the same value in every row and cannot tell groups apart: leave {} out"),
        (spreads * np.sqrt(n_rows) >= _LARGEST, "values too large to be squared: rescale {} to other units"),
        ((spreads > 0) & (spreads < _SMALLEST), "values too small to be squared: rescale {} to other units"),
    ):
        named = [name for name, is_wrong in zip(names, wrong, strict=True) if is_wrong]
        if named:
            columns, it = ("Column {} has", "it") if len(named) == 1 else ("Columns {} have", "them")
            raise InvalidDataError(f"{columns.format(listed(map(repr, named), _MOST_NAMED))} {what.format(it)}")


def check_enough(n_rows: int, n_components: int, n_distinct: int) -> None:
    """Raise InvalidDataError unless there are rows, and distinct ones, enough for K components."""
    if n_rows < max(2, n_components):
        what = f"{counted(n_components, 'component')} cannot be fitted to n_samples = {n_rows}"
        raise InvalidDataError(f"{what}: give more rows or ask for fewer components")
    if n_distinct <= n_components and n_components > 1:
        what = f"{n_components} components need more than {n_components} distinct rows, the data have {n_distinct}"
        raise InvalidDataError(f"{what}: ask for fewer components")


def check_same_columns(what: str, fit: object, other: object) -> None:
    """Raise InvalidDataError if a fit and rows, or two fits, know their columns by name, and these differ: numbers would mean others.

    Parameters
    ----------
    what : str
        What ``fit`` is called in the message.
    fit : estimator or MixtureParams
        The latter has no names, and goes with any columns.
    other : estimator or DataFrame
        What has no names goes with any.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.decomposition import PCA
    >>> table = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    >>> check_same_columns("fit", PCA().fit(table), table[["b", "a"]])
    Traceback (most recent call last):
    bayesgmm.exceptions.InvalidDataError: fit has seen the columns a and b, and X has b and a: give the columns in the same order
    """
    theirs = getattr(fit, "feature_names_in_", None)
    ours = getattr(other, "feature_names_in_", getattr(other, "columns", None))
    if theirs is None or ours is None:
        return
    seen, given = list(map(str, theirs)), list(map(str, ours))
    if seen != given:
        remedy = "give the columns in the same order" if sorted(seen) == sorted(given) else "give those columns"
        columns = f"{listed(seen, _MOST_NAMED)}, and X has {listed(given, _MOST_NAMED)}"
        raise InvalidDataError(f"{what} has seen the columns {columns}: {remedy}")


def _refuse_not_finite(X: FloatArray, names: Sequence[str], *, allow_missing: bool) -> None:
    # The sum of finite numbers is finite unless it overflows, and costs no memory.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum()):
            return
    infinite = np.isinf(X)
    bad = infinite if allow_missing else ~np.isfinite(X)
    if not bad.any():
        return
    kind = "infinite" if allow_missing else "NaN (missing)" + " or infinite" * bool(infinite.any())
    counts = listed([f"{n} in {names[d]!r}" for d, n in enumerate(bad.sum(0)) if n], _MOST_NAMED)
    remedy = "Replace or drop these rows first"
    if not infinite.any():
        remedy = "Drop these rows (X.dropna()), or fill the gaps first: GaussianMixture(...).fit(X).impute(X) can"
    raise InvalidDataError(f"X contains {bad.sum()} {kind} value(s): {counts}, in {bad.any(1).sum()} of {len(X)} rows. {remedy}")


def _n_distinct(X: FloatArray, enough: int) -> int:
    """Count distinct rows; the first rows decide unless they repeat, so that large data cost nothing."""
    head = len(np.unique(X[: 50 * enough], axis=0))
    return head if head >= enough or len(X) <= 50 * enough else len(np.unique(X, axis=0))
