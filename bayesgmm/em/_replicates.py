"""EM for replicates, compiled: a whole run per call, on the calling thread, so that the threads share out the replicates.

A bootstrap makes a thousand short runs on small data; between two E-steps of the kernel there must be no Python. The M-step is
:mod:`bayesgmm.em.steps`'s for the four covariance families with a closed form, with the same floor. Loops stand where NumPy's functions
would do, because these take numba many times as long to compile.
"""

import math

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled
from bayesgmm.expectation._kernel import statistics

FULL, TIED, DIAGONAL, SPHERICAL = 0, 1, 2, 3
REGULAR, FLOORED, COLLAPSED = 0, 1, 2
_EMPTY = 10 * np.finfo(float).eps  # the least expected number of rows that anything is divided by
ROUNDING = 4 * np.finfo(float).eps
"""A gain of so little, relative to the log-likelihood, is none."""
STEADY = 0.02
_SWEEPS = 60  # Jacobi's method is done after about ten


@compiled(fastmath=FASTMATH)
def _add_scatter(n, first, second, factor, mean, scatter):
    """Move ``mean`` (D,) to the component's new mean and add its scatter about it (D, D), turned back by the old factor (D, D)."""
    D = len(first)
    half = np.zeros((D, D))
    for i in range(D):
        for j in range(i + 1):
            mean[i] += factor[i, j] * first[j] / n
            for m in range(D):
                half[i, m] += factor[i, j] * (second[j, m] - first[j] * first[m] / n)
    for i in range(D):
        for j in range(i + 1):
            for m in range(j + 1):
                scatter[i, j] += half[i, m] * factor[j, m]


@compiled(fastmath=FASTMATH)
def _add_variances(n, first, second, factor, mean, scatter):
    """Do the work of :func:`_add_scatter` for a diagonal factor."""
    for d in range(len(first)):
        shift = first[d] / n
        mean[d] += factor[d, d] * shift
        scatter[d, d] += factor[d, d] ** 2 * (second[d, d] - n * shift * shift)


@compiled(fastmath=FASTMATH)
def _cholesky(matrix, factor):
    """Fill the lower factor of a matrix given by its lower triangle (all D, D), and say whether there is one."""
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
def _lower_product(left, right, out):
    """Fill ``out`` with the product of two lower triangular matrices."""
    for i in range(len(out)):
        for j in range(i + 1):
            out[i, j] = 0.0
            for m in range(j, i + 1):
                out[i, j] += left[i, m] * right[m, j]


@compiled(fastmath=FASTMATH)
def _is_above(inside, floor):
    """Say whether every eigenvalue of F F', F lower triangular, is surely above the floor, at a fraction of the cost of finding them.

    The sum of the squares in F^-1 is the sum of the eigenvalues' inverses, and so at least the inverse of the least of them.
    """
    D = len(inside)
    column = np.empty(D)
    total = 0.0
    for j in range(D):
        for i in range(j, D):
            s = 1.0 if i == j else 0.0
            for m in range(j, i):
                s -= inside[i, m] * column[m]
            column[i] = s / inside[i, i]
            total += column[i] * column[i]
    return floor * total <= 1.0


@compiled()
def eigen(matrix, vectors):
    """Turn a symmetric matrix (D, D) diagonal, its eigenvalues, and fill ``vectors`` with its eigenvectors, one a column.

    Jacobi's method by rows (Golub and Van Loan 2013, Matrix Computations, section 8.5): slower than LAPACK's, accurate, and rarely needed.
    """
    D = len(matrix)
    size = 0.0
    for i in range(D):
        for j in range(D):
            vectors[i, j] = 1.0 if i == j else 0.0
            size += matrix[i, j] ** 2
    for _ in range(_SWEEPS):
        off = 0.0
        for p in range(D):
            for q in range(p):
                off += matrix[p, q] ** 2
                _rotate(matrix, vectors, q, p)
        if off <= 1e-32 * size:
            return


@compiled()
def _rotate(matrix, vectors, p, q):
    """Turn the plane of p and q so that the matrix has a zero there."""
    if matrix[p, q] == 0.0:
        return
    tau = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
    t = 1.0 / (abs(tau) + math.sqrt(1.0 + tau * tau))
    if tau < 0.0:
        t = -t
    c = 1.0 / math.sqrt(1.0 + t * t)
    s = t * c
    for i in range(len(matrix)):
        a, b = matrix[i, p], matrix[i, q]
        matrix[i, p], matrix[i, q] = c * a - s * b, s * a + c * b
        a, b = vectors[i, p], vectors[i, q]
        vectors[i, p], vectors[i, q] = c * a - s * b, s * a + c * b
    for i in range(len(matrix)):
        a, b = matrix[p, i], matrix[q, i]
        matrix[p, i], matrix[q, i] = c * a - s * b, s * a + c * b


@compiled()
def _sandwich(outer, matrix, out):
    """Fill ``out`` with ``outer matrix outer'`` for a lower triangular ``outer`` and a symmetric matrix given by its lower triangle."""
    D = len(out)
    half = np.zeros((D, D))
    for i in range(D):
        for m in range(i + 1):
            for j in range(D):
                half[i, j] += outer[i, m] * matrix[max(m, j), min(m, j)]
    for i in range(D):
        for j in range(D):
            out[i, j] = 0.0
            for m in range(j + 1):
                out[i, j] += half[i, m] * outer[j, m]


