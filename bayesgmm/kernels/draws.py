"""The E-step over many mixtures at once (the draws of a posterior), without ever holding draws x rows x components.

Each function takes the pass over rows as its first argument, :data:`bayesgmm.kernels.estep.EVALUATE` or, where values are missing,
:data:`bayesgmm.kernels.missing.EVALUATE_GAPPED`: called where it lies, it is not compiled into every one of them again.
"""

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, compiled, prefer_wide_vectors
from bayesgmm.kernels.estep import FIRST_ROW, prepare
from bayesgmm.kernels.exp import log_normal

TINY = 1e-300  # stands for zero in p log p


@compiled(fastmath=FASTMATH)
def _entropy_terms(r, out):
    """Fill ``out`` with ``- p log p``, without a branch, so that the loop vectorises; zero gives zero."""
    prefer_wide_vectors()
    p, q = r.reshape(r.size), out.reshape(out.size)
    for i in range(p.shape[0]):
        q[i] = -p[i] * log_normal(max(p[i], TINY))


@compiled(fastmath=FASTMATH)
def _add_moments(r, start, scratch, total, square, entropy):
    """Add one draw's responsibilities ``r (n, K)`` to the sums of rows ``start ..``; returns the sum of the rows' entropies."""
    n, K = r.shape
    _entropy_terms(r, scratch)
    all_rows = 0.0
    for i in range(n):
        h = 0.0
        for k in range(K):
            total[start + i, k] += r[i, k]
            square[start + i, k] += r[i, k] * r[i, k]
            h += scratch[i, k]
        entropy[start + i] += h
        all_rows += h
    return all_rows


@compiled(fastmath=FASTMATH)
def _pool(r, groups, out):
    """Fill ``out`` (n, G) with the responsibilities ``r`` (n, K) of groups of components, and return it; or return r, if there are none."""
    if groups.shape[0] == 0:
        return r
    out[:] = 0.0
    for i in range(r.shape[0]):
        for k in range(r.shape[1]):
            out[i, groups[k]] += r[i, k]
    return out


@compiled(fastmath=FASTMATH)
def moments_rows(
    evaluate,
    X,
    start,
    stop,
    log_weights,
    means,
    scale_tril,
    diagonal,
    groups,
    total,
    square,
    entropy,
    log_mean,
    draw_log,
    draw_entropy,
):
    """Add rows ``start .. stop`` of every draw to running sums.

    With ``groups`` (T, K) responsibilities are those of groups of components, G in place of K; each row of it is empty without.

    Per row (outputs of all N rows): ``total`` and ``square`` (N, K) are the sums over draws of r and r^2, ``entropy`` (N,) of the
    entropy of r, ``log_mean`` (N,) the log of the sum over draws of the density. Per draw: ``draw_log`` (T,) gets the rows'
    log-likelihood and ``draw_entropy`` (T,) the sum over rows of the entropy of r.
    """
    T, K, _ = means.shape
    n = stop - start
    empty = np.empty((0, K))
    G = total.shape[1]
    r, pooled, scratch = np.empty((n, K)), np.empty((n, G)), np.empty((n, G))
    density = np.empty(n)
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        draw_log[t] += evaluate(X, start, stop, prepared, diagonal, empty, r, density, np.empty(0))
        draw_entropy[t] += _add_moments(_pool(r, groups[t], pooled), start, scratch, total, square, entropy)
        for i in range(n):
            log_mean[start + i] = np.logaddexp(log_mean[start + i], density[i])


@compiled(fastmath=FASTMATH)
def cross_rows(evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, reference, out):
    """Add to ``out (T, K, M)`` the sums over rows of ``r_tij reference_im``, with ``reference`` of shape (N, M)."""
    T, K, _ = means.shape
    n = stop - start
    M = reference.shape[1]
    empty = np.empty((0, K))
    r = np.empty((n, K))
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        evaluate(X, start, stop, prepared, diagonal, empty, r, np.empty(0), np.empty(0))
        for i in range(n):
            for j in range(K):
                for m in range(M):
                    out[t, j, m] += r[i, j] * reference[start + i, m]


@compiled(fastmath=FASTMATH)
def densities_draws(evaluate, X, first, last, log_weights, means, scale_tril, diagonal, out):
    """Fill ``out (T, N)`` with the log-densities of all rows under draws ``first .. last``."""
    K = means.shape[1]
    N = X.shape[0]
    empty = np.empty((0, K))
    for t in range(first, last):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        evaluate(X, FIRST_ROW, N, prepared, diagonal, empty, empty, out[t], np.empty(0))


@compiled(fastmath=FASTMATH)
def responsibilities_draws(evaluate, X, first, last, log_weights, means, scale_tril, diagonal, out):
    """Fill ``out (T, N, K)`` with the responsibilities of all rows under draws ``first .. last``."""
    K = means.shape[1]
    N = X.shape[0]
    empty = np.empty((0, K))
    for t in range(first, last):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        evaluate(X, FIRST_ROW, N, prepared, diagonal, empty, out[t], np.empty(0), np.empty(0))


@compiled(fastmath=FASTMATH)
def block_draws(evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, groups, out, total, square, entropy):
    """Fill ``out (n, K, T)`` with the responsibilities of rows ``start .. stop`` under every draw; ``groups`` as in `moments_rows`.

    ``total``, ``square`` (n, K) and ``entropy`` (n,) get the sums over draws of r, r^2 and the rows' entropies.
    """
    T, K, _ = means.shape
    n = stop - start
    empty = np.empty((0, K))
    G = total.shape[1]
    r, pooled, scratch = np.empty((n, K)), np.empty((n, G)), np.empty((n, G))
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        evaluate(X, start, stop, prepared, diagonal, empty, r, np.empty(0), np.empty(0))
        shares = _pool(r, groups[t], pooled)
        _add_moments(shares, 0, scratch, total, square, entropy)
        for i in range(n):
            for k in range(G):
                out[i, k, t] = shares[i, k]


@compiled(fastmath=FASTMATH)
def nearest_rows(evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, groups, log_density, squared, votes):
    """Evaluate rows ``start .. stop`` under every draw; ``groups`` as in `moments_rows`.

    ``log_density`` and ``squared`` (n, T) get the log-density and the squared Mahalanobis distance to the component that is nearest by
    it; ``votes`` (n, K) counts the draws under which a component is the most probable.
    """
    T, K, _ = means.shape
    n, G = stop - start, votes.shape[1]
    r, pooled, density, distance, empty = np.empty((n, K)), np.empty((n, G)), np.empty(n), np.empty(n), np.empty((0, K))
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        evaluate(X, start, stop, prepared, diagonal, empty, r, density, distance)
        shares = _pool(r, groups[t], pooled)
        for i in range(n):
            best = 0
            for k in range(G):
                if shares[i, k] > shares[i, best]:
                    best = k
            votes[i, best] += 1.0
            squared[i, t] = distance[i]
            log_density[i, t] = density[i]
