"""Compiled: contingency tables of a partition and every draw, also while it changes item by item; pairs that share a group.

Every loss here is a function of three sums over a contingency table: of g over its row sums (groups of the estimate), over its column
sums (groups of the draw) and over its cells, with ``g(x) = x^2`` where a loss counts pairs and ``g(x) = x log2 x`` where it counts
bits. Moving an item changes one cell a draw, so a search keeps, for every cell, what one more item in it would add to the sum.
Loops stand where NumPy's functions would do, because these take numba many times as long to compile.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from bayesgmm.kernels.compile import FASTMATH, compiled

BINDER, VI, NVI, ID, NID, OMARI = range(6)
ALLOCATED, ACTIVE = 0, 1  # places in State.numbers
ROWS, CELLS, COLUMNS = 0, 1, 2  # places in State.sums
_NOTHING = 1e-9  # less is zero: the least positive entropy of N points is log2(N) / N or so
_NO_PAIRS = 1e-7


class Rule(NamedTuple):
    """What is minimised, and how far."""

    code: int
    of_means: bool
    split_cost: float
    limit: int
    tolerance: float


class State(NamedTuple):
    """A partition of some of N items in up to C slots beside T draws of at most M groups; all of it is changed in place."""

    labels: np.ndarray
    """(N,): slot of each item, -1 while it has none. The slots in use are the first."""
    size: np.ndarray
    """(C,): items in each slot."""
    cells: np.ndarray
    """(T, M, C): contingency tables."""
    gain: np.ndarray
    """(T, M, C): what one more item in each cell adds to the sum of g over cells."""
    columns: np.ndarray
    """(T, M): column sums."""
    per_draw: np.ndarray
    """(2, T): sums of g over the cells and over the columns of each draw's table."""
    sums: np.ndarray
    """(3,): sum of g over rows; sums over draws of both rows of ``per_draw``."""
    numbers: np.ndarray
    """(2,): items that have a slot; slots in use."""
    margin: np.ndarray
    """(N,): by how much the best other slot was worse than an item's own when it was last looked at."""


@njit(inline="always")
def combine(code, split_cost, rows, columns, cells, n, top):
    """Return a loss from the sums of g over rows (estimate), columns (draw) and cells of a contingency table of n items.

    ``top`` is log2(n), which would take as long as all the rest.
    """
    if n < 2:
        return 0.0
    if code == BINDER:
        return ((2.0 - split_cost) * rows + split_cost * columns - 2.0 * cells) / (float(n) * n)
    if code == VI:
        return ((2.0 - split_cost) * rows + split_cost * columns - 2.0 * cells) / n
    if code == OMARI:
        return _one_minus_rand(rows, columns, cells, n)
    first, second, joint = top - rows / n, top - columns / n, top - cells / n
    shared = first + second - joint
    largest = max(first, second)
    if code == ID:
        return largest - shared
    whole = joint if code == NVI else largest
    return 1.0 - shared / whole if whole > _NOTHING else 0.0


@njit(inline="always")
def _one_minus_rand(rows, columns, cells, n):
    """One minus the adjusted Rand index (Hubert and Arabie 1985, Journal of Classification 2, 193-218, equation 5)."""
    every = 0.5 * n * (n - 1.0)
    a, b, both = 0.5 * (rows - n), 0.5 * (columns - n), 0.5 * (cells - n)
    chance = a * b / every
    most = 0.5 * (a + b) - chance
    return 1.0 - (both - chance) / most if most > _NO_PAIRS else 0.0


@compiled(fastmath=FASTMATH)
def losses(code, split_cost, rows, columns, cells, n, out):
    """Fill ``out (T,)`` with a loss for each draw, from ``columns (T,)`` and ``cells (T,)``."""
    top = math.log2(max(n, 1.0))
    for t in range(len(out)):
        out[t] = combine(code, split_cost, rows, columns[t], cells[t], n, top)


@compiled(fastmath=FASTMATH)
def _gains(gain, z, options, out):
    """Fill ``out`` with the sums over draws of the gains of ``options`` slots, four slots at a time so that rows stay in registers."""
    for k in range(0, options, 4):
        a = b = c = d = 0.0
        for t in range(len(z)):
            row = gain[t, z[t]]
            a += row[k]
            b += row[k + 1]
            c += row[k + 2]
            d += row[k + 3]
        out[k], out[k + 1], out[k + 2], out[k + 3] = a, b, c, d


