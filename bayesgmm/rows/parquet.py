"""Parquet files and pyarrow's datasets: which columns are used, and how their rows are decoded."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import arrow_path
from bayesgmm.rows.base import Chunk, chunk_of
from bayesgmm.rows.files import FilePart, Part, in_one_line, rows_of_chunk, weights_of
from bayesgmm.tables.numeric import check_columns, column_of, has_booleans, refuse_categories
from bayesgmm.typing import FloatArray

__all__ = ["Header", "ParquetPart", "dataset_rows", "is_dataset", "parquet_batches", "parquet_files", "parquet_rows", "plain_files"]


@dataclass(frozen=True)
class Header:
    """What a table says of itself before any row is read.

    Parameters
    ----------
    place : str
        For messages.
    names : list of str
        Of all columns.
    sizes : list of int
        Rows of each row group.
    index : frozenset of str
        Columns that are the table's index, which pandas and Dask write beside the others.
    booleans : frozenset of str
        Columns of True and False.
    categories : frozenset of str
        Columns whose values stand for categories although they are stored as numbers.
    """

    place: str
    names: list[str]
    sizes: list[int]
    index: frozenset[str]
    booleans: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()

    @classmethod
    def of_file(cls, file: str) -> Header:
        """Read the header of a Parquet file."""
        with _opened(file, "is not a readable Parquet file") as opened:
            meta, schema = opened.metadata, opened.schema_arrow
            return cls.of_schema(file, schema, [meta.row_group(i).num_rows for i in range(meta.num_row_groups)])

    @classmethod
    def of_schema(cls, place: str, schema: Any, sizes: Sequence[int] = ()) -> Header:
        """Return the header that belongs to a schema of pyarrow's."""
        booleans = frozenset(field.name for field in schema if has_booleans(field))
        said = _said_by_pandas(schema)
        known = {str(column.get("name")) for column in said.get("columns", ()) if column.get("pandas_type") == "categorical"}
        plain = frozenset(field.name for field in schema if field.name in known and not str(field.type).startswith("dictionary"))
        return cls(place, list(schema.names), list(sizes), _index_of(schema, said), booleans, plain)


@contextlib.contextmanager
def _opened(file: str, what: str = "cannot be read", **options: Any) -> Iterator[Any]:
    """Open a Parquet file; whatever pyarrow says of it while it is open becomes one sentence."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(arrow_path(file), **options) as opened:
            yield opened
    except InvalidDataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidDataError(f"{file} {what}: {in_one_line(error)}") from error


def _said_by_pandas(schema: Any) -> dict[str, Any]:
    """Return what pandas wrote of the columns' types beside them; nothing where it was another program, or its words make no sense."""
    try:
        said = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except ValueError:
        return {}
    is_ours = isinstance(said, dict) and all(isinstance(column, dict) for column in said.get("columns", ()))
    return said if is_ours else {}


def _index_of(schema: Any, said: dict[str, Any]) -> frozenset[str]:
    """Return the names of the columns that hold an index: as pandas' metadata say, or by the names they have without it."""
    names = {name for name in schema.names if name.startswith("__index_level_") or name == "__null_dask_index__"}
    entries = said.get("index_columns")
    for entry in entries if isinstance(entries, list) else ():  # metadata of other programs may hold anything
        name = entry.get("name") if isinstance(entry, dict) else entry
        # An index that only counts is no column here, but may be one in the next file.
        if isinstance(name, str) and (name == entry or name not in schema.names):
            names.add(name)
    return frozenset(names)


def weight_column(headers: Sequence[Header], sample_weight: Any) -> str | None:
    """Return the name of the column that ``sample_weight`` means, None if it is none: an array, or an ``.npy`` file."""
    if not isinstance(sample_weight, str):
        return None
    is_file = os.path.splitext(sample_weight)[1].lower() == ".npy"  # noqa: PTH122 - it may be no path at all
    return None if is_file and all(sample_weight not in header.names for header in headers) else sample_weight


