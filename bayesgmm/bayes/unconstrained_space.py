"""The unconstrained space on which chains move: the one PyMC gives the model of ``build_model``.

One vector q holds, in this order, the weights (K - 1 numbers, PyMC's simplex transform), the means (K, D), the logs of the
standard deviations (in the family's shape) and, where there are correlations, D (D - 1) / 2 numbers for each Cholesky factor of a
correlation matrix (PyMC's Cholesky-correlation transform, which stores the lower triangle in a spiral). All but the weights are those of
the mixture in the frame of the priors, before rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import softmax

from bayesgmm.bayes._compiled_log_posterior import COVARIATES, SAMPLES
from bayesgmm.covariance import Family
from bayesgmm.fixed import Fixed
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.rows.concomitant import Concomitant, Covariates
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Space", "spiral"]


COEFFICIENTS = 2.5
"""Standard deviation of coefficients before the data, of covariates with a standard deviation of one (as is the scale of Gelman, Jakulin,
Pittau and Su 2008, Annals of Applied Statistics 2, 1360-1383)."""
CONCENTRATION = float(np.log(30.0)), 1.5
"""Mean and standard deviation of the log of the concentration of samples' weights: from all but unrelated to all but equal."""
_LEAST_SHARE = 1e-4


@dataclass(frozen=True, eq=False)
class Space:
    """Where each parameter of a mixture of K components in D dimensions lies in q, and how to come and go.

    Parameters
    ----------
    priors : ResolvedPriors
        Their frame and rounding lie between q and a mixture of the data.
    family : Family
    fixed : Fixed, optional
        Parameters that are given and kept, in the coordinates of the data. They are coordinates of q like the others, which no chain moves:
        the prior is that of all components, given those that are fixed. Weights are those that the fixed ones leave, shared out among the
        others by the same transform; numbers of the fixed ones in q are zero and say nothing.
    concomitant : Concomitant, optional
        What the weights of rows depend on. Of samples q ends with the weights of each, (S, K - 1) by the same transform, and the log of
        their concentration about the weights of all; of covariates with coefficients (P, K - 1), of which those of all components add
        up to zero, and its first numbers are the weights where covariates are at their means.
    """

    priors: ResolvedPriors
    family: Family
    fixed: Fixed | None = None
    concomitant: Concomitant | None = None

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.priors.means_loc)

    @property
    def n_features(self) -> int:
        """Number of columns D."""
        return self.priors.means_loc.shape[1]

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Numbers in q for weights, means, standard deviations and correlations, and for what weights depend on."""
        K, D = self.n_components, self.n_features
        return K - 1, K * D, int(np.prod(self.sds_shape)), self.n_matrices * self.n_pairs, self.n_extra

    @property
    def n_extra(self) -> int:
        """Numbers in q for what weights depend on."""
        K = self.n_components
        if isinstance(self.concomitant, Covariates):
            return len(self.concomitant.names) * (K - 1)
        return 0 if self.concomitant is None else self.concomitant.n_shares * (K - 1) + 1

    @cached_property
    def mixing(self) -> FloatArray:
        """What the compiled density knows of the weights' dependence; empty for none."""
        if self.concomitant is None:
            return np.empty(0)
        if isinstance(self.concomitant, Covariates):
            return np.array([COVARIATES, self.concomitant.n_shares, len(self.concomitant.names), COEFFICIENTS, 0.0])
        return np.array([SAMPLES, self.concomitant.n_shares, 0, *CONCENTRATION])

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

    @cached_property
    def free_weights(self) -> np.ndarray:
        """Of which components (K,) the weight is free."""
        return np.ones(self.n_components, bool) if self.fixed is None else ~self.fixed.has_weight

    @cached_property
    def weight_left(self) -> float:
        """What the fixed weights leave."""
        return 1.0 if self.fixed is None else float(1.0 - self.fixed.weights[self.fixed.has_weight].sum())

    def blocks(self) -> list[IntArray]:
        """Return the positions in q of parameters that, given labels, hang together: weights, one component's mean, one covariance.

        Of weights of which some are fixed the free ones come first.
        """
        K, D = self.n_components, self.n_features
        first_sd = K - 1 + K * D
        first_corr = first_sd + self.sizes[2]
        n_covariances = K if self.family.has_own_scales else 1
        sds = np.arange(first_sd, first_corr).reshape(n_covariances, -1)
        end = first_corr + self.sizes[3]
        corr = np.arange(first_corr, end).reshape(self.n_matrices, self.n_pairs)
        means = np.arange(K - 1, first_sd).reshape(K, D)
        if self.n_matrices == n_covariances:
            covariances = list(np.hstack([sds, corr]))
        else:
            covariances = [*sds, *corr]
        weights = np.argsort(~self.free_weights[:-1], kind="stable")
        return [block for block in (weights, *means, *covariances, *self._extra_blocks(end)) if len(block)]

    def _extra_blocks(self, start: int) -> list[IntArray]:
        """Return the positions of the weights of each sample, and of their concentration; or of all coefficients."""
        n = self.n_components - 1
        if isinstance(self.concomitant, Covariates) or self.concomitant is None:
            return [np.arange(start, self.n_dim)]
        own = np.arange(start, self.n_dim - 1).reshape(self.concomitant.n_shares, n)
        return [*own, np.array([self.n_dim - 1])]

    def moves(self) -> list[FloatArray]:
        """Return for each of the blocks the directions (n, a) in which a chain may move: all of them, unless something is fixed."""
        K = self.n_components
        none = np.zeros(K, bool)
        has_mean, has_covariance = (none, none) if self.fixed is None else (self.fixed.has_mean, self.fixed.has_covariance)
        n_free = int(self.free_weights.sum())
        along = np.eye(K - 1)[:, : max(n_free - 1, 0)]
        if 0 < n_free < K and not self.free_weights[-1]:  # the last of the free ones has what the others leave
            along[n_free - 1] = -1.0
        own = [has_covariance[k] for k in range(K if self.family.has_own_scales else 1)]
        kept = [None, *has_mean, *(own if self.n_matrices in (0, len(own)) else [*own, *own])]
        if K == 1:
            kept = kept[1:]
        blocks = self.blocks()
        kept += [False] * (len(blocks) - len(kept))
        return [
            along if is_kept is None else np.zeros((len(block), 0)) if is_kept else np.eye(len(block))
            for block, is_kept in zip(blocks, kept, strict=True)
        ]

    @cached_property
    def projection(self) -> FloatArray | None:
        """The matrix (n_dim, n_dim) that projects on the directions in which chains may move; None if these are all."""
        if self.fixed is None:
            return None
        out = np.zeros((self.n_dim, self.n_dim))
        for block, along in zip(self.blocks(), self.moves(), strict=True):
            out[np.ix_(block, block)] = along @ np.linalg.pinv(along) if along.size else 0.0
        return out

    def constrain(self, q: FloatArray) -> MixtureParams:
        """Return the mixtures of vectors q ``(..., n_dim)``."""
        y, means, log_sds, corr, extra = np.split(q, np.cumsum(self.sizes)[:-1], axis=-1)
        z = np.concatenate([y, -y.sum(-1, keepdims=True)], axis=-1)
        z = np.where(self.free_weights, z, -np.inf) if self.free_weights.any() else z
        weights = np.exp(z - z.max(-1, keepdims=True))
        batch, K, D = q.shape[:-1], self.n_components, self.n_features
        sds = self.family.full_sds(np.exp(log_sds).reshape(*batch, *self.sds_shape), K, D)
        scale_tril = sds[..., None] * self._correlation_factors(corr, batch)
        mixture = MixtureParams(weights / weights.sum(-1, keepdims=True), means.reshape(*batch, K, D), scale_tril)
        if self.concomitant is not None:
            mixture = self._with_shares(mixture, z, extra)
        return self._keeping(self.priors.to_data(mixture))

    def _with_shares(self, mixture: MixtureParams, z: FloatArray, extra: FloatArray) -> MixtureParams:
        """Return the mixtures with the weights of each share; of covariates the weights of all are those of the rows on average."""
        K, batch = self.n_components, extra.shape[:-1]
        if isinstance(self.concomitant, Covariates):
            free = extra.reshape(*batch, -1, K - 1)
            coefficients = np.concatenate([free, -free.sum(-1, keepdims=True)], axis=-1)
            shares = self.concomitant.shares(np.concatenate([z[..., None, :], coefficients], axis=-2))
            counts = np.bincount(self.concomitant.share_of, minlength=self.concomitant.n_shares)
            weights = np.einsum("s,...sk->...k", counts / counts.sum(), shares)
            return replace(mixture, weights=weights / weights.sum(-1, keepdims=True), shares=shares)
        free = extra[..., :-1].reshape(*batch, -1, K - 1)
        return replace(mixture, shares=softmax(np.concatenate([free, -free.sum(-1, keepdims=True)], axis=-1), axis=-1))

    def _keeping(self, mixture: MixtureParams) -> MixtureParams:
        """Return mixtures of the data with what is fixed to the last digit."""
        fixed = self.fixed
        if fixed is None:
            return mixture
        weights = np.where(fixed.has_weight, np.nan_to_num(fixed.weights), self.weight_left * mixture.weights)
        means = np.where(fixed.has_mean[:, None], fixed.means, mixture.means)
        scale_tril = mixture.scale_tril.copy()
        for k in np.flatnonzero(fixed.has_covariance):
            scale_tril[..., k, :, :] = np.linalg.cholesky(fixed.covariances[k])
        return replace(mixture, weights=weights, means=means, scale_tril=scale_tril)

    def scale_tril(self, q: FloatArray) -> FloatArray:
        """Return the Cholesky factors (matrices, D, D) of the free covariances at q (n_dim,), in the frame of the priors."""
        sds, corr = np.split(q, np.cumsum(self.sizes)[1:4])[1:3]
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
        free = self.free_weights
        z = np.zeros_like(log_weights)
        if free.any():
            z[..., free] = log_weights[..., free] - log_weights[..., free].mean(-1, keepdims=True)
        parts = [z[..., :-1], params.means.reshape(*batch, -1), np.log(self.family.free_sds(params.sds)).reshape(*batch, -1)]
        if self.n_matrices:
            factors = params.scale_tril[..., : self.n_matrices, :, :] / params.sds[..., : self.n_matrices, :, None]
            ratios = factors / np.diagonal(factors, axis1=-2, axis2=-1)[..., None]
            rows, columns = spiral(self.n_features).T
            parts.append(ratios[..., rows, columns].reshape(*batch, -1))
        if self.concomitant is not None:
            assert params.shares is not None
            if isinstance(self.concomitant, Covariates):
                coefficients = self.concomitant.coefficients(params.shares)
                parts[0] = coefficients[..., 0, :-1]
                parts.append(coefficients[..., 1:, :-1].reshape(*batch, -1))
            else:
                logs = np.log(np.maximum(params.shares, _LEAST_SHARE))
                parts.append((logs - logs.mean(-1, keepdims=True))[..., :-1].reshape(*batch, -1))
                parts.append(np.full((*batch, 1), CONCENTRATION[0]))
        return np.concatenate(parts, axis=-1)

    def reordered(self, q: FloatArray, order: IntArray) -> FloatArray:
        """Return the vectors q ``(..., n_dim)`` of the same mixtures with their components in another order (K,); it keeps volumes.

        Component k of a result is component ``order[k]`` of what it came from.
        """
        batch, D = q.shape[:-1], self.n_features
        y, means, log_sds, corr, _ = np.split(q, np.cumsum(self.sizes)[:-1], axis=-1)
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
