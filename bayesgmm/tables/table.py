"""From whatever a user calls a table to float64 with NaN for what is missing, or to one sentence that says why not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils.validation import check_array

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.tables.kinds import CATEGORIES, COMPLEX, OTHER, Wrong, as_numbers, has_booleans
from bayesgmm.typing import FloatArray

__all__ = [
    "NotNumbersError",
    "array_of",
    "boolean_columns",
    "column_names",
    "column_of",
    "default_names",
    "frame_of",
    "numbers_in",
    "refuse_categories",
    "warn_of_booleans",
]

_MOST_NAMED = 5


class NotNumbersError(InvalidDataError, TypeError):
    """Something in a table is of a type that no number can be made of."""


def numbers_in(X: Any) -> FloatArray:
    """Return a table as a float64 C-contiguous array (N, D), in which NaN stands for what is missing.

    It is X itself, or a view of it, where nothing had to be changed.

    Parameters
    ----------
    X : array, masked array, DataFrame of pandas or polars, pyarrow Table, or list of rows
        See :func:`bayesgmm.tables.as_numbers` for what its entries may be.

    Raises
    ------
    InvalidDataError
        If it has no two dimensions, or something in it is no number: the column, the row and the value are named.
    TypeError, ValueError
        What scikit-learn raises for sparse arrays and what is no array at all.

    Examples
    --------
    >>> from decimal import Decimal
    >>> numbers_in([[1, None], [Decimal("2.5"), 4.0]])
    array([[1. , nan],
           [2.5, 4. ]])
    >>> numbers_in(np.ma.masked_equal([[1.0, -999.0]], -999.0))
    array([[ 1., nan]])
    >>> numbers_in(pd.DataFrame({"x": [1.5, 2.5], "lead": [0.2, "<0.01"]}))
    Traceback (most recent call last):
    bayesgmm.exceptions.InvalidDataError: Column 'lead' is not numeric: ... ('<0.01' in row 1 is a limit, not a value)
    """
    if type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and X.dtype.isnative:
        return np.ascontiguousarray(X)
    _refuse_no_rows_yet(X)
    if issparse(X) or isinstance(X, np.matrix):
        return check_array(X, input_name="X")  # scikit-learn's words
    values = frame_of(X) if isinstance(X, pd.DataFrame) else _of_arrow(X) if _is_arrow(X) else _of_entries(X)
    checked: FloatArray = check_array(values, dtype=np.float64, order="C", ensure_all_finite=False, input_name="X", **_ANY_SIZE)
    return checked


_ANY_SIZE: dict[str, int] = {"ensure_min_samples": 0, "ensure_min_features": 0}


def warn_of_booleans(names: Sequence[str]) -> None:
    """Warn of columns (by their names, if any) that hold True and False."""
    if names:
        it = "it" if len(names) == 1 else "them"
        warnings.warn(
            f"{'Column' if len(names) == 1 else 'Columns'} {_listed(names)}: True and False are fitted as 1 and 0, which have no normal "
            f"density, so leave {it} out, or convert {it} with astype(float) if you mean it",
            UserWarning,
            stacklevel=2,
        )


def boolean_columns(X: Any) -> list[str]:
    """Return the names of the columns of a table that hold True and False."""
    if isinstance(X, pd.DataFrame):
        columns = [X.iloc[:, d] for d in range(X.shape[1])]
    elif _is_arrow(X):
        import pyarrow as pa

        columns = pa.table(X).columns
    else:
        array = _as_array(X)
        columns = list(array.T) if array.ndim == 2 and array.dtype.kind in "bO" else []
    return [name for name, column in zip(column_names(X, len(columns)), columns, strict=False) if has_booleans(column)]


def frame_of(frame: pd.DataFrame, place: str = "", first: int = 0) -> FloatArray:
    """Return a pandas frame as float64 (N, D).

    Parameters
    ----------
    frame : DataFrame
    place : str
        Where it is, for messages.
    first : int
        Number of its first row there.
    """
    if all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in frame.dtypes):
        with np.errstate(over="ignore"):
            return frame.to_numpy(dtype=np.float64)
    names = [str(name) for name in frame.columns]
    return _filled([frame.iloc[:, d] for d in range(len(names))], names, len(frame), place, first)


def column_of(values: Any, name: str, place: str = "", first: int = 0) -> FloatArray:
    """Return a column (N,) as float64, or raise InvalidDataError with its name, the row and the value.

    Parameters
    ----------
    values : array, pandas Series, pyarrow Array or ChunkedArray
    name : str
    place : str
        Where the column is, for messages.
    first : int
        Number of its first row there.
    """
    found = as_numbers(values)
    if isinstance(found, Wrong):
        raise _not_numeric({name: found}, place, first)
    return found


def array_of(values: Any, place: str = "X") -> FloatArray:
    """Return an array of any shape as float64, or raise InvalidDataError with the place of what is no number and its value."""
    found = as_numbers(values)
    if isinstance(found, Wrong):
        raise _no_number(found, np.shape(values), place)
    return found


def refuse_categories(names: Sequence[str], place: str) -> None:
    """Raise InvalidDataError if there are columns (by their names) that are known to hold categories."""
    if names:
        raise _not_numeric({name: Wrong(CATEGORIES) for name in names}, place, 0)


def column_names(X: Any, n_features: int) -> list[str]:
    """Return the column names of a DataFrame, or ``x0, x1, ...`` for anything without names."""
    columns = getattr(X, "columns", None)
    if not isinstance(X, pd.DataFrame):
        columns = getattr(X, "column_names", columns)  # a pyarrow Table's columns are their values
    return default_names(n_features) if columns is None else [str(name) for name in columns]


def default_names(n_features: int) -> list[str]:
    """Return ``x0, x1, ...``, scikit-learn's names for features that have none."""
    return [f"x{d}" for d in range(n_features)]