def chosen_columns(headers: Sequence[Header], columns: Sequence[str] | None, weight: str | None) -> list[str]:
    """Return the names of the columns to use, which are in each of the tables.

    Parameters
    ----------
    headers : sequence of Header
        Tables with neither rows nor columns are passed over.
    columns : sequence of str, optional
        What the user chose; by default all columns but the weights and those that any of the tables has for its index.
    weight : str, optional
        Name of the column with the rows' weights.

    Raises
    ------
    InvalidDataError
        If a table lacks a column, or has two of its name, or more than the first has.
    """
    index = frozenset[str]().union(*(header.index for header in headers))
    tables = [header for header in headers if sum(header.sizes) or set(header.names) - index] or list(headers[:1])
    first = tables[0]
    names = _names(first, index, columns, weight)
    wanted = _with_weight(names, weight)
    for header in tables:
        beside = "" if header is first else f"; {first.place} has {', '.join(wanted)}"
        check_columns(header.place, header.names, wanted, beside)
        refuse_categories([name for name in names if name in header.categories], header.place)
        more = [name for name in header.names if name not in first.names and name not in index]
        if more and columns is None:
            raise InvalidDataError(
                f"{header.place} has column {', '.join(map(repr, more[:5]))}, which {first.place} has not: "
                "choose the columns to use (columns=[...])."
            )
    return names


def _names(first: Header, index: frozenset[str], columns: Sequence[str] | None, weight: str | None) -> list[str]:
    if columns is not None:
        chosen = [str(name) for name in columns]
        if not chosen:
            raise InvalidDataError(f"No columns were chosen; {first.place} has {', '.join(first.names)}.")
        if twice := [name for name in dict.fromkeys(chosen) if chosen.count(name) > 1]:
            raise InvalidDataError(f"Column {', '.join(map(repr, twice))} was asked for more than once.")
        return chosen
    names = [name for name in first.names if name != weight and name not in index]
    if not names:
        raise InvalidDataError(f"{first.place} has no columns.")
    return names


def _with_weight(names: Sequence[str], weight: str | None) -> list[str]:
    return [*names] if weight is None else [*names, weight]


BATCH_ROWS = 2**18
"""Rows that are decoded at a time."""

Piece = tuple[str, int, FloatArray, FloatArray | None]
"""Decoded rows: the place they come from, the number of the first of them there, their values, their weights if they bring any."""


def is_dataset(source: Any) -> bool:
    """Whether this is a pyarrow Dataset of any kind; pyarrow is not loaded to find out."""
    return any(kind.__module__ == "pyarrow._dataset" and kind.__name__ == "Dataset" for kind in type(source).__mro__)


