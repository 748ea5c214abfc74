"""Tables of convergence, one row a scalar quantity or one row a chain, and which draws may be asked about it."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray

__all__ = [
    "KINDS",
    "LABELS",
    "chain_names",
    "convergence_table",
    "does_not_apply",
    "draws_kind",
    "require_valid",
    "sampler_table",
    "scalars",
    "varying",
]

# Which group of the DataTree answers to which kind of labels.
LABELS = {"label-free": "label_free", "relabelled": "posterior", "raw": "unlabelled_posterior"}
# Covariances say nothing that standard deviations and correlations do not, and their diagonals would be counted twice.
_PARAMETERS = ("weights", "means", "sds", "corr", "sample_weights", "coefficients")
_ROUNDING = 1e-12
_STATISTICS = ("mcse_mean", "ess_bulk", "ess_tail", "r_hat_bulk", "r_hat_folded", "r_hat")
# Two points that are always, or never, of one component have nothing to judge; draws of probabilities vary by rounding.
_SETTLED = 0.01
# So is the entropy of groups that do not overlap: all draws within this share of the greatest it could be, log K.
_STILL = 1e-6
_AXES = {"chain_axis": 0, "draw_axis": 1}
KINDS = {
    "chains": "steps of Markov chains",
    "independent": "independent draws",
    "bootstrap": "refits of a bootstrap, not draws of a posterior",
    "sampling": "normal draws from EM's sampling distribution, not draws of a posterior",
}
"""Values of ``attrs["draws"]``, in words."""

_QUESTIONS = {
    "r_hat": ("R-hat", ("chains",), "it compares chains with each other"),
    "ess": ("The effective sample size", ("chains",), "it corrects for the memory of a chain"),
    "loo": ("PSIS-LOO", ("chains", "independent"), "it reweights draws of a posterior"),
    "stacking": ("Stacking of chains", ("chains",), "it weighs chains that settled in different modes"),
    "power_scaling": ("Power-scaling of priors", ("chains", "independent"), "it reweights draws of a posterior"),
}


def convergence_table(datatree: xr.DataTree, labels: Collection[str] = tuple(LABELS)) -> pd.DataFrame:
    """Convergence of every scalar quantity of a posterior, label-free, relabelled and raw.

    Entries that are fixed by the model are left out: the diagonal and one half of a correlation matrix, the copies of
    a covariance that the components share (tied) or of a standard deviation that the features share (spherical), and
    the weight of an only component.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``.
    labels : collection of {"label-free", "relabelled", "raw"}
        Which kinds to ask about.

    Returns
    -------
    pandas.DataFrame
        One row a quantity: ``labels`` ("label-free", "relabelled", "raw"), ``quantity`` (such as ``means[0,
        waiting]``), ``mean``, ``sd``, ``mcse_mean``, ``ess_bulk``, ``ess_tail``, ``r_hat_bulk`` (rank-normalised split
        R-hat), ``r_hat_folded`` (the same of the distances from the median) and ``r_hat``, the greater of the two
        (Vehtari, Gelman, Simpson, Carpenter & Buerkner 2021, Bayesian Analysis 16:667-718); and ``varies``: False for the entropy of
        groups that do not overlap, which is the same in all draws of all chains but for rounding and has nothing to be judged by.
        A statistic that cannot be computed is NaN: one chain, draws that are not finite, draws that never move. So is one that does
        not apply to the draws, because they are no chains (:func:`bayesgmm.diagnostics.does_not_apply`); ``table.attrs`` says why, by
        statistic.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> draws = np.random.default_rng(0).normal(size=(4, 500))
    >>> tree = xr.DataTree.from_dict({"label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), draws)})})
    >>> table = convergence_table(tree)
    >>> table.loc[0, "quantity"], bool(table.loc[0, "r_hat"] < 1.01)
    ('log_likelihood', True)
    """
    wanted = {kind: group for kind, group in LABELS.items() if kind in labels and group in datatree.children}
    refused = {name: sentence for name in ("r_hat", "ess") if (sentence := does_not_apply(datatree, name))}
    apply = [name for name in _STATISTICS if _question(name) not in refused]
    # Parameters that were fixed never move, and are no sign of a chain that is stuck.
    given = bool(datatree.attrs.get("fixed"))
    tables = [_group_table(datatree[group].to_dataset(), kind, apply, given=given) for kind, group in wanted.items()]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["labels", "quantity"])
    table.attrs.update(refused)
    return table


def sampler_table(datatree: xr.DataTree) -> pd.DataFrame:
    """How the sampler behaved, one row a chain; columns for which there are no statistics are absent.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``.

    Returns
    -------
    pandas.DataFrame
        Index ``chain``; ``draws``, ``trajectories`` (run for these draws: "hmc" has several to a draw), ``moved`` (share of draws that
        differ from the one before), ``divergences`` (draws with one), ``max_depth_hits`` (draws that reached the greatest tree
        depth), ``tree_depth`` (mean), ``acceptance_rate`` (mean), ``step_size`` (last), ``e_bfmi`` (Betancourt 2016, arXiv:1604.00695).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, 100), dtype=bool))})
    >>> sampler_table(xr.DataTree.from_dict({"sample_stats": stats}))["divergences"].tolist()
    [0, 0]
    """
    groups = [group for group in ("sample_stats", "label_free") if group in datatree.children]
    if not groups:
        return pd.DataFrame()
    stats = xr.merge([datatree[group].to_dataset() for group in groups], compat="override", join="override")
    stats = stats.transpose("chain", "draw", ...)
    index = pd.Index(stats["chain"].values if "chain" in stats.coords else range(stats.sizes["chain"]), name="chain")
    draws = stats.sizes["draw"]
    counts = {"draws": draws, "trajectories": draws * _trajectories_a_draw(datatree.attrs)}
    return pd.DataFrame({**counts, **dict(_sampler_columns(stats))}, index=index)


def _trajectories_a_draw(attrs: Mapping[Hashable, Any]) -> int:
    """How many trajectories lead from a draw to the next: two in a cycle of "hmc", or one where it needs no other."""
    lengths = [attrs[name] for name in ("length_given_labels", "length_given_rows") if name in attrs]
    return int(attrs.get("cycles_per_draw", 1)) * max(1, sum(length > 0 for length in lengths))


def draws_kind(datatree: xr.DataTree) -> str:
    """Return what the draws are: ``attrs["draws"]``, "chains" where it says nothing.

    Parameters
    ----------
    datatree : xarray.DataTree

    Returns
    -------
    str

    Examples
    --------
    >>> draws_kind(xr.DataTree())
    'chains'
    """
    return str(datatree.attrs.get("draws", "chains"))


def does_not_apply(datatree: xr.DataTree, question: str) -> str | None:
    """Say why a question cannot be asked of these draws.

    Parameters
    ----------
    datatree : xarray.DataTree
        With ``attrs["draws"]``: "chains", "independent", "bootstrap" or "sampling".
    question : {"r_hat", "ess", "loo", "stacking", "power_scaling"}

    Returns
    -------
    str or None
        A sentence; None if it can be asked.

    Examples
    --------
    >>> does_not_apply(xr.DataTree(xr.Dataset(attrs={"draws": "bootstrap"})), "loo")
    'PSIS-LOO does not apply: it reweights draws of a posterior, and these are refits of a bootstrap, not draws of a posterior.'
    """
    kind = draws_kind(datatree)
    name, allowed, reason = _QUESTIONS[question]
    if kind in allowed:
        return None
    return f"{name} does not apply: {reason}, and these are {KINDS.get(kind, repr(kind))}."


def require_valid(datatree: xr.DataTree, question: str) -> None:
    """Refuse a question that cannot be asked of these draws; see `does_not_apply`.

    Parameters
    ----------
    datatree : xarray.DataTree
    question : {"r_hat", "ess", "loo", "stacking", "power_scaling"}

    Raises
    ------
    InvalidDataError
        With the sentence of `does_not_apply`.

    Examples
    --------
    >>> require_valid(xr.DataTree(), "r_hat")
    >>> require_valid(xr.DataTree(xr.Dataset(attrs={"draws": "bootstrap"})), "r_hat")
    Traceback (most recent call last):
    ...
    bayesgmm.exceptions.InvalidDataError: R-hat does not apply: ...
    """
    sentence = does_not_apply(datatree, question)
    if sentence is not None:
        raise InvalidDataError(sentence)


def chain_names(group: xr.Dataset) -> list[str]:
    """Return the names of the chains, their numbers where they have none."""
    return [str(name) for name in (group["chain"].values if "chain" in group.coords else range(group.sizes["chain"]))]


def _sampler_columns(stats: xr.Dataset) -> Iterator[tuple[str, FloatArray]]:
    """Names and per-chain values of the sampler statistics that are there."""
    height = next((stats[key].values for key in ("lp", "log_likelihood") if key in stats), None)
    if height is not None and height.shape[1] > 1:
        yield "moved", (np.diff(height, axis=1) != 0).mean(axis=1)
    totals = {"diverging": "divergences", "reached_max_treedepth": "max_depth_hits"}
    yield from ((name, stats[key].values.astype(int).sum(axis=1)) for key, name in totals.items() if key in stats)
    yield from ((key, stats[key].values.mean(axis=1)) for key in ("tree_depth", "acceptance_rate") if key in stats)
    if "step_size" in stats:
        yield "step_size", stats["step_size"].values[:, -1]
    if "energy" in stats:
        yield "e_bfmi", _e_bfmi(stats["energy"].values.astype(float))


def _e_bfmi(energy: FloatArray) -> FloatArray:
    """Energy Bayesian fraction of missing information of each chain; NaN where the energy never moves."""
    spread = np.square(energy - energy.mean(axis=1, keepdims=True)).sum(axis=1)
    steps = np.square(np.diff(energy, axis=1)).sum(axis=1)
    return np.divide(steps, spread, out=np.full(len(energy), np.nan), where=spread > 0)


def _question(statistic: str) -> str:
    """What a statistic asks: the Monte Carlo error of a chain rests on its effective sample size."""
    return "r_hat" if statistic.startswith("r_hat") else "ess"


def _group_table(group: xr.Dataset, labels: str, apply: Collection[str], *, given: bool) -> pd.DataFrame:
    """Rows of one kind of labels."""
    found = list(scalars(group, labels, given=given))
    if not found:
        return pd.DataFrame({"labels": [], "quantity": []})
    names, columns = zip(*found, strict=True)
    draws = np.stack(columns, axis=-1)
    # An infinite draw makes an undefined sd, which the table shows as NaN; NumPy need not warn as well.
    with np.errstate(invalid="ignore"):
        moments = {"mean": draws.mean((0, 1)), "sd": draws.std((0, 1))}
        table = pd.DataFrame({"labels": labels, "quantity": names, **moments, **_statistics(draws, apply), "varies": True})
    return table if labels != "label-free" else _without_rounding(table, draws, group)


def _without_rounding(table: pd.DataFrame, draws: FloatArray, group: xr.Dataset) -> pd.DataFrame:
    """Mark the entropy where it does not vary, and a count that is one number in all draws; take back what was computed of rounding.

    No other quantity may stand still: the log-likelihood and the parameters of chains that move never do. Chains with other counts have not
    met, though each stands still.
    """
    moved = _range(draws)
    still = (table["quantity"] == "entropy").to_numpy() & (moved <= _STILL * np.log(group.sizes.get("rank", 2)))
    still |= (table["quantity"] == "n_filled").to_numpy() & (moved == 0)
    statistics = [name for name in _STATISTICS if name in table]
    table.loc[still, statistics] = np.nan
    table.loc[still, "varies"] = False
    return table


def varying(convergence: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a :func:`convergence_table` that there is something to judge by: without quantities that do not vary.

    Parameters
    ----------
    convergence : pandas.DataFrame
        A table without the column ``varies`` is returned as it is.

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> table = pd.DataFrame({"quantity": ["log_likelihood", "entropy"], "r_hat": [1.0, np.nan], "varies": [True, False]})
    >>> varying(table)["quantity"].tolist()
    ['log_likelihood']
    """
    return convergence[convergence["varies"].astype(bool)] if "varies" in convergence else convergence


