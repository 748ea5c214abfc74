"""Relabelling a posterior in ArviZ's schema, whoever sampled it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels.evidence import Evidence
from bayesgmm.labels.find import MAX_ITER, check_method, is_possible, solve
from bayesgmm.labels.group import SAMPLE, Group
from bayesgmm.labels.inputs import evidence_of
from bayesgmm.labels.passes import relabelled_mean
from bayesgmm.labels.value import Relabelling
from bayesgmm.params import MixtureParams
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["relabel"]

_OURS = {"weights", "means", "covariances"}
_NOT_OURS = ("prior", "unlabelled", "warmup", "relabelling")
_BY_DEFAULT = ("em-pivot", "stephens", "ecr-iterative-1", "pra")


def relabel(
    datatree: xr.DataTree,
    method: str | None = None,
    *,
    component_dim: str | Sequence[str] = "component",
    group: str = "posterior",
    responsibilities: str | xr.DataArray | ArrayLike | None = None,
    allocations: str | xr.DataArray | ArrayLike | None = None,
    parameters: Sequence[str] | None = None,
    params: MixtureParams | None = None,
    X: ArrayLike | None = None,
    reference: MixtureParams | ArrayLike | None = None,
    functional: str | xr.DataArray | ArrayLike | None = None,
    max_iter: int = MAX_ITER,
) -> xr.DataTree:
    """Relabel the posterior of any mixture: of this package, PyMC, Stan, NumPyro.

    Every variable with draws and a component dim is permuted, along all its component dims; nothing of the given tree is changed.

    Parameters
    ----------
    datatree : xarray.DataTree
        With a group of draws, dims ``chain`` and ``draw``.
    method : str, optional
        As for :func:`bayesgmm.labels.find_labels`. By default the first for which there is what it needs of "em-pivot" (given a
        reference), "stephens" (responsibilities), "ecr-iterative-1" (allocations) and "pra" (parameters alone).
    component_dim : str or sequence of str
        Name of the dim of components, or names where variables have different ones, such as ``("w_dim_0", "mu_dim_0")``, or where a
        variable has two.
    group : str
        The group with the draws.
    responsibilities, allocations : str, DataArray or array, optional
        Name of a variable of the group, or values: dims (chain, draw, obs, component) and (chain, draw, obs), components counted from 0.
        An allocation in the group is relabelled too.
    parameters : sequence of str, optional
        Variables that describe a component, for "pra"; by default all in the group that have exactly one component dim.
    params : MixtureParams, optional
        Batch shape (chain, draw). With ``X`` it gives responsibilities. By default made of ``weights``, ``means`` and ``covariances``,
        if these are the names of variables of the group, as they are in this package.
    X : array of shape (N, D), optional
        By default ``observed_data/x``, beside ``params`` taken from the group.
    reference : MixtureParams or array of shape (N, K), optional
    functional : str, DataArray or array, optional
        For "sort": a variable with dims (chain, draw, component), or values.
    max_iter : int

    Returns
    -------
    xarray.DataTree
        As given, except: draws are relabelled in ``group`` and in the other groups that have the same draws; the group as it was is kept
        as ``unlabelled_posterior`` (``unlabelled_`` and the group's name), unless there is one already; group ``relabelling`` has
        ``order``, ``cost``, ``margin``, ``clarity`` and ``ambiguous`` of each draw, and how they were found in its attributes. Mean
        responsibilities in a group of that name are worked out again, or left out where they cannot be.

    Raises
    ------
    InvalidDataError
        If the tree lacks the group, a variable or a dim; the message says which, and what there is.
    InvalidParameterError
        If the method lacks what it needs, or shapes disagree.

    Notes
    -----
    Where ``sample_stats/lp`` is the log-posterior density, the draw with the highest is the pivot.

    Examples
    --------
    >>> means = np.array([[[0.1, 5.0], [5.1, 0.0], [-0.1, 4.9]]])
    >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": (("chain", "draw", "group"), means)})})
    >>> relabelled = relabel(tree, component_dim="group")
    >>> relabelled["posterior"]["mu"].values
    array([[[ 0.1,  5. ],
            [ 0. ,  5.1],
            [-0.1,  4.9]]])
    >>> relabelled["relabelling"].attrs["method"], relabelled["unlabelled_posterior"].equals(tree["posterior"])
    ('pra', True)
    """
    draws = Group.of(datatree, group, component_dim)
    draws.check_batch(params=None if params is None else params.batch_shape)
    if params is None and set(draws.variables) >= _OURS:
        params, X = draws.mixtures(), _observed(datatree) if X is None else X
    has_rows = any(known is not None for known in (params, responsibilities, allocations))
    needs_parameters = parameters is not None or (method == "pra" and params is None) or (method is None and not has_rows)
    evidence = evidence_of(
        params=params,
        X=X,
        responsibilities=draws.table(responsibilities, "responsibilities", 1, components_last=True),
        allocations=draws.table(allocations, "allocations", 1),
        parameters=draws.parameters(parameters) if needs_parameters else None,
        reference=reference,
        functional=draws.table(functional, "functional", 0, components_last=True),
        log_posterior=_log_posterior(datatree, draws.shape),
        n_components=draws.n_components,
    )
    if evidence.batch_shape != draws.shape:
        raise InvalidParameterError(
            f"group {group!r} has draws of shape {draws.shape}, what is given of them {evidence.batch_shape}"
        )
    found = solve(_chosen(method, evidence), evidence, max_iter)
    return _relabelled(datatree, draws, found, evidence, allocations)


def _observed(datatree: xr.DataTree) -> FloatArray | None:
    """Return the rows of a fit of this package, if they are there."""
    if "observed_data" not in datatree.children or "x" not in datatree["observed_data"].data_vars:
        return None
    values = datatree["observed_data"].to_dataset()["x"].values
    return np.asarray(values, dtype=float) if values.ndim == 2 else None


def _chosen(method: str | None, evidence: Evidence) -> str:
    if method is not None:
        check_method(method)
        return method
    # Of allocations alone Stephens's method makes less than those that were made for them.
    kinds = [name for name in _BY_DEFAULT if name != "stephens" or evidence.responsibilities is not None]
    possible = [name for name in kinds if is_possible(name, evidence)]
    if not possible:
        raise InvalidDataError(
            "the tree has no variable by which components could be told apart: give responsibilities, allocations or X"
        )
    return possible[0]


def _log_posterior(datatree: xr.DataTree, shape: tuple[int, ...]) -> FloatArray | None:
    stats = datatree.children.get("sample_stats")
    if stats is None or "lp" not in stats.data_vars or stats["lp"].shape != shape:
        return None
    values = np.asarray(stats["lp"].values, dtype=float)
    return None if np.isnan(values).any() else values


def _relabelled(datatree: xr.DataTree, draws: Group, found: Relabelling, evidence: Evidence, allocations: Any) -> xr.DataTree:
    """Return the tree with everything in the new order."""
    groups = {path.strip("/") or "/": dataset for path, dataset in datatree.to_dict().items()}
    for path, dataset in groups.items():
        has_draws = tuple(dataset.sizes.get(dim) for dim in SAMPLE) == draws.shape
        if has_draws and not path.startswith(_NOT_OURS):
            groups[path] = _permuted(dataset, draws, found)
    ours = groups[draws.group]
    if isinstance(allocations, str):
        order = ours[allocations].transpose(*SAMPLE, ...)
        labels = found.apply_to_allocations(order.values).astype(order.dtype)
        ours = ours.assign({allocations: order.copy(data=labels).transpose(*ours[allocations].dims)})
    groups[draws.group] = ours.assign_attrs(relabelled=found.method)
    groups.setdefault(f"unlabelled_{draws.group}", draws.dataset)
    groups["relabelling"] = _found_dataset(found, draws)
    if "responsibilities" in groups:
        groups |= _mean_responsibilities(groups.pop("responsibilities"), draws, found, evidence)
    return xr.DataTree.from_dict(groups, name=datatree.name)


def _permuted(dataset: xr.Dataset, draws: Group, found: Relabelling) -> xr.Dataset:
    changed = {
        name: (variable.dims, _permuted_values(variable, draws, found), variable.attrs)
        for name, variable in dataset.data_vars.items()
        if set(SAMPLE) <= set(variable.dims) and draws.n_component_dims(variable)
    }
    return dataset.assign(changed)


def _permuted_values(variable: xr.DataArray, draws: Group, found: Relabelling) -> np.ndarray:
    """Permute all component axes, wherever the dims of the draws are."""
    places = [variable.dims.index(dim) for dim in SAMPLE]
    values = np.moveaxis(variable.values, places, (0, 1))
    dims = [dim for dim in variable.dims if dim not in SAMPLE]
    for axis, dim in enumerate(dims, start=2):
        if dim in draws.component_dims:
            values = found.apply(values, axis)
    return np.moveaxis(values, (0, 1), places)


def _found_dataset(found: Relabelling, draws: Group) -> xr.Dataset:
    coords = {dim: draws.dataset[dim] for dim in SAMPLE}
    numbers = {"cost": found.cost, "margin": found.margin, "clarity": found.clarity, "ambiguous": found.is_ambiguous}
    attrs = {"method": found.method, "iterations": found.iterations, "converged": int(found.converged)}
    variables: Mapping[str, Any] = {
        "order": ((*SAMPLE, draws.component_dims[0]), found.orders),
        **{name: (SAMPLE, values) for name, values in numbers.items()},
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _mean_responsibilities(old: xr.Dataset, draws: Group, found: Relabelling, evidence: Evidence) -> dict[str, xr.Dataset]:
    """Return the group of mean responsibilities under the new labels, if they can be had."""
    rows = evidence.responsibilities
    mean = old.get("mean")
    if rows is None or mean is None or mean.shape != rows.shape[1:]:
        return {} if any(draws.n_component_dims(variable) for variable in old.data_vars.values()) else {"responsibilities": old}
    values = relabelled_mean(rows, found.orders.reshape(-1, found.n_components))
    return {"responsibilities": old.assign(mean=(mean.dims, values))}
