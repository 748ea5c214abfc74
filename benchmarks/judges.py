"""What judges a fit from outside: a plain EM in NumPy, starts from a peer's maximum, what a message claims, and a run over many seeds.

Nothing here looks into the package: only what a user can call, and arithmetic of its own in coordinates in which every component has unit
variances, so that neither units nor distances between groups cost digits.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

import bayesgmm as bg

PLAIN = ("full", "tied", "diag", "spherical", "EII", "VII", "EEI", "EVI", "VVI", "EEE", "VVV")
"""Families whose M-step has a closed form without a search."""
REGULAR = ("converged", "max_iter")
HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
"""Results that are looked at and thrown away; git does not keep them."""


class Point(NamedTuple):
    """The parameters of a mixture: weights (K,), means (K, D), covariances (K, D, D)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(bool(np.isfinite(part).all()) for part in self)


@dataclass(frozen=True)
class Fitted:
    """How a fit of ours ended."""

    log_likelihood: float
    status: str
    message: str
    seconds: float
    """Of the processor, on all threads."""
    agreement: tuple[int, int] | None
    """How many of how many starts are said to have found this maximum; None if nothing is said."""
    point: Point | None
    error: str = ""
    warned: tuple[str, ...] = ()

    @property
    def is_regular(self) -> bool:
        """Whether it is told as a maximum that means something."""
        return self.status in REGULAR

    @property
    def claims(self) -> bool:
        """Whether its message says that several independent starts agree."""
        return self.is_regular and self.agreement is not None and self.agreement[0] >= 2


# ---- what ours says ----


@cache
def takes_effort() -> bool:
    """Whether this version of the package has the setting ``effort``."""
    return "effort" in bg.GaussianMixture().get_params()


def ours(X: np.ndarray, K: int, covariance_type: str = "full", **settings: Any) -> Fitted:
    """Fit ours, with the processor's time and everything that it says; errors become a status of their own."""
    if not takes_effort():
        settings.pop("effort", None)
    began = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = bg.GaussianMixture(K, covariance_type=covariance_type, **settings).fit(X)
        except Exception as error:  # noqa: BLE001 - what went wrong is the result
            said = f"{type(error).__name__}: {error}"
            return Fitted(-np.inf, "failed", said, time.process_time() - began, None, None, said)
    seconds = time.process_time() - began
    warned = tuple(f"{w.category.__name__}: {w.message}" for w in caught)
    return Fitted(
        float(model.log_likelihood_),
        model.status_,
        model.message_,
        seconds,
        agreement(model.message_),
        Point(model.params_.weights, model.params_.means, model.params_.covariances),
        "",
        warned,
    )


_OF = re.compile(
    r"\b(\d+|one|none|all|both|each) of (?:the |its |all )?(\d+)\b(?=[^.;]*\b(?:starts?|followed|reached|ended|found|agree)\b)"
)


def agreement(message: str) -> tuple[int, int] | None:
    """Return the first "k of the n" of a sentence on starts, or None.

    >>> agreement("EM converged after 65 iterations; 20 starts, 4 of the 4 followed to the end reached this maximum")
    (4, 4)
    """
    found = _OF.search(message)
    if found is None:
        return None
    n = int(found[2])
    in_words = {"one": 1, "none": 0, "all": n, "each": n, "both": 2}
    return in_words[found[1]] if found[1] in in_words else int(found[1]), n


def from_point(X: np.ndarray, point: Point, covariance_type: str = "full", **settings: Any) -> Fitted:
    """Start ours from a complete point: where does it lead, and is that a regular maximum?"""
    if not point.is_finite:
        return Fitted(-np.inf, "failed", "", 0.0, None, None, "the start is not finite")
    try:
        precisions = packed(_inverse(point.covariances), covariance_type)
    except np.linalg.LinAlgError as error:
        return Fitted(-np.inf, "failed", "", 0.0, None, None, str(error))
    start = {"weights_init": point.weights / point.weights.sum(), "means_init": point.means, "precisions_init": precisions}
    return ours(X, len(point.weights), covariance_type, **start, **{"max_iter": 5000, **settings})


def _inverse(covariances: np.ndarray) -> np.ndarray:
    """Inverses by way of correlations, so that units cost no digits; symmetric to the last bit."""
    sds = np.sqrt(np.einsum("kii->ki", covariances))
    outer = sds[:, :, None] * sds[:, None, :]
    inverse = np.linalg.inv(covariances / outer)
    return (inverse + np.swapaxes(inverse, -1, -2)) / 2 / outer


def packed(full: np.ndarray, covariance_type: str) -> np.ndarray:
    """Return matrices (K, D, D) in scikit-learn's shape for one of its four families."""
    match covariance_type:
        case "full":
            return full
        case "tied":
            return full[0]
        case "diag":
            return np.einsum("kii->ki", full)
        case "spherical":
            return np.einsum("kii->k", full) / full.shape[1]
    raise ValueError(f"starting points are packed for scikit-learn's four families, got {covariance_type!r}")


