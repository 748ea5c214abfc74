"""Compiled loops of relabelling: assignments for many draws at once, and sums over rows of responsibilities."""

import math

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, compiled, prefer_wide_vectors
from bayesgmm.kernels.exp import log_normal

TINY = 1e-300  # stands for zero in p log p


@compiled()
def assign_draws(costs, first, last, out):
    """Fill ``out (T, K)`` with the assignments of least total ``costs (T, K, K)`` for draws ``first .. last``.

    Shortest augmenting paths (Jonker and Volgenant 1987, Computing 38, 325-340): labels enter one by one, and prices of components
    and labels keep every reduced cost at or above zero, so that each path is found as by Dijkstra. O(K^3) for a draw.
    """
    K = costs.shape[1]
    free = K  # stands for the label that is looking for its component
    price, toll = np.empty(K), np.empty(K + 1)
    owner = np.empty(K + 1, np.intp)  # label that holds a component; the last entry is the one now entering
    back = np.empty(K, np.intp)
    slack = np.empty(K)
    seen = np.empty(K + 1, np.bool_)
    for t in range(first, last):
        price[:] = 0.0
        toll[:] = 0.0
        owner[:] = -1
        for label in range(K):
            owner[free] = label
            slack[:] = np.inf
            seen[:] = False
            here = free
            while owner[here] >= 0:
                seen[here] = True
                k = owner[here]
                step = np.inf
                nearest = -1
                for j in range(K):
                    if not seen[j]:
                        reduced = costs[t, j, k] - price[k] - toll[j]
                        if reduced < slack[j]:
                            slack[j] = reduced
                            back[j] = here
                        if slack[j] < step:
                            step = slack[j]
                            nearest = j
                for j in range(K + 1):
                    if seen[j]:
                        price[owner[j]] += step
                        toll[j] -= step
                    elif j < K:
                        slack[j] -= step
                here = nearest
            while here != free:
                owner[here] = owner[back[here]]
                here = back[here]
        for j in range(K):
            out[t, owner[j]] = j


@compiled(fastmath=FASTMATH)
def inspect_rows(r, offset, n, first, last, tolerance, entropy, sizes, is_bad):
    """Add up what n rows of ``r (T, ., K)``, from ``offset`` on, say of draws ``first .. last``, and mark draws that are no probabilities.

    ``entropy (T,)`` gets the sum of the rows' entropies in nats, ``sizes (T, K)`` the sums of the responsibilities.
    """
    prefer_wide_vectors()
    K = r.shape[2]
    for t in range(first, last):
        rows = r[t, offset : offset + n]
        flat = rows.reshape(n * K)
        h = 0.0
        for i in range(n * K):
            h -= flat[i] * log_normal(max(flat[i], TINY))
        entropy[t] += h
        least, gap = 0.0, 0.0
        for i in range(n):
            total = 0.0
            for j in range(K):
                p = rows[i, j]
                total += p
                sizes[t, j] += p
                least = min(least, p)
            gap = max(gap, abs(total - 1.0))
        # A NaN is lost in a maximum, but stays in the sums of sizes.
        if least < -tolerance or not gap <= tolerance or math.isnan(sizes[t].sum()):
            is_bad[t] = True


@compiled(fastmath=FASTMATH)
def add_relabelled(r, offset, first, last, orders, total):
    """Add to ``total (n, K)`` the rows of ``r (T, ., K)``, from ``offset`` on, of draws ``first .. last`` in their orders (T, K)."""
    n, K = total.shape
    for t in range(first, last):
        for i in range(n):
            for k in range(K):
                total[i, k] += r[t, offset + i, orders[t, k]]


@compiled()
def add_votes(z, offset, first, last, labels, total):
    """Add to ``total (n, K)`` one for the label (T, K) of each row's component in ``z (T, .)``, from ``offset`` on."""
    n = total.shape[0]
    for t in range(first, last):
        for i in range(n):
            total[i, labels[t, z[t, offset + i]]] += 1.0


@compiled()
def add_counts(z, offset, first, last, reference, out):
    """Add to ``out (T, K, M)`` the sums of ``reference (n, M)`` over the rows of each component in ``z (T, .)``, from ``offset`` on."""
    n, M = reference.shape
    for t in range(first, last):
        for i in range(n):
            j = z[t, offset + i]
            for m in range(M):
                out[t, j, m] += reference[i, m]


@compiled()
def most_probable_rows(r, offset, first, last, out):
    """Fill ``out (T, n)`` with the component of the greatest responsibility in ``r (T, ., K)``, the first of several."""
    n = out.shape[1]
    for t in range(first, last):
        for i in range(n):
            best = 0
            for k in range(1, r.shape[2]):
                if r[t, offset + i, k] > r[t, offset + i, best]:
                    best = k
            out[t, i] = best
