"""The E-step over many mixtures at once (the draws of a posterior), without ever holding draws x rows x components."""

import math

import numpy as np
from numba import njit

from bayesgmm.expectation._compile import FASTMATH, compiled
from bayesgmm.expectation._kernel import evaluate_rows, prepare


@compiled(fastmath=FASTMATH)
def moments_rows(
    X, start, stop, log_weights, means, scale_tril, diagonal, total, square, entropy, log_mean, draw_log, draw_entropy
):
    """Add rows ``start .. stop`` of every draw to running sums.

    Per row (outputs of all N rows): ``total`` and ``square`` (N, K) are the sums over draws of r and r^2, ``entropy`` (N,) of the
    entropy of r, ``log_mean`` (N,) the log of the sum over draws of the density. Per draw: ``draw_log`` (T,) gets the rows'
    log-likelihood and ``draw_entropy`` (T,) the sum over rows of the entropy of r.
    """
    T, K, _ = means.shape
    n = stop - start
    empty = np.empty((0, K))
    r = np.empty((n, K))
    density = np.empty(n)
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t])
        draw_log[t] += evaluate_rows(X, start, stop, prepared, diagonal, empty, r, density)
        for i in range(n):
            h = 0.0
            for k in range(K):
                p = r[i, k]
                total[start + i, k] += p
                square[start + i, k] += p * p
                if p > 0.0:
                    h -= p * math.log(p)
            entropy[start + i] += h
            draw_entropy[t] += h
            log_mean[start + i] = _log_add(log_mean[start + i], density[i])


@njit(inline="always")
def _log_add(a, b):
    """log(exp(a) + exp(b))."""
    top = max(a, b)
    if top == -np.inf:
        return top
    return top + math.log1p(math.exp(min(a, b) - top))


@compiled(fastmath=FASTMATH)
def cross_rows(X, start, stop, log_weights, means, scale_tril, diagonal, reference, out):
    """Add to ``out (T, K, M)`` the sums over rows of ``r_tij reference_im``, with ``reference`` of shape (N, M)."""
    T, K, _ = means.shape
    n = stop - start
    M = reference.shape[1]
    empty = np.empty((0, K))
    r = np.empty((n, K))
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t])
        evaluate_rows(X, start, stop, prepared, diagonal, empty, r, np.empty(0))
        for i in range(n):
            for j in range(K):
                for m in range(M):
                    out[t, j, m] += r[i, j] * reference[start + i, m]


@compiled(fastmath=FASTMATH)
def densities_draws(X, first, last, log_weights, means, scale_tril, diagonal, out):
    """Fill ``out (T, N)`` with the log-densities of all rows under draws ``first .. last``."""
    K = means.shape[1]
    N = X.shape[0]
    empty = np.empty((0, K))
    for t in range(first, last):
        prepared = prepare(log_weights[t], means[t], scale_tril[t])
        evaluate_rows(X, 0, N, prepared, diagonal, empty, empty, out[t])


@compiled(fastmath=FASTMATH)
def responsibilities_draws(X, first, last, log_weights, means, scale_tril, diagonal, out):
    """Fill ``out (T, N, K)`` with the responsibilities of all rows under draws ``first .. last``."""
    K = means.shape[1]
    N = X.shape[0]
    empty = np.empty((0, K))
    for t in range(first, last):
        prepared = prepare(log_weights[t], means[t], scale_tril[t])
        evaluate_rows(X, 0, N, prepared, diagonal, empty, out[t], np.empty(0))


@compiled(fastmath=FASTMATH)
def block_draws(X, start, stop, log_weights, means, scale_tril, diagonal, out, entropy):
    """Fill ``out (n, K, T)`` with the responsibilities of rows ``start .. stop`` under every draw.

    ``entropy (n,)`` gets the sum over draws of their entropies.
    """
    T, K, _ = means.shape
    n = stop - start
    empty = np.empty((0, K))
    r = np.empty((n, K))
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t])
        evaluate_rows(X, start, stop, prepared, diagonal, empty, r, np.empty(0))
        for i in range(n):
            h = 0.0
            for k in range(K):
                p = r[i, k]
                out[i, k, t] = p
                if p > 0.0:
                    h -= p * math.log(p)
            entropy[i] += h
