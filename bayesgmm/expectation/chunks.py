"""Rows that are never in memory together: files in pieces, or blocks on a cluster's workers.

Under one mixture the statistics of all rows are sums, in coordinates whitened by that mixture, over whatever pieces the rows come in: each
piece is measured from the same means, so that pieces add without the cancellation that uncentred moments suffer. All that is asked of the
rows is therefore a task for each chunk and a way to add up what comes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, overload

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation import missing
from bayesgmm.expectation.core import Statistics
from bayesgmm.expectation.missing import Gaps
from bayesgmm.expectation.summary import Summary, fingerprint
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "Chunk",
    "Chunked",
    "Mixtures",
    "check_finite",
    "expectation",
    "expectations",
    "rows_of",
    "seen_from",
    "spread_rows",
]

Mixtures = Sequence[tuple[FloatArray, FloatArray, FloatArray]]
"""Log weights (K,), means (K, D) and Cholesky factors (K, D, D) of some mixtures."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows, in memory for a while: whoever wants to keep any of them copies them.

    Parameters
    ----------
    number : int
        Which of the chunks they are.
    place : str
        Where they come from, for messages: a file's name, say.
    first : int
        Number of the first of them there.
    X : array of shape (n, D)
        NaN stands for a missing value.
    weight : array of shape (n,), optional
        Frequencies of the rows, all positive.
    standing : int array of shape (n,), optional
        Where they stand in the chunk as it was read, if rows of weight zero have been left out.
    n_read : int
        How many rows were read.
    """

    number: int
    place: str
    first: int
    X: FloatArray
    weight: FloatArray | None = None
    standing: IntArray | None = None
    n_read: int = 0

    def __len__(self) -> int:
        return len(self.X)

    @cached_property
    def rows(self) -> FloatArray | Gaps:
        """The rows as the E-step takes them: sorted by what they lack if they lack anything."""
        return missing.rows_of(self.X)


class Chunked(ABC):
    """Rows in chunks, which know their weights."""

    n_features: int
    names: list[str] | None = None
    """Of the columns, where they have any."""
    booleans: Sequence[str] = ()
    """Names of columns that hold True and False, as far as their types tell."""

    @cached_property
    def summary(self) -> Summary:
        """What a first pass over the rows says of their number and their columns."""
        return self.map_reduce(_summary, Summary.merged)

    @cached_property
    def fingerprint(self) -> int:
        """What tells these rows from others, whatever their order and their chunks; it takes a pass of its own."""
        return self.map_reduce(_fingerprint, _wrapped)

    def as_read(self) -> Self:
        """Return all rows that are read, those of weight zero too, and none with a weight: what is said of each row is said of these."""
        return self

    def __len__(self) -> int:
        return sum(self.summary.kept)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), self.n_features

    def take(self, rows: IntArray) -> tuple[FloatArray, FloatArray | None]:
        """Return some rows (n, D), by their numbers in increasing order, and their weights (n,) if they have any."""
        ends = np.cumsum(self.summary.kept)
        return self.map_reduce(_Take(rows, ends), _joined)

    @abstractmethod
    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        """Return what a task makes of every chunk, added up in an order that depends on the chunks alone.

        Parameters
        ----------
        task : callable
            Takes a chunk. It may run in another process: a function of a module, or a value that can be called.
        add : callable
            Joins two results of which the first is of earlier rows.
        """


@overload
def seen_from(X: FloatArray, origin: FloatArray) -> FloatArray: ...
@overload
def seen_from(X: Chunked, origin: FloatArray) -> Chunked: ...
@overload
def seen_from(X: FloatArray | Chunked, origin: FloatArray) -> FloatArray | Chunked: ...
def seen_from(X: FloatArray | Chunked, origin: FloatArray) -> FloatArray | Chunked:
    """Return the same rows with their values counted from another origin (D,): a copy of rows in memory, none of rows in chunks."""
    return _SeenFrom(X, origin) if isinstance(X, Chunked) else X - origin


class _SeenFrom(Chunked):
    """Rows in chunks whose values are counted from another origin while they are in use."""

    def __init__(self, rows: Chunked, origin: FloatArray) -> None:
        self.inner, self.origin = rows, origin
        self.names, self.n_features = rows.names, rows.n_features
        self.summary = rows.summary.seen_from(origin)

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        return self.inner.map_reduce(_FromOrigin(task, self.origin), add)


@dataclass(frozen=True, eq=False)
class _FromOrigin[T]:
    """A task done with values counted from another origin."""

    task: Callable[[Chunk], T]
    origin: FloatArray

    def __call__(self, chunk: Chunk) -> T:
        return self.task(replace(chunk, X=chunk.X - self.origin))


def check_finite(chunk: Chunk) -> None:
    """Raise InvalidDataError where the first infinite value of a chunk stands, if there is one."""
    infinite = np.isinf(chunk.X)
    if not infinite.any():
        return
    row, column = (int(i[0]) for i in np.nonzero(infinite))
    row = row if chunk.standing is None else int(chunk.standing[row])
    raise InvalidDataError(
        f"{chunk.place} has an infinite value in row {chunk.first + row}, column {column} (both counted from 0): "
        "replace or drop such rows first"
    )


def _summary(chunk: Chunk) -> Summary:
    check_finite(chunk)
    with np.errstate(over="ignore", invalid="ignore"):  # whoever wants to fit such numbers is told of their ranges
        return Summary.of(chunk.X, chunk.weight, chunk.n_read)


def _fingerprint(chunk: Chunk) -> int:
    return fingerprint(chunk.X, chunk.weight)


def _wrapped(first: int, second: int) -> int:
    return (first + second) % 2**64


@dataclass(frozen=True, eq=False)
class _Take:
    """Some rows of each chunk."""

    rows: IntArray
    ends: IntArray
    """(chunks,): number of the row after each chunk's last."""

    def __call__(self, chunk: Chunk) -> tuple[FloatArray, FloatArray | None]:
        end = self.ends[chunk.number]
        here = self.rows[np.searchsorted(self.rows, end - len(chunk)) : np.searchsorted(self.rows, end)] - (end - len(chunk))
        return chunk.X[here], None if chunk.weight is None else chunk.weight[here]