def matrices(short: np.ndarray, covariance_type: str, K: int, D: int) -> np.ndarray:
    """Return the (K, D, D) matrices of scikit-learn's ``covariances_``."""
    match covariance_type:
        case "full":
            return short
        case "tied":
            return np.broadcast_to(short, (K, D, D)).copy()
        case "diag":
            return short[:, :, None] * np.eye(D)
        case "spherical":
            return short[:, None, None] * np.eye(D)
    raise ValueError(f"scikit-learn has no {covariance_type!r}")


# ---- a plain EM ----


def log_densities(X: np.ndarray, point: Point) -> np.ndarray:
    """Return log weight + log density (N, K), each component in coordinates of its own; NaN values are left out of their rows."""
    out = np.empty((len(X), len(point.weights)))
    patterns, which = np.unique(np.isnan(X), axis=0, return_inverse=True)
    with np.errstate(divide="ignore"):
        log_weights = np.log(point.weights)
    for number, gone in enumerate(patterns):
        seen, rows = ~gone, which.ravel() == number
        for k, (mean, covariance) in enumerate(zip(point.means, point.covariances, strict=True)):
            out[rows, k] = log_weights[k] + _normal(X[np.ix_(rows, seen)] - mean[seen], covariance[np.ix_(seen, seen)])
    return out


