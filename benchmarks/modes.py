"""A posterior from all of its modes that many scattered starts lead to: a reference that rests on no chain of the fit that it judges.

Scattered starts (rows split by random planes, small clumps set apart, nearest of random rows, draws of the prior) are climbed from to the
posterior's modes, and so are those that the package finds itself, from another seed and with more effort. About these, importance sampling
from a mixture of t distributions that is fitted to its own draws for some rounds (Cappe, Douc, Guillin, Marin and Robert 2008, Statistics
and Computing 18, 447-459) gives the posterior with every mode at its weight, and says itself whether it can be relied on (Pareto k). Where
it cannot, because modes are far from normal, chains that start in all of these modes, and jump between them, are run for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from scipy.special import gammaln, logsumexp, softmax

import bayesgmm as bg
from bayesgmm.bayes.draws import SamplerSettings
from bayesgmm.bayes.hmc import sample_hmc
from bayesgmm.bayes.initial_points import InitialPoints, initial_points
from bayesgmm.bayes.laplace import Normal, climb, log_densities, log_mass, normal_about, pareto_smoothed, resample
from bayesgmm.bayes.log_posterior import LogPosterior
from bayesgmm.bayes.unconstrained_space import Space
from bayesgmm.covariance import family
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.frame import total_moments
from bayesgmm.kernels.threads import libraries_on_one_thread
from bayesgmm.params import MixtureParams
from bayesgmm.priors import Priors
from bayesgmm.priors.model import draw_mixtures
from bayesgmm.rows import MemoryRows

STARTS = 48
_HOPELESS = 60.0  # nats below the highest start, after some steps
_FIRST_STEPS = 50
_MOST_MODES = 12
_WORTH = 9.0  # nats below the heaviest mode: one in eight thousand
_DRAWS, _ROUNDS = 4000, 4
_FREEDOM = 5.0
_LEAST_SHARE = 0.02
RELIABLE_K, RELIABLE_ESS = 0.6, 300.0
_CHAINS, _LONG, _TUNE = 6, 1500, 600


@dataclass(frozen=True)
class Reference:
    """Draws of the posterior, and what they come from."""

    draws: MixtureParams
    how: str
    n_modes: int


@libraries_on_one_thread()
def reference(X: np.ndarray, K: int, seed: int) -> Reference:
    """Return the posterior of full covariances with all priors at their defaults, in the units of X."""
    rng, kind = np.random.default_rng([2028, seed]), family("full")
    rows = MemoryRows(X)
    own = Priors().resolve(rows, K, kind).standardised(*total_moments(rows))
    space = Space(own.seen_in(own.frame), kind)
    density = LogPosterior(own.frame.standardise(X), space)
    optima = [
        own.frame.params_in(mixture) for _, mixture in bg.GaussianMixture(K, effort=2.0, random_state=100 + seed).fit(X).optima_
    ]
    theirs = [density.space.constrain(mode.center) for mode in initial_points(density, density.X, optima, 4, seed).modes]
    modes, masses = _modes(density, [density.space.unconstrain(mixture) for mixture in (*optima, *theirs)], rng)
    q, ess, k = _importance(density, modes, masses, rng)
    if k < RELIABLE_K and ess > RELIABLE_ESS:
        return Reference(own.frame.params_out(space.constrain(q)), f"importance sampling, k {k:.2f}", len(modes))
    points = np.stack([modes[i % len(modes)].center for i in range(_CHAINS)])
    settings = SamplerSettings(draws=_LONG, tune=_TUNE, chains=_CHAINS, cores=None, seed=seed, progressbar=False)
    draws = sample_hmc(density, InitialPoints(points, tuple(modes) if len(modes) > 1 else (), masses), settings).params
    return Reference(own.frame.params_out(draws.reshape(-1)[::3]), f"long run, as k {k:.2f}", len(modes))


def _modes(density: LogPosterior, known: list[np.ndarray], rng: np.random.Generator) -> tuple[list[Normal], np.ndarray]:
    """Return the modes worth a visit, the heaviest first, and the logs of their masses."""
    found: list[tuple[float, np.ndarray, MixtureParams]] = []
    starts = [*known, *_starts(density, rng)]
    heights = np.array([density(start)[0] for start in starts])
    for i in np.argsort(-heights):
        if not heights.max() - heights[i] < _HOPELESS:
            continue
        top = climb(density, starts[i])
        height = density(top)[0]
        mixture = density.space.constrain(top)
        if np.isfinite(height) and not any(abs(height - h) < 0.5 and mixture.resembles(m, density.X) for h, _, m in found):
            found.append((height, top, mixture))
    found.sort(key=lambda one: -one[0])
    normals = []
    for _, top, _ in found[: 2 * _MOST_MODES]:
        try:
            normals.append(normal_about(density, top))
        except InvalidDataError:  # no finite curvature
            continue
    masses = np.array([log_mass(density, normal) for normal in normals])
    order = [i for i in np.argsort(-masses) if masses.max() - masses[i] < _WORTH][:_MOST_MODES]
    return [normals[i] for i in order], masses[order]


def _starts(density: LogPosterior, rng: np.random.Generator) -> Iterator[np.ndarray]:
    space = density.space
    prior = space.unconstrain(draw_mixtures(space.priors, space.family, STARTS, rng))
    for i in range(STARTS):
        if i % 8 == 7:
            yield climb(density, prior[i], _FIRST_STEPS)
            continue
        labels = (_nearest, _split, _clump)[i % 3](density.X, space.n_components, rng)
        yield climb(density, climb(density.with_labels(labels), np.zeros(space.n_dim)), _FIRST_STEPS)


def _nearest(X: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    seeds = X[rng.choice(len(X), K, replace=False)]
    return np.square(X[:, None] - seeds).sum(-1).argmin(1)


def _split(X: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Split by planes at random quantiles along random directions."""
    labels = np.zeros(len(X), dtype=int)
    for k in range(1, K):
        own = np.flatnonzero(labels == rng.integers(0, k))
        if len(own) > 3:
            along = X[own] @ rng.normal(size=X.shape[1])
            labels[own[along > np.quantile(along, rng.uniform(0.05, 0.95))]] = k
    return labels


