"""Replicates of data, and a mixture refitted to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.degeneracy import AT_FLOOR, least_variance, sds_of_digits, smallest_sds
from bayesgmm.em.fit import Start, fit_em
from bayesgmm.em.iterate import EMRun, compiled_runs, is_compiled
from bayesgmm.em.steps import Mixture, Settings
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import rows_of
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

type ReplicateKind = Literal["nonparametric", "parametric", "weighted", "jackknife"]
_COPIED = 1_000_000  # numbers in the data up to which rows that a replicate leaves out are really left out


class Original(NamedTuple):
    """What the replicates are made from."""

    X: FloatArray
    params: MixtureParams
    weight: FloatArray | None

    @property
    def total(self) -> float:
        """Number of rows, counted with their frequencies."""
        return float(len(self.X) if self.weight is None else self.weight.sum())


type Replicate = tuple[FloatArray, FloatArray | None]
"""Rows and their weights; None for one each."""


type Make = Callable[[int, np.random.Generator], Replicate]


def plan(data: Original, kind: ReplicateKind, n_replicates: int) -> tuple[Make, FloatArray]:
    """Return how to make replicate i, and how often each counts."""
    if kind == "jackknife":
        return _jackknife(data)
    makers: dict[str, Callable[[Original, np.random.Generator], Replicate]]
    makers = {"nonparametric": _redrawn, "parametric": _simulated, "weighted": _reweighted}
    if kind not in makers:
        raise InvalidParameterError(f"kind must be one of {', '.join(map(repr, (*makers, 'jackknife')))}, got {kind!r}")
    if n_replicates < 1:
        raise InvalidParameterError(f"n_replicates must be at least 1, got {n_replicates}")
    return lambda _, rng: makers[kind](data, rng), np.ones(n_replicates)


def _redrawn(data: Original, rng: np.random.Generator) -> Replicate:
    """Rows drawn with replacement are the rows with their counts as weights."""
    n = len(data.X)
    if data.weight is None:
        return data.X, np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
    whole = max(1, round(data.total))
    counts = rng.multinomial(whole, data.weight / data.total).astype(np.float64)
    return data.X, counts * (data.total / whole)


def _reweighted(data: Original, rng: np.random.Generator) -> Replicate:
    """Weights of rows with frequency f are sums of f exponential ones: gamma distributed with shape f."""
    weight = rng.standard_exponential(len(data.X)) if data.weight is None else rng.standard_gamma(data.weight)
    return data.X, weight * (data.total / weight.sum())


def _simulated(data: Original, rng: np.random.Generator) -> Replicate:
    """Rows of the fit, with the gaps of the data."""
    if data.weight is not None:
        return data.params.sample(max(2, round(data.total)), rng)[0], None
    X = data.params.sample(len(data.X), rng)[0]
    return np.where(np.isnan(data.X), np.nan, X), None


def _jackknife(data: Original) -> tuple[Make, FloatArray]:
    weight = np.ones(len(data.X)) if data.weight is None else data.weight
    if (weight != np.round(weight)).any():
        raise InvalidDataError(
            "a jackknife leaves out one row at a time, so sample_weight must be whole numbers: use kind='weighted'"
        )
    there = np.flatnonzero(weight)

    def make(i: int, _: np.random.Generator) -> Replicate:
        less = weight.copy()
        less[there[i]] -= 1
        return data.X, less

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
        smallest = smallest_sds(data.X, data.weight)
        digits = float(sds_of_digits(data.X).max())
        settings = Settings(family, tol, max_iter, smallest, reg_covar is None, float(reg_covar or 0.0), digits=digits)
        return cls(data, settings, reg_covar, is_compiled(rows_of(data.X), settings))

    def __call__(self, replicates: list[Replicate]) -> list[Refitted]:
        """Return the fits to some replicates; those that are the same rows with other weights are compiled runs of one call."""
        if not self.is_compiled:
            return [self._general(*_without_absent(*replicate)) for replicate in replicates]
        if replicates[0][1] is not None:
            return self._compiled(replicates[0][0], np.stack([weight for _, weight in replicates if weight is not None]))
        return [fit for X, _ in replicates for fit in self._compiled(X, None)]

    def _compiled(self, X: FloatArray, weights: FloatArray | None) -> list[Refitted]:
        start = Mixture(*self.data.params.arrays())
        starts = [start] * (1 if weights is None else len(weights))
        return [self._refitted(run) for run in compiled_runs(X, starts, self.settings, weights, aitken=True)]

    def _refitted(self, run: EMRun) -> Refitted:
        if run.status in ("collapsed", "fell"):
            return self._failed()
        log_weights, means, scale_tril = run.mixture
        weights = np.exp(log_weights)
        return Refitted((weights / weights.sum(), means, scale_tril), run.converged, self._is_at_floor(scale_tril))

    def _is_at_floor(self, scale_tril: FloatArray) -> bool:
        """Whether a variance is no more than the floor, or than it would be where there is none."""
        return bool((least_variance(scale_tril, self.settings) <= AT_FLOOR).any())

    def _general(self, X: FloatArray, weight: FloatArray | None) -> Refitted:
        p = self.data.params
        try:
            fit = fit_em(
                X,
                p.n_components,
                self.settings.family,
                tol=self.settings.tol,
                max_iter=self.settings.max_iter,
                reg_covar=self.reg_covar,
                start=Start(p.weights, p.means, p.covariances),
                sample_weight=weight,
            )
        except InvalidParameterError:  # the only start collapsed
            return self._failed()
        q = fit.params
        return Refitted((q.weights, q.means, q.scale_tril), fit.converged, fit.status == "collapsed")

    def _failed(self) -> Refitted:
        p = self.data.params
        return Refitted((p.weights, p.means, p.scale_tril), converged=False, at_floor=True)


def _without_absent(X: FloatArray, weight: FloatArray | None) -> Replicate:
    """Leave out rows of weight zero, unless that takes a large copy."""
    if weight is None or X.size > _COPIED or weight.all():
        return X, weight
    rows = weight.nonzero()[0]
    return X.take(rows, axis=0), weight.take(rows)
