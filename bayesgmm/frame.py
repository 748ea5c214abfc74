"""The coordinates in which fits run, so that neither units nor offset of the data matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["Frame"]

_COLLINEAR = 1e-10  # smallest eigenvalue of the correlation matrix that is still taken for information


@dataclass(frozen=True)
class Frame:
    """An affine change of coordinates, ``x = center + factor z``.

    Parameters
    ----------
    center : array of shape (D,)
    factor : array of shape (D, D)
        Lower triangular, with a positive diagonal.
    """

    center: FloatArray
    factor: FloatArray

    @classmethod
    def of(cls, X: FloatArray, invariance: str, sample_weight: FloatArray | None = None) -> Frame:
        """Return the frame in which X (N, D) is centred and scaled.

        Parameters
        ----------
        X : array of shape (N, D)
        invariance : {"affine", "columns", "scale"}
            ``Family.invariance``: the linear maps that a covariance family survives. "affine" makes the total covariance the identity
            (column by column where columns are collinear), "columns" makes every standard deviation one, "scale" divides all columns
            by one number, their root mean square standard deviation.
        sample_weight : array of shape (N,), optional
        """
        center = np.average(X, axis=0, weights=sample_weight)
        centred = X - center
        # A second pass over the centred data: with an offset of 1e6 the first mean is only good to rounding of the offset.
        correction = np.average(centred, axis=0, weights=sample_weight)
        center, centred = center + correction, centred - correction
        sd = np.sqrt(np.average(centred**2, axis=0, weights=sample_weight))
        sd = np.where(sd > 0, sd, 1.0)
        if invariance == "scale":
            return cls(center, np.sqrt(np.mean(sd**2)) * np.eye(len(sd)))
        if invariance == "columns":
            return cls(center, np.diag(sd))
        return cls(center, sd[:, None] * _correlation_factor(centred / sd, sample_weight))

    def standardise(self, X: FloatArray) -> FloatArray:
        """Return the coordinates z of rows of X (N, D)."""
        centred = X - self.center
        if not np.any(np.tril(self.factor, -1)):
            return centred / np.diag(self.factor)
        return np.ascontiguousarray(solve_triangular(self.factor, centred.T, lower=True).T)

    def params_in(self, params: MixtureParams) -> MixtureParams:
        """Return a mixture of x in the coordinates z."""
        inverse = np.tril(solve_triangular(self.factor, np.eye(len(self.center)), lower=True))
        return params.transform(-inverse @ self.center, inverse)

    def params_out(self, params: MixtureParams) -> MixtureParams:
        """Return a mixture of z in the coordinates x, the user's units."""
        return params.transform(self.center, self.factor)

    @property
    def log_det(self) -> float:
        """Log of the volume of a unit cube of z, in x: subtract it from a log-density of z to get that of x."""
        return float(np.log(np.diag(self.factor)).sum())

    def covariance_in(self, covariance: FloatArray) -> FloatArray:
        """Return covariance matrices ``(..., D, D)`` of x in the coordinates z."""
        half = solve_triangular(self.factor, covariance, lower=True)
        return solve_triangular(self.factor, np.swapaxes(half, -1, -2), lower=True)


def _correlation_factor(scaled: FloatArray, sample_weight: FloatArray | None) -> FloatArray:
    weight = np.full(len(scaled), 1.0 / len(scaled)) if sample_weight is None else sample_weight / sample_weight.sum()
    correlation = (scaled * weight[:, None]).T @ scaled
    if np.linalg.eigvalsh(correlation)[0] < _COLLINEAR:
        return np.eye(len(correlation))
    return np.linalg.cholesky(correlation)
