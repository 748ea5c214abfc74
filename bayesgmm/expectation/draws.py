"""Many mixtures and rows: what the draws of a posterior say of each row, streamed.

Rows with missing values are asked pattern by pattern (:mod:`bayesgmm.rows.missing`); one without any value has density one, the weights
as responsibilities, and lies in no tail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtrc

from bayesgmm.expectation.estep import marginals, writable
from bayesgmm.kernels import draws
from bayesgmm.kernels.estep import EVALUATE
from bayesgmm.kernels.threads import chunks, n_threads, ordered_map
from bayesgmm.rows.base import Chunk
from bayesgmm.typing import FloatArray

__all__ = [
    "DrawMoments",
    "Estimate",
    "Predictions",
    "ResponsibilitySummary",
    "cross_sums",
    "log_density_draws",
    "predictions",
    "responsibility_draws",
    "responsibility_moments",
    "responsibility_summary",
]

BLOCK_NUMBERS = 6e6  # responsibilities that a block of rows may hold at a time, over all draws (48 MB)
ROWS = 1024  # rows per task over draws: K x 1024 responsibilities of one draw at a time
MOST_ROWS = 512

type Batch = tuple[FloatArray, FloatArray, FloatArray]


class DrawMoments(NamedTuple):
    """Averages over T draws, and one number per draw."""

    mean: FloatArray
    """(N, K): mean responsibility."""
    sd: FloatArray
    """(N, K): standard deviation of the responsibility across draws."""
    entropy: FloatArray
    """(N,): mean over draws of the responsibilities' entropy, in nats."""
    log_density: FloatArray
    """(N,): log of the mean density."""
    draw_log_likelihood: FloatArray
    """(T,): log-likelihood of all rows under each draw."""
    draw_entropy: FloatArray
    """(T,): mean over rows of the responsibilities' entropy under each draw."""


