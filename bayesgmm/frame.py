"""The coordinates in which fits run, so that neither units nor offset of the data matter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from bayesgmm.expectation import Statistics, expectation
from bayesgmm.mixture.marginal import lower_factor
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Rows
from bayesgmm.typing import FloatArray

__all__ = ["Frame", "factor_of", "origin_near", "total_moments"]

_MOST_PASSES = 100
_STILL = 1e-6  # a frame need not be exact: every fit in it is
_FAR = 64.0
"""Standard deviations from zero beyond which a column's values are counted from another point."""
_COLLINEAR = 1e-10  # smallest eigenvalue of the correlation matrix that is still taken for information


@dataclass(frozen=True, eq=False)
class Frame:
    """An affine change of coordinates, ``x = center + factor z``.

    Parameters
    ----------
    center : array of shape (D,)
    factor : array of shape (D, D)
        Of full rank.
    """

    center: FloatArray
    factor: FloatArray

    @classmethod
    def identity(cls, n_features: int) -> Frame:
        """Return the frame in which z is x."""
        return cls(np.zeros(n_features), np.eye(n_features))

    @classmethod
    def of(cls, rows: Rows, invariance: str) -> Frame:
        """Return the frame in which rows are centred and scaled.

        Parameters
        ----------
        rows : Rows
        invariance : {"affine", "columns", "scale"}
            ``Family.invariance``: the linear maps that a covariance family survives. "affine" makes the total covariance the identity
            (column by column where columns are collinear), "columns" makes every standard deviation one, "scale" divides all columns
            by one number, their root mean square standard deviation.
        """
        return cls.from_moments(*total_moments(rows), invariance)

    @classmethod
    def from_moments(cls, center: FloatArray, covariance: FloatArray, invariance: str) -> Frame:
        """Return the frame of data with a mean (D,) and a covariance (D, D); ``invariance`` as in :meth:`of`."""
        sd = np.sqrt(np.diag(covariance))
        sd = np.where(sd > 0, sd, 1.0)
        if invariance == "scale":
            return cls(center, np.sqrt(np.mean(sd**2)) * np.eye(len(sd)))
        if invariance == "columns":
            return cls(center, np.diag(sd))
        return cls(center, sd[:, None] * _correlation_factor(covariance / np.outer(sd, sd)))

    @cached_property
    def is_identity(self) -> bool:
        """Whether z is x."""
        return not self.center.any() and bool((self.factor == np.eye(len(self.center))).all())

    @cached_property
    def is_along_columns(self) -> bool:
        """Whether every z belongs to one column of x."""
        return bool((self.factor == np.diag(np.diag(self.factor))).all())

    @cached_property
    def _is_triangular(self) -> bool:
        return not np.triu(self.factor, 1).any()

    @cached_property
    def inverse(self) -> FloatArray:
        """The factor's inverse (D, D); lower triangular if the factor is."""
        inverse = self._solve(np.eye(len(self.center)))
        return np.ascontiguousarray(np.tril(inverse) if self._is_triangular else inverse)

    def standardise(self, X: FloatArray) -> FloatArray:
        """Return the coordinates z of rows of X (N, D)."""
        centred = X - self.center
        if self.is_along_columns:
            return centred / np.diag(self.factor)
        return np.ascontiguousarray(self._solve(centred.T).T)

    def _solve(self, right: FloatArray) -> FloatArray:
        return solve_triangular(self.factor, right, lower=True) if self._is_triangular else np.linalg.solve(self.factor, right)

    def seen_in(self, other: Frame) -> Frame:
        """Return the frame that leads to the same z from the coordinates of another frame."""
        if other is self:
            return Frame.identity(len(self.center))
        return Frame(other.inverse @ (self.center - other.center), other.inverse @ self.factor)

    def params_in(self, params: MixtureParams) -> MixtureParams:
        """Return a mixture of x in the coordinates z."""
        return params.transform(-self.inverse @ self.center, self.inverse)

    def params_out(self, params: MixtureParams) -> MixtureParams:
        """Return a mixture of z in the coordinates x, the user's units."""
        return params.transform(self.center, self.factor)

    @property
    def log_det(self) -> float:
        """Log of the volume of a unit cube of z, in x: subtract it from a log-density of z to get that of x."""
        return float(np.linalg.slogdet(self.factor)[1])

    def covariance_in(self, covariance: FloatArray) -> FloatArray:
        """Return covariance matrices ``(..., D, D)`` of x in the coordinates z."""
        return self.inverse @ covariance @ self.inverse.T

    def factor_in(self, scale_tril: FloatArray) -> FloatArray:
        """Return the Cholesky factors ``(..., D, D)``, in the coordinates z, of covariances of x that are given by theirs."""
        return lower_factor(self.inverse @ scale_tril)

    def covariance_out(self, covariance: FloatArray) -> FloatArray:
        """Return covariance matrices ``(..., D, D)`` of z in the coordinates x."""
        return self.factor @ covariance @ self.factor.T


