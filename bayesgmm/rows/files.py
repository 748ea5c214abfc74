"""Rows in files and mapped arrays: cut into parts, each of which can be read by itself, here or on another machine."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.kernels.threads import chunks
from bayesgmm.rows.base import Chunk, Rows, chunk_of
from bayesgmm.typing import FloatArray

__all__ = [
    "CHUNK_BYTES",
    "ArrayPart",
    "FilePart",
    "FileRows",
    "Part",
    "bounds",
    "check_whole",
    "in_one_line",
    "npy_header",
    "rows_of_chunk",
    "weights_of",
]


@dataclass(frozen=True)
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

    values: Any

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
            with Path(self.path).open("rb") as stream:
                stream.seek(self.offset)
                missing = raw.nbytes - stream.readinto(memoryview(raw).cast("B"))
        except OSError as error:
            raise InvalidDataError(f"{self.place} cannot be read: {error.strerror or error}") from error
        if missing:
            row = self.first + self.n_rows - -(-missing // (kind.itemsize * self.n_features))
            raise InvalidDataError(f"{self.place} ends in row {row}: it is shorter than it says, copy or write it again")
        if raw is not into:
            into[...] = raw
        return into, None


def _room(out: FloatArray | None, n_rows: int, n_features: int) -> FloatArray:
    return np.empty((n_rows, n_features)) if out is None else out[:n_rows]


def in_one_line(error: BaseException) -> str:
    """Return the beginning of what an error says."""
    return " ".join(str(error).split())[:200]


Npy = tuple[tuple[int, ...], bool, np.dtype, int]
"""Of an .npy file the shape, whether it lies column by column, the type of its numbers, and the byte in which they begin."""

CHUNK_BYTES = 2**25
"""Size of a chunk (32 MB): large enough that reading it costs more than finding it, small enough to have a few of them."""


def rows_of_chunk(n_features: int, chunk_rows: int | None) -> int:
    """Return how many rows a chunk has, if there are enough."""
    return chunk_rows or max(1, CHUNK_BYTES // (8 * n_features))


def bounds(n_rows: int, n_features: int, chunk_rows: int | None) -> list[tuple[int, int]]:
    """Return the first row of each chunk and the one after its last."""
    return chunks(n_rows, rows_of_chunk(n_features, chunk_rows))


def weights_of(parts: Sequence[Part], sample_weight: Any) -> list[FloatArray] | None:
    """Return the weights of each part's rows."""
    if sample_weight is None:
        return None
    n_rows = sum(part.n_rows for part in parts)
    if isinstance(sample_weight, (str, os.PathLike)):
        weights = _stored_weights(Path(sample_weight), n_rows)
    else:
        weights = np.asarray(sample_weight)
        _check_weights(weights.shape, weights.dtype, n_rows, "")
    return np.split(weights, np.cumsum([part.n_rows for part in parts])[:-1])


def _stored_weights(path: Path, n_rows: int) -> FloatArray:
    if path.suffix.lower() != ".npy":
        raise InvalidDataError(
            f"sample_weight {str(path)!r} must be an .npy file with one number for each row: a column's name, as a str, is for tables"
        )
    shape, _, dtype, _ = header = npy_header(path)
    _check_weights(shape, dtype, n_rows, f" in {path}")
    check_whole(path, header)
    weights: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return weights


def _check_weights(shape: tuple[int, ...], dtype: np.dtype, n_rows: int, where: str) -> None:
    if shape != (n_rows,) or dtype.kind not in "iufb":
        raise InvalidDataError(
            f"sample_weight must have one number for each of the {n_rows} rows of X, got {dtype} of shape {shape}{where}"
        )


def npy_header(path: Path) -> Npy:
    """Return what an ``.npy`` file says of itself.

    Raises
    ------
    InvalidDataError
        If there is no such file, or it is another kind of file.
    """
    if not path.is_file():
        raise InvalidDataError(f"There is no file {str(path)!r}.")
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
            return shape, by_columns, dtype, stream.tell()
    except (ValueError, OSError) as error:
        raise InvalidDataError(f"{path} is not an .npy file of plain numbers: {in_one_line(error)}") from error


def check_whole(path: Path, header: Npy) -> None:
    """Raise InvalidDataError if an ``.npy`` file is shorter than its header says."""
    shape, by_columns, dtype, offset = header
    there, needed = path.stat().st_size - offset, math.prod(shape) * dtype.itemsize
    if there < needed:
        what, count = ("column", shape[-1]) if by_columns and len(shape) > 1 else ("row", shape[0])
        raise InvalidDataError(
            f"{path} ends in {what} {there * count // needed} of {count}: it is shorter than it says, copy or write it again"
        )


WORTH_A_THREAD = 2**16
"""Numbers in a chunk from which on it pays to read it in another thread."""


@dataclass(eq=False, repr=False)
class FileRows(Rows):
    """Rows that are read from their parts in every pass.

    Parameters
    ----------
    parts : sequence of Part
    n_features : int
    names : list of str, optional
        Of the columns, where they have any.
    of_parts : sequence of array, optional
        Weights of each part's rows.
    owner : object, optional
        What the parts depend on, a temporary file say, and which must not go before them.
    """

    parts: Sequence[Part]
    n_features: int
    names: list[str] | None = None
    of_parts: Sequence[FloatArray] | None = None
    owner: object = None

    def as_read(self) -> FileRows:
        """Return all rows of the parts, none with a weight."""
        return replace(self, of_parts=None)

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        """Return what a task makes of every chunk, added up in their order."""
        return reduce(add, map(task, self.chunks()))

    def chunks(self) -> Iterator[Chunk]:
        """Read the parts one after another, each while its predecessor is in use; what a chunk holds is overwritten two chunks later."""
        largest = max(part.n_rows for part in self.parts)
        # The one in use, the one that is being read, and the one that the caller may not have let go yet.
        rooms = [np.empty((largest, self.n_features)) for _ in range(min(3, len(self.parts)))]

        def read(number: int) -> Chunk:
            part = self.parts[number]
            X, weight = part.read(rooms[number % len(rooms)])
            weight = weight if self.of_parts is None else self.of_parts[number]
            return chunk_of(number, part.place, part.first, X, weight)

        if largest * self.n_features < WORTH_A_THREAD:
            yield from map(read, range(len(self.parts)))
            return
        with ThreadPoolExecutor(1, thread_name_prefix="reading") as reader:
            upcoming = reader.submit(read, 0)
            for number in range(1, len(self.parts)):
                chunk = upcoming.result()
                upcoming = reader.submit(read, number)
                yield chunk
            yield upcoming.result()
