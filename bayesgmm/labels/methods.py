"""Eight ways to say what it costs to give a component a label; the rest, an exact assignment for each draw, they share.

Each method is a function of the draws and of the most rounds it may take. Papastamoulis (2016), Journal of Statistical Software 69,
1-24, compares most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.labels.assignment import SMOOTH, assign, match, smoothed, totals
from bayesgmm.labels.draws import MixtureDraws
from bayesgmm.labels.responsibilities import Rows, cross_products, one_hot, update
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["METHODS", "Outcome", "squared_distances"]

_STARTS = 2  # further draws from which iterations start, beside the reference or the pivot
_ROUNDING = 1e-12  # of a total
_LEAST_SD = 1e-3  # of a group, in standard deviations of the column: one row repeated must not cost infinitely much to leave


@dataclass(frozen=True, eq=False)
class Outcome:
    """Orders (T, K), the costs (T, K, K) by which they were chosen, what else each draw pays, the totals of all rounds."""

    orders: IntArray
    costs: FloatArray
    extra: FloatArray | float
    trace: tuple[float, ...]
    converged: bool

    def renamed(self, table: FloatArray) -> Outcome:
        """Rename labels for all draws alike: label j becomes the k that makes the sum of ``table[j, k]`` greatest."""
        names = match(-table)
        return replace(self, orders=np.ascontiguousarray(self.orders[:, names]), costs=self.costs[:, :, names])


def em_pivot(draws: MixtureDraws, max_iter: int) -> Outcome:
    """Hold every draw against the responsibilities of the reference, once: see `bayesgmm.labels.align`."""
    rows = draws.need("rows", "em-pivot")
    return _once(_divergence(rows, draws.need("reference", "em-pivot")), -draws.totals.entropy)


def stephens(draws: MixtureDraws, max_iter: int) -> Outcome:
    """Move reference and draws towards each other: the reference is the mean of the relabelled responsibilities.

    Stephens (2000), Journal of the Royal Statistical Society B 62, 795-809, algorithm 2: both steps lower the sum over draws of the
    Kullback-Leibler divergence from the reference, which the mean minimises for given labels.
    """
    rows: Rows = draws.need("rows", "stephens")

    def costs(orders: IntArray) -> FloatArray:
        return _divergence_of(*update(rows, orders, lambda mean: np.log(smoothed(mean))))

    entropy = draws.totals.entropy
    starts = (_divergence(rows, table) for table in _starts(draws, rows))
    return _best_settled(starts, costs, max_iter, -entropy)


def ecr(draws: MixtureDraws, max_iter: int) -> Outcome:
    """Let as many rows as possible have the label that they have in the pivot.

    Papastamoulis and Iliopoulos (2010), Journal of Computational and Graphical Statistics 19, 313-331.
    """
    counted: Rows = draws.need("counted", "ecr")
    pivot = counted.draw(draws.pivot) if draws.reference is None else _winners(draws.reference)
    return _once(_disagreement(cross_products(counted, pivot)))


def ecr_iterative_1(draws: MixtureDraws, max_iter: int) -> Outcome:
    """As ECR, with the most frequent relabelled allocation of each row as the pivot.

    Papastamoulis (2014), Communications in Statistics - Simulation and Computation 43, 913-927.
    """
    counted: Rows = draws.need("counted", "ecr-iterative-1")
    return _ecr_iterative(draws, counted, counted, max_iter)


def ecr_iterative_2(draws: MixtureDraws, max_iter: int) -> Outcome:
    """As ECR, with the component of the greatest mean relabelled responsibility of each row as the pivot.

    Papastamoulis (2014), the same article.
    """
    rows: Rows = draws.need("responsibilities", "ecr-iterative-2")
    return _ecr_iterative(draws, rows, draws.need("counted", "ecr-iterative-2"), max_iter)


def _ecr_iterative(draws: MixtureDraws, averaged: Rows, counted: Rows, max_iter: int) -> Outcome:
    def costs(orders: IntArray) -> FloatArray:
        return _disagreement(update(averaged, orders, _winners, counted)[0])

    starts = (_disagreement(cross_products(counted, _winners(table))) for table in _starts(draws, averaged))
    return _best_settled(starts, costs, max_iter)


def pra(draws: MixtureDraws, max_iter: int) -> Outcome:
    """Bring the parameters of every draw as near as possible to those of the pivot.

    The pivotal reordering algorithm, Marin, Mengersen and Robert (2005), Handbook of Statistics 25, 459-507: it maximises an inner
    product, which for a given set of components is to minimise the squared distance. Parameters are standardised over draws and components.
    A single draw is a noisy pivot: where there is no reference, the mean of the relabelled draws takes its place until nothing changes.
    """
    theta: FloatArray = draws.need("features", "pra")
    if draws.reference_features is not None:
        return _once(squared_distances(theta, draws.reference_features))

    def costs(orders: IntArray) -> FloatArray:
        return squared_distances(theta, np.take_along_axis(theta, orders[:, :, None], 1).mean(0))

    return _settle(_once(squared_distances(theta, theta[draws.pivot])), costs, max_iter)


def data_based(draws: MixtureDraws, max_iter: int) -> Outcome:
    """Give every group the label whose usual place the group's rows are nearest to.

    Rodriguez and Walker (2014), Journal of Computational and Graphical Statistics 23, 25-45: a group j with label k costs
    ``sum_i r_ij sum_g ((x_ig - m_kg) / s_kg)^2``. Places m and spreads s are pooled over the relabelled draws, in a first pass as the
    draws come, then from all of them until nothing changes (the authors' second pass is the first of these). The running pools begin with
    the groups of the reference or of the pivot.
    """
    rows: Rows = draws.need("rows", "data-based")
    powers = _powers(draws.need("X", "data-based"))
    sums = cross_products(rows, powers)

    def costs(orders: IntArray) -> FloatArray:
        pooled = np.take_along_axis(sums, orders[:, :, None], axis=1).sum(0)
        return _distances(sums, pooled)

    start = _running(sums, draws.anchor.T @ powers)
    return _settle(start, costs, max_iter)


def sort(draws: MixtureDraws, max_iter: int) -> Outcome:
    """Sort components by a number. What it costs is the squared distance from the sorted numbers' means, which sorting makes least.

    Quick, and wrong where the numbers of different groups overlap: Celeux, Hurn and Robert (2000), Journal of the American Statistical
    Association 95, 957-970.
    """
    f: FloatArray = draws.need("functional", "sort")
    orders = np.argsort(f, axis=1, kind="stable")
    places = np.take_along_axis(f, orders, 1).mean(0)
    costs = (f[:, :, None] - places) ** 2 / (f.var() or 1.0)
    return Outcome(orders, costs, 0.0, (float(totals(costs, orders).sum()),), converged=True)


METHODS: dict[str, Callable[[MixtureDraws, int], Outcome]] = {
    "em-pivot": em_pivot,
    "stephens": stephens,
    "ecr": ecr,
    "ecr-iterative-1": ecr_iterative_1,
    "ecr-iterative-2": ecr_iterative_2,
    "pra": pra,
    "data-based": data_based,
    "sort": sort,
}


def _divergence(rows: Rows, reference: FloatArray) -> FloatArray:
    log_q = np.log(smoothed(reference))
    return _divergence_of(cross_products(rows, log_q), log_q.sum(0))


def _divergence_of(sums: FloatArray, total: FloatArray) -> FloatArray:
    """Return ``- sum_i r_ij log q_ik`` for smoothed responsibilities r, from the sums of the ones that were not."""
    return -(1.0 - sums.shape[1] * SMOOTH) * sums - SMOOTH * total


def squared_distances(theta: FloatArray, pivot: FloatArray) -> FloatArray:
    """Return the squared distances (..., K, K) of components (..., K, P) from those of a pivot (K, P)."""
    squares = (theta**2).sum(-1)[:, :, None] + (pivot**2).sum(-1)
    return np.maximum(squares - 2 * theta @ pivot.T, 0.0)


def _winners(table: FloatArray) -> FloatArray:
    """Give every row (N, K) to its most probable component, wholly."""
    return one_hot(table.argmax(1), table.shape[1])


def _disagreement(counts: FloatArray) -> FloatArray:
    """Return how many rows of component j the pivot does not give label k, from counts (T, K, K) of those that it does."""
    return counts.sum(2, keepdims=True) - counts


def _starts(draws: MixtureDraws, rows: Rows) -> Iterator[FloatArray]:
    """Responsibilities from which to start: the reference or the pivot, and a few draws far from one another."""
    yield draws.anchor
    T = rows.shape[0]
    for t in sorted({(2 * i + 1) * T // (2 * _STARTS) for i in range(_STARTS)}):
        yield rows.draw(t)


def _once(costs: FloatArray, extra: FloatArray | float = 0.0, unless: IntArray | None = None) -> Outcome:
    """Assign; draws for which the orders ``unless`` are as good keep these, so that ties cannot send an iteration round in circles."""
    orders = assign(costs)
    if unless is not None:
        old, new = totals(costs, unless), totals(costs, orders)
        orders = np.where((old <= new + _ROUNDING * np.abs(new))[:, None], unless, orders)
    return Outcome(orders, costs, extra, (float((totals(costs, orders) + extra).sum()),), converged=True)


def _best_settled(
    starts: Iterator[FloatArray], costs: Callable[[IntArray], FloatArray], max_iter: int, extra: FloatArray | float = 0.0
) -> Outcome:
    """Return the lowest end of iterations from several starts; a start whose first labels are those of an earlier end ends there too."""
    ends: list[Outcome] = []
    for start in starts:
        first = _once(start, extra)
        if not any(_is_renaming(first.orders, end.orders) for end in ends):
            ends.append(_settle(first, costs, max_iter))
    return min(ends, key=lambda end: end.trace[-1])


def _settle(at: Outcome, costs: Callable[[IntArray], FloatArray], max_iter: int) -> Outcome:
    """Work out costs and assign in turn until nothing changes."""
    for _ in range(max_iter - 1):
        after = _once(costs(at.orders), at.extra, at.orders)
        is_still = bool((after.orders == at.orders).all())
        at = replace(after, trace=(*at.trace, after.trace[0]))
        if is_still:
            return at
    return replace(at, converged=False)


def _is_renaming(one: IntArray, other: IntArray) -> bool:
    renaming = np.take_along_axis(np.argsort(one, -1), other, -1)
    return bool((renaming == renaming[0]).all())


def _powers(X: FloatArray) -> FloatArray:
    """Return columns 1, z and z^2 (N, 3 D) of the standardised data z, zero where a value is missing.

    Their sums over the rows of a group say all that is asked of it.
    """
    seen = ~np.isnan(X)
    n = np.maximum(seen.sum(0), 1)
    centred = np.where(seen, X - np.where(seen, X, 0.0).sum(0) / n, 0.0)
    z = centred / np.maximum(np.sqrt((centred**2).sum(0) / n), np.finfo(float).tiny)
    return np.hstack([seen, z, z**2])


def _distances(sums: FloatArray, pooled: FloatArray) -> FloatArray:
    """Return ``sum_i r_ij sum_g ((z_ig - m_kg) / s_kg)^2`` from the groups' sums (..., K, 3 D) and pooled ones (K, 3 D) that give m, s."""
    n, first, second = np.split(pooled, 3, axis=-1)
    n = np.maximum(n, np.finfo(float).tiny)
    m = first / n
    precision = 1.0 / np.maximum(second / n - m**2, _LEAST_SD**2)
    return sums @ np.hstack([m**2 * precision, -2 * m * precision, precision]).T


def _running(sums: FloatArray, pooled: FloatArray) -> Outcome:
    """Label the draws one after another, each adding its groups to the pools."""
    costs = np.empty((len(sums), sums.shape[1], sums.shape[1]))
    orders = np.empty(costs.shape[:2], np.intp)
    for t, groups in enumerate(sums):
        costs[t] = _distances(groups, pooled)
        orders[t] = match(costs[t])
        pooled = pooled + groups[orders[t]]
    return Outcome(orders, costs, 0.0, (float(totals(costs, orders).sum()),), converged=True)
