"""How often does a fit miss the best maximum that anyone knows? Real tables, K = 2 to 8, four families.

``python -m benchmarks.maxima [--settings default effort=4 sklearn sklearn-10 mclust] [--n 100]`` measures,
``python -m benchmarks.maxima --search 10`` searches each problem for so many seconds and improves ``best_known.json`` in place,
``python -m benchmarks.maxima --rejudge`` asks today's fit which of the stored maxima are regular, and their heights.

Best known is the highest log-likelihood at which ours, started from all its parameters, stays and says "converged". It comes from a long
search (starts at random rows to their ends, then random swaps of components, ours with several seeds, scikit-learn with many starts), and
from every run of this study that ends higher. ``best_known.json`` keeps the heights; ``build/maxima.npz`` keeps the parameters of the
three best of every problem, and of rejected ones, for ``--rejudge``.

A problem is plausible if its best known BIC lies within 20 of the table's best over K for that family, or if K is at most 4. A fit misses
if it ends more than 0.1 nats below the best known, or is called collapsed or spurious while a regular maximum is known. Peers' ends are
taken twice: as they are, and where EM leads from them. Times are the processor's, on all threads.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture as SklearnMixture

import bayesgmm as bg
from benchmarks import judges
from benchmarks.judges import BUILD, HERE, Fitted, Point
from benchmarks.mclust import installed, run_r
from benchmarks.tables import tables
from benchmarks.timing import Row

STORE = HERE / "best_known.json"
PARAMETERS = BUILD / "maxima.npz"
FAMILIES = ("full", "tied", "diag", "spherical")
COMPONENTS = range(2, 9)
MISSED = 0.1  # nats
SAME = 0.01
PLAUSIBLE = 20.0  # of BIC
ALWAYS = 4  # components
KEPT = 3
SETTINGS = ("default", "effort=4", "sklearn", "sklearn-10", "mclust")
MOST = {"default": 12.0, "effort=4": 6.0}
"""Percent that may be missed."""
type Key = tuple[str, str, int]


# ---- problems, and what is known of them ----


def problems() -> list[Key]:
    """Return table, family and K of every problem; in one column "diag" and "spherical" are "full"."""
    return [
        (name, kind, K)
        for name, X in tables().items()
        for kind in (FAMILIES if X.shape[1] > 1 else FAMILIES[:2])
        for K in COMPONENTS
        if len(np.unique(X, axis=0)) > K
    ]


def load() -> dict[Key, float]:
    """Return the best known log-likelihoods."""
    if not STORE.exists():
        return {}
    stored = json.loads(STORE.read_text())["best"]
    return {
        (name, kind, int(K)): height for name, kinds in stored.items() for kind, by_K in kinds.items() for K, height in by_K.items()
    }


def save(best: dict[Key, float]) -> None:
    """Write them, a line for each table and family, so that a change can be read."""
    lines = []
    for name in tables():
        kinds = []
        for kind in FAMILIES:
            by_K = {str(K): round(best[name, kind, K], 4) for K in COMPONENTS if (name, kind, K) in best}
            if by_K:
                kinds.append(f"   {json.dumps(kind)}: {json.dumps(by_K)}")
        if kinds:
            lines.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(kinds) + "\n  }")
    about = "Highest log-likelihoods of regular maxima that anyone found, by table, family and K; made by benchmarks.maxima"
    STORE.write_text('{\n "about": ' + json.dumps(about) + ',\n "best": {\n' + ",\n".join(lines) + "\n }\n}\n")


def plausible(best: dict[Key, float]) -> list[Key]:
    """Return the problems that somebody might care about, in order."""
    bic = {key: _bic(key, height) for key, height in best.items()}
    least: dict[tuple[str, str], float] = {}
    for (name, kind, _), value in bic.items():
        least[name, kind] = min(value, least.get((name, kind), np.inf))
    return [key for key in problems() if key in bic and (key[2] <= ALWAYS or bic[key] <= least[key[:2]] + PLAUSIBLE)]


def _bic(key: Key, height: float) -> float:
    name, kind, K = key
    N, D = tables()[name].shape
    free = {"full": K * D * (D + 1) // 2, "tied": D * (D + 1) // 2, "diag": K * D, "spherical": K}[kind]
    return -2 * height + (K - 1 + K * D + free) * np.log(N)


class Shelf:
    """The parameters of the highest maxima of every problem, regular ones and rejected ones."""

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[float, Point]]] = {}
        if not PARAMETERS.exists():
            return
        with np.load(PARAMETERS) as stored:
            for label in stored.files:
                key, _ = label.rsplit("|", 1)
                name, _, K, _ = key.split("|")
                self.kept.setdefault(key, []).append(_unflat(stored[label], int(K), tables()[name].shape[1]))

    def add(self, key: Key, end: Fitted) -> None:
        """Keep the end of a fit if it is among the best."""
        if end.point is None or not np.isfinite(end.log_likelihood):
            return
        here = self.kept.setdefault(_label(key, end.is_regular), [])
        if any(abs(height - end.log_likelihood) < SAME for height, _ in here):
            return
        here.append((end.log_likelihood, end.point))
        here.sort(key=lambda pair: -pair[0])
        del here[KEPT:]

    def forget(self, key: Key) -> None:
        """Keep nothing of a problem."""
        for regular in (True, False):
            self.kept.pop(_label(key, regular), None)

    def points(self, key: Key) -> list[Point]:
        """Return all that is kept of a problem."""
        return [point for regular in (True, False) for _, point in self.kept.get(_label(key, regular), [])]

    def save(self) -> None:
        """Write the parameters."""
        PARAMETERS.parent.mkdir(parents=True, exist_ok=True)
        flat = {f"{key}|{i}": _flat(*pair) for key, pairs in self.kept.items() for i, pair in enumerate(pairs)}
        np.savez_compressed(PARAMETERS, **flat)


def _label(key: Key, regular: bool) -> str:
    return "|".join([key[0], key[1], str(key[2]), "regular" if regular else "rejected"])


def _flat(height: float, point: Point) -> np.ndarray:
    return np.concatenate([[height], *(part.ravel() for part in point)])


def _unflat(flat: np.ndarray, K: int, D: int) -> tuple[float, Point]:
    weights, means, covariances = np.split(flat[1:], [K, K + K * D])
    return float(flat[0]), Point(weights, means.reshape(K, D), covariances.reshape(K, D, D))


# ---- the long search ----


@dataclass
class Found:
    """The ends that a search of one problem kept."""

    key: Key
    ends: list[Fitted]
    n_fits: int
    seconds: float


def searched(key: Key, seconds: float, known: list[Point]) -> Found:
    """Search one problem for so many seconds of the processor's time."""
    name, kind, K = key
    X = tables()[name]
    rng = np.random.default_rng()
    ends: list[Fitted] = []
    began, count = time.process_time(), 0
    for end in _ends(X, K, kind, known, rng, seconds):
        count += 1
        ends = _highest([*ends, end])
        if time.process_time() - began > seconds:
            break
    return Found(key, ends, count, time.process_time() - began)


