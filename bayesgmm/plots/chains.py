"""Traces and ranks of the chains, drawn by ArviZ."""

from typing import Any

import arviz as az
import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.plots.style import colour, plain, tidy

__all__ = ["plot_rank", "plot_trace"]

# More panels than this nobody looks at; then only label-free quantities and weights are shown.
_MOST_PANELS = 12


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
            tidy(ax).tick_params(labelsize=8)
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
    for title, ax in ((title, axes.item()) for title, axes in panels):
        ax.set_title(title, fontsize=9.5, loc="left")
        ax.axhline(0, color="#999999", lw=0.8, zorder=0)
        tidy(ax).tick_params(labelsize=8)
    pictures.viz["figure"].item().supxlabel("rank among all draws, as a fraction", fontsize=9)
    return pictures


def _draw(
    function: Any, datatree: xr.DataTree, panel: tuple[float, float], n_cols: int, options: dict[str, Any], *, thin: bool = False
) -> tuple[Any, list[tuple[str, Any]]]:
    """Call ArviZ with our colours and a figure in which nothing overlaps; return its pictures and each title's axes."""
    quantities = {**_label_free(datatree), **_parameters(datatree)}
    if not quantities:
        raise InvalidParameterError("There are no draws to show: give the datatree_ of a fitted BayesianGaussianMixture.")
    # Names come from the data and may hold what a DataTree does not allow, so ArviZ sees numbers and we write the
    # titles.
    keys = [f"q{i}" for i in range(len(quantities))]
    posterior = xr.Dataset(dict(zip(keys, quantities.values(), strict=True)))
    step = _independence_step(posterior) if thin else 1
    posterior = posterior.isel(draw=slice(None, None, step))
    # ArviZ gives colours to chains only if they have coordinates, and wants more colours than chains.
    numbers = {dim: range(posterior.sizes[dim]) for dim in ("chain", "draw")}
    groups = {"posterior": posterior.assign_coords(numbers)}
    if "sample_stats" in datatree.children and "diverging" in datatree["sample_stats"]:
        groups["sample_stats"] = (
            datatree["sample_stats"].to_dataset()[["diverging"]].isel(draw=slice(None, None, step)).assign_coords(numbers)
        )
    size = (panel[0] * min(n_cols, len(keys)), panel[1] * -(-len(keys) // n_cols) + 0.5)
    options.setdefault("figure_kwargs", {"figsize": size, "layout": "constrained"})
    colours = [colour(i) for i in range(posterior.sizes["chain"] + 2)]
    pictures = function(xr.DataTree.from_dict(groups), backend="matplotlib", color=colours, **options)
    _chain_legend(pictures, quantities)
    plots = pictures.viz["plot"]
    return pictures, [(title, plots[key].values) for title, key in zip(quantities, keys, strict=True)]


def _independence_step(posterior: xr.Dataset) -> int:
    """Return which every n-th draw to keep so that the rest are about independent; at least 50 of each chain stay."""
    n_chains, n_draws = posterior.sizes["chain"], posterior.sizes["draw"]
    with np.errstate(invalid="ignore"):
        least = min((float(ess) for ess in az.ess(posterior).data_vars.values() if np.isfinite(ess)), default=np.inf)
    return int(np.clip(np.ceil(n_chains * n_draws / least), 1, max(1, n_draws // 50)))


def _chain_legend(pictures: Any, quantities: dict[str, xr.DataArray]) -> None:
    """Which colour is which chain, above all panels."""
    n_chains = next(iter(quantities.values())).sizes["chain"]
    handles = [Line2D([], [], color=colour(i), lw=2, label=f"chain {i}") for i in range(min(n_chains, 7))]
    figure = pictures.viz["figure"].item()
    figure.legend(handles=handles, loc="outside upper right", ncols=min(n_chains, 4), fontsize=9, frameon=False)


def _label_free(datatree: xr.DataTree) -> dict[str, xr.DataArray]:
    """What depends on no labels."""
    if "label_free" not in datatree.children:
        return {}
    free = datatree["label_free"].to_dataset()
    names = {"log_likelihood": "log-likelihood"} | ({"entropy": "entropy"} if free.sizes.get("rank", 2) > 1 else {})
    return {words: free[name] for name, words in names.items() if name in free}


def _parameters(datatree: xr.DataTree) -> dict[str, xr.DataArray]:
    """Weights and means one by one, as far as there is room for them."""
    if "posterior" not in datatree.children:
        return {}
    posterior = datatree["posterior"].to_dataset()
    K = posterior.sizes["component"]
    weights = {f"weight of group {k}": posterior["weights"].isel(component=k, drop=True) for k in range(K if K > 1 else 0)}
    features = [plain(name, 24) for name in posterior["feature"].values]
    means = {
        f"mean of {name}, group {k}": posterior["means"].isel(component=k, feature=d, drop=True)
        for k in range(K)
        for d, name in enumerate(features)
    }
    every = weights | means
    return every if len(every) <= _MOST_PANELS - 2 else weights if 0 < len(weights) <= _MOST_PANELS - 2 else {}
