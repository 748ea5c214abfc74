"""The E-step, compiled: blocks of rows in, log-densities, responsibilities and their sums out.

This is the only place in the package where a point meets a component. A block of rows is held feature by feature, so that every
inner loop runs over rows and vectorises. For component k the block is whitened, ``z = L_k^-1 (x - mu_k)``; then
``log w_k - log|L_k| - D/2 log(2 pi) - z'z / 2`` is the log of the joint density, and the same z serve the sufficient statistics.
"""

import math

import numpy as np
from numba import njit

from bayesgmm.expectation._exp import FASTMATH, exp_nonpositive

BLOCK = 64  # rows per block: (K D + 2 D + K) x 64 doubles stay in the cache nearest to the core.


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def prepare(log_weights, scale_tril):
    """Return ``(constant (K,), whiten (K, D, D))``: the x-free part of the log joint density, and L_k^-1."""
    K, D, _ = scale_tril.shape
    constant = np.empty(K)
    whiten = np.zeros((K, D, D))
    for k in range(K):
        log_det = 0.0
        for j in range(D):
            log_det += math.log(scale_tril[k, j, j])
            whiten[k, j, j] = 1.0 / scale_tril[k, j, j]
            for i in range(j + 1, D):
                s = 0.0
                for m in range(j, i):
                    s += scale_tril[k, i, m] * whiten[k, m, j]
                whiten[k, i, j] = -s / scale_tril[k, i, i]
        constant[k] = log_weights[k] - log_det - 0.5 * D * math.log(2.0 * math.pi)
    return constant, whiten


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _load_block(X, start, size, block):
    """Copy rows ``start .. start + size`` of X (N, D) into ``block (D, BLOCK)``, feature by feature."""
    for i in range(size):
        for d in range(X.shape[1]):
            block[d, i] = X[start + i, d]


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _log_joint(block, size, constant, means, whiten, diagonal, shifted, z, joint):
    """Fill ``z (K, D, BLOCK)`` with whitened rows and ``joint (K, BLOCK)`` with log w_k N(x | mu_k, Sigma_k)."""
    K, D = means.shape
    for k in range(K):
        row = joint[k]
        for i in range(size):
            row[i] = constant[k]
        for d in range(D):
            m = means[k, d]
            for i in range(size):
                shifted[d, i] = block[d, i] - m
            first = d if diagonal else 0
            zd = z[k, d]
            for i in range(size):
                zd[i] = 0.0
            for e in range(first, d + 1):
                a = whiten[k, d, e]
                for i in range(size):
                    zd[i] += a * shifted[e, i]
            for i in range(size):
                row[i] -= 0.5 * zd[i] * zd[i]


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _normalise(joint, size, top, log_density):
    """Turn log joint densities into responsibilities, in place; ``log_density`` gets their log-sum-exp over components.

    A row so far from every component that its density underflows to zero even on the log scale gets ``-inf`` and equal responsibilities.
    """
    K = joint.shape[0]
    for i in range(size):
        top[i] = joint[0, i]
    for k in range(1, K):
        for i in range(size):
            top[i] = max(top[i], joint[k, i])
    for i in range(size):
        log_density[i] = 0.0
        if top[i] == -np.inf:
            for k in range(K):
                joint[k, i] = 0.0
    for k in range(K):
        row = joint[k]
        for i in range(size):
            row[i] = exp_nonpositive(min(row[i] - max(top[i], -1.7e308), 0.0))
        for i in range(size):
            log_density[i] += row[i]
    for k in range(K):
        for i in range(size):
            joint[k, i] /= log_density[i]
    for i in range(size):
        log_density[i] = top[i] + math.log(log_density[i])


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _add_statistics(r, z, size, diagonal, counts, first, second):
    """Add a block's ``sum r``, ``sum r z`` and the lower triangle of ``sum r z z'`` for one component; returns nothing."""
    D = z.shape[0]
    n = 0.0
    for i in range(size):
        n += r[i]
    counts[0] += n
    for d in range(D):
        zd = z[d]
        s = 0.0
        for i in range(size):
            s += r[i] * zd[i]
        first[d] += s
        for e in range(d if diagonal else 0, d + 1):
            ze = z[e]
            s = 0.0
            for i in range(size):
                s += r[i] * zd[i] * ze[i]
            second[d, e] += s


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def statistics_rows(X, sample_weight, start, stop, constant, means, whiten, diagonal, counts, first, second):
    """E-step over rows ``start .. stop``: adds to the statistics and returns the (weighted) log-likelihood of the rows.

    ``sample_weight`` is (N,), or empty for unit weights. ``second`` gets its lower triangle only.
    """
    K, D = means.shape
    block = np.empty((D, BLOCK))
    shifted = np.empty((D, BLOCK))
    z = np.empty((K, D, BLOCK))
    joint = np.empty((K, BLOCK))
    top = np.empty(BLOCK)
    log_density = np.empty(BLOCK)
    weighted = sample_weight.shape[0] > 0
    total = 0.0
    for row in range(start, stop, BLOCK):
        size = min(BLOCK, stop - row)
        _load_block(X, row, size, block)
        _log_joint(block, size, constant, means, whiten, diagonal, shifted, z, joint)
        _normalise(joint, size, top, log_density)
        if weighted:
            for k in range(K):
                for i in range(size):
                    joint[k, i] *= sample_weight[row + i]
            for i in range(size):
                # A row of weight zero is a row that is not there, even where its density is zero.
                if sample_weight[row + i] != 0.0:
                    total += sample_weight[row + i] * log_density[i]
        else:
            for i in range(size):
                total += log_density[i]
        for k in range(K):
            _add_statistics(joint[k], z[k], size, diagonal, counts[k : k + 1], first[k], second[k])
    return total


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def evaluate_rows(X, start, stop, constant, means, whiten, diagonal, log_joint, responsibilities, log_density):
    """Evaluate rows ``start .. stop`` into outputs whose first row belongs to row ``start``; returns their log-likelihood.

    ``log_joint (n, K)``, ``responsibilities (n, K)`` and ``log_density (n,)`` are filled, each unless it is empty.
    """
    K, D = means.shape
    block = np.empty((D, BLOCK))
    shifted = np.empty((D, BLOCK))
    z = np.empty((K, D, BLOCK))
    joint = np.empty((K, BLOCK))
    top = np.empty(BLOCK)
    density = np.empty(BLOCK)
    total = 0.0
    for row in range(start, stop, BLOCK):
        size = min(BLOCK, stop - row)
        _load_block(X, row, size, block)
        _log_joint(block, size, constant, means, whiten, diagonal, shifted, z, joint)
        if log_joint.shape[0] > 0:
            for k in range(K):
                for i in range(size):
                    log_joint[row - start + i, k] = joint[k, i]
        _normalise(joint, size, top, density)
        if responsibilities.shape[0] > 0:
            for k in range(K):
                for i in range(size):
                    responsibilities[row - start + i, k] = joint[k, i]
        if log_density.shape[0] > 0:
            for i in range(size):
                log_density[row - start + i] = density[i]
        for i in range(size):
            total += density[i]
    return total
