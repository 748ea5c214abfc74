"""One simulated data set, fitted every way: where the truth falls, and which intervals hold it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats

from bayesgmm.calibration.designs import Design
from bayesgmm.calibration.quantities import quantities, quantities_of_truth
from bayesgmm.covariance import family
from bayesgmm.em import resample, standard_errors
from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import ConvergenceWarning
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.priors import ResolvedPriors
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["LEVELS", "N_DRAWS", "Outcome", "run_replicate"]

LEVELS = (0.5, 0.8, 0.95)
"""What the intervals claim to hold."""
N_DRAWS = 99
"""Draws among which the truth is ranked: so many that they are nearly independent, and that ranks take 100 values."""
_CHAINS, _LENGTHS = 2, (600, 3000)  # chains are run again, longer, while they hold fewer independent draws than are ranked
_BOOTSTRAP = 199
_FAMILY: Literal["full"] = "full"

type Covered = dict[tuple[str, str], FloatArray]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one simulated data set.

    Parameters
    ----------
    ranks : dict of str to int
        Of the truth among `N_DRAWS` draws, for every quantity.
    covered : dict of (method, what) to array of shape (levels, n)
        1 where the interval of a parameter holds the truth, 0 where not, NaN where there is no interval.
    ess : float
        Least bulk effective sample size of these quantities.
    converged : bool
        Whether the posterior's own verdict is good.

    Examples
    --------
    >>> Outcome(ranks={"log_likelihood": 37}, covered={}, ess=812.0, converged=True).converged
    True
    """

    ranks: dict[str, int]
    covered: Covered
    ess: float
    converged: bool


def run_replicate(design: Design, seed: np.random.SeedSequence) -> Outcome:
    """Simulate a data set, fit it by posterior and by EM, and compare with the truth.

    Ranks are of label-free quantities, over draws taken far apart (Talts, Betancourt, Simpson, Vehtari and Gelman 2018,
    arXiv:1804.06788, algorithm 2; quantities that depend on the data see errors that parameters alone do not: Modrák et al. 2023,
    Bayesian Analysis). Intervals are of parameters as well: the truth is given the labels of the EM fit by the rule that gives them to
    the draws, so that it stays one more draw.

    Parameters
    ----------
    design : Design
    seed : SeedSequence
        The same seed gives the same outcome.

    Returns
    -------
    Outcome

    Examples
    --------
    >>> from bayesgmm.calibration.designs import DESIGNS
    >>> outcome = run_replicate(DESIGNS[0], np.random.SeedSequence(1))
    >>> all(0 <= rank <= N_DRAWS for rank in outcome.ranks.values())
    True
    """
    simulation, sampler, bootstrap, ties = seed.spawn(4)
    truth, X = design.simulate(np.random.default_rng(simulation))
    start, chains = (int(number) for number in sampler.generate_state(2))
    em = _fit_em(design, X, start)
    posterior, ess, converged = _fit(design, X, em, chains)
    weight = np.full(len(X), float(design.copies))
    free = quantities(posterior.datatree_["label_free"].to_dataset())
    assert isinstance(posterior.priors_, ResolvedPriors)
    true_free = quantities_of_truth(truth, X, weight, posterior.priors_, family(_FAMILY))
    rng = np.random.default_rng(ties)
    labelled = truth.permute(align(X, truth.reshape(1), em.params_.responsibilities(X))[0])
    covered = {("posterior", "label-free quantities"): _held(_stack(free), np.array(list(true_free.values())))}
    covered |= _by_posterior(posterior.params_.reshape(-1), labelled)
    covered |= _by_em(X, em.params_, labelled, bootstrap)
    ranks = {name: _rank(draws, true_free[name], rng) for name, draws in free.items()}
    return Outcome(ranks, covered, ess, converged)


def _fit_em(design: Design, X: FloatArray, seed: int) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what EM's answer is worth is what is measured here
        return GaussianMixture(design.n_components, covariance_type=_FAMILY, random_state=seed).fit(X)


