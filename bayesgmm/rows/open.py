"""From what a user calls data to rows."""

from __future__ import annotations

import glob
import mmap
import os
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.rows.base import Chunk, Rows
from bayesgmm.rows.dask import cluster, dask_rows, is_dask, rows_on_cluster
from bayesgmm.rows.files import ArrayPart, FilePart, FileRows, Part, bounds, check_whole, npy_header, weights_of
from bayesgmm.rows.parquet import Header, dataset_rows, is_dataset, parquet_batches, parquet_files, parquet_rows, plain_files
from bayesgmm.tables.numeric import default_names, has_booleans

__all__ = ["is_chunked", "open_rows", "stream_rows"]

MAPPED_IN_MEMORY = 256 * 2**20
"""Bytes, as float64, up to which a memory-mapped array is read whole: a fit that keeps its rows can say more."""
_OF_JOBLIB = "joblib_memmapping_folder_"
"""What joblib's names of its folders begin with."""


def is_chunked(X: Any) -> bool:
    """Whether X is read in chunks: a path, a large memory-mapped array, a pyarrow dataset, a Dask collection, or opened rows."""
    if isinstance(X, np.memmap):
        return X.size * 8 > MAPPED_IN_MEMORY and not _was_in_memory(X)
    return isinstance(X, (Rows, str, os.PathLike)) or is_dask(X) or is_dataset(X)


def _was_in_memory(array: np.memmap) -> bool:
    """Whether joblib mapped the array to hand it to another process: it does so with any of more than a megabyte."""
    return _OF_JOBLIB in str(getattr(array, "filename", None) or "")


def open_rows(
    source: Any, *, columns: Sequence[str] | None = None, sample_weight: Any = None, chunk_rows: int | None = None
) -> Rows:
    """Open data that need not fit into memory, to fit them or to predict them.

    Nothing is read yet but names and sizes. With a ``distributed.Client`` active, its workers read the files, which must lie where they
    can see them, and keep the rows; without one, this process reads them chunk by chunk in every pass, Parquet once into a scratch file in
    the folder for temporary files.

    Parameters
    ----------
    source : path, numpy.memmap, pyarrow Dataset, dask.array.Array or dask.dataframe.DataFrame
        A path is that of an ``.npy`` file, a ``.parquet`` file, a folder of such, or a pattern such as ``"data/*.parquet"``, whose
        matches may be folders. Names that begin with a dot or an underscore are passed over there. A Dataset is read with its filter, its
        partitions and in its format.
    columns : sequence of str, optional
        The columns to use of a table; by default all but those that pandas or Dask wrote for an index.
    sample_weight : array of shape (N,), str or Dask collection, optional
        How often each row counts: numbers, an ``.npy`` file of them, a column of the table by its name, or, for a Dask collection, one
        with the same chunks.
    chunk_rows : int, optional
        Rows of a chunk; by default as many as 32 MB hold. Dask's chunks stay as they are.

    Returns
    -------
    Rows
        To be given to ``fit`` and to what takes data after it.

    Raises
    ------
    InvalidDataError
        If there is no such file, it is not what its name says, or its columns are not the same in every file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import bayesgmm as bg
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/faithful.npy", bg.datasets.load_faithful())
    ...     rows = bg.open_rows(f"{folder}/faithful.npy", chunk_rows=100)
    ...     em = bg.GaussianMixture(2, random_state=1).fit(rows)
    >>> rows.shape, round(em.log_likelihood_, 3)
    ((272, 2), -1130.264)
    """
    if isinstance(source, Rows):
        if columns is not None or sample_weight is not None:
            raise InvalidParameterError(
                "these rows are open already: give columns and sample_weight to open_rows when they are opened"
            )
        return source
    rows = _opened(source, columns, sample_weight, _whole(chunk_rows))
    rows.booleans = _booleans(source, rows.names or default_names(rows.n_features))
    return rows


