"""What users say is known of rows, checked: labels, errors of measurement, rows that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.rows.base import MemoryRows, Rows
from bayesgmm.rows.concomitant import Concomitant, Covariates, Samples
from bayesgmm.rows.known import Known
from bayesgmm.text import counted, listed
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Classes", "concomitant_of", "refuse_known", "rows_with"]

_MOST_NAMED = 6
_SYMMETRIC = 1e-8
"""By how much of its size a covariance may be other than its transpose."""
_DEFINITE = -1e-10


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes that labels name, and the components that each of them has.

    Parameters
    ----------
    names : tuple
        Of the classes, as the labels have them.
    of_component : int array of shape (K,)
        Number of the class of each component; -1 for a component of none.
    """

    names: tuple[Any, ...]
    of_component: IntArray

    @property
    def component_names(self) -> list[str]:
        """What the components are called: as their class, numbered where it has several; by their own number without one."""
        counts, seen = np.bincount(self.of_component[self.of_component >= 0], minlength=len(self.names)), [0] * len(self.names)
        found = []
        for k, c in enumerate(self.of_component):
            if c < 0:
                found.append(str(k) if str(k) not in map(str, self.names) else f"component {k}")
                continue
            seen[c] += 1
            found.append(str(self.names[c]) if counts[c] == 1 else f"{self.names[c]} {seen[c]}")
        return found

    @property
    def columns(self) -> list[Any]:
        """What :meth:`summed` returns a column for: the classes, and then the components without one, by their names."""
        return [*self.names, *(name for name, c in zip(self.component_names, self.of_component, strict=True) if c < 0)]

    def summed(self, responsibilities: FloatArray) -> FloatArray:
        """Return the probabilities (n, C) of classes, and after them those of each component without one."""
        columns = [responsibilities[:, self.of_component == c].sum(1) for c in range(len(self.names))]
        return np.column_stack([*columns, responsibilities[:, self.of_component < 0]])


def rows_with(
    rows: Rows,
    n_components: int,
    *,
    known: Any = None,
    components_per_class: Any = None,
    together: Any = None,
    errors: Any = None,
) -> tuple[Rows, Classes | None]:
    """Return rows with what is known of them, and the classes that their labels name, if they do.

    Parameters
    ----------
    rows : Rows
    n_components : int
    known, components_per_class, together, errors
        As ``fit`` of the estimators takes them.

    Returns
    -------
    Rows, Classes or None

    Raises
    ------
    InvalidDataError, InvalidParameterError
        If what is given does not fit the rows, the components or itself: one sentence with the row and column at fault.
    """
    given = {"known": known, "together": together, "errors": errors}
    if components_per_class is not None and known is None:
        raise InvalidParameterError(
            "components_per_class says how many components each class has: give the rows' classes by known="
        )
    if all(value is None for value in given.values()):
        return rows, None
    if not rows.is_in_memory:
        names = listed([f"{name}=" for name, value in given.items() if value is not None])
        raise InvalidDataError(f"{names} need all rows in memory: read the data, or a sample of them, into an array or a DataFrame")
    held = rows.in_memory()
    known, together, errors = (in_order(value, held) for value in (known, together, errors))
    log_weights, classes = None, None
    if known is not None:
        log_weights, classes = _log_weights(known, held, n_components, components_per_class)
    error_of, error_tril = (None, None) if errors is None else _errors(errors, held)
    sets, n_named = (None, 0) if together is None else _sets(together, held)
    if sets is not None and log_weights is not None:
        _refuse_contradictions(sets, log_weights, held)
    parts = (log_weights, error_of, error_tril, sets)
    return (held if all(part is None for part in parts) else held.knowing(Known(*parts, n_named=n_named))), classes


def concomitant_of(samples: Any, covariates: Any, rows: Rows) -> Concomitant | None:
    """Return what the weights of rows depend on, if on anything.

    Raises
    ------
    InvalidDataError
        If what is given does not fit the rows.
    InvalidParameterError
        If both are given.
    """
    if samples is None and covariates is None:
        return None
    if samples is not None and covariates is not None:
        raise InvalidParameterError("samples and covariates both say what weights depend on: give samples as columns of covariates")
    if not rows.is_in_memory:
        name = "samples" if covariates is None else "covariates"
        raise InvalidDataError(
            f"{name}= needs all rows in memory: read the data, or a sample of them, into an array or a DataFrame"
        )
    samples, covariates = (in_order(value, rows) for value in (samples, covariates))
    found: Concomitant = Samples.of(samples, len(rows)) if covariates is None else Covariates.of(covariates, len(rows))
    known = rows.known
    if known is not None and known.sets is not None:
        first = np.unique(known.sets, return_index=True)[1]
        alike = found.share_of[first][np.unique(known.sets, return_inverse=True)[1]] == found.share_of
        if not alike.all():
            row = rows.index[int(np.argmin(alike))]
            raise InvalidDataError(
                f"row {row} belongs together with rows of another sample, or with other covariates: a set has one vector of weights"
            )
    return found


