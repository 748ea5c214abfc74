"""The E-step, compiled: blocks of rows in, log-densities, responsibilities and their sums out.

This is the only place in the package where a point meets a component. A block of rows is held feature by feature, so that every
inner loop runs over rows and vectorises. For component k the block is whitened, ``z = L_k^-1 (x - mu_k)``; then
``log w_k - log|L_k| - D/2 log(2 pi) - z'z / 2`` is the log of the joint density, and the same z serve the sufficient statistics.
"""

import math

import numpy as np
from numba import types

from bayesgmm.kernels.compile import FASTMATH, Pointer, compiled, never_inline, prefer_wide_vectors
from bayesgmm.kernels.exp import exp_nonpositive, log_normal
from bayesgmm.kernels.sums import TILE, add_statistics

SMALL = 3  # below this many features a tile would be mostly padding, and a call of BLAS mostly overhead
GEMM_ALONE = 262_144  # multiplications up to which OpenBLAS stays on the calling thread
FIRST_ROW = np.int64(0)  # a plain 0 is a type of its own to numba, for which the pass would be compiled once more
VECTOR, MATRIX, STACK = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_LOWEST = -1.7e308
_LINE = 8  # doubles in a cache line, and in the widest vector
_STEP = 32  # rows that a vectorised loop takes at once; what is left over it would do one by one
_L2 = 786_432  # bytes that the whitened block may take of the second-level cache


@compiled()
def padded(D):
    """Return D, filled up to whole tiles."""
    return D if D < SMALL else (D + TILE - 1) // TILE * TILE


@compiled()
def _whole_steps(n):
    """Return n, filled up to whole steps."""
    return (n + _STEP - 1) // _STEP * _STEP


