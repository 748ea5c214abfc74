"""The E-step on rows with missing values, compiled: every pattern's pass over its rows, carried over to all columns, in one call.

What it computes is said in :mod:`bayesgmm.rows.missing`.
"""

import math

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, compiled, never_inline


@compiled(fastmath=FASTMATH)
def marginal(scale_tril, columns, factor, back):
    """Fill the Cholesky factor (d, d) of the covariance of some columns, and the way back (D, d) from their whitened coordinates.

    With L_o the rows of L for those columns, L_o' = Q R gives the factor R' and Q. Rows are made orthogonal twice to those before, which
    leaves them so to all digits (Giraud, Langou and Rozloznik 2005, Computers and Mathematics with Applications 50, 1069-1075).
    """
    never_inline()
    D, d = back.shape
    for j in range(d):
        for m in range(D):
            back[m, j] = scale_tril[columns[j], m] if m <= columns[j] else 0.0
        for i in range(d):
            factor[j, i] = 0.0
        for _ in range(2):
            for i in range(j):
                s = 0.0
                for m in range(D):
                    s += back[m, i] * back[m, j]
                factor[j, i] += s
                for m in range(D):
                    back[m, j] -= s * back[m, i]
        s = 0.0
        for m in range(D):
            s += back[m, j] * back[m, j]
        factor[j, j] = math.sqrt(s)
        for m in range(D):
            back[m, j] /= factor[j, j]


@compiled()
def gapped_statistics(pass_over, values, n_rows, columns, n_columns, weight, mixture, diagonal, counts, first, second):
    """Add up counts (K,) and moments (K, D), (K, D, D) over all patterns; returns the log-likelihood.

    Parameters
    ----------
    pass_over : Pointer
        The pass over complete rows.
    values : array
        The values that are there, pattern after pattern, row after row.
    n_rows : int array of shape (P,)
    columns : int array of shape (P, D)
        Which columns a pattern has, in its first ``n_columns`` (P,) entries.
    weight : array of shape (N,)
        Of the rows in this order, or empty for unit weights.
    mixture : tuple of arrays of shape (K,), (K, D), (K, D, D)
        Log weights, means and Cholesky factors.
    diagonal : bool
    counts, first, second : arrays
        Zeros.
    """
    log_weights, means, scale_tril = mixture
    K, D = means.shape
    total, place, row = 0.0, 0, 0
    weighted = weight.shape[0] > 0
    turned = np.empty((D, D))
    for p in range(len(n_rows)):
        n, d = n_rows[p], n_columns[p]
        of_rows = weight[row : row + n] if weighted else weight
        row += n
        if d == 0:  # the rows are in component k with probability w_k, and tell nothing about it
            known = of_rows.sum() if weighted else float(n)
            for k in range(K):
                share = known * math.exp(log_weights[k])
                counts[k] += share
                for i in range(D):
                    second[k, i, i] += share
            continue
        X = values[place : place + n * d].reshape((n, d))
        place += n * d
        centres, factors, back = np.empty((K, d)), np.empty((K, d, d)), np.empty((K, D, d))
        for k in range(K):
            marginal(scale_tril[k], columns[p, :d], factors[k], back[k])
            for j in range(d):
                centres[k, j] = means[k, columns[p, j]]
        value, own, shift, scatter, _ = pass_over(X, of_rows, log_weights, centres, factors, diagonal)
        total += value
        for k in range(K):
            counts[k] += own[k]
            for i in range(D):
                for j in range(d):
                    first[k, i] += back[k, i, j] * shift[k, j]
                    # z given what was seen has the covariance I - Q Q'.
                    s = -own[k] * back[k, i, j]
                    for m in range(d):
                        s += back[k, i, m] * scatter[k, m, j]
                    turned[i, j] = s
            for i in range(D):
                second[k, i, i] += own[k]
                for e in range(1 if diagonal else i + 1):
                    column = i if diagonal else e
                    s = 0.0
                    for j in range(d):
                        s += turned[i, j] * back[k, column, j]
                    second[k, i, column] += s
    for k in range(K):
        for i in range(D):
            for e in range(i):
                second[k, e, i] = second[k, i, e]
    return total
