"""The two causes of doubt side by side: groups that overlap, and parameters that are not known well enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.partitions.doubt import check_uncertainty
from bayesgmm.plots.geometry import Plane, plane_of_labels
from bayesgmm.plots.groups import plain_axis, some_rows
from bayesgmm.plots.style import DOUBT, feature_names_or_default, new_axes, plain, tidy
from bayesgmm.tables import numbers_in
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["plot_doubt"]

_TITLES = {"aleatoric": "the groups overlap (aleatoric)", "epistemic": "too little data (epistemic)"}
_LEAST_SCALE = 0.1  # nats, as of 98 against 2 per cent: less doubt than this is not made to look like much
_GREY = "#9aa4ab"


def plot_doubt(X: Any, uncertainty: xr.Dataset, *, feature_names: Sequence[str] | None = None, axs: Any = None) -> Any:
    """Draw each point in the colour and size of its doubt, once for each cause, on one scale.

    One column: the points in a strip below the histogram. Two: a scatter. More: the first two discriminant axes of the labels, or
    principal axes where there are too few groups for them; the labels of the axes say which.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        Rows with missing values cannot be placed and are left out; the picture says how many.
    uncertainty : xarray.Dataset
        Of the same rows: what ``uncertainty(X)`` of a fit returns.
    feature_names : sequence of str, optional
        Names of the columns; those of a DataFrame by default.
    axs : array of two Axes, optional

    Returns
    -------
    array of two matplotlib.axes.Axes
        Overlap on the left, lack of data on the right.

    Raises
    ------
    InvalidParameterError
        If ``uncertainty`` lacks a variable or has other rows than X, or fewer than two axes are given.
    InvalidDataError
        If every row has a missing value.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=1).fit(X)
    >>> [ax.get_title(loc="left") for ax in plot_doubt(X, em.uncertainty())]
    ['the groups overlap (aleatoric)', 'too little data (epistemic)']
    """
    check_uncertainty(uncertainty, (*_TITLES, "label"))
    rows, names = numbers_in(X), feature_names_or_default(X, feature_names)
    if len(rows) != uncertainty.sizes["obs"]:
        raise InvalidParameterError(f"X has {len(rows)} rows and uncertainty {uncertainty.sizes['obs']}: give those of one fit")
    whole = np.isfinite(rows).all(axis=1)
    if not whole.any():
        raise InvalidDataError("every row of X has a missing value, so none can be placed: impute them first")
    axes = _pair(axs)
    parts = [uncertainty[name].values[whole] for name in _TITLES]
    most = float(np.clip(np.max(parts), _LEAST_SCALE, None))
    place = _place(rows[whole], uncertainty["label"].values[whole], names)
    for ax, title, part in zip(axes, _TITLES.values(), parts, strict=True):
        drawn = _draw(ax, rows[whole], place, names, part, most)
        ax.set_title(title, loc="left", fontsize=10)
    if not whole.all():
        axes[0].text(0.01, 0.99, f"{(~whole).sum()} rows with gaps not shown", transform=axes[0].transAxes, va="top", fontsize=8)
    _colour_bar(axes, drawn)
    return axes


def _pair(axs: Any) -> Any:
    axes = np.ravel(new_axes(1, 2, size=(9.6, 4.2))[1] if axs is None else axs)
    if len(axes) < 2:
        raise InvalidParameterError(f"axs must hold two axes, one for each cause; got {len(axes)}.")
    return axes[:2]


def _place(rows: FloatArray, labels: IntArray, names: Sequence[str]) -> Plane | None:
    """The plane to look at; none for one column."""
    if len(names) == 1:
        return None
    return Plane(np.eye(2), (names[0], names[1])) if len(names) == 2 else plane_of_labels(rows, labels, names)


def _draw(ax: Axes, rows: FloatArray, plane: Plane | None, names: Sequence[str], doubt: FloatArray, most: float) -> PathCollection:
    if plane is None:
        return _strip(ax, rows[:, 0], names[0], doubt, most)
    ax.set_xlabel(plain_axis(plane.names[0]))
    ax.set_ylabel(plain_axis(plane.names[1]))
    return _scatter(tidy(ax), plane.points(rows), doubt, most)


def _scatter(ax: Axes, points: FloatArray, doubt: FloatArray, most: float) -> PathCollection:
    """Points, the doubtful ones larger, darker and on top."""
    shown = some_rows(len(points))
    shown = shown[np.argsort(doubt[shown], kind="stable")]
    return ax.scatter(
        points[shown, 0],
        points[shown, 1],
        c=doubt[shown],
        s=float(np.clip(4000 / len(shown), 3, 14)) + 60 * doubt[shown] / most,
        cmap=DOUBT,
        vmin=0.0,
        vmax=most,
        linewidths=0.3,
        edgecolors="#55555588",
        rasterized=len(shown) > 3000,
    )


def _strip(ax: Axes, x: FloatArray, name: str, doubt: FloatArray, most: float) -> PathCollection:
    """Histogram above, points below it, shaken up and down so that they don't hide each other."""
    bins = int(np.clip(len(np.histogram_bin_edges(x, "auto")), 12, 80))
    counts = np.histogram(x, bins)[0]
    ax.hist(x, bins=bins, color="#dfe3e6", edgecolor="white", linewidth=0.5)
    top = float(counts.max())
    ax.axhline(0, color=_GREY, lw=0.8)
    height = -top * np.random.default_rng(0).uniform(0.06, 0.3, len(x))
    drawn = _scatter(tidy(ax), np.column_stack([x, height]), doubt, most)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top * 1.05 and tick == round(tick)])
    ax.set_ylim(-0.36 * top, 1.08 * top)
    ax.set_xlabel(plain(name))
    ax.set_ylabel("rows; points below")
    return drawn


def _colour_bar(axes: Any, drawn: PathCollection) -> None:
    bar = axes[1].get_figure(root=False).colorbar(drawn, ax=list(axes), pad=0.02, aspect=30)
    bar.set_label("doubt (nats; an even choice of two is 0.69)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
