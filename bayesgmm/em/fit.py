"""A whole maximum-likelihood fit: standardise, start many times, refine the best, go back to the user's units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.iterate import Collapse, EMRun, Mixture, Settings, from_responsibilities, run_em
from bayesgmm.em.starts import starting_responsibilities
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
    def is_complete(self) -> bool:
        """Whether nothing is left to be found from the data."""
        return self.weights is not None and self.means is not None and self.covariances is not None


NO_START = Start()


@dataclass(frozen=True)
class EMFit:
    """The best of the runs, in the user's units.

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

    Parameters are those of :class:`bayesgmm.GaussianMixture`; ``on_run`` is called with every run that ends.

    Raises
    ------
    InvalidParameterError
        If no start leads anywhere: every one ended in a component without spread.
    """
    frame = Frame.of(X, family.invariance if reg_covar is None else _by_column(family), sample_weight)
    Z = frame.standardise(X)
    settings = _settings(family, frame, tol, max_iter, reg_covar)
    if start.is_complete:
        first = [_place(start, None, frame)]
    else:
        n_starts = 1 if n_components == 1 else AUTO_STARTS if n_init == "auto" else int(n_init)
        parts = starting_responsibilities(Z, n_components, init_params, n_starts, seeds, sample_weight)
        begun = (_begin(Z, part, settings, sample_weight) for part in parts)
        first = [_place(start, mixture, frame) for mixture in begun if mixture is not None]
    best, *others = _best_of(Z, first, settings, sample_weight, on_run, short=n_init == "auto")
    shift = frame.log_det * (len(X) if sample_weight is None else float(sample_weight.sum()))
    ends = np.array([run.log_likelihood for run in (best, *others)]) - shift
    return EMFit(_out(best.mixture, frame), best.trace - shift, best.converged, ends)


def _by_column(family: Family) -> str:
    """With the user's own ridge, collinear columns are the user's choice and no reason to look at more than each column's spread."""
    return "scale" if family.invariance == "scale" else "columns"


def _settings(family: Family, frame: Frame, tol: float, max_iter: int, reg_covar: float | None) -> Settings:
    D = len(frame.center)
    if reg_covar is None:
        return Settings(family, tol, max_iter, np.zeros((D, D)), FLOOR)
    return Settings(family, tol, max_iter, frame.covariance_in(reg_covar * np.eye(D)), 0.0)


def _begin(Z: FloatArray, responsibilities: FloatArray, settings: Settings, sample_weight: FloatArray | None) -> Mixture | None:
    try:
        return from_responsibilities(Z, responsibilities, settings, sample_weight)
    except Collapse:
        return None


def _best_of(Z, first, settings, sample_weight, on_run, *, short: bool) -> list[EMRun]:
    """Run EM from every starting point and return the runs, best first; with ``short``, only the most promising go to the end."""
    trial = replace(settings, max_iter=min(SHORT_RUN, settings.max_iter)) if short and len(first) > 1 else settings
    runs = []
    for mixture in first:
        runs.append(run_em(Z, mixture, trial, sample_weight))
        if on_run is not None:
            on_run(runs[-1])
    runs = [run for run in runs if np.isfinite(run.log_likelihood)]
    if not runs:
        raise InvalidParameterError(
            "every start of EM ended in a component without spread: ask for fewer components, "
            "or leave reg_covar at None, so that variances have a floor"
        )
    runs.sort(key=_by_likelihood)
    if trial is not settings:
        runs[:REFINED] = [run.continued(Z, settings, sample_weight) for run in runs[:REFINED]]
        runs.sort(key=_by_likelihood)
    return runs


def _by_likelihood(run: EMRun) -> float:
    return -run.log_likelihood


def _place(start: Start, mixture: Mixture | None, frame: Frame) -> Mixture:
    """Put the user's own starting values, where there are any, in place of those found from the data."""
    given = None if mixture is None else _out(mixture, frame)
    weights = start.weights if given is None or start.weights is not None else given.weights
    means = start.means if given is None or start.means is not None else given.means
    scale_tril = given.scale_tril if given is not None and start.covariances is None else cholesky(start.covariances)
    inside = frame.params_in(MixtureParams(weights, means, scale_tril))
    return Mixture(inside.log_weights, inside.means, inside.scale_tril)


def _out(mixture: Mixture, frame: Frame) -> MixtureParams:
    weights = np.exp(mixture.log_weights)
    return frame.params_out(MixtureParams(weights / weights.sum(), mixture.means, mixture.scale_tril))
