"""The picture that only a report draws: why this number of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bayesgmm.plots.style import colour, marker, new_axes, tidy
from bayesgmm.typing import FloatArray

if TYPE_CHECKING:
    from bayesgmm.report.choice import Choice

__all__ = ["plot_choice"]

_GREY = "#7a858c"


def plot_choice(choice: Choice) -> Any:
    """Draw BIC and ICL above their least value, and how much worse rows left out are predicted, by the number of groups.

    Parameters
    ----------
    choice : Choice

    Returns
    -------
    array of matplotlib.axes.Axes
        One axes, or two where the models have posteriors.
    """
    n_panels = 2 if choice.has_posteriors else 1
    axes: Any = new_axes(1, n_panels, size=(4.4 * n_panels, 3.2))[1].ravel()
    _criteria(axes[0], choice)
    if n_panels == 2:
        _prediction(axes[1], choice)
    for ax in axes:
        ax.axvline(choice.n_components, color=_GREY, lw=1, ls=(0, (2, 2)), zorder=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set_xlabel("number of groups (dotted line: the one chosen)", fontsize=9)
        tidy(ax)
    return axes


def _criteria(ax: Axes, choice: Choice) -> None:
    """Both criteria, each above its own least value among the models that may be chosen."""
    rows = choice.selection.table.sort_values("n_components")
    for i, (name, label) in enumerate((("bic", "BIC"), ("icl", "ICL"))):
        least = float(choice.selection.ranking(name)[name].iloc[0])
        ax.plot(rows["n_components"], rows[name] - least, color=colour(i), marker=marker(i), ms=6, lw=1.4, label=label)
    ax.axhspan(0, 2, color="#e3e6e8", lw=0, zorder=0)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.set_title("above the least: smaller is better", loc="left", fontsize=9.5)
    ax.legend(frameon=False, fontsize=9)


def _prediction(ax: Axes, choice: Choice) -> None:
    """Expected log predictive density of rows left out, below the best model's, with two standard errors."""
    rows = choice.selection.table.dropna(subset="elpd").sort_values("n_components")
    x, y = rows["n_components"].to_numpy(float), rows["elpd_difference"].to_numpy(float)
    error: FloatArray = 2 * np.nan_to_num(rows["elpd_difference_se"].to_numpy(float))
    ax.errorbar(x, y, yerr=error, color=colour(2), marker="o", ms=6, lw=1.4, elinewidth=1, capsize=3)
    ax.axhline(0, color=_GREY, lw=0.8)
    ax.set_title("prediction of rows left out: larger is better", loc="left", fontsize=9.5)
