"""Rows of data, wherever they are: in memory, in files that are read in chunks, or on a cluster's workers.

Under one mixture the statistics of all rows are sums, in coordinates whitened by that mixture, over whatever chunks the rows come in: each
chunk is measured from the same means, so that chunks add without the cancellation that uncentred moments suffer. All that is asked of
rows is therefore a task for each chunk and a way to add up what comes back. What else is known of a row, such as its weight, is a part of
its chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import add
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.rows.known import Known
from bayesgmm.rows.missing import has_missing, order_by_gaps
from bayesgmm.rows.summary import Summary, fingerprint
from bayesgmm.tables.numeric import default_names, numbers_in
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["Chunk", "MemoryRows", "NoRows", "Rows", "as_chunk", "check_finite", "chunk_of", "chunk_size", "spread_rows"]

_SUMMED_APART = 4096
"""Rows of a piece whose statistics are summed apart, at least."""
_MOST_SORTED = 50_000
"""Rows up to which equal ones are looked for: sorting more would cost as much as some iterations of EM."""
_IN_MEMORY = (
    "This takes rows in memory: give it some of them at a time. In chunks can be had: predict, predict_proba, score_samples, "
    "score and responsibilities"
)


def chunk_size(n_rows: int) -> int:
    """Return the rows of a piece, whose statistics are summed apart: at most 64 pieces, none smaller than 4,096 rows.

    It depends on the data only, so the order of summation, and every bit of the result, is the same for any number of threads.
    """
    return max(_SUMMED_APART, -(-n_rows // 64))


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows in memory; those of a file for a while only: whoever wants to keep any of them copies them.

    Parameters
    ----------
    X : array of shape (n, D)
        NaN stands for a missing value.
    weight : array of shape (n,), optional
        Frequencies of the rows.
    number : int
        Which of the chunks they are.
    place : str
        Where they come from, for messages: a file's name, say.
    first : int
        Number of the first of them there.
    standing : int array of shape (n,), optional
        Where they stand in the chunk as it was read, if rows of weight zero have been left out.
    n_read : int, optional
        How many rows were read, if not n.
    known : Known, optional
        What is known of the rows beside their values.
    """

    X: FloatArray
    weight: FloatArray | None = None
    number: int = 0
    place: str = "X"
    first: int = 0
    standing: IntArray | None = None
    n_read: int | None = None
    known: Known | None = None

    def __post_init__(self) -> None:
        # Kernels are compiled for arrays in C's order that may be written to.
        object.__setattr__(self, "X", np.require(self.X, np.float64, ["C", "A", "W", "E"]))

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.X.shape[1]

    @cached_property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not has_missing(self.X)

    def take(self, numbers: IntArray) -> Chunk:
        """Return some of the rows."""
        weight, known = (
            None if self.weight is None else self.weight[numbers],
            None if self.known is None else self.known.take(numbers),
        )
        return Chunk(self.X[numbers], weight, known=known)

    def table(self, n_components: int) -> FloatArray:
        """Return the rows as compiled passes take them: their values, and beside them what else is known of them for K components."""
        if self.known is None:
            return self.X
        if n_components not in self._tables:
            self._tables[n_components] = self.known.table(self.X, self.weight, n_components)
        return self._tables[n_components]

    @cached_property
    def _tables(self) -> dict[int, FloatArray]:
        return {}


def as_chunk(X: ArrayLike | Chunk) -> Chunk:
    """Return rows (n, D) as a chunk; what is one already keeps what it knows of its missing values."""
    return X if isinstance(X, Chunk) else Chunk(numbers_in(X))


def chunk_of(number: int, place: str, first: int, X: FloatArray, weight: FloatArray | None) -> Chunk:
    """Return a chunk of rows X (n, D) as they were read, those of weight zero left out.

    Raises
    ------
    InvalidDataError
        If there are not as many weights as rows, or one of them is negative or no number.
    """
    if weight is None:
        return Chunk(X, None, number, place, first)
    weight = np.ascontiguousarray(weight, dtype=float)
    if weight.shape != (len(X),):
        raise InvalidDataError(
            f"{place} has {len(X)} rows and {weight.size} weights: sample_weight must have one number for each row"
        )
    bad = np.flatnonzero(~(weight >= 0) | np.isinf(weight))
    if len(bad):
        raise InvalidDataError(
            f"sample_weight must be zero or positive and finite: it is {weight[bad[0]]} in row {first + bad[0]} of {place}"
        )
    if weight.all():
        return Chunk(X, weight, number, place, first)
    kept = np.flatnonzero(weight)
    return Chunk(X[kept], weight[kept], number, place, first, kept, len(X))


