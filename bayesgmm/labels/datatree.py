"""Relabelling a posterior in ArviZ's schema, whoever sampled it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels.draws import MixtureDraws
from bayesgmm.labels.relabelling import MAX_ITER, Relabelling, check_method, is_possible, solve
from bayesgmm.labels.responsibilities import relabelled_mean
from bayesgmm.params import MixtureParams
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["relabel"]

SAMPLE = ("chain", "draw")
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
    posterior = Group.of(datatree, group, component_dim)
    if params is None and set(posterior.dataset.data_vars) >= _OURS:
        params, X = posterior.mixtures(), _observed(datatree) if X is None else X
    has_rows = any(known is not None for known in (params, responsibilities, allocations))
    needs_parameters = parameters is not None or (method == "pra" and params is None) or (method is None and not has_rows)
    draws = MixtureDraws.of(
        params=params,
        X=X,
        responsibilities=posterior.table(responsibilities, "responsibilities", "obs", "component"),
        allocations=posterior.table(allocations, "allocations", "obs"),
        parameters=posterior.parameters(parameters) if needs_parameters else None,
        reference=reference,
        functional=posterior.table(functional, "functional", "component"),
        log_posterior=_log_posterior(datatree, posterior.shape),
        n_components=posterior.n_components,
    )
    if draws.batch_shape != posterior.shape:
        raise InvalidParameterError(
            f"group {group!r} has draws of shape {posterior.shape}, what is given of them {draws.batch_shape}"
        )
    found = solve(_chosen(method, draws), draws, max_iter)
    return _relabelled(datatree, posterior, found, draws, allocations)


def _observed(datatree: xr.DataTree) -> FloatArray | None:
    """Return the rows of a fit of this package, if they are there."""
    observed = datatree.children.get("observed_data")
    if observed is None or "x" not in observed.data_vars or observed["x"].ndim != 2:
        return None
    return np.asarray(observed["x"].values, dtype=float)


def _chosen(method: str | None, draws: MixtureDraws) -> str:
    if method is not None:
        check_method(method)
        return method
    # Of allocations alone Stephens's method makes less than those that were made for them.
    kinds = [name for name in _BY_DEFAULT if name != "stephens" or draws.responsibilities is not None]
    possible = [name for name in kinds if is_possible(name, draws)]
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


def _relabelled(datatree: xr.DataTree, posterior: Group, found: Relabelling, draws: MixtureDraws, allocations: Any) -> xr.DataTree:
    """Return the tree with everything in the new order."""
    groups = {path.strip("/") or "/": dataset for path, dataset in datatree.to_dict().items()}
    for path, dataset in groups.items():
        has_draws = tuple(dataset.sizes.get(dim) for dim in SAMPLE) == posterior.shape
        if has_draws and not path.startswith(_NOT_OURS):
            groups[path] = _permuted(dataset, posterior, found)
    ours = groups[posterior.group]
    if isinstance(allocations, str):
        order = ours[allocations].transpose(*SAMPLE, ...)
        labels = found.apply_to_allocations(order.values).astype(order.dtype)
        ours = ours.assign({allocations: order.copy(data=labels).transpose(*ours[allocations].dims)})
    groups[posterior.group] = ours.assign_attrs(relabelled=found.method)
    groups.setdefault(f"unlabelled_{posterior.group}", posterior.dataset)
    groups["relabelling"] = _found_dataset(found, posterior)
    if "responsibilities" in groups:
        groups |= _mean_responsibilities(groups.pop("responsibilities"), posterior, found, draws)
    return xr.DataTree.from_dict(groups, name=datatree.name)


def _permuted(dataset: xr.Dataset, posterior: Group, found: Relabelling) -> xr.Dataset:
    changed = {}
    for name, variable in dataset.data_vars.items():
        if set(SAMPLE) <= set(variable.dims) and posterior.n_component_dims(variable):
            draws = variable.variable.transpose(*SAMPLE, ...)
            for axis in (draws.dims.index(dim) for dim in posterior.component_dims if dim in draws.dims):
                draws = draws.copy(data=found.apply(draws.values, axis))
            changed[name] = draws.transpose(*variable.dims)
    return dataset.assign(changed)


def _found_dataset(found: Relabelling, posterior: Group) -> xr.Dataset:
    numbers = {"cost": found.cost, "margin": found.margin, "clarity": found.clarity, "ambiguous": found.is_ambiguous}
    variables: dict[str, Any] = {"order": ((*SAMPLE, posterior.component_dims[0]), found.orders)}
    variables |= {name: (SAMPLE, values) for name, values in numbers.items()}
    attrs = {"method": found.method, "iterations": found.iterations, "converged": int(found.converged)}
    return xr.Dataset(variables, coords={dim: posterior.dataset[dim] for dim in SAMPLE}, attrs=attrs)


def _mean_responsibilities(old: xr.Dataset, posterior: Group, found: Relabelling, draws: MixtureDraws) -> dict[str, xr.Dataset]:
    """Return the group of mean responsibilities under the new labels, if they can be had."""
    rows = draws.responsibilities
    mean = old.get("mean")
    if rows is None or mean is None or mean.shape != rows.shape[1:]:
        return {} if any(posterior.n_component_dims(variable) for variable in old.data_vars.values()) else {"responsibilities": old}
    values = relabelled_mean(rows, found.orders.reshape(-1, found.n_components))
    return {"responsibilities": old.assign(mean=(mean.dims, values))}


@dataclass(frozen=True, eq=False)
class Group:
    """The group to be relabelled."""

    group: str
    dataset: xr.Dataset
    component_dims: tuple[str, ...]
    n_components: int

    @classmethod
    def of(cls, datatree: xr.DataTree, group: str, component_dim: str | Sequence[str]) -> Group:
        """Find the group and its dims, or say which is missing."""
        if group not in datatree.children:
            raise InvalidDataError(f"the tree has no group {group!r}: its groups are {_names(datatree.children)}")
        dataset = datatree[group].to_dataset()
        wanted = (component_dim,) if isinstance(component_dim, str) else tuple(component_dim)
        for dim in (*SAMPLE, *wanted):
            if dim not in dataset.sizes:
                hint = ": name the dim of the components with component_dim" if dim in wanted else ""
                raise InvalidDataError(f"group {group!r} has no dim {dim!r}{hint}; its dims are {_names(dataset.sizes)}")
        sizes = {dim: dataset.sizes[dim] for dim in wanted}
        if len(set(sizes.values())) != 1:
            raise InvalidParameterError(f"the dims of components must all have the same size, got {sizes}")
        return cls(group, dataset, wanted, next(iter(sizes.values())))

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of chains and of draws."""
        return tuple(self.dataset.sizes[dim] for dim in SAMPLE)

    def variable(self, name: str, what: str) -> xr.DataArray:
        """Return a variable by its name, or say that what is to be in it is not there."""
        if name not in self.dataset.data_vars:
            has = _names(self.dataset.data_vars)
            raise InvalidDataError(f"group {self.group!r} has no variable {name!r}, which {what} are to be in: it has {has}")
        return self.dataset[name]

    def n_component_dims(self, variable: xr.DataArray) -> int:
        """How many of a variable's dims are of components."""
        return sum(dim in self.component_dims for dim in variable.dims)

    def table(self, given: Any, what: str, *dims: str) -> Any:
        """Return values, or those of a variable, with dims chain and draw first, then those named: one of "obs", one of "component"."""
        if isinstance(given, str):
            given = self.variable(given, what)
        if not isinstance(given, xr.DataArray):
            return given
        others = [dim for dim in given.dims if dim not in (*SAMPLE, *self.component_dims)]
        components = [dim for dim in given.dims if dim in self.component_dims]
        if not set(SAMPLE) <= set(given.dims) or (len(others), len(components)) != (dims.count("obs"), dims.count("component")):
            wanted = ", ".join((*SAMPLE, *dims))
            raise InvalidDataError(f"{what} must have dims like ({wanted}), {given.name!r} has ({_names(given.dims)})")
        return given.transpose(*SAMPLE, *others, *components).values

    def parameters(self, names: Sequence[str] | None) -> FloatArray | None:
        """Return the parameters of each component, (chain, draw, K, P): of these variables, or of all that are numbers of components."""
        parts = []
        for variable in self.dataset.data_vars.values() if names is None else (self.variable(name, "parameters") for name in names):
            if self.n_component_dims(variable) == 1 and set(SAMPLE) <= set(variable.dims) and variable.dtype.kind in "iufb":
                dim = next(dim for dim in variable.dims if dim in self.component_dims)
                values = variable.transpose(*SAMPLE, dim, ...).values
                parts.append(values.reshape(*values.shape[:3], -1).astype(float))
            elif names is not None:
                raise InvalidDataError(
                    f"variable {variable.name!r} must be numbers with draws and one component dim, its dims are {_names(variable.dims)}"
                )
        return np.concatenate(parts, axis=-1) if parts else None

    def mixtures(self) -> MixtureParams:
        """Return the mixtures, if the group's variables are named as this package names them."""
        arrays = (self.dataset[name].transpose(*SAMPLE, ...).values for name in ("weights", "means", "covariances"))
        return MixtureParams.from_covariances(*arrays)


def _names(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names)) or "none"
