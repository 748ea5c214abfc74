"""Whatever is known of draws, checked and made into evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels.evidence import Evidence, along_first_axis, mixture_features, standardised
from bayesgmm.labels.rows import TOLERANCE, Allocated, Given, Streamed
from bayesgmm.params import MixtureParams
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["evidence_of"]

_TRAILING = {
    "params": "",
    "responsibilities": "N, K",
    "allocations": "N",
    "parameters": "K, P",
    "functional": "K",
    "log_posterior": "",
}


def evidence_of(
    *,
    params: MixtureParams | None = None,
    X: ArrayLike | None = None,
    responsibilities: Any = None,
    allocations: Any = None,
    parameters: ArrayLike | None = None,
    reference: MixtureParams | ArrayLike | None = None,
    functional: ArrayLike | Callable[[MixtureParams], FloatArray] | None = None,
    log_posterior: ArrayLike | None = None,
    n_components: int | None = None,
) -> Evidence:
    """Check what is known and put it together; see :func:`bayesgmm.labels.find_labels`."""
    if callable(functional):
        if params is None:
            raise InvalidParameterError(
                "functional is a function of params, which are not given: give params, or the numbers themselves"
            )
        functional = functional(params)
    z = None if allocations is None else _whole(allocations)
    tables = {
        "responsibilities": responsibilities
        if _is_lazy(responsibilities)
        else _numbers("responsibilities", responsibilities, check=False),
        "allocations": z,
        "parameters": _numbers("parameters", parameters),
        "functional": _numbers("functional", functional),
        "log_posterior": _numbers("log_posterior", log_posterior, allow_infinite=True),
    }
    batch_shape = _batch_shape(params, tables)
    K = _n_components(params, tables, n_components)
    rows = None if X is None else _rows(X)
    flat = None if params is None else params.reshape(-1)
    flattened = {name: _flat(table, len(batch_shape)) for name, table in tables.items()}
    _check_allocations(flattened["allocations"], K)
    _check_lengths(rows, tables, reference)
    features = flattened["parameters"]
    if features is None and flat is not None:
        features = mixture_features(flat)
    named = flattened["functional"]
    return Evidence(
        batch_shape,
        K,
        _responsibilities(flattened["responsibilities"], flat, rows),
        None if z is None else Allocated(flattened["allocations"], K),
        None if features is None else standardised(features, features),
        rows,
        _reference_table(reference, rows, K),
        _reference_features(reference, features) if parameters is None else None,
        along_first_axis(flat) if named is None and flat is not None else named,
        flattened["log_posterior"],
    )


def _is_lazy(table: Any) -> bool:
    """Whether a table is to be read block by block: it has a shape and can be cut, but is no array."""
    return isinstance(table, np.memmap) or (
        hasattr(table, "shape") and hasattr(table, "__getitem__") and not isinstance(table, np.ndarray) and not hasattr(table, "dims")
        and not hasattr(table, "__array_interface__") and not hasattr(table, "__array_namespace__")
    )  # fmt: skip


def _numbers(name: str, values: Any, *, check: bool = True, allow_infinite: bool = False) -> FloatArray | None:
    if values is None:
        return None
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InvalidDataError(f"{name} must be numbers") from None
    bad = np.isnan(array) if allow_infinite else ~np.isfinite(array) if check else np.False_
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InvalidDataError(f"{name} must be finite numbers: the one at {where} is {array[where]}")
    return array


def _whole(allocations: Any) -> IntArray:
    values = np.asarray(allocations)
    if values.dtype.kind in "iu":
        return values
    floats = _numbers("allocations", values)
    if floats is None or (floats != np.floor(floats)).any():
        raise InvalidDataError("allocations must be whole numbers, the components of the rows")
    return floats.astype(np.intp)


def _batch_shape(params: MixtureParams | None, tables: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the draws' shape, on which all must agree."""
    shapes: dict[str, tuple[int, ...]] = {} if params is None else {"params": params.batch_shape}
    for name, table in tables.items():
        if table is not None:
            n = len(_TRAILING[name].split(", ")) if _TRAILING[name] else 0
            if len(table.shape) < n + 1:
                raise InvalidParameterError(
                    f"{name} must have shape (..., {_TRAILING[name]}) with at least one axis of draws, got {table.shape}"
                )
            shapes[name] = tuple(int(size) for size in table.shape[: len(table.shape) - n])
    if not shapes:
        raise InvalidParameterError("nothing is known of the draws: give params, responsibilities, allocations or parameters")
    if len(set(shapes.values())) > 1:
        raise InvalidParameterError("all must be of the same draws, but the draws have the shapes " + _listed(shapes))
    shape = next(iter(shapes.values()))
    if not shape or 0 in shape:
        raise InvalidParameterError(f"there are no draws to relabel: their shape is {shape}")
    return shape