def _opened(source: Any, columns: Sequence[str] | None, sample_weight: Any, chunk_rows: int | None) -> Rows:
    if is_dask(source):
        return dask_rows(source, columns, sample_weight)
    if isinstance(source, np.memmap):
        _no_columns(columns, "an array")
        return _rows(_array_parts(source, chunk_rows), source.shape[1], sample_weight)
    files = _files(source)
    if files is None:
        return FileRows(*dataset_rows(source, columns, sample_weight, chunk_rows))
    if files:
        if cluster():
            return rows_on_cluster(*parquet_rows(files, columns, sample_weight, chunk_rows, in_place=True))
        return FileRows(*parquet_rows(files, columns, sample_weight, chunk_rows, in_place=False))
    path = Path(source)
    if path.suffix.lower() == ".npy" and (path.exists() or not glob.has_magic(str(path))):
        _no_columns(columns, str(path))
        parts, n_features = _npy_parts(path, chunk_rows)
        return _rows(parts, n_features, sample_weight)
    raise _unknown(path)


def _booleans(source: Any, names: Sequence[str]) -> list[str]:
    """Return those of the columns of which is known before they are read that they hold True and False."""
    if is_dask(source) and hasattr(source, "columns"):
        there = frozenset(str(name) for name, kind in source.dtypes.items() if getattr(kind, "kind", "") == "b")
    elif is_dataset(source):
        there = Header.of_schema("The dataset", source.schema).booleans
    elif hasattr(source, "dtype"):
        there = frozenset(names if has_booleans(source) else ())
    elif files := parquet_files(source):
        there = Header.of_file(files[0]).booleans
    else:
        there = frozenset(names if npy_header(Path(source))[2].kind == "b" else ())
    return [name for name in names if name in there]


def _whole(chunk_rows: Any) -> int | None:
    if chunk_rows is None:
        return None
    if not isinstance(chunk_rows, Real) or chunk_rows < 1 or not float(chunk_rows).is_integer():
        raise InvalidParameterError(f"chunk_rows must be a whole number, at least 1, got {chunk_rows!r}")
    return int(float(chunk_rows))


def _files(source: Any) -> list[str] | None:
    """Return the Parquet files that are meant, none if it is something else, or None where a dataset must be asked for its rows."""
    if is_dataset(source):
        files = plain_files(source)
        if files is None and cluster():
            raise InvalidDataError(
                "A pyarrow dataset that is more than local Parquet files (filtered, partitioned, in memory, of another format) is not read "
                "by a cluster's workers: give the Parquet files as a folder or a pattern, or close the Client to read it here"
            )
        return files
    if not isinstance(source, (str, os.PathLike)):
        raise InvalidDataError(
            "open_rows takes a path, a numpy.memmap, a pyarrow Dataset, or a Dask array or DataFrame, not "
            f"{type(source).__module__}.{type(source).__qualname__}: tables and arrays in memory go to fit as they are"
        )
    return parquet_files(source)


def _no_columns(columns: Sequence[str] | None, what: str) -> None:
    if columns is not None:
        raise InvalidParameterError(f"{what} has no column names to choose by: columns is for tables")


def _unknown(path: Path) -> InvalidDataError:
    name = str(path)
    if glob.has_magic(name) and glob.glob(name, recursive=True):  # noqa: PTH207 - a pattern may be absolute
        return InvalidDataError(f"No Parquet file matches {name!r}: patterns are for these; give one .npy file at a time.")
    if glob.has_magic(name):
        return InvalidDataError(f"No file matches {name!r}.")
    if path.is_dir():
        return InvalidDataError(f"There is no .parquet file in the folder {name!r}.")
    if not path.exists():
        return InvalidDataError(f"There is no file {name!r}.")
    return InvalidDataError(
        f"{path} cannot be read in chunks: its name must end in .npy or .parquet; read other tables with pandas and fit the frame"
    )


