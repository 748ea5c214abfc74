"""Many mixtures and new rows: log predictive densities, tail probabilities and labels, streamed over rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

from bayesgmm.expectation import _nearest
from bayesgmm.expectation._kernel import EVALUATE
from bayesgmm.expectation._threads import chunks, ordered_map
from bayesgmm.expectation.core import writable
from bayesgmm.expectation.draws import BLOCK_NUMBERS, central_interval
from bayesgmm.expectation.missing import Gaps, marginals
from bayesgmm.typing import FloatArray

__all__ = ["Estimate", "Predictions", "predictions"]

MOST_ROWS = 512


class Estimate(NamedTuple):
    """A quantity of each row, and its central interval over the draws."""

    value: FloatArray
    """(N,)"""
    lower: FloatArray
    """(N,)"""
    upper: FloatArray
    """(N,)"""

    @classmethod
    def empty(cls, n_rows: int) -> Estimate:
        """Return an estimate of so many rows, to be filled."""
        return cls(*(np.empty(n_rows) for _ in range(3)))


class Predictions(NamedTuple):
    """What T draws say of N rows."""

    log_density: Estimate
    """Log of the mean density, and the interval of the draws' log-densities."""
    tail: Estimate
    """Mean over draws of the tail probability of the nearest component, and its interval."""
    votes: FloatArray
    """(N, K): share of the draws under which the component is the most probable."""


def predictions(
    X: FloatArray | Gaps, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, prob: float, diagonal: bool = False
) -> Predictions:
    """Summarise densities, distances and labels of rows X (N, D) under T mixtures ``(T, K), (T, K, D), (T, K, D, D)``.

    A few rows at a time see all draws, which quantiles need; memory does not grow with N beyond the outputs. The tail probability is that
    of the chi-squared distribution with D degrees of freedom, which the squared Mahalanobis distance of a row of the component itself has
    (Mardia, Kent and Bibby 1979, Multivariate Analysis, theorem 2.5.2). With gaps, D is the number of values that a row has.
    """
    T, K, _ = means.shape
    out = Predictions(Estimate.empty(len(X)), Estimate.empty(len(X)), np.empty((len(X), K)))
    if not isinstance(X, Gaps):
        _fill(out, np.arange(len(X)), X, (log_weights, means, scale_tril), prob, diagonal)
        return out
    for part in X.patterns:
        if len(part.columns):
            _fill(out, part.rows, part.X, marginals(part, log_weights, means, scale_tril), prob, diagonal)
            continue
        # A row without values has density one and cannot lie in a tail; its label is the largest weight.
        for estimate, value in ((out.log_density, 0.0), (out.tail, 1.0)):
            for numbers in estimate:
                numbers[part.rows] = value
        out.votes[part.rows] = np.bincount(log_weights.argmax(axis=1), minlength=K) / T
    return out


def _fill(
    out: Predictions,
    places: np.ndarray,
    X: FloatArray,
    mixtures: tuple[FloatArray, FloatArray, FloatArray],
    prob: float,
    diagonal: bool,
) -> None:
    """Write what the draws say of complete rows to their places."""
    X = writable(X)
    log_weights, means, scale_tril = mixtures
    T, K, D = means.shape
    offsets = log_weights - np.log(np.diagonal(scale_tril, axis1=-2, axis2=-1)).sum(-1) - D / 2 * np.log(2 * np.pi)

    def task(start: int, stop: int) -> None:
        n, rows = stop - start, places[start:stop]
        logs, squared, votes = np.empty((n, T)), np.empty((n, T)), np.zeros((n, K))
        _nearest.nearest_rows(EVALUATE, X, start, stop, log_weights, offsets, means, scale_tril, diagonal, logs, squared, votes)
        tail = chdtrc(D, squared)
        out.votes[rows] = votes / T
        out.log_density.value[rows] = np.logaddexp.reduce(logs, axis=1) - np.log(T)
        out.tail.value[rows] = tail.mean(axis=1)
        for estimate, draws in ((out.log_density, logs), (out.tail, tail)):
            estimate.lower[rows], estimate.upper[rows] = central_interval(draws, prob)

    for _ in ordered_map(task, chunks(len(X), max(1, min(MOST_ROWS, int(BLOCK_NUMBERS / (3 * T)))))):
        pass
