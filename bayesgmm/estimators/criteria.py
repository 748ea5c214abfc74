"""What EM's fit is worth: criteria that weigh its likelihood against the number of its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from bayesgmm.em import Noise
from bayesgmm.estimators._base import MixtureEstimator
from bayesgmm.fixed import Fixed
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["Criteria", "aic", "bic", "log_certainty"]


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

    equal_weights: bool
    noise: bool
    fixed: dict[str, Any] | None
    noise_: Noise | None = None

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters."""
        free = self.family_.n_parameters(self.n_components_, self.n_features_in_) + self.noise
        if self.noise and self.noise_ is not None and self.noise_.gross > 0:
            free += 1  # the share of rows that are noise for certain
        if self.fixed is not None:
            free -= Fixed.of(self.fixed, self.n_components_, self.n_features_in_, self.family_).n_parameters(self.family_)
        if self._concomitant is not None:
            free += self._concomitant.n_parameters(self.n_components_) - (self.n_components_ - 1)
        return free - (self.n_components_ - 1 if self.equal_weights else 0)

    def bic(self, X: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion: lower is better (Schwarz 1978).

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            NaN stands for a missing value. The training data, with all that is known of them, when absent.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        sums = self._sums(X, sample_weight)
        return bic(sums.log_density, self.n_parameters_, sums.weight)

    def aic(self, X: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion: lower is better (Akaike 1974).

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            NaN stands for a missing value. The training data, with all that is known of them, when absent.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        return aic(self._sums(X, sample_weight).log_density, self.n_parameters_)

    def icl(self, X: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the integrated complete-data likelihood criterion: lower is better.

        BIC plus ``-2 sum_i log max_k r_ik``, the price of rows whose group is in doubt (Biernacki, Celeux and Govaert 2000, IEEE PAMI 22,
        719-725): it favours groups that are apart.

        Parameters
        ----------
        X : array-like of shape (N, D), optional
            NaN stands for a missing value. The training data, with all that is known of them, when absent.
        sample_weight : array-like of shape (N,), optional
            How often each row counts.

        Returns
        -------
        float
        """
        sums = self._sums(X, sample_weight)
        return bic(sums.log_density, self.n_parameters_, sums.weight) - 2 * sums.log_certainty

    @property
    def effective_sample_size_(self) -> float:
        """Number of rows that the data are worth.

        The rows' number or, with whole weights, their sum; with other weights ``(sum w)^2 / sum w^2`` (Kish 1965, Survey Sampling),
        because only frequencies can be whole.
        """
        check_is_fitted(self, "params_")
        weights = self.rows_.weights if self.rows_.is_in_memory else None
        if weights is None or np.array_equal(weights, np.round(weights)):
            return self.rows_.total
        return float(weights.sum() ** 2 / (weights**2).sum())
