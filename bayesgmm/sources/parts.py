"""Pieces of files and arrays: each can be read by itself, here or on another machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.files import arrow_path
from bayesgmm.tables import column_of
from bayesgmm.typing import FloatArray

__all__ = ["ArrayPart", "FilePart", "ParquetPart", "Part"]


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
            with pq.ParquetFile(arrow_path(self.path)) as file:
                table = file.read_row_groups(list(self.groups), columns=wanted, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidDataError(f"{self.place} cannot be read: {' '.join(str(error).split())[:200]}") from error
        into = _room(out, table.num_rows, len(self.columns))
        for d, name in enumerate(self.columns):
            into[:, d] = column_of(table[name], name, self.place, self.first)
        if self.weight is None:
            return into, None
        return into, column_of(table[self.weight], self.weight, self.place, self.first)


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
