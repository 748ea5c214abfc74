"""Random awkward tables and settings: nothing may break, and nothing may be told that is not so.

``python -m benchmarks.awkward [--n 10000] [--processes 1] [--seeds 17 23]``

2 to 60 rows, 1 to 8 columns, 1 to 8 components, every covariance type, ties, rounding, collinear columns, parts of a whole, outliers of
1e6, gaps, weights, and a share of priors, noise, ``reg_covar``, equal weights and numbers of starts. Every problem comes from its seed
alone. A fit passes if

- it ends within 20 s, in a fit or in an error of `bayesgmm.exceptions` that is not `LikelihoodDecreaseError`;
- no attribute has a NaN, no parameter is infinite, and no warning comes but those of `bayesgmm.exceptions`;
- ``log_likelihood_`` is what the parameters give by arithmetic of its own, within what the condition of the covariances leaves;
- "converged" means that one more iteration without any floor gains nothing, and that no covariance is singular to rounding;
- "max_iter" means that many iterations; "collapsed" and "spurious" are not said of components of many distinct rows whose covariances are
  far from singular and which no floor holds up.
"""

from __future__ import annotations

import re
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm import exceptions
from bayesgmm.covariance import WITH_PRIORS, names
from benchmarks import judges
from benchmarks.judges import Point
from benchmarks.timing import Row

CASES = 10_000
LIMIT = 20.0
LONGEST = 120.0
GAIN = 1e-3
"""Nats that one more iteration may gain on a fit that converged: a thousand times the tolerance of the largest table here."""
ROUNDING_LEVEL = 1e-13
"""Smallest eigenvalue of a component's correlations that is not mere rounding."""
OURS = tuple(kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Warning))


@dataclass(frozen=True)
class Case:
    """A table and how it is to be fitted."""

    X: np.ndarray
    weight: np.ndarray | None
    settings: dict[str, Any]
    made: str


def case(seed: int) -> Case:
    """Return the case of a seed."""
    rng = np.random.default_rng([seed, 10])
    N, D, K = int(2 * 30 ** rng.random() + 0.5), int(rng.integers(1, 9)), int(rng.integers(1, 9))
    made = [f"{N} x {D}, K={K}"]
    X = _table(rng, N, D, made)
    for change, chance in ((_rounded, 0.4), (_repeated, 0.25), (_collinear, 0.25), (_outlier, 0.2), (_units, 0.3), (_gaps, 0.15)):
        if rng.random() < chance:
            X = change(rng, X, made)
    weight = _weights(rng, N, made) if rng.random() < 0.2 else None
    return Case(X, weight, _settings(rng, K, made), ", ".join(made))


def _table(rng: np.random.Generator, N: int, D: int, made: list[str]) -> np.ndarray:
    kind = rng.choice(["normal", "groups", "whole", "counts", "uniform", "heavy tails", "zeros", "grid"])
    made.append(str(kind))
    match kind:
        case "normal":
            return rng.normal(size=(N, D))
        case "groups":
            middles = rng.normal(size=(int(rng.integers(1, 5)), D)) * 10 ** rng.uniform(0, 4)
            return middles[rng.integers(len(middles), size=N)] + rng.normal(size=(N, D)) * 10 ** rng.uniform(-3, 0)
        case "whole":
            return 100 * rng.dirichlet(rng.uniform(0.5, 5, D + 1), N)[:, : D + (D > 1)][:, -D:]
        case "counts":
            return rng.poisson(10 ** rng.uniform(-1, 1.5, D), size=(N, D)).astype(float)
        case "uniform":
            return rng.random((N, D))
        case "heavy tails":
            return rng.standard_t(1.5, size=(N, D))
        case "zeros":
            return rng.lognormal(size=(N, D)) * (rng.random((N, D)) < rng.uniform(0.1, 0.9, D))
        case _:
            return rng.integers(0, int(rng.integers(2, 6)), size=(N, D)).astype(float)


def _rounded(rng: np.random.Generator, X: np.ndarray, made: list[str]) -> np.ndarray:
    digits = int(rng.integers(0, 4))
    made.append(f"rounded to {digits} digits")
    return X.round(digits)


def _repeated(rng: np.random.Generator, X: np.ndarray, made: list[str]) -> np.ndarray:
    distinct = int(rng.integers(1, len(X) + 1))
    made.append(f"{distinct} distinct rows")
    return X[rng.integers(distinct, size=len(X))]


