"""What can be asked of a Gaussian mixture as a distribution: its parts, its quantiles, its modes, how its components overlap.

Every function takes a :class:`~bayesgmm.params.MixtureParams` first and is a method of it, which is how it is meant to be called.
Nothing here imports that class, so that it can take its methods from here; `Mixture` says what they need of it.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["Mixture"]


class Mixture(Protocol):
    """One mixture of K components in D columns, or a batch of them."""

    def __init__(self, weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> None: ...

    @classmethod
    def from_covariances(cls, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> Self:
        """Build it from covariance matrices (..., K, D, D)."""

    @property
    def weights(self) -> FloatArray:
        """Array (..., K)."""

    @property
    def log_weights(self) -> FloatArray:
        """Array (..., K)."""

    @property
    def means(self) -> FloatArray:
        """Array (..., K, D)."""

    @property
    def sds(self) -> FloatArray:
        """Array (..., K, D)."""

    @property
    def scale_tril(self) -> FloatArray:
        """Array (..., K, D, D)."""

    @property
    def is_diagonal(self) -> bool:
        """Whether no columns go together in any component."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch: ``()`` for a single mixture."""

    @property
    def n_components(self) -> int:
        """Number of components K."""

    @property
    def n_features(self) -> int:
        """Number of columns D."""

    def __getitem__(self, index: Any) -> Self: ...

    def reshape(self, *batch_shape: int) -> Self:
        """Return the same mixtures with another batch shape."""

    def transform(self, shift: ArrayLike, factor: ArrayLike) -> Self:
        """Return the mixtures of ``shift + factor @ z``."""

    def log_density(self, X: ArrayLike) -> FloatArray:
        """Return the log-densities (..., N) of rows (N, D)."""

    def responsibilities(self, X: ArrayLike) -> FloatArray:
        """Return the probabilities (..., N, K) of the components, for rows (N, D)."""
