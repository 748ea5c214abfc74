"""The picture of the groups: the data, what EM says, what the posterior says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.plots.geometry import Plane, average, ellipse, plane_for
from bayesgmm.plots.style import axes_or_new, colour, feature_names_or_default, marker, mixture_of, plain, tidy
from bayesgmm.tables import numbers_in
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["plot_groups"]

_MOST_POINTS = 20_000
_BAND_DRAWS = 400
_IN_A_ROW = 3
_EM, _MEAN = (0, (4, 2)), "solid"


def plot_groups(
    X: Any,
    em: Any = None,
    posterior: Any = None,
    *,
    labels: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    level: float = 0.9,
    n_draws: int = 25,
    ax: Axes | None = None,
) -> Axes:
    """Draw the data in their groups, with both fits.

    One column: histogram and densities, with the band that holds 95% of the posterior's densities at each place. Two
    columns: points in the colours of their groups, and ellipses that each hold a share ``level`` of a component:
    dashed for EM, solid for the posterior mean, faint for single draws. More columns: the same in the plane that tells
    the groups apart best, or of two ``features``.

    Parameters
    ----------
    X : array-like or DataFrame of shape (N, D)
    em, posterior : fitted estimator or MixtureParams, optional
        At least one of the two. A posterior has batch shape (chain, draw).
    labels : int array of shape (N,), optional
        Groups of the points; by default the most probable ones under the posterior mean mixture (or EM's).
    feature_names : sequence of str, optional
        Names of the columns; those of a DataFrame by default.
    features : pair of str, optional
        The two columns to show.
    level : float
        Share of a component that its ellipse holds.
    n_draws : int
        Posterior draws to show.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If neither fit is given, or ``features`` are not two of the columns.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> em = MixtureParams.from_covariances([0.5, 0.5], [[0.0, 0.0], [5.0, 5.0]], [[[1.0, 0.0], [0.0, 1.0]]] * 2)
    >>> X, _ = em.sample(50, random_state=0)
    >>> ax = plot_groups(X, em)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('x0', 'x1')
    """
    names = feature_names_or_default(X, feature_names)
    em, posterior = mixture_of(em, "em", X), mixture_of(posterior, "posterior", X)
    reference = em if posterior is None else average(posterior)
    if reference is None:
        raise InvalidParameterError("Give a fit to draw: em, posterior or both.")
    rows = numbers_in(X)
    groups = np.asarray(reference.responsibilities(rows).argmax(1) if labels is None else labels)
    ax = axes_or_new(ax)
    if rows.shape[1] == 1:
        return _densities(ax, rows[:, 0], names[0], em, posterior)
    plane = plane_for(em or reference, names, features)
    _points(ax, plane.points(rows), groups, reference.n_components)
    _ellipses(ax, plane, em, posterior, level, n_draws)
    ax.set_xlabel(plain_axis(plane.names[0]))
    ax.set_ylabel(plain_axis(plane.names[1]))
    _legend(ax, reference, em, posterior, level, points=True)
    return tidy(ax)


def plain_axis(name: str) -> str:
    """Label of an axis; what precedes a colon is ours, and what follows goes on a line of its own."""
    for end in (" axis: ", " axis of the rest: "):
        kind, colon, rest = name.partition(end)
        if colon:
            return f"{kind}{end.rstrip()}\n{', '.join(plain(part, 18) for part in rest.split(', '))}"
    return plain(name)


def some_rows(n_rows: int) -> IntArray:
    """Rows to draw: all, or as many as the eye can use, chosen once and for all."""
    if n_rows <= _MOST_POINTS:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, _MOST_POINTS, replace=False))


def _points(ax: Axes, points: FloatArray, groups: IntArray, n_components: int) -> None:
    shown = some_rows(len(points))
    size = float(np.clip(6000 / len(shown), 4, 22))
    for k in range(n_components):
        here = shown[groups[shown] == k]
        ax.scatter(
            points[here, 0],
            points[here, 1],
            s=size,
            marker=marker(k),
            color=colour(k),
            alpha=0.55,
            linewidths=0,
            rasterized=len(shown) > 3000,
        )


def _ellipses(
    ax: Axes, plane: Plane, em: MixtureParams | None, posterior: MixtureParams | None, level: float, n_draws: int
) -> None:
    if posterior is not None:
        draws, mean = plane.mixture(posterior.thin(n_draws)), plane.mixture(average(posterior))
        for k in range(mean.n_components):
            faint = ellipse(draws.means[:, k], draws.scale_tril[:, k], level)
            ax.add_collection(LineCollection(list(faint), colors=colour(k), linewidths=0.6, alpha=0.25), autolim=True)
            ax.plot(
                *ellipse(mean.means[k], mean.scale_tril[k], level).T,
                color=colour(k),
                lw=2,
                ls=_MEAN,
                gid=f"posterior-{k}",
            )
    if em is not None:
        point = plane.mixture(em)
        for k in range(point.n_components):
            ax.plot(*ellipse(point.means[k], point.scale_tril[k], level).T, color="#222222", lw=1.5, ls=_EM, gid=f"em-{k}")


def _legend(ax: Axes, mixture: MixtureParams, em: Any, posterior: Any, level: float | None, *, points: bool) -> None:
    """Groups with their weights, then the line styles."""
    handles: list[Artist] = [_group_handle(k, weight, points=points) for k, weight in enumerate(mixture.weights)]
    of = "" if level is None else f", {level:.0%} ellipse"
    if posterior is not None:
        handles.append(Line2D([], [], color="#666666", lw=2, ls=_MEAN, label=f"posterior mean{of}"))
        faint = "95% of draws" if level is None else "posterior draws"
        handles.append(Line2D([], [], color="#666666", lw=0.6 if level else 6, alpha=0.5 if level else 0.3, label=faint))
    if em is not None:
        handles.append(Line2D([], [], color="#222222", lw=1.5, ls=_EM, label=f"EM{of}"))
    # Above the picture, where it covers neither points nor ellipses.
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), handles=handles, fontsize=8, frameon=False, ncols=min(_IN_A_ROW, len(handles))
    )


def _group_handle(k: int, weight: float, *, points: bool) -> Artist:
    """A group in the legend: its marker, or the colour of its area."""
    label = f"group {k} ({weight:.0%})"
    if points:
        return Line2D([], [], color=colour(k), marker=marker(k), ls="", label=label)
    return Patch(color=colour(k), alpha=0.35, lw=0, label=label)


def _densities(ax: Axes, x: FloatArray, name: str, em: MixtureParams | None, posterior: MixtureParams | None) -> Axes:
    """One column: histogram, component densities, and the mixture by both fits."""
    bins = np.clip(len(np.histogram_bin_edges(x, "auto")), 12, 80)
    ax.hist(x, bins=int(bins), density=True, color="#dfe3e6", edgecolor="white", linewidth=0.5)
    margin = 0.08 * np.ptp(x)
    grid = np.linspace(x.min() - margin, x.max() + margin, 500)
    reference = em if posterior is None else average(posterior)
    assert reference is not None
    for k, part in enumerate(_components(reference, grid)):
        ax.fill_between(grid, part, color=colour(k), alpha=0.35, lw=0, gid=f"component-{k}")
    if posterior is not None:
        density = np.exp(posterior.thin(_BAND_DRAWS).log_density(grid[:, None]))
        ax.fill_between(grid, *np.quantile(density, [0.025, 0.975], axis=0), color="#666666", alpha=0.3, lw=0)
        ax.plot(grid, density.mean(axis=0), color="#666666", lw=1.8, ls=_MEAN, gid="posterior")
    if em is not None:
        ax.plot(grid, np.exp(em.log_density(grid[:, None])), color="#222222", lw=1.5, ls=_EM, gid="em")
    ax.set_xlabel(plain(name))
    ax.set_ylabel("density")
    ax.set_ylim(bottom=0)
    _legend(ax, reference, em, posterior, None, points=False)
    return tidy(ax)


def _components(mixture: MixtureParams, grid: FloatArray) -> FloatArray:
    """Weighted densities (K, grid) of the components."""
    density = np.exp(mixture.log_density(grid[:, None]))
    return mixture.responsibilities(grid[:, None]).T * density
