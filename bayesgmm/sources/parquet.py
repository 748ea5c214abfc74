"""Parquet files, folders and datasets: their columns must agree, their rows are decoded once."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import Chunk
from bayesgmm.sources.chunk import chunk_of
from bayesgmm.sources.cut import rows_of_chunk, weights_of
from bayesgmm.sources.parts import FilePart, ParquetPart, Part, numbers_of
from bayesgmm.typing import FloatArray

__all__ = ["Scratch", "is_dataset", "parquet_batches", "parquet_files", "parquet_rows"]

BATCH_ROWS = 2**18
"""Rows that are decoded at a time."""

Opened = tuple[Sequence[Part], list[str] | None, int, list[FloatArray] | None]
"""Parts, column names, number of columns, and weights of each part."""


def is_dataset(source: Any) -> bool:
    """Whether this is a pyarrow Dataset of Parquet files; pyarrow is not loaded to find out."""
    kind = type(source)
    return kind.__module__ == "pyarrow._dataset" and hasattr(source, "files")


def parquet_files(source: str | os.PathLike[str]) -> list[str]:
    """Return the Parquet files that a path, a folder or a pattern means, in the order of their names; none if it means something else."""
    name = os.fspath(source)
    path = Path(name)
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("*.parquet") if file.is_file())
    elif path.suffix.lower() == ".parquet" and path.is_file():
        found = [name]
    else:
        found = sorted(file for file in glob.glob(name, recursive=True) if file.lower().endswith(".parquet"))  # noqa: PTH207 - a pattern may be absolute
    return found


def parquet_rows(
    files: Sequence[str], columns: Sequence[str] | None, sample_weight: Any, chunk_rows: int | None, *, in_place: bool
) -> tuple[Any, ...]:
    """Return parts, names, number of columns, weights and what the parts depend on.

    Parameters
    ----------
    files : sequence of str
    columns : sequence of str, optional
    sample_weight : str or array, optional
        A column's name, or one number for each row.
    chunk_rows : int, optional
    in_place : bool
        Whether every part is decoded where it is read; otherwise all are decoded once into a scratch file.

    Raises
    ------
    InvalidDataError
        If a file cannot be read, or lacks a column, or has one that holds no numbers.
    """
    by_name = isinstance(sample_weight, str)
    parts, names = _group_parts(files, columns, sample_weight if by_name else None)
    given = None if by_name else weights_of(parts, sample_weight)
    if in_place:
        return parts, names, len(names), given
    scratch = Scratch.of(parts, len(names), chunk_rows)
    weights = scratch.weights
    if given is not None:
        weights = _resliced(given, [part.n_rows for part in scratch.parts])
    return scratch.parts, names, len(names), weights, scratch


def parquet_batches(files: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """Decode files from first to last, a few rows at a time.

    Parameters
    ----------
    files : sequence of str
    columns : sequence of str, optional

    Yields
    ------
    Chunk

    Raises
    ------
    InvalidDataError
        As for :func:`parquet_rows`.
    """
    parts, _ = _group_parts(files, columns, None)
    number = 0
    for part in parts:
        first = part.first
        for X, weight in _batches(part):
            yield chunk_of(number, part.place, first, X, weight)
            number, first = number + 1, first + len(X)


def _resliced(weights: list[FloatArray], sizes: list[int]) -> list[FloatArray]:
    return np.split(np.concatenate(weights), np.cumsum(sizes)[:-1])


def _group_parts(files: Sequence[str], columns: Sequence[str] | None, weight: str | None) -> tuple[list[ParquetPart], list[str]]:
    """Return one part for each row group, and the columns' names."""
    parts: list[ParquetPart] = []
    names: list[str] = []
    for file in files:
        there, sizes = _header(file)
        if not names:
            names = _chosen(file, there, columns, weight)
            known = there
        _check_columns(file, there, names, weight, files[0], known if columns is None else None)
        first = 0
        for group, n_rows in enumerate(sizes):
            if n_rows:
                parts.append(ParquetPart(file, first, n_rows, file, (group,), tuple(names), weight))
            first += n_rows
    if not parts:
        raise InvalidDataError(f"{files[0]}{' and the other files have' if len(files) > 1 else ' has'} column names but no rows.")
    return parts, names