def _range(draws: FloatArray) -> FloatArray:
    """Return greatest minus smallest draw (quantity) over all chains; infinity where one is not finite."""
    fine = np.isfinite(draws).all((0, 1))
    return np.where(fine, np.ptp(np.nan_to_num(draws), axis=(0, 1)), np.inf)


def _statistics(draws: FloatArray, apply: Collection[str]) -> dict[str, FloatArray]:
    """R-hat, ESS and MCSE of draws (chain, draw, quantity); NaN where a quantity is not finite or never moves, or it does not apply."""
    # ArviZ's numbers without its plots, and only when they are asked for: with what it imports they take half a second.
    from arviz_stats.base import array_stats as az

    # ArviZ divides by a zero variance there and warns; the answer is "cannot be judged", which NaN says.
    spread = _range(draws)
    fine = np.isfinite(spread) & (spread > 0) & (draws.shape[1] >= 4)
    out = {name: np.full(draws.shape[-1], np.nan) for name in _STATISTICS}
    good = draws[..., fine]
    if fine.any() and "ess_bulk" in apply:
        out["ess_bulk"][fine] = az.ess(good, method="bulk", **_AXES)
        out["ess_tail"][fine] = az.ess(good, method="tail", prob=(0.05, 0.95), **_AXES)
        out["mcse_mean"][fine] = az.mcse(good, method="mean", **_AXES)
    if fine.any() and "r_hat" in apply:
        out["r_hat_bulk"][fine], out["r_hat_folded"][fine] = _r_hat(good, "z_scale"), _r_hat(good, "folded")
        out["r_hat"] = np.maximum(out["r_hat_bulk"], out["r_hat_folded"])
    return out


