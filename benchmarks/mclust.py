"""EM against R's mclust, where R is installed. R runs in a process of its own and times itself."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.em import ITERATIONS, ours, per_iteration, problem
from benchmarks.timing import Row

SHAPES = [((200_000, 2, 3), None), ((200_000, 10, 10), 20.0)]
NOT_INSTALLED = "left out: R with its package mclust is not installed"
SCRIPT = """
suppressMessages(library(mclust))
args <- commandArgs(TRUE)
N <- as.integer(args[2]); d <- as.integer(args[3]); G <- as.integer(args[4]); long <- as.integer(args[5])
numbers <- readBin(args[1], "double", N * d + G * d)
X <- matrix(numbers[1:(N * d)], N, d, byrow = TRUE)
mean <- matrix(numbers[(N * d + 1):(N * d + G * d)], d, G)
identity <- array(diag(d), c(d, d, G))
variance <- list(modelName = "VVV", d = d, G = G, sigma = identity, cholsigma = identity)
start <- list(pro = rep(1 / G, G), mean = mean, variance = variance)
run <- function(n) em(data = X, modelName = "VVV", parameters = start,
                      control = emControl(itmax = c(n, n), tol = c(0, 0)), warn = FALSE)
seconds <- function(n) system.time(run(n), gcFirst = TRUE)[["elapsed"]]
invisible(run(1))
each <- replicate(5, (seconds(long) - seconds(1)) / (long - 1))
cat(format(median(each), digits = 17), format(run(long)$loglik, digits = 17), as.character(packageVersion("mclust")), "\\n")
"""


def rows(quick: bool = False) -> list[Row]:
    """One row for each shape, or one that says why there is none."""
    if not installed():
        return [Row("EM iteration beside R's mclust", float("nan"), None, "", note=NOT_INSTALLED)]
    return [_row(*shape, floor) for shape, floor in (SHAPES[:1] if quick else SHAPES)]


def _row(N: int, D: int, K: int, floor: float | None) -> Row:
    X, weights, means = problem(N, D, K)
    sizes = [str(number) for number in (N, D, K, 1 + ITERATIONS)]
    mine = [per_iteration(ours, (X, weights, means)) for _ in range(3)]
    seconds, log_likelihood, version = run_r(SCRIPT, np.concatenate([X.ravel(), means.ravel()]), *sizes)
    mine += [per_iteration(ours, (X, weights, means)) for _ in range(2)]
    trace = ours(X, weights, means, 1 + ITERATIONS)
    difference = float(np.abs(trace / float(log_likelihood) - 1).min())
    if difference > 1e-9:
        raise AssertionError(f"the log-likelihoods differ by {difference:.1e}")
    work = f"EM iteration, full covariance, N={N:,} D={D} K={K}"
    name = f"R's mclust {version}"
    return Row(work, statistics.median(mine), float(seconds), name, floor, note=f"log-likelihoods agree to {difference:.0e}")


def run_r(source: str, numbers: np.ndarray, *arguments: str) -> list[str]:
    """Run an R script with the path of a file of these numbers and more arguments; return the words that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "data"), Path(folder, "script.R")
        numbers.tofile(data)
        script.write_text(source)
        done = subprocess.run(["Rscript", script, data, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.split()


def installed() -> bool:
    """Whether R is there with mclust."""
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(mclust)"], capture_output=True, check=False).returncode == 0
