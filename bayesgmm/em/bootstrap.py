"""How much would the maximum-likelihood fit move with other data of the same kind: bootstrap and jackknife."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.covariance import Family
from bayesgmm.em.information import ParameterErrors
from bayesgmm.em.refits import Original, Refit, Refitted, ReplicateKind, plan
from bayesgmm.expectation import cross_sums
from bayesgmm.kernels.threads import chunks, libraries_on_one_thread, map_in_turns
from bayesgmm.labels import align
from bayesgmm.labels.assignment import margins
from bayesgmm.params import MixtureParams
from bayesgmm.rows import MemoryRows
from bayesgmm.typing import FloatArray

__all__ = ["Replicates", "resample"]

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
    batch = MixtureParams(*(np.stack(arrays) for arrays in zip(*(fit.mixture for fit in done), strict=True)))
    batch, margin = _matched(data, batch)
    converged, at_floor = (np.array([getattr(fit, name) for fit in done]) for name in ("converged", "at_floor"))
    return Replicates(batch, kind, margin, converged, at_floor, frequency)


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
