"""Data as EM sees them: distinct rows, sorted by what they lack, and counted from where means keep their digits."""

from __future__ import annotations

from typing import NamedTuple

from bayesgmm.em.checkpoint import Checkpoint
from bayesgmm.em.starts import distinct_rows
from bayesgmm.em.steps import Rows
from bayesgmm.expectation import Chunked, rows_of, seen_from
from bayesgmm.frame import origin_near, total_moments
from bayesgmm.typing import FloatArray

__all__ = ["View", "view_of"]


class View(NamedTuple):
    """The same data in the shapes that a fit needs.

    Parameters
    ----------
    origin : array of shape (D,)
        What values are counted from; zeros where the data lie about zero.
    X : array of shape (N, D), or Chunked
        All rows.
    rows : array, Gaps or Chunked
        What EM runs on.
    weight : array of shape (n,), optional
        Frequencies of ``rows``, if they do not bring them with them.
    moments : (array of shape (D,), array of shape (D, D))
        Mean and covariance.
    """

    origin: FloatArray
    X: FloatArray | Chunked
    rows: Rows
    weight: FloatArray | None
    moments: tuple[FloatArray, FloatArray]


def view_of(X: FloatArray | Chunked, sample_weight: FloatArray | None, checkpoint: Checkpoint | None) -> View:
    """Return how EM sees the data; a checkpoint keeps the origin, and knows it where it has been kept."""
    rows, weight = _rows(X, sample_weight)
    center, covariance = total_moments(rows, weight)
    origin = origin_near(center, covariance)
    if checkpoint is not None:
        origin = checkpoint.keep_origin(origin)
    if origin.any():
        X = seen_from(X, origin)
        rows, weight = _rows(X, sample_weight)
    return View(origin, X, rows, weight, (center - origin, covariance))


def _rows(X: FloatArray | Chunked, sample_weight: FloatArray | None) -> tuple[Rows, FloatArray | None]:
    if isinstance(X, Chunked):
        return X, None
    distinct, weight = distinct_rows(X, sample_weight)
    return rows_of(distinct), weight
