"""`select` over fourteen families and K = 1..9 against R's mclust: who finds the better BIC, model by model, and in what time?

``python -m benchmarks.selecting [--tables faithful iris] [--all] [--effort 0.5] [--repeats 3]``; alone, the shipped data and iris.

Both are left at their default settings. In one column there are two families, here and there. mclust leaves out models that it finds
singular; ours leaves those out of its choice that it calls collapsed or spurious. Times are the processor's, on all threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_limits

import bayesgmm as bg
from bayesgmm.covariance import names
from bayesgmm.selection import select
from benchmarks import judges
from benchmarks.mclust import NOT_INSTALLED, installed, run_r
from benchmarks.tables import tables
from benchmarks.timing import Row

COMPONENTS = range(1, 10)
SLOWEST = 1 / 5  # of mclust's speed
SAME = 0.2  # of BIC
MCLUST = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}
SCRIPT = """
suppressMessages(library(mclust))
args <- commandArgs(TRUE)
columns <- as.integer(args[3])
X <- matrix(readBin(args[1], "double", as.integer(args[2]) * columns), ncol = columns, byrow = TRUE)
time <- function() { t <- system.time(mclustBIC(X, G = 1:9, verbose = FALSE), gcFirst = TRUE); t[["user.self"]] + t[["sys.self"]] }
all <- mclustBIC(X, G = 1:9, verbose = FALSE)
cat(as.character(packageVersion("mclust")), median(replicate(as.integer(args[4]), time())), "\\n")
for (model in colnames(all)) for (G in rownames(all))
  if (!is.na(all[G, model])) cat(model, G, format(-all[G, model], digits = 15), "\\n")
"""
type Model = tuple[str, int]


@dataclass
class Contest:
    """Both on one table."""

    table: str
    N: int
    D: int
    seconds: float
    peer_seconds: float | None
    best: float
    best_model: str
    peer_best: float | None
    peer_model: str
    ended: dict[str, int]
    """How many of our models ended how."""
    better: int
    """Models of which our BIC is smaller than theirs; of regular fits of ours."""
    worse: int
    left_out: int
    """Models that mclust has and ours calls degenerate, or could not fit."""
    largest_loss: float
    loss_at: str
    version: str = ""
    error: str = ""


def contest(name: str, X: np.ndarray, repeats: int = 1, **settings: Any) -> Contest:
    """Let both choose."""
    N, D = X.shape
    kinds = names() if D > 1 else ("full", "tied")
    error, found, seconds = "", None, []
    for _ in range(repeats):
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = select(X, COMPONENTS, kinds, random_state=1, progressbar=False, **settings)
            except Exception as failure:  # noqa: BLE001 - that it failed is the result
                error = f"{type(failure).__name__}: {failure}"
        seconds.append(time.process_time() - began)
    ours = {} if found is None else _ours(found)
    regular = {model: bic for model, (bic, status) in ours.items() if status in judges.REGULAR}
    version, peer_seconds, theirs = _theirs(X, repeats) if installed() else ("", None, {})
    losses = {model: regular[model] - bic for model, bic in theirs.items() if model in regular}
    worst = max(losses, key=losses.__getitem__, default=None)
    best, peer = min(regular, key=regular.__getitem__, default=None), min(theirs, key=theirs.__getitem__, default=None)
    return Contest(
        name,
        N,
        D,
        statistics.median(seconds),
        peer_seconds,
        np.inf if best is None else regular[best],
        _said(best),
        None if peer is None else theirs[peer],
        _said(peer),
        dict(Counter(status for _, status in ours.values())),
        sum(loss < -SAME for loss in losses.values()),
        sum(loss > SAME for loss in losses.values()),
        len(theirs) - len(losses),
        0.0 if worst is None else losses[worst],
        _said(worst),
        version,
        error,
    )


def _ours(found: bg.Selection) -> dict[Model, tuple[float, str]]:
    rows = found.table.itertuples()
    return {(MCLUST.get(r.covariance_type, r.covariance_type), int(r.n_components)): (float(r.bic), r.status) for r in rows}


def _theirs(X: np.ndarray, repeats: int) -> tuple[str, float, dict[Model, float]]:
    version, seconds, *words = run_r(SCRIPT, X, *map(str, X.shape), str(repeats))
    one_column = {"E": "EEE", "V": "VVV"}
    triples = zip(words[::3], words[1::3], words[2::3], strict=True)
    return version, float(seconds), {(one_column.get(model, model), int(K)): float(bic) for model, K, bic in triples}


def _said(model: Model | None) -> str:
    return "-" if model is None else f"{model[0]} {model[1]}"


def shipped() -> dict[str, np.ndarray]:
    """Return the shipped tables, and iris."""
    return {name: tables()[name] for name in ("faithful", "galaxies", "penguins")} | {"iris": load_iris().data}


def rows(quick: bool = False) -> list[Row]:
    """One row for each shipped table; one that says why if a table fails or the choice is worse than mclust's."""
    contests = (contest(name, X, 1 if quick else 3) for name, X in shipped().items())
    return [_row(c) for c in contests]


