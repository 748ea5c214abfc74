"""The E-step when some values are missing: rows that lack the same columns are a complete problem in the columns they have.

A row with the values o observed has the marginal density of those columns, and given a component the rest of it is normal with moments
that are linear in what was seen. So the E-step of complete rows, run on every pattern's observed columns, says everything: its
statistics are carried over to all columns by matrices of the parameters alone (Ghahramani and Jordan 1994, Advances in Neural
Information Processing Systems 6, 120-127; Little and Rubin 2019, Statistical Analysis with Missing Data, chapter 11). Values have to be
missing at random: what is missing may depend on what was seen, but not on the missing values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from bayesgmm.expectation import core, draws
from bayesgmm.expectation._gaps import gapped_statistics
from bayesgmm.expectation._kernel import STATISTICS
from bayesgmm.expectation._threads import run_shared
from bayesgmm.expectation.core import Statistics
from bayesgmm.expectation.draws import DrawMoments, ResponsibilitySummary
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "Gaps",
    "Pattern",
    "conditional_moments",
    "cross_sums",
    "evaluate",
    "expectation",
    "has_gaps",
    "log_density_draws",
    "marginals",
    "responsibility_draws",
    "responsibility_moments",
    "responsibility_summary",
    "rows_of",
]


_NO_WEIGHTS = np.empty(0)


def has_gaps(X: FloatArray) -> bool:
    """Whether X has a NaN in it; without a copy."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isnan(X.sum())) and bool(np.isnan(X).any())


def rows_of(X: FloatArray) -> FloatArray | Gaps:
    """Return X (N, D) as it is if complete, otherwise sorted by what is missing; in C's order and writable, as kernels are compiled for."""
    X = np.require(X, np.float64, ["C", "A", "W", "E"])
    return Gaps.of(X) if has_gaps(X) else X


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows that have the same columns.

    Parameters
    ----------
    columns : int array of shape (d,)
        Which they have; empty for rows of which nothing is known.
    rows : int array of shape (n,)
        Their numbers.
    X : array of shape (n, d)
        Their values.
    """

    columns: IntArray
    rows: IntArray
    X: FloatArray


class Piece(NamedTuple):
    """Patterns one after the other."""

    order: IntArray
    """(n,): numbers of the rows."""
    values: FloatArray
    """Those that are there."""
    n_rows: IntArray
    """(P,)"""
    columns: IntArray
    """(P, D): which columns a pattern has, in its first entries."""
    n_columns: IntArray
    """(P,)"""

    @classmethod
    def of(cls, parts: list[Pattern], n_features: int) -> Piece:
        """Lay patterns one after the other."""
        columns = np.zeros((len(parts), n_features), np.int64)
        for p, part in enumerate(parts):
            columns[p, : len(part.columns)] = part.columns
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.X.ravel() for part in parts]),
            np.array([len(part.rows) for part in parts], np.int64),
            columns,
            np.array([len(part.columns) for part in parts], np.int64),
        )


@dataclass(frozen=True, eq=False)
class Gaps:
    """Data with missing values, sorted by what is missing.

    Parameters
    ----------
    n_rows, n_features : int
    patterns : tuple of Pattern
    """

    n_rows: int
    n_features: int
    patterns: tuple[Pattern, ...]

    @classmethod
    def of(cls, X: FloatArray) -> Gaps:
        """Sort the rows of X (N, D), in which NaN stands for missing."""
        seen = ~np.isnan(X)
        first, which = _sorted_by_bits(seen)
        order = np.argsort(which, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(first)))[:-1])
        patterns = []
        for rows, one in zip(parts, first, strict=True):
            columns = np.flatnonzero(seen[one])
            patterns.append(Pattern(columns, rows, np.ascontiguousarray(X[np.ix_(rows, columns)])))
        return cls(len(X), X.shape[1], tuple(patterns))

    def __len__(self) -> int:
        return self.n_rows

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The rows as compiled passes take them, whose statistics are summed apart: as many as of complete rows, and as large."""
        size = core.chunk_size(self.n_rows)
        parts = [
            Pattern(part.columns, part.rows[i : i + size], part.X[i : i + size])
            for part in self.patterns
            for i in range(0, len(part.rows), size)
        ]
        ends = np.cumsum([len(part.rows) for part in parts])
        which = (ends - 1) // size
        return tuple(Piece.of([parts[p] for p in np.flatnonzero(which == piece)], self.n_features) for piece in np.unique(which))

    def table(self) -> FloatArray:
        """Return the rows (N, D) in their order, with NaN where values are missing."""
        X = np.full((self.n_rows, self.n_features), np.nan)
        for part in self.patterns:
            X[np.ix_(part.rows, part.columns)] = part.X
        return X


