"""Where EM starts from: partitions by k-means, distant points, random points, random responsibilities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, islice

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus

from bayesgmm.em.iterate import Collapse, Mixture, Settings, from_responsibilities
from bayesgmm.typing import FloatArray

START_METHODS = ("kmeans", "k-means++", "random", "random_from_data")
_MIXED = ("kmeans", "k-means++", "random_from_data", "k-means++")
MOST_ROWS = 20_000  # more are not needed to find starting points


def starting_points(
    X: FloatArray,
    sample_weight: FloatArray | None,
    n_components: int,
    method: str,
    n_starts: int,
    settings: Settings,
    seeds: np.random.SeedSequence,
) -> Iterator[Mixture]:
    """Yield starting mixtures, each from its own seed; those with a component that has no spread are left out.

    Parameters
    ----------
    X : array of shape (N, D)
    sample_weight : array of shape (N,) or None
    n_components : int
    method : str
        One of `START_METHODS`, or "auto": k-means, k-means++ and random points in turn.
    n_starts : int
    settings : Settings
        Distances are taken in its frame, where units do not matter.
    seeds : SeedSequence
        One child is spawned per start.
    """
    Z = settings.frame.standardise(X)
    methods = islice(cycle(_MIXED), n_starts) if method == "auto" else [method] * n_starts
    for name, seed in zip(methods, seeds.spawn(n_starts), strict=True):
        r = _responsibilities(Z, n_components, name, np.random.default_rng(seed), sample_weight)
        with suppress(Collapse):
            yield from_responsibilities(X, r, settings, sample_weight)


def _responsibilities(
    X: FloatArray, n_components: int, method: str, rng: np.random.Generator, sample_weight: FloatArray | None
) -> FloatArray:
    if method == "random":
        r = rng.random((len(X), n_components))
        return r / r.sum(1, keepdims=True)
    return np.eye(n_components)[_nearest(X, _centres(X, n_components, method, rng, sample_weight))]


def _centres(
    X: FloatArray, n_components: int, method: str, rng: np.random.Generator, sample_weight: FloatArray | None
) -> FloatArray:
    part = X if sample_weight is None else X[sample_weight > 0]
    weight = None if sample_weight is None else sample_weight[sample_weight > 0]
    seed = int(rng.integers(2**31))
    if method == "kmeans":
        return KMeans(n_components, n_init=1, random_state=seed).fit(part, sample_weight=weight).cluster_centers_
    if method == "k-means++":
        return kmeans_plusplus(part, n_components, sample_weight=weight, random_state=seed)[0]
    distinct = np.unique(part, axis=0)
    return distinct[rng.choice(len(distinct), n_components, replace=False)]


def _nearest(X: FloatArray, centres: FloatArray) -> np.ndarray:
    """Index of the nearest centre of each row; a centre without rows of its own gets the row nearest to it."""
    distance = ((centres**2).sum(1) - 2 * X @ centres.T) + (X**2).sum(1)[:, None]
    labels = distance.argmin(1)
    for k in np.setdiff1d(np.arange(len(centres)), labels):
        labels[distance[:, k].argmin()] = k
    return labels
