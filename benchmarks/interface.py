"""What a user waits for beside the fits: the import, and responsibilities of a posterior."""

from __future__ import annotations

import statistics
import subprocess
import sys

import numpy as np

from bayesgmm.labels import find_labels
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from benchmarks.em import peak_memory
from benchmarks.timing import Curves, Row, clock


def rows(quick: bool = False) -> list[Row]:
    return [_import(), *_responsibilities(), _labels()]


def _import() -> Row:
    code = "import time; t = time.perf_counter(); import bayesgmm; print(time.perf_counter() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(5)
    ]
    return Row("import bayesgmm", statistics.median(seconds), None, "", 0.7)


def draws(N: int = 10_000, K: int = 4) -> tuple[np.ndarray, MixtureParams]:
    """4,000 draws about K groups, and N rows of them."""
    rng = np.random.default_rng(0)
    means = 2 * rng.normal(size=(K, 4))
    batch = means + 0.05 * rng.normal(size=(4, 1000, K, 4))
    params = MixtureParams(rng.dirichlet(np.full(K, 50.0), size=(4, 1000)), batch, np.tile(np.eye(4), (4, 1000, K, 1, 1)))
    return means[rng.integers(K, size=N)] + rng.normal(size=(N, 4)), params


def growth() -> Curves:
    """Seconds of the posterior's responsibilities against N, D = 4, K = 4, 4,000 draws."""
    points = [(N, min(clock(lambda: summarise(N)) for _ in range(2))) for N in (100, 1_000, 10_000, 50_000)]  # noqa: B023
    return Curves("responsibilities (mean, 90 % interval) of 4,000 draws, D = 4, K = 4", {"bayesgmm": points})


def summarise(N: int = 10_000) -> None:
    from bayesgmm.expectation import responsibility_summary

    X, params = draws(N)
    responsibility_summary(Chunk(X), *params.reshape(-1).arrays(), prob=0.9)


def _labels() -> Row:
    """Stephens' relabelling of draws whose labels were permuted at random."""
    X, params = draws(1_000, 5)
    rng = np.random.default_rng(1)
    orders = rng.permuted(np.tile(np.arange(5), (4, 1000, 1)), axis=-1)
    r = params.permute(orders).responsibilities(X)
    find_labels("stephens", responsibilities=r)
    seconds = statistics.median(clock(lambda: find_labels("stephens", responsibilities=r)) for _ in range(3))
    return Row("labels by Stephens' method, 4,000 draws x 1,000 points, K=5", seconds, None, "", 2.0)


def _responsibilities() -> list[Row]:
    summarise()
    seconds = statistics.median(clock(summarise) for _ in range(3))
    work = "responsibilities, mean and 90 % interval, of 4,000 draws on 10,000 x 4 points, K=4"
    return [
        Row(work, seconds, None, "", 4.0),
        Row(
            f"{work}: peak memory",
            peak_memory("from benchmarks.interface import summarise", "summarise()"),
            None,
            "",
            300.0,
            unit="MB",
        ),
    ]
