"""Fisher's identity, compiled: from the E-step's statistics to the gradient of the log-likelihood."""

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled
from bayesgmm.expectation._kernel import statistics


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
def value_and_score(X, sample_weight, log_weights, means, scale_tril, diagonal):
    """Return the log-likelihood of X (N, D) and its gradients (K,), (K, D), (K, D, D), in one pass on the calling thread.

    ``sample_weight`` is (N,), or empty for unit weights. Under ``diagonal`` everything off the diagonals counts as zero.
    """
    total, counts, first, second, whiten = statistics(X, sample_weight, log_weights, means, scale_tril, diagonal)
    means_out = np.zeros_like(means)
    scale_out = np.zeros_like(scale_tril)
    score_from_statistics(counts, first, second, whiten, diagonal, means_out, scale_out)
    return total, counts, means_out, scale_out


def empty_score(K: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """Return zeroed outputs for :func:`score_from_statistics`."""
    return np.zeros((K, D)), np.zeros((K, D, D))
