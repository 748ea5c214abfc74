"""What is a number, what is missing and what is neither: from whatever a user calls a table to float64, or a sentence that says why not."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Complex, Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils.validation import check_array

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.text import listed, shortened
from bayesgmm.typing import FloatArray

__all__ = [
    "CATEGORIES",
    "DATES",
    "TEXT",
    "NotNumbersError",
    "Wrong",
    "array_of",
    "as_numbers",
    "boolean_columns",
    "check_columns",
    "column_names",
    "column_of",
    "default_names",
    "frame_of",
    "has_booleans",
    "numbers_in",
    "reads_as_number",
    "refuse_categories",
    "warn_of_booleans",
]

_MOST_NAMED = 5
"""Columns that a message names."""


# A column


@dataclass(frozen=True)
class Kind:
    """A kind of values that are no numbers: what one of them is called, and what to do about a column of them."""

    what: str
    advice: str


TEXT = Kind("text", "leave {it} out or choose the numeric columns")
COMMAS = Kind("text", "write numbers without a comma, neither between thousands nor for the decimal point")
CENSORED = Kind(
    "a limit, not a value",
    "put a number in the place of such limits (half the limit, say, or NaN where they are few), or leave {it} out",
)
DATES = Kind(
    "a date or time", "leave {it} out, or convert {it} to a number yourself, such as days: (x - x.min()) / pd.Timedelta(days=1)"
)
SPANS = Kind("a length of time", "leave {it} out, or convert {it} to a number yourself, such as days: x / pd.Timedelta(days=1)")
CATEGORIES = Kind(
    "one of several categories", "categories have no distances: leave {it} out, and use {it} to check the groups found"
)
COMPLEX = Kind("a complex number", "give real and imaginary parts as two columns, or leave {it} out")
HUGE = Kind("too large for a floating-point number", "give {it} in other units")
OTHER = Kind("no number", "leave {it} out or choose the numeric columns")

_DTYPES = {"c": COMPLEX, "M": DATES, "m": SPANS, "U": TEXT, "S": TEXT, "T": TEXT}
"""By the letter of a NumPy type."""
_MISSING = (type(None), type(pd.NA), type(np.ma.masked))
_TYPES: tuple[tuple[tuple[type, ...], Kind | None], ...] = (
    ((bool, np.bool_, *_MISSING), None),
    ((date, time, np.datetime64, type(pd.NaT), pd.Period), DATES),  # NaT before NA: where it stands, times belong
    ((timedelta, np.timedelta64), SPANS),  # NumPy takes its own for integers
    ((str, bytes), TEXT),
    ((Real, Decimal), None),
    ((Complex,), COMPLEX),
    ((np.ndarray, list, tuple, dict, set), OTHER),
)
"""By the type of a Python object; None for numbers and what is missing."""
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*|\s*[-+]?(nan|inf|infinity)\s*", re.IGNORECASE)
_LOOKS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"\s*(<|>|≤|≥)=?\s*[-+]?[\d.,]+\s*"), CENSORED),
    (re.compile(r"\s*[-+]?\d[\d.,]*,\d+(\.\d+)?\s*"), COMMAS),
    (re.compile(r"\s*\d{4}-\d{2}-\d{2}([T ].*)?"), DATES),
)
"""What text that is no number may mean."""


@dataclass(frozen=True)
class Wrong:
    """The first entry of a column or table that is no number.

    Parameters
    ----------
    kind : Kind
    position : int, optional
        Its number in the order of the rows, from 0; None if all of it is of this kind and nothing is there.
    value : object, optional
    """

    kind: Kind
    position: int | None = None
    value: Any = None

    @property
    def shown(self) -> str:
        """The value as it can be said in a line."""
        value = _plain(self.value)
        return shortened(repr(value) if isinstance(value, (str, bytes, complex)) else " ".join(str(value).split()), 40)


def _plain(value: Any) -> Any:
    """Return a value of NumPy's as people write it."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)
    return complex(value) if isinstance(value, np.complexfloating) else value


