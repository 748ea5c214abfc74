"""How sure the groups of rows are: the map of doubt, entropy by its cause, the rows most in doubt, and the calibration curve.

The doubt of a row is 1 - the probability of its most probable group: the probability that its label is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.expectation import responsibility_moments
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import calibration_error, match_to_truth, reliability_curve, row_summary
from bayesgmm.partitions.doubt import check_row_summary
from bayesgmm.plots import style
from bayesgmm.plots.geometry import Plane, average, ellipse, plane_for, plane_of_features, plane_of_labels
from bayesgmm.rows import Chunk
from bayesgmm.tables.numeric import numbers_in
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["plot_doubt", "plot_entropy", "plot_reliability", "plot_responsibilities"]

_TITLES = {"aleatoric": "the groups overlap (aleatoric)", "epistemic": "too little data (epistemic)"}
_LEAST_SCALE = 0.1  # nats, as of 98 against 2 per cent: less entropy than this is not made to look like much
_ENDS = ("", "_lower", "_upper")
_NOISE = "#b5bcc2"
_HATCHES = ("", "///", "...", "xxx")
_COLOURS = 7  # after which `colour` repeats
_MOST_NAMED = 45  # bars that are wide enough for a name and a number
_MOST_IN_LEGEND = 12


def plot_doubt(
    X: ArrayLike | pd.DataFrame,
    summary: xr.Dataset | style.Fit,
    *,
    mixture: style.Fit | None = None,
    feature_names: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw each point in the colour and size of its doubt, which is 1 - the probability of its most probable group.

    One column: the points in a strip under the histogram and the density. Two: a scatter. More: the plane that tells the groups apart
    best, or of two ``features``.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        Rows with missing values cannot be placed and are left out; the picture says how many.
    summary : xarray.Dataset, fitted estimator or MixtureParams
        What ``row_summary(X)`` of a fit returns, or the fit.
    mixture : fitted estimator or MixtureParams, optional
        Its ellipses (90%, grey) or density give the eye a hold; by default those of the fit, if ``summary`` is one. Of many draws their
        average is drawn.
    feature_names, features : sequence of str, optional
        Names of the columns, and the two to look at; as for `plot_groups`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If ``summary`` is neither a fit nor such a table, or has other rows than X.
    InvalidDataError
        If every row has a missing value.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> em = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [5.0]], [[[1.0]], [[1.0]]])
    >>> ax = plot_doubt([[0.0], [2.5], [5.0]], em)
    >>> ax.get_xlabel()
    'x0'
    """
    if mixture is None and not isinstance(summary, xr.Dataset):
        mixture = summary
    behind = None if mixture is None else average(style.mixture_of(mixture, "fit", X))
    table = _doubts(summary, X, ("doubt", "component") if behind is not None else ("doubt", "component", "label"))
    rows, names = style.rows_and_names(X, feature_names)
    whole = style.complete_rows(rows)
    if behind is None:
        plane = _plane(rows[whole], table["label"].values[whole], names, features)
    else:
        plane = None if rows.shape[1] == 1 else plane_for(behind, names, features)
    most = max(1 - 1 / table.sizes["component"], 1e-9)
    ax = style.axes_or_new(ax)
    drawn = _draw(ax, rows[whole], plane, names[0], table["doubt"].values[whole], most, behind)
    style.say_gaps(ax, whole)
    style.colour_bar([ax], drawn, "doubt (1 − largest probability)", pad=0.02, aspect=30)
    return ax


