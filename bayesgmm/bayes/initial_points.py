"""Where chains start: in modes of the posterior that EM's maxima and other partitions lead to, by the mass about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.cluster import kmeans_plusplus

from bayesgmm.bayes.laplace import Normal, climb, log_mass, normal_about
from bayesgmm.bayes.log_posterior import LogDensity, LogPosterior
from bayesgmm.labels import align
from bayesgmm.params import MixtureParams
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["InitialPoints", "initial_points"]

CREDIBLE = 5.0
"""Nats below the heaviest mode at which another still has posterior mass worth a chain: 1/150. A chain in a lower one would stand for a
quarter of the draws and for next to nothing of the posterior."""
_HOPELESS = 150.0
"""Nats below the highest start at which another is not looked at."""
_PARTITIONS = 36
_AFFORDED = 1e9
"""Multiplications for all climbs from other partitions: a fraction of a second."""
_STEPS_OF_A_CLIMB = 200
_FIRST_STEPS = 40


@dataclass(frozen=True, eq=False)
class InitialPoints:
    """Where chains start, and the modes that are worth a visit.

    Parameters
    ----------
    points : array of shape (chains, n_dim)
        Modes on the unconstrained space; chains that start in one mode stand together, the heaviest mode first.
    modes : tuple of Normal
        The credible modes with their curvature, the heaviest first; one only, or none where steps are expensive, if there is no choice.
    log_masses : array of shape (modes,)
        Laplace's approximations of the log of the mass about each, up to the posterior's constant.
    """

    points: FloatArray
    modes: tuple[Normal, ...]
    log_masses: FloatArray

    @property
    def n_started_in(self) -> int:
        """In how many modes chains start."""
        return len(np.unique(self.points, axis=0))


def initial_points(density: LogDensity, X: FloatArray, modes: Sequence[MixtureParams], chains: int, seed: int) -> InitialPoints:
    """Choose a mode for each chain to start in.

    Every maximum of the likelihood is followed to the posterior's own mode, whose mass is that of Laplace's approximation; so are other
    partitions of the rows, as many as time allows: what is low in likelihood may be broad, and EM keeps its highest maxima only. The first
    chain starts in the heaviest mode. If another mode is credible, the last chain starts in the heaviest of these, so that a posterior with
    several modes shows itself; the chains between choose by mass. Of rows in chunks, each step of a climb would be a pass over them, and
    heights alone decide.

    Parameters
    ----------
    density : LogDensity
    X : array of shape (N, D)
        The rows that modes are compared at.
    modes : sequence of MixtureParams
        Maxima of the likelihood, in the density's coordinates, the one to prefer among equals first.
    chains : int
    seed : int

    Returns
    -------
    InitialPoints

    Notes
    -----
    Laplace's approximation: Tierney and Kadane (1986), Journal of the American Statistical Association 81, 82-86.
    """
    rng = np.random.default_rng(seed)
    points = [density.space.unconstrain(mode) for mode in modes]
    known = density.known if isinstance(density, LogPosterior) else None
    if isinstance(density, LogPosterior) and density.can_draw_labels and known is None and density.space.fixed is None:
        points += _from_partitions(density, modes[0], points[0], rng)
    heights = np.array([density(point)[0] for point in points])
    heights[~np.isfinite(heights)] = -np.inf
    hopeful = [point for point, height in zip(points, heights, strict=True) if height >= heights.max() - _HOPELESS] or points[:1]
    tops = hopeful if density.is_expensive else [climb(density, point) for point in hopeful]
    # The best of the climbs to one mode comes first: on a narrow ridge others end far below it, and so would its mass.
    order_of_tops = np.argsort([-round(density(top)[0], 3) for top in tops], kind="stable")
    distinct: list[tuple[FloatArray, MixtureParams]] = []  # the modes, and their mixtures
    for m in order_of_tops:
        mixture = density.space.constrain(tops[m])
        if not any(mixture.resembles(other, X) for _, other in distinct):
            if distinct:  # with the labels of the first, so that what two modes have in common has one name
                at = Chunk(X, known=known)
                alike = None if density.space.fixed is None else density.space.fixed.is_alike
                mixture = mixture.permute(align(at, mixture, distinct[0][1].responsibilities(at), alike=alike))
            distinct.append((density.space.unconstrain(mixture) if distinct else tops[m], mixture))
    if len(distinct) == 1:
        return InitialPoints(np.tile(distinct[0][0], (chains, 1)), (), np.zeros(0))
    # With parameters that are fixed the curvature has directions that there are not.
    normals = [] if density.is_expensive or density.space.fixed is not None else [normal_about(density, top) for top, _ in distinct]
    masses = np.array([log_mass(density, normal) for normal in normals] if normals else [density(top)[0] for top, _ in distinct])
    order = [int(m) for m in np.argsort(-masses, kind="stable") if masses.max() - masses[m] < CREDIBLE]
    chosen = [0] * chains
    if chains > 1 and len(order) > 1:
        chosen = sorted([0, 1, *(int(i) for i in rng.choice(len(order), chains - 2, p=softmax(masses[order])))])
    starts = np.stack([distinct[order[i]][0] for i in chosen])
    return InitialPoints(starts, tuple(normals[m] for m in order) if normals else (), masses[order])


def _from_partitions(density: LogPosterior, best: MixtureParams, point: FloatArray, rng: np.random.Generator) -> list[FloatArray]:
    """Return points on the way from other partitions of the rows than EM's to modes: to that given their labels, and some steps from there.

    Heights given labels do not tell yet which are hopeless: a mode 90 nats above EM's begins 120 nats below it.
    """
    N, D, K = *density.X.shape, density.space.n_components
    cost = N * K * (1.5 * D * D + 20) * _STEPS_OF_A_CLIMB
    n = min(_PARTITIONS, int(_AFFORDED / cost)) if K > 1 else 0
    labels = best.responsibilities(density.X).argmax(-1)
    partitions = (_other_partition(density.X, labels, K, i, rng) for i in range(n))
    given_labels = (climb(density.with_labels(partition), point) for partition in partitions)
    return [climb(density, start, _FIRST_STEPS) for start in given_labels]


def _other_partition(X: FloatArray, labels: IntArray, K: int, i: int, rng: np.random.Generator) -> IntArray:
    """Return labels (N,): of the rows nearest to K scattered ones; or EM's with a clump set apart, or with a group's outer rows moved."""
    if i % 3 == 0:
        seeds, _ = kmeans_plusplus(X, K, random_state=int(rng.integers(2**31)))
        nearest: IntArray = np.square(X[:, None] - seeds).sum(-1).argmin(-1)
        return nearest
    if i % 3 == 1:
        return _with_clump(X, labels, K, rng)
    group, other = rng.permutation(K)[:2]
    mine = np.flatnonzero(labels == group)
    distance = np.square(X[mine] - X[mine].mean(0)).sum(1) if len(mine) else np.zeros(0)
    out = labels.copy()
    out[mine[distance > np.quantile(distance, rng.uniform(0.3, 0.9))] if len(mine) else mine] = other
    return out


def _with_clump(X: FloatArray, labels: IntArray, K: int, rng: np.random.Generator) -> IntArray:
    """Return labels (N,) with one group emptied but for some rows, nearest to one of them or farthest from it.

    A group of few rows may hold most of the mass though EM calls it degenerate and leaves it out of its maxima.
    """
    distance = np.square(X - X[rng.integers(len(X))]).sum(1) * rng.choice([-1, 1])
    group, other = rng.permutation(K)[:2]
    out = np.where(labels == group, other, labels)
    size = int(np.exp(rng.uniform(np.log(2), np.log(max(4, len(X) / 3)))))  # a small clump is as likely as a large one
    out[np.argsort(distance)[:size]] = group
    return out
