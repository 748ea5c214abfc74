"""Compiled counting over many draws: labels numbered alike, contingency tables of one partition, pairs that share a group."""

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, compiled


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


@compiled()
def count_cells(Z, labels, start, cells):
    """Fill ``cells (S, M, K)`` with the tables of ``labels (N,)`` and draws ``start .. start + S`` of ``Z (N, T)``."""
    S, M, K = cells.shape
    for s in range(S):
        for m in range(M):
            for k in range(K):
                cells[s, m, k] = 0
    for i in range(len(labels)):
        k = labels[i]
        for s in range(S):
            cells[s, Z[i, start + s], k] += 1


@compiled(fastmath=FASTMATH)
def cell_sums(cells, g, out):
    """Fill ``out (S,)`` with the sums of g over the cells (S, M, K) of each draw."""
    S, M, K = cells.shape
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
    of a pair only the upper triangle is filled: see :func:`mirror`.
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


@compiled()
def mirror(first, out):
    """Fill the lower triangle of the square that begins at column ``first`` of ``out (n, N)`` from its upper triangle."""
    for i in range(len(out)):
        for j in range(i):
            out[i, first + j] = out[j, first + i]


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
