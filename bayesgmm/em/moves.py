"""Steps from one mixture to others that EM would never reach: a component put elsewhere, split, added or taken away.

A component is taken away and put where the rows are badly described (random swaps: Zhao, Hautamaki and Franti 2012, Pattern Recognition
Letters 33, 1120-1126), or split in two while another goes (Ueda, Nakano, Ghahramani and Hinton 2000, Neural Computation 12, 2109-2128), in
a random direction or where its own rows show two groups, or reduced to the core of its rows.
Adding one, or taking one away, leads from the fit of one number of components to the next (Vlassis and Likas 2002, Neural Processing
Letters 15, 77-87).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesgmm.em.initialization import Sample, grouped, groups_in, row_moments, telling_projections
from bayesgmm.em.m_step import Collapse, Mixture, Settings, mixture_of
from bayesgmm.expectation import evaluate
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Moves", "neighbours"]

_SHARES = (0.55, 0.25, 0.1, 0.1)
"""How often a component is put elsewhere, split in a random direction, divided where its rows show two groups, or reduced to its core."""
_MANY, _SHARES_OF_MANY = 10, (0.3, 0.1, 0.45, 0.15)
"""The same from so many columns on: random directions find nothing there, and looking for others costs little beside EM."""
_APART = 0.8
"""Half the distance, in sds, at which the halves of a component are put."""
_NEIGHBOURS = 4
"""Mixtures of one component more or less that are made of one."""


@dataclass(frozen=True, eq=False)
class Moves:
    """Where moves away from one mixture lead.

    Parameters
    ----------
    mixture : Mixture
    sample : Sample
    settings : Settings
    """

    mixture: Mixture
    sample: Sample
    settings: Settings

    def some(self, n: int, rng: np.random.Generator) -> list[Mixture]:
        """Return up to ``n`` mixtures that a move has made."""
        moves = (self._swapped, self._split, self._divided, self._cored)
        shares = _SHARES if self.sample.X.shape[1] < _MANY else _SHARES_OF_MANY
        found = []
        for _ in range(n):
            with suppress(Collapse):
                found.append(moves[rng.choice(len(moves), p=shares)](rng))
        return found

    def added(self, i: int, rng: np.random.Generator) -> Mixture:
        """Return the mixture with one component more: half of the heaviest (i is 0), or of any (1), or one at a row."""
        weights, covariances, means = self._copies()
        if i < 2:
            a = int(weights.argmax()) if i == 0 else int(rng.choice(len(weights), p=weights))
            means[a], mean, covariance = self._halves(a, rng)
            covariances[a], weights[a] = covariance, weights[a] / 2
            weight = weights[a]
        else:
            mean, covariance, weight = self.sample.X[self._an_odd_row(rng)], self._within, 1.0 / (1 + len(means))
        return self._made(np.append(weights, weight), np.vstack([means, mean]), np.concatenate([covariances, covariance[None]]))

    def without(self, k: int) -> Mixture:
        """Return the mixture without a component."""
        means, covariances = np.delete(self.mixture.means, k, axis=0), np.delete(self.mixture.covariances, k, axis=0)
        return self._made(np.delete(self.mixture.weights, k), means, covariances)

    def _swapped(self, rng: np.random.Generator) -> Mixture:
        """Take a component away, light ones more often, and put one at a row, one that is badly described more often."""
        weights, covariances, means = self._copies()
        K = len(means)
        j = rng.integers(K) if rng.random() < 0.5 else self._a_light_one(rng)
        covariances[j] = self._within
        means[j], weights[j] = self.sample.X[self._an_odd_row(rng)], 1.0 / K
        return self._made(weights, means, covariances)

    def _split(self, rng: np.random.Generator) -> Mixture:
        """Split a component in a random direction, heavy ones more often, and give the place of another to a half."""
        weights, covariances, means = self._copies()
        a = int(rng.choice(len(means), p=weights))
        b = self._a_light_one(rng, a)
        means[a], means[b], covariances[[a, b]] = self._halves(a, rng)
        weights[a] = weights[b] = weights[a] / 2
        return self._made(weights, means, covariances)

    def _divided(self, rng: np.random.Generator) -> Mixture:
        """Divide a component where a projection of its own rows shows two groups, and give the place of another to one of them."""
        weights, covariances, means = self._copies()
        a = int(rng.choice(len(means), p=weights))
        rows = self._rows_of(a)
        if len(rows) < 4 * (1 + means.shape[1]):
            return self._split(rng)
        weight, projections = self.sample.weight[rows], self._projections_of(a, rows)
        one = projections[:, [rng.integers(projections.shape[1])]]
        labels = groups_in(one, weight, 2, self.settings, rng)
        halves = grouped(self.sample.X[rows], weight, labels, 2, self.settings)
        shares = weights[a] * np.exp(halves.log_weights)
        for k, place in enumerate((a, self._a_light_one(rng, a))):
            means[place], covariances[place], weights[place] = halves.means[k], halves.covariances[k], shares[k]
        return self._made(weights, means, covariances)

    def _cored(self, rng: np.random.Generator) -> Mixture:
        """Reduce a component to the half of its rows that lie nearest to its middle: far rows that hold it wide are let go.

        A step of concentration (Rousseeuw and Van Driessen 1999, Technometrics 41, 212-223).
        """
        weights, covariances, means = self._copies()
        k = int(rng.integers(len(means)))
        rows = self._rows_of(k)
        kept = max(len(rows) // 2, 2 * (1 + means.shape[1]))
        if len(rows) <= kept:
            return self._swapped(rng)
        z = np.linalg.solve(self.mixture.scale_tril[k], (self.sample.X[rows] - means[k]).T)
        core = rows[np.argsort((z**2).sum(0), kind="stable")[:kept]]
        means[k], covariances[k] = row_moments(self.sample.X[core], self.sample.weight[core])
        return self._made(weights, means, covariances)

    @cached_property
    def _within(self) -> FloatArray:
        return np.einsum("k,kij->ij", self.mixture.weights, self.mixture.covariances)

    @cached_property
    def _of_rows(self) -> tuple[FloatArray, FloatArray]:
        """Log joint densities (n, K) and log-densities (n,) of the rows."""
        plain = len(self.mixture.log_weights) == len(self.mixture.means)
        arrays = self.mixture if plain else self.settings.arrays(self.mixture)
        return evaluate(Chunk(self.sample.X), *arrays, diagonal=not np.tril(self.mixture.scale_tril, -1).any(), joint=True)

    @cached_property
    def _odd(self) -> IntArray:
        """Numbers of the rows, the one that is described worst first."""
        return np.argsort(self._of_rows[1], kind="stable")

    @cached_property
    def _known_projections(self) -> dict[int, FloatArray]:
        return {}

    def _projections_of(self, k: int, rows: IntArray) -> FloatArray:
        if k not in self._known_projections:
            X = self.sample.X[rows]
            self._known_projections[k] = telling_projections(X, *row_moments(X, self.sample.weight[rows]))
        return self._known_projections[k]

    def _rows_of(self, k: int) -> IntArray:
        """Numbers of the rows that a component is the most probable for."""
        return np.flatnonzero(self._of_rows[0].argmax(1) == k)

    def _an_odd_row(self, rng: np.random.Generator) -> int:
        """Return any row, or one that is badly described."""
        n = len(self._odd)
        return int(rng.integers(n)) if rng.random() < 0.5 else int(self._odd[int(n * rng.random() ** 3)])

    def _a_light_one(self, rng: np.random.Generator, other_than: int | None = None) -> int:
        light = 1.0 / np.maximum(self.mixture.weights, 1e-12)
        if other_than is not None:
            light[other_than] = 0.0
        return int(rng.choice(len(light), p=light / light.sum()))

    def _halves(self, k: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the means of the halves of a component that is split in a random direction, and the covariance of both."""
        u = rng.normal(size=self.sample.X.shape[1])
        along = _APART * self.mixture.scale_tril[k] @ (u / np.linalg.norm(u))
        mean = self.mixture.means[k]
        return mean + along, mean - along, self.mixture.covariances[k] - np.outer(along, along)

    def _copies(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        return self.mixture.weights, self.mixture.covariances, self.mixture.means.copy()

    def _made(self, weights: FloatArray, means: FloatArray, covariances: FloatArray) -> Mixture:
        return mixture_of(weights / weights.sum() * self.sample.rows.total, means, covariances, self.settings)


def neighbours(mixture: Mixture, n_components: int, sample: Sample, settings: Settings, rng: np.random.Generator) -> list[Mixture]:
    """Return mixtures of K components near one of K, K - 1 or K + 1; none for any other number."""
    more, moves = n_components - len(mixture.means), Moves(mixture, sample, settings)
    with suppress(Collapse):
        if more == 0:
            return [mixture_of(mixture.weights * sample.rows.total, mixture.means, mixture.covariances, settings)]
        if more == 1:
            return [moves.added(i, rng) for i in range(_NEIGHBOURS)]
        if more == -1:
            return [moves.without(int(k)) for k in np.argsort(mixture.weights, kind="stable")[:_NEIGHBOURS]]
    return []
