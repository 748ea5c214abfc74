"""Labels of a sampler that change, between chains or within one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from bayesgmm.labels import match
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Switching", "find_switching"]

# Single draws may be named differently where groups overlap; a chain that switches spends more than this away from its usual labels.
SHARE = 0.01


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
    """Of each chain, by its name: the share of draws whose labels are not the chain's usual ones."""
    between: bool
    """Whether the usual labels of the chains differ from each other."""

    @property
    def within(self) -> list[str]:
        """Names of the chains that switch labels within themselves."""
        return [chain for chain, share in self.shares.items() if share > SHARE]


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
    names = _chain_names(datatree["posterior"].to_dataset())
    return Switching(dict(zip(names, away.tolist(), strict=True)), bool((usual != usual[0]).any()))


def _chain_names(group: xr.Dataset) -> list[str]:
    return [str(name) for name in (group["chain"].values if "chain" in group.coords else range(group.sizes["chain"]))]


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
