"""A start from a tree of mergers: rows are joined where a mixture of normals loses the least.

Two stages. Ward's criterion, which is the classification likelihood of equal spherical groups, joins rows into a few dozen groups
(SciPy's linkage); from there groups with covariances of their own are joined, each time the pair whose union lowers the classification
likelihood least (Banfield and Raftery 1993, Biometrics 49, 803-821; Fraley 1998, SIAM Journal on Scientific Computing 20, 270-281).
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from bayesgmm.em.m_step import moments_in
from bayesgmm.expectation import evaluate
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray, IntArray

MOST_ROWS = 2000  # the first stage needs all distances between rows
_GROUPS = 40
_SHRINK = 1.0  # rows' worth of the total covariance (over K^(2/D)) that every group's covariance is given: small groups have none


def hierarchical_labels(Z: FloatArray, n_components: int, weight: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return the group (N,) of each row of standardised data Z (N, D).

    Of more than 2000 rows a random part is joined, and the others go to the group they are most probably from.
    """
    if len(Z) <= max(n_components, 2):
        return np.arange(len(Z)) % n_components
    rows = np.arange(len(Z)) if len(Z) <= MOST_ROWS else np.sort(rng.choice(len(Z), MOST_ROWS, replace=False))
    n_groups = min(len(rows), max(_GROUPS, 5 * n_components))
    labels = fcluster(linkage(Z[rows], "ward"), n_groups, "maxclust") - 1
    groups = _Groups(Z[rows], labels, weight[rows], n_components)
    while groups.alive.sum() > n_components:
        groups.join_cheapest()
    labels = groups.labels()[labels]
    if len(rows) == len(Z):
        return labels
    log_joint, _ = evaluate(Chunk(Z), *groups.mixture(), joint=True)
    return log_joint.argmax(1)


class _Groups:
    """Groups of rows by their sums: weight n, mean and scatter each."""

    def __init__(self, Z: FloatArray, labels: IntArray, weight: FloatArray, n_components: int) -> None:
        M, D = int(labels.max()) + 1, Z.shape[1]
        self.n, self.mean, self.scatter, _ = moments_in(Z, weight[:, None] * np.eye(M)[labels])
        total = np.cov(Z.T, aweights=weight, ddof=0).reshape(D, D)
        self.shrink = _SHRINK * (total + 1e-9 * np.eye(D)) / n_components ** (2 / D)
        self.of = np.arange(M)
        self.alive = np.ones(M, dtype=bool)
        self.cost = self._cost(self.n, self.scatter)
        self.loss = np.full((M, M), np.inf)  # symmetric; infinite on the diagonal and for groups that are no more
        for i in range(1, M):
            self.loss[i, :i] = self.loss[:i, i] = self._losses(i, np.arange(i))

    def _cost(self, n: FloatArray, scatter: FloatArray) -> FloatArray:
        """Minus twice the classification log-likelihood of groups, up to what all partitions share."""
        return n * np.linalg.slogdet((scatter + self.shrink) / (n + _SHRINK)[:, None, None])[1]

    def _union(self, i: int, others: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        n = self.n[i] + self.n[others]
        apart = self.mean[others] - self.mean[i]
        between = (self.n[i] * self.n[others] / n)[:, None, None] * apart[:, :, None] * apart[:, None, :]
        mean = self.mean[i] + (self.n[others] / n)[:, None] * apart
        return n, mean, self.scatter[i] + self.scatter[others] + between

    def _losses(self, i: int, others: IntArray) -> FloatArray:
        n, _, scatter = self._union(i, others)
        return self._cost(n, scatter) - self.cost[i] - self.cost[others]

    def join_cheapest(self) -> None:
        """Join the two groups whose union costs least."""
        i, j = sorted(int(index) for index in np.unravel_index(self.loss.argmin(), self.loss.shape))
        n, mean, scatter = self._union(j, np.array([i]))
        self.n[i], self.mean[i], self.scatter[i], self.cost[i] = n[0], mean[0], scatter[0], self._cost(n, scatter)[0]
        self.of[self.of == j] = i
        self.alive[j] = False
        self.loss[j] = self.loss[:, j] = np.inf
        others = np.setdiff1d(np.flatnonzero(self.alive), i)
        self.loss[i, others] = self.loss[others, i] = self._losses(i, others)

    def labels(self) -> IntArray:
        """Return the group, numbered from zero, of each group that there was at first."""
        return (np.cumsum(self.alive) - 1)[self.of]

    def mixture(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the groups as a mixture: log weights, means, Cholesky factors."""
        n = self.n[self.alive]
        covariances = (self.scatter[self.alive] + self.shrink) / (n + _SHRINK)[:, None, None]
        return np.log(n / n.sum()), np.ascontiguousarray(self.mean[self.alive]), np.linalg.cholesky(covariances)
