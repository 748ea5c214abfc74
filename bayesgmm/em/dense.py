"""Starts for fits with noise: mixtures of the rows that lie in dense places, where noise is rare.

Groups that are looked for among all rows share out the noise as well, and a few rows far out decide what is near. So noise is guessed
before the groups, by the distance to some near rows (Byers and Raftery 1998, Journal of the American Statistical Association 93, 577-584,
who start mclust's noise that way).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bayesgmm.covariance import Family
from bayesgmm.em.fit import SAME_OPTIMUM, EMFit, Start, fit_em
from bayesgmm.em.noise import Noise
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation.chunks import spread_rows
from bayesgmm.typing import FloatArray

__all__ = ["better_from_dense_places"]

SHARES = (0.1, 0.25)
"""Shares of the rows that are taken for noise at first, in turn."""
_NEAR = 12
"""Which of the nearest rows tells how dense a place is."""
_MOST_ROWS = 20_000
_SPREAD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def better_from_dense_places(
    fit: EMFit, X: FloatArray, n_components: int, family: Family, noise: Noise, weight: FloatArray | None, settings: dict[str, Any]
) -> EMFit:
    """Return the highest regular maximum that starts in dense places lead to, if it is higher than a fit's own, and their heights.

    Parameters
    ----------
    fit : EMFit
        With noise, from other starts.
    X : array of shape (N, D)
    n_components : int
    family : Family
    noise : Noise
    weight : array of shape (N,), optional
        How often each row counts.
    settings : dict
        What else :func:`fit_em` takes.
    """
    for start in _starts(X, n_components, family, weight, settings):
        found = fit_em(X, n_components, family, start=start, sample_weight=weight, noise=noise, **settings)
        fit = _higher(fit, found)
    return fit


def _starts(
    X: FloatArray, n_components: int, family: Family, weight: FloatArray | None, settings: dict[str, Any]
) -> Iterator[Start]:
    there = np.arange(len(X)) if weight is None else np.flatnonzero(weight > 0)
    rows = there[spread_rows(len(there), _MOST_ROWS)]
    some, counts = X[rows], np.ones(len(rows)) if weight is None else weight[rows]
    distance = _distances(some)
    order = np.argsort(distance, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    for noisy in SHARES:
        dense = np.sort(order[share <= 1 - noisy])
        if len(dense) <= n_components * (X.shape[1] + 1):
            continue
        # Where no start leads anywhere there is none to be had from these rows.
        with suppress(InvalidParameterError):
            inner = fit_em(np.ascontiguousarray(some[dense]), n_components, family, sample_weight=counts[dense], **settings)
            yield Start(inner.params.weights, inner.params.means, inner.params.covariances)


def _distances(X: FloatArray) -> FloatArray:
    """Return the distance (N,) of each row from one of its nearest, in units of the columns' middle halves."""
    low, high = np.quantile(X, [0.25, 0.75], axis=0)
    spread = (high - low) / _SPREAD
    unit = np.where(spread > 0, spread, X.std(0))
    near = min(_NEAR, len(X) - 1)
    found = NearestNeighbors(n_neighbors=near).fit((X - X.mean(0)) / np.where(unit > 0, unit, 1.0)).kneighbors()[0]
    return np.asarray(found[:, -1])


def _higher(fit: EMFit, found: EMFit) -> EMFit:
    """Return the better of two fits, with the runs of both."""
    runs = np.concatenate([fit.run_log_likelihoods, found.run_log_likelihoods])
    gain = float(found.trace[-1] - fit.trace[-1])
    best = fit
    if (_is_regular(found), gain) > (_is_regular(fit), SAME_OPTIMUM):
        said = (
            f"; it started at groups of the rows in dense places, and ended {gain:.1f} above all other starts" if gain > 0 else ""
        )
        best = replace(found, message=found.message + said)
    heights = np.concatenate([[best.trace[-1]], np.sort(np.delete(runs, np.abs(runs - best.trace[-1]).argmin()))[::-1]])
    optima = sorted([*fit.optima, *found.optima], key=lambda each: -each[0])
    distinct = [each for i, each in enumerate(optima) if i == 0 or optima[i - 1][0] - each[0] > SAME_OPTIMUM]
    return replace(best, run_log_likelihoods=heights, n_followed=fit.n_followed + found.n_followed, optima=tuple(distinct))


def _is_regular(fit: EMFit) -> bool:
    return fit.status in ("converged", "max_iter")
