"""Rows in Dask's collections, and files that a cluster's workers read: the data stay where they are, parameters travel to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from bayesgmm.exceptions import BayesGMMError, InvalidDataError
from bayesgmm.kernels.threads import on_this_thread
from bayesgmm.rows.base import Chunk, Rows, check_finite, chunk_of
from bayesgmm.rows.files import Part
from bayesgmm.tables.numeric import array_of, check_columns, column_of, frame_of
from bayesgmm.typing import FloatArray

__all__ = ["DaskRows", "cluster", "dask_rows", "is_dask", "rows_on_cluster"]

FAN_IN = 8
"""How many results are added in one task: their sum is what travels on."""
BLOCK, PARTITION = "block {} of the Dask array (counted from 0)", "partition {} of the Dask DataFrame (counted from 0)"
"""Where rows are, for messages."""


def is_dask(X: Any) -> bool:
    """Whether this is a Dask array or DataFrame; Dask is not loaded to find out."""
    return type(X).__module__.split(".")[0] in ("dask", "dask_expr") and hasattr(X, "to_delayed")


def cluster() -> Any | None:
    """Return the active ``distributed.Client``, if there is one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


@dataclass(eq=False, repr=False)
class DaskRows(Rows):
    """Rows whose chunks are Dask's.

    Parameters
    ----------
    given : sequence of dask Delayed
        Of :class:`bayesgmm.rows.Chunk`.
    n_features : int
    names : list of str, optional
    unweighted : sequence of dask Delayed, optional
        The same chunks with all rows that are read and without weights, if those of ``given`` have some.
    collection : dask Array or DataFrame, optional
        Where they come from; files that a cluster's workers read are none.
    """

    given: list[Any]
    n_features: int
    names: list[str] | None = None
    unweighted: list[Any] | None = None
    collection: Any = None
    _kept: tuple[str, list[Any]] | None = field(default=None, init=False)

    def as_read(self) -> DaskRows:
        """Return all rows of the chunks, none with a weight."""
        return self if self.unweighted is None else replace(self, given=self.unweighted, unweighted=None)

    def map_rows(self, task: Callable[[Chunk], np.ndarray], n_columns: int | None = None, dtype: Any = float) -> Any:
        """Return a number, or ``n_columns`` of them, for each row: of a Dask collection a lazy array with its chunks."""
        if self.collection is None:
            return super().map_rows(task, n_columns, dtype)
        import dask.array as da
        from dask.delayed import delayed

        array, has_columns = _blocks_of(self.collection, self.names), n_columns is not None
        shape = (array.chunks[0], (n_columns,)) if has_columns else (array.chunks[0],)
        return da.map_blocks(
            _of_block,
            array,
            task=delayed(task, pure=True),
            place=PARTITION if self.names is not None else BLOCK,
            dtype=dtype,
            chunks=shape,
            drop_axis=() if has_columns else 1,
            meta=np.empty((0,) * len(shape), dtype=dtype),
            name=f"{getattr(task, '__name__', 'rows')}-{np.random.default_rng().integers(2**62):x}",
        )

    def sized(self) -> DaskRows:
        """Return the rows of a collection that knows how many rows its chunks have."""
        if self.collection is None:
            return self
        array = _blocks_of(self.collection, self.names)
        return dask_rows(array.compute_chunk_sizes() if np.isnan(array.shape[0]) else array, None, None)

    @property
    def _chunks(self) -> list[Any]:
        """The chunks: kept by a cluster's workers, if there is one, otherwise made in every pass, so that they need not fit into memory.

        What one cluster keeps is gone with its client: for another they are made anew.
        """
        from dask.base import persist

        client = cluster()
        if client is None:
            self._kept = None
            return self.given
        if self._kept is None or self._kept[0] != client.id:
            self._kept = client.id, list(persist(*self.given))
        return self._kept[1]

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        """Return what a task makes of every chunk, added up by a tree in which a few neighbours meet at a time."""
        from dask.delayed import delayed

        level = [delayed(_alone, pure=False)(task, chunk) for chunk in self._chunks]
        while len(level) > 1:
            level = [delayed(reduce, pure=False)(add, level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
        return _computed(level[0])


def _of_block(block: FloatArray, task: Callable[[Chunk], np.ndarray], place: str, block_id: tuple[int, ...] = (0,)) -> np.ndarray:
    chunk = Chunk(np.asarray(block, dtype=float), None, block_id[0], place.format(block_id[0]))
    check_finite(chunk)
    with on_this_thread():
        return task(chunk)


def _blocks_of(X: Any, names: list[str] | None) -> Any:
    """Return a Dask collection as a Dask array whose blocks have all columns, and those of the names if it is a frame."""
    if names is None or not hasattr(X, "columns"):
        return X if len(X.chunks[1]) == 1 else X.rechunk({1: -1})
    chosen = X[_labels_of(X.columns, names)]  # so that files are asked for no other columns
    return chosen.map_partitions(_of_partition, names, meta=np.empty((0, len(names))))


def _of_partition(frame: Any, names: list[str], partition_info: dict[str, Any] | None = None) -> FloatArray:
    """Return a frame as the fit takes it: what is missing in columns of any kind is NaN."""
    return _numbers_of_frame(frame, names, PARTITION.format(partition_info["number"] if partition_info else "?"))


def _alone[T](task: Callable[[Chunk], T], chunk: Chunk) -> T:
    """Do a task without threads of our own: Dask has as many tasks at a time as it has cores."""
    with on_this_thread():
        return task(chunk)


def _computed(result: Any) -> Any:
    try:
        return result.compute(optimize_graph=False)
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        raise BayesGMMError(
            "The cluster's workers died again and again on the same rows: give them more memory, or make the chunks smaller"
        ) from error


def dask_rows(X: Any, columns: Sequence[str] | None, sample_weight: Any) -> DaskRows:
    """Return the rows of a Dask array or DataFrame."""
    if getattr(X, "ndim", None) == 2 and hasattr(X, "columns"):
        return _of_frame(X, columns, sample_weight)
    if not hasattr(X, "chunks"):
        raise InvalidDataError(
            f"X is a Dask {type(X).__name__} and must have rows and columns: give a Dask array or DataFrame (series.to_frame() is one)"
        )
    if columns is not None:
        raise InvalidDataError("a Dask array has no column names to choose by: columns is for tables")
    if X.ndim != 2:
        raise InvalidDataError(f"The Dask array has {X.ndim} dimension(s) and must have two, (rows, columns)")
    if X.dtype.kind not in "iufbO":
        raise InvalidDataError(f"The Dask array holds {X.dtype}, not numbers")
    if np.isnan(X.shape[1]):
        raise InvalidDataError("The Dask array does not know how many columns it has: call its compute_chunk_sizes() first")
    blocks = list(_blocks_of(X, None).to_delayed().ravel())
    return _of_blocks(X, blocks, _weight_blocks(sample_weight, len(blocks)), None, int(X.shape[1]))


def _of_frame(X: Any, columns: Sequence[str] | None, sample_weight: Any) -> DaskRows:
    weight = sample_weight if isinstance(sample_weight, str) else None
    names = [str(name) for name in (X.columns if columns is None else columns)]
    names = [name for name in names if name != weight]
    check_columns("The Dask DataFrame", [str(name) for name in X.columns], [*names, *filter(None, [weight])])
    blocks = X.to_delayed()
    weights = [weight] * len(blocks) if weight else _weight_blocks(sample_weight, len(blocks))
    return _of_blocks(X, blocks, weights, names, len(names))


def _weight_blocks(sample_weight: Any, n_blocks: int) -> list[Any] | None:
    if sample_weight is None:
        return None
    if not is_dask(sample_weight) or getattr(sample_weight, "ndim", 1) != 1:
        raise InvalidDataError(
            "sample_weight of a Dask collection must be a Dask array or Series with the same chunks, or a column's name"
        )
    blocks = list(np.ravel(np.asarray(sample_weight.to_delayed(), dtype=object)))
    if len(blocks) != n_blocks:
        raise InvalidDataError(f"sample_weight has {len(blocks)} chunks and X has {n_blocks}: rechunk it to the same rows")
    return blocks


def _of_blocks(X: Any, blocks: Sequence[Any], weights: Sequence[Any] | None, names: list[str] | None, n_features: int) -> DaskRows:
    from dask.delayed import delayed

    make = delayed(_chunk_of_block, pure=False)
    unweighted = [make(number, block, names, n_features) for number, block in enumerate(blocks)]
    if weights is None:
        return DaskRows(unweighted, n_features, names, None, X)
    pairs = enumerate(zip(blocks, weights, strict=True))
    chunks = [make(number, block, names, n_features, weight) for number, (block, weight) in pairs]
    return DaskRows(chunks, n_features, names, unweighted, X)


def _chunk_of_block(number: int, block: Any, names: list[str] | None, n_features: int, weight: Any = None) -> Chunk:
    """Return a block, which is an array or a frame, as a chunk; its rows' weights are numbers or in a column of that name."""
    place = (BLOCK if names is None else PARTITION).format(number)
    X = _array_of(block, names, n_features, place)
    if isinstance(weight, str):
        weight = column_of(block[_labels_of(block.columns, [weight])[0]], weight, place)
    elif weight is not None:
        weight = column_of(weight, "sample_weight", place)
    return chunk_of(number, place, 0, X, weight)


def _array_of(block: Any, names: list[str] | None, n_features: int, place: str) -> FloatArray:
    if names is not None:
        check_columns(place, [str(name) for name in block.columns], names)
        return _numbers_of_frame(block, names, place)
    values = array_of(block, place)
    if values.ndim != 2 or values.shape[1] != n_features:
        raise InvalidDataError(f"{place} has shape {values.shape}: {n_features} columns are needed in every block")
    return values


def _numbers_of_frame(block: Any, names: Sequence[str], place: str) -> FloatArray:
    """Return columns of a pandas frame, by their names as text, as an array (n, D) in which NaN stands for what is missing."""
    return frame_of(block[_labels_of(block.columns, names)], place)


def _labels_of(columns: Any, names: Sequence[str]) -> list[Any]:
    """Return the labels of columns, which may be numbers, by their names as text."""
    by_name = {str(label): label for label in columns}
    return [by_name[name] for name in names]


def rows_on_cluster(
    parts: Sequence[Part], n_features: int, names: list[str] | None, weights: Sequence[FloatArray] | None = None
) -> DaskRows:
    """Return rows that a cluster's workers read from their parts and keep."""
    from dask.delayed import delayed

    read, read_all = delayed(_read, pure=False), delayed(_read_all, pure=False)
    chunks = [read(number, part, None if weights is None else np.array(weights[number])) for number, part in enumerate(parts)]
    if weights is None and all(getattr(part, "weight", None) is None for part in parts):
        return DaskRows(chunks, n_features, names)
    return DaskRows(chunks, n_features, names, [read_all(number, part) for number, part in enumerate(parts)])


def _read(number: int, part: Part, weight: FloatArray | None) -> Chunk:
    X, own = part.read()
    return chunk_of(number, part.place, part.first, X, own if weight is None else weight)


def _read_all(number: int, part: Part) -> Chunk:
    return chunk_of(number, part.place, part.first, part.read()[0], None)
