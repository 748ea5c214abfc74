"""Every parameter by EM and by the posterior, side by side; and the data among data sets simulated from the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from bayesgmm.plots import style
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["MOST_PANELS", "plot_forest", "plot_predictive"]

MOST_PANELS, _MOST_COLUMNS = 24, 12
_MOST_ROWS = 2_000


def plot_forest(parameters: pd.DataFrame, *, axs: Any = None) -> Any:
    """Draw EM's value of each parameter beside the posterior's mean and 95% interval, a panel for each column.

    Where the groups lie far apart an interval may be too short to see; the numbers on the right say how far EM is from
    the posterior mean, in posterior standard deviations.

    Parameters
    ----------
    parameters : pandas.DataFrame
        ``Comparison.parameters``. Beyond 24 panels only those with the largest distances are drawn.
    axs : array of Axes, optional
        One for each panel, in any shape.

    Returns
    -------
    array of matplotlib.axes.Axes
        One axes a panel, in the order of the table.

    Raises
    ------
    InvalidParameterError
        If fewer axes are given than there are panels.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"parameter": "mean", "component": 0, "feature": "a", "feature_bis": "", "em": 1.0, "mean": 1.1, "sd": 0.1}
    >>> row |= {"lower": 0.9, "upper": 1.3, "distance": -1.0}
    >>> [ax.get_title(loc="left") for ax in plot_forest(pd.DataFrame([row]))]
    ['mean of a']
    """
    shown = _panels(parameters)
    tallest, n_cols = max(len(rows) for _, rows in shown), min(2, len(shown))
    size = (3.8 * n_cols, -(-len(shown) // n_cols) * (0.85 + 0.3 * tallest) + 0.4)
    axes = style.panels(len(shown), axs, f"{len(shown)} axes, one a panel", n_cols=n_cols, size=size)
    for ax, (title, rows) in zip(axes, shown, strict=True):
        _panel(ax, title, rows)
    handles = [
        Line2D([], [], ls="", marker="D", mfc="none", mec="#111111", ms=8, label="EM"),
        Line2D([], [], marker="o", color="#444444", lw=4, alpha=0.6, label="posterior mean, 95% interval"),
        Line2D([], [], ls="", label="right: (EM − mean) / sd"),
    ]
    style.legend_above(axes[0].get_figure(root=False), handles, 3, fontsize=8.5, handlelength=1.5)
    return np.asarray(axes)


def _panels(parameters: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Titles and rows; a panel holds what shares a unit."""
    grouped = list(parameters.groupby(["parameter", "feature", "feature_bis"], sort=False))
    farthest = np.argsort([-rows["distance"].abs().max() for _, rows in grouped], kind="stable")[:MOST_PANELS]
    return [(_title(*map(str, key)), rows) for key, rows in (grouped[i] for i in np.sort(farthest))]


def _title(parameter: str, feature: str, feature_bis: str) -> str:
    if not feature:
        return f"{parameter}s"
    if feature == "all":
        return f"{parameter}, all columns"
    if feature_bis:
        return f"{parameter} of\n{style.plain(feature, 20)} and {style.plain(feature_bis, 20)}"
    return f"{parameter} of {style.plain(feature)}"


def _panel(ax: Axes, title: str, rows: pd.DataFrame) -> None:
    """Intervals as bars, posterior means as dots, EM as open diamonds, the first group on top."""
    for y, row in enumerate(rows.to_dict("records")):
        shade = "#444444" if row["component"] == "all" else style.colour(int(row["component"]))
        ax.plot([row["lower"], row["upper"]], [y, y], color=shade, lw=4, alpha=0.45, solid_capstyle="butt")
        ax.plot(row["mean"], y, "o", color=shade, ms=6)
        ax.plot(row["em"], y, "D", mfc="none", mec="#111111", ms=8, mew=1.3)
        far = _signed(row["distance"])
        ax.text(1.02, y, far, transform=ax.get_yaxis_transform(), va="center", fontsize=8, color="#555555")
    names = ["all groups" if component == "all" else f"group {component}" for component in rows["component"]]
    ax.set(yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.4, -0.6))
    ax.set_title(title, fontsize=9.5, loc="left")
    ax.grid(axis="x", color="#e3e6e8", lw=0.8)
    ax.set_axisbelow(True)
    style.tidy(ax)


def _signed(distance: float) -> str:
    """A distance in posterior sds."""
    if not np.isfinite(distance):
        return "–"
    return f"{distance:+.1f}".replace("-", "−") if abs(distance) >= 0.05 else "0.0"


def plot_predictive(
    X: ArrayLike | pd.DataFrame, replicates: FloatArray, *, feature_names: Sequence[str] | None = None, axs: Any = None
) -> Any:
    """Draw the density of each column of the data among those of data sets simulated from the posterior.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        At least two rows. Missing values (NaN) are left out, of the replicates as well.
    replicates : array of shape (replicate, row, D)
        Such as ``Comparison.replicates``.
    feature_names : sequence of str, optional
    axs : array of Axes, optional
        One for each column, in any shape; at most twelve columns are drawn.

    Returns
    -------
    array of matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If fewer axes are given than there are columns to draw.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> [ax.get_xlabel() for ax in plot_predictive(rng.normal(size=(30, 2)), rng.normal(size=(5, 30, 2)))]
    ['x0', 'x1']
    """
    rows, names = style.rows_and_names(X, feature_names)
    names = names[:_MOST_COLUMNS]
    n_cols = min(3, len(names))
    size = (max(6.4, 3.4 * n_cols), 2.6 * -(-len(names) // n_cols) + 0.4)
    axes = style.panels(len(names), axs, f"{len(names)} axes, one a column", n_cols=n_cols, size=size)
    for d, (ax, name) in enumerate(zip(axes, names, strict=True)):
        known = _known(rows[:, d])
        grid = _grid(known, replicates[..., d])
        lines = [np.column_stack([grid, _density(_known(values), grid, known)]) for values in replicates[..., d]]
        ax.add_collection(LineCollection(lines, colors="#56B4E9", linewidths=0.7, alpha=0.45))
        ax.plot(grid, _density(known, grid, known), color="#111111", lw=2)
        ax.set(xlabel=style.plain(name), yticks=[])
        ax.set_ylim(bottom=0)
        style.tidy(ax).spines["left"].set_visible(False)
    axes[0].set_ylabel("density")
    handles = [
        Line2D([], [], color="#111111", lw=2, label="data"),
        Line2D([], [], color="#56B4E9", lw=1, label="simulated data sets"),
    ]
    style.legend_above(axes[0].get_figure(root=False), handles, 2, fontsize=9)
    return np.asarray(axes)


def _known(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]


def _grid(observed: FloatArray, replicated: FloatArray) -> FloatArray:
    """Where to draw: the range of the data, widened to nearly all replicated values."""
    low, high = np.nanquantile(replicated, [0.001, 0.999])
    low, high = min(low, observed.min()), max(high, observed.max())
    margin = 0.08 * (high - low)
    return np.linspace(low - margin, high + margin, 200)


def _density(values: FloatArray, grid: FloatArray, observed: FloatArray) -> FloatArray:
    """Kernel estimate with one band width, from the data, for all curves, so that only the values differ."""
    values = values[:_MOST_ROWS]
    # Silverman's rule oversmooths groups; a third of it keeps them apart.
    width = max(0.35 * 1.06 * observed.std() * len(observed[:_MOST_ROWS]) ** -0.2, 1e-12)
    bells = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2)
    return bells.mean(axis=1) / (width * np.sqrt(2 * np.pi))
