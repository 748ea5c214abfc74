"""The evidence of a mixture with a known number of components, by bridge sampling from the draws of its posterior.

Meng and Wong (1996), Statistica Sinica 6, 831-860; for mixtures Frühwirth-Schnatter (2004), Econometrics Journal 7, 143-167. A normal
distribution is fitted to half of the relabelled draws, and the other half bridges from it to the posterior; then the halves change
places. A posterior has K! copies of everything, one for each order of the components; the normal distribution is given as many, so
that no draw lies where only one of the two has mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse.csgraph import connected_components
from scipy.special import gammaln, logsumexp

from bayesgmm.bayes.draws import Evidence
from bayesgmm.bayes.log_posterior import LogDensity
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["bridge"]

_ROUNDS = 1000
_ENOUGH = 1e-10
_MOST_PERMUTATIONS = 1000  # those of six components that all overlap are 720
_FAR = 30.0
"""Nats below its own copy at which another copy of the normal distribution is no longer seen by any draw."""


def bridge(density: LogDensity, q: FloatArray, rng: np.random.Generator) -> Evidence:
    """Estimate the integral of exp(density).

    Parameters
    ----------
    density : LogDensity
        Normalised but for the evidence: the product of a proper prior and the likelihood.
    q : array of shape (chains, draws, n)
        Draws, relabelled.
    rng : Generator

    Returns
    -------
    Evidence

    Raises
    ------
    InvalidDataError
        If so many components overlap that their orders cannot all be looked at.
    """
    halves = [q[:, : q.shape[1] // 2].reshape(-1, q.shape[-1]), q[:, q.shape[1] // 2 :].reshape(-1, q.shape[-1])]
    effective = [_effective(half) for half in (q[:, : q.shape[1] // 2], q[:, q.shape[1] // 2 :])]
    found = [_half(density, halves[1 - h], halves[h], effective[h], rng) for h in range(2)]
    logs, variances = np.array(found).T
    # Halves share the draws, and what either says of its own error is not all: their difference belongs to it.
    error = np.sqrt(variances.mean() / 2 + np.square(logs[0] - logs[1]) / 4)
    return Evidence(float(logsumexp(logs) - np.log(2)), float(error))


def _half(
    density: LogDensity, fitted: FloatArray, q: FloatArray, effective: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the log of the evidence, and the variance of that, from draws q (S, n) and a distribution fitted to others."""
    around = _Copies.of(fitted, density.space)
    x = around.draw(len(q), rng)
    # What each kind of draws has under both: the posterior, up to the evidence, over the copies of the normal distribution.
    at_q, at_x = (density.at_each(places)[0] - around.log_density(places) for places in (q, x))
    at_x = np.where(np.isfinite(at_x), at_x, -np.inf)
    n = effective + len(x)
    shares = effective / n, len(x) / n
    start = np.median(at_q)
    value = 0.0
    for _ in range(_ROUNDS):
        top = logsumexp(at_x - start - np.logaddexp(np.log(shares[0]) + at_x - start, np.log(shares[1]) + value)) - np.log(len(x))
        low = logsumexp(-np.logaddexp(np.log(shares[0]) + at_q - start, np.log(shares[1]) + value)) - np.log(len(q))
        before, value = value, float(top - low)
        if abs(value - before) < _ENOUGH:
            break
    f_x = np.exp(at_x - start - np.logaddexp(np.log(shares[0]) + at_x - start, np.log(shares[1]) + value))
    f_q = np.exp(-np.logaddexp(np.log(shares[0]) + at_q - start, np.log(shares[1]) + value))
    variance = np.var(f_x) / np.mean(f_x) ** 2 / len(x) + np.var(f_q) / np.mean(f_q) ** 2 / effective
    return float(start + value), float(variance)


def _effective(q: FloatArray) -> float:
    """Return the median of the effective numbers of draws (chains, draws, n), as they count in a bridge."""
    from arviz_stats.base import array_stats

    return float(np.clip(np.nanmedian(array_stats.ess(q, method="mean", chain_axis=0, draw_axis=1)), 1.0, q[..., 0].size))


@dataclass(frozen=True, eq=False)
class _Copies:
    """A normal distribution on the unconstrained space, once for each order of the components."""

    space: Space
    center: FloatArray
    factor: FloatArray
    orders: IntArray
    """(M, K): those in which some draw sees a copy."""

    @classmethod
    def of(cls, q: FloatArray, space: Space) -> _Copies:
        """Return the one with the moments of draws (S, n)."""
        center = q.mean(0)
        covariance = np.atleast_2d(np.cov(q.T)) + 1e-10 * np.eye(len(center))
        K = space.n_components
        one = cls(space, center, np.linalg.cholesky(covariance), np.arange(K)[None])
        near = np.eye(K, dtype=bool)
        own = one._log_normal(q)
        for j in range(K):
            for k in range(j):
                order = np.arange(K)
                order[[j, k]] = k, j
                near[j, k] = near[k, j] = bool((one._log_normal(one._renamed(q, order)) > own - _FAR).any())
        parts = connected_components(near, directed=False)[1]
        groups = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        orders = []
        for chosen in product(*(permutations(group) for group in groups)):
            order = np.arange(K)
            for group, permuted in zip(groups, chosen, strict=True):
                order[group] = permuted
            orders.append(order)
            if len(orders) > _MOST_PERMUTATIONS:
                raise InvalidDataError(
                    f"log_evidence: {max(map(len, groups))} components overlap, and their orders are too many to look at: take fewer "
                    "components, or n_components='auto'"
                )
        return cls(space, center, one.factor, np.array(orders))

    def draw(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Return draws from one copy: to what is asked, which is the same in all, they are draws from all."""
        return self.center + rng.standard_normal((size, len(self.center))) @ self.factor.T

    def log_density(self, q: FloatArray) -> FloatArray:
        """Return the log-density of all copies together at places (S, n)."""
        each = [self._log_normal(q if (order == np.arange(len(order))).all() else self._renamed(q, order)) for order in self.orders]
        return np.asarray(logsumexp(each, axis=0) - gammaln(self.space.n_components + 1.0))

    def _renamed(self, q: FloatArray, order: IntArray) -> FloatArray:
        """Return places with the components in another order: the volume stays as it is."""
        return self.space.reordered(q, order)

    def _log_normal(self, q: FloatArray) -> FloatArray:
        z = solve_triangular(self.factor, (q - self.center).T, lower=True)
        log_det = np.log(np.diag(self.factor)).sum()
        return np.asarray(-0.5 * np.square(z).sum(0) - log_det - 0.5 * len(self.center) * np.log(2 * np.pi))
