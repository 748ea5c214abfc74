"""The map of doubt: whose group is unclear."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from bayesgmm.params import MixtureParams
from bayesgmm.plots.geometry import average, ellipse, plane_for
from bayesgmm.plots.groups import plain_axis, some_rows
from bayesgmm.plots.style import DOUBT, axes_or_new, feature_names_or_default, mixture_of, plain, tidy
from bayesgmm.tables import numbers_in
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["plot_uncertainty"]


def plot_uncertainty(
    X: Any,
    fit: Any,
    responsibilities: ArrayLike | None = None,
    *,
    feature_names: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw each point in the colour and size of its doubt, which is 1 - the probability of its most probable group.

    One column: the points in a strip under the density. Two: a scatter. More: the plane that tells the groups apart
    best, or of two ``features``.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
    fit : fitted estimator or MixtureParams
        Its ellipses (90%, grey) or density give the eye a hold.
    responsibilities : array of shape (N, K), optional
        By default those of the fit's average mixture; give the posterior mean responsibilities where you have them.
    feature_names, features : sequence of str, optional
        Names of the columns, and the two to look at; as for `plot_groups`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> em = MixtureParams.from_covariances([0.5, 0.5], [[0.0], [5.0]], [[[1.0]], [[1.0]]])
    >>> ax = plot_uncertainty([[0.0], [2.5], [5.0]], em)
    >>> ax.get_xlabel()
    'x0'
    """
    names = feature_names_or_default(X, feature_names)
    params = mixture_of(fit, "fit", X)
    assert params is not None
    mixture = average(params)
    rows = numbers_in(X)
    table = mixture.responsibilities(rows) if responsibilities is None else np.asarray(responsibilities, dtype=float)
    doubt = 1 - table.max(axis=1)
    ax = axes_or_new(ax)
    drawn = (
        _strip(ax, rows[:, 0], mixture, names[0], doubt) if rows.shape[1] == 1 else _map(ax, rows, mixture, names, features, doubt)
    )
    _colour_bar(ax, drawn)
    return tidy(ax)


def _scatter(ax: Axes, points: FloatArray, doubt: FloatArray, n_components: int) -> PathCollection:
    """Points, the doubtful ones larger, darker and on top."""
    shown = some_rows(len(points))
    shown = shown[np.argsort(doubt[shown], kind="stable")]
    most = max(1 - 1 / n_components, 1e-9)
    base = float(np.clip(4000 / len(shown), 3, 14))
    size = base + 60 * doubt[shown] / most
    return ax.scatter(
        points[shown, 0],
        points[shown, 1],
        c=doubt[shown],
        s=size,
        cmap=DOUBT,
        vmin=0,
        vmax=most,
        linewidths=0.3,
        edgecolors="#55555588",
        rasterized=len(shown) > 3000,
    )


def _map(
    ax: Axes,
    rows: FloatArray,
    mixture: MixtureParams,
    names: list[str],
    features: Sequence[str] | None,
    doubt: FloatArray,
) -> PathCollection:
    plane = plane_for(mixture, names, features)
    flat = plane.mixture(mixture)
    for outline in ellipse(flat.means, flat.scale_tril, 0.9):
        ax.plot(*outline.T, color="#9aa4ab", lw=1, zorder=0)
    ax.set_xlabel(plain_axis(plane.names[0]))
    ax.set_ylabel(plain_axis(plane.names[1]))
    return _scatter(ax, plane.points(rows), doubt, mixture.n_components)


def _strip(ax: Axes, x: FloatArray, mixture: MixtureParams, name: str, doubt: FloatArray) -> PathCollection:
    """Density above, points below it, shaken up and down so that they don't hide each other."""
    margin = 0.08 * np.ptp(x)
    grid = np.linspace(x.min() - margin, x.max() + margin, 500)
    density = np.exp(mixture.log_density(grid[:, None]))
    top = density.max()
    ax.plot(grid, density, color="#9aa4ab", lw=1.5)
    ax.fill_between(grid, density, color="#9aa4ab", alpha=0.15, lw=0)
    ax.axhline(0, color="#9aa4ab", lw=0.8)
    height = -top * np.random.default_rng(0).uniform(0.06, 0.3, len(x))
    drawn = _scatter(ax, np.column_stack([x, height]), doubt, mixture.n_components)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top * 1.05])
    ax.set_ylim(-0.36 * top, 1.08 * top)
    ax.set_xlabel(plain(name))
    ax.set_ylabel("density; points below")
    return drawn


def _colour_bar(ax: Axes, drawn: PathCollection) -> None:
    figure = ax.get_figure(root=False)
    assert figure is not None
    bar = figure.colorbar(drawn, ax=ax, pad=0.02, aspect=30)
    bar.set_label("doubt (1 − largest probability)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
