"""Draws of a mixture in the forms that relabelling can use, made of whatever is known of them and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.labels.responsibilities import (
    TOLERANCE,
    Responsibilities,
    RowTotals,
    from_allocations,
    from_mixtures,
    from_table,
    most_probable,
    row_totals,
)
from bayesgmm.params import MixtureParams
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["MixtureDraws"]

_AXES = {"responsibilities": "NK", "allocations": "N", "parameters": "KP", "functional": "K", "log_posterior": ""}
"""What is beside draws in a table: N rows, K components, P parameters."""
_NEEDED = {
    "rows": ("responsibilities or allocations of the rows", "give params and X, or responsibilities, or allocations"),
    "responsibilities": ("responsibilities of the rows", "give params and X, or responsibilities"),
    "counted": ("allocations or responsibilities of the rows", "give allocations, or responsibilities, or params and X"),
    "features": ("parameters of the components", "give params or parameters"),
    "X": ("the rows themselves", "give X"),
    "reference": (
        "responsibilities of a reference",
        "give reference, responsibilities (N, K) or (with X) a mixture, such as an EM fit; or choose another method",
    ),
    "functional": ("numbers to sort by", "give functional, numbers for each draw and component, or params"),
}


@dataclass(frozen=True, eq=False)
class MixtureDraws:
    """Draws of a mixture, flat: T draws, N rows, K components. What is not known is None.

    Parameters
    ----------
    batch_shape : tuple of int
        Shape of the draws before they were made flat.
    n_components : int
    responsibilities, allocations : Responsibilities, optional
        Allocations as responsibilities of zero and one.
    features : array of shape (T, K, P), optional
        Parameters of each component, on comparable scales.
    X : array of shape (N, D), optional
    reference : array of shape (N, K), optional
        Responsibilities whose labels the draws shall have.
    reference_features : array of shape (K, P), optional
        Parameters of the same reference, on the scales of ``features``.
    functional : array of shape (T, K), optional
        Number by which to sort components.
    log_posterior : array of shape (T,), optional
    """

    batch_shape: tuple[int, ...]
    n_components: int
    responsibilities: Responsibilities | None = None
    allocations: Responsibilities | None = None
    features: FloatArray | None = None
    X: FloatArray | None = None
    reference: FloatArray | None = None
    reference_features: FloatArray | None = None
    functional: FloatArray | None = None
    log_posterior: FloatArray | None = None

    @classmethod
    def of(
        cls,
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
    ) -> MixtureDraws:
        """Check what is known and put it together; see :func:`bayesgmm.labels.find_labels`."""
        if callable(functional):
            if params is None:
                raise InvalidParameterError(
                    "functional is a function of params, which are not given: give params, or the numbers themselves"
                )
            functional = functional(params)
        is_lazy = _is_lazy(responsibilities)
        given = {
            "responsibilities": responsibilities if is_lazy else _numbers("responsibilities", responsibilities, check=False),
            "allocations": _whole(allocations),
            "parameters": _numbers("parameters", parameters),
            "functional": _numbers("functional", functional),
            "log_posterior": _numbers("log_posterior", log_posterior, allow_infinite=True),
        }
        tables = {name: table for name, table in given.items() if table is not None}
        batch_shape = _batch_shape(params, tables)
        K = _n_components(params, tables, n_components)
        rows = None if X is None else _rows(X)
        flat = None if params is None else params.reshape(-1)
        r, z, features, named, lp = (_flat(table, len(batch_shape)) for table in given.values())
        _check_allocations(z, K)
        _check_lengths(rows, tables, reference)
        if features is None and flat is not None:
            features = mixture_features(flat)
        return cls(
            batch_shape,
            K,
            from_table(r) if r is not None else _responsibilities(flat, rows),
            None if z is None else from_allocations(z, K),
            None if features is None else standardised(features, features),
            rows,
            _reference_table(reference, rows, K),
            _reference_features(reference, features) if parameters is None else None,
            along_first_axis(flat) if named is None and flat is not None else named,
            lp,
        )

    def need(self, name: str, method: str) -> Any:
        """Return what a method cannot do without, or say that it is missing."""
        value = getattr(self, name)
        if value is None:
            what, remedy = _NEEDED[name]
            raise InvalidParameterError(f"method {method!r} needs {what}, which are not given: {remedy}")
        return value

    @property
    def rows(self) -> Responsibilities | None:
        """Responsibilities, or allocations where there are none."""
        return self.allocations if self.responsibilities is None else self.responsibilities

    @cached_property
    def totals(self) -> RowTotals:
        """Sums over the rows, which have been found to be probabilities."""
        return row_totals(self.need("rows", "any"))

    @cached_property
    def counted(self) -> Responsibilities | None:
        """Allocations: those given, otherwise every row's most probable component in each draw."""
        rows = self.responsibilities
        return self.allocations if self.allocations is not None or rows is None else most_probable(rows)

    @cached_property
    def pivot(self) -> int:
        """Draw that stands for all where there is no reference: of the highest posterior density, or else the most ordinary one.

        Judged by what does not depend on labels: sums and sums of squares over components of the parameters, or the sorted sizes of the
        components; the draw nearest to their means, in their standard deviations.
        """
        if self.log_posterior is not None:
            return int(self.log_posterior.argmax())
        if self.features is not None:
            facts = np.concatenate([self.features.sum(1), (self.features**2).sum(1)], axis=1)
        else:
            facts = np.sort(self.totals.sizes, axis=1)
        # Sums in another order of the components differ in their last bits, which must not choose between equally good draws.
        return int((standardised(facts, facts) ** 2).sum(1).round(6).argmin())

    @cached_property
    def anchor(self) -> FloatArray:
        """Responsibilities (N, K) from which iterations start: the reference's, otherwise those of the pivot."""
        rows: Responsibilities = self.need("rows", "any")
        return rows.draw(self.pivot) if self.reference is None else self.reference