@compiled()
def raise_eigenvalues(matrix, inward, outward, floor):
    """Raise eigenvalues of a covariance, given by its lower triangle, to the floor in the frame's coordinates; says whether any was.

    ``inward`` leads into those coordinates and ``outward`` back; both are lower triangular.
    """
    D = len(matrix)
    inside, vectors, raised = np.empty((D, D)), np.empty((D, D)), np.zeros((D, D))
    _sandwich(inward, matrix, inside)
    eigen(inside, vectors)
    least = inside[0, 0]
    for d in range(D):
        least = min(least, inside[d, d])
    if least >= floor:
        return False
    for i in range(D):
        for j in range(i + 1):
            for m in range(D):
                raised[i, j] += vectors[i, m] * vectors[j, m] * max(inside[m, m], floor)
    _sandwich(outward, raised, matrix)
    return True


@compiled()
def _bounded_factor(matrix, inward, outward, floor, factor):
    """Fill the factor of a covariance given by its lower triangle, its eigenvalues no less than the floor in the frame's coordinates.

    Returns which of REGULAR, FLOORED and COLLAPSED it is; the matrix is changed.
    """
    found = _cholesky(matrix, factor)
    if floor == 0.0:
        return REGULAR if found else COLLAPSED
    if found:
        inside = np.empty_like(factor)
        _lower_product(inward, factor, inside)
        if _is_above(inside, floor):
            return REGULAR
    if not raise_eigenvalues(matrix, inward, outward, floor):
        return REGULAR if found else COLLAPSED
    return FLOORED if _cholesky(matrix, factor) else COLLAPSED


@compiled()
def _bounded_diagonal(matrix, outward, floor, spherical, factor):
    """Do the work of :func:`_bounded_factor` for diagonal matrices, whose frame is diagonal too."""
    D = len(matrix)
    state = REGULAR
    shared = 0.0
    for d in range(D):
        shared += matrix[d, d] / D
    for d in range(D):
        variance = shared if spherical else matrix[d, d]
        least = floor * outward[d, d] ** 2
        if variance < least:
            variance, state = least, FLOORED
        if not variance > 0.0:
            return COLLAPSED
        factor[d, d] = math.sqrt(variance)
    return state


@compiled()
def m_step(counts, first, second, family, ridge, inward, outward, floor, log_weights, means, scale_tril):
    """Overwrite a mixture by the one that maximises the expected complete-data log-likelihood; returns the worst state of a component.

    Celeux and Govaert (1995), Pattern Recognition 28, 781-793, table 1.
    """
    K, D = means.shape
    total = 0.0
    for k in range(K):
        counts[k] = max(counts[k], _EMPTY)
        total += counts[k]
    scatters = np.zeros((K, D, D))
    for k in range(K):
        log_weights[k] = math.log(counts[k] / total)
        scatter = scatters[0 if family == TIED else k]
        if family >= DIAGONAL:
            _add_variances(counts[k], first[k], second[k], scale_tril[k], means[k], scatter)
        else:
            _add_scatter(counts[k], first[k], second[k], scale_tril[k], means[k], scatter)
    worst = REGULAR
    for k in range(1 if family == TIED else K):
        matrix, n = scatters[k], total if family == TIED else counts[k]
        for i in range(D):
            for j in range(i + 1):
                matrix[i, j] = matrix[i, j] / n + (ridge if i == j else 0.0)
        if family >= DIAGONAL:
            state = _bounded_diagonal(matrix, outward, floor, family == SPHERICAL, scale_tril[k])
        else:
            state = _bounded_factor(matrix, inward, outward, floor, scale_tril[k])
        worst = max(worst, state)
    if family == TIED:
        for k in range(1, K):
            _copy(scale_tril[0], scale_tril[k])
    return worst


@compiled()
def _copy(source, target):
    """Copy a matrix."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@compiled()
def seems_still(first, before, gain, enough):
    """Say whether less than ``enough`` is left to gain after three gains in a row, the last of them ``gain``.

    Gains of linear convergence are a geometric series, whose rest is known from two of its terms (Aitken; Boehning, Dietz, Schaub,
    Schlattmann and Lindsay 1994, Annals of the Institute of Statistical Mathematics 46, 373-388). While their ratio still rises, faster
    components of the error die out and the slowest has yet to show itself: that takes a third term to see.
    """
    if gain <= 1e-3 * enough:
        return True
    if not (gain < before and before < first):
        return False
    rate = gain / before
    return rate < before / first + STEADY and gain * rate < (1.0 - rate) * enough


@compiled()
def run(X, weight, family, ridge, inward, outward, floor, tol, max_iter, log_weights, means, scale_tril):
    """Run EM from a mixture, which is overwritten by where it ends.

    ``weight`` is (N,), or empty for unit weights; ``inward`` and ``outward`` (D, D) lead into the coordinates of the floor and back.
    Returns (log-likelihood, iterations, converged, state); after a collapse the mixture is not to be used.
    """
    diagonal = family >= DIAGONAL
    total = float(len(X)) if len(weight) == 0 else 0.0
    for i in range(len(weight)):
        total += weight[i]
    value, counts, first, second, _ = statistics(X, weight, log_weights, means, scale_tril, diagonal)
    first_gain = before = gain = np.inf
    state = REGULAR
    for i in range(max_iter):
        state = m_step(counts, first, second, family, ridge, inward, outward, floor, log_weights, means, scale_tril)
        if state == COLLAPSED:
            return value, i, False, COLLAPSED
        first_gain, before, last = before, gain, value
        value, counts, first, second, _ = statistics(X, weight, log_weights, means, scale_tril, diagonal)
        gain = value - last
        enough = tol * total
        if ridge > 0.0:  # scikit-learn's rule: EM then climbs something else than the likelihood
            still = abs(gain) < enough
        else:
            still = gain <= ROUNDING * abs(value) or (first_gain < np.inf and seems_still(first_gain, before, gain, enough))
        if still:
            return value, i + 1, True, state
    return value, max_iter, False, state