class Rows(ABC):
    """Rows of data and all that is known of them beside their values."""

    n_features: int
    names: list[str] | None = None
    """Of the columns, where they have any."""
    booleans: Sequence[str] = ()
    """Names of columns that hold True and False, as far as their types tell."""
    feature_names_in: np.ndarray | None = None
    """Names of the columns as scikit-learn knows them: if they have some, and all of them are text."""
    is_in_memory = False
    """Whether all rows can be had at once."""

    @property
    def known(self) -> Known | None:
        """What is known of rows in memory beside their values; None for nothing."""
        return None

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

    def map_rows(self, task: Callable[[Chunk], np.ndarray], n_columns: int | None = None, dtype: Any = float) -> Any:
        """Return a number, or ``n_columns`` of them, for each row: an array, or of a Dask collection a lazy one with its chunks."""
        return np.concatenate(self.as_read().map_reduce(partial(_said_of_rows, task), add))

    @cached_property
    def summary(self) -> Summary:
        """What a first pass over the rows says of their number and their columns."""
        return self.map_reduce(_summary, Summary.merged)

    @cached_property
    def fingerprint(self) -> int:
        """What tells these rows from others, whatever their order and their chunks; it takes a pass of its own."""
        return self.map_reduce(_fingerprint, add) % 2**64

    def __len__(self) -> int:
        return sum(self.summary.kept)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), self.n_features

    @property
    def feature_names(self) -> list[str]:
        """Names of the columns, or ``x0, x1, ...`` where they have none."""
        return self.names or default_names(self.n_features)

    @property
    def total(self) -> float:
        """How many rows they count as: the sum of their weights."""
        return self.summary.weight

    @property
    def has_gaps(self) -> bool:
        """Whether some value is missing."""
        return self.summary.has_gaps

    @property
    def starts(self) -> IntArray:
        """Number of the first row of each chunk, as the rows were read."""
        return np.concatenate([[0], np.cumsum(self.summary.read)])

    @property
    def index(self) -> pd.Index:
        """What the rows are called."""
        return pd.RangeIndex(len(self), name="obs")

    @property
    def complete(self) -> FloatArray | None:
        """The values (N, D), if nothing is missing and all are in memory: what compiled loops take."""
        return None

    @property
    def values(self) -> FloatArray:
        """The values (N, D) of rows in memory; NaN stands for a missing one."""
        return self.in_memory().chunk.X

    @property
    def weights(self) -> FloatArray | None:
        """How often each of the rows (N,) in memory counts; None for once each."""
        return self.in_memory().chunk.weight

    def in_memory(self) -> MemoryRows:
        """Return the rows if all of them are in memory.

        Raises
        ------
        InvalidDataError
            If they are not.
        """
        raise InvalidDataError(_IN_MEMORY)

    def remembered(self) -> Rows:
        """Return what a fit remembers of its rows: those in memory themselves, of others their number and weight."""
        return NoRows(
            f"This fit saw its {len(self):,} rows in chunks and keeps none of them: give rows (X), or fit to some that are in memory",
            self.n_features,
            self.names,
            len(self),
            self.total,
        )

    def sized(self) -> Rows:
        """Return the rows, whose number is known."""
        return self

    def as_read(self) -> Rows:
        """Return all rows that are read, those of weight zero too, and none with a weight: what is said of each row is said of these."""
        return self

    def seen_from(self, origin: FloatArray) -> Rows:
        """Return the same rows with values counted from another origin (D,): a copy of rows in memory, none of others."""
        return _SeenFrom(self, origin)

    def values_alone(self) -> Rows:
        """Return the same rows as if nothing were known of them but values and weights."""
        return self

    def take(self, numbers: IntArray) -> MemoryRows:
        """Return some rows, by their numbers in increasing order."""
        X, weights = zip(*self.map_reduce(partial(_taken, numbers, np.cumsum(self.summary.kept)), add), strict=True)
        return MemoryRows(np.concatenate(X), None if weights[0] is None else np.concatenate(weights), self.names)

    def some(self, most: int) -> MemoryRows:
        """Return all rows if there are not more than ``most``, otherwise so many, evenly spread."""
        return self.take(spread_rows(len(self), most))

    def condensed(self) -> Rows:
        """Return the rows as EM takes them: of those in memory the distinct ones, each with its frequency."""
        return self

    def distinct(self) -> MemoryRows:
        """Return the distinct rows in memory, each with its frequency."""
        return self.take(np.arange(len(self))).distinct()

    def center_and_spread(self) -> tuple[FloatArray, FloatArray]:
        """Return about where columns lie and how wide they are, both (D,): enough to keep sums of order one."""
        return self.summary.mean, self.summary.sd


