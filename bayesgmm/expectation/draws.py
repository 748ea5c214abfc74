"""Many mixtures and data: streams over the draws of a posterior."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.expectation import _draws
from bayesgmm.expectation._kernel import EVALUATE
from bayesgmm.expectation._threads import chunks, n_threads, ordered_map
from bayesgmm.expectation.core import writable
from bayesgmm.typing import FloatArray

BLOCK_NUMBERS = 6e6  # responsibilities that a block of rows may hold at a time, over all draws (48 MB)
ROWS = 1024  # rows per task over draws: K x 1024 responsibilities of one draw at a time


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
    X: FloatArray, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> DrawMoments:
    """Stream the responsibilities of T mixtures ``(T, K), (T, K, D), (T, K, D, D)`` at X (N, D) into their moments.

    Memory is of the order of the outputs: draws x rows x components never exist together.
    """
    X, log_weights, means, scale_tril = map(writable, (X, log_weights, means, scale_tril))
    T, K, _ = means.shape
    N = len(X)
    total, square, entropy = np.zeros((N, K)), np.zeros((N, K)), np.zeros(N)
    log_sum = np.full(N, -np.inf)

    def task(start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        logs, entropies = np.zeros(T), np.zeros(T)
        _draws.moments_rows(
            EVALUATE, X, start, stop, log_weights, means, scale_tril, diagonal, total, square, entropy, log_sum, logs, entropies
        )
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
    X: FloatArray,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    prob: float,
    diagonal: bool = False,
) -> ResponsibilitySummary:
    """Summarise the responsibilities of T mixtures at X (N, D), with the central interval that holds ``prob`` of the draws.

    A few rows at a time see all draws, which quantiles need; memory does not grow with N beyond the outputs.
    """
    X, log_weights, means, scale_tril = map(writable, (X, log_weights, means, scale_tril))
    T, K, _ = means.shape
    N = len(X)
    mean, sd, lower, upper = (np.empty((N, K)) for _ in range(4))
    out = ResponsibilitySummary(mean, sd, lower, upper, np.empty(N))
    size = max(1, min(512, int(BLOCK_NUMBERS / (T * K))))

    def task(start: int, stop: int) -> None:
        n, rows = stop - start, slice(start, stop)
        draws, total, square, entropy = np.empty((n, K, T)), np.zeros((n, K)), np.zeros((n, K)), np.zeros(n)
        _draws.block_draws(EVALUATE, X, start, stop, log_weights, means, scale_tril, diagonal, draws, total, square, entropy)
        out.mean[rows], out.sd[rows], out.entropy[rows] = total / T, _sd(total, square, T), entropy / T
        out.lower[rows], out.upper[rows] = central_interval(draws, prob)

    for _ in ordered_map(task, chunks(N, size)):
        pass
    return out


def _sd(total: FloatArray, square: FloatArray, n: int) -> FloatArray:
    """Standard deviation from sums; of numbers between 0 and 1, so good to 1e-8."""
    return np.sqrt(np.maximum(square / n - (total / n) ** 2, 0.0))


def central_interval(draws: FloatArray, prob: float) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the central interval over the last axis, by NumPy's linear interpolation; sorts ``draws`` in place."""
    T = draws.shape[-1]
    places = np.array([0.5 - prob / 2, 0.5 + prob / 2]) * (T - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, T - 1)
    draws.sort(axis=-1)  # vectorised in NumPy, and so faster than a partition at several places
    low, high = (draws[..., b] + (p - b) * (draws[..., a] - draws[..., b]) for p, b, a in zip(places, below, above, strict=True))
    return low, high


def cross_sums(
    X: FloatArray,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    reference: FloatArray,
    *,
    diagonal: bool = False,
) -> FloatArray:
    """Return ``out[t, j, m] = sum_i r_tij reference_im`` for ``reference (N, M)``: what relabelling needs to know of each draw."""
    X, log_weights, means, scale_tril = map(writable, (X, log_weights, means, scale_tril))
    T, K, _ = means.shape

    def task(start: int, stop: int) -> FloatArray:
        out = np.zeros((T, K, reference.shape[1]))
        _draws.cross_rows(EVALUATE, X, start, stop, log_weights, means, scale_tril, diagonal, reference, out)
        return out

    return np.sum(list(ordered_map(task, chunks(len(X), max(ROWS, len(X) // 16)))), axis=0)


def log_density_draws(
    X: FloatArray, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the log-densities ``(T, N)`` of X (N, D) under T mixtures."""
    out = np.empty((len(means), len(X)))
    _over_draws(_draws.densities_draws, out, X, log_weights, means, scale_tril, diagonal)
    return out


def responsibility_draws(
    X: FloatArray, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the responsibilities ``(T, N, K)`` of X (N, D) under T mixtures, all of them in memory."""
    out = np.empty((len(means), len(X), means.shape[1]))
    _over_draws(_draws.responsibilities_draws, out, X, log_weights, means, scale_tril, diagonal)
    return out


def _over_draws(kernel: Callable[..., None], out: FloatArray, X: FloatArray, *mixtures: Any) -> None:
    X = writable(X)
    mixtures = tuple(writable(part) if isinstance(part, np.ndarray) else part for part in mixtures)
    size = max(1, -(-len(out) // (4 * n_threads())))
    tasks = ordered_map(lambda first, last: kernel(EVALUATE, X, first, last, *mixtures, out), chunks(len(out), size))
    for _ in tasks:
        pass
