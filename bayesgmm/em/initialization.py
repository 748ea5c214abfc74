"""Where EM starts from: rows, partitions, projections in which groups show, and steps away from mixtures that are known.

No change of coordinates may hide groups. Whitening shrinks the very direction in which groups lie apart, columns on their own scales do not
show what only a combination of them does, and where the total covariance is the identity nothing but the shape of projections tells.
So starts come from several views of the rows, one from each in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import count, cycle, repeat

import numpy as np
from scipy.special import log_ndtr
from sklearn import config_context
from sklearn.cluster import KMeans

from bayesgmm import expectation
from bayesgmm.covariance import family
from bayesgmm.em._compiled_run import EMPTY
from bayesgmm.em.degeneracy import sds_of_digits, smallest_sds
from bayesgmm.em.hierarchical import hierarchical_labels
from bayesgmm.em.m_step import Collapse, Mixture, Settings, from_responsibilities, mixture_of, moments_in
from bayesgmm.em.run import run_each
from bayesgmm.expectation import evaluate
from bayesgmm.frame import factor_of, total_moments
from bayesgmm.rows import Chunk, MemoryRows, Rows
from bayesgmm.typing import FloatArray, IntArray

START_METHODS = ("kmeans", "k-means++", "random", "random_from_data", "hierarchical")
MOST_ROWS = 4096  # more are not needed to find starting points
MOST_SORTED = 50_000
_LOOKED_AT = 4096  # rows whose projections are looked at
_KURTOSIS_STARTS, _KURTOSIS_STEPS = 4, 20
_DIRECTIONS = 4
_ALIKE = 0.95  # correlation of two projections that show the same
_FLAT = 1e-10  # share of the largest variance that is taken for none
_RUNS, _STEPS = 3, 30  # of EM on projections
_NARROW = 1e-5  # smallest sd on projections, of the whole
_HELD = 2.0
"""Rows for each direction, and one, up to which a group of a partition is filled up with the common covariance: it has none of its own."""
_VIEWS = ("direction", "rows", "seeds", "subspace", "rows", "direction", "seeds", "tree")
_VIEWS_OF_A_COLUMN = ("quantiles", "rows", "seeds", "rows", "tree", "rows")


@dataclass(frozen=True, eq=False)
class Sample:
    """Complete rows to find starting points in, each with a weight.

    Parameters
    ----------
    X : array of shape (n, D)
        Gaps are filled.
    weight : array of shape (n,)
    is_all : bool
        Whether they are all rows.
    rows : MemoryRows
        What runs of the search see: the rows themselves if they are all, otherwise X.
    """

    X: FloatArray
    weight: FloatArray
    is_all: bool
    rows: MemoryRows

    @cached_property
    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance of the rows."""
        return row_moments(self.X, self.weight)

    @cached_property
    def projections(self) -> FloatArray:
        """The most telling projections (n, P) of the rows."""
        return telling_projections(self.X, *self.moments)

    def smallest_sds(self, n_components: int) -> FloatArray:
        """Return the smallest standard deviation (D,) of each column that any of so many components is allowed."""
        return self._smallest_of_one if n_components == 1 else self._smallest_of_some

    @cached_property
    def _smallest_of_one(self) -> FloatArray:
        return smallest_sds(self.rows.values, self.weight, n_components=1)

    @cached_property
    def _smallest_of_some(self) -> FloatArray:
        return smallest_sds(self.rows.values, self.weight)

    @cached_property
    def digits(self) -> float:
        """Smallest standard deviation that doubles can tell apart in every column."""
        return float(sds_of_digits(self.rows.values).max())