class MemoryRows(Rows):
    """Rows in memory.

    Parameters
    ----------
    values : array of shape (N, D)
        NaN stands for a missing value.
    weights : array of shape (N,), optional
        How often each row counts; zero for rows that do not.
    names : list of str, optional
        Of the columns.
    index : pandas.Index, optional
        What the rows are called; numbers by default.
    known : Known, optional
        What is known of the rows beside their values.
    """

    is_in_memory = True

    def __init__(
        self,
        values: FloatArray,
        weights: FloatArray | None = None,
        names: list[str] | None = None,
        index: pd.Index | None = None,
        known: Known | None = None,
    ) -> None:
        self.chunk = Chunk(values, weights, known=known)
        self.n_features, self.names, self._index = self.chunk.X.shape[1], names, index
        self._is_distinct = False

    def __len__(self) -> int:
        return len(self.chunk)

    @cached_property
    def total(self) -> float:
        """How many rows they count as."""
        return float(len(self)) if self.weights is None else float(self.weights.sum())

    @property
    def has_gaps(self) -> bool:
        """Whether some value is missing."""
        return not self.chunk.is_complete

    @property
    def starts(self) -> IntArray:
        """Number of the first row."""
        return np.zeros(1, dtype=np.intp)

    @property
    def index(self) -> pd.Index:
        """What the rows are called."""
        return pd.RangeIndex(len(self), name="obs") if self._index is None else self._index

    @property
    def known(self) -> Known | None:
        """What is known of the rows beside their values."""
        return self.chunk.known

    @property
    def complete(self) -> FloatArray | None:
        """The values (N, D), if nothing is missing and nothing else is known."""
        return self.values if self.chunk.is_complete and self.known is None else None

    @cached_property
    def summary(self) -> Summary:
        """What there is to say of the columns; rows of weight zero do not count."""
        X, weight = self._counted
        return Summary.of(X, weight, len(self))

    @property
    def _counted(self) -> tuple[FloatArray, FloatArray | None]:
        if self.weights is None or self.weights.all():
            return self.values, self.weights
        return self.values[self.weights > 0], self.weights[self.weights > 0]

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        """Return what the task makes of the rows, which are one chunk."""
        return task(self.chunk)

    def map_rows(self, task: Callable[[Chunk], np.ndarray], n_columns: int | None = None, dtype: Any = float) -> Any:
        """Return a number, or ``n_columns`` of them, for each row."""
        return task(self.chunk)

    def in_memory(self) -> MemoryRows:
        """Return the rows."""
        return self

    def remembered(self) -> Rows:
        """Return the rows."""
        return self

    def seen_from(self, origin: FloatArray) -> MemoryRows:
        """Return a copy with values counted from another origin (D,)."""
        return MemoryRows(self.values - origin, self.weights, self.names, self._index, self.known)

    def weighted(self, weights: FloatArray | None) -> MemoryRows:
        """Return the same rows, which count as often as other weights (N,) say."""
        return MemoryRows(self.values, weights, self.names, self._index, self.known)

    def values_alone(self) -> MemoryRows:
        """Return the same rows as if nothing were known of them but values and weights."""
        return self if self.known is None else self.knowing(None)

    def with_shares(self, share_of: IntArray, n_shares: int) -> MemoryRows:
        """Return the same rows that know which of several vectors of weights each of them has."""
        known = Known() if self.known is None else self.known
        return self.knowing(replace(known, share_of=share_of, n_shares=n_shares))

    def knowing(self, known: Known | None) -> MemoryRows:
        """Return the same rows, of which something else is known."""
        rows = MemoryRows(self.values, self.weights, self.names, self._index, known)
        rows.feature_names_in = self.feature_names_in
        return rows

    def take(self, numbers: IntArray) -> MemoryRows:
        """Return some rows, by their numbers."""
        weights = None if self.weights is None else self.weights[numbers]
        index, known = (
            None if self._index is None else self._index[numbers],
            None if self.known is None else self.known.take(numbers),
        )
        return MemoryRows(self.values[numbers], weights, self.names, index, known)

    def some(self, most: int) -> MemoryRows:
        """Return the rows if there are not more than ``most``, otherwise so many, evenly spread."""
        return self if len(self) <= most else super().some(most)

    def condensed(self) -> MemoryRows:
        """Return the distinct rows."""
        return self.distinct()

    def distinct(self) -> MemoryRows:
        """Return the distinct rows, sorted, those with the same gaps together, and how often each counts.

        A row of weight two is then the same as a row given twice, to the last bit, and the order of rows does not matter. Of more than
        50,000 rows only those of weight zero are left out: sorting would cost as much as some iterations.
        """
        if self._is_distinct:
            return self
        if self.known is not None:
            return self._distinct_of_known(self.known)
        X, weight = self._counted
        if len(X) <= _MOST_SORTED:
            X, which = np.unique(X, axis=0, return_inverse=True)  # NaN equals NaN here: rows are compared bit by bit
            counts = np.bincount(which.reshape(-1), weights=weight, minlength=len(X)).astype(float)
            weight = None if (counts == 1).all() else counts
        if self.has_gaps:
            order = order_by_gaps(X, chunk_size(len(X)))
            X, weight = X[order], None if weight is None else weight[order]
        found = MemoryRows(X, weight, self.names)
        found._is_distinct = True
        return found

    def _distinct_of_known(self, known: Known) -> MemoryRows:
        """Return rows that differ in what is known of them, too; of sets all of them, for a row counts in its own set."""
        X, weight = self._counted
        if len(X) < len(self):
            known = known.take(np.flatnonzero(np.asarray(self.weights)))
        if len(X) <= _MOST_SORTED and known.sets is None:
            wide, first, which = np.unique(
                np.column_stack([X, known.columns(len(X))]), axis=0, return_index=True, return_inverse=True
            )
            counts = np.bincount(which.reshape(-1), weights=weight, minlength=len(wide)).astype(float)
            X, weight, known = X[first], None if (counts == 1).all() else counts, known.take(first)
        order = order_by_gaps(X, len(X)) if has_missing(X) else np.arange(len(X))
        inner = known.take(order).order()
        order = order if inner is None else order[inner]
        found = MemoryRows(X[order], None if weight is None else weight[order], self.names, known=known.take(order))
        found._is_distinct = True
        return found

    def center_and_spread(self) -> tuple[FloatArray, FloatArray]:
        """Return about where columns lie and how wide they are, both (D,): enough to keep sums of order one."""
        if self.complete is None:
            return super().center_and_spread()
        few = self.values[:: max(1, len(self) // 1000)]
        return few.mean(0), few.std(0)


class NoRows(Rows):
    """What is left of rows that nobody has kept: a sentence that says so, their number and their weight."""

    def __init__(self, why: str, n_features: int = 0, names: list[str] | None = None, n_rows: int = 0, total: float = 0.0) -> None:
        self.why, self.n_features, self.names, self._n_rows, self._total = why, n_features, names, n_rows, total

    def __len__(self) -> int:
        return self._n_rows

    @property
    def total(self) -> float:
        """How many rows they counted as."""
        return self._total

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        """Say that there are none."""
        raise _NotKeptError(self.why)

    def in_memory(self) -> MemoryRows:
        """Say that there are none."""
        raise _NotKeptError(self.why)


class _NotKeptError(InvalidDataError, AttributeError):
    """The rows that were fitted are not in memory: an AttributeError, too, so that whoever lists attributes passes them over."""


class _SeenFrom(Rows):
    """Rows whose values are counted from another origin while they are in use."""

    def __init__(self, rows: Rows, origin: FloatArray) -> None:
        self.inner, self.origin = rows, origin
        self.names, self.n_features = rows.names, rows.n_features
        self.summary = rows.summary.seen_from(origin)

    def map_reduce[T](self, task: Callable[[Chunk], T], add: Callable[[T, T], T]) -> T:
        return self.inner.map_reduce(partial(_from_origin, task, self.origin), add)


def _from_origin[T](task: Callable[[Chunk], T], origin: FloatArray, chunk: Chunk) -> T:
    """Do a task with values counted from another origin."""
    return task(replace(chunk, X=chunk.X - origin))


def spread_rows(n_rows: int, n: int) -> IntArray:
    """Return the numbers of at most ``n`` of ``n_rows`` rows, evenly spread."""
    return np.unique(np.linspace(0, n_rows - 1, min(n, n_rows)).round().astype(np.intp))


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


def _said_of_rows(task: Callable[[Chunk], np.ndarray], chunk: Chunk) -> list[np.ndarray]:
    check_finite(chunk)
    return [task(chunk)]


def _summary(chunk: Chunk) -> Summary:
    check_finite(chunk)
    with np.errstate(over="ignore", invalid="ignore"):  # whoever wants to fit such numbers is told of their ranges
        return Summary.of(chunk.X, chunk.weight, len(chunk) if chunk.n_read is None else chunk.n_read)


def _fingerprint(chunk: Chunk) -> int:
    return fingerprint(chunk.X, chunk.weight)


def _taken(numbers: IntArray, ends: IntArray, chunk: Chunk) -> list[tuple[FloatArray, FloatArray | None]]:
    """Return those of some rows that are in a chunk, and their weights; ``ends`` has the number of the row after each chunk's last."""
    start, end = ends[chunk.number] - len(chunk), ends[chunk.number]
    here = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, end)] - start
    return [(chunk.X[here], None if chunk.weight is None else chunk.weight[here])]
