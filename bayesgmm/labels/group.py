"""The group of a DataTree that holds the draws, and what its variables say of the components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray

__all__ = ["SAMPLE", "Group"]

SAMPLE = ("chain", "draw")


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
            raise InvalidDataError(f"the tree has no group {group!r}: its groups are {listed(datatree.children)}")
        dataset = datatree[group].to_dataset()
        wanted = (component_dim,) if isinstance(component_dim, str) else tuple(component_dim)
        for dim in (*SAMPLE, *wanted):
            if dim not in dataset.sizes:
                hint = ": name the dim of the components with component_dim" if dim in wanted else ""
                raise InvalidDataError(f"group {group!r} has no dim {dim!r}{hint}; its dims are {listed(dataset.sizes)}")
        sizes = {dim: dataset.sizes[dim] for dim in wanted}
        if len(set(sizes.values())) != 1:
            raise InvalidParameterError(f"the dims of components must all have the same size, got {sizes}")
        return cls(group, dataset, wanted, next(iter(sizes.values())))

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of chains and of draws."""
        return tuple(self.dataset.sizes[dim] for dim in SAMPLE)

    @property
    def variables(self) -> list[str]:
        """Names of the variables."""
        return [str(name) for name in self.dataset.data_vars]

    def n_component_dims(self, variable: xr.DataArray) -> int:
        """How many of a variable's dims are of components."""
        return sum(dim in self.component_dims for dim in variable.dims)

    def check_batch(self, **shapes: tuple[int, ...] | None) -> None:
        """Raise unless what is given is of the draws of the group."""
        for what, shape in shapes.items():
            if shape not in {None, self.shape}:
                raise InvalidParameterError(f"group {self.group!r} has draws (chain, draw) of shape {self.shape}, {what} {shape}")

    def table(self, given: Any, what: str, n_others: int, *, components_last: bool = False) -> Any:
        """Return values with chain and draw first, then other dims, then (if they have it) the components."""
        if isinstance(given, str):
            if given not in self.variables:
                raise InvalidDataError(
                    f"{what} are to be in variable {given!r}, but group {self.group!r} has no such variable: "
                    f"it has {listed(self.variables)}"
                )
            given = self.dataset[given]
        if not isinstance(given, xr.DataArray):
            self.check_batch(**{what: None if given is None else np.shape(given)[:2]})
            return given
        others = [dim for dim in given.dims if dim not in (*SAMPLE, *self.component_dims)]
        last = [dim for dim in given.dims if dim in self.component_dims] if components_last else []
        if not set(SAMPLE) <= set(given.dims) or len(others) != n_others or self.n_component_dims(given) != int(components_last):
            wanted = ("chain", "draw", *["obs"] * n_others, *["component"] * components_last)
            raise InvalidDataError(f"{what} must have dims like ({', '.join(wanted)}), {given.name!r} has ({listed(given.dims)})")
        return given.transpose(*SAMPLE, *others, *last).values

    def parameters(self, names: Sequence[str] | None) -> FloatArray | None:
        """Return the parameters of each component, (chain, draw, K, P): of these variables, or of all that are numbers of components."""
        for name in names or ():
            if name not in self.variables:
                raise InvalidDataError(f"group {self.group!r} has no variable {name!r}: it has {listed(self.variables)}")
        parts = []
        for name in self.variables if names is None else names:
            variable = self.dataset[name]
            if self.n_component_dims(variable) == 1 and set(SAMPLE) <= set(variable.dims) and variable.dtype.kind in "iufb":
                dim = next(dim for dim in variable.dims if dim in self.component_dims)
                values = variable.transpose(*SAMPLE, dim, ...).values
                parts.append(values.reshape(*values.shape[:3], -1).astype(float))
            elif names is not None:
                raise InvalidDataError(
                    f"variable {name!r} must be numbers with draws and one component dim, its dims are {listed(variable.dims)}"
                )
        return np.concatenate(parts, axis=-1) if parts else None

    def mixtures(self) -> MixtureParams:
        """Return the mixtures, if the group's variables are named as this package names them."""
        weights, means, covariances = (
            self.dataset[name].transpose(*SAMPLE, ...).values for name in ("weights", "means", "covariances")
        )
        return MixtureParams.from_covariances(weights, means, covariances)


def listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