def _r_hat(draws: FloatArray, method: str) -> FloatArray:
    """R-hat of (chain, draw, quantity); NaN for one chain, infinite for chains frozen apart."""
    from arviz_stats.base import array_stats as az

    if draws.shape[0] < 2:
        return np.full(draws.shape[-1], np.nan)
    frozen = (np.ptp(draws, axis=1) == 0).all(axis=0)
    out = np.full(draws.shape[-1], np.inf)
    if not frozen.all():
        out[~frozen] = az.rhat(draws[..., ~frozen], method=method, **_AXES)
    return out


def scalars(group: xr.Dataset, labels: str, *, given: bool = False) -> Iterator[tuple[str, FloatArray]]:
    """Name and draws (chain, draw) of every scalar of the group that the model leaves free; ``given`` is whether some were fixed."""
    names = list(group.data_vars) if labels == "label-free" else [name for name in _PARAMETERS if name in group]
    for name in names:
        variable = group[name].transpose("chain", "draw", ...)
        if not _fixed(str(name), group):
            entries = _without_copies(_entries(variable))
            yield from (
                entry for entry in entries if not (_says_nothing(str(name), entry[1], group) or (given and _is_constant(entry[1])))
            )


def _fixed(name: str, group: xr.Dataset) -> bool:
    """Whether an only component makes the variable a constant: its weight is 1 and every point belongs to it."""
    only = {"weights": "component", "sorted_weights": "rank", "entropy": "rank"}.get(name)
    return only is not None and group.sizes.get(only) == 1


