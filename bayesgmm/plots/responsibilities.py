"""The most doubtful points, one bar each: which groups they may belong to, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions.doubt import check_uncertainty
from bayesgmm.plots.style import axes_or_new, colour, plain, tidy
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["plot_responsibilities"]

_NOISE = "#b5bcc2"
_HATCHES = ("", "///", "...", "xxx")
_COLOURS = 7  # after which `colour` repeats
_MOST_NAMED = 45  # bars that are wide enough for a name and a number
_MOST_IN_LEGEND = 12


def plot_responsibilities(uncertainty: xr.Dataset, most: int = 40, *, ax: Axes | None = None) -> Axes:
    """Draw the responsibilities of the most doubtful points as stacked bars, the most doubtful first.

    The most probable group stands at the bottom of its bar, with its number below it, so that the whisker, the interval of that group's
    responsibility, can be read on the axis.

    Parameters
    ----------
    uncertainty : xarray.Dataset
        What ``uncertainty()`` of a fit returns.
    most : int
        Most points to show.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If ``most`` is below 1 or ``uncertainty`` lacks a variable.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> ax = plot_responsibilities(em.uncertainty(), most=10)
    >>> len(ax.get_xticks())
    10
    """
    check_uncertainty(uncertainty, ("total", "component", "responsibility", "lower", "upper"))
    if most < 1:
        raise InvalidParameterError(f"most must be at least 1, got {most}")
    order = np.argsort(-uncertainty["total"].values, kind="stable")[:most]
    shown = uncertainty.isel(obs=order)
    table, components = shown["responsibility"].transpose("obs", "component").values, shown["component"].values
    ax = axes_or_new(ax, size=(float(np.clip(1.6 + 0.2 * len(order), 6.4, 11)), 4.2))
    best = table.argmax(axis=1)
    _bars(ax, table, best, components)
    _whiskers(ax, shown, best)
    _names(ax, shown["obs"].values, components[best])
    ax.set_ylim(-0.06, 1)
    ax.set_ylabel("probability of the group")
    ax.set_xlabel(f"row, the most doubtful first ({len(order)} of {uncertainty.sizes['obs']})")
    _legend(ax, components, uncertainty.attrs.get("prob"))
    return tidy(ax)


def _bars(ax: Axes, table: FloatArray, best: IntArray, components: IntArray) -> None:
    """The most probable group at the bottom, the others on it in their order."""
    N, K = table.shape
    own = np.arange(K) == best[:, None]
    above = np.where(own, 0.0, table)
    bottoms = np.where(own, 0.0, table[np.arange(N), best][:, None] + np.cumsum(above, axis=1) - above)
    for k, name in enumerate(components):
        ax.bar(np.arange(N), table[:, k], bottom=bottoms[:, k], width=0.86, **_look(int(name)))


def _look(component: int) -> dict[str, Any]:
    if component < 0:
        return {"facecolor": _NOISE, "edgecolor": "white", "linewidth": 0.4}
    hatch = _HATCHES[component // _COLOURS % len(_HATCHES)]
    return {"facecolor": colour(component), "edgecolor": "white", "linewidth": 0.4, "hatch": hatch}


def _whiskers(ax: Axes, shown: xr.Dataset, best: IntArray) -> None:
    places = np.arange(len(best))
    middle, lower, upper = (
        shown[name].transpose("obs", "component").values[places, best] for name in ("responsibility", "lower", "upper")
    )
    # A mean may lie outside the central interval of a very skew distribution.
    ax.vlines(places, lower, upper, color="white", lw=3.2, zorder=3)
    ax.vlines(places, lower, upper, color="#111111", lw=1.4, zorder=4)
    ax.scatter(places, middle, s=14, color="#111111", edgecolors="white", linewidths=0.5, zorder=5)


def _names(ax: Axes, obs: Any, groups: IntArray) -> None:
    n = len(obs)
    if n > _MOST_NAMED:
        ax.set_xticks([])
        return
    ax.set_xticks(np.arange(n), [plain(name, 14) for name in obs], rotation=90 if n > 10 else 0)
    for i, k in enumerate(groups):
        name = "–" if k < 0 else str(k)
        ax.text(i, -0.012, name, ha="center", va="top", fontsize=7, fontweight="bold", color=_look(int(k))["facecolor"])
    ax.set_xlim(-0.7, n - 0.3)


def _legend(ax: Axes, components: IntArray, prob: float | None) -> None:
    names = {int(k): "noise" if k < 0 else f"group {k}" for k in components[:_MOST_IN_LEGEND]}
    handles: list[Any] = [Patch(label=words, **_look(k)) for k, words in names.items()]
    interval = "interval" if prob is None else f"{prob:.0%} interval"
    handles.append(Line2D([], [], color="#111111", lw=1.4, marker="o", ms=3.5, label=f"{interval} of the most probable"))
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(4, len(handles)), fontsize=8, frameon=False)
