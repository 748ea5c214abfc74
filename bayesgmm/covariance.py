"""The covariance families: what each allows, how it is estimated, how its parameters are counted and shown.

A family is chosen once, by :func:`family`; nobody else asks for the name of a covariance type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import CovarianceType, FloatArray

__all__ = ["Family", "family"]


class Family(ABC):
    """A constraint on the K covariance matrices of a mixture."""

    name: ClassVar[CovarianceType]
    diagonal: ClassVar[bool] = False
    """Whether all matrices are diagonal."""
    invariance: ClassVar[str]
    """The linear maps of the data under which the family stays the same: "affine", "columns" or "scale"."""
    sds_dims: ClassVar[tuple[str, ...]] = ("component", "feature")
    """Axes of the free standard deviations."""

    @abstractmethod
    def update(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        """Return the maximum-likelihood covariances ``(K, D, D)`` of the M-step.

        Parameters
        ----------
        scatter : array of shape (K, D, D)
            Sums over rows of ``r (x - mean_k)(x - mean_k)'``.
        counts : array of shape (K,)
            Sums over rows of r.

        Notes
        -----
        Celeux and Govaert (1995), Pattern Recognition 28, 781-793, table 1.
        """

    @abstractmethod
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters in the covariances."""

    @abstractmethod
    def pack(self, covariances: FloatArray) -> FloatArray:
        """Return ``(..., K, D, D)`` matrices in the shape scikit-learn gives this family."""

    @abstractmethod
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        """Return the ``(K, D, D)`` matrices of an array in scikit-learn's shape."""

    @abstractmethod
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape that scikit-learn gives this family's covariances."""

    def sds_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of the free standard deviations."""
        size = {"component": n_components, "feature": n_features}
        return tuple(size[dim] for dim in self.sds_dims)

    def has_correlations(self, n_features: int) -> bool:
        """Whether there are correlations to estimate: not in one dimension, and not where matrices are diagonal."""
        return n_features > 1 and not self.diagonal

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters of a mixture: weights, means and covariances."""
        K, D = n_components, n_features
        return K - 1 + K * D + self.n_covariance_parameters(K, D)

    def floor(self, covariances: FloatArray, smallest: float) -> FloatArray:
        """Raise eigenvalues below ``smallest`` to it: the exact M-step under that bound for each of the families here."""
        if self.diagonal:
            variances = _variances(covariances)
            return covariances if variances.min() >= smallest else _as_matrices(np.maximum(variances, smallest))
        values, vectors = np.linalg.eigh(covariances)
        if values.min() >= smallest:
            return covariances
        return (vectors * np.maximum(values, smallest)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


class Full(Family):
    """Each component its own covariance matrix (mclust's VVV)."""

    name = "full"
    invariance = "affine"

    def update(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        return scatter / counts[:, None, None]

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features * (n_features + 1) // 2

    def pack(self, covariances: FloatArray) -> FloatArray:
        return covariances

    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return packed

    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, n_features)


class Tied(Family):
    """One covariance matrix for all components (mclust's EEE)."""

    name = "tied"
    invariance = "affine"
    sds_dims = ("feature",)

    def update(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        return np.broadcast_to(scatter.sum(0) / counts.sum(), scatter.shape)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def pack(self, covariances: FloatArray) -> FloatArray:
        return covariances[..., 0, :, :]

    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return np.broadcast_to(packed, (n_components, n_features, n_features))

    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)


class Diagonal(Family):
    """Each component its own diagonal covariance matrix (mclust's VVI)."""

    name = "diag"
    diagonal = True
    invariance = "columns"

    def update(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        return _as_matrices(_variances(scatter) / counts[:, None])

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features

    def pack(self, covariances: FloatArray) -> FloatArray:
        return _variances(covariances)

    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return _as_matrices(packed)

    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)


class Spherical(Family):
    """Each component one variance for all features (mclust's VII)."""

    name = "spherical"
    diagonal = True
    invariance = "scale"
    sds_dims = ("component",)

    def update(self, scatter: FloatArray, counts: FloatArray) -> FloatArray:
        variance = _variances(scatter).mean(-1) / counts
        return variance[:, None, None] * np.eye(scatter.shape[-1])

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components

    def pack(self, covariances: FloatArray) -> FloatArray:
        return covariances[..., 0, 0]

    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        return packed[:, None, None] * np.eye(n_features)

    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)


_FAMILIES: dict[str, Family] = {f.name: f for f in (Full(), Tied(), Diagonal(), Spherical())}


def family(covariance_type: str) -> Family:
    """Return the family of that name.

    Raises
    ------
    InvalidParameterError
        If there is none; the message names those there are.

    Examples
    --------
    >>> family("tied").n_parameters(n_components=3, n_features=2)
    11
    """
    try:
        return _FAMILIES[covariance_type]
    except (KeyError, TypeError):
        known = ", ".join(repr(name) for name in _FAMILIES)
        raise InvalidParameterError(f"covariance_type must be one of {known}, got {covariance_type!r}") from None


def _variances(matrices: FloatArray) -> FloatArray:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def _as_matrices(variances: FloatArray) -> FloatArray:
    return variances[..., None] * np.eye(variances.shape[-1])