def _is_constant(draws: FloatArray) -> bool:
    """Whether draws are one number in all chains, but for rounding."""
    return bool(np.isfinite(draws).all() and np.ptp(draws) <= _ROUNDING * np.abs(draws).max())


def _says_nothing(name: str, draws: FloatArray, group: xr.Dataset) -> bool:
    """Whether an entry has nothing to be judged by.

    That is a probability that two points are of one group where it is the same in all draws, as far as matters, and the covariance of two
    columns within an only component without correlations: it is nought in every draw of every chain, which no chain that is stuck brings
    about.
    """
    if name == "co_clustering":
        return bool(np.ptp(draws) < _SETTLED)
    return name == "total_covariance" and group.sizes.get("rank") == 1 and not draws.any()


def _without_copies(entries: Iterator[tuple[str, FloatArray]]) -> Iterator[tuple[str, FloatArray]]:
    """Leave out entries that repeat an earlier one draw by draw, as a family that shares covariances makes them."""
    kept: list[FloatArray] = []
    for name, values in entries:
        last = np.array([other[-1, -1] for other in kept])
        like = np.flatnonzero(np.isclose(last, values[-1, -1], rtol=1e-9, atol=0))
        if not any(np.allclose(values, kept[i], rtol=1e-9, atol=0) for i in like):
            kept.append(values)
            yield name, values


def _entries(variable: xr.DataArray) -> Iterator[tuple[str, FloatArray]]:
    """Name and draws of every entry; of a matrix over features only the part below the diagonal."""
    dims = variable.dims[2:]
    values = variable.values.astype(float)
    for index in np.ndindex(values.shape[2:]):
        if "feature_bis" in dims and index[dims.index("feature")] <= index[dims.index("feature_bis")]:
            continue
        names = [str(variable[dim].values[i]) if dim in variable.coords else str(i) for dim, i in zip(dims, index, strict=True)]
        yield f"{variable.name}[{', '.join(names)}]" if names else str(variable.name), values[(..., *index)]
