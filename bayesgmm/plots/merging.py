"""How much of the overlap of components goes away as they are merged into fewer groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots.style import axes_or_new, colour, tidy

__all__ = ["plot_merging"]

_GREY = "#7a858c"


def plot_merging(merging: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the entropy of the responsibilities against the number of groups, with the suggested number ringed.

    Of a posterior, the band holds 90% of the draws' own entropies along the same path.

    Two straight pieces that meet at the suggestion show the bend that it was read from.

    Parameters
    ----------
    merging : Merging
        What `bayesgmm.selection.merge_components` returns, of an EM fit or of a posterior.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If ``merging`` is something else.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.selection import merge_components
    >>> X = bg.datasets.load_faithful()
    >>> plot_merging(merge_components(bg.GaussianMixture(4, random_state=1).fit(X), X)).get_xlabel()
    'number of groups'
    """
    if not hasattr(merging, "entropy") or not hasattr(merging, "suggested"):
        raise InvalidParameterError(f"merging must be what merge_components returns, got {type(merging).__name__}")
    ax = axes_or_new(ax)
    entropy, n = merging.entropy, merging.suggested
    x, y = entropy.index.to_numpy(dtype=float), entropy.to_numpy()
    band = merging.entropy_interval()
    if band is not None:
        words = "90% of the posterior's draws"
        ax.fill_between(x, band["lower"], band["upper"], color=colour(0), alpha=0.18, lw=0, zorder=-1, label=words)
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.plot(x, y, marker="o", color=colour(0), ls="none", ms=6)
    if n is not None and 1 < n < merging.n_components:
        for part in (slice(None, n), slice(n - 1, None)):
            ax.plot(x[part], np.polyval(np.polyfit(x[part], y[part], 1), x[part]), color=_GREY, lw=1.2, zorder=0)
    if n is not None:
        words = f"suggested: {n} group{'' if n == 1 else 's'}"
        ax.scatter([n], [entropy[n]], s=150, facecolors="none", edgecolors="black", linewidths=1.8, label=words)
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.set_xlabel("number of groups")
    ax.set_ylabel("entropy of the responsibilities (nats)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return tidy(ax)
