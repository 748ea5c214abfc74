"""Starts for rows whose components are known in part: in which order components go, and what the labelled rows themselves say of them."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

from bayesgmm.em.initialization import Sample, row_moments
from bayesgmm.em.m_step import Mixture, Settings, mixture_of
from bayesgmm.expectation import evaluate
from bayesgmm.rows import Chunk, MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["arranged", "from_known", "is_labelled"]

_MOST_LOOKED_AT = 2000


def shares_known(rows: MemoryRows) -> FloatArray | None:
    """Return the probabilities (n, K) of the components that are known for each row, all equal where nothing is; None without any."""
    if rows.known is None or rows.known.log_weights is None:
        return None
    shares = np.exp(rows.known.log_weights)
    return shares / shares.sum(1, keepdims=True)


def is_labelled(rows: MemoryRows) -> bool:
    """Say whether the component of every row is known."""
    shares = shares_known(rows)
    return shares is not None and bool((shares.max(1) == 1.0).all())


def arranged(mixture: Mixture, rows: MemoryRows, X: FloatArray) -> Mixture:
    """Return a mixture with its components in the order in which they fit best what is known of rows.

    Parameters
    ----------
    mixture : Mixture
    rows : MemoryRows
    X : array of shape (n, D)
        Their values, without gaps.
    """
    shares = shares_known(rows)
    if shares is None:
        return mixture
    said = np.flatnonzero(np.ptp(shares, axis=1) > 0)
    if not len(said):
        return mixture
    said = said[:: -(-len(said) // _MOST_LOOKED_AT)]
    r = evaluate(Chunk(X[said]), *mixture, responsibilities=True)[0]
    weight = np.ones(len(said)) if rows.weights is None else rows.weights[said]
    order = linear_sum_assignment(-(r * weight[:, None]).T @ shares[said])
    place = np.empty(len(r.T), dtype=int)
    place[order[1]] = order[0]
    return Mixture(mixture.log_weights[place], mixture.means[place], mixture.scale_tril[place])


def from_known(sample: Sample, other: Mixture, settings: Settings) -> Mixture:
    """Return a mixture of components that labelled rows describe, where there are enough of these, and else of those of another mixture.

    Parameters
    ----------
    sample : Sample
        With labels.
    other : Mixture
        With its components in order.
    settings : Settings
    """
    shares = shares_known(sample.rows)
    assert shares is not None
    X, (K, D) = sample.X, other.means.shape
    said = np.ptp(shares, axis=1) > 0
    weights = np.where(said, sample.weight, 0.0)[:, None] * _split_classes(X, shares, sample.weight)
    counts = weights.sum(0)
    enough = counts > D + 1
    means, covariances = other.means.copy(), other.covariances.copy()
    moments = {k: row_moments(X, weights[:, k]) for k in range(K) if counts[k] > 1}
    known = [k for k in moments if enough[k]]
    pooled = sum(counts[k] * moments[k][1] for k in known) / sum(counts[k] for k in known) if known else None
    for k, (mean, covariance) in moments.items():
        means[k] = mean
        if enough[k] and counts[k] > 3 * D:
            covariances[k] = covariance
        elif pooled is not None:
            covariances[k] = pooled
    total = np.where(counts > 1, counts, other.weights * sample.weight.sum())
    return mixture_of(total / total.sum() * sample.weight.sum(), means, covariances, settings)


def _split_classes(X: FloatArray, shares: FloatArray, weight: FloatArray) -> FloatArray:
    """Return shares (n, K) in which the components of one class, between which labels do not tell, have rows of their own."""
    shares = shares.copy()
    _, which = np.unique(shares, axis=1, return_inverse=True)
    for group in range(which.max() + 1):
        columns = np.flatnonzero(which.reshape(-1) == group)
        rows = np.flatnonzero(shares[:, columns[0]] > 1.0 / (shares.shape[1] + 0.5))
        if len(columns) < 2 or len(rows) <= len(columns):
            continue
        sd = X[rows].std(0)
        labels = KMeans(len(columns), n_init=3, random_state=0).fit_predict(
            X[rows] / np.where(sd > 0, sd, 1.0), sample_weight=weight[rows]
        )
        together = shares[np.ix_(rows, columns)].sum(1)
        shares[np.ix_(rows, columns)] = together[:, None] * np.eye(len(columns))[labels]
    return shares