def _highest(ends: list[Fitted]) -> list[Fitted]:
    """The few highest distinct ends, regular and rejected."""
    out: list[Fitted] = []
    for end in sorted(ends, key=lambda end: -end.log_likelihood):
        others = [other for other in out if other.is_regular == end.is_regular]
        if len(others) < KEPT and all(abs(other.log_likelihood - end.log_likelihood) >= SAME for other in others):
            out.append(end)
    return out


def _ends(X: np.ndarray, K: int, kind: str, known: list[Point], rng: np.random.Generator, seconds: float) -> Iterator[Fitted]:
    """Yield ends for ever: what is known, ours, scikit-learn's, random rows, and then random swaps in the best so far."""
    best: Fitted | None = None

    def kept(end: Fitted) -> Fitted:
        nonlocal best
        if end.is_regular and end.point is not None and (best is None or end.log_likelihood > best.log_likelihood):
            best = end
        return end

    began = time.process_time()
    for end in _first_ends(X, K, kind, known, rng, seconds):
        yield kept(end)
    while time.process_time() - began < 0.6 * seconds or best is None:
        yield kept(judges.from_point(X, _at_random_rows(X, K, rng), kind))
    while True:
        # Now and then from another maximum than the best: what it lacks may be near.
        around = best
        if rng.random() < 0.2:
            end = kept(judges.from_point(X, _at_random_rows(X, K, rng), kind))
            around = end if end.is_regular else best
            yield end
        short = judges.from_point(X, _swapped(X, around.point, rng), kind, max_iter=20)
        if short.point is not None and short.log_likelihood > best.log_likelihood - 3 - 0.02 * len(X):
            yield kept(judges.from_point(X, short.point, kind))
        else:
            yield replace(short, status="failed", point=None, log_likelihood=-np.inf)


