"""Simulation-based calibration: is the truth one more draw from the posterior, and do intervals hold what they claim?

Talts, Betancourt, Simpson, Vehtari and Gelman 2018, arXiv:1804.06788, algorithm 2, on label-free quantities; those that depend on the
data see errors that parameters alone do not (Modrák et al. 2023, Bayesian Analysis).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats
from scipy import stats

from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import COEFFICIENTS, CONCENTRATION, Space
from bayesgmm.covariance import Family, family
from bayesgmm.diagnostics import Check, label_free
from bayesgmm.em import resample, standard_errors
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import ConvergenceWarning, DataAdvice
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.priors import LogNormal, Priors, ResolvedPriors
from bayesgmm.rows import Chunk, Known, MemoryRows
from bayesgmm.rows.concomitant import Concomitant, Covariates, Samples
from bayesgmm.typing import FloatArray
from benchmarks.calibration.processes import replicate
from benchmarks.calibration.ranks import Uniformity, judge_ranks

__all__ = [
    "CONTROLS",
    "DESIGNS",
    "LEAST_P",
    "LEVELS",
    "MOST_ERRORS",
    "N_DRAWS",
    "SBC",
    "Design",
    "Group",
    "Outcome",
    "held",
    "held_by_normal",
    "quantities",
    "quantities_of_truth",
    "rank",
    "run_replicate",
    "run_sbc",
    "share_held",
]

LEVELS = (0.5, 0.8, 0.95)
"""What the intervals claim to hold."""
N_DRAWS = 99
"""Draws among which the truth is ranked: so many that they are nearly independent, and that ranks take 100 values."""
LEAST_P = 0.01
"""Ranks are called uneven below this, after multiplying by the number of quantities (Bonferroni)."""
MOST_ERRORS = 3.0
"""A coverage is called wrong when it lies further from what is claimed, in standard errors."""
_CHAINS, _LENGTHS = 2, (600, 3000)  # chains are run again, longer, while they hold fewer independent draws than are ranked
_BOOTSTRAP = 199
_MOST_OF_A_CONTROL = 50  # a planted mistake is plain to see in a few
_FAMILY: Literal["full"] = "full"
_SHARE_LABELLED, _SHARE_WRONG, _ROWS_OF_A_SET, _SAMPLES = 1 / 3, 0.1, 6, 4

_PROPER = Priors(concentration=4.0, means_loc=0.0, means_scale=5.0, sds=LogNormal(0.0, 0.3), eta=2.0)

type Covered = dict[tuple[str, str], FloatArray]

# What is simulated, and with what belief it is fitted


@dataclass(frozen=True)
class Design:
    """One kind of simulated data set, and how it is fitted."""

    title: str
    n_components: int
    n_features: int
    n_rows: int
    priors: Priors = _PROPER
    """From which parameters are drawn: with nothing left to be scaled by data."""
    fitted: Priors | None = None
    """With which the data are fitted; the same by default. Anything else is a mistake made on purpose."""
    copies: int = 1
    """How often each row counts in the fit; anything but 1 is a mistake made on purpose."""
    told: Literal["known", "together", "errors", "fixed", "samples", "covariates"] | None = None
    """What the fit is told: labels of a third of the rows, that every six are of one group, their errors of measurement, the mean and the
    covariance of the first group, or samples or covariates that the groups' weights depend on."""
    told_wrong: bool = False
    """Whether it is told something else than the truth, on purpose: a tenth of the labels are others; sets or errors are not told; the mean
    is a standard deviation off; half of the rows have another's sample, all rows another's covariates."""

    @property
    def is_right(self) -> bool:
        """Whether the data are fitted with the model that they come from."""
        return self.fitted is None and self.copies == 1 and not self.told_wrong

    def simulate(self, rng: np.random.Generator) -> tuple[MixtureParams, FloatArray, dict[str, Any]]:
        """Draw a mixture of batch shape ``()`` from the prior, data (N, D) from it, and what a fit is told of them."""
        anything = rng.standard_normal((50, self.n_features))  # by which the defaults of a prior would be scaled; there are none
        truth = self.priors.sample(anything, self.n_components, n_draws=1, random_state=rng)[0]
        X, labels = truth.sample(self.n_rows, rng)
        if self.told is None:
            return truth, X, {}
        if self.told == "known":
            known = np.where(rng.random(self.n_rows) < _SHARE_LABELLED, labels, -1).astype(float)
            other = np.where((known >= 0) & (rng.random(self.n_rows) < _SHARE_WRONG), (known + 1) % self.n_components, known)
            return truth, X, {"known": other if self.told_wrong else known}
        if self.told == "together":
            sets = np.arange(self.n_rows) // _ROWS_OF_A_SET
            labels = labels[sets * _ROWS_OF_A_SET]
            noise = rng.standard_normal(X.shape)
            X = truth.means[labels] + (truth.scale_tril[labels] @ noise[..., None])[..., 0]
            return truth, X, {} if self.told_wrong else {"together": sets}
        if self.told == "fixed":
            mean = truth.means[0] + (truth.sds[0] if self.told_wrong else 0.0)
            return truth, X, {"fixed": {"means": {0: mean}, "covariances": {0: truth.covariances[0]}}}
        if self.told in ("samples", "covariates"):
            return self._dependent(truth, rng)
        errors = rng.uniform(0.2, 1.5, X.shape)
        X = X + errors * rng.standard_normal(X.shape)
        return truth, X, {} if self.told_wrong else {"errors": errors}

    def _dependent(self, truth: MixtureParams, rng: np.random.Generator) -> tuple[MixtureParams, FloatArray, dict[str, Any]]:
        """Draw weights that depend on something, and rows that have them."""
        N, K, log_concentration = self.n_rows, self.n_components, np.nan
        given: np.ndarray
        concomitant: Concomitant
        if self.told == "samples":
            given = rng.integers(_SAMPLES, size=N)
            concomitant = Samples.of(given, N)
            log_concentration = rng.normal(*CONCENTRATION)
            shares = rng.dirichlet(np.exp(log_concentration) * truth.weights, concomitant.n_shares)
        else:
            given = rng.standard_normal((N, 1))
            concomitant = covariates = Covariates.of(given, N)
            slopes = COEFFICIENTS * rng.standard_normal((1, K))
            logs = truth.log_weights
            coefficients = np.vstack([logs - logs.mean(), slopes - slopes.mean(1, keepdims=True)])
            shares = covariates.shares(coefficients)
        rows = shares[concomitant.share_of]
        labels = (rng.random((N, 1)) > rows.cumsum(1)[:, :-1]).sum(1)
        X = truth.means[labels] + (truth.scale_tril[labels] @ rng.standard_normal((N, self.n_features, 1)))[..., 0]
        truth = replace(truth, weights=truth.weights if self.told == "samples" else rows.mean(0), shares=shares)
        if self.told_wrong:
            moved = rng.random(N) < 0.5 if self.told == "samples" else np.ones(N, bool)
            given[moved] = rng.permutation(given[moved])
        return truth, X, {str(self.told): given, "log_concentration": log_concentration}

    def replicate(self, seed: np.random.SeedSequence) -> Outcome:
        """Simulate a data set, fit it every way, and compare with the truth."""
        return run_replicate(self, seed)


