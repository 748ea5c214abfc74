"""Fisher's identity, compiled: from the E-step's statistics to the gradient of the log-likelihood."""

import numpy as np
from numba import njit

from bayesgmm.expectation._exp import FASTMATH


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def score_from_statistics(counts, first, second, whiten, diagonal, means_out, scale_out):
    """Fill the gradients with respect to means (K, D) and Cholesky factors (K, D, D); only the lower triangle of ``second`` is read.

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
                    v = second[k, e, j] if e >= j else second[k, j, e]
                    if e == j:
                        v -= counts[k]
                    s += whiten[k, e, d] * v
                scale_out[k, d, j] = s


def empty_score(K: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """Return zeroed outputs for :func:`score_from_statistics`."""
    return np.zeros((K, D)), np.zeros((K, D, D))