def _sorted_by_bits(seen: np.ndarray) -> tuple[IntArray, IntArray]:
    """Return the first row of each pattern in a boolean table (N, D), and the pattern (N,) of each row."""
    key = np.packbits(seen, axis=1)
    if key.shape[1] <= 8:
        # As one number each, rows are sorted ten times faster than byte by byte.
        wide = np.zeros((len(key), 8), np.uint8)
        wide[:, 8 - key.shape[1] :] = key
        _, first, which = np.unique(wide.view(">u8").ravel(), return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, which.reshape(-1)


def expectation(
    X: FloatArray | Gaps,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    sample_weight: FloatArray | None = None,
    diagonal: bool = False,
) -> Statistics:
    """Run the E-step on complete rows or on rows with gaps; see :func:`bayesgmm.expectation.core.expectation`.

    With gaps, the log-likelihood is that of the values that are there, and the statistics are their conditional expectations given
    them: in the M-step nothing changes.
    """
    if not isinstance(X, Gaps):
        return core.expectation(X, log_weights, means, scale_tril, sample_weight=sample_weight, diagonal=diagonal)
    K, D = means.shape
    pieces, mixture = X.pieces, tuple(map(core.writable, (log_weights, means, scale_tril)))
    n = len(pieces)
    totals, counts, first, second = np.empty(n), np.zeros((n, K)), np.zeros((n, K, D)), np.zeros((n, K, D, D))

    def task(start: int, stop: int) -> None:
        for i in range(start, stop):
            order, *rows = pieces[i]
            weight = _NO_WEIGHTS if sample_weight is None else sample_weight[order]
            totals[i] = gapped_statistics(STATISTICS, *rows, weight, mixture, diagonal, counts[i], first[i], second[i])

    run_shared(task, n)
    return Statistics(float(totals.sum()), counts.sum(0), first.sum(0), second.sum(0))


def evaluate(
    X: FloatArray | Gaps,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    diagonal: bool = False,
    joint: bool = False,
    responsibilities: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Evaluate complete rows or rows with gaps; see :func:`bayesgmm.expectation.core.evaluate`.

    The density of a row with gaps is that of the values it has; a row without any has density one and the weights as responsibilities.
    """
    work = partial(core.evaluate, diagonal=diagonal, joint=joint, responsibilities=responsibilities)
    if not isinstance(X, Gaps):
        return work(X, log_weights, means, scale_tril)
    K = len(means)
    table = np.empty((len(X) if joint or responsibilities else 0, K))
    log_density = np.empty(len(X))
    for part in X.patterns:
        if len(part.columns) == 0:
            log_density[part.rows] = 0.0
            rows = log_weights if joint else np.exp(log_weights)
        else:
            rows, log_density[part.rows] = work(part.X, *marginals(part, log_weights, means, scale_tril))
        if len(table):
            table[part.rows] = rows
    return table, log_density


def conditional_moments(
    X: Gaps, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray
) -> list[tuple[Pattern, IntArray, FloatArray, FloatArray, FloatArray]]:
    """Return what each pattern's rows and components say about the columns that the rows lack.

    Returns
    -------
    list of (pattern, missing, responsibilities, conditional_means, conditional_factors)
        For every pattern that lacks something: its missing columns (m,), responsibilities (n, K), conditional means (n, K, m), and
        square roots (K, m, D) of the conditional covariances, which are the same for all its rows.
    """
    D = means.shape[1]
    out = []
    for part in X.patterns:
        missing = np.setdiff1d(np.arange(D), part.columns)
        if len(missing) == 0:
            continue
        n, K = len(part.rows), len(means)
        if len(part.columns) == 0:
            r = np.broadcast_to(np.exp(log_weights), (n, K))
            out.append((part, missing, r, np.broadcast_to(means, (n, K, D)), scale_tril))
            continue
        factors, back = _marginal(scale_tril, part.columns)
        centres = np.ascontiguousarray(means[:, part.columns])
        r, _ = core.evaluate(part.X, log_weights, centres, factors, responsibilities=True)
        z = np.linalg.solve(factors, np.swapaxes(part.X[None] - centres[:, None], -1, -2))  # (K, d, n)
        towards = scale_tril[:, missing] @ back
        conditional = means[:, missing][:, None] + np.swapaxes(towards @ z, -1, -2)  # (K, n, m)
        # The part of z that was not seen is the projection off the columns of `back`: its own square root.
        unseen = np.eye(D) - back @ np.swapaxes(back, -1, -2)
        out.append((part, missing, r, np.swapaxes(conditional, 0, 1), scale_tril[:, missing] @ unseen))
    return out


def responsibility_moments(
    X: FloatArray | Gaps, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> DrawMoments:
    """Stream responsibilities of T mixtures into their moments; see :func:`bayesgmm.expectation.draws.responsibility_moments`."""
    if not isinstance(X, Gaps):
        return draws.responsibility_moments(X, log_weights, means, scale_tril, diagonal=diagonal)
    T, K = log_weights.shape
    N = len(X)
    out = DrawMoments(np.empty((N, K)), np.empty((N, K)), np.empty(N), np.empty(N), np.zeros(T), np.zeros(T))
    for part in X.patterns:
        if len(part.columns) == 0:
            here = _unseen_moments(np.exp(log_weights), len(part.rows))
        else:
            here = draws.responsibility_moments(part.X, *marginals(part, log_weights, means, scale_tril), diagonal=diagonal)
        for whole, rows in zip(out[:4], here[:4], strict=True):
            whole[part.rows] = rows
        out.draw_log_likelihood[:] += here.draw_log_likelihood
        out.draw_entropy[:] += here.draw_entropy * len(part.rows) / N
    return out


def log_density_draws(
    X: FloatArray | Gaps, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return log-densities (T, N) under T mixtures; see :func:`bayesgmm.expectation.draws.log_density_draws`."""
    if not isinstance(X, Gaps):
        return draws.log_density_draws(X, log_weights, means, scale_tril, diagonal=diagonal)
    out = np.zeros((len(log_weights), len(X)))
    for part in X.patterns:
        if len(part.columns):
            mixtures = marginals(part, log_weights, means, scale_tril)
            out[:, part.rows] = draws.log_density_draws(part.X, *mixtures, diagonal=diagonal)
    return out


def responsibility_draws(
    X: FloatArray | Gaps, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, diagonal: bool = False
) -> FloatArray:
    """Return responsibilities (T, N, K) under T mixtures; see :func:`bayesgmm.expectation.draws.responsibility_draws`."""
    if not isinstance(X, Gaps):
        return draws.responsibility_draws(X, log_weights, means, scale_tril, diagonal=diagonal)
    out = np.empty((len(log_weights), len(X), log_weights.shape[1]))
    for part in X.patterns:
        if len(part.columns):
            mixtures = marginals(part, log_weights, means, scale_tril)
            out[:, part.rows] = draws.responsibility_draws(part.X, *mixtures, diagonal=diagonal)
        else:
            out[:, part.rows] = np.exp(log_weights)[:, None]
    return out


def responsibility_summary(
    X: FloatArray | Gaps, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray, *, prob: float, diagonal: bool = False
) -> ResponsibilitySummary:
    """Summarise responsibilities of T mixtures; see :func:`bayesgmm.expectation.draws.responsibility_summary`."""
    if not isinstance(X, Gaps):
        return draws.responsibility_summary(X, log_weights, means, scale_tril, prob=prob, diagonal=diagonal)
    N, K = len(X), log_weights.shape[1]
    mean, sd, lower, upper = (np.empty((N, K)) for _ in range(4))
    out = ResponsibilitySummary(mean, sd, lower, upper, np.empty(N))
    for part in X.patterns:
        if len(part.columns) == 0:
            unseen = _unseen_moments(np.exp(log_weights), len(part.rows))
            low, high = np.quantile(np.exp(log_weights), [0.5 - prob / 2, 0.5 + prob / 2], axis=0)
            here = ResponsibilitySummary(unseen.mean, unseen.sd, low, high, unseen.entropy)
        else:
            mixtures = marginals(part, log_weights, means, scale_tril)
            here = draws.responsibility_summary(part.X, *mixtures, prob=prob, diagonal=diagonal)
        for whole, rows in zip(out, here, strict=True):
            whole[part.rows] = rows
    return out


def cross_sums(
    X: FloatArray | Gaps,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    reference: FloatArray,
    *,
    diagonal: bool = False,
) -> FloatArray:
    """Sum products of responsibilities of T mixtures with a reference; see :func:`bayesgmm.expectation.draws.cross_sums`."""
    if not isinstance(X, Gaps):
        return draws.cross_sums(X, log_weights, means, scale_tril, reference, diagonal=diagonal)
    out = np.zeros((*log_weights.shape, reference.shape[1]))
    for part in X.patterns:
        here = np.ascontiguousarray(reference[part.rows])
        if len(part.columns):
            mixtures = marginals(part, log_weights, means, scale_tril)
            out += draws.cross_sums(part.X, *mixtures, here, diagonal=diagonal)
        else:
            out += np.exp(log_weights)[..., None] * here.sum(0)
    return out


def marginals(
    part: Pattern, log_weights: FloatArray, means: FloatArray, scale_tril: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mixture, or the batch of them, of a pattern's columns alone."""
    return log_weights, np.ascontiguousarray(means[..., part.columns]), _marginal(scale_tril, part.columns)[0]


def _unseen_moments(weights: FloatArray, n: int) -> DrawMoments:
    """What n rows of which nothing is known contribute under mixtures with these weights (T, K)."""
    entropy = -np.sum(weights * np.log(np.where(weights > 0, weights, 1.0)), axis=1)
    mean, sd = (np.broadcast_to(m, (n, weights.shape[1])) for m in (weights.mean(0), weights.std(0)))
    return DrawMoments(mean, sd, np.full(n, entropy.mean()), np.zeros(n), np.zeros(len(weights)), entropy)


def _marginal(scale_tril: FloatArray, columns: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return Cholesky factors (K, d, d) of the covariances of some columns, and the way back from their whitened coordinates.

    With L_o the rows of L for those columns, L_o' = Q R gives the factor R' and Q (K, D, d): whitened by all columns, a row is expected
    at Q z_o given its observed part z_o, with covariance I - Q Q'. No covariance is formed, so nothing is lost where it is near singular.
    """
    q, r = np.linalg.qr(np.swapaxes(scale_tril[..., columns, :], -1, -2))
    sign = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    back = q * sign[..., None, :]
    return np.ascontiguousarray(np.swapaxes(r * sign[..., None], -1, -2)), back