_TOO_WIDE = Priors(concentration=4.0, means_loc=0.0, means_scale=5.0, sds=LogNormal(0.5, 0.15), eta=2.0)
_MIXED = tuple(tuple(float(i == j) + 0.8 * (i > j) for j in range(5)) for i in range(5))
_LEARNED = LogNormal(-0.2, 0.2, shared=0.3, factors=(1.0, 2.0, 3.0))
_IN_FRAME = Priors(concentration=4.0, means_loc=0.0, means_scale=5.0, sds=_LEARNED, eta=(0.25, 1.0, 4.0), frame=_MIXED)

DESIGNS = (
    Design("2 groups in 1 column", 2, 1, 100),
    Design("3 groups in 1 column", 3, 1, 150),
    Design("2 groups in 2 columns", 2, 2, 100),
    Design("3 groups in 2 columns", 3, 2, 150),
    Design("2 groups in 5 columns", 2, 5, 150),
    Design("2 groups in 5 columns, in a frame that mixes them", 2, 5, 150, priors=_IN_FRAME),
    Design("4 groups in 5 columns", 4, 5, 300),
    Design("2 groups in 2 columns, with labels of a third of the rows", 2, 2, 100, told="known"),
    Design("2 groups in 2 columns, every six rows of one group", 2, 2, 120, told="together"),
    Design("2 groups in 2 columns, with errors of measurement", 2, 2, 100, told="errors"),
    Design("2 groups in 2 columns, one of which is known", 2, 2, 100, told="fixed"),
    Design("2 groups in 2 columns, four samples", 2, 2, 160, told="samples"),
    Design("2 groups in 2 columns, a covariate", 2, 2, 100, told="covariates"),
)
"""What must come out calibrated."""

