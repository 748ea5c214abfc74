"""Are ranks uniform? The simultaneous envelope of their distribution function, and a chi-square test beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["Uniformity", "envelope", "judge_ranks"]

_SIMULATED = 20_000
_MOST_BINS = 20
_PER_BIN = 5  # least expected count of a bin, for the chi-square distribution to hold


@dataclass(frozen=True, eq=False)
class Uniformity:
    """How uniform ranks are."""

    ecdf: FloatArray
    """Share of the ranks at most 0, 1, 2 ..."""
    p_value: float
    """Chance that uniform ranks leave the middle somewhere by as much as these do, relative to what is usual there."""
    chi_square_p_value: float
    """Of Pearson's test on bins of equal width."""


def judge_ranks(ranks: ArrayLike, n_ranks: int) -> Uniformity:
    """Say how well independent ranks (R,) agree with the uniform distribution on 0 to ``n_ranks - 1``.

    At every value the count of ranks up to there is binomial, which gives each a two-sided tail probability; the statistic is the
    least of them, and its distribution under uniformity is simulated: Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32,
    32, section 2.2, with simulated p-values in place of their interpolated envelope. Unlike a chi-square test it does not depend on
    bins, and sees trends.
    """
    ranks = np.asarray(ranks)
    if ranks.size == 0 or ranks.min() < 0 or ranks.max() >= n_ranks:
        raise InvalidParameterError(f"ranks must be at least one whole number from 0 to {n_ranks - 1}")
    counts = np.bincount(ranks.astype(int), minlength=n_ranks)
    below = counts.cumsum()[:-1]
    least = _least_tail(below[None], len(ranks), n_ranks)[0]
    p = (1 + np.searchsorted(_null(len(ranks), n_ranks), least, side="right")) / (1 + _SIMULATED)
    return Uniformity(counts.cumsum() / len(ranks), min(float(p), 1.0), _chi_square(counts))


def envelope(n_replicates: int, n_ranks: int, prob: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return bounds (n_ranks,) between which the whole distribution function of uniform ranks stays with this probability."""
    tail = float(np.quantile(_null(n_replicates, n_ranks), 1 - prob))
    inside = _tails(n_replicates, n_ranks) > tail
    counts = np.arange(n_replicates + 1)
    lower = np.where(inside, counts, n_replicates).min(1) / n_replicates
    upper = np.where(inside, counts, 0).max(1) / n_replicates
    return np.append(lower, 1.0), np.append(upper, 1.0)


@cache
def _tails(n_replicates: int, n_ranks: int) -> FloatArray:
    """Return the two-sided tail probability of every count (n_replicates + 1) up to every value but the last, (n_ranks - 1, ...)."""
    shares = np.arange(1, n_ranks)[:, None] / n_ranks
    counts = np.arange(n_replicates + 1)[None]
    distribution = stats.binom(n_replicates, shares)
    with np.errstate(divide="ignore"):
        logs = np.log(np.minimum(1.0, 2.0 * np.minimum(distribution.cdf(counts), distribution.sf(counts - 1))))
    return np.exp(logs.round(9))  # tails that are equal but for rounding must tie


def _least_tail(below: IntArray, n_replicates: int, n_ranks: int) -> FloatArray:
    """Return the least tail probability (M,) of cumulated counts (M, n_ranks - 1)."""
    return np.asarray(_tails(n_replicates, n_ranks)[np.arange(n_ranks - 1), below].min(1))


@cache
def _null(n_replicates: int, n_ranks: int) -> FloatArray:
    """Return the least tail probability of many simulated sets of uniform ranks, sorted."""
    rng = np.random.default_rng(n_replicates)
    counts = rng.multinomial(n_replicates, np.full(n_ranks, 1 / n_ranks), size=_SIMULATED)
    return np.sort(_least_tail(counts.cumsum(1)[:, :-1], n_replicates, n_ranks))


def _chi_square(counts: IntArray) -> float:
    """Return the p-value of Pearson's test, on as many bins of equal width as there are counts for; NaN where there are too few."""
    fitting = [n for n in range(2, _MOST_BINS + 1) if len(counts) % n == 0 and counts.sum() >= _PER_BIN * n]
    return float(stats.chisquare(counts.reshape(fitting[-1], -1).sum(1)).pvalue) if fitting else float("nan")