def plain_files(dataset: Any) -> list[str] | None:
    """Return the files of a dataset that is nothing but Parquet files on this machine, with all their rows and columns.

    None for any other, one with a filter or with partitions say: only the dataset itself can tell what its rows are. So for one of which
    it is not known.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = (dataset, getattr(dataset, "filesystem", None), getattr(dataset, "format", None))
    kinds = [type(part).__name__ for part in parts]
    if kinds != ["FileSystemDataset", "LocalFileSystem", "ParquetFileFormat"] or getattr(dataset, "_scan_options", None) != {}:
        return None
    fragments = list(dataset.get_fragments())
    try:
        has_all_columns = bool(fragments) and dataset.schema.equals(fragments[0].physical_schema)
        is_plain = has_all_columns and all(
            len(fragment.row_groups) == fragment.metadata.num_row_groups and fragment.partition_expression.equals(pc.scalar(True))
            for fragment in fragments
        )
    except (pa.ArrowException, OSError):
        is_plain = True  # a damaged file: its name is said when the files are read
    return list(dataset.files) if is_plain else None


def parquet_files(source: str | os.PathLike[str]) -> list[str]:
    """Return the Parquet files that a path, a folder or a pattern means, in the order of their names; none if it means something else.

    A folder that matches a pattern stands for the files in it: Spark and Dask write tables as such. Hidden files and those in hidden
    folders, whose names begin with a dot or an underscore, are not part of a table: they are half written or hold no rows.
    """
    name = os.fspath(source)
    path = Path(name)
    if path.is_dir():
        return _files_in(path)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return [name]
    found: dict[str, str] = {}  # by their full names: a folder and the files in it may both match
    for match in glob.glob(name, recursive=True):  # noqa: PTH207 - a pattern may be absolute
        if not _hidden(match, name):
            files = _files_in(Path(match)) if Path(match).is_dir() else [match]
            found |= {str(Path(file).absolute()): file for file in files if file.lower().endswith(".parquet")}
    return sorted(found.values())


def _files_in(folder: Path) -> list[str]:
    files = folder.rglob("*.parquet", case_sensitive=False)
    return sorted(str(file) for file in files if not _is_hidden(file.relative_to(folder).parts, "._") and file.is_file())


def _is_hidden(parts: Sequence[str], signs: str) -> bool:
    return any(part[0] in signs for part in parts)


def _hidden(match: str, pattern: str) -> bool:
    """Whether a pattern met a hidden name without spelling out the sign that it begins with."""
    parts = Path(pattern).parts
    plain = next(i for i, part in enumerate([*parts, "*"]) if glob.has_magic(part))
    spelled = {part[0] for part in parts[plain:]}
    return _is_hidden(Path(match).parts[plain:], "".join(sign for sign in "._" if sign not in spelled))


def parquet_rows(
    files: Sequence[str], columns: Sequence[str] | None, sample_weight: Any, chunk_rows: int | None, *, in_place: bool
) -> tuple[Any, ...]:
    """Return parts, number of columns, their names, weights and what the parts depend on.

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
    headers = [Header.of_file(file) for file in files]
    weight = weight_column(headers, sample_weight)
    parts, names = _group_parts(headers, columns, weight)
    given = None if weight else weights_of(parts, sample_weight)
    if in_place:
        return parts, len(names), names, given
    _check_space(8 * len(names) * sum(part.n_rows for part in parts))
    return _decoded(_pieces(parts), names, weight, sample_weight, chunk_rows)


def dataset_rows(dataset: Any, columns: Sequence[str] | None, sample_weight: Any, chunk_rows: int | None) -> tuple[Any, ...]:
    """Return the rows that a pyarrow Dataset gives, whatever it reads them from, as :func:`parquet_rows` does.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
    columns : sequence of str, optional
    sample_weight : str or array, optional
    chunk_rows : int, optional

    Raises
    ------
    InvalidDataError
        If it cannot be read, or lacks a column, or has one that holds no numbers.
    """
    header = Header.of_schema("The dataset", dataset.schema)
    weight = weight_column([header], sample_weight)
    names = chosen_columns([header], columns, weight)
    return _decoded(_scanned(dataset, names, weight), names, weight, sample_weight, chunk_rows)


def _decoded(
    pieces: Iterable[Piece], names: list[str], weight: str | None, sample_weight: Any, chunk_rows: int | None
) -> tuple[Any, ...]:
    scratch = _Scratch(pieces, len(names), chunk_rows)
    if not scratch.parts:
        raise InvalidDataError("The dataset has no rows: check its files and its filter.")
    weights = scratch.weights if weight else weights_of(scratch.parts, sample_weight)
    return scratch.parts, len(names), names, weights, scratch


def _scanned(dataset: Any, names: list[str], weight: str | None) -> Iterator[Piece]:
    """Yield a dataset's rows in its order; they are counted within each file, those that a filter leaves out not among them."""
    import pyarrow as pa

    seen: Counter[str] = Counter()
    wanted = list(dict.fromkeys(_with_weight(names, weight)))
    try:
        scanner = dataset.scanner(columns=wanted, batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1)
        for tagged in scanner.scan_batches():
            path = getattr(tagged.fragment, "path", None)
            place = "the dataset" if path is None else f"{path} (its rows in the dataset)"
            X, w = _numbers(tagged.record_batch, place, seen[place], names, weight)
            yield place, seen[place], X, w
            seen[place] += len(X)
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataError(f"The dataset cannot be read: {in_one_line(error)}") from error


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
    parts, _ = _group_parts([Header.of_file(file) for file in files], columns, None)
    for number, piece in enumerate(_pieces(parts)):
        yield chunk_of(number, *piece)