CONTROLS = (
    Design("A wrong prior: groups believed 1.6 times as wide", 2, 1, 100, fitted=_TOO_WIDE),
    Design("Every row counted twice", 2, 1, 100, copies=2),
    Design("A tenth of the labels are wrong", 2, 2, 100, told="known", told_wrong=True),
    Design("Rows that belong together taken one by one", 2, 2, 120, told="together", told_wrong=True),
    Design("Errors of measurement ignored", 2, 2, 100, told="errors", told_wrong=True),
    Design("A known group is elsewhere", 2, 2, 100, told="fixed", told_wrong=True),
    Design("Half of the rows in other samples", 2, 2, 160, told="samples", told_wrong=True),
    Design("The covariate of another row", 2, 2, 100, told="covariates", told_wrong=True),
)
"""What must be found out: fits with a mistake made on purpose."""

# What is ranked: numbers that a draw and the truth both have, whatever the names of the components

# Of the rows that `label_free` looks at: one at the edge of the data and one in their middle.
_PLACES = {"at the edge": 0, "in the middle": 4}
_TITLES = {"log_likelihood": "log-likelihood", "log_prior": "log-prior", "entropy": "entropy of the responsibilities"}


def quantities(free: xr.Dataset) -> dict[str, FloatArray]:
    """Return what is ranked, each (chain, draw), of what `bayesgmm.diagnostics.label_free` gives with the ``log_prior``."""
    out = {title: free[name].values for name, title in _TITLES.items()}
    K, D = free.sizes["rank"], free.sizes["feature"]
    out["largest weight"] = free["sorted_weights"].values[..., 0]
    if K > 2:
        out["smallest weight"] = free["sorted_weights"].values[..., -1]
    for d in range(D):
        column = f" of column {d + 1}" if D > 1 else ""
        out[f"total mean{column}"] = free["total_mean"].values[..., d]
        out[f"total sd{column}"] = free["total_sd"].values[..., d]
    if D > 1:
        out["total covariance"] = free["total_covariance"].values[..., 1, 0]
    for where, place in _PLACES.items():
        out[f"log-density {where}"] = free["log_density"].values[..., place]
    out["two rows in one group"] = free["co_clustering"].values[..., _PLACES["in the middle"] - 1]
    return out


def quantities_of_truth(
    truth: MixtureParams,
    X: FloatArray,
    weight: FloatArray,
    priors: ResolvedPriors,
    of: Family,
    known: Known | None = None,
    concomitant: Concomitant | None = None,
    log_concentration: float = np.nan,
) -> dict[str, float]:
    """Return the same of the mixture, batch shape ``()``, that rows (N, D) came from; they count ``weight`` (N,) times in the fit."""
    space = Space(priors, of, concomitant=concomitant)
    q = space.unconstrain(truth)
    if isinstance(concomitant, Samples):
        q[-1] = log_concentration
    lp, _ = LogPosterior(X, space, weight, known)(q)
    rows = Chunk(X, known=known)
    log_likelihood, r = truth.log_density(rows) @ weight, truth.responsibilities(rows)
    entropy = -np.where(r > 0, r * np.log(np.where(r > 0, r, 1.0)), 0.0).sum(1).mean()
    one = np.ones((1, 1))
    free = label_free(truth.reshape(1, 1), X, log_likelihood=log_likelihood * one, lp=lp * one, entropy=entropy * one)
    return {name: float(values[0, 0]) for name, values in quantities(free).items()}


# One simulated data set, fitted every way


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one simulated data set."""

    ranks: dict[str, int]
    """Of the truth among `N_DRAWS` draws, for every quantity."""
    covered: Covered
    """By method and kind of parameter, (levels, n): 1 where an interval holds the truth, 0 where not, NaN where there is none."""
    ess: float
    """Least bulk effective sample size of these quantities."""
    converged: bool
    """Whether the posterior's own verdict is good."""