def _row(c: Contest) -> Row:
    work = f"select over {'14 families' if c.D > 1 else '2 families'}, K=1..9, {c.table} ({c.N} x {c.D}), processor's time"
    if c.error:
        return Row(work, float("nan"), None, "", note=f"failed: {c.error}")
    if c.peer_best is None:
        return Row(work, c.seconds, None, "", note=f"{NOT_INSTALLED}; BIC {c.best:.1f} ({c.best_model})")
    verdict = "" if c.best <= c.peer_best + SAME else " NOT as good;"
    note = (
        f"BIC {c.best:.1f} ({c.best_model}), mclust's {c.peer_best:.1f} ({c.peer_model});{verdict} of single models {c.better} are "
        f"better than mclust's, {c.worse} worse"
    )
    return Row(work, c.seconds, c.peer_seconds, f"R's mclust {c.version}", SLOWEST, note=note)


HEAD = (
    "table",
    "N x D",
    "s",
    "mclust s",
    "times",
    "BIC",
    "mclust BIC",
    "loss",
    "better",
    "worse",
    "left out",
    "largest loss",
    "degenerate",
    "failed",
)


def line(c: Contest) -> list[Any]:
    """One line of the table."""
    degenerate = c.ended.get("collapsed", 0) + c.ended.get("spurious", 0)
    return [
        c.table,
        f"{c.N} x {c.D}",
        f"{c.seconds:.2f}",
        "-" if c.peer_seconds is None else f"{c.peer_seconds:.2f}",
        f"{c.seconds / c.peer_seconds:.1f}" if c.peer_seconds else "-",
        f"{c.best:.1f} {c.best_model}",
        "-" if c.peer_best is None else f"{c.peer_best:.1f} {c.peer_model}",
        "-" if c.peer_best is None else f"{c.best - c.peer_best:.1f}",
        c.better,
        c.worse,
        c.left_out,
        f"{c.largest_loss:.1f} {c.loss_at}",
        degenerate,
        c.error[:60] or c.ended.get("failed", 0),
    ]


def report(contests: Iterable[Contest]) -> str:
    """The table, and whether the targets are met."""
    contests = list(contests)
    both = [c for c in contests if c.peer_best is not None]
    slowest = max((c.seconds / c.peer_seconds for c in both if c.peer_seconds), default=0.0)
    total = sum(c.seconds for c in both), sum(c.peer_seconds or 0.0 for c in both)
    lines = [
        judges.table(HEAD, map(line, contests)),
        f"failed on {sum(bool(c.error) for c in contests)} of {len(contests)} tables",
        f"a worse BIC than mclust's choice on {sum(c.best > c.peer_best + SAME for c in both)} of {len(both)}",
    ]
    if total[1]:
        lines.append(f"{total[0] / total[1]:.1f} times mclust's time in all, {slowest:.1f} times at most (target {1 / SLOWEST:g})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="all tables of benchmarks.tables")
    parser.add_argument("--tables", nargs="+", metavar="TABLE")
    parser.add_argument("--n", type=int, help="the first so many tables")
    parser.add_argument("--effort", type=float, help="the setting of that name, where there is one")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    threadpool_limits(1)
    judges.warm_up(names())
    chosen = tables() | shipped() if options.all or options.tables else shipped()
    if options.tables:
        chosen = {name: chosen[name] for name in options.tables}
    settings = {"effort": options.effort} if options.effort is not None and judges.takes_effort() else {}
    contests = []
    for name, X in list(chosen.items())[: options.n]:
        contests.append(contest(name, X, options.repeats, **settings))
        print(f"  {name}: {contests[-1].seconds:.1f} s", flush=True)
    print(report(contests))
    judges.save(judges.BUILD / "selecting.json", [asdict(c) for c in contests])


if __name__ == "__main__":
    main()
