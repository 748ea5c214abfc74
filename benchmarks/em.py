"""EM per iteration against scikit-learn, memory, and how cost grows with N."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import warnings

import numpy as np
from sklearn.mixture import GaussianMixture as SklearnMixture

from bayesgmm.covariance import family
from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.run import run_em
from bayesgmm.rows import MemoryRows
from benchmarks.timing import Curves, Row, clock

ITERATIONS = 6
SHAPES = [((200_000, 2, 3), 20.0), ((200_000, 10, 10), 15.0), ((100_000, 30, 10), 8.0)]


def problem(N: int, D: int, K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data from K groups, and a start: weights and means (identity covariances)."""
    rng = np.random.default_rng(N + D + K)
    means = 2 * rng.normal(size=(K, D))
    X = means[rng.integers(K, size=N)] + rng.normal(size=(N, D))
    return X, np.full(K, 1 / K), means


def ours(X: np.ndarray, weights: np.ndarray, means: np.ndarray, iterations: int) -> np.ndarray:
    """Log-likelihood trace of our EM."""
    K, D = means.shape
    settings = Settings(family("full"), tol=0.0, max_iter=iterations, smallest=np.ones(D), reg_covar=1e-6)
    return run_em(MemoryRows(X), Mixture(np.log(weights), means, np.tile(np.eye(D), (K, 1, 1))), settings).trace


def theirs(X: np.ndarray, weights: np.ndarray, means: np.ndarray, iterations: int) -> np.ndarray:
    """The same of scikit-learn's."""
    K, D = means.shape
    model = SklearnMixture(
        K, weights_init=weights, means_init=means, precisions_init=np.tile(np.eye(D), (K, 1, 1)), tol=0, max_iter=iterations
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    return np.asarray(model.lower_bounds_) * len(X)


def per_iteration(fit, args) -> float:
    """Seconds of one iteration, from the difference between a long and a short run (set-up and starts cancel)."""
    short, long = 1, 1 + ITERATIONS
    return (clock(lambda: fit(*args, long)) - clock(lambda: fit(*args, short))) / ITERATIONS


def rows(quick: bool = False) -> list[Row]:
    out = []
    for shape, floor in SHAPES:
        args = problem(*shape)
        a, b = ours(*args, ITERATIONS), theirs(*args, ITERATIONS)
        difference = float(np.abs(a[: len(b)] / b - 1).max())
        if difference > 1e-9:
            raise AssertionError(f"log-likelihood traces differ by {difference:.1e}")
        times = [(per_iteration(ours, args), per_iteration(theirs, args)) for _ in range(3 if quick else 5)]
        N, D, K = shape
        flops = N * K * (2 * D * (D + 1) + 6 * D)
        mine, peer = (statistics.median(t) for t in zip(*times, strict=True))
        out.append(
            Row(
                f"EM iteration, full covariance, N={N:,} D={D} K={K}",
                mine,
                peer,
                "scikit-learn",
                floor,
                note=f"traces agree to {difference:.0e}; {flops / mine / 1e9:.0f} GFlop/s",
            )
        )
    return [*out, memory()]


def memory() -> Row:
    """Peak memory beyond the data at N = 10^6, D = 10, K = 10, in a process of its own each."""
    ours_mb, peer_mb = (_peak(which) for which in ("ours", "theirs"))
    return Row(
        "peak memory beyond the data, EM, N=1,000,000 D=10 K=10", ours_mb, peer_mb, "scikit-learn", 64.0, absolute=True, unit="MB"
    )


def _peak(which: str) -> float:
    first = f"from benchmarks.em import problem, {which}\n{which}(*problem(1000, 10, 10), 2)\nargs = problem(1_000_000, 10, 10)"
    return peak_memory(first, f"{which}(*args, 3)")


def peak_memory(first: str, then: str) -> float:
    """Megabytes by which the second piece of code raises a fresh process's peak above where the first left it."""
    code = (
        f"{first}\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "status = lambda: dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "before = int(status()['VmRSS'].split()[0])\n"
        f"{then}\n"
        "print((int(status()['VmHWM'].split()[0]) - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    return float(done.stdout.split()[-1])


def growth() -> Curves:
    """Seconds per iteration against N, D = 5, K = 5."""
    curves: dict[str, list[tuple[int, float]]] = {"bayesgmm": [], "scikit-learn": []}
    for N in (1_000, 10_000, 100_000, 1_000_000):
        args = problem(N, 5, 5)
        curves["bayesgmm"].append((N, min(per_iteration(ours, args) for _ in range(3))))
        curves["scikit-learn"].append((N, min(per_iteration(theirs, args) for _ in range(2))))
    return Curves("one EM iteration, D = 5, K = 5, full covariance", curves)