@compiled()
def workspace(K, D, n):
    """Return the arrays that a pass over n rows works in: block (D + 1, B), z (K, P, B), joint (K, B), top, sums and inverse (B,).

    The last row of the block is ones, for the constant terms of the whitening. B rows make a block: as many as keep the whitened rows
    of all components in cache. P is D, filled up to whole tiles with zeros. All are cut from one piece of memory that begins at the
    beginning of a cache line, so that no vector lies across two lines: that alone is a third of the whitening's time.
    """
    P = padded(D)
    B = 256 if D <= 12 else 128
    while B > 32 and (8 * K * P * B > _L2 or P * D * B > GEMM_ALONE):
        B //= 2
    B = min(B, _whole_steps(max(n, 1)))
    length = (D + 1 + K * P + K + 3) * B
    memory = np.empty(length + _LINE)
    skip = (-(memory.ctypes.data // 8)) % _LINE
    memory = memory[skip : skip + length]
    a = (D + 1) * B
    b = a + K * P * B
    c = b + K * B
    block, z = memory[:a].reshape((D + 1, B)), memory[a:b].reshape((K, P, B))
    block[D] = 1.0
    if P > D:
        z[:, D:] = 0.0
    return block, z, memory[b:c].reshape((K, B)), memory[c : c + B], memory[c + B : c + 2 * B], memory[c + 2 * B :]


@compiled(fastmath=FASTMATH)
def prepare(log_weights, means, scale_tril, diagonal):
    """Return what of a mixture a pass over the data needs.

    ``constant (K,)`` is the x-free part of the log joint density (of several vectors of log-weights, one after the other, all of their
    constants), ``centre (D,)`` the mixture's mean, and ``whiten (K, P, D + 1)`` holds
    L_k^-1 and, in its last column, ``-L_k^-1 (mu_k - centre)``, filled up with rows of zeros. So rows are taken about a point that all
    components share, which cancels far offsets of the data, and one matrix product then whitens them for every component. Under
    ``diagonal`` everything off the factors' diagonals counts as zero. The factors themselves come last.
    """
    K, D, _ = scale_tril.shape
    P = padded(D)
    constant = np.empty(len(log_weights))
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
        for at in range(k, len(log_weights), K):
            constant[at] = log_weights[at] - log_det - 0.5 * D * math.log(2.0 * math.pi)
    return constant, whiten, centre, scale_tril


@compiled(fastmath=FASTMATH)
def _load_block(X, start, size, centre, block):
    """Copy rows ``start .. start + size`` of X (N, D), less the centre, into ``block``, feature by feature, and zeros after them.

    Returns the size filled up to whole steps.
    """
    prefer_wide_vectors()
    D = X.shape[1]
    filled = _whole_steps(size)
    for d in range(D):
        for i in range(size, filled):
            block[d, i] = 0.0
    rows = X[start : start + size]
    if D == 2 or D == TILE:
        for d in range(0, D, 2):  # two at a time, so that a row's numbers are fetched together
            u, v, a, b = block[d], block[d + 1], centre[d], centre[d + 1]
            for i in range(size):
                u[i] = rows[i, d] - a
                v[i] = rows[i, d + 1] - b
    elif D <= TILE:
        for d in range(D):
            out, a = block[d], centre[d]
            for i in range(size):
                out[i] = rows[i, d] - a
    else:
        for i in range(size):
            for d in range(D):
                block[d, i] = rows[i, d] - centre[d]
    return filled


@compiled()
def _drop_fill(joint, size, filled, top, sums):
    """Let the rows after the first ``size``, which no data stand behind, count for nothing."""
    for i in range(size, filled):
        top[i] = 0.0
        sums[i] = 1.0
    for k in range(joint.shape[0]):
        for i in range(size, filled):
            joint[k, i] = 0.0


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
        x0, x1, x2, x3 = block[0], block[1], block[2], block[3]
        for k in range(K):
            w = whiten[k]
            out, a0, b = z[k, 0], w[0, 0], w[0, D]
            for i in range(size):
                out[i] = a0 * x0[i] + b
            out, a0, a1, b = z[k, 1], w[1, 0], w[1, 1], w[1, D]
            for i in range(size):
                out[i] = a0 * x0[i] + (a1 * x1[i] + b)
            out, a0, a1, a2, b = z[k, 2], w[2, 0], w[2, 1], w[2, 2], w[2, D]
            for i in range(size):
                out[i] = (a0 * x0[i] + a1 * x1[i]) + (a2 * x2[i] + b)
            if D == TILE:
                out, a0, a1, a2, a3, b = z[k, 3], w[3, 0], w[3, 1], w[3, 2], w[3, 3], w[3, D]
                for i in range(size):
                    out[i] = (a0 * x0[i] + a1 * x1[i]) + (a2 * x2[i] + (a3 * x3[i] + b))
    else:
        stacked, out_rows = whiten.reshape((K * P, D + 1)), z.reshape((K * P, B))
        # So few components in one product that BLAS does not wake threads of its own: the cores are taken already.
        group = max(1, GEMM_ALONE // (P * (D + 1) * B)) * P
        for first in range(0, K * P, group):
            last = min(first + group, K * P)
            np.dot(stacked[first:last], block, out_rows[first:last])


@compiled(fastmath=FASTMATH)
def _log_joint(size, constant, z, joint):
    """Fill ``joint (K, B)`` with log w_k N(x | mu_k, Sigma_k) of whitened rows ``z (K, P, B)``."""
    prefer_wide_vectors()
    P = z.shape[1]
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
        u, v, w, x = z[k, 0], z[k, 1], z[k, 2], z[k, 3]
        for i in range(size):
            row[i] = c - 0.5 * ((u[i] * u[i] + v[i] * v[i]) + (w[i] * w[i] + x[i] * x[i]))
        for d in range(TILE, P, TILE):
            u, v, w, x = z[k, d], z[k, d + 1], z[k, d + 2], z[k, d + 3]
            for i in range(size):
                row[i] -= 0.5 * ((u[i] * u[i] + v[i] * v[i]) + (w[i] * w[i] + x[i] * x[i]))


@compiled(fastmath=FASTMATH)
def _exponentiate(joint, size, top, sums, inverse):
    """Turn log joint densities, in place, into what :func:`_scale` by ``inverse`` turns into responsibilities.

    The log-density of a row is ``top + log(sums)`` afterwards. A row so far from every component that its density underflows to zero
    even on the log scale gets ``top = -inf`` and equal responsibilities.
    """
    prefer_wide_vectors()
    K = joint.shape[0]
    for i in range(size):
        top[i] = joint[0, i]
    for k in range(1, K):
        for i in range(size):
            top[i] = max(top[i], joint[k, i])
    shift = inverse
    for i in range(size):
        # Where all are -inf, a finite shift makes every exponential the same tiny number instead of NaN.
        shift[i] = max(top[i], _LOWEST)
        sums[i] = 0.0
    for k in range(K):
        row = joint[k]
        for i in range(size):
            e = exp_nonpositive(row[i] - shift[i])
            row[i] = e
            sums[i] += e
    for i in range(size):
        inverse[i] = 1.0 / sums[i]


@compiled(fastmath=FASTMATH)
def _scale(joint, size, factor):
    """Multiply each row's numbers, those of all components, by its factor."""
    prefer_wide_vectors()
    for k in range(joint.shape[0]):
        row = joint[k]
        for i in range(size):
            row[i] *= factor[i]


@compiled(fastmath=FASTMATH)
def _weigh(weight, size, top, sums, inverse):
    """Multiply ``inverse`` by the rows' weights, so that responsibilities have them, and return the weighted sum of log-densities."""
    prefer_wide_vectors()
    total = 0.0
    for i in range(size):
        w = weight[i]
        inverse[i] *= w
        value = top[i] + log_normal(sums[i])
        # A row of weight zero is a row that is not there, even where its density is zero.
        total += w * value if w != 0.0 else 0.0
    return total


@compiled(fastmath=FASTMATH)
def _add_logs(top, sums, size):
    """Replace ``top`` by the rows' log-densities."""
    prefer_wide_vectors()
    for i in range(size):
        top[i] += log_normal(sums[i])


@compiled(fastmath=FASTMATH)
def _log_likelihood(top, sums, size):
    """Return the sum of the rows' log-densities, and leave products in ``sums``: one logarithm serves up to eight rows."""
    prefer_wide_vectors()
    total = 0.0
    for i in range(size):
        total += top[i]
    n = size
    for _ in range(3):  # fold the second half onto the first; sums lie between 1 and K, so eight of them make no infinity
        half = n // 2
        low, high = sums[:half], sums[n - half : n]
        for i in range(half):
            low[i] *= high[i]
        n -= half
    for i in range(n):
        total += log_normal(sums[i])
    return total


@compiled(fastmath=FASTMATH)
def statistics(X, sample_weight, log_weights, means, scale_tril, diagonal):
    """Run the E-step on all rows, on the calling thread.

    ``sample_weight`` is (N,), or empty for unit weights. Returns the (weighted) log-likelihood, ``counts (K,)``, ``first (K, D)``,
    ``second (K, D, D)`` and what :func:`prepare` returns as ``whiten``.
    """
    prefer_wide_vectors()
    never_inline()
    constant, whiten, centre, _ = prepare(log_weights, means, scale_tril, diagonal)
    N = X.shape[0]
    K, D = means.shape
    counts, first, second = np.zeros(K), np.zeros((K, D)), np.zeros((K, D, D))
    block, z, joint, top, sums, inverse = workspace(K, D, N)
    B = len(top)
    weighted = sample_weight.shape[0] > 0
    total = 0.0
    for row in range(0, N, B):
        size = min(B, N - row)
        filled = _load_block(X, row, size, centre, block)
        _whiten(block, whiten, filled, diagonal, z)
        _log_joint(filled, constant, z, joint)
        _exponentiate(joint, filled, top, sums, inverse)
        if weighted:
            total += _weigh(sample_weight[row : row + size], size, top, sums, inverse)
        _scale(joint, filled, inverse)
        _drop_fill(joint, size, filled, top, sums)
        if not weighted:
            total += _log_likelihood(top, sums, filled)
        for k in range(K):
            add_statistics(joint[k], z[k], filled, diagonal, counts[k : k + 1], first[k], second[k])
    for k in range(K):  # the sums are of the lower triangles
        for d in range(D):
            for e in range(d):
                second[k, e, d] = second[k, d, e]
    return total, counts, first, second, whiten


_RESULT = types.Tuple((types.float64, VECTOR, MATRIX, STACK, STACK))
STATISTICS = Pointer(statistics, _RESULT, (MATRIX, VECTOR, VECTOR, MATRIX, STACK, types.boolean))


@compiled()
def statistics_chunks(
    pass_over, X, sample_weight, size, start, stop, log_weights, means, scale_tril, diagonal, totals, counts, first, second
):
    """Run the pass, :data:`STATISTICS`, over chunks ``start .. stop`` of ``size`` rows, each into its own row of the outputs."""
    weighted = sample_weight.shape[0] > 0
    for c in range(start, stop):
        i, j = c * size, min((c + 1) * size, X.shape[0])
        weight = sample_weight[i:j] if weighted else sample_weight
        totals[c], counts[c], first[c], second[c], _ = pass_over(X[i:j], weight, log_weights, means, scale_tril, diagonal)


@compiled(fastmath=FASTMATH)
def evaluate_rows(X, start, stop, prepared, diagonal, log_joint, responsibilities, log_density, nearest):
    """Evaluate rows ``start .. stop`` into outputs whose first row belongs to row ``start``; returns their log-likelihood.

    ``log_joint (n, K)``, ``responsibilities (n, K)``, ``log_density (n,)`` and ``nearest (n,)``, the squared Mahalanobis distances to the
    nearest components, are filled, each unless it is empty.
    """
    prefer_wide_vectors()
    never_inline()
    constant, whiten, centre, _ = prepared
    K, D = len(constant), X.shape[1]
    block, z, joint, top, sums, inverse = workspace(K, D, stop - start)
    B = len(top)
    places = np.empty(B, np.int64)
    total = 0.0
    for row in range(start, stop, B):
        size = min(B, stop - row)
        for i in range(size):
            places[i] = row - start + i
        filled = _load_block(X, row, size, centre, block)
        _whiten(block, whiten, filled, diagonal, z)
        _log_joint(filled, constant, z, joint)
        _write_nearest(constant, joint, places[:size], nearest)
        total += _write(joint, filled, places[:size], top, sums, inverse, log_joint, responsibilities, log_density)
    return total


@compiled(fastmath=FASTMATH)
def _write_nearest(constant, joint, places, nearest):
    """Write the squared distances to the nearest components, which are what log joint densities have less than their constants."""
    if len(nearest) == 0:
        return
    for i in range(len(places)):
        least = np.inf
        for k in range(len(joint)):
            if constant[k] > -np.inf:  # a component without weight is not there to be near
                least = min(least, 2.0 * (constant[k] - joint[k, i]))
        nearest[places[i]] = max(least, 0.0)


@compiled(fastmath=FASTMATH)
def _write(joint, filled, places, top, sums, inverse, log_joint, responsibilities, log_density):
    """Write what follows from a block's log joint densities, which are overwritten, to the rows' places; returns their log-likelihood."""
    prefer_wide_vectors()
    size, K, total = len(places), len(joint), 0.0
    if len(log_joint) > 0:
        for k in range(K):
            for i in range(size):
                log_joint[places[i], k] = joint[k, i]
    _exponentiate(joint, filled, top, sums, inverse)
    _scale(joint, filled, inverse)
    _add_logs(top, sums, filled)
    if len(responsibilities) > 0:
        for k in range(K):
            for i in range(size):
                responsibilities[places[i], k] = joint[k, i]
    for i in range(size):
        total += top[i]
        if len(log_density) > 0:
            log_density[places[i]] = top[i]
    return total


_PREPARED = types.Tuple((VECTOR, STACK, VECTOR, STACK))
_ARGUMENTS = (MATRIX, types.int64, types.int64, _PREPARED, types.boolean, MATRIX, MATRIX, VECTOR, VECTOR)
EVALUATE = Pointer(evaluate_rows, types.float64, _ARGUMENTS)
