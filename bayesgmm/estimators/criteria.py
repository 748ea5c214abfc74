"""What EM's fit is worth: criteria that weigh its likelihood against the number of its parameters."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from bayesgmm.em import Noise
from bayesgmm.estimators._base import MixtureEstimator
from bayesgmm.estimators._chunked import NotKept, sums_over
from bayesgmm.sources import is_chunked
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.validation import check_weights

__all__ = ["Criteria", "aic", "bic", "log_certainty", "total_weight"]


def aic(log_likelihood: float, n_parameters: int) -> float:
    """Return Akaike's information criterion, ``-2 log L + 2 p`` (Akaike 1974)."""
    return float(-2 * log_likelihood + 2 * n_parameters)


def bic(log_likelihood: float, n_parameters: int, n_rows: float) -> float:
    """Return the Bayesian information criterion, ``-2 log L + p log N`` (Schwarz 1978)."""
    return float(-2 * log_likelihood + n_parameters * np.log(n_rows))


def log_certainty(responsibilities: FloatArray, weight: FloatArray | None = None) -> float:
    """Return ``sum_i w_i log max_k r_ik``; BIC less twice this is ICL (Biernacki, Celeux and Govaert 2000)."""
    certainty = np.log(responsibilities.max(axis=1))
    return float(certainty.sum() if weight is None else weight @ certainty)


class Criteria(MixtureEstimator):
    """AIC, BIC and ICL of a maximum-likelihood fit."""

    n_components: int
    equal_weights: bool
    noise: bool
    _noise: Noise | None = None

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters."""
        free = self._family.n_parameters(self.n_components, self.n_features_in_) + self.noise
        if self.noise and self._noise is not None and self._noise.gross > 0:
            free += 1  # the share of rows that are noise for certain
        return free - (self.n_components - 1 if self.equal_weights else 0)

    def bic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion on X (N, D): lower is better (Schwarz 1978).

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        log_likelihood, n = self._log_likelihood(X, sample_weight)
        return bic(log_likelihood, self.n_parameters_, n)

    def aic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion on X (N, D): lower is better (Akaike 1974).

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        return aic(self._log_likelihood(X, sample_weight)[0], self.n_parameters_)

    def icl(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the integrated complete-data likelihood criterion on X (N, D): lower is better.

        BIC plus ``-2 sum_i log max_k r_ik``, the price of rows whose group is in doubt (Biernacki, Celeux and Govaert 2000, IEEE PAMI 22,
        719-725): it favours groups that are apart.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        if is_chunked(X):
            return self.bic(X, sample_weight) - 2 * sums_over(self, X, sample_weight).log_certainty
        r = self.predict_proba(X)
        return self.bic(X, sample_weight) - 2 * log_certainty(r, check_weights(sample_weight, len(r)))

    def _log_likelihood(self, X: ArrayLike, sample_weight: ArrayLike | None) -> tuple[float, float]:
        """Log-likelihood of X, and how many rows it is of."""
        if is_chunked(X):
            check_is_fitted(self, "params_")
            sums = sums_over(self, X, sample_weight)
            return sums.log_density, sums.weight
        log_density = self.score_samples(X)
        weight = check_weights(sample_weight, len(log_density))
        return float(log_density.sum() if weight is None else weight @ log_density), total_weight(weight, len(log_density))

    @property
    def effective_sample_size_(self) -> float:
        """Number of rows that the data are worth.

        The rows' number or, with whole weights, their sum; with other weights ``(sum w)^2 / sum w^2`` (Kish 1965, Survey Sampling),
        because only frequencies can be whole.
        """
        check_is_fitted(self, "params_")
        weight = self._fit_weight
        if isinstance(self._fit_rows, NotKept):
            return self._fit_rows.weight
        if weight is None or np.array_equal(weight, np.round(weight)):
            return total_weight(weight, len(self._fit_X))
        return float(weight.sum() ** 2 / (weight**2).sum())


def total_weight(weight: FloatArray | None, n_rows: int) -> float:
    """Return how many rows the data count as."""
    return float(n_rows) if weight is None else float(weight.sum())
