"""The E-step, compiled: blocks of rows in, log-densities, responsibilities and their sums out.

This is the only place in the package where a point meets a component. A block of rows is held feature by feature, so that every
inner loop runs over rows and vectorises. For component k the block is whitened, ``z = L_k^-1 (x - mu_k)``; then
``log w_k - log|L_k| - D/2 log(2 pi) - z'z / 2`` is the log of the joint density, and the same z serve the sufficient statistics.
"""

import math

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled
from bayesgmm.expectation._exp import exp_nonpositive

TILE = 4  # features per tile: the inner loops read a row of the block once for four features, which is what keeps them off memory.
SMALL = 4  # below this many features a tile would be mostly padding
_L2 = 786_432  # bytes that the whitened block may take of the second-level cache


@compiled()
def workspace(K, D, n):
    """Return the arrays that a pass over n rows works in: block, shifted (P, B), z (K, P, B), joint (K, B), top (B,), log_density (B,).

    B rows make a block: 256, or fewer if the whitened rows of all components would not stay in cache. P is D, filled up to whole tiles
    with zeros.
    """
    P = D if D < SMALL else (D + TILE - 1) // TILE * TILE
    B = 256
    while B > 64 and (8 * K * P * B > _L2 or 8 * P * B > 40000):
        B //= 2
    B = min(B, max(n, 1))
    return np.zeros((P, B)), np.zeros((P, B)), np.zeros((K, P, B)), np.empty((K, B)), np.empty(B), np.empty(B)


@compiled(fastmath=FASTMATH)
def prepare(log_weights, scale_tril):
    """Return ``(constant (K,), whiten (K, P, P))``: the x-free part of the log joint density, and L_k^-1 filled up with zeros."""
    K, D, _ = scale_tril.shape
    P = D if D < SMALL else (D + TILE - 1) // TILE * TILE
    constant = np.empty(K)
    whiten = np.zeros((K, P, P))
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


@compiled(fastmath=FASTMATH)
def _load_block(X, start, size, block):
    """Copy rows ``start .. start + size`` of X (N, D) into ``block (P, B)``, feature by feature."""
    for i in range(size):
        for d in range(X.shape[1]):
            block[d, i] = X[start + i, d]


@compiled(fastmath=FASTMATH)
def _whiten(shifted, whiten, size, z):
    """Fill ``z (P, B)`` with ``whiten @ shifted``; ``whiten (P, P)`` is lower triangular."""
    P = z.shape[0]
    step = 1 if P < SMALL else TILE
    for d in range(P):
        out = z[d]
        for i in range(size):
            out[i] = 0.0
        for e in range(0, d + 1, step):
            if step == 1:
                a = whiten[d, e]
                x = shifted[e]
                for i in range(size):
                    out[i] += a * x[i]
            else:
                a0, a1, a2, a3 = whiten[d, e], whiten[d, e + 1], whiten[d, e + 2], whiten[d, e + 3]
                x0, x1, x2, x3 = shifted[e], shifted[e + 1], shifted[e + 2], shifted[e + 3]
                for i in range(size):
                    out[i] += a0 * x0[i] + a1 * x1[i] + a2 * x2[i] + a3 * x3[i]


@compiled(fastmath=FASTMATH)
def _log_joint(block, size, constant, means, whiten, diagonal, shifted, z, joint):
    """Fill ``z (K, P, B)`` with whitened rows and ``joint (K, B)`` with log w_k N(x | mu_k, Sigma_k)."""
    K, D = means.shape
    for k in range(K):
        for d in range(D):
            m = means[k, d]
            x, y = block[d], shifted[d]
            for i in range(size):
                y[i] = x[i] - m
        if diagonal:
            for d in range(D):
                a = whiten[k, d, d]
                y, out = shifted[d], z[k, d]
                for i in range(size):
                    out[i] = a * y[i]
        else:
            _whiten(shifted, whiten[k], size, z[k])
        row = joint[k]
        for i in range(size):
            row[i] = constant[k]
        for d in range(D):
            out = z[k, d]
            for i in range(size):
                row[i] -= 0.5 * out[i] * out[i]


