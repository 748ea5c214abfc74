"""The E-step, compiled: blocks of rows in, log-densities, responsibilities and their sums out.

This is the only place in the package where a point meets a component. A block of rows is held feature by feature, so that every
inner loop runs over rows and vectorises. For component k the block is whitened, ``z = L_k^-1 (x - mu_k)``; then
``log w_k - log|L_k| - D/2 log(2 pi) - z'z / 2`` is the log of the joint density, and the same z serve the sufficient statistics.
"""

import math

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled, never_inline, prefer_wide_vectors
from bayesgmm.expectation._exp import exp_nonpositive, log_normal
from bayesgmm.expectation._sums import TILE, add_statistics

SMALL = 3  # below this many features a tile would be mostly padding, and a call of BLAS mostly overhead
GEMM_ALONE = 262_144  # multiplications up to which OpenBLAS stays on the calling thread
_LOWEST = -1.7e308
_L2 = 786_432  # bytes that the whitened block may take of the second-level cache


@compiled()
def padded(D):
    """Return D, filled up to whole tiles."""
    return D if D < SMALL else (D + TILE - 1) // TILE * TILE


@compiled()
def workspace(K, D, n):
    """Return the arrays that a pass over n rows works in.

    They are block (D + 1, B), z (K, P, B), joint (K, B), top (B,) and log_density (B,). The last row of the block is ones, for the
    constant terms of the whitening. B rows make a block: as many as keep the whitened rows of all components in cache. P is D, filled
    up to whole tiles with zeros.
    """
    P = padded(D)
    B = 256 if D <= 12 else 128
    while B > 32 and (8 * K * P * B > _L2 or P * D * B > GEMM_ALONE):
        B //= 2
    B = min(B, max(n, 1))
    block = np.zeros((D + 1, B))
    block[D] = 1.0
    return block, np.zeros((K, P, B)), np.empty((K, B)), np.empty(B), np.empty(B)


@compiled(fastmath=FASTMATH)
def prepare(log_weights, means, scale_tril, diagonal):
    """Return what of a mixture a pass over the data needs.

    ``constant (K,)`` is the x-free part of the log joint density, ``centre (D,)`` the mixture's mean, and ``whiten (K, P, D + 1)`` holds
    L_k^-1 and, in its last column, ``-L_k^-1 (mu_k - centre)``, filled up with rows of zeros. So rows are taken about a point that all
    components share, which cancels far offsets of the data, and one matrix product then whitens them for every component. Under
    ``diagonal`` everything off the factors' diagonals counts as zero.
    """
    K, D, _ = scale_tril.shape
    P = padded(D)
    constant = np.empty(K)
    whiten = np.zeros((K, P, D + 1))
    total = 0.0
    centre = np.zeros(D)
    for k in range(K):
        w = math.exp(log_weights[k])
        total += w
        for d in range(D):
            centre[d] += w * means[k, d]
    centre /= total
    for k in range(K):
        log_det = 0.0
        for j in range(D):
            log_det += math.log(scale_tril[k, j, j])
            whiten[k, j, j] = 1.0 / scale_tril[k, j, j]
            for i in range(j + 1, j + 1 if diagonal else D):
                s = 0.0
                for m in range(j, i):
                    s += scale_tril[k, i, m] * whiten[k, m, j]
                whiten[k, i, j] = -s / scale_tril[k, i, i]
        for i in range(D):
            for j in range(i + 1):
                whiten[k, i, D] -= whiten[k, i, j] * (means[k, j] - centre[j])
        constant[k] = log_weights[k] - log_det - 0.5 * D * math.log(2.0 * math.pi)
    return constant, whiten, centre


@compiled(fastmath=FASTMATH)
def _load_block(X, start, size, centre, block):
    """Copy rows ``start .. start + size`` of X (N, D), less the centre, into ``block``, feature by feature."""
    prefer_wide_vectors()
    D = X.shape[1]
    if D <= TILE:
        for d in range(D):
            out, c = block[d], centre[d]
            for i in range(size):
                out[i] = X[start + i, d] - c
    else:
        for i in range(size):
            for d in range(D):
                block[d, i] = X[start + i, d] - centre[d]


