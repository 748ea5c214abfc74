"""The unconstrained space on which chains move: the one PyMC gives the model of ``build_model``.

One vector q holds, in this order, the weights (K - 1 numbers, PyMC's simplex transform), the means (K, D), the logs of the
standard deviations (in the family's shape) and, where there are correlations, D (D - 1) / 2 numbers for each Cholesky factor of a
correlation matrix (PyMC's Cholesky-correlation transform, which stores the lower triangle in a spiral). All but the weights are those of
the mixture in the frame of the priors, before rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Space", "spiral"]


@dataclass(frozen=True, eq=False)
class Space:
    """Where each parameter of a mixture of K components in D dimensions lies in q, and how to come and go.

    Parameters
    ----------
    priors : ResolvedPriors
        Their frame and rounding lie between q and a mixture of the data.
    family : Family
    """

    priors: ResolvedPriors
    family: Family

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.priors.means_loc)

    @property
    def n_features(self) -> int:
        """Number of columns D."""
        return self.priors.means_loc.shape[1]

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Numbers in q for weights, means, standard deviations and correlations."""
        K, D = self.n_components, self.n_features
        return K - 1, K * D, int(np.prod(self.sds_shape)), self.n_matrices * self.n_pairs

    @cached_property
    def n_dim(self) -> int:
        """Length of q."""
        return sum(self.sizes)

    @property
    def sds_shape(self) -> tuple[int, ...]:
        """Shape of the free standard deviations."""
        return self.family.sds_shape(self.n_components, self.n_features)

    @property
    def n_matrices(self) -> int:
        """Number of free correlation matrices."""
        if not self.family.has_correlations(self.n_features):
            return 0
        return self.family.n_blocks(self.n_components)

    @property
    def n_pairs(self) -> int:
        """Number of correlations in one matrix."""
        return self.n_features * (self.n_features - 1) // 2

    def blocks(self) -> list[IntArray]:
        """Return the positions in q of parameters that, given labels, hang together: weights, one component's mean, one covariance."""
        K, D = self.n_components, self.n_features
        first_sd = K - 1 + K * D
        first_corr = first_sd + self.sizes[2]
        n_covariances = K if self.family.has_own_scales else 1
        sds = np.arange(first_sd, first_corr).reshape(n_covariances, -1)
        corr = np.arange(first_corr, self.n_dim).reshape(self.n_matrices, self.n_pairs)
        means = np.arange(K - 1, first_sd).reshape(K, D)
        if self.n_matrices == n_covariances:
            covariances = list(np.hstack([sds, corr]))
        else:
            covariances = [*sds, *corr]
        return [block for block in (np.arange(K - 1), *means, *covariances) if len(block)]

    def constrain(self, q: FloatArray) -> MixtureParams:
        """Return the mixtures of vectors q ``(..., n_dim)``."""
        y, means, log_sds, corr = np.split(q, np.cumsum(self.sizes)[:-1], axis=-1)
        z = np.concatenate([y, -y.sum(-1, keepdims=True)], axis=-1)
        weights = np.exp(z - z.max(-1, keepdims=True))
        batch, K, D = q.shape[:-1], self.n_components, self.n_features
        sds = self.family.full_sds(np.exp(log_sds).reshape(*batch, *self.sds_shape), K, D)
        scale_tril = sds[..., None] * self._correlation_factors(corr, batch)
        mixture = MixtureParams(weights / weights.sum(-1, keepdims=True), means.reshape(*batch, K, D), scale_tril)
        return self.priors.to_data(mixture)

    def scale_tril(self, q: FloatArray) -> FloatArray:
        """Return the Cholesky factors (matrices, D, D) of the free covariances at q (n_dim,), in the frame of the priors."""
        sds, corr = np.split(q, np.cumsum(self.sizes)[1:-1])[1:]
        factors = self._correlation_factors(corr, ())[: self.n_matrices]
        return (
            factors * np.exp(sds).reshape(len(factors), -1, 1) if len(factors) else np.empty((0, self.n_features, self.n_features))
        )

    def unconstrain(self, params: MixtureParams) -> FloatArray:
        """Return the vectors q ``(..., n_dim)`` of mixtures that belong to the family."""
        params = self.priors.from_data(params)
        batch = params.batch_shape
        with np.errstate(divide="ignore"):
            log_weights = np.maximum(np.log(params.weights), -700.0)
        z = log_weights - log_weights.mean(-1, keepdims=True)
        parts = [z[..., :-1], params.means.reshape(*batch, -1), np.log(self.family.free_sds(params.sds)).reshape(*batch, -1)]
        if self.n_matrices:
            factors = params.scale_tril[..., : self.n_matrices, :, :] / params.sds[..., : self.n_matrices, :, None]
            ratios = factors / np.diagonal(factors, axis1=-2, axis2=-1)[..., None]
            rows, columns = spiral(self.n_features).T
            parts.append(ratios[..., rows, columns].reshape(*batch, -1))
        return np.concatenate(parts, axis=-1)

    def reordered(self, q: FloatArray, order: IntArray) -> FloatArray:
        """Return the vectors q ``(..., n_dim)`` of the same mixtures with their components in another order (K,); it keeps volumes.

        Component k of a result is component ``order[k]`` of what it came from.
        """
        batch, D = q.shape[:-1], self.n_features
        y, means, log_sds, corr = np.split(q, np.cumsum(self.sizes)[:-1], axis=-1)
        z = np.concatenate([y, -y.sum(-1, keepdims=True)], axis=-1)[..., order]
        parts = [z[..., :-1], means.reshape(*batch, -1, D)[..., order, :].reshape(*batch, -1)]
        for part, moves in ((log_sds, self.family.has_own_scales), (corr, self.n_matrices > 1)):
            parts.append(part.reshape(*batch, len(order), -1)[..., order, :].reshape(*batch, -1) if moves else part)
        return np.concatenate(parts, axis=-1)

    def _correlation_factors(self, corr: FloatArray, batch: tuple[int, ...]) -> FloatArray:
        D = self.n_features
        factors = np.broadcast_to(np.eye(D), (*batch, max(self.n_matrices, 1), D, D)).copy()
        if self.n_matrices:
            rows, columns = spiral(D).T
            factors[..., rows, columns] = corr.reshape(*batch, self.n_matrices, self.n_pairs)
            factors /= np.linalg.norm(factors, axis=-1, keepdims=True)
        return np.broadcast_to(factors, (*batch, self.n_components, D, D))


def spiral(n_features: int) -> IntArray:
    """Return (row, column) of the strict lower triangle in the order of PyMC's Cholesky-correlation transform.

    Element p of the transform's vector belongs at ``spiral(D)[p]``; the triangle is filled from its last row backwards and from its
    first row forwards in turn.

    Examples
    --------
    >>> spiral(3).tolist()
    [[2, 1], [2, 0], [1, 0]]
    """
    n = n_features - 1
    m = n * n_features // 2
    index = np.arange(m)
    square = np.concatenate([index[n:], index[::-1]]).reshape(n, n)
    rows, columns = np.tril_indices(n)
    order = np.argsort(square[rows, columns])
    return np.column_stack([rows[order] + 1, columns[order]])
