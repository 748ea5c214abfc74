"""What one pass over chunks says of their columns, before any mixture is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pandas.util import hash_array

from bayesgmm.typing import FloatArray

__all__ = ["Summary", "fingerprint"]

_NUMBERS = 2**15
"""Numbers that are hashed at a time: few enough to stay in the processor's cache, and out of memory's account."""


@dataclass(frozen=True, eq=False)
class Summary:
    """Sizes, ranges and moments of the columns of some chunks.

    Parameters
    ----------
    kept : tuple of int
        Rows of each chunk, those of weight zero left out.
    read : tuple of int
        Rows of each chunk as it was read.
    weight : float
        Total weight of the rows.
    seen : array of shape (D,)
        Total weight of the values that are there.
    mean : array of shape (D,)
        Of the values that are there, each counting as its row does.
    square : array of shape (D,)
        Sum of their squared distances from the mean.
    lowest, highest : arrays of shape (D,)
        NaN where there is no value.
    """

    kept: tuple[int, ...]
    read: tuple[int, ...]
    weight: float
    seen: FloatArray
    mean: FloatArray
    square: FloatArray
    lowest: FloatArray
    highest: FloatArray
    has_gaps: bool

    @classmethod
    def of(cls, X: FloatArray, weight: FloatArray | None, n_read: int) -> Summary:
        """Summarise rows X (n, D), in which NaN stands for a missing value."""
        lowest, highest = (of.reduce(X, axis=0, initial=np.nan) for of in (np.fmin, np.fmax))  # without any row there is none
        if weight is None and len(X) and np.isfinite(X.sum()):
            return cls._of_complete(X, n_read, lowest, highest)
        there = ~np.isnan(X)
        has_gaps = not bool(there.all())
        w = there.astype(float) if weight is None else there * weight[:, None]
        seen = w.sum(0)
        # From a value of the column, not from zero: sums of large offsets would lose the digits in which the rows differ.
        near = np.where(np.isnan(lowest), 0.0, lowest)
        shifted = np.where(there, X - near, 0.0) if has_gaps else X - near
        divisor = np.where(seen > 0, seen, 1.0)
        mean = (w * shifted).sum(0) / divisor
        square = (w * (shifted - mean) ** 2).sum(0)
        total = float(len(X)) if weight is None else float(weight.sum())
        return cls((len(X),), (n_read,), total, seen, near + mean, square, lowest, highest, has_gaps)

    @classmethod
    def _of_complete(cls, X: FloatArray, n_read: int, lowest: FloatArray, highest: FloatArray) -> Summary:
        """Summarise rows that lack nothing and count once, with as few passes over them as it takes."""
        n, shifted = len(X), X - lowest
        mean = shifted.mean(0)
        shifted -= mean
        square = np.einsum("nd,nd->d", shifted, shifted)
        return cls((n,), (n_read,), float(n), np.full(X.shape[1], float(n)), lowest + mean, square, lowest, highest, has_gaps=False)

    def merged(self, other: Summary) -> Summary:
        """Return the summary of these chunks and those after them.

        Notes
        -----
        Chan, Golub and LeVeque (1983), The American Statistician 37, 242-247, equation 2.1: squares about two means are moved to the
        common one.
        """
        seen = self.seen + other.seen
        share = other.seen / np.where(seen > 0, seen, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            apart = other.mean - self.mean
            square = self.square + other.square + apart**2 * self.seen * share
        return Summary(
            self.kept + other.kept,
            self.read + other.read,
            self.weight + other.weight,
            seen,
            self.mean + apart * share,
            square,
            np.fmin(self.lowest, other.lowest),
            np.fmax(self.highest, other.highest),
            self.has_gaps or other.has_gaps,
        )

    def seen_from(self, origin: FloatArray) -> Summary:
        """Return the summary of the same rows with their values counted from another origin (D,)."""
        return replace(self, mean=self.mean - origin, lowest=self.lowest - origin, highest=self.highest - origin)

    @property
    def sd(self) -> FloatArray:
        """Standard deviation (D,) of the values that are there."""
        return np.sqrt(self.square / np.where(self.seen > 0, self.seen, 1.0))


def fingerprint(X: FloatArray, weight: FloatArray | None = None) -> int:
    """Return 64 bits that tell these rows X (n, D) from others, whatever their order; those of pieces add up modulo 2**64.

    They are made of bits, not of rounded sums: sizes, ranges and moments can agree where values do not, and rounding depends on the order.
    Zeros of both signs are one value, missing values another; rows of weight zero don't count, and no weights are weights of one.
    """
    n, D = X.shape
    weight = np.ones(n) if weight is None else weight
    size, total = max(1, _NUMBERS // max(D, 1)), 0
    for start in range(0, n, size):
        w = weight[start : start + size]
        table = np.column_stack([w, X[start : start + size]])[w != 0] + 0.0
        table[np.isnan(table)] = np.nan
        rows = np.zeros(len(table), np.uint64)
        for column in table.T:
            rows = hash_array(rows + hash_array(column))
        total += int(rows.sum(dtype=np.uint64))
    return total % 2**64
