"""Coordinates in which trajectories run: those of q, but for covariances, which are first whitened by what they are at a mode, compiled.

Where the columns of a group hang closely together, numbers of its correlations in q are large and lean on each other, and the steps they
allow differ from place to place. Seen from a covariance nearby, ``L0 L0'``, all this is gone: ``L0^-1 Sigma L0^-1'`` is near the
identity, and its own standard deviations and spiral of correlations are nearly normal and independent.

There is no Jacobian to add: in these numbers of a covariance its volume is ``|Sigma|^((D + 1) / 2)`` up to a constant (for
``L_ij = L_ii z_ij`` the volume of the triangle is ``L_ii^i`` a row, and that of ``L L'`` in it ``L_ii^(D - i + 1)``), and whitening changes
the volume by a constant alone.
"""

import math

import numpy as np
from numba import njit

from bayesgmm.bayes._compiled_log_posterior import unpack
from bayesgmm.kernels.compile import compiled


@njit(inline="always")
def _starts(problem, m):
    """Where the logs of the standard deviations and the correlations of covariance m begin in q."""
    D = problem.D
    first_sd = problem.K - 1 + problem.K * D
    return first_sd + m * D, first_sd + problem.prior_a.shape[0] + m * (D * (D - 1) // 2)


@compiled()
def _factor(v, sds_at, corr_at, order, L):
    """Fill the Cholesky factor (D, D) of the covariance whose numbers are in v."""
    D = L.shape[0]
    for i in range(D):
        L[i, i] = 1.0
    for p in range(D * (D - 1) // 2):
        L[int(order[2 * p]), int(order[2 * p + 1])] = v[corr_at + p]
    for i in range(D):
        s = 0.0
        for j in range(i + 1):
            s += L[i, j] * L[i, j]
        scale = math.exp(v[sds_at + i]) / math.sqrt(s)
        for j in range(i + 1):
            L[i, j] *= scale


@compiled()
def _numbers(L, sds_at, corr_at, order, v):
    """Fill in v the numbers of the covariance whose Cholesky factor is L (D, D)."""
    D = L.shape[0]
    for i in range(D):
        s = 0.0
        for j in range(i + 1):
            s += L[i, j] * L[i, j]
        v[sds_at + i] = 0.5 * math.log(s)
    for p in range(D * (D - 1) // 2):
        i = int(order[2 * p])
        v[corr_at + p] = L[i, int(order[2 * p + 1])] / L[i, i]


@compiled()
def whitened(q, user, roots, x):
    """Fill x with the coordinates of q. ``roots`` (covariances, D, D) are the Cholesky factors that covariances are seen from."""
    problem = unpack(user)
    D = problem.D
    x[:] = q
    L, M = np.zeros((D, D)), np.zeros((D, D))
    for m in range(roots.shape[0]):
        sds_at, corr_at = _starts(problem, m)
        _factor(q, sds_at, corr_at, problem.order, L)
        root = roots[m]
        for i in range(D):
            for j in range(i + 1):
                s = L[i, j]
                for e in range(j, i):
                    s -= root[i, e] * M[e, j]
                M[i, j] = s / root[i, i]
        _numbers(M, sds_at, corr_at, problem.order, x)


@njit(inline="always")
def _back(x, problem, roots, q, M, L):
    """Fill q, given x, and the factors M of all covariances seen from the roots, and L as they are."""
    q[:] = x
    D = problem.D
    for m in range(roots.shape[0]):
        sds_at, corr_at = _starts(problem, m)
        _factor(x, sds_at, corr_at, problem.order, M[m])
        for i in range(D):
            for j in range(i + 1):
                s = 0.0
                for e in range(j, i + 1):
                    s += roots[m, i, e] * M[m, e, j]
                L[m, i, j] = s
        _numbers(L[m], sds_at, corr_at, problem.order, q)


@compiled()
def unwhitened(x, user, roots, q):
    """Fill q, given its coordinates x."""
    _back(x, unpack(user), roots, q, np.zeros_like(roots), np.zeros_like(roots))


@compiled()
def log_density(log_posterior, user, x, roots, q, gradient):
    """Return the log-posterior at the coordinates x, and fill its gradient in them, and q."""
    problem = unpack(user)
    D = problem.D
    M, L = np.zeros_like(roots), np.zeros_like(roots)
    _back(x, problem, roots, q, M, L)
    value = log_posterior(q, user, gradient)
    G = np.zeros((D, D))
    for m in range(roots.shape[0]):
        sds_at, corr_at = _starts(problem, m)
        for i in range(D):  # from the numbers of q to the factor L
            slope = gradient[sds_at + i] * math.exp(-2.0 * q[sds_at + i])
            for j in range(i + 1):
                G[i, j] = slope * L[m, i, j]
        for p in range(D * (D - 1) // 2):
            i, j = int(problem.order[2 * p]), int(problem.order[2 * p + 1])
            slope = gradient[corr_at + p] / L[m, i, i]
            G[i, j] += slope
            G[i, i] -= slope * q[corr_at + p]
        for j in range(D):  # to the factor M = L0^-1 L, in place: what lies above in a column is not needed again
            for i in range(j, D):
                s = 0.0
                for e in range(i, D):
                    s += roots[m, e, i] * G[e, j]
                G[i, j] = s
        for i in range(D):  # and to the numbers of x
            s = 0.0
            for j in range(i + 1):
                s += G[i, j] * M[m, i, j]
            gradient[sds_at + i] = s
        for p in range(D * (D - 1) // 2):
            i, j = int(problem.order[2 * p]), int(problem.order[2 * p + 1])
            # M_ij = sd_i y_ij / norm_i, M_ii = sd_i / norm_i, and the norm depends on y, too.
            share = M[m, i, i] * math.exp(-x[sds_at + i])
            gradient[corr_at + p] = M[m, i, i] * G[i, j] - gradient[sds_at + i] * share * share * x[corr_at + p]
    return value
