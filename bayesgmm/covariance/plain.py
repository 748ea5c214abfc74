"""The four families that scikit-learn has too: their M-steps are closed formulas, with a bound on eigenvalues or without."""

from __future__ import annotations

from abc import abstractmethod
from typing import override

import numpy as np

from bayesgmm.covariance.base import Family, as_matrices, diagonals
from bayesgmm.typing import FloatArray

__all__ = ["Diagonal", "Full", "Spherical", "Tied"]


class ClosedForm(Family):
    """A family whose M-step is an average of scatter matrices."""

    separable = True

    @abstractmethod
    def _average(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        """Return the covariances of the M-step."""

    @override
    def update(
        self, scatter: FloatArray, counts: FloatArray, previous: FloatArray | None = None, smallest: float = 0.0
    ) -> FloatArray:
        """Return the covariances of the M-step; see :meth:`Family.update`."""
        average = self._average(scatter, counts)
        return self.floor(average, smallest) if smallest > 0 else average

    @override
    def floor(self, covariances: FloatArray, smallest: float) -> FloatArray:
        """Raise eigenvalues below ``smallest`` to it: the exact M-step under that bound for each of the families here."""
        if self.diagonal:
            variances = diagonals(covariances)
            return covariances if variances.min() >= smallest else as_matrices(np.maximum(variances, smallest))
        values, vectors = np.linalg.eigh(covariances)
        if values.min() >= smallest:
            return covariances
        return (vectors * np.maximum(values, smallest)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


class Full(ClosedForm):
    """Each component its own covariance matrix (mclust's VVV)."""

    name = "full"
    letters = "VVV"
    invariance = "affine"

    @override
    def _average(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        return scatter / counts[:, None, None]

    @override
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features * (n_features + 1) // 2

    @override
    def pack(self, covariances: FloatArray) -> FloatArray:
        return covariances

    @override
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return packed

    @override
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, n_features)


class Tied(ClosedForm):
    """One covariance matrix for all components (mclust's EEE)."""

    name = "tied"
    letters = "EEE"
    invariance = "affine"
    sds_dims = ("feature",)

    @override
    def _average(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        return np.broadcast_to(scatter.sum(0) / counts.sum(), scatter.shape)

    @override
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    @override
    def pack(self, covariances: FloatArray) -> FloatArray:
        return covariances[..., 0, :, :]

    @override
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return np.broadcast_to(packed, (n_components, n_features, n_features))

    @override
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)


class Diagonal(ClosedForm):
    """Each component its own diagonal covariance matrix (mclust's VVI)."""

    name = "diag"
    letters = "VVI"
    diagonal = True
    invariance = "columns"

    @override
    def _average(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        return as_matrices(diagonals(scatter) / counts[:, None])

    @override
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features

    @override
    def pack(self, covariances: FloatArray) -> FloatArray:
        return diagonals(covariances)

    @override
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return as_matrices(packed)

    @override
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)


class Spherical(ClosedForm):
    """Each component one variance for all features (mclust's VII)."""

    name = "spherical"
    letters = "VII"
    diagonal = True
    invariance = "scale"
    sds_dims = ("component",)

    @override
    def _average(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        variance = diagonals(scatter).mean(-1) / counts
        return variance[:, None, None] * np.eye(scatter.shape[-1])

    @override
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components

    @override
    def pack(self, covariances: FloatArray) -> FloatArray:
        return covariances[..., 0, 0]

    @override
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return packed[:, None, None] * np.eye(n_features)

    @override
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)
