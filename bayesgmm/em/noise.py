"""A noise component: rows that belong to no group, spread evenly over a box around the data.

Banfield and Raftery (1993), Biometrics 49, 803-821; the box is the smaller of the one along the columns and the one along the principal
axes of the columns in units of their ranges, as in Fraley and Raftery (1998), The Computer Journal 41, 578-588. Rows that lie far beyond
all others (:mod:`bayesgmm.em.gross`) do not stretch it: they are noise for certain, at the density of the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.em.gross import FAR, Limits, limits_of
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import Chunk, Chunked, DrawMoments
from bayesgmm.expectation.chunks import spread_rows
from bayesgmm.frame import total_moments
from bayesgmm.typing import FloatArray

__all__ = ["Noise"]

START = 0.1  # share of the rows that is taken for noise at first
_WIDE = (
    1e8  # standard deviations of the stand-in, in ranges of the columns: across the data its density changes by less than rounding
)
_FLAT = 1e-8  # spread across a plane, over that along it, that is taken for rounding
_LOOKED_AT = 20_000
"""Rows in chunks that are looked at to see whether others lie far beyond them."""
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
    limits : Limits
        Rows beyond them are noise for certain.
    gross : float
        Share of all rows that lie there.
    """

    scale: FloatArray
    axes: FloatArray
    low: FloatArray
    high: FloatArray
    origin: FloatArray
    limits: Limits
    gross: float = 0.0

    @classmethod
    def around(cls, X: FloatArray | Chunked, weight: FloatArray | None = None) -> Noise:
        """Return the box around the rows of X (N, D), whatever their units.

        Parameters
        ----------
        X : array of shape (N, D), or Chunked
            Of rows in chunks none is set aside; columns in which some should be are named in ``limits.suspect``.
        weight : array of shape (N,), optional
            How often each row counts; rows of weight zero are not there.

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
            limits, gross = _suspect_chunks(X), 0.0
            scale, sizes, principal = _principal_of_chunks(X)
        else:
            X, weight, limits, gross = _within(X, weight)
            scale = np.ptp(X, axis=0)
            Z = (X - np.average(X, axis=0, weights=weight)) / np.where(scale > 0, scale, 1.0)
            _, sizes, principal = np.linalg.svd(Z if weight is None else Z * np.sqrt(weight)[:, None], full_matrices=False)
        if len(sizes) < X.shape[1] or sizes[-1] < _FLAT * sizes[0]:
            raise InvalidDataError(
                "noise=True needs rows that fill a volume, and these lie in a plane: leave out a column, or set noise=False"
            )
        origin = X.summary.lowest if isinstance(X, Chunked) else X.min(0)
        extents = ((axes, *_extent(X, scale, axes, origin)) for axes in (np.eye(X.shape[1]), principal.T))
        boxes = (cls(scale, *extent, origin, limits, gross) for extent in extents)
        return min(boxes, key=lambda box: box.log_volume)

    @property
    def log_volume(self) -> float:
        """Log of its volume, in units of the data."""
        return float(np.log(self.high - self.low).sum() + np.log(self.scale).sum())

    def seen_from(self, origin: FloatArray) -> Noise:
        """Return the same box for data that are counted from another origin (D,)."""
        return replace(self, origin=self.origin - origin, limits=self.limits.seen_from(origin))

    def inside(self, X: FloatArray, weight: FloatArray | None) -> FloatArray | None:
        """Return the weights (N,) of rows X (N, D) with zero for those that are noise for certain."""
        if not self.limits.are_set:
            return weight
        return np.where(self.limits.beyond(X), 0.0, 1.0 if weight is None else weight)

    def share_inside(self, noise_weight: float) -> float:
        """Return the share of the noise among the rows within the limits, of its share among all."""
        return max((noise_weight - self.gross) / (1 - self.gross), 0.0)

    def share_of_all(self, noise_weight: float) -> float:
        """Return the share of the noise among all rows, of its share among those within the limits."""
        return self.gross + (1 - self.gross) * noise_weight

    def log_likelihood_of_limits(self, total: float) -> float:
        """Return what rows of this total weight have of log-likelihood beside that of a mixture for those within the limits."""
        if self.gross == 0:
            return 0.0
        return total * ((1 - self.gross) * np.log1p(-self.gross) + self.gross * (np.log(self.gross) - self.log_volume))

    def completed(self, moments: DrawMoments, X: FloatArray) -> DrawMoments:
        """Return what is said of rows X (N, D), of what a mixture for rows within the limits says of them."""
        if self.gross == 0:
            return moments
        beyond = self.limits.beyond(X)
        certain = np.append(np.zeros(moments.mean.shape[1] - 1), 1.0)
        log_density = np.where(beyond, np.log(self.gross) - self.log_volume, moments.log_density + np.log1p(-self.gross))
        entropy = np.where(beyond, 0.0, moments.entropy)
        return DrawMoments(
            np.where(beyond[:, None], certain, moments.mean),
            moments.sd,
            entropy,
            log_density,
            np.array([log_density.sum()]),
            np.array([entropy.mean()]) if len(X) else moments.draw_entropy,
        )

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


def _within(X: FloatArray, weight: FloatArray | None) -> tuple[FloatArray, FloatArray | None, Limits, float]:
    """Return the rows that may belong to groups and their weights, where they end, and the share of the others."""
    if weight is not None:
        X, weight = X[weight > 0], weight[weight > 0]
    limits = limits_of(X, weight)
    beyond = limits.beyond(X)
    return X[~beyond], None if weight is None else weight[~beyond], limits, float(np.average(beyond, weights=weight))


def _suspect_chunks(X: Chunked) -> Limits:
    """Return no limits, and the columns that have values far beyond those of some rows."""
    some, weight = X.take(spread_rows(len(X), _LOOKED_AT))
    limits = limits_of(some, weight)
    kept = some[~limits.beyond(some)]
    low, high = kept.min(0), kept.max(0)
    far = FAR * (high - low)
    beyond = (X.summary.lowest < low - far) | (X.summary.highest > high + far)
    D = some.shape[1]
    return Limits(np.full(D, -np.inf), np.full(D, np.inf), tuple(int(d) for d in np.flatnonzero(beyond)))


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
