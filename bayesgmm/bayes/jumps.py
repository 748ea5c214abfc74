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
"""Dimensions up to which a draw from a t distribution about a mode may be taken for one of the posterior there."""


@dataclass(frozen=True, eq=False)
class Jumps:
    """Proposals to leave one mode for another, each accepted or not, so that the posterior stays as it is.

    In few dimensions one is a draw from a mixture of t distributions about the modes: an independence sampler (Tierney 1994, Annals of
    Statistics 22, 1701-1762, section 2.3.3). In any number of them one is the place in mode b that corresponds to where the chain is,
    as seen from mode a: ``c_b + F_b F_a^-1 (q - c_a)``, for an ordered pair of modes that is drawn without a look at q, so that the way
    back is as probable. What two modes have in common, most groups as a rule, stays where it is, which no independent draw would hit in
    hundreds of dimensions (smart darting: Andricioaei, Straub and Voter 2001, Journal of Chemical Physics 114, 6994-7000).

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
        """Return jumps between credible modes, or None if there is one only."""
        if len(initial.modes) < 2:
            return None
        factors = np.stack([mode.factor for mode in initial.modes])
        weights = np.maximum(softmax(initial.log_masses), _LEAST_SHARE)
        centers = np.stack([mode.center for mode in initial.modes])
        log_dets = np.linalg.slogdet(factors)[1]
        return cls(centers, factors, np.linalg.inv(factors), np.log(weights / weights.sum()), log_dets)

    @property
    def can_draw(self) -> bool:
        """Whether there are few enough dimensions for a draw to be accepted."""
        return self.centers.shape[1] <= _MOST_DIMENSIONS

    def carry(self, q: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, float]:
        """Return the place (n,) in another mode that corresponds to q (n,), and the log of the factor by which volume grows on the way."""
        a, b = rng.permutation(len(self.centers))[:2]
        place: FloatArray = self.centers[b] + self.factors[b] @ (self.inverses[a] @ (q - self.centers[a]))
        return place, float(self.log_dets[b] - self.log_dets[a])

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
