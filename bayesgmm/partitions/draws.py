"""Draws of a partition: labels that are given, checked and numbered alike, or drawn from a posterior of mixtures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.expectation import responsibility_draws
from bayesgmm.kernels.threads import chunks
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import _kernels
from bayesgmm.random import generator
from bayesgmm.rows import Chunk, Rows
from bayesgmm.typing import ArrayLike, FloatArray, IntArray, RandomState
from bayesgmm.validation import check_same_columns

__all__ = [
    "Draws",
    "Fit",
    "LabelDraws",
    "by_size",
    "check_count",
    "check_draws",
    "check_level",
    "check_partition",
    "draw_labels",
    "mixtures",
    "params_of",
    "responsibilities",
]

DRAWS_AT_A_TIME = 64
CELLS_AT_A_TIME = 4e6
"""Most cells of contingency tables that exist together, for each thread, when all of one partition's are counted (16 MB)."""
DRAW_NUMBERS = 3e6
"""Most responsibilities that are held at a time (24 MB)."""


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


type LabelDraws = ArrayLike | Draws
"""Labels of points (..., N), whole numbers from 0 up: each draw's are a partition."""


@runtime_checkable
class Fit(Protocol):
    """What is asked of a fitted estimator here."""

    params_: MixtureParams
    rows_: Rows


def check_draws(draws: LabelDraws) -> Draws:
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


def check_partition(labels: ArrayLike, n_points: int | None, name: str = "labels") -> IntArray:
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


def check_level(level: float) -> None:
    """Raise unless a level is a probability above zero."""
    if not 0 < level <= 1:
        raise InvalidParameterError(f"level must lie between 0 and 1, got {level}")


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


def draw_labels(fit: Fit | MixtureParams, X: ArrayLike | Chunk | None = None, *, random_state: RandomState = None) -> np.ndarray:
    """Draw one partition of the points from each draw of a posterior.

    Parameters
    ----------
    fit : fitted estimator or MixtureParams
    X : array-like of shape (N, D), or Chunk, optional
        An estimator's training data, with all that is known of them, when absent.
    random_state : int, Generator, RandomState or None

    Returns
    -------
    array of shape (T, N) of the smallest integers that will do
        Labels, each drawn from the point's responsibilities under that draw; chains one after the other.

    Examples
    --------
    >>> from bayesgmm.params import MixtureParams
    >>> params = MixtureParams.from_covariances([[0.5, 0.5]], [[[0.0], [9.0]]], [[[[1.0]], [[1.0]]]])
    >>> draw_labels(params, [[0.0], [0.5], [9.0]], random_state=1)
    array([[0, 0, 1]], dtype=int16)
    """
    params, points = mixtures(fit, X)
    rng = generator(random_state)
    out = np.empty((len(params.weights), len(points)), dtype=np.int16)
    sets = None if points.known is None else points.known.sets
    for start, r in responsibilities(params, points):
        np.cumsum(r, axis=-1, out=r)
        # Rows that belong together have one label.
        uniform = rng.random((*r.shape[:2], 1)) if sets is None else rng.random((len(r), int(sets.max()) + 1, 1))[:, sets]
        # The last column is one up to rounding, which must not give a component that does not exist.
        out[start : start + len(r)] = (uniform > r[..., :-1]).sum(axis=-1)
    return out


def responsibilities(params: MixtureParams, rows: Chunk) -> Iterator[tuple[int, FloatArray]]:
    """Yield the responsibilities (t, N, K) of some draws at a time, with the number of the first."""
    T, K = params.weights.shape
    for start, stop in chunks(T, max(1, int(DRAW_NUMBERS / (len(rows) * K)))):
        some = params[start:stop]
        yield start, responsibility_draws(rows, *some.arrays(rows), diagonal=some.is_diagonal)


def params_of(fit: Fit | MixtureParams) -> MixtureParams:
    """Return the mixtures of a fit, or say that it is none."""
    if not isinstance(fit, MixtureParams | Fit):
        raise InvalidParameterError(f"fit must be a fitted estimator or MixtureParams, got {type(fit).__name__}")
    return fit if isinstance(fit, MixtureParams) else fit.params_


def mixtures(fit: Fit | MixtureParams, X: ArrayLike | Chunk | None) -> tuple[MixtureParams, Chunk]:
    """Return a posterior's draws in one row, and the points to look at."""
    if getattr(fit, "noise_weight_", 0.0):
        raise InvalidParameterError(
            "a fit with noise has points that belong to no group: give its mixture alone, fit.params_, with the points X"
        )
    params = (getattr(fit, "mixtures_", None) or params_of(fit)).reshape(-1)
    if isinstance(X, Chunk):
        return params, X
    check_same_columns("The fit", fit, X)
    if X is None and not isinstance(fit, MixtureParams):
        return params, fit.rows_.in_memory().chunk
    if X is None:
        raise InvalidDataError("X is missing: give the points (N, D) that the mixtures are to group")
    points = np.ascontiguousarray(X, dtype=float)
    if points.ndim != 2 or points.shape[1] != params.n_features or not len(points):
        raise InvalidDataError(f"X must have shape (N, {params.n_features}), like the mixtures' means, got {points.shape}")
    return params, Chunk(points)


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
        _kernels.number_by_appearance(some, n_codes, out[:, start:stop], n_groups[start:stop])
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
        n_missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        missing = f"{n_missing} NaN: every point needs a label in every draw"
        another = f"{values.dtype}: if they are labels, convert them with .astype(int)"
        raise InvalidDataError(f"{name} must be whole numbers, got {missing if n_missing else another}")
    if values.min() < 0:
        where = tuple(int(i) for i in np.argwhere(values < 0)[0])
        raise InvalidDataError(f"{name} must be 0 or more: the label at {where} is {values[where]}")
    return values
