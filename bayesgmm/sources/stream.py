"""Rows of files from first to last, once: for what is done to each row by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import Chunk
from bayesgmm.sources.local import LocalRows
from bayesgmm.sources.open import open_rows
from bayesgmm.sources.parquet import parquet_batches, parquet_files

__all__ = ["stream_rows"]


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
    if not isinstance(rows, LocalRows):
        raise InvalidDataError(f"{os.fspath(source)} is read by a cluster's workers: close its Client to read it here")
    yield from rows.chunks()
