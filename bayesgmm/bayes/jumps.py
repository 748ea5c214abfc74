"""Jumps between modes of a posterior, for chains that no trajectory carries from one to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from bayesgmm.bayes.initial_points import InitialPoints
from bayesgmm.typing import FloatArray

__all__ = ["Jumps"]

_FREEDOM = 5.0
"""Degrees of freedom of the t distributions that are jumped to: with tails heavier than a normal's, no place is left for good."""
_LEAST_SHARE = 0.05
_MOST_DIMENSIONS = 150


@dataclass(frozen=True, eq=False)
class Jumps:
    """A draw from a mixture of t distributions about them, accepted or not.

    An independence sampler (Tierney 1994, Annals of Statistics 22, 1701-1762, section 2.3.3), which leaves the posterior as it is.

    Parameters
    ----------
    centers : array of shape (M, n)
    factors, inverses : arrays of shape (M, n, n)
        Square roots of the covariances, and their inverses.
    log_weights, log_dets : arrays of shape (M,)
    """

    centers: FloatArray
    factors: FloatArray
    inverses: FloatArray
    log_weights: FloatArray
    log_dets: FloatArray

    @classmethod
    def between(cls, initial: InitialPoints) -> Jumps | None:
        """Return jumps between credible modes; None if there is one only, or if there are too many dimensions to hit another."""
        if len(initial.modes) < 2 or len(initial.modes[0].center) > _MOST_DIMENSIONS:
            return None
        factors = np.stack([mode.factor for mode in initial.modes])
        weights = np.maximum(softmax(initial.log_masses), _LEAST_SHARE)
        centers = np.stack([mode.center for mode in initial.modes])
        log_dets = np.linalg.slogdet(factors)[1]
        return cls(centers, factors, np.linalg.inv(factors), np.log(weights / weights.sum()), log_dets)

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Return a place (n,) to jump to."""
        m = min(int(np.searchsorted(np.cumsum(np.exp(self.log_weights)), rng.random())), len(self.centers) - 1)
        z = rng.standard_normal(self.centers.shape[1]) / np.sqrt(rng.chisquare(_FREEDOM) / _FREEDOM)
        place: FloatArray = self.centers[m] + self.factors[m] @ z
        return place

    def log_density(self, q: FloatArray) -> float:
        """Return the log-density of jumping to q (n,), up to a constant."""
        z = self.inverses @ (q - self.centers)[..., None]
        heights = self.log_weights - self.log_dets - 0.5 * (_FREEDOM + len(q)) * np.log1p(np.square(z).sum((1, 2)) / _FREEDOM)
        top = heights.max()
        return float(top + np.log(np.exp(heights - top).sum()))
