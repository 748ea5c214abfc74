"""Are responsibilities right as often as they say? Asked where the true groups are known, as in simulated data."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import beta

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels import match
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_prob

__all__ = ["brier_score", "calibration_error", "check_pair", "log_score", "match_to_truth", "reliability_curve"]

_TOLERANCE = 1e-6
_LEAST = 1e-300  # stands for zero in the logarithm


def check_pair(responsibilities: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Return responsibilities (N, K) and true groups (N,) as arrays, or say what is wrong with them.

    Raises
    ------
    InvalidDataError
        If responsibilities are not rows of probabilities, or the true groups are not as many whole numbers from 0 to K - 1.
    """
    table, groups = np.asarray(responsibilities, dtype=float), np.asarray(truth)
    if table.ndim != 2 or not table.size:
        raise InvalidDataError(f"responsibilities must have shape (rows, groups), got {table.shape}")
    if not (table >= -_TOLERANCE).all() or not np.allclose(table.sum(axis=1), 1.0, rtol=0, atol=_TOLERANCE):
        raise InvalidDataError("responsibilities must be at least zero and add up to one in every row")
    if groups.shape != table.shape[:1]:
        raise InvalidDataError(f"truth must have one group for each of the {len(table)} rows, got shape {groups.shape}")
    if groups.dtype.kind not in "iu" or groups.min() < 0 or groups.max() >= table.shape[1]:
        raise InvalidDataError(
            f"truth must be whole numbers from 0 to {table.shape[1] - 1}, one group for each column of responsibilities"
        )
    return np.clip(table, 0.0, 1.0), groups.astype(np.intp)


def match_to_truth(responsibilities: ArrayLike, truth: ArrayLike) -> FloatArray:
    """Return responsibilities (N, K) with their columns in the order that agrees with the true groups (N,) best.

    Of all orders, the one with the greatest sum of the true groups' responsibilities: names of groups are arbitrary, and an estimate that
    has found the groups must not suffer for having named them otherwise.

    Parameters
    ----------
    responsibilities : array-like of shape (N, K)
    truth : int array-like of shape (N,)
        True groups, from 0 to K - 1.

    Returns
    -------
    array of shape (N, K)

    Raises
    ------
    InvalidDataError
        See `check_pair`.

    Examples
    --------
    >>> match_to_truth([[0.1, 0.9], [0.8, 0.2]], [0, 1])
    array([[0.9, 0.1],
           [0.2, 0.8]])
    """
    table, groups = check_pair(responsibilities, truth)
    gain = table.T @ np.eye(table.shape[1])[groups]
    return table[:, match(-gain)]


def log_score(responsibilities: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean of ``-log`` of the true group's responsibility, in nats: zero is best.

    Parameters
    ----------
    responsibilities : array-like of shape (N, K)
        With columns in the order of the true groups; see :func:`match_to_truth`.
    truth : int array-like of shape (N,)
        True groups, from 0 to K - 1.

    Returns
    -------
    float

    Examples
    --------
    >>> round(log_score([[0.9, 0.1], [0.5, 0.5]], [0, 1]), 4)
    0.3993
    """
    table, groups = check_pair(responsibilities, truth)
    return float(-np.log(np.maximum(table[np.arange(len(groups)), groups], _LEAST)).mean())


def brier_score(responsibilities: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean squared distance between a row's responsibilities and its true group, from 0 (best) to 2.

    Parameters
    ----------
    responsibilities : array-like of shape (N, K)
        With columns in the order of the true groups; see :func:`match_to_truth`.
    truth : int array-like of shape (N,)
        True groups, from 0 to K - 1.

    Returns
    -------
    float

    Notes
    -----
    Brier 1950, Monthly Weather Review 78, 1-3.

    Examples
    --------
    >>> brier_score([[0.9, 0.1], [0.5, 0.5]], [0, 1])
    0.26
    """
    table, groups = check_pair(responsibilities, truth)
    return float(((table - np.eye(table.shape[1])[groups]) ** 2).sum(axis=1).mean())


def reliability_curve(responsibilities: ArrayLike, truth: ArrayLike, *, n_bins: int = 10, prob: float = 0.9) -> pd.DataFrame:
    """Compare the probability of each row's most probable group with how often that group is the true one.

    Parameters
    ----------
    responsibilities : array of shape (N, K)
    truth : int array of shape (N,)
        With the labels of the responsibilities: see `match_to_truth`.
    n_bins : int
        Bins of equal width between 1 / K, below which no largest probability lies, and 1.
    prob : float
        Of the binomial intervals.

    Returns
    -------
    pandas.DataFrame
        One row for each bin that holds rows: ``predicted`` (mean probability), ``correct`` (share of rows that are in that group),
        ``lower`` and ``upper`` (interval of that share) and ``n`` (rows).

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Notes
    -----
    The interval is that of Clopper and Pearson (1934), Biometrika 26, 404-413, which takes rows for independent. Averaged over bins by
    their rows, the distance of ``correct`` from ``predicted`` is the `calibration_error`.

    Examples
    --------
    >>> reliability_curve([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [0, 1, 1], n_bins=1)[["predicted", "correct", "n"]]
       predicted   correct  n
    0   0.866667  0.666667  3
    """
    table, groups = check_pair(responsibilities, truth)
    if n_bins < 1:
        raise InvalidParameterError(f"n_bins must be at least 1, got {n_bins}")
    check_prob(prob)
    largest, correct = table.max(axis=1), table.argmax(axis=1) == groups
    places = _bins(largest, table.shape[1], n_bins)
    n = np.bincount(places, minlength=n_bins)
    hits, predicted = np.bincount(places, correct, n_bins), np.bincount(places, largest, n_bins)
    there = n > 0
    n, hits, predicted = n[there], hits[there], predicted[there]
    tail = (1 - prob) / 2
    lower = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0.0)
    upper = np.where(hits < n, beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1)), 1.0)
    return pd.DataFrame({"predicted": predicted / n, "correct": hits / n, "lower": lower, "upper": upper, "n": n})


def calibration_error(responsibilities: ArrayLike, truth: ArrayLike, *, n_bins: int = 10) -> float:
    """Return the expected calibration error: how far the share correct lies from the probability claimed, averaged over rows.

    Parameters
    ----------
    responsibilities : array-like of shape (N, K)
        With columns in the order of the true groups; see :func:`match_to_truth`.
    truth : int array-like of shape (N,)
        True groups, from 0 to K - 1.
    n_bins : int
        As in :func:`reliability_curve`.

    Returns
    -------
    float

    Notes
    -----
    Naeini, Cooper and Hauskrecht 2015, AAAI 29, 2901-2907. Zero is best; few rows leave it above zero by chance.

    Examples
    --------
    >>> round(calibration_error([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [0, 1, 1], n_bins=1), 4)
    0.2
    """
    curve = reliability_curve(responsibilities, truth, n_bins=n_bins)
    return float(np.average((curve["correct"] - curve["predicted"]).abs(), weights=curve["n"]))


def _bins(largest: FloatArray, n_components: int, n_bins: int) -> IntArray:
    """Return the bin (N,) of each largest probability; one component is always certain, and in the last bin."""
    least = 1 / n_components
    share = np.ones_like(largest) if n_components == 1 else (largest - least) / (1 - least)
    return np.clip((share * n_bins).astype(np.intp), 0, n_bins - 1)