def as_numbers(values: Any) -> FloatArray | Wrong:
    """Return values as float64 with NaN for what is missing, or the first of them that is no number.

    Parameters
    ----------
    values : array of any shape, pandas Series, pyarrow Array or ChunkedArray
        Numbers are integers, floats, decimals and fractions of any width, also as Python's objects. Missing are NaN, None, ``pd.NA``, null,
        and what is masked. True and False are 1 and 0; :func:`has_booleans` tells of them.
    """
    if isinstance(values, pd.Series):
        return _of_series(values)
    if type(values).__module__.startswith("pyarrow"):
        return _arrow_column(values)
    if isinstance(values, np.ma.MaskedArray):
        return _of_masked(values)
    return _of_array(np.asarray(values))


def has_booleans(values: Any) -> bool:
    """Whether True or False is among the values of a column, as far as its type tells, or of Python objects the type of each."""
    kind = getattr(values, "dtype", getattr(values, "type", None))
    if isinstance(kind, np.dtype) and kind.kind == "O":
        return any(issubclass(one, (bool, np.bool_)) for one in set(map(type, np.asarray(values).ravel())))
    return getattr(kind, "kind", "") == "b" or str(kind) == "bool"


def reads_as_number(text: str) -> bool:
    """Whether text is a number as programs write it, with a decimal point."""
    return _NUMBER.fullmatch(text) is not None


def _of_array(values: np.ndarray) -> FloatArray | Wrong:
    letter = values.dtype.kind
    if values.size == 0:
        return np.empty(values.shape)
    if letter in "biuf":
        with np.errstate(over="ignore"):  # a long double that is too large becomes infinite, and is named as such
            return values.astype(np.float64, copy=False)
    if letter == "O":
        return _of_objects(values)
    if letter in "UST":
        return _first_text(values.ravel())
    return Wrong(_DTYPES.get(letter, OTHER), 0, values.flat[0])


def _of_masked(values: np.ma.MaskedArray) -> FloatArray | Wrong:
    mask = np.ma.getmaskarray(values)
    if values.dtype.kind == "O":
        objects = np.array(values.data, dtype=object)
        objects[mask] = None
        return _of_array(objects)
    found = _of_array(values.data)
    return found if isinstance(found, Wrong) else np.where(mask, np.nan, found)


def _of_objects(values: np.ndarray) -> FloatArray | Wrong:
    flat = values.ravel()
    kinds = {kind: _kind_of(kind) for kind in set(map(type, flat))}
    wrong = {kind: why for kind, why in kinds.items() if why is not None}
    if wrong:
        position = next(i for i, value in enumerate(flat) if type(value) in wrong)
        why = wrong[type(flat[position])]
        return _first_text(flat) if why is TEXT else Wrong(why, position, flat[position])
    if any(issubclass(kind, _MISSING) for kind in kinds):
        flat = np.array([np.nan if isinstance(value, _MISSING) else value for value in flat], dtype=object)
    try:
        return flat.astype(np.float64).reshape(values.shape)
    except (TypeError, ValueError, OverflowError):
        return _first_that_fails(flat)


def _kind_of(kind: type) -> Kind | None:
    """Return what values of a type are; None if they are numbers or missing."""
    otherwise = None if hasattr(kind, "__float__") else OTHER
    return next((what for types, what in _TYPES if issubclass(kind, types)), otherwise)


def _first_that_fails(flat: np.ndarray) -> Wrong:
    for position, value in enumerate(flat):
        try:
            float(value)
        except (TypeError, ValueError, OverflowError) as error:
            return Wrong(HUGE if isinstance(error, OverflowError) else OTHER, position, value)
    return Wrong(OTHER)


