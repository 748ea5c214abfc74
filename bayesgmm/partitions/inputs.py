"""What partitions come in as: labels of points, one partition or one per draw, checked and numbered alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.kernels.threads import chunks
from bayesgmm.partitions import _counts
from bayesgmm.typing import ArrayLike, IntArray

__all__ = ["Draws", "by_size", "check_count", "check_draws", "check_partition"]

DRAWS_AT_A_TIME = 64
CELLS_AT_A_TIME = 4e6
"""Most cells of contingency tables that exist together, for each thread, when all of one partition's are counted (16 MB)."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Partitions of the same N points, T of them.

    Attributes
    ----------
    by_point : int array of shape (N, T)
        Labels; each draw's are numbered from 0 in the order in which they appear.
    n_groups : int array of shape (T,)
        Groups in each draw.
    """

    by_point: np.ndarray
    n_groups: IntArray

    @property
    def n_points(self) -> int:
        """Number of points N."""
        return len(self.by_point)

    @property
    def n_draws(self) -> int:
        """Number of draws T."""
        return len(self.n_groups)

    @property
    def most_groups(self) -> int:
        """Most groups M that a draw has."""
        return int(self.n_groups.max())

    def parts(self, n_labels: int) -> list[tuple[int, int]]:
        """Return the bounds of the chunks of draws whose tables with a partition of so many groups are counted together."""
        at_a_time = min(DRAWS_AT_A_TIME, int(CELLS_AT_A_TIME / (self.most_groups * n_labels)))
        return chunks(self.n_draws, max(1, at_a_time))

    def partition(self, draw: int) -> IntArray:
        """Return the labels (N,) of a draw."""
        return self.by_point[:, draw].astype(np.intp)

    def distinct(self) -> tuple[IntArray, IntArray]:
        """Return for every different partition the first draw that is it, in order, and how many draws are."""
        _, first, counts = np.unique(self.by_point, axis=1, return_index=True, return_counts=True)
        order = np.argsort(first)
        return first[order], counts[order]


def check_draws(draws: Any) -> Draws:
    """Return draws of a partition as `Draws`, or say what is wrong with them.

    Parameters
    ----------
    draws : int array of shape (..., N), or Draws
        Leading dimensions, such as (chain, draw), are taken together.

    Raises
    ------
    InvalidDataError
        For anything but whole numbers from 0 up, and for draws of different lengths.

    Examples
    --------
    >>> check_draws([[5, 5, 2], [0, 1, 1]]).by_point.T
    array([[0, 0, 1],
           [0, 1, 1]], dtype=int16)
    """
    if isinstance(draws, Draws):
        return draws
    if hasattr(draws, "params_") or hasattr(draws, "scale_tril"):
        raise InvalidDataError(
            f"draws must be labels, an integer array (draws, points), got {type(draws).__name__}: "
            "draw labels from a fit first, with bayesgmm.partitions.draw_labels"
        )
    values = _whole_numbers(draws, "draws")
    if values.ndim < 2:
        raise InvalidDataError(
            f"draws must have two dimensions, (draws, points), got shape {values.shape}: one partition alone is draws[None, :]"
        )
    return _numbered(values.reshape(-1, values.shape[-1]))


def check_partition(labels: Any, n_points: int | None, name: str = "labels") -> IntArray:
    """Return one partition's labels (N,), numbered from 0 by decreasing size, or say what is wrong with them.

    Raises
    ------
    InvalidDataError
        For anything but one dimension of whole numbers from 0 up, and for another number of points than ``n_points``.
    """
    values = _whole_numbers(labels, name)
    if values.ndim != 1:
        raise InvalidDataError(f"{name} must have one dimension, a label for each point, got shape {values.shape}")
    if n_points is not None and len(values) != n_points:
        raise InvalidDataError(f"{name} must have a label for each of the {n_points} points, got {len(values)}")
    return by_size(values)


def check_count(value: Any, name: str, least: int = 1) -> int:
    """Return a setting that is a whole number of at least so much, or say that it is not."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or int(value) < least:
        raise InvalidParameterError(f"{name} must be a whole number from {least} up, got {value!r}")
    return int(value)


def by_size(labels: ArrayLike) -> IntArray:
    """Number the groups of labels (N,) from 0 by decreasing size, groups of one size as they appear.

    Examples
    --------
    >>> by_size([7, 3, 3, 5])
    array([1, 0, 0, 2])
    """
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return np.argsort(order)[inverse]


def _numbered(values: np.ndarray) -> Draws:
    T, N = values.shape
    n_codes = int(values.max()) + 1
    if n_codes > max(2**16, 4 * N):  # labels such as hashes: number them before anything is counted by label
        codes, inverse = np.unique(values, return_inverse=True)
        values, n_codes = inverse.reshape(T, N), len(codes)
    out = np.empty((N, T), dtype=np.int16 if min(n_codes, N) < 2**15 else np.int32)
    n_groups = np.empty(T, dtype=np.intp)
    for start, stop in chunks(T, DRAWS_AT_A_TIME):  # few at a time are wide integers
        some = np.ascontiguousarray(values[start:stop], dtype=np.int64)
        _counts.number_by_appearance(some, n_codes, out[:, start:stop], n_groups[start:stop])
    return Draws(out, n_groups)


def _whole_numbers(given: Any, name: str) -> np.ndarray:
    try:
        values = np.asarray(given)
    except ValueError:
        lengths = [np.size(row) for row in given]
        odd = next((t for t, n in enumerate(lengths) if n != lengths[0]), 0)
        raise InvalidDataError(
            f"{name} have different lengths: draw 0 labels {lengths[0]} points, draw {odd} labels {lengths[odd]}; "
            "every draw must label the same points"
        ) from None
    if values.size == 0:
        raise InvalidDataError(f"{name} must label at least one point, got shape {values.shape}")
    if values.dtype.kind not in "iu":
        raise InvalidDataError(f"{name} must be whole numbers, {_not_whole(values)}")
    if values.min() < 0:
        where = tuple(int(i) for i in np.argwhere(values < 0)[0])
        raise InvalidDataError(f"{name} must be 0 or more: the label at {where} is {values[where]}")
    return values


def _not_whole(values: np.ndarray) -> str:
    if values.dtype.kind == "f" and np.isnan(values).any():
        return f"got {int(np.isnan(values).sum())} NaN: every point needs a label in every draw"
    return f"got {values.dtype}: if they are labels, convert them with .astype(int)"