def run_replicate(design: Design, seed: np.random.SeedSequence) -> Outcome:
    """Simulate a data set, fit it by posterior and by EM, and compare with the truth.

    Ranks are over draws taken far apart. Intervals are of parameters as well: the truth is given the labels of the EM fit by the rule
    that gives them to the draws, so that it stays one more draw.
    """
    simulation, sampler, bootstrap, ties = seed.spawn(4)
    truth, X, told = design.simulate(np.random.default_rng(simulation))
    start, chains = (int(number) for number in sampler.generate_state(2))
    fixed, log_concentration = told.pop("fixed", None), told.pop("log_concentration", np.nan)
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataAdvice):  # what answers are worth is what is measured here
            warnings.simplefilter("ignore", category)
        em = GaussianMixture(design.n_components, covariance_type=_FAMILY, fixed=fixed, random_state=start).fit(X, **told)
    posterior, free, ess, converged = _fit_posterior(design, X, em, chains, told)
    assert isinstance(posterior.priors_, ResolvedPriors)
    known, weight = posterior.rows_.known, np.full(len(X), float(design.copies))
    depends = posterior._concomitant  # noqa: SLF001 - what the weights depend on has no other name
    true_free = quantities_of_truth(truth, X, weight, posterior.priors_, family(_FAMILY), known, depends, log_concentration)
    rng, rows = np.random.default_rng(ties), Chunk(X, known=known)
    alike = None if fixed is None else np.eye(design.n_components, dtype=bool)
    labelled = truth.permute(align(rows, truth.reshape(1), em.params_.responsibilities(rows), alike=alike)[0])
    stacked = np.stack([values.ravel() for values in free.values()], axis=-1)
    covered = {("posterior", "label-free quantities"): held(stacked, np.array(list(true_free.values())))}
    covered |= _by_posterior(posterior.params_.reshape(-1), labelled)
    if design.told is None:  # EM has no errors of its own for these
        covered |= _by_em(X, em.params_, labelled, bootstrap)
    ranks = {name: rank(draws, true_free[name], rng) for name, draws in free.items()}
    return Outcome(ranks, covered, ess, converged)


def _fit_posterior(
    design: Design, X: FloatArray, em: GaussianMixture, seed: int, told: dict[str, Any]
) -> tuple[BayesianGaussianMixture, dict[str, FloatArray], float, bool]:
    """Return a posterior with as many independent draws as are ranked, its quantities, how many it has, and whether its verdict is good.

    How long chains are run depends on the data and the sampler, never on the truth, so that ranks stay uniform.
    """
    weight = None if design.copies == 1 else np.full(len(X), design.copies)
    settings: dict[str, Any] = {"chains": _CHAINS, "cores": 1, "random_state": seed, "progressbar": False, "fixed": em.fixed}
    priors = design.priors if design.fitted is None else design.fitted
    for draws in _LENGTHS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore", DataAdvice)
            warnings.simplefilter("always", ConvergenceWarning)
            posterior = BayesianGaussianMixture(
                design.n_components, covariance_type=_FAMILY, priors=priors, draws=draws, init=em, **settings
            ).fit(X, sample_weight=weight, **told)
        free = quantities(posterior.datatree_["label_free"].to_dataset())
        # A quantity that never moves has nothing to say.
        moving = np.stack([values for values in free.values() if np.ptp(values) > 0], axis=-1)
        ess = float(array_stats.ess(moving, method="bulk", chain_axis=0, draw_axis=1).min())
        if ess >= N_DRAWS:
            break
    return posterior, free, ess, not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def rank(draws: FloatArray, truth: float, rng: np.random.Generator) -> int:
    """Return the rank of the truth among draws far apart; among equals it is drawn."""
    flat = draws.ravel()
    kept = flat[np.linspace(0, len(flat) - 1, N_DRAWS).round().astype(int)]
    return int((kept < truth).sum() + rng.integers((kept == truth).sum() + 1))