def _first_text(flat: Any) -> Wrong:
    """Return the first text that is no number, or else the first text, and what it seems to mean."""
    first = Wrong(TEXT)
    for position, value in enumerate(flat):
        if isinstance(value, (str, bytes)):
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            if not reads_as_number(text):
                return Wrong(next((kind for pattern, kind in _LOOKS if pattern.fullmatch(text)), TEXT), position, text)
            first = Wrong(TEXT, position, text) if first.position is None else first
    return first


def _of_series(column: pd.Series) -> FloatArray | Wrong:
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return _of_array(column.to_numpy())
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa

        return _arrow_column(pa.array(column.array))
    letter = getattr(dtype, "kind", "O")
    why = CATEGORIES if isinstance(dtype, pd.CategoricalDtype) else _DTYPES.get(letter)
    if why is not None:
        there = np.flatnonzero(column.notna().to_numpy())
        return Wrong(why, int(there[0]), column.iloc[there[0]]) if len(there) else Wrong(why)
    if letter == "b" or pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return _of_array(column.to_numpy(dtype=object))


def _arrow_column(column: Any) -> FloatArray | Wrong:
    import pyarrow as pa

    types, kind = pa.types, column.type
    if types.is_null(kind):  # what writers make of a column without any value
        return np.full(len(column), np.nan)
    if types.is_integer(kind) or types.is_decimal(kind) or types.is_boolean(kind) or types.is_floating(kind):
        # Not safe, as NumPy does it: large whole numbers are rounded.
        numbers = column if types.is_floating(kind) else column.cast(pa.float64(), safe=False)
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    if any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_string_view)):
        return np.full(len(column), np.nan) if column.null_count == len(column) else _first_text(column.to_pylist())
    valid = np.flatnonzero(np.asarray(column.is_valid()))
    example = (int(valid[0]), column[int(valid[0])].as_py()) if len(valid) else ()
    is_date = types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind)
    known = ((is_date, DATES), (types.is_duration(kind), SPANS), (types.is_dictionary(kind), CATEGORIES))
    return Wrong(next((why for is_so, why in known if is_so), OTHER), *example)


# A table


class NotNumbersError(InvalidDataError, TypeError):
    """Something in a table is of a type that no number can be made of."""


def numbers_in(X: Any) -> FloatArray:
    """Return a table as a float64 C-contiguous array (N, D), in which NaN stands for what is missing.

    It is X itself, or a view of it, where nothing had to be changed.

    Parameters
    ----------
    X : array, masked array, DataFrame of pandas or polars, pyarrow Table, or list of rows
        See :func:`as_numbers` for what its entries may be.

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
    if _is_arrow(X) and not isinstance(X, pd.DataFrame):
        X = _arrow_table(X)
        values = _filled(X.columns, X.column_names, X.num_rows)
    else:
        values = frame_of(X) if isinstance(X, pd.DataFrame) else _of_entries(X)
    any_size = {"ensure_min_samples": 0, "ensure_min_features": 0}
    return check_array(values, dtype=np.float64, order="C", ensure_all_finite=False, input_name="X", **any_size)


def warn_of_booleans(names: Sequence[str]) -> None:
    """Warn of columns (by their names, if any) that hold True and False."""
    if names:
        it = "it" if len(names) == 1 else "them"
        warnings.warn(
            f"{_columns(names)}: True and False are fitted as 1 and 0, which have no normal density, so leave {it} out, or convert {it} "
            "with astype(float) if you mean it",
            UserWarning,
            stacklevel=2,
        )


def boolean_columns(X: Any) -> list[str]:
    """Return the names of the columns of a table that hold True and False."""
    if isinstance(X, pd.DataFrame):
        columns = [column for _, column in X.items()]
    elif _is_arrow(X):
        columns = _arrow_table(X).columns
    else:
        array = _as_array(X)
        columns = list(array.T) if array.ndim == 2 and array.dtype.kind in "bO" else []
    return [name for name, column in zip(column_names(X, len(columns)), columns, strict=False) if has_booleans(column)]


def frame_of(frame: pd.DataFrame, place: str = "") -> FloatArray:
    """Return a pandas frame as float64 (N, D); messages say where it is."""
    if all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in frame.dtypes):
        with np.errstate(over="ignore"):
            return frame.to_numpy(dtype=np.float64)
    return _filled([column for _, column in frame.items()], [str(name) for name in frame.columns], len(frame), place)


def column_of(values: Any, name: str, place: str = "", first: int = 0) -> FloatArray:
    """Return a column (N,), of what `as_numbers` takes, as float64, or raise InvalidDataError with its name, the row and the value.

    Messages say where it is, and count its rows from ``first``.
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
        raise _not_numeric({name: Wrong(CATEGORIES) for name in names}, place)


