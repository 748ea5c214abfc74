"""Are responsibilities right as often as they say: the calibration curve, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.partitions import calibration_error, match_to_truth, reliability_curve
from bayesgmm.plots.style import axes_or_new, colour, marker, plain, tidy
from bayesgmm.typing import ArrayLike

__all__ = ["plot_reliability"]


def plot_reliability(
    responsibilities: Any, truth: ArrayLike, *, n_bins: int = 10, prob: float = 0.9, ax: Axes | None = None
) -> Axes:
    """Draw how often the most probable group is the true one against the probability that it was given.

    On the diagonal a fit is as sure as it should be; below it is too sure, above not sure enough.

    Parameters
    ----------
    responsibilities : array of shape (N, K), or mapping of names to such arrays
        Of one or several fits, for the same rows. Each is first given the labels that agree best with the truth.
    truth : int array of shape (N,)
        The true groups, 0 to K - 1, as in simulated data.
    n_bins : int
        Bins of the largest probability, from 1 / K to 1.
    prob : float
        Of the binomial intervals of the shares.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidDataError, InvalidParameterError
        If there is nothing to draw, or responsibilities and truth do not go together.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> truth = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> X, groups = truth.sample(500, random_state=1)
    >>> ax = plot_reliability({"the truth": truth.responsibilities(X)}, groups)
    >>> ax.get_ylabel()
    'share of rows that are in it'
    """
    fits = dict(responsibilities) if isinstance(responsibilities, Mapping) else {"": responsibilities}
    if not fits:
        raise InvalidParameterError("responsibilities is empty: give those of at least one fit")
    ax = axes_or_new(ax, size=(5.2, 4.8))
    ax.plot([0, 1], [0, 1], color="#9aa4ab", lw=1, zorder=1)
    least, drawn, words = 1.0, [], []
    for i, (name, given) in enumerate(fits.items()):
        table = match_to_truth(given, truth)
        error = calibration_error(table, truth, n_bins=n_bins)
        curve = reliability_curve(table, truth, n_bins=n_bins, prob=prob)
        drawn.append(_draw(ax, i, curve))
        words.append(f"{plain(name)} (mean distance {error:.3f})".lstrip())
        least = min(least, 1 / table.shape[1], float(curve["lower"].min()))
    ax.set_xlim(min(1 / np.shape(table)[1], 0.9) - 0.03, 1.01)
    ax.set_ylim(max(0.0, least - 0.03), 1.02)
    ax.set_xlabel("probability of the most probable group")
    ax.set_ylabel("share of rows that are in it")
    legend = ax.legend(drawn, map(str, range(len(drawn))), loc="upper left", fontsize=8, frameon=False)
    for text, said in zip(legend.get_texts(), words, strict=True):
        text.set_text(said)  # given as a label, a name that begins with an underscore would be left out
    return tidy(ax)


def _draw(ax: Axes, i: int, curve: Any) -> ErrorbarContainer:
    ends = np.stack([curve["correct"] - curve["lower"], curve["upper"] - curve["correct"]])
    look: dict[str, Any] = {"color": colour(i), "marker": marker(i), "markersize": 5, "lw": 1.4, "elinewidth": 1.0, "capsize": 2}
    return ax.errorbar(curve["predicted"], curve["correct"], yerr=np.maximum(ends, 0.0), **look)
