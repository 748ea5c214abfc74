"""Credible sets of partitions: a ball around one partition, and a core of points whose grouping as a whole is probable."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bayesgmm.partitions import _kernels
from bayesgmm.partitions.draws import Draws, LabelDraws, by_size, check_count, check_draws, check_level, check_partition
from bayesgmm.partitions.estimates import PartitionEstimate
from bayesgmm.partitions.losses import draw_losses, metric_named
from bayesgmm.text import counted
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["Bound", "CertainCore", "CredibleBall", "certain_core", "credible_ball"]

SAME = 1e-10
"""Distances that differ by less are the same: of N points two differ by far more, or not at all."""
COMPANIONS = 64
"""Points beside which each is held to see how certain it is, when starts are chosen."""


@dataclass(frozen=True, eq=False)
class Bound:
    """Partitions at the edge of a credible ball, all that tie.

    Attributes
    ----------
    labels : int array of shape (B, N)
        Different partitions, groups numbered by decreasing size; the first is the one that most draws are, and the earliest of these.
    n_draws : int array of shape (B,)
        How many draws are each.
    distance : float
        Their distance from the center.
    n_groups : int array of shape (B,)

    Examples
    --------
    >>> draws = [[0, 0, 1, 1]] * 18 + [[0, 0, 0, 1], [0, 1, 1, 1]]
    >>> credible_ball([0, 0, 1, 1], draws).horizontal.n_draws
    array([1, 1])
    """

    labels: IntArray
    n_draws: IntArray
    distance: float
    n_groups: IntArray


@dataclass(frozen=True, eq=False)
class CredibleBall:
    """The draws closest to a partition that hold at least so much of the posterior; ``print`` it for the result in words.

    Attributes
    ----------
    center : int array of shape (N,)
    loss : str
        The distance, "vi" or "binder".
    level : float
        Probability asked for.
    radius : float
        Least distance within which at least the share ``level`` of the draws lies.
    share : float
        Share of the draws within the radius, ties at the radius included, and so at least ``level``.
    distances : array of shape (T,)
        Of every draw from the center.
    horizontal : Bound
        The farthest partitions in the ball.
    upper : Bound
        Of those in the ball with the fewest groups, the farthest.
    lower : Bound
        Of those in the ball with the most groups, the farthest.

    Examples
    --------
    >>> draws = [[0, 0, 1, 1]] * 18 + [[0, 0, 0, 1], [0, 1, 1, 1]]
    >>> ball = credible_ball([0, 0, 1, 1], draws)
    >>> ball.contains([0, 0, 0, 1]), ball.contains([0, 1, 0, 1])
    (True, False)
    """

    center: IntArray
    loss: str
    level: float
    radius: float
    share: float
    distances: FloatArray = field(repr=False)
    horizontal: Bound = field(repr=False)
    upper: Bound = field(repr=False)
    lower: Bound = field(repr=False)

    @property
    def inside(self) -> np.ndarray:
        """Whether each draw (T,) lies in the ball."""
        return self.distances <= self.radius + SAME

    def contains(self, labels: ArrayLike) -> bool:
        """Whether a partition (N,) lies in the ball: a partition that is not in it is not credible at this level.

        Parameters
        ----------
        labels : int array of shape (N,)

        Returns
        -------
        bool
        """
        return self.distance(labels) <= self.radius + SAME

    def distance(self, labels: ArrayLike) -> float:
        """Return the distance of a partition (N,) from the center.

        Parameters
        ----------
        labels : int array of shape (N,)

        Returns
        -------
        float
        """
        checked = check_partition(labels, len(self.center))
        return float(draw_losses(self.center, check_draws(checked[None]), metric_named(self.loss))[0])

    def __str__(self) -> str:
        fewest, most = int(self.upper.n_groups[0]), int(self.lower.n_groups[0])
        return (
            f"{100 * self.share:.1f} % of the draws lie within {self.radius:.4g} ({self.loss}) of the center with "
            f"{counted(int(self.center.max()) + 1, 'group')}; draws in the ball have {fewest} to {most} groups."
        )


def credible_ball(
    center: ArrayLike | PartitionEstimate, draws: LabelDraws, *, level: float = 0.95, loss: str = "vi"
) -> CredibleBall:
    """Return the credible ball about a partition: Wade and Ghahramani (2018), Bayesian Analysis 13, 559-626, section 5.

    Parameters
    ----------
    center : int array of shape (N,) or PartitionEstimate
    draws : int array of shape (T, N)
    level : float
        Probability that the ball is to hold at least.
    loss : str
        Distance, "vi" or "binder": the losses here that are metrics and that the bounds are defined for.

    Returns
    -------
    CredibleBall

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Notes
    -----
    All draws that tie at the radius are in the ball, so that it may hold more than ``level``; R's mcclust.ext keeps as many draws as
    ``level`` asks for and cuts ties by their order. "Upper" is as in the lattice of partitions: fewest groups. Bounds that tie are
    all kept.

    Examples
    --------
    >>> draws = [[0, 0, 1, 1]] * 18 + [[0, 0, 0, 1], [0, 1, 1, 1]]
    >>> ball = credible_ball([0, 0, 1, 1], draws)
    >>> round(ball.radius, 3), ball.share
    (1.189, 1.0)
    >>> print(ball)
    100.0 % of the draws lie within 1.189 (vi) of the center with 2 groups; draws in the ball have 2 to 2 groups.
    """
    checked = check_draws(draws)
    labels = _labels(center, checked.n_points, "center")
    check_level(level)
    distances = np.maximum(draw_losses(labels, checked, metric_named(loss)), 0.0)
    # The share of so many draws has to reach the level, which a product of the two may miss by rounding.
    needed = min(checked.n_draws, int(np.ceil(level * checked.n_draws - 1e-9)))
    radius = float(np.sort(distances)[max(needed, 1) - 1])
    inside = distances <= radius + SAME
    groups = np.where(inside, checked.n_groups, 0)
    return CredibleBall(
        center=labels,
        loss=loss,
        level=float(level),
        radius=radius,
        share=float(inside.mean()),
        distances=distances,
        horizontal=_farthest(inside, distances, checked),
        upper=_farthest(inside & (groups == groups[inside].min()), distances, checked),
        lower=_farthest(inside & (groups == groups.max()), distances, checked),
    )


def _farthest(allowed: np.ndarray, distances: FloatArray, draws: Draws) -> Bound:
    """Return the different partitions among the allowed draws that are farthest from the center, and how many draws are each."""
    distance = float(distances[allowed].max())
    which = np.flatnonzero(allowed & (distances >= distance - SAME))
    partitions, first, counts = np.unique(draws.by_point[:, which], axis=1, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    labels = np.array([by_size(partitions[:, b]) for b in order])
    return Bound(labels, counts[order], distance, labels.max(axis=1) + 1)


@dataclass(frozen=True, eq=False)
class CertainCore:
    """A partition of some points that has a high probability as a whole; ``print`` it for the result in words.

    Attributes
    ----------
    labels : int array of shape (N,)
        Groups of the points of the core, numbered by decreasing size; -1 for points outside it.
    level : float
        Joint probability asked for.
    probability : float
        Share of the draws that group all points of the core just like this.
    order : int array of shape (N,)
        The points as they came in, those of the core first.
    curve : array of shape (N,)
        ``curve[n - 1]`` is the joint probability with the first n points of ``order``.

    Examples
    --------
    >>> draws = [[0, 0, 1, 1]] * 18 + [[0, 0, 0, 1], [0, 1, 1, 1]]
    >>> core = certain_core(draws, level=0.95)
    >>> core.size, core.labels
    (3, array([...]))
    """

    labels: IntArray
    level: float
    probability: float
    order: IntArray = field(repr=False)
    curve: FloatArray = field(repr=False)

    @property
    def size(self) -> int:
        """Number of points in the core."""
        return int((self.labels >= 0).sum())

    def __str__(self) -> str:
        return (
            f"{self.size} of {len(self.labels)} points in {counted(int(self.labels.max()) + 1, 'group')} are grouped just like this "
            f"in {100 * self.probability:.1f} % of the draws."
        )


def certain_core(
    draws: LabelDraws, *, level: float = 0.95, partition: ArrayLike | PartitionEstimate | None = None, n_starts: int = 8
) -> CertainCore:
    """Find as many points as possible whose grouping has a joint probability of at least so much.

    Parameters
    ----------
    draws : int array of shape (T, N)
    level : float
        Joint probability.
    partition : int array of shape (N,) or PartitionEstimate, optional
        Only groupings that agree with this one are looked for: the certain core of a partition.
    n_starts : int
        Points to grow a core from, the most certain ones first; the largest core is kept.

    Returns
    -------
    CertainCore

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Notes
    -----
    After the description of CHIPS by Barrientos, Page, Dahl and Dunson (2024): points come in one at a time, each time the one that
    leaves most draws in agreement. That is greedy: the core has the probability it says, but a larger one may exist. As draws in
    agreement only become fewer, a point's last count bounds its next one, and few points have to be counted anew at each step.

    Examples
    --------
    >>> draws = [[0, 0, 1, 1, 1]] * 9 + [[0, 0, 1, 1, 0]]
    >>> core = certain_core(draws)
    >>> core.labels, core.probability
    (array([ 0,  0,  1,  1, -1]), 1.0)
    >>> core.curve
    array([1. , 1. , 1. , 1. , 0.9])
    """
    checked = check_draws(draws)
    check_level(level)
    check_count(n_starts, "n_starts")
    given = None if partition is None else _labels(partition, checked.n_points, "partition")
    needed = level * checked.n_draws - 1e-9
    paths = [_grow(checked, int(i), given) for i in _most_certain(checked)[:n_starts]]
    best = max(paths, key=lambda path: (int((path.counts >= needed).sum()), int(path.counts.sum())))
    size = int((best.counts >= needed).sum())
    slots, labels = np.empty_like(best.slots), np.full(checked.n_points, -1)
    slots[best.order] = best.slots
    members = np.sort(best.order[:size])
    labels[members] = by_size(slots[members])
    curve = best.counts / checked.n_draws
    return CertainCore(labels, float(level), float(curve[size - 1]), best.order, curve)


def _labels(partition: ArrayLike | PartitionEstimate, n_points: int, name: str) -> IntArray:
    return check_partition(partition.labels if isinstance(partition, PartitionEstimate) else partition, n_points, name)


class _Path(NamedTuple):
    """Points (N,) in the order in which they came in, their slots, and the draws in agreement with all so far."""

    order: IntArray
    slots: IntArray
    counts: IntArray


def _most_certain(draws: Draws) -> IntArray:
    """Return the points, those first that are surely with or surely apart from others."""
    Z, N = draws.by_point, draws.n_points
    others = np.unique(np.linspace(0, N - 1, min(N, COMPANIONS)).astype(int))
    certainty = sum(np.abs((Z[j] == Z).mean(axis=1) - 0.5) for j in others)
    return np.argsort(-certainty, kind="stable")


def _grow(draws: Draws, start: int, partition: IntArray | None) -> _Path:
    Z, N, T = draws.by_point, draws.n_points, draws.n_draws
    slots = np.full((T, draws.most_groups), -1)
    scratch = np.empty(min(N, draws.most_groups) + 2, dtype=np.intp)
    active, n_slots = np.arange(T), 0
    slot_of: dict[int, int] = {}  # of the partition's groups, where one is given
    order, chosen, counts = [], [], []
    # By the most draws that can still agree; a point's last count bounds what it will be.
    waiting = [(-T, i) for i in range(N) if i != start]
    heapq.heapify(waiting)
    heapq.heappush(waiting, (-T - 1, start))
    while waiting:
        _, i = heapq.heappop(waiting)
        allowed = -1 if partition is None else slot_of.get(int(partition[i]), n_slots)
        slot, count = _kernels.best_option(Z[i], active, slots, n_slots, allowed, scratch)
        if waiting and -count > waiting[0][0]:
            heapq.heappush(waiting, (-count, i))
            continue
        order.append(i)
        chosen.append(slot)
        counts.append(count)
        if slot == n_slots:
            active = active[slots[active, Z[i, active]] < 0]
            slots[active, Z[i, active]] = n_slots
            if partition is not None:
                slot_of[int(partition[i])] = n_slots
            n_slots += 1
        else:
            active = active[slots[active, Z[i, active]] == slot]
    return _Path(np.array(order), np.array(chosen), np.array(counts))
