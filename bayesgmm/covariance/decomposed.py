"""The families of mclust that scikit-learn lacks: volume, shape and orientation each equal, varying or the identity."""

from __future__ import annotations

from typing import override

import numpy as np

from bayesgmm.covariance.base import Family, as_matrices, diagonals
from bayesgmm.covariance.orientation import along, common_axes, common_form
from bayesgmm.covariance.structure import STRUCTURES
from bayesgmm.typing import FloatArray

__all__ = ["Decomposed"]

# Equal determinants stay equal, and proportional matrices proportional, whatever linear map the data go through.
_AFFINE = ("VEE", "EVV")
_EPS = np.finfo(float).eps


class Decomposed(Family):
    """Covariances ``volume_k axes_k diag(shape_k) axes_k'`` with some of these in common (Celeux and Govaert 1995).

    In one dimension a variance is all volume, so only the first letter counts: one variance for all components (E) or one each (V).

    Parameters
    ----------
    letters : str
        For volume, shape and orientation: equal (E), varying (V) or the identity (I).
    """

    def __init__(self, letters: str) -> None:
        self.name = self.letters = letters
        shape, orientation = letters[1], letters[2]
        self.diagonal = orientation == "I"
        self.separable = letters in ("EII", "EEI")
        self.sds_dims = {"EII": (), "EEI": ("feature",)}.get(letters, ("component", "feature"))
        if self.diagonal:
            self.invariance = "scale" if shape == "I" else "columns"
        else:
            self.invariance = "affine" if letters in _AFFINE else "scale"
        self._structure = STRUCTURES[letters[:2]]

    @override
    def update(
        self, scatter: FloatArray, counts: FloatArray, previous: FloatArray | None = None, smallest: float = 0.0
    ) -> FloatArray:
        """Return the covariances of the M-step; see :meth:`Family.update`.

        Without a bound, a component without any spread in some direction is taken to have as much as rounding leaves there, which keeps
        all numbers finite.
        """
        least = counts * _rounding(scatter, counts)
        if self.diagonal:
            spread = np.maximum(diagonals(scatter), least[:, None])
            return as_matrices(self._structure(spread, counts, smallest, spread if previous is None else diagonals(previous)))
        variances, axes = self._search(np.array(scatter, order="C"), counts, previous, float(smallest), least)
        return (axes * variances[:, None, :]) @ np.swapaxes(axes, -1, -2)

    def _search(
        self, scatter: FloatArray, counts: FloatArray, previous: FloatArray | None, smallest: float, least: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return variances (K, D) and axes, as columns: (D, D) in common, or (K, D, D)."""
        if self.letters == "VEE":
            return common_form(scatter, counts, previous, smallest, least)
        if self.letters in ("EVE", "VVE"):
            return common_axes(scatter, counts, self.letters == "EVE", previous, smallest, least)
        # Whatever the shapes, a component's own best axes are those of its scatter, the longest with the longest.
        _, axes = np.linalg.eigh(scatter)
        spread = along(scatter, axes, least)
        start = spread
        if previous is not None and self.letters == "VEV":  # the only one of them that iterates
            start = np.maximum(np.linalg.eigvalsh(previous[:1]), _EPS**2 * np.trace(previous[0]))
        return self._structure(spread, counts, smallest, start), axes

    @override
    def floor(self, covariances: FloatArray, smallest: float) -> FloatArray:
        """Return the nearest covariances of the family with no eigenvalue below ``smallest``; the same array if there are none.

        Nearest in the sense of Kullback and Leibler: covariances are their own maximum-likelihood estimate, so they are estimated
        once more under the bound. ``update`` with ``smallest`` gives the M-step under the bound, which this is not always.
        """
        values = diagonals(covariances) if self.diagonal else np.linalg.eigvalsh(covariances)
        if values.min() >= smallest:
            return covariances
        return self.update(covariances, np.ones(len(covariances)), covariances, smallest)

    @override
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters: volumes, shapes of determinant one, and angles."""
        each = (1, n_features - 1, n_features * (n_features - 1) // 2)
        times = {"E": 1, "V": n_components, "I": 0}
        return sum(times[letter] * n for letter, n in zip(self.letters, each, strict=True))

    @override
    def pack(self, covariances: FloatArray) -> FloatArray:
        """Return variances ``(..., K, D)`` of diagonal families, otherwise the matrices as they are."""
        return diagonals(covariances) if self.diagonal else covariances

    @override
    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        """Return the ``(K, D, D)`` matrices."""
        return as_matrices(packed) if self.diagonal else packed

    @override
    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return ``(K, D)`` for diagonal families, otherwise ``(K, D, D)``."""
        return (n_components, n_features) if self.diagonal else (n_components, n_features, n_features)


def _rounding(scatter: FloatArray, counts: FloatArray) -> float:
    """Return a variance that is nothing beside those of the data."""
    pooled = diagonals(scatter).sum() / (counts.sum() * scatter.shape[-1])
    return max(_EPS**2 * pooled, 1e-200)
