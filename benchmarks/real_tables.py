"""Posteriors of tables of five to fifty columns: least effective draws per second of processor time of the whole fit.

``python -m benchmarks --only tables``. EM, the choice of starts, warm-up, sampling, labels and verdict all count. The peer is nutpie's
NUTS on the same compiled density (``sampler="nuts"``), with as many draws after the same EM fit, and left out where it takes many
minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn import datasets

import bayesgmm as bg
from benchmarks.posterior import least_ess
from benchmarks.timing import Row


@dataclass(frozen=True)
class Problem:
    name: str
    data: Callable[[], np.ndarray | None]
    n_components: int
    floor: float
    """Effective draws per second of processor time to reach."""
    before: float
    """What they were before labels were drawn, with nutpie's NUTS and its low-rank mass matrix (issue 21's table)."""
    covariance_type: str = "full"
    with_peer: bool = True


def groups(N: int, D: int, K: int, seed: int = 0) -> np.ndarray:
    """Draw rows of K groups with covariances of their own, some of which touch."""
    rng = np.random.default_rng(seed)
    sizes = rng.multinomial(N, rng.dirichlet(np.full(K, 8.0)))
    parts = []
    for n in sizes:
        turn = rng.normal(size=(D, D)) / np.sqrt(D) + 0.7 * np.eye(D)
        parts.append(rng.normal(size=(n, D)) @ turn.T + 2.5 * rng.normal(size=D))
    return np.concatenate(parts)


def uncorrelated(N: int, D: int, K: int) -> np.ndarray:
    """Draw rows of K groups whose columns do not correlate."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, K, N)
    return rng.normal(size=(N, D)) * rng.uniform(0.5, 2.0, (K, D))[labels] + 1.5 * rng.normal(size=(K, D))[labels]


def from_r(package: str, what: str) -> np.ndarray | None:
    """Return a table that an R package ships; None where there is no R, or not the package."""
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.txt"
        code = f"suppressMessages(library({package})); write.table({what}, '{path}', row.names = FALSE, col.names = FALSE)"
        done = subprocess.run(["Rscript", "-e", code], capture_output=True, check=False)
        return np.loadtxt(path) if done.returncode == 0 else None


def gvhd() -> np.ndarray | None:
    """Return 2,000 cells of mclust's positive sample."""
    cells = from_r("mclust", "GvHD.pos")
    return None if cells is None else cells[np.random.default_rng(0).choice(len(cells), 2000, replace=False)]


PROBLEMS = (
    Problem("faithful, K=2", lambda: bg.datasets.load_faithful().to_numpy(float), 2, 2500, 1276),
    Problem("iris, K=3", lambda: datasets.load_iris().data, 3, 1200, 585),
    Problem("crabs (200 x 5), K=4", lambda: from_r("MASS", "crabs[, 4:8]"), 4, 150, 153),
    Problem("GvHD (2,000 x 4), K=8", gvhd, 8, 80, 74, with_peer=False),
    Problem("5,000 x 4, K=4", lambda: groups(5000, 4, 4), 4, 300, 89, with_peer=False),
    Problem("200 x 10, K=2", lambda: groups(200, 10, 2), 2, 500, 40),
    Problem("breast cancer (569 x 10), K=2", lambda: datasets.load_breast_cancer().data[:, :10], 2, 200, 14),
    Problem("1,000 x 10, K=3", lambda: groups(1000, 10, 3), 3, 400, 7.5, with_peer=False),
    Problem("2,000 x 5, K=10", lambda: groups(2000, 5, 10), 10, 60, 5, with_peer=False),
    Problem("wine (178 x 13), K=3", lambda: datasets.load_wine().data, 3, 250, 3.8),
    Problem("wine, diag, K=3", lambda: datasets.load_wine().data, 3, 250, 6, "diag"),
    Problem("1,000 x 30 diag, K=5", lambda: uncorrelated(1000, 30, 5), 5, 150, 4.1, "diag", with_peer=False),
    Problem("2,000 x 10, K=5", lambda: groups(2000, 10, 5), 5, 120, 3.7, with_peer=False),
    Problem("500 x 50 diag, K=3", lambda: uncorrelated(500, 50, 3), 3, 7, 0, "diag", with_peer=False),
    Problem("2,000 x 20, K=5", lambda: groups(2000, 20, 5), 5, 7, 0, with_peer=False),
    Problem("10,000 x 10, K=7", lambda: groups(10_000, 10, 7), 7, 7, 0, with_peer=False),
)


def rows(quick: bool = False) -> list[Row]:
    """One row a problem; the last three have 400 effective draws in 60 seconds as their floor."""
    fit(bg.datasets.load_faithful().to_numpy(float), PROBLEMS[0], "hmc", draws=20, tune=40)
    return [row for problem in (PROBLEMS[:2] if quick else PROBLEMS) for row in one(problem)]


def one(problem: Problem) -> list[Row]:
    X = problem.data()
    if X is None:
        return []
    mine, said = fit(X, problem, "hmc")
    peer = fit(X, problem, "nuts")[0] if problem.with_peer else None
    return [
        Row(
            f"posterior of {problem.name}: least ESS per CPU second of the fit",
            mine,
            peer,
            "sampler='nuts'" if problem.with_peer else "",
            problem.floor,
            absolute=True,
            unit="ESS/s",
            higher_is_better=True,
            note=said + (f"; {problem.before:g} before" if problem.before else ""),
        )
    ]


def fit(X: np.ndarray, problem: Problem, sampler: str, **how: int) -> tuple[float, str]:
    """Return the least ESS per second of processor time, and the seconds with the first words of the verdict."""
    model = bg.BayesianGaussianMixture(
        problem.n_components, covariance_type=problem.covariance_type, sampler=sampler, random_state=1, progressbar=False, **how
    )
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the rows say how many draws it is worth, and what the verdict is
        model.fit(X)
    seconds = time.process_time() - began
    return least_ess(
        model.datatree_["posterior"]
    ) / seconds, f"{seconds:.1f} s, {model.diagnose()[0].sentence.split(':')[0].lower()}"
