"""Where EM starts from: partitions by k-means, distant points, random points, random responsibilities, or a tree of mergers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle, islice

import numpy as np
from sklearn import config_context
from sklearn.cluster import KMeans, kmeans_plusplus

from bayesgmm.em.hierarchy import hierarchical_labels
from bayesgmm.em.steps import Collapse, Mixture, Rows, Settings, from_responsibilities
from bayesgmm.expectation import Chunked, Gaps, conditional_moments, rows_of
from bayesgmm.frame import total_moments
from bayesgmm.params import cholesky
from bayesgmm.typing import FloatArray, IntArray

START_METHODS = ("kmeans", "k-means++", "random", "random_from_data", "hierarchical")
_MIXED = ("kmeans", "k-means++", "random_from_data", "k-means++")
MOST_ROWS = 20_000  # more are not needed to find starting points
MOST_SORTED = 50_000


@dataclass(frozen=True)
class Sample:
    """Complete rows to find starting points in, each with a weight.

    Parameters
    ----------
    X : array of shape (n, D)
        Gaps are filled.
    weight : array of shape (n,)
    is_all : bool
        Whether they are all rows.
    rows : array of shape (n, D), or Gaps
        What first, short runs see: the rows themselves if they are all, otherwise X.
    row_weight : array of shape (n,), optional
    """

    X: FloatArray
    weight: FloatArray
    is_all: bool
    rows: FloatArray | Gaps
    row_weight: FloatArray | None = None


def distinct_rows(X: FloatArray, sample_weight: FloatArray | None) -> tuple[FloatArray, FloatArray | None]:
    """Return the distinct rows of X (N, D), sorted, and how often each counts; None where every row counts once.

    A row of weight two is then the same as a row given twice, to the last bit, and the order of rows does not matter. Of more than
    50,000 rows only those of weight zero are left out: sorting would cost as much as some iterations.
    """
    if sample_weight is not None and not sample_weight.all():
        X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
    if len(X) > MOST_SORTED:
        return X, sample_weight
    rows, which = np.unique(X, axis=0, return_inverse=True)  # NaN equals NaN here: rows are compared bit by bit
    weight = np.bincount(which.reshape(-1), weights=sample_weight, minlength=len(rows)).astype(float)
    return np.ascontiguousarray(rows), None if (weight == 1).all() else weight


def some_rows(X: Rows, sample_weight: FloatArray | None, seeds: np.random.SeedSequence) -> Sample:
    """Return as many rows as it takes to find starting points: the same ones whether the rows are in memory or in chunks."""
    if isinstance(X, Chunked):
        if len(X) <= MOST_SORTED:
            values, weight = distinct_rows(*X.take(np.arange(len(X))))
            return some_rows(rows_of(values), weight, seeds)
        values, weight = X.take(_chosen(len(X), seeds))
        return _sample(rows_of(values), weight, total_moments(X) if X.summary.has_gaps else None)
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    values = filled(X, total_moments(X, sample_weight)) if isinstance(X, Gaps) else X
    if len(values) <= MOST_ROWS:
        return Sample(values, weight, is_all=True, rows=X, row_weight=sample_weight)
    chosen = _chosen(len(values), seeds)
    return _sample(values[chosen], weight[chosen])


def _sample(X: FloatArray | Gaps, weight: FloatArray | None, moments: tuple[FloatArray, FloatArray] | None = None) -> Sample:
    """Return a sample of rows that are not all; with gaps, filled under a normal distribution with these moments."""
    values = filled(X, moments) if isinstance(X, Gaps) and moments is not None else X
    assert not isinstance(values, Gaps)
    weight = np.ones(len(values)) if weight is None else weight
    return Sample(values, weight, is_all=False, rows=values, row_weight=weight)


def _chosen(n_rows: int, seeds: np.random.SeedSequence) -> IntArray:
    return np.sort(np.random.default_rng(seeds.spawn(1)[0]).choice(n_rows, MOST_ROWS, replace=False))


def filled(X: Gaps, moments: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return the rows with what is missing put at its expectation under one normal distribution: good enough to start from.

    Parameters
    ----------
    X : Gaps
    moments : (array of shape (D,), array of shape (D, D))
        Its mean and covariance.
    """
    mean, covariance = moments
    factor = cholesky(covariance + 1e-12 * np.diag(np.maximum(np.diag(covariance), 1e-300)))
    out = np.empty((X.n_rows, X.n_features))
    for part in X.patterns:
        out[np.ix_(part.rows, part.columns)] = part.X
    for part, missing, _, means, _ in conditional_moments(X, np.zeros(1), mean[None], factor[None]):
        out[np.ix_(part.rows, missing)] = means[:, 0]
    return out


