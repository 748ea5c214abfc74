"""How many of the groups have points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots.style import axes_or_new, colour, tidy

__all__ = ["plot_occupied"]

_RARE = 0.005


def plot_occupied(probability: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the posterior probability of each number of groups that have any points.

    Parameters
    ----------
    probability : pandas.Series
        What `bayesgmm.partitions.occupied_components` returns, or ``groups.occupied`` of a comparison.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If the probabilities are something else.

    Examples
    --------
    >>> from bayesgmm.partitions import occupied_components
    >>> ax = plot_occupied(occupied_components([[0, 0, 1], [0, 1, 2], [0, 1, 1]]))
    >>> [round(float(bar.get_height()), 2) for bar in ax.patches]
    [0.0, 0.67, 0.33]
    """
    if not isinstance(probability, pd.Series) or probability.index.name != "n_groups":
        raise InvalidParameterError(f"probability must be what occupied_components returns, got {type(probability).__name__}")
    ax = axes_or_new(ax)
    numbers, heights = probability.index.to_numpy(), probability.to_numpy()
    ax.bar(numbers, heights, width=0.7, color=colour(0))
    for n, height in zip(numbers, heights, strict=True):
        if height >= _RARE:
            ax.annotate(f"{height:.0%}", (n, height), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9)
    ax.set_xlabel("number of groups that have points")
    ax.set_ylabel("posterior probability")
    ax.set_ylim(0, min(1.08, 1.25 * float(np.max(heights))))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.yaxis.set_major_locator(MaxNLocator(5, prune="upper"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return tidy(ax)
