"""The four families that scikit-learn has too: their M-steps are closed formulas, with a bound on eigenvalues or without."""

from __future__ import annotations

from typing import override

import numpy as np

from bayesgmm.covariance._plain import AVERAGE, DIAGONAL, FULL, SHARED, SPHERICAL
from bayesgmm.covariance.base import Family, as_matrices, diagonals
from bayesgmm.typing import FloatArray

__all__ = ["Diagonal", "Full", "Spherical", "Tied"]


class ClosedForm(Family):
    """A family whose M-step is an average of scatter matrices."""

    separable = True
    _m_step = AVERAGE


class Full(ClosedForm):
    """Each component its own covariance matrix (mclust's VVV)."""

    name = "full"
    letters = "VVV"
    _variant = FULL
    invariance = "affine"

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
    _variant = SHARED + FULL
    invariance = "affine"
    sds_dims = ("feature",)

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
    _variant = DIAGONAL
    diagonal = True
    invariance = "columns"

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
    _variant = SPHERICAL
    diagonal = True
    invariance = "scale"
    sds_dims = ("component",)

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