def _n_components(params: MixtureParams | None, tables: Mapping[str, Any], n_components: int | None) -> int:
    found = {} if params is None else {"params": params.n_components}
    for name, axis in (("responsibilities", -1), ("parameters", -2), ("functional", -1)):
        if tables[name] is not None:
            found[name] = int(tables[name].shape[axis])
    if n_components is not None:
        found["n_components"] = n_components
    if len(set(found.values())) > 1:
        raise InvalidParameterError("the number of components differs: " + _listed(found))
    if found:
        return next(iter(found.values()))
    z = tables["allocations"]
    if z is None:
        raise InvalidParameterError(
            "log_posterior alone says nothing of components: give params, responsibilities, allocations or parameters"
        )
    if z.size and z.min() == 1:
        raise InvalidDataError(
            "allocations never name component 0: count components from 0 (Stan counts from 1, so subtract 1), or give n_components"
        )
    return int(z.max(initial=0)) + 1


def _check_allocations(z: IntArray | None, n_components: int) -> None:
    if z is None:
        return
    bad = (z < 0) | (z >= n_components)
    if bad.any():
        t, i = np.argwhere(bad)[0]
        raise InvalidDataError(
            f"allocations must lie between 0 and {n_components - 1}: row {i} of draw {t} (counted over all chains) is in {z[t, i]}"
            + (". Stan counts from 1: subtract 1" if z.min() == 1 else "")
        )


def _check_lengths(X: FloatArray | None, tables: Mapping[str, Any], reference: Any) -> None:
    """Raise unless everything that has rows has the same number of them."""
    lengths = {} if X is None else {"X": len(X)}
    if tables["responsibilities"] is not None:
        lengths["responsibilities"] = int(tables["responsibilities"].shape[-2])
    if tables["allocations"] is not None:
        lengths["allocations"] = int(tables["allocations"].shape[-1])
    if reference is not None and not isinstance(reference, MixtureParams):
        lengths["reference"] = len(np.atleast_1d(reference))
    if len(set(lengths.values())) > 1:
        raise InvalidParameterError("the number of rows differs: " + _listed(lengths))
    if 0 in lengths.values():
        raise InvalidParameterError("there are no rows")


def _rows(X: ArrayLike) -> FloatArray:
    rows = np.require(_numbers("X", X, check=False), float, ["C", "W"])
    if rows.ndim != 2 or np.isinf(rows).any():
        raise InvalidDataError(f"X must be a table (N, D) of finite numbers, NaN where one is missing; its shape is {rows.shape}")
    return rows


def _responsibilities(table: Any, params: MixtureParams | None, X: FloatArray | None) -> Given | Streamed | None:
    if table is not None:
        return Given(table)
    if params is None or X is None:
        return None
    if X.shape[1] != params.n_features:
        raise InvalidParameterError(f"X has {X.shape[1]} columns, params {params.n_features}")
    return Streamed(params, X)


def _flat(table: Any, n_batch: int) -> Any:
    if table is None or n_batch == 1:
        return table
    if not hasattr(table, "reshape"):
        raise InvalidParameterError(f"responsibilities that are read from a file must have shape (draws, N, K), got {table.shape}")
    return table.reshape(-1, *table.shape[n_batch:])


def _reference_table(reference: Any, X: FloatArray | None, n_components: int) -> FloatArray | None:
    """Return the reference's responsibilities (N, K)."""
    if isinstance(reference, MixtureParams):
        if reference.batch_shape or reference.n_components != n_components:
            raise InvalidParameterError(
                f"reference must be one mixture of {n_components} components, got batch shape {reference.batch_shape} "
                f"and {reference.n_components} components"
            )
        return None if X is None else reference.responsibilities(X)
    table = _numbers("reference", reference)
    if table is None:
        return None
    if table.ndim != 2 or table.shape[1] != n_components:
        raise InvalidParameterError(f"reference must be a mixture or responsibilities (N, {n_components}), got shape {table.shape}")
    if (table < 0).any() or np.abs(table.sum(1) - 1).max() > TOLERANCE:
        raise InvalidDataError("the reference's responsibilities must be at least zero and add up to one in every row")
    return table


def _reference_features(reference: Any, features: FloatArray | None) -> FloatArray | None:
    if not isinstance(reference, MixtureParams) or features is None:
        return None
    own = mixture_features(reference)
    if own.shape[-1] != features.shape[-1]:
        raise InvalidParameterError("reference has another number of features than params")
    return standardised(own, features)


def _listed(sizes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())
