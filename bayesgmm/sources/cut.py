"""How rows are cut into chunks, and weights with them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.sources.parts import Part
from bayesgmm.typing import FloatArray

__all__ = ["CHUNK_BYTES", "bounds", "check_exists", "check_whole", "npy_header", "rows_of_chunk", "weights_of"]

Npy = tuple[tuple[int, ...], bool, np.dtype, int]
"""Of an .npy file the shape, whether it lies column by column, the type of its numbers, and the byte in which they begin."""

CHUNK_BYTES = 2**25
"""Size of a chunk (32 MB): large enough that reading it costs more than finding it, small enough to have a few of them."""


def rows_of_chunk(n_features: int, chunk_rows: int | None) -> int:
    """Return how many rows a chunk has, if there are enough."""
    return chunk_rows or max(1, CHUNK_BYTES // (8 * n_features))


def bounds(n_rows: int, n_features: int, chunk_rows: int | None) -> list[tuple[int, int]]:
    """Return the first row of each chunk and the one after its last."""
    size = rows_of_chunk(n_features, chunk_rows)
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


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
    ends = np.cumsum([part.n_rows for part in parts])
    return [weights[end - part.n_rows : end] for part, end in zip(parts, ends, strict=True)]


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
    check_exists(path)
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
            return shape, by_columns, dtype, stream.tell()
    except (ValueError, OSError) as error:
        raise InvalidDataError(f"{path} is not an .npy file of plain numbers: {' '.join(str(error).split())[:200]}") from error


def check_whole(path: Path, header: Npy) -> None:
    """Raise InvalidDataError if an ``.npy`` file is shorter than its header says."""
    shape, by_columns, dtype, offset = header
    there, needed = path.stat().st_size - offset, math.prod(shape) * dtype.itemsize
    if there < needed:
        what, count = ("column", shape[-1]) if by_columns and len(shape) > 1 else ("row", shape[0])
        raise InvalidDataError(
            f"{path} ends in {what} {there * count // needed} of {count}: it is shorter than it says, copy or write it again"
        )


def check_exists(path: Path) -> None:
    """Raise InvalidDataError unless there is such a file."""
    if not path.is_file():
        raise InvalidDataError(f"There is no file {str(path)!r}.")
