"""What the pictures share: colours, markers, axes, which rows are shown, names made safe for matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bayesgmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.tables.numeric import column_names, numbers_in
from bayesgmm.text import counted
from bayesgmm.typing import ArrayLike, FloatArray, IntArray
from bayesgmm.validation import check_same_columns

type Fit = GaussianMixture | BayesianGaussianMixture | MixtureParams

# Okabe & Ito, "Color Universal Design" (2008), without the yellow that vanishes on white.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
# Lightness falls evenly from sure to unsure, so that the map also reads in grey.
DOUBT = LinearSegmentedColormap.from_list("doubt", ["#c9d3da", "#E69F00", "#9c1f00"])

GREY, LIGHT_GREY = "#7a858c", "#9aa4ab"
_MOST_POINTS = 20_000


def colour(component: int) -> str:
    """Colour of a group; repeats after seven, when the markers go on to differ."""
    return _PALETTE[component % len(_PALETTE)]


def marker(component: int) -> str:
    """Marker of a group."""
    return _MARKERS[component % len(_MARKERS)]


def look(number: int) -> dict[str, Any]:
    """Colour and marker of a group or of a line."""
    return {"color": colour(number), "marker": marker(number)}


def plain(name: object, longest: int = 32) -> str:
    """A name from the data as matplotlib should show it: no formulas between dollar signs, one line, not too long."""
    text = " ".join(str(name).split())
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text.replace("$", r"\$")


def new_axes(n_rows: int = 1, n_cols: int = 1, size: tuple[float, float] = (6.4, 4.4)) -> tuple[Figure, FloatArray]:
    """A figure with constrained layout and its axes as a two-dimensional array."""
    return plt.subplots(n_rows, n_cols, figsize=size, layout="constrained", squeeze=False)


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.4)) -> Axes:
    """The axes given, or those of a new figure."""
    return new_axes(size=size)[1][0, 0] if ax is None else ax


def panels(n: int, axs: Any, what: str, *, n_cols: int, size: tuple[float, float]) -> list[Axes]:
    """The first n of the axes given, in any shape, or those of a new figure, whose other places stay empty.

    Parameters
    ----------
    n : int
    axs : array of Axes or None
    what : str
        What the axes must be, for the message where they are too few, such as "two axes, one a cause".
    n_cols : int
    size : pair of float
        Of the new figure, in inches.
    """
    axes = list(np.ravel(new_axes(-(-n // n_cols), n_cols, size)[1] if axs is None else axs))
    if len(axes) < n:
        raise InvalidParameterError(f"axs must hold {what}; got {len(axes)}.")
    for ax in axes[n:] if axs is None else ():
        ax.set_axis_off()
    return axes[:n]


def in_groups(ax: Axes, points: FloatArray, labels: IntArray) -> float:
    """Draw points (n, 2) in the colours and markers of their groups; rows of noise are left out. Return their size."""
    shown = some_rows(len(points))
    size = float(np.clip(6000 / len(shown), 4, 22))
    for group in np.unique(labels[labels >= 0]).tolist():
        x, y = points[shown[labels[shown] == group]].T
        ax.scatter(x, y, s=size, linewidths=0, alpha=0.55, rasterized=len(shown) > 3000, gid=f"group-{group}", **look(group))
    return size


def histogram(ax: Axes, x: FloatArray, **options: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw a column's histogram in light grey; return its heights and edges, and places for a curve over it."""
    bins = int(np.clip(len(np.histogram_bin_edges(x, "auto")), 12, 80))
    heights, edges, _ = ax.hist(x, bins=bins, color="#dfe3e6", edgecolor="white", linewidth=0.5, **options)
    margin = 0.08 * np.ptp(x)
    return np.asarray(heights), edges, np.linspace(x.min() - margin, x.max() + margin, 500)


def legend_above(figure: Any, handles: Sequence[Artist], n_cols: int, **look: Any) -> None:
    """One legend for the whole figure."""
    figure.legend(handles=handles, loc="outside upper right", ncols=n_cols, frameon=False, **look)


def colour_bar(axes: Sequence[Axes], drawn: ScalarMappable, label: str, **place: Any) -> None:
    """Draw the colours of a map beside some axes."""
    figure: Any = axes[0].get_figure(root=False)
    bar = figure.colorbar(drawn, ax=axes, **place)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def whole_numbers(ax: Axes) -> None:
    """Put the ticks of the horizontal axis at whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def tidy(ax: Axes) -> Axes:
    """Take away the ink that carries nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    return ax


def name_axes(ax: Axes, names: Sequence[str]) -> Axes:
    """Label both axes and tidy them; what precedes the colon of a discriminant axis is ours, what follows goes on a line of its own."""
    ax.set(xlabel=_axis_label(names[0]), ylabel=_axis_label(names[1]))
    return tidy(ax)


def _axis_label(name: str) -> str:
    for end in (" axis: ", " axis of the rest: "):
        kind, colon, rest = name.partition(end)
        if colon:
            return f"{kind}{end.rstrip()}\n{', '.join(plain(part, 18) for part in rest.split(', '))}"
    return plain(name)


def some_rows(n_rows: int) -> IntArray:
    """Rows to draw: all, or as many as the eye can use, chosen once and for all."""
    if n_rows <= _MOST_POINTS:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, _MOST_POINTS, replace=False))


def complete_rows(rows: FloatArray) -> np.ndarray:
    """Which rows (N,) have all values; those with gaps cannot be placed.

    Raises
    ------
    InvalidDataError
        If there are none.
    """
    whole: np.ndarray = np.isfinite(rows).all(axis=1)
    if not whole.any():
        raise InvalidDataError("every row of X has a missing value, so none can be placed: impute them first")
    return whole


def say_gaps(ax: Axes, whole: np.ndarray) -> None:
    """Write how many rows with gaps are not shown, if there are any."""
    if not whole.all():
        said = f"{counted(int((~whole).sum()), 'row')} with gaps not shown"
        ax.text(0.01, 0.99, said, transform=ax.transAxes, va="top", fontsize=8)


def mixture_of(fit: Fit, name: str, X: ArrayLike | pd.DataFrame) -> MixtureParams:
    """The mixture of a fitted estimator, or the mixture itself, which is to be drawn beside the rows X."""
    check_same_columns(name, fit, X)
    params = getattr(fit, "params_", fit)
    if isinstance(params, MixtureParams):
        return params
    raise InvalidParameterError(f"{name} must be a fitted estimator or MixtureParams, got {type(fit).__name__}.")


def rows_and_names(X: ArrayLike | pd.DataFrame, feature_names: Sequence[str] | None) -> tuple[FloatArray, list[str]]:
    """Rows (N, D) as numbers, and the names of their columns: those given, those of a DataFrame, or x0, x1, ..."""
    rows = numbers_in(X)
    return rows, column_names(X, rows.shape[1]) if feature_names is None else [str(name) for name in feature_names]
