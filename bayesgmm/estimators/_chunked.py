"""Estimators and data that need not fit into memory: fitted and predicted chunk by chunk, Dask's collections where they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.em.steps import total_weight
from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import Chunk, Chunked, on_this_thread
from bayesgmm.expectation.chunks import check_finite
from bayesgmm.sources import open_rows
from bayesgmm.sources.dask import BLOCK, PARTITION, is_dask, labels_of, numbers_of_frame
from bayesgmm.sources.parquet import is_dataset
from bayesgmm.tables import default_names, warn_of_booleans
from bayesgmm.typing import FloatArray
from bayesgmm.validation import check_enough, check_ranges

__all__ = ["NotKept", "Sums", "blocks_of", "names_of", "opened", "predicted", "responsibility_table", "sums_over"]

_ENOUGH = 50
"""Rows in which distinct ones are looked for, times K + 1."""


@dataclass(frozen=True)
class NotKept:
    """What an estimator remembers of rows that it was fitted to in chunks."""

    n_rows: int
    weight: float

    def __len__(self) -> int:
        return self.n_rows

    @classmethod
    def of(cls, rows: Chunked) -> NotKept:
        """Return what is to be remembered of these rows."""
        return cls(len(rows), total_weight(rows, None))


def opened(estimator: Any, X: Any, sample_weight: Any = None, *, reset: bool) -> Chunked:
    """Open data for an estimator: check them and remember their columns (``reset``), or compare them with those that were fitted.

    Raises
    ------
    InvalidDataError
        If they cannot be used, or their columns are others than in ``fit``.
    """
    names = getattr(estimator, "feature_names_in_", None)
    by_name = not reset and names is not None and _has_names(X)
    rows = open_rows(X, columns=list(names) if by_name and names is not None else None, sample_weight=sample_weight)
    if reset:
        _check_fittable(rows, estimator.n_components)
        warn_of_booleans(rows.booleans)
        _remember(estimator, rows)
    else:
        _compare(estimator, rows)
    return rows


def _has_names(X: Any) -> bool:
    """Whether columns of these data can be chosen by name."""
    if isinstance(X, (str, os.PathLike)):
        return not os.fspath(X).lower().endswith(".npy")
    return is_dataset(X) or (is_dask(X) and hasattr(X, "columns"))


def names_of(rows: Chunked) -> list[str]:
    """Return the columns' names, or ``x0, x1, ...`` where they have none."""
    return rows.names or default_names(rows.n_features)


def _check_fittable(rows: Chunked, n_components: int) -> None:
    summary, names = rows.summary, names_of(rows)
    if len(rows) == 0:
        raise InvalidDataError("The data have no rows" + (" of positive weight" if sum(summary.read) else ""))
    check_ranges(summary.lowest, summary.highest, names, n_rows=len(rows))
    some = min(len(rows), _ENOUGH * (n_components + 1))
    distinct = len(np.unique(rows.take(np.arange(some))[0], axis=0))
    if distinct <= n_components and some < len(rows):
        some = min(len(rows), 20_000)
        distinct = len(np.unique(rows.take(np.unique(np.linspace(0, len(rows) - 1, some).astype(int)))[0], axis=0))
    check_enough(len(rows), n_components, distinct)


def _remember(estimator: Any, rows: Chunked) -> None:
    names = rows.names
    estimator.n_features_in_ = rows.n_features
    if names is not None:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def _compare(estimator: Any, rows: Chunked) -> None:
    if rows.n_features != estimator.n_features_in_:
        raise InvalidDataError(f"X has {rows.n_features} columns, and the estimator was fitted to {estimator.n_features_in_}")
    names, known = rows.names, getattr(estimator, "feature_names_in_", None)
    if names is not None and known is not None and list(known) != names:
        raise InvalidDataError(
            f"X has the columns {', '.join(names[:8])}, and the estimator was fitted to {', '.join(map(str, known[:8]))}: "
            "give them in this order"
        )


@dataclass(frozen=True, eq=False)
class _Fitted:
    """What it takes of an estimator to predict, without the data that it was fitted to."""

    estimator: Any
    what: str

    @classmethod
    def of(cls, estimator: Any, what: str) -> _Fitted:
        light = object.__new__(type(estimator))
        needed = ("params_", "n_components", "covariance_type", "noise", "noise_weight_", "_noise")
        vars(light).update({name: value for name, value in vars(estimator).items() if name in needed})
        return cls(light, what)

    def __call__(self, X: FloatArray) -> np.ndarray:
        moments = self.estimator._moments(np.ascontiguousarray(X, dtype=float))
        if self.what == "score_samples":
            return moments.log_density
        if self.what == "predict_proba":
            return moments.mean
        labels = moments.mean.argmax(axis=1)
        return np.where(labels == self.estimator.n_components, -1, labels)

    @property
    def n_columns(self) -> int:
        """Number of responsibilities of a row, the noise's among them."""
        return int(self.estimator.n_components) + (getattr(self.estimator, "_noise", None) is not None)


