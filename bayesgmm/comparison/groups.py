"""EM's groups in the posterior's eyes: whether its partition is credible, and how many groups there really are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.files import jsonable
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import (
    PartitionEstimate,
    credible_ball,
    draw_labels,
    expected_loss,
    occupied_components,
    point_estimate,
    same_mode,
)
from bayesgmm.rows import Chunk, as_chunk
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["EMPartition", "GroupsUsed", "em_partition", "groups_used"]

MOST_DRAWS, MOST_ROWS = 500, 2_000
"""So many evenly spread draws and rows tell enough of a partition, in a fraction of a second."""

_MOST_NUMBERS = 5e7
_LEAST_DRAWS = 20
# Less than this is not worth a sentence.
_WORTH_SAYING = 0.05


@dataclass(frozen=True, eq=False)
class EMPartition:
    """EM's partition of the rows beside the posterior's.

    Attributes
    ----------
    best : PartitionEstimate
        The partition of least posterior expected loss (variation of information, in bits).
    em_expected_loss : float
        What EM's partition is expected to be off, in bits; ``best.expected_loss`` is the least that any partition can be.
    distance : float
        From EM's partition to the best one, in bits.
    radius : float
        Within it lie 95 % of the draws' partitions.
    rank : float
        Share of the draws whose partition is farther from the best one than EM's; near 0, EM's is an odd one.
    rows : int array of shape (n,)
        Positions of the rows looked at: all, or 2,000 evenly spread.
    n_draws : int
        Draws that were looked at: all, or 500 evenly spread.
    """

    best: PartitionEstimate
    em_expected_loss: float
    distance: float
    radius: float
    rank: float
    rows: IntArray = field(repr=False)
    n_draws: int

    @property
    def inside(self) -> bool:
        """Whether EM's partition lies in the posterior's 95 % credible ball."""
        return self.distance <= self.radius + 1e-10

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        names = ("inside", "distance", "radius", "rank", "em_expected_loss", "n_draws")
        least = {"expected_loss": jsonable(self.best.expected_loss), "n_groups": int(self.best.labels.max()) + 1}
        return {**{name: jsonable(getattr(self, name)) for name in names}, **least, "n_rows": len(self.rows)}


def em_partition(em_responsibilities: FloatArray, posterior: MixtureParams, X: FloatArray | Chunk, seed: int) -> EMPartition:
    """Ask the posterior what it thinks of EM's partition.

    Parameters
    ----------
    em_responsibilities : array of shape (N, K)
    posterior : MixtureParams
        Draws of any batch shape.
    X : array of shape (N, D), or Chunk
    seed : int

    Returns
    -------
    EMPartition

    Notes
    -----
    Wade and Ghahramani (2018), Bayesian Analysis 13, 559-626. A row's group is drawn from its responsibilities, once for each draw, so
    the ball holds both what the parameters and what the overlap leave open.
    """
    chunk = as_chunk(X)
    rows = np.arange(len(X)) if len(X) <= MOST_ROWS else np.linspace(0, len(X) - 1, MOST_ROWS).round().astype(int)
    labels = draw_labels(posterior.thin(MOST_DRAWS), chunk.take(rows), random_state=seed)
    best = point_estimate(labels, "vi", n_runs=4, random_state=seed)
    ball = credible_ball(best, labels, level=0.95, loss="vi")
    em = em_responsibilities[rows].argmax(axis=1)
    distance = ball.distance(em)
    return EMPartition(
        best=best,
        em_expected_loss=float(expected_loss(em, labels, "vi")),
        distance=distance,
        radius=ball.radius,
        rank=float((ball.distances > distance + 1e-10).mean()),
        rows=rows,
        n_draws=len(labels),
    )


@dataclass(frozen=True, eq=False)
class GroupsUsed:
    """How many groups the posterior uses.

    Attributes
    ----------
    occupied : pandas.Series
        Posterior probability of each number of groups that have any points, from 1 to K.
    same : pandas.DataFrame of shape (K, K)
        Probability that two groups are one hill of the density.
    """

    occupied: pd.Series = field(repr=False)
    same: pd.DataFrame = field(repr=False)

    @property
    def all_used(self) -> float:
        """Probability that every group has points."""
        return float(self.occupied.iloc[-1])

    @property
    def pairs(self) -> list[tuple[int, int, float]]:
        """Two groups and the probability that they are one hill, the most probable first; those not worth a word are left out."""
        K = len(self.same)
        found = [(j, k, float(self.same.to_numpy()[j, k])) for j, k in combinations(range(K), 2)]
        return sorted((pair for pair in found if pair[2] >= _WORTH_SAYING), key=lambda pair: -pair[2])

    def summary(self) -> dict[str, Any]:
        """Return the numbers ready for JSON."""
        return {
            "occupied": {str(n): float(p) for n, p in self.occupied.items()},
            "same_group": [[float(p) for p in row] for row in self.same.to_numpy()],
        }


def groups_used(params: MixtureParams, X: FloatArray | Chunk, seed: int) -> GroupsUsed:
    """Ask the posterior how many groups it uses, of evenly spread draws: as many as are looked through in a moment.

    Parameters
    ----------
    params : MixtureParams
        Draws of any batch shape, whose components keep their names.
    X : array of shape (N, D), or Chunk
    seed : int
        For more than eight components, of which each draw allocates the points once.

    Notes
    -----
    See `bayesgmm.partitions.occupied_components` and `bayesgmm.partitions.same_mode`.
    """
    numbers = len(X) * params.n_components
    draws = int(min(MOST_DRAWS, max(_LEAST_DRAWS, _MOST_NUMBERS // numbers)))
    return GroupsUsed(occupied_components(params.thin(draws), X, random_state=seed), same_mode(params, n_draws=draws))
