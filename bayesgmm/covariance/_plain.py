"""The M-steps with a closed formula, compiled: averages of scatter matrices, for one component or all.

Every M-step has the same arguments, so that a run of EM may be given any of them:

scatter (K, D, D), counts (K,)
    Expected sums over rows of ``(x - mean_k)(x - mean_k)'``, and how many rows they are of.
previous (K, D, D), rounds
    Where there is no formula: the covariances to start a search from, and for how many rounds at most; with zero rounds the search starts
    anywhere and goes on to the end.
variant
    Which of the families that the function serves.
smallest
    Bound on the eigenvalues.
out (K, D, D)
    The covariances; other memory than ``previous``.

It returns whether the bound was met.
"""

import numpy as np
from numba import types

from bayesgmm.kernels.compile import Pointer, compiled, never_inline
from bayesgmm.kernels.linalg import cholesky, is_above, raise_eigenvalues

ARGUMENTS = (
    types.float64[:, :, ::1],
    types.float64[::1],
    types.float64[:, :, ::1],
    types.int64,
    types.int64,
    types.float64,
    types.float64[:, :, ::1],
)
RESULT = types.boolean
FULL, DIAGONAL, SPHERICAL = 0, 1, 2
SHARED = 3  # added where the components have one matrix


@compiled()
def average(scatter, counts, previous, rounds, variant, smallest, out):
    """VVV, VVI, VII and, with one matrix for all components, EEE, EEI, EII (Celeux and Govaert 1995, table 1)."""
    K, D, _ = scatter.shape
    shared, shape = variant >= SHARED, variant % SHARED
    total = 0.0
    for k in range(K):
        total += counts[k]
    met = False
    for k in range(1 if shared else K):
        for i in range(D):
            for j in range(i + 1):
                s = 0.0
                if i == j or shape == FULL:
                    for m in range(0 if shared else k, K if shared else k + 1):
                        s += scatter[m, i, j]
                out[k, i, j] = s / (total if shared else counts[k])
                out[k, j, i] = out[k, i, j]
        if shape != FULL:
            met |= _bound_variances(out[k], shape == SPHERICAL, smallest)
        elif smallest > 0.0:
            met |= _bound(out[k], smallest)
    for k in range(1, K if shared else 1):
        for i in range(D):
            for j in range(D):
                out[k, i, j] = out[0, i, j]
    return met


@compiled()
def _bound(matrix, smallest):
    """Raise the eigenvalues of a matrix to the bound; says whether any was below."""
    never_inline()
    factor = np.zeros_like(matrix)
    return not (cholesky(matrix, factor) and is_above(factor, smallest)) and raise_eigenvalues(matrix, smallest)


@compiled()
def _bound_variances(matrix, is_spherical, smallest):
    """Do the same for a diagonal matrix, whose entries are averaged first if it is to be a multiple of the identity."""
    D = len(matrix)
    mean = 0.0
    for d in range(D):
        mean += matrix[d, d] / D
    met = False
    for d in range(D):
        variance = mean if is_spherical else matrix[d, d]
        met |= variance < smallest
        matrix[d, d] = max(variance, smallest)
    return met


AVERAGE = Pointer(average, RESULT, ARGUMENTS)