def predicted(estimator: Any, X: Any, what: str) -> Any:
    """Return what a method of the estimator says of rows in chunks: an array, or of a Dask collection a lazy one with its chunks.

    Parameters
    ----------
    estimator : fitted estimator
    X : what :func:`bayesgmm.sources.is_chunked` says yes to
    what : {"predict", "predict_proba", "score_samples"}
    """
    fitted = _Fitted.of(estimator, what)
    if is_dask(X):
        return _lazily(estimator, X, fitted)
    rows = opened(estimator, X, reset=False).as_read()  # one result for each, whatever it weighs
    return np.concatenate(rows.map_reduce(_Predict(fitted), _listed))


@dataclass(frozen=True, eq=False)
class _Predict:
    fitted: _Fitted

    def __call__(self, chunk: Chunk) -> list[np.ndarray]:
        check_finite(chunk)
        return [self.fitted(chunk.X)]


def _listed(first: list[np.ndarray], second: list[np.ndarray]) -> list[np.ndarray]:
    first.extend(second)
    return first


def _lazily(estimator: Any, X: Any, fitted: _Fitted) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    opened(estimator, X, reset=False)
    array = blocks_of(estimator, X)
    shape = (array.chunks[0], (fitted.n_columns,)) if fitted.what == "predict_proba" else (array.chunks[0],)
    return da.map_blocks(
        _of_block,
        array,
        fitted=delayed(fitted, pure=True),
        place=PARTITION if hasattr(X, "columns") else BLOCK,
        dtype=np.intp if fitted.what == "predict" else float,
        chunks=shape,
        drop_axis=() if fitted.what == "predict_proba" else 1,
        meta=np.empty((0,) * len(shape), dtype=np.intp if fitted.what == "predict" else float),
        name=f"{fitted.what}-{np.random.default_rng().integers(2**62):x}",
    )


def _of_block(block: FloatArray, fitted: _Fitted, place: str, block_id: tuple[int, ...] = (0,)) -> np.ndarray:
    values = np.asarray(block, dtype=float)
    check_finite(Chunk(block_id[0], place.format(block_id[0]), 0, values, n_read=len(values)))
    with on_this_thread():
        return fitted(values)


def blocks_of(estimator: Any, X: Any) -> Any:
    """Return a Dask collection as a Dask array whose blocks have all columns, and those that were fitted if it is a frame."""
    if not hasattr(X, "columns"):
        return X if len(X.chunks[1]) == 1 else X.rechunk({1: -1})
    known = getattr(estimator, "feature_names_in_", None)
    names = [str(name) for name in (X.columns if known is None else known)]
    chosen = X[labels_of(X.columns, names)]  # so that files are asked for no other columns
    return chosen.map_partitions(_of_partition, names, meta=np.empty((0, len(names))))


def _of_partition(frame: Any, names: list[str], partition_info: dict[str, Any] | None = None) -> FloatArray:
    """Return a frame as the fit takes it: what is missing in columns of any kind is NaN."""
    return numbers_of_frame(frame, names, PARTITION.format(partition_info["number"] if partition_info else "?"))


def responsibility_table(estimator: Any, X: Any) -> xr.DataArray:
    """Return responsibilities with their dims named; of a Dask collection lazily, with its chunks."""
    if is_dask(X):
        opened(estimator, X, reset=False)
    if is_dask(X) and hasattr(X, "columns"):
        array = blocks_of(estimator, X)
        X = array.compute_chunk_sizes() if np.isnan(array.shape[0]) else array
    elif is_dask(X) and np.isnan(X.shape[0]):
        X = X.compute_chunk_sizes()
    table = predicted(estimator, X, "predict_proba")
    components = [*range(estimator.n_components), *([-1] if table.shape[1] > estimator.n_components else [])]
    # Row numbers would be an array of all rows: xarray counts them without.
    return xr.DataArray(table, dims=("obs", "component"), coords={"component": components}, name="responsibilities")


@dataclass(frozen=True)
class Sums:
    """Sums over rows that criteria are made of.

    Parameters
    ----------
    log_density : float
    log_certainty : float
        Of the log of each row's largest responsibility.
    weight : float
        Total weight of the rows.
    """

    log_density: float
    log_certainty: float
    weight: float

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.log_density + other.log_density, self.log_certainty + other.log_certainty, self.weight + other.weight)


def sums_over(estimator: Any, X: Any, sample_weight: Any = None) -> Sums:
    """Return what criteria need of rows in chunks, in one pass."""
    return opened(estimator, X, sample_weight, reset=False).map_reduce(_Sum(_Fitted.of(estimator, "predict_proba")), Sums.__add__)


@dataclass(frozen=True, eq=False)
class _Sum:
    fitted: _Fitted

    def __call__(self, chunk: Chunk) -> Sums:
        check_finite(chunk)
        moments = self.fitted.estimator._moments(chunk.X)
        weight = np.ones(len(chunk)) if chunk.weight is None else chunk.weight
        certainty = np.log(moments.mean.max(axis=1, initial=0.0)) if len(chunk) else np.empty(0)
        return Sums(float(weight @ moments.log_density), float(weight @ certainty), float(weight.sum()))