def held(draws: FloatArray, truth: FloatArray) -> FloatArray:
    """Return which central intervals of draws (T, ...) hold the truth (...), as numbers (levels, n); NaN for what was given."""
    tails = (1 - np.array(LEVELS)) / 2
    lower, upper = np.quantile(draws, [tails, 1 - tails], axis=0)
    found = ((lower <= truth) & (truth <= upper)).reshape(len(LEVELS), -1).astype(float)
    return np.where(np.ptp(draws, axis=0).ravel() > 1e-12 * np.abs(draws).max(0).ravel(), found, np.nan)


def held_by_normal(estimate: FloatArray, error: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the same for intervals of an estimate and its standard error; NaN where there is no error."""
    z = stats.norm.ppf(0.5 + np.array(LEVELS) / 2)
    away = np.abs(truth - estimate).ravel() / error.ravel()
    return np.where(np.isnan(away), np.nan, (away <= z[:, None]).astype(float))


def _parameters(params: MixtureParams) -> Iterator[tuple[str, FloatArray]]:
    yield from (("weights", params.weights), ("means", params.means), ("standard deviations", params.sds))


def _by_posterior(draws: MixtureParams, truth: MixtureParams) -> Covered:
    pairs = zip(_parameters(draws), _parameters(truth), strict=True)
    return {("posterior", what): held(values, true) for (what, values), (_, true) in pairs}


def _by_em(X: FloatArray, fit: MixtureParams, truth: MixtureParams, seed: np.random.SeedSequence) -> Covered:
    """Return the same for EM: estimate and sandwich error, and the percentiles of refits to rows drawn with replacement."""
    errors = standard_errors(MemoryRows(X), fit, family(_FAMILY), "sandwich")
    refits = resample(MemoryRows(X), fit, family(_FAMILY), n_replicates=_BOOTSTRAP, tol=1e-6, seeds=seed).params
    of_fit = (errors.weights, errors.means, errors.sds)
    rows = zip(_parameters(fit), of_fit, _parameters(refits), _parameters(truth), strict=True)
    out: Covered = {}
    for (what, estimate), error, (_, drawn), (_, true) in rows:
        out["EM, sandwich", what] = held_by_normal(estimate, error, true)
        out["EM, bootstrap", what] = held(drawn, true)
    return out


# What many say together


@dataclass(frozen=True, eq=False)
class Group:
    """All replicates of one design."""

    design: Design
    outcomes: tuple[Outcome, ...]

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Ranks of the truth: one row a replicate, one column a quantity."""
        return pd.DataFrame([outcome.ranks for outcome in self.outcomes])

    @cached_property
    def uniformity(self) -> dict[str, Uniformity]:
        """How uniform the ranks of each quantity are."""
        return {str(name): judge_ranks(ranks.to_numpy(), N_DRAWS + 1) for name, ranks in self.ranks.items()}

    @property
    def p_value(self) -> float:
        """Least p-value of all quantities, times their number; at most one."""
        return min(1.0, len(self.uniformity) * min(found.p_value for found in self.uniformity.values()))

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """Share of the intervals that hold the truth.

        One row for each method, what the intervals are of, and claimed ``level``: ``coverage``, its standard error ``se`` (over
        replicates, as parameters of one data set err together; at least that of independent intervals), ``errors`` (distance from the
        level in standard errors) and ``missing`` (share of parameters that have no interval, which are left out).
        """
        keys = self.outcomes[0].covered
        return pd.DataFrame([row for key in keys for row in self._coverage(key)])

    def _coverage(self, key: tuple[str, str]) -> list[dict[str, Any]]:
        answers = np.stack([outcome.covered[key] for outcome in self.outcomes])  # (replicate, level, parameter)
        missing = float(np.isnan(answers).mean())
        rows: list[dict[str, Any]] = []
        for i, level in enumerate(LEVELS):
            coverage, se = share_held(answers[:, i], level)
            head = {"method": key[0], "what": key[1], "level": level}
            rows.append({**head, "coverage": coverage, "se": se, "errors": (coverage - level) / se, "missing": missing})
        return rows

    @property
    def checks(self) -> tuple[Check, ...]:
        """Whether ranks are uniform and the posterior's intervals hold what they claim; for a planted mistake, whether it is found."""
        return (self._rank_check(), self._coverage_check()) if self.design.is_right else (self._control_check(),)

    def _rank_check(self) -> Check:
        passed = self.p_value > LEAST_P
        words = "are uniform, as they must be" if passed else f"are not uniform: look at the {self._worst()}"
        return Check(
            "ranks", self.p_value, LEAST_P, passed, f"{self.design.title}: the ranks of the truth {words} ({self._says()})."
        )

    def _control_check(self) -> Check:
        found = self.p_value <= LEAST_P
        words = f"was found out, most clearly by the {self._worst()}" if found else "was not found out"
        title = self.design.title[:1].lower() + self.design.title[1:]
        return Check("control", self.p_value, LEAST_P, found, f"The planted mistake ({title}) {words} ({self._says()}).")

    def _coverage_check(self) -> Check:
        table = self.coverage[self.coverage["method"] == "posterior"]
        worst = table.iloc[int(table["errors"].abs().to_numpy().argmax())]
        away = abs(float(worst["errors"]))
        passed = away <= MOST_ERRORS
        words = "hold what they claim" if passed else "do not hold what they claim"
        sentence = (
            f"{self.design.title}: the posterior's intervals {words} (furthest off: {worst['coverage']:.1%} for {worst['level']:.0%} "
            f"intervals of {worst['what']}, {away:.1f} standard errors)."
        )
        return Check("coverage", away, MOST_ERRORS, passed, sentence)

    def _worst(self) -> str:
        return min(self.uniformity, key=lambda name: self.uniformity[name].p_value)

    def _says(self) -> str:
        p = f"p = {self.p_value:.2g}" if self.p_value < 1 else "p = 1"
        return f"{p} over {len(self.uniformity)} quantities"

    def summary(self) -> dict[str, Any]:
        """Return the numbers, for a file."""
        return {
            "title": self.design.title,
            "p_value": self.p_value,
            "least_ess": min(outcome.ess for outcome in self.outcomes),
            "share_converged": float(np.mean([outcome.converged for outcome in self.outcomes])),
            "ranks": {
                name: {"p_value": found.p_value, "chi_square_p_value": found.chi_square_p_value}
                for name, found in self.uniformity.items()
            },
            "coverage": self.coverage.to_dict("records"),
        }


def share_held(answers: FloatArray, level: float) -> tuple[float, float]:
    """Return the share of intervals (replicate, parameter) that hold the truth, and its standard error; NaN is no interval."""
    there = ~np.isnan(answers)
    n, total = there.sum(1), np.nan_to_num(answers).sum(1)
    if not n.any():
        return float("nan"), float("nan")
    share = total.sum() / n.sum()
    # A ratio of two sums over replicates: Cochran 1977, Sampling Techniques, equation 2.46.
    spread = np.sqrt(np.sum((total - share * n) ** 2) * len(n) / max(len(n) - 1, 1)) / n.sum()
    return float(share), float(max(spread, np.sqrt(level * (1 - level) / n.sum())))


@dataclass(frozen=True, eq=False)
class SBC:
    """What simulation-based calibration found: one group for each design, planted mistakes last."""

    groups: tuple[Group, ...]
    n_replicates: int
    random_state: int
    seconds: float

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of all designs."""
        return tuple(check for group in self.groups for check in group.checks)

    def summary(self) -> dict[str, Any]:
        """Return the numbers, for a file."""
        designs = [group.summary() for group in self.groups]
        return {"n_replicates": self.n_replicates, "random_state": self.random_state, "designs": designs}


def _run(design: Design, seed: np.random.SeedSequence) -> Outcome:
    return design.replicate(seed)


def run_sbc(
    n_replicates: int = 200, *, designs: Sequence[Design] = (*DESIGNS, *CONTROLS), random_state: int = 1, **settings: Any
) -> SBC:
    """Simulate data of every design many times over, fit them, and judge; a design with a planted mistake has at most 50 data sets."""
    began = time.perf_counter()
    spawned = zip(designs, np.random.SeedSequence(random_state).spawn(len(designs)), strict=True)
    seeds = [seed.spawn(n_replicates if design.is_right else min(n_replicates, _MOST_OF_A_CONTROL)) for design, seed in spawned]
    outcomes = replicate(_run, designs, seeds, title="Calibrating", **settings)
    groups = tuple(Group(design, own) for design, own in zip(designs, outcomes, strict=True))
    return SBC(groups, n_replicates, random_state, time.perf_counter() - began)
