"""The pictures of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bayesgmm.plots.style import axes_or_new, colour, marker, plain, tidy
from bayesgmm.selection.value import NAMES, Selection
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.selection.lrt import BootstrapLRT

__all__ = ["plot_criterion", "plot_replicates"]

_GREY = "#7a858c"
_STYLES = ("-", "--", ":")


def plot_criterion(selection: Selection, criterion: str, ax: Axes | None) -> Axes:
    """Draw `Selection.plot`."""
    table, ties = selection.table, selection.ties(criterion)
    usable = selection.ranking(criterion).index
    ax = axes_or_new(ax, (7.0, 4.4) if table["covariance_type"].nunique() <= 7 else (7.8, 4.8))
    for i, (kind, rows) in enumerate(table.groupby("covariance_type", sort=False)):
        rows = rows.sort_values("n_components")
        (line,) = ax.plot(rows["n_components"], rows[criterion], ms=5, lw=1.4, label=plain(str(kind)))
        line.set(color=colour(i), marker=marker(i), linestyle=_STYLES[i // 7 % len(_STYLES)])
    _cross_out(ax, table.drop(usable), criterion)
    _ring(ax, ties.iloc[1:], criterion, "tie", 1.0, _GREY)
    _ring(ax, ties.iloc[:1], criterion, "best", 1.8, "black")
    _look_closely(ax, table[criterion].dropna().to_numpy())
    ax.set_xlabel("number of components")
    ax.set_ylabel(f"{NAMES[criterion]} (smaller is better)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return tidy(ax)


def _look_closely(ax: Axes, values: FloatArray) -> None:
    """Leave the worst models above the picture where they would squeeze the good ones into a line; say how many they are."""
    low = float(values.min())
    high = low + 1.5 * float(np.quantile(values, 0.6) - low)
    if values.max() - low < 2 * (high - low) or high == low:
        return
    margin = 0.07 * (high - low)
    ax.set_ylim(low - margin, high)
    above = int((values > high).sum())
    note = f"{above} model{'' if above == 1 else 's'} above"
    ax.annotate(note, (0.99, 1.0), xycoords="axes fraction", ha="right", va="bottom", fontsize=8, color=_GREY)


def _ring(ax: Axes, rows: pd.DataFrame, criterion: str, label: str, width: float, edge: str) -> None:
    if len(rows):
        at = rows["n_components"], rows[criterion]
        ax.scatter(*at, s=150, facecolors="none", edgecolors=edge, linewidths=width, zorder=4, label=label)


def _cross_out(ax: Axes, rows: pd.DataFrame, criterion: str) -> None:
    """Mark models that cannot be chosen."""
    rows = rows[np.isfinite(rows[criterion])]
    if len(rows):
        at = rows["n_components"], rows[criterion]
        ax.scatter(*at, s=70, marker="x", color="black", linewidths=1.2, zorder=5, label="cannot be chosen")


def plot_replicates(test: BootstrapLRT, ax: Axes | None) -> Axes:
    """Draw `BootstrapLRT.plot`."""
    ax = axes_or_new(ax)
    K = int(test.null.n_components)
    values = test.replicates[np.isfinite(test.replicates)]
    ax.hist(
        values, bins="auto", color=colour(0), alpha=0.6, edgecolor="white", label=f"drawn from {K} component{'' if K == 1 else 's'}"
    )
    ax.axvline(test.statistic, color=colour(1), lw=2, label=f"the data (p = {test.p_value:.3g})")
    ax.set_xlabel(f"twice the log-likelihood ratio, {K} against {K + 1}")
    ax.set_ylabel("number of replicates")
    ax.legend(frameon=False, fontsize=9)
    return tidy(ax)
