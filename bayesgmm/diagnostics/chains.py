"""Chains of a mixture: the modes in which they settled and how these differ, weights for them (stacking), and labels that switch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm.diagnostics.convergence import chain_names, require_valid
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels import match
from bayesgmm.params import MixtureParams
from bayesgmm.text import counted, listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Modes", "Stacking", "Switching", "find_modes", "find_switching", "named_chains", "stack"]

# Two chains are in different places if the medians of a label-free quantity lie this many standard deviations apart.
APART = 3.0
# A group that gives more than this share of itself to another is taken to be part of it.
SHARE = 0.6
# Means that differ by more than this many standard deviations have moved.
MOVED = 0.5
_ROWS = 2000
# Single draws may be named differently where groups overlap; a chain that switches spends more than this away from its usual labels.
AWAY = 0.01
# Stacking weights below this are said to be nothing.
ENOUGH = 0.01


class Modes(NamedTuple):
    """Chains by the place in which they settled.

    Attributes
    ----------
    chains : tuple of tuple of str
        Names of the chains of each mode; first the mode of the most chains, of equals the one of the highest log-likelihood.
    sentences : tuple of str
        How each of the other modes differs from the first, where that can be told.

    Examples
    --------
    >>> Modes((("0", "1", "2"), ("3",)), ("In chain 3 two groups are merged into one.",)).chains[1]
    ('3',)
    """

    chains: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]


class Switching(NamedTuple):
    """Where the sampler's own labels differ from those of the relabelled draws.

    Attributes
    ----------
    shares : dict of str to float
        For each chain the share of its draws whose labels differ from those it uses most.
    between : bool
        Whether chains differ in the labels that they use most.

    Examples
    --------
    >>> Switching({"0": 0.0, "1": 0.25}, between=False).within
    ['1']
    """

    shares: dict[str, float]
    between: bool

    @property
    def within(self) -> list[str]:
        """Names of the chains that switch labels within themselves."""
        return [chain for chain, share in self.shares.items() if share > AWAY]


@dataclass(frozen=True, eq=False)
class Stacking:
    """How much each chain should count; ``print`` it for the result in words.

    Attributes
    ----------
    table : pandas.DataFrame
        For each chain ``weight``, ``elpd`` (its expected log predictive density, by PSIS leave-one-out) and ``se``, and ``high_k``, the
        number of rows whose Pareto k says that this cannot be relied on.
    modes : Modes
        Which chains settled in the same place.

    Examples
    --------
    >>> table = pd.DataFrame({"weight": [1.0, 0.0], "elpd": [-9.0, -19.0], "se": [1.0, 1.0], "high_k": [0, 0]}, index=["0", "1"])
    >>> print(Stacking(table, Modes((("0",), ("1",)), ())))
    Stacking weights, by how well each predicts rows left out: chain 0 1.00; chain 1 nothing.
    """

    table: pd.DataFrame
    modes: Modes

    def __str__(self) -> str:
        groups = self.modes.chains or tuple((name,) for name in self.table.index)
        weights = [float(self.table.loc[list(names), "weight"].sum()) for names in groups]
        parts = [
            f"{named_chains(names)} {weight:.2f}" if weight >= ENOUGH else f"{named_chains(names)} nothing"
            for names, weight in sorted(zip(groups, weights, strict=True), key=lambda pair: -pair[1])
        ]
        text = f"Stacking weights, by how well each predicts rows left out: {'; '.join(parts)}."
        bad = int(self.table["high_k"].max())
        return text + (f" Pareto k is high for up to {counted(bad, 'row')} of a chain: the weights are rough." if bad else "")


def find_modes(datatree: xr.DataTree) -> Modes:
    """Group chains that settled in the same place, by quantities that need no labels.

    Two chains are apart if the medians of one quantity lie more than three of the chains' own standard deviations (from
    the middle half of the draws) apart; chains that are not apart, or have a common neighbour, form one mode. Chains that
    never move, or hold numbers that are not finite, belong to no mode and are left out. How modes differ in words is read
    from the components that share rows, at the means of the relabelled parameters within each mode.

    Parameters
    ----------
    datatree : xarray.DataTree
        ``datatree_`` of a fitted ``BayesianGaussianMixture``; group ``label_free`` is needed, ``posterior`` for the words.

    Returns
    -------
    Modes
        With no chains where there is no group ``label_free``.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(3, 500)) - np.array([[0], [0], [40]])
    >>> tree = xr.DataTree.from_dict({"label_free": xr.Dataset({"log_likelihood": (("chain", "draw"), draws)})})
    >>> find_modes(tree).chains
    (('0', '1'), ('2',))
    """
    if "label_free" not in datatree.children:
        return Modes((), ())
    free = datatree["label_free"].to_dataset()
    values = _flat(free)
    groups = _together(values)
    names = chain_names(free)
    height = values[..., list(_columns(free)).index("log_likelihood")].mean(1) if "log_likelihood" in free else np.zeros(len(names))
    groups.sort(key=lambda group: (-len(group), -float(height[group].mean())))
    chains = tuple(tuple(names[c] for c in group) for group in groups)
    return Modes(chains, tuple(_differences(datatree, groups, chains)))


def stack(datatree: xr.DataTree) -> Stacking:
    """Weigh chains that settled in different modes by how well they predict together.

    Where chains cannot cross between modes, their number in each mode says nothing of the mode's mass. Stacking weights are those with
    which the chains' mixture predicts rows that were left out best; a chain in a minor mode gets next to none.

    Parameters
    ----------
    datatree : xarray.DataTree
        With groups ``posterior`` and ``log_likelihood`` (pointwise, variable ``x``).

    Returns
    -------
    Stacking

    Raises
    ------
    InvalidDataError
        If there are no chains to weigh (independent draws, a bootstrap) or no pointwise log-likelihood, or the leave-one-out densities
        of a chain cannot be computed.

    Notes
    -----
    Yao, Vehtari and Gelman (2022), Journal of Machine Learning Research 23 (79), with PSIS leave-one-out densities of each chain
    (Vehtari, Gelman and Gabry 2017, Statistics and Computing 27, 1413-1432). The weights are not posterior probabilities of the modes:
    two chains that predict alike may share a weight in any way, so sums over the chains of a mode are what to read.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.diagnostics import stack
    >>> model = bg.BayesianGaussianMixture(2, draws=200, tune=200, random_state=1, progressbar=False)
    >>> stack(model.fit(bg.datasets.load_faithful()).datatree_).table["weight"].sum().round(6)
    np.float64(1.0)
    """
    require_valid(datatree, "loo")
    require_valid(datatree, "stacking")
    if "log_likelihood" not in datatree.children or "x" not in datatree["log_likelihood"]:
        raise InvalidDataError(
            "stacking needs the log-likelihood of every row under every draw, group 'log_likelihood' with variable 'x', and the DataTree "
            f"has only {listed(sorted(datatree.children))}"
        )
    from arviz_stats import compare, loo

    pointwise = datatree["log_likelihood"].to_dataset()
    names = chain_names(pointwise)
    found = {}
    for c, name in enumerate(names):
        one = {"log_likelihood": pointwise.isel(chain=[c]), "posterior": datatree["posterior"].to_dataset().isel(chain=[c])}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # high k is told in the table
                found[name] = loo(xr.DataTree.from_dict(one), pointwise=True, var_name="x")
        except ValueError as error:
            raise InvalidDataError(
                f"the leave-one-out densities of chain {name} cannot be computed, probably because it never moved: {error}"
            ) from error
    weights = {names[0]: 1.0}
    if len(names) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many models, of which one is chosen: chains are not models
            weights = compare(found, method="stacking", round_to="none")["weight"].to_dict()
    weight = np.clip([weights[name] for name in names], 0.0, None)
    table = pd.DataFrame(
        {
            "weight": weight / weight.sum(),
            "elpd": [found[name].elpd for name in names],
            "se": [found[name].se for name in names],
            "high_k": [int((found[name].pareto_k > found[name].good_k).sum()) for name in names],
        },
        index=pd.Index(names, name="chain"),
    )
    return Stacking(table, find_modes(datatree))


def find_switching(datatree: xr.DataTree) -> Switching | None:
    """Compare draws as sampled with the same draws relabelled.

    Parameters
    ----------
    datatree : xarray.DataTree
        With groups ``posterior`` and ``unlabelled_posterior``, which hold the same draws with their components in another
        order.

    Returns
    -------
    Switching or None
        None where a group is missing or the two do not hold the same draws.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> raw = np.tile(rng.normal(size=(1, 40, 1)), (1, 1, 2)) + [0.0, 9.0]
    >>> relabelled = raw.copy()
    >>> raw[:, 30:] = raw[:, 30:, ::-1]
    >>> dims = ("chain", "draw", "component")
    >>> groups = {"posterior": relabelled, "unlabelled_posterior": raw}
    >>> tree = xr.DataTree.from_dict({name: xr.Dataset({"weights": (dims, values)}) for name, values in groups.items()})
    >>> find_switching(tree).shares
    {'0': 0.25}
    """
    if not {"posterior", "unlabelled_posterior"} <= set(datatree.children):
        return None
    relabelled, raw = (_signature(datatree[group].to_dataset()) for group in ("posterior", "unlabelled_posterior"))
    if relabelled is None or raw is None or relabelled.shape != raw.shape:
        return None
    orders, same = _orders(raw, relabelled)
    if not same:
        return None
    usual = np.array([_most_common(chain) for chain in orders])
    away = (orders != usual[:, None]).any(-1).mean(1)
    names = chain_names(datatree["posterior"].to_dataset())
    return Switching(dict(zip(names, away.tolist(), strict=True)), bool((usual != usual[0]).any()))


def _columns(free: xr.Dataset) -> Iterator[str]:
    """Name of the variable behind each column of `_flat`."""
    for name, variable in free.data_vars.items():
        yield from [str(name)] * int(np.prod([size for dim, size in variable.sizes.items() if dim not in ("chain", "draw")]))


def _flat(free: xr.Dataset) -> FloatArray:
    """Return all label-free draws (chain, draw, quantity)."""
    arrays = [variable.transpose("chain", "draw", ...).values for variable in free.data_vars.values()]
    return np.concatenate([array.reshape(*array.shape[:2], -1) for array in arrays], axis=-1).astype(float)


def _together(values: FloatArray) -> list[list[int]]:
    """Return lists of chains that are in one place."""
    usable = [c for c in range(len(values)) if np.isfinite(values[c]).all() and np.ptp(values[c], axis=0).any()]
    low, middle, high = np.quantile(values[usable], [0.25, 0.5, 0.75], axis=1) if usable else np.empty((3, 0, values.shape[-1]))
    sd = (high - low) / 1.349  # the middle half of a normal distribution is 1.349 standard deviations wide
    groups: list[list[int]] = []
    for i in range(len(usable)):
        near = [g for g in groups if any(not _apart(middle, sd, i, j) for j in g)]
        groups = [g for g in groups if g not in near] + [sorted([i, *(j for g in near for j in g)])]
    return [[usable[i] for i in group] for group in groups]


def _apart(middle: FloatArray, sd: FloatArray, a: int, b: int) -> bool:
    gap, spread = np.abs(middle[a] - middle[b]), np.sqrt((sd[a] ** 2 + sd[b] ** 2) / 2)
    # Probabilities that are all but zero or one in both chains differ by far less than matters.
    return bool((gap > np.maximum(APART * spread, 1e-6 * (1 + np.abs(middle[a])))).any())


def _differences(datatree: xr.DataTree, groups: list[list[int]], chains: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    """One sentence for each mode after the first; none where the parameters are not there."""
    if len(groups) < 2 or "posterior" not in datatree.children:
        return
    posterior = datatree["posterior"].to_dataset()
    if posterior.sizes["chain"] != datatree["label_free"].sizes["chain"]:
        return  # with an unknown number of components, only the chains that have the most probable one
    if not {"weights", "means"} <= set(posterior) or not {"covariances", "sds"} & set(posterior):
        return
    first = _mean_mixture(posterior, groups[0])
    for group, names in zip(groups[1:], chains[1:], strict=True):
        other = _mean_mixture(posterior, group)
        if first is not None and other is not None:
            words = list(_words(first, other, _rows(datatree, first, other)))
            yield f"In {named_chains(names)}, compared with {named_chains(chains[0])}, {'; '.join(words)}."


def named_chains(names: Sequence[str]) -> str:
    """Return chains as a sentence lists them: chain 2, or chains 0, 1 and 3."""
    return f"chain {names[0]}" if len(names) == 1 else f"chains {listed(names)}"


def _mean_mixture(posterior: xr.Dataset, group: list[int]) -> MixtureParams | None:
    """Return the mixture of the parameters' means over these chains."""
    mean = posterior.isel(chain=group).mean(("chain", "draw"))
    weights = mean["weights"].transpose("component").values
    means = mean["means"].transpose("component", "feature").values
    if "covariances" in mean:
        covariances = mean["covariances"].transpose("component", "feature", "feature_bis").values
    else:
        covariances = mean["sds"].transpose("component", "feature").values[..., None] ** 2 * np.eye(means.shape[-1])
    try:
        return MixtureParams.from_covariances(weights / weights.sum(), means, covariances)
    except InvalidParameterError:  # draws that are not finite; other checks say so
        return None