def _rows(parts: Sequence[Part], n_features: int, sample_weight: Any) -> Rows:
    weights = weights_of(parts, sample_weight)
    if cluster():
        return rows_on_cluster(parts, n_features, None, weights)
    return FileRows(parts, n_features, None, weights)


def _array_parts(array: np.memmap, chunk_rows: int | None) -> list[Part]:
    _check_table(str(array.filename or "The array"), array.shape, array.dtype)
    where = _place_in_file(array)
    if where is None:
        return _parts_of("the array", array, chunk_rows)
    return _file_parts(*where, array.shape, array.dtype, chunk_rows)


def _parts_of(place: str, array: np.ndarray, chunk_rows: int | None) -> list[Part]:
    ends = bounds(len(array), array.shape[1], chunk_rows)
    return [ArrayPart(place, start, stop - start, array[start:stop]) for start, stop in ends]


def _place_in_file(array: np.memmap) -> tuple[str, int] | None:
    """Return the file and the byte in which a mapped array begins, if its rows lie there one after another.

    Read from the file, rows do not stay in this process's memory as those of a mapped file do.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not array.flags.c_contiguous or array.mode not in ("r", "r+", "w+") or not array.filename:
        return None
    array.flush()
    # A memmap that is a part of another keeps its offset in the file as it was: addresses say where it is.
    start = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    begin = np.frombuffer(base, np.uint8, 1).ctypes.data
    return str(array.filename), start + array.ctypes.data - begin


def _npy_parts(path: Path, chunk_rows: int | None) -> tuple[list[Part], int]:
    shape, by_columns, dtype, offset = header = npy_header(path)
    _check_table(str(path), shape, dtype)
    check_whole(path, header)
    if by_columns and min(shape) > 1:
        return _parts_of(str(path), np.load(path, mmap_mode="r", allow_pickle=False), chunk_rows), shape[1]
    return _file_parts(str(path), offset, shape, dtype, chunk_rows), shape[1]


def _check_table(place: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 2:
        raise InvalidDataError(f"{place} has {len(shape)} dimension(s) and must have two, (rows, columns)")
    if dtype.kind not in "iufb":
        raise InvalidDataError(f"{place} holds {dtype}, not numbers")
    if 0 in shape:
        raise InvalidDataError(f"{place} is empty: it has {shape[0]} rows and {shape[1]} columns")


def _file_parts(path: str, offset: int, shape: tuple[int, ...], dtype: np.dtype, chunk_rows: int | None) -> list[Part]:
    N, D = shape
    width = D * dtype.itemsize
    return [
        FilePart(path, start, stop - start, D, path, offset + start * width, dtype.str) for start, stop in bounds(N, D, chunk_rows)
    ]


def stream_rows(source: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """Yield the rows of files in their order, some at a time; files come in the order of their names.

    Nothing is kept: no scratch file is written, and a chunk may be overwritten once the next but one is read.

    Parameters
    ----------
    source : path
        As in :func:`bayesgmm.open_rows`.
    columns : sequence of str, optional
        The columns to use of a table; all by default.

    Yields
    ------
    Chunk

    Raises
    ------
    InvalidDataError
        If there is no such file, it is not what its name says, or its columns are not the same in every file. What can be known from
        names and sizes is said before the first chunk.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import bayesgmm as bg
    >>> with TemporaryDirectory() as folder:
    ...     bg.datasets.load_faithful().to_parquet(f"{folder}/faithful.parquet")
    ...     [(chunk.first, len(chunk)) for chunk in stream_rows(folder, ["waiting"])]
    [(0, 272)]
    """
    files = parquet_files(source)
    if files:
        yield from parquet_batches(files, columns)
        return
    rows = open_rows(source)
    if not isinstance(rows, FileRows):
        raise InvalidDataError(f"{os.fspath(source)} is read by a cluster's workers: close its Client to read it here")
    yield from rows.chunks()
