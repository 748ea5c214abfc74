"""Compiled counting over many draws: labels numbered alike, contingency tables of one partition, pairs that share a group."""

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled


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


@compiled(fastmath=FASTMATH)
def companions(Z, labels, start, cells, out):
    """Add to ``out (N,)`` how many items share both the label and the draw's group of each item, summed over these draws."""
    for i in range(len(labels)):
        total = 0
        for s in range(len(cells)):
            total += cells[s, Z[i, start + s], labels[i]]
        out[i] += total


@compiled(fastmath=FASTMATH)
def shared_groups(Z, start, stop, out):
    """Fill ``out (stop - start, N)`` with the share of draws in which these items and all items of ``Z (N, T)`` have the same label."""
    N, T = Z.shape
    for i in range(start, stop):
        for j in range(N):
            a, b = Z[i], Z[j]
            same = np.int32(0)
            for t in range(T):
                same += np.int32(a[t] == b[t])
            out[i - start, j] = same / T