def refuse_known(rows: Rows, what: str) -> None:
    """Raise InvalidDataError if more is known of rows than their values, for something that does not take that into account."""
    if rows.known is not None:
        raise InvalidDataError(
            f"{what} cannot take labels, errors of measurement or rows that belong together into account yet: leave known=, errors= and "
            "together= out of the fit that it is asked of"
        )


def in_order(value: Any, rows: Rows) -> Any:
    """Return a Series or DataFrame in the order of the rows, and its columns in that of theirs, where it has the same names in another."""
    if not isinstance(value, (pd.Series, pd.DataFrame)) or len(value) != len(rows):
        return value
    names, wanted = value.index.map(str), rows.index.map(str)
    # The rows of an array have numbers and no names.
    if (
        not isinstance(rows.index, pd.RangeIndex)
        and not names.equals(wanted)
        and names.is_unique
        and wanted.is_unique
        and set(names) == set(wanted)
    ):
        value = value.set_axis(names).loc[wanted]
    if isinstance(value, pd.DataFrame) and list(map(str, value.columns)) != rows.feature_names:
        columns = value.columns.map(str)
        if columns.is_unique and set(columns) == set(rows.feature_names):
            value = value.set_axis(columns, axis=1)[rows.feature_names]
    return value


def _log_weights(known: Any, rows: MemoryRows, K: int, per_class: Any) -> tuple[FloatArray | None, Classes | None]:
    table = _as_array(known)
    if table.ndim == 2 and table.shape[1] == 1 and K > 1:
        table = table[:, 0]
    if table.ndim not in (1, 2) or len(table) != len(rows):
        raise InvalidDataError(
            f"known must have one label for each of the {counted(len(rows), 'row')} of X, or one number for each row and component, got "
            f"shape {table.shape}"
        )
    if table.ndim == 1:
        which, classes = _classes(table, rows, K, per_class)
        if (which < 0).all():
            return None, classes
        allowed = classes.of_component[None] == which[:, None]
        log_weights = np.where(allowed | (which < 0)[:, None], 0.0, -np.inf)
        return (log_weights if (log_weights < 0).any() else None), classes
    if per_class is not None:
        raise InvalidParameterError(
            "components_per_class goes with one label for each row, and known has a column for each component"
        )
    return _plausibilities(table, rows, K), None


def _as_array(known: Any) -> np.ndarray:
    """Return labels (n,) as objects, whatever they came as, or a table (n, K) as it is."""
    if isinstance(known, pd.DataFrame):
        return known.to_numpy()
    if getattr(known, "dtype", np.dtype(float)).kind == "M":
        return np.asarray(pd.to_datetime(known), dtype=object)
    if isinstance(known, (pd.Series, pd.Index, pd.Categorical)):
        return np.asarray(known, dtype=object)
    try:
        values = np.asarray(known)
    except ValueError:  # lists of unlike length
        values = np.empty(0)
    return np.array(list(known), dtype=object) if values.ndim == 1 and not isinstance(known, np.ndarray) else values


