"""What the prior believes before it meets the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.stats import norm

from bayesgmm.params import MixtureParams
from bayesgmm.plots import style
from bayesgmm.plots.geometry import ellipse
from bayesgmm.priors import Priors
from bayesgmm.random import generator
from bayesgmm.typing import ArrayLike, CovarianceType, FloatArray, IntArray, RandomState

__all__ = ["plot_prior"]

_MOST_LINES = 12


def plot_prior(
    X: ArrayLike | pd.DataFrame,
    n_components: int,
    covariance_type: CovarianceType = "full",
    priors: Priors | None = None,
    *,
    n_draws: int = 2000,
    random_state: RandomState = 0,
    feature_names: Sequence[str] | None = None,
    axs: Any = None,
) -> Any:
    """Draw what the prior believes: weights, how many components have rows at all, how wide components are, and what they look like.

    First, the weights from the largest to the smallest. Second, how many components hold at least one row of a data set as long as
    X. Third, the standard deviations of the components in each column, in standard deviations of the column: right of 1 a component
    is wider than all the data. Dots are medians; thick lines hold 50 % of the prior, thin lines 90 %. At most twelve lines are drawn.
    Fourth, the rows in the two columns that go together most, and in them a dozen components of the prior as outlines that hold 90 % of
    their rows; of a single column, their densities.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        Scales the default priors, and is what the pictures compare them with.
    n_components : int
        Number of components K.
    covariance_type : {"full", "tied", "diag", "spherical"}
    priors : Priors, optional
        In the units of X; by default `Priors`, scaled by the data.
    n_draws : int
    random_state : int, Generator, RandomState or None
    feature_names : sequence of str, optional
    axs : array of four Axes, optional

    Returns
    -------
    array of four matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError, InvalidDataError
        As for :meth:`bayesgmm.Priors.sample`, or if ``axs`` are fewer than four.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> weights, occupied, spread, groups = plot_prior(bg.datasets.load_faithful(), 4, n_draws=200)
    >>> occupied.get_xlabel()
    'occupied components, for 272 rows'
    """
    rng, (values, names) = generator(random_state), style.rows_and_names(X, feature_names)
    mixtures = (Priors() if priors is None else priors).sample(X, n_components, covariance_type, n_draws=n_draws, random_state=rng)
    axes = style.panels(4, axs, "four axes", n_cols=2, size=(9.6, 7.2))
    _weights(axes[0], mixtures.weights)
    _occupied(axes[1], rng.multinomial(len(values), mixtures.weights), len(values))
    _spread(axes[2], mixtures, np.nanstd(values, axis=0), names)
    _groups(axes[3], values, mixtures[:_MOST_LINES], names, rng)
    return np.asarray(axes)


def _weights(ax: Axes, weights: FloatArray) -> None:
    ranked = -np.sort(-weights, axis=-1)[:, :_MOST_LINES]
    for place, values in enumerate(ranked.T, start=1):
        _line(ax, values, place, vertical=True)
    _count_from_one(ax, ranked.shape[1])
    ax.set(xlabel="component, largest first" + _of(ranked.shape[1], weights.shape[1]), ylabel="weight")


def _occupied(ax: Axes, counts: IntArray, n_rows: int) -> None:
    K = counts.shape[1]
    share = np.bincount((counts > 0).sum(-1), minlength=K + 1)[1:] / len(counts)
    ax.bar(np.arange(1, K + 1), share, width=0.7, color=style.colour(0))
    _count_from_one(ax, K)
    ax.set(xlabel=f"occupied components, for {n_rows:,} rows", ylabel="prior probability")


def _count_from_one(ax: Axes, n: int) -> None:
    """Make axes of shares over the numbers 1 to n."""
    style.tidy(ax).set(xticks=range(1, n + 1, -(-n // 12)), xlim=(0.4, n + 0.6), ylim=(0, 1.02))


def _of(shown: int, total: int) -> str:
    return "" if shown == total else f" ({shown} of {total})"


def _spread(ax: Axes, mixtures: MixtureParams, column_sd: FloatArray, names: list[str]) -> None:
    total, names = len(names), names[:_MOST_LINES]
    for d in range(len(names)):
        _line(ax, mixtures.sds[..., d] / column_sd[d], d, vertical=False)
    ax.axvline(1.0, color=style.LIGHT_GREY, lw=1, ls="--", zorder=0)
    ax.text(1.0, 1.01, "all data", transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8, color="#66707a")
    ax.set_xscale("log")
    # 0.1 and 1, not powers of ten.
    ax.set_xticks(_ticks(*ax.get_xlim()))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(names)), [style.plain(name, 18) for name in names])
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel="component sd / column sd" + _of(len(names), total))
    style.tidy(ax)


def _groups(ax: Axes, X: FloatArray, mixtures: MixtureParams, names: list[str], rng: np.random.Generator) -> None:
    """Draw one component of each mixture over the rows, in the columns that go together most."""
    chosen = rng.integers(mixtures.n_components, size=len(mixtures.weights))
    every = np.arange(len(chosen))
    means, covariances = mixtures.means[every, chosen], mixtures.covariances[every, chosen]
    rows = X[style.some_rows(len(X))]
    if X.shape[1] == 1:
        grid = np.linspace(float(np.nanmin(rows)), float(np.nanmax(rows)), 200)
        ax.plot(grid, norm.pdf(grid[:, None], means[:, 0], np.sqrt(covariances[:, 0, 0])), color=style.colour(0), lw=1)
        ax.plot(rows[:, 0], np.zeros(len(rows)), "|", color="#66707a", ms=8)
        style.tidy(ax).set(xlabel=style.plain(names[0]), ylabel="density of components")
        return
    pair = list(_most_together(rows))
    rows = rows[:, pair]
    ax.plot(*rows.T, ".", color=style.LIGHT_GREY, ms=3, zorder=0)
    for mean, covariance in zip(means[:, pair], covariances[:, pair][..., pair], strict=True):
        ax.plot(*ellipse(mean, np.linalg.cholesky(covariance), 0.9).T, color=style.colour(0), lw=1)
    # Of components far out the part near the rows is enough.
    low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    (left, bottom), (right, top) = low - (high - low), high + (high - low)
    x, y = (style.plain(names[d]) for d in pair)
    style.tidy(ax).set(xlim=(left, right), ylim=(bottom, top), xlabel=x, ylabel=y)


def _most_together(X: FloatArray) -> tuple[int, int]:
    """Return the two columns with the largest correlation in size, over the rows that have all; the first two where there are none."""
    complete = X[~np.isnan(X).any(1)]
    sd = complete.std(0) if len(complete) > 2 else np.zeros(X.shape[1])
    if not (sd > 0).all():
        return 0, 1
    size = np.abs(np.tril(np.corrcoef(complete, rowvar=False), -1))
    row, column = np.unravel_index(int(size.argmax()), size.shape)
    return int(column), int(row)


def _line(ax: Axes, values: FloatArray, place: int, *, vertical: bool) -> None:
    """Draw the median and the central 50 % and 90 % of some values, on a line of its own."""
    low, lower, median, upper, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    parts = (([low, high], {"lw": 1.2}), ([lower, upper], {"lw": 4, "solid_capstyle": "butt"}), ([median], {"marker": "o"}))
    for ends, look in parts:
        here = [place] * len(ends)
        ax.plot(*((here, ends) if vertical else (ends, here)), color=style.colour(0), mfc="white", ms=5, **look)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the ends of a log scale: the coarsest set that has at least three."""
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    every = int(-(-len(powers) // 6))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [float(m * 10.0**p) for p in powers[::every] for m in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside
    return [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