@compiled(fastmath=FASTMATH)
def _whiten(block, whiten, size, diagonal, z):
    """Fill ``z (K, P, B)`` with ``whiten_k @ block``."""
    prefer_wide_vectors()
    K, P, B = z.shape
    D = block.shape[0] - 1
    if diagonal or D == 1:
        for k in range(K):
            for d in range(D):
                out, x, a, b = z[k, d], block[d], whiten[k, d, d], whiten[k, d, D]
                for i in range(size):
                    out[i] = a * x[i] + b
    elif D == 2:
        x, y = block[0], block[1]
        for k in range(K):
            u, v = z[k, 0], z[k, 1]
            a, b, c, d, e = whiten[k, 0, 0], whiten[k, 0, 2], whiten[k, 1, 0], whiten[k, 1, 1], whiten[k, 1, 2]
            for i in range(size):
                u[i] = a * x[i] + b
            for i in range(size):
                v[i] = c * x[i] + d * y[i] + e
    elif P == TILE:
        # With three features the fourth row of the block is the ones, and the fourth column the constant terms.
        x0, x1, x2, x3 = block[0], block[1], block[2], block[3]
        for k in range(K):
            for d in range(D):
                out, b = z[k, d], whiten[k, d, D] if D == TILE else 0.0
                a0, a1, a2, a3 = whiten[k, d, 0], whiten[k, d, 1], whiten[k, d, 2], whiten[k, d, 3]
                for i in range(size):
                    out[i] = (a0 * x0[i] + a1 * x1[i]) + (a2 * x2[i] + a3 * x3[i]) + b
    else:
        stacked, out_rows = whiten.reshape((K * P, D + 1)), z.reshape((K * P, B))
        # So few components in one product that BLAS does not wake threads of its own: the cores are taken already.
        group = max(1, GEMM_ALONE // (P * (D + 1) * B)) * P
        for first in range(0, K * P, group):
            last = min(first + group, K * P)
            np.dot(stacked[first:last], block, out_rows[first:last])


@compiled(fastmath=FASTMATH)
def _log_joint(block, size, constant, whiten, diagonal, z, joint):
    """Fill ``z (K, P, B)`` with whitened rows and ``joint (K, B)`` with log w_k N(x | mu_k, Sigma_k)."""
    prefer_wide_vectors()
    P = z.shape[1]
    _whiten(block, whiten, size, diagonal, z)
    for k in range(len(constant)):
        row, c = joint[k], constant[k]
        if P == 1:
            u = z[k, 0]
            for i in range(size):
                row[i] = c - 0.5 * u[i] * u[i]
            continue
        if P == 2:
            u, v = z[k, 0], z[k, 1]
            for i in range(size):
                row[i] = c - 0.5 * (u[i] * u[i] + v[i] * v[i])
            continue
        for i in range(size):
            row[i] = c
        for d in range(0, P, TILE):
            u, v, w, x = z[k, d], z[k, d + 1], z[k, d + 2], z[k, d + 3]
            for i in range(size):
                row[i] -= 0.5 * ((u[i] * u[i] + v[i] * v[i]) + (w[i] * w[i] + x[i] * x[i]))


@compiled(fastmath=FASTMATH)
def _normalise(joint, size, top, log_density):
    """Turn log joint densities into responsibilities, in place; ``log_density`` gets their log-sum-exp over components.

    A row so far from every component that its density underflows to zero even on the log scale gets ``-inf`` and equal responsibilities.
    """
    prefer_wide_vectors()
    K = joint.shape[0]
    for i in range(size):
        top[i] = joint[0, i]
    for k in range(1, K):
        for i in range(size):
            top[i] = max(top[i], joint[k, i])
    for i in range(size):
        log_density[i] = 0.0
    for k in range(K):
        row = joint[k]
        for i in range(size):
            # Where all are -inf the clamps make every exponential the same tiny number.
            e = exp_nonpositive(min(row[i] - max(top[i], _LOWEST), 0.0))
            row[i] = e
            log_density[i] += e
    for i in range(size):
        inverse = 1.0 / log_density[i]
        log_density[i] = top[i] + log_normal(log_density[i])
        top[i] = inverse
    for k in range(K):
        row = joint[k]
        for i in range(size):
            row[i] *= top[i]


@compiled(fastmath=FASTMATH)
def statistics_rows(X, sample_weight, start, stop, prepared, diagonal, counts, first, second):
    """E-step over rows ``start .. stop``: adds to the statistics and returns the (weighted) log-likelihood of the rows.

    ``prepared`` is what :func:`prepare` returns. ``sample_weight`` is (N,), or empty for unit weights. ``second`` gets its lower
    triangle only.
    """
    prefer_wide_vectors()
    never_inline()
    constant, whiten, centre = prepared
    K, D = first.shape
    block, z, joint, top, log_density = workspace(K, D, stop - start)
    B = len(top)
    weighted = sample_weight.shape[0] > 0
    total = 0.0
    for row in range(start, stop, B):
        size = min(B, stop - row)
        _load_block(X, row, size, centre, block)
        _log_joint(block, size, constant, whiten, diagonal, z, joint)
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
            add_statistics(joint[k], z[k], size, diagonal, counts[k : k + 1], first[k], second[k])
    return total


@compiled()
def statistics(X, sample_weight, log_weights, means, scale_tril, diagonal):
    """Run the E-step on all rows, on the calling thread.

    Returns ``(log-likelihood, counts (K,), first (K, D), second (K, D, D), whiten)``; ``second`` has both triangles.
    """
    K, D = means.shape
    prepared = prepare(log_weights, means, scale_tril, diagonal)
    counts, first, second = np.zeros(K), np.zeros((K, D)), np.zeros((K, D, D))
    total = statistics_rows(X, sample_weight, 0, X.shape[0], prepared, diagonal, counts, first, second)
    for k in range(K):
        for d in range(D):
            for e in range(d):
                second[k, e, d] = second[k, d, e]
    return total, counts, first, second, prepared[1]


@compiled()
def statistics_chunks(X, sample_weight, size, first_chunk, last_chunk, prepared, diagonal, totals, counts, first, second):
    """Run :func:`statistics_rows` on chunks ``first_chunk .. last_chunk`` of ``size`` rows, each into its own row of the outputs."""
    for c in range(first_chunk, last_chunk):
        stop = min((c + 1) * size, X.shape[0])
        totals[c] = statistics_rows(X, sample_weight, c * size, stop, prepared, diagonal, counts[c], first[c], second[c])


@compiled(fastmath=FASTMATH)
def evaluate_rows(X, start, stop, prepared, diagonal, log_joint, responsibilities, log_density):
    """Evaluate rows ``start .. stop`` into outputs whose first row belongs to row ``start``; returns their log-likelihood.

    ``log_joint (n, K)``, ``responsibilities (n, K)`` and ``log_density (n,)`` are filled, each unless it is empty.
    """
    prefer_wide_vectors()
    never_inline()
    constant, whiten, centre = prepared
    K, D = len(constant), X.shape[1]
    block, z, joint, top, density = workspace(K, D, stop - start)
    B = len(top)
    total = 0.0
    for row in range(start, stop, B):
        size = min(B, stop - row)
        _load_block(X, row, size, centre, block)
        _log_joint(block, size, constant, whiten, diagonal, z, joint)
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
