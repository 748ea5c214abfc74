"""Partitions from draws against R's salso, where R has it. R runs in a process of its own and times itself."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from bayesgmm.expectation._threads import n_threads
from bayesgmm.partitions import expected_loss, point_estimate, similarity
from benchmarks.em import peak_memory
from benchmarks.timing import Row, clock

DRAWS, POINTS, RUNS = 1_000, 1_000, 16
SALSO_SIMILARITY, SALSO_SEARCH = 0.2, 1.8
"""Seconds that salso took on a machine of this kind with two cores: what to reach where it cannot be run."""
SCRIPT = """
suppressMessages(library(salso))
args <- commandArgs(TRUE)
draws <- as.integer(args[2]); points <- as.integer(args[3]); runs <- as.integer(args[4]); cores <- as.integer(args[5])
x <- matrix(readBin(args[1], "integer", draws * points), draws, points)
set.seed(1)
elapsed <- function(work) system.time(work(), gcFirst = TRUE)[["elapsed"]]
pairs <- replicate(3, elapsed(function() psm(x, nCores = cores)))
search <- replicate(3, elapsed(function() fit <<- salso(x, loss = VI(), nRuns = runs, nCores = cores)))
cat(median(pairs), median(search), as.character(packageVersion("salso")), as.integer(fit), "\\n")
"""


def problem(draws: int = DRAWS, points: int = POINTS) -> np.ndarray:
    """Draws of three overlapping groups on a line, labels switched at random: (draws, points)."""
    rng = np.random.default_rng(1)
    centers = np.array([0.0, 2.5, 5.0])
    x = rng.normal(size=points) + centers[rng.integers(3, size=points)]
    logs = -0.5 * (x[:, None] - centers) ** 2
    out = np.empty((draws, points), dtype=np.int32)
    for t in range(draws):
        p = np.exp(logs + 0.3 * rng.normal(size=3))
        z = (rng.random((points, 1)) * p.sum(1, keepdims=True) > np.cumsum(p, axis=1)[:, :-1]).sum(1)
        out[t] = rng.permutation(3)[z]
    return out


def rows(quick: bool = False) -> list[Row]:
    """Time for the similarity matrix and for the search, memory of both, and a search among many points."""
    z = problem()
    similarity(z)
    found = point_estimate(z, "vi", n_runs=RUNS, random_state=1)
    pairs = statistics.median(clock(lambda: similarity(z)) for _ in range(3 if quick else 5))
    search = statistics.median(
        clock(lambda: point_estimate(z, "vi", n_runs=RUNS, random_state=1)) for _ in range(3 if quick else 5)
    )
    four = clock(lambda: point_estimate(problem(4 * DRAWS), "vi", n_runs=RUNS, random_state=1)) - clock(lambda: problem(4 * DRAWS))
    shape = f"{DRAWS:,} draws x {POINTS:,} points, 3 groups"
    note = (
        f"expected loss {found.expected_loss:.6f}, {found.n_runs_at_best} of {RUNS} runs; "
        f"4 x the draws take {four / search:.1f} x as long"
    )
    out = [*_timed(z, shape, pairs, search, found.expected_loss, note), _memory(shape)]
    return out if quick else [*out, _many_points()]


def _timed(z: np.ndarray, shape: str, pairs: float, search: float, value: float, note: str) -> list[Row]:
    names = f"similarity matrix, {shape}", f"partition of least expected VI, {RUNS} runs, {shape}"
    if not _installed():
        left_out = "R's salso is not installed; it took {} s on a machine of this kind"
        return [
            Row(names[0], pairs, None, "", SALSO_SIMILARITY, absolute=True, note=left_out.format(SALSO_SIMILARITY)),
            Row(names[1], search, None, "", SALSO_SEARCH, absolute=True, note=f"{note}; {left_out.format(SALSO_SEARCH)}"),
        ]
    theirs, labels, version = _salso(z)
    other = expected_loss(labels, z, "vi")
    if value > other + 1e-9:
        raise AssertionError(f"salso found a partition of lower expected loss: {other:.9f} against {value:.9f}")
    peer = f"R's salso {version}"
    return [
        Row(names[0], pairs, theirs[0], peer, 1.0),
        Row(names[1], search, theirs[1], peer, 1.0, note=f"{note}; salso's is {other:.6f}"),
    ]


def _salso(z: np.ndarray) -> tuple[list[float], np.ndarray, str]:
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "data"), Path(folder, "salso.R")
        z.astype(np.int32).ravel(order="F").tofile(data)
        script.write_text(SCRIPT)
        sizes = [str(number) for number in (*z.shape, RUNS, n_threads())]
        done = subprocess.run(["Rscript", script, data, *sizes], capture_output=True, text=True, check=True)
    pairs, search, version, *labels = done.stdout.split()
    return [float(pairs), float(search)], np.array(labels, dtype=int), version


def _memory(shape: str) -> Row:
    first = (
        "from benchmarks.partitions import problem\nfrom bayesgmm.partitions import point_estimate, similarity\n"
        "point_estimate(problem(10, 50)), similarity(problem(10, 50))\nz = problem()"
    )
    peak = peak_memory(first, "kept = similarity(z), point_estimate(z, 'vi', random_state=1)")
    return Row(f"peak memory beyond the draws, both, {shape}", peak, None, "", 300.0, absolute=True, unit="MB")


def _many_points() -> Row:
    z = problem(DRAWS, 20_000)
    seconds = clock(lambda: point_estimate(z, "vi", n_runs=2, random_state=1))
    return Row(f"partition of least expected VI, 2 runs, {DRAWS:,} draws x 20,000 points", seconds, None, "")


def _installed() -> bool:
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(salso)"], capture_output=True, check=False).returncode == 0
