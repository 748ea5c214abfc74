"""A mixture as a point: numbers without units in which EM's steps can be extrapolated and combined."""

from __future__ import annotations

import numpy as np

from bayesgmm.em.steps import Mixture
from bayesgmm.typing import FloatArray

__all__ = ["mixture_at", "point_of"]


def point_of(mixture: Mixture, base: Mixture) -> FloatArray:
    """Return a mixture's log weights, and its means and Cholesky factors in another's own units, the factors' diagonals as logs.

    The base itself is at zero but for its log weights, so that small steps from it keep all their digits.
    """
    means = np.linalg.solve(base.scale_tril, (mixture.means - base.means)[..., None])[..., 0]
    factors = np.linalg.solve(base.scale_tril, mixture.scale_tril)
    i = np.arange(factors.shape[-1])
    factors[:, i, i] = np.log(np.maximum(factors[:, i, i], np.finfo(float).tiny))
    return np.concatenate([mixture.log_weights, means.ravel(), factors.ravel()])


def mixture_at(point: FloatArray, base: Mixture) -> Mixture:
    """Undo :func:`point_of`; weights are made to add up to one, and diagonals not beyond all measure."""
    K, D = base.means.shape
    logs, means, factors = np.split(point, np.cumsum([len(base.log_weights), K * D]))
    means = base.means + (base.scale_tril @ means.reshape(K, D, 1))[..., 0]
    factors = np.tril(factors.reshape(K, D, D))
    i = np.arange(D)
    factors[:, i, i] = np.exp(np.clip(factors[:, i, i], -50, 50))
    return Mixture(logs - np.logaddexp.reduce(logs), means, np.tril(base.scale_tril @ factors))