def _rows(datatree: xr.DataTree, first: MixtureParams, other: MixtureParams) -> FloatArray:
    """Return rows at which to look at both: the data, or rows drawn from both where the data are not kept."""
    if "observed_data" in datatree.children and "x" in datatree["observed_data"]:
        X: FloatArray = datatree["observed_data"].to_dataset()["x"].values
        if X.ndim == 2 and X.shape[1] == first.n_features:
            return X
    return np.concatenate([mixture.sample(_ROWS, random_state=0)[0] for mixture in (first, other)])


def _words(first: MixtureParams, other: MixtureParams, X: FloatArray) -> Iterator[str]:
    """Components merged, split, emptied and moved, from the rows that they share."""
    shared = first.responsibilities(X).T @ other.responsibilities(X)
    ours, theirs = shared.sum(1), shared.sum(0)
    into, out_of = shared / np.maximum(ours, 1e-300)[:, None], shared / np.maximum(theirs, 1e-300)
    filled, told = theirs >= 1, set()
    for k in np.flatnonzero(filled):
        parents = [int(j) for j in np.flatnonzero((into[:, k] > SHARE) & (ours >= 1))]
        if len(parents) > 1:
            told.update(parents)
            yield f"groups {listed(parents)} are merged into one (there group {k})"
    for j in np.flatnonzero(ours >= 1):
        children = [int(k) for k in np.flatnonzero((out_of[j] > SHARE) & filled)]
        if len(children) > 1:
            told.add(int(j))
            yield f"group {j} is split into two or more (there groups {listed(children)})"
    for k in np.flatnonzero(~filled):
        yield f"group {k} is empty there"
    yield from _moved(first, other, match(-shared.T), told)


