"""The E-step: what one mixture expects of rows, as sufficient statistics or row by row.

A row with missing values has the marginal density of the columns that it has, and given a component the rest of it is normal with moments
that are linear in what was seen; statistics are their expectations (Ghahramani and Jordan 1994, Advances in Neural Information Processing
Systems 6, 120-127). Rows in any order go through one compiled pass, whatever each of them lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.kernels import estep
from bayesgmm.kernels import known as kernel
from bayesgmm.kernels.compile import Pointer
from bayesgmm.kernels.known import EVALUATE_KNOWN, KNOWN_STATISTICS
from bayesgmm.kernels.missing import EVALUATE_GAPPED, GAPPED_STATISTICS
from bayesgmm.kernels.score import score_from_statistics
from bayesgmm.kernels.threads import chunks, ordered_map, run_shared
from bayesgmm.rows.base import Chunk, Rows, chunk_size
from bayesgmm.rows.known import Known
from bayesgmm.typing import FloatArray

__all__ = [
    "Mixtures",
    "Statistics",
    "densities_of_table",
    "evaluate",
    "evaluation_pass",
    "expectation",
    "expectations",
    "filled",
    "statistics_of_table",
    "statistics_pass",
    "values_behind",
]

Mixtures = Sequence[tuple[FloatArray, FloatArray, FloatArray]]
"""Log weights (K,), means (K, D) and Cholesky factors (K, D, D) of some mixtures."""

_NO_WEIGHTS = np.empty(0)


class Statistics(NamedTuple):
    """What the E-step knows about the data: enough for the M-step and for the gradient.

    Sums run over rows with responsibilities r (times the row's weight), in the coordinates ``z = L_k^-1 (x - mu_k)`` of the component
    under which they were computed. Statistics of different rows under the same mixture add up.
    """

    log_likelihood: float
    counts: FloatArray
    """(K,): sum of r."""
    first: FloatArray
    """(K, D): sum of r z."""
    second: FloatArray
    """(K, D, D): sum of r z z'; symmetric, or diagonal under ``diagonal=True``."""
    labels: FloatArray
    """(K,): sum of r over labels, of which every row has one, or every set of rows: what weights are estimated by."""


def expectation(
    rows: Rows, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> Statistics:
    """Run the E-step: log-likelihood and expected sufficient statistics in one pass over the rows.

    With missing values, the log-likelihood is that of the values that are there, and the statistics are their conditional expectations
    given them: in the M-step nothing changes.

    Parameters
    ----------
    rows : Rows
        N of them, each with its weight.
    log_weights, means, scale_tril : arrays of shape (K,), (K, D), (K, D, D)
        The mixture.
    diagonal : bool
        Whether the scale factors are diagonal: the work then grows with D, not with its square, and ``second`` is diagonal.

    Returns
    -------
    Statistics

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.rows import MemoryRows
    >>> rows = MemoryRows(np.array([[-1.0], [1.0]]))
    >>> stats = expectation(rows, np.zeros(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    >>> stats.counts, stats.second.ravel()
    (array([2.]), array([2.]))
    """
    return expectations(rows, [(log_weights, means, scale_tril)], diagonal=diagonal)[0]


def expectations(rows: Rows, mixtures: Mixtures, *, diagonal: bool = False) -> list[Statistics]:
    """Run the E-step for several mixtures in one pass over the rows; see :func:`expectation`."""
    return rows.map_reduce(_EStep(tuple(mixtures), diagonal), _added)


@dataclass(frozen=True, eq=False)
class _EStep:
    """The E-step of one chunk under some mixtures."""

    mixtures: Mixtures
    diagonal: bool

    def __call__(self, chunk: Chunk) -> list[Statistics]:
        return [_statistics(chunk, *mixture, self.diagonal) for mixture in self.mixtures]


def _added(first: list[Statistics], second: list[Statistics]) -> list[Statistics]:
    return [
        Statistics(*(own + other for own, other in zip(_parts(a), _parts(b), strict=True)))
        for a, b in zip(first, second, strict=True)
    ]


def _parts(statistics: Statistics) -> tuple[Any, ...]:
    return tuple(statistics)


def _statistics(chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, diagonal: bool) -> Statistics:
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    weight = _NO_WEIGHTS if chunk.weight is None else writable(chunk.weight)
    X, K, D = chunk.table(len(means)), *means.shape
    # A set is one piece, wherever its rows are.
    size = len(chunk) if chunk.known is not None and chunk.known.sets is not None else chunk_size(len(chunk))
    n = -(-len(chunk) // max(size, 1))
    e_step = statistics_pass(chunk)
    if n <= 1:
        return _of_sums(K, *e_step.function(X, weight, log_weights, means, scale_tril, diagonal)[:4])
    totals, first, second = np.empty(n), np.zeros((n, K, D)), np.zeros((n, K, D, D))
    counts = np.zeros((n, K if chunk.known is None else len(log_weights) + K))
    mixture = log_weights, means, scale_tril

    def task(start: int, stop: int) -> None:
        estep.statistics_chunks(e_step, X, weight, size, start, stop, *mixture, diagonal, totals, counts, first, second)

    run_shared(task, n)
    return _of_sums(K, float(totals.sum()), counts.sum(0), first.sum(0), second.sum(0))


def _of_sums(K: int, value: float, counts: FloatArray, first: FloatArray, second: FloatArray) -> Statistics:
    """Return statistics of a pass, whose last K counts are those of rows; those before them, if there are more, are of labels."""
    labels = counts[:-K] if len(counts) > K else counts
    return Statistics(value, counts[-K:], first, second, labels)


def statistics_pass(chunk: Chunk) -> Pointer:
    """Return the compiled E-step of a chunk's rows: complete ones, those of which some lack values, or of which more is known."""
    if chunk.known is not None:
        return KNOWN_STATISTICS
    return estep.STATISTICS if chunk.is_complete else GAPPED_STATISTICS


def evaluation_pass(chunk: Chunk) -> Pointer:
    """Return the compiled evaluation of a chunk's rows."""
    if chunk.known is not None:
        return EVALUATE_KNOWN
    return estep.EVALUATE if chunk.is_complete else EVALUATE_GAPPED


def writable(array: FloatArray) -> FloatArray:
    """Return the array, or a copy if it is read-only: the kernels are compiled once, for arrays that may be written to."""
    return array if array.flags.writeable else array.copy()


def evaluate(
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    diagonal: bool = False,
    joint: bool = False,
    responsibilities: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Evaluate a mixture row by row.

    The density of a row with missing values is that of the values it has; a row without any has density one and the weights as
    responsibilities.

    Parameters
    ----------
    chunk : Chunk
        N rows.
    log_weights, means, scale_tril, diagonal
        As in :func:`expectation`.
    joint, responsibilities : bool
        Which (N, K) array to return; at most one.

    Returns
    -------
    table : array of shape (N, K)
        ``log w_k + log N(x_i | mu_k, Sigma_k)`` for ``joint``, responsibilities for ``responsibilities``, otherwise empty.
    log_density : array of shape (N,)
        ``log p(x_i)``.
    """
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    prepared = estep.prepare(log_weights, means, scale_tril, diagonal)
    N, K = len(chunk), len(means)
    empty = np.empty((0, K))
    table = np.empty((N, K)) if joint or responsibilities else empty
    X, log_density, evaluated = chunk.table(K), np.empty(N), evaluation_pass(chunk).function

    def task(start: int, stop: int) -> float:
        rows = slice(start, stop)
        outputs = (table[rows] if joint else empty, table[rows] if responsibilities else empty, log_density[rows], empty[:, 0])
        return evaluated(X, start, stop, prepared, diagonal, *outputs)

    for _ in ordered_map(task, chunks(N, chunk_size(N))):
        pass
    return table, log_density


def statistics_of_table(
    table: FloatArray,
    sample_weight: FloatArray,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    diagonal: bool = False,
) -> Statistics:
    """Run the E-step on a table of all that is known of rows (:mod:`bayesgmm.kernels.known`); weights (N,) may be empty."""
    arrays = map(writable, (table, sample_weight, log_weights, means, scale_tril))
    return _of_sums(len(means), *KNOWN_STATISTICS.function(*arrays, diagonal)[:4])


def densities_of_table(
    table: FloatArray, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return the log-densities (N,) of the rows of a table of all that is known of them."""
    table, log_weights, means, scale_tril = map(writable, (table, log_weights, means, scale_tril))
    prepared = estep.prepare(log_weights, means, scale_tril, diagonal)
    nothing, out = np.empty((0, len(means))), np.empty(len(table))
    EVALUATE_KNOWN.function(table, 0, len(table), prepared, diagonal, nothing, nothing, out, nothing[:, 0])
    return out


def values_behind(
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    rng: np.random.Generator | None = None,
    *,
    diagonal: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return what the values of rows are without gaps and errors of measurement: expectations (N, D) and variances (N, D).

    Parameters
    ----------
    chunk : Chunk
    log_weights, means, scale_tril, diagonal
        As in :func:`expectation`.
    rng : Generator, optional
        To draw values from what they could be, in place of their expectations; the variances are then without meaning.
    """
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    responsibilities = evaluate(chunk, log_weights, means, scale_tril, diagonal=diagonal, responsibilities=True)[0]
    known = Known() if chunk.known is None else chunk.known
    (N, D), table = chunk.X.shape, known.table(chunk.X, None, len(means))
    values, variances = np.empty((N, D)), np.empty((N, D))
    n_drawn = 0 if rng is None else N
    rng = np.random.default_rng(0) if rng is None else rng
    uniform, normal = rng.random(n_drawn), rng.standard_normal((n_drawn, 2 * D))

    def task(start: int, stop: int) -> None:
        kernel.values_behind(table, start, stop, means, scale_tril, diagonal, responsibilities, uniform, normal, values, variances)

    for _ in ordered_map(task, chunks(N, chunk_size(N))):
        pass
    return values, variances


def filled(
    chunk: Chunk,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    rng: np.random.Generator | None = None,
) -> FloatArray:
    """Return rows (N, D) with what they lack at its conditional mean under a mixture, or drawn from what it could be.

    Parameters
    ----------
    chunk : Chunk
    log_weights, means, scale_tril
        As in :func:`expectation`.
    rng : Generator, optional
        To draw by.
    """
    gappy = np.isnan(chunk.X).any(axis=1)
    if chunk.known is not None and chunk.known.sets is not None:
        gappy[:] = True  # what a row lacks depends on its whole set
    out = chunk.X.copy()
    values = values_behind(chunk.take(np.flatnonzero(gappy)), log_weights, means, scale_tril, rng)[0]
    out[gappy] = np.where(np.isnan(out[gappy]), values, out[gappy])
    return out


class Score(NamedTuple):
    """Derivatives of the log-likelihood.

    ``log_weights`` (K,) as if the weights were free (before the simplex), ``means`` (K, D), ``scale_tril`` (K, D, D), lower triangular.
    """

    log_weights: FloatArray
    means: FloatArray
    scale_tril: FloatArray


def score(statistics: Statistics, whiten: FloatArray) -> Score:
    """Return the gradient of the observed-data log-likelihood by Fisher's identity.

    The score of the observed data is the expected score of the complete data (Fisher 1925; Dempster, Laird and Rubin 1977,
    section 3). With counts n, ``s = sum r z``, ``S = sum r z z'`` and ``W = L^-1`` for each component: n for the log weights, ``W' s``
    for the mean, and the lower triangle of ``W' (S - n I)`` for the Cholesky factor.

    Parameters
    ----------
    statistics : Statistics
        Under the mixture at which the gradient is wanted.
    whiten : array of shape (K, D, D)
        Inverses of the mixture's Cholesky factors.
    """
    means, scale = np.zeros_like(statistics.first), np.zeros_like(statistics.second)
    score_from_statistics(statistics.counts, statistics.first, statistics.second, whiten, False, means, scale)
    return Score(statistics.labels, means, scale)
