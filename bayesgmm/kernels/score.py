"""Fisher's identity, compiled: from the E-step's statistics to the gradient of the log-likelihood."""

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
def known_score(statistics, rows, sample_weight, log_weights, means, scale_tril, diagonal):
    """Return what :func:`value_and_score` does, of rows of which more is known: their number, and their table, row by row."""
    n = int(rows[0])
    table = rows[1:].reshape((n, (rows.shape[0] - 1) // n))
    total, counts, first, second, whiten = statistics(table, sample_weight, log_weights, means, scale_tril, diagonal)
    means_out = np.zeros_like(means)
    scale_out = np.zeros_like(scale_tril)
    n_labels = len(log_weights)  # whose counts come first, and then those of rows
    score_from_statistics(counts[n_labels:], first, second, whiten, diagonal, means_out, scale_out)
    return total, counts[:n_labels].copy(), means_out, scale_out


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
KNOWN_SCORE = Pointer(known_score, _RESULT, _ARGUMENTS)
GIVEN_SCORE = Pointer(given_score, _RESULT, _ARGUMENTS)
