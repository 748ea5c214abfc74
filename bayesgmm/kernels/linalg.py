"""Small dense matrices, compiled: factors, eigenvalues, a floor under them.

Loops stand where NumPy's functions would do, because these take numba many times as long to compile, and calls of LAPACK cost more than
the work on matrices of a few rows.
"""

import math

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, compiled, never_inline

_SWEEPS = 60  # Jacobi's method is done after about ten
LEAST = 1e-14
"""Smallest eigenvalue, as a share of the largest, that is not mere rounding of the matrix's entries."""


@compiled(fastmath=FASTMATH)
def cholesky(matrix, factor):
    """Fill the lower factor of a matrix given by its lower triangle (both D, D), and say whether there is one."""
    for j in range(len(matrix)):
        for i in range(j, len(matrix)):
            s = matrix[i, j]
            for m in range(j):
                s -= factor[i, m] * factor[j, m]
            if i > j:
                factor[i, j] = s / factor[j, j]
            elif s > 0.0:
                factor[j, j] = math.sqrt(s)
            else:
                return False
    return True


@compiled(fastmath=FASTMATH)
def lower_product(left, right, out):
    """Fill the lower triangle of ``out`` with the product of two lower triangular matrices."""
    for i in range(len(out)):
        for j in range(i + 1):
            s = 0.0
            for m in range(j, i + 1):
                s += left[i, m] * right[m, j]
            out[i, j] = s


@compiled(fastmath=FASTMATH)
def squared(factor, out):
    """Fill ``out`` with F F' for a lower triangular F."""
    for i in range(len(out)):
        for j in range(i + 1):
            s = 0.0
            for m in range(j + 1):
                s += factor[i, m] * factor[j, m]
            out[i, j] = s
            out[j, i] = s


@compiled(fastmath=FASTMATH)
def is_above(factor, floor):
    """Say whether every eigenvalue of F F', F lower triangular, is surely above the floor, at a fraction of the cost of finding them.

    The sum of the squares in F^-1 is the sum of the eigenvalues' inverses, and so at least the inverse of the least of them.
    """
    D = len(factor)
    column = np.empty(D)
    total = 0.0
    for j in range(D):
        for i in range(j, D):
            s = 1.0 if i == j else 0.0
            for m in range(j, i):
                s -= factor[i, m] * column[m]
            column[i] = s / factor[i, i]
            total += column[i] * column[i]
    return floor * total <= 1.0


@compiled(fastmath=FASTMATH)
def eigen(matrix, vectors):
    """Put the eigenvalues of a symmetric matrix (D, D) on its diagonal, and fill ``vectors`` with its eigenvectors, one a row.

    Jacobi's method by rows of the lower triangle (Golub and Van Loan 2013, Matrix Computations, section 8.5): accurate, and quicker than
    LAPACK's on matrices of a few rows.
    """
    never_inline()
    D = len(matrix)
    size = 0.0
    for i in range(D):
        for j in range(D):
            vectors[i, j] = 1.0 if i == j else 0.0
            size += matrix[max(i, j), min(i, j)] ** 2
    for _ in range(_SWEEPS):
        done = True
        for p in range(D):
            for q in range(p):
                # Relative to the diagonal, so that small eigenvalues of matrices in very unlike units have all their digits, too
                # (Demmel and Veselic 1992, SIAM Journal on Matrix Analysis and Applications 13, 1204-1245).
                off = matrix[p, q] ** 2
                if off > max(1e-32 * abs(matrix[p, p] * matrix[q, q]), 1e-40 * size):
                    done = False
                    _rotate(matrix, vectors, p, q)
        if done:
            return


@compiled(fastmath=FASTMATH)
def _rotate(matrix, vectors, p, q):
    """Turn the plane of p and q, p the larger, so that the lower triangle has a zero there."""
    D, off = len(matrix), matrix[p, q]
    half = 0.5 * (matrix[p, p] - matrix[q, q])
    t = off / (abs(half) + math.sqrt(half * half + off * off))
    if half < 0.0:
        t = -t
    c = 1.0 / math.sqrt(1.0 + t * t)
    s = t * c
    matrix[q, q] -= t * off
    matrix[p, p] += t * off
    matrix[p, q] = 0.0
    for i in range(q):
        a, b = matrix[q, i], matrix[p, i]
        matrix[q, i], matrix[p, i] = c * a - s * b, s * a + c * b
    for i in range(q + 1, p):
        a, b = matrix[i, q], matrix[p, i]
        matrix[i, q], matrix[p, i] = c * a - s * b, s * a + c * b
    for i in range(p + 1, D):
        a, b = matrix[i, q], matrix[i, p]
        matrix[i, q], matrix[i, p] = c * a - s * b, s * a + c * b
    for i in range(D):
        a, b = vectors[q, i], vectors[p, i]
        vectors[q, i], vectors[p, i] = c * a - s * b, s * a + c * b


@compiled()
def sorted_eigen(matrix, values, vectors):
    """Fill the eigenvalues (D,) of a symmetric matrix (D, D), smallest first, and its eigenvectors (D, D), one a column."""
    never_inline()
    D = len(matrix)
    found, rows = matrix.copy(), np.empty_like(vectors)
    eigen(found, rows)
    place = np.arange(D)
    for j in range(1, D):
        i = j
        while i > 0 and found[place[i - 1], place[i - 1]] > found[place[i], place[i]]:
            place[i - 1], place[i] = place[i], place[i - 1]
            i -= 1
    for j in range(D):
        values[j] = found[place[j], place[j]]
        for i in range(D):
            vectors[i, j] = rows[place[j], i]


@compiled()
def raise_eigenvalues(matrix, floor):
    """Raise the eigenvalues of a symmetric matrix (D, D) to the floor, or to what rounding makes of zero; says whether any was below."""
    never_inline()
    D = len(matrix)
    found, vectors = matrix.copy(), np.empty((D, D))
    least, largest = np.inf, 0.0
    eigen(found, vectors)
    for d in range(D):
        least, largest = min(least, found[d, d]), max(largest, found[d, d])
    floor = max(floor, LEAST * largest)
    if least >= floor:
        return False
    for i in range(D):
        for j in range(i + 1):
            s = 0.0
            for m in range(D):
                s += vectors[m, i] * vectors[m, j] * max(found[m, m], floor)
            matrix[i, j] = s
            matrix[j, i] = s
    return True
