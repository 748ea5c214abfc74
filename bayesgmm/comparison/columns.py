"""Columns that say the same thing twice, which no mixture with free covariances can bear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesgmm.diagnostics import Check
from bayesgmm.typing import FloatArray

__all__ = ["columns", "dependent_columns"]

# A direction in which standardised columns spread less than a millionth holds nothing but rounding.
_ROUNDING = 1e-12
_LEAST_SHARE = 1e-4
_MOST_NAMED = 6


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
    if D < 2 or N <= D + 1:
        return ""
    centred = X - X.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    if not (spread > 0).all():
        return ""
    scaled = centred / spread
    sizes, axes = np.linalg.eigh(scaled.T @ scaled / N)
    null = axes[:, sizes < _ROUNDING]
    if not null.shape[1]:
        return ""
    # How much of each column lies in the directions without spread: none of a column that is free of the others.
    involved = np.flatnonzero((null**2).sum(axis=1) > _LEAST_SHARE)
    said = [repr(str(names[int(d)])) for d in involved]
    what = "hold the same values" if (X[:, involved] == X[:, involved[:1]]).all() else "follow exactly from each other"
    more = "one of them" if null.shape[1] == 1 else f"{null.shape[1]} of them"
    shown = said if len(said) <= _MOST_NAMED else [*said[:_MOST_NAMED], f"{len(said) - _MOST_NAMED} more"]
    return f"Columns {', '.join(shown[:-1])} and {shown[-1]} {what}: leave {more} out."


def columns(X: FloatArray, names: Sequence[str]) -> tuple[Check, ...]:
    """A warning if a column follows exactly from others; otherwise nothing."""
    sentence = dependent_columns(X, names)
    return (Check("columns", None, None, False, sentence),) if sentence else ()