def _normal(away: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log-density of rows that are counted from the mean."""
    sds = np.sqrt(np.diag(covariance))
    L = np.linalg.cholesky(covariance / np.outer(sds, sds))
    z = solve_triangular(L, (away / sds).T, lower=True, check_finite=False)
    return -0.5 * (z**2).sum(0) - np.log(np.diag(L)).sum() - np.log(sds).sum() - 0.5 * len(sds) * np.log(2 * np.pi)


def log_likelihood(X: np.ndarray, point: Point, weight: np.ndarray | None = None) -> float:
    """Log-likelihood of the rows, each of its weight."""
    rows = logsumexp(log_densities(X, point), axis=1)
    return float(rows.sum() if weight is None else rows @ weight)


def rounding(X: np.ndarray, point: Point, weight: np.ndarray | None = None) -> float:
    """How far two correct computations of the log-likelihood may lie apart: errors of the covariances' last digits, times rows."""
    total = len(X) if weight is None else weight.sum()
    sds = np.sqrt(np.einsum("kii->ki", point.covariances))
    worst = max(np.linalg.cond(C / np.outer(s, s)) for C, s in zip(point.covariances, sds, strict=True))
    far = np.nanmax(np.abs(X[None] - point.means[:, None]) / sds[:, None], initial=1.0, axis=(0, 1)).max()
    offset = (np.nanmax(np.abs(X), axis=0, initial=0.0) / sds).max()
    eps = np.finfo(float).eps
    D = X.shape[1]
    return float(1e-7 + 0.2 * eps * total * (D * worst * (D + min(far, 64.0) ** 2) + offset * min(far, 64.0) * worst**0.5))


def plain_step(X: np.ndarray, point: Point, covariance_type: str = "full", weight: np.ndarray | None = None) -> Point:
    """One iteration of EM as in textbooks, of complete rows, with no floor: nothing holds a covariance up."""
    joint = log_densities(X, point)
    r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    return moments(X, r if weight is None else r * weight[:, None], covariance_type)


def moments(X: np.ndarray, r: np.ndarray, covariance_type: str = "full") -> Point:
    """Return the maximum-likelihood mixture of a family for rows (N, D) with shares r (N, K)."""
    counts = r.sum(0)
    # Counted from the middle first, and the remainder once more: no digits go where a mean is large.
    means = (r.T @ X) / counts[:, None]
    scatter = np.empty((len(counts), X.shape[1], X.shape[1]))
    for k in range(len(counts)):
        away = X - means[k]
        more = r[:, k] @ away / counts[k]
        means[k] += more
        away -= more
        scatter[k] = (away * r[:, k, None]).T @ away
    return Point(counts / counts.sum(), means, _covariances(scatter, counts, covariance_type))


def _covariances(scatter: np.ndarray, counts: np.ndarray, covariance_type: str) -> np.ndarray:
    """Celeux and Govaert (1995), table 1, for the families of `PLAIN`."""
    K, D, _ = scatter.shape
    identity, total = np.eye(D), counts.sum()
    diagonals = np.einsum("kii->ki", scatter)
    match covariance_type:
        case "full" | "VVV":
            return scatter / counts[:, None, None]
        case "tied" | "EEE":
            return np.broadcast_to(scatter.sum(0) / total, (K, D, D)).copy()
        case "diag" | "VVI":
            return (diagonals / counts[:, None])[:, :, None] * identity
        case "spherical" | "VII":
            return (diagonals.mean(1) / counts)[:, None, None] * identity
        case "EII":
            return np.broadcast_to(diagonals.sum() / (total * D) * identity, (K, D, D)).copy()
        case "EEI":
            return np.broadcast_to(diagonals.sum(0) / total * identity, (K, D, D)).copy()
        case "EVI":
            shapes = np.where(diagonals.any(1, keepdims=True), diagonals, 1.0)  # of a single row: any shape does
            shapes = shapes / np.exp(np.log(shapes).mean(1, keepdims=True))
            return shapes[:, :, None] * identity * ((diagonals / shapes).sum() / (D * total))
    raise ValueError(f"no closed form is written down here for {covariance_type!r}")


@dataclass(frozen=True)
class Climb:
    """Where the plain EM went."""

    log_likelihood: float
    point: Point
    is_regular: bool


def climb(X: np.ndarray, point: Point, covariance_type: str = "full", *, most: int = 500, gain: float = 1e-6) -> Climb:
    """Run the plain EM, without a floor, until it stands still or a component is left with too few rows to have a covariance."""
    N, D = X.shape
    shift, scale = X.mean(0), X.std(0)
    if covariance_type == "spherical":
        scale = np.full(D, scale.mean())  # columns scaled apart would not be of this family
    Z = (X - shift) / scale
    point = Point(point.weights, (point.means - shift) / scale, point.covariances / np.outer(scale, scale))
    before = -np.inf
    needed = 2 if covariance_type in ("diag", "spherical") else D + 1
    regular = True
    height = -np.inf
    for _ in range(most):
        try:
            joint = log_densities(Z, point)
        except np.linalg.LinAlgError:
            regular = False
            break
        rows = logsumexp(joint, axis=1)
        height = float(rows.sum())
        if not height - before > gain:
            break
        before = height
        point = moments(Z, np.exp(joint - rows[:, None]), covariance_type)
        if (point.weights * N < needed).any() or not point.is_finite:
            regular = False
            break
    back = Point(point.weights, point.means * scale + shift, point.covariances * np.outer(scale, scale))
    return Climb(height - N * float(np.log(scale).sum()), back, regular and np.isfinite(height))


# ---- many problems ----


class TookTooLong(BaseException):
    """Raised by the alarm: not an Exception, so that nothing takes it for an error of its own."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Stop what takes more of the processor's time, as soon as Python gets a word in."""

    def ring(*_: Any) -> None:
        raise TookTooLong(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def over[T, R](task: Callable[[T], R], items: Sequence[T], processes: int = 1, *, label: str = "") -> Iterator[R]:
    """Yield the results in the order of their ends, and say now and then how far it is.

    Libraries are on one thread: others would spin beside it, and that is time of the processor too.
    """
    began, every = time.perf_counter(), -(-len(items) // 20)
    if processes == 1:
        threadpool_limits(1)
        results: Iterable[R] = map(task, items)
    else:
        pool = get_context("spawn").Pool(processes, threadpool_limits, (1,))
        results = pool.imap_unordered(task, items, chunksize=1)
    for number, result in enumerate(results, 1):
        yield result
        if number % every == 0:
            print(f"  {label}{number} of {len(items)} after {time.perf_counter() - began:.0f} s", flush=True)
    if processes > 1:
        pool.close()
        pool.join()


def warm_up(families: Iterable[str] = ("full", "tied", "diag", "spherical")) -> None:
    """Compile or load what is compiled, so that no time is blamed for it."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(40, 2)), rng.normal(5, 1, size=(40, 2))])
    for name in families:
        ours(X, 2, name, random_state=0)
    ours(X[:, :1], 2, random_state=0)
    ours(rng.normal(size=(300, 12)), 3, random_state=0)


def parser_of(description: str | None, n: int, out: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all studies of random problems have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=n, help=f"how many problems (default {n:,})")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds alone, each with all that is known of it")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=BUILD / out, help=f"where the results go (default build/{out})")
    return parser


def seeds_of(options: argparse.Namespace) -> list[int]:
    """Return the seeds that were asked for."""
    return options.seeds or list(range(options.first, options.first + options.n))


def save(path: Path, value: Any) -> None:
    """Write JSON, by way of a second file so that an interruption leaves the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(value, indent=1, default=_plain) + "\n")
    beside.replace(path)
    print(f"written: {path}", flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value)}")


def table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table whose columns line up."""
    cells = [[str(cell) for cell in line] for line in (head, *lines)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    rows = [
        "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))) + " |"
        for line in cells
    ]
    rule = "|" + "|".join(("-" * (w + 2)) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])


def percent(part: float, whole: float, digits: int = 1) -> str:
    """A share in percent, or a dash where there is nothing to have a share of."""
    return f"{100 * part / whole:.{digits}f}" if whole else "-"


def middle(values: Sequence[float], form: str = ".3g") -> str:
    """The median, or a dash."""
    return format(statistics.median(values), form) if values else "-"
