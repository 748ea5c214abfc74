"""One case of :mod:`benchmarks.scale`, in a process of its own: prints seconds of an iteration and peak memory as JSON."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

D, K = 5, 5
FEW, MANY = 2, 10
BLOCK = 1_000_000
CENTRES = np.random.default_rng(7).normal(scale=4.0, size=(K, D))


def blocks(n: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of K groups, a million at a time: the same whatever their number."""
    for i, start in enumerate(range(0, n, BLOCK)):
        rng = np.random.default_rng([11, i])
        size = min(BLOCK, n - start)
        yield start, CENTRES[rng.integers(K, size=size)] + rng.normal(size=(size, D))


def model(n_iter: int, offset: float) -> Any:
    from bayesgmm import GaussianMixture

    means = CENTRES + offset + 0.5
    return GaussianMixture(
        K, weights_init=np.full(K, 1 / K), means_init=means, precisions_init=[np.eye(D)] * K, tol=0, max_iter=n_iter, n_init=1
    )


def fitted(source: Any, n_iter: int, offset: float) -> tuple[float, Any, list[float]]:
    """Fit, and return all the seconds that it took, the fit, and the seconds of each iteration."""
    told: list[float] = []
    em = model(n_iter, offset)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        em.fit(source, on_iteration=lambda iteration: told.append(iteration.seconds))
    return time.perf_counter() - began, em, told


def ours(kind: str, path: str, n: int, address: str | None, chunk_rows: int | None) -> dict[str, Any]:
    from bayesgmm import open_rows

    if address is not None:
        from distributed import Client

        client = Client(address, timeout=60)
        client.wait_for_workers(1)
    offset = 0.0
    if kind == "memory":
        source = np.load(path, mmap_mode="r")[:n].copy()
        offset = 1e6 if source[0, 0] > 1e5 else 0.0
    elif kind == "npy":
        source = open_rows(np.load(path, mmap_mode="r")[:n], chunk_rows=chunk_rows)
    else:
        source = open_rows(path)
    if n <= 1_000_000:
        fitted(source, FEW, offset)  # compiled
    whole, em, told = fitted(source, MANY, offset)
    seconds = statistics.median(told[1:])
    return {"seconds": seconds, "before": whole - sum(told), "height": em.log_likelihood_ / n}


def spark(path: str, n: int) -> dict[str, Any]:
    import pandas as pd
    from pyspark.ml.clustering import GaussianMixture
    from pyspark.ml.feature import VectorAssembler
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    X = np.load(path)[:n]
    names = [f"x{d}" for d in range(D)]
    pd.DataFrame(X, columns=names).to_parquet(f"{path}.parquet")
    frame = VectorAssembler(inputCols=names, outputCol="features").transform(session.read.parquet(f"{path}.parquet"))
    frame = frame.select("features").repartition(2).cache()
    frame.count()

    def fit(n_iter: int) -> tuple[float, float]:
        began = time.perf_counter()
        # Spark stops when the log-likelihood moves by less than tol, and refuses a tol of zero or less only by stopping never.
        found = GaussianMixture(k=K, tol=1e-300, maxIter=n_iter, seed=1).fit(frame)
        return time.perf_counter() - began, found.summary.logLikelihood

    fit(FEW)
    few, (many, _) = fit(FEW)[0], fit(MANY)
    height = fit(40)[1] / n
    session.stop()
    return {"seconds": (many - few) / (MANY - FEW), "before": few, "height": height}


def _peak() -> float:
    """Peak memory of this process in MB; what ``getrusage`` says of it begins with the peak of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    kind, path, n, *more = sys.argv[1:]
    if kind == "spark":
        found = spark(path, int(n))
    else:
        found = ours(kind, path, int(n), more[0] if more else None, int(more[1]) if len(more) > 1 else None)
    found["megabytes"] = _peak()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