def _header(file: str) -> tuple[list[str], list[int]]:
    """Return the names of the columns and the rows of each row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            meta = opened.metadata
            return list(opened.schema_arrow.names), [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidDataError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())[:200]}") from error


def _chosen(file: str, there: list[str], columns: Sequence[str] | None, weight: str | None) -> list[str]:
    if columns is not None:
        chosen = [str(name) for name in columns]
        if not chosen:
            raise InvalidDataError(f"No columns were chosen; {file} has {', '.join(there)}.")
        if twice := [name for name in dict.fromkeys(chosen) if chosen.count(name) > 1]:
            raise InvalidDataError(f"Column {', '.join(map(repr, twice))} was asked for more than once.")
        return chosen
    names = [name for name in there if name != weight and not name.startswith("__index_level_")]
    if not names:
        raise InvalidDataError(f"{file} has no columns.")
    return names


def _check_columns(file: str, there: list[str], names: list[str], weight: str | None, first: str, all_of: list[str] | None) -> None:
    wanted = [*names, *([] if weight is None else [weight])]
    missing = [name for name in wanted if name not in there]
    if missing:
        beside = f"; {first} has" if file != first else ""
        listed = ", ".join(map(repr, missing[:5]))
        raise InvalidDataError(
            f"{file} has no column {listed}; it has {', '.join(there)}{beside and f'{beside} {", ".join(wanted)}'}."
        )
    more = [] if all_of is None else [name for name in there if name not in all_of]
    if more:
        raise InvalidDataError(
            f"{file} has column {', '.join(map(repr, more[:5]))}, which {first} has not: choose the columns to use (columns=[...])."
        )


class Scratch:
    """A temporary file with the rows of Parquet files as plain numbers: decoding takes longer than an iteration of EM.

    It goes when nobody needs it any more.
    """

    def __init__(self, path: str, stream: BinaryIO, parts: list[Part], weights: list[FloatArray] | None) -> None:
        self.path, self.parts, self.weights = path, parts, weights
        self._finalizer = weakref.finalize(self, _close, stream, path)

    @classmethod
    def of(cls, parts: Sequence[ParquetPart], n_features: int, chunk_rows: int | None) -> Scratch:
        """Decode the parts, some rows at a time."""
        n_rows = sum(part.n_rows for part in parts)
        _check_space(8 * n_rows * n_features)
        handle, path = tempfile.mkstemp(prefix="bayesgmm-", suffix=".rows")
        stream = os.fdopen(handle, "wb")
        try:
            path = _without_name(stream, path)
            written, weights = _write(parts, stream, path, n_features, chunk_rows)
            stream.flush()
        except BaseException:
            _close(stream, path)
            raise
        return cls(path, stream, written, weights)


def _without_name(stream: BinaryIO, path: str) -> str:
    """Take a file's name away, so that nothing is left behind even by a process that is killed, and return where else it can be read.

    Where there is no such place (Linux has one), it keeps its name.
    """
    place = f"/proc/{os.getpid()}/fd/{stream.fileno()}"
    if not os.access(place, os.R_OK):
        return path
    _remove(path)
    return place


def _close(stream: BinaryIO, path: str) -> None:
    with contextlib.suppress(OSError):
        stream.close()
    _remove(path)


def _write(
    parts: Sequence[ParquetPart], stream: Any, path: str, D: int, chunk_rows: int | None
) -> tuple[list[Part], list[FloatArray] | None]:
    # Chunks end where files end, so that a message can name the file.
    size = rows_of_chunk(D, chunk_rows)
    written: list[Part] = []
    weights: list[FloatArray] = []
    place, first, n, offset = "", 0, 0, 0
    pending: list[FloatArray] = []

    def close() -> None:
        nonlocal n, offset, first, pending
        if n:
            written.append(FilePart(place, first, n, D, path, offset))
            if pending:
                weights.append(np.concatenate(pending))
        offset, first, n, pending = offset + 8 * D * n, first + n, 0, []

    for part in parts:
        if part.place != place:
            close()
            place, first = part.place, part.first
        for X, weight in _batches(part):
            for start in range(0, len(X), size):
                piece = X[start : start + size]
                if n and n + len(piece) > size:
                    close()
                stream.write(memoryview(np.ascontiguousarray(piece)).cast("B"))
                n += len(piece)
                if weight is not None:
                    pending.append(weight[start : start + size])
    close()
    return written, weights or None


def _batches(part: ParquetPart) -> Iterator[tuple[FloatArray, FloatArray | None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [*part.columns, *([] if part.weight is None else [part.weight])]
    first = part.first
    try:
        with pq.ParquetFile(part.path, buffer_size=2**20, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=list(part.groups), columns=wanted):
                X = np.empty((batch.num_rows, len(part.columns)))
                for d, name in enumerate(part.columns):
                    X[:, d] = numbers_of(batch.column(name), part.place, name, first)
                weight = None if part.weight is None else numbers_of(batch.column(part.weight), part.place, part.weight, first)
                yield X, weight
                first += len(X)
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataError(f"{part.place} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _check_space(n_bytes: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise InvalidDataError(
            f"decoding takes {n_bytes / 1e9:.1f} GB of scratch space and {folder} has {free / 1e9:.1f}: set TMPDIR to a folder with room"
        )


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()
