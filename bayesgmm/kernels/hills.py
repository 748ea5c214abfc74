"""Components of a mixture that are on one hill of its density, compiled."""

import math

import numpy as np

from bayesgmm.kernels.compile import FASTMATH, compiled
from bayesgmm.kernels.linalg import cholesky

_PLACES = 51
"""Places on each way between two means at which the density is looked at."""
_WIDE = 8.0
"""Log-odds of the ends of the ridge, beyond which it is at the means."""


@compiled(fastmath=FASTMATH)
def hills(log_weights, means, inverse, counts, depth, labels):
    """Fill ``labels`` (T, K) with the hill of each component that counts, numbered in the order of their first components, and -1.

    Two components are on one hill if the density of the whole mixture has no valley on one of two ways from mean to mean: the straight
    line, and the ridge of the two. A valley is at least a share ``depth`` below the lower of the tops on its sides.

    Parameters
    ----------
    log_weights : array of shape (T, K)
    means : array of shape (T, K, D)
    inverse : array of shape (T, K, D, D)
        Inverses of the Cholesky factors.
    counts : bool array of shape (T, K)
    depth : float
    labels : int array of shape (T, K)
    """
    T, K, D = means.shape
    precision, constant, first = np.empty((K, D, D)), np.empty(K), np.empty(K, np.int64)
    for t in range(T):
        mixture = (constant, means[t], inverse[t], counts[t])
        for k in range(K):
            first[k] = k
            if counts[t, k]:
                constant[k] = log_weights[t, k] + _precision(inverse[t, k], precision[k])
        for i in range(K):
            for j in range(i + 1, K):
                a, b = _root(first, i), _root(first, j)
                if counts[t, i] and counts[t, j] and a != b and _on_one_hill(i, j, precision, mixture, depth):
                    first[max(a, b)] = min(a, b)
        _number(first, counts[t], labels[t])


@compiled(fastmath=FASTMATH)
def _precision(inverse, precision):
    """Fill the precision matrix of an inverse factor, and return the logarithm of that factor's determinant."""
    log_det = 0.0
    for a in range(len(inverse)):
        log_det += math.log(inverse[a, a])
        for b in range(a + 1):
            s = 0.0
            for m in range(a, len(inverse)):
                s += inverse[m, a] * inverse[m, b]
            precision[a, b] = precision[b, a] = s
    return log_det


@compiled()
def _number(first, counts, labels):
    """Fill the labels (K,): numbers of the roots, in their order."""
    n = 0
    for k in range(len(first)):
        if not counts[k]:
            labels[k] = -1
        elif first[k] == k:
            labels[k] = n
            n += 1
        else:
            labels[k] = labels[_root(first, k)]


@compiled(fastmath=FASTMATH)
def _on_one_hill(i, j, precision, mixture, depth):
    """Say whether one of the two ways from mean to mean has no valley."""
    constant, means, inverse, counts = mixture
    D = means.shape[1]
    mixed, factor, place, apart = np.empty((D, D)), np.empty((D, D)), np.empty(D), np.empty(D)
    line = np.empty(_PLACES)
    for way in range(2):
        for p in range(_PLACES):
            share = p / (_PLACES - 1.0)
            if way == 0:
                for a in range(D):
                    place[a] = means[i, a] + share * (means[j, a] - means[i, a])
            else:
                share = 1.0 / (1.0 + math.exp(-_WIDE * (2.0 * share - 1.0)))
                _on_ridge(share, precision[i], precision[j], means[i], means[j], mixed, factor, place)
            line[p] = _log_density(place, constant, means, inverse, counts, apart)
        if not _has_valley(line, depth):
            return True
    return False


@compiled()
def _root(first, k):
    while first[k] != k:
        k = first[k]
    return k


@compiled(fastmath=FASTMATH)
def _on_ridge(share, left, right, one, other, mixed, factor, place):
    """Fill the place on the ridge of two components: the mean of their means, weighted by their precisions and their shares."""
    D = len(place)
    for a in range(D):
        place[a] = 0.0
        for b in range(D):
            mixed[a, b] = (1.0 - share) * left[a, b] + share * right[a, b]
            # Counted from the first mean, so that an offset costs no digits.
            place[a] += share * right[a, b] * (other[b] - one[b])
    cholesky(mixed, factor)
    for a in range(D):
        for m in range(a):
            place[a] -= factor[a, m] * place[m]
        place[a] /= factor[a, a]
    for a in range(D - 1, -1, -1):
        for m in range(a + 1, D):
            place[a] -= factor[m, a] * place[m]
        place[a] /= factor[a, a]
    for a in range(D):
        place[a] += one[a]


@compiled(fastmath=FASTMATH)
def _log_density(place, constant, means, inverse, counts, apart):
    top, total = -np.inf, 0.0
    D = len(place)
    for k in range(len(constant)):
        if not counts[k]:
            continue
        height = constant[k]
        for a in range(D):
            apart[a] = place[a] - means[k, a]
            s = 0.0
            for m in range(a + 1):
                s += inverse[k, a, m] * apart[m]
            height -= 0.5 * s * s
        if height > top:
            total = total * math.exp(top - height) + 1.0
            top = height
        elif height > -np.inf:
            total += math.exp(height - top)
    return top + math.log(total)


@compiled()
def _has_valley(line, depth):
    """Say whether the log-density on a way falls, by more than a share of the density, below the tops on both sides."""
    least, left = math.log1p(-depth), -np.inf
    for p in range(len(line)):
        left = max(left, line[p])
        right = -np.inf
        for q in range(p, len(line)):
            right = max(right, line[q])
        if line[p] < min(left, right) + least:
            return True
    return False