def _classes(labels: np.ndarray, rows: MemoryRows, K: int, per_class: Any) -> tuple[IntArray, Classes]:
    """Return the number of each row's class (n,), -1 for none, and the classes."""
    labels = labels.astype(object)
    is_number = np.array([isinstance(label, Real) and not isinstance(label, bool) for label in labels.tolist()], dtype=bool)
    unknown = np.asarray(pd.isna(labels)) | (np.where(is_number, labels, 0) == -1)
    seen = labels[~unknown]
    if is_number[~unknown].all() and per_class is None:
        numbers = seen.astype(float)
        bad = np.flatnonzero((numbers != np.round(numbers)) | (numbers < 0) | (numbers >= K))
        if len(bad):
            row = np.flatnonzero(~unknown)[bad[0]]
            raise InvalidDataError(
                f"known is {labels[row]} in row {rows.index[row]}, and the components are 0 to {K - 1}: numbers say which component a row "
                "is of (-1 or NaN where that is not known); give labels as text if they are names"
            )
        which = np.full(len(labels), -1)
        which[~unknown] = numbers.astype(int)
        return which, Classes(tuple(range(K)), np.arange(K))
    names = list(dict.fromkeys(_sorted(seen)))
    if len(set(map(str, names))) < len(names):
        raise InvalidDataError(
            f"known has labels that read the same, such as numbers and their text: {listed(map(repr, names), _MOST_NAMED)}"
        )
    counts = _counts(per_class, names, K)
    of_component = np.repeat(np.arange(len(names)), counts)
    if len(of_component) > K:
        what = f"{counted(len(names), 'class', 'classes')} ({listed(names, _MOST_NAMED)})"
        if per_class is not None:
            raise InvalidParameterError(
                f"components_per_class asks for {len(of_component)} components for {what}, and n_components is {K}: make them the same"
            )
        raise InvalidDataError(f"known has {what}, and n_components is {K}: each class needs a component of its own")
    of_component = np.append(of_component, np.full(K - len(of_component), -1))
    position = {name: c for c, name in enumerate(names)}
    which = np.array([-1 if missing else position[label] for label, missing in zip(labels, unknown, strict=True)], dtype=int)
    return which, Classes(tuple(names), of_component)


def _sorted(labels: np.ndarray) -> list[Any]:
    try:
        return sorted(labels.tolist())
    except TypeError:
        return sorted(labels.tolist(), key=str)


def _counts(per_class: Any, names: list[Any], K: int) -> list[int]:
    """Return how many components each class has."""
    if per_class is None:
        return [1] * len(names)
    if isinstance(per_class, Mapping):
        unknown, absent = [name for name in per_class if name not in names], [name for name in names if name not in per_class]
        if unknown or absent:
            what = f"no row has the label {unknown[0]!r}" if unknown else f"the class {absent[0]!r} is not in it"
            raise InvalidParameterError(
                f"components_per_class must name the classes that known has, {listed(names, _MOST_NAMED)}: {what}"
            )
        counts = [per_class[name] for name in names]
    elif isinstance(per_class, (Sequence, np.ndarray)) and not isinstance(per_class, str):
        counts = list(np.asarray(per_class).tolist())
        if len(counts) != len(names):
            raise InvalidParameterError(
                f"components_per_class has {len(counts)} numbers for {counted(len(names), 'class', 'classes')} "
                f"({listed(names, _MOST_NAMED)}): give one for each, in this order, or a dict"
            )
    else:
        counts = [per_class] * len(names)
    bad = [count for count in counts if isinstance(count, bool) or not isinstance(count, Integral) or count < 1]
    if bad:
        raise InvalidParameterError(f"components_per_class must be whole numbers of at least 1, got {bad[0]!r}")
    return [int(count) for count in counts]


def _plausibilities(table: np.ndarray, rows: MemoryRows, K: int) -> FloatArray | None:
    """Return log-weights (n, K) of allowed components, or of how plausible each is; a row's most plausible one has zero."""
    if table.shape[1] != K:
        raise InvalidDataError(f"known has {table.shape[1]} columns, and n_components is {K}: it takes one for each component")
    try:
        values = table.astype(float)
    except (TypeError, ValueError):
        raise InvalidDataError(
            "known must be labels, one for each row, or True and False, or probabilities, for each row and component"
        ) from None
    values = np.where(np.isnan(values).all(1)[:, None], 1.0, values)
    bad = np.argwhere(~((values >= 0) & (values <= 1)))
    if len(bad):
        i, k = bad[0]
        raise InvalidDataError(f"known is {table[i, k]} in row {rows.index[i]}, column {k}: probabilities lie between 0 and 1")
    none = np.flatnonzero((values == 0).all(1))
    if len(none):
        raise InvalidDataError(
            f"known allows no component in row {rows.index[none[0]]}: allow one at least, or all if nothing is known"
        )
    with np.errstate(divide="ignore"):
        logs = np.log(values / values.max(1, keepdims=True))
    return logs if (logs != 0).any() else None


def _sets(together: Any, rows: MemoryRows) -> tuple[IntArray | None, int]:
    """Return the number of each row's set (n,), and how many sets have names; rows without one are alone, and have the numbers after these.

    None if every row is alone and counts once.
    """
    names = _as_array(together)
    names = names.astype(object) if names.ndim == 1 else names
    if names.shape != (len(rows),):
        raise InvalidDataError(
            f"together must say for each of the {counted(len(rows), 'row')} of X which set it is of, got shape {names.shape}"
        )
    alone = np.asarray(pd.isna(names))
    codes = pd.factorize(names)[0]
    n_named = int(codes.max(initial=-1)) + 1
    codes[alone] = n_named + np.arange(alone.sum())
    is_plain = len(np.unique(codes)) == len(codes) and rows.weights is None
    return (None, 0) if is_plain else (codes, n_named)