def _filled(columns: Sequence[Any], names: Sequence[str], n_rows: int, place: str = "", first: int = 0) -> FloatArray:
    values, wrong = np.empty((n_rows, len(names))), {}
    for d, (name, column) in enumerate(zip(names, columns, strict=True)):
        found = as_numbers(column)
        if isinstance(found, Wrong):
            wrong[name] = found
        else:
            values[:, d] = found
    if wrong:
        raise _not_numeric(wrong, place, first)
    return values


def _not_numeric(wrong: dict[str, Wrong], place: str, first: int) -> InvalidDataError:
    """Return the sentence about columns that hold something else than numbers."""
    names, example = list(wrong), next(iter(wrong.values()))
    listed = _listed(names)
    of = f" of {place}" if place else ""
    one = len(names) == 1
    subject = f"Column {listed}{of} is not numeric" if one else f"Columns {listed}{of} are not numeric"
    kinds = {found.kind for found in wrong.values()}
    advice = (example.kind if len(kinds) == 1 else OTHER).advice.format(it="it" if one else "them")
    if example.position is None:
        return InvalidDataError(f"{subject}: {advice}")
    where = f"row {first + example.position}{'' if one else f' of {names[0]!r}'}"
    return InvalidDataError(f"{subject}: {advice} ({example.shown} in {where} is {example.kind.what})")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_MOST_NAMED])) + (f" and {len(names) - _MOST_NAMED} more" if names[_MOST_NAMED:] else "")


def _is_arrow(X: Any) -> bool:
    """Whether X is a frame of polars, or of any other library that speaks Arrow."""
    return hasattr(X, "__arrow_c_stream__") and (hasattr(X, "columns") or hasattr(X, "column_names"))


def _of_arrow(X: Any) -> FloatArray:
    import pyarrow as pa

    table = pa.table(X)
    return _filled(table.columns, table.column_names, table.num_rows)


def _of_entries(X: Any) -> FloatArray:
    values = _as_array(X)
    if values.dtype.names:
        fields = ", ".join(values.dtype.names[:_MOST_NAMED])
        raise InvalidDataError(f"X is a structured array with the fields {fields}: give pd.DataFrame(X)")
    if values.ndim == 1:
        _refuse_one_dimensional(X)
    return array_of(values)


def _as_array(X: Any) -> np.ndarray:
    if isinstance(X, np.ndarray):
        return X
    try:
        if not isinstance(X, (list, tuple)):
            return np.asarray(X)
        if any(isinstance(row, np.ma.MaskedArray) for row in X):
            return np.ma.array(X)
        # Objects first: NumPy would make text of numbers beside text, and 1 of True beside numbers.
        as_objects = bool(X) and all(isinstance(row, (list, tuple)) for row in X)
        if as_objects and len(set(map(len, X))) > 1:
            raise ValueError
        return np.array(X, dtype=object) if as_objects else np.asarray(X)
    except ValueError:
        raise InvalidDataError("X must be a table of numbers: its rows have different lengths") from None


def _no_number(wrong: Wrong, shape: tuple[int, ...], of: str) -> InvalidDataError:
    """Return the sentence about the first entry of an array that is no number."""
    if wrong.kind is COMPLEX:
        return InvalidDataError(f"Complex data not supported: {COMPLEX.advice.format(it='them')}")
    place = [int(i) for i in np.unravel_index(wrong.position or 0, shape)]
    where = f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"place {tuple(place)}"
    advice = wrong.kind.advice.format(it="that column")
    if wrong.kind is OTHER and not place:
        return NotNumbersError(
            f"X must be a table of numbers, with rows and columns, and is of the type {type(wrong.value).__name__!r}: "
            "give an array, a list of rows or a DataFrame"
        )
    if wrong.kind is OTHER:
        kind = type(wrong.value).__name__
        return NotNumbersError(
            f"X has no number in {where}: its argument must be a string or a real number, not {kind!r}: {advice}"
        )
    return InvalidDataError(f"{of} has {wrong.shown} in {where}, which is not a number but {wrong.kind.what}: {advice}")


def _refuse_no_rows_yet(X: Any) -> None:
    """Say what to do with what stands for rows that are elsewhere."""
    if type(X).__module__.startswith("polars.") and hasattr(X, "collect"):
        raise InvalidDataError("X is a polars LazyFrame, which has no rows yet: give X.collect()")
    if isinstance(X, (list, tuple)) and X and all(_is_file(item) for item in X):
        raise InvalidDataError(
            "X is a list of files, which is not taken: give the folder that holds them or a pattern such as 'data/*.parquet', "
            "and of several .npy files write one"
        )


def _is_file(item: Any) -> bool:
    return isinstance(item, os.PathLike) or (isinstance(item, str) and item.lower().endswith((".npy", ".parquet")))


def _refuse_one_dimensional(X: Any) -> None:
    if hasattr(X, "to_frame"):
        name = getattr(X, "name", None) or "x"
        raise InvalidDataError(
            f"X is one column (a {type(X).__name__}) and must be a table: give X.to_frame(), or choose it as df[[{name!r}]] rather than "
            f"df[{name!r}]"
        )
    raise InvalidDataError(
        "X has one dimension and must have two, (rows, columns). Reshape your data: "
        "X.reshape(-1, 1) for one column of many rows, X.reshape(1, -1) for one row of many columns"
    )
