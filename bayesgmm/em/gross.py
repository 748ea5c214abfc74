"""Gross errors: rows so far from all others, in some column, that they can belong to no group whatever the groups are.

A uniform density that reached as far as they do would be next to nothing where the data are, and no row near them could be noise any more;
the coordinates of the fit, too, would be those of the errors. Who asks for noise has them set aside before the fit, as noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesgmm.typing import FloatArray, IntArray

__all__ = ["FAR", "MOST", "Limits", "limits_of"]

MOST = 0.1
"""Largest share of the rows that is set aside for one column: of more, nobody knows which are the errors."""
_SUSPECT = 0.25
"""Largest share that is looked for, to be told of."""
FAR = 10.0
"""How wide an empty stretch has to be, in widths of the shortest interval with all other rows but the share above."""
_TIGHT = 0.1
"""Rows that spread less than this share of the empty stretch lie together."""
_FEWEST = 5
"""Distinct values that may be a group and not the same error once more, such as a code for a missing value."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Where the rows end that may belong to a group.

    Parameters
    ----------
    low, high : arrays of shape (D,)
        Infinite where nothing lies beyond.
    suspect : tuple of int
        Columns in which more rows than may be set aside lie as far out.
    """

    low: FloatArray
    high: FloatArray
    suspect: tuple[int, ...] = ()

    @property
    def are_set(self) -> bool:
        """Whether any row lies beyond."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    def beyond(self, X: FloatArray) -> np.ndarray:
        """Return whether each row of X (N, D) lies beyond."""
        return ((self.low > X) | (self.high < X)).any(axis=1)

    def seen_from(self, origin: FloatArray) -> Limits:
        """Return the same limits for data that are counted from another origin (D,)."""
        return Limits(self.low - origin, self.high - origin, self.suspect)


def limits_of(X: FloatArray, weight: FloatArray | None = None) -> Limits:
    """Return where the rows of X (N, D) end that may belong to a group.

    In each column, rows are linked that lie less than `FAR` times as far apart as nine tenths of all rows are. What is not linked to these
    nine tenths lies beyond, unless it may be a group of its own: as many rows as a group takes, close together and not all the same.

    Parameters
    ----------
    X : array of shape (N, D)
    weight : array of shape (N,), optional
        How often each row counts, all positive.

    Examples
    --------
    >>> limits = limits_of(np.append(np.linspace(0.0, 1.0, 40), [1e6, -1e4])[:, None])
    >>> limits.low, limits.high
    (array([-5000.]), array([500000.5]))
    >>> limits_of(np.linspace(0.0, 1.0, 40)[:, None]).are_set
    False
    """
    N, D = X.shape
    w = np.ones(N) if weight is None else weight
    low, high, suspect = np.full(D, -np.inf), np.full(D, np.inf), []
    for d in range(D):
        order = np.argsort(X[:, d], kind="stable")
        column = _Column(X[order, d], np.concatenate([[0.0], np.cumsum(w[order])]), 2 * (D + 1))
        low[d], high[d] = _limits(column, MOST)
        if not (np.isfinite(low[d]) or np.isfinite(high[d])):
            least, most = _limits(column, _SUSPECT)
            if np.average((X[:, d] < least) | (X[:, d] > most), weights=weight) > MOST:
                suspect.append(d)
    limits = Limits(low, high, tuple(suspect))
    if np.average(limits.beyond(X), weights=weight) <= _SUSPECT:
        return limits
    # Few in each column are too many in all.
    far = np.flatnonzero(np.isfinite(low) | np.isfinite(high))
    return Limits(np.full(D, -np.inf), np.full(D, np.inf), tuple(int(d) for d in far))


class _Column(NamedTuple):
    """Values in increasing order, the weight of the rows before each of them and of all, and how many rows a group takes."""

    values: FloatArray
    before: FloatArray
    fewest: int


def _limits(column: _Column, most: float) -> tuple[float, float]:
    """Return where the values end that may belong to a group, if at most this share of the rows does not."""
    x = column.values
    first, last = _shortest(column, 1 - most)
    far = FAR * (x[last] - x[first])
    if not far > 0:
        return -np.inf, np.inf
    last = _linked(column, last, far)
    # The same from the other end.
    total = column.before[-1]
    mirrored = _Column(-x[::-1], (total - column.before)[::-1], column.fewest)
    first = len(x) - 1 - _linked(mirrored, len(x) - 1 - first, far)
    # Halves are taken before the sum: values may be so large that their sum is no number.
    low = -np.inf if first == 0 else x[first - 1] / 2 + x[first] / 2
    high = np.inf if last == len(x) - 1 else x[last] / 2 + x[last + 1] / 2
    return float(low), float(high)


def _shortest(column: _Column, share: float) -> tuple[int, int]:
    """Return the first and the last of the values in the shortest interval that holds this share of the rows."""
    x, before, _ = column
    # The small step back lets rounding of the sums decide nothing.
    ends: IntArray = np.searchsorted(before, before[:-1] + share * before[-1] * (1 - 1e-12)) - 1
    starts = np.flatnonzero(ends < len(x))
    widths = x[ends[starts]] - x[starts]
    best = int(starts[widths.argmin()])
    return best, int(ends[best])


def _linked(column: _Column, last: int, far: float) -> int:
    """Return the number of the last value that is linked to the one with number ``last``, directly or by others or by a group."""
    x, before, fewest = column
    gaps = np.flatnonzero(np.diff(x[last:]) > far) + last
    for i in gaps:
        end = int(np.searchsorted(x, x[i + 1] + _TIGHT * (x[i + 1] - x[i]), side="right"))
        is_group = before[end] - before[i + 1] >= fewest and len(np.unique(x[i + 1 : end])) >= _FEWEST
        if not is_group:
            return int(i)
    return len(x) - 1
