"""Every parameter by EM and by the posterior, side by side."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots.style import colour, new_axes, plain, tidy

__all__ = ["MOST_PANELS", "plot_forest"]

_COLUMNS = 2
MOST_PANELS = 24


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
    panels = _panels(parameters)
    axes = _axes(panels, axs)
    for i, (ax, (title, rows)) in enumerate(zip(axes, panels, strict=True)):
        _panel(ax, title, rows)
        if i == 0:
            _legend(ax)
    return np.asarray(axes)


def _panels(parameters: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Titles and rows; a panel holds what shares a unit."""
    grouped = list(parameters.groupby(["parameter", "feature", "feature_bis"], sort=False))
    if len(grouped) > MOST_PANELS:
        farthest = sorted(grouped, key=lambda item: -item[1]["distance"].abs().max())[:MOST_PANELS]
        kept = {key for key, _ in farthest}
        grouped = [item for item in grouped if item[0] in kept]
    return [(_title(*map(str, key)), rows) for key, rows in grouped]


def _title(parameter: str, feature: str, feature_bis: str) -> str:
    if not feature:
        return f"{parameter}s"
    if feature == "all":
        return f"{parameter}, all columns"
    if feature_bis:
        return f"{parameter} of\n{plain(feature, 20)} and {plain(feature_bis, 20)}"
    return f"{parameter} of {plain(feature)}"


def _axes(panels: list[tuple[str, pd.DataFrame]], axs: Any) -> list[Axes]:
    if axs is not None:
        given = list(np.ravel(axs))
        if len(given) < len(panels):
            raise InvalidParameterError(f"axs must hold {len(panels)} axes, one a panel; got {len(given)}.")
        return given[: len(panels)]
    n_cols = min(_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_cols)
    tallest = max(len(rows) for _, rows in panels)
    grid = new_axes(n_rows, n_cols, size=(3.8 * n_cols, n_rows * (0.85 + 0.3 * tallest) + 0.4))[1].ravel()
    for ax in grid[len(panels) :]:
        ax.set_axis_off()
    return list(grid[: len(panels)])


def _panel(ax: Axes, title: str, rows: pd.DataFrame) -> None:
    """Intervals as bars, posterior means as dots, EM as open diamonds, the first group on top."""
    for y, row in enumerate(rows.to_dict("records")):
        shade = "#444444" if row["component"] == "all" else colour(int(row["component"]))
        ax.plot([row["lower"], row["upper"]], [y, y], color=shade, lw=4, alpha=0.45, solid_capstyle="butt")
        ax.plot(row["mean"], y, "o", color=shade, ms=6)
        ax.plot(row["em"], y, "D", mfc="none", mec="#111111", ms=8, mew=1.3)
        ax.text(
            1.02,
            y,
            _signed(row["distance"]),
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color="#555555",
        )
    ax.set_yticks(range(len(rows)), [_group(component) for component in rows["component"]])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_title(title, fontsize=9.5, loc="left")
    ax.grid(axis="x", color="#e3e6e8", lw=0.8)
    ax.set_axisbelow(True)
    tidy(ax)


def _signed(distance: float) -> str:
    """A distance in posterior sds."""
    if not np.isfinite(distance):
        return "–"
    return f"{distance:+.1f}".replace("-", "−") if abs(distance) >= 0.05 else "0.0"


def _group(component: object) -> str:
    return "all groups" if component == "all" else f"group {component}"


def _legend(ax: Axes) -> None:
    """One legend for the whole figure, above it."""
    handles = [
        Line2D([], [], ls="", marker="D", mfc="none", mec="#111111", ms=8, label="EM"),
        Line2D([], [], marker="o", color="#444444", lw=4, alpha=0.6, label="posterior mean, 95% interval"),
        Line2D([], [], ls="", label="right: (EM − mean) / sd"),
    ]
    figure = ax.get_figure(root=False)
    assert figure is not None
    figure.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=8.5, handlelength=1.5, frameon=False)
