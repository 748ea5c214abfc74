"""Replicates of data, and a mixture refitted to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.degeneracy import AT_FLOOR, least_variance, sds_of_digits, smallest_sds
from bayesgmm.em.fit import Specification, Start, fit_em
from bayesgmm.em.run import EMRun, compiled_rows, compiled_runs
from bayesgmm.em.steps import Mixture, Settings
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray

type ReplicateKind = Literal["nonparametric", "parametric", "weighted", "jackknife"]


@dataclass(frozen=True, eq=False)
class Original:
    """What the replicates are made from.

    Parameters
    ----------
    rows : MemoryRows
    params : MixtureParams
        The fit to them.
    """

    rows: MemoryRows
    params: MixtureParams


type Make = Callable[[int, np.random.Generator], MemoryRows]


def plan(data: Original, kind: ReplicateKind, n_replicates: int) -> tuple[Make, FloatArray]:
    """Return how to make replicate i, and how often each counts."""
    if kind == "jackknife":
        return _jackknife(data.rows)
    makers: dict[str, Callable[[Original, np.random.Generator], MemoryRows]]
    makers = {"nonparametric": _redrawn, "parametric": _simulated, "weighted": _reweighted}
    if kind not in makers:
        raise InvalidParameterError(f"kind must be one of {', '.join(map(repr, (*makers, 'jackknife')))}, got {kind!r}")
    if n_replicates < 1:
        raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
    return lambda _, rng: makers[kind](data, rng), np.ones(n_replicates)


def _redrawn(data: Original, rng: np.random.Generator) -> MemoryRows:
    """Rows drawn with replacement are the rows with their counts as weights."""
    rows, n = data.rows, len(data.rows)
    if rows.weights is None:
        return rows.weighted(np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64))
    whole = max(1, round(rows.total))
    counts = rng.multinomial(whole, rows.weights / rows.total).astype(np.float64)
    return rows.weighted(counts * (rows.total / whole))


def _reweighted(data: Original, rng: np.random.Generator) -> MemoryRows:
    """Weights of rows with frequency f are sums of f exponential ones: gamma distributed with shape f."""
    rows = data.rows
    weight = rng.standard_exponential(len(rows)) if rows.weights is None else rng.standard_gamma(rows.weights)
    return rows.weighted(weight * (rows.total / weight.sum()))


def _simulated(data: Original, rng: np.random.Generator) -> MemoryRows:
    """Rows of the fit, with the missing values of the data."""
    if data.rows.weights is not None:
        return MemoryRows(data.params.sample(max(2, round(data.rows.total)), rng)[0])
    X = data.params.sample(len(data.rows), rng)[0]
    return MemoryRows(np.where(np.isnan(data.rows.values), np.nan, X))


def _jackknife(rows: MemoryRows) -> tuple[Make, FloatArray]:
    weight = np.ones(len(rows)) if rows.weights is None else rows.weights
    if (weight != np.round(weight)).any():
        raise InvalidDataError(
            "a jackknife leaves out one row at a time, so sample_weight must be whole numbers: use kind='weighted'"
        )
    there = np.flatnonzero(weight)

    def make(i: int, _: np.random.Generator) -> MemoryRows:
        less = weight.copy()
        less[there[i]] -= 1
        return rows.weighted(less)

    return make, weight[there]


class Refitted(NamedTuple):
    """A replicate's mixture (weights, means, scale_tril) and how EM ended."""

    mixture: tuple[FloatArray, FloatArray, FloatArray]
    converged: bool
    at_floor: bool


@dataclass(frozen=True)
class Refit:
    """EM on a replicate, from the fit, with the floor of the fit to the data themselves."""

    data: Original
    settings: Settings
    reg_covar: float | None
    is_compiled: bool

    @classmethod
    def of(cls, data: Original, family: Family, tol: float, max_iter: int, reg_covar: float | None) -> Refit:
        """Return what refits replicates of these data under the settings of a fit."""
        rows = data.rows
        smallest = smallest_sds(rows.values, rows.weights)
        digits = float(sds_of_digits(rows.values).max())
        settings = Settings(family, tol, max_iter, smallest, reg_covar is None, float(reg_covar or 0.0), digits=digits)
        return cls(data, settings, reg_covar, compiled_rows(rows, settings) is not None)

    def __call__(self, replicates: list[MemoryRows]) -> list[Refitted]:
        """Return the fits to some replicates; those that are the same rows with other weights are compiled runs of one call."""
        if not self.is_compiled:
            return [self._general(replicate) for replicate in replicates]
        weights = [replicate.weights for replicate in replicates if replicate.weights is not None]
        if weights:
            return self._compiled(replicates[0].values, np.stack(weights))
        return [fit for replicate in replicates for fit in self._compiled(replicate.values, None)]

    def _compiled(self, X: FloatArray, weights: FloatArray | None) -> list[Refitted]:
        start = Mixture(*self.data.params.arrays())
        starts = [start] * (1 if weights is None else len(weights))
        return [self._refitted(run) for run in compiled_runs(X, starts, self.settings, weights, aitken=True)]

    def _refitted(self, run: EMRun) -> Refitted:
        if run.status in ("collapsed", "fell"):
            return self._failed()
        log_weights, means, scale_tril = run.mixture
        weights = np.exp(log_weights)
        at_floor = bool((least_variance(scale_tril, self.settings) <= AT_FLOOR).any())
        return Refitted((weights / weights.sum(), means, scale_tril), run.converged, at_floor)

    def _general(self, rows: MemoryRows) -> Refitted:
        p, settings = self.data.params, self.settings
        start = Start(p.weights, p.means, p.covariances)
        how = Specification(p.n_components, settings.family, settings.tol, settings.max_iter, self.reg_covar, start=start)
        try:
            fit = fit_em(rows, how)
        except InvalidParameterError:  # the only start collapsed
            return self._failed()
        q = fit.params
        return Refitted((q.weights, q.means, q.scale_tril), fit.converged, fit.status == "collapsed")

    def _failed(self) -> Refitted:
        p = self.data.params
        return Refitted((p.weights, p.means, p.scale_tril), converged=False, at_floor=True)
