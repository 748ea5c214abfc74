"""What is a number, what is missing and what is neither: one answer for a column of whatever kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Complex, Real
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.typing import FloatArray

__all__ = ["COMPLEX", "Kind", "Wrong", "as_numbers", "has_booleans", "reads_as_number"]


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
_TYPES: tuple[tuple[tuple[type, ...], Kind | None], ...] = (
    ((bool, np.bool_), None),
    ((date, time, np.datetime64, type(pd.NaT), pd.Period), DATES),  # NaT before NA: where it stands, times belong
    ((timedelta, np.timedelta64), SPANS),  # NumPy takes its own for integers
    ((str, bytes), TEXT),
    ((Real, Decimal), None),
    ((Complex,), COMPLEX),
    ((np.ndarray, list, tuple, dict, set), OTHER),
)
"""By the type of a Python object; None for numbers."""
_MISSING = (type(None), type(pd.NA), type(np.ma.masked))
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
        text = repr(value) if isinstance(value, (str, bytes, complex)) else " ".join(str(value).split())
        return text if len(text) <= 40 else f"{text[:37]}..."


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
        return _of_arrow(values)
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
    if letter in "USTV" or letter not in _DTYPES:
        return _first_text(values.ravel()) if letter in "UST" else Wrong(OTHER, 0, values.flat[0])
    return Wrong(_DTYPES[letter], 0, values.flat[0])


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
    if issubclass(kind, _MISSING):
        return None
    for types, what in _TYPES:
        if issubclass(kind, types):
            return what
    return None if hasattr(kind, "__float__") else OTHER


def _first_that_fails(flat: np.ndarray) -> Wrong:
    for position, value in enumerate(flat):
        try:
            float(value)
        except OverflowError:
            return Wrong(HUGE, position, value)
        except (TypeError, ValueError):
            return Wrong(OTHER, position, value)
    return Wrong(OTHER)


def _first_text(flat: Any) -> Wrong:
    """Return the first text that is no number, or else the first text, and what it seems to mean."""
    first: tuple[int, Any] | None = None
    for position, value in enumerate(flat):
        if not isinstance(value, (str, bytes)):
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        first = first or (position, text)
        if not reads_as_number(text):
            kind = next((kind for pattern, kind in _LOOKS if pattern.fullmatch(text)), TEXT)
            return Wrong(kind, position, text)
    return Wrong(TEXT, *(first or ()))


def _of_series(column: pd.Series) -> FloatArray | Wrong:
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return _of_array(column.to_numpy())
    if isinstance(dtype, pd.CategoricalDtype):
        return Wrong(CATEGORIES, *_first_there(column))
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa

        return _of_arrow(pa.array(column.array))
    letter = getattr(dtype, "kind", "O")
    if letter in _DTYPES:
        return Wrong(_DTYPES[letter], *_first_there(column))
    if letter == "b" or pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return _of_array(column.to_numpy(dtype=object))


def _first_there(column: pd.Series) -> tuple[int, Any] | tuple[()]:
    there = np.flatnonzero(column.notna().to_numpy())
    return (int(there[0]), column.iloc[there[0]]) if len(there) else ()


def _of_arrow(column: Any) -> FloatArray | Wrong:
    import pyarrow as pa

    types, kind = pa.types, column.type
    if types.is_null(kind):  # what writers make of a column without any value
        return np.full(len(column), np.nan)
    if types.is_floating(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    if types.is_integer(kind) or types.is_decimal(kind) or types.is_boolean(kind):
        # Not safe, as NumPy does it: large whole numbers are rounded.
        numbers = column.cast(pa.float64(), safe=False)
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    if any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_string_view)):
        return np.full(len(column), np.nan) if column.null_count == len(column) else _first_text(column.to_pylist())
    valid = np.flatnonzero(np.asarray(column.is_valid()))
    example = (int(valid[0]), column[int(valid[0])].as_py()) if len(valid) else ()
    known = (
        (types.is_timestamp, DATES),
        (types.is_date, DATES),
        (types.is_time, DATES),
        (types.is_duration, SPANS),
        (types.is_dictionary, CATEGORIES),
    )
    return Wrong(next((why for is_kind, why in known if is_kind(kind)), OTHER), *example)
