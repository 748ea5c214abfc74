"""What missing values cost: seconds of processor time on rows of which hardly two lack the same, beside the same rows complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import bayesgmm as bg
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.run import run_em
from bayesgmm.priors import Priors
from bayesgmm.rows import MemoryRows
from benchmarks.gradient import from_compiled_code
from benchmarks.timing import Row

FITS = (2_000, 10, 4, 0.05)
WIDE = (2_000, 21, 4, 0.08)
FEW_PATTERNS = (100_000, 10, 5)
QUESTIONNAIRE = (5_289, 21, 9, 0.03)
ITERATIONS = 10
TURNS = 5


def rows(quick: bool = False) -> Iterator[Row]:
    """Fits, the posterior's gradient and iterations, full and diagonal, on scattered gaps, and on gaps in few patterns."""
    for name, most in (("full", 4), ("tied", 4), ("diag", 3)):
        yield _row(f"default EM fit, {name}", FITS, partial(_fit, name), most)
    for name in ("full", "diag"):
        yield _row(f"value + gradient of the posterior, {name}", FITS, partial(_gradient, name), 4)
    for name, most in (("full", 12), ("diag", 3)):
        yield _row(f"EM iteration, {name}", WIDE, partial(_iterations, name), most)
    N, D, K = FEW_PATTERNS
    X = _grouped(N // 10 if quick else N, D, K)
    yield _compared("EM iteration, full", X, with_few_patterns(X), K, partial(_iterations, "full"), 4)
    if not quick:
        yield _row("default EM fit, EEI", QUESTIONNAIRE, partial(_fit, "EEI"), 3)


def _row(work: str, shape: tuple[int, int, int, float], made: Callable[..., Callable[[], float]], most: float) -> Row:
    N, D, K, share = shape
    X = _grouped(N, D, K)
    holes = np.where(np.random.default_rng(1).random(X.shape) < share, np.nan, X)
    return _compared(work, X, holes, K, made, most)


def _compared(work: str, X: np.ndarray, holes: np.ndarray, K: int, made: Callable[..., Callable[[], float]], most: float) -> Row:
    """Compare the seconds that the same work takes on both, in turn, the least of some."""
    clocks = made(holes, K), made(X, K)
    times = [[clock() for clock in clocks] for _ in range(TURNS)]
    mine, complete = (min(t) for t in zip(*times, strict=True))
    gone = np.isnan(holes)
    patterns = len(np.unique(gone, axis=0))
    return Row(
        f"{work}, {gone.mean():.0%} of the values missing in {patterns} patterns, N={len(X):,} D={X.shape[1]} K={K}",
        mine,
        complete,
        "ourselves, nothing missing",
        1 / most,
        note=f"{mine / complete:.2f} times the processor time; at most {most} allowed",
    )


def _grouped(N: int, D: int, K: int) -> np.ndarray:
    """Rows of K groups, each with correlations of its own."""
    rng = np.random.default_rng(N + D + K)
    which, means = rng.integers(K, size=N), 2 * rng.normal(size=(K, D))
    factors = np.eye(D) + rng.normal(size=(K, D, D)) / np.sqrt(D)
    return means[which] + np.einsum("nij,nj->ni", factors[which], rng.normal(size=(N, D)))


def with_few_patterns(X: np.ndarray, n_patterns: int = 10, share: float = 0.05) -> np.ndarray:
    """Return X with a share of its values missing: one pattern is complete, each other lacks a column of its own."""
    N, D = X.shape
    one = round(share * N * D / (n_patterns - 1))  # rows of each pattern that lacks something
    order = np.random.default_rng(1).permutation(N)
    holes = X.copy()
    for d in range(n_patterns - 1):
        holes[order[d * one : (d + 1) * one], d] = np.nan
    return holes


def _processor(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _fit(name: str, X: np.ndarray, K: int) -> Callable[[], float]:
    em = bg.GaussianMixture(K, covariance_type=name, random_state=0)
    em.fit(X)  # compiles
    return lambda: _processor(lambda: em.fit(X))


def _iterations(name: str, X: np.ndarray, K: int) -> Callable[[], float]:
    """Seconds of an iteration, on rows as a fit has them."""
    D = X.shape[1]
    settings = Settings(family(name), tol=0.0, max_iter=ITERATIONS, smallest=np.ones(D), has_floor=False, ridge=1e-6)
    rows = MemoryRows(X).distinct()
    means = X[~np.isnan(X).any(axis=1)][:K]
    start = Mixture(np.full(K, -np.log(K)), means, np.tile(np.eye(D), (K, 1, 1)))
    run_em(rows, start, settings)
    return lambda: _processor(lambda: [run_em(rows, start, settings) for _ in range(5)]) / (5 * ITERATIONS)


def _gradient(name: str, X: np.ndarray, K: int) -> Callable[[], float]:
    """Seconds of one call on this thread."""
    space = Space(Priors().resolve(MemoryRows(X), K, family(name)), family(name))
    q = 0.3 * np.random.default_rng(0).normal(size=space.n_dim)
    return from_compiled_code(LogPosterior(X, space), q)
