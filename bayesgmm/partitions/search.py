"""One run of the search for the partition of least expected loss.

Written from the description of SALSO in Dahl, Johnson and Mueller (2022), Journal of Computational and Graphical Statistics 31,
1189-1201: allocate the points one after the other, move single points while that helps, then destroy whole groups and build them anew.
Ours are three things: a scan is followed by scans of the doubtful points alone, random starts have a random number of groups, and
between groups a handful of doubtful points is allocated anew, which finds more of the optima of small problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.partitions.state import TableSearch
from bayesgmm.typing import IntArray

__all__ = ["Attempts", "run"]

MOST_SCANS = 1000
"""Scans end when nothing moves, because each move lowers the loss by more than rounding; this only guards against a mistake in that."""
ONE_IN = 8
"""One point in so many is looked at again, after a scan of all, until none of them moves."""


@dataclass(frozen=True)
class Attempts:
    """How a run starts and how long it goes on.

    Attributes
    ----------
    sequential : bool
        Whether points are allocated one after the other at first, rather than at random.
    n_groups : int
        Most groups of a random start.
    zealous : int
        How many groups, and as many handfuls of points, are taken out and allocated anew.
    """

    sequential: bool
    n_groups: int
    zealous: int


def run(
    state: TableSearch, attempts: Attempts, rng: np.random.Generator, tolerance: float, stopped: Callable[[], bool]
) -> TableSearch:
    """Search from an empty state, and return the best state met; once ``stopped()`` the best so far.

    ``tolerance`` is a difference in loss that counts as none.
    """
    everything = rng.permutation(len(state.labels))
    if not attempts.sequential:
        state.place(everything, _without_gaps(rng.integers(rng.integers(attempts.n_groups) + 1, size=len(everything))))
    else:
        state.visit(everything)
    _sweeten(state, rng, stopped)
    best, value = state.copy(), state.value
    untried = _groups(best, rng)
    for attempt in range(2 * attempts.zealous):
        if stopped():
            break
        if attempt % 2:
            members = _handful(best, rng)
        elif untried:
            members = rng.permutation(np.flatnonzero(state.labels == untried.pop()))
        else:
            continue
        state.take_out(members)
        state.visit(members)
        if abs(state.value - value) <= tolerance:  # the same has come back
            continue
        _sweeten(state, rng, stopped)
        if state.value < value - tolerance:
            best, value = state.copy(), state.value
            untried = _groups(best, rng)
        else:
            state = best.copy()
    return best


def _handful(state: TableSearch, rng: np.random.Generator) -> IntArray:
    """Choose some points that hardly prefer their groups, or any where there are few."""
    doubtful = np.argsort(state.margin, kind="stable")[: max(len(state.labels) // ONE_IN, 8)]
    return rng.permutation(doubtful)[: rng.integers(2, 7)]


def _sweeten(state: TableSearch, rng: np.random.Generator, stopped: Callable[[], bool]) -> None:
    """Move single points, in a new random order each time, until none wants to move.

    Once all points were seen, most of those that still move are among those that hardly preferred their group: these are settled first.
    """
    N = len(state.labels)
    for _ in range(MOST_SCANS):
        if stopped() or state.visit(rng.permutation(N)) == 0:
            return
        doubtful = np.argsort(state.margin, kind="stable")[: N // ONE_IN]
        while not stopped() and state.visit(rng.permutation(doubtful)) > 0:
            pass


def _groups(state: TableSearch, rng: np.random.Generator) -> list[int]:
    return [int(k) for k in rng.permutation(int(state.labels.max()) + 1)]


def _without_gaps(labels: IntArray) -> IntArray:
    """Number labels in the order in which they appear: groups are opened one after the other."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