def responsibility_moments(
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> DrawMoments:
    """Stream the responsibilities of T mixtures ``(T, K), (T, K, D), (T, K, D, D)`` at N rows into their moments.

    Memory is of the order of the outputs: draws x rows x components never exist together.
    """
    T, K = log_weights.shape
    N = len(chunk)
    if chunk.is_complete:
        return _moments(chunk.X, (log_weights, means, scale_tril), diagonal)
    out = DrawMoments(np.empty((N, K)), np.empty((N, K)), np.empty(N), np.empty(N), np.zeros(T), np.zeros(T))
    for part in chunk.patterns:
        if len(part.columns) == 0:
            here = _unseen_moments(np.exp(log_weights), len(part.X))
        else:
            here = _moments(part.X, marginals(part, log_weights, means, scale_tril), diagonal)
        for whole, rows in zip(out[:4], here[:4], strict=True):
            whole[part.rows] = rows
        out.draw_log_likelihood[:] += here.draw_log_likelihood
        out.draw_entropy[:] += here.draw_entropy * len(part.X) / N
    return out


def _moments(X: FloatArray, batch: Batch, diagonal: bool) -> DrawMoments:
    log_weights, means, scale_tril = map(writable, batch)
    T, K, _ = means.shape
    N = len(X)
    total, square, entropy = np.zeros((N, K)), np.zeros((N, K)), np.zeros(N)
    log_sum = np.full(N, -np.inf)

    def task(start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        logs, entropies = np.zeros(T), np.zeros(T)
        sums = total, square, entropy, log_sum, logs, entropies
        draws.moments_rows(EVALUATE, X, start, stop, log_weights, means, scale_tril, diagonal, *sums)
        return logs, entropies

    if N == 0:
        return DrawMoments(total, total, entropy, entropy, np.zeros(T), np.zeros(T))
    per_draw = [np.sum(parts, axis=0) for parts in zip(*ordered_map(task, chunks(N, ROWS)), strict=True)]
    return DrawMoments(total / T, _sd(total, square, T), entropy / T, log_sum - np.log(T), per_draw[0], per_draw[1] / N)


def _unseen_moments(weights: FloatArray, n: int) -> DrawMoments:
    """What n rows of which nothing is known contribute under mixtures with these weights (T, K)."""
    entropy = -np.sum(weights * np.log(np.where(weights > 0, weights, 1.0)), axis=1)
    mean, sd = (np.broadcast_to(m, (n, weights.shape[1])) for m in (weights.mean(0), weights.std(0)))
    return DrawMoments(mean, sd, np.full(n, entropy.mean()), np.zeros(n), np.zeros(len(weights)), entropy)


class ResponsibilitySummary(NamedTuple):
    """What the draws say of each row."""

    mean: FloatArray
    """(N, K)"""
    sd: FloatArray
    """(N, K)"""
    lower: FloatArray
    """(N, K): lower end of the central interval."""
    upper: FloatArray
    """(N, K): upper end of it."""
    entropy: FloatArray
    """(N,): mean over draws of the responsibilities' entropy, in nats."""


def responsibility_summary(
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, prob: float, diagonal: bool = False
) -> ResponsibilitySummary:
    """Summarise the responsibilities of T mixtures at N rows, with the central interval that holds ``prob`` of the draws.

    A few rows at a time see all draws, which quantiles need; memory does not grow with N beyond the outputs.
    """
    N, K = len(chunk), log_weights.shape[1]
    mean, sd, lower, upper = (np.empty((N, K)) for _ in range(4))
    out = ResponsibilitySummary(mean, sd, lower, upper, np.empty(N))
    for part in chunk.patterns:
        if len(part.columns) == 0:
            unseen = _unseen_moments(np.exp(log_weights), len(part.X))
            low, high = np.quantile(np.exp(log_weights), [0.5 - prob / 2, 0.5 + prob / 2], axis=0)
            here = ResponsibilitySummary(unseen.mean, unseen.sd, low, high, unseen.entropy)
        else:
            here = _summary(part.X, marginals(part, log_weights, means, scale_tril), prob, diagonal)
        for whole, rows in zip(out, here, strict=True):
            whole[part.rows] = rows
    return out


def _summary(X: FloatArray, batch: Batch, prob: float, diagonal: bool) -> ResponsibilitySummary:
    log_weights, means, scale_tril = map(writable, batch)
    T, K, _ = means.shape
    N = len(X)
    mean, sd, lower, upper = (np.empty((N, K)) for _ in range(4))
    out = ResponsibilitySummary(mean, sd, lower, upper, np.empty(N))

    def task(start: int, stop: int) -> None:
        n, rows = stop - start, slice(start, stop)
        values, total, square, entropy = np.empty((n, K, T)), np.zeros((n, K)), np.zeros((n, K)), np.zeros(n)
        draws.block_draws(EVALUATE, X, start, stop, log_weights, means, scale_tril, diagonal, values, total, square, entropy)
        out.mean[rows], out.sd[rows], out.entropy[rows] = total / T, _sd(total, square, T), entropy / T
        out.lower[rows], out.upper[rows] = central_interval(values, prob)

    for _ in ordered_map(task, chunks(N, max(1, min(MOST_ROWS, int(BLOCK_NUMBERS / (T * K)))))):
        pass
    return out


def _sd(total: FloatArray, square: FloatArray, n: int) -> FloatArray:
    """Standard deviation from sums; of numbers between 0 and 1, so good to 1e-8."""
    return np.sqrt(np.maximum(square / n - (total / n) ** 2, 0.0))


def central_interval(values: FloatArray, prob: float) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the central interval over the last axis, by NumPy's linear interpolation; sorts ``values`` in place."""
    T = values.shape[-1]
    places = np.array([0.5 - prob / 2, 0.5 + prob / 2]) * (T - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, T - 1)
    values.sort(axis=-1)  # vectorised in NumPy, and so faster than a partition at several places
    low, high = (values[..., b] + (p - b) * (values[..., a] - values[..., b]) for p, b, a in zip(places, below, above, strict=True))
    return low, high


def cross_sums(
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    reference: FloatArray,
    *,
    diagonal: bool = False,
) -> FloatArray:
    """Return ``out[t, j, m] = sum_i r_tij reference_im`` for ``reference (N, M)``: what relabelling needs to know of each draw."""
    out = np.zeros((*log_weights.shape, reference.shape[1]))
    for part in chunk.patterns:
        here = np.ascontiguousarray(reference[part.rows])
        if len(part.columns):
            out += _cross_sums(part.X, marginals(part, log_weights, means, scale_tril), here, diagonal)
        else:
            out += np.exp(log_weights)[..., None] * here.sum(0)
    return out


def _cross_sums(X: FloatArray, batch: Batch, reference: FloatArray, diagonal: bool) -> FloatArray:
    log_weights, means, scale_tril = map(writable, batch)

    def task(start: int, stop: int) -> FloatArray:
        out = np.zeros((*log_weights.shape, reference.shape[1]))
        draws.cross_rows(EVALUATE, X, start, stop, log_weights, means, scale_tril, diagonal, reference, out)
        return out

    return np.sum(list(ordered_map(task, chunks(len(X), max(ROWS, len(X) // 16)))), axis=0)


def log_density_draws(
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the log-densities ``(T, N)`` of N rows under T mixtures."""
    out = np.zeros((len(log_weights), len(chunk)))
    for part in chunk.patterns:
        if len(part.columns):
            batch = marginals(part, log_weights, means, scale_tril)
            out[:, part.rows] = _over_draws(draws.densities_draws, np.empty((len(out), len(part.X))), part.X, batch, diagonal)
    return out


def responsibility_draws(
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the responsibilities ``(T, N, K)`` of N rows under T mixtures, all of them in memory."""
    T, K = log_weights.shape
    if chunk.is_complete:
        return _over_draws(
            draws.responsibilities_draws, np.empty((T, len(chunk), K)), chunk.X, (log_weights, means, scale_tril), diagonal
        )
    out = np.empty((T, len(chunk), K))
    for part in chunk.patterns:
        if len(part.columns):
            batch = marginals(part, log_weights, means, scale_tril)
            out[:, part.rows] = _over_draws(draws.responsibilities_draws, np.empty((T, len(part.X), K)), part.X, batch, diagonal)
        else:
            out[:, part.rows] = np.exp(log_weights)[:, None]
    return out


def _over_draws(kernel: Callable[..., None], out: FloatArray, X: FloatArray, batch: Batch, diagonal: bool) -> FloatArray:
    mixtures: tuple[Any, ...] = (*map(writable, batch), diagonal)
    size = max(1, -(-len(out) // (4 * n_threads())))
    for _ in ordered_map(lambda first, last: kernel(EVALUATE, X, first, last, *mixtures, out), chunks(len(out), size)):
        pass
    return out


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
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, prob: float, diagonal: bool = False
) -> Predictions:
    """Summarise densities, distances and labels of N rows under T mixtures ``(T, K), (T, K, D), (T, K, D, D)``.

    A few rows at a time see all draws, which quantiles need; memory does not grow with N beyond the outputs. The tail probability is that
    of the chi-squared distribution with D degrees of freedom, which the squared Mahalanobis distance of a row of the component itself has
    (Mardia, Kent and Bibby 1979, Multivariate Analysis, theorem 2.5.2). With missing values, D is the number of values that a row has.
    """
    N, (T, K) = len(chunk), log_weights.shape
    out = Predictions(Estimate.empty(N), Estimate.empty(N), np.empty((N, K)))
    for part in chunk.patterns:
        if len(part.columns):
            _fill(out, np.arange(N)[part.rows], part.X, marginals(part, log_weights, means, scale_tril), prob, diagonal)
            continue
        # A row without values has density one and cannot lie in a tail; its label is the largest weight.
        for estimate, value in ((out.log_density, 0.0), (out.tail, 1.0)):
            for numbers in estimate:
                numbers[part.rows] = value
        out.votes[part.rows] = np.bincount(log_weights.argmax(axis=1), minlength=K) / T
    return out


def _fill(out: Predictions, places: np.ndarray, X: FloatArray, batch: Batch, prob: float, diagonal: bool) -> None:
    """Write what the draws say of complete rows to their places."""
    log_weights, means, scale_tril = map(writable, batch)
    T, K, D = means.shape
    offsets = log_weights - np.log(np.diagonal(scale_tril, axis1=-2, axis2=-1)).sum(-1) - D / 2 * np.log(2 * np.pi)

    def task(start: int, stop: int) -> None:
        n, rows = stop - start, places[start:stop]
        logs, squared, votes = np.empty((n, T)), np.empty((n, T)), np.zeros((n, K))
        mixtures = log_weights, offsets, means, scale_tril
        draws.nearest_rows(EVALUATE, X, start, stop, *mixtures, diagonal, logs, squared, votes)
        tail = chdtrc(D, squared)
        out.votes[rows] = votes / T
        out.log_density.value[rows] = np.logaddexp.reduce(logs, axis=1) - np.log(T)
        out.tail.value[rows] = tail.mean(axis=1)
        for estimate, values in ((out.log_density, logs), (out.tail, tail)):
            estimate.lower[rows], estimate.upper[rows] = central_interval(values, prob)

    for _ in ordered_map(task, chunks(len(X), max(1, min(MOST_ROWS, int(BLOCK_NUMBERS / (3 * T)))))):
        pass
