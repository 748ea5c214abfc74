"""Rows left out of a fit: where their values fall, and how far their weights can be relied on."""

from typing import Any

import arviz as az
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from bayesgmm.criticism import Elpd
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots.style import axes_or_new, colour, plain, tidy

__all__ = ["plot_loo_pit", "plot_pareto_k"]

_MOST_NAMED = 6
_MOST_PANELS = 12


def plot_loo_pit(pit: xr.DataArray, **kwargs: Any) -> Any:
    """Draw where each column's values fall, judged by the fit without them; drawn by ArviZ.

    The line is the share of values at or below each probability, less that probability: flat where the fit is right. A line that rises
    and then falls says that too many values are small, one that first falls and then rises that they are too large; a wave, that the fit
    is too narrow or too wide. The p-value is for values that depend on each other, as these do; where it is small, the values that
    give it away are marked.

    Parameters
    ----------
    pit : xarray.DataArray, dims (obs, feature)
        From :func:`bayesgmm.criticism.loo_pit`. At most twelve columns are drawn.
    **kwargs
        For ``arviz.plot_ecdf_pit``.

    Returns
    -------
    arviz.PlotCollection

    Raises
    ------
    InvalidParameterError
        If there is no column with values.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import loo_pit
    >>> pictures = plot_loo_pit(loo_pit(bg.GaussianMixture(1).fit(bg.datasets.load_galaxies())))
    """
    columns = {plain(name, 28): pit.sel(feature=name).to_numpy() for name in pit["feature"].values}
    columns = {name: values[~np.isnan(values)] for name, values in columns.items()}
    columns = dict([item for item in columns.items() if len(item[1])][:_MOST_PANELS])
    if not columns:
        raise InvalidParameterError("There are no values to show: give what bayesgmm.criticism.loo_pit returns.")
    # Names come from the data and may hold what a DataTree does not allow, so ArviZ sees numbers and we write the titles.
    keys = [f"q{i}" for i in range(len(columns))]
    values = {key: ((f"row_{key}",), column) for key, column in zip(keys, columns.values(), strict=True)}
    n_cols = min(3, len(keys))
    options = {
        "figure_kwargs": {"figsize": (max(4.6, 3.4 * n_cols), 2.8 * -(-len(keys) // n_cols) + 0.4), "layout": "constrained"},
        "visuals": {"title": False, "xlabel": False, "ylabel": False, "ecdf_lines": {"color": colour(0)}},
        "col_wrap": 3,
        **kwargs,
    }
    pictures = az.plot_ecdf_pit(
        xr.DataTree.from_dict({"prior_sbc": xr.Dataset(values)}),
        sample_dims=[f"row_{key}" for key in keys],
        backend="matplotlib",
        **options,
    )
    for title, key in zip(columns, keys, strict=True):
        ax = pictures.viz["plot"][key].item()
        ax.set_title(title, fontsize=10, loc="left")
        tidy(ax)
    figure = pictures.viz["figure"].item()
    figure.supxlabel("probability of a smaller value, by the fit without the row", fontsize=9)
    figure.supylabel("share of values, less that", fontsize=9)
    return pictures


def plot_pareto_k(elpd: Elpd, ax: Axes | None = None) -> Axes:
    """Draw each row's Pareto k, which says how far importance sampling can be relied on to leave it out.

    Parameters
    ----------
    elpd : Elpd
        From :func:`bayesgmm.criticism.loo` of a posterior.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidParameterError
        If nothing was reweighted, as in folds and EM's leave-one-out.

    Notes
    -----
    Rows above the line were fitted again if they are marked by a ring; of the others the numbers cannot be relied on. Vehtari, Simpson,
    Gelman, Yao and Gabry (2024), Journal of Machine Learning Research 25:72.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.criticism import loo
    >>> X = bg.datasets.load_galaxies()
    >>> fit = bg.BayesianGaussianMixture(1, draws=200, tune=200, random_state=1, progressbar=False).fit(X)
    >>> plot_pareto_k(loo(fit, max_refits=0)).get_ylabel()
    'Pareto k'
    """
    rows = elpd.table[elpd.table["pareto_k"].notna()]
    if rows.empty:
        raise InvalidParameterError("There is no Pareto k to show: no row was reweighted; give what loo returns for a posterior.")
    ax = axes_or_new(ax, size=(6.4, 3.6))
    places, k = elpd.table.index.get_indexer(rows.index), np.maximum(rows["pareto_k"].to_numpy(float), -0.5)
    high = ~(k <= elpd.good_k)
    again = high & (rows["how"].to_numpy() != "psis")
    ax.scatter(places[~high], k[~high], s=10, color=colour(0), label="reweighted")
    if (high & ~again).any():
        ax.scatter(places[high & ~again], k[high & ~again], s=26, marker="X", color=colour(1), label="cannot be relied on")
    if again.any():
        ax.scatter(
            places[again], k[again], s=34, marker="o", facecolor="none", edgecolor=colour(2), label="fitted again without it"
        )
    for i in np.flatnonzero(high)[np.argsort(-k[high])][:_MOST_NAMED]:
        ax.annotate(plain(rows.index[i], 16), (places[i], k[i]), xytext=(4, 3), textcoords="offset points", fontsize=8)
    ax.axhline(elpd.good_k, color="#666666", lw=1, ls="--")
    ax.set_xlabel("row")
    ax.set_ylabel("Pareto k")
    ax.margins(y=0.12)
    if high.any():
        ax.legend(fontsize=8, frameon=False, loc="best")
    return tidy(ax)