def _collinear(rng: np.random.Generator, X: np.ndarray, made: list[str]) -> np.ndarray:
    D = X.shape[1]
    X = X.copy()
    if D == 1:
        return X
    match rng.integers(4):
        case 0:
            X[:, -1] = 2 * X[:, 0] - 3
            made.append("a column twice")
        case 1:
            X[:, -1] = X[:, :-1].sum(1)
            made.append("a sum of columns")
        case 2:
            X[:, -1] = X[:, 0] * (1 + 10 ** rng.uniform(-14, -4) * rng.normal(size=len(X)))
            made.append("a column almost twice")
        case _:
            X[:, -1] = 100 - X[:, :-1].sum(1).round(1)
            made.append("a rounded remainder")
    return X


def _outlier(rng: np.random.Generator, X: np.ndarray, made: list[str]) -> np.ndarray:
    X = X.copy()
    size = 10 ** rng.uniform(2, 6)
    X[rng.integers(len(X)), rng.integers(X.shape[1])] += size * rng.choice([-1, 1])
    made.append(f"an outlier of {size:.0e}")
    return X


def _units(rng: np.random.Generator, X: np.ndarray, made: list[str]) -> np.ndarray:
    D = X.shape[1]
    made.append("any units")
    return X * 10.0 ** rng.uniform(-6, 6, D) + (rng.random() < 0.5) * 10.0 ** rng.uniform(0, 6, D)


def _gaps(rng: np.random.Generator, X: np.ndarray, made: list[str]) -> np.ndarray:
    share = rng.uniform(0.02, 0.4)
    X = X.copy()
    X[rng.random(X.shape) < share] = np.nan
    made.append(f"{share:.0%} missing")
    return X


def _weights(rng: np.random.Generator, N: int, made: list[str]) -> np.ndarray:
    kind = rng.choice(["whole", "any", "one in all", "tiny", "uneven"])
    made.append(f"weights: {kind}")
    match kind:
        case "whole":
            return rng.integers(0, 4, N).astype(float)
        case "any":
            return rng.uniform(0, 2, N)
        case "one in all":
            return rng.dirichlet(np.ones(N))
        case "tiny":
            return np.where(rng.random(N) < 0.3, 1e-12, 1.0)
        case _:
            return 10.0 ** rng.uniform(-4, 4, N)


def _settings(rng: np.random.Generator, K: int, made: list[str]) -> dict[str, Any]:
    plain = rng.random() < 0.5
    every = names(aliases=True)
    kind = str(rng.choice(WITH_PRIORS if plain else every))
    settings: dict[str, Any] = {"n_components": K, "covariance_type": kind, "random_state": int(rng.integers(1000))}
    match rng.integers(12):
        case 0 if kind in WITH_PRIORS:
            settings["priors"] = bg.Priors() if rng.random() < 0.5 else bg.ConjugatePriors()
        case 1:
            settings["noise"] = True
        case 2:
            settings["reg_covar"] = float(rng.choice([0.0, 1e-6, 1e-3]))
        case 3:
            settings["n_init"] = int(rng.integers(1, 6))
        case 4:
            settings["equal_weights"] = True
        case 5:
            settings["max_iter"] = int(rng.integers(1, 30))
        case 6:
            settings["init_params"] = str(rng.choice(["kmeans", "k-means++", "random", "random_from_data", "hierarchical"]))
        case _:
            pass
    made.append(", ".join(f"{name}={_short(value)}" for name, value in settings.items() if name != "n_components"))
    return settings


def _short(value: Any) -> str:
    return type(value).__name__ + "()" if isinstance(value, (bg.Priors, bg.ConjugatePriors)) else str(value)


# ---- what is asked of a fit ----


@dataclass
class Result:
    """One case: what went wrong, if anything."""

    seed: int
    made: str
    status: str
    seconds: float
    wrong: list[str] = field(default_factory=list)
    where: str = ""


