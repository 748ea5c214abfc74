"""A partition that changes item by item, and what it needs to know about the draws to see at once which change is best."""

from __future__ import annotations

import numpy as np

from bayesgmm.partitions import _tables
from bayesgmm.partitions.inputs import Draws
from bayesgmm.partitions.losses import Loss
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["TableSearch"]

LANES = 4
"""Slots are made in multiples of this: so many are summed at a time."""


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
        self._draws = draws
        self._step = np.diff(terms)
        self._rule = _tables.Rule(loss.code, loss.of_means, loss.split_cost, limit, loss.rounding)
        C = _slots(min(M + 1, limit))
        self._state = _tables.State(
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
        return self._state.labels

    @property
    def margin(self) -> FloatArray:
        """By how much the best other group was worse than a point's own (N,) when it was last visited."""
        return self._state.margin

    @property
    def value(self) -> float:
        """Expected loss of the points that have a group."""
        s, rule, T = self._state, self._rule, self._draws.n_draws
        cells, columns = s.per_draw
        if rule.of_means:
            cells, columns = (np.array([s.sums[which] / T]) for which in (_tables.CELLS, _tables.COLUMNS))
        out = np.empty(len(cells))
        rows, n = s.sums[_tables.ROWS], s.numbers[_tables.ALLOCATED]
        _tables.losses(rule.code, rule.split_cost, rows, columns, cells, n, out)
        return float(out.mean())

    def visit(self, order: IntArray) -> int:
        """Put each point where the expected loss is least; each visit may open as many groups as there are, or as a draw has.

        From labels at random the normalised losses would otherwise open hundreds, only to close them again.
        """
        moved = done = 0
        most = max(2 * int(self._state.numbers[_tables.ACTIVE]), self._draws.most_groups) + 2
        rule = self._rule._replace(limit=min(self._rule.limit, most))
        while done < len(order):
            n, done = _tables.visit(order, done, self._draws.by_point, self._step, self._state, rule)
            moved += n
            if done < len(order):
                self._grow(len(self._state.size) + 1)
        return moved

    def take_out(self, items: IntArray) -> None:
        """Take points out of their groups."""
        _tables.take_out(items, self._draws.by_point, self._step, self._state)

    def place(self, items: IntArray, groups: IntArray) -> None:
        """Give points without a group these, numbered without gaps."""
        self._grow(int(groups.max()) + 1)
        _tables.place(items, groups, self._draws.by_point, self._step, self._state)

    def copy(self) -> TableSearch:
        """Return a state of its own that is the same."""
        twin = object.__new__(TableSearch)
        twin._draws, twin._step, twin._rule = self._draws, self._step, self._rule
        twin._state = _tables.State(*(array.copy() for array in self._state))
        return twin

    def _grow(self, needed: int) -> None:
        """Make room for so many groups, and for as many again as there are: growing then costs little in all."""
        have = len(self._state.size)
        if needed <= have:
            return
        more = _slots(min(max(needed, 2 * have), max(needed, self._rule.limit))) - have
        s = self._state
        self._state = s._replace(
            size=np.append(s.size, np.zeros(more, dtype=np.intp)),
            cells=_widened(s.cells, more, 0),
            gain=_widened(s.gain, more, self._step[0]),
        )


def _slots(n: int) -> int:
    return -(-n // LANES) * LANES


def _widened(array: np.ndarray, more: int, value: float) -> np.ndarray:
    T, M, C = array.shape
    out = np.full((T, M, C + more), value, dtype=array.dtype)
    out[..., :C] = array
    return out