def _refuse_contradictions(sets: IntArray, log_weights: FloatArray, rows: MemoryRows) -> None:
    counted_ = np.ones(len(sets), bool) if rows.weights is None else rows.weights > 0
    possible = np.zeros((sets.max() + 1, log_weights.shape[1]))
    np.add.at(possible, sets[counted_], log_weights[counted_])
    lost = np.flatnonzero(np.isneginf(possible).all(1))
    if len(lost):
        members = rows.index[np.flatnonzero(sets == lost[0])]
        raise InvalidDataError(
            f"together and known contradict each other: rows {listed(members, _MOST_NAMED)} belong together, and no component is allowed "
            "for all of them"
        )


def _errors(errors: Any, rows: MemoryRows) -> tuple[IntArray, FloatArray] | tuple[None, None]:
    """Return which error each row has (n,), and the distinct errors' Cholesky factors (G, D, D); None of errors that are all zero."""
    n, D = rows.shape
    given = errors.to_numpy(dtype=float) if isinstance(errors, (pd.DataFrame, pd.Series)) else errors
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise InvalidDataError("errors must be numbers: standard deviations of measurement, or their covariances") from None
    if values.shape == (n,) and D == 1:
        values = values[:, None]
    if values.shape not in ((D,), (n, D), (D, D), (n, D, D)) and not (values.shape == () and D == 1):
        raise InvalidDataError(
            f"errors must have the shape ({D},) or ({n}, {D}) of standard deviations, one for all rows or one for each, or ({D}, {D}) or "
            f"({n}, {D}, {D}) of covariances, got {values.shape}"
        )
    values = values.reshape(1) if values.shape == () else values
    is_sd = values.shape in ((D,), (n, D))  # of as many rows as columns (D, D) are standard deviations
    wide = values if values.shape in ((n, D), (n, D, D)) else values[None]
    seen = ~np.isnan(rows.values)
    if is_sd:
        at_fault = ~((wide >= 0) & np.isfinite(wide)) & (seen if len(wide) == n else True)
        if at_fault.any():
            i, d = np.argwhere(at_fault)[0]
            raise InvalidDataError(
                f"errors are {wide[i, d]} in {_place(rows, i, len(wide))}, column {rows.feature_names[d]!r}: standard deviations of "
                "measurement must be zero or positive and finite"
            )
        distinct, which = np.unique(np.where(np.isfinite(wide), wide, 0.0), axis=0, return_inverse=True)
        factors = distinct[:, :, None] * np.eye(D)
    else:
        for i, matrix in enumerate(wide):
            if not _is_covariance(matrix):
                raise InvalidDataError(
                    f"errors are no covariance matrix in {_place(rows, i, len(wide))}: it must be finite and symmetric, without negative "
                    "eigenvalues"
                )
        distinct, which = np.unique(wide.reshape(len(wide), -1), axis=0, return_inverse=True)
        factors = np.stack([_factor(matrix) for matrix in distinct.reshape(-1, D, D)])
    if not distinct.any():
        return None, None
    return np.broadcast_to(which.reshape(-1), (n,)).copy(), factors


def _place(rows: MemoryRows, i: int, n: int) -> str:
    return f"row {rows.index[i]}" if n == len(rows) else "the one that all rows have"


def _is_covariance(matrix: FloatArray) -> bool:
    if not np.isfinite(matrix).all() or np.abs(matrix - matrix.T).max() > _SYMMETRIC * np.abs(matrix).max():
        return False
    sds = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    units = np.where(sds > 0, sds, 1.0)
    return bool(np.linalg.eigvalsh(matrix / np.outer(units, units)).min() >= _DEFINITE)


def _factor(matrix: FloatArray) -> FloatArray:
    """Return the lower triangular factor of a covariance that may be singular."""
    sds = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    units = np.where(sds > 0, sds, 1.0)  # columns may be in very different ones
    values, vectors = np.linalg.eigh(matrix / np.outer(units, units))
    root = units[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    upper = np.linalg.qr(root.T, mode="r")
    return np.asarray((np.where(np.diag(upper) < 0, -1.0, 1.0)[:, None] * upper).T)
