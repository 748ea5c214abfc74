"""Compiled search steps for the lower bound of the variation of information, which needs the similarity matrix."""

import math
from typing import NamedTuple

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled

ALLOCATED, ACTIVE = 0, 1  # places in BoundState.numbers


class BoundState(NamedTuple):
    """A partition of some of N items in up to C slots beside their similarities; all but these is changed in place."""

    labels: np.ndarray
    """(N,): slot of each item, -1 while it has none. The slots in use are the first."""
    size: np.ndarray
    """(C,): items in each slot."""
    together: np.ndarray
    """(N,): sum of each item's similarities to the items in its slot."""
    numbers: np.ndarray
    """(2,): items that have a slot; slots in use."""
    margin: np.ndarray
    """(N,): by how much the best other slot was worse than an item's own when it was last looked at."""


@compiled(fastmath=FASTMATH)
def _costs(P, s, i, own, active, out):
    """Fill ``out`` with what item i adds to ``sum_i log2 |C_i| - 2 log2 sum_{j in C_i} P_ij`` in each slot, the last one a new slot.

    What an item's similarities to all items contribute to the bound does not depend on the partition and is left out.
    """
    similar = np.ones(active + 1)
    for k in range(active + 1):
        out[k] = 0.0
    for j in range(len(s.labels)):
        k = s.labels[j]
        if k < 0 or j == i:
            continue
        p = P[i, j]
        before = s.together[j] - (p if k == own else 0.0)
        similar[k] += p
        out[k] -= 2.0 * math.log2(1.0 + p / before)
    for k in range(active + 1):
        n = s.size[k] - (1 if k == own else 0) if k < active else 0
        out[k] += (n + 1) * math.log2(n + 1.0) - (n * math.log2(float(n)) if n > 0 else 0.0) - 2.0 * math.log2(similar[k])


@compiled(fastmath=FASTMATH)
def _join(P, s, i, k):
    """Give item i, which has none, the slot k."""
    together = 1.0
    for j in range(len(s.labels)):
        if s.labels[j] == k:
            together += P[i, j]
            s.together[j] += P[i, j]
    s.together[i] = together
    s.labels[i] = k
    s.size[k] += 1
    s.numbers[ALLOCATED] += 1
    s.numbers[ACTIVE] = max(s.numbers[ACTIVE], k + 1)


@compiled(fastmath=FASTMATH)
def _leave(P, s, i):
    """Take the slot from item i; where it was the last one there, the last slot moves in."""
    k = s.labels[i]
    s.labels[i] = -1
    for j in range(len(s.labels)):
        if s.labels[j] == k:
            s.together[j] -= P[i, j]
    s.size[k] -= 1
    s.numbers[ALLOCATED] -= 1
    if s.size[k] > 0:
        return
    last = s.numbers[ACTIVE] - 1
    s.numbers[ACTIVE] = last
    s.size[k], s.size[last] = s.size[last], 0
    for j in range(len(s.labels)):
        if s.labels[j] == last:
            s.labels[j] = k


@compiled()
def take_out(items, P, s):
    """Take their slots from items (n,)."""
    for i in items:
        _leave(P, s, i)


@compiled()
def place(items, slots, P, s):
    """Give items (n,), which have none, slots (n,), of which none may be skipped."""
    for j in range(len(items)):
        _join(P, s, items[j], slots[j])


@compiled()
def visit(order, P, s, limit, tolerance):
    """Put each item of ``order`` where the bound is least; one that has a slot leaves it only for a better one. Count the moves."""
    costs = np.empty(len(s.size) + 1)
    moved = 0
    for i in order:
        own, active = s.labels[i], s.numbers[ACTIVE]
        alone = own >= 0 and s.size[own] == 1
        _costs(P, s, i, own, active, costs)
        options = active if alone or active == limit else active + 1
        best, s.margin[i] = _choose(costs, options, own, tolerance)
        if best != own:
            moved += 1
            if own >= 0:
                # Where the item was alone its slot is closed, and the last one takes its number.
                if alone and best == active - 1:
                    best = own
                _leave(P, s, i)
            _join(P, s, i, best)
    return moved


@compiled()
def _choose(costs, options, own, tolerance):
    """Return the slot of least cost, another than the own one only if it is better, and how much worse the next one is."""
    best = own
    least = costs[own] - tolerance if own >= 0 else np.inf
    for k in range(options):
        if k != own and costs[k] < least:
            best, least = k, costs[k]
    second = np.inf
    for k in range(options):
        if k != best:
            second = min(second, costs[k])
    return best, second - costs[best]


@compiled(fastmath=FASTMATH)
def value(s):
    """Return the sum over the items that have a slot of ``log2 |C_i| - 2 log2 sum_{j in C_i} P_ij``."""
    total = 0.0
    for i in range(len(s.labels)):
        if s.labels[i] >= 0:
            total += math.log2(float(s.size[s.labels[i]])) - 2.0 * math.log2(s.together[i])
    return total
