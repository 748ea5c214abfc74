"""The points whose grouping is certain: all together, not one by one."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions import _counts
from bayesgmm.partitions.inputs import Draws, by_size, check_count, check_draws, check_partition
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["CertainCore", "certain_core"]

COMPANIONS = 64
"""Points beside which each is held to see how certain it is, when starts are chosen."""


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

    @property
    def area(self) -> float:
        """Area under the curve of probability against size as a share of the points: 1 if all draws agree."""
        return float(self.curve.mean())

    def __str__(self) -> str:
        return (
            f"{self.size} of {len(self.labels)} points in {int(self.labels.max()) + 1} group(s) are grouped just like this "
            f"in {100 * self.probability:.1f} % of the draws."
        )


def certain_core(draws: Any, *, level: float = 0.95, partition: ArrayLike | None = None, n_starts: int = 8) -> CertainCore:
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
    if not 0 < level <= 1:
        raise InvalidParameterError(f"level must lie between 0 and 1, got {level}")
    check_count(n_starts, "n_starts")
    given = None if partition is None else check_partition(getattr(partition, "labels", partition), checked.n_points, "partition")
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
        slot, count = _counts.best_option(Z[i], active, slots, n_slots, allowed, scratch)
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