def _clump(X: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Set some rows about a random one apart, or the rows farthest from it; the rest as by planes."""
    labels = _split(X, K - 1, rng) if K > 2 else np.zeros(len(X), dtype=int)
    distance = np.square(X - X[rng.integers(len(X))]).sum(1) * rng.choice([-1, 1])
    labels[np.argsort(distance)[: int(rng.integers(2, max(4, len(X) // 3)))]] = K - 1
    return labels


@dataclass(frozen=True)
class _Mixture:
    """t distributions."""

    log_weights: np.ndarray
    parts: list[Normal]

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        which = rng.choice(len(self.parts), n, p=np.exp(self.log_weights))
        z = rng.standard_normal((n, len(self.parts[0].center))) / np.sqrt(rng.chisquare(_FREEDOM, (n, 1)) / _FREEDOM)
        return np.stack([self.parts[m].center + self.parts[m].factor @ row for m, row in zip(which, z, strict=True)])

    def log_parts(self, q: np.ndarray) -> np.ndarray:
        """Return log weighted densities (S, M)."""
        n = q.shape[1]
        constant = gammaln((_FREEDOM + n) / 2) - gammaln(_FREEDOM / 2) - 0.5 * n * np.log(_FREEDOM * np.pi)
        out = []
        for weight, part in zip(self.log_weights, self.parts, strict=True):
            z = np.linalg.solve(part.factor, (q - part.center).T)
            log_det = np.linalg.slogdet(part.factor)[1]
            out.append(weight + constant - log_det - 0.5 * (_FREEDOM + n) * np.log1p(np.square(z).sum(0) / _FREEDOM))
        return np.stack(out, axis=1)


def _importance(
    density: LogPosterior, modes: list[Normal], masses: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:
    """Return draws, resampled, their effective number and their Pareto k."""
    shares = np.maximum(softmax(masses), _LEAST_SHARE)
    proposal = _Mixture(np.log(shares / shares.sum()), modes)
    for turn in range(_ROUNDS):
        last = turn == _ROUNDS - 1
        q = proposal.draw(_DRAWS * (2 if last else 1), rng)
        # The posterior knows no labels: all names of the components count as proposed.
        of_parts = np.stack([proposal.log_parts(renamed) for renamed in _renamings(density.space, q)])
        log_q = logsumexp(of_parts, axis=(0, 2)) - np.log(len(of_parts))
        smoothed = pareto_smoothed(log_densities(density, q) - log_q)
        if not last:
            proposal = _refitted(proposal, q, smoothed.weights, of_parts[0])
    return q[resample(smoothed.weights, _DRAWS // 2, rng)], smoothed.ess, smoothed.pareto_k


def _renamings(space: Space, q: np.ndarray) -> Iterator[np.ndarray]:
    mixtures = space.constrain(q)
    for order in permutations(range(space.n_components)):
        yield q if order == tuple(sorted(order)) else space.unconstrain(mixtures.permute(np.array(order)))


def _refitted(proposal: _Mixture, q: np.ndarray, weights: np.ndarray, log_parts: np.ndarray) -> _Mixture:
    """Return the mixture with each part's weight, center and covariance those of the weighted draws that are its own."""
    mine = weights[:, None] * softmax(log_parts, axis=1)
    shares, parts = mine.sum(0), []
    for m, part in enumerate(proposal.parts):
        w = mine[:, m] / max(shares[m], 1e-300)
        old = part.factor @ part.factor.T
        effective = 1 / max(np.square(w).sum(), 1e-300)
        trust = effective / (effective + 2.0 * q.shape[1])
        center = (1 - trust) * part.center + trust * (w @ q) if effective > 1 else part.center
        spread = np.einsum("s,sd,se->de", w, q - center, q - center)
        parts.append(replace(part, center=center, factor=np.linalg.cholesky((1 - trust) * old + trust * spread)))
    shares = np.maximum(shares, _LEAST_SHARE)
    return _Mixture(np.log(shares / shares.sum()), parts)