@compiled(fastmath=FASTMATH)
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


@compiled(fastmath=FASTMATH)
def _add_statistics(r, z, size, diagonal, counts, first, second):
    """Add a block's ``sum r``, ``sum r z`` and the lower triangle of ``sum r z z'`` for one component; returns nothing."""
    n = 0.0
    for i in range(size):
        n += r[i]
    counts[0] += n
    for d in range(first.shape[0]):
        zd = z[d]
        s = 0.0
        for i in range(size):
            s += r[i] * zd[i]
        first[d] += s
    if diagonal or z.shape[0] < SMALL:
        _add_products(r, z, size, diagonal, second)
    else:
        for d in range(0, z.shape[0], TILE):
            for e in range(0, d + 1, TILE):
                _add_tile(r, z, size, d, e, second)


@compiled(fastmath=FASTMATH)
def _add_products(r, z, size, diagonal, second):
    """Add ``sum r z_d z_e`` for each pair of features, or for the squares only."""
    for d in range(second.shape[0]):
        zd = z[d]
        for e in range(d if diagonal else 0, d + 1):
            ze = z[e]
            s = 0.0
            for i in range(size):
                s += r[i] * zd[i] * ze[i]
            second[d, e] += s


@compiled(fastmath=FASTMATH)
def _add_tile(r, z, size, d, e, second):
    """Add ``sum r z_i z_j`` for four by four features: sixteen sums in registers over one reading of eight rows."""
    y0, y1, y2, y3 = z[d], z[d + 1], z[d + 2], z[d + 3]
    x0, x1, x2, x3 = z[e], z[e + 1], z[e + 2], z[e + 3]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
    for i in range(size):
        u0, u1, u2, u3 = x0[i], x1[i], x2[i], x3[i]
        t = r[i] * y0[i]
        a0 += t * u0
        a1 += t * u1
        a2 += t * u2
        a3 += t * u3
        t = r[i] * y1[i]
        b0 += t * u0
        b1 += t * u1
        b2 += t * u2
        b3 += t * u3
        t = r[i] * y2[i]
        c0 += t * u0
        c1 += t * u1
        c2 += t * u2
        c3 += t * u3
        t = r[i] * y3[i]
        d0 += t * u0
        d1 += t * u1
        d2 += t * u2
        d3 += t * u3
    tile = (a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3)
    D = second.shape[0]
    for i in range(TILE):
        for j in range(TILE):
            if d + i < D and e + j <= d + i:
                second[d + i, e + j] += tile[TILE * i + j]


@compiled(fastmath=FASTMATH)
def statistics_rows(X, sample_weight, start, stop, constant, means, whiten, diagonal, counts, first, second):
    """E-step over rows ``start .. stop``: adds to the statistics and returns the (weighted) log-likelihood of the rows.

    ``sample_weight`` is (N,), or empty for unit weights. ``second`` gets its lower triangle only.
    """
    K, D = means.shape
    block, shifted, z, joint, top, log_density = workspace(K, D, stop - start)
    B = len(top)
    weighted = sample_weight.shape[0] > 0
    total = 0.0
    for row in range(start, stop, B):
        size = min(B, stop - row)
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


@compiled(fastmath=FASTMATH)
def evaluate_rows(X, start, stop, constant, means, whiten, diagonal, log_joint, responsibilities, log_density):
    """Evaluate rows ``start .. stop`` into outputs whose first row belongs to row ``start``; returns their log-likelihood.

    ``log_joint (n, K)``, ``responsibilities (n, K)`` and ``log_density (n,)`` are filled, each unless it is empty.
    """
    K, D = means.shape
    block, shifted, z, joint, top, density = workspace(K, D, stop - start)
    B = len(top)
    total = 0.0
    for row in range(start, stop, B):
        size = min(B, stop - row)
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
