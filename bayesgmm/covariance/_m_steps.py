"""The M-steps of all families but those with common axes, compiled: averages of scatter matrices, and variances along given axes.

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

With the axes of the components fixed, the M-step minimises ``sum_kj [n_k log v_kj + s_kj / v_kj]`` over the variances ``v`` that the first
two letters of a family allow, where ``s_kj`` is the scatter of component k along its j-th axis. In ``log v`` this is convex and the
constraints are linear, so whatever is iterated here ends in the one minimum, under a bound on the variances too. The formulas without a
bound are those of Celeux and Govaert (1995), Pattern Recognition 28, 781-793, table 1.
"""

import math

import numpy as np
from numba import types

from bayesgmm.kernels.compile import Pointer, compiled, never_inline
from bayesgmm.kernels.estep import STACK, VECTOR
from bayesgmm.kernels.linalg import LEAST, cholesky, is_above, raise_eigenvalues, sorted_eigen

ARGUMENTS = (STACK, VECTOR, STACK, types.int64, types.int64, types.float64, STACK)
RESULT = types.boolean
FULL, DIAGONAL, SPHERICAL = 0, 1, 2
SHARED = 3  # added where the components have one matrix
EQUAL, VARYING_VOLUMES, VARYING_SHAPES = 0, 1, 2
MOST_ROUNDS = 500
SETTLED = 1e-10  # relative change of a volume; the likelihood is then flat to the square of it
HALVINGS = 80
NOTHING = 1e-10  # of the bound
_EPS = np.finfo(float).eps


@compiled()
def average(scatter, counts, previous, rounds, variant, smallest, out):
    """VVV, VVI, VII and, with one matrix for all components, EEE, EEI, EII (Celeux and Govaert 1995, table 1)."""
    K, D, _ = scatter.shape
    shared, shape = variant >= SHARED, variant % SHARED
    total, met = summed(counts), False
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
        out[k] = out[0]
    return met


@compiled()
def summed(values):
    """Return the sum of some numbers (n,), one after the other."""
    total = 0.0
    for value in values:
        total += value
    return total


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


@compiled()
def least_spreads(scatter, counts, smallest):
    """Return the spreads (K,) that are nothing beside the bound, or, where there is none, beside those of the data.

    A component without any is taken to have so much, which keeps all numbers finite.
    """
    K, D, _ = scatter.shape
    if smallest > 0.0:
        return counts * (NOTHING * smallest)
    spread = 0.0
    for k in range(K):
        for j in range(D):
            spread += scatter[k, j, j]
    return counts * max(_EPS * _EPS * spread / (summed(counts) * D), 1e-200)


@compiled()
def structured(spread, counts, structure, smallest, start):
    """Return the best variances (K, D) for spreads (K, D); ``start`` (D,) has the shape to start from."""
    if structure == VARYING_VOLUMES:
        return varying_volumes(spread, counts, smallest, start)
    if structure == VARYING_SHAPES:
        return equal_volumes(spread, counts, smallest)
    variances, total = np.empty_like(spread), summed(counts)
    for j in range(spread.shape[1]):
        variances[:, j] = max(summed(spread[:, j]) / total, smallest)
    return variances


@compiled()
def meets(variances, smallest):
    """Say whether a variance (K, D) is at the bound."""
    least = np.inf
    for k in range(variances.shape[0]):
        for j in range(variances.shape[1]):
            least = min(least, variances[k, j])
    return least <= smallest


@compiled()
def varying_volumes(spread, counts, smallest, start):
    """Return variances ``volume_k shape_j``.

    Volumes and shape are each a closed formula given the other. If the bound is met on the way, it becomes ``volume_k >= smallest`` and
    ``shape_j >= 1``, which loses nothing: any allowed product can be written so that its smallest shape is one.
    """
    variances = equal_shapes(spread, counts, start, 0.0, 0.0)
    if smallest > 0.0 and meets(variances, smallest):
        return equal_shapes(spread, counts, start, smallest, 1.0)
    return variances


@compiled()
def equal_shapes(spread, counts, start, least_volume, least_shape):
    """Return variances ``volume_k shape_j`` (K, D) for spreads (K, D): volumes and shape, from a first guess (D,), in turn."""
    never_inline()
    K, D = spread.shape
    total, volumes, least = summed(counts), np.zeros(K), np.inf
    for j in range(D):
        least = min(least, start[j])
    shape = start / least
    for _ in range(MOST_ROUNDS):
        if fill_volumes(spread, counts, shape, least_volume, volumes):
            break
        for j in range(D):
            fill_shape(spread, volumes, total, least_shape, j, shape)
    return products(volumes, shape)


@compiled()
def products(volumes, shape):
    """Return the variances ``volume_k shape_j`` (K, D)."""
    return volumes.reshape((-1, 1)) * shape


@compiled()
def fill_volumes(spread, counts, shape, least, volumes):
    """Fill in the best volumes (K,) for a shape, and say whether they are those that were there."""
    K, D = spread.shape
    settled = True
    for k in range(K):
        s = 0.0
        for j in range(D):
            s += spread[k, j] / shape[j]
        s = max(s / (D * counts[k]), least)
        settled &= abs(s - volumes[k]) <= SETTLED * volumes[k]
        volumes[k] = s
    return settled