def _first_ends(X: np.ndarray, K: int, kind: str, known: list[Point], rng: np.random.Generator, seconds: float) -> Iterator[Fitted]:
    """Yield what is known, ours, and scikit-learn's, for a third of the time."""
    began = time.process_time()
    for point in known:
        yield judges.from_point(X, point, kind)
    for seed in rng.integers(2**31, size=max(1, min(20, int(2 * seconds)))):
        yield judges.ours(X, K, kind, random_state=int(seed))
        if time.process_time() - began > 0.25 * seconds:
            break
    while time.process_time() - began < 0.35 * seconds:
        peer, _ = scikit_learn(
            X, K, kind, n_init=3, seed=int(rng.integers(2**31)), init_params=str(rng.choice(["kmeans", "random_from_data"]))
        )
        if peer is not None:
            yield judges.from_point(X, peer, kind)


def _at_random_rows(X: np.ndarray, K: int, rng: np.random.Generator) -> Point:
    """K random rows, each with the total covariance, or with less of it."""
    rows = np.unique(X, axis=0)
    total = np.cov(X.T, ddof=0).reshape(X.shape[1], -1) * 10 ** rng.uniform(-1.5, 0)
    return Point(np.full(K, 1 / K), rows[rng.choice(len(rows), K, replace=False)], np.tile(total, (K, 1, 1)))