def origin_near(center: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return a point (D,) to count values from: zero in columns that lie about zero, near their mean in those that lie far from it.

    A mean of a million has steps of 1e-10, and so has whatever depends on it. Counted from a point among the rows, means keep all their
    digits. Both the point and the rows are numbers with few digits behind the point, so that next to none of theirs is lost.

    Parameters
    ----------
    center : array of shape (D,)
        Mean of the data.
    covariance : array of shape (D, D)
    """
    sd = np.sqrt(np.diag(covariance))
    far = (sd > 0) & (np.abs(center) > _FAR * sd)
    unit = np.exp2(np.ceil(np.log2(np.where(far, sd, 1.0))))
    return np.where(far, np.round(center / unit) * unit, 0.0)


def total_moments(rows: Rows) -> tuple[FloatArray, FloatArray]:
    """Return mean (D,) and covariance (D, D) of rows, without a copy of the data.

    They are the M-step of one component, so the E-step computes them; a rough mean and spread of some rows keep its sums of order one.
    Complete rows take one pass. With missing values they are the maximum-likelihood estimates of a normal distribution given what is
    there, which take a few. What else is known of rows is not asked.
    """
    rows = rows.values_alone()
    mean, spread = rows.center_and_spread()
    factor = np.diag(np.where(spread > 0, spread, 1.0))
    for _ in range(_MOST_PASSES if rows.has_gaps else 1):
        stats = expectation(rows, np.zeros(1), mean[None], factor[None])
        mean, covariance, moved = _one_component(stats, mean, factor)
        if moved < _STILL:
            break
        if rows.has_gaps:
            factor = factor_of(covariance)
    return mean, covariance


def factor_of(covariance: FloatArray) -> FloatArray:
    """Return a lower Cholesky factor (D, D) of a covariance matrix; where columns are collinear, of one that is hardly another."""
    sd = np.sqrt(np.diag(covariance))
    sd = np.where(sd > 0, sd, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    raised = (vectors * np.maximum(values, _COLLINEAR * max(values[-1], 1e-300))) @ vectors.T
    return sd[:, None] * np.linalg.cholesky(0.5 * (raised + raised.T))


def _one_component(stats: Statistics, mean: FloatArray, factor: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return the M-step of one component, and by how much (in standard deviations and their shares) it moved."""
    shift = stats.first[0] / stats.counts[0]
    scaled = stats.second[0] / stats.counts[0] - np.outer(shift, shift)
    moved = max(float(np.abs(shift).max()), float(np.abs(scaled - np.eye(len(shift))).max()))
    return mean + factor @ shift, factor @ scaled @ factor.T, moved


def _correlation_factor(correlation: FloatArray) -> FloatArray:
    if np.linalg.eigvalsh(correlation)[0] < _COLLINEAR:
        return np.eye(len(correlation))
    return np.linalg.cholesky(correlation)
