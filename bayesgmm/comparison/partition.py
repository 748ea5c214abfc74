"""EM's groups in the posterior's eyes: whether the partition that EM made is one that the posterior finds credible."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bayesgmm.params import MixtureParams
from bayesgmm.partitions import PartitionEstimate, credible_ball, draw_labels, expected_loss, point_estimate
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["LEVEL", "PartitionView", "partition_view"]

LEVEL = 0.95
"""Probability of the credible ball."""
MOST_DRAWS, MOST_ROWS, RUNS = 500, 2_000, 4
"""So many evenly spread draws and rows tell enough, in a fraction of a second."""


@dataclass(frozen=True, eq=False)
class PartitionView:
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


def partition_view(em_responsibilities: FloatArray, posterior: MixtureParams, X: FloatArray, seed: int) -> PartitionView:
    """Ask the posterior what it thinks of EM's partition.

    Parameters
    ----------
    em_responsibilities : array of shape (N, K)
    posterior : MixtureParams
        Draws of any batch shape.
    X : array of shape (N, D)
    seed : int

    Returns
    -------
    PartitionView

    Notes
    -----
    Wade and Ghahramani (2018), Bayesian Analysis 13, 559-626. A row's group is drawn from its responsibilities, once for each draw, so
    the ball holds both what the parameters and what the overlap leave open.
    """
    rows = np.arange(len(X)) if len(X) <= MOST_ROWS else np.linspace(0, len(X) - 1, MOST_ROWS).round().astype(int)
    labels = draw_labels(posterior.thin(MOST_DRAWS), np.ascontiguousarray(X[rows]), random_state=seed)
    best = point_estimate(labels, "vi", n_runs=RUNS, random_state=seed)
    ball = credible_ball(best, labels, level=LEVEL, loss="vi")
    em = em_responsibilities[rows].argmax(axis=1)
    distance = ball.distance(em)
    return PartitionView(
        best=best,
        em_expected_loss=float(expected_loss(em, labels, "vi")),
        distance=distance,
        radius=ball.radius,
        rank=float((ball.distances > distance + 1e-10).mean()),
        rows=rows,
        n_draws=len(labels),
    )