def starting_points(
    sample: Sample,
    n_components: int,
    method: str,
    n_starts: int,
    settings: Settings,
    seeds: np.random.SeedSequence,
    partitions: Partitions | None = None,
) -> Iterator[Mixture]:
    """Yield starting mixtures, each from its own seed; those with a component that has no spread are left out.

    Parameters
    ----------
    sample : Sample
    n_components : int
    method : str
        One of `START_METHODS`, or "auto": one from a tree of mergers, then k-means, k-means++ and random points in turn.
    n_starts : int
    settings : Settings
        Distances are taken in its frame, where units do not matter.
    seeds : SeedSequence
        One child is spawned per start.
    partitions : Partitions, optional
        Those of fits of other families to the same rows, and where to keep the ones of this.
    """
    Z = settings.frame.standardise(sample.X)
    methods = ["hierarchical", *islice(cycle(_MIXED), n_starts - 1)] if method == "auto" else [method] * n_starts
    partitions = partitions or Partitions()
    rows = partitions.name_of(Z, sample.weight)
    for name, seed in zip(methods, seeds.spawn(n_starts), strict=True):
        if name == "random":
            r = np.random.default_rng(seed).random((len(Z), n_components))
            r /= r.sum(1, keepdims=True)
        else:
            r = np.eye(n_components)[partitions.labels(rows, Z, n_components, name, seed, sample.weight)]
        with suppress(Collapse):
            yield from_responsibilities(sample.X, r, settings, sample.weight)


class Partitions:
    """Partitions to start from, kept for fits to the same rows in the same frame: many families share one, and so these.

    What is kept is what would be found again, so that results are the same with it and without. It takes a byte for each row and start.
    """

    def __init__(self) -> None:
        self._found: dict[Hashable, np.ndarray] = {}

    def name_of(self, Z: FloatArray, weight: FloatArray) -> bytes:
        """Return what stands for rows Z (N, D) and their weights."""
        return sha256(Z.tobytes()).digest() + sha256(weight.tobytes()).digest()

    def labels(
        self, rows: bytes, Z: FloatArray, n_components: int, method: str, seed: np.random.SeedSequence, weight: FloatArray
    ) -> np.ndarray:
        """Return the component (N,) that each row starts in; ``rows`` is what :meth:`name_of` returned."""
        key = rows, n_components, method, str(seed.entropy), seed.spawn_key
        if key not in self._found:
            labels = _labels(Z, n_components, method, np.random.default_rng(seed), weight)
            self._found[key] = labels.astype(np.min_scalar_type(n_components))
        return self._found[key]


def _labels(Z: FloatArray, n_components: int, method: str, rng: np.random.Generator, weight: FloatArray) -> np.ndarray:
    if method == "hierarchical":
        return hierarchical_labels(Z, n_components, weight, rng)
    return _nearest(Z, _centres(Z, n_components, method, rng, weight))


def _centres(Z: FloatArray, n_components: int, method: str, rng: np.random.Generator, weight: FloatArray) -> FloatArray:
    seed = int(rng.integers(2**31))
    with config_context(skip_parameter_validation=True, assume_finite=True):  # they are ours, and checked
        if method == "kmeans":
            return KMeans(n_components, n_init=1, random_state=seed).fit(Z, sample_weight=weight).cluster_centers_
        if method == "k-means++":
            return kmeans_plusplus(Z, n_components, sample_weight=weight, random_state=seed)[0]
    distinct = np.unique(Z, axis=0)
    return distinct[rng.choice(len(distinct), n_components, replace=False)]


def _nearest(Z: FloatArray, centres: FloatArray) -> np.ndarray:
    """Index of the nearest centre of each row; a centre without rows of its own gets the row nearest to it."""
    distance = ((centres**2).sum(1) - 2 * Z @ centres.T) + (Z**2).sum(1)[:, None]
    labels = distance.argmin(1)
    for k in np.flatnonzero(np.bincount(labels, minlength=len(centres)) == 0):
        labels[distance[:, k].argmin()] = k
    return labels
