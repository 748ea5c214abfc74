"""How rows are cut into chunks, and weights with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.sources.parts import Part
from bayesgmm.typing import FloatArray

__all__ = ["CHUNK_BYTES", "bounds", "check_exists", "rows_of_chunk", "weights_of"]

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
    if isinstance(sample_weight, (str, os.PathLike)):
        path = Path(sample_weight)
        if path.suffix.lower() != ".npy":
            raise InvalidDataError(
                f"sample_weight {str(path)!r} must be an .npy file with one number for each row: there are no column names"
            )
        check_exists(path)
        sample_weight = np.load(path, mmap_mode="r")
    weights = np.asarray(sample_weight)
    n_rows = sum(part.n_rows for part in parts)
    if weights.shape != (n_rows,) or weights.dtype.kind not in "iufb":
        raise InvalidDataError(
            f"sample_weight must have one number for each of the {n_rows} rows of X, got {weights.dtype} of shape {weights.shape}"
        )
    ends = np.cumsum([part.n_rows for part in parts])
    return [weights[end - part.n_rows : end] for part, end in zip(parts, ends, strict=True)]


def check_exists(path: Path) -> None:
    """Raise InvalidDataError unless there is such a file."""
    if not path.is_file():
        raise InvalidDataError(f"There is no file {str(path)!r}.")