def _moved(first: MixtureParams, other: MixtureParams, partner: IntArray, told: set[int]) -> Iterator[str]:
    """Groups whose means lie elsewhere, of those of which nothing has been said."""
    far = []
    for j, k in enumerate(partner):
        distance = np.abs(first.means[j] - other.means[k]) / first.sds[j]
        if j not in told and distance.max() > MOVED:
            far.append(int(j))
    if far:
        yield f"group{'s' if len(far) > 1 else ''} {listed(far)} moved elsewhere"
    elif not told:
        yield "the groups lie in the same places with other weights or shapes"


def _signature(group: xr.Dataset) -> FloatArray | None:
    """Return numbers (chain, draw, K, M) by which a component is known again: its weight, means and standard deviations."""
    parts = []
    for name in ("weights", "means", "sds"):
        if name in group and "component" in group[name].dims:
            variable = group[name].transpose("chain", "draw", "component", ...)
            parts.append(variable.values.reshape(*variable.shape[:3], -1))
    return np.concatenate(parts, axis=-1).astype(float) if parts else None


def _orders(raw: FloatArray, relabelled: FloatArray) -> tuple[IntArray, bool]:
    """Return for every draw which raw component became which (chain, draw, K), and whether all numbers are found again."""
    K = raw.shape[2]
    chains, draws = raw.shape[:2]
    orders = np.broadcast_to(np.arange(K), (chains, draws, K)).copy()
    usable = np.isfinite(raw).all((2, 3)) & np.isfinite(relabelled).all((2, 3))
    moved = usable & (raw != relabelled).any((2, 3))
    for c, t in np.argwhere(moved):
        distance = np.abs(raw[c, t][:, None] - relabelled[c, t][None]).sum(-1)
        orders[c, t] = match(distance)
        if np.take_along_axis(distance, orders[c, t][None], 0).max() > 1e-9 * (1 + np.abs(raw[c, t]).sum()):
            return orders, False
    return orders, True


def _most_common(orders: IntArray) -> IntArray:
    values, counts = np.unique(orders, axis=0, return_counts=True)
    usual: IntArray = values[counts.argmax()]
    return usual
