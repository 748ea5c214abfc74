"""An EM iteration against R's mclust, where R is installed. R runs in a process of its own and times itself."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.em import ITERATIONS, ours, per_iteration, problem
from benchmarks.timing import Row

SHAPE = (200_000, 2, 3)
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
    """One row, or one that says why there is none."""
    N, D, K = SHAPE
    work = f"EM iteration, full covariance, N={N:,} D={D} K={K}"
    if not _installed():
        return [Row(work, float("nan"), None, "", note="left out: R with its package mclust is not installed")]
    X, weights, means = problem(*SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "data"), Path(folder, "mclust.R")
        np.concatenate([X.ravel(), means.ravel()]).tofile(data)
        script.write_text(SCRIPT)
        sizes = [str(number) for number in (N, D, K, 1 + ITERATIONS)]
        mine = [per_iteration(ours, (X, weights, means)) for _ in range(3)]
        done = subprocess.run(["Rscript", script, data, *sizes], capture_output=True, text=True, check=True)
        mine += [per_iteration(ours, (X, weights, means)) for _ in range(2)]
    seconds, log_likelihood, version = done.stdout.split()[-3:]
    trace = ours(X, weights, means, 1 + ITERATIONS)
    difference = float(np.abs(trace / float(log_likelihood) - 1).min())
    if difference > 1e-9:
        raise AssertionError(f"the log-likelihoods differ by {difference:.1e}")
    name = f"R's mclust {version}"
    return [Row(work, statistics.median(mine), float(seconds), name, note=f"log-likelihoods agree to {difference:.0e}")]


def _installed() -> bool:
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(mclust)"], capture_output=True, check=False).returncode == 0