def standardised(values: FloatArray, like: FloatArray) -> FloatArray:
    """Return values in standard deviations from the mean of ``like``, over all its axes but the last; constants become zero."""
    axes = tuple(range(like.ndim - 1))
    mean, sd = like.mean(axes), like.std(axes)
    return np.where(sd > 1e-12 * np.abs(mean), (values - mean) / np.where(sd > 0, sd, 1.0), 0.0)


def mixture_features(params: MixtureParams) -> FloatArray:
    """Return weights, means, logs of standard deviations and correlations of each component, (..., K, P)."""
    below = np.tril_indices(params.n_features, -1)
    correlations = params.correlations[(..., *below)]
    return np.concatenate([params.weights[..., None], params.means, np.log(params.sds), correlations], axis=-1)


def along_first_axis(params: MixtureParams) -> FloatArray:
    """Return the components' means (T, K) along the first principal axis of all of them, which points where its largest loading does."""
    means = params.means.reshape(-1, params.n_features)
    centred = means - means.mean(0)
    scale = centred.std(0)
    scale[scale == 0] = 1.0
    axis = np.linalg.svd(centred / scale, full_matrices=False)[2][0]
    axis *= np.sign(axis[np.abs(axis).argmax()])
    return (params.means - means.mean(0)) @ (axis / scale)


def _is_lazy(table: Any) -> bool:
    """Whether a table is to be read block by block: it has a shape and can be cut, but is no array."""
    if table is None or type(table) is np.ndarray:
        return False
    arrays = ("dims", "__array_interface__", "__array_namespace__")
    can_be_cut = hasattr(table, "shape") and hasattr(table, "__getitem__")
    return isinstance(table, np.memmap) or (can_be_cut and not any(hasattr(table, name) for name in arrays))


def _numbers(name: str, values: Any, *, check: bool = True, allow_infinite: bool = False) -> FloatArray | None:
    """Return values as an array of numbers, or None."""
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


def _whole(allocations: Any) -> IntArray | None:
    if allocations is None:
        return None
    values = np.asarray(allocations)
    if values.dtype.kind in "iu":
        return values
    floats = _numbers("allocations", values)
    if floats is None or (floats != np.floor(floats)).any():
        raise InvalidDataError("allocations must be whole numbers, the components of the rows")
    return floats.astype(np.intp)


