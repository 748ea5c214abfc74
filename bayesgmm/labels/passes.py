"""Passes over the rows of all draws: what each method asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesgmm.exceptions import InvalidDataError
from bayesgmm.labels.rows import Allocated, Rows, Soft, row_parts
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Inspection", "cross", "inspect", "relabelled_mean", "update"]


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
    T, N, K = rows.shape
    if isinstance(rows, Allocated):
        return Inspection(np.zeros(T), cross(rows, np.ones((N, 1)))[:, :, 0])
    entropy, sizes, is_bad = np.zeros(T), np.zeros((T, K)), np.zeros(T, bool)
    for start, stop in row_parts(rows):
        block = rows.block(start, stop)
        if isinstance(block, Soft):
            block.inspect(entropy, sizes, is_bad)
    if is_bad.any():
        n = int(is_bad.sum())
        raise InvalidDataError(
            "responsibilities must be at least zero and add up to one in every row: those of draw "
            f"{np.flatnonzero(is_bad)[0]} (counted over all chains) do not" + (f", nor those of {n - 1} more" if n > 1 else "")
        )
    return Inspection(entropy, sizes)


def cross(rows: Rows, reference: FloatArray) -> FloatArray:
    """Return ``out[t, j, m] = sum_i r_tij reference_im`` for a reference (N, M)."""
    T, _, K = rows.shape
    out = np.zeros((T, K, reference.shape[1]))
    for start, stop in row_parts(rows):
        rows.block(start, stop).add_cross(reference[start:stop], out)
    return out


def relabelled_mean(rows: Rows, orders: IntArray) -> FloatArray:
    """Return the mean (N, K) over draws of the responsibilities in these component orders (T, K)."""
    return np.concatenate([rows.block(start, stop).mean(orders) for start, stop in row_parts(rows)])


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
        values = reference(block.mean(orders))
        total += values.sum(0)
        (block if counted is None else counted.block(start, stop)).add_cross(values, out)
    return out, total