def plot_entropy(
    X: ArrayLike | pd.DataFrame, summary: xr.Dataset | style.Fit, *, feature_names: Sequence[str] | None = None, axs: Any = None
) -> Any:
    """Draw each point in the colour and size of the entropy of its group, once for each cause, on one scale.

    One column: the points in a strip below the histogram. Two: a scatter. More: the first two discriminant axes of the labels, or
    principal axes where there are too few groups for them; the labels of the axes say which.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
        Rows with missing values cannot be placed and are left out; the picture says how many.
    summary : xarray.Dataset, fitted estimator or MixtureParams
        What ``row_summary(X)`` of a fit returns, or the fit.
    feature_names : sequence of str, optional
        Names of the columns; those of a DataFrame by default.
    axs : array of two Axes, optional

    Returns
    -------
    array of two matplotlib.axes.Axes
        Overlap (aleatoric) on the left, lack of data (epistemic) on the right.

    Raises
    ------
    InvalidParameterError
        If ``summary`` lacks a variable or has other rows than X, or fewer than two axes are given.
    InvalidDataError
        If every row has a missing value.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> X = bg.datasets.load_faithful()
    >>> em = bg.GaussianMixture(2, random_state=1).fit(X)
    >>> [ax.get_title(loc="left") for ax in plot_entropy(X, em)]
    ['the groups overlap (aleatoric)', 'too little data (epistemic)']
    """
    table = _table(summary, X, (*_TITLES, "label"))
    rows, names = style.rows_and_names(X, feature_names)
    whole = style.complete_rows(rows)
    axes = style.panels(2, axs, "two axes, one for each cause", n_cols=2, size=(9.6, 4.2))
    parts = [table[name].values[whole] for name in _TITLES]
    most = float(np.clip(np.max(parts), _LEAST_SCALE, None))
    plane = _plane(rows[whole], table["label"].values[whole], names)
    for ax, title, part in zip(axes, _TITLES.values(), parts, strict=True):
        drawn = _draw(ax, rows[whole], plane, names[0], part, most, None)
        ax.set_title(title, loc="left", fontsize=10)
    style.say_gaps(axes[0], whole)
    style.colour_bar(axes, drawn, "entropy (nats; an even choice of two is 0.69)", pad=0.02, aspect=30)
    return np.asarray(axes)


def _doubts(summary: xr.Dataset | style.Fit, X: ArrayLike | pd.DataFrame, needed: Sequence[str]) -> xr.Dataset:
    """The table of rows X; of a fit without intervals, which take most of the time and are not drawn."""
    if isinstance(summary, MixtureParams):
        flat = summary.reshape(-1)
        r = responsibility_moments(Chunk(numbers_in(X)), *flat.arrays(), diagonal=flat.is_diagonal).mean
    elif hasattr(summary, "predict_proba"):
        r = summary.predict_proba(X)
    else:
        return _table(summary, X, needed)
    return xr.Dataset({"doubt": ("obs", 1.0 - r.max(axis=1))}, coords={"component": np.arange(r.shape[1])})


def _table(summary: xr.Dataset | style.Fit, X: ArrayLike | pd.DataFrame | None, needed: Sequence[str]) -> xr.Dataset:
    """The table of rows X, those that were fitted if there are none: itself, or that of a fit."""
    table: Any = summary
    if isinstance(summary, MixtureParams) and X is not None:
        table = row_summary(summary, numbers_in(X))
    elif hasattr(summary, "row_summary"):
        table = summary.row_summary(X)
    check_row_summary(table, needed)
    if X is not None and (n := np.shape(X)[0]) != table.sizes["obs"]:
        raise InvalidParameterError(f"X has {n} rows and summary {table.sizes['obs']}: give those of one fit")
    return cast("xr.Dataset", table)


def _plane(rows: FloatArray, labels: IntArray, names: Sequence[str], features: Sequence[str] | None = None) -> Plane | None:
    """The plane to look at; none for one column."""
    if len(names) == 1:
        return None
    look_at_all = features is None and len(names) > 2
    return plane_of_labels(rows, labels, names) if look_at_all else plane_of_features(names, features)


def _draw(
    ax: Axes, rows: FloatArray, plane: Plane | None, name: str, values: FloatArray, most: float, mixture: MixtureParams | None
) -> PathCollection:
    """Points in the colour and size of their values; a mixture is drawn in grey behind them."""
    if plane is None:
        return _strip(ax, rows[:, 0], name, values, most, mixture)
    if mixture is not None:
        flat = plane.mixture(mixture)
        for outline in ellipse(flat.means, flat.scale_tril, 0.9):
            ax.plot(*outline.T, color=style.LIGHT_GREY, lw=1, zorder=0)
    return _scatter(style.name_axes(ax, plane.names), plane.points(rows), values, most)


