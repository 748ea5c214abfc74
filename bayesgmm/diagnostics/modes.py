"""Places in which chains settled, and how these differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.labels import match
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Modes", "find_modes"]

# Two chains are in different places if the medians of a label-free quantity lie this many standard deviations apart.
APART = 3.0
# A group that gives more than this share of itself to another is taken to be part of it.
SHARE = 0.6
# Means that differ by more than this many standard deviations have moved.
MOVED = 0.5
_ROWS = 2000


class Modes(NamedTuple):
    """Chains by the place in which they settled.

    Attributes
    ----------
    chains : tuple of tuple of str
        Names of the chains that settled in the same place, the most chains first.
    sentences : tuple of str
        How the places differ, in words.

    Examples
    --------
    >>> Modes((("0", "1", "2"), ("3",)), ("In chain 3 two groups are merged into one.",)).chains[1]
    ('3',)
    """

    chains: tuple[tuple[str, ...], ...]
    """Names of the chains of each mode; first the mode of the most chains, of equals the one of the highest log-likelihood."""
    sentences: tuple[str, ...]
    """How each of the other modes differs from the first, where that can be told."""


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
    names = [str(name) for name in (free["chain"].values if "chain" in free.coords else range(free.sizes["chain"]))]
    height = values[..., list(_columns(free)).index("log_likelihood")].mean(1) if "log_likelihood" in free else np.zeros(len(names))
    groups.sort(key=lambda group: (-len(group), -float(height[group].mean())))
    chains = tuple(tuple(names[c] for c in group) for group in groups)
    return Modes(chains, tuple(_differences(datatree, groups, chains)))


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
    if not {"weights", "means"} <= set(posterior) or not {"covariances", "sds"} & set(posterior):
        return
    first = _mean_mixture(posterior, groups[0])
    for group, names in zip(groups[1:], chains[1:], strict=True):
        other = _mean_mixture(posterior, group)
        if first is not None and other is not None:
            words = list(_words(first, other, _rows(datatree, first, other)))
            yield f"In {chain_words(names)}, compared with {chain_words(chains[0])}, {'; '.join(words)}."


def chain_words(names: tuple[str, ...] | list[str]) -> str:
    """Return chains as a person lists them: chain 2, or chains 0, 1 and 3."""
    return f"chain {names[0]}" if len(names) == 1 else f"chains {', '.join(names[:-1])} and {names[-1]}"


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
            yield f"groups {_list(parents)} are merged into one (there group {k})"
    for j in np.flatnonzero(ours >= 1):
        children = [int(k) for k in np.flatnonzero((out_of[j] > SHARE) & filled)]
        if len(children) > 1:
            told.add(int(j))
            yield f"group {j} is split into two or more (there groups {_list(children)})"
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
        yield f"group{'s' if len(far) > 1 else ''} {_list(far)} moved elsewhere"
    elif not told:
        yield "the groups lie in the same places with other weights or shapes"


def _list(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
