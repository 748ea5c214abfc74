"""The data among data sets simulated from the posterior."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots.style import feature_names_or_default, new_axes, plain, tidy
from bayesgmm.tables import numbers_in
from bayesgmm.typing import FloatArray

__all__ = ["plot_predictive"]

_COLUMNS = 3
_MOST_PANELS = 12
_MOST_ROWS = 2_000


def plot_predictive(X: Any, replicates: FloatArray, *, feature_names: Sequence[str] | None = None, axs: Any = None) -> Any:
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
    names = feature_names_or_default(X, feature_names)[:_MOST_PANELS]
    rows = numbers_in(X)
    axes = _axes(len(names), axs)
    for d, (ax, name) in enumerate(zip(axes, names, strict=True)):
        grid = _grid(rows[:, d], replicates[..., d])
        known = _known(rows[:, d])
        lines = [np.column_stack([grid, _density(_known(values), grid, known)]) for values in replicates[..., d]]
        ax.add_collection(LineCollection(lines, colors="#56B4E9", linewidths=0.7, alpha=0.45))
        ax.plot(grid, _density(known, grid, known), color="#111111", lw=2)
        ax.set_xlabel(plain(name))
        ax.set_yticks([])
        ax.set_ylim(bottom=0)
        tidy(ax).spines["left"].set_visible(False)
    axes[0].set_ylabel("density")
    _legend(axes[0])
    return np.asarray(axes)


def _axes(n_panels: int, axs: Any) -> list[Any]:
    if axs is not None:
        given = list(np.ravel(axs))
        if len(given) < n_panels:
            raise InvalidParameterError(f"axs must hold {n_panels} axes, one a column; got {len(given)}.")
        return given[:n_panels]
    n_cols = min(_COLUMNS, n_panels)
    n_rows = -(-n_panels // n_cols)
    grid = new_axes(n_rows, n_cols, size=(max(6.4, 3.4 * n_cols) if n_cols > 1 else 6.4, 2.6 * n_rows + 0.4))[1].ravel()
    for ax in grid[n_panels:]:
        ax.set_axis_off()
    return list(grid[:n_panels])


def _known(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]


def _grid(observed: FloatArray, replicated: FloatArray) -> FloatArray:
    """Where to draw: the range of the data, widened to nearly all replicated values."""
    low, high = np.nanquantile(replicated, [0.001, 0.999])
    low, high = min(low, np.nanmin(observed)), max(high, np.nanmax(observed))
    margin = 0.08 * (high - low)
    return np.linspace(low - margin, high + margin, 200)


def _density(values: FloatArray, grid: FloatArray, observed: FloatArray) -> FloatArray:
    """Kernel estimate with one band width, from the data, for all curves, so that only the values differ."""
    values = values[:_MOST_ROWS]
    # Silverman's rule oversmooths groups; a third of it keeps them apart.
    width = max(0.35 * 1.06 * observed.std() * len(observed[:_MOST_ROWS]) ** -0.2, 1e-12)
    bells = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2)
    return bells.mean(axis=1) / (width * np.sqrt(2 * np.pi))


def _legend(ax: Any) -> None:
    handles = [
        Line2D([], [], color="#111111", lw=2, label="data"),
        Line2D([], [], color="#56B4E9", lw=1, label="simulated from the posterior"),
    ]
    ax.get_figure(root=False).legend(handles=handles, loc="outside upper right", ncols=2, fontsize=9, frameon=False)