def column_names(X: Any, n_features: int) -> list[str]:
    """Return the column names of a DataFrame, or ``x0, x1, ...`` for anything without names."""
    columns = getattr(X, "columns", None)
    if not isinstance(X, pd.DataFrame):
        columns = getattr(X, "column_names", columns)  # a pyarrow Table's columns are their values
    return default_names(n_features) if columns is None else [str(name) for name in columns]


def check_columns(place: str, there: Sequence[str], wanted: Sequence[str], beside: str = "") -> None:
    """Raise InvalidDataError unless a table has each of the columns that are wanted once; messages end with what is said ``beside``."""
    if missing := [name for name in dict.fromkeys(wanted) if name not in there]:
        what = listed(map(repr, missing), _MOST_NAMED, conjunction=" or ")
        raise InvalidDataError(f"{place} has no column {what}; it has {', '.join(there)}{beside}.")
    if twice := [name for name, count in Counter(there).items() if count > 1 and name in wanted]:
        raise InvalidDataError(
            f"{place} has more than one column {listed(map(repr, twice), _MOST_NAMED)}: rename all but one, or choose other columns."
        )


def default_names(n_features: int) -> list[str]:
    """Return ``x0, x1, ...``, scikit-learn's names for features that have none."""
    return [f"x{d}" for d in range(n_features)]


def _filled(columns: Sequence[Any], names: Sequence[str], n_rows: int, place: str = "") -> FloatArray:
    values, wrong = np.empty((n_rows, len(names))), {}
    for d, (name, column) in enumerate(zip(names, columns, strict=True)):
        found = as_numbers(column)
        if isinstance(found, Wrong):
            wrong[name] = found
        else:
            values[:, d] = found
    if wrong:
        raise _not_numeric(wrong, place)
    return values


def _not_numeric(wrong: dict[str, Wrong], place: str, first: int = 0) -> InvalidDataError:
    """Return the sentence about columns that hold something else than numbers."""
    names, example = list(wrong), next(iter(wrong.values()))
    one = len(names) == 1
    subject = f"{_columns(names)}{f' of {place}' if place else ''} {'is' if one else 'are'} not numeric"
    kinds = {found.kind for found in wrong.values()}
    advice = (example.kind if len(kinds) == 1 else OTHER).advice.format(it="it" if one else "them")
    if example.position is None:
        return InvalidDataError(f"{subject}: {advice}")
    where = f"row {first + example.position}{'' if one else f' of {names[0]!r}'}"
    return InvalidDataError(f"{subject}: {advice} ({example.shown} in {where} is {example.kind.what})")


def _columns(names: Sequence[str]) -> str:
    return f"{'Column' if len(names) == 1 else 'Columns'} {listed(map(repr, names), _MOST_NAMED)}"


def _is_arrow(X: Any) -> bool:
    """Whether X is a frame of polars, or of any other library that speaks Arrow."""
    return hasattr(X, "__arrow_c_stream__") and (hasattr(X, "columns") or hasattr(X, "column_names"))


def _arrow_table(X: Any) -> Any:
    import pyarrow as pa

    return pa.table(X)


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
