"""Priors of correlation matrices: the LKJ distribution, of one shape or of one that the data choose among several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, softmax

from bayesgmm.typing import FloatArray
from bayesgmm.underflow import guard

__all__ = ["LEAST", "LKJ", "lkj_log_constant"]

LEAST = 1e-150
"""Nothing that must be positive is drawn below this: its square is still a number."""


@dataclass(frozen=True)
class LKJ:
    """LKJ distribution of the M correlation matrices of a mixture (Lewandowski, Kurowicka and Joe 2009).

    The density of each is proportional to ``|R|^(eta - 1)``. With several etas one of them, each as probable as the others, holds for
    all matrices of a mixture together; it is summed out.

    Parameters
    ----------
    etas : tuple of float

    Examples
    --------
    The density of one matrix of two columns is 1/2 for eta 1 and ``3 / 4 |R|`` for eta 2:

    >>> float(np.exp(LKJ((1.0, 2.0)).log_density(np.zeros(1), 2)).round(4))
    0.625
    """

    etas: tuple[float, ...]

    def log_constants(self, n_features: int) -> FloatArray:
        """Return the log of the normalising constant of one matrix for each eta.

        Parameters
        ----------
        n_features : int

        Returns
        -------
        array of shape (etas,)
        """
        return np.array([lkj_log_constant(eta, n_features) for eta in self.etas])

    def log_density(self, log_det: FloatArray, n_features: int) -> FloatArray:
        """Return the log-density of all matrices of a mixture together.

        Parameters
        ----------
        log_det : array of shape (..., M)
            Logs of the matrices' determinants.
        n_features : int

        Returns
        -------
        array of shape (...)
        """
        return np.asarray(logsumexp(self._of_each(log_det, n_features), axis=0) - np.log(len(self.etas)))

    def expected_eta(self, log_det: FloatArray, n_features: int) -> FloatArray:
        """Return what eta is expected to be given the matrices: the slope of `log_density` in the sum of the logs, plus one.

        Parameters
        ----------
        log_det : array of shape (..., M)
            Logs of the matrices' determinants.
        n_features : int

        Returns
        -------
        array of shape (...)
        """
        return np.tensordot(self.etas, softmax(self._of_each(log_det, n_features), axis=0), axes=1)

    def draw_factors(self, n_features: int, n_draws: int, n_matrices: int, rng: np.random.Generator) -> FloatArray:
        """Draw Cholesky factors of correlation matrices.

        Row i (from 0) of the factor has a uniform direction and the squared length ``Beta(i / 2, eta + (D - 1 - i) / 2)`` left of the
        diagonal: the onion method of Lewandowski, Kurowicka and Joe (2009), section 3.2, whose layers are these rows.

        Parameters
        ----------
        n_features, n_draws, n_matrices : int
        rng : numpy.random.Generator

        Returns
        -------
        array of shape (n_draws, n_matrices, D, D)
        """
        D, size = n_features, (n_draws, n_matrices)
        # One value takes nothing from the generator.
        eta = rng.choice(self.etas, (n_draws, 1)) if len(self.etas) > 1 else self.etas[0]
        factors = np.zeros((*size, D, D))
        factors[..., 0, 0] = 1.0
        for i in range(1, D):
            # What is left for the diagonal is drawn, not one minus the rest: it may be far smaller than rounding leaves of that.
            left = rng.beta(eta + 0.5 * (D - 1 - i), 0.5 * i, size)
            direction = rng.standard_normal((*size, i))
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            factors[..., i, :i] = np.sqrt(1.0 - left)[..., None] * direction
            factors[..., i, i] = np.maximum(np.sqrt(left), LEAST)
        return factors

    def _of_each(self, log_det: FloatArray, n_features: int) -> FloatArray:
        """Return the log-density under each eta, first axis."""
        constants, total = self.log_constants(n_features), log_det.sum(-1)
        return np.stack([log_det.shape[-1] * c + (eta - 1.0) * total for eta, c in zip(self.etas, constants, strict=True)])


def lkj_log_constant(eta: float, n_features: int) -> float:
    """Return the log of the LKJ density's normalising constant.

    Parameters
    ----------
    eta : float
        The density is proportional to ``|R|^(eta - 1)``.
    n_features : int
        Rows of the correlation matrix R.

    Returns
    -------
    float

    Notes
    -----
    Lewandowski, Kurowicka and Joe (2009), Journal of Multivariate Analysis 100, 1989-2001, equation 16.

    Examples
    --------
    Uniform over the one correlation of two columns, whose density is 1/2:

    >>> round(float(lkj_log_constant(1.0, 2)), 4) == round(-float(np.log(2)), 4)
    True
    """
    k = np.arange(1, n_features)
    pis = np.sum(0.5 * k * np.log(np.pi) + gammaln(eta + 0.5 * (n_features - 1 - k)))
    return float((n_features - 1) * gammaln(eta + 0.5 * (n_features - 1)) - pis)


guard(globals())