@compiled(fastmath=FASTMATH)
def _values_of_means(s, z, step, own, options, rule, n, out):
    """Fill ``out`` with the losses that come from mean sums, for an item with labels ``z (T,)`` in each slot."""
    T = len(z)
    top = math.log2(n)
    taken = arriving = 0.0
    if own >= 0:
        for t in range(T):
            taken += step[s.cells[t, z[t], own] - 1]
    else:
        for t in range(T):
            arriving += step[s.columns[t, z[t]]]
    rows = s.sums[ROWS] - (step[s.size[own] - 1] if own >= 0 else 0.0)
    columns = (s.sums[COLUMNS] + arriving) / T
    _gains(s.gain, z, options, out)
    for k in range(options):
        if k == own:
            out[k] = combine(rule.code, rule.split_cost, s.sums[ROWS], columns, s.sums[CELLS] / T, n, top)
        else:
            cells = (s.sums[CELLS] - taken + out[k]) / T
            out[k] = combine(rule.code, rule.split_cost, rows + step[s.size[k]], columns, cells, n, top)


@compiled(fastmath=FASTMATH)
def _means_of_values(s, z, step, own, options, rule, n, out):
    """Fill ``out`` with the means over draws of the loss, for an item with labels ``z (T,)`` in each slot."""
    T = len(z)
    top = math.log2(n)
    rows = s.sums[ROWS] - (step[s.size[own] - 1] if own >= 0 else 0.0)
    for k in range(options):
        out[k] = 0.0
    for t in range(T):
        m = z[t]
        cells, columns = s.per_draw[0, t], s.per_draw[1, t]
        if own >= 0:
            cells -= step[s.cells[t, m, own] - 1]
        else:
            columns += step[s.columns[t, m]]
        for k in range(options):
            if k == own:
                out[k] += combine(rule.code, rule.split_cost, s.sums[ROWS], columns, s.per_draw[0, t], n, top)
            else:
                out[k] += combine(rule.code, rule.split_cost, rows + step[s.size[k]], columns, cells + s.gain[t, m, k], n, top)
    for k in range(options):
        out[k] /= T


@compiled(fastmath=FASTMATH)
def _count(s, z, step, k, sign):
    """Add an item with labels z (T,) to the tables of slot k (sign 1), or take it out of them (-1)."""
    there = 1 if sign < 0 else 0  # counts are of the others
    cells = columns = 0.0
    for t in range(len(z)):
        m = z[t]
        c, b = s.cells[t, m, k] - there, s.columns[t, m] - there
        s.per_draw[0, t] += sign * step[c]
        s.per_draw[1, t] += sign * step[b]
        cells += step[c]
        columns += step[b]
        s.cells[t, m, k] = c + 1 - there
        s.gain[t, m, k] = step[c + 1 - there]
        s.columns[t, m] = b + 1 - there
    s.sums[ROWS] += sign * step[s.size[k] - there]
    s.sums[CELLS] += sign * cells
    s.sums[COLUMNS] += sign * columns
    s.size[k] += sign
    s.numbers[ALLOCATED] += sign


@compiled()
def _put(s, z, step, i, k):
    """Give item i, which has none, the slot k."""
    _count(s, z, step, k, 1)
    s.labels[i] = k
    if k == s.numbers[ACTIVE]:
        s.numbers[ACTIVE] += 1


@compiled()
def _take(s, z, step, i):
    """Take the slot from item i; where it was the last one there, the last slot moves in."""
    k = s.labels[i]
    _count(s, z, step, k, -1)
    s.labels[i] = -1
    if s.size[k] == 0:
        _close(s, step, k)


@compiled()
def _close(s, step, k):
    """Move the last slot in use to the empty slot k."""
    last = s.numbers[ACTIVE] - 1
    s.numbers[ACTIVE] = last
    if last == k:
        return
    T, M, _ = s.cells.shape
    for t in range(T):
        for m in range(M):
            s.cells[t, m, k], s.cells[t, m, last] = s.cells[t, m, last], 0
            s.gain[t, m, k], s.gain[t, m, last] = s.gain[t, m, last], step[0]
    s.size[k], s.size[last] = s.size[last], 0
    for i in range(len(s.labels)):
        if s.labels[i] == last:
            s.labels[i] = k


@compiled()
def take_out(items, Z, step, s):
    """Take their slots from items (n,)."""
    for i in items:
        _take(s, Z[i], step, i)


@compiled()
def place(items, slots, Z, step, s):
    """Give items (n,), which have none, slots (n,), of which none may be skipped."""
    for j in range(len(items)):
        _put(s, Z[items[j]], step, items[j], slots[j])


