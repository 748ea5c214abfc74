"""The E-step: what one mixture expects of rows, as sufficient statistics or row by row.

A row with the values o observed has the marginal density of those columns, and given a component the rest of it is normal with moments
that are linear in what was seen. So the E-step of complete rows, run on every pattern's observed columns, says everything: its
statistics are carried over to all columns by matrices of the parameters alone (Ghahramani and Jordan 1994, Advances in Neural
Information Processing Systems 6, 120-127).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesgmm.kernels import estep
from bayesgmm.kernels.missing import gapped_statistics
from bayesgmm.kernels.score import score_from_statistics
from bayesgmm.kernels.threads import chunks, ordered_map, run_shared
from bayesgmm.rows.base import Chunk, Rows, chunk_size
from bayesgmm.rows.missing import Pattern
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Conditional", "Mixtures", "Statistics", "conditional_moments", "evaluate", "expectation", "expectations", "marginals"]

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
        Statistics(a.log_likelihood + b.log_likelihood, a.counts + b.counts, a.first + b.first, a.second + b.second)
        for a, b in zip(first, second, strict=True)
    ]


def _statistics(chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, diagonal: bool) -> Statistics:
    log_weights, means, scale_tril = map(writable, (log_weights, means, scale_tril))
    weight = _NO_WEIGHTS if chunk.weight is None else writable(chunk.weight)
    X, K, D = chunk.X, *means.shape
    size = chunk_size(len(chunk))
    n = -(-len(chunk) // size) if chunk.is_complete else len(chunk.pieces)
    if n <= 1 and chunk.is_complete:
        return Statistics(*estep.statistics(X, weight, log_weights, means, scale_tril, diagonal)[:4])
    totals, counts, first, second = np.empty(n), np.zeros((n, K)), np.zeros((n, K, D)), np.zeros((n, K, D, D))
    mixture = log_weights, means, scale_tril

    def of_complete(start: int, stop: int) -> None:
        sums = totals, counts, first, second
        estep.statistics_chunks(estep.STATISTICS, X, weight, size, start, stop, *mixture, diagonal, *sums)

    def of_gapped(start: int, stop: int) -> None:
        for i in range(start, stop):
            order, *values = chunk.pieces[i]
            own = weight if len(weight) == 0 else weight[order]
            totals[i] = gapped_statistics(estep.STATISTICS, *values, own, mixture, diagonal, counts[i], first[i], second[i])

    run_shared(of_complete if chunk.is_complete else of_gapped, n)
    return Statistics(float(totals.sum()), counts.sum(0), first.sum(0), second.sum(0))


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
    mixture = log_weights, means, scale_tril
    if chunk.is_complete:
        return _evaluate_complete(chunk.X, mixture, diagonal, joint, responsibilities)
    table, log_density = np.empty((len(chunk) if joint or responsibilities else 0, len(means))), np.empty(len(chunk))
    for part in chunk.patterns:
        if len(part.columns) == 0:
            log_density[part.rows] = 0.0
            rows = log_weights if joint else np.exp(log_weights)
        else:
            own = marginals(part, *mixture)
            rows, log_density[part.rows] = _evaluate_complete(part.X, own, diagonal, joint, responsibilities)
        if len(table):
            table[part.rows] = rows
    return table, log_density


def _evaluate_complete(
    X: FloatArray, mixture: tuple[FloatArray, FloatArray, FloatArray], diagonal: bool, joint: bool, responsibilities: bool
) -> tuple[FloatArray, FloatArray]:
    log_weights, means, scale_tril = map(writable, mixture)
    prepared = estep.prepare(log_weights, means, scale_tril, diagonal)
    N, K = len(X), len(means)
    empty = np.empty((0, K))
    table = np.empty((N, K)) if joint or responsibilities else empty
    log_density = np.empty(N)

    def task(start: int, stop: int) -> float:
        rows = slice(start, stop)
        outputs = (table[rows] if joint else empty, table[rows] if responsibilities else empty, log_density[rows])
        return estep.evaluate_rows(X, start, stop, prepared, diagonal, *outputs)

    for _ in ordered_map(task, chunks(N, chunk_size(N))):
        pass
    return table, log_density


class Conditional(NamedTuple):
    """What the rows of one pattern and the components say about the columns that the rows lack."""

    rows: IntArray
    """(n,): their numbers."""
    missing: IntArray
    """(m,)"""
    responsibilities: FloatArray
    """(n, K)"""
    means: FloatArray
    """(n, K, m)"""
    factors: FloatArray
    """(K, m, D): square roots of the conditional covariances, which are the same for all rows."""


def conditional_moments(chunk: Chunk, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> Iterator[Conditional]:
    """Yield, for every pattern that lacks something, what is expected of the missing columns; rows without any value lack all of them."""
    D = means.shape[1]
    for part in chunk.patterns:
        missing = np.setdiff1d(np.arange(D), part.columns)
        if len(missing) == 0:
            continue
        assert not isinstance(part.rows, slice), "complete rows lack nothing"
        n, K = len(part.X), len(means)
        if len(part.columns) == 0:
            r = np.broadcast_to(np.exp(log_weights), (n, K))
            yield Conditional(part.rows, missing, r, np.broadcast_to(means, (n, K, D)), scale_tril)
            continue
        factors, back = _marginal(scale_tril, part.columns)
        centres = np.ascontiguousarray(means[:, part.columns])
        r, _ = _evaluate_complete(part.X, (log_weights, centres, factors), False, False, True)
        z = np.linalg.solve(factors, np.swapaxes(part.X[None] - centres[:, None], -1, -2))  # (K, d, n)
        towards = scale_tril[:, missing] @ back
        conditional = means[:, missing][:, None] + np.swapaxes(towards @ z, -1, -2)  # (K, n, m)
        # The part of z that was not seen is the projection off the columns of `back`: its own square root.
        unseen = np.eye(D) - back @ np.swapaxes(back, -1, -2)
        yield Conditional(part.rows, missing, r, np.swapaxes(conditional, 0, 1), scale_tril[:, missing] @ unseen)


def marginals(
    part: Pattern, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mixture, or the batch of them, of a pattern's columns alone."""
    if len(part.columns) == means.shape[-1]:
        return log_weights, means, scale_tril
    return log_weights, np.ascontiguousarray(means[..., part.columns]), _marginal(scale_tril, part.columns)[0]


def _marginal(scale_tril: FloatArray, columns: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return Cholesky factors (K, d, d) of the covariances of some columns, and the way back from their whitened coordinates.

    With L_o the rows of L for those columns, L_o' = Q R gives the factor R' and Q (K, D, d): whitened by all columns, a row is expected
    at Q z_o given its observed part z_o, with covariance I - Q Q'. No covariance is formed, so nothing is lost where it is near singular.
    """
    q, r = np.linalg.qr(np.swapaxes(scale_tril[..., columns, :], -1, -2))
    sign = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    back = q * sign[..., None, :]
    return np.ascontiguousarray(np.swapaxes(r * sign[..., None], -1, -2)), back


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
    return Score(statistics.counts, means, scale)
