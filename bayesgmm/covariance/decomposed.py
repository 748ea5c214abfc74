"""The families of mclust that scikit-learn lacks: volume, shape and orientation each equal, varying or the identity."""

from __future__ import annotations

from typing import override

from bayesgmm.covariance._orientation import COMMON_AXES, COMMON_FORM
from bayesgmm.covariance._plain import AVERAGE, DIAGONAL, SHARED, SPHERICAL
from bayesgmm.covariance._structure import ALONG_FEATURES, EQUAL, OWN_AXES, VARYING_SHAPES, VARYING_VOLUMES
from bayesgmm.covariance.base import Family, as_matrices, diagonals
from bayesgmm.typing import FloatArray

__all__ = ["Decomposed"]

# Equal determinants stay equal, and proportional matrices proportional, whatever linear map the data go through.
_AFFINE = ("VEE", "EVV")
_M_STEPS = {
    "EII": (AVERAGE, SHARED + SPHERICAL),
    "EEI": (AVERAGE, SHARED + DIAGONAL),
    "VEI": (ALONG_FEATURES, VARYING_VOLUMES),
    "EVI": (ALONG_FEATURES, VARYING_SHAPES),
    "VEE": (COMMON_FORM, 0),
    "EVE": (COMMON_AXES, 1),
    "VVE": (COMMON_AXES, 0),
    "EEV": (OWN_AXES, EQUAL),
    "VEV": (OWN_AXES, VARYING_VOLUMES),
    "EVV": (OWN_AXES, VARYING_SHAPES),
}


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
        self.closed = letters not in ("VEE", "EVE", "VVE")
        self._m_step, self._variant = _M_STEPS[letters]

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
