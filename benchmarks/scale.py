"""Data larger than a fit may take of memory: 50 million rows from files and on Dask's workers, beside rows in memory and beside Spark.

``make bench-scale``. Every case is a process of its own, whose peak memory is asked of the operating system. An iteration of ours is the
median of a fit's own, one of Spark's the difference of two fits that differ in nothing but their number of iterations.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale_case import D, K, blocks
from benchmarks.timing import Curves, Row

N = 50_000_000
IN_MEMORY = 5_000_000
ON_WORKERS = 20_000_000
SPARK_ROWS = 500_000
GROWTH = (10_000, 100_000, 1_000_000, 10_000_000, N)
TURNS = 3
_seconds: dict[int, float] = {}


def rows(quick: bool = False) -> Iterator[Row]:
    shrink = 50 if quick else 1
    with tempfile.TemporaryDirectory(prefix="bayesgmm-scale-") as folder:
        files = _files(Path(folder), N // shrink)
        yield from _out_of_core(files, IN_MEMORY // shrink, N // shrink)
        for n in GROWTH:
            if n < N // shrink:
                _seconds[n] = _case("npy", files["npy"], n)["seconds"]
        yield from _dask(files, ON_WORKERS // shrink)
        yield from _spark(Path(folder), SPARK_ROWS // shrink)


def growth() -> Curves:
    """Seconds of an iteration against N, from a file."""
    return Curves("EM iteration from a file, D = 5, K = 5", {"bayesgmm": sorted(_seconds.items())})


def _files(folder: Path, n: int) -> dict[str, str]:
    """Write the same rows as .npy and as Parquet, a million at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    array = np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype=float, shape=(n, D))
    (folder / "parts").mkdir()
    for i, (start, X) in enumerate(blocks(n)):
        array[start : start + len(X)] = X
        table = pa.table({f"x{d}": X[:, d] for d in range(D)})
        pq.write_table(table, folder / "parts" / f"{i:03}.parquet", compression="zstd", use_dictionary=False)
    array.flush()
    os.sync()  # or what is still being written slows down what is measured first
    return {"npy": str(folder / "rows.npy"), "parquet": str(folder / "parts")}


def _case(kind: str, source: str, n: int, *more: str) -> dict[str, Any]:
    """Run a case in a process of its own, and return what it prints."""
    command = [sys.executable, "-m", "benchmarks.scale_case", kind, source, str(n), *more]
    # Spark tells its progress on stderr: what it says there is of interest only if it fails.
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr[-3000:]}")
    return json.loads(found.stdout.splitlines()[-1])


def _out_of_core(files: dict[str, str], n_memory: int, n: int) -> Iterator[Row]:
    # In turns, because the speed of a shared machine drifts: each case stands between two of what it is compared with.
    found: dict[str, list[dict[str, Any]]] = {"memory": [], "npy": [], "parquet": []}
    for kind in ("memory", *TURNS * ("npy", "memory", "parquet", "memory")):
        found[kind].append(_case(kind, files["npy" if kind == "memory" else kind], n_memory if kind == "memory" else n))
    scaled = [case["seconds"] * n / n_memory for case in found["memory"]]
    for place, (kind, limit) in enumerate((("npy", 1000.0), ("parquet", 1500.0))):
        work = f"{n:,} x {D} from {'a .npy file' if kind == 'npy' else 'Parquet files'}, K={K}"
        turns = [(case["seconds"], (scaled[place + 2 * i] + scaled[place + 2 * i + 1]) / 2) for i, case in enumerate(found[kind])]
        seconds, beside = sorted(turns, key=lambda turn: turn[0] / turn[1])[TURNS // 2]
        if kind == "npy":
            _seconds[n] = seconds
        ratios = ", ".join(f"{there / here:.2f}" for here, there in turns)
        before = min(case["before"] for case in found[kind])
        note = f"in memory {n_memory:,} rows; {TURNS} turns: {ratios} times; first pass and starts {before:.1f} s"
        yield Row(f"{work}: an iteration", seconds, beside, "in memory, scaled up", 1 / 1.3, note=note)
        peak = max(case["megabytes"] for case in found[kind])
        yield Row(f"{work}: peak memory of the process", peak, None, "", limit, absolute=True, unit="MB")


def _dask(files: dict[str, str], n: int) -> list[Row]:
    seconds = {}
    for workers in (1, 2):
        with _cluster(workers) as address:
            seconds[workers] = _case("npy", files["npy"], n, address)
            if workers == 2:
                overhead = _case("npy", files["npy"], 5_000, address, "100")
    one, two = seconds[1]["seconds"], seconds[2]["seconds"]
    work = f"{n:,} x {D} on Dask workers, K={K}"
    return [
        Row(
            f"{work}: an iteration, two against one", two, one, "one worker", 1.6, note=f"client: {seconds[2]['megabytes']:.0f} MB"
        ),
        Row("overhead of an iteration on two Dask workers, 50 chunks", overhead["seconds"], None, ""),
    ]


@contextmanager
def _cluster(workers: int) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, "BAYESGMM_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    dask = [sys.executable, "-m"]
    scheduler = [*dask, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = [
        *dask,
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
        "--memory-limit",
        "0",
    ]
    processes = [subprocess.Popen(command, **quiet) for command in (scheduler, *[worker] * workers)]
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _spark(folder: Path, n: int) -> list[Row]:
    if find_spec("pyspark") is None or shutil.which("java") is None:
        return [Row("Spark MLlib's GaussianMixture", float("nan"), None, "", note="left out: pyspark or Java is not installed")]
    out: list[Row] = []
    before: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for offset in (0.0, 1e6):
        path = folder / f"spark-{offset:g}.npy"
        np.save(path, np.concatenate([X for _, X in blocks(n)]) + offset)
        turns = [(_case("memory", str(path), n), _case("spark", str(path), n)) for _ in range(1 if offset else TURNS)]
        ours, theirs = turns[0]
        if offset:
            work = f"log-likelihood per row beyond what an offset of 1e6 may change, {n:,} x {D}"
            off = [abs(case["height"] - plain["height"]) for case, plain in ((ours, before[0]), (theirs, before[1]))]
            note = f"ours {ours['height']:.6f}, Spark's {theirs['height']:.6f}; without the offset {before[0]['height']:.6f} and "
            out.append(
                Row(work, off[0], off[1], "Spark", 1e-6, absolute=True, unit="nats", note=f"{note}{before[1]['height']:.6f}")
            )
        else:
            work = f"EM iteration in memory, {n:,} x {D}, K={K}"
            seconds = [statistics.median(turn[i]["seconds"] for turn in turns) for i in (0, 1)]
            ratios = ", ".join(f"{spark['seconds'] / own['seconds']:.0f}" for own, spark in turns)
            out.append(Row(work, *seconds, "Spark MLlib, local[2]", 15, note=f"{len(turns)} turns: {ratios} times"))
            before = ours, theirs
    return out
