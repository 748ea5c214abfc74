"""Random problems whose groups are known: does the default fit reach what EM reaches from the truth, and scikit-learn from ten starts?

``python -m benchmarks.planted [--n 2000] [--processes 1] [--effort 4] [--kind hidden] [--seeds 17 23] [--judged build/planted.json]``

Every problem comes from its seed alone. Its judge is the best regular maximum among: a plain EM without any floor from the moments of the
true groups, ours from the same, and ours from where scikit-learn's best of ten starts ended. "Within 1 nat" asks for a regular maximum: a
fit that is called collapsed or spurious where a regular one is known counts as a miss, whatever its height. "Held up" counts fits that are
called regular although one more iteration without a floor gains more than a hundredth of a nat. "Sure" are the misses whose message says
that several starts agree. Times are the processor's, on all threads.

``--judged`` takes the judges and scikit-learn's times from the results of an earlier run, so that only the default fit is made again.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ortho_group
from sklearn.mixture import GaussianMixture as SklearnMixture

from benchmarks import judges
from benchmarks.judges import Fitted, Point
from benchmarks.timing import Row

PROBLEMS = 2000
NEAR = 1.0  # nats
HELD_UP = 0.01
TARGET = 99.5
LONGEST = 300.0


@dataclass(frozen=True)
class Problem:
    """A table, the true groups of its rows, and how it was made."""

    kind: str
    X: np.ndarray
    groups: np.ndarray
    made: str

    @property
    def truth(self) -> Point:
        """Moments of the true groups."""
        return judges.moments(self.X, np.eye(self.groups.max() + 1)[self.groups])


# ---- how problems are made ----


def problem(seed: int, kind: str | None = None) -> Problem:
    """Return the problem of a seed; the kinds take turns."""
    rng = np.random.default_rng([seed, 18])
    kinds = list(KINDS)
    kind = kind or kinds[seed % len(kinds)]
    X, groups, made = KINDS[kind](rng)
    if rng.random() < 0.5:
        # Columns in any units, and far from zero now and then.
        units = 10.0 ** rng.uniform(-3, 3, X.shape[1])
        X = X * units + (rng.random() < 0.3) * 10 * units * rng.normal(size=X.shape[1])
        made += ", any units"
    order = rng.permutation(len(X))
    return Problem(kind, X[order], groups[order], made)


def _sizes(rng: np.random.Generator, K: int, D: int, per_direction: float = 3.0, least: int = 8) -> np.ndarray:
    """Rows of each group: at least so many for every direction, and by chance up to thirty times as many, uneven."""
    needed = max(least, int(np.ceil(per_direction * (D + 1))))
    most = max(needed, min(30 * needed, int(3000 / K), int(2.5e6 / (K * D * D))))
    typical = needed * (most / needed) ** rng.random()
    return np.maximum(needed, (typical * K * rng.dirichlet(np.full(K, 5.0))).astype(int))


def _columns(rng: np.random.Generator, least: int = 1, most: int = 40) -> int:
    return int(np.floor(least * ((most + 1) / least) ** rng.random()))


def _on_a_line(rng: np.random.Generator, sizes: np.ndarray) -> tuple[np.ndarray, str]:
    """One column in which groups stand side by side: 5 sds apart to a thousand, of like or very unlike widths."""
    K = len(sizes)
    tight = rng.random() < 0.4
    sds = 10.0 ** rng.uniform(-4 if tight else -0.3, 0, K)
    apart = 5 * 200 ** (rng.random() ** 2)
    middles = np.concatenate([[0.0], np.cumsum(apart * rng.uniform(1, 1.5, K - 1) * (sds[1:] + sds[:-1]) / 2)])
    order = rng.permutation(K)
    x = np.concatenate([rng.normal(middles[k], sds[k], sizes[k]) for k in order])
    # In units of a typical group: beside columns of sd one the groups are as far apart as it says.
    return (x - x.mean()) / np.median(sds), f"{apart:.0f} sds apart, sds 1:{sds.max() / sds.min():.0f}"


def _labels(sizes: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


def _in_one_column(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    K, D = int(rng.integers(2, 6)), _columns(rng)
    sizes = _sizes(rng, K, D)
    x, made = _on_a_line(rng, sizes)
    X = rng.normal(size=(len(x), D))
    X[:, rng.integers(D)] = x
    return X, _labels(sizes), made


def _in_a_direction(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    X, groups, made = _in_one_column(rng)
    return _turned(rng, X), groups, made


def _turned(rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    D = X.shape[1]
    return X if D == 1 else X @ ortho_group.rvs(D, random_state=rng)


def _by_covariance(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Groups about one place, or a narrow one somewhere on a broad one: a line on a background."""
    K, D = int(rng.integers(2, 4)), _columns(rng, 1, 12)
    sizes = _sizes(rng, K, D, least=40)
    step = 10.0 ** rng.uniform(-0.7 if K == 2 else -0.9, -0.45) if rng.random() < 0.4 else 10.0 ** (rng.uniform(-4, -1) / (K - 1))
    inside = int(rng.integers(1, D + 1))  # in how many directions they differ
    middle = rng.normal(size=D) * (0 if rng.random() < 0.5 else 0.7)
    parts = []
    for k, n in enumerate(sizes):
        sds = np.ones(D)
        sds[:inside] = step**k
        parts.append(rng.normal(size=(n, D)) * sds + (middle if k else 0))
    X = np.concatenate(parts)
    return _turned(rng, X), _labels(sizes), f"sds by {step:.1e} in {inside} directions"


