"""How often the number of groups is right, on tables whose groups stand apart: that of `select`, and that of the posterior.

``python -m benchmarks --only how-many``; about an hour of one core, most of it for the posterior.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from joblib import Parallel, delayed

import bayesgmm as bg
from benchmarks.timing import Row

__all__ = ["rows", "table_apart"]

TABLES = 200
RIGHT = 0.95
"""The share of tables on which the number has to be right."""


def table_apart(seed: int, sds: float = 6.0) -> tuple[np.ndarray, int]:
    """Rows of 1 to 6 groups, turned and stretched, and at least so many standard deviations apart along the line from mean to mean."""
    rng = np.random.default_rng(seed)
    K, D, N = int(rng.integers(1, 7)), int(rng.integers(1, 6)), int(np.exp(rng.uniform(*np.log([100, 1000]))))
    counts = np.maximum(15, rng.multinomial(N, rng.dirichlet(np.full(K, 5.0))))
    turns = [np.linalg.qr(rng.normal(size=(D, D)))[0] for _ in range(K)]
    covariances = [(Q * np.exp(rng.uniform(-1.4, 1.4, D))) @ Q.T for Q in turns]
    means: list[np.ndarray] = []
    side = 8.0 * K ** (1 / D)
    while len(means) < K:
        new = rng.uniform(-side, side, D)
        gaps = [(new - old, covariances[j]) for j, old in enumerate(means)]
        far = [np.linalg.norm(g) ** 2 > sds * np.sqrt(max(g @ C @ g, g @ covariances[len(means)] @ g)) for g, C in gaps]
        if all(far):
            means.append(new)
        side *= 1.02
    parts = [rng.multivariate_normal(m, C, n) for m, C, n in zip(means, covariances, counts, strict=True)]
    return np.concatenate(parts), K


def rows(quick: bool = False) -> Iterator[Row]:
    n = 4 if quick else TABLES
    asked = {
        "select, four covariance types": _by_select,
        "the posterior's most probable number of components with rows": _by_posterior,
    }
    for what, count in asked.items():
        found = Parallel(n_jobs=-1)(delayed(count)(seed) for seed in range(1000, 1000 + n))
        right = sum(groups == K for groups, _, K in found)
        components = sum(filled == K for _, filled, K in found)
        yield Row(
            f"groups at least 6 sds apart, {n} tables: right number by {what}",
            right,
            None,
            "",
            RIGHT * n,
            absolute=True,
            unit="tables",
            higher_is_better=True,
            note=f"components right on {components}",
        )


def _by_select(seed: int) -> tuple[int, int, int]:
    """Return groups, components, and the truth."""
    X, K = table_apart(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = bg.select(X, range(1, 9), random_state=1, progressbar=False)
    return int(found.groups().max() + 1), int(found.ranking("bic").iloc[0].n_components), K


def _by_posterior(seed: int) -> tuple[int, int, int]:
    """Return groups, components with rows, and the truth; of draws enough for a mode."""
    X, K = table_apart(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bg.BayesianGaussianMixture("auto", draws=250, tune=250, random_state=1, cores=1, progressbar=False).fit(X)
    probabilities = fit.number_of_components()
    return int(probabilities["groups"].idxmax()), int(probabilities["filled"].idxmax()), K
