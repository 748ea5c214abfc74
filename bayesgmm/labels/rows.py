"""What draws say of rows, read a few rows at a time: draws x rows x components never exist together unless they are given so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.expectation._threads import chunks, ordered_map, run_shared
from bayesgmm.labels import _kernels
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

__all__ = [
    "TOLERANCE",
    "Allocated",
    "Given",
    "Inspection",
    "MostProbable",
    "Rows",
    "Streamed",
    "cross",
    "inspect",
    "one_hot",
    "relabelled_mean",
    "update",
]

BLOCK_NUMBERS = 6e6
"""Most responsibilities, over all draws, that a block of rows holds (48 MB)."""
HELD_NUMBERS = 2e7
"""Up to so many responsibilities of mixtures are worked out once and kept (160 MB); more are worked out again for every pass."""
_PARTS = 16  # into which a sum over draws is cut; fixed, so that the same draws give the same bits on any machine
TOLERANCE = 1e-3  # float32 draws, and tables that were written down, add up to one only so far


class Rows(Protocol):
    """Responsibilities of T draws, N rows, K components."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(T, N, K)``."""
        ...

    def block(self, start: int, stop: int) -> tuple[FloatArray, int]:
        """Return an array (T, ., K) and where in it row ``start`` is; the rows up to ``stop`` follow."""
        ...

    def draw(self, t: int) -> FloatArray:
        """Return the responsibilities (N, K) of draw t."""
        ...


class Given:
    """Responsibilities (T, N, K) in an array, or in anything with a shape that can be cut like one (a memory map, an HDF5 dataset)."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.shape = (int(table.shape[0]), int(table.shape[1]), int(table.shape[2]))
        # Kernels are compiled for arrays like these; any other is copied block by block.
        flags = table.flags if isinstance(table, np.ndarray) and table.dtype == np.float64 else None
        self._is_ready = flags is not None and flags.c_contiguous and flags.writeable and type(table) is np.ndarray

    def block(self, start: int, stop: int) -> tuple[FloatArray, int]:
        """Return rows ``start .. stop``: see `Rows`."""
        if self._is_ready:
            return self._table, start
        return np.require(self._table[:, start:stop, :], float, ["C", "W"]), 0

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return np.array(self._table[t], dtype=float)


class Streamed:
    """Responsibilities of rows X (N, D), NaN where a value is missing, under a batch (T,) of mixtures."""

    def __init__(self, params: MixtureParams, X: FloatArray) -> None:
        self._params, self._X = params, X
        self.shape = (len(params.weights), len(X), params.n_components)
        self._held = params.responsibilities(X) if np.prod(self.shape, dtype=float) <= HELD_NUMBERS else None

    def block(self, start: int, stop: int) -> tuple[FloatArray, int]:
        """Return rows ``start .. stop``: see `Rows`."""
        if self._held is not None:
            return self._held, start
        return self._params.responsibilities(self._X[start:stop]), 0

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return self._params[t].responsibilities(self._X)


class Allocated:
    """Allocations (T, N) to components 0 .. K - 1, as responsibilities of zero and one."""

    def __init__(self, allocations: Any, n_components: int) -> None:
        self._z = allocations
        self.shape = (int(allocations.shape[0]), int(allocations.shape[1]), n_components)

    def block(self, start: int, stop: int) -> tuple[FloatArray, int]:
        """Return rows ``start .. stop``: see `Rows`."""
        return one_hot(np.asarray(self._z[:, start:stop]), self.shape[2]), 0

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return one_hot(np.asarray(self._z[t]), self.shape[2])


class MostProbable:
    """Every row given to its most probable component."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.shape = rows.shape

    def block(self, start: int, stop: int) -> tuple[FloatArray, int]:
        """Return rows ``start .. stop``: see `Rows`."""
        table, offset = self._rows.block(start, stop)
        return one_hot(most_probable(table[:, offset : offset + stop - start]), self.shape[2]), 0

    def draw(self, t: int) -> FloatArray:
        """Return one draw: see `Rows`."""
        return one_hot(most_probable(self._rows.draw(t)), self.shape[2])


def most_probable(table: FloatArray) -> IntArray:
    """Return the component of the greatest responsibility, the first of several; quicker than ``argmax`` over a short axis."""
    best, which = table[..., 0].copy(), np.zeros(table.shape[:-1], np.intp)
    for k in range(1, table.shape[-1]):
        is_better = table[..., k] > best
        which[is_better] = k
        np.maximum(best, table[..., k], out=best)
    return which


