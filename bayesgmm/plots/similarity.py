"""Who belongs with whom: the similarity matrix of a posterior, in an order that shows its groups as blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.draws import check_partition
from bayesgmm.partitions.similarity import check_similarity, display_order
from bayesgmm.plots.style import axes_or_new, colour
from bayesgmm.typing import ArrayLike, IntArray

__all__ = ["plot_similarity"]

# Lightness falls evenly, so that the map also reads in grey.
_TOGETHER = LinearSegmentedColormap.from_list("together", ["#f4f6f8", "#8fb8d6", "#0072B2", "#06304d"])
_SHORTEST_NAMED = 0.03  # of the side: a shorter bracket has no room for its group's number


def plot_similarity(similarity: ArrayLike, order: ArrayLike | None = None, *, labels: Any = None, ax: Axes | None = None) -> Axes:
    """Draw for every two points how probable it is that they are in the same group, as a map with the groups as dark blocks.

    Parameters
    ----------
    similarity : array of shape (N, N)
        As `bayesgmm.partitions.similarity` returns it.
    order : int array of shape (N,), optional
        The points from left to right, and from top to bottom; by default the leaves of an average-linkage tree
        (the leaves of an average-linkage tree).
    labels : int array of shape (N,) or PartitionEstimate, optional
        A partition, whose groups are marked by brackets along the top and the left, in their colours and with their numbers. A group
        whose points are not neighbours in this order has several.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidDataError
        If the matrix is not a similarity matrix, or the labels are not those of its points.
    InvalidParameterError
        If the order does not have every point once.

    Examples
    --------
    >>> from bayesgmm.partitions import similarity
    >>> draws = [[0, 1, 0, 1, 1], [0, 1, 0, 1, 0]]
    >>> ax = plot_similarity(similarity(draws), labels=draws[0])
    >>> ax.get_xlabel()
    '5 points, in the order of their similarity'
    """
    P = check_similarity(similarity)
    N = len(P)
    shown = display_order(P) if order is None else _checked(order, N)
    groups = None if labels is None else check_partition(getattr(labels, "labels", labels), N)
    ax = axes_or_new(ax, (6.0, 5.0))
    picture = ax.imshow(P[np.ix_(shown, shown)], cmap=_TOGETHER, vmin=0.0, vmax=1.0, aspect="equal")
    if groups is not None:
        _brackets(ax, groups[shown])
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    points = f"{N} point{'' if N == 1 else 's'}"
    ax.set_xlabel(f"{points}, {'in the order of their similarity' if order is None else 'in the order given'}", fontsize=10)
    figure: Any = ax.get_figure(root=False)
    bar = figure.colorbar(picture, ax=ax, pad=0.03, fraction=0.046)
    bar.set_label("probability of one group", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return ax


def _checked(order: ArrayLike, n_points: int) -> IntArray:
    found = np.asarray(order)
    if found.shape != (n_points,) or found.dtype.kind not in "iu" or not np.array_equal(np.sort(found), np.arange(n_points)):
        raise InvalidParameterError(f"order must have each of the {n_points} points, 0 to {n_points - 1}, once")
    return found.astype(np.intp)


def _brackets(ax: Axes, groups: IntArray) -> None:
    """Draw a bar beside every run of points of one group, on both sides, a little apart from the map and from the next."""
    N = len(groups)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    stops = np.r_[starts[1:], N]
    gap = min(0.2, 0.003 * N)
    for start, stop in zip(starts, stops, strict=True):
        group = int(groups[start])
        ends = np.array([start - 0.5 + gap, stop - 0.5 - gap])
        style: dict[str, Any] = {
            "color": colour(group),
            "lw": 4,
            "solid_capstyle": "butt",
            "clip_on": False,
            "gid": f"group-{group}",
        }
        ax.plot(ends, [1.02, 1.02], transform=ax.get_xaxis_transform(), **style)
        ax.plot([-0.02, -0.02], ends, transform=ax.get_yaxis_transform(), **style)
        if stop - start >= _SHORTEST_NAMED * N:
            middle = (start + stop - 1) / 2
            text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "#333333"}
            ax.text(middle, 1.055, str(group), transform=ax.get_xaxis_transform(), **text)
            ax.text(-0.055, middle, str(group), transform=ax.get_yaxis_transform(), **text)
    ax.set(xlim=(-0.5, N - 0.5), ylim=(N - 0.5, -0.5))