@compiled()
def fill_shape(spread, volumes, total, least, j, shape):
    """Fill in entry j of the best shape (D,) for volumes (K,)."""
    s = 0.0
    for k in range(len(volumes)):
        s += spread[k, j] / volumes[k]
    shape[j] = max(s / total, least)


@compiled()
def equal_volumes(spread, counts, smallest):
    """Return variances (K, D) whose product is the same for all components."""
    never_inline()
    K, D = spread.shape
    total, volume, variances = summed(counts), 0.0, np.empty((K, D))
    for k in range(K):
        middle = 0.0
        for j in range(D):
            variances[k, j] = math.log(spread[k, j])
            middle += variances[k, j] / D
        for j in range(D):
            variances[k, j] = math.exp(variances[k, j] - middle)
        volume += math.exp(middle)
    kept = True
    for k in range(K):
        for j in range(D):
            variances[k, j] *= volume / total
            kept &= variances[k, j] >= smallest
    if not kept:
        _bound_shapes(spread, total, smallest, variances)
    return variances


@compiled()
def _bound_shapes(spread, total, smallest, variances):
    """Fill in the variances under a bound: those not at it are ``s_kj / m_k``.

    The ``m_k`` are the multipliers of "the logs of a component's variances add up to L". They fall as L grows, and at the best L, if the
    bound allows it, they add up to the number of rows: one unknown, found by halving.
    """
    never_inline()
    K, D = spread.shape
    bound = math.log(smallest)
    low = high = D * bound
    descending = np.empty((K, D))
    for k in range(K):
        for j in range(D):
            x = math.log(spread[k, j])
            i = j
            while i > 0 and descending[k, i - 1] < x:
                descending[k, i] = descending[k, i - 1]
                i -= 1
            descending[k, i] = x
        high = max(high, D * (descending[k, 0] - math.log(total / K)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        share = 0.0
        for k in range(K):
            share += math.exp(min(_multiplier(descending[k], middle, bound) - math.log(total), 700.0))
        if share > 1:
            low = middle
        else:
            high = middle
    for k in range(K):
        multiplier = math.exp(_multiplier(descending[k], high, bound))
        for j in range(D):
            variances[k, j] = max(spread[k, j] / multiplier, smallest)


@compiled()
def _multiplier(descending, log_volume, bound):
    """Return log m for one component; with the largest spreads free, as many as give the largest m."""
    never_inline()
    D = len(descending)
    best, summed = -np.inf, 0.0
    for free in range(1, D + 1):
        summed += descending[free - 1]
        best = max(best, (summed + (D - free) * bound - log_volume) / free)
    return best


@compiled()
def along_features(scatter, counts, previous, rounds, variant, smallest, out):
    """VEI and EVI; see above for what the arguments are."""
    K, D, _ = scatter.shape
    least, spread, start = least_spreads(scatter, counts, smallest), np.empty((K, D)), np.empty(D)
    for k in range(K):
        for j in range(D):
            spread[k, j] = max(scatter[k, j, j], least[k])
    for j in range(D):
        start[j] = previous[0, j, j] if rounds > 0 else spread[0, j]
    variances = structured(spread, counts, variant, smallest, start)
    for k in range(K):
        out[k] = np.diag(variances[k])
    return meets(variances, smallest)


@compiled()
def own_axes(scatter, counts, previous, rounds, variant, smallest, out):
    """EEV, VEV and EVV: whatever the shapes, a component's best axes are those of its scatter, the longest with the longest."""
    K, D, _ = scatter.shape
    least, spread, axes = least_spreads(scatter, counts, smallest), np.empty((K, D)), np.empty((K, D, D))
    for k in range(K):
        sorted_eigen(scatter[k], spread[k], axes[k])
        for j in range(D):
            spread[k, j] = max(spread[k, j], least[k])
    start = spread[0].copy()
    if rounds > 0 and variant == VARYING_VOLUMES:
        sorted_eigen(previous[0], start, np.empty((D, D)))
        for j in range(D):
            start[j] = max(start[j], _EPS * _EPS * start[D - 1])
    variances = structured(spread, counts, variant, smallest, start)
    for k in range(K):
        compose(axes[k], variances[k], smallest, out[k])
    return meets(variances, smallest)


@compiled()
def compose(axes, variances, smallest, out):
    """Fill the matrix ``axes diag(variances) axes'`` (D, D).

    Where there is a bound, no variance is less than what rounding makes of zero beside the largest: at the bound, equal volumes may ask
    for variances so unlike that the matrix would have no factor.
    """
    never_inline()
    D = len(variances)
    least = 0.0
    for m in range(D if smallest > 0.0 else 0):
        least = max(least, LEAST * variances[m])
    for i in range(D):
        for j in range(i + 1):
            s = 0.0
            for m in range(D):
                s += axes[i, m] * axes[j, m] * max(variances[m], least)
            out[i, j] = s
            out[j, i] = s


AVERAGE = Pointer(average, RESULT, ARGUMENTS)
ALONG_FEATURES, OWN_AXES = Pointer(along_features, RESULT, ARGUMENTS), Pointer(own_axes, RESULT, ARGUMENTS)
