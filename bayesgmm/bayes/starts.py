"""Where chains start: in the modes that EM found, by their height."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from bayesgmm.bayes.density import LogPosterior
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["chain_starts"]

CREDIBLE = 5.0
"""Nats below the highest mode at which another may still hold posterior mass worth a chain: 1/150, were both as wide. A chain in a lower
one would stand for a quarter of the draws and for next to nothing of the posterior."""


def chain_starts(density: LogPosterior, X: FloatArray, modes: Sequence[MixtureParams], chains: int, seed: int) -> FloatArray:
    """Choose a mode for each chain to start in.

    The first chain starts in the highest mode. If another mode is credible, the last chain starts in the highest of these, so that a
    posterior with several modes shows itself; the chains between choose by the modes' heights. Of a mode that no chain starts in, nothing
    would be seen: chains hardly ever cross from one to another.

    Parameters
    ----------
    density : LogPosterior
    X : array of shape (N, D)
        The rows that modes are compared at.
    modes : sequence of MixtureParams
        Maxima of the likelihood, in the density's coordinates, the one to prefer among equals first.
    chains : int
    seed : int

    Returns
    -------
    array of shape (chains, n_dim)
        Unconstrained starts; chains that start in one mode stand together, the highest mode first.
    """
    points = [density.space.unconstrain(mode) for mode in modes]
    heights = np.array([density(point)[0] for point in points])
    heights[~np.isfinite(heights)] = -np.inf
    order = [int(m) for m in np.argsort(-heights, kind="stable")]
    best = heights[order[0]]
    credible = order[:1]
    for m in order[1:]:
        if best - heights[m] < CREDIBLE and not any(modes[m].resembles(modes[other], X) for other in credible):
            credible.append(m)
    if chains == 1 or len(credible) == 1:
        return np.tile(points[order[0]], (chains, 1))
    between = np.random.default_rng(seed).choice(len(credible), chains - 2, p=softmax(heights[credible]))
    return np.stack([points[credible[i]] for i in sorted([0, 1, *(int(i) for i in between)])])
