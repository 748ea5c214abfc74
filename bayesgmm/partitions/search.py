"""The search for the partition of least expected loss: contingency tables that change with it, one run, and all partitions of a few points.

Written from the description of SALSO in Dahl, Johnson and Mueller (2022), Journal of Computational and Graphical Statistics 31,
1189-1201: allocate the points one after the other, move single points while that helps, then destroy whole groups and build them anew.
Ours are three things: a scan is followed by scans of the doubtful points alone, random starts have a random number of groups, and
between groups a handful of doubtful points is allocated anew, which finds more of the optima of small problems.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache

import numpy as np
import pandas as pd

from bayesgmm.partitions import _kernels
from bayesgmm.partitions.draws import Draws
from bayesgmm.partitions.losses import Loss, column_sums
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["MOST_POINTS", "TableSearch", "best_of_all", "every_partition", "run"]

MOST_SCANS = 1000
"""Scans end when nothing moves, because each move lowers the loss by more than rounding; this only guards against a mistake in that."""
ONE_IN = 8
"""One point in so many is looked at again, after a scan of all, until none of them moves."""
LANES = 4
"""Slots are made in multiples of this: so many are summed at a time."""
MOST_POINTS = 8
"""Points of which all partitions are looked at: 8 have 4,140, each further one makes about six times as many."""


class TableSearch:
    """Contingency tables of a growing partition with every draw: a move costs time of the order of the draws.

    Parameters
    ----------
    draws : Draws
    loss : Loss
    limit : int
        Most groups.
    """

    def __init__(self, draws: Draws, loss: Loss, limit: int) -> None:
        N, T, M = draws.n_points, draws.n_draws, draws.most_groups
        terms = loss.table(N + 1)
        self._draws, self._loss = draws, loss
        self._step = np.diff(terms)
        self.rule = _kernels.Rule(loss.code, loss.of_means, loss.split_cost, limit, loss.rounding)
        C = _slots(min(M + 1, limit))
        self.tables = _kernels.State(
            labels=np.full(N, -1),
            size=np.zeros(C, dtype=np.intp),
            cells=np.zeros((T, M, C), dtype=np.int32),
            gain=np.full((T, M, C), self._step[0]),
            columns=np.zeros((T, M), dtype=np.int32),
            per_draw=np.zeros((2, T)),
            sums=np.zeros(3),
            numbers=np.zeros(2, dtype=np.intp),
            margin=np.zeros(N),
        )

    @property
    def labels(self) -> IntArray:
        """Groups (N,), numbered without gaps; -1 for points without one."""
        return self.tables.labels

    @property
    def margin(self) -> FloatArray:
        """By how much the best other group was worse than a point's own (N,) when it was last visited."""
        return self.tables.margin

    @property
    def value(self) -> float:
        """Expected loss of the points that have a group."""
        s = self.tables
        cells, columns = s.per_draw
        if self._loss.of_means:
            cells, columns = s.sums[[_kernels.CELLS, _kernels.COLUMNS], None] / self._draws.n_draws
        return float(self._loss.combine(s.sums[_kernels.ROWS], columns, cells, s.numbers[_kernels.ALLOCATED]).mean())

    def visit(self, order: IntArray) -> int:
        """Put each point where the expected loss is least; each visit may open as many groups as there are, or as a draw has.

        From labels at random the normalised losses would otherwise open hundreds, only to close them again.
        """
        moved = done = 0
        most = max(2 * int(self.tables.numbers[_kernels.ACTIVE]), self._draws.most_groups) + 2
        rule = self.rule._replace(limit=min(self.rule.limit, most))
        while done < len(order):
            n, done = _kernels.visit(order, done, self._draws.by_point, self._step, self.tables, rule)
            moved += n
            if done < len(order):
                self._grow(len(self.tables.size) + 1)
        return moved

    def take_out(self, items: IntArray) -> None:
        """Take points out of their groups."""
        _kernels.take_out(items, self._draws.by_point, self._step, self.tables)

    def place(self, items: IntArray, groups: IntArray) -> None:
        """Give points without a group these, numbered without gaps."""
        self._grow(int(groups.max()) + 1)
        _kernels.place(items, groups, self._draws.by_point, self._step, self.tables)

    def copy(self) -> TableSearch:
        """Return a state of its own that is the same."""
        twin = copy(self)
        twin.tables = _kernels.State(*(array.copy() for array in self.tables))
        return twin

    def _grow(self, needed: int) -> None:
        """Make room for so many groups, and for as many again as there are: growing then costs little in all."""
        have = len(self.tables.size)
        if needed <= have:
            return
        more = _slots(min(max(needed, 2 * have), max(needed, self.rule.limit))) - have
        s, wider = self.tables, ((0, 0), (0, 0), (0, more))
        self.tables = s._replace(
            size=np.pad(s.size, (0, more)), cells=np.pad(s.cells, wider), gain=np.pad(s.gain, wider, constant_values=self._step[0])
        )


def _slots(n: int) -> int:
    return -(-n // LANES) * LANES


def run(
    state: TableSearch, n_groups: int | None, zealous: int, rng: np.random.Generator, stopped: Callable[[], bool]
) -> TableSearch:
    """Search from an empty state, and return the best state met; once ``stopped()`` the best so far.

    Points start at random in at most ``n_groups``, or where that is None one after the other where they fit best. Then ``zealous`` groups,
    and as many handfuls of points, are taken out and allocated anew.
    """
    tolerance = state.rule.tolerance
    everything = rng.permutation(len(state.labels))
    if n_groups is None:
        state.visit(everything)
    else:
        # Numbered as they appear: groups are opened one after the other.
        state.place(everything, pd.factorize(rng.integers(rng.integers(n_groups) + 1, size=len(everything)))[0])
    _sweeten(state, rng, stopped)
    best, value = state.copy(), state.value
    untried = _groups(best, rng)
    for attempt in range(2 * zealous):
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
    return rng.permutation(int(state.labels.max()) + 1).tolist()


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
        _kernels.table_sums(draws.by_point, labels, 0, g, cells, sums)
        values[which] = loss.mean(float(g[np.bincount(labels)].sum()), columns, sums, draws.n_points)
    return allowed[int(np.argmin(values))]
