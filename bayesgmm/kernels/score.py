"""Fisher's identity, compiled: from the E-step's statistics to the gradient of the log-likelihood."""

import math

import numpy as np
from numba import types

from bayesgmm.kernels.compile import FASTMATH, Pointer, compiled
from bayesgmm.kernels.estep import MATRIX, STACK, STATISTICS, VECTOR


@compiled(fastmath=FASTMATH)
def score_from_statistics(counts, first, second, whiten, diagonal, means_out, scale_out):
    """Fill the gradients with respect to means (K, D) and Cholesky factors (K, D, D).

    The gradient with respect to the log weights is ``counts`` itself.
    """
    K, D = first.shape
    for k in range(K):
        for d in range(D):
            last = d + 1 if diagonal else D
            s = 0.0
            for e in range(d, last):
                s += whiten[k, e, d] * first[k, e]
            means_out[k, d] = s
            for j in range(d if diagonal else 0, d + 1):
                s = 0.0
                for e in range(d, last):
                    excess = second[k, e, j] - counts[k] if e == j else second[k, e, j]
                    s += whiten[k, e, d] * excess
                scale_out[k, d, j] = s


@compiled(fastmath=FASTMATH)
def value_and_score(statistics, rows, sample_weight, log_weights, means, scale_tril, diagonal):
    """Return the log-likelihood and its gradients (K,), (K, D), (K, D, D), in one pass over the data on the calling thread.

    ``statistics`` is that pass, compiled. ``rows (N D,)`` are the data, row by row. ``sample_weight`` is (N,), or empty for unit weights.
    Under ``diagonal`` everything off the diagonals counts as zero.
    """
    X = rows.reshape((rows.shape[0] // means.shape[1], means.shape[1]))
    total, counts, first, second, whiten = statistics(X, sample_weight, log_weights, means, scale_tril, diagonal)
    means_out = np.zeros_like(means)
    scale_out = np.zeros_like(scale_tril)
    score_from_statistics(counts, first, second, whiten, diagonal, means_out, scale_out)
    return total, counts, means_out, scale_out


@compiled(fastmath=FASTMATH)
def _marginal_factor(root, out):
    """Fill ``out`` (d, d) with the Cholesky factor of ``root root'``, root (d, D)."""
    d, D = root.shape
    for i in range(d):
        for j in range(i + 1):
            s = 0.0
            for e in range(D):
                s += root[i, e] * root[j, e]
            for e in range(j):
                s -= out[i, e] * out[j, e]
            out[i, j] = math.sqrt(s) if i == j else s / out[j, j]


@compiled(fastmath=FASTMATH)
def _add_marginal_score(count, first, second, whiten, root, columns, means_out, scale_out):
    """Add one component's gradients from rows that have some columns only.

    With ``S = root root'``, the sums s of ``r u`` and U of ``r u u'`` for ``u = S^-1 (x - mu)``, they are s for the mean's entries and
    ``(U - n S^-1) root`` for the factor's rows of these columns.
    """
    d, D = root.shape
    excess = np.empty((d, d))
    for i in range(d):
        s = 0.0
        for e in range(i, d):
            s += whiten[e, i] * first[e]
        means_out[columns[i]] += s
        for j in range(d):
            s = 0.0
            for e in range(i, d):
                for f in range(j, d):
                    s += whiten[e, i] * whiten[f, j] * (second[e, f] - (count if e == f else 0.0))
            excess[i, j] = s
    for i in range(d):
        for j in range(min(columns[i] + 1, D)):
            s = 0.0
            for e in range(d):
                s += excess[i, e] * root[e, j]
            scale_out[columns[i], j] += s


@compiled(fastmath=FASTMATH)
def value_and_score_of_parts(statistics, parts, sample_weight, log_weights, means, scale_tril, diagonal):
    """Return what :func:`value_and_score` does, of rows sorted by the columns that they have.

    Parameters
    ----------
    parts : flat array
        Part by part: the number n of its rows, the number d of their columns, the columns, and the values (n, d).
    sample_weight : array of shape (N,)
        In the order of the parts; or empty for unit weights.
    """
    K = len(means)
    total, counts = 0.0, np.zeros(K)
    means_out, scale_out = np.zeros_like(means), np.zeros_like(scale_tril)
    at, row = 0, 0
    while at < parts.shape[0]:
        n, d = int(parts[at]), int(parts[at + 1])
        columns = parts[at + 2 : at + 2 + d].astype(np.int64)
        at += 2 + d
        X = parts[at : at + n * d].reshape((n, d))
        weight = sample_weight[row : row + n] if sample_weight.shape[0] > 0 else sample_weight
        centres, roots, factors = means[:, columns], scale_tril[:, columns], np.zeros((K, d, d))
        for k in range(K):
            _marginal_factor(roots[k], factors[k])
        value, own, first, second, whiten = statistics(X, weight, log_weights, centres, factors, diagonal)
        total += value
        for k in range(K):
            counts[k] += own[k]
            _add_marginal_score(own[k], first[k], second[k], whiten[k], roots[k], columns, means_out[k], scale_out[k])
        at, row = at + n * d, row + n
    return total, counts, means_out, scale_out


@compiled()
def given_score(statistics, numbers, sample_weight, log_weights, means, scale_tril, diagonal):
    """Return what :func:`value_and_score` would, from numbers that were found beforehand: value, (K,), (K, D) and (K, D, D), flat.

    So the rows may be anywhere, and the rest of a log-posterior need not know.
    """
    K, D = means.shape
    first, second = 1 + K, 1 + K + K * D
    counts = numbers[1:first].copy()
    return numbers[0], counts, numbers[first:second].copy().reshape((K, D)), numbers[second:].copy().reshape((K, D, D))


_ARGUMENTS = (STATISTICS._numba_type_, VECTOR, VECTOR, VECTOR, MATRIX, STACK, types.boolean)
_RESULT = types.Tuple((types.float64, VECTOR, MATRIX, STACK))
SCORE = Pointer(value_and_score, _RESULT, _ARGUMENTS)
SCORE_OF_PARTS = Pointer(value_and_score_of_parts, _RESULT, _ARGUMENTS)
GIVEN_SCORE = Pointer(given_score, _RESULT, _ARGUMENTS)
