"""Steps from one mixture to others that EM would never reach: a component put elsewhere, split, added or taken away.

A component is taken away and put where the rows are badly described (random swaps: Zhao, Hautamaki and Franti 2012, Pattern Recognition
Letters 33, 1120-1126), or split in two while another goes (Ueda, Nakano, Ghahramani and Hinton 2000, Neural Computation 12, 2109-2128), in
a random direction or where its own rows show two groups, or reduced to the core of its rows.
Adding one, or taking one away, leads from the fit of one number of components to the next (Vlassis and Likas 2002, Neural Processing
Letters 15, 77-87).
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from bayesgmm.em.starts import Sample, grouped, groups_in, telling_projections
from bayesgmm.em.steps import Collapse, Mixture, Settings, mixture_of
from bayesgmm.expectation import evaluate
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["moved", "neighbours"]

_SHARES = (0.5, 0.2, 0.15, 0.15)
"""How often a component is put elsewhere, split in a random direction, divided where its rows show two groups, or reduced to its core."""
_APART = 0.8
"""Half the distance, in sds, at which the halves of a component are put."""
_NEIGHBOURS = 4
"""Mixtures of one component more or less that are made of one."""


def moved(mixture: Mixture, n: int, sample: Sample, settings: Settings, rng: np.random.Generator) -> list[Mixture]:
    """Return up to ``n`` mixtures that a move away from one has made."""
    odd = _oddest(mixture, sample, settings)
    found = []
    for _ in range(n):
        with suppress(Collapse):
            move = rng.choice(len(_SHARES), p=_SHARES)
            found.append((_swapped, _split, _divided, _cored)[move](mixture, sample, odd, settings, rng))
    return found


def neighbours(mixture: Mixture, n_components: int, sample: Sample, settings: Settings, rng: np.random.Generator) -> list[Mixture]:
    """Return mixtures of K components near one of K, K - 1 or K + 1; none for any other number."""
    K = len(mixture.means)
    found = []
    with suppress(Collapse):
        if n_components == K:
            weights = np.exp(mixture.log_weights[:K])
            return [mixture_of(weights * sample.total, mixture.means, mixture.covariances, settings)]
        if n_components - 1 == K:
            odd = _oddest(mixture, sample, settings)
            found = [_added(mixture, i, sample, odd, settings, rng) for i in range(_NEIGHBOURS)]
        if n_components + 1 == K:
            lightest = np.argsort(mixture.log_weights[:K], kind="stable")[:_NEIGHBOURS]
            found = [_without(mixture, int(k), sample, settings) for k in lightest]
    return found


def _oddest(mixture: Mixture, sample: Sample, settings: Settings) -> IntArray:
    """Return the numbers of the rows, the one that is described worst first."""
    K = len(mixture.means)
    plain = len(mixture.log_weights) == K
    arrays = mixture if plain else settings.arrays(mixture)
    _, log_density = evaluate(sample.X, *arrays, diagonal=not np.tril(mixture.scale_tril, -1).any())
    return np.argsort(log_density, kind="stable")


def _an_odd_row(odd: IntArray, rng: np.random.Generator) -> int:
    """Return any row, or one that is badly described."""
    n = len(odd)
    return int(rng.integers(n)) if rng.random() < 0.5 else int(odd[int(n * rng.random() ** 3)])


def _weights(mixture: Mixture) -> FloatArray:
    weights = np.exp(mixture.log_weights[: len(mixture.means)])
    return weights / weights.sum()


def _within(weights: FloatArray, covariances: FloatArray) -> FloatArray:
    return np.einsum("k,kij->ij", weights, covariances)


def _swapped(mixture: Mixture, sample: Sample, odd: IntArray, settings: Settings, rng: np.random.Generator) -> Mixture:
    """Take a component away, light ones more often, and put one at a row, one that is badly described more often."""
    weights, covariances, means = _weights(mixture), mixture.covariances, mixture.means.copy()
    K = len(means)
    light = 1.0 / np.maximum(weights, 1e-12)
    j = rng.integers(K) if rng.random() < 0.5 else rng.choice(K, p=light / light.sum())
    covariances[j] = _within(weights, covariances)
    means[j], weights[j] = sample.X[_an_odd_row(odd, rng)], 1.0 / K
    return mixture_of(weights * sample.total, means, covariances, settings)


def _split(mixture: Mixture, sample: Sample, odd: IntArray, settings: Settings, rng: np.random.Generator) -> Mixture:
    """Split a component in a random direction, heavy ones more often, and give the place of another, light ones more often, to a half."""
    weights, covariances, means = _weights(mixture), mixture.covariances, mixture.means.copy()
    a = rng.choice(len(means), p=weights)
    light = 1.0 / np.maximum(weights, 1e-12)
    light[a] = 0.0
    b = rng.choice(len(means), p=light / light.sum())
    along = _some_way(mixture.scale_tril[a], rng)
    means[b], means[a] = means[a] - along, means[a] + along
    covariances[a] = covariances[b] = covariances[a] - np.outer(along, along)
    weights[a] = weights[b] = weights[a] / 2
    return mixture_of(weights * sample.total, means, covariances, settings)


def _some_way(scale_tril: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a vector in a random direction of a component, as long as the halves lie from the middle."""
    u = rng.normal(size=len(scale_tril))
    return _APART * scale_tril @ (u / np.linalg.norm(u))