def _scatter(ax: Axes, points: FloatArray, values: FloatArray, most: float) -> PathCollection:
    """Points, those of large values larger, darker and on top."""
    shown = style.some_rows(len(points))
    shown = shown[np.argsort(values[shown], kind="stable")]
    look: dict[str, Any] = {"cmap": style.DOUBT, "vmin": 0.0, "vmax": most, "linewidths": 0.3, "edgecolors": "#55555588"}
    size = float(np.clip(4000 / len(shown), 3, 14)) + 60 * values[shown] / most
    return ax.scatter(points[shown, 0], points[shown, 1], c=values[shown], s=size, rasterized=len(shown) > 3000, **look)


def _strip(ax: Axes, x: FloatArray, name: str, values: FloatArray, most: float, mixture: MixtureParams | None) -> PathCollection:
    """Histogram above, points below it, shaken up and down so that they don't hide each other."""
    counts, edges, grid = style.histogram(ax, x)
    top = float(counts.max())
    if mixture is not None:
        curve = np.exp(mixture.log_density(grid[:, None])) * len(x) * (edges[1] - edges[0])
        ax.plot(grid, curve, color=style.LIGHT_GREY, lw=1.5)
        top = max(top, float(curve.max()))
    ax.axhline(0, color=style.LIGHT_GREY, lw=0.8)
    height = -top * np.random.default_rng(0).uniform(0.06, 0.3, len(x))
    drawn = _scatter(style.tidy(ax), np.column_stack([x, height]), values, most)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top * 1.05 and tick == round(tick)])
    ax.set(ylim=(-0.36 * top, 1.08 * top), xlabel=style.plain(name), ylabel="rows; points below")
    return drawn


def plot_responsibilities(summary: xr.Dataset | style.Fit, most: int = 40, *, ax: Axes | None = None) -> Axes:
    """Draw the responsibilities of the points most in doubt as stacked bars, the most doubtful first.

    The most probable group stands at the bottom of its bar, with its number below it, so that the whisker, the interval of that group's
    responsibility, can be read on the axis.

    Parameters
    ----------
    summary : xarray.Dataset or fitted estimator
        What ``row_summary()`` of a fit returns, or the fit, for the rows that were fitted.
    most : int
        Most points to show.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If ``most`` is below 1 or ``summary`` lacks a variable.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> em = bg.GaussianMixture(2, random_state=1).fit(bg.datasets.load_faithful())
    >>> ax = plot_responsibilities(em, most=10)
    >>> len(ax.get_xticks())
    10
    """
    whiskers = tuple(f"responsibility{end}" for end in _ENDS)
    table = _table(summary, None, ("component", "doubt", *whiskers))
    if most < 1:
        raise InvalidParameterError(f"most must be at least 1, got {most}")
    order = np.argsort(-table["doubt"].values, kind="stable")[:most]
    shown = table.isel(obs=order)
    heights, components = shown["responsibility"].transpose("obs", "component").values, shown["component"].values
    ax = style.axes_or_new(ax, size=(float(np.clip(1.6 + 0.2 * len(order), 6.4, 11)), 4.2))
    best = heights.argmax(axis=1)
    _bars(ax, heights, best, components)
    _whiskers(ax, shown, best)
    _names(ax, shown["obs"].values, components[best])
    ax.set(xlabel=f"row, the most doubtful first ({len(order)} of {table.sizes['obs']})", ylabel="probability of the group")
    ax.set_ylim(-0.06, 1)
    names = {int(k): "noise" if k < 0 else f"group {k}" for k in components[:_MOST_IN_LEGEND]}
    handles: list[Any] = [Patch(label=words, **_look(k)) for k, words in names.items()]
    interval = f"{table.attrs['prob']:.0%} interval" if "prob" in table.attrs else "interval"
    handles.append(Line2D([], [], color="#111111", lw=1.4, marker="o", ms=3.5, label=f"{interval} of the most probable"))
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(4, len(handles)), fontsize=8, frameon=False)
    return style.tidy(ax)