def _group_parts(
    headers: Sequence[Header], columns: Sequence[str] | None, weight: str | None
) -> tuple[list[ParquetPart], list[str]]:
    """Return one part for each row group, and the columns' names."""
    names = chosen_columns(headers, columns, weight)
    parts: list[ParquetPart] = []
    for header in headers:
        first = 0
        for group, n_rows in enumerate(header.sizes):
            if n_rows:
                parts.append(ParquetPart(header.place, first, n_rows, group, tuple(names), weight))
            first += n_rows
    if not parts:
        others = " and the other files have" if len(headers) > 1 else " has"
        raise InvalidDataError(f"{headers[0].place}{others} column names but no rows.")
    return parts, names


class _Scratch:
    """A temporary file with the rows of Parquet files as plain numbers: decoding takes longer than an iteration of EM.

    It goes when nobody needs it any more.
    """

    def __init__(self, pieces: Iterable[Piece], n_features: int, chunk_rows: int | None) -> None:
        handle, path = tempfile.mkstemp(prefix="bayesgmm-", suffix=".rows")
        stream = os.fdopen(handle, "wb")
        try:
            path = _without_name(stream, path)
            self.parts, self.weights = _write(pieces, stream, path, n_features, chunk_rows)
            stream.flush()
        except BaseException as error:
            _close(stream, path)
            if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
                raise
            raise InvalidDataError(
                f"{tempfile.gettempdir()} is full: set TMPDIR to a folder with room for the decoded rows"
            ) from error
        weakref.finalize(self, _close, stream, path)


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
    pieces: Iterable[Piece], stream: Any, path: str, D: int, chunk_rows: int | None
) -> tuple[list[FilePart], list[FloatArray] | None]:
    # Chunks end where files end, so that a message can name the file.
    size, offset = rows_of_chunk(D, chunk_rows), 0
    written: list[FilePart] = []
    weights: list[list[FloatArray]] = []
    for place, first, X, weight in pieces:
        for start in range(0, len(X), size):
            piece = X[start : start + size]
            if written and written[-1].place == place and written[-1].n_rows + len(piece) <= size:
                written[-1] = replace(written[-1], n_rows=written[-1].n_rows + len(piece))
            else:
                written.append(FilePart(place, first + start, len(piece), D, path, offset))
                weights.append([])
            stream.write(piece)
            offset += piece.nbytes
            if weight is not None:
                weights[-1].append(weight[start : start + size])
    return written, [np.concatenate(parts) for parts in weights] if any(weights) else None


@dataclass(frozen=True)
class ParquetPart(Part):
    """A row group of the Parquet file that is its place.

    Parameters
    ----------
    group : int
    columns : tuple of str
    weight : str, optional
        Name of the column with the rows' weights.
    """

    group: int
    columns: tuple[str, ...]
    weight: str | None = None

    def read(self, out: FloatArray | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Decode the columns; what is null is missing."""
        with _opened(self.place) as file:
            table = file.read_row_group(self.group, columns=_with_weight(self.columns, self.weight), use_threads=False)
        return _numbers(table, self.place, self.first, self.columns, self.weight)


def _pieces(parts: Sequence[ParquetPart]) -> Iterator[Piece]:
    """Decode parts one after another, some rows at a time."""
    for part in parts:
        first = part.first
        with _opened(part.place, buffer_size=2**20, pre_buffer=False) as file:
            columns = _with_weight(part.columns, part.weight)
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[part.group], columns=columns):
                X, weight = _numbers(batch, part.place, first, part.columns, part.weight)
                yield part.place, first, X, weight
                first += len(X)


def _numbers(batch: Any, place: str, first: int, names: Sequence[str], weight: str | None) -> tuple[FloatArray, FloatArray | None]:
    X = np.empty((batch.num_rows, len(names)))
    for d, name in enumerate(names):
        X[:, d] = column_of(batch.column(name), name, place, first)
    return X, None if weight is None else column_of(batch.column(weight), weight, place, first)


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
