"""What is known of rows beside their values: what it costs, and what it is worth.

``python -m benchmarks --only known``; some minutes. The cost is that of a pass over the rows, beside an ordinary one; the worth is that of
labels on the rows that have none, and that of errors of measurement on the intervals of the groups' means and covariances.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

import bayesgmm as bg
from bayesgmm.expectation import expectation
from bayesgmm.rows import Known, MemoryRows
from benchmarks.timing import Row

__all__ = ["rows", "with_errors"]

N, D, K = 100_000, 5, 4
MOST_TIMES = 3.0
"""How many times as much as an ordinary iteration one may cost with ten distinct errors."""
HALVES, NEVER_WORSE = 200, 0.95
STUDIES = {"2 columns, errors of 0.1 to 1 times the spread": (2, 0.1, 1.0), "3 columns, 0.3 to 2 times": (3, 0.3, 2.0)}
STUDIES |= {"4 columns, 0.5 to 3 times": (4, 0.5, 3.0)}
DATA_SETS, ROWS = 30, 2_000
"""Data sets of each study, and their rows: the posterior of one takes ten seconds of one core."""


def rows(quick: bool = False) -> Iterator[Row]:
    yield from _cost(quick)
    yield _halves(10 if quick else HALVES)
    for name, design in list(STUDIES.items())[:1] if quick else STUDIES.items():
        yield from _coverage(name, *design, 4 if quick else DATA_SETS)


def _cost(quick: bool) -> Iterator[Row]:
    """Time a pass over rows with errors in alternation with an ordinary one."""
    rng, n = np.random.default_rng(1), N // 10 if quick else N
    X, A = rng.normal(size=(n, D)), rng.normal(size=(K, D, D))
    mixture = np.log(rng.dirichlet(np.ones(K))), rng.normal(size=(K, D)), np.linalg.cholesky(A @ A.swapaxes(1, 2) + 0.3 * np.eye(D))
    errors = rng.uniform(0.1, 1.0, (n, D))[:, :, None] * np.eye(D)
    allowed = np.where(rng.random((n, K)) < 0.1, -np.inf, 0.0)
    cases = {
        "plain": MemoryRows(X),
        "ten distinct errors": MemoryRows(X, known=Known(error_of=rng.integers(10, size=n), error_tril=errors[:10])).distinct(),
        "labels": MemoryRows(X, known=Known(log_weights=allowed)).distinct(),
        "sets of five rows": MemoryRows(X, known=Known(sets=np.arange(n) // 5)).distinct(),
        "half of the rows, all errors distinct": MemoryRows(
            X[: n // 2], known=Known(error_of=np.arange(n // 2), error_tril=errors[: n // 2])
        ).distinct(),
        "all errors distinct": MemoryRows(X, known=Known(error_of=np.arange(n), error_tril=errors)).distinct(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(7):
        for name, own in cases.items():
            began = time.process_time()
            expectation(own, *mixture)
            seconds[name].append(time.process_time() - began)
    least = {name: min(times) for name, times in seconds.items()}
    what = f"E-step of {n:,} x {D} in {K} groups"
    for name in ("labels", "ten distinct errors", "sets of five rows"):
        floor = MOST_TIMES if name == "ten distinct errors" else None
        yield Row(
            f"{what}, {name}: times an ordinary one", least[name] / least["plain"], None, "", floor, absolute=True, unit="times"
        )
    twice = least["all errors distinct"] / least["half of the rows, all errors distinct"]
    note = f"{least['all errors distinct'] / least['plain']:.0f} times an ordinary one"
    yield Row(f"{what}, all errors distinct: twice the rows cost", twice, None, "", 2.4, absolute=True, unit="times", note=note)


def _halves(n: int) -> Row:
    """Count how often labels of half of the rows of iris leave the other half no worse than none do."""
    data = load_iris()
    X, y = data.data, data.target
    alone = bg.GaussianMixture(3, random_state=1).fit_predict(X)

    def gained(seed: int) -> float:
        known = np.where(np.random.default_rng(seed).permutation(len(X)) < len(X) // 2, y, -1)
        rest = known < 0
        told = bg.GaussianMixture(3, random_state=1).fit(X, known=known).predict(X)
        return adjusted_rand_score(y[rest], told[rest]) - adjusted_rand_score(y[rest], alone[rest])

    gains = np.array(Parallel(n_jobs=-1)(delayed(gained)(seed) for seed in range(n)))
    note = f"mean gain {gains.mean():+.3f}; worse on {(gains < -1e-12).mean():.0%}, better on {(gains > 1e-12).mean():.0%}"
    return Row(
        f"labels of half of iris, {n} random halves: adjusted Rand index of the rest no worse than without",
        float((gains >= -1e-12).sum()),
        None,
        "",
        NEVER_WORSE * n,
        absolute=True,
        unit="halves",
        higher_is_better=True,
        note=note,
    )


def with_errors(columns: int, low: float, high: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, their errors' standard deviations, and the true means and covariances of two groups with spread about one."""
    rng = np.random.default_rng(seed)
    A = np.eye(columns) + 0.3 * np.tril(rng.normal(size=(2, columns, columns)), -1)
    covariances, means = A @ A.swapaxes(1, 2), np.stack([np.zeros(columns), np.full(columns, 4.0)])
    labels = (rng.random(ROWS) < 0.4).astype(int)
    values = means[labels] + (A[labels] @ rng.standard_normal((ROWS, columns, 1)))[..., 0]
    errors = np.exp(rng.uniform(*np.log([low, high]), values.shape))
    return values + errors * rng.standard_normal(values.shape), errors, means, covariances


def _coverage(name: str, columns: int, low: float, high: float, n: int) -> Iterator[Row]:
    """Count how often 90 % intervals hold the true means and covariances, with and without the errors."""
    found = Parallel(n_jobs=-1)(delayed(_held)(columns, low, high, seed) for seed in range(n))
    for told, i in (("told", 0), ("ignored", 1)):
        held = np.array([one[i] for one in found])
        note = f"{held.shape[1]} parameters each of {n} data sets of {ROWS:,} rows"
        yield Row(
            f"errors of measurement {told}, {name}: share of 90 % intervals that hold the truth",
            held.mean(),
            None,
            "",
            note=note,
            unit="",
        )


def _held(columns: int, low: float, high: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    X, errors, means, covariances = with_errors(columns, low, high, seed)
    pairs = np.tril_indices(columns)
    out = []
    told: dict[str, Any]
    for told in ({"errors": errors}, {}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = bg.BayesianGaussianMixture(2, draws=250, tune=150, chains=2, cores=1, random_state=1, progressbar=False).fit(
                X, **told
            )
        params = fit.params_.reshape(-1)
        order = np.argsort(params.means.mean(0)[:, 0])
        draws = np.concatenate(
            [
                params.means[:, order].reshape(len(params.weights), -1),
                params.covariances[:, order][:, :, *pairs].reshape(len(params.weights), -1),
            ],
            axis=1,
        )
        truth = np.concatenate([means.ravel(), covariances[:, *pairs].ravel()])
        lower, upper = np.quantile(draws, [0.05, 0.95], axis=0)
        out.append((lower <= truth) & (truth <= upper))
    return out[0], out[1]
