"""Simpler ways to one partition, to hold the search against: the best of the draws, and the best cut of a tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import cut_tree

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.inputs import Draws, by_size, check_draws
from bayesgmm.partitions.losses import Loss, loss_named, mean_loss
from bayesgmm.partitions.minimise import PartitionEstimate, check_limit
from bayesgmm.partitions.pairs import check_similarity, similarity, tree
from bayesgmm.typing import ArrayLike, IntArray

__all__ = ["best_draw", "best_linkage"]

LINKAGES = ("average", "complete", "single", "ward", "weighted")


def best_draw(draws: Any, loss: str = "vi", *, split_cost: float = 1.0, max_components: int | None = None) -> PartitionEstimate:
    """Return the draw of least expected loss: Dahl (2006), in Bayesian Inference for Gene Expression and Proteomics, chapter 10.

    Parameters
    ----------
    draws : int array of shape (T, N)
        As in :func:`minimize`. Time grows with the square of the number of different draws.
    loss : str
    split_cost : float
    max_components : int, optional
        As in :func:`minimize`.

    Returns
    -------
    PartitionEstimate

    Raises
    ------
    InvalidDataError
    InvalidParameterError
        Also where no draw has as few groups as ``max_components``.

    Examples
    --------
    >>> best_draw([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]).labels
    array([1, 1, 0, 0, 0])
    """
    checked, chosen = check_draws(draws), loss_named(loss, split_cost)
    limit = check_limit(max_components, checked.n_points)
    first, _ = checked.distinct()
    allowed = first[checked.n_groups[first] <= limit]
    if not len(allowed):
        raise InvalidParameterError(
            f"max_components is {limit}, but every draw has at least {checked.n_groups.min()} groups: allow more, or use minimize"
        )
    return _best([checked.partition(t) for t in allowed], checked, chosen, "draw")


def best_linkage(
    draws: Any,
    loss: str = "vi",
    *,
    linkage: str = "average",
    split_cost: float = 1.0,
    max_components: int | None = None,
    similarities: ArrayLike | None = None,
) -> PartitionEstimate:
    """Return the cut of least expected loss of a tree grown from the similarities: Medvedovic and Sivaganesan (2002), Bioinformatics 18.

    Parameters
    ----------
    draws : int array of shape (T, N)
    loss : str
        As in :func:`minimize`.
    linkage : str
        How dissimilar two groups are, "average", "complete", "single", "ward" or "weighted" as SciPy has them; ``1 - similarity`` between
        points.
    split_cost : float
        As in :func:`minimize`.
    max_components : int, optional
        Most groups; by default twice as many as a draw has at most.
    similarities : array of shape (N, N), optional
        A similarity matrix that is there already, for example the more precise one of a posterior.

    Returns
    -------
    PartitionEstimate

    Raises
    ------
    InvalidDataError, InvalidParameterError

    Examples
    --------
    >>> best_linkage([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]).labels
    array([1, 1, 0, 0, 0])
    """
    checked, chosen = check_draws(draws), loss_named(loss, split_cost)
    if linkage not in LINKAGES:
        raise InvalidParameterError(f"linkage must be one of {', '.join(map(repr, LINKAGES))}, got {linkage!r}")
    N = checked.n_points
    limit = min(N, 2 * checked.most_groups) if max_components is None else check_limit(max_components, N)
    P = similarity(checked) if similarities is None else check_similarity(similarities)
    if len(P) != N:
        raise InvalidParameterError(f"similarities are of {len(P)} points, the draws label {N}")
    cuts = cut_tree(tree(P, linkage), np.arange(1, limit + 1)).T if N > 1 else np.zeros((1, 1), dtype=np.intp)
    return _best(list(cuts), checked, chosen, "linkage")


def _best(candidates: list[IntArray], draws: Draws, loss: Loss, method: str) -> PartitionEstimate:
    """Return the first candidate whose expected loss is the least, within rounding."""
    values = np.array([mean_loss(by_size(labels), draws, loss) for labels in candidates])
    best = int(np.flatnonzero(values <= values.min() + loss.rounding)[0])
    return PartitionEstimate(by_size(candidates[best]), float(values[best]), loss.name, loss.split_cost, method, values[[best]])
