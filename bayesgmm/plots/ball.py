"""A partition and those at the edge of its credible ball, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import linear_sum_assignment

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions.credible_sets import Bound, CredibleBall
from bayesgmm.plots.geometry import plane_of_labels
from bayesgmm.plots.groups import plain_axis, some_rows
from bayesgmm.plots.style import colour, feature_names_or_default, marker, new_axes, tidy
from bayesgmm.tables import numbers_in
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["plot_credible_ball"]

_UNITS = {"vi": " bits", "binder": ""}
_RING = "#111111"


def plot_credible_ball(X: Any, ball: CredibleBall, *, feature_names: Sequence[str] | None = None, axs: Any = None) -> Any:
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
    rows, names = numbers_in(X), feature_names_or_default(X, feature_names)
    if rows.ndim != 2 or len(rows) != len(ball.center):
        raise InvalidDataError(f"X must have a row for each of the {len(ball.center)} points of the ball, got shape {rows.shape}")
    whole = np.isfinite(rows).all(axis=1)
    if not whole.any():
        raise InvalidDataError("every row of X has a missing value, so none can be placed: impute them first")
    axes = _four(axs, 4.4 if len(names) == 1 else 7.2)
    places, axis_names = _places(rows[whole], names)
    bounds = {"farthest in the ball": ball.horizontal, "fewest groups": ball.upper, "most groups": ball.lower}
    _panel(axes[0], places, axis_names, ball.center[whole], np.zeros(int(whole.sum()), dtype=bool))
    axes[0].set_title(f"the estimate\n{_groups(int(ball.center.max()) + 1)}", loc="left", fontsize=10)
    drawn = {"the estimate": ball.center}
    for ax, (title, bound) in zip(axes[1:], bounds.items(), strict=True):
        labels = _named_alike(ball.center, bound.labels[0])
        same = next((name for name, other in drawn.items() if np.array_equal(other, labels)), None)
        drawn[title] = labels
        moved = labels != ball.center
        _panel(ax, places, axis_names, labels[whole], moved[whole])
        ties = f" (one of {len(bound.labels)} that tie)" if len(bound.labels) > 1 else ""
        words = _in_words(bound, ball.loss, int(moved.sum())) + ("" if same is None else f"\nthe same as {_quoted(same)}")
        ax.set_title(f"{title}{ties}\n{words}", loc="left", fontsize=10)
    if not whole.all():
        axes[0].text(0.01, 0.99, f"{(~whole).sum()} rows with gaps not shown", transform=axes[0].transAxes, va="top", fontsize=8)
    return axes


def _four(axs: Any, height: float) -> Any:
    axes = np.ravel(new_axes(2, 2, size=(9.0, height))[1] if axs is None else axs)
    if len(axes) < 4:
        raise InvalidParameterError(f"axs must hold four axes: the estimate and three bounds; got {len(axes)}")
    return axes[:4]


def _quoted(name: str) -> str:
    return name if name == "the estimate" else f"“{name}”"


def _groups(n: int) -> str:
    return f"{n} group{'' if n == 1 else 's'}"


def _in_words(bound: Bound, loss: str, n_moved: int) -> str:
    moved = f"{n_moved} point{'' if n_moved == 1 else 's'} moved"
    return f"{_groups(int(bound.n_groups[0]))}, {loss} {bound.distance:.3g}{_UNITS[loss]}, {moved}"


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
    shown = some_rows(len(places))
    size = float(np.clip(5000 / len(shown), 4, 20))
    for group in np.unique(labels):
        here = shown[labels[shown] == group]
        style: dict[str, Any] = {"color": colour(int(group)), "marker": marker(int(group)), "linewidths": 0, "alpha": 0.7}
        ax.scatter(places[here, 0], places[here, 1], s=size, rasterized=len(shown) > 3000, gid=f"group-{group}", **style)
    ringed = shown[moved[shown]]
    if len(ringed):
        at = places[ringed, 0], places[ringed, 1]
        ax.scatter(*at, s=3 * size + 12, facecolors="none", edgecolors=_RING, linewidths=0.9, gid="moved")
    ax.set_xlabel(plain_axis(names[0]))
    ax.set_ylabel(plain_axis(names[1]))
    tidy(ax)
    if not names[1]:
        ax.set_yticks([])
        ax.set_ylim(-1.3, 1.3)
        ax.spines["left"].set_visible(False)