def _swapped(X: np.ndarray, point: Point, rng: np.random.Generator) -> Point:
    """Take a component away, a light one rather than a heavy one, and put a new one at a row of low density."""
    K = len(point.weights)
    chances = 1 / (point.weights + 0.05)
    gone = rng.choice(K, p=chances / chances.sum()) if rng.random() < 0.7 else rng.integers(K)
    density = judges.log_densities(X, point)
    height = np.logaddexp.reduce(density, axis=1)
    row = rng.choice(np.argsort(height)[: max(K, len(X) // 3)]) if rng.random() < 0.7 else rng.integers(len(X))
    weights, means, covariances = (part.copy() for part in point)
    own = density[row].argmax()
    means[gone] = X[row]
    covariances[gone] = np.cov(X.T, ddof=0) * 10 ** rng.uniform(-2, 0) if rng.random() < 0.5 else covariances[own]
    weights[gone] = 1 / K
    weights /= weights.sum()
    return Point(weights, means, covariances)


def search(options: argparse.Namespace) -> None:
    """Search every problem and improve what is stored."""
    best, shelf = load(), Shelf()
    keys = [key for key in chosen(problems(), options) if not (options.missing and key in best)]
    task = partial(_search_one, seconds=options.search)
    better = 0
    with_known = [(key, shelf.points(key)) for key in keys]
    for number, found in enumerate(judges.over(task, with_known, options.processes), 1):
        better += taken(best, shelf, found.key, found.ends)
        if number % 25 == 0:
            save(best)
            shelf.save()
    save(best)
    shelf.save()
    print(f"{better} of {len(keys)} problems have a better maximum now; {len(plausible(best))} of {len(best)} are plausible")


def _search_one(problem: tuple[Key, list[Point]], seconds: float) -> Found:
    key, known = problem
    return searched(key, seconds, known)


def taken(best: dict[Key, float], shelf: Shelf, key: Key, ends: list[Fitted]) -> bool:
    """Take the ends into what is known; say whether the best is better than before."""
    before = best.get(key, -np.inf)
    for end in ends:
        shelf.add(key, end)
        if end.status == "converged":
            best[key] = max(best.get(key, -np.inf), end.log_likelihood)
    return best.get(key, -np.inf) > before + SAME


def rejudge(options: argparse.Namespace) -> None:
    """Ask today's fit which of the maxima that are kept are regular: rules and floors may have changed."""
    best, shelf = load(), Shelf()
    lost = raised = lowered = 0
    for key in chosen(problems(), options):
        name, kind, _ = key
        ends = [judges.from_point(tables()[name], point, kind) for point in shelf.points(key)]
        before = best.pop(key, None)
        shelf.forget(key)
        taken(best, shelf, key, ends)
        after = best.get(key)
        lost += after is None and before is not None
        if after is not None and before is not None:
            raised += after > before + SAME
            lowered += after < before - SAME
    save(best)
    shelf.save()
    print(
        f"{raised} heights rose, {lowered} fell because the best is no longer called regular, {lost} problems have no known maximum now"
    )


# ---- the settings that are compared ----


@dataclass
class Outcome:
    """One fit of one problem under one setting."""

    table: str
    kind: str
    K: int
    setting: str
    log_likelihood: float
    """As the fit ended."""
    climbed: float
    """Where EM leads from there, if that is regular."""
    status: str
    agreement: tuple[int, int] | None
    claims: bool
    message: str
    seconds: float

    @property
    def key(self) -> Key:
        """The problem."""
        return self.table, self.kind, self.K


def fitted(key: Key, setting: str, seed: int) -> tuple[Outcome, list[Fitted]]:
    """Fit one problem; also return the ends that may be better than what is known."""
    name, kind, K = key
    X = tables()[name]
    if setting.startswith("sklearn"):
        point, seconds = scikit_learn(X, K, kind, n_init=10 if setting.endswith("10") else 1, seed=seed)
        return _of_peer(key, setting, X, point, seconds)
    settings = {}
    for part in setting.split(",") if setting != "default" else []:
        option, value = part.split("=")
        settings[option] = float(value) if option == "effort" else int(value)
    end = judges.ours(X, K, kind, random_state=seed, **settings)
    here = end.log_likelihood if end.is_regular else -np.inf
    outcome = Outcome(*key, setting, here, here, end.status, end.agreement, end.claims, end.message, end.seconds)
    return outcome, [end]


def _of_peer(key: Key, setting: str, X: np.ndarray, point: Point | None, seconds: float) -> tuple[Outcome, list[Fitted]]:
    """Judge where a peer ended: the height there, if ours calls regular where EM leads from there."""
    if point is None:
        return Outcome(*key, setting, -np.inf, -np.inf, "failed", None, False, "", seconds), []
    end = judges.from_point(X, point, key[1])
    try:
        height = judges.log_likelihood(X, point)
    except np.linalg.LinAlgError:
        height = -np.inf
    if not end.is_regular:
        return Outcome(*key, setting, -np.inf, -np.inf, end.status, None, False, "", seconds), [end]
    return Outcome(*key, setting, height, end.log_likelihood, end.status, None, False, "", seconds), [end]


def scikit_learn(
    X: np.ndarray, K: int, kind: str, *, n_init: int, seed: int, init_params: str = "kmeans"
) -> tuple[Point | None, float]:
    """Return where scikit-learn ends, and its seconds; None where it cannot factor a covariance."""
    model = SklearnMixture(K, covariance_type=kind, n_init=n_init, random_state=seed, init_params=init_params)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X)
        except ValueError:
            return None, time.process_time() - began
    seconds = time.process_time() - began
    return Point(model.weights_, model.means_, judges.matrices(model.covariances_, kind, *model.means_.shape)), seconds


MCLUST = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}
SCRIPT = """
suppressMessages(library(mclust))
args <- commandArgs(TRUE)
X <- matrix(readBin(args[1], "double", as.integer(args[2]) * as.integer(args[3])), ncol = as.integer(args[3]), byrow = TRUE)
number <- function(x) format(as.vector(x), digits = 17)
for (wanted in args[-(1:3)]) {
  parts <- strsplit(wanted, ":")[[1]]
  seconds <- system.time(fit <- try(Mclust(X, G = as.integer(parts[2]), modelNames = parts[1], verbose = FALSE), silent = TRUE))
  seconds <- seconds[["user.self"]] + seconds[["sys.self"]]
  if (inherits(fit, "try-error") || is.null(fit)) { cat(wanted, seconds, 0, "\\n"); next }
  p <- fit$parameters
  sigma <- if (ncol(X) == 1) rep_len(p$variance[["sigmasq"]], fit$G) else p$variance[["sigma"]]
  numbers <- c(number(p$pro), number(p$mean), number(sigma))
  cat(wanted, seconds, length(numbers), numbers, "\\n")
}
"""


def mclust(keys: list[Key]) -> Iterator[tuple[Outcome, list[Fitted]]]:
    """Fit the problems with R's mclust, a process for each table."""
    for name in dict.fromkeys(key[0] for key in keys):
        X = tables()[name]
        N, D = X.shape
        these = [key for key in keys if key[0] == name]
        wanted = {f"{_model(kind, D)}:{K}": (name, kind, K) for _, kind, K in these}
        words = iter(run_r(SCRIPT, X, str(N), str(D), *wanted))
        for word in words:
            key, seconds, length = wanted[word], float(next(words)), int(next(words))
            numbers = np.array([float(next(words)) for _ in range(length)])
            yield _of_peer(key, "mclust", X, _from_r(numbers, key[2], D) if length else None, seconds)


def _model(kind: str, D: int) -> str:
    return MCLUST[kind] if D > 1 else MCLUST[kind][0]


def _from_r(numbers: np.ndarray, K: int, D: int) -> Point:
    """R writes columns first, and a component after the other last."""
    weights, means, covariances = np.split(numbers, [K, K + K * D])
    return Point(weights, means.reshape(K, D), covariances.reshape(K, D, D))


# ---- the study ----


def chosen(keys: list[Key], options: argparse.Namespace) -> list[Key]:
    """Return the problems that were asked for: of these tables and families, and some of them spread over all."""
    keys = [
        key
        for key in keys
        if (not options.tables or key[0] in options.tables)
        and (not options.families or key[1] in options.families)
        and (not options.components or key[2] in options.components)
    ]
    if options.n and options.n < len(keys):
        keys = [keys[i] for i in np.sort(np.random.default_rng(0).choice(len(keys), options.n, replace=False))]
    return keys


HEAD = (
    "setting",
    "fits",
    "% missed",
    "median loss",
    "% missed at the end of EM",
    "degenerate",
    "CPU s",
    "s a fit",
    "claims",
    "% right",
    "all of all",
    "% right",
)


def line(setting: str, outcomes: list[Outcome], best: dict[Key, float]) -> list[Any]:
    """One line of the table: of what is missed, by how much, at what cost, and whether starts agreed on the right maximum."""
    losses = [best[o.key] - o.log_likelihood for o in outcomes]
    missed = [loss for loss in losses if loss > MISSED]
    climbed = sum(best[o.key] - o.climbed > MISSED for o in outcomes)
    sure = [o for o in outcomes if o.claims]
    all_of_all = [o for o in sure if o.agreement is not None and o.agreement[0] == o.agreement[1]]

    def right(those: list[Outcome]) -> str:
        return judges.percent(sum(best[o.key] - o.log_likelihood <= MISSED for o in those), len(those))

    return [
        setting,
        len(outcomes),
        judges.percent(len(missed), len(outcomes)),
        judges.middle([loss for loss in missed if np.isfinite(loss)]),
        judges.percent(climbed, len(outcomes)),
        sum(not np.isfinite(loss) for loss in losses),
        f"{sum(o.seconds for o in outcomes):.1f}",
        f"{np.mean([o.seconds for o in outcomes]):.3f}",
        len(sure),
        right(sure),
        len(all_of_all),
        right(all_of_all),
    ]


def run(
    keys: list[Key], settings: list[str], seeds: int, best: dict[Key, float], shelf: Shelf, processes: int = 1
) -> list[Outcome]:
    """Fit the problems under every setting; what is better than the best known is taken into it."""
    judges.warm_up()
    outcomes: list[Outcome] = []
    better: set[Key] = set()
    for setting in settings:
        for seed in range(seeds if setting != "mclust" else 1):
            task = partial(fitted, setting=setting, seed=seed)
            ran = mclust(keys) if setting == "mclust" else judges.over(task, keys, processes, label=f"{setting}: ")
            for outcome, ends in ran:
                outcomes.append(outcome)
                if taken(best, shelf, outcome.key, [_sure(outcome.key, end) for end in ends if _higher(best, outcome.key, end)]):
                    better.add(outcome.key)
    if better:
        print(f"{len(better)} problems have a better maximum now: {', '.join(f'{n} {k} K={K}' for n, k, K in sorted(better)[:12])}")
        save(best)
        shelf.save()
    return outcomes


def study(options: argparse.Namespace) -> None:
    """Fit all plausible problems under every setting, print the tables."""
    best = _known()
    keys = chosen(plausible(best), options)
    settings = [setting for setting in options.settings if _available(setting)]
    outcomes = run(keys, settings, options.seeds, best, Shelf(), options.processes)
    lines = [line(setting, [o for o in outcomes if o.setting == setting], best) for setting in settings]
    print(judges.table(HEAD, lines))
    for attribute, values in (("kind", FAMILIES), ("K", COMPONENTS)):
        parts = [
            [value, *(judges.percent(*_missed(outcomes, setting, attribute, value, best)) for setting in settings)]
            for value in values
            if any(getattr(o, attribute) == value for o in outcomes)
        ]
        print(f"\n{judges.table((f'% missed, by {attribute}', *settings), parts)}")
    judges.save(BUILD / "maxima.json", [asdict(o) | {"best": best[o.key]} for o in outcomes])


def rows(quick: bool = False) -> list[Row]:
    """How many problems the default misses, and at four times the effort, as lines of the benchmarks."""
    best = _known()
    keys = plausible(best)
    keys = keys[:: max(1, len(keys) // 40)] if quick else keys
    settings = [setting for setting in SETTINGS if _available(setting)]
    outcomes = run(keys, settings, 1, best, Shelf())
    by = {setting: [o for o in outcomes if o.setting == setting] for setting in settings}
    missed = {setting: 100 * np.mean([best[o.key] - o.log_likelihood > MISSED for o in these]) for setting, these in by.items()}
    peers = ", ".join(f"{setting} misses {missed[setting]:.0f} %" for setting in settings if setting not in MOST)
    out = []
    for setting in MOST:
        if setting in by:
            sure = [o for o in by[setting] if o.claims]
            right = judges.percent(sum(best[o.key] - o.log_likelihood <= MISSED for o in sure), len(sure))
            note = f"{np.mean([o.seconds for o in by[setting]]):.3f} s a fit; starts agree in {len(sure)}, rightly in {right} %; {peers}"
            work = f"{len(keys)} plausible problems on real tables, {setting}: more than {MISSED} nats below the best known"
            out.append(Row(work, float(missed[setting]), None, "", MOST[setting], absolute=True, unit="%", note=note))
    return out


def _known() -> dict[Key, float]:
    best = load()
    if not best:
        raise SystemExit(f"{STORE.name} is not there yet: python -m benchmarks.maxima --search 10")
    return best


def _higher(best: dict[Key, float], key: Key, end: Fitted) -> bool:
    return end.status == "converged" and end.log_likelihood > best.get(key, -np.inf) + SAME


def _sure(key: Key, end: Fitted) -> Fitted:
    """A height counts as known if a fit that starts there stays there."""
    return judges.from_point(tables()[key[0]], end.point, key[1]) if end.point is not None else end


def _missed(outcomes: list[Outcome], setting: str, attribute: str, value: Any, best: dict[Key, float]) -> tuple[int, int]:
    these = [o for o in outcomes if o.setting == setting and getattr(o, attribute) == value]
    return sum(best[o.key] - o.log_likelihood > MISSED for o in these), len(these)


def _available(setting: str) -> bool:
    if setting == "mclust" and not installed():
        print("mclust: left out, R with its package mclust is not installed")
        return False
    if "effort" in setting and not judges.takes_effort():
        print(f"{setting}: left out, this version of the package (bayesgmm {bg.__version__}) has no such setting")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--settings", nargs="+", default=list(SETTINGS), help='such as default, effort=4, "effort=2,n_init=5", sklearn'
    )
    parser.add_argument("--search", type=float, metavar="SECONDS", help="search each problem for so long and improve what is known")
    parser.add_argument("--missing", action="store_true", help="search only problems of which nothing is known yet")
    parser.add_argument("--rejudge", action="store_true", help="ask today's fit which stored maxima are regular")
    parser.add_argument("--n", type=int, help="so many of the problems, spread over all")
    parser.add_argument("--seeds", type=int, default=1, help="fits of every problem, with random_state 0, 1, ...")
    parser.add_argument("--tables", nargs="+", choices=list(tables()), metavar="TABLE")
    parser.add_argument("--families", nargs="+", choices=FAMILIES)
    parser.add_argument("--components", nargs="+", type=int)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    if options.search:
        search(options)
    elif options.rejudge:
        rejudge(options)
    else:
        study(options)


if __name__ == "__main__":
    main()
