"""A whole maximum-likelihood fit: start many times, refine the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.iterate import EMRun, Mixture, Settings, run_em
from bayesgmm.em.starts import MOST_ROWS, starting_points
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.frame import Frame
from bayesgmm.params import MixtureParams, cholesky
from bayesgmm.typing import FloatArray

SHORT_RUN = 25  # iterations of a first, short run
REFINED = 4  # short runs that are continued to the end
AUTO_STARTS = 20
FLOOR = 1e-6
"""Smallest variance in any direction, in units of the total covariance, when the user sets no ``reg_covar``."""
SAME_OPTIMUM = 0.01  # nats: two runs that end closer than this are said to have found the same optimum


@dataclass(frozen=True)
class Start:
    """Starting values given by the user, in the user's units; each may be absent."""

    weights: FloatArray | None = None
    means: FloatArray | None = None
    covariances: FloatArray | None = None

    @property
    def is_given(self) -> bool:
        """Whether the user gave any value."""
        return not (self.weights is None and self.means is None and self.covariances is None)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be found from the data."""
        return self.weights is not None and self.means is not None and self.covariances is not None


NO_START = Start()


@dataclass(frozen=True)
class EMFit:
    """The best of the runs.

    Parameters
    ----------
    params : MixtureParams
    trace : array of shape (n_iter + 1,)
        Log-likelihood of the best run at its start and after every iteration.
    converged : bool
    run_log_likelihoods : array
        Final log-likelihood of every run, best first.
    """

    params: MixtureParams
    trace: FloatArray
    converged: bool
    run_log_likelihoods: FloatArray

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of ``params``."""
        return float(self.trace[-1])

    @property
    def n_at_best(self) -> int:
        """Number of runs that ended within 0.01 nats of the best."""
        return int((self.run_log_likelihoods > self.log_likelihood - SAME_OPTIMUM).sum())


def fit_em(
    X: FloatArray,
    n_components: int,
    family: Family,
    *,
    tol: float,
    max_iter: int,
    reg_covar: float | None = None,
    n_init: int | str = "auto",
    init_params: str = "auto",
    start: Start = NO_START,
    seeds: np.random.SeedSequence | None = None,
    sample_weight: FloatArray | None = None,
    on_run: Callable[[EMRun], None] | None = None,
) -> EMFit:
    """Fit a mixture by EM from many starts.

    Parameters are those of :class:`bayesgmm.GaussianMixture`; ``on_run`` is called with every run that ends. Nothing as large as the
    data is made beside them.

    Raises
    ------
    InvalidParameterError
        If no start leads anywhere: every one ended in a component without spread.
    """
    seeds = seeds or np.random.SeedSequence()
    some = _some_rows(X, seeds, sample_weight)
    settings = _settings(X, family, tol, max_iter, reg_covar, sample_weight)
    if start.is_complete:
        first = [_place(start, None)]
    else:
        n_starts = 1 if n_components == 1 else AUTO_STARTS if n_init == "auto" else int(n_init)
        found = starting_points(*some, n_components, init_params, n_starts, settings, seeds)
        first = [_place(start, mixture) for mixture in found]
    best, *others = _best_of(X, some, first, settings, sample_weight, on_run, short=n_init == "auto")
    return EMFit(_params(best.mixture), best.trace, best.converged, np.array([run.log_likelihood for run in (best, *others)]))


def _some_rows(
    X: FloatArray, seeds: np.random.SeedSequence, sample_weight: FloatArray | None
) -> tuple[FloatArray, FloatArray | None]:
    """Return all rows, or as many as it takes to find good starting points, with their weights."""
    if len(X) <= MOST_ROWS:
        return X, sample_weight
    rows = np.sort(np.random.default_rng(seeds.spawn(1)[0]).choice(len(X), MOST_ROWS, replace=False))
    return X[rows], None if sample_weight is None else sample_weight[rows]


def _settings(
    X: FloatArray, family: Family, tol: float, max_iter: int, reg_covar: float | None, sample_weight: FloatArray | None
) -> Settings:
    if reg_covar is None:
        return Settings(family, tol, max_iter, Frame.of(X, family.invariance, sample_weight), floor=FLOOR)
    # With the user's own ridge, collinear columns are the user's choice: look at no more than each column's spread.
    frame = Frame.of(X, "scale" if family.invariance == "scale" else "columns", sample_weight)
    return Settings(family, tol, max_iter, frame, ridge=reg_covar)


def _best_of(
    X: FloatArray,
    some: tuple[FloatArray, FloatArray | None],
    first: list[Mixture],
    settings: Settings,
    sample_weight: FloatArray | None,
    on_run: Callable[[EMRun], None] | None,
    *,
    short: bool,
) -> list[EMRun]:
    """Run EM from every starting point and return the runs, best first; with ``short``, only the most promising go to the end.

    Short runs see some rows only when there are very many; the best of them then start on all rows.
    """
    short = short and len(first) > 1
    trial = replace(settings, max_iter=min(SHORT_RUN, settings.max_iter)) if short else settings
    sampled = short and len(some[0]) < len(X)
    runs = []
    for mixture in first:
        runs.append(run_em(*some[:1], mixture, trial, some[1]) if short else run_em(X, mixture, trial, sample_weight))
        if on_run is not None:
            on_run(runs[-1])
    runs = _ranked(runs)
    if sampled:
        return _ranked([run_em(X, run.mixture, settings, sample_weight) for run in runs[:REFINED]])
    if short:
        runs[:REFINED] = [run.continued(X, settings, sample_weight) for run in runs[:REFINED]]
    return _ranked(runs)


def _ranked(runs: list[EMRun]) -> list[EMRun]:
    """Return the runs that did not collapse, best first."""
    alive = [run for run in runs if np.isfinite(run.log_likelihood)]
    if not alive:
        raise InvalidParameterError(
            "every start of EM ended in a component without spread: ask for fewer components, "
            "or leave reg_covar at None, so that variances have a floor"
        )
    return sorted(alive, key=lambda run: -run.log_likelihood)


def _place(start: Start, mixture: Mixture | None) -> Mixture:
    """Put the user's own starting values, where there are any, in place of those found from the data."""
    given = (start.weights, start.means, None if start.covariances is None else cholesky(start.covariances))
    found = None if mixture is None else _params(mixture)
    names = ("weights", "means", "scale_tril")
    params = MixtureParams(*(getattr(found, name) if value is None else value for name, value in zip(names, given, strict=True)))
    return Mixture(*params.arrays())


def _params(mixture: Mixture) -> MixtureParams:
    weights = np.exp(mixture.log_weights)
    return MixtureParams(weights / weights.sum(), mixture.means, mixture.scale_tril)
