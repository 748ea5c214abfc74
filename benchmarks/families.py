"""What EM's weights and refits cost beside the plain iteration, and many models beside R's mclust."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import bayesgmm as bg
from bayesgmm.covariance import names
from bayesgmm.selection import Selection, select
from benchmarks.em import problem
from benchmarks.mclust import NOT_INSTALLED, installed, run_r
from benchmarks.timing import Row, alternate, clock

WEIGHTED = [(200_000, 2, 3), (200_000, 10, 10)]
ITERATIONS = 10
REPLICATES = 999
MOST_FOR_WEIGHTS = 0.834  # of the speed without, so that a fit takes at most 1.2 times as long
COMPONENTS = range(1, 10)
STARTS = 5
TOLERANCE = 1e-5
"""mclust's own: it stops where an iteration gains less than this share of the log-likelihood."""
SCRIPT = """
suppressMessages(library(mclust))
X <- matrix(readBin(commandArgs(TRUE)[1], "double", 544), ncol = 2, byrow = TRUE)
seconds <- function(work) median(replicate(5, system.time(work(), gcFirst = TRUE)[["elapsed"]]))
fit <- Mclust(X, G = 2, modelNames = "VVV", verbose = FALSE)
refits <- MclustBootstrap(fit, nboot = 999, type = "bs", verbose = FALSE)
spread <- apply(refits$mean, c(2, 3), sd)
all <- mclustBIC(X, G = 1:9, verbose = FALSE)
cat(seconds(function() MclustBootstrap(fit, nboot = 999, type = "bs", verbose = FALSE)),
    seconds(function() mclustBIC(X, G = 1:9, verbose = FALSE)),
    as.character(packageVersion("mclust")), sum(!is.na(all)), max(all, na.rm = TRUE), sort(spread), "\\n")
"""


def rows(quick: bool = False) -> list[Row]:
    """The rows with a peer of our own, then those beside mclust."""
    return [*(_weighted(*shape) for shape in WEIGHTED[: 1 if quick else 2]), *_mclust(1 if quick else 3)]


def _weighted(N: int, D: int, K: int) -> Row:
    """A fit with weights against the same without: the whole call, some iterations from one start."""
    X, weights, means = problem(N, D, K)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, N)
    start = {"weights_init": weights, "means_init": means, "precisions_init": np.tile(np.eye(D), (K, 1, 1))}
    model = bg.GaussianMixture(K, n_init=1, reg_covar=1e-6, tol=1e-300, max_iter=ITERATIONS, **start)
    mine, peer = alternate(_quiet(partial(model.fit, X, sample_weight=weight)), _quiet(partial(model.fit, X)), 9)
    work = f"a fit of {ITERATIONS} iterations with sample_weight, full covariance, N={N:,} D={D} K={K}"
    return Row(
        work, mine, peer, "ourselves without", MOST_FOR_WEIGHTS, note=f"{mine / peer:.2f} times as long; at most 1.2 allowed"
    )


def _mclust(repeats: int) -> list[Row]:
    """The bootstrap and the grid of models, on Old Faithful; both are checked to be the same work before they are compared."""
    X = bg.datasets.load_faithful().to_numpy(float)
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    refit = partial(em.standard_errors, "nonparametric", n_replicates=REPLICATES)
    to_the_end = partial(select, X, COMPONENTS, names(), n_init=STARTS, random_state=1, progressbar=False)
    gain = TOLERANCE * abs(em.log_likelihood_) / len(X)
    as_far = partial(to_the_end, tol=gain)
    errors, models = refit(), as_far()
    to_the_end()
    boot, grid, whole = (statistics.median(clock(work) for _ in range(repeats)) for work in (refit, as_far, to_the_end))
    works = (
        f"standard errors of faithful, K=2, from {REPLICATES} bootstrap replicates",
        f"all 14 families, K=1..9, on faithful: {STARTS} starts of each model here, at mclust's tolerance",
    )
    if not installed():
        return [Row(work, seconds, None, "", note=NOT_INSTALLED) for work, seconds in zip(works, (boot, grid), strict=True)]
    r_boot, r_grid, version, fitted, best, *spread = run_r(SCRIPT, X)
    ratio = np.sort(errors.means.values.ravel()) / np.array(spread, float)
    if np.abs(ratio - 1).max() > 0.25:
        raise AssertionError(f"the standard errors of the means are {ratio} times mclust's")
    name = f"R's mclust {version}"
    said = f"mclust: one start, {fitted} of 126 models; {_best(models, -float(best))}; at our own tolerance {whole:.2f} s"
    return [
        Row(works[0], boot, float(r_boot), name, 1.0, note=f"standard errors differ by {np.abs(ratio - 1).max():.0%} at most"),
        Row(works[1], grid, float(r_grid), name, 0.5, note=said),
    ]


def _best(models: Selection, theirs: float) -> str:
    """Compare the smallest BIC of the table with mclust's, which must not be better."""
    ours = float(models.table["bic"].min())
    if ours > theirs + 0.1:
        raise AssertionError(f"mclust's smallest BIC is {theirs}, ours {ours}")
    return f"smallest BIC {ours:.2f}, mclust's {theirs:.2f}"


def _quiet(work: Callable[[], Any]) -> Callable[[], Any]:
    """Leave out the warning that EM was stopped early: it was meant to be."""
    import warnings

    def quiet() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()

    return quiet