def _fit(design: Design, X: FloatArray, em: GaussianMixture, seed: int) -> tuple[BayesianGaussianMixture, float, bool]:
    """Return a posterior with as many independent draws as are ranked, how many it has, and whether its verdict is good.

    How long chains are run depends on the data and the sampler, never on the truth, so that ranks stay uniform.
    """
    weight = None if design.copies == 1 else np.full(len(X), design.copies)
    for draws in _LENGTHS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            posterior = BayesianGaussianMixture(
                design.n_components,
                covariance_type=_FAMILY,
                priors=design.fit_priors,
                draws=draws,
                tune=500,
                chains=_CHAINS,
                cores=1,
                init=em,
                random_state=seed,
                progressbar=False,
            ).fit(X, sample_weight=weight)
        ess = _least_ess(quantities(posterior.datatree_["label_free"].to_dataset()))
        if ess >= N_DRAWS:
            break
    return posterior, ess, not caught


def _least_ess(draws: dict[str, FloatArray]) -> float:
    """Return the least bulk effective sample size; a quantity that never moves has nothing to say."""
    moving = np.stack([values for values in draws.values() if np.ptp(values) > 0], axis=-1)
    return float(array_stats.ess(moving, method="bulk", chain_axis=0, draw_axis=1).min())


def _rank(draws: FloatArray, truth: float, rng: np.random.Generator) -> int:
    """Return the rank of the truth among draws far apart; among equals it is drawn."""
    flat = draws.ravel()
    kept = flat[np.linspace(0, len(flat) - 1, N_DRAWS).round().astype(int)]
    return int((kept < truth).sum() + rng.integers((kept == truth).sum() + 1))


def _stack(draws: dict[str, FloatArray]) -> FloatArray:
    return np.stack([values.ravel() for values in draws.values()], axis=-1)


def _held(draws: FloatArray, truth: FloatArray) -> FloatArray:
    """Return which central intervals of draws (T, ...) hold the truth (...), as numbers (levels, n)."""
    tails = (1 - np.array(LEVELS)) / 2
    lower, upper = np.quantile(draws, [tails, 1 - tails], axis=0)
    return ((lower <= truth) & (truth <= upper)).reshape(len(LEVELS), -1).astype(float)


def _held_by_normal(estimate: FloatArray, error: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the same for intervals of an estimate and its standard error; NaN where there is no error."""
    z = stats.norm.ppf(0.5 + np.array(LEVELS) / 2)
    away = np.abs(truth - estimate).ravel() / error.ravel()
    return np.where(np.isnan(away), np.nan, (away <= z[:, None]).astype(float))


def _parameters(params: MixtureParams) -> Iterator[tuple[str, FloatArray]]:
    yield from (("weights", params.weights), ("means", params.means), ("standard deviations", params.sds))


def _by_posterior(draws: MixtureParams, truth: MixtureParams) -> Covered:
    pairs = zip(_parameters(draws), _parameters(truth), strict=True)
    return {("posterior", what): _held(values, true) for (what, values), (_, true) in pairs}


def _by_em(X: FloatArray, fit: MixtureParams, truth: MixtureParams, seed: np.random.SeedSequence) -> Covered:
    """Return the same for EM: estimate and sandwich error, and the percentiles of refits to rows drawn with replacement."""
    errors = standard_errors(MemoryRows(X), fit, family(_FAMILY), "sandwich")
    refits = resample(MemoryRows(X), fit, family(_FAMILY), n_replicates=_BOOTSTRAP, tol=1e-6, seeds=seed).params
    of_fit = (errors.weights, errors.means, errors.sds)
    rows = zip(_parameters(fit), of_fit, _parameters(refits), _parameters(truth), strict=True)
    out: Covered = {}
    for (what, estimate), error, (_, drawn), (_, true) in rows:
        out["EM, sandwich", what] = _held_by_normal(estimate, error, true)
        out["EM, bootstrap", what] = _held(drawn, true)
    return out
