"""All partitions of a few points: what a search can be checked against, and need not be trusted for."""

from __future__ import annotations

from functools import cache

import numpy as np

from bayesgmm.partitions import _counts
from bayesgmm.partitions.inputs import Draws
from bayesgmm.partitions.losses import Loss, column_sums
from bayesgmm.typing import IntArray

__all__ = ["MOST_POINTS", "best_of_all", "every_partition"]

MOST_POINTS = 8
"""Points of which all partitions are looked at: 8 have 4,140, each further one makes about six times as many."""


@cache
def every_partition(n: int) -> IntArray:
    """Return all partitions (P, n) of n points, the groups of each numbered by appearance.

    Examples
    --------
    >>> every_partition(3).tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 1, 2]]
    """
    found = np.zeros((1, 1), dtype=np.intp)
    for _ in range(n - 1):
        choices = found.max(axis=1) + 2
        nth = np.concatenate([np.arange(c) for c in choices])
        found = np.column_stack([np.repeat(found, choices, axis=0), nth])
    found.setflags(write=False)
    return found


def best_of_all(draws: Draws, loss: Loss, limit: int) -> IntArray:
    """Return the first partition (N,) of least expected loss among all that have at most ``limit`` groups."""
    everything = every_partition(draws.n_points)
    allowed = everything[everything.max(axis=1) < limit]
    g, columns = loss.table(draws.n_points), column_sums(draws, loss)
    sums, values = np.empty(draws.n_draws), np.empty(len(allowed))
    for which, labels in enumerate(allowed):
        cells = np.empty((draws.n_draws, draws.most_groups, int(labels.max()) + 1), dtype=np.int32)
        _counts.count_cells(draws.by_point, labels, 0, cells)
        _counts.cell_sums(cells, g, sums)
        values[which] = loss.mean(float(g[np.bincount(labels)].sum()), columns, sums, draws.n_points)
    return allowed[int(np.argmin(values))]