def result_of(seed: int, longest: float = LONGEST) -> Result:
    """Fit the case of a seed and look at it."""
    given = case(seed)
    result = Result(seed, given.made, "failed", 0.0)
    began = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with judges.at_most(longest):
                model = bg.GaussianMixture(**given.settings).fit(given.X, sample_weight=given.weight)
        except judges.TookTooLong as error:
            model, result.where = None, traceback.format_exc(limit=-3)
            result.wrong.append(f"time: {error}")
        except exceptions.LikelihoodDecreaseError as error:
            model = None
            result.wrong.append(f"LikelihoodDecreaseError: {error}")
        except exceptions.BayesGMMError as error:
            model = None
            result.status = f"refused: {error}"
        except Exception as error:  # noqa: BLE001 - any other is what is looked for
            model, result.where = None, traceback.format_exc(limit=-3)
            result.wrong.append(f"{type(error).__name__}: {error}")
    result.seconds = time.process_time() - began
    if result.seconds > LIMIT and not any(what.startswith("time") for what in result.wrong):
        result.wrong.append(f"time: {result.seconds:.0f} s")
    result.wrong += [f"warning: {w.category.__name__}: {w.message}" for w in caught if not issubclass(w.category, OURS)]
    if model is not None:
        result.status = model.status_
        try:
            result.wrong += _checked(model, given)
        except Exception as error:  # noqa: BLE001 - an attribute that cannot be read is as wrong as one that is
            result.wrong.append(f"{type(error).__name__}: {error}")
    result.wrong = list(dict.fromkeys(result.wrong))
    return result


def _checked(model: bg.GaussianMixture, given: Case) -> list[str]:
    wrong = [f"NaN in {name}" for name in _with_nan(model)]
    params = model.params_
    point = Point(params.weights, params.means, params.covariances)
    if wrong or not point.is_finite:
        return wrong or ["a parameter is infinite"]
    if model.converged_ != (model.status_ == "converged") and model.status_ in ("converged", "max_iter"):
        wrong.append(f"converged_ is {model.converged_}, status_ {model.status_}")
    if model.status_ == "max_iter" and model.n_iter_ != model.max_iter:
        wrong.append(f"max_iter: {model.n_iter_} iterations of {model.max_iter}")
    if not model.message_.strip():
        wrong.append("no message")
    weight = np.ones(len(given.X)) if given.weight is None else given.weight
    X, weight = given.X[weight > 0], weight[weight > 0]
    # A row without a value tells nothing, and has no density.
    seen = ~np.isnan(X).all(1)
    X, weight = X[seen], weight[seen]
    try:
        return wrong + _arithmetic(model, X, weight, point, given.settings)
    except np.linalg.LinAlgError:
        singular = "a covariance is singular"
        return [*wrong, f"{model.status_}: {singular}"] if model.status_ in judges.REGULAR else wrong


def _with_nan(model: bg.GaussianMixture) -> list[str]:
    """Names of the fitted attributes with a NaN anywhere."""
    public = [name for name in dir(model) if name.endswith("_") and not name.startswith("_")]
    return [name for name in public if _has_nan(getattr(model, name, None))]


def _has_nan(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_has_nan(part) for part in value)
    if hasattr(value, "scale_tril"):
        return any(_has_nan(part) for part in (value.weights, value.means, value.scale_tril))
    if isinstance(value, (float, np.floating, np.ndarray)):
        array = np.asarray(value)
        return array.dtype.kind == "f" and bool(np.isnan(array).any())
    return False


def _arithmetic(model: bg.GaussianMixture, X: np.ndarray, weight: np.ndarray, point: Point, settings: dict[str, Any]) -> list[str]:
    told = float(model.log_likelihood_)
    slack = 2.0 * judges.rounding(X, point, weight)
    if model.noise:
        here = float(model.score_samples(X) @ weight)
        return [] if abs(here - told) <= slack else [f"log_likelihood_ is {told:.6f}, score_samples give {here:.6f}"]
    joint = judges.log_densities(X, point)
    rows = logsumexp(joint, axis=1)
    here = float(rows @ weight)
    wrong = [] if abs(here - told) <= slack else [f"log_likelihood_ is {told:.6f}, by the parameters {here:.6f} (+- {slack:.1g})"]
    smallest = _smallest_eigenvalues(point)
    status = model.status_
    if status == "converged" and smallest.min() < ROUNDING_LEVEL:
        wrong.append(f"converged: an eigenvalue of the correlations is {smallest.min():.1e}")
    held = settings.keys() & {"priors", "equal_weights"} or settings.get("reg_covar")
    if held or np.isnan(X).any() or settings["covariance_type"] not in judges.PLAIN:
        return wrong
    gain = _gain(X, weight, point, settings["covariance_type"], here)
    if status == "converged" and gain > GAIN + 2 * slack:
        wrong.append(f"converged: one iteration without a floor gains {gain:.3g}")
    if status in ("collapsed", "spurious") and gain < GAIN and smallest.min() > 1e-6:
        distinct = _distinct(X, joint, rows)
        counts = np.exp(joint - rows[:, None]).T @ weight
        plenty = 3 * (X.shape[1] + 1)
        if min(distinct) >= plenty and counts.min() >= plenty:
            wrong.append(f"{status}: each component has {min(distinct)} distinct rows, and no floor holds it up")
    return wrong


