"""How much would the maximum-likelihood fit move with other data of the same kind: bootstrap and jackknife."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.degeneracy import AT_FLOOR, least_variance, sds_of_digits, smallest_sds
from bayesgmm.em.fisher_information import ParameterErrors
from bayesgmm.em.fit import Specification, Start, fit_em
from bayesgmm.em.m_step import Mixture, Settings
from bayesgmm.em.run import EMRun, compiled_rows, compiled_runs
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import cross_sums
from bayesgmm.kernels.threads import chunks, libraries_on_one_thread, map_in_turns
from bayesgmm.labels import align
from bayesgmm.labels.assignment import margins
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk, MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["Replicates", "resample"]

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

    @classmethod
    def of(cls, params: MixtureParams, converged: bool, at_floor: bool) -> Refitted:
        """Return the same of a mixture as a value."""
        return cls((params.weights, params.means, params.scale_tril), converged, at_floor)


@dataclass(frozen=True)
class Refit:
    """EM on a replicate, from the fit, with the floor of the fit to the data themselves."""

    data: Original
    settings: Settings
    is_compiled: bool

    @classmethod
    def of(cls, data: Original, family: Family, tol: float, max_iter: int, reg_covar: float | None) -> Refit:
        """Return what refits replicates of these data under the settings of a fit."""
        rows = data.rows
        digits = float(sds_of_digits(rows.values).max())
        settings = Settings(family, tol, max_iter, smallest_sds(rows.values, rows.weights), reg_covar, digits=digits)
        return cls(data, settings, compiled_rows(rows, settings) is not None)

    def __call__(self, replicates: list[MemoryRows]) -> list[Refitted]:
        """Return the fits to some replicates; those that are the same rows with other weights are compiled runs of one call."""
        if not self.is_compiled:
            return [self._general(replicate) for replicate in replicates]
        weights = [replicate.weights for replicate in replicates if replicate.weights is not None]
        if weights:
            return self._compiled(replicates[0].chunk, np.stack(weights))
        return [fit for replicate in replicates for fit in self._compiled(replicate.chunk, None)]

    def _compiled(self, chunk: Chunk, weights: FloatArray | None) -> list[Refitted]:
        starts = [Mixture.of(self.data.params)] * (1 if weights is None else len(weights))
        return [self._refitted(run) for run in compiled_runs(chunk, starts, self.settings, weights, aitken=True)]

    def _refitted(self, run: EMRun) -> Refitted:
        if run.status in ("collapsed", "fell"):
            return self._failed
        at_floor = bool((least_variance(run.mixture.scale_tril, self.settings) <= AT_FLOOR).any())
        return Refitted.of(run.mixture.params, run.converged, at_floor)

    def _general(self, rows: MemoryRows) -> Refitted:
        p, settings = self.data.params, self.settings
        start = Start(p.weights, p.means, p.covariances)
        how = Specification(p.n_components, settings.family, settings.tol, settings.max_iter, settings.reg_covar, start=start)
        try:
            fit = fit_em(rows, how)
        except InvalidParameterError:  # the only start collapsed
            return self._failed
        return Refitted.of(fit.params, fit.converged, fit.status == "collapsed")

    @property
    def _failed(self) -> Refitted:
        return Refitted.of(self.data.params, converged=False, at_floor=True)


AMBIGUOUS = 0.05
"""A replicate whose labels have a smaller margin than this is said to be ambiguous."""
_DRAWN = 1000
_TASK = 16  # replicates that a thread takes at a time


@dataclass(frozen=True, eq=False)
class Replicates:
    """Fits to replicates of the data, in the component order of the fit to the data themselves.

    Parameters
    ----------
    params : MixtureParams
        Batch shape ``(replicate,)``.
    kind : {"nonparametric", "parametric", "weighted", "jackknife"}
    margin : array of shape (replicate,)
        How clear the labels are: of the rows' agreement with the fit, the share that the best other labelling would lose. One is as clear
        as can be; near zero, two labellings do equally well; below zero, another labelling agrees with more rows.
    converged, at_floor : bool arrays of shape (replicate,)
        Whether EM came to a standstill; whether a covariance rests on the floor of the variances, or collapsed where there is none.
    frequency : array of shape (replicate,)
        How often each replicate counts: one, except in a jackknife of rows with frequencies.
    """

    params: MixtureParams
    kind: ReplicateKind
    margin: FloatArray
    converged: np.ndarray
    at_floor: np.ndarray
    frequency: FloatArray

    @property
    def is_ambiguous(self) -> np.ndarray:
        """Which replicates (replicate,) have a margin below 0.05, so that their labels are close to a guess."""
        return self.margin < AMBIGUOUS

    @property
    def ambiguous_share(self) -> float:
        """Share of ambiguous replicates."""
        return float(np.average(self.is_ambiguous, weights=self.frequency))

    def standard_errors(self) -> ParameterErrors:
        """Return the standard errors of weights, means, standard deviations and covariances.

        The replicates' standard deviation, and for a jackknife of N rows ``sqrt((N - 1) / N sum_i (t_i - mean t)^2)`` (Efron and
        Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 11). NaN for a single replicate.
        """
        n = self.frequency.sum()
        scale = (n - 1) / n if self.kind == "jackknife" else 1 / (n - 1) if n > 1 else np.nan
        p = self.params
        return ParameterErrors(*(self._spread(t, scale) for t in (p.weights, p.means, p.sds, p.covariances)))

    def _spread(self, values: FloatArray, scale: float) -> FloatArray:
        centred = values - np.average(values, axis=0, weights=self.frequency)
        return np.sqrt(scale * np.tensordot(self.frequency, centred**2, 1))


@libraries_on_one_thread()
def resample(
    rows: MemoryRows,
    params: MixtureParams,
    family: Family,
    *,
    kind: ReplicateKind = "nonparametric",
    n_replicates: int = 999,
    tol: float = 1e-8,
    max_iter: int = 1000,
    reg_covar: float | None = None,
    seeds: np.random.SeedSequence | None = None,
    on_replicate: Callable[[int, int], None] | None = None,
) -> Replicates:
    """Refit replicates of the data, each from the fit, and match their components to it on the original rows.

    Parameters
    ----------
    rows : MemoryRows
        Those that were fitted; for the jackknife their weights are whole numbers.
    params : MixtureParams
        The fit, batch shape ``()``.
    family : Family
        The covariance family that was fitted.
    kind : {"nonparametric", "parametric", "weighted", "jackknife"}
        Rows drawn with replacement (Efron 1979, Annals of Statistics 7, 1-26); rows drawn from the fit; all rows with random weights of
        mean one, exponential before they are divided by their mean (Newton and Raftery 1994, Journal of the Royal Statistical Society B
        56, 3-48), so that no row ever vanishes; or all rows but one, each left out in turn.
    n_replicates : int
        Not used by the jackknife, which has one for each row.
    tol : float
        A replicate has converged when less than this is left to gain in log-likelihood per row.
    max_iter : int
    reg_covar : float, optional
        As in the fit.
    seeds : SeedSequence, optional
        Every replicate has a seed of its own: the same seeds give the same bits for any number of threads.
    on_replicate : callable, optional
        Called as replicates are ready with how many are and how many there will be.

    Returns
    -------
    Replicates

    Raises
    ------
    InvalidParameterError
        If ``kind`` or ``n_replicates`` cannot be used.
    InvalidDataError
        If the jackknife meets weights that are not whole numbers.

    Notes
    -----
    O'Hagan, Murphy, Scrucca and Gormley (2019), Computational Statistics 34, 1779-1813. A replicate that leaves a component without
    spread, where nothing keeps it from collapsing, is given as the fit itself, and counts as not converged.

    Examples
    --------
    >>> from bayesgmm.covariance import family
    >>> X = np.random.default_rng(1).normal(5.0, 2.0, size=(50, 1))
    >>> fit = MixtureParams.from_covariances([1.0], [X.mean(0)], [[[X.var()]]])
    >>> replicates = resample(MemoryRows(X), fit, family("full"), kind="jackknife")
    >>> bool(np.isclose(replicates.standard_errors().means[0, 0], X.std(ddof=1) / np.sqrt(50)))
    True
    """
    data = Original(rows, params)
    make, frequency = plan(data, kind, n_replicates)
    refit = Refit.of(data, family, tol, max_iter, reg_covar)
    children = (seeds or np.random.SeedSequence()).spawn(len(frequency))

    def task(start: int, stop: int) -> list[Refitted]:
        return refit([make(i, np.random.default_rng(children[i])) for i in range(start, stop)])

    parts = chunks(len(frequency), _TASK)
    done: list[Refitted] = []
    # Fits of other families share out their rows among the threads themselves.
    for part in map_in_turns(task, parts) if refit.is_compiled else (task(*part) for part in parts):
        done += part
        if on_replicate is not None:
            on_replicate(len(done), len(frequency))
    mixtures, converged, at_floor = zip(*done, strict=True)
    batch, margin = _matched(data, MixtureParams(*(np.stack(arrays) for arrays in zip(*mixtures, strict=True))))
    return Replicates(batch, kind, margin, np.array(converged), np.array(at_floor), frequency)


def _matched(data: Original, batch: MixtureParams) -> tuple[MixtureParams, FloatArray]:
    """Return the replicates in the fit's component order, and how clear it is.

    Judged on the rows without gaps; where every row has some, on rows drawn from the fit.

    With ``a_jk = sum_i r_ij q_ik`` for responsibilities r of the replicate and q of the fit, the margin compares the agreement
    ``sum_k a_kk`` with that of the best other labelling.
    """
    rows = data.rows.take(np.flatnonzero(np.isfinite(data.rows.values).all(1)))
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    if not weights.any():
        rows, weights = MemoryRows(data.params.sample(_DRAWN, 0)[0]), np.ones(_DRAWN)
    reference = data.params.responsibilities(rows.chunk)
    batch = batch.permute(align(rows.values, batch, reference))
    agreement = cross_sums(rows.chunk, *batch.arrays(), weights[:, None] * reference, diagonal=batch.is_diagonal)
    lost = margins(-agreement, np.tile(np.arange(batch.n_components), (len(agreement), 1)))
    return batch, np.minimum(lost / np.trace(agreement, axis1=1, axis2=2), 1.0)  # a single component has no other labelling
