"""Responsibilities of many draws, read a few rows at a time: draws x rows x components never exist together unless they are given so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.kernels.threads import chunks, ordered_map, run_shared
from bayesgmm.labels import _kernels
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "TOLERANCE",
    "Responsibilities",
    "RowTotals",
    "cross_products",
    "from_allocations",
    "from_mixtures",
    "from_table",
    "most_probable",
    "one_hot",
    "relabelled_mean",
    "row_totals",
    "update",
]

BLOCK_NUMBERS = 6e6
"""Most responsibilities, over all draws, that a block of rows holds (48 MB)."""
HELD_NUMBERS = 2e7
"""Up to so many responsibilities of mixtures are worked out once and kept (160 MB); more are worked out again for every pass."""
TOLERANCE = 1e-3
"""float32 draws, and tables that were written down, add up to one only so far."""
_PARTS = 16  # into which a sum over draws is cut; fixed, so that the same draws give the same bits on any machine


@dataclass(frozen=True, eq=False)
class TableBlock:
    """``n`` rows of an array (T, ., K) of responsibilities, from ``offset`` on."""

    table: FloatArray
    offset: int
    n: int

    def mean(self, orders: IntArray) -> FloatArray:
        """Return the mean (n, K) over draws of the responsibilities in these component orders (T, K)."""
        return _mean(_kernels.add_relabelled, self.table, self.offset, orders, self.n)

    def add_cross(self, reference: FloatArray, out: FloatArray) -> None:
        """Add to ``out (T, K, M)`` the sums over rows of responsibility times ``reference (n, M)``."""

        def task(first: int, last: int) -> None:
            rows = self.table[first:last, self.offset : self.offset + self.n]
            out[first:last] += np.swapaxes(rows, 1, 2) @ reference

        run_shared(task, len(out))

    def allocations(self) -> np.ndarray:
        """Return each row's most probable component (T, n)."""
        out = np.empty((len(self.table), self.n), np.int16)
        _share(_kernels.most_probable_rows, self.table, self.offset, after=(out,))
        return out


@dataclass(frozen=True, eq=False)
class AllocationBlock:
    """The same of an array (T, .) of allocations: responsibilities of zero and one."""

    z: np.ndarray
    offset: int
    n: int

    def mean(self, orders: IntArray) -> FloatArray:
        """Return the relabelled mean, as `TableBlock` does."""
        return _mean(_kernels.add_votes, self.z, self.offset, np.argsort(orders, axis=1), self.n)

    def add_cross(self, reference: FloatArray, out: FloatArray) -> None:
        """Add products with a reference, as `TableBlock` does."""
        _share(_kernels.add_counts, self.z, self.offset, after=(np.require(reference, float, ["C", "W"]), out))

    def allocations(self) -> np.ndarray:
        """Return the allocations."""
        return self.z[:, self.offset : self.offset + self.n]


@dataclass(frozen=True, eq=False)
class Responsibilities:
    """Responsibilities of T draws, N rows, K components, wherever they come from.

    Parameters
    ----------
    shape : tuple of int
        (T, N, K).
    block : callable
        From two bounds to the rows between them.
    draw : callable
        From the number of a draw to its responsibilities (N, K).
    """

    shape: tuple[int, int, int]
    block: Callable[[int, int], TableBlock | AllocationBlock]
    draw: Callable[[int], FloatArray]


def from_table(table: Any) -> Responsibilities:
    """Return those in an array (T, N, K), or in anything with a shape that can be cut like one (a memory map, an HDF5 dataset)."""
    T, N, K = (int(size) for size in table.shape)
    # Kernels are compiled for arrays like these; any other is copied block by block.
    is_array = type(table) is np.ndarray and table.dtype == np.float64
    is_ready = is_array and table.flags.c_contiguous and table.flags.writeable

    def block(start: int, stop: int) -> TableBlock:
        if is_ready:
            return TableBlock(table, start, stop - start)
        return TableBlock(np.require(table[:, start:stop, :], float, ["C", "W"]), 0, stop - start)

    return Responsibilities((T, N, K), block, lambda t: np.array(table[t], dtype=float))


def from_mixtures(params: MixtureParams, X: FloatArray) -> Responsibilities:
    """Return those of rows X (N, D), NaN where a value is missing, under a batch (T,) of mixtures: in memory unless they are many."""
    shape = (len(params.weights), len(X), params.n_components)
    if float(shape[0]) * shape[1] * shape[2] <= HELD_NUMBERS:
        return from_table(params.responsibilities(X))

    def block(start: int, stop: int) -> TableBlock:
        return TableBlock(params.responsibilities(X[start:stop]), 0, stop - start)

    return Responsibilities(shape, block, lambda t: params[t].responsibilities(X))