def _divided(mixture: Mixture, sample: Sample, odd: IntArray, settings: Settings, rng: np.random.Generator) -> Mixture:
    """Divide a component where a projection of its own rows shows two groups, and give the place of another to one of them."""
    weights, covariances, means = _weights(mixture), mixture.covariances, mixture.means.copy()
    a = int(rng.choice(len(means), p=weights))
    rows = _rows_of(mixture, a, sample, settings)
    if len(rows) < 4 * (1 + means.shape[1]):
        return _split(mixture, sample, odd, settings, rng)
    X, weight = sample.X[rows], sample.weight[rows]
    projections = telling_projections(
        X, np.average(X, axis=0, weights=weight), np.cov(X.T, aweights=weight, bias=True).reshape(X.shape[1], -1)
    )
    labels = groups_in(projections[:, [rng.integers(projections.shape[1])]], weight, 2, settings, rng)
    halves = grouped(X, weight, labels, 2, settings)
    light = 1.0 / np.maximum(weights, 1e-12)
    light[a] = 0.0
    b = int(rng.choice(len(means), p=light / light.sum()))
    shares = weights[a] * np.exp(halves.log_weights)
    for k, place in enumerate((a, b)):
        means[place], covariances[place], weights[place] = halves.means[k], halves.covariances[k], shares[k]
    return mixture_of(weights * sample.total, means, covariances, settings)


def _cored(mixture: Mixture, sample: Sample, odd: IntArray, settings: Settings, rng: np.random.Generator) -> Mixture:
    """Reduce a component to the half of its rows that lie nearest to its middle: far rows that hold it wide are let go.

    A step of concentration (Rousseeuw and Van Driessen 1999, Technometrics 41, 212-223).
    """
    weights, covariances, means = _weights(mixture), mixture.covariances, mixture.means.copy()
    k = int(rng.integers(len(means)))
    rows = _rows_of(mixture, k, sample, settings)
    kept = max(len(rows) // 2, 2 * (1 + means.shape[1]))
    if len(rows) <= kept:
        return _swapped(mixture, sample, odd, settings, rng)
    z = np.linalg.solve(mixture.scale_tril[k], (sample.X[rows] - means[k]).T)
    core = rows[np.argsort((z**2).sum(0), kind="stable")[:kept]]
    X, weight = sample.X[core], sample.weight[core]
    means[k] = np.average(X, axis=0, weights=weight)
    covariances[k] = np.cov(X.T, aweights=weight, bias=True).reshape(X.shape[1], -1)
    return mixture_of(weights * sample.total, means, covariances, settings)


def _rows_of(mixture: Mixture, k: int, sample: Sample, settings: Settings) -> IntArray:
    """Return the numbers of the rows that a component is the most probable for."""
    plain = len(mixture.log_weights) == len(mixture.means)
    joint, _ = evaluate(sample.X, *(mixture if plain else settings.arrays(mixture)), joint=True)
    return np.flatnonzero(joint.argmax(1) == k)


def _added(mixture: Mixture, i: int, sample: Sample, odd: IntArray, settings: Settings, rng: np.random.Generator) -> Mixture:
    """Add a component: half of the heaviest, or of any, or one at a row."""
    weights, covariances = _weights(mixture), mixture.covariances
    if i < 2:
        a = int(weights.argmax()) if i == 0 else int(rng.choice(len(weights), p=weights))
        along = _some_way(mixture.scale_tril[a], rng)
        means = np.vstack([mixture.means, mixture.means[a] - along])
        means[a] += along
        half = covariances[a] - np.outer(along, along)
        covariances = np.concatenate([covariances, half[None]])
        covariances[a] = half
        shares = np.append(weights, weights[a] / 2)
        shares[a] /= 2
    else:
        means = np.vstack([mixture.means, sample.X[_an_odd_row(odd, rng)]])
        covariances = np.concatenate([covariances, _within(weights, covariances)[None]])
        shares = np.append(weights, 1.0 / len(means))
    return mixture_of(shares * sample.total, means, covariances, settings)


def _without(mixture: Mixture, k: int, sample: Sample, settings: Settings) -> Mixture:
    """Take a component away."""
    weights = np.delete(_weights(mixture), k)
    means, covariances = np.delete(mixture.means, k, axis=0), np.delete(mixture.covariances, k, axis=0)
    return mixture_of(weights / weights.sum() * sample.total, means, covariances, settings)
