"""Many mixtures and rows: what the draws of a posterior say of each row, streamed.

A row with missing values is judged by those that it has; one without any has density one, the weights as responsibilities, and lies in no
tail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

from bayesgmm.expectation.estep import evaluation_pass, writable
from bayesgmm.kernels import draws
from bayesgmm.kernels.threads import chunks, n_threads, ordered_map
from bayesgmm.rows.base import Chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "DrawMoments",
    "Estimate",
    "Grouping",
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


class Grouping(NamedTuple):
    """Groups of components: the draws of a posterior in which their number differs have the same groups."""

    of_component: IntArray
    """(T, K): which group each component of a draw belongs to."""
    n_groups: int
    """Number of groups G."""


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
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    diagonal: bool = False,
    grouping: Grouping | None = None,
) -> DrawMoments:
    """Stream the responsibilities of T mixtures ``(T, K), (T, K, D), (T, K, D, D)`` at N rows into their moments.

    Memory is of the order of the outputs: draws x rows x components never exist together. With a grouping, they are those of groups.
    """
    X, evaluate, N = chunk.table(means.shape[1]), evaluation_pass(chunk), len(chunk)
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    groups, K = _columns(grouping, *means.shape[:2])
    T = len(means)
    total, square, entropy = np.zeros((N, K)), np.zeros((N, K)), np.zeros(N)
    log_sum = np.full(N, -np.inf)

    def task(start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        logs, entropies = np.zeros(T), np.zeros(T)
        sums = total, square, entropy, log_sum, logs, entropies
        draws.moments_rows(evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, groups, *sums)
        return logs, entropies

    if N == 0:
        return DrawMoments(total, total, entropy, entropy, np.zeros(T), np.zeros(T))
    per_draw = [np.sum(parts, axis=0) for parts in zip(*ordered_map(task, chunks(N, ROWS)), strict=True)]
    return DrawMoments(total / T, _sd(total, square, T), entropy / T, log_sum - np.log(T), per_draw[0], per_draw[1] / N)


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
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    prob: float,
    diagonal: bool = False,
    grouping: Grouping | None = None,
) -> ResponsibilitySummary:
    """Summarise the responsibilities of T mixtures at N rows, with the central interval that holds ``prob`` of the draws.

    A few rows at a time see all draws, which quantiles need; memory does not grow with N beyond the outputs. With a grouping, they are
    those of groups.
    """
    X, evaluate, N = chunk.table(means.shape[1]), evaluation_pass(chunk), len(chunk)
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    groups, K = _columns(grouping, *means.shape[:2])
    T = len(means)
    mean, sd, lower, upper = (np.empty((N, K)) for _ in range(4))
    out = ResponsibilitySummary(mean, sd, lower, upper, np.empty(N))

    def task(start: int, stop: int) -> None:
        n, rows = stop - start, slice(start, stop)
        values, total, square, entropy = np.empty((n, K, T)), np.zeros((n, K)), np.zeros((n, K)), np.zeros(n)
        draws.block_draws(
            evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, groups, values, total, square, entropy
        )
        out.mean[rows], out.sd[rows], out.entropy[rows] = total / T, _sd(total, square, T), entropy / T
        out.lower[rows], out.upper[rows] = central_interval(values, prob)

    for _ in ordered_map(task, chunks(N, max(1, min(MOST_ROWS, int(BLOCK_NUMBERS / (T * K)))))):
        pass
    return out


def _columns(grouping: Grouping | None, T: int, K: int) -> tuple[IntArray, int]:
    """Return the groups of all components as compiled passes take them, and the number of columns of responsibilities."""
    if grouping is None:
        return np.empty((T, 0), np.int64), K
    return np.ascontiguousarray(grouping.of_component, dtype=np.int64), grouping.n_groups


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
    X, evaluate, reference = chunk.table(means.shape[1]), evaluation_pass(chunk), np.ascontiguousarray(reference)
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))

    def task(start: int, stop: int) -> FloatArray:
        out = np.zeros((*means.shape[:2], reference.shape[1]))
        draws.cross_rows(evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, reference, out)
        return out

    return np.sum(list(ordered_map(task, chunks(len(X), max(ROWS, len(X) // 16)))), axis=0)


def log_density_draws(
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the log-densities ``(T, N)`` of N rows under T mixtures."""
    out = np.empty((len(means), len(chunk)))
    return _over_draws(draws.densities_draws, out, chunk, (log_weights, means, scale_tril), diagonal)


def responsibility_draws(
    chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the responsibilities ``(T, N, K)`` of N rows under T mixtures, all of them in memory."""
    T, K = means.shape[:2]
    out = np.empty((T, len(chunk), K))
    return _over_draws(draws.responsibilities_draws, out, chunk, (log_weights, means, scale_tril), diagonal)


def _over_draws(kernel: Callable[..., None], out: FloatArray, chunk: Chunk, batch: Batch, diagonal: bool) -> FloatArray:
    X, evaluate, mixtures = chunk.table(batch[1].shape[1]), evaluation_pass(chunk), (*map(writable, batch), diagonal)
    size = max(1, -(-len(out) // (4 * n_threads())))
    for _ in ordered_map(lambda first, last: kernel(evaluate, X, first, last, *mixtures, out), chunks(len(out), size)):
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
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    prob: float,
    diagonal: bool = False,
    grouping: Grouping | None = None,
) -> Predictions:
    """Summarise densities, distances and labels of N rows under T mixtures ``(T, K), (T, K, D), (T, K, D, D)``.

    A few rows at a time see all draws, which quantiles need; memory does not grow with N beyond the outputs. The tail probability is that
    of the chi-squared distribution with D degrees of freedom, which the squared Mahalanobis distance of a row of the component itself has
    (Mardia, Kent and Bibby 1979, Multivariate Analysis, theorem 2.5.2). With missing values, D is the number of values that a row has.
    """
    X, evaluate, N = chunk.table(means.shape[1]), evaluation_pass(chunk), len(chunk)
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    groups, K = _columns(grouping, *means.shape[:2])
    T, _, D = means.shape
    n_values = D - np.isnan(chunk.X).sum(axis=1)
    out = Predictions(Estimate.empty(N), Estimate.empty(N), np.empty((N, K)))

    def task(start: int, stop: int) -> None:
        n, rows = stop - start, slice(start, stop)
        logs, squared, votes = np.empty((n, T)), np.empty((n, T)), np.zeros((n, K))
        draws.nearest_rows(evaluate, X, start, stop, log_weights, means, scale_tril, diagonal, groups, logs, squared, votes)
        known = n_values[rows, None]
        tail = np.where(known > 0, chdtrc(np.maximum(known, 1), squared), 1.0)
        out.votes[rows] = votes / T
        out.log_density.value[rows] = np.where(known[:, 0] > 0, np.logaddexp.reduce(logs, axis=1) - np.log(T), 0.0)
        out.tail.value[rows] = tail.mean(axis=1)
        for estimate, values in ((out.log_density, logs), (out.tail, tail)):
            estimate.lower[rows], estimate.upper[rows] = central_interval(values, prob)

    for _ in ordered_map(task, chunks(N, max(1, min(MOST_ROWS, int(BLOCK_NUMBERS / (3 * T)))))):
        pass
    return out