def _hidden(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """The total covariance is the identity: no scale tells where the groups lie."""
    K, D = int(rng.integers(2, 4)), _columns(rng, 2, 40)
    sizes = _sizes(rng, K, D, per_direction=15.0, least=60)
    apart = rng.uniform(5, 10)
    X = rng.normal(size=(sizes.sum(), D))
    X[:, 0] += apart * _labels(sizes)
    X = X - X.mean(0)
    X = np.linalg.solve(np.linalg.cholesky(X.T @ X / len(X)), X.T).T
    return _turned(rng, X), _labels(sizes), f"{apart:.1f} sds apart"


def _tight(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Groups in all columns, from the size of their distances down to a ten-thousandth of it."""
    K, D = int(rng.integers(2, 6)), _columns(rng)
    sizes = _sizes(rng, K, D)
    means = rng.normal(size=(K, D))
    nearest = min(np.linalg.norm(a - b) for i, a in enumerate(means) for b in means[:i])
    tightness = 10.0 ** rng.uniform(-4, 0)
    one_only = rng.random() < 0.3
    parts = []
    for k, n in enumerate(sizes):
        size = nearest / 7 * (1 if one_only and k else tightness)
        parts.append(means[k] + size * _correlated(rng, n, D))
    made = f"sds {tightness:.1e} of their distances" + (", one group alone" if one_only else "")
    return np.concatenate(parts), _labels(sizes), made


def _correlated(rng: np.random.Generator, n: int, D: int, least: float = 0.2) -> np.ndarray:
    """Rows with sds between so much and one along axes of their own."""
    return _turned(rng, rng.normal(size=(n, D)) * rng.uniform(least, 1, D))


def _strongly_correlated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Thin groups, a hundred times as long as thick, that lie across one another or side by side."""
    K, D = int(rng.integers(2, 6)), _columns(rng, 2, 20)
    sizes = _sizes(rng, K, D, per_direction=5.0)
    thin = 10.0 ** rng.uniform(-2, -0.7)
    parallel = rng.random() < 0.5
    axes = ortho_group.rvs(D, random_state=rng)
    long = rng.random(D) < 0.5
    long[0], long[1] = True, False
    parts = []
    for k, n in enumerate(sizes):
        Z = rng.normal(size=(n, D)) * np.where(long, 1.0, thin)
        if parallel:
            Z[:, 1] += 7 * thin * k
            parts.append(Z @ axes)
        else:
            parts.append(_turned(rng, Z) + rng.normal(size=D))
    return np.concatenate(parts), _labels(sizes), f"thickness {thin:.1e}, {'parallel' if parallel else 'crossing'}"


def _overlapping(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Groups 2.5 to 5 sds apart in few columns, each of many rows."""
    K, D = int(rng.integers(2, 5)), _columns(rng, 1, 5)
    sizes = _sizes(rng, K, D, per_direction=20.0, least=60)
    means = rng.normal(size=(K, D))
    nearest = min(np.linalg.norm(a - b) for i, a in enumerate(means) for b in means[:i])
    apart = rng.uniform(2.5, 5)
    X = np.concatenate([apart * means[k] / nearest + _correlated(rng, n, D, 0.7) for k, n in enumerate(sizes)])
    return X, _labels(sizes), f"{apart:.1f} sds apart"


def _among_nuisance(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Groups in two or three columns, among others of any scale that tell nothing."""
    K, D, inside = int(rng.integers(2, 6)), _columns(rng, 4, 40), int(rng.integers(2, 4))
    sizes = _sizes(rng, K, D)
    means = rng.normal(size=(K, inside))
    nearest = min(np.linalg.norm(a - b) for i, a in enumerate(means) for b in means[:i])
    apart = rng.uniform(6, 15)
    X = np.empty((sizes.sum(), D))
    X[:, :inside] = np.concatenate([apart * means[k] / nearest + _correlated(rng, n, inside, 0.5) for k, n in enumerate(sizes)])
    X[:, inside:] = rng.normal(size=(len(X), D - inside)) * 10.0 ** rng.uniform(-3, 3, D - inside)
    return X[:, rng.permutation(D)], _labels(sizes), f"{apart:.1f} sds apart in {inside} columns"


KINDS = {
    "one column": _in_one_column,
    "one direction": _in_a_direction,
    "covariance alone": _by_covariance,
    "hidden": _hidden,
    "tight": _tight,
    "correlated": _strongly_correlated,
    "overlapping": _overlapping,
    "nuisance": _among_nuisance,
}


# ---- how they are judged ----


@dataclass
class Result:
    """One problem: what is known, what the default fit found, what it cost."""

    seed: int
    kind: str
    made: str
    N: int
    D: int
    K: int
    best: float | None
    """The highest regular maximum of the judges; None where there is none."""
    best_by: str
    truth: float | None
    peer: float | None
    peer_seconds: float
    log_likelihood: float
    status: str
    message: str
    agreement: tuple[int, int] | None
    claims: bool
    held_up: float
    """What one iteration without a floor gains."""
    seconds: float
    too_long: bool
    warned: list[str]

    @property
    def loss(self) -> float | None:
        """Nats below the best; infinite for a fit that is told as no maximum."""
        if self.best is None:
            return None
        return self.best - self.log_likelihood if self.status in judges.REGULAR else np.inf

    @property
    def missed(self) -> bool:
        """Whether the best lies more than a nat higher."""
        return self.loss is not None and not self.loss <= NEAR


@dataclass(frozen=True)
class Known:
    """What the judges say."""

    best: float | None
    best_by: str
    truth: float | None
    peer: float | None
    peer_seconds: float


def judged(known: Problem) -> Known:
    """Ask the judges for the best regular maximum."""
    X, truth = known.X, known.truth
    heights: dict[str, float] = {}
    plain = judges.climb(X, truth)
    if plain.is_regular:
        heights["truth"] = plain.log_likelihood
    for name, point in (("truth, ours", truth), ("truth, ours after the plain EM", plain.point)):
        end = judges.from_point(X, point)
        if end.is_regular:
            heights[name] = end.log_likelihood
    began = time.process_time()
    peer = scikit_learn(X, len(truth.weights))
    seconds = time.process_time() - began
    end = None if peer is None else judges.from_point(X, peer)
    if end is not None and end.is_regular:
        heights["scikit-learn"] = end.log_likelihood
    by = max(heights, key=heights.__getitem__, default="")
    from_truth = [height for name, height in heights.items() if name.startswith("truth")]
    return Known(heights.get(by), by, max(from_truth, default=None), heights.get("scikit-learn"), seconds)


def scikit_learn(X: np.ndarray, K: int) -> Point | None:
    """Where scikit-learn's best of ten starts ends, with a ridge that is small beside the smallest column."""
    model = SklearnMixture(K, n_init=10, reg_covar=1e-9 * X.var(0).min(), max_iter=300, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X)
        except ValueError:
            return None  # a covariance that it cannot factor
    return Point(model.weights_, model.means_, model.covariances_)


def result_of(seed: int, kind: str | None, settings: dict[str, Any], earlier: dict[int, Known]) -> Result:
    """Make, judge and fit the problem of a seed."""
    given = problem(seed, kind)
    known = earlier.get(seed) or judged(given)
    K = int(given.groups.max()) + 1
    try:
        with judges.at_most(LONGEST):
            fit = judges.ours(given.X, K, random_state=seed, **settings)
    except judges.TookTooLong as error:
        fit = Fitted(-np.inf, "failed", str(error), LONGEST, None, None, str(error))
    return Result(
        seed,
        given.kind,
        given.made,
        *given.X.shape,
        K,
        **asdict(known),
        log_likelihood=fit.log_likelihood,
        status=fit.status,
        message=fit.message,
        agreement=fit.agreement,
        claims=fit.claims,
        held_up=_held_up(given.X, fit),
        seconds=fit.seconds,
        too_long=fit.seconds >= LONGEST,
        warned=list(fit.warned),
    )


def _held_up(X: np.ndarray, fit: Fitted) -> float:
    """What one iteration without a floor gains on a fit that is called converged."""
    if fit.point is None or fit.status != "converged":
        return 0.0
    try:
        here = judges.log_likelihood(X, fit.point)
        return judges.log_likelihood(X, judges.plain_step(X, fit.point)) - here
    except np.linalg.LinAlgError:
        return np.inf


def run(
    seeds: list[int], settings: dict[str, Any], kind: str | None = None, earlier: dict[int, Known] | None = None, processes: int = 1
) -> list[Result]:
    """Return the results of these seeds in their order."""
    judges.warm_up(["full"])
    task = partial(result_of, kind=kind, settings=settings, earlier=earlier or {})
    return sorted(judges.over(task, seeds, processes), key=lambda r: r.seed)


def rows(quick: bool = False) -> list[Row]:
    """How many problems are missed, as a line of the benchmarks."""
    results = run(list(range(80 if quick else PROBLEMS)), {})
    known = [r for r in results if r.best is not None]
    peer = sum(r.peer is None or r.best - r.peer > NEAR for r in known)
    note = (
        f"scikit-learn with n_init=10 misses {judges.percent(peer, len(known))} %; {sum(r.missed and r.claims for r in known)} misses "
        f"with a message that starts agree, {sum(r.held_up > HELD_UP for r in results)} fits called regular and held up by a floor"
    )
    missed = 100 * sum(r.missed for r in known) / max(1, len(known))
    work = f"{len(known):,} random planted problems, missed by more than {NEAR:g} nat"
    return [Row(work, missed, None, "", 100 - TARGET, absolute=True, unit="%", note=note)]


# ---- what is said ----

HEAD = (
    "kind",
    "n",
    "no judge",
    "% within 1 nat",
    "degenerate",
    "mean loss",
    "worst",
    "sure, missed",
    "held up",
    "s",
    "s of sk. 10",
    "sk. 10 % within",
)


def line(name: str, results: list[Result]) -> list[Any]:
    """One line of the table."""
    known = [r for r in results if r.best is not None]
    regular = [max(0.0, r.loss) for r in known if np.isfinite(r.loss)]
    peer = [r for r in known if r.peer is not None and r.best - r.peer <= NEAR]
    return [
        name,
        len(results),
        len(results) - len(known),
        judges.percent(sum(not r.missed for r in known), len(known)),
        sum(not np.isfinite(r.loss) for r in known),
        f"{np.mean(regular):.1f}" if regular else "-",
        f"{max(regular):.0f}" if regular else "-",
        sum(r.missed and r.claims for r in known),
        sum(r.held_up > HELD_UP for r in results),
        judges.middle([r.seconds for r in results]),
        judges.middle([r.peer_seconds for r in results]),
        judges.percent(len(peer), len(known)),
    ]


def tables(results: list[Result]) -> str:
    """By kind, by number of columns, and all."""
    by_kind = [line(kind, [r for r in results if r.kind == kind]) for kind in KINDS if any(r.kind == kind for r in results)]
    bands = [(1, 1), (2, 5), (6, 12), (13, 24), (25, 40)]
    by_columns = [line(f"{a} to {b} columns", these) for a, b in bands if (these := [r for r in results if a <= r.D <= b])]
    by_K = [line(f"{K} groups", these) for K in range(2, 6) if (these := [r for r in results if r.K == K])]
    return judges.table(HEAD, [*by_kind, *by_columns, *by_K, line("all", results)])


def main() -> None:
    parser = judges.parser_of(__doc__, PROBLEMS, "planted.json")
    parser.add_argument("--kind", choices=list(KINDS), help="problems of this kind alone")
    parser.add_argument("--effort", type=float, help="the setting of that name, where there is one")
    parser.add_argument("--judged", type=Path, help="take the judges' answers from these results of an earlier run")
    options = parser.parse_args()
    settings = {} if options.effort is None else {"effort": options.effort}
    earlier = {} if options.judged is None else _earlier(options.judged, options.kind)
    results = run(judges.seeds_of(options), settings, options.kind, earlier, options.processes)
    print(tables(results))
    misses = sorted((r for r in results if r.missed), key=lambda r: -r.loss)
    for r in results if options.seeds else misses[:20]:
        print(_described(r))
    known = [r for r in results if r.best is not None]
    share = 100 * sum(not r.missed for r in known) / max(1, len(known))
    print(f"{share:.2f} % within {NEAR:g} nat of the best known regular maximum (target {TARGET} %)")
    if not options.seeds:
        judges.save(options.out, [asdict(r) | {"loss": r.loss} for r in results])


def _described(r: Result) -> str:
    best = "no judge" if r.best is None else f"{r.loss:.1f} below {r.best:.1f} ({r.best_by})"
    return (
        f"seed {r.seed}: {r.kind}, {r.made}; N={r.N} D={r.D} K={r.K}: {r.log_likelihood:.1f} {r.status}, {best}, "
        f"{r.seconds:.2f} s; {r.message[:120]}"
    )


def _earlier(path: Path, kind: str | None) -> dict[int, Known]:
    names = list(Known.__dataclass_fields__)
    stored = json.loads(path.read_text())
    return {r["seed"]: Known(**{name: r[name] for name in names}) for r in stored if kind is None or r["kind"] == kind}


if __name__ == "__main__":
    main()
