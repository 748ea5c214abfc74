"""How many groups the points are really in: components that have any, and components that are one group in truth."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.partitions.draws import Fit, LabelDraws, check_count, check_draws, draw_labels, mixtures, params_of, responsibilities
from bayesgmm.rows import Chunk
from bayesgmm.typing import ArrayLike, FloatArray, IntArray, RandomState

__all__ = ["mean_occupied", "occupied_components", "same_mode"]

MOST_COMPONENTS = 8
"""Most components whose subsets are all looked at; with more of them allocations are drawn."""
NEVER = 1e-16
"""A component that is empty with less probability than this always has points."""


def occupied_components(
    draws: LabelDraws | Fit | MixtureParams, X: ArrayLike | Chunk | None = None, *, random_state: RandomState = None
) -> pd.Series:
    """Return the posterior probabilities of the number of components that have any points.

    Parameters
    ----------
    draws : int array of shape (T, N), fitted estimator or MixtureParams
        Labels, whose groups are counted; or a posterior, whose draws may be in any order of components.
    X : array-like of shape (N, D), optional
        The points, for a posterior; an estimator's training data, with the weights it was fitted with, when absent.
    random_state : int, Generator, RandomState or None
        For a posterior with more than 8 components, of which each draw allocates the points once.

    Returns
    -------
    pandas.Series
        ``probability`` by ``n_groups``: from 1 to the number of components of a posterior, or to the most groups that draws of labels
        have. ``attrs["method"]`` says how it was found: "counted", "exact" or "drawn".

    Raises
    ------
    InvalidDataError
        If draws are no labels, or the points are missing.
    InvalidParameterError

    Notes
    -----
    Under a draw each point has its group on its own, so that all of them lie in a set S of components with probability
    ``F(S) = prod_i sum_{k in S} r_ik``, and exactly m components have points with probability
    ``sum_S (-1)^(m - |S|) C(K - |S|, m - |S|) F(S)`` over the sets of at most m (inclusion and exclusion; Feller 1968, An Introduction to
    Probability Theory and Its Applications, section IV.3). That needs no random numbers; only the draws of the parameters are random.
    With a sparse Dirichlet prior this is a posterior of the number of groups (Malsiner-Walli, Frühwirth-Schnatter and Grün 2016,
    Statistics and Computing 26, 303-324). Its mean is `mean_occupied`.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [0.0]], [[[1.0]], [[1.0]]])
    >>> occupied_components(params, [[0.1], [-0.3], [0.2]])
    n_groups
    1    0.25
    2    0.75
    Name: probability, dtype: float64
    """
    if not isinstance(draws, MixtureParams | Fit):
        if X is not None:
            raise InvalidParameterError("X goes with a posterior, not with labels: leave it out")
        return _counted(check_draws(draws).n_groups, 0, "counted")
    params, points = mixtures(draws, X)
    if params.n_components > MOST_COMPONENTS:
        labels = draw_labels(draws, X, random_state=random_state)
        counted = slice(None) if points.weight is None else np.flatnonzero(points.weight)
        return _counted(check_draws(labels[:, counted]).n_groups, params.n_components, "drawn")
    own, weight = _with_labels(points)
    total = sum(_numbers_of(r[:, own], weight) for _, r in responsibilities(params, points))
    inside = np.clip(np.asarray(total) / len(params.weights), 0.0, 1.0)  # alternating sums round to a little below zero
    return _series(inside / inside.sum(), "exact")


def mean_occupied(fit: Fit | MixtureParams, X: ArrayLike | None = None) -> float:
    """Return the posterior mean of the number of components that have any points, for any number of components.

    Under a draw, component k has none with probability ``prod_i (1 - r_ik)``.

    Parameters
    ----------
    fit : fitted estimator or MixtureParams
    X : array-like of shape (N, D), optional
        As in `occupied_components`.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> apart = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [50.0]], [[[1.0]], [[1.0]]])
    >>> mean_occupied(apart, [[0.1], [-0.3]])
    1.0
    """
    params, points = mixtures(fit, X)
    own, weight = _with_labels(points)
    found = sum(float((1.0 - _empty(*_by_component(r[:, own], weight))).sum()) for _, r in responsibilities(params, points))
    return found / len(params.weights)


def same_mode(fit: Fit | MixtureParams, *, n_draws: int | None = 1000) -> pd.DataFrame:
    """Return how probable it is that two components are one group: together they have a single mode.

    Parameters
    ----------
    fit : fitted estimator or MixtureParams
        A posterior, whose components keep their names from draw to draw: those of an estimator do, other draws must be relabelled
        first (`bayesgmm.labels`).
    n_draws : int, optional
        Draws that are looked at, evenly spaced; None for all.

    Returns
    -------
    pandas.DataFrame of shape (K, K)
        Share of the draws in which the density of the two components alone, in the proportion of their weights, has one mode
        (:meth:`bayesgmm.MixtureParams.unimodal_pairs`); 1 on the diagonal. For a single mixture the entries are 0 and 1.

    Raises
    ------
    InvalidParameterError
        If ``fit`` is neither a fitted estimator nor a mixture.

    Notes
    -----
    A group here is a mode of the density (Hennig 2010, Advances in Data Analysis and Classification 4, 3-34, section 4.1). Components
    that are one group may still be two in another sense, such as a narrow one amid a broad one.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> means = [[[0.0], [1.0], [9.0]], [[0.0], [3.0], [9.0]]]
    >>> same_mode(MixtureParams.from_covariances([[0.4, 0.4, 0.2]] * 2, means, [[[[1.0]]] * 3] * 2))
    component    0    1    2
    component
    0          1.0  0.5  0.0
    1          0.5  1.0  0.0
    2          0.0  0.0  1.0
    """
    flat = params_of(fit).reshape(-1)
    if n_draws is not None:
        check_count(n_draws, "n_draws")
        flat = flat.thin(n_draws)
    names = pd.RangeIndex(flat.n_components, name="component")
    return pd.DataFrame(flat.unimodal_pairs().mean(axis=0), index=names, columns=names)


def _with_labels(points: Chunk) -> tuple[IntArray, FloatArray | None]:
    """Return the numbers of points that have a label each, of a set one of them, and how often each counts (None: once)."""
    if points.known is None or points.known.sets is None:
        return np.arange(len(points)), points.weight
    return np.unique(points.known.sets, return_index=True)[1], None


def _counted(n_groups: np.ndarray, most: int, method: str) -> pd.Series:
    return _series(np.bincount(n_groups, minlength=most + 1)[1:] / len(n_groups), method)


def _series(probability: FloatArray, method: str) -> pd.Series:
    out = pd.Series(probability, index=pd.RangeIndex(1, len(probability) + 1, name="n_groups"), name="probability")
    out.attrs["method"] = method
    return out


def _numbers_of(r: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Return the sum over draws of the probabilities (K,) of 1 to K components with points, for responsibilities (t, N, K)."""
    K = r.shape[-1]
    out = np.zeros(K)
    out[K - 1] = len(r)  # all points lie in the set of all components
    columns, power = _by_component(r, weight)
    empty = _empty(columns, power)
    for size in range(1, K):
        for inside in combinations(range(K), size):
            here = np.flatnonzero(np.delete(empty, inside, axis=1).min(axis=1) > NEVER)
            if len(here):
                found = _all_in(sum(columns[k][here] for k in inside), power).sum()
                out[size - 1 :] += [(-1) ** (m - size) * comb(K - size, m - size) * found for m in range(size, K + 1)]
    return out


def _by_component(r: FloatArray, weight: FloatArray | None) -> tuple[FloatArray, FloatArray | None]:
    """Return responsibilities (t, N, K) as (K, t, N), and how often each point counts; points that do not count are left out."""
    if weight is None:
        return np.ascontiguousarray(np.moveaxis(r, -1, 0)), None
    return np.ascontiguousarray(np.moveaxis(r[:, weight > 0], -1, 0)), weight[weight > 0]


def _empty(columns: FloatArray, power: FloatArray | None) -> FloatArray:
    """Return the probabilities (t, K) that components have no points, for responsibilities (K, t, N)."""
    return np.stack([_all_in(1.0 - column, power) for column in columns], axis=1)


def _all_in(share: FloatArray, power: FloatArray | None) -> FloatArray:
    """Return the products (t,) over points of probabilities (t, N), each taken as often as the point counts."""
    clipped = np.clip(share, 0.0, 1.0)
    return np.asarray((clipped if power is None else clipped**power).prod(axis=1))
