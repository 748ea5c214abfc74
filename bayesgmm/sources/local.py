"""Rows in files on this machine: one chunk is read while the one before is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from bayesgmm.expectation import Chunk, Chunked
from bayesgmm.sources.chunk import chunk_of
from bayesgmm.sources.parts import Part
from bayesgmm.typing import FloatArray

__all__ = ["LocalRows"]

WORTH_A_THREAD = 2**16
"""Numbers in a chunk from which on it pays to read it in another thread."""


class LocalRows(Chunked):
    """Rows that are read from their parts in every pass.

    Parameters
    ----------
    parts : sequence of Part
    names : list of str, optional
        Of the columns, where they have any.
    n_features : int
    weights : sequence of array, optional
        Weights of each part's rows.
    owner : object, optional
        What the parts depend on, a temporary file say, and which must not go before them.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        names: list[str] | None,
        n_features: int,
        weights: Sequence[FloatArray] | None = None,
        owner: object = None,
    ) -> None:
        self.parts, self.names, self.n_features, self.weights, self.owner = tuple(parts), names, n_features, weights, owner

    def as_read(self) -> LocalRows:
        """Return all rows of the parts, none with a weight."""
        return LocalRows(self.parts, self.names, self.n_features, owner=self.owner)

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        """Return what a task makes of every chunk, added up in their order."""
        total: T | None = None
        for chunk in self.chunks():
            result = task(chunk)
            total = result if total is None else add(total, result)
        assert total is not None, "open_rows refuses data without any row"
        return total

    def chunks(self) -> Iterator[Chunk]:
        """Read the parts one after another, each while its predecessor is in use; what a chunk holds is overwritten two chunks later."""
        largest = max(part.n_rows for part in self.parts)
        # The one in use, the one that is being read, and the one that the caller may not have let go yet.
        rooms = [np.empty((largest, self.n_features)) for _ in range(min(3, len(self.parts)))]

        def read(number: int) -> Chunk:
            part = self.parts[number]
            X, weight = part.read(rooms[number % len(rooms)])
            weight = weight if self.weights is None else self.weights[number]
            return chunk_of(number, part.place, part.first, X, weight)

        if largest * self.n_features < WORTH_A_THREAD:
            yield from map(read, range(len(self.parts)))
            return
        with _reader() as submit:
            upcoming = submit(read, 0)
            for number in range(len(self.parts)):
                chunk = upcoming.result()
                if number + 1 < len(self.parts):
                    upcoming = submit(read, number + 1)
                yield chunk


@contextmanager
def _reader() -> Iterator[Callable[..., Future[Chunk]]]:
    executor = ThreadPoolExecutor(1, thread_name_prefix="reading")
    try:
        yield executor.submit
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
