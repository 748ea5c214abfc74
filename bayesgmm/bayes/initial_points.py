"""Where chains start: in the modes that EM found, by the posterior mass about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from bayesgmm.bayes.laplace import climb, log_mass
from bayesgmm.bayes.log_posterior import LogDensity
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["initial_points"]

CREDIBLE = 5.0
"""Nats below the heaviest mode at which another still has posterior mass worth a chain: 1/150. A chain in a lower one would stand for a
quarter of the draws and for next to nothing of the posterior."""
_HOPELESS = 50.0
"""Nats below the highest start at which another is not looked at."""


def initial_points(density: LogDensity, X: FloatArray, modes: Sequence[MixtureParams], chains: int, seed: int) -> FloatArray:
    """Choose a mode for each chain to start in.

    Every maximum of the likelihood is followed to the posterior's own mode, whose mass is that of Laplace's approximation. The first chain
    starts in the heaviest mode. If another mode is credible, the last chain starts in the heaviest of these, so that a posterior with
    several modes shows itself; the chains between choose by mass. Of a mode that no chain starts in, nothing would be seen: chains hardly
    ever cross from one to another. Of rows in chunks, each step of a climb would be a pass over them, and heights alone decide.

    Parameters
    ----------
    density : LogDensity
    X : array of shape (N, D)
        The rows that modes are compared at.
    modes : sequence of MixtureParams
        Maxima of the likelihood, in the density's coordinates, the one to prefer among equals first.
    chains : int
    seed : int

    Returns
    -------
    array of shape (chains, n_dim)
        The modes on the unconstrained space; chains that start in one mode stand together, the heaviest mode first.

    Notes
    -----
    Laplace's approximation: Tierney and Kadane (1986), Journal of the American Statistical Association 81, 82-86.
    """
    points = [density.space.unconstrain(mode) for mode in modes]
    heights = np.array([density(point)[0] for point in points])
    heights[~np.isfinite(heights)] = -np.inf
    best = heights.max()
    distinct: list[tuple[FloatArray, MixtureParams]] = []  # the modes, and their mixtures
    for m in np.argsort(-heights, kind="stable"):
        if distinct and not best - heights[m] < _HOPELESS:
            continue
        top = points[m] if density.is_expensive else climb(density, points[m])
        mixture = density.space.constrain(top)
        if not any(mixture.resembles(other, X) for _, other in distinct):
            distinct.append((top, mixture))
    if len(distinct) == 1:
        return np.tile(distinct[0][0], (chains, 1))
    masses = np.array([density(top)[0] if density.is_expensive else log_mass(density, top) for top, _ in distinct])
    order = [int(m) for m in np.argsort(-masses, kind="stable") if masses.max() - masses[m] < CREDIBLE]
    starts = [distinct[m][0] for m in order]
    if chains == 1 or len(order) == 1:
        return np.tile(starts[0], (chains, 1))
    between = np.random.default_rng(seed).choice(len(order), chains - 2, p=softmax(masses[order]))
    return np.stack([starts[i] for i in sorted([0, 1, *(int(i) for i in between)])])