def _joined(
    first: tuple[FloatArray, FloatArray | None], second: tuple[FloatArray, FloatArray | None]
) -> tuple[FloatArray, FloatArray | None]:
    X = np.concatenate([first[0], second[0]])
    return X, None if first[1] is None or second[1] is None else np.concatenate([first[1], second[1]])


@dataclass(frozen=True, eq=False)
class _EStep:
    """The E-step of one chunk under some mixtures."""

    mixtures: Mixtures
    diagonal: bool

    def __call__(self, chunk: Chunk) -> list[Statistics]:
        return [
            missing.expectation(chunk.rows, *mixture, sample_weight=chunk.weight, diagonal=self.diagonal)
            for mixture in self.mixtures
        ]


def _added(first: list[Statistics], second: list[Statistics]) -> list[Statistics]:
    return [
        Statistics(a.log_likelihood + b.log_likelihood, a.counts + b.counts, a.first + b.first, a.second + b.second)
        for a, b in zip(first, second, strict=True)
    ]


def expectations(X: Chunked, mixtures: Mixtures, *, diagonal: bool = False) -> list[Statistics]:
    """Run the E-step for several mixtures in one pass over the chunks.

    Parameters
    ----------
    X : Chunked
        Its chunks know the rows' weights.
    mixtures : sequence of (log_weights, means, scale_tril)
    diagonal : bool
        As in :func:`bayesgmm.expectation.core.expectation`.
    """
    return X.map_reduce(_EStep(tuple(mixtures), diagonal), _added)


def spread_rows(n_rows: int, n: int) -> IntArray:
    """Return the numbers of at most ``n`` of ``n_rows`` rows, evenly spread."""
    return np.unique(np.linspace(0, n_rows - 1, min(n, n_rows)).round().astype(np.intp))


def expectation(
    X: FloatArray | Gaps | Chunked,
    log_weights: FloatArray,
    means: FloatArray,
    scale_tril: FloatArray,
    *,
    sample_weight: FloatArray | None = None,
    diagonal: bool = False,
) -> Statistics:
    """Run the E-step on complete rows, on rows with gaps or on rows in chunks; see :func:`bayesgmm.expectation.core.expectation`.

    Rows in chunks bring their weights with them: ``sample_weight`` is for the others.
    """
    if isinstance(X, Chunked):
        return expectations(X, [(log_weights, means, scale_tril)], diagonal=diagonal)[0]
    return missing.expectation(X, log_weights, means, scale_tril, sample_weight=sample_weight, diagonal=diagonal)


@overload
def rows_of(X: FloatArray) -> FloatArray | Gaps: ...
@overload
def rows_of(X: Chunked) -> Chunked: ...
@overload
def rows_of(X: FloatArray | Chunked) -> FloatArray | Gaps | Chunked: ...
def rows_of(X: FloatArray | Chunked) -> FloatArray | Gaps | Chunked:
    """Return X (N, D) as the E-step takes it: as it is if complete or in chunks, otherwise sorted by what is missing."""
    return X if isinstance(X, Chunked) else missing.rows_of(X)