def one_hot(labels: IntArray, n_components: int) -> FloatArray:
    """Return responsibilities (..., K) of zero and one."""
    return (labels[..., None] == np.arange(n_components)).astype(float)


@dataclass(frozen=True, eq=False)
class Inspection:
    """Sums over rows of each draw.

    Parameters
    ----------
    entropy : array of shape (T,)
        Of the responsibilities, in nats.
    sizes : array of shape (T, K)
        Expected rows in each component.
    """

    entropy: FloatArray
    sizes: FloatArray


def inspect(rows: Rows) -> Inspection:
    """Read all rows once.

    Raises
    ------
    InvalidDataError
        If the responsibilities of a draw are negative, not numbers, or don't add up to one in each row.
    """
    T, _, K = rows.shape
    entropy, sizes, is_bad = np.zeros(T), np.zeros((T, K)), np.zeros(T, bool)
    for start, stop in row_parts(rows):
        table, offset = rows.block(start, stop)
        _share(_kernels.inspect_rows, T, table, offset, stop - start, after=(TOLERANCE, entropy, sizes, is_bad))
    if is_bad.any():
        raise InvalidDataError(
            f"responsibilities must be at least zero and add up to one in every row: those of draw {np.flatnonzero(is_bad)[0]} "
            f"(counted over all chains) do not, nor those of {int(is_bad.sum()) - 1} more draws"
        )
    return Inspection(entropy, sizes)


def cross(rows: Rows, reference: FloatArray) -> FloatArray:
    """Return ``out[t, j, m] = sum_i r_tij reference_im`` for a reference (N, M)."""
    T, _, K = rows.shape
    out = np.zeros((T, K, reference.shape[1]))
    for start, stop in row_parts(rows):
        _cross_block(rows.block(start, stop), reference[start:stop], out)
    return out


def relabelled_mean(rows: Rows, orders: IntArray) -> FloatArray:
    """Return the mean (N, K) over draws of the responsibilities in these component orders (T, K)."""
    parts = ((rows.block(start, stop), stop - start) for start, stop in row_parts(rows))
    return np.concatenate([_mean_block(block, n, orders) for block, n in parts])


def update(
    rows: Rows, orders: IntArray, reference: Callable[[FloatArray], FloatArray], counted: Rows | None = None
) -> tuple[FloatArray, FloatArray]:
    """Make a reference of the relabelled mean, row by row, and hold every draw against it: one pass over the rows for both.

    Parameters
    ----------
    rows : Rows
        Of which the mean is taken.
    orders : int array of shape (T, K)
    reference : callable
        From mean responsibilities (n, K) to reference values (n, K).
    counted : Rows, optional
        What is held against the reference; ``rows`` itself by default.

    Returns
    -------
    sums : array of shape (T, K, K)
        As of `cross`.
    total : array of shape (K,)
        Sum of the reference over all rows.
    """
    T, _, K = rows.shape
    out, total = np.zeros((T, K, K)), np.zeros(K)
    for start, stop in row_parts(rows):
        block = rows.block(start, stop)
        values = reference(_mean_block(block, stop - start, orders))
        total += values.sum(0)
        _cross_block(block if counted is None else counted.block(start, stop), values, out)
    return out, total


def row_parts(rows: Rows) -> list[tuple[int, int]]:
    T, N, K = rows.shape
    return chunks(N, max(1, int(BLOCK_NUMBERS / (T * K))))


def _share(kernel: Callable[..., None], T: int, *before: Any, after: tuple[Any, ...]) -> None:
    run_shared(lambda first, last: kernel(*before, first, last, *after), T)


def _cross_block(block: tuple[FloatArray, int], reference: FloatArray, out: FloatArray) -> None:
    reference = np.require(reference, float, ["C", "W"])
    _share(_kernels.add_cross, len(out), *block, after=(reference, out))


def _mean_block(block: tuple[FloatArray, int], n: int, orders: IntArray) -> FloatArray:
    table, offset = block
    T, K = orders.shape

    def task(first: int, last: int) -> FloatArray:
        total = np.zeros((n, K))
        _kernels.add_relabelled(table, offset, first, last, orders, total)
        return total

    return sum(ordered_map(task, chunks(T, -(-T // _PARTS))), np.zeros((n, K))) / T
