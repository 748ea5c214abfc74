"""Starts for fits with noise: mixtures of the rows that lie in dense places, where noise is rare.

Groups that are looked for among all rows share out the noise as well, and a few rows far out decide what is near. So noise is guessed
before the groups, by the distance to some near rows (Byers and Raftery 1998, Journal of the American Statistical Association 93, 577-584,
who start mclust's noise that way).
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["dense_rows"]

SHARES = (0.1, 0.25)
"""Shares of the rows that are taken for noise at first, in turn."""
_NEAR = 12
"""Which of the nearest rows tells how dense a place is."""
_MOST_ROWS = 20_000
_SPREAD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def dense_rows(rows: MemoryRows) -> list[MemoryRows]:
    """Return the rows in dense places, for each share of the rows that may be noise; those of weight zero are not there."""
    there = rows if rows.weights is None else rows.take(np.flatnonzero(rows.weights))
    some = there.some(_MOST_ROWS)
    counts = np.ones(len(some)) if some.weights is None else some.weights
    order = np.argsort(_distances(some.values), kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    some = some.weighted(counts)
    return [some.take(np.sort(order[share <= 1 - noisy])) for noisy in SHARES]


def _distances(X: FloatArray) -> FloatArray:
    """Return the distance (N,) of each row from one of its nearest, in units of the columns' middle halves."""
    low, high = np.quantile(X, [0.25, 0.75], axis=0)
    spread = (high - low) / _SPREAD
    unit = np.where(spread > 0, spread, X.std(0))
    near = min(_NEAR, len(X) - 1)
    found = NearestNeighbors(n_neighbors=near).fit((X - X.mean(0)) / np.where(unit > 0, unit, 1.0)).kneighbors()[0]
    return np.asarray(found[:, -1])
