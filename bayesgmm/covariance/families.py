"""What each family of covariances allows, how it is estimated, and how its parameters are counted and shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm.covariance import _m_steps as steps
from bayesgmm.covariance._common_axes import COMMON_AXES, COMMON_FORM
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.kernels.compile import Pointer, plain
from bayesgmm.typing import FloatArray

__all__ = ["A_FEW", "TO_THE_END", "WITH_PRIORS", "Family", "as_matrices", "diagonals", "family", "names", "single"]


A_FEW, TO_THE_END = 2, 1000
"""Rounds of a search within an M-step."""
WITH_PRIORS = ("full", "tied", "diag", "spherical")
"""Names of the families made of free standard deviations and correlations, which priors can be put on."""


@dataclass(frozen=True, eq=False)
class Family:
    """A constraint on the K covariance matrices ``volume_k axes_k diag(shape_k) axes_k'`` of a mixture.

    In one dimension a variance is all volume, so only the first letter counts: one variance for all components (E) or one each (V).

    Parameters
    ----------
    name : str
        scikit-learn's, or mclust's letters.
    letters : str
        Volume, shape and orientation as in mclust's names: equal (E), varying (V), identity (I).
    m_step : Pointer
        The compiled M-step.
    variant : int
        Which of the families that the M-step serves this is.
    """

    name: str
    letters: str
    m_step: Pointer
    variant: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # By name: compiled functions lie elsewhere in other processes.
        return family, (self.name,)

    @property
    def diagonal(self) -> bool:
        """Whether all matrices are diagonal."""
        return self.letters[2] == "I"

    @property
    def invariance(self) -> str:
        """The linear maps of the data under which the family stays the same: "affine", "columns" or "scale"."""
        if self.diagonal:
            return "scale" if self.letters[1] == "I" else "columns"
        # Equal determinants stay equal, and proportional matrices proportional, whatever linear map the data go through.
        return "affine" if self.letters in ("VVV", "EEE", "VEE", "EVV") else "scale"

    @property
    def separable(self) -> bool:
        """Whether the family is all standard deviations of shape ``sds_dims`` with all correlations, as priors on them need it."""
        return len(set(self.letters) - {"I"}) == 1

    @property
    def sds_dims(self) -> tuple[str, ...]:
        """Axes of the free standard deviations."""
        if not self.separable:
            return ("component", "feature")
        return (("component",) if self.letters[0] == "V" else ()) + (("feature",) if self.letters[1] != "I" else ())

    @property
    def has_own_scales(self) -> bool:
        """Whether every component has standard deviations, and correlations, of its own."""
        return "component" in self.sds_dims

    @property
    def has_scales_by_column(self) -> bool:
        """Whether every column has a standard deviation of its own."""
        return "feature" in self.sds_dims

    @property
    def closed(self) -> bool:
        """Whether the M-step ends at its maximum, wherever it starts from and after however few rounds."""
        return self.letters not in ("VEE", "EVE", "VVE")

    @property
    def compiled_update(self) -> tuple[Pointer, int]:
        """What a compiled run of EM calls for :meth:`update`, and which of the families it serves this is."""
        return self.m_step, self.variant

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
        self.m_step.function(scatter, counts, before, 0 if previous is None else rounds, self.variant, float(smallest), out)
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

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters in the covariances: volumes, shapes of determinant one, and angles."""
        each = (1, n_features - 1, n_features * (n_features - 1) // 2)
        times = {"E": 1, "V": n_components, "I": 0}
        return sum(times[letter] * n for letter, n in zip(self.letters, each, strict=True))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters of a mixture: weights, means and covariances."""
        K, D = n_components, n_features
        return K - 1 + K * D + self.n_covariance_parameters(K, D)

    def pack(self, covariances: FloatArray) -> FloatArray:
        """Return ``(..., K, D, D)`` matrices in the shape scikit-learn gives this family, or one like it."""
        if self.name == "tied":
            return covariances[..., 0, :, :]
        if self.name == "spherical":
            return covariances[..., 0, 0]
        return diagonals(covariances) if self.diagonal else covariances

    def unpack(self, packed: FloatArray, n_components: int, n_features: int) -> FloatArray:
        """Return the ``(K, D, D)`` matrices of an array in the shape of :meth:`pack`."""
        if self.name == "tied":
            return np.broadcast_to(packed, (n_components, n_features, n_features))
        if self.name == "spherical":
            return packed[:, None, None] * np.eye(n_features)
        return as_matrices(packed) if self.diagonal else packed

    def packed_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape that :meth:`pack` gives the covariances of one mixture."""
        return self.pack(np.empty((n_components, n_features, n_features))).shape

    def n_blocks(self, n_components: int) -> int:
        """Return the number of free matrices among the covariances."""
        return n_components if self.has_own_scales else 1

    def free_sds(self, sds: FloatArray) -> FloatArray:
        """Return what is free of standard deviations (..., K, D) that belong to the family, in the shape of :meth:`sds_shape`."""
        if not self.has_own_scales:
            return sds[..., 0, :]
        return sds if self.has_scales_by_column else sds[..., 0]

    def full_sds(self, free: FloatArray, n_components: int, n_features: int) -> FloatArray:
        """Return the standard deviations (..., K, D) of free ones."""
        if not self.has_own_scales:
            free = free[..., None, :]
        if not self.has_scales_by_column:
            free = free[..., None]
        return np.broadcast_to(free, (*free.shape[:-2], n_components, n_features))

    def blocks(self, covariances: FloatArray) -> FloatArray:
        """Return the free matrices (B, d, d) among covariances (K, D, D): one per component, one for all, or one number per component."""
        if not self.has_own_scales:
            return covariances[:1]
        return covariances if self.has_scales_by_column else covariances[:, :1, :1]

    def pooled(self, counts: FloatArray, scatter: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return counts (B,) and scatters (B, d, d) of the free matrices, of those (K,) and (K, D, D) of the components."""
        if not self.has_own_scales:
            return counts.sum(keepdims=True), scatter.sum(0, keepdims=True)
        if not self.has_scales_by_column:
            return counts * scatter.shape[-1], np.trace(scatter, axis1=1, axis2=2)[:, None, None]
        return counts, as_matrices(diagonals(scatter)) if self.diagonal else scatter

    def expanded(self, blocks: FloatArray, n_components: int, n_features: int) -> FloatArray:
        """Return the covariances (K, D, D) of free matrices (B, d, d)."""
        if not self.has_scales_by_column:
            return blocks * np.eye(n_features)
        return np.broadcast_to(blocks, (n_components, n_features, n_features))

    def sds_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of the free standard deviations."""
        size = {"component": n_components, "feature": n_features}
        return tuple(size[dim] for dim in self.sds_dims)

    def has_correlations(self, n_features: int) -> bool:
        """Whether there are correlations to estimate: not in one dimension, and not where matrices are diagonal."""
        return n_features > 1 and not self.diagonal


_SKLEARN = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
_M_STEPS = {
    "VVV": (steps.AVERAGE, steps.FULL),
    "EEE": (steps.AVERAGE, steps.SHARED + steps.FULL),
    "VVI": (steps.AVERAGE, steps.DIAGONAL),
    "VII": (steps.AVERAGE, steps.SPHERICAL),
    "EII": (steps.AVERAGE, steps.SHARED + steps.SPHERICAL),
    "EEI": (steps.AVERAGE, steps.SHARED + steps.DIAGONAL),
    "VEI": (steps.ALONG_FEATURES, steps.VARYING_VOLUMES),
    "EVI": (steps.ALONG_FEATURES, steps.VARYING_SHAPES),
    "VEE": (COMMON_FORM, 0),
    "EVE": (COMMON_AXES, 1),
    "VVE": (COMMON_AXES, 0),
    "EEV": (steps.OWN_AXES, steps.EQUAL),
    "VEV": (steps.OWN_AXES, steps.VARYING_VOLUMES),
    "EVV": (steps.OWN_AXES, steps.VARYING_SHAPES),
}
_FAMILIES = {(name := _SKLEARN.get(letters, letters)): Family(name, letters, *m_step) for letters, m_step in _M_STEPS.items()}


def family(covariance_type: str) -> Family:
    """Return the family of that name.

    Parameters
    ----------
    covariance_type : str
        One of scikit-learn's four names or one of mclust's fourteen, which are written in capitals.

    Raises
    ------
    InvalidParameterError
        If there is none; the message names those there are.

    Examples
    --------
    >>> family("tied").n_parameters(n_components=3, n_features=2)
    11
    >>> family("EEE") is family("tied")
    True
    """
    try:
        return _FAMILIES[_SKLEARN.get(covariance_type, covariance_type)]
    except (KeyError, TypeError):
        known = ", ".join(repr(name) for name in names(aliases=True))
        raise InvalidParameterError(f"covariance_type must be one of {known}, got {covariance_type!r}") from None


def single(kind: Family) -> Family:
    """Return the family that one is where there is one component: what components have in common is then no constraint.

    Examples
    --------
    >>> single(family("EEV")).name, single(family("VEI")).name, single(family("EII")).name
    ('full', 'diag', 'spherical')
    """
    if kind.letters[1] == "I":
        return family("VII")
    return family("VVI" if kind.diagonal else "VVV")


def names(*, aliases: bool = False) -> tuple[str, ...]:
    """Return the name of each of the fourteen families, scikit-learn's four first.

    Parameters
    ----------
    aliases : bool
        Whether to add mclust's names of scikit-learn's four.

    Examples
    --------
    >>> names()[:5]
    ('full', 'tied', 'diag', 'spherical', 'EII')
    >>> len(names()), len(names(aliases=True))
    (14, 18)
    """
    return (*_FAMILIES, *_SKLEARN) if aliases else tuple(_FAMILIES)


def diagonals(matrices: FloatArray) -> FloatArray:
    """Return the diagonals (..., D) of matrices (..., D, D)."""
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def as_matrices(variances: FloatArray) -> FloatArray:
    """Return the diagonal matrices (..., D, D) of variances (..., D)."""
    return variances[..., None] * np.eye(variances.shape[-1])
