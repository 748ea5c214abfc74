"""A noise component: rows that belong to no group, spread evenly over a box around the data.

Banfield and Raftery (1993), Biometrics 49, 803-821; the box is the smaller of the one along the columns and the one along the principal
axes of the columns in units of their ranges, as in Fraley and Raftery (1998), The Computer Journal 41, 578-588.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import Chunk, Chunked
from bayesgmm.frame import total_moments
from bayesgmm.typing import FloatArray

__all__ = ["Noise"]

START = 0.1  # share of the rows that is taken for noise at first
_WIDE = (
    1e8  # standard deviations of the stand-in, in ranges of the columns: across the data its density changes by less than rounding
)
_FLAT = 1e-8  # spread across a plane, over that along it, that is taken for rounding
_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, eq=False)
class Noise:
    """A uniform density over a box whose edges are the columns of ``scale[:, None] * axes``.

    Parameters
    ----------
    scale : array of shape (D,)
        Units of the columns.
    axes : array of shape (D, D)
        Directions in these units, as columns: orthonormal.
    low, high : arrays of shape (D,)
        Where the box begins and ends along them, counted from ``origin``.
    origin : array of shape (D,)
        In units of the data: near them, so that the box has all its digits.
    """

    scale: FloatArray
    axes: FloatArray
    low: FloatArray
    high: FloatArray
    origin: FloatArray

    @classmethod
    def around(cls, X: FloatArray | Chunked) -> Noise:
        """Return the box around the rows of X (N, D), whatever their units.

        Raises
        ------
        InvalidDataError
            If values are missing, or the rows lie in a plane, whose box has no volume.
        """
        if X.summary.has_gaps if isinstance(X, Chunked) else np.isnan(X).any():
            raise InvalidDataError(
                "noise=True needs complete rows: impute what is missing, leave those rows out, or set noise=False"
            )
        if isinstance(X, Chunked):
            scale, sizes, principal = _principal_of_chunks(X)
        else:
            scale = np.ptp(X, axis=0)
            Z = (X - X.mean(0)) / np.where(scale > 0, scale, 1.0)
            _, sizes, principal = np.linalg.svd(Z, full_matrices=False)
        if len(sizes) < X.shape[1] or sizes[-1] < _FLAT * sizes[0]:
            raise InvalidDataError(
                "noise=True needs rows that fill a volume, and these lie in a plane: leave out a column, or set noise=False"
            )
        origin = X.summary.lowest if isinstance(X, Chunked) else X.min(0)
        boxes = (cls(scale, axes, *_extent(X, scale, axes, origin), origin) for axes in (np.eye(X.shape[1]), principal.T))
        return min(boxes, key=lambda box: box.log_volume)

    @property
    def log_volume(self) -> float:
        """Log of its volume, in units of the data."""
        return float(np.log(self.high - self.low).sum() + np.log(self.scale).sum())

    def seen_from(self, origin: FloatArray) -> Noise:
        """Return the same box for data that are counted from another origin (D,)."""
        return replace(self, origin=self.origin - origin)

    def beside(
        self, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return what the E-step takes: components (K, ...) and the noise as one more.

        Parameters
        ----------
        log_weights : array of shape (K + 1,)
            The noise's last.
        means, scale_tril : arrays of shape (K, D) and (K, D, D)

        Notes
        -----
        The E-step knows normal densities only. One so wide that it is flat across the data stands for the box; its weight makes up for
        the height.
        """
        widths = _WIDE * self.scale
        height = float((np.log(widths) + 0.5 * _LOG_2PI).sum()) - self.log_volume
        weights = np.append(log_weights[:-1], log_weights[-1] + height)
        center = self.origin + self.scale * (self.axes @ (0.5 * (self.low + self.high)))
        return weights, np.concatenate([means, center[None]]), np.concatenate([scale_tril, np.diag(widths)[None]])

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n rows (n, D)."""
        return self.origin + rng.uniform(self.low, self.high, (n, len(self.low))) @ self.axes.T * self.scale


def _extent(X: FloatArray | Chunked, scale: FloatArray, axes: FloatArray, origin: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where the rows begin and end along axes (D, D) in units of ``scale`` (D,), counted from an origin (D,)."""
    if isinstance(X, Chunked):
        return X.map_reduce(_Extent(scale, axes, origin), _wider)
    along = (X - origin) / scale @ axes
    return along.min(0), along.max(0)


@dataclass(frozen=True, eq=False)
class _Extent:
    """The extent of one chunk."""

    scale: FloatArray
    axes: FloatArray
    origin: FloatArray

    def __call__(self, chunk: Chunk) -> tuple[FloatArray, FloatArray]:
        if len(chunk) == 0:
            return np.full(len(self.scale), np.inf), np.full(len(self.scale), -np.inf)
        return _extent(chunk.X, self.scale, self.axes, self.origin)


def _wider(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    return np.minimum(first[0], second[0]), np.maximum(first[1], second[1])


def _principal_of_chunks(X: Chunked) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ranges of the columns, and singular values and right vectors of the centred rows in these units, from their covariance."""
    scale = X.summary.highest - X.summary.lowest
    units = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(total_moments(X)[1] / np.outer(units, units))
    # Squares lose half of the digits: what is flat to rounding is flat.
    sizes = np.sqrt(np.where(values > len(values) * np.finfo(float).eps * values[-1], values, 0.0))
    return scale, sizes[::-1], vectors[:, ::-1].T
