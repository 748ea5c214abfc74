"""What draws say of rows, read a few rows at a time: draws x rows x components never exist together unless they are given so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bayesgmm.kernels.threads import chunks, ordered_map, run_shared
from bayesgmm.labels import _kernels
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "TOLERANCE",
    "Allocated",
    "Given",
    "MostProbable",
    "Rows",
    "Soft",
    "Streamed",
    "most_probable",
    "one_hot",
    "row_parts",
]

BLOCK_NUMBERS = 6e6
"""Most responsibilities, over all draws, that a block of rows holds (48 MB)."""
HELD_NUMBERS = 2e7
"""Up to so many responsibilities of mixtures are worked out once and kept (160 MB); more are worked out again for every pass."""
TOLERANCE = 1e-3
"""float32 draws, and tables that were written down, add up to one only so far."""
_PARTS = 16  # into which a sum over draws is cut; fixed, so that the same draws give the same bits on any machine


class Block(Protocol):
    """Some rows under every draw."""

    def mean(self, orders: IntArray) -> FloatArray:
        """Return the mean (n, K) over draws of the responsibilities in these component orders (T, K)."""
        ...

    def add_cross(self, reference: FloatArray, out: FloatArray) -> None:
        """Add to ``out (T, K, M)`` the sums over rows of responsibility times ``reference (n, M)``."""
        ...

    def allocations(self) -> np.ndarray:
        """Return each row's most probable component (T, n)."""
        ...


class Rows(Protocol):
    """Responsibilities of T draws, N rows, K components."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(T, N, K)``."""
        ...

    def block(self, start: int, stop: int) -> Block:
        """Return rows ``start .. stop``."""
        ...

    def draw(self, t: int) -> FloatArray:
        """Return the responsibilities (N, K) of draw t."""
        ...


@dataclass(frozen=True, eq=False)
class Soft:
    """``n`` rows of an array (T, ., K) of responsibilities, from ``offset`` on."""

    table: FloatArray
    offset: int
    n: int

    def mean(self, orders: IntArray) -> FloatArray:
        """Return the relabelled mean: see `Block`."""
        return _mean(_kernels.add_relabelled, self.table, self.offset, orders, self.n)

    def add_cross(self, reference: FloatArray, out: FloatArray) -> None:
        """Add products with a reference: see `Block`."""

        def task(first: int, last: int) -> None:
            rows = self.table[first:last, self.offset : self.offset + self.n]
            out[first:last] += np.swapaxes(rows, 1, 2) @ reference

        run_shared(task, len(out))

    def allocations(self) -> np.ndarray:
        """Return the most probable components: see `Block`."""
        out = np.empty((len(self.table), self.n), np.int16)
        _share(_kernels.most_probable_rows, self.table, self.offset, after=(out,))
        return out

    def inspect(self, entropy: FloatArray, sizes: FloatArray, is_bad: np.ndarray) -> None:
        """Add up entropies and sizes, and mark draws that are no probabilities."""
        _share(_kernels.inspect_rows, self.table, self.offset, self.n, after=(TOLERANCE, entropy, sizes, is_bad))


@dataclass(frozen=True, eq=False)
class Hard:
    """``n`` rows of an array (T, .) of allocations, from ``offset`` on: responsibilities of zero and one."""

    z: np.ndarray
    offset: int
    n: int

    def mean(self, orders: IntArray) -> FloatArray:
        """Return the relabelled mean: see `Block`."""
        return _mean(_kernels.add_votes, self.z, self.offset, np.argsort(orders, axis=1), self.n)

    def add_cross(self, reference: FloatArray, out: FloatArray) -> None:
        """Add products with a reference: see `Block`."""
        _share(_kernels.add_counts, self.z, self.offset, after=(np.require(reference, float, ["C", "W"]), out))

    def allocations(self) -> np.ndarray:
        """Return the allocations: see `Block`."""
        return self.z[:, self.offset : self.offset + self.n]


