"""Laplace's approximation against NUTS by the number of rows: what each takes, and how far apart they end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

import numpy as np

import bayesgmm as bg
from benchmarks.timing import Row

D, K = 2, 3
DRAWS = {1_000: 1000, 10_000: 1000, 100_000: 1000, 1_000_000: 100, 10_000_000: 50}
"""Draws of each of NUTS's four chains by the number of rows: with many rows an hour of them would be no more informative."""
LEAST_TUNE = 150


def rows(quick: bool = False) -> Iterator[Row]:
    _fit(_data(500), "nuts", 50, 50), _fit(_data(500), "laplace", 50, 50)
    for n in list(DRAWS)[: 2 if quick else None]:
        yield from _rows(n)


def _data(n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, D)) + np.array([[0.0, 0.0], [3.0, 1.0], [0.5, 4.0]])[rng.choice(K, n, p=[0.5, 0.3, 0.2])]


def _fit(X: np.ndarray, sampler: str, draws: int, tune: int) -> tuple[float, bg.BayesianGaussianMixture]:
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        em = bg.GaussianMixture(K, random_state=1).fit(X)
        posterior = bg.BayesianGaussianMixture(
            K, init=em, sampler=sampler, draws=draws, tune=tune, random_state=1, progressbar=False
        ).fit(X)
    return time.perf_counter() - began, posterior


def _rows(n: int) -> Iterator[Row]:
    X = _data(n)
    draws = max(250, DRAWS[n])
    seconds, laplace = _fit(X, "laplace", draws, 20)
    tune = max(LEAST_TUNE, DRAWS[n])
    other, nuts = _fit(X, "nuts", DRAWS[n], tune)
    apart, wider = [], []
    for name in ("weights", "means", "sds"):
        ours, theirs = (getattr(fit.params_, name).reshape(-1, getattr(fit.params_, name)[0, 0].size) for fit in (laplace, nuts))
        apart.append(np.abs(ours.mean(0) - theirs.mean(0)) / theirs.std(0))
        wider.append(ours.std(0) / theirs.std(0))
    means, sds = np.concatenate(apart), np.concatenate(wider)
    note = (
        f"Pareto k {laplace.datatree_.attrs['pareto_k']:.2f}; posterior means at most {means.max():.2f} sd apart, sds {sds.min():.2f} to "
        f"{sds.max():.2f} times NUTS's (4 x {DRAWS[n]:,} draws after {tune:,})"
    )
    work = f"posterior of {n:,} x {D}, K={K}, 4 x {draws:,} draws by sampler='laplace'"
    yield Row(work, seconds, other, "sampler='nuts' (NUTS)", note=note)
