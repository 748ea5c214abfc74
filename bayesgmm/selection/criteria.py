"""The criteria of one fitted model: a row of the table of `select`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import entr

from bayesgmm.estimators import GaussianMixture
from bayesgmm.estimators.criteria import aic, bic, log_certainty, total_weight
from bayesgmm.typing import ArrayLike, FloatArray
from bayesgmm.validation import check_weights

__all__ = ["describe", "effective_components", "failed", "repeated", "soft_entropy"]

SAME_FIT = 1e-6  # relative: two fits as close in log-likelihood, with equal counts, are one model under two names


def describe(model: GaussianMixture, sample_weight: ArrayLike | None = None) -> dict[str, Any]:
    """Return the row of the table for a fitted model.

    Parameters
    ----------
    model : GaussianMixture
    sample_weight : array-like of shape (N,), optional
        The weights it was fitted with.
    """
    # What the model's own methods would say of the training data, from one look at these and without their labels.
    r = model._moments(model._fit_X).mean
    weight = check_weights(sample_weight, len(r))
    least = bic(model.log_likelihood_, model.n_parameters_, total_weight(weight, len(r)))
    return {
        "covariance_type": model.covariance_type,
        "n_components": int(model.n_components),
        "log_likelihood": model.log_likelihood_,
        "n_parameters": model.n_parameters_,
        "aic": aic(model.log_likelihood_, model.n_parameters_),
        "bic": least,
        "icl": least - 2 * log_certainty(r, weight),
        "icl_entropy": least + 2 * soft_entropy(r, weight),
        "effective_components": effective_components(model.params_.weights),
        "converged": bool(model.converged_),
        "n_starts": model.n_starts_,
        "n_starts_at_best": model.n_starts_at_best_,
        "status": model.status_,
        "message": model.message_,
    }


def failed(covariance_type: str, n_components: int, error: Exception) -> dict[str, Any]:
    """Return the row of the table for a model that could not be fitted."""
    numbers = ("log_likelihood", "aic", "bic", "icl", "icl_entropy", "effective_components")
    counts = ("n_parameters", "n_starts", "n_starts_at_best")
    return {
        "covariance_type": covariance_type,
        "n_components": n_components,
        **dict.fromkeys(numbers, np.nan),
        **dict.fromkeys(counts, pd.NA),
        "converged": False,
        "status": "failed",
        "message": f"Could not be fitted: {error}",
    }


def soft_entropy(responsibilities: FloatArray, sample_weight: ArrayLike | None = None) -> float:
    """Return ``-sum_i sum_k r_ik log r_ik`` in nats: 0 where every row's group is certain, at most ``N log K``.

    With weights (N,), row i counts so many times.

    Celeux and Soromenho (1996), Journal of Classification 13, 195-212.

    Examples
    --------
    >>> import numpy as np
    >>> round(soft_entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), 4)
    0.6931
    """
    rows = entr(responsibilities).sum(axis=1)
    weight = check_weights(sample_weight, len(rows))
    return float(rows.sum() if weight is None else weight @ rows)


def effective_components(weights: FloatArray) -> float:
    """Return ``exp(-sum_k w_k log w_k)``: K when all K weights are equal, close to one when one component has nearly everything.

    Hill (1973), Ecology 54, 427-432: the diversity of order one.
    """
    return float(np.exp(entr(weights).sum()))


def repeated(rows: pd.DataFrame) -> pd.Series:
    """Say which rows have the numbers of an earlier one: the same K, parameters and log-likelihood, so the same model."""
    numbers = rows[["n_components", "n_parameters", "log_likelihood"]].to_numpy(float)
    same = np.abs(numbers[:, None] - numbers) <= np.array([0.0, 0.0, SAME_FIT]) * (1 + np.abs(numbers))
    return pd.Series(np.tril(same.all(-1), -1).any(1), index=rows.index)