@compiled()
def visit(order, first, Z, step, s, rule):
    """Put each item of ``order[first:]`` where the loss is least; an item that has a slot leaves it only for a better one.

    Returns how many found a new slot, and where in ``order`` the slots ran out (its length if they did not).
    """
    C = len(s.size)
    values = np.empty(C + 4)
    moved = 0
    for p in range(first, len(order)):
        active = s.numbers[ACTIVE]
        if active == C and active < rule.limit:
            return moved, p
        i = order[p]
        z, own = Z[i], s.labels[i]
        alone = own >= 0 and s.size[own] == 1
        options = active if alone or active == rule.limit else active + 1
        n = s.numbers[ALLOCATED] + (1 if own < 0 else 0)
        if rule.of_means:
            _values_of_means(s, z, step, own, options, rule, n, values)
        else:
            _means_of_values(s, z, step, own, options, rule, n, values)
        best, s.margin[i] = _choose(values, options, own, rule.tolerance)
        if best != own:
            moved += 1
            if own >= 0:
                # Where the item was alone its slot is closed, and the last one takes its number.
                if alone and best == active - 1:
                    best = own
                _take(s, z, step, i)
            _put(s, z, step, i, best)
    return moved, len(order)


@compiled()
def _choose(values, options, own, tolerance):
    """Return the slot of least value, another than the own one only if it is better, and how much worse the next one is."""
    best = own
    least = values[own] - tolerance if own >= 0 else np.inf
    for k in range(options):
        if k != own and values[k] < least:
            best, least = k, values[k]
    second = np.inf
    for k in range(options):
        if k != best:
            second = min(second, values[k])
    return best, second - values[best]


@compiled()
def number_by_appearance(values, n_codes, out, n_groups):
    """Fill ``out (N, T)`` with the labels of ``values (T, N)``, below ``n_codes``, numbered by appearance, and count them in (T,)."""
    T, N = values.shape
    place = np.empty(n_codes, np.int64)
    for t in range(T):
        for c in range(n_codes):
            place[c] = -1
        found = 0
        for i in range(N):
            v = values[t, i]
            if place[v] < 0:
                place[v] = found
                found += 1
            out[i, t] = place[v]
        n_groups[t] = found


@compiled(fastmath=FASTMATH)
def table_sums(Z, labels, start, g, cells, out):
    """Fill ``cells (S, M, K)`` with the tables of ``labels (N,)`` and draws ``start .. start + S`` of ``Z (N, T)``.

    ``out (S,)`` gets the sums of g over the cells of each draw.
    """
    S, M, K = cells.shape
    for s in range(S):
        for m in range(M):
            for k in range(K):
                cells[s, m, k] = 0
    for i in range(len(labels)):
        k = labels[i]
        for s in range(S):
            cells[s, Z[i, start + s], k] += 1
    for s in range(S):
        total = 0.0
        for m in range(M):
            for k in range(K):
                total += g[cells[s, m, k]]
        out[s] = total


@compiled()
def shared_groups(Z, start, stop, first, out):
    """Fill rows ``start .. stop`` of ``out (n, N)`` with shares of the draws in ``Z (N, T)``.

    They are those in which the items ``first + start .. first + stop`` have the same label as each item. Where ``out`` has both orders
    of a pair one of them is worked out, and stands in both places.
    """
    N, T = Z.shape
    for i in range(start, stop):
        for j in range(N):
            if first <= j < first + i:
                continue
            a, b = Z[first + i], Z[j]
            same = np.int32(0)
            for t in range(T):
                same += np.int32(a[t] == b[t])
            out[i, j] = same / T
            if first + i < j < first + len(out):
                out[j - first, first + i] = same / T


@compiled()
def best_option(z, active, slots, n_slots, allowed, counts):
    """Return the slot that an item with labels ``z (T,)`` has in most of the ``active`` draws, and in how many.

    ``slots (T, M)`` says which slot each group of a draw stands for; -1 is none, and slot ``n_slots`` is a new one for it. Where
    ``allowed`` is not -1 no other slot counts. ``counts`` is scratch space of at least ``n_slots + 1``.
    """
    for k in range(n_slots + 1):
        counts[k] = 0
    for t in active:
        k = slots[t, z[t]]
        counts[k if k >= 0 else n_slots] += 1
    if allowed >= 0:
        return allowed, counts[allowed]
    best = 0
    for k in range(1, n_slots + 1):
        if counts[k] > counts[best]:
            best = k
    return best, counts[best]
