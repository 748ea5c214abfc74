"""What many mixtures say of new rows besides responsibilities: their densities, nearest components and labels."""

import numpy as np

from bayesgmm.expectation._compile import FASTMATH, compiled
from bayesgmm.expectation._kernel import prepare


@compiled(fastmath=FASTMATH)
def nearest_rows(evaluate, X, start, stop, log_weights, offsets, means, scale_tril, diagonal, log_density, squared, votes):
    """Evaluate rows ``start .. stop`` under every draw.

    ``log_density`` and ``squared`` (n, T) get the log-density and the squared Mahalanobis distance to the component that is nearest by
    it; ``votes`` (n, K) counts the draws under which a component is the most probable. ``offsets (T, K)`` is ``log w - log det L`` less
    the normal density's constant: what is left of a log joint density is minus half the squared distance.
    """
    T, K, _ = means.shape
    n = stop - start
    joint, density, empty = np.empty((n, K)), np.empty(n), np.empty((0, K))
    for t in range(T):
        prepared = prepare(log_weights[t], means[t], scale_tril[t], diagonal)
        evaluate(X, start, stop, prepared, diagonal, joint, empty, density)
        for i in range(n):
            best, nearest = 0, np.inf
            for k in range(K):
                if joint[i, k] > joint[i, best]:
                    best = k
                if log_weights[t, k] > -np.inf:  # a component without weight is not there to be near
                    nearest = min(nearest, 2.0 * (offsets[t, k] - joint[i, k]))
            votes[i, best] += 1.0
            squared[i, t] = max(nearest, 0.0)
            log_density[i, t] = density[i]
