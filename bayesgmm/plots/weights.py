"""Weights of the components in each sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots import style

__all__ = ["plot_sample_weights"]

_MOST_SAMPLES = 40


def plot_sample_weights(weights: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how large each group is in each sample; of a posterior, with intervals.

    Parameters
    ----------
    weights : pandas.DataFrame
        What ``sample_weights()`` of a fit with ``samples=`` returns. Beyond 40 samples, 40 spread over them in order are drawn.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If the weights are something else.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = [[0.0], [0.1], [0.3], [5.0], [0.2], [5.1], [5.2], [5.4]]
    >>> em = bg.GaussianMixture(2, random_state=1).fit(X, samples=["a"] * 4 + ["b"] * 4)
    >>> ax = plot_sample_weights(em.sample_weights())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['a', 'b']
    """
    if not {"sample", "component", "weight"} <= set(getattr(weights, "columns", ())):
        raise InvalidParameterError(f"weights must be what sample_weights() returns, got {type(weights).__name__}")
    samples, components = (list(dict.fromkeys(weights[name])) for name in ("sample", "component"))
    shown = [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _MOST_SAMPLES)).round().astype(int))]
    K = len(components)
    ax = style.axes_or_new(ax, (6.4, 1.2 + len(shown) * (0.16 + 0.1 * min(K, 4))))
    place = {name: y for y, name in enumerate(shown)}
    for y in range(1, len(shown)):
        ax.axhline(y - 0.5, color="#e3e6e8", lw=0.8, zorder=0)
    for k, component in enumerate(components):
        rows = weights[(weights["component"] == component) & weights["sample"].isin(shown)]
        at = rows["sample"].map(place).to_numpy(float) + (k - (K - 1) / 2) * 0.7 / K
        if "lower" in rows:
            ax.hlines(at, rows["lower"], rows["upper"], color=style.colour(k), lw=3, alpha=0.45)
        label = f"group {component}" if str(component) == str(k) else style.plain(component)
        ax.plot(rows["weight"], at, ls="", ms=6, clip_on=False, label=label, gid=f"group-{k}", **style.look(k))
    ax.set(
        yticks=range(len(shown)),
        yticklabels=[style.plain(name) for name in shown],
        ylim=(len(shown) - 0.5, -0.5),
        xlim=(0, max(0.01, min(1.0, 1.05 * float(weights[[c for c in ("weight", "upper") if c in weights]].max().max())))),
        xlabel="share of the sample" + (", with its interval" if "lower" in weights else ""),
    )
    if len(shown) < len(samples):
        ax.set_ylabel(f"{len(shown)} of {len(samples)} samples")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(K, 4), frameon=False, fontsize=9, handletextpad=0.2)
    return style.tidy(ax)
