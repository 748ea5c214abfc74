"""How far around one partition the posterior reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.inputs import Draws, by_size, check_draws, check_partition
from bayesgmm.partitions.losses import draw_losses, loss_named
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["Bound", "CredibleBall", "credible_ball"]

SAME = 1e-10
"""Distances that differ by less are the same: of N points two differ by far more, or not at all."""


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
        return float(draw_losses(self.center, check_draws(checked[None]), loss_named(self.loss))[0])

    def __str__(self) -> str:
        fewest, most = int(self.upper.n_groups[0]), int(self.lower.n_groups[0])
        return (
            f"{100 * self.share:.1f} % of the draws lie within {self.radius:.4g} ({self.loss}) of the center with "
            f"{int(self.center.max()) + 1} group(s); draws in the ball have {fewest} to {most} groups."
        )


def credible_ball(center: Any, draws: Any, *, level: float = 0.95, loss: str = "vi") -> CredibleBall:
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
    100.0 % of the draws lie within 1.189 (vi) of the center with 2 group(s); draws in the ball have 2 to 2 groups.
    """
    checked = check_draws(draws)
    labels = check_partition(getattr(center, "labels", center), checked.n_points, "center")
    if loss not in ("vi", "binder"):
        raise InvalidParameterError(f"loss must be 'vi' or 'binder' for a credible ball, got {loss!r}")
    if not 0 < level <= 1:
        raise InvalidParameterError(f"level must lie between 0 and 1, got {level}")
    distances = np.maximum(draw_losses(labels, checked, loss_named(loss)), 0.0)
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
