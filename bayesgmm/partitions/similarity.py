"""How probable it is that two points belong together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bayesgmm.exceptions import InvalidDataError, InvalidParameterError
from bayesgmm.kernels.threads import chunks, ordered_map
from bayesgmm.params import MixtureParams
from bayesgmm.partitions import _kernels
from bayesgmm.partitions.draws import Draws, Fit, LabelDraws, check_draws, mixtures, responsibilities
from bayesgmm.rows import Chunk
from bayesgmm.typing import ArrayLike, FloatArray, IntArray

__all__ = ["check_similarity", "display_order", "similarity", "similarity_blocks"]

BLOCK_NUMBERS = 1e7
"""Most similarities that a block of rows holds (80 MB)."""
LARGEST = 4e8
"""Most numbers of a whole similarity matrix (3.2 GB)."""
ROWS_AT_A_TIME = 64


def similarity(draws: LabelDraws | Fit | MixtureParams, X: ArrayLike | None = None) -> FloatArray:
    """Return the posterior similarity matrix: for every two points the probability that they are in the same group.

    Parameters
    ----------
    draws : int array of shape (T, N), fitted estimator or MixtureParams
        Labels, whose agreements are counted; or a posterior, whose probabilities ``sum_k r_ik r_jk`` are averaged over the draws
        instead, which is more precise than to draw labels and count (Rao-Blackwell).
    X : array-like of shape (N, D), optional
        The points, for a posterior; an estimator's training data when absent.

    Returns
    -------
    array of shape (N, N)
        Symmetric, 1 on the diagonal.

    Raises
    ------
    InvalidDataError
        If draws are no labels, or the points are missing.
    InvalidParameterError
        If the matrix would not fit into memory; :func:`similarity_blocks` gives it a few rows at a time.

    Examples
    --------
    >>> similarity([[0, 0, 1], [0, 1, 1]])
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]])
    """
    n, blocks = _blocks(draws, X)
    if n * n > LARGEST:
        raise InvalidParameterError(
            f"the similarity of all pairs of {n} points takes {n * n * 8 / 1e9:.0f} GB: use similarity_blocks, a few rows at a time"
        )
    if n <= _rows_of_a_block(n):
        return next(blocks)[1]
    out = np.empty((n, n))
    for start, block in blocks:
        out[start : start + len(block)] = block
    return out


def similarity_blocks(draws: LabelDraws | Fit | MixtureParams, X: ArrayLike | None = None) -> Iterator[tuple[int, FloatArray]]:
    """Return the rows of the similarity matrix a block at a time, so that memory stays bounded for any number of points.

    Parameters
    ----------
    draws : int array of shape (T, N), fitted estimator or MixtureParams
    X : array-like of shape (N, D), optional
        As in :func:`similarity`.

    Returns
    -------
    iterator of (start, block)
        ``block (n, N)`` are rows ``start .. start + n``.

    Examples
    --------
    >>> [(start, block.shape) for start, block in similarity_blocks([[0, 0, 1], [0, 1, 1]])]
    [(0, (3, 3))]
    """
    return _blocks(draws, X)[1]


def display_order(similarities: ArrayLike) -> IntArray:
    """Return the order (N,) in which a similarity matrix (N, N) shows its groups as blocks: the leaves of an average-linkage tree.

    Parameters
    ----------
    similarities : array-like of shape (N, N)
        From :func:`similarity`.

    Returns
    -------
    int array of shape (N,)

    Examples
    --------
    >>> display_order([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    array([1, 0, 2])
    """
    P = check_similarity(similarities)
    if len(P) == 1:
        return np.zeros(1, dtype=np.intp)
    away = np.clip(1.0 - P, 0.0, None)
    np.fill_diagonal(away, 0.0)
    return leaves_list(linkage(squareform(away, checks=False), "average")).astype(np.intp)


def check_similarity(similarities: ArrayLike) -> FloatArray:
    """Return a similarity matrix (N, N), or say what is wrong with it."""
    P = np.asarray(similarities, dtype=float)
    if P.ndim != 2 or P.shape[0] != P.shape[1] or not len(P):
        raise InvalidDataError(f"a similarity matrix must be square, got shape {P.shape}")
    if not (np.abs(P - P.T) <= 1e-9).all() or P.min() < -1e-9 or P.max() > 1 + 1e-9:
        raise InvalidDataError("a similarity matrix must be symmetric with entries from 0 to 1, and this one is not")
    return P


def _blocks(draws: LabelDraws | Fit | MixtureParams, X: ArrayLike | None) -> tuple[int, Iterator[tuple[int, FloatArray]]]:
    """Return the number of points, and the blocks of rows to come."""
    if isinstance(draws, MixtureParams | Fit):
        params, points = mixtures(draws, X)
        return len(points), _averaged(params, points)
    if X is not None:
        raise InvalidParameterError("X goes with a posterior, not with labels: leave it out")
    checked = check_draws(draws)
    return checked.n_points, _counted(checked)


def _counted(draws: Draws) -> Iterator[tuple[int, FloatArray]]:
    N, Z = draws.n_points, draws.by_point
    for first, last in chunks(N, _rows_of_a_block(N)):
        block = np.empty((last - first, N))

        def task(start: int, stop: int, first: int = first, block: FloatArray = block) -> None:
            _kernels.shared_groups(Z, start, stop, first, block)

        for _ in ordered_map(task, chunks(last - first, ROWS_AT_A_TIME)):
            pass
        yield first, block


def _averaged(params: MixtureParams, points: Chunk) -> Iterator[tuple[int, FloatArray]]:
    N, T = len(points), len(params.weights)
    sets = np.arange(N) if points.known is None or points.known.sets is None else points.known.sets
    for first, last in chunks(N, _rows_of_a_block(N)):
        block = np.zeros((last - first, N))
        for _, r in responsibilities(params, points):
            flat = np.moveaxis(r, 0, 1).reshape(N, -1)
            block += flat[first:last] @ flat.T
        block /= T
        block[sets[first:last, None] == sets] = 1.0
        yield first, block


def _rows_of_a_block(n_points: int) -> int:
    return max(1, int(BLOCK_NUMBERS / n_points))
