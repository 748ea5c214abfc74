"""Partitions of the points: one and the edge of its credible ball, who belongs with whom, and how many groups have points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.optimize import linear_sum_assignment

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions import PartitionEstimate
from bayesgmm.partitions.credible_sets import Bound, CredibleBall
from bayesgmm.partitions.draws import check_partition
from bayesgmm.partitions.similarity import check_similarity, display_order
from bayesgmm.plots import style
from bayesgmm.plots.geometry import plane_of_labels
from bayesgmm.text import counted
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["plot_credible_ball", "plot_occupied", "plot_similarity"]

_UNITS = {"vi": " bits", "binder": ""}
# Lightness falls evenly, so that the map also reads in grey.
_TOGETHER = LinearSegmentedColormap.from_list("together", ["#f4f6f8", "#8fb8d6", "#0072B2", "#06304d"])
_SHORTEST_NAMED = 0.03  # of the side: a shorter bracket has no room for its group's number
_RARE = 0.005


def plot_credible_ball(
    X: ArrayLike | pd.DataFrame, ball: CredibleBall, *, feature_names: Sequence[str] | None = None, axs: Any = None
) -> Any:
    """Draw the points in their groups by the estimate and by the partitions at the edge of its credible ball.

    A bound that is the same partition as the estimate, or as a bound before it, says so.

    Groups of each bound have the colour of the group of the estimate that they share most points with, groups beyond those colours of
    their own; points that are in another group than by the estimate are ringed. Where several partitions tie for a bound, the one that
    most draws are is shown.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        One column is drawn as a strip, two as they are, more in the plane of their first two principal axes, which the labels of the
        axes say. Rows with missing values cannot be placed and are left out; the picture says how many.
    ball : CredibleBall
        What `bayesgmm.partitions.credible_ball` returns for these points.
    feature_names : sequence of str, optional
        Names of the columns; those of a DataFrame by default.
    axs : array of four Axes, optional

    Returns
    -------
    array of four matplotlib.axes.Axes
        The estimate; the farthest partition in the ball; the farthest of those with the fewest groups; of those with the most groups.

    Raises
    ------
    InvalidParameterError
        If ``ball`` is not a credible ball, or fewer than four axes are given.
    InvalidDataError
        If X has other points than the ball, or none that is complete.

    Examples
    --------
    >>> from bayesgmm.partitions import credible_ball
    >>> ball = credible_ball([0, 0, 1, 1], [[0, 0, 1, 1]] * 3 + [[0, 0, 0, 1]])
    >>> [ax.get_title(loc="left").split(chr(10))[0] for ax in plot_credible_ball([[0.0], [1.0], [5.0], [6.0]], ball)]
    ['the estimate', 'farthest in the ball', 'fewest groups', 'most groups']
    """
    if not isinstance(ball, CredibleBall):
        raise InvalidParameterError(f"ball must be what credible_ball returns, got {type(ball).__name__}")
    rows, names = style.rows_and_names(X, feature_names)
    if rows.ndim != 2 or len(rows) != len(ball.center):
        raise InvalidDataError(f"X must have a row for each of the {len(ball.center)} points of the ball, got shape {rows.shape}")
    whole = style.complete_rows(rows)
    height = 4.4 if len(names) == 1 else 7.2
    axes = style.panels(4, axs, "four axes: the estimate and three bounds", n_cols=2, size=(9.0, height))
    places, axis_names = _places(rows[whole], names)
    bounds = {"farthest in the ball": ball.horizontal, "fewest groups": ball.upper, "most groups": ball.lower}
    _panel(axes[0], places, axis_names, ball.center[whole], np.zeros(int(whole.sum()), dtype=bool))
    axes[0].set_title(f"the estimate\n{counted(int(ball.center.max()) + 1, 'group')}", loc="left", fontsize=10)
    drawn = {"the estimate": ball.center}
    for ax, (title, bound) in zip(axes[1:], bounds.items(), strict=True):
        labels = _named_alike(ball.center, bound.labels[0])
        same = next((name for name, other in drawn.items() if np.array_equal(other, labels)), None)
        drawn[title] = labels
        moved = labels != ball.center
        _panel(ax, places, axis_names, labels[whole], moved[whole])
        ax.set_title(f"{title}{_in_words(bound, ball.loss, int(moved.sum()), same)}", loc="left", fontsize=10)
    style.say_gaps(axes[0], whole)
    return np.asarray(axes)


def _in_words(bound: Bound, loss: str, n_moved: int, same: str | None) -> str:
    ties = f" (one of {len(bound.labels)} that tie)" if len(bound.labels) > 1 else ""
    alike = "" if same is None else f"\nthe same as {same if same == 'the estimate' else f'“{same}”'}"
    n = counted(int(bound.n_groups[0]), "group")
    return f"{ties}\n{n}, {loss} {bound.distance:.3g}{_UNITS[loss]}, {counted(n_moved, 'point')} moved{alike}"


def _named_alike(center: IntArray, labels: IntArray) -> IntArray:
    """Return labels with the numbers of the groups of the centre that they share most points with, and new numbers for the rest."""
    shared = np.zeros((int(labels.max()) + 1, int(center.max()) + 1))
    np.add.at(shared, (labels, center), 1)
    own, theirs = linear_sum_assignment(-shared)
    names = np.full(len(shared), -1)
    names[own] = theirs
    names[names < 0] = shared.shape[1] + np.arange((names < 0).sum())
    return names[labels]


def _places(rows: FloatArray, names: Sequence[str]) -> tuple[FloatArray, tuple[str, str]]:
    """Return where the points (n, 2) are drawn and the names of the axes; an empty name is an axis without meaning."""
    if len(names) == 1:
        # Shaken up and down so that they don't hide each other, and all panels alike.
        return np.column_stack([rows[:, 0], np.random.default_rng(0).uniform(-1, 1, len(rows))]), (names[0], "")
    if len(names) == 2:
        return rows, (names[0], names[1])
    plane = plane_of_labels(rows, np.zeros(len(rows), dtype=np.intp), names)  # one label: principal axes
    return plane.points(rows), plane.names


def _panel(ax: Axes, places: FloatArray, names: tuple[str, str], labels: IntArray, moved: np.ndarray) -> None:
    size, shown = style.in_groups(ax, places, labels), style.some_rows(len(places))
    x, y = places[shown[moved[shown]]].T
    if len(x):
        ax.scatter(x, y, s=3 * size + 12, facecolors="none", edgecolors="#111111", linewidths=0.9, gid="moved")
    style.name_axes(ax, names)
    if not names[1]:
        ax.set(yticks=[], ylim=(-1.3, 1.3))
        ax.spines["left"].set_visible(False)


def plot_similarity(
    similarity: ArrayLike,
    order: ArrayLike | None = None,
    *,
    labels: ArrayLike | PartitionEstimate | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw for every two points how probable it is that they are in the same group, as a map with the groups as dark blocks.

    Parameters
    ----------
    similarity : array of shape (N, N)
        As `bayesgmm.partitions.similarity` returns it.
    order : int array of shape (N,), optional
        The points from left to right, and from top to bottom; by default the leaves of an
        average-linkage tree.
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
    groups = None if labels is None else check_partition(labels.labels if isinstance(labels, PartitionEstimate) else labels, N)
    ax = style.axes_or_new(ax, (6.0, 5.0))
    picture = ax.imshow(P[np.ix_(shown, shown)], cmap=_TOGETHER, vmin=0.0, vmax=1.0, aspect="equal")
    if groups is not None:
        _brackets(ax, groups[shown])
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"{counted(N, 'point')}, in the order {'of their similarity' if order is None else 'given'}", fontsize=10)
    style.colour_bar([ax], picture, "probability of one group", pad=0.03, fraction=0.046)
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
    gap = min(0.2, 0.003 * N)
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "#333333"}
    sides = ((ax.get_xaxis_transform(), 1.02, 1.055, 1), (ax.get_yaxis_transform(), -0.02, -0.055, -1))
    for start, stop in zip(starts, [*starts[1:], N], strict=True):
        group, ends = int(groups[start]), [start - 0.5 + gap, stop - 0.5 - gap]
        look: dict[str, Any] = {"color": style.colour(group), "lw": 4, "solid_capstyle": "butt", "gid": f"group-{group}"}
        for transform, bar, number, order in sides:
            ax.plot(*(ends, [bar, bar])[::order], transform=transform, clip_on=False, **look)
            if stop - start >= _SHORTEST_NAMED * N:
                x, y = ((start + stop - 1) / 2, number)[::order]
                ax.text(x, y, str(group), transform=transform, **text)
    ax.set(xlim=(-0.5, N - 0.5), ylim=(N - 0.5, -0.5))


def plot_occupied(probability: pd.Series, *, ax: Axes | None = None) -> Axes:
    """Draw the posterior probability of each number of groups that have any points.

    Parameters
    ----------
    probability : pandas.Series
        What `bayesgmm.partitions.occupied_components` returns, or ``groups.occupied`` of a comparison.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If the probabilities are something else.

    Examples
    --------
    >>> from bayesgmm.partitions import occupied_components
    >>> ax = plot_occupied(occupied_components([[0, 0, 1], [0, 1, 2], [0, 1, 1]]))
    >>> [round(float(bar.get_height()), 2) for bar in ax.patches]
    [0.0, 0.67, 0.33]
    """
    if getattr(getattr(probability, "index", None), "name", None) != "n_groups":
        raise InvalidParameterError(f"probability must be what occupied_components returns, got {type(probability).__name__}")
    ax = style.axes_or_new(ax)
    numbers, heights = probability.index.to_numpy(), probability.to_numpy()
    ax.bar(numbers, heights, width=0.7, color=style.colour(0))
    for n, height in zip(numbers, heights, strict=True):
        if height >= _RARE:
            ax.annotate(f"{height:.0%}", (n, height), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9)
    ax.set(xlabel="number of groups that have points", ylabel="posterior probability", ylim=(0, min(1.08, 1.25 * heights.max())))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.yaxis.set_major_locator(MaxNLocator(5, prune="upper"))
    style.whole_numbers(ax)
    return style.tidy(ax)
