"""Starts for fits with noise: mixtures of the rows that lie in dense places, where noise is rare.

Groups that are looked for among all rows share out the noise as well, and a few rows far out decide what is near. So noise is guessed
before the groups, by the distance to some near rows (Byers and Raftery 1998, Journal of the American Statistical Association 93, 577-584,
who start mclust's noise that way).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bayesgmm.covariance import Family
from bayesgmm.em.fit import fit_em
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation.chunks import spread_rows
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["groups_in_dense_places"]

SHARES = (0.1, 0.25)
"""Shares of the rows that are taken for noise at first, in turn."""
_NEAR = 12
"""Which of the nearest rows tells how dense a place is."""
_MOST_ROWS = 20_000
_SPREAD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def groups_in_dense_places(
    X: FloatArray, n_components: int, family: Family, weight: FloatArray | None, settings: dict[str, Any]
) -> list[MixtureParams]:
    """Return fits without noise to the rows in dense places, to start a fit with noise from.

    Parameters
    ----------
    X : array of shape (N, D)
    n_components : int
    family : Family
    weight : array of shape (N,), optional
        How often each row counts.
    settings : dict
        What else :func:`fit_em` takes.
    """
    there = np.arange(len(X)) if weight is None else np.flatnonzero(weight > 0)
    rows = there[spread_rows(len(there), _MOST_ROWS)]
    some, counts = X[rows], np.ones(len(rows)) if weight is None else weight[rows]
    order = np.argsort(_distances(some), kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    found = []
    for noisy in SHARES:
        dense = np.sort(order[share <= 1 - noisy])
        if len(dense) <= n_components * (X.shape[1] + 1):
            continue
        # Where no start leads anywhere there is none to be had from these rows.
        with suppress(InvalidParameterError):
            inner = np.ascontiguousarray(some[dense])
            found.append(fit_em(inner, n_components, family, sample_weight=counts[dense], **settings).params)
    return found


def _distances(X: FloatArray) -> FloatArray:
    """Return the distance (N,) of each row from one of its nearest, in units of the columns' middle halves."""
    low, high = np.quantile(X, [0.25, 0.75], axis=0)
    spread = (high - low) / _SPREAD
    unit = np.where(spread > 0, spread, X.std(0))
    near = min(_NEAR, len(X) - 1)
    found = NearestNeighbors(n_neighbors=near).fit((X - X.mean(0)) / np.where(unit > 0, unit, 1.0)).kneighbors()[0]
    return np.asarray(found[:, -1])