def from_allocations(allocations: np.ndarray, n_components: int) -> Responsibilities:
    """Return allocations (T, N) to components 0 .. K - 1 as responsibilities of zero and one."""
    z = np.require(allocations, np.int16, ["C", "W"])
    T, N = z.shape

    def block(start: int, stop: int) -> AllocationBlock:
        return AllocationBlock(z, start, stop - start)

    return Responsibilities((T, N, n_components), block, lambda t: one_hot(z[t], n_components))


def most_probable(rows: Responsibilities) -> Responsibilities:
    """Give every row to its most probable component: in memory, or block by block where that is large."""
    T, N, K = rows.shape

    def block(start: int, stop: int) -> AllocationBlock:
        return AllocationBlock(rows.block(start, stop).allocations(), 0, stop - start)

    if T * N > 4 * HELD_NUMBERS:  # of a quarter of the size
        return Responsibilities(rows.shape, block, lambda t: one_hot(rows.draw(t).argmax(1), K))
    z = np.empty((T, N), np.int16)
    for start, stop in _row_parts(rows):
        z[:, start:stop] = rows.block(start, stop).allocations()
    return from_allocations(z, K)


class RowTotals(NamedTuple):
    """Sums over the rows of each draw."""

    entropy: FloatArray
    """(T,): of the responsibilities, in nats."""
    sizes: FloatArray
    """(T, K): expected rows in each component."""


def one_hot(labels: np.ndarray, n_components: int) -> FloatArray:
    """Return responsibilities (..., K) of zero and one."""
    return (labels[..., None] == np.arange(n_components)).astype(float)


def row_totals(rows: Responsibilities) -> RowTotals:
    """Read all rows once.

    Raises
    ------
    InvalidDataError
        If the responsibilities of a draw are negative, not numbers, or don't add up to one in each row.
    """
    T, _, K = rows.shape
    entropy, sizes, is_bad = np.zeros(T), np.zeros((T, K)), np.zeros(T, bool)
    for start, stop in _row_parts(rows):
        block = rows.block(start, stop)
        if isinstance(block, TableBlock):
            _share(_kernels.inspect_rows, block.table, block.offset, block.n, after=(TOLERANCE, entropy, sizes, is_bad))
        else:
            block.add_cross(np.ones((block.n, 1)), sizes[:, :, None])
    if is_bad.any():
        n = int(is_bad.sum())
        raise InvalidDataError(
            "responsibilities must be at least zero and add up to one in every row: those of draw "
            f"{np.flatnonzero(is_bad)[0]} (counted over all chains) do not" + (f", nor those of {n - 1} more" if n > 1 else "")
        )
    return RowTotals(entropy, sizes)


def cross_products(rows: Responsibilities, reference: FloatArray) -> FloatArray:
    """Return ``out[t, j, m] = sum_i r_tij reference_im`` for a reference (N, M)."""
    T, _, K = rows.shape
    out = np.zeros((T, K, reference.shape[1]))
    for start, stop in _row_parts(rows):
        rows.block(start, stop).add_cross(reference[start:stop], out)
    return out


def relabelled_mean(rows: Responsibilities, orders: IntArray) -> FloatArray:
    """Return the mean (N, K) over draws of the responsibilities in these component orders (T, K)."""
    return np.concatenate([rows.block(*part).mean(orders) for part in _row_parts(rows)])


def update(
    rows: Responsibilities, orders: IntArray, reference: Callable[[FloatArray], FloatArray], counted: Responsibilities | None = None
) -> tuple[FloatArray, FloatArray]:
    """Make a reference of the relabelled mean, row by row, and hold every draw against it: one pass over the rows for both.

    Parameters
    ----------
    rows : Responsibilities
        Of which the mean is taken.
    orders : int array of shape (T, K)
    reference : callable
        From mean responsibilities (n, K) to reference values (n, K).
    counted : Responsibilities, optional
        What is held against the reference; ``rows`` itself by default.

    Returns
    -------
    sums : array of shape (T, K, K)
        As of `cross_products`.
    total : array of shape (K,)
        Sum of the reference over all rows.
    """
    T, _, K = rows.shape
    out, total = np.zeros((T, K, K)), np.zeros(K)
    for part in _row_parts(rows):
        block = rows.block(*part)
        values = reference(block.mean(orders))
        total += values.sum(0)
        (block if counted is None else counted.block(*part)).add_cross(values, out)
    return out, total


def _row_parts(rows: Responsibilities) -> list[tuple[int, int]]:
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