def row_moments(X: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean (D,) and covariance (D, D) of rows X (n, D)."""
    mean = np.average(X, axis=0, weights=weight)
    centred = X - mean
    return mean, (weight[:, None] * centred).T @ centred / weight.sum()


def some_rows(rows: Rows, seeds: np.random.SeedSequence) -> Sample:
    """Return as many rows as it takes to find starting points: the same ones whether the rows are in memory or in chunks."""
    if len(rows) <= MOST_SORTED:
        rows = rows.distinct()
    is_all = len(rows) <= MOST_ROWS
    if is_all:
        some = rows.distinct()
    else:
        chosen = np.random.default_rng(seeds.spawn(1)[0]).choice(len(rows), MOST_ROWS, replace=False)
        some = rows.take(np.unique(np.r_[chosen, _labelled_rows(rows)]))
    values = filled(some.chunk, total_moments(rows)) if some.has_gaps else some.values
    weight = np.ones(len(values)) if some.weights is None else some.weights
    return Sample(values, weight, is_all, some if is_all else MemoryRows(values, some.weights, known=some.known))


def _labelled_rows(rows: Rows) -> IntArray:
    """Return the numbers of rows whose component is known in part, evenly spread if they are many: they say which component is which."""
    known = rows.known
    if known is None or known.log_weights is None:
        return np.zeros(0, dtype=int)
    told = np.flatnonzero(np.ptp(np.exp(known.log_weights), axis=1) > 0)
    return told[:: -(-len(told) // (MOST_ROWS // 2))] if len(told) else told


def filled(chunk: Chunk, moments: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return rows (n, D) with what is missing put at its expectation under one normal distribution: good enough to start from.

    Parameters
    ----------
    chunk : Chunk
    moments : (array of shape (D,), array of shape (D, D))
        Its mean and covariance.
    """
    mean, covariance = moments
    return expectation.filled(Chunk(chunk.X), np.zeros(1), mean[None], factor_of(covariance)[None])


def starting_points(
    sample: Sample, n_components: int, method: str, n_starts: int, settings: Settings, seeds: np.random.SeedSequence
) -> Iterator[Mixture]:
    """Yield starting mixtures, each from its own seed; those with a component that has no spread are left out.

    Parameters
    ----------
    sample : Sample
    n_components : int
    method : str
        One of `START_METHODS`, or "auto": one from each of several views of the rows in turn.
    n_starts : int
    settings : Settings
    seeds : SeedSequence
        One child is spawned per start.
    """
    views = _Views(sample, n_components, settings)
    for start, seed in zip(views.starts(method), seeds.spawn(n_starts), strict=False):
        with suppress(Collapse):
            yield start(np.random.default_rng(seed))


@dataclass(frozen=True, eq=False)
class _Views:
    """The rows as they are looked at to find K groups.

    Parameters
    ----------
    sample : Sample
    n_components : int
    settings : Settings
    """

    sample: Sample
    n_components: int
    settings: Settings

    def starts(self, method: str) -> Iterator[Callable[[np.random.Generator], Mixture]]:
        """Return, without end, functions that make a starting mixture from a source of randomness."""
        if method != "auto":
            return repeat(partial(self._by_method, method))
        turn = count()
        made: dict[str, Callable[[np.random.Generator], Mixture]] = {
            "direction": lambda rng: self._from_projections(slice(n := next(turn), n + 1), rng),
            "subspace": partial(self._from_projections, slice(0, max(1, min(3, self.n_components)))),
            "rows": self._from_rows,
            "seeds": self._from_seeds,
            "tree": self._from_tree,
            "quantiles": self._from_quantiles,
        }
        return (made[view] for view in cycle(_VIEWS if self.sample.X.shape[1] > 1 else _VIEWS_OF_A_COLUMN))

    @cached_property
    def scaled(self) -> FloatArray:
        """Rows (n, D) with every column on its own scale, which far rows do not set: that of the middle half of the column.

        Families that know one scale only are shown the columns as they are.
        """
        X = self.sample.X
        low, middle, high = np.quantile(X, [0.25, 0.5, 0.75], axis=0)
        spread, sd = high - low, np.sqrt(np.diag(self.sample.moments[1]))
        scale = np.where(spread > 1e-3 * sd, spread, np.where(sd > 0, sd, 1.0))
        if self.settings.family.invariance == "scale" and self.settings.family.diagonal:
            scale = np.full_like(scale, np.sqrt(np.mean(scale**2)))
        return (X - middle) / scale

    def _from_rows(self, rng: np.random.Generator) -> Mixture:
        """Start at random rows, with the covariance of all."""
        X, K, covariance = self.sample.X, self.n_components, self.sample.moments[1]
        means = X[rng.choice(len(X), K, replace=len(X) < K)]
        return mixture_of(np.ones(K), means, np.broadcast_to(covariance, (K, *covariance.shape)), self.settings)

    def _from_seeds(self, rng: np.random.Generator) -> Mixture:
        """Start at rows far from each other, every column on its own scale (k-means++)."""
        return self._from_labels(_nearest(self.scaled, _seeds(self.scaled, self.n_components, self.sample.weight, rng)))

    def _from_tree(self, rng: np.random.Generator) -> Mixture:
        return self._from_labels(hierarchical_labels(self.scaled, self.n_components, self.sample.weight, rng))

    def _from_quantiles(self, rng: np.random.Generator) -> Mixture:
        """Start with as many rows in each group, in their order."""
        return self._from_labels(_quantiles(self.sample.X[:, 0], self.n_components))

    def _from_projections(self, which: slice, rng: np.random.Generator) -> Mixture:
        """Start from the groups that a mixture finds in some projections."""
        projections = self.sample.projections
        Y = projections[:, which if projections.shape[1] > which.start else slice(0, 1)]
        return self._from_labels(groups_in(Y, self.sample.weight, self.n_components, self.settings, rng))

    def _from_labels(self, labels: IntArray) -> Mixture:
        return grouped(self.sample.X, self.sample.weight, labels, self.n_components, self.settings)

    def _by_method(self, method: str, rng: np.random.Generator) -> Mixture:
        """Start as scikit-learn does, on standardised rows."""
        Z, K, weight = self.scaled, self.n_components, self.sample.weight
        if method == "random":
            r = rng.random((len(Z), K))
            return from_responsibilities(self.sample.X, r / r.sum(1, keepdims=True), self.settings, weight)
        if method == "hierarchical":
            return self._from_tree(rng)
        if method == "random_from_data":
            distinct = np.unique(Z, axis=0)
            centres = distinct[rng.choice(len(distinct), K, replace=len(distinct) < K)]
        elif method == "k-means++":
            centres = _seeds(Z, K, weight, rng)
        else:
            with config_context(skip_parameter_validation=True, assume_finite=True):  # they are ours, and checked
                centres = KMeans(K, n_init=1, random_state=int(rng.integers(2**31))).fit(Z, sample_weight=weight).cluster_centers_
        return from_responsibilities(self.sample.X, np.eye(K)[_nearest(Z, centres)], self.settings, weight)


def groups_in(Y: FloatArray, weight: FloatArray, n_components: int, settings: Settings, rng: np.random.Generator) -> IntArray:
    """Return the group (n,) that a quick fit of a mixture puts each row of a few projections Y (n, P) into."""
    Y = np.ascontiguousarray(Y)
    K, D = n_components, Y.shape[1]
    plain = _on_projections(D, in_one_call=settings.in_one_call)
    factors = np.broadcast_to(factor_of(np.cov(Y.T, bias=True).reshape(D, D)), (K, D, D))
    even = np.full(K, -np.log(K))
    first = [Mixture(even, Y[rng.choice(len(Y), K, replace=len(Y) < K)], factors) for _ in range(_RUNS - 1)]
    first.append(grouped(Y, weight, _quantiles(Y[:, 0], K), K, plain))
    rows = MemoryRows(Y, weight)
    best = max(run_each(rows, first, plain), key=lambda run: run.log_likelihood)
    return evaluate(rows.chunk, *best.mixture, joint=True)[0].argmax(1)


def _quantiles(values: FloatArray, n_groups: int) -> IntArray:
    """Return the group (n,) of each value, of K with as many values in each, in their order."""
    ranks: IntArray = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ranks * n_groups // len(ranks)


@cache
def _on_projections(n_features: int, *, in_one_call: bool) -> Settings:
    """Return what governs EM on projections, which have unit variances."""
    return Settings(family("full"), 1e-4, _STEPS, np.full(n_features, _NARROW), accelerate=True, in_one_call=in_one_call)


def grouped(X: FloatArray, weight: FloatArray, labels: IntArray, n_components: int, settings: Settings) -> Mixture:
    """Return the mixture of a partition: its groups' means, and covariances for which small groups borrow from all."""
    K, D = n_components, X.shape[1]
    counts, means, scatter, _ = moments_in(X, weight[:, None] * np.eye(K)[labels])
    means[counts <= EMPTY] = np.average(X, axis=0, weights=weight)
    held = np.maximum(_HELD * (D + 1) - counts, 0.0)[:, None, None]
    within = scatter.sum(0) / weight.sum()
    return mixture_of(np.maximum(counts, 1.0), means, (scatter + held * within) / (counts[:, None, None] + held), settings)


def telling_projections(X: FloatArray, mean: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return projections (n, P) of rows X (n, D) in which groups may show, standardised.

    Looked at are the columns, principal components, the axes of the fourth moments (invariant coordinate selection: Tyler, Critchley,
    Duembgen and Oja 2009, Journal of the Royal Statistical Society B 71, 549-592) and directions of extreme kurtosis (Pena and Prieto
    2001, JASA 96, 1433-1445), found by fixed-point steps (Hyvaerinen and Oja 1997, Neural Computation 9, 1483-1492). Taken are in turn
    the one farthest from normal by Anderson and Darling's statistic (1954, JASA 49, 765-769) and the one of least kurtosis: groups make
    a projection flat or far from normal, far rows make it peaked.
    """
    sd = np.sqrt(np.diag(covariance))
    sd = np.where(sd > 0, sd, 1.0)
    Z = (X - mean) / sd
    some = Z[:: -(-len(Z) // _LOOKED_AT)]
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    kept = values > _FLAT * values[-1]
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    axes = [np.eye(Z.shape[1]), whiten]
    if whiten.shape[1] > 1:
        white = some @ whiten
        scatter = ((white**2).sum(1)[:, None] * white).T @ white
        axes += [whiten @ np.linalg.eigh(scatter)[1], whiten @ _extreme_kurtosis(white)]
    directions = np.hstack(axes)
    table = some @ directions
    odd, flat = np.argsort(-_distance_from_normal(table), kind="stable"), np.argsort(_kurtosis(table), kind="stable")
    chosen: list[int] = []
    for p in np.column_stack([odd, flat]).ravel():
        if all(abs(np.mean(table[:, p] * table[:, q])) < _ALIKE for q in chosen):
            chosen.append(int(p))
        if len(chosen) == _DIRECTIONS:
            break
    return np.ascontiguousarray(Z @ directions[:, chosen])


def _kurtosis(Y: FloatArray) -> FloatArray:
    squares = (Y - Y.mean(0)) ** 2
    return (squares * squares).mean(0) / np.maximum(squares.mean(0) ** 2, 1e-300)


def _extreme_kurtosis(white: FloatArray) -> FloatArray:
    """Return directions (D, starts) in whitened rows (n, D), at each of which the kurtosis is extreme."""
    D = white.shape[1]
    # Where to start from does not matter much; a fixed source keeps the views of the rows free of the seed.
    W = np.random.default_rng(0).normal(size=(D, _KURTOSIS_STARTS * D))
    for _ in range(_KURTOSIS_STEPS):
        W /= np.linalg.norm(W, axis=0)
        Y = white @ W
        W = white.T @ (Y * Y * Y) / len(white) - 3.0 * W
    norms = np.linalg.norm(W, axis=0)
    return W[:, norms > 0] / norms[norms > 0]


def _distance_from_normal(Y: FloatArray) -> FloatArray:
    """Return Anderson and Darling's statistic (P,) of each column of Y (n, P)."""
    n = len(Y)
    sd = Y.std(0)
    Z = np.sort((Y - Y.mean(0)) / np.where(sd > 0, sd, 1.0), axis=0)
    odd = (2.0 * np.arange(1, n + 1) - 1.0)[:, None]
    found = -n - (odd * (log_ndtr(Z) + log_ndtr(-Z[::-1]))).sum(0) / n
    return np.where(sd > 0, found, -np.inf)


def _seeds(Z: FloatArray, n_components: int, weight: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return K rows far from each other: each drawn with its squared distance to those before (Arthur and Vassilvitskii 2007)."""
    first = rng.choice(len(Z), p=weight / weight.sum())
    chosen, distance = [first], ((Z - Z[first]) ** 2).sum(1)
    for _ in range(n_components - 1):
        share = weight * distance
        total = share.sum()
        chosen.append(rng.choice(len(Z), p=share / total) if total > 0 else int(rng.integers(len(Z))))
        distance = np.minimum(distance, ((Z - Z[chosen[-1]]) ** 2).sum(1))
    return Z[chosen]


def _nearest(Z: FloatArray, centres: FloatArray) -> np.ndarray:
    """Index of the nearest centre of each row; a centre without rows of its own gets the row nearest to it."""
    distance = ((centres**2).sum(1) - 2 * Z @ centres.T) + (Z**2).sum(1)[:, None]
    labels = distance.argmin(1)
    for k in np.flatnonzero(np.bincount(labels, minlength=len(centres)) == 0):
        labels[distance[:, k].argmin()] = k
    return labels
