"""What every covariance family can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from bayesgmm.kernels.compile import Pointer, plain
from bayesgmm.typing import FloatArray

__all__ = ["A_FEW", "TO_THE_END", "Family", "as_matrices", "diagonals"]


A_FEW, TO_THE_END = 2, 1000
"""Rounds of a search within an M-step."""


class Family(ABC):
    """A constraint on the K covariance matrices of a mixture."""

    name: str
    letters: str
    """Volume, shape and orientation as in mclust's names: equal (E), varying (V), identity (I)."""
    diagonal: bool = False
    """Whether all matrices are diagonal."""
    invariance: str
    """The linear maps of the data under which the family stays the same: "affine", "columns" or "scale"."""
    sds_dims: tuple[str, ...] = ("component", "feature")
    """Axes of the free standard deviations."""
    separable: bool = False
    """Whether the family is all standard deviations of shape ``sds_dims`` with all correlations, as priors on them need it."""

    closed: bool = True
    """Whether the M-step ends at its maximum, wherever it starts from and after however few rounds."""
    _m_step: Pointer
    _variant: int = 0

    @property
    def compiled_update(self) -> tuple[Pointer, int]:
        """What a compiled run of EM calls for :meth:`update`, and which of the families it serves this is."""
        return self._m_step, self._variant

    def update(
        self,
        scatter: FloatArray,
        counts: FloatArray,
        previous: FloatArray | None = None,
        smallest: float = 0.0,
        rounds: int = TO_THE_END,
    ) -> FloatArray:
        """Return the maximum-likelihood covariances ``(K, D, D)`` of the M-step.

        Parameters
        ----------
        scatter : array of shape (K, D, D)
            Sums over rows of ``r (x - mean_k)(x - mean_k)'``.
        counts : array of shape (K,)
            Sums over rows of r, all positive.
        previous : array of shape (K, D, D), optional
            Covariances of the family: where it has no closed form, the search starts there, which makes it shorter, and never ends with
            a lower likelihood than theirs if they keep the bound. Ignored by families with a closed form.
        smallest : float
            No eigenvalue may be below it: the maximum is taken under that bound. Without one, mclust's families take a component without
            any spread in some direction to have as much as rounding leaves there, which keeps all numbers finite.
        rounds : int
            Rounds of a search from ``previous`` at most: an iteration of EM needs few, for the next goes on from there.

        Notes
        -----
        Celeux and Govaert (1995), Pattern Recognition 28, 781-793, table 1.
        """
        # What is compiled for writable, contiguous arrays should not be compiled again for others.
        scatter, counts = plain(scatter), plain(counts)
        out = np.empty_like(scatter)
        before = scatter if previous is None else plain(previous)
        self._m_step.function(scatter, counts, before, 0 if previous is None else rounds, self._variant, float(smallest), out)
        return out

    def floor(self, covariances: FloatArray, smallest: float) -> FloatArray:
        """Return the nearest covariances of the family with no eigenvalue below ``smallest``; the same array if there are none.

        Nearest in the sense of Kullback and Leibler: covariances are their own maximum-likelihood estimate, so they are estimated
        once more under the bound. ``update`` with ``smallest`` gives the M-step under the bound, which this is not always.
        """
        values = diagonals(covariances) if self.diagonal else np.linalg.eigvalsh(covariances)
        if values.min() >= smallest:
            return covariances
        return self.update(covariances, np.ones(len(covariances)), covariances, smallest)

    @abstractmethod
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters in the covariances."""

    @abstractmethod
    def pack(self, covariances: FloatArray) -> FloatArray:
        """Return ``(..., K, D, D)`` matrices in the shape scikit-learn gives this family, or one like it."""

    @abstractmethod
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        """Return the ``(K, D, D)`` matrices of an array in the shape of :meth:`pack`."""

    @abstractmethod
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape that :meth:`pack` gives the covariances of one mixture."""

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


def diagonals(matrices: FloatArray) -> FloatArray:
    """Return the diagonals (..., D) of matrices (..., D, D)."""
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def as_matrices(variances: FloatArray) -> FloatArray:
    """Return the diagonal matrices (..., D, D) of variances (..., D)."""
    return variances[..., None] * np.eye(variances.shape[-1])