class Given:
    """Responsibilities (T, N, K) in an array, or in anything with a shape that can be cut like one (a memory map, an HDF5 dataset)."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.shape = (int(table.shape[0]), int(table.shape[1]), int(table.shape[2]))
        # Kernels are compiled for arrays like these; any other is copied block by block.
        is_array = type(table) is np.ndarray and table.dtype == np.float64
        self._is_ready = is_array and table.flags.c_contiguous and table.flags.writeable

    def block(self, start: int, stop: int) -> Soft:
        """Return rows ``start .. stop``: see `Rows`."""
        if self._is_ready:
            return Soft(self._table, start, stop - start)
        return Soft(np.require(self._table[:, start:stop, :], float, ["C", "W"]), 0, stop - start)

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return np.array(self._table[t], dtype=float)


class Streamed:
    """Responsibilities of rows X (N, D), NaN where a value is missing, under a batch (T,) of mixtures."""

    def __init__(self, params: MixtureParams, X: FloatArray) -> None:
        self._params, self._X = params, X
        self.shape = (len(params.weights), len(X), params.n_components)
        self._held = Given(params.responsibilities(X)) if np.prod(self.shape, dtype=float) <= HELD_NUMBERS else None

    def block(self, start: int, stop: int) -> Soft:
        """Return rows ``start .. stop``: see `Rows`."""
        if self._held is not None:
            return self._held.block(start, stop)
        return Soft(self._params.responsibilities(self._X[start:stop]), 0, stop - start)

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return self._params[t].responsibilities(self._X)


class Allocated:
    """Allocations (T, N) to components 0 .. K - 1, as responsibilities of zero and one."""

    def __init__(self, allocations: np.ndarray, n_components: int) -> None:
        self._z = np.require(allocations, np.int16, ["C", "W"])
        self.shape = (*self._z.shape, n_components)

    def block(self, start: int, stop: int) -> Hard:
        """Return rows ``start .. stop``: see `Rows`."""
        return Hard(self._z, start, stop - start)

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return one_hot(self._z[t], self.shape[2])


class MostProbable:
    """Every row given to its most probable component."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.shape = rows.shape

    def block(self, start: int, stop: int) -> Hard:
        """Return rows ``start .. stop``: see `Rows`."""
        return Hard(self._rows.block(start, stop).allocations(), 0, stop - start)

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return one_hot(self._rows.draw(t).argmax(1), self.shape[2])


def most_probable(rows: Rows) -> Rows:
    """Give every row to its most probable component, in memory unless that is large."""
    T, N, K = rows.shape
    if T * N > 4 * HELD_NUMBERS:  # of a quarter of the size
        return MostProbable(rows)
    z = np.empty((T, N), np.int16)
    for start, stop in row_parts(rows):
        z[:, start:stop] = rows.block(start, stop).allocations()
    return Allocated(z, K)


def one_hot(labels: np.ndarray, n_components: int) -> FloatArray:
    """Return responsibilities (..., K) of zero and one."""
    return (labels[..., None] == np.arange(n_components)).astype(float)


def row_parts(rows: Rows) -> list[tuple[int, int]]:
    """Return the bounds of the blocks in which rows are read."""
    T, N, K = rows.shape
    return chunks(N, max(1, int(BLOCK_NUMBERS / (T * K))))


def _share(kernel: Callable[..., None], *before: Any, after: tuple[Any, ...]) -> None:
    """Run a kernel on all draws, in threads."""
    run_shared(lambda first, last: kernel(*before, first, last, *after), len(before[0]))


def _mean(kernel: Callable[..., None], table: np.ndarray, offset: int, orders: IntArray, n: int) -> FloatArray:
    """Add up over draws in threads, in a fixed order."""
    T, K = orders.shape

    def task(first: int, last: int) -> FloatArray:
        total = np.zeros((n, K))
        kernel(table, offset, first, last, orders, total)
        return total

    return sum(ordered_map(task, chunks(T, -(-T // _PARTS))), np.zeros((n, K))) / T
