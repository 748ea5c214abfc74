"""The picture of the groups: the data, what EM says, what the posterior says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.plots import style
from bayesgmm.plots.geometry import Plane, average, ellipse, plane_for
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["plot_groups"]

_BAND_DRAWS = 400
_IN_A_ROW = 3
_EM, _MEAN = (0, (4, 2)), "solid"


def plot_groups(
    X: ArrayLike | pd.DataFrame,
    em: style.Fit | None = None,
    posterior: style.Fit | None = None,
    *,
    labels: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    prob: float = 0.9,
    n_draws: int = 25,
    ax: Axes | None = None,
) -> Axes:
    """Draw the data in their groups, with both fits.

    One column: histogram and densities, with the band that holds 95% of the posterior's densities at each place. Two
    columns: points in the colours of their groups, and ellipses that each hold a share ``prob`` of a component:
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
    prob : float
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
    rows, names = style.rows_and_names(X, feature_names)
    point = None if em is None else style.mixture_of(em, "em", X)
    draws = None if posterior is None else style.mixture_of(posterior, "posterior", X)
    reference = point if draws is None else average(draws)
    if reference is None:
        raise InvalidParameterError("Give a fit to draw: em, posterior or both.")
    ax = style.axes_or_new(ax)
    if rows.shape[1] == 1:
        _densities(ax, rows[:, 0], reference, point, draws)
        _legend(ax, reference, point, draws)
        ax.set(xlabel=style.plain(names[0]), ylabel="density")
        ax.set_ylim(bottom=0)
        return style.tidy(ax)
    plane = plane_for(point or reference, names, features)
    style.in_groups(ax, plane.points(rows), np.asarray(reference.responsibilities(rows).argmax(1) if labels is None else labels))
    _ellipses(ax, plane, point, draws, prob, n_draws)
    _legend(ax, reference, point, draws, prob)
    return style.name_axes(ax, plane.names)


def _ellipses(ax: Axes, plane: Plane, em: MixtureParams | None, posterior: MixtureParams | None, prob: float, n_draws: int) -> None:
    if posterior is not None:
        draws, mean = plane.mixture(posterior.thin(n_draws)), plane.mixture(average(posterior))
        for k in range(mean.n_components):
            faint = ellipse(draws.means[:, k], draws.scale_tril[:, k], prob)
            ax.add_collection(LineCollection(list(faint), colors=style.colour(k), linewidths=0.6, alpha=0.25), autolim=True)
            outline = ellipse(mean.means[k], mean.scale_tril[k], prob)
            ax.plot(*outline.T, color=style.colour(k), lw=2, ls=_MEAN, gid=f"posterior-{k}")
    if em is not None:
        point = plane.mixture(em)
        for k in range(point.n_components):
            ax.plot(*ellipse(point.means[k], point.scale_tril[k], prob).T, color="#222222", lw=1.5, ls=_EM, gid=f"em-{k}")


def _legend(
    ax: Axes, mixture: MixtureParams, em: MixtureParams | None, posterior: MixtureParams | None, prob: float | None = None
) -> None:
    """Groups with their weights, then the line styles; without ``prob``, of densities."""
    handles: list[Artist] = []
    for k, weight in enumerate(mixture.weights):
        look: dict[str, Any] = {"color": style.colour(k), "label": f"group {k} ({weight:.0%})"}
        handles.append(Patch(alpha=0.35, lw=0, **look) if prob is None else Line2D([], [], marker=style.marker(k), ls="", **look))
    of = "" if prob is None else f", {prob:.0%} ellipse"
    if posterior is not None:
        handles.append(Line2D([], [], color="#666666", lw=2, ls=_MEAN, label=f"posterior mean{of}"))
        width, alpha, draws = (6, 0.3, "95% of draws") if prob is None else (0.6, 0.5, "posterior draws")
        handles.append(Line2D([], [], color="#666666", lw=width, alpha=alpha, label=draws))
    if em is not None:
        handles.append(Line2D([], [], color="#222222", lw=1.5, ls=_EM, label=f"EM{of}"))
    # Above the picture, where it covers neither points nor ellipses.
    n_cols = min(_IN_A_ROW, len(handles))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), handles=handles, fontsize=8, frameon=False, ncols=n_cols)


def _densities(
    ax: Axes, x: FloatArray, reference: MixtureParams, em: MixtureParams | None, posterior: MixtureParams | None
) -> None:
    """One column: histogram, component densities, and the mixture by both fits."""
    grid = style.histogram(ax, x, density=True)[2]
    parts = reference.responsibilities(grid[:, None]).T * np.exp(reference.log_density(grid[:, None]))
    for k, part in enumerate(parts):
        ax.fill_between(grid, part, color=style.colour(k), alpha=0.35, lw=0, gid=f"component-{k}")
    if posterior is not None:
        density = np.exp(posterior.thin(_BAND_DRAWS).log_density(grid[:, None]))
        ax.fill_between(grid, *np.quantile(density, [0.025, 0.975], axis=0), color="#666666", alpha=0.3, lw=0)
        ax.plot(grid, density.mean(axis=0), color="#666666", lw=1.8, ls=_MEAN, gid="posterior")
    if em is not None:
        ax.plot(grid, np.exp(em.log_density(grid[:, None])), color="#222222", lw=1.5, ls=_EM, gid="em")
