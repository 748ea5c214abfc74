"""The posterior of the number of components: effective draws of it for each second of processor time, beside a plain sampler in NumPy.

The peer is the telescoping sampler as its authors describe it (Frühwirth-Schnatter, Malsiner-Walli and Grün 2021, Bayesian Analysis 16,
1279-1307, algorithm 1) and as R's telescope has it: labels, parameters under conjugate priors with a learned scale, the number of
components given the partition, empty components from the prior; no splits and merges, vectorised over rows and groups. Its prior is that of
the paper, so numbers differ from ours; what is compared is how well either travels between them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import gammaln
from scipy.stats import invwishart
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

import bayesgmm as bg
from bayesgmm.priors import BetaNegativeBinomial
from benchmarks.timing import Row

TIMES = 50.0
"""How many times as many effective draws a second are wanted."""
SECONDS, R_HAT = 20.0, 1.01
_MOST, _GAMMA = 30, 1.0
_SWEEPS = (1000, 4000)  # of the peer: warm-up, and those that count


def tables() -> dict[str, np.ndarray]:
    penguins = bg.datasets.load_penguins().dropna().select_dtypes("number").iloc[:, :4]
    return {
        "faithful (272 x 2)": bg.datasets.load_faithful().to_numpy(),
        "iris (150 x 4)": load_iris().data,
        "penguins (333 x 4)": penguins.to_numpy(),
        "like thyroid (215 x 5)": like_thyroid(),
    }


def like_thyroid() -> np.ndarray:
    """Three groups of 150, 35 and 30 rows in five columns, of unlike spread and with some correlation."""
    rng = np.random.default_rng(215)
    spreads = np.array([[8.0, 2.0, 0.5, 0.5, 2.0], [15.0, 4.0, 1.0, 0.4, 2.5], [10.0, 2.0, 0.5, 9.0, 14.0]])
    centres = np.array([[110.0, 9.0, 1.7, 1.3, 2.5], [95.0, 17.0, 4.2, 1.0, 0.0], [122.0, 3.6, 1.0, 14.0, 17.0]])
    parts = []
    for n, centre, spread in zip((150, 35, 30), centres, spreads, strict=True):
        A = np.eye(5) + 0.3 * np.tril(rng.normal(size=(5, 5)), -1)
        parts.append(centre + spread * (rng.normal(size=(n, 5)) @ A.T))
    return np.concatenate(parts)


def rows(quick: bool = False) -> Iterator[Row]:
    names = list(tables())[:1] if quick else list(tables())
    for name in names:
        yield from _rows_of(name, tables()[name], quick)
    yield from _scale(quick)


def _rows_of(name: str, X: np.ndarray, quick: bool) -> Iterator[Row]:
    _fit(X[: len(X) // 2], draws=20)  # compiled by now
    began = time.process_time()
    fit = _fit(X, draws=200 if quick else 1000)
    seconds = time.process_time() - began
    filled = fit.datatree_["sample_stats"]["n_filled"].values.astype(float)
    what = f"number of components, {name}"
    note = f"most probable: {fit.n_components_} filled, {fit.number_of_components()['groups'].idxmax()} apart"
    if np.ptp(filled):
        began = time.process_time()
        plain = np.stack([plain_sampler(X, seed, 1 + 3 * seed) for seed in range(4)])
        peer = _ess(plain) / (time.process_time() - began)
        # A plain sampler that never leaves where it started has no effective draws at all: a row that says so has no ratio to show.
        yield Row(
            f"{what}: effective draws of the filled ones per CPU second",
            _ess(filled) / seconds,
            peer,
            "a plain telescoping sampler in NumPy",
            TIMES,
            unit="ESS/s",
            higher_is_better=True,
            note=note,
        )
        note = f"R-hat {array_stats.rhat(filled, chain_axis=0, draw_axis=1):.4f}"
    else:
        note = f"every draw of every chain has {filled[0, 0]:.0f}: there is nothing to travel between"
    yield Row(f"{what}: CPU seconds of the fit", seconds, None, "", SECONDS, absolute=True, note=note)


def _scale(quick: bool) -> Iterator[Row]:
    """Ten thousand rows in five columns, and how the cost of a sweep grows with rows."""
    per_sweep = {}
    for N in (2_500,) if quick else (2_500, 10_000):
        rng = np.random.default_rng(1)
        centres = rng.normal(0.0, 8.0, (12, 5))
        X = centres[rng.integers(12, size=N)] + rng.normal(size=(N, 5))
        began = time.process_time()
        fit = _fit(X, draws=100 if quick else 1000)
        seconds = time.process_time() - began
        per_sweep[N] = fit.datatree_.attrs["sampling_time"] / (4 * (1000 * fit.datatree_.attrs["sweeps_per_draw"] + 2000))
        note = f"{fit.n_components_} of 12 groups; {fit.diagnose()[0].sentence.split(':')[0].lower()}"
        yield Row(
            f"number of components, {N:,} x 5 in 12 groups: CPU seconds of the fit",
            seconds,
            None,
            "",
            180.0 if N == 10_000 else None,
            absolute=True,
            note=note,
        )
    if len(per_sweep) == 2:
        few, many = per_sweep.values()
        yield Row(
            "number of components, four times the rows: times the cost of a sweep",
            many / few,
            None,
            "",
            5.0,
            absolute=True,
            unit="times",
        )


def _fit(X: np.ndarray, draws: int) -> bg.BayesianGaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows say what the draws are worth
        return bg.BayesianGaussianMixture("auto", draws=draws, random_state=1, progressbar=False).fit(X)


def _ess(values: np.ndarray) -> float:
    return float(array_stats.ess(values, chain_axis=0, draw_axis=1)) if np.ptp(values) else 0.0


def plain_sampler(X: np.ndarray, seed: int, n_groups: int) -> np.ndarray:
    """Return the numbers of filled components (draws,) of one chain that starts from k-means with so many groups."""
    rng, (N, D) = np.random.default_rng(seed), X.shape
    mean, covariance = X.mean(0), np.atleast_2d(np.cov(X.T))
    logs = BetaNegativeBinomial().log_probability(_MOST)
    df, learned_df = (
        D + 2.0,
        float(D),
    )  # of the covariances, and of their scale, whose expectation is a quarter of the data's covariance
    scale = 0.25 * covariance
    spread = np.linalg.inv(covariance * np.square(np.ptp(X, axis=0) / X.std(axis=0)).mean())  # of the means, about the range
    labels = KMeans(n_groups, n_init=1, random_state=seed).fit_predict(X)
    covariances = np.stack([covariance] * n_groups)
    kept = np.empty(_SWEEPS[1])
    for sweep in range(sum(_SWEEPS)):
        _, labels = np.unique(labels, return_inverse=True)
        counts = np.bincount(labels)
        covariances = covariances[: len(counts)] if len(covariances) >= len(counts) else np.stack([covariance] * len(counts))
        means, precisions = [], []
        for k, n in enumerate(counts):
            own = X[labels == k]
            inverse = np.linalg.inv(covariances[k])
            P = spread + n * inverse
            m = np.linalg.solve(P, spread @ mean + n * inverse @ own.mean(0))
            mu = rng.multivariate_normal(m, np.linalg.inv(P))
            S = np.atleast_2d(invwishart.rvs(df + n, scale + (own - mu).T @ (own - mu), random_state=rng))
            means.append(mu)
            precisions.append(S)
        numbers = np.arange(len(counts), _MOST + 1)
        heights = logs[len(counts) - 1 :] + gammaln(numbers + 1) - gammaln(numbers - len(counts) + 1)
        heights += gammaln(_GAMMA * numbers) - gammaln(N + _GAMMA * numbers)
        chances = np.exp(heights - heights.max())
        K = int(rng.choice(numbers, p=chances / chances.sum()))
        inverses = sum(np.linalg.inv(S) for S in precisions)
        own_scale = np.linalg.inv(np.linalg.inv(0.25 * covariance / learned_df) + inverses)
        scale = _wishart(learned_df + df * len(counts), own_scale, rng)
        for _ in range(K - len(counts)):
            means.append(rng.multivariate_normal(mean, np.linalg.inv(spread)))
            precisions.append(np.atleast_2d(invwishart.rvs(df, scale, random_state=rng)))
        weights = rng.dirichlet(_GAMMA + np.append(counts, np.zeros(K - len(counts))))
        covariances = np.stack(precisions)
        L = np.linalg.cholesky(covariances)
        z = np.linalg.solve(L, (X[:, None] - np.stack(means)).transpose(1, 2, 0))
        joint = np.log(weights)[:, None] - 0.5 * np.square(z).sum(1) - np.log(np.diagonal(L, axis1=1, axis2=2)).sum(1)[:, None]
        labels = (joint + rng.gumbel(size=joint.shape)).argmax(0)
        used = np.unique(labels)
        covariances = covariances[used]
        if sweep >= _SWEEPS[0]:
            kept[sweep - _SWEEPS[0]] = len(used)
    return kept


def _wishart(df: float, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.stats import wishart

    return np.atleast_2d(wishart.rvs(df, scale, random_state=rng))
