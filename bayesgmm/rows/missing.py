"""Rows sorted by what they lack: those that have the same columns are a complete table of these columns.

Complete rows are one pattern. With missing values, the density of a row is the marginal one of the columns that it has (Little and Rubin
2019, Statistical Analysis with Missing Data, chapter 11): whatever is asked of rows is asked of one pattern after the other. Values have
to be missing at random: what is missing may depend on what was seen, but not on the missing values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Pattern", "Piece", "has_missing", "patterns_of", "pieces_of"]


def has_missing(X: FloatArray) -> bool:
    """Whether X has a NaN in it; without a copy."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isnan(X.sum())) and bool(np.isnan(X).any())


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows that have the same columns.

    Parameters
    ----------
    columns : int array of shape (d,)
        Which they have; empty for rows of which nothing is known.
    rows : int array of shape (n,), or slice
        Their numbers; all of them where nothing is missing.
    X : array of shape (n, d)
        Their values.
    """

    columns: IntArray
    rows: IntArray | slice
    X: FloatArray


class Piece(NamedTuple):
    """Patterns one after the other, as compiled passes take them."""

    order: IntArray
    """(n,): numbers of the rows."""
    values: FloatArray
    """Those that are there."""
    n_rows: IntArray
    """(P,)"""
    columns: IntArray
    """(P, D): which columns a pattern has, in its first entries."""
    n_columns: IntArray
    """(P,)"""


def patterns_of(X: FloatArray) -> tuple[Pattern, ...]:
    """Sort the rows of X (N, D), in which NaN stands for missing; of complete rows nothing is copied."""
    if not has_missing(X):
        return (Pattern(np.arange(X.shape[1]), slice(None), X),)
    seen = ~np.isnan(X)
    # As one number each, rows are sorted ten times faster than column by column.
    is_short = seen.shape[1] < 63
    key = seen @ (1 << np.arange(seen.shape[1])[::-1]) if is_short else seen
    _, first, which = np.unique(key, axis=None if is_short else 0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(first)))[:-1])
    patterns = []
    for rows, one in zip(parts, first, strict=True):
        columns = np.flatnonzero(seen[one])
        patterns.append(Pattern(columns, rows, np.ascontiguousarray(X[np.ix_(rows, columns)])))
    return tuple(patterns)


def pieces_of(patterns: tuple[Pattern, ...], n_features: int, size: int) -> tuple[Piece, ...]:
    """Lay patterns, whose rows have numbers, one after the other in pieces of about ``size`` rows, whose statistics are summed apart."""
    parts = [
        Pattern(part.columns, part.rows[i : i + size], part.X[i : i + size])
        for part in patterns
        if not isinstance(part.rows, slice)
        for i in range(0, len(part.rows), size)
    ]
    ends = np.cumsum([len(part.X) for part in parts])
    which = (ends - 1) // size
    return tuple(_piece([parts[p] for p in np.flatnonzero(which == piece)], n_features) for piece in np.unique(which))


def _piece(parts: list[Pattern], n_features: int) -> Piece:
    columns = np.zeros((len(parts), n_features), np.int64)
    for p, part in enumerate(parts):
        columns[p, : len(part.columns)] = part.columns
    return Piece(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.X.ravel() for part in parts]),
        np.array([len(part.X) for part in parts], np.int64),
        columns,
        np.array([len(part.columns) for part in parts], np.int64),
    )
