"""Pieces of files and arrays: each can be read by itself, here or on another machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.typing import FloatArray

__all__ = ["ArrayPart", "FilePart", "ParquetPart", "Part", "numbers_of"]


class Part(ABC):
    """Some consecutive rows that can be read.

    Parameters
    ----------
    place : str
        Where they are, for messages.
    first : int
        Number of the first of them there.
    n_rows : int
    """

    place: str
    first: int
    n_rows: int

    @abstractmethod
    def read(self, out: FloatArray | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Return the rows (n, D) and their weights (n,), if they bring any.

        Parameters
        ----------
        out : array of shape (at least n, D), optional
            Where the rows may be written.
        """


@dataclass(frozen=True, eq=False)
class ArrayPart(Part):
    """Rows of an array that lies in memory or is mapped into it."""

    place: str
    first: int
    values: Any

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """Number of rows."""
        return len(self.values)

    def read(self, out: FloatArray | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Return a copy of the rows."""
        into = _room(out, *self.values.shape)
        np.copyto(into, self.values, casting="unsafe")
        return into, None


@dataclass(frozen=True)
class FilePart(Part):
    """Rows that lie in a file one after another, as plain numbers.

    Parameters
    ----------
    path : str
    offset : int
        Bytes before the first of them.
    dtype : str
        NumPy's name for the type of a number.
    """

    place: str
    first: int
    n_rows: int
    n_features: int
    path: str
    offset: int
    dtype: str = "<f8"

    def read(self, out: FloatArray | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Read the rows; plain reading, because a mapped file that is cut short or a disk that fails would end the process."""
        into = _room(out, self.n_rows, self.n_features)
        kind = np.dtype(self.dtype)
        raw = into if kind == into.dtype else np.empty(into.shape, kind)
        try:
            with Path(self.path).open("rb", buffering=0) as stream:
                stream.seek(self.offset)
                missing = _fill(stream, memoryview(raw).cast("B"))
        except OSError as error:
            raise InvalidDataError(f"{self.place} cannot be read: {error.strerror or error}") from error
        if missing:
            row = self.first + self.n_rows - -(-missing // (kind.itemsize * self.n_features))
            raise InvalidDataError(f"{self.place} ends in row {row}: it is shorter than it says, copy or write it again")
        if raw is not into:
            into[...] = raw
        return into, None


@dataclass(frozen=True)
class ParquetPart(Part):
    """Some row groups of a Parquet file.

    Parameters
    ----------
    path : str
    groups : tuple of int
    columns : tuple of str
    weight : str, optional
        Name of the column with the rows' weights.
    """

    place: str
    first: int
    n_rows: int
    path: str
    groups: tuple[int, ...]
    columns: tuple[str, ...]
    weight: str | None = None

    def read(self, out: FloatArray | None = None) -> tuple[FloatArray, FloatArray | None]:
        """Decode the columns; what is null is missing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = [*self.columns, *([] if self.weight is None else [self.weight])]
        try:
            with pq.ParquetFile(self.path) as file:
                table = file.read_row_groups(list(self.groups), columns=wanted, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidDataError(f"{self.place} cannot be read: {' '.join(str(error).split())[:200]}") from error
        into = _room(out, table.num_rows, len(self.columns))
        for d, name in enumerate(self.columns):
            into[:, d] = numbers_of(table[name], self.place, name, self.first)
        if self.weight is None:
            return into, None
        return into, numbers_of(table[self.weight], self.place, self.weight, self.first)


def numbers_of(column: Any, place: str, name: str, first: int) -> FloatArray:
    """Return a column of Arrow's as float64, what is null as NaN, or say where it holds something else than numbers."""
    import pyarrow as pa

    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)  # what writers make of a column without any value
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
        values = column.drop_null()
        example = f" ({str(values[0].as_py())[:40]!r} in row {first + _first_valid(column)})" if len(values) else ""
        raise InvalidDataError(
            f"Column {name!r} of {place} holds {kind}{example}, not numbers: choose the numeric columns, or turn it into numbers first"
        )
    # Not safe, as NumPy does it: large whole numbers are rounded.
    numbers = column.cast(pa.float64(), safe=False) if not pa.types.is_floating(kind) else column
    return np.asarray(numbers.to_numpy(), dtype=float)


def _first_valid(column: Any) -> int:
    return int(np.flatnonzero(column.is_valid().to_numpy())[0])


def _room(out: FloatArray | None, n_rows: int, n_features: int) -> FloatArray:
    return np.empty((n_rows, n_features)) if out is None else out[:n_rows]


def _fill(stream: Any, view: memoryview) -> int:
    """Fill the view from the stream; returns the bytes that were not there."""
    while len(view):
        n = stream.readinto(view)
        if not n:
            return len(view)
        view = view[n:]
    return 0
