"""Columns that can tell no groups apart: those that number the rows, are the same in every row, or follow from others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from bayesgmm.tables.numeric import CATEGORIES, DATES, TEXT, Wrong, as_numbers, reads_as_number
from bayesgmm.text import listed
from bayesgmm.typing import FloatArray

__all__ = ["Extent", "constant", "dependent_columns", "extents", "marks", "numbering", "wording"]

_ID = re.compile(r"unnamed: \d+|index|id|uid|level_0|row([ _-]?(id|name|number|index)s?)?|rownames", re.IGNORECASE)
"""Names of columns that only tell rows apart."""
_ENDS_IN_ID = re.compile(r".*([a-z]I[dD]|[ _.-][iI][dD])")
_BEGINS_WITH_NUMBER = re.compile(r"\W*\d")
"""Text that may stand for a number, with a sign, a currency, a bracket or a limit before it."""
_MOST_MARKS, _FEWEST_MARKED = 3, 30
"""Different values, at most, of marks and codes, and rows from which on so few are no chance."""
_FEWEST = 10
"""Rows from which on it is no chance that the values of a column are consecutive numbers."""

_ROUNDING = 1e-12
"""Variance of standardised columns below which a direction holds nothing but rounding: they spread less than a millionth there."""
_LEAST_SHARE = 1e-4
_MOST_NAMED = 6


@dataclass(frozen=True)
class Extent:
    """What is known of a column: its name, its range, how many values it has, and whether these are consecutive whole numbers."""

    name: str
    lowest: float
    highest: float
    n_values: float
    is_whole: bool
    is_run: bool
    n_different: float = np.inf
    """How many different values, where they were counted."""


def extents(frame: pd.DataFrame) -> list[Extent]:
    """Look at the columns of a table; those that hold no numbers are passed over."""
    found = []
    for name, column in frame.items():
        values = as_numbers(column)
        if isinstance(values, Wrong):
            continue
        there = values[~np.isnan(values)]
        n = len(there)
        lowest, highest = (float(there.min()), float(there.max())) if n else (np.nan, np.nan)
        with np.errstate(invalid="ignore"):
            is_whole = n > 0 and bool((there == np.floor(there)).all())
        different = len(np.unique(there))
        run = is_whole and n == len(values) and highest - lowest == n - 1 and different == n
        found.append(Extent(str(name), lowest, highest, n, is_whole, run, different))
    return found


def numbering(columns: Iterable[Extent]) -> dict[str, str]:
    """Return the columns that number the rows, or are called so and hold whole numbers, each with the reason."""
    found = {}
    for column in columns:
        name, n = column.name.strip(), column.n_values
        if not column.is_whole or column.highest == column.lowest:
            continue
        if column.is_run and n >= _FEWEST:
            found[column.name] = f"{column.lowest:.0f} to {column.highest:.0f}, each once, as row numbers are"
        elif _ID.fullmatch(name) or (_ENDS_IN_ID.fullmatch(name) and column.highest - column.lowest >= n - 1):
            found[column.name] = "whole numbers that only tell rows apart, by its name"
    return found


def wording(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns of text, dates or categories, in which not one value is a number, each with the reason.

    Text that may stand for numbers, with units, commas or limits such as "<5", is not among them: somebody has to say what it means.
    """
    found = {}
    for name, column in frame.items():
        wrong = as_numbers(column)
        if not isinstance(wrong, Wrong) or wrong.kind not in (TEXT, DATES, CATEGORIES):
            continue
        is_text = wrong.kind is TEXT
        if not any(_may_be_number(value, is_text) for value in column.dropna().unique()):
            found[str(name)] = wrong.kind.what if not is_text else f"text, such as {wrong.shown}"
    return found


def _may_be_number(value: object, is_text: bool) -> bool:
    if not isinstance(value, str):
        return isinstance(value, Real)
    return _BEGINS_WITH_NUMBER.match(value) is not None if is_text else reads_as_number(value)


def constant(columns: Iterable[Extent]) -> dict[str, str]:
    """Return the columns that have one value in every row, or none, each with the reason."""
    found = {}
    for column in columns:
        if column.n_values == 0:
            found[column.name] = "no value at all"
        elif column.highest == column.lowest and column.n_values > 1:
            found[column.name] = f"{column.lowest:.10g} in every row"
    return found


def marks(columns: Iterable[Extent]) -> dict[str, str]:
    """Return the columns of so few different values that these are marks or codes, each with the reason."""
    return {
        column.name: f"only {column.n_different:.0f} different values, as marks and codes have"
        for column in columns
        if 1 < column.n_different <= _MOST_MARKS and column.n_values >= _FEWEST_MARKED
    }


def dependent_columns(X: FloatArray, names: Sequence[str]) -> str:
    """Return a sentence on columns of which one follows exactly from the others, or "" if there are none.

    Parameters
    ----------
    X : array of shape (N, D)
        Rows with missing values (NaN) are left out.
    names : sequence of str
        Of the columns.

    Examples
    --------
    >>> x = np.arange(6.0)
    >>> dependent_columns(np.column_stack([x**2, x, x]), ["a", "b", "b2"])
    "Columns 'b' and 'b2' hold the same values: leave one of them out."
    >>> dependent_columns(np.column_stack([x**2, x]), ["a", "b"])
    ''
    """
    X = np.asarray(X, dtype=float)
    X = X[np.isfinite(X).all(axis=1)]
    N, D = X.shape
    # With so few rows any columns follow from each other.
    if D < 2 or N <= D + 1 or not X.std(axis=0).all():
        return ""
    sizes, axes = np.linalg.eigh(np.corrcoef(X, rowvar=False))
    null = axes[:, sizes < _ROUNDING]
    if not null.shape[1]:
        return ""
    # How much of each column lies in the directions without spread: none of a column that is free of the others.
    involved = np.flatnonzero((null**2).sum(axis=1) > _LEAST_SHARE)
    said = [repr(str(names[int(d)])) for d in involved]
    what = "hold the same values" if (X[:, involved] == X[:, involved[:1]]).all() else "follow exactly from each other"
    more = "one of them" if null.shape[1] == 1 else f"{null.shape[1]} of them"
    return f"Columns {listed(said, _MOST_NAMED)} {what}: leave {more} out."
