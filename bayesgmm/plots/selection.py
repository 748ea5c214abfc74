"""Criteria by number of components, the choice among them, the bootstrap test, and the entropy along a path of mergers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayesgmm.plots import style
from bayesgmm.text import counted
from bayesgmm.typing import FloatArray

__all__ = ["plot_choice", "plot_criterion", "plot_merging", "plot_replicates"]

_STYLES = ("-", "--", ":")


def plot_criterion(
    table: pd.DataFrame, criterion: str, *, usable: pd.Index, ties: pd.Index, name: str, ax: Axes | None = None
) -> Axes:
    """Draw a criterion against the number of components, a line for each covariance type, the best and its ties ringed.

    Parameters
    ----------
    table : pandas.DataFrame
        Of a `bayesgmm.Selection`.
    criterion, name : str
        A column of it, and what that is called.
    usable, ties : pandas.Index
        Rows that may be chosen, and those that tie with the best one, which comes first.
    ax : matplotlib.axes.Axes, optional
    """
    ax = style.axes_or_new(ax, (7.0, 4.4) if table["covariance_type"].nunique() <= 7 else (7.8, 4.8))
    for i, (kind, rows) in enumerate(table.groupby("covariance_type", sort=False)):
        rows = rows.sort_values("n_components")
        dashes = _STYLES[i // 7 % len(_STYLES)]
        ax.plot(rows["n_components"], rows[criterion], dashes, ms=5, lw=1.4, label=style.plain(kind), **style.look(i))
    ring: dict[str, Any] = {"s": 150, "facecolors": "none", "zorder": 4}
    out = table.drop(usable)
    for rows, look in (
        (out[np.isfinite(out[criterion])], {"s": 70, "marker": "x", "color": "black", "zorder": 5, "label": "cannot be chosen"}),
        (table.loc[ties[1:]], {**ring, "edgecolors": style.GREY, "linewidths": 1.0, "label": "tie"}),
        (table.loc[ties[:1]], {**ring, "edgecolors": "black", "linewidths": 1.8, "label": "best"}),
    ):
        if len(rows):
            ax.scatter(rows["n_components"], rows[criterion], **look)
    _look_closely(ax, table[criterion].dropna().to_numpy())
    ax.set(xlabel="number of components", ylabel=f"{name} (smaller is better)")
    style.whole_numbers(ax)
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return style.tidy(ax)


def _look_closely(ax: Axes, values: FloatArray) -> None:
    """Leave the worst models above the picture where they would squeeze the good ones into a line; say how many they are."""
    low = float(values.min())
    high = low + 1.5 * float(np.quantile(values, 0.6) - low)
    if values.max() - low < 2 * (high - low) or high == low:
        return
    ax.set_ylim(low - 0.07 * (high - low), high)
    note = f"{counted(int((values > high).sum()), 'model')} above"
    ax.annotate(note, (0.99, 1.0), xycoords="axes fraction", ha="right", va="bottom", fontsize=8, color=style.GREY)


def plot_choice(models: pd.DataFrame) -> Any:
    """Draw BIC and ICL above their least value, and how much worse rows left out are predicted, by the number of groups.

    Parameters
    ----------
    models : pandas.DataFrame
        ``Choice.models``, whose posteriors take a second axes.
    """
    models = models.sort_values("n_components")
    predicted = models.dropna(subset="elpd") if "elpd" in models else models.iloc[:0]
    n_panels = 2 if len(predicted) else 1
    axes: Any = style.new_axes(1, n_panels, size=(4.4 * n_panels, 3.2))[1].ravel()
    for i, name in enumerate(("bic", "icl")):
        above = models[f"{name}_difference"]
        axes[0].plot(models["n_components"], above, ms=6, lw=1.4, label=name.upper(), **style.look(i))
    axes[0].axhspan(0, 2, color="#e3e6e8", lw=0, zorder=0)
    axes[0].set_ylim(bottom=min(0.0, axes[0].get_ylim()[0]))
    axes[0].set_title("above the least: smaller is better", loc="left", fontsize=9.5)
    axes[0].legend(frameon=False, fontsize=9)
    if n_panels == 2:
        error = 2 * np.nan_to_num(predicted["elpd_difference_se"].to_numpy(float))
        look: dict[str, Any] = {"color": style.colour(2), "marker": "o", "ms": 6, "lw": 1.4, "elinewidth": 1, "capsize": 3}
        axes[1].errorbar(predicted["n_components"], predicted["elpd_difference"], yerr=error, **look)
        axes[1].axhline(0, color=style.GREY, lw=0.8)
        axes[1].set_title("prediction of rows left out: larger is better", loc="left", fontsize=9.5)
    for ax in axes:
        ax.axvline(models.loc[models["chosen"], "n_components"].iloc[0], color=style.GREY, lw=1, ls=(0, (2, 2)), zorder=0)
        style.whole_numbers(ax)
        ax.set_xlabel("number of groups (dotted line: the one chosen)", fontsize=9)
        style.tidy(ax)
    return axes


def plot_replicates(replicates: FloatArray, statistic: float, p_value: float, n_components: int, ax: Axes | None = None) -> Axes:
    """Draw the statistics of replicated data sets as a histogram, with that of the data as a line."""
    ax, K = style.axes_or_new(ax), n_components
    values = replicates[np.isfinite(replicates)]
    words = f"drawn from {counted(K, 'component')}"
    ax.hist(values, bins="auto", color=style.colour(0), alpha=0.6, edgecolor="white", label=words)
    ax.axvline(statistic, color=style.colour(1), lw=2, label=f"the data (p = {p_value:.3g})")
    ax.set(xlabel=f"twice the log-likelihood ratio, {K} against {K + 1}", ylabel="number of replicates")
    ax.legend(frameon=False, fontsize=9)
    return style.tidy(ax)


def plot_merging(entropy: pd.Series, suggested: int | None, interval: pd.DataFrame | None, ax: Axes | None = None) -> Axes:
    """Draw the entropy of the responsibilities against the number of groups, with the suggested number ringed.

    Two straight pieces that meet at the suggestion show the bend that it was read from.

    Parameters
    ----------
    entropy : pandas.Series
        By number of groups.
    suggested : int or None
    interval : pandas.DataFrame or None
        Of a posterior, ``lower`` and ``upper``, which hold 90% of the draws' own entropies along the same path.
    ax : matplotlib.axes.Axes, optional
    """
    ax = style.axes_or_new(ax)
    x, y = entropy.index.to_numpy(dtype=float), entropy.to_numpy()
    if interval is not None:
        look: dict[str, Any] = {"color": style.colour(0), "alpha": 0.18, "lw": 0, "zorder": -1}
        ax.fill_between(x, interval["lower"], interval["upper"], label="90% of the posterior's draws", **look)
    ax.plot(x, y, marker="o", color=style.colour(0), ls="none", ms=6)
    if suggested is not None:
        for part in (slice(None, suggested), slice(suggested - 1, None)) if 1 < suggested < len(x) else ():
            ax.plot(x[part], np.polyval(np.polyfit(x[part], y[part], 1), x[part]), color=style.GREY, lw=1.2, zorder=0)
        ring: dict[str, Any] = {"s": 150, "facecolors": "none", "edgecolors": "black", "linewidths": 1.8}
        ax.scatter([suggested], [entropy[suggested]], label=f"suggested: {counted(suggested, 'group')}", **ring)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.set(xlabel="number of groups", ylabel="entropy of the responsibilities (nats)")
    style.whole_numbers(ax)
    return style.tidy(ax)
