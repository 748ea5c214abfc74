"""Checks of a fit in pictures: traces and ranks of the chains, where values fall, and Pareto k; most are drawn by ArviZ."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgmm.criticism import Elpd
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots import style

__all__ = ["plot_loo_pit", "plot_pareto_k", "plot_rank", "plot_trace"]

# More panels than this nobody looks at; then only label-free quantities and weights are shown.
_MOST_PANELS = 12
_MOST_NAMED = 6


def plot_trace(datatree: xr.DataTree, **kwargs: Any) -> Any:
    """Draw the distribution and the course of the label-free quantities, weights and means, a colour for each chain.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``.
    **kwargs
        For ``arviz.plot_trace_dist``.

    Returns
    -------
    arviz.PlotCollection

    Raises
    ------
    InvalidParameterError
        If there is nothing to draw.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> draws = np.random.default_rng(0).normal(size=(2, 100))
    >>> tree = xr.DataTree.from_dict({"label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), draws)})})
    >>> pictures = plot_trace(tree)
    """
    options = {"compact": False, "visuals": {"label": False, "xlabel_trace": False, "trace": {"width": 0.6}}, **kwargs}
    pictures, panels = _draw(az.plot_trace_dist, datatree, (7.5, 1.15), 1, options)
    for title, pair in panels:
        for ax in pair:
            style.tidy(ax).tick_params(labelsize=8)
        pair[0].set_title(title, fontsize=9.5, loc="left")
        pair[0].xaxis.set_major_locator(MaxNLocator(5))
    panels[-1][1][1].set_xlabel("draw", fontsize=9)
    return pictures


def plot_rank(datatree: xr.DataTree, **kwargs: Any) -> Any:
    """Draw whether each chain's draws rank evenly among all draws: lines that stay near zero say that they do.

    Places where a chain stands out from the others are marked in black. The test behind them takes draws for independent, so the
    draws are thinned to about their effective number first.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``.
    **kwargs
        For ``arviz.plot_rank``.

    Returns
    -------
    arviz.PlotCollection

    Raises
    ------
    InvalidParameterError
        If there is only one chain, or nothing to draw.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> draws = np.random.default_rng(0).normal(size=(2, 100))
    >>> tree = xr.DataTree.from_dict({"label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), draws)})})
    >>> pictures = plot_rank(tree)
    """
    if any(node.sizes.get("chain") == 1 for node in datatree.children.values()):
        raise InvalidParameterError("Ranks compare chains, and there is only one chain; run at least two.")
    options = {"col_wrap": 3, "visuals": {"title": False, "xlabel": False}, **kwargs}
    pictures, panels = _draw(az.plot_rank, datatree, (2.6, 1.9), 3, options, thin=True)
    for title, axes in panels:
        ax = axes.item()
        ax.set_title(title, fontsize=9.5, loc="left")
        ax.axhline(0, color="#999999", lw=0.8, zorder=0)
        style.tidy(ax).tick_params(labelsize=8)
    pictures.viz["figure"].item().supxlabel("rank among all draws, as a fraction", fontsize=9)
    return pictures


def _draw(
    function: Any, datatree: xr.DataTree, panel: tuple[float, float], n_cols: int, options: dict[str, Any], *, thin: bool = False
) -> tuple[Any, list[tuple[str, Any]]]:
    """Call ArviZ with our colours and a figure in which nothing overlaps; return its pictures and each title's axes."""
    quantities = _label_free(datatree) + _parameters(datatree)
    if not quantities:
        raise InvalidParameterError("There are no draws to show: give the datatree_ of a fitted BayesianGaussianMixture.")
    # Names come from the data and may hold what a DataTree does not allow, so ArviZ sees numbers and we write the
    # titles.
    keys = [f"q{i}" for i in range(len(quantities))]
    groups = {"posterior": xr.Dataset({key: values for key, (_, values) in zip(keys, quantities, strict=True)})}
    if "sample_stats" in datatree.children and "diverging" in datatree["sample_stats"]:
        groups["sample_stats"] = datatree["sample_stats"].to_dataset()[["diverging"]]
    every = slice(None, None, _independence_step(groups["posterior"]) if thin else 1)
    # ArviZ gives colours to chains only if they have coordinates, and wants more colours than chains.
    n_chains, n_draws = (len(groups["posterior"].isel(draw=every)[dim]) for dim in ("chain", "draw"))
    numbers = {"chain": range(n_chains), "draw": range(n_draws)}
    tree = xr.DataTree.from_dict({name: group.isel(draw=every).assign_coords(numbers) for name, group in groups.items()})
    size = (panel[0] * min(n_cols, len(keys)), panel[1] * -(-len(keys) // n_cols) + 0.5)
    options.setdefault("figure_kwargs", {"figsize": size, "layout": "constrained"})
    pictures = function(tree, backend="matplotlib", color=[style.colour(i) for i in range(n_chains + 2)], **options)
    # Which colour is which chain, above all panels.
    handles = [Line2D([], [], color=style.colour(i), lw=2, label=f"chain {i}") for i in range(min(n_chains, 7))]
    style.legend_above(pictures.viz["figure"].item(), handles, min(n_chains, 4), fontsize=9)
    return pictures, [(title, pictures.viz["plot"][key].values) for key, (title, _) in zip(keys, quantities, strict=True)]


def _independence_step(posterior: xr.Dataset) -> int:
    """Return which every n-th draw to keep so that the rest are about independent; at least 50 of each chain stay."""
    n_chains, n_draws = posterior.sizes["chain"], posterior.sizes["draw"]
    with np.errstate(invalid="ignore"):
        least = min((float(ess) for ess in az.ess(posterior).data_vars.values() if np.isfinite(ess)), default=np.inf)
    return int(np.clip(np.ceil(n_chains * n_draws / least), 1, max(1, n_draws // 50)))


def _label_free(datatree: xr.DataTree) -> list[tuple[str, xr.DataArray]]:
    """What depends on no labels, with titles."""
    if "label_free" not in datatree.children:
        return []
    free = datatree["label_free"].to_dataset()
    names = ("log_likelihood", "entropy") if free.sizes.get("rank", 2) > 1 else ("log_likelihood",)
    return [(name.replace("_", "-"), free[name]) for name in names if name in free]


def _parameters(datatree: xr.DataTree) -> list[tuple[str, xr.DataArray]]:
    """Weights and means one by one, as far as there is room for them, with titles."""
    if "posterior" not in datatree.children:
        return []
    posterior = datatree["posterior"].to_dataset()
    K = posterior.sizes["component"]
    weights = [(f"weight of group {k}", posterior["weights"].isel(component=k, drop=True)) for k in range(K if K > 1 else 0)]
    means = [
        (f"mean of {style.plain(name, 24)}, group {k}", posterior["means"].isel(component=k, feature=d, drop=True))
        for k in range(K)
        for d, name in enumerate(posterior["feature"].values)
    ]
    return next((some for some in (weights + means, weights) if len(some) <= _MOST_PANELS - 2), [])


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
    known = pit.notnull().any("obs").to_numpy()
    titles = {f"q{d}": style.plain(pit["feature"].values[d], 28) for d in np.flatnonzero(known)[:_MOST_PANELS]}
    if not titles:
        raise InvalidParameterError("There are no values to show: give what bayesgmm.criticism.loo_pit returns.")
    # Names come from the data and may hold what a DataTree does not allow, so ArviZ sees numbers and we write the titles.
    values = xr.Dataset({key: pit.isel(feature=int(key[1:]), drop=True).dropna("obs").rename(obs=f"row_{key}") for key in titles})
    n_cols = min(3, len(titles))
    options = {
        "figure_kwargs": {"figsize": (max(4.6, 3.4 * n_cols), 2.8 * -(-len(titles) // n_cols) + 0.4), "layout": "constrained"},
        "visuals": {"title": False, "xlabel": False, "ylabel": False, "ecdf_lines": {"color": style.colour(0)}},
        "col_wrap": 3,
        **kwargs,
    }
    tree = xr.DataTree.from_dict({"prior_sbc": values})
    pictures = az.plot_ecdf_pit(tree, sample_dims=[f"row_{key}" for key in titles], backend="matplotlib", **options)
    for key, title in titles.items():
        ax = pictures.viz["plot"][key].item()
        ax.set_title(title, fontsize=10, loc="left")
        style.tidy(ax)
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
    ax = style.axes_or_new(ax, size=(6.4, 3.6))
    places, k = elpd.table.index.get_indexer(rows.index), np.maximum(rows["pareto_k"].to_numpy(float), -0.5)
    high = ~(k <= elpd.good_k)
    again = high & (rows["how"].to_numpy() != "psis")
    ax.scatter(places[~high], k[~high], s=10, color=style.colour(0), label="reweighted")
    kinds: tuple[tuple[np.ndarray, dict[str, Any]], ...] = (
        (high & ~again, {"s": 26, "marker": "X", "color": style.colour(1), "label": "cannot be relied on"}),
        (again, {"s": 34, "facecolor": "none", "edgecolor": style.colour(2), "label": "fitted again without it"}),
    )
    for here, look in kinds:
        if here.any():
            ax.scatter(places[here], k[here], **look)
    for i in np.flatnonzero(high)[np.argsort(-k[high])][:_MOST_NAMED]:
        ax.annotate(style.plain(rows.index[i], 16), (places[i], k[i]), xytext=(4, 3), textcoords="offset points", fontsize=8)
    ax.axhline(elpd.good_k, color="#666666", lw=1, ls="--")
    ax.set(xlabel="row", ylabel="Pareto k")
    ax.margins(y=0.12)
    if high.any():
        ax.legend(fontsize=8, frameon=False, loc="best")
    return style.tidy(ax)