def _smallest_eigenvalues(point: Point) -> np.ndarray:
    sds = np.sqrt(np.einsum("kii->ki", point.covariances))
    return np.linalg.eigvalsh(point.covariances / (sds[:, :, None] * sds[:, None, :]))[:, 0]


def _gain(X: np.ndarray, weight: np.ndarray, point: Point, covariance_type: str, here: float) -> float:
    """What one more iteration without a floor gains; infinite where it ends in a covariance without spread."""
    with np.errstate(all="ignore"):
        try:
            after = judges.log_likelihood(X, judges.plain_step(X, point, covariance_type, weight), weight)
        except np.linalg.LinAlgError:
            return np.inf
    return after - here if np.isfinite(after) else np.inf


def _distinct(X: np.ndarray, joint: np.ndarray, rows: np.ndarray) -> list[int]:
    """How many distinct rows each component is the most probable for by far."""
    own = np.exp(joint - rows[:, None]) > 0.5
    return [len(np.unique(X[own[:, k]], axis=0)) for k in range(own.shape[1])]


def rows(quick: bool = False) -> list[Row]:
    """How many cases fail, as a line of the benchmarks."""
    judges.warm_up(names())
    results = list(judges.over(result_of, range(200 if quick else CASES)))
    wrong = Counter(what.split(":")[0] for r in results for what in set(r.wrong))
    note = ", ".join(f"{what}: {n}" for what, n in wrong.most_common(6)) or "nothing wrong"
    return [
        Row(f"{len(results):,} random awkward cases, failed", sum(bool(r.wrong) for r in results), None, "", 1, True, "cases", note)
    ]


# ---- what is said ----


def template(sentence: str) -> str:
    """Return the first words of a sentence with its numbers taken out, so that like ones count together."""
    return re.sub(r"[-+]?\d[\d.,e+-]*", "#", sentence)[:110]


def main() -> None:
    parser = judges.parser_of(__doc__, CASES, "awkward.json")
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds after which a fit is stopped")
    options = parser.parse_args()
    judges.warm_up(names())
    results = []
    for result in judges.over(partial(result_of, longest=options.longest), judges.seeds_of(options), options.processes):
        results.append(result)
        for what in result.wrong:
            print(f"seed {result.seed}: {what[:220]}\n    {result.made}", flush=True)
        if options.seeds:
            print(f"seed {result.seed}: {result.status}, {result.seconds:.2f} s: {result.made}\n{result.where}")
    print(summary(results))
    if not options.seeds:
        judges.save(options.out, [asdict(r) for r in results])


def summary(results: list[Result]) -> str:
    """Counts of what went wrong, of how fits ended, and the slowest."""
    failed = [r for r in results if r.wrong]
    wrong = Counter(template(what) for r in results for what in set(r.wrong))
    ended = Counter(template(r.status) for r in results)
    seconds = sorted(r.seconds for r in results)
    slowest = sorted(results, key=lambda r: -r.seconds)[:10]
    first = {template(what): r.seed for r in reversed(results) for what in r.wrong}
    last = (
        f"{len(failed)} of {len(results)} cases failed (target 0); median {judges.middle(seconds)} s, "
        f"99 % within {seconds[int(0.99 * (len(seconds) - 1))]:.3g} s, together {sum(seconds):.0f} s"
    )
    return "\n".join(
        [
            judges.table(("what is wrong", "cases", "such as seed"), [(what, n, first[what]) for what, n in wrong.most_common()]),
            "",
            judges.table(("ended", "cases"), ended.most_common()),
            "",
            judges.table(
                ("slowest", "s", "ended"), [(f"seed {r.seed}: {r.made}", f"{r.seconds:.2f}", r.status[:12]) for r in slowest]
            ),
            "",
            last,
        ]
    )


if __name__ == "__main__":
    main()