def _one_value[T](values: Mapping[str, T], otherwise: str) -> T | None:
    """Return the value on which all agree, None where there is none."""
    if len(set(values.values())) > 1:
        raise InvalidParameterError(otherwise + ", ".join(f"{name} {value}" for name, value in values.items()))
    return next(iter(values.values()), None)


def _sizes(tables: Mapping[str, Any], axis: str) -> dict[str, int]:
    """Return how many rows ("N") or components ("K") each of the tables has that has such an axis."""
    return {
        name: int(table.shape[_AXES[name].index(axis) - len(_AXES[name])]) for name, table in tables.items() if axis in _AXES[name]
    }


def _batch_shape(params: MixtureParams | None, tables: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the draws' shape, on which all must agree."""
    shapes: dict[str, tuple[int, ...]] = {} if params is None else {"params": params.batch_shape}
    for name, table in tables.items():
        n = len(table.shape) - len(_AXES[name])
        if n < 1:
            wanted = ", ".join(("...", *_AXES[name]))
            raise InvalidParameterError(f"{name} must have shape ({wanted}) with at least one axis of draws, got {table.shape}")
        shapes[name] = tuple(int(size) for size in table.shape[:n])
    shape = _one_value(shapes, "all must be of the same draws, but the draws have the shapes ")
    if shape is None:
        raise InvalidParameterError("nothing is known of the draws: give params, responsibilities, allocations or parameters")
    if not shape or 0 in shape:
        raise InvalidParameterError(f"there are no draws to relabel: their shape is {shape}")
    return shape


def _n_components(params: MixtureParams | None, tables: Mapping[str, Any], n_components: int | None) -> int:
    found = {} if params is None else {"params": params.n_components}
    found |= _sizes(tables, "K") | ({} if n_components is None else {"n_components": n_components})
    known = _one_value(found, "the number of components differs: ")
    if known is not None:
        return known
    if "allocations" not in tables:
        raise InvalidParameterError(
            "log_posterior alone says nothing of components: give params, responsibilities, allocations or parameters"
        )
    z = tables["allocations"]
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


def _check_lengths(X: FloatArray | None, tables: Mapping[str, Any], reference: MixtureParams | ArrayLike | None) -> None:
    """Raise unless everything that has rows has the same number of them."""
    lengths = ({} if X is None else {"X": len(X)}) | _sizes(tables, "N")
    if reference is not None and not isinstance(reference, MixtureParams):
        lengths["reference"] = len(np.atleast_1d(reference))
    if _one_value(lengths, "the number of rows differs: ") == 0:
        raise InvalidParameterError("there are no rows")


def _rows(X: ArrayLike) -> FloatArray:
    rows = np.require(_numbers("X", X, check=False), float, ["C", "W"])
    if rows.ndim != 2 or np.isinf(rows).any():
        raise InvalidDataError(f"X must be a table (N, D) of finite numbers, NaN where one is missing; its shape is {rows.shape}")
    return rows


def _responsibilities(params: MixtureParams | None, X: FloatArray | None) -> Responsibilities | None:
    if params is None or X is None:
        return None
    if X.shape[1] != params.n_features:
        raise InvalidParameterError(f"X has {X.shape[1]} columns, params {params.n_features}")
    return from_mixtures(params, X)


def _flat(table: Any, n_batch: int) -> Any:
    if table is None or n_batch == 1:
        return table
    if not hasattr(table, "reshape"):
        raise InvalidParameterError(f"responsibilities that are read from a file must have shape (draws, N, K), got {table.shape}")
    return table.reshape(-1, *table.shape[n_batch:])


def _reference_table(reference: MixtureParams | ArrayLike | None, X: FloatArray | None, n_components: int) -> FloatArray | None:
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


def _reference_features(reference: MixtureParams | ArrayLike | None, features: FloatArray | None) -> FloatArray | None:
    if not isinstance(reference, MixtureParams) or features is None:
        return None
    own = mixture_features(reference)
    if own.shape[-1] != features.shape[-1]:
        raise InvalidParameterError("reference has another number of features than params")
    return standardised(own, features)