def _bars(ax: Axes, table: FloatArray, best: IntArray, components: IntArray) -> None:
    """The most probable group at the bottom, the others on it in their order."""
    N, K = table.shape
    own = np.arange(K) == best[:, None]
    above = np.where(own, 0.0, table)
    bottoms = np.where(own, 0.0, table[np.arange(N), best][:, None] + np.cumsum(above, axis=1) - above)
    for k, name in enumerate(components):
        ax.bar(np.arange(N), table[:, k], bottom=bottoms[:, k], width=0.86, **_look(int(name)))


def _look(component: int) -> dict[str, Any]:
    look: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.4}
    if component < 0:
        return look | {"facecolor": _NOISE}
    return look | {"facecolor": style.colour(component), "hatch": _HATCHES[component // _COLOURS % len(_HATCHES)]}


def _whiskers(ax: Axes, shown: xr.Dataset, best: IntArray) -> None:
    places = np.arange(len(best))
    middle, lower, upper = (shown[f"responsibility{end}"].transpose("obs", "component").values[places, best] for end in _ENDS)
    # A mean may lie outside the central interval of a very skew distribution.
    ax.vlines(places, lower, upper, color="white", lw=3.2, zorder=3)
    ax.vlines(places, lower, upper, color="#111111", lw=1.4, zorder=4)
    ax.scatter(places, middle, s=14, color="#111111", edgecolors="white", linewidths=0.5, zorder=5)


def _names(ax: Axes, obs: np.ndarray, groups: IntArray) -> None:
    n = len(obs)
    if n > _MOST_NAMED:
        ax.set_xticks([])
        return
    ax.set_xticks(np.arange(n), [style.plain(name, 14) for name in obs], rotation=90 if n > 10 else 0)
    for i, k in enumerate(groups):
        name = "–" if k < 0 else str(k)
        ax.text(i, -0.012, name, ha="center", va="top", fontsize=7, fontweight="bold", color=_look(int(k))["facecolor"])
    ax.set_xlim(-0.7, n - 0.3)


def plot_reliability(
    responsibilities: ArrayLike | Mapping[str, ArrayLike],
    truth: ArrayLike,
    *,
    n_bins: int = 10,
    prob: float = 0.9,
    ax: Axes | None = None,
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
    ax = style.axes_or_new(ax, size=(5.2, 4.8))
    ax.plot([0, 1], [0, 1], color=style.LIGHT_GREY, lw=1, zorder=1)
    least, drawn, words = 1.0, [], []
    for i, (name, given) in enumerate(fits.items()):
        table = match_to_truth(given, truth)
        curve = reliability_curve(table, truth, n_bins=n_bins, prob=prob)
        share, look = curve["correct"], {"markersize": 5, "lw": 1.4, "elinewidth": 1.0, "capsize": 2} | style.look(i)
        ends = np.maximum([share - curve["lower"], curve["upper"] - share], 0.0)
        drawn.append(ax.errorbar(curve["predicted"], share, yerr=ends, **look))
        error = calibration_error(table, truth, n_bins=n_bins)
        words.append(f"{style.plain(name)} (mean distance {error:.3f})".lstrip())
        least = min(least, 1 / table.shape[1], float(curve["lower"].min()))
    ax.set(xlim=(min(1 / table.shape[1], 0.9) - 0.03, 1.01), ylim=(max(0.0, least - 0.03), 1.02))
    ax.set(xlabel="probability of the most probable group", ylabel="share of rows that are in it")
    legend = ax.legend(drawn, map(str, range(len(drawn))), loc="upper left", fontsize=8, frameon=False)
    for text, said in zip(legend.get_texts(), words, strict=True):
        text.set_text(said)  # given as a label, a name that begins with an underscore would be left out
    return style.tidy(ax)
